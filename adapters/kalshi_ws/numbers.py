"""Decimal strings of the venue as integers with units; what is not exactly one is refused.

A recording repeats few strings many times, so each table parses a string once. A table hands out
BAD instead of raising: columns are looked up in bulk and checked afterwards.
"""

from __future__ import annotations

import re

from foldbook.engine.units import PRICE_ONE, QTY_MAX, QTY_ONE

BAD = -(2**62)
"""Stands for a string that is no number of its kind."""
CENT = PRICE_ONE // 100
ENTRIES_MAX = 1 << 20
"""Strings a table remembers before it starts anew: bounds its memory."""

_PRICE = re.compile(r"([01])(?:\.([0-9]{1,4}))?")
_QTY = re.compile(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,2}))?")


class Prices(dict[str | None, int]):
    """Dollars as a string to units of $0.0001, strictly between 0 and one dollar.

    >>> table = Prices()
    >>> table["0.4800"], table["0.960"], table["0.48005"] == table["1.2"] == BAD
    (4800, 9600, True)
    """

    def __missing__(self, text: str | None) -> int:
        value = _price(text)
        return _remember(self, text, value if 0 < value < PRICE_ONE else BAD)


class Payouts(dict[str | None, int]):
    """Dollars as a string to units of $0.0001, 0 and one dollar included."""

    def __missing__(self, text: str | None) -> int:
        value = _price(text)
        return _remember(self, text, value if value <= PRICE_ONE else BAD)


class Quantities(dict[str | None, int]):
    """Contracts as a string to units of 0.01 contract, signed.

    >>> table = Quantities()
    >>> table["-40.00"], table["7"], table["nan"] == table["0.005"] == BAD
    (-4000, 700, True)
    """

    def __missing__(self, text: str | None) -> int:
        match = _QTY.fullmatch(text) if isinstance(text, str) else None
        value = BAD
        if match:
            value = int(match[2]) * QTY_ONE + int((match[3] or "").ljust(2, "0"))
            value = BAD if value > QTY_MAX else -value if match[1] else value
        return _remember(self, text, value)


def _price(text: str | None) -> int:
    match = _PRICE.fullmatch(text) if isinstance(text, str) else None
    return int(match[1]) * PRICE_ONE + int((match[2] or "").ljust(4, "0")) if match else BAD


def _remember(table: dict[str | None, int], text: str | None, value: int) -> int:
    if len(table) >= ENTRIES_MAX:
        table.clear()
    table[text] = value
    return value


PRICES = Prices()
PAYOUTS = Payouts()
QUANTITIES = Quantities()
