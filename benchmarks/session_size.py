"""How large sessions are on disk beside the compressed recordings that they were imported from.

The same rows are also written by Arrow's own Parquet writer, in the same row groups and with the
encodings that suit each column best there: the reason why foldbook writes its pages itself.

    python benchmarks/session_size.py ../shared/data/kalshi_gold15m/events
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from pyarrow import parquet

from foldbook.adapters import sessions
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.adapters.sessions.about import about_of
from foldbook.adapters.sessions.chunks import COMPRESSION_LEVEL
from foldbook.adapters.sessions.columns import COLUMNS
from foldbook.adapters.sessions.writing import GROUP_ROWS, write_portable
from foldbook.engine import Session

TARGET = 1 / 3
"""What the Parquet files may take of the compressed recordings."""


def by_arrow(path: Path, to: Path) -> float:
    """Write a session's Parquet file anew with Arrow's writer; return the CPU seconds it took."""
    deltas = {name: "DELTA_BINARY_PACKED" for name, each in COLUMNS.items() if each.is_delta}
    table = parquet.read_table(path)
    began = time.process_time()
    parquet.write_table(
        table, to, row_group_size=GROUP_ROWS, compression="zstd",
        compression_level=COMPRESSION_LEVEL, column_encoding=deltas,
        use_dictionary=[name for name in COLUMNS if name not in deltas],
    )  # fmt: skip
    return time.process_time() - began


def by_foldbook(session: Session, to: Path) -> float:
    """Write a session's Parquet file anew; return the CPU seconds it took."""
    about = about_of(session, session.facts)
    began = time.process_time()
    write_portable(to, session.tape.rows, about)
    return time.process_time() - began


def measured(source: Path, metadata: Path | None) -> dict[str, float]:
    """Import recordings, and return what they and their sessions take on disk."""
    result = dict.fromkeys(("events", "parquet_bytes", "arrow_bytes"), 0)
    cpu = dict.fromkeys(("parquet_cpu_seconds", "arrow_cpu_seconds"), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        to, again = Path(folder) / "sessions", Path(folder) / "again.parquet"
        for report in import_recording([source], to, metadata=metadata):
            session = sessions.load(report.session)
            sessions.verify_portable(report.session)
            path = report.session / sessions.PORTABLE_FILE
            result["events"] += len(session.tape)
            result["parquet_bytes"] += path.stat().st_size
            cpu["parquet_cpu_seconds"] += by_foldbook(session, again)
            assert again.read_bytes() == path.read_bytes(), "the same session, other bytes"
            cpu["arrow_cpu_seconds"] += by_arrow(path, again)
            result["arrow_bytes"] += again.stat().st_size
    raw = sum(path.stat().st_size for path in source.rglob("*.ndjson.gz"))
    return {
        "recording_bytes": raw,
        **result,
        "bytes_per_event": round(result["parquet_bytes"] / result["events"], 3),
        "ratio": round(result["parquet_bytes"] / raw, 4),
        "arrow_ratio": round(result["arrow_bytes"] / raw, 4),
        **{name: round(seconds, 2) for name, seconds in cpu.items()},
    }


def main(argv: list[str] | None = None) -> int:
    """Print sizes and ratios, as text or one JSON object; return 1 if they miss the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder of market folders with .ndjson.gz files")
    parser.add_argument("--metadata", type=Path, help="folder of the venue's event records")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args(argv)
    result = measured(arguments.source, arguments.metadata)
    if arguments.json:
        json.dump(result, sys.stdout)
        print()
    else:
        for name, value in result.items():
            print(f"{name:>20} {value:>14,}")
    return int(result["ratio"] > TARGET)


if __name__ == "__main__":
    raise SystemExit(main())
