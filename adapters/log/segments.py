"""The files of a log, to the byte: segments with a header, and frames with a checksum.

docs/log.md draws them. A frame counts only if its length, number and checksum are right; whatever
else stands in a file is never handed out, and a length that is garbage allocates nothing.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from enum import Enum
from pathlib import Path

import attrs
import numpy as np

from foldbook.engine.errors import TapeError

from .frames import BODY_MAX

MAGIC = b"foldlog\n"
VERSION = 1
HEADER = struct.Struct("<8sIIQ8s")
"""Magic, version, segment number, number of the first frame, id of the log; then a CRC-32."""
CRC = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CRC.size
PREFIX = struct.Struct("<IIQ")
"""CRC-32 of all that follows it, length of the body, number of the frame."""
LOST_MAX = 1 << 32
"""Frames that may be missing before one that is found behind damage."""
READ_BYTES = 1 << 18
"""Of a segment read at a time."""
SEARCH_BYTES = 1 << 20

WRITER_LOCK = "writer.lock"
_NAME = re.compile(r"(\d{8})\.segment")


class Fault(Enum):
    """Why no frame stands at a place."""

    END = "the file ends"
    SHORT = "it is cut short"
    LENGTH = "its length is no length"
    CRC = "its checksum is wrong"
    NUMBER = "its number is not the next"


@attrs.frozen
class Header:
    """What a segment says of itself. log: 8 random bytes, the same in all segments of a log."""

    segment: int
    first: int
    log: bytes

    def encode(self) -> bytes:
        """Return the bytes that a segment begins with."""
        text = HEADER.pack(MAGIC, VERSION, self.segment, self.first, self.log)
        return text + CRC.pack(zlib.crc32(text))

    @classmethod
    def decode(cls, text: bytes) -> Header | None:
        """Return the header that `text` begins with; None if it is damaged or cut short.

        Raises TapeError for a header that is whole, and of a newer version.
        """
        if len(text) < HEADER_BYTES:
            return None
        magic, version, segment, first, log = HEADER.unpack_from(text)
        (crc,) = CRC.unpack_from(text, HEADER.size)
        if magic != MAGIC or crc != zlib.crc32(text[: HEADER.size]):
            return None
        if version != VERSION:
            raise TapeError(f"version is {version}, written by another version; this one reads "
                            f"{VERSION}")
        return cls(segment, first, log)


def salt_of(log: bytes) -> int:
    """Return what the checksums of a log's frames begin with: those of other logs are wrong."""
    return zlib.crc32(log)


def seal(buffer: bytearray, offset: int, end: int, number: int, salt: int) -> None:
    """Write the prefix of a frame at `offset`, whose body ends at `end`."""
    PREFIX.pack_into(buffer, offset, 0, end - offset - PREFIX.size, number)
    with memoryview(buffer) as view:
        CRC.pack_into(buffer, offset, zlib.crc32(view[offset + CRC.size : end], salt))


def path_of(folder: Path, segment: int) -> Path:
    """Return the file of a segment."""
    return folder / f"{segment:08d}.segment"


def check_log(folder: Path) -> None:
    """Check that a folder holds a log, be it one without a frame. Raises TapeError."""
    if not numbers_in(folder) and not (folder / WRITER_LOCK).exists():
        raise TapeError(f"{folder}: is no log: it holds no segment")


def numbers_in(folder: Path) -> list[int]:
    """Return the numbers of the segments in a folder, ascending.

    Raises TapeError if there is no such folder.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise TapeError(f"{folder}: is no log: {error.strerror}") from None
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def header_of(path: Path) -> Header | None:
    """Return the header of a segment; None if it is damaged or cut short."""
    with path.open("rb") as file:
        text = file.read(HEADER_BYTES)
    try:
        found = Header.decode(text)
    except TapeError as error:
        raise TapeError(f"{path}: {error}") from None
    return found if found is None or found.segment == int(path.stem) else None


def stated_log(path: Path) -> bytes:
    """Return what stands where a segment names its log, be its header damaged or not."""
    with path.open("rb") as file:
        return file.read(HEADER.size)[-8:]


class Cursor:
    """Reads the frames of one segment, one after the other.

    offset: where the next frame stands. number: what its number must be.
    """

    def __init__(self, path: Path, salt: int, number: int, offset: int = HEADER_BYTES):
        self.path = path
        self.salt = salt
        self.number = number
        self.offset = offset
        self._file = path.open("rb", buffering=0)
        self._data = b""
        self._at = 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes of the file, as it is now."""
        return os.fstat(self._file.fileno()).st_size

    def next(self) -> bytes | Fault:
        """Return the body of the next frame and step over it, or why there is none."""
        data, at = self._data, self._at
        if len(data) - at < PREFIX.size:
            data, at = self._load(READ_BYTES)
            if len(data) < PREFIX.size:
                return Fault.SHORT if data else Fault.END
        crc, length, number = PREFIX.unpack_from(data, at)
        if not 0 < length <= BODY_MAX:
            return Fault.LENGTH
        end = at + PREFIX.size + length
        if end > len(data):
            data, at = self._load(max(READ_BYTES, PREFIX.size + length))
            end = PREFIX.size + length
            if end > len(data):
                return Fault.SHORT
        if zlib.crc32(memoryview(data)[at + CRC.size : end], self.salt) != crc:
            return Fault.CRC
        if number != self.number:
            return Fault.NUMBER
        self._at = end
        self.offset += end - at
        self.number += 1
        return data[at + PREFIX.size : end]

    def again(self) -> bytes | Fault:
        """As `next`, but read anew: the file may have grown, or its last frame been completed."""
        self._data, self._at = b"", 0
        return self.next()

    def move(self, offset: int, number: int) -> None:
        """Go to another place of the segment."""
        self.offset, self.number = offset, number
        self._data, self._at = b"", 0

    def find(self) -> tuple[int, int] | None:
        """Return (offset, number) of the next whole frame from here on; None if there is none.

        Its number must not be below the one expected: what was read is not read again.
        """
        for begin in range(self.offset, self.size, SEARCH_BYTES):
            block = self._read(begin, SEARCH_BYTES + PREFIX.size)
            for at in _candidates(block, self.number, self.number + LOST_MAX):
                if (number := self._whole(begin + at)) is not None:
                    return begin + at, number
        return None

    def is_blank(self) -> bool:
        """Whether the file holds nothing but zeros: room that was given and never written."""
        blocks = (self._read(begin, SEARCH_BYTES) for begin in range(0, self.size, SEARCH_BYTES))
        return not any(block.strip(b"\0") for block in blocks)

    def _whole(self, offset: int) -> int | None:
        """Return the number of the frame at an offset, if a whole one stands there."""
        prefix = self._read(offset, PREFIX.size)
        if len(prefix) < PREFIX.size:
            return None
        crc, length, number = PREFIX.unpack(prefix)
        if not 0 < length <= min(BODY_MAX, self.size - offset - PREFIX.size):
            return None
        text = self._read(offset + CRC.size, PREFIX.size - CRC.size + length)
        return int(number) if zlib.crc32(text, self.salt) == crc else None

    def _load(self, count: int) -> tuple[bytes, int]:
        self._data, self._at = self._read(self.offset, count), 0
        return self._data, 0

    def _read(self, offset: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, offset)


def _candidates(block: bytes, least: int, most: int) -> list[int]:
    """Return the offsets in a block at which a frame with a number in this range may begin."""
    found = []
    at_number = PREFIX.size - 8
    for shift in range(8):
        count = (len(block) - at_number - shift) // 8
        if count > 0:
            numbers = np.frombuffer(block, "<u8", count, at_number + shift)
            near = np.flatnonzero((numbers >= least) & (numbers <= most))
            found += (near * 8 + shift).tolist()
    return sorted(found)
