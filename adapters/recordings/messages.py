"""Messages of a recording as fixed-size integer rows: what lies between a decoder and a tape.

A decoder says in them what its format states, in order of arrival and in YES terms; `book` decides
what becomes of each. Nothing here knows a format.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np

from foldbook.engine.schema import TapeFlag


class MessageKind(IntEnum):
    """What a message says. Fields that a kind does not name are zero."""

    SNAPSHOT = 0
    """A full book: `qty` LEVEL messages follow, and nothing else stands anywhere."""
    LEVEL = 1
    """side, price, qty: one level of the SNAPSHOT or BOOK above."""
    BOOK = 2
    """The same as a picture taken now and then: in a trusted book its differences become changes.
    MessageFlag.MORE_BUY and MORE_SELL: of that side only the best levels are shown."""
    CHANGE = 3
    """side, price, qty: a level changed by qty (signed); ahead: as on the tape."""
    SET = 4
    """side, price, qty: a level is qty now; 0 takes it away."""
    TRADE = 5
    """side (the maker's), price, qty. TapeFlag.JOINED: the next message, a CHANGE or SET of the
    same side and price, is what it did to the book."""
    STATUS = 6
    """qty: a MarketStatus; price: the payout, -1 if none is named. Flags as on the tape."""
    GRID = 7
    """price: step in the centre; ahead: step at the edges; qty: width of each edge."""
    FEE = 8
    """qty: taker rate in ppm; ahead: maker rate in ppm."""
    LOST = 9
    """Messages of the book were lost, or refused, by the time of `recv`."""


class MessageFlag(IntFlag):
    """Flags beside those of TapeFlag, which keep their values."""

    MORE_BUY = 256
    """BOOK: more bids than those shown may stand beyond the last of them."""
    MORE_SELL = 512
    LOOSE = 1024
    """GRID: a price off it refines it, as if nobody had stated it, instead of being refused."""


assert all(flag < MessageFlag.MORE_BUY for flag in TapeFlag)

TIME_MAX = 2**62
"""No time of a recording is later, ns (the year 2116): what is added to it stays in int64."""

MESSAGE_DTYPE = np.dtype(
    [
        ("ts", "<i8"),  # exchange time, ns; LOST: not read
        ("recv", "<i8"),  # receive time, ns
        ("qty", "<i8"),  # 0.01 contract; see MessageKind
        ("row", "<i8"),  # row in its file, from 1
        ("price", "<i4"),  # $0.0001, YES terms
        ("ahead", "<i4"),  # CHANGE that decreases: 0.01 contract ahead of it; -1 unknown
        ("market", "<i4"),  # for the decoder's own use
        ("file", "<i2"),  # index into the files of the import
        ("kind", "i1"),  # MessageKind
        ("side", "i1"),  # Side
        ("flags", "<i2"),  # TapeFlag and MessageFlag
    ]
)
