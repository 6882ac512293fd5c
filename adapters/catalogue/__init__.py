"""Catalogues: where sessions are kept, listed and found, on this machine or in a team's database.

`open` gives the catalogue that a URL names: a folder with an index beside its sessions, or whatever
the entry points `foldbook.catalogues` add. See docs/catalogue.md.
"""

from .entries import Entries, Entry, Query, check_names, entry_of, facts_of, series_of
from .errors import CatalogueError, UnknownSessionError
from .folder import FolderCatalogue
from .opening import VARIABLE, load_found, without_password
from .opening import open_catalogue as open
from .protocol import Catalogue

__all__ = [
    "VARIABLE",
    "Catalogue",
    "CatalogueError",
    "Entries",
    "Entry",
    "FolderCatalogue",
    "Query",
    "UnknownSessionError",
    "check_names",
    "entry_of",
    "facts_of",
    "load_found",
    "open",
    "series_of",
    "without_password",
]
