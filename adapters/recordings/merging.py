"""Tapes of several markets into one, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

BLOCK_ROWS = 1 << 16
"""Rows taken of each tape at a time."""
_NEVER = np.iinfo(np.int64).max


def merge_tapes(tapes: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of all markets by ts; at equal ts by market, so that bursts stay whole.

    tapes: one array of TAPE_DTYPE per market, in order; the market column is set here.
    """
    at = [0] * len(tapes)
    tapes = [np.asarray(tape) for tape in tapes]
    while any(begin < len(tape) for tape, begin in zip(tapes, at, strict=True)):
        # What a tape has beyond its block must not be overtaken; one that ends in it has no more.
        bound = min((int(tape["ts"][begin + BLOCK_ROWS - 1])
                     for tape, begin in zip(tapes, at, strict=True)
                     if begin + BLOCK_ROWS < len(tape)), default=_NEVER)
        parts = []
        for market, (tape, begin) in enumerate(zip(tapes, at, strict=True)):
            end = begin + int(np.searchsorted(tape["ts"][begin:], bound, side="right"))
            part = np.array(tape[begin:end])
            part["market"] = market
            parts.append(part)
            at[market] = end
        rows = np.concatenate(parts)
        yield rows[np.lexsort((rows["market"], rows["ts"]))]
