"""The commands of event logs: what a recorder wrote, shown, mended, and made into sessions.

The log itself is reached by entry points, as importers are. Nothing but click is imported here
before a command runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from .places import FOLDER

Command = Callable[..., Any]
WAIT_SECONDS = 0.2
"""Between two looks at a log that is followed."""


@click.group(epilog="\b\nExample:\n  foldbook log info logs/today --json")
def log() -> None:
    """Look after event logs: folders that a recorder writes, safe against a crash.

    DIR is the folder of a log. Every command takes --json.
    """


def command(example: str) -> Callable[[Command], click.Command]:
    """Register a command of `foldbook log` with `--json` and an example in its help."""

    def register(function: Command) -> click.Command:
        named = click.option(
            "--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr."
        )(function)
        return log.command(function.__name__, epilog=f"\b\nExample:\n  {example}")(named)

    return register


_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@command("foldbook log info logs/today")
@_folder
@click.pass_context
def info(context: click.Context, folder: Path, as_json: bool) -> None:
    """Say what a log holds, who writes it, and what of it is torn or damaged.

    Exit status 1 if frames are lost.
    """
    from . import reports, show

    found = _does("info")(folder)
    frames = found["frames"]
    show.answer(
        found, as_json,
        f"{found['log']}: frames {found['first']} to {found['next'] - 1} in {found['segments']} "
        f"segments, {found['bytes']:,} bytes",
        show.table([(frames["frame"], frames["opened"], frames["closed"], frames["reconnected"],
                     len(found["sources"]), reports.when(found["first_recv"]),
                     reports.when(found["last_recv"]))],
                   "heard", "opened", "closed", "reconnected", "sources", "first", "last"),
        *([f"writer: {found['writer']}"] if found["writer"] else []),
        *(["a compaction was cut short: foldbook log recover"]
          if found["unfinished_compaction"] and not found["compaction"] else []),
        *(f"not finished: segment {each['segment']}, offset {each['offset']}: {each['bytes']} "
          f"bytes: {each['why']}" for each in found["tails"]),
        *(f"damaged: {each}" for each in found["damage"]),
    )
    context.exit(1 if found["damage"] else 0)


@command("foldbook log recover logs/today")
@_folder
@click.option("--keep-going", is_flag=True, help="Count damage before the tail, and go on.")
def recover(folder: Path, keep_going: bool, as_json: bool) -> None:
    """Cut a torn tail, finish or undo a compaction that was cut short, and say so."""
    from . import show

    found, lines = _does("recover")(folder, keep_going=keep_going)
    show.answer(found, as_json, *(lines or ["nothing to mend"]),
                f"the next frame is {found['next']}")


@command("foldbook log cat logs/today --from 1000 --count 20")
@_folder
@click.option("--from", "number", type=click.IntRange(min=0), help="Begin with this frame.")
@click.option("--count", type=click.IntRange(min=0), help="Show so many and stop.")
@click.option("--follow", is_flag=True, help="Wait for more at the end.")
@click.option("--keep-going", is_flag=True, help="Pass over damage, and say what is lost.")
def cat(
    folder: Path, number: int | None, count: int | None, follow: bool, keep_going: bool,
    as_json: bool,
) -> None:
    """Show frames, a line of JSON each, as `foldbook log append` reads them."""
    from itertools import islice

    from . import show

    lost: list[str] = []
    found = _does("cat")(folder, number=number, keep_going=keep_going, lost=lost.append,
                         wait=_wait if follow else None)
    shown = islice(found, count) if count is not None else found
    if as_json:
        show.answer({"frames": list(shown), "damage": lost}, as_json)
    else:
        _print(shown)
    for each in lost:
        click.echo(f"damaged: {each}", err=True)


@command("foldbook log append logs/today recording.ndjson.gz --fsync 100ms,1000")
@_folder
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--fsync", default="100ms,1000", show_default=True, metavar="POLICY",
              help="each, never, 100ms, 1000 (frames), or both as 100ms,1000.")
@click.option("--segment-bytes", type=click.IntRange(min=1), help="Finish segments at this size.")
@click.option("--keep-going", is_flag=True, help="Count lines that are no frame, and go on.")
def append(folder: Path, files: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Append lines of JSON to a log, from files (plain or gzip) or from stdin.

    A line is {"recv_ts_ns", "raw"}, {"recv_ms", "event"} or {"received_ms", "frame"}; "source"
    names the recorder's lane.
    """
    from foldbook.engine import FoldbookError

    from . import show

    sources: list[tuple[str, Any]] = [(name, None) for name in files]
    if not sources:
        sources = [("stdin", sys.stdin.buffer)]
    try:
        found = _does("append")(folder, sources, say=_say, **options)
    except FoldbookError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    show.answer(found, as_json,
                f"{found['log']}: appended {found['next'] - found['first']} frames, rejected "
                f"{found['rejected']}; the next frame is {found['next']}", *found["examples"])


@command("foldbook log compact logs/today --to sessions/ --metadata metadata/ --remove")
@_folder
@click.option("--to", required=True, type=FOLDER, help="Folder of sessions.")
@click.option("--format", default="kalshi-ws", show_default=True, help="The importer to use.")
@click.option("--remove", is_flag=True, help="Then remove the segments that the sessions hold.")
@click.option("--metadata", type=click.Path(exists=True, path_type=Path),
              help="Folder with what the markets are and how they settled.")
@click.option("--group", is_flag=True, help="One session of all markets, not one each.")
@click.option("--keep-going", is_flag=True, help="Count what is damaged or rejected, and go on.")
@click.pass_context
def compact(
    context: click.Context, folder: Path, to: Path, as_json: bool, **options: Any
) -> None:
    """Make sessions of a log and verify them; then, only if told to, remove its segments.

    Exit status 1 if --remove left segments that it should have removed.
    """
    from . import reports, show

    with show.progress("compact") as report:
        done = _does("compact")(folder, to, progress=report, say=_say, **options)
    found = done.to_json()
    columns = ("session", "read", "joined", "rejected", "gaps")
    rows = [[each[name] for name in columns] for each in found["sessions"]]
    removed = [f"removed {len(found['removed'])} segments"] if options["remove"] else []
    show.answer(
        found, as_json,
        f"frames {done.first} to {done.next - 1}: {done.heard} heard, {done.control} of control",
        show.table(rows, *columns),
        *[text for each in found["sessions"] for text in each["examples"]][:reports.EXAMPLES_MAX],
        *reports.unlisted(found["sessions"]),
        *(f"damaged: {each}" for each in done.damage), *removed,
        *([done.kept] if done.kept else []),
    )
    context.exit(1 if done.kept else 0)


def _does(name: str) -> Callable[..., Any]:
    from . import plugins

    return plugins.entry("foldbook.logs", name)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _wait() -> bool:
    time.sleep(WAIT_SECONDS)
    return True


def _print(records: Iterable[Any]) -> None:
    """Write records as lines; whoever reads them may stop at any time."""
    import os

    import msgspec

    try:
        for record in records:
            click.echo(msgspec.json.encode(record))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
