"""Frozen specs that never change in a run: markets, and the models of the venue.

The fee schedules, which are specs too, have a module of their own and are handed out here as well.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from .errors import UnsupportedError
from .fees import FEE_SCHEDULES as FEE_SCHEDULES
from .fees import KALSHI_2021 as KALSHI_2021
from .fees import KALSHI_2026_03 as KALSHI_2026_03
from .fees import KALSHI_2026_08 as KALSHI_2026_08
from .fees import NO_FEES as NO_FEES
from .fees import FeeSchedule as FeeSchedule
from .fees import schedule_at as schedule_at
from .units import MILLISECOND, PRICE_ONE, duration


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
