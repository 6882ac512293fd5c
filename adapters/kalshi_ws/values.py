"""Values of frames as integers with units; what is not what it should be is refused by name.

Whether dollars or cents, fixed point or whole contracts count is decided here, frame by frame: both
must agree where both are stated.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from foldbook.engine.units import MICROSECOND, MILLISECOND, QTY_MAX, QTY_ONE, SECOND

from ..recordings.reports import RefusedError
from .frames import NS_MAX, UNREADABLE, Delta, Dialect, Level, Snapshot, fields_of
from .messages import NO_TS
from .numbers import BAD, CENT, PRICES, QUANTITIES

PRICE_EXPECTED = "dollars between 0 and 1 with up to four decimals"
TIME_EXPECTED = "a time between 1970 and 2255"
_QTY = "contracts with up to two decimals"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def looked_up(table: dict[str | None, int], texts: list[str | None]) -> np.ndarray:
    """Return the numbers that a table of `numbers` has for texts: int64, BAD where there is none.
    """
    return np.fromiter(map(table.__getitem__, texts), np.int64, len(texts))


def delta_times(deltas: list[Delta]) -> np.ndarray:
    """Return the exchange times, ns; the microsecond of `ts` completes `ts_ms`."""
    try:
        millis = np.array([delta.ts_ms for delta in deltas], np.int64)
        micros = np.array(
            [delta.ts.microsecond for delta in deltas], np.int64  # type: ignore[union-attr]
        )
    except (TypeError, AttributeError):
        return np.array([_delta_time(delta) for delta in deltas], np.int64)
    times = millis // 1000 * SECOND + micros * MICROSECOND
    for number in np.flatnonzero(micros // 1000 != millis % 1000).tolist():
        times[number] = _delta_time(deltas[number])
    return times


def _delta_time(delta: Delta) -> int:
    if delta.ts is not None:
        stamp = delta.ts if delta.ts.tzinfo else delta.ts.replace(tzinfo=UTC)
        time = (stamp - _EPOCH) // timedelta(microseconds=1) * MICROSECOND
        return time if 0 < time <= NS_MAX else BAD
    return NO_TS if delta.ts_ms is None else delta.ts_ms * MILLISECOND


def seconds_of(field: str, time: int | None) -> int:
    """Return a time that is given in seconds, as ns."""
    if time is not None and time * SECOND > NS_MAX:
        raise RefusedError("ts", field, time, TIME_EXPECTED)
    return NO_TS if time is None else time * SECOND


def delta_values(delta: Delta) -> tuple[int, int]:
    """Return the price and the change of a delta. Raises RefusedError."""
    cents = delta.price
    if cents is None:
        cents = getattr(delta, "price_cents", None)
    price = price_of("price", delta.price_dollars, cents)
    return price, qty_of("delta", delta.delta_fp, delta.delta)


def price_of(field: str, dollars: str | None, cents: int | None) -> int:
    """Return a price from dollars, else from cents; both must agree after rounding."""
    if dollars is None:
        if cents is None:
            raise RefusedError("missing_field", f"{field}_dollars", None, PRICE_EXPECTED)
        if not 0 < cents < 100:
            raise RefusedError("price", field, cents, "cents between 1 and 99")
        return cents * CENT
    value = PRICES[dollars]
    if value == BAD:
        raise RefusedError("price", f"{field}_dollars", dollars, PRICE_EXPECTED)
    if cents is not None and 2 * abs(value - cents * CENT) > CENT:
        raise RefusedError("disagree", field, cents, f"{dollars} rounded to cents")
    return value


def qty_of(field: str, fixed: str | None, whole: int | None) -> int:
    """Return a quantity from a decimal string, else from whole contracts; both must agree."""
    if fixed is None:
        if whole is None:
            raise RefusedError("missing_field", f"{field}_fp", None, _QTY)
        if abs(whole) * QTY_ONE > QTY_MAX:
            raise RefusedError("qty", field, whole, _QTY)
        return whole * QTY_ONE
    value = QUANTITIES[fixed]
    if value == BAD:
        raise RefusedError("qty", f"{field}_fp", fixed, _QTY)
    if whole is not None and abs(value - whole * QTY_ONE) >= QTY_ONE:
        raise RefusedError("disagree", field, whole, f"{fixed} rounded to contracts")
    return value


def positive(qty: int, value: object, field: str) -> int:
    """Return a quantity that must be more than none. Raises RefusedError."""
    if qty <= 0:
        raise RefusedError("qty", field, value, "more than zero contracts")
    return qty


def level_of(name: str, level: Level, *, in_cents: bool) -> tuple[int, int]:
    """Return (price, qty) of one level of a snapshot."""
    price, qty = level
    if in_cents != isinstance(price, int):
        raise RefusedError("price", name, price, "cents as an int" if in_cents else PRICE_EXPECTED)
    value = (price_of(name, None, price) if isinstance(price, int) else price_of(name, price, None))
    size = qty_of(name, None, qty) if isinstance(qty, int) else qty_of(name, qty, None)
    return value, positive(size, qty, name)


def check_fields(line: bytes, dialect: Dialect) -> None:
    """Check that a snapshot without a side has no field that might be it under a new name: a book
    without orders looks just like one whose ladders are called something else."""
    known = Snapshot.__struct_fields__
    expected = f"a ladder by the name of {', '.join(known[1:])}"
    try:
        fields = fields_of(line, dialect)
    except UNREADABLE as error:
        raise RefusedError("unknown_field", "a field", str(error), expected) from None
    for field, value in fields.items():
        if field not in known and isinstance(value, (list, dict)):
            shown = value[:2] if isinstance(value, list) else sorted(value)[:2]
            raise RefusedError("unknown_field", field, shown, expected)


def check_cents(name: str, values: list[tuple[int, int]], cents: list[tuple[int, int]]) -> None:
    """Check that a ladder in cents is the one in dollars, rounded."""
    if len(values) != len(cents) or any(
        2 * abs(price - other) > CENT for (price, _), (other, _) in zip(values, cents, strict=True)
    ):
        raise RefusedError("disagree", name, [price for price, _ in cents],
                           f"the prices of {name}_dollars rounded to cents")
