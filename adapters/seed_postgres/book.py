"""One market's rows into messages: bids of both sides into one book in YES terms.

A NO bid at q cents is a YES ask at 100 - q. Each delta says what its level was before, so every row
is checked against the book that the rows before it left: one that contradicts it is refused, and
the book is not trusted until its next snapshot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from foldbook.engine.schema import Side
from foldbook.engine.units import PRICE_ONE, QTY_MAX, QTY_ONE

from ..recordings import MessageKind, RefusedError
from .tables import Row

MILLISECOND = 1_000_000
TIMESTAMP_MAX = 2**63 // MILLISECOND - 1
CENT = PRICE_ONE // 100
Level = tuple[int, int]
"""Side and price."""
Message = tuple[int, ...]
"""One of MESSAGE_DTYPE."""


class MarketBook:
    """The book of one market, as its rows state it.

    losses: (timestamp_ms, number) of rows before which rows of any market are missing, in order.
    """

    def __init__(self, losses: Sequence[tuple[int, int]] = ()):
        self.left_out: Counter[str] = Counter()
        self.snapshots = 0
        self.deltas = 0
        self._losses = list(losses)
        self._levels: dict[Level, int] = {}
        self._is_anchored = False
        self._is_trusted = False
        self._ts = 0
        self._number = 0

    def begin(self, row: Row, number: int) -> None:
        """Begin a row, the number-th of its market. Raises RefusedError for its time or number."""
        self._number = number
        self.snapshots += row.is_snapshot
        self.deltas += not row.is_snapshot
        ts = _integer("timestamp_ms", row.timestamp_ms, 0, TIMESTAMP_MAX)
        _integer("sequence_number", row.number, 0, 2**63 - 1)
        self._ts = ts * MILLISECOND

    def take(self, row: Row) -> Iterator[Message]:
        """Yield the messages of the row that was begun.

        Raises RefusedError for a row that is not as it should be; `lose` then ends the trust.
        """
        while self._losses and self._losses[0] <= (row.timestamp_ms, row.number):
            del self._losses[0]
            yield from self.lose()
        if row.is_snapshot:
            yield from self._snapshot(row)
        elif row.before == row.number:
            self.left_out["duplicate"] += 1
        else:
            yield from self._delta(row)

    def lose(self) -> Iterator[Message]:
        """Yield the message that the book is not to be trusted, if it is."""
        if self._is_trusted:
            self._is_trusted = False
            yield self._message(MessageKind.LOST)

    def _snapshot(self, row: Row) -> Iterator[Message]:
        levels = {
            (int(side), _price(side, field, cent)): size
            for side, field, stated in (
                (Side.BUY, "yes_bids", row.yes_bids), (Side.SELL, "no_bids", row.no_bids)
            )
            for cent, size in _stated(field, stated)
            if size
        }
        if row.before is not None and row.number < row.before:
            yield from self.lose()
        if self._is_trusted and row.before == row.number:
            self._check_restated(levels)
        self._levels = levels
        self._is_anchored = self._is_trusted = True
        yield self._message(MessageKind.SNAPSHOT, qty=len(levels))
        for (side, price), size in levels.items():
            yield self._message(MessageKind.LEVEL, side, price, size * QTY_ONE)

    def _check_restated(self, levels: dict[Level, int]) -> None:
        """Check that a snapshot with the number of the row before it states the same book."""
        for side, price in sorted({*levels, *self._levels}):
            stated, stands = (each.get((side, price), 0) for each in (levels, self._levels))
            if stated != stands:
                field = "yes_bids" if side == Side.BUY else "no_bids"
                cent = price if side == Side.BUY else PRICE_ONE - price
                raise RefusedError("disagree", f"{field} size at {cent // CENT}", stated,
                                   f"{stands}, which the rows up to this number leave there")

    def _delta(self, row: Row) -> Iterator[Message]:
        side = {"yes": Side.BUY, "no": Side.SELL}.get(row.side)
        if side is None:
            raise RefusedError("side", "side", row.side, "'yes' or 'no'")
        price = _price(side, "price", row.price)
        old, new = _sizes(row)
        if not self._is_trusted:
            self.left_out["in_gap" if self._is_anchored else "unanchored"] += 1
            return
        stands = self._levels.get((side, price), 0)
        if old != stands:
            raise RefusedError("old_size", "old_size", row.old_size,
                               f"{stands}, which the rows before it leave at this price")
        if new:
            self._levels[side, price] = new
        else:
            self._levels.pop((side, price), None)
        yield self._message(MessageKind.CHANGE, side, price, (new - old) * QTY_ONE)

    def _message(
        self, kind: MessageKind, side: int = 0, price: int = 0, qty: int = 0
    ) -> Message:
        ahead = -1 if kind == MessageKind.CHANGE else 0
        return (self._ts, self._ts, qty, self._number, price, ahead, 0, 0, kind, side, 0)


def check_number(row: Row) -> None:
    """Check that no row is missing before this one. Raises RefusedError.

    A snapshot whose number falls begins a new count: the recorder subscribed again.
    """
    if row.before is None or row.number in (row.before, row.before + 1):
        return
    if row.is_snapshot and row.number < row.before:
        return
    raise RefusedError("sequence", "sequence_number", row.number,
                       f"{row.before + 1}, that of the row before and one")


def _sizes(row: Row) -> tuple[int, int]:
    """Return the contracts at a level before and after a delta."""
    if row.action not in ("add", "update", "remove"):
        raise RefusedError("action", "action", row.action, "'add', 'update' or 'remove'")
    old = _size("old_size", 0 if row.old_size is None and row.action == "add" else row.old_size)
    new = _size("new_size", 0 if row.new_size is None and row.action == "remove" else row.new_size)
    if row.action == "add" and old:
        raise RefusedError("old_size", "old_size", old, "0 or NULL where the action is 'add'")
    if row.action == "remove" and new:
        raise RefusedError("new_size", "new_size", new, "0 or NULL where the action is 'remove'")
    return old, new


def _stated(field: str, stated: Any) -> Iterator[tuple[int, int]]:
    """Yield (cents, contracts) of the bids in a snapshot."""
    if not isinstance(stated, dict):
        raise RefusedError("bids", field, stated, "an object {price in cents: contracts}")
    for key, size in stated.items():
        if not (key.isascii() and key.isdigit() and key == str(int(key))):
            raise RefusedError("price", f"{field} price", key, "cents from 1 to 99")
        yield int(key), _size(f"{field} size at {key}", size)


def _price(side: Side, field: str, value: Any) -> int:
    """Return the price of a bid in YES terms, $0.0001."""
    cent = _integer(f"{field} price" if field != "price" else field, value, 1, 99, why="price")
    return CENT * cent if side == Side.BUY else PRICE_ONE - CENT * cent


def _size(field: str, value: Any) -> int:
    return _integer(field, value, 0, QTY_MAX // QTY_ONE, why="size")


def _integer(field: str, value: Any, low: int, high: int, why: str = "wrong_type") -> int:
    is_whole = isinstance(value, Decimal) and value.is_finite() and value == int(value)
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if (is_int or is_whole) and low <= value <= high:
        return int(value)
    raise RefusedError(why, field, value, f"an integer from {low} to {high}")
