"""Recordings of the venue's WebSocket into sessions: read, put in order, fold, store.

One recording is read at a time; a market's tape is made when its recording has been read, and a
session is written to its place in one step. Nothing that was stored before is touched by a failure.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.queues import QueueCounts, find_places
from foldbook.engine.schema import TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import decimal_price

from .. import sessions
from .decode import Decoder
from .fees import event_of, with_fees
from .frames import Kind
from .listing import Listings
from .merging import merge_lanes, merge_tapes
from .messages import MESSAGE_DTYPE, NO_RECV, NO_TS
from .reports import UNKNOWN, Rejections, Report
from .rules import DUPLICATE, FALLING, LEFT_OUT, REFUSALS, Listing, MarketTape, fold
from .sequence import Sequencer
from .sources import Recording, chunks, find_recordings
from .spool import Spool

Progress = Callable[[int, int], None]
"""Told (bytes read, bytes in all) now and then."""

_KINDS = len(Kind)
_NO_ROWS = (Kind.CONTROL, Kind.IGNORED, Kind.START)


def import_recording(
    sources: Sequence[Path],
    to: Path,
    *,
    metadata: Path | None = None,
    group: bool = False,
    keep_going: bool = False,
    seq_scope: str | None = None,
    exclude_own: bool = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Import recordings into sessions below the folder `to`; return one report per session.

    sources: folders and files in any of the recorders' dialects (docs/importing.md). metadata: a
    folder of the venue's event records: grids and settlement. group: one session with all markets,
    else one per market, named by ticker. keep_going: count rows that are refused, and go on; else
    the first one raises TapeError. seq_scope: "subscription" says that the recordings hold whole
    subscriptions, so that each hole in seq is a gap. exclude_own: leave the recorder's own orders,
    known by client_order_id, out of the book. progress: called with bytes read and in all.
    """
    if seq_scope not in (None, "subscription"):
        raise ValueError(f"seq_scope: {seq_scope!r}, expected 'subscription' or None")
    recordings = find_recordings([Path(source) for source in sources])
    listings = Listings(metadata)
    meter = _Meter(progress, recordings)
    to = Path(to)
    to.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".import.", dir=to))
    try:
        made = (
            market
            for recording in recordings
            for market in _markets(
                recording, work, listings, Rejections(keep_going),
                whole=seq_scope is not None, exclude_own=exclude_own, meter=meter,
            )
        )
        reports = _grouped(made, to, work) if group else _single(made, to)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not reports:
        names = ", ".join(str(source) for source in sources)
        raise TapeError(f"{names}: holds no market with a snapshot of its book")
    return reports


@attrs.frozen
class _Made:
    """One market of one recording, ready to be stored."""

    ticker: str
    recording: Recording
    listing: Listing
    tape: MarketTape
    queue: QueueCounts
    raw: dict[str, int]
    read: int
    reasons: Counter[str]
    examples: list[str]
    left_out: Counter[str]
    feed_offset_ns: int | None
    has_receipts: bool = True


class _Meter:
    """Adds up bytes for the progress bar."""

    def __init__(self, progress: Progress | None, recordings: Sequence[Recording]):
        self._progress = progress
        self._done = 0
        self._total = sum(path.stat().st_size for each in recordings for path in each.files)

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)


def _markets(
    recording: Recording, work: Path, listings: Listings, rejections: Rejections, *,
    whole: bool, exclude_own: bool, meter: _Meter,
) -> Iterator[_Made]:
    """Read one recording and yield its markets in the order of their first message."""
    decoder = Decoder(
        recording.dialect, recording.files, rejections, marks_own=exclude_own
    )
    sequencer = Sequencer(whole=whole or recording.dialect.parts)
    spool = Spool(work)
    counts = np.zeros((0, _KINDS), np.int64)
    clock = _Clock()
    updates: list[np.ndarray] = []
    for messages in _messages(recording, decoder, rejections, meter):
        counts = _count(counts, messages, len(decoder.tickers))
        clock.stamp(messages)
        ordered = sequencer.follow(messages, len(decoder.subs))
        if (fees := ordered["kind"] == Kind.FEE).any():
            updates.append(ordered[fees])
        of_market = (ordered["market"] >= 0) & ~np.isin(ordered["kind"], _NO_ROWS)
        spool.add(ordered if of_market.all() else ordered[of_market])
    unknown = rejections.take(UNKNOWN)
    for ticker, market in list(decoder.tickers.items()):
        messages = spool.take(market)
        clock.stamp_first(messages)
        listing = listings.of(ticker)
        messages, unknown_fees = with_fees(
            ticker, messages, listing.fee, _of_event(ticker, updates, decoder, clock), decoder.fees
        )
        made = _make(ticker, messages, recording, listing, rejections)
        if made is None:
            continue
        if unknown_fees:
            made.left_out["flat_fee"] = unknown_fees
        made.reasons.update(unknown[0])
        made.examples.extend(unknown[1])
        unknown = (Counter(), [])
        if sequencer.duplicates.get(market):
            made.left_out[LEFT_OUT[DUPLICATE]] = sequencer.duplicates[market]
        row = counts[market]
        made.raw.update(
            snapshots=int(row[Kind.SNAPSHOT]), deltas=int(row[Kind.DELTA]),
            trades=int(row[Kind.TRADE]),
        )
        read = int(row.sum() - row[Kind.LEVEL] - row[Kind.IGNORED] - row[Kind.START])
        yield attrs.evolve(made, read=read, has_receipts=clock.stamped)


def _of_event(
    ticker: str, updates: list[np.ndarray], decoder: Decoder, clock: _Clock
) -> np.ndarray:
    """Return the fee updates of a market's event, in order of arrival."""
    event = event_of(ticker)
    found = [update for block in updates for update in block
             if decoder.events[int(update["qty"])] == event]
    messages = np.array(found, MESSAGE_DTYPE)
    clock.stamp_first(messages)
    return messages


def _messages(
    recording: Recording, decoder: Decoder, rejections: Rejections, meter: _Meter
) -> Iterator[np.ndarray]:
    """Yield the messages of a recording in order of arrival."""

    def lane(paths: tuple[Path, ...]) -> Iterator[np.ndarray]:
        for path in paths:
            for chunk in chunks(path, rejections):
                yield decoder.decode(chunk)
                meter.add(chunk.bytes_read)

    lanes = [lane(paths) for paths in recording.lanes]
    return lanes[0] if len(lanes) == 1 else merge_lanes(lanes)


class _Clock:
    """Receive times for recordings that have none: the latest exchange time seen so far."""

    def __init__(self) -> None:
        self._latest = NO_TS
        self._first = NO_TS
        self.stamped = True

    def stamp(self, messages: np.ndarray) -> None:
        """Fill in receive times that are missing."""
        missing = messages["recv"] == NO_RECV
        if not missing.any():
            return
        self.stamped = False
        times = np.where(messages["kind"] == Kind.LEVEL, NO_TS, messages["ts"])
        latest = np.maximum.accumulate(np.concatenate([[self._latest], times]))[1:]
        messages["recv"][missing] = latest[missing]
        known = latest[latest != NO_TS]
        if len(known):
            self._latest = int(known[-1])
            if self._first == NO_TS:
                self._first = int(known[0])

    def stamp_first(self, messages: np.ndarray) -> None:
        """Give what came before the first exchange time that time."""
        messages["recv"][messages["recv"] == NO_RECV] = self._first


def _count(counts: np.ndarray, messages: np.ndarray, markets: int) -> np.ndarray:
    """Return the counts [market, kind] with these messages added."""
    if len(counts) < markets:
        counts = np.concatenate([counts, np.zeros((markets - len(counts), _KINDS), np.int64)])
    named = messages["market"] >= 0
    index = messages["market"][named].astype(np.int64) * _KINDS + messages["kind"][named]
    return counts + np.bincount(index, minlength=counts.size).reshape(counts.shape)


def _make(
    ticker: str, messages: np.ndarray, recording: Recording, listing: Listing,
    rejections: Rejections,
) -> _Made | None:
    """Fold the messages of one market; None if no row comes of them."""
    tape = fold(messages, listing)
    odd = np.flatnonzero(tape.verdicts)
    odd = odd[messages["kind"][odd] != Kind.LEVEL]
    left_out: Counter[str] = Counter()
    for at in odd.tolist():
        code = int(tape.verdicts[at])
        if code in LEFT_OUT:
            left_out[LEFT_OUT[code]] += 1
        else:
            message = messages[at]
            rejections.refuse(recording.files[int(message["file"])], int(message["row"]), ticker,
                              REFUSALS[code], _refusal(messages, at, code))
    reasons, examples = rejections.take(ticker)
    if not len(tape.rows):
        return None
    places = find_places(tape.rows, (Market(ticker or "?", tape.tick),))
    tape = attrs.evolve(tape, rows=places.written_to(tape.rows))
    timed = (messages["kind"] == Kind.DELTA) & (messages["ts"] != NO_TS)
    offset = int((messages["recv"] - messages["ts"])[timed].min()) if timed.any() else None
    return _Made(ticker, recording, listing, tape, places.counts, {}, 0, reasons, examples,
                 left_out, offset)


def _refusal(messages: np.ndarray, at: int, code: int) -> str:
    message = messages[at]
    if code == FALLING:
        before = messages[:at]
        last = before["ts"][(before["kind"] == Kind.DELTA)].max()
        return f"ts is {message['ts']} ns, expected no less than {last}, that of the row before"
    if message["kind"] == Kind.SNAPSHOT:
        return "a price of the snapshot is off the market's price grid"
    price = decimal_price(int(message["price"]))
    return f"price is {price} (YES terms), expected one on the market's price grid"


_NAMES_A_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _check_ticker(made: _Made) -> None:
    """Check that a ticker can name a folder. Raises TapeError."""
    if not _NAMES_A_FOLDER.fullmatch(made.ticker):
        raise TapeError(f"{made.recording.name}: market_ticker {made.ticker!r} is no ticker: "
                        "expected letters, digits, '.', '_' and '-', a letter or digit first")


def _market(made: _Made) -> Market:
    return Market(made.ticker, made.tape.tick, made.listing.event)


def _single(made: Iterator[_Made], to: Path) -> list[Report]:
    reports: list[Report] = []
    with sessions.Background() as background:
        for each in made:
            if any(each.ticker in report.markets for report in reports):
                raise TapeError(f"market {each.ticker}: is in two recordings: "
                                f"{each.recording.name} and one before it; import them apart")
            _check_ticker(each)
            path = to / each.ticker
            background.write(path, each.ticker, (_market(each),),
                             [each.tape.rows], facts=_facts([each]))
            reports.append(_report(path, [each], len(each.tape.rows)))
    return reports


def _grouped(made: Iterator[_Made], to: Path, work: Path) -> list[Report]:
    """Store all markets as one session; their tapes wait on disk."""
    waiting: list[tuple[int, _Made, Path]] = []
    for number, each in enumerate(made):
        _check_ticker(each)
        if any(other.ticker == each.ticker for _, other, _ in waiting):
            raise TapeError(f"market {each.ticker}: is in two recordings: {each.recording.name} "
                            "and one before it; import them apart")
        path = work / f"{number}.npy"
        np.save(path, each.tape.rows)
        first = int(each.tape.rows["recv"][0])
        shrunk = attrs.evolve(each, tape=attrs.evolve(
            each.tape, rows=each.tape.rows[:0], verdicts=each.tape.verdicts[:0]))
        waiting.append((first, shrunk, path))
    if not waiting:
        return []
    waiting.sort(key=lambda each: (each[0], each[1].ticker))
    markets = tuple(_market(each) for _, each, _ in waiting)
    tapes = [np.load(path, mmap_mode="r") for _, _, path in waiting]
    gaps = sum(int(np.count_nonzero(tape["kind"] == TapeKind.GAP)) for tape in tapes)
    series = {market.ticker.partition("-")[0] for market in markets}
    name = series.pop() if len(series) == 1 else "group"
    members = [each for _, each, _ in waiting]
    session = sessions.write(to / name, name, markets, merge_tapes(tapes), facts=_facts(members))
    report = _report(to / name, members, len(session.tape))
    return [attrs.evolve(report, gaps=gaps)]


def _report(path: Path, members: Sequence[_Made], events: int) -> Report:
    reasons: Counter[str] = sum((each.reasons for each in members), Counter())
    left_out: Counter[str] = sum((each.left_out for each in members), Counter())
    queue = sum((each.queue for each in members), QueueCounts())
    return Report(
        session=path,
        markets=tuple(each.ticker for each in members),
        events=events,
        read=sum(each.read for each in members),
        joined=sum(each.tape.joined for each in members),
        unjoined=sum(each.tape.unjoined for each in members),
        rejected=sum(reasons.values()),
        reasons=dict(reasons),
        examples=tuple(text for each in members for text in each.examples),
        gaps=sum(int(np.count_nonzero(each.tape.rows["kind"] == TapeKind.GAP))
                 for each in members),
        left_out=dict(left_out),
        counts=_raw(members),
        identified=queue.identified,
        ambiguous=queue.ambiguous,
        missing=queue.missing,
    )


def _raw(members: Sequence[_Made]) -> dict[str, int]:
    names = ("snapshots", "deltas", "trades")
    return {name: sum(each.raw.get(name, 0) for each in members) for name in names}


def _facts(members: Sequence[_Made]) -> dict[str, Any]:
    """Return what reports may say of a session; nothing that decides reads it."""
    offsets = [each.feed_offset_ns for each in members if each.feed_offset_ns is not None]
    files = [path.name for recording in dict.fromkeys(each.recording.name for each in members)
             for path in next(each.recording.files for each in members
                              if each.recording.name == recording)]
    return {
        "format": "kalshi-ws",
        "files": sorted(set(files)),
        "raw": _raw(members),
        "rejected": sum(sum(each.reasons.values()) for each in members),
        "left_out": dict(sum((each.left_out for each in members), Counter())),
        "feed_offset_ns": min(offsets, default=None),
        "receive_times": all(each.has_receipts for each in members),
        "markets": {
            each.ticker: {
                "first_ts": each.tape.first_ts,
                "joined": each.tape.joined,
                "unjoined": each.tape.unjoined,
                "queue": attrs.asdict(each.queue),
                "close_ts": each.listing.close_ts,
                "settled_ts": each.listing.settled_ts,
            }
            for each in members
        },
    }
