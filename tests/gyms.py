"""What the tests of the environments share: small sessions, models, and ways to play."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import gymnasium
import numpy as np

import foldbook.adapters.gym  # noqa: F401 - registers the environment
from foldbook.adapters import synthetic
from foldbook.adapters.gym import ID, MarketEnv, MarketVectorEnv
from foldbook.engine import Latency, Session

LATENCIES = {
    "none": {},
    "orders": {"latency": Latency.constant("40ms", cancel="25ms", response="15ms")},
    "sight": {
        "latency": Latency.constant("40ms", cancel="25ms", response="15ms", feed="30ms")
    },
}
CODECS = ("limit5", "sized21", "now5", "quote", "quote_box")
CADENCES: tuple[Any, ...] = ("change", "quote", 10, "200ms")


@cache
def session(seed: int = 7, **options: Any) -> Session:
    """Return a generated session of two markets and one minute, or as the options say."""
    return synthetic.session(seed=seed, **({"markets": 2, "minutes": 1} | options))


def single(played: Any, **options: Any) -> MarketEnv:
    """Return a bare environment."""
    return gymnasium.make(ID, session=played, disable_env_checker=True, **options).unwrapped


def vector(played: Any, count: int, **options: Any) -> MarketVectorEnv:
    """Return a vector environment, made as users make it."""
    return gymnasium.make_vec(
        ID, num_envs=count, vectorization_mode="vector_entry_point", session=played, **options
    )


def draws(env: Any, rng: np.random.Generator) -> Any:
    """Yield random actions of a single environment's space, half of them to stay as it is."""
    space = env.action_space
    while True:
        if isinstance(space, gymnasium.spaces.Discrete):
            yield int(rng.integers(space.n)) if rng.random() < 0.5 else 0
        elif isinstance(space, gymnasium.spaces.Box):
            yield rng.uniform(-1, 1, space.shape).astype(np.float32)
        else:
            yield rng.integers(space.nvec)


def play(env: MarketEnv, steps: int, seed: int, **reset: Any) -> list[tuple[Any, ...]]:
    """Reset with a seed, take random steps until an episode ends, and return all that was told."""
    told: list[tuple[Any, ...]] = [env.reset(seed=seed, **reset)]
    for action in itertools.islice(draws(env, np.random.default_rng(seed)), steps):
        told.append(env.step(action))
        if told[-1][2] or told[-1][3]:
            break
    return told


def same(one: Any, other: Any) -> bool:
    """Whether two answers are equal to the last bit, arrays and their dtypes included."""
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and (same(one.tolist(), other.tolist()) if one.dtype == object
                 else one.tobytes() == other.tobytes())
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(itertools.starmap(same, zip(one, other, strict=True)))
    return bool(one == other)
