"""When commands arrive, and when rows become known (docs/semantics.md, section 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from foldbook.engine.schema import JournalKind
from foldbook.engine.specs import Delay, Feed, Models

from .state import TapeRow

MODULUS = 2**31 - 1
ORDER, AMEND, CANCEL, RESPONSE = range(1, 5)
"""Salts of the messages."""
UNDELAYED = (
    JournalKind.SUBMITTED,
    JournalKind.AMEND_REQUESTED,
    JournalKind.DECREASE_REQUESTED,
    JournalKind.CANCEL_REQUESTED,
    JournalKind.GROUP_SET,
    JournalKind.KILL_SET,
    JournalKind.CASH_MOVED,
)
"""What the agent itself did, and so knows at once; it knows its starting cash too."""


class Flight(NamedTuple):
    """A command on its way; `sent` counts them in the order of sending."""

    arrival: int
    sent: int
    market: int
    act: Callable[[], None]


def draw(seed: int, number: int, salt: int) -> int:
    """Return a number from 0 below 2^31 - 1 that looks random and is not."""
    x = seed % MODULUS
    for value in (number, salt):
        x = (x + value + 1) % MODULUS
        for _ in range(2):
            x = (x * x + 48271 * x + 12345) % MODULUS
    return x


def delay_of(models: Models, salt: int, number: int, now: int) -> int:
    """Return how long a message takes that is sent at `now`, ns."""
    latency = models.latency
    table: Delay = {
        ORDER: latency.order,
        AMEND: latency.amend,
        CANCEL: latency.cancel,
        RESPONSE: latency.response,
    }[salt]
    if table.times:
        in_force = [value for time, value in zip(table.times, table.values, strict=True)
                    if time <= now]  # fmt: skip
        return in_force[-1] if in_force else table.values[0]
    return table.values[draw(models.seed, number, salt) % len(table.values)]


def known_times(journal: Iterable[dict[str, int]], models: Models) -> list[int]:
    """Return when the agent knows of each journal row, ns."""
    known: list[int] = []
    for number, row in enumerate(journal):
        time = row["ts"]
        if row["kind"] not in UNDELAYED:
            time += delay_of(models, RESPONSE, number, row["ts"])
        known.append(max(time, known[-1]) if known else time)
    return known


def delivery_times(tape_rows: Any, feed: Delay | Feed) -> list[int]:
    """Return for each tape row when the agent sees its burst, ns. tape_rows: of TAPE_DTYPE."""
    rows = [TapeRow(*values) for values in tape_rows.tolist()]
    delivered: list[int] = []
    offset: int | None = None
    latest = None
    burst: list[TapeRow] = []
    for number, row in enumerate(rows):
        burst.append(row)
        lag = row.recv - row.ts
        offset = lag if offset is None else min(offset, lag)
        delay = max(0, lag - offset) if isinstance(feed, Feed) else feed.values[0]
        latest = row.ts + delay if latest is None else max(latest, row.ts + delay)
        following = rows[number + 1] if number + 1 < len(rows) else None
        if following is None or (following.market, following.ts) != (row.market, row.ts):
            delivered += [latest] * len(burst)
            burst = []
    return delivered
