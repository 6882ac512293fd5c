"""A policy beside simple contestants, on generated markets that nobody has trained on.

The trainers end with `compare`; run alone it compares the contestants. What a trained policy came
to depends on the floats of torch, so only that it was evaluated is printed: print the table of all
scores to see it.
"""

from typing import Any

from foldbook.adapters import synthetic
from foldbook.adapters.gym.policies import Constant, RandomPolicy, evaluate, table
from foldbook.adapters.gym.setting import Setting
from foldbook.examples.market_maker import MarketMaker

UNSEEN = (91, 92)
"""Seeds of the markets."""


def compare(played: dict[str, Any], **trained: Any) -> None:
    """Evaluate trained policies, by their names, and the contestants; print what they came to.

    played: the options of the environment that the policies were trained in, without its session.
    """
    unseen = Setting([synthetic.session(seed=seed, events=2000, minutes=5) for seed in UNSEEN],
                     **played)  # fmt: skip
    contestants = {"hold": Constant(), "random": RandomPolicy(1), "maker": MarketMaker()}
    scores = evaluate({**contestants, **trained}, unseen)
    print("evaluated:", ", ".join(f"{score.name} on {score.market}" for score in scores))
    print(table([score for score in scores if score.name in contestants]))


if __name__ == "__main__":
    compare({"actions": "limit5", "observation": "core", "cadence": "change"})
