"""Alternating runs of ours and a peer, each in a process of its own that is warm before it counts.

All systems of a row stand ready at once and run in turn, one at a time, so that a machine's moods
fall on all of them. A driver that fails ends its own part of the row, with its last words.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from .environments import Environment
from .rows import Row, Runner

DRIVERS = Path(__file__).parent / "drivers"
Tell = Callable[[str], None]


class Lap:
    """A driver's process: ready after it is made, and one run each time it is asked for one.

    Raises RuntimeError, with the last line of what it wrote, for a driver that fails.
    """

    def __init__(self, runner: Runner, python: Path, feed: Path, words: IO[str]):
        command = [str(python), "-W", "ignore", str(DRIVERS / f"{runner.driver}.py")]
        command += ["--feed", str(feed), "--mode", runner.mode, "--limit", str(runner.limit)]
        self._words = words
        self._process = subprocess.Popen(
            [*command, *runner.more],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True,
        )  # fmt: skip
        self.ready = self._answer()

    def run(self) -> dict[str, Any]:
        """Return what one more run came to."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        while line and not line.startswith("{"):
            line = self._process.stdout.readline()
        if not line:
            self.end()
            self._words.seek(0)
            said = [each.strip() for each in self._words if each.strip()] or ["it said nothing"]
            raise RuntimeError(said[-1][:300])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process and wait for it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def ask(runner: Runner, place: Environment, feed: Path, scratch: Path) -> dict[str, Any]:
    """Return what one run of a system answers: its counts, and its fills if it is to note them.

    Raises RuntimeError for a system that is not there, or whose driver fails.
    """
    if place.python is None:
        raise RuntimeError(f"{place.name}: {place.reason}")
    with (scratch / f"fills-{place.name}.log").open("w+") as words:
        lap = Lap(runner, place.python, feed, words)
        answer = lap.run()
        lap.end()
    return answer


def race(
    row: Row,
    places: dict[str, Environment],
    feed: Path,
    scratch: Path,
    *,
    runs: int,
    clock: str,
    tell: Tell,
) -> dict[str, Any]:
    """Run ours and every installed peer of a row `runs` times in turn; return the row's results.

    clock: "wall" or "cpu", by which rates are counted.
    """
    laps: dict[str, Lap] = {}
    missing: dict[str, str] = {}
    seen: dict[str, list[dict[str, Any]]] = {}

    def attempt(runner: Runner, make: Callable[[], None]) -> None:
        try:
            make()
        except RuntimeError as error:
            missing[runner.label] = f"failed: {error}"
            lap = laps.pop(runner.label, None)
            if lap is not None:
                lap.end()

    runners = (row.ours, *row.peers)
    for number, runner in enumerate(runners):
        python = places[runner.environment].python
        if python is None:
            missing[runner.label] = places[runner.environment].reason
            continue
        tell(f"{row.name}: {runner.label} gets ready")
        words = (scratch / f"{row.name}-{number}.log").open("w+")

        def start(
            runner: Runner = runner, python: Path = python, words: IO[str] = words
        ) -> None:
            laps[runner.label] = Lap(runner, python, feed, words)

        attempt(runner, start)
    for _ in range(runs):
        for runner in runners:
            if runner.label in laps:

                def again(runner: Runner = runner) -> None:
                    seen.setdefault(runner.label, []).append(laps[runner.label].run())

                attempt(runner, again)
    results = [
        result_of(runner, laps[runner.label].ready, seen[runner.label], clock)
        for runner in runners
        if runner.label in laps
    ]
    for lap in laps.values():
        lap.end()
    return row_results(row, results, missing)


def result_of(
    runner: Runner, ready: dict[str, Any], seen: list[dict[str, Any]], clock: str
) -> dict[str, Any]:
    """Return what the runs of one system came to: rates of each, and what it said last."""
    last = seen[-1]
    kept = {key: value for key, value in last.items() if key not in ("wall", "cpu", "noted")}
    return {
        "label": runner.label,
        "realism": runner.realism,
        "limit": runner.limit,
        "rates": [each["work"] / each[clock] for each in seen],
        "wall": [each["wall"] for each in seen],
        "cpu": [each["cpu"] for each in seen],
        "anonymous_mb": [each["anonymous_mb"] for each in seen],
        "first_call_seconds": ready.get("first_call_seconds"),
        "ready_seconds": ready["ready_seconds"],
        "versions": ready["versions"],
        "last": kept,
    }


def row_results(
    row: Row, results: Iterable[dict[str, Any]], missing: dict[str, str]
) -> dict[str, Any]:
    """Return a row with the ratios of its peers: median of paired runs, least and greatest."""
    by_label = {each["label"]: each for each in results}
    ours = by_label.get(row.ours.label)
    measured = "anonymous_mb" if row.measure == "memory" else "rates"
    ratios = []
    for peer in row.peers:
        if ours is None or peer.label not in by_label:
            continue
        pairs = zip(ours[measured], by_label[peer.label][measured], strict=True)
        each = [mine / other for mine, other in pairs]
        target, median = row.targets.get(peer.label), statistics.median(each)
        ratios.append({
            "peer": peer.label, "median": median, "least": min(each), "most": max(each),
            "target": target, "holds": holds(row, median, target),
        })  # fmt: skip
    return {
        "name": row.name, "what": row.what, "unit": row.unit, "measure": row.measure,
        "results": list(by_label.values()), "ratios": ratios, "missing": missing,
    }  # fmt: skip


def holds(row: Row, median: float, target: float | None) -> bool | None:
    """Return whether a median ratio keeps its target; memory is to stay below it."""
    if target is None:
        return None
    return median <= target if row.measure == "memory" else median >= target


def to_stderr(text: str) -> None:
    """Say what is being done."""
    print(text, file=sys.stderr, flush=True)
