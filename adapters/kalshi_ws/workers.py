"""Recordings read side by side, each in a process of its own; stored in their order by one.

A worker writes the session of a market beside its place, and the process that started it puts it
there: so what is stored, and which error ends the import, does not depend on who was faster.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
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
AHEAD = 2
"""Recordings given to a process before it has finished the first: it never waits for the next."""
TICK = 0.1
"""Seconds between two looks at how far the others have come."""

Made = tuple[RecordedMarket, Path]
"""A market, whose rows are on disk, and where: its session, or its rows alone (npy)."""


def side_by_side(job: Job, store: Store, meter: Meter, workers: int, *, writes: bool) -> None:
    """Import all recordings of a job in so many processes, and hand their markets over in order.

    This process is one of them. writes: whether sessions are written; else the rows alone. Raises
    what the first recording that failed has raised, once those before it are stored.
    """
    context = _context()
    done = context.Value("q", 0)
    listings = Listings(job.metadata)
    others = min(workers, len(job.recordings)) - 1
    mine = _Worker(job, listings, _Shared(done), writes)
    waiting = deque(range(len(job.recordings)))
    futures: dict[int, Future[list[Made]]] = {}
    stored, told = 0, 0
    with ProcessPoolExecutor(others, context, _begin, (job, listings, done, writes)) as pool:
        try:
            while stored < len(job.recordings):
                busy = sum(not future.done() for future in futures.values())
                while waiting and busy < others * AHEAD:
                    number = waiting.popleft()
                    with _forking():
                        futures[number] = pool.submit(_import, number)
                    busy += 1
                if waiting:
                    number = waiting.popleft()
                    futures[number] = _imported_here(mine, number)
                else:
                    wait([futures[stored]], TICK)
                while stored in futures and futures[stored].done():
                    for made, path in futures[stored].result():
                        store.add_made(made, path)
                    stored += 1
                told = _tell(meter, done, told)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _context() -> Any:
    """Return how processes are begun: forked, if no thread of ours could hold a lock just then.

    A forked process has all that is compiled and loaded; another takes a second to get there.
    """
    if sys.platform == "linux" and threading.active_count() == 1:
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@contextmanager
def _forking() -> Iterator[None]:
    """Begin processes without Python's warning that a library may have threads of its own: those of
    NumPy and Arrow are made for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        yield


def _imported_here(worker: _Worker, number: int) -> Future[list[Made]]:
    """Import one recording in this process; what it raises waits for its turn, too."""
    future: Future[list[Made]] = Future()
    try:
        future.set_result(_import_as(worker, number))
    except Exception as error:
        future.set_exception(error)
    return future


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


def _begin(job: Job, listings: Listings, done: Any, writes: bool) -> None:
    _workers[:] = [_Worker(job, listings, _Shared(done), writes)]


def _import(number: int) -> list[Made]:
    """Import one recording in a process that was begun for it."""
    [worker] = _workers
    return _import_as(worker, number)


def _import_as(worker: _Worker, number: int) -> list[Made]:
    """Import one recording and return its markets, whose rows are on disk."""
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
