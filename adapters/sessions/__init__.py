"""Sessions at rest: how they are stored and loaded, and what can be said about them."""

from .books import book_at
from .facts import describe
from .folder import (
    ABOUT_FILE,
    FORMAT_VERSION,
    TAPE_FILE,
    digest_of,
    load,
    save,
    verify_digest,
    write,
)

__all__ = [
    "ABOUT_FILE",
    "FORMAT_VERSION",
    "TAPE_FILE",
    "book_at",
    "describe",
    "digest_of",
    "load",
    "save",
    "verify_digest",
    "write",
]
