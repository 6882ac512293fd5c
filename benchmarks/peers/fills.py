"""Whether hftbacktest and ours fill the same orders: one maker, one feed, the same models.

Both quote one lot, the smallest that there is, so that an order is filled whole or not at all, and
hftbacktest's rule of whole fills says nothing else than ours. One rule still differs: in ours a
quote through an own order is taken from the displayed book, so the level stays that much shorter;
there the book is never touched. It is shown by a second run of ours that gives takings back after
1 ns: what differs only without that is put down to it, and what is left is unexplained. The same
maker in nautilus_trader is compared by `nautilus_fills`.

    python -m foldbook.benchmarks.peers.fills
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from foldbook.adapters.cli.places import FILE

from ..machine import about_machine
from . import feed, nautilus_fills
from .environments import OURS, environment
from .race import ask, to_stderr
from .rows import Runner

LOT = "0.01"
RULES = {
    "same": "the same side and price filled at the same time of the exchange",
    "later": "the same side and price, filled at another row of the tape within one step of 100 ms",
    "ours alone": "unexplained: only ours fills",
    "theirs alone": "unexplained: only hftbacktest fills",
}
STEP = 100_000_000
Fill = tuple[int, int, int]
"""ts of the exchange, side, cents."""


def compare(ours: list[Fill], theirs: list[Fill]) -> dict[str, Any]:
    """Match fills and put each that has no like down to a rule of RULES.

    Returns how many of each, and the first that are unexplained.

    >>> compare([(5, 0, 40)], [(5, 0, 40)])["rules"]
    {'same': 1}
    >>> compare([(5, 0, 40), (9, 1, 42)], [(6, 0, 40)])["rules"]
    {'later': 1, 'ours alone': 1}
    """
    left, right = Counter(ours), Counter(theirs)
    same = left & right
    rules: Counter[str] = Counter(same=same.total())
    mine, others = sorted((left - same).elements()), sorted((right - same).elements())
    unexplained: list[dict[str, Any]] = []
    for fill in mine:
        ts, side, cents = fill
        twin = next(
            (each for each in others if each[1:] == (side, cents) and abs(each[0] - ts) < STEP),
            None,
        )
        if twin is not None:
            others.remove(twin)
            rules["later"] += 1
        else:
            rules["ours alone"] += 1
            unexplained.append({"who": "ours", "ts": ts, "side": side, "cents": cents})
    rules["theirs alone"] += len(others)
    unexplained += [{"who": "theirs", "ts": t, "side": s, "cents": c} for t, s, c in others]
    unexplained.sort(key=lambda each: each["ts"])
    return {
        "ours": len(ours), "theirs": len(theirs),
        "rules": {name: count for name, count in rules.items() if count},
        "unexplained": unexplained[:20],
    }  # fmt: skip


def measure(folder: Path, events: int, *, installs: bool) -> dict[str, Any]:
    """Run both and compare their fills. Raises RuntimeError where hftbacktest is missing."""
    place = environment("hftbacktest", folder, installs=installs)
    if place.python is None:
        raise RuntimeError(f"hftbacktest: {place.reason}")
    columns = feed.make(folder, events)
    own, giving = (
        Runner("foldbook", OURS, "drive_ours", "maker-late", "",
               more=("--qty", LOT, "--restored", after))
        for after in ("0", "1")
    )  # fmt: skip
    peer = Runner(
        "hftbacktest", "hftbacktest", "drive_hft", "maker", "",
        more=("--qty", LOT, "--noted", str(events)),
    )  # fmt: skip
    ours = ask(own, environment(OURS, folder), columns, folder)
    given_back = ask(giving, environment(OURS, folder), columns, folder)
    theirs = ask(peer, place, columns, folder)
    told = {
        name: {key: each[key] for key in ("submits", "cancels", "fills", "position")}
        for name, each in (
            ("foldbook", ours),
            ("foldbook, takings given back", given_back),
            ("hftbacktest", theirs),
        )
    }
    fills, restored, others = (
        [(int(ts), int(side), int(cents)) for ts, side, cents, *_ in each["noted"]]
        for each in (ours, given_back, theirs)
    )
    found = {"events": events, "totals": told, **compare(restored, others)}
    # Fills of the run as users make it that the second run has not: the rule of takings alone.
    found["by_takings"] = {
        "more": (Counter(fills) - Counter(restored)).total(),
        "fewer": (Counter(restored) - Counter(fills)).total(),
    }
    return found


@click.command()
@click.option("--events", default=1_000_000, show_default=True, help="Records of the feed.")
@click.option("--queue-events", default=200_000, show_default=True,
              help="Records of the feed for nautilus_trader's queue tracking; 0: leave it out.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("build/peers"),
              help="Where environments and feeds are kept.")  # fmt: skip
@click.option("--to", type=FILE, help="File for the results, JSON.")
@click.option("--no-install", is_flag=True, help="Take only environments that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def main(
    events: int, queue_events: int, folder: Path, to: Path | None, no_install: bool, as_json: bool
) -> None:
    """Compare fills with hftbacktest's and nautilus_trader's. Example: fills --events 200000

    Exit code 1 says that a difference is unexplained, or that a peer is missing.
    """
    try:
        answer = measure(folder.resolve(), events, installs=not no_install)
    except RuntimeError as error:
        to_stderr(str(error))
        sys.exit(2)
    answer["machine"] = about_machine()
    queues = _queues(folder.resolve(), queue_events, installs=not no_install)
    if queues is not None:
        answer["nautilus"] = queues
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps(answer, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"fills: {answer['ours']} of ours, {answer['theirs']} of hftbacktest's")
        for name, count in answer["rules"].items():
            click.echo(f"  {count:8} {name}: {RULES[name]}")
        taken = answer["by_takings"]
        click.echo(f"  takings kept: {taken['more']} more and {taken['fewer']} fewer of ours")
        for name, counts in answer["totals"].items():
            click.echo(f"  {name}: {counts}")
        for each in answer["unexplained"][:5]:
            click.echo(f"  {each}")
        if queues is not None:
            nautilus_fills.show(queues)
    is_explained = set(answer["rules"]) == {"same"}
    if queues is not None:
        is_explained = is_explained and nautilus_fills.is_explained(queues)
    sys.exit(0 if is_explained else 1)


def _queues(folder: Path, events: int, *, installs: bool) -> dict[str, Any] | None:
    """Return the comparison with nautilus_trader, or why there is none; None if left out."""
    if not events:
        return None
    try:
        return nautilus_fills.measure(folder, events, installs=installs)
    except RuntimeError as error:
        to_stderr(str(error))
        return {"missing": str(error)}


if __name__ == "__main__":
    main(prog_name="fills")
