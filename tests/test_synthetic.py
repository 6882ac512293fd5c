"""The generated markets: valid tapes, the same for the same seed, and like the real ones."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldbook.adapters import synthetic
from foldbook.benchmarks import stylised_facts
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.session import Session
from foldbook.engine.units import MINUTE, PRICE_ONE, SECOND

GOLD15M = {
    "deltas": 53_140,
    "trades": 1_313,
    "trades per 1000 deltas": 28.37,
    "increase share": 0.4940,
    "repriced share": 0.4293,
    "alone share": 0.5508,
    "traded qty share": 0.01505,
    "fractional trades": 0.6154,
    "fractional increases": 0.1615,
    "traded contracts": 41_130,
    "deltas per second, variance / mean": 69.67,
    "gap ms p25": 0.5294,
    "gap ms p50": 2.254,
    "gap ms p75": 9.735,
    "gap ms p90": 45.78,
    "gap ms p99": 437.2,
    "increase size p25": 7.722,
    "increase size p50": 24.51,
    "increase size p75": 62.17,
    "increase size p90": 263.8,
    "decrease size p25": 7.422,
    "decrease size p50": 23.25,
    "decrease size p75": 60.29,
    "decrease size p90": 263.7,
    "trade size p25": 3.098,
    "trade size p50": 10.30,
    "trade size p75": 26.71,
    "trade size p90": 59.53,
    "trades per ms p90": 3.497,
    "spread 1 c": 0.5576,
    "spread 2 c": 0.2438,
    "spread 3 c": 0.1032,
    "distance c p50": 2.562,
    "distance c p75": 6.531,
    "distance c p90": 15.84,
    "levels a side p50": 25.69,
}
"""Mean over the 32 markets of gold15m, each measured by `stylised_facts.measure` (its docstrings
define the facts): `python benchmarks/stylised_facts.py ../shared/data/kalshi_gold15m`."""

SPEC_4 = {
    "deltas": 2_144_497 / 39,
    "trades": 1_278,
    "repriced share": 0.47,
    "alone share": 0.51,
    "traded qty share": 0.012,
    "fractional trades": 0.615,
    "spread 1 c": 0.71,
    "spread 2 c": 0.20,
    "spread 3 c": 0.06,
}
"""SPEC sections 1.4, 1.6 and 4: all 39 markets of the series pooled (trades: the median)."""

ONE_WINDOW = ("KXGOLD15M-26AUG050800-00", {
    "deltas": 28_614, "trades": 399, "increase share": 0.495842, "repriced share": 0.468931,
    "alone share": 0.522437, "traded qty share": 0.00877186, "spread 1 c": 0.0564516,
    "fractional trades": 0.724311, "trade size p50": 8.01,
})  # fmt: skip
"""One market of gold15m, to see that the file is still measured as it was."""

GOLDEN = "26c15376842bddeca43034120e98631575dffbf626e63705c2d58af85bb94828"
"""Digest of the tape of `session(7)`."""

SESSIONS: tuple[dict[str, Any], ...] = (
    {"seed": 11, "events": 3000},
    {"seed": 11, "events": 1500, "tick": 1, "markets": 3, "trades": False},
    {"seed": 12, "events": 400, "tick": 10, "volatility": 0.5, "settle": False},
)
_DIGESTS = (
    "import json, sys; from foldbook.adapters import synthetic; "
    "print(json.dumps([synthetic.session(**p).digest for p in json.loads(sys.argv[1])]))"
)


def check_tape(session: Session) -> list[tuple[int, int]]:
    """Walk a tape in plain Python, assert every rule; return each market's best bid and ask.

    The best prices are those of the last body row, before the close.
    """
    count = len(session.markets)
    books: list[tuple[dict[int, int], dict[int, int]]] = [({}, {}) for _ in range(count)]
    recv_before = [0] * count
    rows = session.tape.rows.tolist()
    assert all(before[0] <= after[0] for before, after in pairwise(rows))
    for at, (ts, recv, qty, ahead, price, market, kind, side, flags) in enumerate(rows):
        book = books[market]
        ladder = book[side]
        assert ts % 1000 == 0 and recv % 1000 == 0, f"row {at}: not in µs"
        assert ts < recv <= ts + SECOND and recv >= recv_before[market], f"row {at}: recv {recv}"
        recv_before[market] = recv
        if kind in (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE, TapeKind.DECREASE, TapeKind.TRADE):
            assert qty > 0 and 0 < price < PRICE_ONE, f"row {at}: {qty} at {price}"
            assert price % session.markets[market].tick == 0, f"row {at}: price {price}"
        else:
            assert kind in (TapeKind.GRID, TapeKind.STATUS, TapeKind.SNAPSHOT), f"row {at}: {kind}"
        if kind in (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE):
            ladder[price] = ladder.get(price, 0) + qty
        elif kind == TapeKind.DECREASE:
            assert 0 <= ahead <= ladder.get(price, 0) - qty, f"row {at}: {qty} after {ahead}"
            ladder[price] -= qty
            if ladder[price] == 0:
                del ladder[price]
        elif kind == TapeKind.TRADE:
            assert flags == TapeFlag.JOINED
            assert price == (max(ladder) if side == Side.BUY else min(ladder)), f"row {at}: price"
            joined = (ts, qty, 0, price, market, TapeKind.DECREASE, side)
            found = rows[at + 1]
            assert (found[0], *found[2:8]) == joined, f"row {at}: no decrease follows"
        if flags & TapeFlag.REPRICE:
            old = rows[at - 1]
            assert kind == TapeKind.INCREASE and old[6] == TapeKind.DECREASE and old[4] != price
            assert (old[0], old[5], old[7]) == (ts, market, side), f"row {at}: halves apart"
        if book[0] and book[1]:
            assert max(book[0]) < min(book[1]), f"row {at}: crossed or locked"
    return [(max(book[0], default=0), min(book[1], default=PRICE_ONE)) for book in books]


@pytest.mark.parametrize("parameters", [
    {"seed": 1}, {"seed": 2, "trades": False, "events": 20_000},
    {"seed": 3, "tick": 10, "events": 20_000, "markets": 2},
    {"seed": 4, "tick": 1, "events": 20_000, "markets": 2},
    {"seed": 5, "tick": 1, "events": 20_000, "volatility": 0, "minutes": 1},
    {"seed": 6, "events": 20_000, "volatility": 4.0, "rate": 1},
    {"seed": 7, "events": 64, "markets": 5},
])  # fmt: skip
def test_every_rule_of_a_tape_holds(parameters: dict[str, Any]) -> None:
    """Times, quantities, joins and reprices are valid, and the book is never crossed or locked."""
    check_tape(synthetic.session(**parameters))


@pytest.mark.parametrize("events", [64, 65, 500, 54_321])
@pytest.mark.parametrize("trades", [True, False])
def test_events_is_the_exact_number_of_rows_of_each_market(events: int, trades: bool) -> None:
    """A benchmark can ask for a number of rows and get it; without trades there is no TRADE."""
    made = synthetic.session(3, events=events, trades=trades, markets=2)
    assert np.bincount(made.tape.rows["market"]).tolist() == [events, events]
    assert (TapeKind.TRADE in made.tape.rows["kind"]) == (trades and events >= 500)


def test_rate_and_minutes_give_the_number_of_rows_and_the_life() -> None:
    """1,000 rows a second for two minutes are 120,000 rows, the close stands at its minute."""
    made = synthetic.session(rate=1000, minutes=2, start=5_000)
    assert len(made.tape) == 120_000
    closed = made.tape.rows[-2]
    assert (closed["kind"], closed["qty"]) == (TapeKind.STATUS, MarketStatus.CLOSED)
    assert closed["ts"] == 5_000 + 2 * MINUTE == made.facts["close"]


def test_head_and_tail_are_those_of_a_market() -> None:
    """GRID, OPEN and a snapshot in one burst; CLOSED, then SETTLED seconds later."""
    rows = synthetic.session(8).tape.rows
    assert rows["kind"][:3].tolist() == [TapeKind.GRID, TapeKind.STATUS, TapeKind.SNAPSHOT]
    assert rows[0]["price"] == rows[0]["ahead"] == 100 and rows[1]["qty"] == MarketStatus.OPEN
    head = rows[rows["ts"] == rows["ts"][0]]
    assert (head["kind"][3:] == TapeKind.SNAPSHOT_LEVEL).all() and len(head) > 30
    closed, settled = rows[-2:]
    assert settled["qty"] == MarketStatus.SETTLED and settled["price"] in (0, PRICE_ONE)
    assert SECOND < settled["ts"] - closed["ts"] < 12 * SECOND
    last = synthetic.session(8, settle=False).tape.rows[-1]
    assert (last["kind"], last["qty"]) == (TapeKind.STATUS, MarketStatus.CLOSED)


def test_price_ends_where_the_market_settles() -> None:
    """At the close the book stands at the side of the payout; both results occur."""
    results = set()
    for seed in range(6):
        made = synthetic.session(seed, events=20_000)
        (bid, ask), (result,) = check_tape(made)[0], made.facts["result"].values()
        assert bid >= 9_500 if result == "yes" else ask <= 500, f"seed {seed}: {bid} {ask} {result}"
        assert made.tape.rows[-1]["price"] == (PRICE_ONE if result == "yes" else 0)
        results.add(result)
    assert results == {"yes", "no"}


def test_same_seed_gives_the_same_bytes_in_another_process_and_interpreted() -> None:
    """Digests do not depend on the process, on PYTHONHASHSEED, or on compilation."""
    here = [synthetic.session(**parameters).digest for parameters in SESSIONS]
    assert len(set(here)) == len(here)
    for extra in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "NUMBA_DISABLE_JIT": "1"}):
        command = [sys.executable, "-W", "error", "-c", _DIGESTS, json.dumps(SESSIONS)]
        there = subprocess.run(
            command, env=os.environ | extra, capture_output=True, text=True, check=False
        )
        assert there.returncode == 0, there.stderr
        assert json.loads(there.stdout) == here, extra


def test_digest_is_golden() -> None:
    """The generator's output is part of what golden journals rest on: it must not drift."""
    assert synthetic.session(7).tape.digest == GOLDEN
    assert synthetic.session(8).tape.digest != GOLDEN


def test_adding_a_market_changes_nothing_for_the_others() -> None:
    """Market i has the same rows in any session with that seed; ts order holds for all."""
    one, three = (synthetic.session(5, events=4000, markets=count) for count in (1, 3))
    rows = three.tape.rows
    assert np.array_equal(rows[rows["market"] == 0], one.tape.rows)
    assert (np.diff(rows["ts"]) >= 0).all()
    tied = np.diff(rows["ts"]) == 0
    assert (np.diff(rows["market"])[tied] >= 0).all(), "at equal ts markets stand by index"
    second, third = (rows["price"][rows["market"] == market] for market in (1, 2))
    assert not np.array_equal(second, third)


def test_source_recreates_the_session() -> None:
    """The JSON of the source, and a pickle, lead to the same session."""
    made = synthetic.session(9, events=500, markets=2, tick=10, volatility=1.5)
    source = json.loads(json.dumps(dict(made.source)))
    assert source.pop("generator") == "synthetic"
    assert synthetic.session(**source).digest == made.digest
    packed = pickle.dumps(made)
    assert len(packed) < 1000 and pickle.loads(packed).digest == made.digest


@pytest.mark.parametrize(("parameters", "message"), [
    ({"seed": -1}, r"seed: -1 is not within 0\.\."),
    ({"seed": 1.5}, r"seed: 1\.5 is not an int"),
    ({"markets": 0}, r"markets: 0 is not within 1\.\.1000"),
    ({"events": 10}, r"events: 10 is not within 64\.\."),
    ({"events": 10**9, "minutes": 1}, r"events: 1000000000 in 1 minutes are more than 100000 per"),
    ({"minutes": 0}, r"minutes: 0 is not within 1\.\."),
    ({"minutes": True}, r"minutes: True is not an int"),
    ({"rate": 0}, r"rate: 0 is not within 1\.\."),
    ({"rate": 100_000, "minutes": 43_200}, r"rate: 100000 per second for 43200 minutes are more"),
    ({"tick": 3}, r"tick: 3 does not divide one cent \(100\)"),
    ({"tick": 1000}, r"tick: 1000 is not within 1\.\.100"),
    ({"start": 999}, r"start: 999 is not a multiple of 1000 ns"),
    ({"volatility": -0.1}, r"volatility: -0\.1 is not within 0\.\.4"),
    ({"volatility": float("nan")}, r"volatility: nan is not within 0\.\.4"),
    ({"volatility": "1"}, r"volatility: '1' is not a number"),
    ({"trades": 1}, r"trades: 1 is not True or False"),
])  # fmt: skip
def test_bad_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    """The error names the parameter, its value and what was expected."""
    with pytest.raises(ValueError, match=message):
        synthetic.session(**parameters)


def test_stylised_facts_are_within_a_factor_of_two() -> None:
    """The mean of eight generated markets is like gold15m's mean and like SPEC section 4."""
    measured = stylised_facts.mean_facts(
        [stylised_facts.measure(synthetic.session(seed).tape.rows) for seed in range(8)]
    )
    far = {
        f"{source}: {fact}": (expected, round(measured[fact], 4))
        for source, facts in (("gold15m", GOLD15M), ("SPEC 4", SPEC_4))
        for fact, expected in facts.items()
        if not expected / 2 <= measured[fact] <= expected * 2
    }
    assert not far, "(expected, measured)"
    assert measured["spread 0 or less"] == 0


def test_trades_per_market_vary_as_they_do_in_the_recordings() -> None:
    """SPEC section 4: 399 to 2,735 trades in 15 minutes, median 1,278."""
    counts = [
        int((synthetic.session(seed).tape.rows["kind"] == TapeKind.TRADE).sum())
        for seed in range(30)
    ]
    assert 399 / 2 <= min(counts) <= 399 * 2 and 2735 / 2 <= max(counts) <= 2735 * 2, counts
    assert 1278 / 2 <= np.median(counts) <= 1278 * 2, counts


def test_facts_of_rows_that_one_can_count() -> None:
    """`measure` on six rows: one reprice, one trade with its decrease, one cancel that is alone."""
    up, down = int(TapeKind.INCREASE), int(TapeKind.DECREASE)
    rows = np.array([
        (0, 0, 300, 0, 4000, 0, TapeKind.SNAPSHOT_LEVEL, Side.BUY, 0),
        (0, 0, 300, 0, 4200, 0, TapeKind.SNAPSHOT_LEVEL, Side.SELL, 0),
        (1000, 0, 200, 0, 4000, 0, down, Side.BUY, 0),
        (1000, 0, 200, 0, 4100, 0, up, Side.BUY, TapeFlag.REPRICE),
        (2000, 0, 150, 0, 4100, 0, TapeKind.TRADE, Side.BUY, TapeFlag.JOINED),
        (2000, 0, 150, 0, 4100, 0, down, Side.BUY, 0),
    ], TAPE_DTYPE)  # fmt: skip
    facts = stylised_facts.measure(rows)
    assert (facts["deltas"], facts["trades"], facts["repriced share"]) == (3, 1, 2 / 3)
    assert facts["alone share"] == facts["increase share"] == 1 / 3
    assert facts["traded qty share"] == 150 / 350 and facts["fractional trades"] == 1
    assert (facts["spread 1 c"], facts["spread 2 c"]) == (2 / 3, 1 / 3)


def test_a_recording_is_measured_as_the_constants_were() -> None:
    """One market of gold15m, decoded and measured now, gives the numbers noted above."""
    root = Path(__file__).parent.parent / ".." / "shared" / "data"
    folder = Path(os.environ.get("FOLDBOOK_DATA", root)) / "kalshi_gold15m" / "events"
    name, expected = ONE_WINDOW
    if not (folder / name).is_dir():
        pytest.skip(f"no recording at {folder / name}: set FOLDBOOK_DATA")
    facts = stylised_facts.measure(stylised_facts.gold_rows((folder / name).glob("*.gz")))
    assert {fact: facts[fact] for fact in expected} == pytest.approx(expected, rel=1e-4)


def test_benchmark_runs_at_toy_size(capsys: pytest.CaptureFixture[str]) -> None:
    """The benchmark's report names the facts and the speed."""
    stylised_facts.main(["--seeds", "1", "--events", "1000"])
    printed = capsys.readouterr().out
    assert "repriced share" in printed and "tick 1: 1000 rows" in printed
