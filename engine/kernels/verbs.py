"""What a compiled strategy may ask and do: the strategy protocol inside the fused loop.

`sim` is the Run that the strategy was given, `market` an index into Session.markets, prices and
quantities are in YES terms and the units of `units`. A mistake (an order number never issued, a
full slot table) in a command stops the run with a named error, and the verb returns 0. Order 0 is
no order, such as `best_order` finds where there is none: nothing is sent for it, and that is no
mistake. Questions are not checked: ask about markets below `markets(sim)` and sides 0 and 1.
"""

from __future__ import annotations

from ..compiled import inner, small
from ..schema import KEEP, NO_TIME, OrderFlag, TimeInForce
from .book import base_of, price_of, visible_at, visible_best
from .commands import amend as send_amend
from .commands import can_send, is_sendable
from .commands import cancel as send_cancel
from .commands import decrease as send_decrease
from .commands import submit as send_submit
from .desks import desk_at
from .flights import next_submitted
from .layout import (
    ANSWERS,
    BEST_BUY,
    CASH,
    CAUSE_KIND,
    CAUSE_MARKET,
    CAUSE_ROW,
    ERROR,
    ERROR_TERMS,
    FLIGHT_COUNT,
    HEAD_BUY,
    LEFT,
    MARKETS,
    MID2,
    NEXT,
    NOW,
    NUMBER,
    OF_ORDER,
    OF_PRICE,
    OF_QTY,
    POSITION,
    RANK,
    REQUESTS,
    RESERVED,
    SIGHT,
    SLACK,
    STATUS,
    TRUSTED,
)
from .loop import learn_answers
from .orders import next_of, slot_at
from .positions import position_at
from .refusals import ORDER_FLAGS, Command

PRICE_MAX = 1 << 30
"""A price beyond it, either way, cannot be sent."""
ROWS_OF_CANCEL = 2
"""Rows that a cancel writes at most: its request and what comes of it."""
_GTC = int(TimeInForce.GTC)
_REDUCE_TO = int(OrderFlag.REDUCE_TO)


@small
def _command(sim, market, order, terms):
    state = sim.state
    side, price, qty, tif, flags = terms
    return Command(
        market,
        order,
        side,
        price,
        qty,
        tif,
        flags,
        KEEP if order > 0 else NO_TIME,
        0,
        0,
        state[CAUSE_KIND],
        state[CAUSE_MARKET],
        state[CAUSE_ROW],
    )


@inner
def _answered(sim, order):
    """Show the agent the answers that are here at once; return the order."""
    if sim.seen[SIGHT] != 0:
        learn_answers(sim)
    return order


@inner
def submit(sim, market, side, price, qty):
    """Submit a GTC order; return its number within the market."""
    return submit_as(sim, market, side, (price, qty, _GTC, 0))


@inner
def submit_as(sim, market, side, terms):
    """Submit an order with terms (price, qty, TimeInForce, OrderFlag); return its number.

    A price of schema.KEEP is a market order, which the venue refuses.
    """
    if not is_sendable(sim, market, 0):
        return 0
    price, qty, tif, flags = terms
    is_known = 0 <= side <= 1 and 0 <= tif <= 2 and flags & ~ORDER_FLAGS == 0
    if not is_known or (abs(price) > PRICE_MAX and price != KEEP):
        sim.state[ERROR] = ERROR_TERMS
        return 0
    command = _command(sim, market, 0, (side, price, qty, tif, flags))
    return _answered(sim, send_submit(sim, command))


@inner
def amend(sim, market, order, price, qty):
    """Amend an order to a new price and total (schema.KEEP leaves one); return its number."""
    if order == 0 or not is_sendable(sim, market, order):
        return 0
    if abs(price) > PRICE_MAX and price != KEEP:
        sim.state[ERROR] = ERROR_TERMS
        return 0
    return _answered(sim, send_amend(sim, _command(sim, market, order, (0, price, qty, _GTC, 0))))


@inner
def cancel(sim, market, order):
    """Cancel an order by its number; return the number."""
    if order == 0 or not is_sendable(sim, market, order):
        return 0
    return _answered(sim, send_cancel(sim, _command(sim, market, order, (0, 0, 0, _GTC, 0))))


@inner
def decrease(sim, market, order, qty):
    """Take `qty` from an order by its number; return the number."""
    if order == 0 or not is_sendable(sim, market, order):
        return 0
    return _answered(sim, send_decrease(sim, _command(sim, market, order, (0, 0, qty, _GTC, 0))))


@inner
def decrease_to(sim, market, order, qty):
    """Take all but `qty` from an order by its number; return the number."""
    if order == 0 or not is_sendable(sim, market, order):
        return 0
    command = _command(sim, market, order, (0, 0, qty, _GTC, _REDUCE_TO))
    return _answered(sim, send_decrease(sim, command))


@inner
def cancel_all(sim, market):
    """Cancel every order of a market that is open or on its way: bids first, best first."""
    state = sim.state
    cause = (state[CAUSE_KIND], state[CAUSE_MARKET], state[CAUSE_ROW])
    cancel_all_as(sim, market, cause)


@inner
def cancel_all_as(sim, market, cause):
    """Do what `cancel_all` does, with a cause; return whether all could be sent."""
    state = sim.state
    seen = sim.seen
    rows = state[SLACK] + ROWS_OF_CANCEL * seen[FLIGHT_COUNT]
    if not can_send(sim, market, rows):
        return False
    base = base_of(seen, market)
    for side in range(2):
        slot = next_of(seen, base, seen[base + HEAD_BUY + side], True)
        while slot > 0:
            at = slot_at(seen, base, slot)
            slot = next_of(seen, base, seen[at + NEXT], True)
            if not _cancel_as(sim, market, seen[at + NUMBER], cause):
                return False
        flight = next_submitted(seen, market, side, 0)
        while flight > 0:
            if not _cancel_as(sim, market, seen[flight + OF_ORDER], cause):
                return False
            flight = next_submitted(seen, market, side, flight)
    return True


@inner
def _cancel_as(sim, market, order, cause):
    if not can_send(sim, market, ROWS_OF_CANCEL):
        return False
    kind, cause_market, row = cause
    terms = (0, 0, 0, _GTC, 0, NO_TIME, 0, 0)
    send_cancel(sim, Command(market, order, *terms, kind, cause_market, row))
    if sim.seen[SIGHT] != 0:
        learn_answers(sim)
    return True


@small
def in_flight(sim, market):
    """Return how many commands of a market have been sent and are not known to be answered."""
    desk = desk_at(sim.state, market)
    return sim.state[desk + REQUESTS] - sim.seen[desk + ANSWERS]


@small
def now(sim):
    """Return the time, ns."""
    return sim.state[NOW]


@small
def markets(sim):
    """Return the number of markets."""
    return sim.seen[MARKETS]


@small
def is_open(sim, market):
    """Return whether the market trades and its book is trusted."""
    base = base_of(sim.seen, market)
    return sim.seen[base + STATUS] == 0 and sim.seen[base + TRUSTED] == 1


@small
def best(sim, market, side):
    """Return the visible best price of a side; 0 or one dollar where there is none."""
    state = sim.seen
    base = base_of(state, market)
    return price_of(
        state, base, side, visible_best(state, base, side, state[base + BEST_BUY + side])
    )


@small
def best_qty(sim, market, side):
    """Return the visible quantity at the best price of a side."""
    state = sim.seen
    base = base_of(state, market)
    return visible_at(
        state, base, side, visible_best(state, base, side, state[base + BEST_BUY + side])
    )


@small
def mid2(sim, market):
    """Return twice the mid of the visible book."""
    return best(sim, market, 0) + best(sim, market, 1)


@small
def mark2(sim, market):
    """Return twice the mid at which the market is marked: of the recorded book, last trusted."""
    return sim.seen[base_of(sim.seen, market) + MID2]


@small
def position(sim, market):
    """Return the signed position, + YES and - NO."""
    return sim.seen[position_at(market) + POSITION]


@small
def available(sim):
    """Return cash that is not reserved."""
    return sim.seen[CASH] - sim.seen[RESERVED]


@inner
def best_order(sim, market, side):
    """Return the number of the first own order of a side; 0 if there is none.

    Orders that are known to be open come first, then those on their way.
    """
    state = sim.seen
    base = base_of(state, market)
    slot = state[base + HEAD_BUY + side]
    if slot > 0:
        return state[slot_at(state, base, slot) + NUMBER]
    at = next_submitted(state, market, side, 0)
    return state[at + OF_ORDER] if at > 0 else 0


@inner
def best_order_price(sim, market, side):
    """Return the price of that order; 0 if there is none."""
    state = sim.seen
    base = base_of(state, market)
    slot = state[base + HEAD_BUY + side]
    if slot > 0:
        return price_of(state, base, side, state[slot_at(state, base, slot) + RANK])
    at = next_submitted(state, market, side, 0)
    return state[at + OF_PRICE] if at > 0 else 0


@inner
def open_qty(sim, market, side):
    """Return the open quantity of own orders of a side, those on their way included."""
    state = sim.seen
    base = base_of(state, market)
    total = 0
    slot = state[base + HEAD_BUY + side]
    while slot > 0:
        at = slot_at(state, base, slot)
        total += state[at + LEFT]
        slot = state[at + NEXT]
    at = next_submitted(state, market, side, 0)
    while at > 0:
        total += state[at + OF_QTY]
        at = next_submitted(state, market, side, at)
    return total
