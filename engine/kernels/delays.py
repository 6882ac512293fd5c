"""How long messages travel: delays drawn from tables, without any state.

A draw depends on the seed and on the number of a journal row alone, so it is the same in a replay,
in a fork and in every driver (docs/semantics.md, section 10).
"""

from __future__ import annotations

import numpy as np

from ..compiled import inner
from ..schema import REQUESTS, JournalKind
from ..units import PPM
from .layout import SEED

ORDER, AMEND, CANCEL, RESPONSE, DEPTH = range(5)
"""What is drawn for: delays, as in `delivery.delays_table`, and whether depth is there."""
CONSTANT, EMPIRICAL, RECORDED = range(3)
"""Modes of a delay in the table."""
DELAY_WORDS = 3
"""Words of one message kind in the header of the table: its mode, how many delays, and where."""
_MODULUS = (1 << 31) - 1

_TOLD_LATE = sum(
    1 << kind
    for kind in JournalKind
    if kind not in (*REQUESTS, JournalKind.CASH_MOVED)
)


@inner
def draw(seed, number, salt):
    """Return a number from 0 to 2^31 - 2 that depends on the arguments alone."""
    x = seed % _MODULUS
    x = _mixed((x + number + 1) % _MODULUS)
    return _mixed((x + salt + 1) % _MODULUS)


@inner
def _mixed(x):
    """Return a residue that depends on all of another: docs/semantics.md, section 10, states the
    polynomial, in which no product leaves int64."""
    x = (x * x + 48271 * x + 12345) % _MODULUS
    return (x * x + 48271 * x + 12345) % _MODULUS


@inner
def delay(tables, seed, which, number, now):
    """Return how long message `number` travels if it is sent `now`, ns."""
    mode = tables[DELAY_WORDS * which]
    rows = tables[DELAY_WORDS * which + 1]
    first = tables[DELAY_WORDS * which + 2]
    if mode == EMPIRICAL:
        return tables[first + draw(seed, number, which + 1) % rows]
    if mode == RECORDED:
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
def is_available(tables, offset, seed, number, terms):
    """Return whether an order that comes for displayed depth finds it (section 12).

    offset: where `availability.words` stand in the tables. number: of the journal row that accepted
    the order; terms: (order over depth in ppm, age of the book in ns, latency in ns).
    """
    at = offset + 3
    place = 0
    for axis in range(3):
        edges = tables[offset + axis]
        above = 0
        while above < edges and tables[at + above] <= terms[axis]:
            above += 1
        place = place * (edges + 1) + above
        at += edges
    return draw(seed, number, DEPTH + 1) % PPM < tables[at + place]


@inner
def known_at(run, row, number, before):
    """Return when the agent knows of journal row `number`, if it knew of the last at `before`."""
    known = row["ts"]
    if (_TOLD_LATE >> np.int64(row["kind"])) & 1:
        known += delay(run.tables, run.state[SEED], RESPONSE, number, row["ts"])
    return max(before, known)
