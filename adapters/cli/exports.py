"""`foldbook export`: sessions into the formats of others; exporters are found by entry point.

An exporter is a function `(session, to, *, market) -> facts`: it writes one market to the file `to`
and says what it wrote, as what JSON can hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

GROUP = "foldbook.exporters"


def export(format: str, session: str, to: Path, market: str | None) -> dict[str, Any]:
    """Write a market of a session in a format. Raises UsageError for a format that is none, or a
    market that is not there."""
    from . import plugins

    exporter = plugins.entry(GROUP, format)
    try:
        written: dict[str, Any] = exporter(plugins.session(session), to, market=market)
    except ValueError as error:
        if type(error) is ValueError and str(error).startswith("market: "):
            raise click.UsageError(f"--{error}") from None
        raise
    return {"format": format, **written}
