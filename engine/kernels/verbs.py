"""What a compiled strategy may ask and do: the strategy protocol inside the fused loop.

`sim` is the Run that the strategy was given, `market` an index into Session.markets, prices and
quantities are in YES terms and the units of `units`. A mistake (an order number never issued, a
full slot table) stops the run with a named error, and the verb returns 0.
"""

from __future__ import annotations

from ..compiled import inner, small
from ..schema import KEEP, NO_TIME, TimeInForce
from . import matching
from .book import base_of, price_of, visible_at, visible_best
from .layout import (
    BEST_BUY,
    CASH,
    CAUSE_KIND,
    CAUSE_MARKET,
    CAUSE_ROW,
    ERROR,
    ERROR_BUFFER,
    ERROR_MARKET,
    ERROR_NONE,
    ERROR_ORDER,
    ERROR_SLOTS,
    ERROR_TERMS,
    FREE,
    HEAD_BUY,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    LEFT,
    MARKETS,
    MID2,
    NEXT,
    NOW,
    NUMBER,
    NUMBERS,
    ORDER_CAPACITY,
    POSITION,
    RANK,
    RESERVED,
    STATUS,
    TOP,
    TRUSTED,
)
from .orders import slot_at
from .positions import position_at

PRICE_MAX = 1 << 30
"""A price beyond it, either way, cannot be sent."""
_GTC = int(TimeInForce.GTC)


@small
def _command(sim, market, order, terms):
    state = sim.state
    side, price, qty, tif, flags = terms
    return matching.Command(
        market,
        order,
        side,
        price,
        qty,
        tif,
        flags,
        NO_TIME,
        0,
        state[CAUSE_KIND],
        state[CAUSE_MARKET],
        state[CAUSE_ROW],
    )


@small
def _is_sendable(sim, market, order):
    """Whether a command can be sent at all; else note the error."""
    state = sim.state
    if market < 0 or market >= state[MARKETS]:
        state[ERROR] = ERROR_MARKET
        return False
    base = base_of(state, market)
    room = len(sim.rows) - (state[JOURNAL_COUNT] - state[JOURNAL_BASE])
    if state[ERROR] != ERROR_NONE:
        return False
    if room < 2 * state[ORDER_CAPACITY] + state[base + TOP] + 17:
        state[ERROR] = ERROR_BUFFER
    elif order == 0 and state[base + FREE] == 0:
        state[ERROR] = ERROR_SLOTS
    elif order < 0 or order > state[base + NUMBERS]:
        state[ERROR] = ERROR_ORDER
    return state[ERROR] == ERROR_NONE


@inner
def submit(sim, market, side, price, qty):
    """Submit a GTC order; return its number within the market."""
    return submit_as(sim, market, side, (price, qty, _GTC, 0))


@inner
def submit_as(sim, market, side, terms):
    """Submit an order with terms (price, qty, TimeInForce, OrderFlag); return its number."""
    if not _is_sendable(sim, market, 0):
        return 0
    price, qty, tif, flags = terms
    if side < 0 or side > 1 or abs(price) > PRICE_MAX or tif < 0 or tif > 2 or flags & ~3:
        sim.state[ERROR] = ERROR_TERMS
        return 0
    return matching.submit(sim, _command(sim, market, 0, (side, price, qty, tif, flags)))


@inner
def amend(sim, market, order, price, qty):
    """Amend an order to a new price and total (schema.KEEP leaves one); return its number."""
    if order == 0 or not _is_sendable(sim, market, order):
        return 0
    if abs(price) > PRICE_MAX and price != KEEP:
        sim.state[ERROR] = ERROR_TERMS
        return 0
    return matching.amend(sim, _command(sim, market, order, (0, price, qty, _GTC, 0)))


@inner
def cancel(sim, market, order):
    """Cancel an order by its number; return the number."""
    if order == 0 or not _is_sendable(sim, market, order):
        return 0
    return matching.cancel(sim, _command(sim, market, order, (0, 0, 0, _GTC, 0)))


@inner
def cancel_all(sim, market):
    """Cancel every open order of a market, bids first, best first."""
    base = base_of(sim.state, market)
    for side in range(2):
        while sim.state[base + HEAD_BUY + side] > 0:
            order = best_order(sim, market, side)
            if cancel(sim, market, order) == 0 or best_order(sim, market, side) == order:
                return


@small
def now(sim):
    """Return the time, ns."""
    return sim.state[NOW]


@small
def markets(sim):
    """Return the number of markets."""
    return sim.state[MARKETS]


@small
def is_open(sim, market):
    """Return whether the market trades and its book is trusted."""
    base = base_of(sim.state, market)
    return sim.state[base + STATUS] == 0 and sim.state[base + TRUSTED] == 1


@small
def best(sim, market, side):
    """Return the visible best price of a side; 0 or one dollar where there is none."""
    state = sim.state
    base = base_of(state, market)
    return price_of(
        state, base, side, visible_best(state, base, side, state[base + BEST_BUY + side])
    )


@small
def best_qty(sim, market, side):
    """Return the visible quantity at the best price of a side."""
    state = sim.state
    base = base_of(state, market)
    return visible_at(
        state, base, side, visible_best(state, base, side, state[base + BEST_BUY + side])
    )


@small
def mid2(sim, market):
    """Return twice the mid at which the market is marked."""
    return sim.state[base_of(sim.state, market) + MID2]


@small
def position(sim, market):
    """Return the signed position, + YES and - NO."""
    return sim.state[position_at(market) + POSITION]


@small
def available(sim):
    """Return cash that is not reserved."""
    return sim.state[CASH] - sim.state[RESERVED]


@small
def best_order(sim, market, side):
    """Return the number of the first own open order of a side; 0 if there is none."""
    state = sim.state
    base = base_of(state, market)
    slot = state[base + HEAD_BUY + side]
    return state[slot_at(state, base, slot) + NUMBER] if slot > 0 else 0


@small
def best_order_price(sim, market, side):
    """Return the price of the first own open order of a side; 0 if there is none."""
    state = sim.state
    base = base_of(state, market)
    slot = state[base + HEAD_BUY + side]
    if slot == 0:
        return 0
    return price_of(state, base, side, state[slot_at(state, base, slot) + RANK])


@inner
def open_qty(sim, market, side):
    """Return the open quantity of own orders of a side."""
    state = sim.state
    base = base_of(state, market)
    total = 0
    slot = state[base + HEAD_BUY + side]
    while slot > 0:
        at = slot_at(state, base, slot)
        total += state[at + LEFT]
        slot = state[at + NEXT]
    return total
