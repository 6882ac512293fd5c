"""What went wrong, in one line, and whose fault it was; tracebacks go to files, never to people."""

from __future__ import annotations

import errno
import os
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from foldbook.engine.errors import FoldbookError, StrategyError

OWN = {Path(__file__).parents[2] / "engine", Path(__file__).parent}
"""Code that only calls the user's."""


@attrs.frozen
class Failure:
    """The one line, the exit status, and what `--json` adds to it."""

    line: str
    status: int = 2
    facts: Mapping[str, Any] = attrs.field(factory=dict)


class StrategyFailed(click.ClickException):
    """A strategy raised. `kept` are the files that hold the rest of the story, by their names."""

    def __init__(self, error: BaseException, kept: Mapping[str, str]):
        super().__init__(f"strategy: {blame(error)}")
        self.kept = dict(kept)


def explain(error: BaseException) -> Failure:
    """Return the failure that an exception is."""
    if isinstance(error, StrategyFailed):
        where = ", ".join(f"{name}: {path}" for name, path in error.kept.items())
        return Failure(_line(f"{error.message} ({where})"), facts=error.kept)
    if isinstance(error, click.Abort):
        return Failure("interrupted", status=130)
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = f"{context.info_name}: " if context and context.parent else ""
        return Failure(_line(command + error.format_message()))
    if isinstance(error, FoldbookError):
        return Failure(_line(str(error)))
    if isinstance(error, OSError) and error.filename:
        return Failure(_line(f"{os.fspath(error.filename)}: {error.strerror}"))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Failure("no space is left on the device of stdout or of a file that is written")
    path = keep_traceback(error, Path(tempfile.mkdtemp(prefix="foldbook-")))
    return Failure(
        _line(f"defect in foldbook: {_said(error)} (traceback: {path})"),
        facts={"traceback": str(path)},
    )


def blame(error: BaseException) -> str:
    """Return "file:line: what", the place outside the engine where the strategy raised."""
    cause = error.__cause__ if isinstance(error, StrategyError) and error.__cause__ else error
    if isinstance(cause, SyntaxError) and cause.filename:
        return f"{cause.filename}:{cause.lineno}: SyntaxError: {cause.msg}"
    if cause is not error and isinstance(error, StrategyError) and "does not compile" in str(error):
        return str(error)
    frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if _is_user(frame)]
    place = f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""
    return place + _said(cause)


def _is_user(frame: traceback.FrameSummary) -> bool:
    path = Path(frame.filename)
    folders = {part.name for part in path.parents}
    return not (OWN & {*path.parents} or "site-packages" in folders or "<frozen" in frame.filename)


def keep_traceback(error: BaseException, folder: Path) -> Path:
    """Write the whole traceback, causes included, into a folder, and return the file."""
    path = folder / "traceback.txt"
    path.write_text("".join(traceback.format_exception(error)))
    return path


def _said(error: BaseException) -> str:
    try:
        said = str(error)
    except Exception:  # an exception of the user's that cannot even be shown
        said = "(it cannot be shown)"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _line(text: str) -> str:
    return " ".join(text.split())
