"""Order groups: what they matched within the last 15 seconds (docs/semantics.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from foldbook.engine.units import SECOND

from .state import FROM_CLOCK, Cause

WINDOW = 15 * SECOND
ENTRIES_MAX = 32


@dataclass
class Group:
    """One order group. entries: (ts, qty) of its fills within the window, oldest first."""

    number: int
    limit: int
    triggered: bool = False
    has_news: bool = False
    last_fill: Cause = FROM_CLOCK
    entries: list[tuple[int, int]] = field(default_factory=list)

    def add(self, ts: int, qty: int, fill: Cause) -> None:
        """Count a fill of one of its orders."""
        self.has_news = True
        self.last_fill = fill
        self.entries = [entry for entry in self.entries if entry[0] > ts - WINDOW]
        if self.entries and self.entries[-1][0] == ts:
            self.entries[-1] = (ts, self.entries[-1][1] + qty)
            return
        if len(self.entries) == ENTRIES_MAX:
            (_, oldest), (later, second) = self.entries[:2]
            self.entries[:2] = [(later, oldest + second)]
        self.entries.append((ts, qty))

    def matched(self, now: int) -> int:
        """Return what it matched within the window that ends at `now`."""
        return sum(qty for ts, qty in self.entries if ts > now - WINDOW)
