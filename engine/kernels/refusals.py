"""What the venue would refuse, and why: questions to the state, in the order of precedence.

Nothing here changes anything, so `would_reject` and the commands ask the same functions. The rules
are those of docs/semantics.md, sections 3, 6 and 11.
"""

from __future__ import annotations

from typing import NamedTuple

from ..compiled import entry, inner
from ..schema import KEEP, NO_TIME, MarketStatus, OrderFlag, Reason, TapeFlag, TimeInForce
from ..units import QTY_MAX
from .book import base_of, on_grid, price_of, rank_of, visible_at, visible_best
from .client_ids import is_used
from .fees import net_fee
from .groups import group_at, is_group
from .layout import (
    ACCOUNTS,
    AHEAD,
    BEST_BUY,
    CARRY,
    CASH,
    EXPIRES,
    FEE_PRECISION,
    FEE_ROUNDING,
    FEE_TABLE,
    FLAGS,
    HEAD_BUY,
    KILLED,
    LEFT,
    NEXT,
    NOW,
    OWN_BUY,
    PAUSE,
    POSITION,
    POSITION_RESERVED,
    RANK,
    RESERVED,
    ROWS,
    SIDE,
    STATUS,
    TAKER_FLAT,
    TAKER_PPM,
    TICK,
    TOP,
    TOTAL,
    TRIGGERED,
    TRUSTED,
)
from .orders import find, next_of, required, slot_at
from .positions import closing_part, fill_cash, position_at
from .risk import (
    CANCEL_TOKENS,
    ORDER_TOKENS,
    has_lost_too_much,
    is_too_large,
    lacks_tokens,
    size_refusal,
)


class Command(NamedTuple):
    """What a strategy asks for, in YES terms, with the cause it was reacting to.

    order is the number within the market, 0 for a new one; an amend leaves KEEP fields as they are;
    of a decrease qty and, in flags, OrderFlag.REDUCE_TO count.
    """

    market: int
    order: int
    side: int
    price: int
    qty: int
    tif: int
    flags: int
    expires: int
    client_id: int
    group: int
    cause_kind: int
    cause_market: int
    cause_row: int


_NO_LIMIT = 1 << 62
UNDECIDED = -1
_NONE = int(Reason.NONE)
_MARKET_INACTIVE = int(Reason.MARKET_INACTIVE)
_EXCHANGE_PAUSED = int(Reason.EXCHANGE_PAUSED)
_ORDER_NOT_OPEN = int(Reason.ORDER_NOT_OPEN)
_TRADING_PAUSED = int(Reason.TRADING_PAUSED)
_KILLED = int(Reason.KILLED)
_RISK_LOSS = int(Reason.RISK_LOSS)
_RATE_LIMIT = int(Reason.RATE_LIMIT)
_MARKET_ORDER = int(Reason.MARKET_ORDER)
_INVALID_PRICE = int(Reason.INVALID_PRICE)
_INVALID_QTY = int(Reason.INVALID_QTY)
_INVALID_ORDER = int(Reason.INVALID_ORDER)
_DUPLICATE_CLIENT_ID = int(Reason.DUPLICATE_CLIENT_ID)
_GROUP_NOT_FOUND = int(Reason.GROUP_NOT_FOUND)
_GROUP_LIMIT = int(Reason.GROUP_LIMIT)
_RISK_NOTIONAL = int(Reason.RISK_NOTIONAL)
_SELF_CROSS = int(Reason.SELF_CROSS)
_POST_ONLY_CROSS = int(Reason.POST_ONLY_CROSS)
_INSUFFICIENT_BALANCE = int(Reason.INSUFFICIENT_BALANCE)
_FOK_INSUFFICIENT_VOLUME = int(Reason.FOK_INSUFFICIENT_VOLUME)
_POST_ONLY = int(OrderFlag.POST_ONLY)
_REDUCE_ONLY = int(OrderFlag.REDUCE_ONLY)
_REDUCE_TO = int(OrderFlag.REDUCE_TO)
ORDER_FLAGS = int(
    OrderFlag.POST_ONLY
    | OrderFlag.REDUCE_ONLY
    | OrderFlag.CANCEL_ON_PAUSE
    | OrderFlag.CANCEL_RESTING
)
_GTC = int(TimeInForce.GTC)
_IOC = int(TimeInForce.IOC)
_FOK = int(TimeInForce.FOK)
_PAUSED = int(MarketStatus.PAUSED)
_CLOSED = int(MarketStatus.CLOSED)
_EXCHANGE = int(TapeFlag.EXCHANGE)


@entry
def submit_refusal(run, command):
    """Return the reason why the venue would refuse a new order; Reason.NONE if it would not."""
    reason = any_order_refusal(run.state, command.market)
    return reason if reason != _NONE else order_refusal(run, command)


@inner
def any_order_refusal(state, market):
    """Return the reason why the venue would refuse every new order in a market."""
    base = base_of(state, market)
    reason = _venue_refusal(state, base)
    if reason != _NONE:
        return reason
    if _is_halted(state, base):
        return _TRADING_PAUSED
    if state[KILLED] != 0:
        return _KILLED
    if has_lost_too_much(state):
        return _RISK_LOSS
    if lacks_tokens(state, state[NOW], ORDER_TOKENS):
        return _RATE_LIMIT
    return _NONE


@inner
def order_refusal(run, command):
    """Return the reason why the venue would refuse this new order, where it takes any."""
    reason = glance_refusal(run, command)
    if reason != UNDECIDED and (reason != _NONE or command.tif != _FOK):
        return reason
    state = run.state
    rank = rank_of(state, base_of(state, command.market), command.side, command.price)
    wanted = (command.side, rank, command.qty)
    if reason == UNDECIDED:
        reason = _walk_refusal(run, command.market, 0, wanted)
    whole = reason == _NONE and command.tif == _FOK
    if whole and _walk_terms(run, command.market, wanted, 0)[1] < command.qty:
        return _FOK_INSUFFICIENT_VOLUME
    return reason


@inner
def glance_refusal(run, command):
    """Do what `order_refusal` does without a look at what would fill the order: UNDECIDED if that
    matters. An order that is taken at a glance is so for any smaller quantity, too."""
    state = run.state
    base = base_of(state, command.market)
    if command.price == KEEP:
        return _MARKET_ORDER
    if not on_grid(state, base, command.price):
        return _INVALID_PRICE
    if command.qty <= 0 or command.qty > QTY_MAX:
        return _INVALID_QTY
    if _is_contradictory(state, command):
        return _INVALID_ORDER
    if is_used(state, command.client_id):
        return _DUPLICATE_CLIENT_ID
    if command.group != 0:
        if not is_group(state, command.group):
            return _GROUP_NOT_FOUND
        if state[group_at(state, command.group) + TRIGGERED] != 0:
            return _GROUP_LIMIT
    rank = rank_of(state, base, command.side, command.price)
    wanted = (command.side, rank, command.qty)
    reason = size_refusal(state, base, command.market, 0, command.side, command.qty)
    if reason != _NONE:
        return reason
    return _terms_refusal(run, command.market, 0, wanted, command.flags)


@inner
def _venue_refusal(state, base):
    """Return why the venue takes no command at all: the market has closed or not begun, or all
    of the exchange stands still."""
    if state[base + STATUS] >= _CLOSED or state[base + ROWS] == 0:
        return _MARKET_INACTIVE
    if state[base + STATUS] == _PAUSED and state[base + PAUSE] & _EXCHANGE:
        return _EXCHANGE_PAUSED
    return _NONE


@inner
def _is_halted(state, base):
    return state[base + STATUS] == _PAUSED or state[base + TRUSTED] == 0


@inner
def _is_contradictory(state, command):
    if command.tif < _GTC or command.tif > _FOK or command.flags & ~ORDER_FLAGS:
        return True
    if command.expires <= state[NOW]:
        return True
    if command.tif != _GTC and (command.flags & _POST_ONLY or command.expires != NO_TIME):
        return True
    if command.flags & _REDUCE_ONLY == 0:
        return False
    position = state[position_at(command.market) + POSITION]
    closing = closing_part(position, command.side, command.qty)
    return command.tif != _IOC or closing < command.qty


@inner
def cancel_refusal(state, base, slot):
    """Return the reason why the venue would refuse to cancel the order in a slot, 0 if it is not
    open; Reason.NONE if it would not."""
    reason = _venue_refusal(state, base)
    if reason != _NONE:
        return reason
    if slot == 0:
        return _ORDER_NOT_OPEN
    if lacks_tokens(state, state[NOW], CANCEL_TOKENS):
        return _RATE_LIMIT
    return _NONE


@inner
def _change_refusal(state, base, slot):
    reason = _venue_refusal(state, base)
    if reason != _NONE:
        return reason
    if slot == 0:
        return _ORDER_NOT_OPEN
    if _is_halted(state, base):
        return _TRADING_PAUSED
    return _NONE


@entry
def decrease_refusal(state, command):
    """Return the reason why the venue would refuse a decrease; Reason.NONE if it would not."""
    base = base_of(state, command.market)
    slot = find(state, base, command.order)
    reason = _change_refusal(state, base, slot)
    if reason != _NONE:
        return reason
    if lacks_tokens(state, state[NOW], ORDER_TOKENS):
        return _RATE_LIMIT
    least = 0 if command.flags & _REDUCE_TO else 1
    if command.qty < least or command.qty > state[slot_at(state, base, slot) + LEFT]:
        return _INVALID_QTY
    return _NONE


@entry
def amend_refusal(run, command):
    """Return the reason why the venue would refuse an amend; Reason.NONE if it would not."""
    state = run.state
    base = base_of(state, command.market)
    slot = find(state, base, command.order)
    reason = _change_refusal(state, base, slot)
    if reason != _NONE:
        return reason
    if state[KILLED] != 0:
        return _KILLED
    if lacks_tokens(state, state[NOW], ORDER_TOKENS):
        return _RATE_LIMIT
    at = slot_at(state, base, slot)
    price, total, expires = amended_terms(state, base, at, command)
    if not on_grid(state, base, price):
        return _INVALID_PRICE
    left = total - state[at + TOTAL] + state[at + LEFT]
    if total <= 0 or total > QTY_MAX or left < 0:
        return _INVALID_QTY
    if expires <= state[NOW]:
        return _INVALID_ORDER
    if left == 0:
        return _NONE
    side = state[at + SIDE]
    reason = size_refusal(state, base, command.market, slot, side, left)
    if reason != _NONE:
        return reason
    wanted = (side, rank_of(state, base, side, price), left)
    reason = _terms_refusal(run, command.market, slot, wanted, state[at + FLAGS])
    return _walk_refusal(run, command.market, slot, wanted) if reason == UNDECIDED else reason


@inner
def amended_terms(state, base, at, command):
    """Return (price, total, expires) that an amend asks for."""
    price = command.price
    if price == KEEP:
        price = price_of(state, base, state[at + SIDE], state[at + RANK])
    total = command.qty
    if total == KEEP:
        total = state[at + TOTAL]
    expires = command.expires
    if expires == KEEP:
        expires = state[at + EXPIRES]
    return price, total, expires


@inner
def _terms_refusal(run, market, slot, wanted, flags):
    """Return why an order `wanted`, (side, rank, left), may not stand in place of `slot`, 0 for a
    new one; UNDECIDED if that depends on what it would be filled with."""
    state = run.state
    base = base_of(state, market)
    side, rank, _ = wanted
    position = state[position_at(market) + POSITION]
    reserved = state[RESERVED] - state[position_at(market) + POSITION_RESERVED]
    reserved += required(state, base, position, slot, wanted)
    if is_too_large(state, reserved):
        return _RISK_NOTIONAL
    against = 1 - side
    own = state[base + OWN_BUY + against]
    meets = own > 0 and own + rank >= state[base + TOP]
    if meets and slot > 0 and _meets_own(state, base, against, rank):
        return _SELF_CROSS
    best = visible_best(state, base, against, state[base + BEST_BUY + against])
    if flags & _POST_ONLY and (meets or (best > 0 and best + rank >= state[base + TOP])):
        return _POST_ONLY_CROSS
    spare = state[CASH] - reserved
    if spare < 0:
        return _INSUFFICIENT_BALANCE
    trades = best + rank >= state[base + TOP]
    if state[ACCOUNTS] == 1 and (not trades or spare >= _most_fees(state, base, wanted[2])):
        return _NONE
    return UNDECIDED


@inner
def _walk_refusal(run, market, slot, wanted):
    """Return whether an order lacks the money for the fees of what it would be filled with."""
    state = run.state
    base = base_of(state, market)
    position = state[position_at(market) + POSITION]
    reserved = state[RESERVED] - state[position_at(market) + POSITION_RESERVED]
    reserved += required(state, base, position, slot, wanted)
    carry = state[slot_at(state, base, slot) + CARRY] if slot > 0 else 0
    fees = _walk_terms(run, market, wanted, carry)[0]
    return _INSUFFICIENT_BALANCE if state[CASH] - reserved < fees else _NONE


@inner
def _most_fees(state, base, left):
    """Return what the fees of an order cannot exceed however it is filled: those at 50 cents, and
    two roundings at each level. It spares most orders the walk."""
    if state[FEE_TABLE] > 0:
        return _NO_LIMIT
    roundings = (state[base + TOP] + 1) * (state[FEE_ROUNDING] + state[FEE_PRECISION])
    return (left // 400 + 1) * (state[base + TAKER_PPM] + 4 * state[base + TAKER_FLAT]) + roundings


@inner
def _meets_own(state, base, against, rank):
    """Whether an order of the account in use would trade with the first of its own on a side."""
    slot = next_of(state, base, state[base + HEAD_BUY + against], True)
    return slot > 0 and state[slot_at(state, base, slot) + RANK] + rank >= state[base + TOP]


@inner
def _walk_terms(run, market, wanted, carry):
    """Return (fees, quantity) of the fills that an order (side, rank, left) would get now.

    Own orders are left out of account; those of other accounts stand where the walk meets them.
    Fees are those beyond what the closing fills pay, which come first.
    """
    state = run.state
    base = base_of(state, market)
    side, rank, left = wanted
    against = 1 - side
    position = state[position_at(market) + POSITION]
    filled = 0
    fees = 0
    best = visible_best(state, base, against, state[base + BEST_BUY + against])
    shown = visible_at(state, base, against, best)
    taken_here = 0
    other = 0
    if state[ACCOUNTS] > 1:
        other = next_of(state, base, state[base + HEAD_BUY + against], False)
    while left > 0:
        at = slot_at(state, base, other)
        first = state[at + RANK] if other > 0 else 0
        reached = max(best, first)
        if reached == 0 or reached + rank < state[base + TOP]:
            break
        offered = 0 if first > best else shown
        if first == best:
            offered = min(shown, max(0, state[at + AHEAD] - taken_here))
        part = min(left, offered if offered > 0 else state[at + LEFT])
        price = price_of(state, base, against, reached)
        cash = fill_cash(position, side, price, part)
        fee, carry = net_fee(state, run.tables, base, (price, part, cash, 0), carry)
        closing = closing_part(position, side, part)
        fees += fee - closing * reached * state[base + TICK]
        position += part if side == 0 else -part
        filled += part
        left -= part
        if offered == 0:
            other = next_of(state, base, state[at + NEXT], False)
            continue
        shown -= part
        taken_here += part
        if shown == 0:
            best = visible_best(state, base, against, best - 1)
            shown = visible_at(state, base, against, best)
            taken_here = 0
    return max(0, fees), filled
