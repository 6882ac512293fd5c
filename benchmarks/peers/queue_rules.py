"""One maker's orders under the fill rules of ours or of nautilus_trader, each rule by itself.

A third implementation, small enough to be read: it tells what became of each order when some of
nautilus' rules are in force and ours for the rest. With none it has to give the fills of ours, with
all those of nautilus; only then does it say which rule makes a difference. It knows one lot of the
smallest size a side, sent each step at the best price, which is filled whole or not at all.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from . import feed

STEP = 100_000_000
ORDER_DELAY = 10_000_000
LIMIT = 50
"""Lots of position at which a side is not quoted."""
RULES = {
    "start": "a timer first fires a step after the start; ours also decides at the first record",
    "arrival": "a command acts after the next record, or step, at or after its arrival; in ours "
    "before any record that is later than the arrival",
    "queue": "the queue ahead shrinks by trades, and is gone when its level is; in ours it is also "
    "never longer than what the level still holds",
    "through": "a trade or quote through an order's price waits for the queue ahead of it; in ours "
    "it fills at once",
    "empty": "a side without quotes keeps the last best price that it had, which a post-only order "
    "may still not cross; in ours an empty side refuses nothing",
    "record": "a quote through is met after each record; in ours at the end of a burst of one time",
}
"""What nautilus_trader does, and what ours does instead, by the name of the rule."""
Key = tuple[int, int, int]
"""An order: ns of its sending, side, cents."""
Outcomes = dict[Key, int]
"""ns at which the order was filled; 0 if it was not."""


@attrs.define
class _Order:
    key: Key
    ahead: int = 0
    is_touched: bool = False
    """Whether a quote of this burst came at its price or through it."""

    def is_met_by(self, cents: int) -> bool:
        """Whether a price of the other side is equal to the order's or through it."""
        _, side, own = self.key
        return 0 < cents <= own if side == 0 else cents >= own


class Venue:
    """A book, at most one open order a side, and commands on their way."""

    def __init__(self, rules: frozenset[str]):
        assert rules <= RULES.keys(), rules
        self.rules = rules
        self.outcomes: Outcomes = {}
        self._levels = ([0] * 101, [0] * 101)
        self._best = [0, 0]
        self._last_best = [0, 0]
        self._open: list[_Order | None] = [None, None]
        self._newest: list[Key | None] = [None, None]
        self._sent: list[tuple[int, bool, Key]] = []
        self._position = 0

    def decide(self, now: int) -> None:
        """Cancel both orders and send one a side at the best price, post-only."""
        arrives = now + ORDER_DELAY
        for key in self._newest:
            if key is not None and not self.outcomes[key]:
                self._sent.append((arrives, False, key))
        for side in range(2):
            has_room = self._position < LIMIT if side == 0 else self._position > -LIMIT
            self._newest[side] = None
            if self._best[side] and has_room:
                key = (now, side, self._best[side])
                self._newest[side] = key
                self.outcomes[key] = 0
                self._sent.append((arrives, True, key))

    def carry_out(self, until: int, now: int) -> None:
        """Carry out commands that have arrived by `until`."""
        has_any = False
        while self._sent and self._sent[0][0] <= until:
            has_any = True
            _, is_order, key = self._sent.pop(0)
            own = self._open[key[1]]
            if not is_order:
                if own is not None and own.key == key:
                    self._open[key[1]] = None
                continue
            order = _Order(key, self._levels[key[1]][key[2]])
            refusing = self._last_best if "empty" in self.rules else self._best
            if not order.is_met_by(refusing[1 - key[1]]):
                self._open[key[1]] = order
        if has_any and "record" in self.rules:
            self._meet_quotes(now, touched_only=False)

    def apply(self, record: tuple[int, int, int, int, int, int]) -> None:
        """Match orders against a record (ts, kind, side, cents, change, level), then keep it."""
        ts, kind, side, cents, change, level = record
        if kind == feed.TRADE:
            self._meet_trade(ts, 1 - side, cents, level)
        else:
            self._set(side, cents, level)
            own, other = self._open[side], self._open[1 - side]
            if own is not None and own.key[2] == cents and change < 0:
                is_gone = level == 0 or "queue" not in self.rules
                own.ahead = min(own.ahead, level) if is_gone else own.ahead
            if other is not None and change > 0 and other.is_met_by(cents):
                other.is_touched = True
        if "record" in self.rules:
            self._meet_quotes(ts, touched_only=False)

    def end_burst(self, ts: int) -> None:
        """Do what happens once all records of one time are known."""
        if "record" not in self.rules:
            self._meet_quotes(ts, touched_only=True)
        for order in self._open:
            if order is not None:
                order.is_touched = False

    def _set(self, side: int, cents: int, level: int) -> None:
        levels, best = self._levels[side], self._best[side]
        levels[cents] = level
        if level and (not best or (cents > best if side == 0 else cents < best)):
            self._best[side] = cents
        elif not level and cents == best:
            worse = range(cents, 0, -1) if side == 0 else range(cents, 101)
            self._best[side] = next((each for each in worse if levels[each]), 0)
        self._last_best[side] = self._best[side] or self._last_best[side]

    def _meet_trade(self, ts: int, maker: int, cents: int, qty: int) -> None:
        order = self._open[maker]
        if order is None or not order.is_met_by(cents):
            return
        if order.key[2] != cents:
            if "through" not in self.rules or not order.ahead:
                self._fill(order, ts)
        elif qty > order.ahead:
            self._fill(order, ts)
        else:
            order.ahead -= qty

    def _meet_quotes(self, ts: int, *, touched_only: bool) -> None:
        for order in self._open:
            if order is None or (touched_only and not order.is_touched):
                continue
            waits = "through" in self.rules and order.ahead > 0
            if order.is_met_by(self._best[1 - order.key[1]]) and not waits:
                self._fill(order, ts)

    def _fill(self, order: _Order, ts: int) -> None:
        side = order.key[1]
        self.outcomes[order.key] = ts
        self._open[side] = None
        self._position += 1 if side == 0 else -1


def outcomes(columns: dict[str, np.ndarray], rules: frozenset[str]) -> Outcomes:
    """Return what became of each order of the maker over a feed, by columns of `feed.columns_of`.

    rules: those of RULES that are as in nautilus_trader; the others are as in ours.
    """
    venue = Venue(rules)
    names = ("ts", "kind", "side", "price", "change", "level")
    records: list[Any] = list(zip(*(columns[name].tolist() for name in names), strict=True))
    first, last = records[0][0], records[-1][0]
    step = first + STEP if "start" in rules else first
    lags = "arrival" in rules
    for i, record in enumerate(records):
        ts = record[0]
        if i and records[i - 1][0] != ts:
            while step < ts:
                if not lags:
                    venue.carry_out(step - 1, step)
                venue.decide(step)
                if lags:
                    venue.carry_out(step, step)
                step += STEP
            if not lags:
                venue.carry_out(ts - 1, ts)
        venue.apply(record)
        if lags:
            venue.carry_out(ts, ts)
        if i + 1 == len(records) or records[i + 1][0] != ts:
            venue.end_burst(ts)
    assert step > last - STEP
    return venue.outcomes
