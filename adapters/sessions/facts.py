"""What there is to say about a session: spans, counts, gaps, what limits its use."""

from __future__ import annotations

from typing import Any

import numpy as np

from foldbook.engine.schema import MarketStatus, TapeFlag, TapeKind
from foldbook.engine.session import Session
from foldbook.engine.units import PRICE_ONE, decimal_price


def describe(session: Session) -> dict[str, Any]:
    """Return what `foldbook info` shows: markets, spans, counts, gaps, quality, digest.

    `snapshots`, `deltas` and `trades` count raw messages where the recording's facts name them,
    else the rows that stand for them; `events` counts tape rows.
    """
    rows = session.tape.rows
    raw = session.facts.get("raw", {})
    per_kind = np.bincount(rows["kind"], minlength=len(TapeKind))
    kinds = {kind.name.lower(): int(per_kind[kind]) for kind in TapeKind}
    flags = rows["flags"][rows["kind"] == TapeKind.TRADE]
    joined = int(np.count_nonzero(flags & TapeFlag.JOINED))
    return {
        "session": str(session.source.get("path", session.name)),
        "name": session.name,
        "markets": [_market(session, index) for index in range(len(session.markets))],
        "events": len(rows),
        "snapshots": int(raw.get("snapshots", kinds["snapshot"])),
        "deltas": int(raw.get("deltas", kinds["increase"] + kinds["decrease"])),
        "trades": int(raw.get("trades", kinds["trade"])),
        "gaps": kinds["gap"],
        "joined_trades": joined,
        "digest": session.digest,
        "kinds": kinds,
        "feed_offset_ns": session.facts.get("feed_offset_ns"),
        "raw": dict(raw),
        "quality": _quality(session, kinds, joined),
    }


def _market(session: Session, index: int) -> dict[str, Any]:
    rows = session.tape.rows
    if len(session.markets) > 1:
        rows = rows[rows["market"] == index]
    ticker = session.markets[index].ticker
    facts = session.facts.get("markets", {}).get(ticker, {})
    statuses = rows[rows["kind"] == TapeKind.STATUS]
    known = statuses[statuses["qty"] >= MarketStatus.DETERMINED]
    payout = int(known[-1]["price"]) if len(known) else None
    result = None if payout is None else {0: "no", PRICE_ONE: "yes"}.get(payout, "scalar")
    ends = (int(rows[0]["ts"]), int(rows[-1]["ts"])) if len(rows) else (None, None)
    last = MarketStatus(int(statuses[-1]["qty"])) if len(statuses) else MarketStatus.OPEN
    return {
        "ticker": ticker,
        "first_ts": facts.get("first_ts", ends[0]),
        "last_ts": ends[1],
        "tick": decimal_price(session.markets[index].tick),
        "status": last.name.lower(),
        "result": result,
        "payout": None if payout is None else decimal_price(payout),
        "events": len(rows),
        "gaps": int(np.count_nonzero(rows["kind"] == TapeKind.GAP)),
    }


def _quality(session: Session, kinds: dict[str, int], joined: int) -> list[str]:
    """Return what limits the use of a session, as sentences."""
    found = []
    if not kinds["trade"]:
        found.append("no trade channel: maker fills are beyond the record")
    elif joined < kinds["trade"]:
        found.append(f"{kinds['trade'] - joined} of {kinds['trade']} trades join no decrease: "
                     "they fill no queue")
    guessed = int(np.count_nonzero(session.tape.rows["flags"] & TapeFlag.GUESSED))
    if guessed:
        found.append(f"{guessed} of {kinds['decrease']} decreases have a guessed place "
                     "in the queue")
    if kinds["gap"]:
        found.append(f"{kinds['gap']} gaps: the book is not trusted until the next snapshot")
    if session.facts.get("receive_times") is False:
        found.append("no receive times: recv is the exchange time")
    return found
