"""What an environment plays: sessions, markets, and all that stays the same from step to step.

Shared by the single and the vector environment, so that both mean the same by every option. An
environment has no rule of the market and no ledger of its own: those are the simulation's.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import gymnasium
import numpy as np
from gymnasium import spaces

from foldbook.engine import Session, TapeError, TapeKind, dollars
from foldbook.engine.codecs import Codec, GivenCodec, UserCodec, codec_of
from foldbook.engine.episodes import Cadence, Course, Plan, Rewards, session_columns
from foldbook.engine.kernels import episodes as kernel
from foldbook.engine.observations import Feature, bounds, features_of
from foldbook.engine.simulation import Simulation
from foldbook.engine.specs import CONSERVATIVE, LIMIT_MAX, ZERO_LATENCY, Latency, Queue
from foldbook.engine.units import PPM, SECOND, duration

from .. import sessions

VENUE_TIME = ZoneInfo("America/New_York")
CASH = dollars(100)
REWARD_SCALE = 1e-8
"""What $0.000001 of reward counts: 0.0001 for each cent."""
ORDER_CAPACITY = 8
ORDER_CAPACITY_DELAYED = 64
"""Orders on their way hold a slot too."""
_SETTINGS = inspect.signature(Simulation).parameters.keys() - {"session", "projections", "others"}
Source = Session | str | os.PathLike[str]
Place = tuple[int, Any]
"""(session index, ticker or tickers): what an episode plays."""


@attrs.frozen
class Choice:
    """Which markets of the sessions are played.

    markets: (session index, ticker) of each; of those that are played together their tickers, in
    the session's order. order: "random" or "next". hindsight: whether they
    were chosen by what happens later. since: ns into the session from which an episode may begin.
    """

    markets: tuple[Place, ...]
    order: str
    hindsight: bool = False
    since: int = 0


class Setting:
    """All that environments of one kind share.

    session: a session, its path, or several. market: "active" (the one with most events in the
    whole session, which is hindsight), "active:10m" (in its first ten minutes; episodes begin
    after them), "random", "next", a ticker, or several. actions: a codec or its name. observation:
    a set of features by name, or features. cadence: see `Cadence.of`. start: "first" or "random".
    window: how long an episode lasts, "5m" or ns. stack: how many observations are shown as one.
    reward_scale: what $0.000001 of reward counts in the number that the agent gets. gaps: play
    markets whose recording has gaps. masks: work out which actions make sense, and tell. The rest
    are the settings of a Simulation. Raises ValueError, TypeError or TapeError for what cannot be
    played, naming it.
    """

    slots = 1
    """Markets that there is room for in an action and an observation."""

    def __init__(
        self,
        session: Source | Sequence[Source],
        *,
        market: str | Sequence[str] = "active",
        actions: str | Codec | GivenCodec | UserCodec = "limit5",
        observation: str | Sequence[str | Feature] = "core",
        cadence: str | int | Cadence = "change",
        start: str = "first",
        max_steps: int = 0,
        window: int | str = 0,
        rewards: Rewards | None = None,
        reward_scale: float = REWARD_SCALE,
        cash: int = CASH,
        stack: int = 1,
        gaps: bool = False,
        journal: bool = True,
        masks: bool = True,
        **settings: Any,
    ):
        for name in settings:
            if name not in _SETTINGS:
                raise TypeError(f"no option {name!r}; see docs/gym.md, or Simulation's settings")
        _check_kinds(
            rewards=(rewards, Rewards | None),
            gaps=(gaps, bool),
            journal=(journal, bool),
            masks=(masks, bool),
            latency=(settings.get("latency", ZERO_LATENCY), Latency),
            queue=(settings.get("queue", CONSERVATIVE), Queue),
        )
        if isinstance(stack, bool) or not isinstance(stack, int) or stack < 1:
            raise ValueError(f"stack: {stack!r}; expected a whole number, 1 at least")
        self.sessions = _sessions(session)
        self.choice = _choose(self.sessions, market)
        self.features = features_of(observation)
        self.plan = Plan(
            codec_of(actions),
            Cadence.of(cadence),
            starts=start,
            choice=self.choice.order,
            steps_max=max_steps,
            lasts=duration(window) if window else 0,
            rewards=Rewards() if rewards is None else rewards,
            keeps_journal=journal,
            masks=masks,
        )
        self.stack = stack
        self.gaps = gaps
        self.cash = check_cash(cash, self.plan.rewards)
        self.scale = _check_scale(reward_scale) / PPM
        late = settings.get("latency", ZERO_LATENCY).delays_commands
        self.settings = {
            "order_capacity": ORDER_CAPACITY_DELAYED if late else ORDER_CAPACITY,
            "client_ids": 0, "order_groups": 0,
            **settings, "cash": cash,
        }  # fmt: skip
        self._courses: dict[Place, Course] = {}
        self._common: dict[int, np.ndarray] = {}

    @property
    def codec(self) -> Codec | GivenCodec:
        """What actions mean."""
        return self.plan.codec

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the observed numbers, in order."""
        return tuple(each.name for each in self.features)

    def course(self, market: Place) -> Course:
        """Return what is played laid out for episodes; worked out when it is first played."""
        if market not in self._courses:
            index, names = market
            session = self.sessions[index]
            if index not in self._common:
                self._common[index] = session_columns(session)
            tickers = [names] if isinstance(names, str) else names
            if not self.gaps:
                for ticker in tickers:
                    _refuse_gaps(session, ticker, session.tape.rows[session.rows_of(ticker)])
            rows = np.sort(np.concatenate([session.rows_of(ticker) for ticker in tickers]))
            course = Course(
                session, names, self.features, self.settings,
                venue_offset(session.start), self._common[index][rows],
            )  # fmt: skip
            if self.choice.since:
                course.begin_after(session.start + self.choice.since)
            self._courses[market] = course
        return self._courses[market]

    def drawn(self, words: np.ndarray) -> Place:
        """Return what the next episode plays. words: of the environment."""
        weights = np.arange(1, len(self.choice.markets) + 1)
        return self.choice.markets[
            kernel.next_market(weights, np.concatenate([self.plan.words(0), words]))
        ]

    def named(self, given: Mapping[str, Any], current: int) -> Place:
        """Return what the options of a reset name: session (default: the current one) and market.

        Raises ValueError for what is not there.
        """
        index = given.get("session", max(current, 0))
        if not _is_whole(index) or not 0 <= index < len(self.sessions):
            raise ValueError(f"reset: session {index!r}; expected 0 to {len(self.sessions) - 1}")
        index = int(index)
        ticker = given.get("market")
        if ticker is None:
            ticker = next((names for k, names in self.choice.markets if k == index), None)
            return index, ticker or self.sessions[index].markets[0].ticker
        if not isinstance(ticker, str):
            raise ValueError(f"reset: market {ticker!r}; expected a ticker")
        try:
            self.sessions[index].market_index(ticker)
        except KeyError as error:
            raise ValueError(f"reset: {error.args[0]}") from None
        return index, ticker

    def cash_of(self, given: Mapping[str, Any]) -> int | None:
        """Return the cash that the options of a reset name; None for none."""
        return check_cash(given["cash"], self.plan.rewards) if "cash" in given else None

    def action_space(self) -> spaces.Space[Any]:
        """Return the space of actions of one environment."""
        dims = self.codec.dims * self.slots
        if self.codec.continuous:
            return spaces.Box(-1.0, 1.0, (len(dims),), np.float32)
        return spaces.Discrete(dims[0]) if len(dims) == 1 else spaces.MultiDiscrete(list(dims))

    def observation_space(self) -> spaces.Space[Any]:
        """Return the space of observations of one environment."""
        low, high = bounds(self.features)
        if self.stack > 1:
            low, high = np.tile(low, (self.stack, 1)), np.tile(high, (self.stack, 1))
        return spaces.Box(low, high, dtype=np.float32)


def venue_offset(ts: int) -> int:
    """Return what venue time is ahead of UTC at a time, ns."""
    moment = datetime.fromtimestamp(ts // SECOND, tz=UTC).astimezone(VENUE_TIME)
    ahead = moment.utcoffset()
    return 0 if ahead is None else int(ahead.total_seconds()) * SECOND


def _refuse_gaps(session: Session, ticker: str, rows: np.ndarray) -> None:
    """Raise TapeError for a market whose recording has gaps."""
    gaps = rows["ts"][rows["kind"] == TapeKind.GAP]
    if len(gaps):
        raise TapeError(
            f"session {session.name}, market {ticker}: the recording has {len(gaps)} gap"
            + ("s" if len(gaps) > 1 else "")
            + f", the first at {gaps[0]} ns; leave the market out, or make the environment with "
            "gaps=True: orders are refused in a gap, and marks stand still"
        )


def check_cash(cash: Any, rewards: Rewards) -> int:
    """Return an amount to begin with. Raises ValueError for what is none, or too much for what
    the rewards weigh."""
    most = min(LIMIT_MAX, rewards.cash_max)
    if not _is_whole(cash) or not 0 <= cash <= most:
        raise ValueError(
            f"cash: {cash!r}; expected 0 to {most}, in $0.000001 (more with smaller reward weights)"
        )
    return int(cash)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_kinds(**given: tuple[Any, Any]) -> None:
    """Raise TypeError for an option that is not of its type; given: (value, type) of each."""
    for name, (value, kind) in given.items():
        if not isinstance(value, kind):
            expected = getattr(kind, "__name__", str(kind).rpartition(".")[2])
            raise TypeError(f"{name}: {value!r} is a {type(value).__name__}; expected {expected}")


def _check_scale(scale: Any) -> float:
    """Return a scale of rewards. Raises ValueError for what is no finite number."""
    is_number = isinstance(scale, (int, float, np.number)) and not isinstance(scale, bool)
    if not is_number or not math.isfinite(scale):
        raise ValueError(f"reward_scale: {scale!r}; expected a finite number")
    return float(scale)


def _sessions(source: Source | Sequence[Source]) -> tuple[Session, ...]:
    listed = [source] if isinstance(source, (Session, str, os.PathLike)) else source
    if not isinstance(listed, Iterable) or isinstance(listed, (bytes, Mapping)):
        raise TypeError(f"session: {source!r}; expected a Session, a path, or several")
    listed = list(listed)
    for each in listed:
        if not isinstance(each, (Session, str, os.PathLike)):
            raise TypeError(f"session: {each!r}; expected a Session, a path, or several")
    if not listed:
        raise ValueError("session: none given; expected a Session, a path, or several")
    return tuple(each if isinstance(each, Session) else sessions.load(each) for each in listed)


def _choose(played: tuple[Session, ...], market: str | Sequence[str]) -> Choice:
    every = tuple(
        (index, each.ticker) for index, session in enumerate(played) for each in session.markets
    )
    if market in ("random", "next"):
        return Choice(every, str(market))
    if isinstance(market, str) and (found := re.fullmatch(r"active(?::(.+))?", market)):
        since = duration(found[1]) if found[1] else 0
        if found[1] and not 0 < since <= LIMIT_MAX:
            raise ValueError(f"market: {market!r}; expected a time above zero after active:")
        chosen = tuple(_most_active(index, each, since) for index, each in enumerate(played))
        return Choice(chosen, "next", hindsight=not since, since=since)
    wanted = list(market) if isinstance(market, Iterable) else []
    if isinstance(market, str):
        wanted = [market]
    if not wanted:
        raise ValueError(f"market: {market!r}; expected active, random, next, or tickers")
    known = {ticker for _, ticker in every}
    for ticker in wanted:
        if ticker not in known:
            names = ", ".join(session.name for session in played[:5])
            raise ValueError(f"market {ticker!r} is in none of the sessions: {names}")
    return Choice(tuple(each for each in every if each[1] in wanted), "next")


def _most_active(index: int, session: Session, since: int) -> tuple[int, str]:
    rows = session.tape.rows
    if since:
        rows = rows[: np.searchsorted(rows["ts"], session.start + since, side="right")]
    counts = np.bincount(rows["market"], minlength=len(session.markets))
    return index, session.markets[int(counts.argmax())].ticker


def seed_of(generator: np.random.Generator, seed: int | None) -> int:
    """Return what the draws of an environment depend on: the seed itself, or a drawn one."""
    return int(generator.integers(1 << 31)) if seed is None else seed % (1 << 31)


def seeds_of(seed: Any, count: int) -> list[int | None]:
    """Return the seed of each of many environments; None where it goes on as it is.

    seed: of the first, from which the others count up, or one of each. Raises ValueError for what
    is neither.
    """
    if seed is None:
        return [None] * count
    if _is_whole(seed):
        seed = [int(seed) + k for k in range(count)]
    given = list(seed) if isinstance(seed, (Sequence, np.ndarray)) else [seed]
    if not all(each is None or (_is_whole(each) and each >= 0) for each in given):
        raise ValueError(f"seed: {seed!r}; expected whole numbers, 0 or more")
    if len(given) != count:
        raise ValueError(f"seed: {len(given)} given; expected {count}")
    return [None if each is None else int(each) for each in given]


def check_options(options: Mapping[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """Return the options of a reset. Raises ValueError for one that is not known."""
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"reset: options {options!r}; expected a dict")
    given = dict(options or {})
    for name in given:
        if name not in known:
            raise ValueError(f"reset: no option {name!r}; expected {', '.join(known)}")
    return given


def needs_reset(begun: bool) -> gymnasium.error.ResetNeeded:
    """Return what to raise where a step cannot be taken."""
    if not begun:
        return gymnasium.error.ResetNeeded("step before reset: call reset() first")
    return gymnasium.error.ResetNeeded("the episode is over: call reset() before stepping on")


def no_mask(setting: Setting) -> str:
    """Return why there are no masks, and what to do."""
    if setting.codec.has_mask:
        return "no masks are worked out: make the environment with masks=True"
    return (
        f"actions {setting.codec.name!r} have no mask: use limit5, sized21, now5, or, in a single "
        "environment, a codec of your own with a method mask"
    )
