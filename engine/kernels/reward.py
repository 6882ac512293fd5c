"""RewardCalculator: what the portfolio is worth at the stated mark, and how far it fell.

Reward between two moments is the difference of `portfolio_value`, so it does not depend on how a
run is cut into steps. Values are taken at the end of each burst and each command, never inside.
"""

from __future__ import annotations

from ..compiled import inner
from ..schema import Mark
from ..units import PRICE_ONE
from .arithmetic import position_value
from .book import is_live, price_of, visible_at, visible_best
from .desks import desk_at, shift_of
from .fees import trade_fee
from .layout import (
    ACCOUNT,
    ACCOUNTS,
    BEST_BUY,
    BEST_SELL,
    CASH,
    DIRTY,
    DRAWDOWN,
    MARK_MODE,
    MID2,
    PEAK,
    POSITION,
    POSITIONS_VALUE,
    RETURNED,
    TICK,
    TOP,
    VALUE,
)
from .positions import position_at

_CLOSE = int(Mark.CLOSE)


@inner
def portfolio_value(state):
    """Return cash and positions at the mark, $0.000001; what they have returned is owed."""
    return state[CASH] + state[POSITIONS_VALUE] - state[RETURNED]


@inner
def revalue(state, tables, base, market):
    """Mark a market anew, and the portfolio of every account with it."""
    state[DIRTY] = 0
    live = is_live(state, base)
    if live:
        state[base + MID2] = (
            state[base + BEST_BUY] + state[base + TOP] - state[base + BEST_SELL]
        ) * state[base + TICK]
    is_closing = live and state[MARK_MODE] == _CLOSE
    _revalue_one(state, tables, base, market, (0, is_closing))
    if state[ACCOUNTS] > 1:
        for account in range(state[ACCOUNTS]):
            if account != state[ACCOUNT]:
                _revalue_one(state, tables, base, market, (shift_of(state, account), is_closing))


@inner
def _revalue_one(state, tables, base, market, how):
    """Value the position of an account; how: (where its words are shifted, whether at close)."""
    shift, is_closing = how
    position = state[shift + position_at(market) + POSITION]
    if is_closing:
        value = _closing_value(state, tables, base, position)
    else:
        value = position_value(position, state[base + MID2])
    desk = shift + desk_at(state, market)
    state[shift + POSITIONS_VALUE] += value - state[desk + VALUE]
    state[desk + VALUE] = value
    total = state[shift + CASH] + state[shift + POSITIONS_VALUE] - state[shift + RETURNED]
    if total > state[shift + PEAK]:
        state[shift + PEAK] = total
    if state[shift + PEAK] - total > state[shift + DRAWDOWN]:
        state[shift + DRAWDOWN] = state[shift + PEAK] - total


@inner
def _closing_value(state, tables, base, position):
    """What closing the position now into displayed depth would pay, taker fees deducted."""
    against = 0 if position > 0 else 1
    left = abs(position)
    value = 0
    rank = visible_best(state, base, against, state[base + BEST_BUY + against])
    while left > 0 and rank > 0:
        part = min(left, visible_at(state, base, against, rank))
        price = price_of(state, base, against, rank)
        value += part * (price if against == 0 else PRICE_ONE - price)
        value -= trade_fee(state, tables, base, price, part)
        left -= part
        rank = visible_best(state, base, against, rank - 1)
    return value
