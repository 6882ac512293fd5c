"""The limit of a replay: the same tape folded into levels and best prices, and nothing else."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from foldbook.engine.compiled import compiled

SOURCE = Path(__file__).with_name("book.c")
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
Loop = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""loop(rows, book, best): rows TAPE_DTYPE; book int64 (2, 101); best int64 (3,)."""


def c_loop() -> Loop:
    """Compile book.c by gcc and return its loop. Raises FileNotFoundError without gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        raise FileNotFoundError("gcc: not installed, so there is no C loop to compare with")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "book.so"
        subprocess.run([gcc, *FLAGS, str(SOURCE), "-o", str(made)], check=True)
        function = ctypes.CDLL(str(made)).keep_book
    function.restype = None

    def loop(rows: np.ndarray, book: np.ndarray, best: np.ndarray) -> None:
        function(
            ctypes.c_void_p(rows.ctypes.data), ctypes.c_int64(len(rows)),
            ctypes.c_void_p(book.ctypes.data), ctypes.c_void_p(best.ctypes.data),
        )  # fmt: skip

    return loop


@compiled
def numba_loop(rows, book, best):  # type: ignore[no-untyped-def]
    """Do the same as the loop in C."""
    bid, ask, total = 0, 100, 0
    for i in range(len(rows)):
        kind = rows[i].kind
        if 1 <= kind <= 3:
            side, price = rows[i].side, rows[i].price // 100
            change = -rows[i].qty if kind == 3 else rows[i].qty
            left = book[side, price] + change
            book[side, price] = left
            if side == 0:
                if left > 0 and price > bid:
                    bid = price
                while bid > 0 and book[0, bid] == 0:
                    bid -= 1
            else:
                if left > 0 and price < ask:
                    ask = price
                while ask < 100 and book[1, ask] == 0:
                    ask += 1
        total += bid + ask
    best[0], best[1], best[2] = bid, ask, total


def folded(loop: Loop, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (book, best) after a loop over rows."""
    book, best = np.zeros((2, 101), np.int64), np.zeros(3, np.int64)
    loop(rows, book, best)
    return book, best


def memory_bandwidth(megabytes: int, runs: int = 5) -> float:
    """Return GB/s at which one core adds up numbers that no cache holds."""
    numbers = np.ones(megabytes << 17)
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        total = numbers.sum()
        seconds.append(time.perf_counter() - began)
        assert total == len(numbers)
    return numbers.nbytes / min(seconds) / 1e9
