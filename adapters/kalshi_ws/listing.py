"""What the venue's own record says of a market: its grid, and how it ended.

The record is fetched after settlement and so knows the end from the beginning. Only the grid is
used as a fact of the listing; the end becomes rows at the time when it happened.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import msgspec

from foldbook.engine.errors import FeeError, TapeError
from foldbook.engine.fees import FeeRow
from foldbook.engine.units import MICROSECOND

from .. import sessions
from ..recordings.reports import RefusedError
from .decode import grid_of
from .fees import fee_row
from .frames import UNREADABLE
from .numbers import BAD, PAYOUTS
from .rules import Listing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JSON = msgspec.json.Decoder(float_hook=Decimal)
"""Keeps 0.5 what it is: a multiplier is no float."""
_BY_EXCLUSION = "MECNET"


class _Range(msgspec.Struct):
    start: str
    end: str
    step: str


class _Record(msgspec.Struct):
    ticker: str
    event_ticker: str = ""
    price_ranges: list[_Range] | None = None
    close_time: datetime | None = None
    settlement_ts: datetime | None = None
    settlement_value_dollars: str | None = None
    result: str = ""


class _Event(msgspec.Struct):
    event_ticker: str
    mutually_exclusive: bool = False
    collateral_return_type: str | None = None
    strike_date: datetime | None = None

    @property
    def returns_collateral(self) -> bool:
        """Whether no more than one of its markets can pay, and the venue returns collateral by
        that rule (SPEC 6.4): where the type is stated, it must say so."""
        return self.mutually_exclusive and self.collateral_return_type in (None, _BY_EXCLUSION)


class _Series(msgspec.Struct):
    ticker: str
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None


class Listings:
    """Records of markets in a folder (or one file) of the venue's event, market and series
    responses. Raises TapeError for a folder without any."""

    def __init__(self, metadata: Path | None):
        self._is_given = metadata is not None
        self._records: dict[str, tuple[Path, _Record]] = {}
        self._fees: dict[str, FeeRow] = {}
        self._events: set[str] = set()
        self._due: dict[str, int] = {}
        if metadata is not None:
            self._read(metadata)

    def _read(self, folder: Path) -> None:
        if not folder.exists():
            raise TapeError(f"{folder}: no such folder of metadata")
        found = 0
        for path in _files(folder):
            records, events, fees = _records(path), _events(path), _fees(path)
            found += len(records) + len(events) + len(fees)
            self._records |= {record.ticker: (path, record) for record in records}
            self._fees |= fees
            self._events |= {each.event_ticker for each in events if each.returns_collateral}
            self._due |= {each.event_ticker: due for each in events
                          if (due := _ns(each.strike_date)) is not None}
        if not found:
            raise TapeError(f"{folder}: no metadata: no .json file in it holds a market, an event "
                            "or a series of the venue")

    def lacks(self, ticker: str) -> bool:
        """Whether metadata was given, and has no record of this market."""
        return self._is_given and ticker not in self._records

    def of(self, ticker: str) -> Listing:
        """Return what is known of a market; an empty listing if there is no record."""
        fee = self._fees.get(ticker.partition("-")[0])
        if ticker not in self._records:
            event = ticker.rpartition("-")[0]
            return Listing(fee=fee, event=self._event(event), closes_at=self._due.get(event))
        path, record = self._records[ticker]
        try:
            return attrs.evolve(_listing(record), fee=fee, event=self._event(record.event_ticker),
                                closes_at=self._due.get(record.event_ticker))
        except RefusedError as error:
            raise TapeError(f"{path}: market {ticker}: {error}") from None

    def _event(self, ticker: str) -> str:
        """Return the ticker of an event if it returns collateral."""
        return ticker if ticker in self._events else ""


def _listing(record: _Record) -> Listing:
    step, edge, width = None, 0, 0
    if record.price_ranges:
        step, edge, width = grid_of([(each.start, each.end, each.step)
                                     for each in record.price_ranges])
    if record.settlement_ts is None or record.settlement_value_dollars is None:
        return Listing(step, edge, width)
    payout = PAYOUTS[record.settlement_value_dollars]
    if payout == BAD:
        raise RefusedError("price", "settlement_value_dollars", record.settlement_value_dollars,
                           "dollars between 0 and 1")
    return Listing(step, edge, width, _ns(record.close_time), _ns(record.settlement_ts), payout)


def _ns(stamp: datetime | None) -> int | None:
    if stamp is None:
        return None
    aware = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * MICROSECOND


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return [folder]
    return [path for path in sessions.paths_below(folder) if path.suffix == ".json"]


def _response(path: Path) -> dict[str, Any]:
    """Return a response without its wrappers; an empty one for what is no response."""
    try:
        response: Any = _JSON.decode(path.read_bytes())
    except UNREADABLE as error:
        raise TapeError(f"{path}: not a record of markets: {error}") from None
    while isinstance(response, dict) and isinstance(response.get("response"), dict):
        response = response["response"]
    return response if isinstance(response, dict) else {}


def _records(path: Path) -> list[_Record]:
    """Return the market records of a response, {markets: [...]} or {market: {...}}."""
    response = _response(path)
    found = response.get("markets", [response["market"]] if "market" in response else [])
    try:
        return msgspec.convert(found, list[_Record])
    except msgspec.ValidationError as error:
        raise TapeError(f"{path}: not a record of markets: {error}") from None


def _events(path: Path) -> list[_Event]:
    """Return the events of a response, {event: {...}} or {events: [...]}."""
    response = _response(path)
    found = response.get("events", [response["event"]] if response.get("event") else [])
    try:
        return msgspec.convert(found, list[_Event], strict=True)
    except msgspec.ValidationError as error:
        raise TapeError(f"{path}: not a record of events: {error}") from None


def _fees(path: Path) -> dict[str, FeeRow]:
    """Return the fee that a series response, {series: {...}}, states, by the series' ticker."""
    found = _response(path).get("series")
    if not isinstance(found, dict) or "fee_type" not in found:
        return {}
    try:
        series = msgspec.convert(found, _Series)
        stated = fee_row(series.ticker, series.fee_type, series.fee_multiplier)
    except (msgspec.ValidationError, FeeError) as error:
        raise TapeError(f"{path}: not a record of a series: {error}") from None
    return {} if stated is None else {series.ticker: stated}
