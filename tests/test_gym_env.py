"""The environment: Gymnasium's contract, its options, its copies, and what it refuses."""

from __future__ import annotations

import copy
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gyms import CADENCES, CODECS, LATENCIES, play, same, session, single
from scenes import BOOK, SELL, Scene

from foldbook.adapters.gym import ID, MarketEnv, render
from foldbook.engine import NO_FEES, Mark, Session, Tape, TapeError, dollars
from foldbook.engine.codecs import limit5, now5
from foldbook.engine.episodes import Cadence, Rewards
from foldbook.engine.kernels import layout
from foldbook.engine.schema import MarketStatus, TapeKind
from foldbook.engine.simulation import Simulation
from foldbook.engine.specs import Market
from foldbook.engine.units import CASH_ONE

_WORDS = slice(layout.DRIVER_WORDS, None)


def written(scene: Scene, tick: int = 100) -> Session:
    """Return a session of one market from a tape written by hand."""
    return Session(Tape(scene.rows()), (Market("M", tick=tick),), name="written")


def settled() -> Session:
    """A market with three moments that ends with YES paying a dollar."""
    scene = Scene().book(1_000, BOOK).more(2_000, SELL, 52, 100).more(3_000, SELL, 54, 100)
    scene.status(4_000, MarketStatus.CLOSED)
    return written(scene.status(5_000, MarketStatus.SETTLED, payout=10_000))


@pytest.mark.parametrize("mode", [None, "ansi", "rgb_array"])
@pytest.mark.parametrize("actions", ["limit5", "quote"])
def test_gymnasium_finds_nothing_to_complain_of(mode, actions):
    """check_env passes without a warning for each render mode (it makes the others too)."""
    options = {"max_steps": 40, "actions": actions}
    check_env(gymnasium.make(ID, session=session(), render_mode=mode, **options).unwrapped)


def test_wrapped_it_complains_of_the_wrappers_alone():
    """Gymnasium says of any wrapped environment that it is not the bare one, and nothing else."""
    env = gymnasium.make(ID, session=session(), max_steps=40, render_mode="ansi")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    assert all("different from the unwrapped version" in str(each.message) for each in told)


@pytest.mark.parametrize("actions", CODECS)
def test_two_runs_with_one_seed_are_one(actions):
    """Observations, rewards, ends, infos and journals are equal to the last bit; with another seed
    they are not."""
    options = {"actions": actions, "market": "random", "start": "random", "cadence": 5}
    first, second, other = (single(session(), **options) for _ in range(3))
    told = play(first, 80, seed=3)
    assert same(told, play(second, 80, seed=3))
    assert first.simulation.journal().digest == second.simulation.journal().digest
    assert not same(told, play(other, 80, seed=4))


def test_episodes_that_follow_depend_on_the_seed_alone():
    """The second and third episode after a seed are the same whatever was played in the first."""
    envs = [single(session(), market="random", start="random") for _ in range(2)]
    told = []
    for env, steps in zip(envs, (5, 50), strict=True):
        play(env, steps, seed=11)
        told.append([env.reset(), env.reset()])
    assert same(told[0], told[1])


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_rewards_add_up_to_the_change_of_value(cadence, latency):
    """The reward units of an episode are its final value less its opening value, exactly, and the
    rewards are those times the scale."""
    env = single(session(), cadence=cadence, **LATENCIES[latency])
    told = play(env, 300, seed=5)
    units = [info["reward_units"] for *_, info in told[1:]]
    opened, closed = told[0][1]["portfolio_value"], told[-1][-1]["portfolio_value"]
    assert sum(units) == closed - opened != 0
    assert closed == env.simulation.reward.value
    assert [each[1] for each in told[1:]] == [unit * 1e6 * (1e-8 / 1e6) for unit in units]


def test_episode_ends_with_the_settlement():
    """A market that settles ends the episode as terminated; a position was paid its payout."""
    env = single(settled(), actions="now5", fees=None)
    env.reset(seed=0)
    env.step(1)
    held = env.simulation.positions.qty(0)
    told = [env.step(0)]
    while not (told[-1][2] or told[-1][3]):
        told.append(env.step(0))
    assert held == 400  # all that BOOK offers at 50
    assert (told[-1][2], told[-1][3]) == (True, False)
    statistics = told[-1][4]["statistics"]
    fees = env.simulation.positions.fees
    assert statistics["final_value"] - statistics["start_value"] == 400 * 5_000 - fees
    with pytest.raises(gymnasium.error.ResetNeeded, match="over: call reset"):
        env.step(0)


def test_episode_is_cut_off_where_it_is_told():
    """A step limit, a window of time and the end of the recording truncate; nothing else ends."""
    unsettled = session(8, settle=False)
    assert len(play(single(unsettled, max_steps=7), 99, seed=0)) == 8
    env = single(unsettled, window="5s", cadence="1s")
    told = play(env, 99, seed=0)
    assert len(told) == 6 and (told[-1][2], told[-1][3]) == (False, True)
    env = single(unsettled, cadence=1000)
    told = play(env, 10_000, seed=0)
    assert (told[-1][2], told[-1][3]) == (False, True)
    assert env.simulation.events == len(env.simulation.session.tape)


def test_whoever_is_worth_nothing_is_finished():
    """An account whose value reaches 0 ends the episode as terminated, before the market ends: all
    of its cash is in contracts that nobody bids for any more."""
    scene = Scene().book(1_000, BOOK).more(2_000, SELL, 52, 100).book(3_000, {SELL: {1: 100}})
    for ts in range(4_000, 9_000, 1_000):
        scene.more(ts, SELL, 5, 100)
    env = single(written(scene), actions=now5(4 * 100), cash=2_000_000, fees=NO_FEES,
                 mark=Mark.CLOSE)  # fmt: skip
    env.reset(seed=0)
    told = env.step(1)  # four contracts at 50: all of the cash
    assert env.simulation.positions.qty(0) == 400 and not told[2]
    assert env.step(0)[2:4] == (True, False)


def test_info_is_what_the_simulation_says():
    """Cash, position, value and journal length are those that the views of the run show."""
    env = single(session(), **LATENCIES["sight"])
    told = play(env, 200, seed=2)[-1][-1]
    simulation = env.simulation
    assert told["cash"] == simulation.positions.cash
    assert told["position"] == simulation.positions.qty(0)
    assert told["portfolio_value"] == simulation.reward.value
    assert told["journal"] == simulation.bus.sight[layout.JOURNAL_COUNT]
    assert (told["session"], told["market"]) == (0, simulation.session.markets[0].ticker)
    assert told["action_mask"].dtype == np.int8 and env.action_masks().dtype == np.bool_
    assert (told["action_mask"] == env.action_masks()).all()


def test_reset_takes_session_market_start_and_cash():
    """Each option of reset is what is played, once; the next reset is as the environment says."""
    both = [session(7), session(8)]
    env = single(both, market="next")
    ticker = both[1].markets[1].ticker
    start = both[1].start + 20 * 10**9
    _, info = env.reset(
        seed=0, options={"session": 1, "market": ticker, "start": start, "cash": dollars(7)}
    )
    assert (info["session"], info["market"], info["cash"]) == (1, ticker, 7 * CASH_ONE)
    tape = env.simulation.session.tape.rows
    assert env.simulation.now <= start < tape["ts"][env.simulation.events]
    _, info = env.reset()
    assert info["cash"] == 100 * CASH_ONE


def test_cash_that_a_reward_could_not_count_is_refused():
    """A change of value times the weights must fit int64; smaller weights allow more cash."""
    played = session()
    with pytest.raises(ValueError, match=r"cash: 3000000000000; expected 0 to 2305843009213, in"):
        MarketEnv(played, cash=dollars(3_000_000))
    env = MarketEnv(played, cash=dollars(3_000_000), rewards=Rewards(value=1000))
    with pytest.raises(ValueError, match="more with smaller reward weights"):
        env.reset(options={"cash": dollars(10**10)})


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("cash", [None, dollars(3)])
def test_starting_anywhere_is_having_come_from_the_beginning(latency, cash):
    """An episode that begins at a row, by way of a checkpoint, stands in the state, byte for byte,
    of a simulation with that cash that was advanced to the row."""
    played = session(9, minutes=3)
    env = single(played, **LATENCIES[latency])
    rng = np.random.default_rng(4)
    for start in rng.integers(played.start + 2 * 10**9, played.start + 170 * 10**9, 6).tolist():
        options = {"start": start} | ({} if cash is None else {"cash": cash})
        env.reset(seed=1, options=options)
        mine = env.simulation
        fresh = Simulation(
            mine.session, cash=cash or dollars(100), client_ids=0, order_groups=0,
            order_capacity=env.setting.settings["order_capacity"], **LATENCIES[latency],
        )  # fmt: skip
        fresh.advance(stop=mine.events)
        assert mine.bus.state_bytes() == fresh.bus.state_bytes()
        assert mine.bus.run.seen[_WORDS].tobytes() == fresh.bus.run.seen[_WORDS].tobytes()
        assert mine.journal().digest == fresh.journal().digest


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "fork"])
def test_copies_go_on_alone(how, latency):
    """A copy made mid-episode goes on exactly as the original does, with the same draws, and
    neither moves the other."""
    env = single(session(), market="random", start="random", stack=2, **LATENCIES[latency])
    play(env, 60, seed=6)
    env.action_space.seed(3)
    copies = {"pickle": lambda each: pickle.loads(pickle.dumps(each)), "deepcopy": copy.deepcopy,
              "fork": lambda each: each.fork()}  # fmt: skip
    stood = env.simulation.bus.state_bytes()
    twin = copies[how](env)
    rng = np.random.default_rng(1)
    actions = rng.integers(5, size=60).tolist()
    ours = [env.step(action) for action in actions]
    assert twin.simulation.bus.state_bytes() == stood
    theirs = [twin.step(action) for action in actions]
    assert same(ours, theirs)
    assert env.simulation.journal().digest == twin.simulation.journal().digest
    assert same(env.ledger(), twin.ledger()) and same(env.statistics(), twin.statistics())
    assert same(env.reset(), twin.reset())
    assert env.action_space.sample() == twin.action_space.sample()


def test_result_is_that_of_a_run():
    """`result()` has the fills of the episode, and replays to the same journal."""
    env = single(session(), actions="now5")
    told = play(env, 200, seed=1)
    result = env.result()
    assert len(result.fills) == sum(each[-1]["fills"] for each in told) > 0
    assert result.digest == env.simulation.journal().digest
    assert result.replay().digest == result.digest


def test_statistics_are_what_they_are_called():
    """Each statistic is recomputed from what the steps told."""
    env = single(session(), max_steps=300)
    told = play(env, 400, seed=8)
    values = [told[0][1]["portfolio_value"], *(each[-1]["portfolio_value"] for each in told[1:])]
    units = np.diff(values)
    given = told[-1][-1]["statistics"]
    assert given["length"] == 300 == len(units)
    assert (given["start_value"], given["final_value"]) == (values[0], values[-1])
    assert given["total_return"] == (values[-1] - values[0]) / values[0]
    assert given["total_reward_units"] == units.sum()
    assert given["mean_reward_units"] == pytest.approx(units.mean())
    assert given["sharpe"] == pytest.approx(units.mean() / units.std())
    assert given["fills"] == sum(each[-1]["fills"] for each in told[1:])
    assert given["max_drawdown"] >= (np.maximum.accumulate(values) - values).max()


def test_rewards_are_sums_of_terms():
    """Realised profit, inventory and drawdown terms are what their words say, step by step."""
    session_of = session()
    value, realised, drawdown, held = (
        single(session_of, rewards=rewards, reward_scale=1.0, cadence=10)
        for rewards in (
            Rewards(), Rewards(value=0, realised=10**6), Rewards(value=0, drawdown=10**6),
            Rewards(value=0, inventory=50),
        )
    )  # fmt: skip
    for env in (value, realised, drawdown, held):
        env.reset(seed=0)
    rng = np.random.default_rng(2)
    fallen = earned = 0
    position, then = 0, value.simulation.now
    held_once = False
    for action in rng.integers(5, size=300).tolist():
        told = [env.step(action)[1] for env in (value, realised, drawdown, held)]
        run = value.simulation
        net = run.positions.realised - run.positions.fees
        assert told[1] == net - earned
        assert told[2] == -(run.reward.max_drawdown - fallen)
        seconds = (run.now - then) / 10**9
        assert told[3] == pytest.approx(-abs(position) / 100 * seconds * 50, abs=1e-3)
        fallen, earned = run.reward.max_drawdown, net
        position, then = run.positions.qty(0), run.now
        held_once = held_once or position != 0
    assert earned and fallen and held_once


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Rewards(value=0.5), lambda: Rewards(drawdown=True), lambda: Rewards(inventory="1"),
        lambda: Cadence("events", 1.5), lambda: single(session(), max_steps=1.5),
    ],
)  # fmt: skip
def test_a_weight_or_a_limit_that_is_no_whole_number_is_refused(wrong):
    """The words of a plan are integers: 0.5 would be cut to 0, and every reward with it."""
    named = r"(value|drawdown|inventory|every|steps_max): .* is not an int"
    with pytest.raises(TypeError, match=named):
        wrong()
    assert Rewards(value=np.int64(5)).value == 5


def test_cadences_are_moments():
    """Each step ends where its cadence says, counted on the tape."""
    for cadence, expected in ((10, 10), ("change", 1)):
        env = single(session(), cadence=cadence)
        env.reset(seed=0)
        before = env.simulation.events
        for _ in range(50):
            env.step(0)
            rows = env.simulation.session.tape.rows[before : env.simulation.events]
            bursts = len(np.unique(rows["ts"]))
            assert len(rows) >= expected
            if cadence == "change":
                book = np.isin(rows["kind"], [0, 1, 2, 3])
                assert book.any() and not book[rows["ts"] < rows["ts"][-1]].any()
            else:
                assert len(rows[rows["ts"] < rows["ts"][-1]]) < expected
            assert bursts
            before = env.simulation.events
    env = single(session(), cadence="150ms")
    env.reset(seed=0)
    then = env.simulation.now
    for number in range(1, 50):
        env.step(0)
        assert env.simulation.now == then + number * 150_000_000
    env = single(session(), cadence="quote")
    env.reset(seed=0)
    quote = None
    for _ in range(100):
        env.step(0)
        book = env.simulation.book()
        assert (book.best_bid, book.best_ask) != quote
        quote = book.best_bid, book.best_ask


def test_market_of_hindsight_is_named():
    """What is chosen by the whole session says so; what a past window chose begins after it."""
    played = session(5, markets=3)
    _, info = single(played, market="active").reset(seed=0)
    assert info["hindsight"]
    env = single(played, market="active:20s", start="first")
    _, info = env.reset(seed=0)
    rows = played.tape.rows
    early = rows[rows["ts"] <= played.start + 20 * 10**9]
    counts = np.bincount(early["market"])
    assert info["market"] == played.markets[counts.argmax()].ticker
    assert not info["hindsight"] and env.simulation.now >= played.start + 20 * 10**9


def test_render_shows_the_run():
    """The text has the best prices, the own order and the value; the picture is uint8 (h, w, 3),
    and shows the own order in its colour."""
    env = single(session(), actions=limit5("passive"), render_mode="ansi")
    env.reset(seed=0)
    clean = render.picture(env.simulation)
    env.step(1)
    text = env.render()
    book = env.simulation.book()
    assert f"bid 0.{book.best_bid:04d}" in text and "own 10.00" in text
    picture = render.picture(env.simulation, [1, 2, 3])
    assert picture.dtype == np.uint8 and picture.shape == (480, 640, 3)
    blue = (picture == render._OWN).all(axis=2).sum()
    assert blue > (clean == render._OWN).all(axis=2).sum() == 0


REFUSED = (
    ({"actions": "limit6"}, ValueError, "limit6.*limit5"),
    ({"actions": 5}, TypeError, "5.*name, dims and act"),
    ({"observation": "classic53"}, ValueError, "classic53.*classic52"),
    ({"observation": ["yes_bid", "yes_bid"]}, ValueError, "yes_bid.*twice"),
    ({"observation": ["no_such"]}, ValueError, "no_such"),
    ({"cadence": "often"}, ValueError, "often.*change"),
    ({"cadence": 0}, ValueError, "more than zero"),
    ({"start": "middle"}, ValueError, "middle.*first, random"),
    ({"market": "NONE"}, ValueError, "NONE"),
    ({"max_steps": -1}, ValueError, "-1"),
    ({"cash": 1.5}, ValueError, "1.5"),
    ({"stack": 0}, ValueError, "stack: 0"),
    ({"colour": "blue"}, TypeError, "colour"),
    ({"render_mode": "human"}, ValueError, "human.*ansi or rgb_array"),
    ({"cadence": 2**64}, ValueError, "every: 18446744073709551616; expected at most"),
    ({"max_steps": 2**64}, ValueError, "steps_max: 18446744073709551616"),
    ({"window": 2**64}, ValueError, "lasts: 18446744073709551616"),
    ({"market": []}, ValueError, "market: .*tickers"),
    ({"market": None}, ValueError, "market: None.*tickers"),
    ({"market": "active:0s"}, ValueError, "active:0s.*above zero"),
    ({"market": "active:-1s"}, ValueError, "active:-1s.*above zero"),
    ({"reward_scale": float("nan")}, ValueError, "reward_scale: nan"),
    ({"reward_scale": float("inf")}, ValueError, "reward_scale: inf"),
    ({"reward_scale": "1"}, ValueError, "reward_scale: '1'"),
    ({"rewards": 5}, TypeError, "rewards: 5.*Rewards"),
    ({"latency": "50ms"}, TypeError, "latency: '50ms' is a str; expected Latency"),
    ({"queue": "rebuilt"}, TypeError, "queue: 'rebuilt' is a str; expected Queue"),
    ({"gaps": "yes"}, TypeError, "gaps: 'yes' is a str; expected bool"),
    ({"journal": None}, TypeError, "journal: None"),
)


@pytest.mark.parametrize("wrong", [None, 5, {}, b"folder", [None]])
def test_what_is_no_session_is_refused(wrong):
    """What is neither a session nor a path is named."""
    with pytest.raises(TypeError, match="session: .*; expected a Session, a path, or several"):
        MarketEnv(wrong)


@pytest.mark.parametrize(("options", "error", "words"), REFUSED, ids=lambda each: str(each)[:30])
def test_options_that_mean_nothing_are_refused(options, error, words):
    """Each wrong option is an error that names it and says what was expected."""
    with pytest.raises(error, match=words):
        MarketEnv(session(), **options)


@pytest.mark.parametrize("action", [5, -1, 2.5, "1", [1, 2], [1, [2, 3]], None, True])
def test_actions_outside_the_space_are_refused(action):
    """An action that is none is a ValueError that says what is one, and nothing was done."""
    env = single(session())
    env.reset(seed=0)
    with pytest.raises(ValueError, match="limit5|different lengths"):
        env.step(action)
    assert len(env.simulation.journal()) == 1


def test_calls_out_of_turn_are_refused():
    """A step, a mask, a ledger or a result before the first reset asks for a reset."""
    env = single(session())
    for call in (lambda: env.step(0), env.action_masks, env.ledger, env.result, env.statistics):
        with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
            call()


def test_wrong_resets_are_refused():
    """Options of reset that are none, or not there, are named."""
    env = single(session())
    for options, words in (
        ({"marked": 1}, "marked"), ({"session": 3}, "session 3"), ({"market": "X"}, "X"),
        ({"cash": -1}, "cash: -1"), ({"start": 5}, "quoted from"),
        ({"market": 0}, "market 0; expected a ticker"), ({"market": ("X",)}, "expected a ticker"),
        ({"session": True}, "session True"), (5, "options 5; expected a dict"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            env.reset(seed=0, options=options)


def test_masks_and_ledgers_that_cannot_be_had_say_why():
    """A codec without masks, journals that are not kept, marks that no ledger splits."""
    env = single(session(), actions="quote")
    env.reset(seed=0)
    with pytest.raises(TypeError, match="quote.*no mask.*limit5"):
        env.action_masks()
    env = single(session(), journal=False)
    env.reset(seed=0)
    for call in (env.ledger, env.result):
        with pytest.raises(TypeError, match="journal=True"):
            call()
    env = single(session(), mark=Mark.CLOSE)
    env.reset(seed=0)
    with pytest.raises(TypeError, match="mid"):
        env.ledger()


def test_sessions_that_cannot_be_played_say_why():
    """A gap, fewer than three moments, and never a quote: each is named, with the way out."""
    gap = Scene().book(1, BOOK).more(2, SELL, 51, 100)
    gap.add(3, TapeKind.GAP)
    gap.book(4, BOOK).more(5, SELL, 51, 100)
    with pytest.raises(TapeError, match="written, market M: .*1 gap, .*3 ns.*gaps=True"):
        single(written(gap)).reset()
    env = single(written(gap), gaps=True)
    env.reset(seed=0)
    masks = [tuple(env.step(0)[4]["action_mask"]) for _ in range(2)]
    assert masks == [(1, 1, 0, 1, 0), (1, 0, 0, 0, 0)]
    short = Scene().book(1, BOOK).more(2, SELL, 51, 100)
    with pytest.raises(TapeError, match="2 moments.*needs 3"):
        single(written(short)).reset()
    empty = Scene()
    for ts in range(1, 6):
        empty.book(ts, {})
    with pytest.raises(TapeError, match="never has a quote; leave"):
        single(written(empty)).reset()


def test_cadence_is_a_value():
    """A cadence can be given as what it is."""
    assert Cadence.of("100ms") == Cadence("time", 100_000_000)
    assert Cadence.of(3) == Cadence("events", 3)
