"""Where everything stands in the state of a run: one contiguous block of int64 words.

    driver words | header | one account: limits, reward, money, one position and desk per market
    | table of market bases | market blocks (market words, levels, order slots)
    | commands in flight | parked accounts | order groups | client ids
    | words of the user's projections

A copy of the block is a fork or a checkpoint. The driver words are about how the run is being
driven, not about where it is: they are left out of comparisons and digests.

Book and orders are shared by all accounts of a run. The words of one account, that which is *in
use*, stand at fixed offsets; those of the others are parked at the end (see `desks`).

Levels are stored by *rank*: the cost of the leg in ticks, price / tick for BUY and
(one - price) / tick for SELL. So the best level of either side is its highest rank, rank 0 means
none, two orders match if their ranks add up to the top (the number of ticks in a dollar) or more,
and both sides share every line of code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..schema import NO_TIME
from ..specs import Market, Models, Risk
from ..units import PRICE_ONE, SECOND


class Run(NamedTuple):
    """What every kernel works on.

    state: int64 words, see above. rows: journal rows (JOURNAL_DTYPE) from number JOURNAL_BASE on.
    places: int64, beside each row how many tape rows had been applied before it. seen: what the
    agent sees, a state like the first; the same array where nothing delays its sight. tables:
    int64, never written: delays and fee tables, see `delivery.delays_table` and FEE_TABLE.
    """

    state: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    seen: np.ndarray
    tables: np.ndarray


# Driver words: buffers and watches.
(
    JOURNAL_BASE,  # journal number of rows[0]
    WATCH_MARKET,  # market whose bursts end an advance; -1 any
    WATCH,  # bit set of the kinds that end an advance: TapeKind, and JournalKind << 16
    HAPPENED,  # bit set, as WATCH, of what happened since the last advance
    MIDWAY,  # 1 while the buffer filled up inside a burst
    DECISIONS,  # periodic decisions made by a compiled strategy
    ERROR,  # see ERROR_*; set where a command cannot be sent
    SLACK,  # how many journal rows one event can write at most
    BATCH,  # journal number, plus 1, of the first request of the batch being sent; 0 no batch
    ARRIVES,  # in a replay: when the next request arrives; 0: its delay is drawn
    DRIVER_WORDS,
) = range(11)

FLIGHTS_BESIDE = 128
"""Commands that may be on their way beside two for each order."""
BATCH_BEGUN = -1
"""BATCH before the first request."""
(
    ERROR_NONE,
    ERROR_SLOTS,
    ERROR_FLIGHTS,
    ERROR_BUFFER,
    ERROR_ORDER,
    ERROR_MARKET,
    ERROR_TERMS,
    ERROR_CLIENTS,
) = range(8)

# Header: where the run is, and what it assumes.
(
    NOW,
    CURSOR,  # tape rows applied
    JOURNAL_COUNT,  # journal rows written
    ACCOUNT_ROWS,  # journal rows of the account (NO_MARKET)
    DUE,  # the earliest of the next three
    DUE_EXPIRY,  # of any open order
    DUE_ARRIVAL,  # of any command in flight
    DUE_RESTORE,  # of what own fills took in any market
    SIGHT,  # 1 in a seen state that is not the venue's
    KNOWN,  # of a seen state: when the agent knew of the last journal row
    JOINED_AT,  # index of the tape row that is the decrease of the trade before it
    CAUSE_KIND,  # what a compiled strategy is reacting to; zero between decisions
    CAUSE_MARKET,
    CAUSE_ROW,
    MARKETS,
    ORDER_CAPACITY,  # of each account in each market
    ACCOUNTS,
    ACCOUNT,  # the one in use
    PARKED,  # offset of the words of the accounts that are not
    FEE_ROUNDING,  # the schedule's rule, see arithmetic.fill_fee
    FEE_DIRECTION,
    FEE_PRECISION,
    FEE_REBATE,
    FEE_TABLE,  # offset in `tables` of the schedule's own numerators by price, taker then maker
    QUEUE_MODEL,
    QUEUE_EXPONENT,
    RESTORED_AFTER,  # ns; 0 never
    AVAILABILITY,  # offset in `tables` of the probabilities that depth is there; 0 always
    ROUND_TRIP,  # ns: what an order and its answer typically take
    SEED,  # of what is drawn
    MARK_MODE,
    DIRTY,  # 1: the value of the market at hand may have changed
    FLIGHTS,  # offset of the commands in flight
    FLIGHT_CAPACITY,
    FLIGHT_COUNT,
    GROUP_CAPACITY,
    CLIENT_CAPACITY,  # client ids that an account may use
    CLIENT_SLOTS,  # of the table that holds them
    USER_WORDS,  # offset of the user's words
    HEADER_END,
) = range(DRIVER_WORDS, DRIVER_WORDS + 40)

# From here to the table of market bases: the account in use.
# What it counts and names of its own, then risk: own limits and what they look at.
(
    OPEN_ORDERS,
    GROUPS,  # offset of its order groups
    GROUPS_SET,  # groups that exist
    CLIENT_IDS,  # offset of its table of client ids
    CLIENT_COUNT,
    KILLED,
    START_CASH,
    MAX_ORDER_QTY,
    MAX_OPEN_ORDERS,
    MAX_POSITION,
    MAX_NOTIONAL,
    MAX_LOSS,
    TOKEN_RATE,  # tokens a second
    BUCKET_FULL,  # 10^-9 tokens, as the next
    BUCKET,
    BUCKET_AT,  # ns
    RISK_END,
) = range(HEADER_END, HEADER_END + 17)

# Reward: portfolio value and its history.
POSITIONS_VALUE, PEAK, DRAWDOWN, REWARD_END = range(RISK_END, RISK_END + 4)

# Account and positions: PositionTracker's own words, contiguous.
CASH, RESERVED, FEES, REALISED, COSTS, RETURNED, ACCOUNT_END = range(REWARD_END, REWARD_END + 7)
(
    POSITION,
    COST,
    POSITION_REALISED,
    POSITION_FEES,
    POSITION_RESERVED,
    SETTLED_POSITION,  # what the first settlement ended, and what it had cost
    SETTLED_COST,
    SETTLED_CASH,  # what settlements have paid and charged in all
    SETTLED_FEE,
    POSITION_RETURNED,  # collateral that its fills and its settlement returned, of its event
    POSITION_WORDS,
) = range(11)

# Words of a desk, what an account has in one market besides its position; behind the positions.
(
    REQUESTS,  # commands sent so far, and how many of them are answered
    ANSWERS,
    HELD,  # orders open or on their way
    VALUE,  # value of the position at the mark
    DESK_WORDS,
) = range(5)

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
    LAST_AT,  # ts of the last of them
    TRADES,  # trade rows of this market so far
    PENDING,  # see PENDING_*: what the end of the burst must look at
    MID2,  # the mark: twice the mid
    GRID_CENTRE,
    GRID_EDGE,
    GRID_WIDTH,
    TAKER_PPM,
    MAKER_PPM,
    TAKER_FLAT,  # for each contract besides the rate, $0.000001
    MAKER_FLAT,
    NUMBERS,  # orders numbered so far
    JOURNALED,  # journal rows of this market so far
    PAUSE,  # flags of the pause
    RESTORE_AT,  # when what own fills took is given back; NO_TIME never
    ORDERS,  # offset of the order slots, absolute
    EVENT,  # 1 + the first market of its event, 0 if its event returns no collateral
    PEER,  # the next market of its event; 0 none
    PAID,  # payout of one YES contract once settled; 0 before, and if void
    CLOSES_AT,  # when it is due to close, as far as is known; NO_TIME unknown
    MARKET_WORDS,
) = range(34)

PENDING_CROSS, PENDING_SNAPSHOT = 1, 2

# Words of a level (recorded, taken by fills of accounts, number of their orders) and of an order
# slot. Whatever is called own in a market is that of all accounts.
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
    GUESSED,  # how much of its way through the queue is a guess
    CARRY,  # what its fees were rounded up by and not yet repaid
    GROUP,
    OWNER,  # the account that it is an order of
    NEXT,  # slot of the next order in priority, or of the next free slot
    ORDER_WORDS,
) = range(16)

# Words of a command in flight; they stand in the order of sending.
(
    ARRIVAL,
    REQUEST,  # JournalKind of its request row
    REQUEST_ROW,  # number of that row in its market
    OF_MARKET,
    OF_ORDER,
    OF_SIDE,
    OF_PRICE,
    OF_QTY,
    OF_TIF,
    OF_FLAGS,
    OF_EXPIRES,
    OF_CLIENT,
    OF_GROUP,
    OF_ACCOUNT,
    FLIGHT_WORDS,
) = range(15)

# Words of an order group: then its window, pairs of (ts, qty), oldest first.
WINDOW_LIMIT, TRIGGERED, ENTRIES, LAST_MARKET, LAST_ROW, WINDOW = range(6)
WINDOW_ENTRIES = 32
GROUP_WORDS = WINDOW + 2 * WINDOW_ENTRIES

AHEAD_UNKNOWN = 1 << 62
"""`ahead` of an order whose place in the queue was lost in a gap."""


def market_words(market: Market, orders: int) -> int:
    """Return the number of words of one market block with so many order slots."""
    return MARKET_WORDS + 2 * LEVEL_WORDS * market.levels + ORDER_WORDS * (orders + 1)


def table_offset(markets: int) -> int:
    """Return the offset of the table of market bases."""
    return ACCOUNT_END + (POSITION_WORDS + DESK_WORDS) * markets


def desk_offset(markets: int, market: int) -> int:
    """Return the offset of the desk words of a market, of the account in use."""
    return ACCOUNT_END + POSITION_WORDS * markets + DESK_WORDS * market


class Capacities(NamedTuple):
    """How much a state can hold. orders: of an account, open or on their way, in each market;
    client_ids and groups: of an account; user_words: of the user's projections."""

    orders: int
    client_ids: int = 0
    groups: int = 0
    user_words: int = 0


def slack(
    markets: tuple[Market, ...], capacities: Capacities, accounts: int, returns: bool = False
) -> int:
    """Return how many journal rows one tape row or one command can write at most.

    returns: whether each fill can return collateral, which is a row of its own.
    """
    levels = max(market.levels for market in markets)
    orders = capacities.orders * accounts
    groups = capacities.groups * accounts
    grouped = groups + len(markets) * orders if groups else 0
    return (2 if returns else 1) * (4 * orders + 2 * levels) + grouped + 16 * accounts


def new_state(
    markets: tuple[Market, ...],
    models: Models,
    mark: int,
    capacities: Capacities,
    others: Sequence[Risk] = (),
) -> np.ndarray:
    """Return the state before the first event: int64 words.

    others: the limits of the accounts beside the first, which has those of the models.
    """
    table = table_offset(len(markets))
    bases = []
    offset = table + len(markets)
    accounts = 1 + len(others)
    slots = capacities.orders * accounts
    for market in markets:
        bases.append(offset)
        offset += market_words(market, slots)
    flights = 0
    if models.latency.delays_commands or models.latency.delays_sight:
        flights = 2 * slots * len(markets) + FLIGHTS_BESIDE
    client_slots = 1 << (2 * capacities.client_ids - 1).bit_length() if capacities.client_ids else 0
    regions = {
        FLIGHTS: flights * FLIGHT_WORDS,
        PARKED: (table - HEADER_END) * accounts if accounts > 1 else 0,
        GROUPS: (capacities.groups + 1) * GROUP_WORDS * accounts,
        CLIENT_IDS: client_slots * accounts,
        USER_WORDS: capacities.user_words,
    }
    starts = {}
    for word, length in regions.items():
        starts[word] = offset
        offset += length
    state = np.zeros(offset, dtype=np.int64)
    for word, start in starts.items():
        state[word] = start
    state[WATCH_MARKET] = -1
    state[SLACK] = slack(markets, capacities, accounts, models.collateral_return)
    state[DUE] = state[DUE_EXPIRY] = state[DUE_ARRIVAL] = state[DUE_RESTORE] = NO_TIME
    state[MARKETS] = len(markets)
    state[ORDER_CAPACITY] = capacities.orders
    state[ACCOUNTS] = accounts
    state[FLIGHT_CAPACITY] = flights
    state[GROUP_CAPACITY] = capacities.groups
    state[CLIENT_CAPACITY] = capacities.client_ids
    state[CLIENT_SLOTS] = client_slots
    state[MARK_MODE] = mark
    _set_models(state, models)
    for account, risk in enumerate((models.risk, *others)):
        parked = state[PARKED] + account * (table - HEADER_END) - HEADER_END
        words = state[parked:] if account else state
        words[GROUPS] = state[GROUPS] + (capacities.groups + 1) * GROUP_WORDS * account
        words[CLIENT_IDS] = state[CLIENT_IDS] + client_slots * account
        _set_risk(words, risk)
    for index, (market, base) in enumerate(zip(markets, bases, strict=True)):
        state[table + index] = base
        words = state[base:]
        words[TICK] = market.tick
        words[TOP] = market.levels - 1
        words[RECIPROCAL] = -(-(1 << 32) // market.tick)
        words[GRID_CENTRE] = words[GRID_EDGE] = market.tick
        fees = models.fees_of(market)
        words[TAKER_PPM], words[MAKER_PPM] = fees.taker_ppm, fees.maker_ppm
        words[TAKER_FLAT], words[MAKER_FLAT] = fees.taker_flat, fees.maker_flat
        words[MID2] = PRICE_ONE
        words[RESTORE_AT] = NO_TIME
        words[CLOSES_AT] = NO_TIME
        words[ORDERS] = base + MARKET_WORDS + 2 * LEVEL_WORDS * market.levels
        for slot in range(1, slots):
            words[words[ORDERS] - base + ORDER_WORDS * slot + NEXT] = slot + 1
        words[FREE] = 1
    if models.collateral_return:
        _link_events(state, markets, bases)
    return state


def _link_events(state: np.ndarray, markets: tuple[Market, ...], bases: list[int]) -> None:
    """Link the markets of each event that has several."""
    events: dict[str, list[int]] = {}
    for index, market in enumerate(markets):
        events.setdefault(market.event, []).append(index)
    for event, members in events.items():
        if event and len(members) > 1:
            for member, peer in zip(members, [*members[1:], 0], strict=True):
                state[bases[member] + EVENT] = members[0] + 1
                state[bases[member] + PEER] = peer


def _set_models(state: np.ndarray, models: Models) -> None:
    fees = models.fees
    state[FEE_ROUNDING] = fees.rounding
    state[FEE_DIRECTION] = fees.direction
    state[FEE_PRECISION] = fees.precision
    state[FEE_REBATE] = fees.rebate
    state[QUEUE_MODEL] = models.queue.model
    state[QUEUE_EXPONENT] = models.queue.exponent
    state[RESTORED_AFTER] = models.restored_after
    state[SEED] = models.seed
    state[ROUND_TRIP] = models.latency.round_trip


def _set_risk(state: np.ndarray, risk: Risk) -> None:
    state[MAX_ORDER_QTY] = risk.max_order_qty
    state[MAX_OPEN_ORDERS] = risk.max_open_orders
    state[MAX_POSITION] = risk.max_position
    state[MAX_NOTIONAL] = risk.max_notional
    state[MAX_LOSS] = risk.max_loss
    state[TOKEN_RATE] = risk.tokens_per_second
    state[BUCKET_FULL] = risk.tokens_per_second * risk.burst_seconds * SECOND
    state[BUCKET] = state[BUCKET_FULL]
