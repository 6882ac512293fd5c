"""Seeded random tapes: valid ones, in which everything happens that a recording can hold."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import MICROSECOND, MILLISECOND, PRICE_ONE, SECOND

START_TS = 1_754_000_000_000_000_000
PAUSES = (0, 0, TapeFlag.INACTIVE, TapeFlag.EXCHANGE, TapeFlag.EXCHANGE | TapeFlag.INACTIVE)


class TapeBuilder:
    """Writes tape rows; also used for the tapes of hand-checked tables."""

    def __init__(self) -> None:
        self.values: list[tuple[int, ...]] = []

    def add(
        self, ts: int, kind: int, side: int = 0, price: int = 0, qty: int = 0, *,
        market: int = 0, ahead: int = 0, flags: int = 0, recv: int | None = None,
    ) -> None:  # fmt: skip
        """Append one row; fields are those of TAPE_DTYPE."""
        received = ts if recv is None else recv
        self.values.append((ts, received, qty, ahead, price, market, kind, side, flags))

    def rows(self) -> np.ndarray:
        """Return the rows written so far, array of TAPE_DTYPE."""
        return np.array(self.values, dtype=TAPE_DTYPE)

    def __len__(self) -> int:
        return len(self.values)


class Recorder:
    """Draws the tape: the clock, and which market has the next burst."""

    def __init__(self, rng: random.Random, events: int):
        self.rng = rng
        self.events = events
        self.tape = TapeBuilder()
        self.typical_qty = rng.choice((700, 2_000, 2_000, 10**8))
        count = rng.choice((1, 1, 2, 3))
        ticks = [rng.choice((100, 100, 10, 10, 1)) for _ in range(count)]
        self.specs = tuple(
            Market(f"RANDOM-{index}-T{tick}", tick=tick) for index, tick in enumerate(ticks)
        )
        has_trades = rng.random() < 0.85
        self.markets = [
            RecordedMarket(rng, self.tape, index, tick, self.typical_qty, has_trades)
            for index, tick in enumerate(ticks)
        ]
        last = 0.9 if count == 1 else 0.6
        self.ends = [events * rng.choice((last, 0.95, 0.98, 2.0)) for _ in self.markets]
        self.starts = [0] + [events * rng.choice((0, 0, 0.02, 0.1)) for _ in self.markets[1:]]

    def record(self) -> np.ndarray:
        """Return the whole tape, array of TAPE_DTYPE."""
        ts = START_TS
        last = [START_TS - 1] * len(self.markets)
        while len(self.tape) < self.events:
            ready = [index for index, start in enumerate(self.starts) if start <= len(self.tape)]
            index = self.rng.choice(ready)
            if last[index] >= ts or self.rng.random() < 0.9:
                ts += self._gap_ns()
            last[index] = ts
            market = self.markets[index]
            if self.ends[index] < len(self.tape) and market.status <= MarketStatus.PAUSED:
                market.plan_end()
            market.burst(ts)
        for market in self.markets:
            while market.ending:
                ts += self._gap_ns()
                market.burst(ts)
        return self.tape.rows()

    def _gap_ns(self) -> int:
        unit = self.rng.choice((1, MICROSECOND, MILLISECOND, 40 * MILLISECOND, SECOND))
        return unit * self.rng.randint(1, 20)


class RecordedMarket:
    """Draws the bursts of one market, and keeps its book so that every row is valid."""

    def __init__(
        self, rng: random.Random, tape: TapeBuilder, index: int, tick: int, typical_qty: int,
        has_trades: bool,
    ):  # fmt: skip
        self.rng = rng
        self.tape = tape
        self.index = index
        self.tick = tick
        self.typical_qty = typical_qty
        self.has_trades = has_trades
        self.grid = (tick, tick, 0)
        self.fair = rng.choice((300, 2000, 5000, 5000, 8200, 9700))
        self.book: dict[int, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        self.status = MarketStatus.OPEN
        self.trusted = False
        self.begun = False
        self.ending: list[Callable[[], None]] = []
        self.ts = 0

    def burst(self, ts: int) -> None:
        """Write one burst at `ts`."""
        self.ts = ts
        rng = self.rng
        before = len(self.tape)
        if self.trusted and self.status <= MarketStatus.PAUSED and rng.random() < 0.1:
            rng.choice(ORDINARY)(self)
        if self.ending:
            self.ending.pop(0)()
        elif self.status > MarketStatus.PAUSED:
            self._after_the_close()
        elif not self.begun:
            self._begin()
        elif not self.trusted:
            rng.choice((self._recover, self._recover, self._rule_change, self._loose_trade))()
        else:
            rng.choices(ACTIONS, WEIGHTS)[0](self)
            if rng.random() < 0.1:
                rng.choice(ORDINARY)(self)
        if len(self.tape) == before:
            self._add()
        if self.trusted and self.best(Side.BUY) >= self.best(Side.SELL):
            raise AssertionError(f"market {self.index}: crossed at a burst end")

    def plan_end(self) -> None:
        """Queue the bursts that close this market and mostly settle it."""
        rng = self.rng
        payout = rng.choice((0, 0, PRICE_ONE, PRICE_ONE, 1, 3700, 7201))
        settled, other = MarketStatus.SETTLED, PRICE_ONE - payout
        steps = [lambda: self._set_status(MarketStatus.CLOSED)]
        if rng.random() < 0.5:
            steps.append(lambda: self._snapshot({Side.BUY: {}, Side.SELL: {}}))
        if rng.random() < 0.7:
            steps.append(lambda: self._set_status(MarketStatus.DETERMINED, other))
        if rng.random() < 0.4:
            steps.append(lambda: self._set_status(MarketStatus.DISPUTED))
            steps.append(lambda: self._set_status(MarketStatus.DETERMINED, payout))
        if rng.random() < 0.8:
            flags = TapeFlag.VOID if rng.random() < 0.15 else 0
            steps.append(lambda: self._set_status(settled, payout, flags))
        if rng.random() < 0.3:
            del steps[0]
        if not steps:
            steps.append(lambda: self._set_status(settled, payout))
        if rng.random() < 0.4:
            amended = rng.choice((other, payout, 3700, 4999))
            flags = TapeFlag.VOID if rng.random() < 0.3 else 0
            steps.append(lambda: self._set_status(settled, amended, flags))
            if rng.random() < 0.5:
                steps.append(lambda: self._set_status(MarketStatus.DISPUTED))
                steps.append(lambda: self._set_status(settled, payout))
        self.ending = steps
        if rng.random() < 0.2:
            pause = rng.choice(PAUSES)
            self.ending.insert(0, lambda: self._set_status(MarketStatus.PAUSED, 0, pause))

    # Prices and sizes.

    def best(self, side: int) -> int:
        """Best recorded price of a side; 0 or one dollar where there is none."""
        levels = self.book[side]
        if side == Side.BUY:
            return max(levels, default=0)
        return min(levels, default=PRICE_ONE)

    def step(self, price: int) -> int:
        centre, edge, width = self.grid
        return edge if price < width or price > PRICE_ONE - width else centre

    def on_grid(self, price: float) -> int:
        """Round to a price that the grid allows, within the dollar."""
        whole = int(min(max(price, 1), PRICE_ONE - 1))
        step = self.step(whole)
        return min(max(whole // step * step, step), PRICE_ONE - step)

    def size(self) -> int:
        typical = self.typical_qty
        if self.rng.random() < 0.4:
            return self.rng.choice((1, 2, 5)) * typical // 2
        return self.rng.randint(1, 2 * typical)

    def near(self, side: int) -> int:
        """Draw a price of a side that does not cross: at, inside or behind the touch."""
        rng = self.rng
        sign = -1 if side == Side.BUY else 1
        step = self.step(self.fair)
        best = self.best(side)
        if best in (0, PRICE_ONE):
            best = self.on_grid(self.fair + sign * step)
        away = rng.choice((-2, -1, 0, 0, 0, 1, 1, 2, 3, 5))
        price = self.on_grid(best + sign * away * step)
        other = self.best(1 - side)
        if side == Side.BUY and price >= other:
            price = self.on_grid(other - 1)
            return price if price < other else 0
        if side == Side.SELL and price <= other:
            price = self.on_grid(other + self.step(other))
            return price if price > other else 0
        return price

    # Rows.

    def row(
        self, kind: TapeKind, side: int = 0, price: int = 0, qty: int = 0, **fields: int
    ) -> None:
        lag = self.rng.randint(-5, 60) * MILLISECOND
        self.tape.add(
            self.ts, kind, side, price, qty, market=self.index, recv=self.ts + lag, **fields
        )

    def increase(self, side: int, price: int, qty: int, flags: int = 0) -> None:
        self.row(TapeKind.INCREASE, side, price, qty, flags=flags)
        self.book[side][price] = self.book[side].get(price, 0) + qty

    def decrease(self, side: int, price: int, qty: int) -> None:
        """A decrease; where it stood is unknown, possible, or more than the level holds."""
        level = self.book[side][price]
        behind = min(level - qty, 2**30)
        ahead = self.rng.choice((-1, 0, behind, self.rng.randint(0, behind), 2 * behind + 1))
        ahead = min(ahead, np.iinfo(np.int32).max)
        flags = TapeFlag.GUESSED if self.rng.random() < 0.4 else 0
        self.row(TapeKind.DECREASE, side, price, qty, ahead=ahead, flags=flags)
        self.book[side][price] = level - qty
        if level == qty:
            del self.book[side][price]

    def trade(self, side: int, price: int, qty: int) -> None:
        """A public trade and its decrease; without a trade channel only the decrease."""
        if self.has_trades:
            self.row(TapeKind.TRADE, side, price, qty, flags=TapeFlag.JOINED)
        self.decrease(side, price, qty)

    # Bursts.

    def _begin(self) -> None:
        self.begun = True
        if self.rng.random() < 0.5:
            self._rule_change()
            return
        self._snapshot(self._drawn_book())

    def _drawn_book(self) -> dict[int, dict[int, int]]:
        rng = self.rng
        self.fair = min(max(self.fair + rng.randint(-300, 300), 100), PRICE_ONE - 100)
        middle = self.on_grid(self.fair)
        book: dict[int, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        for side, sign in ((Side.BUY, -1), (Side.SELL, 1)):
            price = middle
            for _ in range(rng.choice((0, 3, 6, 8))):
                nearest = price - 1 if sign < 0 else price + self.step(price)
                price = self.on_grid(nearest + sign * rng.choice((0, 0, 1, 2)) * self.tick)
                if (price < middle) == (sign < 0) and price != middle:
                    book[side][price] = self.size()
        return book

    def _snapshot(self, book: dict[int, dict[int, int]]) -> None:
        self.row(TapeKind.SNAPSHOT)
        for side, levels in book.items():
            for price, qty in levels.items():
                self.row(TapeKind.SNAPSHOT_LEVEL, side, price, qty)
        self.book = book
        self.trusted = True

    def _add(self) -> None:
        side = self.rng.choice((Side.BUY, Side.SELL))
        price = self.near(side)
        if not self.trusted or not price:
            self._rule_change()
        elif len(self.book[side]) > 14:
            price = min(self.book[side]) if side == Side.BUY else max(self.book[side])
            self.decrease(side, price, self.book[side][price])
        else:
            self.increase(side, price, self.size())

    def _remove(self) -> None:
        side = self.rng.choice((Side.BUY, Side.SELL))
        if not self.book[side]:
            return
        price = self.best(side) if self.rng.random() < 0.5 else self.rng.choice([*self.book[side]])
        level = self.book[side][price]
        self.decrease(side, price, level if self.rng.random() < 0.4 else self._part(level))

    def _part(self, level: int) -> int:
        return min(level, self.size())

    def _reprice(self) -> None:
        side = self.rng.choice((Side.BUY, Side.SELL))
        if not self.book[side]:
            return
        old = self.rng.choice([*self.book[side]])
        qty = self._part(self.book[side][old])
        self.decrease(side, old, qty)
        price = self.near(side)
        if price:
            self.increase(side, price, qty, flags=TapeFlag.REPRICE)

    def _trade(self) -> None:
        side = self.rng.choice((Side.BUY, Side.SELL))
        if self.book[side]:
            price = self.best(side)
            level = self.book[side][price]
            self.trade(side, price, level if self.rng.random() < 0.5 else self._part(level))

    def _sweep(self) -> None:
        side = self.rng.choice((Side.BUY, Side.SELL))
        price = 0
        for _ in range(self.rng.randint(2, 5)):
            if len(self.book[side]) > 1:
                price = self.best(side)
                self.trade(side, price, self.book[side][price])
        if price and self.rng.random() < 0.5:
            self.increase(1 - side, price, self.size())

    def _crossing_order(self) -> None:
        """An aggressive order shows up first, and what it matched goes after it."""
        side = self.rng.choice((Side.BUY, Side.SELL))
        levels = sorted(self.book[1 - side], reverse=side == Side.SELL)[: self.rng.randint(1, 3)]
        if not levels:
            return
        self.increase(side, levels[-1], self.size())
        for price in levels:
            if self.rng.random() < 0.5:
                self.trade(1 - side, price, self.book[1 - side][price])
            else:
                self.decrease(1 - side, price, self.book[1 - side][price])

    def _news(self) -> None:
        """One side cancels, and the other quotes where it stood."""
        side = self.rng.choice((Side.BUY, Side.SELL))
        levels = sorted(self.book[1 - side], reverse=side == Side.SELL)[: self.rng.randint(1, 5)]
        for price in levels:
            self.decrease(1 - side, price, self.book[1 - side][price])
        for price in self.rng.sample(levels, min(len(levels), 2)):
            self.increase(side, price, self.size())

    def _loose_trade(self) -> None:
        """A trade without its decrease: unjoined, or off the book."""
        if self.has_trades:
            flags = self.rng.choice((TapeFlag.UNJOINED, TapeFlag.BLOCK))
            price = self.on_grid(self.fair + self.rng.randint(-300, 300))
            self.row(TapeKind.TRADE, self.rng.choice((0, 1)), price, self.size(), flags=flags)
        else:
            self._rule_change()

    def _resnapshot(self) -> None:
        if self.rng.random() < 0.5:
            self._snapshot(self._drawn_book())
        else:
            self._snapshot({side: dict(levels) for side, levels in self.book.items()})
        if self.rng.random() < 0.5:
            self._top_up()
        if self.rng.random() < 0.3:
            self._remove()
            self._crossing_order()

    def _top_up(self) -> None:
        for side, levels in self.book.items():
            if levels:
                self.increase(side, self.best(side), self.size())

    def _lose(self) -> None:
        self.row(TapeKind.GAP)
        self.book = {Side.BUY: {}, Side.SELL: {}}
        self.trusted = False

    def _recover(self) -> None:
        self._snapshot(self._drawn_book())
        self.row(TapeKind.RECOVERED)

    def _rule_change(self) -> None:
        rng = self.rng
        self._restate_terms(random.Random(self.ts))
        if rng.random() < 0.5:
            taker, maker = (0, 35_000, 70_000, 140_000, 123_457), (0, 0, 17_500, 25_001)
            self.row(TapeKind.FEE, qty=rng.choice(taker), ahead=rng.choice(maker))
            return
        self.grid = (self.tick, self.tick, 0)
        if self.tick == 10 and rng.random() < 0.6:
            self.grid = (100, 10, 1000)
        centre, edge, width = self.grid
        self.row(TapeKind.GRID, price=centre, ahead=edge, qty=width)

    def _restate_terms(self, rng: random.Random) -> None:
        """When the market closes, and its strikes; drawn apart from all else."""
        due, strike = self.ts + rng.randint(0, 10**9), rng.randint(-(10**9), 10**9)
        at = {"market": self.index, "recv": self.ts}
        if rng.random() < 0.4:
            self.tape.add(self.ts, TapeKind.CLOSE_TIME, 0, 0, due, **at)
        if rng.random() < 0.4:
            self.tape.add(self.ts, TapeKind.STRIKE, rng.choice((0, 1)), 0, strike, **at)

    def _pause(self) -> None:
        if self.status == MarketStatus.OPEN or self.rng.random() < 0.3:
            self._set_status(MarketStatus.PAUSED, 0, self.rng.choice(PAUSES))

    def _open(self) -> None:
        if self.status == MarketStatus.PAUSED:
            self._set_status(MarketStatus.OPEN)

    def _set_status(self, status: MarketStatus, payout: int = 0, flags: int = 0) -> None:
        self.row(TapeKind.STATUS, qty=status, price=payout, flags=flags)
        if status > MarketStatus.PAUSED and self.status <= MarketStatus.PAUSED:
            self.book = {Side.BUY: {}, Side.SELL: {}}
        self.status = status

    def _after_the_close(self) -> None:
        rng = self.rng
        if rng.random() < 0.2:
            self.row(TapeKind.STATUS, qty=rng.choice((MarketStatus.OPEN, MarketStatus.PAUSED)))
        elif rng.random() < 0.5:
            self._snapshot({Side.BUY: {}, Side.SELL: {}})
        else:
            self._rule_change()


ACTIONS = (
    RecordedMarket._add,
    RecordedMarket._remove,
    RecordedMarket._trade,
    RecordedMarket._reprice,
    RecordedMarket._sweep,
    RecordedMarket._crossing_order,
    RecordedMarket._news,
    RecordedMarket._loose_trade,
    RecordedMarket._resnapshot,
    RecordedMarket._lose,
    RecordedMarket._pause,
    RecordedMarket._open,
    RecordedMarket._rule_change,
)
ORDINARY = (RecordedMarket._add, RecordedMarket._remove, RecordedMarket._trade)
WEIGHTS = (40, 18, 22, 8, 3, 3, 3, 2, 0.7, 0.4, 0.7, 4, 0.5)
