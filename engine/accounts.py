"""Several accounts over one session: variants side by side, each as if it were alone.

Every account has a simulation of its own, and so a book of its own to take from: none sees, or
stands in the way of, another. What they share is the tape, in memory once, and the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import StrategyError
from .session import Session
from .simulation import NextChange, Simulation


class Accounts(Sequence[Simulation]):
    """Simulations over one session that move together; a sequence of them, in the order given.

    settings: for each account the keywords of its Simulation, such as cash, latency or queue.
    Raises ValueError if there are none.
    """

    __slots__ = ("_simulations", "session")

    def __init__(self, session: Session, settings: Sequence[Mapping[str, Any]]):
        if not settings:
            raise ValueError("accounts: no settings; expected those of one account at least")
        self.session = session
        self._simulations = tuple(Simulation(session, **each) for each in settings)

    def __getitem__(self, account: Any) -> Any:
        return self._simulations[account]

    def __iter__(self) -> Iterator[Simulation]:
        return iter(self._simulations)

    def __len__(self) -> int:
        return len(self._simulations)

    @property
    def now(self) -> int:
        """The time that all of them stand at, ns."""
        return self._simulations[0].now

    def advance(self, until: int | NextChange | None = None, *, events: int | None = None) -> bool:
        """Advance the first account as `Simulation.advance` does, and the others to that moment.

        Returns whether that point was reached before the tape ended. Raises StrategyError if one
        was advanced by itself.
        """
        first, *others = self._simulations
        if any((one.now, one.events) != (first.now, first.events) for one in others):
            raise StrategyError("accounts: one of them was moved by itself, so no time is theirs")
        reached = first.advance(until, events=events)
        for one in others:
            one.advance(stop=first.events)
            if one.now < first.now:
                one.advance(first.now)
        return reached

    def fork(self) -> Accounts:
        """Return independent copies of all accounts as they stand."""
        twin = object.__new__(Accounts)
        twin.session = self.session
        twin._simulations = tuple(one.fork() for one in self._simulations)
        return twin
