"""What a fill costs: the fee of one fill to the last digit, and which fees were in force when.

`FeeSchedule` is the rule of one market at one time, `Fees` the dated facts from which it follows.
Rates are in ppm, money in $0.000001, prices in $0.0001, quantities in 0.01 contract; there is no
float here. `fill_fee` in `kernels.arithmetic` is the same rule for kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

import attrs

from .units import CASH_ONE, PPM, PRICE_ONE

SCALE = PPM * PRICE_ONE
"""What `FeeSchedule.scaled` x quantity is divided by: 10^10."""
SCALED_MAX = 125 * 10**12
"""Largest `FeeSchedule.scaled`: keeps the fee of the largest quantity inside int64."""
CENT = CASH_ONE // 100
"""One cent as cash."""
_PER_CONTRACT = SCALE // 100
_ROUNDING_MAX = CASH_ONE


class Round(IntEnum):
    """Where the trade fee of a fill goes between two multiples of its granularity."""

    UP = 0
    NEAREST = 1
    """The middle goes up."""
    DOWN = 2


class Rebate(IntEnum):
    """What an order gets back of what its fills were rounded up by."""

    NONE = 0
    CENTS = 1
    """Whole cents, once more than a cent has gathered."""
    PRECISION = 2
    """Whole units of the balance precision."""


class Member(IntEnum):
    """Whose account it is: the balances of direct members are kept to $0.0001 (SPEC 5.2)."""

    DIRECT = 0
    OTHER = 1


class FeeType(IntEnum):
    """How a series is charged (SPEC 5.1), named as the venue names it."""

    QUADRATIC = 0
    """Takers 7 % of p (1 - p), makers nothing."""
    QUADRATIC_WITH_MAKER_FEES = 1
    """Makers 1.75 %; before 1 July 2025 $0.0025 a contract."""
    QUADRATIC_WITH_COMBO_MAKER_FEES = 2
    """Makers 3.5 %."""
    FLAT = 3
    """So much a contract; the venue does not publish how much, so the row has to say it."""
    NONE = 4


Curve = tuple[tuple[int, ...], tuple[int, ...]]
CurveFunction = Callable[[int], tuple[int, int]]


def _curve(value: object) -> Curve | None:
    if value is None:
        return None
    if callable(value):
        pairs = [tuple(value(price)) for price in range(PRICE_ONE + 1)]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("curve: the function must return (taker, maker)")
        value = zip(*pairs, strict=True)
    taker, maker = (tuple(table) for table in value)  # type: ignore[attr-defined]
    return taker, maker


def _curve_fits(instance: object, attribute: attrs.Attribute, value: Curve | None) -> None:
    for name, table in zip(("taker", "maker"), value or (), strict=False):
        if len(table) != PRICE_ONE + 1:
            raise ValueError(f"curve, {name}: {len(table)} entries; one a price, 0 to {PRICE_ONE}")
        for price, scaled in enumerate(table):
            if type(scaled) is not int:
                raise TypeError(f"curve, {name} at {price}: {scaled!r} is not an int")
            if not 0 <= scaled <= SCALED_MAX:
                raise ValueError(f"curve, {name} at {price}: {scaled} is not 0 to {SCALED_MAX}")


def _round(value: Any) -> Round:
    return Round[value] if isinstance(value, str) else Round(value)


def _rebate(value: Any) -> Rebate:
    return Rebate[value] if isinstance(value, str) else Rebate(value)


def _whole(low: int, high: int) -> Any:
    def check(instance: object, attribute: attrs.Attribute, value: object) -> None:
        if type(value) is not int:
            raise TypeError(f"{attribute.name}: {value!r} is not an int")
        if not low <= value <= high:
            raise ValueError(f"{attribute.name}: {value} is not {low} to {high}")

    return check


@attrs.frozen
class FeeSchedule:
    """The fee of a fill: rate x contracts x p x (1 - p), and how it is rounded (SPEC 5.1, 5.2).

    taker_ppm, maker_ppm: rates in ppm (70,000 is 7 %); FEE rows on the tape override them per
    market. taker_flat, maker_flat: so much for each contract besides, $0.000001. rounding:
    granularity of the trade fee, $0.000001; direction: which way it is rounded. precision: to what
    the account's cash is kept, $0.000001; a fill that leaves a rest below pays it up. rebate: what
    of that an order gets back. curve: instead of rates, what `scaled` shall return for each price
    from 0 to 10000, as (takers' table, makers' table) or as a function of the price that returns
    (taker, maker); kept as tables.

    Raises TypeError or ValueError, named for the field, for what is no int or out of range.
    """

    name: str = attrs.field(validator=attrs.validators.instance_of(str))
    taker_ppm: int = attrs.field(default=70_000, validator=_whole(0, PPM))
    maker_ppm: int = attrs.field(default=0, validator=_whole(0, PPM))
    rounding: int = attrs.field(default=1, validator=_whole(1, _ROUNDING_MAX))
    direction: Round = attrs.field(default=Round.UP, converter=_round)
    precision: int = attrs.field(default=1, validator=_whole(1, _ROUNDING_MAX))
    rebate: Rebate = attrs.field(default=Rebate.NONE, converter=_rebate)
    taker_flat: int = attrs.field(default=0, validator=_whole(0, CASH_ONE))
    maker_flat: int = attrs.field(default=0, validator=_whole(0, CASH_ONE))
    curve: Curve | None = attrs.field(
        default=None, converter=_curve, validator=_curve_fits, repr=False
    )

    @property
    def rules(self) -> tuple[int, int, int, int]:
        """Return (rounding, direction, precision, rebate), as `fill_fee` takes them."""
        return self.rounding, int(self.direction), self.precision, int(self.rebate)

    @property
    def is_quadratic(self) -> bool:
        """Whether the two rates say all that `scaled` does."""
        return self.curve is None and not self.taker_flat and not self.maker_flat

    def scaled(self, price: int, is_maker: bool) -> int:
        """Return the numerator: trade fee in $0.000001 = scaled x qty / 10^10, to be rounded."""
        if self.curve is not None:
            return self.curve[is_maker][price]
        rate = self.maker_ppm if is_maker else self.taker_ppm
        flat = self.maker_flat if is_maker else self.taker_flat
        return rate * price * (PRICE_ONE - price) + flat * _PER_CONTRACT

    def tables(self) -> Curve:
        """Return `scaled` of every price from 0 to 10000, for takers and for makers."""
        if self.curve is not None:
            return self.curve
        prices = range(PRICE_ONE + 1)
        taker, maker = (tuple(self.scaled(price, is_maker) for price in prices)
                        for is_maker in (False, True))  # fmt: skip
        return taker, maker

    def fee(self, price: int, qty: int, is_maker: bool = False) -> int:
        """Return the trade fee of one fill, $0.000001: without what its order was rounded up by.

        >>> KALSHI_2026_08.fee(price=5000, qty=10_000)
        1750000
        """
        numerator = self.scaled(price, is_maker) * qty
        unit = SCALE * self.rounding
        if self.direction == Round.UP:
            return -(-numerator // unit) * self.rounding
        half = unit // 2 if self.direction == Round.NEAREST else 0
        return (numerator + half) // unit * self.rounding

    def fill(
        self, price: int, qty: int, cash: int, is_maker: bool, carry: int = 0
    ) -> tuple[int, int]:
        """Return (fee, carry) of one fill, $0.000001.

        cash: change of cash without the fee: -p C for a buy. What the account's precision cuts off
        below is charged too; carry is how much of that the order's fills have paid so far and not
        got back, and goes into the order's next fill, as taker or as maker. The fee is never
        negative. Source: SPEC 5.2; the venue's page on fee rounding.

        >>> fee, carry = KALSHI_2026_03.fill(price=550, qty=100, cash=-55_000, is_maker=False)
        >>> fee, carry
        (5000, 1300)
        """
        trade_fee = self.fee(price, qty, is_maker)
        rounding_fee = (cash - trade_fee) % self.precision
        charged = trade_fee + rounding_fee
        if self.rebate == Rebate.NONE:
            return charged, 0
        total = carry + rounding_fee
        unit = CENT if self.rebate == Rebate.CENTS else self.precision
        repaid = min(total // unit, charged // unit) * unit
        if self.rebate == Rebate.CENTS and total <= CENT:
            repaid = 0
        return charged - repaid, total - repaid

    def header(self) -> dict[str, Any]:
        """Return the schedule as plain JSON values, as journal files keep it."""
        values = attrs.asdict(self, recurse=False)
        values["direction"] = self.direction.name
        values["rebate"] = self.rebate.name
        values["curve"] = self.curve and [list(table) for table in self.curve]
        return values

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> FeeSchedule:
        """Return the schedule that `header` describes; what is absent has its default.

        Raises TypeError, ValueError or KeyError if it describes none.
        """
        return cls(**header)


KALSHI_2021 = FeeSchedule("KALSHI_2021", rounding=CENT, precision=CENT)
"""R0: rounded up to the cent; before fixed-point prices (about 12 March 2026)."""
KALSHI_2026_03 = FeeSchedule("KALSHI_2026_03", rounding=100, precision=CENT, rebate=Rebate.CENTS)
"""R1: rounded up to $0.0001, everybody's cash in cents (12 March to 28 May 2026)."""
KALSHI_2026_05 = FeeSchedule("KALSHI_2026_05", rounding=100, precision=100, rebate=Rebate.CENTS)
"""R2: as R1, cash to $0.0001 for direct members (28 May to about 30 August 2026)."""
KALSHI_2026_08 = FeeSchedule("KALSHI_2026_08", precision=100, rebate=Rebate.PRECISION)
"""R3: rounded up to $0.000001, cash to $0.0001, for direct members (from about 30 August 2026)."""
KALSHI_2026_08_OTHER = FeeSchedule(
    "KALSHI_2026_08_OTHER", precision=CENT, rebate=Rebate.PRECISION
)  # fmt: skip
"""R3 for those who are not direct members: cash in cents."""
NO_FEES = FeeSchedule("NO_FEES", taker_ppm=0)

FEE_SCHEDULES: Mapping[str, FeeSchedule] = {
    schedule.name: schedule
    for schedule in (
        KALSHI_2021,
        KALSHI_2026_03,
        KALSHI_2026_05,
        KALSHI_2026_08,
        KALSHI_2026_08_OTHER,
        NO_FEES,
    )
}


def polymarket(rate_ppm: int, name: str = "POLYMARKET") -> FeeSchedule:
    """Return Polymarket's schedule for a taker rate in ppm, which differs by category (SPEC 9).

    Takers pay C x rate x p (1 - p) to five decimals, makers nothing. The venue's page says
    "rounded" and not which way; Nautilus, which compares with charged fees, rounds down.
    """
    return FeeSchedule(name, taker_ppm=rate_ppm, rounding=10, direction=Round.DOWN)


def _ns(text: str) -> int:
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1000


_REGIMES = (
    (_ns("2026-08-30T00:00:00Z"), KALSHI_2026_08, KALSHI_2026_08_OTHER),  # API 3.29.0
    (_ns("2026-05-28T00:00:00Z"), KALSHI_2026_05, KALSHI_2026_03),  # changelog of that day
    (_ns("2026-03-12T00:00:00Z"), KALSHI_2026_03, KALSHI_2026_03),  # fixed-point prices
)
_MAKER_RATES = _ns("2025-07-01T00:00:00Z")


def schedule_at(ts: int, member: Member = Member.DIRECT) -> FeeSchedule:
    """Return the Kalshi schedule in force at `ts` where takers pay and makers do not (SPEC 5.2).

    >>> schedule_at(1_780_272_000_000_000_000).name  # 1 June 2026
    'KALSHI_2026_05'
    """
    for start, direct, other in _REGIMES:
        if ts >= start:
            return direct if member == Member.DIRECT else other
    return KALSHI_2021
