"""One recording into its markets: decoded, put in order, folded, with what is counted of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np

from foldbook.engine.queues import find_places
from foldbook.engine.specs import Market
from foldbook.engine.units import decimal_price

from ..recordings import Meter, RecordedMarket, Rejections, Spool
from .decode import Decoder
from .fees import event_of, with_fees
from .frames import Kind
from .listing import Listings
from .merging import merge_lanes
from .messages import MESSAGE_DTYPE, NO_RECV, NO_TS
from .rules import DUPLICATE, FALLING, LEFT_OUT, REFUSALS, Listing, fold
from .sequence import Sequencer
from .sources import Recording, chunks
from .terms import with_terms

_KINDS = len(Kind)
_NO_ROWS = (Kind.CONTROL, Kind.IGNORED, Kind.START)


@attrs.frozen
class Job:
    """What an import reads and how; the same in every process.

    whole: the recordings hold whole subscriptions. work: an existing folder for what waits on disk.
    """

    recordings: tuple[Recording, ...]
    metadata: Path | None
    work: Path
    keep_going: bool
    whole: bool
    exclude_own: bool

    def size(self, number: int) -> int:
        """Return the bytes of a recording's files."""
        return sum(path.stat().st_size for path in self.recordings[number].files)

    def markets(self, number: int, listings: Listings, meter: Meter) -> Iterator[RecordedMarket]:
        """Read one recording and yield its markets in the order of their first message."""
        recording = self.recordings[number]
        rejections = Rejections(self.keep_going)
        decoder = Decoder(
            recording.dialect, recording.files, rejections, marks_own=self.exclude_own
        )
        sequencer = Sequencer(whole=self.whole or recording.dialect.parts)
        folder = self.work / f"spool{number}"
        folder.mkdir()
        spool = Spool(folder, MESSAGE_DTYPE)
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
        made: RecordedMarket | None = None
        for ticker, market in list(decoder.tickers.items()):
            messages = spool.take(market)
            clock.stamp_first(messages)
            listing = listings.of(ticker)
            of_event = _of_event(ticker, updates, decoder, clock)
            messages, unknown_fees = with_fees(
                ticker, messages, listing.fee, of_event, decoder.fees
            )
            messages = with_terms(messages, listing.closes_at, decoder.terms)
            found = _make(ticker, messages, recording, listing, rejections)
            if found is None:
                continue
            if made is not None:
                yield made
            row = counts[market]
            left_out = Counter(found.left_out)
            if unknown_fees:
                left_out["flat_fee"] = unknown_fees
            if sequencer.duplicates.get(market):
                left_out[LEFT_OUT[DUPLICATE]] = sequencer.duplicates[market]
            made = attrs.evolve(
                found,
                left_out=left_out,
                counts={"snapshots": int(row[Kind.SNAPSHOT]), "deltas": int(row[Kind.DELTA]),
                        "trades": int(row[Kind.TRADE])},
                read=int(row.sum() - row[Kind.LEVEL] - row[Kind.IGNORED] - row[Kind.START]),
                has_receipts=clock.stamped,
                is_unlisted=listings.lacks(ticker),
            )
        if made is not None:
            yield _with_rest(made, rejections)


def _with_rest(made: RecordedMarket, rejections: Rejections) -> RecordedMarket:
    """Return the last market of a recording with what was refused of none that has a tape."""
    reasons, examples = Counter(made.reasons), list(made.examples)
    for ticker in list(rejections.reasons):
        more, quoted = rejections.take(ticker)
        reasons.update(more)
        examples += quoted
    return attrs.evolve(made, reasons=reasons, examples=examples)


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
    recording: Recording, decoder: Decoder, rejections: Rejections, meter: Meter
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
) -> RecordedMarket | None:
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
    if not len(tape.rows):
        return None
    reasons, examples = rejections.take(ticker)
    places = find_places(tape.rows, (Market(ticker or "?", tape.tick),))
    timed = (messages["kind"] == Kind.DELTA) & (messages["ts"] != NO_TS)
    offset = int((messages["recv"] - messages["ts"])[timed].min()) if timed.any() else None
    facts = {"first_ts": tape.first_ts, "joined": tape.joined, "unjoined": tape.unjoined,
             "queue": attrs.asdict(places.counts), "close_ts": listing.close_ts,
             "settled_ts": listing.settled_ts}
    return RecordedMarket(
        Market(ticker or "?", tape.tick, listing.event), places.written_to(tape.rows),
        recording.name, tuple(path.name for path in recording.files), 0, tape.joined,
        tape.unjoined, {}, reasons, examples, left_out, places.counts, facts, offset,
    )


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

