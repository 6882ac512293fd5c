"""When tape rows reach the agent, and how delays are laid out for the kernels, by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldbook.engine.delivery import TIME_MAX, delays_table, delivery_times
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import NO_TIME, TAPE_DTYPE
from foldbook.engine.specs import DELAY_MAX, NO_DELAY, Delay, Feed, Latency


def tape(*rows: tuple[int, int, int]) -> np.ndarray:
    """Return tape rows from (market, ts, recv)."""
    made = np.zeros(len(rows), TAPE_DTYPE)
    for row, (market, ts, recv) in zip(made, rows, strict=True):
        row["market"], row["ts"], row["recv"] = market, ts, recv
    return made


@pytest.mark.parametrize(
    ("rows", "feed", "expected"),
    [
        # Offset 5 from the first row on: delays 0, 2, 0.
        ([(0, 10, 15), (0, 20, 27), (0, 30, 35)], Feed.RECORDED, [10, 22, 30]),
        # A smaller difference lowers the offset from there on, never before: delays 0, 0, 4.
        ([(0, 10, 15), (0, 20, 21), (0, 30, 35)], Feed.RECORDED, [10, 20, 34]),
        # Received before it happened, by the recorder's clock: offset -7, and delays 0, 7.
        ([(0, 10, 3), (0, 20, 20)], Feed.RECORDED, [10, 27]),
        # A burst waits for its latest row; the offset falls within it: delays 0, 3, and 0, 6.
        ([(0, 10, 15), (0, 10, 18), (0, 30, 31), (0, 30, 37)], Feed.RECORDED, [13, 13, 36, 36]),
        # The same ts in another market is another burst; it is not delivered before the first.
        ([(0, 10, 15), (0, 10, 18), (1, 10, 15)], Feed.RECORDED, [13, 13, 13]),
        # The same market twice at one ts with another between: three bursts.
        ([(0, 10, 15), (1, 10, 16), (0, 10, 19)], Feed.RECORDED, [10, 11, 14]),
        # A late row holds back what comes behind it: never before an earlier one.
        ([(0, 10, 15), (0, 20, 75), (0, 30, 36)], Feed.RECORDED, [10, 70, 70]),
        ([(0, 10, 99), (0, 10, 15), (1, 30, 3)], Delay.constant(7), [17, 17, 37]),
        ([(0, 10, 99)], NO_DELAY, [10]),
        ([], Feed.RECORDED, []),
    ],
)
def test_hand_checked_tapes(rows, feed, expected):
    """Offset, burst and order of delivery, each worked out by hand."""
    times = delivery_times(tape(*rows), feed)
    assert times.dtype == np.int64 and times.tolist() == expected


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(-40, 40)), min_size=1, max_size=40
)


def walk(steps) -> np.ndarray:
    """Return a tape from (market, ns since the row before, delay with noise)."""
    ts, rows = 1000, []
    for market, gap, noise in steps:
        ts += gap
        rows.append((market, ts, ts + 50 + noise))
    return tape(*rows)


def by_rule(rows: np.ndarray) -> list[int]:
    """Return what section 10 says, row by row."""
    offset, last, delivered = NO_TIME, 0, []
    first = 0
    for number, row in enumerate(rows):
        offset = min(offset, int(row["recv"] - row["ts"]))
        delivered.append(int(row["ts"]) + max(0, int(row["recv"] - row["ts"]) - offset))
        follows = rows[number + 1 : number + 2]
        if len(follows) == 0 or (follows["ts"][0], follows["market"][0]) != (
            row["ts"],
            row["market"],
        ):
            last = max(last, *delivered[first:])
            delivered[first:] = [last] * (number + 1 - first)
            first = number + 1
    return delivered


@given(ROWS)
def test_recorded_feed_is_section_10(steps):
    """The arrays say what the rule says row by row; delivery never falls nor precedes the event."""
    rows = walk(steps)
    times = delivery_times(rows, Feed.RECORDED)
    assert times.tolist() == by_rule(rows)
    assert (times >= rows["ts"]).all() and (np.diff(times) >= 0).all()


@given(ROWS, ROWS)
def test_what_comes_later_changes_no_delivery(steps, more):
    """Rows appended to a tape leave the delivery of every finished burst as it was."""
    rows = walk([*steps, *more])
    before = walk(steps)
    after = delivery_times(rows, Feed.RECORDED)[: len(steps)]
    last = (rows["ts"] == before["ts"][-1]) & (rows["market"] == before["market"][-1])
    finished = len(steps)
    if last[len(steps)]:
        while finished and last[finished - 1]:
            finished -= 1
    assert (after[:finished] == delivery_times(before, Feed.RECORDED)[:finished]).all()


@given(ROWS, st.integers(-30, 1000))
def test_clocks_that_disagree_cancel_out(steps, apart):
    """A constant between the recorder's clock and the exchange's changes nothing."""
    rows = walk(steps)
    shifted = rows.copy()
    shifted["recv"] += apart
    feed = Feed.RECORDED
    assert (delivery_times(rows, feed) == delivery_times(shifted, feed)).all()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([(0, 10, 15), (0, 20, -1)], "row 1: recv -1 is not from 0"),
        ([(0, -1, 15)], "row 0: ts -1 is not from 0"),
        ([(0, 10, TIME_MAX)], f"row 0: recv {TIME_MAX} is not"),
    ],
)
def test_impossible_times_are_named(rows, text):
    """Times whose differences could leave int64 are the data's fault, with the row."""
    with pytest.raises(TapeError, match=text):
        delivery_times(tape(*rows), Feed.RECORDED)


def test_other_rows_are_refused():
    """Rows of another type are no tape."""
    with pytest.raises(TapeError, match="not TAPE_DTYPE"):
        delivery_times(np.zeros(3, np.int64), Feed.RECORDED)


def test_two_million_rows_take_no_time():
    """No Python per row: two million rows in a fraction of a second (100 ms on an idle core)."""
    rows = np.zeros(2_000_000, TAPE_DTYPE)
    rows["ts"] = np.arange(len(rows)) // 3 * 1000
    rows["recv"] = rows["ts"] + np.arange(len(rows)) % 977
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        times = delivery_times(rows, Feed.RECORDED)
        taken.append(time.perf_counter() - began)
    assert times[-1] >= rows["ts"][-1]
    assert min(taken) < 0.5


def test_delays_table_by_hand():
    """Header: four times (mode, n, offset). Data: the delay, n delays, or n times and n delays."""
    latency = Latency(
        order=Delay.empirical(["1us", 2000, "3us"]),
        amend=Delay.constant(5),
        cancel=Delay.recorded([100, 200], [7, 8]),
        response=Delay.recorded([50], [9]),
    )
    assert delays_table(latency).tolist() == [
        1, 3, 12,
        0, 1, 15,
        2, 2, 16,
        2, 1, 20,
        1000, 2000, 3000,
        5,
        100, 200, 7, 8,
        50, 9,
    ]  # fmt: skip
    assert delays_table(Latency()).dtype == np.int64


@given(st.lists(st.integers(0, DELAY_MAX), min_size=1, max_size=20), st.data())
def test_delays_table_holds_what_went_in(values, data):
    """Every delay stands where the header says, whatever the others are."""
    times = sorted(data.draw(st.sets(st.integers(0, 10**18), min_size=len(values),
                                     max_size=len(values))))  # fmt: skip
    delays = [Delay(tuple(values)), Delay(tuple(values), tuple(times)), Delay.constant(values[0])]
    order = data.draw(st.permutations([*delays, NO_DELAY]))
    words = delays_table(Latency(*order)).tolist()
    for delay, at in zip(order, range(0, 12, 3), strict=True):
        mode, n, offset = words[at : at + 3]
        assert mode == (2 if delay.times else 1 if len(delay.values) > 1 else 0)
        body = words[offset : offset + n * (2 if mode == 2 else 1)]
        assert body == [*delay.times, *delay.values]
    assert len(words) == 12 + sum(len(each.times) + len(each.values) for each in order)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Delay.empirical([5, -1]), ValueError, "delay row 1: -1 ns"),
        (lambda: Delay.empirical([5, DELAY_MAX + 1]), ValueError, "delay row 1: .*one day"),
        (lambda: Delay.empirical([2**63]), ValueError, "delay row 0"),
        (lambda: Delay.empirical([]), ValueError, "no rows"),
        (lambda: Delay.empirical([5, 0.5]), ValueError, "delay row 1: duration: 0.5"),
        (lambda: Delay.empirical([5, "5 parsecs"]), ValueError, "delay row 1: duration"),
        (lambda: Delay((5, 0.5)), TypeError, "delay row 1: 0.5 is a float"),
        (lambda: Delay((True,)), TypeError, "delay row 0: True is a bool"),
        (lambda: Delay.recorded([1, 1], [5, 6]), ValueError, "delay row 1: time 1 is not after 1"),
        (lambda: Delay.recorded([2, 1], [5, 6]), ValueError, "delay row 1: time 1 is not after 2"),
        (lambda: Delay.recorded([-1], [5]), ValueError, "delay row 0: time -1"),
        (lambda: Delay.recorded([2**63], [5]), ValueError, "delay row 0: time"),
        (lambda: Delay.recorded([1.5], [5]), TypeError, "delay row 0: 1.5 is a float"),
        (lambda: Delay.recorded([1], [5, 6]), ValueError, "1 times for 2 values"),
        (lambda: Delay.recorded([], [5]), ValueError, "needs the time of each row"),
        (lambda: Delay.constant(-1), ValueError, "delay row 0: -1"),
        (lambda: Latency(order=5), TypeError, "order is 5; expected a Delay"),
        (lambda: Latency(feed="recorded"), TypeError, "feed is 'recorded'"),
        (lambda: Latency(feed=Delay.empirical([1, 2])), ValueError, "feed's delay is constant"),
        (lambda: Latency(feed=Delay.recorded([1], [2])), ValueError, "feed's delay is constant"),
    ],
)
def test_bad_tables_are_named(make, error, text):
    """Negative rows, times out of order, floats and wide numbers: an error that names the row."""
    with pytest.raises(error, match=text):
        make()


def test_measured_delays_may_come_as_an_array():
    """NumPy integers are integers; what is kept is plain ints."""
    delay = Delay.empirical(np.array([3, 4], np.int32))
    assert delay.values == (3, 4) and all(type(value) is int for value in delay.values)
