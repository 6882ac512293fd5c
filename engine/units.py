"""Units of everything that is counted, and the only conversions from and to human notation.

Money, prices, quantities and times are integers everywhere in the engine. A float is refused here
rather than rounded, because no float says how it wants to be rounded.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation

import numpy as np

PRICE_ONE = 10_000
"""One dollar as a price: the unit is $0.0001, the venue's finest tick (SPEC 1.6)."""
QTY_ONE = 100
"""One contract as a quantity: the unit is 0.01 contract (SPEC 1.6)."""
CASH_ONE = 1_000_000
"""One dollar as cash: the unit is $0.000001, so that price x qty is exactly cash."""
PPM = 1_000_000
"""Parts per million, the unit of fee rates."""

# Durations in nanoseconds, the unit of every time.
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND

QTY_MAX = 10**14
"""Largest quantity of one event: 10^12 contracts. Keeps price x qty inside int64."""

Number = int | str | Decimal

_EXACT = Context(prec=60, traps=[InvalidOperation, Inexact])
_DURATIONS = {
    "ns": 1,
    "us": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": 60 * MINUTE,
}


def _scaled(value: Number, scale: int, what: str) -> int:
    if isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise TypeError(
            f"{what}: {value!r} is a {type(value).__name__}; pass an int, a decimal string or a "
            "Decimal, because a float does not say how it should be rounded"
        )
    try:
        exact = _EXACT.multiply(Decimal(value), scale)
        whole = int(exact)
    except (InvalidOperation, Inexact, OverflowError, ValueError):
        raise ValueError(f"{what}: {value!r} is not a decimal number") from None
    if whole != exact:
        raise ValueError(f"{what}: {value!r} is finer than the unit 1/{scale}")
    return whole


def cents(value: Number) -> int:
    """Return a price, in units of $0.0001, from cents.

    >>> cents(48), cents("0.5")
    (4800, 50)
    """
    return _scaled(value, PRICE_ONE // 100, "price in cents")


def price(value: Number) -> int:
    """Return a price, in units of $0.0001, from dollars.

    >>> price("0.48")
    4800
    """
    return _scaled(value, PRICE_ONE, "price in dollars")


def contracts(value: Number) -> int:
    """Return a quantity, in units of 0.01 contract.

    >>> contracts(10), contracts("0.25")
    (1000, 25)
    """
    return _scaled(value, QTY_ONE, "quantity in contracts")


def dollars(value: Number) -> int:
    """Return cash, in units of $0.000001.

    >>> dollars(1000)
    1000000000
    """
    return _scaled(value, CASH_ONE, "cash in dollars")


def multiple(value: Number) -> int:
    """Return a factor, in ppm.

    >>> multiple("0.5")
    500000
    """
    return _scaled(value, PPM, "factor")


def duration(value: int | str | timedelta) -> int:
    """Return nanoseconds from "100ms", "1.5s", a timedelta, or an int that is nanoseconds already.

    >>> duration("100ms"), duration("1.5s"), duration(timedelta(minutes=1))
    (100000000, 1500000000, 60000000000)
    """
    if isinstance(value, timedelta):
        return (value.days * 86_400 + value.seconds) * SECOND + value.microseconds * MICROSECOND
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
        unit = text[len(digits) :].strip()
        if digits and unit in _DURATIONS:
            return _scaled(digits, _DURATIONS[unit], "duration")
    raise ValueError(f"duration: {value!r} is not like '100ms', '5s' or nanoseconds as an int")


def decimal_price(value: int) -> str:
    """Return a price as dollars with four decimals.

    >>> decimal_price(4800)
    '0.4800'
    """
    return _decimal(int(value), PRICE_ONE, 4)


def decimal_qty(value: int) -> str:
    """Return a quantity as contracts with two decimals.

    >>> decimal_qty(1050)
    '10.50'
    """
    return _decimal(int(value), QTY_ONE, 2)


def decimal_cash(value: int) -> str:
    """Return cash as dollars with two decimals, or as many as it needs up to six.

    >>> decimal_cash(1_500_000), decimal_cash(-1)
    ('1.50', '-0.000001')
    """
    text = _decimal(int(value), CASH_ONE, 6)
    head, _, tail = text.partition(".")
    return f"{head}.{tail.rstrip('0').ljust(2, '0')}"


def _decimal(value: int, scale: int, digits: int) -> str:
    sign = "-" if value < 0 else ""
    whole, rest = divmod(abs(value), scale)
    return f"{sign}{whole}.{rest:0{digits}d}"


def iso_time(ts: int) -> str:
    """Return a time in ns since 1970 as RFC 3339 in UTC with nine decimals.

    >>> iso_time(1_500_000_000)
    '1970-01-01T00:00:01.500000000Z'
    """
    seconds, rest = divmod(int(ts), SECOND)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{rest:09d}Z"
