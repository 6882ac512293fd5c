"""What the venue would do: refuse, accept, match, expire, cancel and settle own orders.

Each command is a list of refusals in order of precedence; after the last one nothing can fail.
The rules are those of docs/semantics.md, sections 3 to 7. This file decides and publishes; all
state changes by folding the published rows.
"""

from __future__ import annotations

from typing import NamedTuple

from ..compiled import entry, inner
from ..schema import (
    KEEP,
    NO_MARKET,
    NO_TIME,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    MarketStatus,
    OrderFlag,
    Reason,
    TimeInForce,
)
from ..units import PRICE_ONE, QTY_MAX
from .arithmetic import taker_fee
from .book import (
    base_of,
    on_grid,
    price_of,
    rank_of,
    visible_at,
    visible_best,
)
from .journal import describe, draft, publish
from .layout import (
    AHEAD,
    BEST_BUY,
    CASH,
    DUE,
    EXPIRES,
    FEE_ROUNDING,
    FLAGS,
    HEAD_BUY,
    LEFT,
    MARKETS,
    NEXT,
    NOW,
    NUMBER,
    NUMBERS,
    OWN_BUY,
    POSITION,
    POSITION_RESERVED,
    RANK,
    RESERVED,
    ROWS,
    SIDE,
    STATUS,
    TAKER_PPM,
    TICK,
    TOP,
    TOTAL,
    TRADES,
    TRUSTED,
)
from .orders import find, keeps_place, required, slot_at
from .positions import closing_part, fill_cash, position_at
from .reward import revalue


class Command(NamedTuple):
    """What a strategy asks for, in YES terms, with the cause it was reacting to.

    order is the number within the market, 0 for a new one; an amend leaves KEEP fields as they are.
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
    cause_kind: int
    cause_market: int
    cause_row: int


class Offer(NamedTuple):
    """What an own order may be filled with."""

    qty: int
    price: int
    claim: int
    ahead: int
    liquidity: int
    evidence: int
    takes_depth: bool


_SUBMITTED = int(JournalKind.SUBMITTED)
_ACCEPTED = int(JournalKind.ACCEPTED)
_REJECTED = int(JournalKind.REJECTED)
_AMEND_REQUESTED = int(JournalKind.AMEND_REQUESTED)
_AMENDED = int(JournalKind.AMENDED)
_AMEND_REJECTED = int(JournalKind.AMEND_REJECTED)
_CANCEL_REQUESTED = int(JournalKind.CANCEL_REQUESTED)
_CANCELED = int(JournalKind.CANCELED)
_CANCEL_REJECTED = int(JournalKind.CANCEL_REJECTED)
_EXPIRED = int(JournalKind.EXPIRED)
_FILL = int(JournalKind.FILL)
_SETTLED = int(JournalKind.SETTLED)
_NONE = int(Reason.NONE)
_MARKET_INACTIVE = int(Reason.MARKET_INACTIVE)
_ORDER_NOT_OPEN = int(Reason.ORDER_NOT_OPEN)
_TRADING_PAUSED = int(Reason.TRADING_PAUSED)
_INVALID_PRICE = int(Reason.INVALID_PRICE)
_INVALID_QTY = int(Reason.INVALID_QTY)
_INVALID_ORDER = int(Reason.INVALID_ORDER)
_SELF_CROSS = int(Reason.SELF_CROSS)
_POST_ONLY_CROSS = int(Reason.POST_ONLY_CROSS)
_INSUFFICIENT_BALANCE = int(Reason.INSUFFICIENT_BALANCE)
_FOK_INSUFFICIENT_VOLUME = int(Reason.FOK_INSUFFICIENT_VOLUME)
_USER = int(Reason.USER)
_IMMEDIATE_OR_CANCEL = int(Reason.IMMEDIATE_OR_CANCEL)
_MARKET_CLOSED = int(Reason.MARKET_CLOSED)
_AMENDED_TO_FILLED = int(Reason.AMENDED_TO_FILLED)
_CAUSE_TAPE = int(CauseKind.TAPE)
_CAUSE_TIMER = int(CauseKind.TIMER)
_TAKER = int(Liquidity.TAKER)
_MAKER = int(Liquidity.MAKER)
_EVIDENCE_TAKER = int(Evidence.TAKER)
_THROUGH = int(Evidence.THROUGH)
_QUEUE = int(Evidence.QUEUE)
_BEYOND = int(Evidence.BEYOND)
_POST_ONLY = int(OrderFlag.POST_ONLY)
_REDUCE_ONLY = int(OrderFlag.REDUCE_ONLY)
_TAKES_DEPTH = int(OrderFlag.TAKES_DEPTH)
_GTC = int(TimeInForce.GTC)
_IOC = int(TimeInForce.IOC)
_FOK = int(TimeInForce.FOK)
_PAUSED = int(MarketStatus.PAUSED)
_CLOSED = int(MarketStatus.CLOSED)


@entry
def submit_refusal(state, command):
    """Return the reason why the venue would refuse a new order; Reason.NONE if it would not."""
    base = base_of(state, command.market)
    if _is_inactive(state, base):
        return _MARKET_INACTIVE
    if state[base + STATUS] == _PAUSED or state[base + TRUSTED] == 0:
        return _TRADING_PAUSED
    if not on_grid(state, base, command.price):
        return _INVALID_PRICE
    if command.qty <= 0 or command.qty > QTY_MAX:
        return _INVALID_QTY
    if command.tif < _GTC or command.tif > _FOK or command.flags < 0 or command.flags > 3:
        return _INVALID_ORDER
    if command.expires <= state[NOW]:
        return _INVALID_ORDER
    if command.tif != _GTC and (command.flags & _POST_ONLY or command.expires != NO_TIME):
        return _INVALID_ORDER
    if command.flags & _REDUCE_ONLY:
        position = state[position_at(command.market) + POSITION]
        if command.tif != _IOC or closing_part(position, command.side, command.qty) < command.qty:
            return _INVALID_ORDER
    rank = rank_of(state, base, command.side, command.price)
    wanted = (command.side, rank, command.qty)
    reason = _terms_refusal(state, command.market, 0, wanted, command.flags)
    if reason != _NONE:
        return reason
    if command.tif == _FOK and _walk_terms(state, command.market, wanted)[1] < command.qty:
        return _FOK_INSUFFICIENT_VOLUME
    return _NONE


@inner
def _is_inactive(state, base):
    """Whether the venue takes no command at all: the market has closed, or not begun."""
    return state[base + STATUS] >= _CLOSED or state[base + ROWS] == 0


@inner
def amend_refusal(state, command):
    """Return the reason why the venue would refuse an amend; Reason.NONE if it would not."""
    base = base_of(state, command.market)
    if _is_inactive(state, base):
        return _MARKET_INACTIVE
    slot = find(state, base, command.order)
    if slot == 0:
        return _ORDER_NOT_OPEN
    if state[base + STATUS] == _PAUSED or state[base + TRUSTED] == 0:
        return _TRADING_PAUSED
    at = slot_at(state, base, slot)
    price, total = _amended_terms(state, base, at, command)
    if not on_grid(state, base, price):
        return _INVALID_PRICE
    left = total - state[at + TOTAL] + state[at + LEFT]
    if total <= 0 or total > QTY_MAX or left < 0:
        return _INVALID_QTY
    if left == 0:
        return _NONE
    side = state[at + SIDE]
    wanted = (side, rank_of(state, base, side, price), left)
    return _terms_refusal(state, command.market, slot, wanted, state[at + FLAGS])


@inner
def _amended_terms(state, base, at, command):
    """Return (price, total) that an amend asks for."""
    price = command.price
    if price == KEEP:
        price = price_of(state, base, state[at + SIDE], state[at + RANK])
    total = command.qty
    if total == KEEP:
        total = state[at + TOTAL]
    return price, total


@inner
def _terms_refusal(state, market, slot, wanted, flags):
    """Return why an order `wanted`, (side, rank, left), may not stand in place of `slot`."""
    base = base_of(state, market)
    side, rank, _ = wanted
    position = state[position_at(market) + POSITION]
    top = state[base + TOP]
    against = 1 - side
    own = state[base + OWN_BUY + against]
    if own > 0 and own + rank >= top:
        return _SELF_CROSS
    best = visible_best(state, base, against, state[base + BEST_BUY + against])
    if flags & _POST_ONLY and best > 0 and best + rank >= top:
        return _POST_ONLY_CROSS
    fees, _ = _walk_terms(state, market, wanted)
    reserved = state[RESERVED] - state[position_at(market) + POSITION_RESERVED]
    if state[CASH] - reserved - required(state, base, position, slot, wanted) - fees < 0:
        return _INSUFFICIENT_BALANCE
    return _NONE


@inner
def _walk_terms(state, market, wanted):
    """Return (fees, quantity) of the fills that an order (side, rank, left) would get now.

    Fees are those beyond what the closing fills pay, which come first.
    """
    base = base_of(state, market)
    side, rank, left = wanted
    against = 1 - side
    closable = closing_part(state[position_at(market) + POSITION], side, left)
    filled = 0
    fees = 0
    best = visible_best(state, base, against, state[base + BEST_BUY + against])
    while left > 0 and best > 0 and best + rank >= state[base + TOP]:
        part = min(left, visible_at(state, base, against, best))
        price = price_of(state, base, against, best)
        fees += taker_fee(state[base + TAKER_PPM], part, price, state[FEE_ROUNDING])
        closing = min(closable, part)
        closable -= closing
        fees -= closing * best * state[base + TICK]
        filled += part
        left -= part
        best = visible_best(state, base, against, best - 1)
    return max(0, fees), filled


@entry
def submit(run, command):
    """Submit an order; return its number within the market."""
    state = run.state
    market = command.market
    base = base_of(state, market)
    number = state[base + NUMBERS] + 1
    reason = submit_refusal(state, command)
    cause = (command.cause_kind, command.cause_market, command.cause_row)
    _draft_new(run, command, number, _SUBMITTED, cause)
    cause = publish(run)
    if reason != _NONE:
        row = _draft_new(run, command, number, _REJECTED, cause)
        row["reason"] = reason
        publish(run)
        return number
    row = _draft_new(run, command, number, _ACCEPTED, cause)
    rank = rank_of(state, base, command.side, command.price)
    row["left"] = command.qty
    row["ahead"] = visible_at(state, base, command.side, rank)
    row["reserved"] = _reserved_change(state, market, 0, 0, (command.side, rank, command.qty))
    cause = publish(run)
    slot = find(state, base, number)
    _walk(run, market, slot, cause)
    if command.tif == _IOC and state[slot_at(state, base, slot) + NUMBER] == number:
        _cancel(run, market, slot, _IMMEDIATE_OR_CANCEL, cause)
    revalue(state, base, market)
    return number


@inner
def _draft_new(run, command, number, kind, cause):
    row = draft(run, command.market, kind, cause)
    row["order"] = number
    row["side"] = command.side
    row["price"] = command.price
    row["qty"] = command.qty
    row["tif"] = command.tif
    row["flags"] = command.flags
    row["expires"] = command.expires
    row["client_id"] = command.client_id
    return row


@entry
def cancel(run, command):
    """Cancel an order; return its number."""
    state = run.state
    base = base_of(state, command.market)
    slot = find(state, base, command.order)
    cause = (command.cause_kind, command.cause_market, command.cause_row)
    _draft_request(run, command, slot, _CANCEL_REQUESTED, cause)
    cause = publish(run)
    if _is_inactive(state, base):
        reason = _MARKET_INACTIVE
    elif slot == 0:
        reason = _ORDER_NOT_OPEN
    else:
        _cancel(run, command.market, slot, _USER, cause)
        return command.order
    row = _draft_request(run, command, slot, _CANCEL_REJECTED, cause)
    row["reason"] = reason
    publish(run)
    return command.order


@entry
def amend(run, command):
    """Amend an order to a new price and a new total; return its number."""
    state = run.state
    market = command.market
    base = base_of(state, market)
    reason = amend_refusal(state, command)
    slot = find(state, base, command.order)
    cause = (command.cause_kind, command.cause_market, command.cause_row)
    row = _draft_request(run, command, slot, _AMEND_REQUESTED, cause)
    row["price"] = command.price
    row["qty"] = command.qty
    cause = publish(run)
    if reason != _NONE:
        row = _draft_request(run, command, slot, _AMEND_REJECTED, cause)
        row["price"] = command.price
        row["qty"] = command.qty
        row["reason"] = reason
        publish(run)
        return command.order
    at = slot_at(state, base, slot)
    side = state[at + SIDE]
    price, total = _amended_terms(state, base, at, command)
    left = total - state[at + TOTAL] + state[at + LEFT]
    if left == 0:
        _cancel(run, market, slot, _AMENDED_TO_FILLED, cause)
        return command.order
    rank = rank_of(state, base, side, price)
    row = _draft_request(run, command, slot, _AMENDED, cause)
    row["price"] = price
    row["qty"] = total
    row["left"] = left
    if keeps_place(state, at, rank, total):
        row["ahead"] = state[at + AHEAD]
    else:
        row["ahead"] = visible_at(state, base, side, rank)
    row["reserved"] = _reserved_change(state, market, 0, slot, (side, rank, left))
    cause = publish(run)
    _walk(run, market, slot, cause)
    revalue(state, base, market)
    return command.order


@inner
def _draft_request(run, command, slot, kind, cause):
    row = draft(run, command.market, kind, cause)
    row["order"] = command.order
    if slot > 0:
        describe(row, run.state, base_of(run.state, command.market), slot)
    return row


@inner
def _reserved_change(state, market, moved, slot, instead):
    """Return the change of reserved collateral if the position moves by `moved` and the order in
    `slot` is replaced by `instead`, (side, rank, left)."""
    at = position_at(market)
    wanted = required(state, base_of(state, market), state[at + POSITION] + moved, slot, instead)
    return wanted - state[at + POSITION_RESERVED]


@inner
def _cancel(run, market, slot, reason, cause):
    """End an open order: CANCELED for `reason`, or EXPIRED where there is none."""
    state = run.state
    base = base_of(state, market)
    row = draft(run, market, _CANCELED if reason != _NONE else _EXPIRED, cause)
    describe(row, state, base, slot)
    if reason != _NONE:
        row["qty"] = state[slot_at(state, base, slot) + LEFT]
    row["left"] = 0
    row["reason"] = reason
    row["reserved"] = _reserved_change(state, market, 0, slot, (0, 0, 0))
    publish(run)


@inner
def _walk(run, market, slot, cause):
    """Fill a marketable order against visible depth, at the resting prices."""
    state = run.state
    base = base_of(state, market)
    at = slot_at(state, base, slot)
    against = 1 - state[at + SIDE]
    rank = state[at + RANK]
    left = state[at + LEFT]
    best = visible_best(state, base, against, state[base + BEST_BUY + against])
    while left > 0 and best > 0 and best + rank >= state[base + TOP]:
        claim = visible_at(state, base, against, best)
        price = price_of(state, base, against, best)
        part = min(left, claim)
        offer = Offer(part, price, claim, 0, _TAKER, _EVIDENCE_TAKER, True)
        _fill(run, market, slot, offer, cause)
        left -= part
        best = visible_best(state, base, against, best)


@inner
def _fill(run, market, slot, offer, cause):
    state = run.state
    base = base_of(state, market)
    at = slot_at(state, base, slot)
    side = state[at + SIDE]
    left = state[at + LEFT] - offer.qty
    row = draft(run, market, _FILL, cause)
    describe(row, state, base, slot)
    row["price"] = offer.price
    row["qty"] = offer.qty
    row["left"] = left
    row["claim"] = offer.claim
    row["ahead"] = offer.ahead
    row["liquidity"] = offer.liquidity
    row["evidence"] = offer.evidence
    if offer.liquidity == _TAKER:
        row["fee"] = taker_fee(state[base + TAKER_PPM], offer.qty, offer.price, state[FEE_ROUNDING])
    if offer.takes_depth:
        row["flags"] = state[at + FLAGS] | _TAKES_DEPTH
    row["cash"] = fill_cash(state[position_at(market) + POSITION], side, offer.price, offer.qty)
    moved = offer.qty if side == 0 else -offer.qty
    row["reserved"] = _reserved_change(state, market, moved, slot, (side, state[at + RANK], left))
    publish(run)


@inner
def match_trade(run, market, side, rank, qty):
    """Fill resting orders from a trade of the tape, before it is folded into their queues.

    Orders at better prices would have been hit first; those at its price get what went beyond the
    quantity ahead of them. Together they get no more than was traded.
    """
    state = run.state
    base = base_of(state, market)
    cause = (_CAUSE_TAPE, market, state[base + ROWS] - 1)
    rest = qty
    slot = state[base + HEAD_BUY + side]
    while slot > 0 and rest > 0:
        at = slot_at(state, base, slot)
        own_rank = state[at + RANK]
        if own_rank < rank:
            return
        following = state[at + NEXT]
        ahead = state[at + AHEAD] if own_rank == rank else 0
        beyond = rest - ahead
        if beyond > 0:
            part = min(state[at + LEFT], beyond)
            price = price_of(state, base, side, own_rank)
            evidence = _QUEUE if own_rank == rank else _THROUGH
            offer = Offer(part, price, beyond, ahead, _MAKER, evidence, False)
            _fill(run, market, slot, offer, cause)
            rest -= part
        slot = following


@inner
def match_quotes(run, market):
    """At the end of a burst: displayed quotes that cross resting orders would have hit them."""
    state = run.state
    base = base_of(state, market)
    cause = (_CAUSE_TAPE, market, state[base + ROWS] - 1)
    evidence = _THROUGH if state[base + TRADES] > 0 else _BEYOND
    for side in range(2):
        against = 1 - side
        slot = state[base + HEAD_BUY + side]
        while slot > 0:
            at = slot_at(state, base, slot)
            rank = state[at + RANK]
            best = visible_best(state, base, against, state[base + BEST_BUY + against])
            if best == 0 or best + rank < state[base + TOP]:
                break
            claim = visible_at(state, base, against, best)
            part = min(state[at + LEFT], claim)
            following = slot if part < state[at + LEFT] else state[at + NEXT]
            price = price_of(state, base, side, rank)
            offer = Offer(part, price, claim, 0, _MAKER, evidence, True)
            _fill(run, market, slot, offer, cause)
            slot = following


@inner
def close_market(run, market):
    """Cancel every open order of a market that has closed, by number."""
    state = run.state
    base = base_of(state, market)
    cause = (_CAUSE_TAPE, market, state[base + ROWS] - 1)
    while True:
        lowest = 0
        for side in range(2):
            slot = state[base + HEAD_BUY + side]
            while slot > 0:
                at = slot_at(state, base, slot)
                number = state[at + NUMBER]
                if lowest == 0 or number < state[slot_at(state, base, lowest) + NUMBER]:
                    lowest = slot
                slot = state[at + NEXT]
        if lowest == 0:
            return
        _cancel(run, market, lowest, _MARKET_CLOSED, cause)


@inner
def settle(run, market, payout):
    """Pay a position out at the price of one YES contract."""
    state = run.state
    position = state[position_at(market) + POSITION]
    if position == 0:
        return
    cause = (_CAUSE_TAPE, market, state[base_of(state, market) + ROWS] - 1)
    row = draft(run, market, _SETTLED, cause)
    row["side"] = 0 if position > 0 else 1
    row["price"] = payout
    row["qty"] = abs(position)
    row["cash"] = position * payout if position > 0 else -position * (PRICE_ONE - payout)
    publish(run)


@entry
def expire_next(run):
    """Expire the order that is due first: by (time, market, number)."""
    state = run.state
    due = state[DUE]
    state[NOW] = max(state[NOW], due)
    for market in range(state[MARKETS]):
        slot = _first_due(state, base_of(state, market), due)
        if slot > 0:
            _cancel(run, market, slot, _NONE, (_CAUSE_TIMER, NO_MARKET, 0))
            return


@inner
def _first_due(state, base, due):
    first = 0
    for side in range(2):
        slot = state[base + HEAD_BUY + side]
        while slot > 0:
            at = slot_at(state, base, slot)
            if state[at + EXPIRES] == due and (
                first == 0 or state[at + NUMBER] < state[slot_at(state, base, first) + NUMBER]
            ):
                first = slot
            slot = state[at + NEXT]
    return first
