"""One environment: Gymnasium's `reset` and `step` over an episode of the engine.

It translates and decides nothing: what an action does, what a fill costs and what is observed is
the engine's; `simulation` is the run in progress, and `result()` what came of it.
"""

from __future__ import annotations

import copy
from array import array
from typing import Any

import gymnasium
import numpy as np

from foldbook.engine import Backtest, Result
from foldbook.engine.codecs import GivenCodec
from foldbook.engine.episodes import Episode, env_words
from foldbook.engine.kernels import episodes as kernel
from foldbook.engine.kernels.layout import CURSOR, JOURNAL_COUNT, MARK_MODE, START_CASH
from foldbook.engine.ledger import LEDGER_DTYPE, ledger
from foldbook.engine.schema import Mark
from foldbook.engine.simulation import Simulation

from .setting import Place, Setting, check_options, needs_reset, no_mask, seed_of

_STEP, _VALUE, _CASH, _POSITION, _FILLS, _ROWS, _UNITS, _REWARD, _TERMINATED, _TRUNCATED = (
    word - kernel.MARKET
    for word in (
        kernel.STEP, kernel.VALUE, kernel.KNOWN_CASH, kernel.KNOWN_POSITION, kernel.FILLS,
        kernel.KNOWN_ROWS, kernel.REWARD_UNITS, kernel.REWARD, kernel.TERMINATED,
        kernel.TRUNCATED,
    )
)  # fmt: skip
"""Where in what is told of a step its parts stand."""
_FIRST_TOLD = kernel.PLAN_WORDS + kernel.MARKET
_LAST_TOLD = kernel.PLAN_WORDS + kernel.OVER
WHOLE = frozenset((int, np.int64))
"""Types of an action that are looked at no further: whole numbers, and no truth values."""


class MarketEnv(gymnasium.Env[np.ndarray, Any]):
    """Trade one market of a recorded session; see `setting.Setting` for the options.

    An observation is float32, named by `feature_names`; a reward is scaled by
    `reward_scale`; `info` carries session, market, step, portfolio_value, cash, position ($ and
    contracts in the engine's units), fills, journal, reward_units and, where the codec has one, the
    action_mask. `reset(options=)` takes session (index), market (ticker), start (ns) and cash.
    """

    reset_options: tuple[str, ...] = ("session", "market", "start", "cash")
    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, session: Any, *, render_mode: str | None = None, **options: Any):
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ValueError(f"render_mode: {render_mode!r}; expected {' or '.join(modes)}")
        self.render_mode = render_mode
        self._made_of = {"session": session, "render_mode": render_mode, **options}
        self.setting = self._setting(session, **options)
        self.action_space = self.setting.action_space()
        self.observation_space = self.setting.observation_space()
        codec = self._codec = self.setting.codec
        self._given = codec if isinstance(codec, GivenCodec) else None
        slots = self.setting.slots
        self._choices = 0 if self._given or slots * len(codec.dims) > 1 else codec.dims[0]
        self._scale = self.setting.scale
        self._has_mask = self.setting.plan.has_mask
        self._hindsight = self.setting.choice.hindsight
        self._is_stacked = self.setting.stack > 1
        self._keeps = self.setting.plan.keeps_journal
        self._notes = self._keeps or self._given is not None or render_mode == "rgb_array"
        self._episodes: dict[Place, Episode] = {}
        self._episode: Episode | None = None
        self._market: Place = (-1, "")
        self._env_words = env_words()
        size = slots * len(self.setting.features)
        self._frames = np.zeros((self.setting.stack, size), np.float32)
        self._squares = 0
        self._stands = array("q")
        self._values = array("q")

    def _setting(self, session: Any, **options: Any) -> Setting:
        """Return what is played by the options."""
        return Setting(session, **options)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the observed numbers, in order."""
        return self.setting.feature_names

    @property
    def codec(self) -> Any:
        """What actions mean: `foldbook.engine.codecs.Codec`."""
        return self._codec

    @property
    def simulation(self) -> Simulation:
        """The run in progress. Raises ResetNeeded before the first reset."""
        return self._playing().simulation

    def _playing(self) -> Episode:
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("no episode yet: call reset() first")
        return self._episode

    # Reset and step.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: see Gymnasium; options as in the class."""
        given = check_options(options, self.reset_options)
        super().reset(seed=seed)
        words = self._env_words if self._episode is None else self._episode.env
        if seed is not None or self._episode is None:
            words[kernel.SEED] = seed_of(self.np_random, seed)
            words[kernel.EPISODE] = 0
        is_named = "market" in given or "session" in given
        setting = self.setting
        market = setting.named(given, self._market[0]) if is_named else setting.drawn(words)
        if market not in self._episodes:
            self._episodes[market] = Episode(self.setting.course(market), self.setting.plan)
        episode = self._episodes[market]
        if episode is not self._episode:
            episode.env[:] = words
        row = given.get("start")
        if row is not None:
            row = episode.course.row_from(row)
        episode.begin(row, self.setting.cash_of(given))
        self._take_up(episode, market)
        self._squares = 0
        self._stands, self._values = array("q"), array("q")
        episode.show()
        observation = self._observed(episode)
        self._frames = np.tile(observation, (self.setting.stack, 1))
        self._note()
        return self._stacked(observation), self._info(episode, self._told.tolist())

    def _take_up(self, episode: Episode, market: Place) -> None:
        self._episode, self._market = episode, market
        self._told = episode.words[_FIRST_TOLD : _LAST_TOLD + 1]
        self._memory = memoryview(episode.words)  # type: ignore[arg-type]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Send what an action stands for and go on to the next moment: see Gymnasium.

        Raises ValueError for an action outside the space, ResetNeeded before the first reset and
        after the end of an episode.
        """
        episode = self._episode
        if episode is None or self._memory[_LAST_TOLD]:
            raise needs_reset(begun=episode is not None)
        if type(action) in WHOLE and 0 <= action < self._choices:
            episode.action[0] = action
        elif self._given:
            episode.act(self._validated(action))
        else:
            episode.action[:] = self._validated(action)
        episode.step()
        told = self._told.tolist()
        units = told[_UNITS]
        self._squares += units * units
        if self._notes:
            self._note()
        observation = self._observed(episode)
        if self._is_stacked:
            self._frames = np.concatenate([self._frames[1:], observation[None]])
            observation = self._stacked(observation)
        info = self._info(episode, told)
        terminated, truncated = told[_TERMINATED] == 1, told[_TRUNCATED] == 1
        if terminated or truncated:
            info["statistics"] = self.statistics()
        return observation, told[_REWARD] * self._scale, terminated, truncated, info

    def _validated(self, action: Any) -> np.ndarray:
        """Return an action as kernels or the user's codec take it. Raises ValueError."""
        return (self._given or self._codec).validate(action)

    def _note(self) -> None:
        """Note where the episode stands, for those who look back at it."""
        if self._keeps:
            sight = self._episode.simulation.bus.sight  # type: ignore[union-attr]
            self._stands.append(sight[CURSOR])
            self._stands.append(sight[JOURNAL_COUNT])
        if self.render_mode == "rgb_array":
            self._values.append(self._memory[kernel.PLAN_WORDS + kernel.VALUE])
        if self._given and self._has_mask:
            self._ask(self._given)

    def _observed(self, episode: Episode) -> np.ndarray:
        """Return what is observed now, as an array of its own."""
        return episode.observation.copy()

    def _stacked(self, observation: np.ndarray) -> Any:
        """Return what the agent gets to see."""
        return self._frames.copy() if self._is_stacked else observation

    def _ask(self, codec: GivenCodec) -> None:
        """Take the mask that a codec of the user's own gives."""
        self._playing().mask[:] = codec.mask(self.simulation, 0)

    def _mask_of(self, episode: Episode) -> np.ndarray:
        """Return the mask of the actions, int8, as an array of its own."""
        return episode.mask.copy()

    def _info(self, episode: Episode, told: list[int]) -> dict[str, Any]:
        """Return what is told beside the observation; told: words of the environment."""
        session, market = self._market
        info = {
            "session": session,
            "market": market,
            "step": told[_STEP],
            "portfolio_value": told[_VALUE],
            "cash": told[_CASH],
            "position": told[_POSITION],
            "fills": told[_FILLS],
            "journal": told[_ROWS],
            "reward_units": told[_UNITS],
            "hindsight": self._hindsight,
        }
        if self._has_mask:
            info["action_mask"] = self._mask_of(episode)
        return info

    def action_masks(self) -> np.ndarray:
        """Return which actions make sense now: bool, shape (actions,).

        Raises TypeError for a codec that has no mask, and where none are worked out.
        """
        if not self._has_mask:
            raise TypeError(no_mask(self.setting))
        return self._mask_of(self._playing()) == 1

    # What came of it.

    def statistics(self) -> dict[str, Any]:
        """Return what the episode came to: money in $0.000001, rewards as the agent gets them."""
        env = self._playing().env
        return statistics_of(env, self._squares)

    def ledger(self) -> np.ndarray:
        """Split what each step of the episode earned: engine.ledger.LEDGER_DTYPE, shape (steps,).

        The columns of a row add up to its `reward_units`. Raises TypeError where the journal is not
        kept, or positions are valued at what closing them would pay.
        """
        simulation = self._playing().simulation
        if not self.setting.plan.keeps_journal:
            raise TypeError("ledger: it is read off the journal; make it with journal=True")
        if simulation.bus.memory[MARK_MODE] != Mark.MID:
            raise TypeError("ledger: it splits values at the mid; make it with mark=Mark.MID")
        stands = np.array(self._stands, np.int64).reshape(-1, 2)
        if len(stands) < 2:
            return np.zeros(0, LEDGER_DTYPE)
        return ledger(simulation.session, simulation.journal(), stands)

    def result(self) -> Result:
        """Return the episode so far as the result of a run, with its journal and tables."""
        if not self.setting.plan.keeps_journal:
            raise TypeError("result: the journal is not kept; make it with journal=True")
        simulation = self._playing().simulation.fork()
        settings = self.setting.settings | {"cash": int(simulation.bus.memory[START_CASH])}
        return Result(simulation, Backtest(simulation.session, object(), **settings).config)

    def close(self) -> None:
        """Let go of the episodes."""
        self._episodes = {}

    # Copies.

    def fork(self) -> MarketEnv:
        """Return an independent copy that stands where this one does."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._episodes = {}
        twin._frames = self._frames.copy()
        twin._stands, twin._values = self._stands[:], self._values[:]
        twin._np_random = copy.deepcopy(self._np_random)
        twin.action_space = copy.deepcopy(self.action_space)
        twin.observation_space = copy.deepcopy(self.observation_space)
        twin._env_words = self._env_words.copy()
        if self._episode is not None:
            twin._take_up(self._episode.fork(), self._market)
            twin._episodes[self._market] = twin._playing()
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> MarketEnv:
        return self.fork()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "made_of": self._made_of,
            "market": self._market,
            "episode": None if self._episode is None else self._episode.state(),
            "np_random": self._np_random,
            "np_random_seed": self._np_random_seed,
            "spaces": (self.action_space, self.observation_space),
            "frames": self._frames,
            "squares": self._squares,
            "stands": (self._stands, self._values),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state["made_of"])
        self._np_random, self._np_random_seed = state["np_random"], state["np_random_seed"]
        self.action_space, self.observation_space = state["spaces"]
        self._frames, self._squares = state["frames"], state["squares"]
        self._stands, self._values = state["stands"]
        if state["episode"] is not None:
            market = state["market"]
            self._take_up(Episode(self.setting.course(market), self.setting.plan), market)
            self._playing().restore(state["episode"])
            self._episodes[market] = self._playing()

    def render(self) -> Any:
        """Return the book, the own orders and the account as text or as a picture."""
        from . import render

        if self.render_mode == "rgb_array":
            return render.picture(self.simulation, self._values)
        return render.text(self.simulation) if self.render_mode == "ansi" else None


def statistics_of(env: np.ndarray, squares: float) -> dict[str, Any]:
    """Return what an episode came to; env: its words; squares: of its reward units, added up."""
    steps = int(env[kernel.STEP])
    start, end = int(env[kernel.OPENED_WITH]), int(env[kernel.VALUE])
    mean = (end - start) / steps if steps else 0.0
    spread = max(squares / steps - mean * mean, 0.0) ** 0.5 if steps else 0.0
    return {
        "length": steps,
        "start_value": start,
        "final_value": end,
        "total_return": (end - start) / start if start else 0.0,
        "total_reward_units": end - start,
        "mean_reward_units": mean,
        "max_drawdown": int(env[kernel.DRAWN_DOWN]),
        "sharpe": mean / spread if spread else 0.0,
        "fills": int(env[kernel.FILLS_ALL]),
    }
