"""The limit of a replay: loops over our tape that only keep the book."""

from pathlib import Path

import driving

from foldbook.adapters import sessions
from foldbook.benchmarks.limits import loops


def main():
    given = driving.arguments()
    session = sessions.load(Path(given.feed).with_suffix(""))
    columns = driving.load(given.feed)
    rows = session.tape.rows
    loop = loops.c_loop() if given.mode == "c" else loops.numba_loop
    _, first, _ = driving.timed(loops.folded, loop, rows[:2000])

    def run():
        (book, _), wall, cpu = driving.timed(loops.folded, loop, rows)
        told = driving.same_book(columns, book[0], book[1])
        return {"work": len(columns["ts"]), "wall": wall, "cpu": cpu, "book": told}

    driving.serve(
        run, first_call_seconds=first, events=len(rows),
        versions=driving.versions("numba", "numpy"),
        bandwidth_gb_per_second=loops.memory_bandwidth(512),
    )  # fmt: skip


if __name__ == "__main__":
    main()
