"""What an import did: rows refused and why, and one report per session."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from foldbook.engine.errors import TapeError

EXAMPLES_MAX = 20
"""Refused rows quoted in a report; the rest is only counted."""
UNKNOWN = ""
"""Stands for the market of a row that names none."""


class RefusedError(Exception):
    """A field of one row is not what it should be. why: a word to count it under."""

    def __init__(self, why: str, field: str, value: object, expected: str):
        super().__init__(f"{field} is {value!r}, expected {expected}")
        self.why = why


def one_line(error: object) -> str:
    """Return what an error says, in one line: those of other libraries may have several."""
    return " ".join(str(error).split())


@attrs.frozen
class Report:
    """What one session was made of.

    read: messages about its markets, rejected ones included. joined: trades joined to their
    decrease. rejected: rows refused; reasons: how many for each reason; examples: the first, each
    one line. gaps: GAP rows. left_out: messages that are fine and yet not on the tape, by why.
    counts: raw messages by kind, and whatever else the importer counts.
    identified, ambiguous, missing: decreases that are no trade, by how many orders of the rebuilt
    queue they can be: one, several, none (`engine.queues`). unlisted: markets of which the metadata
    that was given has no record. written: False after a dry run, where session is the path that it
    would have had.
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
    unlisted: tuple[str, ...] = ()
    written: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return attrs.asdict(self) | {"session": str(self.session), "markets": list(self.markets),
                                     "examples": list(self.examples),
                                     "unlisted": list(self.unlisted)}


class Problems:
    """Where damaged files are reported; see `Rejections`."""

    def damaged(self, path: Path, why: str) -> None:
        """Report a file that ends early or is not what its name says. May raise TapeError."""
        raise TapeError(f"{path}: {why}")


class Rejections(Problems):
    """Counts refused rows per market; unless told to keep going, the first one ends the import."""

    def __init__(self, keep_going: bool):
        self.keep_going = keep_going
        self.reasons: dict[str, Counter[str]] = {}
        self.examples: dict[str, list[str]] = {}

    def refuse(self, path: Path | str, row: int, market: str, why: str, text: str) -> None:
        """Count a refused row, or raise TapeError that names file (or table), row, field, value and
        what was expected."""
        self._count(market, why, f"{path} row {row}: {text}")

    def damaged(self, path: Path, why: str) -> None:
        """Count a damaged file, or raise TapeError."""
        self._count(UNKNOWN, "damaged_file", f"{path}: {why}")

    def take(self, market: str) -> tuple[Counter[str], list[str]]:
        """Return and forget what was refused of a market."""
        return self.reasons.pop(market, Counter()), self.examples.pop(market, [])

    def put(self, market: str, reasons: Counter[str], examples: list[str]) -> None:
        """Count again, for another market, what was taken."""
        if reasons:
            self.reasons.setdefault(market, Counter()).update(reasons)
            kept = self.examples.setdefault(market, [])
            kept += examples[: EXAMPLES_MAX - len(kept)]

    def _count(self, market: str, why: str, text: str) -> None:
        text = one_line(text)
        if not self.keep_going:
            raise TapeError(text)
        self.reasons.setdefault(market, Counter())[why] += 1
        examples = self.examples.setdefault(market, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(text)
