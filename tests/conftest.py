"""Options of the suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --seeds: how many random workloads the randomised tests run."""
    parser.addoption("--seeds", type=int, default=200, help="number of seeded random workloads")


@pytest.fixture(scope="session")
def seeds(request: pytest.FixtureRequest) -> range:
    """The seeds of the random workloads."""
    return range(request.config.getoption("--seeds"))
