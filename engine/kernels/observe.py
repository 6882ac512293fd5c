"""What an agent observes: the shared features of its moment, and its own account and orders.

The shared ones are looked up in the columns of the tape (see `features`); those of the book are
worked out again where own fills have taken part of it. Formulas: docs/observations.md.
"""

from __future__ import annotations

from ..compiled import inner, small
from ..schema import NO_TIME
from ..units import PRICE_ONE, SECOND
from .book import base_of, price_of, visible_best
from .codecs import own_order
from .desks import desk_at
from .features import (
    SHARED_FEATURES,
    depth_features,
    is_of_depth,
    size_feature,
    touch_features,
)
from .fees import trade_fee
from .layout import (
    AHEAD,
    AHEAD_UNKNOWN,
    BEST_BUY,
    CASH,
    CLOSES_AT,
    COST,
    HEAD_BUY,
    LAST_AT,
    MARKETS,
    MID2,
    NEXT,
    NOW,
    NUMBER,
    POSITION,
    POSITIONS_VALUE,
    RESERVED,
    RETURNED,
    ROWS,
    VALUE,
)
from .orders import slot_at
from .positions import position_at

# Features of the agent, numbered behind the shared ones.
(
    SINCE_CHANGE,
    CASH_SHARE,
    POSITION_SHARE,
    POSITIONS,
    MEAN_POSITION,
    LONG_SHARE,
    SHORT_SHARE,
    NET_BIAS,
    CONCENTRATION,
    LARGEST_POSITION,
    UNREALISED_SHARE,
    DIVERSITY,
    LEVERAGE,
    HAS_BUY,
    HAS_SELL,
    BUY_DISTANCE,
    SELL_DISTANCE,
    SINCE_ORDER,
    INVENTORY,
    BUY_SIZE,
    SELL_SIZE,
    BUY_AHEAD,
    SELL_AHEAD,
    EXIT_FEE,
    EXIT_COST,
    TO_CLOSE,
    ELAPSED,
) = range(SHARED_FEATURES, SHARED_FEATURES + 27)
FEATURES = ELAPSED + 1

# What a recipe says of each observed number: see `observe`.
COLUMN, BOOK, AGENT = range(3)

_CONTRACT = 100
_SINCE = 300.0
"""Seconds that count as long ago."""
_TO_CLOSE = 3600.0
_INVENTORY = 100.0 * _CONTRACT


@small
def _share(part, whole):
    return min(max(part / whole, -1.0), 1.0) if whole > 0 else 0.0


@inner
def observe(run, market, columns, recipe, times, scratch, out):
    """Write an observation of one market, float32.

    columns: shared features, a row for each event of each market, one market after the other.
    recipe: int64 pairs (COLUMN or BOOK or AGENT, number): a column that holds the feature of that
    number, a feature of the book, in column `k` unless the agent has taken of it, or one of the
    agent; and behind them the row of `columns` at which each market begins. times: (last order,
    start of the episode, whether own fills have taken depth), ns. scratch: float64, as long as
    BOOK_FEATURES.
    """
    seen = run.seen
    base = base_of(seen, market)
    # Nothing of a market is known before its first event.
    rows = seen[base + ROWS]
    at = recipe[2 * len(out) + market] + rows - 1
    takes = times[2] != 0 and rows > 0
    has_depth = False
    if takes:
        touch_features(seen, base, scratch)
    column = 0
    for k in range(len(out)):
        kind = recipe[2 * k]
        feature = recipe[2 * k + 1]
        if kind == AGENT:
            out[k] = agent_feature(run, market, feature, times)
            continue
        out[k] = columns[at, column] if rows > 0 else 0.0
        column += 1
        if kind == BOOK and takes:
            if is_of_depth(feature) and not has_depth:
                depth_features(seen, base, scratch)
                has_depth = True
            out[k] = scratch[feature]


@inner
def agent_feature(run, market, feature, times):
    """Return one feature of the agent: of its account, or of what it has in one market."""
    if feature >= HAS_BUY:
        return _order_feature(run, market, feature, times)
    seen = run.seen
    base = base_of(seen, market)
    at = position_at(market)
    position = seen[at + POSITION]
    worth = seen[desk_at(seen, market) + VALUE]
    value = seen[CASH] + seen[POSITIONS_VALUE] - seen[RETURNED]
    result = 0.0
    if feature == SINCE_CHANGE:
        result = min((seen[NOW] - seen[base + LAST_AT]) / (_SINCE * SECOND), 1.0)
    elif feature == CASH_SHARE:
        result = max(_share(seen[CASH] - seen[RESERVED], value), 0.0)
    elif feature == POSITION_SHARE:
        result = _share(worth, value)
    elif feature == LONG_SHARE:
        result = _share(worth, value) if position > 0 else 0.0
    elif feature == SHORT_SHARE:
        result = _share(worth, value) if position < 0 else 0.0
    elif feature == NET_BIAS:
        result = 0.0 if position == 0 else (1.0 if position > 0 else -1.0)
    elif feature == UNREALISED_SHARE:
        result = _share(worth - seen[at + COST], value)
    elif feature == LEVERAGE:
        result = min(abs(_share(seen[POSITIONS_VALUE] + seen[RESERVED], value)) / 2.0, 1.0)
    else:
        result = _portfolio_feature(seen, feature)
    return result


@inner
def _portfolio_feature(seen, feature):
    """Return one feature of how what is held is spread over the markets."""
    held = 0
    largest = 0
    total = 0
    squares = 0.0
    for market in range(seen[MARKETS]):
        position = abs(seen[position_at(market) + POSITION])
        if position != 0:
            held += 1
            total += position
            largest = max(largest, position)
            squares += float(position) * float(position)
    result = 0.0
    if held == 0:
        return result
    if feature == POSITIONS:
        result = min(held / 10.0, 1.0)
    elif feature == MEAN_POSITION:
        result = min(total / held / (1000.0 * _CONTRACT), 1.0)
    elif feature == LARGEST_POSITION:
        result = min(largest / (1000.0 * _CONTRACT), 1.0)
    elif feature == CONCENTRATION:
        result = largest / total
    elif feature == DIVERSITY:
        result = 1.0 - squares / (float(total) * float(total))
    return result


@inner
def _order_feature(run, market, feature, times):
    seen = run.seen
    base = base_of(seen, market)
    result = 0.0
    if feature == HAS_BUY or feature == HAS_SELL:
        result = 1.0 if own_order(seen, market, feature - HAS_BUY)[0] > 0 else 0.0
    elif feature == BUY_DISTANCE or feature == SELL_DISTANCE:
        order = own_order(seen, market, feature - BUY_DISTANCE)
        if order[0] > 0:
            distance = abs(2 * order[1] - seen[base + MID2]) / (2.0 * PRICE_ONE)
            result = min(distance, 1.0)
    elif feature == BUY_SIZE or feature == SELL_SIZE:
        result = size_feature(max(own_order(seen, market, feature - BUY_SIZE)[3], 0))
    elif feature == BUY_AHEAD or feature == SELL_AHEAD:
        result = _ahead(seen, market, feature - BUY_AHEAD)
    elif feature == SINCE_ORDER:
        result = 1.0
        if times[0] != NO_TIME:
            result = min((run.state[NOW] - times[0]) / (_SINCE * SECOND), 1.0)
    elif feature == INVENTORY:
        position = seen[position_at(market) + POSITION]
        result = position / (abs(position) + _INVENTORY)
    elif feature == EXIT_FEE or feature == EXIT_COST:
        result = _exit(run, market, feature)
    elif feature == TO_CLOSE:
        result = 1.0
        if seen[base + CLOSES_AT] != NO_TIME:
            left = max(seen[base + CLOSES_AT] - seen[NOW], 0) / SECOND
            result = left / (left + _TO_CLOSE / 4.0)
    elif feature == ELAPSED:
        passed = max(seen[NOW] - times[1], 0) / SECOND
        result = passed / (passed + _TO_CLOSE / 4.0)
    return result


@inner
def _ahead(seen, market, side):
    """Return how much stands ahead of the own order of a side; 1 where there is none."""
    base = base_of(seen, market)
    order = own_order(seen, market, side)
    slot = seen[base + HEAD_BUY + side]
    while slot > 0:
        at = slot_at(seen, base, slot)
        if seen[at + NUMBER] == order[0] and seen[at + AHEAD] != AHEAD_UNKNOWN:
            return size_feature(seen[at + AHEAD])
        slot = seen[at + NEXT]
    return 1.0


@inner
def _exit(run, market, feature):
    """Return what it would cost for each contract held, in tenths of a dollar, to close at the
    touch: the taker fee, or the way from the mid."""
    seen = run.seen
    base = base_of(seen, market)
    position = seen[position_at(market) + POSITION]
    side = 0 if position > 0 else 1
    rank = visible_best(seen, base, side, seen[base + BEST_BUY + side])
    if position == 0 or rank == 0:
        return 0.0
    price = price_of(seen, base, side, rank)
    if feature == EXIT_COST:
        return min(abs(seen[base + MID2] - 2 * price) / (0.2 * PRICE_ONE), 1.0)
    fee = trade_fee(seen, run.tables, base, price, abs(position))
    return min(fee / abs(position) / (0.1 * PRICE_ONE), 1.0)
