"""The curriculum plays the markets that its rule says, checked by hand."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest

import foldbook.adapters.gym as market_gym
from foldbook.adapters import synthetic
from foldbook.adapters.gym.curriculum import (
    Curriculum,
    CurriculumVectorWrapper,
    CurriculumWrapper,
    SortBy,
    scores_of,
)
from foldbook.adapters.gym.setting import Setting
from foldbook.engine import MarketStatus, Simulation, TapeKind

A, B, C = (0, "A"), (0, "B"), (1, "C")


def played(curriculum, returns):
    """Note returns, each in the market of its time, and return those markets' names."""
    names = ""
    for gained in returns:
        names += curriculum.market[1]
        curriculum.note(curriculum.market, gained)
    return names


def test_next_after_so_many_episodes():
    """Two episodes each, in the order given, round after round."""
    curriculum = Curriculum([A, B, C], episodes=2)
    assert played(curriculum, range(8)) == "AABBCCAA"
    assert curriculum.round == 1


@pytest.mark.parametrize(
    ("returns", "names"),
    [
        ((1, 2, 3, 4, 5), "AAAAA"),  # each is a new best
        ((1, 0, 0, 9, 8, 8), "AAABBB"),  # 1 is best for two more episodes
        ((1, 0, 2, 1, 2, 7), "AAAAAB"),  # 2 is no better than 2: the clock runs from the first
        ((3, 3, 3, 3), "AAAB"),
    ],
)
def test_next_when_progress_stalls(returns, names):
    """The next market comes once the best return of a stay is two episodes old."""
    assert played(Curriculum([A, B], patience=2), returns) == names


def test_progress_is_kept_by_market():
    """Returns stay with their market; a late episode of another moves nothing."""
    curriculum = Curriculum([A, B], episodes=2)
    assert [curriculum.note(*each) for each in ((A, 1), (B, 5), (A, -1), (B, 7))] == [
        False, False, True, False,
    ]  # fmt: skip
    assert curriculum.progress[A].returns == [1, -1]
    assert (curriculum.progress[B].episodes, curriculum.progress[B].best) == (2, 7)
    assert curriculum.weights([B, A, C]) == [1, 0, 0]
    assert curriculum.options() == {"session": 0, "market": "B"}


def test_state_goes_on_where_it_was():
    """A restored curriculum plays what the other goes on to play, through JSON and shuffles."""
    first = Curriculum([A, B, C], episodes=2, shuffles=True, seed=3)
    played(first, range(7))
    second = Curriculum([A, B, C], episodes=2, shuffles=True, seed=3)
    second.restore(json.loads(json.dumps(first.state())))
    assert played(second, range(20)) == played(first, range(20))
    assert second.progress == first.progress


def test_a_shuffled_round_has_each_market_once():
    """Random is an order anew in each round, the same for the same seed."""
    rounds = set()
    curriculum = Curriculum([A, B, C], episodes=1, shuffles=True, seed=1)
    for _ in range(12):
        names = played(curriculum, range(3))
        assert sorted(names) == ["A", "B", "C"]
        rounds.add(names)
    assert len(rounds) > 2


def test_wrong_use_is_refused():
    """What is none is named."""
    for markets in ([], [A, A]):
        with pytest.raises(ValueError, match="none of them twice"):
            Curriculum(markets)
    with pytest.raises(ValueError, match="episodes 0"):
        Curriculum([A], episodes=0)
    with pytest.raises(ValueError, match="not in this curriculum"):
        Curriculum([A]).note(B, 0)
    with pytest.raises(ValueError, match="it is of 2 markets, and there are 1"):
        Curriculum([A]).restore(Curriculum([A, B]).state())


@pytest.fixture(scope="module")
def setting():
    """Three markets of one generated session."""
    return Setting(synthetic.session(seed=5, markets=3, events=3000, minutes=5), market="random")


def test_scores_are_what_the_tape_says(setting):
    """Volume, activity and spread of each market equal a count of the rows and a replay."""
    session = setting.sessions[0]
    rows = session.tape.rows
    volume, activity = scores_of(setting, SortBy.VOLUME), scores_of(setting, SortBy.ACTIVITY)
    for number, market in enumerate(setting.choice.markets):
        own = rows[rows["market"] == number]
        assert activity[market] == len(own) == 3000
        assert volume[market] == own["qty"][own["kind"] == TapeKind.TRADE].sum() > 0
    spread = scores_of(setting, SortBy.DIFFICULTY)
    market = setting.choice.markets[1]
    sim = Simulation(session.select(1))
    seen = []
    while sim.advance(events=1):
        book = sim.book(0)
        if book.is_trusted and book.status < MarketStatus.CLOSED:
            seen.append((book.best_ask - book.best_bid) / 10_000)
    assert spread[market] == pytest.approx(np.mean(seen), rel=1e-5)
    ordered = Curriculum.of(setting, "difficulty").markets
    assert [spread[each] for each in ordered] == sorted(spread.values())
    assert Curriculum.of(setting, "volume", descends=True).markets == tuple(
        sorted(volume, key=lambda each: -volume[each])
    )


def test_the_wrapper_plays_the_curriculum(setting):
    """Each reset plays the market that comes next, and each return is noted for it."""
    env = gymnasium.make(market_gym.ID, session=setting.sessions[0], market="random", max_steps=5)
    curriculum = Curriculum(setting.choice.markets, episodes=2)
    wrapped = CurriculumWrapper(env, curriculum)
    names, returns = [], []
    for _ in range(7):
        _, info = wrapped.reset(seed=1)
        names.append(info["market"])
        over, total = False, 0.0
        while not over:
            _, reward, terminated, truncated, _ = wrapped.step(1)
            over, total = terminated or truncated, total + reward
        returns.append(total)
    tickers = [ticker for _, ticker in setting.choice.markets]
    assert names == [tickers[k] for k in (0, 0, 1, 1, 2, 2, 0)]
    first = curriculum.progress[setting.choice.markets[0]].returns
    assert first == [returns[0], returns[1], returns[6]]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_the_vector_wrapper_plays_the_curriculum(setting, mode):
    """Once a market has had its episodes, new ones are of the next; returns add up."""
    envs = market_gym.MarketVectorEnv(
        setting.sessions[0], 4, market="random", max_steps=5, start="random", autoreset_mode=mode
    )
    curriculum = Curriculum(setting.choice.markets, episodes=8)
    wrapped = CurriculumVectorWrapper(envs, curriculum)
    _, infos = wrapped.reset(seed=4)
    assert set(infos["market"].tolist()) == {0}
    seen, total = [], 0.0
    for _ in range(200):
        _, rewards, _, _, infos = wrapped.step(np.full(4, 1))
        total += rewards.sum()
        number = int(infos["market"][0])
        if seen[-1:] != [number]:
            seen.append(number)
    assert seen[:4] == [0, 1, 2, 0]
    noted = sum(sum(each.returns) for each in curriculum.progress.values())
    running = wrapped._returns.sum()
    assert noted + running == pytest.approx(total)
