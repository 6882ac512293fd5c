"""How fast catalogues are: a long session saved and loaded, and many sessions listed.

Every answer is checked: the session that comes back is the one that was saved, and all of those
that were kept are listed. The many are copies of one small session: in a folder they are adopted,
in PostgreSQL copied by the server.

    python benchmarks/catalogue_rate.py FOLDER
    python benchmarks/catalogue_rate.py postgresql://localhost/scratch
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foldbook.adapters import catalogue, synthetic

_COPY = """
    WITH copied AS (
        INSERT INTO foldbook.sessions (name, digest, tickers, start_ts, end_ts, events, gaps, size,
                                       quality, recording, facts)
        SELECT 'many-' || each, digest, tickers, start_ts, end_ts, events, gaps, size, quality,
               recording, facts
        FROM foldbook.sessions, generate_series(1, %s) each WHERE name = 'one' RETURNING id
    )
    INSERT INTO foldbook.markets
    SELECT copied.id, m.number, m.ticker, m.series, m.event, m.tick
    FROM copied, foldbook.markets m JOIN foldbook.sessions s ON m.session = s.id AND s.name = 'one'
"""


def fill(place: str, count: int) -> None:
    """Keep `count` copies of the session "one"."""
    if "://" in place:
        import psycopg

        with psycopg.connect(place) as connection:
            connection.execute(_COPY, [count])
        return
    for number in range(1, count + 1):
        shutil.copytree(Path(place) / "one", Path(place) / f"many-{number}")


def timed(work: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Return the least seconds of some rounds, and the last answer."""
    least = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        answer = work()
        least = min(least, time.perf_counter() - begin)
    return least, answer


def main(argv: list[str] | None = None) -> int:
    """Print the figures, as text or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", help="an empty folder, or the URL of an empty database")
    parser.add_argument("--events", type=int, default=2_000_000, help="of the long session")
    parser.add_argument("--sessions", type=int, default=10_000, help="that are listed")
    parser.add_argument("--rounds", type=int, default=3, help="the best round of each counts")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args(argv)
    kept = catalogue.open(arguments.place)
    long = synthetic.session(seed=7, events=arguments.events)
    save, _ = timed(lambda: kept.save(long, "long"), arguments.rounds)
    load, loaded = timed(lambda: kept.load("long"), arguments.rounds)
    assert loaded == long
    kept.save(synthetic.session(seed=3, events=300, minutes=5), "one")
    fill(arguments.place, arguments.sessions)
    opening, kept = timed(lambda: catalogue.open(arguments.place), 1)
    again, _ = timed(lambda: catalogue.open(arguments.place), arguments.rounds)
    listing, entries = timed(kept.list, arguments.rounds)
    assert len(entries) == arguments.sessions + 2
    finding, found = timed(lambda: kept.find(series="SYN", until=long.end), arguments.rounds)
    assert len(found) == arguments.sessions + 2
    result = {
        "events": arguments.events,
        "save_rows_per_second": round(arguments.events / save),
        "load_rows_per_second": round(arguments.events / load),
        "sessions": len(entries),
        "first_open_seconds": round(opening, 4),
        "open_seconds": round(again, 4),
        "list_seconds": round(listing, 4),
        "find_seconds": round(finding, 4),
    }
    if arguments.json:
        json.dump(result, sys.stdout)
        print()
    else:
        for name, value in result.items():
            print(f"{name:>22} {value:>12,}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
