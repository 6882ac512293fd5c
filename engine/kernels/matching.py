"""What the venue does with resting orders: match, cancel, expire and settle them.

The rules are those of docs/semantics.md, sections 3 to 7. This file decides and publishes; all
state changes by folding the published rows.
"""

from __future__ import annotations

from ..compiled import inner
from ..fees import CENT
from ..schema import (
    NO_MARKET,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    Reason,
)
from ..units import PRICE_ONE
from .book import base_of, price_of, visible_at, visible_best
from .collateral import returned_change
from .desks import shift_of, use
from .fills import Offer, end_order, fill, return_collateral
from .groups import group_at, matched_in_window
from .journal import draft, publish
from .layout import (
    ACCOUNT,
    ACCOUNTS,
    AHEAD,
    BEST_BUY,
    COST,
    DUE,
    EXPIRES,
    FLAGS,
    GROUP,
    GROUP_CAPACITY,
    GROUPS_SET,
    HEAD_BUY,
    LAST_MARKET,
    LAST_ROW,
    LEFT,
    MARKETS,
    NEXT,
    NOW,
    NUMBER,
    OWNER,
    POSITION,
    RANK,
    RESTORE_AT,
    ROWS,
    SETTLED_CASH,
    SETTLED_COST,
    SETTLED_FEE,
    SETTLED_POSITION,
    TOP,
    TRADES,
    TRIGGERED,
    WINDOW_LIMIT,
)
from .orders import slot_at
from .positions import position_at

_SETTLED = int(JournalKind.SETTLED)
_RESTORED = int(JournalKind.RESTORED)
_GROUP_TRIGGERED = int(JournalKind.GROUP_TRIGGERED)
_NONE = int(Reason.NONE)
_BY_GROUP = int(Reason.GROUP_TRIGGERED)
_CAUSE_TAPE = int(CauseKind.TAPE)
_CAUSE_JOURNAL = int(CauseKind.JOURNAL)
_CAUSE_TIMER = int(CauseKind.TIMER)
_MAKER = int(Liquidity.MAKER)
_THROUGH = int(Evidence.THROUGH)
_QUEUE = int(Evidence.QUEUE)
_BEYOND = int(Evidence.BEYOND)


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
    for account in range(run.state[ACCOUNTS]):
        if run.state[shift_of(run.state, account) + GROUPS_SET] > 0:
            use(run.state, account)
            _check_groups(run)


@inner
def _check_groups(run):
    """Do that for the account in use."""
    state = run.state
    for group in range(1, state[GROUP_CAPACITY] + 1):
        at = group_at(state, group)
        if state[at + WINDOW_LIMIT] == 0 or state[at + TRIGGERED] != 0:
            continue
        matched = matched_in_window(state, group, state[NOW])
        if matched < state[at + WINDOW_LIMIT]:
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

    which: (flag, group), 0 for any; a group is that of the account in use.
    """
    state = run.state
    base = base_of(state, market)
    flag, group = which
    account = state[ACCOUNT]
    while True:
        lowest = 0
        for side in range(2):
            slot = state[base + HEAD_BUY + side]
            while slot > 0:
                at = slot_at(state, base, slot)
                number = state[at + NUMBER]
                is_in = state[at + GROUP] == group and state[at + OWNER] == account
                if (
                    state[at + FLAGS] & flag == flag
                    and (group == 0 or is_in)
                    and (lowest == 0 or number < state[slot_at(state, base, lowest) + NUMBER])
                ):
                    lowest = slot
                slot = state[at + NEXT]
        if lowest == 0:
            return
        end_order(run, market, lowest, reason, cause)


@inner
def settle(run, market, payout, is_void):
    """Settle a market for each account, or correct that; then return what its event's other
    markets are now sure to pay."""
    state = run.state
    for account in range(state[ACCOUNTS]):
        use(state, account)
        pay_out(run, market, payout, is_void)
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
    use(state, 0)
    draft(run, market, _RESTORED, (_CAUSE_TIMER, NO_MARKET, 0))
    publish(run)
    return market
