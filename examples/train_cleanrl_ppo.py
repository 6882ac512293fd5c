"""Proximal policy optimisation in one file, on the vector environment: nothing hidden.

Rollouts of all environments, advantages by GAE (Schulman et al. 2016), a clipped objective
(Schulman et al. 2017), masks on the logits. What depends on the floats of torch is not printed;
`--steps`, `--envs` and `--seed` are there to train in earnest, and then the speed is printed too.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from foldbook.adapters import synthetic
from foldbook.adapters.gym import MarketVectorEnv
from foldbook.adapters.gym.monitoring import Monitor
from foldbook.examples.compare_policies import compare

PLAYED: dict[str, Any] = {"actions": "limit5", "observation": "core", "cadence": "change"}
HORIZON, EPOCHS, BATCHES = 32, 2, 4
DISCOUNT, SMOOTHING, CLIP, ENTROPY, RATE = 0.99, 0.95, 0.2, 0.01, 3e-4


class Agent(nn.Module):
    """An actor and a critic over one trunk; also a policy for `evaluate`."""

    def __init__(self, features: int, actions: int):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.actor, self.critic = nn.Linear(64, actions), nn.Linear(64, 1)

    def forward(self, seen: torch.Tensor, masks: torch.Tensor) -> tuple[Any, torch.Tensor]:
        inner = self.trunk(seen)
        logits = self.actor(inner).masked_fill(~masks, -1e8)
        return torch.distributions.Categorical(logits=logits), self.critic(inner).squeeze(-1)

    def predict(self, observation: np.ndarray, mask: np.ndarray) -> int:
        with torch.no_grad():
            chosen, _ = self(torch.from_numpy(observation)[None], torch.from_numpy(mask)[None])
        return int(chosen.probs.argmax())


def train(envs: MarketVectorEnv, steps: int, seed: int) -> tuple[Agent, int, float, Monitor]:
    """Return the agent, steps taken, the seconds of processor time that they took, and counts."""
    torch.manual_seed(seed)
    (features,) = envs.single_observation_space.shape or (0,)
    agent = Agent(features, envs.codec.dims[0])
    optimizer = torch.optim.Adam(agent.parameters(), lr=RATE, eps=1e-5)
    monitor = Monitor(envs.codec.dims)
    shape = (HORIZON, envs.num_envs)
    kept = {name: torch.zeros(shape) for name in ("chances", "rewards", "ends", "values")}
    kept |= {"actions": torch.zeros(shape, dtype=torch.int64),
             "seen": torch.zeros((*shape, features)),
             "masks": torch.zeros((*shape, envs.codec.dims[0]), dtype=torch.bool)}  # fmt: skip
    seen = torch.from_numpy(envs.reset(seed=seed)[0])
    done, began = 0, time.process_time()
    while done < steps:
        for step in range(HORIZON):
            masks = torch.from_numpy(envs.action_masks())
            with torch.no_grad():
                chosen, value = agent(seen, masks)
                action = chosen.sample()
            kept["seen"][step], kept["masks"][step], kept["values"][step] = seen, masks, value
            kept["actions"][step], kept["chances"][step] = action, chosen.log_prob(action)
            out, rewards, terminated, truncated, infos = envs.step(action.numpy())
            over = terminated | truncated
            kept["rewards"][step] = torch.from_numpy(rewards)
            kept["ends"][step] = torch.from_numpy(over.astype(np.float32))
            if (cut := np.flatnonzero(truncated & ~terminated)).size:
                # What was cut off would have gone on: its last observation says how well.
                last = torch.from_numpy(np.stack(infos["final_obs"][cut].tolist()))
                with torch.no_grad():
                    worth = agent(last, torch.ones(len(cut), envs.codec.dims[0]).bool())[1]
                kept["rewards"][step, cut] += DISCOUNT * worth
            monitor.note_steps(action.numpy(), infos["fills"], infos["fees"], over)
            seen = torch.from_numpy(out)
            done += envs.num_envs
        with torch.no_grad():
            after = agent(seen, torch.from_numpy(envs.action_masks()))[1]
        improve(agent, optimizer, kept, advantages(kept, after))
    return agent, done, time.process_time() - began, monitor


def advantages(kept: dict[str, torch.Tensor], after: torch.Tensor) -> torch.Tensor:
    """Return what each action was worth beyond what was expected. after: value of what follows."""
    found = torch.zeros_like(kept["rewards"])
    ahead = torch.zeros_like(after)
    for step in reversed(range(HORIZON)):
        goes_on = 1.0 - kept["ends"][step]
        surprise = kept["rewards"][step] + DISCOUNT * after * goes_on - kept["values"][step]
        found[step] = ahead = surprise + DISCOUNT * SMOOTHING * goes_on * ahead
        after = kept["values"][step]
    return found


def improve(
    agent: Agent, optimizer: Any, kept: dict[str, torch.Tensor], worth: torch.Tensor
) -> None:
    """Take the steps of the optimiser that a rollout allows."""
    flat = {name: each.flatten(0, 1) for name, each in kept.items()}
    worth = worth.flatten()
    targets = worth + flat["values"]
    for _ in range(EPOCHS):
        for part in torch.randperm(len(worth)).chunk(BATCHES):
            chosen, value = agent(flat["seen"][part], flat["masks"][part])
            ratio = (chosen.log_prob(flat["actions"][part]) - flat["chances"][part]).exp()
            gain = (worth[part] - worth[part].mean()) / (worth[part].std() + 1e-8)
            clipped = torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
            misjudged = 0.5 * (value - targets[part]).square().mean()
            loss = misjudged - clipped - ENTROPY * chosen.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1024)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = [synthetic.session(seed=seed, events=2000, minutes=5) for seed in range(1, 5)]
    envs = MarketVectorEnv(known, given.envs, autoreset_mode="SameStep", market="random",
                           start="random", max_steps=64, **PLAYED)  # fmt: skip
    agent, done, seconds, monitor = train(envs, given.steps, given.seed)
    print("trained:", done, "steps in", envs.num_envs, "environments")
    print("shares of the actions add up to", round(float(monitor.shares().sum()), 9))
    if given.steps > parser.get_default("steps"):
        print(f"{done / seconds:,.0f} steps a second of processor time")
        print(monitor.figures())
    compare(PLAYED, ppo=agent)


if __name__ == "__main__":
    main()
