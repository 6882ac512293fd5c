"""The layout of hftbacktest 2: one row an event, its kind and flags in one number."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np

EVENT_DTYPE = np.dtype(
    [
        ("ev", "<u8"),  # Kind and Flag
        ("exch_ts", "<i8"),  # ns
        ("local_ts", "<i8"),  # ns
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ]
)
ARRAY = "data"
"""Name of the array of events in an archive."""


class Kind(IntEnum):
    """The low byte of `ev`."""

    DEPTH = 1
    """side, px, qty: a level has that quantity now."""
    TRADE = 2
    """side (the taker's), px, qty."""
    CLEAR = 3
    """Without a side: the book is empty. With one: its levels from the best to px are."""
    SNAPSHOT = 4
    """As DEPTH, as part of a full book."""
    BEST = 5
    ADD_ORDER = 10
    CANCEL_ORDER = 11
    MODIFY_ORDER = 12
    FILL = 13


class Flag(IntFlag):
    """The high bits of `ev`."""

    EXCHANGE = 1 << 31
    """The exchange's book sees it, at exch_ts; these rows are in order of exch_ts."""
    LOCAL = 1 << 30
    """The strategy's book sees it, at local_ts; these rows are in order of local_ts."""
    BUY = 1 << 29
    SELL = 1 << 28


KIND_MASK = 0xFF
KNOWN_BITS = KIND_MASK | int(Flag.EXCHANGE | Flag.LOCAL | Flag.BUY | Flag.SELL)
