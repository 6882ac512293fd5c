"""What the venue does with tape rows and with orders (sections 2, 3, 4 and 7)."""

from __future__ import annotations

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
from foldbook.engine.units import PPM, PRICE_ONE

from .account import Account
from .book import matches, opposite
from .latency import draw
from .queue_models import advance
from .state import ACTIVE, FROM_CLOCK, UNKNOWN_AHEAD, Burst, Cause, MarketState, Order, TapeRow

PAUSE_FLAGS = TapeFlag.INACTIVE | TapeFlag.EXCHANGE
CENT = 10_000


class Venue(Account):
    """An account at a venue whose book is the recorded one."""

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
            self._check_groups()
        elif row.kind == TapeKind.STATUS:
            self._apply_status(market, row, cause)
            burst.has_crossing_quote |= row.qty == MarketStatus.OPEN
        elif row.kind == TapeKind.GRID:
            market.centre_step, market.edge_step = row.price, row.ahead
            market.edge_width = row.qty
        elif row.kind == TapeKind.FEE:
            market.taker_ppm, market.maker_ppm = row.qty, row.ahead
        elif row.kind == TapeKind.GAP:
            for each in market.book.values():
                each.clear()
            market.trusted = False
            market.restore_at = NO_TIME
            for order in market.open.values():
                order.ahead, order.guessed = UNKNOWN_AHEAD, 0
        else:
            assert row.kind == TapeKind.RECOVERED, row

    def _note_quote(self, market: MarketState, row: TapeRow, burst: Burst) -> None:
        own = market.queue(opposite(row.side))
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
        for order in market.queue(row.side):
            if order.price != row.price:
                continue
            if is_trade or queue.model == QueueModel.CONSERVATIVE:
                order.ahead = min(order.ahead, after)
            else:
                advance(queue, order, row, before, after)

    def _match_trade(self, market: MarketState, row: TapeRow, cause: Cause) -> None:
        rest = row.qty
        for order in market.queue(row.side):
            if order.price != row.price and matches(row.side, order.price, row.price):
                evidence, claim, ahead, guessed = Evidence.THROUGH, rest, 0, 0
            elif order.price == row.price:
                evidence, claim = Evidence.QUEUE, rest - order.ahead
                ahead, guessed = order.ahead, order.guessed
            else:
                continue
            if claim > 0:
                qty = min(order.left, claim)
                if self._fill(
                    market, order, qty, cause,
                    price=order.price, liquidity=Liquidity.MAKER, evidence=evidence, claim=claim,
                    ahead=ahead, guessed=guessed,
                ):  # fmt: skip
                    rest -= qty
        for order in market.queue(row.side):
            if order.price == row.price:
                order.ahead = max(0, order.ahead - row.qty)

    def _end_burst(self, market: MarketState, burst: Burst, cause: Cause) -> None:
        if burst.has_snapshot:
            for ladder in market.book.values():
                for price in list(ladder.taken):
                    ladder.clamp(price)
            for order in market.open.values():
                order.ahead = min(order.ahead, market.book[order.side].at(order.price))
        if burst.has_crossing_quote and market.trusted and market.status == MarketStatus.OPEN:
            self._match_crossed_quotes(market, cause)
        self._check_groups()
        if market.trusted and market.status in ACTIVE:
            market.mid2 = sum(ladder.recorded_best for ladder in market.book.values())

    def _match_crossed_quotes(self, market: MarketState, cause: Cause) -> None:
        evidence = Evidence.THROUGH if market.has_traded else Evidence.BEYOND
        for side in (Side.BUY, Side.SELL):
            ladder = market.book[opposite(side)]
            for order in market.queue(side):
                while order.left and matches(side, order.price, ladder.visible_best):
                    level, shown = next(ladder.visible())
                    qty = min(order.left, shown)
                    if self._fill(
                        market, order, qty, cause,
                        price=order.price, liquidity=Liquidity.MAKER, evidence=evidence,
                        claim=shown, takes=OrderFlag.TAKES_DEPTH,
                    ):  # fmt: skip
                        ladder.take(level, qty)

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
            market.payout = 0 if row.flags & TapeFlag.VOID else row.price
            self._settle(market, row, cause)
            self._return_collateral(market, cause)
        if market.status != MarketStatus.SETTLED:
            market.status = status

    def _pause(self, market: MarketState, row: TapeRow, cause: Cause) -> None:
        market.status = MarketStatus.PAUSED
        market.pause = (market.pause & TapeFlag.INACTIVE) | (row.flags & PAUSE_FLAGS)
        for number in sorted(market.open):
            if market.open[number].flags & OrderFlag.CANCEL_ON_PAUSE:
                self._cancel_order(market, market.open[number], Reason.PAUSED, cause)

    def _open(self, market: MarketState, cause: Cause) -> None:
        market.status = MarketStatus.OPEN
        if market.pause & TapeFlag.INACTIVE:
            for number in sorted(market.open):
                self._cancel_order(market, market.open[number], Reason.REACTIVATED, cause)
        market.pause = 0

    def _close(self, market: MarketState, cause: Cause) -> None:
        for number in sorted(market.open):
            self._cancel_order(market, market.open[number], Reason.MARKET_CLOSED, cause)
        for ladder in market.book.values():
            ladder.clear()
        market.restore_at = NO_TIME

    def _settle(self, market: MarketState, row: TapeRow, cause: Cause) -> None:
        """Pay the position that the first SETTLED row ended; later rows pay the difference."""
        is_first = market.status != MarketStatus.SETTLED
        is_void = bool(row.flags & TapeFlag.VOID)
        if is_first:
            market.settled_position, market.settled_cost = market.position, market.cost
        if not is_void:
            market.mid2 = 2 * row.price
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

    def _restore(self, market: MarketState) -> None:
        """Give back what own fills took, but where an own order would take it again."""
        market.restore_at = NO_TIME
        for side, ladder in market.book.items():
            own = market.queue(opposite(side))
            for price in list(ladder.taken):
                if not own or not matches(own[0].side, own[0].price, price):
                    del ladder.taken[price]
        self._write(JournalKind.RESTORED, market, FROM_CLOCK)
        self._step_done()

    # The walk (section 3).

    def _first_own(self, market: MarketState, order: Order) -> Order | None:
        """Return the own order that `order` would meet first, if its limit reaches that far."""
        own = market.queue(opposite(order.side))
        return own[0] if own and matches(order.side, order.price, own[0].price) else None

    def _walk(self, market: MarketState, order: Order, cause: Cause) -> None:
        ladder = market.book[opposite(order.side)]
        self._miss(market, order, cause)
        took: dict[int, int] = {}
        while order.left:
            best, shown = next(ladder.visible(), (ladder.nothing, 0))
            reaches = bool(shown) and matches(order.side, order.price, best)
            own = self._first_own(market, order)
            if own is None and not reaches:
                return
            if own is not None and self._meet(own, best if reaches else None, took):
                if not order.flags & OrderFlag.CANCEL_RESTING:
                    self._cancel_order(market, order, Reason.TAKER_SELF_TRADE, cause)
                    return
                self._cancel_order(market, own, Reason.MAKER_SELF_TRADE, cause)
                continue
            qty = min(order.left, shown)
            if own is not None and own.price == best:
                qty = min(qty, own.ahead - took.get(best, 0))
            if not self._fill(
                market, order, qty, cause,
                price=best, liquidity=Liquidity.TAKER, evidence=Evidence.TAKER, claim=shown,
                takes=OrderFlag.TAKES_DEPTH,
            ):  # fmt: skip
                return
            ladder.take(best, qty)
            took[best] = took.get(best, 0) + qty

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
        self._write_order(JournalKind.MISSED, market, order, cause, qty=displayed)
        for price, shown in there:
            ladder.take(price, shown)
        if self.models.restored_after:
            market.restore_at = self.now + self.models.restored_after

    def _meet(self, own: Order, best: int | None, took: dict[int, int]) -> bool:
        """Say whether a walk comes to `own` before it comes to the displayed `best`."""
        if best is None:
            return True
        if own.price == best:
            return took.get(best, 0) >= own.ahead
        return matches(opposite(own.side), best, own.price)
