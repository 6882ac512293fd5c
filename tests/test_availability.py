"""The availability of displayed depth: lookups by hand, refusals, and the fit that ships."""

import itertools
import os
from pathlib import Path

import attrs
import numpy as np
import pytest

from foldbook.benchmarks.fidelity import takers
from foldbook.engine.availability import (
    ALWAYS,
    AVAILABILITY_2026_05,
    AVAILABILITY_2026_05_FIRST,
    Availability,
    ratio_ppm,
)
from foldbook.engine.units import MILLISECOND, PPM, QTY_MAX

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
ORDERS = DATA / "kalshi_orders" / "live_ioc_orders.csv"
SHIPPED = (AVAILABILITY_2026_05, AVAILABILITY_2026_05_FIRST)
HEADINGS = (
    "ts_result,market,kind,side,qty,fill_count,exchange_status,eligible_depth_at_limit,"
    "book_age_ms,submit_latency_ms"
)

recorded = pytest.mark.skipif(
    not ORDERS.is_file(), reason=f"no {ORDERS}; set FOLDBOOK_DATA to the folder of recordings"
)

SMALL = Availability(
    "small",
    ratio_edges_ppm=(500_000,),
    book_age_edges_ns=(10, 20),
    latency_edges_ns=(7,),
    entries_ppm=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
)


@pytest.mark.parametrize(
    ("ratio", "age", "latency", "entry"),
    [
        (0, 0, 0, 1),
        (0, 0, 7, 2),
        (0, 9, 6, 1),
        (0, 10, 6, 3),
        (499_999, 20, 7, 6),
        (500_000, 0, 0, 7),
        (500_000, 19, 10**18, 10),
        (10**12, 10**18, 6, 11),
        (10**12, 10**18, 7, 12),
    ],
)
def test_lookups(ratio, age, latency, entry):
    """An edge belongs to the bin above it; latency runs fastest, then book age, then ratio."""
    assert SMALL.ppm(ratio, age, latency) == entry


def test_shipped_lookups():
    """Two contracts of 230 shown (0.9 %), a book of 30 ms, 47 ms to the answer: row 1, column 2."""
    ratio = ratio_ppm(200, 23_000)
    assert ratio == 8_695
    assert AVAILABILITY_2026_05.ppm(ratio, 30 * MILLISECOND, 47 * MILLISECOND) == 576_000
    assert AVAILABILITY_2026_05_FIRST.ppm(ratio, 30 * MILLISECOND, 47 * MILLISECOND) == 765_000
    assert AVAILABILITY_2026_05.ppm(PPM, 10**9, 10**9) == 291_000


def test_always():
    """Whatever is displayed fills, however old and late."""
    assert Availability.always is ALWAYS
    assert {ALWAYS.ppm(*of) for of in itertools.product((0, PPM, 10**15), repeat=3)} == {PPM}


@pytest.mark.parametrize("curve", SHIPPED, ids=lambda curve: curve.name)
def test_falls_with_ratio_and_latency(curve):
    """Asking for more of what is shown, or arriving later, never finds it more often."""
    bins = [len(axis) + 1 for axis in curve.edges]
    entries = np.array(curve.entries_ppm).reshape(bins)
    assert entries.size <= 48
    assert (np.diff(entries, axis=0) <= 0).all()
    assert (np.diff(entries, axis=2) <= 0).all()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"ratio_edges_ppm": (-1,)}, ValueError, "ratio_edges_ppm: -1 is negative"),
        ({"book_age_edges_ns": (20, 10)}, ValueError, "book_age_edges_ns: 10 after 20; edges asc"),
        ({"book_age_edges_ns": (10, 10)}, ValueError, "book_age_edges_ns: 10 after 10; edges asc"),
        ({"latency_edges_ns": (7, 8)}, ValueError, "entries_ppm: 12 of them; 2 x 3 x 3 bins"),
        ({"latency_edges_ns": [7]}, TypeError, "latency_edges_ns: .* is a list, not a tuple"),
        ({"latency_edges_ns": (7.0,)}, TypeError, "latency_edges_ns: 7.0 is a float, not an int"),
        ({"entries_ppm": (True,) * 12}, TypeError, "entries_ppm: True is a bool, not an int"),
        ({"entries_ppm": (0,) * 11}, ValueError, "entries_ppm: 11 of them; .* need 12"),
        ({"entries_ppm": (0,) * 11 + (PPM + 1,)}, ValueError, "number 11 is 1000001, not in"),
        ({"entries_ppm": (-1,) + (0,) * 11}, ValueError, "number 0 is -1, not in 0..1000000 ppm"),
        ({"name": ""}, ValueError, "name"),
    ],
)
def test_tables_that_are_none(changes, error, text):
    """Each fault is refused when the table is made, by the name of the field."""
    with pytest.raises(error, match=text):
        attrs.evolve(SMALL, **changes)


def test_values_below_zero():
    """No ratio, age or latency is negative, and the one that is is named."""
    with pytest.raises(ValueError, match="ratio_ppm: -1 is negative"):
        SMALL.ppm(-1, 0, 0)
    with pytest.raises(ValueError, match="book_age_ns: -1 is negative"):
        SMALL.ppm(0, -1, 0)
    with pytest.raises(ValueError, match="latency_ns: -1 is negative"):
        SMALL.ppm(0, 0, -1)


def test_ratio_is_exact_inside_int64():
    """Two divisions give what one of unbounded integers gives, with products that int64 holds."""
    random = np.random.default_rng(3)
    for qty, displayed in random.integers(1, QTY_MAX, (500, 2)).tolist():
        assert ratio_ppm(qty, displayed) == qty * PPM // displayed
        assert qty % displayed * 1000 < 2**63
    with pytest.raises(ValueError, match="displayed: 0; a ratio needs some depth"):
        ratio_ppm(1, 0)
    with pytest.raises(ValueError, match="qty: -1 is negative"):
        ratio_ppm(-1, 1)


def test_fit_of_one_axis_by_hand():
    """Without a penalty, bins of one axis get the share that filled in each: 3 of 4, and 1 of 2."""
    orders = takers.generate(6)
    features = np.array([[0, 0, 0]] * 4 + [[0, 0, 50]] * 2)
    filled = np.array([1, 1, 1, 0, 1, 0], bool)
    orders = attrs.evolve(orders, features=features, filled=filled)
    assert takers.fit(orders, "hand", ((), (), (50,)), 0.0).entries_ppm == (750_000, 500_000)


def test_fit_never_rises_with_latency():
    """Where later orders filled more often, both bins get the common share; book age may rise."""
    features = np.array([[0, 0, 0]] * 4 + [[0, 50, 50]] * 4)
    filled = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)
    orders = attrs.evolve(takers.generate(8), features=features, filled=filled)
    assert takers.fit(orders, "hand", ((), (), (50,)), 0.0).entries_ppm == (500_000, 500_000)
    assert takers.fit(orders, "hand", ((), (50,), ()), 0.0).entries_ppm == (250_000, 750_000)


def test_fit_finds_the_curve_that_generated():
    """40,000 generated orders give back the entries they were drawn from, to two points."""
    found = takers.fit(takers.generate(40_000), "again").entries_ppm
    assert np.abs(np.subtract(found, AVAILABILITY_2026_05.entries_ppm)).max() <= 20_000


def test_losses_by_hand():
    """Foreseen at 0.75, a fill costs ln 4/3 and 1/16, none costs ln 4 and 9/16."""
    found = takers.losses(np.array([0.75, 0.75]), np.array([True, False]))
    assert found[0] == pytest.approx([np.log(4 / 3), 1 / 16, 1])
    assert found[1] == pytest.approx([np.log(4), 9 / 16, 0])


def test_read(tmp_path):
    """Refused and contradictory rows are dropped; the split is at midnight UTC after 5 May; an
    order repeats one of its market, kind and side that was answered up to 5 s before."""
    rows = [
        "2026-05-06T00:00:00+00:00,M,entry,yes,2,2,executed,100.00,0.0,31.0",
        "2026-05-05T23:59:59.999999+00:00,M,entry,yes,2,0,canceled,8.00,15.99999,47.0000000204891",
        "2026-05-05T23:59:54+00:00,M,entry,yes,2,1,canceled,2.00,0.0,31.0",
        "2026-05-05T23:59:53+00:00,M,entry,no,1,1,executed,3.00,0.0,31.0",
        "2026-05-05T12:00:00+00:00,M,exit,no,1,0,rejected,3.00,0.0,31.0",
        "2026-05-05T12:00:00+00:00,M,exit,no,2,1,executed,3.00,0.0,31.0",
        "2026-05-05T12:00:00+00:00,M,exit,no,2,2,executed,1.50,0.0,31.0",
    ]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join([HEADINGS, *rows]))
    orders = takers.read(path)
    assert list(orders.dropped.values()) == [1, 1, 1]
    assert orders.features.tolist() == [
        [333_333, 0, 31_000_000],
        [PPM, 0, 31_000_000],
        [250_000, 15_999_990, 47_000_000],
        [20_000, 0, 31_000_000],
    ]
    assert orders.filled.tolist() == [True, False, False, True]
    assert orders.repeats.tolist() == [False, False, False, True]
    fitted, scored = orders.split()
    assert (len(fitted), len(scored)) == (3, 1)


@recorded
def test_shipped_is_what_the_data_gives():
    """Both shipped tables are the fit of the orders up to 5 May, entry by entry."""
    orders = takers.read(ORDERS)
    fitted, scored = orders.split()
    assert (len(fitted), len(scored), sum(orders.dropped.values())) == (1168, 759, 75)
    for part, curve in zip(takers.training(fitted).values(), SHIPPED, strict=True):
        assert takers.fit(part, curve.name) == curve


@recorded
def test_documented_figures():
    """The log-losses of docs/fidelity-takers.md are those of the data."""
    page = (Path(__file__).parent.parent / "docs" / "fidelity-takers.md").read_text()
    for row in takers.scores(*takers.read(ORDERS).split()):
        line = f"| {row['orders']} | {row['n']} | {row['rule']} | {row['log-loss']:.3f} |"
        assert line in page
