"""What an import did: rows refused and why, and one report per session."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from foldbook.engine.errors import TapeError

from .sources import Problems

EXAMPLES_MAX = 20
"""Refused rows quoted in a report; the rest is only counted."""
UNKNOWN = ""
"""Stands for the market of a row that names none."""


@attrs.frozen
class Report:
    """What one session was made of.

    read: messages about its markets, rejected ones included. joined: trades joined to their
    decrease. rejected: rows refused; reasons: how many for each reason; examples: the first, each
    one line. gaps: GAP rows. left_out: messages that are fine and yet not on the tape, by why:
    duplicate, unanchored (before the first snapshot), in_gap, after_close, repeated_close, own.
    identified, ambiguous, missing: decreases that are no trade, by how many orders of the rebuilt
    queue they can be: one, several, none (`engine.queues`).
    """

    session: Path
    markets: tuple[str, ...]
    events: int
    read: int
    joined: int
    unjoined: int
    rejected: int
    reasons: dict[str, int]
    examples: tuple[str, ...]
    gaps: int
    left_out: dict[str, int]
    counts: dict[str, int]
    identified: int
    ambiguous: int
    missing: int

    def to_json(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return attrs.asdict(self) | {"session": str(self.session), "markets": list(self.markets),
                                     "examples": list(self.examples)}


class Rejections(Problems):
    """Counts refused rows per market; unless told to keep going, the first one ends the import."""

    def __init__(self, keep_going: bool):
        self.keep_going = keep_going
        self.reasons: dict[str, Counter[str]] = {}
        self.examples: dict[str, list[str]] = {}

    def refuse(self, path: Path, row: int, market: str, why: str, text: str) -> None:
        """Count a refused row, or raise TapeError that names file, row, field, value and what was
        expected."""
        self._count(market, why, f"{path} row {row}: {text}")

    def damaged(self, path: Path, why: str) -> None:
        """Count a damaged file, or raise TapeError."""
        self._count(UNKNOWN, "damaged_file", f"{path}: {why}")

    def take(self, market: str) -> tuple[Counter[str], list[str]]:
        """Return and forget what was refused of a market."""
        return self.reasons.pop(market, Counter()), self.examples.pop(market, [])

    def _count(self, market: str, why: str, text: str) -> None:
        text = " ".join(text.split())
        if not self.keep_going:
            raise TapeError(text)
        self.reasons.setdefault(market, Counter())[why] += 1
        examples = self.examples.setdefault(market, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(text)
