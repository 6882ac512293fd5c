"""Responses of Kalshi's REST interface into sessions of trades, and candles into tables.

A session of this kind begins with a GAP and never has a book; its trades are UNJOINED, so they fill
no queue. Candles are facts about the past, for people: no run reads them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, TapeFlag, TapeKind
from foldbook.engine.specs import Market

from ..recordings import (
    UNKNOWN,
    UNREADABLE,
    DryRun,
    Group,
    Import,
    KeepGoing,
    Problems,
    Progress,
    RecordedMarket,
    RefusedError,
    Report,
    blocks,
    check_ticker,
    find_files,
    one_line,
    step_of,
)
from .responses import RawRow, candle, rows_of, trade

SUFFIXES = (".json", ".json.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


def import_responses(
    sources: Sequence[Path],
    to: Path,
    *,
    group: Group = False,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Import responses of Kalshi's REST interface with trades or candles.

    sources: files of one response (JSON) or one a line (JSON lines), plain or gzip; or folders of
    such files, where what holds neither is passed over. A market's candles are stored beside its
    session, as TICKER.candles.parquet. Raises TapeError for a row that is refused.
    """
    files = find_files(sources, *SUFFIXES)
    with Import("kalshi-rest", to, files, group=group, keep_going=keep_going, dry_run=dry_run,
                progress=progress) as job:
        markets: dict[str, _Market] = {}
        for file, path in enumerate(files):
            _read(job, markets, file, path, is_named=path in map(Path, sources))
        for market in markets.values():
            market.store(job, None if dry_run else Path(to))
        return job.reports()


def _read(
    job: Import, markets: dict[str, _Market], file: int, path: Path, *, is_named: bool
) -> None:
    """Read the rows of a file into their markets."""
    is_empty = True
    for row, raw in _rows(path, is_named=is_named):
        is_empty = False
        ticker = raw.ticker or UNKNOWN
        try:
            if raw.is_trade:
                ticker, number, values = trade(raw)
                markets.setdefault(ticker, _Market(ticker)).trade(file, number, values)
            else:
                ticker, values_of = candle(raw)
                markets.setdefault(ticker, _Market(ticker)).candle(file, values_of, raw.period)
        except RefusedError as error:
            job.rejections.refuse(path, row, ticker, error.why, str(error))
        except UNREADABLE as error:
            why = "missing_field" if "missing required" in str(error) else "wrong_type"
            job.rejections.refuse(path, row, ticker, why, str(error))
    if is_empty and is_named:
        raise TapeError(f"{path}: holds neither trades nor candlesticks")
    job.meter.add(path.stat().st_size)


def _rows(path: Path, *, is_named: bool) -> Iterator[tuple[int, RawRow]]:
    """Yield (number from 1, row) of all responses of a file.

    A file of a folder that is no response is passed over: such folders hold other records too.
    """
    text = b"".join(block for block, _ in blocks(path, Problems()))
    is_lines = ".jsonl" in path.name or ".ndjson" in path.name
    number = 0
    for line, part in enumerate(text.split(b"\n") if is_lines else [text], 1):
        if not part.strip():
            continue
        try:
            rows = rows_of(part)
        except UNREADABLE as error:
            if not is_named and not number:
                return
            where = f" line {line}" if is_lines else ""
            raise TapeError(f"{path}{where}: not a response: {one_line(error)}") from None
        for row in rows:
            number += 1
            yield number, row


class _Market:
    """What the responses say of one market."""

    def __init__(self, ticker: str):
        self.ticker = ticker
        self._trades: dict[str, tuple[int, int, int, int, bool]] = {}
        self._candles: dict[int, dict[str, int | None]] = {}
        self._period: int | None = None
        self._files: set[int] = set()
        self._left_out: Counter[str] = Counter()
        self._read = 0

    def trade(self, file: int, number: str, values: tuple[int, int, int, int, bool]) -> None:
        """Take a trade; pages may overlap, but not contradict each other."""
        if self._trades.get(number, values) != values:
            raise RefusedError("disagree", "trade_id", number, "one that stands for one trade")
        self._note(file, number in self._trades)
        self._trades[number] = values

    def candle(self, file: int, values: dict[str, int | None], period: int | None) -> None:
        """Take a candle."""
        end = values["end_ts"]
        assert end is not None
        if self._candles.get(end, values) != values:
            raise RefusedError("disagree", "end_period_ts", end, "one that stands for one candle")
        if period is not None and self._period not in (None, period):
            raise RefusedError("disagree", "period_interval", period, f"{self._period} as before")
        self._note(file, end in self._candles)
        self._period = self._period if period is None else period
        self._candles[end] = values

    def _note(self, file: int, is_known: bool) -> None:
        """Count a row that was read; one that was there before is left out."""
        self._files.add(file)
        self._read += 1
        if is_known:
            self._left_out["duplicate"] += 1

    def store(self, job: Import, to: Path | None) -> None:
        """Store the session, and beside it the candles if there are any; to: None writes none."""
        rows = self._rows()
        if not len(rows):
            return
        reasons, examples = job.rejections.take(self.ticker)
        facts: dict[str, Any] = {"first_ts": int(rows["ts"][0]), "joined": 0,
                                 "unjoined": len(self._trades)}
        if self._candles:
            facts["candles"] = {"file": f"{self.ticker}.candles.parquet",
                                "count": len(self._candles), "period_ns": self._period}
        names = [job.files[file].name for file in sorted(self._files)]
        made = RecordedMarket(
            Market(self.ticker or "?", step_of(rows["price"][1:].tolist())), rows,
            ", ".join(names), tuple(names), self._read + sum(reasons.values()), 0,
            len(self._trades),
            {"trades": len(self._trades), **({"candles": len(self._candles)}
                                             if self._candles else {})},
            reasons, examples, dict(self._left_out),
            facts=facts, has_receipts=False, session_facts=job.facts,
        )
        check_ticker(made)
        job.store(made)
        if self._candles and to is not None:
            _write_candles(to / f"{self.ticker}.candles.parquet", self._candles)

    def _rows(self) -> np.ndarray:
        """Return the tape: a GAP, because there is no book, and the trades in order of time."""
        trades = sorted(self._trades.items(), key=lambda item: (item[1][0], item[0]))
        starts = [values[0] for _, values in trades[:1]]
        starts += [end - (self._period or 0) for end in sorted(self._candles)[:1]]
        rows = np.zeros(len(trades) + bool(starts), TAPE_DTYPE)
        if not starts:
            return rows
        rows["kind"][0], rows["ts"][0] = TapeKind.GAP, max(min(starts), 0)
        for row, (_, (ts, side, price, qty, is_block)) in zip(rows[1:], trades, strict=True):
            row["ts"], row["kind"], row["side"] = ts, TapeKind.TRADE, side
            row["price"], row["qty"] = price, qty
            row["flags"] = TapeFlag.UNJOINED | (TapeFlag.BLOCK if is_block else 0)
        rows["recv"] = rows["ts"]
        return rows


def _write_candles(path: Path, candles: dict[int, dict[str, int | None]]) -> None:
    """Write candles by time, in one step; each column's unit is in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = [candles[end] for end in sorted(candles)]
    units = {"end_ts": "ns UTC", "volume": "0.01 contract", "open_interest": "0.01 contract"}
    schema = pa.schema([
        pa.field(name, pa.int64(), metadata={"unit": units.get(name, "$0.0001")})
        for name in ordered[0]
    ])
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(pa.Table.from_pylist(ordered, schema), temporary, compression="zstd")
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
