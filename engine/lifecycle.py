"""The life of an order, as a table: which journal row may follow in which state.

Everything that says what state an order is in reads this table; nothing else decides it. A row
that the table does not allow is a defect of the engine or a damaged journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

import numpy as np

from .errors import JournalError
from .schema import CauseKind, JournalKind


class OrderState(IntEnum):
    SUBMITTED = 0
    """On its way: neither accepted nor refused."""
    RESTING = 1
    """Accepted, nothing filled."""
    PARTLY_FILLED = 2
    FILLED = 3
    CANCELED = 4
    REJECTED = 5
    EXPIRED = 6

    @property
    def is_open(self) -> bool:
        """Whether the order can still fill."""
        return self in (OrderState.RESTING, OrderState.PARTLY_FILLED)


_OPEN = (OrderState.RESTING, OrderState.PARTLY_FILLED)
_ENDED = (OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED)
_REQUESTS = (JournalKind.AMEND_REQUESTED, JournalKind.CANCEL_REQUESTED)
_REFUSALS = (JournalKind.AMEND_REJECTED, JournalKind.CANCEL_REJECTED)

TRANSITIONS: Mapping[tuple[OrderState | None, JournalKind], OrderState] = MappingProxyType(
    {
        (None, JournalKind.SUBMITTED): OrderState.SUBMITTED,
        (OrderState.SUBMITTED, JournalKind.ACCEPTED): OrderState.RESTING,
        (OrderState.SUBMITTED, JournalKind.REJECTED): OrderState.REJECTED,
        **{(state, JournalKind.FILL): OrderState.PARTLY_FILLED for state in _OPEN},
        **{(state, JournalKind.AMENDED): state for state in _OPEN},
        **{(state, JournalKind.CANCELED): OrderState.CANCELED for state in _OPEN},
        **{(state, JournalKind.EXPIRED): OrderState.EXPIRED for state in _OPEN},
        **{(state, kind): state for state in (*_OPEN, *_ENDED) for kind in _REQUESTS},
        **{(state, JournalKind.AMEND_REJECTED): state for state in _OPEN},
        **{(state, kind): state for state in _ENDED for kind in _REFUSALS},
    }
)
"""(state, row) -> state; None is an order that does not exist. A fill that leaves nothing ends in
FILLED instead, whatever the table says: see `next_state`."""


def next_state(state: OrderState | None, kind: JournalKind, left: int) -> OrderState:
    """Return the state after a row of `kind` that leaves `left` open.

    Raises JournalError if the table has no such row.

    >>> next_state(OrderState.RESTING, JournalKind.FILL, left=0).name
    'FILLED'
    """
    after = TRANSITIONS.get((state, kind))
    if after is None:
        being = "an order that was never submitted" if state is None else f"a {state.name} order"
        raise JournalError(f"{kind.name} of {being}")
    return OrderState.FILLED if kind is JournalKind.FILL and left == 0 else after


def check_journal(rows: np.ndarray) -> dict[tuple[int, int], OrderState]:
    """Check a whole journal, and return the last state of each (market index, order number).

    Checked are: the order of time; that rows count up in each market; that causes in the journal
    precede their effects; the table; and that what an order has open is what its rows leave.
    Raises JournalError that names the first row which breaks a rule.
    """
    states: dict[tuple[int, int], OrderState] = {}
    left: dict[tuple[int, int], int] = {}
    written: dict[int, int] = {}
    last_ts = None
    names = (
        "ts",
        "market",
        "row",
        "kind",
        "order",
        "qty",
        "left",
        "cause_kind",
        "cause_market",
        "cause_row",
    )
    columns = [rows[name].tolist() for name in names]
    for number, row in enumerate(zip(*columns, strict=True)):
        ts, market, place, kind, order, qty, open_qty, cause, cause_market, cause_row = row
        try:
            _check_place(ts, last_ts, place, written.get(market, 0))
            _check_cause(cause, cause_market, cause_row, written)
            if order:
                key = (market, order)
                kind = _kind(kind)
                states[key] = next_state(states.get(key), kind, open_qty)
                _check_left(kind, qty, open_qty, left.get(key, 0))
                left[key] = open_qty
        except JournalError as wrong:
            raise JournalError(f"journal row {number} (order {order}): {wrong}") from None
        last_ts = ts
        written[market] = place + 1
    return states


def _kind(number: int) -> JournalKind:
    try:
        return JournalKind(number)
    except ValueError:
        raise JournalError(f"there is no kind {number}") from None


def _check_place(ts: int, last_ts: int | None, row: int, expected: int) -> None:
    if last_ts is not None and ts < last_ts:
        raise JournalError(f"ts {ts} is before {last_ts} of the row before")
    if row != expected:
        raise JournalError(f"it is row {row} of its market, and should be {expected}")


def _check_cause(kind: int, market: int, row: int, written: Mapping[int, int]) -> None:
    if kind == CauseKind.JOURNAL and not 0 <= row < written.get(market, 0):
        raise JournalError(f"its cause, row {row} of market {market}, does not precede it")


def _check_left(kind: JournalKind, qty: int, left: int, before: int) -> None:
    expected = {
        JournalKind.SUBMITTED: 0,
        JournalKind.REJECTED: 0,
        JournalKind.ACCEPTED: qty,
        JournalKind.FILL: before - qty,
        JournalKind.CANCELED: 0,
        JournalKind.EXPIRED: 0,
    }.get(kind, before)
    if kind is JournalKind.AMENDED:
        expected = left
    if left != expected or left < 0:
        raise JournalError(f"{kind.name} leaves {left} open, and should leave {expected}")
    if kind is JournalKind.CANCELED and qty != before:
        raise JournalError(f"CANCELED {qty}, where {before} was open")
