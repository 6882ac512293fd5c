"""Locks and names in a folder: who may write, and what is durable."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LogBusyError, LogWriteError


class Lock:
    """A file that one process holds at a time; its death lets go of it.

    The file says who holds it, and stays when it is let go.
    """

    def __init__(self, path: Path, holder: str, what: str):
        """Take the lock. what: what is being done to the log by whoever holds it.

        Raises LogBusyError, naming the holder, if another has it.
        """
        with naming(path, "was not locked"):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            name = os.pread(self._file, 200, 0).decode("utf-8", "replace").strip()
            os.close(self._file)
            raise LogBusyError(
                f"{path.parent}: {what} by {name or 'a process that is just beginning'}"
            ) from None
        name = f"{holder}, process {os.getpid()}" if holder else f"process {os.getpid()}"
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{name}\n".encode(), 0)
        except OSError as error:
            self.release()
            raise LogWriteError(f"{path}: was not written: {error.strerror}") from None

    def release(self) -> None:
        """Let go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def holder_of(path: Path) -> str | None:
    """Return who holds a lock; None if nobody does. Takes nothing from anybody who tries to."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(file, 200, 0).decode("utf-8", "replace").strip()
    finally:
        os.close(file)
    return None


@contextmanager
def naming(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError into a LogWriteError that says in one line which file, and what."""
    try:
        yield
    except LogWriteError:
        raise
    except OSError as error:
        raise LogWriteError(f"{path}: {what}: {error.strerror}") from None


def write_all(file: int, data: bytes | bytearray) -> None:
    """Write all of it, in as many calls as that takes."""
    count = os.write(file, data)
    while count < len(data):
        count += os.write(file, data[count:])


sync = getattr(os, "fdatasync", os.fsync)
"""Make the content of a file durable."""


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_tree(folder: Path) -> None:
    """Make a folder durable, with all that is in it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync_folder(Path(parent) / name)
        sync_folder(Path(parent))
