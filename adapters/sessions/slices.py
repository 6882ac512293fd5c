"""Stretches of a session as sessions of their own: from a time, until a time, some of its markets.

A stretch holds the rows with since <= ts < until, so that neighbours share none. Where it begins in
the middle of a market, that begins with rows at `since` that say what stands then: grid, status,
fees, and a SNAPSHOT of the book if it is trusted. docs/shaping.md has the details.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import NO_TIME, TAPE_DTYPE, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.units import SECOND, iso_time

from .standing import Standing

CARRIED = ("format", "files", "receive_times", "feed_offset_ns")
"""Facts of a recording that hold for each part of it; its counts do not."""


def slice_of(
    session: Session,
    markets: Sequence[str | int] | None = None,
    *,
    since: int | None = None,
    until: int | None = None,
    name: str | None = None,
) -> Session:
    """Return the stretch of a session with since <= ts < until, ns; None is its end there.

    markets: tickers or indices, kept in the session's order; None: all that are open at `since` or
    have rows in the stretch. Rows keep their receipts and their `ahead`: the exchange's queue is
    the same. Raises KeyError for a market that is not in the session, TapeError if nothing is left.
    """
    begin = _edge("since", since, session.start)
    end = _edge("until", until, NO_TIME)
    if begin >= end:
        raise TapeError(f"session {session.name}: since {begin} is not before until {end}")
    wanted = None if markets is None else {session.market_index(each) for each in markets}
    made = stretch(session, begin, end, wanted, name or session.name)
    if made is None:
        raise TapeError(
            f"session {session.name}: no such market has a row or a book from {_said(begin)} "
            f"until {_said(end)}; it lasts from {_said(session.start)} until {_said(session.end)}"
        )
    return made


def stretch(
    session: Session, since: int, until: int, wanted: set[int] | None, name: str
) -> Session | None:
    """Return what `slice_of` does; None if no (wanted) market has a row or a book there."""
    cutter = Cutter(session)
    cutter.skip(since)
    return cutter.cut(since, until, wanted, name)


class Cutter:
    """Cuts a session from its start to its end; what stands is folded once."""

    def __init__(self, session: Session):
        self._session = session
        self._standing = [Standing.at_the_start(market) for market in session.markets]
        self._at = 0
        self._offset = NO_TIME

    def skip(self, ts: int) -> None:
        """Go on to the first row that is not before `ts`."""
        rows = self._rows_until(ts)
        for index, own in self._by_market(rows):
            self._standing[index].fold(own)
        if len(rows):
            self._offset = min(self._offset, int((rows["recv"] - rows["ts"]).min()))
        self._at += len(rows)

    def cut(self, since: int, until: int, wanted: set[int] | None, name: str) -> Session | None:
        """Return the stretch from here until `until`, None if it is empty; stay where it begins."""
        rows = self._rows_until(until)
        own = dict(self._by_market(rows))
        kept = [
            index for index, standing in enumerate(self._standing)
            if (index in wanted if wanted is not None else True)
            and (index in own or (standing.begun and not standing.is_closed))
        ]
        opening = self._opening(kept, own, since)
        # At `since` each market's opening and its own rows are one burst, by market as ever.
        first = rows[: np.searchsorted(rows["ts"], since, side="right")]
        first = np.concatenate([opening, first])
        first = first[np.argsort(first["market"], kind="stable")] if len(opening) else first
        whole = np.concatenate([first, rows[len(first) - len(opening) :]])
        return _session(self._session, whole, kept, name, since, until) if kept else None

    def _rows_until(self, ts: int) -> np.ndarray:
        rows = self._session.tape.rows[self._at :]
        found: np.ndarray = rows[: np.searchsorted(rows["ts"], ts)]
        return found

    def _by_market(self, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Return (market, its rows) of those that have any."""
        if len(self._standing) == 1:
            return [(0, rows)] if len(rows) else []
        own = rows[np.argsort(rows["market"], kind="stable")]
        found, starts = np.unique(own["market"], return_index=True)
        parts = np.split(own, starts[1:])
        return list(zip(found.tolist(), parts, strict=True)) if len(rows) else []

    def _opening(
        self, kept: Sequence[int], own: dict[int, np.ndarray], since: int
    ) -> np.ndarray:
        """Return the rows that say what stands in the kept markets.

        They are received when the rows that they are made of were, and with the smallest feed delay
        so far: then a feed as recorded is as late in the stretch as it was in the whole.
        """
        made = [np.zeros(0, TAPE_DTYPE)]
        for index in kept:
            standing = self._standing[index]
            if not standing.begun:
                continue
            recv = since + self._offset
            later = own[index]["recv"][own[index]["kind"] != TapeKind.TRADE] if index in own else []
            if len(later):
                recv = min(recv, int(later[0]))
            opening = standing.rows(since, recv)
            opening["market"] = index
            made.append(opening)
        return np.concatenate(made)


def _session(
    session: Session, rows: np.ndarray, kept: Sequence[int], name: str, since: int, until: int
) -> Session:
    rows = rows[np.isin(rows["market"], kept)]
    places = np.zeros(len(session.markets), np.int32)
    places[list(kept)] = range(len(kept))
    rows["market"] = places[rows["market"]]
    made = {"by": "slice", "session": session.name, "digest": session.digest,
            "since": since, "until": min(until, session.end + 1)}
    return Session(
        Tape(rows), tuple(session.markets[index] for index in kept), name=name,
        facts=carried(session) | {"made": made},
    )


def carried(session: Session) -> dict[str, Any]:
    """Return the facts of a session that hold for its parts too."""
    return {key: session.facts[key] for key in CARRIED if key in session.facts}


def stamp(ts: int) -> str:
    """Return a time as a part of a name: 20260811T013000Z, with nine decimals where it needs them.

    >>> stamp(1_500_000_000), stamp(0)
    ('19700101T000001.500000000Z', '19700101T000000Z')
    """
    text = iso_time(ts).replace("-", "").replace(":", "")
    return text if ts % SECOND else f"{text.partition('.')[0]}Z"


def _edge(name: str, ts: int | None, otherwise: int) -> int:
    if ts is None:
        return otherwise
    if isinstance(ts, bool) or not isinstance(ts, (int, np.integer)):
        raise TypeError(f"{name}: {ts!r} is a {type(ts).__name__}; expected ns as an int")
    return int(ts)


def _said(ts: int) -> str:
    return "its end" if ts == NO_TIME else iso_time(ts)
