"""The command line: what it answers, its exit status, and that nobody ever sees a traceback."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from test_kalshi_ws import BOOK, delta, numbered, snapshot, write
from unprivileged import open_folder, unprivileged

from foldbook.adapters import cli, journals, sessions, synthetic
from foldbook.adapters.cli import commands, models, plugins, show
from foldbook.engine import NO_FEES, Delay, Feed, Latency, Queue, Risk, Session, Tape
from foldbook.engine.schema import JournalKind

MAKER = """
from foldbook.engine import Side, contracts

class Maker:
    def __init__(self, size=10, edge=0):
        self.size, self.edge = size, edge

    def on_book(self, sim, market):
        book = sim.book(market)
        if book.best_bid and not sim.orders.open(market):
            sim.submit(market, Side.BUY, price=book.best_bid - self.edge, qty=contracts(self.size))

class Broken(Maker):
    def on_fill(self, sim, fill):
        return 1 / 0

class Stillborn:
    def __init__(self):
        raise LookupError("no crystal ball")

class Sleeper:
    pass

class Secretive:
    def __getattr__(self, name):
        raise LookupError("I have no " + name)

def decide(sim):
    pass
"""
FAULTY_LINE = MAKER[: MAKER.index("return 1 / 0")].count("\n") + 1


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder with the strategies above in `mine.py`, and a generated session."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MAKER)
    sessions.save(synthetic.session(seed=3, events=3000, minutes=5), tmp_path / "session")
    return tmp_path


@pytest.fixture
def run(capsys):
    """A function that runs a command and returns (status, stdout, stderr)."""

    def run(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def answer(run):
    """A function that runs a command that must be done, and returns its JSON object."""

    def answer(*arguments, status=0):
        found, out, err = run(*arguments, "--json")
        assert (found, out.count("\n")) == (status, 1), err
        return json.loads(out)

    return answer


def one_line(err):
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


# The help.


@pytest.mark.parametrize("name", sorted(commands.foldbook.commands))
def test_help_has_an_example(run, name):
    """Each command explains itself, takes --json, and shows an example of itself."""
    status, out, _ = run(name, "--help")
    assert status == 0
    assert f"foldbook {name}" in out.partition("Example:")[2]
    assert "--json" in out


def test_there_are_these_commands():
    """The commands of the contract, those that shape sessions, and no other."""
    expected = {"demo", "import", "export", "info", "backtest", "verify", "explain", "bench",
                "doctor", "split", "merge", "slice", "sample", "ls", "save", "remove", "migrate",
                "log", "check-leak"}
    assert set(commands.foldbook.commands) == expected


@pytest.mark.parametrize("arguments", [["--help"], ["backtest", "--help"], ["info", "--help"]])
def test_help_is_quick(arguments):
    """Help loads nothing that takes its time: of foldbook the command line alone, and click."""
    code = ("import sys; from foldbook.adapters import cli\n"
            "status = cli.main(sys.argv[1:])\n"
            "print(*sys.modules, file=sys.stderr); sys.exit(status)")
    ran = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True,
                         text=True)
    assert "Usage:" in ran.stdout
    loaded = set(ran.stderr.split())
    assert "click" in loaded
    assert not loaded & {"numpy", "numba", "llvmlite", "attrs", "msgspec", "pyarrow", "rich",
                         "gymnasium", "torch", "psycopg", "asyncio"}
    own = {name for name in loaded if name.startswith("foldbook.")}
    assert {name for name in own if not name.startswith("foldbook.adapters.cli")} == {
        "foldbook.adapters"}


def test_every_entry_point_leads_somewhere():
    """What setup.cfg plugs in can be loaded and called."""
    for group in ("foldbook.importers", "foldbook.exporters", "foldbook.generators",
                  "foldbook.catalogues", "foldbook.logs"):
        points = entry_points(group=group)
        assert points
        assert all(callable(point.load()) for point in points)


# What commands answer.

INFO = {"session", "markets", "events", "snapshots", "deltas", "trades", "gaps", "joined_trades",
        "digest"}
INFO_MARKET = {"ticker", "first_ts", "last_ts", "tick", "status", "result"}
FIGURES = {"session", "markets", "events", "orders", "rejects", "fills", "contracts", "fees", "pnl",
           "final_value", "max_drawdown", "digest", "seconds", "events_per_second"}


def test_demo(run, answer):
    """The demo summarises, explains one fill and shows the digest; the same digest each time."""
    figures = answer("demo")
    assert figures["fills"] > 0
    assert figures["explained"]
    status, out, _ = run("demo")
    assert status == 0
    assert figures["explained"] in out
    assert out.endswith(f"digest {figures['digest']}\n")


def test_import(here, answer, run):
    """A recording becomes a session per market; what was refused is counted and said."""
    lines = numbered([snapshot(0, *BOOK), delta(15, 10_000, "no", "0.4500", "7.50")])
    write(here, [lines[0], "not JSON", lines[1]])
    status, out, err = run("import", "kalshi-ws", "r.ndjson", "--to", "made")
    assert (status, out) == (2, "")
    assert "r.ndjson row 2: not JSON" in one_line(err)
    [made] = answer("import", "kalshi-ws", "r.ndjson", "--to", "made", "--keep-going")["sessions"]
    assert made["markets"] == ["KXA-1"]
    assert (made["read"], made["joined"], made["rejected"], made["gaps"]) == (2, 0, 1, 0)
    assert answer("info", made["session"])["deltas"] == 1
    status, out, _ = run("import", "kalshi-ws", "r.ndjson", "--to", "made", "--keep-going")
    assert status == 0
    assert "r.ndjson row 2: not JSON" in out


def test_info(here, answer, run):
    """Info counts what the tape holds, and is a table without --json."""
    session = sessions.load("session")
    data = answer("info", "session")
    assert data["events"] == 3000
    assert data["digest"] == session.digest
    assert {*data} >= INFO
    assert {*data["markets"][0]} >= INFO_MARKET
    _, out, _ = run("info", "session")
    assert session.markets[0].ticker in out
    assert answer("info", "synthetic:3")["markets"][0]["ticker"] == "SYN-3-000"


def test_book_at(here, answer):
    """The book at a time is that of `sessions.book_at`, by either clock."""
    session = sessions.load("session")
    middle = int(session.tape.rows["ts"][1500])
    for clock in ("exchange", "receive"):
        book = answer("info", "session", "--book-at", middle, "--clock", clock)
        assert book == sessions.book_at(session, 0, middle, clock=clock)
        assert re.fullmatch(r"0\.\d{4}", book["yes_bids"][0][0])


def test_backtest(here, answer):
    """A backtest reports the figures of the contract; by file and by module they are the same."""
    figures = answer("backtest", "session", "--strategy", "mine.py:Maker", "--journal", "j")
    again = answer("backtest", "session", "--strategy", "mine:Maker")
    assert {*figures} >= FIGURES
    assert figures["digest"] == again["digest"]
    assert min(figures["orders"], figures["fills"]) > 0
    rows = journals.load("j")[1]
    assert figures["fills"] == np.count_nonzero(rows["kind"] == JournalKind.FILL)
    assert figures["orders"] == np.count_nonzero(rows["kind"] == JournalKind.SUBMITTED)


def test_options_arrive(here, answer):
    """Parameters, cash and fees change the run; each is kept in the journal and used by verify."""
    plain = answer("backtest", "session", "--strategy", "mine.py:Maker")
    for option in (["--param", "size=3"], ["--cash", "50.25"], ["--fees", "NO_FEES"],
                   ["--market", "SYN-3-000", "--param", "edge=100"]):
        run = ["backtest", "session", "--strategy", "mine.py:Maker", "--journal", "j", *option]
        figures = answer(*run)
        assert (figures["digest"] == plain["digest"]) == (option[0] == "--fees")
        assert answer("verify", "j")["digest"] == figures["digest"]


def test_functions_are_called_every_so_often(here, answer):
    """A function needs --every, and the journal keeps it."""
    answer("backtest", "session", "--strategy", "mine.py:decide", "--every", "1s", "--journal", "j")
    assert answer("verify", "j")["equal"]


def test_verify(here, answer, run):
    """A journal verifies in all three ways; another strategy does not, by its first row."""
    answer("backtest", "session", "--strategy", "mine.py:Maker", "--journal", "j")
    data = answer("verify", "j")
    assert data["equal"]
    assert all(data[way]["equal"] for way in ("rerun", "replay", "rebuild"))
    other = answer("verify", "j", "--strategy", "mine.py:Sleeper", status=1)
    assert other["rerun"]["difference"].startswith("row 1 (SUBMITTED SYN-3-000 ts")
    assert other["replay"]["equal"]
    status, out, err = run("verify", "j", "--strategy", "mine.py:Sleeper")
    assert (status, err) == (1, "")
    assert "row 1" in out


def test_verify_finds_a_forged_row(here, answer):
    """A journal whose file is sound but whose fill was changed is not what the run does."""
    answer("backtest", "session", "--strategy", "mine.py:Maker", "--journal", "j")
    header, rows, places = journals.load("j")
    rows = rows.copy()
    fill = int(np.flatnonzero(rows["kind"] == JournalKind.FILL)[0])
    rows["price"][fill] -= 100
    journals.save("j", rows, places, header)
    data = answer("verify", "j", status=1)
    assert data["rerun"]["difference"].startswith(f"row {fill} (FILL SYN-3-000")
    assert "price is" in data["rerun"]["difference"]


def test_verify_finds_a_moved_session(here, answer, run):
    """A journal of a session that moved wants --session; a changed session is an error."""
    answer("backtest", "session", "--strategy", "mine.py:Maker", "--journal", "j")
    Path("session").rename("moved")
    status, _, err = run("verify", "j")
    assert status == 2
    assert str(here / "session") in one_line(err)
    assert answer("verify", "j", "--session", "moved")["equal"]
    sessions.save(synthetic.session(seed=4, events=3000, minutes=5), "session")
    status, _, err = run("verify", "j")
    assert status == 2
    assert "digest" in one_line(err)


def test_a_generated_session_needs_no_folder(here, answer):
    """The header of a journal over a generated session says how to generate it again."""
    answer("demo", "--seed", "5", "--journal", "j")
    assert answer("verify", "j")["equal"]


def test_explain(here, answer, run):
    """The fill asked for is explained, as text either way; one that is not there is named."""
    answer("backtest", "session", "--strategy", "mine.py:Maker", "--journal", "j")
    first = answer("explain", "j", 0)["text"]
    assert first != answer("explain", "j", 1)["text"]
    assert first in run("explain", "j", 0)[1]
    status, _, err = run("explain", "j", 10**6)
    assert status == 2
    assert "fill 1000000" in one_line(err)


def test_bench(answer, run):
    """Benchmarks run at toy size, by name or all."""
    all_of_them = answer("bench", "--toy")["benchmarks"]
    for figures in all_of_them:
        assert figures["per_second"] > 0
    assert run("bench", "speed")[0] == 2


# The models of a run.

MINE = ["backtest", "session", "--strategy", "mine:Maker"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50ms", Latency.constant("50ms")),
        ("order=50ms", Latency.constant("50ms")),
        ("order=50ms,cancel=20ms, response=5ms,feed=recorded",
         Latency.constant("50ms", cancel="20ms", response="5ms", feed=Feed.RECORDED)),
        ("feed=7ns", Latency(feed=Delay.constant(7))),
        ("amend=1us", Latency(amend=Delay.constant(1000))),
        ("order=@delays.csv,response=@one.csv",
         Latency(*[Delay.empirical([1_500_000, 20, 0])] * 3, Delay.constant(3000))),
    ],
)  # fmt: skip
def test_latency(here, text, expected):
    """One time, or one for each message; a file is a table to draw from."""
    (here / "delays.csv").write_text("\ufeff1.5ms\n20ns\n\n 0ms \n")
    (here / "one.csv").write_text("3us")
    assert models.latency(text) == expected


@pytest.mark.parametrize(("words", "named"), [
    ([*MINE, "--latency"], "--latency"), ([*MINE, "--latency", "order=5,cancel="], "--latency"),
    ([*MINE, "--latency", "feed="], "--latency"), ([*MINE, "--restored-after"], "--restored-after"),
    ([*MINE, "--every"], "--every"), (["split", "session", "--to", "x", "--every"], "--every"),
    (["sample", "session", "--to", "x", "--window"], "--window"),
    (["check-leak", "strategy", "mine:decide", "session", "--option", "every="], "--option every"),
    (["check-leak", "env", "session", "--option", "window="], "--option window"),
    (["check-leak", "env", "session", "--option", "restored_after="], "--option restored_after"),
], ids=" ".join)  # fmt: skip
@pytest.mark.parametrize("number", ["5", "0", "0.5"])
def test_a_time_has_its_unit(here, run, words, named, number):
    """A number alone is refused in the same words wherever a time is asked for: 5 of what?"""
    given = [*words[:-1], words[-1] + number] if words[-1].endswith("=") else [*words, number]
    status, out, err = run(*given)
    assert (status, out) == (2, "")
    assert re.search(rf"{named}: '[05.]+' is no time with its unit, such as 100ms", one_line(err))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("5ms\n\nsix\n", "delays.csv:3: 'six' is no time with its unit"),
        ("5ms\n-1ms\n", "delays.csv:2: -1000000 ns; expected 0 to"),
        ("5ms\n6ms\n48h\n", "delays.csv:3: .*one day"),
        ("0.5\n", "delays.csv:1: '0.5' is no time with its unit"),
        ("5ms\n20\n", "delays.csv:2: '20' is no time with its unit"),
        ("\n", "delays.csv: it has no delays"),
        (b"\xff\xfe5\x00", "delays.csv:1: "),
    ],
)
def test_a_bad_table_of_delays(here, run, content, text):
    """The file and the line are named, whatever is in it."""
    path = here / "delays.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, out, err = run(*MINE, "--latency", "order=@delays.csv")
    assert (status, out) == (2, "")
    assert re.search(text, one_line(err)), err


def test_risk():
    """Quantities in contracts, money in dollars, a tier by its name."""
    text = ("max_order_qty=2.5,max_open_orders=3,max_position=100,max_notional=50,"
            "max_loss=0.5,tokens_per_second=advanced,burst_seconds=1")
    assert models.risk(text) == Risk(250, 3, 10_000, 50_000_000, 500_000, 300, 1)
    assert models.risk("") == Risk()
    assert models.risk("tokens_per_second=70").tokens_per_second == 70


def test_options_become_models(here):
    """Each option of the venue reaches the run."""
    made = models.settings(cash="5", fees="NO_FEES", latency="5ms", queue="power3",
                           risk="max_position=1", restored_after="2s", seed=4)
    assert made == {
        "cash": 5_000_000, "fees": NO_FEES, "latency": Latency.constant("5ms"),
        "queue": Queue.power(3), "risk": Risk(max_position=100), "restored_after": 2_000_000_000,
        "seed": 4,
    }  # fmt: skip


def test_models_are_kept_in_the_journal(here, run, answer):
    """A journal of a run with chosen models verifies, and its fills are explained, without them
    being named again; the file of delays is not needed any more."""
    (here / "delays.csv").write_text("0ms\n0ms\n")
    found = answer(*MINE, "--fees", "NO_FEES", "--latency", "order=@delays.csv", "--queue",
                   "conservative", "--journal", "j", "--cash", "50")
    (here / "delays.csv").unlink()
    header = journals.load("j")[0]
    assert header["models"]["latency"]["order"]["values"] == [0, 0]
    assert header["models"]["fees"]["name"] == "NO_FEES"
    assert answer("verify", "j")["digest"] == found["digest"]
    assert "fill 0 in" in run("explain", "j", 0)[1]


def test_band(here, run, answer):
    """--band adds three runs: the chosen one is the run itself."""
    found = answer(*MINE, "--band")
    assert list(found["band"]) == ["optimistic", "chosen", "pessimistic"]
    for name in ("pnl", "fills", "contracts", "digest"):
        assert found["band"]["chosen"][name] == found[name]
    out = run(*MINE, "--band")[1]
    assert re.search(r"optimistic +chosen +pessimistic\npnl +", out)
    assert "band" not in answer(*MINE)


def test_a_strategy_that_runs_only_once_has_no_band(here, run):
    """Who cannot be copied is told so in one line."""
    (here / "lock.py").write_text(
        "import threading\nclass Locked:\n    def __init__(self):\n"
        "        self.lock = threading.Lock()\n    def on_book(self, sim, market):\n        pass\n"
    )
    status, out, err = run("backtest", "session", "--strategy", "lock.py:Locked", "--band")
    assert (status, out) == (2, "")
    assert "Locked cannot be copied, so it cannot be run again" in one_line(err)


# Whose fault it is.


def _cut(rows: int, name: str) -> None:
    """Store the first rows of a session as one of their own."""
    session = synthetic.session(seed=3, events=3000, minutes=5)
    tape = Tape(session.tape.rows[:rows].copy())
    sessions.save(Session(tape, session.markets, name=session.name), name)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_sessions_of_hardly_an_event(here, run, rows):
    """Each command answers for a session without a row, with one and with two; a run over it sends
    nothing, and verifies."""
    _cut(rows, "few")
    maker = ("--strategy", "mine:Maker")
    for status, *words in (
        (0, "info", "few"), (1, "doctor", "few"), (0, "split", "few", "--to", "parts"),
        (0, "split", "few", "--to", "parts", "--every", "1s"), (0, "merge", "few", "--to", "one"),
        (0, "backtest", "few", *maker, "--journal", "j", "--band"), (0, "verify", "j"),
        (0, "export", "hftbacktest", "few", "--to", "x.npz"), (2, "explain", "j", 0),
        (0, "info", "few", "--book-at", 0),
    ):
        assert run(*words)[0] == status, words


def test_a_strategy_that_may_not_be_read_is_named(run):
    """It is a file that is at fault, and not the strategy."""
    with open_folder() as folder:
        path = folder / "shut.py"
        path.write_text(MAKER)
        # Loads what nobody might not read, either.
        run("backtest", "synthetic:1", "--strategy", f"{path}:Nobody")
        path.chmod(0)
        with unprivileged():
            status, _, err = run("backtest", "synthetic:1", "--strategy", f"{path}:Maker")
        assert (status, one_line(err)) == (2, f"foldbook: backtest: strategy: {path}: "
                                              "Permission denied\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["backtset"], "No such command 'backtset'"),
        (["backtest", "session"], "backtest: Missing option '--strategy'"),
        (["backtest", "session", "--strategy", "mine"], "not like module:Name"),
        (["backtest", "session", "--strategy", "mine:Nobody"], "there is no Nobody in"),
        (["backtest", "session", "--strategy", "yours:Maker"], "no module 'yours'"),
        (["backtest", "session", "--strategy", "yours.py:Maker"], "there is no file yours.py"),
        (["backtest", "session", "--strategy", "mine:Maker", "--param", "size"], "name=value"),
        (["backtest", "session", "--strategy", "mine:Maker", "--param", "siez=1"], "siez"),
        (["backtest", "session", "--strategy", "mine:Maker", "--cash", "lots"], "--cash: .*'lots'"),
        (["backtest", "session", "--strategy", "mine:Maker", "--cash", "-5"], "cash"),
        (["backtest", "session", "--strategy", "mine:Maker", "--fees", "X"], "KALSHI_2026_08"),
        ([*MINE, "--queue", "X"], "--queue: .*'X'; known are conservative, optimistic"),
        ([*MINE, "--queue", "power9"], "--queue: .*power 9; expected 1 to 8"),
        ([*MINE, "--latency", "5 miles"], "--latency: .*'5 miles'"),
        ([*MINE, "--latency", "-5ms"], "--latency: delay row 0: -5000000 ns"),
        ([*MINE, "--latency", "order=5ms,orders=6ms"], "'orders=6ms' is not like NAME=VALUE, of"),
        ([*MINE, "--latency", "order=5ms,order=6ms"], "--latency: order is given twice"),
        ([*MINE, "--latency", "feed=@mine.py"], "--latency: mine.py:2: "),
        ([*MINE, "--latency", "order=@nowhere.csv"], "--latency: nowhere.csv: No such file"),
        ([*MINE, "--risk", "max_position"], "--risk: 'max_position' is not like NAME=VALUE"),
        ([*MINE, "--risk", "max_loss=much"], "--risk: max_loss: .*'much'"),
        ([*MINE, "--risk", "max_open_orders=1.5"], "--risk: max_open_orders: '1.5' is no whole"),
        ([*MINE, "--risk", "max_loss=-1"], "--risk: max_loss: -1000000; expected"),
        ([*MINE, "--restored-after", "soon"], "--restored-after: .*'soon'"),
        ([*MINE, "--restored-after", "-1s"], "restored_after: -1000000000; expected"),
        (["backtest", "session", "--strategy", "mine:Maker", "--market", "X"], "--market: .*'X'"),
        (["backtest", "session", "--strategy", "mine:decide"], "every"),
        (["backtest", "nowhere", "--strategy", "mine:Maker"], "nowhere"),
        (["backtest", "crystal:7", "--strategy", "mine:Maker"], "generators: synthetic"),
        (["info", "mine.py"], "mine.py"),
        (["info", "session", "--book-at", "0", "--market", "X"], "--market: .*'X'"),
        (["import", "crystal-ball", "x", "--to", "y"], "importers: .*kalshi-ws"),
        (["import", "kalshi-ws", "nowhere", "--to", "y"], "nowhere"),
        (["verify", "nowhere"], "nowhere: No such file"),
        (["backtest", "session", "--strategy", "session:X"], "no X in the folder session"),
        (["split", "session", "--to", "parts", "--every", "1e30h"], "--every: every: .*at most"),
        (["check-leak", "env", "session", "--at", str(2**63 - 1)], "--at: .* after the end of"),
        (["check-leak", "env", "session", "--option", "latency=5ms"], "latency: '5ms'.*Latency"),
        (["check-leak", "env", "empty"], "check-leak: synthetic-3 has no events"),
        (["check-leak", "strategy", "mine:Maker", "empty"], "synthetic-3 has no events"),
        (["check-leak", "env", "single"], "1 moments; an episode needs 3 at least"),
        (["verify", "mine.py"], "no foldbook journal"),
        (["explain", "mine.py", "x"], "'x' is not a valid integer"),
    ],
)
def test_wrong_use_is_one_line(here, run, arguments, text):
    """Wrong use and bad input: exit 2, one line that says what, nothing on stdout."""
    _cut(0, "empty")
    _cut(1, "single")
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert re.search(text, one_line(err)), err


@pytest.mark.parametrize("place", ["mine:Broken", "mine.py:Broken"])
def test_a_strategy_that_raises(here, run, place):
    """Exit 2 and one line with its file and line; traceback and journal so far are kept."""
    status, out, err = run("backtest", "session", "--strategy", place, "--json")
    assert status == 2
    assert f"mine.py:{FAULTY_LINE}: ZeroDivisionError: division by zero" in one_line(err)
    said = json.loads(out)
    assert said["traceback"] in err
    assert said["journal"] in err
    assert "return 1 / 0" in Path(said["traceback"]).read_text()
    rows = journals.load(said["journal"])[1]
    assert rows["kind"][-1] == JournalKind.FILL


def test_a_journal_of_a_strategy_that_raised_verifies(here, run, answer):
    """What it did before is as repeatable as anything."""
    run("backtest", "session", "--strategy", "mine.py:Broken", "--journal", "j")
    assert answer("verify", "j")["equal"]


def test_a_strategy_that_cannot_be_made(here, run):
    """A constructor, or a module, that raises is the strategy's fault, too."""
    status, _, err = run("backtest", "session", "--strategy", "mine.py:Stillborn")
    assert status == 2
    assert re.search(r"mine\.py:\d+: LookupError: no crystal ball", one_line(err))
    Path("worse.py").write_text("import nonsense_that_is_not_there\n")
    status, _, err = run("backtest", "session", "--strategy", "worse.py:X")
    assert status == 2
    assert "worse.py:1: ModuleNotFoundError" in one_line(err)
    Path("leaver.py").write_text("import sys\nsys.exit(4)\n")
    status, _, err = run("backtest", "session", "--strategy", "leaver.py:X")
    assert status == 2
    assert "leaver.py:2: SystemExit: 4" in one_line(err)
    status, _, err = run("backtest", "session", "--strategy", "mine.py:Secretive")
    assert status == 2
    assert re.search(r"strategy: .*mine\.py:\d+: LookupError: I have no seed", one_line(err))


NOT_WRITTEN = (
    ["backtest", "session", "--strategy", "mine.py:Told", "--journal"],
    ["demo", "--seed", "1", "--journal"],
    ["export", "hftbacktest", "session", "--to"],
)


@pytest.mark.parametrize("words", NOT_WRITTEN, ids=" ".join)
@pytest.mark.parametrize(("place", "why"), [
    ("", "it is a folder"), ("session", "it is a folder"), ("nowhere/j", "no folder nowhere"),
    ("mine.py/j", "no folder mine.py"), ("/dev/null", "a device"),
])
def test_a_file_that_cannot_be_written_is_named_before_the_run(here, run, words, place, why):
    """The line names the file that was asked for; the strategy is not even made."""
    Path("mine.py").write_text(MAKER + TOLD)
    status, out, err = run(*words, place)
    assert (status, out, Path("told").exists()) == (2, "", False)
    said = f"Invalid value for '{words[-1]}': {Path(place)}: cannot be written: "
    assert one_line(err).startswith(f"foldbook: {words[0]}: {said}")
    assert why in err


TOLD = """
class Told(Maker):
    def __init__(self):
        open("told", "w").close()
"""


@pytest.mark.parametrize("words", [
    ["split", "session"], ["merge", "session"], ["slice", "session", "--until", 2**62],
    ["sample", "session", "--n", 1], ["log", "compact", "log"],
    ["import", "kalshi-ws", "recordings"],
], ids=lambda words: words[0])
def test_a_folder_that_cannot_be_made_is_named_before_the_work(here, run, words):
    """A folder below a file, also where nothing that is named to be read exists."""
    status, out, err = run(*words, "--to", "mine.py/there")
    assert (status, out) == (2, "")
    assert "'--to': mine.py/there: cannot be written: mine.py is no folder" in one_line(err)


@pytest.mark.parametrize("command", ["merge", "slice"])
def test_a_session_that_would_replace_something_else_is_not_made(here, run, command):
    """What is there is named before the session is read, and stays."""
    Path("kept").mkdir()
    Path("kept/notes").write_text("mine")
    status, _, err = run(command, "no-such-session", "--to", "kept")
    assert status == 2
    assert "kept: exists and is no session: not replaced" in one_line(err)


def test_a_place_that_one_may_not_write_to_is_named(run):
    """The folder is there, and somebody else's."""
    with open_folder() as folder:
        (folder / "shut").mkdir(mode=0o555)
        for words in (["demo", "--journal", folder / "shut/j"],
                      ["split", "synthetic:1", "--to", folder / "shut/parts"]):
            with unprivileged():
                status, out, err = run(*words)
            assert (status, out) == (2, "")
            assert f"{words[-1]}: cannot be written: {folder}/shut: Permission" in one_line(err)


@pytest.mark.parametrize("place", ["", "."])
def test_a_session_has_a_folder_of_its_own(here, run, place):
    """The current folder is not where a session can be put."""
    status, _, err = run("slice", "session", "--until", 2**62, "--to", place)
    assert status == 2
    assert "names no folder" in one_line(err)


def test_a_damaged_journal(here, answer, run):
    """A flipped bit is a line that says where."""
    answer("backtest", "session", "--strategy", "mine.py:Maker", "--journal", "j")
    data = bytearray(Path("j").read_bytes())
    data[len(data) // 2] ^= 1
    Path("j").write_bytes(data)
    status, _, err = run("verify", "j")
    assert status == 2
    assert "damaged between bytes" in one_line(err)


def test_a_defect_is_one_line_as_well(here, run, monkeypatch):
    """Even our own mistakes show no traceback: it is in a file, and the file is named."""
    monkeypatch.setattr(sessions, "describe", lambda session: {}["markets"])
    status, out, err = run("info", "session", "--json")
    assert status == 2
    assert "defect in foldbook: KeyError: 'markets'" in one_line(err)
    assert "KeyError" in Path(json.loads(out)["traceback"]).read_text()


# Small parts.


@pytest.mark.parametrize(
    ("text", "expected"),
    [("size=10", ("size", 10)), ("edge=-3", ("edge", -3)), ("price=0.48", ("price", "0.48")),
     ("shy=False", ("shy", False)), ("name=a=b", ("name", "a=b")), ("name=", ("name", ""))],
)
def test_parameters(text, expected):
    """Ints and truth values are read; everything else stays text, decimal numbers above all."""
    assert plugins.parameter(text) == expected


def test_a_bar_appears_only_when_it_takes_long(capsys, monkeypatch):
    """Nothing is drawn in the first two seconds; then stderr has the bar, and stdout nothing."""
    clock = iter([0.0, 1.9, 2.1])
    monkeypatch.setattr(show.time, "monotonic", lambda: next(clock))
    bars = []
    monkeypatch.setattr(show, "_bar", lambda label: bars.append(FakeBar()) or bars[-1])
    with show.progress("counting") as report:
        report(1, 3)
        assert not bars
        report(2, 3)
        report(3, 3)
    assert bars[0].seen == [(2, 3), (3, 3), "stop"]


class FakeBar:
    task_ids = (0,)

    def __init__(self):
        self.seen = []

    def update(self, task, completed, total):
        self.seen.append((completed, total))

    def stop(self):
        self.seen.append("stop")


def test_as_a_module_and_as_a_script(here):
    """`python -m foldbook.adapters.cli` and the script `foldbook` are one program."""
    script = Path(sys.executable).with_name("foldbook")
    for program in ([sys.executable, "-m", "foldbook.adapters.cli"], [str(script)]):
        ran = subprocess.run([*program, "info", "nowhere"], capture_output=True, text=True,
                             check=False, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
        assert (ran.returncode, ran.stdout) == (2, "")
        assert one_line(ran.stderr).startswith("foldbook: nowhere")


# What new users ran into.


@pytest.mark.parametrize("ticker", ["../../evil", "/abs", "a/b", "a\nb", "--json", ""])
def test_a_ticker_never_chooses_where_files_are_written(run, tmp_path, ticker):
    """What names no market is refused, and nothing is stored, inside `--to` or outside."""
    lines = numbered([snapshot(0, *BOOK), delta(1, 1, "yes", "0.4800", "5.00")])
    for each in lines:
        each["event"]["msg"]["market_ticker"] = ticker
    source = write(tmp_path, lines)
    target = tmp_path / "deep" / "to"
    status, _, err = run("import", "kalshi-ws", source, "--to", target)
    assert status == 2
    assert "ticker" in one_line(err)
    assert "defect" not in err
    assert not list(tmp_path.rglob("session.json"))


def test_a_changed_tape_is_no_session(run, here):
    """Rows that are not those that were stored are refused, plausible as they may be."""
    path = here / "session" / "tape.npy"
    data = bytearray(path.read_bytes())
    data[-40 * 7 + 8] ^= 1
    path.write_bytes(data)
    for words in (("backtest", "session", "--strategy", "mine.py:Maker"), ("info", "session")):
        status, _, err = run(*words)
        assert status == 2
        assert "rows were changed" in one_line(err)


def test_a_session_is_immutable():
    """Nothing can be set on it; copies of equal content are equal."""
    session = synthetic.session(seed=3, events=500, minutes=1)
    with pytest.raises(AttributeError, match="immutable"):
        session.name = "other"
    assert session == synthetic.session(seed=3, events=500, minutes=1)
    assert session != synthetic.session(seed=4, events=500, minutes=1)
    assert len({session, synthetic.session(seed=3, events=500, minutes=1)}) == 1


def _command(*words):
    return subprocess.run(
        [sys.executable, "-m", "foldbook.adapters.cli", *words], capture_output=True, text=True
    )


def test_json_is_alone_on_stdout_even_if_a_strategy_prints(here):
    """What a strategy prints goes to stderr; stdout is one JSON object."""
    (here / "loud.py").write_text(
        "class Loud:\n    def on_start(self, sim):\n        print('hi')\n"
    )
    done = _command("backtest", "session", "--strategy", "loud.py:Loud", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["orders"] == 0
    assert "hi" in done.stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_answer_that_cannot_be_written_is_said(here, form):
    """A full device is named, in a line; who stops reading, or does not read, is no failure."""
    words = ["backtest", "session", "--strategy", "mine.py:Maker", *form]
    foldbook = [sys.executable, "-m", "foldbook.adapters.cli"]
    with open("/dev/full", "w") as full:
        done = subprocess.run([*foldbook, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "foldbook: stdout: No space left on device\n")
    for shut in (" >&-", " | true; exit ${PIPESTATUS[0]}"):
        script = shlex.join([*foldbook, *words]) + shut
        done = subprocess.run(["bash", "-c", script], stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_parameter_is_given_once(run, here):
    """Which of two values was meant is not guessed."""
    words = ("backtest", "session", "--strategy", "mine.py:Maker")
    status, _, err = run(*words, "--param", "size=1", "--param", "size=2")
    assert status == 2
    assert one_line(err) == "foldbook: backtest: parameter size is given twice: 1 and 2\n"


@pytest.mark.parametrize("raised", ["SystemExit(0)", "GeneratorExit", "Rude"])
def test_whatever_a_strategy_raises_is_the_strategys(run, here, raised):
    """Exits and errors that cannot be shown end a run like any other, with the place named."""
    (here / "odd.py").write_text(
        "class Rude(Exception):\n    def __str__(self):\n        raise RuntimeError\n"
        f"class Odd:\n    def on_start(self, sim):\n        raise {raised}\n"
    )
    status, _, err = run("backtest", "session", "--strategy", "odd.py:Odd")
    assert status == 2
    assert "odd.py:6" in one_line(err)
    assert "defect" not in err


def test_wrong_values_are_the_users(run, here):
    """Options out of range and files that are no Python are wrong use, not a defect."""
    (here / "bad.py").write_text("def (\n")
    run_it = ("backtest", "session", "--strategy")
    for words in (
        (*run_it, "mine.py:decide", "--every", "0ms"),
        (*run_it, "mine.py:Maker", "--cash", "1e30"),
        (*run_it, "mine.py:Maker", "--order-capacity", "0"),
        (*run_it, "bad.py:Maker"),
        ("info", "synthetic:99999999999999999999999999"),
        ("info", "session", "--book-at", "99999999999999999999999"),
    ):
        status, _, err = run(*words)
        assert status == 2
        assert "defect" not in one_line(err)


def test_a_journal_verifies_from_anywhere(run, here, monkeypatch):
    """Session and strategy file are kept as full paths."""
    assert run("backtest", "session", "--strategy", "mine.py:Maker", "--journal", "j")[0] == 0
    (here / "else").mkdir()
    monkeypatch.chdir(here / "else")
    assert run("verify", here / "j")[0] == 0
