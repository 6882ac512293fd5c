"""What came of a run: its journal, tables of it, metrics, and the ways to get it again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from . import band as _band
from . import evidence as _evidence
from . import explain as _explain
from . import metrics as _metrics
from . import trust as _trust
from .bus import Bus
from .config import Config
from .errors import JournalError
from .journal import Journal, requests
from .kernels.layout import ORDER_CAPACITY, VALUE
from .lifecycle import (
    ACCOUNT_KINDS,
    VENUE_STATUS,
    OrderState,
    check_journal,
    last_update_reason,
)
from .projections.orders import order_id
from .projections.positions import Position
from .projections.reward import RewardView
from .schema import NO_MARKET, Evidence, JournalKind, Liquidity, Reason, Side
from .session import Session
from .simulation import Simulation
from .specs import Models, Queue
from .tables import Table
from .units import PRICE_ONE

_CHANGES = (
    JournalKind.ACCEPTED,
    JournalKind.REJECTED,
    JournalKind.AMENDED,
    JournalKind.CANCELED,
    JournalKind.EXPIRED,
    JournalKind.FILL,
)
"""Rows that say how an order is from there on."""


class Fill(NamedTuple):
    """One fill of an own order, in YES terms. fee and cash $0.000001; cash is without the fee."""

    number: int
    ts: int
    market: str
    order: int
    side: Side
    price: int
    qty: int
    left: int
    cash: int
    fee: int
    liquidity: Liquidity
    evidence: Evidence
    ahead: int
    claim: int


class OrderRecord(NamedTuple):
    """One submitted order and how it ended.

    price, qty as they were last; reason if refused or canceled. status, last_update_reason: in the
    venue's words, see `lifecycle`.
    """

    id: int
    ts: int
    market: str
    side: Side
    price: int
    qty: int
    filled: int
    left: int
    state: OrderState
    reason: Reason
    client_id: int
    group: int
    status: str
    last_update_reason: str


class Value(NamedTuple):
    """Portfolio value at one moment, $0.000001."""

    ts: int
    value: int


class Result:
    """A finished (or interrupted) run: the simulation where it stands, and its journal."""

    def __init__(
        self,
        simulation: Simulation,
        config: Config,
        again: Callable[[Models], Result] | None = None,
    ):
        self.simulation = simulation
        self.session = simulation.session
        self.config = config
        self.journal = simulation.journal()
        self._again = again

    @classmethod
    def from_journal(
        cls,
        session: Session,
        rows: np.ndarray,
        places: np.ndarray,
        header: dict[str, Any],
        queue: Queue | None = None,
    ) -> Result:
        """Return the result that a stored journal tells of, by rebuilding it.

        queue: the queue model, where it was a function of the user's own. Raises JournalError if
        the journal belongs to another session or is not in order, or if its header lacks a field.
        """
        config = Config.from_header(header, queue)
        journal = Journal(rows, places)
        digest = _stated(header, "session", "digest")
        if digest != session.digest:
            raise JournalError(
                f"journal: it was written over a session with digest {digest}, and session "
                f"{session.name} has {session.digest}"
            )
        events, now = _stated(header, "events"), _stated(header, "now")
        return cls(_rebuilt(config.simulation(session), journal, events, now), config)

    @property
    def digest(self) -> str:
        """Digest of the journal rows alone: no paths, versions, drivers or places."""
        return self.journal.digest

    @property
    def run_digest(self) -> str:
        """Digest of session, configuration and journal."""
        parts = (self.session.digest, repr(sorted(self.config.header().items())), self.digest)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def header(self) -> dict[str, Any]:
        """Return what a journal file says of the run besides its rows."""
        return {
            "session": {
                **self.session.source,
                "name": self.session.name,
                "digest": self.session.digest,
            },
            **self.config.header(),
            "events": self.simulation.events,
            "now": self.simulation.now,
        }

    @cached_property
    def fills(self) -> Table[Fill]:
        """All fills, in order."""
        rows = self.journal.rows[self.journal.numbers(JournalKind.FILL)]
        columns = {name: rows[name] for name in Fill._fields if name in (rows.dtype.names or ())}
        columns |= {
            "number": np.arange(len(rows)),
            "market": self._tickers(rows["market"]),
            "order": _ids(rows),
        }
        return Table(Fill, columns, {"side": Side, "liquidity": Liquidity, "evidence": Evidence})

    @cached_property
    def orders(self) -> Table[OrderRecord]:
        """All submitted orders, refused ones included, in the order of their submission."""
        records: dict[int, dict[str, Any]] = {}
        states = check_journal(self.journal.rows)
        rows = self.journal.rows
        causes = self.journal.causes().tolist()
        for row, id, cause in zip(rows, _ids(rows).tolist(), causes, strict=True):
            kind = row["kind"]
            if kind == JournalKind.SUBMITTED:
                market = int(row["market"])
                state = states[market, int(row["order"])]
                records[id] = {
                    **{name: row[name] for name in ("ts", "side", "price", "qty")},
                    **{name: row[name] for name in ("client_id", "group")},
                    "id": id,
                    "market": self.session.markets[market].ticker,
                    "filled": 0,
                    "left": 0,
                    "state": state,
                    "reason": Reason.NONE,
                    "status": VENUE_STATUS[state],
                    "last_update_reason": "",
                }
            elif kind in _CHANGES:
                request = None if cause < 0 else JournalKind(rows[cause]["kind"])
                _change(records[id], row, request)
        columns = {name: [each[name] for each in records.values()] for name in OrderRecord._fields}
        return Table(OrderRecord, columns, {"side": Side, "state": OrderState, "reason": Reason})

    @cached_property
    def positions(self) -> Table[Position]:
        """Where each market's position stands at the end."""
        columns = list(zip(*self.simulation.venue.positions, strict=True))
        return Table(Position, dict(zip(Position._fields, columns, strict=True)))

    @cached_property
    def equity(self) -> Table[Value]:
        """Portfolio value at the start, the end and 499 equally spaced moments between."""
        start, end = self.session.start, self.session.end
        return self.values(start + (end - start) * np.arange(501) // 500)

    def values(self, times: np.ndarray) -> Table[Value]:
        """Return the portfolio value at ascending times: after all rows with ts <= the time."""
        values = [RewardView(bus.memory).value for bus, _ in self._moments(times)]
        return Table(Value, {"ts": times, "value": values})

    def market_values(self, times: np.ndarray) -> np.ndarray:
        """Return what each market has added to the starting cash at ascending times.

        times: ns, as for `values`. Returns int64, shape (times, markets), $0.000001: cash moved in
        the market, fees paid, and the value of its position. Collateral returned adds nothing: it
        is owed.
        """
        rows = self.journal.rows
        markets = range(len(self.session.markets))
        earned = np.zeros(len(markets), dtype=np.int64)
        values = np.zeros((len(times), len(markets)), dtype=np.int64)
        done = 1
        for number, (bus, end) in enumerate(self._moments(times)):
            moved = rows[done:end]
            moved = moved[moved["kind"] != JournalKind.COLLATERAL_RETURNED]
            np.add.at(earned, moved["market"], moved["cash"] - moved["fee"])
            values[number] = earned + [bus.memory[bus.desk(each) + VALUE] for each in markets]
            done = end
        return values

    def _moments(self, times: np.ndarray) -> Iterator[tuple[Bus, int]]:
        """Yield a state rebuilt up to each time, and how many journal rows are folded in it."""
        journal = self.journal
        bus = self.config.simulation(self.session).bus
        tape = self.session.tape.rows
        stops = np.searchsorted(tape["ts"], times, side="right")
        ends = np.maximum(np.searchsorted(journal.rows["ts"], times, side="right"), 1)
        done = 1
        for stop, end in zip(stops.tolist(), ends.tolist(), strict=True):
            stop = min(stop, self.simulation.events)
            done += bus.rebuild(journal.rows[done:end], journal.places[done:end], stop)
            yield bus, done

    def replay(self) -> Result:
        """Send the journal's requests again, without the strategy; every other row is derived."""
        simulation = self.config.simulation(self.session, self.simulation.bus.projections)
        send_again(simulation, self.journal)
        simulation.bus.advance(self.simulation.now, self.simulation.events)
        simulation.bus.follow()
        return Result(simulation, self.config)

    def rebuild(self) -> Simulation:
        """Fold tape and journal into a fresh state without matching anything."""
        ran = self.simulation
        fresh = self.config.simulation(self.session, ran.bus.projections)
        return _rebuilt(fresh, self.journal, ran.events, ran.now)

    def metrics(self) -> dict[str, Any]:
        """Return the figures of the run: integers in units, names, and ratios as floats."""
        return _metrics.metrics(self)

    def summary(self) -> str:
        """Return the figures of the run as text."""
        return _metrics.summary(self)

    def untrusted(self) -> _trust.Untrusted:
        """Return what of the run fell into stretches where its record had a hole."""
        return _trust.untrusted(self)

    def pnl_by_evidence(self) -> Table[_evidence.EvidencePnl]:
        """Return what the fills of each evidence class earned; the rows add up to the P&L."""
        return _evidence.pnl_by_evidence(self)

    def band(self) -> _band.Band:
        """Run the same strategy again, optimistic and pessimistic, and return all three.

        Raises JournalError for a result that was rebuilt from a journal, StrategyError if the
        strategy could not be copied before it ran.
        """
        return _band.band(self)

    def again(self, models: Models) -> Result:
        """Run the strategy as it was before it ran, with other models.

        Raises JournalError for a result that was rebuilt or replayed from a journal, StrategyError
        if the strategy could not be copied before it ran.
        """
        if self._again is None:
            raise JournalError("the result comes from a journal, which holds no strategy to run")
        return self._again(models)

    def explain(self, fill: Fill | int) -> str:
        """Return the chain of causes of one fill as text: event, decision, order, fill.

        fill: a row of `fills`, or its number. Raises IndexError if there is none.
        """
        return str(_explain.explain(self, fill.number if isinstance(fill, Fill) else int(fill)))

    def _tickers(self, markets: np.ndarray) -> np.ndarray:
        names = np.array([market.ticker for market in self.session.markets])
        return names[markets] if len(markets) else names[:0]

    def __repr__(self) -> str:
        return f"Result({self.session.name!r}, fills={len(self.fills)}, digest={self.digest[:12]})"


def _change(record: dict[str, Any], row: np.void, request: JournalKind | None) -> None:
    """Fold a row that changes an order, and the kind of what caused it, into its record."""
    record["left"] = row["left"]
    if row["kind"] == JournalKind.FILL:
        record["filled"] += row["qty"]
    elif row["kind"] in (JournalKind.ACCEPTED, JournalKind.AMENDED):
        record["price"], record["qty"] = row["price"], row["qty"]
    else:
        record["reason"] = row["reason"]
    record["last_update_reason"] = why = last_update_reason(row, request)
    if row["kind"] == JournalKind.REJECTED and why:
        record["status"] = VENUE_STATUS[OrderState.CANCELED]


def _ids(rows: np.ndarray) -> np.ndarray:
    return order_id(rows["market"].astype(np.int64), rows["order"].astype(np.int64))  # type: ignore


def send_again(simulation: Simulation, journal: Journal) -> None:
    """Send every request of a journal at its place and time, whatever comes of it."""
    for number in requests(journal):
        row = journal.rows[number]
        simulation.bus.advance(int(row["ts"]), int(journal.places[number]))
        simulation.bus.happen_until(int(row["ts"]), number)
        simulation.bus.send_again(row)


def _stated(header: Any, *path: str) -> Any:
    """Return a field of a journal's header. Raises JournalError if it is not there."""
    for name in path:
        if not isinstance(header, dict) or name not in header:
            raise JournalError(f"journal header: no {name}")
        header = header[name]
    return header


def _rebuilt(simulation: Simulation, journal: Journal, events: int, now: int) -> Simulation:
    """Return a fresh simulation brought to where a journal leaves it. Raises JournalError."""
    check_journal(journal.rows)
    _check_bounds(simulation, journal)
    if len(journal) == 0 or journal.rows[0] != simulation.journal().rows[0]:
        raise JournalError("journal row 0: it is not the opening of an account in this session")
    bus = simulation.bus
    bus.rebuild(journal.rows[1:], journal.places[1:], events)
    bus.adopt(journal, now)
    return simulation


def _check_bounds(simulation: Simulation, journal: Journal) -> None:
    """Check what rows name before kernels index by it: places, markets, sides, prices, slots."""
    session = simulation.session
    rows = journal.rows
    market = rows["market"]
    levels = np.array([PRICE_ONE // each.tick for each in session.markets])
    ticks = np.array([each.tick for each in session.markets])
    known = (market >= NO_MARKET) & (market < len(session.markets))
    index = np.where(known & (market >= 0), market, 0)
    price = rows["price"]
    placed = np.isin(rows["kind"], (JournalKind.ACCEPTED, JournalKind.AMENDED, JournalKind.FILL))
    level = price // ticks[index]
    rules = {
        "market": known & ((market >= 0) | np.isin(rows["kind"], ACCOUNT_KINDS)),
        "account": (rows["account"] >= 0) & (rows["account"] < simulation.bus.accounts),
        "side": (rows["side"] >= 0) & (rows["side"] <= 1),
        "price": ~placed | ((level > 0) & (level < levels[index]) & (price % ticks[index] == 0)),
    }
    for name, kept in rules.items():
        bad = np.flatnonzero(~kept)
        if len(bad):
            raise JournalError(
                f"journal row {bad[0]}: {name} {rows[name][bad[0]]} is none of this session's"
            )
    behind = np.flatnonzero((journal.places < 0) | (journal.places > len(session.tape)))
    if len(behind):
        raise JournalError(
            f"journal row {behind[0]}: it stands behind tape row {journal.places[behind[0]]}, and "
            f"session {session.name} has {len(session.tape)}"
        )
    submitted = (rows["kind"] == JournalKind.SUBMITTED).astype(np.int64)
    ended = np.isin(rows["kind"], (JournalKind.REJECTED, JournalKind.CANCELED, JournalKind.EXPIRED))
    ended |= (rows["kind"] == JournalKind.FILL) & (rows["left"] == 0)
    for each in range(len(session.markets)):
        of_market = market == each
        open_orders = np.cumsum((submitted - ended)[of_market])
        capacity = simulation.bus.memory[ORDER_CAPACITY]
        if len(open_orders) and open_orders.max() > capacity:
            raise JournalError(
                f"journal: more than order_capacity {capacity} orders are open or in flight at "
                f"once in {session.markets[each].ticker}"
            )
