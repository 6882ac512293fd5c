"""Sessions in a folder: one Parquet file that is all of it, and what is derived to load it quickly.

`tape.parquet` is the session; `session.json` says in text what its metadata says, and `tape.npy`
is the hot form, whose rows are mapped. Either of the two is made anew where it is missing or
belongs to another Parquet file. A session is written beside its place and renamed into it: whoever
looks sees the old one or the new one, whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market

from .about import About, about_of, decode, encode, markets_of
from .exchange import exchange
from .hot import Wanted, cached, digest_of, made, map_hot, map_old, write_hot
from .portable import read_about, read_rows, seal_of
from .writing import write_portable

TAPE_FILE = "tape.npy"
ABOUT_FILE = "session.json"
PORTABLE_FILE = "tape.parquet"
_OLD_FORMAT = 1


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

    Memory is bounded by one block and one row group. A session that was there is replaced in one
    step at the end, if the new tape is sound; else TapeError is raised and it stays, as it does if
    OSError says that the disk is full.
    """
    target = Path(path)
    check_place(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        _write_files(temporary, name, markets, blocks, facts)
        _replace(temporary, target)
    except OSError as error:
        if Path(error.filename or temporary).is_relative_to(temporary):
            said = f"cannot be written: {error.strerror or error}; what was there is as it was"
            raise OSError(error.errno, said, str(target)) from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load(target)


def move(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Put the session in the folder `source` at `path`, on the same disk, in one step.

    A session that was there is replaced. Raises TapeError if something else is there.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(Path(source), target)


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise TapeError if `path` names no folder, or something is there that stays as it is."""
    target = Path(path)
    if not target.name:
        raise TapeError(f"{target}: names no folder of its own to write a session to")
    if not target.exists():
        return
    is_session = any((target / mark).exists() for mark in (ABOUT_FILE, PORTABLE_FILE))
    if not is_session and (not target.is_dir() or any(target.iterdir())):
        raise TapeError(f"{target}: exists and is no session: not replaced")


def load(path: str | os.PathLike[str]) -> Session:
    """Return the session in the folder `path`, or in one Parquet file of the portable form.

    Its tape is mapped read-only and not hashed. Where the hot form is missing or was made for
    another tape, it is made, and its rows are hashed: beside the Parquet file of a folder, or in
    the cache (FOLDBOOK_CACHE, XDG_CACHE_HOME or ~/.cache) if that cannot be written to. Raises
    TapeError if a part is missing, damaged, or was written by a newer version.
    """
    place = Path(path)
    is_file = place.is_file()
    about_path = place if is_file else place / ABOUT_FILE
    about = read_about(place) if is_file else _about(place)
    markets = markets_of(about, about_path)
    tape = Tape(_rows(place, about), digest=about.tape_digest)
    session = Session(
        tape,
        markets,
        name=about.name,
        source={"path": str(place)},
        facts=about.facts,
        reopen=(_load_again, (str(place), Session(tape, markets, name="").digest)),
    )
    if about.digest not in ("", session.digest):
        raise TapeError(f"{about_path}: digest is {about.digest}, but that of its markets and its "
                        f"tape is {session.digest}")
    return session


def _load_again(path: str, digest: str) -> Session:
    """Load a session that was loaded before. Raises TapeError if another one is there by now."""
    session = load(path)
    if session.digest != digest:
        raise TapeError(f"{path}: holds a session of digest {session.digest}; that which was "
                        f"pickled had {digest}")
    return session


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


def verify_portable(path: str | os.PathLike[str]) -> None:
    """Read a session's Parquet file whole, and compare the digest of its rows with the stored one.

    path: the folder or the file. A session of format 1 has none, and nothing to compare. Raises
    TapeError if it is damaged, or its rows were changed.
    """
    place = Path(path)
    if not place.is_file():
        if _about(place).format == _OLD_FORMAT:
            return
        place = place / PORTABLE_FILE
    about = read_about(place)
    rows = np.zeros(about.events, TAPE_DTYPE)
    read_rows(place, about, rows)
    found = digest_of([rows])
    if found != about.tape_digest:
        raise TapeError(f"{place}: the digest of its rows is {found}, not {about.tape_digest} as "
                        "its metadata says: its rows were changed")


def _about(folder: Path) -> About:
    """Return what is known of the session in a folder; of the Parquet file, if that is another."""
    path, portable = folder / ABOUT_FILE, folder / PORTABLE_FILE
    try:
        about = decode(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError):
        if not portable.exists():
            raise TapeError(f"{folder}: is no session: {PORTABLE_FILE} is missing") from None
        about = None
    except OSError as error:
        raise TapeError(f"{path}: {error.strerror}") from None
    if about is not None and about.format == _OLD_FORMAT:
        return about
    if about is None or about.parquet != seal_of(portable):
        about = read_about(portable)
        with suppress(OSError):
            _write_text(path, about)
    return about


def _rows(place: Path, about: About) -> np.ndarray:
    if about.format == _OLD_FORMAT and not place.is_file():
        old = map_old(place / TAPE_FILE)
        if len(old) != about.events:
            raise TapeError(f"{place / ABOUT_FILE}: events is {about.events}, but {TAPE_FILE} has "
                            f"{len(old)} rows")
        return old
    source = place if place.is_file() else place / PORTABLE_FILE
    places = [cached(about.tape_digest)]
    if source != place:
        places.insert(0, place / TAPE_FILE)
    for each in places:
        if (rows := map_hot(each, about.events, about.tape_digest)) is not None:
            return rows
    _check(about, source, place / ABOUT_FILE)
    fill = partial(read_rows, source, about)
    return made(places, Wanted(about.events, about.tape_digest, source, fill))


def _check(about: About, source: Path, path: Path) -> None:
    """Check that what `path` says of a Parquet file is what the file says itself."""
    itself = read_about(source)
    for name in about.__struct_fields__:
        if getattr(about, name) != getattr(itself, name):
            raise TapeError(
                f"{path}: {name} is {getattr(about, name)}, but {getattr(itself, name)} in "
                f"{source.name}: remove {path.name}, and it is made anew"
            )


def _write_files(
    folder: Path, name: str, markets: tuple[Market, ...], blocks: Iterable[np.ndarray],
    facts: Mapping[str, Any],
) -> None:
    events, digest = write_hot(folder / TAPE_FILE, blocks)
    rows = map_hot(folder / TAPE_FILE, events, digest)
    assert rows is not None
    # To make a session is to check its tape: before it takes the place of an older one.
    session = Session(Tape(rows, digest=digest), markets, name=name)
    about = about_of(session, facts)
    write_portable(folder / PORTABLE_FILE, rows, about)
    about.parquet = seal_of(folder / PORTABLE_FILE)
    _write_text(folder / ABOUT_FILE, about)


def _write_text(path: Path, about: About) -> None:
    """Write what is known of a session, in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(encode(about), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _replace(temporary: Path, target: Path) -> None:
    """Put `temporary` where `target` is; what was there is then where `temporary` was."""
    _sync(temporary)
    check_place(target)
    if not target.exists():
        temporary.rename(target)
    else:
        exchange(temporary, target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    """Have the names in a folder written to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
