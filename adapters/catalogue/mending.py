"""The folders of a catalogue, and what becomes of a write that was killed half-way.

The index says what counts. So, with the index's lock held and hence no writer alive:

- what lies in `incoming` was never whole: it is removed;
- an older session in `replaced` is removed if its successor counts (the index has its digest), and
  else put back in its place;
- a session in `removed` is put back if the index still has it, and else removed for good;
- a whole session in the folder that the index does not know is adopted: somebody put it there, or
  was killed right before the commit. One that cannot be read is named and left alone.

Each of these says what it did. A second look finds nothing more to do.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from foldbook.engine.errors import TapeError

from .. import sessions
from . import index as rows
from .entries import NAMES_A_FILE, check_names, entry_of, facts_of
from .errors import CatalogueError

_MARK = "@"
"""Stands between a session's name, which cannot have it, and what makes a place aside its own."""


class Places:
    """Where the parts of a catalogue lie. Names are those of sessions, checked by the caller."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.own = folder / ".catalogue"
        self.index = self.own / "index.sqlite"
        self.incoming = self.own / "incoming"
        self.replaced = self.own / "replaced"
        self.removed = self.own / "removed"

    def make(self) -> None:
        """Make those that are missing."""
        for each in (self.incoming, self.replaced, self.removed):
            each.mkdir(parents=True, exist_ok=True)

    def aside(self, folder: Path, name: str) -> Path:
        """Return a place for a session in `replaced` or `removed` that nobody else will use."""
        return folder / f"{name}{_MARK}{secrets.token_hex(8)}"

    def replace(self, name: str, aside: Path) -> None:
        """Put the session in `incoming` in its place, and an older one aside."""
        place = self.folder / name
        if place.exists():
            if not is_session(place):
                raise CatalogueError(f"{place}: exists and is no session: not replaced")
            place.rename(aside)
        (self.incoming / name).rename(place)
        sync(self.folder)

    def take_back(self, name: str, aside: Path, *, was_there: bool) -> None:
        """Undo what `replace` may have done, in whole or in part."""
        place = self.folder / name
        shutil.rmtree(self.incoming / name, ignore_errors=True)
        if aside.exists():
            shutil.rmtree(place, ignore_errors=True)
            aside.rename(place)
        elif not was_there:
            shutil.rmtree(place, ignore_errors=True)


def mend(places: Places, connection: sqlite3.Connection) -> list[str]:
    """Finish or undo what killed writers left, by the rules above; return what was done.

    connection: in a transaction that shuts out other writers; its rows are only read.
    """
    done = []
    for path in inside(places.incoming):
        _remove(path)
        done.append(f"removed {path.name} from incoming: its save was not finished")
    for path in inside(places.replaced):
        name = path.name.partition(_MARK)[0]
        entry, place = rows.entry(connection, name), places.folder / name
        if entry is not None and _digest(place) == entry.digest:
            _remove(path)
            done.append(f"removed the older {name}: the save that replaced it had finished")
        else:
            _remove(place)
            path.rename(place)
            done.append(f"put {name} back: the save that was to replace it was not finished")
    for path in inside(places.removed):
        name = path.name.partition(_MARK)[0]
        if rows.entry(connection, name) is not None and not (places.folder / name).exists():
            path.rename(places.folder / name)
            done.append(f"put {name} back: its removal was not finished")
        else:
            _remove(path)
            done.append(f"removed what was left of {name}: its removal had finished")
    return done


def adopt(places: Places, connection: sqlite3.Connection) -> list[str]:
    """Put sessions that the index does not know into it; return what was done.

    connection: in a transaction that shuts out other writers.
    """
    known = rows.names(connection)
    done = []
    for path in sorted(unknown(places.folder, known)):
        try:
            session = sessions.load(path)
            check_names(session, path.name)
            facts = facts_of(session)
            entry = entry_of(session, path.name, size_of(path), facts)
        except (TapeError, CatalogueError) as error:
            done.append(f"left {path.name} alone: {error}")
            continue
        rows.put(connection, entry, facts)
        done.append(f"adopted {path.name}: a session that the index did not know")
    return done


def unknown(folder: Path, known: set[str]) -> Iterator[Path]:
    """Yield the folders in a catalogue's folder that look like sessions and are not known."""
    with os.scandir(folder) as found:
        for each in found:
            if NAMES_A_FILE.fullmatch(each.name) and each.name not in known:
                path = Path(each.path)
                if path.is_dir() and is_session(path):
                    yield path


def holds_sessions(folder: Path) -> bool:
    """Whether a folder has a session in it."""
    return folder.is_dir() and any(True for _ in unknown(folder, set()))


def is_session(path: Path) -> bool:
    """Whether a folder was written as a session; it may be damaged."""
    return any((path / name).exists() for name in (sessions.PORTABLE_FILE, sessions.ABOUT_FILE))


def settle(path: Path) -> int:
    """Make a session that was just written outlive a loss of power; return its bytes."""
    for each in path.iterdir():
        sync(each)
    sync(path)
    return size_of(path)


def sync(path: Path) -> None:
    """Write what the system still holds of a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def size_of(path: Path) -> int:
    """Return the bytes of the files of a session."""
    return sum(each.stat().st_size for each in path.iterdir())


def inside(path: Path) -> list[Path]:
    """Return what lies in one of the own folders, by name."""
    return sorted(path.iterdir()) if path.exists() else []


def _digest(path: Path) -> str | None:
    try:
        return sessions.load(path).digest
    except TapeError:
        return None


def _remove(path: Path) -> None:
    """Remove a file or a folder, which the writer that put it there may be removing too."""
    if path.is_dir():
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
