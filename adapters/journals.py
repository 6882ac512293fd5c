"""Journals as files: all that a run added to its tape, and enough to do the run again.

A file is a preamble (magic, versions, a JSON header), blocks of rows with their places, and an end
that holds the number and the digest of all rows. Each part is followed by a checksum, so that
damage is found and named by byte offset and rows; what `load` returns is exactly what was saved.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from foldbook.engine.errors import JournalError
from foldbook.engine.schema import JOURNAL_DTYPE, SCHEMA_VERSION

FORMAT_VERSION = 1
MAGIC = b"FOLDJRNL"
BLOCK_ROWS = 65_536
"""Rows in each block but the last."""

_PREAMBLE = struct.Struct("<8sHHI")  # magic, format version, schema version, bytes of the header
_BLOCK = struct.Struct("<4sI")  # "ROWS", number of rows
_END = struct.Struct("<4sQ32s")  # "DONE", number of all rows, their SHA-256
_CRC = struct.Struct("<I")  # after each part
_PLACE = np.dtype("<i8")


def save(
    path: str | os.PathLike[str], rows: np.ndarray, places: np.ndarray, header: Mapping[str, Any]
) -> None:
    """Write a journal in one step: afterwards the file is whole, or as it was before.

    rows: array of JOURNAL_DTYPE. places: how many tape rows were applied before each row, int64.
    header: anything that JSON can hold.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            for part in _parts(rows, places, header):
                file.write(part)
                file.write(_CRC.pack(zlib.crc32(part)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def load(path: str | os.PathLike[str]) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Return (header, rows, places) of a journal; the arrays are read-only.

    Raises JournalError, with byte offset and rows, for a file that is no journal, that a newer
    version wrote, that is cut off, or in which as much as one bit has changed.
    """
    reader = _Reader(Path(path))
    header = _read_header(reader)
    blocks = [(np.empty(0, JOURNAL_DTYPE), np.empty(0, _PLACE))]
    first = 0
    while reader.peek(_BLOCK, f"the end after row {first - 1}")[0] == b"ROWS":
        blocks.append(_read_block(reader, first))
        first += len(blocks[-1][0])
    rows = np.concatenate([rows for rows, _ in blocks])
    places = np.concatenate([places for _, places in blocks])
    _read_end(reader, rows)
    rows.flags.writeable = places.flags.writeable = False
    return header, rows, places


def _parts(rows: np.ndarray, places: np.ndarray, header: Mapping[str, Any]) -> Iterator[bytes]:
    if rows.dtype != JOURNAL_DTYPE or rows.shape != places.shape or rows.ndim != 1:
        raise JournalError(
            f"journal: {rows.shape} rows of {rows.dtype}, {places.shape} places do not go together"
        )
    text = msgspec.json.encode(header)
    yield _PREAMBLE.pack(MAGIC, FORMAT_VERSION, SCHEMA_VERSION, len(text)) + text
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        place = places[start : start + BLOCK_ROWS].astype(_PLACE)
        yield _BLOCK.pack(b"ROWS", len(block)) + block.tobytes() + place.tobytes()
    yield _END.pack(b"DONE", len(rows), hashlib.sha256(rows.tobytes()).digest())


class _Reader:
    """The bytes of one file, taken part by part."""

    def __init__(self, path: Path):
        self.path = path
        self.data = memoryview(path.read_bytes())
        self.offset = 0

    def peek(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        if self.offset + layout.size > len(self.data):
            raise self.cut_off(what)
        return layout.unpack_from(self.data, self.offset)

    def take(self, size: int, what: str) -> memoryview:
        """Return the next `size` bytes once their checksum is right."""
        end = self.offset + size
        if end + _CRC.size > len(self.data):
            raise self.cut_off(what)
        part = self.data[self.offset : end]
        if _CRC.unpack_from(self.data, end)[0] != zlib.crc32(part):
            raise self.error(
                f"damaged between bytes {self.offset} and {end + _CRC.size}: "
                f"the checksum of {what} is wrong"
            )
        self.offset = end + _CRC.size
        return part

    def cut_off(self, what: str) -> JournalError:
        return self.error(f"cut off at byte {len(self.data)}, within {what}")

    def error(self, problem: str) -> JournalError:
        return JournalError(f"journal {self.path}: {problem}")


def _read_header(reader: _Reader) -> dict[str, Any]:
    what = "the header"
    if reader.data[: len(MAGIC)] != MAGIC:
        raise reader.error("no foldbook journal: it does not begin with its magic bytes")
    _, version, schema, length = reader.peek(_PREAMBLE, what)
    for name, found, known in (
        ("format", version, FORMAT_VERSION),
        ("schema", schema, SCHEMA_VERSION),
    ):
        if found > known:
            raise reader.error(f"{name} {found} is newer than this release, which knows {known}")
    text = reader.take(_PREAMBLE.size + length, what)[_PREAMBLE.size :]
    if (version, schema) != (FORMAT_VERSION, SCHEMA_VERSION):
        raise reader.error(f"format {version}, schema {schema}: this release cannot read them")
    return msgspec.json.decode(text, type=dict[str, Any])


def _read_block(reader: _Reader, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and places of the block that begins at row `first`."""
    _, count = reader.peek(_BLOCK, f"the block of row {first}")
    middle = _BLOCK.size + count * JOURNAL_DTYPE.itemsize
    size = middle + count * _PLACE.itemsize
    part = reader.take(size, _rows_there(reader, first, count))
    return np.frombuffer(part[_BLOCK.size : middle], JOURNAL_DTYPE), np.frombuffer(
        part[middle:], _PLACE
    )


def _rows_there(reader: _Reader, first: int, count: int) -> str:
    rest = len(reader.data) - reader.offset - _BLOCK.size
    whole = first + min(rest // JOURNAL_DTYPE.itemsize, count)
    if whole < first + count:
        return f"row {whole} (of rows {first} to {first + count - 1})"
    return f"rows {first} to {first + count - 1}"


def _read_end(reader: _Reader, rows: np.ndarray) -> None:
    part = reader.take(_END.size, f"the end after row {len(rows) - 1}")
    tag, count, digest = _END.unpack(part)
    if tag != b"DONE":
        raise reader.error(f"damaged: {tag!r} after row {len(rows) - 1}, not the end")
    if count != len(rows) or digest != hashlib.sha256(rows.tobytes()).digest():
        raise reader.error(f"damaged: the end is that of {count} other rows, not of {len(rows)}")
    if reader.offset != len(reader.data):
        raise reader.error(f"bytes {reader.offset} to {len(reader.data)} follow its end")
