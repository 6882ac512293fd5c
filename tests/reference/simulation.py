"""What one run does, in plain Python: docs/semantics.md, sentence by sentence.

Ladders are sorted dicts, orders are objects, every number is a Python int and every total is
recomputed where it is needed. Shares no code with `engine/kernels`; only enums, units and specs.
Here are the clock and the commands; `venue` matches, `account` counts and writes down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from foldbook.engine.schema import (
    KEEP,
    NO_TIME,
    CauseKind,
    JournalKind,
    Mark,
    OrderFlag,
    Reason,
    TimeInForce,
)
from foldbook.engine.specs import Market, Models

from .groups import Group
from .latency import AMEND, CANCEL, ORDER, Flight, delay_of
from .refusals import refuse_amend, refuse_cancel, refuse_decrease, refuse_submit
from .risk import CANCEL_TOKENS, WRITE_TOKENS
from .state import FROM_CLOCK, FROM_START, Burst, Cause, MarketState, Order, TapeRow
from .venue import Venue

EXPIRES, ARRIVES, RESTORES = range(3)
"""What is due at one time comes in this order."""
Rank = tuple[int, int, tuple[int, ...]]
"""(time, one of these, what orders those of a kind)."""


class ReferenceSimulation(Venue):
    """One run over a tape.

    tape_rows: array of TAPE_DTYPE. cash: starting cash, $0.000001. observer: called with this
    object after each burst and each command that was carried out; tests hang their invariants here.
    """

    def __init__(
        self,
        tape_rows: np.ndarray,
        markets: tuple[Market, ...],
        *,
        cash: int,
        models: Models,
        mark: Mark = Mark.MID,
        observer: Callable[[ReferenceSimulation], None] | None = None,
    ):
        self.tape = [TapeRow(*values) for values in tape_rows.tolist()]
        self.observer = observer
        self.flights: list[Flight] = []
        self._sent = 0
        self._in_batch = False
        self._batch: int | None = None
        now = self.tape[0].ts if self.tape else 0
        super().__init__(markets, cash=cash, models=models, mark=mark, now=now)

    # Time (section 1).

    def advance_to_row(self, n: int) -> None:
        """Apply whole bursts until at least `n` rows of the tape are applied."""
        while self.applied < min(n, len(self.tape)):
            self._apply_burst()

    def advance_until(self, ts: int) -> None:
        """Apply all rows up to and at `ts`, then do what is due before it."""
        while self.applied < len(self.tape) and self.tape[self.applied].ts <= ts:
            self._apply_burst()
        self._do_what_is_due_before(ts)
        self.now = max(self.now, ts)

    def _do_what_is_due_before(self, ts: int) -> None:
        while True:
            due = self._due()
            if not due or due[0][0] >= ts:
                return
            (time, _, _), act = due
            self.now = max(self.now, time)
            act()

    def _due(self) -> tuple[Rank, Callable[[], None]] | None:
        """Return the time and rank of what is due next, and what it does."""
        due: list[tuple[Rank, Callable[[], None]]] = []
        key: Rank
        for market in self.markets:
            for order in market.open.values():
                key = (order.expires, EXPIRES, (market.index, order.number))
                due.append((key, partial(self._expire, market, order)))
            key = (market.restore_at, RESTORES, (market.index,))
            due.append((key, partial(self._restore, market)))
        for flight in self.flights:
            key = (flight.arrival, ARRIVES, (flight.sent,))
            due.append((key, partial(self._land, flight)))
        first = min(due, key=lambda each: each[0], default=None)
        return first if first and first[0][0] != NO_TIME else None

    def _expire(self, market: MarketState, order: Order) -> None:
        self._end_order(market, order)
        self._write_order(
            JournalKind.EXPIRED, market, order, FROM_CLOCK, reserved=self._reserve(market)
        )

    def _apply_burst(self) -> None:
        head = self.tape[self.applied]
        self._do_what_is_due_before(head.ts)
        self.now = head.ts
        market = self.markets[head.market]
        burst = Burst()
        while self.applied < len(self.tape):
            row = self.tape[self.applied]
            if (row.market, row.ts) != (head.market, head.ts):
                break
            follows = self.tape[self.applied - 1] if self.applied else None
            cause = (CauseKind.TAPE, market.index, market.tape_rows)
            self.applied += 1
            market.tape_rows += 1
            market.last_at = row.ts
            self._apply_row(market, row, cause, burst, follows)
        self._end_burst(market, burst, cause)
        self._step_done()

    def _step_done(self) -> None:
        value = self.value
        self.peak = max(self.peak, value)
        self.drawdown = max(self.drawdown, self.peak - value)
        if self.observer:
            self.observer(self)

    # Commands (section 3) and how they travel (section 10).

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
        group: int = 0,
        cause: Cause = FROM_START,
    ) -> int:
        """Submit an order and return its number within the market."""
        state = self.markets[market]
        number = len(state.issued) + 1
        order = Order(number, side, price, qty, tif, flags, expires, client_id, group)
        state.issued.append(order)
        request = self._write_order(JournalKind.SUBMITTED, state, order, cause)
        self._send(ORDER, state, lambda: self._carry_out_submit(state, order, request))
        return number

    def amend(
        self,
        market: int,
        number: int,
        price: int = KEEP,
        qty: int = KEEP,
        expires: int = KEEP,
        cause: Cause = FROM_START,
    ) -> None:
        """Change limit, total or expiry. Raises LookupError for a number never issued."""
        state, order = self._find(market, number)
        asked = {"price": price, "qty": qty, "expires": expires}
        request = self._write_about(JournalKind.AMEND_REQUESTED, state, order, cause, **asked)
        self._send(AMEND, state, lambda: self._carry_out_amend(state, order, asked, request))

    def decrease(
        self, market: int, number: int, qty: int, to: bool = False, cause: Cause = FROM_START
    ) -> None:
        """Take `qty` off an order, or leave `qty` of it open.

        Raises LookupError for a number never issued.
        """
        state, order = self._find(market, number)
        flags = order.flags if number in state.open else 0
        request = self._write_about(
            JournalKind.DECREASE_REQUESTED, state, order, cause,
            qty=qty, flags=flags | (OrderFlag.REDUCE_TO if to else 0),
        )  # fmt: skip
        self._send(AMEND, state, lambda: self._carry_out_decrease(state, order, qty, to, request))

    def cancel(self, market: int, number: int, cause: Cause = FROM_START) -> None:
        """Cancel an order. Raises LookupError for a number never issued."""
        state, order = self._find(market, number)
        request = self._write_about(JournalKind.CANCEL_REQUESTED, state, order, cause)
        self._send(CANCEL, state, lambda: self._carry_out_cancel(state, order, request))

    def set_group(self, group: int, limit: int, cause: Cause = FROM_START) -> None:
        """Create an order group, or set it again."""
        self.groups[group] = Group(group, limit)
        self._write(JournalKind.GROUP_SET, None, cause, group=group, qty=limit)

    def kill(self, on: bool, cause: Cause = FROM_START) -> None:
        """Turn the kill switch."""
        self.killed = bool(on)
        self._write(JournalKind.KILL_SET, None, cause, qty=int(self.killed))

    def begin_batch(self) -> None:
        """Send the requests that follow as one message: they travel with one draw."""
        self._in_batch, self._batch = True, None

    def end_batch(self) -> None:
        """End the batch."""
        self._in_batch, self._batch = False, None

    def _find(self, market: int, number: int) -> tuple[MarketState, Order]:
        state = self.markets[market]
        if not 1 <= number <= len(state.issued):
            raise LookupError(f"order {number} was never submitted in market {market}")
        return state, state.issued[number - 1]

    def _send(self, salt: int, market: MarketState, act: Callable[[], None]) -> None:
        """Send what was written last: carry it out now, or when it arrives."""
        number = len(self.journal) - 1
        if self._in_batch:
            self._batch = number if self._batch is None else self._batch
            number = self._batch
        arrival = self.now + delay_of(self.models, salt, number, self.now)
        self.journal[-1]["arrives"] = arrival
        if arrival == self.now:
            self._carry_out(act)
        else:
            self.flights.append(Flight(arrival, self._sent, market.index, act))
        self._sent += 1

    def _land(self, flight: Flight) -> None:
        self.flights.remove(flight)
        self._carry_out(flight.act)

    def _carry_out(self, act: Callable[[], None]) -> None:
        self.bucket.refill(self.now)
        act()
        self._check_groups()
        self._step_done()

    def _carry_out_submit(self, state: MarketState, order: Order, request: Cause) -> None:
        order.arrived = True
        in_full = replace(order, left=order.qty)
        reason = refuse_submit(self, state, in_full)
        self._charge(WRITE_TOKENS, reason)
        if reason:
            order.canceled = order.qty
            self._write_order(JournalKind.REJECTED, state, order, request, reason=reason)
            return
        order.left = order.qty
        order.ahead = state.book[order.side].visible_at(order.price)
        order.place = state.next_place()
        state.open[order.number] = order
        if order.client_id:
            self.client_ids.add(order.client_id)
        accepted = self._write_order(
            JournalKind.ACCEPTED, state, order, request,
            ahead=order.ahead, reserved=self._reserve(state),
        )  # fmt: skip
        self._walk(state, order, accepted)
        if order.left and order.tif != TimeInForce.GTC:
            self._cancel_order(state, order, Reason.IMMEDIATE_OR_CANCEL, accepted)

    def _carry_out_cancel(self, state: MarketState, order: Order, request: Cause) -> None:
        reason = refuse_cancel(self, state, order)
        self._charge(CANCEL_TOKENS, reason)
        if reason:
            self._write_about(JournalKind.CANCEL_REJECTED, state, order, request, reason=reason)
        else:
            self._cancel_order(state, order, Reason.USER, request)

    def _carry_out_amend(
        self, state: MarketState, order: Order, asked: dict[str, int], request: Cause
    ) -> None:
        given: dict[str, Any] = {name: value for name, value in asked.items() if value != KEEP}
        amended = replace(order, **given)
        amended.left = amended.qty - order.filled
        reason = refuse_amend(self, state, order, amended)
        self._charge(WRITE_TOKENS, reason)
        if reason:
            self._write_about(
                JournalKind.AMEND_REJECTED, state, order, request, reason=reason, **asked
            )
        elif amended.left == 0:
            self._cancel_order(state, order, Reason.AMENDED_TO_FILLED, request)
        else:
            if amended.price != order.price or amended.qty > order.qty:
                order.ahead = state.book[order.side].visible_at(amended.price)
                order.guessed = 0
                order.place = state.next_place()
            order.price, order.qty, order.left = amended.price, amended.qty, amended.left
            order.expires = amended.expires
            self._walk(state, order, self._write_amended(state, order, request))

    def _carry_out_decrease(
        self, state: MarketState, order: Order, qty: int, to: bool, request: Cause
    ) -> None:
        reason = refuse_decrease(self, state, order, qty, to)
        self._charge(WRITE_TOKENS, reason)
        left = qty if to else order.left - qty
        if reason:
            self._write_about(
                JournalKind.AMEND_REJECTED, state, order, request, reason=reason, qty=qty
            )
        elif left == 0:
            self._cancel_order(state, order, Reason.AMENDED_TO_FILLED, request)
        else:
            order.qty, order.left = order.filled + left, left
            self._write_amended(state, order, request)

    def _write_amended(self, state: MarketState, order: Order, request: Cause) -> Cause:
        return self._write_order(
            JournalKind.AMENDED, state, order, request,
            ahead=order.ahead, reserved=self._reserve(state),
        )  # fmt: skip

    def _charge(self, tokens: int, reason: Reason) -> None:
        if reason != Reason.RATE_LIMIT:
            self.bucket.take(tokens)

    def state(self) -> dict[str, Any]:
        """Return everything as nested dicts and lists of plain ints."""
        state = super().state()
        state["account"]["flights"] = len(self.flights)
        return state
