"""`foldbook log`: what each command answers, its exit status, and one line for what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from isal import igzip
from logs import frames_in, heard, segments, written
from test_log_kills import MARKET, RECORDED

from foldbook.adapters import cli
from foldbook.adapters.cli import logs
from foldbook.adapters.log import Closed, Frame, Opened, Writer

FRAMES = [Opened(5, 1, "wss"), Frame(6, 1, b'{"type": "ok"}'), Frame(7, 2, b"\xff"), Closed(8, 1)]


@pytest.fixture
def run(capfd):
    """A function that runs `foldbook log` and returns (status, stdout, stderr)."""

    def run(*arguments):
        status = cli.main(["log", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run


@pytest.fixture
def answer(run):
    """A function that runs a command with --json and returns its object."""

    def answer(*arguments, status=0):
        found, out, err = run(*arguments, "--json")
        assert (found, out.count("\n")) == (status, 1), err
        return json.loads(out)

    return answer


def refused(found):
    """Return the one line of a command that could not be done."""
    status, out, err = found
    assert (status, out, err.count("\n")) == (2, "", 1), err
    return err


@pytest.mark.parametrize("name", sorted(logs.log.commands))
def test_help_has_an_example(run, name):
    """Each command explains itself, takes --json, and shows an example of itself."""
    status, out, _ = run(name, "--help")
    assert status == 0
    assert f"foldbook log {name}" in out.partition("Example:")[2]
    assert "--json" in out


def test_what_is_shown_can_be_appended(run, tmp_path):
    """`cat` of any log, piped into `append`, makes the same log, whatever its frames hold."""
    written(tmp_path / "log", FRAMES)
    status, out, _ = run("cat", tmp_path / "log")
    assert (status, out.count("\n")) == (0, 4)
    assert json.loads(out.splitlines()[1]) == {
        "recv_ts_ns": 6, "source": 1, "number": 1, "raw": '{"type": "ok"}'
    }
    (tmp_path / "lines").write_text(out)
    assert run("append", tmp_path / "again", tmp_path / "lines")[0] == 0
    assert frames_in(tmp_path / "again") == FRAMES


def test_recorders_lines_are_appended_untouched(run, answer, tmp_path):
    """Text of a message is kept to the byte, from three recorders' lines, gzip or stdin."""
    event = b'{"type":"ok",  "sid": 1}'
    with igzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(b'{"recv_ms": 3, "event": ' + event + b'}\n\n')
        file.write(b'{"received_ms": 4, "frame": ' + event + b'}\n')
    found = answer("append", tmp_path / "log", tmp_path / "a.gz", "--fsync", "each")
    assert (found["first"], found["next"]) == (0, 2)
    line = json.dumps({"recv_ts_ns": 5, "raw": event.decode(), "source": 7})
    ran = subprocess.run(
        [sys.executable, "-m", "foldbook.adapters.cli", "log", "append", str(tmp_path / "log")],
        input=line.encode(), capture_output=True, check=True,
    )
    assert b"appended 1 frames" in ran.stdout
    assert frames_in(tmp_path / "log") == [
        Frame(3_000_000, 0, event), Frame(4_000_000, 0, event), Frame(5, 7, event)
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("nonsense", "is no frame: JSON is malformed"),
        ('{"recv_ms": 3}', "is no frame: expected recv_ts_ns with raw"),
        ('{"recv_ts_ns": 3, "event": {}}', "is no frame: expected recv_ts_ns with raw"),
        ('{"recv_ms": 3, "recv_ts_ns": 3, "event": {}}', "is no frame: expected recv_ts_ns with"),
        ('{"recv_ts_ns": 3, "raw": "", "control": "opened"}', "is no frame: expected recv_ts_ns"),
        ('{"recv_ts_ns": 0, "raw": ""}', "Expected `int` >= 1"),
        ('{"recv_ts_ns": 1.5, "raw": ""}', "Expected `int | null`, got `float`"),
        ('{"recv_ms": 9999999999999999, "event": {}}', "Expected `int` <= 9000000000000"),
        ('{"recv_ts_ns": 3, "raw": "", "source": -1}', "Expected `int` >= 0 - at `$.source`"),
        ('{"recv_ts_ns": 3, "raw_base64": "?"}', "raw_base64 is no base64"),
        ('{"recv_ts_ns": 3, "control": "lost"}', "control is 'lost', expected opened, closed, "),
    ],
)
def test_a_line_that_is_no_frame_is_named(run, answer, tmp_path, line, text):
    """By file and row; those before it are appended. Told to keep going it is counted."""
    good = '{"recv_ts_ns": 3, "raw": "x"}\n'
    (tmp_path / "lines").write_text(f"{good}{line}\n{good}")
    said = refused(run("append", tmp_path / "log", tmp_path / "lines"))
    assert f"{tmp_path / 'lines'} row 2: " in said
    assert text in said
    assert said.endswith("1 frames before it were appended\n")
    assert frames_in(tmp_path / "log") == [Frame(3, 0, b"x")]
    found = answer("append", tmp_path / "log", tmp_path / "lines", "--keep-going")
    assert (found["first"], found["next"], found["rejected"]) == (1, 3, 1)
    assert text in found["examples"][0]


def test_info_says_what_a_log_holds(run, answer, tmp_path):
    """Counts, span, sources; who writes it, and what its writer has not finished."""
    with Writer(tmp_path / "log", segment_bytes=60, holder="recorder") as writer:
        writer.append_all(FRAMES)
        found = answer("info", tmp_path / "log")
        assert found["writer"] == f"recorder, process {os.getpid()}"
    size = sum(path.stat().st_size for path in segments(tmp_path / "log"))
    assert found | {"writer": None} == answer("info", tmp_path / "log") == {
        "log": str(tmp_path / "log"), "segments": len(segments(tmp_path / "log")), "bytes": size,
        "raw_bytes": 15, "first": 0, "next": 4, "sources": {"1": 3, "2": 1},
        "frames": {"frame": 2, "opened": 1, "closed": 1, "reconnected": 0},
        "first_recv": 5, "last_recv": 8, "writer": None, "compaction": None,
        "unfinished_compaction": False, "tails": [], "damage": [],
    }
    last = segments(tmp_path / "log")[-1]
    os.truncate(last, last.stat().st_size - 1)
    assert answer("info", tmp_path / "log")["tails"][0]["why"] == "it is cut short"
    segments(tmp_path / "log")[0].unlink()
    assert answer("info", tmp_path / "log")["first"] > 0


def test_damage_is_an_answer_of_info_and_an_error_of_the_others(run, answer, tmp_path):
    """Status 1 of info; elsewhere 2, and one line that says where, until told to keep going."""
    log = written(tmp_path / "log", [heard(number) for number in range(9)])
    path = segments(log)[0]
    text = bytearray(path.read_bytes())
    text[150] ^= 1
    path.write_bytes(text)
    [lost] = answer("info", log, status=1)["damage"]
    assert "is lost" in lost
    assert f"{path}: damaged at offset" in refused(run("recover", log))
    status, out, err = run("cat", log, "--keep-going")
    assert (status, out.count("\n"), err) == (0, 8, f"damaged: {lost}\n")
    assert len(answer("cat", log, "--keep-going")["frames"]) == 8
    assert len(answer("recover", log, "--keep-going")["damage"]) == 1


def test_recover_says_what_it_cut(run, answer, tmp_path):
    """The bytes, from where, and after which frame; and that there is nothing to mend after."""
    log = written(tmp_path / "log", [heard(0), heard(1)])
    size = segments(log)[0].stat().st_size
    os.truncate(segments(log)[0], size - 1)
    status, out, _ = run("recover", log)
    assert status == 0
    assert "cut: segment 0, offset 62: 27 bytes after frame 0: it is cut short" in out
    assert "the next frame is 1" in out
    assert "nothing to mend" in run("recover", log)[1]
    assert answer("recover", log)["cut"] == []


def test_cat_begins_and_stops_where_told(answer, run, tmp_path):
    """From a frame, so many; a frame that is not there is an error."""
    log = written(tmp_path / "log", [heard(number) for number in range(9)])
    found = answer("cat", log, "--from", 3, "--count", 2)["frames"]
    assert [each["number"] for each in found] == [3, 4]
    assert "frame 10 is not yet in the log" in refused(run("cat", log, "--from", 10))
    assert "is no log" in refused(run("cat", tmp_path))


def test_cat_follows_a_writer(tmp_path):
    """Another process shows each frame soon after it is appended, until it is stopped."""
    with Writer(tmp_path / "log") as writer:
        writer.append(heard(0))
        shows = subprocess.Popen(
            [sys.executable, "-m", "foldbook.adapters.cli", "log", "cat", "--follow",
             str(tmp_path / "log")],
            stdout=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            for number in range(3):
                assert json.loads(shows.stdout.readline())["number"] == number
                time.sleep(0.05)
                writer.append(heard(number + 1))
        finally:
            shows.terminate()
            shows.wait(timeout=20)
            shows.stdout.close()


def test_whoever_reads_cat_may_stop(tmp_path):
    """`foldbook log cat | head` ends without a word."""
    log = written(tmp_path / "log", [heard(number) for number in range(9000)])
    ran = subprocess.run(
        f"{sys.executable} -m foldbook.adapters.cli log cat {log} | head -1", shell=True,
        capture_output=True, check=True,
    )
    assert (ran.stdout.count(b"\n"), ran.stderr) == (1, b"")


def test_compact_makes_sessions(run, answer, tmp_path):
    """Its report is that of an import; it removes segments only when asked; status 1 if some had
    to stay."""
    log = written(tmp_path / "log", RECORDED)
    found = answer("compact", log, "--to", tmp_path / "to")
    assert [each["session"] for each in found["sessions"]] == [str(tmp_path / "to" / MARKET)]
    assert (found["heard"], found["removed"], found["kept"]) == (len(RECORDED), [], "")
    with Writer(log):
        status, out, _ = run("compact", log, "--to", tmp_path / "to", "--remove")
    assert status == 1
    assert "the last segment was kept: " in out
    status, out, _ = run("compact", log, "--to", tmp_path / "to", "--remove")
    assert status == 0
    assert "removed 1 segments" in out
    assert "holds no frame" in refused(run("compact", log, "--to", tmp_path / "to"))


def test_wrong_use_is_one_line(run, tmp_path):
    """A policy that is none, a file that is not there, a log that is none, a writer that is."""
    log = written(tmp_path / "log", FRAMES)
    assert "fsync is 'often', expected each" in refused(run("append", log, "--fsync", "often"))
    assert "No such file" in refused(run("append", log, tmp_path / "nowhere"))
    assert "No such file" in refused(run("info", tmp_path / "nowhere"))
    assert "expected one of" in refused(
        run("compact", log, "--to", tmp_path / "to", "--format", "x")
    )
    with Writer(log, holder="me"):
        assert "is being written by me" in refused(run("append", log, os.devnull))
