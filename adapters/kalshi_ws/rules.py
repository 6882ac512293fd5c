"""What the messages of one market mean: its tape, its grid, and what was left out and why.

`book` makes the rows of the book and `joining` those of the trades; what is known of the market
from elsewhere comes in as a `Listing`.
"""

from __future__ import annotations

import attrs
import numpy as np

from foldbook.engine.fees import FeeRow
from foldbook.engine.schema import TAPE_DTYPE, TapeKind
from foldbook.engine.units import PRICE_ONE, SECOND

from . import book as words
from .book import (
    AFTER_CLOSE,
    DUPLICATE,
    EMPTY,
    FALLING,
    IMPOSSIBLE,
    IN_GAP,
    NO_PAYOUT,
    OFF_GRID,
    OWN_ORDER,
    REPEATED_CLOSE,
    STEPS,
    UNANCHORED,
    fold_rows,
)
from .frames import Kind
from .joining import JOIN_WINDOW, with_trades
from .messages import NO_TS

SNAPSHOT_AGE = 1 * SECOND
"""How long before its receipt a snapshot that nothing precedes is taken to have been made, ns."""
REFUSALS = {FALLING: "ts", OFF_GRID: "off_grid"}
"""Why a message that decodes is refused all the same."""
LEFT_OUT = {
    DUPLICATE: "duplicate",
    UNANCHORED: "unanchored",
    IN_GAP: "in_gap",
    AFTER_CLOSE: "after_close",
    REPEATED_CLOSE: "repeated_close",
    EMPTY: "zero_delta",
    IMPOSSIBLE: "impossible",
    NO_PAYOUT: "no_payout",
    OWN_ORDER: "own",
}
"""Why a message that is fine in itself is not on the tape."""


@attrs.frozen
class Listing:
    """What is known of a market from its record: the grid, and how it ended.

    step, edge: $0.0001; width: of each edge. None where no record was given. close_ts, settled_ts:
    ns; payout: of one YES contract, $0.0001; all None unless the market has settled.
    fee: the record of its series. event: its event's ticker, if that returns collateral. closes_at:
    when it was due to close from the listing on, ns.
    """

    step: int | None = None
    edge: int = 0
    width: int = 0
    close_ts: int | None = None
    settled_ts: int | None = None
    payout: int | None = None
    fee: FeeRow | None = None
    event: str = ""
    closes_at: int | None = None


@attrs.frozen
class MarketTape:
    """The tape rows of one market, and what became of its messages.

    verdicts: one per message (book messages and trades), KEPT or why not. tick: the finest step.
    """

    rows: np.ndarray
    verdicts: np.ndarray
    tick: int
    joined: int
    unjoined: int
    first_ts: int | None


def fold(messages: np.ndarray, listing: Listing) -> MarketTape:
    """Return the tape of one market from its messages in order of arrival (market index 0)."""
    book, verdicts, origin = _fold_book(messages, listing)
    trade_at = np.flatnonzero(messages["kind"] == Kind.TRADE)
    rows, joined = book, 0
    if len(trade_at) and len(book):
        rows, joined, late = with_trades(book, messages, trade_at)
        verdicts[late] = UNANCHORED
    elif len(trade_at):
        verdicts[trade_at] = UNANCHORED
    stamped = origin[origin >= 0][:1]
    first = None
    if len(rows):
        first = int(messages["ts"][stamped[0]]) if len(stamped) else int(rows["ts"][0])
    unjoined = len(trade_at) - joined - int(np.count_nonzero(verdicts[trade_at]))
    return MarketTape(rows, verdicts, _tick(rows, listing), joined, unjoined, first)


def _fold_book(
    messages: np.ndarray, listing: Listing
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (rows, verdicts, for each row the message whose delta it is, else -1)."""
    state = np.zeros(words.STATE_WORDS, np.int64)
    for word in (words.LAST_TS, words.LAST_DELTA, words.BURST_RECV):
        state[word] = NO_TS
    state[words.CLOSE_AT] = state[words.SETTLE_AT] = NO_TS
    state[words.WINDOW], state[words.AGE] = JOIN_WINDOW, SNAPSHOT_AGE
    state[words.ASK] = PRICE_ONE
    state[words.TAKER] = state[words.MAKER] = -1
    for word in (words.DUE, words.FLOOR, words.CAP):
        state[word] = words.NO_TERM
    state[words.CENTER] = state[words.EDGE] = STEPS[0]
    if listing.step is not None:
        state[words.LISTED] = 1
        state[words.CENTER], state[words.EDGE] = listing.step, listing.edge
        state[words.WIDTH] = listing.width
    if listing.settled_ts is not None:
        state[words.SETTLE_AT] = listing.settled_ts
        state[words.CLOSE_AT] = listing.close_ts if listing.close_ts is not None else NO_TS
        state[words.PAYOUT] = NO_TS if listing.payout is None else listing.payout
    # A message gives one row; what is no delta makes room for GRID, GAP and RECOVERED.
    others = int(np.count_nonzero(messages["kind"] != Kind.DELTA))
    rows = np.zeros(len(messages) + 3 * others + 35, TAPE_DTYPE)
    verdicts = np.zeros(len(messages), np.int64)
    origin = np.full(len(rows), -1, np.int64)
    levels = np.zeros((4, PRICE_ONE + 1), np.int64)
    fold_rows(messages, state, levels, rows, verdicts, origin)
    count = int(state[words.ROWS])
    return rows[:count], verdicts, origin[:count]


def _tick(rows: np.ndarray, listing: Listing) -> int:
    """Return the finest step that the market uses."""
    steps = [listing.step, listing.edge] if listing.step is not None else []
    grids = rows[rows["kind"] == TapeKind.GRID]
    steps += [*grids["price"].tolist(), *grids["ahead"].tolist(), STEPS[0]]
    priced = rows["price"][(rows["kind"] != TapeKind.GRID) & (rows["kind"] != TapeKind.STATUS)]
    common = int(np.gcd.reduce(np.concatenate([priced, np.array(steps, np.int32)])))
    return next(step for step in STEPS if common % step == 0)
