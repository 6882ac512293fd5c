"""The same cases as `foldbook bench`, timed by pytest-benchmark at toy size.

`pytest tests/test_bench_speed.py --benchmark-json FILE` writes what it found.
"""

import pytest

from foldbook.benchmarks import harness

NAMES = ("env-single", "env-vector", "env-reset", "event-by-event", "fused-loop", "journal-digest",
         "limit-numba")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_speed(name, request):
    """Each case gives its checked answer in every round."""
    # Without the plugin nothing is timed: tests/test_benchmarks.py checks the answers as well.
    pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed")
    if request.config.pluginmanager.hasplugin("xdist") and hasattr(request.config, "workerinput"):
        pytest.skip("pytest-benchmark does not time in workers of xdist")
    timed = request.getfixturevalue("benchmark")
    chosen = harness.benchmarks()[name]
    case = chosen.prepare(chosen.toy)

    def setup():
        return ((case.setup(),) if case.setup else ()), {}

    answer = timed.pedantic(case.run, setup=setup, rounds=2, warmup_rounds=1)
    case.check(answer)
