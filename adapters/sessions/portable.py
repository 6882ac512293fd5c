"""The portable form of a session: one Parquet file that holds all of it, and that others read too.

Rows are sorted by market, then by their place on the tape, in row groups whose statistics let a
reader skip markets and times. The metadata has everything else under one key, so that the file
alone is the session. Only this module and `columns` know pyarrow, and import it when used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import MarketStatus, Side, TapeFlag, TapeKind

from .about import About, Seal, decode, encode
from .columns import COLUMNS, check_schema, rows_of, table_of, written_schema

if TYPE_CHECKING:
    from pyarrow import parquet

KEY = b"foldbook"
"""The key of the metadata; its value is JSON."""
GROUP_ROWS = 1 << 15
"""Rows of a row group at most."""
COMPRESSION_LEVEL = 3
"""Of zstd."""
SORTED_ROWS = 1 << 22
"""Rows whose places are put in order at a time, unless one market has more."""
SCANNED_ROWS = 1 << 18
"""Rows of the tape looked at at a time."""
_MAGIC = b"PAR1"


def write_portable(path: Path, rows: np.ndarray, about: About) -> None:
    """Write a session to a file. rows: the whole tape (mapped: a row group is copied at a time)."""
    from pyarrow import parquet

    tickers = [each.ticker for each in about.markets]
    deltas = {name: "DELTA_BINARY_PACKED" for name, each in COLUMNS.items() if each.is_delta}
    names = list(COLUMNS)
    with path.open("wb") as file:
        with parquet.ParquetWriter(
            file,
            written_schema().with_metadata({KEY: _text(about)}),
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=[name for name in names if name not in deltas],
            column_encoding=deltas,
            write_statistics=["market", "ticker", "row", "ts", "recv", "kind"],
            sorting_columns=[
                parquet.SortingColumn(names.index(name)) for name in ("market", "row")
            ],
            store_schema=False,
        ) as writer:
            for places in _groups(rows["market"], len(tickers)):
                writer.write_table(table_of(rows[places], places, tickers), GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())


def seal_of(path: Path) -> Seal:
    """Return what tells this Parquet file from others, without reading its rows.

    Raises TapeError if the file is missing, truncated, or no Parquet file.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 8, 0))
            tail = file.read(8)
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != _MAGIC or length + 12 > size:
                raise TapeError(f"{path}: is truncated or no Parquet file")
            file.seek(size - 8 - length)
            return Seal(size, hashlib.sha256(file.read(length)).hexdigest())
    except FileNotFoundError:
        raise TapeError(f"{path}: is missing") from None
    except OSError as error:
        raise TapeError(f"{path}: {error.strerror}") from None


def read_about(path: Path) -> About:
    """Return what the metadata of a Parquet file says.

    Raises TapeError if the file is damaged, was not written by foldbook, is of a newer version, or
    has other columns than those of the portable form.
    """
    seal = seal_of(path)
    with _opened(path) as file:
        text = (file.metadata.metadata or {}).get(KEY)
        if text is None:
            raise TapeError(f"{path}: is no session: its metadata has no key {KEY.decode()!r}")
        about = decode(text, path)
        check_schema(file.schema_arrow, path)
        if file.metadata.num_rows != about.events:
            raise TapeError(f"{path}: has {file.metadata.num_rows} rows, but events is "
                            f"{about.events} in its metadata")
    about.parquet = seal
    return about


def read_rows(path: Path, about: About, rows: np.ndarray) -> None:
    """Write the rows of a Parquet file into `rows`, array of TAPE_DTYPE, in tape order.

    Memory is bounded by a row group. Raises TapeError: damaged, a value that cannot be, or places
    that are not each taken once, in order within each market.
    """
    tickers = [each.ticker for each in about.markets]
    places = _Places(about.events, path)
    with _opened(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            at, found = rows_of(table, tickers, path)
            places.take(at, found["market"])
            rows[at] = found


def _text(about: About) -> bytes:
    """Return the value of the metadata: about the session, its columns, and what numbers mean."""
    enums = {"TapeKind": TapeKind, "Side": Side, "TapeFlag": TapeFlag, "MarketStatus": MarketStatus}
    return encode(
        about,
        columns={name: attrs.asdict(each) for name, each in COLUMNS.items()},
        meanings={name: {each.name: int(each) for each in enum} for name, enum in enums.items()},
    )


def _groups(markets: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield the places of the rows of each row group, sorted by market.

    A market of more than GROUP_ROWS has groups of its own; smaller ones share.
    """
    sizes = np.zeros(count, np.int64)
    for _, block in _blocks(markets):
        sizes += np.bincount(block, minlength=count)
    for begin, end in _packed(sizes, SORTED_ROWS):
        if end == begin + 1:
            yield from _of_one(markets, begin)
            continue
        places = np.concatenate([at + np.flatnonzero((block >= begin) & (block < end))
                                 for at, block in _blocks(markets)])
        places = places[np.argsort(markets[places], kind="stable")]
        stops = np.cumsum(sizes[begin:end]).tolist()
        for first, last in _packed(sizes[begin:end], GROUP_ROWS):
            whole = places[stops[first - 1] if first else 0 : stops[last - 1]]
            yield from (whole[at : at + GROUP_ROWS] for at in range(0, len(whole), GROUP_ROWS))


def _of_one(markets: np.ndarray, market: int) -> Iterator[np.ndarray]:
    """Yield the places of the rows of one market, GROUP_ROWS at a time."""
    held = np.zeros(0, np.int64)
    for at, block in _blocks(markets):
        held = np.concatenate([held, at + np.flatnonzero(block == market)])
        while len(held) >= GROUP_ROWS:
            yield held[:GROUP_ROWS]
            held = held[GROUP_ROWS:]
    if len(held):
        yield held


def _blocks(markets: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (place of the first, some) of a column that may be mapped."""
    for at in range(0, len(markets), SCANNED_ROWS):
        yield at, np.ascontiguousarray(markets[at : at + SCANNED_ROWS])


def _packed(sizes: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of runs of sizes whose sum is at most `limit`, or of one larger size."""
    begin, total = 0, 0
    for at, size in enumerate(sizes.tolist()):
        if at > begin and total + size > limit:
            yield begin, at
            begin, total = at, 0
        total += size
    if begin < len(sizes):
        yield begin, len(sizes)


class _Places:
    """Checks that rows are sorted by market and place, and that no place is taken twice."""

    def __init__(self, events: int, path: Path):
        self._path = path
        self._taken = np.zeros(events, bool)
        self._last = np.array([[-1], [-1]])

    def take(self, places: np.ndarray, markets: np.ndarray) -> None:
        """Take these places, which follow those before. Raises TapeError."""
        pairs = np.concatenate([self._last, [markets, places]], axis=1)
        steps = np.diff(pairs, axis=1)
        self._refuse(places, (places < 0) | (places >= len(self._taken)),
                     f"is not between 0 and {len(self._taken) - 1}")
        self._refuse(places, (steps[0] < 0) | ((steps[0] == 0) & (steps[1] <= 0)),
                     "is out of order: rows are sorted by market, then row")
        self._refuse(places, self._taken[places], "is there twice")
        self._taken[places] = True
        self._last = pairs[:, -1:]

    def _refuse(self, places: np.ndarray, wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            raise TapeError(f"{self._path}: column row: {places[wrong][0]} {what}")


@contextmanager
def _opened(path: Path) -> Iterator[parquet.ParquetFile]:
    """Open a Parquet file, and name it in whatever is wrong with it. Raises TapeError."""
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path, read_dictionary=["ticker"]) as file:
            yield file
    except (ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise TapeError(f"{path}: is damaged or no Parquet file: {said}") from None
