"""Where a command will write, checked before it does its work: no run of an hour is lost to a typo.

Nothing is left behind by a look.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click


class Place(click.ParamType):
    """An option's path, of a file or of a folder that may have to be made first."""

    name = "path"

    def __init__(self, *, is_file: bool):
        self._is_file = is_file

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Path:
        """Return the path; one that cannot be written is wrong use."""
        path = Path(value)
        try:
            why = _file(path) if self._is_file else _folder(path)
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            self.fail(f"{path}: cannot be written: {why}", parameter, context)
        return path


def _file(path: Path) -> str:
    """Say why a file cannot be written, or nothing."""
    if path.exists() and not path.is_file():
        return "it is a folder" if path.is_dir() else "it is a device, and would be replaced"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return _try(path.parent)


def _folder(path: Path) -> str:
    """Say why nothing can be written into a folder that may have to be made, or nothing."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is no folder"
    return _try(there)


def _try(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder}: {error.strerror}"


FILE = Place(is_file=True)
FOLDER = Place(is_file=False)
