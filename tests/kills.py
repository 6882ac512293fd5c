"""Processes that are killed while they write, and what must hold of what they leave.

`kill_at_random` runs a writer again and again, each time in a new folder, kills it with SIGKILL at
a moment somewhere between its beginning and its end, and hands what is left to a check. A writer
is a function of a module of this folder, named "module:function", called with the folder and a
`Witness`. It runs in forks of one process that has imported everything and has run it once, so
that a trial costs little more than the write itself.

FOLDBOOK_KILLS says how many moments there are, where a test does not.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

MOMENTS = 50
"""How often each writer is killed in the suite."""
MEASURED = 5
"""Undisturbed runs that tell how long a write takes."""
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"}
"""Audit events of calls that change a folder; opening a file to write does too."""


def moments() -> int:
    """Return how often each writer is killed."""
    return int(os.environ.get("FOLDBOOK_KILLS", MOMENTS))


class Witness:
    """Where a writer says when it begins, and what it has acknowledged; that outlives it."""

    def __init__(self, told: int, begun: int | None = None, steps: int = 0):
        self._told = told
        self._begun = begun
        self._steps = steps

    def begins(self) -> None:
        """The write begins: from here on the process may be killed."""
        if self._steps:
            sys.addaudithook(self._step)
        if self._begun is not None:
            os.write(self._begun, b"!")

    def says(self, text: str) -> None:
        """Tell the check something, such as what was acknowledged."""
        os.write(self._told, f"{text}\n".encode())

    def _step(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in CHANGES or writes:
            self._steps -= 1
            if self._steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)


@attrs.frozen
class Trial:
    """One killed writer. told: what it said. is_done: it had returned before it was killed."""

    folder: Path
    told: list[str]
    is_done: bool
    seconds: float


def kill_at_random(
    target: str, folder: Path, check: Callable[[Trial], None], *, seed: int = 0,
    count: int | None = None,
) -> int:
    """Kill a writer at random moments and check what each leaves; return how many hit mid-write.

    target: "module:function". folder: where each trial gets a folder of its own. check: called
    with each trial, killed or not; raises AssertionError. The moments are spread evenly over the
    time that an undisturbed write takes. At least half must land before the writer is done.
    """
    count = moments() if count is None else count
    draw = random.Random(seed)
    spread = [(number + draw.random()) / count for number in range(count)]
    draw.shuffle(spread)
    landed = 0
    with _writers(target) as run:
        known = [run(_place(folder, f"whole{number}")) for number in range(MEASURED)]
        for trial in known:
            assert trial.is_done
            check(trial)
        seconds = [trial.seconds for trial in known]
        for number, share in enumerate(spread):
            after = share * statistics.median(seconds)
            trial = run(_place(folder, f"killed{number}"), after=after)
            landed += not trial.is_done
            if trial.is_done:
                seconds = [*seconds[1:], trial.seconds]
            try:
                check(trial)
            except BaseException as error:
                error.add_note(f"{target}: seed {seed}, moment {number}, killed after {after:.6f}s "
                               f"({'done' if trial.is_done else 'mid-write'})")
                raise
    assert 2 * landed >= count, f"{target}: {landed} of {count} moments were mid-write"
    return landed


def kill_before_each_change(target: str, folder: Path, check: Callable[[Trial], None]) -> int:
    """Kill a writer before each call that changes a folder, one call a trial; return how many.

    Such a call creates, opens for writing, renames or removes. Unlike a random moment, this finds
    each state that a kill can leave between two of them.
    """
    with _writers(target) as run:
        step = 0
        while True:
            step += 1
            trial = run(_place(folder, f"step{step}"), steps=step)
            try:
                check(trial)
            except BaseException as error:
                error.add_note(f"{target}: killed before change {step}")
                raise
            if trial.is_done:
                return step - 1


def _place(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    return place


@contextmanager
def _writers(target: str) -> Iterator[Callable[..., Trial]]:
    """Give a function that runs the writer in a folder, and kills it as told."""
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    warm = subprocess.Popen(
        [sys.executable, __file__, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )
    assert warm.stdin is not None
    assert warm.stdout is not None
    asked, answered = warm.stdin, warm.stdout

    def run(folder: Path, *, after: float | None = None, steps: int = 0) -> Trial:
        print(json.dumps([str(folder), after, steps]), file=asked, flush=True)
        answer = answered.readline()
        assert answer, f"{target}: the process that runs it has died"
        is_done, seconds, told = json.loads(answer)
        assert is_done is not None, f"{target}: failed; see its traceback"
        return Trial(folder, told, is_done, seconds)

    try:
        yield run
    finally:
        asked.close()
        answered.close()
        warm.wait(timeout=60)


def _serve(target: str) -> None:
    """In the warm process: run the writer once, then in a fork for each line of stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = target.partition(":")
    writer = getattr(importlib.import_module(module), name)
    with tempfile.TemporaryDirectory() as scratch:
        with (Path(scratch) / "told").open("wb") as told:
            place = Path(scratch) / "warm"
            place.mkdir()
            writer(place, Witness(told.fileno()))
        for number, line in enumerate(sys.stdin):
            folder, after, steps = json.loads(line)
            found = _trial(writer, Path(folder), Path(scratch) / f"{number}", after, steps)
            print(json.dumps(found), file=answers, flush=True)


def _trial(
    writer: Callable[[Path, Witness], None], folder: Path, told: Path, after: float | None,
    steps: int,
) -> tuple[bool | None, float, list[str]]:
    """Fork a writer, kill it, and return (is done, seconds, what it told); None if it failed."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reads)
        _write(writer, folder, Witness(os.open(told, os.O_CREAT | os.O_APPEND | os.O_WRONLY),
                                       writes, steps))
    os.close(writes)
    assert os.read(reads, 1), "the writer ended before it said that it begins"
    began = time.perf_counter()
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    os.read(reads, 1)
    seconds = time.perf_counter() - began
    os.close(reads)
    _, status = os.waitpid(child, 0)
    lines = told.read_text().splitlines()
    told.unlink()
    is_done = bool(lines) and lines[-1].startswith("done ")
    if is_done:
        seconds = float(lines.pop().partition(" ")[2])
    failed = not is_done and not os.WIFSIGNALED(status)
    return None if failed else is_done, seconds, lines


def _write(writer: Callable[[Path, Witness], None], folder: Path, witness: Witness) -> None:
    """In the fork: write, say that it is done and how long that took, and leave at once."""
    begins = witness.begins
    began = []

    def begin() -> None:
        began.append(time.perf_counter())
        begins()

    witness.begins = begin  # type: ignore[method-assign]
    try:
        writer(folder, witness)
        witness.says(f"done {time.perf_counter() - began[0]}")
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    _serve(sys.argv[1])
