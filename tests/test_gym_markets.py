"""One agent in several markets: the single environment where there is one, one account for all."""

from __future__ import annotations

import copy
import itertools
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gyms import LATENCIES, draws, play, same, session, single
from scenes import BOOK, Scene
from test_gym_masks import REFUSED
from test_gym_observations import best_bid, inventory
from test_look_ahead import other_tail

from foldbook.adapters.gym import MARKETS_ID, MarketsEnv
from foldbook.engine import NO_FEES, Session, Side, Tape, TapeError, dollars
from foldbook.engine.codecs import limit5, now5, sized21
from foldbook.engine.episodes import Rewards
from foldbook.engine.kernels import layout
from foldbook.engine.observations import CLASSIC52, CORE, feature
from foldbook.engine.schema import TAPE_DTYPE, CauseKind, JournalKind, MarketStatus, TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import SECOND

CADENCES = ("change", 10, "200ms")


def several(played, **options) -> MarketsEnv:
    """Return a bare environment, made as users make it."""
    return gymnasium.make(
        MARKETS_ID, session=played, disable_env_checker=True, **options
    ).unwrapped


def staggered(late: int = 20 * SECOND) -> Session:
    """Return a session whose second market is recorded `late` ns after the first."""
    whole = session(7)
    rows = whole.tape.rows.copy()
    for name in ("ts", "recv"):
        rows[name][rows["market"] == 1] += late
    rows = rows[np.argsort(rows["ts"], kind="stable")]
    return Session(Tape(rows), whole.markets, name="staggered")


@pytest.mark.parametrize("mode", [None, "ansi"])
@pytest.mark.parametrize("shape", ["flat", "dict"])
def test_gymnasium_finds_nothing_to_complain_of(shape, mode):
    """check_env passes without a warning for both layouts and each render mode, with padding."""
    options = {"layout": shape, "markets": 3, "max_steps": 40, "render_mode": mode}
    check_env(gymnasium.make(MARKETS_ID, session=session(), **options).unwrapped)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("cadence", CADENCES, ids=str)
@pytest.mark.parametrize("actions", ["limit5", "quote"])
def test_one_market_is_the_single_environment(actions, cadence, latency):
    """With one market, observations, rewards, ends, infos, masks and the journal are those of the
    single environment, episode after episode, from random starts."""
    played = [session(7), session(8)]
    options = {"actions": actions, "cadence": cadence, "start": "random", "max_steps": 60,
               "observation": "classic52", **LATENCIES[latency]}  # fmt: skip
    firsts = [each.markets[0].ticker for each in played]
    one, other = several(played, markets=1, **options), single(played, market=firsts, **options)
    rng = np.random.default_rng(5)
    ours, theirs = one.reset(seed=3), other.reset(seed=3)
    for action in (next(draws(other, rng)) for _ in range(200)):
        assert same(ours[:-1], theirs[:-1])
        mine, its = ours[-1], theirs[-1]
        assert mine.pop("markets") == (its.pop("market"),)
        assert mine.pop("position").tolist() == [its.pop("position")]
        assert mine.pop("present").tolist() == [1]
        assert same(mine, its)
        ours, theirs = one.step(np.atleast_1d(action)), other.step(action)
        if theirs[2] or theirs[3]:
            assert same(one.ledger(), other.ledger())
            assert one.simulation.journal().digest == other.simulation.journal().digest
            ours, theirs = one.reset(), other.reset()


@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_each_market_looks_as_it_does_alone(cadence):
    """While nothing is done, what is shown of each market is what the single environment shows of
    it at that time, but for when it last looked."""
    played = session(7, markets=3)
    env = several(played, markets=3, cadence=cadence, observation="core")
    env.reset(seed=0)
    alone = [single(played, market=each.ticker, cadence="change") for each in played.markets]
    shown = [each.reset(seed=0)[0] for each in alone]
    names = env.unwrapped.setting.features
    timeless = [k for k, each in enumerate(names) if each.name not in ("elapsed", "to_close")]
    compared = 0
    for _ in range(150):
        observed = env.step([0, 0, 0])[0].reshape(3, -1)
        for market, other in enumerate(alone):
            rows = env.simulation.bus.memory[env.simulation.bus.base(market) + layout.ROWS]
            while other.simulation.events < rows:
                shown[market] = other.step(0)[0]
            if other.simulation.events == rows:
                assert same(observed[market][timeless], shown[market][timeless])
                compared += 1
    assert compared > 200


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("cadence", CADENCES, ids=str)
def test_rewards_add_up_to_the_change_of_value(cadence, latency):
    """The reward units of an episode are the final value of the account, all markets together, less
    its opening value, exactly; the ledger of all markets adds up to the units of each step."""
    env = several(session(7, markets=3), markets=3, cadence=cadence, **LATENCIES[latency])
    told = play(env, 300, seed=5)
    units = [info["reward_units"] for *_, info in told[1:]]
    closed = told[-1][-1]["portfolio_value"]
    assert sum(units) == closed - told[0][1]["portfolio_value"] != 0
    assert closed == env.simulation.reward.value
    split = env.ledger()
    assert sum(split[name] for name in split.dtype.names).tolist() == units
    traded = {int(row["market"]) for row in env.simulation.journal().rows
              if row["kind"] == JournalKind.FILL}  # fmt: skip
    assert traded == {0, 1, 2}


def test_two_runs_with_one_seed_are_one():
    """Observations, rewards, ends, infos and journals are equal to the last bit; with another seed
    they are not."""
    options = {"markets": 2, "layout": "dict", "start": "random", "cadence": 5, "order": "random"}
    first, second, other = (several([session(7), session(8)], **options) for _ in range(3))
    told = play(first, 80, seed=3)
    assert same(told, play(second, 80, seed=3))
    assert first.simulation.journal().digest == second.simulation.journal().digest
    assert not same(told, play(other, 80, seed=4))


@pytest.mark.parametrize("codec", [limit5(), sized21("passive"), now5()], ids=lambda c: c.name)
def test_masked_is_refused(codec):
    """In every market: masked exactly if what the action sends there is refused, really tried on a
    fork, or sells what is not held; the account's cash is that of all markets."""
    options = {"cash": dollars(12), "cadence": "400ms"}
    env = several(session(7, markets=3), markets=3, actions=codec, **options)
    rng = np.random.default_rng(2)
    _, info = env.reset(seed=0)
    seen = np.zeros((3, 2), int)
    count = codec.dims[0]
    for _ in range(60 if count == 5 else 20):
        assert info["action_mask"].shape == (3 * count,)
        assert (env.action_masks() == (info["action_mask"] == 1)).all()
        masks = info["action_mask"].reshape(3, count)
        assert masks[:, 0].tolist() == [1, 1, 1]
        for market in range(3):
            held = int(info["position"][market])
            for action in range(1, count):
                intent, _ = codec.intent(action)
                wrong = (intent == "SELL_YES" and held <= 0) or (intent == "SELL_NO" and held >= 0)
                expected = wrong or is_refused(env, codec, market, action)
                assert masks[market, action] == (not expected), (market, intent, info["step"])
                seen[market, masks[market, action]] += 1
        *_, info = env.step(rng.integers(count, size=3))
    assert seen.min() > 10


def is_refused(env, codec, market: int, action: int) -> bool:
    run = env.simulation.fork()
    before = run.bus.memory[layout.JOURNAL_COUNT]
    codec.act(run, market, action)
    numbers = range(before, run.bus.memory[layout.JOURNAL_COUNT])
    return any(run.bus.row(number)["kind"] in REFUSED for number in numbers)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("actions", ["limit5", "now5", "quote", "quote_box"])
def test_a_codec_sends_the_same_through_a_gateway(actions, latency):
    """The journal is that of a simulation of all markets to which the codec is put by hand, market
    after market in their order, at the same moments."""
    played = session(7, markets=3)
    env = several(played, markets=3, actions=actions, cadence=20, **LATENCIES[latency])
    env.reset(seed=1)
    # With delays nothing has been shown at first, so that only the clock could be the cause.
    while not env.simulation.bus.sight[layout.CURSOR]:
        env.step(np.zeros(env.action_space.shape, env.action_space.dtype))
    by_hand = env.simulation.fork()
    for action in itertools.islice(draws(env, np.random.default_rng(4)), 150):
        by_hand.cause = by_hand.last_burst()
        for market, part in enumerate(np.split(action, 3)):
            env.codec.act(by_hand, market, part)
        by_hand.advance(events=20)
        env.step(action)
    rows = env.simulation.journal()
    assert rows.first_difference(by_hand.journal()) is None
    causes = rows.rows[rows.rows["kind"] == JournalKind.SUBMITTED]
    assert set(causes["cause_kind"]) == {CauseKind.TAPE}
    assert len(set(causes["cause_market"])) == 3


def test_portfolio_features_are_of_the_account():
    """Each feature of the portfolio is recomputed from the views, with several markets held."""
    env = several(session(7, markets=3), markets=3, observation="classic52", actions="now5",
                  cadence=25)  # fmt: skip
    env.reset(seed=0)
    rng = np.random.default_rng(1)
    spread = 0
    for _ in range(40):
        observed, *_, info = env.step(rng.integers(1, 5, size=3))
        held = np.abs(info["position"]) / 100
        sim, total = env.simulation, held.sum()
        value, worth = sim.reward.value, sim.reward.value - sim.positions.cash
        spread = max(spread, int((held > 0).sum()))
        for market, row in enumerate(observed.reshape(3, -1)):
            told = dict(zip(CLASSIC52, row.tolist(), strict=True))
            mid2, own = sim.book(market).mark2, info["position"][market]
            own_value = abs(own) * (mid2 if own > 0 else 20_000 - mid2) // 2
            expected = {
                "cash_share": sim.positions.available / value,
                "position_share": own_value / value,
                "long_share": own_value / value if own > 0 else 0,
                "short_share": own_value / value if own < 0 else 0,
                "net_bias": np.sign(own),
                "leverage": worth / value / 2,
                "positions": (held > 0).sum() / 10,
                "mean_position": total / max((held > 0).sum(), 1) / 1000,
                "largest_position": held.max() / 1000,
                "concentration": held.max() / total if total else 0,
                "diversity": 1 - (held**2).sum() / total**2 if total else 0,
            }
            assert {name: told[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert spread == 3


@pytest.mark.parametrize("shape", ["flat", "dict"])
def test_missing_markets_are_padded(shape):
    """A session with fewer markets: zeros are observed, all but HOLD is masked, nothing is done
    there; the markets that are there are as they are without padding."""
    both = [session(7, markets=2), session(8, markets=4)]
    env, plain = (several(both, markets=k, layout=shape, cadence=10) for k in (4, 2))
    observation, info = env.reset(seed=0)
    theirs = plain.reset(seed=0)
    width = len(CORE)
    for step in range(120):
        assert info["present"].tolist() == [1, 1, 0, 0]
        assert info["action_mask"].reshape(4, 5)[2:].tolist() == [[1, 0, 0, 0, 0]] * 2
        assert observation in env.observation_space
        rows = observation["markets"] if shape == "dict" else observation.reshape(4, width)
        other = theirs[0]["markets"] if shape == "dict" else theirs[0].reshape(2, width)
        assert same(np.ascontiguousarray(rows[:2]), np.ascontiguousarray(other))
        assert not rows[2:].any()
        if shape == "dict":
            assert observation["present"].tolist() == [1, 1, 0, 0]
        observation, reward, *_, info = env.step([step % 5, step % 3, 1, 2])
        theirs = plain.step([step % 5, step % 3])
        assert reward == theirs[1]
    assert env.simulation.journal().digest == plain.simulation.journal().digest
    assert env.reset()[1]["present"].tolist() == [1, 1, 1, 1]
    assert env.feature_names[0] == f"market0.{CORE[0]}" and len(env.feature_names) == 4 * width
    assert env.feature_names[-1] == f"market3.{CORE[-1]}"


def test_padding_is_inside_the_space_of_features_that_are_never_zero():
    """The zeros of a market that is not there are observed within the bounds that are declared,
    also where a feature of one's own never comes near them."""
    one, two = (
        feature(f"{name}_of_mine", low, high, "dollars")(best_bid)
        for name, low, high in (("above", 1.0, 2.0), ("below", -2.0, -1.0))
    )
    env = several(session(), markets=3, observation=[one, two])
    space = env.observation_space
    assert space.low.tolist() == [0, -2] * 3 and space.high.tolist() == [2, 0] * 3
    full = several(session(), markets=2, observation=[one, two]).observation_space
    assert full.low.tolist() == [1, -2] * 2 and full.high.tolist() == [2, -1] * 2


def test_a_market_that_has_not_begun_shows_nothing_of_itself():
    """Before the first event of a market, what does not depend on the agent is zero there, all but
    HOLD is masked, and its first book is shown when it comes."""
    played = staggered()
    names = ("yes_bid", "yes_ask", "microprice", "bid_size_1", "hour", "event_rate_10s")
    env = several(played, markets=2, observation=names, cadence="1s")
    opens = played.tape.rows["ts"][played.tape.rows["market"] == 1][0]
    observation, info = env.reset(seed=0)
    held = []
    while env.simulation.now < opens:
        assert not observation.reshape(2, -1)[1].any() and observation.reshape(2, -1)[0].any()
        assert info["action_mask"][5:].tolist() == [1, 0, 0, 0, 0]
        # A fill elsewhere makes books be looked at anew.
        observation, *_, info = env.step([1, 1])
        held.append(info["position"][0])
    assert len(held) > 10 and held[-2] > 0
    while env.simulation.now < opens + SECOND:
        observation = env.step([0, 0])[0]
    assert observation.reshape(2, -1)[1][:2].tolist() == pytest.approx(
        [env.simulation.book(1).best_bid / 1e4, env.simulation.book(1).best_ask / 1e4]
    )


def test_nothing_of_the_future_is_seen():
    """With another future after t, in markets that begin one after the other, everything up to t is
    the same to the last bit, and something after it is not."""
    played = staggered()
    options = {"markets": 2, "cadence": "150ms", "observation": [*CORE, "hour", "divergence"],
               "gaps": True}  # fmt: skip
    times = played.tape.rows["ts"]
    for part in (1, 3, 5, 7):
        t = int(times[len(times) * part // 9])
        envs = [several(each, **options) for each in (played, other_tail(played, t, seed=part))]
        ours, theirs = (env.reset(seed=1)[0] for env in envs)
        rng = np.random.default_rng(part)
        count = 0
        while envs[0].simulation.now <= t:
            assert same(ours, theirs)
            action = rng.integers(5, size=2)
            ours, theirs = (env.step(action)[0] for env in envs)
            count += 1
        assert count > 5 and not same(ours, theirs)


@pytest.mark.parametrize("first", [0, 1])
def test_the_episode_ends_when_all_markets_have_settled(first):
    """One settled market ends nothing, whichever it is; the last one terminates, and both were
    paid."""
    scene = Scene()
    for market in (0, 1):
        scene.book(1_000 + market, BOOK, market)
    for ts in (2_000, 3_000):
        for market in (0, 1):
            scene.book(ts + market, BOOK, market)
    scene.status(4_000, MarketStatus.CLOSED, market=first)
    scene.status(5_000, MarketStatus.SETTLED, payout=10_000, market=first)
    scene.book(6_000, BOOK, 1 - first)
    scene.status(7_000, MarketStatus.CLOSED, market=1 - first)
    scene.status(8_000, MarketStatus.SETTLED, payout=0, market=1 - first)
    markets = (Market("A"), Market("B"))
    played = Session(Tape(scene.rows()), markets, name="written")
    env = several(played, markets=2, actions=now5(400), fees=NO_FEES, cadence=1)
    _, opened = env.reset(seed=0)
    env.step([1, 0])
    env.step([0, 1])
    ended = []
    while not ended or not (ended[-1][2] or ended[-1][3]):
        ended.append(env.step([0, 0]))
    told = ended[-1]
    assert told[2:4] == (True, False)
    settled = [info["portfolio_value"] for *_, info in ended]
    # Four contracts bought at 50 in each: one pays a dollar, the other nothing.
    assert settled[-1] - opened["portfolio_value"] == 400 * 5_000 - 400 * 5_000
    paid = env.simulation.journal().rows
    assert (paid["kind"] == JournalKind.SETTLED).sum() == 2
    with pytest.raises(gymnasium.error.ResetNeeded, match="over: call reset"):
        env.step([0, 0])


def test_holding_costs_what_all_markets_hold():
    """The inventory term counts the contracts of every market."""
    env = several(session(), markets=2, actions="now5", cadence="1s", reward_scale=1.0,
                  rewards=Rewards(value=0, inventory=50))  # fmt: skip
    env.reset(seed=0)
    positions = env.step([1, 3])[4]["position"]
    while not positions.all():
        positions = env.step([int(positions[0] == 0), 3 * int(positions[1] == 0)])[4]["position"]
    assert positions[0] > 0 > positions[1]
    for _ in range(5):
        held, since = sum(map(abs, env.step([0, 0])[4]["position"])), env.simulation.now
        cost = env.step([0, 0])[1]
        seconds = (env.simulation.now - since) / 1e9
        assert cost == pytest.approx(-50 * held / 100 * seconds, rel=1e-9)


@pytest.mark.parametrize("how", ["pickle", "deepcopy", "fork"])
def test_copies_go_on_alone(how):
    """A copy made mid-episode goes on exactly as the original does."""
    env = several(session(), markets=3, layout="dict", start="random", stack=2)
    play(env, 60, seed=6)
    copies = {"pickle": lambda each: pickle.loads(pickle.dumps(each)), "deepcopy": copy.deepcopy,
              "fork": lambda each: each.fork()}  # fmt: skip
    stood = env.simulation.bus.state_bytes()
    twin = copies[how](env)
    actions = np.random.default_rng(1).integers(5, size=(60, 3))
    ours = [env.step(action) for action in actions]
    assert twin.simulation.bus.state_bytes() == stood
    assert same(ours, [twin.step(action) for action in actions])
    assert same(env.ledger(), twin.ledger()) and same(env.reset(), twin.reset())
    assert ours[0][0]["markets"].shape == (2, 3, len(CORE))


def test_codecs_and_features_of_ones_own():
    """A user's codec is asked for each market in turn, and a user's features observe each."""
    class Buyer:
        name, dims = "buyer", (2,)

        def act(self, gateway, market, action):
            if action[0]:
                gateway.submit(market, Side.BUY, gateway.book(market).best_ask, 100)

        def mask(self, gateway, market):
            return [True, market == 1]

    mine = feature("bid_of_mine", 0.0, 1.0, "dollars")(best_bid)
    held = feature("inventory_of_mine", -1.0, 1.0, "shares")(inventory)
    env = several(session(), markets=3, actions=Buyer(), cadence=10,
                  observation=[mine, "yes_bid", held, "inventory"])  # fmt: skip
    env.reset(seed=0)
    for step in range(20):
        observed, *_, info = env.step([step % 2, 1, 1])
        assert info["action_mask"].tolist() == [1, 0, 1, 1, 1, 0]
        rows = observed.reshape(3, 4)
        assert same(rows[:2, 0].copy(), rows[:2, 1].copy())
        assert same(rows[:2, 2].copy(), rows[:2, 3].copy())
        assert rows[:2, 0].all()
    sent = env.simulation.journal().rows
    sent = sent["market"][sent["kind"] == JournalKind.SUBMITTED]
    assert np.bincount(sent).tolist() == [10, 20]


def test_markets_of_different_grids_are_played_together():
    """Cents in one market, tenths of a cent in the other: each is priced on its own grid."""
    cents, tenths = (session(seed, markets=1, tick=tick) for seed, tick in ((7, 100), (8, 10)))
    rows = np.concatenate([cents.tape.rows, tenths.tape.rows])
    rows["market"][len(cents.tape) :] = 1
    rows = rows[np.argsort(rows["ts"], kind="stable")]
    played = Session(Tape(rows), (*cents.markets, *tenths.markets), name="both")
    env = several(played, markets=2, actions=limit5("mid"), cadence=10)
    play(env, 200, seed=1)
    sent = env.simulation.journal().rows
    sent = sent[sent["kind"] == JournalKind.SUBMITTED]
    steps = [sent["price"][sent["market"] == market] for market in (0, 1)]
    assert (steps[0] % 100 == 0).all() and (steps[1] % 100 != 0).any()
    assert all(len(each) > 10 for each in steps)


def test_maskable_ppo_never_takes_what_is_masked():
    """SB3's check_env passes without a warning for the flat layout, and sb3-contrib reads the masks
    as they stand: nothing that it did in training was masked, where a tenth of it could be."""
    torch = pytest.importorskip("torch")
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.env_checker import check_env as check_for_sb3

    class Watched(MarketsEnv):
        taken: list[bool] = []  # noqa: RUF012

        def step(self, action):
            mask = self.action_masks().reshape(3, 5)
            self.taken += mask[np.arange(3), action].tolist()
            allowed.append(mask.mean())
            return super().step(action)

    allowed: list[float] = []
    torch.set_num_threads(1)
    options = {"markets": 3, "cadence": "500ms", "max_steps": 60}
    check_for_sb3(MarketsEnv(session(), **options))
    model = MaskablePPO("MlpPolicy", Watched(session(), **options), n_steps=64, batch_size=32,
                        n_epochs=1, seed=1, device="cpu")  # fmt: skip
    model.learn(128)
    assert len(Watched.taken) == 3 * 128 and all(Watched.taken)
    assert np.mean(allowed) < 0.9


def test_text_shows_every_market():
    """One book for each market that is played, each with its ticker."""
    env = several(session(), markets=3, render_mode="ansi")
    env.reset(seed=0)
    shown = env.render().split("\n\n")
    assert [part.split()[0] for part in shown] == [each.ticker for each in session().markets]
    assert several(session(), markets=2).render() is None


def test_reset_takes_session_start_and_cash():
    """Each option of reset is what is played, once; tickers name what is played."""
    both = [session(7), session(8)]
    tickers = [both[0].markets[1].ticker, *(each.ticker for each in both[1].markets)]
    env = several(both, markets=tickers)
    start = both[1].start + 20 * SECOND
    _, info = env.reset(seed=0, options={"session": 1, "start": start, "cash": dollars(7)})
    assert (info["session"], info["cash"]) == (1, dollars(7))
    assert info["markets"] == tuple(tickers[1:]) and info["present"].tolist() == [1, 1, 0]
    tape = env.simulation.session.tape.rows
    assert env.simulation.now <= start < tape["ts"][env.simulation.events]
    _, info = env.reset(options={"session": 0})
    assert (info["markets"], info["cash"]) == ((tickers[0],), dollars(100))


WRONG_OPTIONS = (
    ({"markets": 0}, ValueError, "markets: 0.*above zero"),
    ({"markets": "SYN-7-000"}, ValueError, "markets.*or tickers"),
    ({"markets": ["A", "A"]}, ValueError, "markets.*or tickers"),
    ({"markets": ["A", "SYN-7-000"]}, ValueError, "'A' is in none"),
    ({"markets": ["A"]}, ValueError, "session synthetic.* has none of"),
    ({"market": "random"}, TypeError, "markets="),
    ({"layout": "square"}, ValueError, "square.*flat, dict"),
    ({"order": "active"}, ValueError, "active.*next, random"),
    ({"cadence": "quote"}, ValueError, "one market.*'change'"),
    ({"render_mode": "human"}, ValueError, "human.*ansi"),
    ({"render_mode": "rgb_array"}, ValueError, "'rgb_array'; expected ansi$"),
    ({"markets": None}, ValueError, "markets: None.*a number above zero, or tickers"),
    ({"colour": "blue"}, TypeError, "colour"),
)


@pytest.mark.parametrize(
    ("options", "error", "words"), WRONG_OPTIONS, ids=lambda each: str(each)[:30]
)
def test_options_that_mean_nothing_are_refused(options, error, words):
    """Each wrong option is an error that names it and says what was expected."""
    with pytest.raises(error, match=words):
        MarketsEnv(session(), **options)


@pytest.mark.parametrize("action", [0, [0], [0, 0, 0], [0, 5], [0, -1], [0, 1.5], None, "12"])
def test_actions_outside_the_space_are_refused(action):
    """An action that is none is a ValueError that says what is one, and nothing was done."""
    env = several(session(), markets=2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="limit5"):
        env.step(action)
    assert len(env.simulation.journal()) == 1


def test_calls_out_of_turn_and_wrong_resets_are_refused():
    """A step or a mask before the first reset asks for a reset; options that are none are named."""
    env = several(session(), markets=2)
    for call in (lambda: env.step([0, 0]), env.action_masks):
        with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
            call()
    for options, words in (({"market": "X"}, "market"), ({"session": 1}, "session 1"),
                           ({"start": 5}, "quoted from"), ({"cash": -1}, "cash: -1")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            env.reset(seed=0, options=options)
    quotes = several(session(), markets=2, actions="quote")
    quotes.reset(seed=0)
    with pytest.raises(TypeError, match="no mask"):
        quotes.action_masks()


def test_sessions_that_cannot_be_played_say_why():
    """A gap, and a market that never has a quote, are named with their market and the way out."""
    whole = session(7)
    gap = np.zeros(1, TAPE_DTYPE)
    gap["ts"] = gap["recv"] = whole.end + 1
    gap["kind"], gap["market"] = TapeKind.GAP, 1
    broken = Session(Tape(np.append(whole.tape.rows, gap)), whole.markets, name="broken")
    with pytest.raises(TapeError, match=f"broken, market {whole.markets[1].ticker}: .*1 gap"):
        several(broken, markets=2).reset(seed=0)
    several(broken, markets=1).reset(seed=0)
    rows = whole.tape.rows[whole.tape.rows["market"] == 0]
    empty = Session(Tape(rows), whole.markets, name="empty")
    with pytest.raises(TapeError, match=f"{whole.markets[1].ticker}: never has a quote; leave"):
        several(empty, markets=2).reset(seed=0)
