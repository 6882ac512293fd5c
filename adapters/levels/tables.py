"""Tables of levels, CSV or Parquet, a block of rows at a time, as integer columns.

Every value is looked at; one that is not what its column holds is refused by name. Text is parsed
once for each different text of a block.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import Side
from foldbook.engine.units import MICROSECOND, MILLISECOND, PRICE_ONE, QTY_MAX, QTY_ONE, SECOND

from ..recordings import (
    BAD,
    TIME_MAX,
    UNKNOWN,
    Import,
    Problems,
    RefusedError,
    Scale,
    blocks,
    one_line,
)

COLUMNS = {
    "ts": "a time", "side": "buy or sell", "price": "a price", "size": "contracts",
    "recv": "a time", "market": "text", "kind": "text", "snapshot": "an id",
}
"""The columns that are read, and what they hold."""
REQUIRED = ("ts", "side", "price", "size")
BATCH_ROWS = 1 << 16
CSV_BYTES = 1 << 22
"""Of a CSV file read at a time."""
TIMES = {"s": SECOND, "ms": MILLISECOND, "us": MICROSECOND, "ns": 1}
PRICES = {"dollars": PRICE_ONE, "cents": PRICE_ONE // 100}
SIDES = {"buy": int(Side.BUY), "bid": int(Side.BUY), "b": int(Side.BUY),
         "sell": int(Side.SELL), "ask": int(Side.SELL), "s": int(Side.SELL), "a": int(Side.SELL)}


class RowKind(IntEnum):
    """What a row says, by the words of the column `kind`."""

    SNAPSHOT = 0
    ABSOLUTE = 1
    DELTA = 2
    TRADE = 3
    GAP = 4


KINDS = {kind.name.lower(): int(kind) for kind in RowKind}

FINE, BAD_VALUE, BAD_PLACE = 0, 1, 2
"""Of a row: all is well; a value was refused; it is not even known where the row belongs."""

ROW_DTYPE = np.dtype(
    [
        ("ts", "<i8"), ("recv", "<i8"), ("price", "<i8"), ("size", "<i8"), ("snapshot", "<i8"),
        ("row", "<i8"), ("market", "<i4"), ("file", "<i2"), ("kind", "i1"), ("side", "i1"),
        ("fault", "i1"), ("oddity", "i1"),
    ]
)
"""market, snapshot: numbers of the names and ids; -1 for a market that is not named. fault: see
above. oddity: of the size, as `Scale` calls it."""


@attrs.frozen
class Layout:
    """How a table is to be read: names of its columns, and units.

    names: what each of COLUMNS is called in the file. kind, market: of every row, where there is
    no column for it.
    """

    names: Mapping[str, str]
    time: str | None
    prices: str
    delimiter: str
    kind: RowKind | None
    market: str | None
    floor_sizes: bool


class Tables:
    """Reads the files of an import; gives markets and ids of snapshots a number each."""

    def __init__(self, job: Import, layout: Layout):
        self._job = job
        self._layout = layout
        self.markets: dict[str, int] = {}
        self.has_receipts = False
        """Whether the last block had a column `recv`."""
        self._snapshots: dict[str, int] = {}
        self._price = Scale("price", PRICES[layout.prices], 1, PRICE_ONE - 1,
                            f"{layout.prices} inside one dollar, no finer than $0.0001")
        contracts = "contracts with up to two decimals"
        self._size = Scale("qty", QTY_ONE, 0, QTY_MAX, contracts, floors=layout.floor_sizes)
        self._delta = Scale("qty", QTY_ONE, -QTY_MAX, QTY_MAX, contracts)
        self._times = {unit: Scale("time", size, 0, TIME_MAX, f"{unit} since 1970")
                       for unit, size in TIMES.items()}

    def blocks(self, file: int) -> Iterator[np.ndarray]:
        """Yield the rows of a file: ROW_DTYPE. Raises TapeError for a file that is no table."""
        path = self._job.files[file]
        is_parquet = path.name.endswith((".parquet", ".pq"))
        for numbers, batch, broken in self._parquet(path) if is_parquet else self._csv(path):
            try:
                rows = self._rows(file, numbers, batch)
            except _WrongColumnError as error:
                raise TapeError(f"{path}: {error}") from None
            except UnicodeDecodeError as error:
                raise TapeError(f"{path}: holds text that is not UTF-8: {error}") from None
            if broken:
                lost = np.zeros(len(broken), ROW_DTYPE)
                lost["file"], lost["row"], lost["market"] = file, broken, -1
                lost["fault"], lost["kind"] = BAD_PLACE, RowKind.GAP
                rows = np.concatenate([rows, lost])
                rows = rows[np.argsort(rows["row"], kind="stable")]
            yield rows

    def _parquet(self, path: Path) -> Iterator[tuple[np.ndarray, Any, list[int]]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        done, size = 0, path.stat().st_size
        try:
            with pq.ParquetFile(path) as table:
                names = self._check_names(path, table.schema_arrow.names)
                row = 1
                for batch in table.iter_batches(BATCH_ROWS, columns=names):
                    yield np.arange(row, row + batch.num_rows), batch, []
                    row += batch.num_rows
                    share = size * batch.num_rows // max(table.metadata.num_rows, 1)
                    self._job.meter.add(share)
                    done += share
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TapeError(f"{path}: not a Parquet file: {one_line(error)}") from None
        self._job.meter.add(size - done)

    def _csv(self, path: Path) -> Iterator[tuple[np.ndarray, Any, list[int]]]:
        """Yield the rows of a CSV file as text. The heading is row 1.

        A line with too many or too few values is refused, and its number stands in the list: what
        it may have said is lost.
        """
        import pyarrow as pa
        from pyarrow import csv

        broken: dict[int, str] = {}

        def skip(line: Any) -> str:
            broken[line.number] = (f"has {line.actual_columns} values, expected "
                                   f"{line.expected_columns}: {one_line(line.text)[:60]!r}")
            return "skip"

        _check_text(path)
        reading = csv.ReadOptions(use_threads=False, block_size=CSV_BYTES)
        parsing = csv.ParseOptions(delimiter=self._layout.delimiter, invalid_row_handler=skip)
        done, row = 0, 2
        try:
            found = _csv_names(path, parsing)
            names = self._check_names(path, found)
            converting = csv.ConvertOptions(
                column_types=dict.fromkeys(found, pa.string()), strings_can_be_null=False,
                include_columns=names,
            )
            with path.open("rb") as raw, pa.input_stream(raw, _compression(path)) as stream:
                broken.clear()
                for batch in csv.open_csv(stream, reading, parsing, converting):
                    numbers = np.arange(row, row + batch.num_rows + len(broken))
                    numbers = numbers[~np.isin(numbers, list(broken))][: batch.num_rows]
                    row = int(numbers[-1]) + 1 if len(numbers) else row
                    yield numbers, batch, self._refused(path, broken, row)
                    self._job.meter.add(raw.tell() - done)
                    done = raw.tell()
                self._refused(path, broken, None)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TapeError(f"{path}: not a CSV table: {one_line(error)}") from None

    def _refused(self, path: Path, broken: dict[int, str], row: int | None) -> list[int]:
        """Refuse the broken lines before a row (None: all), forget them, return their numbers."""
        numbers = sorted(number for number in broken if row is None or number < row)
        for number in numbers:
            self._job.rejections.refuse(path, number, UNKNOWN, "row", broken.pop(number))
        return numbers

    def _check_names(self, path: Path, found: list[str]) -> list[str]:
        """Return the columns to read. Raises TapeError that names one that is missing."""
        layout = self._layout
        advice = {"kind": "; or say with --rows what every row is",
                  "market": "; or name the market with --market"}
        chosen = []
        for name, called in layout.names.items():
            needed = name in REQUIRED or called != name
            needed |= name == "kind" and layout.kind is None
            needed |= name == "market" and layout.market is None
            if found.count(called) > 1:
                raise TapeError(f"{path}: column {called} stands there twice")
            if called in found:
                chosen.append(called)
            elif needed:
                meant = "" if called == name else f" (for {name})"
                raise TapeError(f"{path}: column {called}{meant} is missing, expected "
                                f"{COLUMNS[name]}{advice.get(name, '')}; has {', '.join(found)}")
        return chosen

    def _rows(self, file: int, numbers: np.ndarray, batch: Any) -> np.ndarray:
        """Return a batch as rows; each row with a value that is refused is reported."""
        columns = {name: batch.column(called) for name, called in self._layout.names.items()
                   if called in batch.schema.names}
        rows = np.zeros(batch.num_rows, ROW_DTYPE)
        rows["file"], rows["row"] = file, numbers
        market, kind = self._layout.market, self._layout.kind
        rows["market"] = _numbered(columns.get("market"), self.markets, market, len(rows))
        rows["snapshot"] = _numbered(columns.get("snapshot"), self._snapshots, "", len(rows))
        faults: dict[int, RefusedError] = {}
        for at in np.flatnonzero(rows["market"] < 0).tolist():
            called = self._layout.names["market"]
            faults[at] = RefusedError("missing_field", called, "", "the name of a market")
        rows["kind"] = 0 if kind is None else kind
        if kind is None:
            self._words(rows, "kind", columns, KINDS, faults)
        for name in ("ts", "recv"):
            if name in columns:
                scale, column = self._time(name, columns[name])
                self._numbers(rows, name, scale, column, np.ones(len(rows), np.bool_), faults)
        rows["fault"][list(faults)] = BAD_PLACE
        self.has_receipts = "recv" in columns
        if not self.has_receipts:
            rows["recv"] = rows["ts"]
        spoken = rows["kind"] != RowKind.GAP
        known = set(faults)
        self._words(rows, "side", columns, SIDES, faults, spoken)
        self._numbers(rows, "price", self._price, columns["price"], spoken, faults)
        signed = rows["kind"] == RowKind.DELTA
        self._numbers(rows, "size", self._size, columns["size"], spoken & ~signed, faults)
        self._numbers(rows, "size", self._delta, columns["size"], spoken & signed, faults)
        rows["fault"][list(set(faults) - known)] = BAD_VALUE
        self._report(file, rows, faults)
        return rows

    def _report(self, file: int, rows: np.ndarray, faults: Mapping[int, RefusedError]) -> None:
        """Refuse rows in their order, each for its first fault."""
        tickers = list(self.markets)
        for at in sorted(faults):
            market = int(rows["market"][at])
            self._job.rejections.refuse(
                self._job.files[file], int(rows["row"][at]),
                tickers[market] if market >= 0 else UNKNOWN, faults[at].why, str(faults[at]),
            )

    def _time(self, name: str, column: Any) -> tuple[Scale, Any]:
        """Return the unit of a column of times, and the column as numbers."""
        import pyarrow as pa
        import pyarrow.types as types

        unit = self._layout.time
        if types.is_timestamp(column.type):
            return self._times[column.type.unit], column.cast(pa.int64())
        if unit is None:
            raise _WrongColumnError(f"column {self._layout.names[name]} is {column.type}, expected "
                                    "times with a unit: give it with --time (s, ms, us or ns)")
        return self._times[unit], column

    def _numbers(
        self, rows: np.ndarray, name: str, scale: Scale, column: Any, chosen: np.ndarray,
        faults: dict[int, RefusedError],
    ) -> None:
        """Fill a column of numbers in the rows chosen; note those whose value is refused."""
        if not chosen.any():
            return
        called = self._layout.names[name]
        units, oddities = _units(scale, called, column)
        bad = units == BAD
        rows[name][chosen] = np.where(bad, 0, units)[chosen]
        if name == "size":
            rows["oddity"][chosen] = oddities[chosen]
        for at in np.flatnonzero(bad & chosen).tolist():
            if at not in faults:
                faults[at] = _fault(scale, called, column[at].as_py())

    def _words(
        self, rows: np.ndarray, name: str, columns: Mapping[str, Any], known: Mapping[str, int],
        faults: dict[int, RefusedError], chosen: np.ndarray | None = None,
    ) -> None:
        """Fill a column of words in the rows chosen; note those whose value is none of them."""
        texts, index = _distinct(columns[name])
        codes = [known.get(text.lower(), -1) if isinstance(text, str) else -1 for text in texts]
        found = np.array([*codes, -1], np.int64)[index]
        rows[name] = np.maximum(found, 0)
        bad = found < 0 if chosen is None else (found < 0) & chosen
        for at in np.flatnonzero(bad).tolist():
            value = columns[name][at].as_py()
            faults.setdefault(at, RefusedError(name, self._layout.names[name], value,
                                               f"one of {', '.join(known)}"))


class _WrongColumnError(Exception):
    """A column has another type than it must have."""


def _check_text(path: Path) -> None:
    """Check that a file is text in UTF-8, and whole if it is gzip. Raises TapeError: Arrow says
    neither where it is not, nor always that it is not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    row = 1
    try:
        for block, _ in blocks(path, Problems()):
            row += decoder.decode(block).count("\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        row += error.object[: error.start].count(b"\n")
        raise TapeError(f"{path} row {row}: is not UTF-8 text: {error.reason}") from None


def _csv_names(path: Path, parsing: Any) -> list[str]:
    """Return the heading of a CSV file."""
    import pyarrow as pa
    from pyarrow import csv

    with pa.input_stream(str(path), _compression(path)) as stream:
        options = csv.ReadOptions(use_threads=False, block_size=CSV_BYTES)
        names: list[str] = csv.open_csv(stream, options, parsing).schema.names
        return names


def _compression(path: Path) -> str | None:
    return "gzip" if path.name.endswith(".gz") else None


def _distinct(column: Any) -> tuple[list[Any], np.ndarray]:
    """Return (distinct values, index of each row's value; -1 for a missing one)."""
    import pyarrow.types as types

    if not types.is_dictionary(column.type):
        column = column.dictionary_encode()
    index = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return column.dictionary.to_pylist(), index


def _numbered(
    column: Any, known: dict[str, int], otherwise: str | None, count: int
) -> np.ndarray:
    """Return the number of each value, in the order of first appearance; -1 for no value."""
    if column is None:
        assert otherwise is not None
        return np.full(count, known.setdefault(otherwise, len(known)), np.int64)
    texts, index = _distinct(column)
    numbers = [-1 if text in (None, "") else known.setdefault(str(text), len(known))
               for text in texts]
    return np.array([*numbers, -1], np.int64)[index]


def _units(scale: Scale, name: str, column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return (units, oddities) of a column of numbers or their text; BAD for what is refused."""
    import pyarrow.types as types

    kind = column.type
    is_number = types.is_float64(kind) or types.is_integer(kind)
    if is_number and not column.null_count:
        return scale.column(name, column.to_numpy(zero_copy_only=False))
    if not (is_number or types.is_decimal(kind) or types.is_string(kind)
            or types.is_large_string(kind)):
        raise _WrongColumnError(f"column {name} is {kind}, expected {scale.expected}")
    values, index = _distinct(column)
    read = [(BAD, 0)] * (len(values) + 1)
    for at, value in enumerate(values):
        with contextlib.suppress(RefusedError):
            read[at] = scale.read(name, value)
    units, oddities = np.array(read, np.int64).T
    return units[index], oddities[index]


def _fault(scale: Scale, name: str, value: Any) -> RefusedError:
    """Return why a value is refused."""
    try:
        scale.read(name, value)
    except RefusedError as error:
        return error
    return RefusedError(scale.why, name, value, scale.expected)
