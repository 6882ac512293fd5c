"""Import of recordings against gunzip and typed decoding alone: what the joins and checks cost.

Both read the same files in the same run, on one core. The base inflates with the same library and
decodes each message with all the fields that the venue documents, a chunk of lines at a time; it
keeps nothing. The importer is run once before, so that its kernels are compiled. With `--workers N`
it is also run in N processes, by turns.

    python benchmarks/import_rate.py ../shared/data/kalshi_gold15m/events --workers 2 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import msgspec
from isal import igzip

from foldbook.adapters.kalshi_ws import import_recording

CHUNK_BYTES = 1 << 21


class Delta(msgspec.Struct):
    market_ticker: str
    market_id: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    ts: str
    ts_ms: int


class Trade(msgspec.Struct):
    trade_id: str
    market_ticker: str
    yes_price_dollars: str
    no_price_dollars: str
    count_fp: str
    taker_side: Literal["yes", "no"]
    taker_outcome_side: str
    taker_book_side: str
    ts: int
    ts_ms: int


class Snapshot(msgspec.Struct):
    market_ticker: str
    market_id: str
    yes_dollars_fp: list[tuple[str, str]] = []
    no_dollars_fp: list[tuple[str, str]] = []


class Frame(msgspec.Struct, tag_field="type"):
    sid: int
    seq: int


class DeltaFrame(Frame, tag="orderbook_delta"):
    msg: Delta


class TradeFrame(Frame, tag="trade"):
    msg: Trade


class SnapshotFrame(Frame, tag="orderbook_snapshot"):
    msg: Snapshot


class Line(msgspec.Struct):
    recv_ms: int
    event: DeltaFrame | TradeFrame | SnapshotFrame


def decode_only(paths: list[Path]) -> int:
    """Return how many messages gunzip and typed decoding read."""
    decoder = msgspec.json.Decoder(Line)
    count = 0
    for path in paths:
        rest = b""
        with igzip.open(path) as file:
            while block := file.read(CHUNK_BYTES):
                end = block.rfind(b"\n") + 1
                count += len(decoder.decode_lines(rest + block[:end]))
                rest = block[end:]
    return count


def main(argv: list[str] | None = None) -> int:
    """Print the rates, their ratios and the peak of memory, as text or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder of market folders with .ndjson.gz files")
    parser.add_argument("--metadata", type=Path, help="folder of the venue's event records")
    parser.add_argument("--rounds", type=int, default=3, help="the best round of each counts")
    parser.add_argument("--workers", type=int, default=1,
                        help="also import with so many processes, by turns; medians are compared")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args(argv)
    paths = sorted(arguments.source.rglob("*.ndjson.gz"))
    base: list[float] = []
    imported: dict[int, list[float]] = {1: []} | {arguments.workers: []}
    with tempfile.TemporaryDirectory() as folder:
        import_recording([paths[0]], Path(folder))
        for _ in range(arguments.rounds):
            begin = time.perf_counter()
            messages = decode_only(paths)
            base.append(time.perf_counter() - begin)
            for workers, times in imported.items():
                begin = time.perf_counter()
                reports = import_recording([arguments.source], Path(folder), workers=workers,
                                           metadata=arguments.metadata)
                times.append(time.perf_counter() - begin)
                read = sum(report.read for report in reports)
                assert read == messages, f"imported {read} of {messages} messages"
    result = {
        "messages": messages,
        "sessions": len(reports),
        "decode_per_second": round(messages / min(base)),
        "import_per_second": round(messages / min(imported[1])),
        "ratio": round(min(base) / min(imported[1]), 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if arguments.workers > 1:
        one, several = (statistics.median(times) for times in imported.values())
        result |= {
            "workers": arguments.workers,
            "median_per_second": round(messages / one),
            "workers_median_per_second": round(messages / several),
            "workers_ratio": round(one / several, 3),
        }
    if arguments.json:
        json.dump(result, sys.stdout)
        print()
    else:
        for name, value in result.items():
            print(f"{name:>25} {value:>12,}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
