"""Events as frozen types: what a row of the tape or the journal looks like at the edges.

There is one struct for each `TapeKind` and `JournalKind`; its fields are named like the columns
that the kind uses, in the units of `units`, and a row of that kind is zero in all its other
columns. The one translation is that a market is its ticker here and an index in a row (None for
the account). Structs encode to JSON and MessagePack; the field "kind" tells them apart. The engine
itself computes on rows, never on these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, Union

import msgspec
import numpy as np

from .errors import JournalError, TapeError
from .schema import (
    JOURNAL_DTYPE,
    NO_MARKET,
    TAPE_DTYPE,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    MarketStatus,
    OrderFlag,
    Reason,
    Side,
    TapeFlag,
    TapeKind,
    TimeInForce,
)


def _tag(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


class TapeEvent(msgspec.Struct, frozen=True, tag_field="kind", tag=_tag):
    """What every event of the tape has."""

    ts: int
    recv: int
    market: str


class Snapshot(TapeEvent, frozen=True):
    """A full book begins."""


class SnapshotLevel(TapeEvent, frozen=True):
    side: Side
    price: int
    qty: int


class Increase(TapeEvent, frozen=True):
    side: Side
    price: int
    qty: int
    flags: TapeFlag


class Decrease(TapeEvent, frozen=True):
    side: Side
    price: int
    qty: int
    ahead: int
    flags: TapeFlag


class Trade(TapeEvent, frozen=True):
    side: Side
    price: int
    qty: int
    flags: TapeFlag


class Status(TapeEvent, frozen=True):
    """The column qty holds the status, and price the payout once it is known."""

    qty: MarketStatus
    price: int
    flags: TapeFlag

    @property
    def status(self) -> MarketStatus:
        """What the market is from now on."""
        return self.qty

    @property
    def payout(self) -> int:
        """What one YES contract pays, $0.0001; means something when DETERMINED or SETTLED."""
        return self.price


class Grid(TapeEvent, frozen=True):
    """The column price holds the step in the centre, ahead that at the edges, qty their width."""

    price: int
    ahead: int
    qty: int

    @property
    def step(self) -> int:
        """Step of prices in the centre, $0.0001."""
        return self.price

    @property
    def edge_step(self) -> int:
        """Step of prices at the edges, $0.0001."""
        return self.ahead

    @property
    def edge_width(self) -> int:
        """Width of each edge, $0.0001."""
        return self.qty


class Fee(TapeEvent, frozen=True):
    """The column qty holds the taker's rate and ahead the maker's."""

    qty: int
    ahead: int

    @property
    def taker_ppm(self) -> int:
        """Rate that takers pay, parts per million."""
        return self.qty

    @property
    def maker_ppm(self) -> int:
        """Rate that makers pay, parts per million."""
        return self.ahead


class Gap(TapeEvent, frozen=True):
    """Trust in the book ends."""


class Recovered(TapeEvent, frozen=True):
    """The snapshot after a gap is complete."""


class CloseTime(TapeEvent, frozen=True):
    """The column qty holds when the market is due to close, ns."""

    qty: int

    @property
    def close_time(self) -> int:
        """When the market is due to close, ns."""
        return self.qty


class Strike(TapeEvent, frozen=True):
    """The column side tells a floor (0) from a cap (1), and qty holds it."""

    side: Side
    qty: int

    @property
    def strike(self) -> int:
        """The floor or cap of what settles as YES, in millionths of its unit."""
        return self.qty


class JournalEvent(msgspec.Struct, frozen=True, tag_field="kind", tag=_tag):
    """What every event of a journal has; market is None for the account."""

    ts: int
    market: str | None
    account: int
    row: int
    cause_kind: CauseKind
    cause_market: str | None
    cause_row: int


class OrderEvent(JournalEvent, frozen=True):
    """What every event of an order has."""

    order: int
    side: Side
    price: int
    qty: int
    left: int
    tif: TimeInForce
    flags: OrderFlag
    expires: int
    client_id: int
    group: int


class Submitted(OrderEvent, frozen=True):
    """tif and flags are as asked, so that what is no TimeInForce is still on record."""

    tif: int  # type: ignore[assignment]
    flags: int  # type: ignore[assignment]
    arrives: int


class Accepted(OrderEvent, frozen=True):
    ahead: int
    reserved: int


class Rejected(OrderEvent, frozen=True):
    """tif and flags are as asked."""

    tif: int  # type: ignore[assignment]
    flags: int  # type: ignore[assignment]
    reason: Reason


class AmendRequested(OrderEvent, frozen=True):
    """price, qty and expires are as asked."""

    arrives: int


class DecreaseRequested(OrderEvent, frozen=True):
    """qty is by how much, or with OrderFlag.REDUCE_TO to how much."""

    arrives: int


class Amended(OrderEvent, frozen=True):
    ahead: int
    reserved: int


class AmendRejected(OrderEvent, frozen=True):
    reason: Reason


class CancelRequested(OrderEvent, frozen=True):
    arrives: int


class Canceled(OrderEvent, frozen=True):
    """qty is what was canceled."""

    reason: Reason
    reserved: int


class CancelRejected(OrderEvent, frozen=True):
    reason: Reason


class Expired(OrderEvent, frozen=True):
    reserved: int


class Fill(OrderEvent, frozen=True):
    """price and qty are the fill's."""

    cash: int
    fee: int
    reserved: int
    ahead: int
    claim: int
    liquidity: Liquidity
    evidence: Evidence
    guessed: int
    carry: int


class Settled(JournalEvent, frozen=True):
    """side is that of the position, price the payout of one YES contract."""

    side: Side
    price: int
    qty: int
    cash: int
    fee: int


class CollateralReturned(JournalEvent, frozen=True):
    """cash is negative where it is taken back."""

    cash: int


class CashMoved(JournalEvent, frozen=True):
    cash: int


class Restored(JournalEvent, frozen=True):
    """What own fills took from the market's displayed book is given back."""


class GroupSet(JournalEvent, frozen=True):
    """An order group was created or reset; qty is its limit."""

    group: int
    qty: int


class GroupTriggered(JournalEvent, frozen=True):
    """An order group reached its limit; qty is what it had matched within the window."""

    group: int
    qty: int


class Missed(OrderEvent, frozen=True):
    """qty of displayed depth was gone when the order came for it."""


class KillSet(JournalEvent, frozen=True):
    """The kill switch was turned on (qty 1) or off (qty 0)."""

    qty: int


Event = TapeEvent | JournalEvent


class _Form(NamedTuple):
    """How rows of one kind and structs of one class turn into each other."""

    event: type[Any]
    kind: int
    fields: tuple[str, ...]
    used: tuple[int, ...]  # the column of each field
    enums: tuple[tuple[int, Callable[[int], int]], ...]  # fields whose numbers have names
    markets: tuple[int, ...]  # fields that are an index in the row
    unused: tuple[int, ...]  # columns that are zero

    @classmethod
    def of(cls, event: type[Any], kind: int, dtype: np.dtype) -> _Form:
        columns = list(dtype.names or ())
        types = {field.name: field.type for field in msgspec.structs.fields(event)}
        used = tuple(columns.index(name) for name in types)
        enums = [
            (place, known)
            for place, known in enumerate(types.values())
            if isinstance(known, type) and known not in (int, str)
        ]
        markets = [place for place, name in enumerate(types) if name in ("market", "cause_market")]
        unused = {*range(len(columns))} - {*used, columns.index("kind")}
        return cls(event, kind, (*types,), used, (*enums,), (*markets,), (*sorted(unused),))


def _events(base: type) -> Iterator[type]:
    children: list[type] = base.__subclasses__()
    for child in children:
        yield from _events(child)
    if not children:
        yield base


def _forms(base: type, kinds: type[IntEnum], dtype: np.dtype) -> tuple[_Form, ...]:
    events = {_tag(event.__name__): event for event in _events(base)}
    return tuple(_Form.of(events[kind.name], kind, dtype) for kind in kinds)


_TAPE = _forms(TapeEvent, TapeKind, TAPE_DTYPE)
_JOURNAL = _forms(JournalEvent, JournalKind, JOURNAL_DTYPE)
_FORMS = {
    form.event: (form, dtype)
    for forms, dtype in ((_TAPE, TAPE_DTYPE), (_JOURNAL, JOURNAL_DTYPE))
    for form in forms
}

TAPE_EVENTS: tuple[type[Any], ...] = tuple(form.event for form in _TAPE)
"""The struct of each TapeKind, at the kind's number."""
JOURNAL_EVENTS: tuple[type[Any], ...] = tuple(form.event for form in _JOURNAL)
"""The struct of each JournalKind, at the kind's number."""

_ANY: Any = Union[TAPE_EVENTS + JOURNAL_EVENTS]  # noqa: UP007
_from_json = msgspec.json.Decoder(_ANY)
_from_msgpack = msgspec.msgpack.Decoder(_ANY)


def from_row(row: np.void, markets: Sequence[str]) -> Event:
    """Return the event that a row of TAPE_DTYPE or JOURNAL_DTYPE is.

    markets: tickers of the session, in its order.
    Raises TapeError or JournalError for a row of no kind, of no market of the session, or with
    something in a column that its kind does not use.
    """
    forms, error = (_TAPE, TapeError) if row.dtype == TAPE_DTYPE else (_JOURNAL, JournalError)
    kind = int(row["kind"])
    if not 0 <= kind < len(forms):
        raise error(f"row of kind {kind}: there are only kinds 0 to {len(forms) - 1}")
    form = forms[kind]
    columns = row.item()
    for column in form.unused:
        if columns[column]:
            name = list(row.dtype.fields or ())[column]
            raise error(f"{form.event.__name__} row: {name} is {columns[column]}, and must be 0")
    values: list[Any] = [columns[column] for column in form.used]
    try:
        for place, named in form.enums:
            values[place] = named(values[place])
        for place in form.markets:
            values[place] = _ticker(values[place], markets, error is JournalError)
    except (ValueError, IndexError) as wrong:
        raise error(f"{form.event.__name__} row: {form.fields[place]}: {wrong}") from None
    return form.event(*values)


def to_row(event: Event, markets: Sequence[str]) -> np.void:
    """Return the row that an event is: the exact inverse of `from_row`."""
    form, dtype = _FORMS[type(event)]
    row = np.zeros(1, dtype)
    row["kind"] = form.kind
    for place, name in enumerate(form.fields):
        value = getattr(event, name)
        row[name] = _index(value, markets) if place in form.markets else value
    return row[0]


def _ticker(index: int, markets: Sequence[str], is_journal: bool) -> str | None:
    if index == NO_MARKET and is_journal:
        return None
    if index < 0:
        raise IndexError(f"there is no market {index}")
    return markets[index]


def _index(ticker: str | None, markets: Sequence[str]) -> int:
    return NO_MARKET if ticker is None else markets.index(ticker)


def to_json(event: Event) -> bytes:
    """Return an event as one JSON object."""
    return msgspec.json.encode(event)


def from_json(data: bytes | str) -> Event:
    """Return the event that `to_json` wrote. Raises msgspec.ValidationError for anything else."""
    return _from_json.decode(data)


def to_msgpack(event: Event) -> bytes:
    """Return an event as MessagePack."""
    return msgspec.msgpack.encode(event)


def from_msgpack(data: bytes) -> Event:
    """Return the event that `to_msgpack` wrote. Raises msgspec.ValidationError otherwise."""
    return _from_msgpack.decode(data)
