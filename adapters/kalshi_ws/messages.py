"""Messages of a recording as fixed-size integer rows: what lies between frames and tape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NO_TS = -1
"""Where a message has no exchange time."""
NO_RECV = -1
"""Where the recorder stamped no receive time."""
NO_SEQ = -1

MESSAGE_DTYPE = np.dtype(
    [
        ("recv", "<i8"),  # receive time, ns
        ("ts", "<i8"),  # exchange time, ns; of a snapshot: of the event before it, once sequenced
        ("qty", "<i8"),  # 0.01 contract, signed for deltas; a status: MarketStatus; a grid: width;
        # a fee: taker rate in ppm (of an event: what it states, as a number in Decoder.fees)
        ("seq", "<i8"),
        ("row", "<i8"),  # row in its file, from 1
        ("price", "<i4"),  # $0.0001, YES terms; a status: the payout; a grid: step in the centre
        ("edge", "<i4"),  # a grid: step at the edges; a fee: maker rate in ppm
        ("market", "<i4"),  # index into the recording's tickers; -1 if it names none
        ("sub", "<i4"),  # index into the recording's subscriptions; -1 if it has none
        ("file", "<i2"),  # index into the recording's files
        ("kind", "i1"),  # frames.Kind
        ("side", "i1"),  # Side
        ("flags", "<i2"),  # see below
    ]
)

REFUSED = 1
"""The message was refused: what it said of the book is lost."""
BLOCK_TRADE = 2
OWN = 4
"""A delta that an own order of the recorder caused; set where those are excluded."""


def put_in(messages: np.ndarray, places: Sequence[int], others: Sequence[np.ndarray]) -> np.ndarray:
    """Return messages with a few others among them: each before what stands at its place.

    places: in any order; what has one place stays in the order given. What lies between two places
    is copied in one piece, which `np.insert` does not do.
    """
    order = sorted(range(len(others)), key=places.__getitem__)
    pieces = np.split(messages, [places[number] for number in order])
    for at, number in enumerate(order):
        pieces.insert(2 * at + 1, others[number])
    return np.concatenate(pieces)
