"""The recorded queue, rebuilt once per tape: how much stood ahead of each decrease in its level.

The record does not depend on the orders of a run, so this is done when a tape is made; a run then
compares its own place with the column `ahead`, and keeps no queue. What the public feed tells is
levels, not orders, but a change normally concerns one order (SPEC 1.4), and trades take from the
front (SPEC 4). The rules, each order of a level oldest first:

- INCREASE: one order arrives at the back. Half of a price change (REPRICE) is no exception: the
  order loses its place.
- DECREASE of a joined trade: it takes from the front, the next orders too if the first is smaller.
  `ahead` is 0, and no guess.
- Any other DECREASE is an order of exactly that size. If one has it, that one (*identified*). If
  several, the newest (*ambiguous*): most cancels come from the back (SPEC 4). Also ambiguous is
  an order found at the best price of a market that has shown no TRADE so far, unless it comes back
  at another price in the same burst: the record may have no trades, and this one be a trade.
- No order of that size (*missing*): it comes out of the aggregate that heads the level if that is
  larger, else out of the newest larger order, else out of the last orders together.
- SNAPSHOT_LEVEL: a level that was trusted until the snapshot, and has the sum that the snapshot
  states, keeps its orders. Any other becomes one aggregate, which is treated as an order but holds
  orders that nobody saw arrive.
- GAP and the close of a market: nothing stands anywhere any more.

Within an aggregate the place of a decrease is not known. It counts as its back: for whatever stands
behind the aggregate that makes no difference, and for an own order inside it (one that was there
before a snapshot) it never claims progress that did not happen. Of an order that shrinks, `ahead`
is what stood before the whole of it.

Rows depend on rows before them alone (a price change: on its burst). A row's `ahead` is what the
exchange knew at `ts`; a recorder that learns later that a decrease was a trade learns it later.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from .kernels import queues as kernel
from .schema import TAPE_DTYPE
from .session import Tape, check_tape
from .specs import Market

AHEAD_MAX = int(np.iinfo(TAPE_DTYPE["ahead"]).max)
"""The most that a row can state, 0.01 contract; a place further back is -1, unknown."""
POOL_WORDS = 1 << 16
"""Words of the pool at first; it doubles when the orders need more."""


@attrs.frozen
class QueueCounts:
    """How the decreases of a tape were placed. Their sum is the number of DECREASE rows.

    traded: joined trades. identified: one order fits. ambiguous: several do, or it may have been
    a trade. missing: none does. The last two have TapeFlag.GUESSED.
    """

    traded: int = 0
    identified: int = 0
    ambiguous: int = 0
    missing: int = 0

    def __add__(self, other: QueueCounts) -> QueueCounts:
        mine, more = attrs.astuple(self), attrs.astuple(other)
        return QueueCounts(*(one + two for one, two in zip(mine, more, strict=True)))


@attrs.frozen(eq=False)
class QueuePlaces:
    """The place of each row of a tape in its level.

    ahead: int64, 0.01 contract, one per row: how much stood ahead of a DECREASE, 0 elsewhere.
    verdicts: int8, one per row: TRADED, IDENTIFIED, AMBIGUOUS, MISSING of `kernels.queues`, or
    NO_DECREASE.
    """

    ahead: np.ndarray
    verdicts: np.ndarray

    @property
    def counts(self) -> QueueCounts:
        """Return how many decreases were placed how."""
        found = np.bincount(self.verdicts, minlength=kernel.MISSING + 1).tolist()
        return QueueCounts(*found[kernel.TRADED :])

    def written_to(self, rows: np.ndarray) -> np.ndarray:
        """Return a copy of the rows (TAPE_DTYPE) with `ahead` and GUESSED set in each DECREASE."""
        copy = np.array(rows, TAPE_DTYPE, order="C")
        kernel.write_places(copy, self.ahead, self.verdicts, AHEAD_MAX)
        return copy


def rebuild_queues(rows: np.ndarray, markets: Sequence[Market]) -> np.ndarray:
    """Return a copy of a tape whose DECREASE rows state what stood ahead of them.

    rows: TAPE_DTYPE, shape (events,). markets: those that the rows index. In the copy, the column
    `ahead` of each DECREASE is in 0.01 contract (-1: does not fit int32), and TapeFlag.GUESSED says
    that the order was not identified; what stood in the two before is replaced. All other rows and
    columns are as they were. Raises TapeError, naming the row, for rows that are no valid tape.
    """
    return find_places(rows, markets).written_to(rows)


def find_places(rows: np.ndarray, markets: Sequence[Market]) -> QueuePlaces:
    """Return the places of a tape's decreases in their levels; arguments as `rebuild_queues`."""
    tape = Tape(rows)
    check_tape(tape, tuple(markets))
    sizes = [kernel.market_words(market.tick) for market in markets]
    bases = np.cumsum([kernel.ROW + 1, *sizes], dtype=np.int64)
    words = np.zeros(int(bases[-1]), np.int64)
    pool = np.zeros(POOL_WORDS, np.int64)
    kernel.set_up(np.array([market.tick for market in markets], np.int64), bases, words, pool)
    ahead = np.zeros(len(rows), np.int64)
    verdicts = np.zeros(len(rows), np.int8)
    while kernel.find_places(tape.rows, bases, words, pool, ahead, verdicts) < len(rows):
        pool = np.concatenate([pool, np.zeros_like(pool)])
    return QueuePlaces(ahead, verdicts)
