"""Events as a public feed: what they say of the book and the trades, as messages.

Events of the exchange count, in their order; what only the strategy's clock sees is the other half
of one of them. A run of events with one exchange time is a burst (docs/importing/hftbacktest.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs
import numpy as np

from foldbook.engine.schema import Side, TapeFlag
from foldbook.engine.units import QTY_MAX

from ..recordings import RefusedError
from ..recordings.messages import MESSAGE_DTYPE, MessageKind
from ..recordings.windows import OUTSIDE, Window
from .conversion import prices, quantities
from .events import KIND_MASK, KNOWN_BITS, Flag, Kind

Refuse = Callable[[int, int, RefusedError], None]
"""Told (file, row, what is wrong with it); may raise TapeError."""

_BUY, _SELL, _NO_SIDE = int(Side.BUY), int(Side.SELL), -1
_JOINED = int(TapeFlag.JOINED)
_READ = (Kind.DEPTH, Kind.TRADE, Kind.CLEAR, Kind.SNAPSHOT)


@attrs.define
class _Event:
    """One event of the exchange. side: of the book; -1 none. price, qty: units of the window.

    change: of its level. trade: what did that, if a trade did. is_joined: of a trade, whether one
    has it.
    """

    ts: int
    recv: int
    row: int
    file: int
    kind: int
    side: int
    price: int
    qty: int
    change: int = 0
    trade: _Event | None = None
    is_joined: bool = False


class Decoder:
    """Turns blocks of events into messages; bursts may go on in the next block or file.

    left_out: rows that are fine and yet not on the tape, by why. float_noise: numbers that were a
    few ulps off their decimal.
    """

    def __init__(self, window: Window, refuse: Refuse):
        self.left_out: Counter[str] = Counter()
        self.float_noise = 0
        self._window = window
        self._prices = prices(window)
        self._quantities = quantities(window)
        self._refuse = refuse
        self._levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._is_anchored = False
        self._undated: list[_Event] = []
        self._burst: list[_Event] = []
        self._halves = 0
        self._values: list[tuple[int, ...]] = []

    def take(self, events: np.ndarray, file: int, first_row: int) -> None:
        """Take a block of events. first_row: of the block in its file, from 1."""
        kinds = (events["ev"] & np.uint64(KIND_MASK)).astype(np.int64)
        at_exchange = events["ev"] & np.uint64(Flag.EXCHANGE) != 0
        at_local = events["ev"] & np.uint64(Flag.LOCAL) != 0
        buys, sells = (events["ev"] & np.uint64(flag) != 0 for flag in (Flag.BUY, Flag.SELL))
        price, on_grid, noisy_price = self._prices.units(events["px"])
        bound = kinds == Kind.CLEAR
        price[bound], on_grid[bound] = self._bounds(events["px"][bound], buys[bound])
        qty, whole, noisy_qty = self._quantities.units(events["qty"])
        self._halves += int(np.count_nonzero(at_exchange & ~at_local))
        self._halves -= int(np.count_nonzero(at_local & ~at_exchange))
        self.left_out["local_half"] += int(np.count_nonzero(at_local & ~at_exchange))
        used = np.isin(kinds, _READ) & at_exchange
        self.float_noise += int(np.count_nonzero((noisy_price | noisy_qty) & used))
        odd_bits = events["ev"] & ~np.uint64(KNOWN_BITS) != 0
        needs_side = kinds != Kind.CLEAR
        good = np.isin(kinds, _READ) & ~odd_bits & ~(buys & sells) & (buys | sells | ~needs_side)
        priced = ~((kinds == Kind.CLEAR) & ~(buys | sells))
        inside = on_grid & ((price > 0) & (price < 10_000) | (kinds == Kind.CLEAR))
        good &= ~priced | inside
        good &= (kinds == Kind.CLEAR) | (whole & (qty >= 0) & (qty <= QTY_MAX))
        good &= (kinds != Kind.TRADE) | (qty > 0)
        good &= (events["exch_ts"] >= 0) & (events["local_ts"] >= 0)
        side = np.where(buys, _BUY, np.where(sells, _SELL, _NO_SIDE))
        side = np.where((kinds == Kind.TRADE) & (side >= 0), 1 - side, side)
        columns = zip(
            events["exch_ts"].tolist(), events["local_ts"].tolist(), kinds.tolist(), side.tolist(),
            price.tolist(), qty.tolist(), at_exchange.tolist(), good.tolist(),
            (at_exchange | at_local).tolist(), strict=True,
        )
        for number, (ts, recv, kind, who, units, size, counts, is_good, has_clock) in enumerate(
                columns):
            if counts and is_good:
                self._add(_Event(ts, recv, first_row + number, file, kind, who, units, size))
            elif counts or not has_clock:
                self._bad(events[number], file, first_row + number)

    def finish(self) -> None:
        """End the last burst. Raises (or counts) what is left over."""
        self._end_burst()
        for event in self._undated[:1]:
            self._refuse(event.file, event.row, RefusedError(
                "ts", "exch_ts", 0, "a time, or an event with one after a snapshot without"))
        if self._halves:
            self._refuse(0, 1, RefusedError(
                "unpaired", "ev", f"{abs(self._halves)} more events of one clock than of the other",
                "for each with EXCH_EVENT alone one with LOCAL_EVENT alone"))

    def messages(self) -> np.ndarray:
        """Return what was decoded since the last time: MESSAGE_DTYPE."""
        made = np.array(self._values, MESSAGE_DTYPE)
        self._values.clear()
        return made

    def __len__(self) -> int:
        return len(self._values)

    def _bounds(self, px: np.ndarray, buys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (how far a one-sided CLEAR goes, in units; which are numbers): any price will do.
        """
        units, on_grid, _ = self._prices.units(px)
        with np.errstate(all="ignore"):
            place = (px - float(self._window.origin)) / float(self._window.tick)
            place = np.clip(np.where(buys, np.ceil(place), np.floor(place)), 0, 10_000)
        finite = np.isfinite(px)
        return np.where(on_grid, units, np.where(finite, place, 0)).astype(np.int64), finite

    def _add(self, event: _Event) -> None:
        if event.ts == 0:
            self._end_burst()
            self._undated.append(event)
            return
        if self._burst and self._burst[-1].ts != event.ts:
            self._end_burst()
        if self._undated:
            # A snapshot that was saved by itself has no time: it is the book before what follows.
            for each in self._undated:
                each.ts, each.recv = event.ts, event.recv
            self._burst = self._undated
            self._undated = []
        self._burst.append(event)

    def _bad(self, event: np.void, file: int, row: int) -> None:
        """Refuse an event, and end the trust in the book if it was about that."""
        kind = int(event["ev"]) & KIND_MASK
        if kind != Kind.TRADE:
            self._end_burst()
            self._levels = ({}, {})
            self._is_anchored = False
            ts, recv = max(int(event["exch_ts"]), 0), max(int(event["local_ts"]), 0)
            self._write(_Event(ts, recv, row, file, kind, 0, 0, 0), MessageKind.LOST, 0)
        self._refuse(file, row, self._fault(event, kind))

    def _fault(self, event: np.void, kind: int) -> RefusedError:
        """Return what is wrong with an event, in order of the fields."""
        bits = int(event["ev"])
        flags = f"{bits:#x}"
        if not bits & (Flag.EXCHANGE | Flag.LOCAL):
            return RefusedError("flags", "ev", flags, "EXCH_EVENT, LOCAL_EVENT or both")
        if kind not in _READ:
            known = kind in tuple(Kind)
            return RefusedError("unknown_type", "ev", Kind(kind).name if known else kind,
                                "DEPTH, TRADE, CLEAR or SNAPSHOT: events of levels and trades")
        if bits & ~KNOWN_BITS:
            return RefusedError("flags", "ev", flags, "no bits but those of the layout")
        sides = bits & (Flag.BUY | Flag.SELL)
        if sides in (0, Flag.BUY | Flag.SELL) and (kind != Kind.CLEAR or sides):
            return RefusedError("flags", "ev", flags, "BUY_EVENT or SELL_EVENT")
        if event["exch_ts"] < 0 or event["local_ts"] < 0:
            return RefusedError("ts", "exch_ts, local_ts",
                                f"{event['exch_ts']}, {event['local_ts']}", "0 or more")
        px = float(event["px"])
        sound = self._prices.units(np.array([px]))[1]
        last = self._window.price(10_000)
        span = f"{self._window.origin:f} .. {last:f}"
        if not np.isfinite(px) or not self._window.origin < px < last:
            return RefusedError(OUTSIDE, "px", px, f"one inside the window {span}; move or widen "
                                "it with --origin and --tick")
        if not sound[0]:
            return RefusedError("off_grid", "px", px, f"{self._window.origin:f} and whole ticks of "
                                f"{self._window.tick:f}; state the grid with --tick")
        return RefusedError("size", "qty", float(event["qty"]),
                            f"a multiple of {self._window.quantity(1):f}, not negative; state a "
                            "finer --contract")

    def _end_burst(self) -> None:
        """Write the messages of the events gathered: what they did, in their order."""
        burst, self._burst = self._burst, []
        if not burst:
            return
        if not self._is_anchored:
            self._anchor(burst)
            return
        self._measure(burst)
        self._join(burst)
        at = 0
        while at < len(burst):
            event = burst[at]
            at += 1
            if event.kind == Kind.CLEAR and event.side == _NO_SIDE:
                begin = at
                while at < len(burst) and burst[at].kind == Kind.SNAPSHOT:
                    at += 1
                self._show(event, burst[begin:at])
            elif event.kind == Kind.CLEAR:
                for price in self._cleared(event):
                    self._set(event, event.side, price, 0)
            elif event.kind == Kind.TRADE:
                if not event.is_joined:
                    self._trade(event, 0)
            else:
                if event.trade is not None:
                    self._trade(event.trade, _JOINED)
                self._set(event, event.side, event.price, event.qty)

    def _anchor(self, burst: list[_Event]) -> None:
        """Start from the first burst that shows a whole book; what is before it is unanchored."""
        cleared = {event.side for event in burst if event.kind == Kind.CLEAR}
        has_levels = any(event.kind == Kind.SNAPSHOT for event in burst)
        if not (has_levels or _NO_SIDE in cleared or cleared == {_BUY, _SELL}):
            self.left_out["unanchored"] += len(burst)
            return
        levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
        trades = []
        for event in burst:
            if event.kind == Kind.TRADE:
                trades.append(event)
            else:
                _apply(levels, event)
        self._levels = levels
        self._is_anchored = True
        self._write_book(burst[-1])
        for trade in trades:
            self._trade(trade, 0)

    def _measure(self, burst: list[_Event]) -> None:
        """Say in each event of a level by how much that changes."""
        levels = (dict(self._levels[0]), dict(self._levels[1]))
        for event in burst:
            if event.kind in (Kind.DEPTH, Kind.SNAPSHOT):
                event.change = event.qty - levels[event.side].get(event.price, 0)
            if event.kind != Kind.TRADE:
                _apply(levels, event)

    def _join(self, burst: list[_Event]) -> None:
        """Join each trade to the first decrease of its level and size in the burst, one to one."""
        trades = [event for event in burst if event.kind == Kind.TRADE]
        if not trades:
            return
        waiting: dict[tuple[int, int, int], list[_Event]] = {}
        for event in reversed(burst):
            if event.kind == Kind.DEPTH and event.change < 0:
                waiting.setdefault((event.side, event.price, -event.change), []).append(event)
        for trade in trades:
            found = waiting.get((trade.side, trade.price, trade.qty))
            if found:
                found.pop().trade = trade
                trade.is_joined = True

    def _cleared(self, event: _Event) -> list[int]:
        """Return the prices that a one-sided CLEAR empties, best first."""
        is_bid = event.side == _BUY
        return sorted((price for price in self._levels[event.side]
                       if (price >= event.price if is_bid else price <= event.price)),
                      reverse=is_bid)

    def _show(self, clear: _Event, levels: list[_Event]) -> None:
        """A whole book: an empty one, and the levels that follow."""
        for event in (clear, *levels):
            _apply(self._levels, event)
        self._write_book(levels[-1] if levels else clear)

    def _write_book(self, event: _Event) -> None:
        found = [(side, price, qty) for side, levels in enumerate(self._levels)
                 for price, qty in levels.items()]
        self._write(event, MessageKind.SNAPSHOT, len(found))
        for side, price, qty in found:
            self._write(event, MessageKind.LEVEL, qty, side, price)

    def _set(self, event: _Event, side: int, price: int, qty: int) -> None:
        levels = self._levels[side]
        if qty:
            levels[price] = qty
        else:
            levels.pop(price, None)
        self._write(event, MessageKind.SET, qty, side, price)

    def _trade(self, event: _Event, flags: int) -> None:
        self._write(event, MessageKind.TRADE, event.qty, event.side, event.price, flags)

    def _write(self, event: _Event, kind: MessageKind, qty: int, side: int = 0, price: int = 0,
               flags: int = 0) -> None:
        self._values.append((event.ts, event.recv, qty, event.row, price, -1, 0, event.file,
                             int(kind), side, flags))


def _apply(levels: tuple[dict[int, int], dict[int, int]], event: _Event) -> None:
    """Do to levels what an event of the book says."""
    if event.kind == Kind.CLEAR:
        for side in (_BUY, _SELL):
            if event.side == _NO_SIDE:
                levels[side].clear()
            elif event.side == side:
                for price in list(levels[side]):
                    if price >= event.price if side == _BUY else price <= event.price:
                        del levels[side][price]
    elif event.qty:
        levels[event.side][event.price] = event.qty
    else:
        levels[event.side].pop(event.price, None)
