"""Pictures of Polymarket's books in Parquet: both tokens, the best levels, about one a second.

The rules are those of docs/importing/polymarket.md: two tokens of one time are one picture, the YES
token's; pictures become differences, and after a hole a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import Side
from foldbook.engine.units import MILLISECOND, PRICE_ONE, QTY_MAX, QTY_ONE, duration

from ..recordings import (
    BAD,
    MESSAGE_DTYPE,
    NOISE,
    TIME_MAX,
    DryRun,
    Group,
    Import,
    ImportedMarket,
    KeepGoing,
    MessageFlag,
    MessageKind,
    Metadata,
    Progress,
    RefusedError,
    Report,
    Scale,
    find_files,
    one_line,
)
from .markets import NO_NAMES, YES_NAMES, MarketRecord, MarketRecords, ending, is_market_table

BATCH_ROWS = 4096
"""Rows of the file decoded at a time."""
FLUSHED_MESSAGES = 1 << 16
"""Messages of a market that wait in memory."""
LADDERS = ("bid_px", "bid_sz", "ask_px", "ask_sz")
COLUMNS = {"market_id": "text", "ts": "ms as an integer", "side": "text",
           **dict.fromkeys(LADDERS, "a list of float64")}
_NULL = -1
"""Length of a list that is missing."""


def import_pictures(
    sources: Sequence[Path],
    to: Path,
    *,
    metadata: Metadata = None,
    depth: Annotated[int, "Levels of a side that a picture shows at most."] = 20,
    hole: Annotated[str, "A longer time between two pictures is a gap: 10s, 2m."] = "10s",
    group: Group = False,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Import pictures of Polymarket's books, in Parquet, into sessions.

    sources: files, or folders of them, with the columns COLUMNS. metadata: the venue's records of
    the markets (names, settlement); without it a market is named by its id. A side that shows
    `depth` levels may have more. The others are as for every importer. Raises TapeError for a row
    or a file that is refused.
    """
    if depth < 1:
        raise ValueError(f"depth: {depth}, expected at least 1")
    try:
        longest = duration(hole)
    except ValueError as error:
        raise ValueError(f"hole: {error}") from None
    records = MarketRecords(metadata)
    files = [path for path in find_files(sources, ".parquet") if not _is_markets(path)]
    if not files:
        raise TapeError(f"{', '.join(map(str, sources))}: holds no pictures, only markets")
    with Import("polymarket", to, files, group=group, keep_going=keep_going, dry_run=dry_run,
                progress=progress) as job:
        _Reader(job, records, depth, longest).read()
        return job.reports()


@attrs.frozen
class _Picture:
    """One row, in YES terms. levels: [:, (side, price, qty)], bids and asks each best first."""

    row: int
    file: int
    ts: int
    is_yes: bool
    levels: np.ndarray
    flags: int
    noise: int


class _Reader:
    """Reads all files, picture by picture, into the markets of an import."""

    def __init__(self, job: Import, records: MarketRecords, depth: int, hole: int):
        self._job = job
        self._records = records
        self._depth = depth
        self._hole = hole
        self._markets: dict[str, _Market] = {}
        self._price = Scale("price", PRICE_ONE, 1, PRICE_ONE - 1,
                            "dollars between 0 and 1 with up to four decimals")
        self._qty = Scale("qty", QTY_ONE, 1, QTY_MAX, "contracts with up to two decimals")

    def read(self) -> None:
        """Read everything and finish the markets in the order of their first row."""
        for file, path in enumerate(self._job.files):
            row = 1
            for columns in self._batches(path):
                for each in range(len(columns["ts"])):
                    self._take(file, row + each, columns, each)
                row += len(columns["ts"])
        for market in self._markets.values():
            market.finish()

    def _batches(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield decoded columns: ladders as (units, noise, offsets, raw values)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        done = 0
        try:
            with pq.ParquetFile(path) as file:
                _check_schema(path, file.schema_arrow)
                for batch in file.iter_batches(BATCH_ROWS, columns=list(COLUMNS)):
                    columns: dict[str, Any] = {
                        name: batch.column(name).to_pylist() for name in ("market_id", "ts", "side")
                    }
                    for name in LADDERS:
                        columns[name] = self._ladder(name, batch.column(name))
                    yield columns
                    share = path.stat().st_size * len(columns["ts"]) // file.metadata.num_rows
                    self._job.meter.add(share)
                    done += share
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TapeError(f"{path}: not a Parquet file: {one_line(error)}") from None
        self._job.meter.add(path.stat().st_size - done)

    def _ladder(self, name: str, column: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
        scale = self._price if name.endswith("px") else self._qty
        values = column.flatten().to_numpy(zero_copy_only=False)
        lengths = column.value_lengths().fill_null(_NULL).to_numpy(zero_copy_only=False)
        units, oddities = scale.column(name, values)
        counts = np.maximum(lengths, 0)
        ends = np.cumsum(counts)
        return units, oddities == NOISE, np.stack([ends - counts, ends, lengths]), values

    def _take(self, file: int, row: int, columns: dict[str, Any], at: int) -> None:
        name = columns["market_id"][at]
        if not isinstance(name, str) or not name:
            self._job.rejections.refuse(self._job.files[file], row, "", "missing_field",
                                        f"market_id is {name!r}, expected the id of a market")
            return
        market = self._markets.get(name)
        if market is None:
            record = self._records.of(name)
            imported = self._job.market(record.ticker, self._job.files[file].name)
            imported.is_unlisted = self._records.lacks(name)
            market = self._markets[name] = _Market(imported, record, self._hole)
        try:
            picture = self._picture(file, row, columns, at)
            market.check(picture)
        except RefusedError as error:
            market.imported.refuse(file, row, error)
        else:
            market.take(picture)

    def _picture(self, file: int, row: int, columns: dict[str, Any], at: int) -> _Picture:
        ts, side = columns["ts"][at], columns["side"][at]
        if ts is None or not 0 <= ts <= TIME_MAX // MILLISECOND:
            raise RefusedError("missing_field" if ts is None else "ts", "ts", ts, "ms since 1970")
        outcome = str(side).upper()
        if side is None or outcome not in YES_NAMES + NO_NAMES:
            raise RefusedError("side", "side", side, f"one of {', '.join(YES_NAMES + NO_NAMES)}")
        is_yes = outcome in YES_NAMES
        ladders, noise, flags = [], 0, 0
        for ladder in ("bid", "ask"):
            prices, sizes, odd = self._levels(ladder, columns, at)
            noise += odd
            is_bid = (ladder == "bid") == is_yes
            levels = np.empty((len(prices), 3), np.int64)
            levels[:, 0] = Side.BUY if is_bid else Side.SELL
            levels[:, 1] = prices if is_yes else PRICE_ONE - prices
            levels[:, 2] = sizes
            ladders.append(levels)
            if len(prices) == self._depth:
                flags |= MessageFlag.MORE_BUY if is_bid else MessageFlag.MORE_SELL
        ordered = ladders if is_yes else ladders[::-1]
        return _Picture(row, file, ts * MILLISECOND, is_yes, np.concatenate(ordered), flags, noise)

    def _levels(
        self, ladder: str, columns: dict[str, Any], at: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return (prices, sizes, float noise) of one ladder, best first."""
        found, noise = [], 0
        for name, scale in ((f"{ladder}_px", self._price), (f"{ladder}_sz", self._qty)):
            units, odd, places, values = columns[name]
            begin, end, length = places[:, at]
            if length == _NULL:
                raise RefusedError("missing_field", name, None, COLUMNS[name])
            cut = slice(begin, end)
            found.append(units[cut])
            noise += int(np.count_nonzero(odd[cut]))
            for bad in np.flatnonzero(units[cut] == BAD).tolist():
                scale.units(name, _plain(values[cut][bad]))
        prices, sizes = found
        if len(prices) != len(sizes):
            raise RefusedError("disagree", f"{ladder}_sz", f"{len(sizes)} sizes",
                               f"one for each of {len(prices)} prices")
        if len(prices) > self._depth:
            raise RefusedError("depth", f"{ladder}_px", f"{len(prices)} levels",
                               f"at most {self._depth} (--depth)")
        steps = np.diff(prices) * (-1 if ladder == "bid" else 1)
        if (steps <= 0).any():
            shown = [int(price) for price in prices]
            raise RefusedError("price", f"{ladder}_px", shown, "each price once, best first")
        return prices, sizes, noise


class _Market:
    """The pictures of one market, paired, on their way into its tape."""

    def __init__(self, imported: ImportedMarket, record: MarketRecord, hole: int):
        self.imported = imported
        imported.has_receipts = False
        imported.is_counting = False
        imported.facts["close_ts"] = record.close_ts
        imported.facts["settled_ts"] = None
        self._record = record
        self._hole = hole
        self._pair: list[_Picture] = []
        self._last_ts: int | None = None
        self._latest = 0
        self._waiting: list[np.ndarray] = []
        self._count = 0

    def check(self, picture: _Picture) -> None:
        """Check a picture against those before it. Raises RefusedError."""
        if picture.ts < self._latest:
            raise RefusedError("ts", "ts", picture.ts // MILLISECOND,
                               f"no less than {self._latest // MILLISECOND} of the row before")
        if any(each.ts == picture.ts and each.is_yes == picture.is_yes for each in self._pair):
            raise RefusedError("duplicate", "ts", picture.ts // MILLISECOND,
                               "one picture of a token at a time")

    def take(self, picture: _Picture) -> None:
        """Add the next picture of either token."""
        self.imported.read += 1
        self.imported.counts["snapshots"] += 1
        if self._pair and self._pair[0].ts != picture.ts:
            self._settle_pair()
        self._pair.append(picture)
        self._latest = picture.ts

    def finish(self) -> None:
        """Add what waits, the end of the market, and store it."""
        if self._pair:
            self._settle_pair()
        self._flush()
        self.imported.add(ending(self._record, self._latest))
        self.imported.finish()

    def _settle_pair(self) -> None:
        """Make one picture of what both tokens show at one time: the YES token's if there is."""
        counts = self.imported.counts
        chosen = next((each for each in self._pair if each.is_yes), self._pair[0])
        if len(self._pair) == 1:
            counts["lone"] += 1
        else:
            one, other = self._pair
            agrees = np.array_equal(one.levels, other.levels)
            counts["agreeing" if agrees else "disagreeing"] += 1
        noise = sum(each.noise for each in self._pair)
        if noise:
            counts["float_noise"] += noise
        if self._last_ts is not None and chosen.ts - self._last_ts > self._hole:
            counts["holes"] += 1
            self._add(_messages(chosen, MessageKind.LOST))
        self._add(_messages(chosen, MessageKind.BOOK))
        self._last_ts = chosen.ts
        self._pair = []

    def _add(self, messages: np.ndarray) -> None:
        self._waiting.append(messages)
        self._count += len(messages)
        if self._count >= FLUSHED_MESSAGES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self.imported.add(np.concatenate(self._waiting))
        self._waiting, self._count = [], 0


def _messages(picture: _Picture, kind: MessageKind) -> np.ndarray:
    """Return a picture as a BOOK with its levels, or the LOST that goes before it."""
    levels = picture.levels if kind == MessageKind.BOOK else picture.levels[:0]
    messages = np.zeros(len(levels) + 1, MESSAGE_DTYPE)
    messages["ts"] = messages["recv"] = picture.ts
    messages["file"], messages["row"] = picture.file, picture.row
    messages["kind"] = MessageKind.LEVEL
    messages["kind"][0] = kind
    messages["qty"][0] = len(levels)
    messages["flags"][0] = picture.flags
    for column, name in enumerate(("side", "price", "qty")):
        messages[name][1:] = levels[:, column]
    return messages


def _is_markets(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return is_market_table(set(pq.read_schema(path).names))
    except (pa.ArrowException, OSError) as error:
        raise TapeError(f"{path}: not a Parquet file: {one_line(error)}") from None


def _check_schema(path: Path, schema: Any) -> None:
    """Check names and types of the columns. Raises TapeError that names the one at fault."""
    import pyarrow.types as types

    for name, expected in COLUMNS.items():
        number = schema.get_field_index(name)
        if number < 0:
            have = ", ".join(schema.names)
            raise TapeError(f"{path}: column {name} is missing, expected {expected}; has {have}")
        kind = schema.field(number).type
        if expected == "text":
            fits = types.is_string(kind) or types.is_large_string(kind)
        elif name == "ts":
            fits = types.is_integer(kind)
        else:
            fits = (types.is_list(kind) or types.is_large_list(kind)) and (
                types.is_float64(kind.value_type) or types.is_integer(kind.value_type))
        if not fits:
            raise TapeError(f"{path}: column {name} is {kind}, expected {expected}")


def _plain(value: Any) -> float | int | None:
    """Return an element of a column as a plain number; a missing one is None."""
    number = value.item() if hasattr(value, "item") else value
    return None if number is not None and number != number else number
