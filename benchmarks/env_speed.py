"""How fast environments step and begin, single and many, and what memory each of them takes.

Observations are four numbers (`FOUR`) or the 52 of `classic52`; a step is ten events, an episode
begins anywhere in the tape. Each run starts from the same seed, so its last observations are the
same each time, or the run does not count.

    foldbook bench env-single env-vector
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from foldbook.adapters import synthetic
from foldbook.adapters.gym import MarketEnv, MarketVectorEnv
from foldbook.engine import Session

from .harness import Case, benchmark

FOUR = ("yes_mid", "spread", "imbalance_1", "inventory")
EVENTS_A_STEP = 10
STEPS_MAX = 1000
MANY = 256
EVENTS = 200_000


@lru_cache(maxsize=1)
def _session() -> Session:
    return synthetic.session(seed=7, events=EVENTS)


def _options(observation: Any) -> dict[str, Any]:
    return {"observation": observation, "actions": "limit5", "cadence": EVENTS_A_STEP,
            "start": "random", "max_steps": STEPS_MAX, "journal": False}  # fmt: skip


class _SameNumbers:
    """Check that observations are finite, of one shape, and the same each time."""

    def __init__(self, *shape: int):
        self.shape = shape
        self.first: bytes = b""

    def __call__(self, observations: np.ndarray) -> None:
        assert observations.shape == self.shape and np.isfinite(observations).all()
        self.first = self.first or observations.tobytes()
        assert observations.tobytes() == self.first, "the same actions were shown other numbers"


def _single(size: int, observation: Any, width: int) -> Case:
    env = MarketEnv(_session(), **_options(observation))
    actions = np.random.default_rng(7).integers(0, 5, size).tolist()

    def run(first: np.ndarray) -> np.ndarray:
        seen = first
        for action in actions:
            seen, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                seen, _ = env.reset()
        return seen

    return Case(run, size, "steps", _SameNumbers(width), lambda: env.reset(seed=7)[0])


def _vector(size: int, observation: Any, width: int, **options: Any) -> Case:
    env = MarketVectorEnv(_session(), MANY, **_options(observation), **options)
    actions = np.random.default_rng(7).integers(0, 5, (max(1, size // MANY), MANY))

    def run(first: np.ndarray) -> np.ndarray:
        seen = first
        for row in actions:
            seen = env.step(row)[0]
        return seen

    work = actions.size
    return Case(run, work, "steps", _SameNumbers(MANY, width), lambda: env.reset(seed=7)[0])


@benchmark(toy=200, full=200_000)
def env_single(size: int) -> Case:
    """Step one environment, limit5, four numbers observed, ten events a step."""
    return _single(size, FOUR, len(FOUR))


@benchmark(toy=200, full=200_000)
def env_single_classic52(size: int) -> Case:
    """Step one environment that shows the 52 numbers."""
    return _single(size, "classic52", 52)


@benchmark(toy=2_560, full=2_560_000)
def env_vector(size: int) -> Case:
    """Step 256 environments at once, limit5, four numbers observed, ten events a step."""
    return _vector(size, FOUR, len(FOUR))


@benchmark(toy=2_560, full=2_560_000)
def env_vector_without_masks(size: int) -> Case:
    """The same, where nobody asks which actions make sense."""
    return _vector(size, FOUR, len(FOUR), masks=False)


@benchmark(toy=2_560, full=2_560_000)
def env_vector_two_threads(size: int) -> Case:
    """Step 256 environments in two threads, masks included."""
    return _vector(size, FOUR, len(FOUR), threads=2)


@benchmark(toy=2_560, full=2_560_000)
def env_vector_classic52(size: int) -> Case:
    """Step 256 environments that show the 52 numbers."""
    return _vector(size, "classic52", 52)


@benchmark(toy=20, full=20_000)
def env_reset(size: int) -> Case:
    """Begin episodes of one environment, each anywhere in the tape."""
    env = MarketEnv(_session(), **_options(FOUR))

    def run(first: np.ndarray) -> np.ndarray:
        seen = first
        for _ in range(size):
            seen, _ = env.reset()
        return seen

    return Case(run, size, "resets", _SameNumbers(4), lambda: env.reset(seed=7)[0])


@benchmark(toy=64, full=4_096)
def env_memory(size: int) -> Case:
    """Make many environments, and say what memory one of them takes."""

    def run() -> MarketVectorEnv:
        env = MarketVectorEnv(_session(), size, **_options(FOUR))
        env.reset(seed=7)
        return env

    def check(env: MarketVectorEnv) -> None:
        assert env.num_envs == size
        assert (env.reset(seed=7)[1]["position"] == 0).all(), "an episode begins with a position"

    def tables(env: MarketVectorEnv) -> dict[str, list[dict[str, Any]]]:
        arrays = [each for each in env._envs if isinstance(each, np.ndarray)]
        per_env = sum(each.nbytes for each in arrays if len(each) == size) / size
        return {"memory of environments": [{"environments": size, "bytes each": round(per_env)}]}

    return Case(run, size, "environments", check, tables=tables)
