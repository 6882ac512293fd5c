"""The hot form: made when it is missing, not trusted when it is another's, shared by processes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from foldbook.adapters import sessions, synthetic
from foldbook.adapters.sessions import hot
from foldbook.adapters.sessions.background import Background
from foldbook.adapters.sessions.exchange import exchange
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE

ENVIRONMENT = dict(os.environ)
ONE = synthetic.session(seed=3, events=3_000, minutes=1)
TWO = synthetic.session(seed=4, events=3_000, minutes=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A stored session, and a cache of its own for what cannot lie beside it."""
    monkeypatch.setenv("FOLDBOOK_CACHE", str(tmp_path / "cache"))
    sessions.save(ONE, tmp_path / "stored" / "one")
    return tmp_path / "stored" / "one"


@pytest.fixture
def other(tmp_path):
    sessions.save(TWO, tmp_path / "two")
    return tmp_path / "two"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(script, *arguments):
    """Run a script in a process of its own and return what it prints, stripped."""
    # With the kernels' own cache: the test's is for tapes, and compiling takes long.
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], env=ENVIRONMENT,
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_it_is_made_when_it_is_missing(folder):
    """Byte for byte as it was; NumPy alone can read it; nothing else is left in the folder."""
    path = folder / sessions.TAPE_FILE
    before = path.read_bytes()
    path.unlink()
    assert sessions.load(folder).digest == ONE.digest
    assert path.read_bytes() == before
    rows = np.load(path)
    assert rows.dtype == TAPE_DTYPE
    assert rows.tobytes() == ONE.tape.rows.tobytes()
    assert names(folder) == ["session.json", "tape.npy", "tape.parquet"]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 600, -40, -1])
def test_it_is_made_anew_when_it_is_cut(folder, size):
    """A file of another length is not the tape."""
    path = folder / sessions.TAPE_FILE
    path.write_bytes(path.read_bytes()[:size])
    assert sessions.load(folder).tape.rows.tobytes() == ONE.tape.rows.tobytes()


def test_one_of_another_tape_is_replaced(folder, other):
    """Of the same length, in the right place, under the right name: its header tells."""
    (folder / sessions.TAPE_FILE).write_bytes((other / sessions.TAPE_FILE).read_bytes())
    loaded = sessions.load(folder)
    assert loaded.digest == ONE.digest
    sessions.verify_digest(loaded)


def test_whatever_is_derived_follows_the_parquet_file(folder, other):
    """Another Parquet file in the folder is another session: text and tape are made anew."""
    (folder / sessions.PORTABLE_FILE).write_bytes((other / sessions.PORTABLE_FILE).read_bytes())
    for _ in range(2):
        loaded = sessions.load(folder)
        assert loaded.digest == TWO.digest
        sessions.verify_digest(loaded)
    about = json.loads((folder / sessions.ABOUT_FILE).read_text())
    assert about["tape_digest"] == TWO.tape.digest
    for name in (sessions.ABOUT_FILE, sessions.TAPE_FILE):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_the_text_is_made_anew_when_it_is_missing(folder):
    """As it was, byte for byte."""
    before = (folder / sessions.ABOUT_FILE).read_bytes()
    (folder / sessions.ABOUT_FILE).unlink()
    assert sessions.load(folder).digest == ONE.digest
    assert (folder / sessions.ABOUT_FILE).read_bytes() == before


def test_where_it_cannot_lie_beside_its_session_it_lies_in_the_cache(folder, tmp_path):
    """A folder stands in its way; the next load finds it in the cache, and makes nothing."""
    (folder / sessions.TAPE_FILE).unlink()
    (folder / sessions.TAPE_FILE).mkdir()
    assert sessions.load(folder).digest == ONE.digest
    [path] = (tmp_path / "cache").rglob("*.npy")
    made = path.stat()
    assert path.stem == ONE.tape.digest
    assert sessions.load(folder).digest == ONE.digest
    assert path.stat().st_mtime_ns == made.st_mtime_ns
    assert names(folder) == ["session.json", "tape.npy", "tape.parquet"]


def test_where_it_can_lie_nowhere_the_error_says_so(folder, tmp_path):
    """An OSError with the name of the place."""
    (folder / sessions.TAPE_FILE).unlink()
    (folder / sessions.TAPE_FILE).mkdir()
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(OSError, match="cannot be made") as caught:
        sessions.load(folder)
    assert str(caught.value.filename).endswith(f"{ONE.tape.digest}.npy")


def test_changed_rows_are_found_when_asked(folder):
    """Mapping hashes nothing; both forms can be verified, each for itself."""
    path = folder / sessions.TAPE_FILE
    text = bytearray(path.read_bytes())
    text[-33] ^= 1
    path.write_bytes(text)
    loaded = sessions.load(folder)
    sessions.verify_portable(folder)
    with pytest.raises(TapeError, match="its rows were changed"):
        sessions.verify_digest(loaded)


def test_a_session_is_loaded_without_the_parquet_library(folder):
    """From the hot form, and so does the command line start."""
    script = """
import sys
from foldbook.adapters import sessions
from foldbook.adapters.cli import main
assert main(["--help"]) == 0
session = sessions.load(sys.argv[1])
sessions.verify_digest(session)
assert not {"pyarrow", "pandas", "polars"} & set(sys.modules)
"""
    run(script, folder)


TOGETHER = """
import os, sys
from pathlib import Path
import pyarrow.parquet
from foldbook.adapters import sessions
folder = Path(sys.argv[1])
expected = sessions.load(folder).digest
for _ in range(5):
    (folder / "tape.npy").unlink()
    (folder / "session.json").unlink()
    gate = os.pipe()
    children = []
    for _ in range(4):
        pid = os.fork()
        if not pid:
            os.close(gate[1])
            os.read(gate[0], 1)
            status = 1
            try:
                session = sessions.load(folder)
                sessions.verify_digest(session)
                status = 0 if session.digest == expected else 2
            finally:
                os._exit(status)
        children.append(pid)
    os.close(gate[0]), os.close(gate[1])
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
"""


def test_processes_that_make_it_at_once_all_have_it(folder):
    """Four at a time, five times: each gets the session, and nothing else remains."""
    run(TOGETHER, folder)
    assert names(folder) == ["session.json", "tape.npy", "tape.parquet"]


def test_processes_share_its_memory(folder):
    """Each of five has the whole tape resident, and the shares of all add up to one tape."""
    size = ONE.tape.rows.nbytes
    script = """
import sys
from pathlib import Path
from foldbook.benchmarks.shared_tape import memory_of_all
for resident, share in memory_of_all(Path(sys.argv[1]), 5):
    print(resident, share)
"""
    found = [tuple(map(int, line.split())) for line in run(script, folder).splitlines()]
    assert len(found) == 5
    assert all(size <= resident <= size + 8192 for resident, _ in found)
    assert sum(share for _, share in found) <= size + 5 * 1024 + 8192


FULL = """
import resource, sys
from foldbook.adapters import sessions, synthetic
session = synthetic.session(seed=4, events=3_000, minutes=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
try:
    sessions.save(session, sys.argv[1])
except OSError as error:
    print(error.errno, error.filename, error.strerror, sep="|")
"""


@pytest.mark.parametrize("limit", [100, 5_000, 119_999])
def test_a_full_disk_leaves_the_earlier_session(folder, limit):
    """At any byte: one clear error; what was there is as before; nothing half-written remains."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, filename, text = run(FULL, folder, limit).split("|")
    assert int(code) == errno.EFBIG
    assert filename == str(folder)
    assert "cannot be written: File too large; what was there is as it was" in text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names(folder.parent) == ["one"]


FULL_WHEN_LOADING = """
import os, resource, sys
from foldbook.adapters import sessions
os.environ["FOLDBOOK_CACHE"] = sys.argv[2]
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, -1))
try:
    sessions.load(sys.argv[1])
except OSError as error:
    print(error.errno, error.strerror, sep="|")
"""


def test_a_disk_too_full_for_it_is_an_error_and_no_harm(folder, tmp_path):
    """Room is reserved before rows are mapped: no signal ends the process, nothing remains."""
    (folder / sessions.TAPE_FILE).unlink()
    said = run(FULL_WHEN_LOADING, folder, tmp_path / "cache")
    assert said == f"{errno.EFBIG}|cannot be made: File too large"
    assert names(folder) == ["session.json", "tape.parquet"]
    assert not list((tmp_path / "cache").rglob("*.npy*"))
    assert sessions.load(folder).digest == ONE.digest


def test_it_is_made_where_room_cannot_be_reserved_by_a_call(folder, monkeypatch):
    """Without posix_fallocate the room is reserved by writing zeros: the same file."""
    sessions.load(folder)
    made = (folder / sessions.TAPE_FILE).read_bytes()
    (folder / sessions.TAPE_FILE).unlink()
    monkeypatch.delattr(os, "posix_fallocate")
    assert sessions.load(folder).digest == ONE.digest
    assert (folder / sessions.TAPE_FILE).read_bytes() == made


def test_the_header_is_read_by_numpy_and_names_the_digest():
    """One length for any number of rows; the digest is a comment."""
    for events in (0, 7, 10**12):
        header = hot._header(events, "ab" * 32)
        assert len(header) == hot.HEADER_BYTES
        assert b"ab" * 32 in header


def test_folders_change_places(tmp_path):
    """Each is where the other was, with all that is in it."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one/file").read_text() == "other"
    assert (tmp_path / "other/file").read_text() == "one"
    assert names(tmp_path) == ["one", "other"]


def test_sessions_written_in_the_background_are_on_disk_at_the_end(tmp_path):
    """Each as `write` would have written it; a fault is raised, late, and the others are stored."""
    with Background() as background:
        for name, session in (("one", ONE), ("two", TWO)):
            background.write(tmp_path / name, session.name, session.markets,
                             [session.tape.rows], facts={})
    assert [sessions.load(tmp_path / name).digest for name in ("one", "two")] == [
        ONE.digest, TWO.digest]

    def spoil():
        with Background() as background:
            background.write(tmp_path / "three", "three", ONE.markets,
                             [ONE.tape.rows[::-1]], facts={})

    with pytest.raises(TapeError, match="is before ts"):
        spoil()
    assert names(tmp_path) == ["one", "two"]
