"""How much of a run happened while its record had a hole: time, fills and value.

A market is untrusted from a GAP, and from the start of the session, until the end of the burst of
its next snapshot. What its value did meanwhile, the jump at the recovery included, is no fact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from .schema import CauseKind, JournalKind, TapeKind

if TYPE_CHECKING:
    from .result import Result


@attrs.frozen
class Stretch:
    """Part of a session in which one market is untrusted.

    first: the tape row that begins it (the GAP; 0 at the start of the session). stop: the tape row
    behind the burst that ends it, len(tape) if none does. start, end: ns, the times of both.
    """

    market: int
    first: int
    stop: int
    start: int
    end: int


@attrs.frozen
class Untrusted:
    """What of a run fell into untrusted stretches.

    time: share of the markets' time, from 0 to 1; None in a session without duration. fills, qty
    (0.01 contract): how many fills and of how much; fill_share, volume_share: of all, None if there
    are none. pnl: $0.000001, change of value of the markets in their stretches.
    """

    time: float | None
    fills: int
    fill_share: float | None
    qty: int
    volume_share: float | None
    pnl: int


def stretches(rows: np.ndarray, markets: int) -> list[Stretch]:
    """Return the untrusted stretches of a tape, by market and in order.

    rows: TAPE_DTYPE. A market without any snapshot is untrusted throughout.
    """
    found = []
    kinds = rows["kind"]
    turns = np.flatnonzero((kinds == TapeKind.GAP) | (kinds == TapeKind.SNAPSHOT))
    for market in range(markets):
        first: int | None = 0
        for number in turns[rows["market"][turns] == market].tolist():
            if kinds[number] == TapeKind.GAP:
                first = number if first is None else first
            elif first is not None:
                stop = _burst_end(rows, number)
                found.append(_stretch(rows, market, first, stop))
                first = None
        if first is not None:
            found.append(_stretch(rows, market, first, len(rows)))
    return found


def untrusted(result: Result) -> Untrusted:
    """Return what of a run fell into untrusted stretches.

    The value of a market is compared between the last moment before the time of its gap and the
    time of its recovery.
    """
    session = result.session
    found = stretches(session.tape.rows, len(session.markets))
    span = (session.end - session.start) * len(session.markets)
    fills = result.journal.numbers(JournalKind.FILL)
    inside = np.zeros(len(fills), dtype=bool)
    for each in found:
        inside |= _fills_in(result, fills, each)
    qty = result.journal.rows["qty"][fills]
    return Untrusted(
        time=_share(sum(each.end - each.start for each in found), span),
        fills=int(inside.sum()),
        fill_share=_share(int(inside.sum()), len(fills)),
        qty=int(qty[inside].sum()),
        volume_share=_share(int(qty[inside].sum()), int(qty.sum())),
        pnl=_pnl(result, found),
    )


def _burst_end(rows: np.ndarray, number: int) -> int:
    """Return the row behind the burst of row `number`."""
    ts, market = rows["ts"], rows["market"]
    stop = number + 1
    while stop < len(rows) and ts[stop] == ts[number] and market[stop] == market[number]:
        stop += 1
    return stop


def _stretch(rows: np.ndarray, market: int, first: int, stop: int) -> Stretch:
    if len(rows) == 0:
        return Stretch(market, 0, 0, 0, 0)
    return Stretch(market, first, stop, int(rows["ts"][first]), int(rows["ts"][stop - 1]))


def _fills_in(result: Result, fills: np.ndarray, stretch: Stretch) -> np.ndarray:
    """Return which fills fell into a stretch: those that its last burst caused belong to it, what
    was sent after it does not."""
    rows, places = result.journal.rows[fills], result.journal.places[fills]
    by_tape = rows["cause_kind"] == CauseKind.TAPE
    ended = np.where(by_tape, places <= stretch.stop, places < stretch.stop)
    inside: np.ndarray = (rows["market"] == stretch.market) & (places > stretch.first) & ended
    return inside


def _pnl(result: Result, found: list[Stretch]) -> int:
    """Return by how much the markets' values changed in their stretches, $0.000001."""
    held = [each for each in found if each.first > 0]
    if not held:
        return 0
    edges = sorted({time for each in held for time in (each.start - 1, each.end)})
    values = result.market_values(np.array(edges, dtype=np.int64))
    at = {time: row for row, time in enumerate(edges)}
    return sum(
        int(values[at[each.end], each.market] - values[at[each.start - 1], each.market])
        for each in held
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
