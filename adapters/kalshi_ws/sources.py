"""What a SOURCE of an import is: which recordings lie in it, and their lines, a chunk at a time.

A recording is what one recorder wrote of one or more markets: lanes of files, each lane in order
of arrival. Nothing is read twice and no file is held in memory whole (JSON documents excepted).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import msgspec
import numpy as np

from foldbook.engine.errors import TapeError

from .. import sessions
from ..recordings.files import GZIP, blocks
from ..recordings.reports import Problems
from .frames import UNREADABLE, Dialect, dialect_of

SNIFFED_LINES = 20
"""Lines looked at to tell who recorded a file: the first may be damaged."""
_NEWLINE = ord("\n")
_NAMES = re.compile(r"\.(ndjson|jsonl|json)(\.gz)?$")


class CutOffError(TapeError):
    """A file that ends, or is damaged, before it has told what it records."""


@attrs.frozen
class Recording:
    """Lanes of files that are read one after the other; the lanes themselves run in parallel."""

    name: str
    dialect: Dialect
    lanes: tuple[tuple[Path, ...], ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for lane in self.lanes for path in lane)


@attrs.frozen
class Chunk:
    """Lines of one file. document: they are elements of one JSON document, not lines of text."""

    path: Path
    first_row: int
    text: bytes
    rows: int
    bytes_read: int
    records: tuple[bytes, ...] | None = None

    def lines(self) -> list[bytes]:
        return list(self.records) if self.records is not None else self.text.split(b"\n")


def find_recordings(sources: Sequence[Path]) -> list[Recording]:
    """Return the recordings of all sources, in the order given; folders in order of name.

    Files given one by one belong together if they share folder and dialect. Raises TapeError if a
    source does not exist or holds nothing that this importer reads.
    """
    found: list[Recording] = []
    loose: dict[Path, list[Path]] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found += _in_folder(path)
        elif path.is_file():
            loose.setdefault(path.parent, []).append(path)
        else:
            raise TapeError(f"{path}: no such file or folder")
    for parent, paths in loose.items():
        found += _of_files(parent, paths, passes_over=())
    if not found:
        raise TapeError(f"{', '.join(map(str, sources))}: holds no recording")
    return found


def sniff(path: Path) -> Dialect:
    """Return the dialect of a file, told by the keys of the first line that is JSON.

    Raises TapeError if none is, which says so where the file is truncated or damaged.
    """
    if not path.stat().st_size:
        raise CutOffError(f"{path}: not a recording: the file is empty")
    later = _Later()
    for number, line in enumerate(_first_lines(path, later)):
        if number == SNIFFED_LINES:
            break
        try:
            dialect = dialect_of(msgspec.json.decode(line))
        except UNREADABLE:
            continue
        if dialect is not None:
            return dialect
    if later.why:
        raise CutOffError(f"{path}: {later.why}, and nothing in it tells what it records")
    raise TapeError(
        f"{path}: not a recording of the venue's WebSocket: no line has one of the keys event, "
        "frame, raw, payload_json, payload or type"
    )


def chunks(path: Path, problems: Problems) -> Iterator[Chunk]:
    """Yield the lines of a file, plain or gzip, in chunks that end at a line's end.

    A truncated or damaged file is reported to `problems`; what can be read of it is yielded.
    """
    if _is_document(path):
        records = tuple(_document(path))
        yield Chunk(path, 1, b"", len(records), path.stat().st_size, records)
        return
    row, rest = 1, b""
    for block, bytes_read in blocks(path, problems):
        end = block.rfind(b"\n") + 1
        if not end:
            rest += block
            continue
        text, rest = b"".join((rest, memoryview(block)[:end])), block[end:]
        rows = int(np.count_nonzero(np.frombuffer(text, np.uint8) == _NEWLINE))
        yield Chunk(path, row, text, rows, bytes_read)
        row += rows
    if rest.strip():
        yield Chunk(path, row, rest, 1, 0)


def _in_folder(folder: Path) -> list[Recording]:
    """A recorder's session; or a folder of files of one market, of either, or of all these.

    A JSON document that is no recording (a record of a market, say) is passed over.
    """
    raw = folder if folder.name == "raw_events" else folder / "raw_events"
    if raw.is_dir():
        lanes = _lanes(raw)
        if lanes:
            return [Recording(raw.parent.name, _first_dialect(lanes), lanes)]
        return []
    paths = [path for path in folder.iterdir() if path.is_file() and _is_recording(path)]
    found = _of_files(folder, paths, passes_over=(".json",))
    return found + [recording for child in sorted(folder.iterdir()) if child.is_dir()
                    for recording in _in_folder(child)]


def _of_files(
    folder: Path, paths: Sequence[Path], passes_over: tuple[str, ...]
) -> list[Recording]:
    """Return a recording for each dialect among the files of one folder, these in order of name.

    A file that is cut off before it has told its dialect goes with the others: whoever reads it
    reports it, or counts it. passes_over: endings of files that may be no recording.
    """
    by_dialect: dict[str, tuple[Dialect, list[Path]]] = {}
    cut: list[tuple[Path, CutOffError]] = []
    for path in sorted(paths):
        try:
            dialect = sniff(path)
        except CutOffError as error:
            cut.append((path, error))
        except TapeError:
            if path.suffix not in passes_over:
                raise
        else:
            by_dialect.setdefault(dialect.name, (dialect, []))[1].append(path)
    if cut and not by_dialect:
        raise cut[0][1]
    found = [Recording(folder.name if len(by_dialect) == 1 else
                       f"{folder.name} ({files[0].name}, dialect {dialect.name})",
                       dialect, (tuple(files),)) for dialect, files in by_dialect.values()]
    if cut:
        files = sorted((*found[0].files, *(path for path, _ in cut)))
        found[0] = attrs.evolve(found[0], lanes=(tuple(files),))
    return found


def _first_dialect(lanes: tuple[tuple[Path, ...], ...]) -> Dialect:
    """Return the dialect of the first file that tells it. Raises TapeError if none does."""
    first: CutOffError | None = None
    for path in (path for lane in lanes for path in lane):
        try:
            return sniff(path)
        except CutOffError as error:
            first = first or error
    assert first is not None
    raise first


def _lanes(raw: Path) -> tuple[tuple[Path, ...], ...]:
    """One lane per type; within it the files by day and hour."""
    lanes: dict[str, list[Path]] = {}
    found = sessions.paths_below(raw)
    for path in (path for path in found if path.is_file() and _is_recording(path)):
        lanes.setdefault(path.relative_to(raw).parts[0], []).append(path)
    return tuple(tuple(paths) for paths in lanes.values())


def _is_recording(path: Path) -> bool:
    return bool(_NAMES.search(path.name)) and not path.name.startswith(".")


def _is_document(path: Path) -> bool:
    """Whether the file is one JSON document rather than a line per message."""
    if not path.name.endswith(".json"):
        return False
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head[:2] == GZIP:
        return False
    first = head.lstrip().split(b"\n", 1)[0]
    try:
        return dialect_of(msgspec.json.decode(first)) is None
    except UNREADABLE:
        return True


def _document(path: Path) -> Iterator[bytes]:
    """Yield the elements of a list, or of the list `frames` or `messages` of an object."""
    try:
        document = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
        for key in ("frames", "messages"):
            if key in document:
                for record in msgspec.json.decode(document[key], type=list[msgspec.Raw]):
                    yield bytes(record)
                return
    except UNREADABLE as error:
        raise TapeError(f"{path}: not a JSON document with frames or messages: {error}") from None
    raise TapeError(f"{path}: has neither frames nor messages")


def _first_lines(path: Path, problems: Problems) -> Iterator[bytes]:
    if _is_document(path):
        yield from _document(path)
        return
    rest = b""
    for block, _ in blocks(path, problems, read_bytes=1 << 12):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


class _Later(Problems):
    """Keeps what is wrong with a file: it is reported when the file is read."""

    def __init__(self) -> None:
        self.why = ""

    def damaged(self, path: Path, why: str) -> None:
        if "not gzip" in why:
            super().damaged(path, why)
        self.why = why
