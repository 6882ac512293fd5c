"""The race against other systems: the feed that all get, the arithmetic of ratios, and fills."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from foldbook.benchmarks import plots, scaling
from foldbook.benchmarks.limits import loops
from foldbook.benchmarks.machine import about_machine
from foldbook.benchmarks.peers import environments, feed, nautilus_fills, race, rows
from foldbook.benchmarks.peers.fills import compare, measure
from foldbook.benchmarks.performance import page

EVENTS = 3_000


@pytest.fixture(scope="module")
def session():
    return feed.session(EVENTS)


def test_feed_says_each_level_both_ways(session):
    """Setting levels to what they come to gives the book that adding changes gives."""
    columns = feed.columns_of(session)
    book = np.zeros((2, 101), np.int64)
    for kind, side, price, change, level in zip(
        *(columns[name] for name in ("kind", "side", "price", "change", "level")), strict=True
    ):
        if kind != feed.TRADE:
            assert book[side, price] + change == level
            book[side, price] = level
    assert (book[0] == columns["bids"]).all() and (book[1] == columns["asks"]).all()
    assert columns["bids"].any() and columns["asks"].any()
    assert (columns["recv"] - columns["ts"] == feed.FEED_DELAY).all()


def test_feed_ends_with_a_burst(session):
    """The feed is cut between two times, never within one, and holds trades."""
    columns = feed.columns_of(session)
    whole, count = feed.uncut(EVENTS).tape.rows, len(session.tape)
    assert EVENTS - 20 < count <= EVENTS
    assert whole["ts"][count] > columns["ts"][-1] == whole["ts"][count - 1]
    assert (columns["kind"] == feed.TRADE).sum() > 10


def test_limit_loop_keeps_the_feeds_book(session):
    """The numba loop ends with the feed's book and its best prices."""
    columns = feed.columns_of(session)
    book, best = loops.folded(loops.numba_loop, session.tape.rows)
    assert (book[0] == columns["bids"]).all() and (book[1] == columns["asks"]).all()
    assert best[0] == columns["bids"].nonzero()[0].max()
    assert best[1] == columns["asks"].nonzero()[0].min()


def test_c_loop_is_the_numba_loop(session):
    """C and numba end with the same book, best prices and sum of them."""
    try:
        loop = loops.c_loop()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    for one, other in zip(
        loops.folded(loop, session.tape.rows),
        loops.folded(loops.numba_loop, session.tape.rows),
        strict=True,
    ):
        assert (one == other).all()


def _result(label, rates):
    return {"label": label, "rates": rates, "anonymous_mb": rates}


def test_ratios_are_of_paired_runs():
    """Of pairs 8/1, 9/3 and 10/2 the ratios are 8, 3 and 5: the median misses a target of 7."""
    row = rows.ROWS[0]
    peer = row.peers[0].label
    done = race.row_results(row, [_result("foldbook", [8, 9, 10]), _result(peer, [1, 3, 2])], {})
    (ratio,) = done["ratios"]
    assert (ratio["median"], ratio["least"], ratio["most"]) == (5, 3, 8)
    assert (ratio["target"], ratio["holds"]) == (7, False)


def test_memory_is_to_stay_below():
    """Less memory is better: 40 MB against 100 keeps a target of 0.5, 60 does not."""
    row = next(row for row in rows.ROWS if row.measure == "memory")
    assert race.holds(row, 0.4, 0.5) and not race.holds(row, 0.6, 0.5)
    assert race.holds(row, 0.6, None) is None


def test_rows_name_what_is_there():
    """Every driver and every requirements file of a row exists, and every target has a peer."""
    for row in rows.ROWS:
        for runner in (row.ours, *row.peers):
            assert (race.DRIVERS / f"{runner.driver}.py").exists(), runner
            if runner.environment != environments.OURS:
                listed = environments.REQUIREMENTS / f"{runner.environment}.txt"
                assert "==" in listed.read_text()
        assert row.targets.keys() <= {peer.label for peer in row.peers}


def test_missing_peers_are_told(tmp_path):
    """A peer without an environment is told of with its reason; nothing is made for it."""
    place = environments.environment("hftbacktest", tmp_path, installs=False)
    assert place.python is None and "not installed" in place.reason
    assert list(tmp_path.iterdir()) == []


def test_a_driver_that_fails_says_why(tmp_path):
    """What a driver said last is the error of its lap."""
    runner = rows.Runner("broken", "x", "drive_ours", "nothing", "")
    with (tmp_path / "words").open("w+") as words, pytest.raises(RuntimeError, match="nowhere"):
        race.Lap(runner, Path(sys.executable), tmp_path / "nowhere.npz", words)


def test_fills_are_put_down_to_rules():
    """Of four fills of ours one is the same, one is 50 ms off, two are alone, and one of theirs."""
    ms = 1_000_000
    ours = [(0, 0, 40), (100 * ms, 1, 42), (200 * ms, 0, 40), (900 * ms, 0, 41)]
    theirs = [(0, 0, 40), (150 * ms, 1, 42), (310 * ms, 0, 40)]
    found = compare(ours, theirs)
    assert found["rules"] == {"same": 1, "later": 1, "ours alone": 2, "theirs alone": 1}
    assert [each["ts"] // ms for each in found["unexplained"]] == [200, 310, 900]


def test_slope_and_plot():
    """Twice the power is twice the slope, and a plot has a dot for each point."""
    points = [(10**k, 10 ** (2 * k)) for k in range(4)]
    assert plots.slope(points) == pytest.approx(2)
    assert plots.log_log("t", points, "x", "y").count("<circle") == 4
    with pytest.raises(ValueError, match="above zero"):
        plots.log_log("t", [(1, 0), (2, 1)], "x", "y")


@pytest.mark.parametrize("series", scaling.SERIES, ids=lambda each: each.name)
def test_scaling_at_toy_size(series):
    """Each series runs, checks its answers, and names its power."""
    measured = series.measure(series.toy)
    assert [size for size, _ in measured["points"]] == list(series.toy)
    assert measured["is_faster_than_linear"] == (measured["power"] > scaling.FASTER)


def test_verdict_names_the_faster():
    """What grows with the power 1.5 is named, and what grows with 1 is not."""
    told = scaling.verdict([
        {"name": "events", "power": 1.0, "is_faster_than_linear": False},
        {"name": "orders", "power": 1.5, "is_faster_than_linear": True},
    ])  # fmt: skip
    assert told == "Faster than linearly grow: orders (power 1.50)."


def test_fills_agree_with_hftbacktest():
    """Every fill is the same, where hftbacktest is installed."""
    folder = os.environ.get("FOLDBOOK_PEERS")
    if not folder:
        pytest.skip("FOLDBOOK_PEERS is not set: the folder that `make bench-peers` fills")
    found = measure(Path(folder).resolve(), 50_000, installs=False)
    assert set(found["rules"]) == {"same"}, json.dumps(found)
    assert found["rules"]["same"] > 100


def test_fills_agree_with_nautilus_but_for_its_rules():
    """Rules explain every difference, where nautilus_trader with queue tracking is installed."""
    folder = os.environ.get("FOLDBOOK_PEERS")
    if not folder:
        pytest.skip("FOLDBOOK_PEERS is not set: the folder that `make bench-peers` fills")
    found = nautilus_fills.measure(Path(folder).resolve(), 20_000, installs=False)
    assert nautilus_fills.is_explained(found), json.dumps(found)
    assert found["same"] > 100


def test_page_shows_what_was_measured(tmp_path):
    """The page has each ratio with its spread, target and realism, and who is missing."""
    row = rows.ROWS[0]
    results = [
        {**_result(label, rates), "realism": f"{label} simulates", "limit": limit,
         "first_call_seconds": 1.25}
        for label, rates, limit in (("foldbook", [8, 9, 10], 0), (row.peers[0].label, [1, 3, 2], 7))
    ]  # fmt: skip
    done = race.row_results(row, results, {"hftbt": "needs another Python"})
    machine = about_machine()
    series = {"name": "events", "unit": "events", "what": "replay", "power": 1.5,
              "points": [[10, 0.5], [100, 4.0]]}  # fmt: skip
    text = page(
        {"peers": {"machine": machine, "events": 10, "runs": 3, "clock": "cpu", "rows": [done]},
         "scaling": {"machine": machine, "series": [series], "verdict": "It grows."}},
        tmp_path / "plots",
    )  # fmt: skip
    assert "| 5.00 | 3.00 to 8.00 | ≥ 7 | missed |" in text
    assert "foldbook simulates | all | 1.2 s" in text and "first 7" in text
    assert "- hftbt: needs another Python" in text and "Not measured yet: fills." in text
    assert "| 100 | 4.0000 s | 8.0 |" in text and "power 1.50" in text
    assert (tmp_path / "plots" / "events.svg").read_text().startswith("<svg")
