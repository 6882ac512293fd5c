"""Episodes after the first: what a reset leaves behind, and what it takes along."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gyms import draws, play, same, session, single, vector
from scenes import BOOK, SELL, Scene
from test_gym_env import written

from foldbook.adapters.gym.setting import venue_offset
from foldbook.engine import Availability, dollars
from foldbook.engine.units import SECOND


def test_a_seed_begins_the_row_of_episodes_anew():
    """After any number of episodes, a seed draws the same markets and starts as on the first day:
    alone and as one of many."""
    options = {"market": "random", "start": "random"}
    env = single(session(), **options)
    envs = vector(session(), 2, **options)
    first = [env.reset(seed=4), *(env.reset() for _ in range(4))]
    shown = envs.reset(seed=4)[0]
    for _ in range(3):
        envs.reset()
    assert len({info["market"] for _, info in first}) == 2
    assert same([env.reset(seed=4), *(env.reset() for _ in range(4))], first)
    assert same(envs.reset(seed=4)[0], shown)


@pytest.mark.parametrize("count", [0, 2])
def test_statistics_are_of_one_episode(count):
    """The Sharpe ratio of a second episode is that of its own steps, by hand: of an environment
    (count 0), and of many where the next step begins it."""
    env = vector(session(), count, cadence=20) if count else single(session(), cadence=20)
    steps = 25
    env.reset(seed=3)
    actions = draws(single(session()), np.random.default_rng(2))
    units = []
    for number, action in enumerate(itertools.islice(actions, 2 * steps)):
        if number == steps:
            units = []
            env.reset()
        told = env.step(np.full(count, action) if count else action)
        units.append(int(np.ravel(told[4]["reward_units"])[0]))
    given = env.statistics()["sharpe"]
    assert np.std(units) > 0
    assert np.ravel(given)[0] == pytest.approx(np.mean(units) / np.std(units))


def test_statistics_begin_anew_with_autoreset():
    """The same where the environments begin the second episode themselves."""
    envs = vector(session(), 2, cadence=20, max_steps=25)
    envs.reset(seed=3)
    units: list[int] = []
    for action in itertools.islice(draws(single(session()), np.random.default_rng(2)), 45):
        infos = envs.step(np.full(2, action))[4]
        units = [] if infos["step"][0] == 0 else [*units, int(infos["reward_units"][0])]
    assert len(units) == 19 and np.std(units) > 0
    assert envs.statistics()["sharpe"][0] == pytest.approx(np.mean(units) / np.std(units))


def test_cash_of_a_partial_reset_stays_with_those_it_names():
    """Whoever is reset with other cash begins later episodes with it too; the others with theirs,
    also those whose own cash another reset has named."""
    envs = vector(session(), 3, max_steps=2)
    envs.reset(seed=0)
    for k, cash in ((0, dollars(5)), (1, dollars(7))):
        envs.reset(options={"reset_mask": np.arange(3) == k, "cash": cash})
    for _ in range(3):
        infos = envs.step(np.zeros(3, np.int64))[4]
        if (infos["step"] == 0).any():
            break
    envs.step(np.zeros(3, np.int64))
    envs.step(np.zeros(3, np.int64))
    infos = envs.step(np.zeros(3, np.int64))[4]
    assert infos["cash"].tolist() == [dollars(5), dollars(7), dollars(100)]


@pytest.mark.parametrize(("month", "hours"), [("2026-01-15T12", -5), ("2026-07-15T12", -4)])
def test_venue_time_is_that_of_new_york(month, hours):
    """In winter it is five hours behind UTC, in summer four."""
    noon = int(np.datetime64(month, "ns").astype(np.int64))
    assert venue_offset(noon) == hours * 3600 * SECOND


def test_an_evening_in_new_york_is_after_hours():
    """The generated session is recorded from midnight UTC, 20:00 on Tuesday in New York: after 16
    o'clock, where by UTC it would be before 9 on Wednesday."""
    env = single(session(), observation=["hour", "weekday"])
    told = play(env, 3, seed=0)
    assert told[0][0].tolist() == [1.0, np.float32(1 / 6)]


def test_random_starts_are_all_moments_but_the_last():
    """Of five moments an episode may begin at any of the first four, and many seeds draw each:
    alone and as one of many."""
    scene = Scene().book(1_000, BOOK)
    for ts in (2_000, 3_000, 4_000, 5_000):
        scene.more(ts, SELL, 55, 100)
    env = single(written(scene), start="random")
    began = set()
    for seed in range(60):
        env.reset(seed=seed)
        began.add(env.simulation.now)
    assert began == {1_000, 2_000, 3_000, 4_000}
    envs = vector(written(scene), 60, start="random")
    envs.reset(seed=0)
    lengths = np.zeros(60, np.int64)
    for _ in range(4):
        lengths += 1
        cut = envs.step(np.zeros(60, np.int64))[3]
        lengths[cut] = -10
    assert cut.any() and set(lengths.tolist()) <= set(range(-10, 0))


def test_depth_that_was_missed_is_seen_no_more():
    """An order that finds no displayed depth there takes it from what is observed, as it does from
    the book of the run."""
    gone = Availability("gone", (), (), (), entries_ppm=(0,))
    env = single(session(), actions="now5", availability=gone, observation=["yes_ask"])
    env.reset(seed=0)
    moved = 0
    for number in range(40):
        before = env.simulation.book(0).best_ask
        shown, *_, info = env.step(number % 2)
        assert info["fills"] == 0 and info["position"] == 0
        ask = env.simulation.book(0).best_ask
        assert shown[0] == np.float32(ask / 10_000)
        moved += number % 2 and ask > before
    assert moved > 5
