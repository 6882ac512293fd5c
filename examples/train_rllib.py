"""PPO of RLlib (its new API stack) on the single environment: needs the extra `rllib`.

Where ray is not installed it says so and ends well.
"""

import importlib.util

from foldbook.adapters import synthetic


def main() -> None:
    if importlib.util.find_spec("ray") is None:
        print("skipped: ray is not installed; pip install 'foldbook[rllib]'")
        return
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env

    from foldbook.adapters.gym import MarketEnv

    def made(config: dict) -> MarketEnv:
        return MarketEnv(**config)

    register_env("market", made)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    session = synthetic.session(seed=1, events=2000, minutes=5)
    config = (
        PPOConfig()
        .api_stack(enable_rl_module_and_learner=True,
                   enable_env_runner_and_connector_v2=True)
        .environment("market", env_config={"session": session, "start": "random", "max_steps": 64})
        .env_runners(num_env_runners=0)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=1)
    )  # fmt: skip
    algorithm = config.build_algo()
    algorithm.train()
    algorithm.stop()
    ray.shutdown()
    print("trained: one iteration")


if __name__ == "__main__":
    main()
