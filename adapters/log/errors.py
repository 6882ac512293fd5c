"""What can be wrong with a log, and whose fault it is; each error is one line."""

from __future__ import annotations

from pathlib import Path

from foldbook.engine.errors import FoldbookError, TapeError


class LogDamagedError(TapeError):
    """Bytes of a log are not those that were written, and whole frames follow them.

    path: the segment's file. offset: where in it. frame: number of the first frame that is lost.
    """

    def __init__(self, path: Path, offset: int, frame: int, why: str):
        super().__init__(f"{path}: damaged at offset {offset}, frame {frame}: {why}")
        self.path = path
        self.offset = offset
        self.frame = frame


class LogBusyError(FoldbookError, RuntimeError):
    """Another process writes or compacts this log; the text says which one."""


class LogWriteError(FoldbookError, OSError):
    """A frame could not be written or made durable; those before it are as they were."""
