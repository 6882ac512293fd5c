"""Writing a log: one writer at a time, whole frames in order, durable as the policy says.

A frame is handed to the operating system before `append` returns, so that the death of the process
loses none; what a loss of power may cost is what the policy decides. Nothing here reads a clock.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import attrs

from foldbook.engine.units import MILLISECOND

from .errors import LogWriteError
from .files import Lock, naming, sync, sync_folder, sync_tree, write_all
from .frames import AnyFrame, encode_into
from .recovery import Recovery, mend
from .segments import HEADER_BYTES, PREFIX, WRITER_LOCK, Header, header_of, path_of, salt_of, seal

SEGMENT_BYTES = 1 << 26
"""A segment is finished before it grows beyond this: 64 MiB."""
GROUP_BYTES = 1 << 20
"""Of a group of frames, handed over at a time."""


@attrs.frozen
class Fsync:
    """When frames are made durable: EACH, NEVER, or `every` so many or so often.

    frames: after so many frames. ns: when a frame was received so long after the first one that is
    not yet durable. None: not for that reason.
    """

    frames: int | None = None
    ns: int | None = None

    EACH: ClassVar[Fsync]
    NEVER: ClassVar[Fsync]

    @classmethod
    def every(cls, *, ms: int | None = None, frames: int | None = None) -> Fsync:
        """Make durable every so many frames, or once so many ms have passed, or both.

        Time is that of the frames (`recv`), and of `Writer.tick`.
        """
        for name, value in (("ms", ms), ("frames", frames)):
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
        if ms is None and frames is None:
            raise ValueError("every: expected ms, frames, or both")
        return cls(frames, None if ms is None else ms * MILLISECOND)


    @classmethod
    def parse(cls, text: str) -> Fsync:
        """Return the policy of "each", "never", "100ms", "1000" (frames) or "100ms,1000".

        >>> Fsync.parse("100ms,1000") == Fsync.every(ms=100, frames=1000)
        True
        """
        if text in ("each", "never"):
            return cls.EACH if text == "each" else cls.NEVER
        match = re.fullmatch(r"(?:(\d{1,9})ms)?(?:(?:^|,)(\d{1,9}))?", text)
        if not text or not match:
            raise ValueError(f"fsync is {text!r}, expected each, never, 100ms, 1000 or 100ms,1000")
        ms, frames = (None if each is None else int(each) for each in match.groups())
        return cls.every(ms=ms, frames=frames)


Fsync.EACH = Fsync(frames=1)
Fsync.NEVER = Fsync()


class Writer:
    """Appends frames to a log; a context manager, which flushes and closes.

    next: number that the next frame gets. durable: frames below this number are acknowledged: they
    survive a loss of power. recovery: what was mended when the log was opened.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, fsync: Fsync = Fsync.EACH,
        segment_bytes: int = SEGMENT_BYTES, holder: str = "", keep_going: bool = False,
    ):
        """Open a log to write, or make one; a torn tail is cut, and `recovery` says so.

        segment_bytes: a segment is finished before it grows beyond this. holder: a name that
        others are told while they wait. keep_going: also write on behind damage. Raises
        LogBusyError if another writer has the log, LogDamagedError if frames of its last segment
        are lost.
        """
        if type(segment_bytes) is not int or segment_bytes < 1:
            raise ValueError(f"segment_bytes is {segment_bytes!r}, expected at least 1")
        self.folder = Path(folder)
        self.fsync = fsync
        self._segment_bytes = segment_bytes
        self.next = self.durable = 0
        self._buffer = bytearray()
        self._file = -1
        self._broken = ""
        self._synced_at: int | None = None
        with naming(self.folder, "was not opened"):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.folder / WRITER_LOCK, holder, "is being written")
        try:
            self.recovery = self._open(keep_going)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, frame: AnyFrame) -> int:
        """Append a frame and return its number.

        Raises LogWriteError if it could not be written (the disk is full, say); then the log is as
        it was before, and the frame may be appended again. Raises TypeError or ValueError for a
        frame that could not be read back.
        """
        return self.append_all((frame,)).start

    def append_all(self, frames: Iterable[AnyFrame]) -> range:
        """Append frames, made durable together, and return their numbers.

        Raises as `append` does; the frames below `next` are then in the log, the others are not.
        """
        self._check()
        begin = self.next
        number, buffer = self.next, self._buffer
        recv = self._synced_at
        buffer.clear()
        for frame in frames:
            start = len(buffer)
            buffer += _NO_PREFIX
            try:
                encode_into(frame, buffer, start + PREFIX.size)
            except BaseException:
                del buffer[start:]
                self._put(number)
                raise
            seal(buffer, start, len(buffer), number, self._salt)
            if self._end + len(buffer) > self._segment_bytes and (
                start or self._end > HEADER_BYTES
            ):
                kept = bytes(buffer[start:])
                del buffer[start:]
                self._put(number)
                self.rotate()
                buffer += kept
            number += 1
            recv = frame.recv
            if len(buffer) >= GROUP_BYTES:
                self._put(number)
        self._put(number)
        if number > begin:
            self._sync_if_due(recv)
        return range(begin, number)

    def flush(self) -> int:
        """Make all frames durable, whatever the policy, and return `durable`."""
        self._check()
        if self.durable < self.next:
            with self._breaking("its last frames may not be durable"):
                sync(self._file)
            self.durable = self.next
        self._synced_at = None
        return self.durable

    def tick(self, now: int) -> int:
        """Tell the time (ns UTC) while no frame comes; make durable what is due; return `durable`.
        """
        self._check()
        if self.durable < self.next:
            self._sync_if_due(now)
        return self.durable

    def rotate(self) -> None:
        """Finish the segment, if it has a frame, and begin the next."""
        self._check()
        if self._end > HEADER_BYTES:
            if self.fsync != Fsync.NEVER:
                self.flush()
            self._begin(self.segment + 1)

    def close(self) -> None:
        """Make all durable, unless the policy is NEVER, and let go of the log."""
        try:
            if self._file >= 0 and not self._broken and self.fsync != Fsync.NEVER:
                self.flush()
        finally:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            self._lock.release()

    def _open(self, keep_going: bool) -> Recovery:
        found = mend(self.folder, keep_going=keep_going, is_last=True)
        self.next = found.next
        self._log = found.log or os.urandom(8)
        self._salt = salt_of(self._log)
        self.segment = found.segment
        path = path_of(self.folder, self.segment)
        with naming(self.folder, "was not opened"):
            # What an earlier writer left may not be durable yet.
            sync_tree(self.folder)
        if self.segment < 0 or found.damage or header_of(path) is None:
            self._begin(self.segment + 1)
        else:
            with naming(path, "was not opened"):
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                self._end = os.fstat(self._file).st_size
        self.durable = self.next
        return found

    def _begin(self, segment: int) -> None:
        """Make a segment and go on in it; the one before stays open until that is done."""
        path = path_of(self.folder, segment)
        header = Header(segment, self.next, self._log).encode()
        file = -1
        try:
            file = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o666
            )
            write_all(file, header)
            if self.fsync != Fsync.NEVER:
                sync(file)
                sync_folder(self.folder)
        except OSError as error:
            if file >= 0:
                os.close(file)
                with suppress(OSError):
                    path.unlink()
            raise LogWriteError(f"{path}: was not begun: {error.strerror}") from None
        if self._file >= 0:
            os.close(self._file)
        self._file, self._end, self.segment = file, len(header), segment

    def _put(self, number: int) -> None:
        """Hand the buffer to the system; the frames below `number` are then in the log."""
        if not self._buffer:
            return
        try:
            write_all(self._file, self._buffer)
        except OSError as error:
            self._buffer.clear()
            with self._breaking("it could not be cut back to its last whole frame"):
                os.ftruncate(self._file, self._end)
            path = path_of(self.folder, self.segment)
            raise LogWriteError(
                f"{path}: frame {self.next} was not appended: {error.strerror}"
            ) from None
        self._end += len(self._buffer)
        self._buffer.clear()
        self.next = number

    def _sync_if_due(self, now: int | None) -> None:
        policy = self.fsync
        if policy.frames is not None and self.next - self.durable >= policy.frames:
            self.flush()
        elif policy.ns is not None and now is not None:
            if self._synced_at is None:
                self._synced_at = now
            # A clock that was set back tells nothing of the time that has passed.
            elif not 0 <= now - self._synced_at < policy.ns:
                self.flush()

    def _check(self) -> None:
        if self._broken:
            raise LogWriteError(self._broken)
        if self._file < 0:
            raise LogWriteError(f"{self.folder}: the log is closed")

    @contextmanager
    def _breaking(self, what: str) -> Iterator[None]:
        """Name a failure after which nobody knows what is stored: no more is written then."""
        try:
            yield
        except OSError as error:
            path = path_of(self.folder, self.segment)
            self._broken = f"{path}: {what}, open the log again: {error.strerror}"
            raise LogWriteError(self._broken) from None


_NO_PREFIX = bytes(PREFIX.size)
