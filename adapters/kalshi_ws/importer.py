"""Recordings of the venue's WebSocket into sessions: read, put in order, fold, store.

A market's tape is made when its recording has been read, and a session is written to its place in
one step. Nothing that was stored before is touched by a failure.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from foldbook.engine.errors import TapeError

from ..recordings import DryRun, Group, KeepGoing, Metadata, Meter, Progress, Report, Store
from .listing import Listings
from .reading import Job
from .sources import find_recordings
from .workers import FORMAT, side_by_side


def import_recording(
    sources: Sequence[Path],
    to: Path,
    *,
    metadata: Metadata = None,
    group: Group = False,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    seq_scope: Annotated[
        Literal["subscription"] | None,
        "The recording holds whole subscriptions: each hole in seq is a gap.",
    ] = None,
    exclude_own: Annotated[bool, "Leave your own recorded orders out of the book."] = False,
    workers: Annotated[int, "Processes that read recordings side by side."] = 1,
    progress: Progress | None = None,
) -> list[Report]:
    """Import recordings into sessions below the folder `to`; return one report per session.

    sources: folders and files in any of the recorders' dialects (docs/importing.md). metadata: a
    folder of the venue's event records: grids and settlement. group: one session with all markets,
    else one per market, named by ticker. keep_going: count rows that are refused, and go on; else
    the first one raises TapeError. seq_scope: "subscription" says that the recordings hold whole
    subscriptions, so that each hole in seq is a gap. exclude_own: leave the recorder's own orders,
    known by client_order_id, out of the book. workers: recordings read at a time, each in a process
    of its own; the sessions are the same. progress: called with bytes read and in all.
    """
    if seq_scope not in (None, "subscription"):
        raise ValueError(f"seq_scope: {seq_scope!r}, expected 'subscription' or None")
    if workers < 1:
        raise ValueError(f"workers: {workers}, expected at least 1")
    recordings = find_recordings([Path(source) for source in sources])
    meter = Meter(progress, [path for each in recordings for path in each.files])
    to = Path(to)
    if not dry_run:
        to.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".import.", dir=None if dry_run else to))
    job = Job(tuple(recordings), metadata, work, keep_going=keep_going,
              whole=seq_scope is not None, exclude_own=exclude_own)
    try:
        with Store(to, FORMAT, work, group=group, dry_run=dry_run) as store:
            if min(workers, len(recordings)) > 1:
                side_by_side(job, store, meter, workers, writes=not (group or dry_run))
            else:
                listings = Listings(metadata)
                for number in range(len(recordings)):
                    for market in job.markets(number, listings, meter):
                        store.add(market)
            reports = store.reports()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not reports:
        names = ", ".join(str(source) for source in sources)
        raise TapeError(f"{names}: holds no market with a snapshot of its book")
    return reports
