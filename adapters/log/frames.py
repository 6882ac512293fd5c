"""What a log holds: what a recorder heard, untouched, and what became of its connections.

A frame is a MessagePack array: its kind, then its fields in the order given here. Nothing here
reads a clock or a file.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from foldbook.engine.errors import TapeError

NS_MAX = 9 * 10**18
SOURCE_MAX = 2**31 - 1
BODY_MAX = 1 << 24
"""Bytes of an encoded frame: 16 MiB, more than a venue sends at once."""

Ns = Annotated[int, msgspec.Meta(ge=1, le=NS_MAX)]
"""Nanoseconds since 1970 UTC."""
Source = Annotated[int, msgspec.Meta(ge=0, le=SOURCE_MAX)]
"""A lane of the recorder: one connection, or one subscription, with an order of its own."""


class _Kept(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    recv: Ns
    source: Source


class Frame(_Kept, frozen=True, tag=0, gc=False):
    """What was received: `raw` is the venue's message, byte for byte. recv: ns UTC."""

    raw: bytes


class Opened(_Kept, frozen=True, tag=1, gc=False):
    """The lane's connection was opened; `about` says where to, or what for."""

    about: str = ""


class Closed(_Kept, frozen=True, tag=2, gc=False):
    """The lane's connection was closed; `about` says why."""

    about: str = ""


class Reconnected(_Kept, frozen=True, tag=3, gc=False):
    """The lane's connection was lost and opened again; `about` says why."""

    about: str = ""


AnyFrame: TypeAlias = Frame | Opened | Closed | Reconnected

CONTROL: dict[str, type[Opened] | type[Closed] | type[Reconnected]] = {
    "opened": Opened, "closed": Closed, "reconnected": Reconnected,
}
"""Frames that no venue sent, by their names."""

_KINDS = {Frame: "raw", Opened: "about", Closed: "about", Reconnected: "about"}
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(AnyFrame)


def encode_into(frame: AnyFrame, buffer: bytearray, offset: int) -> None:
    """Write the body of a frame into `buffer` from `offset` on; the buffer ends with it.

    Raises TypeError or ValueError, naming the field, for what could not be read back.
    """
    content = _KINDS.get(type(frame))
    if content is None:
        raise TypeError(f"frame is {type(frame).__name__}, expected Frame, Opened, Closed or "
                        "Reconnected")
    if type(frame.recv) is not int or not 0 < frame.recv <= NS_MAX:
        raise ValueError(f"recv is {frame.recv!r}, expected ns between 1 and {NS_MAX} as an int")
    if type(frame.source) is not int or not 0 <= frame.source <= SOURCE_MAX:
        raise ValueError(f"source is {frame.source!r}, expected an int from 0 to {SOURCE_MAX}")
    value = getattr(frame, content)
    expected = bytes if content == "raw" else str
    if type(value) is not expected:
        raise TypeError(f"{content} is {type(value).__name__}, expected {expected.__name__}")
    if len(value) > BODY_MAX - 64:
        raise ValueError(f"{content} has {len(value)} bytes, expected no more than "
                         f"{BODY_MAX - 64}")
    _ENCODER.encode_into(frame, buffer, offset)


def decode(body: bytes | memoryview) -> AnyFrame:
    """Return the frame whose body this is. Raises TapeError if it is none."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TapeError(f"no frame of this version: {error}") from None
