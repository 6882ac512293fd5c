"""The queues of the recorded book, order by order: what stood ahead of each decrease.

The book is public, its orders are not; but a change normally concerns one order (SPEC 1.4), so an
increase is an order that arrives at the back, and a decrease is looked for among the orders that
are there. The rules, and why they are what they are, stand in `foldbook.engine.queues`. No row
looks at a later one, but a decrease in the half of a price change that follows in its burst.

A level holds the sizes of its orders, oldest first, in one block of the pool: so they are searched
as fast as memory is read. Blocks double when they are full; an empty level gives its block back.
"""

from __future__ import annotations

import numpy as np

from ..compiled import entry, inner
from ..schema import MarketStatus, TapeFlag, TapeKind
from ..units import PRICE_ONE

NO_DECREASE, TRADED, IDENTIFIED, AMBIGUOUS, MISSING = range(5)
"""What a row was: no decrease; a trade; exactly one, several or no order of its size there."""

ROW = 0
"""First word of a pass: the row to go on with."""
(
    _TICK,
    _TOP,
    _RECIPROCAL,
    _EPOCH,  # grows with each snapshot, gap and close: what has an older one is gone
    _ENDED,
    _HAS_TRADES,
    _BEST_BUY,  # ranks (see layout), kept until the first trade
    _BEST_SELL,
    _FIRST,
) = range(9)
"""Words of a market, then for each level the place of its block in the pool (0: none)."""

_END = 0
_FREE = 1
CLASSES = 40
POOL_HEAD = _FREE + CLASSES
"""Words of the pool before the blocks: where the used part ends, and a free block of each class."""
_CLASS, _HEAD, _TAIL, _TOTAL, _LEVEL_EPOCH, _ANONYMOUS, _SIZES = range(7)
"""Words of a block: class, first order, end of the orders, their sum, epoch, whether the first is
an aggregate of orders nobody saw arrive; then sizes. A free block names the next one in _HEAD."""
_SMALLEST = 16
_STRIDE = 32

_SNAPSHOT, _SNAPSHOT_LEVEL = int(TapeKind.SNAPSHOT), int(TapeKind.SNAPSHOT_LEVEL)
_INCREASE, _DECREASE = int(TapeKind.INCREASE), int(TapeKind.DECREASE)
_TRADE, _STATUS, _GAP = int(TapeKind.TRADE), int(TapeKind.STATUS), int(TapeKind.GAP)
_JOINED, _REPRICE = int(TapeFlag.JOINED), int(TapeFlag.REPRICE)
_GUESSED = int(TapeFlag.GUESSED)
_CLOSED = int(MarketStatus.CLOSED)


def market_words(tick: int) -> int:
    """Return how many words `find_places` needs for a market with this tick."""
    return _FIRST + 2 * (PRICE_ONE // tick + 1)


@entry
def set_up(ticks, bases, words, pool):
    """Write what is known of markets and of an empty pool before the first row."""
    for each in range(len(ticks)):
        words[bases[each] + _TICK] = ticks[each]
        words[bases[each] + _TOP] = PRICE_ONE // ticks[each]
        words[bases[each] + _RECIPROCAL] = -(-(1 << 32) // ticks[each])
    pool[_END] = POOL_HEAD


@entry
def find_places(tape, bases, words, pool, ahead, verdicts):
    """Fill `ahead` and `verdicts` from row words[ROW] on; return the row it came to.

    That is the number of rows, or less if the pool is full: then go on with a copy of it in a
    larger array. tape: rows that `check.find_fault` found valid. bases: int64, where the words of
    each market begin. words: int64, set up. pool: int64, set up. ahead: int64, 0.01 contract, of
    each decrease. verdicts: int8.
    """
    row = words[ROW]
    while row < len(tape):
        kind = np.int64(tape[row]["kind"])
        base = bases[tape[row]["market"]]
        if kind < _SNAPSHOT_LEVEL or kind > _DECREASE:
            _rare(words, base, kind, tape[row]["qty"])
            row += 1
            continue
        side = np.int64(tape[row]["side"])
        qty = tape[row]["qty"]
        top = words[base + _TOP]
        level = (np.int64(tape[row]["price"]) * words[base + _RECIPROCAL]) >> 32
        rank = level + side * (top - 2 * level)
        slot = base + _FIRST + side * (top + 1) + rank
        if kind == _INCREASE:
            if not _arrive(words, pool, slot, words[base + _EPOCH], qty):
                break
            if rank > words[base + _BEST_BUY + side]:
                words[base + _BEST_BUY + side] = rank
        elif kind == _SNAPSHOT_LEVEL:
            if not _confirm(words, pool, slot, words[base + _EPOCH], qty):
                break
            if rank > words[base + _BEST_BUY + side]:
                words[base + _BEST_BUY + side] = rank
        elif row > 0 and tape[row - 1]["kind"] == _TRADE and tape[row - 1]["flags"] & _JOINED:
            _take_front(words, pool, slot, qty)
            verdicts[row] = TRADED
            ahead[row] = 0
        else:
            before = pool[words[slot] + _TOTAL]
            verdict, behind = _withdraw(words, pool, slot, qty)
            ahead[row] = before - behind - qty
            if words[base + _HAS_TRADES] == 0:
                is_best = rank == words[base + _BEST_BUY + side]
                if verdict == IDENTIFIED and is_best and not _is_moved(tape, row):
                    verdict = AMBIGUOUS
                if words[slot] == 0:
                    _find_best(words, pool, base, side)
            verdicts[row] = verdict
        row += 1
    words[ROW] = row
    return row


@entry
def write_places(rows, ahead, verdicts, ahead_max):
    """Set `ahead` (-1 beyond `ahead_max`) and GUESSED in each DECREASE of `rows`."""
    for row in range(len(rows)):
        verdict = verdicts[row]
        if verdict != NO_DECREASE:
            rows[row]["ahead"] = ahead[row] if ahead[row] <= ahead_max else -1
            flags = rows[row]["flags"] & ~_GUESSED
            rows[row]["flags"] = flags | (_GUESSED if verdict >= AMBIGUOUS else 0)


@inner
def _rare(words, base, kind, qty):
    """Apply a row that changes no single level."""
    if kind == _SNAPSHOT or kind == _GAP:
        words[base + _EPOCH] += 1
    elif kind == _STATUS and qty >= _CLOSED and words[base + _ENDED] == 0:
        words[base + _ENDED] = 1
        words[base + _EPOCH] += 1
    else:
        if kind == _TRADE:
            words[base + _HAS_TRADES] = 1
        return
    words[base + _BEST_BUY] = 0
    words[base + _BEST_SELL] = 0


@inner
def _is_moved(tape, row):
    """Whether the next row puts the order of this decrease at another price."""
    after = row + 1
    if after == len(tape) or tape[after]["kind"] != _INCREASE:
        return False
    same = tape[after]["market"] == tape[row]["market"] and tape[after]["ts"] == tape[row]["ts"]
    return same and tape[after]["flags"] & _REPRICE != 0


@inner
def _find_best(words, pool, base, side):
    """Move a side's best past levels that are empty now."""
    rank = words[base + _BEST_BUY + side]
    slots = base + _FIRST + side * (words[base + _TOP] + 1)
    while rank > 0:
        block = words[slots + rank]
        if block != 0 and pool[block + _LEVEL_EPOCH] == words[base + _EPOCH]:
            break
        rank -= 1
    words[base + _BEST_BUY + side] = rank


@inner
def _reserve(pool, size_class):
    """Return a block of a class with all but its sizes set, or 0 if the pool is full."""
    block = pool[_FREE + size_class]
    if block != 0:
        pool[_FREE + size_class] = pool[block + _HEAD]
    else:
        block = pool[_END]
        end = block + (_SMALLEST << size_class)
        if end > len(pool):
            return np.int64(0)
        pool[_END] = end
    pool[block + _CLASS] = size_class
    pool[block + _HEAD] = _SIZES
    pool[block + _TAIL] = _SIZES
    pool[block + _TOTAL] = 0
    pool[block + _ANONYMOUS] = 0
    return block


@inner
def _release(words, pool, slot):
    """Give back the block of a level, if it has one."""
    block = words[slot]
    if block != 0:
        first = _FREE + pool[block + _CLASS]
        pool[block + _HEAD] = pool[first]
        pool[first] = block
        words[slot] = 0


@inner
def _arrive(words, pool, slot, epoch, qty):
    """Put an order at the back of a level; return whether there was room."""
    block = words[slot]
    if block != 0 and pool[block + _LEVEL_EPOCH] != epoch:
        _release(words, pool, slot)
        block = words[slot]
    if block == 0:
        block = _reserve(pool, np.int64(0))
        if block == 0:
            return False
        pool[block + _LEVEL_EPOCH] = epoch
        words[slot] = block
    if pool[block + _TAIL] == _SMALLEST << pool[block + _CLASS]:
        block = _with_room(words, pool, slot)
        if block == 0:
            return False
    tail = pool[block + _TAIL]
    pool[block + tail] = qty
    pool[block + _TAIL] = tail + 1
    pool[block + _TOTAL] += qty
    return True


@inner
def _with_room(words, pool, slot):
    """Move a level whose block is full to its front, or to a larger one; 0 if there is none."""
    block = words[slot]
    target = block
    head, tail = pool[block + _HEAD], pool[block + _TAIL]
    if 2 * (tail - head) > tail:
        target = _reserve(pool, pool[block + _CLASS] + 1)
        if target == 0:
            return target
        for word in (_TOTAL, _LEVEL_EPOCH, _ANONYMOUS):
            pool[target + word] = pool[block + word]
    for order in range(tail - head):
        pool[target + _SIZES + order] = pool[block + head + order]
    if target != block:
        _release(words, pool, slot)
        words[slot] = target
    pool[target + _HEAD] = _SIZES
    pool[target + _TAIL] = _SIZES + tail - head
    return target


@inner
def _confirm(words, pool, slot, epoch, qty):
    """Set a level to what a snapshot says; return whether there was room.

    The orders stay if the level was trusted until this snapshot, and their sum is what it says.
    """
    block = words[slot]
    if block != 0 and pool[block + _LEVEL_EPOCH] == epoch - 1 and pool[block + _TOTAL] == qty:
        pool[block + _LEVEL_EPOCH] = epoch
        return True
    _release(words, pool, slot)
    if not _arrive(words, pool, slot, epoch, qty):
        return False
    pool[words[slot] + _ANONYMOUS] = 1
    return True


@inner
def _take_front(words, pool, slot, qty):
    """Take a traded quantity from the oldest orders of a level."""
    block = words[slot]
    pool[block + _TOTAL] -= qty
    head = pool[block + _HEAD]
    while qty > 0 and pool[block + head] <= qty:
        qty -= pool[block + head]
        head += 1
        pool[block + _ANONYMOUS] = 0
    pool[block + _HEAD] = head
    if qty > 0:
        pool[block + head] -= qty
    if pool[block + _TOTAL] == 0:
        _release(words, pool, slot)


@inner
def _withdraw(words, pool, slot, qty):
    """Take a decrease that is no trade out of a level; return (verdict, quantity behind it)."""
    block = words[slot]
    pool[block + _TOTAL] -= qty
    sizes = pool[block + pool[block + _HEAD] : block + pool[block + _TAIL]]
    place, behind = _find_newest(sizes, qty)
    if place >= 0:
        equal = 0
        for order in range(place):
            equal += sizes[order] == qty
        _remove(words, pool, slot, place)
        return (IDENTIFIED if equal == 0 else AMBIGUOUS), behind
    behind = _shrink(pool, block, qty)
    if pool[block + _TOTAL] == 0:
        _release(words, pool, slot)
    return MISSING, behind


@inner
def _find_newest(sizes, qty):
    """Return (place of the newest order of a size, quantity behind it); place -1 if there is none.

    Whole strides are searched without a branch for each order: the processor does several at once.
    """
    end = len(sizes)
    behind = np.int64(0)
    while end > 0:
        begin = max(end - _STRIDE, 0)
        stride = sizes[begin:end]
        equal, total = 0, np.int64(0)
        for order in range(len(stride)):
            equal += stride[order] == qty
            total += stride[order]
        if equal > 0:
            place = len(stride) - 1
            while stride[place] != qty:
                behind += stride[place]
                place -= 1
            return begin + place, behind
        behind += total
        end = begin
    return np.int64(-1), behind


@inner
def _remove(words, pool, slot, place):
    """Take one order, counted from the oldest, out of a level; move the fewer of the others."""
    block = words[slot]
    head, tail = pool[block + _HEAD], pool[block + _TAIL]
    count = tail - head
    if count == 1:
        _release(words, pool, slot)
        return
    if place == 0:
        pool[block + _ANONYMOUS] = 0
    if 2 * place < count:
        sizes = pool[block + head : block + head + place + 1]
        for order in range(place, 0, -1):
            sizes[order] = sizes[order - 1]
        pool[block + _HEAD] = head + 1
    else:
        sizes = pool[block + head + place : block + tail]
        for order in range(len(sizes) - 1):
            sizes[order] = sizes[order + 1]
        pool[block + _TAIL] = tail - 1


@inner
def _shrink(pool, block, qty):
    """Take a quantity that no order has by itself; return how much stands behind its place."""
    head, tail = block + pool[block + _HEAD], block + pool[block + _TAIL]
    total = pool[block + _TOTAL]
    if pool[block + _ANONYMOUS] == 1 and pool[head] > qty:
        pool[head] -= qty
        return total - pool[head]
    behind = np.int64(0)
    for at in range(tail - 1, head - 1, -1):
        if pool[at] > qty:
            pool[at] -= qty
            return behind + pool[at]
        behind += pool[at]
    while qty > 0 and pool[tail - 1] <= qty:
        tail -= 1
        qty -= pool[tail]
    if qty > 0:
        pool[tail - 1] -= qty
    pool[block + _TAIL] = tail - block
    if tail == head:
        pool[block + _ANONYMOUS] = 0
    return np.int64(0)
