"""What people see: tables and text on stdout, bars on stderr; or one JSON object on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

PATIENCE = 2.0
"""Seconds that pass before a bar appears."""
WIDTH = 120
"""Columns of a table where there is no terminal."""


def answer(data: Mapping[str, Any], as_json: bool, *parts: Any) -> None:
    """Print `data` as one JSON object, or the parts (text, tables) for people."""
    if as_json:
        write_json(data)
        return
    with _to(sys.stdout) as stream:
        for part in parts:
            if isinstance(part, str):
                print(part, file=stream)
            else:
                _console(stream).print(part)


_answers: list[Any] = []


def keep_stdout_for_json() -> None:
    """From here on what anybody prints goes to stderr; stdout is for the one JSON object."""
    if not _answers:
        sys.stdout.flush()
        _answers.append(os.fdopen(os.dup(1), "w"))
        os.dup2(2, 1)


def write_json(data: Mapping[str, Any]) -> None:
    """Write the one JSON object to stdout."""
    with _to(_answers[0] if _answers else sys.stdout) as stream:
        print(json.dumps(data), file=stream)


@contextmanager
def _to(stream: Any) -> Iterator[Any]:
    """Give a stream to write an answer to. Whoever reads it may leave early; raises OSError, which
    names stdout, for any other reason why it cannot be written to."""
    try:
        yield stream
        stream.flush()
    except OSError as error:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, "stdout") from error


def table(rows: Iterable[Iterable[Any]], *columns: str, title: str | None = None) -> Any:
    """Return a table with a heading for each column; columns of numbers stand to the right."""
    from rich import box
    from rich.table import Table

    cells = [[str(cell) for cell in row] for row in rows]
    made = Table(title=title, box=box.SIMPLE, title_justify="left")
    for index, column in enumerate(columns):
        numbers = all(row[index][:1] in "-0123456789$" for row in cells)
        made.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        made.add_row(*row)
    return made


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function (done, total) that draws a bar on stderr once the work takes long."""
    began = time.monotonic()
    bars: list[Any] = []

    def report(done: int, total: int) -> None:
        if not bars and time.monotonic() - began >= PATIENCE:
            bars.append(_bar(label))
        for bar in bars:
            bar.update(bar.task_ids[0], completed=done, total=total)

    try:
        yield report
    finally:
        for bar in bars:
            bar.stop()


def _bar(label: str) -> Any:
    from rich.progress import Progress

    bar = Progress(console=_console(sys.stderr), transient=True)
    bar.add_task(label, total=None)
    bar.start()
    return bar


def _console(stream: Any) -> Any:
    from rich.console import Console

    return Console(
        file=stream, width=None if stream.isatty() else WIDTH, markup=False, highlight=False
    )
