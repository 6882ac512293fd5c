"""The exact map between a venue's prices and sizes and those of a binary market.

A venue that lists no binary markets has prices outside the dollar. A window lays the 9,999 prices
of the finest grid over a stretch of its price grid: one tick is $0.0001, and nothing is rounded or
clipped. A price that lies beside the window, or between two ticks, is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Annotated, Any

import attrs
import numpy as np

from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.units import PRICE_ONE, QTY_MAX, QTY_ONE

from .reports import RefusedError

OUTSIDE = "outside_window"
"""Why a price beside the window is refused."""
MIDDLE = PRICE_ONE // 2
"""Where a window that nobody chose has the middle of the first book: 50 cents."""
ENTRIES_MAX = 1 << 20
"""Values a window remembers before it starts anew: bounds its memory."""
AHEAD_MAX = int(np.iinfo(TAPE_DTYPE["ahead"]).max)
"""The most that a row can state to have stood ahead, 0.01 contract."""

OriginOption = Annotated[str | None, "The venue's price that becomes $0; needs --tick."]
TickOption = Annotated[str | None, "The venue's price step, which becomes $0.0001."]
ContractOption = Annotated[str | None, "The venue's quantity that one contract stands for."]

_EXACT = Context(prec=300, traps=[InvalidOperation, Inexact, Overflow])
_PLAIN = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,2})?")


def decimal(field: str, text: str, expected: str) -> Decimal:
    """Return a plain decimal number. Raises RefusedError that names the field."""
    if not text:
        raise RefusedError("missing_field", field, text, expected)
    if not _DECIMAL.fullmatch(text):
        raise RefusedError("wrong_type", field, text, expected)
    return Decimal(text)


def option(name: str, value: str | int | Decimal | None) -> Decimal | None:
    """Return an option that is a decimal number, or None. Raises ValueError that names it."""
    if value is None:
        return None
    if not _PLAIN.fullmatch(str(value)):
        raise ValueError(f"{name}: {value!r} is no decimal number such as 0.01")
    return Decimal(str(value))


def _positive(instance: object, attribute: attrs.Attribute, value: Decimal) -> None:
    if value <= 0:
        raise ValueError(f"{attribute.name}: {value} is not above 0")


def chosen(
    origin: str | None, tick: str | None, contract: str
) -> tuple[Window | None, Decimal | None, Decimal]:
    """Return (the window, or None if it is to be laid around the first book; tick; contract).

    Raises ValueError "option: ..." for text that is no number, or an origin without a tick.
    """
    at, step, size = option("origin", origin), option("tick", tick), option("contract", contract)
    assert size is not None
    if at is not None and step is None:
        raise ValueError("origin: needs --tick; together they are the window")
    window = Window(Decimal(0) if at is None else at, Decimal(1) if step is None else step, size)
    return (window if at is not None else None), step, size


@attrs.frozen
class Window:
    """Where the grid of a binary market lies on a venue's prices, and what a contract stands for.

    origin: the venue's price that becomes $0; the first price inside is one tick above it. tick:
    the venue's price step, which becomes $0.0001. contract: the venue's quantity that one contract
    stands for. So a price is origin + units x tick, a quantity units x contract / 100, and cash
    that came of buying and selling the same quantity is multiplied by `value_of_dollar`.
    """

    origin: Decimal
    tick: Decimal = attrs.field(validator=_positive)
    contract: Decimal = attrs.field(validator=_positive)
    _prices: dict[str, int | RefusedError] = attrs.field(
        factory=dict, init=False, eq=False, repr=False
    )
    _quantities: dict[str, int] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    @classmethod
    def around(cls, middle: Decimal, tick: Decimal, contract: Decimal) -> Window:
        """Return the window whose middle is a price, rounded down to a whole tick.

        >>> Window.around(Decimal("585.74"), Decimal("0.01"), Decimal(1)).origin
        Decimal('535.74')
        """
        below = _EXACT.divide_int(middle, tick) - MIDDLE
        return cls(_EXACT.multiply(below, tick), tick, contract)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Window:
        """Return the window that the facts of a session state. Raises ValueError if none is."""
        try:
            found = [option(name, facts[name]) for name in ("origin", "tick", "contract")]
            return cls(*(value for value in found if value is not None))
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"window is {facts!r}, expected origin, tick and contract") from None

    def to_json(self) -> dict[str, str]:
        """Return the window as facts of a session."""
        return {name: f"{getattr(self, name):f}" for name in ("origin", "tick", "contract")}

    @property
    def value_of_dollar(self) -> Decimal:
        """What one dollar of a run is worth in the venue's currency.

        >>> Window(Decimal(0), Decimal("0.01"), Decimal(1)).value_of_dollar
        Decimal('100.00')
        """
        return _EXACT.multiply(_EXACT.multiply(Decimal(PRICE_ONE), self.tick), self.contract)

    def units(self, field: str, text: str) -> int:
        """Return a price in $0.0001. Raises RefusedError: off_grid, or `OUTSIDE` the window.

        >>> Window(Decimal(500), Decimal("0.01"), Decimal(1)).units("price", "585.33")
        8533
        """
        known = self._prices.get(text)
        if known is None:
            if len(self._prices) >= ENTRIES_MAX:
                self._prices.clear()
            value = decimal(field, text, "a price")
            try:
                known = self.units_of(field, value)
            except RefusedError as error:
                known = error
            self._prices[text] = known
        if isinstance(known, RefusedError):
            raise known
        return known

    def units_of(self, field: str, value: Decimal) -> int:
        """Return a price in $0.0001, as `units` does."""
        last = self.price(PRICE_ONE)
        if not self.origin < value < last:
            raise RefusedError(
                OUTSIDE, field, f"{value:f}",
                f"one inside the window {self.origin:f} .. {last:f}; move or widen it with "
                "--origin and --tick",
            )
        whole, rest = _EXACT.divmod(_EXACT.subtract(value, self.origin), self.tick)
        if rest:
            raise RefusedError(
                "off_grid", field, f"{value:f}",
                f"{self.origin:f} and whole ticks of {self.tick:f}; state the grid with --tick",
            )
        return int(whole)

    def contracts(self, field: str, text: str) -> int:
        """Return a quantity in 0.01 contract, 0 or more. Raises RefusedError."""
        known = self._quantities.get(text)
        if known is None:
            if len(self._quantities) >= ENTRIES_MAX:
                self._quantities.clear()
            known = self.contracts_of(field, decimal(field, text, "a quantity"))
            self._quantities[text] = known
        return known

    def contracts_of(self, field: str, value: Decimal) -> int:
        """Return a quantity in 0.01 contract, as `contracts` does."""
        whole, rest = _EXACT.divmod(_EXACT.multiply(value, Decimal(QTY_ONE)), self.contract)
        if rest:
            raise RefusedError(
                "too_fine", field, f"{value:f}",
                f"a multiple of {self.quantity(1):f}; state a finer --contract",
            )
        if not 0 <= whole <= QTY_MAX:
            raise RefusedError("size", field, f"{value:f}",
                               f"0 .. {self.quantity(QTY_MAX):f}")
        return int(whole)

    def price(self, units: int) -> Decimal:
        """Return what a price in $0.0001 is at the venue.

        >>> Window(Decimal(500), Decimal("0.01"), Decimal(1)).price(8533)
        Decimal('585.33')
        """
        return _EXACT.add(self.origin, _EXACT.multiply(Decimal(units), self.tick))

    def quantity(self, units: int) -> Decimal:
        """Return what a quantity in 0.01 contract is at the venue."""
        return _EXACT.multiply(Decimal(units), self.contract).scaleb(-2, _EXACT)

    def cash(self, units: int) -> Decimal:
        """Return what cash in $0.000001 is at the venue, once every position is closed again.

        >>> Window(Decimal(500), Decimal("0.01"), Decimal(1)).cash(100)
        Decimal('0.01')
        """
        return _EXACT.multiply(Decimal(units), self.value_of_dollar).scaleb(-6, _EXACT).normalize()
