"""The commands of catalogues: what is there, keep a session, forget one, renew the place itself.

Nothing but click is imported here before a command runs, so that `--help` is quick.
"""

from __future__ import annotations

from typing import Any

import click

from .commands import command
from .times import MOMENT

_WHERE = click.option(
    "--to", "where", metavar="URL|DIR", help="The catalogue; default: FOLDBOOK_CATALOG, else yours."
)


@command("foldbook ls postgresql://db.example/team --series KXGOLD15M --since 2026-08-10T00:00Z")
@click.argument("where", required=False, metavar="[URL|DIR]")
@click.option("--ticker", help="With this market.")
@click.option("--series", help="With a market of this series: KXGOLD15M.")
@click.option("--since", type=MOMENT, help="With an event then or later: ISO 8601, or ns UTC.")
@click.option("--until", type=MOMENT, help="With an event then or earlier.")
@click.option("--min-quality", type=click.FloatRange(0, 1), help="With at least this score.")
def ls(where: str | None, as_json: bool, **conditions: Any) -> None:
    """List the sessions of a catalogue, and what was mended in it.

    Without URL|DIR: that which FOLDBOOK_CATALOG names, else one of your own.
    """
    from .. import catalogue
    from . import listings, show

    opened = catalogue.open(where)
    try:
        found = opened.find(**conditions)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    show.answer(*listings.listed(opened, found, as_json))


@command("foldbook save sessions/KXGOLD15M-26AUG102130-30 --to postgresql://db.example/team")
@click.argument("session")
@_WHERE
@click.option("--name", help="Its name there; default: its own.")
def save(session: str, where: str | None, name: str | None, as_json: bool) -> None:
    """Keep a session in a catalogue, in the place of an older one of that name."""
    from .. import catalogue
    from . import listings, plugins, show

    opened = catalogue.open(where)
    entry = opened.save(plugins.session(session), name)
    show.answer({"catalogue": opened.url, **entry.to_json(), "repairs": list(opened.repairs)},
                as_json, *listings.mended(opened),
                f"saved {entry.name} in {opened.url}: {entry.events} events")


@command("foldbook remove KXGOLD15M-26AUG102130-30")
@click.argument("name")
@_WHERE
def remove(name: str, where: str | None, as_json: bool) -> None:
    """Remove a session from a catalogue for good."""
    from .. import catalogue
    from . import listings, show

    opened = catalogue.open(where)
    opened.remove(name)
    show.answer({"catalogue": opened.url, "removed": name, "repairs": list(opened.repairs)},
                as_json, *listings.mended(opened), f"removed {name} from {opened.url}")


@command("foldbook migrate postgresql://db.example/team")
@click.argument("where", required=False, metavar="[URL|DIR]")
def migrate(where: str | None, as_json: bool) -> None:
    """Make a catalogue, or renew an older one for this version.

    Colleagues with an older foldbook cannot use it from then on.
    """
    from .. import catalogue
    from . import show

    opened = catalogue.open(where)
    done = list(opened.migrate())
    told = [f"{opened.url}: {each}" for each in done] or [f"{opened.url}: is of this version"]
    show.answer({"catalogue": opened.url, "done": done}, as_json, *told)
