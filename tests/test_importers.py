"""What holds for every importer: how it is found, told what to do, and what a dry run is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from test_kalshi_ws import BOOK, delta, line, numbered, record, snapshot, stamp, trade, write
from unprivileged import open_folder, unprivileged

from foldbook.adapters import cli, sessions
from foldbook.adapters.cli.imports import command_of
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.adapters.kalshi_ws.workers import _context
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TapeKind

OURS = {"kalshi-rest", "kalshi-ws", "l2", "polymarket", "polymarket-ws"}


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    """Run a command in an empty folder; return (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def go(*words: Any) -> tuple[int, str, str]:
        status = cli.main([str(word) for word in words])
        return status, *capfd.readouterr()

    return go


def test_help_lists_what_is_installed(run):
    """Each importer by name, without loading one: that would take a second."""
    status, out, _ = run("import", "--help")
    assert status == 0
    listed = out.partition("Formats:")[2].partition("Example:")[0]
    names = {row.split()[0] for row in listed.strip().splitlines()}
    assert names == {point.name for point in entry_points(group="foldbook.importers")}
    assert names >= OURS
    code = ("import sys; from foldbook.adapters import cli; cli.main(['import', '--help']); "
            "sys.exit('numpy' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True
                          ).returncode == 0


@pytest.mark.parametrize("name", sorted(point.name for point in
                                        entry_points(group="foldbook.importers")))
def test_every_importer_has_the_options_that_all_have(run, name):
    """A dry run, keeping going, a place for sessions; and its help shows an example."""
    status, out, _ = run("import", name, "--help")
    assert status == 0
    assert {"--to", "--dry-run", "--keep-going", "--json"} <= set(re.findall(r"--[a-z-]+", out))
    assert f"foldbook import {name}" in out.partition("Example:")[2]


@pytest.mark.parametrize(("words", "text"), [
    (["l2", "x", "--to", "y", "--prices", "cents", "--seq-scope", "subscription"],
     "l2 takes no --seq-scope; it takes --columns, "),
    (["kalshi-ws", "x", "--to", "y", "--floor-sizes"], "kalshi-ws takes no --floor-sizes"),
    (["polymarket", "x", "--to", "y", "--hole", "soon"], "--hole: .*'soon'"),
    (["l2", "x", "--to", "y", "--prices", "cents", "--columns", "x"], "--columns: 'x' is not like"),
    (["l2", "x", "--to", "y"], "Missing option '--prices'"),
    (["l2", "x", "--to", "y", "--prices", "cents", "--rows", "odd"], "'odd' is not one of"),
    (["kalshi-ws", "x", "--to", "y", "--workers", "0"], "--workers: 0, expected at least 1"),
    (["kalshi-ws", "--to", "y"], "Missing argument 'SOURCE...'"),
    (["crystal-ball", "x"], "'crystal-ball' is not one of the importers: .*kalshi-ws"),
    ([], "Missing command"),
])
def test_wrong_options_are_refused_by_name(run, words, text):
    """In one line that says whose option it is not, or what is wrong with it."""
    status, out, err = run("import", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert re.search(text, err), err


PACKAGE = '''
"""Somebody's own importer: one market, one level, as often as it is told."""

from typing import Annotated, Literal

import numpy as np

from foldbook.adapters.recordings import (
    MESSAGE_DTYPE, DryRun, Import, KeepGoing, MessageKind, Report, find_files,
)


def import_levels(sources, to, *, price: Annotated[int, "$0.0001"], name: str = "OWN",
                  side: Literal["buy", "sell"] = "buy", keep_going: KeepGoing = False,
                  dry_run: DryRun = False, progress=None):
    """Import one level."""
    files = find_files(sources, ".own")
    with Import("own", to, files, keep_going=keep_going, dry_run=dry_run) as job:
        market = job.market(name, files[0].name)
        messages = np.zeros(2, MESSAGE_DTYPE)
        messages["kind"] = MessageKind.SNAPSHOT, MessageKind.LEVEL
        messages["row"], messages["qty"] = 1, (1, 500)
        messages["price"][1], messages["side"][1] = price, side == "sell"
        market.add(messages)
        market.finish()
        progress(1, 1)
        return job.reports()
'''


def test_a_package_of_ones_own_adds_an_importer(tmp_path):
    """Its entry point is all that it takes; its parameters are its flags."""
    folder = tmp_path / "site"
    about = folder / "own-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "own_importer.py").write_text(PACKAGE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    points = "[foldbook.importers]\nown = own_importer:import_levels\n"
    (about / "entry_points.txt").write_text(points)
    (tmp_path / "a.own").write_text("")

    def go(*words: str) -> subprocess.CompletedProcess[str]:
        code = (f"import sys; sys.path.insert(0, {str(folder)!r}); "
                "from foldbook.adapters import cli; sys.exit(cli.main(sys.argv[1:]))")
        return subprocess.run([sys.executable, "-c", code, "import", *words], cwd=tmp_path,
                              check=False, capture_output=True, text=True)

    assert "of own" in go("--help").stdout
    assert go("own", "a.own", "--to", "out").stderr == (
        "foldbook: own: Missing option '--price'.\n")
    refused = go("own", "a.own", "--to", "out", "--price", "1", "--metadata", "x").stderr
    assert refused.startswith("foldbook: own takes no --metadata; it takes --dry-run, ")
    made = go("own", "a.own", "--to", "out", "--price", "4200", "--side", "sell", "--json")
    [session] = json.loads(made.stdout)["sessions"]
    rows = sessions.load(tmp_path / session["session"]).tape.rows
    assert [(int(row["price"]), int(row["side"])) for row in rows
            if row["kind"] == TapeKind.SNAPSHOT_LEVEL] == [(4200, 1)]


@pytest.mark.parametrize("more", [(), ("--group",), ("--workers", "2")])
def test_markets_that_the_metadata_does_not_know_are_named(run, tmp_path, more):
    """One of two has a record: the other is in the report, and in a line for people; a folder that
    knows neither names both."""
    for ticker in ("KXA-1", "KXB-1"):
        folder = tmp_path / "in" / ticker
        folder.mkdir(parents=True)
        write(folder, numbered([snapshot(0, *BOOK, ticker=ticker)]))
    known = record(tmp_path)
    words = ("import", "kalshi-ws", "in", "--to", "out", "--metadata", known, *more)
    found = json.loads(run(*words, "--json")[1])["sessions"]
    assert [each for report in found for each in report["unlisted"]] == ["KXB-1"]
    assert "no record in --metadata of 1 market: KXB-1; their grid, close and result" in (
        run(*words)[1])
    record(tmp_path, ticker="KXC-1")
    assert "no record in --metadata of 2 markets: KXA-1, KXB-1;" in run(*words)[1]
    status, out, _ = run(*words[:-2 - len(more)], *more)
    assert (status, "no record" in out) == (0, False)


@pytest.mark.parametrize("importer", ["kalshi-ws", "polymarket-ws", "polymarket"])
def test_a_folder_without_any_metadata_is_an_error(run, tmp_path, importer):
    """Before anything is read: it is a mistaken path."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    write(tmp_path, numbered([snapshot(0, *BOOK)]), "r.jsonl")
    source = "r.jsonl" if importer != "polymarket" else "r.parquet"
    (tmp_path / "r.parquet").touch()
    status, out, err = run("import", importer, source, "--to", "out", "--metadata", "empty")
    assert (status, out) == (2, "")
    assert err.startswith("foldbook: empty: no metadata: ")
    assert not (tmp_path / "out" / "KXA-1").exists()


def streamed(lines: list[Any], ticker: str) -> list[Any]:
    """Return lines as another recorder would have written them, of another market."""
    return [{"received_ms": each["recv_ms"], "frame": each["event"] | {
        "msg": each["event"]["msg"] | {"market_ticker": ticker}}} for each in lines]


def test_recordings_of_several_dialects_in_one_folder(run, tmp_path):
    """Those of other markets are read, below the folder too; one of the same market names both
    files; a line of another dialect is refused as that; an empty file holds nothing."""
    lines = numbered([snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.4000", "5.00")])
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    write(folder, lines, "a.ndjson")
    write(folder, streamed(lines, "KXB-1"), "b.ndjson")
    write(folder / "below", streamed(lines, "KXC-1"), "c.ndjson")
    (folder / "empty.ndjson").touch()
    words = ("import", "kalshi-ws", "in", "--to", "out")
    found = json.loads(run(*words, "--json")[1])["sessions"]
    assert [each["markets"] for each in found] == [["KXA-1"], ["KXB-1"], ["KXC-1"]]
    write(folder, streamed(lines, "KXA-1"), "b.ndjson")
    assert run(*words)[2] == (
        "foldbook: market KXA-1: is in two recordings, in (a.ndjson, dialect lines) and "
        "in (b.ndjson, dialect stream); import them apart\n")
    write(folder, [*lines, *streamed(lines, "KXB-1")], "a.ndjson")
    assert run("import", "kalshi-ws", "in/a.ndjson", "--to", "out")[2] == (
        "foldbook: in/a.ndjson row 3: a line of dialect stream, expected one of lines, as at the "
        "beginning: put them into files of their own\n")
    status, _, err = run("import", "kalshi-ws", "in/empty.ndjson", "--to", "out")
    assert (status, err) == (2, "foldbook: in/empty.ndjson: not a recording: the file is empty\n")


SHUT = {
    "kalshi-ws": "r.ndjson", "l2": "r.csv", "polymarket": "r.parquet", "polymarket-ws": "r.jsonl",
    "lobster": "AAPL_2012-06-21_1_2_message_10.csv", "bitstamp": "orders.csv",
    "kalshi-rest": "r.json", "hftbacktest": "r.npz",
}  # fmt: skip


@pytest.mark.parametrize("importer", SHUT)
def test_what_may_not_be_read_is_named(run, importer):
    """A folder within the one that is given, that folder itself, and a file: left out in silence
    they would look as if nothing had been recorded."""
    options = ("--prices", "cents") if importer == "l2" else ()
    with open_folder() as folder:
        (folder / "out").mkdir()
        (folder / "out").chmod(0o777)
        below = folder / "in" / "below"
        below.mkdir(parents=True)
        (below / SHUT[importer]).write_bytes(b"{}\n")
        file = below / ("trades.csv" if importer == "bitstamp" else SHUT[importer])
        file.write_bytes(b"{}\n")
        if importer == "lobster":
            (below / "AAPL_2012-06-21_1_2_orderbook_10.csv").touch()
        words = ("--to", folder / "out", *options)
        run("import", importer, below, *words)     # Loads what nobody might not read, either.
        for shut, given in ((file, below), (below, below), (below, folder / "in")):
            shut.chmod(0)
            with unprivileged():
                status, _, err = run("import", importer, given, *words)
            shut.chmod(0o755)
            assert (status, err.count("\n")) == (2, 1)
            place = re.escape(str(shut))
            assert re.match(f"foldbook: {place}(/raw_events)?: .*ermission denied", err)


def test_an_option_that_no_flag_can_give_is_named():
    """The author's fault, said to the author."""
    def importer(sources: Any, to: Any, *, table: dict[str, int]) -> Any: ...

    with pytest.raises(click.UsageError, match="importer odd: option table is dict"):
        command_of("odd", importer)


def test_sources_are_text_where_the_importer_says_so(tmp_path):
    """A URL is no path: pathlib would take one of its slashes away."""
    seen: list[Any] = []

    def of_urls(sources: list[str], to: Path, *, mode: Literal["a"] = "a") -> Any:
        seen.extend(sources)
        return []

    command = command_of("urls", of_urls)
    command.main(["postgresql://here/db", "--to", str(tmp_path)], standalone_mode=False)
    assert seen == ["postgresql://here/db"]


# What the WebSocket importer has beside: dry runs, workers, dialects that may not be mixed.


def recordings(folder: Path) -> Path:
    """Three folders of one market each."""
    for number in range(3):
        market = folder / f"KXA-{number}"
        market.mkdir(parents=True)
        write(market, numbered([
            {**each, "event": {**each["event"], "msg": {**each["event"]["msg"],
                                                        "market_ticker": market.name}}}
            for each in (snapshot(0, *BOOK), delta(15, 10_000, "no", "0.4500", "7.50"),
                         trade(25, 20, "yes", "0.5500", "2.50"),
                         delta(25, 20_000, "no", "0.4500", f"-{number}.50"))]))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("group", [False, True])
def test_workers_make_the_same_sessions(tmp_path, group):
    """Byte for byte, every file of them, and the same reports; and all bytes are told."""
    source = recordings(tmp_path / "in")
    told: list[tuple[int, int]] = []
    one = import_recording([source], tmp_path / "one", group=group)
    two = import_recording([source], tmp_path / "two", group=group, workers=2,
                           progress=lambda done, total: told.append((done, total)))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert [report.to_json() | {"session": ""} for report in one] == [
        report.to_json() | {"session": ""} for report in two]
    assert told[-1][0] == told[-1][1]
    dry = import_recording([source], tmp_path / "dry", group=group, workers=2, dry_run=True)
    assert not (tmp_path / "dry").exists()
    assert [report.events for report in dry] == [report.events for report in one]


def test_workers_beside_threads_are_not_forked(tmp_path):
    """A thread could hold a lock just then: processes are begun anew, and make the same."""
    source = recordings(tmp_path / "in")
    import_recording([source], tmp_path / "one")
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert _context().get_start_method() == "forkserver"
        import_recording([source], tmp_path / "two", workers=2)
    finally:
        stop.set()
        thread.join()
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_workers_fail_as_one_would(tmp_path):
    """The first recording that fails ends the import, by its own error; those before it are
    stored, those after it are not, and nothing is left lying about."""
    source = recordings(tmp_path / "in")
    for number in (1, 2):
        path = source / f"KXA-{number}" / "r.ndjson"
        path.write_text(path.read_text() + f"broken {number}\n")
    for workers in (1, 2):
        target = tmp_path / f"out{workers}"
        with pytest.raises(TapeError, match=r"KXA-1/r.ndjson row 5: not JSON.*broken 1"):
            import_recording([source], target, workers=workers)
        assert [path.name for path in target.iterdir()] == ["KXA-0"]
        [*reports] = import_recording([source], target, workers=workers, keep_going=True)
        assert [report.rejected for report in reports] == [0, 1, 1]


def test_a_market_in_two_recordings_is_refused_by_workers_too(tmp_path):
    """What was stored of the first stays."""
    source = recordings(tmp_path / "in")
    again = source / "again"
    again.mkdir()
    (again / "r.ndjson").write_text((source / "KXA-2" / "r.ndjson").read_text())
    for workers in (1, 2):
        with pytest.raises(TapeError, match="market KXA-2: is in two recordings"):
            import_recording([source / "KXA-2", again], tmp_path / "out", workers=workers)


def test_a_dry_run_of_the_websocket_writes_nothing(tmp_path):
    """It reads, joins and checks as the import does."""
    source = recordings(tmp_path / "in")
    dry = import_recording([source], tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    real = import_recording([source], tmp_path / "out")
    assert [report.to_json() for report in dry] == [
        report.to_json() | {"written": False} for report in real]


def in_cents(frame: dict[str, Any]) -> dict[str, Any]:
    """Return a delta as the venue sent it before prices were dollars."""
    _, ts_ms = stamp(20_000)
    return line(25, "orderbook_delta", {"market_ticker": "KXA-1", "price": 45, "delta": 3,
                                        "side": "no", "ts_ms": ts_ms}) | frame


def test_old_cents_and_new_dollars_may_follow_each_other(tmp_path):
    """They are told by their keys, frame by frame: a recorder that lived through the change has
    both in one file, and the book is one."""
    lines = numbered([snapshot(0, *BOOK), delta(15, 10_000, "no", "0.4500", "7.50"), in_cents({})])
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "out")
    rows = sessions.load(report.session).tape.rows[-2:]
    assert [(int(row["price"]), int(row["qty"])) for row in rows] == [(5500, 750), (5500, 300)]


GONE = "a line of dialect"


@pytest.mark.parametrize(("other", "text"), [
    (lambda line: {"received_ms": line["recv_ms"], "frame": line["event"]}, GONE),
    (lambda line: line["event"], GONE),
    (lambda line: {"recv_ts_ns": 1, "raw": json.dumps(line["event"])}, GONE),
    (lambda line: {**line, "recv_ms": str(line["recv_ms"])}, "Expected `int`, got `str`"),
])
def test_two_recorders_in_one_file_are_refused_by_row(tmp_path, other, text):
    """The envelope of a file is that of its first line; another one is no line of it, and it is
    never half understood."""
    lines = numbered([snapshot(0, *BOOK), delta(15, 10_000, "no", "0.4500", "7.50"),
                      delta(25, 20_000, "no", "0.4500", "1.00")])
    path = write(tmp_path, [lines[0], other(lines[1]), lines[2]])
    with pytest.raises(TapeError, match=f"r.ndjson row 2: .*{text}"):
        import_recording([path], tmp_path / "out")
    [report] = import_recording([path], tmp_path / "out", keep_going=True)
    assert (report.rejected, report.gaps) == (1, 1)


def test_files_of_two_recorders_in_one_folder_are_two_recordings(tmp_path):
    """And a market that both recorded is refused by name, not merged."""
    lines = numbered([snapshot(0, *BOOK), delta(15, 10_000, "no", "0.4500", "7.50")])
    write(tmp_path, lines, "a.ndjson")
    write(tmp_path, [{"received_ms": each["recv_ms"], "frame": each["event"]} for each in lines],
          "b.ndjson")
    with pytest.raises(TapeError, match="market KXA-1: is in two recordings"):
        import_recording([tmp_path], tmp_path / "out")


@pytest.mark.parametrize("change", [
    {"price_dollars": None}, {"price_dollars": ...}, {"price_dollars": ..., "yes_price": 45},
    {"delta_fp": ...}, {"side": ...},
])
def test_a_field_that_is_gone_never_becomes_a_default(tmp_path, change):
    """Renamed, missing or null: the row is refused, and the book is not trusted after it."""
    lines = numbered([snapshot(0, *BOOK), delta(15, 10_000, "no", "0.4500", "7.50", **change)])
    with pytest.raises(TapeError, match=r"r.ndjson row 2: "):
        import_recording([write(tmp_path, lines)], tmp_path / "out")
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "out", keep_going=True)
    assert (report.rejected, report.gaps) == (1, 1)
