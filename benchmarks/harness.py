"""What a benchmark is, and how it is timed: its answer is checked each time, or it does not count.

A benchmark is a function of a size that prepares a `Case`. It has a toy size, at which the test
suite runs it, so that it cannot rot, and a full size, whose figures mean something. The first run,
which may compile, is reported beside the others and never among them.
"""

from __future__ import annotations

import importlib
import pkgutil
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs


@attrs.frozen
class Case:
    """One prepared measurement.

    run: what is timed; it gets what `setup` returned, if there is a setup (which is not timed).
    work: how much one run does, counted in `unit`. check: raises AssertionError for a wrong answer.
    tables: what the answer says besides its speed: rows of like keys, by the table's title.
    """

    run: Callable[..., Any]
    work: int
    unit: str
    check: Callable[[Any], None]
    setup: Callable[[], Any] | None = None
    tables: Callable[[Any], dict[str, list[dict[str, Any]]]] | None = None


@attrs.frozen
class Benchmark:
    """A named function of a size, with the two sizes it is run at, and how often."""

    name: str
    prepare: Callable[[int], Case]
    toy: int
    full: int
    repeats: int

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (self.prepare.__doc__ or "").strip().split("\n")[0]

    def measure(self, size: int | None = None, repeats: int | None = None) -> dict[str, Any]:
        """Run at `size` (default: full) once cold and then `repeats` times, and check each answer.

        Returns what JSON can hold: seconds of the cold run, the least and the median of the others,
        the rate of the median run in work per second, and the tables of the last answer.
        """
        size = self.full if size is None else size
        case = self.prepare(size)
        cold, tables = _timed(case)
        seconds = []
        for _ in range(self.repeats if repeats is None else repeats):
            spent, tables = _timed(case)
            seconds.append(spent)
        median = statistics.median(seconds)
        return {
            "name": self.name,
            "size": size,
            "work": case.work,
            "unit": case.unit,
            "repeats": len(seconds),
            "cold_seconds": cold,
            "min_seconds": min(seconds),
            "median_seconds": median,
            "per_second": case.work / median,
            "tables": tables,
        }


_REGISTRY: dict[str, Benchmark] = {}


def benchmark(
    *, toy: int, full: int, repeats: int = 5
) -> Callable[[Callable[[int], Case]], Callable[[int], Case]]:
    """Register a function of a size that returns a Case, by its own name."""

    def register(prepare: Callable[[int], Case]) -> Callable[[int], Case]:
        name = prepare.__name__.replace("_", "-")
        if name in _REGISTRY:
            raise ValueError(f"benchmark {name}: there are two of that name")
        _REGISTRY[name] = Benchmark(name, prepare, toy, full, repeats)
        return prepare

    return register


def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks of `foldbook.benchmarks` and its packages by name, sorted."""
    package = importlib.import_module("foldbook.benchmarks")
    for module in pkgutil.walk_packages(package.__path__, "foldbook.benchmarks."):
        importlib.import_module(module.name)
    return dict(sorted(_REGISTRY.items()))


def run(names: tuple[str, ...], *, is_toy: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the measurement of each benchmark named, or of all.

    Raises KeyError, naming all there are, for a name that is none.
    """
    known = benchmarks()
    for name in names:
        if name not in known:
            raise KeyError(f"no benchmark {name!r}; there are {', '.join(known)}")
    for name in names or known:
        chosen = known[name]
        yield chosen.measure(chosen.toy, repeats=1) if is_toy else chosen.measure()


def _timed(case: Case) -> tuple[float, dict[str, Any]]:
    arguments = () if case.setup is None else (case.setup(),)
    began = time.perf_counter()
    answer = case.run(*arguments)
    seconds = time.perf_counter() - began
    case.check(answer)
    return seconds, {} if case.tables is None else case.tables(answer)
