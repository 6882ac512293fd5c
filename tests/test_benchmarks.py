"""Benchmarks run at toy size with the suite, and the harness checks every answer."""

import pytest

from foldbook.benchmarks import harness


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(harness, "_REGISTRY", {})


@pytest.mark.parametrize("name", harness.benchmarks())
def test_toy_size(name):
    """Each benchmark works at its toy size, does some work, and says what it measures."""
    chosen = harness.benchmarks()[name]
    figures = chosen.measure(chosen.toy, repeats=1)
    assert figures["work"] > 0
    assert chosen.summary.endswith(".")
    assert chosen.toy < chosen.full


def test_figures(registry, monkeypatch):
    """Of runs of 9 (cold), 2, 4 and 3 seconds the least is 2 and the median 3."""
    clock = iter([0, 9, 10, 12, 20, 24, 30, 33])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: next(clock))

    @harness.benchmark(toy=1, full=6, repeats=3)
    def adding(size):
        return harness.Case(sum, size, "numbers", lambda answer: None, lambda: range(size))

    figures = harness._REGISTRY["adding"].measure()
    assert (figures["cold_seconds"], figures["min_seconds"], figures["median_seconds"]) == (9, 2, 3)
    assert (figures["per_second"], figures["work"], figures["repeats"]) == (2, 6, 3)


def test_tables(registry):
    """A benchmark may answer with tables; they stand beside its speed, and others have none."""

    def prepare(size, tables=None):
        return harness.Case(lambda: size, size, "numbers", lambda answer: None, tables=tables)

    @harness.benchmark(toy=1, full=6)
    def telling(size):
        return prepare(size, lambda answer: {"answers": [{"size": answer}]})

    harness.benchmark(toy=1, full=6)(prepare)
    assert harness._REGISTRY["telling"].measure(4)["tables"] == {"answers": [{"size": 4}]}
    assert harness._REGISTRY["prepare"].measure(4)["tables"] == {}


def test_wrong_answers_do_not_count(registry):
    """A benchmark that computes something else fails, whatever its speed."""

    def check(answer):
        assert answer == 6

    @harness.benchmark(toy=4, full=5)
    def adding(size):
        return harness.Case(sum, size, "numbers", check, lambda: range(size))

    harness._REGISTRY["adding"].measure(4)
    with pytest.raises(AssertionError):
        harness._REGISTRY["adding"].measure()
    with pytest.raises(ValueError, match="two of that name"):
        harness.benchmark(toy=1, full=2)(adding)


def test_strangers_are_named():
    """A name that is no benchmark is refused before anything runs."""
    with pytest.raises(KeyError, match="no benchmark 'speed'"):
        next(harness.run(("speed",)))
