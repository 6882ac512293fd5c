"""Seeded random workloads: a valid tape, and commands that try everything a venue can answer.

The tape is drawn first; the commands are then drawn while the reference runs over it, so that they
aim at what is there (the touch, the position, the orders that are open). A workload is plain data:
`drive` applies it to the reference and to the compiled simulation alike.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import attrs
import numpy as np
from reference.simulation import MarketState, Order, ReferenceSimulation

from foldbook.engine.schema import (
    JOURNAL_DTYPE,
    KEEP,
    NO_MARKET,
    NO_TIME,
    TAPE_DTYPE,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    Mark,
    MarketStatus,
    OrderFlag,
    Reason,
    Side,
    TapeFlag,
    TapeKind,
    TimeInForce,
)
from foldbook.engine.specs import (
    KALSHI_2021,
    KALSHI_2026_03,
    KALSHI_2026_08,
    NO_FEES,
    FeeSchedule,
    Market,
)
from foldbook.engine.units import MICROSECOND, MILLISECOND, PRICE_ONE, QTY_MAX, SECOND

START_TS = 1_754_000_000_000_000_000
OPEN_ORDERS_MAX = 12
"""The commands keep no more own orders open in one market than this."""


class Command(NamedTuple):
    """One command of a workload.

    by: "row" or "time"; at: the tape row count or the time to advance to first. kind: "submit",
    "amend" or "cancel"; args: its arguments by name. cause: (CauseKind, market, row).
    """

    by: str
    at: int
    kind: str
    args: dict[str, int]
    cause: tuple[int, int, int]


@attrs.frozen
class Workload:
    """A tape and the commands to send while it passes."""

    seed: int
    rows: np.ndarray = attrs.field(eq=False, repr=False)
    markets: tuple[Market, ...]
    cash: int
    fees: FeeSchedule
    mark: Mark
    commands: tuple[Command, ...] = attrs.field(repr=False)

    def reference(
        self, observer: Callable[[ReferenceSimulation], None] | None = None
    ) -> ReferenceSimulation:
        """Return a fresh reference simulation of this workload."""
        return ReferenceSimulation(
            self.rows, self.markets, cash=self.cash, fees=self.fees, mark=self.mark,
            observer=observer,
        )  # fmt: skip


class Drivable(Protocol):
    """What a workload can be applied to. Orders are named by (market, number)."""

    def advance_to_row(self, n: int) -> None: ...
    def advance_until(self, ts: int) -> None: ...
    def submit(
        self, market: int, side: int, price: int, qty: int, tif: int, flags: int, expires: int,
        client_id: int, cause: tuple[int, int, int],
    ) -> int: ...  # fmt: skip
    def amend(
        self, market: int, number: int, price: int, qty: int, cause: tuple[int, int, int]
    ) -> None: ...
    def cancel(self, market: int, number: int, cause: tuple[int, int, int]) -> None: ...


def drive(
    simulation: Drivable,
    workload: Workload,
    after: Callable[[int], None] | None = None,
) -> None:
    """Apply the commands of `workload`, each at its moment, then the rest of the tape.

    after: called with the number of each command when it has been applied.
    """
    for number, command in enumerate(workload.commands):
        apply(simulation, command)
        if after:
            after(number)
    simulation.advance_to_row(len(workload.rows))


def apply(simulation: Drivable, command: Command) -> None:
    """Advance `simulation` to the moment of one command, and send it."""
    if command.by == "row":
        simulation.advance_to_row(command.at)
    else:
        simulation.advance_until(command.at)
    getattr(simulation, command.kind)(**command.args, cause=command.cause)


def make(seed: int, events: int = 2000, commands: int = 200) -> Workload:
    """Return the workload of `seed`: at least `events` tape rows, exactly `commands` commands."""
    rng = random.Random(f"foldbook workload {seed}")
    recorder = Recorder(rng, events)
    rows = recorder.record()
    fees = rng.choice((KALSHI_2021, KALSHI_2026_03, KALSHI_2026_08, KALSHI_2026_08, NO_FEES))
    typical = PRICE_ONE * recorder.typical_qty
    cash = rng.choice((2, 10, 60, 1000)) * typical
    if rng.random() < 0.3:
        cash += rng.randrange(typical)
    workload = Workload(
        seed, rows, recorder.specs, cash, fees,
        rng.choice((Mark.MID, Mark.MID, Mark.CLOSE)), (),
    )  # fmt: skip
    agent = Agent(rng, workload, recorder.typical_qty)
    return attrs.evolve(workload, commands=tuple(agent.commands(commands)))


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
            ready = [
                index for index, start in enumerate(self.starts) if start <= len(self.tape)
            ]
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
        steps = [lambda: self._set_status(MarketStatus.CLOSED)]
        if rng.random() < 0.5:
            steps.append(lambda: self._snapshot({Side.BUY: {}, Side.SELL: {}}))
        if rng.random() < 0.7:
            steps.append(lambda: self._set_status(MarketStatus.DETERMINED, payout))
        if rng.random() < 0.8:
            steps.append(lambda: self._set_status(MarketStatus.SETTLED, payout))
        if rng.random() < 0.3:
            del steps[0]
        if not steps:
            steps.append(lambda: self._set_status(MarketStatus.SETTLED, payout))
        if rng.random() < 0.3:
            steps.append(lambda: self._set_status(MarketStatus.SETTLED, PRICE_ONE - payout))
        self.ending = steps
        if rng.random() < 0.2:
            self.ending.insert(0, lambda: self._set_status(MarketStatus.PAUSED))

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
        level = self.book[side][price]
        ahead = self.rng.choice((-1, 0, min(level - qty, 2**31 - 1)))
        self.row(TapeKind.DECREASE, side, price, qty, ahead=ahead)
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
        if rng.random() < 0.5:
            self.row(TapeKind.FEE, qty=rng.choice((0, 35_000, 70_000, 140_000, 123_457)))
            return
        self.grid = (self.tick, self.tick, 0)
        if self.tick == 10 and rng.random() < 0.6:
            self.grid = (100, 10, 1000)
        centre, edge, width = self.grid
        self.row(TapeKind.GRID, price=centre, ahead=edge, qty=width)

    def _pause(self) -> None:
        if self.status == MarketStatus.OPEN:
            self._set_status(MarketStatus.PAUSED)

    def _open(self) -> None:
        if self.status == MarketStatus.PAUSED:
            self._set_status(MarketStatus.OPEN)

    def _set_status(self, status: MarketStatus, payout: int = 0) -> None:
        self.row(TapeKind.STATUS, qty=status, price=payout)
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
WEIGHTS = (40, 18, 22, 8, 3, 3, 3, 2, 0.7, 0.4, 0.5, 4, 0.5)


class Agent:
    """Draws commands while a reference simulation runs, so that they aim at what is there."""

    def __init__(self, rng: random.Random, workload: Workload, typical_qty: int):
        self.rng = rng
        self.workload = workload
        self.simulation = workload.reference()
        self.typical_qty = typical_qty
        self.client_id = 0

    def commands(self, count: int) -> Iterable[Command]:
        """Yield `count` commands in the order of their moments."""
        total = len(self.workload.rows)
        moments = sorted(self.rng.choices(range(total + 1), k=count))
        for number, moment in enumerate(moments):
            if number and self.rng.random() < 0.4:
                moment = moments[number - 1]
            command = self._command(*self._advance(moment))
            getattr(self.simulation, command.kind)(**command.args, cause=command.cause)
            yield command

    def _advance(self, moment: int) -> tuple[str, int]:
        simulation, rng = self.simulation, self.rng
        if moment <= simulation.applied and rng.random() < 0.7:
            return "row", moment
        if rng.random() < 0.7:
            simulation.advance_to_row(moment)
            return "row", moment
        at = max(simulation.now, simulation.tape[min(moment, len(simulation.tape) - 1)].ts)
        at += rng.choice((0, -1, 1, MILLISECOND, SECOND))
        simulation.advance_until(at)
        return "time", at

    def _cause(self, by: str, market: int) -> tuple[int, int, int]:
        simulation = self.simulation
        if not simulation.applied:
            return (CauseKind.START, NO_MARKET, 0)
        if by == "time":
            return (CauseKind.TIMER, NO_MARKET, 0)
        last = simulation.journal[-1]
        if last["kind"] == JournalKind.FILL and self.rng.random() < 0.5:
            return (CauseKind.JOURNAL, last["market"], last["row"])
        seen = simulation.tape[simulation.applied - 1].market
        return (CauseKind.TAPE, seen, simulation.markets[seen].tape_rows - 1)

    def _command(self, by: str, at: int) -> Command:
        rng = self.rng
        market = rng.choice(self.simulation.markets)
        if market.status != MarketStatus.OPEN or not market.trusted:
            market = rng.choice(self.simulation.markets)
        kind = ""
        args: dict[str, int] = {}
        while not kind:
            draw = rng.choices(INTENTS, INTENT_WEIGHTS)[0]
            if len(market.open) >= OPEN_ORDERS_MAX:
                draw = Agent._cancel
            kind, args = draw(self, market)
        named = {"market": market.index} | args
        return Command(by, at, kind, named, self._cause(by, market.index))

    # What to send: each returns ("", {}) where it does not apply.

    def _order(
        self, side: int, price: int, qty: int, *, tif: int = 0, flags: int = 0,
        expires: int = NO_TIME,
    ) -> tuple[str, dict[str, int]]:  # fmt: skip
        self.client_id += 1
        return "submit", {
            "side": int(side), "price": price, "qty": qty, "tif": int(tif), "flags": int(flags),
            "expires": expires, "client_id": self.client_id if self.rng.random() < 0.5 else 0,
        }  # fmt: skip

    def _size(self) -> int:
        if self.rng.random() < 0.5:
            return max(1, self.rng.randint(1, 3 * self.typical_qty))
        return self.typical_qty // self.rng.choice((1, 2, 10)) or 1

    def _side(self) -> Side:
        return self.rng.choice((Side.BUY, Side.SELL))

    def _around(self, market: MarketState, side: int, away: Iterable[int]) -> int:
        """Return a price some steps away from the best of a side; positive is behind it."""
        best = market.book[side].visible_best
        sign = -1 if side == Side.BUY else 1
        price = best + sign * self.rng.choice(list(away)) * market.centre_step
        low, high = market.edge_step, PRICE_ONE - market.edge_step
        price = min(max(price, low), high)
        edge = price < market.edge_width or price > PRICE_ONE - market.edge_width
        step = market.edge_step if edge else market.centre_step
        return max(price // step * step, low)

    def _rest(self, market: MarketState) -> tuple[str, dict[str, int]]:
        side = self._side()
        flags = self.rng.choice((0, 0, OrderFlag.POST_ONLY))
        expires = NO_TIME
        if self.rng.random() < 0.25:
            expires = self.simulation.now + self.rng.choice((1, MILLISECOND, SECOND, 9 * SECOND))
        price = self._around(market, side, (-2, -1, -1, 0, 0, 0, 1))
        return self._order(side, price, self._size(), flags=flags, expires=expires)

    def _take(self, market: MarketState) -> tuple[str, dict[str, int]]:
        side = self._side()
        tif = self.rng.choice((TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC))
        price = self._around(market, 1 - side, (0, 0, 1, 3, 6))
        return self._order(side, price, self._size(), tif=tif)

    def _change_position(self, market: MarketState) -> tuple[str, dict[str, int]]:
        """Reduce, close or turn over a position by taking."""
        held = abs(market.position)
        if not held:
            return "", {}
        side = Side.SELL if market.position > 0 else Side.BUY
        qty = self.rng.choice((held, held, held // 2 or 1, held * 2, held + 1))
        flags = self.rng.choice((0, 0, OrderFlag.REDUCE_ONLY))
        price = self._around(market, 1 - side, (0, 3, 9))
        return self._order(side, price, qty, tif=self.rng.choice((0, 1, 1)), flags=flags)

    def _reduce_only(self, market: MarketState) -> tuple[str, dict[str, int]]:
        side = self._side()
        if market.position and self.rng.random() < 0.8:
            side = Side.SELL if market.position > 0 else Side.BUY
        held = abs(market.position)
        qty = self.rng.choice((held or 1, held // 3 or 1, held + 1, self._size()))
        price = self._around(market, side, (-1, 0, 0, 1))
        tif = self.rng.choice((TimeInForce.IOC, TimeInForce.IOC, TimeInForce.IOC, TimeInForce.GTC))
        return self._order(side, price, qty, flags=OrderFlag.REDUCE_ONLY, tif=tif)

    def _broken(self, market: MarketState) -> tuple[str, dict[str, int]]:
        """An order that breaks one rule."""
        rng = self.rng
        side = self._side()
        price, qty = self._around(market, side, (0, 1)), self._size()
        soon = self.simulation.now + SECOND
        return rng.choice(
            (
                lambda: self._order(side, rng.choice((0, PRICE_ONE, -100, 12_300)), qty),
                lambda: self._order(side, price + market.centre_step // 2 or 1, qty),
                lambda: self._order(side, price, rng.choice((0, -5, QTY_MAX + 1))),
                lambda: self._order(side, price, qty, tif=1, flags=OrderFlag.POST_ONLY),
                lambda: self._order(side, price, qty, tif=rng.choice((3, -1))),
                lambda: self._order(side, price, qty, flags=rng.choice((4, 8, -1))),
                lambda: self._order(side, price, qty, expires=self.simulation.now),
                lambda: self._order(side, price, qty, tif=rng.choice((1, 2)), expires=soon),
            )
        )()

    def _cross_self(self, market: MarketState) -> tuple[str, dict[str, int]]:
        side = self._side()
        own = market.queue(1 - side)
        if not own:
            return "", {}
        return self._order(side, own[0].price, self._size(), tif=self.rng.choice((0, 1)))

    def _cross_post_only(self, market: MarketState) -> tuple[str, dict[str, int]]:
        side = self._side()
        price = self._around(market, 1 - side, (0, 0, 1, 2))
        return self._order(side, price, self._size(), flags=OrderFlag.POST_ONLY)

    def _overspend(self, market: MarketState) -> tuple[str, dict[str, int]]:
        side = self._side()
        price = self._around(market, side, (-1, 0, 4))
        leg = price if side == Side.BUY else PRICE_ONE - price
        free = self.simulation.cash - self.simulation.reserved
        qty = min(free // max(leg, 1) + self.rng.choice((0, 1, 50)), QTY_MAX)
        return self._order(side, price, max(qty, 1))

    def _ask_for_all(self, market: MarketState) -> tuple[str, dict[str, int]]:
        """FOK for exactly what is displayed down to a price, or for a little more."""
        side = self._side()
        price = self._around(market, 1 - side, (0, 1, 3))
        shown = sum(
            qty
            for level, qty in market.book[1 - side].visible()
            if (level <= price if side == Side.BUY else level >= price)
        )
        qty = max(1, shown + self.rng.choice((0, 0, 1)))
        return self._order(side, price, qty, tif=TimeInForce.FOK)

    def _some_open(self, market: MarketState) -> Order | None:
        orders = list(market.open.values())
        partly = [order for order in orders if order.filled]
        if partly and self.rng.random() < 0.5:
            return self.rng.choice(partly)
        return self.rng.choice(orders) if orders else None

    def _amend(self, market: MarketState) -> tuple[str, dict[str, int]]:
        order = self._some_open(market)
        if order is None:
            return "", {}
        rng = self.rng
        lower = rng.randint(order.filled + 1, order.qty)
        near = self._around(market, order.side, (-1, 0, 0, 1))
        crossing = self._around(market, 1 - order.side, (0, 0, 2))
        own = market.queue(1 - order.side)
        price, qty = rng.choice(
            (
                (KEEP, lower),
                (order.price, order.qty),
                (KEEP, order.qty + self._size()),
                (near, KEEP),
                (near, order.filled + self._size()),
                (crossing, KEEP),
                (crossing, order.qty + self._size()),
                (rng.choice((KEEP, near)), order.filled),
                (KEEP, order.filled - 1),
                (rng.choice((0, PRICE_ONE, near + 1)), KEEP),
                (KEEP, rng.choice((0, -1, QTY_MAX + 1))),
                (own[0].price if own else KEEP, KEEP),
                (KEEP, min(order.qty * 1000, QTY_MAX)),
                (KEEP, KEEP),
            )
        )
        return "amend", {"number": order.number, "price": price, "qty": qty}

    def _amend_any(self, market: MarketState) -> tuple[str, dict[str, int]]:
        if not market.issued:
            return "", {}
        number = self.rng.choice(market.issued).number
        return "amend", {"number": number, "price": KEEP, "qty": self._size()}

    def _cancel(self, market: MarketState) -> tuple[str, dict[str, int]]:
        order = self._some_open(market)
        return ("cancel", {"number": order.number}) if order else ("", {})

    def _cancel_any(self, market: MarketState) -> tuple[str, dict[str, int]]:
        """Cancel whatever number, mostly one of the latest: open, ended or refused."""
        if not market.issued:
            return "", {}
        return "cancel", {"number": self.rng.choice(market.issued[-12:]).number}


INTENTS = (
    Agent._rest,
    Agent._take,
    Agent._change_position,
    Agent._reduce_only,
    Agent._broken,
    Agent._cross_self,
    Agent._cross_post_only,
    Agent._overspend,
    Agent._ask_for_all,
    Agent._amend,
    Agent._amend_any,
    Agent._cancel,
    Agent._cancel_any,
)
INTENT_WEIGHTS = (40, 10, 6, 4, 4, 2, 2, 2, 3, 14, 1, 3, 3)


# What a suite of workloads must have shown.

REQUESTS = (
    JournalKind.SUBMITTED,
    JournalKind.AMEND_REQUESTED,
    JournalKind.CANCEL_REQUESTED,
)
NETTING = ("open", "add", "reduce", "close", "flip")
EVERYTHING = frozenset(
    {f"kind {kind.name}" for kind in JournalKind}
    | {f"submit refused: {reason.name}" for reason in Reason if 1 <= reason <= 10 and reason != 2}
    | {f"amend refused: {reason.name}" for reason in Reason if 1 <= reason <= 9 and reason != 6}
    | {f"cancel refused: {reason.name}" for reason in Reason if 1 <= reason <= 2}
    | {f"canceled: {reason.name}" for reason in Reason if reason >= 11}
    | {f"evidence {evidence.name}" for evidence in Evidence if evidence}
    | {f"{each.name} {how}" for each in Liquidity if each for how in ("partial", "complete")}
    | {f"{how} {held}" for how in NETTING for held in ("YES", "NO")}
    | {f"filled {tif.name}" for tif in TimeInForce}
    | {"rests with POST_ONLY", "accepted with REDUCE_ONLY"}
    | {f"amended: {how}" for how in ("keeps its place", "moves", "crosses")}
    | {"amended to below filled", "canceled twice", "expires partly filled"}
    | {f"settles {held} at {paid}" for held in ("YES", "NO") for paid in ("0", "1", "scalar")}
    | {f"cause {kind.name} of a request" for kind in CauseKind}
    | {"fee", "no taker fee", "one trade fills two orders", "quotes fill two levels"}
    | {"closes without collateral", "fill behind a queue"}
)  # fmt: skip


def coverage(journals: Iterable[np.ndarray]) -> set[str]:
    """Name everything that occurred in `journals`, each an array of JOURNAL_DTYPE."""
    found: set[str] = set()
    for journal in journals:
        assert journal.dtype == JOURNAL_DTYPE
        _Coverage(found).read(journal)
    return found


def tape_coverage(tapes: Iterable[np.ndarray]) -> set[str]:
    """Name the kinds, trade flags and statuses that occur in `tapes`, arrays of TAPE_DTYPE."""
    found: set[str] = set()
    for tape in tapes:
        found |= {f"kind {TapeKind(kind).name}" for kind in np.unique(tape["kind"])}
        found |= {f"flag {flag.name}" for flag in TapeFlag if (tape["flags"] & flag).any()}
        statuses = tape["qty"][tape["kind"] == TapeKind.STATUS]
        found |= {f"status {MarketStatus(status).name}" for status in np.unique(statuses)}
    return found


class _Coverage:
    """Reads one journal and names what it shows."""

    def __init__(self, found: set[str]):
        self.found = found
        self.position: dict[int, int] = defaultdict(int)
        self.filled: dict[tuple[int, int], int] = defaultdict(int)
        self.terms: dict[tuple[int, int], tuple[int, int]] = {}
        self.ended: set[tuple[int, int]] = set()
        self.kinds: dict[tuple[int, int], int] = {}
        self.fills_by_cause: dict[tuple[Any, ...], set[Any]] = defaultdict(set)

    def read(self, journal: np.ndarray) -> None:
        names = journal.dtype.names or ()
        for values in journal.tolist():
            self._read_row(dict(zip(names, values, strict=True)))

    def _read_row(self, row: dict[str, int]) -> None:
        found, kind = self.found, row["kind"]
        key = (row["market"], row["order"])
        reason = Reason(row["reason"])
        self.kinds[row["market"], row["row"]] = kind
        found.add(f"kind {JournalKind(kind).name}")
        if kind in REQUESTS:
            found.add(f"cause {CauseKind(row['cause_kind']).name} of a request")
        if kind == JournalKind.REJECTED:
            found.add(f"submit refused: {reason.name}")
        elif kind == JournalKind.ACCEPTED:
            self.terms[key] = (row["price"], row["qty"])
            if row["reserved"] == 0:
                found.add("closes without collateral")
            if row["flags"] & OrderFlag.POST_ONLY:
                found.add("rests with POST_ONLY")
            if row["flags"] & OrderFlag.REDUCE_ONLY:
                found.add("accepted with REDUCE_ONLY")
        elif kind == JournalKind.AMENDED:
            price, qty = self.terms[key]
            stays = price == row["price"] and row["qty"] <= qty
            found.add("amended: keeps its place" if stays else "amended: moves")
            self.terms[key] = (row["price"], row["qty"])
        elif kind == JournalKind.AMEND_REJECTED:
            found.add(f"amend refused: {reason.name}")
            if reason == Reason.INVALID_QTY and 0 < row["qty"] < self.filled[key]:
                found.add("amended to below filled")
        elif kind == JournalKind.CANCELED:
            found.add(f"canceled: {reason.name}")
            if reason == Reason.USER:
                self.ended.add(key)
        elif kind == JournalKind.CANCEL_REJECTED:
            found.add(f"cancel refused: {reason.name}")
            if reason == Reason.ORDER_NOT_OPEN and key in self.ended:
                found.add("canceled twice")
        elif kind == JournalKind.EXPIRED and self.filled[key]:
            found.add("expires partly filled")
        elif kind == JournalKind.FILL:
            self._read_fill(row, key)
        elif kind == JournalKind.SETTLED:
            paid = {0: "0", PRICE_ONE: "1"}.get(row["price"], "scalar")
            held = "YES" if row["side"] == Side.BUY else "NO"
            found.add(f"settles {held} at {paid}")
            self.position[row["market"]] = 0

    def _read_fill(self, row: dict[str, int], key: tuple[int, int]) -> None:
        found = self.found
        liquidity = Liquidity(row["liquidity"])
        found.add(f"{liquidity.name} {'partial' if row['left'] else 'complete'}")
        found.add(f"evidence {Evidence(row['evidence']).name}")
        found.add(f"filled {TimeInForce(row['tif']).name}")
        if row["fee"]:
            found.add("fee")
        elif liquidity == Liquidity.TAKER:
            found.add("no taker fee")
        if row["ahead"]:
            found.add("fill behind a queue")
        before = self.position[row["market"]]
        after = before + (row["qty"] if row["side"] == Side.BUY else -row["qty"])
        self.position[row["market"]] = after
        self.filled[key] += row["qty"]
        found.add(f"{_netting(before, after)} {'YES' if (before or after) > 0 else 'NO'}")
        cause = (row["cause_kind"], row["cause_market"], row["cause_row"])
        if row["cause_kind"] == CauseKind.JOURNAL:
            if self.kinds[cause[1:]] == JournalKind.AMENDED:
                found.add("amended: crosses")
            return
        takes = bool(row["flags"] & OrderFlag.TAKES_DEPTH)
        fills = self.fills_by_cause[(*cause, takes)]
        if takes and (row["order"] in fills):
            found.add("quotes fill two levels")
        if not takes and fills - {row["order"]}:
            found.add("one trade fills two orders")
        fills.add(row["order"])


def _netting(before: int, after: int) -> str:
    if before == 0:
        return "open"
    if after == 0:
        return "close"
    if (before > 0) != (after > 0):
        return "flip"
    return "add" if abs(after) > abs(before) else "reduce"
