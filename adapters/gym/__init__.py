"""Gymnasium environments over recorded markets.

Importing this registers `foldbook/Market-v0`, for `gymnasium.make` and, with
`vectorization_mode="vector_entry_point"`, for `gymnasium.make_vec`; and `foldbook/Markets-v0`, one
agent in several markets. Several agents on one book are in `parallel`, which needs PettingZoo.
"""

from __future__ import annotations

import gymnasium

from .env import MarketEnv
from .markets import MarketsEnv
from .vector import MarketVectorEnv

__all__ = ["ID", "MARKETS_ID", "MarketEnv", "MarketVectorEnv", "MarketsEnv"]

ID = "foldbook/Market-v0"
MARKETS_ID = "foldbook/Markets-v0"

if ID not in gymnasium.registry:
    gymnasium.register(
        ID,
        entry_point="foldbook.adapters.gym.env:MarketEnv",
        vector_entry_point="foldbook.adapters.gym.vector:MarketVectorEnv",
    )
    gymnasium.register(MARKETS_ID, entry_point="foldbook.adapters.gym.markets:MarketsEnv")
