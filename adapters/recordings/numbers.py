"""Decimal numbers of a recording as integers of one unit, exactly; whatever is not one is refused.

A float column is taken by its shortest decimal form. Sums of decimals made in floats miss theirs by
a few ulps (1.9300000000000002): such a value is the multiple of the unit it lies at, and counted.
"""

from __future__ import annotations

import contextlib
import math
import re
from decimal import Decimal

import numpy as np

from .reports import RefusedError

ULPS = 4
"""How far from a multiple of the unit a float may lie and still be it."""
BAD = -(2**62)
"""Stands in a column for a value that `Scale.units` refuses."""
NOISE, FLOORED = 1, 2
"""What is odd about a value: a float a few ulps off its decimal; rounded down."""
ENTRIES_MAX = 1 << 20
"""Values a scale remembers before it starts anew: bounds its memory."""

_DECIMAL = re.compile(r"([+-]?)([0-9]{0,20})(?:\.([0-9]{0,40}))?")

Number = str | int | float | Decimal


class Scale:
    """What one column counts: values to multiples of 1/one, from `low` to `high` inclusive.

    why, expected: how a refusal calls the fault and what it says was expected. floors: whether a
    finer value is rounded down, and counted, instead of refused.

    >>> price = Scale("price", 10_000, 1, 9_999, "dollars between 0 and 1")
    >>> price.units("price", ".48"), price.units("price", 0.456), price.units("price", "0.5000")
    (4800, 4560, 5000)
    """

    def __init__(
        self, why: str, one: int, low: int, high: int, expected: str, *, floors: bool = False
    ):
        self.why = why
        self.one = one
        self.low = low
        self.high = high
        self.expected = expected
        self.floors = floors
        self.float_noise = 0
        """Floats so far that were a few ulps off their decimal."""
        self.floored = 0
        """Values so far that were rounded down."""
        self._known: dict[Number, tuple[int, int]] = {}

    def units(self, field: str, value: Number | None) -> int:
        """Return a value in units. Raises RefusedError that names the field."""
        known = self._known.get(value) if type(value) in (str, float) else None  # type: ignore[arg-type]
        if known is None:
            known = self.read(field, value)
            if type(value) in (str, float):
                if len(self._known) >= ENTRIES_MAX:
                    self._known.clear()
                self._known[value] = known  # type: ignore[index]
        units, oddity = known
        self.float_noise += oddity == NOISE
        self.floored += oddity == FLOORED
        return units

    def column(self, field: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (units, oddities) of a column of floats or ints.

        units: int64, BAD for what `units` refuses. oddities: int8, NOISE for a float that is a few
        ulps off its decimal, FLOORED for one that was rounded down, else 0.
        """
        oddities = np.zeros(len(values), np.int8)
        if values.dtype.kind not in "fiu":
            raise TypeError(f"{field}: a column of {values.dtype}, expected floats or ints")
        if values.dtype.kind in "iu":
            limit = max(abs(self.low), abs(self.high)) // self.one
            fits = (values >= -limit if values.dtype.kind == "i" else True) & (values <= limit)
            units = np.where(fits, values, 0).astype(np.int64) * self.one
            units[~fits | (units < self.low) | (units > self.high)] = BAD
            return units, oddities
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = np.rint(values * self.one)
            # A double that is the nearest one to a decimal of at most 15 digits is that decimal.
            exact = (scaled / self.one == values) & (np.abs(scaled) < 10.0**15)
            units = np.where(exact, scaled, 0).astype(np.int64)
        units[~exact | (units < self.low) | (units > self.high)] = BAD
        for at in np.flatnonzero(~exact).tolist():
            with contextlib.suppress(RefusedError):
                units[at], oddities[at] = self.read(field, float(values[at]))
        return units, oddities

    def read(self, field: str, value: Number | None) -> tuple[int, int]:
        """Return (units, oddity) of a value. Raises RefusedError that names the field."""
        if value is None or value == "":
            raise RefusedError("missing_field", field, value, self.expected)
        if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
            raise RefusedError("wrong_type", field, value, self.expected)
        numerator, denominator = self._fraction(field, value)
        units, rest = divmod(numerator, denominator)
        oddity = 0
        if rest and isinstance(value, float):
            nearest = units + (2 * rest >= denominator)
            if abs(value - nearest / self.one) <= ULPS * math.ulp(value):
                units, rest, oddity = nearest, 0, NOISE
        if not self.low <= units <= self.high:
            raise RefusedError(self.why, field, value, self.expected)
        if rest:
            if not self.floors:
                raise RefusedError("too_fine", field, value,
                                   f"{self.expected}, a multiple of 1/{self.one}")
            oddity = FLOORED
        return units, oddity

    def _fraction(self, field: str, value: Number) -> tuple[int, int]:
        """Return the value in units as a numerator and a denominator."""
        if isinstance(value, int):
            return value * self.one, 1
        text = value if isinstance(value, str) else _plain(value)
        match = _DECIMAL.fullmatch(text)
        if match is None or not (match[2] or match[3]):
            raise RefusedError(self.why, field, value, self.expected)
        decimals = match[3] or ""
        whole = int((match[2] or "0") + decimals) * self.one
        return (-whole if match[1] == "-" else whole), 10 ** len(decimals)


def _plain(value: float | Decimal) -> str:
    """Return the shortest decimal form without an exponent; what is not finite as it is."""
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    return f"{exact:f}" if exact.is_finite() and abs(exact) < 10**18 else str(exact)

