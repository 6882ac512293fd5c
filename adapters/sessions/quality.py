"""How far a recording is to be believed: a score in [0, 1] as a product of named parts.

Each part is a number in [0, 1] with a sentence that says why. None of them looks at how a market
ended, or at what a strategy would earn. docs/facts.md gives each formula.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from foldbook.engine.schema import TapeKind
from foldbook.engine.units import SECOND

from .tallies import SILENCE_NS, Tally

UNTIMED = 0.75
"""What a recording without receive times is worth: nothing is known about the feed's delay."""


@attrs.frozen
class Capture:
    """What the importer's report says about how a recording was made; None where it is silent.

    receive_times: whether there were any. read: messages of the book and trades. lost: those that
    were refused, or could not be placed because others were missing before them.
    """

    receive_times: bool | None = None
    read: int | None = None
    lost: int = 0


@attrs.frozen
class Part:
    """One factor of the score. reason: what was counted, as a sentence without a full stop."""

    name: str
    value: float
    reason: str


@attrs.frozen
class Quality:
    """The score of a recording and the parts whose product it is."""

    parts: tuple[Part, ...]

    @property
    def score(self) -> float:
        """The product of all parts, in [0, 1]."""
        return math.prod(part.value for part in self.parts)

    @property
    def reasons(self) -> list[str]:
        """Why the score is not 1: the sentences of the parts that are not."""
        return [part.reason for part in self.parts if part.value < 1]

    def to_json(self) -> dict[str, Any]:
        """Return score, parts and reasons, numbers rounded to six decimals."""
        return {
            "score": round(self.score, 6),
            "parts": {part.name: round(part.value, 6) for part in self.parts},
            "reasons": self.reasons,
        }


def quality(tally: Tally, capture: Capture = Capture()) -> Quality:
    """Return the quality of what a tally adds up."""
    return Quality((
        _trusted(tally),
        _quoted(tally),
        _continuous(tally),
        _uncrossed(tally),
        _joined(tally),
        _placed(tally),
        _timed(tally, capture),
        _kept(capture),
    ))


def share(part: int, whole: int) -> float | None:
    """Return part / whole, None of nothing."""
    return part / whole if whole else None


def _trusted(tally: Tally) -> Part:
    value = share(tally.trusted_ns, tally.open_ns)
    if value is None:
        return Part("trusted", 0.0, "no time passes while a market is open: nothing can be tested")
    gaps = tally.count(TapeKind.GAP)
    what = "the book is not trusted until the next snapshot"
    counted = f"{gaps} {'gap' if gaps == 1 else 'gaps'}: {what}" if gaps else what
    return Part("trusted", value, f"{counted}; it is trusted for {value:.2%} of the open time")


def _quoted(tally: Tally) -> Part:
    value = share(tally.quoted_ns, tally.trusted_ns) or 0.0
    return Part("quoted", (1 + value) / 2,
                f"a bid and an ask stand for {value:.2%} of the trusted time")


def _continuous(tally: Tally) -> Part:
    value = share(tally.silent_ns, tally.trusted_ns) or 0.0
    return Part("continuous", 1 - value / 2,
                f"{tally.silences} silences of more than {SILENCE_NS // SECOND} s are "
                f"{value:.2%} of the trusted time")


def _uncrossed(tally: Tally) -> Part:
    value = share(tally.crossed, tally.bursts) or 0.0
    return Part("uncrossed", 1 - value / 2,
                f"{tally.crossed} of {tally.bursts} bursts pass through a crossed or locked book")


def _joined(tally: Tally) -> Part:
    trades = tally.count(TapeKind.TRADE) - tally.blocks
    if not trades:
        return Part("joined", 0.5,
                    "no trade channel, or nobody traded: maker fills are beyond the record")
    return Part("joined", (1 + tally.joined / trades) / 2,
                f"{trades - tally.joined} of {trades} trades join no decrease: they fill no queue")


def _placed(tally: Tally) -> Part:
    value = share(tally.guessed, tally.placed) or 0.0
    return Part("placed", 1 - value / 4,
                f"{tally.guessed} of {tally.count(TapeKind.DECREASE)} decreases have a guessed "
                "place in the queue")


def _timed(tally: Tally, capture: Capture) -> Part:
    if capture.receive_times is False:
        return Part("timed", UNTIMED, "no receive times: recv is the exchange time")
    value = share(tally.backwards, tally.book_rows) or 0.0
    return Part("timed", 1 - value,
                f"{tally.backwards} of {tally.book_rows} receipts are before that of the row "
                "before them")


def _kept(capture: Capture) -> Part:
    if not capture.read:
        return Part("kept", 1.0, "how many messages were lost is not stated")
    value = min(capture.lost / capture.read, 1.0)
    return Part("kept", 1 - value,
                f"{capture.lost} of {capture.read} messages were refused or stand in a gap")
