"""What an import knows of queues: places of decreases, and the recorder's own orders left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_kalshi_ws import BOOK, K, delta, numbered, snapshot, trade, write

from foldbook.adapters import sessions
from foldbook.adapters.cli import commands
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.adapters.recordings import Report
from foldbook.engine.schema import TapeFlag

JOINED, UNJOINED, GUESSED = TapeFlag.JOINED, TapeFlag.UNJOINED, TapeFlag.GUESSED


def imported(folder: Path, lines: list[Any], **options: Any) -> tuple[Report, np.ndarray]:
    [report] = import_recording([write(folder, numbered(lines))], folder / "out", **options)
    return report, np.array(sessions.load(report.session).tape.rows)


def places(rows: np.ndarray) -> list[tuple[int, int, bool]]:
    """Return (qty, ahead, guessed) of each decrease."""
    rows = rows[rows["kind"] == K.DECREASE]
    return [(int(row["qty"]), int(row["ahead"]), bool(row["flags"] & GUESSED)) for row in rows]


def changes(rows: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return (kind, price, qty, flags) of each change of a level and each trade."""
    rows = rows[np.isin(rows["kind"], (K.INCREASE, K.DECREASE, K.TRADE))]
    return [(K(row["kind"]), int(row["price"]), int(row["qty"]), int(row["flags"]) & ~int(GUESSED))
            for row in rows]


@pytest.mark.parametrize("group", [False, True])
def test_each_decrease_has_its_place(tmp_path, group):
    """100 stand at 40, then 7 and 9 arrive: 7 goes from behind the 100, 30 trade at the front, and
    5 can only come out of the 70 that are left."""
    report, rows = imported(tmp_path, [
        snapshot(0, *BOOK),
        delta(15, 10_000, "yes", "0.4000", "7.00"),
        delta(16, 11_000, "yes", "0.4000", "9.00"),
        trade(17, 12, "no", "0.4000", "30.00"),
        delta(17, 12_500, "yes", "0.4000", "-30.00"),
        delta(18, 13_000, "yes", "0.4000", "-7.00"),
        delta(19, 14_000, "yes", "0.4000", "-5.00"),
    ], group=group)
    assert places(rows) == [(3000, 0, False), (700, 7000, False), (500, 6500, True)]
    assert (report.identified, report.ambiguous, report.missing) == (1, 0, 1)
    session = sessions.load(report.session)
    reasons = sessions.describe(session)["quality"]["reasons"]
    assert "1 of 3 decreases have a guessed place in the queue" in reasons
    facts = session.facts["markets"]["KXA-1"]
    assert facts["queue"] == {"traded": 1, "identified": 1, "ambiguous": 0, "missing": 1}
    assert {"identified": 1, "ambiguous": 0, "missing": 1}.items() <= report.to_json().items()


def own(recv: int, us: int, side: str, price: str, change: str, **more: Any) -> dict[str, Any]:
    return delta(recv, us, side, price, change, client_order_id="mine", **more)


def recording() -> list[Any]:
    """Own 20 behind 100 and before 5: 100 of others trade, then 8 of ours; 12 are canceled."""
    return [
        snapshot(0, *BOOK),
        own(15, 10_000, "yes", "0.4000", "20.00"),
        delta(16, 11_000, "yes", "0.4000", "5.00"),
        trade(17, 12, "no", "0.4000", "100.00"),
        delta(17, 12_500, "yes", "0.4000", "-100.00"),
        trade(18, 13, "no", "0.4000", "8.00"),
        own(18, 13_500, "yes", "0.4000", "-8.00"),
        own(19, 14_000, "yes", "0.4000", "-12.00"),
        delta(20, 15_000, "yes", "0.4000", "-5.00"),
    ]


def test_own_orders_can_be_left_out(tmp_path):
    """The book is that of the others; the trade that was ours belongs to no decrease."""
    report, rows = imported(tmp_path, recording(), exclude_own=True)
    assert changes(rows) == [
        (K.INCREASE, 4000, 500, 0),
        (K.TRADE, 4000, 10_000, JOINED),
        (K.DECREASE, 4000, 10_000, 0),
        (K.TRADE, 4000, 800, UNJOINED),
        (K.DECREASE, 4000, 500, 0),
    ]
    assert places(rows) == [(10_000, 0, False), (500, 0, False)]
    assert (report.joined, report.unjoined, report.left_out) == (1, 1, {"own": 3})


def test_own_orders_stay_unless_told_otherwise(tmp_path):
    """As recorded: both trades are joined, the 12 that leave were behind nothing."""
    report, rows = imported(tmp_path, recording())
    assert (report.joined, report.unjoined, report.left_out) == (2, 0, {})
    assert places(rows) == [
        (10_000, 0, False), (800, 0, False), (1200, 0, False), (500, 0, False)
    ]


def test_a_snapshot_holds_own_orders_too(tmp_path):
    """Own 20 at 40 and 3 at 39 stand when a snapshot says 120 and 3: others have 100
    and nothing."""
    report, rows = imported(tmp_path, [
        snapshot(0, *BOOK),
        own(15, 10_000, "yes", "0.4000", "20.00"),
        own(16, 11_000, "yes", "0.3900", "3.00"),
        snapshot(17, [["0.4000", "120.00"], ["0.3900", "3.00"]], BOOK[1]),
        own(18, 13_000, "yes", "0.3900", "-3.00"),
        own(19, 14_000, "yes", "0.4000", "-20.00"),
        delta(20, 15_000, "yes", "0.4000", "-100.00"),
    ], exclude_own=True)
    levels = rows[rows["kind"] == K.SNAPSHOT_LEVEL]
    assert list(zip(levels["price"].tolist(), levels["qty"].tolist(), strict=True)) == [
        (4000, 10_000), (5000, 20_000), (4000, 10_000), (5000, 20_000)
    ]
    assert changes(rows) == [(K.DECREASE, 4000, 10_000, 0)]
    assert report.left_out == {"own": 4}


def test_what_was_not_seen_to_arrive_stays(tmp_path):
    """An own order that stood in the first snapshot, or was known before a gap, leaves as any other
    would; so does what an own taker takes."""
    report, rows = imported(tmp_path, [
        snapshot(0, *BOOK),
        own(15, 10_000, "yes", "0.4000", "-20.00"),
        own(16, 11_000, "no", "0.5000", "-50.00"),
        own(17, 12_000, "yes", "0.4000", "6.00"),
        snapshot(18, [["0.4000", "86.00"]], BOOK[1], seq=1),
        own(19, 14_000, "yes", "0.4000", "-6.00"),
    ], exclude_own=True)
    assert report.gaps == 1
    assert changes(rows) == [
        (K.DECREASE, 4000, 2000, 0), (K.DECREASE, 5000, 5000, 0), (K.DECREASE, 4000, 600, 0)
    ]
    assert report.left_out == {"own": 1}


def test_the_command_passes_the_option_on(tmp_path):
    """`foldbook import --exclude-own`, and the counts in its answer."""
    path = write(tmp_path, numbered(recording()))
    run = CliRunner().invoke(commands.foldbook, [
        "import", "kalshi-ws", str(path), "--to", str(tmp_path / "out"), "--exclude-own", "--json"
    ])
    assert run.exit_code == 0, run.output
    assert '"own": 3' in run.stdout and '"identified": 1' in run.stdout
