"""`foldbook import`: one subcommand for each importer that is installed, with flags of its own.

An importer is a function `(sources, to, *, ...) -> reports`. Its keyword-only parameters are its
options, so nobody else's flags exist for it, and a package can add an importer by an entry point
alone. It is loaded when it is named: `--help` stays quick. Sources are paths, or the text as it
was given where the importer says `Sequence[str]`: a URL is no path.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from .places import FOLDER

GROUP = "foldbook.importers"
HANDED_OVER = "progress"
"""The one parameter that is no option: what is told how far the reading has come."""

_EXAMPLES = {
    "kalshi-ws": "recordings/ --to sessions/ --metadata metadata/",
    "seed-postgres": "postgresql://db.example/recorder --to sessions/ --session 7",
}


class Importers(click.Group):
    """The importers that are installed, by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(point.name for point in entry_points(group=GROUP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        from . import plugins

        return command_of(cmd_name, plugins.entry(GROUP, cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = sorted((point.name, f"of {point.dist.name if point.dist else point.module}")
                      for point in entry_points(group=GROUP))
        with formatter.section("Formats"):
            formatter.write_dl(rows)


class Importer(click.Command):
    """One importer: a flag that it does not take is refused in its name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flags = (flag for each in self.params if isinstance(each, click.Option)
                     for flag in each.opts)
            raise click.UsageError(
                f"{self.name} takes no {error.option_name}; it takes {', '.join(sorted(flags))}"
            ) from None


def command_of(name: str, importer: Callable[..., Any]) -> click.Command:
    """Return the command of an importer. Raises UsageError for one with an option of a type that
    no flag can give."""
    options = list(_options(name, importer))
    own = [option.name for option in options]
    source_type = _source_type(importer)

    def run(sources: tuple[str, ...], to: Path, as_json: bool, **given: Any) -> None:
        from . import reports, show

        with show.progress("import") as report:
            if HANDED_OVER in inspect.signature(importer).parameters:
                given[HANDED_OVER] = report
            try:
                reported = importer(list(map(source_type, sources)), to, **given)
            except ValueError as error:
                raise _of_an_option(error, own) from None
        show.answer(*reports.imported(reported, as_json))

    text = (inspect.getdoc(importer) or "").partition("\n\n")[0]
    example = _EXAMPLES.get(name, "recordings/ --to sessions/")
    return Importer(
        name,
        callback=run,
        params=[
            click.Argument(["sources"], nargs=-1, required=True, metavar="SOURCE..."),
            click.Option(["--to"], required=True, type=FOLDER, help="Folder of sessions."),
            *options,
            click.Option(["--json", "as_json"], is_flag=True,
                         help="One JSON object on stdout, all else on stderr."),
        ],
        help=text,
        epilog=f"\b\nExample:\n  foldbook import {name} {example}",
    )


def _of_an_option(error: ValueError, names: Sequence[str | None]) -> Exception:
    """Return the error that says "--name: ..." if an option's value is at fault, else this one."""
    name, colon, _ = str(error).partition(":")
    if type(error) is ValueError and colon and name in names:
        return click.UsageError(f"--{str(error).replace('_', '-', name.count('_'))}")
    return error


def _options(name: str, importer: Callable[..., Any]) -> Iterator[click.Option]:
    hints = get_type_hints(importer, include_extras=True)
    for parameter in inspect.signature(importer).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name == HANDED_OVER:
            continue
        hint, said = hints.get(parameter.name, Any), None
        if get_origin(hint) is Annotated:
            hint, said = get_args(hint)[0], get_args(hint)[1]
        required = parameter.default is parameter.empty
        settings = _settings(hint, parameter.default)
        if settings is None:
            raise click.UsageError(f"importer {name}: option {parameter.name} is {hint}, which no "
                                   "flag can give: expected bool, int, str, Path or Literal")
        default = {} if required else {"default": parameter.default}
        shown = {"show_default": True} if not required and _is_plain(parameter.default) else {}
        yield click.Option([f"--{parameter.name.replace('_', '-')}"], required=required,
                           help=said, **settings, **default, **shown)


def _source_type(importer: Callable[..., Any]) -> type[Path] | type[str]:
    """Return what an importer takes as its sources."""
    first = next(iter(inspect.signature(importer).parameters), "")
    return str if get_args(get_type_hints(importer).get(first)) == (str,) else Path


def _is_plain(value: Any) -> bool:
    """Whether a default is worth showing."""
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _settings(hint: Any, default: Any) -> dict[str, Any] | None:
    """Return how click is told of a type; None for one that it cannot be."""
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [each for each in get_args(hint) if each is not type(None)]
        return _settings(kinds[0], default) if len(kinds) == 1 else None
    if get_origin(hint) is Annotated:
        return _settings(get_args(hint)[0], default)
    if get_origin(hint) is Literal:
        return {"type": click.Choice([str(value) for value in get_args(hint)])}
    if hint is bool or (hint is Any and isinstance(default, bool)):
        return {"is_flag": True}
    if hint in (int, str):
        return {"type": hint}
    if hint is Path:
        return {"type": click.Path(path_type=Path)}
    return {"type": str} if hint is Any else None
