"""Random sessions, or random windows of sessions; the seed is an argument, so a draw can be repeated."""

from __future__ import annotations

import random
from collections.abc import Sequence

from foldbook.engine.errors import TapeError
from foldbook.engine.session import Session
from foldbook.engine.units import duration

from .slices import slice_of, stamp


def sample(
    sessions: Sequence[Session], n: int, *, seed: int, window: int | str | None = None
) -> list[Session]:
    """Return `n` of the sessions, none twice; or with `window` ("5m", or ns) `n` stretches of it.

    Each stretch of that length that lies within a session is equally likely; stretches may overlap.
    They are what `slice_of` returns. Raises ValueError for a number or a length that is none, and
    TapeError if there are not so many sessions, or none is so long.
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
    if not sum(starts):
        longest = max((session.end - session.start for session in sessions), default=0)
        raise TapeError(f"sample: no session lasts {length} ns; the longest, {longest} ns")
    found = []
    for _ in range(n):
        place = chance.randrange(sum(starts))
        for session, count in zip(sessions, starts, strict=True):
            if place < count:
                break
            place -= count
        since = session.start + place
        found.append(slice_of(session, since=since, until=since + length,
                              name=f"{session.name}-{stamp(since)}"))
    return found
