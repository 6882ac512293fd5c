"""hftbacktest as an environment, the fastest way that its interface allows: a compiled step.

There is no environment of its own. It cannot begin in the middle of a recording, so windows are
prepared, each with a snapshot of the book where it begins, and an episode begins in one of them. A
step lasts as long as ten events take on average, which is cheaper for it than waiting for ten.
"""

import driving
import numpy as np
from drive_hft import backtest, events_of
from hftbacktest import GTC, LIMIT
from numba import njit
from numba.typed import List

WINDOWS = 64
STEPS = 1000
EVENTS_A_STEP = 10


@njit
def act(hbt, state, action, step, observation):
    """Cancel the own order, send what the action says, go on, and write the four numbers."""
    hbt.clear_inactive_orders(0)
    depth = hbt.depth(0)
    own = np.int64(state[0])
    if own:
        order = hbt.orders(0).get(own)
        if order is not None and order.cancellable:
            hbt.cancel(0, own, False)
        state[0] = 0
    bid, ask = depth.best_bid_tick, depth.best_ask_tick
    if action and bid >= 1 and ask <= 99:
        number = np.int64(state[1]) + 1
        if action == 1 or action == 4:
            hbt.submit_buy_order(0, number, ask * 0.01, 10.0, GTC, LIMIT, False)
        else:
            hbt.submit_sell_order(0, number, bid * 0.01, 10.0, GTC, LIMIT, False)
        state[0] = state[1] = number
    over = hbt.elapse(step) != 0
    depth = hbt.depth(0)
    bids, asks = depth.best_bid_qty, depth.best_ask_qty
    mid = (depth.best_bid + depth.best_ask) / 2
    position = hbt.position(0)
    observation[0] = mid
    observation[1] = (depth.best_ask - depth.best_bid) * 10
    observation[2] = (bids - asks) / (bids + asks) if bids + asks > 0 else 0.0
    observation[3] = position / (abs(position) + 100)
    value = hbt.state_values(0).balance + position * mid
    reward = value - state[2]
    state[2] = value
    state[3] += 1
    return reward, over or state[3] >= 1000


@njit
def act_all(all_of_them, states, actions, step, observations, rewards, dones):
    """Step every backtest."""
    for i in range(len(all_of_them)):
        rewards[i], dones[i] = act(all_of_them[i], states[i], actions[i], step, observations[i])


def windows_of(columns):
    """Return arrays of events that begin with a snapshot, and the ns that ten events take."""
    count = len(columns["ts"])
    size = min(count, (STEPS + 200) * EVENTS_A_STEP)
    starts = np.linspace(0, max(0, count - size), WINDOWS).astype(int)
    book, before, made = np.zeros((2, 101), np.int64), 0, []
    for start in starts:
        part = slice(before, start)
        at = columns["kind"][part] != driving.TRADE
        np.add.at(
            book, (columns["side"][part][at], columns["price"][part][at]),
            columns["change"][part][at],
        )  # fmt: skip
        before = start
        side, price = np.nonzero(book)
        head = {"kind": np.zeros(len(side), np.uint8), "side": side, "price": price,
                "level": book[side, price],
                "ts": np.full(len(side), columns["ts"][start]),
                "recv": np.full(len(side), columns["recv"][start])}  # fmt: skip
        body = slice(start, start + size)
        made.append(
            events_of({name: np.concatenate([head[name], columns[name][body]]) for name in head})
        )
    span = int(columns["ts"][-1] - columns["ts"][0])
    return made, span * EVENTS_A_STEP // count


def main():
    given = driving.arguments()
    windows, step_ns = windows_of(driving.load(given.feed, given.limit))
    many = given.envs if given.mode == "vector" else 1
    draws = np.random.default_rng(7)
    states, observations = np.zeros((many, 4)), np.zeros((many, 4), np.float32)

    def begun(i):
        states[i] = 0
        hbt = backtest(windows[draws.integers(len(windows))], "roi")
        hbt.elapse(2 * driving.FEED_DELAY)
        return hbt

    backtests = [begun(i) for i in range(many)]
    actions = np.random.default_rng(0).integers(0, 5, (256, many))

    def step_one(i):
        _, done = act(backtests[0], states[0], actions[i & 255, 0], step_ns, observations[0])
        if done:
            backtests[0].close()
            backtests[0] = begun(0)

    listed = List(backtests) if given.mode == "vector" else None
    rewards, dones = np.zeros(many), np.zeros(many, np.bool_)

    def step_all(i):
        act_all(listed, states, actions[i & 255], step_ns, observations, rewards, dones)
        if dones.any():
            for k in np.flatnonzero(dones):
                listed[k].close()
                listed[k] = begun(k)

    step = step_one if listed is None else step_all
    _, first, _ = driving.timed(step, 0)
    assert 0 < observations[0, 0] < 1, "the first step shows no book"
    driving.serve(
        driving.step_for(given.seconds, step, many), first_call_seconds=first,
        events=sum(map(len, windows)), versions=driving.versions("hftbacktest", "numba", "numpy"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
