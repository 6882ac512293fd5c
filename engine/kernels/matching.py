"""What the venue does with own orders: match, cancel, expire and settle them.

The rules are those of docs/semantics.md, sections 3 to 7. This file decides and publishes; all
state changes by folding the published rows.
"""

from __future__ import annotations

from typing import NamedTuple

from ..compiled import inner
from ..fees import CENT
from ..schema import (
    NO_MARKET,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    OrderFlag,
    Reason,
    TimeInForce,
)
from ..units import PPM, PRICE_ONE
from .arithmetic import muldiv
from .book import base_of, price_of, visible_at, visible_best
from .collateral import returned_change
from .delays import is_available
from .fees import net_fee
from .groups import group_at, matched_in_window
from .journal import describe, draft, publish
from .layout import (
    AHEAD,
    AVAILABILITY,
    BEST_BUY,
    CARRY,
    CASH,
    COST,
    DUE,
    EXPIRES,
    FLAGS,
    GROUP,
    GROUP_CAPACITY,
    GROUP_LIMIT,
    GROUPS_SET,
    GUESSED,
    HEAD_BUY,
    JOURNAL_COUNT,
    LAST_AT,
    LAST_MARKET,
    LAST_ROW,
    LEFT,
    MARKETS,
    NEXT,
    NOW,
    NUMBER,
    OWN_BUY,
    POSITION,
    POSITION_RESERVED,
    RANK,
    RESERVED,
    RESTORE_AT,
    ROUND_TRIP,
    ROWS,
    SEED,
    SETTLED_CASH,
    SETTLED_COST,
    SETTLED_FEE,
    SETTLED_POSITION,
    SIDE,
    TIF,
    TOP,
    TRADES,
    TRIGGERED,
)
from .orders import required, slot_at
from .positions import fill_cash, position_at


class Offer(NamedTuple):
    """What an own order may be filled with."""

    qty: int
    price: int
    claim: int
    ahead: int
    liquidity: int
    evidence: int
    takes_depth: bool


_CANCELED = int(JournalKind.CANCELED)
_EXPIRED = int(JournalKind.EXPIRED)
_FILL = int(JournalKind.FILL)
_SETTLED = int(JournalKind.SETTLED)
_RESTORED = int(JournalKind.RESTORED)
_MISSED = int(JournalKind.MISSED)
_GROUP_TRIGGERED = int(JournalKind.GROUP_TRIGGERED)
_COLLATERAL_RETURNED = int(JournalKind.COLLATERAL_RETURNED)
_NONE = int(Reason.NONE)
_IMMEDIATE_OR_CANCEL = int(Reason.IMMEDIATE_OR_CANCEL)
_TAKER_SELF_TRADE = int(Reason.TAKER_SELF_TRADE)
_MAKER_SELF_TRADE = int(Reason.MAKER_SELF_TRADE)
_BY_GROUP = int(Reason.GROUP_TRIGGERED)
_MARGIN = int(Reason.MARGIN)
_CAUSE_TAPE = int(CauseKind.TAPE)
_CAUSE_JOURNAL = int(CauseKind.JOURNAL)
_CAUSE_TIMER = int(CauseKind.TIMER)
_TAKER = int(Liquidity.TAKER)
_MAKER = int(Liquidity.MAKER)
_EVIDENCE_TAKER = int(Evidence.TAKER)
_THROUGH = int(Evidence.THROUGH)
_QUEUE = int(Evidence.QUEUE)
_BEYOND = int(Evidence.BEYOND)
_TAKES_DEPTH = int(OrderFlag.TAKES_DEPTH)
_CANCEL_RESTING = int(OrderFlag.CANCEL_RESTING)
_GTC = int(TimeInForce.GTC)


@inner
def reserved_change(state, market, moved, slot, instead):
    """Return the change of reserved collateral if the position moves by `moved` and the order in
    `slot` is replaced by `instead`, (side, rank, left)."""
    at = position_at(market)
    wanted = required(state, base_of(state, market), state[at + POSITION] + moved, slot, instead)
    return wanted - state[at + POSITION_RESERVED]


@inner
def end_order(run, market, slot, reason, cause):
    """End an open order: CANCELED for `reason`, or EXPIRED where there is none."""
    state = run.state
    base = base_of(state, market)
    row = draft(run, market, _CANCELED if reason != _NONE else _EXPIRED, cause)
    describe(row, state, base, slot)
    if reason != _NONE:
        row["qty"] = state[slot_at(state, base, slot) + LEFT]
    row["left"] = 0
    row["reason"] = reason
    row["reserved"] = reserved_change(state, market, 0, slot, (0, 0, 0))
    publish(run)


@inner
def fill(run, market, slot, offer, cause):
    """Fill an order with what is offered; return whether the account could pay.

    If it cannot, the order is canceled instead.
    """
    state = run.state
    base = base_of(state, market)
    at = slot_at(state, base, slot)
    side = state[at + SIDE]
    left = state[at + LEFT] - offer.qty
    is_maker = 1 if offer.liquidity == _MAKER else 0
    cash = fill_cash(state[position_at(market) + POSITION], side, offer.price, offer.qty)
    terms = (offer.price, offer.qty, cash, is_maker)
    fee, carry = net_fee(state, run.tables, base, terms, state[at + CARRY])
    moved = offer.qty if side == 0 else -offer.qty
    reserved = reserved_change(state, market, moved, slot, (side, state[at + RANK], left))
    returned = returned_change(state, market, moved)
    if state[CASH] + cash - fee + returned - state[RESERVED] - reserved < 0:
        end_order(run, market, slot, _MARGIN, cause)
        return False
    row = draft(run, market, _FILL, cause)
    describe(row, state, base, slot)
    row["price"] = offer.price
    row["qty"] = offer.qty
    row["left"] = left
    row["claim"] = offer.claim
    row["ahead"] = offer.ahead
    row["liquidity"] = offer.liquidity
    row["evidence"] = offer.evidence
    row["fee"] = fee
    row["carry"] = carry
    row["cash"] = cash
    row["reserved"] = reserved
    if offer.evidence == _QUEUE:
        row["guessed"] = state[at + GUESSED]
    if offer.takes_depth:
        row["flags"] = state[at + FLAGS] | _TAKES_DEPTH
    filled = publish(run)
    if returned != 0:
        return_collateral(run, market, returned, filled)
    return True


@inner
def return_collateral(run, market, cash, cause):
    """Return `cash` of what a market's event is sure to pay, or take it back where negative."""
    row = draft(run, market, _COLLATERAL_RETURNED, cause)
    row["cash"] = cash
    publish(run)


@inner
def walk(run, market, slot, cause):
    """Fill a marketable order against visible depth, at the resting prices, until it meets an own
    order; what is left of an IOC or FOK order is canceled."""
    state = run.state
    base = base_of(state, market)
    at = slot_at(state, base, slot)
    number = state[at + NUMBER]
    against = 1 - state[at + SIDE]
    if state[AVAILABILITY] > 0:
        _miss(run, market, slot, cause)
    least = state[base + TOP] - state[at + RANK]
    tif = state[at + TIF]
    here = 0
    taken_here = 0
    while state[at + NUMBER] == number:
        best = visible_best(state, base, against, state[base + BEST_BUY + against])
        own = state[base + OWN_BUY + against]
        if max(best, own) < least or max(best, own) == 0:
            break
        if best != here:
            here = best
            taken_here = 0
        claim = visible_at(state, base, against, best)
        offered = claim
        if own == best:
            first = slot_at(state, base, state[base + HEAD_BUY + against])
            offered = min(claim, max(0, state[first + AHEAD] - taken_here))
        if own > best or offered == 0:
            if state[at + FLAGS] & _CANCEL_RESTING == 0:
                end_order(run, market, slot, _TAKER_SELF_TRADE, cause)
                return
            end_order(run, market, state[base + HEAD_BUY + against], _MAKER_SELF_TRADE, cause)
            continue
        part = min(state[at + LEFT], offered)
        price = price_of(state, base, against, best)
        offer = Offer(part, price, claim, 0, _TAKER, _EVIDENCE_TAKER, True)
        if not fill(run, market, slot, offer, cause):
            return
        taken_here += part
    if tif != _GTC and state[at + NUMBER] == number:
        end_order(run, market, slot, _IMMEDIATE_OR_CANCEL, cause)


@inner
def _miss(run, market, slot, cause):
    """Draw whether the depth that a marketable order comes for is still there; if not, take it from
    the book: somebody else was faster."""
    state = run.state
    base = base_of(state, market)
    at = slot_at(state, base, slot)
    side = state[at + SIDE]
    least = state[base + TOP] - state[at + RANK]
    displayed = 0
    best = visible_best(state, base, 1 - side, state[base + BEST_BUY + 1 - side])
    while best > 0 and best >= least:
        displayed += visible_at(state, base, 1 - side, best)
        best = visible_best(state, base, 1 - side, best - 1)
    if displayed == 0:
        return
    ratio = muldiv(state[at + LEFT], PPM, displayed, 0)
    terms = (ratio, state[NOW] - state[base + LAST_AT], state[ROUND_TRIP])
    number = state[JOURNAL_COUNT] - 1
    if is_available(run.tables, state[AVAILABILITY], state[SEED], number, terms):
        return
    row = draft(run, market, _MISSED, cause)
    describe(row, state, base, slot)
    row["qty"] = displayed
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
            break
        following = state[at + NEXT]
        ahead = state[at + AHEAD] if own_rank == rank else 0
        beyond = rest - ahead
        if beyond > 0:
            part = min(state[at + LEFT], beyond)
            price = price_of(state, base, side, own_rank)
            evidence = _QUEUE if own_rank == rank else _THROUGH
            offer = Offer(part, price, beyond, ahead, _MAKER, evidence, False)
            if fill(run, market, slot, offer, cause):
                rest -= part
        slot = following
    check_groups(run)


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
            after = state[at + NEXT]
            price = price_of(state, base, side, rank)
            offer = Offer(part, price, claim, 0, _MAKER, evidence, True)
            if not fill(run, market, slot, offer, cause):
                following = after
            slot = following
    check_groups(run)


@inner
def check_groups(run):
    """Cancel the orders of every group whose window has reached its limit."""
    state = run.state
    if state[GROUPS_SET] == 0:
        return
    for group in range(1, state[GROUP_CAPACITY] + 1):
        at = group_at(state, group)
        if state[at + GROUP_LIMIT] == 0 or state[at + TRIGGERED] != 0:
            continue
        matched = matched_in_window(state, group, state[NOW])
        if matched < state[at + GROUP_LIMIT]:
            continue
        cause = (_CAUSE_JOURNAL, state[at + LAST_MARKET], state[at + LAST_ROW])
        row = draft(run, NO_MARKET, _GROUP_TRIGGERED, cause)
        row["group"] = group
        row["qty"] = matched
        cause = publish(run)
        for market in range(state[MARKETS]):
            cancel_every(run, market, _BY_GROUP, (0, group), cause)


@inner
def cancel_every(run, market, reason, which, cause):
    """Cancel the open orders of a market, by number, that have a flag and are of a group.

    which: (flag, group), 0 for any.
    """
    state = run.state
    base = base_of(state, market)
    flag, group = which
    while True:
        lowest = 0
        for side in range(2):
            slot = state[base + HEAD_BUY + side]
            while slot > 0:
                at = slot_at(state, base, slot)
                number = state[at + NUMBER]
                if (
                    state[at + FLAGS] & flag == flag
                    and (group == 0 or state[at + GROUP] == group)
                    and (lowest == 0 or number < state[slot_at(state, base, lowest) + NUMBER])
                ):
                    lowest = slot
                slot = state[at + NEXT]
        if lowest == 0:
            return
        end_order(run, market, lowest, reason, cause)


@inner
def settle(run, market, payout, is_void):
    """Settle a market, or correct that; then return what its event's other markets are now sure
    to pay."""
    pay_out(run, market, payout, is_void)
    state = run.state
    returned = returned_change(state, market, 0)
    if returned != 0:
        cause = (_CAUSE_TAPE, market, state[base_of(state, market) + ROWS] - 1)
        return_collateral(run, market, returned, cause)


@inner
def pay_out(run, market, payout, is_void):
    """Pay a position out at the price of one YES contract, or correct what was paid."""
    state = run.state
    at = position_at(market)
    position = state[at + SETTLED_POSITION]
    cost = state[at + SETTLED_COST]
    is_first = position == 0
    if is_first:
        position = state[at + POSITION]
        cost = state[at + COST]
    if position == 0:
        return
    payment = position * payout if position > 0 else -position * (PRICE_ONE - payout)
    fee = payment % CENT
    if is_void:
        payment = cost
        fee = 0
    if not is_first and payment == state[at + SETTLED_CASH] and fee == state[at + SETTLED_FEE]:
        return
    cause = (_CAUSE_TAPE, market, state[base_of(state, market) + ROWS] - 1)
    row = draft(run, market, _SETTLED, cause)
    row["side"] = 0 if position > 0 else 1
    row["price"] = payout
    row["qty"] = abs(position)
    row["cash"] = payment - state[at + SETTLED_CASH]
    row["fee"] = fee - state[at + SETTLED_FEE]
    publish(run)


@inner
def expire_first(run):
    """Expire the order that is due first: by (market, number) among those of the same time."""
    state = run.state
    due = state[DUE]
    for market in range(state[MARKETS]):
        slot = _first_due(state, base_of(state, market), due)
        if slot > 0:
            end_order(run, market, slot, _NONE, (_CAUSE_TIMER, NO_MARKET, 0))
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


@inner
def restore_first(run):
    """Give back what own fills took in the first market where that is due; return the market."""
    state = run.state
    market = 0
    while state[base_of(state, market) + RESTORE_AT] != state[DUE]:
        market += 1
    draft(run, market, _RESTORED, (_CAUSE_TIMER, NO_MARKET, 0))
    publish(run)
    return market
