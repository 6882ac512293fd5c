"""What an event array cannot hold of a tape, in arrays beside it: so that nothing is lost.

`data` alone gives the book and the trades. Beside it stand for each row of the tape its kind, flags
and `ahead`, whole the rows that are no event (statuses, grids, fees, recoveries), and a text with
the market, the facts and the digest, by which a file that was changed is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import PRICE_ONE

from ..recordings.windows import Window
from .conversion import prices, quantities
from .events import EVENT_DTYPE, Flag, Kind

FORMAT = 1
ABOUT, REST, RARE = "foldbook", "foldbook_rest", "foldbook_rare"
"""Names of the arrays: a text in JSON, a row for each of the tape, and rows that are no event."""
REST_DTYPE = np.dtype([("kind", "i1"), ("flags", "<i2"), ("ahead", "<i4")])
BINARY = Window.from_json({"origin": "0", "tick": "0.0001", "contract": "1"})
"""Of a market whose prices are dollars: what holds where no window is stated."""

_LEVELS = (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE, TapeKind.DECREASE)
_RARE = (TapeKind.STATUS, TapeKind.GRID, TapeKind.FEE, TapeKind.RECOVERED, TapeKind.CLOSE_TIME,
         TapeKind.STRIKE)


class About(msgspec.Struct):
    """What the text says: the market, what reports say of the session, and the tape's SHA-256."""

    format: int
    ticker: str
    tick: int
    event: str
    tape_digest: str
    facts: dict[str, Any]

    @property
    def market(self) -> Market:
        return Market(self.ticker, self.tick, self.event)


def window_of(facts: Mapping[str, Any]) -> Window:
    """Return the window that facts of a session state, or `BINARY`. Raises ValueError."""
    stated = facts.get("window")
    return BINARY if stated is None else Window.from_json(stated)


def clears(rows: np.ndarray) -> np.ndarray:
    """Return which rows of a market's tape empty its book (docs/semantics.md, section 2)."""
    found: np.ndarray = np.isin(rows["kind"], (TapeKind.SNAPSHOT, TapeKind.GAP))
    closing = np.flatnonzero(
        (rows["kind"] == TapeKind.STATUS) & (rows["qty"] >= MarketStatus.CLOSED))
    found[closing[:1]] = True
    return found


def to_events(rows: np.ndarray, window: Window) -> np.ndarray:
    """Return EVENT_DTYPE of the tape of one market, in order of exchange time, unsplit.

    Raises TapeError for what float64 or the layout cannot say.
    """
    clear = clears(rows)
    is_level = np.isin(rows["kind"], _LEVELS)
    is_trade = rows["kind"] == TapeKind.TRADE
    shown = clear | is_level | is_trade
    qty = np.where(is_level, _after(rows, clear, is_level), rows["qty"])[shown]
    told, clear, is_trade = rows[shown], clear[shown], is_trade[shown]
    kind = np.where(told["kind"] == TapeKind.SNAPSHOT_LEVEL, Kind.SNAPSHOT, Kind.DEPTH)
    kind = np.where(clear, Kind.CLEAR, np.where(is_trade, Kind.TRADE, kind)).astype(np.uint64)
    # A trade's side is the taker's, a level's its own; who clears all has none.
    buys = (told["side"] == 0) != is_trade
    side = np.where(buys, np.uint64(Flag.BUY), np.uint64(Flag.SELL))
    events = np.zeros(len(told), EVENT_DTYPE)
    events["ev"] = kind | np.where(clear, np.uint64(0), side)
    events["ev"] |= np.uint64(Flag.EXCHANGE | Flag.LOCAL)
    events["exch_ts"], events["local_ts"] = told["ts"], told["recv"]
    priced = ~clear
    events["px"][priced] = prices(window).floats(told["price"][priced].astype(np.int64))
    events["qty"][priced] = quantities(window).floats(qty[priced])
    return events


def rest_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (REST_DTYPE of each row, the rows that are no event)."""
    rest = np.zeros(len(rows), REST_DTYPE)
    for name in REST_DTYPE.names or ():
        rest[name] = rows[name]
    return rest, rows[np.isin(rows["kind"], _RARE)]


def to_rows(events: np.ndarray, rest: np.ndarray, rare: np.ndarray, window: Window) -> np.ndarray:
    """Return the tape that `to_events` and `rest_of` made these of: the rows of one market.

    events: those with Flag.EXCHANGE. Raises TapeError where they do not fit together.
    """
    rows = np.zeros(len(rest), TAPE_DTYPE)
    kinds = rest["kind"]
    is_rare = np.isin(kinds, _RARE)
    if np.count_nonzero(is_rare) != len(rare) or not (rare["kind"] == kinds[is_rare]).all():
        raise TapeError(f"{RARE} has {len(rare)} rows that do not fit {REST}")
    rows["kind"] = kinds
    rows[is_rare] = rare
    clear = clears(rows)
    shown = clear | ~is_rare
    if np.count_nonzero(shown) != len(events):
        raise TapeError(f"data has {len(events)} events of the exchange, expected "
                        f"{np.count_nonzero(shown)} as {REST} says")
    price, on_grid, _ = prices(window).units(events["px"])
    qty, whole, _ = quantities(window).units(events["qty"])
    at_event = rows[shown]
    plain = ~np.isin(at_event["kind"], _RARE)
    levels = np.isin(at_event["kind"], _LEVELS)
    priced = levels | (at_event["kind"] == TapeKind.TRADE)
    if not (on_grid & whole)[priced].all():
        at = int(np.flatnonzero(priced & ~(on_grid & whole))[0])
        raise TapeError(f"data event {at}: px {events['px'][at]} or qty {events['qty'][at]} is not "
                        "on the grid of the market")
    at_event["ts"][plain] = events["exch_ts"][plain]
    at_event["recv"][plain] = events["local_ts"][plain]
    at_event["price"][priced] = price[priced]
    at_event["qty"][priced] = qty[priced]
    sells = events["ev"] & np.uint64(Flag.SELL) != 0
    is_trade = at_event["kind"] == TapeKind.TRADE
    at_event["side"][priced] = (sells != is_trade)[priced]
    before = _before(at_event, clear[shown], levels)
    changes = np.isin(at_event["kind"], (TapeKind.INCREASE, TapeKind.DECREASE))
    at_event["qty"][changes] = abs(at_event["qty"] - before)[changes]
    rows[shown] = at_event
    rows["flags"], rows["ahead"] = rest["flags"], rest["ahead"]
    return rows


def _groups(rows: np.ndarray, clear: np.ndarray, is_level: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """Return (indices of the level rows, sorted by level and then in order; which begin a level).

    A level begins anew after each row that empties the book.
    """
    at = np.flatnonzero(is_level)
    place = rows["side"][at].astype(np.int64) * (PRICE_ONE + 1) + rows["price"][at]
    key = np.cumsum(clear)[at] * (2 * PRICE_ONE + 2) + place
    order = np.argsort(key, kind="stable")
    first = np.ones(len(at), np.bool_)
    first[1:] = np.diff(key[order]) != 0
    return at[order], first


def _after(rows: np.ndarray, clear: np.ndarray, is_level: np.ndarray) -> np.ndarray:
    """Return what each level has after its row; 0 for other rows."""
    after = np.zeros(len(rows), np.int64)
    at, first = _groups(rows, clear, is_level)
    kinds = rows["kind"][at]
    if (~first & (kinds == TapeKind.SNAPSHOT_LEVEL)).any():
        row = int(at[~first & (kinds == TapeKind.SNAPSHOT_LEVEL)].min())
        raise TapeError(f"row {row}: a level stands twice in one snapshot")
    change = rows["qty"][at] * np.where(kinds == TapeKind.DECREASE, -1, 1)
    total = np.cumsum(change)
    begin = np.maximum.accumulate(np.where(first, np.arange(len(at)), 0))
    after[at] = total - (total - change)[begin] if len(at) else 0
    return after


def _before(rows: np.ndarray, clear: np.ndarray, is_level: np.ndarray) -> np.ndarray:
    """Return what each level had before its row, if `qty` is what it has after."""
    before = np.zeros(len(rows), np.int64)
    at, first = _groups(rows, clear, is_level)
    shifted = np.zeros(len(at), np.int64)
    shifted[1:] = rows["qty"][at][:-1]
    before[at] = np.where(first, 0, shifted)
    return before
