"""What the commands of `foldbook log` do with a log: describe it, show it, add lines to it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from foldbook.engine.errors import TapeError

from .compaction import LOCK_FILE, PLAN_FILE, mend_compaction
from .files import holder_of
from .frames import Frame
from .lines import frame_of, lines_of, record_of
from .reader import Reader
from .recovery import recover
from .segments import WRITER_LOCK, numbers_in, path_of
from .writer import SEGMENT_BYTES, Fsync, Writer

EXAMPLES_MAX = 20


def describe(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a whole log, which may be in use, and return what it holds and what is wrong with it.

    `writer` is who writes it now, `tails` what its writer has not finished, `damage` the frames
    that are lost before that.
    """
    path = Path(folder)
    counts: Counter[str] = Counter()
    sources: Counter[int] = Counter()
    raw_bytes = 0
    first: int | None = None
    times: list[int] = []
    with Reader(path, keep_going=True) as reader:
        for number, frame in reader.read():
            first = number if first is None else first
            counts[type(frame).__name__.lower()] += 1
            sources[frame.source] += 1
            raw_bytes += len(frame.raw) if isinstance(frame, Frame) else 0
            times = [frame.recv, frame.recv] if not times else [times[0], frame.recv]
        tails, damage, following = reader.tails(), reader.damage, reader.next
    segments = numbers_in(path)
    return {
        "log": str(path),
        "segments": len(segments),
        "bytes": sum(path_of(path, each).stat().st_size for each in segments),
        "raw_bytes": raw_bytes,
        "first": following if first is None else first,
        "next": following,
        "frames": {name: counts[name] for name in ("frame", "opened", "closed", "reconnected")},
        "sources": {str(source): sources[source] for source in sorted(sources)},
        "first_recv": times[0] if times else None,
        "last_recv": times[-1] if times else None,
        "writer": holder_of(path / WRITER_LOCK),
        "compaction": holder_of(path / LOCK_FILE),
        "unfinished_compaction": (path / PLAN_FILE).exists(),
        "tails": [attrs.asdict(tail) for tail in tails],
        "damage": [str(each) for each in damage],
    }


def mended(
    folder: str | os.PathLike[str], *, keep_going: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Recover a log, and finish or undo a compaction that was cut short; return what was done, as
    JSON and as sentences."""
    found = recover(folder, keep_going=keep_going)
    left = mend_compaction(Path(folder))
    return found.to_json() | {"compaction": left}, [*found.lines(), *left]


def records(
    folder: str | os.PathLike[str], *, number: int | None = None, keep_going: bool = False,
    wait: Callable[[], bool] | None = None, lost: Callable[[str], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the frames of a log as what JSON can hold, as `frame_of` reads them.

    wait: called at each end, to go on until it returns False. lost: told what was passed over.
    """
    with Reader(folder, keep_going=keep_going) as reader:
        found = reader.read(number) if wait is None else reader.follow(wait, number)
        for at, frame in found:
            yield record_of(at, frame)
        for each in reader.damage if lost is not None else ():
            assert lost is not None
            lost(str(each))


def append(
    folder: str | os.PathLike[str], sources: Iterable[tuple[str, Iterable[bytes] | None]], *,
    fsync: str = "each", segment_bytes: int | None = None, keep_going: bool = False,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Append the lines of sources to a log and return what was appended and refused.

    sources: (name, lines); without lines the name is that of a file. fsync: as `Fsync.parse`
    reads it. keep_going: count lines that are no frame, and go on. say: told what was mended.
    """
    policy = Fsync.parse(fsync)
    examples: list[str] = []
    rejected = 0
    size = SEGMENT_BYTES if segment_bytes is None else segment_bytes
    with Writer(
        folder, fsync=policy, holder="foldbook log append", segment_bytes=size
    ) as writer:
        for sentence in writer.recovery.lines():
            if say is not None:
                say(sentence)
        first = writer.next
        for name, lines in sources:
            for row, line in enumerate(lines_of(Path(name)) if lines is None else lines, 1):
                if not line.strip():
                    continue
                try:
                    frame = frame_of(line)
                except TapeError as error:
                    text = f"{name} row {row}: {error}"
                    if not keep_going:
                        raise TapeError(
                            f"{text}; {writer.next - first} frames before it were appended"
                        ) from None
                    rejected += 1
                    examples += [text] if len(examples) < EXAMPLES_MAX else []
                    continue
                writer.append(frame)
        if policy != Fsync.NEVER:
            writer.flush()
        return {
            "log": str(folder), "first": first, "next": writer.next, "durable": writer.durable,
            "rejected": rejected, "examples": examples, "mended": writer.recovery.lines(),
        }
