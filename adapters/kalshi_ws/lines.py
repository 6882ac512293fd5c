"""The lines of a chunk into messages and frames; what is no frame is refused here, line by line.

A chunk is decoded at once if all of it can be. Most deltas need no decoder: see `alike`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np

from ..recordings.reports import UNKNOWN, Rejections
from .alike import find_shape, read_alike
from .frames import UNREADABLE, Dialect, Kind, dialect_of
from .messages import MESSAGE_DTYPE, NO_RECV
from .sources import Chunk

_BOOK_TYPES = ("orderbook_delta", "orderbook_snapshot")


@attrs.frozen(eq=False)
class Lines:
    """What the lines of a chunk hold, in order of arrival.

    messages: MESSAGE_DTYPE, one per frame, with recv, row and kind. frames: by the index of their
    message; those that are not here are deltas, complete but for sub and file, with the price as it
    is stated and an index into `tickers` as market. sids: int64, one per message; of these alone.
    """

    messages: np.ndarray
    frames: dict[int, Any]
    sids: np.ndarray
    tickers: list[str]


class LineReader:
    """Reads the lines of one recording, in one dialect."""

    def __init__(self, dialect: Dialect, rejections: Rejections):
        self._dialect = dialect
        self._rejections = rejections
        self._is_stamped = dialect.unwrap([])[0] is not None

    def read(self, chunk: Chunk) -> Lines:
        """Return what the lines of a chunk hold. Raises what `Rejections.refuse` raises."""
        shape = find_shape(chunk.text, self._dialect) if chunk.text.endswith(b"\n") else None
        others = np.arange(chunk.rows)
        rest, tickers = chunk, []
        if shape is None:
            messages = np.zeros(chunk.rows, MESSAGE_DTYPE)
            sids = np.zeros(chunk.rows, np.int64)
        else:
            alike = read_alike(chunk.text, chunk.rows, shape)
            messages, sids, tickers = alike.messages, alike.sids, alike.tickers
            others = alike.others[:, 0]
            texts = [chunk.text[begin:end] for begin, end in alike.others[:, 1:].tolist()]
            rest = attrs.evolve(chunk, text=b"".join(texts), rows=len(texts))
        messages["row"] = np.arange(chunk.first_row, chunk.first_row + chunk.rows)
        times, frames, kept = self._frames(rest, chunk.first_row + others)
        at = kept - chunk.first_row
        if len(at) < len(others):
            is_there = np.ones(chunk.rows, np.bool_)
            is_there[others] = False
            is_there[at] = True
            messages, sids = messages[is_there], sids[is_there]
            at = (np.cumsum(is_there) - 1)[at]
        messages["kind"][at] = np.frombuffer(bytes([frame.kind for frame in frames]), np.int8)
        if self._is_stamped:
            messages["recv"][at] = np.array(times, np.int64) * self._dialect.recv_unit
            for lost in at[messages["kind"][at] == Kind.LOST].tolist():
                messages["recv"][lost] = messages["recv"][lost - 1] if lost else 0
        else:
            messages["recv"][at] = NO_RECV
        return Lines(messages, dict(zip(at.tolist(), frames, strict=True)), sids, tickers)

    def _frames(self, chunk: Chunk, rows: np.ndarray) -> tuple[list[int], list[Any], np.ndarray]:
        """Return (receive times if there are any, frames, the row of each). rows: of the lines."""
        if chunk.records is None:
            try:
                lines = self._dialect.decoder.decode_lines(chunk.text)
                times, frames = self._dialect.unwrap(lines)
            except UNREADABLE:
                return self._line_by_line(chunk, rows)
            if len(frames) == len(rows):
                return times or [], frames, rows
        return self._line_by_line(chunk, rows)

    def _line_by_line(
        self, chunk: Chunk, rows: np.ndarray
    ) -> tuple[list[int], list[Any], np.ndarray]:
        times: list[int] = []
        frames: list[Any] = []
        kept: list[int] = []
        for row, line in zip(rows.tolist(), chunk.lines(), strict=False):
            if not line.strip():
                continue
            try:
                time, (frame,) = self._dialect.unwrap([self._dialect.decoder.decode(line)])
            except UNREADABLE as error:
                frame = self._refuse(chunk.path, row, line, error)
                if frame is None:
                    continue
                time = [0]
            frames.append(frame)
            kept.append(row)
            times += time or []
        return times, frames, np.array(kept, np.int64)

    def _refuse(self, path: Path, row: int, line: bytes, error: Exception) -> Any | None:
        """Count a line that does not decode; return a frame that stands for a lost book message."""
        text = str(error)
        try:
            record = msgspec.json.decode(line)
        except UNREADABLE:
            shown = line[:60].decode("utf-8", "replace")
            self._rejections.refuse(path, row, UNKNOWN, "not_json", f"not JSON: {shown!r}: {text}")
            return None
        of_book, ticker = _named(record)
        other = dialect_of(record)
        if other not in (None, self._dialect):
            self._rejections.refuse(
                path, row, ticker, "dialect", f"a line of dialect {other.name}, expected one of "
                f"{self._dialect.name}, as at the beginning: put them into files of their own"
            )
            return _Lost(ticker) if of_book and ticker != UNKNOWN else None
        why = "wrong_type"
        if "missing required field" in text:
            why = "missing_field"
        elif text.startswith("Invalid value") and text.endswith(("type`", "event_type`")):
            why = "unknown_type"
        place = text.partition(" - at `$")[2].rstrip("`")
        value = _value_at(record, place) if why != "missing_field" else None
        # Where there is none to show (a frame inside a recorder's line), the text names it.
        shown = "" if value is None else f" (value {value!r})"
        self._rejections.refuse(path, row, ticker, why, f"{text}{shown}")
        return _Lost(ticker) if of_book and ticker != UNKNOWN else None


class _Lost(msgspec.Struct):
    """Stands for a book message of a market that could not be decoded."""

    market_ticker: str
    sid: int = -1
    seq: int = -1
    kind: int = Kind.LOST


def _named(record: Any) -> tuple[bool, str]:
    """Return (whether it is of a book, ticker) of a decoded line, as far as it names them."""
    of_book, ticker = False, UNKNOWN
    stack = [record]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            name = item.get("type", item.get("event_type"))
            of_book = of_book or name in _BOOK_TYPES
            found = item.get("market_ticker")
            ticker = found if isinstance(found, str) else ticker
            stack += [each for each in item.values() if isinstance(each, dict)]
            if isinstance(item.get("raw"), str):
                try:
                    stack.append(msgspec.json.decode(item["raw"]))
                except UNREADABLE:
                    continue
    return of_book, ticker


def _value_at(record: Any, place: str) -> Any:
    """Return the value at a path like `.event.msg.price`."""
    for part in place.strip(".").replace("[", ".").replace("]", "").split("."):
        if isinstance(record, dict):
            record = record.get(part)
        elif isinstance(record, list) and part.isdigit() and int(part) < len(record):
            record = record[int(part)]
        else:
            return None
    return record
