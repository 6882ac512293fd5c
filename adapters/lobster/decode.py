"""What a day's rows mean: orders by their ids, checked at every message against the levels shown.

The rules (docs/importing/lobster.md): the first row is the book at the start, and its orders have
no ids but one; a message and the book after it must agree; a level that leaves the levels shown
stays as it was last seen, and is set right when it comes back.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import MarketStatus, Side, TapeFlag
from foldbook.engine.units import PRICE_ONE

from ..recordings import RefusedError
from ..recordings.messages import MessageKind
from ..recordings.orders import At, OrderFeed
from ..recordings.windows import OUTSIDE, Window
from .lines import BOOK, MESSAGES, Day, Message, MessageType, Refuse, Row, book_levels

_HALTS = {-1: MarketStatus.PAUSED, 1: MarketStatus.OPEN}
_NO_LIMIT = {Side.BUY: 0, Side.SELL: PRICE_ONE}


class Decoder:
    """Follows the orders of one day, row by row, and hands out messages.

    window: None lays one around the first book. tick, contract: of that one. refuse: what to do
    about a bad row. first_file: index of the message file. left_out: rows that are fine and yet not
    on the tape, by why. checked: messages that were compared with the book after them; revealed:
    levels that were other than last seen when they came back, or new to the levels shown.
    """

    def __init__(self, day: Day, window: Window | None, tick: Decimal, contract: Decimal,
                 refuse: Refuse, first_file: int = 0):
        self.window = window
        self.left_out: Counter[str] = Counter()
        self.checked = 0
        self.revealed = 0
        self._day = day
        self._tick = tick
        self._contract = contract
        self._refuse = refuse
        self._first_file = first_file
        self._feed = OrderFeed()
        self._prices: dict[int, int | None] = {}
        self._text = b""
        self._shown: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._ends = [0, PRICE_ONE]
        self._at: At | None = None
        self._has_begun = False

    @property
    def out_of_turn(self) -> int:
        """Trades so far that took from an order while another stood ahead of it."""
        return self._feed.out_of_turn

    def messages(self) -> np.ndarray:
        """Return the messages of what was taken since the last time."""
        return self._feed.messages()

    def __len__(self) -> int:
        return len(self._feed)

    def take(self, row: Row) -> None:
        """Apply a row of both files."""
        if row.message is not None:
            ts = row.message.ts
            self._at = (ts, ts, row.number, self._first_file + MESSAGES)
        at = self._at
        if at is None:
            return
        before, ends = self._shown, list(self._ends)
        try:
            self._look(row)
        except RefusedError as error:
            self._refuse(self._first_file + BOOK, row.number, error)
            self._text = b""
            self._feed.lose(at)
            return
        if self._feed.is_lost or row.message is None:
            self._begin(at, row.message)
            return
        try:
            self._apply(at, row.message, before, ends)
        except RefusedError as error:
            self._refuse(self._first_file + MESSAGES, row.number, error)
            self._begin(at, None)

    def _look(self, row: Row) -> None:
        """Take in the levels shown after a row. Raises RefusedError for what is no book."""
        if row.book == self._text:
            return
        levels = book_levels(row.book, self._day.levels)
        if self.window is None:
            self.window = self._around(levels)
        bids = self._inside("bid", levels[0])
        asks = self._inside("ask", levels[1])
        if bids and asks and next(iter(bids)) >= next(iter(asks)):
            raise RefusedError("book", "ask price 1", next(iter(levels[1])),
                               f"more than {next(iter(levels[0]))}, the bid")
        self._text, self._shown = row.book, (bids, asks)
        # With fewer levels than there is room for, all there are are shown.
        for side, (shown, all_of) in enumerate(zip(self._shown, levels, strict=True)):
            full = len(all_of) == self._day.levels and len(shown) == len(all_of)
            self._ends[side] = list(shown)[-1] if full else _NO_LIMIT[Side(side)]

    def _around(self, levels: tuple[dict[int, int], dict[int, int]]) -> Window:
        best = [next(iter(side)) for side in levels if side]
        if not best:
            raise TapeError(f"{self._day.book} row 1: shows no level: state the window with "
                            "--origin and --tick")
        middle = Decimal(sum(best)) / len(best) / PRICE_ONE
        return Window.around(middle, self._tick, self._contract)

    def _inside(self, name: str, levels: dict[int, int]) -> dict[int, int]:
        """Return levels in $0.0001 of the window. The best must lie inside."""
        found = {}
        for place, (price, size) in enumerate(levels.items()):
            units = self._units(f"{name} price", price, must=not place)
            if units is not None:
                found[units] = self._contracts(size)
        return found

    def _units(self, field: str, price: int, *, must: bool) -> int | None:
        """Return a price in the window; None for one beside it, unless it must lie inside."""
        if price not in self._prices or (must and self._prices[price] is None):
            assert self.window is not None
            try:
                self._prices[price] = self.window.units_of(field, Decimal(price) / PRICE_ONE)
            except RefusedError as error:
                if must or error.why != OUTSIDE:
                    raise
                self._prices[price] = None
        return self._prices[price]

    def _contracts(self, size: int) -> int:
        assert self.window is not None
        return self.window.contracts("size", str(size))

    def _begin(self, at: At, message: Message | None) -> None:
        """Start from the levels shown: at the first row, or after something was lost."""
        feed, orders = self._feed, self._feed.orders
        if not self._has_begun:
            feed.tell(at, MessageKind.FEE, 0)
        self._has_begun = True
        feed.lose(at)
        orders.clear()
        named = self._arrived(message)
        for side, shown in enumerate(self._shown):
            for price, qty in shown.items():
                own = named[2] if named and named[:2] == (side, price) else 0
                if qty > own:
                    orders.add(side, price, None, qty - own)
                if own and message is not None:
                    orders.add(side, price, message.order, own)
        feed.show(at)
        self.left_out["in_snapshot"] += 1

    def _arrived(self, message: Message | None) -> tuple[int, int, int] | None:
        """Return (side, price, quantity) of the order that a message put into the levels shown."""
        if message is None or message.type is not MessageType.NEW:
            return None
        price = self._units("price", message.price, must=False)
        qty = self._contracts(message.size)
        if price is None or self._shown[message.side].get(price, 0) < qty:
            return None
        return message.side, price, qty

    def _apply(self, at: At, message: Message, before: tuple[dict[int, int], dict[int, int]],
               ends: list[int]) -> None:
        """Apply a message, and check that the book after it is the one that is shown."""
        price: int | None = None
        if message.type is MessageType.HALT:
            self._halt(at, message.price)
        elif message.type in (MessageType.HIDDEN, MessageType.CROSS):
            self._print(at, message)
        else:
            price = self._units("price", message.price, must=False)
            if price is None:
                self.left_out[OUTSIDE] += 1
            else:
                self._change(at, message, price, ends)
        if self._shown is not before:
            self._compare(at, before, ends, (message.side, price))

    def _halt(self, at: At, price: int) -> None:
        if price == 0:
            self.left_out["quoting_resumes"] += 1
            return
        status = MarketStatus.PAUSED if price < 0 else MarketStatus.OPEN
        self._feed.tell(at, MessageKind.STATUS, int(status))

    def _print(self, at: At, message: Message) -> None:
        """A trade that the displayed book did not feel: of a hidden order, or of an auction."""
        try:
            price = self._units("price", message.price, must=True)
            qty = self._contracts(message.size)
        except RefusedError as error:
            self._refuse(self._first_file + MESSAGES, at[2], error)
            return
        assert price is not None
        flags = int(TapeFlag.BLOCK) if message.type is MessageType.CROSS else 0
        self._feed.print_trade(at, message.side, price, qty, flags)

    def _change(self, at: At, message: Message, price: int, ends: list[int]) -> None:
        """An order comes, shrinks or goes. Raises RefusedError if the book cannot have had it."""
        orders, side = self._feed.orders, message.side
        qty = self._contracts(message.size)
        signed = qty if message.type is MessageType.NEW else -qty
        was_shown = _is_within(side, price, ends[side])
        is_shown = _is_within(side, price, self._ends[side])
        if not was_shown and not is_shown:
            self.left_out["beyond_levels"] += 1
            return
        if is_shown:
            target = self._shown[side].get(price, 0)
            if not was_shown:
                self._set(at, side, price, target - signed)
            held = orders.level(side, price)
            if held + signed != target:
                raise self._differs(side, price, held + signed, target)
        if is_shown and was_shown:
            self.checked += 1
        if orders.level(side, price) + signed < 0:
            raise RefusedError("book", "size", message.size,
                               f"no more than the {orders.level(side, price)} of its level")
        self._move(at, message, price, qty)

    def _move(self, at: At, message: Message, price: int, qty: int) -> None:
        feed, side = self._feed, message.side
        place = feed.orders.place(message.order)
        if message.type is MessageType.NEW:
            if place is not None:
                raise RefusedError("id", "order id", message.order,
                                   "one that does not rest already")
            feed.arrive(at, side, price, message.order, qty)
            return
        if place is not None and place != (side, price):
            raise RefusedError("id", "order id", message.order, "an order of that side and price")
        order = message.order if place is not None else None
        if order is not None:
            left = feed.orders.size(order)
            if qty > left or (message.type is MessageType.DELETED and qty != left):
                if not feed.orders.levels[side][price].was_hidden:
                    raise RefusedError("size", "size", message.size,
                                       f"the {self._shares(left)} that order {order} has left")
                # It changed while its level was not shown.
                feed.orders.forget(order)
                order = None
        elif qty > feed.orders.unseen(side, price) and not (
                feed.orders.levels[side][price].was_hidden):
            raise RefusedError("id", "order id", message.order, "an order that rests there")
        if message.type is MessageType.EXECUTED:
            feed.trade(at, at, side, price, order, qty)
        elif order is not None:
            feed.leave(at, order, qty)
        else:
            feed.leave_unseen(at, side, price, qty)

    def _compare(self, at: At, before: tuple[dict[int, int], dict[int, int]], ends: list[int],
                 moved: tuple[int, int | None]) -> None:
        """Check the levels that the message did not name; take in those that come into view."""
        for side in Side:
            shown, end = self._shown[side], self._ends[side]
            named = moved[1] if moved[0] == side else None
            levels = self._feed.orders.levels[side]
            for price in sorted({price for price, _ in shown.items() ^ before[side].items()}):
                if price == named:
                    continue
                if not _is_within(side, price, end):
                    if price in levels:
                        levels[price].was_hidden = True
                    continue
                target = shown.get(price, 0)
                if not _is_within(side, price, ends[side]):
                    self._set(at, side, price, target)
                elif self._feed.orders.level(side, price) != target:
                    raise self._differs(side, price, self._feed.orders.level(side, price), target)
            if end != ends[side]:
                for price in sorted(levels):
                    if (price not in shown and _is_within(side, price, end)
                            and not _is_within(side, price, ends[side])):
                        self._set(at, side, price, 0)

    def _set(self, at: At, side: int, price: int, target: int) -> None:
        """Set a level to what is shown of it, now that it is."""
        if target < 0:
            raise RefusedError("book", "size", self._shares(-target), "no more than its level has")
        change = target - self._feed.orders.level(side, price)
        if change > 0:
            self._feed.arrive(at, side, price, None, change)
        elif change < 0:
            self._feed.leave_unseen(at, side, price, -change)
        self.revealed += change != 0

    def _differs(self, side: int, price: int, held: int, target: int) -> RefusedError:
        assert self.window is not None
        return RefusedError(
            "book", f"{('bid', 'ask')[side]} {self.window.price(price):f}", self._shares(held),
            f"{self._shares(target)}, that of the book file")

    def _shares(self, qty: int) -> str:
        assert self.window is not None
        return f"{self.window.quantity(qty).normalize():f}"


def _is_within(side: int, price: int, end: int) -> bool:
    """Return whether a price is shown where the levels of a side reach to `end`."""
    return price >= end if side == Side.BUY else price <= end
