"""What lies below a folder: all of it, or an error. A part that may not be read is not left out."""

from __future__ import annotations

import os
from pathlib import Path

from foldbook.engine.errors import TapeError


def paths_below(folder: Path) -> list[Path]:
    """Return the files and folders below a folder, sorted; links to folders are not followed.

    Raises TapeError, with its name, for a folder that may not be read.
    """

    def refuse(error: OSError) -> None:
        raise TapeError(f"{error.filename}: {error.strerror}")

    found = [Path(parent, name) for parent, folders, files in os.walk(folder, onerror=refuse)
             for name in (*folders, *files)]
    return sorted(found)
