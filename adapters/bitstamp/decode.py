"""What the rows of a recording mean: which orders rest, who took, and where the book was wrong.

The rules (docs/importing/bitstamp.md): the first millisecond is the book at the start; an order
rests at the price it was created with; one that trades as it arrives rests with what is left of it
when its millisecond ends; an order that rests across another proves that the other had gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import Side

from ..recordings import RefusedError
from ..recordings.messages import MessageKind
from ..recordings.orders import At, OrderFeed
from ..recordings.windows import OUTSIDE, Window, decimal
from .lines import Burst, OrderLine, TradeLine

ORDERS, TRADES = 0, 1
"""Which of a recording's two files a row is in."""

Refuse = Callable[[int, int, RefusedError], None]
"""Told (file, row, what is wrong with it); may raise TapeError."""


class Decoder:
    """Follows the orders of one market, burst by burst, and hands out messages.

    name: of the recording. window: None lays one around the book at the start. tick, contract: what
    is known of it.
    refuse: what to do about a bad row. first_file: index of the first of the two files.
    left_out: rows that are fine and yet not on the tape, by why. ghosts: orders that had gone
    without a row.
    """

    def __init__(self, name: str, window: Window | None, tick: Decimal | None, contract: Decimal,
                 refuse: Refuse, first_file: int = 0):
        self.window = window
        self.left_out: Counter[str] = Counter()
        self.ghosts = 0
        self._name = name
        self._tick = tick
        self._contract = contract
        self._refuse = refuse
        self._first_file = first_file
        self._feed = OrderFeed()
        self._far: dict[int, tuple[int, bool]] = {}
        self._far_count = [[0, 0], [0, 0]]
        self._has_begun = False
        self._is_doubtful = False
        self._was_outside = False

    @property
    def out_of_turn(self) -> int:
        """Trades so far that took from an order while another stood ahead of it."""
        return self._feed.out_of_turn

    def doubt(self) -> None:
        """Note that a row of the book was refused: a gap, and the book again, end its burst."""
        self._is_doubtful = True

    def take(self, burst: Burst) -> None:
        """Apply the rows of one exchange time."""
        if not burst.orders:
            self._trades_alone(burst.trades)
            return
        window = self._window(burst)
        at = self._at(burst.orders[-1])
        if not self._has_begun:
            self._feed.tell(at, MessageKind.FEE, 0)
        _Millisecond(self, window, burst).apply()
        self._end(window, at)

    def messages(self) -> np.ndarray:
        """Return the messages of what was taken since the last time."""
        return self._feed.messages()

    def __len__(self) -> int:
        return len(self._feed)

    def _window(self, burst: Burst) -> Window:
        """Return the window; the first burst is the book that it is laid around."""
        if self.window is None:
            found: tuple[list[Decimal], list[Decimal]] = ([], [])
            for line in burst.orders:
                try:
                    found[line.side].append(decimal("price", line.price, "a price"))
                except RefusedError:
                    continue  # refused when the row is applied
            bids, asks = found
            if not bids or not asks or max(bids) >= min(asks):
                raise TapeError(f"{self._name}: the book at the start has no bid below an ask: "
                                "state the window with --origin and --tick")
            tick = self._tick or _finest(bids + asks)
            self.window = Window.around((max(bids) + min(asks)) / 2, tick, self._contract)
        return self.window

    def _at(self, line: OrderLine) -> At:
        return line.ts, line.recv, line.row, self._first_file + ORDERS

    def _end(self, window: Window, at: At) -> None:
        """End a burst: see that its book can be, and show it where it was doubtful."""
        feed, orders = self._feed, self._feed.orders
        gone = orders.uncross()
        if gone and self._has_begun:
            feed.lose(at)
        self.ghosts += gone
        outside = [
            self._far_count[side][1] > 0
            or (self._far_count[side][0] > 0 and not orders.levels[side])
            for side in Side
        ]
        if any(outside):
            if not self._was_outside:
                side = "bid" if outside[Side.BUY] else "ask"
                self._refuse(self._first_file + ORDERS, at[2], RefusedError(
                    OUTSIDE, f"best {side}", "outside",
                    f"one inside the window {window.origin:f} .. {window.price(10_000):f}; move or "
                    "widen it with --origin and --tick"))
            feed.lose(at)
        elif self._is_doubtful and self._has_begun:
            feed.lose(at)
        if feed.is_lost and not any(outside):
            feed.show(at)
        self._has_begun, self._is_doubtful, self._was_outside = True, False, any(outside)

    def _trades_alone(self, trades: list[TradeLine]) -> None:
        for trade in trades:
            self._print(trade)

    def _print(self, trade: TradeLine) -> None:
        """A trade that no row of an order belongs to."""
        if not self._has_begun or self.window is None:
            self.left_out["unanchored"] += 1
            return
        file = self._first_file + TRADES
        try:
            price = self.window.units("price", trade.price)
            qty = self.window.contracts("amount", trade.amount)
            if not qty:
                raise RefusedError("size", "amount", trade.amount, "more than 0")
        except RefusedError as error:
            self._refuse(file, trade.row, error)
            return
        self._feed.print_trade((trade.ts, trade.recv, trade.row, file), trade.side, price, qty)


class _Millisecond:
    """The rows of one exchange time, applied to a decoder's book."""

    def __init__(self, decoder: Decoder, window: Window, burst: Burst):
        self._decoder = decoder
        self._window = window
        self._burst = burst
        self._feed = decoder._feed
        self._takers = {trade.taker for trade in burst.trades}
        self._trades: dict[int, list[TradeLine]] = {}
        for trade in burst.trades:
            self._trades.setdefault(trade.maker, []).append(trade)
        self._arriving: dict[int, OrderLine] = {}
        self._last: dict[int, OrderLine] = {line.order: line for line in burst.orders}

    def apply(self) -> None:
        for line in self._burst.orders:
            if line.is_after_refusal:
                self._decoder.doubt()
            try:
                self._apply(line)
            except RefusedError as error:
                self._decoder.doubt()
                self._decoder._refuse(self._decoder._first_file + ORDERS, line.row, error)
        for trades in self._trades.values():
            for trade in trades:
                self._decoder._print(trade)

    def _apply(self, line: OrderLine) -> None:
        if line.action == "created":
            self._create(line)
        elif line.order in self._arriving:
            self._arriving_changes(line)
        elif line.order in self._decoder._far:
            self._far_changes(line)
        else:
            place = self._feed.orders.place(line.order)
            if place is None:
                self._decoder.left_out["unknown_order"] += 1
            elif place[0] != line.side:
                raise RefusedError("direction", "direction", ("bid", "ask")[line.side],
                                   f"{('bid', 'ask')[place[0]]}, that of order {line.order}")
            else:
                self._change(line, *place)

    def _create(self, line: OrderLine) -> None:
        if (line.order in self._arriving or line.order in self._decoder._far
                or self._feed.orders.place(line.order) is not None):
            raise RefusedError("id", "id", line.order, "one that does not rest already")
        if line.order in self._takers and self._last[line.order] is not line:
            self._arriving[line.order] = line
            return
        qty = self._window.contracts("volume", line.volume)
        if qty:
            self._rest(line, line, qty)
        else:
            self._decoder.left_out["zero_volume"] += 1

    def _rest(self, created: OrderLine, line: OrderLine, qty: int) -> None:
        """An order rests at the price it was created with; beside the window it is only noted."""
        try:
            price = self._window.units("price", created.price)
        except RefusedError as error:
            if error.why != OUTSIDE:
                raise
            is_low = Decimal(created.price) <= self._window.origin
            is_better = is_low == (line.side == Side.SELL)
            self._decoder._far[line.order] = (line.side, is_better)
            self._decoder._far_count[line.side][is_better] += 1
            self._decoder.left_out[OUTSIDE] += 1
            return
        self._feed.arrive(self._decoder._at(line), line.side, price, line.order, qty)

    def _arriving_changes(self, line: OrderLine) -> None:
        """A change of an order that takes as it arrives: what its last row leaves of it rests."""
        if self._last[line.order] is not line:
            return
        created = self._arriving.pop(line.order)
        if line.action == "deleted":
            return
        qty = self._window.contracts("volume", line.volume)
        if qty:
            self._rest(created, line, qty)

    def _far_changes(self, line: OrderLine) -> None:
        """A change of an order beside the window."""
        self._decoder.left_out[OUTSIDE] += 1
        if line.action == "deleted":
            side, is_better = self._decoder._far.pop(line.order)
            self._decoder._far_count[side][is_better] -= 1

    def _change(self, line: OrderLine, side: int, price: int) -> None:
        """A resting order shrinks or goes: by a trade if one names it and has the size."""
        before = self._feed.orders.size(line.order)
        after = self._window.contracts("volume", line.volume)
        if line.action == "deleted" and after == before:
            after = 0
        elif after > before or (line.action == "deleted" and after):
            raise RefusedError("volume", "volume", line.volume,
                               f"no more than the {self._window.quantity(before):f} that were left"
                               if after > before else
                               f"0 or the {self._window.quantity(before):f} that were left")
        if after == before:
            self._decoder.left_out["unchanged"] += 1
            return
        at, gone = self._decoder._at(line), before - after
        trade = self._trade_of(line.order, gone, price)
        if trade is None:
            self._feed.leave(at, line.order, gone)
            return
        traded_at = (trade.ts, trade.recv, trade.row, self._decoder._first_file + TRADES)
        self._feed.trade(at, traded_at, side, price, line.order, gone)

    def _trade_of(self, order: int, qty: int, price: int) -> TradeLine | None:
        """Return, once, the trade that names a maker and has a size. It must have its price."""
        waiting = self._trades.get(order, [])
        for trade in waiting:
            try:
                fits = self._window.contracts("amount", trade.amount) == qty
                if fits and self._window.units("price", trade.price) != price:
                    raise RefusedError("price", "price", trade.price,
                                       f"{self._window.price(price):f}, that of order {order}")
            except RefusedError as error:
                waiting.remove(trade)
                self._decoder._refuse(self._decoder._first_file + TRADES, trade.row, error)
                return None
            if fits:
                waiting.remove(trade)
                return trade
        return None


def _finest(prices: list[Decimal]) -> Decimal:
    """Return the step of the finest decimal place that a price uses.

    >>> _finest([Decimal("78318.0"), Decimal("78319.50")])
    Decimal('0.1')
    """
    places = max(-min(int(price.normalize().as_tuple().exponent), 0) for price in prices)
    return Decimal(1).scaleb(-places)
