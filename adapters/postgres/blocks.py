"""A tape as rows of a table: blocks of columns, in the form in which COPY takes and gives them.

A block is BLOCK_ROWS rows of the tape, each column an array; the last one may be shorter. The
binary form of an array is a header and, for each element, its length and its big-endian value, so
that NumPy makes and reads a whole block at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE

BLOCK_ROWS = 8192
COLUMNS: tuple[str, ...] = TAPE_DTYPE.names or ()
_OIDS = {">i8": 20, ">i4": 23, ">i2": 21}
"""PostgreSQL's numbers of bigint, integer and smallint; it has no smaller type."""
_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = struct.pack(">h", -1)
_ARRAY = struct.Struct(">iiiii")
"""Dimensions, whether there are nulls, type, length, number of the first element."""
_COUNT = struct.Struct(">h")
_LENGTH = struct.Struct(">i")
_KEY = struct.Struct(">iqiqiqiq")
"""The columns that say which block it is: session, first_row, first_ts, last_ts."""


def to_copy(rows: np.ndarray, session: int) -> Iterator[bytes]:
    """Yield what `COPY tape_blocks FROM STDIN (FORMAT binary)` takes, one block at a time.

    rows: TAPE_DTYPE, shape (events,). session: the number of its row in `sessions`.
    """
    yield _BEGIN
    for first in range(0, len(rows), BLOCK_ROWS):
        block = rows[first : first + BLOCK_ROWS]
        ends = int(block["ts"][0]), int(block["ts"][-1])
        key = _KEY.pack(8, session, 8, first, 8, ends[0], 8, ends[1])
        parts = [_COUNT.pack(4 + len(COLUMNS)), key]
        for name in COLUMNS:
            body = _array(block[name], name)
            parts += [_LENGTH.pack(len(body)), body]
        yield b"".join(parts)
    yield _END


def from_copy(messages: Iterator[bytes | memoryview], events: int, where: str) -> np.ndarray:
    """Return the rows that `COPY (SELECT <COLUMNS> ...) TO STDOUT (FORMAT binary)` gives.

    messages: of the protocol, one for each block in order, the header before the first. Raises
    TapeError, naming `where`, if there are not as many rows as `events`.
    """
    rows = np.zeros(events, TAPE_DTYPE)
    at = 0
    is_first = True
    for message in messages:
        data = bytes(message)
        place = len(_BEGIN) if is_first else 0
        is_first = False
        if data[place : place + 2] == _END:
            continue
        count = _fill(rows[at:], data, place + 2)
        if count < 0:
            raise TapeError(f"{where}: has more than the {events} rows of its entry, or a block "
                            "whose columns differ in length")
        at += count
    if at != events:
        raise TapeError(f"{where}: has {at} rows, not the {events} of its entry")
    return rows


def _fill(rows: np.ndarray, data: bytes, place: int) -> int:
    """Fill rows from one block and return how many; -1 if they do not fit."""
    counts = set()
    for name in COLUMNS:
        length = _LENGTH.unpack_from(data, place)[0]
        place += _LENGTH.size
        _, _, _, count, _ = _ARRAY.unpack_from(data, place)
        if count > len(rows):
            return -1
        elements = np.frombuffer(data, _element(name), count, place + _ARRAY.size)
        rows[name][:count] = elements["value"]
        place += length
        counts.add(count)
    return counts.pop() if len(counts) == 1 else -1


def _array(column: np.ndarray, name: str) -> bytes:
    dtype = _element(name)
    elements = np.empty(len(column), dtype)
    elements["length"] = dtype["value"].itemsize
    elements["value"] = column
    return _ARRAY.pack(1, 0, _OIDS[dtype["value"].str], len(column), 1) + elements.tobytes()


def _element(name: str) -> np.dtype:
    """Return an element of a column's array as it travels."""
    size = max(TAPE_DTYPE[name].itemsize, 2)
    return np.dtype([("length", ">i4"), ("value", f">i{size}")])
