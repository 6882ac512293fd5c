"""PositionTracker: positions, cost, realised profit, cash, fees and reserved collateral.

Folds journal rows alone, and holds nothing but its own words, so that anybody's projection that
follows the same rules arrives at the same bytes. Positions are signed, + YES and - NO; a fill
first closes what is held of the other outcome (a pair is worth one dollar at once), then opens.
"""

from __future__ import annotations

from ..compiled import inner
from ..schema import NO_MARKET, JournalKind
from ..units import PRICE_ONE
from .arithmetic import muldiv
from .layout import (
    ACCOUNT_END,
    CASH,
    COST,
    COSTS,
    FEES,
    POSITION,
    POSITION_FEES,
    POSITION_REALISED,
    POSITION_RESERVED,
    POSITION_RETURNED,
    POSITION_WORDS,
    REALISED,
    RESERVED,
    RETURNED,
    SETTLED_CASH,
    SETTLED_COST,
    SETTLED_FEE,
    SETTLED_POSITION,
)

_FILL = int(JournalKind.FILL)
_SETTLED = int(JournalKind.SETTLED)
_COLLATERAL_RETURNED = int(JournalKind.COLLATERAL_RETURNED)


@inner
def position_at(market):
    """Return the offset of a market's position words."""
    return ACCOUNT_END + POSITION_WORDS * market


@inner
def closing_part(position, side, qty):
    """Return how much of a fill closes what is held of the other outcome."""
    held = -position if side == 0 else position
    return min(qty, max(0, held))


@inner
def fill_cash(position, side, price, qty):
    """Return the change of cash by a fill, fee apart, $0.000001."""
    leg = price if side == 0 else PRICE_ONE - price
    closing = closing_part(position, side, qty)
    return (PRICE_ONE - leg) * closing - leg * (qty - closing)


@inner
def apply_position(state, row):
    """Fold one journal row."""
    market = row["market"]
    state[CASH] += row["cash"] - row["fee"]
    state[FEES] += row["fee"]
    if market == NO_MARKET:
        return
    at = position_at(market)
    state[RESERVED] += row["reserved"]
    state[at + POSITION_RESERVED] += row["reserved"]
    kind = row["kind"]
    if kind == _FILL:
        _fill(state, at, row)
    elif kind == _SETTLED:
        _settle(state, at, row)
    elif kind == _COLLATERAL_RETURNED:
        state[RETURNED] += row["cash"]
        state[at + POSITION_RETURNED] += row["cash"]


@inner
def _settle(state, at, row):
    """Fold a settlement: the first ends the position, later ones correct what it paid."""
    profit = row["cash"] - state[at + COST]
    if state[at + SETTLED_POSITION] == 0:
        state[at + SETTLED_POSITION] = state[at + POSITION]
        state[at + SETTLED_COST] = state[at + COST]
        state[COSTS] -= state[at + COST]
        state[at + POSITION] = 0
        state[at + COST] = 0
    state[at + SETTLED_CASH] += row["cash"]
    state[at + SETTLED_FEE] += row["fee"]
    state[at + POSITION_FEES] += row["fee"]
    state[at + POSITION_REALISED] += profit
    state[REALISED] += profit


@inner
def _fill(state, at, row):
    side = row["side"]
    qty = row["qty"]
    position = state[at + POSITION]
    leg = row["price"] if side == 0 else PRICE_ONE - row["price"]
    closing = closing_part(position, side, qty)
    cost = state[at + COST]
    if closing > 0:
        basis = muldiv(state[at + COST], closing, abs(position), 0)
        profit = (PRICE_ONE - leg) * closing - basis
        state[at + COST] -= basis
        state[at + POSITION_REALISED] += profit
        state[REALISED] += profit
    state[at + COST] += leg * (qty - closing)
    state[COSTS] += state[at + COST] - cost
    state[at + POSITION] = position + qty if side == 0 else position - qty
    state[at + POSITION_FEES] += row["fee"]
