"""Gymnasium environments over recorded markets.

Importing this registers `foldbook/Market-v0`, for `gymnasium.make` and, with
`vectorization_mode="vector_entry_point"`, for `gymnasium.make_vec`.
"""

from __future__ import annotations

import gymnasium

from .env import MarketEnv
from .vector import MarketVectorEnv

__all__ = ["ID", "MarketEnv", "MarketVectorEnv"]

ID = "foldbook/Market-v0"

if ID not in gymnasium.registry:
    gymnasium.register(
        ID,
        entry_point="foldbook.adapters.gym.env:MarketEnv",
        vector_entry_point="foldbook.adapters.gym.vector:MarketVectorEnv",
    )
