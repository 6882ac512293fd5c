"""What one market and its own orders are at one moment, in plain objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from foldbook.engine.schema import (
    NO_MARKET,
    NO_TIME,
    TAPE_DTYPE,
    CauseKind,
    MarketStatus,
    Side,
    TapeFlag,
)
from foldbook.engine.units import PRICE_ONE

from .book import Ladder, leg_cost

UNKNOWN_AHEAD = 2**62
"""The queue position of an order after a gap: nothing is known until the next snapshot."""
ACTIVE = (MarketStatus.OPEN, MarketStatus.PAUSED)

Cause = tuple[int, int, int]
"""(CauseKind, market, row within that market)."""
FROM_START: Cause = (CauseKind.START, NO_MARKET, 0)
FROM_CLOCK: Cause = (CauseKind.TIMER, NO_MARKET, 0)


class TapeRow(NamedTuple):
    """One row of the tape; the fields are those of TAPE_DTYPE, in its order."""

    ts: int
    recv: int
    qty: int
    ahead: int
    price: int
    market: int
    kind: int
    side: int
    flags: int


assert TapeRow._fields == TAPE_DTYPE.names


@dataclass
class Order:
    """One order. `place` orders the orders at one price: earlier places fill first."""

    number: int
    side: int
    price: int
    qty: int
    tif: int
    flags: int
    expires: int
    client_id: int
    group: int = 0
    arrived: bool = False
    left: int = 0
    filled: int = 0
    canceled: int = 0
    ahead: int = 0
    guessed: int = 0
    carry: int = 0
    place: int = 0
    account: int = 0

    @property
    def priority(self) -> tuple[int, int]:
        """Sort key: better price first, then earlier place."""
        return (-self.price if self.side == Side.BUY else self.price, self.place)


@dataclass
class Recorded:
    """What one market is for all accounts: its book, its rules, and who stands in line.

    `pause` holds TapeFlag bits; `payout` is what a YES contract paid, 0 before and where void.
    `issued` are the orders of all accounts, `desks` what each account has in the market.
    """

    index: int
    tick: int
    taker_ppm: int
    maker_ppm: int = 0
    status: int = MarketStatus.OPEN
    closes_at: int = NO_TIME
    pause: int = 0
    trusted: bool = False
    has_traded: bool = False
    restore_at: int = NO_TIME
    last_at: int = 0
    mid2: int = PRICE_ONE
    centre_step: int = 0
    edge_step: int = 0
    edge_width: int = 0
    payout: int = 0
    tape_rows: int = 0
    journal_rows: int = 0
    places: int = 0
    issued: list[Order] = field(default_factory=list)
    book: dict[int, Ladder] = field(default_factory=lambda: {side: Ladder(side) for side in Side})
    desks: list[MarketState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.centre_step = self.edge_step = self.tick


@dataclass
class MarketState:
    """One market as one account has it: what it holds and has open there, and all of `Recorded`,
    which reads and writes like a field of its own."""

    recorded: Recorded
    account: int = 0
    position: int = 0
    cost: int = 0
    realised: int = 0
    fees: int = 0
    reserved: int = 0
    settled_position: int = 0
    settled_cost: int = 0
    settled_cash: int = 0
    settled_fee: int = 0
    open: dict[int, Order] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recorded.desks.append(self)

    @property
    def inactive(self) -> bool:
        """Say whether the market has closed, or has not begun."""
        return self.status not in ACTIVE or self.tape_rows == 0

    @property
    def exchange_paused(self) -> bool:
        """Say whether the whole exchange stands still."""
        return self.status == MarketStatus.PAUSED and bool(self.pause & TapeFlag.EXCHANGE)

    @property
    def halted(self) -> bool:
        """Say whether the market takes no orders for the moment."""
        return self.status == MarketStatus.PAUSED or not self.trusted

    @property
    def in_flight(self) -> int:
        """How many orders of this account are on their way to this market."""
        return sum(not order.arrived for order in self.issued if order.account == self.account)

    def queue(self, side: int) -> list[Order]:
        """Return the open orders of a side of this account, first to fill first."""
        orders = [order for order in self.open.values() if order.side == side]
        return sorted(orders, key=lambda order: order.priority)

    def line(self, side: int) -> list[Order]:
        """Return the open orders of a side of all accounts, first to fill first."""
        orders = [
            order for desk in self.desks for order in desk.open.values() if order.side == side
        ]
        return sorted(orders, key=lambda order: order.priority)

    def others(self, side: int) -> list[Order]:
        """Return those of them that are not this account's."""
        return [order for order in self.line(side) if order.number not in self.open]

    def everybody(self) -> list[Order]:
        """Return the open orders of all accounts, by number."""
        orders = [order for desk in self.desks for order in desk.open.values()]
        return sorted(orders, key=lambda order: order.number)

    def capacity(self, side: int) -> int:
        """Return how much of the position an order of `side` could close."""
        return closable(self.position, side)

    def on_grid(self, price: int) -> bool:
        """Say whether an order may be priced so."""
        if not 0 < price < PRICE_ONE:
            return False
        edge = price < self.edge_width or price > PRICE_ONE - self.edge_width
        return bool(price % (self.edge_step if edge else self.centre_step) == 0)

    def next_place(self) -> int:
        """Return a place behind all that were given out."""
        self.places += 1
        return self.places


def _as_own(name: str) -> property:
    """Return a field of `Recorded` as a field of `MarketState`."""

    def write(market: MarketState, value: Any) -> None:
        setattr(market.recorded, name, value)

    return property(attrgetter(f"recorded.{name}"), write)


for _name in Recorded.__dataclass_fields__:
    setattr(MarketState, _name, _as_own(_name))


@dataclass
class Burst:
    """What is remembered between the rows of one burst."""

    has_snapshot: bool = False
    has_crossing_quote: bool = False


def closable(position: int, side: int) -> int:
    """Return how much of `position` an order of `side` could close."""
    closes = position < 0 if side == Side.BUY else position > 0
    return abs(position) if closes else 0


def signed(side: int, qty: int) -> int:
    """Return what a fill adds to a position."""
    return qty if side == Side.BUY else -qty


def sure_to_pay(positions: Iterable[int], open_payout: int) -> int:
    """Return what the NO positions among `positions` pay in the worst case, $0.000001.

    open_payout: the most that one YES contract of each of these markets can pay together, $0.0001.
    """
    held = [max(0, -position) for position in positions]
    return min(PRICE_ONE * sum(held) - open_payout * loses for loses in held)


def collateral(position: int, orders: Iterable[Order]) -> int:
    """Return what `orders` reserve in a market with `position`: R of section 6, $0.000001."""
    total = 0
    by_priority = sorted(orders, key=lambda order: order.priority)
    for side in Side:
        capacity = closable(position, side)
        for order in by_priority:
            if order.side == side:
                closing = min(capacity, order.left)
                capacity -= closing
                total += leg_cost(side, order.price) * (order.left - closing)
    return total


def market_dict(market: MarketState) -> dict[str, Any]:
    """Return one market as nested dicts and lists of plain ints."""
    return {
        "status": int(market.status),
        "pause": int(market.pause),
        "trusted": int(market.trusted),
        "restore_at": market.restore_at,
        "closes_at": market.closes_at,
        "bids": dict(market.book[Side.BUY].qty),
        "asks": dict(market.book[Side.SELL].qty),
        "taken": {
            (int(side), price): taken
            for side, ladder in market.book.items()
            for price, taken in sorted(ladder.taken.items())
        },
        "visible_bid": market.book[Side.BUY].visible_best,
        "visible_ask": market.book[Side.SELL].visible_best,
        "mid2": market.mid2,
        "position": market.position,
        "cost": market.cost,
        "realised": market.realised,
        "fees": market.fees,
        "reserved": market.reserved,
        "settled": (
            market.settled_position,
            market.settled_cost,
            market.settled_cash,
            market.settled_fee,
        ),
        "orders": {
            int(side): [order_tuple(order) for order in market.queue(side)] for side in Side
        },
    }


def order_tuple(order: Order) -> tuple[int, ...]:
    """Return one open order as plain ints."""
    return (
        order.number, int(order.side), order.price, order.qty, order.left, order.ahead,
        order.expires, int(order.flags), int(order.tif),
        order.guessed, order.carry, order.group,
    )  # fmt: skip
