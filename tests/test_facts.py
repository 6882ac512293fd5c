"""Facts of a recording: numbers that a reader can check by hand, a plain twin, and the score."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections import Counter

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tapes import Recorder, TapeBuilder

from foldbook.adapters import sessions, synthetic
from foldbook.adapters.sessions.checkup import check_up
from foldbook.adapters.sessions.quality import Capture, quality
from foldbook.adapters.sessions.tallies import Tally, tallies
from foldbook.engine.schema import MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market
from foldbook.engine.units import PRICE_ONE, SECOND

K = TapeKind
BUY, SELL = Side


def tape(*rows: tuple) -> np.ndarray:
    """Return rows from (second, kind, side, cents, contracts, flags); recv is 10 ms later."""
    made = TapeBuilder()
    for second, kind, *rest in rows:
        side, cents, contracts, flags = (*rest, *(0, 0, 0, 0)[len(rest) :])
        ts = round(second * 1000) * SECOND // 1000
        made.add(ts, kind, side, round(cents * 100), round(contracts * 100), flags=flags,
                 recv=ts + 10**7)
    return made.rows()


def status(second: float, to: MarketStatus, payout: float = 0) -> tuple:
    return (second, K.STATUS, 0, payout, to / 100)


HAND = tape(
    (0, K.SNAPSHOT), (0, K.SNAPSHOT_LEVEL, BUY, 40, 10), (0, K.SNAPSHOT_LEVEL, SELL, 42, 10),
    (4, K.INCREASE, BUY, 41, 5),                                     # spread 2 c for 4 s, then 1 c
    (10, K.DECREASE, BUY, 41, 5, TapeFlag.GUESSED),                  # 1 c for 6 s, then 2 c again
    (20, K.TRADE, SELL, 42, 10, TapeFlag.JOINED), (20, K.DECREASE, SELL, 42, 10),  # no ask
    (25, K.TRADE, SELL, 43, 2, TapeFlag.UNJOINED),
    (30, K.INCREASE, SELL, 44, 3),                                   # 2 c for 10 s, 10 s no quote
    (50, K.GAP),                                                     # 4 c for 20 s
    (60, K.SNAPSHOT), (60, K.SNAPSHOT_LEVEL, BUY, 50, 1), (60, K.SNAPSHOT_LEVEL, SELL, 51, 1),
    (60, K.RECOVERED),
    (140, K.INCREASE, SELL, 50, 7), (140, K.DECREASE, BUY, 50, 1), (140, K.DECREASE, SELL, 51, 1),
    (160, K.TRADE, BUY, 45, 30, TapeFlag.BLOCK),                     # 1 c for 80 s, then no bid
    status(200, MarketStatus.CLOSED), status(500, MarketStatus.SETTLED, 100),
)  # fmt: skip


def session_of(rows: np.ndarray, **facts: object) -> Session:
    return Session(Tape(rows), (Market("KXA-1"),), name="hand", facts=facts)


@pytest.fixture
def hand() -> dict:
    return sessions.facts_of(session_of(HAND))


def test_time_is_told_apart(hand):
    """Open 200 s of 500 s; 10 s of them in the gap; 70 s trusted without a bid or an ask."""
    assert hand["span_s"] == 500
    assert hand["time"] == {
        "open_s": 200, "paused_s": 0, "trusted_s": 190, "trusted_share": 0.95,
        "unquoted_s": 70, "unquoted_share": round(70 / 190, 6),
        "silences": 1, "silent_s": 80, "longest_silence_s": 80,
    }


def test_counts_and_rates(hand):
    """20 rows at 12 moments; three trades, of which one is joined and one negotiated."""
    assert (hand["events"], hand["bursts"]) == (20, 12)
    assert hand["counts"] == {
        "snapshot": 2, "snapshot_level": 4, "increase": 3, "decrease": 4, "trade": 3, "status": 2,
        "grid": 0, "fee": 0, "gap": 1, "recovered": 1,
        "close_time": 0, "strike": 0}
    assert hand["rates"] == {"events_per_second": 0.1, "bursts_per_second": 0.06,
                             "trades_per_second": 0.015}
    assert hand["trades"] == {"joined": 1, "blocks": 1, "join_rate": 0.5, "contracts": "42.00"}
    assert hand["queue"] == {"decreases": 3, "guessed": 1, "guessed_share": 0.333333}


def test_the_spread_is_weighted_by_time(hand):
    """2 c for 4 s, 1 c for 6 s, 2 c for 10 s, 4 c for 20 s, 1 c for 80 s: 194 / 120, median 1."""
    assert hand["spread"] == {"mean_cents": round(194 / 120, 6), "median_cents": 1.0}


def test_volatility_is_the_root_mean_square_of_moves_over_ten_seconds(hand):
    """Quoted 0..20 and 30..50 and 60..140: 2 + 2 + 8 windows less what reaches the end of one.

    The mid is 41 at 0 s, 41 at 10 s (the order at 41 has gone); a quote through all of a window
    stands over 0..10, 30..40 and seven times from 60 to 130: nothing moves at these moments.
    """
    assert hand["volatility"] == {"window_s": 10, "windows": 9, "cents": 0.0}
    moving = tape(
        (0, K.SNAPSHOT), (0, K.SNAPSHOT_LEVEL, BUY, 40, 10), (0, K.SNAPSHOT_LEVEL, SELL, 42, 10),
        (9, K.INCREASE, BUY, 41, 1),     # mid 41.5 at 10 s: moved 0.5
        (20, K.DECREASE, BUY, 41, 1),    # mid 41 at 20 s: moved -0.5
        (31, K.INCREASE, SELL, 41, 1),   # mid 41 at 30 s, 40.5 at 40 s: moved 0, then -0.5
        (40, K.INCREASE, BUY, 38, 1),
    )  # fmt: skip
    found = sessions.facts_of(session_of(moving))["volatility"]
    assert found == {"window_s": 10, "windows": 4, "cents": round(math.sqrt(3 * 0.25 / 4), 6)}


def test_crossed_bursts_are_counted(hand):
    """At 140 s an ask of 50 meets the bid of 50 until the rest of the burst takes it away."""
    assert hand["crossed"] == {"bursts": 1, "share": round(1 / 12, 6)}


def test_activity_bursts_and_quiet_periods():
    """Of thirteen windows most have ten bursts: two busy ones touch, and so do two of the quiet."""
    per_window = [10, 10, 2, 10, 10, 18, 18, 10, 10, 10, 2, 2, 10]
    rows = [(0, K.SNAPSHOT)]
    for window, count in enumerate(per_window):
        rows += [(window * 10 + (number + 1) / 10, K.INCREASE, BUY, 10, 1)
                 for number in range(count - (window == 0))]
    rows.append((130, K.INCREASE, BUY, 10, 1))
    found = sessions.facts_of(session_of(tape(*rows)))["activity"]
    mean, sd = statistics.fmean(per_window), statistics.pstdev(per_window)
    assert 2 < mean - sd < 10 < mean + 1.5 * sd < 18
    assert found == {
        "window_s": 10, "windows": 13, "mean": round(mean, 6), "activity_bursts": 1,
        "burst_share": round(2 / 13, 6), "quiet_periods": 2, "quiet_share": round(3 / 13, 6),
        "longest_quiet_s": 20.0,
    }


def test_the_end_is_hindsight(hand):
    """Status, result and payout stand apart from what else is known."""
    assert hand["hindsight"] == {
        "KXA-1": {"status": "settled", "result": "yes", "payout": "1.0000"}}
    other = HAND.copy()
    other["price"][-1] = 0
    changed = sessions.facts_of(session_of(other))
    assert changed.pop("hindsight") != hand.pop("hindsight")
    assert changed == hand, "and nothing else depends on it"


S = MarketStatus


@pytest.mark.parametrize(
    ("statuses", "stated"),
    [
        ([(S.CLOSED,)], ("closed", None, None)),
        ([(S.DETERMINED, 0)], ("determined", "no", "0.0000")),
        ([(S.SETTLED, 37)], ("settled", "scalar", "0.3700")),
        ([(S.SETTLED, 0, TapeFlag.VOID)], ("settled", "void", None)),
        ([(S.SETTLED, 0, TapeFlag.VOID), (S.SETTLED, 100)], ("settled", "yes", "1.0000")),
        ([(S.DETERMINED, 100), (S.DISPUTED,)], ("disputed", "yes", "1.0000")),
        ([(S.CLOSED,), (S.DISPUTED,)], ("disputed", None, None)),
        ([(S.CLOSED,), (S.OPEN,)], ("closed", None, None)),
        ([(S.SETTLED, 100), (S.DETERMINED, 0), (S.DISPUTED,)], ("settled", "yes", "1.0000")),
    ],
)
def test_the_result_is_what_the_rows_that_count_say(statuses, stated):
    """A void market has no payout, a disputed one that of its determination; a close is for good,
    and nothing but another settlement follows a settlement (semantics, section 7)."""
    rows = [(200 + second, K.STATUS, 0, *(payout or (0,)), to / 100, *flags)
            for second, (to, *rest) in enumerate(statuses)
            for payout, flags in [(rest[:1], rest[1:])]]
    session = session_of(np.concatenate([HAND[:-2], tape(*rows)]))
    assert tuple(sessions.facts_of(session)["hindsight"]["KXA-1"].values()) == stated
    missing = any(each.problem is sessions.Problem.NO_RESULT for each in check_up(session))
    assert missing == (stated[1] is None)


def test_the_score_is_the_product_of_its_parts(hand):
    """Each part by its formula, and a sentence with its number for each that is not 1."""
    found = hand["quality"]
    parts = {
        "trusted": 0.95, "quoted": (1 + 120 / 190) / 2, "continuous": 1 - 80 / 190 / 2,
        "uncrossed": 23 / 24, "joined": 0.75, "placed": 1 - 1 / 3 / 4, "timed": 1.0, "kept": 1.0,
    }
    assert found["parts"] == {name: round(value, 6) for name, value in parts.items()}
    assert found["score"] == round(math.prod(parts.values()), 6)
    assert found["reasons"] == [
        "1 gap: the book is not trusted until the next snapshot; it is trusted for 95.00% of the "
        "open time",
        "a bid and an ask stand for 63.16% of the trusted time",
        "1 silences of more than 60 s are 42.11% of the trusted time",
        "1 of 12 bursts pass through a crossed or locked book",
        "1 of 2 trades join no decrease: they fill no queue",
        "1 of 4 decreases have a guessed place in the queue",
    ]


def test_what_the_importer_knows_counts_too():
    """Lines that were refused or lost, and receive times that there were not."""
    facts = {"raw": {"snapshots": 2, "deltas": 15, "trades": 2}, "rejected": 1,
             "left_out": {"in_gap": 3, "duplicate": 5}, "receive_times": False}
    found = sessions.facts_of(session_of(HAND, **facts))["quality"]
    assert (found["parts"]["kept"], found["parts"]["timed"]) == (0.8, 0.75)
    assert "4 of 20 messages were refused or stand in a gap" in found["reasons"]
    assert "no receive times: recv is the exchange time" in found["reasons"]
    late = HAND.copy()
    late["recv"][3] = late["recv"][2] - 1
    assert quality(tallies(session_of(late))[0]).parts[6].value == 1 - 1 / 17


def test_a_pause_is_no_open_time():
    """Neither trusted nor quoted; and no silence."""
    rows = tape((0, K.SNAPSHOT), (0, K.SNAPSHOT_LEVEL, BUY, 40, 1), status(10, MarketStatus.PAUSED),
                status(110, MarketStatus.OPEN), (115, K.INCREASE, BUY, 40, 1))
    time = sessions.facts_of(session_of(rows))["time"]
    found = [time[name] for name in ("open_s", "paused_s", "trusted_s", "silences")]
    assert found == [15, 100, 15, 0]


def test_nothing_to_measure_is_none():
    """A market without rows, and a session without any, have facts too."""
    empty = session_of(HAND[:0])
    found = sessions.facts_of(empty)
    assert found["spread"] == {"mean_cents": None, "median_cents": None}
    assert found["rates"]["events_per_second"] is None
    assert found["quality"]["score"] == 0
    assert sessions.describe(empty)["markets"][0]["last_ts"] is None
    json.dumps(found, allow_nan=False)


def test_facts_of_a_session_are_added_over_its_markets():
    """Times and counts add up; diversity says how many equal markets it is like."""
    rows = np.concatenate([HAND, HAND, HAND[:3]])
    rows["market"] = np.repeat([0, 1, 2], [20, 20, 3])
    rows = rows[np.argsort(rows["ts"], kind="stable")]
    markets = (Market("KXA-1"), Market("KXA-2"), Market("KXB-1"))
    whole = Session(Tape(rows), markets, name="three")
    found = sessions.facts_of(whole)
    one = sessions.facts_of(session_of(HAND))
    for ticker in ("KXA-1", "KXA-2"):
        assert found["markets"][ticker] == one["markets"]["KXA-1"]
    assert found["time"]["trusted_s"] == 380 and found["events"] == 43
    assert found["spread"] == one["spread"]
    assert found["diversity"] == {"markets": 3, "series": 2,
                                  "effective_markets": round(43**2 / (400 + 400 + 9), 6)}


# A plain twin, and properties.


def drawn(seed: int, events: int = 500) -> Session:
    recorder = Recorder(random.Random(f"foldbook facts {seed}"), events)
    return Session(Tape(recorder.record()), recorder.specs, name=f"drawn-{seed}")


def twin(rows: list[tuple]) -> dict[str, object]:
    """Return the tally of one market, row by row in plain Python."""
    found: Counter[str] = Counter()
    spreads: Counter[int] = Counter()
    levels: tuple[dict, dict] = ({}, {})
    trusted = closed = paused = crossed = traded = False
    states = []
    last = None
    for number, (ts, recv, qty, ahead, price, _, kind, side, flags) in enumerate(rows):
        if kind in (K.SNAPSHOT, K.GAP) or (kind == K.STATUS and qty >= 2 and not closed):
            levels[0].clear(), levels[1].clear()
            if kind != K.STATUS:
                trusted = kind == K.SNAPSHOT
        if kind == K.STATUS and not closed:
            closed, paused = qty >= 2, qty == 1
        elif kind == K.SNAPSHOT_LEVEL:
            levels[side][price] = qty
        elif kind in (K.INCREASE, K.DECREASE):
            left = levels[side].get(price, 0) + (qty if kind == K.INCREASE else -qty)
            levels[side][price] = left
            if not left:
                del levels[side][price]
        bid, ask = max(levels[0], default=0), min(levels[1], default=PRICE_ONE)
        crossed |= bool(trusted and bid >= ask and levels[0] and levels[1])
        if kind == K.DECREASE and not traded:
            found["placed"] += 1
            found["guessed"] += bool(flags & TapeFlag.GUESSED or ahead < 0)
        traded = kind == K.TRADE and bool(flags & TapeFlag.JOINED)
        if kind == K.TRADE:
            found["joined"] += traded
            found["blocks"] += bool(flags & TapeFlag.BLOCK)
            found["volume"] += qty
        else:
            found["book_rows"] += 1
            found["backwards"] += last is not None and recv < last
            last = recv
        if number + 1 == len(rows) or rows[number + 1][0] != ts:
            states.append((ts, trusted, closed, paused, bid, ask))
            found["crossed"] += crossed
            crossed = False
    for (ts, trusted, closed, paused, bid, ask), after in zip(states, [*states[1:], None],
                                                               strict=True):
        stood = after[0] - ts if after else 0
        if closed:
            continue
        found["paused_ns" if paused else "open_ns"] += stood
        if not trusted or paused:
            continue
        found["trusted_ns"] += stood
        found["longest_ns"] = max(found["longest_ns"], stood)
        if stood > 60 * SECOND:
            found["silences"] += 1
            found["silent_ns"] += stood
        if bid and ask < PRICE_ONE and stood:
            found["quoted_ns"] += stood
            spreads[ask - bid] += stood
    return {"bursts": len(states), "events": len(rows), **found, "spreads": spreads,
            **windows_of(states)}


def windows_of(states: list[tuple], length: int = 10 * SECOND) -> dict[str, object]:
    """Return moves and activity, window by window and nanosecond-true, in plain Python."""
    start, end = states[0][0], states[-1][0]

    def at(ts):
        return max(number for number, state in enumerate(states) if state[0] <= ts)

    def good(state):
        return state[1] and not state[2] and not state[3]

    counts, squares, moves = [], 0, 0
    for begin in range(start, end - length + 1, length):
        through = range(at(begin), at(begin + length) + 1)
        inner = [n for n in through if states[n][0] < begin + length]
        if all(good(states[n]) for n in inner):
            counts.append((begin, sum(begin <= states[n][0] for n in inner)))
        if all(good(states[n]) and states[n][4] and states[n][5] < PRICE_ONE for n in through):
            first, last = states[through[0]], states[through[-1]]
            moves += 1
            squares += (last[4] + last[5] - first[4] - first[5]) ** 2
    values = [count for _, count in counts]
    busy, quiet = [], []
    if values:
        mean, sd = statistics.fmean(values), statistics.pstdev(values)
        busy = [begin for begin, count in counts if count > mean + 1.5 * sd]
        quiet = [begin for begin, count in counts if count < mean - sd]
    return {
        "moves": (moves, squares),
        "activity": (len(values), sum(values), len(busy), len(runs(busy, length)), len(quiet),
                     len(runs(quiet, length)), max(runs(quiet, length), default=0)),
    }


def runs(begins: list[int], length: int) -> list[int]:
    found: list[int] = []
    for number, begin in enumerate(begins):
        if number and begin == begins[number - 1] + length:
            found[-1] += 1
        else:
            found.append(1)
    return found


@pytest.mark.bounds
@pytest.mark.parametrize("seed", range(25))
def test_the_tally_is_that_of_a_plain_twin(seed):
    """Every integer, of every market, on tapes in which everything happens."""
    session = drawn(seed)
    for index, found in enumerate(tallies(session)):
        rows = session.tape.rows[session.tape.rows["market"] == index].tolist()
        if not rows:
            assert found == Tally()
            continue
        expected = twin(rows)
        assert attrs.astuple(found.moves) == expected.pop("moves"), f"seed {seed}"
        assert attrs.astuple(found.activity) == expected.pop("activity"), f"seed {seed}"
        for name, value in expected.items():
            assert getattr(found, name) == value, f"seed {seed}, market {index}: {name}"


@pytest.mark.parametrize("seed", range(25))
def test_the_facts_of_a_market_do_not_depend_on_its_company(seed):
    """Alone or beside others, the same facts, score included."""
    session = drawn(seed, 300)
    whole = sessions.facts_of(session)["markets"]
    for part in sessions.split(session):
        assert sessions.facts_of(part)["markets"][part.name] == whole[part.name]
        assert 0 <= whole[part.name]["quality"]["score"] <= 1


counts = st.integers(0, 10**6)


@st.composite
def made_tallies(draw: st.DrawFn) -> Tally:
    """Draw a tally that some recording could have."""
    open_ns = draw(counts)
    trusted = draw(st.integers(0, open_ns))
    placed, trades, bursts, rows = (draw(counts) for _ in range(4))
    joined = draw(st.integers(0, trades))
    kinds = Counter({int(K.TRADE): trades, int(K.DECREASE): placed + joined,
                     int(K.GAP): draw(st.integers(0, 3))})
    return Tally(
        kinds=kinds, bursts=bursts, crossed=draw(st.integers(0, bursts)), open_ns=open_ns,
        trusted_ns=trusted, quoted_ns=draw(st.integers(0, trusted)),
        silent_ns=draw(st.integers(0, trusted)), joined=joined, placed=placed,
        guessed=draw(st.integers(0, placed)), book_rows=rows,
        backwards=draw(st.integers(0, max(rows - 1, 0))),
    )


@settings(derandomize=True, deadline=None, max_examples=300)
@given(made_tallies(), st.integers(0, 100), st.integers(0, 100))
def test_the_score_and_each_part_are_within_0_and_1(tally, read, lost):
    """Whatever was recorded."""
    for times in (None, True, False):
        found = quality(tally, Capture(times, read, lost))
        assert 0 <= found.score <= 1
        assert all(0 <= part.value <= 1 for part in found.parts)
        assert len({part.name for part in found.parts}) == len(found.parts) == 8


WORSE = {
    "trusted": ("trusted_ns", -1), "quoted": ("quoted_ns", -1), "continuous": ("silent_ns", 1),
    "uncrossed": ("crossed", 1), "joined": ("joined", -1), "placed": ("guessed", 1),
    "timed": ("backwards", 1),
}


@settings(derandomize=True, deadline=None, max_examples=300)
@given(made_tallies(), st.sampled_from(sorted(WORSE)))
def test_a_worse_recording_never_scores_higher_in_its_part(tally, name):
    """Less trust, fewer quotes, more silence, guesses or crossings: the part does not rise."""
    field, step = WORSE[name]
    value = getattr(tally, field) + step
    limits = {"silent_ns": tally.trusted_ns, "crossed": tally.bursts, "guessed": tally.placed,
              "backwards": tally.book_rows}
    least = max(tally.quoted_ns, tally.silent_ns) if field == "trusted_ns" else 0
    if not least <= value <= limits.get(field, value):
        return
    before, after = (
        {part.name: part.value for part in quality(each).parts}[name]
        for each in (tally, attrs.evolve(tally, **{field: value}))
    )
    assert after <= before


def test_a_recording_with_a_hole_scores_lower():
    """The same recording with ten seconds lost: trusted falls, and the score with it."""
    session = synthetic.session(seed=2, events=6000, minutes=5)
    rows = session.tape.rows
    begin = session.start + 100 * SECOND
    parts = [sessions.slice_of(session, until=begin),
             sessions.slice_of(session, since=begin + 10 * SECOND)]
    holed = sessions.facts_of(sessions.merge(parts))["quality"]
    whole = sessions.facts_of(session)["quality"]
    assert holed["parts"]["trusted"] < whole["parts"]["trusted"] == 1
    assert holed["score"] < whole["score"]
    assert len(rows)


def test_a_thin_recording_of_years_costs_no_memory_of_its_windows():
    """Two bursts, thirty years apart: a hundred million windows are counted, not stored."""
    rows = tape((0, K.SNAPSHOT), (0, K.SNAPSHOT_LEVEL, BUY, 40, 1), (10**9, K.INCREASE, BUY, 40, 1))
    found = sessions.facts_of(session_of(rows))["activity"]
    assert (found["windows"], found["activity_bursts"]) == (10**8, 1)
