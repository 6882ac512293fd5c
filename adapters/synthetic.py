"""A seeded generator of believable binary markets: the session that needs no data.

Orders arrive in bursts, are canceled, repriced and traded first in, first out, around a probability
that ends at 0 or 1. The stylised facts (event mix, spreads, sizes, trades per 15 minutes) are those
of the liquid 15-minute series measured in SPEC section 4, within a factor of two
(`tests/test_synthetic.py`). Each market's rows depend on the seed, its ticker and the parameters
alone, never on the other markets. The kernels use integers (and square roots, which IEEE 754 makes
exact), and random numbers no product of which leaves int64: compiled or interpreted, the rows are
the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.compiled import entry, inner
from ..engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from ..engine.session import Session, Tape
from ..engine.specs import Market
from ..engine.units import MICROSECOND, MINUTE, PPM, PRICE_ONE, QTY_ONE

DEFAULT_START = 1_785_888_000_000_000_000
"""2026-08-05T00:00:00Z, the first day of the recordings that the defaults imitate."""
DEFAULT_RATE = 60
"""Rows per second of market time: what the mean market of gold15m has."""
EVENTS_MIN = 64
"""Fewest rows of one market: its head, its tail and a little life between."""
EVENTS_MAX = 10**9
MINUTES_MAX = 43_200
RATE_MAX = 100_000
VOLATILITY_MAX = 4
CENT = PRICE_ONE // 100

_LIMITS = {
    "seed": (0, 2**63 - 1),
    "markets": (1, 1000),
    "events": (EVENTS_MIN, EVENTS_MAX),
    "minutes": (1, MINUTES_MAX),
    "rate": (1, RATE_MAX),
    "tick": (1, CENT),
    "start": (0, 4 * 10**18),
}

_TARGET = 150  # orders that a book holds on average
_CAPACITY = 512  # orders that it can hold: more than twice the target
_LEVELS_MAX = PRICE_ONE + 1  # levels of the finest grid
_STEPS_MAX = 1 << 18  # steps of the probability
_SETTLED_PART = 64  # the last 1/64 of the rows know the result
_REPRICES = 20_000  # price changes per 2**16 bursts
_SWEEPS_MEAN = 1_400  # sweeps per 2**16 bursts in the mean market
_SLACK = 50  # $0.0001 by which the probability may pass a quote before its owner reacts
_CURVE = 1024  # entries of the normal curve per standard deviation
_CURVE_END = 5 * _CURVE
_NORMAL = 37_837  # standard deviation of `_normal`

_INCREASE, _DECREASE = int(TapeKind.INCREASE), int(TapeKind.DECREASE)
_TRADE, _STATUS, _GRID = int(TapeKind.TRADE), int(TapeKind.STATUS), int(TapeKind.GRID)
_SNAPSHOT, _LEVEL = int(TapeKind.SNAPSHOT), int(TapeKind.SNAPSHOT_LEVEL)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_JOINED, _REPRICE = int(TapeFlag.JOINED), int(TapeFlag.REPRICE)
_OPEN, _CLOSED = int(MarketStatus.OPEN), int(MarketStatus.CLOSED)
_SETTLED = int(MarketStatus.SETTLED)

# A market while it is generated is one block of int64 words: scalars first.
(
    _RANDOM,  # state of the random numbers
    _MARKET,  # index of the market
    _TICK,
    _LAST,  # the level of one dollar
    _BID,  # best level; 0 if none
    _ASK,  # best level; _LAST if none
    _LIVE,  # number of live orders
    _ORDERS,  # orders aimed at
    _FAIR,  # the probability as a price
    _ROW,  # rows written
    _END,  # rows that the body may fill
    _CLOCK,  # time in units that `_set_clock` stretches to the market's life
    _PACE,  # arrivals per time, 64 = normal
    _SWEEPS,  # sweeps per 2**16 bursts
    _TRADES,  # 1 if TRADE rows are written
    _VOLATILITY,  # in ppm
    _EAGER,  # of 100 quotes that could improve the best price, how many do
) = range(17)

# Then inverse distributions: _TABLE values each that are equally likely.
_TABLE = 256
_GAP, _DISTANCE, _ORDER_SIZE, _TAKER_SIZE, _PACES = range(17, 17 + 5 * _TABLE, _TABLE)
_TABLES_END = _PACES + _TABLE

# Then the orders, a column for each property; _NEXT and _BEFORE are neighbours in the level's
# queue (-1: none), _PLACE is where the order stands in _LIST: live orders first, then free ones.
_SIDE, _AT, _SIZE, _NEXT, _BEFORE, _PLACE, _LIST = range(
    _TABLES_END, _TABLES_END + 7 * _CAPACITY, _CAPACITY
)
_ORDERS_END = _LIST + _CAPACITY

# Then the levels: quantity, oldest and newest order (-1: none).
_QTY, _HEAD, _TAIL = range(_ORDERS_END, _ORDERS_END + 3 * _LEVELS_MAX, _LEVELS_MAX)
_WORDS = _TAIL + _LEVELS_MAX


def session(
    seed: int = 7,
    *,
    markets: int = 1,
    events: int | None = None,
    minutes: int = 15,
    rate: int = DEFAULT_RATE,
    tick: int = 100,
    start: int = DEFAULT_START,
    volatility: float = 1.0,
    trades: bool = True,
    settle: bool = True,
) -> Session:
    """Generate a session of binary markets that open together and run to their settlement.

    seed: an int from 0; the same seed and parameters give the same tape, byte for byte.
    markets: how many; tickers are "SYN-<seed>-000" and so on. Adding one changes no other.
    events: tape rows of each market, exactly; default rate x minutes x 60.
    minutes: from open to close. rate: rows per second and market; not used when `events` is given.
    tick: step of the price grid, $0.0001: 100, 10 or 1, or any other divisor of 100.
    start: ts of the first rows, ns, a multiple of 1000.
    volatility: how far the probability moves, relative to what its level says it should: 1 is an
    efficient market, 0.5 a sleepy one that makes up its mind at the end.
    trades: write TRADE rows; without, the same kind of stream as a record with no trade channel.
    settle: end with SETTLED some seconds after the close.

    facts["result"] is "yes" or "no" by ticker, "open" and "close" are ts. The source is
    {"generator": "synthetic"} and all parameters, in JSON's types. Raises ValueError for a
    parameter out of its range.

    >>> made = session(seed=7, events=500, minutes=1)
    >>> made.markets[0].ticker, len(made.tape)
    ('SYN-7-000', 500)
    """
    parameters = {
        "seed": seed, "markets": markets, "events": events, "minutes": minutes, "rate": rate,
        "tick": tick, "start": start, "volatility": volatility, "trades": trades, "settle": settle,
    }
    _check(parameters)
    rows_each = max(EVENTS_MIN, rate * minutes * 60) if events is None else events
    listed = tuple(Market(f"SYN-{seed}-{index:03d}", tick) for index in range(markets))
    tapes, results = [], {}
    for index, market in enumerate(listed):
        rows, payout = _market_rows(index, market, rows_each, parameters)
        tapes.append(rows)
        results[market.ticker] = "yes" if payout else "no"
    facts = {"result": results, "open": start, "close": start + minutes * MINUTE}
    return Session(
        Tape(_merged(tapes)), listed, name=f"synthetic-{seed}",
        source={"generator": "synthetic", **parameters}, facts=facts,
        reopen=(_again, (parameters,)),
    )


def _again(parameters: Mapping[str, Any]) -> Session:
    """Make a session again from its parameters, in the process that unpickles it."""
    return session(**parameters)


def _check(parameters: Mapping[str, Any]) -> None:
    """Raise ValueError for the first parameter that is out of its range."""
    for name, (low, high) in _LIMITS.items():
        value = parameters[name]
        if name == "events" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name}: {value!r} is not an int")
        if not low <= value <= high:
            raise ValueError(f"{name}: {value} is not within {low}..{high}")
    if CENT % parameters["tick"]:
        raise ValueError(f"tick: {parameters['tick']} does not divide one cent ({CENT})")
    if parameters["start"] % MICROSECOND:
        raise ValueError(f"start: {parameters['start']} is not a multiple of {MICROSECOND} ns")
    for name in ("trades", "settle"):
        if not isinstance(parameters[name], bool):
            raise ValueError(f"{name}: {parameters[name]!r} is not True or False")
    volatility = parameters["volatility"]
    if isinstance(volatility, bool) or not isinstance(volatility, (int, float)):
        raise ValueError(f"volatility: {volatility!r} is not a number")
    if not 0 <= volatility <= VOLATILITY_MAX:
        raise ValueError(f"volatility: {volatility} is not within 0..{VOLATILITY_MAX}")
    seconds = parameters["minutes"] * 60
    if parameters["events"] is None and parameters["rate"] * seconds > EVENTS_MAX:
        raise ValueError(f"rate: {parameters['rate']} per second for {parameters['minutes']} "
                         f"minutes are more than {EVENTS_MAX} rows")
    if (parameters["events"] or 0) > RATE_MAX * seconds:
        raise ValueError(f"events: {parameters['events']} in {parameters['minutes']} minutes are "
                         f"more than {RATE_MAX} per second")


def _merged(tapes: Sequence[np.ndarray]) -> np.ndarray:
    """Merge rows of markets by ts; at equal ts by market, so that bursts stay whole."""
    if len(tapes) == 1:
        return tapes[0]
    rows = np.concatenate(tapes)
    return rows[np.argsort(rows["ts"], kind="stable")]


def _market_rows(
    index: int, market: Market, count: int, parameters: Mapping[str, Any]
) -> tuple[np.ndarray, int]:
    """Return one market's rows (TAPE_DTYPE, `count` of them) and 1 if YES won, else 0."""
    key = hashlib.sha256(f"{parameters['seed']}\0{market.ticker}".encode()).digest()
    tail = 2 if parameters["settle"] else 1
    words = np.zeros(_WORDS, np.int64)
    words[_RANDOM] = 1 + int.from_bytes(key, "big") % (_MULTIPLIER * 2**32 - 2)
    words[_MARKET], words[_TICK] = index, market.tick
    words[_LAST] = words[_ASK] = market.levels - 1
    words[_PACE], words[_EAGER], words[_END] = 64, 20, count - tail
    words[_ORDERS] = min(_TARGET, count // 4)
    words[_TRADES] = parameters["trades"]
    words[_VOLATILITY] = round(parameters["volatility"] * PPM)
    words[_GAP:_TABLES_END] = _TABLES
    words[_LIST:_ORDERS_END] = np.arange(_CAPACITY)
    words[_HEAD:] = -1
    path = np.empty(min(max(count // 4, 16), _STEPS_MAX), np.int64)
    rows = np.zeros(count, TAPE_DTYPE)
    close = parameters["start"] + parameters["minutes"] * MINUTE
    payout = _generate(rows, words, path, _CURVE_TABLE)
    _set_clock(rows, words, parameters["start"], close)
    return rows, payout // PRICE_ONE


def _table(*points: tuple[float, float], scale: int) -> list[int]:
    """Return an inverse distribution: geometric between (share, value) points, times `scale`."""
    entries = []
    for place in range(_TABLE):
        share = (place + 0.5) / _TABLE
        upper = next(i for i, (bound, _) in enumerate(points) if share <= bound)
        (low, first), (high, last) = points[upper - 1], points[upper]
        entries.append(round(scale * first * (last / first) ** ((share - low) / (high - low))))
    return entries


def _tables() -> np.ndarray:
    """Return the inverse distributions, fitted to the means of the markets of gold15m."""
    tables = np.zeros(_TABLES_END, np.int64)
    tables[_GAP : _GAP + _TABLE] = _table(
        (0, 0.1), (0.10, 0.45), (0.25, 0.8), (0.5, 3), (0.75, 9.7), (0.9, 46), (0.99, 300),
        (1, 600), scale=1000,
    )
    # Cents behind the probability, plus one: most quotes stand near it, some as far as it goes.
    tables[_DISTANCE : _DISTANCE + _TABLE] = _table(
        (0, 1), (0.22, 2), (0.40, 3), (0.52, 4), (0.60, 5), (0.70, 7), (0.80, 11), (0.90, 18),
        (0.97, 41), (1, 90), scale=100,
    )
    tables[_ORDER_SIZE : _ORDER_SIZE + _TABLE] = _table(
        (0, 0.05), (0.08, 1), (0.10, 3), (0.25, 8), (0.5, 25), (0.75, 62), (0.9, 260),
        (0.985, 1700), (1, 2000), scale=QTY_ONE,
    )
    tables[_TAKER_SIZE : _TAKER_SIZE + _TABLE] = _table(
        (0, 0.05), (0.1, 0.6), (0.25, 4), (0.5, 18), (0.75, 55), (0.9, 150), (0.99, 1000),
        (1, 2000), scale=QTY_ONE,
    )
    tables[_PACES : _PACES + _TABLE] = _table((0, 12), (0.5, 40), (0.9, 150), (1, 300), scale=1)
    tables[_ORDER_SIZE : _ORDER_SIZE + _TABLE] = [
        _round_size(int(qty)) for qty in tables[_ORDER_SIZE : _ORDER_SIZE + _TABLE]
    ]
    tables.flags.writeable = False
    return tables[_GAP:]


def _round_size(qty: int) -> int:
    """Return a size as people send them: whole contracts, and above 20 whole fives."""
    if qty < QTY_ONE:
        return max(10, qty // 10 * 10)
    step = QTY_ONE if qty < 20 * QTY_ONE else 5 * QTY_ONE
    return qty // step * step


def _curve() -> np.ndarray:
    """Return the normal distribution function, -5..5 deviations, as prices in $0.0001."""
    values = [
        round(PRICE_ONE * (1 + math.erf(entry / _CURVE / math.sqrt(2))) / 2)
        for entry in range(-_CURVE_END, _CURVE_END + 1)
    ]
    return np.array(values, np.int64)


_MULTIPLIER = 698_769_069
# One signature for what is called with many constants: a constant is a type of its own to numba.
_TABLES = _tables()
_CURVE_TABLE = _curve()


@inner
def _draw(words: np.ndarray) -> int:
    """Return 32 random bits: Marsaglia's multiply-with-carry; no product leaves int64."""
    low, high = words[_RANDOM] & 0xFFFFFFFF, words[_RANDOM] >> 32
    words[_RANDOM] = low * _MULTIPLIER + high
    return low ^ high


@inner
def _below(words: np.ndarray, bound: int) -> int:
    """Return a random integer in 0..bound-1; bound below 2**31."""
    return (_draw(words) * bound) >> 32


@inner
def _normal(words: np.ndarray) -> int:
    """Return a nearly normal integer of mean 0 and deviation _NORMAL: four uniforms added."""
    first, second = _draw(words), _draw(words)
    return (first & 0xFFFF) + (first >> 16) + (second & 0xFFFF) + (second >> 16) - 131_070


@inner
def _sample(words: np.ndarray, table: int) -> int:
    return words[table + (_draw(words) >> 24)]


@entry
def _fill_path(words: np.ndarray, path: np.ndarray, curve: np.ndarray) -> int:
    """Write the probability, as a price, for each step; return the payout it ends at.

    A random walk with steps of uneven size; the probability that it ends above 0, given where it
    stands and how much is still to come, is a martingale that ends at 0 or 1.
    """
    steps = len(path)
    moving = steps - max(steps // _SETTLED_PART, min(50, steps // 8))
    left = 0
    for step in range(moving):
        # News: one step in 64 is as large as four.
        path[step] = 4 if _below(words, 64) == 0 else 1
        left += path[step] * path[step]
    walk = int(_normal(words) * math.sqrt(left) * 3) // 8
    for step in range(steps):
        if step < moving:
            size = path[step]
            deviation = int(_NORMAL * math.sqrt(left))
            place = min(max(walk * _CURVE // deviation, -_CURVE_END), _CURVE_END)
            path[step] = curve[place + _CURVE_END]
            walk += size * _normal(words) * words[_VOLATILITY] // PPM
            left -= size * size
        else:
            path[step] = PRICE_ONE if walk >= 0 else 0
    return path[steps - 1]


@inner
def _write(rows: np.ndarray, words: np.ndarray, kind: int, side: int, price: int, qty: int) -> int:
    """Append one row and return its index; its ts is in units of the clock until the end."""
    row = words[_ROW]
    words[_ROW] = row + 1
    rows[row]["ts"] = words[_CLOCK]
    rows[row]["qty"] = qty
    rows[row]["price"] = price
    rows[row]["market"] = words[_MARKET]
    rows[row]["kind"] = kind
    rows[row]["side"] = side
    return row


@inner
def _find_best(words: np.ndarray, side: int) -> None:
    """Move a side's best past levels that are empty now."""
    if side == _BUY:
        level = words[_BID]
        while level > 0 and words[_QTY + level] == 0:
            level -= 1
        words[_BID] = level
    else:
        level = words[_ASK]
        while level < words[_LAST] and words[_QTY + level] == 0:
            level += 1
        words[_ASK] = level


@inner
def _add(words: np.ndarray, side: int, level: int, size: int) -> None:
    """Put a new order at the back of a level's queue. There must be room for it."""
    order = words[_LIST + words[_LIVE]]
    last = words[_TAIL + level]
    words[_SIDE + order], words[_AT + order], words[_SIZE + order] = side, level, size
    words[_NEXT + order], words[_BEFORE + order], words[_PLACE + order] = -1, last, words[_LIVE]
    if last < 0:
        words[_HEAD + level] = order
    else:
        words[_NEXT + last] = order
    words[_TAIL + level] = order
    words[_QTY + level] += size
    words[_LIVE] += 1
    if side == _BUY:
        words[_BID] = max(words[_BID], level)
    else:
        words[_ASK] = min(words[_ASK], level)


@inner
def _ahead(words: np.ndarray, order: int) -> int:
    """Return the quantity that stands before an order in its level."""
    total = 0
    before = words[_BEFORE + order]
    while before >= 0:
        total += words[_SIZE + before]
        before = words[_BEFORE + before]
    return total


@inner
def _remove(words: np.ndarray, order: int) -> None:
    """Take an order out of its queue, the level and the list of live orders."""
    level, after, before = words[_AT + order], words[_NEXT + order], words[_BEFORE + order]
    if before < 0:
        words[_HEAD + level] = after
    else:
        words[_NEXT + before] = after
    if after < 0:
        words[_TAIL + level] = before
    else:
        words[_BEFORE + after] = before
    words[_QTY + level] -= words[_SIZE + order]
    words[_LIVE] -= 1
    place, last = words[_PLACE + order], words[_LIST + words[_LIVE]]
    words[_LIST + place], words[_PLACE + last] = last, place
    words[_LIST + words[_LIVE]] = order
    _find_best(words, words[_SIDE + order])


@inner
def _quote(words: np.ndarray, side: int) -> int:
    """Return the level of a new quote of a side, 0 if the side has no room now."""
    tick, last = words[_TICK], words[_LAST]
    fair = words[_FAIR] if side == _BUY else PRICE_ONE - words[_FAIR]
    opposite = words[_ASK] if side == _BUY else last - words[_BID]
    own = words[_BID] if side == _BUY else last - words[_ASK]
    top = min(opposite - 1, fair // tick)
    if top > own and _below(words, 100) < words[_EAGER]:
        level = top - _below(words, CENT // tick)
    else:
        distance = _sample(words, _DISTANCE) - CENT + _below(words, CENT)
        level = min((fair - distance) // tick, top)
    if level < 1:
        level = 1 + _below(words, top) if top >= 1 else 0
    return level if side == _BUY or level == 0 else last - level


@inner
def _size(words: np.ndarray) -> int:
    """Return the size of a new order, 0.01 contract: one in twelve is not whole."""
    size = _sample(words, _ORDER_SIZE)
    if _below(words, 12) == 0:
        size += _below(words, QTY_ONE)
    return size


@inner
def _pick(words: np.ndarray) -> int:
    """Return a live order to be canceled or moved: of three, the nearest to the touch."""
    chosen, nearest = -1, words[_LAST] + 1
    for _ in range(3):
        order = words[_LIST + _below(words, words[_LIVE])]
        level = words[_AT + order]
        behind = words[_BID] - level if words[_SIDE + order] == _BUY else level - words[_ASK]
        if behind < nearest:
            chosen, nearest = order, behind
    return chosen


@inner
def _stale(words: np.ndarray) -> int:
    """Return the oldest order at a best price that the probability has passed, -1 if none."""
    if words[_BID] * words[_TICK] >= words[_FAIR] + _SLACK and words[_BID] > 0:
        return words[_HEAD + words[_BID]]
    if words[_ASK] * words[_TICK] <= words[_FAIR] - _SLACK and words[_ASK] < words[_LAST]:
        return words[_HEAD + words[_ASK]]
    return -1


@inner
def _cancel(rows: np.ndarray, words: np.ndarray, order: int) -> None:
    """Write and apply the cancel of one order."""
    price = words[_AT + order] * words[_TICK]
    row = _write(rows, words, _DECREASE, words[_SIDE + order], price, words[_SIZE + order])
    rows[row]["ahead"] = _ahead(words, order)
    _remove(words, order)


@inner
def _enter(rows: np.ndarray, words: np.ndarray) -> bool:
    """Write and apply a new order on either side; return whether there was room."""
    if words[_LIVE] >= _CAPACITY:
        return False
    side = _below(words, 2)
    level = _quote(words, side)
    if level == 0:
        side = 1 - side
        level = _quote(words, side)
    if level == 0:
        return False
    _enter_at(rows, words, side, level, _size(words), 0)
    return True


@inner
def _enter_at(
    rows: np.ndarray, words: np.ndarray, side: int, level: int, size: int, flags: int
) -> None:
    """Write and apply a new order at a level."""
    row = _write(rows, words, _INCREASE, side, level * words[_TICK], size)
    rows[row]["flags"] = flags
    _add(words, side, level, size)


@inner
def _reprice(rows: np.ndarray, words: np.ndarray, order: int) -> None:
    """Cancel an order and quote it elsewhere in the same burst, two times in three unchanged."""
    side, level, size = words[_SIDE + order], words[_AT + order], words[_SIZE + order]
    _cancel(rows, words, order)
    moved = level
    for _ in range(4):
        if moved == level:
            moved = _quote(words, side)
    if moved in (0, level):
        return
    if _below(words, 3) == 0:
        size = _size(words)
    _enter_at(rows, words, side, moved, size, _REPRICE)


@inner
def _sweep(rows: np.ndarray, words: np.ndarray, side: int) -> None:
    """Let a taker walk one side's queues: one trade, one decrease for each order it meets."""
    left = _sample(words, _TAKER_SIZE)
    if _below(words, 3):
        left += _below(words, QTY_ONE)
    reach = 0
    while reach < 3 and _below(words, 4) == 0:
        reach += 1
    best = words[_BID] if side == _BUY else words[_ASK]
    while left > 0 and words[_ROW] + 1 + words[_TRADES] <= words[_END]:
        level = words[_BID] if side == _BUY else words[_ASK]
        order = words[_HEAD + level]
        if order < 0 or abs(level - best) > reach:
            return
        qty = min(left, words[_SIZE + order])
        if words[_TRADES]:
            row = _write(rows, words, _TRADE, side, level * words[_TICK], qty)
            rows[row]["flags"] = _JOINED
        _write(rows, words, _DECREASE, side, level * words[_TICK], qty)
        left -= qty
        if qty == words[_SIZE + order]:
            _remove(words, order)
        else:
            words[_SIZE + order] -= qty
            words[_QTY + level] -= qty


@inner
def _burst(rows: np.ndarray, words: np.ndarray) -> None:
    """Write one burst: an order, a cancel, a change of price, or a taker's sweep."""
    room = words[_END] - words[_ROW]
    stale = _stale(words)
    draw = _below(words, 1 << 16)
    if draw < words[_SWEEPS] and room > 1:
        side = _below(words, 2)
        if stale >= 0:
            side = words[_SIDE + stale]
        if words[_HEAD + (words[_BID] if side == _BUY else words[_ASK])] >= 0:
            _sweep(rows, words, side)
            return
    if words[_LIVE] > 0 and draw < words[_SWEEPS] + _REPRICES and room > 1:
        _reprice(rows, words, stale if stale >= 0 else _pick(words))
        return
    if stale < 0 and _below(words, 2 * words[_ORDERS]) >= words[_LIVE] and _enter(rows, words):
        return
    if words[_LIVE] > 0:
        _cancel(rows, words, stale if stale >= 0 else _pick(words))
    else:
        _enter(rows, words)


@inner
def _open_market(rows: np.ndarray, words: np.ndarray) -> None:
    """Write the head: grid, status, and a snapshot of the book that stands at the open."""
    while words[_LIVE] < words[_ORDERS]:
        side = words[_LIVE] % 2
        level = _quote(words, side)
        if level > 0:
            _add(words, side, level, _size(words))
    row = _write(rows, words, _GRID, 0, words[_TICK], 0)
    rows[row]["ahead"] = words[_TICK]
    _write(rows, words, _STATUS, 0, 0, _OPEN)
    _write(rows, words, _SNAPSHOT, 0, 0, 0)
    for level in range(words[_LAST] + 1):
        if words[_QTY + level] > 0:
            side = _BUY if level <= words[_BID] else _SELL
            _write(rows, words, _LEVEL, side, level * words[_TICK], words[_QTY + level])


@entry
def _generate(rows: np.ndarray, words: np.ndarray, path: np.ndarray, curve: np.ndarray) -> int:
    """Write all rows but their times; return the payout of one YES contract."""
    payout = _fill_path(words, path, curve)
    # Markets differ in how much is traded: 0.5 to 1.5 times the mean.
    words[_SWEEPS] = _SWEEPS_MEAN // 2 + _below(words, _SWEEPS_MEAN)
    words[_FAIR] = path[0]
    _open_market(rows, words)
    while words[_ROW] < words[_END]:
        if _below(words, 400) == 0:
            words[_PACE], words[_EAGER] = _sample(words, _PACES), _below(words, 50)
        words[_CLOCK] += 1 + _sample(words, _GAP) * 64 // words[_PACE]
        words[_FAIR] = path[words[_ROW] * len(path) // words[_END]]
        _burst(rows, words)
    words[_CLOCK] += 1
    _write(rows, words, _STATUS, 0, 0, _CLOSED)
    if words[_ROW] < len(rows):
        words[_CLOCK] += 1
        _write(rows, words, _STATUS, 0, payout, _SETTLED)
    return payout


@entry
def _set_clock(rows: np.ndarray, words: np.ndarray, start: int, close: int) -> None:
    """Stretch the rows' times to the market's life, in µs, and let the feed deliver them."""
    body = words[_END]
    total = max(rows[body - 1]["ts"], 1)
    scale = ((close - start) // MICROSECOND << 20) // total
    before, ts, recv = 0, start, 0
    for row in range(len(rows)):
        clock = rows[row]["ts"]
        if row >= body:
            earliest = close if row == body else ts + (1_700_000 + _below(words, 8_000_000)) * 1000
            ts = max(ts + MICROSECOND, earliest)
        elif clock != before:
            ts = max(ts + MICROSECOND, start + (clock * scale >> 20) * MICROSECOND)
        if clock != before or row == 0:
            delay = 2_000 + _below(words, 4_000)
            if _below(words, 50) == 0:
                delay += _below(words, 40_000)
            recv = max(recv, ts + delay * MICROSECOND)
        before = clock
        rows[row]["ts"], rows[row]["recv"] = ts, recv
