"""The orders of one market by their ids, oldest first at each price: for recordings that name them.

From them come the messages of the market (`messages`), each decrease with what stood ahead of it.
Orders that nobody saw arrive are kept as one part of their level that has no id. Nothing here knows
a format, and nothing here corrects what a recording says: a caller asks first.
"""

from __future__ import annotations

import numpy as np

from foldbook.engine.schema import Side, TapeFlag
from foldbook.engine.units import PRICE_ONE

from .messages import MESSAGE_DTYPE, MessageKind
from .windows import AHEAD_MAX

_GUESSED, _JOINED = int(TapeFlag.GUESSED), int(TapeFlag.JOINED)
_SNAPSHOT, _LEVEL = int(MessageKind.SNAPSHOT), int(MessageKind.LEVEL)
_CHANGE, _TRADE, _LOST = int(MessageKind.CHANGE), int(MessageKind.TRADE), int(MessageKind.LOST)

Order = int | str
"""Id of an order; no int of a recording is negative."""
At = tuple[int, int, int, int]
"""When and where a message was: ts and recv in ns, row and file, as in MESSAGE_DTYPE."""


class Queue:
    """The orders of one level, oldest first.

    sizes: by id; a negative number is a part whose orders nobody saw arrive. is_doubtful: orders
    left that nobody saw leave, so that what stands ahead of another is a guess. was_hidden: there
    was a time when the recording did not show the level.
    """

    __slots__ = ("is_doubtful", "sizes", "total", "was_hidden")

    def __init__(self) -> None:
        self.sizes: dict[Order, int] = {}
        self.total = 0
        self.is_doubtful = False
        self.was_hidden = False

    def ahead(self, order: Order) -> int:
        """Return what stands before an order of the level."""
        before = 0
        for each, size in self.sizes.items():
            if each == order:
                return before
            before += size
        raise KeyError(order)


class Orders:
    """The resting orders of one market; prices in $0.0001, quantities in 0.01 contract."""

    def __init__(self) -> None:
        self.levels: tuple[dict[int, Queue], dict[int, Queue]] = ({}, {})
        self._places: dict[Order, tuple[int, int, int]] = {}
        self._best = [0, PRICE_ONE]
        self._arrivals = 0

    def place(self, order: Order) -> tuple[int, int] | None:
        """Return (side, price) of an order with an id, or None if it does not rest."""
        found = self._places.get(order)
        return None if found is None else found[:2]

    def size(self, order: Order) -> int:
        """Return how much of a resting order is left."""
        side, price, _ = self._places[order]
        return self.levels[side][price].sizes[order]

    def level(self, side: int, price: int) -> int:
        """Return the quantity of a level."""
        queue = self.levels[side].get(price)
        return queue.total if queue else 0

    def unseen(self, side: int, price: int) -> int:
        """Return the largest part of a level whose orders nobody saw arrive."""
        queue = self.levels[side].get(price)
        return max((size for order, size in queue.sizes.items()
                    if isinstance(order, int) and order < 0), default=0) if queue else 0

    def best(self, side: int) -> int:
        """Return the best price of a side; 0 or one dollar if it is empty."""
        if self._best[side] not in self.levels[side]:
            found = self.levels[side]
            self._best[side] = (max(found, default=0) if side == Side.BUY
                                else min(found, default=PRICE_ONE))
        return self._best[side]

    def add(self, side: int, price: int, order: Order | None, qty: int) -> None:
        """Put an order (None: orders that nobody saw arrive) at the back of a level."""
        queue = self.levels[side].get(price)
        if queue is None:
            queue = self.levels[side][price] = Queue()
            best = self._best[side]
            if price > best if side == Side.BUY else price < best:
                self._best[side] = price
        self._arrivals += 1
        if order is None:
            order = -self._arrivals
        else:
            self._places[order] = (side, price, self._arrivals)
        queue.sizes[order] = qty
        queue.total += qty

    def take(self, order: Order, qty: int) -> tuple[int, bool]:
        """Take a quantity from an order; return (what stood ahead of it, whether that is a guess).

        An order that shrinks keeps its place.
        """
        side, price, _ = self._places[order]
        queue = self.levels[side][price]
        ahead = queue.ahead(order)
        self._shrink(queue, order, qty)
        self._settle(side, price, queue)
        return ahead, queue.is_doubtful

    def take_unseen(self, side: int, price: int, qty: int) -> int:
        """Take a quantity from a level, of an order that nobody saw arrive; return a guess of what
        stood ahead of it.

        It comes out of the oldest such part that is large enough, and counts as its back. Where
        there is none, orders left that nobody saw leave: the newest are taken to be gone.
        """
        queue = self.levels[side][price]
        before = 0
        for order, size in queue.sizes.items():
            before += size
            if isinstance(order, int) and order < 0 and size >= qty:
                self._shrink(queue, order, qty)
                self._settle(side, price, queue)
                return before - qty
        queue.is_doubtful = True
        ahead = queue.total - qty
        for order in reversed(list(queue.sizes)):
            part = min(queue.sizes[order], qty)
            self._shrink(queue, order, part)
            qty -= part
            if not qty:
                break
        self._settle(side, price, queue)
        return ahead

    def forget(self, order: Order) -> None:
        """Forget the id of an order: what is left of it becomes a part that nobody saw arrive."""
        side, price, arrival = self._places.pop(order)
        queue = self.levels[side][price]
        queue.sizes = {(-arrival if each == order else each): size
                       for each, size in queue.sizes.items()}

    def clear(self) -> None:
        """Forget every order."""
        for levels in self.levels:
            levels.clear()
        self._places.clear()
        self._best = [0, PRICE_ONE]

    @property
    def is_crossed(self) -> bool:
        """Whether a bid stands at or above an ask."""
        return 0 < self.best(Side.BUY) >= self.best(Side.SELL)

    def uncross(self) -> int:
        """Forget orders until the book is not crossed; return how many went.

        Of two levels that cross, the one with the newest order is true: the venue would have
        matched it with the other, had that still been there.
        """
        gone = 0
        while self.is_crossed:
            newest = [max(map(self._arrival, self.levels[side][self.best(side)].sizes))
                      for side in Side]
            side = Side.SELL if newest[Side.BUY] > newest[Side.SELL] else Side.BUY
            queue = self.levels[side].pop(self.best(side))
            gone += len(queue.sizes)
            for order in queue.sizes:
                self._places.pop(order, None)
        return gone

    def _arrival(self, order: Order) -> int:
        if order in self._places:
            return self._places[order][2]
        assert isinstance(order, int)
        return -order

    def _shrink(self, queue: Queue, order: Order, qty: int) -> None:
        left = queue.sizes[order] - qty
        queue.total -= qty
        if left:
            queue.sizes[order] = left
        else:
            del queue.sizes[order]
            self._places.pop(order, None)

    def _settle(self, side: int, price: int, queue: Queue) -> None:
        if not queue.sizes:
            del self.levels[side][price]


class OrderFeed:
    """Changes the orders of a market and writes down what its book says of it, as messages.

    Times are `At`. Nothing of the book is written before the first `show`, and none after `lose`.
    """

    def __init__(self) -> None:
        self.orders = Orders()
        self.is_lost = True
        """Whether the book waits for `show`."""
        self.out_of_turn = 0
        """Trades so far that took from an order while another stood ahead of it."""
        self._values: list[tuple[int, ...]] = []

    def arrive(self, at: At, side: int, price: int, order: Order | None, qty: int) -> None:
        """An order (None: orders that nobody saw arrive) comes to rest."""
        self.orders.add(side, price, order, qty)
        self._write(at, _CHANGE, side, price, qty)

    def leave(self, at: At, order: Order, qty: int) -> None:
        """An order, or a part of it, goes."""
        place = self.orders.place(order)
        assert place is not None
        ahead, is_guess = self.orders.take(order, qty)
        self._write(at, _CHANGE, *place, -qty, ahead, _GUESSED * is_guess)

    def leave_unseen(self, at: At, side: int, price: int, qty: int) -> None:
        """An order that nobody saw arrive goes, or a part of it."""
        ahead = self.orders.take_unseen(side, price, qty)
        self._write(at, _CHANGE, side, price, -qty, ahead, _GUESSED)

    def trade(self, at: At, traded_at: At, side: int, price: int, order: Order | None,
              qty: int) -> None:
        """An order (None: one nobody saw arrive) is taken from by a trade. side: the maker's."""
        if order is None:
            self.orders.take_unseen(side, price, qty)
        else:
            ahead, is_guess = self.orders.take(order, qty)
            self.out_of_turn += ahead > 0 and not is_guess
        if self.is_lost:
            self.print_trade(traded_at, side, price, qty)
            return
        self._write(traded_at, _TRADE, side, price, qty, 0, _JOINED)
        self._write(at, _CHANGE, side, price, -qty)

    def print_trade(self, at: At, side: int, price: int, qty: int, flags: int = 0) -> None:
        """A trade that no resting order of the book felt."""
        self._values.append((at[0], at[1], qty, at[2], price, 0, 0, at[3], _TRADE, side, flags))

    def tell(self, at: At, kind: MessageKind, qty: int, flags: int = 0) -> None:
        """Write a message about the market itself: a STATUS or FEE."""
        self._values.append((at[0], at[1], qty, at[2], 0, 0, 0, at[3], int(kind), 0, flags))

    def show(self, at: At) -> None:
        """Write the whole book as it is: what was lost is known again."""
        self.is_lost = False
        levels = [
            (side, price, queue.total)
            for side, found in enumerate(self.orders.levels)
            for price, queue in sorted(found.items(), reverse=side == Side.BUY)
        ]
        self._write(at, _SNAPSHOT, 0, 0, len(levels))
        for side, price, qty in levels:
            self._write(at, _LEVEL, side, price, qty)

    def lose(self, at: At) -> None:
        """Write that the book is not what it was any more; nothing of it is, until `show`."""
        if not self.is_lost:
            self._write(at, _LOST, 0, 0, 0)
        self.is_lost = True

    def __len__(self) -> int:
        return len(self._values)

    def messages(self) -> np.ndarray:
        """Return what was written since the last time: MESSAGE_DTYPE, in order."""
        made = np.array(self._values, MESSAGE_DTYPE)
        self._values.clear()
        return made

    def _write(self, at: At, kind: int, side: int, price: int, qty: int, ahead: int = 0,
               flags: int = 0) -> None:
        if self.is_lost and kind != _LOST:
            return
        place = ahead if ahead <= AHEAD_MAX else -1
        self._values.append((at[0], at[1], qty, at[2], price, place, 0, at[3], kind, side, flags))
