"""What a catalogue knows of each session without opening it, and how it is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from foldbook.engine.schema import TapeKind
from foldbook.engine.session import Session

from .. import sessions
from .errors import CatalogueError

NAMES_A_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Names that are one folder on every system, and one word in every shell."""


@attrs.frozen
class Entry:
    """One session of a catalogue.

    start, end: ts of its first and last event, ns; None if it has no event. events: tape rows.
    gaps: GAP rows. size: bytes that it took where it was saved. quality: from 0 to 1; None where
    its facts have no score. is_gone: the index knows it, but what it names is no longer there.
    """

    name: str
    digest: str
    tickers: tuple[str, ...]
    start: int | None
    end: int | None
    events: int
    gaps: int
    size: int
    quality: float | None
    is_gone: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the entry as what JSON can hold."""
        return attrs.asdict(self) | {"tickers": list(self.tickers)}


Entries = list[Entry]


@attrs.frozen
class Query:
    """Conditions that entries must meet: see `Catalogue.find`. None is no condition."""

    ticker: str | None = None
    series: str | None = None
    since: int | None = None
    until: int | None = None
    min_quality: float | None = attrs.field(default=None)

    @min_quality.validator
    def _is_a_share(self, attribute: attrs.Attribute, value: float | None) -> None:
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"min_quality: {value!r}; expected a number from 0 to 1")

    def __attrs_post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError(f"since: {self.since} is after until, {self.until}")

    def where(self, mark: str) -> tuple[str, list[Any]]:
        """Return the condition as SQL over `sessions` and `markets`, and its parameters.

        mark: how a parameter is written, such as "?".
        """
        of_market = "id IN (SELECT session FROM markets WHERE {} = {})"
        conditions = {
            of_market.format("ticker", mark): self.ticker,
            of_market.format("series", mark): self.series,
            f"end_ts >= {mark}": self.since,
            f"start_ts <= {mark}": self.until,
            f"quality >= {mark}": self.min_quality,
        }
        asked = {text: value for text, value in conditions.items() if value is not None}
        return " AND ".join(asked) or "1 = 1", list(asked.values())


def series_of(ticker: str) -> str:
    """Return the series of a ticker: what stands before its first "-".

    >>> series_of("KXGOLD15M-26AUG102130-30")
    'KXGOLD15M'
    """
    return ticker.partition("-")[0]


def facts_of(session: Session) -> dict[str, Any]:
    """Return what a catalogue keeps of a session besides its tape: what `foldbook info` shows."""
    return sessions.describe(session)


def entry_of(session: Session, name: str, size: int, facts: Mapping[str, Any]) -> Entry:
    """Return the entry of a session under a name. facts: its `facts_of`."""
    quality = facts.get("quality")
    score = quality.get("score") if isinstance(quality, Mapping) else None
    return Entry(
        name=name,
        digest=session.digest,
        tickers=tuple(market.ticker for market in session.markets),
        start=session.start if len(session.tape) else None,
        end=session.end if len(session.tape) else None,
        events=len(session.tape),
        gaps=int(np.count_nonzero(session.tape.rows["kind"] == TapeKind.GAP)),
        size=size,
        quality=score,
    )


def check_names(session: Session, name: str | None) -> str:
    """Return the name that a session is saved under.

    Raises CatalogueError if that, or a ticker of it, cannot be the name of a file.
    """
    chosen = session.name if name is None else name
    told = "expected up to 128 letters, digits, '.', '_' and '-', a letter or digit first"
    if not NAMES_A_FILE.fullmatch(chosen):
        raise CatalogueError(f"session name {chosen!r} cannot name a folder: {told}")
    for market in session.markets:
        if not NAMES_A_FILE.fullmatch(market.ticker):
            raise CatalogueError(
                f"session {chosen}: ticker {market.ticker!r} cannot name a file: {told}"
            )
    return chosen
