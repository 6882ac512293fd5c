"""Queue models against what a level stream itself says of its orders: consistency, not truth.

There are no ids on the venue's public feed. But many removals have exactly one order of their size
in their level, and many trades equal exactly one order that rests there, wherever it stands: those
orders' fates are told by the stream. Only they are tested; whatever else happened is assigned by
the rules of `engine.queues`, so that queue errors here say how far a model is from those rules.
What the fates can contradict is the order in which queues are filled.

`FOLDBOOK_DATA` names a folder with `kalshi_gold15m/events`, of which every WINDOWS_EACH-th window
is taken. Without it, or at toy size, the stream is that of generated sessions.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from foldbook.adapters import sessions, synthetic
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.engine.schema import TapeFlag, TapeKind

from ..harness import Case, benchmark
from . import queue_models
from .queue_models import ORDER_EVENT, Scores

FULL = 200_000
WINDOWS_EACH = 8
GENERATED = 4
"""Generated sessions that share the size."""


class Inference:
    """Orders, oldest first, of each level of one market; and what is known of their fates."""

    def __init__(self) -> None:
        self.queues: dict[tuple[int, int], list[list[int]]] = {}
        self.events: list[tuple[int, ...]] = []
        self.unknown: set[int] = set()
        self.opening = 0
        self.arrived = 0

    def arrive(self, ts: int, side: int, price: int, qty: int) -> int:
        order = [self.arrived, qty]
        self.arrived += 1
        self.queues.setdefault((side, price), []).append(order)
        self.events.append((ts, order[0], 0, qty, price, side, 0))
        return order[0]

    def remove(self, ts: int, side: int, price: int, qty: int, *, is_trade: bool) -> None:
        """Take a decrease out of a level; whoever it may have been as well is unknown then."""
        queue = self.queues[side, price]
        equal = [order for order in queue if order[1] == qty]
        if equal:
            if len(equal) > 1:
                self.unknown.update(order[0] for order in equal)
            chosen = [equal[0] if is_trade else equal[-1]]
            if len(equal) > 1 and is_trade and queue[0][1] > qty:
                chosen = [queue[0]]
        else:
            larger = [order for order in queue if order[1] > qty]
            heads = larger if not is_trade and queue[0][0] < self.opening else []
            first = heads[:1] if heads and heads[0] is queue[0] else larger[-1:]
            chosen = queue[:] if is_trade else first or queue[::-1]
        for order in chosen:
            taken = min(order[1], qty)
            if taken == 0:
                break
            if not equal:
                self.unknown.add(order[0])
            self.events.append((ts, order[0], order[1], order[1] - taken, price, side, is_trade))
            order[1] -= taken
            qty -= taken
        self.queues[side, price] = [order for order in queue if order[1] > 0]


def inferred(rows: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """Return (events, opening, numbers of the orders whose fate is known) of one market's tape.

    rows: TAPE_DTYPE, of one market; what follows its second snapshot or a gap is left out.
    """
    found = Inference()
    is_joined = False
    for ts, _, qty, _, price, _, kind, side, flags in rows.tolist():
        if kind in (TapeKind.GAP, TapeKind.SNAPSHOT) and found.events:
            break
        if kind == TapeKind.SNAPSHOT_LEVEL:
            found.unknown.add(found.arrive(ts, side, price, qty))
            found.opening += 1
        elif kind == TapeKind.INCREASE:
            found.arrive(ts, side, price, qty)
        elif kind == TapeKind.DECREASE:
            found.remove(ts, side, price, qty, is_trade=is_joined)
        is_joined = kind == TapeKind.TRADE and flags & TapeFlag.JOINED != 0
    resting = {order[0] for queue in found.queues.values() for order in queue}
    known = sorted(set(range(found.arrived)) - found.unknown - resting)
    return np.array(found.events, ORDER_EVENT), found.opening, np.array(known, np.int64)


def source(size: int) -> tuple[str, list[np.ndarray]]:
    """Return (name, tapes of one market each): recorded at full size, if there are any."""
    folder = Path(os.environ.get("FOLDBOOK_DATA", "")) / "kalshi_gold15m" / "events"
    if size >= FULL and "FOLDBOOK_DATA" in os.environ and folder.is_dir():
        windows = sorted(folder.iterdir())[::WINDOWS_EACH]
        with tempfile.TemporaryDirectory() as target:
            reports = import_recording(windows, Path(target))
            tapes = [np.array(sessions.load(report.session).tape.rows) for report in reports]
        return f"gold15m, {len(tapes)} windows", tapes
    made = [synthetic.session(seed=seed, events=size // GENERATED) for seed in range(GENERATED)]
    return "generated sessions", [session.tape.rows for session in made]


@benchmark(toy=8_000, full=FULL, repeats=1)
def fidelity_gold(size: int) -> Case:
    """Predict the fates that a stream of levels tells by itself, with each queue model."""
    name, tapes = source(size)

    def run() -> list[Scores]:
        parts = [queue_models.measure(*inferred(rows)) for rows in tapes]
        return [queue_models.summary(name, parts)]

    return Case(run, sum(len(rows) for rows in tapes), "rows", check, tables=queue_models.tables)


def check(found: list[Scores]) -> None:
    """Assert that there were orders to test, and that what was inferred agrees with itself."""
    for each in found:
        assert each.orders > each.fills > 0
        models = {score.model: score for score in each.models}
        assert models["true"].error == 0
