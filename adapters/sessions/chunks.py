"""Columns of a row group as Parquet stores them: a dictionary and one page, compressed, described.

Written here and not by a library because none lets the width of places in a dictionary be chosen
(docs/decisions/0019-parquet-pages-are-written-here.md); the tests read the files with four.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any

import attrs
import numpy as np

from .columns import COLUMNS
from .packing import packed_differences, packed_places, width_of
from .thrift import Kind, struct

COMPRESSION_LEVEL = 5
"""Of zstd."""
_ZSTD = 6
_NO_LEVELS = 3
"""RLE, the encoding of the levels that a column without nulls does not have."""
_TABLE = 1 << 14
"""Values within this of each other are numbered by a table."""
_FEW = 16
"""Rows of which a dictionary costs nothing, whatever is in it."""


class Encoding(IntEnum):
    """How the values of a page are written; the numbers are the format's."""

    PLAIN = 0
    DELTA_BINARY_PACKED = 5
    RLE_DICTIONARY = 8


class _Page(IntEnum):
    DATA = 0
    DICTIONARY = 2


@attrs.frozen
class Chunk:
    """The bytes of a column in a row group: its dictionary, if it has one, and its one page.

    raw_bytes: what they take before compression. bounds: the least and the greatest value, plain.
    """

    name: str
    dictionary: bytes
    page: bytes
    raw_bytes: int
    encoding: Encoding
    count: int
    bounds: tuple[bytes, bytes]

    def __len__(self) -> int:
        return len(self.dictionary) + len(self.page)

    def described(self, offset: int) -> bytes:
        """Return the ColumnChunk of a chunk that begins at `offset` in its file."""
        encodings = {int(self.encoding), _NO_LEVELS}
        if self.dictionary:
            encodings.add(int(Encoding.PLAIN))
        least, most = self.bounds
        described = struct(
            (1, Kind.I32, COLUMNS[self.name].physical),
            (2, Kind.LIST, (Kind.I32, sorted(encodings))),
            (3, Kind.LIST, (Kind.BINARY, [self.name.encode()])),
            (4, Kind.I32, _ZSTD),
            (5, Kind.I64, self.count),
            (6, Kind.I64, self.raw_bytes),
            (7, Kind.I64, len(self)),
            (9, Kind.I64, offset + len(self.dictionary)),
            (11, Kind.I64, offset if self.dictionary else None),
            (12, Kind.STRUCT, struct(
                (3, Kind.I64, 0), (5, Kind.BINARY, most), (6, Kind.BINARY, least)
            )),
        )  # fmt: skip
        return struct((2, Kind.I64, offset), (3, Kind.STRUCT, described))


def chunk_of(name: str, values: np.ndarray) -> Chunk:
    """Return a column of integers. values: those of one row group, at least one."""
    stored = COLUMNS[name].stored
    if COLUMNS[name].is_delta:
        body = packed_differences(values.astype(np.int64))
        least, most = (bound.astype(stored).tobytes() for bound in (values.min(), values.max()))
        return _chunk(name, Encoding.DELTA_BINARY_PACKED, len(values), body, (least, most))
    known, places = _numbered(values.astype(stored, copy=False))
    bounds = known[0].tobytes(), known[-1].tobytes()
    if 2 * len(known) > len(values) > _FEW or width_of(len(known)) is None:
        return _chunk(name, Encoding.PLAIN, len(values), values.astype(stored).tobytes(), bounds)
    return _with_dictionary(name, len(known), known.tobytes(), places, bounds)


def chunk_of_text(name: str, texts: Sequence[str], places: np.ndarray) -> Chunk:
    """Return a column of texts. places: which of `texts` each row has; each text is there once."""
    known = [text.encode() for text in texts]
    dictionary = b"".join(len(text).to_bytes(4, "little") + text for text in known)
    return _with_dictionary(name, len(known), dictionary, places, (min(known), max(known)))


def _with_dictionary(
    name: str, count: int, dictionary: bytes, places: np.ndarray, bounds: tuple[bytes, bytes]
) -> Chunk:
    width = width_of(count)
    assert width is not None
    body = packed_places(places, width)
    page, raw_bytes = _page(_Page.DICTIONARY, dictionary, count, Encoding.PLAIN)
    chunk = _chunk(name, Encoding.RLE_DICTIONARY, len(places), body, bounds)
    return attrs.evolve(chunk, dictionary=page, raw_bytes=chunk.raw_bytes + raw_bytes)


def _chunk(
    name: str, encoding: Encoding, count: int, body: bytes, bounds: tuple[bytes, bytes]
) -> Chunk:
    page, raw_bytes = _page(_Page.DATA, body, count, encoding)
    return Chunk(name, b"", page, raw_bytes, encoding, count, bounds)


def _page(kind: _Page, body: bytes, count: int, encoding: Encoding) -> tuple[bytes, int]:
    """Return a page with its header, and how long both are before compression."""
    packed = _codec().compress(body, asbytes=True)
    if kind == _Page.DATA:
        about = struct((1, Kind.I32, count), (2, Kind.I32, encoding),
                       (3, Kind.I32, _NO_LEVELS), (4, Kind.I32, _NO_LEVELS))
    else:
        about = struct((1, Kind.I32, count), (2, Kind.I32, encoding))
    checksum = zlib.crc32(packed)
    header = struct(
        (1, Kind.I32, kind),
        (2, Kind.I32, len(body)),
        (3, Kind.I32, len(packed)),
        (4, Kind.I32, checksum - (1 << 32) if checksum >> 31 else checksum),
        (5 if kind == _Page.DATA else 7, Kind.STRUCT, about),
    )
    return header + packed, len(header) + len(body)


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values there are, in order, and the place of each row's among them."""
    least = values.min()
    span = int(values.max()) - int(least)
    if span == 0:
        return values[:1], np.zeros(len(values), np.uint8)
    if span < _TABLE:
        shifted = values - least
        is_there = np.zeros(span + 1, bool)
        is_there[shifted] = True
        known = (np.flatnonzero(is_there) + least).astype(values.dtype)
        return known, (np.cumsum(is_there, dtype=np.uint16) - 1)[shifted]
    import pyarrow as pa

    found = pa.array(values).dictionary_encode()
    known = np.asarray(found.dictionary)
    order = np.argsort(known)
    ranks = np.empty(len(known), np.uint32)
    ranks[order] = np.arange(len(known), dtype=np.uint32)
    return known[order], ranks[np.asarray(found.indices)]


@cache
def _codec() -> Any:
    import pyarrow as pa

    return pa.Codec("zstd", compression_level=COMPRESSION_LEVEL)
