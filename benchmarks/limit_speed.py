"""The limit of a replay, on the tape of `fused-loop`: loops that keep the book and do no more.

    foldbook bench limit-c limit-numba fused-loop
"""

from __future__ import annotations

import numpy as np

from foldbook.adapters import synthetic

from .harness import Case, benchmark
from .limits import loops


def _case(size: int, loop: loops.Loop) -> Case:
    rows = synthetic.session(seed=7, events=size).tape.rows
    expected = np.zeros((2, 101), np.int64)
    signs = np.select([np.isin(rows["kind"], (1, 2)), rows["kind"] == 3], [1, -1], 0)
    np.add.at(expected, (rows["side"], rows["price"] // 100), signs * rows["qty"])

    def check(answer: tuple[np.ndarray, np.ndarray]) -> None:
        book, best = answer
        assert (book == expected).all(), "the loop has another book than the sum of its changes"
        assert book[0, best[0] + 1 :].sum() == 0 and book[1, : best[1]].sum() == 0

    return Case(lambda: loops.folded(loop, rows), size, "events", check)


@benchmark(toy=20_000, full=5_000_000, repeats=15)
def limit_numba(size: int) -> Case:
    """Keep one book in a loop of numba."""
    return _case(size, loops.numba_loop)


@benchmark(toy=20_000, full=5_000_000, repeats=15)
def limit_c(size: int) -> Case:
    """Keep one book in a loop of C, or of numba where there is no gcc."""
    try:
        loop = loops.c_loop()
    except FileNotFoundError:
        loop = loops.numba_loop
    return _case(size, loop)
