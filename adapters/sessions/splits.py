"""A session in parts: one for each market, or one for each stretch of time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from foldbook.engine.schema import NO_TIME
from foldbook.engine.session import Session, Tape
from foldbook.engine.units import duration

from .slices import Cutter, carried, stamp


def split(session: Session, every: int | str | None = None) -> Iterator[Session]:
    """Yield the parts of a session: one per market, named by its ticker; or one for each `every`.

    every: such as "1h", or ns: parts begin at its multiples since 1970 UTC, are what `slice_of`
    returns, and are named by session and start; stretches without a row are left out. Merging the
    parts of a split by market gives the session back, with its digest, if its rows at equal times
    are in the order of its markets. Raises ValueError at once if `every` is no time.
    """
    if every is None:
        return _by_market(session)
    length = duration(every)
    if length <= 0:
        raise ValueError(f"every: {length} ns; a part has to last some time")
    if length > NO_TIME:
        raise ValueError(f"every: {length} ns; expected {NO_TIME} at most")
    return _by_time(session, length)


def _by_market(session: Session) -> Iterator[Session]:
    rows = session.tape.rows
    order = np.argsort(rows["market"], kind="stable")
    stops = np.searchsorted(rows["market"][order], np.arange(len(session.markets) + 1)).tolist()
    alone = len(session.markets) == 1
    stated = session.facts.get("markets", {})
    for market, begin, stop in zip(session.markets, stops[:-1], stops[1:], strict=True):
        own = rows[order[begin:stop]]
        own["market"] = 0
        facts = dict(session.facts) if alone else carried(session)
        if market.ticker in stated:
            facts["markets"] = {market.ticker: stated[market.ticker]}
        facts["made"] = {"by": "split", "session": session.name, "digest": session.digest}
        yield Session(Tape(own), (market,), name=market.ticker, facts=facts)


def _by_time(session: Session, every: int) -> Iterator[Session]:
    cutter = Cutter(session)
    for window in np.unique(session.tape.rows["ts"] // every).tolist():
        since = window * every
        # What stands at the first row's time stands at the start of its window too.
        cutter.skip(since)
        made = cutter.cut(since, since + every, None, f"{session.name}-{stamp(since)}")
        assert made is not None, "a window with rows has a market"
        yield made
