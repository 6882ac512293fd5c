"""Whether an environment or a feature looks ahead: it is played over a session with another future.

Reached by `foldbook check-leak` through its entry points. A probe returns what was seen, step by
step: what must be the same up to the time at which the futures part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from foldbook.engine import Session
from foldbook.engine.observations import Feature, features_of

from .env import MarketEnv

Seen = tuple[int, str, bytes]
"""(ts, what it was, its bytes): in the order in which it was seen."""


def env(session: Session, until: int, seed: int, **options: Any) -> Iterator[Seen]:
    """Yield what an environment shows up to a time, ns, acting at random: options of `MarketEnv`.

    Actions depend on the seed alone. Raises what the environment raises for wrong options.
    """
    played = MarketEnv(session, **{"gaps": True} | options)
    names = played.feature_names
    actions = np.random.default_rng(seed)
    observation, info = played.reset(seed=seed)
    yield played.simulation.session.start, "market", info["market"].encode()
    step, over, reward = 0, False, 0.0
    while True:
        now = played.simulation.now
        if now > until:
            return
        for name, value in zip(names, observation, strict=True):
            yield now, f"step {step}, feature {name}", value.tobytes()
        if "action_mask" in info:
            yield now, f"step {step}, action mask", info["action_mask"].tobytes()
        yield now, f"step {step}, reward", np.float64(reward).tobytes()
        if over:
            return
        action = actions.integers(played.codec.dims)
        observation, reward, terminated, truncated, info = played.step(action)
        step, over = step + 1, terminated or truncated


def feature(session: Session, until: int, seed: int, *, of: str | Feature, **options: Any
            ) -> Iterator[Seen]:  # fmt: skip
    """Yield what one feature is up to a time: by its name, or the user's own."""
    features_of([of])
    return env(session, until, seed, **{"observation": [of], **options})


