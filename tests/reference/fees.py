"""What one fill costs (docs/semantics.md, section 5), in Python's unbounded integers."""

from __future__ import annotations

from foldbook.engine.fees import FeeSchedule
from foldbook.engine.units import PPM, PRICE_ONE

SCALE = PPM * PRICE_ONE
CENT = 10_000
UP, NEAREST, DOWN = range(3)
"""Directions in which the trade fee is rounded; halves go up."""
NO_REBATE, WHOLE_CENTS, WHOLE_UNITS = range(3)
"""What an order gets back of what its fills were rounded up by."""


def scaled_fee(schedule: FeeSchedule, rate_ppm: int, price: int, is_maker: bool) -> int:
    """Return the numerator of the trade fee: by the market's rate, or by the schedule's tables."""
    if schedule.curve is not None:
        return schedule.curve[is_maker][price]
    flat = schedule.maker_flat if is_maker else schedule.taker_flat
    return rate_ppm * price * (PRICE_ONE - price) + flat * 10**8


def trade_fee(schedule: FeeSchedule, scaled: int, qty: int) -> int:
    """Return the trade fee, rounded to the schedule's granularity."""
    unit = SCALE * schedule.rounding
    added = {UP: unit - 1, NEAREST: unit // 2, DOWN: 0}[int(schedule.direction)]
    return (scaled * qty + added) // unit * schedule.rounding


def fill_fee(
    schedule: FeeSchedule, scaled: int, qty: int, cash: int, carry: int
) -> tuple[int, int]:
    """Return (net fee, carry after) of a fill that moves `cash` without its fee."""
    trade = trade_fee(schedule, scaled, qty)
    rounded = (cash - trade) % schedule.precision
    total = carry + rounded
    if schedule.rebate == NO_REBATE:
        return trade + rounded, 0
    unit = CENT if schedule.rebate == WHOLE_CENTS else schedule.precision
    rebate = min(total // unit, (trade + rounded) // unit) * unit
    if schedule.rebate == WHOLE_CENTS and total <= CENT:
        rebate = 0
    return trade + rounded - rebate, total - rebate
