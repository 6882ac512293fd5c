"""One run in progress over a session: the simulated gateway, and stepping, forking, subscribing."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, Self

import attrs
import numpy as np

from . import events
from .availability import ALWAYS, Availability
from .bus import NO_STOP, Bus, Cause
from .errors import FoldbookError, StrategyError, raised_by
from .fees import Fees, FeeSchedule, in_force
from .gateway import order_flags, switch
from .journal import Journal
from .kernels import layout, loop, programs, refusals
from .kernels.layout import CURSOR, JOURNAL_COUNT, NOW, ROWS
from .kernels.refusals import Command
from .kernels.verbs import PRICE_MAX
from .programs import CompiledProjection
from .projections import Views
from .projections.book import BookView, mirror
from .projections.orders import OrdersView, market_and_number, order_id
from .projections.positions import PositionsView
from .projections.reward import RewardView
from .schema import (
    KEEP,
    NO_MARKET,
    NO_TIME,
    CauseKind,
    JournalKind,
    Mark,
    OrderFlag,
    Outcome,
    Reason,
    SelfTrade,
    Side,
    TimeInForce,
)
from .session import Session
from .specs import (
    CONSERVATIVE,
    LIMIT_MAX,
    NO_LIMITS,
    ZERO_LATENCY,
    Latency,
    Models,
    Queue,
    Risk,
)
from .units import QTY_MAX, dollars, duration

ANY_JOURNAL = sum(1 << (16 + kind) for kind in JournalKind)
"""Bit set of layout.WATCH: whatever the run adds to its journal."""
_YES = Outcome.YES  # a member of an enumeration is slow to look up
_STRETCH = 1 << 14
"""Tape rows, see `Simulation.advance_served`."""
STARTED: Cause = (int(CauseKind.START), NO_MARKET, 0)
TIMED: Cause = (int(CauseKind.TIMER), NO_MARKET, 0)


@attrs.frozen
class NextChange:
    """See `next_change`."""

    market: str | int


def next_change(market: str | int = 0) -> NextChange:
    """Return, for `Simulation.advance`, the next change of a market's book."""
    return NextChange(market)


class Projection(Protocol):
    """A projection of the user's own in Python: state folded from the events of some kinds.

    kinds: structs of `events`, such as (Trade, Fill).
    """

    @property
    def kinds(self) -> Collection[type]:
        """The structs whose events it wants."""

    def apply(self, event: events.Event) -> None:
        """Fold one event."""


def models_in(
    session: Session,
    fees: FeeSchedule | Fees | None,
    market_fees: Mapping[str, FeeSchedule] | Iterable[tuple[str, FeeSchedule]],
    **assumed: Any,
) -> Models:
    """Return the models of a run over a session, its fees as they are in force there.

    market_fees come before what `fees` says of a market; assumed: the other fields of Models.
    """
    if not isinstance(session, Session):
        raise TypeError(f"session: {session!r} is a {type(session).__name__}, not a Session")
    tickers = [market.ticker for market in session.markets]
    base, others = in_force(fees, tickers, session.start, session.end)
    given = Models(fees=base, market_fees=market_fees).market_fees
    return Models(fees=base, market_fees={**dict(others), **dict(given)}, **assumed)


class Simulation:
    """One run over a session, moved by `advance` and told by `submit`, `amend` and `cancel`.

    cash $0.000001; fees are dated ones or one schedule for all, by default Kalshi's in force at
    the session's start; market_fees as in `specs.Models`; mark is what
    positions are valued at; restored_after, collateral_return and seed as in `specs.Models`;
    order_capacity is how many orders may be open or on their way in one market at once, client_ids
    how many own ids may be used, order_groups how many may be set; all three are of each account.
    others: (cash, limits) of accounts that trade with this one, see `accounts.Accounts`. Without
    `journal` rows are let go once every projection and hook has read them, so that a long run
    takes no more memory than a short one. Prices, quantities and times are those of `units`;
    markets are tickers or indices.

    What it shows (`book`, `orders`, `positions`, `reward`) is what the agent sees by now; `venue`
    has the same views of what is so at the venue, which is another thing where sight is delayed.
    """

    __slots__ = (
        "_books",
        "_known",
        "account",
        "bus",
        "cause",
        "delivered_journal",
        "delivered_tape",
        "is_playing",
        "orders",
        "positions",
        "projections",
        "reward",
        "session",
        "tickers",
        "timers",
        "venue",
    )

    def __init__(
        self,
        session: Session,
        *,
        cash: int = dollars(1000),
        fees: FeeSchedule | Fees | None = None,
        market_fees: Mapping[str, FeeSchedule] | Iterable[tuple[str, FeeSchedule]] = (),
        latency: Latency = ZERO_LATENCY,
        queue: Queue = CONSERVATIVE,
        risk: Risk = NO_LIMITS,
        restored_after: int | str | timedelta = 0,
        availability: Availability = ALWAYS,
        collateral_return: bool = False,
        seed: int = 0,
        mark: Mark = Mark.MID,
        order_capacity: int = 64,
        client_ids: int = 256,
        order_groups: int = 4,
        projections: Sequence[CompiledProjection] = (),
        others: Sequence[tuple[int, Risk]] = (),
        journal: bool = True,
    ):
        if others and not journal:
            raise ValueError("journal: accounts that trade with each other keep theirs")
        for amount in (cash, *(amount for amount, _ in others)):
            if not 0 <= _integer("cash", amount) <= LIMIT_MAX:
                raise ValueError(f"cash: {amount}; expected 0 to {LIMIT_MAX}, in $0.000001")
        self.session = session
        self.account = 0
        self.bus = Bus(
            session,
            cash=_integer("cash", cash),
            models=models_in(
                session,
                fees,
                market_fees,
                latency=latency,
                queue=queue,
                risk=risk,
                restored_after=duration(restored_after),
                availability=availability,
                seed=seed,
                collateral_return=collateral_return,
            ),
            mark=Mark(mark),
            order_capacity=order_capacity,
            client_ids=client_ids,
            order_groups=order_groups,
            projections=projections,
            others=others,
            keeps_journal=switch("journal", journal),
        )
        self.cause: Cause = STARTED
        self.is_playing = False
        self.timers: list[int] = []
        self.delivered_tape = 0
        self.delivered_journal = 0
        self._known = 0
        self.projections: list[Projection] = []
        self._look()
        self.bus.follow()

    @property
    def _mine(self) -> Bus:
        """The bus, with this account in use."""
        self.bus.use(self.account)
        return self.bus

    def _look(self) -> None:
        """Make the views of this run's own state."""
        bus = self.bus
        bases = [bus.base(index) for index in range(len(self.session.markets))]
        self.tickers = [market.ticker for market in self.session.markets]
        views = Views(bus.sight, bases, self.tickers, self._market)
        self.venue = views
        if bus.sees_late:
            self.venue = Views(bus.memory, bases, self.tickers, self._market)
        self._books = views.books
        self.orders: OrdersView = views.orders
        self.positions: PositionsView = views.positions
        self.reward: RewardView = views.reward

    # What a strategy may see.

    @property
    def now(self) -> int:
        """The time of the run, ns."""
        return int(self.bus.memory[NOW])

    @property
    def events(self) -> int:
        """Tape rows applied so far."""
        return int(self.bus.memory[CURSOR])

    def in_flight(self, market: str | int = 0) -> int:
        """Return how many commands of a market were sent and are not known to be answered."""
        bus = self._mine
        desk = bus.desk(self._market(market))
        return int(bus.memory[desk + layout.REQUESTS] - bus.sight[desk + layout.ANSWERS])

    def book(self, market: str | int = 0, outcome: Outcome = Outcome.YES) -> BookView:
        """Return the visible book of a market in the terms of an outcome."""
        view = self._books[self._market(market)]
        return view if outcome is _YES else view.of(Outcome(outcome))

    # What a strategy may do.

    def submit(
        self,
        market: str | int,
        side: Side,
        price: int | None,
        qty: int,
        outcome: Outcome = Outcome.YES,
        tif: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
        expires: int | None = None,
        client_id: int | None = None,
        *,
        cancel_on_pause: bool = False,
        self_trade: SelfTrade = SelfTrade.CANCEL_INCOMING,
        group: int | None = None,
    ) -> int:
        """Submit an order and return its id; what the venue refuses is a REJECTED event.

        price None is a market order, which the venue refuses. self_trade: which order is canceled
        when it meets an own one; group: of `set_group`. Raises TypeError for a price or quantity
        that is not an int or a switch that is no bool, StrategyError for an unknown market,
        CapacityError if order_capacity orders are open or on their way in the market, or all
        client_ids are used.
        """
        flags = order_flags(post_only, reduce_only, cancel_on_pause, self_trade)
        command = self._new_order(
            market, side, price, qty, outcome, tif, flags, expires, client_id, group
        )
        number = self.bus.submit(command, self.account)
        self._sent()
        return order_id(command[0], number)

    def amend(
        self,
        id: int,
        price: int | None = None,
        qty: int | None = None,
        outcome: Outcome = Outcome.YES,
        *,
        expires: int | None = None,
    ) -> None:
        """Change the price, the total quantity (filled part included) or the expiry of an order.

        outcome says in whose terms the price is; expires NO_TIME removes an expiry. Raises
        StrategyError for an id never issued.
        """
        market, number = self._order(id)
        new_price = KEEP
        if price is not None:
            if type(outcome) is not Outcome:
                raise TypeError(f"outcome {outcome!r}: expected an Outcome")
            new_price = mirror(Side.BUY, _integer("price", price, PRICE_MAX), outcome)[1]
        new_qty = KEEP if qty is None else _integer("qty", qty)
        new_expiry = KEEP if expires is None else _integer("expires", expires)
        self.bus.amend(
            self._change(market, number, new_price, new_qty, 0, new_expiry), self.account
        )
        self._sent()

    def decrease(self, id: int, by: int | None = None, to: int | None = None) -> None:
        """Take some of what an order has open, or all but some; it keeps its place.

        Exactly one of by and to. Raises StrategyError for an id never issued, for both or none.
        """
        market, number = self._order(id)
        if (by is None) == (to is None):
            raise StrategyError(f"decrease: by={by} and to={to}; exactly one of them")
        qty = _integer("qty", by if to is None else to)  # type: ignore[arg-type]
        flags = 0 if to is None else int(OrderFlag.REDUCE_TO)
        self.bus.decrease(self._change(market, number, 0, qty, flags), self.account)
        self._sent()

    def cancel(self, id: int) -> None:
        """Cancel an order; if it is not open any more, that is a CANCEL_REJECTED event.

        Raises StrategyError for an id never issued.
        """
        market, number = self._order(id)
        self.bus.cancel(self._change(market, number), self.account)
        self._sent()

    def cancel_all(self, market: str | int | None = None) -> None:
        """Cancel every order that is open or on its way, of one market or of all."""
        markets = range(len(self.tickers)) if market is None else (self._market(market),)
        for index in markets:
            self.bus.cancel_all(index, self.cause, self.account)
        self._sent()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Let the commands that are sent inside share one draw: those of a kind arrive together."""
        if self.bus.in_batch:
            yield
            return
        self.bus.begin_batch()
        try:
            yield
        finally:
            self.bus.end_batch()

    def set_group(self, group: int, limit: int) -> None:
        """Create or reset an order group: what its orders may match within 15 s, 0.01 contract.

        Raises CapacityError for a number above order_groups, ValueError for a limit that is none.
        """
        if not 0 < _integer("limit", limit) <= QTY_MAX:
            raise ValueError(f"group {group}: limit {limit}; expected 1 to {QTY_MAX}")
        self._mine.set_group(_integer("group", group, PRICE_MAX), limit, self.cause)
        self._sent()

    def kill(self, on: bool = True) -> None:
        """Turn the kill switch: new orders and amends are refused; open orders are canceled."""
        self._mine.kill(switch("on", on), self.cause)
        self._sent()
        if on:
            self.cancel_all()

    def timer(self, ts: int) -> None:
        """Ask for `on_timer` at a time. Raises StrategyError for a time that has passed."""
        if _integer("timer", ts) < self.now:
            raise StrategyError(f"timer at {ts} is before now, {self.now}")
        bisect.insort(self.timers, ts)

    def would_reject(
        self,
        market: str | int,
        side: Side,
        price: int | None,
        qty: int,
        outcome: Outcome = Outcome.YES,
        tif: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
        expires: int | None = None,
        client_id: int | None = None,
        *,
        cancel_on_pause: bool = False,
        self_trade: SelfTrade = SelfTrade.CANCEL_INCOMING,
        group: int | None = None,
    ) -> Reason | None:
        """Return the reason why `submit` would be refused if it arrived now, or None.

        Where sight is delayed, as far as the agent can see.
        """
        flags = order_flags(post_only, reduce_only, cancel_on_pause, self_trade)
        command = self._new_order(
            market, side, price, qty, outcome, tif, flags, expires, client_id, group
        )
        run = self._mine.run
        seen = run._replace(state=run.seen) if self.bus.sees_late else run
        return Reason(refusals.submit_refusal(seen, Command(*command))) or None

    # How a run is moved.

    def advance(
        self,
        until: int | NextChange | None = None,
        *,
        events: int | None = None,
        stop: int | None = None,
    ) -> bool:
        """Fold the tape up to a time, a change of a book, or a number of rows.

        until: ns; all rows with ts <= until are folded, and the clock stands there; or
        next_change(market): the end of the next burst that changes the market's book. events: how
        many rows, stop: up to which row; both are rounded up to the end of a burst. Without any, to
        the end of the tape; with a time and a number of rows, to what comes first. Returns whether
        that point was reached before the tape ended. Raises ValueError for a number of rows below
        0, StrategyError for `events` with `stop`, and for either with a change.
        """
        if self.is_playing:
            raise StrategyError("advance: a strategy cannot move the run that is played to it")
        if events is not None and stop is not None:
            raise StrategyError(f"advance: events={events} and stop={stop}; expected one of them")
        if isinstance(until, NextChange):
            if events is not None or stop is not None:
                raise StrategyError("advance: next_change takes no number of rows beside it")
            return self._advance_to_change(self._market(until.market))
        limit = NO_TIME if until is None else _integer("until", until)
        for name, rows in (("events", events), ("stop", stop)):
            if rows is not None and _integer(name, rows) < 0:
                raise ValueError(f"{name}: {rows}; expected 0 or more, a run goes forward only")
        if events is not None:
            stop = self.events + int(events)
        stop = None if stop is None else min(_integer("stop", stop), NO_STOP)
        self.advance_served(limit, NO_STOP if stop is None else stop)
        self.cause = self.last_burst() if limit == NO_TIME else TIMED
        return self.events < len(self.session.tape) or (
            self.now >= limit if stop is None else self.events >= stop
        )

    def advance_served(self, limit: int, stop: int) -> None:
        """Advance, look, and serve the Python projections.

        Sight that is late follows stretch by stretch, while the rows are in the processor's cache.
        """
        bus = self.bus
        reached = bus.memory[CURSOR] + _STRETCH
        while bus.sees_late and reached < min(stop, len(self.session.tape)):
            bus.advance(limit, reached)
            bus.follow()
            if bus.memory[CURSOR] < reached:
                break
            reached = bus.memory[CURSOR] + _STRETCH
        bus.advance(limit, stop)
        bus.follow()
        self.serve()

    def _advance_to_change(self, market: int) -> bool:
        """Advance to the next change of a market's book that the agent is shown."""
        bus = self.bus
        found = False
        if not bus.sees_late:
            bus.memory[layout.WATCH] = programs.BOOK_CHANGES
            bus.memory[layout.WATCH_MARKET] = market
            found = bus.advance() == loop.WATCHED
            bus.memory[layout.WATCH], bus.memory[layout.WATCH_MARKET] = 0, -1
        while bus.sees_late and not found:
            first = bus.sight[CURSOR]
            news = bus.next_news()
            self.advance_served(news if news <= self.session.end else NO_TIME, NO_STOP)
            if news > self.session.end:
                break
            shown = self.session.tape.rows[first : bus.sight[CURSOR]]
            kinds = shown["kind"][shown["market"] == market]
            found = any(programs.BOOK_CHANGES >> kind & 1 for kind in kinds.tolist())
        self.cause = self.last_burst()
        self.serve()
        return found

    def subscribe(self, projection: Projection) -> None:
        """Hand every event of the kinds that a Python projection names to its `apply`, in order.

        It is served before control returns to the caller; a fork gets a deep copy of it. What its
        `apply` raises comes out as a StrategyError that names it.
        """
        strangers = [each for each in projection.kinds if each not in _EVENTS]
        if strangers:
            raise TypeError(f"kinds: {strangers[0]!r} is no event of foldbook.engine.events")
        if self.events:
            self.serve()
            self.delivered_journal = self.bus.sight[JOURNAL_COUNT]
            self.delivered_tape = self.bus.sight[CURSOR]
            self._known = self.bus.sight[layout.KNOWN]
        self.projections.append(projection)

    def projection(self, name: str) -> np.ndarray:
        """Return a copy of the int64 words of a compiled projection. Raises KeyError."""
        for index, one in enumerate(self.bus.projections):
            if one.name == name:
                return self.bus.projection_words(index)
        raise KeyError(f"no compiled projection is called {name!r}")

    def fork(self) -> Simulation:
        """Return an independent copy of the run: state, timers and Python projections."""
        return self._twin(self.bus.fork())

    def _twin(self, bus: Bus) -> Self:
        """Return a copy of this run on a bus that was forked from its own."""
        twin = object.__new__(type(self))
        twin.session = self.session
        twin.account = self.account
        twin.bus = bus
        twin.bus.end_batch()
        twin.cause = self.cause
        twin.is_playing = False
        twin.timers = self.timers.copy()
        twin.delivered_tape = self.delivered_tape
        twin.delivered_journal = self.delivered_journal
        twin._known = self._known
        twin.projections = copy.deepcopy(self.projections) if self.projections else []
        twin._look()
        return twin

    def journal(self) -> Journal:
        """Return the journal up to now. Raises TypeError for a run without."""
        return self.bus.journal()

    def forget(self, read: int) -> None:
        """Let go of journal rows below number `read`, if the projections have read them too and
        the run keeps none."""
        self.bus.forget(min(read, self.delivered_journal) if self.projections else read)

    def is_told(self, row: np.void) -> bool:
        """Whether a journal row is for this account's eyes."""
        return True

    def last_burst(self) -> Cause:
        """Return the last tape row that the agent was shown, as a cause."""
        cursor = self.bus.sight[CURSOR]
        if cursor == 0:
            return STARTED
        market = int(self.session.tape.rows[cursor - 1]["market"])
        return int(CauseKind.TAPE), market, self.bus.sight[self.bus.base(market) + ROWS] - 1

    def _sent(self) -> None:
        """After a command: show its answer, if that is here already."""
        if self.bus.sees_late:
            self.bus.follow()
        if self.projections or not self.is_playing:
            self.serve()

    def serve(self) -> None:
        """Fold into the Python projections what they have not seen, in the order of the bus."""
        bus = self.bus
        if self.projections:
            self._serve()
        if not self.is_playing:
            self.forget(bus.sight[JOURNAL_COUNT])

    def _serve(self) -> None:
        bus = self.bus
        cursor, count = bus.sight[CURSOR], bus.sight[JOURNAL_COUNT]
        first, number = self.delivered_tape, self.delivered_journal
        places = self._places(first, number)
        self.delivered_tape, self.delivered_journal = cursor, count
        self._known = bus.sight[layout.KNOWN]
        wanted = {kind for one in self.projections for kind in one.kinds}
        tape_kinds = [n for n, event in enumerate(events.TAPE_EVENTS) if event in wanted]
        kinds = self.session.tape.rows["kind"][first:cursor]
        rows = iter(zip(range(number, count), places, strict=True))
        rest = next(rows, None)
        for i in (np.flatnonzero(np.isin(kinds, tape_kinds)) + first).tolist():
            while rest is not None and rest[1] <= i:
                self._publish(wanted, events.JOURNAL_EVENTS, bus.row(rest[0]))
                rest = next(rows, None)
            self._publish(wanted, events.TAPE_EVENTS, self.session.tape.rows[i])
        while rest is not None:
            self._publish(wanted, events.JOURNAL_EVENTS, bus.row(rest[0]))
            rest = next(rows, None)

    def _places(self, first: int, number: int) -> list[int]:
        """Return how many tape rows the agent was shown before each journal row from `number` on
        that it knows; it has been served `first` tape rows so far."""
        bus = self.bus
        count = bus.sight[JOURNAL_COUNT]
        if not bus.sees_late:
            return [bus.place(each) for each in range(number, count)]
        delivered = bus.delivered(first, bus.sight[CURSOR])
        known = bus.known(number, count, self._known)
        places: list[int] = (first + np.searchsorted(delivered, known, side="right")).tolist()
        if number == 0:
            places[0] = 0
        return places

    def _publish(self, wanted: set[type], kinds: tuple[type, ...], row: np.void) -> None:
        kind = kinds[row["kind"]]
        if kind in wanted and (kinds is events.TAPE_EVENTS or self.is_told(row)):
            event = events.from_row(row, self.tickers)
            for one in self.projections:
                if kind in one.kinds:
                    _apply(one, event)

    # Helpers.

    def _market(self, market: str | int) -> int:
        if type(market) is int and 0 <= market < len(self.tickers):
            return market
        try:
            return self.session.market_index(market)
        except KeyError as error:
            raise StrategyError(str(error.args[0])) from None

    def _order(self, id: int) -> tuple[int, int]:
        market, number = market_and_number(_integer("order id", id))
        if number and 0 <= market < len(self.tickers):
            return market, number
        raise StrategyError(f"order {id} was never submitted")

    def _new_order(
        self,
        market: str | int,
        side: Side,
        price: int | None,
        qty: int,
        outcome: Outcome,
        tif: TimeInForce,
        flags: int,
        expires: int | None,
        client_id: int | None,
        group: int | None,
    ) -> tuple[int, ...]:
        """Return the values of a Command, a new order in YES terms; price None is KEEP."""
        if type(side) is not Side or type(outcome) is not Outcome:
            raise TypeError(f"side {side!r} of {outcome!r}: expected a Side and an Outcome")
        yes_price = 0 if price is None else _integer("price", price, PRICE_MAX)
        yes_side, yes_price = mirror(side, yes_price, outcome)
        return (
            self._market(market),
            0,
            yes_side,
            KEEP if price is None else yes_price,
            _integer("qty", qty),
            +tif if type(tif) is TimeInForce else _time_in_force(tif),  # + makes it a plain int
            flags,
            NO_TIME if expires is None else _integer("expires", expires),
            0 if client_id is None else _integer("client_id", client_id),
            0 if group is None else _integer("group", group, PRICE_MAX),
            *self.cause,
        )

    def _change(
        self,
        market: int,
        number: int,
        price: int = 0,
        qty: int = 0,
        flags: int = 0,
        expires: int = NO_TIME,
    ) -> tuple[int, ...]:
        """Return the values of a Command for an order."""
        return market, number, 0, price, qty, 0, flags, expires, 0, 0, *self.cause


def _time_in_force(tif: TimeInForce) -> int:
    try:
        return int(TimeInForce(tif))
    except ValueError:
        raise ValueError(f"tif: {tif!r}; expected a TimeInForce") from None


def _apply(one: Projection, event: events.Event) -> None:
    try:
        one.apply(event)
    except (FoldbookError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever user code raises is the user's
        raise raised_by(f"projection {type(one).__name__}", error) from error


def _integer(name: str, value: int, limit: int = NO_TIME) -> int:
    """Return an int. Raises TypeError for what is none, ValueError for one that no row can hold."""
    if type(value) is int and -limit <= value <= limit:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: {value!r} is a {type(value).__name__}, not an int in units")
    if not -limit <= value <= limit:
        raise ValueError(f"{name}: {value} cannot be sent; limit {limit}")
    return int(value)


_EVENTS = {*events.TAPE_EVENTS, *events.JOURNAL_EVENTS}
