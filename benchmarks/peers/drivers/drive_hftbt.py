"""hftbt: a compiled engine with hftbacktest's manner of speaking; one clock, no latency at all."""

import driving
import numpy as np
from drive_hft import events_of
from hftbt import GTX, LIMIT
from hftbt.fast import FastHBT
from numba import njit

MINUTE = 60_000_000_000


@njit
def replay(hbt, step, qty, limit):
    """Elapse to the end; nothing is decided."""
    steps = 0
    while hbt.elapse(step) == 0:
        steps += 1
    return steps, 0, 0


@njit
def make(hbt, step, qty, limit):
    """Each step cancel both own orders and quote both best prices; an order's id is its price."""
    steps, submits, cancels, bid, ask = 0, 0, 0, -1, -1
    while hbt.elapse(step) == 0:
        steps += 1
        waiting = hbt.orders(0).values()
        while waiting.has_next():
            order = waiting.get()
            if order.order_id in (bid, 1000 + ask):
                hbt.cancel(0, order.order_id, False)
                cancels += 1
        depth = hbt.depth(0)
        bid, ask, position = depth.best_bid_tick, depth.best_ask_tick, hbt.position(0)
        if 1 <= bid <= 99 and position < limit:
            hbt.submit_buy_order(0, bid, bid * 0.01, qty, GTX, LIMIT, False)
            submits += 1
        if 1 <= ask <= 99 and position > -limit:
            hbt.submit_sell_order(0, 1000 + ask, ask * 0.01, qty, GTX, LIMIT, False)
            submits += 1
    return steps, submits, cancels


@njit
def final_book(hbt):
    """Return the book, contracts by cents."""
    book = np.zeros((2, 101))
    for price in hbt.bids:
        book[0, round(price * 100)] = hbt.bids[price]
    for price in hbt.asks:
        book[1, round(price * 100)] = hbt.asks[price]
    return book


def backtest(events):
    """Return a run over events, a copy of each of whose columns the engine wants."""
    columns = [events["ev"].astype(np.int64), events["local_ts"].astype(np.int64)]
    columns += [events["px"].astype(np.float64), events["qty"].astype(np.float64)]
    return FastHBT(*columns, 0.01, 0.01, 0.0, 2, 1.0, 16384, MINUTE)


def main():
    given = driving.arguments()
    columns = driving.load(given.feed, given.limit)
    events = events_of(columns)
    loop = {"replay": replay, "maker": make}[given.mode]

    def run(part):
        hbt = backtest(part)
        counts, wall, cpu = driving.timed(
            loop, hbt, driving.STEP, driving.QTY, driving.LIMIT
        )
        book = np.rint(final_book(hbt) * 100).astype(np.int64)
        return book, {
            "work": len(part), "wall": wall, "cpu": cpu, "steps": counts[0],
            "submits": counts[1], "cancels": counts[2], "fills": int(hbt.fill_count),
            "position": float(hbt.position_value),
        }  # fmt: skip

    _, first, _ = driving.timed(run, events[:2000].copy())

    def measured():
        book, answer = run(events)
        answer["book"] = driving.same_book(columns, book[0], book[1])
        return answer

    driving.serve(
        measured, first_call_seconds=first, events=len(events),
        versions=driving.versions("hftbt", "numba", "numpy"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
