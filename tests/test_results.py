"""What results, projections of one's own and stored journals promise beside the digest."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from foldbook.adapters import synthetic
from foldbook.engine import (
    Backtest,
    CompiledProjection,
    JournalError,
    MarketStatus,
    Outcome,
    Reason,
    Result,
    Side,
    Simulation,
    StrategyError,
    TimeInForce,
    contracts,
    dollars,
    strategy,
    verbs,
)
from foldbook.engine.events import CashMoved, Expired, OrderEvent, Submitted
from foldbook.engine.journal import Journal


class Notes:
    """A Python projection that keeps what it was handed."""

    def __init__(self, *kinds: type):
        self.kinds = kinds
        self.seen: list = []

    def apply(self, event) -> None:
        """Keep one event."""
        self.seen.append(event)


def _opened(events: int = 100) -> Simulation:
    sim = Simulation(synthetic.session(seed=14, events=500, minutes=1))
    sim.advance(events=events)
    return sim


def _buy_once(sim) -> None:
    book = sim.book(0)
    if not sim.positions.qty(0) and book.is_trusted and book.status is MarketStatus.OPEN:
        sim.submit(0, Side.BUY, book.best_ask, 100, tif=TimeInForce.IOC)


def test_projections_are_served_before_a_command_returns() -> None:
    """A subscriber has seen the rows of a command when the command returns; a second subscriber
    costs the first no event, and neither sees what came before it."""
    sim = _opened()
    first, second = Notes(Submitted), Notes(Submitted)
    sim.subscribe(first)
    sim.submit(0, Side.BUY, 100, 100)
    assert len(first.seen) == 1
    sim.subscribe(second)
    sim.submit(0, Side.BUY, 100, 100)
    sim.advance(events=100)
    assert (len(first.seen), len(second.seen)) == (2, 1)


def test_a_projection_sees_the_account_open() -> None:
    """The first journal row of a run is delivered like every other."""
    cash = Notes(CashMoved)
    Backtest(synthetic.session(seed=14, events=500, minutes=1), _buy_once, every="1s",
             projections=[cash]).run()  # fmt: skip
    assert [event.cash for event in cash.seen] == [dollars(1000)]


def test_a_kind_that_is_no_event_is_refused() -> None:
    """A base class names no kind, and would be delivered nothing in silence."""
    with pytest.raises(TypeError, match="OrderEvent"):
        _opened().subscribe(Notes(OrderEvent))


def test_equity_starts_and_ends_with_the_session() -> None:
    """Times are exact to the ns, and the last value is the final value, settlement included."""
    for seed in range(200, 215):
        session = synthetic.session(seed=seed, events=300, minutes=1)
        result = Backtest(session, _buy_once, every="1s").run()
        equity = result.equity
        assert (equity[0].ts, equity[-1].ts) == (session.start, session.end)
        assert equity[-1].value == result.metrics()["final_value"]


def test_many_markets_expire_at_once_without_harm() -> None:
    """Thirty markets with thirty orders each, due at one time: more than one burst may write."""
    sim = Simulation(synthetic.session(seed=3, markets=30, events=200, minutes=1))
    sim.advance(events=3000)
    due = sim.now + 1
    for market in range(30):
        for number in range(30):
            sim.submit(market, Side.BUY, 100, contracts(1) + number, expires=due)
    open_orders = len(sim.orders)
    assert open_orders > 800
    twin = sim.fork()
    twin.advance(until=due + 1)
    gone = Notes(Expired)
    sim.subscribe(gone)
    sim.advance(until=due + 1)
    assert len(gone.seen) == open_orders
    assert sim.journal().digest == twin.journal().digest


def test_a_number_is_no_id() -> None:
    """An order's number within its market is never taken for an order of another market."""
    sim = Simulation(synthetic.session(seed=3, markets=2, events=500, minutes=1))
    sim.advance(events=300)
    id = sim.submit(1, Side.BUY, 100, 100)
    with pytest.raises(StrategyError, match="never submitted"):
        sim.cancel(1)
    sim.cancel(id)
    assert sim.orders.get(id) is None


def test_a_position_can_always_be_closed() -> None:
    """The taker fee of a closing order is paid out of what closing brings."""
    sim = _opened(events=60)
    book = sim.book(0)
    price, qty = book.best_ask, min(book.best_ask_qty, contracts(10))
    cost = price * qty + 10 * 1_000_000
    sim = Simulation(sim.session, cash=cost)
    sim.advance(events=60)
    sim.submit(0, Side.BUY, price, qty, tif=TimeInForce.IOC)
    sim.submit(0, Side.BUY, 100, sim.positions.available // 100)
    assert sim.positions.available < 100
    bid = sim.book(0).best_bid
    assert sim.would_reject(0, Side.SELL, bid, qty, tif=TimeInForce.IOC) is None


def test_reduce_only_is_for_orders_that_never_rest() -> None:
    """SPEC 3.2: reduce_only is rejected unless IOC, and unless there is as much to reduce."""
    sim = _opened(events=60)
    bid = sim.book(0).best_bid
    ask = sim.book(0).best_ask
    sim.submit(0, Side.BUY, ask, 1, tif=TimeInForce.IOC)
    assert sim.positions.qty(0) == 1
    sell = {"reduce_only": True, "tif": TimeInForce.IOC}
    assert sim.would_reject(0, Side.SELL, bid, 1, **sell) is None
    assert sim.would_reject(0, Side.SELL, bid, 2, **sell) is Reason.INVALID_ORDER
    assert sim.would_reject(0, Side.SELL, ask, 1, reduce_only=True) is Reason.INVALID_ORDER


def test_replay_and_rebuild_keep_projections_and_the_clock() -> None:
    """After steps past the end, the ways back lead to the same state, projections included."""
    session = synthetic.session(seed=14, events=500, minutes=1)
    count = CompiledProjection("count", ["rows"], on_journal=_count)
    result = Backtest(session, _buy_once, every="1s", projections=[count]).run()
    wanted = result.simulation.bus.state_bytes()
    assert result.replay().simulation.bus.state_bytes() == wanted
    assert result.rebuild().bus.state_bytes() == wanted
    assert result.rebuild().projection("count")[0] == len(result.journal)


def _count(words, rows, i) -> None:
    words[0] += 1


def test_a_foreign_or_damaged_journal_is_refused() -> None:
    """Another session, a market or side that does not exist: named, and no kernel indexes by it."""
    session = synthetic.session(seed=14, events=500, minutes=1)
    other = synthetic.session(seed=15, events=500, minutes=1)
    result = Backtest(session, _buy_once, every="1s").run()
    rows, places = result.journal.rows, result.journal.places
    with pytest.raises(JournalError, match="digest"):
        Result.from_journal(other, rows, places, result.header())
    for name, value in (("market", 900_000), ("side", 7), ("price", 20_000)):
        damaged = np.array(rows)
        damaged[2][name] = value
        with pytest.raises(JournalError):
            Result.from_journal(session, damaged, places, result.header())
    again = Result.from_journal(session, np.array(rows), np.array(places), result.header())
    assert again.simulation.bus.state_bytes() == result.simulation.bus.state_bytes()


def test_a_journal_leaves_the_arrays_of_its_caller_alone() -> None:
    """It cannot be written through; who made the arrays may go on. A cause that is not there is
    none: no neighbour is taken for it."""
    session = synthetic.session(seed=14, events=500, minutes=1)
    result = Backtest(session, _buy_once, every="1s").run()
    rows, places = np.array(result.journal.rows), np.array(result.journal.places)
    journal = Journal(rows, places)
    with pytest.raises(ValueError, match="read-only"):
        journal.rows["qty"] = 0
    caused = np.flatnonzero(journal.causes() >= 0)
    assert len(caused) and rows.flags.writeable and places.flags.writeable
    assert (journal.causes()[caused] < caused).all()
    rows["cause_row"][caused[0]] = 12_345
    again = Journal(rows, places).causes()
    assert again[caused[0]] == -1 and (again[caused[1:]] == journal.causes()[caused[1:]]).all()


@strategy(market=0, price=0)
def sends(sim, words) -> None:
    """Send one order as the words say."""
    verbs.submit(sim, words[0], 0, words[1], 100)


@pytest.mark.parametrize("words", [{"market": 7}, {"market": -1}, {"price": 2**32 + 4000}])
def test_what_a_compiled_strategy_cannot_send_ends_the_run(words) -> None:
    """A market that does not exist, or a price that no row can hold, is an error by name."""
    session = synthetic.session(seed=14, events=500, minutes=1)
    with pytest.raises(StrategyError, match="a compiled strategy named"):
        Backtest(session, sends(**words), every="1s").run()


@strategy(market=0, order=0)
def cancels(sim, words) -> None:
    """Cancel whatever stands in a market, and the order of a number."""
    verbs.cancel_all(sim, words[0])
    verbs.cancel(sim, words[0], words[1])


@pytest.mark.parametrize("market", [7, 2**40, -1])
def test_no_order_is_looked_for_in_a_market_that_does_not_exist(market) -> None:
    """A compiled cancel_all names the market, and reads nothing behind it; order 0 is no order."""
    session = synthetic.session(seed=14, events=500, minutes=1)
    with pytest.raises(StrategyError, match="a market that the session does not have"):
        Backtest(session, cancels(market=market), every="1s").run()
    assert len(Backtest(session, cancels(), every="1s").run().journal) == 1


@pytest.mark.parametrize("missing", [("session",), ("session", "digest"), ("events",), ("now",)])
def test_a_header_that_lacks_what_a_run_writes_is_refused(missing) -> None:
    """Nothing is filled in: without a digest a foreign session would pass for the journal's own."""
    session = synthetic.session(seed=14, events=500, minutes=1)
    result = Backtest(session, _buy_once, every="1s").run()
    header = copy.deepcopy(result.header())
    at = header
    for name in missing[:-1]:
        at = at[name]
    del at[missing[-1]]
    with pytest.raises(JournalError, match=f"journal header: no {missing[-1]}"):
        Result.from_journal(session, result.journal.rows, result.journal.places, header)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda sim: sim.submit(0, Side.BUY, 100, 100, client_id=1.9), TypeError),
        (lambda sim: sim.submit(0, Side.BUY, 100, 100, client_id=2**63), ValueError),
        (lambda sim: sim.submit(0, Side.BUY, 100, 100, expires=1e18), TypeError),
        (lambda sim: sim.submit(0, Side.BUY, 100, 100, outcome="NO"), TypeError),
        (lambda sim: sim.amend(1 << 32 | 1, price=100, outcome="NO"), TypeError),
        (lambda sim: sim.timer(2e18), TypeError),
        (lambda sim: sim.advance(until=2e18), TypeError),
        (lambda sim: sim.advance(events=2.0), TypeError),
        (lambda sim: sim.kill(1), TypeError),
        (lambda sim: Simulation(sim.session, journal="no"), TypeError),
        (lambda sim: sim.orders.open("ZZ"), StrategyError),
        (lambda sim: Simulation(sim.session, cash=10.5), TypeError),
        (lambda sim: Simulation(sim.session, cash=-1), ValueError),
        (lambda sim: Simulation(sim.session, order_capacity=0), ValueError),
        (lambda sim: sim.book(0, Outcome.NO).qty(Side.BUY, 50), ValueError),
        (lambda sim: sim.book(0).bids(-1), ValueError),
        (lambda sim: sim.book(0).asks(depth=-1), ValueError),
    ],
)
def test_what_cannot_be_sent_raises(call, error) -> None:
    """Floats, wide numbers and strangers are errors, and nothing is written."""
    sim = _opened()
    sim.submit(0, Side.BUY, 100, 100)
    before = sim.bus.state_bytes()
    with pytest.raises(error):
        call(sim)
    assert sim.bus.state_bytes() == before


@pytest.mark.parametrize("name", ["post_only", "reduce_only", "cancel_on_pause"])
@pytest.mark.parametrize("wrong", ["x", "", 1, 0, None])
def test_a_switch_of_an_order_is_a_bool(name, wrong) -> None:
    """Text, numbers and nothing are refused by name, and NumPy's own bools are what they say: of an
    order at the ask, post_only is refused."""
    sim = _opened()
    before = sim.bus.state_bytes()
    for send in (sim.submit, sim.would_reject):
        with pytest.raises(TypeError, match=f"{name}: {wrong!r} is a .*, not a bool"):
            send(0, Side.BUY, 100, 100, **{name: wrong})
    assert sim.bus.state_bytes() == before
    ask = sim.book(0).best_ask
    for value in (False, True):
        given = sim.would_reject(0, Side.BUY, ask, 100, **{name: value})
        assert sim.would_reject(0, Side.BUY, ask, 100, **{name: np.bool_(value)}) is given
        assert (given is Reason.POST_ONLY_CROSS) == (value and name == "post_only")


@pytest.mark.parametrize("name", ["events", "stop"])
def test_a_run_goes_forward_only(name) -> None:
    """A number of rows below 0 is named, and nothing moves; 0 is no step at all."""
    sim = _opened()
    before = sim.bus.state_bytes()
    with pytest.raises(ValueError, match=f"{name}: -1; expected 0 or more"):
        sim.advance(**{name: -1})
    assert sim.advance(**{name: 0})
    assert sim.bus.state_bytes() == before


def test_a_strategy_cannot_move_its_own_run() -> None:
    """A hook that calls advance is told so, instead of ending all hooks in silence."""

    def decide(sim) -> None:
        sim.advance(events=1)

    with pytest.raises(StrategyError, match="cannot move the run"):
        Backtest(synthetic.session(seed=14, events=500, minutes=1), decide, every="1s").run()


@pytest.mark.parametrize("wrong", [None, "sessions/KXA", [1]])
def test_what_is_no_session_is_named(wrong) -> None:
    """A path, or nothing, where a session is wanted is a TypeError that says what was given."""
    for make in (lambda: Backtest(wrong, lambda sim: None, every="1s"), lambda: Simulation(wrong)):
        with pytest.raises(TypeError, match="session: .* is a .*, not a Session"):
            make()


@pytest.mark.parametrize("wrong", [None, True, 0.0, b"SYN", ("SYN",)])
def test_what_is_no_market_is_named(wrong) -> None:
    """What is neither a ticker nor an index is a TypeError that says what was given."""
    with pytest.raises(TypeError, match="market .*: expected a ticker or its index"):
        _opened().session.market_index(wrong)


def test_a_strategy_that_raises_when_it_is_asked_for_hooks_is_at_fault() -> None:
    """What it raises is a StrategyError with the run so far, as if a hook had raised it."""

    class Secretive:
        def __getattr__(self, name: str) -> object:
            raise LookupError(f"I have no {name}")

    with pytest.raises(StrategyError, match="LookupError: I have no seed") as caught:
        Backtest(synthetic.session(seed=14, events=500, minutes=1), Secretive()).run()
    assert caught.value.result is not None
