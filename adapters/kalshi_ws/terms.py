"""What is known of a market while it trades, as messages: when it closes, and its strikes.

Both are taken from what was said at the time: lifecycle frames, and of the venue's records only
what stands from the listing on. A record that was fetched after the end knows the strike and an
early close from the beginning (SPEC 8); neither is read from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from foldbook.engine.schema import Side, TapeKind
from foldbook.engine.units import SECOND

from ..recordings.reports import RefusedError
from .frames import Kind, Lifecycle
from .messages import MESSAGE_DTYPE, NO_TS, put_in

STRIKE_SCALE = 1_000_000
_STRIKE_MAX = 1 << 62

Term = tuple[TapeKind, Side, int]
"""What one row says: its kind, side and qty."""


def terms_of(news: Lifecycle) -> list[Term]:
    """Return what a lifecycle frame says of a market. Raises RefusedError for a strike too fine."""
    found: list[Term] = []
    if news.close_ts is not None:
        found.append((TapeKind.CLOSE_TIME, Side.BUY, news.close_ts * SECOND))
    more = news.additional_metadata
    for side, name in ((Side.BUY, "floor_strike"), (Side.SELL, "cap_strike")):
        value = getattr(news, name)
        if value is None and more is not None:
            value = getattr(more, name)
        if value is not None:
            found.append((TapeKind.STRIKE, side, _scaled(name, value)))
    return found


def _scaled(name: str, value: Decimal) -> int:
    scaled = value * STRIKE_SCALE
    if not value.is_finite() or scaled != int(scaled) or abs(scaled) > _STRIKE_MAX:
        raise RefusedError("strike", name, value, "a number with six decimals at most")
    return int(scaled)


def with_terms(
    messages: np.ndarray, closes_at: int | None, stated: Sequence[Sequence[Term]]
) -> np.ndarray:
    """Return a market's messages with a Kind.TERM for each term.

    closes_at: ns, known from the listing. stated: what each Kind.TERM of the recording says, whose
    qty is its number here.
    """
    terms = np.flatnonzero(messages["kind"] == Kind.TERM)
    if closes_at is None and not len(terms):
        return messages
    made: list[np.ndarray] = []
    places: list[int] = []
    if closes_at is not None and len(messages):
        made.append(_message(messages[0], (TapeKind.CLOSE_TIME, Side.BUY, closes_at)))
        places.append(0)
    for at in terms.tolist():
        source = messages[at]
        each = [_message(source, term) for term in stated[int(source["qty"])]]
        made += each
        places += [at] * len(each)
    if not len(terms):
        return put_in(messages, places, made)
    kept = np.delete(messages, terms)
    return put_in(kept, (np.array(places) - np.searchsorted(terms, places)).tolist(), made)


def _message(source: np.void, term: Term) -> np.ndarray:
    made = np.zeros(1, MESSAGE_DTYPE)
    for field in ("recv", "row", "file"):
        made[field] = source[field]
    kind, side, qty = term
    made["kind"], made["ts"], made["sub"] = Kind.TERM, NO_TS, -1
    made["edge"], made["side"], made["qty"] = kind, side, qty
    return made
