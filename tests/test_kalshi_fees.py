"""Fees that the feed and the records of series state: FEE rows, when they were known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_kalshi_ws import BOOK, MS, T0, delta, line, numbered, snapshot, write

from foldbook.adapters import sessions
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TapeKind

TICKER = "KXA-1-X"


def update(recv: int, kind: str | None, multiplier: Any, event: str = "KXA-1") -> dict[str, Any]:
    msg = {"event_ticker": event, "fee_type_override": kind, "fee_multiplier_override": multiplier}
    return line(recv, "event_fee_update", msg, sid=3)


def fees(folder: Path, lines: list[Any], **options: Any) -> list[tuple[int, int, int, int, int]]:
    """Return (place, ts us, recv ms, taker ppm, maker ppm) of each FEE row, times from T0."""
    [report] = import_recording([write(folder, numbered(lines))], folder / "out", **options)
    rows = sessions.load(report.session).tape.rows
    return [
        (place, (int(row["ts"]) - T0 * MS) // 1000, (int(row["recv"]) - T0 * MS) // MS,
         int(row["qty"]), int(row["ahead"]))
        for place, row in enumerate(rows) if row["kind"] == TapeKind.FEE
    ]  # fmt: skip


def book(recv: int) -> dict[str, Any]:
    return snapshot(recv, *BOOK, ticker=TICKER)


def test_event_fee_updates_become_fee_rows(tmp_path):
    """An override stands with the event before it, received when it was; a cleared one gives the
    series' rates back; updates of other events concern nobody here."""
    found = fees(tmp_path, [
        book(0), delta(12, 10_000, "yes", "0.4000", "1.00", ticker=TICKER),
        update(20, "quadratic_with_maker_fees", 0.5), update(21, "quadratic", 0, event="KXA-2"),
        delta(32, 30_000, "yes", "0.4000", "1.00", ticker=TICKER),
        update(40, None, None),
    ])  # fmt: skip
    assert found == [(5, 10_000, 20, 35_000, 8_750), (7, 30_000, 40, 70_000, 0)]


def test_each_field_of_an_update_inherits_by_itself(tmp_path):
    """A multiplier alone keeps the type of the series, a type alone its multiplier: KXMLBGAME pays
    half, and makers too, in August 2026."""
    at = 5 * 10**8  # nearly six days after T0: 12 August 2026
    found = fees(tmp_path, [
        snapshot(at, *BOOK, ticker="KXMLBGAME-1-X"),
        update(at + 1, None, "0.2", event="KXMLBGAME-1"),
        update(at + 2, "quadratic", None, event="KXMLBGAME-1"),
        update(at + 3, "none", None, event="KXMLBGAME-1"),
        update(at + 4, None, None, event="KXMLBGAME-1"),
    ])  # fmt: skip
    assert [row[3:] for row in found] == [(14_000, 3_500), (35_000, 0), (0, 0), (35_000, 8_750)]


def test_what_was_said_before_the_book_holds_from_its_first_row(tmp_path):
    """The last update before the first snapshot stands right after the GRID row."""
    found = fees(tmp_path, [update(0, "none", None), update(5, "quadratic", 0.5), book(10)])
    assert [row[0] for row in found] == [1]
    assert found[0][2:] == (10, 35_000, 0)


def test_the_record_of_a_series_holds_from_the_start(tmp_path):
    """With metadata the rates of the series are known at once, and are what overrides inherit."""
    records = tmp_path / "records"
    records.mkdir()
    record = {"ticker": "KXA", "fee_type": "quadratic_with_maker_fees", "fee_multiplier": 0.5}
    (records / "KXA.json").write_text(json.dumps({"series": record}))
    found = fees(tmp_path, [
        book(0), delta(12, 10_000, "yes", "0.4000", "1.00", ticker=TICKER), update(20, None, 1),
    ], metadata=records)  # fmt: skip
    assert [(row[0], *row[2:]) for row in found] == [(1, 0, 35_000, 8_750), (6, 20, 70_000, 17_500)]


def test_flat_fees_are_left_out_and_counted(tmp_path):
    """The venue does not publish what `flat` costs: no row, and a count that says so."""
    lines = numbered([book(0), update(1, "flat", 1)])
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "out")
    assert report.left_out == {"flat_fee": 1}


@pytest.mark.parametrize(
    ("kind", "multiplier", "text"),
    [
        ("cubic", 1, "type: 'cubic' is not one of"),
        ("quadratic", -1, "multiplier_ppm: -1000000 is not 0 to"),
        ("quadratic", 0.00001, "multiplier: 10 ppm is not a multiple"),
    ],
)
def test_a_fee_that_is_none_is_refused(tmp_path, kind, multiplier, text):
    """The refusal names file, row, event, field and value; it can be counted instead."""
    lines = numbered([book(0), update(1, kind, multiplier)])
    source = write(tmp_path, lines)
    with pytest.raises(TapeError, match=f"row 2: event KXA-1: fee row 0, {text}"):
        import_recording([source], tmp_path / "out")
    [report] = import_recording([source], tmp_path / "out", keep_going=True)
    assert report.reasons == {"fee": 1}


def test_a_bad_record_of_a_series_is_named(tmp_path):
    """A record whose type is unknown ends the import, and says which file."""
    path = tmp_path / "KXA.json"
    path.write_text(json.dumps({"series": {"ticker": "KXA", "fee_type": "cubic"}}))
    source = write(tmp_path, numbered([book(0)]))
    with pytest.raises(TapeError, match=r"KXA\.json: not a record of a series: .*'cubic'"):
        import_recording([source], tmp_path / "out", metadata=path)
