"""The frames of the venue's WebSocket as typed structs, in the envelopes of four recorders.

Only what the importer uses is decoded. Whether a field of a frame that changed over time must be
there (dollars or cents) is decided per frame where its values are read, not here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import attrs
import msgspec

from foldbook.engine.units import MILLISECOND


class Kind(IntEnum):
    """What a message is to the importer; the first four are rows of the book."""

    DELTA = 0
    SNAPSHOT = 1
    LEVEL = 2
    """One level of the snapshot before it."""
    BREAK = 3
    """Made here: messages of the subscription were lost before this point."""
    STATUS = 4
    """A lifecycle frame that changes the status of a market."""
    GRID = 5
    """A lifecycle frame that changes the price grid of a market."""
    TRADE = 6
    START = 7
    """A subscription or connection begins."""
    CONTROL = 8
    """Takes a sequence number, and says nothing about a market."""
    IGNORED = 9
    LOST = 10
    """Made here: a message of the book that was refused."""
    FEE = 11
    """The fees of an event change; as the message of a market: its rates."""
    TERM = 12
    """When a market is due to close, or what settles as YES; see `terms`."""


Ms = Annotated[int, msgspec.Meta(ge=1, le=9 * 10**12)]
"""Milliseconds (or seconds) since 1970, before the year 2256: as ns it fits int64."""
NS_MAX = 9 * 10**18
Ns = Annotated[int, msgspec.Meta(ge=1, le=NS_MAX)]
Wide = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Outcome = Literal["yes", "no"]
Level = tuple[str | int, str | int]


class Delta(msgspec.Struct, gc=False):
    market_ticker: str
    side: Outcome
    price_dollars: str | None = None
    delta_fp: str | None = None
    ts: datetime | None = None
    ts_ms: Ms | None = None
    price: Wide | None = None
    delta: Wide | None = None
    client_order_id: str | None = None


class Snapshot(msgspec.Struct):
    market_ticker: str
    yes_dollars_fp: list[Level] | None = None
    no_dollars_fp: list[Level] | None = None
    yes_dollars: list[Level] | None = None
    no_dollars: list[Level] | None = None
    yes: list[Level] | None = None
    no: list[Level] | None = None


class Trade(msgspec.Struct, gc=False):
    market_ticker: str
    yes_price_dollars: str | None = None
    no_price_dollars: str | None = None
    count_fp: str | None = None
    taker_outcome_side: Outcome | None = None
    taker_side: Outcome | None = None
    is_block_trade: bool = False
    ts_ms: Ms | None = None
    ts: Ms | None = None
    yes_price: Wide | None = None
    no_price: Wide | None = None
    count: Wide | None = None


class Range(msgspec.Struct):
    start: str
    end: str
    step: str


class Terms(msgspec.Struct):
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None


class Lifecycle(msgspec.Struct):
    market_ticker: str
    event_type: str
    result: str | None = None
    settlement_value: str | None = None
    determination_ts: Ms | None = None
    settled_ts: Ms | None = None
    is_deactivated: bool | None = None
    price_ranges: list[Range] | None = None
    close_ts: Ms | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    additional_metadata: Terms | None = None


class EventFee(msgspec.Struct):
    event_ticker: str
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None


class Subscribed(msgspec.Struct):
    sid: Wide = -1
    channel: str = ""
    use_yes_price: bool = False


class Frame(msgspec.Struct, tag_field="type", gc=False, kw_only=True):
    """One frame; those with content for the importer name their kind and have a msg."""

    sid: Wide = -1
    seq: Wide = -1
    kind: ClassVar[int] = Kind.IGNORED


class DeltaFrame(Frame, tag="orderbook_delta", gc=False):
    msg: Delta
    kind: ClassVar[int] = Kind.DELTA


class SnapshotFrame(Frame, tag="orderbook_snapshot"):
    msg: Snapshot
    kind: ClassVar[int] = Kind.SNAPSHOT


class TradeFrame(Frame, tag="trade", gc=False):
    msg: Trade
    kind: ClassVar[int] = Kind.TRADE


class LifecycleFrame(Frame, tag="market_lifecycle_v2"):
    msg: Lifecycle
    kind: ClassVar[int] = Kind.STATUS


class ComboLifecycleFrame(Frame, tag="multivariate_market_lifecycle"):
    msg: Lifecycle
    kind: ClassVar[int] = Kind.STATUS


class EventFeeFrame(Frame, tag="event_fee_update"):
    msg: EventFee
    kind: ClassVar[int] = Kind.FEE


class SubscribedFrame(Frame, tag="subscribed"):
    msg: Subscribed
    kind: ClassVar[int] = Kind.START


class OkFrame(Frame, tag="ok"):
    kind: ClassVar[int] = Kind.CONTROL


class UnsubscribedFrame(Frame, tag="unsubscribed"):
    kind: ClassVar[int] = Kind.CONTROL


def _ignored(tag: str) -> type:
    return msgspec.defstruct(f"Ignored_{tag}", [], bases=(Frame,), tag=tag)


OTHER_TYPES = (
    "error", "ticker", "ticker_v2", "fill", "user_order", "user_orders", "market_position",
    "market_positions", "order_group_updates", "event_lifecycle", "cfbenchmarks_value",
    "pyth_value", "communications", "rfq_created", "rfq_deleted", "quote_created",
    "quote_accepted", "quote_executed", "multivariate_lookup",
)
"""Types of the venue (SPEC 2) that say nothing about a book; any type beyond these is an error."""

if TYPE_CHECKING:
    AnyFrame = Frame
else:
    AnyFrame = Union[
        DeltaFrame, SnapshotFrame, TradeFrame, LifecycleFrame, ComboLifecycleFrame, EventFeeFrame,
        SubscribedFrame, OkFrame, UnsubscribedFrame, *(_ignored(tag) for tag in OTHER_TYPES),
    ]


class Line(msgspec.Struct, gc=False):
    """A recorder that stamps milliseconds: {"recv_ms", "event"}."""

    recv_ms: Ms
    event: AnyFrame


class StreamLine(msgspec.Struct, gc=False):
    """A recorder that stamps milliseconds: {"received_ms", "frame"}."""

    recv_ms: Ms = msgspec.field(name="received_ms")
    event: AnyFrame = msgspec.field(name="frame")


class RawLine(msgspec.Struct, gc=False):
    """A recorder that keeps the frame as text: {"recv_ts_ns", "raw"}."""

    recv_ts_ns: Ns
    raw: str


class PayloadLine(msgspec.Struct, gc=False):
    """A document that lists examples: {"payload": frame}, without receive times."""

    payload: AnyFrame


class CentsDelta(Delta, gc=False):
    """The delta of a recorder that adds whole cents, rounded, to the venue's fields."""

    price_cents: Wide | None = None


class Part(
    msgspec.Struct,
    tag_field="event_type",
    kw_only=True,
    gc=False,
    rename={"recv": "local_recv_ns", "seq": "sequence_number", "msg": "payload_json"},
):
    """A recorder that splits its log by type and names each part; each market has its own seq."""

    recv: Ns
    market_ticker: str
    seq: Wide | None = None
    kind: ClassVar[int] = Kind.IGNORED


class DeltaPart(Part, tag="orderbook_delta", gc=False):
    msg: CentsDelta
    kind: ClassVar[int] = Kind.DELTA


class SnapshotPart(Part, tag="orderbook_snapshot"):
    msg: Snapshot
    kind: ClassVar[int] = Kind.SNAPSHOT


class TradePart(Part, tag="trade", gc=False):
    msg: Trade
    kind: ClassVar[int] = Kind.TRADE


class ConnectedPart(Part, tag="ws_connected"):
    kind: ClassVar[int] = Kind.START


def _ignored_part(tag: str) -> type:
    return msgspec.defstruct(f"Ignored_{tag}", [], bases=(Part,), tag=tag)


OTHER_PARTS = ("ticker", "market_rotated", "watch_market", "ws_subscribed", "ws_disconnected",
               "ws_error", "book_checkpoint")

if TYPE_CHECKING:
    AnyPart = Part
else:
    AnyPart = Union[
        DeltaPart, SnapshotPart, TradePart, ConnectedPart,
        *(_ignored_part(tag) for tag in OTHER_PARTS),
    ]


@attrs.frozen
class Dialect:
    """How one recorder wraps frames.

    unwrap: from decoded lines to (receive times in units of recv_unit ns, or None; frames).
    parts: the frames are `Part`s, whose seq counts per market and connection, without holes.
    """

    name: str
    decoder: msgspec.json.Decoder[Any]
    unwrap: Callable[[list[Any]], tuple[list[int] | None, list[Any]]]
    recv_unit: int = 1
    parts: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Decoders cannot be pickled, and another process has the same dialects.
        return _named, (self.name,)


_FRAME = msgspec.json.Decoder(AnyFrame)


def _raw(lines: list[RawLine]) -> tuple[list[int], list[Any]]:
    return [line.recv_ts_ns for line in lines], [_FRAME.decode(line.raw) for line in lines]


def _stamped(lines: list[Any]) -> tuple[list[int], list[Any]]:
    return [line.recv_ms for line in lines], [line.event for line in lines]


LINES = Dialect("lines", msgspec.json.Decoder(Line), _stamped, recv_unit=MILLISECOND)
STREAM = Dialect("stream", msgspec.json.Decoder(StreamLine), _stamped, recv_unit=MILLISECOND)
RAW = Dialect("raw", msgspec.json.Decoder(RawLine), _raw)
BARE = Dialect("bare", _FRAME, lambda frames: (None, frames))
PAYLOADS = Dialect(
    "payloads", msgspec.json.Decoder(PayloadLine),
    lambda lines: (None, [line.payload for line in lines]),
)
PARTS = Dialect(
    "parts", msgspec.json.Decoder(AnyPart),
    lambda parts: ([part.recv for part in parts], parts), parts=True,
)

_BY_KEY = (
    ("event", LINES), ("frame", STREAM), ("raw", RAW), ("payload_json", PARTS),
    ("payload", PAYLOADS), ("type", BARE),
)


def _named(name: str) -> Dialect:
    return next(dialect for _, dialect in _BY_KEY if dialect.name == name)


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for text that is not what it should be, or is no text."""


def fields_of(line: bytes, dialect: Dialect) -> dict[str, Any]:
    """Return all fields of the message in a line that has been decoded, known or not.

    Raises one of UNREADABLE if a field that nobody looked at is no text.
    """
    key = next(key for key, each in _BY_KEY if each is dialect)
    record = msgspec.json.decode(line)
    if dialect is not BARE:
        record = msgspec.json.decode(record[key]) if dialect is RAW else record[key]
    fields: dict[str, Any] = record if dialect.parts else record["msg"]
    return fields


def dialect_of(record: object) -> Dialect | None:
    """Return the dialect of one decoded line, told by the key that holds the frame."""
    if isinstance(record, dict):
        for key, dialect in _BY_KEY:
            if key in record:
                return dialect
    return None
