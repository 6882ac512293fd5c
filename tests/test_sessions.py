"""Sessions on disk: what was saved is what is loaded, and damage is named."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from foldbook.adapters import sessions, synthetic
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market

K = TapeKind


def rows_of(*lines: tuple[int, ...]) -> np.ndarray:
    """Return tape rows from (ts, recv, kind, side, price, qty, flags, market)."""
    rows = np.zeros(len(lines), TAPE_DTYPE)
    for row, (ts, recv, kind, side, price, qty, flags, market) in zip(rows, lines, strict=True):
        row["ts"], row["recv"], row["kind"], row["side"] = ts, recv, kind, side
        row["price"], row["qty"], row["flags"], row["market"] = price, qty, flags, market
    return rows


ROWS = rows_of(
    (10, 11, K.SNAPSHOT, 0, 0, 0, 0, 0),
    (10, 11, K.SNAPSHOT_LEVEL, Side.BUY, 4000, 10_000, 0, 0),
    (10, 11, K.SNAPSHOT_LEVEL, Side.BUY, 4200, 12_000, 0, 0),
    (10, 11, K.SNAPSHOT_LEVEL, Side.SELL, 4500, 500, 0, 0),
    (20, 31, K.SNAPSHOT, 0, 0, 0, 0, 1),
    (30, 41, K.TRADE, Side.SELL, 4500, 200, TapeFlag.JOINED, 0),
    (30, 32, K.DECREASE, Side.SELL, 4500, 200, 0, 0),
    (40, 42, K.INCREASE, Side.BUY, 4200, 5, 0, 0),
    (50, 52, K.DECREASE, Side.SELL, 4500, 300, 0, 0),
    (60, 62, K.GAP, 0, 0, 0, 0, 0),
    (70, 72, K.SNAPSHOT, 0, 0, 0, 0, 0),
    (70, 72, K.SNAPSHOT_LEVEL, Side.SELL, 6000, 100, 0, 0),
    (70, 72, K.RECOVERED, 0, 0, 0, 0, 0),
    (80, 82, K.STATUS, 0, 0, MarketStatus.CLOSED, 0, 0),
    (90, 92, K.STATUS, 0, 10_000, MarketStatus.SETTLED, 0, 0),
)


@pytest.fixture
def session() -> Session:
    return Session(Tape(ROWS), (Market("KXA-1"), Market("KXB-1", 10)), name="two",
                   facts={"feed_offset_ns": 1})


def test_a_session_comes_back_as_it_was(session, tmp_path):
    """Rows, digest, markets, facts; its source is where it lies, and a pickle holds no tape."""
    saved = sessions.save(session, tmp_path / "s")
    loaded = sessions.load(tmp_path / "s")
    for other in (saved, loaded, pickle.loads(pickle.dumps(loaded))):
        assert other.tape.rows.tobytes() == ROWS.tobytes()
        assert (other.digest, other.markets, other.name) == (session.digest, session.markets, "two")
        assert dict(other.facts) == {"feed_offset_ns": 1}
        assert other.source == {"path": str(tmp_path / "s")}
    assert len(pickle.dumps(loaded)) < 500
    assert not loaded.tape.rows.flags.writeable
    assert np.load(tmp_path / "s/tape.npy").tobytes() == ROWS.tobytes()


def test_a_pickle_knows_that_its_session_was_replaced(tmp_path):
    """Another session at the same place is an error, also if it is one of its markets alone."""
    place = tmp_path / "s"
    kept = synthetic.session(seed=3, events=500, minutes=1, markets=2)
    loaded = sessions.save(kept, place)
    whole, part = pickle.dumps(loaded), pickle.dumps(loaded.select(0))
    sessions.save(synthetic.session(seed=4, events=500, minutes=1, markets=2), place)
    for held in (whole, part):
        with pytest.raises(TapeError, match=f"s: holds a session .* had {loaded.digest}"):
            pickle.loads(held)
    sessions.save(kept, place)
    assert [pickle.loads(held) == one for held, one in
            ((whole, loaded), (part, loaded.select(0)))] == [True, True]


def test_an_event_is_kept_and_its_absence_changes_nothing(session, tmp_path):
    """A market's event is stored and in the digest; files and digests without one are as ever."""
    assert session.digest.startswith("c335ef49ce14e62a")
    sessions.save(session, tmp_path / "s")
    about = json.loads((tmp_path / "s" / sessions.ABOUT_FILE).read_text())
    assert about["markets"] == [{"ticker": "KXA-1", "tick": 100}, {"ticker": "KXB-1", "tick": 10}]
    markets = (Market("KXA-1", event="KXA"), Market("KXB-1", 10))
    other = sessions.save(Session(session.tape, markets, name="two"), tmp_path / "s")
    assert other.markets == markets and other.digest != session.digest


def test_blocks_make_the_tape_that_the_whole_makes(session, tmp_path):
    """Written in pieces or at once, bytes and digest are the same."""
    sessions.save(session, tmp_path / "whole")
    sessions.write(tmp_path / "parts", "two", session.markets, [ROWS[:3], ROWS[3:3], ROWS[3:]],
                   facts=session.facts)
    for name in (sessions.TAPE_FILE, sessions.ABOUT_FILE, sessions.PORTABLE_FILE):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_failed_write_leaves_what_was_there(session, tmp_path):
    """The old session stays whole, and nothing half-written remains beside it."""
    sessions.save(session, tmp_path / "s")

    def blocks():
        yield ROWS[:2]
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        sessions.write(tmp_path / "s", "new", session.markets, blocks(), facts={})
    assert sessions.load(tmp_path / "s").digest == session.digest
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    sessions.write(tmp_path / "s", "new", session.markets, [ROWS[:4]], facts={})
    assert len(sessions.load(tmp_path / "s").tape) == 4


def test_an_unsound_tape_is_not_stored(session, tmp_path):
    """A tape that breaks the rules of the engine replaces nothing."""
    sessions.save(session, tmp_path / "s")
    with pytest.raises(TapeError, match="row 1 .*ts 10 is before ts 20"):
        sessions.write(tmp_path / "s", "new", session.markets, [ROWS[4:5], ROWS[:4]], facts={})
    assert sessions.load(tmp_path / "s").digest == session.digest


@pytest.mark.parametrize("last", [None, K.RECOVERED, K.TRADE, K.STATUS, K.GRID, K.FEE])
@pytest.mark.parametrize("more", [False, True])
def test_a_burst_that_ends_crossed_is_refused_whatever_its_last_row(last, more):
    """A bid of 45 cents at an ask of 45: named is the last row of the burst, in company too."""
    rows = [
        (10, 11, K.SNAPSHOT, 0, 0, 0, 0, 0),
        (10, 11, K.SNAPSHOT_LEVEL, Side.BUY, 4500, 100, 0, 0),
        (10, 11, K.SNAPSHOT_LEVEL, Side.SELL, 4500, 100, 0, 0),
    ]
    if last is not None:
        rows.append((10, 11, last, 0, 4500 - 4400 * (last == K.GRID), last == K.TRADE, 0, 0))
    ends = len(rows) - 1
    if more:
        rows.append((10, 12, K.SNAPSHOT, 0, 0, 0, 0, 1))
    tape = rows_of(*rows)
    tape["ahead"][tape["kind"] == K.GRID] = 100
    with pytest.raises(TapeError, match=f"row {ends} .KXA-1.: the book is crossed or locked"):
        Session(Tape(tape), (Market("KXA-1"), Market("KXB-1")), name="crossed")
    apart = tape[tape["price"] * (tape["kind"] == K.SNAPSHOT_LEVEL) * tape["side"] == 0]
    Session(Tape(apart), (Market("KXA-1"), Market("KXB-1")), name="one side alone")


def test_a_folder_that_is_no_session_is_not_replaced(session, tmp_path):
    """Somebody's other files are not ours to remove."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s/notes.txt").write_text("mine")
    with pytest.raises(TapeError, match="is no session: not replaced"):
        sessions.save(session, tmp_path / "s")
    assert (tmp_path / "s/notes.txt").read_text() == "mine"


def edit(path, **fields):
    about = json.loads((path / sessions.ABOUT_FILE).read_text()) | fields
    (path / sessions.ABOUT_FILE).write_text(json.dumps(about))


def test_damage_is_named(session, tmp_path):
    """Each error names the file, the field, what it is and what was expected."""
    path = tmp_path / "s"
    with pytest.raises(TapeError, match=r"is no session: tape.parquet is missing"):
        sessions.load(path)

    def damaged(text):
        with pytest.raises(TapeError, match=text):
            sessions.load(path)
        sessions.save(session, path)

    sessions.save(session, path)
    edit(path, format=99)
    damaged("session.json: format is 99, written by a newer version; this one reads up to 2")
    edit(path, schema=99)
    damaged("session.json: schema is 99, written by a newer version; this one reads up to")
    edit(path, events=7)
    damaged("session.json: events is 7, but 15 in tape.parquet: remove session.json")
    edit(path, events=-1)
    damaged("session.json: events is -1, but 15 in tape.parquet: remove session.json")
    edit(path, tape_digest="../../../home/mine")
    damaged("session.json: tape_digest is '../../../home/mine', expected 64 hex digits")
    edit(path, markets="none")
    damaged(r"session.json: Expected `array`, got `str` - at `\$.markets`")
    edit(path, markets=[{"ticker": "KXA-1", "tick": 3}])
    damaged("session.json: markets: tick: 3 does not divide one dollar")
    edit(path, markets=[{"ticker": "KXA-1", "tick": 100}, {"ticker": "KXC-1", "tick": 10}])
    damaged("session.json: digest is .*, but that of its markets and its tape is")
    (path / sessions.ABOUT_FILE).write_text("{")
    damaged("session.json: Input data was truncated")
    (path / sessions.PORTABLE_FILE).unlink()
    damaged(r"tape.parquet: is missing")
    text = (path / sessions.PORTABLE_FILE).read_bytes()
    (path / sessions.PORTABLE_FILE).write_bytes(text[:-1])
    damaged(r"tape.parquet: is truncated or no Parquet file")


@pytest.fixture
def old(session, tmp_path):
    """A session of format 1, as earlier versions wrote it: its folder."""
    path = tmp_path / "old"
    path.mkdir()
    np.save(path / sessions.TAPE_FILE, ROWS)
    about = {
        "format": 1, "name": "two",
        "markets": [{"ticker": "KXA-1", "tick": 100}, {"ticker": "KXB-1", "tick": 10}],
        "events": 15, "tape_digest": session.tape.digest, "facts": {"feed_offset_ns": 1},
    }  # fmt: skip
    (path / sessions.ABOUT_FILE).write_text(json.dumps(about))
    return path


def test_a_session_of_format_1_is_read_and_saved_as_one_of_today(session, old):
    """Same digest, markets and facts; reading it changes nothing in its folder."""
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    loaded = sessions.load(old)
    assert (loaded.digest, loaded.markets, loaded.name) == (session.digest, session.markets, "two")
    assert dict(loaded.facts) == {"feed_offset_ns": 1}
    sessions.verify_digest(loaded)
    sessions.verify_portable(old)
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    assert sessions.save(loaded, old).digest == session.digest
    assert {path.name for path in old.iterdir()} == {"session.json", "tape.npy", "tape.parquet"}
    assert json.loads((old / sessions.ABOUT_FILE).read_text())["format"] == 2


def test_damage_of_format_1_is_named(old):
    """Its tape cannot be made anew, so that whatever is wrong with it is an error."""
    tape = old / sessions.TAPE_FILE
    whole = tape.read_bytes()
    edit(old, events=7)
    with pytest.raises(TapeError, match=r"session.json: events is 7, but tape.npy has 15 rows"):
        sessions.load(old)
    tape.write_bytes(whole[:-1])
    with pytest.raises(TapeError, match=r"tape.npy: is truncated or not a tape"):
        sessions.load(old)
    np.save(tape, np.zeros(15))
    with pytest.raises(TapeError, match=r"rows are float64 of shape \(15,\), not TAPE_DTYPE"):
        sessions.load(old)
    tape.unlink()
    with pytest.raises(TapeError, match=r"tape.npy: is missing"):
        sessions.load(old)


def test_a_changed_tape_is_found_when_asked(session, tmp_path):
    """Loading hashes nothing; verify_digest does."""
    sessions.verify_digest(sessions.save(session, tmp_path / "s"))
    path = tmp_path / "s" / sessions.TAPE_FILE
    text = bytearray(path.read_bytes())
    text[-40] ^= 1
    path.write_bytes(text)
    with pytest.raises(TapeError, match="its rows were changed"):
        sessions.verify_digest(sessions.load(tmp_path / "s"))


@pytest.mark.parametrize(
    ("ts", "bids", "asks"),
    [
        (9, [], []),
        (10, [["0.4200", "120.00"], ["0.4000", "100.00"]], [["0.4500", "5.00"]]),
        (30, [["0.4200", "120.00"], ["0.4000", "100.00"]], [["0.4500", "3.00"]]),
        (50, [["0.4200", "120.05"], ["0.4000", "100.00"]], []),
        (60, [], []),
        (70, [], [["0.6000", "1.00"]]),
        (80, [], []),
    ],
)
def test_the_book_at_a_time_is_the_one_after_every_row_up_to_it(session, ts, bids, asks):
    """Best first; empty before the snapshot, in a gap and after the close."""
    assert sessions.book_at(session, "KXA-1", ts) == {"yes_bids": bids, "yes_asks": asks}


def test_what_comes_after_the_close_stands_until_the_settlement(session):
    """Only the row that closes empties the book (semantics, section 7); a later status does not."""
    level = rows_of((85, 87, K.SNAPSHOT_LEVEL, Side.BUY, 700, 300, 0, 0))
    snapshot = rows_of((85, 87, K.SNAPSHOT, 0, 0, 0, 0, 0))
    late = Session(Tape(np.concatenate([ROWS[:-1], snapshot, level, ROWS[-1:]])), session.markets,
                   name="late")
    for ts, clock in ((90, "exchange"), (92, "receive")):
        assert sessions.book_at(late, 0, ts, clock=clock)["yes_bids"] == [["0.0700", "3.00"]]
    assert sessions.book_at(late, 0, 80) == {"yes_bids": [], "yes_asks": []}


def test_the_book_on_the_receive_clock_knows_what_was_received(session):
    """The decrease of ts 30 was received at 32."""
    asks = [sessions.book_at(session, 0, ts, clock="receive")["yes_asks"] for ts in (31, 32)]
    assert asks == [[["0.4500", "5.00"]], [["0.4500", "3.00"]]]
    with pytest.raises(ValueError, match="neither"):
        sessions.book_at(session, 0, 1, clock="wall")


def test_a_description_counts_what_the_tape_holds(session):
    """Contract fields; raw counts come from the facts of a recording, else from the rows."""
    found = sessions.describe(session)
    assert {name: found[name] for name in
            ("events", "snapshots", "deltas", "trades", "gaps", "joined_trades")} == {
        "events": 15, "snapshots": 3, "deltas": 3, "trades": 1, "gaps": 1, "joined_trades": 1}
    assert found["digest"] == session.digest
    listed = [{name: value for name, value in each.items() if name not in ("facts", "quality")}
              for each in found["markets"]]
    assert listed == [
        {"ticker": "KXA-1", "first_ts": 10, "last_ts": 90, "tick": "0.0100", "status": "settled",
         "result": "yes", "payout": "1.0000", "events": 14, "gaps": 1},
        {"ticker": "KXB-1", "first_ts": 20, "last_ts": 20, "tick": "0.0010", "status": "open",
         "result": None, "payout": None, "events": 1, "gaps": 0},
    ]
    raw = Session(Tape(ROWS), session.markets, name="two",
                  facts={"raw": {"snapshots": 4, "deltas": 9, "trades": 2}})
    counted = sessions.describe(raw)
    assert (counted["snapshots"], counted["deltas"], counted["trades"]) == (4, 9, 2)
    assert [each["facts"]["events"] for each in found["markets"]] == [14, 1]
    assert 0 <= found["quality"]["score"] <= 1
    json.dumps(counted, allow_nan=False)


def test_a_session_without_trades_says_what_that_means(session):
    """Maker fills are then beyond the record."""
    quiet = Session(Tape(ROWS[:4]), session.markets, name="quiet")
    reasons = sessions.describe(quiet)["quality"]["reasons"]
    assert "no trade channel, or nobody traded: maker fills are beyond the record" in reasons
