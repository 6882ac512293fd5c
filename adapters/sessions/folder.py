"""Sessions on disk: a folder with a memory-mappable tape and a small file about it.

`tape.npy` holds rows of TAPE_DTYPE and is mapped, not read, so that loading costs the same for any
length; `session.json` holds names, markets, facts and the digest of the tape. A session is written
beside its place and renamed into it: whoever looks sees the old one or the new one, whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market

FORMAT_VERSION = 1
TAPE_FILE = "tape.npy"
ABOUT_FILE = "session.json"
BLOCK_ROWS = 1 << 16
"""Rows hashed or written at a time."""
HEADER_BYTES = 512
"""Length of the npy header, fixed so that the number of rows can be filled in last."""


class _Listed(msgspec.Struct, omit_defaults=True):
    ticker: str
    tick: int
    event: str = ""


class _About(msgspec.Struct):
    format: int
    name: str
    markets: list[_Listed]
    events: int
    tape_digest: str
    facts: dict[str, Any]


class _Version(msgspec.Struct):
    format: int


def save(session: Session, path: str | os.PathLike[str]) -> Session:
    """Write a session to the folder `path`, in one step, and return it as loaded from there.

    A session that was there is replaced; if writing fails it stays as it was.
    """
    return write(
        path, session.name, session.markets, [session.tape.rows], facts=session.facts
    )


def write(
    path: str | os.PathLike[str],
    name: str,
    markets: tuple[Market, ...],
    blocks: Iterable[np.ndarray],
    *,
    facts: Mapping[str, Any],
) -> Session:
    """Write a session whose tape arrives in blocks (arrays of TAPE_DTYPE, in order), and load it.

    Memory is bounded by one block. A session that was there is replaced in one step at the end, if
    the new tape is sound; else TapeError is raised and it stays.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        events, digest = _write_tape(temporary / TAPE_FILE, blocks)
        about = _About(
            FORMAT_VERSION,
            name,
            [_Listed(each.ticker, each.tick, each.event) for each in markets],
            events,
            digest,
            dict(facts),
        )
        text = msgspec.json.format(msgspec.json.encode(about), indent=1)
        (temporary / ABOUT_FILE).write_bytes(text + b"\n")
        # To make a session is to check its tape: before it takes the place of an older one.
        Session(Tape(_rows(temporary / TAPE_FILE)), markets, name=name)
        _replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load(target)


def load(path: str | os.PathLike[str]) -> Session:
    """Return the session in the folder `path`; its tape is mapped read-only and not hashed.

    Raises TapeError if a part is missing, damaged, or was written by a newer version.
    """
    folder = Path(path)
    about = _about(folder)
    rows = _rows(folder / TAPE_FILE)
    if len(rows) != about.events:
        raise TapeError(
            f"{folder / ABOUT_FILE}: events is {about.events}, but {TAPE_FILE} has {len(rows)} rows"
        )
    try:
        markets = tuple(Market(each.ticker, each.tick, each.event) for each in about.markets)
    except ValueError as error:
        raise TapeError(f"{folder / ABOUT_FILE}: markets: {error}") from None
    return Session(
        Tape(rows, digest=about.tape_digest),
        markets,
        name=about.name,
        source={"path": str(folder)},
        facts=about.facts,
        reopen=(load, (str(folder),)),
    )


def verify_digest(session: Session) -> None:
    """Hash the rows of the tape and compare with the digest that was stored beside them.

    Raises TapeError if they differ: the tape was changed after it was written.
    """
    found = digest_of([session.tape.rows])
    if found != session.tape.digest:
        raise TapeError(
            f"session {session.name}: the tape's digest is {found}, not {session.tape.digest} "
            "as stored: its rows were changed"
        )


def digest_of(blocks: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the rows of all blocks, in hex."""
    hasher = hashlib.sha256()
    for block in blocks:
        for begin in range(0, len(block), BLOCK_ROWS):
            hasher.update(np.ascontiguousarray(block[begin : begin + BLOCK_ROWS]).data)
    return hasher.hexdigest()


def _about(folder: Path) -> _About:
    path = folder / ABOUT_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise TapeError(f"{folder}: is no session: {ABOUT_FILE} is missing") from None
    except OSError as error:
        raise TapeError(f"{path}: {error.strerror}") from None
    try:
        version = msgspec.json.decode(text, type=_Version).format
        if version > FORMAT_VERSION:
            raise TapeError(
                f"{path}: format is {version}, written by a newer version; this one reads up to "
                f"{FORMAT_VERSION}"
            )
        return msgspec.json.decode(text, type=_About)
    except msgspec.DecodeError as error:
        raise TapeError(f"{path}: {error}") from None


def _rows(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise TapeError(f"{path}: is missing") from None
    except (ValueError, EOFError, OSError) as error:
        raise TapeError(f"{path}: is truncated or not a tape: {error}") from None
    if rows.dtype != TAPE_DTYPE or rows.ndim != 1:
        raise TapeError(f"{path}: rows are {rows.dtype} of shape {rows.shape}, not TAPE_DTYPE (n,)")
    return rows


def _write_tape(path: Path, blocks: Iterable[np.ndarray]) -> tuple[int, str]:
    """Write an npy file whose length is known only at the end; return (rows, digest)."""
    hasher = hashlib.sha256()
    events = 0
    with path.open("wb") as file:
        _write_header(file, 0)
        begin = file.tell()
        for block in blocks:
            if block.dtype != TAPE_DTYPE:
                raise TapeError(f"tape: rows are {block.dtype}, not TAPE_DTYPE")
            data = np.ascontiguousarray(block).data
            hasher.update(data)
            file.write(data)
            events += len(block)
        file.seek(0)
        _write_header(file, events)
        assert file.tell() == begin
        file.flush()
        os.fsync(file.fileno())
    return events, hasher.hexdigest()


def _write_header(file: Any, events: int) -> None:
    """Write an npy header of a length that does not depend on `events`."""
    header = {
        "descr": np.lib.format.dtype_to_descr(TAPE_DTYPE),
        "fortran_order": False,
        "shape": (events,),
    }
    text = "{" + "".join(f"{key!r}: {value!r}, " for key, value in header.items()) + "}"
    padded = text.ljust(HEADER_BYTES - 11) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin1"))


def _replace(temporary: Path, target: Path) -> None:
    """Rename `temporary` to `target`; an old session at `target` is put aside and then removed."""
    if not target.exists():
        temporary.rename(target)
        return
    if any(target.iterdir()) and not (target / ABOUT_FILE).exists():
        raise TapeError(f"{target}: exists and is no session: not replaced")
    old = target.with_name(f".{target.name}.old.{os.getpid()}")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
