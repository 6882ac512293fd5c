"""A feed on which the fill rules of ours and of nautilus_trader say the same.

Two bests that never move: trades eat into them, each with its decrease, and the level is made full
again after it. Nothing else shrinks a queue, no level is emptied and no price is gone through. A
record that changes nothing near stands at each moment at which a command of the maker arrives.
"""

from __future__ import annotations

import random

import numpy as np

from foldbook.engine import Market, Session, Side, Tape, TapeKind
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.units import MILLISECOND

from .queue_rules import ORDER_DELAY, STEP

SEED = 11
START = 1_785_888_000_000_000_000
BESTS = {Side.BUY: 4_000, Side.SELL: 6_000}
FAR = 2_000
FULL = 3_000
LARGEST = 300
"""0.01 contract of the largest trade: about twenty trades a side in a step, so that some queues
are eaten up before the order is cancelled, and some are not."""


def session(events: int) -> Session:
    """Return about `events` rows of one market."""
    draw = random.Random(SEED)
    rows: list[tuple[int, TapeKind, int, int, int]] = [
        (START, TapeKind.SNAPSHOT, 0, 0, 0),
        (START, TapeKind.SNAPSHOT_LEVEL, Side.BUY, FAR, FULL),
        (START, TapeKind.SNAPSHOT_LEVEL, Side.BUY, BESTS[Side.BUY], FULL),
        (START, TapeKind.SNAPSHOT_LEVEL, Side.SELL, BESTS[Side.SELL], FULL),
    ]
    now, arrives = START + 2 * STEP, ORDER_DELAY % STEP
    rows += [
        (START + arrives + k * STEP, TapeKind.INCREASE, Side.BUY, FAR, 1) for k in range(2)
    ]
    while len(rows) < events:
        now += MILLISECOND
        since = (now - START) % STEP
        if since == arrives:
            rows.append((now, TapeKind.INCREASE, Side.BUY, FAR, 1))
        elif since and now // MILLISECOND % 2:
            side, qty = draw.choice((Side.BUY, Side.SELL)), draw.randint(1, LARGEST)
            rows.append((now, TapeKind.TRADE, side, BESTS[side], qty))
            rows.append((now, TapeKind.DECREASE, side, BESTS[side], qty))
            rows.append((now + MILLISECOND // 2, TapeKind.INCREASE, side, BESTS[side], qty))
    made = np.zeros(len(rows), TAPE_DTYPE)
    for i, name in enumerate(("ts", "kind", "side", "price", "qty")):
        made[name] = [row[i] for row in rows]
    made["recv"] = made["ts"]
    return Session(Tape(made), (Market(ticker="PLAIN"),), name=f"plain-{events}")
