"""Seeded random models: what a workload assumes of fees, delays, queues and limits."""

from __future__ import annotations

import random

import attrs

from foldbook.engine.availability import ALWAYS, AVAILABILITY_2026_05, Availability
from foldbook.engine.fees import polymarket
from foldbook.engine.specs import (
    FEE_SCHEDULES,
    KALSHI_2021,
    KALSHI_2026_03,
    KALSHI_2026_08,
    NO_FEES,
    NO_LIMITS,
    ZERO_LATENCY,
    Delay,
    FeeSchedule,
    Latency,
    Models,
    Queue,
    Risk,
)
from foldbook.engine.units import MICROSECOND, MILLISECOND, PRICE_ONE, SECOND

SPANS = (1, 5 * MICROSECOND, MILLISECOND, 80 * MILLISECOND, SECOND, 9 * SECOND)
"""Delays beside gaps of a tape that are 1 ns to 20 s long."""
PATCHY = Availability(
    "patchy",
    ratio_edges_ppm=(300_000,),
    book_age_edges_ns=(1, 50 * MICROSECOND, SECOND),
    latency_edges_ns=(1,),
    entries_ppm=(1_000_000, 900_000, 0, 500_000, 700_000, 300_000, 200_000, 999_999,
                 800_000, 600_000, 950_000, 400_000, 1, 850_000, 500_000, 650_000),
)  # fmt: skip
QUEUES = (
    Queue.conservative,
    Queue.optimistic,
    Queue.proportional,
    Queue.power(2),
    Queue.power(3),
    Queue.log,
    Queue.rebuilt,
    Queue.rebuilt,
)


def draw_models(rng: random.Random, times: tuple[int, int], typical_qty: int, cash: int) -> Models:
    """Return the models of one workload. times: of the first and the last tape row."""
    if rng.random() < 0.33:
        return Models(
            rng.choice((KALSHI_2021, KALSHI_2026_03, KALSHI_2026_08, KALSHI_2026_08, NO_FEES))
        )
    return Models(
        draw_fees(rng),
        latency=draw_latency(rng, times) if rng.random() < 0.65 else ZERO_LATENCY,
        queue=rng.choice(QUEUES),
        risk=draw_risk(rng, typical_qty, cash) if rng.random() < 0.75 else NO_LIMITS,
        restored_after=rng.choice((0, 0, 1, 700 * MICROSECOND, SECOND, 30 * SECOND)),
        seed=rng.randrange(2**40),
        availability=rng.choice((ALWAYS, ALWAYS, ALWAYS, AVAILABILITY_2026_05, PATCHY)),
    )


def draw_fees(rng: random.Random) -> FeeSchedule:
    """Return a schedule: the venue's, with maker rates, another's, or one with its own tables."""
    if rng.random() < 0.1:
        return polymarket(rng.choice((20_000, 50_000)))
    if rng.random() < 0.1:
        return FeeSchedule("FLAT", taker_flat=7_001, maker_flat=2_500, precision=100)
    schedule = rng.choice(tuple(FEE_SCHEDULES.values()))
    maker_ppm = rng.choice((0, 17_500, 17_500, 35_000))
    return attrs.evolve(schedule, name="DRAWN", maker_ppm=maker_ppm)


def draw_latency(rng: random.Random, times: tuple[int, int]) -> Latency:
    """Return delays of all kinds, none for some messages."""
    feed = Delay.constant(rng.choice((0, *SPANS)))
    order, amend, cancel, response = (draw_delay(rng, times) for _ in range(4))
    return Latency(order, amend, cancel, response, feed)


def draw_delay(rng: random.Random, times: tuple[int, int]) -> Delay:
    """Return a constant, an empirical or a recorded delay."""
    how = rng.random()
    span = rng.choice(SPANS)
    if how < 0.4:
        return Delay.constant(rng.choice((0, span)))
    values = [rng.choice((0, span, rng.randint(1, 2 * span))) for _ in range(rng.randint(2, 7))]
    if how < 0.75:
        return Delay.empirical(values)
    first, last = times
    return Delay.recorded(sorted(rng.sample(range(first, last + 1), len(values))), values)


def draw_risk(rng: random.Random, typical_qty: int, cash: int) -> Risk:
    """Return a few limits that a workload comes across, and not at every step."""
    value = PRICE_ONE * typical_qty
    limits = {
        "max_order_qty": 2 * typical_qty,
        "max_open_orders": rng.choice((2, 4)),
        "max_position": rng.choice((1, 3)) * typical_qty,
        "max_notional": rng.choice((cash // 8, min(cash // 2, 2 * value))),
        "max_loss": min(cash // 20, value // 2),
    }
    drawn = {name: limits[name] for name in rng.sample(sorted(limits), rng.choice((1, 2, 2)))}
    tokens = rng.choice((0, 1, 1, 3))
    return Risk(**drawn, tokens_per_second=tokens, burst_seconds=rng.choice((10, 10, 31)))
