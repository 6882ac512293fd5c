"""What one run does, in plain Python: docs/semantics.md, sentence by sentence.

Ladders are sorted dicts, orders are objects, every number is a Python int and every total is
recomputed where it is needed. Shares no code with `engine/kernels`; only enums, units and specs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from sortedcontainers import SortedDict

from foldbook.engine.schema import (
    JOURNAL_DTYPE,
    KEEP,
    NO_MARKET,
    NO_TIME,
    TAPE_DTYPE,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    Mark,
    MarketStatus,
    OrderFlag,
    Reason,
    Side,
    TapeFlag,
    TapeKind,
    TimeInForce,
)
from foldbook.engine.specs import FeeSchedule, Market
from foldbook.engine.units import PPM, PRICE_ONE, QTY_MAX

UNKNOWN_AHEAD = 2**62
"""The queue position of an order after a gap: nothing is known until the next snapshot."""
ACTIVE = (MarketStatus.OPEN, MarketStatus.PAUSED)

Cause = tuple[int, int, int]
"""(CauseKind, market, row within that market)."""
FROM_START: Cause = (CauseKind.START, NO_MARKET, 0)
FROM_CLOCK: Cause = (CauseKind.TIMER, NO_MARKET, 0)


class TapeRow(NamedTuple):
    """One row of the tape; the fields are those of TAPE_DTYPE, in its order."""

    ts: int
    recv: int
    qty: int
    ahead: int
    price: int
    market: int
    kind: int
    side: int
    flags: int


assert TapeRow._fields == TAPE_DTYPE.names


def opposite(side: int) -> Side:
    """Return the other side."""
    return Side.SELL if side == Side.BUY else Side.BUY


def matches(side: int, limit: int, price: int) -> bool:
    """Say whether an order of `side` with `limit` trades with the other side's `price`."""
    return price <= limit if side == Side.BUY else price >= limit


def leg_cost(side: int, price: int) -> int:
    """Return what one unit of the leg costs that `side` acquires at `price` (section 5)."""
    return price if side == Side.BUY else PRICE_ONE - price


@dataclass
class Order:
    """One own order. `place` orders the orders at one price: earlier places fill first."""

    number: int
    side: int
    price: int
    qty: int
    tif: int
    flags: int
    expires: int
    client_id: int
    left: int = 0
    filled: int = 0
    canceled: int = 0
    ahead: int = 0
    place: int = 0

    @property
    def priority(self) -> tuple[int, int]:
        """Sort key: better price first, then earlier place."""
        return (-self.price if self.side == Side.BUY else self.price, self.place)


class Ladder:
    """One side of the recorded book, and what own fills took of its levels (section 2)."""

    def __init__(self, side: Side):
        self.side = side
        self.qty: SortedDict = SortedDict()
        self.taken: dict[int, int] = {}

    def set(self, price: int, qty: int) -> None:
        """Set a level, and give back what was taken beyond it."""
        if qty:
            self.qty[price] = qty
        else:
            self.qty.pop(price, None)
        self.clamp(price)

    def clamp(self, price: int) -> None:
        """Apply `taken = min(taken, qty)` to one level."""
        taken = min(self.taken.get(price, 0), self.at(price))
        if taken:
            self.taken[price] = taken
        else:
            self.taken.pop(price, None)

    def at(self, price: int) -> int:
        """Return the recorded quantity of a level."""
        return self.qty.get(price, 0)

    def visible_at(self, price: int) -> int:
        """Return what can be seen of a level: recorded, less what own fills took."""
        return self.at(price) - self.taken.get(price, 0)

    def visible(self) -> Iterator[tuple[int, int]]:
        """Yield (price, visible quantity) of the levels that show any, best first."""
        for price in reversed(self.qty) if self.side == Side.BUY else iter(self.qty):
            shown = self.visible_at(price)
            if shown > 0:
                yield price, shown

    @property
    def nothing(self) -> int:
        """The price that stands for a missing best."""
        return 0 if self.side == Side.BUY else PRICE_ONE

    @property
    def recorded_best(self) -> int:
        """Best price with a recorded quantity."""
        if not self.qty:
            return self.nothing
        return self.qty.peekitem(-1 if self.side == Side.BUY else 0)[0]

    @property
    def visible_best(self) -> int:
        """Best price that shows any quantity."""
        return next(self.visible(), (self.nothing, 0))[0]

    def clear(self) -> None:
        """Empty the levels, and forget what was taken."""
        self.qty.clear()
        self.taken.clear()


@dataclass
class MarketState:
    """Everything that one market is at one moment."""

    index: int
    tick: int
    taker_ppm: int
    status: int = MarketStatus.OPEN
    trusted: bool = False
    settled: bool = False
    has_traded: bool = False
    mid2: int = PRICE_ONE
    centre_step: int = 0
    edge_step: int = 0
    edge_width: int = 0
    position: int = 0
    cost: int = 0
    realised: int = 0
    fees: int = 0
    reserved: int = 0
    tape_rows: int = 0
    journal_rows: int = 0
    places: int = 0
    issued: list[Order] = field(default_factory=list)
    open: dict[int, Order] = field(default_factory=dict)
    book: dict[int, Ladder] = field(default_factory=lambda: {side: Ladder(side) for side in Side})

    def __post_init__(self) -> None:
        self.centre_step = self.edge_step = self.tick

    @property
    def inactive(self) -> bool:
        """Say whether the market has closed, or has not begun."""
        return self.status not in ACTIVE or self.tape_rows == 0

    @property
    def halted(self) -> bool:
        """Say whether the market takes no orders for the moment."""
        return self.status == MarketStatus.PAUSED or not self.trusted

    def queue(self, side: int) -> list[Order]:
        """Return the open orders of a side, first to fill first."""
        orders = [order for order in self.open.values() if order.side == side]
        return sorted(orders, key=lambda order: order.priority)

    def capacity(self, side: int) -> int:
        """Return how much of the position an order of `side` could close."""
        closes = self.position < 0 if side == Side.BUY else self.position > 0
        return abs(self.position) if closes else 0

    def on_grid(self, price: int) -> bool:
        """Say whether an order may be priced so."""
        if not 0 < price < PRICE_ONE:
            return False
        edge = price < self.edge_width or price > PRICE_ONE - self.edge_width
        return price % (self.edge_step if edge else self.centre_step) == 0

    def next_place(self) -> int:
        """Return a place behind all that were given out."""
        self.places += 1
        return self.places


@dataclass
class Burst:
    """What is remembered between the rows of one burst."""

    has_snapshot: bool = False
    has_crossing_quote: bool = False


class ReferenceSimulation:
    """One run over a tape.

    tape_rows: array of TAPE_DTYPE. cash: starting cash, $0.000001. observer: called with this
    object after each burst and each command; tests hang their invariants here.
    """

    def __init__(
        self,
        tape_rows: np.ndarray,
        markets: tuple[Market, ...],
        *,
        cash: int,
        fees: FeeSchedule,
        mark: Mark = Mark.MID,
        observer: Callable[[ReferenceSimulation], None] | None = None,
    ):
        self.tape = [TapeRow(*values) for values in tape_rows.tolist()]
        self.markets = [
            MarketState(index, market.tick, fees.taker_ppm) for index, market in enumerate(markets)
        ]
        self.rounding = fees.rounding
        self.mark = mark
        self.observer = observer
        self.applied = 0
        self.now = self.tape[0].ts if self.tape else 0
        self.starting_cash = self.cash = self.peak = cash
        self.drawdown = 0
        self.journal: list[dict[str, int]] = []
        self._places: list[int] = []
        self._account_rows = 0
        self._write(JournalKind.CASH_MOVED, None, FROM_START, cash=cash)

    # Time (section 1).

    def advance_to_row(self, n: int) -> None:
        """Apply whole bursts until at least `n` rows of the tape are applied."""
        while self.applied < min(n, len(self.tape)):
            self._apply_burst()

    def advance_until(self, ts: int) -> None:
        """Apply all rows up to and at `ts`, then expire what is due before it."""
        while self.applied < len(self.tape) and self.tape[self.applied].ts <= ts:
            self._apply_burst()
        self._expire_before(ts)
        self.now = max(self.now, ts)

    def _expire_before(self, ts: int) -> None:
        due = [
            (order.expires, market.index, order.number)
            for market in self.markets
            for order in market.open.values()
            if order.expires < ts
        ]
        for expires, index, number in sorted(due):
            self.now = expires
            market = self.markets[index]
            order = market.open[number]
            self._end_order(market, order)
            self._write_order(
                JournalKind.EXPIRED, market, order, FROM_CLOCK, reserved=self._reserve(market)
            )

    def _apply_burst(self) -> None:
        head = self.tape[self.applied]
        self._expire_before(head.ts)
        self.now = head.ts
        market = self.markets[head.market]
        burst = Burst()
        while self.applied < len(self.tape):
            row = self.tape[self.applied]
            if (row.market, row.ts) != (head.market, head.ts):
                break
            cause = (CauseKind.TAPE, market.index, market.tape_rows)
            self.applied += 1
            market.tape_rows += 1
            self._apply_row(market, row, cause, burst)
        self._end_burst(market, burst, cause)
        self._step_done()

    # The tape (sections 2, 4 and 7).

    def _apply_row(self, market: MarketState, row: TapeRow, cause: Cause, burst: Burst) -> None:
        ladder = market.book[row.side]
        if row.kind == TapeKind.SNAPSHOT:
            for each in market.book.values():
                each.qty.clear()
            market.trusted = True
            burst.has_snapshot = True
        elif row.kind == TapeKind.SNAPSHOT_LEVEL:
            self._note_quote(market, row, burst)
            ladder.set(row.price, row.qty)
        elif row.kind == TapeKind.INCREASE:
            self._note_quote(market, row, burst)
            ladder.set(row.price, ladder.at(row.price) + row.qty)
        elif row.kind == TapeKind.DECREASE:
            ladder.set(row.price, ladder.at(row.price) - row.qty)
            for order in market.queue(row.side):
                if order.price == row.price:
                    order.ahead = min(order.ahead, ladder.at(row.price))
        elif row.kind == TapeKind.TRADE:
            market.has_traded = True
            on_the_book = not row.flags & (TapeFlag.UNJOINED | TapeFlag.BLOCK)
            if on_the_book and market.status == MarketStatus.OPEN and market.trusted:
                self._match_trade(market, row, cause)
        elif row.kind == TapeKind.STATUS:
            self._apply_status(market, row, cause)
            burst.has_crossing_quote |= row.qty == MarketStatus.OPEN
        elif row.kind == TapeKind.GRID:
            market.centre_step, market.edge_step = row.price, row.ahead
            market.edge_width = row.qty
        elif row.kind == TapeKind.FEE:
            market.taker_ppm = row.qty
        elif row.kind == TapeKind.GAP:
            for each in market.book.values():
                each.clear()
            market.trusted = False
            for order in market.open.values():
                order.ahead = UNKNOWN_AHEAD
        else:
            assert row.kind == TapeKind.RECOVERED, row

    def _note_quote(self, market: MarketState, row: TapeRow, burst: Burst) -> None:
        own = market.queue(opposite(row.side))
        if own and matches(own[0].side, own[0].price, row.price):
            burst.has_crossing_quote = True

    def _match_trade(self, market: MarketState, row: TapeRow, cause: Cause) -> None:
        rest = row.qty
        for order in market.queue(row.side):
            if order.price != row.price and matches(row.side, order.price, row.price):
                evidence, claim, ahead = Evidence.THROUGH, rest, 0
            elif order.price == row.price:
                evidence, claim, ahead = Evidence.QUEUE, rest - order.ahead, order.ahead
            else:
                continue
            if claim > 0:
                qty = min(order.left, claim)
                rest -= qty
                self._fill_maker(market, order, qty, evidence, claim, ahead=ahead, cause=cause)
        for order in market.queue(row.side):
            if order.price == row.price:
                order.ahead = max(0, order.ahead - row.qty)

    def _end_burst(self, market: MarketState, burst: Burst, cause: Cause) -> None:
        if burst.has_snapshot:
            for ladder in market.book.values():
                for price in list(ladder.taken):
                    ladder.clamp(price)
            for order in market.open.values():
                order.ahead = min(order.ahead, market.book[order.side].at(order.price))
        if burst.has_crossing_quote and market.trusted and market.status == MarketStatus.OPEN:
            self._match_crossed_quotes(market, cause)
        if market.trusted and market.status in ACTIVE:
            market.mid2 = sum(ladder.recorded_best for ladder in market.book.values())

    def _match_crossed_quotes(self, market: MarketState, cause: Cause) -> None:
        evidence = Evidence.THROUGH if market.has_traded else Evidence.BEYOND
        for side in (Side.BUY, Side.SELL):
            ladder = market.book[opposite(side)]
            for order in market.queue(side):
                while order.left and matches(side, order.price, ladder.visible_best):
                    level, shown = next(ladder.visible())
                    qty = min(order.left, shown)
                    ladder.taken[level] = ladder.taken.get(level, 0) + qty
                    self._fill_maker(
                        market, order, qty, evidence, shown,
                        cause=cause, takes=OrderFlag.TAKES_DEPTH,
                    )  # fmt: skip

    def _apply_status(self, market: MarketState, row: TapeRow, cause: Cause) -> None:
        status = MarketStatus(row.qty)
        if status == MarketStatus.SETTLED and market.settled:
            return
        if status in ACTIVE:
            if market.status in ACTIVE:
                market.status = status
            return
        if market.status in ACTIVE:
            self._close(market, cause)
        market.status = status
        if status == MarketStatus.SETTLED:
            self._settle(market, row.price, cause)

    def _close(self, market: MarketState, cause: Cause) -> None:
        for number in sorted(market.open):
            self._cancel_order(market, market.open[number], Reason.MARKET_CLOSED, cause)
        for ladder in market.book.values():
            ladder.clear()

    def _settle(self, market: MarketState, payout: int, cause: Cause) -> None:
        market.settled = True
        market.mid2 = 2 * payout
        if not market.position:
            return
        qty = abs(market.position)
        side = Side.BUY if market.position > 0 else Side.SELL
        paid = (payout if side == Side.BUY else PRICE_ONE - payout) * qty
        self.cash += paid
        market.realised += paid - market.cost
        market.position = market.cost = 0
        self._write(
            JournalKind.SETTLED, market, cause,
            qty=qty, side=side, price=payout, cash=paid, reserved=self._reserve(market),
        )  # fmt: skip

    # Commands (section 3).

    def submit(
        self,
        market: int,
        side: int,
        price: int,
        qty: int,
        tif: int = TimeInForce.GTC,
        flags: int = 0,
        expires: int = NO_TIME,
        client_id: int = 0,
        cause: Cause = FROM_START,
    ) -> int:
        """Submit an order and return its number within the market."""
        state = self.markets[market]
        number = len(state.issued) + 1
        order = Order(number, side, price, qty, tif, flags, expires, client_id)
        state.issued.append(order)
        request = self._write_order(JournalKind.SUBMITTED, state, order, cause)
        order.left = qty
        reason = self._why_refuse_submit(state, order)
        if reason:
            order.left = 0
            order.canceled = qty
            self._write_order(JournalKind.REJECTED, state, order, request, reason=reason)
        else:
            order.ahead = state.book[side].visible_at(price)
            order.place = state.next_place()
            state.open[number] = order
            accepted = self._write_order(
                JournalKind.ACCEPTED, state, order, request,
                ahead=order.ahead, reserved=self._reserve(state),
            )  # fmt: skip
            self._walk(state, order, accepted)
            if order.left and order.tif == TimeInForce.IOC:
                self._cancel_order(state, order, Reason.IMMEDIATE_OR_CANCEL, accepted)
        self._step_done()
        return number

    def cancel(self, market: int, number: int, cause: Cause = FROM_START) -> None:
        """Cancel an order. Raises LookupError for a number never issued."""
        state, order = self._find(market, number)
        request = self._write_request(JournalKind.CANCEL_REQUESTED, state, order, cause)
        if state.inactive:
            reason = Reason.MARKET_INACTIVE
        elif number not in state.open:
            reason = Reason.ORDER_NOT_OPEN
        else:
            reason = Reason.NONE
        if reason:
            self._write_request(
                JournalKind.CANCEL_REJECTED, state, order, request, reason=reason
            )
        else:
            self._cancel_order(state, order, Reason.USER, request)
        self._step_done()

    def amend(
        self,
        market: int,
        number: int,
        price: int = KEEP,
        qty: int = KEEP,
        cause: Cause = FROM_START,
    ) -> None:
        """Change limit and total of an order. Raises LookupError for a number never issued."""
        state, order = self._find(market, number)
        asked = {"price": price, "qty": qty}
        request = self._write_request(JournalKind.AMEND_REQUESTED, state, order, cause, **asked)
        amended = replace(
            order,
            price=order.price if price == KEEP else price,
            qty=order.qty if qty == KEEP else qty,
        )
        amended.left = amended.qty - order.filled
        reason = self._why_refuse_amend(state, order, amended)
        if reason:
            self._write_request(
                JournalKind.AMEND_REJECTED, state, order, request, reason=reason, **asked
            )
        elif amended.left == 0:
            self._cancel_order(state, order, Reason.AMENDED_TO_FILLED, request)
        else:
            if amended.price != order.price or amended.qty > order.qty:
                order.ahead = state.book[order.side].visible_at(amended.price)
                order.place = state.next_place()
            order.price, order.qty, order.left = amended.price, amended.qty, amended.left
            written = self._write_order(
                JournalKind.AMENDED, state, order, request,
                ahead=order.ahead, reserved=self._reserve(state),
            )  # fmt: skip
            self._walk(state, order, written)
        self._step_done()

    def _find(self, market: int, number: int) -> tuple[MarketState, Order]:
        state = self.markets[market]
        if not 1 <= number <= len(state.issued):
            raise LookupError(f"order {number} was never submitted in market {market}")
        return state, state.issued[number - 1]

    def _why_refuse_submit(self, market: MarketState, order: Order) -> Reason:
        if market.inactive:
            return Reason.MARKET_INACTIVE
        if market.halted:
            return Reason.TRADING_PAUSED
        if not market.on_grid(order.price):
            return Reason.INVALID_PRICE
        if not 0 < order.qty <= QTY_MAX:
            return Reason.INVALID_QTY
        if order.tif not in (0, 1, 2) or order.flags not in (0, 1, 2, 3):
            return Reason.INVALID_ORDER
        lasts = order.flags & OrderFlag.POST_ONLY or order.expires != NO_TIME
        if order.tif != TimeInForce.GTC and lasts:
            return Reason.INVALID_ORDER
        if order.expires <= self.now or self._could_open(market, order):
            return Reason.INVALID_ORDER
        reason = self._why_refuse_resting(market, order)
        if reason:
            return reason
        displayed = sum(qty for _, qty in self._walk_preview(market, order))
        if order.tif == TimeInForce.FOK and displayed < order.qty:
            return Reason.FOK_INSUFFICIENT_VOLUME
        return Reason.NONE

    def _why_refuse_amend(self, market: MarketState, order: Order, amended: Order) -> Reason:
        if market.inactive:
            return Reason.MARKET_INACTIVE
        if order.number not in market.open:
            return Reason.ORDER_NOT_OPEN
        if market.halted:
            return Reason.TRADING_PAUSED
        if not market.on_grid(amended.price):
            return Reason.INVALID_PRICE
        if not 0 < amended.qty <= QTY_MAX or amended.qty < order.filled:
            return Reason.INVALID_QTY
        if amended.left == 0:
            return Reason.NONE
        return self._why_refuse_resting(market, amended)

    def _could_open(self, market: MarketState, order: Order) -> bool:
        """Say whether a reduce-only order could open or grow a position."""
        if not order.flags & OrderFlag.REDUCE_ONLY:
            return False
        return order.tif != TimeInForce.IOC or market.capacity(order.side) < order.qty

    def _crosses_self(self, market: MarketState, order: Order) -> bool:
        own = market.queue(opposite(order.side))
        return bool(own) and matches(order.side, order.price, own[0].price)

    def _why_refuse_resting(self, market: MarketState, order: Order) -> Reason:
        """Return the refusals that a new order and an amended one have in common."""
        if self._crosses_self(market, order):
            return Reason.SELF_CROSS
        best = market.book[opposite(order.side)].visible_best
        if order.flags & OrderFlag.POST_ONLY and matches(order.side, order.price, best):
            return Reason.POST_ONLY_CROSS
        others = [other for other in market.open.values() if other.number != order.number]
        in_its_place = replace(order, place=market.places + 1)
        reserved = self.reserved - market.reserved + collateral(market, [*others, in_its_place])
        due, capacity = 0, market.capacity(order.side)
        for price, qty in self._walk_preview(market, order):
            closing = min(capacity, qty)
            capacity -= closing
            due += self.fee(market, price, qty)
            due -= closing * (PRICE_ONE - leg_cost(order.side, price))
        if self.cash - reserved - max(0, due) < 0:
            return Reason.INSUFFICIENT_BALANCE
        return Reason.NONE

    def _walk_preview(self, market: MarketState, order: Order) -> list[tuple[int, int]]:
        """Return (price, qty) of the fills that the walk would make now."""
        left = order.left
        fills = []
        for price, shown in market.book[opposite(order.side)].visible():
            if not left or not matches(order.side, order.price, price):
                break
            fills.append((price, min(left, shown)))
            left -= min(left, shown)
        return fills

    def _walk(self, market: MarketState, order: Order, cause: Cause) -> None:
        ladder = market.book[opposite(order.side)]
        while order.left and matches(order.side, order.price, ladder.visible_best):
            price, shown = next(ladder.visible())
            qty = min(order.left, shown)
            ladder.taken[price] = ladder.taken.get(price, 0) + qty
            fee = self.fee(market, price, qty)
            self._fill(
                market, order, qty, cause,
                price=price, fee=fee, claim=shown, liquidity=Liquidity.TAKER,
                evidence=Evidence.TAKER, flags=order.flags | OrderFlag.TAKES_DEPTH,
            )  # fmt: skip

    def _cancel_order(
        self, market: MarketState, order: Order, reason: Reason, cause: Cause
    ) -> None:
        qty = order.left
        self._end_order(market, order)
        self._write_order(
            JournalKind.CANCELED, market, order, cause,
            reason=reason, qty=qty, reserved=self._reserve(market),
        )  # fmt: skip

    def _end_order(self, market: MarketState, order: Order) -> None:
        order.canceled = order.left
        order.left = 0
        del market.open[order.number]

    # Money (sections 5, 6 and 9).

    @property
    def reserved(self) -> int:
        """Collateral of all open orders, $0.000001."""
        return sum(market.reserved for market in self.markets)

    @property
    def value(self) -> int:
        """Cash and positions at the mark, $0.000001."""
        return self.cash + sum(self.position_value(market) for market in self.markets)

    def fee(self, market: MarketState, price: int, qty: int) -> int:
        """Return the taker fee of one fill, $0.000001."""
        exact = market.taker_ppm * qty * price * (PRICE_ONE - price)
        unit = PPM * PRICE_ONE * self.rounding
        return (exact + unit - 1) // unit * self.rounding

    def position_value(self, market: MarketState) -> int:
        """Return what the position of a market is worth at the mark, $0.000001."""
        if self.mark == Mark.CLOSE and market.trusted and market.status in ACTIVE:
            return self._closing_value(market)
        if market.position >= 0:
            return market.position * market.mid2 // 2
        return -market.position * (2 * PRICE_ONE - market.mid2) // 2

    def _closing_value(self, market: MarketState) -> int:
        """Walk the bids with a YES position, the asks with a NO position."""
        held = Side.BUY if market.position > 0 else Side.SELL
        left = abs(market.position)
        value = 0
        for price, shown in market.book[held].visible():
            qty = min(left, shown)
            if not qty:
                break
            value += leg_cost(held, price) * qty - self.fee(market, price, qty)
            left -= qty
        return value

    def _reserve(self, market: MarketState) -> int:
        """Recompute the collateral of a market and return the change."""
        before = market.reserved
        market.reserved = collateral(market, market.open.values())
        return market.reserved - before

    def _fill_maker(
        self,
        market: MarketState,
        order: Order,
        qty: int,
        evidence: Evidence,
        claim: int,
        *,
        cause: Cause,
        ahead: int = 0,
        takes: int = 0,
    ) -> None:
        self._fill(
            market, order, qty, cause,
            price=order.price, fee=0, claim=claim, liquidity=Liquidity.MAKER,
            evidence=evidence, ahead=ahead, flags=order.flags | takes,
        )  # fmt: skip

    def _fill(
        self, market: MarketState, order: Order, qty: int, cause: Cause, *, price: int, fee: int,
        **fields: int,
    ) -> None:  # fmt: skip
        order.left -= qty
        order.filled += qty
        if not order.left:
            del market.open[order.number]
        cash = self._move_position(market, order.side, price, qty)
        self.cash += cash - fee
        market.fees += fee
        self._write_order(
            JournalKind.FILL, market, order, cause,
            price=price, qty=qty, cash=cash, fee=fee, reserved=self._reserve(market), **fields,
        )  # fmt: skip

    def _move_position(self, market: MarketState, side: int, price: int, qty: int) -> int:
        """Book one fill into position, cost and realised P&L; return the cash it moves."""
        leg = leg_cost(side, price)
        held = market.capacity(side)
        closing = min(qty, held)
        opening = qty - closing
        if closing:
            basis = market.cost * closing // held
            market.cost -= basis
            market.realised += (PRICE_ONE - leg) * closing - basis
        market.cost += leg * opening
        market.position += qty if side == Side.BUY else -qty
        return (PRICE_ONE - leg) * closing - leg * opening

    def _step_done(self) -> None:
        value = self.value
        self.peak = max(self.peak, value)
        self.drawdown = max(self.drawdown, self.peak - value)
        if self.observer:
            self.observer(self)

    # The journal (section 8).

    def _write(
        self, kind: JournalKind, market: MarketState | None, cause: Cause, **fields: int
    ) -> Cause:
        """Append a row and return it as a cause of others."""
        row = dict.fromkeys(JOURNAL_DTYPE.names, 0)
        row.update(fields)
        row["kind"] = kind
        row["ts"] = self.now
        row["cause_kind"], row["cause_market"], row["cause_row"] = cause
        if market is None:
            row["market"], row["row"] = NO_MARKET, self._account_rows
            self._account_rows += 1
        else:
            row["market"], row["row"] = market.index, market.journal_rows
            market.journal_rows += 1
        self.journal.append(row)
        self._places.append(self.applied)
        return (CauseKind.JOURNAL, row["market"], row["row"])

    def _write_order(
        self, kind: JournalKind, market: MarketState, order: Order, cause: Cause, **fields: int
    ) -> Cause:
        row = {
            "order": order.number, "side": order.side, "price": order.price, "qty": order.qty,
            "left": order.left, "tif": order.tif, "flags": order.flags, "expires": order.expires,
            "client_id": order.client_id,
        }  # fmt: skip
        return self._write(kind, market, cause, **(row | fields))

    def _write_request(
        self, kind: JournalKind, market: MarketState, order: Order, cause: Cause, **fields: int
    ) -> Cause:
        """Write a row about an order that may not be open: then only its number is left of it."""
        if order.number in market.open:
            return self._write_order(kind, market, order, cause, **fields)
        return self._write(kind, market, cause, order=order.number, **fields)

    def journal_rows(self) -> np.ndarray:
        """Return the journal, array of JOURNAL_DTYPE."""
        names = JOURNAL_DTYPE.names
        rows = [tuple(int(row[name]) for name in names) for row in self.journal]
        return np.array(rows, dtype=JOURNAL_DTYPE)

    def places(self) -> list[int]:
        """Return for each journal row how many tape rows had been applied before it."""
        return list(self._places)

    def digest(self) -> str:
        """SHA-256 of the journal's bytes, in hex."""
        return hashlib.sha256(self.journal_rows().tobytes()).hexdigest()

    def state(self) -> dict[str, Any]:
        """Return everything as nested dicts and lists of plain ints."""
        account = {
            "now": self.now,
            "cash": self.cash,
            "reserved": self.reserved,
            "fees": sum(market.fees for market in self.markets),
            "realised": sum(market.realised for market in self.markets),
            "value": self.value,
            "peak": self.peak,
            "drawdown": self.drawdown,
        }
        return {"account": account, "markets": [market_dict(market) for market in self.markets]}


def collateral(market: MarketState, orders: Iterable[Order]) -> int:
    """Return what `orders` reserve in this market: R of section 6, $0.000001."""
    total = 0
    for side in Side:
        capacity = market.capacity(side)
        for order in sorted(orders, key=lambda order: order.priority):
            if order.side == side:
                closing = min(capacity, order.left)
                capacity -= closing
                total += leg_cost(side, order.price) * (order.left - closing)
    return total


def market_dict(market: MarketState) -> dict[str, Any]:
    """Return one market as nested dicts and lists of plain ints."""
    return {
        "status": int(market.status),
        "trusted": int(market.trusted),
        "bids": dict(market.book[Side.BUY].qty),
        "asks": dict(market.book[Side.SELL].qty),
        "taken": {
            (int(side), price): taken
            for side, ladder in market.book.items()
            for price, taken in sorted(ladder.taken.items())
        },
        "visible_bid": market.book[Side.BUY].visible_best,
        "visible_ask": market.book[Side.SELL].visible_best,
        "mid2": market.mid2,
        "position": market.position,
        "cost": market.cost,
        "realised": market.realised,
        "fees": market.fees,
        "reserved": market.reserved,
        "orders": {
            int(side): [
                (
                    order.number, int(order.side), order.price, order.qty, order.left, order.ahead,
                    order.expires, int(order.flags), int(order.tif),
                )
                for order in market.queue(side)
            ]
            for side in Side
        },
    }  # fmt: skip
