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
    BUY_SIZE,
    SELL_SIZE,
    BUY_AHEAD,
    SELL_AHEAD,
    INVENTORY,
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
_QUARTER = 900.0
"""Seconds of a quarter of an hour: a time of which half counts as much as all the rest."""
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
    FEATURES.
    """
    seen = run.seen
    base = base_of(seen, market)
    # Nothing of a market is known before its first event.
    rows = seen[base + ROWS]
    at = recipe[2 * len(out) + market] + rows - 1
    takes = times[2] != 0 and rows > 0
    has_touch = False
    has_depth = False
    has_account = False
    has_orders = False
    has_sizes = False
    column = 0
    for k in range(len(out)):
        kind = recipe[2 * k]
        feature = recipe[2 * k + 1]
        if kind == AGENT:
            # Features that are worked out together are so once, when the first of them is needed.
            if SINCE_CHANGE <= feature < HAS_BUY and not has_account:
                _account_features(seen, market, scratch)
                has_account = True
            elif HAS_BUY <= feature < BUY_SIZE and not has_orders:
                _order_features(run, market, times[0], scratch)
                has_orders = True
            elif BUY_SIZE <= feature < INVENTORY and not has_sizes:
                _size_features(seen, market, scratch)
                has_sizes = True
            elif feature >= INVENTORY:
                scratch[feature] = _lone_feature(run, market, feature, times[1])
            out[k] = scratch[feature] if feature >= 0 else 0.0
            continue
        if kind == COLUMN or not takes:
            out[k] = columns[at, column] if rows > 0 else 0.0
        else:
            if not has_touch:
                touch_features(seen, base, scratch)
                has_touch = True
            if not has_depth and is_of_depth(feature):
                depth_features(seen, base, scratch)
                has_depth = True
            out[k] = scratch[feature]
        column += 1


@inner
def _account_features(seen, market, out):
    """Write the features of the account, and of what it has in one market."""
    base = base_of(seen, market)
    at = position_at(market)
    position = seen[at + POSITION]
    worth = seen[desk_at(seen, market) + VALUE]
    value = seen[CASH] + seen[POSITIONS_VALUE] - seen[RETURNED]
    share = _share(worth, value)
    out[SINCE_CHANGE] = min((seen[NOW] - seen[base + LAST_AT]) / (_SINCE * SECOND), 1.0)
    out[CASH_SHARE] = max(_share(seen[CASH] - seen[RESERVED], value), 0.0)
    out[POSITION_SHARE] = share
    out[LONG_SHARE] = share if position > 0 else 0.0
    out[SHORT_SHARE] = share if position < 0 else 0.0
    out[NET_BIAS] = 0.0 if position == 0 else (1.0 if position > 0 else -1.0)
    out[UNREALISED_SHARE] = _share(worth - seen[at + COST], value)
    out[LEVERAGE] = min(abs(_share(seen[POSITIONS_VALUE] + seen[RESERVED], value)) / 2.0, 1.0)
    _portfolio_features(seen, out)


@inner
def _portfolio_features(seen, out):
    """Write how what is held is spread over the markets."""
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
    out[POSITIONS] = min(held / 10.0, 1.0)
    out[MEAN_POSITION] = min(total / held / (1000.0 * _CONTRACT), 1.0) if held > 0 else 0.0
    out[LARGEST_POSITION] = min(largest / (1000.0 * _CONTRACT), 1.0)
    out[CONCENTRATION] = largest / total if held > 0 else 0.0
    out[DIVERSITY] = 1.0 - squares / (float(total) * float(total)) if held > 0 else 0.0


@inner
def _order_features(run, market, last_order, out):
    """Write where the own orders of both sides are."""
    seen = run.seen
    base = base_of(seen, market)
    for side in range(2):
        order = own_order(seen, market, side)
        has = order[0] > 0
        distance = abs(2 * order[1] - seen[base + MID2]) / (2.0 * PRICE_ONE)
        out[HAS_BUY + side] = 1.0 if has else 0.0
        out[BUY_DISTANCE + side] = min(distance, 1.0) if has else 0.0
    out[SINCE_ORDER] = 1.0
    if last_order != NO_TIME:
        out[SINCE_ORDER] = min((run.state[NOW] - last_order) / (_SINCE * SECOND), 1.0)


@inner
def _size_features(seen, market, out):
    """Write how large the own orders are, and what stands ahead of them."""
    base = base_of(seen, market)
    for side in range(2):
        order = own_order(seen, market, side)
        has = order[0] > 0
        out[BUY_SIZE + side] = size_feature(max(order[3], 0)) if has else 0.0
        out[BUY_AHEAD + side] = _ahead(seen, base, side, order[0]) if has else 1.0


@inner
def _ahead(seen, base, side, order):
    """Return how much stands ahead of an own order of a side; 1 where nobody knows."""
    slot = seen[base + HEAD_BUY + side]
    while slot > 0:
        at = slot_at(seen, base, slot)
        if seen[at + NUMBER] == order and seen[at + AHEAD] != AHEAD_UNKNOWN:
            return size_feature(seen[at + AHEAD])
        slot = seen[at + NEXT]
    return 1.0


@inner
def _lone_feature(run, market, feature, started):
    """Return a feature that is worked out by itself: inventory, what it costs to leave, time."""
    seen = run.seen
    base = base_of(seen, market)
    if feature == INVENTORY:
        position = seen[position_at(market) + POSITION]
        return position / (abs(position) + _INVENTORY)
    if feature == TO_CLOSE:
        if seen[base + CLOSES_AT] == NO_TIME:
            return 1.0
        left = max(seen[base + CLOSES_AT] - seen[NOW], 0) / SECOND
        return left / (left + _QUARTER)
    if feature == ELAPSED:
        passed = max(seen[NOW] - started, 0) / SECOND
        return passed / (passed + _QUARTER)
    return _exit(run, market, feature)


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
