"""The portable form written: row groups sorted by market and place, then the metadata.

A row group is in memory at a time. The places of a market's rows are found by looking through the
tape again, so that a session of any length can be written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from pathlib import Path

import attrs
import numpy as np

from foldbook.engine.schema import MarketStatus, Side, TapeFlag, TapeKind

from .about import KEY, About, encode
from .chunks import Chunk, chunk_of, chunk_of_text
from .columns import COLUMNS, columns_of
from .footers import MAGIC, footer, group

GROUP_ROWS = 1 << 15
"""Rows of a row group at most."""
SORTED_ROWS = 1 << 22
"""Rows whose places are put in order at a time, unless one market has more."""
SCANNED_ROWS = 1 << 18
"""Rows of the tape looked at at a time."""


def write_portable(path: Path, rows: np.ndarray, about: About) -> None:
    """Write a session to a Parquet file. rows: the whole tape, which may be mapped."""
    tickers = [each.ticker for each in about.markets]
    groups: list[bytes] = []
    with path.open("wb") as file:
        file.write(MAGIC)
        for places in _groups(rows["market"], len(tickers)):
            chunks = _chunks(_taken(rows, places), places, tickers)
            groups.append(group(chunks, file.tell(), len(groups)))
            for chunk in chunks:
                file.write(chunk.dictionary)
                file.write(chunk.page)
        file.write(footer(len(rows), groups, {KEY: _text(about)}))
        file.flush()
        os.fsync(file.fileno())


def _taken(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the rows at these places, at least one; without a copy where they stand together."""
    first, stop = int(places[0]), int(places[-1]) + 1
    is_run = np.array_equal(places, np.arange(first, stop))
    return rows[first:stop] if is_run else rows[places]


def _chunks(rows: np.ndarray, places: np.ndarray, tickers: list[str]) -> list[Chunk]:
    """Return the columns of a row group, whose rows are sorted by market."""
    columns = columns_of(rows, places)
    starts = np.flatnonzero(np.diff(rows["market"], prepend=-1))
    names = [tickers[market] for market in rows["market"][starts].tolist()]
    runs = np.repeat(np.arange(len(starts), dtype=np.uint32), np.diff(starts, append=len(rows)))
    return [chunk_of(name, columns[name]) if name in columns else chunk_of_text(name, names, runs)
            for name in COLUMNS]


def _text(about: About) -> bytes:
    """Return the value of the metadata: about the session, its columns, and what numbers mean."""
    enums: tuple[type[IntEnum] | type[IntFlag], ...] = (TapeKind, Side, TapeFlag, MarketStatus)
    return encode(
        about,
        columns={name: attrs.asdict(each) for name, each in COLUMNS.items()},
        meanings={enum.__name__: {each.name: each.value for each in enum} for enum in enums},
    )



def _groups(markets: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield the places of the rows of each row group, sorted by market.

    A market of more than GROUP_ROWS has groups of its own; smaller ones share.
    """
    if not len(markets):
        return
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
