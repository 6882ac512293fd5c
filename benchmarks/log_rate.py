"""How fast a log is written under each promise of durability, one by one and in groups, and read.

The frames are 300 bytes, about the size of the venue's messages. The table answers per policy; the
rate of the benchmark itself is that of all its work together, and says little.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from foldbook.adapters.log import Frame, Fsync, Reader, Writer, recover

from .harness import Case, benchmark

RAW_BYTES = 300
GROUP = 100
SYNCED_SHARE = 20
"""Where each frame waits for the disk, so many times fewer are written."""
POLICIES = (
    ("each", Fsync.EACH, 1), ("each", Fsync.EACH, GROUP),
    ("every 100 ms", Fsync.every(ms=100), 1), ("every 100 ms", Fsync.every(ms=100), GROUP),
    ("every 1000 frames", Fsync.every(frames=1000), 1), ("never", Fsync.NEVER, 1),
    ("never", Fsync.NEVER, GROUP),
)


@benchmark(toy=2_000, full=60_000, repeats=3)
def log_rate(size: int) -> Case:
    """Write a log of 300-byte frames under each fsync policy, then read and recover it."""
    frames = [Frame(1 + number * 100_000, 0, bytes(RAW_BYTES)) for number in range(size)]

    def run() -> list[dict[str, Any]]:
        folder = Path(tempfile.mkdtemp(prefix="foldbook-log-"))
        try:
            rows = []
            for number, (name, policy, group) in enumerate(POLICIES):
                alone = policy == Fsync.EACH and group == 1
                chosen = frames[: size // SYNCED_SHARE] if alone else frames
                rows.append(_written(folder / str(number), name, policy, group, chosen))
            last = folder / str(len(POLICIES) - 1)
            began = time.perf_counter()
            with Reader(last) as reader:
                count = sum(1 for _ in reader.read())
            rows.append(_row("read", 1, count, time.perf_counter() - began))
            began = time.perf_counter()
            rows.append(_row("recover", 1, recover(last).next, time.perf_counter() - began))
            return rows
        finally:
            shutil.rmtree(folder)

    def check(rows: list[dict[str, Any]]) -> None:
        counts = [row["frames"] for row in rows]
        assert counts == [size // SYNCED_SHARE, *[size] * (len(rows) - 1)], counts

    work = size * (len(POLICIES) + 1) + size // SYNCED_SHARE
    return Case(run, work, "frames", check, tables=lambda rows: {"by policy": rows})


def _written(
    folder: Path, name: str, policy: Fsync, group: int, frames: list[Frame]
) -> dict[str, Any]:
    """Return the row of one policy. Closing, which may fsync, is part of the time."""
    began = time.perf_counter()
    with Writer(folder, fsync=policy) as writer:
        if group == 1:
            for frame in frames:
                writer.append(frame)
        else:
            for begin in range(0, len(frames), group):
                writer.append_all(frames[begin : begin + group])
    return _row(f"write, fsync {name}", group, writer.next, time.perf_counter() - began)


def _row(what: str, group: int, frames: int, seconds: float) -> dict[str, Any]:
    return {"what": what, "group": group, "frames": frames,
            "frames_per_second": round(frames / seconds),
            "mb_per_second": round(frames * RAW_BYTES / seconds / 1e6, 1)}
