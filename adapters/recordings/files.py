"""Files of a recording, plain or gzip, a block at a time; and how far the reading has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
from isal import isal_zlib

from foldbook.engine.errors import TapeError

from .. import sessions
from .reports import Problems

CHUNK_BYTES = 1 << 21
"""Text handed out at a time, about."""
READ_BYTES = 1 << 17
"""Of a gzip file read at a time; about a chunk of text."""
GZIP = b"\x1f\x8b"

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for text that is not what it should be, or is no text."""

Progress = Callable[[int, int], None]
"""Told (bytes read, bytes in all) now and then."""


class Meter:
    """Adds up bytes for the progress bar.

    files: all that will be read. progress: None if nobody looks.
    """

    def __init__(self, progress: Progress | None, files: Sequence[Path]):
        self._progress = progress
        self._done = 0
        self._total = sum(path.stat().st_size for path in files)

    def add(self, count: int) -> None:
        """Note that so many more bytes were read."""
        self._done += count
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)


def find_files(sources: Sequence[Path], *suffixes: str) -> list[Path]:
    """Return the files of all sources in order, folders searched whole and by name.

    A file that is named is taken whatever its name is; of a folder those that end in one of the
    suffixes, but none of a session. Raises TapeError if a source does not exist, a folder may not
    be read, or nothing is found.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += [path for path in sessions.paths_below(source) if path.name.endswith(suffixes)
                      and path.is_file() and not path.name.startswith(".")
                      and not (path.parent / sessions.ABOUT_FILE).exists()]
        elif source.is_file():
            found.append(source)
        else:
            raise TapeError(f"{source}: no such file or folder")
    if not found:
        names = ", ".join(map(str, sources))
        raise TapeError(f"{names}: holds no file that ends in {' or '.join(suffixes)}")
    return list(dict.fromkeys(found))


def read_lines(path: Path, problems: Problems, meter: Meter) -> Iterator[tuple[int, bytes]]:
    """Yield (row from 1, line without its end) of a text file, plain or gzip; empty lines too.

    A truncated or damaged file is reported to `problems`; what can be read of it is yielded.
    """
    row, rest = 1, b""
    for block, bytes_read in blocks(path, problems):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield row, line.removesuffix(b"\r")
            row += 1
        meter.add(bytes_read)
    if rest:
        yield row, rest.removesuffix(b"\r")


def blocks(
    path: Path, problems: Problems, read_bytes: int = READ_BYTES
) -> Iterator[tuple[bytes, int]]:
    """Yield (text, bytes of the file read since the last) of a plain or gzip file."""
    try:
        with path.open("rb") as file:
            head = file.read(2)
            file.seek(0)
            if head == GZIP:
                yield from _inflate(path, file, problems, read_bytes)
                return
            if path.name.endswith(".gz"):
                problems.damaged(path, f"not gzip: begins with {head!r}, expected {GZIP!r}")
                return
            while block := file.read(CHUNK_BYTES):
                yield block, len(block)
    except OSError as error:
        raise TapeError(f"{path}: {error.strerror or error}") from None


def _inflate(
    path: Path, file: IO[bytes], problems: Problems, read_bytes: int
) -> Iterator[tuple[bytes, int]]:
    """Inflate all members of a gzip file; report one that is cut off or damaged."""
    inflater = isal_zlib.decompressobj(31)
    whole, size = True, 0
    while data := file.read(read_bytes):
        text, bytes_read = [], len(data)
        size += bytes_read
        while data:
            try:
                text.append(inflater.decompress(data))
            except isal_zlib.error as error:  # type: ignore[misc]
                yield b"".join(text), bytes_read
                problems.damaged(path, f"damaged gzip: {error}, before byte {size}")
                return
            whole = inflater.eof
            data = inflater.unused_data.lstrip(b"\0") if whole else b""
            if whole:
                inflater = isal_zlib.decompressobj(31)
        yield b"".join(text), bytes_read
    if not whole:
        problems.damaged(path, f"truncated gzip: the file ends at byte {size}, before its data")
