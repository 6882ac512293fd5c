"""The doctor: each problem is found where it is and nowhere else, and damage is explained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import numpy as np
import pytest
from recorded import BTC, GOLD, needs_recordings
from tapes import START_TS, TapeBuilder

from foldbook.adapters import cli, sessions, synthetic
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.adapters.sessions import Problem, Severity
from foldbook.adapters.sessions.doctor import RULES
from foldbook.adapters.sessions.findings import MEANINGS, PLACES_MAX
from foldbook.engine.kernels import check
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market
from foldbook.engine.units import MILLISECOND, SECOND

K = TapeKind
MARKETS = (Market("KXA-1"),)


def healthy() -> np.ndarray:
    """Return a tape with nothing wrong: 120 s, a change each 0.1 s, one trade, closed, settled.

    Row 0 is the snapshot, row 3 the first change; row 3 + n stands at 0.1 s * (n + 1).
    """
    tape = TapeBuilder()

    def add(ms: int, *fields: int, **more: int) -> None:
        ts = START_TS + ms * MILLISECOND
        tape.add(ts, *fields, recv=ts + 20 * MILLISECOND, **more)

    add(0, K.SNAPSHOT)
    add(0, K.SNAPSHOT_LEVEL, Side.BUY, 4000, 100_000)
    add(0, K.SNAPSHOT_LEVEL, Side.SELL, 4200, 100_000)
    for n in range(1200):
        add(100 * (n + 1), K.INCREASE if n % 2 else K.DECREASE, Side.BUY, 4000, 10)
    add(120_100, K.TRADE, Side.SELL, 4200, 10, flags=TapeFlag.JOINED)
    add(120_100, K.DECREASE, Side.SELL, 4200, 10)
    add(120_200, K.STATUS, qty=MarketStatus.CLOSED)
    add(180_000, K.STATUS, qty=MarketStatus.SETTLED, price=10_000)
    return tape.rows()


def found_in(rows: np.ndarray, tmp_path, markets=MARKETS, **facts) -> list:
    """Return what the doctor finds in a stored session with these rows."""
    path = tmp_path / "s"
    sessions.save(Session(Tape(rows), markets, name="s", facts=facts), path)
    return list(sessions.diagnose([path]).findings)


def test_a_healthy_session_has_no_findings(tmp_path):
    """Not even a note; a generated session neither."""
    assert found_in(healthy(), tmp_path) == []
    sessions.save(synthetic.session(seed=1, events=3000, minutes=5), tmp_path / "t")
    assert sessions.diagnose([tmp_path]).findings == ()


def at(rows: np.ndarray, row: int, *fields: int, **more: int) -> np.ndarray:
    """Return the tape with one more row before `row`, at the times of the row before it."""
    new = np.zeros(1, TAPE_DTYPE)
    new["ts"], new["recv"] = rows["ts"][row - 1], rows["recv"][row - 1]
    for name, value in zip(("kind", "side", "price", "qty"), fields, strict=False):
        new[name] = value
    for name, value in more.items():
        new[name] = value
    return np.concatenate([rows[:row], new, rows[row:]])


def edited(column: str, rows: slice | int, change: Callable) -> Callable:
    def edit(tape: np.ndarray) -> np.ndarray:
        tape[column][rows] = change(tape[column][rows])
        return tape
    return edit


def without(kind: TapeKind, *, last: int = 1) -> Callable:
    return lambda tape: np.delete(tape, np.flatnonzero(tape["kind"] == kind)[-last:])


def lose(tape: np.ndarray) -> np.ndarray:
    """A gap after row 100; 10 s later a snapshot."""
    tape = at(tape, 101, K.GAP)
    tape = np.delete(tape, slice(102, 202))
    for fields in ((K.RECOVERED,), (K.SNAPSHOT_LEVEL, Side.SELL, 4200, 100_000),
                   (K.SNAPSHOT_LEVEL, Side.BUY, 4000, 100_000), (K.SNAPSHOT,)):
        tape = at(tape, 102, *fields, ts=tape["ts"][102], recv=tape["recv"][102])
    return tape


def crossing(ask: int, times: int = 1) -> Callable:
    """At row 200 and each second after it: an ask at `ask` that is gone when the burst is over."""
    def edit(tape: np.ndarray) -> np.ndarray:
        for number in range(times):
            row = 200 + 12 * number
            tape = at(tape, row, K.DECREASE, Side.SELL, ask, 5, flags=TapeFlag.GUESSED)
            tape = at(tape, row, K.INCREASE, Side.SELL, ask, 5)
        return tape
    return edit


def silent(tape: np.ndarray) -> np.ndarray:
    """Rows 400 to 1102 are missing: 70.3 s."""
    return np.delete(tape, slice(400, 1102))


def stray_trades(count: int) -> Callable:
    def edit(tape: np.ndarray) -> np.ndarray:
        for _ in range(count):
            tape = at(tape, 300, K.TRADE, Side.SELL, 4200, 10, flags=TapeFlag.UNJOINED)
        return tape
    return edit


def guess(tape: np.ndarray) -> np.ndarray:
    tape["flags"][tape["kind"] == K.DECREASE] |= TapeFlag.GUESSED
    return tape


def late_start(tape: np.ndarray) -> np.ndarray:
    return at(tape, 1, K.GRID, 0, 100, 0, ahead=100)[[1, 0, *range(2, len(tape) + 1)]]


def begin_with_a_rule(tape: np.ndarray) -> np.ndarray:
    """A FEE row two seconds before the snapshot."""
    first = np.zeros(1, TAPE_DTYPE)
    first["kind"], first["qty"] = K.FEE, 70_000
    first["ts"], first["recv"] = tape["ts"][0] - 2 * SECOND, tape["recv"][0] - 2 * SECOND
    return np.concatenate([first, tape])


WARNING, NOTE = Severity.WARNING, Severity.NOTE
ILL = [
    (Problem.GAP, WARNING, lose, 101, "lost once: the book is not trusted for 10.100 s"),
    (Problem.SILENCE, WARNING, silent, 399, "for more than 60 s once, at most for 70.3 s"),
    (Problem.CROSSED, NOTE, crossing(3900), 200, "1 of 1204 bursts pass through a crossed book"),
    (Problem.LOCKED, NOTE, crossing(4000), 200, "1 of 1204 bursts pass through a locked book"),
    (Problem.CROSSED, WARNING, crossing(3900, 13), 200, "13 of 1204 bursts"),
    (Problem.LOCKED, WARNING, crossing(4000, 13), 200, "13 of 1204 bursts"),
    (Problem.SIZE, WARNING, edited("qty", 2, lambda _: 10**10 + 1), 2,
     "levels of up to 100000000.01 contracts, at 0.4200"),
    (Problem.UNJOINED, WARNING, stray_trades(1), 300, "1 of 2 trades join no decrease"),
    (Problem.PLACE, WARNING, edited("ahead", 5, lambda _: 100_000), 5,
     "the first 1000.00 of 999.90 contracts"),
    (Problem.RECEIPTS_FALL, WARNING, edited("recv", 50, lambda recv: recv + 150 * MILLISECOND), 51,
     "1 rows are received before the row before them, by up to 50.000 ms"),
    (Problem.CLOCK_BEHIND, WARNING,
     edited("recv", slice(None), lambda recv: recv - 121 * MILLISECOND), 3,
     "by up to 101.000 ms; the median of receipt less event is -101.000 ms"),
    (Problem.CLOCK_BEHIND, NOTE, edited("recv", slice(None), lambda recv: recv - 30 * MILLISECOND),
     3, "100.0% of the changes are received before they happen"),
    (Problem.CLOCK_JUMP, WARNING,
     edited("recv", slice(303, None), lambda recv: recv + 51 * MILLISECOND), 303,
     "jumps once, by up to 51.000 ms"),
    (Problem.NO_RECEIPTS, WARNING, edited("recv", slice(None), lambda _: 0), None,
     "all rows are received at 0 ns"),
    (Problem.TIME, WARNING, edited("recv", slice(None), lambda recv: recv + 90_000 * SECOND), 0,
     "received more than a day from their time, the first 90000 s"),
    (Problem.TIME, WARNING, edited("ts", slice(0, 3), lambda _: -1), 0,
     "3 rows stand at no plausible time, such as -1 ns"),
    (Problem.NO_CLOSE, WARNING, without(K.STATUS, last=2), 1204, "the market is OPEN at the end"),
    (Problem.NO_RESULT, WARNING, without(K.STATUS), 1205, "its result is not on the tape"),
    (Problem.NO_TRADES, WARNING, without(K.TRADE), None, "there is no trade on the tape"),
    (Problem.UNANCHORED, NOTE, begin_with_a_rule, 1, "its first snapshot comes 2.000 s after"),
    (Problem.GUESSED, NOTE, guess, None, "a guess for 600 of 600 decreases"),
    (Problem.EMPTY, WARNING, lambda tape: tape[[0, 1, 2, -4, -3, -2, -1]][[0, 1, 2, 5, 6]], 0,
     "no time passes while the market is open"),
]  # fmt: skip
ALSO = {
    Problem.TIME: {Problem.SILENCE, Problem.CLOCK_BEHIND},
    Problem.EMPTY: {Problem.NO_TRADES},
    Problem.NO_TRADES: {Problem.GUESSED},
    Problem.SILENCE: set(),
}
"""What comes with a problem, because it is another side of it."""


@pytest.mark.parametrize(("problem", "severity", "edit", "row", "text"), ILL,
                         ids=[f"{case[0]}-{case[1].name.lower()}" for case in ILL])
def test_each_problem_is_found_and_no_other(problem, severity, edit, row, text, tmp_path):
    """In a tape with one thing wrong: its severity, its row and time, and its numbers."""
    rows = edit(healthy())
    if problem is Problem.EMPTY:
        rows["ts"][3:] = rows["ts"][0]
    findings = found_in(rows, tmp_path)
    [finding] = [each for each in findings if each.problem is problem]
    assert {each.problem for each in findings} - {problem} <= ALSO.get(problem, set())
    assert (finding.severity, finding.session) == (severity, str(tmp_path / "s"))
    assert text in finding.text
    assert [place.row for place in finding.places][:1] == ([] if row is None else [row])
    for place in finding.places:
        assert place.ts == rows["ts"][place.row]
    assert len(finding.places) <= min(PLACES_MAX, finding.count)


def test_what_the_importer_left_behind_is_found(tmp_path):
    """Refused lines, messages before the first snapshot, and no receive times."""
    findings = found_in(healthy(), tmp_path, rejected=3, left_out={"unanchored": 2},
                        receive_times=False)
    assert [(each.problem, each.severity, each.count) for each in findings] == [
        (Problem.REJECTED, WARNING, 3), (Problem.NO_RECEIPTS, WARNING, 1),
        (Problem.UNANCHORED, NOTE, 2)]


def test_quotes_off_the_grid_in_force_are_found(tmp_path):
    """The tick is 0.001, but from the first row on the venue's grid has cents in the middle."""
    rows = at(healthy(), 3, K.GRID, 0, 100, 1000, ahead=10)
    rows = at(rows, 4, K.INCREASE, Side.BUY, 1100, 10)
    rows = at(rows, 4, K.INCREASE, Side.BUY, 990, 10)
    assert found_in(rows, tmp_path, (Market("KXA-1", 10),)) == []
    rows = at(rows, 4, K.INCREASE, Side.BUY, 1010, 10)
    [finding] = found_in(rows, tmp_path, (Market("KXA-1", 10),))
    assert (finding.problem, finding.places[0].row) == (Problem.GRID, 4)
    assert "quotes are off the price grid in force, such as 0.1010" in finding.text


def test_usual_silence_is_only_a_note(tmp_path):
    """A market that waits for more than a minute again and again has lost nothing."""
    rows = healthy()
    rows = np.delete(rows, slice(103, 1203))
    times = np.arange(100, dtype=np.int64) * 65 * SECOND
    rows["ts"][3:103] += times
    rows["recv"][3:103] += times
    rows["ts"][103:] += times[-1]
    rows["recv"][103:] += times[-1]
    findings = found_in(rows, tmp_path)
    assert [(each.problem, each.severity) for each in findings] == [(Problem.SILENCE, NOTE)]
    assert "100 times, at most for 110.1 s, which is usual for it" in findings[0].text


def test_markets_without_rows_or_snapshot_are_found(tmp_path):
    """A session's other markets; and a session without any row."""
    markets = (*MARKETS, Market("KXB-1"), Market("KXC-1"))
    rows = healthy()
    rows = at(rows, 3, K.GRID, 0, 100, 0, ahead=100, market=2)
    findings = found_in(rows, tmp_path, markets)
    assert [(each.problem, each.market, each.severity) for each in findings] == [
        (Problem.UNANCHORED, "KXC-1", WARNING), (Problem.NO_CLOSE, "KXC-1", WARNING),
        (Problem.EMPTY, "KXB-1", NOTE)]
    assert [each.problem for each in found_in(rows[:0], tmp_path)] == [Problem.EMPTY, Problem.EMPTY]


def test_a_market_in_two_sessions_at_once_is_found(tmp_path):
    """Also when a longer one begins before both; times that do not meet are no fault."""
    rows = healthy()
    whole = Session(Tape(rows), MARKETS, name="s")
    middle = int(rows["ts"][600])
    sessions.save(whole, tmp_path / "a")
    part = sessions.slice_of(whole, since=int(rows["ts"][300]), until=middle)
    sessions.save(part, tmp_path / "b")
    sessions.save(sessions.slice_of(whole, since=middle), tmp_path / "c")
    twice = [each for each in sessions.diagnose([tmp_path]).findings
             if each.problem is Problem.DUPLICATE]
    assert [(each.session[-1], each.text.split()[-4][-1], each.market) for each in twice] == [
        ("b", "a", "KXA-1"), ("c", "a", "KXA-1")]
    assert not [each for each in sessions.diagnose([tmp_path / "b", tmp_path / "c"]).findings
                if each.problem is Problem.DUPLICATE]


# Damage.


def damaged(path) -> sessions.Finding:
    diagnosis = sessions.diagnose([path])
    assert not diagnosis.is_healthy
    [finding] = [each for each in diagnosis.findings if each.severity is Severity.ERROR]
    return finding


def test_damaged_files_are_found(tmp_path):
    """Cut short, missing, of a newer version, no JSON: what the loader says is the finding."""
    sessions.save(Session(Tape(healthy()), MARKETS, name="s"), tmp_path / "good")

    def copy(name):
        return shutil.copytree(tmp_path / "good", tmp_path / name)

    (copy("no-rows") / sessions.PORTABLE_FILE).unlink()
    cut = copy("cut") / sessions.PORTABLE_FILE
    cut.write_bytes(cut.read_bytes()[:-9])
    newer = copy("newer") / sessions.ABOUT_FILE
    newer.write_text(json.dumps(json.loads(newer.read_text()) | {"format": 99}))
    (copy("no-json") / sessions.ABOUT_FILE).write_text("{")
    store_unchecked(tmp_path / "twice", healthy())
    twice = tmp_path / "twice" / sessions.ABOUT_FILE
    listed = json.loads(twice.read_text())
    twice.write_text(json.dumps(listed | {"markets": listed["markets"] * 2}))
    for name, text in (("no-rows", "tape.parquet: is missing"), ("newer", "format is 99"),
                       ("no-json", "session.json"), ("twice", "each ticker once"),
                       ("cut", "tape.parquet: is truncated")):
        finding = damaged(tmp_path / name)
        assert (finding.problem, finding.session) == (Problem.FILE, str(tmp_path / name))
        assert text in finding.text
    assert len(sessions.diagnose([tmp_path]).sessions) == 6


def store_unchecked(path, rows: np.ndarray) -> None:
    """Store rows that no engine would take, as a broken writer might."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    np.save(path / sessions.TAPE_FILE, rows)
    about = {"format": 1, "name": "s", "markets": [{"ticker": "KXA-1", "tick": 100}],
             "events": len(rows), "tape_digest": sessions.digest_of([rows]), "facts": {}}
    (path / sessions.ABOUT_FILE).write_text(json.dumps(about))


def test_a_changed_row_is_found_by_the_digest(tmp_path):
    """The tape still keeps every rule; it is only not the one that was stored."""
    sessions.save(Session(Tape(healthy()), MARKETS, name="s"), tmp_path / "s")
    path = tmp_path / "s" / sessions.TAPE_FILE
    text = bytearray(path.read_bytes())
    place = len(text) - len(healthy()) * TAPE_DTYPE.itemsize + 2 * TAPE_DTYPE.itemsize
    text[place + 16] ^= 1  # the lowest byte of qty in row 2
    path.write_bytes(text)
    finding = damaged(tmp_path / "s")
    assert finding.problem is Problem.DIGEST
    assert "its rows were changed" in finding.text


def test_a_damaged_parquet_file_is_found_behind_a_sound_hot_form(tmp_path):
    """The session loads, as the rows are mapped; others who read the file would not."""
    sessions.save(Session(Tape(healthy()), MARKETS, name="s"), tmp_path / "s")
    path = tmp_path / "s" / sessions.PORTABLE_FILE
    text = bytearray(path.read_bytes())
    for place in range(100, 900):
        text[place] ^= 255
    path.write_bytes(text)
    assert len(sessions.load(tmp_path / "s").tape) == len(healthy())
    finding = damaged(tmp_path / "s")
    assert finding.problem is Problem.FILE and sessions.PORTABLE_FILE in finding.text
    alone = tmp_path / "alone.parquet"
    sessions.save(Session(Tape(healthy()), MARKETS, name="s"), tmp_path / "t")
    shutil.copy(tmp_path / "t" / sessions.PORTABLE_FILE, alone)
    assert sessions.diagnose([alone]).findings == ()


BROKEN = {
    check.BACKWARDS: edited("ts", 10, lambda ts: ts - SECOND),
    check.NO_SUCH_MARKET: edited("market", 10, lambda _: 7),
    check.NO_SUCH_KIND: edited("kind", 10, lambda _: 77),
    check.NO_SUCH_SIDE: edited("side", 10, lambda _: 2),
    check.OFF_GRID: edited("price", 10, lambda _: 4050),
    check.BAD_QTY: edited("qty", 10, lambda _: 0),
    check.BELOW_ZERO: lambda tape: at(tape, 10, K.DECREASE, Side.BUY, 3900, 5),
    check.UNTRUSTED: lambda tape: at(tape, 9, K.GAP),
    check.STRAY_LEVEL: edited("kind", 10, lambda _: K.SNAPSHOT_LEVEL),
    check.NOT_JOINED: lambda tape: at(tape, 10, K.TRADE, Side.BUY, 4000, 5, flags=TapeFlag.JOINED),
    check.CROSSED: lambda tape: at(tape, 10, K.INCREASE, Side.SELL, 4000, 5),
    check.BAD_STATUS: lambda tape: at(tape, 10, K.STATUS, 0, 0, 17),
    check.BAD_GRID: lambda tape: at(tape, 10, K.GRID, 0, 7, 0),
    check.BAD_FEE: lambda tape: at(tape, 10, K.FEE, 0, 0, -1),
    check.BAD_TERM: lambda tape: at(tape, 10, K.CLOSE_TIME, 0, 0, 0),
}


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_a_broken_rule_is_explained_with_its_row(fault, tmp_path):
    """Every rule of the engine, broken at row 10: which row, when, and what that says."""
    rows = BROKEN[fault](healthy())
    store_unchecked(tmp_path / "s", rows)
    finding = damaged(tmp_path / "s")
    assert (finding.problem, finding.places[0].row) == (Problem.RULE, 10)
    assert finding.places[0].ts == rows["ts"][10]
    assert "row 10 (" in finding.text and RULES[fault] in finding.text
    assert finding.market == (None if fault == check.NO_SUCH_MARKET else "KXA-1")


def test_every_rule_and_every_problem_is_explained():
    """None without words: the tables have an entry for each."""
    faults = {value for name, value in vars(check).items()
              if name.isupper() and not name.startswith("_") and isinstance(value, int)
              and name not in ("PPM", "PRICE_ONE", "QTY_MAX", "VALID")}
    assert {*RULES} == faults == {*BROKEN}
    assert {*MEANINGS} == {*Problem}
    assert {case[0] for case in ILL} | {
        Problem.FILE, Problem.DIGEST, Problem.RULE, Problem.DUPLICATE, Problem.REJECTED,
        Problem.GRID} == {*Problem}


# The command.


@pytest.fixture
def run(capsys):
    """A function that runs `foldbook doctor` and returns (status, stdout, stderr)."""

    def run(*arguments):
        status = cli.main(["doctor", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_the_exit_status_is_the_answer(tmp_path, run):
    """0 for nothing wrong or notes alone, 1 for problems, 2 for what is no session."""
    found_in(healthy(), tmp_path)
    assert run(tmp_path / "s") == (0, "1 session: 0 errors, 0 warnings, 0 notes\n", "")
    found_in(begin_with_a_rule(healthy()), tmp_path)
    assert run(tmp_path)[0] == 0
    assert "note" not in run(tmp_path, "--no-notes")[1].partition("1 session")[0]
    rows = lose(healthy())
    found_in(rows, tmp_path)
    status, out, _ = run(tmp_path / "s")
    assert status == 1
    assert "warning  KXA-1: events were lost once" in out
    assert "at row 101 (2025-07-31T22:13:29.800000000Z)" in out
    assert "means: the book is unknown" in out and "do: look at" in out
    status, out, _ = run(tmp_path, "--json")
    data = json.loads(out)
    assert (status, data["healthy"], data["warnings"]) == (1, False, 1)
    assert data["findings"][0]["rows"] == [101]
    assert {"problem", "severity", "market", "text", "effect", "advice", "ts"} <= {
        *data["findings"][0]}
    store_unchecked(tmp_path / "s", BROKEN[check.OFF_GRID](healthy()))
    assert run(tmp_path / "s")[0] == 1
    status, out, err = run(tmp_path / "nowhere")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and "nowhere: is no session" in err
    assert run("synthetic:3")[0] == 0
    (tmp_path / "empty").mkdir()
    assert "holds no session" in run(tmp_path / "empty")[2]


@needs_recordings
def test_real_recordings_are_described_truly(tmp_path):
    """Gold: nothing but the one restart; btc: the hour that is missing, and no trade channel."""
    tickers = ["KXGOLD15M-26AUG102130-30", "KXGOLD15M-26AUG101900-00"]
    import_recording([GOLD / "events" / ticker for ticker in tickers], tmp_path / "gold",
                     metadata=GOLD / "metadata")
    gold = sessions.diagnose([tmp_path / "gold"])
    assert [(each.problem, each.market, each.count) for each in gold.problems] == [
        (Problem.GAP, tickers[0], 1)]
    import_recording([BTC / "particle_residual_blend_oos_RESIDLOCK001"], tmp_path / "lost")
    import_recording([BTC / "rv600_next_evidence_shadow_20260515T190705Z"], tmp_path / "late")
    lost = sessions.diagnose([tmp_path / "lost"]).problems
    assert [each.count for each in lost if each.problem is Problem.GAP] == [1]
    assert sum(each.problem is Problem.NO_TRADES for each in lost) == 5
    late = [each for each in sessions.diagnose([tmp_path / "late"]).problems
            if each.problem is Problem.CLOCK_BEHIND]
    assert len(late) == 2 and "is -446.260 ms" in late[1].text
