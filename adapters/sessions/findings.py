"""What can be wrong with a recording: every problem, how bad it is, what it does, what to do.

The one table of problems. `checkup` and `doctor` find them; nobody else words them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import attrs

from foldbook.engine.units import iso_time

PLACES_MAX = 10
"""Places named by one finding; the rest is only counted."""


class Severity(IntEnum):
    NOTE = 0
    """Worth knowing; no reason to distrust a result."""
    WARNING = 1
    """A backtest runs, and part of its result is not to be trusted."""
    ERROR = 2
    """Nothing can be run on it as it is."""


class Problem(StrEnum):
    """What is wrong; the values are what `--json` calls it."""

    FILE = "file"
    DIGEST = "digest"
    RULE = "rule"
    EMPTY = "empty"
    DUPLICATE = "duplicate"
    TIME = "time"
    GAP = "gap"
    SILENCE = "silence"
    UNANCHORED = "unanchored"
    REJECTED = "rejected"
    CROSSED = "crossed"
    LOCKED = "locked"
    SIZE = "size"
    GRID = "grid"
    NO_TRADES = "no_trades"
    UNJOINED = "unjoined"
    PLACE = "place"
    GUESSED = "guessed"
    NO_RECEIPTS = "no_receipts"
    RECEIPTS_FALL = "receipts_fall"
    CLOCK_BEHIND = "clock_behind"
    CLOCK_JUMP = "clock_jump"
    NO_CLOSE = "no_close"
    NO_RESULT = "no_result"


@attrs.frozen
class Meaning:
    """effect: what a problem means for a backtest. advice: what to do about it."""

    effect: str
    advice: str


MEANINGS: Mapping[Problem, Meaning] = MappingProxyType({
    Problem.FILE: Meaning(
        "the session cannot be loaded",
        "import the recording again, or restore the folder from a copy"),
    Problem.DIGEST: Meaning(
        "the rows are not those that were stored: results cannot be compared with earlier ones",
        "restore the folder from a copy, or import the recording again"),
    Problem.RULE: Meaning(
        "the engine refuses the tape, because its kernels rely on the rule",
        "mend whatever wrote the tape; an importer would have made a gap of it"),
    Problem.EMPTY: Meaning(
        "nothing happens in it, and no order can be placed",
        "leave it out, or look for the rest of the recording"),
    Problem.DUPLICATE: Meaning(
        "the same moments would be tested twice, and count twice in any average",
        "keep one of them, or cut them apart with `foldbook slice` before `foldbook merge`"),
    Problem.TIME: Meaning(
        "durations, rates and dated fees are wrong, and latency cannot be modelled",
        "import again from a recording with times, or cut the rows off with `foldbook slice`"),
    Problem.GAP: Meaning(
        "the book is unknown from there to the next snapshot: orders are refused, fills missed",
        "look at `result.untrusted()`, or cut the stretch out with `foldbook slice`"),
    Problem.SILENCE: Meaning(
        "either nothing happened, or the recorder missed it and the book is stale",
        "compare with another recording; if events were lost, cut the stretch out with "
        "`foldbook slice`"),
    Problem.UNANCHORED: Meaning(
        "until the first snapshot there is no book: orders are refused",
        "begin the recording with a snapshot; nothing is lost from there on"),
    Problem.REJECTED: Meaning(
        "what the refused lines said is missing from the tape",
        "import again without --keep-going to see the first of them"),
    Problem.CROSSED: Meaning(
        "within a burst nobody acts, so it does no harm by itself; where many bursts do it, sides "
        "or the order of rows may be misread",
        "check the source's side convention (use_yes_price) and the order of its rows"),
    Problem.LOCKED: Meaning(
        "within a burst nobody acts, so it does no harm by itself; where many bursts do it, sides "
        "or the order of rows may be misread",
        "check the source's side convention (use_yes_price) and the order of its rows"),
    Problem.SIZE: Meaning(
        "a wall that nobody could pay for: takers fill without limit, makers wait for ever",
        "check the unit of sizes in the source: a tape counts hundredths of a contract"),
    Problem.GRID: Meaning(
        "the venue would refuse an order at that price, so the grid or the price is misread",
        "import with --metadata that states the market's grid"),
    Problem.NO_TRADES: Meaning(
        "resting orders fill only when the market moves through them, as evidence `beyond`",
        "record the trade channel too; until then trust taker fills alone"),
    Problem.UNJOINED: Meaning(
        "these trades fill no queue, so resting orders fill later than they should",
        "check that trades and book come from one recorder without holes"),
    Problem.PLACE: Meaning(
        "the rebuilt queue claims more ahead of an order than its level held",
        "rebuild the places with `foldbook.engine.queues.rebuild_queues`"),
    Problem.GUESSED: Meaning(
        "fills that depend on the queue are guesses more often than not",
        "prefer `--queue conservative`, and look at the band of the result"),
    Problem.NO_RECEIPTS: Meaning(
        "a feed delay as recorded is zero: the agent sees everything at once",
        "state a constant feed delay with --latency feed=..."),
    Problem.RECEIPTS_FALL: Meaning(
        "what was received when is uncertain by as much; delivery waits for the latest",
        "check the recorder's clock, and that files were merged in order"),
    Problem.CLOCK_BEHIND: Meaning(
        "raw receipts lie before the events; feed=recorded removes the constant part, so only "
        "differences of delays are known",
        "synchronise the recorder's clock; add a constant to the feed's delay"),
    Problem.CLOCK_JUMP: Meaning(
        "recorded delays before and after the jump cannot be compared: feed=recorded is off by it",
        "cut the recording at the jump with `foldbook slice`, or use a constant feed delay"),
    Problem.NO_CLOSE: Meaning(
        "positions stay open to the end and are marked at the last trusted mid",
        "record to the close, or import with --metadata"),
    Problem.NO_RESULT: Meaning(
        "positions held to the end are marked at the last trusted mid, and never paid out",
        "import with --metadata that holds the settlement"),
})  # fmt: skip


@attrs.frozen
class Place:
    """Where a problem shows: the tape row, counted from 0, and its ts in ns."""

    row: int
    ts: int

    def __str__(self) -> str:
        return f"row {self.row} ({_when(self.ts)})"


@attrs.frozen
class Finding:
    """One problem of one session or market. text: what was found, with its numbers.

    market: ticker, None if it concerns the session. places: the first rows that show it, at most
    PLACES_MAX. count: how many there are.
    """

    problem: Problem
    severity: Severity
    session: str
    text: str
    market: str | None = None
    places: tuple[Place, ...] = ()
    count: int = 1

    @property
    def effect(self) -> str:
        """What it means for a backtest."""
        return MEANINGS[self.problem].effect

    @property
    def advice(self) -> str:
        """What to do about it."""
        return MEANINGS[self.problem].advice

    def to_json(self) -> dict[str, Any]:
        """Return the finding as what JSON can hold."""
        return {
            "problem": self.problem.value,
            "severity": self.severity.name.lower(),
            "session": self.session,
            "market": self.market,
            "text": self.text,
            "count": self.count,
            "rows": [place.row for place in self.places],
            "ts": [place.ts for place in self.places],
            "effect": self.effect,
            "advice": self.advice,
        }


def _when(ts: int) -> str:
    """Return a time as a date where it is one."""
    try:
        return iso_time(ts)
    except (OverflowError, ValueError):
        return f"{ts} ns"
