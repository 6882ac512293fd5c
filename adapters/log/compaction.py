"""A log that is done becomes sessions: read out, imported, verified, and only then removed.

The importer of the venue's format works in a folder beside the target, and a session takes its
place in one step. Until then the log is whole; what is removed afterwards is written down first,
so that a removal that was cut short is finished by the next start. Each start says what it mended.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import msgspec

from foldbook.engine.errors import TapeError, UnsupportedError

from .. import sessions
from .errors import LogBusyError
from .files import Lock, naming, sync, sync_folder, sync_tree
from .frames import Frame
from .lines import record_of
from .reader import Reader
from .segments import check_log, header_of, numbers_in, path_of
from .walk import Damage
from .writer import Writer

PLAN_FILE = "compaction.json"
LOCK_FILE = "compact.lock"

Importer = Callable[..., Sequence[Any]]
"""What an entry point of `foldbook.importers` names: (sources, to, **options) -> reports."""


def _silent(sentence: str) -> None:
    pass


class _Plan(msgspec.Struct, forbid_unknown_fields=True):
    """What a compaction is about to do, on disk before it does it."""

    work: str
    removing: list[int] = []


@attrs.frozen
class Compaction:
    """What became of a log.

    sessions: the importer's reports, as JSON. first, next: the frames read out. heard, control:
    frames of the venue, and of the connections, which no session holds. damage: what keep_going
    passed over. removed: segments that are gone; kept: why none is. mended: what an earlier
    compaction had left.
    """

    folder: Path
    sessions: tuple[dict[str, Any], ...]
    first: int
    next: int
    heard: int
    control: int
    damage: tuple[Damage, ...] = ()
    removed: tuple[int, ...] = ()
    kept: str = ""
    mended: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return attrs.asdict(self) | {"folder": str(self.folder)}


def compact(
    folder: str | os.PathLike[str], to: str | os.PathLike[str], format: str = "kalshi-ws", *,
    remove: bool = False, keep_going: bool = False, say: Callable[[str], None] = _silent,
    **options: Any,
) -> Compaction:
    """Import the frames of a log into sessions below `to`, and verify them.

    format: an importer, by the name of its entry point; it is given the frames as lines of
    {"recv_ts_ns", "raw"}, each source as a recording of its own, and `options`. remove: then remove
    the segments that the sessions hold, unless anything was rejected or damaged. keep_going: count
    what is damaged or rejected, and go on. say: told at once what an earlier compaction had left.

    Raises TapeError for what cannot be imported, with the number of the frame; LogDamagedError;
    LogBusyError if the log is being compacted; UnsupportedError for a format that there is not,
    or an option that it does not take.
    """
    path, target = Path(folder), Path(to)
    importer = _importer(format)
    options = _taken(format, importer, options | {"keep_going": keep_going})
    check_log(path)
    with _alone(path):
        mended = tuple(_mend(path))
        for sentence in mended:
            say(sentence)
        with naming(target, "was not made"):
            target.mkdir(parents=True, exist_ok=True)
        work = target.resolve() / f".compact.{path.resolve().name}.{os.getpid()}"
        _write_plan(path, _Plan(str(work)))
        try:
            done = _compacted(path, target, work, importer, keep_going, options)
            if not done.heard and not mended:
                raise TapeError(f"{path}: holds no frame of a venue")
            done = attrs.evolve(done, mended=mended)
            if remove and done.heard:
                done = _remove(path, work, done)
        finally:
            # What was put aside is only there if a session could not take its place.
            _clear(work)
            (path / PLAN_FILE).unlink(missing_ok=True)
        return done


def _importer(format: str) -> Importer:
    found = {point.name: point for point in entry_points(group="foldbook.importers")}
    if format not in found:
        raise UnsupportedError(f"format is {format!r}, expected one of {', '.join(sorted(found))}")
    loaded: Importer = found[format].load()
    return loaded


def _taken(format: str, importer: Importer, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that an importer takes; one that says nothing need not be taken."""
    known = inspect.signature(importer).parameters
    for name, value in options.items():
        if name not in known and value not in (None, False) and name != "progress":
            raise UnsupportedError(f"{format} takes no {name}")
    return {name: value for name, value in options.items() if name in known}


def mend_compaction(folder: Path) -> list[str]:
    """Finish or undo what a compaction that was cut short has left, and return what, in words.

    Raises LogBusyError if one is at work.
    """
    if not (folder / PLAN_FILE).exists():
        return []
    with _alone(folder):
        return _mend(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = Lock(folder / LOCK_FILE, "", "is being compacted")
    try:
        yield
    finally:
        lock.release()


def _compacted(
    folder: Path, target: Path, work: Path, importer: Importer, keep_going: bool,
    options: dict[str, Any],
) -> Compaction:
    """Import in a folder beside the target, verify, and put the sessions into their places."""
    with naming(work, "was not made"):
        (work / "sessions").mkdir(parents=True)
    with Reader(folder, keep_going=keep_going) as reader:
        lanes, first, control = _read_out(reader, work / "frames", keep_going)
        following, damage = reader.next, reader.damage
    if not lanes:
        return Compaction(folder, (), first, following, 0, control, damage)
    names = _Names(folder, work / "frames")
    try:
        reports = importer([work / "frames"], work / "sessions", **options)
    except TapeError as error:
        raise TapeError(names.of(str(error))) from None
    found = []
    places = []
    for report in reports:
        staged = Path(report.session)
        sessions.verify_digest(sessions.load(staged))
        place = target / staged.relative_to(work / "sessions")
        if first > 0 and place.exists():
            raise TapeError(
                f"{place}: exists, and may hold what the log held before frame {first}: not "
                "replaced; compact into another folder"
            )
        places.append((staged, place))
        found.append(names.within(report.to_json() | {"session": str(place)}))
    with naming(target, "was not made durable"):
        sync_tree(work / "sessions")
        for staged, place in places:
            _put(staged, place, work)
        sync_folder(target)
    return Compaction(
        folder, tuple(found), first, following, sum(lanes.values()), control, damage
    )


def _read_out(reader: Reader, to: Path, keep_going: bool) -> tuple[dict[int, int], int, int]:
    """Write the frames of each source as lines; return (frames by source, first, control).

    `number` stands in each line, so that an error can name the frame.
    """
    with naming(to, "was not written"):
        to.mkdir()
        files: dict[int, Any] = {}
        lanes: dict[int, int] = {}
        first = control = 0
        encoder = msgspec.json.Encoder()
        try:
            for count, (number, frame) in enumerate(reader.read()):
                first = number if count == 0 else first
                if not isinstance(frame, Frame):
                    control += 1
                    continue
                record = record_of(number, frame)
                if "raw" not in record:
                    raise TapeError(f"{reader.folder}: frame {number}: raw is {frame.raw[:40]!r}, "
                                    "expected text in UTF-8")
                if frame.source not in files:
                    lane = to / f"source-{frame.source}"
                    lane.mkdir()
                    files[frame.source] = (lane / "frames.ndjson").open("wb")
                files[frame.source].write(encoder.encode(record) + b"\n")
                lanes[frame.source] = lanes.get(frame.source, 0) + 1
        finally:
            for file in files.values():
                file.close()
    return lanes, first, control


class _Names:
    """Says of a row of the lines that were read out which frame of the log it is."""

    def __init__(self, folder: Path, frames: Path):
        self._folder = folder
        self._row = re.compile(
            re.escape(str(frames)) + r"/source-(\d+)/(frames\.ndjson) row (\d+)"
        )
        self._frames = frames

    def of(self, text: str) -> str:
        """Return the text with rows named as frames of the log."""
        return self._row.sub(self._frame, text).replace(str(self._frames), str(self._folder))

    def within(self, value: Any) -> Any:
        """Return what a report holds with its texts named so."""
        if isinstance(value, dict):
            return {key: self.within(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.within(each) for each in value]
        return self.of(value) if isinstance(value, str) else value

    def _frame(self, match: re.Match[str]) -> str:
        with (self._frames / f"source-{match[1]}" / match[2]).open("rb") as file:
            line = next(line for row, line in enumerate(file, 1) if row == int(match[3]))
        return f"{self._folder} frame {msgspec.json.decode(line)['number']}"


def _put(staged: Path, place: Path, work: Path) -> None:
    """Rename a session into its place; one that was there waits in `work` until that is done."""
    aside = work / "aside"
    if place.exists():
        sessions.load(place)
        aside.mkdir(exist_ok=True)
        place.rename(aside / place.name)
    try:
        staged.rename(place)
    except OSError:
        if (aside / place.name).exists():
            (aside / place.name).rename(place)
        raise
    shutil.rmtree(aside / place.name, ignore_errors=True)


def _remove(folder: Path, work: Path, done: Compaction) -> Compaction:
    """Remove the segments that the sessions hold, or say why not."""
    rejected = sum(int(each.get("rejected", 0)) for each in done.sessions)
    if done.damage or rejected:
        why = f"{rejected} rows were rejected, {len(done.damage)} places are damaged"
        return attrs.evolve(done, kept=f"nothing was removed: {why}")
    try:
        with Writer(folder, holder="compaction") as writer:
            done = attrs.evolve(done, mended=(*done.mended, *writer.recovery.lines()))
            if writer.next == done.next:
                writer.rotate()
            else:
                done = attrs.evolve(done, kept="the last segment was kept: it has newer frames")
    except LogBusyError as error:
        done = attrs.evolve(done, kept=f"the last segment was kept: {error}")
    segments = numbers_in(folder)
    covered = []
    for segment, later in pairwise(segments):
        header = header_of(path_of(folder, later))
        if header is None or header.first > done.next:
            break
        covered.append(segment)
    _write_plan(folder, _Plan(str(work), covered))
    _unlink(folder, covered)
    return attrs.evolve(done, removed=tuple(covered))


def _unlink(folder: Path, segments: Sequence[int]) -> None:
    """Remove segments, the oldest first: what is left has no hole."""
    with naming(folder, "a segment was not removed"):
        for segment in segments:
            path_of(folder, segment).unlink(missing_ok=True)
        sync_folder(folder)


def _write_plan(folder: Path, plan: _Plan) -> None:
    path = folder / PLAN_FILE
    temporary = path.with_suffix(".tmp")
    with naming(path, "was not written"):
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(plan))
            file.flush()
            sync(file.fileno())
        temporary.rename(path)
        sync_folder(folder)


def _mend(folder: Path) -> list[str]:
    """Do as `mend_compaction`, for the holder of the lock."""
    path = folder / PLAN_FILE
    path.with_suffix(".tmp").unlink(missing_ok=True)
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=_Plan)
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as error:
        raise TapeError(f"{path}: is no plan of a compaction: {error}") from None
    said = []
    left = [each for each in plan.removing if path_of(folder, each).exists()]
    if left:
        _unlink(folder, left)
        said.append(f"removed segments {left[0]} to {left[-1]}, which sessions hold: a compaction "
                    "was cut short while it removed them")
    said += _clear(Path(plan.work))
    path.unlink()
    with naming(folder, "was not mended"):
        sync_folder(folder)
    return said or ["a compaction was cut short, and had left nothing to mend"]


def _clear(work: Path) -> list[str]:
    """Remove the folder of a compaction; a session that was put aside goes back if it must."""
    said = []
    if not work.exists():
        return []
    aside = work / "aside"
    for kept in sorted(aside.iterdir()) if aside.is_dir() else []:
        place = work.parent / kept.name
        if not place.exists():
            kept.rename(place)
            said.append(f"put back {place}, which a compaction was about to replace")
    shutil.rmtree(work)
    return [*said, f"removed {work}, which a compaction that was cut short had left"]
