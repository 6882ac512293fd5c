"""Tables of levels into sessions: rows grouped by market, snapshots put together, times in order.

What a table says is for its owner to state (what sizes mean, whose side a trade has, which unit):
nothing of that has a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import Side
from foldbook.engine.units import decimal_price

from ..recordings import (
    FLOORED,
    MESSAGE_DTYPE,
    NOISE,
    DryRun,
    Group,
    Import,
    ImportedMarket,
    KeepGoing,
    MessageFlag,
    MessageKind,
    Progress,
    RefusedError,
    Report,
    find_files,
)
from .tables import BAD_PLACE, COLUMNS, ROW_DTYPE, Layout, RowKind, Tables

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")
_KINDS = np.array([MessageKind.LEVEL, MessageKind.SET, MessageKind.CHANGE, MessageKind.TRADE,
                   MessageKind.LOST], np.int8)
"""What each RowKind becomes."""


def import_levels(
    sources: Sequence[Path],
    to: Path,
    *,
    columns: Annotated[
        str, "What your columns are called: ts=time,size=qty; others have their own names."
    ] = "",
    time: Annotated[
        Literal["s", "ms", "us", "ns"] | None, "Unit of times, unless Parquet states it."
    ] = None,
    prices: Annotated[Literal["dollars", "cents"], "Unit of prices."],
    rows: Annotated[
        Literal["snapshot", "absolute", "delta"] | None,
        "What every row is, where no column `kind` says it.",
    ] = None,
    trade_side: Annotated[
        Literal["maker", "taker"] | None, "Whose side a trade's row states."
    ] = None,
    market: Annotated[str | None, "Ticker, where no column `market` names it."] = None,
    depth: Annotated[
        int, "Levels of a side that a snapshot shows at most; 0: it shows all."
    ] = 0,
    delimiter: Annotated[str, "What parts the values of a CSV row."] = ",",
    floor_sizes: Annotated[
        bool, "Round sizes finer than 0.01 contract down, and count them."
    ] = False,
    group: Group = False,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Import books and trades from plain CSV or Parquet tables, a level a row.

    sources: files, or folders of them (docs/importing/l2.md has the columns). The options say what
    the table does not. Raises TapeError for a row or a table that is refused, ValueError for
    options that contradict themselves.
    """
    layout = Layout(_names(columns), time, prices, delimiter,
                    None if rows is None else RowKind[rows.upper()], market, floor_sizes)
    if depth < 0:
        raise ValueError(f"depth: {depth}, expected 0 or more")
    if len(delimiter) != 1:
        raise ValueError(f"delimiter: {delimiter!r} is not one character")
    files = find_files(sources, *SUFFIXES)
    with Import("l2", to, files, group=group, keep_going=keep_going, dry_run=dry_run,
                progress=progress) as job:
        tables = Tables(job, layout)
        markets: dict[int, _Market] = {}
        for file in range(len(files)):
            for block in tables.blocks(file):
                _check_trades(job, block, trade_side)
                if trade_side == "taker":
                    trades = block["kind"] == RowKind.TRADE
                    block["side"][trades] = 1 - block["side"][trades]
                for name, number in tables.markets.items():
                    if number not in markets:
                        imported = job.market(name, files[file].name, joins_trades=True)
                        markets[number] = _Market(imported, depth)
                    # A row that names no market, or cannot be read, may be any one's.
                    mine = (block["market"] == number) | (block["market"] < 0)
                    markets[number].take(block[mine], has_receipts=tables.has_receipts)
        for each in markets.values():
            each.finish()
        return job.reports()


def _names(text: str) -> dict[str, str]:
    """Return what each column is called. Raises ValueError for a map that is none."""
    names = {name: name for name in COLUMNS}
    for part in filter(None, text.split(",")):
        name, equals, called = part.partition("=")
        if not equals or not called or name not in COLUMNS:
            raise ValueError(f"columns: {part!r} is not like ts=time, for one of "
                             f"{', '.join(COLUMNS)}")
        names[name] = called
    return names


def _check_trades(job: Import, rows: np.ndarray, trade_side: str | None) -> None:
    """Raise TapeError for the first trade, if nobody said whose side a trade's row states."""
    trades = rows[rows["kind"] == RowKind.TRADE]
    if len(trades) and trade_side is None:
        first = trades[0]
        raise TapeError(f"{job.files[int(first['file'])]} row {first['row']}: is a trade: say "
                        "whose side it states, with --trade-side maker or taker")


class _Market:
    """The rows of one market on their way into its tape; a snapshot waits until it is whole."""

    def __init__(self, imported: ImportedMarket, depth: int):
        self._imported = imported
        self._depth = depth
        self._waiting = np.zeros(0, ROW_DTYPE)
        self._is_after_nowhere = False
        """Whether the row before the next one belongs nobody knows where."""
        imported.is_counting = False

    def take(self, rows: np.ndarray, *, has_receipts: bool) -> None:
        """Add rows in the order of the file."""
        imported = self._imported
        imported.has_receipts = imported.has_receipts and has_receipts
        imported.read += int(np.count_nonzero(rows["market"] >= 0))
        for kind, name in ((RowKind.ABSOLUTE, "deltas"), (RowKind.DELTA, "deltas"),
                           (RowKind.TRADE, "trades")):
            imported.counts[name] += int(np.count_nonzero(rows["kind"] == kind))
        for oddity, name in ((NOISE, "float_noise"), (FLOORED, "floored")):
            if count := int(np.count_nonzero(rows["oddity"] == oddity)):
                imported.counts[name] += count
        rows = np.concatenate([self._waiting, rows])
        groups = _groups(rows)
        waits = len(rows) > 0 and bool(_is_shown(rows[-1:])[0])
        first = int(np.searchsorted(groups, groups[-1])) if waits else len(rows)
        self._waiting = rows[first:].copy()
        self._add(rows[:first], groups[:first])

    def finish(self) -> None:
        """Add what waits, and store the market."""
        self._add(self._waiting, _groups(self._waiting))
        self._imported.finish()

    def _add(self, rows: np.ndarray, groups: np.ndarray) -> None:
        if not len(rows):
            return
        groups = groups - groups[0]
        is_shown = _is_shown(rows)
        spoilt = self._spoilt(rows, groups, is_shown)
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        kept = ~spoilt[groups]
        kept[is_shown] &= rows["size"][is_shown] > 0
        kept[starts] |= spoilt
        messages = _messages(rows)
        messages["kind"][spoilt[groups]] = MessageKind.LOST
        shown = starts[is_shown[starts] & ~spoilt]
        self._imported.counts["snapshots"] += len(shown)
        books = messages[shown]
        books["kind"] = MessageKind.BOOK
        for side, flag in ((Side.BUY, MessageFlag.MORE_BUY), (Side.SELL, MessageFlag.MORE_SELL)):
            of_side = np.bincount(groups[kept & is_shown & (rows["side"] == side)],
                                  minlength=len(starts))[groups[shown]]
            books["flags"] |= np.where(self._depth and of_side >= self._depth, int(flag), 0
                                       ).astype(np.int16)
            books["qty"] = of_side + (books["qty"] if side else 0)
        books["side"], books["price"] = 0, 0
        places = np.cumsum(kept) - kept
        self._imported.add(np.insert(messages[kept], places[shown], books))

    def _spoilt(self, rows: np.ndarray, groups: np.ndarray, is_shown: np.ndarray) -> np.ndarray:
        """Return for each group whether nothing of it can be taken; refuse what stands twice.

        A row that belongs nobody knows where also spoils the snapshot before it, and the next.
        """
        spoilt = np.zeros(int(groups[-1]) + 1, np.bool_)
        spoilt[groups[rows["fault"] > 0]] = True
        nowhere = np.zeros(len(spoilt) + 2, np.bool_)
        nowhere[0] = self._is_after_nowhere
        nowhere[groups[rows["fault"] == BAD_PLACE] + 1] = True
        of_books = np.zeros(len(spoilt), np.bool_)
        of_books[groups[is_shown]] = True
        spoilt |= of_books & (nowhere[:-2] | nowhere[2:])
        self._is_after_nowhere = bool(nowhere[-2])
        keys = np.stack([groups, rows["side"], rows["price"]], axis=1)[is_shown & ~spoilt[groups]]
        _, first, count = np.unique(keys, axis=0, return_index=True, return_counts=True)
        for at in np.sort(first[count > 1]).tolist():
            row = rows[is_shown & ~spoilt[groups]][at]
            self._imported.refuse(int(row["file"]), int(row["row"]), RefusedError(
                "price", "price", decimal_price(int(row["price"])), "each price of a side once"))
        spoilt[keys[first[count > 1], 0]] = True
        return spoilt


def _groups(rows: np.ndarray) -> np.ndarray:
    """Return the number of the group of each row: a snapshot is one, any other row is one."""
    if not len(rows):
        return np.zeros(0, np.int64)
    new = np.ones(len(rows), np.bool_)
    is_shown = _is_shown(rows)
    new[1:] = ~is_shown[1:] | ~is_shown[:-1]
    for name in ("ts", "snapshot"):
        new[1:] |= rows[name][1:] != rows[name][:-1]
    return np.cumsum(new) - 1


def _is_shown(rows: np.ndarray) -> np.ndarray:
    """Return for each row whether it is a level of a snapshot."""
    found: np.ndarray = (rows["kind"] == RowKind.SNAPSHOT) & (rows["fault"] != BAD_PLACE)
    return found


def _messages(rows: np.ndarray) -> np.ndarray:
    """Return a message for each row."""
    messages = np.zeros(len(rows), MESSAGE_DTYPE)
    for name in ("ts", "recv", "row", "file", "side", "price"):
        messages[name] = rows[name]
    messages["qty"] = rows["size"]
    messages["kind"] = _KINDS[rows["kind"]]
    return messages
