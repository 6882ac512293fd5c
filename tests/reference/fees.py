"""What one fill costs (docs/semantics.md, section 5), in Python's unbounded integers."""

from __future__ import annotations

from typing import Any

from foldbook.engine.units import PPM, PRICE_ONE

SCALE = PPM * PRICE_ONE
CENT = 10_000
UP, NEAREST, DOWN = range(3)
"""Directions in which the trade fee is rounded; halves go up."""
NO_REBATE, WHOLE_CENTS, WHOLE_UNITS = range(3)
"""What an order gets back of what its fills were rounded up by."""


def scaled_fee(schedule: Any, rate_ppm: int, price: int, is_maker: bool) -> int:
    """Return the numerator of the trade fee: by the market's rate, or by the schedule's tables."""
    if not getattr(schedule, "is_quadratic", True):
        return schedule.scaled(price, is_maker)
    return rate_ppm * price * (PRICE_ONE - price)


def trade_fee(schedule: Any, scaled: int, qty: int) -> int:
    """Return the trade fee, rounded to the schedule's granularity."""
    direction = getattr(schedule, "direction", UP)
    unit = SCALE * schedule.rounding
    added = {UP: unit - 1, NEAREST: unit // 2, DOWN: 0}[int(direction)]
    return (scaled * qty + added) // unit * schedule.rounding


def fill_fee(schedule: Any, scaled: int, qty: int, cash: int, carry: int) -> tuple[int, int]:
    """Return (net fee, carry after) of a fill that moves `cash` without its fee."""
    precision = getattr(schedule, "precision", 1)
    trade = trade_fee(schedule, scaled, qty)
    rounded = (cash - trade) % precision
    total = carry + rounded
    rule = getattr(schedule, "rebate", NO_REBATE)
    if rule == NO_REBATE:
        return trade + rounded, 0
    if rule == WHOLE_CENTS:
        rebate = total // CENT * CENT if total > CENT else 0
    else:
        assert rule == WHOLE_UNITS, rule
        rebate = min(total // precision, (trade + rounded) // precision) * precision
    return trade + rounded - rebate, total - rebate
