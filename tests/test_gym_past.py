"""Features of the recent past and of the session: each the formula of the docs, in plain Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from gyms import session, single

from foldbook.engine import Session, Simulation, Tape
from foldbook.engine.schema import Side, TapeFlag, TapeKind

NAMES = ("activity", "activity_change", "frequency", "burst", "quiet", "activity_trend", "momentum",
         "volatility")  # fmt: skip
SESSION_NAMES = ("active_markets", "synchrony", "divergence")
HALF_LIVES = (1, 10, 60)
FLOWS = tuple(f"{name}_{half}s" for half in HALF_LIVES
              for name in ("trade_flow", "cancel_flow", "event_rate", "return"))  # fmt: skip
BOOK_KINDS = {TapeKind.SNAPSHOT, TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE, TapeKind.DECREASE,
              TapeKind.GAP}  # fmt: skip


def with_blocks(whole: Session) -> Session:
    """Return a session in which every fiftieth row is followed by a trade that was made elsewhere,
    and adds nothing to a flow of trades."""
    rows = whole.tape.rows
    at = np.flatnonzero(np.diff(rows["ts"]))[::50]
    blocks = rows[at].copy()
    blocks["kind"], blocks["flags"], blocks["ahead"] = TapeKind.TRADE, TapeFlag.BLOCK, 0
    blocks["price"], blocks["qty"] = 5_000, 40_000
    return Session(Tape(np.insert(rows, at + 1, blocks)), whole.markets, name="blocks")


def bursts(played: Session, market: int) -> Iterator[tuple[int, np.ndarray, float]]:
    """Yield (ts, numbers of its rows on the tape of this market, mid in cents) of each burst."""
    alone = played.select(played.markets[market].ticker)
    simulation, rows = Simulation(alone), alone.tape.rows
    for ts in np.unique(rows["ts"]).tolist():
        simulation.advance(until=ts)
        book = simulation.book()
        mid = (book.best_bid + (book.best_ask or 10_000)) / 200
        yield ts, np.flatnonzero(rows["ts"] == ts), mid


def past(changes: list[tuple[int, float]], now: int) -> dict[str, float]:
    """Return the features of the last changes, (ts, mid in cents) each, oldest first."""
    times = [ts for ts, _ in reversed(changes)]
    mids = [mid for _, mid in reversed(changes)]
    speeds = [1 / (1 + (one - two) / 1e9) for one, two in itertools.pairwise(times)] + [0.0]
    n = min(len(changes) - 1, 5)
    last = speeds[:10]
    mean, deviation = np.mean(last), np.std(last)
    return {
        "activity": speeds[0],
        "activity_change": speeds[0] - speeds[1] if n else 0.0,
        "frequency": min(n / ((now - times[n]) / 1e9) / 2, 1) if n else 0.0,
        "burst": float(speeds[0] > mean + 1.5 * deviation),
        "quiet": float(speeds[0] < mean - deviation),
        "activity_trend": np.mean(last[:5]) - np.mean(last[5:]) if len(last) == 10 else 0.0,
        "momentum": float(np.clip((mids[0] - mids[n]) / 5, -1, 1)),
        "volatility": min(float(np.std(mids[:5])) / 5, 1.0),
    }


def flows(rows: np.ndarray, changes: list[tuple[int, float]], now: int) -> dict[str, float]:
    """Return the flows of the rows so far, and how far the mid is from its averages."""
    found = {}
    for half in HALF_LIVES:
        left = 0.5 ** ((now - rows["ts"]) / 1e9 / half) / half
        contracts = rows["qty"] / 100
        sign = np.where(rows["side"] == Side.BUY, 1, -1)
        trades = (rows["kind"] == TapeKind.TRADE) & (rows["flags"] & TapeFlag.BLOCK == 0)
        joined = (rows["kind"] == TapeKind.TRADE) & (rows["flags"] & TapeFlag.JOINED != 0)
        cancels = (rows["kind"] == TapeKind.DECREASE) & ~np.append(False, joined[:-1])
        bought = -(sign * contracts * left)[trades].sum()
        gone = (sign * contracts * left)[cancels].sum()
        rate = left.sum() * math.log(2)
        found[f"trade_flow_{half}s"] = bought / (abs(bought) + 100)
        found[f"cancel_flow_{half}s"] = gone / (abs(gone) + 100)
        found[f"event_rate_{half}s"] = rate / (rate + 10)
        average = changes[0][1]
        for (ts, mid), (later, _) in itertools.pairwise(changes):
            average = mid + (average - mid) * 0.5 ** ((later - ts) / 1e9 / half)
        found[f"return_{half}s"] = float(np.clip((changes[-1][1] - average) / 5, -1, 1))
    return found


def test_the_past_is_its_formulas():
    """At each of many moments, with trades made elsewhere among the others."""
    played = with_blocks(session(9, minutes=60, events=1500))
    env = single(played, observation=[*NAMES, *FLOWS], market=played.markets[0].ticker, cadence=3)
    shown, _ = env.reset(seed=0)
    rows = env.simulation.session.tape.rows
    changes, seen = [], {name: set() for name in NAMES}
    for ts, numbers, mid in bursts(played, 0):
        if BOOK_KINDS & {*rows["kind"][numbers].tolist()}:
            changes.append((ts, mid))
        if ts != env.simulation.now:
            continue
        expected = past(changes, ts) | flows(rows[: numbers[-1] + 1], changes, ts)
        told = dict(zip(env.feature_names, shown.tolist(), strict=True))
        for name, value in expected.items():
            assert told[name] == pytest.approx(value, abs=5e-6), (name, ts)
        for name in NAMES:
            seen[name].add(round(expected[name], 4))
        shown, *_, cut, info = env.step(0)
        if cut or info["step"] == 300:
            break
    assert {*seen["burst"]} == {0.0, 1.0} and min(map(len, seen.values())) > 1


def test_features_of_the_session_are_those_of_its_last_full_second():
    """Counted over what each market had told before the second began, another's moves included."""
    played = session(9, markets=3, minutes=2)
    told = sorted((ts, market, mid) for market in range(3) for ts, _, mid in bursts(played, market))
    ticker = played.markets[1].ticker
    env = single(played, observation=SESSION_NAMES, market=ticker, cadence="700ms")
    shown, _ = env.reset(seed=0)
    values = set()
    for _ in range(120):
        last = int(env.simulation.session.tape.rows["ts"][env.simulation.events - 1])
        second = last // 10**9 * 10**9
        mids, moves, at = {}, dict.fromkeys(range(3), 0.0), {}
        for ts, market, mid in told:
            if ts >= second:
                break
            if market in mids and mid != mids[market]:
                moves[market] = mid - mids[market]
            mids[market], at[market] = mid, ts
        active = [moves[market] for market in at if at[market] >= second - 60 * 10**9]
        ups, downs = sum(move > 0 for move in active), sum(move < 0 for move in active)
        expected = (
            len(active) / 10,
            abs(ups - downs) / (ups + downs) if ups + downs else 0.0,
            min(float(np.std(active)) / 5, 1.0) if active else 0.0,
        )
        assert shown.tolist() == pytest.approx(expected, abs=5e-6), last
        values.add(expected)
        shown = env.step(0)[0]
    assert len(values) > 10
