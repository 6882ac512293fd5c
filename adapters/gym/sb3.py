"""The vector environment as Stable-Baselines3 wants it, and its models as policies.

A translation and nothing else: no Python runs for an environment by itself, but where an episode
ended. Stable-Baselines3 is imported here alone: the extra `sb3`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from .curriculum import Curriculum
from .monitoring import Monitor
from .vector import MarketVectorEnv

_SHARED = ("setting", "codec", "feature_names", "markets")
_METHODS = ("action_masks",)


class MarketVecEnv(VecEnv):
    """A `MarketVectorEnv` that trains models of Stable-Baselines3 and sb3-contrib.

    envs: made with autoreset_mode="SameStep". curriculum: told each return, and asked which market
    new episodes play; needs market="random". Infos are empty, but those of episodes that ended:
    terminal_observation, TimeLimit.truncated, market, fills, reward_units, and episode with r
    (return), l (steps) and t (seconds since this was made). Raises ValueError for another mode.
    """

    def __init__(self, envs: MarketVectorEnv, curriculum: Curriculum | None = None):
        if envs.mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"envs: autoreset mode {envs.mode.value}; make them with autoreset_mode='SameStep'"
            )
        self.envs = envs
        self.render_mode = None
        self.curriculum = curriculum
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self._actions: np.ndarray | None = None
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, np.int64)
        self._none: list[dict[str, Any]] = [{} for _ in range(envs.num_envs)]
        self._began = time.monotonic()
        self.infos: dict[str, Any] = {}
        self._weigh()

    def _weigh(self) -> None:
        if self.curriculum is not None:
            self.envs.set_weights(self.curriculum.weights(self.envs.setting.choice.markets))

    def reset(self) -> np.ndarray:
        """Begin an episode in every environment."""
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        observations, self.infos = self.envs.reset(seed=seeds)
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self.reset_infos = self._none
        return observations

    def set_options(self, options: Any = None) -> None:
        """Refuse options: markets are drawn by the environments. Raises ValueError."""
        if options:
            raise ValueError("options: not here; choose markets by the options of MarketVectorEnv")
        super().set_options(options)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all environments; `infos` keeps the arrays of Gymnasium's vector infos."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        self.infos = infos
        over = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        told = self._none
        if over.any():
            told = list(told)
            self._end(np.flatnonzero(over).tolist(), truncated & ~terminated, told)
        return observations, rewards.astype(np.float32), over, told

    def _end(self, ended: Sequence[int], cut: np.ndarray, told: list[dict[str, Any]]) -> None:
        """Write the infos of the episodes that ended, and let the curriculum know."""
        final = self.infos["final_info"]
        passed = round(time.monotonic() - self._began, 6)
        moved = False
        for k in ended:
            market = int(final["market"][k])
            gained = float(self._returns[k])
            told[k] = {
                "terminal_observation": self.infos["final_obs"][k],
                "TimeLimit.truncated": bool(cut[k]),
                "market": self.envs.markets[market],
                "fills": int(final["fills"][k]),
                "reward_units": int(final["reward_units"][k]),
                "episode": {"r": gained, "l": int(self._lengths[k]), "t": passed},
            }
            if self.curriculum is not None:
                moved |= self.curriculum.note(self.envs.setting.choice.markets[market], gained)
        self._returns[ended] = 0.0
        self._lengths[ended] = 0
        if moved:
            self._weigh()

    def close(self) -> None:
        """Stop the threads of the environments."""
        self.envs.close()

    # What Stable-Baselines3 asks by name.

    def has_attr(self, attr_name: str) -> bool:
        """Say whether `get_attr` or `env_method` knows a name; masks only if the codec has them."""
        if attr_name in _METHODS:
            return bool(self.envs.setting.plan.has_mask)
        return attr_name in _SHARED or attr_name == "render_mode"

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return what all environments share. Raises AttributeError for what is nothing of it."""
        if not self.has_attr(attr_name) or attr_name in _METHODS:
            raise AttributeError(f"{attr_name}: expected render_mode or {', '.join(_SHARED)}")
        value = None if attr_name == "render_mode" else getattr(self.envs, attr_name)
        return [value] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: one environment cannot differ from the others. Raises AttributeError."""
        raise AttributeError(f"{attr_name}: environments of a vector are set by what made it")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Return the action masks, a row for each environment. Raises AttributeError for another
        method, TypeError for a codec without masks."""
        if method_name not in _METHODS:
            raise AttributeError(f"{method_name}: expected {', '.join(_METHODS)}")
        masks = self.envs.action_masks()
        return list(masks if indices is None else masks[list(self._get_indices(indices))])

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for each: there is nothing to wrap."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return no picture: use a single environment to look at one."""
        return [None] * self.num_envs


class ModelPolicy:
    """A trained model as a policy: see `policies.Policy`. Always its most likely action."""

    def __init__(self, model: Any):
        self.model = model
        self._takes_masks = "action_masks" in _arguments(model.predict)

    def predict(self, observation: np.ndarray, mask: np.ndarray) -> Any:
        """Return the action; mask: bool, empty for a codec that has none."""
        masked = self._takes_masks and len(mask)
        extra = {"action_masks": mask} if masked else {}
        return self.model.predict(observation, deterministic=True, **extra)[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelPolicy:
        return self


def _arguments(function: Any) -> Iterable[str]:
    code = function.__func__.__code__
    return code.co_varnames[: code.co_argcount]


class MonitorCallback(BaseCallback):
    """Hands the figures of a `monitoring.Monitor` to the model's logger after each rollout, under
    `market/`; with `tensorboard_log=` they are drawn there. For a `MarketVecEnv` alone."""

    def _on_training_start(self) -> None:
        envs = _market_envs(self.training_env)
        dims = () if isinstance(envs.action_space, spaces.Box) else envs.envs.codec.dims
        self.market_envs = envs
        self.monitor = Monitor(dims)

    def _on_step(self) -> bool:
        told, infos = self.market_envs.infos, self.locals["infos"]
        fills = told["fills"]
        over = np.flatnonzero(self.locals["dones"]).tolist()
        if over:
            fills = fills.copy()
        for k in over:
            fills[k] = told["final_info"]["fills"][k]
            self.monitor.note_episode(infos[k]["episode"]["r"])
        self.monitor.note_steps(self.locals["actions"], fills, told["fees"],
                                self.locals["dones"])
        return True

    def _on_rollout_end(self) -> None:
        for name, value in self.monitor.figures().items():
            self.logger.record(f"market/{name}", value)


def _market_envs(envs: Any) -> MarketVecEnv:
    """Return the environments beneath wrappers such as VecNormalize."""
    while not isinstance(envs, MarketVecEnv):
        if not hasattr(envs, "venv"):
            raise TypeError(f"MonitorCallback: {type(envs).__name__}; expected a MarketVecEnv")
        envs = envs.venv
    return envs
