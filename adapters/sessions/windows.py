"""A market's time in windows of fixed length: how busy each was, and how far the mid moved.

Windows are counted from the market's first row. Only those are looked at through which the book
was trusted from end to end, and a window in which nothing happened is never stored: a recording may
be thin, and last for years.
"""

from __future__ import annotations

import attrs
import numpy as np

from foldbook.engine.units import SECOND

WINDOW_NS = 10 * SECOND
"""Length of a window."""
BUSY_SD = 1.5
"""A window is busy if it has more bursts than the mean and this many standard deviations."""
QUIET_SD = 1.0
"""A window is quiet if it has fewer bursts than the mean less this many standard deviations."""


@attrs.frozen
class Activity:
    """Windows of open, trusted time, by the bursts (moments of change) in them.

    windows: all of them. bursts: moments in them. busy, quiet: how many are so; busy_runs,
    quiet_runs: how many stretches of adjacent ones; longest_quiet: windows in the longest of them.
    """

    windows: int = 0
    bursts: int = 0
    busy: int = 0
    busy_runs: int = 0
    quiet: int = 0
    quiet_runs: int = 0
    longest_quiet: int = 0

    def __add__(self, other: Activity) -> Activity:
        mine, more = attrs.asdict(self), attrs.asdict(other)
        added = {name: mine[name] + more[name] for name in mine}
        added["longest_quiet"] = max(self.longest_quiet, other.longest_quiet)
        return Activity(**added)


@attrs.frozen
class Moves:
    """Changes of the mid over windows: how many windows, and the sum of the changes' squares.

    squares: of changes of twice the mid, so in units of ($0.00005)^2.
    """

    windows: int = 0
    squares: int = 0

    def __add__(self, other: Moves) -> Moves:
        return Moves(self.windows + other.windows, self.squares + other.squares)


def activity(ts: np.ndarray, holds: np.ndarray) -> Activity:
    """Return how busy the windows of one market were.

    ts: of its bursts, ns, ascending. holds: bool, whether the market is open and its book trusted
    from that burst until the next one.
    """
    starts, stops = _stretches(ts, holds)
    begins = -((ts[0] - starts) // WINDOW_NS)
    ends = (stops - ts[0]) // WINDOW_NS
    begins, ends = begins[ends > begins], ends[ends > begins]
    count = int((ends - begins).sum())
    if not count:
        return Activity()
    filled, bursts = np.unique((ts[holds] - ts[0]) // WINDOW_NS, return_counts=True)
    at = np.searchsorted(begins, filled, side="right") - 1
    whole = (at >= 0) & (filled < ends[at])
    filled, bursts = filled[whole], bursts[whole]
    mean = bursts.sum() / count
    variance = max(float((bursts.astype(np.float64) ** 2).sum()) / count - mean**2, 0.0)
    busy = filled[bursts > mean + BUSY_SD * variance**0.5]
    least = mean - QUIET_SD * variance**0.5
    # Where nothing happens is quiet too, unless that is usual.
    loud = filled[bursts >= least] if least > 0 else None
    quiet = _between(begins, ends, loud) if loud is not None else np.zeros(0, np.int64)
    return Activity(
        windows=count,
        bursts=int(bursts.sum()),
        busy=len(busy),
        busy_runs=int(np.count_nonzero(np.diff(busy) != 1)) + (len(busy) > 0),
        quiet=int(quiet.sum()),
        quiet_runs=len(quiet),
        longest_quiet=int(quiet.max(initial=0)),
    )


def moves(ts: np.ndarray, mid2: np.ndarray, quoted: np.ndarray) -> Moves:
    """Return how far twice the mid moved from one end of a window to the other.

    ts, quoted: as in `activity`, quoted also meaning that both best prices exist. mid2: after each
    burst. A window counts if there was a quote all through it; the mid at a moment is that after
    every row up to and at it.
    """
    starts, stops = _stretches(ts, quoted)
    # The state after the last burst is seen at that moment, though nobody knows for how long.
    stops = stops + (stops == ts[-1])
    points = (stops - 1 - ts[0]) // WINDOW_NS + (ts[0] - starts) // WINDOW_NS + 1
    count = int(np.maximum(points - 1, 0).sum())
    moved = np.unique((ts[1:] - ts[0] - 1) // WINDOW_NS)
    begins = np.searchsorted(ts, ts[0] + moved * WINDOW_NS, side="right") - 1
    ends = np.searchsorted(ts, ts[0] + (moved + 1) * WINDOW_NS, side="right") - 1
    inside = ts[0] + (moved + 1) * WINDOW_NS <= ts[-1]
    unbroken = quoted & np.append(False, quoted[:-1])
    runs = np.cumsum(~unbroken)
    same = inside & quoted[begins] & quoted[ends] & (runs[begins] == runs[ends])
    change = (mid2[ends] - mid2[begins])[same]
    return Moves(count, int((change.astype(np.int64) ** 2).sum()))


def _stretches(ts: np.ndarray, holds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return from when to when something holds: two arrays of ns, ascending and disjoint."""
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False))
    begins, ends = edges[0::2], edges[1::2]
    return ts[begins], ts[np.minimum(ends, len(ts) - 1)]


def _between(begins: np.ndarray, ends: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """Return the lengths of the runs of windows in [begin, end) of each stretch that are not in
    `loud` (ascending, each in some stretch)."""
    numbers = np.arange(len(begins))
    of = np.concatenate([numbers, np.searchsorted(begins, loud, side="right") - 1, numbers])
    marks = np.concatenate([begins - 1, loud, ends])
    order = np.lexsort((marks, of))
    runs: np.ndarray = (np.diff(marks[order]) - 1)[np.diff(of[order]) == 0]
    return runs[runs > 0]
