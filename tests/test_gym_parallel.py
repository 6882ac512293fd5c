"""Agents on one book: PettingZoo's contract, each as it would be alone, and money conserved."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gyms import LATENCIES, draws, same, session, single
from pettingzoo.test import parallel_api_test, parallel_seed_test
from scenes import BOOK, BUY, SELL, Scene
from test_gym_masks import REFUSED, interrupted

from foldbook.adapters.gym.parallel import ParallelMarketEnv, parallel_env
from foldbook.engine import NO_FEES, Latency, Mark, Session, Tape, dollars
from foldbook.engine.codecs import Codec, limit5, now5, quote, sized21
from foldbook.engine.kernels import layout
from foldbook.engine.lifecycle import check_journal
from foldbook.engine.observations import feature
from foldbook.engine.schema import Evidence, JournalKind, MarketStatus, Side
from foldbook.engine.specs import Market
from foldbook.engine.units import SECOND

DELAYS = {"none": {}, "commands": {"latency": Latency.constant("40ms", cancel="25ms")}}
CODECS = ("limit5", "sized21", "now5", "quote", "quote_box")


def written(scene: Scene) -> Session:
    """Return a session of one market from a tape written by hand."""
    return Session(Tape(scene.rows()), (Market("M"),), name="written")


def quiet(moments: int = 6) -> Session:
    """A market whose book stands still: it changes far from the touch alone."""
    scene = Scene().book(1_000, BOOK)
    for ts in range(2_000, 1_000 * (moments + 2), 1_000):
        scene.more(ts, BUY, 5, 100)
    return written(scene)


def play(env: ParallelMarketEnv, steps: int, seed: int, idle: tuple[str, ...] = ()) -> list:
    """Reset with a seed, take random steps until nobody is left, and return all that was told; the
    idle do nothing."""
    told: list = [env.reset(seed=seed)]
    rng = np.random.default_rng(seed)
    space = env.action_space(env.possible_agents[0])
    chosen = draws(type("Env", (), {"action_space": space}), rng)
    for _ in range(steps):
        if not env.agents:
            break
        drawn = {name: next(chosen) for name in env.possible_agents}
        told.append(env.step({n: 0 * drawn[n] if n in idle else drawn[n] for n in env.agents}))
    return told


@pytest.mark.parametrize("actions", CODECS)
def test_pettingzoo_finds_nothing_to_complain_of(actions):
    """Its parallel API test passes without a warning, and so does its test of seeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(parallel_env(session(), 3, actions=actions), num_cycles=400)
        parallel_seed_test(lambda: parallel_env(session(), 2, actions=actions), num_cycles=100)


@pytest.mark.parametrize("latency", DELAYS)
@pytest.mark.parametrize("actions", ["limit5", "now5", "quote"])
@pytest.mark.parametrize("cadence", ["change", "quote", 10, "200ms"], ids=str)
def test_who_is_alone_is_in_the_single_environment(cadence, actions, latency):
    """Where the other agents do nothing, one agent's observations, rewards, ends, masks and infos
    are those of the single environment, whichever number it has, from random starts."""
    options = {"actions": actions, "cadence": cadence, "start": "random", "max_steps": 80,
               "market": "random", **DELAYS[latency]}  # fmt: skip
    for number in range(2):
        me = f"agent_{number}"
        env, other = parallel_env(session(), 2, **options), single(session(), **options)
        idle = 0 if actions != "quote" else [0, 0, 0, 0]
        drawn = draws(other, np.random.default_rng(number))
        for seed in (3, None):
            observations, infos = env.reset(seed=seed)
            theirs = other.reset(seed=seed)
            assert same(observations[me], theirs[0])
            while env.agents:
                action = next(drawn)
                told = env.step(dict.fromkeys(env.agents, idle) | {me: action})
                theirs = other.step(action)
                del theirs[-1]["journal"]
                assert same([each[me] for each in told], list(theirs))
            assert infos[me]["step"] == 0 and theirs[-1]["step"] == 80


@pytest.mark.parametrize("codec", [limit5(), limit5("mid"), sized21(), now5(), quote()],
                         ids=lambda each: f"{each.name}-{each.policy}")  # fmt: skip
@pytest.mark.parametrize("latency", DELAYS)
def test_a_codec_sends_the_same_through_a_gateway(codec, latency):
    """The journal is that of accounts to which the codec is put by hand, in the order that the
    environment states, at the same moments; they do trade with each other."""
    env = parallel_env(session(), 3, actions=codec, cadence=20, **DELAYS[latency])
    env.reset(seed=1)
    by_hand = env.accounts.fork()
    drawn = draws(single(session(), actions=codec), np.random.default_rng(6))
    for step in range(150):
        actions = {name: next(drawn) for name in env.agents}
        for turn in range(3):
            number = (step + turn) % 3
            by_hand[number].cause = by_hand[number].last_burst()
            codec.act(by_hand[number], 0, actions[f"agent_{number}"])
        by_hand.advance(events=20)
        env.step(actions)
    ours = env.accounts.journal()
    assert ours.first_difference(by_hand.journal()) is None
    check_journal(ours.rows)
    met = (ours.rows["evidence"] == Evidence.ACCOUNT).sum()
    assert met > 4 or codec not in (limit5(), sized21())


@pytest.mark.parametrize("codec", [limit5(), limit5("passive"), sized21(), now5()],
                         ids=lambda each: f"{each.name}-{each.policy}")  # fmt: skip
def test_masked_is_refused(codec):
    """For every agent: masked exactly if what the action sends is refused, really tried on a fork,
    or sells what is not held; orders of others are in the way of nobody's cancels."""
    every = "230ms" if len(codec.sizes) == 1 else "900ms"
    env = parallel_env(interrupted(), 2, actions=codec, gaps=True, cash=[dollars(7), dollars(40)],
                       cadence=every)  # fmt: skip
    rng = np.random.default_rng(8)
    _, infos = env.reset(seed=0)
    seen = np.zeros((2, 2), int)
    while env.agents and infos["agent_0"]["step"] < 250:
        for number, name in enumerate(env.agents):
            mask, held = infos[name]["action_mask"], infos[name]["position"]
            assert mask[0] == 1 and mask.dtype == np.int8
            assert (env.action_masks(name) == (mask == 1)).all()
            for action in range(1, codec.dims[0]):
                intent, _ = codec.intent(action)
                wrong = (intent == "SELL_YES" and held <= 0) or (intent == "SELL_NO" and held >= 0)
                expected = wrong or is_refused(env, codec, number, action)
                assert mask[action] == (not expected), (name, intent, infos[name]["step"])
                seen[number, mask[action]] += 1
        actions = {name: int(rng.integers(codec.dims[0])) for name in env.agents}
        *_, infos = env.step(actions)
    assert seen.min() > 50


def is_refused(env: ParallelMarketEnv, codec: Codec, number: int, action: int) -> bool:
    accounts = env.accounts.fork()
    before = accounts.bus.memory[layout.JOURNAL_COUNT]
    codec.act(accounts[number], 0, action)
    numbers = range(before, accounts.bus.memory[layout.JOURNAL_COUNT])
    rows = [accounts.bus.row(each) for each in numbers]
    return any(row["kind"] in REFUSED and row["account"] == number for row in rows)


def test_two_agents_trade_by_hand():
    """agent_0 buys ten at the ask of 50, gets the four that are displayed and bids for six; in the
    same step agent_1 sells ten at that bid, six of them to agent_0 at 50; the other four rest. A
    pair of theirs costs one dollar together, and nothing else has moved between them."""
    env = parallel_env(quiet(), 2, actions="limit5", fees=NO_FEES)
    env.reset(seed=0)
    _, _, _, _, infos = env.step({"agent_0": 1, "agent_1": 3})
    assert infos["agent_0"]["position"] == 1000 and infos["agent_1"]["position"] == -600
    spent = [100_000_000 - infos[name]["cash"] for name in env.agents]
    assert spent == [1000 * 5_000, 600 * 5_000]
    met = [row for row in env.accounts.journal().rows if row["evidence"] == Evidence.ACCOUNT]
    assert [(row["account"], row["qty"], row["price"]) for row in met] == [
        (1, 600, 5_000), (0, 600, 5_000),
    ]  # fmt: skip
    assert infos["agent_0"]["fills"] == 2 and infos["agent_1"]["fills"] == 1
    assert [each.left for each in env.accounts[1].orders.open()] == [400]


def test_whoever_comes_first_comes_last_in_the_next_step():
    """Of three who want the same displayed contracts, that of the step's number gets the best, and
    the others what is left, in turn."""
    scene = Scene()
    for step in range(8):
        asks = (50, 51, 53) if step % 2 == 0 else (60, 61, 63)
        scene.book(1_000 * (1 + step), {BUY: {40: 100}, SELL: dict.fromkeys(asks, 400)})
    env = parallel_env(written(scene), 3, actions=now5(400), fees=NO_FEES)
    env.reset(seed=0)
    for step in range(5):
        env.step(dict.fromkeys(env.agents, 1))
        prices = [price_of_last(env, (step + turn) % 3) for turn in range(3)]
        base = 5_000 if step % 2 == 0 else 6_000
        assert prices == [base, base + 100, base + 300]


def price_of_last(env: ParallelMarketEnv, number: int) -> int:
    rows = env.accounts[number].journal().rows
    return int(rows["price"][rows["kind"] == JournalKind.FILL][-1])


@pytest.mark.parametrize("actions", ["limit5", "sized21"])
def test_what_they_make_together_is_what_they_made_with_the_record(actions):
    """After the settlement the sum of their cash has changed by what their fills against the record
    brought, less fees: what they traded with each other has cost the one what it gave the other."""
    played = session(11, markets=1, minutes=2)
    env = parallel_env(played, 3, actions=actions, cadence=15, cash=dollars(500))
    told = play(env, 100_000, seed=4)
    infos, ended = told[-1][4], told[-1][2]
    assert all(ended.values()) and len(ended) == 3
    assert all(info["position"] == 0 for info in infos.values())
    rows = env.accounts.journal().rows
    fills = rows[rows["kind"] == JournalKind.FILL]
    payout = int(played.tape.rows["price"][played.tape.rows["qty"] == MarketStatus.SETTLED][-1])
    alone = fills[fills["evidence"] != Evidence.ACCOUNT]
    signed = np.where(alone["side"] == Side.BUY, alone["qty"], -alone["qty"])
    brought = int((signed * (payout - alone["price"].astype(np.int64))).sum())
    gained = sum(info["cash"] - dollars(500) for info in infos.values())
    assert gained == brought - int(rows["fee"].sum())
    among = fills[fills["evidence"] == Evidence.ACCOUNT]
    assert len(among) > 10 and len(alone) > 10
    bought = among["qty"][among["side"] == Side.BUY].sum()
    assert bought == among["qty"][among["side"] == Side.SELL].sum()


@pytest.mark.parametrize("cadence", ["change", 10, "200ms"], ids=str)
def test_rewards_add_up_to_the_change_of_value(cadence):
    """The reward units of each agent are its final value less its opening value, exactly; the value
    and the position are what its account says."""
    env = parallel_env(session(), 3, cadence=cadence, cash=[dollars(n) for n in (50, 100, 150)])
    told = play(env, 300, seed=5)
    for number, name in enumerate(env.possible_agents):
        opened = told[0][1][name]["portfolio_value"]
        infos = [each[4][name] for each in told[1:]]
        assert opened == dollars((50, 100, 150)[number])
        closed = infos[-1]["portfolio_value"]
        assert sum(info["reward_units"] for info in infos) == closed - opened != 0
        assert [each[1][name] for each in told[1:]] == [
            info["reward_units"] * 1e6 * (1e-8 / 1e6) for info in infos
        ]
        account = env.accounts[number]
        assert closed == account.reward.value and infos[-1]["cash"] == account.positions.cash
        assert infos[-1]["position"] == account.positions.qty(0)
        fills = account.journal().rows["kind"] == JournalKind.FILL
        assert sum(info["fills"] for info in infos) == fills.sum() > 0


def test_two_runs_with_one_seed_are_one():
    """Observations, rewards, ends, infos and the journal are equal to the last bit; with another
    seed they are not; an environment that has played goes on as a new one begins."""
    options = {"market": "random", "start": "random", "cadence": 5}
    first, second, other = (parallel_env(session(), 3, **options) for _ in range(3))
    told = play(first, 80, seed=3)
    assert same(told, play(second, 80, seed=3))
    assert first.accounts.journal().digest == second.accounts.journal().digest
    assert not same(told, play(other, 80, seed=4))
    assert same(told, play(other, 80, seed=3))
    assert same(first.reset(), second.reset())


def test_agents_see_the_orders_of_others_and_not_their_own():
    """agent_0 bids 49 between 48 and 50: that is the best bid for agent_1, with its size, and not
    for itself; it is agent_0 that has an order there."""
    names = ("yes_bid", "yes_ask", "bid_size_1", "bid_gap_2", "has_buy", "buy_distance")
    env = parallel_env(quiet(), 2, actions=limit5("mid"), observation=names, fees=NO_FEES)
    env.reset(seed=0)
    observed, *_ = env.step({"agent_0": 1, "agent_1": 0})
    size = {qty: np.log1p(qty / 100) / np.log1p(10_000) for qty in (500, 1000)}
    assert observed["agent_0"].tolist() == pytest.approx([0.48, 0.50, size[500], 0.1, 1, 0])
    assert observed["agent_1"].tolist() == pytest.approx([0.49, 0.50, size[1000], 0.1, 0, 0])
    # A middle between that bid and the ask is no price of the grid: agent_1 offers at the ask.
    observed, *_ = env.step({"agent_0": 0, "agent_1": 3})
    assert observed["agent_0"].tolist()[:2] == pytest.approx([0.48, 0.50])
    assert [order.price for order in env.accounts[1].orders.open()] == [5_000]


def test_the_last_order_is_ones_own():
    """The time since the last new order is that of each agent's own rows of the journal."""
    env = parallel_env(session(), 3, actions=limit5("passive"), observation=["since_order"],
                       cadence=20)  # fmt: skip
    rng = np.random.default_rng(3)
    env.reset(seed=0)
    for _ in range(100):
        observed, *_ = env.step({name: int(rng.integers(5)) for name in env.agents})
        for number, name in enumerate(env.agents):
            rows = env.accounts[number].journal().rows
            sent = rows["ts"][rows["kind"] == JournalKind.SUBMITTED]
            since = (env.accounts.now - sent[-1]) / (300 * SECOND) if len(sent) else 1
            assert observed[name][0] == pytest.approx(min(since, 1), abs=1e-6)


def test_own_features_are_of_each_agent():
    """A user's compiled feature that imitates a built-in one is the same for each agent."""
    from test_gym_observations import inventory

    mine = feature("inventory_of_mine", -1.0, 1.0, "shares")(inventory)
    env = parallel_env(session(), 2, actions="now5", observation=[mine, "inventory"], cadence=10)
    held = set()
    for observations, *_ in play(env, 60, seed=2):
        for numbers in observations.values():
            assert numbers[0] == numbers[1]
            held.add(float(numbers[0]))
    assert len(held) > 5


def test_whoever_is_worth_nothing_leaves():
    """An agent whose value reaches 0 is terminated, and leaves with its orders canceled; the other
    plays on to the end. A step with an action of one that has left is refused."""
    scene = Scene().book(1_000, BOOK).trade(2_000, BUY, 48, 500).trade(2_000, BUY, 47, 400)
    scene.book(3_000, {SELL: {53: 100}})
    for ts in range(4_000, 9_000, 1_000):
        scene.more(ts, SELL, 55, 100)
    # All of the cash is four contracts at 48, which a trade at 47 fills; nobody bids afterwards.
    env = parallel_env(written(scene), 2, actions=limit5("passive", 400), fees=NO_FEES,
                       cash=[400 * 4_800, dollars(9)], mark=Mark.CLOSE)  # fmt: skip
    env.reset(seed=0)
    *_, infos = env.step({"agent_0": 1, "agent_1": 0})
    assert infos["agent_0"]["position"] == 400 and infos["agent_0"]["cash"] == 0
    _, _, ended, cut, infos = env.step({"agent_0": 2, "agent_1": 0})
    assert ended == {"agent_0": True, "agent_1": False} and not any(cut.values())
    rows = env.accounts.journal().rows
    last = rows[rows["order"] == 2][-1]
    assert (last["account"], last["kind"]) == (0, JournalKind.CANCELED)
    assert infos["agent_0"]["portfolio_value"] == 0 and "statistics" in infos["agent_0"]
    assert "statistics" not in infos["agent_1"] and env.agents == ["agent_1"]
    assert not env.accounts[0].orders.open()
    with pytest.raises(ValueError, match="agent_0, agent_1; expected one of each of agent_1"):
        env.step({"agent_0": 0, "agent_1": 0})
    while env.agents:
        told = env.step({"agent_1": 0})
        assert all(each.keys() == {"agent_1"} for each in told)
    assert told[3] == {"agent_1": True}
    with pytest.raises(gymnasium.error.ResetNeeded, match="over: call reset"):
        env.step({})


def test_reset_takes_session_market_and_start():
    """Each option of reset is what is played, once."""
    both = [session(7), session(8)]
    env = parallel_env(both, 2)
    ticker = both[1].markets[1].ticker
    start = both[1].start + 20 * SECOND
    _, infos = env.reset(seed=0, options={"session": 1, "market": ticker, "start": start})
    assert {(info["session"], info["market"]) for info in infos.values()} == {(1, ticker)}
    tape = env.accounts.session.tape.rows
    assert env.accounts.now <= start < tape["ts"][env.accounts.bus.memory[layout.CURSOR]]
    for options, words in (({"market": "X"}, "X"), ({"session": 5}, "session 5"),
                           ({"start": 5}, "quoted from"), ({"cash": 5}, "cash")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            env.reset(options=options)


class Own:
    """A codec of one's own."""

    name, dims = "own", (2,)

    def act(self, gateway, market, action):
        """Do nothing."""


WRONG_OPTIONS = (
    ({"agents": 0}, ValueError, "agents: 0.*1 at least"),
    ({"agents": 2.0}, ValueError, "agents: 2.0"),
    ({"cash": [1, 2, 3]}, ValueError, "3 amounts for 2"),
    ({"cash": [1, -2]}, ValueError, "cash: -2"),
    ({"stack": 2}, TypeError, "stack"),
    ({"journal": False}, TypeError, "journal"),
    ({"others": ()}, TypeError, "others"),
    ({"render_mode": "ansi"}, ValueError, "draws nothing"),
    ({"actions": "limit6"}, ValueError, "limit6"),
)


@pytest.mark.parametrize(
    ("options", "error", "words"), WRONG_OPTIONS, ids=lambda each: str(each)[:30]
)
def test_options_that_mean_nothing_are_refused(options, error, words):
    """Each wrong option is an error that names it and says what was expected."""
    with pytest.raises(error, match=words):
        parallel_env(session(), **{"agents": 2} | options)


def test_what_accounts_on_one_book_cannot_have_is_refused():
    """Delayed sight and a codec of one's own: by name, when the market is first played."""
    for options, words in ((LATENCIES["sight"], "latency"), ({"actions": Own()}, "'own'")):
        with pytest.raises(ValueError, match=words):
            parallel_env(session(), 2, **options).reset(seed=0)


WRONG_ACTIONS = (
    ({"agent_0": 5, "agent_1": 0}, "agent_0: .*limit5"),
    ({"agent_0": 0, "agent_1": None}, "agent_1: .*limit5"),
    ({"agent_0": 0}, "agent_0; expected one of each of agent_0, agent_1"),
    ({"agent_0": 0, "agent_2": 0}, "agent_2"),
    ({}, "nobody"),
    (None, "actions of None; .* in a dict"),
    ([0, 0], r"actions of \[0, 0\]; .* in a dict"),
    ({0: 0, 1: 0}, "actions of 0, 1; .* in a dict"),
)


@pytest.mark.parametrize(("actions", "words"), WRONG_ACTIONS, ids=str)
def test_wrong_actions_are_refused(actions, words):
    """An action that is none names its agent, and nothing of anybody's was done."""
    env = parallel_env(session(), 2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="before reset"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=words):
        env.step(actions)
    assert len(env.accounts.journal()) == 2
