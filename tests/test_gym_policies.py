"""A policy in a Backtest is the policy that an environment plays."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import foldbook.adapters.gym as market_gym
from foldbook.adapters import synthetic
from foldbook.adapters.gym.policies import Constant, PolicyStrategy, RandomPolicy, evaluate, table
from foldbook.adapters.gym.setting import Setting
from foldbook.engine import Backtest, Latency
from foldbook.engine.units import decimal_cash
from foldbook.examples.market_maker import MarketMaker


class Reading:
    """Acts on what it observes and on the mask, and keeps what it saw."""

    def __init__(self, actions):
        self.actions = actions
        self.seen = []

    def predict(self, observation, mask):
        self.seen.append(observation.copy())
        wanted = int(abs(observation.astype(np.float64)).sum() * 1000)
        if not len(mask):
            return np.array([wanted // 7**k % dim for k, dim in enumerate(self.actions)])
        allowed = np.flatnonzero(mask)
        return int(allowed[wanted % len(allowed)])


@pytest.fixture(scope="module")
def session():
    """Two markets, a quarter of an hour in short."""
    return synthetic.session(seed=11, markets=2, events=1500, minutes=3)


@pytest.mark.parametrize("observation", ["core", "classic52"])
@pytest.mark.parametrize("actions", ["limit5", "sized21", "now5", "quote"])
@pytest.mark.parametrize("cadence", ["change", "quote"])
def test_backtest_equals_environment(session, actions, observation, cadence):
    """The same policy sees the same numbers and leaves the same journal in both."""
    options = {"actions": actions, "observation": observation, "cadence": cadence}
    env = gymnasium.make(market_gym.ID, session=session, **options).unwrapped
    dims = env.codec.dims
    trained, tested = Reading(dims), Reading(dims)
    seen, info = env.reset(seed=3)
    over = False
    while not over:
        mask = env.action_masks() if env.codec.has_mask else np.zeros(0, bool)
        seen, _, terminated, truncated, info = env.step(trained.predict(seen, mask))
        over = terminated or truncated
    setting = Setting(session, **options)
    strategy = PolicyStrategy(tested, setting)
    result = Backtest(strategy.session, strategy, **setting.settings).run()
    assert info["statistics"]["fills"] > 0
    assert result.journal.digest == env.result().journal.digest
    assert len(trained.seen) > 100
    np.testing.assert_array_equal(trained.seen, tested.seen[: len(trained.seen)])


def test_an_order_that_is_not_known_yet_is_no_new_one(session):
    """Answers come 40 ms late: a decision that sends nothing does not find an older order again,
    so the time since the last new one is the environment's at every step."""
    options = {"actions": "quote", "observation": "core",
               "latency": Latency.constant("2ms", response="40ms")}
    env = gymnasium.make(market_gym.ID, session=session, **options).unwrapped
    dims = env.codec.dims
    trained, tested = Reading(dims), Reading(dims)
    seen, _ = env.reset(seed=3)
    over = False
    while not over:
        seen, _, terminated, truncated, _ = env.step(trained.predict(seen, np.zeros(0, bool)))
        over = terminated or truncated
    setting = Setting(session, **options)
    strategy = PolicyStrategy(tested, setting)
    result = Backtest(strategy.session, strategy, **setting.settings).run()
    np.testing.assert_array_equal(trained.seen, tested.seen[: len(trained.seen)])
    assert result.journal.digest == env.result().journal.digest


def test_evaluation_is_that_of_the_backtest(session):
    """Hold earns nothing; a strategy scores what its Backtest says; random depends on its seed."""
    setting = Setting(session, market="random", latency=Latency.constant("5ms"))
    contestants = {
        "hold": Constant(), "random": RandomPolicy(2), "maker": MarketMaker(), "buy": Constant(1),
    }  # fmt: skip
    scores = evaluate(contestants, setting)
    assert [(score.name, score.market) for score in scores] == [
        (name, ticker) for _, ticker in setting.choice.markets for name in contestants
    ]
    by_name = {score.name: score for score in scores[:4]}
    assert by_name["hold"].result.fills.column("qty").sum() == 0
    assert by_name["hold"].band.chosen.pnl == 0
    course = setting.course(setting.choice.markets[0])
    alone = Backtest(course.session, MarketMaker(), **setting.settings).run()
    assert by_name["maker"].result.digest == alone.digest
    assert by_name["random"].band.chosen.digest == by_name["random"].result.digest
    assert by_name["random"].band.optimistic.latency == "none"
    again = evaluate({"random": RandomPolicy(2)}, setting)
    other = evaluate({"random": RandomPolicy(3)}, setting)
    assert again[0].result.digest == by_name["random"].result.digest != other[0].result.digest
    lines = table(scores).splitlines()
    assert lines[1].split() == ["hold", "0", "0.00", "0.00", "0.00"]
    maker = sum(score.band.chosen.pnl for score in scores if score.name == "maker")
    assert lines[3].split()[0] == "maker"
    assert decimal_cash(maker) in lines[3].split()


def test_a_cadence_without_a_hook_is_refused(session):
    """Events and time are no changes of the book."""
    for cadence in (10, "100ms"):
        with pytest.raises(ValueError, match="train with cadence"):
            PolicyStrategy(Constant(), Setting(session, cadence=cadence))
