"""CartPole of gymnasium and of EnvPool: no market at all, but what an environment step costs."""

import driving
import numpy as np


def envpool_vector(envs):
    """Return a step of EnvPool's environments, on one thread."""
    import envpool

    env = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=envs, num_threads=1)
    env.reset()
    actions = np.random.default_rng(0).integers(0, 2, (256, envs)).astype(np.int32)
    return lambda i: env.step(actions[i & 255])


def gymnasium_vector(envs):
    """Return a step of gymnasium's own NumPy environments."""
    import gymnasium

    env = gymnasium.make_vec("CartPole-v1", envs, vectorization_mode="vector_entry_point")
    env.reset(seed=7)
    actions = np.random.default_rng(0).integers(0, 2, (256, envs))
    return lambda i: env.step(actions[i & 255])


def gymnasium_single():
    """Return a step of one environment without its wrappers."""
    import gymnasium

    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=7)
    actions = np.random.default_rng(0).integers(0, 2, 4096).tolist()

    def step(i):
        _, _, terminated, truncated, _ = env.step(actions[i & 4095])
        if terminated or truncated:
            env.reset()

    return step


def main():
    given = driving.arguments()
    versions = driving.versions("envpool", "gymnasium", "numpy")
    many = given.envs if given.mode == "vector" else 1
    if given.mode == "single":
        step = gymnasium_single()
    else:
        step = (envpool_vector if "envpool" in versions else gymnasium_vector)(many)
    _, first, _ = driving.timed(step, 0)
    run = driving.step_for(given.seconds, step, many)
    driving.serve(run, first_call_seconds=first, events=0, versions=versions)


if __name__ == "__main__":
    main()
