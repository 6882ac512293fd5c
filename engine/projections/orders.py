"""View of OrderManager: own open orders."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

from ..kernels.layout import (
    ACCOUNT,
    AHEAD,
    CLIENT,
    EXPIRES,
    FLAGS,
    FLIGHT_COUNT,
    FLIGHT_WORDS,
    FLIGHTS,
    HEAD_BUY,
    LEFT,
    NEXT,
    NUMBER,
    OF_ACCOUNT,
    OF_CLIENT,
    OF_EXPIRES,
    OF_FLAGS,
    OF_MARKET,
    OF_ORDER,
    OF_PRICE,
    OF_QTY,
    OF_SIDE,
    OF_TIF,
    ORDER_WORDS,
    ORDERS,
    OWNER,
    RANK,
    REQUEST,
    TICK,
    TIF,
    TOTAL,
)
from ..schema import KEEP, JournalKind, OrderFlag, Side, TimeInForce
from ..units import PRICE_ONE
from .markets import MarketsView

_NUMBER_BITS = 32


def order_id(market: int, number: int) -> int:
    """Return the id of an order from its market's index and its number there.

    Numbers alone are no ids, so that one is never taken for the other.
    """
    return market + 1 << _NUMBER_BITS | number


def market_and_number(id: int) -> tuple[int, int]:
    """Return (market index, number within the market) of an order id."""
    return (id >> _NUMBER_BITS) - 1, id & (1 << _NUMBER_BITS) - 1


class Order(NamedTuple):
    """An own open order, in YES terms. Units: price $0.0001, quantities 0.01 contract, time ns.

    ahead is -1 while the order is on its way: sent, and not known to be accepted or refused.
    """

    id: int
    market: str
    side: Side
    price: int
    qty: int
    left: int
    ahead: int
    expires: int
    client_id: int
    tif: TimeInForce
    flags: OrderFlag

    @property
    def filled(self) -> int:
        """What was filled so far, 0.01 contract."""
        return self.qty - self.left


class OrdersView(MarketsView):
    """Own orders of all markets that are open, or on their way and may be."""

    __slots__ = ()

    def open(self, market: str | int | None = None) -> list[Order]:
        """Return open orders of one market or all: bids, then asks, each best first, and behind
        them those on their way, in the order of sending."""
        markets = range(len(self._bases)) if market is None else (self._index(market),)
        memory = self._memory
        orders: list[Order] = []
        for index in markets:
            head = self._bases[index] + HEAD_BUY
            for side in (0, 1):
                slot = memory[head + side]
                while slot:
                    at = memory[self._bases[index] + ORDERS] + ORDER_WORDS * slot
                    if memory[at + OWNER] == memory[ACCOUNT]:
                        orders.append(self._order(index, side, at))
                    slot = memory[at + NEXT]
                if memory[FLIGHT_COUNT]:
                    orders += self._on_their_way(index, side)
        return orders

    def standing(self, market: str | int, side: Side) -> Order | None:
        """Return the first own order of a side that stays, as it will be once all that is on its
        way to it has arrived; None without one.

        An order that a cancel is on its way to does not stay, nor does an IOC or FOK order on its
        way. `kernels.codecs.own_order` is the same for compiled callers.
        """
        for order in self.open(market):
            if order.side is side and not (order.ahead < 0 and order.tif is not TimeInForce.GTC):
                latest = self._latest(order)
                if latest is not None:
                    return latest
        return None

    def _latest(self, order: Order) -> Order | None:
        """Return an order as what is on its way to it leaves it; None if that is a cancel."""
        memory = self._memory
        market, number = market_and_number(order.id)
        price, qty = order.price, order.qty
        for flight in range(memory[FLIGHT_COUNT]):
            at = memory[FLIGHTS] + FLIGHT_WORDS * flight
            if memory[at + OF_ORDER] != number or memory[at + OF_MARKET] != market:
                continue
            if memory[at + REQUEST] == JournalKind.CANCEL_REQUESTED:
                return None
            if memory[at + REQUEST] == JournalKind.AMEND_REQUESTED:
                price = memory[at + OF_PRICE] if memory[at + OF_PRICE] != KEEP else price
                qty = memory[at + OF_QTY] if memory[at + OF_QTY] != KEEP else qty
        return order._replace(price=price, qty=qty, left=order.left + qty - order.qty)

    def count(self, market: str | int) -> int:
        """Return the number of open orders of a market."""
        return len(self.open(market))

    def get(self, id: int) -> Order | None:
        """Return an open order by its id; None if it is not open (any more)."""
        market, _ = market_and_number(id)
        if not 0 <= market < len(self._bases):
            return None
        return next((order for order in self.open(market) if order.id == id), None)

    def _on_their_way(self, market: int, side: int) -> Iterator[Order]:
        memory = self._memory
        for flight in range(memory[FLIGHT_COUNT]):
            at = memory[FLIGHTS] + FLIGHT_WORDS * flight
            if (
                memory[at + REQUEST] != JournalKind.SUBMITTED
                or memory[at + OF_ACCOUNT] != memory[ACCOUNT]
                or memory[at + OF_MARKET] != market
                or memory[at + OF_SIDE] != side
            ):
                continue
            yield Order(
                order_id(market, memory[at + OF_ORDER]),
                self._tickers[market],
                _SIDES[side],
                memory[at + OF_PRICE],
                memory[at + OF_QTY],
                memory[at + OF_QTY],
                -1,
                memory[at + OF_EXPIRES],
                memory[at + OF_CLIENT],
                _TIFS[memory[at + OF_TIF]],
                _flags(memory[at + OF_FLAGS]),
            )

    def _order(self, market: int, side: int, at: int) -> Order:
        memory = self._memory
        price = memory[at + RANK] * memory[self._bases[market] + TICK]
        return Order(
            order_id(market, memory[at + NUMBER]),
            self._tickers[market],
            _SIDES[side],
            PRICE_ONE - price if side else price,
            memory[at + TOTAL],
            memory[at + LEFT],
            memory[at + AHEAD],
            memory[at + EXPIRES],
            memory[at + CLIENT],
            _TIFS[memory[at + TIF]],
            _flags(memory[at + FLAGS]),
        )

    def __len__(self) -> int:
        return len(self.open())


@functools.cache
def _flags(bits: int) -> OrderFlag:
    return OrderFlag(bits)


_SIDES = tuple(Side)
_TIFS = tuple(TimeInForce)
