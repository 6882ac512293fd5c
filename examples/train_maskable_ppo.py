"""MaskablePPO of sb3-contrib: actions that the venue would refuse are never tried.

It trains along a curriculum, from tight markets to wide ones. What depends on the floats of torch
is not printed.
"""

from typing import Any

import torch
from sb3_contrib import MaskablePPO

from foldbook.adapters import synthetic
from foldbook.adapters.gym import MarketVectorEnv
from foldbook.adapters.gym.curriculum import Curriculum
from foldbook.adapters.gym.sb3 import MarketVecEnv, ModelPolicy, MonitorCallback
from foldbook.examples.compare_policies import compare

PLAYED: dict[str, Any] = {"actions": "sized21", "observation": "core", "cadence": "quote"}


def main() -> None:
    torch.set_num_threads(1)
    known = synthetic.session(seed=7, markets=4, events=2000, minutes=5)
    envs = MarketVectorEnv(known, 16, autoreset_mode="SameStep", market="random", start="random",
                           max_steps=32, **PLAYED)  # fmt: skip
    curriculum = Curriculum.of(envs.setting, "difficulty", episodes=8)
    print("from tight to wide:", ", ".join(ticker for _, ticker in curriculum.markets))
    model = MaskablePPO("MlpPolicy", MarketVecEnv(envs, curriculum), n_steps=32, batch_size=128,
                        n_epochs=2, seed=1, device="cpu")  # fmt: skip
    model.learn(1024, callback=MonitorCallback())
    ended = sum(progress.episodes for progress in curriculum.progress.values())
    print("trained:", model.num_timesteps, "steps,", ended >= 16, "that episodes ended")
    compare(PLAYED, ppo=ModelPolicy(model))


if __name__ == "__main__":
    main()
