"""Many environments as one: each is the single one with its seed, to the last bit."""

from __future__ import annotations

import gc
import itertools
import threading
import time

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gyms import CADENCES, CODECS, LATENCIES, same, session, single, vector

from foldbook.adapters import synthetic
from foldbook.adapters.gym import ID, MarketVectorEnv
from foldbook.engine import CapacityError, Latency, dollars
from foldbook.engine.observations import OBSERVATIONS

COUNT = 4
MODES = {"NextStep": AutoresetMode.NEXT_STEP, "SameStep": AutoresetMode.SAME_STEP,
         "Disabled": AutoresetMode.DISABLED}  # fmt: skip


def batches(envs: MarketVectorEnv, seed: int):
    """Yield random actions for all environments."""
    rng = np.random.default_rng(seed)
    space, count = envs.single_action_space, envs.num_envs
    while True:
        if isinstance(space, gymnasium.spaces.Box):
            yield rng.uniform(-1, 1, (count, *space.shape)).astype(np.float32)
        elif isinstance(space, gymnasium.spaces.MultiDiscrete):
            yield rng.integers(space.nvec, size=(count, len(space.nvec)))
        else:
            yield rng.integers(space.n, size=count) * (rng.random(count) < 0.5)


def take_steps(envs: MarketVectorEnv, count: int) -> None:
    for actions in itertools.islice(batches(envs, 0), count):
        envs.step(actions)


def check_infos(info: dict, infos: dict, k: int) -> None:
    """Assert that the infos of environment `k` are those of a single one."""
    for name in ("step", "portfolio_value", "cash", "position", "fills", "journal", "reward_units"):
        assert info[name] == infos[name][k], name
        assert infos[f"_{name}"][k]
    if "action_mask" in info:
        assert same(info["action_mask"], infos["action_mask"][k])


CASES = list(itertools.product(CODECS, CADENCES, LATENCIES))


@pytest.mark.parametrize(("codec", "cadence", "latency"), CASES, ids=lambda each: str(each))
def test_each_is_the_single_one(codec, cadence, latency):
    """Observations, rewards, ends, infos, masks and journals of several markets, sessions and
    random starts; episodes that end begin anew as the single ones do when they are reset."""
    number = CASES.index((codec, cadence, latency))
    options = {
        "actions": codec, "cadence": cadence, "observation": [*OBSERVATIONS][number % 2],
        "market": ("random", "next")[number // 2 % 2], "start": ("random", "first")[number % 2],
        "max_steps": 25, "stack": 1 + number % 3 // 2, **LATENCIES[latency],
    }  # fmt: skip
    played = [session(7), session(8)]
    envs = vector(played, COUNT, journal=True, threads=1 + number % 2, **options)
    ones = [single(played, **options) for _ in range(COUNT)]
    shown, infos = envs.reset(seed=100 + number)
    for k, env in enumerate(ones):
        observation, info = env.reset(seed=100 + number + k)
        assert same(observation, shown[k])
        check_infos(info, infos, k)
        assert info["market"] == envs.markets[infos["market"][k]]
    over, last = [False] * COUNT, {}
    for actions in itertools.islice(batches(envs, number), 60):
        shown, rewards, terminated, truncated, infos = envs.step(actions)
        for k, env in enumerate(ones):
            if over[k]:
                observation, info = env.reset()
                told = observation, 0.0, False, False, info
                ended = envs.journal(k, ended=True)
            else:
                told = env.step(actions[k])
                ended = None
            assert same(told[0], shown[k])
            assert told[1:4] == (rewards[k], terminated[k], truncated[k])
            check_infos(told[4], infos, k)
            rows = env.simulation.journal().rows
            assert rows.tobytes() == envs.journal(k).tobytes()
            if ended is not None:
                assert ended.tobytes() == last[k]
            over[k] = told[2] or told[3]
        last = {k: ones[k].simulation.journal().rows.tobytes() for k in range(COUNT) if over[k]}
    envs.close()


@pytest.mark.parametrize("latency", LATENCIES)
def test_journals_digest_alike_kept_or_not_in_one_thread_or_two(latency):
    """What is observed, earned and digested does not depend on whether rows are kept, or on the
    number of threads."""
    told = []
    for keeps, threads in ((True, 1), (False, 1), (True, 2), (False, 2)):
        envs = vector(
            session(7), 7, journal=keeps, threads=threads, start="random", cadence=5,
            max_steps=40, **LATENCIES[latency],
        )  # fmt: skip
        one = [envs.reset(seed=3)[0]]
        for actions in itertools.islice(batches(envs, 1), 100):
            one += envs.step(actions)[:4]
            one.append(envs.journal_digests())
        told.append(one)
        envs.close()
    assert same(told[0], told[1]) and same(told[0], told[2]) and same(told[0], told[3])
    assert len({row.tobytes() for row in told[0][-1]}) > 3


def test_digest_tells_journals_apart():
    """Two environments with one seed and other actions have other digests; with the same, the
    same."""
    envs = vector(session(7), 3)
    envs.reset(seed=[5, 5, 5])
    for _ in range(20):
        envs.step(np.array([1, 1, 3]))
    digests = envs.journal_digests()
    assert (digests[0] == digests[1]).all() and (digests[0] != digests[2]).any()


def test_spaces_and_dtypes_are_those_of_gymnasium():
    """Spaces are batches of the single ones; observations are float32, rewards float64, ends bool,
    masks int8, as the spaces and Gymnasium's own vector environment have them."""
    for actions in CODECS:
        envs = vector(session(7), 3, actions=actions)
        ours = gymnasium.make_vec(ID, 3, vectorization_mode="sync", session=session(7),
                                  actions=actions)  # fmt: skip
        assert (envs.num_envs, ours.num_envs) == (3, 3)
        assert envs.observation_space == ours.observation_space
        assert envs.action_space == ours.action_space
        assert envs.single_action_space == ours.single_action_space
        assert envs.single_observation_space == ours.single_observation_space
        assert isinstance(envs, MarketVectorEnv) and isinstance(ours, SyncVectorEnv)
        shown, infos = envs.reset(seed=1)
        assert shown in envs.observation_space and shown.dtype == np.float32
        envs.action_space.seed(1)
        told = envs.step(envs.action_space.sample())
        assert told[0] in envs.observation_space
        assert [each.dtype for each in told[1:4]] == [np.float64, np.bool_, np.bool_]
        if "action_mask" in infos:
            assert infos["action_mask"].dtype == np.int8
            assert envs.action_masks().dtype == np.bool_
            for k in range(3):
                allowed = envs.single_action_space.sample(mask=infos["action_mask"][k])
                assert infos["action_mask"][k][allowed]


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_autoreset_is_as_gymnasium_has_it(mode, stack):
    """In each mode, observations, rewards, ends and the keys and shapes of what is told of an
    ended episode are those of Gymnasium's own vector environment over single ones."""
    options = {"session": session(7), "max_steps": 6, "start": "random", "stack": stack}
    envs = gymnasium.make_vec(ID, 3, vectorization_mode="vector_entry_point",
                              autoreset_mode=mode, **options)  # fmt: skip
    theirs = SyncVectorEnv(
        [lambda: gymnasium.make(ID, disable_env_checker=True, **options)] * 3,
        autoreset_mode=MODES[mode],
    )
    assert envs.metadata["autoreset_mode"] is MODES[mode]
    shown, _ = envs.reset(seed=9)
    assert same(shown, theirs.reset(seed=9)[0])
    ended = 0
    for actions in itertools.islice(batches(envs, 2), 20):
        told, expected = envs.step(actions), theirs.step(actions)
        assert same(told[:4], expected[:4])
        mine, other = told[4], expected[4]
        assert ("final_obs" in mine) == ("final_obs" in other)
        if "final_obs" in mine:
            assert mine["final_obs"].dtype == other["final_obs"].dtype == object
            assert same(list(mine["final_obs"]), list(other["final_obs"]))
            assert same(mine["_final_obs"], other["_final_obs"])
            assert same(mine["_final_info"], other["_final_info"])
            last, expected_last = mine["final_info"], other["final_info"]
            for name in ("step", "portfolio_value", "cash", "position", "fills", "journal",
                         "reward_units", "action_mask"):  # fmt: skip
                assert (last[name] == expected_last[name]).all(), name
                assert same(last[f"_{name}"], expected_last[f"_{name}"])
        over = told[2] | told[3]
        ended += over.sum()
        if mode == "Disabled" and over.any():
            with pytest.raises(gymnasium.error.ResetNeeded, match="over"):
                envs.step(actions)
            again = envs.reset(options={"reset_mask": over})[0]
            assert same(again, theirs.reset(options={"reset_mask": over})[0])
    assert ended >= 6
    envs.close()


@pytest.mark.parametrize("stack", [1, 3])
def test_reset_mask_leaves_the_others_where_they_are(stack):
    """A partial reset with seeds begins some episodes anew and touches no other."""
    envs = vector(session(7), 4, autoreset_mode="Disabled", start="random", stack=stack,
                  journal=True)  # fmt: skip
    envs.reset(seed=1)
    for _ in range(10):
        shown = envs.step(np.array([1, 2, 3, 4]))[0]
    before = [envs.journal(k).tobytes() for k in range(4)]
    mask = np.array([True, False, True, False])
    again, infos = envs.reset(seed=[1, 0, 3, 0], options={"reset_mask": mask, "cash": dollars(5)})
    assert same(again[~mask], shown[~mask])
    assert infos["cash"][mask].tolist() == [5_000_000] * 2 and infos["step"].tolist() == [0, 10] * 2
    assert [envs.journal(k).tobytes() == before[k] for k in range(4)] == [False, True] * 2
    assert envs.journal(0)["cash"][0] == 5_000_000


def test_statistics_are_those_of_single_ones():
    """Statistics of running and of ended episodes are those that a single environment tells."""
    options = {"max_steps": 30, "market": "random", "cadence": 5}
    envs = vector(session(7), 3, autoreset_mode="SameStep", **options)
    ones = [single(session(7), **options) for _ in range(3)]
    envs.reset(seed=4)
    for k, env in enumerate(ones):
        env.reset(seed=4 + k)
    for number, actions in enumerate(itertools.islice(batches(envs, 4), 30)):
        envs.step(actions)
        told = [env.step(actions[k]) for k, env in enumerate(ones)]
        given = envs.statistics(ended=number == 29)
        for k, env in enumerate(ones):
            for name, value in env.statistics().items():
                assert given[name][k] == pytest.approx(value, rel=1e-9), name
    assert "statistics" in told[0][4]


def test_weights_choose_the_markets():
    """Markets with weight 0 are not drawn; the others as often as their weights say."""
    envs = vector(session(3, markets=3, minutes=1), 300, market="random", actions="now5")
    envs.set_weights([1, 0, 3])
    _, infos = envs.reset(seed=0)
    counts = np.bincount(infos["market"], minlength=3)
    assert counts[1] == 0 and 40 < counts[0] < 110
    with pytest.raises(ValueError, match="3 whole numbers"):
        envs.set_weights([1, 2])


def test_seeds_are_per_environment():
    """A list of seeds seeds each; two with one seed are equal, and None leaves one as it is."""
    envs = vector(session(7), 3, start="random", market="random")
    shown, _ = envs.reset(seed=[4, 4, 5])
    assert same(shown[0], shown[1]) and not same(shown[0], shown[2])
    assert same(envs.reset(seed=np.array([4, 4, 5]))[0], shown)
    again, _ = envs.reset(seed=[4, None, 5])
    assert same(again[[0, 2]], shown[[0, 2]]) and not same(again[1], shown[1])


def test_what_is_wrong_is_refused():
    """Each wrong call says what to do."""
    with pytest.raises(ValueError, match="num_envs: 0"):
        vector(session(7), 0)
    with pytest.raises(ValueError, match="threads: 3"):
        vector(session(7), 1, threads=3)
    with pytest.raises(ValueError, match="draws nothing"):
        MarketVectorEnv(session(7), 2, render_mode="ansi")
    fine = synthetic.session(seed=1, minutes=1, tick=10)
    with pytest.raises(ValueError, match="different price grids.*101 levels.*1001 levels"):
        vector([session(7), fine], 2, market="next")
    envs = vector(session(7), 2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        envs.step(np.array([0, 0]))
    for call in (envs.action_masks, envs.statistics, envs.journal_digests):
        with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
            call()
    with pytest.raises(ValueError, match="first reset"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)
    for actions, words in (
        ([0, 5], r"\[5\] in row 1 of limit5.*0 to 4"), ([0], r"shape \(1,\); expected \(2,\)"),
        ([0.5, 0.0], "whole number"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            envs.step(np.array(actions))
    for options, words in (
        ({"reset_mask": [True, False]}, "bool array"), ({"cash": -1}, "cash: -1"),
        ({"reset_mask": np.zeros(2, bool)}, "one of them true"), ({"start": 1}, "no option"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            envs.reset(options=options)
    with pytest.raises(ValueError, match="seed: 1 given; expected 2"):
        envs.reset(seed=[1])
    for seed in ([1.5, 2], [-1, 2], ["x", 2], 1.5, "12", [True, 2]):
        with pytest.raises(ValueError, match="seed: .*expected whole numbers, 0 or more"):
            envs.reset(seed=seed)
    with pytest.raises(ValueError, match="different lengths"):
        envs.step([[0], [0, 1]])
    with pytest.raises(TypeError, match="journal"):
        envs.journal(0)
    with pytest.raises(TypeError, match="quote.*no mask"):
        vector(session(7), 1, actions="quote").action_masks()
    slow = vector(session(7), 2, actions="quote", order_capacity=1, latency=Latency.constant("20s"))
    slow.reset(seed=0)
    with pytest.raises(CapacityError, match="1 orders are open already; raise order_capacity"):
        take_steps(slow, 200)


def test_a_refused_reset_leaves_what_was_there():
    """A reset whose cash is refused seeds nothing: the next episodes are those that would have
    come."""
    calm, told = (vector(session(7), 2, start="random") for _ in range(2))
    for envs in (calm, told):
        envs.reset(seed=1)
    with pytest.raises(ValueError, match="cash: -1"):
        told.reset(seed=9, options={"cash": -1})
    assert same(told.reset()[0], calm.reset()[0])


def test_observations_can_be_shared_or_copied():
    """With copy=True what was given stays; with copy=False it is the same array, written anew."""
    for copied in (True, False):
        envs = vector(session(7), 2, copy=copied, cadence=50)
        first, _ = envs.reset(seed=0)
        kept = first.copy()
        second = envs.step(np.array([0, 0]))[0]
        assert (second is first) != copied
        assert same(first, kept) == copied


def threads() -> int:
    return sum(thread.name == "foldbook-gym" for thread in threading.enumerate())


def test_second_threads_end_with_their_environments():
    """One that is closed, or that nobody holds any more, leaves no thread behind."""
    before = threads()
    envs = vector(session(7), 4, threads=2)
    assert threads() == before + 1
    envs.close()
    assert threads() == before
    envs = vector(session(7), 4, threads=2)
    envs.reset(seed=1)
    envs.step(np.zeros(4, int))
    del envs
    gc.collect()
    for _ in range(200):
        if threads() == before:
            break
        time.sleep(0.01)
    assert threads() == before


def test_second_threads_sleep_and_wake():
    """Steps that come after a long time are the same as steps that come at once."""
    slow, quick = (vector(session(7), 5, threads=count) for count in (2, 1))
    ours, theirs = slow.reset(seed=2), quick.reset(seed=2)
    for number, actions in enumerate(itertools.islice(batches(slow, 1), 60)):
        assert same(ours, theirs)
        if number % 20 == 0:
            time.sleep(0.05)
        ours, theirs = slow.step(actions), quick.step(actions)
    slow.close()
