"""Draws commands while a reference runs over the tape, so that they aim at what is there."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from drives import Cause, Command, Workload, send
from reference.account import Account
from reference.state import MarketState, Order

from foldbook.engine.schema import (
    KEEP,
    NO_MARKET,
    NO_TIME,
    CauseKind,
    JournalKind,
    MarketStatus,
    OrderFlag,
    Side,
    TimeInForce,
)
from foldbook.engine.units import MILLISECOND, PRICE_ONE, QTY_MAX, SECOND

ORDERS_MAX = 12
"""The commands keep no more own orders open or in flight in one market than this."""
FLIGHTS_MAX = 24
"""The commands keep no more commands in flight than this."""
GROUPS = (1, 2, 3, 8)

Intent = tuple[str, dict[str, int]]


class Agent:
    """Draws commands, of one account or several, and sends each to a simulation of its own."""

    def __init__(self, rng: random.Random, workload: Workload, typical_qty: int):
        self.rng = rng
        self.workload = workload
        self.simulation = workload.reference()
        self.me: Account = self.simulation
        self.typical_qty = typical_qty
        self.client_id = 0
        self.canceled: tuple[int, int] | None = None

    def commands(self, count: int) -> Iterable[Command]:
        """Yield at least `count` commands in the order of their moments."""
        total = len(self.workload.rows)
        moments = sorted(self.rng.choices(range(total + 1), k=count))
        if moments and self.workload.seed % 9 == 0:
            moments[0] = 0  # some strategies begin before the first burst
        for number, moment in enumerate(moments):
            if number and self.rng.random() < 0.4:
                moment = moments[number - 1]
            at = self._advance(moment)
            if self.rng.random() < 0.05:
                yield self._sent(Command(*at, "begin_batch", {}, None))
                for _ in range(self.rng.randint(2, 4)):
                    yield self._sent(self._command(*at))
                yield self._sent(Command(*at, "end_batch", {}, None))
            else:
                yield self._sent(self._command(*at))

    def _draw_account(self) -> None:
        accounts = self.simulation.accounts
        if len(accounts) > 1:
            self.me = self.rng.choice(accounts)
            self.simulation.use(self.me.number)

    def _sent(self, command: Command) -> Command:
        send(self.simulation, command)
        return command

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

    def _cause(self, by: str) -> Cause:
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
        self._draw_account()
        market = rng.choice(self.me.markets)
        if market.status != MarketStatus.OPEN or not market.trusted:
            market = rng.choice(self.me.markets)
        kind = ""
        args: dict[str, Any] = {}
        while not kind:
            kind, args = self._intent(market)(self, market)
        if kind not in ("set_group", "kill"):
            args = {"market": market.index} | args
        return Command(by, at, kind, args, self._cause(by), self.me.number)

    def _intent(self, market: MarketState) -> Any:
        simulation, rng = self.simulation, self.rng
        if self.me.killed and rng.random() < 0.3:
            return Agent._kill
        if len(simulation.flights) >= FLIGHTS_MAX:
            return rng.choice((Agent._kill, Agent._set_group))
        if len(market.open) + market.in_flight >= ORDERS_MAX:
            return Agent._cancel if market.open else Agent._cancel_any
        if len(simulation.accounts) > 1 and rng.random() < 0.35:
            return rng.choice((Agent._meet_another, Agent._improve, Agent._sweep, Agent._spend_all))
        return rng.choices(tuple(INTENTS), tuple(INTENTS.values()))[0]

    def _order(
        self, side: int, price: int, qty: int, *, tif: int = 0, flags: int = 0,
        expires: int = NO_TIME,
    ) -> Intent:  # fmt: skip
        rng = self.rng
        client_id = 0
        if rng.random() < 0.5:
            self.client_id += 1
            again = rng.random() < 0.05
            client_id = rng.randint(1, self.client_id) if again else self.client_id
        group = 0
        if rng.random() < 0.3:
            group = rng.choice((*GROUPS, *self.me.groups))
        for flag in (OrderFlag.CANCEL_ON_PAUSE, OrderFlag.CANCEL_RESTING):
            if flags >= 0 and rng.random() < 0.3:
                flags |= flag
        return "submit", {
            "side": int(side), "price": price, "qty": qty, "tif": int(tif), "flags": int(flags),
            "expires": expires, "client_id": client_id, "group": group,
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

    def _rest(self, market: MarketState) -> Intent:
        side = self._side()
        flags = self.rng.choice((0, 0, OrderFlag.POST_ONLY))
        expires = NO_TIME
        if self.rng.random() < 0.25:
            expires = self.simulation.now + self.rng.choice((1, MILLISECOND, SECOND, 9 * SECOND))
        price = self._around(market, side, (-2, -1, -1, 0, 0, 0, 1))
        return self._order(side, price, self._size(), flags=flags, expires=expires)

    def _take(self, market: MarketState) -> Intent:
        side = self._side()
        tif = self.rng.choice((TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC))
        price = self._around(market, 1 - side, (0, 0, 1, 3, 6))
        return self._order(side, price, self._size(), tif=tif)

    def _change_position(self, market: MarketState) -> Intent:
        """Reduce, close or turn over a position by taking."""
        held = abs(market.position)
        if not held:
            return "", {}
        side = Side.SELL if market.position > 0 else Side.BUY
        qty = self.rng.choice((held, held, held // 2 or 1, held * 2, held + 1))
        flags = self.rng.choice((0, 0, OrderFlag.REDUCE_ONLY))
        price = self._around(market, 1 - side, (0, 3, 9))
        return self._order(side, price, qty, tif=self.rng.choice((0, 1, 1)), flags=flags)

    def _reduce_only(self, market: MarketState) -> Intent:
        side = self._side()
        if market.position and self.rng.random() < 0.8:
            side = Side.SELL if market.position > 0 else Side.BUY
        held = abs(market.position)
        qty = self.rng.choice((held or 1, held // 3 or 1, held + 1, self._size()))
        price = self._around(market, side, (-1, 0, 0, 1))
        tif = self.rng.choice((TimeInForce.IOC, TimeInForce.IOC, TimeInForce.IOC, TimeInForce.GTC))
        return self._order(side, price, qty, flags=OrderFlag.REDUCE_ONLY, tif=tif)

    def _broken(self, market: MarketState) -> Intent:
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
                lambda: self._order(side, KEEP, qty, tif=rng.choice((0, 1))),
                lambda: self._order(side, price, qty, tif=1, flags=OrderFlag.POST_ONLY),
                lambda: self._order(side, price, qty, tif=rng.choice((3, -1))),
                lambda: self._order(side, price, qty, flags=rng.choice((4, 32, -1))),
                lambda: self._order(side, price, qty, expires=self.simulation.now),
                lambda: self._order(side, price, qty, tif=rng.choice((1, 2)), expires=soon),
            )
        )()

    def _meet_another(self, market: MarketState) -> Intent:
        """Come for the orders of another account: all of it, too little or too much; or join it."""
        side = self._side()
        others = market.others(1 - side)
        if not others:
            return "", {}
        rng = self.rng
        other = rng.choice(others[:3])
        before = sum(qty for price, qty in market.book[1 - side].visible() if price == other.price)
        through = before + other.left
        qty = rng.choice((other.left, max(1, other.left // 2), through, 2 * through, self._size()))
        tif = rng.choice((0, 1, 1, 2))
        flags = rng.choice((0, 0, OrderFlag.CANCEL_RESTING))
        if tif == 0 and rng.random() < 0.1:
            flags = OrderFlag.POST_ONLY
        if rng.random() < 0.25:
            return self._order(1 - side, other.price, qty)
        deeper = -1 if side == Side.SELL else 1
        price = other.price + deeper * rng.choice((0, 0, 0, 2)) * market.centre_step
        return self._order(side, price, qty, tif=tif, flags=flags)

    def _sweep(self, market: MarketState) -> Intent:
        """Take all that stands before the orders of another, the orders, and most of the rest."""
        side = self._side()
        behind = [each for each in market.others(1 - side)
                  if 0 < each.ahead < market.book[1 - side].visible_at(each.price)]  # fmt: skip
        if not behind:
            return "", {}
        price = self.rng.choice(behind).price
        shown = sum(
            qty
            for level, qty in market.book[1 - side].visible()
            if (level <= price if side == Side.BUY else level >= price)
        )
        qty = shown + sum(each.left for each in behind if each.price == price)
        return self._order(side, price, max(1, qty - self.rng.choice((0, 1, qty // 5))), tif=1)

    def _improve(self, market: MarketState) -> Intent:
        """Rest inside the spread, or at the touch."""
        side = self._side()
        price = self._around(market, side, (-3, -2, -1, -1, 0))
        return self._order(side, price, self._size())

    def _cross_self(self, market: MarketState) -> Intent:
        side = self._side()
        own = market.queue(1 - side)
        if not own:
            return "", {}
        price = self.rng.choice((own[0].price, self._around(market, 1 - side, (0, 2, 5))))
        flags = self.rng.choice((0, OrderFlag.CANCEL_RESTING))
        return self._order(
            side, price, self._size(), tif=self.rng.choice((0, 0, 1, 2)), flags=flags
        )

    def _cross_post_only(self, market: MarketState) -> Intent:
        side = self._side()
        price = self._around(market, 1 - side, (0, 0, 1, 2))
        return self._order(side, price, self._size(), flags=OrderFlag.POST_ONLY)

    def _overspend(self, market: MarketState) -> Intent:
        side = self._side()
        price = self._around(market, side, (-1, 0, 4))
        leg = price if side == Side.BUY else PRICE_ONE - price
        free = self.me.cash - self.me.reserved
        qty = min(free // max(leg, 1) + self.rng.choice((0, 1, 50)), QTY_MAX)
        return self._order(side, price, max(qty, 1))

    def _spend_all(self, market: MarketState) -> Intent:
        """Rest with all the cash there is: there is nothing left for a maker's fee."""
        side = self._side()
        price = self._around(market, side, (0, 0, -1))
        leg = price if side == Side.BUY else PRICE_ONE - price
        free = self.me.cash - self.me.reserved
        return self._order(side, price, max(1, min(free // max(leg, 1), QTY_MAX)))

    def _ask_for_all(self, market: MarketState) -> Intent:
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

    def _amend(self, market: MarketState) -> Intent:
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
                (KEEP, order.qty + 3 * self.typical_qty),
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
        return "amend", {
            "number": order.number, "price": price, "qty": qty, "expires": self._new_expiry(),
        }  # fmt: skip

    def _new_expiry(self) -> int:
        now = self.simulation.now
        if self.rng.random() < 0.8:
            return KEEP
        return self.rng.choice((NO_TIME, now + 1, now + SECOND, now + 9 * SECOND, now, 0))

    def _amend_expiry(self, market: MarketState) -> Intent:
        order = self._some_open(market)
        if order is None:
            return "", {}
        now = self.simulation.now
        expires = self.rng.choice((NO_TIME, now + MILLISECOND, now + SECOND, now + 9 * SECOND, now))
        return "amend", {"number": order.number, "price": KEEP, "qty": KEEP, "expires": expires}

    def _decrease(self, market: MarketState) -> Intent:
        order = self._some_open(market)
        if order is None:
            return "", {}
        rng = self.rng
        part = rng.randint(1, order.left)
        qty = rng.choice((part, part, part, order.left, order.left + 1, 0, -1))
        return "decrease", {"number": order.number, "qty": qty, "to": rng.random() < 0.5}

    def _decrease_any(self, market: MarketState) -> Intent:
        if not market.issued:
            return "", {}
        number = self.rng.choice(market.issued[-12:]).number
        return "decrease", {"number": number, "qty": self._size(), "to": self.rng.random() < 0.5}

    def _amend_any(self, market: MarketState) -> Intent:
        if not market.issued:
            return "", {}
        number = self.rng.choice(market.issued).number
        return "amend", {
            "number": number, "price": KEEP, "qty": self._size(), "expires": self._new_expiry(),
        }  # fmt: skip

    def _cancel(self, market: MarketState) -> Intent:
        order = self._some_open(market)
        if order is None:
            return "", {}
        self.canceled = (market.index, order.number)
        return "cancel", {"number": order.number}

    def _cancel_twice(self, market: MarketState) -> Intent:
        if self.canceled is None or self.canceled[0] != market.index:
            return "", {}
        return "cancel", {"number": self.canceled[1]}

    def _cancel_any(self, market: MarketState) -> Intent:
        """Cancel whatever number, mostly one of the latest: open, ended or refused."""
        if not market.issued:
            return "", {}
        return "cancel", {"number": self.rng.choice(market.issued[-12:]).number}

    def _ask_for_one_in_flight(self, market: MarketState) -> Intent:
        """Cancel, amend or decrease an order that may not have arrived yet when this does."""
        numbers = [order.number for order in market.issued[-12:] if not order.arrived]
        if not numbers:
            return "", {}
        number, qty = self.rng.choice(numbers), self._size()
        return self.rng.choice(
            (
                ("cancel", {"number": number}),
                ("amend", {"number": number, "price": KEEP, "qty": qty, "expires": KEEP}),
                ("decrease", {"number": number, "qty": qty, "to": True}),
            )
        )

    def _set_group(self, market: MarketState) -> Intent:
        limit = self.rng.choice((1, self.typical_qty, 4 * self.typical_qty))
        return "set_group", {"group": self.rng.choice(GROUPS), "limit": limit}

    def _kill(self, market: MarketState) -> Intent:
        return "kill", {"on": not self.me.killed}


INTENTS = {
    Agent._rest: 40,
    Agent._take: 10,
    Agent._change_position: 6,
    Agent._reduce_only: 4,
    Agent._broken: 4,
    Agent._cross_self: 4,
    Agent._cross_post_only: 2,
    Agent._overspend: 2,
    Agent._spend_all: 3,
    Agent._ask_for_all: 3,
    Agent._amend: 14,
    Agent._amend_expiry: 2,
    Agent._amend_any: 1,
    Agent._decrease: 4,
    Agent._decrease_any: 1,
    Agent._cancel: 3,
    Agent._cancel_any: 3,
    Agent._cancel_twice: 1,
    Agent._ask_for_one_in_flight: 4,
    Agent._set_group: 2,
    Agent._kill: 0.7,
}
"""What to send, and how often: each returns ("", {}) where it does not apply."""
