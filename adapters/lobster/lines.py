"""Rows of the two files of a trading day, typed and checked; row k of both belongs together.

Times are seconds after midnight at the exchange, prices whole numbers of $0.0001. What is not that
is refused, never repaired.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from enum import IntEnum
from pathlib import Path
from zoneinfo import ZoneInfo

import attrs

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import Side
from foldbook.engine.units import SECOND

from ..recordings import Meter, Problems, RefusedError, read_lines

NAME = re.compile(
    r"(?P<ticker>[A-Za-z0-9.-]{1,32})_(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})_[0-9]+_[0-9]+_message_"
    r"(?P<levels>[0-9]{1,3})\.csv(?:\.gz)?"
)
EXPECTED_NAME = "TICKER_YYYY-MM-DD_START_END_message_LEVELS.csv"
ZONE = "America/New_York"
MESSAGES, BOOK = 0, 1
"""Which of a day's two files a row is in."""
FIELDS = ("time", "type", "order id", "size", "price", "direction")

_TIME = re.compile(r"([0-9]{1,5})(?:\.([0-9]{1,9})0*)?")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_SIDES = {"1": int(Side.BUY), "-1": int(Side.SELL)}

Refuse = Callable[[int, int, RefusedError], None]
"""Told (file, row, what is wrong with it); may raise TapeError."""


class MessageType(IntEnum):
    """What a row of the message file says."""

    NEW = 1
    REDUCED = 2
    DELETED = 3
    EXECUTED = 4
    HIDDEN = 5
    CROSS = 6
    HALT = 7


@attrs.frozen
class Message:
    """One row of the message file. ts: ns UTC. price: $0.0001. side: of the order that rests."""

    ts: int
    type: MessageType
    order: int
    size: int
    price: int
    side: int


@attrs.frozen
class Row:
    """One row of both files. message: None if it was refused. book: as written, b"" if missing."""

    number: int
    message: Message | None
    book: bytes


@attrs.define
class Day:
    """The two files of one trading day. rows: how many were read of the messages, so far."""

    messages: Path
    book: Path
    ticker: str
    levels: int
    midnight: int
    """ns UTC"""
    rows: int = 0

    def read(self, problems: Problems, meter: Meter, refuse: Refuse) -> Iterator[Row]:
        """Yield the rows of both files together, in order."""
        last = 0
        pairs = itertools.zip_longest(
            read_lines(self.messages, problems, meter), read_lines(self.book, problems, meter)
        )
        for number, (said, shown) in enumerate(pairs, 1):
            if said is None or shown is None:
                short = self.messages if said is None else self.book
                refuse(MESSAGES if said is None else BOOK, number, RefusedError(
                    "rows", "row", "missing", f"as many rows in {short.name} as in the other file"))
                return
            self.rows += 1
            message = None
            try:
                message = _message(said[1].decode("latin-1").split(","), self.midnight, last)
                last = message.ts
            except RefusedError as error:
                refuse(MESSAGES, number, error)
            yield Row(number, message, shown[1])


def day_of(messages: Path) -> Day:
    """Return the day whose message file is `messages`. Raises TapeError if its name tells none."""
    match = NAME.fullmatch(messages.name)
    book = messages.with_name(messages.name.replace("_message_", "_orderbook_"))
    if match is None:
        raise TapeError(f"{messages}: its name is not like {EXPECTED_NAME}")
    if not book.is_file():
        raise TapeError(f"{messages}: {book.name} does not lie beside it")
    if not int(match["levels"]):
        raise TapeError(f"{messages}: its name says 0 levels, expected 1 or more")
    return Day(messages, book, f"{match['ticker']}-{match['date']}", int(match["levels"]),
               _midnight(messages, match["date"]))


def book_levels(text: bytes, levels: int) -> tuple[dict[int, int], dict[int, int]]:
    """Return (bids, asks) by price ($0.0001) of one row of the book file, best first.

    Raises RefusedError for a row that is no book: prices out of order, or sizes below 1.
    """
    fields = text.decode("latin-1").split(",")
    if len(fields) != 4 * levels:
        raise RefusedError("fields", "row", len(fields), f"{4 * levels} fields: {levels} levels of "
                           "ask price, ask size, bid price, bid size")
    bids = _ladder("bid", fields[2::4], fields[3::4], -1)
    return bids, _ladder("ask", fields[0::4], fields[1::4], 1)


def _ladder(name: str, prices: Sequence[str], sizes: Sequence[str], sign: int) -> dict[int, int]:
    """Return the levels of one side; a size of 0 says that there is none."""
    found: dict[int, int] = {}
    last: int | None = None
    for number, (price_text, size_text) in enumerate(zip(prices, sizes, strict=True), 1):
        price = _integer(f"{name} price {number}", price_text)
        size = _integer(f"{name} size {number}", size_text)
        if size < 0 or (size and price <= 0):
            raise RefusedError("size", f"{name} {number}", f"{price} x {size}",
                               "a price and a size")
        if not size:
            continue
        if last is not None and sign * price <= sign * last:
            raise RefusedError("book", f"{name} price {number}", price,
                               f"one that is worse than the {last} before it")
        found[price] = size
        last = price
    return found


def _message(fields: list[str], midnight: int, last: int) -> Message:
    if len(fields) != len(FIELDS):
        raise RefusedError("fields", "row", len(fields),
                           f"{len(FIELDS)} fields: {', '.join(FIELDS)}")
    time, kind, order, size, price, direction = fields
    match = _TIME.fullmatch(time)
    if match is None or int(match[1]) >= 86_400:
        raise RefusedError("missing_field" if not time else "wrong_type", "time", time,
                           "seconds after midnight, with up to 9 decimals")
    ts = midnight + int(match[1]) * SECOND + int((match[2] or "").ljust(9, "0"))
    if ts < last:
        raise RefusedError("ts", "time", time, "no less than that of the row before")
    if kind not in ("1", "2", "3", "4", "5", "6", "7"):
        raise RefusedError("unknown_type", "type", kind, "1 to 7")
    said = MessageType(int(kind))
    number = _integer("size", size)
    if number <= 0 and said is not MessageType.HALT:
        raise RefusedError("size", "size", size, "a whole number above 0")
    at = _integer("price", price)
    if said is MessageType.HALT:
        if at not in (-1, 0, 1):
            raise RefusedError("price", "price", price, "-1, 0 or 1 in a message of type 7")
    elif at <= 0:
        raise RefusedError("price", "price", price, "a whole number above 0")
    if direction not in _SIDES:
        raise RefusedError("direction", "direction", direction, "1 or -1")
    name = _integer("order id", order)
    if name < 0 and said < MessageType.CROSS:
        raise RefusedError("id", "order id", order, "a whole number, 0 or more")
    return Message(ts, said, name, number, at, _SIDES[direction])


def _integer(field: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise RefusedError("missing_field" if not text else "wrong_type", field, text,
                           "a whole number")
    return int(text)


def _midnight(path: Path, text: str) -> int:
    """Return midnight of a day at the exchange, ns UTC."""
    try:
        day = date.fromisoformat(text)
        local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(ZONE))
    except ValueError:
        raise TapeError(f"{path}: {text} in its name is no date") from None
    return (local - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND * 1000


_MICROSECOND = datetime.resolution
