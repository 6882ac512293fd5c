"""RLlib trains on the vector environment, never takes what is masked, and finds nothing wrong."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/train_rllib_ppo.py"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the extra rllib"
)


def run(code: str, home: Path) -> str:
    """Run Python in a process of its own, as Ray changes what it is imported into."""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={"FOLDBOOK_CACHE": str(Path.home() / ".cache"), **os.environ,
             "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_example_trains_and_is_evaluated(tmp_path):
    """All that it prints, and nothing on standard error; no action is taken that a mask forbids."""
    printed = run(f"import runpy; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')", tmp_path)
    assert printed == EXAMPLE.with_suffix(".out").read_text()
    assert "\nactions that a mask forbids: 0\n" in printed
    assert "ppo on SYN-91-000" in printed
    # What Ray leaves is one empty folder: nothing of a run is kept that one must know of.
    assert [path for path in (tmp_path / "ray_results").rglob("*") if path.is_file()] == []


def test_only_what_a_mask_allows_is_taken(tmp_path):
    """Of any observation, the action is the one that is allowed, if there is but one; a joined mask
    is the last numbers of what the module sees."""
    code = """if True:
        import gymnasium, numpy as np, torch
        from ray.rllib.core.columns import Columns
        from foldbook.examples.train_rllib_ppo import JoinMask, MaskedModule, ModulePolicy

        torch.manual_seed(3)
        plain = gymnasium.spaces.Box(-2.0, 2.0, (7,), np.float32)
        actions = gymnasium.spaces.Discrete(5)
        join = JoinMask(plain, actions)
        assert join.observation_space.low.tolist() == [-2.0] * 7 + [0.0] * 5
        assert join.observation_space.high.tolist() == [2.0] * 7 + [1.0] * 5
        class Part:
            def get_infos(self, index):
                return {"action_mask": np.array([1, 0, 0, 1, 0], np.int8)}
        seen = join.preprocess(np.full(7, 0.5, np.float32), Part())
        assert seen.dtype == np.float32 and seen.tolist() == [0.5] * 7 + [1, 0, 0, 1, 0]

        module = MaskedModule(observation_space=join.observation_space, action_space=actions,
                              model_config={"fcnet_hiddens": [8]})
        policy = ModulePolicy(module)
        for seed in range(20):
            drawn = plain.low + 4 * np.random.default_rng(seed).random(7, np.float32)
            for action in range(5):
                mask = np.arange(5) == action
                assert policy.predict(drawn, mask) == action
                batch = {Columns.OBS: torch.from_numpy(np.append(drawn, mask)).float()[None]}
                logits = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
                chances = torch.softmax(logits, -1)[0]
                assert chances[action] == 1.0 and float(chances.sum()) == 1.0
        print("as it must be")
    """
    assert run(code, tmp_path) == "as it must be\n"


def test_env_runner_plays_what_the_environments_play(tmp_path):
    """An EnvRunner of RLlib on `foldbook/Market-v0` tells the rewards and ends of its episodes as
    the environments do that are stepped by hand with its actions."""
    code = """if True:
        import logging
        import numpy as np
        from ray.rllib.algorithms.ppo import PPOConfig
        from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
        from foldbook.adapters import synthetic
        from foldbook.adapters.gym import ID, MarketVectorEnv

        logging.getLogger("ray.rllib").setLevel(logging.ERROR)
        session = synthetic.session(seed=11, events=1500, minutes=3)
        options = {"session": session, "start": "random", "max_steps": 20}
        config = PPOConfig().environment(ID, env_config=options).env_runners(
            num_env_runners=0, num_envs_per_env_runner=2,
            gym_env_vectorize_mode="vector_entry_point",
        ).debugging(seed=4)
        runner = SingleAgentEnvRunner(config=config, worker_index=0)
        parts = runner.sample(num_timesteps=38, random_actions=True)
        assert len(parts) == 2 and all(len(part) == 19 for part in parts)
        envs = MarketVectorEnv(num_envs=2, **options)
        envs.reset(seed=runner._seed)
        for step in range(19):
            seen, rewards, ended, cut, infos = envs.step([part.get_actions(step) for part in parts])
            assert rewards.tolist() == [part.get_rewards(step) for part in parts]
            for k, part in enumerate(parts):
                assert np.array_equal(part.get_observations(step + 1), seen[k])
                told = part.get_infos(step + 1)
                assert np.array_equal(told["action_mask"], infos["action_mask"][k])
        assert any(part.get_rewards().any() for part in parts)
        longer = runner.sample(num_timesteps=120, random_actions=True)
        lengths = [len(part) for part in longer if part.is_done]
        assert lengths and all(part.is_truncated for part in longer if part.is_done)
        assert {part.t for part in longer if part.is_done} == {20}
        print("as it must be")
    """
    assert run(code, tmp_path) == "as it must be\n"


def test_env_check_of_rllib(tmp_path):
    """RLlib finds nothing wrong with agents on one book; the check that it has is for several."""
    code = """if True:
        from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
        from ray.rllib.utils.pre_checks.env import check_multiagent_environments
        from foldbook.adapters import synthetic
        from foldbook.adapters.gym.parallel import ParallelMarketEnv

        session = synthetic.session(seed=11, events=1500, minutes=3)
        check_multiagent_environments(ParallelPettingZooEnv(ParallelMarketEnv(session, 2)))
        print("as it must be")
    """
    assert run(code, tmp_path) == "as it must be\n"
