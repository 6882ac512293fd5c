"""What the venue does with tape rows and with orders (sections 2, 3, 4 and 7)."""

from __future__ import annotations

from typing import Any

from foldbook.engine.schema import (
    NO_TIME,
    Evidence,
    JournalKind,
    Liquidity,
    MarketStatus,
    OrderFlag,
    Reason,
    Side,
    TapeFlag,
    TapeKind,
)
from foldbook.engine.specs import ALWAYS, QueueModel
from foldbook.engine.units import PPM

from .account import Account
from .book import matches, opposite
from .latency import draw
from .queue_models import advance
from .state import ACTIVE, FROM_CLOCK, UNKNOWN_AHEAD, Burst, Cause, MarketState, Order, TapeRow

PAUSE_FLAGS = TapeFlag.INACTIVE | TapeFlag.EXCHANGE


class Venue(Account):
    """A venue whose book is the recorded one, and its first account; `accounts` are all of them."""

    accounts: list[Account]

    def _of(self, market: MarketState, order: Order) -> tuple[Account, MarketState]:
        """Return the account of an order, and the market as that has it."""
        account = self.accounts[order.account]
        return account, account.markets[market.index]

    def _fill_of(
        self, market: MarketState, order: Order, qty: int, cause: Cause, **terms: Any
    ) -> Cause | None:
        """Fill an order from its own account; see `Account._fill`."""
        account, desk = self._of(market, order)
        return account._fill(desk, order, qty, cause, **terms)

    def _cancel(self, market: MarketState, order: Order, reason: Reason, cause: Cause) -> None:
        """Cancel an order for its own account."""
        account, desk = self._of(market, order)
        account._cancel_order(desk, order, reason, cause)

    def _check_all_groups(self) -> None:
        for account in self.accounts:
            account._check_groups()

    def _take(self, market: MarketState, taker: Order, price: int, qty: int) -> None:
        """Take displayed depth; orders of other accounts behind it stand nearer (section 13)."""
        side = opposite(taker.side)
        market.book[side].take(price, qty)
        for order in market.line(side):
            if order.price == price and order.account != taker.account:
                order.ahead = max(0, order.ahead - qty)

    # The tape.

    def _apply_row(
        self, market: MarketState, row: TapeRow, cause: Cause, burst: Burst, follows: TapeRow | None
    ) -> None:
        """Apply one row; `follows` is the row of the tape before it."""
        ladder = market.book[row.side]
        if row.kind == TapeKind.SNAPSHOT:
            for each in market.book.values():
                each.qty.clear()
            market.trusted = True
            burst.has_snapshot = True
        elif row.kind == TapeKind.SNAPSHOT_LEVEL:
            self._note_quote(market, row, burst)
            ladder.set(row.price, row.qty)
        elif row.kind == TapeKind.INCREASE:
            self._note_quote(market, row, burst)
            ladder.set(row.price, ladder.at(row.price) + row.qty)
        elif row.kind == TapeKind.DECREASE:
            self._decrease(market, row, follows)
        elif row.kind == TapeKind.TRADE:
            market.has_traded = True
            on_the_book = not row.flags & (TapeFlag.UNJOINED | TapeFlag.BLOCK)
            if on_the_book and market.status == MarketStatus.OPEN and market.trusted:
                self._match_trade(market, row, cause)
            self._check_all_groups()
        elif row.kind == TapeKind.STATUS:
            self._apply_status(market, row, cause)
            burst.has_crossing_quote |= row.qty == MarketStatus.OPEN
        elif row.kind == TapeKind.GRID:
            market.centre_step, market.edge_step = row.price, row.ahead
            market.edge_width = row.qty
        elif row.kind == TapeKind.FEE:
            market.taker_ppm, market.maker_ppm = row.qty, row.ahead
        elif row.kind == TapeKind.CLOSE_TIME:
            market.closes_at = row.qty
        elif row.kind == TapeKind.GAP:
            for each in market.book.values():
                each.clear()
            market.trusted = False
            market.restore_at = NO_TIME
            for order in market.everybody():
                order.ahead, order.guessed = UNKNOWN_AHEAD, 0
        else:
            assert row.kind in (TapeKind.RECOVERED, TapeKind.STRIKE), row

    def _note_quote(self, market: MarketState, row: TapeRow, burst: Burst) -> None:
        own = market.line(opposite(row.side))
        if own and matches(own[0].side, own[0].price, row.price):
            burst.has_crossing_quote = True

    def _decrease(self, market: MarketState, row: TapeRow, follows: TapeRow | None) -> None:
        ladder, queue = market.book[row.side], self.models.queue
        before = ladder.at(row.price)
        after = before - row.qty
        ladder.set(row.price, after)
        is_trade = (
            follows is not None
            and follows.kind == TapeKind.TRADE
            and bool(follows.flags & TapeFlag.JOINED)
        )
        for order in market.line(row.side):
            if order.price != row.price:
                continue
            if is_trade or queue.model == QueueModel.CONSERVATIVE:
                order.ahead = min(order.ahead, after)
            else:
                advance(queue, order, row, before, after)

    def _match_trade(self, market: MarketState, row: TapeRow, cause: Cause) -> None:
        rest = row.qty
        for order in market.line(row.side):
            if order.price != row.price and matches(row.side, order.price, row.price):
                evidence, claim, ahead, guessed = Evidence.THROUGH, rest, 0, 0
            elif order.price == row.price:
                evidence, claim = Evidence.QUEUE, rest - order.ahead
                ahead, guessed = order.ahead, order.guessed
            else:
                continue
            if claim > 0:
                qty = min(order.left, claim)
                if self._fill_of(
                    market, order, qty, cause,
                    price=order.price, liquidity=Liquidity.MAKER, evidence=evidence, claim=claim,
                    ahead=ahead, guessed=guessed,
                ):  # fmt: skip
                    rest -= qty
        for order in market.line(row.side):
            if order.price == row.price:
                order.ahead = max(0, order.ahead - row.qty)

    def _end_burst(self, market: MarketState, burst: Burst, cause: Cause) -> None:
        if burst.has_snapshot:
            for ladder in market.book.values():
                for price in list(ladder.taken):
                    ladder.clamp(price)
            for order in market.everybody():
                order.ahead = min(order.ahead, market.book[order.side].at(order.price))
        if burst.has_crossing_quote and market.trusted and market.status == MarketStatus.OPEN:
            self._match_crossed_quotes(market, cause)
        self._check_all_groups()
        if market.trusted and market.status in ACTIVE:
            market.mid2 = sum(ladder.recorded_best for ladder in market.book.values())

    def _match_crossed_quotes(self, market: MarketState, cause: Cause) -> None:
        evidence = Evidence.THROUGH if market.has_traded else Evidence.BEYOND
        for side in (Side.BUY, Side.SELL):
            ladder = market.book[opposite(side)]
            for order in market.line(side):
                while order.left and matches(side, order.price, ladder.visible_best):
                    level, shown = next(ladder.visible())
                    qty = min(order.left, shown)
                    if self._fill_of(
                        market, order, qty, cause,
                        price=order.price, liquidity=Liquidity.MAKER, evidence=evidence,
                        claim=shown, takes=OrderFlag.TAKES_DEPTH,
                    ):  # fmt: skip
                        self._take(market, order, level, qty)

    # Status, pauses, close and settlement (sections 2 and 7).

    def _apply_status(self, market: MarketState, row: TapeRow, cause: Cause) -> None:
        status = MarketStatus(row.qty)
        if status in ACTIVE:
            if market.status not in ACTIVE:
                return
            if status == MarketStatus.PAUSED:
                self._pause(market, row, cause)
            else:
                self._open(market, cause)
            return
        if market.status in ACTIVE:
            self._close(market, cause)
        if status == MarketStatus.SETTLED:
            is_first = market.status != MarketStatus.SETTLED
            market.payout = 0 if row.flags & TapeFlag.VOID else row.price
            if not row.flags & TapeFlag.VOID:
                market.mid2 = 2 * row.price
            for account in self.accounts:
                desk = account.markets[market.index]
                account._settle(desk, row, cause, is_first)
                account._return_collateral(desk, cause)
        if market.status != MarketStatus.SETTLED:
            market.status = status

    def _pause(self, market: MarketState, row: TapeRow, cause: Cause) -> None:
        market.status = MarketStatus.PAUSED
        market.pause = (market.pause & TapeFlag.INACTIVE) | (row.flags & PAUSE_FLAGS)
        for order in market.everybody():
            if order.flags & OrderFlag.CANCEL_ON_PAUSE:
                self._cancel(market, order, Reason.PAUSED, cause)

    def _open(self, market: MarketState, cause: Cause) -> None:
        market.status = MarketStatus.OPEN
        if market.pause & TapeFlag.INACTIVE:
            for order in market.everybody():
                self._cancel(market, order, Reason.REACTIVATED, cause)
        market.pause = 0

    def _close(self, market: MarketState, cause: Cause) -> None:
        for order in market.everybody():
            self._cancel(market, order, Reason.MARKET_CLOSED, cause)
        for ladder in market.book.values():
            ladder.clear()
        market.restore_at = NO_TIME

    def _restore(self, market: MarketState) -> None:
        """Give back what own fills took, but where an own order would take it again."""
        market.restore_at = NO_TIME
        for side, ladder in market.book.items():
            own = market.line(opposite(side))
            for price in list(ladder.taken):
                if not own or not matches(own[0].side, own[0].price, price):
                    del ladder.taken[price]
        self._write(JournalKind.RESTORED, market, FROM_CLOCK)
        self._step_done()

    # The walk (sections 3 and 13).

    def _walk(self, market: MarketState, order: Order, cause: Cause) -> None:
        side = opposite(order.side)
        ladder = market.book[side]
        self._miss(market, order, cause)
        took: dict[int, int] = {}
        while order.left:
            best, shown = next(ladder.visible(), (ladder.nothing, 0))
            if not matches(order.side, order.price, best):
                shown = 0
            first = self._first_met(market, order)
            before = self._before(first, order, best, took) if first is not None else shown
            qty = min(order.left, shown, before)
            if qty:
                if not self._fill_of(
                    market, order, qty, cause,
                    price=best, liquidity=Liquidity.TAKER, evidence=Evidence.TAKER, claim=shown,
                    takes=OrderFlag.TAKES_DEPTH,
                ):  # fmt: skip
                    return
                self._take(market, order, best, qty)
                took[best] = took.get(best, 0) + qty
            elif first is None or not self._meet(market, order, first, cause):
                return

    def _first_met(self, market: MarketState, order: Order) -> Order | None:
        """Return the resting order that `order` meets first, if its limit reaches that far."""
        line = market.line(opposite(order.side))
        return line[0] if line and matches(order.side, order.price, line[0].price) else None

    def _before(self, first: Order, order: Order, best: int, took: dict[int, int]) -> int:
        """Return how much of the level `best` stands before the resting order `first`."""
        if first.price == best:
            is_own = first.account == order.account
            return max(0, first.ahead - (took.get(best, 0) if is_own else 0))
        return 0 if matches(opposite(first.side), best, first.price) else UNKNOWN_AHEAD

    def _meet(self, market: MarketState, order: Order, first: Order, cause: Cause) -> bool:
        """Let a walking order meet a resting one; say whether it goes on."""
        if first.account == order.account:
            gives_way = bool(order.flags & OrderFlag.CANCEL_RESTING)
            if gives_way:
                self._cancel(market, first, Reason.MAKER_SELF_TRADE, cause)
            else:
                self._cancel(market, order, Reason.TAKER_SELF_TRADE, cause)
            return gives_way
        qty = min(order.left, first.left)
        price, asked, offered = first.price, order.left, first.left
        maker, desk = self._of(market, first)
        if not maker._can_pay(desk, first, qty, price, True):
            self._cancel(market, first, Reason.MARGIN, cause)
            return True
        trade = {"price": price, "evidence": Evidence.ACCOUNT}
        taken = self._fill_of(
            market, order, qty, cause, liquidity=Liquidity.TAKER, claim=offered, **trade
        )
        if taken is None:
            return False
        filled = maker._fill(
            desk, first, qty, taken,
            liquidity=Liquidity.MAKER, claim=asked, guessed=first.guessed, **trade,
        )  # fmt: skip
        assert filled is not None
        return True

    def _miss(self, market: MarketState, order: Order, cause: Cause) -> None:
        """Let displayed depth be gone by chance (section 12)."""
        table = self.models.availability
        ladder = market.book[opposite(order.side)]
        there = [(price, shown) for price, shown in ladder.visible()
                 if matches(order.side, order.price, price)]  # fmt: skip
        displayed = sum(shown for _, shown in there)
        if not displayed or table == ALWAYS:
            return
        ratio = order.left * PPM // displayed
        latency = self.models.latency
        trips = [sorted(delay.values) for delay in (latency.order, latency.response)]
        round_trip = sum(each[len(each) // 2] for each in trips)
        chance = table.ppm(ratio, self.now - market.last_at, round_trip)
        if draw(self.models.seed, len(self.journal) - 1, 5) % PPM < chance:
            return
        account, desk = self._of(market, order)
        account._write_order(JournalKind.MISSED, desk, order, cause, qty=displayed)
        for price, shown in there:
            ladder.take(price, shown)
        if self.models.restored_after:
            market.restore_at = self.now + self.models.restored_after
