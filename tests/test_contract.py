"""The public contract, name by name: commands, options, JSON keys, the library, the environments.

What others build on stands here as they rely on it. A change that turns one of these tests red
breaks somebody.
"""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from test_kalshi_ws import BOOK, delta, numbered, record, snapshot, trade, write

import foldbook.adapters.gym  # noqa: F401 - registers the environment
from foldbook import engine
from foldbook.adapters import cli, journals, sessions, synthetic
from foldbook.engine import (
    KALSHI_2026_08,
    Backtest,
    Latency,
    Outcome,
    Queue,
    Side,
    Simulation,
    TimeInForce,
    cents,
    contracts,
    dollars,
    next_change,
)
from foldbook.examples.market_maker import MarketMaker

COMMANDS = {
    "demo": ["--json"],
    "import kalshi-ws": ["--to", "--group", "--metadata", "--seq-scope", "--keep-going", "--json"],
    "info": ["--book-at", "--market", "--clock", "--json"],
    "backtest": ["--strategy", "--param", "--market", "--cash", "--seed", "--journal", "--latency",
                 "--queue", "--fees", "--json"],
    "verify": ["--session", "--strategy", "--json"],
    "explain": ["--json"],
    "bench": ["--json"],
}  # fmt: skip
MONEY = re.compile(r"-?\d+\.\d{2,6}")
MAKER = "foldbook.examples.market_maker:MarketMaker"
TICKER = "SYN-7-000"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a stored session, `kept`, of two minutes."""
    folder = tmp_path_factory.mktemp("contract")
    sessions.save(synthetic.session(seed=7, events=8_000, minutes=2), folder / "kept")
    return folder


@pytest.fixture(scope="module")
def result() -> Any:
    """What came of the market maker over a generated session."""
    session = synthetic.session(seed=7, events=8_000, minutes=2)
    return Backtest(session, MarketMaker(), cash=dollars(1000)).run()


@pytest.fixture
def run(capsys, place, monkeypatch):
    """A function that runs a command in that folder and returns (status, stdout, stderr)."""
    monkeypatch.chdir(place)

    def run(*words: Any) -> tuple[int, str, str]:
        status = cli.main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def answer(run):
    """A function that runs a command with --json and returns its one object."""

    def answer(*words: Any, status: int = 0) -> dict[str, Any]:
        found, out, err = run(*words, "--json")
        assert found == status, err
        assert out.count("\n") == 1
        return json.loads(out)

    return answer


# The command line.


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_and_their_options(run, name):
    """Each is there, has its options, and an example of itself in its help."""
    status, out, _ = run(*name.split(), "--help")
    assert status == 0
    assert set(COMMANDS[name]) <= set(re.findall(r"--[a-z-]+", out))
    assert f"foldbook {name}" in out.partition("Example:")[2]


def test_it_runs_as_a_module_and_as_a_program():
    """`foldbook` and `python -m foldbook.adapters.cli` are the same."""
    program = str(Path(sys.executable).with_name("foldbook"))
    for words in ([program], [sys.executable, "-m", "foldbook.adapters.cli"]):
        done = subprocess.run([*words, "--help"], capture_output=True, text=True, check=True)
        assert {name.split()[0] for name in COMMANDS} <= set(done.stdout.split())


def test_demo(answer):
    """A run over a generated session, one fill explained, and the digest."""
    found = answer("demo")
    assert found["fills"] > 0
    assert found["explained"].startswith("fill 0")
    assert re.fullmatch("[0-9a-f]{64}", found["digest"])


BACKTEST = {
    "session": str, "markets": list, "events": int, "orders": int, "rejects": int, "fills": int,
    "contracts": str, "fees": str, "pnl": str, "final_value": str, "max_drawdown": str,
    "digest": str, "run_digest": str, "seconds": float, "events_per_second": int,
}  # fmt: skip


def test_backtest(answer):
    """The figures with their types: money and contracts are decimal strings; what a run assumes
    unless told is written out; every option is taken."""
    words = ("backtest", "kept", "--strategy", MAKER)
    found = answer(*words, "--journal", "j")
    assert {name: type(found[name]) for name in BACKTEST} == BACKTEST
    for name in ("fees", "pnl", "final_value", "max_drawdown", "contracts"):
        assert MONEY.fullmatch(found[name]), name
    cents = {name: round(float(found[name]) * 1e6) for name in ("final_value", "pnl")}
    assert cents["final_value"] - cents["pnl"] == 1000 * 10**6
    assert found["markets"] == [TICKER] and found["session"].endswith("kept")
    usual = ("--cash", "1000", "--latency", "0ms", "--queue", "conservative", "--seed", "0")
    assert answer(*words, *usual)["run_digest"] == found["run_digest"]
    other = answer(*words, "--param", "size=3", "--market", TICKER, "--cash", "50", "--seed", "4",
                   "--latency", "5ms", "--queue", "rebuilt", "--fees", "KALSHI_2026_08")
    assert other["digest"] != found["digest"]
    header = journals.load("j")[0]
    assert header["session"]["path"] == str(Path("kept").resolve())
    assert header["session"]["digest"] == sessions.load("kept").digest
    assert {"seed", "models", "decider"} <= header.keys()
    assert header["decider"]["strategy"] == MAKER


def test_verify_and_explain(answer, run):
    """A journal verifies, its first fill has a chain of causes, and a difference is status 1; both
    find a session and a strategy where they are told to."""
    answer("backtest", "kept", "--strategy", MAKER, "--journal", "v")
    assert answer("verify", "v", "--session", "kept", "--strategy", MAKER)["equal"] is True
    other = "foldbook.examples.join_best_bid:JoinBestBid"
    assert answer("verify", "v", "--strategy", other, status=1)["equal"] is False
    found = answer("explain", "v", 0)
    assert found["fill"] == 0 and found["market"] == TICKER and found["chain"]
    assert run("explain", "v", 10**6)[0] == 2


def test_info(answer):
    """What a session holds, and its book at a time by either clock, best first."""
    found = answer("info", "kept")
    assert {"session", "markets", "events", "snapshots", "deltas", "trades", "gaps",
            "joined_trades", "digest"} <= found.keys()
    [market] = found["markets"]
    assert {"ticker", "first_ts", "last_ts", "tick", "status", "result"} <= market.keys()
    middle = (market["first_ts"] + market["last_ts"]) // 2
    for clock in ("exchange", "receive"):
        book = answer("info", "kept", "--book-at", middle, "--market", TICKER, "--clock", clock)
        for price, qty in (*book["yes_bids"], *book["yes_asks"]):
            assert re.fullmatch(r"\d\.\d{4}", price) and re.fullmatch(r"\d+\.\d\d", qty)
        bids, asks = ([price for price, _ in book[side]] for side in ("yes_bids", "yes_asks"))
        assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]


def test_import(answer, tmp_path):
    """A folder of market folders gives one session each, or one of all; what was read and joined
    is counted; without metadata a market ends closed and its result is null."""
    for ticker in ("KXA-1", "KXB-1"):
        (tmp_path / "in" / ticker).mkdir(parents=True)
        write(tmp_path / "in" / ticker, numbered([
            snapshot(0, *BOOK, ticker=ticker), delta(12, 10_000, "yes", "0.4000", "5.00",
                                                     ticker=ticker),
            delta(22, 20_000, "yes", "0.4000", "-2.00", ticker=ticker),
            trade(23, 20, "no", "0.4000", "2.00", ticker=ticker), snapshot(30, ticker=ticker),
        ]))  # fmt: skip
    words = ("import", "kalshi-ws", tmp_path / "in", "--to", tmp_path / "out")
    found = answer(*words)["sessions"]
    assert [each["markets"] for each in found] == [["KXA-1"], ["KXB-1"]]
    for each in found:
        counts = {name: each[name] for name in ("read", "joined", "rejected", "gaps")}
        assert counts == {"read": 5, "joined": 1, "rejected": 0, "gaps": 0}
        [market] = answer("info", each["session"])["markets"]
        assert (market["status"], market["result"]) == ("closed", None)
    [grouped] = answer(*words, "--group")["sessions"]
    assert grouped["markets"] == ["KXA-1", "KXB-1"]
    settled = answer(*words, "--metadata", record(tmp_path))["sessions"][0]
    [market] = answer("info", settled["session"])["markets"]
    assert (market["status"], market["result"]) == ("settled", "yes")


def test_exit_statuses(run, answer, tmp_path):
    """2 for wrong use, with one line and no traceback; a strategy that raises is one line with file
    and line, its traceback and journal kept."""
    for words in (["nonsense"], ["info", "nowhere"], ["backtest", "kept", "--strategy", "x"]):
        status, out, err = run(*words)
        assert (status, out, err.count("\n")) == (2, "", 1)
    (tmp_path / "bad.py").write_text("class Bad:\n    def on_book(self, sim, market):\n"
                                     "        1 / 0\n")
    found = answer("backtest", "kept", "--strategy", f"{tmp_path}/bad.py:Bad", status=2)
    assert "bad.py:3: ZeroDivisionError" in found["error"]
    assert Path(found["traceback"]).exists() and Path(found["journal"]).exists()


def test_bench(answer):
    """Benchmarks have names, and answer with figures."""
    assert answer("bench", "--toy", "fused-loop")


# The library.

PROTOCOL = {
    "submit": "(market, side, price, qty, outcome=YES, tif=GTC, post_only=False, reduce_only=False,"
              " expires=None, client_id=None)",
    "would_reject": "(market, side, price, qty, outcome=YES, tif=GTC, post_only=False,"
                    " reduce_only=False, expires=None, client_id=None)",
    "amend": "(id, price=None, qty=None)",
    "cancel": "(id)",
    "cancel_all": "(market=None)",
    "timer": "(ts)",
    "book": "(market)",
    "fork": "()",
}  # fmt: skip
DEFAULTS = {"YES": Outcome.YES, "GTC": TimeInForce.GTC, "False": False, "None": None}


@pytest.mark.parametrize("name", PROTOCOL)
def test_what_a_strategy_may_do(name):
    """By these names, in this order, with these defaults; what is added comes behind."""
    parameters = list(inspect.signature(getattr(Simulation, name)).parameters.values())[1:]
    for wanted, found in zip(PROTOCOL[name].strip("()").split(","), parameters, strict=False):
        wanted_name, _, default = wanted.strip().partition("=")
        if not wanted_name:
            continue
        assert found.name == wanted_name
        if default:
            assert found.default is DEFAULTS[default]
    assert len(parameters) >= len(list(filter(None, PROTOCOL[name].strip("()").split(","))))


def test_what_a_strategy_is_told():
    """All hooks are called; orders, positions, the book and the time are at hand in each."""
    told = {}

    class Listens:
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("on_"):
                raise AttributeError(name)

            def hook(sim: Any, *rest: Any) -> None:
                told.setdefault(name, rest)
                if name == "on_start":
                    sim.timer(sim.now + 1)
                if name == "on_book" and not sim.orders.open(rest[0]):
                    ask = sim.book(rest[0]).best_ask
                    if ask < cents(100) and not sim.positions.qty(rest[0]):
                        sim.submit(rest[0], Side.BUY, price=ask, qty=contracts(10))

            return hook

    Backtest(synthetic.session(seed=7, events=8_000, minutes=2), Listens()).run()
    assert told.keys() == {"on_start", "on_book", "on_trade", "on_fill", "on_order", "on_timer",
                           "on_market", "on_end"}


def test_a_function_is_called_every_so_often():
    """At start + k x every, also when nothing happens."""
    session = synthetic.session(seed=7, events=500, minutes=1)
    seen: list[int] = []
    Backtest(session, lambda sim: seen.append(sim.now), every="100ms").run()
    steps = range(session.start, session.end + 1, 100_000_000)
    assert seen == list(steps)


def test_a_simulation_moves_by_itself():
    """To a time, by a number of rows, to the next change of a market; subscribers are served."""
    session = synthetic.session(seed=7, events=500, minutes=1)
    sim = Simulation(session)
    assert sim.advance(events=10) and sim.events >= 10
    assert sim.advance(next_change(TICKER))
    assert sim.advance(until=session.start + 10**10) and sim.now == session.start + 10**10
    assert callable(sim.subscribe)


def test_a_result(result):
    """What it has, by name; its tables go to Arrow, pandas and Polars."""
    for name in ("fills", "orders", "equity", "positions"):
        table = getattr(result, name)
        assert len(table.to_arrow()) == len(table.to_pandas()) == len(table.to_polars()) > 0
    assert result.summary() and result.explain(result.fills[0])
    assert result.replay().digest == result.digest == result.journal.digest
    assert result.metrics()["fills"] == len(result.fills)


def test_models_are_values():
    """As they are written in a call."""
    session = synthetic.session(seed=7, events=500, minutes=1)
    made = [Backtest(session, MarketMaker(), fees=KALSHI_2026_08, queue=Queue.rebuilt,
                     latency=Latency.constant(order="50ms")) for _ in range(2)]
    assert made[0].config == made[1].config
    assert Latency.constant(order="50ms").order.values == (50_000_000,)


def test_public_names():
    """Those of the examples come from one place."""
    assert {"Backtest", "Side", "Simulation", "cents", "contracts", "dollars", "next_change",
            "strategy", "Queue", "Latency", "KALSHI_2026_08", "Outcome", "TimeInForce"} <= set(
                engine.__all__)
    assert engine.Backtest.__init__.__kwdefaults__["cash"] == dollars(1000)


# Environments.


def test_environments_are_made_by_their_name():
    """Single and vector, with masks in both forms and rewards that add up."""
    session = synthetic.session(seed=7, events=3_000, minutes=2)
    env = gymnasium.make("foldbook/Market-v0", session=session, actions="limit5",
                         observation="classic52")
    observation, info = env.reset(seed=1)
    assert (observation.shape, observation.dtype) == ((52,), np.float32)
    assert info["portfolio_value"] == info["cash"] == dollars(100)
    units = 0
    for _ in range(40):
        masks = env.unwrapped.action_masks()
        assert (masks.shape, masks.dtype, info["action_mask"].dtype) == ((5,), bool, np.int8)
        action = env.action_space.sample(info["action_mask"])
        observation, _, _, _, info = env.step(action)
        assert type(info["reward_units"]) is int
        units += info["reward_units"]
    assert units == info["portfolio_value"] - dollars(100)
    assert {"session", "market", "step", "fills", "position", "journal"} <= info.keys()
    assert env.unwrapped.simulation.session.markets[0].ticker == info["market"]
    assert env.unwrapped.result().digest == env.unwrapped.simulation.journal().digest

    envs = gymnasium.make_vec("foldbook/Market-v0", num_envs=256,
                              vectorization_mode="vector_entry_point", session=session)
    _, infos = envs.reset(seed=1)
    for _ in range(3):
        assert (infos["action_mask"].shape, infos["action_mask"].dtype) == ((256, 5), np.int8)
        masks = envs.unwrapped.action_masks()
        assert (masks.shape, masks.dtype) == ((256, 5), bool)
        _, rewards, terminated, truncated, infos = envs.step(np.zeros(256, np.int64))
        assert infos["reward_units"].dtype == np.int64
        assert rewards.shape == terminated.shape == truncated.shape == (256,)


def test_a_session_is_a_value(place):
    """Copies are itself; a pickle holds where it is and its digest, never the tape."""
    session = sessions.load(place / "kept")
    assert copy.copy(session) is session and copy.deepcopy(session) is session
    pickled = pickle.dumps(session)
    assert session.digest.encode() in pickled and len(pickled) < 1_000
    assert pickle.loads(pickled).digest == session.digest
