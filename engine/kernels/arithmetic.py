"""Integer arithmetic that int64 alone cannot do: products wider than 63 bits, fees, conversions."""

from __future__ import annotations

from ..compiled import entry
from ..fees import CENT, SCALE, Rebate, Round
from ..units import PRICE_ONE

_FITS = (1 << 62) - 1
_SMALL_A, _SMALL_B = 1 << 42, 1 << 20
_NEAREST = int(Round.NEAREST)
_UP = int(Round.UP)
_NONE = int(Rebate.NONE)
_CENTS = int(Rebate.CENTS)


@entry
def muldiv(a: int, b: int, c: int, up: int) -> int:
    """Return a * b / c rounded down (up = 0) or up (up = 1), also where a * b overflows int64.

    a and b are not negative, 0 < c < 2^61, and the quotient must fit int64.
    """
    # The first question spares most calls the division of the second.
    if (a < _SMALL_A and b < _SMALL_B) or a == 0 or b <= _FITS // a:
        quotient = a * b // c
        if up and quotient * c != a * b:
            quotient += 1
        return quotient
    whole = a // c
    part = a - whole * c
    quotient = 0
    rest = 0
    for shift in range(62, -1, -1):
        quotient *= 2
        rest *= 2
        if (b >> shift) & 1:
            rest += part
        while rest >= c:
            rest -= c
            quotient += 1
    if up and rest > 0:
        quotient += 1
    return whole * b + quotient


@entry
def fill_fee(
    scaled: int, qty: int, cash: int, carry: int, rules: tuple[int, int, int, int]
) -> tuple[int, int]:
    """Return (fee, carry) of one fill, $0.000001, as `FeeSchedule.fill` does (SPEC 5.2).

    scaled: `FeeSchedule.scaled` of the fill's price; cash: its change of cash without the fee;
    carry: of the order's fills before; rules: `FeeSchedule.rules`.
    """
    rounding, direction, precision, rebate = rules
    if direction == _NEAREST:
        trade_fee = (muldiv(2 * scaled, qty, SCALE * rounding, 0) + 1) // 2 * rounding
    else:
        trade_fee = muldiv(scaled, qty, SCALE * rounding, int(direction == _UP)) * rounding
    rounding_fee = (cash - trade_fee) % precision
    charged = trade_fee + rounding_fee
    total = carry + rounding_fee
    if rebate == _NONE:
        return charged, 0
    unit = precision
    if rebate == _CENTS:
        unit = CENT
        if total <= CENT:
            return charged, total
    repaid = min(total // unit, charged // unit) * unit
    return charged - repaid, total - repaid


@entry
def position_value(position: int, mid2: int) -> int:
    """Return the value of a position at a mark of twice the mid, $0.000001, rounded down."""
    if position >= 0:
        return (position * mid2) >> 1
    return (-position * (2 * PRICE_ONE - mid2)) >> 1
