"""The hot form of a tape: an npy file whose rows are mapped, and shared by all processes.

Its header names the digest of the rows that it was made for. A file is put into its place whole or
not at all, so the header alone says whether it is the one: rows are hashed when it is made, and
when somebody asks (`verify_digest`), never when it is mapped.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE

BLOCK_ROWS = 1 << 16
"""Rows hashed at a time."""
HEADER_BYTES = 512
"""Length of the npy header, fixed so that it can be filled in last."""
_ZEROS = 1 << 20
"""Bytes written at a time where room is taken by writing."""


def digest_of(blocks: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the rows of all blocks, in hex."""
    hasher = hashlib.sha256()
    for block in blocks:
        for begin in range(0, len(block), BLOCK_ROWS):
            hasher.update(np.ascontiguousarray(block[begin : begin + BLOCK_ROWS]).data)
    return hasher.hexdigest()


def write_hot(path: Path, blocks: Iterable[np.ndarray]) -> tuple[int, str]:
    """Write the rows of all blocks, whose number is known only at the end.

    Returns (rows, digest). Raises TapeError for a block that is not of TAPE_DTYPE.
    """
    hasher = hashlib.sha256()
    events = 0
    with path.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        for block in blocks:
            if block.dtype != TAPE_DTYPE:
                raise TapeError(f"tape: rows are {block.dtype}, not TAPE_DTYPE")
            data = np.ascontiguousarray(block).data
            hasher.update(data)
            file.write(data)
            events += len(block)
        digest = hasher.hexdigest()
        file.seek(0)
        file.write(_header(events, digest))
        file.flush()
        os.fsync(file.fileno())
    return events, digest


def map_hot(path: Path, events: int, digest: str) -> np.ndarray | None:
    """Return the rows in `path`, read-only, or None if it was not made for this tape."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != HEADER_BYTES + events * TAPE_DTYPE.itemsize:
                return None
            if file.read(HEADER_BYTES) != _header(events, digest):
                return None
            return np.memmap(file, TAPE_DTYPE, "r", HEADER_BYTES, (events,))
    except OSError:
        return None


def map_old(path: Path) -> np.ndarray:
    """Return the rows in the npy file of a session of format 1. Raises TapeError."""
    try:
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise TapeError(f"{path}: is missing") from None
    except Exception as error:  # what a damaged header raises, NumPy does not say
        said = str(error).partition("\n")[0]
        raise TapeError(f"{path}: is truncated or not a tape: {said}") from None
    if rows.dtype != TAPE_DTYPE or rows.ndim != 1:
        raise TapeError(f"{path}: rows are {rows.dtype} of shape {rows.shape}, not TAPE_DTYPE (n,)")
    return rows


@attrs.frozen
class Wanted:
    """A tape that is to be mapped: how many rows it has, their digest, and where they come from.

    fill: writes every row into an array of TAPE_DTYPE. source: the file that it reads, for errors.
    """

    events: int
    digest: str
    source: Path
    fill: Callable[[np.ndarray], None]


def made(places: Sequence[Path], tape: Wanted) -> np.ndarray:
    """Make the hot form in the first place that can be written to, and return its rows.

    Raises what `fill` raises, TapeError if its rows have another digest, and OSError if no place
    can be written to.
    """
    for place in places[:-1]:
        with suppress(OSError):
            return _made(place, tape)
    return _made(places[-1], tape)


def cached(digest: str) -> Path:
    """Return where the hot form of a tape lies when it cannot lie beside the portable one."""
    base = os.environ.get("FOLDBOOK_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "foldbook" / "tapes" / f"{digest}.npy"


def _made(place: Path, tape: Wanted) -> np.ndarray:
    """Make the hot form in `place`. Two processes that do so at once do it twice, and no harm."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb+") as file:
            _write_made(file, tape)
        temporary.replace(place)
    except OSError as error:
        raise OSError(error.errno, f"cannot be made: {error.strerror}", str(place)) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    rows = map_hot(place, tape.events, tape.digest)
    if rows is None:
        raise TapeError(f"{place}: was replaced by another tape just now: load it again")
    return rows


def _write_made(file: BinaryIO, tape: Wanted) -> None:
    size = HEADER_BYTES + tape.events * TAPE_DTYPE.itemsize
    _reserve(file, size)
    if tape.events:
        memory = mmap.mmap(file.fileno(), size)
        rows = np.frombuffer(memory, TAPE_DTYPE, tape.events, HEADER_BYTES)
        tape.fill(rows)
        found = digest_of([rows])
        if found != tape.digest:
            raise TapeError(f"{tape.source}: the digest of its rows is {found}, not {tape.digest} "
                            "as its metadata says: its rows were changed")
        memory.flush()
    file.write(_header(tape.events, tape.digest))
    file.flush()
    os.fsync(file.fileno())


def _reserve(file: BinaryIO, size: int) -> None:
    """Take room on the disk: a mapped page that finds none later would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for begin in range(0, size, _ZEROS):
        file.write(bytes(min(_ZEROS, size - begin)))
    file.flush()
    file.seek(0)


def _header(events: int, digest: str) -> bytes:
    """Return an npy header of HEADER_BYTES, with the digest as a comment that NumPy skips."""
    fields = {
        "descr": np.lib.format.dtype_to_descr(TAPE_DTYPE),
        "fortran_order": False,
        "shape": (events,),
    }
    text = f"{fields!r}  # sha256 {digest}".ljust(HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin1")
