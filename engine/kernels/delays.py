"""How long messages travel: delays drawn from tables, without any state.

A draw depends on the seed and on the number of a journal row alone, so it is the same in a replay,
in a fork and in every driver (docs/semantics.md, section 10).
"""

from __future__ import annotations

import numpy as np

from ..compiled import inner
from ..schema import JournalKind
from .layout import SEED

ORDER, AMEND, CANCEL, RESPONSE = range(4)
"""Which delay, in the order of `delivery.delays_table`."""
_EMPIRICAL, _RECORDED = 1, 2
_MODULUS = (1 << 31) - 1

_ANSWERS = sum(
    1 << kind
    for kind in JournalKind
    if kind
    not in (
        JournalKind.SUBMITTED,
        JournalKind.AMEND_REQUESTED,
        JournalKind.CANCEL_REQUESTED,
        JournalKind.DECREASE_REQUESTED,
        JournalKind.GROUP_SET,
        JournalKind.KILL_SET,
        JournalKind.CASH_MOVED,
    )
)


@inner
def draw(seed, number, salt):
    """Return a number from 0 to 2^31 - 2 that depends on the arguments alone."""
    x = seed % _MODULUS
    x = _mixed((x + number + 1) % _MODULUS)
    return _mixed((x + salt + 1) % _MODULUS)


@inner
def _mixed(x):
    x = (x * x + 48271 * x + 12345) % _MODULUS
    return (x * x + 48271 * x + 12345) % _MODULUS


@inner
def delay(tables, seed, which, number, now):
    """Return how long message `number` travels if it is sent `now`, ns."""
    mode = tables[3 * which]
    rows = tables[3 * which + 1]
    first = tables[3 * which + 2]
    if mode == _EMPIRICAL:
        return tables[first + draw(seed, number, which + 1) % rows]
    if mode == _RECORDED:
        low = 0
        high = rows
        while high - low > 1:
            middle = (low + high) // 2
            if tables[first + middle] <= now:
                low = middle
            else:
                high = middle
        return tables[first + rows + low]
    return tables[first]


@inner
def known_at(run, row, number, before):
    """Return when the agent knows of journal row `number`, if it knew of the last at `before`."""
    known = row["ts"]
    if (_ANSWERS >> np.int64(row["kind"])) & 1:
        known += delay(run.tables, run.state[SEED], RESPONSE, number, row["ts"])
    return max(before, known)
