"""Plays a session to a strategy: which hook is called when, and what its commands are caused by.

Hooks run at the end of bursts, at timers and at periodic moments. What one event causes is
delivered before the next burst: journal rows are handed on in their order, and a hook's own
commands queue behind what is being delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import events
from .bus import NO_STOP
from .errors import StrategyError, user_code
from .kernels import layout, loop
from .kernels.layout import CURSOR, HAPPENED, JOURNAL_COUNT, ROWS
from .kernels.programs import BOOK_CHANGES
from .programs import CompiledStrategy
from .schema import NO_TIME, CauseKind, JournalKind, TapeKind
from .simulation import ANY_JOURNAL, STARTED, TIMED, Simulation

Progress = Callable[[int, int], None]
"""progress(rows done, rows in all)."""

_ORDER_KINDS = (
    JournalKind.ACCEPTED,
    JournalKind.REJECTED,
    JournalKind.AMENDED,
    JournalKind.AMEND_REJECTED,
    JournalKind.CANCELED,
    JournalKind.CANCEL_REJECTED,
    JournalKind.EXPIRED,
)
HOOKS = (
    "on_start",
    "on_book",
    "on_trade",
    "on_fill",
    "on_order",
    "on_timer",
    "on_market",
    "on_end",
)
_PROGRESS_ROWS = 200_000
_CALLS_MAX = 100_000
"""Hooks for events of its own, and timers, that a strategy may be called with at one moment."""


def play(
    sim: Simulation, strategy: Any, *, every: int | None = None, progress: Progress | None = None
) -> None:
    """Play the whole session to a strategy: an object with hooks, a function called every so
    often, or a compiled one.

    every: ns between the calls of a function. Raises StrategyError, chained to what the strategy
    raised, if it did.
    """
    check_strategy(strategy, every)
    is_compiled = isinstance(strategy, CompiledStrategy)
    player = Player(sim, strategy, progress)
    with playing([sim]):
        if is_compiled:
            # Its code is part of the loop, so whatever is raised there is taken for its own.
            play_compiled = user_code(sim.bus.play)
            reads = bool(sim.projections)
            play_compiled(strategy.decide, strategy.words(), every or 0, progress, reads)
        elif every is not None:
            player.play_function(strategy, every)
        elif sim.bus.sees_late:
            player.play_news()
        else:
            player.play_hooks()
    sim.serve()


_has = user_code(hasattr)
"""Whether a strategy has something by a name; what it raises when it is asked is its fault."""


def check_strategy(strategy: Any, every: int | None) -> None:
    """Raise ValueError or StrategyError if nothing can be played to a strategy."""
    if every is not None and every <= 0:
        raise ValueError(f"every: {every} ns; expected a positive time")
    if isinstance(strategy, CompiledStrategy):
        return
    if every is not None and not callable(strategy):
        raise StrategyError(f"{strategy!r} is no function, and every= calls one")
    if every is None and not any(_has(strategy, hook) for hook in HOOKS):
        raise StrategyError(
            f"{strategy!r} has none of the hooks {', '.join(HOOKS)}; a plain function needs every="
        )


@contextmanager
def playing(sims: Sequence[Simulation]) -> Iterator[None]:
    """Let strategies be played to: for as long, they cannot move the runs themselves."""
    for sim in sims:
        sim.is_playing = True
    try:
        yield
    finally:
        for sim in sims:
            sim.is_playing = False
        sims[0].bus.memory[layout.WATCH] = 0


class Player:
    """One strategy's hooks, and how far the journal and the tape have been delivered to it."""

    def __init__(self, sim: Simulation, strategy: Any, progress: Progress | None):
        self.sim = sim
        self.progress = progress
        hooks = {name: user_code(getattr(strategy, name))
                 for name in HOOKS if _has(strategy, name)}
        self.on_book = hooks.get("on_book")
        self.on_timer = hooks.get("on_timer")
        self.on_start = hooks.get("on_start")
        self.on_end = hooks.get("on_end")
        self.tape_hooks: dict[int, Callable[..., Any]] = {}
        self.journal_hooks: dict[int, Callable[..., Any]] = {}
        if "on_trade" in hooks:
            self.tape_hooks[TapeKind.TRADE] = hooks["on_trade"]
        if "on_market" in hooks:
            self.tape_hooks[TapeKind.STATUS] = hooks["on_market"]
            self.journal_hooks[JournalKind.SETTLED] = hooks["on_market"]
        if "on_fill" in hooks:
            self.journal_hooks[JournalKind.FILL] = hooks["on_fill"]
        if "on_order" in hooks:
            self.journal_hooks |= dict.fromkeys(_ORDER_KINDS, hooks["on_order"])
        self.delivered_tape = sim.bus.sight[CURSOR]
        self.delivered_journal = sim.bus.sight[JOURNAL_COUNT]
        self.forgets = not sim.bus.keeps_journal
        self.moment = sim.now
        self.calls = 0

    @property
    def count(self) -> int:
        """How many journal rows there are to hand on."""
        return int(self.sim.bus.sight[JOURNAL_COUNT])

    def start(self) -> None:
        """Call the hook of the start."""
        self.sim.cause = STARTED
        if self.on_start:
            self.on_start(self.sim)
            self.deliver_journal()

    def next_timer(self, end: int) -> int:
        """Return the first timer up to `end`; NO_TIME if there is none."""
        timers = self.sim.timers
        return timers[0] if timers and timers[0] <= end else NO_TIME

    def ring(self, timer: int) -> None:
        """Call the hook of the timer that is due."""
        sim = self.sim
        sim.serve()
        sim.timers.pop(0)
        sim.cause = TIMED
        if self.on_timer:
            self._check_progress()
            self.on_timer(sim, timer)
        self.deliver_journal()

    def watch(self) -> int:
        """Return the kinds after which the strategy wants to be asked, as a bit set."""
        kinds = sum(1 << kind for kind in self.tape_hooks)
        kinds |= sum(1 << (16 + kind) for kind in self.journal_hooks)
        return kinds | (BOOK_CHANGES if self.on_book else 0)

    def play_function(self, decide: Callable[[Simulation], Any], every: int) -> None:
        """Call decide(sim) at start + k x every, after all rows with ts <= that time."""
        sim = self.sim
        decide = user_code(decide)
        bus = sim.bus
        advance = bus.advance
        serves = bool(sim.projections)
        sees_late = bus.sees_late
        sim.cause = TIMED
        ts, end = sim.session.start, sim.session.end
        reported = 0
        while ts <= end:
            if sees_late:
                sim.advance_served(ts, NO_STOP)
            else:
                advance(ts)
                if serves:
                    sim.serve()
            decide(sim)
            if sim.timers:
                raise StrategyError("timer: a function called every so often has no on_timer")
            if self.forgets and bus.sealed:
                sim.forget(self.count)
            ts += every
            if self.progress is not None and sim.events - reported >= _PROGRESS_ROWS:
                reported = sim.events
                self.progress(reported, len(sim.session.tape))
        if sees_late:
            sim.advance_served(NO_TIME, NO_STOP)
        else:
            advance()
        self.finish()

    def play_hooks(self) -> None:
        """Call the hooks until the tape ends and no timer is left in it."""
        sim = self.sim
        memory = sim.bus.memory
        end = sim.session.end
        self.start()
        reported = 0
        memory[layout.WATCH] = self.watch()
        while True:
            timer = self.next_timer(end)
            stop = NO_STOP if self.progress is None else reported + _PROGRESS_ROWS
            status = sim.bus.advance(timer, stop)
            if status == loop.WATCHED:
                self.deliver_burst()
                continue
            if self.progress is not None and stop <= sim.events < len(sim.session.tape):
                reported = sim.events
                self.progress(reported, len(sim.session.tape))
                continue
            if timer == NO_TIME:
                break
            self.ring(timer)
        memory[layout.WATCH] = 0
        self.finish()

    def play_news(self) -> None:
        """Call the hooks where the agent sees late: whenever it is shown something, and at timers.

        The venue is played up to that moment first, so that commands arrive where they must.
        """
        sim = self.sim
        bus = sim.bus
        memory = bus.memory
        end = sim.session.end
        self.start()
        while True:
            timer = sim.timers[0] if sim.timers else NO_TIME
            moment = min(bus.next_news(), timer)
            memory[layout.WATCH] = ANY_JOURNAL
            status = bus.advance(moment if moment <= end else NO_TIME)
            memory[layout.WATCH] = 0
            if status == loop.WATCHED:
                continue
            if moment > end:
                break
            bus.follow()
            self._deliver_news()
            if timer == moment:
                self.ring(timer)
        bus.follow()
        self._deliver_news()
        self.finish()

    def _deliver_news(self) -> None:
        """Hand on the tape rows that the agent has been shown, and then what it knows of its own
        orders; last, which books are different."""
        sim = self.sim
        bus = sim.bus
        rows = sim.session.tape.rows
        first, cursor = self.delivered_tape, bus.sight[CURSOR]
        self.delivered_tape = cursor
        sim.serve()
        changed: dict[int, int] = {}
        shown = rows[first:cursor]
        for i, (kind, market) in enumerate(
            zip(shown["kind"].tolist(), shown["market"].tolist(), strict=True), first
        ):
            if BOOK_CHANGES >> kind & 1:
                changed[market] = i
            hook = self.tape_hooks.get(kind)
            if hook is not None:
                sim.cause = sim.last_burst()
                hook(sim, events.from_row(rows[i], sim.tickers))
        if self.journal_hooks:
            self.deliver_journal()
        if self.on_book:
            for market in changed:
                row = bus.sight[bus.base(market) + ROWS] - 1
                sim.cause = (int(CauseKind.TAPE), market, row)
                self.on_book(sim, sim.tickers[market])
                self.deliver_journal()
        if self.forgets:
            self._forget()

    def _check_progress(self) -> None:
        """Count the calls of hooks at one moment. Raises StrategyError if they do not end."""
        if self.sim.now != self.moment:
            self.moment, self.calls = self.sim.now, 0
        self.calls += 1
        if self.calls > _CALLS_MAX:
            raise StrategyError(
                f"{_CALLS_MAX} hooks were called and time stands still: a hook answers its own "
                "events, or sets timers for now, without end"
            )

    def finish(self) -> None:
        sim = self.sim
        sim.cause = sim.last_burst()
        sim.serve()
        if self.on_end:
            self.on_end(sim)
            self.deliver_journal()
        if self.progress is not None:
            self.progress(sim.events, len(sim.session.tape))

    def deliver_burst(self) -> None:
        sim = self.sim
        bus = sim.bus
        memory = bus.memory
        seen = memory[HAPPENED]
        cursor = memory[CURSOR]
        rows = sim.session.tape.rows
        sim.serve()
        if self.tape_hooks:
            cause = sim.last_burst()
            kinds = rows["kind"][self.delivered_tape : cursor]
            for i in (
                np.flatnonzero(np.isin(kinds, list(self.tape_hooks))) + self.delivered_tape
            ).tolist():
                self.deliver_journal(before=i)
                sim.cause = cause
                row = rows[i]
                self.tape_hooks[int(row["kind"])](sim, events.from_row(row, sim.tickers))
            self.delivered_tape = cursor
        if self.journal_hooks:
            self.deliver_journal()
        if self.on_book and seen & BOOK_CHANGES:
            market = int(rows[cursor - 1]["market"])
            sim.cause = (int(CauseKind.TAPE), market, memory[bus.base(market) + ROWS] - 1)
            self.on_book(sim, sim.tickers[market])
            if self.journal_hooks:
                self.deliver_journal()
        if self.forgets:
            self._forget()

    def _forget(self) -> None:
        """Let go of the journal rows that have been handed on."""
        reads = self.tape_hooks or self.journal_hooks
        self.sim.forget(self.delivered_journal if reads else self.count)

    def deliver_journal(self, before: int | None = None) -> None:
        """Hand on journal rows, those that they cause included; or those placed by row `before`."""
        sim = self.sim
        bus = sim.bus
        while self.delivered_journal < bus.sight[JOURNAL_COUNT]:
            number = self.delivered_journal
            if before is not None and bus.place(number) > before:
                return
            self.delivered_journal += 1
            row = bus.row(number)
            hook = self.journal_hooks.get(int(row["kind"]))
            if hook is not None and sim.is_told(row):
                self._check_progress()
                sim.cause = (int(CauseKind.JOURNAL), int(row["market"]), int(row["row"]))
                hook(sim, events.from_row(row, sim.tickers))
