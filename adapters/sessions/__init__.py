"""Sessions at rest: how they are stored, loaded, cut and joined, and what can be said of them.

docs/session-format.md describes the files.
"""

from .about import FORMAT_VERSION
from .background import Background
from .below import paths_below
from .books import book_at
from .doctor import Diagnosis, diagnose, examine, find_sessions
from .facts import describe, facts_of
from .findings import Finding, Problem, Severity
from .folder import (
    ABOUT_FILE,
    PORTABLE_FILE,
    TAPE_FILE,
    check_place,
    load,
    move,
    save,
    verify_digest,
    verify_portable,
    write,
)
from .hot import digest_of
from .merging import merge, merge_tapes
from .samples import sample
from .scrambling import other_tail
from .slices import slice_of
from .splits import split

__all__ = [
    "ABOUT_FILE",
    "FORMAT_VERSION",
    "PORTABLE_FILE",
    "TAPE_FILE",
    "Background",
    "Diagnosis",
    "Finding",
    "Problem",
    "Severity",
    "book_at",
    "check_place",
    "describe",
    "diagnose",
    "digest_of",
    "examine",
    "facts_of",
    "find_sessions",
    "load",
    "merge",
    "merge_tapes",
    "move",
    "other_tail",
    "paths_below",
    "sample",
    "save",
    "slice_of",
    "split",
    "verify_digest",
    "verify_portable",
    "write",
]
