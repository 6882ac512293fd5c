"""What surrounds a run: journal and digest, events one by one, start-up, memory of an event.

    foldbook bench journal-digest event-by-event start-up
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Latency, Queue, Result, Session, Simulation
from foldbook.engine.journal import Journal
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.examples.market_maker import market_maker

from .engine_speed import _opened, _Same
from .harness import Case, benchmark


@lru_cache(maxsize=2)
def _session(events: int) -> Session:
    return synthetic.session(seed=7, events=events)


@lru_cache(maxsize=1)
def _result(events: int) -> Result:
    return Backtest(_session(events), market_maker, every="100ms", order_capacity=8).run()


@benchmark(toy=5_000, full=1_000_000)
def journal_digest(size: int) -> Case:
    """Take the digest of a market maker's journal."""
    journal = _result(size).journal
    expected = journal.digest

    def run() -> str:
        return Journal(journal.rows.copy(), journal.places).digest

    def check(digest: str) -> None:
        assert digest == expected, "the same rows have another digest"

    return Case(run, len(journal.rows), "rows", check)


@benchmark(toy=5_000, full=1_000_000)
def replay_and_compare(size: int) -> Case:
    """Fold a journal and its tape again, and compare the digests."""
    result = _result(size)

    def check(again: Any) -> None:
        assert again.digest == result.digest, "the replay has another digest"

    return Case(result.replay, size, "events", check)


@benchmark(toy=2_000, full=500_000)
def event_by_event(size: int) -> Case:
    """Advance a simulation by one event at a time from Python."""
    session = _session(size)

    def run() -> Simulation:
        sim = _opened(session)
        while sim.events < size:
            sim.advance(events=1)
        return sim

    return Case(run, size, "events", _Same(size))


def _with_models(size: int, **models: Any) -> Case:
    session = _session(size)
    backtest = Backtest(session, market_maker, every="100ms", order_capacity=8, **models)

    def check(result: Result) -> None:
        assert result.replay().digest == result.digest, "the replay has another digest"

    return Case(backtest.run, size, "events", check)


@benchmark(toy=5_000, full=1_000_000)
def maker_proportional(size: int) -> Case:
    """Run the compiled market maker with the proportional queue."""
    return _with_models(size, queue=Queue.proportional)


@benchmark(toy=5_000, full=1_000_000)
def maker_latency(size: int) -> Case:
    """Run the compiled market maker with orders of 20 ms and answers of 10 ms."""
    return _with_models(size, latency=Latency.constant("20ms", response="10ms"))


@benchmark(toy=1, full=5, repeats=3)
def start_up(size: int) -> Case:
    """Import the engine in a process of its own, with nothing compiled or run."""
    command = [sys.executable, "-c", "import foldbook.engine as e; print(e.cents(48))"]

    def run() -> list[str]:
        return [
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            for _ in range(size)
        ]

    def check(said: list[str]) -> None:
        assert said == ["4800"] * size

    return Case(run, size, "starts", check)


@benchmark(toy=5_000, full=5_000_000, repeats=3)
def event_memory(size: int) -> Case:
    """Replay a session, and say what memory an event takes beside its row of the tape."""
    session = _session(size)

    def run() -> tuple[Simulation, int]:
        before = _anonymous()
        sim = _opened(session)
        sim.advance()
        return sim, _anonymous() - before

    same = _Same(size)

    def check(answer: tuple[Simulation, int]) -> None:
        same(answer[0])
        assert session.tape.rows.nbytes == size * TAPE_DTYPE.itemsize

    def tables(answer: tuple[Simulation, int]) -> dict[str, list[dict[str, Any]]]:
        row = {
            "events": size, "bytes of a row": TAPE_DTYPE.itemsize,
            "further bytes an event": round(max(answer[1], 0) / size, 3),
        }  # fmt: skip
        return {"memory of events": [row]}

    return Case(run, size, "events", check, tables=tables)


def _anonymous() -> int:
    """Return the anonymous memory of this process in bytes; 0 where the system does not say."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        return 0
    with open("/proc/self/smaps_rollup") as file:
        sizes = [int(line.split()[1]) for line in file if line.startswith("Anonymous:")]
    return int(np.sum(sizes)) * 1024
