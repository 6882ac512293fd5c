"""Errors that trading environments are known for, each with what would turn red if it were made.

docs/gym.md lists them with their guards; those that no other test has in view are here.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import re
import time
from pathlib import Path

import numpy as np
import pytest
from gyms import play, same, session, single, vector
from test_kalshi_ws import snapshot, tape

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Side, contracts, dollars
from foldbook.engine.observations import CORE
from foldbook.engine.schema import JournalKind, TapeKind
from foldbook.engine.units import CASH_ONE

PAGE = Path(__file__).parents[1] / "docs" / "gym.md"
ERRORS = 14


def test_every_error_has_its_guards():
    """The page lists all of them, and each test that it names is there."""
    table = PAGE.read_text().partition("## Errors that are known")[2].partition("\n## ")[0]
    rows = [row for row in table.splitlines() if re.match(r"\| \d+ ", row)]
    assert [int(row.split()[1]) for row in rows] == list(range(1, ERRORS + 1))
    for row in rows:
        guards = re.findall(r"`(test_\w+)::(test_\w+)`", row)
        assert guards, row
        for module, name in guards:
            source = (Path(__file__).parent / f"{module}.py").read_text()
            assert f"\ndef {name}(" in source, f"{module}::{name}"


def test_a_side_is_what_the_record_says_at_any_price(tmp_path):
    """A YES bid at 0.97 is a bid, and so is one at 0.02; a NO bid at 0.02 is an ask at 0.98, one
    at 0.97 an ask at 0.03: what is left of the whole dollar."""
    for yes, no, ask in (("0.9700", "0.0200", 9_800), ("0.0200", "0.9700", 300)):
        rows = tape(tmp_path, [snapshot(0, [[yes, "5.00"]], [[no, "7.00"]])])
        levels = {(side, price, qty) for kind, _, _, side, price, qty, _ in rows
                  if kind == TapeKind.SNAPSHOT_LEVEL}
        assert levels == {(Side.BUY, int(yes.replace(".", "")), 500), (Side.SELL, ask, 700)}


def test_one_account_is_kept():
    """What infos, views, result, statistics and a rebuild from the journal alone say of cash and
    position is the same number at every step."""
    env = single(session(), actions="now5", cadence=10)
    env.reset(seed=5)
    rng = np.random.default_rng(5)
    for number in range(150):
        *_, info = env.step(int(rng.integers(5)))
        seen = env.simulation.positions
        assert (info["cash"], info["position"]) == (seen.cash, seen.qty(0))
        if number % 30 == 0:
            rebuilt = env.result().rebuild()
            assert (rebuilt.positions.cash, rebuilt.positions.qty(0)) == (seen.cash, seen.qty(0))
    assert info["position"] or info["cash"] != dollars(100)


def test_one_unit_of_money():
    """Cash in the infos, the engine and the options is in the same unit, and a reward is its
    change in cents times 0.0001."""
    env = single(session(), actions="now5", cash=dollars(250))
    _, info = env.reset(seed=5)
    assert info["cash"] == env.simulation.positions.cash == 250 * CASH_ONE
    value = info["portfolio_value"]
    for action in [1, 0, 0, 2, 3, 0, 4] * 10:
        _, reward, _, _, info = env.step(action)
        cents = (info["portfolio_value"] - value) / (CASH_ONE / 100)
        assert reward == pytest.approx(cents * 0.0001, abs=1e-12)
        value = info["portfolio_value"]
    assert value != 250 * CASH_ONE


def test_a_running_event_loop_changes_nothing():
    """Called from a coroutine, orders are sent and filled as anywhere else, to the last bit."""
    async def inside() -> tuple[list, str]:
        await asyncio.sleep(0)
        env = single(session(), actions="now5")
        told = play(env, 120, seed=2)
        result = Backtest(session(), _Buyer()).run()
        return told, result.digest

    env = single(session(), actions="now5")
    told = play(env, 120, seed=2)
    assert sum(each[-1]["fills"] for each in told) > 0
    seen, digest = asyncio.run(inside())
    assert same(told, seen)
    assert digest == Backtest(session(), _Buyer()).run().digest


class _Buyer:
    """Buys ten at the ask whenever it holds nothing."""

    def on_book(self, sim, market):
        if not sim.positions.qty(market) and 0 < sim.book(market).best_ask < 10_000:
            sim.submit(market, Side.BUY, sim.book(market).best_ask, contracts(10))


def test_no_clock_but_that_of_the_tape(monkeypatch):
    """With clocks that run away, environments and runs go as they went, and episodes last as long
    on the tape as before."""
    before = play(single(session(), window="5s"), 200, seed=2)
    digest = Backtest(session(), _Buyer()).run().digest
    ticks = iter(range(10**9, 10**12, 86_400))
    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: float(next(ticks)))
        monkeypatch.setattr(time, f"{name}_ns", lambda: next(ticks) * 10**9)
    assert same(before, play(single(session(), window="5s"), 200, seed=2))
    assert Backtest(session(), _Buyer()).run().digest == digest


def test_every_built_in_feature_says_something():
    """Each feature of `core` varies on generated markets under random actions, but for the time to
    the close, which nobody has stated there."""
    constant = set(CORE)
    for seed in (1, 2):
        played = synthetic.session(seed=seed, markets=2, events=4_000, minutes=4)
        env = single(played, actions="quote", cadence=20, start="random", cash=dollars(1000))
        seen = [each[0] for each in play(env, 10_000, seed=seed)]
        spread = np.array(seen, float).std(axis=0)
        constant -= {name for name, each in zip(CORE, spread, strict=True) if each > 1e-6}
    assert constant == {"to_close"}


@pytest.mark.parametrize("actions", ["limit5", "sized21", "now5"])
def test_masked_policies_are_not_refused(actions):
    """Of the new orders of whoever draws from what the mask allows none is refused; without it most
    are, where cash is short. (HOLD is never masked, and what it amends may be refused.)"""
    orders = {}
    for is_masked in (True, False):
        env = single(session(), actions=actions, cash=dollars(20))
        _, info = env.reset(seed=1)
        env.action_space.seed(1)
        for _ in range(1_200):
            mask = info["action_mask"] if is_masked else None
            *_, info = env.step(env.action_space.sample(mask))
        kinds = env.simulation.journal().rows["kind"].tolist()
        orders[is_masked] = [kinds.count(kind) for kind in (JournalKind.SUBMITTED,
                                                            JournalKind.REJECTED)]
    assert orders[True][0] > 40 and orders[True][1] == 0
    assert orders[False][1] > orders[False][0] / 2


@pytest.mark.parametrize("market", ["next", "random"])
def test_an_episode_is_of_one_market(market):
    """From reset to its end an episode holds the tape of one market, and nothing of an episode in
    another one is left in it: it is that of an environment that has played nothing else."""
    env = single(session(), market=market, max_steps=40, cadence=20)
    env.reset(seed=3)
    tickers = set()
    for number in range(6):
        observation, info = env.reset()
        tickers.add(info["market"])
        assert env.simulation.tickers == [info["market"]]
        assert set(env.simulation.session.tape.rows["market"].tolist()) == {0}
        alone = single(session(), market=info["market"], max_steps=40, cadence=20)
        first, _ = alone.reset(seed=number)
        assert same(observation, first)
        rng = np.random.default_rng(number)
        over = False
        while not over:
            action = int(rng.integers(5))
            ours, theirs = env.step(action), alone.step(action)
            assert same(ours[:4], theirs[:4])
            over = ours[2] or ours[3]
            assert ours[-1]["market"] == info["market"]
    assert len(tickers) == 2


def test_nothing_is_written_or_logged(capfd, caplog, tmp_path, monkeypatch):
    """Resets, steps and runs leave no line and open no file."""
    env, envs = single(session()), vector(session(), 4)
    play(env, 10, seed=1)
    envs.reset(seed=1)
    envs.step(np.ones(4, np.int64))
    Backtest(session(), _Buyer()).run()
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    opened: list[object] = []

    def noting(path, *rest, **more):
        opened.append(path)
        return plain(path, *rest, **more)

    plain = builtins.open
    monkeypatch.setattr(builtins, "open", noting)
    play(env, 300, seed=1)
    for _ in range(300):
        envs.step(np.ones(4, np.int64))
    Backtest(session(), _Buyer()).run()
    assert (*capfd.readouterr(), caplog.records, opened, [*tmp_path.iterdir()]) == (
        "", "", [], [], [])
