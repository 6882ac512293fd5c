"""Frozen specs that never change in a run: markets, fee schedules, and the models of the venue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from .errors import UnsupportedError
from .units import MILLISECOND, PPM, PRICE_ONE, duration


def _grid_step(instance: object, attribute: attrs.Attribute, value: int) -> None:
    if value <= 0 or PRICE_ONE % value:
        raise ValueError(f"{attribute.name}: {value} does not divide one dollar ({PRICE_ONE})")


_integer = attrs.validators.instance_of(int)


@attrs.frozen
class Market:
    """One binary market as it was listed; nothing here was learnt after its first event.

    tick: step of the book's dense grid, $0.0001: the finest that the market ever uses.
    """

    ticker: str = attrs.field(validator=attrs.validators.min_len(1))
    tick: int = attrs.field(default=100, validator=_grid_step)

    @property
    def levels(self) -> int:
        """Number of price levels, 0 and one dollar included (101 for a cent grid)."""
        return PRICE_ONE // self.tick + 1


@attrs.frozen
class FeeSchedule:
    """The venue's fee: rate x contracts x p x (1 - p), rounded up per fill (SPEC 5.1, 5.2).

    taker_ppm: taker rate in ppm (70,000 is 7 %); FEE rows on the tape override it per market.
    rounding: granularity in $0.000001 to which each fill's fee is rounded up.
    """

    name: str
    taker_ppm: int = attrs.field(default=70_000, validator=[_integer, attrs.validators.ge(0)])
    rounding: int = attrs.field(default=1, validator=[_integer, attrs.validators.ge(1)])

    def fee(self, price: int, qty: int) -> int:
        """Return the taker fee of one fill, $0.000001.

        >>> KALSHI_2026_08.fee(price=5000, qty=10_000)
        1750000
        """
        numerator = self.taker_ppm * qty * price * (PRICE_ONE - price)
        unit = PPM * PRICE_ONE * self.rounding
        return -(-numerator // unit) * self.rounding


KALSHI_2021 = FeeSchedule("KALSHI_2021", rounding=10_000)
"""R0: rounded up to the cent; before fixed-point prices (about 12 March 2026)."""
KALSHI_2026_03 = FeeSchedule("KALSHI_2026_03", rounding=100)
"""R1 and R2: rounded up to $0.0001 (12 March to about 30 August 2026)."""
KALSHI_2026_08 = FeeSchedule("KALSHI_2026_08", rounding=1)
"""R3: rounded up to $0.000001 (from about 30 August 2026)."""
NO_FEES = FeeSchedule("NO_FEES", taker_ppm=0)

FEE_SCHEDULES: Mapping[str, FeeSchedule] = {
    schedule.name: schedule for schedule in (KALSHI_2021, KALSHI_2026_03, KALSHI_2026_08, NO_FEES)
}

_DATED = (
    (1_788_048_000_000_000_000, KALSHI_2026_08),  # 2026-08-30T00:00:00Z
    (1_773_273_600_000_000_000, KALSHI_2026_03),  # 2026-03-12T00:00:00Z
)


def schedule_at(ts: int) -> FeeSchedule:
    """Return the Kalshi schedule in force at `ts` (SPEC 5.2)."""
    for start, schedule in _DATED:
        if ts >= start:
            return schedule
    return KALSHI_2021


@attrs.frozen
class Latency:
    """How long own commands travel. Only zero is built so far."""

    order_ns: int = attrs.field(default=0, validator=_integer)

    @classmethod
    def constant(cls, order: int | str) -> Latency:
        """Return a model with a fixed order latency, such as "50ms".

        Raises UnsupportedError for anything but zero.
        """
        order_ns = duration(order)
        if order_ns:
            raise UnsupportedError(
                f"latency: {order_ns / MILLISECOND:g} ms; this release has zero latency only"
            )
        return cls(order_ns)


@attrs.frozen
class Queue:
    """Where a resting order stands in its level. Only `Queue.conservative` is built so far; a run
    with `Queue.rebuilt` raises UnsupportedError."""

    conservative: ClassVar[Queue]
    rebuilt: ClassVar[Queue]

    name: str = "conservative"

    @classmethod
    def named(cls, name: str) -> Queue:
        """Return the model called `name`. Raises UnsupportedError for unknown names."""
        if name != "conservative":
            raise UnsupportedError(
                f"queue: {name!r}; this release has 'conservative' only (cancels come from behind)"
            )
        return cls(name)


ZERO_LATENCY = Latency()
"""Commands and answers arrive at once."""
CONSERVATIVE = Queue()
"""Back of the queue on arrival; only trades advance it, cancels come from behind first."""
Queue.conservative = CONSERVATIVE
Queue.rebuilt = Queue("rebuilt")
