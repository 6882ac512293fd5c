"""hftbacktest (and pm-hftbacktest, of the same import name), as its documentation says: compiled
loops over an array of events, region-of-interest depth or hash depth, no partial fills, the
risk-averse queue, constant order latency."""

import driving
import hftbacktest
import numpy as np
from hftbacktest import GTX, LIMIT
from hftbacktest.types import (
    BUY_EVENT,
    DEPTH_EVENT,
    DEPTH_SNAPSHOT_EVENT,
    EXCH_EVENT,
    LOCAL_EVENT,
    SELL_EVENT,
    TRADE_EVENT,
    event_dtype,
)
from numba import njit

FILLED = 3
LOT = 0.01


def events_of(columns):
    """Return the feed as hftbacktest's events; sizes of levels are absolute there."""
    events = np.zeros(len(columns["ts"]), event_dtype)
    kinds = np.array([DEPTH_SNAPSHOT_EVENT, DEPTH_EVENT, TRADE_EVENT], np.uint64)
    sides = np.array([BUY_EVENT, SELL_EVENT], np.uint64)
    both = np.uint64(EXCH_EVENT) | np.uint64(LOCAL_EVENT)
    events["ev"] = kinds[columns["kind"]] | sides[columns["side"]] | both
    events["exch_ts"], events["local_ts"] = columns["ts"], columns["recv"]
    events["px"], events["qty"] = columns["price"] / 100, columns["level"] / 100
    return events


def backtest(events, depth):
    """Return a backtest of one asset over events."""
    asset = (
        hftbacktest.BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .tick_size(0.01)
        .lot_size(LOT)
        .roi_lb(0.0)
        .roi_ub(1.0)
        .constant_order_latency(driving.ORDER_DELAY, driving.ORDER_DELAY)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
    )
    if depth == "roi":
        return hftbacktest.ROIVectorMarketDepthBacktest([asset])
    return hftbacktest.HashMapMarketDepthBacktest([asset])


@njit
def replay(hbt, step, qty, limit, fills):
    """Elapse to the end; nothing is decided."""
    steps = 0
    while hbt.elapse(step) == 0:
        steps += 1
    return steps, 0, 0, 0


@njit
def note_fills(hbt, fills, filled):
    """Write down the orders that have been filled since the last look: ts, side, price, number."""
    waiting = hbt.orders(0).values()
    while waiting.has_next():
        order = waiting.get()
        if order.status == FILLED:
            fills[filled, 0] = order.exch_timestamp
            fills[filled, 1] = 0 if order.side == 1 else 1
            fills[filled, 2] = order.price_tick
            fills[filled, 3] = order.order_id
            filled += 1
    return filled


@njit
def make(hbt, step, qty, limit, fills):
    """Each step cancel both own orders and quote both best prices, post-only."""
    number, steps, cancels, filled = 1, 0, 0, 0
    own = np.zeros(2, np.int64)
    while hbt.elapse(step) == 0:
        steps += 1
        if len(fills):
            filled = note_fills(hbt, fills, filled)
        hbt.clear_inactive_orders(0)
        orders = hbt.orders(0)
        for side in range(2):
            if own[side]:
                order = orders.get(own[side])
                if order is not None and order.cancellable:
                    hbt.cancel(0, own[side], False)
                    cancels += 1
                own[side] = 0
        depth = hbt.depth(0)
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        position = hbt.position(0)
        if 1 <= bid <= 99 and position < limit:
            hbt.submit_buy_order(0, number, bid * 0.01, qty, GTX, LIMIT, False)
            own[0] = number
            number += 1
        if 1 <= ask <= 99 and position > -limit:
            hbt.submit_sell_order(0, number, ask * 0.01, qty, GTX, LIMIT, False)
            own[1] = number
            number += 1
    return steps, number - 1, cancels, filled


@njit
def final_book(hbt):
    """Return the local book, contracts by cents."""
    book = np.zeros((2, 101))
    depth = hbt.depth(0)
    for cent in range(1, 100):
        book[0, cent] = depth.bid_qty_at_tick(cent)
        book[1, cent] = depth.ask_qty_at_tick(cent)
    return book


def whole(book):
    """Return a book of contracts, shape (2, 101), in 0.01 contract; exact, or it is refused."""
    units = np.rint(book * 100).astype(np.int64)
    assert np.allclose(units / 100, book, atol=1e-6), "a level is no multiple of 0.01 contract"
    return units


def main():
    given = driving.arguments(("--depth", "roi"), ("--qty", driving.QTY), ("--noted", 0))
    columns = driving.load(given.feed, given.limit)
    events = events_of(columns)
    count = len(events)
    final = {"bids": columns["bids"], "asks": columns["asks"]}
    del columns
    loop = {"replay": replay, "maker": make}[given.mode]
    limit = 50 * given.qty

    def run(part, noted):
        hbt = backtest(part, given.depth)
        fills = np.zeros((noted, 4), np.int64)
        counts, wall, cpu = driving.timed(loop, hbt, driving.STEP, given.qty, limit, fills)
        values = hbt.state_values(0)
        answer = {
            "work": len(part), "wall": wall, "cpu": cpu, "steps": counts[0],
            "submits": counts[1], "cancels": counts[2], "fills": values.num_trades,
            "position": hbt.position(0), "noted": fills[: counts[3]].tolist(),
        }  # fmt: skip
        book = whole(final_book(hbt))
        hbt.close()
        return answer, book

    # The first call compiles; it gets a copy of the first events.
    _, first, _ = driving.timed(run, events[:2000].copy(), 1000 if given.noted else 0)

    def measured():
        answer, book = run(events, given.noted)
        answer["book"] = driving.same_book(final, book[0], book[1])
        return answer

    names = ("hftbacktest", "pm-hftbacktest", "numba", "numpy")
    driving.serve(
        measured, first_call_seconds=first, events=count, versions=driving.versions(*names)
    )


if __name__ == "__main__":
    main()
