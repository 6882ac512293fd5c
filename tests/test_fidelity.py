"""The measurement of queue models, on streams of a few orders that can be followed by hand."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from workloads import TapeBuilder

from foldbook.benchmarks.fidelity import bitstamp, generated, gold, queue_models
from foldbook.benchmarks.fidelity.queue_models import ORDER_EVENT, Model
from foldbook.engine.schema import Side, TapeFlag, TapeKind
from foldbook.engine.units import MILLISECOND, SECOND

K = TapeKind
TRADE, CHANGE = 1, 0


def stream(*events: tuple[int, int, int, int, int]) -> np.ndarray:
    """Return events from (second, order, before, after, is_trade), all at one bid price."""
    return np.array([(second * SECOND, order, before, after, 5, Side.BUY, is_trade)
                     for second, order, before, after, is_trade in events], ORDER_EVENT)


FOLLOWED = stream(
    (0, 0, 0, 50, CHANGE),
    (1, 1, 0, 30, CHANGE),
    (2, 2, 0, 20, CHANGE),
    (3, 3, 0, 10, CHANGE),
    (4, 1, 30, 0, CHANGE),
    (5, 0, 50, 0, TRADE),
    (6, 2, 20, 0, TRADE),
)
"""Order 2 comes behind 50 and 30; 10 come behind it; 30 leave, 50 trade, and then it trades."""


def scores(events: np.ndarray, order: int) -> dict[str, queue_models.Score]:
    found = queue_models.measure(events, 1, np.array([order]))
    return {score.model: score for score in queue_models.summary("test", [found]).models}


@pytest.mark.parametrize(
    ("model", "after_cancel", "after_trade"),
    [("conservative", 60, 10), ("proportional", 54, 4), ("power 2", 51, 1), ("power 3", 51, 1),
     ("log", 60, 10), ("rebuilt", 50, 0), ("weighted", 50, 0), ("true", 50, 0)],
)
def test_one_order_is_followed(model, after_cancel, after_trade):
    """Of the 30, 26 (30 x 80/90), 29 (x 6400/6500), 29 (x 512/513) and 19 (x log 81 / (log 81 +
    log 11)) are taken from the 80 ahead, and no more than the level's 60 can stand ahead then."""
    score = scores(FOLLOWED, 2)[model]
    errors = [after_cancel - 50, after_trade]
    assert score.error == score.bias == pytest.approx(sum(errors) / 80 / 2)
    assert (score.f1, score.late) == (1, 0)


def test_who_is_tested():
    """Order 1 sees no decrease, 0 came first, 3 has come to an end of the data: 2 and 3 are."""
    found = queue_models.measure(FOLLOWED, 1)
    assert found.truth.tolist() == [6 * SECOND, -1]
    brief = FOLLOWED.copy()
    brief["ts"] = brief["ts"] // 10
    assert len(queue_models.measure(brief, 1).truth) == 0


def test_several_orders_share_by_age():
    """30 that are 3 s old stand ahead, 30 that are 1 s old behind; the latter leave. The newest is
    right; weighted, 30 x (1/3.1) / (1/3.1 + 1/1.1) = 7 are taken from the 70 ahead."""
    found = scores(stream(
        (0, 0, 0, 40, CHANGE), (1, 1, 0, 30, CHANGE), (2, 2, 0, 20, CHANGE),
        (3, 3, 0, 30, CHANGE), (4, 3, 30, 0, CHANGE), (5, 2, 20, 0, CHANGE),
    ), 2)  # fmt: skip
    assert found["rebuilt"].error == 0
    assert found["weighted"].bias == pytest.approx(-7 / 70)


def test_a_late_fill_is_late():
    """The queue is emptied behind the conservative order's back: it is filled 3 s after the true
    one, and that is too late to count."""
    found = scores(stream(
        (0, 0, 0, 50, CHANGE), (1, 1, 0, 20, CHANGE), (2, 2, 0, 90, CHANGE),
        (3, 0, 50, 0, CHANGE), (4, 1, 20, 0, TRADE), (7, 2, 90, 0, TRADE),
    ), 1)  # fmt: skip
    assert (found["true"].f1, found["true"].late) == (1, 0)
    assert (found["conservative"].recall, found["conservative"].late) == (0, 3)


def test_a_sweep_fills_what_it_goes_through():
    """Two orders at 5 (a bid), the conservative one behind 50 that are gone; the taker of order 1
    goes on to 4 in the same burst: in a backtest that is a fill at the latest."""
    events = stream(
        (0, 0, 0, 50, CHANGE), (0, 9, 0, 70, CHANGE), (1, 1, 0, 20, CHANGE), (2, 2, 0, 90, CHANGE),
        (3, 0, 50, 0, CHANGE), (4, 1, 20, 0, TRADE), (4, 2, 90, 0, TRADE), (4, 9, 70, 60, TRADE),
    )  # fmt: skip
    events["price"][events["order"] == 9] = 4
    found = queue_models.measure(events, 2, np.array([1]))
    scores = {score.model: score for score in queue_models.summary("test", [found]).models}
    assert (scores["conservative"].f1, scores["conservative"].f1_through) == (0, 1)
    events["ts"][-1] += 1
    found = queue_models.measure(events, 2, np.array([1]))
    assert queue_models.summary("test", [found]).models[0].f1_through == 0


def test_coarse_sizes_keep_every_order():
    """Rounded up, so that nothing that rests vanishes; a change within a step does."""
    events = stream((0, 0, 0, 11, CHANGE), (1, 0, 11, 10, TRADE), (2, 0, 10, 4, TRADE))
    rounded = queue_models.coarse(events, 5)
    assert rounded[["before", "after"]].tolist() == [(0, 15), (15, 10), (10, 5)]
    assert len(queue_models.coarse(events, 20)) == 1


ORDERS = """id,timestamp,exchange_timestamp,price,volume,action,direction
1,0,1000,100.0,1.0,created,bid
2,0,1000,101.0,0.5,created,ask
9,0,1500,99.0,0.0,deleted,bid
3,0,2000,102.0,0.8,created,bid
3,0,2000,101.0,0.3,changed,bid
2,0,2000,101.0,0.0,deleted,ask
1,0,2500,100.0,0.6,changed,bid
3,0,3000,102.0,0.3,deleted,bid
"""
TRADES = """trade_id,timestamp,exchange_timestamp,price,amount,buy_order_id,sell_order_id,side
7,0,2000,101.0,0.5,3,2,buy
"""


def test_a_recording_is_read(tmp_path):
    """A taker of 0.8 rests with 0.3 at its limit; its trade is order 2's; order 9 is unknown."""
    with gzip.open(tmp_path / "orders.csv.gz", "wt") as file:
        file.write(ORDERS)
    (tmp_path / "trades.csv").write_text(TRADES)
    events, opening = bitstamp.recorded(tmp_path)
    million = 1_000_000
    assert opening == 2
    assert [(ts // MILLISECOND, *rest) for ts, *rest in events.tolist()] == [
        (1000, 0, 0, 100 * million, 2, Side.BUY, 0),
        (1000, 1, 0, 50 * million, 3, Side.SELL, 0),
        (2000, 2, 0, 30 * million, 4, Side.BUY, 0),
        (2000, 1, 50 * million, 0, 3, Side.SELL, 1),
        (2500, 0, 100 * million, 60 * million, 2, Side.BUY, 0),
        (3000, 2, 30 * million, 0, 4, Side.BUY, 0),
    ]


def test_fates_are_known_where_one_order_fits():
    """10, 20, 20 and 30 arrive behind 50. The cancel of 10 and the trade of 30 are known, though
    30 is not in front; of the 20s neither is, nor 5 that leave the 50."""
    tape = TapeBuilder()
    tape.add(0, K.SNAPSHOT)
    tape.add(0, K.SNAPSHOT_LEVEL, Side.BUY, 4000, 50)
    for qty in (10, 20, 20, 30):
        tape.add(1, K.INCREASE, Side.BUY, 4000, qty)
    for qty in (10, 20, 5):
        tape.add(2, K.DECREASE, Side.BUY, 4000, qty)
    tape.add(3, K.TRADE, Side.BUY, 4000, 30, flags=TapeFlag.JOINED)
    tape.add(3, K.DECREASE, Side.BUY, 4000, 30)
    tape.add(4, K.SNAPSHOT)
    events, opening, known = gold.inferred(tape.rows())
    assert (opening, known.tolist()) == (1, [1, 4])
    assert events[["order", "before", "after", "is_trade"]].tolist()[5:] == [
        (1, 10, 0, 0), (3, 20, 0, 0), (0, 50, 45, 0), (4, 30, 0, 1)
    ]


def test_generated_events_are_a_book():
    """Each order goes on from what it had, trades take the oldest of the best level, and the same
    size gives the same events."""
    events, opening = generated.order_events(3000)
    left: dict[int, int] = {}
    where: dict[int, tuple[int, int]] = {}
    for _, order, before, after, price, side, is_trade in events.tolist():
        assert left.get(order, 0) == before
        if is_trade:
            sign = -1 if side == Side.BUY else 1
            rivals = [(sign * other[1], number) for number, other in where.items()
                      if other[0] == side and left[number] > 0]
            assert (sign * price, order) == min(rivals)
        left[order], where[order] = after, (side, price)
    assert opening == generated.ORDERS
    assert generated.order_events(3000)[0].tobytes() == events.tobytes()


def test_every_model_is_shown():
    """The tables of a benchmark have one row for each model, and say which data were used."""
    figures = bitstamp.fidelity_bitstamp(2000)
    answer = figures.run()
    figures.check(answer)
    shown = figures.tables(answer)
    assert [title.partition(":")[0][:9] for title in shown] == ["generated"] * 2
    assert [len(rows) for rows in shown.values()] == [len(Model)] * 2
