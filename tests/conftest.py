"""Options of the suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --seeds: how many random workloads the randomised tests run."""
    parser.addoption("--seeds", type=int, default=200, help="number of seeded random workloads")


@pytest.fixture(scope="session")
def seeds(request: pytest.FixtureRequest) -> range:
    """The seeds of the random workloads."""
    return range(request.config.getoption("--seeds"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database of a PostgreSQL server."""
    from databases import database, server

    with server() as server_url, database(server_url) as url:
        yield url


@pytest.fixture
def database(postgres: str) -> str:
    """The URL of that database, empty."""
    from databases import empty

    empty(postgres)
    return postgres
