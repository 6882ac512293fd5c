"""The group of all commands, and how a command joins it.

Nothing but click is imported here, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="foldbook")
def foldbook() -> None:
    """Backtest strategies on binary prediction markets, event by event and to the last cent.

    SESSION is the folder of a session, a generated one: synthetic:SEED, or one of your catalogue:
    catalogue:NAME.
    """


def command(example: str) -> Callable[[Command], click.Command]:
    """Register a command with `--json` and an example in its help."""

    def register(function: Command) -> click.Command:
        named = click.option(
            "--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr."
        )(function)
        name = function.__name__.removesuffix("_command")
        return foldbook.command(name, epilog=f"\b\nExample:\n  {example}")(named)

    return register
