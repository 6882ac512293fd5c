"""What stands in one market at a moment: its book, status, grid and fees; and the rows that say so.

A stretch that begins in the middle of a recording begins with these rows, so that its fold is that
of the whole (docs/semantics.md, section 2).
"""

from __future__ import annotations

import attrs
import numpy as np

from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import PRICE_ONE

NO_TIME_YET = -(1 << 62)
"""Before any receipt."""

Rule = tuple[int, int, int, int]
"""price, ahead, qty and flags of a STATUS, GRID or FEE row."""
OPEN: Rule = (0, 0, int(MarketStatus.OPEN), 0)
RULES = (TapeKind.STATUS, TapeKind.GRID, TapeKind.FEE, TapeKind.CLOSE_TIME, TapeKind.STRIKE)
"""Kinds of rows that stay in force until the next of theirs."""


def _no_levels() -> np.ndarray:
    return np.zeros((2, PRICE_ONE + 1), np.int64)


@attrs.define
class Standing:
    """The recorded state of one market; `fold` takes it on.

    levels: 0.01 contract by [side, price]. begun: it has had a row. trusted: its book is. lost: it
    is not, because of a GAP. status: the STATUS row in force; ruling: the last of them that says
    how the market ended, DETERMINED or SETTLED; grid, fee: the rows in force, fee None until one is
    stated; terms: the CLOSE_TIME and STRIKE rows by kind and side. recv: the latest receipt
    of a row of the book, ns.
    """

    grid: Rule
    levels: np.ndarray = attrs.field(factory=_no_levels)
    begun: bool = False
    trusted: bool = False
    lost: bool = False
    status: Rule = OPEN
    ruling: Rule | None = None
    fee: Rule | None = None
    terms: dict[tuple[TapeKind, int], Rule] = attrs.field(factory=dict)
    recv: int = NO_TIME_YET

    @classmethod
    def at_the_start(cls, market: Market) -> Standing:
        """Return what stands before the first row: open, not trusted, its tick everywhere."""
        return cls(grid=(market.tick, market.tick, 0, 0))

    @property
    def is_closed(self) -> bool:
        """Whether the market has closed, for good."""
        return self.status[2] >= MarketStatus.CLOSED

    def fold(self, rows: np.ndarray) -> None:
        """Take on the rows of this market (TAPE_DTYPE, in order) that come next."""
        if not len(rows):
            return
        self.begun = True
        kinds = rows["kind"]
        closes = np.flatnonzero((kinds == TapeKind.STATUS) & (rows["qty"] >= MarketStatus.CLOSED))
        turns = np.flatnonzero((kinds == TapeKind.SNAPSHOT) | (kinds == TapeKind.GAP))
        clears = turns if self.is_closed else np.sort(np.append(turns, closes[:1]))
        if len(turns):
            self.trusted = bool(kinds[turns[-1]] == TapeKind.SNAPSHOT)
            self.lost = not self.trusted
        self._change(rows, int(clears[-1]) if len(clears) else None)
        for row in rows[np.isin(kinds, RULES)]:
            self._rule(row)
        of_book = rows["recv"][kinds != TapeKind.TRADE]
        if len(of_book):
            self.recv = max(self.recv, int(of_book.max()))

    def _change(self, rows: np.ndarray, cleared: int | None) -> None:
        """Take on the levels; `cleared` is the last row that empties the book."""
        if cleared is not None:
            self.levels[:] = 0
            rows = rows[cleared:]
        sets = rows[rows["kind"] == TapeKind.SNAPSHOT_LEVEL]
        self.levels[sets["side"], sets["price"]] = sets["qty"]
        for kind, sign in ((TapeKind.INCREASE, 1), (TapeKind.DECREASE, -1)):
            changes = rows[rows["kind"] == kind]
            np.add.at(self.levels, (changes["side"], changes["price"]), sign * changes["qty"])

    def _rule(self, row: np.void) -> None:
        rule = (int(row["price"]), int(row["ahead"]), int(row["qty"]), int(row["flags"]))
        if row["kind"] == TapeKind.GRID:
            self.grid = rule
        elif row["kind"] == TapeKind.FEE:
            self.fee = rule
        elif row["kind"] in (TapeKind.CLOSE_TIME, TapeKind.STRIKE):
            self.terms[TapeKind(int(row["kind"])), int(row["side"])] = rule
        else:
            self._set_status(rule)

    def _set_status(self, rule: Rule) -> None:
        """A close is for good, and of closed states SETTLED is the last."""
        price, ahead, status, flags = rule
        before = self.status[2]
        if before == MarketStatus.SETTLED and status != MarketStatus.SETTLED:
            return
        if before >= MarketStatus.CLOSED and status < MarketStatus.CLOSED:
            return
        if before == status == MarketStatus.PAUSED:
            flags |= self.status[3] & TapeFlag.INACTIVE
        self.status = (price, ahead, status, flags)
        if status in (MarketStatus.DETERMINED, MarketStatus.SETTLED):
            self.ruling = self.status

    def rows(self, ts: int, recv: int) -> np.ndarray:
        """Return rows at `ts` (TAPE_DTYPE, market 0) whose fold is this state; none if not begun.

        The grid comes first and is always stated; it is received at `recv`, the book no earlier
        than the rows that it is made of.
        """
        if not self.begun:
            return np.zeros(0, TAPE_DTYPE)
        lines: list[tuple[TapeKind, int, Rule]] = [(TapeKind.GRID, 0, self.grid)]
        if self.status != OPEN:
            lines.append((TapeKind.STATUS, 0, self.status))
        if self.fee is not None:
            lines.append((TapeKind.FEE, 0, self.fee))
        lines += [(kind, side, rule) for (kind, side), rule in sorted(self.terms.items())]
        if self.trusted:
            lines.append((TapeKind.SNAPSHOT, 0, (0, 0, 0, 0)))
            lines += [
                (TapeKind.SNAPSHOT_LEVEL, int(side), (price, 0, int(self.levels[side, price]), 0))
                for side in Side
                for price in np.flatnonzero(self.levels[side]).tolist()
            ]
        made = np.zeros(len(lines), TAPE_DTYPE)
        for row, (kind, side, (price, ahead, qty, flags)) in zip(made, lines, strict=True):
            row["ts"], row["recv"], row["kind"], row["side"] = ts, max(self.recv, recv), kind, side
            row["price"], row["ahead"], row["qty"], row["flags"] = price, ahead, qty, flags
        made["recv"][0] = recv
        return made
