"""What Polymarket's own records say of a market: its name, its two tokens, and how it ended.

They are read from Parquet (market_id, slug, outcome_up, ...) or from JSON in the shapes of the
venue's two market APIs. They were fetched after the end, so the end becomes rows at its time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import MarketStatus
from foldbook.engine.units import MICROSECOND, MILLISECOND, PRICE_ONE

from .. import sessions
from ..recordings import (
    MESSAGE_DTYPE,
    TIME_MAX,
    UNREADABLE,
    MessageKind,
    RefusedError,
    Scale,
    one_line,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JSON = msgspec.json.Decoder(strict=True)
_PAYOUT = Scale("price", PRICE_ONE, 0, PRICE_ONE, "dollars between 0 and 1")
YES_NAMES = ("YES", "UP")
NO_NAMES = ("NO", "DOWN")


@attrs.frozen
class MarketRecord:
    """One market: condition id, ticker, token ids, and the payout of YES if it has settled.

    close_ts: when trading was to end, ns; settled_ts: when it settled, if that is stated.
    """

    condition: str
    ticker: str
    yes: str | None = None
    no: str | None = None
    close_ts: int | None = None
    settled_ts: int | None = None
    payout: int | None = None


class MarketRecords:
    """The records in a file or folder. Raises TapeError for a file that is no such record, and
    where there is none."""

    def __init__(self, metadata: Path | None):
        self._is_given = metadata is not None
        self._records: dict[str, MarketRecord] = {}
        self._tokens: dict[str, MarketRecord] = {}
        if metadata is None:
            return
        path = Path(metadata)
        if not path.exists():
            raise TapeError(f"{path}: no such file or folder of metadata")
        for file in sessions.paths_below(path) if path.is_dir() else [path]:
            for record in _records(file):
                self._records[record.condition] = record
                for token in (record.yes, record.no):
                    if token is not None:
                        self._tokens[token] = record
        if not self._records:
            raise TapeError(f"{path}: no metadata: it holds no record of a market")

    def lacks(self, condition: str) -> bool:
        """Whether metadata was given, and has no record of this market."""
        return self._is_given and condition not in self._records

    def of(self, condition: str) -> MarketRecord:
        """Return what is known of a market; its id alone if there is no record."""
        return self._records.get(condition, MarketRecord(condition, condition))


def ending(record: MarketRecord, last_ts: int) -> np.ndarray:
    """Return the messages that close and settle a market after its last row; none if it has not
    settled. Where the record states no time of the settlement it stands 1 ms after the later of the
    close and the last row, when nothing of the recording can depend on it any more."""
    if record.payout is None:
        return np.zeros(0, MESSAGE_DTYPE)
    messages = np.zeros(2, MESSAGE_DTYPE)
    ts = max(record.close_ts or 0, last_ts) + MILLISECOND
    if record.settled_ts is not None:
        ts = max(record.settled_ts, last_ts)
    messages["kind"] = MessageKind.STATUS
    messages["ts"] = messages["recv"] = ts
    messages["qty"] = (MarketStatus.CLOSED, MarketStatus.SETTLED)
    messages["price"] = (0, record.payout)
    return messages


def is_market_table(names: set[str]) -> bool:
    """Whether a Parquet file with these columns holds records of markets."""
    return {"market_id", "slug"} <= names


def _records(path: Path) -> Iterator[MarketRecord]:
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path)
        elif path.suffix == ".json":
            yield from _json(path)
    except RefusedError as error:
        raise TapeError(f"{path}: {error}") from None


def _parquet(path: Path) -> Iterator[MarketRecord]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = set(pq.read_schema(path).names)
        if not is_market_table(names):
            return
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise TapeError(f"{path}: not a Parquet file: {one_line(error)}") from None
    for row in rows:
        payout = None
        if row.get("payout_up") is not None:
            payout = _PAYOUT.units("payout_up", row["payout_up"])
            other = _PAYOUT.units("payout_down", row.get("payout_down"))
            if payout + other != PRICE_ONE:
                raise RefusedError("price", "payout_down", row.get("payout_down"),
                                   f"1 - payout_up ({row['payout_up']!r})")
        end = row.get("end_ts")
        if end is not None and not (isinstance(end, int) and 0 <= end <= TIME_MAX // MILLISECOND):
            raise RefusedError("wrong_type", "end_ts", end, "ms since 1970 as an int")
        yield MarketRecord(
            _text("market_id", row["market_id"]), _text("slug", row["slug"]), payout=payout,
            close_ts=None if end is None else end * MILLISECOND,
        )


def _json(path: Path) -> Iterator[MarketRecord]:
    try:
        document: Any = _JSON.decode(path.read_bytes())
    except UNREADABLE as error:
        raise TapeError(f"{path}: not a record of markets: {one_line(error)}") from None
    if isinstance(document, dict):
        document = document.get("data", document.get("markets", [document]))
    for each in document if isinstance(document, list) else []:
        if not isinstance(each, dict):
            continue
        condition = each.get("condition_id", each.get("conditionId"))
        if condition is not None:
            yield _market(_text("condition_id", condition), each)


def _market(condition: str, record: dict[str, Any]) -> MarketRecord:
    """Return a record of the order book's API (tokens) or the catalogue's (clobTokenIds)."""
    if "tokens" in record:
        tokens = [(_text("outcome", each.get("outcome")), _text("token_id", each.get("token_id")),
                   each.get("winner")) for each in record["tokens"]]
        won = [bool(winner) for _, _, winner in tokens]
        prices = [str(int(each)) for each in won] if any(won) else None
    else:
        names, ids = _listed(record, "outcomes"), _listed(record, "clobTokenIds")
        if len(names) != len(ids):
            raise RefusedError("disagree", "clobTokenIds", ids, f"one for each of {names}")
        tokens = [(name, token, None) for name, token in zip(names, ids, strict=True)]
        resolved = record.get("umaResolutionStatus") == "resolved"
        prices = _listed(record, "outcomePrices") if resolved else None
    if len(tokens) != 2:
        raise RefusedError("tokens", "tokens", [name for name, _, _ in tokens], "two outcomes")
    first = 1 if tokens[0][0].upper() in NO_NAMES else 0
    payout = None if prices is None else _PAYOUT.units("outcomePrices", prices[first])
    return MarketRecord(
        condition, _text("slug", record.get("slug", record.get("market_slug"))),
        tokens[first][1], tokens[1 - first][1],
        _time("end_date", record.get("end_date_iso", record.get("endDate"))),
        _time("closedTime", record.get("closedTime")), payout,
    )


def _listed(record: dict[str, Any], name: str) -> list[str]:
    """Return a list that may be wrapped in a string, as the catalogue does."""
    value = record.get(name)
    if isinstance(value, str):
        with contextlib.suppress(*UNREADABLE):
            value = _JSON.decode(value)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RefusedError("wrong_type", name, value, "a list of strings")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise RefusedError("wrong_type", name, value, "a text that is not empty")
    return value


def _time(name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        stamp = datetime.fromisoformat(_text(name, value).replace("+00", "+00:00")
                                       .replace("+00:00:00", "+00:00"))
    except ValueError:
        raise RefusedError("time", name, value, "an ISO 8601 time") from None
    if stamp.tzinfo is None:
        raise RefusedError("time", name, value, "an ISO 8601 time with its zone")
    return (stamp - _EPOCH) // timedelta(microseconds=1) * MICROSECOND
