"""The way through the segments of a log, frame by frame, over damage only if that is allowed.

What is not whole at the very end is no damage: the writer is not done with it, or died in it. What
is not whole and has whole frames behind it is damage: it is named, and never passed over unsaid.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from foldbook.engine.errors import TapeError

from .errors import LogDamagedError
from .segments import (
    HEADER_BYTES,
    Cursor,
    Fault,
    header_of,
    numbers_in,
    path_of,
    salt_of,
    stated_log,
)


@attrs.frozen
class Damage:
    """What was passed over. frame, frames: the first frame that is lost, and how many are."""

    segment: int
    offset: int
    frame: int
    frames: int
    why: str

    def __str__(self) -> str:
        lost = "no frame is lost" if not self.frames else f"frame {self.frame} is lost"
        if self.frames > 1:
            lost = f"frames {self.frame} to {self.frame + self.frames - 1} are lost"
        return f"segment {self.segment}, offset {self.offset}: {self.why}; {lost}"


@attrs.frozen
class Tail:
    """What stands behind the last whole frame: a write that was not finished.

    after: number of that frame; -1 if there is none. is_header: the segment holds nothing else.
    """

    segment: int
    offset: int
    bytes: int
    after: int
    why: str
    is_header: bool = False

    def __str__(self) -> str:
        return (f"segment {self.segment}, offset {self.offset}: {self.bytes} bytes after frame "
                f"{self.after}: {self.why}")


class Walk:
    """Steps from frame to frame through the files of a log; takes no lock.

    next: number of the frame that comes next. log: the id of the log, once known.
    """

    def __init__(self, folder: Path, *, keep_going: bool = False):
        """keep_going: count what is damaged, and go on; else it raises LogDamagedError."""
        self.folder = folder
        self.keep_going = keep_going
        self.next = 0
        self.log = b""
        self._damage: list[Damage] = []
        self._cursor: Cursor | None = None
        self._lost: Damage | None = None

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What was passed over so far; of what is lost behind the last frame, not how much."""
        return (*self._damage, *([self._lost] if self._lost is not None else []))

    @property
    def segment(self) -> int:
        """Number of the segment where the walk stands; -1 before it has begun."""
        return -1 if self._cursor is None else int(self._cursor.path.stem)

    @property
    def offset(self) -> int:
        """Where in the segment the next frame stands."""
        return 0 if self._cursor is None else self._cursor.offset

    def begin(self, number: int | None = None, *, is_last: bool = False) -> bool:
        """Stand before a frame, or the first one there is, or the first of the last segment.

        Returns False if the log has no frame yet. Raises TapeError if there is no log, or if the
        frame is no longer or not yet in it.
        """
        segments = self._born()
        if not segments:
            return False
        starts = [(header.first, each) for each in segments
                  if (header := header_of(path_of(self.folder, each))) is not None]
        if number is not None:
            if starts and number < starts[0][0] and starts[0][1] == segments[0]:
                raise TapeError(f"{self.folder}: frame {number} is no longer in the log, which "
                                f"begins with frame {starts[0][0]}")
            starts = [start for start in starts if start[0] <= number]
        else:
            starts = starts if is_last else [each for each in starts if each[1] == segments[0]]
        self.next, segment = starts[-1] if starts else (-1, segments[0])
        self._enter(segment)
        if number is not None:
            self._advance(number)
        return True

    def bodies(self) -> Iterator[bytes]:
        """Yield the encoded frames from here to the end as it is now; `next` is one further."""
        while self._cursor is not None:
            cursor = self._cursor
            found = cursor.next()
            if isinstance(found, Fault):
                # Listed before looking again: whatever was written before the next segment was
                # made is then seen.
                later = [each for each in self._born() if each > self.segment]
                found = cursor.again()
            if isinstance(found, bytes):
                if self._lost is not None:
                    self._found(cursor.number - 1)
                self.next = cursor.number
                yield found
            elif not self._pass(cursor, found, later):
                return

    def pass_over(self, segment: int, offset: int, frame: int, frames: int, why: str) -> None:
        """Count damage, or raise LogDamagedError."""
        if not self.keep_going:
            raise LogDamagedError(path_of(self.folder, segment), offset, frame, why)
        self._damage.append(Damage(segment, offset, frame, frames, why))

    def tails(self) -> list[Tail]:
        """Return what stands behind the last frame, once the walk has come to its end."""
        found = []
        if self._cursor is not None:
            cursor = Cursor(self._cursor.path, self._cursor.salt, self.next, self.offset)
            count = cursor.size - cursor.offset
            why = cursor.next()
            cursor.close()
            if count and isinstance(why, Fault):
                found.append(Tail(self.segment, self.offset, count, self.next - 1, why.value))
        for segment in numbers_in(self.folder)[-1:]:
            if segment not in self._born():
                size = path_of(self.folder, segment).stat().st_size
                found.append(Tail(segment, 0, size, self.next - 1, "it has no whole header",
                                  is_header=True))
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _born(self) -> list[int]:
        """Return the segments, without a last one whose header was never written whole."""
        segments = numbers_in(self.folder)
        if segments and self._is_unborn(path_of(self.folder, segments[-1])):
            segments.pop()
        return segments

    @staticmethod
    def _is_unborn(path: Path) -> bool:
        if header_of(path) is not None:
            return False
        cursor = Cursor(path, 0, 0)
        try:
            return cursor.size <= HEADER_BYTES or cursor.is_blank()
        finally:
            cursor.close()

    def _advance(self, number: int) -> None:
        """Step over the frames before this one."""
        if self.next < number:
            for _ in self.bodies():
                if self.next >= number:
                    break
        if self.next < number:
            raise TapeError(f"{self.folder}: frame {number} is not yet in the log, which ends "
                            f"before frame {self.next}")

    def _enter(self, segment: int) -> bool:
        """Stand before the first frame of a segment, which should be the next one."""
        path = path_of(self.folder, segment)
        header = header_of(path)
        log = self._log_of(path) if header is None else header.log
        if self.log not in (b"", log):
            raise TapeError(f"{path}: is of another log than the segments before it")
        self.close()
        self.log = log
        self._cursor = cursor = Cursor(path, salt_of(log), max(self.next, 0))
        if header is not None and header.first == self.next:
            return True
        if header is None:
            cursor.move(0, max(self.next, 0))
        found = cursor.find()
        if header is None:
            # Where a log begins whose first segments are gone, only the header knew.
            known = max(self.next, 0) if found is None or segment == 0 else found[1]
            self.next = known if self.next < 0 else self.next
            self._lose(0, "its header is damaged")
        else:
            self._lose(0, f"it begins with frame {header.first}, expected {self.next}")
        cursor.move(*(found or (cursor.size, self.next)))
        return True

    def _pass(self, cursor: Cursor, fault: Fault, later: list[int]) -> bool:
        """Go on where no frame stands, to the next that does; False if this is the end."""
        found = None if fault is Fault.END else cursor.find()
        if found is None and not later:
            return False
        if fault is not Fault.END:
            self._lose(cursor.offset, fault.value)
        if found is None:
            return self._enter(later[0])
        cursor.move(*found)
        return True

    def _lose(self, offset: int, why: str) -> None:
        """Note that frames are missing from the next one on; how many is known when one is found.

        Raises LogDamagedError unless told to keep going.
        """
        if not self.keep_going:
            raise LogDamagedError(path_of(self.folder, self.segment), offset, self.next, why)
        if self._lost is None:
            self._lost = Damage(self.segment, offset, self.next, 0, why)

    def _found(self, number: int) -> None:
        assert self._lost is not None
        self._damage.append(attrs.evolve(self._lost, frames=number - self._lost.frame))
        self._lost = None

    def _log_of(self, path: Path) -> bytes:
        """Return the id of a log by a segment whose header is damaged, from others if they can
        tell."""
        if self.log:
            return self.log
        for segment in numbers_in(self.folder):
            header = header_of(path_of(self.folder, segment))
            if header is not None:
                return header.log
        return stated_log(path)
