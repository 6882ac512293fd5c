"""When news arrives: the market's at the agent, and the agent's commands at the venue.

The delivery of a tape is worked out once, before a run, from the tape alone; delays of commands
are laid out as one array of words, from which the kernels draw (docs/semantics.md, section 10).
"""

from __future__ import annotations

import numpy as np

from .errors import TapeError
from .kernels.delays import CONSTANT, DELAY_WORDS, EMPIRICAL, RECORDED
from .schema import TAPE_DTYPE
from .specs import Delay, Feed, Latency

TIME_MAX = 1 << 62
"""Times of a tape whose delivery can be worked out lie below it (the year 2116)."""

DELAYED_KINDS = ("order", "amend", "cancel", "response")
"""The message kinds, in the order of the header."""


def delivery_times(rows: np.ndarray, feed: Delay | Feed) -> np.ndarray:
    """Return when each tape row reaches the agent: int64, shape (rows,), ns, never falling.

    rows: TAPE_DTYPE, in the order of the tape. A burst arrives whole, at the latest time of its
    rows. A recorded feed's delay is recv - ts less the smallest such difference up to that row, so
    nothing that comes later changes what came before; clocks that disagree by a constant cancel
    out. Raises TapeError that names a row whose time is negative or beyond TIME_MAX.
    """
    if rows.dtype != TAPE_DTYPE or rows.ndim != 1:
        raise TapeError(f"tape: rows are {rows.dtype} {rows.shape}, not TAPE_DTYPE (n,)")
    ts = np.ascontiguousarray(rows["ts"])
    _check_times("ts", ts)
    if len(rows) == 0:
        return ts
    if isinstance(feed, Delay):
        times = ts + feed.values[0]
    else:
        recv = np.ascontiguousarray(rows["recv"])
        _check_times("recv", recv)
        times = recv - np.minimum.accumulate(recv - ts)
    starts = np.flatnonzero(_begins_burst(ts, rows["market"]))
    latest = np.maximum.accumulate(np.maximum.reduceat(times, starts))
    delivered: np.ndarray = np.repeat(latest, np.diff(starts, append=len(rows)))
    return delivered


def delays_table(latency: Latency) -> np.ndarray:
    """Return the delays of commands and answers as int64 words, for the kernels.

    A header of four times (mode, n, offset), for each of DELAYED_KINDS; at each offset the data:
    CONSTANT one delay, EMPIRICAL n delays, RECORDED n times and then n delays. All in ns.

    >>> delays_table(Latency.constant("5ns", response="7ns")).tolist()[:6]
    [0, 1, 12, 0, 1, 13]
    """
    header: list[int] = []
    data: list[int] = []
    first = DELAY_WORDS * len(DELAYED_KINDS)
    for kind in DELAYED_KINDS:
        delay: Delay = getattr(latency, kind)
        mode = RECORDED if delay.times else EMPIRICAL if len(delay.values) > 1 else CONSTANT
        header += (mode, len(delay.values), first + len(data))
        data += delay.times
        data += delay.values
    return np.array(header + data, dtype=np.int64)


def _begins_burst(ts: np.ndarray, market: np.ndarray) -> np.ndarray:
    """Return where a row does not belong to the burst of the row before it."""
    begins = np.ones(len(ts), dtype=bool)
    np.not_equal(ts[1:], ts[:-1], out=begins[1:])
    begins[1:] |= market[1:] != market[:-1]
    return begins


def _check_times(name: str, times: np.ndarray) -> None:
    if len(times) == 0 or (times.min() >= 0 and times.max() < TIME_MAX):
        return
    row = int(np.flatnonzero((times < 0) | (times >= TIME_MAX))[0])
    raise TapeError(f"row {row}: {name} {times[row]} is not from 0 to {TIME_MAX} ns")
