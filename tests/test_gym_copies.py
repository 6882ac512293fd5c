"""Copies of many environments and of many agents, what is closed, and masks that nobody shares."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError
from gyms import LATENCIES, same, session, single, vector

from foldbook.adapters.gym import MarketEnv, MarketsEnv, MarketVectorEnv
from foldbook.adapters.gym.parallel import ParallelMarketEnv
from foldbook.engine import Latency, Session, Tape

HOW = {"pickle": lambda each: pickle.loads(pickle.dumps(each)), "deepcopy": copy.deepcopy}
MODES = ("NextStep", "SameStep", "Disabled")


def walked(envs: MarketVectorEnv, steps: int, seed: int) -> list[Any]:
    """Take random steps, and return all that was told; who is over begins anew."""
    rng = np.random.default_rng(seed)
    told: list[Any] = []
    for _ in range(steps):
        told.append(envs.step(rng.integers(envs.single_action_space.n, size=envs.num_envs)))
        over = told[-1][2] | told[-1][3]
        if envs.mode.value == "Disabled" and over.any():
            told.append(envs.reset(options={"reset_mask": over}))
    return told


def deals(env: ParallelMarketEnv, steps: int, seed: int) -> list[Any]:
    """Let all agents take random steps until nobody is left, and return all that was told."""
    rng = np.random.default_rng(seed)
    told = []
    for _ in range(steps):
        if not env.agents:
            break
        told.append(env.step({name: int(rng.integers(5)) for name in env.agents}))
    return told


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [
    {}, {"threads": 2, "stack": 2}, {"journal": True}, LATENCIES["sight"] | {"threads": 2},
], ids=["plain", "stacked", "journal", "late"])  # fmt: skip
def test_copies_of_many_go_on_alone(how, mode, options):
    """A copy made in the middle of episodes goes on exactly as the original does, over the ends of
    episodes and with the same draws, and neither moves the other."""
    envs = vector(session(), 5, market="random", start="random", max_steps=25, autoreset_mode=mode,
                  **options)  # fmt: skip
    envs.reset(seed=4)
    walked(envs, 31, seed=1)
    envs.action_space.seed(3)
    twin = HOW[how](envs)
    ours = walked(envs, 60, seed=2)
    theirs = walked(twin, 60, seed=2)
    assert same(ours, theirs)
    assert any(each[3].any() for each in ours if len(each) == 5), "episodes ended meanwhile"
    assert same(envs.journal_digests(), twin.journal_digests())
    assert same(envs.statistics(), twin.statistics())
    assert same(envs.reset(), twin.reset())
    assert same(envs.action_space.sample(), twin.action_space.sample())
    if options.get("journal"):
        for each in (envs, twin):
            walked(each, 30, seed=5)
        assert all(same(envs.journal(k), twin.journal(k)) for k in range(5))
    envs.close()
    assert walked(twin, 1, seed=1), "the copy has a thread of its own"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("delay", [{}, {"latency": Latency.constant("40ms", cancel="25ms")}],
                         ids=["none", "commands"])
def test_copies_of_agents_on_one_book_go_on_alone(how, delay):
    """A copy made mid-episode goes on exactly as the original, in the next episode too."""
    env = ParallelMarketEnv(session(), 3, market="random", start="random", cash=[2_000_000] * 3,
                            max_steps=90, **delay)  # fmt: skip
    env.reset(seed=4)
    deals(env, 40, seed=1)
    env.action_space("agent_1").seed(3)
    stood = env.accounts.bus.state_bytes()
    twin = HOW[how](env)
    ours = deals(env, 80, seed=2)
    assert twin.accounts.bus.state_bytes() == stood
    assert same(ours, deals(twin, 80, seed=2))
    assert env.agents == twin.agents == []
    assert env.accounts.journal().digest == twin.accounts.journal().digest
    assert len(env.accounts.journal().rows) > 40
    assert same(env.reset(), twin.reset())
    assert same(deals(env, 20, seed=3), deals(twin, 20, seed=3))
    assert env.action_space("agent_1").sample() == twin.action_space("agent_1").sample()


@pytest.mark.parametrize("journal", [True, False])
@pytest.mark.parametrize("how", HOW)
def test_a_copy_needs_no_journal(how, journal):
    """A single environment is copied with its journal kept or not."""
    env = single(session(), journal=journal)
    env.reset(seed=1)
    rng = np.random.default_rng(1)
    for action in rng.integers(5, size=600).tolist():
        env.step(action)
    twin = HOW[how](env)
    actions = rng.integers(5, size=50).tolist()
    assert same([env.step(each) for each in actions], [twin.step(each) for each in actions])


@pytest.mark.parametrize("make", [single, lambda played: vector(played, 2), ParallelMarketEnv],
                         ids=["single", "vector", "parallel"])
def test_a_session_in_memory_cannot_be_pickled_but_copied(make):
    """The error says what to do; a deep copy shares the session."""
    kept = session()
    env = make(Session(Tape(kept.tape.rows), kept.markets, name="loose"))
    env.reset(seed=1)
    with pytest.raises(TypeError, match="session loose is in memory only: save it before"):
        pickle.dumps(env)
    assert same(copy.deepcopy(env).reset(seed=2), env.reset(seed=2))


@pytest.mark.parametrize("threads", [1, 2])
def test_environments_that_are_closed_say_so(threads):
    """Whichever way they were stepped; a copy of closed ones is closed, closing twice is fine."""
    envs = vector(session(), 4, threads=threads)
    envs.reset(seed=1)
    actions = np.zeros(4, np.int64)
    envs.step(actions)
    envs.close()
    envs.close()
    for each in (envs, copy.deepcopy(envs)):
        with pytest.raises(ClosedEnvironmentError, match="these environments were closed: make"):
            each.step(actions)
        with pytest.raises(ClosedEnvironmentError, match="closed"):
            each.reset(seed=1)


def test_the_mask_in_the_infos_is_its_own():
    """Whoever writes to it changes no answer, then or later, in any environment."""
    for env in (MarketEnv(session()), MarketsEnv(session()), MarketVectorEnv(session(), 2)):
        _, info = env.reset(seed=1)
        untouched = env.action_masks().copy()
        info["action_mask"][:] = 1 - info["action_mask"]
        assert same(env.action_masks(), untouched)
        *_, later = env.step(0 * np.asarray(env.action_space.sample()))
        assert same(env.action_masks(), later["action_mask"] == 1)
        later["action_mask"][:] = 7
        assert env.action_masks().any() and (info["action_mask"] < 7).all()
    parallel = ParallelMarketEnv(session(), 2)
    _, infos = parallel.reset(seed=1)
    untouched = parallel.action_masks("agent_0").copy()
    infos["agent_0"]["action_mask"][:] = 7
    assert same(parallel.action_masks("agent_0"), untouched)
