"""Recordings of Polymarket's WebSocket (market channel) into sessions.

Frames are decoded line by line and told to their market's `Moments` in YES terms. There are no
sequence numbers: a loss shows in the hash of a book, in the best prices that a change states, or in
a book that is crossed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from foldbook.engine.schema import Side
from foldbook.engine.units import MILLISECOND, PRICE_ONE, QTY_MAX, QTY_ONE

from ..recordings import (
    TIME_MAX,
    UNKNOWN,
    UNREADABLE,
    DryRun,
    Group,
    Import,
    KeepGoing,
    Metadata,
    Progress,
    RefusedError,
    Report,
    Scale,
    find_files,
    read_lines,
)
from .frames import (
    ENVELOPES,
    FRAMES,
    KEEPALIVES,
    AnyFrame,
    BestBidAsk,
    Book,
    Change,
    LastTrade,
    NewMarket,
    PriceChange,
    Resolved,
    TickSize,
    hash_of,
)
from .markets import NO_NAMES, MarketRecord, MarketRecords, ending
from .moments import Moments, Origin

SUFFIXES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")


def import_messages(
    sources: Sequence[Path],
    to: Path,
    *,
    metadata: Metadata = None,
    first_is_yes: Annotated[
        bool, "Where no record says which token is YES: the one that comes first."
    ] = False,
    floor_sizes: Annotated[
        bool, "Round sizes finer than 0.01 contract down, and count them."
    ] = False,
    group: Group = False,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Import recordings of Polymarket's market channel into sessions.

    sources: files of one frame, or list of frames, a line, plain or gzip, bare or in a recorder's
    envelope; or folders of such files. metadata: the venue's records of the markets: which token is
    YES, the ticker, the settlement. The others are as for every importer. Raises TapeError for a
    row that is refused.
    """
    records = MarketRecords(metadata)
    files = find_files(sources, *SUFFIXES)
    with Import("polymarket-ws", to, files, group=group, keep_going=keep_going, dry_run=dry_run,
                progress=progress) as job:
        _Feed(job, records, first_is_yes=first_is_yes, floor_sizes=floor_sizes).read()
        return job.reports()


class _Market:
    """A market, its two tokens, and its moments."""

    def __init__(self, record: MarketRecord, moments: Moments):
        self.record = record
        self.moments = moments
        self.yes = record.yes
        self.no = record.no

    def is_yes(self, token: str, *, first_is_yes: bool) -> bool:
        """Whether a token is the YES token. Raises RefusedError if that is not known."""
        if token == self.yes:
            return True
        if self.yes is None and first_is_yes:
            self.yes = token
            return True
        if self.yes is None:
            raise RefusedError("tokens", "asset_id", token,
                               "a token of a record: which one is YES is not stated; give "
                               "--metadata or --first-is-yes")
        if self.no is None:
            self.no = token
        if token != self.no:
            raise RefusedError("tokens", "asset_id", token,
                               f"one of the market's tokens, {self.yes} and {self.no}")
        return False


class _Feed:
    """Reads the lines of all files into the markets of an import."""

    def __init__(
        self, job: Import, records: MarketRecords, *, first_is_yes: bool, floor_sizes: bool
    ):
        self._job = job
        self._records = records
        self._first_is_yes = first_is_yes
        self._markets: dict[str, _Market] = {}
        expected = "dollars between 0 and 1 with up to four decimals"
        self._price = Scale("price", PRICE_ONE, 1, PRICE_ONE - 1, expected)
        self._best = Scale("price", PRICE_ONE, 0, PRICE_ONE, expected)
        self._qty = Scale("qty", QTY_ONE, 0, QTY_MAX, "contracts with up to two decimals",
                          floors=floor_sizes)

    def read(self) -> None:
        """Read everything and finish the markets in the order of their first frame."""
        for file, path in enumerate(self._job.files):
            for row, line in read_lines(path, self._job.rejections, self._job.meter):
                if line.strip():
                    self._line(file, row, line)
        for market in self._markets.values():
            market.moments.finish(ending(market.record, market.moments.ts))

    def _line(self, file: int, row: int, line: bytes) -> None:
        try:
            recv, frames = _unwrap(line)
        except UNREADABLE as error:
            self._refuse_line(file, row, line, error)
            return
        for frame in frames:
            market = self._market(frame.market)
            imported = market.moments.imported
            noise, floored = self._qty.float_noise, self._qty.floored
            try:
                ts = _time(frame.timestamp)
                imported.has_receipts = imported.has_receipts and recv is not None
                self._take(market, frame, Origin(file, row, ts, ts if recv is None else recv, True))
            except RefusedError as error:
                imported.refuse(file, row, error)
                if isinstance(frame, (Book, PriceChange)) and market.moments.ts >= 0:
                    last = market.moments.ts
                    market.moments.lose(Origin(file, row, last, recv or last, True))
            else:
                imported.read += 1
            for name, count in (("float_noise", self._qty.float_noise - noise),
                                ("floored", self._qty.floored - floored)):
                if count:
                    imported.counts[name] += count

    def _market(self, condition: str) -> _Market:
        market = self._markets.get(condition)
        if market is None:
            record = self._records.of(condition)
            imported = self._job.market(
                record.ticker, f"market {condition}", joins_trades=True
            )
            imported.is_unlisted = self._records.lacks(condition)
            imported.facts["close_ts"] = record.close_ts
            imported.facts["settled_ts"] = record.settled_ts
            market = self._markets[condition] = _Market(record, Moments(imported))
        return market

    def _take(self, market: _Market, frame: AnyFrame, origin: Origin) -> None:
        """Tell a market what a frame says."""
        counts = market.moments.imported.counts
        if isinstance(frame, PriceChange):
            self._changes(market, frame, origin)
            counts["deltas"] += 1
        elif isinstance(frame, Book):
            self._book(market, frame, self._of(market, frame.asset_id, origin))
            counts["snapshots"] += 1
        elif isinstance(frame, LastTrade):
            whose = self._of(market, frame.asset_id, origin)
            side, price, qty = self._level(whose, frame, "SELL" if frame.side == "BUY" else "BUY")
            if qty == 0:
                raise RefusedError("qty", "size", frame.size, "more than zero contracts")
            market.moments.trade(whose, side, price, qty, frame.transaction_hash)
            counts["trades"] += 1
        elif isinstance(frame, TickSize):
            step = self._best.units("new_tick_size", frame.new_tick_size)
            if step == 0 or PRICE_ONE % step:
                raise RefusedError("grid", "new_tick_size", frame.new_tick_size,
                                   "a step that divides $1")
            market.moments.tick(self._of(market, frame.asset_id, origin), step)
        elif isinstance(frame, Resolved):
            won = self._of(market, frame.winning_asset_id, origin).is_yes
            market.moments.settle(origin, PRICE_ONE if won else 0)
        elif isinstance(frame, NewMarket):
            _tokens(market, frame)
        else:
            assert isinstance(frame, BestBidAsk)

    def _of(self, market: _Market, token: str, origin: Origin) -> Origin:
        is_yes = market.is_yes(token, first_is_yes=self._first_is_yes)
        return Origin(origin.file, origin.row, origin.ts, origin.recv, is_yes)

    def _level(self, origin: Origin, level: Any, side: str) -> tuple[int, int, int]:
        """Return (side, price, qty) in YES terms."""
        price = self._price.units("price", level.price)
        qty = self._qty.units("size", level.size)
        is_buy = (side == "BUY") == origin.is_yes
        return int(Side.BUY if is_buy else Side.SELL), _mirrored(price, origin), qty

    def _book(self, market: _Market, frame: Book, origin: Origin) -> None:
        """Take a full book, unless its hash says that it is not what the venue had."""
        counts = market.moments.imported.counts
        stated = hash_of(frame)
        if stated is None or frame.hash is None:
            counts["unverified"] += 1
        elif stated != frame.hash:
            counts["hash_mismatch"] += 1
            market.moments.lose(Origin(origin.file, origin.row, max(market.moments.ts, 0),
                                       origin.recv, origin.is_yes))
            return
        else:
            counts["verified"] += 1
        levels = [self._level(origin, level, side)
                  for side, ladder in (("BUY", frame.bids), ("SELL", frame.asks))
                  for level in ladder]
        levels = [level for level in levels if level[2]]
        if len({(side, price) for side, price, _ in levels}) < len(levels):
            raise RefusedError("price", "bids, asks", sorted(price for _, price, _ in levels),
                               "each price once")
        market.moments.book(origin, tuple(levels))

    def _changes(self, market: _Market, frame: PriceChange, origin: Origin) -> None:
        """Take new sizes of levels, all or none, and compare the best prices stated with them."""
        found: list[tuple[Origin, tuple[int, int, int], Change]] = []
        for change in frame.price_changes:
            whose = self._of(market, change.asset_id, origin)
            found.append((whose, self._level(whose, change, change.side), change))
        bests = [(whose, self._bests(whose, change)) for whose, _, change in found]
        for whose, level, _ in found:
            market.moments.change(whose, *level)
        for whose, (bid, ask) in bests:
            market.moments.check_best(whose, bid, ask)

    def _bests(self, origin: Origin, change: Change) -> tuple[int | None, int | None]:
        """Return the best bid and ask that a change states, in YES terms."""
        bid, ask = (
            None if value is None else _mirrored(self._best.units(field, value), origin)
            for field, value in (("best_bid", change.best_bid), ("best_ask", change.best_ask))
        )
        return (bid, ask) if origin.is_yes else (ask, bid)

    def _refuse_line(
        self, file: int, row: int, line: bytes, error: Exception
    ) -> None:
        """Count a line that does not decode; the book that it may have spoken of is lost."""
        text, why = str(error), "wrong_type"
        try:
            record: Any = msgspec.json.decode(line)
        except UNREADABLE:
            why, record = "not_json", None
            text = f"not JSON: {line[:60].decode('utf-8', 'replace')!r}: {text}"
        if "missing required field" in text:
            why = "missing_field"
        elif text.startswith("Invalid value"):
            why = "unknown_type"
        market = next((self._markets[name] for name in _conditions(record)
                       if name in self._markets), None)
        ticker = market.moments.imported.ticker if market else UNKNOWN
        self._job.rejections.refuse(self._job.files[file], row, ticker, why, text)
        for each in [market] if market else self._markets.values():
            if each.moments.ts >= 0:
                each.moments.lose(Origin(file, row, each.moments.ts, each.moments.ts, True))


def _mirrored(price: int, origin: Origin) -> int:
    return price if origin.is_yes else PRICE_ONE - price


def _tokens(market: _Market, frame: NewMarket) -> None:
    """Note which token is YES, if the market's outcomes say so."""
    if len(frame.assets_ids) != 2 or len(frame.outcomes) != 2:
        raise RefusedError("tokens", "outcomes", frame.outcomes, "two outcomes with a token each")
    first = 1 if frame.outcomes[0].upper() in NO_NAMES else 0
    market.yes, market.no = frame.assets_ids[first], frame.assets_ids[1 - first]


def _time(value: str | int) -> int:
    """Return a timestamp in ns. Raises RefusedError."""
    text = str(value)
    is_whole = text.isascii() and text.isdigit() and len(text) < 20
    if not is_whole or int(text) > TIME_MAX // MILLISECOND:
        raise RefusedError("time", "timestamp", value, "ms since 1970")
    return int(text) * MILLISECOND


def _unwrap(line: bytes) -> tuple[int | None, list[AnyFrame]]:
    """Return (receive time in ns or None, frames) of a line. Raises msgspec.DecodeError."""
    if line.strip() in (b"PING", b"PONG"):
        return None, []
    if not _is_envelope(line):
        return None, _several(FRAMES.decode(line))
    wrapped = ENVELOPES.decode(line)
    for recv, unit, frame in ((wrapped.recv_ms, MILLISECOND, wrapped.event),
                              (wrapped.received_ms, MILLISECOND, wrapped.frame),
                              (wrapped.recv_ts_ns, 1, wrapped.raw)):
        if recv is None or frame is None:
            continue
        if not 0 <= recv < TIME_MAX // unit:
            raise msgspec.ValidationError(f"receive time {recv}: expected a time since 1970")
        if isinstance(frame, str):
            return recv, [] if frame in KEEPALIVES else _several(FRAMES.decode(frame))
        return recv * unit, _several(frame)
    raise msgspec.ValidationError("Object missing required field `recv_ms` and `event`, "
                                  "`received_ms` and `frame`, or `recv_ts_ns` and `raw`")


def _several(frames: Any) -> list[AnyFrame]:
    return frames if isinstance(frames, list) else [frames]


_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw])


def _is_envelope(line: bytes) -> bool:
    keys = _KEYS.decode(line)
    return isinstance(keys, dict) and "event_type" not in keys and bool(
        keys.keys() & {"recv_ms", "event", "received_ms", "frame", "recv_ts_ns", "raw"})


def _conditions(record: Any) -> list[str]:
    """Return the markets that a line names, as far as it can be read."""
    found, stack = [], [record]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif isinstance(item, dict):
            if isinstance(item.get("market"), str):
                found.append(item["market"])
            stack += [each for each in item.values() if isinstance(each, (dict, list))]
            if isinstance(item.get("raw"), str):
                try:
                    stack.append(msgspec.json.decode(item["raw"]))
                except UNREADABLE:
                    continue
    return found
