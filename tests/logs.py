"""Logs that tests write, and what they hold."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from foldbook.adapters.log import (
    AnyFrame,
    Closed,
    Frame,
    Fsync,
    Opened,
    Reader,
    Reconnected,
    Writer,
)


def heard(number: int, raw: bytes | None = None, source: int = 0) -> Frame:
    """Return a frame that says its number, and is longer the higher that is."""
    return Frame(1000 + number, source, b"%d " % number * (number % 7 + 1) if raw is None else raw)


def written(folder: Path, frames: list[AnyFrame], segment_bytes: int = 1 << 20) -> Path:
    """Write frames to a log, and return its folder."""
    with Writer(folder, fsync=Fsync.NEVER, segment_bytes=segment_bytes) as writer:
        for frame in frames:
            writer.append(frame)
    return folder


def frames_in(folder: Path, **options: bool) -> list[AnyFrame]:
    """Return all frames of a log, once it is checked that none is numbered wrongly."""
    with Reader(folder, **options) as reader:
        found = list(reader.read())
    assert [number for number, _ in found] == list(range(len(found)))
    return [frame for _, frame in found]


def segments(folder: Path) -> list[Path]:
    """Return the segments of a log, in order."""
    return sorted(folder.glob("*.segment"))


ns = st.integers(1, 9 * 10**18)
sources = st.integers(0, 2**31 - 1)
any_frame = st.one_of(
    st.builds(Frame, ns, sources, st.binary(max_size=60)),
    *(st.builds(kind, ns, sources, st.text(max_size=20)) for kind in (Opened, Closed, Reconnected)),
)
"""Any frame that a log can hold, short."""
