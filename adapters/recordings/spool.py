"""Where the messages of a recording wait, market by market, until their tapes are made.

They wait in memory up to a limit and then on disk, so that memory is bounded by the limit and the
largest market, not by the recording.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SPILL_BYTES = 1 << 27
"""Bytes of messages held in memory before they are written out."""


class Spool:
    """Messages per market index, in the order in which they were added.

    dtype: of the messages; it has a column `market`. folder: an existing folder for what does not
    stay in memory; the caller removes it.
    """

    def __init__(self, folder: Path, dtype: np.dtype):
        self._folder = folder
        self._dtype = dtype
        self._held: dict[int, list[np.ndarray]] = {}
        self._bytes = 0

    def add(self, messages: np.ndarray) -> None:
        """Add messages that name their market, in order."""
        markets = messages["market"]
        if not len(messages):
            return
        first = int(markets[0])
        if (markets == first).all():
            self._hold(first, messages)
            return
        for market in np.unique(markets).tolist():
            self._hold(market, messages[markets == market])

    def take(self, market: int) -> np.ndarray:
        """Return and forget all messages of a market."""
        blocks = self._held.pop(market, [])
        path = self._path(market)
        if path.exists():
            blocks.insert(0, np.fromfile(path, self._dtype))
            path.unlink()
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate(blocks) if blocks else np.zeros(0, self._dtype)

    def _hold(self, market: int, messages: np.ndarray) -> None:
        self._held.setdefault(market, []).append(messages)
        self._bytes += messages.nbytes
        if self._bytes > SPILL_BYTES:
            self._spill()

    def _spill(self) -> None:
        for market, blocks in self._held.items():
            with self._path(market).open("ab") as file:
                for block in blocks:
                    block.tofile(file)
        self._held.clear()
        self._bytes = 0

    def _path(self, market: int) -> Path:
        return self._folder / f"{market}.messages"
