"""Copies of environments that stand where the original does: of what is played, not of the tape.

A copy has arrays, threads and generators of its own; what was worked out from the session, which
nothing writes to, is shared.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .vector import MarketVectorEnv

_LASTING = (
    "states", "seen", "rows", "places", "words", "observations", "masks", "squares", "last_words",
    "last_observations", "last_masks", "last_squares", "weights", "rewards", "terminated",
    "truncated",
)  # fmt: skip
"""The arrays of `kernels.vector.Envs` that a step finds as the one before has left them."""
_OWN = (
    "_np_random", "_np_random_seed", "action_space", "observation_space", "single_action_space",
    "single_observation_space", "_kept", "_last_kept", "_begun", "closed",
)  # fmt: skip
"""What environments have beside arrays."""


def state_of(envs: MarketVectorEnv) -> dict[str, Any]:
    """Return how to make the same environments, and where these stand."""
    return {
        "made_of": envs._made_of,
        "arrays": {name: getattr(envs._envs, name) for name in _LASTING},
        "frames": envs._frames,
        "own": {name: getattr(envs, name) for name in _OWN},
        "spec": envs.spec,
    }


def put(envs: MarketVectorEnv, state: dict[str, Any]) -> None:
    """Put environments of the same making where the state was taken."""
    for name, values in state["arrays"].items():
        getattr(envs._envs, name)[:] = values
    envs._frames[:] = state["frames"]
    for name, value in state["own"].items():
        setattr(envs, name, value)
    envs.spec = state["spec"]
    if envs.closed:
        envs.close_extras()


def twin_of(envs: MarketVectorEnv) -> MarketVectorEnv:
    """Return an independent copy that stands where these environments do."""
    state = state_of(envs)
    state["own"] = copy.deepcopy(state["own"])
    twin = object.__new__(type(envs))
    twin.__dict__.update(envs.__dict__)
    twin._lay_out(envs.courses[0], len(envs._blocks))
    put(twin, state)
    return twin
