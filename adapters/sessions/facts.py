"""What there is to say about a session: spans, counts, rates, spreads, gaps, and its quality.

The facts are of the whole stretch, so they know its end: they are for choosing sessions and for
reports, and nothing that decides within a run may read them. Those that depend on how a market
ended stand apart, under `hindsight`. docs/facts.md states every formula.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foldbook.engine.schema import MarketStatus, TapeFlag, TapeKind
from foldbook.engine.session import Session
from foldbook.engine.specs import Market
from foldbook.engine.units import PRICE_ONE, SECOND, decimal_price, decimal_qty

from .quality import Capture, quality, share
from .standing import Standing
from .tallies import Tally, tallies
from .windows import WINDOW_NS

FACTS_VERSION = 2
"""Changes when a formula does, so that stored facts can be told from those of today."""
LOST = ("unanchored", "in_gap", "impossible")
"""What an importer left out because something before it was missing."""
_HALF_UNITS_IN_CENT = 200
"""Twice the mid changes by this when the mid moves by one cent."""


def facts_of(session: Session) -> dict[str, Any]:
    """Return all facts of a session and of each of its markets, as what JSON can hold.

    `quality` has `score` in [0, 1], `parts` (name to number) and `reasons` (sentences); `markets`
    has the same for each ticker. Nothing is None but where there is nothing to measure.
    """
    counted = tallies(session)
    rows = session.tape.rows
    statuses = rows[rows["kind"] == TapeKind.STATUS]
    return _session_facts(session, counted) | {
        "markets": {
            market.ticker: _market_facts(session, each)
            for market, each in zip(session.markets, counted, strict=True)
        },
        "hindsight": {
            market.ticker: _hindsight(market, statuses[statuses["market"] == index])
            for index, market in enumerate(session.markets)
        },
    }


def describe(session: Session) -> dict[str, Any]:
    """Return what `foldbook info` shows: markets, spans, counts, gaps, facts, quality, digest.

    `snapshots`, `deltas` and `trades` count raw messages where the recording's facts name them,
    else the rows that stand for them; `events` counts tape rows.
    """
    found = facts_of(session)
    kinds = found["counts"]
    raw = session.facts.get("raw", {})
    markets = found.pop("markets")
    hindsight = found.pop("hindsight")
    score = found.pop("quality")
    return {
        "session": str(session.source.get("path", session.name)),
        "name": session.name,
        "markets": [
            _listed(session, market.ticker, market.tick, markets, hindsight)
            for market in session.markets
        ],
        "events": len(session.tape),
        "snapshots": int(raw.get("snapshots", kinds["snapshot"])),
        "deltas": int(raw.get("deltas", kinds["increase"] + kinds["decrease"])),
        "trades": int(raw.get("trades", kinds["trade"])),
        "gaps": kinds["gap"],
        "joined_trades": found["trades"]["joined"],
        "digest": session.digest,
        "kinds": kinds,
        "feed_offset_ns": session.facts.get("feed_offset_ns"),
        "raw": dict(raw),
        "facts": found,
        "quality": score,
    }


def _listed(
    session: Session,
    ticker: str,
    tick: int,
    markets: Mapping[str, Any],
    hindsight: Mapping[str, Any],
) -> dict[str, Any]:
    """Return one market as `info` lists it."""
    stated = session.facts.get("markets", {}).get(ticker, {})
    known = dict(markets[ticker])
    return {
        "ticker": ticker,
        "first_ts": stated.get("first_ts", known["first_ts"]),
        "last_ts": known["last_ts"],
        "tick": decimal_price(tick),
        **hindsight[ticker],
        "events": known["events"],
        "gaps": known["counts"]["gap"],
        "quality": known.pop("quality"),
        "facts": known,
    }


def _session_facts(session: Session, counted: Sequence[Tally]) -> dict[str, Any]:
    total = sum(counted, Tally())
    events = [each.events for each in counted]
    series = Counter(market.ticker.partition("-")[0] for market in session.markets)
    return {
        "version": FACTS_VERSION,
        **_figures(total),
        "diversity": {
            "markets": len(events),
            "series": len(series),
            "effective_markets": _effective(events),
        },
        "quality": quality(total, capture_of(session)).to_json(),
    }


def _market_facts(session: Session, tally: Tally) -> dict[str, Any]:
    times = session.facts.get("receive_times")
    return _figures(tally) | {"quality": quality(tally, Capture(times)).to_json()}


def capture_of(session: Session) -> Capture:
    """Return what the importer's report says about how a session was recorded."""
    raw, left_out = session.facts.get("raw", {}), session.facts.get("left_out", {})
    rejected = int(session.facts.get("rejected") or 0)
    read = sum(int(raw.get(name, 0)) for name in ("snapshots", "deltas", "trades")) + rejected
    lost = rejected + sum(int(left_out.get(name, 0)) for name in LOST)
    return Capture(session.facts.get("receive_times"), read if raw else None, lost)


def _figures(tally: Tally) -> dict[str, Any]:
    """Return the facts that a market and a session have alike."""
    return {
        "first_ts": tally.first,
        "last_ts": tally.last,
        "span_s": _seconds(tally.last - tally.first) if tally.first is not None
        and tally.last is not None else 0.0,
        "events": tally.events,
        "counts": {kind.name.lower(): tally.count(kind) for kind in TapeKind},
        "bursts": tally.bursts,
        "time": _time(tally),
        "rates": {
            "events_per_second": _per_second(tally.events, tally.open_ns),
            "bursts_per_second": _per_second(tally.bursts, tally.open_ns),
            "trades_per_second": _per_second(tally.count(TapeKind.TRADE), tally.open_ns),
        },
        "trades": {
            "joined": tally.joined,
            "blocks": tally.blocks,
            "join_rate": _rounded(
                share(tally.joined, tally.count(TapeKind.TRADE) - tally.blocks)
            ),
            "contracts": decimal_qty(tally.volume),
        },
        "queue": {
            "decreases": tally.placed,
            "guessed": tally.guessed,
            "guessed_share": _rounded(share(tally.guessed, tally.placed)),
        },
        "spread": _spread(tally),
        "volatility": {
            "window_s": WINDOW_NS // SECOND,
            "windows": tally.moves.windows,
            "cents": _volatility(tally),
        },
        "activity": _activity(tally),
        "crossed": {
            "bursts": tally.crossed,
            "share": _rounded(share(tally.crossed, tally.bursts)),
        },
    }


def _time(tally: Tally) -> dict[str, Any]:
    """Return how much of a market's time is of use; shares are of the time named before them."""
    unquoted = tally.trusted_ns - tally.quoted_ns
    return {
        "open_s": _seconds(tally.open_ns),
        "paused_s": _seconds(tally.paused_ns),
        "trusted_s": _seconds(tally.trusted_ns),
        "trusted_share": _rounded(share(tally.trusted_ns, tally.open_ns)),
        "unquoted_s": _seconds(unquoted),
        "unquoted_share": _rounded(share(unquoted, tally.trusted_ns)),
        "silences": tally.silences,
        "silent_s": _seconds(tally.silent_ns),
        "longest_silence_s": _seconds(tally.longest_ns),
    }


def _activity(tally: Tally) -> dict[str, Any]:
    found = tally.activity
    return {
        "window_s": WINDOW_NS // SECOND,
        "windows": found.windows,
        "mean": _rounded(share(found.bursts, found.windows)),
        "activity_bursts": found.busy_runs,
        "burst_share": _rounded(share(found.busy, found.windows)),
        "quiet_periods": found.quiet_runs,
        "quiet_share": _rounded(share(found.quiet, found.windows)),
        "longest_quiet_s": _seconds(found.longest_quiet * WINDOW_NS),
    }


def _spread(tally: Tally) -> dict[str, Any]:
    """Return the spread in cents, each value weighted by how long it stood."""
    if not tally.quoted_ns:
        return {"mean_cents": None, "median_cents": None}
    weighed = sum(spread * stood for spread, stood in tally.spreads.items())
    passed = 0
    for median in sorted(tally.spreads):
        passed += tally.spreads[median]
        if 2 * passed >= tally.quoted_ns:
            break
    return {
        "mean_cents": _rounded(weighed / tally.quoted_ns / 100),
        "median_cents": median / 100,
    }


def _volatility(tally: Tally) -> float | None:
    """Return the root mean square of the mid's change over a window, in cents."""
    if not tally.moves.windows:
        return None
    squares = tally.moves.squares / tally.moves.windows
    return _rounded(math.sqrt(squares) / _HALF_UNITS_IN_CENT)


def _effective(events: Sequence[int]) -> float:
    """Return how many equally active markets are as diverse as these: 1 / sum of squared shares."""
    squares = sum(each * each for each in events)
    return _rounded(sum(events) ** 2 / squares) or 0.0 if squares else 0.0


def _hindsight(market: Market, statuses: np.ndarray) -> dict[str, Any]:
    """Return how one market ended: its last status, its result, and what one YES contract paid."""
    standing = Standing.at_the_start(market)
    standing.fold(statuses)
    result = payout = None
    if standing.ruling is not None:
        payout, _, _, flags = standing.ruling
        result = {0: "no", PRICE_ONE: "yes"}.get(payout, "scalar")
        if flags & TapeFlag.VOID:
            result, payout = "void", None
    return {
        "status": MarketStatus(standing.status[2]).name.lower(),
        "result": result,
        "payout": None if payout is None else decimal_price(payout),
    }


def _per_second(count: int, ns: int) -> float | None:
    return _rounded(count * SECOND / ns) if ns else None


def _seconds(ns: int) -> float:
    return ns / SECOND


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
