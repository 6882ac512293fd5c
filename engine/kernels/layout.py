"""Where everything stands in the state of a run: one contiguous block of int64 words.

    driver words | header | reward | account | one position per market | table of market bases
    | market blocks (market words, levels, order slots) | words of the user's projections

A copy of the block is a fork or a checkpoint. The driver words are about how the run is being
driven, not about where it is: they are left out of comparisons and digests.

Levels are stored by *rank*: the cost of the leg in ticks, price / tick for BUY and
(one - price) / tick for SELL. So the best level of either side is its highest rank, rank 0 means
none, two orders match if their ranks add up to the top (the number of ticks in a dollar) or more,
and both sides share every line of code.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..schema import NO_TIME
from ..specs import FeeSchedule, Market
from ..units import PRICE_ONE


class Run(NamedTuple):
    """What every kernel works on.

    state: int64 words, see above. rows: journal rows (JOURNAL_DTYPE) from number JOURNAL_BASE on.
    places: int64, beside each row how many tape rows had been applied before it.
    """

    state: np.ndarray
    rows: np.ndarray
    places: np.ndarray


# Driver words: buffers and watches.
(
    JOURNAL_BASE,  # journal number of rows[0]
    WATCH_MARKET,  # market whose bursts end an advance; -1 any
    WATCH,  # bit set of the kinds that end an advance: TapeKind, and JournalKind << 16
    SEEN,  # bit set, as WATCH, of what happened since the last advance
    MIDWAY,  # 1 while the buffer filled up inside a burst
    DECISIONS,  # periodic decisions made by a compiled strategy
    ERROR,  # see ERROR_*; set by verbs of compiled strategies
    DRIVER_WORDS,
) = range(8)

ERROR_NONE, ERROR_SLOTS, ERROR_BUFFER, ERROR_ORDER, ERROR_MARKET, ERROR_TERMS = range(6)

# Header: where the run is.
(
    NOW,
    CURSOR,  # tape rows applied
    JOURNAL_COUNT,  # journal rows written
    ACCOUNT_ROWS,  # journal rows of the account (NO_MARKET)
    DUE,  # earliest expiry of any open order
    CAUSE_KIND,  # what a compiled strategy is reacting to; zero between decisions
    CAUSE_MARKET,
    CAUSE_ROW,
    MARKETS,
    ORDER_CAPACITY,
    FEE_ROUNDING,
    MARK_MODE,
    DIRTY,  # 1: the value of the market at hand may have changed
    USER_WORDS,  # offset of the user's words
    HEADER_END,
) = range(DRIVER_WORDS, DRIVER_WORDS + 15)

# Reward: portfolio value and its history.
POSITIONS_VALUE, PEAK, DRAWDOWN, REWARD_END = range(HEADER_END, HEADER_END + 4)

# Account and positions: PositionTracker's own words, contiguous.
CASH, RESERVED, FEES, REALISED, ACCOUNT_END = range(REWARD_END, REWARD_END + 5)
POSITION, COST, POSITION_REALISED, POSITION_FEES, POSITION_RESERVED, POSITION_WORDS = range(6)
POSITION_TRACKER = CASH
ACCOUNT_WORDS = ACCOUNT_END - CASH

# Market words, from the market's base.
(
    STATUS,
    TRUSTED,
    TICK,
    TOP,  # ticks in a dollar: the highest level
    RECIPROCAL,  # ceil(2^32 / tick): level = price * RECIPROCAL >> 32
    BEST_BUY,  # rank of the recorded best; 0 none
    BEST_SELL,
    OWN_BUY,  # rank of the best own order; 0 none
    OWN_SELL,
    HEAD_BUY,  # slot of the first own order in priority; 0 none
    HEAD_SELL,
    FREE,  # slot of the first free order slot; 0 none
    ROWS,  # tape rows of this market so far
    TRADES,  # trade rows of this market so far
    PENDING,  # see PENDING_*: what the end of the burst must look at
    MID2,  # the mark: twice the mid
    VALUE,  # value of the position at the mark
    GRID_CENTRE,
    GRID_EDGE,
    GRID_WIDTH,
    TAKER_PPM,
    MAKER_PPM,
    NUMBERS,  # orders numbered so far
    JOURNAL_ROWS,  # journal rows of this market so far
    SETTLED,  # 1 after settlement
    ORDERS,  # offset of the order slots, absolute
    MARKET_WORDS,
) = range(27)

PENDING_CROSS, PENDING_SNAPSHOT = 1, 2

# Words of a level (recorded, taken by own fills, number of own orders) and of an order slot.
QTY, TAKEN, OWN, LEVEL_WORDS = range(4)
(
    NUMBER,
    SIDE,
    RANK,
    TOTAL,
    LEFT,
    AHEAD,
    EXPIRES,
    CLIENT,
    TIF,
    FLAGS,
    NEXT,  # slot of the next order in priority, or of the next free slot
    ORDER_WORDS,
) = range(12)

AHEAD_UNKNOWN = 1 << 62
"""`ahead` of an order whose place in the queue was lost in a gap."""


def market_words(market: Market, order_capacity: int) -> int:
    """Return the number of words of one market block."""
    return MARKET_WORDS + 2 * LEVEL_WORDS * market.levels + ORDER_WORDS * (order_capacity + 1)


def table_offset(markets: int) -> int:
    """Return the offset of the table of market bases."""
    return ACCOUNT_END + POSITION_WORDS * markets


def slack(markets: tuple[Market, ...], order_capacity: int) -> int:
    """Return how many journal rows one tape row or one command can write at most."""
    return 2 * order_capacity + max(market.levels for market in markets) + 16


def new_state(
    markets: tuple[Market, ...],
    *,
    fees: FeeSchedule,
    mark: int,
    order_capacity: int,
    user_words: int = 0,
) -> np.ndarray:
    """Return the state before the first event: int64 words."""
    table = table_offset(len(markets))
    bases = []
    offset = table + len(markets)
    for market in markets:
        bases.append(offset)
        offset += market_words(market, order_capacity)
    state = np.zeros(offset + user_words, dtype=np.int64)
    state[WATCH_MARKET] = -1
    state[DUE] = NO_TIME
    state[MARKETS] = len(markets)
    state[ORDER_CAPACITY] = order_capacity
    state[FEE_ROUNDING] = fees.rounding
    state[MARK_MODE] = mark
    state[USER_WORDS] = offset
    for index, (market, base) in enumerate(zip(markets, bases, strict=True)):
        state[table + index] = base
        words = state[base:]
        words[TICK] = market.tick
        words[TOP] = market.levels - 1
        words[RECIPROCAL] = -(-(1 << 32) // market.tick)
        words[GRID_CENTRE] = words[GRID_EDGE] = market.tick
        words[TAKER_PPM] = fees.taker_ppm
        words[MID2] = PRICE_ONE
        words[ORDERS] = base + MARKET_WORDS + 2 * LEVEL_WORDS * market.levels
        for slot in range(1, order_capacity):
            words[words[ORDERS] - base + ORDER_WORDS * slot + NEXT] = slot + 1
        words[FREE] = 1
    return state
