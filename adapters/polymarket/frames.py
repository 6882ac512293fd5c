"""The messages of Polymarket's market channel as typed structs, and the hash of a book.

Only what the importer uses is decoded. Sizes are absolute: a level is what the last message says.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

HASHED = ("min_order_size", "tick_size", "neg_risk", "last_trade_price")
"""Fields that the hash covers and that the venue often leaves out of a book message."""

Time = str | int
"""ms since 1970."""


class Level(msgspec.Struct):
    price: str
    size: str


class Frame(msgspec.Struct, tag_field="event_type"):
    market: str
    timestamp: Time


class Book(Frame, tag="book"):
    asset_id: str
    bids: list[Level]
    asks: list[Level]
    hash: str | None = None
    min_order_size: str | None = None
    tick_size: str | None = None
    neg_risk: bool | None = None
    last_trade_price: str | None = None


class Change(msgspec.Struct):
    asset_id: str
    price: str
    size: str
    side: Literal["BUY", "SELL"]
    best_bid: str | None = None
    best_ask: str | None = None


class PriceChange(Frame, tag="price_change"):
    price_changes: list[Change]


class LastTrade(Frame, tag="last_trade_price"):
    asset_id: str
    price: str
    size: str
    side: Literal["BUY", "SELL"]
    transaction_hash: str | None = None


class TickSize(Frame, tag="tick_size_change"):
    asset_id: str
    new_tick_size: str


class Resolved(Frame, tag="market_resolved"):
    winning_asset_id: str


class NewMarket(Frame, tag="new_market"):
    assets_ids: list[str]
    outcomes: list[str]
    slug: str | None = None


class BestBidAsk(Frame, tag="best_bid_ask"):
    """Says nothing that a book does not."""


AnyFrame = Book | PriceChange | LastTrade | TickSize | Resolved | NewMarket | BestBidAsk


class Envelope(msgspec.Struct):
    """What recorders wrap around a frame, or a list of frames: one of three pairs of keys."""

    recv_ms: int | None = None
    event: AnyFrame | list[AnyFrame] | None = None
    received_ms: int | None = None
    frame: AnyFrame | list[AnyFrame] | None = None
    recv_ts_ns: int | None = None
    raw: str | None = None


ENVELOPES = msgspec.json.Decoder(Envelope)
FRAMES = msgspec.json.Decoder(AnyFrame | list[AnyFrame])
KEEPALIVES = ("PING", "PONG", "")
"""Texts that the connection exchanges beside frames."""


def hash_of(book: Book) -> str | None:
    """Return the SHA-1 that the venue states for a book; None if the message lacks a part of it.

    It is taken over compact JSON with the keys in this order, levels as they stand in the message
    (SPEC 9).
    """
    if any(getattr(book, name) is None for name in HASHED):
        return None
    summary = {
        "market": book.market,
        "asset_id": book.asset_id,
        "timestamp": str(book.timestamp),
        "hash": "",
        "bids": [{"price": level.price, "size": level.size} for level in book.bids],
        "asks": [{"price": level.price, "size": level.size} for level in book.asks],
        **{name: getattr(book, name) for name in HASHED},
    }
    return hashlib.sha1(msgspec.json.encode(summary), usedforsecurity=False).hexdigest()
