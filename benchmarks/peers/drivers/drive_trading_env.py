"""gym-trading-env over bars of one second of the feed's trades, random actions, no fees."""

import driving
import numpy as np
import pandas
from gym_trading_env.environments import TradingEnv

SECOND = 1_000_000_000


def bars(columns):
    """Return open, high, low, close and volume by second, with the features of its guide."""
    at = columns["kind"] == driving.TRADE
    seconds = (columns["ts"] - columns["ts"][0]) // SECOND
    trades = pandas.DataFrame(
        {"second": seconds[at], "price": columns["price"][at] / 100, "qty": columns["level"][at]}
    ).groupby("second")
    table = trades.agg(
        open=("price", "first"), high=("price", "max"), low=("price", "min"),
        close=("price", "last"), volume=("qty", "sum"),
    ).reindex(range(int(seconds[-1]) + 1))  # fmt: skip
    table["volume"] = table["volume"].fillna(0)
    table["close"] = table["close"].ffill().bfill()
    for name in ("open", "high", "low"):
        table[name] = table[name].fillna(table["close"])
    table.index = pandas.to_datetime(columns["ts"][0] + np.arange(len(table)) * SECOND)
    table["feature_close"] = table["close"].pct_change()
    for name in ("open", "high", "low"):
        table[f"feature_{name}"] = table[name] / table["close"]
    return table.dropna()


def main():
    given = driving.arguments()
    table = bars(driving.load(given.feed, given.limit))
    env = TradingEnv(
        df=table, positions=[-1, 0, 1], trading_fees=0.0, borrow_interest_rate=0.0, verbose=0
    )
    env.reset(seed=7)
    actions = np.random.default_rng(0).integers(0, 3, 4096).tolist()

    def step(i):
        _, _, done, truncated, _ = env.step(actions[i & 4095])
        if done or truncated:
            env.reset()

    _, first, _ = driving.timed(step, 0)
    driving.serve(
        driving.step_for(given.seconds, step, 1), first_call_seconds=first, events=len(table),
        versions=driving.versions("gym-trading-env", "gymnasium", "numpy", "pandas"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
