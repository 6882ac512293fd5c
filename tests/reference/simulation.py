"""What one run does, in plain Python: docs/semantics.md, sentence by sentence.

Ladders are sorted dicts, orders are objects, every number is a Python int and every total is
recomputed where it is needed. Shares no code with `engine/kernels`; only enums, units and specs.
Here are the clock and the commands; `venue` matches, `account` counts and writes down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import attrs
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
from foldbook.engine.specs import Market, Models, Risk

from .account import Account, Ledger
from .groups import Group
from .latency import AMEND, CANCEL, ORDER, Flight, delay_of
from .refusals import refuse_amend, refuse_cancel, refuse_decrease, refuse_submit
from .risk import CANCEL_TOKENS, WRITE_TOKENS
from .state import FROM_CLOCK, FROM_START, Burst, Cause, MarketState, Order, Recorded, TapeRow
from .venue import Venue

EXPIRES, ARRIVES, RESTORES = range(3)
"""What is due at one time comes in this order."""
Rank = tuple[int, int, tuple[int, ...]]
"""(time, one of these, what orders those of a kind)."""


class ReferenceSimulation(Venue):
    """One run over a tape, which is its first account as well.

    tape_rows: array of TAPE_DTYPE. cash: starting cash, $0.000001. others: (cash, limits) of more
    accounts; `use` says whose the commands are. observer: called with this object after each burst
    and each command that was carried out; tests hang their invariants here.
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
        others: Sequence[tuple[int, Risk]] = (),
    ):
        self.tape = [TapeRow(*values) for values in tape_rows.tolist()]
        self.observer = observer
        self.flights: list[Flight] = []
        self._sent = 0
        self._in_batch = False
        self._batch: int | None = None
        fees = [models.fees_of(market) for market in markets]
        recorded = [
            Recorded(index, market.tick, schedule.taker_ppm, schedule.maker_ppm)
            for index, (market, schedule) in enumerate(zip(markets, fees, strict=True))
        ]
        ledger = Ledger(recorded, self.tape[0].ts if self.tape else 0)
        super().__init__(ledger, markets, cash=cash, models=models, mark=mark)
        self.accounts = [self]
        for number, (amount, risk) in enumerate(others, 1):
            own = attrs.evolve(models, risk=risk)
            self.accounts.append(
                Account(ledger, markets, cash=amount, models=own, mark=mark, number=number)
            )
        self.sender: Account = self

    def use(self, account: int) -> None:
        """Let the commands that follow be those of an account."""
        self.sender = self.accounts[account]

    @property
    def applied(self) -> int:
        """How many tape rows are applied."""
        return self.ledger.applied

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
        self.ledger.now = max(self.now, ts)

    def _do_what_is_due_before(self, ts: int) -> None:
        while True:
            due = self._due()
            if not due or due[0][0] >= ts:
                return
            (time, _, _), act = due
            self.ledger.now = max(self.now, time)
            act()

    def _due(self) -> tuple[Rank, Callable[[], None]] | None:
        """Return the time and rank of what is due next, and what it does."""
        due: list[tuple[Rank, Callable[[], None]]] = []
        key: Rank
        for market in self.markets:
            for order in market.everybody():
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
        account, desk = self._of(market, order)
        account._end_order(desk, order)
        account._write_order(
            JournalKind.EXPIRED, desk, order, FROM_CLOCK, reserved=account._reserve(desk)
        )

    def _apply_burst(self) -> None:
        head = self.tape[self.applied]
        self._do_what_is_due_before(head.ts)
        self.ledger.now = head.ts
        market = self.markets[head.market]
        burst = Burst()
        while self.applied < len(self.tape):
            row = self.tape[self.applied]
            if (row.market, row.ts) != (head.market, head.ts):
                break
            follows = self.tape[self.applied - 1] if self.applied else None
            cause = (CauseKind.TAPE, market.index, market.tape_rows)
            self.ledger.applied += 1
            market.tape_rows += 1
            market.last_at = row.ts
            self._apply_row(market, row, cause, burst, follows)
        self._end_burst(market, burst, cause)
        self._step_done()

    def _step_done(self) -> None:
        for account in self.accounts:
            account._end_step()
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
        sender = self.sender
        state = sender.markets[market]
        number = len(state.issued) + 1
        order = Order(number, side, price, qty, tif, flags, expires, client_id, group)
        order.account = sender.number
        state.issued.append(order)
        request = sender._write_order(JournalKind.SUBMITTED, state, order, cause)
        self._send(ORDER, state, lambda: self._carry_out_submit(sender, state, order, request))
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
        sender = self.sender
        request = sender._write_about(JournalKind.AMEND_REQUESTED, state, order, cause, **asked)
        self._send(
            AMEND, state, lambda: self._carry_out_amend(sender, state, order, asked, request)
        )

    def decrease(
        self, market: int, number: int, qty: int, to: bool = False, cause: Cause = FROM_START
    ) -> None:
        """Take `qty` off an order, or leave `qty` of it open.

        Raises LookupError for a number never issued.
        """
        state, order = self._find(market, number)
        flags = order.flags if number in state.open else 0
        sender = self.sender
        request = sender._write_about(
            JournalKind.DECREASE_REQUESTED, state, order, cause,
            qty=qty, flags=flags | (OrderFlag.REDUCE_TO if to else 0),
        )  # fmt: skip
        self._send(
            AMEND, state, lambda: self._carry_out_decrease(sender, state, order, (qty, to), request)
        )

    def cancel(self, market: int, number: int, cause: Cause = FROM_START) -> None:
        """Cancel an order. Raises LookupError for a number never issued."""
        state, order = self._find(market, number)
        sender = self.sender
        request = sender._write_about(JournalKind.CANCEL_REQUESTED, state, order, cause)
        self._send(CANCEL, state, lambda: self._carry_out_cancel(sender, state, order, request))

    def set_group(self, group: int, limit: int, cause: Cause = FROM_START) -> None:
        """Create an order group, or set it again."""
        self.sender.groups[group] = Group(group, limit)
        self.sender._write(JournalKind.GROUP_SET, None, cause, group=group, qty=limit)

    def kill(self, on: bool, cause: Cause = FROM_START) -> None:
        """Turn the kill switch."""
        self.sender.killed = bool(on)
        self.sender._write(JournalKind.KILL_SET, None, cause, qty=int(on))

    def begin_batch(self) -> None:
        """Send the requests that follow as one message: they travel with one draw."""
        self._in_batch, self._batch = True, None

    def end_batch(self) -> None:
        """End the batch."""
        self._in_batch, self._batch = False, None

    def _find(self, market: int, number: int) -> tuple[MarketState, Order]:
        state = self.sender.markets[market]
        if not 1 <= number <= len(state.issued):
            raise LookupError(f"order {number} was never submitted in market {market}")
        return state, state.issued[number - 1]

    def _send(self, salt: int, market: MarketState, act: Callable[[], None]) -> None:
        """Send what was written last: carry it out now, or when it arrives."""
        number = len(self.journal) - 1
        if self._in_batch:
            self._batch = number if self._batch is None else self._batch
            number = self._batch
        carry_out = partial(self._carry_out, self.accounts[market.account], act)
        arrival = self.now + delay_of(self.models, salt, number, self.now)
        self.journal[-1]["arrives"] = arrival
        if arrival == self.now:
            carry_out()
        else:
            self.flights.append(Flight(arrival, self._sent, market.index, carry_out))
        self._sent += 1

    def _land(self, flight: Flight) -> None:
        self.flights.remove(flight)
        flight.act()

    def _carry_out(self, account: Account, act: Callable[[], None]) -> None:
        account.bucket.refill(self.now)
        act()
        self._check_all_groups()
        self._step_done()

    def _carry_out_submit(
        self, sender: Account, state: MarketState, order: Order, request: Cause
    ) -> None:
        order.arrived = True
        in_full = replace(order, left=order.qty)
        reason = refuse_submit(sender, state, in_full)
        sender._charge(WRITE_TOKENS, reason)
        if reason:
            order.canceled = order.qty
            sender._write_order(JournalKind.REJECTED, state, order, request, reason=reason)
            return
        order.left = order.qty
        order.ahead = state.book[order.side].visible_at(order.price)
        order.place = state.next_place()
        state.open[order.number] = order
        if order.client_id:
            sender.client_ids.add(order.client_id)
        accepted = sender._write_order(
            JournalKind.ACCEPTED, state, order, request,
            ahead=order.ahead, reserved=sender._reserve(state),
        )  # fmt: skip
        self._walk(state, order, accepted)
        if order.left and order.tif != TimeInForce.GTC:
            sender._cancel_order(state, order, Reason.IMMEDIATE_OR_CANCEL, accepted)

    def _carry_out_cancel(
        self, sender: Account, state: MarketState, order: Order, request: Cause
    ) -> None:
        reason = refuse_cancel(sender, state, order)
        sender._charge(CANCEL_TOKENS, reason)
        if reason:
            sender._write_about(JournalKind.CANCEL_REJECTED, state, order, request, reason=reason)
        else:
            sender._cancel_order(state, order, Reason.USER, request)

    def _carry_out_amend(
        self, sender: Account, state: MarketState, order: Order, asked: dict[str, int],
        request: Cause,
    ) -> None:
        given: dict[str, Any] = {name: value for name, value in asked.items() if value != KEEP}
        amended = replace(order, **given)
        amended.left = amended.qty - order.filled
        reason = refuse_amend(sender, state, order, amended)
        sender._charge(WRITE_TOKENS, reason)
        if reason:
            sender._write_about(
                JournalKind.AMEND_REJECTED, state, order, request, reason=reason, **asked
            )
        elif amended.left == 0:
            sender._cancel_order(state, order, Reason.AMENDED_TO_FILLED, request)
        else:
            if amended.price != order.price or amended.qty > order.qty:
                order.ahead = state.book[order.side].visible_at(amended.price)
                order.guessed = 0
                order.place = state.next_place()
            order.price, order.qty, order.left = amended.price, amended.qty, amended.left
            order.expires = amended.expires
            self._walk(state, order, sender._write_amended(state, order, request))

    def _carry_out_decrease(
        self, sender: Account, state: MarketState, order: Order, much: tuple[int, bool],
        request: Cause,
    ) -> None:  # fmt: skip
        qty, to = much
        reason = refuse_decrease(sender, state, order, qty, to)
        sender._charge(WRITE_TOKENS, reason)
        left = qty if to else order.left - qty
        if reason:
            sender._write_about(
                JournalKind.AMEND_REJECTED, state, order, request, reason=reason, qty=qty
            )
        elif left == 0:
            sender._cancel_order(state, order, Reason.AMENDED_TO_FILLED, request)
        else:
            order.qty, order.left = order.filled + left, left
            sender._write_amended(state, order, request)

    def state(self, account: int = 0) -> dict[str, Any]:
        """Return everything that an account sees as nested dicts and lists of plain ints."""
        state = super().state() if account == 0 else self.accounts[account].state()
        state["account"]["flights"] = len(self.flights)
        return state
