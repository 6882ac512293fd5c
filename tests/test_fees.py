"""Fees to the last digit: published tables, charged fees, dates, and what is refused."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foldbook.engine.config import made, plain
from foldbook.engine.errors import FeeError
from foldbook.engine.fees import (
    FEE_SCHEDULES,
    KALSHI_2021,
    KALSHI_2026_03,
    KALSHI_2026_05,
    KALSHI_2026_08,
    KALSHI_2026_08_OTHER,
    KALSHI_FEES,
    NO_FEES,
    SCALE,
    SCALED_MAX,
    FeeRow,
    Fees,
    FeeSchedule,
    FeeType,
    Member,
    Rebate,
    Round,
    index_series,
    polymarket,
    schedule_at,
)
from foldbook.engine.kernels.arithmetic import fill_fee
from foldbook.engine.units import PRICE_ONE, QTY_MAX, contracts, dollars, price

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
MESSAGES = DATA.parent / "kalshi" / "messages"


def recorded(path: Path) -> str:
    """Return the text of a private recording; skip the test where it is not."""
    if not path.exists():
        pytest.skip(f"{path} is not here: set FOLDBOOK_DATA to the folder of private recordings")
    return path.read_text()


def vectors(part: str) -> list[dict]:
    found: list[dict] = json.loads(recorded(MESSAGES / "fee_vectors.json"))[part]
    return found


def ns(text: str) -> int:
    since = datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def given_fee(schedule: FeeSchedule, trade_fee: int) -> FeeSchedule:
    """Return the schedule with one trade fee for a contract at any price."""
    return FeeSchedule("given", taker_ppm=0, taker_flat=trade_fee, rounding=schedule.rounding,
                       precision=schedule.precision, rebate=schedule.rebate)  # fmt: skip


# What can be checked by hand, without the private folder.

PUBLISHED = [
    # schedule, price $0.0001, contracts, cash $0.000001, fee $0.000001
    *[(KALSHI_2021, cents * 100, 10_000, -cents * 10**6, fee) for cents, fee in [
        (1, 70_000), (5, 340_000), (10, 630_000), (25, 1_320_000), (45, 1_740_000),
        (50, 1_750_000), (75, 1_320_000), (80, 1_120_000), (85, 900_000), (90, 630_000),
        (95, 340_000), (99, 70_000),
    ]],
    # 6 at .15: 0.05355 -> 0.0536, cash -0.9536 -> -0.96
    (KALSHI_2026_03, 1500, 600, -900_000, 60_000),
    # 24 at .038: 0.0614208 -> 0.0615, cash -0.9735 -> -0.98
    (KALSHI_2026_03, 380, 2400, -912_000, 68_000),
    # 7 sold at .62: 0.115444 -> 0.1155, cash 4.2245 -> 4.22
    (KALSHI_2026_03, 6200, 700, 4_340_000, 120_000),
    # 14.11 at .84: 0.13274688 -> 0.1328 and already on the grid of $0.0001
    (KALSHI_2026_05, 8400, 1411, -11_852_400, 132_800),
    # 55.55 at .003: 0.0116305 -> 0.0117, cash -0.17835 -> -0.1784
    (KALSHI_2026_05, 30, 5555, -166_650, 11_750),
    # 1 at .055: 0.00363825 -> 0.003639, cash -0.058639 -> -0.0587, or in cents -0.06
    (KALSHI_2026_08, 550, 100, -55_000, 3_700),
    (KALSHI_2026_08_OTHER, 550, 100, -55_000, 5_000),
    # 132 sold at .92: 0.680064, cash 120.759936 -> 120.7599
    (KALSHI_2026_08, 9200, 13_200, 121_440_000, 680_100),
    # five decimals, down: 1 at .333 and 4 % is 0.00888444
    (polymarket(40_000), 3330, 100, -333_000, 8_880),
    (NO_FEES, 5000, 10_000, -50_000_000, 0),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "at", "qty", "cash", "fee"), PUBLISHED)
def test_fees_that_can_be_checked_by_hand(schedule, at, qty, cash, fee):
    """The fee of an order's first fill is what the table says; the kernel says the same."""
    assert schedule.fill(at, qty, cash, is_maker=False)[0] == fee
    assert fill_fee(schedule.scaled(at, False), qty, cash, 0, schedule.rules)[0] == fee


ORDERS = [
    # schedule, fills of (qty, cash, trade fee) -> (fee, carry) after each
    # three at .055, trade fee .0085 as the old page has it: a cent comes back with the second
    (KALSHI_2026_03, (100, -55_000, 8_500), [(15_000, 6_500), (5_000, 3_000), (15_000, 9_500)]),
    # exactly one cent gathered is not more than a cent: nothing comes back
    (KALSHI_2026_03, (100, -15_000, 0), [(5_000, 5_000), (5_000, 10_000), (5_000, 15_000)]),
    # direct members wait for a cent too, and a fee that has no cent in it gives none back
    (KALSHI_2026_05, (100, -55_050, 100), [(150, 50), (150, 100), (150, 150)]),
    # units of the precision, as many as the fee has: .000040 gathers to .000120 in three
    (KALSHI_2026_08, (100, -55_060, 100), [(140, 40), (140, 80), (40, 20)]),
    # a fee below the unit gives nothing back: what has gathered waits
    (KALSHI_2026_08, (100, -55_060, 0), [(40, 40), (40, 80), (40, 120)]),
    (NO_FEES, (100, -55_050, 100), [(100, 0), (100, 0), (100, 0)]),
]


@pytest.mark.parametrize(("schedule", "each", "expected"), ORDERS)
def test_what_an_order_was_rounded_up_by_comes_back(schedule, each, expected):
    """The rounding of an order's fills gathers, and is paid back by the rule of its time."""
    qty, cash, trade_fee = each
    given = given_fee(schedule, trade_fee)
    carry, found = 0, []
    for _ in expected:
        fee, carry = given.fill(5000, qty, cash, is_maker=False, carry=carry)
        found.append((fee, carry))
    assert found == expected


def test_makers_pay_their_own_rate():
    """A maker pays maker_ppm and maker_flat: 100 at .50 cost .4375, or .25 at $0.0025."""
    assert FeeSchedule("m", maker_ppm=17_500).fee(5000, 10_000, is_maker=True) == 437_500
    assert FeeSchedule("m", maker_flat=2_500).fee(5000, 10_000, is_maker=True) == 250_000
    assert KALSHI_2026_08.fee(5000, 10_000, is_maker=True) == 0


def test_a_curve_of_ones_own():
    """A function of the price replaces the rates, and is kept as the tables it gives."""
    own = FeeSchedule("own", curve=lambda p: (2 * p * 10**6, SCALE // 100))
    assert (own.fee(5000, 100), own.fee(5000, 100, is_maker=True)) == (100, 1)
    assert own == FeeSchedule("own", curve=own.tables())
    assert not own.is_quadratic and KALSHI_2026_08.is_quadratic
    assert hash(own) == hash(FeeSchedule("own", curve=own.tables()))


def test_tables_are_what_scaled_says():
    """`tables` lists `scaled` by price, for rates and flat fees too."""
    schedule = FeeSchedule("f", maker_ppm=17_500, maker_flat=2_500)
    takers, makers = schedule.tables()
    assert len(takers) == len(makers) == PRICE_ONE + 1
    assert takers[5000] == 70_000 * 25 * 10**6
    assert makers[100] == 17_500 * 100 * 9900 + 2_500 * 10**8


# The same rule twice.

SCHEDULES = st.builds(
    FeeSchedule,
    name=st.just("any"),
    taker_ppm=st.integers(0, 10**6),
    maker_ppm=st.integers(0, 10**6),
    rounding=st.sampled_from([1, 10, 100, 10_000, 10**6]) | st.integers(1, 10**6),
    direction=st.sampled_from(Round),
    precision=st.sampled_from([1, 100, 10_000]) | st.integers(1, 10**6),
    rebate=st.sampled_from(Rebate),
    taker_flat=st.integers(0, 10**6),
    maker_flat=st.just(0),
)
QUANTITIES = st.integers(1, 10_000) | st.integers(1, QTY_MAX)


@settings(max_examples=400, deadline=None)
@given(SCHEDULES, st.integers(0, PRICE_ONE), QUANTITIES, st.booleans(), st.booleans(),
       st.integers(0, 10**6))  # fmt: skip
@example(FeeSchedule("most", taker_ppm=10**6, taker_flat=10**6, direction=Round.NEAREST),
         5000, QTY_MAX, False, True, 0)  # fmt: skip
def test_kernel_and_python_agree(schedule, at, qty, is_maker, is_sale, carry):
    """The kernel and the schedule charge the same; the fee is not negative, and cash is aligned."""
    cash = at * qty if is_sale else -at * qty
    fee, rest = schedule.fill(at, qty, cash, is_maker, carry)
    assert tuple(fill_fee(schedule.scaled(at, is_maker), qty, cash, carry, schedule.rules)) == (
        fee, rest
    )  # fmt: skip
    assert fee >= 0 and rest >= 0
    assert schedule.scaled(at, is_maker) <= SCALED_MAX
    if schedule.rebate != Rebate.CENTS:
        assert (cash - fee) % schedule.precision == 0


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9999), st.lists(st.integers(1, 500), min_size=1, max_size=30))
def test_a_new_order_costs_what_one_fill_of_it_would(at, parts):
    """Under R3 the fees of many fills exceed the single fill's by no more than their own rounding
    of $0.000001 each and one unit of the precision: the rebates give the rest back."""
    carry = total = 0
    for qty in parts:
        fee, carry = KALSHI_2026_08.fill(at, qty, -at * qty, False, carry)
        total += fee
    single, _ = KALSHI_2026_08.fill(at, sum(parts), -at * sum(parts), False)
    unpaid = carry // 100 * 100
    assert single - 100 < total <= single + len(parts) + 100 + unpaid


# What the venue published and charged: the private recordings.


def test_every_row_of_the_published_table():
    """The fee schedule's tables, 21 of 21: taker, maker and index series, rounded to the cent."""
    for row in vectors("pdf_table"):
        rate = int(Decimal(row.get("rate", "0.07")) * 10**6)
        schedule = FeeSchedule("R0", taker_ppm=rate, rounding=10_000, precision=10_000)
        at, qty = price(row["price"]), contracts(row["count"])
        assert schedule.fill(at, qty, -at * qty, False) == (dollars(row["expected"]), 0), row


def test_every_example_of_the_rounding_page():
    """The old page's three orders of three fills, and the new page's one, fees and carries."""
    for row in vectors("doc_examples_old"):
        given = given_fee(KALSHI_2026_03, dollars(row["trade_fee"]))
        carry = 0
        for expected, step in zip(row["expected_net_fee"], row["computed"], strict=True):
            fee, carry = given.fill(0, 100, dollars(row["revenue_per_fill"]), False, carry)
            assert (fee, carry) == (dollars(expected), dollars(step["accumulator_after"])), row
    new = vectors("doc_example_new")
    assert isinstance(new, dict)
    assert KALSHI_2026_08_OTHER.fee(550, 100) == dollars(new["expected"]["trade_fee"])
    fee, carry = KALSHI_2026_08_OTHER.fill(550, 100, dollars(new["revenue"]), False)
    assert carry == dollars(new["expected"]["rounding_fee"])
    assert -55_000 - fee == dollars(new["expected"]["balance_change"])


def regime(row: dict) -> FeeSchedule:
    if row["regime"] == "R3":
        return KALSHI_2026_08
    return KALSHI_2026_03 if row["precision"] == "0.01" else KALSHI_2026_05


def test_every_charged_fee_of_the_vectors():
    """Thirteen charged fees, three of them under R3: exact to the last digit."""
    for row in vectors("real"):
        at, qty = price(row["price"]), contracts(row["count"])
        cash = at * qty if row["side"] == "sell" else -at * qty
        assert regime(row).fill(at, qty, cash, False)[0] == dollars(row["recorded"]), row
        assert regime(row).fee(at, qty) <= dollars(row["trade_fee_4dp"])


def test_what_no_single_fill_explains():
    """Two recorded rows do not come out, as their source says: several fills behind one row, or an
    edited fixture. 32.09 at .93 is 0.1463 in one fill, and 132 at .36 is 2.1289."""
    found = []
    for row in vectors("not_reproduced"):
        at, qty = price(row["price"]), contracts(row["count"])
        fee, _ = KALSHI_2026_05.fill(at, qty, -at * qty, False)
        found.append((row["count"], row["price"], dollars(row["recorded"]), fee))
    assert found == [("32.09", ".93", 146_500, 146_300), ("132", ".36", 560_000, 2_128_900)]


def test_the_float_trap():
    """0.07 x 100 x 0.1 x 0.9 is 0.63 to the cent, where binary floats say 0.64."""
    trap = json.loads(recorded(MESSAGES / "fee_vectors.json"))["float_trap"]
    assert KALSHI_2021.fee(1000, 10_000) == dollars(trap["decimal"])


def live_fills() -> Iterator[tuple[str, str, int, int, int, bool, int]]:
    """Yield (ticker, time, price, qty, cash, is_maker, fee); a `sell` row names the side that the
    sale flips to, so "sell no" sells YES."""
    text = recorded(DATA / "kalshi_orders" / "live_fills.csv")
    for row in csv.DictReader(text.splitlines()):
        at, qty = price(row["yes_price_dollars"]), contracts(row["count_fp"])
        is_buy = row["action"] == "buy"
        is_yes = (row["side"] == "yes") == is_buy
        leg = at if is_yes else PRICE_ONE - at
        yield (row["market_ticker"], row["created_time"], at, qty, -leg * qty if is_buy else
               leg * qty, row["is_taker"] != "True", dollars(row["fee_cost"]))  # fmt: skip


def rest_fills() -> Iterator[tuple[str, str, int, int, int, bool, int]]:
    """Yield the same of the fills that a REST answer lists."""
    text = recorded(DATA / "kalshi_small" / "portfolio_fills_redacted.json")
    for row in json.loads(text)["payload"]["fills"]:
        assert row["action"] == "buy"
        at, qty = price(row["yes_price_dollars"]), contracts(row["count_fp"])
        leg = at if row["side"] == "yes" else PRICE_ONE - at
        yield (row["ticker"], row["created_time"], at, qty, -leg * qty, not row["is_taker"],
               dollars(row["fee_cost"]))  # fmt: skip


NOT_EXACT: dict[str, list[str]] = {"live_fills": [], "rest_fills": []}
"""The charged fees that the rule does not give, and why: none of either file."""


@pytest.mark.parametrize(
    ("rows", "member", "count"),
    [(live_fills, Member.OTHER, 53), (rest_fills, Member.DIRECT, 22)],
)
def test_every_charged_fee_of_the_recordings(rows, member, count):
    """Each fill costs what the dated fees of its series say; rows that do not are listed."""
    found, wrong = 0, []
    for ticker, time, at, qty, cash, is_maker, charged in rows():
        schedule = KALSHI_FEES.at(ticker, ns(time), member)
        fee, _ = schedule.fill(at, qty, cash, is_maker)
        found += 1
        if fee != charged:
            wrong.append(f"{ticker} {time}: charged {charged}, {schedule.name} says {fee}")
    print(*wrong, sep="\n")
    assert wrong == NOT_EXACT[rows.__name__]
    assert found == count


def test_members_differ_on_the_recordings():
    """The account of May 2026 is kept in cents, that of August to $0.0001: the other precision
    misses 52 of 53 and 21 of 22."""
    misses = []
    for rows, schedule in [(live_fills, KALSHI_2026_05), (rest_fills, KALSHI_2026_03)]:
        charged = [(schedule.fill(at, qty, cash, is_maker)[0], fee)
                   for _, _, at, qty, cash, is_maker, fee in rows()]  # fmt: skip
        misses.append(sum(fee != wanted for fee, wanted in charged))
    assert misses == [52, 21]


def test_series_records_agree_with_the_built_in_fees():
    """Type and multiplier of the recorded series are those of KALSHI_FEES on that day."""
    text = recorded(DATA / "kalshi_small" / "series_fee_fields.json")
    captured = json.loads(text, parse_float=Decimal)
    ts = ns(captured["captured_at"])
    for ticker, payload in captured["payloads"].items():
        series = payload["series"]
        said = Fees.from_rows(
            [{"scope": ticker, "type": series["fee_type"], "multiplier": series["fee_multiplier"]}]
        )
        assert KALSHI_FEES.at(f"{ticker}-X-Y", ts) == said.at(f"{ticker}-X-Y", ts)


# Dates, members, overrides.


@pytest.mark.parametrize(
    ("day", "direct", "other"),
    [
        ("2026-03-11T23:59:59Z", KALSHI_2021, KALSHI_2021),
        ("2026-03-12T00:00:00Z", KALSHI_2026_03, KALSHI_2026_03),
        ("2026-05-27T23:59:59Z", KALSHI_2026_03, KALSHI_2026_03),
        ("2026-05-28T00:00:00Z", KALSHI_2026_05, KALSHI_2026_03),
        ("2026-08-29T23:59:59Z", KALSHI_2026_05, KALSHI_2026_03),
        ("2026-08-30T00:00:00Z", KALSHI_2026_08, KALSHI_2026_08_OTHER),
    ],
)
def test_regimes_begin_on_their_days(day, direct, other):
    """The four regimes of SPEC 5.2, for both kinds of members."""
    assert schedule_at(ns(day)) == direct
    assert schedule_at(ns(day), Member.OTHER) == other


@pytest.mark.parametrize(
    ("market", "day", "taker_ppm", "maker_ppm", "maker_flat"),
    [
        ("KXANY-26-X", "2026-08-20T00:00:00Z", 70_000, 0, 0),
        ("KXBTCY-26-X", "2026-08-15T00:00:00Z", 0, 0, 0),
        ("KXBTCY-26-X", "2026-08-14T00:00:00Z", 70_000, 0, 0),
        ("KXMLBGAME-26AUG15-NYY", "2026-08-15T00:00:00Z", 35_000, 8_750, 0),
        ("KXMLBSPREAD-26AUG15-NYY", "2026-08-15T00:00:00Z", 35_000, 0, 0),
        ("KXWNBAGAME-26AUG15-X", "2026-08-15T00:00:00Z", 70_000, 17_500, 0),
        ("KXWNBAGAME-25JUN30-X", "2025-06-30T23:59:59Z", 70_000, 0, 2_500),
        ("KXWNBAGAME-25JUL01-X", "2025-07-01T00:00:00Z", 70_000, 17_500, 0),
        ("KXMVECROSSCATEGORY-1-X", "2026-08-18T23:59:59Z", 70_000, 0, 0),
        ("KXMVECROSSCATEGORY-1-X", "2026-08-19T00:00:00Z", 70_000, 35_000, 0),
    ],
)
def test_built_in_fees(market, day, taker_ppm, maker_ppm, maker_flat):
    """Series of SPEC 5.1 and of the records, on either side of their days."""
    schedule = KALSHI_FEES.at(market, ns(day))
    found = (schedule.taker_ppm, schedule.maker_ppm, schedule.maker_flat)
    assert found == (taker_ppm, maker_ppm, maker_flat)


def test_index_series_paid_half_until_july():
    """100 at .50 cost .88 to the cent at half the rate; from 3 July 2026 17:00 UTC the full one."""
    fees = KALSHI_FEES.with_rows(*index_series("KXSOMEINDEX"))
    end = ns("2026-07-03T17:00:00Z")
    assert fees.at("KXSOMEINDEX-1-X", end - 1).taker_ppm == 35_000
    assert fees.at("KXSOMEINDEX-1-X", end).taker_ppm == 70_000
    assert fees.at("KXSOMEINDEX-1-X", 0).fee(5000, 10_000) == 880_000


def test_event_overrides_inherit_each_field_by_itself():
    """An override of the multiplier keeps the series' type, and the other way round; a row with
    neither clears it."""
    fees = KALSHI_FEES.with_rows(
        FeeRow("KXWNBAGAME-1", start=10, multiplier_ppm=500_000),
        FeeRow("KXWNBAGAME-1", start=20),
        FeeRow("KXWNBAGAME-2", type=FeeType.QUADRATIC),
        FeeRow("KXWNBAGAME-2-X", type=FeeType.NONE),
    )
    late = ns("2026-01-01T00:00:00Z")
    fees = fees.with_rows(FeeRow("KXWNBAGAME-3", start=late, multiplier_ppm=500_000))
    rates = [
        (schedule.taker_ppm, schedule.maker_ppm)
        for schedule in (
            fees.at("KXWNBAGAME-1-X", 9),
            fees.at("KXWNBAGAME-1-X", 10),
            fees.at("KXWNBAGAME-1-X", 20),
            fees.at("KXWNBAGAME-3-X", late),
            fees.at("KXWNBAGAME-2-Y", late),
            fees.at("KXWNBAGAME-2-X", late),
            fees.at("OTHER", late, event="KXWNBAGAME-3", series="KXWNBAGAME"),
        )
    ]
    assert rates == [(70_000, 0), (35_000, 0), (70_000, 0), (35_000, 8_750), (70_000, 0), (0, 0),
                     (35_000, 8_750)]  # fmt: skip


def test_waivers_end():
    """Nothing is charged before the end of a waiver."""
    fees = KALSHI_FEES.with_rows(FeeRow("KXA-1-X", waiver_until=100))
    assert fees.at("KXA-1-X", 99).fee(5000, 100) == 0
    assert fees.at("KXA-1-X", 100).fee(5000, 100) == 20_000


def test_changes_lists_each_schedule_once():
    """The schedules of a combo market over the summer of 2026, each with the time it begins."""
    found = KALSHI_FEES.changes(
        "KXMVEX-1-X", ns("2026-08-01T00:00:00Z"), ns("2026-10-01T00:00:00Z")
    )
    assert [(ts, schedule.maker_ppm, schedule.rounding) for ts, schedule in found] == [
        (ns("2026-08-01T00:00:00Z"), 0, 100),
        (ns("2026-08-19T00:00:00Z"), 35_000, 100),
        (ns("2026-08-30T00:00:00Z"), 35_000, 1),
    ]


def test_flat_fees_are_those_of_their_row():
    """So much a contract, from decimal strings."""
    fees = Fees.from_rows([{"scope": "*", "multiplier": 1, "type": "flat", "taker_flat": "0.01"}])
    assert fees.at("KXA-1-X", 0).fee(1, 250) == 30_000
    assert fees.at("KXA-1-X", ns("2026-09-01T00:00:00Z")).fee(1, 250) == 25_000


def test_times_are_told_three_ways():
    """RFC 3339 text, a datetime with its zone as TOML reads it, and ns are one time; a datetime
    without a zone is refused."""
    zoned = datetime(2026, 7, 3, 17, tzinfo=UTC)
    made = [Fees.from_rows([{"scope": "*", "start": start}]).rows[0].start
            for start in ("2026-07-03T17:00:00Z", zoned, ns("2026-07-03T17:00:00Z"))]  # fmt: skip
    assert len(set(made)) == 1
    with pytest.raises(FeeError, match="start: .* is not a time with its zone"):
        Fees.from_rows([{"scope": "*", "start": zoned.replace(tzinfo=None)}])


# Headers.


@pytest.mark.parametrize(
    "schedule",
    [*FEE_SCHEDULES.values(), polymarket(30_000), FeeSchedule("own", curve=lambda p: (p, 2 * p)),
     KALSHI_FEES.at("KXMLBGAME-1-X", ns("2026-08-15T00:00:00Z"))],
    ids=lambda schedule: schedule.name,
)  # fmt: skip
def test_headers_round_trip_through_json(schedule):
    """A schedule is what its JSON header says."""
    assert made(FeeSchedule, json.loads(json.dumps(plain(schedule)))) == schedule


# What is refused.


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"taker_ppm": 0.07}, "taker_ppm: 0.07 is not an int"),
        ({"taker_ppm": True}, "taker_ppm: True is not an int"),
        ({"maker_ppm": -1}, "maker_ppm: -1 is not 0 to 1000000"),
        ({"taker_ppm": 1_000_001}, "taker_ppm: 1000001 is not 0 to"),
        ({"rounding": 0}, "rounding: 0 is not 1 to"),
        ({"precision": 2_000_000}, "precision: 2000000 is not 1 to"),
        ({"maker_flat": "0.01"}, "maker_flat: '0.01' is not an int"),
        ({"rebate": 9}, "9 is not a valid Rebate"),
        ({"curve": ((1,), (1,))}, "curve, taker: 1 entries"),
        ({"curve": lambda p: (p / 2, 0)}, "curve, taker at 0: 0.0 is not an int"),
        ({"curve": lambda p: (0, -p)}, "curve, maker at 1: -1 is not 0 to"),
        ({"curve": lambda p: (p,)}, "curve: the function must return"),
    ],
)
def test_bad_schedules_are_refused(fields, error):
    """Floats and numbers out of range, named for their field."""
    with pytest.raises((TypeError, ValueError), match=error):
        FeeSchedule("bad", **fields)


GOOD = {"scope": "KXA", "type": "quadratic", "multiplier": 1}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"multiplier": 0.5}, "multiplier: factor: 0.5 is a float"),
        ({"multiplier": "-1"}, "multiplier_ppm: -1000000 is not 0 to"),
        ({"multiplier": "0.0001"}, "multiplier: 100 ppm is not a multiple of 0.0004"),
        ({"multiplier": "half"}, "multiplier: factor: 'half' is not a decimal number"),
        ({"type": "cubic"}, "type: 'cubic' is not one of quadratic, quadratic_with_maker_fees"),
        ({"type": 3}, "type: 3 is not one of"),
        ({"type": "flat"}, "taker_flat, maker_flat: type flat needs one"),
        ({"taker_flat": "0.01"}, "taker_flat, maker_flat: only type flat"),
        ({"taker_flat": "0.0000001", "type": "flat"}, "taker_flat: .* is finer than the unit"),
        ({"scope": ""}, "scope: '' is no ticker"),
        ({"scope": "K*A"}, "scope: 'K.A' is no ticker"),
        ({"scope": 7}, "scope"),
        ({"start": "2026-07-03"}, "start: '2026-07-03' is not a time with its zone"),
        ({"start": "soon"}, "start: 'soon' is not a time with its zone"),
        ({"start": 1.5}, "start: 1.5 is not an int"),
        ({"start": 10, "until": 10}, "until: .* is not after"),
        ({"multiplyer": 1}, "multiplyer: no such field"),
    ],
)
def test_bad_rows_are_refused(changed, error):
    """The error names the row and the field."""
    with pytest.raises(FeeError, match=f"fee row 1, .*{error}"):
        Fees.from_rows([GOOD, {**GOOD, **changed}])


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ({"start": 5}, {"start": 5}, "fee rows 0 and 1 .KXA.: start: both from"),
        ({"until": 9}, {"start": 5}, "fee rows 0 and 1 .KXA.: until: they overlap from"),
        ({"start": 5}, {"until": 6}, "fee rows 1 and 0 .KXA.: until: they overlap from"),
        ({"until": 3}, {"start": 5}, "fee rows 0 and 1 .KXA.: until: no row says what holds"),
    ],
)
def test_overlaps_and_gaps_are_refused(first, second, error):
    """Rows of one scope follow each other without overlap and without a gap."""
    with pytest.raises(FeeError, match=error):
        Fees.from_rows([{**GOOD, **first}, {**GOOD, **second}])


def test_what_no_row_says_is_asked_in_vain():
    """A market that no row covers raises, and names what is missing."""
    with pytest.raises(FeeError, match="KXB-1-X at .*: type: no fee row says it"):
        Fees.from_rows([GOOD]).at("KXB-1-X", 0)
    with pytest.raises(FeeError, match="KXA-1-X at .*: multiplier: no fee row says it"):
        Fees.from_rows([{"scope": "KXA", "type": "none"}]).at("KXA-1-X", 0)
