"""PPO of RLlib, by its new API stack, on the vector environment; actions are masked.

A connector joins the mask to what is observed, and the module takes forbidden actions from its
logits. Everything runs in this process, and nothing is sent anywhere; Ray leaves an empty folder in
~/ray_results. What depends on the floats of torch is not printed.
"""

from __future__ import annotations

import logging
import os

# Ray reads these when it is imported: no usage report, and no advice on settings to come.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

from typing import Any

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.connectors.env_to_module.observation_preprocessor import (
    SingleAgentObservationPreprocessor,
)
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from foldbook.adapters import synthetic
from foldbook.adapters.gym import ID
from foldbook.examples.compare_policies import compare

PLAYED: dict[str, Any] = {"actions": "limit5", "observation": "core", "cadence": "change"}
STEPS, ENVS, ACTIONS = 1024, 16, 5


class JoinMask(SingleAgentObservationPreprocessor):
    """Puts the mask of an environment's info behind its observation."""

    def recompute_output_observation_space(self, observations: Any, actions: Any) -> Any:
        bounds = ((observations.low, 0.0), (observations.high, 1.0))
        low, high = (np.append(inner, np.full(actions.n, outer, np.float32))
                     for inner, outer in bounds)  # fmt: skip
        return gymnasium.spaces.Box(low, high, dtype=np.float32)

    def preprocess(self, observation: np.ndarray, episode: Any) -> np.ndarray:
        mask = episode.get_infos(-1)["action_mask"]
        return np.append(observation, mask).astype(np.float32)


class MaskedModule(DefaultPPOTorchRLModule):
    """The networks of RLlib's PPO; what is masked has no chance."""

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(batch, super()._forward(batch, **kwargs))

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(batch, super()._forward_train(batch, **kwargs))

    def _masked(self, batch: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
        logits = out[Columns.ACTION_DIST_INPUTS]
        masks = batch[Columns.OBS][..., -logits.shape[-1] :] > 0
        out[Columns.ACTION_DIST_INPUTS] = logits.masked_fill(~masks, -1e8)
        return out


class ModulePolicy:
    """A trained module as a policy for `evaluate`. Always its most likely action."""

    def __init__(self, module: Any):
        self.module = module

    def predict(self, observation: np.ndarray, mask: np.ndarray) -> int:
        seen = torch.from_numpy(np.append(observation, mask).astype(np.float32))
        with torch.no_grad():
            out = self.module.forward_inference({Columns.OBS: seen[None]})
        return int(out[Columns.ACTION_DIST_INPUTS].argmax())

    def __deepcopy__(self, memo: dict[int, Any]) -> ModulePolicy:
        return self


def count(samples: list[Any], metrics_logger: Any, **kwargs: Any) -> None:
    """Log what was done in a rollout: RLlib calls this with the episodes, or parts of them."""
    for part in samples:
        actions = np.asarray(part.get_actions(), np.int64)
        infos = part.get_infos()
        told = {
            **{f"taken/{action}": int((actions == action).sum()) for action in range(ACTIONS)},
            "fills": sum(int(info["fills"]) for info in infos[1:]),
            "forbidden": sum(not info["action_mask"][action]
                             for info, action in zip(infos, actions, strict=False)),
        }  # fmt: skip
        for name, value in told.items():
            metrics_logger.log_value(("market", name), value, reduce="sum")


def main() -> None:
    torch.set_num_threads(1)
    known = [synthetic.session(seed=seed, events=2000, minutes=5) for seed in range(1, 5)]
    played = {"session": known, "market": "random", "start": "random", "max_steps": 64, **PLAYED}
    config = (
        PPOConfig()
        .environment(ID, env_config=played)
        .env_runners(
            num_env_runners=0, num_envs_per_env_runner=ENVS,
            gym_env_vectorize_mode="vector_entry_point",
            env_to_module_connector=lambda *args, **kwargs: JoinMask(),
        )
        .learners(num_learners=0)
        .rl_module(rl_module_spec=RLModuleSpec(
            module_class=MaskedModule, model_config={"fcnet_hiddens": [64, 64]},
        ))
        .training(train_batch_size=STEPS, minibatch_size=128, num_epochs=2, lr=3e-4,
                  lambda_=0.95, entropy_coeff=0.01)
        .callbacks(on_sample_end=count)
        .debugging(seed=1, log_level="ERROR")
    )  # fmt: skip
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    algorithm = config.build_algo()
    told = algorithm.train()["env_runners"]
    policy = ModulePolicy(algorithm.get_module())
    done, market = int(told["num_env_steps_sampled_lifetime"]), told["market"]
    shares = [market[f"taken/{action}"] / done for action in range(ACTIONS)]
    print("trained in", ENVS, "environments,", done >= STEPS, "that all steps were taken")
    print("shares of the actions add up to", round(float(sum(shares)), 9))
    print("fills:", bool(market["fills"] > 0), "that some came")
    print("actions that a mask forbids:", int(market["forbidden"]))
    print("return:", bool(np.isfinite(told["episode_return_mean"])), "that episodes ended")
    algorithm.stop()
    ray.shutdown()
    compare(PLAYED, ppo=policy)


if __name__ == "__main__":
    main()
