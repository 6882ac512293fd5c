"""The journal and the account: rows, fills, fees, collateral and value (sections 5, 6, 8 and 9)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from foldbook.engine.schema import (
    JOURNAL_DTYPE,
    NO_MARKET,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    Mark,
    OrderFlag,
    Reason,
    Side,
    TapeFlag,
)
from foldbook.engine.specs import Market, Models
from foldbook.engine.units import PRICE_ONE

from .book import leg_cost
from .fees import fill_fee, scaled_fee, trade_fee
from .groups import Group
from .latency import known_times
from .risk import Bucket
from .state import (
    ACTIVE,
    FROM_START,
    Cause,
    MarketState,
    Order,
    Recorded,
    TapeRow,
    closable,
    collateral,
    market_dict,
    signed,
    sure_to_pay,
)

CENT = 10_000


@dataclass
class Event:
    """The markets of a mutually exclusive event, and the collateral that they have returned."""

    markets: list[MarketState]
    returned: int = 0

    @property
    def indices(self) -> tuple[int, ...]:
        """The indices of its markets."""
        return tuple(market.index for market in self.markets)

    @property
    def open_payout(self) -> int:
        """The most that YES of its open markets can pay together, $0.0001."""
        return max(0, PRICE_ONE - sum(market.payout for market in self.markets))


@dataclass
class Ledger:
    """What all accounts of a run share: the clock, the journal, and the markets."""

    markets: list[Recorded]
    now: int
    applied: int = 0
    rows: list[dict[str, int]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    account_rows: int = 0


class Account:
    """What one account owns, and how it is written down. number: from 0."""

    def __init__(
        self, ledger: Ledger, markets: tuple[Market, ...], *, cash: int, models: Models,
        mark: Mark, number: int = 0,
    ):  # fmt: skip
        self.ledger = ledger
        self.number = number
        self.models = models
        self.schedule = models.fees
        others = dict(models.market_fees)
        self.schedules = [others.get(market.ticker, models.fees) for market in markets]
        self.markets = [MarketState(recorded, number) for recorded in ledger.markets]
        self.events: list[Event] = []
        self._event_of: dict[int, Event] = {}
        if models.collateral_return:
            for name in sorted({market.event for market in markets} - {""}):
                event = Event([self.markets[i] for i, m in enumerate(markets) if m.event == name])
                self.events.append(event)
                self._event_of.update((market.index, event) for market in event.markets)
        self.mark = mark
        self.starting_cash = self.cash = self.peak = cash
        self.drawdown = 0
        self.killed = False
        self.bucket = Bucket(models.risk, ledger.now)
        self.groups: dict[int, Group] = {}
        self.client_ids: set[int] = set()
        self._write(JournalKind.CASH_MOVED, None, FROM_START, cash=cash)

    @property
    def now(self) -> int:
        """The clock of the run, ns."""
        return self.ledger.now

    @property
    def journal(self) -> list[dict[str, int]]:
        """The journal of all accounts."""
        return self.ledger.rows

    # Money (sections 5, 6 and 9).

    @property
    def reserved(self) -> int:
        """Collateral of all open orders, $0.000001."""
        return sum(market.reserved for market in self.markets)

    @property
    def returned(self) -> int:
        """Collateral that events have returned and positions still owe, $0.000001."""
        return sum(event.returned for event in self.events)

    @property
    def value(self) -> int:
        """Cash and positions at the mark, less what they have returned, $0.000001."""
        positions = sum(self.position_value(market) for market in self.markets)
        return self.cash + positions - self.returned

    def fee(
        self, market: MarketState, price: int, qty: int, cash: int = 0, *,
        carry: int = 0, is_maker: bool = False,
    ) -> tuple[int, int]:  # fmt: skip
        """Return (net fee, carry after) of one fill that moves `cash`, $0.000001."""
        rate = market.maker_ppm if is_maker else market.taker_ppm
        scaled = scaled_fee(self.schedules[market.index], rate, price, is_maker)
        return fill_fee(self.schedule, scaled, qty, cash, carry)

    def position_value(self, market: MarketState) -> int:
        """Return what the position of a market is worth at the mark, $0.000001."""
        if self.mark == Mark.CLOSE and market.trusted and market.status in ACTIVE:
            return self._closing_value(market)
        if market.position >= 0:
            return market.position * market.mid2 // 2
        return -market.position * (2 * PRICE_ONE - market.mid2) // 2

    def _closing_value(self, market: MarketState) -> int:
        """Walk the bids with a YES position, the asks with a NO position."""
        held = Side.BUY if market.position > 0 else Side.SELL
        left = abs(market.position)
        value = 0
        for price, shown in market.book[held].visible():
            qty = min(left, shown)
            if not qty:
                break
            paid = leg_cost(held, price) * qty
            scaled = scaled_fee(self.schedules[market.index], market.taker_ppm, price, False)
            value += paid - trade_fee(self.schedule, scaled, qty)
            left -= qty
        return value

    def _reserve(self, market: MarketState) -> int:
        """Recompute the collateral of a market and return the change."""
        before = market.reserved
        market.reserved = collateral(market.position, market.open.values())
        return market.reserved - before

    def _fill(
        self,
        market: MarketState,
        order: Order,
        qty: int,
        cause: Cause,
        *,
        price: int,
        liquidity: Liquidity,
        evidence: Evidence,
        claim: int,
        ahead: int = 0,
        guessed: int = 0,
        takes: int = 0,
    ) -> Cause | None:
        """Book a fill and return its row, or cancel the order if the account cannot pay for it."""
        is_maker = liquidity == Liquidity.MAKER
        if not self._can_pay(market, order, qty, price, is_maker):
            self._cancel_order(market, order, Reason.MARGIN, cause)
            return None
        moved = cash_moved(market.position, order.side, price, qty)
        fee, carry = self.fee(market, price, qty, moved, carry=order.carry, is_maker=is_maker)
        order.left -= qty
        order.filled += qty
        order.carry = carry
        if not order.left:
            del market.open[order.number]
        self._move_position(market, order.side, price, qty)
        self.cash += moved - fee
        market.fees += fee
        written = self._write_order(
            JournalKind.FILL, market, order, cause,
            price=price, qty=qty, cash=moved, fee=fee, carry=carry, claim=claim, ahead=ahead,
            guessed=guessed, liquidity=liquidity, evidence=evidence, flags=order.flags | takes,
            reserved=self._reserve(market),
        )  # fmt: skip
        if takes & OrderFlag.TAKES_DEPTH and self.models.restored_after:
            market.restore_at = self.now + self.models.restored_after
        if order.group:
            self.groups[order.group].add(self.now, qty, written)
        self._return_collateral(market, written)
        return written

    def _can_pay(
        self, market: MarketState, order: Order, qty: int, price: int, is_maker: bool
    ) -> bool:
        """Say whether the account has what a fill costs it (section 3, every fill)."""
        moved = cash_moved(market.position, order.side, price, qty)
        fee, _ = self.fee(market, price, qty, moved, carry=order.carry, is_maker=is_maker)
        returned = self._returned_if(market, signed(order.side, qty))
        return self.cash + moved - fee + returned >= self._reserved_after(market, order, qty)

    def _returned_if(self, market: MarketState, moved: int) -> int:
        """Return what a market's event would return if its position moved by `moved`."""
        event = self._event_of.get(market.index)
        if event is None:
            return 0
        positions = [each.position + moved * (each is market) for each in event.markets]
        return sure_to_pay(positions, event.open_payout) - event.returned

    def _return_collateral(self, market: MarketState, cause: Cause) -> None:
        """Return, or take back, what a market's event has too little or too much."""
        returned = self._returned_if(market, 0)
        if returned:
            self._event_of[market.index].returned += returned
            self.cash += returned
            self._write(JournalKind.COLLATERAL_RETURNED, market, cause, cash=returned)

    def _reserved_after(self, market: MarketState, order: Order, qty: int) -> int:
        """Return what the account would have reserved if `order` filled `qty`."""
        orders = [
            replace(each, left=each.left - qty) if each.number == order.number else each
            for each in market.open.values()
        ]
        position = market.position + signed(order.side, qty)
        return self.reserved - market.reserved + collateral(position, orders)

    def _end_step(self) -> None:
        """Look at the value, as it is done after each step."""
        value = self.value
        self.peak = max(self.peak, value)
        self.drawdown = max(self.drawdown, self.peak - value)

    def _move_position(self, market: MarketState, side: int, price: int, qty: int) -> int:
        """Book one fill into position, cost and realised P&L; return the cash it moves."""
        leg = leg_cost(side, price)
        held = market.capacity(side)
        closing = min(qty, held)
        opening = qty - closing
        moved = cash_moved(market.position, side, price, qty)
        if closing:
            basis = market.cost * closing // held
            market.cost -= basis
            market.realised += (PRICE_ONE - leg) * closing - basis
        market.cost += leg * opening
        market.position += signed(side, qty)
        return moved

    def _settle(self, market: MarketState, row: TapeRow, cause: Cause, is_first: bool) -> None:
        """Pay the position that the first SETTLED row ended; later rows pay the difference."""
        is_void = bool(row.flags & TapeFlag.VOID)
        if is_first:
            market.settled_position, market.settled_cost = market.position, market.cost
        held = market.settled_position
        if not held:
            return
        side = Side.BUY if held > 0 else Side.SELL
        if is_void:
            payment, fee = market.settled_cost, 0
        else:
            payment = (row.price if side == Side.BUY else PRICE_ONE - row.price) * abs(held)
            fee = payment % CENT
        cash, charged = payment - market.settled_cash, fee - market.settled_fee
        if not is_first and not cash and not charged:
            return
        market.settled_cash, market.settled_fee = payment, fee
        market.realised += cash - market.cost
        market.position = market.cost = 0
        market.fees += charged
        self.cash += cash - charged
        self._write(
            JournalKind.SETTLED, market, cause,
            qty=abs(held), side=side, price=row.price, cash=cash, fee=charged,
            reserved=self._reserve(market),
        )  # fmt: skip

    # The end of orders.

    def _cancel_order(
        self, market: MarketState, order: Order, reason: Reason, cause: Cause
    ) -> None:
        qty = order.left
        self._end_order(market, order)
        self._write_order(
            JournalKind.CANCELED, market, order, cause,
            reason=reason, qty=qty, reserved=self._reserve(market),
        )  # fmt: skip

    def _end_order(self, market: MarketState, order: Order) -> None:
        order.canceled = order.left
        order.left = 0
        del market.open[order.number]

    def _check_groups(self) -> None:
        """Trigger the groups that reached their limit since the last such moment (section 3)."""
        for number in sorted(self.groups):
            group = self.groups[number]
            if not group.has_news:
                continue
            group.has_news = False
            matched = group.matched(self.now)
            if group.triggered or matched < group.limit:
                continue
            group.triggered = True
            triggered = self._write(
                JournalKind.GROUP_TRIGGERED, None, group.last_fill, group=number, qty=matched
            )
            for market in self.markets:
                for each in sorted(market.open):
                    if market.open[each].group == number:
                        self._cancel_order(
                            market, market.open[each], Reason.GROUP_TRIGGERED, triggered
                        )

    # The journal (section 8).

    def _write(
        self, kind: JournalKind, market: MarketState | None, cause: Cause, **fields: int
    ) -> Cause:
        """Append a row and return it as a cause of others."""
        row = dict.fromkeys(JOURNAL_DTYPE.names, 0)
        row.update(fields)
        row["kind"] = kind
        row["account"] = self.number
        row["ts"] = self.now
        row["cause_kind"], row["cause_market"], row["cause_row"] = cause
        if market is None:
            row["market"], row["row"] = NO_MARKET, self.ledger.account_rows
            self.ledger.account_rows += 1
        else:
            row["market"], row["row"] = market.index, market.journal_rows
            market.journal_rows += 1
        self.journal.append(row)
        self.ledger.places.append(self.ledger.applied)
        return (CauseKind.JOURNAL, row["market"], row["row"])

    def _write_order(
        self, kind: JournalKind, market: MarketState, order: Order, cause: Cause, **fields: int
    ) -> Cause:
        row = {
            "order": order.number, "side": order.side, "price": order.price, "qty": order.qty,
            "left": order.left, "tif": order.tif, "flags": order.flags, "expires": order.expires,
            "client_id": order.client_id, "group": order.group,
        }  # fmt: skip
        return self._write(kind, market, cause, **(row | fields))

    def _write_amended(self, market: MarketState, order: Order, request: Cause) -> Cause:
        return self._write_order(
            JournalKind.AMENDED, market, order, request,
            ahead=order.ahead, reserved=self._reserve(market),
        )  # fmt: skip

    def _charge(self, tokens: int, reason: Reason) -> None:
        """Take what an answer costs of the bucket."""
        if reason != Reason.RATE_LIMIT:
            self.bucket.take(tokens)

    def _write_about(
        self, kind: JournalKind, market: MarketState, order: Order, cause: Cause, **fields: int
    ) -> Cause:
        """Write a row about an order that may not be open: then only its number is left of it."""
        if order.number in market.open:
            return self._write_order(kind, market, order, cause, **fields)
        return self._write(kind, market, cause, order=order.number, **fields)

    def journal_rows(self) -> np.ndarray:
        """Return the journal, array of JOURNAL_DTYPE."""
        names = JOURNAL_DTYPE.names
        rows = [tuple(int(row[name]) for name in names) for row in self.journal]
        return np.array(rows, dtype=JOURNAL_DTYPE)

    def places(self) -> list[int]:
        """Return for each journal row how many tape rows had been applied before it."""
        return list(self.ledger.places)

    def known_times(self) -> list[int]:
        """Return when the agent knows of each journal row, ns (section 10)."""
        return known_times(self.journal, self.models)

    def digest(self) -> str:
        """SHA-256 of the journal's bytes, in hex."""
        return hashlib.sha256(self.journal_rows().tobytes()).hexdigest()

    def state(self) -> dict[str, Any]:
        """Return everything that the account sees as nested dicts and lists of plain ints."""
        account = {
            "now": self.now,
            "cash": self.cash,
            "reserved": self.reserved,
            "returned": self.returned,
            "fees": sum(market.fees for market in self.markets),
            "realised": sum(market.realised for market in self.markets),
            "value": self.value,
            "peak": self.peak,
            "drawdown": self.drawdown,
            "killed": int(self.killed),
            "bucket": self.bucket.level,
        }
        return {"account": account, "markets": [market_dict(market) for market in self.markets]}


def cash_moved(position: int, side: int, price: int, qty: int) -> int:
    """Return the cash of a fill's row: what closing pays less what opening costs."""
    leg = leg_cost(side, price)
    closing = min(qty, closable(position, side))
    return (PRICE_ONE - leg) * closing - leg * (qty - closing)
