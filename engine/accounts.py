"""Several accounts over one session: side by side, or trading with each other on one book.

Side by side every account has a simulation of its own, and so a book of its own to take from: none
sees, or stands in the way of, another. Trading, they share one bus: displayed depth is taken once,
their orders stand in one line, and each sees those of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from .bus import Bus
from .errors import StrategyError
from .journal import Journal
from .projections import Views
from .projections.book import SharedBookView
from .rounds import play_together
from .schema import JournalKind
from .session import Session
from .simulation import NextChange, Simulation
from .specs import NO_LIMITS
from .units import dollars, duration

_OWN = ("cash", "risk")
"""What trading accounts may have each for itself."""


class Accounts(Sequence[Simulation]):
    """Simulations over one session that move together; a sequence of them, in the order given.

    settings: for each account the keywords of its Simulation, such as cash, latency or queue;
    shared: those of all. With `trading` they trade with each other on one book
    (docs/semantics.md, section 13): then cash and risk are of each account, and everything else is
    shared; nothing may delay what they see.
    Raises ValueError if there are none, or for a setting that trading accounts cannot have.
    """

    __slots__ = ("_simulations", "session", "trading")

    def __init__(
        self,
        session: Session,
        settings: Sequence[Mapping[str, Any]],
        *,
        trading: bool = False,
        **shared: Any,
    ):
        if not settings:
            raise ValueError("accounts: no settings; expected those of one account at least")
        self.session = session
        self.trading = trading
        self._simulations: tuple[Simulation, ...]
        if trading:
            self._simulations = _trading(session, settings, shared)
        else:
            each = [{**shared, **own} for own in settings]
            self._simulations = tuple(Simulation(session, **keywords) for keywords in each)

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

    @property
    def bus(self) -> Bus:
        """The bus that trading accounts share. Raises StrategyError where each has its own."""
        if not self.trading:
            raise StrategyError("bus: accounts side by side have one each")
        return self._simulations[0].bus

    def advance(self, until: int | NextChange | None = None, *, events: int | None = None) -> bool:
        """Advance the first account as `Simulation.advance` does, and the others to that moment.

        Returns whether that point was reached before the tape ended. Raises StrategyError if one
        was advanced by itself.
        """
        first, *others = self._simulations
        if self.trading:
            reached = Simulation.advance(first, until, events=events)
            for one in others:
                one.cause = first.cause
                one.serve()
            return reached
        if any((one.now, one.events) != (first.now, first.events) for one in others):
            raise StrategyError("accounts: one of them was moved by itself, so no time is theirs")
        reached = first.advance(until, events=events)
        for one in others:
            one.advance(stop=first.events)
            if one.now < first.now:
                one.advance(first.now)
        return reached

    def play(
        self, strategies: Sequence[Any], *, every: int | str | timedelta | None = None
    ) -> None:
        """Play the session to one strategy for each trading account, to the end of the tape.

        strategies: objects with hooks, or with `every` functions that are called so often; at one
        moment that of the first account comes first. Each is told of its own orders alone. Raises
        StrategyError for accounts side by side, ValueError for another number of strategies.
        """
        if not self.trading:
            raise StrategyError("play: accounts side by side are backtests, each by itself")
        if len(strategies) != len(self):
            raise ValueError(f"play: {len(strategies)} strategies for {len(self)} accounts")
        play_together(
            self._simulations, strategies, every=None if every is None else duration(every)
        )

    def fork(self) -> Accounts:
        """Return independent copies of all accounts as they stand."""
        twin = object.__new__(Accounts)
        twin.session = self.session
        twin.trading = self.trading
        if self.trading:
            bus = self.bus.fork()
            twin._simulations = _told_together(one._twin(bus) for one in self._simulations)
        else:
            twin._simulations = tuple(one.fork() for one in self._simulations)
        return twin

    def journal(self) -> Journal:
        """Return the journal of all trading accounts up to now; each has its own rows of it.

        Raises StrategyError for accounts side by side, which have one each.
        """
        return self.bus.journal()


class TradingAccount(Simulation):
    """One of several accounts on one book; a Simulation that moves only together with the others.

    What it shows is its own: the orders of others are part of its book, and nothing else of them
    is to be seen.
    """

    __slots__ = ("_everybody",)

    _everybody: tuple[TradingAccount, ...]

    def _look(self) -> None:
        bus = self.bus
        bases = [bus.base(index) for index in range(len(self.session.markets))]
        self.tickers = [market.ticker for market in self.session.markets]
        memory: Any = _Words(bus, self.account)
        views = Views(memory, bases, self.tickers, self._market, SharedBookView)
        self.venue = views
        self._books = views.books
        self.orders = views.orders
        self.positions = views.positions
        self.reward = views.reward

    def advance(
        self,
        until: int | NextChange | None = None,
        *,
        events: int | None = None,
        stop: int | None = None,
    ) -> bool:
        """Raise StrategyError: see `Accounts.advance`."""
        raise StrategyError("advance: accounts that trade with each other move together")

    def fork(self) -> TradingAccount:
        """Raise StrategyError: see `Accounts.fork`."""
        raise StrategyError("fork: accounts that trade with each other are copied together")

    def is_told(self, row: np.void) -> bool:
        """Whether a journal row is its own, or of the book alone."""
        return bool(row["account"] == self.account or row["kind"] == JournalKind.RESTORED)

    def journal(self) -> Journal:
        """Return its own rows of the journal, and those of the book alone, up to now."""
        whole = self.bus.journal()
        told = whole.rows["account"] == self.account
        told |= whole.rows["kind"] == JournalKind.RESTORED
        return Journal(whole.rows[told], whole.places[told])

    def _sent(self) -> None:
        for one in self._everybody:
            one.serve()


class _Words:
    """The state as one account sees it: with itself in use whenever a word is read."""

    __slots__ = ("_account", "_bus")

    def __init__(self, bus: Bus, account: int):
        self._bus = bus
        self._account = account

    def __getitem__(self, at: int) -> int:
        self._bus.use(self._account)
        return int(self._bus.memory[at])


def _trading(
    session: Session, settings: Sequence[Mapping[str, Any]], shared: Mapping[str, Any]
) -> tuple[TradingAccount, ...]:
    for number, own in enumerate(settings):
        strange = [name for name in own if name not in _OWN]
        if strange:
            raise ValueError(
                f"account {number}: {strange[0]} holds for all accounts that trade with each "
                f"other; expected {' and '.join(_OWN)}"
            )
    base = {"cash": dollars(1000), "risk": NO_LIMITS}
    both = [{**base, **{name: shared[name] for name in _OWN if name in shared}, **own}
            for own in settings]  # fmt: skip
    others = [(own["cash"], own["risk"]) for own in both[1:]]
    first = TradingAccount(session, **{**shared, **both[0]}, others=others)
    return _told_together([first, *(_beside(first, number) for number in range(1, len(both)))])


def _beside(first: TradingAccount, number: int) -> TradingAccount:
    """Return another account on the same bus, before anything has happened."""
    one = first._twin(first.bus)
    one.account = number
    one._look()
    return one


def _told_together(accounts: Iterable[Any]) -> tuple[TradingAccount, ...]:
    """Let every account hear what the commands of the others mean for it."""
    everybody = tuple(accounts)
    for one in everybody:
        one._everybody = everybody
    return everybody
