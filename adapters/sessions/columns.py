"""The columns of the portable form: their types and units, and the way to tape rows and back.

A time is two columns: a timestamp rounded down, and the nanoseconds to add. Venues stamp whole
microseconds and recorders whole milliseconds, so the second is mostly zero, and the first takes
fewer bytes and is what every reader knows as a time. Every other column is as on the tape.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.units import MICROSECOND, MILLISECOND

if TYPE_CHECKING:
    import pyarrow


@attrs.frozen
class Column:
    """A column: its Arrow type by name, what it counts, whether its differences are stored."""

    type: str
    unit: str
    is_delta: bool = False

    @property
    def stored(self) -> str:
        """The NumPy type of its values in the file."""
        return "<i8" if self.type == "int64" or self.type.startswith("timestamp") else "<i4"

    @property
    def physical(self) -> int:
        """The number of its type in Parquet: 1 INT32, 2 INT64, 6 BYTE_ARRAY."""
        return 6 if self.type == "string" else 2 if self.stored == "<i8" else 1


COLUMNS = {
    "market": Column("int32", "place of the market in the list of markets, from 0"),
    "ticker": Column("string", "ticker of that market"),
    "row": Column("int64", "place of the row on the tape, from 0", is_delta=True),
    "ts": Column("timestamp[us, tz=UTC]", "exchange time, rounded down", is_delta=True),
    "ts_ns": Column("int16", "nanoseconds to add to ts, 0 to 999"),
    "recv": Column("timestamp[ms, tz=UTC]", "receive time, rounded down", is_delta=True),
    "recv_ns": Column("int32", "nanoseconds to add to recv, 0 to 999999"),
    "kind": Column("int8", "TapeKind"),
    "side": Column("int8", "0 BUY, 1 SELL, in YES terms; of a trade, its maker's"),
    "price": Column("int32", "$0.0001, in YES terms"),
    "qty": Column("int64", "0.01 contract"),
    "ahead": Column("int32", "0.01 contract; -1 unknown"),
    "flags": Column("int16", "TapeFlag"),
}
"""In this order in the file. Rows are sorted by market, then row. None is ever null."""

_AS_THEY_ARE = ("market", "kind", "side", "price", "qty", "ahead", "flags")
_TIMES = {"ts": ("ts_ns", MICROSECOND), "recv": ("recv_ns", MILLISECOND)}
"""A time on the tape, the column with its rest, and the nanoseconds of its timestamp's unit."""


@cache
def schema() -> pyarrow.Schema:
    """Return the Arrow schema of the portable form."""
    import pyarrow as pa

    times = {"timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"),
             "timestamp[ms, tz=UTC]": pa.timestamp("ms", "UTC")}
    return pa.schema([
        pa.field(name, times.get(column.type) or getattr(pa, column.type)(), nullable=False)
        for name, column in COLUMNS.items()
    ])  # fmt: skip


def columns_of(rows: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
    """Return the integers of all columns but `ticker`. places: where each row is on the tape."""
    found = {name: rows[name] for name in _AS_THEY_ARE} | {"row": places}
    for name, (rest, unit) in _TIMES.items():
        found[name] = rows[name] // unit
        found[rest] = rows[name] - found[name] * unit
    return found


def rows_of(table: pyarrow.Table, tickers: list[str], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (places, tape rows) of a table. Raises TapeError for a value that cannot be."""
    for name in COLUMNS:
        if table.column(name).null_count:
            raise TapeError(f"{path}: column {name} has nulls, expected {COLUMNS[name].type}")
    rows = np.zeros(len(table), TAPE_DTYPE)
    for name in _AS_THEY_ARE:
        rows[name] = _numbers(table, name)
    for name, (rest, unit) in _TIMES.items():
        added = _numbers(table, rest)
        if len(added) and not 0 <= added.min() <= added.max() < unit:
            odd = added[(added < 0) | (added >= unit)][0]
            raise TapeError(f"{path}: column {rest}: {odd} is not between 0 and {unit - 1}")
        rows[name] = _numbers(table, name) * unit + added
    _check_tickers(table, rows["market"], tickers, path)
    return _numbers(table, "row"), rows


def check_schema(found: pyarrow.Schema, path: Path) -> None:
    """Check that a file has the columns of the portable form. Raises TapeError."""
    for field in schema():
        column = COLUMNS[field.name]
        if field.name not in found.names:
            raise TapeError(f"{path}: column {field.name} is missing, expected {column.type}")
        if found.field(field.name).type != field.type:
            raise TapeError(f"{path}: column {field.name} is {found.field(field.name).type}, "
                            f"expected {column.type}")
    for name in found.names:
        if name not in COLUMNS:
            raise TapeError(f"{path}: column {name} is not one of {', '.join(COLUMNS)}")


def _numbers(table: pyarrow.Table, name: str) -> np.ndarray:
    import pyarrow as pa

    column = table.column(name).combine_chunks()
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    return np.asarray(column)


def _check_tickers(
    table: pyarrow.Table, markets: np.ndarray, tickers: list[str], path: Path
) -> None:
    """Check that every row has the ticker of its market."""
    column = table.column("ticker").combine_chunks()
    known = {ticker: market for market, ticker in enumerate(tickers)}
    named = np.array([known.get(name, -1) for name in column.dictionary.to_pylist()], np.int64)
    wrong = np.flatnonzero(named[np.asarray(column.indices)] != markets)
    if len(wrong):
        at = int(wrong[0])
        raise TapeError(
            f"{path}: column ticker: {column[at].as_py()!r} is not that of market {markets[at]} "
            f"(row {table.column('row')[at].as_py()} of the tape)"
        )
