"""What a fill costs: the fee of one fill to the last digit, and which fees were in force when.

`FeeSchedule` is the rule of one market at one time, `Fees` the dated facts from which it follows.
Rates are in ppm, money in $0.000001, prices in $0.0001, quantities in 0.01 contract; there is no
float here. `fill_fee` in `kernels.arithmetic` is the same rule for kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any

import attrs

from .errors import FeeError
from .units import CASH_ONE, PPM, PRICE_ONE, Number, dollars, iso_time, multiple

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


def of_type(kind: type) -> Callable[[object, attrs.Attribute, object], None]:
    """Return an attrs validator: a TypeError names the field, the value, and what it should be."""

    def validate(instance: object, attribute: attrs.Attribute, value: object) -> None:
        if not isinstance(value, kind):
            found = f"{value!r} is a {type(value).__name__}"
            raise TypeError(f"{attribute.name}: {found}; expected {kind.__name__}")

    return validate


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

    name: str = attrs.field(validator=of_type(str))
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


@attrs.frozen
class FeeRow:
    """One dated fact: how the markets of a scope are charged from `start` on.

    scope: ticker of a series, an event or a market; or the beginning of one and an asterisk, "*"
    alone for all. start, until: ns UTC, until excluded; without an until the row holds until the
    next one of its scope. type, multiplier_ppm, waiver_until: None inherits from the wider scope,
    each by itself. multiplier_ppm: factor of the rates in ppm, a multiple of 400, so that each rate
    is whole ppm. taker_flat, maker_flat: $0.000001 a contract, for FeeType.FLAT alone,
    which has no multiplier.
    waiver_until: before that time (ns) nothing is charged.
    """

    scope: str = attrs.field(validator=of_type(str))
    start: int = attrs.field(default=0, validator=_whole(0, 2**63 - 1))
    until: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_whole(1, 2**63 - 1))
    )
    type: FeeType | None = attrs.field(
        default=None, validator=attrs.validators.optional(of_type(FeeType))
    )
    multiplier_ppm: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_whole(0, 14 * PPM))
    )
    taker_flat: int = attrs.field(default=0, validator=_whole(0, CASH_ONE))
    maker_flat: int = attrs.field(default=0, validator=_whole(0, CASH_ONE))
    waiver_until: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_whole(0, 2**63 - 1))
    )

    def __attrs_post_init__(self) -> None:
        if not self.scope or "*" in self.scope[:-1]:
            raise ValueError(f"scope: {self.scope!r} is no ticker, and no beginning of one with *")
        if self.until is not None and self.until <= self.start:
            raise ValueError(f"until: {iso_time(self.until)} is not after {iso_time(self.start)}")
        if self.multiplier_ppm is not None and self.multiplier_ppm % 400:
            raise ValueError(f"multiplier: {self.multiplier_ppm} ppm is not a multiple of 0.0004")
        is_flat = self.type == FeeType.FLAT
        if is_flat != bool(self.taker_flat or self.maker_flat):
            raise ValueError(
                "taker_flat, maker_flat: type flat needs one of them"
                if is_flat
                else "taker_flat, maker_flat: only type flat has them"
            )


_COLUMNS = {"scope", "start", "until", "type", "multiplier", "taker_flat", "maker_flat",
            "waiver_until"}  # fmt: skip


def _exact(row: Mapping[str, Any], name: str, convert: Callable[[Number], int]) -> int | None:
    if row.get(name) is None:
        return None
    try:
        return convert(row[name])
    except (TypeError, ValueError) as error:
        raise FeeError(f"{name}: {error}") from None


def _time(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    try:
        if isinstance(value, str):
            return _ns(value)
        if isinstance(value, datetime):
            return _ns(value.isoformat())
    except (TypeError, ValueError):
        text = f"{name}: {value!r} is not a time with its zone, 2026-07-03T17:00:00Z"
        raise FeeError(text) from None
    return value


def _row(row: Mapping[str, Any]) -> FeeRow:
    unknown = sorted(set(row) - _COLUMNS)
    if unknown:
        raise FeeError(f"{unknown[0]}: no such field; there are {', '.join(sorted(_COLUMNS))}")
    if "scope" not in row:
        raise FeeError("scope: missing")
    kind = row.get("type")
    names = {kind.name.lower(): kind for kind in FeeType}
    if kind is not None and not isinstance(kind, FeeType) and kind not in names:
        raise FeeError(f"type: {kind!r} is not one of {', '.join(names)}")
    return FeeRow(
        scope=row["scope"],
        start=_time(row, "start") or 0,
        until=_time(row, "until"),
        type=names[kind] if isinstance(kind, str) else kind,
        multiplier_ppm=_exact(row, "multiplier", multiple),
        taker_flat=_exact(row, "taker_flat", dollars) or 0,
        maker_flat=_exact(row, "maker_flat", dollars) or 0,
        waiver_until=_time(row, "waiver_until"),
    )


def _fee_rows(rows: Iterable[FeeRow]) -> tuple[FeeRow, ...]:
    return tuple(rows)


def _in_order(rows: tuple[FeeRow, ...]) -> dict[str, list[FeeRow]]:
    scopes: dict[str, list[tuple[FeeRow, int]]] = {}
    for number, row in enumerate(rows):
        scopes.setdefault(row.scope, []).append((row, number))
    for scope, found in scopes.items():
        found.sort(key=lambda each: each[0].start)
        for (row, number), (later, after) in itertools.pairwise(found):
            until = later.start if row.until is None else row.until
            where = f"fee rows {number} and {after} ({scope})"
            if row.start == later.start:
                raise FeeError(f"{where}: start: both from {iso_time(row.start)}")
            if until > later.start:
                span = f"{iso_time(later.start)} to {iso_time(until)}"
                raise FeeError(f"{where}: until: they overlap from {span}")
            if until < later.start:
                raise FeeError(
                    f"{where}: until: no row says what holds from {iso_time(until)} to "
                    f"{iso_time(later.start)}; a row without type and multiplier inherits both"
                )
    return {scope: [row for row, _ in found] for scope, found in scopes.items()}


@attrs.frozen
class Fees:
    """Who is charged how, and since when: rows of series, and overrides that beat them (SPEC 5.1).

    For a market the row of its own ticker comes first, then that of its event, its series, the
    longest beginning with an asterisk, "*"; type, multiplier and waiver each from the first that
    names it. Raises FeeError, with the numbers of the rows, where rows of one scope overlap or
    leave a gap.
    """

    rows: tuple[FeeRow, ...] = attrs.field(converter=_fee_rows)
    _scopes: dict[str, list[FeeRow]] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_scopes", _in_order(self.rows))

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Fees:
        """Return the fees that plain dicts describe, such as JSON or TOML holds.

        Fields: scope; start, until, waiver_until (RFC 3339 with zone, or ns); type (the venue's
        names: quadratic, quadratic_with_maker_fees, quadratic_with_combo_maker_fees, flat, none);
        multiplier (int or decimal string); taker_flat, maker_flat (dollars a contract). Raises
        FeeError that says which row and field.

        >>> fees = Fees.from_rows([{"scope": "*", "type": "quadratic", "multiplier": 1},
        ...                        {"scope": "KXMLBGAME", "multiplier": "0.5"}])
        >>> fees.at("KXMLBGAME-26AUG15-NYY", 1_786_752_000_000_000_000).taker_ppm
        35000
        """
        made = []
        for number, row in enumerate(rows):
            try:
                made.append(_row(row))
            except (TypeError, ValueError) as error:
                raise FeeError(f"fee row {number}, {error}") from None
        return cls(made)

    def with_rows(self, *rows: FeeRow) -> Fees:
        """Return these fees and more rows. Raises FeeError as the constructor does."""
        return Fees((*self.rows, *rows))

    def at(
        self,
        market: str,
        ts: int,
        member: Member = Member.DIRECT,
        *,
        event: str | None = None,
        series: str | None = None,
    ) -> FeeSchedule:
        """Return the schedule of a market at `ts` (ns UTC), every override applied.

        event, series: their tickers, if they are not what the market's begins with. Raises FeeError
        if no row gives a type or a multiplier.
        """
        scopes = self._scopes_of(market, event, series)
        rows = [row for row in (_in_force(self._scopes[scope], ts) for scope in scopes) if row]
        typed = next((row for row in rows if row.type is not None), None)
        factor = next((r.multiplier_ppm for r in rows if r.multiplier_ppm is not None), None)
        if factor is None and typed is not None and typed.type == FeeType.FLAT:
            factor = PPM
        if typed is None or factor is None:
            missing = "type" if typed is None else "multiplier"
            raise FeeError(f"{market} at {iso_time(ts)}: {missing}: no fee row says it")
        waived = next((row.waiver_until for row in rows if row.waiver_until is not None), 0)
        base = schedule_at(ts, member)
        if ts < waived or typed.type == FeeType.NONE:
            return attrs.evolve(base, name=f"{base.name} waived", taker_ppm=0)
        return _resolved(base, typed, factor, ts)

    def changes(
        self, market: str, start: int, end: int, member: Member = Member.DIRECT
    ) -> list[tuple[int, FeeSchedule]]:
        """Return (ts, schedule) of a market at `start` and wherever it changes before `end`, ns."""
        times = {start, _MAKER_RATES, *(regime[0] for regime in _REGIMES)}
        for scope in self._scopes_of(market, None, None):
            for row in self._scopes[scope]:
                times |= {row.start, row.until or start, row.waiver_until or start}
        found: list[tuple[int, FeeSchedule]] = []
        for ts in sorted(ts for ts in times if start <= ts < end):
            schedule = self.at(market, ts, member)
            if not found or found[-1][1] != schedule:
                found.append((ts, schedule))
        return found

    def _scopes_of(self, market: str, event: str | None, series: str | None) -> list[str]:
        names = [market, event or market.rpartition("-")[0], series or market.partition("-")[0]]
        wild = [scope for scope in self._scopes if scope[-1] == "*" and
                any(name.startswith(scope[:-1]) for name in names)]  # fmt: skip
        named = [name for name in dict.fromkeys(names) if name in self._scopes]
        return named + sorted(wild, key=len, reverse=True)


def _in_force(rows: list[FeeRow], ts: int) -> FeeRow | None:
    held = [row for row in rows if row.start <= ts]
    return held[-1] if held and (held[-1].until is None or ts < held[-1].until) else None


_MAKER_PPM = {
    FeeType.QUADRATIC: 0,
    FeeType.QUADRATIC_WITH_MAKER_FEES: 17_500,
    FeeType.QUADRATIC_WITH_COMBO_MAKER_FEES: 35_000,
}


def _resolved(base: FeeSchedule, row: FeeRow, factor: int, ts: int) -> FeeSchedule:
    assert row.type is not None
    if row.type == FeeType.QUADRATIC and factor == PPM:
        return base
    scale = "" if factor == PPM else f" x{Decimal(factor) / PPM}"
    name = f"{base.name} {row.type.name.lower()}{scale}"
    if row.type == FeeType.FLAT:
        return attrs.evolve(
            base,
            name=name,
            taker_ppm=0,
            taker_flat=row.taker_flat,
            maker_flat=row.maker_flat,
        )
    maker_ppm = _MAKER_PPM[row.type] * factor // PPM
    is_flat = row.type == FeeType.QUADRATIC_WITH_MAKER_FEES and ts < _MAKER_RATES
    return attrs.evolve(
        base,
        name=name,
        taker_ppm=base.taker_ppm * factor // PPM,
        maker_ppm=0 if is_flat else maker_ppm,
        maker_flat=2_500 * factor // PPM if is_flat else 0,
    )


def index_series(*series: str) -> tuple[FeeRow, ...]:
    """Return the rows of index series: half the rates until 3 July 2026 17:00 UTC (SPEC 5.1).

    Which series those were is not on record here, so the caller names them.
    """
    end = _ns("2026-07-03T17:00:00Z")
    return tuple(
        row
        for name in series
        for row in (
            FeeRow(name, multiplier_ppm=PPM // 2, until=end),
            FeeRow(name, start=end, multiplier_ppm=PPM),
        )
    )


_SCAN = _ns("2026-08-15T00:00:00Z")

KALSHI_FEES = Fees(
    (
        # The rule without exceptions: 13,029 series scanned, all but 33 at 1 (SPEC 5.1, FEE-REAL).
        FeeRow("*", type=FeeType.QUADRATIC, multiplier_ppm=PPM),
        # Three of the 14 series at 0 of that scan (SPEC 5.1); the others are not named there.
        FeeRow("KXBTCY", start=_SCAN, multiplier_ppm=0),
        FeeRow("KXETHY", start=_SCAN, multiplier_ppm=0),
        FeeRow("KXGREENLAND", start=_SCAN, multiplier_ppm=0),
        # The series records of 20 August 2026 name both fields; charged fees of the days below
        # show the half rate already. KXMLBKS is known by a charged fee alone.
        FeeRow("KXMLBGAME", type=FeeType.QUADRATIC_WITH_MAKER_FEES),
        FeeRow("KXMLBGAME", start=_ns("2026-08-11T00:00:00Z"), multiplier_ppm=PPM // 2,
               type=FeeType.QUADRATIC_WITH_MAKER_FEES),
        FeeRow("KXMLBSPREAD", start=_ns("2026-08-14T00:00:00Z"), multiplier_ppm=PPM // 2,
               type=FeeType.QUADRATIC),
        FeeRow("KXMLBKS", start=_ns("2026-08-14T00:00:00Z"), multiplier_ppm=PPM // 2),
        FeeRow("KXATPDOUBLES", type=FeeType.QUADRATIC, multiplier_ppm=PPM),
        FeeRow("KXWNBAGAME", type=FeeType.QUADRATIC_WITH_MAKER_FEES, multiplier_ppm=PPM),
        # Combos: makers pay from 19 August 2026 (SPEC 5.1, changelog). Combos of NFL legs alone in
        # KXMVECROSSCATEGORY0-SHARD1 are exempt, which no ticker shows: give such a market a row.
        FeeRow("KXMVE*", start=_ns("2026-08-19T00:00:00Z"),
               type=FeeType.QUADRATIC_WITH_COMBO_MAKER_FEES),
    )
)  # fmt: skip
"""What is known of Kalshi's fees by series, each row from the day that shows it.

Before that day the full rate is charged, so that no fee is too low. Index series are missing: see
`index_series`.
"""


def in_force(
    fees: FeeSchedule | Fees | None, tickers: Iterable[str], ts: int, end: int
) -> tuple[FeeSchedule, tuple[tuple[str, FeeSchedule], ...]]:
    """Return the schedule at `ts`, and (ticker, schedule) of the markets whose rates are others.

    fees: one schedule for all, dated fees, or None for what `KALSHI_FEES` says at `ts`, whatever it
    says of later days. A run begins with one schedule, and only FEE rows of the tape change its
    rates: dated fees that are named, and change before `end`, are refused. Raises FeeError for
    these, and where dated fees say nothing, TypeError for what is no fees.
    """
    if isinstance(fees, FeeSchedule):
        return fees, ()
    if fees is not None and not isinstance(fees, Fees):
        raise TypeError(f"fees: {fees!r}; expected a FeeSchedule or Fees")
    dated = KALSHI_FEES if fees is None else fees
    base = schedule_at(ts)
    for ticker in tickers if fees is not None else ():
        for changed, schedule in dated.changes(ticker, ts, end)[1:]:
            raise FeeError(
                f"{ticker}: its fees change to {schedule.name} at {iso_time(changed)}, inside the "
                "session, and a run keeps the schedule that it begins with: slice the session "
                "there, or pass one FeeSchedule for all of it"
            )
    schedules = ((ticker, dated.at(ticker, ts)) for ticker in tickers)
    return base, tuple((ticker, each) for ticker, each in schedules if each != base)
