"""Sessions of the earlier system's database: the book is rebuilt from bids, and what is wrong is
refused by name."""

from __future__ import annotations

import json
import pickle

import pytest
from seed_database import change, drawn, fill, make

from foldbook.adapters import cli, sessions
from foldbook.adapters.catalogue import CatalogueError
from foldbook.adapters.seed_postgres import SessionLoader, import_recording
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TapeKind

MS = 1_000_000
K = TapeKind
SNAPSHOT = ("KXA-1", 1000, 1, {"40": 100, "42": 5}, {"55": 7, "50": 30})
DELTAS = [
    ("KXA-1", 1001, 2, "yes", "update", 42, 5, 8),
    ("KXA-1", 1002, 3, "no", "remove", 55, 7, 0),
    ("KXA-1", 1003, 4, "yes", "add", 43, 0, 20),
    ("KXA-1", 1003, 5, "no", "update", 50, 30, 10),
]


@pytest.fixture
def seed(database):
    """The URL of a database with the three tables, empty."""
    make(database)
    return database


@pytest.fixture
def small(seed):
    """One session, number 7, of one market."""
    fill(seed, [SNAPSHOT], DELTAS)
    return seed


def rows_of(session):
    return [(int(row["ts"]) // MS, K(row["kind"]).name, int(row["side"]), int(row["price"]),
             int(row["qty"])) for row in session.tape.rows]


def test_the_book_is_rebuilt_from_bids(small):
    """By hand: a NO bid at 55 is a YES ask at 45; the stored asks (at 1 cent) are nowhere."""
    session = SessionLoader(small).load(7)
    assert rows_of(session) == [
        (1000, "GRID", 0, 100, 0),
        (1000, "SNAPSHOT", 0, 0, 0),
        (1000, "SNAPSHOT_LEVEL", 0, 4000, 10_000),
        (1000, "SNAPSHOT_LEVEL", 0, 4200, 500),
        (1000, "SNAPSHOT_LEVEL", 1, 5000, 3000),
        (1000, "SNAPSHOT_LEVEL", 1, 4500, 700),
        (1001, "INCREASE", 0, 4200, 300),
        (1002, "DECREASE", 1, 4500, 700),
        (1003, "INCREASE", 0, 4300, 2000),
        (1003, "DECREASE", 1, 5000, 2000),
    ]
    assert sessions.book_at(session, "KXA-1", 1000 * MS) == {
        "yes_bids": [["0.4200", "5.00"], ["0.4000", "100.00"]],
        "yes_asks": [["0.4500", "7.00"], ["0.5000", "30.00"]],
    }
    assert sessions.book_at(session, "KXA-1", 1003 * MS) == {
        "yes_bids": [["0.4300", "20.00"], ["0.4200", "8.00"], ["0.4000", "100.00"]],
        "yes_asks": [["0.5000", "10.00"]],
    }


def test_facts_say_what_the_record_is_without(small):
    """No trades, no receive times; raw counts are those of the tables."""
    session = SessionLoader(small).load(7)
    assert (session.name, session.facts["status"]) == ("session-7", "closed")
    found = sessions.describe(session)
    assert (found["snapshots"], found["deltas"], found["trades"]) == (1, 4, 0)
    assert (session.tape.rows["recv"] == session.tape.rows["ts"]).all()
    told = json.dumps(found["quality"])
    assert "maker fills are beyond the record" in told
    assert "no receive times" in told
    assert pickle.loads(pickle.dumps(session)) == session


def test_import_writes_a_folder_for_each_session(seed, tmp_path):
    """With all markets, as they are loaded; the report counts rows, and progress ends at all."""
    fill(seed, [SNAPSHOT, ("KXB-1", 1000, 1, {"10": 1}, {})], DELTAS)
    fill(seed, [SNAPSHOT], session=8)
    told = []
    reports = import_recording([seed], tmp_path, progress=lambda *counts: told.append(counts))
    assert [(report.session.name, report.markets, report.read) for report in reports] == [
        ("session-7", ("KXA-1", "KXB-1"), 6), ("session-8", ("KXA-1",), 1)]
    assert (told[0], told[-1]) == ((0, 6), (1, 1))
    for number in (7, 8):
        stored = sessions.load(tmp_path / f"session-{number}")
        sessions.verify_digest(stored)
        assert stored == SessionLoader(seed).load(number)
    assert SessionLoader(seed).ids() == [7, 8]


def test_a_dry_run_writes_nothing(small, tmp_path):
    """It reports the same but for that."""
    (report,) = import_recording([small], tmp_path / "to", dry_run=True)
    assert (report.written, report.events, report.read) == (False, 10, 5)
    assert not (tmp_path / "to").exists()


def test_one_session_alone(small, tmp_path):
    """By its number; one that is not there is named with those that are."""
    fill(small, [SNAPSHOT], session=8)
    (report,) = import_recording([small], tmp_path, session=8)
    assert report.session.name == "session-8"
    with pytest.raises(TapeError, match="has no session 9: 7, 8"):
        import_recording([small], tmp_path, session=9)
    with pytest.raises(TapeError, match="has no session '7'"):
        SessionLoader(small).load("7")


REFUSED = [
    ("UPDATE rl_orderbook_deltas SET side = 'maybe' WHERE sequence_number = 3",
     "side", "side is 'maybe', expected 'yes' or 'no'"),
    ("UPDATE rl_orderbook_deltas SET action = 'replace' WHERE sequence_number = 3",
     "action", "action is 'replace', expected 'add', 'update' or 'remove'"),
    ("UPDATE rl_orderbook_deltas SET old_size = 6 WHERE sequence_number = 3",
     "old_size", "old_size is 6, expected 7, which the rows before it leave at this price"),
    ("UPDATE rl_orderbook_deltas SET old_size = NULL WHERE sequence_number = 3",
     "size", "old_size is None, expected an integer from 0"),
    ("UPDATE rl_orderbook_deltas SET new_size = -1 WHERE sequence_number = 2",
     "size", "new_size is -1, expected an integer from 0"),
    ("UPDATE rl_orderbook_deltas SET new_size = 1 WHERE sequence_number = 3",
     "new_size", "new_size is 1, expected 0 or NULL where the action is 'remove'"),
    ("UPDATE rl_orderbook_deltas SET old_size = 1 WHERE sequence_number = 4",
     "old_size", "old_size is 1, expected 0 or NULL where the action is 'add'"),
    ("UPDATE rl_orderbook_deltas SET price = 100 WHERE sequence_number = 3",
     "price", "price is 100, expected an integer from 1 to 99"),
    ("UPDATE rl_orderbook_deltas SET sequence_number = 7 WHERE sequence_number = 5",
     "sequence", "sequence_number is 7, expected 5, that of the row before and one"),
    ("DELETE FROM rl_orderbook_deltas WHERE sequence_number = 3",
     "sequence", "sequence_number is 4, expected 3"),
    ("UPDATE rl_orderbook_deltas SET timestamp_ms = -1 WHERE sequence_number = 3",
     "wrong_type", "timestamp_ms is -1, expected an integer from 0"),
    ("UPDATE rl_orderbook_deltas SET timestamp_ms = NULL WHERE sequence_number = 5",
     "wrong_type", "timestamp_ms is None"),
    ("UPDATE rl_orderbook_snapshots SET yes_bids = '{\"40\": 10.5}'",
     "size", "yes_bids size at 40 is 10.5, expected an integer"),
    ("UPDATE rl_orderbook_snapshots SET yes_bids = '{\"40\": \"10\"}'",
     "size", "yes_bids size at 40 is '10', expected an integer"),
    ("UPDATE rl_orderbook_snapshots SET no_bids = '{\"40\": true}'",
     "size", "no_bids size at 40 is True, expected an integer"),
    ("UPDATE rl_orderbook_snapshots SET yes_bids = '{\"0.40\": 10}'",
     "price", "yes_bids price is '0.40', expected cents from 1 to 99"),
    ("UPDATE rl_orderbook_snapshots SET yes_bids = '{\"040\": 10}'",
     "price", "yes_bids price is '040', expected cents from 1 to 99"),
    ("UPDATE rl_orderbook_snapshots SET no_bids = '{\"100\": 10}'",
     "price", "no_bids price is 100, expected an integer from 1 to 99"),
    ("UPDATE rl_orderbook_snapshots SET no_bids = '[[40, 10]]'",
     "bids", "no_bids is [[40, 10]], expected an object"),
    ("UPDATE rl_orderbook_snapshots SET yes_bids = NULL",
     "bids", "yes_bids is None, expected an object"),
    ("UPDATE rl_orderbook_sessions SET market_tickers = '{KXB-1}'",
     "market", "market_tickers is without 'KXA-1'"),
    ("UPDATE rl_orderbook_sessions SET status = 'error'",
     "status", "status is 'error', expected one of closed, active"),
    ("UPDATE rl_orderbook_sessions SET status = NULL",
     "status", "status is None, expected one of closed, active"),
]


def test_what_is_wrong_is_refused_by_name(seed, tmp_path):
    """Table, market, row, field, value and what was expected, in one line; with keep_going it is
    counted, and the session's other market is there all the same."""
    other = [("KXB-1", 1000, 11, {"10": 1}, {}), ("KXB-1", 1001, 12, {"11": 1}, {})]
    fill(seed, other, session=9)
    for statement, reason, text in REFUSED:
        change(seed, "DELETE FROM rl_orderbook_sessions WHERE session_id = 7")
        change(seed, "DELETE FROM rl_orderbook_snapshots WHERE session_id = 7")
        change(seed, "DELETE FROM rl_orderbook_deltas WHERE session_id = 7")
        fill(seed, [SNAPSHOT], DELTAS)
        change(seed, f"{statement} AND session_id = 7" if " WHERE " in statement
               else f"{statement} WHERE session_id = 7")
        with pytest.raises(TapeError) as told:
            SessionLoader(seed).load(7)
        assert text in str(told.value), statement
        assert "rl_orderbook_" in str(told.value)
        assert "\n" not in str(told.value)
        with pytest.raises(TapeError):
            import_recording([seed], tmp_path / "strict")
        reports = import_recording([seed], tmp_path / "kept", keep_going=True)
        reasons = {key: count for report in reports for key, count in report.reasons.items()}
        assert reasons.get(reason), (statement, reasons)
        assert reports[-1].session.name == "session-9"


def test_a_hole_ends_the_trust_until_the_next_snapshot(seed, tmp_path):
    """Row 3 is missing. By hand: row 4 shows it and is refused, row 5 falls into the gap, and the
    snapshot at 1010 recovers the book."""
    fill(seed, [SNAPSHOT, ("KXA-1", 1010, 6, {"30": 1}, {"60": 2})],
         [each for each in DELTAS if each[2] != 3])
    (report,) = import_recording([seed], tmp_path, keep_going=True)
    assert (report.reasons, report.gaps) == ({"sequence": 1}, 1)
    assert report.left_out == {"in_gap": 1}
    session = sessions.load(report.session)
    kinds = [kind for _, kind, *_ in rows_of(session)]
    assert kinds[6:] == ["INCREASE", "GAP", "SNAPSHOT", "SNAPSHOT_LEVEL", "SNAPSHOT_LEVEL",
                         "RECOVERED"]
    assert sessions.book_at(session, 0, 1005 * MS) == {"yes_bids": [], "yes_asks": []}
    assert sessions.book_at(session, 0, 1010 * MS) == {
        "yes_bids": [["0.3000", "1.00"]], "yes_asks": [["0.4000", "2.00"]]}


def test_a_hole_in_the_count_of_a_session_concerns_all_its_markets(seed, tmp_path):
    """Numbers 1 to 7 over two markets, and 5 is missing: both books are lost at its time. If they
    were counted in each market, there would be more holes; told to, that is what is found."""
    fill(seed, [("KXA-1", 1000, 1, {"40": 1}, {}), ("KXB-1", 1000, 2, {"40": 1}, {})],
         [("KXA-1", 1001, 3, "yes", "update", 40, 1, 2),
          ("KXB-1", 1001, 4, "yes", "update", 40, 1, 2),
          ("KXB-1", 1003, 6, "yes", "update", 40, 2, 3),
          ("KXA-1", 1004, 7, "yes", "update", 40, 2, 3)])
    (report,) = import_recording([seed], tmp_path, keep_going=True)
    assert (report.reasons, report.gaps, report.left_out) == ({"sequence": 1}, 2, {"in_gap": 1})
    (report,) = import_recording([seed], tmp_path, keep_going=True, seq_scope="market")
    assert (report.reasons, report.gaps) == ({"sequence": 4}, 2)


def test_numbers_may_count_in_each_market(seed):
    """Two markets share numbers: so they count in each, and nothing is missing."""
    fill(seed, [SNAPSHOT, ("KXB-1", 1000, 1, {"10": 1}, {})],
         [*DELTAS, ("KXB-1", 1001, 2, "yes", "remove", 10, 1, None)])
    session = SessionLoader(seed).load(7)
    assert len(session.markets) == 2
    with pytest.raises(TapeError, match="sequence_number 1 is in several markets"):
        SessionLoader(seed, seq_scope="session").load(7)
    with pytest.raises(ValueError, match="seq_scope: 'subscription', expected"):
        SessionLoader(seed, seq_scope="subscription").load(7)


def test_snapshots_within_a_session(seed, tmp_path):
    """One with the number of the row before it must state the book that this has left; one whose
    number falls begins a new count, and what was between is a gap."""
    restated = ("KXA-1", 1002, 3, {"40": 100, "42": 8}, {"50": 30})
    again = ("KXA-1", 2000, 1, {"20": 1}, {"70": 2})
    fill(seed, [SNAPSHOT, restated, again], DELTAS)
    (report,) = import_recording([seed], tmp_path)
    assert (report.gaps, report.rejected, report.counts["snapshots"]) == (1, 0, 3)
    change(seed, "UPDATE rl_orderbook_snapshots SET no_bids = '{\"50\": 31}' "
                 "WHERE sequence_number = 3")
    with pytest.raises(TapeError, match="no_bids size at 50 is 31, expected 30, which the rows"):
        import_recording([seed], tmp_path)


def test_deltas_that_nothing_anchors_are_left_out(seed, tmp_path):
    """Before the first snapshot; and of equal numbers the second. Both are counted."""
    first = ("KXA-1", 999, 0, "yes", "update", 42, 1, 5)
    fill(seed, [SNAPSHOT], [first, *DELTAS, DELTAS[-1]])
    (report,) = import_recording([seed], tmp_path)
    assert report.left_out == {"unanchored": 1, "duplicate": 1}
    assert (report.events, report.read, report.rejected) == (10, 7, 0)


def test_a_book_that_is_crossed_is_not_trusted(seed, tmp_path):
    """A YES bid at 60 against a NO bid at 45 (an ask at 55) at the end of a moment: a gap."""
    fill(seed, [SNAPSHOT], [("KXA-1", 1001, 2, "yes", "add", 60, 0, 1),
                            ("KXA-1", 1002, 3, "yes", "remove", 60, 1, 0)])
    (report,) = import_recording([seed], tmp_path)
    assert (report.gaps, report.left_out) == (1, {"in_gap": 1})


def test_tables_that_are_not_the_ones_are_named(database, seed):
    """A missing table, and a column that was renamed, with those that are there."""
    change(seed, "ALTER TABLE rl_orderbook_deltas RENAME COLUMN new_size TO size")
    with pytest.raises(TapeError, match=r"rl_orderbook_deltas has no column new_size; it has act"):
        SessionLoader(seed).load(7)
    change(seed, "DROP TABLE rl_orderbook_snapshots")
    with pytest.raises(TapeError, match="has no table rl_orderbook_snapshots"):
        SessionLoader(seed).load(7)
    with pytest.raises(CatalogueError, match="cannot be reached"):
        SessionLoader("postgresql://127.0.0.1:1/nowhere").load(7)


def test_a_failed_import_leaves_what_was_there(small, tmp_path):
    """The session of an earlier import stays, and no temporary of the failed one."""
    import_recording([small], tmp_path)
    before = sessions.load(tmp_path / "session-7")
    change(small, "UPDATE rl_orderbook_deltas SET side = 'x' WHERE sequence_number = 5")
    with pytest.raises(TapeError):
        import_recording([small], tmp_path)
    assert sessions.load(tmp_path / "session-7") == before
    assert [path.name for path in tmp_path.iterdir()] == ["session-7"]


def test_the_command_takes_a_url(small, tmp_path, capsys):
    """`foldbook import seed-postgres URL --to DIR`; an option of another importer is refused."""
    assert cli.main(["import", "seed-postgres", small, "--to", str(tmp_path), "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)["sessions"]
    assert (report["session"], report["read"], report["joined"], report["rejected"]) == (
        str(tmp_path / "session-7"), 5, 0, 0)
    arguments = ["import", "seed-postgres", small, "--to", str(tmp_path), "--exclude-own"]
    assert cli.main(arguments) == 2
    assert "exclude-own" in capsys.readouterr().err


def test_headline_size(seed, tmp_path):
    """500 markets and 47,851 moments, in one session: every market's last book is that of a dict
    which was kept while they were drawn, and every row is on the tape or an unchanged one."""
    snapshots, deltas, books = drawn(20, 500, 47_851)
    fill(seed, snapshots, deltas)
    (report,) = import_recording([seed], tmp_path)
    assert (report.read, report.rejected, report.gaps) == (48_351, 0, 0)
    session = sessions.load(report.session)
    assert len(session.markets) == 500
    per_kind = [int((session.tape.rows["kind"] == kind).sum()) for kind in K]
    unchanged = sum(old == new for *_, old, new in deltas)
    assert report.left_out == ({"unchanged": unchanged} if unchanged else {})
    assert per_kind[K.SNAPSHOT] == 500
    assert per_kind[K.SNAPSHOT_LEVEL] == 500 * 20
    assert per_kind[K.INCREASE] + per_kind[K.DECREASE] == 47_851 - unchanged
    for ticker, book in books.items():
        found = sessions.book_at(session, ticker, session.end)
        bids = {price: size for (side, price), size in book.items() if side == "yes" and size}
        asks = {100 - price: size for (side, price), size in book.items() if side == "no" and size}
        assert found == {
            "yes_bids": [[f"0.{price:02d}00", f"{bids[price]}.00"]
                         for price in sorted(bids, reverse=True)],
            "yes_asks": [[f"0.{price:02d}00", f"{asks[price]}.00"] for price in sorted(asks)],
        }
