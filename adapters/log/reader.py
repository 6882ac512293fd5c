"""Reading a log, also while it is written: whole frames only, in order, each once.

A reader takes no lock and never holds up the writer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from foldbook.engine.errors import TapeError

from .frames import AnyFrame, decode
from .segments import check_log
from .walk import Damage, Tail, Walk


class Reader:
    """Reads the frames of a log, from the first or any other, to where it ends now; and goes on.

    A log that is damaged raises LogDamagedError at the first frame that is lost, if whole frames
    follow it; with keep_going what is lost is counted in `damage`. Not for several threads.
    """

    def __init__(self, folder: str | os.PathLike[str], *, keep_going: bool = False):
        """Raises TapeError if the folder holds no log."""
        self.folder = Path(folder)
        check_log(self.folder)
        self._walk = Walk(self.folder, keep_going=keep_going)
        self._has_begun = False

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def next(self) -> int:
        """Number of the frame that is read next."""
        return self._walk.next

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What was passed over so far."""
        return self._walk.damage

    def close(self) -> None:
        """Let go of the file that is being read."""
        self._walk.close()
        self._has_begun = False

    def read(self, number: int | None = None) -> Iterator[tuple[int, AnyFrame]]:
        """Yield (number, frame) from `number` on to the end as it is now.

        number: default: where the last reading stopped, at first the first frame there is.
        Raises LogDamagedError for damage before the end, or a frame that this version cannot read;
        TapeError for a number that is no longer or not yet in the log.
        """
        if number is not None and (number != self.next or not self._has_begun):
            self._has_begun = False
            self._has_begun = self._walk.begin(number)
        elif not self._has_begun:
            self._has_begun = self._walk.begin()
        for body in self._walk.bodies():
            try:
                frame = decode(body)
            except TapeError as error:
                start = self._walk.offset - len(body)
                self._walk.pass_over(self._walk.segment, start, self.next - 1, 1, str(error))
                continue
            yield self.next - 1, frame

    def follow(
        self, wait: Callable[[], bool], number: int | None = None
    ) -> Iterator[tuple[int, AnyFrame]]:
        """Yield as `read` does, and at each end call `wait`; stop once that returns False.

        wait: lets time pass, for no clock is looked at here.
        """
        yield from self.read(number)
        while wait():
            yield from self.read()

    def tails(self) -> list[Tail]:
        """Return what stands behind the last frame, once all are read: a write not finished."""
        return self._walk.tails()
