"""Several sessions as one: markets side by side, or one market's recordings one after the other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market
from foldbook.engine.units import iso_time

from .standing import OPEN, Standing

BLOCK_ROWS = 1 << 16
"""Rows taken of each tape at a time."""
_NEVER = np.iinfo(np.int64).max
NOT_AFTER_CLOSE = (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE, TapeKind.DECREASE)


@attrs.frozen
class Part:
    """What one session holds of one market: its rows, as of market 0."""

    session: Session
    market: Market
    rows: np.ndarray

    @property
    def span(self) -> tuple[int, int]:
        """ts of its first and last rows, ns."""
        return int(self.rows["ts"][0]), int(self.rows["ts"][-1])


def merge(sessions: Iterable[Session], name: str | None = None) -> Session:
    """Return one session of all markets, by exchange time, at equal times by market.

    Markets are in the order in which the sessions show them. A market that several sessions hold,
    at times that do not meet, becomes one: between them its book is lost (GAP), and the later
    one's first snapshot recovers it. What a later recording does not state (fees) stays in force.
    name: default that of a single session, else "merged". Raises TapeError if a market is in two
    sessions at one time, goes on after it closed, or is of two events.
    """
    sessions = list(sessions)
    if not sessions:
        raise TapeError("merge: no session was given")
    parts: dict[str, list[Part]] = {}
    for session in sessions:
        for part in _parts(session):
            parts.setdefault(part.market.ticker, []).append(part)
    made = [_market(held) for held in parts.values()]
    blocks = list(merge_tapes([rows for _, rows in made]))
    rows = np.concatenate(blocks) if blocks else np.zeros(0, TAPE_DTYPE)
    named = name or (sessions[0].name if len(sessions) == 1 else "merged")
    return Session(Tape(rows), tuple(market for market, _ in made), name=named,
                   facts=_facts(sessions))


def merge_tapes(tapes: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of all markets by ts; at equal ts by market, so that bursts stay whole.

    tapes: one array of TAPE_DTYPE per market, in order; the market column is set here.
    """
    at = [0] * len(tapes)
    tapes = [np.asarray(tape) for tape in tapes]
    while any(begin < len(tape) for tape, begin in zip(tapes, at, strict=True)):
        # What a tape has beyond its block must not be overtaken; one that ends in it has no more.
        bound = min((int(tape["ts"][begin + BLOCK_ROWS - 1])
                     for tape, begin in zip(tapes, at, strict=True)
                     if begin + BLOCK_ROWS < len(tape)), default=_NEVER)
        parts = []
        for market, (tape, begin) in enumerate(zip(tapes, at, strict=True)):
            end = begin + int(np.searchsorted(tape["ts"][begin:], bound, side="right"))
            part = np.array(tape[begin:end])
            part["market"] = market
            parts.append(part)
            at[market] = end
        rows = np.concatenate(parts)
        yield rows[np.lexsort((rows["market"], rows["ts"]))]


def _parts(session: Session) -> list[Part]:
    rows = session.tape.rows
    order = np.argsort(rows["market"], kind="stable")
    stops = np.searchsorted(rows["market"][order], np.arange(len(session.markets) + 1)).tolist()
    found = []
    for market, begin, stop in zip(session.markets, stops[:-1], stops[1:], strict=True):
        own = rows[order[begin:stop]]
        own["market"] = 0
        found.append(Part(session, market, own))
    return found


def _market(held: list[Part]) -> tuple[Market, np.ndarray]:
    """Return one market and its tape from the parts that the sessions hold."""
    first = held[0]
    for part in held[1:]:
        if part.market.event != first.market.event:
            raise TapeError(
                f"market {first.market.ticker}: is of event {first.market.event!r} in session "
                f"{_named(first.session)}, and of {part.market.event!r} in {_named(part.session)}"
            )
    tick = math.gcd(*(part.market.tick for part in held))
    market = Market(first.market.ticker, tick, first.market.event)
    parts = sorted((part for part in held if len(part.rows)), key=lambda part: part.span)
    standing = Standing.at_the_start(market)
    joined = [np.zeros(0, TAPE_DTYPE)]
    for number, part in enumerate(parts):
        rows = part.rows
        if number:
            _check_after(parts[number - 1], part, standing)
            lost = _lost(parts[number - 1], part, standing)
            standing.fold(lost)
            joined.append(lost)
            rows = _recovered(rows) if standing.lost and not standing.is_closed else rows
        rows = np.concatenate([_rules(part, standing), rows])
        standing.fold(rows)
        joined.append(rows)
    return market, np.concatenate(joined)


def _check_after(before: Part, part: Part, standing: Standing) -> None:
    """Check that a part can follow another. Raises TapeError."""
    (_, end), (start, _) = before.span, part.span
    names = f"{_named(before.session)} and {_named(part.session)}"
    if start <= end:
        raise TapeError(
            f"market {part.market.ticker}: sessions {names} hold it at the same time: one until "
            f"{iso_time(end)}, the other from {iso_time(start)}; cut them apart first"
        )
    if standing.is_closed and np.isin(part.rows["kind"], NOT_AFTER_CLOSE).any():
        raise TapeError(
            f"market {part.market.ticker}: it closed in session {_named(before.session)}, and has "
            f"a book again in {_named(part.session)}"
        )


def _lost(before: Part, part: Part, standing: Standing) -> np.ndarray:
    """Return the GAP between two recordings; no row if there is no book to lose."""
    if standing.is_closed or not standing.trusted:
        return np.zeros(0, TAPE_DTYPE)
    gap = np.zeros(1, TAPE_DTYPE)
    (_, end), (start, _) = before.span, part.span
    gap["kind"], gap["ts"] = TapeKind.GAP, min(end + 1, start)
    delay = int((before.rows["recv"] - before.rows["ts"]).min())
    gap["recv"] = max(standing.recv, int(gap["ts"][0]) + delay)
    return gap


def _recovered(rows: np.ndarray) -> np.ndarray:
    """Return the rows with RECOVERED at the end of the first snapshot's burst."""
    snapshots = np.flatnonzero(rows["kind"] == TapeKind.SNAPSHOT)
    if not len(snapshots):
        return rows
    stop = int(np.searchsorted(rows["ts"], rows["ts"][snapshots[0]], side="right"))
    if (rows["kind"][snapshots[0] : stop] == TapeKind.RECOVERED).any():
        return rows
    end = np.zeros(1, TAPE_DTYPE)
    end["kind"], end["ts"], end["recv"] = TapeKind.RECOVERED, rows["ts"][stop - 1], _latest(
        rows[:stop])
    return np.concatenate([rows[:stop], end, rows[stop:]])


def _latest(rows: np.ndarray) -> int:
    """Return the latest receipt of the book's rows, ns."""
    return int(rows["recv"][rows["kind"] != TapeKind.TRADE].max())


def _rules(part: Part, standing: Standing) -> np.ndarray:
    """Return rows that say what a part took for granted: its tick everywhere, and an open market.

    Only where something else stands, and the part's first burst does not say it.
    """
    first = part.rows[part.rows["ts"] == part.rows["ts"][0]]
    made = []
    grid = (part.market.tick, part.market.tick, 0, 0)
    if standing.grid != grid and not (first["kind"] == TapeKind.GRID).any():
        made.append((TapeKind.GRID, grid))
    is_paused = standing.status[2] == MarketStatus.PAUSED
    if is_paused and not (first["kind"] == TapeKind.STATUS).any():
        made.append((TapeKind.STATUS, OPEN))
    rows = np.zeros(len(made), TAPE_DTYPE)
    for row, (kind, (price, ahead, qty, flags)) in zip(rows, made, strict=True):
        row["ts"], row["recv"], row["kind"] = first["ts"][0], first["recv"][0], kind
        row["price"], row["ahead"], row["qty"], row["flags"] = price, ahead, qty, flags
    return rows


def _facts(sessions: Sequence[Session]) -> dict[str, Any]:
    """Return the facts of the whole: counts are added where every part states them."""
    all_facts = [session.facts for session in sessions]
    offsets = [facts.get("feed_offset_ns") for facts in all_facts]
    known = [offset for offset in offsets if offset is not None]
    found: dict[str, Any] = {
        "files": sorted({file for facts in all_facts for file in facts.get("files", ())}),
        "feed_offset_ns": min(known) if known else None,
        "markets": {ticker: stated for facts in reversed(all_facts)
                    for ticker, stated in facts.get("markets", {}).items()},
        "made": {"by": "merge", "sessions": [session.name for session in sessions],
                 "digests": [session.digest for session in sessions]},
    }
    formats = {facts.get("format") for facts in all_facts}
    if len(formats) == 1 and None not in formats:
        found["format"] = formats.pop()
    times = [facts.get("receive_times") for facts in all_facts]
    if None not in times:
        found["receive_times"] = all(times)
    if all("raw" in facts for facts in all_facts):
        for key in ("raw", "left_out"):
            counts: Counter[str] = Counter()
            for facts in all_facts:
                counts.update(facts.get(key, {}))
            found[key] = dict(counts)
        found["rejected"] = sum(int(facts.get("rejected") or 0) for facts in all_facts)
    return found


def _named(session: Session) -> str:
    return str(session.source.get("path", session.name))
