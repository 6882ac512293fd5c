"""Frames as lines of JSON: what `foldbook log append` reads, and `foldbook log cat` writes.

A line names when a frame was received and holds the venue's message, in the words of three
recorders. What a line of another shape could mean is not guessed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from isal import igzip, isal_zlib

from foldbook.engine.errors import TapeError
from foldbook.engine.units import MILLISECOND

from .frames import CONTROL, NS_MAX, AnyFrame, Frame, Ns, Source

_GZIP = b"\x1f\x8b"
_NAMES = {kind: name for name, kind in CONTROL.items()}
_EXPECTED = ("expected recv_ts_ns with raw (or raw_base64, or control), recv_ms with event, or "
             "received_ms with frame")
Ms = Annotated[int, msgspec.Meta(ge=1, le=NS_MAX // MILLISECOND)]


class _Line(msgspec.Struct, gc=False):
    recv_ts_ns: Ns | None = None
    recv_ms: Ms | None = None
    received_ms: Ms | None = None
    raw: str | None = None
    raw_base64: str | None = None
    event: msgspec.Raw = msgspec.Raw(b"")
    frame: msgspec.Raw = msgspec.Raw(b"")
    control: str | None = None
    about: str = ""
    source: Source = 0


_DECODER = msgspec.json.Decoder(_Line)


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, plain or gzip. Raises TapeError if it cannot be read."""
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] == _GZIP:
                with igzip.open(file) as inflated:
                    yield from inflated
            else:
                yield from file
    except (OSError, EOFError, isal_zlib.error) as error:  # type: ignore[misc]
        raise TapeError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def frame_of(line: bytes) -> AnyFrame:
    """Return the frame of a line: {"recv_ts_ns", "raw"}, {"recv_ms", "event"} or {"received_ms",
    "frame"}, with a `source` or of source 0. Raises TapeError if it is none of these."""
    try:
        found = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TapeError(f"is no frame: {error}; {_EXPECTED}") from None
    contents = [bytes(each) for each in (found.event, found.frame)]
    given = (
        (found.recv_ts_ns, 1, found.raw.encode() if found.raw is not None else None),
        (found.recv_ts_ns, 1, _binary(found.raw_base64)),
        (found.recv_ms, MILLISECOND, contents[0] or None),
        (found.received_ms, MILLISECOND, contents[1] or None),
    )
    times = [found.recv_ts_ns, found.recv_ms, found.received_ms]
    whole = [(recv * unit, raw) for recv, unit, raw in given
             if recv is not None and raw is not None]
    named = sum(raw is not None for _, _, raw in given) + (found.control is not None)
    if named != 1 or times.count(None) != 2 or (not whole and found.recv_ts_ns is None):
        raise TapeError(f"is no frame: {_EXPECTED}")
    if found.control is not None:
        assert found.recv_ts_ns is not None
        if found.control not in CONTROL:
            raise TapeError(f"control is {found.control!r}, expected {', '.join(CONTROL)}")
        return CONTROL[found.control](found.recv_ts_ns, found.source, found.about)
    if not whole:
        raise TapeError(f"is no frame: {_EXPECTED}")
    recv, raw = whole[0]
    return Frame(recv, found.source, raw)


def record_of(number: int, frame: AnyFrame) -> dict[str, Any]:
    """Return a frame as what JSON can hold; `frame_of` reads it back."""
    record: dict[str, Any] = {
        "recv_ts_ns": frame.recv, "source": frame.source, "number": number,
    }
    if not isinstance(frame, Frame):
        return record | {"control": _NAMES[type(frame)], "about": frame.about}
    try:
        return record | {"raw": frame.raw.decode()}
    except UnicodeDecodeError:
        return record | {"raw_base64": base64.b64encode(frame.raw).decode()}


def _binary(text: str | None) -> bytes | None:
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TapeError(f"raw_base64 is no base64: {error}") from None
