"""The page docs/performance.md, made from results: nothing on it that was not measured.

    python -m foldbook.benchmarks.performance --to docs/performance.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .peers.fills import RULES
from .peers.queue_rules import RULES as QUEUE_RULES
from .plots import log_log

RESULTS = Path("benchmarks/results")
Rows = list[tuple[str, ...]]


def page(results: dict[str, dict[str, Any]], plots: Path | None = None) -> str:
    """Return the page of the results by name: "peers", "fills" and "scaling"; any may be missing.

    plots: folder for the pictures, which the page names relative to its own; None draws none.
    """
    parts = [
        "# Performance",
        "This page is made by `make performance` from what `make bench-peers` and `make bench` "
        "measured. Ratios are ours over the other's, of paired runs that alternate; above 1 we are "
        "faster, and for memory below 1 we need less. Compiling is not part of a rate.",
    ]
    if "peers" in results:
        parts += _peers(results["peers"])
    if "fills" in results:
        parts += _fills(results["fills"])
        parts += _queue_fills(results["fills"].get("nautilus"))
    if "scaling" in results:
        parts += _scaling(results["scaling"], plots)
    absent = [name for name in ("peers", "fills", "scaling") if name not in results]
    if absent:
        parts.append(f"Not measured yet: {', '.join(absent)}.")
    return "\n\n".join(parts) + "\n"


def _machine(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"Measured on {about['cores']} cores ({about['processor']}), {about['memory_gb']} GB, "
        f"Python {about['python']}, {versions}; the load average was {about['load']:.1f}."
    )


def _peers(told: dict[str, Any]) -> list[str]:
    parts = ["## Beside other systems", _machine(told["machine"])]
    parts.append(
        f"One generated market of {told['events']:,} records; {told['runs']} alternating runs, by "
        f"the {'wall clock' if told['clock'] == 'wall' else 'time of the processor'}. Each run was "
        "checked: every event processed, and the final book that of the feed."
    )
    ratios: Rows = []
    for row in told["rows"]:
        for each in row["ratios"]:
            sign = "≤" if row["measure"] == "memory" else "≥"
            target = "" if each["target"] is None else f"{sign} {each['target']:g}"
            verdict = {True: "holds", False: "missed", None: ""}[each["holds"]]
            ratios.append((row["what"], each["peer"], f"{each['median']:.2f}",
                           f"{each['least']:.2f} to {each['most']:.2f}", target,
                           verdict))  # fmt: skip
    parts.append(table(("row", "against", "ratio", "spread", "target", ""), ratios))
    parts.append("What each system simulated in its row, and how long its first call took:")
    realism: Rows = []
    for row in told["rows"]:
        for each in row["results"]:
            first = each["first_call_seconds"]
            records = f"first {each['limit']:,}" if each["limit"] else "all"
            realism.append((row["what"], each["label"], each["realism"], records,
                            "" if first is None else f"{first:.1f} s"))  # fmt: skip
    parts.append(table(("row", "system", "simulates", "records", "first call"), realism))
    missing = {label: why for row in told["rows"] for label, why in row["missing"].items()}
    if missing:
        parts.append("Not measured:")
        parts.append("\n".join(f"- {label}: {why}" for label, why in sorted(missing.items())))
    return parts


def _fills(told: dict[str, Any]) -> list[str]:
    rows: Rows = [(RULES[name], f"{count:,}") for name, count in told["rules"].items()]
    return [
        "## The same fills",
        f"One market maker quotes one lot on both sides every 100 ms of {told['events']:,} records "
        "in both systems, with the queue at the back, orders and answers of 10 ms, and the feed "
        f"1 ms late: {told['ours']:,} fills of ours, {told['theirs']:,} of hftbacktest's.",
        table(("what", "fills"), rows),
        "Ours gives back at once what own fills took of the displayed book, as hftbacktest never "
        "takes any. As it runs by default the takings stay, and there are "
        f"{told['by_takings']['more']} fills more and {told['by_takings']['fewer']} fewer.",
    ]


def _queue_fills(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return ["nautilus_trader's fills have not been compared."]
    if "missing" in told:
        return [f"nautilus_trader's fills have not been compared: {told['missing']}."]
    differences: Rows = [
        (name, *(f"{counts.get(how, 0):,}" for how in ("ours alone", "theirs alone", "moved")))
        for name, counts in told["rules"].items()
    ]
    plain = told["plain"]
    return [
        "### nautilus_trader, with its queue tracking",
        f"The same maker over {told['events']:,} records, with orders 10 ms late and no other "
        f"delay, as nautilus_trader knows none: {told['ours']:,} fills of ours (takings given back "
        f"at once), {told['theirs']:,} of nautilus_trader's, {told['same']:,} of them the same. "
        "Its rules are others. A model of a maker's orders, in which each rule can be ours or "
        "theirs, tells every fill of both systems but for "
        f"{told['unexplained_count']:,} that stay unexplained. An order that differs is put down "
        "to the fewest rules that, as theirs while the others are as ours, give it what it got "
        "there; rules without a line made no difference:",
        table(("by the rule", "ours alone", "theirs alone", "at another time"), differences),
        table(("rule", "in nautilus_trader"), list(QUEUE_RULES.items())),
        f"On {plain['events']:,} records of a feed where these rules say the same: "
        f"{plain['ours']:,} fills of ours, {plain['theirs']:,} of nautilus_trader's, "
        f"{plain['same']:,} the same.",
    ]


def _scaling(told: dict[str, Any], plots: Path | None) -> list[str]:
    parts = ["## As work grows", _machine(told["machine"]), told["verdict"]]
    for each in told["series"]:
        parts.append(f"### {each['name'].capitalize()}")
        least = min(seconds for _, seconds in each["points"])
        rows: Rows = [
            (f"{size:,}", f"{seconds:.4f} s", f"{seconds / least:.1f}")
            for size, seconds in each["points"]
        ]
        parts.append(f"{each['what'].capitalize()}: it grows with the power {each['power']:.2f}.")
        parts.append(table((each["unit"], "time of the processor", "of the least"), rows))
        if plots is not None:
            plots.mkdir(parents=True, exist_ok=True)
            drawn = log_log(each["what"], each["points"], each["unit"], "seconds")
            (plots / f"{each['name']}.svg").write_text(drawn)
            parts.append(f"![{each['what']}]({plots.name}/{each['name']}.svg)")
    return parts


def table(heads: tuple[str, ...], rows: Rows) -> str:
    """Return a table in Markdown.

    >>> print(table(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [heads, *rows]
    written = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([written[0], "|" + "---|" * len(heads), *written[1:]])


@click.command()
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True,
              help="Folder of the results.")  # fmt: skip
@click.option("--to", type=click.Path(path_type=Path), help="The page; default: printed.")
def main(results: Path, to: Path | None) -> None:
    """Make the page from results. Example: performance --to docs/performance.md"""
    read = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    if not read:
        raise click.UsageError(f"results: there are none in {results}: run `make bench-peers`")
    if to is None:
        click.echo(page(read), nl=False)
        return
    to.write_text(page(read, to.parent / "performance"))


if __name__ == "__main__":
    main(prog_name="performance")
