"""What a log's writer finds when it starts: a tail that was torn is cut, and that is said.

Only what stands behind the last whole frame is ever cut. Damage before it is never mended: whoever
opens the log is told, and may go on without the frames that are lost.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs

from .files import Lock, naming, sync, sync_folder
from .segments import WRITER_LOCK, check_log, numbers_in, path_of
from .walk import Damage, Tail, Walk


@attrs.frozen
class Recovery:
    """What was found, and mended.

    next: number that the next frame gets. segment: the last one; -1 if there is none. log: the
    log's id. cut: torn writes that were cut off. damage: what keep_going passed over.
    """

    folder: Path
    next: int
    segment: int
    log: bytes
    cut: tuple[Tail, ...] = ()
    damage: tuple[Damage, ...] = ()

    def lines(self) -> list[str]:
        """Return what was mended or passed over, a sentence each."""
        return [f"cut: {tail}" for tail in self.cut] + [f"damaged: {each}" for each in self.damage]

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "log": str(self.folder), "next": self.next, "segments": len(numbers_in(self.folder)),
            "cut": [attrs.asdict(tail) for tail in self.cut],
            "damage": [attrs.asdict(each) for each in self.damage],
        }


def recover(folder: str | os.PathLike[str], *, keep_going: bool = False) -> Recovery:
    """Read a whole log, cut a torn tail, and return what was cut and what is damaged.

    Raises LogDamagedError for the first damage before the tail, unless keep_going; LogBusyError
    if the log is being written; TapeError if there is none.
    """
    path = Path(folder)
    check_log(path)
    lock = Lock(path / WRITER_LOCK, "recovery", "is being written")
    try:
        return mend(path, keep_going=keep_going)
    finally:
        lock.release()


def mend(folder: Path, *, keep_going: bool, is_last: bool = False) -> Recovery:
    """Do what `recover` does, for the holder of the writer's lock.

    is_last: read the last segment alone, which is the only one that can have a torn tail.
    """
    walk = Walk(folder, keep_going=keep_going)
    try:
        walk.begin(is_last=is_last)
        for _ in walk.bodies():
            pass
        tails = walk.tails()
        for tail in tails:
            _cut(folder, tail)
    finally:
        walk.close()
    if tails:
        with naming(folder, "was not mended"):
            sync_folder(folder)
    last = numbers_in(folder)[-1:]
    return Recovery(folder, max(walk.next, 0), last[0] if last else -1, walk.log, tuple(tails),
                    walk.damage)


def _cut(folder: Path, tail: Tail) -> None:
    path = path_of(folder, tail.segment)
    with naming(path, f"its torn tail at offset {tail.offset} was not cut"):
        if tail.is_header:
            path.unlink()
            return
        file = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(file, tail.offset)
            sync(file)
        finally:
            os.close(file)
