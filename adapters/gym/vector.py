"""Many environments as one: their states in one array, one compiled call for a step of all.

Each plays what a single `MarketEnv` with its seed would play, to the last bit. No Python runs for
an environment by itself. Two threads may share the work: the kernels hold no lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from foldbook.engine import CapacityError
from foldbook.engine.codecs import Codec, array_of
from foldbook.engine.compiled import JIT_DISABLED
from foldbook.engine.episodes import env_words, pool_of
from foldbook.engine.intrinsics import Held
from foldbook.engine.kernels import episodes as kernel
from foldbook.engine.kernels import observe as own
from foldbook.engine.kernels import vector as many
from foldbook.engine.kernels.layout import ERROR, JOURNAL_BASE, JOURNAL_COUNT
from foldbook.engine.observations import filler_of_many
from foldbook.engine.schema import JOURNAL_DTYPE

from . import copies
from .env import statistics_of
from .setting import Setting, check_options, needs_reset, no_mask, seed_of, seeds_of
from .threads import Worker

_MODES = {
    AutoresetMode.NEXT_STEP: kernel.RESET_NEXT_STEP,
    AutoresetMode.SAME_STEP: kernel.RESET_SAME_STEP,
    AutoresetMode.DISABLED: kernel.RESET_DISABLED,
}
_TOLD = (
    "market", "step", "portfolio_value", "cash", "fees", "position", "fills", "journal",
    "reward_units",
)  # fmt: skip
"""Infos, in the order of the many.TOLD words of an environment from MARKET on."""
_WHICH = tuple(f"_{name}" for name in _TOLD)
_BUFFER, _BUFFER_KEPT = 6, 16
"""Length of a journal buffer, in rows that one event can write, and where rows are kept."""
OPTIONS = ("reset_mask", "cash")


class MarketVectorEnv(VectorEnv[np.ndarray, np.ndarray, Any]):
    """See `env.MarketEnv`; the options are those of `setting.Setting`.

    autoreset_mode: "NextStep", "SameStep" or "Disabled". threads: 1 or 2. Infos are arrays, int64:
    market (its number in `markets`), step, portfolio_value, cash, fees, position, fills, journal,
    reward_units and the action_mask (int8), each with a mask beside it as Gymnasium has them.
    `seed` counts up from environment to environment. With copy=False, observations and masks are
    written anew by each step: copy what is to be kept. `reset(options=)` takes reset_mask (bool)
    and cash (of the episodes from then on).
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012
    # Before version 1.4 Gymnasium closes what was never made, too: options may have been refused.
    _worker: Worker | None = None

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
        self._made_of = {
            "session": session, "num_envs": num_envs, "autoreset_mode": self.mode,
            "threads": threads, "copy": copy, **options,
        }  # fmt: skip
        self.metadata = {**self.metadata, "autoreset_mode": self.mode}
        options = {"journal": False} | options
        self.setting = Setting(session, **options)
        codec = self.setting.codec
        if not isinstance(codec, Codec):
            raise ValueError(
                f"actions {codec.name!r}: a codec of one's own is Python, and a vector "
                'environment calls none; use gymnasium.make_vec(..., vectorization_mode="sync")'
            )
        self.codec = codec
        self.num_envs = num_envs
        self.single_action_space = self.setting.action_space()
        self.single_observation_space = self.setting.observation_space()
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._copy = copy
        self._has_mask = self.setting.plan.has_mask
        courses = [self.setting.course(market) for market in self.setting.choice.markets]
        self.courses = tuple(courses)
        self.markets = tuple(ticker for _, ticker in self.setting.choice.markets)
        self._pool = pool_of(courses)
        self._plan = self.setting.plan.words(courses[0].slack)
        self._plan[kernel.AUTORESET] = _MODES[self.mode]
        self._fill = filler_of_many(self.setting.features)
        looks = self._fill is not None or self.setting.plan.keeps_journal
        self._renews = looks and self.mode is AutoresetMode.SAME_STEP
        if self._renews:
            # The last state is looked at before the next episode begins: see `_step_block`.
            self._plan[kernel.AUTORESET] = kernel.RESET_DISABLED
        self._lay_out(courses[0], threads)
        self._begun = False

    def _lay_out(self, course: Any, threads: int) -> None:
        bus = course.simulation.bus
        count, words = self.num_envs, len(bus.state)
        late = bus.sees_late
        keeps = self.setting.plan.keeps_journal or late
        rows = (_BUFFER_KEPT if self.setting.plan.keeps_journal else _BUFFER) * bus.slack
        size = len(self.setting.features)
        actions = self.codec.dims[0] if self._has_mask else 0
        self._keeps = self.setting.plan.keeps_journal
        self._kept: list[list[np.ndarray]] = [[] for _ in range(count)]
        self._last_kept: list[list[np.ndarray]] = [[] for _ in range(count)]
        weights = np.arange(1, len(self.courses) + 1)
        whole = many.Envs(
            np.zeros((count, words), np.int64),
            np.zeros((count if late else 0, words), np.int64),
            np.zeros((count if keeps else 1, rows), JOURNAL_DTYPE),
            np.zeros((count if keeps else 1, rows), np.int64),
            np.tile(env_words(), (count, 1)),
            np.zeros((count, size), np.float32),
            np.ones((count, actions), np.int8),
            np.zeros(count),
            np.zeros((count, kernel.ENV_WORDS), np.int64),
            np.zeros((count, size), np.float32),
            np.ones((count, actions), np.int8),
            np.zeros(count),
            weights,
            np.zeros(words, np.int64),
            np.zeros(own.FEATURES),
            np.zeros((many.TOLD, count), np.int64),
            np.zeros(count),
            np.zeros(count, np.bool_),
            np.zeros(count, np.bool_),
            np.zeros(1, np.int64),
            np.array([self.setting.scale]),
        )
        self._envs = whole
        self._shape = self.action_space.shape
        self._actions = np.zeros((count, len(self.codec.dims)), np.int64)
        cuts = [count * part // threads for part in range(threads + 1)]
        wheres = [slice(*cut) for cut in pairwise(cuts) if cut[0] < cut[1]]
        self._blocks = [_Block(self, where) for where in wheres]
        shape = (count, self.setting.stack, size)
        self._frames, self._last_frames = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._all = np.ones(count, np.bool_)
        self._all.flags.writeable = False
        threaded = len(self._blocks) > 1 and not JIT_DISABLED
        self._worker = Worker(self._blocks[1].held) if threaded else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the observed numbers, in order."""
        return self.setting.feature_names

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
        self._check_open()
        given = check_options(options, OPTIONS)
        words = self._envs.words
        mask = self._reset_mask(given)
        cash = self.setting.cash_of(given)
        seeds = seeds_of(seed, self.num_envs)
        super().reset(seed=seed if isinstance(seed, int) else None)
        first = None if self._begun else seed_of(self.np_random, None)
        for k, each in enumerate(seeds):
            if each is None and first is not None:
                each = first + k
            if each is not None and mask[k]:
                words[k, kernel.SEED] = each % (1 << 31)
                words[k, kernel.EPISODE] = 0
        words[mask, kernel.FIXED_CASH] = -1 if cash is None else cash
        others = words[:, kernel.OVER].copy()
        words[:, kernel.OVER] = mask
        for block in self._blocks:
            many.reset_many(block.held.address)
        words[~mask, kernel.OVER] = others[~mask]
        self._begun = True
        for k in np.flatnonzero(mask).tolist():
            self._kept[k] = []
            self._last_kept[k] = []
        if self._fill is not None:
            self._fill(self._envs, self._pool)
        self._frames[mask] = self._envs.observations[mask, None]
        return self._out(), self._infos(_told_by(words))

    def _reset_mask(self, given: dict[str, Any]) -> np.ndarray:
        mask = given.get("reset_mask", np.ones(self.num_envs, np.bool_))
        right = isinstance(mask, np.ndarray) and mask.dtype == np.bool_
        if not right or mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"reset_mask: {mask!r}; expected a bool array of shape ({self.num_envs},), one of "
                "them true"
            )
        if not self._begun and not mask.all():
            raise ValueError("reset_mask: the first reset is one of all environments")
        return mask

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment: see Gymnasium.

        Raises ValueError for actions outside the space, ResetNeeded before the first reset and,
        with autoreset_mode Disabled, where an episode is over; ClosedEnvironmentError after
        `close`, as `reset` does.
        """
        if self.closed:
            self._check_open()
        words = self._envs.words
        if not self._begun:
            raise needs_reset(begun=False)
        if self.mode is AutoresetMode.DISABLED and words[:, kernel.OVER].any():
            raise needs_reset(begun=True)
        self._take(actions)
        self._step_blocks()
        envs = self._envs
        infos = self._infos(self._told())
        if self._blocks[0].begun[0] or self._blocks[-1].begun[0]:
            self._begin(words[:, kernel.STEP] == 0, infos)
        elif self.setting.stack > 1:
            self._push()
        rewards, terminated = envs.rewards.copy(), envs.terminated.copy()
        return self._out(), rewards, terminated, envs.truncated.copy(), infos

    def _told(self) -> np.ndarray:
        """Return what the step came to in each environment: int64 (many.TOLD, environments)."""
        if len(self._blocks) == 1:
            return self._blocks[0].envs.told.copy()
        return np.concatenate([block.envs.told for block in self._blocks], axis=1)

    def _push(self) -> None:
        """Put the new observations behind those before them."""
        self._frames[:, :-1] = self._frames[:, 1:]
        self._frames[:, -1] = self._envs.observations

    def _begin(self, begun: np.ndarray, infos: dict[str, Any]) -> None:
        """Note the episodes that have begun; begun: bool (environments,)."""
        if self.mode is AutoresetMode.SAME_STEP:
            self._end(begun, infos)
        if self.setting.stack > 1:
            self._push()
            self._frames[begun] = self._envs.observations[begun, None]

    def _end(self, ended: np.ndarray, infos: dict[str, Any]) -> None:
        """Add to the infos how episodes ended that are followed by others in the same step."""
        last = self._envs.last_observations
        finals = np.full(self.num_envs, None, object)
        for k in np.flatnonzero(ended).tolist():
            finals[k] = last[k].copy()
            if self.setting.stack > 1:
                finals[k] = np.concatenate([self._frames[k, 1:], last[k : k + 1]])
        infos["final_obs"], infos["_final_obs"] = finals, ended
        told = self._infos(_told_by(self._envs.last_words), ended)
        infos["final_info"], infos["_final_info"] = told, ended

    def _take(self, actions: Any) -> None:
        given = array_of(actions)
        if given.shape != self._shape:
            raise ValueError(
                f"actions: shape {given.shape}; expected {self.action_space.shape}, an action for "
                "each environment"
            )
        is_plain = given.dtype == np.int64 and given.ndim == 1
        if is_plain and many.copy_valid(given, self._actions, self.codec.dims[0] - 1):
            return
        self._actions[:] = self.codec.validate_many(given.reshape(self._actions.shape))

    def _step_blocks(self) -> None:
        if self._keeps and self.mode is AutoresetMode.NEXT_STEP:
            self._turn(slice(0, self.num_envs))
        if self._worker is None:
            for block in self._blocks:
                self._finish(block, many.step_many(block.held.address, 0))
            return
        self._worker.ask()
        first = many.step_many(self._blocks[0].held.address, 0)
        second = self._worker.answer()
        self._finish(self._blocks[0], first)
        self._finish(self._blocks[1], second)

    def _finish(self, block: _Block, done: int) -> None:
        """See that the step of a block is complete, of which so many environments are done."""
        where, envs, address = block.where, block.envs, block.held.address
        while done < len(envs.words):
            bus = self.courses[0].simulation.bus
            if envs.states[done, ERROR]:
                bus.memory[ERROR] = envs.states[done, ERROR]
                envs.states[done, ERROR] = 0
                raise bus.command_error()
            self._drain(where.start + done)
            done = many.step_many(address, done)
        if self._keeps:
            states = envs.states
            used = states[:, JOURNAL_COUNT] - states[:, JOURNAL_BASE]
            for k in np.flatnonzero(2 * used > envs.rows.shape[1]).tolist():
                self._drain(where.start + k)
        if self._fill is not None:
            self._fill(envs, self._pool)
        if self._renews:
            if self._keeps:
                self._turn(where)
            many.renew_many(address)
            if self._fill is not None:
                self._fill(envs, self._pool)

    def _turn(self, where: slice) -> None:
        """Put the journals of episodes that are over aside: others are about to begin."""
        over = np.flatnonzero(self._envs.words[where, kernel.OVER]) + where.start
        for k in over.tolist():
            self._last_kept[k] = [self._journal(k)]
            self._kept[k] = []

    def _drain(self, k: int) -> None:
        """Keep the journal rows of an environment, and give their room back; those that its agent
        does not know of yet stay. Raises CapacityError if there are no others."""
        state, rows = self._envs.states[k], self._envs.rows[k]
        base, count = int(state[JOURNAL_BASE]), int(state[JOURNAL_COUNT])
        known = count
        if len(self._envs.seen):
            known = min(count, int(self._envs.seen[k, JOURNAL_COUNT]))
        if known == base:
            raise CapacityError(
                f"environment {k}: its journal buffer is full of rows that its agent does not "
                "know of yet; shorten the latency of responses or of the feed"
            )
        self._kept[k].append(rows[: known - base].copy())
        rows[: count - known] = rows[known - base : count - base].copy()
        state[JOURNAL_BASE] = known

    def _journal(self, k: int) -> np.ndarray:
        state = self._envs.states[k]
        used = int(state[JOURNAL_COUNT] - state[JOURNAL_BASE])
        return np.concatenate([*self._kept[k], self._envs.rows[k, :used]])

    def _out(self) -> np.ndarray:
        shown = self._envs.observations if self.setting.stack == 1 else self._frames
        return shown.copy() if self._copy else shown

    def _infos(self, told: np.ndarray, ended: np.ndarray | None = None) -> dict[str, Any]:
        """Return what environments tell, or what those that ended told last, with a mask beside
        each array."""
        which, masks = self._all, self._envs.masks
        if ended is not None:
            which, masks = ended, self._envs.last_masks
        infos: dict[str, Any] = dict.fromkeys(_WHICH, which)
        infos.update(zip(_TOLD, told, strict=True))
        if self._has_mask:
            infos["action_mask"] = masks.copy() if self._copy else masks
            infos["_action_mask"] = which
        return infos

    def action_masks(self) -> np.ndarray:
        """Return which actions make sense now: bool, shape (environments, actions).

        Raises TypeError for a codec that has no mask, and where none are worked out.
        """
        if not self._has_mask:
            raise TypeError(no_mask(self.setting))
        self._check_begun()
        return self._envs.masks == 1

    def statistics(self, ended: bool = False) -> dict[str, np.ndarray]:
        """Return what each episode has come to so far, as `env.MarketEnv.statistics` does.

        ended: of the last episode that autoreset SameStep has ended in each environment.
        """
        self._check_begun()
        envs = self._envs
        words, squares = envs.words, envs.squares
        if ended:
            words, squares = envs.last_words, envs.last_squares
        each = [statistics_of(*one) for one in zip(words, squares.tolist(), strict=True)]
        return {name: np.array([one[name] for one in each]) for name in each[0]}

    def journal_digests(self) -> np.ndarray:
        """Return a digest of the journal of each environment's episode: int64, shape
        (environments, kernels.episodes.LANES)."""
        self._check_begun()
        first = kernel.DIGEST
        return self._envs.words[:, first : first + kernel.LANES].copy()

    def journal(self, k: int, ended: bool = False) -> np.ndarray:
        """Return the journal rows of an environment's episode, or of the one before it that
        autoreset has ended. Raises TypeError unless made with journal=True."""
        if not self._keeps:
            raise TypeError("journals are not kept: make the environments with journal=True")
        self._check_begun()
        if ended:
            return np.concatenate([np.zeros(0, JOURNAL_DTYPE), *self._last_kept[k]])
        return self._journal(k)

    def _check_begun(self) -> None:
        if not self._begun:
            raise gymnasium.error.ResetNeeded("no episode yet: call reset() first")

    def _check_open(self) -> None:
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError(
                "these environments were closed: make others to go on"
            )

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads."""
        if self._worker is not None:
            self._worker.close()

    # Copies: see `copies`.

    def __deepcopy__(self, memo: dict[int, Any]) -> MarketVectorEnv:
        return copies.twin_of(self)

    def __getstate__(self) -> dict[str, Any]:
        return copies.state_of(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state["made_of"])
        copies.put(self, state)


def _told_by(words: np.ndarray) -> np.ndarray:
    """Return what words of environments tell: int64, shape (len(_TOLD), environments)."""
    return words[:, kernel.MARKET : kernel.MARKET + many.TOLD].T.copy()


class _Block:
    """Some environments, as a block that one thread steps."""

    __slots__ = ("begun", "envs", "held", "where")

    def __init__(self, envs: MarketVectorEnv, where: slice):
        whole = envs._envs
        shared_buffer = len(whole.rows) < len(whole.words)
        self.where = where
        self.envs = many.Envs(
            whole.states[where],
            whole.seen[where] if len(whole.seen) else whole.seen,
            whole.rows.copy() if shared_buffer else whole.rows[where],
            whole.places.copy() if shared_buffer else whole.places[where],
            whole.words[where],
            whole.observations[where],
            whole.masks[where],
            whole.squares[where],
            whole.last_words[where],
            whole.last_observations[where],
            whole.last_masks[where],
            whole.last_squares[where],
            whole.weights,
            whole.trial.copy(),
            whole.scratch.copy(),
            whole.told[:, where].copy(),
            whole.rewards[where],
            whole.terminated[where],
            whole.truncated[where],
            whole.begun.copy(),
            whole.scale,
        )
        self.begun = memoryview(self.envs.begun)  # type: ignore[arg-type]
        self.held = Held(many.MANY, (self.envs, envs._pool, envs._plan, envs._actions[where]))
