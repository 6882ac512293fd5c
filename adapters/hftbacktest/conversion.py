"""Floats that stand for decimals, and the integers of a window; exactly, or not at all.

A decimal is the nearest float to it, so there is one float for each integer as long as the numbers
stay below 2^53. A float that misses a decimal by a few ulps comes of arithmetic with floats (57 x
0.01 = 0.5700000000000001): it is that decimal, and counted. Any other is no decimal of the grid.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.units import QTY_MAX

from ..recordings.windows import Window

ULPS = 4
"""How far from a decimal a float may lie and still be it."""
EXACT_MAX = 1 << 53
"""Integers below it are floats."""


class Decimals:
    """The floats of origin + units x step, both decimals."""

    def __init__(self, origin: Decimal, step: Decimal, units_max: int):
        places = max(0, *(-int(value.normalize().as_tuple().exponent) for value in (origin, step)))
        self._scale = 10**places
        self._origin, self._step = (int(Fraction(value) * self._scale) for value in (origin, step))
        self._units_max = units_max
        if abs(self._origin) + units_max * self._step >= EXACT_MAX:
            self._units_max = (EXACT_MAX - 1 - abs(self._origin)) // self._step
        if self._scale >= EXACT_MAX or self._units_max < 1:
            raise TapeError(f"{origin:f} and steps of {step:f}: are too fine for float64")

    def floats(self, units: np.ndarray) -> np.ndarray:
        """Return the float64 of units, int64. Raises TapeError for one that has no float."""
        if len(units) and int(units.max()) > self._units_max:
            raise TapeError(f"{int(units.max())} units: float64 holds no more than "
                            f"{self._units_max} exactly")
        return (self._origin + units * np.int64(self._step)) / np.float64(self._scale)

    def units(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (units int64, which are on the grid and within range, which of them are noisy)."""
        with np.errstate(all="ignore"):
            nearest = np.rint((values * self._scale - self._origin) / self._step)
            sound = np.isfinite(nearest) & (abs(nearest) <= self._units_max)
            units = np.where(sound, nearest, 0).astype(np.int64)
            exact = (self._origin + units * np.int64(self._step)) / np.float64(self._scale)
            sound &= abs(exact - values) <= ULPS * np.spacing(abs(values))
        return units, sound, sound & (exact != values)


def prices(window: Window) -> Decimals:
    """Return the floats of a window's prices, in $0.0001."""
    return Decimals(window.origin, window.tick, 10_000)


def quantities(window: Window) -> Decimals:
    """Return the floats of a window's quantities, in 0.01 contract."""
    return Decimals(Decimal(0), window.quantity(1), QTY_MAX)
