"""Codecs: what an action stands for, by hand; and that every way to send it sends the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gyms import CODECS, LATENCIES, draws, same, session, single, vector

from foldbook.engine import CapacityError, Side, TimeInForce, contracts
from foldbook.engine.codecs import INTENTS, Codec, UserCodec, codec_of, limit5, quote, sized21
from foldbook.engine.kernels import codecs as kernel
from foldbook.engine.schema import KEEP, JournalKind
from foldbook.engine.simulation import TIMED, Simulation, next_change

CENT = (100, 100, 0)
FINE = (100, 10, 1000)
"""Grids: (centre, edge, width of an edge)."""

PRICES = (
    (kernel.AGGRESSIVE, 0, (4800, 5000), CENT, 5000),  # a buyer takes the ask
    (kernel.AGGRESSIVE, 1, (4800, 5000), CENT, 4800),
    (kernel.AGGRESSIVE, 0, (4800, 10_000), CENT, KEEP),  # nobody offers
    (kernel.AGGRESSIVE, 1, (0, 5000), CENT, KEEP),
    (kernel.PASSIVE, 0, (4800, 5000), CENT, 4800),  # a buyer joins the bid
    (kernel.PASSIVE, 1, (4800, 5000), CENT, 5000),
    (kernel.PASSIVE, 0, (0, 5000), CENT, KEEP),
    (kernel.PASSIVE, 1, (4800, 10_000), CENT, KEEP),
    (kernel.MIDDLE, 0, (4800, 5000), CENT, 4900),
    (kernel.MIDDLE, 0, (4800, 4900), CENT, 4800),  # 48.5 cents: down for a buyer
    (kernel.MIDDLE, 1, (4800, 4900), CENT, 4900),  # and up for a seller
    (kernel.MIDDLE, 0, (0, 4900), CENT, KEEP),
    (kernel.MIDDLE, 1, (4800, 10_000), CENT, KEEP),
    (kernel.MIDDLE, 0, (40, 60), FINE, 50),  # tenths of a cent at the edges
    (kernel.MIDDLE, 0, (970, 1100), FINE, 1000),  # 10.35: cents from ten cents on
    (kernel.MIDDLE, 1, (970, 1100), FINE, 1100),
    (kernel.MIDDLE, 0, (9010, 9040), FINE, 9020),
    (kernel.MIDDLE, 1, (9010, 9040), FINE, 9030),
    (kernel.MIDDLE, 0, (4801, 4802), (1, 1, 0), 4801),  # half of the finest step there is
    (kernel.MIDDLE, 1, (4801, 4802), (1, 1, 0), 4802),
)


@pytest.mark.parametrize(("policy", "side", "best", "grid", "price"), PRICES)
def test_prices_of_policies(policy, side, best, grid, price):
    """The price of each policy, in YES terms, at the middle and the edges of both grids."""
    assert kernel.wanted_price(policy, side, best, grid) == price


QUOTES = (
    (0, (4800, 5000), 0, CENT, 4800),
    (0, (4800, 5000), 2, CENT, 4600),
    (0, (4800, 5000), -1, CENT, 4900),
    (1, (4800, 5000), 0, CENT, 5000),
    (1, (4800, 5000), 2, CENT, 5200),
    (1, (4800, 5000), -1, CENT, 4900),
    (0, (0, 5000), 1, CENT, KEEP),
    (1, (4800, 10_000), 1, CENT, KEEP),
    (0, (100, 5000), 3, CENT, 100),  # never below a cent
    (1, (100, 9900), 5, CENT, 9900),
    (0, (50, 5000), 8, FINE, 10),  # or a tenth of one
    (0, (990, 5000), -1, FINE, 1000),
    (0, (1000, 5000), 1, FINE, 900),
)


@pytest.mark.parametrize(("side", "best", "offset", "grid", "price"), QUOTES)
def test_prices_of_quotes(side, best, offset, grid, price):
    """The price so many steps behind the near touch, kept within the grid."""
    assert kernel.quoted_price(side, best, offset, grid) == price


ORDERS = (
    ("BUY_YES", 1000, 0, (0, 1000)),
    ("BUY_YES", 1000, -400, (0, 1000)),  # nets 4 NO, then opens 6 YES
    ("SELL_YES", 1000, 300, (1, 300)),  # no more than is held
    ("SELL_YES", 1000, 3000, (1, 1000)),
    ("SELL_YES", 1000, -300, (1, 0)),
    ("BUY_NO", 1000, 0, (1, 1000)),  # in YES terms a sale
    ("BUY_NO", 1000, 400, (1, 1000)),
    ("SELL_NO", 500, -700, (0, 500)),
    ("SELL_NO", 500, -200, (0, 200)),
    ("SELL_NO", 500, 200, (0, 0)),
)


@pytest.mark.parametrize(("intent", "size", "position", "order"), ORDERS)
def test_orders_of_intents(intent, size, position, order):
    """The side and quantity of each intent: NO is the mirror of YES, and sales end at zero."""
    assert kernel.wanted_order(INTENTS.index(intent), size, position) == order


def test_no_is_the_mirror_of_yes():
    """A NO is bought by selling YES: its price is one dollar less the YES price, never 99 cents
    less."""
    env = single(session(), actions="now5")
    env.reset(seed=0)
    best = env.simulation.book().best_bid
    env.step(INTENTS.index("BUY_NO"))
    sent = env.simulation.journal().rows[1]
    assert (sent["side"], sent["price"]) == (Side.SELL, best)
    assert -env.simulation.positions.get(0).cost <= 0
    fill = env.result().fills[0]
    assert env.simulation.positions.get(0).cost == (10_000 - best) * fill.qty


def test_more_than_a_tick_is_moved():
    """An order follows a wanted price that is more than one tick away, by the grid at its own."""
    assert not kernel.has_moved(CENT, 4800, 4900) and kernel.has_moved(CENT, 4800, 5000)
    assert not kernel.has_moved(FINE, 500, 510) and kernel.has_moved(FINE, 500, 520)


@pytest.mark.parametrize("name", ["limit5", "sized21", "now5"])
def test_actions_and_intents_are_one_to_one(name):
    """`action` undoes `intent`, for every action; names are those of `info`."""
    codec = codec_of(name)
    assert codec.dims == (1 + 4 * len(codec.sizes),)
    for number, label in enumerate(codec.info()["actions"]):
        intent, size = codec.intent(number)
        assert codec.action(intent, size) == number
        assert label == (f"{intent} {size // 100}" if number else "HOLD")
    with pytest.raises(ValueError, match="no intent 'WAIT'"):
        codec.action("WAIT")
    with pytest.raises(ValueError, match="size 7; expected one of"):
        codec.action("BUY_YES", 7)


def test_suggestions_lead_to_the_target():
    """Following suggestions ends at every target within the smallest size, netting first."""
    codec = sized21()
    for target in (0, 12_300, -700, 500, -10_000):
        for start in (0, 2500, -2500):
            position = start
            for _ in range(20):
                intent, size = codec.intent(codec.suggest(target, position))
                side, qty = kernel.wanted_order(INTENTS.index(intent), size, position)
                step = qty if side == 0 else -qty
                if intent == "HOLD" or abs(position + step - target) >= abs(position - target):
                    break
                assert intent.startswith("SELL") == (position * (target - position) < 0)
                position += step
            assert abs(position - target) < 500
    with pytest.raises(ValueError, match="no way to a target"):
        quote().suggest(100)


WRONG = (
    (("x", "market", (100,)), "kind 'market'"),
    (("x", "limit", ()), "1 to 8"),
    (("x", "limit", (0,)), "above zero"),
    (("x", "limit", (100,), "bold"), "policy 'bold'"),
    (("x", "limit", (100,), "mid", (1,)), "expected none"),
    (("x", "quote", (100,)), "1 to 11"),
    (("x", "limit", (100,), "mid", (), True), "only quotes"),
)


@pytest.mark.parametrize(("terms", "words"), WRONG, ids=lambda each: str(each)[:24])
def test_codecs_that_are_none_are_refused(terms, words):
    """Each wrong codec is named with what was expected."""
    with pytest.raises(ValueError, match=words):
        Codec(*terms)


def test_numbers_stand_for_equal_parts():
    """A continuous quote: -1 is the first choice, 1 the last, and each has an equal part."""
    codec = quote(sizes=(100, 200), offsets=(0, 1, 2), continuous=True)
    assert codec.dims == (4, 4, 2, 2)
    first, second = [-1, -0.51, -1, -0.01], [-0.5, -0.01, 0, 1]
    rows = np.array([first, second, [0, 0.49, 0.5, 1], [0.5, 1, 1, 1]])
    assert codec.validate_many(rows).tolist() == [
        [0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 1, 1], [3, 3, 1, 1],
    ]  # fmt: skip
    for wrong in (1.01, -1.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="in place 2; expected -1 to 1"):
            codec.validate([0, 0, wrong, 0])


def through_the_gateway(env, actions, seed):
    """Play actions by `Codec.act` on a plain simulation, between the moments of an environment;
    return its journal."""
    env.reset(seed=seed)
    played = Simulation(env.simulation.session, **env.setting.settings)
    played.advance(stop=env.simulation.events)
    cadence = env.setting.plan.cadence
    begun = played.now
    if cadence.kind == "time":
        played.cause = TIMED
    for number, action in enumerate(actions):
        env.codec.act(played, 0, action)
        if cadence.kind == "change":
            played.advance(next_change(0))
        elif cadence.kind == "events":
            played.advance(events=cadence.every)
        else:
            until = begun + (number + 1) * cadence.every
            played.advance(until=min(until, max(played.session.end, played.now)))
        assert env.step(action)[2:4] == (False, False)
    return played.journal()


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("cadence", ["change", 10, "50ms"])
@pytest.mark.parametrize("codec", [*CODECS, limit5("passive"), sized21("mid")], ids=str)
def test_the_gateway_is_sent_what_the_environment_sends(codec, cadence, latency):
    """Random actions through `Codec.act` and through the compiled step: journals equal byte for
    byte, commands in flight included."""
    env = single(session(), actions=codec, cadence=cadence, **LATENCIES[latency])
    rng = np.random.default_rng(12)
    actions = list(itertools.islice(draws(env, rng), 150))
    theirs = through_the_gateway(env, actions, seed=12)
    ours = env.simulation.journal()
    assert ours.first_difference(theirs) is None
    kinds = set(ours.rows["kind"].tolist())
    assert JournalKind.SUBMITTED in kinds
    takes = env.codec.policy == "aggressive" and env.codec.kind != "quote"
    assert JournalKind.FILL in kinds or not takes


class Mirror:
    """A user's codec that means what a built-in one means."""

    def __init__(self, inner: Codec):
        self.inner = inner
        self.name = f"mirror of {inner.name}"
        self.dims = inner.dims

    def act(self, gateway, market, action):
        self.inner.act(gateway, market, action)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("name", ["limit5", "quote"])
def test_own_codec_is_played_as_a_built_in_one(name, latency):
    """A codec of one's own that sends what a built-in one sends: the same observations, rewards,
    fills and journal, on any cadence."""
    assert isinstance(Mirror(codec_of(name)), UserCodec)
    for cadence in ("change", "100ms"):
        options = {"cadence": cadence, "observation": "classic52", **LATENCIES[latency]}
        given = single(session(), actions=Mirror(codec_of(name)), **options)
        built_in = single(session(), actions=name, **options)
        assert given.action_space == built_in.action_space
        assert same(given.reset(seed=2)[0], built_in.reset(seed=2)[0])
        for action in itertools.islice(draws(built_in, np.random.default_rng(2)), 150):
            ours, theirs = given.step(action), built_in.step(action)
            assert same(ours[:4], theirs[:4])
            theirs[4].pop("action_mask", None)
            assert same(ours[4], theirs[4])
        assert given.simulation.journal().digest == built_in.simulation.journal().digest
        assert (given._playing().env == built_in._playing().env).all()


class Storm:
    """A user's codec with a mask of its own: action 1 sends and cancels more orders than the
    journal's buffer holds, and takes what is offered."""

    name = "storm"
    dims = (2,)

    def act(self, gateway, market, action):
        if action[0] == 1:
            book = gateway.book(market)
            for _ in range(700):
                gateway.cancel(gateway.submit(market, Side.BUY, 100, contracts(1)))
            gateway.submit(market, Side.BUY, book.best_ask, 100, tif=TimeInForce.IOC)

    def mask(self, gateway, market):
        return [True, gateway.positions.qty(market) == 0]


def test_own_codec_may_send_a_storm():
    """However much one action sends: fills are counted, the mask is the codec's, the journal whole,
    and the running digest is that of the same rows however they were buffered."""
    env = single(session(), actions=Storm())
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [1, 1]
    _, _, _, _, info = env.step(1)
    assert info["fills"] == 1 and info["action_mask"].tolist() == [1, 0]
    assert info["action_mask"].dtype == np.int8
    journal = env.simulation.journal()
    assert (journal.rows["kind"] == JournalKind.CANCELED).sum() == 700
    assert env.result().replay().digest == journal.digest
    twin = env.fork()
    assert same(twin.step(0), env.step(0))


def test_own_codec_cannot_move_the_clock():
    """A codec that advances the run is stopped, and the vector environment refuses Python."""

    class Cheat:
        name, dims = "cheat", (1,)

        def act(self, gateway, market, action):
            gateway.advance(events=10)

    env = single(session(), actions=Cheat())
    env.reset(seed=0)
    with pytest.raises(Exception, match="cannot move the run"):
        env.step(0)
    with pytest.raises(ValueError, match="cheat.*is Python.*sync"):
        vector(session(), 2, actions=Cheat())


def test_full_order_slots_are_named():
    """More orders than there are slots for is an error that says what to raise."""

    class Many:
        name, dims = "many", (1,)

        def act(self, gateway, market, action):
            gateway.submit(market, Side.BUY, 100, 100)

    env = single(session(), actions=Many(), order_capacity=2)
    env.reset(seed=0)
    env.step(0)
    env.step(0)
    with pytest.raises(CapacityError, match="raise order_capacity"):
        env.step(0)
