"""From a URL to the catalogue that it names."""

from __future__ import annotations

import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from foldbook.engine.session import Session

from .errors import CatalogueError
from .folder import FolderCatalogue
from .protocol import Catalogue

VARIABLE = "FOLDBOOK_CATALOG"
"""The environment variable that names the catalogue where nobody else does."""
GROUP = "foldbook.catalogues"
"""Entry points: a scheme, and a function from a URL to a Catalogue."""


def open_catalogue(url: str | os.PathLike[str] | None = None) -> Catalogue:
    """Return the catalogue at a URL or in a folder, mended if somebody was killed while writing.

    url: a folder, file:///folder, or the URL of a backend that is installed, such as
    postgresql://host/database; default: FOLDBOOK_CATALOG, else a folder of the user's own.
    What was mended is in `repairs`. Raises CatalogueError if it cannot be reached or read, or was
    written by a newer version.
    """
    place = os.fspath(url) if url is not None else os.environ.get(VARIABLE) or str(own_folder())
    scheme, separator, _ = place.partition("://")
    if not separator:
        return FolderCatalogue(Path(place))
    if scheme == "file":
        return FolderCatalogue(Path(unquote(urlsplit(place).path)))
    points = {point.name: point for point in entry_points(group=GROUP)}
    if scheme not in points:
        known = ", ".join(sorted({*points, "file"}))
        raise CatalogueError(f"{without_password(place)}: {scheme!r} is no catalogue: {known}")
    opened: Catalogue = points[scheme].load()(place)
    return opened


def load_found(kept: Catalogue, **conditions: Any) -> list[Session]:
    """Return the sessions of a catalogue that meet all conditions, by name: see `Catalogue.find`.

    Their tapes are mapped, not read: what an environment is made of, or a loop goes over. Raises
    CatalogueError if there is none, or one of them is gone.
    """
    found = [kept.load(entry.name) for entry in kept.find(**conditions)]
    if not found:
        asked = ", ".join(f"{name}={value!r}" for name, value in conditions.items())
        raise CatalogueError(f"{kept.url}: no session" + (f" meets {asked}" if asked else ""))
    return found


def own_folder() -> Path:
    """Return the folder that is the catalogue of a user who has named none."""
    base = os.environ.get("XDG_DATA_HOME")
    return Path(base or Path.home() / ".local/share") / "foldbook" / "sessions"


def without_password(url: str) -> str:
    """Return a URL as people and files may see it.

    >>> without_password("postgresql://ada:secret@db.example/team?sslmode=require&password=secret")
    'postgresql://ada@db.example/team?sslmode=require'
    """
    bare = re.sub(r"(?<=://)([^/?#@:]*):[^/?#]*@", r"\1@", url)
    bare = re.sub(r"(?<=[?&])(?:ssl)?password=[^&#]*&?", "", bare)
    return bare.rstrip("?&")
