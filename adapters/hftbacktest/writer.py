"""Sessions into hftbacktest's event arrays, one market a file; written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.session import Session

from .. import sessions
from .beside import ABOUT, FORMAT, RARE, REST, About, rest_of, to_events, to_rows, window_of
from .events import ARRAY, Flag


def export_session(
    session: Session, to: str | os.PathLike[str], *, market: str | None = None
) -> dict[str, Any]:
    """Write one market of a session to the file `to` (.npz), and say what was written.

    The array `data` is what hftbacktest reads; what it cannot hold stands beside it. Prices and
    quantities are those of the venue where the session was imported through a window, else dollars
    and contracts. A file that was there is replaced in one step. market: its ticker; may be left
    out if there is one. Raises ValueError "market: ..." for a choice that is none, TapeError for
    what float64 cannot say exactly.
    """
    if market is None and len(session.markets) > 1:
        raise ValueError(f"market: is needed, the session has {len(session.markets)}")
    try:
        index = session.market_index(0 if market is None else market)
    except KeyError as error:
        raise ValueError(f"market: {error.args[0]}") from None
    spec = session.markets[index]
    rows = np.array(session.tape.rows[session.tape.rows["market"] == index], TAPE_DTYPE)
    rows["market"] = 0
    window = window_of(session.facts)
    events = to_events(rows, window)
    rest, rare = rest_of(rows)
    digest = sessions.digest_of([rows])
    # What is written is read back before it counts: a float that is no decimal would show here.
    if sessions.digest_of([to_rows(events, rest, rare, window)]) != digest:
        raise AssertionError(f"session {session.name}: its events do not give its tape back")
    about = About(FORMAT, spec.ticker, spec.tick, spec.event, digest, dict(session.facts))
    text = np.frombuffer(msgspec.json.encode(about), np.uint8)
    split = in_both_orders(events)
    path = Path(to)
    _write(path, {ARRAY: split, ABOUT: text, REST: rest, RARE: rare})
    return {"file": str(path), "market": spec.ticker, "rows": len(rows), "events": len(split),
            "split": len(split) - len(events), "beside": len(rare), "window": window.to_json(),
            "digest": digest}


def in_both_orders(events: np.ndarray) -> np.ndarray:
    """Return events so that those of the exchange stand by exch_ts and those seen by local_ts.

    An event whose receipt is out of turn becomes two: one for each of both clocks.
    """
    recv = events["local_ts"]
    highest = np.maximum.accumulate(recv) if len(recv) else recv
    lowest = np.minimum.accumulate(recv[::-1])[::-1] if len(recv) else recv
    in_turn = (recv == highest) & (recv == lowest)
    anchors = np.flatnonzero(in_turn)
    late = np.flatnonzero(~in_turn)
    low = np.searchsorted(recv[anchors], recv[late], "left")
    high = np.searchsorted(recv[anchors], recv[late], "right")
    slot = np.clip(np.searchsorted(anchors, late), low, high)
    before = np.append(anchors, len(events))[slot]
    seen = events[late]
    seen["ev"] &= ~np.uint64(Flag.EXCHANGE)
    traded = events.copy()
    traded["ev"][late] &= ~np.uint64(Flag.LOCAL)
    place = np.concatenate([np.arange(len(events)), before])
    second = np.concatenate([np.ones(len(events), np.int64), np.zeros(len(late), np.int64)])
    clock = np.concatenate([np.zeros(len(events), np.int64), recv[late]])
    order = np.lexsort((clock, second, place))
    return np.concatenate([traded, seen])[order]


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
