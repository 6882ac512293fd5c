"""Sessions at rest: how they are stored and loaded, and what can be said about them.

docs/session-format.md describes the files.
"""

from .about import FORMAT_VERSION
from .background import Background
from .books import book_at
from .facts import describe
from .folder import (
    ABOUT_FILE,
    PORTABLE_FILE,
    TAPE_FILE,
    load,
    move,
    save,
    verify_digest,
    verify_portable,
    write,
)
from .hot import digest_of

__all__ = [
    "ABOUT_FILE",
    "FORMAT_VERSION",
    "PORTABLE_FILE",
    "TAPE_FILE",
    "Background",
    "book_at",
    "describe",
    "digest_of",
    "load",
    "move",
    "save",
    "verify_digest",
    "verify_portable",
    "write",
]
