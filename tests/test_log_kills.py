"""Recorders and compactions that are killed: all that was acknowledged is there, and no more.

FOLDBOOK_KILLS=200 pytest tests/test_log_kills.py kills each at two hundred moments.
"""

from __future__ import annotations

import json
import shutil

import pytest
from kills import kill_at_random, kill_before_each_change
from logs import frames_in, heard, segments
from test_kalshi_ws import BOOK, delta, numbered, snapshot, trade

from foldbook.adapters import sessions
from foldbook.adapters.log import Frame, Fsync, Reader, Writer, compact, recover

APPENDED = [
    heard(number, b"%d" % number * (100_000 if number % 8 == 5 else 20)) for number in range(24)
]
"""Some are so large that a kill can land within the write of one."""


def record(folder, witness):
    """Write a log, and say after each frame how many are acknowledged."""
    witness.begins()
    with Writer(folder / "log", fsync=Fsync.EACH, segment_bytes=150_000) as writer:
        for number in range(0, len(APPENDED), 2):
            writer.append(APPENDED[number])
            witness.says(str(writer.durable))
            writer.append_all(APPENDED[number + 1 : number + 2])
            witness.says(str(writer.durable))


def kept_what_it_acknowledged(trial):
    """The log is a prefix of what was appended, with every frame that was acknowledged; the next
    start says what it cut, and goes on."""
    folder = trial.folder / "log"
    acknowledged = int(trial.told[-1]) if trial.told else 0
    if not (folder / "writer.lock").exists():
        assert not trial.told
        return
    found = frames_in(folder)
    assert found == APPENDED[: len(found)]
    assert len(found) >= acknowledged
    assert len(found) <= acknowledged + 1, "only the frame in hand may be there unacknowledged"
    before = sum(path.stat().st_size for path in segments(folder))
    mended = recover(folder)
    after = sum(path.stat().st_size for path in segments(folder))
    assert sum(tail.bytes for tail in mended.cut) == before - after
    assert len(mended.lines()) == len(mended.cut)
    with Writer(folder) as writer:
        writer.append_all(APPENDED[len(found) :])
    assert frames_in(folder) == APPENDED


def test_a_recorder_that_is_killed_loses_nothing_acknowledged(tmp_path):
    """At random moments, at least half of them while it writes."""
    kill_at_random("test_log_kills:record", tmp_path, kept_what_it_acknowledged, seed=1)


def test_a_recorder_may_die_before_each_change_of_its_folder(tmp_path):
    """Lock, and each of its segments: there is no state between that a start cannot mend."""
    steps = kill_before_each_change("test_log_kills:record", tmp_path, kept_what_it_acknowledged)
    assert steps > 5


def recording():
    """Return the frames of a small recording of one market."""
    lines = [snapshot(0, *BOOK)]
    for number in range(40):
        lines += [
            delta(20 + 10 * number, 10_000 * (number + 1), "yes", "0.3000", "7.00"),
            delta(25 + 10 * number, 10_000 * (number + 1) + 5000, "no", "0.5000", "-1.00"),
            trade(26 + 10 * number, 10 * (number + 1) + 5, "yes", "0.5000", "1.00"),
        ]
    return [
        Frame(line["recv_ms"] * 1_000_000, 0, json.dumps(line["event"]).encode())
        for line in numbered(lines)
    ]


RECORDED = recording()
MARKET = "KXA-1"


def make_sessions(folder, witness):
    """Compact a log over a session that was there before, and remove the log's segments."""
    with Writer(folder / "log", fsync=Fsync.NEVER, segment_bytes=6000) as writer:
        writer.append_all(RECORDED[:30])
        compact(folder / "log", folder / "sessions")
        writer.append_all(RECORDED[30:])
    witness.says(sessions.load(folder / "sessions" / MARKET).digest)
    witness.begins()
    done = compact(folder / "log", folder / "sessions", remove=True)
    witness.says(f"removed {len(done.removed)}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The digest of the session of all frames."""
    folder = tmp_path_factory.mktemp("whole")
    with Writer(folder / "log", fsync=Fsync.NEVER) as writer:
        writer.append_all(RECORDED)
    compact(folder / "log", folder / "sessions")
    return sessions.load(folder / "sessions" / MARKET).digest


@pytest.fixture
def log_or_session(whole):
    """A check: the log is intact or the session whole, and the next start brings the rest about."""

    def check(trial):
        log, to = trial.folder / "log", trial.folder / "sessions"
        held = []
        with Reader(log) as reader:
            held = [frame for _, frame in reader.read()]
        session = to / MARKET
        if session.exists():
            found = sessions.load(session)
            sessions.verify_digest(found)
            assert found.digest in (trial.told[0], whole)
        if held != RECORDED:
            assert sessions.load(session).digest == whole
            assert held == RECORDED[len(RECORDED) - len(held) :], "the oldest go first"
        if trial.is_done:
            assert (held, trial.told[1]) == ([], "removed 6")
        left = [path.name for path in to.iterdir() if path.name != MARKET]
        plan = (log / "compaction.json").exists()
        assert plan or not left
        said = []
        if held or plan:
            again = compact(log, to, remove=True, say=said.append)
            assert again.mended[: len(said)] == tuple(said)
        assert bool(said) == plan
        assert any(name in sentence for name in left for sentence in said) == bool(left)
        assert sessions.load(session).digest == whole
        assert [path.name for path in to.iterdir()] == [MARKET]
        assert {path.suffix for path in log.iterdir()} == {".segment", ".lock"}
        with Reader(log) as reader:
            assert list(reader.read()) == []
            assert reader.next == len(RECORDED)
        shutil.rmtree(trial.folder)

    return check


def test_a_compaction_that_is_killed_leaves_the_log_or_the_session(tmp_path, log_or_session):
    """At random moments, at least half of them while it works."""
    kill_at_random("test_log_kills:make_sessions", tmp_path, log_or_session, seed=2)


def test_a_compaction_may_die_before_each_change_of_a_folder(tmp_path, log_or_session):
    """Each file it makes, renames and removes, those of the importer included."""
    steps = kill_before_each_change("test_log_kills:make_sessions", tmp_path, log_or_session)
    assert steps > 20
