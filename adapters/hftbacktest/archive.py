"""Arrays in an `.npz` archive or an `.npy` file, a block at a time; whatever is wrong is named."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from foldbook.engine.errors import TapeError

from ..recordings import Meter
from .events import ARRAY, EVENT_DTYPE

BLOCK_EVENTS = 1 << 16
_DAMAGES = (ValueError, EOFError, SyntaxError, TypeError, KeyError, AttributeError, OverflowError,
            MemoryError, NotImplementedError, RuntimeError, RecursionError, zipfile.BadZipFile,
            zlib.error, tokenize.TokenError, OSError)
"""What zipfile, zlib and the parser of npy headers raise for bytes that are no archive."""


@contextmanager
def opened(path: Path, name: str = ARRAY) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Give (stream of an array, the file that it is read from). Raises TapeError.

    An error while the stream is read is the file's fault, too.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                file.seek(0)
                yield file, file
                return
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if f"{name}.npy" not in names:
                    raise TapeError(f"{path}: holds no array {name!r}, but {', '.join(names)}")
                with archive.open(f"{name}.npy") as stream:
                    yield stream, file
    except TapeError:
        raise
    except _DAMAGES as error:
        raise TapeError(f"{path}: is truncated, damaged or no npz: {error}") from None


def has_array(path: Path, name: str) -> bool:
    """Return whether an archive has an array. Raises TapeError if it is none and claims to be."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return False
        with zipfile.ZipFile(path) as archive:
            return f"{name}.npy" in archive.namelist()
    except _DAMAGES as error:
        raise TapeError(f"{path}: is truncated, damaged or no npz: {error}") from None


def read_array(path: Path, name: str, dtype: np.dtype) -> np.ndarray:
    """Return a whole array of an archive. Raises TapeError if it is missing or of another type."""
    with opened(path, name) as (stream, _):
        count = _count(path, name, stream, dtype)
        data = stream.read()
        if len(data) != count * dtype.itemsize:
            raise TapeError(f"{path}: array {name!r} has {len(data)} bytes, expected "
                            f"{count * dtype.itemsize}")
        return np.frombuffer(data, dtype)


def read_events(path: Path, meter: Meter) -> Iterator[np.ndarray]:
    """Yield the events of a file in blocks, EVENT_DTYPE."""
    with opened(path) as (stream, file):
        count = _count(path, ARRAY, stream, EVENT_DTYPE)
        read, done = 0, 0
        while read < count:
            size = min(BLOCK_EVENTS, count - read) * EVENT_DTYPE.itemsize
            data = _whole(stream, size)
            if len(data) != size:
                raise TapeError(f"{path}: ends after {read + len(data) // EVENT_DTYPE.itemsize} "
                                f"events, expected {count}")
            read += size // EVENT_DTYPE.itemsize
            now = file.tell()
            meter.add(max(now - done, 0))
            done = max(now, done)
            yield np.frombuffer(data, EVENT_DTYPE)


def _whole(stream: IO[bytes], size: int) -> bytes:
    """Read `size` bytes, or all there are."""
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _count(path: Path, name: str, stream: IO[bytes], dtype: np.dtype) -> int:
    """Return how many rows an array has, from its header. Raises TapeError for another type."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, found = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, found = np.lib.format.read_array_header_2_0(stream)
    else:
        raise TapeError(f"{path}: array {name!r} has npy version {version}, expected 1.0 or 2.0")
    if _fields(found) != _fields(dtype) or len(shape) != 1 or fortran:
        raise TapeError(f"{path}: array {name!r} is {found} of shape {shape}, expected {dtype} of "
                        "shape (n,)")
    return int(shape[0])


def _fields(dtype: np.dtype) -> tuple[int, list[tuple[str, str, int]] | str]:
    """Return what makes two types the same: names, formats and places of the fields."""
    if dtype.names is None or dtype.fields is None:
        return dtype.itemsize, dtype.str
    fields = [(name, *dtype.fields[name][:2]) for name in dtype.names]
    return dtype.itemsize, [(name, found.str, int(place)) for name, found, place in fields]
