"""The same session with another future: for proofs that nothing looked ahead.

What is done with a session up to a time must not change when all that comes later does.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.units import MILLISECOND, PRICE_ONE

_BURSTS = 200
"""Bursts of each market after the time."""
_LEVELS = 8
_PAUSE = 50 * MILLISECOND
_FEED = 5 * MILLISECOND


def other_tail(session: Session, t: int, seed: int) -> Session:
    """Return the session with all rows after t (ns) replaced by other, valid ones.

    In each market: a gap, other books, other trades, and settlement at a price drawn from the seed;
    facts["result"] says what was not so. The rest of what the session says of itself is kept.
    """
    generator = random.Random(seed)
    rows = session.tape.rows
    kept = rows[rows["ts"] <= t]
    written: list[tuple[int, ...]] = []
    ts = t + 1
    for number, market in enumerate(session.markets):
        ts = _write(written, number, market.tick, ts, generator)
    tail = np.array(written, TAPE_DTYPE)
    if len(kept):
        tail["recv"] = np.maximum(tail["recv"], kept["recv"].max())
    tape = Tape(np.concatenate([kept, tail]))
    return Session(tape, session.markets, name=f"{session.name}-scrambled", facts=_lies(session))


def _write(
    written: list[tuple[int, ...]], market: int, tick: int, ts: int, generator: random.Random
) -> int:
    """Write the rows of one market from ts on; return the time behind the last."""

    def add(kind: TapeKind, side: int = 0, price: int = 0, qty: int = 0, ahead: int = 0,
            flags: int = 0) -> None:  # fmt: skip
        written.append((ts, ts + _FEED, qty, ahead, price, market, kind, side, flags))

    book: dict[Side, dict[int, int]] = {side: {} for side in Side}
    levels = PRICE_ONE // tick
    base = generator.randrange(levels // 5, 7 * levels // 10)
    add(TapeKind.GAP)
    add(TapeKind.SNAPSHOT)
    for side, start, away in ((Side.BUY, base, -1), (Side.SELL, base + 2, 1)):
        for step in range(_LEVELS):
            price = (start + away * step) * tick
            book[side][price] = qty = generator.randrange(100, 3000)
            add(TapeKind.SNAPSHOT_LEVEL, side, price, qty)
    add(TapeKind.RECOVERED)
    for _ in range(_BURSTS):
        ts += generator.randrange(1, _PAUSE)
        side = generator.choice(tuple(Side))
        price = generator.choice(list(book[side]))
        qty = generator.randrange(1, book[side][price])
        if generator.random() < 0.5 and book[side][price] - qty > 1:
            book[side][price] -= qty
            add(TapeKind.TRADE, side, price, qty, flags=TapeFlag.JOINED)
            add(TapeKind.DECREASE, side, price, qty, ahead=-1)
        else:
            book[side][price] += qty
            add(TapeKind.INCREASE, side, price, qty)
    ts += 1
    add(TapeKind.STATUS, qty=MarketStatus.CLOSED)
    add(TapeKind.STATUS, price=generator.choice((0, PRICE_ONE)), qty=MarketStatus.SETTLED)
    return ts + 1


def _lies(session: Session) -> dict[str, Any]:
    facts = dict(session.facts)
    if isinstance(facts.get("result"), dict):
        facts["result"] = {
            ticker: "no" if result == "yes" else "yes" for ticker, result in facts["result"].items()
        }
    return facts
