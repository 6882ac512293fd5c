"""Policies as strategies: what was trained in an environment, run by the ordinary Backtest.

A `PolicyStrategy` sees what the environment shows, made by the same kernels from the state of the
run, and acts by the same codec, whose commands go through the gateway. `evaluate` compares
policies and strategies on markets, each with the band of its runs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import attrs
import numpy as np

from foldbook.engine import Backtest, MarketStatus, Result
from foldbook.engine.band import Band
from foldbook.engine.episodes import Course, env_words
from foldbook.engine.kernels import episodes as kernel
from foldbook.engine.kernels import observe as own
from foldbook.engine.kernels.layout import JOURNAL_COUNT
from foldbook.engine.observations import filler
from foldbook.engine.schema import NO_TIME, JournalKind
from foldbook.engine.simulation import Simulation
from foldbook.engine.units import decimal_cash

from .setting import Setting

_P = kernel.PLAN_WORDS


class Policy(Protocol):
    """Anything that chooses actions."""

    def predict(self, observation: np.ndarray, mask: np.ndarray) -> Any:
        """Return an action. observation: float32 (features,). mask: bool (actions,), empty for a
        codec that has none."""


@attrs.frozen
class Constant:
    """Always the same action, if it makes sense, else HOLD (0). Of `limit5`, 0 is to hold."""

    action: int = 0

    def predict(self, observation: np.ndarray, mask: np.ndarray) -> int:
        """Return the action."""
        return self.action if not len(mask) or mask[self.action] else 0


class RandomPolicy:
    """Any action that makes sense, each as often as the others; the same for the same seed."""

    def __init__(self, seed: int = 0, dims: tuple[int, ...] = ()):
        """dims: of the codec (`Codec.dims`); needed only where it has no masks."""
        self.dims = dims
        self._generator = np.random.default_rng(seed)

    def predict(self, observation: np.ndarray, mask: np.ndarray) -> Any:
        """Return an action."""
        if len(mask):
            return int(self._generator.choice(np.flatnonzero(mask)))
        return self._generator.integers(self.dims)


class PolicyStrategy:
    """A policy as a strategy for a Backtest over `session`: one market of a setting's.

    It decides where an environment of the setting with start="first" would, and sends the same
    commands. Made for one run at a time: each run starts it anew. Raises ValueError for a cadence
    that no hook of a strategy has ("events", "time").
    """

    def __init__(self, policy: Policy, setting: Setting, market: tuple[int, str] | None = None):
        """market: (session index, ticker); default: the setting's first."""
        if setting.plan.cadence.kind not in ("change", "quote"):
            raise ValueError(
                f"cadence {setting.plan.cadence.kind!r}: a strategy decides on changes of the book;"
                ' train with cadence="change" or "quote"'
            )
        self.policy = policy
        self.setting = setting
        self.course: Course = setting.course(market or setting.choice.markets[0])
        self._fill = filler(self.course.features)
        self._observation = np.empty(len(setting.features), np.float32)
        self._mask = np.ones(setting.codec.dims[0] if setting.codec.has_mask else 0, np.int8)
        self.on_start(None)

    @property
    def session(self) -> Any:
        """What it is run over: the session with its one market."""
        return self.course.session

    def __deepcopy__(self, memo: dict[int, Any]) -> PolicyStrategy:
        """Return one for another run; the course, which nothing changes, is shared."""
        setting = self.setting
        market = next(m for m, course in setting._courses.items() if course is self.course)
        return PolicyStrategy(copy.deepcopy(self.policy, memo), setting, market)

    def on_start(self, sim: Any) -> None:
        """Forget the run before."""
        self._words = np.concatenate([self.setting.plan.words(self.course.slack), env_words()])
        self._words[_P + kernel.STARTED_AT] = -1
        self._quotes = (-1, -1)
        self._outs: tuple[np.ndarray, ...] = ()

    def on_book(self, sim: Simulation, market: str) -> None:
        """Observe, ask the policy, act."""
        book = sim.book(market)
        if sim.events < self.course.first_start or book.status == MarketStatus.SETTLED:
            return
        if self.setting.plan.cadence.kind == "quote" and _quotes(sim, market) == self._quotes:
            return
        observation, mask = self.look(sim)
        before = sim.bus.memory[JOURNAL_COUNT]
        self.setting.codec.act(sim, market, self.policy.predict(observation, mask))
        for number in range(before, sim.bus.memory[JOURNAL_COUNT]):
            if sim.bus.row(number)["kind"] == JournalKind.SUBMITTED:
                self._words[_P + kernel.LAST_ORDER] = sim.now
        # What own fills have taken is gone by now: that is no news.
        self._quotes = _quotes(sim, market)

    def look(self, sim: Simulation) -> tuple[np.ndarray, np.ndarray]:
        """Return (observation, mask) as they are now; the mask bool."""
        words = self._words
        if words[_P + kernel.STARTED_AT] < 0:
            words[_P + kernel.STARTED_AT] = sim.now
            words[_P + kernel.LAST_ORDER] = NO_TIME
            # The book is looked at itself, whether or not own fills have taken of it.
            words[_P + kernel.TAKES] = 1
        if not self._outs:
            self._outs = (np.zeros(len(sim.bus.state), np.int64), np.zeros(own.FEATURES))
        course, run = self.course, sim.bus.run
        outs = (self._observation, self._mask, *self._outs)
        kernel.show(run, course.columns, course.recipe, words, outs)
        if self._fill is not None:
            self._fill(run, 0, self._observation)
        return self._observation.copy(), self._mask == 1


def _quotes(sim: Simulation, market: str) -> tuple[int, int]:
    book = sim.book(market)
    return book.best_bid, book.best_ask


@attrs.frozen
class Score:
    """What one contestant made of one market. result: of the run as the setting has it."""

    name: str
    market: str
    result: Result
    band: Band


def evaluate(contestants: Mapping[str, Any], setting: Setting) -> list[Score]:
    """Run each contestant over each market of a setting, and again between bounds.

    contestants: by name, policies (they have `predict`) or strategies of a Backtest. All run with
    the setting's cash and models, over sessions that should be none of those it was trained on.
    """
    scores = []
    for market in setting.choice.markets:
        session = setting.course(market).session
        for name, one in contestants.items():
            strategy = PolicyStrategy(one, setting, market) if hasattr(one, "predict") else one
            result = Backtest(session, strategy, **setting.settings).run()
            scores.append(Score(name, market[1], result, result.band()))
    return scores


def table(scores: list[Score]) -> str:
    """Return scores as text: for each contestant the sums over its markets."""
    lines = [f"{'':12}{'fills':>8}{'optimistic':>14}{'chosen':>14}{'pessimistic':>14}"]
    for name in dict.fromkeys(score.name for score in scores):
        own = [score for score in scores if score.name == name]
        sums = (sum(case.pnl for case in cases)
                for cases in zip(*(score.band.cases for score in own), strict=True))
        fills = sum(score.band.chosen.fills for score in own)
        lines.append(f"{name:12}{fills:>8}" + "".join(f"{decimal_cash(v):>14}" for v in sums))
    return "\n".join(lines)
