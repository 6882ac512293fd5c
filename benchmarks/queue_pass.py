"""How fast a tape's queues are rebuilt, in a generated session and where levels are crowded."""

from __future__ import annotations

import numpy as np

from foldbook.adapters import synthetic
from foldbook.engine.queues import rebuild_queues
from foldbook.engine.schema import TAPE_DTYPE, Side, TapeFlag, TapeKind
from foldbook.engine.session import Session
from foldbook.engine.specs import Market

from .harness import Case, benchmark

CROWD = 500
"""Orders that a level of the crowded tape holds."""
LEVELS = 20


def _case(rows: np.ndarray, markets: tuple[Market, ...]) -> Case:
    at = rows["kind"] == TapeKind.DECREASE
    first = rebuild_queues(rows, markets)

    def check(made: np.ndarray) -> None:
        assert made.tobytes() == first.tobytes(), "the same tape has other queues"
        assert (made["ahead"][at] >= 0).all(), "a decrease has no place"

    return Case(lambda: rebuild_queues(rows, markets), len(rows), "rows", check)


@benchmark(toy=20_000, full=2_000_000, repeats=7)
def queue_pass(size: int) -> Case:
    """Rebuild the queues of a generated session, 150 orders in its book."""
    session: Session = synthetic.session(seed=7, events=size)
    return _case(session.tape.rows, session.markets)


@benchmark(toy=30_000, full=2_000_000, repeats=7)
def queue_pass_crowded(size: int) -> Case:
    """Rebuild queues of 500 orders a level: each row an order at the back, or one of any place."""
    rows = np.zeros(size, TAPE_DTYPE)
    numbers = np.arange(size)
    rows["ts"] = numbers * 1000
    rows["price"] = 100 * (1 + numbers % LEVELS)
    rows["qty"] = 1 + numbers // LEVELS % CROWD
    rows["kind"] = TapeKind.INCREASE
    rows["side"] = Side.BUY
    rows[0] = np.zeros(1, TAPE_DTYPE)[0]
    rows["kind"][0], rows["kind"][1] = TapeKind.SNAPSHOT, TapeKind.TRADE
    rows["flags"][1] = TapeFlag.UNJOINED
    # Full levels lose an order, of each age in turn, and then gain one of the same size.
    later = rows[LEVELS * CROWD + 2 * LEVELS :]
    step = np.arange(len(later)) // LEVELS
    later["qty"] = 1 + step // 2 * 7 % CROWD
    later["kind"] = np.where(step % 2, TapeKind.INCREASE, TapeKind.DECREASE)
    return _case(rows, (Market("CROWDED", 100),))
