"""Collateral that an event returns: what NO positions in its markets are sure to pay (SPEC 6.4).

Of the markets of a mutually exclusive event no more than one pays YES. So all NO positions in them
pay a dollar each but the one that loses, and the account has what the worst case leaves at once.
Questions to the state alone; `matching` publishes the change.
"""

from __future__ import annotations

from ..compiled import inner
from ..units import PRICE_ONE
from .book import base_of
from .layout import EVENT, PAID, PEER, POSITION, POSITION_RETURNED
from .positions import position_at


@inner
def returned_change(state, market, moved):
    """Return the change of what a market's event has returned, $0.000001, if the position in it
    moves by `moved`; 0 if its event returns nothing."""
    first = state[base_of(state, market) + EVENT]
    return _change(state, first - 1, market, moved) if first > 0 else 0


@inner
def _change(state, first, market, moved):
    held = 0
    largest = 0
    # What YES contracts of the markets that have not settled can pay, together.
    open_payout = PRICE_ONE
    returned = 0
    other = first
    while True:
        at = position_at(other)
        base = base_of(state, other)
        qty = -state[at + POSITION]
        if other == market:
            qty -= moved
        held += max(0, qty)
        largest = max(largest, qty)
        open_payout -= state[base + PAID]
        returned += state[at + POSITION_RETURNED]
        other = state[base + PEER]
        if other == 0:
            return PRICE_ONE * held - max(0, open_payout) * largest - returned
