"""The seam to live trading: the one small protocol that strategies and environments see.

A strategy is handed something that trades, never a state. The simulated order manager
(`simulation.Simulation`) is the first gateway; a live one fits behind the same names.
`check_gateway` is the contract that any of them can be run through.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Protocol, runtime_checkable

import numpy as np

from .errors import FoldbookError
from .projections.book import BookView
from .projections.orders import OrdersView
from .projections.positions import PositionsView
from .schema import OrderFlag, Outcome, Reason, SelfTrade, Side, TimeInForce
from .units import PRICE_ONE


@runtime_checkable
class Gateway(Protocol):
    """What a strategy may see and do. Ids are ints; units are those of `units`."""

    @property
    def now(self) -> int:
        """The time, ns."""

    @property
    def orders(self) -> OrdersView:
        """Own open orders."""

    @property
    def positions(self) -> PositionsView:
        """Cash and positions."""

    def book(self, market: str | int, outcome: Outcome = Outcome.YES) -> BookView:
        """Return the visible book of a market."""

    def submit(
        self,
        market: str | int,
        side: Side,
        price: int | None,
        qty: int,
        outcome: Outcome = Outcome.YES,
        tif: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
        expires: int | None = None,
        client_id: int | None = None,
        *,
        cancel_on_pause: bool = False,
        self_trade: SelfTrade = SelfTrade.CANCEL_INCOMING,
        group: int | None = None,
    ) -> int:
        """Submit an order and return its id; a refusal is an event, not an exception."""

    def amend(
        self,
        id: int,
        price: int | None = None,
        qty: int | None = None,
        outcome: Outcome = Outcome.YES,
        *,
        expires: int | None = None,
    ) -> None:
        """Change the price, the total quantity or the expiry of an order; the price is one of
        `outcome`."""

    def decrease(self, id: int, by: int | None = None, to: int | None = None) -> None:
        """Take some of what an order has open, or all but some; it keeps its place."""

    def cancel(self, id: int) -> None:
        """Cancel an order."""

    def cancel_all(self, market: str | int | None = None) -> None:
        """Cancel all open orders, of one market or all."""

    def timer(self, ts: int) -> None:
        """Ask for on_timer at a time."""

    def would_reject(
        self,
        market: str | int,
        side: Side,
        price: int | None,
        qty: int,
        outcome: Outcome = Outcome.YES,
        tif: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
        expires: int | None = None,
        client_id: int | None = None,
        *,
        cancel_on_pause: bool = False,
        self_trade: SelfTrade = SelfTrade.CANCEL_INCOMING,
        group: int | None = None,
    ) -> Reason | None:
        """Return why `submit` would be refused now, or None."""


def order_flags(
    post_only: bool, reduce_only: bool, cancel_on_pause: bool, self_trade: SelfTrade
) -> int:
    """Return the OrderFlag bits of an order's switches.

    Raises TypeError for one that is no bool, ValueError for a self_trade that is none.
    """
    if type(post_only) is type(reduce_only) is type(cancel_on_pause) is bool:
        flags = _FLAGS.get((post_only, reduce_only, cancel_on_pause, self_trade))
        if flags is not None:
            return flags
    return _FLAGS[
        switch("post_only", post_only),
        switch("reduce_only", reduce_only),
        switch("cancel_on_pause", cancel_on_pause),
        SelfTrade(self_trade),
    ]


_FLAGS = {
    (post, reduce, on_pause, self_trade): int(
        OrderFlag.POST_ONLY * post
        | OrderFlag.REDUCE_ONLY * reduce
        | OrderFlag.CANCEL_ON_PAUSE * on_pause
        | OrderFlag.CANCEL_RESTING * (self_trade is SelfTrade.CANCEL_RESTING)
    )
    for post, reduce, on_pause in product((False, True), repeat=3)
    for self_trade in SelfTrade
}
"""An order costs a lookup, not arithmetic of flags."""


def switch(name: str, value: bool) -> bool:
    """Return a bool, NumPy's included. Raises TypeError, with the name, for anything else."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name}: {value!r} is a {type(value).__name__}, not a bool")


def check_gateway(gateway: Gateway, market: str, *, settle: Callable[[], None]) -> None:
    """Run any gateway through the contract that strategies rely on.

    The market must be open with a visible bid above one tick and an ask, own no orders or position,
    and have cash for one contract. `settle` is called to let the gateway's answers arrive. Raises
    AssertionError that names the broken promise.
    """

    def promise(kept: bool, text: str) -> None:
        if not kept:
            raise AssertionError(f"gateway: {text}")

    promise(isinstance(gateway, Gateway), "it lacks a method of the protocol")
    book = gateway.book(market)
    promise(0 < book.best_bid < book.best_ask < PRICE_ONE, "the book is not two-sided")
    mirrored = gateway.book(market, Outcome.NO)
    promise(mirrored.best_ask == PRICE_ONE - book.best_bid, "a NO ask is one less the YES bid")
    cash, available = gateway.positions.cash, gateway.positions.available

    price = book.best_bid
    resting = gateway.submit(market, Side.BUY, price=price, qty=100, post_only=True, client_id=7)
    settle()
    order = gateway.orders.get(resting)
    promise(order is not None, "an accepted order rests")
    assert order is not None
    promise((order.price, order.left, order.client_id) == (price, 100, 7), "it rests as sent")
    promise(gateway.positions.available == available - price * 100, "it reserves its cost")
    gateway.amend(resting, qty=50)
    settle()
    order = gateway.orders.get(resting)
    promise(order is not None and order.left == 50, "an amend sets the total")
    gateway.cancel(resting)
    settle()
    promise(gateway.orders.get(resting) is None, "a canceled order is gone")
    promise(gateway.positions.available == available, "its collateral is free again")
    gateway.cancel(resting)
    settle()
    promise(gateway.positions.cash == cash, "a second cancel changes nothing and does not raise")

    refused = gateway.would_reject(market, Side.BUY, price=0, qty=100)
    promise(refused is Reason.INVALID_PRICE, "a price of 0 is refused, and it says so beforehand")
    gateway.submit(market, Side.BUY, price=0, qty=100)
    settle()
    promise(not gateway.orders.open(market), "a refused order does not rest")

    twin = gateway.submit(market, Side.SELL, PRICE_ONE - price, 100, outcome=Outcome.NO)
    settle()
    order = gateway.orders.get(twin)
    promise(
        order is not None and (order.side, order.price) == (Side.BUY, price),
        "selling NO at one less p rests as buying YES at p",
    )
    gateway.cancel_all(market)
    settle()
    promise(not gateway.orders.open(), "cancel_all leaves nothing open")

    gateway.submit(
        market, Side.BUY, price=gateway.book(market).best_ask, qty=100, tif=TimeInForce.IOC
    )
    settle()
    promise(gateway.positions.qty(market) >= 0, "buying YES does not make a NO position")
    promise(not gateway.orders.open(market), "an IOC order never rests")
    try:
        gateway.cancel(1 << 60)
    except FoldbookError:
        pass
    else:
        promise(False, "an id that was never issued raises")
