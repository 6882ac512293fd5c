"""Queue models: how much of a decrease stood in front of an own order.

Quantities in, quantities out; the shares between are float64, from additions, products and the
scalar logarithm only, so that they are the same compiled and interpreted (docs/semantics.md,
section 4).
"""

from __future__ import annotations

import math

from ..compiled import inner
from ..specs import QueueModel

_OPTIMISTIC = int(QueueModel.OPTIMISTIC)
_LOG = int(QueueModel.LOG)
_REBUILT = int(QueueModel.REBUILT)


@inner
def moved_in_front(model, exponent, front, before, qty, row_ahead):
    """Return how much of a decrease of `qty` stood among the `front` first of `before`."""
    if front == 0:
        return 0
    if model == _OPTIMISTIC:
        return min(front, qty)
    if model == _REBUILT:
        return min(max(front - row_ahead, 0), qty) if row_ahead >= 0 else 0
    if model == _LOG:
        ahead = math.log(1.0 + float(front))
        behind = math.log(1.0 + float(before - front))
    else:
        ahead = _power(float(front), exponent)
        behind = _power(float(before - front), exponent)
    return min(front, math.floor(float(qty) * (ahead / (ahead + behind))))


@inner
def _power(value, exponent):
    result = value
    for _ in range(exponent - 1):
        result *= value
    return result
