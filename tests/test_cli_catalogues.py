"""The commands of catalogues: what they answer, in the folder and in PostgreSQL alike."""

from __future__ import annotations

import json
import shutil

import pytest

from foldbook.adapters import catalogue, cli, synthetic


@pytest.fixture(params=["folder", "postgres"])
def place(request, tmp_path, monkeypatch):
    """Where the user's catalogue is to be."""
    url = request.getfixturevalue("database") if request.param == "postgres" else tmp_path / "c"
    monkeypatch.setenv("FOLDBOOK_CATALOG", str(url))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return str(url)


@pytest.fixture
def run(capsys):
    """A function that runs a command and returns (status, what it answers, stderr)."""

    def run(*arguments, as_json=True):
        status = cli.main([*map(str, arguments), *(["--json"] if as_json else [])])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, json.loads(out) if as_json else out, err

    return run


def test_save_ls_use_remove(run, place):
    """A session goes in, is listed, backtested and verified from there, and goes again."""
    session = synthetic.session(seed=3)
    status, saved, _ = run("save", "synthetic:3", "--name", "mine")
    assert (status, saved["name"], saved["digest"]) == (0, "mine", session.digest)
    status, found, _ = run("ls")
    assert (status, len(found["sessions"]), found["repairs"]) == (0, 1, [])
    (entry,) = found["sessions"]
    assert (entry["events"], entry["tickers"]) == (len(session.tape), ["SYN-3-000"])
    assert run("ls", place)[1] == found
    status, told, _ = run("info", "catalogue:mine")
    assert (status, told["digest"]) == (0, session.digest)
    maker = "foldbook.examples.market_maker:MarketMaker"
    status, answer, _ = run("backtest", "catalogue:mine", "--strategy", maker,
                            "--journal", "run.journal")
    assert status == 0
    assert run("verify", "run.journal")[0] == 0
    status, removed, _ = run("remove", "mine")
    assert (status, removed["removed"]) == (0, "mine")
    assert run("ls")[1]["sessions"] == []
    status, answer, _ = run("verify", "run.journal")
    assert status == 2
    assert "mine" in answer["error"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_ls_for_people(run, place):
    """A table: name, market, span, events; conditions narrow it."""
    run("save", "synthetic:3")
    run("save", "synthetic:4")
    status, out, _ = run("ls", "--series", "SYN", as_json=False)
    assert status == 0
    assert "2 sessions" in out
    assert "synthetic-3" in out and "SYN-4-000" in out
    assert "1 sessions" in run("ls", "--ticker", "SYN-4-000", as_json=False)[1]
    status, found, _ = run("ls", "--since", "2100-01-01T00:00Z")
    assert (status, found["sessions"]) == (0, [])


def test_what_is_wrong_is_one_line(run, place):
    """Status 2 and whose fault it is: a place without a catalogue, names, times, a stranger."""
    for arguments, text in (
        (("ls",), "holds no catalogue yet"),
        (("remove", "mine"), "holds no catalogue yet"),
        (("info", "catalogue:mine"), "holds no catalogue yet"),
        (("save", "synthetic:3", "--name", "../up"), "'../up' cannot name a folder"),
        (("ls", "--since", "2026-08-10"), "--since"),
        (("ls", "--min-quality", "7"), "--min-quality"),
        (("ls", "mongo://host/db"), "'mongo' is no catalogue"),
        (("ls", "postgresql://ada:secret@127.0.0.1:1/team"), "cannot be reached"),
    ):
        status, answer, err = run(*arguments)
        assert (status, err.count("\n")) == (2, 1), arguments
        assert text in answer["error"]
        assert "secret" not in err
    run("save", "synthetic:3")
    assert "session mine is not in" in run("info", "catalogue:mine")[1]["error"]


def test_migrate(run, place):
    """It makes the catalogue, and says so once."""
    assert run("migrate")[1]["done"]
    assert run("migrate")[1]["done"] == []
    assert "is of this version" in run("migrate", as_json=False)[1]
    assert run("ls")[1]["sessions"] == []


def test_ls_says_what_it_mended_and_what_is_gone(run, tmp_path):
    """In the folder: a session that nobody has listed, and one whose folder is gone."""
    place = tmp_path / "c"
    catalogue.open(place).save(synthetic.session(seed=3), "kept")
    shutil.copytree(place / "kept", place / "copied")
    shutil.rmtree(place / "kept")
    status, out, _ = run("ls", place, as_json=False)
    assert status == 0
    assert "mended: adopted copied" in out
    assert "kept: its folder is gone: put it back, or `foldbook remove kept`" in out
    assert [entry["is_gone"] for entry in run("ls", place)[1]["sessions"]] == [False, True]
