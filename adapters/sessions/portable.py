"""The portable form of a session: one Parquet file that holds all of it, and that others read too.

Rows are sorted by market, then by their place on the tape, in row groups whose statistics let a
reader skip markets and times. The metadata has everything else under one key, so that the file
alone is the session. Only this module and `columns` know pyarrow, and import it when used.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foldbook.engine.errors import TapeError

from .about import KEY, About, Seal, decode
from .columns import check_schema, rows_of
from .footers import MAGIC

if TYPE_CHECKING:
    from pyarrow import parquet


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
            if tail[4:] != MAGIC or length + 12 > size:
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
    with _opened(path, ["ticker"]) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            at, found = rows_of(table, tickers, path)
            places.take(at, found["market"])
            rows[at] = found


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
        ordered = np.sort(places, kind="stable")
        self._refuse(ordered[1:], ordered[1:] == ordered[:-1], "is there twice")
        self._refuse(places, self._taken[places], "is there twice")
        self._taken[places] = True
        self._last = pairs[:, -1:]

    def _refuse(self, places: np.ndarray, wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            raise TapeError(f"{self._path}: column row: {places[wrong][0]} {what}")


@contextmanager
def _opened(path: Path, dictionaries: Sequence[str] = ()) -> Iterator[parquet.ParquetFile]:
    """Open a Parquet file, and name it in whatever is wrong with it. Raises TapeError."""
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path, read_dictionary=dictionaries) as file:
            yield file
    except (ArrowException, OSError, UnicodeDecodeError, KeyError, OverflowError) as error:
        said = " ".join(str(error).split())[:200]
        raise TapeError(f"{path}: is damaged or no Parquet file: {said}") from None
