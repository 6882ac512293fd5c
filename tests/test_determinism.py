"""The same run gives the same journal bytes, however it is driven, cut, copied or compiled.

Run as a script, this file prints the digests of a few short runs, for processes to be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compiled_run import CompiledRun
from processes import interpreted, printed
from reference.simulation import ReferenceSimulation
from strategies import Maker, Quoting, Taker, compiled_maker, compiled_taker
from workloads import drive as drive_workload
from workloads import make

from foldbook.adapters import synthetic
from foldbook.engine import (
    Backtest,
    Delay,
    Latency,
    Mark,
    Queue,
    Result,
    Session,
    Simulation,
    Tape,
    dollars,
)
from foldbook.engine import bus as bus_module
from foldbook.engine import player as player_module
from foldbook.engine.compiled import JIT_DISABLED
from foldbook.engine.projections.orders import market_and_number
from foldbook.engine.schema import JournalKind
from foldbook.engine.units import MILLISECOND

STEP = 250 * MILLISECOND
SLOW = Latency(
    Delay.empirical([MILLISECOND, 30 * MILLISECOND]), cancel=Delay.constant(20 * MILLISECOND),
    response=Delay.constant(5 * MILLISECOND), feed=Delay.constant(2 * MILLISECOND),
)  # fmt: skip
QUICK = Latency(
    Delay.empirical([1000, MILLISECOND]), response=Delay.constant(1000), feed=Delay.constant(3000)
)
BOTH = ((Maker, compiled_maker), (Taker, compiled_taker))


@pytest.fixture(scope="module")
def session() -> Session:
    """Two markets, a minute each, to their settlement."""
    return synthetic.session(seed=21, markets=2, events=4000, minutes=2)


@pytest.fixture(scope="module", params=[Mark.MID, Mark.CLOSE], ids=lambda mark: mark.name)
def result(request: pytest.FixtureRequest, session: Session) -> Result:
    """A run of the maker in Python, at each mark."""
    made = Backtest(session, Maker(), every=STEP, mark=request.param).run()
    kinds = set(made.journal.rows["kind"].tolist())
    assert len(made.fills) > 50 and JournalKind.SETTLED in kinds
    return made


def assert_same(one: Result | Simulation, other: Result | Simulation) -> None:
    """Journals, places and state blocks are equal, byte for byte."""
    first, second = (each.simulation if isinstance(each, Result) else each for each in (one, other))
    ours, theirs = first.journal(), second.journal()
    assert ours.first_difference(theirs) is None
    assert ours.places.tolist() == theirs.places.tolist()
    assert first.bus.state_bytes() == second.bus.state_bytes()


def test_twice(result, session) -> None:
    """The same backtest again is the same."""
    again = Backtest(session, Maker(), every=STEP, mark=result.config.mark).run()
    assert_same(result, again)
    assert result.digest == again.digest and result.run_digest == again.run_digest


@pytest.mark.parametrize("mark", Mark)
@pytest.mark.parametrize(("python", "compiled"), BOTH)
def test_fused_is_event_by_event(session, python, compiled, mark) -> None:
    """A compiled strategy inside the loop and its Python twin outside write the same journal."""
    slow = Backtest(session, python(), every=STEP, mark=mark).run()
    fused = Backtest(session, compiled, every=STEP, mark=mark).run()
    assert len(slow.fills) > 50
    assert_same(slow, fused)


@pytest.mark.parametrize("mark", Mark)
def test_fused_is_event_by_event_after_each_change_of_a_book(session, mark) -> None:
    """The same for a strategy that is asked after each burst that changed a book."""
    slow = Backtest(session, Quoting(), mark=mark).run()
    fused = Backtest(session, compiled_maker, mark=mark).run()
    assert len(slow.journal) > 2000 and slow.fills
    assert_same(slow, fused)


@pytest.mark.parametrize("mark", Mark)
@pytest.mark.parametrize(("python", "compiled", "every"), [(Maker, compiled_maker, STEP),
                                                           (Taker, compiled_taker, STEP),
                                                           (Quoting, compiled_maker, None)])
def test_fused_is_event_by_event_for_an_agent_that_sees_late(python, compiled, every, mark) -> None:
    """The same where messages travel: journals, and what the agent sees at the end, are equal."""
    session = synthetic.session(seed=21, events=4000, minutes=2)
    latency = SLOW if every else QUICK
    options = {"every": every, "mark": mark, "latency": latency, "order_capacity": 500}
    slow = Backtest(session, python(), **options).run()
    fused = Backtest(session, compiled, **options).run()
    assert len(slow.journal) > 200 and slow.fills
    assert_same(slow, fused)
    assert bytes(slow.simulation.bus.sight) == bytes(fused.simulation.bus.sight)


def drive(
    sim: Simulation, agent: Callable[[Simulation], Any], rows: int, first: int = 0,
    until: int | None = None,
) -> None:
    """Play `agent` every STEP from decision number `first` to time `until` (or to the end of the
    tape), moving the run by `rows` tape rows at a time."""
    times = sim.session.tape.rows["ts"]
    start, end = sim.session.start, sim.session.end
    last = end if until is None else until
    for ts in range(start + first * STEP, last + 1, STEP):
        due = int(np.searchsorted(times, ts, side="right"))
        while sim.events < due:
            sim.advance(events=min(rows, due - sim.events))
        sim.advance(until=ts)
        agent(sim)
    while until is None and sim.events < len(times):
        sim.advance(events=rows)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_steps_of_any_size(result, session, rows) -> None:
    """In steps of 1, 7 and 1,000 events: the journal and the state of the run in one piece."""
    sim = Simulation(session, mark=result.config.mark)
    drive(sim, Maker(), rows)
    assert_same(sim, result)


def test_rewards_add_up_however_a_run_is_cut(result, session) -> None:
    """The sum of the rewards of all steps is the change of value, in steps of any size."""
    for rows in (3, 50, 2000):
        sim = Simulation(session, mark=result.config.mark)
        values = [sim.reward.value]

        def agent(sim: Simulation, values: list[int] = values) -> None:
            values.append(sim.reward.value)
            Maker()(sim)
            values.append(sim.reward.value)

        drive(sim, agent, rows)
        values.append(sim.reward.value)
        rewards = np.diff(values)
        assert rewards.sum() == result.metrics()["pnl"] and (rewards != 0).any()


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_progress_changes_nothing(session, rows, monkeypatch) -> None:
    """Hooks are called alike if the player stops to report progress every so many rows."""
    monkeypatch.setattr(player_module, "_PROGRESS_ROWS", rows)
    told: list[tuple[int, int]] = []
    watched = Backtest(session, Quoting()).run(progress=lambda *done: told.append(done))
    assert_same(watched, Backtest(session, Quoting()).run())
    assert told == sorted(told) and told[-1] == (len(session.tape),) * 2


def test_replay_and_rebuild(result) -> None:
    """Replaying the requests derives the same rows; folding all rows gives the same state."""
    replayed = result.replay()
    assert replayed.digest == result.digest
    assert_same(replayed, result)
    assert_same(result.rebuild(), result)


@pytest.mark.slow
def test_random_workloads_are_replayed(seeds) -> None:
    """Whatever was sent, at whatever moment: the requests sent again derive the same journal and
    state; and the table of orders has each order as the reference knows it."""
    for seed in seeds[:60]:
        workload = make(seed)
        run, reference = CompiledRun(workload), workload.reference()
        drive_workload(run, workload)
        drive_workload(reference, workload)
        result = run.result(workload)
        replayed = result.replay()
        assert replayed.journal.first_difference(run.bus.journal()) is None, f"seed {seed}"
        assert replayed.simulation.bus.state_bytes() == run.bus.state_bytes(), f"seed {seed}"
        assert orders_of(result) == orders_known(reference), f"seed {seed}: orders"


def orders_of(result: Result) -> list[tuple[int, ...]]:
    """Return (market, number, side, price, qty, filled, left) of each order from the table."""
    records = [(*market_and_number(order.id), *order[3:8]) for order in result.orders]
    return sorted(tuple(map(int, record)) for record in records)


def orders_known(reference: ReferenceSimulation) -> list[tuple[int, ...]]:
    """Return the same from the reference."""
    return sorted(
        (market.index, each.number, int(each.side), each.price, each.qty, each.filled, each.left)
        for market in reference.markets
        for each in market.issued
    )


@pytest.mark.parametrize("part", [0.1, 0.5, 0.85])
def test_fork_in_the_middle(result, session, part) -> None:
    """Parent and child go on alike; the tail rebuilt on a copy of the fork gives their state."""
    steps = round((session.end - session.start) * part) // STEP
    sim = Simulation(session, mark=result.config.mark)
    drive(sim, Maker(), 500, until=session.start + steps * STEP)
    child, tail, stray = sim.fork(), sim.fork(), sim.fork()
    known = len(sim.journal())
    assert sim.bus.state_bytes() == child.bus.state_bytes()

    stray.cancel_all()
    drive(stray, Taker(), 500, first=steps + 1)
    drive(child, Maker(), 7, first=steps + 1)
    assert len(sim.journal()) == known, "a child writes into its parent's journal"
    drive(sim, Maker(), 1000, first=steps + 1)
    assert_same(sim, result)
    assert_same(child, result)
    assert stray.journal().digest != result.digest
    assert stray.journal().rows[:known].tobytes() == result.journal.rows[:known].tobytes()

    journal = result.journal
    folded = tail.bus.rebuild(journal.rows[known:], journal.places[known:], len(session.tape))
    assert folded == len(journal) - known
    assert tail.bus.state_bytes() == result.simulation.bus.state_bytes()


def test_forks_leave_no_trace(session) -> None:
    """A strategy may fork the run at every call and play on in the copies: its own run, the journal
    in pieces and all, is the same."""
    sims: list[Simulation] = []

    class Forking(Quoting):
        def on_book(self, sim: Simulation, market: str) -> None:
            if len(sims) < 300:
                sims.append(sim.fork())
                sims[-1].cancel_all()
                sims[-1].advance(events=40)
            super().on_book(sim, market)

    forked = Backtest(session, Forking()).run()
    assert_same(forked, Backtest(session, Quoting()).run())
    twin = sims[150].fork()
    assert_same(sims[150], twin)
    for sim in (sims[150], twin):
        drive(sim, Taker(), 1000)
    assert_same(sims[150], twin)


@pytest.mark.parametrize("capacity", [4, 32])
@pytest.mark.parametrize("strategy", [Quoting(), compiled_maker], ids=["Python", "compiled"])
def test_buffers_do_not_matter(session, strategy, capacity, monkeypatch) -> None:
    """A journal that is sealed every few hundred rows is the journal that never was."""
    whole = Backtest(session, strategy, order_capacity=256).run()
    monkeypatch.setattr(bus_module, "_BUFFER_ROWS", 1)
    monkeypatch.setattr(bus_module, "_PROGRAM_ROWS", 1)
    cut = Backtest(session, strategy, order_capacity=capacity, order_groups=0).run()
    assert len(cut.simulation.bus.sealed) > 1 and len(whole.simulation.bus.sealed) < 2
    assert cut.journal.first_difference(whole.journal) is None
    assert cut.journal.places.tolist() == whole.journal.places.tolist()


# Other markets.


def rows_of(result: Result, market: int) -> np.ndarray:
    """Return the journal rows of one market as if it were the first of its session."""
    rows = result.journal.rows
    rows = rows[rows["market"] == market].copy()
    assert set(rows["cause_market"].tolist()) <= {market, -1}
    rows["market"] = 0
    rows["cause_market"][rows["cause_market"] == market] = 0
    return rows


def swapped(session: Session) -> Session:
    """Return a session of two markets with these in the other order."""
    rows = session.tape.rows.copy()
    rows["market"] = 1 - rows["market"]
    return Session(Tape(rows), session.markets[::-1], name="swapped")


@pytest.mark.parametrize("every", [None, STEP])
@pytest.mark.parametrize(("python", "compiled"), [(Maker, compiled_maker)])
def test_an_unrelated_market_changes_nothing(every, python, compiled) -> None:
    """Fills, orders, rejects and journal rows of a market are those that it has alone, whether
    the other market is traded too or not, stands before or behind it, and is asked for or not."""
    alone = synthetic.session(seed=5, events=3000, minutes=2)
    pair = synthetic.session(seed=5, events=3000, minutes=2, markets=2)
    other = pair.markets[1].ticker
    rows = pair.tape.rows[pair.tape.rows["market"] == 0]
    assert rows.tobytes() == alone.tape.rows.tobytes() and len(pair.tape) == 2 * len(alone.tape)

    def run(session: Session, strategy: Any) -> Result:
        return Backtest(session, strategy, every=every, cash=dollars(100_000)).run()

    def only_first(session: Session) -> Any:
        first = session.market_index(alone.markets[0].ticker)
        if every is not None:
            return python(markets=(first,))

        class OnlyFirst(python):
            def on_book(self, sim: Simulation, market: str) -> None:
                if market != other:
                    self(sim)

        return OnlyFirst(markets=(first,))

    expected = run(alone, only_first(alone))
    assert len(expected.fills) > (3 if every is None else 20)
    for session in (pair, swapped(pair)):
        first = session.market_index(alone.markets[0].ticker)
        beside = run(session, only_first(session))
        assert rows_of(beside, first).tobytes() == rows_of(expected, 0).tobytes()
        if every is not None:
            for strategy in (python(), compiled):
                traded = run(session, strategy)
                assert rows_of(traded, first).tobytes() == rows_of(expected, 0).tobytes()
                assert {fill.market for fill in traded.fills} == {*alone._index, other}


# Other processes.


def short_runs() -> list[str]:
    """Return digests of short runs: Python and compiled, by time and by event, at both marks, with
    and without delays."""
    session = synthetic.session(seed=8, markets=2, events=700, minutes=1)
    runs = [
        Backtest(session, Maker(), every=STEP),
        Backtest(session, compiled_maker, every=STEP, mark=Mark.CLOSE),
        Backtest(session, Quoting(), mark=Mark.CLOSE),
        Backtest(session, compiled_taker),
        Backtest(session, Maker(), every=STEP, latency=SLOW, restored_after="5s"),
        Backtest(session, compiled_maker, every=STEP, latency=SLOW, queue=Queue.proportional),
    ]
    results = [run.run() for run in runs]
    assert all(len(result.journal) > 20 for result in results)
    return [session.digest, *(result.digest for result in results)]


@pytest.mark.slow
def test_compiled_and_interpreted() -> None:
    """With NUMBA_DISABLE_JIT=1 the tape and the journals are the same."""
    assert interpreted(__file__) == short_runs()


@pytest.mark.slow
def test_hash_seeds() -> None:
    """Processes with different PYTHONHASHSEED write the same journals."""
    digests = short_runs()
    for seed in ("0", "4321"):
        assert printed(__file__, PYTHONHASHSEED=seed) == [*digests, "compiled"]


if __name__ == "__main__":
    print(*short_runs(), *([] if JIT_DISABLED else ["compiled"]))
