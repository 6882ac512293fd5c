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
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from foldbook.engine.errors import CapacityError
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

Made = list[tuple[RecordedMarket, Path]]
"""The markets of a recording, whose rows are on disk, and where: session, or rows alone (npy)."""


def side_by_side(job: Job, store: Store, meter: Meter, workers: int, *, writes: bool) -> None:
    """Import all recordings of a job in so many processes, and hand their markets over in order.

    This process is one of them. writes: whether sessions are written; else the rows alone. Raises
    what the first recording that failed has raised, once those before it are stored.
    """
    context = _context()
    done = context.Value("q", 0)
    listings = Listings(job.metadata)
    others = [_begin(context, (job, listings, done, writes))
              for _ in range(min(workers, len(job.recordings)) - 1)]
    try:
        _share_out(_Line(job, listings, _Shared(done), writes), others, store,
                   _Told(meter, done))
    finally:
        for each in others:
            each.end()


class _Line:
    """Imports recordings one after the other, and writes one while it reads the next."""

    def __init__(self, job: Job, listings: Listings, meter: Meter, writes: bool):
        self.job = job
        self._listings = listings
        self._meter = meter
        self._writes = writes
        self._thread = ThreadPoolExecutor(1, "foldbook-sessions")
        self._pending: deque[tuple[int, Made, list[Future[None]], Exception | None]] = deque()

    def read(self, number: int) -> None:
        """Read a recording; its markets are being written when this returns."""
        made: Made = []
        writing: list[Future[None]] = []
        failed = None
        folder = self.job.work / f"recording{number}"
        folder.mkdir()
        try:
            for count, market in enumerate(self.job.markets(number, self._listings, self._meter)):
                # No more than one market waits for the one that is being written.
                for earlier in writing[-1:]:
                    earlier.exception()
                path = folder / (str(count) if self._writes else f"{count}.npy")
                writing.append(self._thread.submit(self._write, market, path))
                made.append((market.without_rows(), path))
        except Exception as error:  # kept: raised once the recordings before it are stored
            failed = error
        self._pending.append((number, made, writing, failed))

    def finished(self, *, at_once: bool) -> Iterator[tuple[int, Made | Exception]]:
        """Yield (number, markets or what went wrong) of what has been written.

        at_once: what is being written just now is not waited for, unless another waits behind it.
        """
        while self._pending:
            number, made, writing, failed = self._pending[0]
            if at_once and len(self._pending) == 1 and not all(each.done() for each in writing):
                return
            faults = [error for each in writing if (error := each.exception()) is not None]
            self._pending.popleft()
            yield number, next((error for error in (*faults, failed)
                                if isinstance(error, Exception)), made)

    def end(self) -> None:
        """Let what is being written come to its end."""
        self._thread.shutdown()

    def _write(self, market: RecordedMarket, path: Path) -> None:
        if self._writes:
            facts = session_facts(FORMAT, [market])
            sessions.write(path, market.ticker, (market.market,), [market.rows], facts=facts)
        else:
            check_tape(Tape(market.rows), (market.market,))
            np.save(path, market.rows)


@attrs.define
class _Other:
    """Another process, and how many recordings it has."""

    process: Any
    connection: Connection
    given: int = 0

    def end(self) -> None:
        """End it, whatever it is doing: what it has written is beside its place."""
        with suppress(OSError):
            self.connection.send(None)
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _share_out(line: _Line, others: list[_Other], store: Store, told: _Told) -> None:
    """Give recordings to whoever is free, this process included, and store them in order.

    The largest come first, so that nobody is left with a long one at the end.
    """
    waiting = deque(sorted(range(len(line.job.recordings)), key=line.job.size, reverse=True))
    results: dict[int, Made | Exception] = {}
    stored = 0
    try:
        while stored < len(line.job.recordings):
            for each in others:
                _note(_answers(each), results, waiting)
                while waiting and each.given < AHEAD:
                    each.connection.send(waiting.popleft())
                    each.given += 1
            if waiting:
                line.read(waiting.popleft())
                _note(line.finished(at_once=True), results, waiting)
            else:
                _note(line.finished(at_once=False), results, waiting)
                if stored not in results:
                    wait_for([each.connection for each in others], TICK)
            while stored in results:
                result = results.pop(stored)
                if isinstance(result, Exception):
                    raise result
                for market, path in result:
                    store.add_made(market, path)
                stored += 1
            told.tell()
    finally:
        line.end()


def _note(
    answers: Iterable[tuple[int, Made | Exception]], results: dict[int, Made | Exception],
    waiting: deque[int],
) -> None:
    """Keep what was made. After a failure nothing is read that would be stored later."""
    for number, result in answers:
        results[number] = result
        if isinstance(result, Exception):
            for later in [each for each in waiting if each > number]:
                waiting.remove(later)


def _answers(other: _Other) -> Iterator[tuple[int, Made | Exception]]:
    """Yield what another process has to say by now."""
    while other.connection.poll():
        try:
            answer = other.connection.recv()
        except EOFError:
            raise CapacityError("workers: a process that read recordings was killed; memory may "
                                "have run out: use fewer workers") from None
        other.given -= 1
        yield answer


def _begin(context: Any, arguments: tuple[Any, ...]) -> _Other:
    """Begin another process."""
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, *arguments), daemon=True)
    with _forking():
        process.start()
    there.close()
    return _Other(process, here)


def _work(
    connection: Connection, job: Job, listings: Listings, done: Any, writes: bool
) -> None:
    """Import what comes through the connection, until None comes or whoever sends it is gone."""
    line = _Line(job, listings, _Shared(done), writes)
    parent = multiprocessing.parent_process()
    assert parent is not None
    with suppress(EOFError, OSError):
        while True:
            if not connection.poll():
                for answer in line.finished(at_once=False):
                    connection.send(answer)
            if connection not in wait_for([connection, parent.sentinel]):
                return
            number = connection.recv()
            if number is None:
                return
            line.read(number)
            for answer in line.finished(at_once=True):
                connection.send(answer)


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


class _Shared(Meter):
    """Adds up the bytes that all processes have read."""

    def __init__(self, done: Any):
        super().__init__(None, [])
        self._shared = done

    def add(self, count: int) -> None:
        with self._shared.get_lock():
            self._shared.value += count


class _Told:
    """Tells a meter what all processes have read since it was told last."""

    def __init__(self, meter: Meter, done: Any):
        self._meter = meter
        self._done = done
        self._last = 0

    def tell(self) -> None:
        now = int(self._done.value)
        if now > self._last:
            self._meter.add(now - self._last)
        self._last = now
