"""Observations: what each number is, that it is in its range and varies, and that none looks
ahead."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation
from gyms import LATENCIES, draws, play, same, session, single, vector
from test_look_ahead import other_tail
from test_real_recordings import GOLD, RESTARTED

from foldbook.adapters import sessions, synthetic
from foldbook.adapters.gym import normalise
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.engine import Side, dollars, verbs
from foldbook.engine.observations import _BUILT_IN, CLASSIC52, CORE, OBSERVATIONS, feature
from foldbook.engine.simulation import Simulation

PAGE = Path(__file__).parent.parent / "docs/observations.md"
WINDOWS = (RESTARTED, "KXGOLD15M-26AUG101900-00", "KXGOLD15M-26AUG050800-00")


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    """Some recorded windows, the one with a gap among them."""
    if not GOLD.is_dir():
        pytest.skip(f"no recordings in {GOLD}; set FOLDBOOK_DATA to their folder")
    folder = tmp_path_factory.mktemp("gold")
    sources = [GOLD / "events" / name for name in WINDOWS]
    reports = import_recording(sources, folder, metadata=GOLD / "metadata")
    return [sessions.load(report.session) for report in reports]


def observed(env, seed: int, steps: int) -> np.ndarray:
    """Play random actions and return all observations, shape (steps, features)."""
    return np.array([told[0] for told in play(env, steps, seed)])


def check_within(env, seen: np.ndarray) -> None:
    space = env.observation_space
    assert np.isfinite(seen).all()
    outside = np.flatnonzero(((seen < space.low) | (seen > space.high)).any(axis=0))
    assert not len(outside), [env.feature_names[k] for k in outside]


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_generated_observations_are_in_their_space(observation, latency):
    """Finite, float32 and inside the declared bounds over whole episodes of random actions."""
    for actions in ("limit5", "quote", "sized21"):
        env = single(session(), actions=actions, observation=observation, **LATENCIES[latency])
        seen = observed(env, 3, 4000)
        assert seen.dtype == np.float32 and len(seen) > 1000
        check_within(env, seen)


@pytest.mark.slow
@pytest.mark.parametrize("actions", ["limit5", "now5", "quote"])
def test_recorded_observations_are_in_their_space(gold, actions):
    """The same on real recordings, the settled end and a gap included."""
    for played, observation in itertools.product(gold, OBSERVATIONS):
        env = single(played, actions=actions, observation=observation, cadence=7, gaps=True)
        check_within(env, observed(env, 5, 20_000))


@pytest.mark.slow
def test_core_has_no_constant(gold):
    """Each feature of `core` varies on recorded windows under random actions."""
    constant = set(CORE)
    for played in gold:
        env = single(played, actions="quote", cadence=7, gaps=True, cash=dollars(1000))
        spread = observed(env, 5, 20_000).astype(float).std(axis=0)
        constant -= {name for name, each in zip(CORE, spread, strict=True) if each > 1e-6}
    assert not constant


def log_size(qty: int) -> float:
    return min(math.log(1 + qty / 100) / math.log(10_001), 1.0)


def balance(one: int, other: int) -> float:
    return (one - other) / (one + other) if one + other else 0.0


def market_part(run: Simulation) -> dict[str, float]:
    """What the market features of classic52 and core must be, from the views of a run."""
    book = run.book(0)
    bid, ask = book.best_bid / 1e4, book.best_ask / 1e4
    bids, asks = book.bids(), book.asks()
    yes, no = (sum(qty for _, qty in side) for side in (bids, asks))
    at_bid, at_ask = book.best_bid_qty, book.best_ask_qty

    def top(levels):
        every = sorted((qty for _, qty in levels), reverse=True)
        return sum(every[:3]) / sum(every) if every else 0.0

    told = {
        "yes_bid": bid, "yes_ask": ask, "no_bid": 1 - ask, "no_ask": 1 - bid,
        "yes_spread": ask - bid, "no_spread": ask - bid,
        "yes_mid": (bid + ask) / 2, "no_mid": 1 - (bid + ask) / 2,
        "yes_size": log_size(yes), "no_size": log_size(no), "total_size": log_size(yes + no),
        "outcome_imbalance": balance(yes, no),
        "yes_imbalance": balance(at_bid, at_ask), "no_imbalance": balance(at_ask, at_bid),
        "yes_levels": min(len(bids) / 20, 1), "no_levels": min(len(asks) / 20, 1),
        "yes_top_share": top(bids), "no_top_share": top(asks),
        "arbitrage": 0.0, "efficiency": 1.0, "agreement": 1.0,
        "spread": min((ask - bid) * 10, 1), "imbalance_1": balance(at_bid, at_ask),
        "imbalance_5": balance(*(sum(q for _, q in side[:5]) for side in (bids, asks))),
        "microprice": (bid * at_ask + ask * at_bid) / (at_bid + at_ask) if at_bid + at_ask
        else (bid + ask) / 2,
    }  # fmt: skip
    for name, side in (("bid", bids), ("ask", asks)):
        for k in range(5):
            there = k < len(side)
            told[f"{name}_size_{k + 1}"] = log_size(side[k][1]) if there else 0.0
            if k:
                gap = abs(side[k][0] - side[0][0]) / 1000 if there else 1.0
                told[f"{name}_gap_{k + 1}"] = min(gap, 1.0)
    return told


def agent_part(run: Simulation, last_order: int | None, began: int) -> dict[str, float]:
    """What the features of the agent must be, from the views of a run without delays."""
    positions, book = run.positions, run.book(0)
    held, value = positions.qty(0), run.reward.value
    worth = value - positions.cash
    share = worth / value
    far = book.best_bid if held > 0 else book.best_ask
    exits = held != 0 and 0 < far < 10_000
    told = {
        "cash_share": positions.available / value, "position_share": share,
        "positions": 0.1 * bool(held), "mean_position": min(abs(held) / 1e5, 1),
        "largest_position": min(abs(held) / 1e5, 1), "long_share": share * (held > 0),
        "short_share": share * (held < 0), "net_bias": float(np.sign(held)),
        "concentration": float(held != 0), "diversity": 0.0,
        "unrealised_share": positions.unrealised / value,
        "leverage": (worth + positions.reserved) / value / 2,
        "inventory": held / (abs(held) + 10_000),
        "elapsed": (lambda s: s / (s + 900))((run.now - began) / 1e9),
        "since_order": 1.0 if last_order is None else min((run.now - last_order) / 3e11, 1),
        "exit_cost": min(abs(book.mark2 - 2 * far) / 2000, 1) if exits else 0.0,
    }  # fmt: skip
    for name, side in (("buy", Side.BUY), ("sell", Side.SELL)):
        own = [order for order in run.orders.open(0) if order.side is side]
        told[f"has_{name}"] = float(bool(own))
        told[f"{name}_distance"] = abs(2 * own[0].price - book.mark2) / 2e4 if own else 0.0
        told[f"{name}_size"] = log_size(own[0].left) if own else 0.0
        told[f"{name}_ahead"] = log_size(own[0].ahead) if own else 1.0
    return told


@pytest.mark.parametrize("actions", ["limit5", "now5", "quote"])
def test_features_are_their_formulas(actions):
    """Each feature of the book, the account and the orders is the formula of the docs, worked out
    in Python from the views of the run; own takings included, which the columns do not know."""
    chosen = tuple(dict.fromkeys(CLASSIC52 + CORE))
    env = single(session(9, minutes=2), observation=chosen, actions=actions, cadence=9,
                 cash=dollars(500))  # fmt: skip
    shown, _ = env.reset(seed=1)
    began, last, checked, takes = env.simulation.now, None, set(), 0
    sent = 1
    for action in itertools.islice(draws(env, np.random.default_rng(1)), 400):
        rows = env.simulation.journal().rows
        new = rows[sent:][rows[sent:]["kind"] == 0]
        last = int(new["ts"][-1]) if len(new) else last
        sent = len(rows)
        expected = market_part(env.simulation) | agent_part(env.simulation, last, began)
        told = dict(zip(chosen, shown.tolist(), strict=True))
        for name in expected:
            assert told[name] == pytest.approx(expected[name], abs=2e-6), name
        checked |= expected.keys()
        takes += (rows["flags"] & 4 > 0).any()
        shown = env.step(action)[0]
    assert len(checked) == 67 and (takes > 100 or actions == "quote")


def test_recent_past_by_hand():
    """Momentum, volatility and frequency of a tape with a change a second: the mid of 49 rises by
    half a cent with each new best bid."""
    from scenes import BOOK, BUY, SELL, Scene
    from test_gym_env import written

    scene = Scene().book(10**9, BOOK)
    for second, cents in ((2, 49),):
        scene.more(second * 10**9, BUY, cents, 100)
    for second in range(3, 12):
        scene.more(second * 10**9, SELL, 60 + second, 100)
    chosen = ("momentum", "volatility", "frequency", "activity", "since_change", "burst")
    env = single(written(scene), observation=chosen)
    shown, _ = env.reset(seed=0)
    assert shown.tolist()[:2] == [0.0, 0.0]
    shown = env.step(0)[0]  # the mid rose from 49 to 49.5, of two known so far
    told = dict(zip(chosen, shown.tolist(), strict=True))
    assert told["momentum"] == pytest.approx(0.5 / 5)
    assert told["volatility"] == pytest.approx(0.25 / 5)
    assert told["frequency"] == pytest.approx(1 / 2)
    assert told["activity"] == pytest.approx(1 / 2)
    assert told["since_change"] == 0.0


@pytest.mark.parametrize("latency", ["none", "sight"])
def test_columns_are_what_a_fresh_run_shows(latency):
    """At random rows, what an episode is shown there at its start is what one is shown that came
    from the beginning, and its book part what the views of a fresh simulation say."""
    played = session(9, minutes=2)
    chosen = tuple(dict.fromkeys(CLASSIC52 + CORE))
    env = single(played, observation=chosen, **LATENCIES[latency])
    rng = np.random.default_rng(8)
    for start in rng.integers(played.start + 10**9, played.start + 110 * 10**9, 25).tolist():
        shown, _ = env.reset(seed=0, options={"start": start})
        fresh = Simulation(env.simulation.session, **LATENCIES[latency])
        fresh.advance(stop=env.simulation.events)
        told = dict(zip(chosen, shown.tolist(), strict=True))
        for name, value in market_part(fresh).items():
            assert told[name] == pytest.approx(value, abs=2e-6), name


@pytest.mark.parametrize("latency", ["none", "sight"])
@pytest.mark.parametrize("cadence", ["change", "100ms"])
def test_nothing_looks_ahead(cadence, latency):
    """With all rows after t replaced by others, everything observed, earned and told up to t is
    equal to the last bit: features of both sets, masks, rewards."""
    played = synthetic.session(seed=41, markets=2, events=2500, minutes=1)
    chosen = tuple(dict.fromkeys(CLASSIC52 + CORE))
    options = {"observation": chosen, "market": "SYN-41-000", "cadence": cadence, "gaps": True,
               "actions": "limit5", **LATENCIES[latency]}  # fmt: skip
    whole = single(played, **options)
    told = play(whole, 5000, seed=2)
    moments = []
    env = single(played, **options)
    env.reset(seed=2)
    moments.append(env.simulation.now)
    for action in itertools.islice(draws(env, np.random.default_rng(2)), len(told) - 1):
        env.step(action)
        moments.append(env.simulation.now)
    times = played.tape.rows["ts"]
    for part in range(2, 8):
        t = int(times[len(times) * part // 9])
        other = play(single(other_tail(played, t, seed=part), **options), 5000, seed=2)
        count = int(np.searchsorted(moments, t, side="right"))
        assert count > 50
        for ours, theirs in zip(told[:count], other[:count], strict=True):
            for info in (ours[-1], theirs[-1]):
                info.pop("statistics", None)
            assert same(ours, theirs)
        assert not same(told[count:], other[count:])


def inventory(sim, market):
    position = verbs.position(sim, market)
    return position / (abs(position) + 10_000.0)


def best_bid(sim, market):
    return verbs.best(sim, market, 0) / 10_000.0


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_own_features_stand_among_the_others(mode):
    """A user's compiled features equal the built-in ones they imitate, in their places, in single
    and vector environments and in what is told of ended episodes."""
    mine = feature("inventory_of_mine", -1.0, 1.0, "position / (|position| + 100 contracts)")
    bid = feature("bid_of_mine", 0.0, 1.0, "dollars")
    chosen = [mine(inventory), "yes_bid", bid(best_bid), "inventory"]
    options = {"observation": chosen, "actions": "now5", "max_steps": 12, "start": "random"}
    env = single(session(), **options)
    assert env.feature_names == ("inventory_of_mine", "yes_bid", "bid_of_mine", "inventory")
    seen = observed(env, 1, 50)
    assert same(seen[:, 0], seen[:, 3]) and same(seen[:, 1], seen[:, 2]) and seen[:, 0].any()
    envs = vector(session(), 3, autoreset_mode=mode, threads=2, **options)
    shown, _ = envs.reset(seed=4)
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(40):
        shown, _, terminated, truncated, infos = envs.step(rng.integers(5, size=3))
        finals = [each for each in infos.get("final_obs", ()) if each is not None]
        for each in [*shown, *finals]:
            assert each[0] == each[3] and each[1] == each[2]
        ended += len(finals)
        over = terminated | truncated
        if mode == "Disabled" and over.any():
            envs.reset(options={"reset_mask": over})
    assert (ended > 0) == (mode == "SameStep")


def test_stacks_are_those_of_gymnasium():
    """`stack=k` is Gymnasium's FrameStackObservation around the plain environment, to the last bit,
    over several episodes."""
    options = {"max_steps": 9, "start": "random"}
    ours = single(session(), stack=4, **options)
    theirs = FrameStackObservation(single(session(), **options), 4, padding_type="reset")
    assert ours.observation_space == theirs.observation_space
    for seed in (3, None, None):
        assert same(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        for action in [1, 2, 0, 3, 4, 1, 1, 0, 2]:
            assert same(ours.step(action)[0], theirs.step(action)[0])


def test_normalisation_is_saved_with_the_policy(tmp_path):
    """Running statistics, saved and loaded, give the same numbers fixed, in single and vector
    environments; statistics of other features are refused."""
    path = tmp_path / "statistics.json"
    envs = normalise.normalised(vector(session(), 4))
    envs.reset(seed=0)
    for _ in range(50):
        envs.step(envs.action_space.sample())
    normalise.save(envs, path)
    plain = single(session())
    fixed = normalise.normalised(single(session()), path)
    shown, expected = fixed.reset(seed=5)[0], plain.reset(seed=5)[0]
    mean, var = envs.obs_rms.mean, envs.obs_rms.var
    for action in (1, 0, 2, 3):
        assert shown == pytest.approx((expected - mean) / np.sqrt(var + 1e-8), rel=1e-5, abs=1e-5)
        shown, expected = fixed.step(action)[0], plain.step(action)[0]
    assert same(fixed.obs_rms.mean, mean) and fixed.obs_rms.count == envs.obs_rms.count
    with pytest.raises(ValueError, match=r"statistics.json.*not of these 52"):
        normalise.normalised(single(session(), observation="classic52"), path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="no statistics"):
        normalise.normalised(single(session()), path)


def test_names_cannot_be_taken_twice():
    """A feature of one's own cannot have the name of another."""
    with pytest.raises(ValueError, match="yes_bid.*taken"):
        feature("yes_bid", 0, 1, "dollars")


def test_page_lists_every_feature():
    """docs/observations.md has one row for each built-in feature, with its unit and range, in the
    order of the registry, and marks the sets that it is in."""
    found = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \| [^|]+ \|$",
                       PAGE.read_text(), re.MULTILINE)  # fmt: skip
    rows = []
    for each in _BUILT_IN.values():
        sets = ", ".join(name for name, names in OBSERVATIONS.items() if each.name in names)
        rows.append((each.name, sets or "-", f"{each.low:g} to {each.high:g}", each.unit))
    assert [tuple(part.strip() for part in row) for row in found] == rows
