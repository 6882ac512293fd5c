"""Why an own order was filled: the chain from market event to fill, read from the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from .journal import Journal
from .projections.book import BookView
from .schema import (
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    OrderFlag,
    Reason,
    Side,
    TapeFlag,
    TapeKind,
    TimeInForce,
)
from .units import PRICE_ONE, decimal_cash, decimal_price, decimal_qty, iso_time

if TYPE_CHECKING:
    from .result import Result

_EVIDENCE = {
    Evidence.TAKER: "taker within displayed depth",
    Evidence.THROUGH: "maker, the level was traded or quoted through",
    Evidence.QUEUE: "maker, a trade went beyond what stood ahead in the queue",
    Evidence.BEYOND: "maker, beyond what the record can show (it has shown no trade yet)",
    Evidence.ACCOUNT: "with another account of the simulation",
}


@attrs.frozen
class Link:
    """One step of the chain. role: what it is; ts: ns; text: one line."""

    role: str
    ts: int
    text: str


@attrs.frozen
class Explanation:
    """The chain of causes of one fill, earliest first. `str` prints it."""

    fill: int
    market: str
    chain: tuple[Link, ...]

    def __str__(self) -> str:
        width = max(len(link.role) for link in self.chain)
        lines = [f"fill {self.fill} in {self.market}"]
        lines += [
            f"  {iso_time(link.ts)}  {link.role:<{width}}  {link.text}" for link in self.chain
        ]
        return "\n".join(lines)


def explain(result: Result, index: int) -> Explanation:
    """Return the chain of causes of fill number `index`: market event, order, decision, fill.

    Raises IndexError if there is no such fill.
    """
    numbers = result.journal.numbers(JournalKind.FILL)
    if not 0 <= index < len(numbers):
        raise IndexError(f"fill {index}: the run has {len(numbers)}, counted from 0")
    return _Reader(result).explain(index, int(numbers[index]))


class _Reader:
    """Looks rows up by market and row number, and the book of a moment."""

    def __init__(self, result: Result):
        self.result = result
        self.rows = result.journal.rows
        self.tape = result.session.tape.rows
        self.tickers = [market.ticker for market in result.session.markets]

    def explain(self, index: int, number: int) -> Explanation:
        fill = self.rows[number]
        market = int(fill["market"])
        own = np.flatnonzero(
            (self.rows["market"] == market) & (self.rows["order"] == fill["order"])
        )
        own = own[own <= number]
        chain = self._causes(int(own[0]))
        for step in own:
            row = self.rows[step]
            kind = JournalKind(row["kind"])
            if kind in (JournalKind.SUBMITTED, JournalKind.AMEND_REQUESTED):
                if kind is JournalKind.AMEND_REQUESTED:
                    chain += self._causes(int(step))
                chain.append(self._link("decision", row, _terms(row)))
                chain += [self._link(role, row, text)
                          for role, text in self._books(market, int(step))]
            elif kind in (JournalKind.ACCEPTED, JournalKind.AMENDED):
                chain.append(self._link("order", row, _standing(row)))
            elif kind is JournalKind.FILL and step != number:
                chain.append(self._link("earlier fill", row, _filled(row)))
        if fill["cause_kind"] == CauseKind.TAPE:
            chain.append(self._tape_link("market event", market, int(fill["cause_row"])))
            chain.append(self._link("book", fill, self._books(market, number)[-1][1]))
        if fill["liquidity"] == Liquidity.MAKER:
            chain.append(self._link("queue", fill, self._queue(own, fill)))
        chain.append(self._link("fill", fill, _filled(fill)))
        return Explanation(index, self.tickers[market], tuple(chain))

    def _causes(self, number: int) -> list[Link]:
        """Return what led to a request: causes in the journal are followed to one outside it."""
        links: list[Link] = []
        row = self.rows[number]
        while True:
            kind, market = CauseKind(row["cause_kind"]), int(row["cause_market"])
            at = int(row["cause_row"])
            if kind is CauseKind.TAPE:
                links.append(self._tape_link("market event", market, at))
            elif kind is CauseKind.TIMER:
                links.append(Link("clock", int(row["ts"]), "a timer or periodic decision"))
            elif kind is CauseKind.START:
                links.append(Link("start", int(row["ts"]), "the run began"))
            else:
                row = self.rows[self.result.journal.find(market, at)]
                links.append(self._link("own event", row, _own(row)))
                continue
            return links[::-1]

    def _tape_link(self, role: str, market: int, at: int) -> Link:
        number = int(np.flatnonzero(self.tape["market"] == market)[at])
        row = self.tape[number]
        kind = TapeKind(row["kind"])
        text = f"{kind.name} (tape row {number}, row {at} of the market)"
        if kind in (TapeKind.INCREASE, TapeKind.DECREASE, TapeKind.TRADE, TapeKind.SNAPSHOT_LEVEL):
            side = "bid" if row["side"] == Side.BUY else "ask"
            text += f": {decimal_qty(row['qty'])} at the {side} ${decimal_price(row['price'])}"
            if row["flags"]:
                text += f", {TapeFlag(int(row['flags'])).name}"
        lag = (int(row["recv"]) - int(row["ts"])) / 1e6
        return Link(role, int(row["ts"]), f"{text}, received {lag:+.3f} ms later")

    def _link(self, role: str, row: np.void, text: str) -> Link:
        return Link(role, int(row["ts"]), text)

    def _books(self, market: int, number: int) -> list[tuple[str, str]]:
        """Return (what it is, the visible book) just before a journal row.

        Where the agent sees late, the book that it saw then comes first, the venue's last.
        """
        result = self.result
        bus = result.config.simulation(result.session).bus
        rows, places = self.rows[:number], result.journal.places[:number]
        bus.rebuild(rows[1:], places[1:], int(result.journal.places[number]))
        at_the_venue = _ladders(BookView(bus.memory, bus.base(market)))
        if not bus.sees_late:
            return [("book", at_the_venue)]
        bus.adopt(Journal(rows, places), int(self.rows[number]["ts"]))
        seen = _ladders(BookView(bus.sight, bus.base(market)))
        return [("book as seen", seen), ("venue book", at_the_venue)]

    def _queue(self, own: np.ndarray, fill: np.void) -> str:
        placing = (JournalKind.ACCEPTED, JournalKind.AMENDED)
        placed = [step for step in own if self.rows[step]["kind"] in placing]
        first = decimal_qty(self.rows[placed[-1]]["ahead"])
        claim = decimal_qty(fill["claim"])
        if fill["evidence"] == Evidence.QUEUE:
            return (
                f"{first} stood ahead on arrival, {decimal_qty(fill['ahead'])} before this "
                f"trade; {claim} went beyond"
            )
        return f"{first} stood ahead on arrival; the level was gone through, {claim} on offer"


def _ladders(book: BookView) -> str:
    bids = " ".join(f"{decimal_qty(q)}@{decimal_price(p)}" for p, q in book.bids(3))
    asks = " ".join(f"{decimal_qty(q)}@{decimal_price(p)}" for p, q in book.asks(3))
    return f"bids {bids or '-'} | asks {asks or '-'}"


def _terms(row: np.void) -> str:
    price = "as it is" if row["price"] < 0 else f"${decimal_price(row['price'])}"
    qty = "the same total" if row["qty"] < 0 else decimal_qty(row["qty"])
    flags = OrderFlag(int(row["flags"]))
    extra = f" {flags.name}" if flags else ""
    return (
        f"{JournalKind(row['kind']).name}: order {row['order']}, {Side(row['side']).name} {qty}"
        f" YES at {price} {TimeInForce(row['tif']).name}{extra}"
    )


def _standing(row: np.void) -> str:
    return (
        f"{JournalKind(row['kind']).name}: {decimal_qty(row['left'])} open, "
        f"{decimal_qty(row['ahead'])} ahead, collateral {_signed(row['reserved'])}"
    )


def _filled(row: np.void) -> str:
    side = Side(row["side"])
    price = int(row["price"])
    twin = Side(1 - side).name
    return (
        f"{side.name} {decimal_qty(row['qty'])} YES at ${decimal_price(price)} "
        f"(= {twin} NO at ${decimal_price(PRICE_ONE - price)}), cash {_signed(row['cash'])}, "
        f"fee ${decimal_cash(row['fee'])}, {decimal_qty(row['left'])} left; "
        f"{_EVIDENCE[Evidence(row['evidence'])]}"
    )


def _own(row: np.void) -> str:
    kind = JournalKind(row["kind"])
    reason = f" ({Reason(row['reason']).name})" if row["reason"] else ""
    return f"{kind.name} of order {row['order']}{reason}"


def _signed(cash: Any) -> str:
    return f"{'-' if cash < 0 else '+'}${decimal_cash(abs(int(cash)))}"
