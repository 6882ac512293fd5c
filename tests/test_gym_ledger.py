"""The reward ledger: by hand, and adding up to the change of value on every random episode."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from gyms import LATENCIES, draws, session, single
from scenes import BOOK, BUY, SELL, Scene

from foldbook.adapters import synthetic
from foldbook.engine import NO_FEES, Backtest, Session, Side, Tape, dollars
from foldbook.engine.codecs import quote
from foldbook.engine.ledger import LEDGER_DTYPE, change, ledger, marks, total
from foldbook.engine.schema import CauseKind, JournalKind, MarketStatus, TapeFlag, TapeKind
from foldbook.engine.simulation import Simulation
from foldbook.engine.specs import Market
from foldbook.examples.market_maker import MarketMaker

NOTHING = dict.fromkeys(LEDGER_DTYPE.names, 0)


def run(scene: Scene, tick: int = 100, **options) -> Simulation:
    """Return a simulation over a tape written by hand, after its first burst, without fees."""
    played = Session(Tape(scene.rows()), (Market("M", tick=tick),), name="written")
    simulation = Simulation(played, **({"fees": NO_FEES} | options))
    simulation.advance(events=1)
    return simulation


def finished(simulation: Simulation) -> dict[str, int]:
    """Play to the end and return the ledger of the whole run, checked against its value."""
    simulation.advance()
    journal = simulation.journal()
    stands = np.array([[0, 1], [simulation.events, len(journal)]])
    split = ledger(simulation.session, journal, stands)
    assert change(split).tolist() == [simulation.reward.value - 1000 * 10**6]
    return total(split)


def test_taker_pays_the_half_spread_and_holds():
    """Four contracts bought at 50 with the mark at 49 cost a cent each; a new bid at 49 moves the
    mark up half a cent on them; YES pays a dollar against the last mark of 49.5 cents."""
    scene = Scene().book(1, BOOK).more(2, BUY, 49, 100)
    scene.status(3, MarketStatus.CLOSED).status(4, MarketStatus.SETTLED, payout=10_000)
    simulation = run(scene)
    simulation.submit(0, Side.BUY, 5_000, 400)
    assert finished(simulation) == NOTHING | {
        "spread": -100 * 400, "inventory": 50 * 400, "settlement": (10_000 - 4_950) * 400
    }  # fmt: skip


def test_maker_earns_the_spread_and_loses_to_the_trade():
    """A bid of two at 47 fills when trades take 48 away; the mark falls by half a cent with the
    trade: that is adverse selection, not inventory."""
    scene = Scene().book(1, BOOK).trade(2, BUY, 48, 500).trade(3, BUY, 47, 800)
    simulation = run(scene)
    simulation.submit(0, Side.BUY, 4_800, 200)  # at 48, behind 500
    simulation.submit(0, Side.BUY, 4_900, 200)  # inside the spread
    # The trade of 500 at 48 goes through 49 first: 200 fill there, and 300 reach 48, behind 500.
    told = finished(simulation)
    # The mark: 49 before, (47 + 50) / 2 = 48.5 after the burst; then 47 empties: (0 + 50) / 2 = 25.
    # At ts 3 the trade at 47 goes through 48: 200 more fill there.
    assert told == NOTHING | {
        "spread": (4_900 - 4_900) * 200 + (4_850 - 4_800) * 200,
        "adverse": -50 * 200 - (4_850 - 2_500) * 200,
        "inventory": -(4_850 - 2_500) * 200,
    }


def test_seller_of_yes_is_the_mirror():
    """Four NO bought by selling at 48 with the mark at 49; YES pays nothing: NO pays a dollar."""
    scene = Scene().book(1, BOOK).status(3, MarketStatus.CLOSED)
    simulation = run(scene.status(4, MarketStatus.SETTLED, payout=0))
    simulation.submit(0, Side.SELL, 4_800, 400)
    assert finished(simulation) == NOTHING | {
        "spread": -100 * 400, "settlement": 4_900 * 400
    }  # fmt: skip


def test_void_pays_the_cost_back():
    """A void market pays back what was paid: the settlement undoes the spread."""
    scene = Scene().book(1, BOOK).status(3, MarketStatus.CLOSED)
    simulation = run(scene.status(4, MarketStatus.SETTLED, flags=TapeFlag.VOID))
    simulation.submit(0, Side.BUY, 5_000, 400)
    assert finished(simulation) == NOTHING | {"spread": -100 * 400, "settlement": 100 * 400}


def test_fees_are_what_was_charged():
    """Fees of fills are a column of their own."""
    simulation = run(Scene().book(1, BOOK).more(2, BUY, 48, 1), fees=None)
    simulation.submit(0, Side.BUY, 5_000, 400)
    paid = simulation.positions.fees
    assert paid > 0
    assert finished(simulation) == NOTHING | {"spread": -100 * 400, "fees": -paid}


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, 5_000), (Side.SELL, 4_801)])
def test_half_units_are_rounded_into_inventory(side, price):
    """A hundredth of a contract against a mark of 49.005: 99.5 units of spread count as 100 lost,
    and so does the value, rounded down; back at a whole mark inventory has what was rounded."""
    scene = Scene()
    scene.add(1, TapeKind.SNAPSHOT)
    scene.add(1, TapeKind.SNAPSHOT_LEVEL, BUY, 4_801, 500)
    scene.add(1, TapeKind.SNAPSHOT_LEVEL, SELL, 5_000, 400)
    scene.add(2, TapeKind.INCREASE, BUY, 4_802, 100)
    simulation = run(scene, tick=1)
    simulation.submit(0, side, price, 1)
    sign = 1 if side is Side.BUY else -1
    # The exact mark moves from 4900.5 to 4901: the value of YES from 4900 (rounded) to 4901.
    assert finished(simulation) == NOTHING | {"spread": -100, "inventory": 1 if sign > 0 else 0}


def test_marks_are_those_of_a_run():
    """`marks` has, beside each row, the mark that a run shows after that row's burst."""
    whole = session(3, markets=3)
    simulation = Simulation(whole)
    found = marks(whole)
    rng = np.random.default_rng(0)
    for stop in np.sort(rng.integers(1, len(whole.tape), 40)).tolist():
        simulation.advance(stop=stop)
        market = int(whole.tape.rows["market"][simulation.events - 1])
        assert found[simulation.events - 1] == simulation.book(market).mark2


def check_episode(env, seed: int, steps: int) -> dict[str, int]:
    """Play random actions and assert what each row of the ledger must be; return its sums."""
    told = [env.reset(seed=seed)[1]]
    for action in itertools.islice(draws(env, np.random.default_rng(seed)), steps):
        *_, terminated, truncated, info = env.step(action)
        told.append(info)
        if terminated or truncated:
            break
    split = env.ledger()
    units = [info["reward_units"] for info in told[1:]]
    assert change(split).tolist() == units, f"seed {seed}"
    quiet = np.array([info["fills"] == 0 for info in told[1:]])
    if not terminated:
        for name in ("spread", "adverse", "fees", "settlement"):
            assert not split[name][quiet].any(), f"seed {seed}: {name} without a fill"
    fees = env.simulation.positions.fees
    assert split["fees"].sum() == -fees
    return total(split)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("actions", ["limit5", "now5", "quote"])
def test_rows_add_up_on_random_episodes(actions, latency):
    """The columns of each step add up to its reward units, on episodes to the settlement, with and
    without delays; steps without a fill have moves of inventory alone."""
    whole = synthetic.session(seed=21, markets=1, minutes=1)
    seen = dict.fromkeys(LEDGER_DTYPE.names, 0)
    for seed, cadence in enumerate(("change", 20, "100ms")):
        codec = quote(offsets=(-1, 0)) if actions == "quote" else actions
        env = single(whole, actions=codec, cadence=cadence, **LATENCIES[latency])
        sums = check_episode(env, seed, 4000)
        seen = {name: seen[name] + abs(sums[name]) for name in seen}
    assert seen["spread"] and seen["inventory"]
    assert (seen["fees"] > 0) == (actions != "quote")  # makers pay none in this series


def test_inventory_is_the_mark_on_what_was_held():
    """Without delays, inventory is the position held over each burst times the move of its mark,
    folded burst by burst in plain Python, up to half a unit a fill and a step."""
    env = single(session(21, markets=1, settle=False), actions=quote(offsets=(-1, 0)),
                 cash=dollars(1000))  # fmt: skip
    env.reset(seed=4)
    for action in itertools.islice(draws(env, np.random.default_rng(4)), 2500):
        env.step(action)
    split, journal = env.ledger(), env.simulation.journal()
    tape, found = env.simulation.session.tape.rows, marks(env.simulation.session).tolist()
    rows = journal.rows
    fills = np.flatnonzero(rows["kind"] == JournalKind.FILL)
    signed = np.where(rows["side"] == Side.BUY, rows["qty"], -rows["qty"])
    in_burst = rows["cause_kind"] == CauseKind.TAPE
    change_at: dict[bool, Counter[int]] = {False: Counter(), True: Counter()}
    for number in fills.tolist():
        change_at[bool(in_burst[number])][int(journal.places[number])] += int(signed[number])
    moved = held = first = 0
    before = 10_000
    for stop in (np.flatnonzero(np.diff(tape["ts"])) + 1).tolist():
        if stop > env.simulation.events:
            break
        held += change_at[False][first]
        moved += held * (found[stop - 1] - before)
        held += sum(change_at[True][place] for place in range(first + 1, stop + 1))
        before, first = found[stop - 1], stop
    assert len(fills) > 20 and held + change_at[False][first] == env.simulation.positions.qty(0)
    assert abs(int(split["inventory"].sum()) - moved / 2) <= len(fills) + 1


def test_ledger_of_a_backtest_of_several_markets():
    """The ledger of a whole backtest, cut into stretches anywhere, adds up to its P&L."""
    whole = synthetic.session(seed=5, markets=3, minutes=1)
    result = Backtest(whole, MarketMaker(), cash=dollars(1000)).run()
    journal = result.journal
    places = np.sort(np.random.default_rng(1).integers(0, len(whole.tape), 30))
    known = np.searchsorted(journal.places, places, side="right")
    stands = np.stack([places, np.maximum(known, 1)], axis=1)
    stands = np.concatenate([[[0, 1]], stands, [[len(whole.tape), len(journal)]]])
    split = ledger(whole, journal, stands)
    assert change(split).sum() == result.simulation.reward.value - dollars(1000)
    assert total(ledger(whole, journal, stands[[0, -1]])) == total(split)
    assert split["settlement"].any() and (split["spread"] > 0).any()


def test_stands_that_are_none_are_refused():
    """Moments out of order, or beyond the run, are named."""
    whole = session(5)
    journal = Simulation(whole).journal()
    for stands in ([[0, 1]], [[5, 1], [3, 1]], [[0, 1], [0, 9]], [[0, 0], [1, 1]], [0, 1]):
        with pytest.raises(ValueError, match="stands"):
            ledger(whole, journal, np.array(stands))
