"""Generated order-by-order data, for when none was recorded: one seed, the same events each time.

It is no model of a venue: it only has all that the measurement must handle. Orders of round sizes
come near the best price, most cancels take young orders, some orders shrink, and takers sweep the
best level first in, first out.
"""

from __future__ import annotations

import random

import numpy as np

from foldbook.engine.schema import Side
from foldbook.engine.units import MILLISECOND

from .queue_models import ORDER_EVENT

SEED = 7
LEVELS = 6
ORDERS = 60
"""Orders on a side before cancels outweigh arrivals."""
SIZES = (5, 10, 10, 20, 25, 50, 100)


def order_events(count: int) -> tuple[np.ndarray, int]:
    """Return (about `count` events as ORDER_EVENT, how many are the book at the start)."""
    rng = random.Random(SEED)
    values: list[tuple[int, ...]] = []
    ladders: list[list[list[list[int]]]] = [[[] for _ in range(LEVELS)] for _ in range(2)]
    ts = 0
    arrived = 0

    def change(side: int, level: int, order: list[int], after: int, is_trade: bool) -> None:
        price = LEVELS - level if side == Side.BUY else LEVELS + 1 + level
        values.append((ts, order[0], order[1], after, price, side, is_trade))
        order[1] = after
        if after == 0:
            ladders[side][level].remove(order)

    def add(side: int) -> None:
        nonlocal arrived
        level = min(int(rng.expovariate(0.7)), LEVELS - 1)
        size = rng.choice(SIZES) * 100 + (rng.randrange(100) if rng.random() < 0.7 else 0)
        order = [arrived, 0]
        arrived += 1
        ladders[side][level].append(order)
        change(side, level, order, size, False)

    for number in range(ORDERS):
        add(number % 2)
    opening = len(values)
    while len(values) < count:
        ts += rng.randint(1, 200) * MILLISECOND
        side = rng.randrange(2)
        filled = [level for level in range(LEVELS) if ladders[side][level]]
        orders = sum(len(queue) for queue in ladders[side])
        if not filled or rng.random() < 0.55 - 0.2 * (orders > ORDERS):
            add(side)
        elif rng.random() < 0.12:
            left = rng.choice(SIZES) * 300
            while left and ladders[side][filled[0]]:
                order = ladders[side][filled[0]][0]
                taken = min(left, order[1])
                left -= taken
                change(side, filled[0], order, order[1] - taken, True)
        else:
            queue = ladders[side][rng.choice(filled)]
            place = max(len(queue) - 1 - int(rng.expovariate(0.4)), 0)
            level = ladders[side].index(queue)
            shrinks = rng.random() < 0.05 and queue[place][1] > 100
            change(side, level, queue[place], queue[place][1] // 2 if shrinks else 0, False)
    return np.array(values, ORDER_EVENT), opening
