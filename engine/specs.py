"""Frozen specs that never change in a run: markets, and the models of the venue.

The fee schedules, which are specs too, have a module of their own and are handed out here as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from enum import Enum, IntEnum
from typing import ClassVar

import attrs
import numpy as np

from .availability import ALWAYS, Availability
from .errors import UnsupportedError
from .fees import FEE_SCHEDULES as FEE_SCHEDULES
from .fees import KALSHI_2021 as KALSHI_2021
from .fees import KALSHI_2026_03 as KALSHI_2026_03
from .fees import KALSHI_2026_08 as KALSHI_2026_08
from .fees import NO_FEES as NO_FEES
from .fees import FeeSchedule as FeeSchedule
from .fees import of_type
from .fees import schedule_at as schedule_at
from .schema import NO_TIME
from .units import PRICE_ONE, SECOND, duration

DELAY_MAX = 86_400 * SECOND
"""The longest delay, ns: one day."""
LIMIT_MAX = 1 << 60
"""The largest limit; sums with it stay inside int64."""


def _grid_step(instance: object, attribute: attrs.Attribute, value: int) -> None:
    if value <= 0 or PRICE_ONE % value:
        raise ValueError(f"{attribute.name}: {value} does not divide one dollar ({PRICE_ONE})")


def _integer(instance: object, attribute: attrs.Attribute, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name}: {value!r} is a {type(value).__name__}, not an int")


def _limit(instance: object, attribute: attrs.Attribute, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LIMIT_MAX:
        raise ValueError(f"{attribute.name}: {value!r}; expected an int from 0 to {LIMIT_MAX}")


def _pairs(
    fees: Mapping[str, FeeSchedule] | Iterable[tuple[str, FeeSchedule]],
) -> tuple[tuple[str, FeeSchedule], ...]:
    pairs = tuple(fees.items()) if isinstance(fees, Mapping) else tuple(fees)
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[1], FeeSchedule):
            raise TypeError(f"market_fees: {pair!r} is no (ticker, FeeSchedule)")
    twice = [ticker for ticker, count in Counter(pair[0] for pair in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"market_fees: {twice[0]} is named twice")
    return pairs


def _as_integers(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(_as_integer(row, value) for row, value in enumerate(values))


def _as_integer(row: int, value: int) -> int:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    raise TypeError(f"delay row {row}: {value!r} is a {type(value).__name__}; expected ns as int")


def _as_durations(values: Iterable[int | str | timedelta]) -> tuple[int, ...]:
    found = []
    for row, value in enumerate(values):
        try:
            found.append(duration(value))
        except ValueError as error:
            raise ValueError(f"delay row {row}: {error}") from None
    return tuple(found)


@attrs.frozen
class Market:
    """One binary market as it was listed; nothing here was learnt after its first event.

    tick: step of the book's dense grid, $0.0001: the finest that the market ever uses. event: the
    ticker of the event of which no more than one market can pay; "" if it is not in one.
    """

    ticker: str = attrs.field(validator=attrs.validators.min_len(1))
    tick: int = attrs.field(default=100, validator=_grid_step)
    event: str = attrs.field(default="", validator=of_type(str))

    @property
    def levels(self) -> int:
        """Number of price levels, 0 and one dollar included (101 for a cent grid)."""
        return PRICE_ONE // self.tick + 1


@attrs.frozen
class Delay:
    """How long a message travels, ns: always the same, drawn from a table, or as recorded.

    values: the one delay, the table to draw from, or the delays since `times`; times: ns,
    ascending, only for a recorded one. Raises ValueError that names the row which is wrong,
    TypeError for a number that is no int.
    """

    values: tuple[int, ...] = attrs.field(default=(0,), converter=_as_integers)
    times: tuple[int, ...] = attrs.field(default=(), converter=_as_integers)

    def __attrs_post_init__(self) -> None:
        if not self.values:
            raise ValueError("delay: its table has no rows")
        for row, value in enumerate(self.values):
            if not 0 <= value <= DELAY_MAX:
                raise ValueError(
                    f"delay row {row}: {value} ns; expected 0 to {DELAY_MAX} (one day)"
                )
        if self.times and len(self.times) != len(self.values):
            raise ValueError(f"delay: {len(self.times)} times for {len(self.values)} values")
        for row, time in enumerate(self.times):
            if not 0 <= time < NO_TIME:
                raise ValueError(f"delay row {row}: time {time}; expected ns from 0 to {NO_TIME}")
            if row and time <= self.times[row - 1]:
                raise ValueError(f"delay row {row}: time {time} is not after {self.times[row - 1]}")

    @classmethod
    def constant(cls, value: int | str | timedelta) -> Delay:
        """Return a delay that is always the same, such as "50ms"."""
        return cls((duration(value),))

    @classmethod
    def empirical(cls, values: Iterable[int | str | timedelta]) -> Delay:
        """Return a delay drawn from a table of measured ones, each as likely as the others."""
        return cls(_as_durations(values))

    @classmethod
    def recorded(cls, times: Iterable[int], values: Iterable[int | str | timedelta]) -> Delay:
        """Return the delay that was in force at each time: that of the last of `times` (ns).

        Raises ValueError if there is no time.
        """
        delay = cls(_as_durations(values), tuple(times))
        if not delay.times:
            raise ValueError("delay: a recorded one needs the time of each row")
        return delay

    @property
    def is_zero(self) -> bool:
        """Whether it never delays anything."""
        return not any(self.values)


NO_DELAY = Delay()


class Feed(Enum):
    """How the market data's delay is known, where it is not a `Delay`."""

    RECORDED = "recorded"
    """By the receive clock of the recording (docs/semantics.md, section 10)."""


@attrs.frozen
class Latency:
    """How long own commands travel to the venue, its answers back, and market data to us.

    order, amend (decreases too), cancel, response: delays of each message. feed: a constant delay
    of market data, or Feed.RECORDED.
    """

    order: Delay = NO_DELAY
    amend: Delay = NO_DELAY
    cancel: Delay = NO_DELAY
    response: Delay = NO_DELAY
    feed: Delay | Feed = NO_DELAY

    def __attrs_post_init__(self) -> None:
        for name in ("order", "amend", "cancel", "response"):
            if not isinstance(getattr(self, name), Delay):
                raise TypeError(f"latency: {name} is {getattr(self, name)!r}; expected a Delay")
        if not isinstance(self.feed, (Delay, Feed)):
            raise TypeError(f"latency: feed is {self.feed!r}; expected a Delay or Feed.RECORDED")
        if isinstance(self.feed, Delay) and (len(self.feed.values) != 1 or self.feed.times):
            raise ValueError("latency: the feed's delay is constant or Feed.RECORDED")

    @classmethod
    def constant(
        cls,
        order: int | str | timedelta = 0,
        *,
        amend: int | str | timedelta | None = None,
        cancel: int | str | timedelta | None = None,
        response: int | str | timedelta = 0,
        feed: int | str | timedelta | Feed = 0,
    ) -> Latency:
        """Return a model of constant delays; amend and cancel default to that of an order."""
        return cls(
            Delay.constant(order),
            Delay.constant(order if amend is None else amend),
            Delay.constant(order if cancel is None else cancel),
            Delay.constant(response),
            feed if isinstance(feed, Feed) else Delay.constant(feed),
        )

    @property
    def delays_commands(self) -> bool:
        """Whether commands take time to arrive."""
        return not (self.order.is_zero and self.amend.is_zero and self.cancel.is_zero)

    @property
    def round_trip(self) -> int:
        """What an order and its answer typically take, ns: the medians of both."""
        return sum(
            sorted(each.values)[len(each.values) // 2] for each in (self.order, self.response)
        )

    @property
    def delays_sight(self) -> bool:
        """Whether the agent sees the market or its answers later than they happen."""
        delayed_feed = not isinstance(self.feed, Delay) or not self.feed.is_zero
        return delayed_feed or not self.response.is_zero


class QueueModel(IntEnum):
    """How much of a decrease stood in front of an own order (docs/semantics.md, section 4)."""

    CONSERVATIVE = 0
    OPTIMISTIC = 1
    POWER = 2
    LOG = 3
    REBUILT = 4
    USER = 5


@attrs.frozen
class Queue:
    """Where a resting order stands in its level, and how it gets forward.

    power: exponent of Queue.power. function: of a user's own model, a compiled function
    model(ahead, before, qty, row_ahead, flags) -> ahead after a decrease of `qty` at a level that
    held `before`, all int64 in 0.01 contract; row_ahead is the tape's `ahead` (-1 unknown), flags
    its TapeFlag bits. What it returns is clipped to what is possible.
    """

    conservative: ClassVar[Queue]
    optimistic: ClassVar[Queue]
    proportional: ClassVar[Queue]
    log: ClassVar[Queue]
    rebuilt: ClassVar[Queue]

    name: str = "conservative"
    model: QueueModel = QueueModel.CONSERVATIVE
    exponent: int = 1
    function: Callable[[int, int, int, int, int], int] | None = None

    def __attrs_post_init__(self) -> None:
        if (self.model is QueueModel.USER) != callable(self.function):
            raise ValueError(f"queue {self.name!r}: a function goes with a model of one's own")
        if type(self.exponent) is not int:
            raise TypeError(f"queue {self.name!r}: power {self.exponent!r} is no int")
        if not 1 <= self.exponent <= 8:
            raise ValueError(f"queue {self.name!r}: power {self.exponent}; expected 1 to 8")

    @classmethod
    def power(cls, exponent: int) -> Queue:
        """Return the model with front^n / (front^n + behind^n) in front, n from 1 to 8."""
        if not 1 <= exponent <= 8:
            raise ValueError(f"queue: power {exponent}; expected 1 to 8")
        return cls(f"power{exponent}", QueueModel.POWER, exponent)

    @classmethod
    def of(cls, function: Callable[[int, int, int, int, int], int], name: str = "own") -> Queue:
        """Return a user's own model from a numba-compatible function."""
        return cls(name, QueueModel.USER, 1, function)

    @classmethod
    def named(cls, name: str) -> Queue:
        """Return the model called `name`. Raises UnsupportedError for unknown names."""
        if name in _QUEUES:
            return _QUEUES[name]
        if name.startswith("power") and name[5:].isdigit():
            return cls.power(int(name[5:]))
        raise UnsupportedError(f"queue: {name!r}; known are {', '.join(_QUEUES)} and powerN")


ZERO_LATENCY = Latency()
"""Commands and answers arrive at once."""
CONSERVATIVE = Queue()
"""Back of the queue on arrival; only trades advance it, cancels come from behind first."""
Queue.conservative = CONSERVATIVE
Queue.optimistic = Queue("optimistic", QueueModel.OPTIMISTIC)
Queue.proportional = Queue("proportional", QueueModel.POWER, 1)
Queue.log = Queue("log", QueueModel.LOG)
Queue.rebuilt = Queue("rebuilt", QueueModel.REBUILT)
_QUEUES = {
    queue.name: queue
    for queue in (
        Queue.conservative,
        Queue.optimistic,
        Queue.proportional,
        Queue.log,
        Queue.rebuilt,
    )
}


@attrs.frozen
class Risk:
    """Own limits, checked where the venue checks its own; 0 is none (semantics, section 11).

    max_order_qty, max_position: 0.01 contract, in each market; max_open_orders: of the account;
    max_notional, max_loss: $0.000001; tokens_per_second, burst_seconds: the venue's rate limit for
    writes (SPEC 3.6).
    """

    max_order_qty: int = attrs.field(default=0, validator=_limit)
    max_open_orders: int = attrs.field(default=0, validator=_limit)
    max_position: int = attrs.field(default=0, validator=_limit)
    max_notional: int = attrs.field(default=0, validator=_limit)
    max_loss: int = attrs.field(default=0, validator=_limit)
    tokens_per_second: int = attrs.field(default=0, validator=_limit)
    burst_seconds: int = attrs.field(default=2, validator=[_limit, attrs.validators.ge(1)])

    def __attrs_post_init__(self) -> None:
        if self.tokens_per_second * self.burst_seconds * SECOND > LIMIT_MAX:
            raise ValueError(
                f"tokens_per_second: {self.tokens_per_second} in {self.burst_seconds} s are more "
                "than a bucket can hold"
            )


NO_LIMITS = Risk()
WRITE_TOKENS: Mapping[str, int] = {
    "basic": 100,
    "advanced": 300,
    "expert": 600,
    "premier": 1000,
    "paragon": 2000,
    "prime": 4000,
    "prestige": 8000,
}
"""Write tokens a second of each tier (SPEC 3.6)."""


@attrs.frozen
class Models:
    """Everything that a run assumes of the venue and of its own limits.

    market_fees: (ticker, schedule) of markets whose rates are others; how fees are rounded is that
    of `fees` for all. restored_after: ns after the last own taking in a market until what was taken
    is given back; 0 never. availability: how often displayed depth is there for an order that
    comes for it. seed: of what is drawn. collateral_return: whether the account is paid
    at once what its NO positions in the markets of one event are sure to pay.
    """

    fees: FeeSchedule = attrs.field(validator=of_type(FeeSchedule))
    latency: Latency = attrs.field(
        default=ZERO_LATENCY, validator=of_type(Latency)
    )
    queue: Queue = attrs.field(default=CONSERVATIVE, validator=of_type(Queue))
    risk: Risk = attrs.field(default=NO_LIMITS, validator=of_type(Risk))
    restored_after: int = attrs.field(default=0, validator=_limit)
    seed: int = attrs.field(default=0, validator=_integer)
    market_fees: tuple[tuple[str, FeeSchedule], ...] = attrs.field(default=(), converter=_pairs)
    availability: Availability = attrs.field(
        default=ALWAYS, validator=of_type(Availability)
    )
    collateral_return: bool = attrs.field(
        default=False, validator=of_type(bool)
    )

    def __attrs_post_init__(self) -> None:
        curved = [name for name, fees in self.market_fees if fees.curve is not None]
        if curved or (self.market_fees and self.fees.curve is not None):
            raise ValueError(
                f"market_fees: a curve holds for all markets of a run ({curved or self.fees.name})"
            )
        if abs(self.seed) > LIMIT_MAX:
            raise ValueError(f"seed: {self.seed}; expected at most {LIMIT_MAX} either way")

    def fees_of(self, market: Market) -> FeeSchedule:
        """Return the schedule whose rates a market begins with."""
        return dict(self.market_fees).get(market.ticker, self.fees)
