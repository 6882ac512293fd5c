"""Parallel lanes of messages into one, in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def merge_lanes(lanes: Sequence[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield the messages of parallel lanes in order of receipt, then of seq.

    The order within a lane is kept: a clock that steps back delays what follows it in the merge.
    """
    held: list[np.ndarray] = [np.zeros(0)] * len(lanes)
    keys: list[np.ndarray] = [np.zeros(0, np.int64)] * len(lanes)
    open_lanes = set(range(len(lanes)))
    hungry = set(open_lanes)
    while True:
        for lane in sorted(hungry & open_lanes):
            block = next(lanes[lane], None)
            if block is None:
                open_lanes.discard(lane)
                continue
            last = keys[lane][-1:]
            new = np.maximum.accumulate(np.concatenate([last, block["recv"]]))[len(last) :]
            held[lane] = np.concatenate([held[lane], block]) if len(held[lane]) else block
            keys[lane] = np.concatenate([keys[lane], new])
        ends = {lane: int(keys[lane][-1]) for lane in open_lanes if len(keys[lane])}
        hungry = open_lanes - set(ends)
        if hungry:
            continue
        bound = min(ends.values(), default=None)
        cuts = [len(key) if bound is None else int(np.searchsorted(key, bound)) for key in keys]
        parts = [lane for lane, cut in enumerate(cuts) if cut]
        if parts:
            rows = np.concatenate([held[lane][: cuts[lane]] for lane in parts])
            key = np.concatenate([keys[lane][: cuts[lane]] for lane in parts])
            yield rows[np.lexsort((rows["seq"], key))]
        if bound is None:
            return
        held = [rows[cut:] for rows, cut in zip(held, cuts, strict=True)]
        keys = [key[cut:] for key, cut in zip(keys, cuts, strict=True)]
        hungry = {lane for lane, end in ends.items() if end == bound}
