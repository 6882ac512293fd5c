"""Recordings read side by side, each in a process of its own; stored in their order by one.

A worker writes the session of a market beside its place, and the process that started it puts it
there: so what is stored, and which error ends the import, does not depend on who was faster.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from foldbook.engine.session import Tape, check_tape

from .. import sessions
from ..recordings import Meter, RecordedMarket, Store, session_facts
from .listing import Listings
from .reading import Job

FORMAT = "kalshi-ws"
TICK = 0.1
"""Seconds between two looks at how far the workers have come."""

Made = tuple[RecordedMarket, Path]
"""A market, whose rows are on disk, and where: its session, or its rows alone (npy)."""


def side_by_side(job: Job, store: Store, meter: Meter, workers: int, *, writes: bool) -> None:
    """Import all recordings of a job in processes, and hand their markets over in order.

    writes: whether workers write sessions; else the rows alone. Raises what the first recording
    that failed has raised, once those before it are stored.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    done = context.Value("q", 0)
    told = 0
    with ProcessPoolExecutor(
        min(workers, len(job.recordings)), context, _begin, (job, done, writes)
    ) as pool:
        try:
            futures = [pool.submit(_import, number) for number in range(len(job.recordings))]
            for future in futures:
                while not future.done():
                    wait([future], TICK)
                    told = _tell(meter, done, told)
                for made, path in future.result():
                    store.add_made(made, path)
            _tell(meter, done, told)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _tell(meter: Meter, done: Any, told: int) -> int:
    """Tell the meter what the workers have read since; return how much that is in all."""
    now = int(done.value)
    if now > told:
        meter.add(now - told)
    return now


class _Shared(Meter):
    """Adds up the bytes that all workers have read."""

    def __init__(self, done: Any):
        super().__init__(None, [])
        self._shared = done

    def add(self, count: int) -> None:
        with self._shared.get_lock():
            self._shared.value += count


@attrs.frozen
class _Worker:
    """What a worker process knows from its beginning."""

    job: Job
    listings: Listings
    meter: Meter
    writes: bool


_workers: list[_Worker] = []
"""The one of this process."""


def _begin(job: Job, done: Any, writes: bool) -> None:
    _workers[:] = [_Worker(job, Listings(job.metadata), _Shared(done), writes)]


def _import(number: int) -> list[Made]:
    """Import one recording and return its markets, whose rows are on disk."""
    [worker] = _workers
    found: list[Made] = []
    folder = worker.job.work / f"recording{number}"
    folder.mkdir()
    with sessions.Background() as background:
        for count, made in enumerate(worker.job.markets(number, worker.listings, worker.meter)):
            path = folder / str(count)
            if worker.writes:
                facts = session_facts(FORMAT, [made])
                background.write(path, made.ticker, (made.market,), [made.rows], facts=facts)
            else:
                check_tape(Tape(made.rows), (made.market,))
                path = path.with_suffix(".npy")
                np.save(path, made.rows)
            found.append((made.without_rows(), path))
    return found
