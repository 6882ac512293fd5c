"""Our environments: four numbers observed, ten events a step, random starts, 1,000 steps each.

No masks are worked out: none of the others has any.
"""

from pathlib import Path

import driving
import numpy as np

from foldbook.adapters import sessions
from foldbook.adapters.gym import MarketEnv, MarketVectorEnv

OBSERVED = ("yes_mid", "spread", "imbalance_1", "inventory")
OPTIONS = {"observation": OBSERVED, "actions": "limit5", "cadence": 10, "start": "random",
           "max_steps": 1000, "journal": False, "masks": False}  # fmt: skip


def single(session):
    """Return a step of one environment, begun anew where an episode ends."""
    env = MarketEnv(session, **OPTIONS).unwrapped
    env.reset(seed=7)
    actions = np.random.default_rng(0).integers(0, 5, 4096).tolist()

    def step(i):
        observation, _, terminated, truncated, _ = env.step(actions[i & 4095])
        assert observation.shape == (4,)
        if terminated or truncated:
            env.reset()

    return step


def vector(session, envs):
    """Return a step of many environments, which begin anew by themselves."""
    env = MarketVectorEnv(session, envs, copy=False, **OPTIONS)
    env.reset(seed=7)
    actions = np.random.default_rng(0).integers(0, 5, (256, envs))

    def step(i):
        observations = env.step(actions[i & 255])[0]
        assert observations.shape == (envs, 4)

    return step


def main():
    given = driving.arguments()
    session = sessions.load(Path(given.feed).with_suffix(""))
    many = given.envs if given.mode == "vector" else 1
    step = vector(session, many) if given.mode == "vector" else single(session)
    _, first, _ = driving.timed(step, 0)
    driving.serve(
        driving.step_for(given.seconds, step, many), first_call_seconds=first,
        events=len(session.tape), versions=driving.versions("gymnasium", "numba", "numpy"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
