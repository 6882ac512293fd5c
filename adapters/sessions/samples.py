"""Random sessions, or random windows of them, drawn again alike with the same seed."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from foldbook.engine.errors import TapeError
from foldbook.engine.session import Session
from foldbook.engine.units import duration

from .slices import stamp, stretch

TRIES_MAX = 100
"""Draws for each stretch that is wanted."""


def sample(
    sessions: Sequence[Session], n: int, *, seed: int, window: int | str | None = None
) -> list[Session]:
    """Return `n` of the sessions, none twice; or with `window` ("5m", or ns) `n` stretches of it.

    Each stretch of that length that lies within a session is equally likely, but for those in which
    no market is open and nothing happens; stretches may overlap. They are what `slice_of` returns.
    Raises ValueError for a number or a length that is none, and TapeError if there are not so many
    sessions, none is so long, or nothing happens in TRIES_MAX draws.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n: {n!r}; expected a positive int")
    chance = random.Random(seed)
    if window is None:
        if n > len(sessions):
            raise TapeError(f"sample: {n} of {len(sessions)} sessions cannot be drawn")
        return chance.sample(list(sessions), n)
    length = duration(window)
    if length <= 0:
        raise ValueError(f"window: {length} ns; a window has to last some time")
    starts = [max(session.end - session.start - length + 2, 0) if len(session.tape) else 0
              for session in sessions]
    ends = list(accumulate(starts))
    if not any(ends):
        longest = max((session.end - session.start for session in sessions), default=0)
        raise TapeError(f"sample: no session lasts {length} ns; the longest, {longest} ns")
    found: list[Session] = []
    tries = 0
    while len(found) < n:
        tries += 1
        if tries > TRIES_MAX * n:
            raise TapeError(f"sample: in {tries - 1} draws, {tries - 1 - len(found)} found nothing")
        place = chance.randrange(ends[-1])
        number = bisect_right(ends, place)
        session = sessions[number]
        since = session.start + place - (ends[number] - starts[number])
        made = stretch(session, since, since + length, None, f"{session.name}-{stamp(since)}")
        if made is not None:
            found.append(made)
    return found
