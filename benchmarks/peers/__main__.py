"""Every peer against ours, in one command; results go to a file that the page is made from.

    python -m foldbook.benchmarks.peers --to benchmarks/results/peers.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from foldbook.adapters.cli.places import FILE

from ..machine import about_machine
from . import feed
from .environments import environment
from .race import race, to_stderr
from .rows import ROWS, SLOW_EVENTS

FOLDER = Path("build/peers")


@click.command()
@click.argument("names", nargs=-1, metavar="[ROW]...")
@click.option("--events", default=5_000_000, show_default=True, help="Records of the feed.")
@click.option("--runs", default=5, show_default=True, help="Alternating runs of each system.")
@click.option("--clock", type=click.Choice(["wall", "cpu"]), default="wall", show_default=True,
              help="What rates are counted by; cpu where the machine is shared.")  # fmt: skip
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True,
              help="Where environments and feeds are kept.")  # fmt: skip
@click.option("--to", type=FILE, help="File for the results, JSON.")
@click.option("--no-install", is_flag=True, help="Take only environments that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def main(
    names: tuple[str, ...], events: int, runs: int, clock: str, folder: Path, to: Path | None,
    no_install: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run peers and foldbook in turn on one feed. Example: peers replay maker --runs 5"""
    known = {row.name: row for row in ROWS}
    for name in names:
        if name not in known:
            raise click.UsageError(f"no row {name!r}; there are {', '.join(known)}")
    if events < SLOW_EVENTS // 10 or runs < 1:
        raise click.UsageError(f"events: {SLOW_EVENTS // 10} or more; runs: 1 or more")
    rows = [known[name] for name in names or known]
    needed = sorted({each.environment for row in rows for each in (row.ours, *row.peers)})
    folder = folder.resolve()
    places = {name: environment(name, folder, installs=not no_install) for name in needed}
    for place in places.values():
        if place.reason:
            to_stderr(f"{place.name}: {place.reason}")
    columns = feed.make(folder, events)
    done = []
    for row in rows:
        done.append(race(row, places, columns, folder, runs=runs, clock=clock, tell=to_stderr))
        # What is measured is kept at once: a later row that fails takes nothing with it.
        answer = {"machine": about_machine(), "events": events, "runs": runs, "clock": clock,
                  "rows": done}  # fmt: skip
        if to is not None:
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(json.dumps(answer, indent=1) + "\n")
        if not as_json:
            _show(done[-1])
    if as_json:
        click.echo(json.dumps(answer))
    sys.exit(0 if all(each["ratios"] for each in done) else 1)


def _show(row: dict) -> None:
    click.echo(f"\n{row['what']}")
    for ratio in row["ratios"]:
        target = f"target {ratio['target']:g}" if ratio["target"] is not None else "no target"
        verdict = {True: ": holds", False: ": MISSED", None: ""}[ratio["holds"]]
        click.echo(
            f"  {ratio['median']:8.2f} x {ratio['peer']} "
            f"({ratio['least']:.2f} to {ratio['most']:.2f}; {target}{verdict})"
        )
    for label, reason in row["missing"].items():
        click.echo(f"  {label}: {reason}")


if __name__ == "__main__":
    main(prog_name="peers")
