"""The recorded half of a run: a tape of market events, and the markets that it speaks of.

Both are immutable and shared by every run. A tape is validated once, when it is made; the kernels
then trust it. The facts of a session (where it came from, how it ended) are for reports: no
strategy, kernel or observation reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import TapeError
from .kernels import check
from .schema import TAPE_DTYPE
from .specs import Market


class Tape:
    """Market events in exchange order.

    rows: array of TAPE_DTYPE, shape (events,), read-only. A burst is a maximal run of adjacent
    rows of one market with one ts: it is atomic, nobody decides within it.
    """

    __slots__ = ("__weakref__", "_digest", "rows")

    def __init__(self, rows: np.ndarray, *, digest: str | None = None):
        if rows.dtype != TAPE_DTYPE or rows.ndim != 1:
            raise TapeError(f"tape: rows are {rows.dtype} {rows.shape}, not TAPE_DTYPE (n,)")
        view = np.ascontiguousarray(rows).view(np.ndarray)
        view.flags.writeable = False
        self.rows = view
        self._digest = digest

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> str:
        """SHA-256 of the row bytes, in hex."""
        if self._digest is None:
            self._digest = hashlib.sha256(self.rows.data).hexdigest()
        return self._digest


_FAULTS = {
    check.BACKWARDS: "ts {ts} is before ts {before} of the row before",
    check.NO_SUCH_MARKET: "market {market} is not one of the session's {markets}",
    check.NO_SUCH_KIND: "kind {kind} is no TapeKind",
    check.NO_SUCH_SIDE: "side {side} is neither 0 (BUY) nor 1 (SELL)",
    check.OFF_GRID: "price {price} is not a multiple of {tick} between 0 and 10000",
    check.BAD_QTY: "qty {qty} is not between 1 and 10^14",
    check.BELOW_ZERO: "a decrease of {qty} takes the level at price {price} below zero",
    check.UNTRUSTED: "a level changes in a book without a snapshot since the start or a gap",
    check.STRAY_LEVEL: "a SNAPSHOT_LEVEL follows neither its SNAPSHOT nor another level of it",
    check.NOT_JOINED: "a JOINED trade is not followed by its own DECREASE",
    check.CROSSED: "the book is crossed or locked at the end of a burst",
    check.BAD_STATUS: "qty {qty} is no MarketStatus, or price {price} no payout from 0 to 10000",
    check.BAD_GRID: "steps {price} and {ahead} are not multiples of {tick}, or width {qty} > 5000",
    check.BAD_TERM: "close time {qty} is not above zero, or side {side} neither 0 nor 1",
    check.BAD_FEE: "taker rate {qty} ppm or maker rate {ahead} ppm is not from 0 to 10^6",
}


def check_tape(tape: Tape, markets: tuple[Market, ...]) -> None:
    """Check that a tape keeps the rules of `kernels.check`. Raises TapeError with row and value."""
    ticks = np.array([market.tick for market in markets], dtype=np.int64)
    sizes = [check.market_words(market.tick) for market in markets]
    bases = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    fault, number = check.find_fault(tape.rows, ticks, bases, np.zeros(sum(sizes), np.int64))
    if fault == check.VALID:
        return
    row = tape.rows[number]
    values = {name: int(row[name]) for name in TAPE_DTYPE.names or ()}
    known = 0 <= values["market"] < len(markets)
    text = _FAULTS[fault].format(
        **values,
        before=int(tape.rows[number - 1]["ts"]) if number else None,
        markets=len(markets),
        tick=markets[values["market"]].tick if known else None,
    )
    ticker = markets[values["market"]].ticker if known else values["market"]
    raise TapeError(f"row {number} ({ticker}): {text}")


class Session:
    """One recorded stretch of one or more markets: tape, market specs and facts about it.

    source: how to get the session again: {"path": ...} or {"generator": ..., "seed": ...}; goes
    into journal headers. facts: what reports may say; nothing that decides may read it.
    reopen: a function and its arguments that make the session again in another process: what a
    pickle holds instead of the tape. Copies return the session itself.
    """

    __slots__ = (
        "_by_market", "_index", "_is_sealed", "_reopen",
        "facts", "markets", "name", "source", "tape",
    )  # fmt: skip

    def __init__(
        self,
        tape: Tape,
        markets: tuple[Market, ...],
        *,
        name: str,
        source: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        reopen: tuple[Callable[..., Session], tuple[Any, ...]] | None = None,
    ):
        self.tape = tape
        self.markets = tuple(markets)
        self.name = name
        self.source: Mapping[str, Any] = MappingProxyType(dict(source or {}))
        self.facts: Mapping[str, Any] = MappingProxyType(dict(facts or {}))
        self._reopen = reopen
        self._by_market: list[np.ndarray] = []
        self._index = {market.ticker: index for index, market in enumerate(self.markets)}
        if len(self._index) != len(self.markets) or not self.markets:
            raise TapeError(f"session {name}: needs at least one market, each ticker once")
        check_tape(self.tape, self.markets)
        self._is_sealed = True

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, "_is_sealed"):
            raise AttributeError(f"session {self.name} is immutable: {name} cannot be set")
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Session) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return int(self.digest[:15], 16)

    @property
    def digest(self) -> str:
        """SHA-256 over the markets and the tape digest, in hex."""
        hasher = hashlib.sha256()
        for market in self.markets:
            event = f"\1{market.event}\0" if market.event else ""
            hasher.update(f"{market.ticker}\0{market.tick}\0{event}".encode())
        hasher.update(self.tape.digest.encode())
        return hasher.hexdigest()

    @property
    def start(self) -> int:
        """ts of the first row, ns."""
        return int(self.tape.rows["ts"][0]) if len(self.tape) else 0

    @property
    def end(self) -> int:
        """ts of the last row, ns."""
        return int(self.tape.rows["ts"][-1]) if len(self.tape) else 0

    def market_index(self, market: str | int) -> int:
        """Return the index of a ticker (or check an index).

        Raises KeyError for a stranger, TypeError for what is neither.
        """
        if isinstance(market, str):
            if market in self._index:
                return self._index[market]
        elif not isinstance(market, (int, np.integer)) or isinstance(market, bool):
            raise TypeError(f"market {market!r}: expected a ticker or its index")
        elif 0 <= market < len(self._index):
            return int(market)
        raise KeyError(f"market {market!r} is not in session {self.name}")

    def rows_of(self, market: str | int) -> np.ndarray:
        """Return where the rows of a market stand on the tape: int64, shape (rows,), read-only.

        Raises KeyError for a stranger.
        """
        if not self._by_market:
            markets = self.tape.rows["market"]
            order = np.argsort(markets, kind="stable")
            order.flags.writeable = False
            ends = np.searchsorted(markets[order], np.arange(1, len(self.markets)))
            self._by_market.extend(np.split(order, ends))
        return self._by_market[self.market_index(market)]

    def select(self, *markets: str | int) -> Session:
        """Return a session of some markets alone, in the order of this one; of all, itself.

        What happens in a market does not depend on the others, as far as its rows of one ts stand
        together: rows of another market between them part two bursts, which are one here. Raises
        KeyError for a stranger.
        """
        indices = sorted({self.market_index(market) for market in markets})
        if len(indices) == len(self.markets):
            return self
        rows = self.tape.rows
        chosen = rows[np.sort(np.concatenate([self.rows_of(index) for index in indices]))]
        chosen["market"] = np.searchsorted(indices, chosen["market"])
        tickers = tuple(self.markets[index].ticker for index in indices)
        return Session(
            Tape(chosen),
            tuple(self.markets[index] for index in indices),
            name=self.name,
            source=self.source,
            facts=self.facts,
            reopen=None if self._reopen is None else (_reselect, (*self._reopen, tickers)),
        )

    def __copy__(self) -> Session:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reopen is None:
            raise TypeError(f"session {self.name} is in memory only: save it before pickling it")
        return self._reopen

    def __repr__(self) -> str:
        return f"Session({self.name!r}, markets={len(self.markets)}, events={len(self.tape)})"


def _reselect(
    reopen: Callable[..., Session], arguments: tuple[Any, ...], tickers: tuple[str, ...]
) -> Session:
    return reopen(*arguments).select(*tickers)
