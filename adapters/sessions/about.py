"""What is known of a stored session besides its rows, in Parquet metadata and `session.json`.

Version numbers are looked at before anything else, so that a file of a newer version is refused
as such, whatever else it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import SCHEMA_VERSION
from foldbook.engine.session import Session
from foldbook.engine.specs import Market

FORMAT_VERSION = 2
"""1: `tape.npy` and `session.json` alone. 2: `tape.parquet`, and the other two derived from it."""


KEY = b"foldbook"
"""The key of the metadata of a Parquet file under which its text stands."""


_DIGEST = re.compile("[0-9a-f]{64}")


class Listed(msgspec.Struct, omit_defaults=True):
    """One market: its ticker, its finest tick in $0.0001, its mutually exclusive event."""

    ticker: str
    tick: int
    event: str = ""


class Seal(msgspec.Struct, frozen=True):
    """What tells a Parquet file from another: its length, and SHA-256 of its footer in hex."""

    bytes: int
    footer: str


class About(msgspec.Struct, omit_defaults=True):
    """A stored session without its rows. `parquet` seals the file that it was read from."""

    format: int
    name: str
    markets: list[Listed]
    events: int
    tape_digest: str
    facts: dict[str, Any]
    schema: int = 0
    digest: str = ""
    parquet: Seal | None = None


class _Version(msgspec.Struct):
    format: int
    schema: int = 0


def about_of(session: Session, facts: Mapping[str, Any]) -> About:
    """Return what is to be stored of a session besides its rows."""
    return About(
        format=FORMAT_VERSION,
        name=session.name,
        markets=[Listed(each.ticker, each.tick, each.event) for each in session.markets],
        events=len(session.tape),
        tape_digest=session.tape.digest,
        facts=dict(facts),
        schema=SCHEMA_VERSION,
        digest=session.digest,
    )


def decode(text: bytes, path: Path) -> About:
    """Return what `text`, found in `path`, says. Raises TapeError: damaged, or a newer version."""
    try:
        version = msgspec.json.decode(text, type=_Version)
        for name, known in (("format", FORMAT_VERSION), ("schema", SCHEMA_VERSION)):
            if getattr(version, name) > known:
                raise TapeError(
                    f"{path}: {name} is {getattr(version, name)}, written by a newer version; "
                    f"this one reads up to {known}"
                )
        about = msgspec.json.decode(text, type=About)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TapeError(f"{path}: {error}") from None
    # It names files: whatever else stands there could name any file.
    if not _DIGEST.fullmatch(about.tape_digest):
        raise TapeError(f"{path}: tape_digest is {about.tape_digest!r}, expected 64 hex digits")
    return about


def encode(about: About, **more: Any) -> bytes:
    """Return the JSON text of what is known, and of what else stands beside it."""
    return msgspec.json.encode(msgspec.to_builtins(about) | more)


def markets_of(about: About, path: Path) -> tuple[Market, ...]:
    """Return the markets. Raises TapeError, naming `path`, for one that cannot be."""
    try:
        return tuple(Market(each.ticker, each.tick, each.event) for each in about.markets)
    except ValueError as error:
        raise TapeError(f"{path}: markets: {error}") from None
