"""What the feed and the venue's records say of fees, as messages of the markets they concern.

An `event_fee_update` names an event, not a market, and either field of it may be null: then the
series decides. So rates are worked out here, when it is known which markets there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from foldbook.engine.fees import KALSHI_FEES, FeeRow, Fees, FeeType

from .frames import Kind
from .messages import MESSAGE_DTYPE, NO_TS, put_in

_DEFAULTS = FeeRow("*", type=FeeType.QUADRATIC, multiplier_ppm=1_000_000)


def fee_row(scope: str, kind: str | None, multiplier: Decimal | None) -> FeeRow | None:
    """Return one stated fee; None if it is `flat`, whose rates the venue does not publish.

    scope: ticker of a series or an event. Raises FeeError, named for the field.
    """
    if kind == FeeType.FLAT.name.lower():
        return None
    return Fees.from_rows([{"scope": scope, "type": kind, "multiplier": multiplier}]).rows[0]


def event_of(ticker: str) -> str:
    """Return the ticker of a market's event: without its last part."""
    return ticker.rpartition("-")[0]


def with_fees(
    ticker: str, messages: np.ndarray, series: FeeRow | None, updates: np.ndarray,
    stated: Sequence[FeeRow | None],
) -> tuple[np.ndarray, int]:
    """Return a market's messages with those about its fees put in, and how many had no rates.

    series: the record of its series, known from the start. updates: Kind.FEE messages of its
    recording in order of arrival, whose qty is the number of what they state in `stated`.
    """
    base = KALSHI_FEES if series is None else Fees((_DEFAULTS, series))
    arrivals = np.maximum.accumulate(messages["recv"])
    found: list[np.ndarray] = []
    places: list[int] = []
    if series is not None and len(messages):
        found += _messages(messages[0], base, ticker)
        places += [0] * len(found)
    unknown = 0
    for update in updates:
        row = stated[int(update["qty"])]
        made = [] if row is None else _messages(update, base.with_rows(row), ticker)
        unknown += not made
        found += made
        places += [int(np.searchsorted(arrivals, update["recv"], side="right"))] * len(made)
    if not found:
        return messages, unknown
    return put_in(messages, places, found), unknown


def _messages(source: np.void, fees: Fees, ticker: str) -> list[np.ndarray]:
    """Return the message that sets a market's rates; none if a flat fee is among them."""
    schedule = fees.at(ticker, int(source["recv"]))
    if not schedule.is_quadratic:
        return []
    made = np.zeros(1, MESSAGE_DTYPE)
    for field in ("recv", "row", "file"):
        made[field] = source[field]
    made["kind"], made["ts"], made["sub"] = Kind.FEE, NO_TS, -1
    made["qty"], made["edge"] = schedule.taker_ppm, schedule.maker_ppm
    return [made]
