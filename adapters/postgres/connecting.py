"""Connections to PostgreSQL: one for each question, and one line for whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..catalogue import CatalogueError, without_password

CONNECT_SECONDS = 10
"""How long to wait for a server that does not answer, where the URL does not say."""


@contextmanager
def connected(url: str, **options: Any) -> Iterator[Any]:
    """Give a psycopg connection in a transaction, committed at the end unless there is an error.

    options: further connection parameters. Raises CatalogueError, in one line, for every error of
    the driver or the server; the transaction is then undone.
    """
    psycopg = _driver(url)
    where = without_password(url)
    try:
        given = {"application_name": "foldbook", **options}
        if "connect_timeout" not in psycopg.conninfo.conninfo_to_dict(url):
            given["connect_timeout"] = CONNECT_SECONDS
        connection = psycopg.connect(url, **given)
    except psycopg.Error as error:
        raise CatalogueError(f"{where}: cannot be reached: {_line(error)}") from None
    try:
        with connection:
            yield connection
    except psycopg.errors.LockNotAvailable:
        raise CatalogueError(f"{where}: another process is writing, and did not end") from None
    except psycopg.Error as error:
        raise CatalogueError(f"{where}: {_line(error)}; nothing was changed") from None


def _driver(url: str) -> Any:
    try:
        import psycopg
    except ImportError:
        raise CatalogueError(
            f"{without_password(url)}: needs psycopg: `pip install 'foldbook[postgres]'`"
        ) from None
    return psycopg


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
