"""Does training work? MaskablePPO on a market with a planted edge, against what knows nothing.

In each second of this market the sizes at the touch lean to one side, and the price then goes to
that side EDGE times in a hundred, by STEP cents; else to the other. There are no fees. An agent
that reads the imbalance earns; one that holds, does the same always or acts at random does not.

    python -m foldbook.benchmarks.planted_edge --seeds 5
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foldbook.engine import NO_FEES, Backtest, Session, Tape
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import CASH_ONE, PRICE_ONE, SECOND, cents, contracts

EDGE = 85
STEP = 2
SECONDS = 300
START = 1_785_888_000_000_000_000
_LEVELS = 3
_THIN, _THICK, _BEHIND = contracts(200), contracts(800), contracts(500)
_LOW, _HIGH = 15, 85
PLAYED: dict[str, Any] = {
    "actions": "limit5", "observation": ("imbalance_1", "yes_mid", "inventory"),
    "fees": NO_FEES, "reward_scale": 1e-6, "cadence": "change",
}  # fmt: skip


def session(seed: int, seconds: int = SECONDS, *, mirrored: bool = False) -> Session:
    """Return a market with the edge: a new book each second, the same for the same seed.

    mirrored: with YES and NO changed places.
    """
    generator = random.Random(seed)
    bid = generator.randrange(40, 60)
    low, high = _LOW, _HIGH
    if mirrored:
        bid, low, high = 99 - bid, 99 - high, 99 - low
    rows: list[tuple[int, ...]] = []
    book: dict[tuple[Side, int], int] = {}
    ts = START

    def add(kind: TapeKind, side: int = 0, price: int = 0, qty: int = 0, ahead: int = 0) -> None:
        rows.append((ts, ts, qty, ahead, price, 0, kind, side, 0))

    add(TapeKind.STATUS, qty=MarketStatus.OPEN)
    add(TapeKind.SNAPSHOT)
    for number in range(seconds):
        leans = generator.choice((1, -1) if mirrored else (-1, 1))
        wanted = _quotes(bid, leans)
        if number == 0:
            for (side, price), qty in wanted.items():
                add(TapeKind.SNAPSHOT_LEVEL, side, price, qty)
        else:
            for (side, price), qty in book.items():
                add(TapeKind.DECREASE, side, price, qty, ahead=-1)
            for (side, price), qty in wanted.items():
                add(TapeKind.INCREASE, side, price, qty)
        book = wanted
        ts += SECOND
        goes = leans if generator.randrange(100) < EDGE else -leans
        bid = min(max(bid + STEP * goes, low), high)
    add(TapeKind.STATUS, qty=MarketStatus.CLOSED)
    tape = Tape(np.array(rows, TAPE_DTYPE))
    name = f"{seed}-MIRRORED" if mirrored else str(seed)
    return Session(tape, (Market(f"EDGE-{name}", cents(1)),), name=f"edge-{name.lower()}")


def unseen_sessions(seed: int, count: int) -> list[Session]:
    """Return sessions that nobody is trained on, each beside its mirror image.

    What the price does by itself cancels out in such a pair: without it, what holds one outcome
    all along wins or loses so much that no difference shows.
    """
    first = 500_000 + 1000 * seed
    return [
        session(first + number, mirrored=mirrored)
        for number in range(count) for mirrored in (False, True)
    ]  # fmt: skip


def _quotes(bid: int, leans: int) -> dict[tuple[Side, int], int]:
    """Return (side, price) -> qty of a book whose touch leans to a side."""
    sizes = {Side.BUY: _THICK if leans > 0 else _THIN, Side.SELL: _THIN if leans > 0 else _THICK}
    found = {}
    for away in range(_LEVELS):
        found[Side.BUY, cents(bid - away)] = _BEHIND if away else sizes[Side.BUY]
        found[Side.SELL, cents(bid + 1 + away)] = _BEHIND if away else sizes[Side.SELL]
    assert all(0 < price < PRICE_ONE for _, price in found)
    return found


def trained(seed: int, steps: int, known: Sequence[Session]) -> Any:
    """Return MaskablePPO as a policy, trained on sessions."""
    from sb3_contrib import MaskablePPO

    from foldbook.adapters.gym import MarketVectorEnv
    from foldbook.adapters.gym.sb3 import MarketVecEnv, ModelPolicy

    envs = MarketVecEnv(
        MarketVectorEnv(known, 32, autoreset_mode="SameStep", market="random", start="random",
                        max_steps=100, **PLAYED)
    )  # fmt: skip
    envs.seed(seed)
    model = MaskablePPO(
        "MlpPolicy", envs, n_steps=64, batch_size=256, n_epochs=4, gamma=0.9, learning_rate=1e-3,
        seed=seed, device="cpu",
    )  # fmt: skip
    return ModelPolicy(model.learn(steps))


def compare(seed: int, steps: int, unseen: Sequence[Session]) -> dict[str, float]:
    """Return the mean P&L, dollars a session, of the trained policy and of each that knows nothing.

    Trained on sessions of seeds that no unseen session has.
    """
    from foldbook.adapters.gym.policies import Constant, PolicyStrategy, RandomPolicy
    from foldbook.adapters.gym.setting import Setting

    known = [session(1000 * (seed + 1) + number) for number in range(8)]
    policies: Mapping[str, Any] = {
        "ppo": trained(seed, steps, known),
        "hold": Constant(0),
        "random": RandomPolicy(seed),
        **{f"always {action}": Constant(action) for action in range(1, 5)},
    }
    setting = Setting(list(unseen), **PLAYED)
    found: dict[str, float] = {}
    for name, policy in policies.items():
        gains = []
        for market in setting.choice.markets:
            strategy = PolicyStrategy(policy, setting, market)
            result = Backtest(strategy.session, strategy, **setting.settings).run()
            gains.append(result.simulation.venue.reward.value - result.config.cash)
        found[name] = statistics.mean(gains) / CASH_ONE
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print mean and standard error over the seeds; return 1 if the edge was not learned."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40_960)
    parser.add_argument("--sessions", type=int, default=20, help="unseen pairs, for each seed")
    given = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    runs = []
    for seed in range(given.seeds):
        runs.append(compare(seed, given.steps, unseen_sessions(seed, given.sessions)))
    worst = np.inf
    for name in runs[0]:
        values = [run[name] for run in runs]
        ahead = [run["ppo"] - run[name] for run in runs]
        error = _error(ahead)
        line = f"{name:10} {statistics.mean(values):+9.3f} +- {_error(values):.3f} dollars"
        if name != "ppo":
            worst = min(worst, statistics.mean(ahead) - 2 * error)
            line += f"; ppo is ahead by {statistics.mean(ahead):+.3f} +- {error:.3f}"
        print(line, flush=True)
    learned = worst > 0
    print("ppo beats all others by over two standard errors:", "yes" if learned else "no")
    return 0 if learned else 1


def _error(values: Sequence[float]) -> float:
    """Return the standard error of a mean; 0 of one value."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
