"""Deltas that a recorder writes alike, read straight from the text of their lines.

From one delta to the next a recorder writes the same keys in the same order, so all but the values
is the same text. One line shows what that text is (a `Shape`), and a compiled pass reads the values
of every line that has it. A line that differs in anything, or has a value in any but its plainest
form, is left to the decoder of JSON: nothing is read here but what that would read, and the same.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
import numpy as np

from .frames import LINES, STREAM, UNREADABLE, Dialect, Kind
from .messages import MESSAGE_DTYPE
from .scanning import NONE, VALUES, Role, read_lines

LOOKED_AT = 1 << 16
"""Bytes at the beginning of a chunk in which a delta is looked for."""

_ROLES = {
    b"sid": Role.SID, b"seq": Role.SEQ, b"market_ticker": Role.TICKER, b"side": Role.SIDE,
    b"price_dollars": Role.PRICE, b"delta_fp": Role.QTY, b"ts": Role.TIME, b"ts_ms": Role.MILLIS,
}  # fmt: skip
_RECV_KEYS = {LINES: b"recv_ms", STREAM: b"received_ms"}
_PLAIN = re.compile(rb"[ -Z\]-~]*")
"""Printable, without lists and escapes: between two quotes stands a key or a value, whole."""
_KEY = re.compile(rb'"(\w+)"\s*:')
_MEMBER = re.compile(rb'"(\w+)"\s*:\s*(?:"([^"]*)"|([0-9]+)(?=\s*[,}]))')


@attrs.frozen(eq=False)
class Shape:
    """What the lines of a recorder's deltas have in common.

    literals: uint8, the text between the values, one piece after the other, with the line's end.
    ends: int64, where each piece ends among them. roles: int64, what follows each but the last.
    """

    literals: np.ndarray
    ends: np.ndarray
    roles: np.ndarray


@attrs.frozen(eq=False)
class Alike:
    """The lines of a text, those of one shape read.

    messages: MESSAGE_DTYPE, one per line; of those that were read, without row, file and sub, with
    the price as it is stated, and as market an index into `tickers`. sids: int64, one per line.
    others: int64 [line that was not read, (number, begin, end)]. tickers: as often as they change.
    """

    messages: np.ndarray
    sids: np.ndarray
    others: np.ndarray
    tickers: list[str]


def read_alike(text: bytes, lines: int, shape: Shape) -> Alike:
    """Read the lines of one shape. text: so many lines, each with its end."""
    data = np.frombuffer(text, np.uint8)
    messages = np.zeros(lines, MESSAGE_DTYPE)
    sids = np.zeros(lines, np.int64)
    others = np.empty((lines, 3), np.int64)
    tickers = np.empty((lines, 2), np.int64)
    values = np.full(VALUES, NONE, np.int64)
    left, changes = read_lines(
        data, shape.literals, shape.ends, shape.roles, values, messages, sids, others, tickers
    )
    named = [text[begin:end].decode() for begin, end in tickers[:changes].tolist()]
    return Alike(messages, sids, others[:left], named)


def find_shape(text: bytes, dialect: Dialect) -> Shape | None:
    """Return the shape of the first delta near the beginning of a text that has one."""
    for line in text[:LOOKED_AT].split(b"\n")[:-1]:
        if b'"orderbook_delta"' in line and (shape := shape_of(line, dialect)) is not None:
            return shape
    return None


def shape_of(line: bytes, dialect: Dialect) -> Shape | None:
    """Return the shape of a line; None if it is no delta of today, plainly written."""
    keys = _KEY.findall(line)
    if not _PLAIN.fullmatch(line) or len(set(keys)) < len(keys) or dialect.parts:
        return None
    try:
        _, (frame,) = dialect.unwrap([dialect.decoder.decode(line)])
    except UNREADABLE:
        return None
    if not _is_of_today(frame):
        return None
    # Each key is there once, and the decoder has found it where it belongs.
    known = _ROLES | ({_RECV_KEYS[dialect]: Role.RECV} if dialect in _RECV_KEYS else {})
    literals, at = b"", 0
    ends: list[int] = []
    roles: list[Role] = []
    for member in _MEMBER.finditer(line):
        key, text, _ = member.groups()
        if key == b"type":
            continue
        begin, end = member.span(3 if text is None else 2)
        literals += line[at:begin]
        at = end
        ends.append(len(literals))
        roles.append(known.get(key, Role.NUMBER if text is None else Role.TEXT))
    if not set(known.values()) <= set(roles):
        return None
    literals += line[at:] + b"\n"
    return Shape(
        np.frombuffer(literals, np.uint8),
        np.array([*ends, len(literals)], np.int64),
        np.array(roles, np.int64),
    )


def _is_of_today(frame: Any) -> bool:
    """Whether a frame is a delta in dollars, with both of its times, that no own order caused."""
    if frame.kind != Kind.DELTA:
        return False
    delta = frame.msg
    there = (delta.price_dollars, delta.delta_fp, delta.ts, delta.ts_ms)
    absent = (delta.price, delta.delta, delta.client_order_id)
    return (
        None not in there and absent == (None, None, None) and frame.sid >= 0 and frame.seq >= 0
    )
