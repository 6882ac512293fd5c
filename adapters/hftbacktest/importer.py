"""Event arrays into sessions: files that foldbook wrote exactly as they were, others as a feed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.queues import QueueCounts
from foldbook.engine.schema import TAPE_DTYPE, TapeFlag, TapeKind

from .. import sessions
from ..recordings import (
    DryRun,
    Grid,
    Import,
    KeepGoing,
    MessageKind,
    Progress,
    RecordedMarket,
    Report,
    find_files,
)
from ..recordings.messages import MESSAGE_DTYPE
from ..recordings.windows import ContractOption, OriginOption, TickOption, Window, chosen
from .archive import has_array, read_array, read_events
from .beside import ABOUT, BINARY, FORMAT, RARE, REST, REST_DTYPE, About, to_rows, window_of
from .decode import Decoder
from .events import EVENT_DTYPE, Flag

BLOCK_MESSAGES = 1 << 16


def import_recording(
    sources: Sequence[Path],
    to: Path,
    *,
    ticker: Annotated[str | None, "Name of the market; default: the first file's."] = None,
    origin: OriginOption = None,
    tick: TickOption = None,
    contract: ContractOption = None,
    plain: Annotated[bool, "Read the events alone, not what foldbook wrote beside them."] = False,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Import hftbacktest event files (.npz, .npy): of others all files are one market, in order.

    Files that `export_session` wrote give the session again, each its own. origin, tick, contract:
    the window of binary prices (`recordings.windows`), decimal text; not given, prices are dollars
    and quantities contracts. Raises TapeError for the first bad event unless `keep_going`,
    ValueError for an option that is no number.
    """
    files = find_files(sources, ".npz", ".npy")
    ours = [path for path in files if not plain and has_array(path, ABOUT)]
    if ours and len(ours) != len(files):
        other = next(path for path in files if path not in ours)
        raise TapeError(f"{other}: was not written by foldbook, and {ours[0]} was: import them "
                        "apart, or with --plain")
    with Import("hftbacktest", to, files, keep_going=keep_going, dry_run=dry_run,
                progress=progress) as running:
        if ours:
            for path in ours:
                _store_again(running, path)
        else:
            _read(running, ticker, _window(origin, tick, contract))
        return running.reports()


def _window(origin: str | None, tick: str | None, contract: str | None) -> Window:
    if tick is not None and origin is None:
        raise ValueError("tick: needs --origin; together they are the window")
    window, _, size = chosen(origin, tick, contract or "1")
    return window or Window(BINARY.origin, BINARY.tick, size)


def _read(running: Import, ticker: str | None, window: Window) -> None:
    """Read all files as one market, and store it."""
    name = running.files[0].stem if ticker is None else ticker
    market = running.market(name, str(running.files[0]),
                            grid=None if window == BINARY else Grid(1))
    decoder = Decoder(window, market.refuse)
    is_binary = window.origin == BINARY.origin and window.tick == BINARY.tick
    if not is_binary:
        free = np.zeros(1, MESSAGE_DTYPE)
        free["kind"] = MessageKind.FEE
        market.add(free)
    total = 0
    for number, path in enumerate(running.files):
        row = 1
        for events in read_events(path, running.meter):
            decoder.take(events, number, row)
            row += len(events)
            if len(decoder) >= BLOCK_MESSAGES:
                market.add(decoder.messages())
        total += row - 1
    decoder.finish()
    market.add(decoder.messages())
    market.read = total
    market.left_out.update({name: count for name, count in decoder.left_out.items() if count})
    market.counts["float_noise"] = decoder.float_noise
    running.facts = {} if window == BINARY else {"window": window.to_json()}
    market.finish()


def _store_again(running: Import, path: Path) -> None:
    """Store the session that foldbook wrote to a file. Raises TapeError if it was changed."""
    about = _about(path)
    try:
        window = window_of(about.facts)
        market = about.market
    except ValueError as error:
        raise TapeError(f"{path}: array {ABOUT!r}: {error}") from None
    blocks = [events[events["ev"] & np.uint64(Flag.EXCHANGE) != 0]
              for events in read_events(path, running.meter)]
    events = np.concatenate([np.zeros(0, EVENT_DTYPE), *blocks])
    rest, rare = read_array(path, REST, REST_DTYPE), read_array(path, RARE, TAPE_DTYPE)
    try:
        rows = to_rows(events, rest, rare, window)
    except TapeError as error:
        raise TapeError(f"{path}: {error}") from None
    if sessions.digest_of([rows]) != about.tape_digest:
        raise TapeError(f"{path}: data was changed after foldbook wrote it: it does not give the "
                        "tape back; --plain reads the events alone")
    running.store(_recorded(path, market, rows, about.facts))


def _recorded(path: Path, market: Any, rows: np.ndarray, facts: dict[str, Any]) -> RecordedMarket:
    trades = rows["flags"][rows["kind"] == TapeKind.TRADE]
    joined = int(np.count_nonzero(trades & TapeFlag.JOINED))
    decreases = rows[rows["kind"] == TapeKind.DECREASE]
    guessed = int(np.count_nonzero(decreases["flags"] & TapeFlag.GUESSED))
    kinds = np.bincount(rows["kind"], minlength=len(TapeKind))
    raw = {
        "snapshots": int(kinds[TapeKind.SNAPSHOT]),
        "deltas": int(kinds[TapeKind.INCREASE] + kinds[TapeKind.DECREASE]),
        "trades": int(kinds[TapeKind.TRADE]),
    }
    return RecordedMarket(
        market, rows, str(path), (path.name,), len(rows), joined, len(trades) - joined,
        raw,
        queue=QueueCounts(joined, len(decreases) - joined - guessed, guessed, 0),
        session_facts=facts,
    )


def _about(path: Path) -> About:
    text = read_array(path, ABOUT, np.dtype("u1")).tobytes()
    try:
        about = msgspec.json.decode(text, type=About)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TapeError(f"{path}: array {ABOUT!r}: {error}") from None
    if about.format > FORMAT:
        raise TapeError(f"{path}: array {ABOUT!r} has format {about.format}, written by a newer "
                        f"version; this one reads up to {FORMAT}")
    return about
