"""The walk of an order that can trade at once: displayed depth, and the orders that it meets.

The rules are those of docs/semantics.md, sections 3, 12 and 13.
"""

from __future__ import annotations

from ..compiled import inner
from ..schema import (
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    OrderFlag,
    Reason,
    TimeInForce,
)
from ..units import PPM
from .arithmetic import muldiv
from .book import base_of, price_of, visible_at, visible_best
from .delays import is_available
from .fills import Offer, bill_of, end_order, fill
from .journal import describe, draft, publish
from .layout import (
    AHEAD,
    AVAILABILITY,
    BEST_BUY,
    FLAGS,
    HEAD_BUY,
    JOURNAL_COUNT,
    JOURNALED,
    LAST_AT,
    LEFT,
    NOW,
    NUMBER,
    OWN_BUY,
    OWNER,
    RANK,
    ROUND_TRIP,
    SEED,
    SIDE,
    TIF,
    TOP,
)
from .orders import slot_at

_MISSED = int(JournalKind.MISSED)
_IMMEDIATE_OR_CANCEL = int(Reason.IMMEDIATE_OR_CANCEL)
_TAKER_SELF_TRADE = int(Reason.TAKER_SELF_TRADE)
_MAKER_SELF_TRADE = int(Reason.MAKER_SELF_TRADE)
_MARGIN = int(Reason.MARGIN)
_CAUSE_JOURNAL = int(CauseKind.JOURNAL)
_TAKER = int(Liquidity.TAKER)
_MAKER = int(Liquidity.MAKER)
_EVIDENCE_TAKER = int(Evidence.TAKER)
_BY_ACCOUNT = int(Evidence.ACCOUNT)
_CANCEL_RESTING = int(OrderFlag.CANCEL_RESTING)
_GTC = int(TimeInForce.GTC)


@inner
def walk(run, market, slot, cause):
    """Fill a marketable order against visible depth and the orders of other accounts, at the
    resting prices, until it meets an own order; what is left of an IOC or FOK order is canceled."""
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
        first = state[base + HEAD_BUY + against]
        if own == best:
            met = slot_at(state, base, first)
            # Of another account's order the journal has counted already what was taken before it.
            passed = taken_here if state[met + OWNER] == state[at + OWNER] else 0
            offered = min(claim, max(0, state[met + AHEAD] - passed))
        if own > best or offered == 0:
            if not _meet(run, market, slot, first, cause):
                return
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
def _meet(run, market, slot, resting, cause):
    """Let a walking order meet a resting one: of its own account one of them is canceled, with
    another they trade. Return whether the walk goes on."""
    state = run.state
    base = base_of(state, market)
    at = slot_at(state, base, slot)
    met = slot_at(state, base, resting)
    if state[met + OWNER] == state[at + OWNER]:
        if state[at + FLAGS] & _CANCEL_RESTING == 0:
            end_order(run, market, slot, _TAKER_SELF_TRADE, cause)
            return False
        end_order(run, market, resting, _MAKER_SELF_TRADE, cause)
        return True
    asked = state[at + LEFT]
    offered = state[met + LEFT]
    part = min(asked, offered)
    price = price_of(state, base, state[met + SIDE], state[met + RANK])
    sale = Offer(part, price, asked, 0, _MAKER, _BY_ACCOUNT, False)
    if not bill_of(run, market, resting, sale).is_paid:
        end_order(run, market, resting, _MARGIN, cause)
        return True
    taker_row = (_CAUSE_JOURNAL, market, state[base + JOURNALED])
    purchase = Offer(part, price, offered, 0, _TAKER, _BY_ACCOUNT, False)
    if not fill(run, market, slot, purchase, cause):
        return False
    fill(run, market, resting, sale, taker_row)
    return True


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
