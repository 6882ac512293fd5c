"""Frames to message rows: numbers in bulk, refusals one by one.

A chunk's frames are read as columns; a value that is not what it should be is looked at again by
itself, so that a refusal can name its row, field, value and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foldbook.engine.errors import FeeError
from foldbook.engine.fees import FeeRow
from foldbook.engine.schema import MarketStatus, Side
from foldbook.engine.units import MILLISECOND, PRICE_ONE

from ..recordings.reports import UNKNOWN, RefusedError, Rejections
from .fees import fee_row
from .frames import (
    Delta,
    Dialect,
    EventFee,
    Kind,
    Lifecycle,
    Snapshot,
    Trade,
)
from .lines import LineReader, Lines
from .messages import BLOCK_TRADE, NO_SEQ, NO_TS, OWN, REFUSED
from .numbers import BAD, PAYOUTS, PRICES, QUANTITIES
from .sources import Chunk
from .terms import Term, terms_of
from .values import (
    PRICE_EXPECTED,
    TIME_EXPECTED,
    check_cents,
    check_fields,
    delta_times,
    delta_values,
    level_of,
    looked_up,
    positive,
    price_of,
    qty_of,
    seconds_of,
)


class Decoder:
    """Turns the chunks of one recording into message rows; knows its tickers and subscriptions."""

    def __init__(
        self, dialect: Dialect, files: Sequence[Path], rejections: Rejections, *,
        marks_own: bool = False,
    ):
        """marks_own: flag the deltas that name a client_order_id as OWN."""
        self.dialect = dialect
        self._marks_own = marks_own
        self.tickers: dict[str, int] = {}
        self.subs: dict[object, int] = {}
        self.fees: list[FeeRow | None] = []
        self.events: list[str] = []
        self.terms: list[list[Term]] = []
        """What each fee update stated, and of which event; its message has the number as qty."""
        self._yes_scaled: set[int] = set()
        """Subscriptions that give the prices of the NO ladder on the YES scale (SPEC 1.5)."""
        self._files = {path: number for number, path in enumerate(files)}
        self._rejections = rejections
        self._lines = LineReader(dialect, rejections)

    def decode(self, chunk: Chunk) -> np.ndarray:
        """Return the messages of a chunk in order of arrival, levels after their snapshot."""
        lines = self._lines.read(chunk)
        messages, frames = lines.messages, lines.frames
        if not len(messages):
            return messages
        messages["file"] = self._files[chunk.path]
        framed = np.fromiter(frames, np.int64, len(frames))
        kinds = messages["kind"][framed]
        self._subscriptions(lines, framed)
        rest = framed[(kinds == Kind.STATUS) | (kinds == Kind.START)]
        self._each(messages, rest, frames, self._control)
        scaled = self._scales(messages, rest, frames)
        self._alike(lines, framed, scaled)
        deltas = framed[kinds == Kind.DELTA]
        if len(deltas):
            self._deltas(messages, deltas, [frames[at].msg for at in deltas.tolist()], scaled)
        trades = framed[kinds == Kind.TRADE]
        if len(trades):
            self._trades(messages, trades, frames)
        for number in framed[kinds == Kind.FEE].tolist():
            self._fee(messages[number], chunk.path, frames[number].msg)
        for number in framed[kinds == Kind.LOST].tolist():
            messages["market"][number] = self._ticker(frames[number].market_ticker)
        snapshots = framed[kinds == Kind.SNAPSHOT]
        if len(snapshots):
            return self._with_levels(messages, snapshots, frames, scaled, chunk)
        return messages

    def _subscriptions(self, lines: Lines, framed: np.ndarray) -> None:
        """Fill sub and seq: by sid, or where each market has its own, by market.

        framed: the messages whose frames are at hand.
        """
        messages, keys = lines.messages, lines.sids
        frames = lines.frames.values()
        if self.dialect.parts:
            messages["seq"][framed] = [NO_SEQ if each.seq is None else each.seq for each in frames]
            keys[framed] = [self._ticker(each.market_ticker) for each in frames]
            messages["market"][framed] = keys[framed]
        else:
            messages["seq"][framed] = [each.seq for each in frames]
            keys[framed] = [each.sid for each in frames]
            messages["market"][framed] = -1
        subs = np.full(len(keys), -2)
        while (rest := np.flatnonzero(subs == -2)).size:
            key = int(keys[rest[0]])
            number = -1 if key < 0 else self.subs.setdefault(key, len(self.subs))
            subs[keys == key] = number
        messages["sub"] = subs

    def _alike(self, lines: Lines, framed: np.ndarray, scaled: np.ndarray | None) -> None:
        """Complete the deltas that needed no frame."""
        if not lines.tickers:
            return
        messages = lines.messages
        alike = np.ones(len(messages), np.bool_)
        alike[framed] = False
        numbers = np.array([self._ticker(ticker) for ticker in lines.tickers])
        messages["market"][alike] = (
            numbers[0] if len(numbers) == 1 else numbers[messages["market"][alike]]
        )
        mirrored = alike & (messages["side"] == Side.SELL)
        if scaled is not None:
            mirrored &= ~scaled
        messages["price"][mirrored] = PRICE_ONE - messages["price"][mirrored]

    def _scales(
        self, messages: np.ndarray, starts: np.ndarray, frames: dict[int, Any]
    ) -> np.ndarray | None:
        """Return for each message whether its NO prices are on the YES scale; None if none is."""
        scaled = np.isin(messages["sub"], list(self._yes_scaled)) if self._yes_scaled else None
        for at in starts.tolist():
            if messages["kind"][at] != Kind.START or self.dialect.parts:
                continue
            sub = int(messages["sub"][at])
            now = frames[at].msg.use_yes_price
            if now and scaled is None:
                scaled = np.zeros(len(messages), np.bool_)
            if scaled is not None:
                scaled[at:][messages["sub"][at:] == sub] = now
            self._yes_scaled = self._yes_scaled | {sub} if now else self._yes_scaled - {sub}
        return scaled

    def _deltas(
        self, messages: np.ndarray, at: np.ndarray, deltas: list[Delta], scaled: np.ndarray | None
    ) -> None:
        count = len(deltas)
        prices = looked_up(PRICES, [delta.price_dollars for delta in deltas])
        qtys = looked_up(QUANTITIES, [delta.delta_fp for delta in deltas])
        times = delta_times(deltas)
        doubtful = (prices == BAD) | (qtys == BAD) | (times == BAD)
        cents = [delta.price for delta in deltas]
        if cents.count(None) < count or self.dialect.parts:
            doubtful[:] = True
        refused = []
        for number in np.flatnonzero(doubtful).tolist():
            try:
                if times[number] == BAD:
                    raise RefusedError("ts", "ts", str(deltas[number].ts), TIME_EXPECTED)
                prices[number], qtys[number] = delta_values(deltas[number])
            except RefusedError as error:
                refused.append((number, error))
        no = np.frombuffer(bytes([delta.side == "no" for delta in deltas]), np.bool_)
        mirrored = no if scaled is None else no & ~scaled[at]
        whole = slice(None) if count == len(messages) else at
        messages["price"][whole] = np.where(mirrored, PRICE_ONE - prices, prices)
        messages["qty"][whole] = qtys
        messages["ts"][whole] = times
        messages["side"][whole] = no
        messages["market"][whole] = self._tickers([delta.market_ticker for delta in deltas])
        if self._marks_own:
            own = np.array([bool(delta.client_order_id) for delta in deltas], np.bool_)
            messages["flags"][at[own]] |= OWN
        for number, fault in refused:
            self._refuse(messages, int(at[number]), deltas[number].market_ticker, fault)

    def _trades(self, messages: np.ndarray, at: np.ndarray, frames: dict[int, Any]) -> None:
        """Fill trades in bulk; those that are not plainly in order go through `_trade`."""
        trades = [frames[number].msg for number in at.tolist()]
        prices = looked_up(PRICES, [trade.yes_price_dollars for trade in trades])
        others = looked_up(PRICES, [trade.no_price_dollars for trade in trades])
        qtys = looked_up(QUANTITIES, [trade.count_fp for trade in trades])
        plain = np.array([
            trade.taker_outcome_side == trade.taker_side and trade.taker_side is not None
            and trade.ts_ms is not None and not trade.is_block_trade and trade.yes_price is None
            for trade in trades
        ], np.bool_)
        plain &= (prices + others == PRICE_ONE) & (prices > 0) & (qtys > 0)
        messages["price"][at] = prices
        messages["qty"][at] = qtys
        messages["side"][at] = [
            Side.SELL if trade.taker_side == "yes" else Side.BUY for trade in trades
        ]
        messages["market"][at] = self._tickers([trade.market_ticker for trade in trades])
        messages["ts"][at] = np.array([trade.ts_ms or 0 for trade in trades]) * MILLISECOND
        self._each(messages, at[~plain], frames, self._trade)

    def _trade(self, message: np.void, frame: Any) -> None:
        trade: Trade = frame.msg
        message["market"] = self._ticker(trade.market_ticker)
        taker = trade.taker_outcome_side or trade.taker_side
        if taker is None or (trade.taker_side or taker) != taker:
            raise RefusedError("taker", "taker_side", trade.taker_side,
                               f"yes or no, as taker_outcome_side ({trade.taker_outcome_side!r})")
        price = price_of("yes_price", trade.yes_price_dollars, trade.yes_price)
        if trade.no_price_dollars is not None or trade.no_price is not None:
            other = price_of("no_price", trade.no_price_dollars, trade.no_price)
            if price + other != PRICE_ONE:
                raise RefusedError("price", "no_price_dollars", trade.no_price_dollars,
                                   f"1 - yes_price_dollars ({trade.yes_price_dollars!r})")
        message["price"] = price
        message["side"] = Side.SELL if taker == "yes" else Side.BUY
        message["qty"] = positive(qty_of("count", trade.count_fp, trade.count), trade.count_fp,
                                   "count_fp")
        message["flags"] = BLOCK_TRADE if trade.is_block_trade else 0
        message["ts"] = NO_TS
        if trade.ts_ms is not None:
            message["ts"] = trade.ts_ms * MILLISECOND
        elif trade.ts is not None:
            message["ts"] = seconds_of("ts", trade.ts)

    def _control(self, message: np.void, frame: Any) -> None:
        """A subscription begins, or a market's life goes on."""
        if message["kind"] == Kind.START:
            if not self.dialect.parts:
                key = frame.msg.sid
                message["sub"] = self.subs.setdefault(key, len(self.subs)) if key >= 0 else -1
            return
        news: Lifecycle = frame.msg
        message["market"] = self._ticker(news.market_ticker)
        message["ts"] = NO_TS
        message["price"] = BAD_PAYOUT
        if news.event_type == "determined":
            message["qty"] = MarketStatus.DETERMINED
            message["ts"] = seconds_of("determination_ts", news.determination_ts)
        elif news.event_type == "settled":
            message["qty"] = MarketStatus.SETTLED
            message["ts"] = seconds_of("settled_ts", news.settled_ts)
        elif news.event_type in ("deactivated", "activated"):
            paused = news.event_type == "deactivated" and news.is_deactivated is not False
            message["qty"] = MarketStatus.PAUSED if paused else MarketStatus.OPEN
        elif news.event_type == "price_level_structure_updated" and news.price_ranges:
            grid = grid_of([(each.start, each.end, each.step) for each in news.price_ranges])
            message["kind"] = Kind.GRID
            message["price"], message["edge"], message["qty"] = grid
        elif terms := terms_of(news):
            message["kind"] = Kind.TERM
            message["qty"] = len(self.terms)
            self.terms.append(terms)
        else:
            message["kind"] = Kind.CONTROL
        if news.settlement_value is not None:
            payout = PAYOUTS[news.settlement_value]
            if payout == BAD:
                raise RefusedError("price", "settlement_value", news.settlement_value,
                                   PRICE_EXPECTED)
            message["price"] = payout
        elif news.result in ("yes", "no") and message["kind"] == Kind.STATUS:
            message["price"] = PRICE_ONE if news.result == "yes" else 0

    def _fee(self, message: np.void, path: Path, update: EventFee) -> None:
        """Note what an event is charged from now on; which markets that concerns shows later."""
        message["ts"] = NO_TS
        try:
            stated = fee_row(
                update.event_ticker, update.fee_type_override, update.fee_multiplier_override
            )
        except FeeError as error:
            message["kind"] = Kind.CONTROL
            text = f"event {update.event_ticker}: {error}"
            self._rejections.refuse(path, int(message["row"]), UNKNOWN, "fee", text)
            return
        message["qty"] = len(self.fees)
        self.fees.append(stated)
        self.events.append(update.event_ticker)

    def _each(
        self, messages: np.ndarray, at: np.ndarray, frames: dict[int, Any],
        fill: Callable[[np.void, Any], None],
    ) -> None:
        """Fill the messages of a rarer kind one by one."""
        for number in at.tolist():
            try:
                fill(messages[number], frames[number])
            except RefusedError as error:
                self._refuse(messages, number, frames[number].msg.market_ticker, error)
                messages["kind"][number] = Kind.CONTROL

    def _with_levels(
        self, messages: np.ndarray, at: np.ndarray, frames: dict[int, Any],
        scaled: np.ndarray | None, chunk: Chunk,
    ) -> np.ndarray:
        """Return the messages with the levels of each snapshot inserted after it."""
        places: list[int] = []
        lines: list[bytes] = []
        blocks: list[np.ndarray] = []
        for number in at.tolist():
            snapshot: Snapshot = frames[number].msg
            message = messages[number]
            message["market"] = self._ticker(snapshot.market_ticker)
            message["ts"] = NO_TS
            try:
                levels = self._levels(snapshot, scaled is not None and bool(scaled[number]))
                if len({side for side, _, _ in levels}) < len(Side):
                    lines = lines or chunk.lines()
                    check_fields(lines[int(message["row"]) - chunk.first_row], self.dialect)
            except RefusedError as error:
                self._refuse(messages, number, snapshot.market_ticker, error)
                continue
            block = np.repeat(message.reshape(1), len(levels))
            block["kind"] = Kind.LEVEL
            for field, column in zip(("side", "price", "qty"), zip(*levels, strict=True),
                                     strict=False):
                block[field] = column
            message["qty"] = len(levels)
            places += [number + 1] * len(levels)
            blocks.append(block)
        return np.insert(messages, places, np.concatenate(blocks)) if blocks else messages

    @staticmethod
    def _levels(snapshot: Snapshot, yes_prices: bool) -> list[tuple[int, int, int]]:
        """Return (side, price, qty) of all levels; a side that is absent or null is empty."""
        found = []
        for side, name in ((Side.BUY, "yes"), (Side.SELL, "no")):
            fixed = getattr(snapshot, f"{name}_dollars_fp")
            dollars = getattr(snapshot, f"{name}_dollars")
            cents = getattr(snapshot, name)
            chosen = next((each for each in (fixed, dollars, cents) if each is not None), ())
            values = [level_of(name, level, in_cents=chosen is cents) for level in chosen]
            if chosen is not cents and cents is not None:
                check_cents(name, values, [level_of(name, each, in_cents=True) for each in cents])
            prices = {price for price, _ in values}
            if len(prices) < len(values):
                raise RefusedError("price", name, sorted(prices), "each price once")
            mirrored = side == Side.SELL and not yes_prices
            found += [(int(side), PRICE_ONE - price if mirrored else price, qty)
                      for price, qty in values]
        return found

    def _refuse(self, messages: np.ndarray, number: int, ticker: str, error: RefusedError) -> None:
        message = messages[number]
        message["flags"] |= REFUSED
        message["market"] = self._ticker(ticker)
        path = next(path for path, file in self._files.items() if file == message["file"])
        self._rejections.refuse(path, int(message["row"]), ticker, error.why, str(error))

    def _ticker(self, ticker: str) -> int:
        return self.tickers.setdefault(ticker, len(self.tickers))

    def _tickers(self, tickers: list[str]) -> int | list[int]:
        if tickers.count(tickers[0]) == len(tickers):
            return self._ticker(tickers[0])
        return [self._ticker(ticker) for ticker in tickers]


BAD_PAYOUT = -1
"""Price of a status that names no payout."""


def grid_of(ranges: list[tuple[str, str, str]]) -> tuple[int, int, int]:
    """Return (step in the centre, step at the edges, width of each edge), $0.0001, of price ranges.

    Where the ranges are no centre between two equal edges, the finest step holds everywhere.
    Raises RefusedError for a step that does not divide one dollar.
    """
    found = []
    for start, end, step in ranges:
        bounds = (PAYOUTS[start], PAYOUTS[end], PAYOUTS[step])
        if BAD in bounds or bounds[2] == 0 or PRICE_ONE % bounds[2]:
            raise RefusedError("grid", "price_ranges", (start, end, step), "a step that divides $1")
        found.append(bounds)
    found.sort()
    steps = [step for _, _, step in found]
    finest = min(steps)
    if (
        len(found) == 3 and steps[0] == steps[2] and found[0][1] == PRICE_ONE - found[2][0]
        and found[0][:1] == (0,) and found[1][:2] == (found[0][1], found[2][0])
        and steps[1] % steps[0] == 0
    ):
        return steps[1], steps[0], found[0][1]
    return finest, finest, 0
