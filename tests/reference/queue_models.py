"""How much of a decrease stood in front of an own order (docs/semantics.md, section 4)."""

from __future__ import annotations

import math

from foldbook.engine.schema import TapeFlag
from foldbook.engine.specs import Queue, QueueModel

from .state import Order, TapeRow


def advance(queue: Queue, order: Order, row: TapeRow, before: int, after: int) -> None:
    """Move an order forward after a decrease that is no trade's, and count what was guessed."""
    front = min(order.ahead, before)
    known = min(order.ahead, after)
    order.ahead = min(front - moved(queue, front, before, row), after)
    if queue.model != QueueModel.REBUILT or row.flags & TapeFlag.GUESSED:
        order.guessed += known - order.ahead


def moved(queue: Queue, front: int, before: int, row: TapeRow) -> int:
    """Return how much of a decrease by `row.qty` stood in front, never more than did."""
    if not front:
        return 0
    behind, model = before - front, queue.model
    if model == QueueModel.OPTIMISTIC:
        return min(front, row.qty)
    if model == QueueModel.POWER:
        ours, theirs = power(front, queue.exponent), power(behind, queue.exponent)
        return min(front, math.floor(float(row.qty) * ours / (ours + theirs)))
    if model == QueueModel.LOG:
        ours, theirs = math.log(1.0 + front), math.log(1.0 + behind)
        return min(front, math.floor(float(row.qty) * ours / (ours + theirs)))
    if model == QueueModel.REBUILT:
        return min(max(front - row.ahead, 0), row.qty) if row.ahead >= 0 else 0
    assert model == QueueModel.USER and queue.function is not None, queue
    left = queue.function(front, before, row.qty, row.ahead, row.flags)
    return front - min(max(left, 0), front)


def power(base: int, exponent: int) -> float:
    """Return base^exponent by repeated multiplication from the left."""
    product = float(base)
    for _ in range(exponent - 1):
        product *= float(base)
    return product
