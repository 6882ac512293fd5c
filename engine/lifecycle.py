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
from .schema import (
    NO_MARKET,
    NO_TIME,
    ORDER_REQUESTS,
    CauseKind,
    JournalKind,
    OrderFlag,
    Reason,
    TimeInForce,
)


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
_FOLLOW_UPS = ORDER_REQUESTS[1:]
_REFUSALS = (JournalKind.AMEND_REJECTED, JournalKind.CANCEL_REJECTED)

TRANSITIONS: Mapping[tuple[OrderState | None, JournalKind], OrderState] = MappingProxyType(
    {
        (None, JournalKind.SUBMITTED): OrderState.SUBMITTED,
        (OrderState.SUBMITTED, JournalKind.ACCEPTED): OrderState.RESTING,
        (OrderState.SUBMITTED, JournalKind.REJECTED): OrderState.REJECTED,
        **{(state, JournalKind.FILL): OrderState.PARTLY_FILLED for state in _OPEN},
        **{(state, JournalKind.MISSED): state for state in _OPEN},
        **{(state, JournalKind.AMENDED): state for state in _OPEN},
        **{(state, JournalKind.CANCELED): OrderState.CANCELED for state in _OPEN},
        **{(state, JournalKind.EXPIRED): OrderState.EXPIRED for state in _OPEN},
        **{(state, kind): state for state in OrderState for kind in (*_FOLLOW_UPS, *_REFUSALS)},
    }
)
"""(state, row) -> state; None is an order that does not exist. A fill that leaves nothing ends in
FILLED instead, whatever the table says: see `next_state`. An order in flight stays SUBMITTED while
other commands about it are sent, and refused if they overtake it."""

MARKET_KINDS = (JournalKind.SETTLED, JournalKind.RESTORED, JournalKind.COLLATERAL_RETURNED)
"""Rows that concern a market and none of its orders."""
ACCOUNT_KINDS = (
    JournalKind.CASH_MOVED,
    JournalKind.GROUP_SET,
    JournalKind.GROUP_TRIGGERED,
    JournalKind.KILL_SET,
)
"""Rows that concern the account alone: their market is NO_MARKET."""

VENUE_STATUS: Mapping[OrderState, str] = MappingProxyType(
    {
        OrderState.SUBMITTED: "",
        OrderState.RESTING: "resting",
        OrderState.PARTLY_FILLED: "resting",
        OrderState.FILLED: "executed",
        OrderState.CANCELED: "canceled",
        OrderState.REJECTED: "",
        OrderState.EXPIRED: "canceled",
    }
)
"""The venue's word for each state (SPEC 3.2); empty where the venue keeps no such order."""

UPDATE_REASONS: Mapping[tuple[JournalKind, int], str] = MappingProxyType(
    {
        (JournalKind.FILL, Reason.NONE): "Trade",
        (JournalKind.AMENDED, JournalKind.AMEND_REQUESTED): "Amend",
        (JournalKind.AMENDED, JournalKind.DECREASE_REQUESTED): "Decrease",
        (JournalKind.EXPIRED, Reason.NONE): "ExpiryCancel",
        (JournalKind.REJECTED, Reason.POST_ONLY_CROSS): "PostOnlyCrossCancel",
        (JournalKind.CANCELED, Reason.MARKET_CLOSED): "CloseCancel",
        (JournalKind.CANCELED, Reason.TAKER_SELF_TRADE): "SelfTradeCancel",
        (JournalKind.CANCELED, Reason.MAKER_SELF_TRADE): "SelfTradeCancel",
        (JournalKind.CANCELED, Reason.PAUSED): "HaltCancel",
        (JournalKind.CANCELED, Reason.REACTIVATED): "HaltCancel",
        (JournalKind.CANCELED, Reason.MARGIN): "MarginCancel",
    }
)
"""(last row that changed an order, its reason, or for AMENDED the request's kind) -> the venue's
`last_update_reason` (SPEC 2.4); empty where nothing stands. An amend that left nothing open ends as
an amend: see `last_update_reason`."""


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


def last_update_reason(row: np.void, request: JournalKind | None) -> str:
    """Return the venue's word for why an order is as it is (SPEC 2.4), empty if it has none.

    row: the last journal row that changed the order. request: the kind of the row that caused it,
    where that is an amend or a decrease.
    """
    kind = JournalKind(row["kind"])
    if row["reason"] == Reason.AMENDED_TO_FILLED:
        kind = JournalKind.AMENDED
    if kind is JournalKind.AMENDED:
        return UPDATE_REASONS.get((kind, request or JournalKind.AMENDED), "")
    if kind is JournalKind.REJECTED and row["reason"] == Reason.INVALID_ORDER and _reduces(row):
        return "ReduceOnlyCancel"
    return UPDATE_REASONS.get((kind, int(row["reason"])), "")


def _reduces(row: np.void) -> bool:
    """Whether nothing but the position can have made a refused order INVALID_ORDER."""
    others = OrderFlag.CANCEL_ON_PAUSE | OrderFlag.CANCEL_RESTING
    return bool(
        int(row["flags"]) & ~others == OrderFlag.REDUCE_ONLY
        and row["tif"] == TimeInForce.IOC
        and row["expires"] == NO_TIME
    )


def check_journal(rows: np.ndarray) -> dict[tuple[int, int], OrderState]:
    """Check a whole journal, and return the last state of each (market index, order number).

    Checked are: the order of time; that rows count up in each market; that causes in the journal
    precede their effects; the table; that what concerns no order names none; and that what an order
    has open is what its rows leave. Raises JournalError that names the first row which breaks a
    rule.
    """
    orders: dict[tuple[int, int], _Order] = {}
    written: dict[int, int] = {}
    last_ts = None
    names = (
        "account",
        "ts",
        "market",
        "row",
        "kind",
        "order",
        "qty",
        "left",
        "reason",
        "cause_kind",
        "cause_market",
        "cause_row",
    )
    columns = [rows[name].tolist() for name in names]
    for number, row in enumerate(zip(*columns, strict=True)):
        account, ts, market, place, kind, order, qty, left, reason, *because = row
        cause, cause_market, cause_row = because
        try:
            _check_place(ts, last_ts, place, written.get(market, 0))
            _check_cause(cause, cause_market, cause_row, written)
            kind = _kind(kind)
            _check_concern(kind, market, order)
            if order:
                known = orders.setdefault((market, order), _Order(account))
                if known.account == account:
                    known.apply(kind, qty, left, reason)
                else:
                    _check_strange(kind, left, known.account)
        except JournalError as wrong:
            raise JournalError(f"journal row {number} (order {order}): {wrong}") from None
        last_ts = ts
        written[market] = place + 1
    return {key: order.state for key, order in orders.items() if order.state is not None}


class _Order:
    """What the rows of one order say so far."""

    __slots__ = ("account", "filled", "left", "state")

    def __init__(self, account: int) -> None:
        self.account = account
        self.state: OrderState | None = None
        self.left = 0
        self.filled = 0

    def apply(self, kind: JournalKind, qty: int, left: int, reason: int) -> None:
        """Fold one row. Raises JournalError if it may not come now."""
        before = self.state
        self.state = next_state(before, kind, left)
        if kind in _REFUSALS and reason == Reason.ORDER_NOT_OPEN and before in _OPEN:
            raise JournalError(f"{kind.name} for ORDER_NOT_OPEN of an order that is open")
        if kind is JournalKind.FILL:
            self.filled += qty
        expected = {
            JournalKind.SUBMITTED: 0,
            JournalKind.REJECTED: 0,
            JournalKind.ACCEPTED: qty,
            JournalKind.AMENDED: qty - self.filled,
            JournalKind.FILL: self.left - qty,
            JournalKind.CANCELED: 0,
            JournalKind.EXPIRED: 0,
        }.get(kind, self.left)
        if left != expected or left < 0:
            raise JournalError(f"{kind.name} leaves {left} open, and should leave {expected}")
        if kind is JournalKind.CANCELED and qty != self.left:
            raise JournalError(f"CANCELED {qty}, where {self.left} was open")
        self.left = left


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


def _check_strange(kind: JournalKind, left: int, owner: int) -> None:
    """Check a row of an account about an order of another: it can ask, and be refused."""
    if kind not in (*_FOLLOW_UPS, *_REFUSALS) or left != 0:
        raise JournalError(f"{kind.name} of an order of account {owner}")


def _check_concern(kind: JournalKind, market: int, order: int) -> None:
    if (market == NO_MARKET) != (kind in ACCOUNT_KINDS):
        raise JournalError(f"{kind.name} in market {market}")
    if (order == 0) != (kind in ACCOUNT_KINDS or kind in MARKET_KINDS):
        raise JournalError(f"{kind.name} names {f'order {order}' if order else 'no order'}")
