"""What each tape row leaves behind: best prices, its level, and the state of its market.

One compiled pass over a tape that is already checked; everything else about a recording is counted
from its result. It only reads, and knows one market at a time by the row's index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foldbook.engine.compiled import entry, inner
from foldbook.engine.schema import MarketStatus, TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import PRICE_ONE

TOUCH_DTYPE = np.dtype(
    [
        ("level", "<i8"),  # 0.01 contract in the row's own level after it; 0 where it has none
        ("bid", "<i4"),  # best bid after the row, $0.0001; 0 if there is none
        ("ask", "<i4"),  # best ask after the row; one dollar if there is none
        ("trusted", "?"),
        ("closed", "?"),  # the market has closed, whatever its status is called since
        ("paused", "?"),
    ]
)
"""The state of a row's market after the row."""

_SNAPSHOT = int(TapeKind.SNAPSHOT)
_SNAPSHOT_LEVEL = int(TapeKind.SNAPSHOT_LEVEL)
_INCREASE = int(TapeKind.INCREASE)
_DECREASE = int(TapeKind.DECREASE)
_GAP = int(TapeKind.GAP)
_STATUS = int(TapeKind.STATUS)
_PAUSED = int(MarketStatus.PAUSED)
_CLOSED = int(MarketStatus.CLOSED)
_TICK, _TOP, _TRUSTED, _ENDED, _STILL, _BID, _ASK, _FIRST = range(8)
"""Words of a market: grid, trusted, closed, paused, best levels, then bids and asks by level."""


def touches(rows: np.ndarray, markets: Sequence[Market]) -> np.ndarray:
    """Return the state after each row: TOUCH_DTYPE, shape of `rows`.

    rows: TAPE_DTYPE that keeps the rules of `engine.session.check_tape`; only the order of the rows
    within each market matters.
    """
    tops = np.array([PRICE_ONE // market.tick for market in markets], np.int64)
    bases = np.concatenate([[0], np.cumsum(_FIRST + 2 * (tops + 1))])
    words = np.zeros(int(bases[-1]), np.int64)
    words[bases[:-1] + _TICK] = [market.tick for market in markets]
    words[bases[:-1] + _TOP] = words[bases[:-1] + _ASK] = tops
    found = np.zeros(len(rows), TOUCH_DTYPE)
    view = rows.view()
    view.flags.writeable = False
    follow(view, bases, words, found)
    return found


@entry
def follow(tape: np.ndarray, bases: np.ndarray, words: np.ndarray, found: np.ndarray) -> None:
    """Fold every row, and write into `found` what stands after it."""
    for i in range(len(tape)):
        base = bases[tape[i]["market"]]
        kind = np.int64(tape[i]["kind"])
        if kind == _INCREASE or kind == _DECREASE or kind == _SNAPSHOT_LEVEL:
            found[i]["level"] = _set_level(tape[i], kind, words, base)
        elif kind == _SNAPSHOT or kind == _GAP:
            words[base + _TRUSTED] = 1 if kind == _SNAPSHOT else 0
            _clear(words, base)
        elif kind == _STATUS and words[base + _ENDED] == 0:
            status = tape[i]["qty"]
            words[base + _STILL] = 1 if status == _PAUSED else 0
            if status >= _CLOSED:
                words[base + _ENDED] = 1
                _clear(words, base)
        found[i]["bid"] = words[base + _BID] * words[base + _TICK]
        found[i]["ask"] = words[base + _ASK] * words[base + _TICK]
        found[i]["trusted"] = words[base + _TRUSTED] == 1
        found[i]["closed"] = words[base + _ENDED] == 1
        found[i]["paused"] = words[base + _STILL] == 1


@inner
def _set_level(row: Any, kind: Any, words: np.ndarray, base: int) -> Any:
    """Change a level and the best level of its side; return what the level holds then."""
    top = words[base + _TOP]
    side = np.int64(row["side"])
    level = np.int64(row["price"]) // words[base + _TICK]
    ladder = base + _FIRST + side * (top + 1)
    left = row["qty"]
    if kind == _INCREASE:
        left += words[ladder + level]
    elif kind == _DECREASE:
        left = words[ladder + level] - left
    words[ladder + level] = left
    best = words[base + _BID + side]
    if side == 0:
        best = max(best, level)
        while best > 0 and words[ladder + best] == 0:
            best -= 1
    else:
        best = min(best, level)
        while best < top and words[ladder + best] == 0:
            best += 1
    words[base + _BID + side] = best
    return left


@inner
def _clear(words: np.ndarray, base: int) -> None:
    top = words[base + _TOP]
    for word in range(base + _FIRST, base + _FIRST + 2 * (top + 1)):
        words[word] = 0
    words[base + _BID] = 0
    words[base + _ASK] = top
