"""The recorded queue in plain Python: lists of orders, oldest first, and the rules one by one.

Shares no code with the kernels, and is slow on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from foldbook.engine.schema import MarketStatus, TapeFlag, TapeKind
from foldbook.engine.specs import Market

Key = tuple[int, int]
"""(side, price) of a level."""


class Place(NamedTuple):
    """Where a decrease stood. how: "traded", "identified", "ambiguous" or "missing"."""

    row: int
    ahead: int
    how: str


class Order:
    """One order, or the aggregate of a snapshot."""

    def __init__(self, size: int, is_aggregate: bool = False):
        self.size = size
        self.is_aggregate = is_aggregate


class Book:
    """The queues of one market."""

    def __init__(self) -> None:
        self.queues: dict[Key, list[Order]] = {}
        self.before: dict[Key, list[Order]] = {}
        """What stood before the snapshot that is being read."""
        self.closed = False
        self.has_trades = False

    def total(self, key: Key) -> int:
        return sum(order.size for order in self.queues.get(key, []))

    def is_best(self, key: Key) -> bool:
        side, price = key
        prices = [other for other_side, other in self.queues if other_side == side]
        return price == (max(prices) if side == 0 else min(prices))

    def drop_empty(self, key: Key) -> None:
        self.queues[key] = [order for order in self.queues[key] if order.size > 0]
        if not self.queues[key]:
            del self.queues[key]


def rebuild(rows: np.ndarray, markets: Sequence[Market]) -> list[Place]:
    """Return the place of each DECREASE of a valid tape, in order."""
    books = [Book() for _ in markets]
    values = rows.tolist()
    places: list[Place] = []
    for number, row in enumerate(values):
        _, _, qty, _, price, market, kind, side, _ = row
        book, key = books[market], (side, price)
        if kind == TapeKind.SNAPSHOT:
            book.before, book.queues = book.queues, {}
        elif kind == TapeKind.SNAPSHOT_LEVEL:
            known = book.before.pop(key, [])
            if sum(order.size for order in known) == qty:
                book.queues[key] = known
            else:
                book.queues[key] = [Order(qty, is_aggregate=True)]
        elif kind == TapeKind.INCREASE:
            book.queues.setdefault(key, []).append(Order(qty))
        elif kind == TapeKind.DECREASE:
            previous, before = values[number - 1], book.total(key)
            if previous[6] == TapeKind.TRADE and previous[8] & TapeFlag.JOINED:
                trade(book, key, qty)
                places.append(Place(number, 0, "traded"))
            else:
                comes_back = is_price_change(values, number)
                places.append(Place(number, *withdraw(book, key, qty, comes_back)))
            assert 0 <= places[-1].ahead <= before - qty
            assert book.total(key) == before - qty
        elif kind == TapeKind.TRADE:
            book.has_trades = True
        elif kind == TapeKind.GAP:
            book.queues = {}
        elif kind == TapeKind.STATUS and qty >= MarketStatus.CLOSED and not book.closed:
            book.closed = True
            book.queues = {}
    return places


def is_price_change(values: list[tuple[int, ...]], number: int) -> bool:
    """Whether the row after this decrease is the other half of a price change."""
    if number + 1 == len(values):
        return False
    row, after = values[number], values[number + 1]
    return (
        (after[0], after[5], after[6]) == (row[0], row[5], TapeKind.INCREASE)
        and after[8] & TapeFlag.REPRICE != 0
    )


def trade(book: Book, key: Key, qty: int) -> None:
    for order in book.queues[key]:
        taken = min(order.size, qty)
        order.size -= taken
        qty -= taken
    book.drop_empty(key)


def withdraw(book: Book, key: Key, qty: int, comes_back: bool) -> tuple[int, str]:
    """Take a decrease that is no trade out of its level; return (ahead, how)."""
    queue = book.queues[key]
    equal = [place for place, order in enumerate(queue) if order.size == qty]
    larger = [place for place, order in enumerate(queue) if order.size > qty]
    if equal:
        may_be_trade = not book.has_trades and book.is_best(key) and not comes_back
        ahead = sum(order.size for order in queue[: equal[-1]])
        queue[equal[-1]].size = 0
        how = "ambiguous" if len(equal) > 1 or may_be_trade else "identified"
    elif queue[0].is_aggregate and queue[0].size > qty:
        queue[0].size -= qty
        ahead, how = queue[0].size, "missing"
    elif larger:
        ahead = sum(order.size for order in queue[: larger[-1]])
        queue[larger[-1]].size -= qty
        how = "missing"
    else:
        ahead, how = book.total(key) - qty, "missing"
        for order in reversed(queue):
            taken = min(order.size, qty)
            order.size -= taken
            qty -= taken
    book.drop_empty(key)
    return ahead, how
