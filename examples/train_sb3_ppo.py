"""PPO of Stable-Baselines3 on generated markets, evaluated on markets that it never saw.

At this size it learns nothing worth having; the steps are those of a real training. What depends on
the floats of torch is not printed.
"""

from typing import Any

import torch
from stable_baselines3 import PPO

from foldbook.adapters import synthetic
from foldbook.adapters.gym import MarketVectorEnv
from foldbook.adapters.gym.sb3 import MarketVecEnv, ModelPolicy, MonitorCallback
from foldbook.examples.compare_policies import compare

PLAYED: dict[str, Any] = {"actions": "limit5", "observation": "core", "cadence": "change"}


def main() -> None:
    torch.set_num_threads(1)
    known = [synthetic.session(seed=seed, events=2000, minutes=5) for seed in range(1, 5)]
    envs = MarketVecEnv(
        MarketVectorEnv(known, 16, autoreset_mode="SameStep", market="random", start="random",
                        max_steps=64, **PLAYED)
    )  # fmt: skip
    model = PPO("MlpPolicy", envs, n_steps=32, batch_size=128, n_epochs=2, seed=1, device="cpu")
    model.learn(1024, callback=MonitorCallback())
    print("trained:", model.num_timesteps, "steps in", envs.num_envs, "environments")
    compare(PLAYED, ppo=ModelPolicy(model))


if __name__ == "__main__":
    main()
