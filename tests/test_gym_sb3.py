"""Stable-Baselines3 trains on the vector environment, and what it is told is what happened."""

from __future__ import annotations

import numpy as np
import pytest

from foldbook.adapters import synthetic
from foldbook.adapters.gym import MarketEnv, MarketVectorEnv
from foldbook.adapters.gym.curriculum import Curriculum
from foldbook.adapters.gym.monitoring import Monitor, OneActionWarning
from foldbook.adapters.gym.policies import PolicyStrategy, evaluate
from foldbook.adapters.gym.setting import Setting

torch = pytest.importorskip("torch", reason="needs the extra sb3")
sb3 = pytest.importorskip("stable_baselines3", reason="needs the extra sb3")
contrib = pytest.importorskip("sb3_contrib", reason="needs the extra sb3")

from foldbook.adapters.gym.sb3 import MarketVecEnv, ModelPolicy, MonitorCallback  # noqa: E402

STEPS = 40


@pytest.fixture(scope="module")
def session():
    """Two markets, a few minutes."""
    return synthetic.session(seed=11, markets=2, events=1500, minutes=3)


def made(session, count=4, **options):
    """Return environments for Stable-Baselines3."""
    options = {"max_steps": STEPS, "start": "random", "market": "random", **options}
    return MarketVecEnv(MarketVectorEnv(session, count, autoreset_mode="SameStep", **options))


def test_check_env_of_sb3(session):
    """Stable-Baselines3 finds nothing wrong with a single environment, for each codec."""
    from stable_baselines3.common.env_checker import check_env

    for actions in ("limit5", "sized21", "now5", "quote"):
        check_env(MarketEnv(session, actions=actions), warn=True)


def test_steps_are_those_of_the_vector_environment(session):
    """Observations, rewards, ends and last observations equal Gymnasium's, and single envs' too."""
    wrapped = made(session)
    plain = MarketVectorEnv(
        session, 4, autoreset_mode="SameStep", max_steps=STEPS, start="random", market="random"
    )
    wrapped.seed(5)
    np.testing.assert_array_equal(wrapped.reset(), plain.reset(seed=5)[0])
    generator = np.random.default_rng(1)
    returns, ended = np.zeros(4), 0
    for step in range(1, 2 * STEPS + 2):
        actions = generator.integers(5, size=4)
        seen, rewards, dones, infos = wrapped.step(actions)
        expected = plain.step(actions)
        returns += expected[1]
        np.testing.assert_array_equal(seen, expected[0])
        np.testing.assert_array_equal(rewards, expected[1].astype(np.float32))
        np.testing.assert_array_equal(dones, expected[2] | expected[3])
        for k, info in enumerate(infos):
            assert bool(info) == dones[k]
            if info:
                ended += 1
                last = expected[4]["final_obs"][k]
                np.testing.assert_array_equal(info["terminal_observation"], last)
                assert info["TimeLimit.truncated"] == (expected[3][k] and not expected[2][k])
                assert info["episode"]["r"] == returns[k]
                assert info["episode"]["l"] <= STEPS and info["episode"]["t"] > 0
                returns[k] = 0
        np.testing.assert_array_equal(
            np.stack(wrapped.env_method("action_masks")), plain.action_masks()
        )
        assert step < STEPS or ended
    assert ended >= 8
    plain.close()
    wrapped.close()


def test_names_that_sb3_asks_for(session):
    """Masks are there for codecs that have them, and unknown names are AttributeErrors."""
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

    masked, unmasked = made(session), made(session, actions="quote")
    assert is_masking_supported(masked) and not is_masking_supported(unmasked)
    masked.reset()
    masks = get_action_masks(masked)
    assert masks.shape == (4, 5) and masks.dtype == bool and masks[:, 0].all()
    assert len(masked.env_method("action_masks", indices=[1, 3])) == 2
    assert masked.get_attr("feature_names", indices=2) == [masked.envs.feature_names]
    assert not masked.has_attr("no_such") and masked.env_is_wrapped(object) == [False] * 4
    for call in (lambda: masked.get_attr("no_such"), lambda: masked.set_attr("codec", 1),
                 lambda: masked.env_method("step")):  # fmt: skip
        with pytest.raises(AttributeError):
            call()


def test_another_autoreset_mode_is_refused(session):
    """Only SameStep has the last observation where Stable-Baselines3 looks for it."""
    with pytest.raises(ValueError, match="autoreset_mode='SameStep'"):
        MarketVecEnv(MarketVectorEnv(session, 2))


def test_a_curriculum_is_followed(session):
    """New episodes are of the market that the curriculum names."""
    envs = MarketVectorEnv(
        session, 2, autoreset_mode="SameStep", market="random", max_steps=5, start="random"
    )
    curriculum = Curriculum(envs.setting.choice.markets, episodes=4)
    wrapped = MarketVecEnv(envs, curriculum)
    wrapped.reset()
    ended = []
    for _ in range(60):
        ended += [info["market"] for info in wrapped.step(np.zeros(2, int))[3] if info]
    first, second = envs.markets
    assert ended[:6] == [first] * 6  # four episodes, and the two begun before the last was noted
    assert second in ended[6:10]
    assert sum(each.episodes for each in curriculum.progress.values()) == len(ended)


def test_monitor_counts_by_hand():
    """Shares, entropy, fills, fees and returns of recorded steps; fees of a new episode count."""
    monitor = Monitor((4,))
    monitor.note_steps([0, 1], [1, 0], [2_000_000, 0])
    monitor.note_steps([0, 1], [0, 3], [500_000, 1_000_000], np.array([True, False]))
    monitor.note_steps([2, 0], [0, 0], [1_500_000, 1_000_000])
    monitor.note_episode(1.0)
    monitor.note_episode(-3.0)
    found = monitor.figures()
    entropy = -(3 / 6 * np.log(3 / 6) + 2 / 6 * np.log(2 / 6) + 1 / 6 * np.log(1 / 6))
    assert found == {
        "return": -1.0,
        "fills": pytest.approx(4 / 6 * 1000),
        "fees": pytest.approx((2.0 + 1.0 + 1.0) / 6 * 1000),
        "share/0": 3 / 6, "share/1": 2 / 6, "share/2": 1 / 6, "share/3": 0.0,
        "entropy": pytest.approx(entropy),
        "alarm": 0.0,
    }  # fmt: skip
    assert monitor.figures() == {}


def test_monitor_sounds_the_alarm_once():
    """More than nine tenths of one action is an alarm, said when it begins; nine tenths is none."""
    monitor = Monitor((2, 2))
    monitor.note_steps([[0, 1]] * 9 + [[0, 0]], np.zeros(10), np.zeros(10, int))
    assert monitor.figures()["alarm"] == 0.0
    monitor.note_steps([[0, 1]] * 10, np.zeros(10), np.zeros(10, int))
    with pytest.warns(OneActionWarning, match=r"action \[0, 1\] is 100% of all"):
        found = monitor.figures()
    assert (found["alarm"], found["entropy"]) == (1.0, 0.0)
    monitor.note_steps([[0, 1]] * 10, np.zeros(10), np.zeros(10, int))
    assert monitor.figures()["alarm"] == 1.0


def test_training_logs_what_happened(session, tmp_path):
    """TensorBoard gets what an independent count of the rollout says."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wrapped = made(session, observation=("yes_mid", "imbalance_1", "inventory"))
    model = contrib.MaskablePPO(
        "MlpPolicy", wrapped, n_steps=64, batch_size=64, n_epochs=1, seed=1,
        tensorboard_log=str(tmp_path), device="cpu",
    )  # fmt: skip
    taken, returns = [], []
    step = wrapped.step_wait

    def counted():
        result = step()
        taken.extend(np.asarray(wrapped._actions).tolist())
        returns.extend(info["episode"]["r"] for info in result[3] if info)
        return result

    wrapped.step_wait = counted
    model.learn(256, callback=MonitorCallback())
    log = EventAccumulator(str(next(tmp_path.glob("*"))))
    log.Reload()
    assert len(taken) == 256
    share = log.Scalars("market/share/1")[0].value
    assert share == pytest.approx(taken.count(1) / 256)
    assert log.Scalars("market/return")[0].value == pytest.approx(np.mean(returns), abs=1e-6)
    assert log.Scalars("market/alarm")[0].value == 0.0
    assert {"market/fills", "market/fees", "market/entropy"} <= set(log.Tags()["scalars"])


def test_a_model_is_a_policy(session):
    """A model in a Backtest takes the actions that it predicts from what it is shown."""
    options = {"observation": ("yes_mid", "imbalance_1", "inventory"), "market": "random"}
    wrapped = made(session, **options)
    model = contrib.MaskablePPO("MlpPolicy", wrapped, n_steps=32, batch_size=32, seed=2)
    policy = ModelPolicy(model)
    mask = np.array([True, False, False, False, True])
    seen = np.array([0.4, 0.1, 0.0], np.float32)
    assert policy.predict(seen, mask) in (0, 4)
    plain = ModelPolicy(sb3.PPO("MlpPolicy", wrapped, n_steps=32, batch_size=32, seed=2))
    assert 0 <= plain.predict(seen, mask) < 5
    setting = Setting(session, **options)
    scores = evaluate({"model": policy}, setting)
    strategy = PolicyStrategy(policy, setting, setting.choice.markets[0])
    assert scores[0].result.digest == scores[0].band.chosen.digest
    assert strategy.session.digest == scores[0].result.session.digest
