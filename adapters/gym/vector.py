"""Many environments as one: their states in one array, one compiled call for a step of all.

Each plays what a single `MarketEnv` with its seed would play, to the last bit. No Python runs for
an environment by itself. Two threads may share the work: the kernels hold no lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from foldbook.engine.episodes import env_words, pool_of
from foldbook.engine.kernels import episodes as kernel
from foldbook.engine.kernels import features as shared
from foldbook.engine.kernels.layout import CASH, ERROR, FEES, JOURNAL_BASE, JOURNAL_COUNT, POSITION
from foldbook.engine.kernels.positions import position_at
from foldbook.engine.schema import JOURNAL_DTYPE

from .setting import Setting, check_options, seed_of

_POSITION = int(getattr(position_at, "py_func", position_at)(0)) + POSITION
_MODES = {
    AutoresetMode.NEXT_STEP: kernel.RESET_NEXT_STEP,
    AutoresetMode.SAME_STEP: kernel.RESET_SAME_STEP,
    AutoresetMode.DISABLED: kernel.RESET_DISABLED,
}
_BUFFER = 16
"""Length of a journal buffer, in rows that one event can write."""
OPTIONS = ("reset_mask", "cash")


class MarketVectorEnv(VectorEnv[np.ndarray, np.ndarray, Any]):
    """See `env.MarketEnv`; the options are those of `setting.Setting`.

    autoreset_mode: "NextStep", "SameStep" or "Disabled". threads: 1 or 2. Infos are arrays, int64:
    market (its number in `markets`), step, portfolio_value, cash, fees, position, fills,
    journal, reward_units and the action_mask (int8). `seed` counts up from one to the next.
    Observations, rewards and masks are written anew by each step: copy what is to be kept, or ask
    for `copy=True`.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        session: Any,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        threads: int = 1,
        copy: bool = True,
        render_mode: str | None = None,
        **options: Any,
    ):
        if num_envs < 1:
            raise ValueError(f"num_envs: {num_envs}; expected 1 at least")
        if threads not in (1, 2):
            raise ValueError(f"threads: {threads}; expected 1 or 2")
        if render_mode is not None:
            raise ValueError("render_mode: a vector environment draws nothing; use a single one")
        self.mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.mode}
        options = {"keeps_journal": False} | options
        self.setting = Setting(session, **options)
        self.num_envs = num_envs
        self.single_action_space = self.setting.action_space()
        self.single_observation_space = self.setting.observation_space()
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._copy = copy
        self._has_mask = self.setting.codec.has_mask
        self._scale = self.setting.scale
        courses = [self.setting.course(market) for market in self.setting.choice.markets]
        self.courses = tuple(courses)
        self.markets = tuple(ticker for _, ticker in self.setting.choice.markets)
        self._pool = pool_of(courses)
        self._plan = self.setting.plan.words(courses[0].slack)
        self._plan[kernel.AUTORESET] = _MODES[self.mode]
        self._lay_out(courses[0], threads)
        self._begun = False

    def _lay_out(self, course: Any, threads: int) -> None:
        bus = course.simulation.bus
        count, words = self.num_envs, len(bus.state)
        late = bus.sees_late
        keeps = self.setting.plan.keeps_journal or late
        rows = _BUFFER * bus.slack
        size = len(self.setting.features)
        actions = self.setting.codec.dims[0] if self._has_mask else 0
        self._keeps = self.setting.plan.keeps_journal
        self._kept: list[list[np.ndarray]] = [[] for _ in range(count if self._keeps else 0)]
        weights = np.arange(1, len(self.courses) + 1)
        whole = kernel.Envs(
            np.zeros((count, words), np.int64),
            np.zeros((count if late else 0, words), np.int64),
            np.zeros((count if keeps else 1, rows), JOURNAL_DTYPE),
            np.zeros((count if keeps else 1, rows), np.int64),
            np.tile(env_words(), (count, 1)),
            np.zeros((count, size), np.float32),
            np.ones((count, actions), np.int8),
            np.zeros((count, kernel.ENV_WORDS), np.int64),
            np.zeros((count, size), np.float32),
            np.ones((count, actions), np.int8),
            weights,
            np.zeros(words, np.int64),
            np.zeros(shared.BOOK_FEATURES),
        )
        self._envs = whole
        self._actions = np.zeros((count, len(self.setting.codec.dims)), np.int64)
        cuts = [count * part // threads for part in range(threads + 1)]
        self._blocks = [
            (slice(*cut), _block(whole, slice(*cut)))
            for cut in pairwise(cuts)
            if cut[0] < cut[1]
        ]
        self._workers = ThreadPoolExecutor(threads) if len(self._blocks) > 1 else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the observed numbers, in order."""
        return self.setting.feature_names

    @property
    def codec(self) -> Any:
        """What actions mean: `foldbook.engine.codecs.Codec`."""
        return self.setting.codec

    def set_weights(self, weights: Sequence[int]) -> None:
        """Draw markets from here on by these weights, whole numbers, one for each of `markets`.

        Raises ValueError for others, or where episodes take the markets in turn.
        """
        given = np.asarray(weights)
        if given.dtype.kind not in "iu" or given.shape != (len(self.markets),) or given.min() < 0:
            raise ValueError(f"weights: expected {len(self.markets)} whole numbers, 0 or more")
        if self.setting.choice.order != "random" or given.sum() == 0:
            raise ValueError('weights: need market="random", and one above zero')
        self._envs.weights[:] = np.cumsum(given)

    # Reset and step.

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every environment, or in those of options["reset_mask"], bool."""
        given = check_options(options, OPTIONS)
        words = self._envs.words
        mask = np.asarray(given.get("reset_mask", np.ones(self.num_envs, bool)), bool)
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"reset_mask: expected {self.num_envs} truth values, one of them true")
        super().reset(seed=seed if isinstance(seed, int) else None)
        if isinstance(seed, (int, np.integer)):
            seed = [int(seed) + k for k in range(self.num_envs)]
        if seed is None and not self._begun:
            first = seed_of(self.np_random, None)
            seed = [first + k for k in range(self.num_envs)]
        if seed is not None:
            if len(seed) != self.num_envs:
                raise ValueError(f"seed: {len(seed)} given; expected {self.num_envs}")
            for k, each in enumerate(seed):
                if each is not None and mask[k]:
                    words[k, kernel.SEED] = each % (1 << 31)
                    words[k, kernel.EPISODE] = 0
        words[:, kernel.FIXED_CASH] = given.get("cash", -1)
        others = words[:, kernel.OVER].copy()
        words[:, kernel.OVER] = mask
        kernel.reset_many(self._envs, self._pool, self._plan)
        words[~mask, kernel.OVER] = others[~mask]
        self._begun = True
        for k in np.flatnonzero(mask).tolist() if self._keeps else ():
            self._kept[k] = []
            self._drain(k)
        return self._out(self._envs.observations), self._infos()

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment: see Gymnasium.

        Raises ValueError for actions outside the space, ResetNeeded before the first reset.
        """
        if not self._begun:
            raise gymnasium.error.ResetNeeded("step before reset: call reset() first")
        self._take(actions)
        if self._workers is None:
            self._step_block(*self._blocks[0])
        else:
            list(self._workers.map(lambda block: self._step_block(*block), self._blocks))
        if self._keeps:
            for k in range(self.num_envs):
                self._drain(k)
        words = self._envs.words
        same = self.mode is AutoresetMode.SAME_STEP
        ended = words[:, kernel.STEP] == 0 if same else None
        told = words
        infos = self._infos()
        if same and ended is not None and ended.any():
            told = np.where(ended[:, None], self._envs.last_words, words)
            infos["final_obs"] = self._finals(ended)
            infos["_final_obs"] = ended
            infos["final_info"] = self._final_infos(ended)
            infos["_final_info"] = ended
        rewards = told[:, kernel.REWARD] * self._scale
        infos["reward_units"] = told[:, kernel.REWARD_UNITS].copy()
        terminated = told[:, kernel.TERMINATED] == 1
        truncated = told[:, kernel.TRUNCATED] == 1
        return self._out(self._envs.observations), rewards, terminated, truncated, infos

    def _take(self, actions: Any) -> None:
        given = np.asarray(actions)
        dims = np.array(self.setting.codec.dims)
        if given.dtype.kind not in "iu" or given.size != self._actions.size:
            raise ValueError(
                f"actions: {given.dtype} of shape {given.shape}; expected whole numbers of shape "
                f"{self.action_space.shape}"
            )
        self._actions[:] = given.reshape(self._actions.shape)
        if ((self._actions < 0) | (self._actions >= dims)).any():
            wrong = int(np.flatnonzero(((self._actions < 0) | (self._actions >= dims)).any(1))[0])
            raise ValueError(
                f"actions: environment {wrong}: {self._actions[wrong].tolist()}; expected below "
                f"{dims.tolist()}"
            )

    def _step_block(self, where: slice, envs: kernel.Envs) -> None:
        done = 0
        while True:
            done = kernel.step_many(envs, self._pool, self._plan, self._actions[where], done)
            if done == len(envs.words):
                return
            bus = self.courses[0].simulation.bus
            if envs.states[done, ERROR]:
                bus.memory[ERROR] = envs.states[done, ERROR]
                envs.states[done, ERROR] = 0
                raise bus.command_error()
            self._drain(where.start + done)

    def _drain(self, k: int) -> None:
        """Keep the journal rows of an environment, and give their room back."""
        state = self._envs.states[k]
        used = int(state[JOURNAL_COUNT] - state[JOURNAL_BASE])
        self._kept[k].append(self._envs.rows[k, :used].copy())
        state[JOURNAL_BASE] = state[JOURNAL_COUNT]

    def _out(self, observations: np.ndarray) -> np.ndarray:
        return observations.copy() if self._copy else observations

    def _infos(self) -> dict[str, Any]:
        words, states = self._envs.words, self._envs.states
        sight = self._envs.seen if len(self._envs.seen) else states
        infos: dict[str, Any] = {
            "market": words[:, kernel.MARKET].copy(),
            "step": words[:, kernel.STEP].copy(),
            "portfolio_value": words[:, kernel.VALUE].copy(),
            "cash": sight[:, CASH].copy(),
            "fees": sight[:, FEES].copy(),
            "position": sight[:, _POSITION].copy(),
            "fills": words[:, kernel.FILLS].copy(),
            "journal": sight[:, JOURNAL_COUNT].copy(),
            "reward_units": words[:, kernel.REWARD_UNITS].copy(),
        }
        if self._has_mask:
            infos["action_mask"] = self._envs.masks.copy() if self._copy else self._envs.masks
        every = np.ones(self.num_envs, bool)
        for name in tuple(infos):
            infos[f"_{name}"] = every
        return infos

    def _finals(self, ended: np.ndarray) -> np.ndarray:
        finals = np.full(self.num_envs, None, object)
        for k in np.flatnonzero(ended).tolist():
            finals[k] = self._envs.last_observations[k].copy()
        return finals

    def _final_infos(self, ended: np.ndarray) -> dict[str, Any]:
        words = self._envs.last_words
        infos: dict[str, Any] = {
            "market": words[:, kernel.MARKET].copy(),
            "step": words[:, kernel.STEP].copy(),
            "portfolio_value": words[:, kernel.VALUE].copy(),
            "fills": words[:, kernel.FILLS].copy(),
            "reward_units": words[:, kernel.REWARD_UNITS].copy(),
        }
        for name in tuple(infos):
            infos[f"_{name}"] = ended
        return infos

    def action_masks(self) -> np.ndarray:
        """Return which actions make sense now: bool, shape (environments, actions).

        Raises TypeError for a codec that has no mask.
        """
        if not self._has_mask:
            raise TypeError(f"actions {self.setting.codec.name!r} have no mask")
        return self._envs.masks == 1

    def journal_digests(self) -> np.ndarray:
        """Return a digest of each environment's journal since its reset: int64, shape
        (environments, kernels.episodes.LANES)."""
        first = kernel.DIGEST
        return self._envs.words[:, first : first + kernel.LANES].copy()

    def journal(self, k: int) -> np.ndarray:
        """Return the journal rows of an environment since its reset. Raises TypeError unless made
        with keeps_journal=True."""
        if not self._keeps:
            raise TypeError("journals are not kept: make the environments with keeps_journal=True")
        return np.concatenate(self._kept[k])

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads."""
        if self._workers is not None:
            self._workers.shutdown()


def _block(envs: kernel.Envs, where: slice) -> kernel.Envs:
    """Return some environments as a block of their own, with scratch of its own."""
    shared_buffer = len(envs.rows) == 1
    return kernel.Envs(
        envs.states[where],
        envs.seen[where] if len(envs.seen) else envs.seen,
        envs.rows.copy() if shared_buffer else envs.rows[where],
        envs.places.copy() if shared_buffer else envs.places[where],
        envs.words[where],
        envs.observations[where],
        envs.masks[where],
        envs.last_words[where],
        envs.last_observations[where],
        envs.last_masks[where],
        envs.weights,
        envs.trial.copy(),
        envs.scratch.copy(),
    )
