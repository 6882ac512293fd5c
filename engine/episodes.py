"""Episodes over recorded markets: what environments are made of, ready for `kernels.episodes`.

A `Course` is one market of a session, or several, laid out for episodes: the tape, the features of
each moment, and states along the way, from which an episode can begin anywhere at once. All of it
is a function of the session and the settings alone, and shared by every environment over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs
import numpy as np

from .codecs import Codec, GivenCodec
from .errors import TapeError
from .intrinsics import Held
from .kernels import episodes as kernel
from .kernels import features as shared
from .kernels import observe as own
from .kernels.layout import CURSOR, JOURNAL_BASE, JOURNAL_COUNT
from .kernels.loop import fill_changes
from .observations import Feature, filler, recipe
from .schema import JOURNAL_DTYPE, NO_TIME
from .session import Session
from .simulation import TIMED, Simulation
from .specs import LIMIT_MAX, ZERO_LATENCY, QueueModel
from .units import PPM, duration

CHECKPOINT_ROWS = 1024
"""Rows between checkpoints at least."""
CHECKPOINT_BYTES = 1 << 26
"""What the checkpoints of one market may take; where they would take more, they stand apart."""
MOMENTS_MIN = 3
"""Moments that a market needs to be played."""
DECISION_ROOM = 9
"""Room in the journal buffer before a step, in units of what one event can write."""

_CADENCES = {
    "change": kernel.EVERY_CHANGE,
    "events": kernel.EVERY_EVENTS,
    "time": kernel.EVERY_TIME,
    "quote": kernel.EVERY_QUOTE,
}
_STARTS = {"first": kernel.START_FIRST, "random": kernel.START_RANDOM}
_CHOICES = {"random": kernel.CHOOSE_RANDOM, "next": kernel.CHOOSE_NEXT}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, np.integer) else value


def _check_whole(instance: object, attribute: attrs.Attribute, value: object) -> None:
    # The words of a plan are int64, and would cut a float off without a word.
    if type(value) is not int:
        raise TypeError(f"{attribute.name}: {value!r} is not an int")
    if abs(value) > LIMIT_MAX:
        raise ValueError(f"{attribute.name}: {value}; expected at most {LIMIT_MAX} either way")


def _number(default: int) -> Any:
    return attrs.field(default=default, converter=_whole, validator=_check_whole)


@attrs.frozen
class Rewards:
    """What a step earns, as a sum of terms; the weights are in millionths.

    value: of the change of portfolio value, at the mark of the simulation. realised: of the change
    of realised P&L less fees. inventory: what holding one contract for one second costs,
    $0.000001. drawdown: of what the deepest fall of the value below its peak grows by, as a cost.
    Raises TypeError for a weight that is no int.
    """

    value: int = _number(PPM)
    realised: int = _number(0)
    inventory: int = _number(0)
    drawdown: int = _number(0)

    @property
    def cash_max(self) -> int:
        """With what an account may begin, $0.000001, so that no reward of a step exceeds int64,
        even if the account earns four times as much in it."""
        weights = abs(self.value) + abs(self.realised) + abs(self.drawdown)
        return (1 << 61) // max(weights, 1)

    def words(self) -> dict[int, int]:
        """Return the words of a plan."""
        return {
            kernel.VALUE_WEIGHT: self.value,
            kernel.REALISED_WEIGHT: self.realised,
            kernel.INVENTORY_COST: self.inventory,
            kernel.DRAWDOWN_WEIGHT: self.drawdown,
        }


@attrs.frozen
class Cadence:
    """When a step ends. kind: "change" (the next burst that changes the book), "quote" (a best
    price changed), "events" or "time", with `every` of them or ns. Raises ValueError or, where
    `every` is no int, TypeError."""

    kind: str
    every: int = _number(1)

    def __attrs_post_init__(self) -> None:
        if self.kind not in _CADENCES:
            raise ValueError(f"cadence: {self.kind!r}; expected {', '.join(_CADENCES)}")
        if self.every <= 0:
            raise ValueError(f"cadence: every {self.every}; expected more than zero")

    @classmethod
    def of(cls, spec: str | int | Cadence) -> Cadence:
        """Return "change", "quote", a number of events, or a time such as "100ms"."""
        if isinstance(spec, Cadence):
            return spec
        if isinstance(spec, (int, np.integer)) and not isinstance(spec, bool):
            return cls("events", int(spec))
        if spec in ("change", "quote"):
            return cls(spec)
        try:
            return cls("time", duration(spec))
        except ValueError:
            raise ValueError(
                f'cadence: {spec!r}; expected "change", "quote", a number of events, '
                'or a time such as "100ms"'
            ) from None


@attrs.frozen
class Plan:
    """What all steps of an environment have in common.

    starts: "first" (the first moment with a quote) or "random" (any). choice: of the market of the
    next episode, "random" or "next". steps_max: 0 no limit; lasts: of an episode, ns, 0 no limit.
    masks: whether it is worked out which actions make sense.
    Raises ValueError for a value that is none of these, TypeError for a number that is no int.
    """

    codec: Codec | GivenCodec
    cadence: Cadence = Cadence("change")
    starts: str = "first"
    choice: str = "random"
    steps_max: int = _number(0)
    lasts: int = _number(0)
    rewards: Rewards = Rewards()
    keeps_journal: bool = True
    masks: bool = True

    def __attrs_post_init__(self) -> None:
        for name, value, known in (
            ("starts", self.starts, _STARTS),
            ("choice", self.choice, _CHOICES),
        ):
            if value not in known:
                raise ValueError(f"{name}: {value!r}; expected {', '.join(known)}")
        if self.steps_max < 0 or self.lasts < 0:
            raise ValueError(f"steps_max {self.steps_max}, lasts {self.lasts}: expected 0 or more")

    @property
    def has_mask(self) -> bool:
        """Whether it is known which actions make sense."""
        return self.masks and self.codec.has_mask

    def words(self, slack: int, room: int = DECISION_ROOM) -> np.ndarray:
        """Return the plan as kernels read it: int64, shape (kernels.episodes.PLAN_WORDS,).

        slack: journal rows that one event can write at most. room: what a decision needs, in
        units of it.
        """
        words = np.zeros(kernel.PLAN_WORDS, np.int64)
        words[: len(self.codec.words())] = self.codec.words()
        values = {
            kernel.CADENCE: _CADENCES[self.cadence.kind],
            kernel.EVERY: self.cadence.every,
            kernel.STEPS_MAX: self.steps_max,
            kernel.LASTS: self.lasts,
            # One event, and what is tried behind it for the mask.
            kernel.ROOM: 2 * slack,
            kernel.ROOM_TO_DECIDE: room * slack,
            kernel.KEEPS_JOURNAL: int(self.keeps_journal),
            kernel.HAS_MASK: int(self.has_mask and isinstance(self.codec, Codec)),
            kernel.CHOICE: _CHOICES[self.choice],
            kernel.STARTS: _STARTS[self.starts],
            **self.rewards.words(),
        }
        for word, value in values.items():
            words[word] = value
        return words


class Course:
    """One market of a session, or several, laid out for episodes. Read-only, and shared.

    session: of these markets. tickers: of them, in the session's order. columns: float32
    (events, shared features wanted and 1), those of one market behind those of the other, see
    `kernels.features.fill_columns`. changes: of one market, see `kernels.loop.fill_changes`.
    checkpoints, seen: int64 (checkpoints, words).

    Raises TapeError for fewer than three moments, or for a market without a single quote.
    """

    def __init__(
        self,
        whole: Session,
        markets: str | int | Sequence[str],
        features: Sequence[Feature],
        settings: Mapping[str, Any],
        venue_offset: int = 0,
        common: np.ndarray | None = None,
    ):
        """common: of `session_columns`, for the rows of the markets."""
        chosen = (markets,) if isinstance(markets, (str, int)) else tuple(markets)
        self.session = whole.select(*chosen)
        self.tickers = tuple(market.ticker for market in self.session.markets)
        self.settings = dict(settings)
        queue = self.settings.get("queue")
        if queue is not None and queue.model is QueueModel.USER:
            raise ValueError("queue: a user's own model cannot be played in an environment yet")
        self.simulation = Simulation(self.session, **self.settings)
        self.features = tuple(features)
        words, wanted = recipe(features)
        self.tape = self.session.tape.rows
        if common is None:
            common = session_columns(self.session)
        wanted = np.append(wanted, venue_offset)
        parts = [self._columns(ticker, common, wanted) for ticker in self.tickers]
        self.columns = parts[0] if len(parts) == 1 else np.concatenate(parts)
        begins = np.cumsum([0, *(len(part) for part in parts[:-1])])
        self.recipe = np.append(words, begins)
        self._find_starts(whole.name, parts)
        self._lay_checkpoints()

    def fresh(self) -> Simulation:
        """Return a simulation before its first event."""
        return self.simulation.fork()

    def _columns(self, ticker: str, common: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Return the columns of one market: what it alone is like, without delays or orders."""
        rows = self.tape["market"] == self.session.market_index(ticker)
        alone = self.session.select(ticker)
        columns = np.zeros((len(alone.tape), len(wanted)), np.float32)
        plain = {"latency": ZERO_LATENCY, "market_fees": (), "others": ()}
        is_plain = alone is self.session and not plain.keys() & self.settings.keys()
        walker = self.fresh() if is_plain else Simulation(alone, **self.settings | plain)
        shared.fill_columns(
            walker.bus.run,
            alone.tape.rows,
            common[rows],
            wanted,
            columns,
            np.zeros(shared.SCRATCH_WORDS),
        )
        return columns

    def _find_starts(self, name: str, parts: Sequence[np.ndarray]) -> None:
        ends = np.flatnonzero(np.diff(self.tape["ts"], append=NO_TIME)) + 1
        if len(ends) < MOMENTS_MIN:
            raise TapeError(
                f"session {name}, market {', '.join(self.tickers)}: {len(ends)} moments; an "
                f"episode needs {MOMENTS_MIN} at least"
            )
        is_live = np.zeros(len(self.tape), bool)
        for market, part in enumerate(parts):
            if not part[:, -1].any():
                raise TapeError(
                    f"session {name}, market {self.tickers[market]}: never has a quote; leave the "
                    "market out"
                )
            is_live[self.tape["market"] == market] = part[:, -1] != 0
        live = np.flatnonzero(is_live) + 1
        self.first_start = int(live[0])
        before_end = live[live <= int(ends[-2])]
        self.last_start = int(before_end[-1]) if len(before_end) else self.first_start

    def _lay_checkpoints(self) -> None:
        self.opening = self.simulation.journal().rows[: self.simulation.bus.accounts].copy()
        simulation = self.fresh()
        bus = simulation.bus
        size = 8 * len(bus.state) * (2 if bus.sees_late else 1)
        apart = max(CHECKPOINT_ROWS, -(-len(self.tape) * size // CHECKPOINT_BYTES))
        states, seen = [bus.state.copy()], [bus.run.seen.copy()]
        for row in range(apart, len(self.tape), apart):
            simulation.advance(stop=row)
            states.append(bus.state.copy())
            seen.append(bus.run.seen.copy())
        self.checkpoints = np.array(states)
        self.seen = np.array(seen) if bus.sees_late else np.zeros((0, len(bus.state)), np.int64)
        self.delivered = bus.delivered(0, len(self.tape))
        self.changes = np.zeros((len(self.tape) if len(self.tickers) == 1 else 0, 2), np.int64)
        if len(self.changes):
            fill_changes(self.fresh().bus.run, self.tape, self.changes)
        self.tables = bus.run.tables

    @property
    def slack(self) -> int:
        """Journal rows that one event can write at most."""
        return self.simulation.bus.slack

    def row_from(self, ts: int) -> int:
        """Return where an episode begins that starts at a time, ns: after the events up to then.

        Raises ValueError for a time before the first quote or after the last.
        """
        row = int(np.searchsorted(self.tape["ts"], ts, side="right"))
        if not self.first_start <= row <= self.last_start:
            first, last = (int(self.tape["ts"][r - 1]) for r in (self.first_start, self.last_start))
            names = ", ".join(self.tickers)
            raise ValueError(f"start: {ts}; {names} is quoted from {first} to {last}, in ns")
        return row

    def begin_after(self, ts: int) -> None:
        """Let episodes begin with the first event after a time, ns. Raises TapeError if nothing is
        quoted then."""
        row = int(np.searchsorted(self.tape["ts"], ts, side="right")) + 1
        if row > self.last_start:
            names = ", ".join(self.tickers)
            raise TapeError(f"market {names}: nothing is quoted after {ts} ns")
        self.first_start = max(self.first_start, row)

    @cached_property
    def pool(self) -> kernel.Pool:
        """The pool of this course alone."""
        return pool_of((self,))


def session_columns(session: Session) -> np.ndarray:
    """Return what all markets of a session have in common at each row: float32 (events,
    kernels.features.SESSION_FEATURES), as of the last full second before it."""
    columns = np.zeros((len(session.tape), shared.SESSION_FEATURES), np.float32)
    run = Simulation(session, order_capacity=1, client_ids=0, order_groups=0).bus.run
    words = np.zeros(len(session.markets) * shared.SESSION_WORDS, np.int64)
    shared.fill_session_columns(run, session.tape.rows, columns, words)
    return columns


def pool_of(courses: Sequence[Course]) -> kernel.Pool:
    """Return what kernels draw episodes from. Raises ValueError for markets of different grids.

    The tape of a single market is not copied.
    """
    widths = {len(course.simulation.bus.state) for course in courses}
    if len(widths) > 1:
        grids = ", ".join(
            f"{each.tickers[0]} {each.session.markets[0].levels} levels" for each in courses[:8]
        )
        raise ValueError(f"markets of different price grids in one vector: {grids}; make one each")
    table = np.zeros((len(courses), kernel.COURSE_WORDS), np.int64)
    begin = checkpoint = 0
    for row, course in zip(table, courses, strict=True):
        row[kernel.TAPE_BEGIN] = begin
        begin += len(course.tape)
        row[kernel.TAPE_END] = begin
        row[kernel.CHECKPOINT] = checkpoint
        row[kernel.CHECKPOINTS] = len(course.checkpoints)
        checkpoint += len(course.checkpoints)
        row[kernel.FIRST_START] = course.first_start
        row[kernel.LAST_START] = course.last_start

    def joined(name: str) -> np.ndarray:
        parts = [getattr(course, name) for course in courses]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    first = courses[0]
    tape = joined("tape")
    tape.flags.writeable = False
    return kernel.Pool(
        tape,
        joined("delivered"),
        joined("changes"),
        joined("columns"),
        first.recipe,
        table,
        joined("checkpoints"),
        joined("seen"),
        first.tables,
        first.opening,
    )


class Episode:
    """One episode in progress: a simulation of a course, moved by actions.

    simulation: the same object for all episodes of this one; `begin` puts it back. words: int64,
    what `kernels.episodes` keeps beside the state. What is done, observed and masked in several
    markets stands one market behind the other. action: int64, what the next `step` does.
    observation, mask: float32 and int8, what is observed now, and 1 where an action makes sense.
    """

    __slots__ = (
        "_bus", "_fill", "_held", "_run", "_scratch", "action", "course", "mask", "observation",
        "plan", "simulation", "words",
    )  # fmt: skip

    def __init__(self, course: Course, plan: Plan, words: np.ndarray | None = None):
        """words: of an environment, to go on with; else of one that has played no episode."""
        self.course = course
        self.plan = plan
        markets, codec = len(course.tickers), plan.codec
        room = DECISION_ROOM * markets
        self.words = np.concatenate(
            [plan.words(course.slack, room), env_words() if words is None else words]
        )
        self.action = np.zeros(markets * len(codec.dims), np.int64)
        self.observation = np.zeros(markets * len(course.features), np.float32)
        self.mask = np.ones(markets * codec.dims[0] if plan.has_mask else 0, np.int8)
        self._scratch = np.zeros(len(course.simulation.bus.state), np.int64), np.zeros(own.FEATURES)
        self._fill = filler(course.features)
        self._put(course.fresh())

    def _put(self, simulation: Simulation) -> None:
        self.simulation, self._bus = simulation, simulation.bus
        self._hold()

    def _hold(self) -> None:
        """Lay what a step works on down for the kernel, again where the journal buffer is a new
        one."""
        course = self.course
        self._run = run = self._bus.run
        self._held = Held(kernel.STEPPED, (
            run, (course.tape, course.delivered, course.changes), course.columns, course.recipe,
            self.words, self.action, self._outs,
        ))  # fmt: skip

    @property
    def _outs(self) -> tuple[np.ndarray, ...]:
        return self.observation, self.mask, *self._scratch

    @property
    def env(self) -> np.ndarray:
        """The words of the environment, a view."""
        return self.words[kernel.PLAN_WORDS :]

    def begin(self, row: int | None = None, cash: int | None = None) -> None:
        """Begin an episode, at a row of the course (None: as the plan says), with other cash."""
        env = self.env
        env[kernel.FIXED_CASH] = -1 if cash is None else cash
        bus = self.simulation.bus
        bus.restart()
        kernel.begin(bus.run, self.course.pool, self.words, -1 if row is None else row)
        self.simulation.cause = self.simulation.last_burst()
        self.simulation.delivered_tape = bus.sight[CURSOR]
        self.simulation.delivered_journal = bus.sight[JOURNAL_COUNT]

    def act(self, action: np.ndarray) -> None:
        """Send what an action of a user's codec stands for, that of each market behind the other;
        the next `step` goes on from there."""
        simulation, bus = self.simulation, self.simulation.bus
        bus.reserve(int(self.words[kernel.ROOM_TO_DECIDE]))
        by_time = self.plan.cadence.kind == "time"
        simulation.cause = TIMED if by_time else simulation.last_burst()
        simulation.is_playing = True
        try:
            for market, part in enumerate(np.split(action, len(self.course.tickers))):
                self.plan.codec.act(simulation, market, part)
        finally:
            simulation.is_playing = False
            self._note()

    def _note(self) -> None:
        """Let the kernels look at the rows of commands that came from outside."""
        bus, first = self.simulation.bus, int(self.env[kernel.READ])
        run, base = bus.run, bus.memory[JOURNAL_BASE]
        if base > first:
            numbers = range(first, bus.memory[JOURNAL_COUNT])
            run = run._replace(rows=np.array([bus.row(each) for each in numbers], JOURNAL_DTYPE))
            bus.memory[JOURNAL_BASE] = first
        kernel.note(run, self.words)
        bus.memory[JOURNAL_BASE] = base

    def step(self) -> None:
        """Do what `action` says, go on to the next moment, and look at it.

        Raises CapacityError where order slots or flights run out.
        """
        if self._bus.run is not self._run:
            self._hold()
        status = kernel.step(self._held.address)
        while status == kernel.MORE:
            self._bus.reserve(int(self.words[kernel.ROOM_TO_DECIDE]))
            self._hold()
            status = kernel.step(self._held.address)
        if status == kernel.FAILED:
            raise self._bus.command_error()
        if self._fill is not None:
            self._show_own()

    def show(self) -> None:
        """Look at how things are now."""
        course = self.course
        kernel.show(self._bus.run, course.columns, course.recipe, self.words, self._outs)
        if self._fill is not None:
            self._show_own()

    def _show_own(self) -> None:
        """Write what the user's own features observe."""
        for market, shown in enumerate(np.split(self.observation, len(self.course.tickers))):
            self._fill(self._bus.run, market, shown)

    def fork(self) -> Episode:
        """Return an independent copy of the episode as it stands."""
        twin = Episode(self.course, self.plan, self.env.copy())
        twin._put(self.simulation.fork())
        twin.observation[:], twin.mask[:] = self.observation, self.mask
        return twin

    def state(self) -> dict[str, np.ndarray]:
        """Return all that the episode is, as arrays: what `restore` takes."""
        bus = self.simulation.bus
        journal = self.simulation.journal()
        return {
            "words": self.env.copy(),
            "observation": self.observation.copy(),
            "mask": self.mask.copy(),
            "state": bus.state.copy(),
            "seen": bus.run.seen.copy(),
            "rows": journal.rows.copy(),
            "places": journal.places.copy(),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Put the episode where `state` was taken."""
        self.env[:] = state["words"]
        self.observation[:], self.mask[:] = state["observation"], state["mask"]
        bus = self.simulation.bus
        bus.restore(state["state"], state["seen"], state["rows"], state["places"])


def env_words() -> np.ndarray:
    """Return the words of an environment that has played no episode yet."""
    words = np.zeros(kernel.ENV_WORDS, np.int64)
    words[kernel.FIXED_CASH] = -1
    words[kernel.OVER] = 1
    return words
