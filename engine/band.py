"""A run between bounds: the same strategy under the kindest and the harshest of the models.

Where both agree with the run as it was chosen, the result does not hang on what nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from .availability import ALWAYS, AVAILABILITY_2026_05
from .schema import Evidence
from .specs import DELAY_MAX, NO_DELAY, ZERO_LATENCY, Delay, Feed, Latency, Models, Queue
from .units import decimal_cash, decimal_qty

if TYPE_CHECKING:
    from .result import Result


@attrs.frozen
class Case:
    """One run of a band.

    queue, latency: its models, in words. pnl: $0.000001; contracts: 0.01 contract. pnl_by_evidence:
    (evidence, $0.000001) pairs that add up to pnl, the remainder (Evidence.NONE) last. digest: of
    its journal.
    """

    name: str
    queue: str
    latency: str
    pnl: int
    fills: int
    contracts: int
    pnl_by_evidence: tuple[tuple[Evidence, int], ...]
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Return the case as what JSON can hold: money and quantities as decimal strings."""
        return attrs.asdict(self) | {
            "pnl": decimal_cash(self.pnl),
            "contracts": decimal_qty(self.contracts),
            "pnl_by_evidence": {
                _CLASSES[evidence]: decimal_cash(pnl) for evidence, pnl in self.pnl_by_evidence
            },
        }


@attrs.frozen
class Band:
    """Three runs of one strategy; `str` prints them as a table."""

    optimistic: Case
    chosen: Case
    pessimistic: Case

    @property
    def cases(self) -> tuple[Case, Case, Case]:
        """The three, kindest first."""
        return self.optimistic, self.chosen, self.pessimistic

    def to_json(self) -> dict[str, Any]:
        """Return the band as what JSON can hold."""
        return {case.name: case.to_json() for case in self.cases}

    def __str__(self) -> str:
        names = ("pnl", "fills", "contracts", "queue", "latency")
        columns = [["", *names, *(f"pnl {name}" for name in _CLASSES.values()), "digest"]]
        for case in self.cases:
            money = [_dollars(pnl) for _, pnl in case.pnl_by_evidence]
            head = [_dollars(case.pnl), f"{case.fills:,}", decimal_qty(case.contracts)]
            tail = [case.queue, case.latency, *money, case.digest[:12]]
            columns.append([case.name, *head, *tail])
        widths = [max(len(cell) for cell in column) for column in columns]
        lines = []
        for first, *cells in zip(*columns, strict=True):
            shown = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *shown]).rstrip())
        return "\n".join(lines)


_CLASSES = {
    Evidence.TAKER: "taker",
    Evidence.THROUGH: "through",
    Evidence.QUEUE: "queue",
    Evidence.BEYOND: "beyond",
    Evidence.ACCOUNT: "account",
    Evidence.NONE: "remainder",
}


def band(result: Result) -> Band:
    """Run a result's strategy again, optimistic and pessimistic, and return all three.

    Optimistic: Queue.optimistic, no latency, displayed depth always fills. Pessimistic:
    Queue.conservative, every delay of commands and answers as `harsher` says, the same feed, and
    displayed depth gone as often as AVAILABILITY_2026_05 says, unless the run has chosen a table.
    They bound what is assumed, not what is earned: a strategy may do better with fewer fills.
    Raises JournalError if the result was rebuilt from a journal, StrategyError if the strategy
    could not be copied before it ran, or what it raises.
    """
    models = result.config.models
    kind = attrs.evolve(models, queue=Queue.optimistic, latency=ZERO_LATENCY, availability=ALWAYS)
    harsh = attrs.evolve(
        models,
        queue=Queue.conservative,
        latency=harsher(models.latency),
        availability=AVAILABILITY_2026_05 if models.availability == ALWAYS else models.availability,
    )
    return Band(
        _case("optimistic", result.again(kind)),
        _case("chosen", result),
        _case("pessimistic", result.again(harsh)),
    )


def harsher(latency: Latency) -> Latency:
    """Return every delay of commands and answers doubled, and the same feed.

    A delay that is drawn becomes the 95th percentile of its table, always; no delay becomes longer
    than a day.

    >>> harsher(Latency.constant("5ms")).order.values
    (10000000,)
    """
    return Latency(
        _harsher(latency.order),
        _harsher(latency.amend),
        _harsher(latency.cancel),
        _harsher(latency.response),
        latency.feed,
    )


def _harsher(delay: Delay) -> Delay:
    if len(delay.values) > 1 and not delay.times:
        ascending = sorted(delay.values)
        return Delay((ascending[-(-95 * len(ascending) // 100) - 1],))
    return Delay(tuple(min(2 * value, DELAY_MAX) for value in delay.values), delay.times)


def _case(name: str, result: Result) -> Case:
    figures = result.fills.column("qty")
    models: Models = result.config.models
    return Case(
        name=name,
        queue=models.queue.name,
        latency=latency_text(models.latency),
        pnl=result.simulation.venue.reward.value - result.config.cash,
        fills=len(figures),
        contracts=int(figures.sum()),
        pnl_by_evidence=tuple((row.evidence, row.pnl) for row in result.pnl_by_evidence()),
        digest=result.digest,
    )


def latency_text(latency: Latency) -> str:
    """Return a latency in words: what is delayed, and by how much.

    >>> latency_text(Latency.constant("5ms", cancel=0)), latency_text(ZERO_LATENCY)
    ('order=5ms,amend=5ms', 'none')
    """
    parts = [
        f"{name}={_delay_text(getattr(latency, name))}"
        for name in ("order", "amend", "cancel", "response", "feed")
        if getattr(latency, name) != NO_DELAY
    ]
    return ",".join(parts) or "none"


def _delay_text(delay: Delay | Feed) -> str:
    if isinstance(delay, Feed):
        return delay.value
    if delay.times:
        return f"recorded({len(delay.values)})"
    if len(delay.values) > 1:
        return f"drawn({len(delay.values)})"
    for unit, name in ((10**9, "s"), (10**6, "ms"), (10**3, "us")):
        if delay.values[0] % unit == 0:
            return f"{delay.values[0] // unit}{name}"
    return f"{delay.values[0]}ns"


def _dollars(value: int) -> str:
    return f"{'-' if value < 0 else ''}${decimal_cash(abs(value))}"
