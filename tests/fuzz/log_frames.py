"""Any bytes as the segment of a log, and as the body of a frame with a sound checksum."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from foldbook.adapters.log import AnyFrame, Closed, Frame, Fsync, Opened, Reader, Writer, recover
from foldbook.adapters.log.frames import decode, encode_into
from foldbook.adapters.log.segments import HEADER_BYTES, PREFIX, Header, salt_of, seal
from foldbook.engine import TapeError

INSTRUMENTED = tuple(
    f"foldbook.adapters.log.{name}" for name in ("frames", "reader", "recovery", "segments", "walk")
)
FRAMES: list[AnyFrame] = [
    Opened(1, 0, "wss"), Frame(2, 1, b'{"type":"ok"}'), Frame(2**60, 2**31 - 1, b""), Closed(3, 0),
]
LOG = bytes(8)
_PLACE = Path(tempfile.mkdtemp(prefix="foldbook-fuzz-"))


def segment(bodies: list[bytes]) -> bytes:
    """Return a segment with sound frames of these bodies."""
    text = bytearray(Header(0, 0, LOG).encode())
    for number, body in enumerate(bodies):
        begin = len(text)
        text += bytes(PREFIX.size) + body
        seal(text, begin, len(text), number, salt_of(LOG))
    return bytes(text)


def body_of(frame: AnyFrame) -> bytes:
    """Return the body of a frame."""
    body = bytearray()
    encode_into(frame, body, 0)
    return bytes(body)


def seeds() -> list[bytes]:
    """Return a whole segment, its beginnings, and bodies."""
    bodies = [body_of(frame) for frame in FRAMES]
    whole = segment(bodies)
    return [b"\0" + whole, b"\0" + whole[: HEADER_BYTES + 9], b"\0" + whole[:-3], b"\0",
            *(b"\1" + body for body in bodies)]


def attack(data: bytes) -> None:
    """Read the bytes as a segment or a body; recover them; go on writing behind them."""
    is_body = data[:1] == b"\1"
    text = segment([body_of(FRAMES[0]), data[1:], body_of(FRAMES[1])]) if is_body else data[1:]
    for path in _PLACE.iterdir():
        path.unlink()
    (_PLACE / "00000000.segment").write_bytes(text)
    with suppress(TapeError), Reader(_PLACE, keep_going=True) as reader:
        for _, frame in reader.read():
            assert decode(body_of(frame)) == frame
    with suppress(TapeError), Reader(_PLACE) as reader:
        list(reader.read())
    try:
        recover(_PLACE)
    except TapeError:
        return
    with Writer(_PLACE, fsync=Fsync.NEVER) as writer:
        assert not writer.recovery.cut
        number = writer.append(FRAMES[1])
    with Reader(_PLACE, keep_going=True) as reader:
        assert list(reader.read())[-1] == (number, FRAMES[1])
