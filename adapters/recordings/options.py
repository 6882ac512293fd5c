"""What an importer is, and the options that several of them take.

An importer is a function `(sources, to, *, ...) -> list[Report]`, named in the entry-point group
`foldbook.importers`. Its keyword-only parameters are its options, and the command line makes a flag
of each: `progress` aside, which it always hands over. A parameter is a bool (a flag), int, str,
Path, or Literal of strings, or None; `Annotated[type, "help"]` says what it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

Group = Annotated[bool, "One session of all markets, not one each."]
KeepGoing = Annotated[bool, "Count and report bad rows instead of stopping."]
DryRun = Annotated[bool, "Do everything but write: read, join, check, report."]
Metadata = Annotated[Path | None, "Folder with what the markets are and how they settled."]
