"""What views over all markets of a run share."""

from __future__ import annotations

from collections.abc import Callable


class MarketsView:
    """Reads the state of a run by market.

    memory: the state block. bases, tickers: each market's offset and name. index: from a ticker or
    an index to a checked index.
    """

    __slots__ = ("_bases", "_index", "_memory", "_tickers")

    def __init__(
        self,
        memory: memoryview,
        bases: list[int],
        tickers: list[str],
        index: Callable[[str | int], int],
    ):
        self._memory = memory
        self._bases = bases
        self._tickers = tickers
        self._index = index
