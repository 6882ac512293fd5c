"""Own risk limits and the venue's rate limit: what they refuse, and the bucket of tokens.

Folds the answers to requests (each took its tokens) and the kill switch. The limits themselves
never change in a run; 0 is none (docs/semantics.md, section 11).
"""

from __future__ import annotations

from ..compiled import inner
from ..schema import JournalKind, Reason
from ..units import SECOND
from .layout import (
    ACCOUNT,
    BUCKET,
    BUCKET_AT,
    BUCKET_FULL,
    CASH,
    COSTS,
    HEAD_BUY,
    LEFT,
    MAX_LOSS,
    MAX_NOTIONAL,
    MAX_OPEN_ORDERS,
    MAX_ORDER_QTY,
    MAX_POSITION,
    NEXT,
    OPEN_ORDERS,
    OWNER,
    POSITION,
    POSITIONS_VALUE,
    RESERVED,
    RETURNED,
    START_CASH,
    TOKEN_RATE,
)
from .orders import slot_at
from .positions import position_at

ORDER_TOKENS, CANCEL_TOKENS = 10, 2
"""What a request costs (SPEC 3.6)."""

_CANCELED = int(JournalKind.CANCELED)
_CANCEL_REJECTED = int(JournalKind.CANCEL_REJECTED)
_NONE = int(Reason.NONE)
_RATE_LIMIT = int(Reason.RATE_LIMIT)
_AMENDED_TO_FILLED = int(Reason.AMENDED_TO_FILLED)
_RISK_ORDER_QTY = int(Reason.RISK_ORDER_QTY)
_RISK_OPEN_ORDERS = int(Reason.RISK_OPEN_ORDERS)
_RISK_POSITION = int(Reason.RISK_POSITION)


@inner
def tokens(state, now):
    """Return what the bucket holds at `now`, 10^-9 tokens."""
    rate = state[TOKEN_RATE]
    elapsed = now - state[BUCKET_AT]
    missing = state[BUCKET_FULL] - state[BUCKET]
    if elapsed > missing // rate:
        return state[BUCKET_FULL]
    return state[BUCKET] + elapsed * rate


@inner
def lacks_tokens(state, now, cost):
    """Whether the venue's rate limit refuses a request."""
    return state[TOKEN_RATE] > 0 and tokens(state, now) < cost * SECOND


@inner
def apply_tokens(state, row):
    """Fold the answer to a request."""
    if state[TOKEN_RATE] == 0:
        return
    kind = row["kind"]
    cost = ORDER_TOKENS
    if row["reason"] == _RATE_LIMIT:
        cost = 0
    elif kind == _CANCEL_REJECTED or (kind == _CANCELED and row["reason"] != _AMENDED_TO_FILLED):
        cost = CANCEL_TOKENS
    state[BUCKET] = max(0, tokens(state, row["ts"]) - cost * SECOND)
    state[BUCKET_AT] = row["ts"]


@inner
def has_lost_too_much(state):
    """Whether the account has lost its limit or more."""
    loss = state[START_CASH] - state[CASH] - state[POSITIONS_VALUE] + state[RETURNED]
    return state[MAX_LOSS] > 0 and loss >= state[MAX_LOSS]


@inner
def size_refusal(state, base, market, slot, side, left):
    """Return which limit an order of `left` in place of `slot` (0: a new one) would break."""
    if state[MAX_ORDER_QTY] > 0 and left > state[MAX_ORDER_QTY]:
        return _RISK_ORDER_QTY
    if slot == 0 and state[MAX_OPEN_ORDERS] > 0 and state[OPEN_ORDERS] >= state[MAX_OPEN_ORDERS]:
        return _RISK_OPEN_ORDERS
    if state[MAX_POSITION] > 0:
        position = state[position_at(market) + POSITION]
        worst = left + (position if side == 0 else -position)
        other = state[base + HEAD_BUY + side]
        while other > 0:
            at = slot_at(state, base, other)
            if other != slot and state[at + OWNER] == state[ACCOUNT]:
                worst += state[at + LEFT]
            other = state[at + NEXT]
        if worst > state[MAX_POSITION]:
            return _RISK_POSITION
    return _NONE


@inner
def is_too_large(state, reserved):
    """Whether positions and orders that would reserve `reserved` are more than allowed."""
    if state[MAX_NOTIONAL] == 0 or reserved <= state[RESERVED]:
        return False
    return state[COSTS] + reserved > state[MAX_NOTIONAL]
