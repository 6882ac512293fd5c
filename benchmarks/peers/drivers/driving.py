"""What every driver shares; it runs in a peer's environment, so it needs NumPy alone.

A driver prints one JSON line when it is ready (imported, compiled, data in memory) and one more
each time it reads a line: a run, with its seconds, counts and what the system says of the final
book. It ends with its input. What is not the system's own work is not timed.
"""

import argparse
import json
import resource
import sys
import time
from importlib import metadata

import numpy as np

STARTED = time.perf_counter()
FEED_DELAY = 1_000_000
ORDER_DELAY = 10_000_000
STEP = 100_000_000
SNAPSHOT, CHANGE, TRADE = range(3)
QTY = 10.0
LIMIT = 500.0


def arguments(*extra):
    """Return what the command line says; extra: (name, default) of further options."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--feed", required=True)
    parser.add_argument("--mode", required=True)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--envs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    for name, default in extra:
        parser.add_argument(name, type=type(default), default=default)
    return parser.parse_args()


def load(path, limit=0):
    """Return the columns of a feed, or of its first records, cut where a time ends."""
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    if limit and limit < len(columns["ts"]):
        end = int(np.searchsorted(columns["ts"], columns["ts"][limit], side="left"))
        for name in ("ts", "recv", "kind", "side", "price", "change", "level", "rows"):
            columns[name] = columns[name][:end]
        book = np.zeros((2, 101), np.int64)
        at = columns["kind"] != TRADE
        np.add.at(book, (columns["side"][at], columns["price"][at]), columns["change"][at])
        columns["bids"], columns["asks"] = book
    return columns


def same_book(columns, bids, asks):
    """Check a final book, 0.01 contract by cents, shape (101,) each, against the feed's."""
    assert (bids == columns["bids"]).all(), "the final bids are not those of the feed"
    assert (asks == columns["asks"]).all(), "the final asks are not those of the feed"
    return [int(bids.sum()), int(asks.sum()), int((bids > 0).sum()), int((asks > 0).sum())]


def memory():
    """Return anonymous memory now and the peak of resident memory, MB."""
    with open("/proc/self/status") as file:
        values = dict(line.split(":", 1) for line in file)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"anonymous_mb": int(values["RssAnon"].split()[0]) / 1024, "peak_rss_mb": peak}


def timed(function, *given):
    """Return what a call returned, its seconds of wall time, and those of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    answer = function(*given)
    return answer, time.perf_counter() - wall, time.process_time() - processor


def versions(*names):
    """Return the installed versions of distributions, those that there are."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def tell(**values):
    """Print one line of JSON."""
    print(json.dumps(values, default=lambda value: value.item()), flush=True)


def serve(run, **ready):
    """Tell that all is ready, then run once for each line of input."""
    tell(ready_seconds=time.perf_counter() - STARTED, **ready, **memory())
    for _ in sys.stdin:
        tell(**run(), **memory())


def step_for(seconds, step, many):
    """Step for some time, counting: return a run of `step(i)`, which is `many` env steps."""

    def loop():
        count, began = 0, time.perf_counter()
        while True:
            for _ in range(64):
                step(count)
                count += 1
            if time.perf_counter() - began > seconds:
                return count

    def run():
        count, wall, processor = timed(loop)
        return {"work": count * many, "wall": wall, "cpu": processor}

    return run
