"""Projections: the user's own stand beside the built-in ones, see the same events, change nothing;
and the views of the built-in ones read what a person would fold by hand."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from strategies import Maker, Quoting, Taker, compiled_maker, compiled_taker
from workloads import TapeBuilder

from foldbook.adapters import synthetic
from foldbook.engine import (
    Backtest,
    CompiledProjection,
    Market,
    Outcome,
    Session,
    Side,
    Simulation,
    Tape,
    dollars,
)
from foldbook.engine.events import Accepted, Canceled, Fill, Settled, Submitted, Trade
from foldbook.engine.kernels import layout
from foldbook.engine.schema import JournalKind, TapeKind
from foldbook.engine.units import MILLISECOND

# PositionTracker again, from section 5 of docs/semantics.md.

MARKETS = 2
CASH, RESERVED, FEES, REALISED, COSTS, RETURNED, ACCOUNT = range(7)
"""Account words, and how many they are; behind them the words of each market."""
POSITION, COST, GAIN, PAID, HELD = range(5)
ENDED, ENDED_COST, PAYOUT, PAYOUT_FEE, RETURN, MARKET = range(5, 11)
"""A market's words: its position, cost, realised profit, fees and reserved collateral; then what
its first settlement ended and that had cost, what its settlements paid and charged, and the
collateral returned in it."""
_FILL, _SETTLED = int(JournalKind.FILL), int(JournalKind.SETTLED)
_RETURNED = int(JournalKind.COLLATERAL_RETURNED)


def track_positions(words: np.ndarray, rows: np.ndarray, i: int) -> None:
    """Fold one journal row as section 5 says."""
    row = rows[i]
    fee = row["fee"]
    words[CASH] += row["cash"] - fee
    words[RESERVED] += row["reserved"]
    words[FEES] += fee
    if row["market"] < 0:
        return
    at = ACCOUNT + MARKET * row["market"]
    words[at + HELD] += row["reserved"]
    words[at + PAID] += fee
    cost = words[at + COST]
    gain = np.int64(0)
    if row["kind"] == _RETURNED:
        words[RETURNED] += row["cash"]
        words[at + RETURN] += row["cash"]
    elif row["kind"] == _SETTLED:
        gain = row["cash"] - cost
        words[at + PAYOUT] += row["cash"]
        words[at + PAYOUT_FEE] += fee
        if words[at + ENDED] == 0:
            words[at + ENDED] = words[at + POSITION]
            words[at + ENDED_COST] = cost
            words[at + POSITION] = 0
            words[at + COST] = 0
    elif row["kind"] == _FILL:
        qty = row["qty"]
        position = words[at + POSITION]
        leg = np.int64(row["price"])
        direction = 1
        if row["side"] == 1:
            leg = 10_000 - leg
            direction = -1
        held = max(0, -direction * position)
        closing = min(qty, held)
        if closing > 0:
            basis = cost * closing // held
            gain = (10_000 - leg) * closing - basis
            words[at + COST] -= basis
        words[at + COST] += leg * (qty - closing)
        words[at + POSITION] = position + direction * qty
    words[at + GAIN] += gain
    words[REALISED] += gain
    words[COSTS] += words[at + COST] - cost


def count_tape(words: np.ndarray, rows: np.ndarray, i: int) -> None:
    """Count tape rows by kind."""
    words[rows[i]["kind"]] += 1


def count_journal(words: np.ndarray, rows: np.ndarray, i: int) -> None:
    """Count journal rows by kind, behind the kinds of the tape."""
    words[12 + rows[i]["kind"]] += 1


def note_order(words: np.ndarray, rows: np.ndarray, i: int) -> None:
    """Fold the place of each row in the order of the bus into a checksum."""
    words[0] += 1
    words[1] = (words[1] * 31 + rows[i]["ts"] + 7 * rows[i]["kind"]) % 1_000_000_007


def tracker() -> CompiledProjection:
    """Return the user's PositionTracker."""
    return CompiledProjection("positions", ACCOUNT + MARKET * MARKETS, on_journal=track_positions)


def counter() -> CompiledProjection:
    """Return a projection of tape and journal."""
    names = [f"tape {kind.name}" for kind in TapeKind] + [kind.name for kind in JournalKind]
    return CompiledProjection("counts", names, on_tape=count_tape, on_journal=count_journal)


def checksum() -> CompiledProjection:
    """Return a projection that depends on the order of the bus."""
    return CompiledProjection("order", 2, on_tape=note_order, on_journal=note_order)


def built_in(sim: Simulation) -> np.ndarray:
    """Return the words of the built-in PositionTracker."""
    end = layout.ACCOUNT_END + layout.POSITION_WORDS * len(sim.session.markets)
    return sim.bus.state[layout.CASH : end]


@pytest.fixture(scope="module")
def long_session() -> Session:
    """More than 10^5 events of two markets."""
    return synthetic.session(seed=77, markets=MARKETS, events=51_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "every"),
    [(Maker(), "500ms"), (compiled_maker, "500ms"), (Taker(), "1s"), (compiled_taker, None)],
    ids=["Python maker", "compiled maker", "Python taker", "compiled taker by event"],
)
def test_position_tracker_again_as_a_users_projection(long_session, strategy, every) -> None:
    """The user's words equal the built-in ones, byte for byte, after 10^5 events and hundreds of
    fills, beside other projections and settlement; and adding it changes no digest."""
    plain = Backtest(long_session, strategy, every=every).run()
    projections = (counter(), tracker(), checksum())
    result = Backtest(long_session, strategy, every=every, projections=projections).run()
    sim = result.simulation
    assert sim.events >= 10**5 and len(result.fills) >= 200
    assert sim.projection("positions").tobytes() == built_in(sim).tobytes()
    assert result.digest == plain.digest
    assert sim.projection("positions")[CASH] == sim.positions.cash

    kinds = Counter(result.journal.rows["kind"].tolist())
    counts = sim.projection("counts")
    assert counts[: len(TapeKind)].tolist() == np.bincount(
        long_session.tape.rows["kind"], minlength=len(TapeKind)
    ).tolist()
    assert counts[len(TapeKind) :].tolist() == [kinds[kind] for kind in JournalKind]
    assert sim.projection("order").tolist() == bus_checksum(long_session, result.journal)


def bus_checksum(session: Session, journal: Any) -> list[int]:
    """Fold tape and journal, merged by place, as `note_order` does."""
    number, count, total = 0, 0, 0
    tape = list(zip(*(session.tape.rows[name].tolist() for name in ("ts", "kind")), strict=True))
    rows = list(zip(*(journal.rows[name].tolist() for name in ("ts", "kind")), strict=True))
    places = journal.places.tolist()
    for i in range(len(tape) + 1):
        while number < len(rows) and places[number] == i:
            total = (total * 31 + rows[number][0] + 7 * rows[number][1]) % 1_000_000_007
            number += 1
        if i < len(tape):
            total = (total * 31 + tape[i][0] + 7 * tape[i][1]) % 1_000_000_007
            count += 1
    return [count + number, total]


def test_compiled_projections_follow_forks_and_are_up_to_date_at_every_moment() -> None:
    """Between steps the user's words equal the built-in ones; a fork's go their own way."""
    session = synthetic.session(seed=9, markets=2, events=1500, minutes=1)
    sim = Simulation(session, projections=[tracker(), checksum()])
    maker = Maker()
    for _ in range(15):
        sim.advance(events=50)
        maker(sim)
        assert sim.projection("positions").tobytes() == built_in(sim).tobytes()
    child = sim.fork()
    before = sim.projection("order").tolist()
    child.advance(events=700)
    Taker()(child)
    assert child.projection("positions").tobytes() == built_in(child).tobytes()
    assert sim.projection("order").tolist() == before != child.projection("order").tolist()
    sim.advance(events=700)
    Taker()(sim)
    assert sim.projection("order").tolist() == child.projection("order").tolist()
    with pytest.raises(KeyError, match="no compiled projection is called 'nobody'"):
        sim.projection("nobody")


# Projections in Python.


class Notes:
    """Notes every event of some kinds."""

    def __init__(self, *kinds: type):
        self.kinds = kinds
        self.seen: list[Any] = []

    def apply(self, event: Any) -> None:
        """Note it."""
        self.seen.append(event)


def in_bus_order(session: Session, sim: Simulation, kinds: tuple[type, ...]) -> list[tuple]:
    """Return (class name, ts, market) of all events of some kinds, tape and journal by place."""
    journal = sim.journal()
    names = [kind.__name__.upper() for kind in kinds]
    tickers = [market.ticker for market in session.markets]
    merged = [
        (2 * place, number, JournalKind(row["kind"]).name, row)
        for number, (place, row) in enumerate(zip(journal.places, journal.rows, strict=True))
    ]
    merged += [
        (2 * number + 1, 0, TapeKind(row["kind"]).name, row)
        for number, row in enumerate(session.tape.rows)
    ]
    merged.sort(key=lambda each: each[:2])
    return [
        (name, int(row["ts"]), tickers[row["market"]])
        for _, _, name, row in merged
        if name in names
    ]


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_python_projections_see_every_event_in_the_order_of_the_bus(rows) -> None:
    """Whatever the step, each event of the kinds it named once, in order; nothing else."""
    session = synthetic.session(seed=14, markets=2, events=2500, minutes=1)
    kinds = (Trade, Submitted, Accepted, Canceled, Fill)
    notes, fills = Notes(*kinds), Notes(Fill)
    sim = Simulation(session)
    sim.subscribe(notes)
    sim.subscribe(fills)
    maker = Maker()
    due = 100
    while sim.events < len(session.tape):
        sim.advance(events=min(rows, due - sim.events))
        if sim.events >= due:
            maker(sim)
            due = sim.events + 100
    sim.advance()
    assert {type(event) for event in notes.seen} == set(kinds)
    seen = [(type(event).__name__.upper(), event.ts, event.market) for event in notes.seen]
    assert seen == in_bus_order(session, sim, kinds)
    assert fills.seen == [event for event in notes.seen if isinstance(event, Fill)]


@pytest.mark.parametrize(
    ("strategy", "every"),
    [(Maker(), "250ms"), (Quoting(), None), (compiled_maker, "250ms"), (compiled_maker, None)],
    ids=["function", "hooks", "compiled", "compiled by event"],
)
def test_backtests_serve_python_projections(strategy, every) -> None:
    """The same events in the same order under every kind of strategy, and no digest changes."""
    session = synthetic.session(seed=14, markets=2, events=2500, minutes=1)
    kinds = (Trade, Accepted, Fill, Settled)
    notes = Notes(*kinds)
    result = Backtest(session, strategy, every=every, projections=[notes, counter()]).run()
    seen = [(type(event).__name__.upper(), event.ts, event.market) for event in notes.seen]
    assert seen == in_bus_order(session, result.simulation, kinds)
    assert {type(event) for event in notes.seen} == set(kinds)
    assert result.digest == Backtest(session, strategy, every=every).run().digest


def test_a_fork_gets_python_projections_of_its_own() -> None:
    """What a child folds, its parent's projection never sees; both start from the same."""
    session = synthetic.session(seed=14, events=2500, minutes=1)
    notes = Notes(Trade, Submitted)
    sim = Simulation(session)
    sim.subscribe(notes)
    sim.advance(events=1200)
    child = sim.fork()
    known = len(notes.seen)
    child.submit(0, Side.BUY, 100, 100)
    child.advance()
    assert known and len(notes.seen) == known
    theirs = child.projections[0]
    assert isinstance(theirs, Notes) and theirs.seen[:known] == notes.seen
    sim.advance()
    assert notes.seen == [event for event in theirs.seen if isinstance(event, Trade)]


# OrderBook.


def wild_tape(tick: int, rows: int, seed: int) -> tuple[np.ndarray, list[dict[Side, dict]]]:
    """Return a tape of one market on a grid, and the book after each row, folded here."""
    rng = random.Random(seed)
    tape = TapeBuilder()
    top = 10_000 // tick
    book: dict[Side, dict[int, int]] = {side: {} for side in Side}
    books = []

    def add(kind: TapeKind, side: Side = Side.BUY, price: int = 0, qty: int = 0) -> None:
        tape.add(10**18 + len(books) * MILLISECOND, kind, side, price, qty)
        if kind in (TapeKind.SNAPSHOT, TapeKind.GAP):
            for ladder in book.values():
                ladder.clear()
        elif kind in (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE):
            book[side][price] = book[side].get(price, 0) + qty
        elif kind == TapeKind.DECREASE:
            book[side][price] -= qty
            if not book[side][price]:
                del book[side][price]
        books.append({each: dict(ladder) for each, ladder in book.items()})

    add(TapeKind.SNAPSHOT)
    while len(books) < rows:
        side = rng.choice(tuple(Side))
        bid = max(book[Side.BUY], default=0) // tick
        ask = min(book[Side.SELL], default=10_000) // tick
        draw = rng.random()
        if draw < 0.005:
            add(TapeKind.GAP)
            add(TapeKind.SNAPSHOT)
        elif draw < 0.45 and book[side]:
            best = max(book[side]) if side == Side.BUY else min(book[side])
            price = best if rng.random() < 0.5 else rng.choice(list(book[side]))
            whole = rng.random() < 0.6
            add(TapeKind.DECREASE, side, price, book[side][price] if whole else 1)
        else:
            low, high = (1, ask - 1) if side == Side.BUY else (bid + 1, top - 1)
            if rng.random() < 0.7:
                near = bid if side == Side.BUY else ask
                low, high = max(low, near - 3), min(high, near + 3)
            if low <= high:
                add(TapeKind.INCREASE, side, rng.randint(low, high) * tick, rng.randint(2, 900))
    return tape.rows(), books


@pytest.mark.parametrize("tick", [100, 10, 1], ids=["101 levels", "1001 levels", "10001 levels"])
def test_book_views_of_any_grid(tick) -> None:
    """Best, depth, quantities, mid and microprice of both outcomes equal a book folded by hand."""
    rows, books = wild_tape(tick, 1500, seed=tick)
    session = Session(Tape(rows), (Market("WILD", tick=tick),), name="wild")
    sim = Simulation(session, cash=dollars(1))
    for number, expected in enumerate(books):
        sim.advance(events=1)
        assert sim.events == number + 1
        bids = sorted(expected[Side.BUY].items(), reverse=True)
        asks = sorted(expected[Side.SELL].items())
        compare(sim, Outcome.YES, bids, asks, tick)
        mirrored = [[(10_000 - price, qty) for price, qty in side] for side in (asks, bids)]
        compare(sim, Outcome.NO, *mirrored, tick)


def compare(
    sim: Simulation, outcome: Outcome, bids: list[tuple[int, int]], asks: list[tuple[int, int]],
    tick: int,
) -> None:
    """Compare one book, in the terms of one outcome, with its levels, best first."""
    view = sim.book("WILD", outcome)
    bid, bid_qty = bids[0] if bids else (0, 0)
    ask, ask_qty = asks[0] if asks else (10_000, 0)
    assert (view.best_bid, view.best_bid_qty) == (bid, bid_qty)
    assert (view.best_ask, view.best_ask_qty) == (ask, ask_qty)
    assert (view.spread, view.mid2) == (ask - bid, ask + bid)
    micro = (bid * ask_qty + ask * bid_qty) // (bid_qty + ask_qty) if bid_qty and ask_qty else None
    assert view.microprice == (micro if micro is not None else (bid + ask) // 2)
    if sim.events % 10 == 0:
        assert (view.bids(), view.asks()) == (bids, asks)
    assert (view.bids(3), view.asks(2)) == (bids[:3], asks[:2])
    for price, qty in bids[:2]:
        assert view.qty(Side.BUY, price) == qty and view.qty(Side.SELL, price) == 0
    if tick > 1:
        with pytest.raises(ValueError, match="not a multiple"):
            view.qty(Side.BUY, bid + 1)
