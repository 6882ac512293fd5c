"""What becomes of one order: it is filled, with what that does to its account's money, or ends.

Whoever fills or ends an order has put its account to use when it returns. This file decides and
publishes; all state changes by folding the published rows (docs/semantics.md, sections 5 and 6).
"""

from __future__ import annotations

from typing import NamedTuple

from ..compiled import inner
from ..schema import (
    Evidence,
    JournalKind,
    Liquidity,
    OrderFlag,
    Reason,
)
from .book import base_of
from .collateral import returned_change
from .desks import use
from .fees import net_fee
from .journal import describe, draft, publish
from .layout import (
    CARRY,
    CASH,
    FLAGS,
    GUESSED,
    LEFT,
    OWNER,
    POSITION,
    POSITION_RESERVED,
    RANK,
    RESERVED,
    SIDE,
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


class Bill(NamedTuple):
    """What a fill does to the money of the order's account; see the fields of a FILL row. returned:
    collateral that comes back with it. is_paid: whether the account can pay."""

    cash: int
    fee: int
    carry: int
    reserved: int
    returned: int
    is_paid: bool


_CANCELED = int(JournalKind.CANCELED)
_EXPIRED = int(JournalKind.EXPIRED)
_FILL = int(JournalKind.FILL)
_COLLATERAL_RETURNED = int(JournalKind.COLLATERAL_RETURNED)
_NONE = int(Reason.NONE)
_MARGIN = int(Reason.MARGIN)
_MAKER = int(Liquidity.MAKER)
_QUEUE = int(Evidence.QUEUE)
_BY_ACCOUNT = int(Evidence.ACCOUNT)
_TAKES_DEPTH = int(OrderFlag.TAKES_DEPTH)


@inner
def reserved_change(state, market, moved, slot, instead):
    """Return the change of reserved collateral if the position of the account in use moves by
    `moved` and the order in `slot` is replaced by `instead`, (side, rank, left)."""
    at = position_at(market)
    wanted = required(state, base_of(state, market), state[at + POSITION] + moved, slot, instead)
    return wanted - state[at + POSITION_RESERVED]


@inner
def end_order(run, market, slot, reason, cause):
    """End an open order: CANCELED for `reason`, or EXPIRED where there is none."""
    state = run.state
    base = base_of(state, market)
    use(state, state[slot_at(state, base, slot) + OWNER])
    row = draft(run, market, _CANCELED if reason != _NONE else _EXPIRED, cause)
    describe(row, state, base, slot)
    if reason != _NONE:
        row["qty"] = state[slot_at(state, base, slot) + LEFT]
    row["left"] = 0
    row["reason"] = reason
    row["reserved"] = reserved_change(state, market, 0, slot, (0, 0, 0))
    publish(run)


@inner
def bill_of(run, market, slot, offer):
    """Put the account of an order to use; return what a fill with an offer does to its money."""
    state = run.state
    base = base_of(state, market)
    at = slot_at(state, base, slot)
    use(state, state[at + OWNER])
    side = state[at + SIDE]
    left = state[at + LEFT] - offer.qty
    is_maker = 1 if offer.liquidity == _MAKER else 0
    cash = fill_cash(state[position_at(market) + POSITION], side, offer.price, offer.qty)
    terms = (offer.price, offer.qty, cash, is_maker)
    fee, carry = net_fee(state, run.tables, base, terms, state[at + CARRY])
    moved = offer.qty if side == 0 else -offer.qty
    reserved = reserved_change(state, market, moved, slot, (side, state[at + RANK], left))
    returned = returned_change(state, market, moved)
    is_paid = state[CASH] + cash - fee + returned - state[RESERVED] - reserved >= 0
    return Bill(cash, fee, carry, reserved, returned, is_paid)


@inner
def fill(run, market, slot, offer, cause):
    """Fill an order with what is offered; return whether its account could pay.

    If it cannot, the order is canceled instead.
    """
    state = run.state
    base = base_of(state, market)
    at = slot_at(state, base, slot)
    bill = bill_of(run, market, slot, offer)
    if not bill.is_paid:
        end_order(run, market, slot, _MARGIN, cause)
        return False
    row = draft(run, market, _FILL, cause)
    describe(row, state, base, slot)
    row["price"] = offer.price
    row["qty"] = offer.qty
    row["left"] = state[at + LEFT] - offer.qty
    row["claim"] = offer.claim
    row["ahead"] = offer.ahead
    row["liquidity"] = offer.liquidity
    row["evidence"] = offer.evidence
    row["fee"] = bill.fee
    row["carry"] = bill.carry
    row["cash"] = bill.cash
    row["reserved"] = bill.reserved
    if offer.evidence == _QUEUE or (offer.evidence == _BY_ACCOUNT and offer.liquidity == _MAKER):
        row["guessed"] = state[at + GUESSED]
    if offer.takes_depth:
        row["flags"] = state[at + FLAGS] | _TAKES_DEPTH
    filled = publish(run)
    if bill.returned != 0:
        return_collateral(run, market, bill.returned, filled)
    return True


@inner
def return_collateral(run, market, cash, cause):
    """Return `cash` of what a market's event is sure to pay, or take it back where negative."""
    row = draft(run, market, _COLLATERAL_RETURNED, cause)
    row["cash"] = cash
    publish(run)
