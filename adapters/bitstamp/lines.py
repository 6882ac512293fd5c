"""Rows of the two files of a recording, typed and checked, and put together by exchange time.

`orders.csv` has a row for each change of an order, `trades.csv` one for each trade; either may be
gzip. Columns are found by name. A row that is not what it should be is refused, never repaired.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import Side
from foldbook.engine.units import MILLISECOND

from ..recordings import Meter, Problems, RefusedError, read_lines

ORDER_COLUMNS = ("id", "timestamp", "exchange_timestamp", "price", "volume", "action", "direction")
TRADE_COLUMNS = ("trade_id", "timestamp", "exchange_timestamp", "price", "amount", "buy_order_id",
                 "sell_order_id", "side")
ACTIONS = ("created", "changed", "deleted")
_SIDES = {"bid": int(Side.BUY), "ask": int(Side.SELL)}
_MAKERS = {"buy": int(Side.SELL), "sell": int(Side.BUY)}
_WHOLE = re.compile(r"[0-9]{1,18}")
_MS_MAX = 4 * 10**12
"""Times up to the year 2096, ms: a recorder's unit that is not ms is far beyond it."""

Refuse = Callable[[int, RefusedError], None]
"""Told (row, what is wrong with it); may raise TapeError."""


@attrs.define
class Source:
    """A file to be read. refuse: what to do about a bad row. rows, refused: so far."""

    path: Path
    problems: Problems
    meter: Meter
    refuse: Refuse
    rows: int = 0
    refused: int = 0

    def reject(self, row: int, error: RefusedError) -> None:
        """Refuse a row."""
        self.refused += 1
        self.refuse(row, error)


@attrs.frozen
class OrderLine:
    """One row of `orders.csv`. ts, recv: ns. price, volume: as written.

    is_after_refusal: the row before it was refused, so that the book is in doubt.
    """

    row: int
    ts: int
    recv: int
    order: int
    action: str
    side: int
    price: str
    volume: str
    is_after_refusal: bool


@attrs.frozen
class TradeLine:
    """One row of `trades.csv`. ts, recv: ns. side: of the maker. price, amount: as written."""

    row: int
    ts: int
    recv: int
    maker: int
    taker: int
    side: int
    price: str
    amount: str


@attrs.frozen
class Burst:
    """All rows with one exchange time, each file's in its order."""

    ts: int
    orders: list[OrderLine]
    trades: list[TradeLine]


def read_orders(source: Source) -> Iterator[OrderLine]:
    """Yield the rows of `orders.csv`. Raises TapeError for a column that is missing."""
    last = 0
    refused = 0
    for row, fields in _rows(source, ORDER_COLUMNS):
        order, received, stamp, price, volume, action, direction = fields
        try:
            ts = _time("exchange_timestamp", stamp, last)
            line = OrderLine(row, ts, _time("timestamp", received), _whole("id", order),
                             _one_of("action", action, ACTIONS),
                             _SIDES[_one_of("direction", direction, _SIDES)], price, volume,
                             source.refused > refused)
        except RefusedError as error:
            source.reject(row, error)
            continue
        last, refused = ts, source.refused
        yield line


def read_trades(source: Source) -> Iterator[TradeLine]:
    """Yield the rows of `trades.csv`. Raises TapeError for a column that is missing."""
    last = 0
    for row, fields in _rows(source, TRADE_COLUMNS):
        _, received, stamp, price, amount, buy, sell, side = fields
        try:
            ts = _time("exchange_timestamp", stamp, last)
            maker = _MAKERS[_one_of("side", side, _MAKERS)]
            orders = (_whole("buy_order_id", buy), _whole("sell_order_id", sell))
            line = TradeLine(row, ts, _time("timestamp", received), orders[maker],
                             orders[1 - maker], maker, price, amount)
        except RefusedError as error:
            source.reject(row, error)
            continue
        last = ts
        yield line


def bursts(orders: Iterator[OrderLine], trades: Iterator[TradeLine]) -> Iterator[Burst]:
    """Yield the rows of both files by exchange time; one burst is in memory at a time."""
    waiting = next(trades, None)
    for ts, lines in itertools.groupby(orders, key=lambda line: line.ts):
        while waiting is not None and waiting.ts < ts:
            yield Burst(waiting.ts, [], [waiting])
            waiting = next(trades, None)
        traded = []
        while waiting is not None and waiting.ts == ts:
            traded.append(waiting)
            waiting = next(trades, None)
        yield Burst(ts, list(lines), traded)
    while waiting is not None:
        yield Burst(waiting.ts, [], [waiting])
        waiting = next(trades, None)


def _rows(source: Source, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield (row, the fields of `columns`); the header is row 1."""
    places: list[int] = []
    count = 0
    for row, text in read_lines(source.path, source.problems, source.meter):
        # Latin 1 decodes whatever there is; what is no number is refused as one later.
        fields = text.decode("latin-1").split(",")
        if row == 1:
            missing = [name for name in columns if fields.count(name) != 1]
            if missing:
                raise TapeError(f"{source.path} row 1: column {missing[0]} is missing or twice "
                                f"there, expected {', '.join(columns)}")
            places = [fields.index(name) for name in columns]
            count = len(fields)
            continue
        source.rows += 1
        if len(fields) != count:
            source.reject(row, RefusedError("fields", "row", len(fields), f"{count} fields"))
        else:
            yield row, [fields[place] for place in places]
    if not places:
        raise TapeError(f"{source.path}: is empty, expected a header with {', '.join(columns)}")


def _whole(field: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise RefusedError("missing_field" if not text else "wrong_type", field, text,
                           "a whole number")
    return int(text)


def _time(field: str, text: str, last: int = 0) -> int:
    """Return a time in ns. last: that of the row before, ns."""
    stamp = _whole(field, text)
    if stamp > _MS_MAX:
        raise RefusedError("wrong_type", field, text, "milliseconds since 1970")
    if stamp * MILLISECOND < last:
        raise RefusedError("ts", field, text,
                           f"no less than {last // MILLISECOND}, that of the row before")
    return stamp * MILLISECOND


def _one_of(field: str, text: str, values: Any) -> str:
    if text not in values:
        raise RefusedError("unknown_type", field, text, " or ".join(values))
    return text
