"""The commands that make sessions of sessions: split, merge, slice and sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .commands import command
from .places import FOLDER
from .times import MOMENT

if TYPE_CHECKING:
    from foldbook.engine import Session

_NAMES_A_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@command("foldbook split sessions/KXGOLD15M --to parts/ --every 1h")
@click.argument("session")
@click.option("--to", required=True, type=FOLDER, help="Folder of the parts.")
@click.option("--every", metavar="TIME",
              help="Cut by time, at multiples of this since 1970 UTC: 1h. Default: by market.")
def split(session: str, to: Path, every: str | None, as_json: bool) -> None:
    """Cut a session into one session for each market, or for each stretch of time."""
    from .. import sessions
    from . import models, plugins

    length = None if every is None else models.option("--every", models.time, every)
    found = plugins.session(session)
    parts = _or_usage("--every", lambda: sessions.split(found, length))
    _keep_all(parts, to, as_json)


@command("foldbook merge parts/KXA parts/KXB --to sessions/both")
@click.argument("given", nargs=-1, required=True, metavar="SESSION...")
@click.option("--to", required=True, type=FOLDER, help="The session to write.")
def merge(given: tuple[str, ...], to: Path, as_json: bool) -> None:
    """Join sessions into one, by exchange time.

    Markets may be in several, at times that do not meet: between them is a gap then.
    """
    from .. import sessions
    from . import plugins

    sessions.check_place(to)
    merged = sessions.merge([plugins.session(each) for each in given], _name(to))
    _keep(merged, to, as_json)


@command("foldbook slice sessions/KXGOLD15M --from 2026-08-11T01:20:00Z --to part")
@click.argument("session")
@click.option("--to", required=True, type=FOLDER, help="The session to write.")
@click.option("--market", "markets", multiple=True, help="This market alone; repeatable.")
@click.option("--from", "since", type=MOMENT, help="Begin here: ns UTC, or ISO 8601 with a zone.")
@click.option("--until", type=MOMENT, help="End before this time.")
def slice(
    session: str,
    to: Path,
    markets: tuple[str, ...],
    since: int | None,
    until: int | None,
    as_json: bool,
) -> None:
    """Cut a stretch of time, or some of the markets, out of a session.

    In the middle of a market it begins with a snapshot of what stands there.
    """
    from .. import sessions
    from . import plugins

    sessions.check_place(to)
    found = plugins.session(session)
    try:
        made = sessions.slice_of(found, markets or None, since=since, until=until, name=_name(to))
    except KeyError as error:
        raise click.UsageError(f"--market: {error.args[0]}") from None
    _keep(made, to, as_json)


@command("foldbook sample sessions/ --n 3 --window 5m --seed 1 --to drawn/")
@click.argument("given", nargs=-1, required=True, metavar="SESSION|FOLDER...")
@click.option("--n", default=5, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option("--window", metavar="TIME", help="Draw stretches this long, not whole sessions: 5m.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another draw.")
@click.option("--to", type=FOLDER,
              help="Folder to write them to; without it whole sessions are only named.")
def sample(
    given: tuple[str, ...], n: int, window: str | None, seed: int, to: Path | None, as_json: bool
) -> None:
    """Draw sessions, or stretches of them, at random."""
    from .. import sessions
    from . import models, plugins, show

    if window is not None and to is None:
        raise click.UsageError("--window makes new sessions: it needs --to")
    length = None if window is None else models.option("--window", models.time, window)
    found = [plugins.session(each) for each in _expanded(given)]
    drawn = _or_usage("--window", lambda: sessions.sample(found, n, seed=seed, window=length))
    if to is None:
        show.answer(*_listed([_line(each) for each in drawn], as_json))
    else:
        _keep_all(drawn, to, as_json)


def _expanded(given: Iterable[str]) -> list[str]:
    """Return the sessions that are named, those in named folders of sessions among them."""
    from .. import sessions

    found: list[str] = []
    for each in given:
        folder = Path(each)
        found += map(str, sessions.find_sessions(folder)) if folder.is_dir() else [each]
    return found


def _or_usage(option: str, make: Callable[[], Any]) -> Any:
    """Return what `make` does; a value that it refuses is wrong use of an option."""
    from foldbook.engine.errors import FoldbookError

    try:
        return make()
    except ValueError as error:
        if isinstance(error, FoldbookError):
            raise
        raise click.UsageError(f"{option}: {error}") from None


def _keep_all(made: Iterable[Session], to: Path, as_json: bool) -> None:
    """Write each session into a folder, under its name, and say which they are."""
    from .. import sessions
    from . import show

    lines: dict[str, dict[str, Any]] = {}
    for each in made:
        if not _NAMES_A_FOLDER.fullmatch(each.name):
            raise click.UsageError(f"--to: {each.name!r} cannot name a folder")
        path = str(to / each.name)
        lines[path] = _line(sessions.save(each, path))
    show.answer(*_listed(list(lines.values()), as_json))


def _keep(made: Session, to: Path, as_json: bool) -> None:
    """Write one session, and say what it is."""
    from .. import sessions
    from . import show

    line = _line(sessions.save(made, to))
    show.answer(line, as_json, _table([line]), f"digest {line['digest']}")


def _listed(lines: list[dict[str, Any]], as_json: bool) -> tuple[Any, ...]:
    return {"sessions": lines}, as_json, _table(lines)


def _line(session: Session) -> dict[str, Any]:
    """Return what is said of a session that was made or drawn."""
    return {
        "session": str(session.source.get("path", session.name)),
        "markets": [market.ticker for market in session.markets],
        "events": len(session.tape),
        "first_ts": session.start if len(session.tape) else None,
        "last_ts": session.end if len(session.tape) else None,
        "digest": session.digest,
    }


def _table(lines: list[dict[str, Any]]) -> Any:
    from . import show
    from .reports import when

    rows = [
        (each["session"], len(each["markets"]), each["events"], when(each["first_ts"]),
         when(each["last_ts"]))
        for each in lines
    ]
    return show.table(rows, "session", "markets", "events", "first", "last")


def _name(to: Path) -> str:
    """Return the name of a session that is written to a path."""
    name = to.name or to.resolve().name
    return name if _NAMES_A_FOLDER.fullmatch(name) else "session"
