"""The commands: what each is told, what it answers, and an example of each.

Nothing but click is imported here before a command runs, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import logs
from .imports import Importers
from .places import FILE

DEMO_STRATEGY = "foldbook.examples.market_maker:MarketMaker"
DEMO_SESSION = "synthetic:7"

Command = Callable[..., Any]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="foldbook")
def foldbook() -> None:
    """Backtest strategies on binary prediction markets, event by event and to the last cent.

    SESSION is the folder of a session, a generated one: synthetic:SEED, or one of your catalogue:
    catalogue:NAME.
    """


foldbook.add_command(logs.log)


def command(example: str) -> Callable[[Command], click.Command]:
    """Register a command with `--json` and an example in its help."""

    def register(function: Command) -> click.Command:
        named = click.option(
            "--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr."
        )(function)
        name = function.__name__.removesuffix("_command").replace("_", "-")
        return foldbook.command(name, epilog=f"\b\nExample:\n  {example}")(named)

    return register


def options_of_a_run(function: Command) -> Command:
    """Add the options of a run; those of the venue arrive as what `models.settings` takes."""
    for option in (
        click.option("--every", metavar="TIME", help="Call a function every so often: 100ms."),
        click.option("--collateral-return", is_flag=True,
                     help="Pay at once what NO in several markets of one event is sure to pay."),
        click.option("--restored-after", default="0ms", metavar="TIME",
                     help="Give back what own fills took from the display so late; 0ms never."),
        click.option("--risk", default="", metavar="K=V,...",
                     help="Own limits: max_position=100 (contracts), max_loss=50 (dollars), ..."),
        click.option("--queue", default="conservative", show_default=True,
                     help="Queue model: or optimistic, proportional, powerN, log, rebuilt."),
        click.option("--latency", default="0ms", show_default=True, metavar="TIME|K=V,...",
                     help="50ms, or order=50ms,cancel=20ms,response=5ms,feed=recorded; "
                     "order=@FILE draws from one delay a line."),
        click.option("--fees", metavar="NAME", help="Fee schedule; default: by date."),
        click.option("--order-capacity", type=click.IntRange(1, 1_000_000), default=64,
                     show_default=True, help="Orders that may be open in a market at once."),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of the run."),
        click.option("--cash", default="1000", show_default=True, help="Dollars to begin with."),
        click.option("--market", "markets", multiple=True, help="This market alone; repeatable."),
        click.option("--param", "params", multiple=True, metavar="K=V", help="Passed to Name."),
    ):
        function = option(function)
    return function


@command("foldbook demo --seed 7")
@click.option("--seed", default=7, show_default=True, help="Seed of the generated session.")
@click.option("--journal", type=FILE, help="Save the journal here.")
def demo(seed: int, journal: Path | None, as_json: bool) -> None:
    """Generate a session, run a market maker over it, and explain one of its fills."""
    from . import plugins, reports, runs, show

    session = plugins.session(f"{DEMO_SESSION.partition(':')[0]}:{seed}")
    result, seconds = runs.finish(runs.Decider(DEMO_STRATEGY), session, journal)
    why = result.explain(0) if len(result.fills) else "no fill to explain"
    figures = reports.backtest(result, seconds)
    show.answer({**figures, "explained": why}, as_json, result.summary(), "", why, "",
                f"digest {result.digest}")


@foldbook.group(
    "import", cls=Importers, no_args_is_help=False, subcommand_metavar="FORMAT SOURCE... --to DIR",
    epilog="\b\nExample:\n  foldbook import kalshi-ws recordings/ --to sessions/ --json",
)
def import_group() -> None:
    """Turn recordings into sessions.

    Every format takes --to and --json; `foldbook import FORMAT --help` says what else.
    """


@command("foldbook export hftbacktest sessions/KXGOLD15M-26AUG102130-30 --to gold.npz")
@click.argument("format")
@click.argument("session")
@click.option("--to", required=True, type=FILE, help="File to write.")
@click.option("--market", help="The market to write, where the session has several.")
def export(format: str, session: str, to: Path, market: str | None, as_json: bool) -> None:
    """Write a market of a session in another's format.

    FORMAT names an exporter, such as hftbacktest.
    """
    from . import exports, reports, show

    show.answer(*reports.exported(exports.export(format, session, to, market), as_json))


@command("foldbook info sessions/KXGOLD15M-26AUG102130-30")
@click.argument("session")
@click.option("--book-at", type=click.IntRange(0, 2**63 - 1), metavar="TS",
              help="Show the book at this time, ns UTC.")
@click.option("--market", help="The market of --book-at, where the session has several.")
@click.option("--clock", type=click.Choice(["exchange", "receive"]), default="exchange",
              show_default=True, help="The clock of --book-at.")
def info(
    session: str, book_at: int | None, market: str | None, clock: str, as_json: bool
) -> None:
    """Say what a session holds, or what its book was at some time."""
    from . import plugins, reports, show

    found = plugins.session(session)
    if book_at is None:
        show.answer(*reports.session(found, as_json))
    else:
        show.answer(*reports.book(found, market, book_at, clock, as_json))


@command("foldbook backtest synthetic:7 --strategy my_strategy.py:JoinBestBid --param size=10")
@click.argument("session")
@click.option("--strategy", required=True, metavar="module:Name", help="Or file.py:Name.")
@options_of_a_run
@click.option("--journal", type=FILE, help="Save the journal here.")
@click.option("--band", "with_band", is_flag=True,
              help="Run it again under optimistic and pessimistic models, and compare.")
def backtest(
    session: str,
    strategy: str,
    params: tuple[str, ...],
    markets: tuple[str, ...],
    every: str | None,
    journal: Path | None,
    with_band: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run a strategy over a session."""
    from . import models, plugins, reports, runs, show

    arguments = plugins.parameters(params)
    settings = models.settings(**options)
    if every is not None:
        models.option("--every", models.time, every)
    decider = runs.Decider(strategy, arguments, every, markets)
    result, seconds = runs.finish(decider, plugins.session(session), journal, **settings)
    band = runs.band(result) if with_band else None
    show.answer(reports.backtest(result, seconds, band), as_json, result.summary(),
                *(["", str(band), ""] if band else []),
                *([f"journal {journal}"] if journal else []))


@command("foldbook verify run.journal")
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--session", help="Where the session is now; default: where it was.")
@click.option("--strategy", metavar="module:Name", help="Where the strategy is now.")
@click.pass_context
def verify(
    context: click.Context, journal: Path, session: str | None, strategy: str | None, as_json: bool
) -> None:
    """Do a run again, replay it and rebuild it, and say whether each row is the same.

    Exit status 1 if not: then the first row that differs is shown.
    """
    from . import checks, show

    found = checks.verify(journal, session, strategy)
    show.answer(found.data, as_json, *found.lines)
    context.exit(0 if found.equal else 1)


@command("foldbook check-leak strategy foldbook.examples.market_maker:MarketMaker synthetic:7")
@click.argument("kind", type=click.Choice(("env", "strategy", "feature")))
@click.argument("arguments", nargs=-1, required=True, metavar="[NAME] SESSION")
@click.option("--option", "options", multiple=True, metavar="K=V",
              help="Of the environment, or passed to the strategy; every=100ms calls a function.")
@click.option("--at", multiple=True, type=click.IntRange(0, 2**63 - 1), metavar="TS",
              help="Change what comes after this time, ns UTC; repeatable.")
@click.option("--moments", default=5, show_default=True, type=click.IntRange(1, 1000),
              help="Without --at: at how many times, evenly apart in events.")
@click.option("--seed", default=0, show_default=True, help="Of the other futures and the actions.")
@click.pass_context
def check_leak(
    context: click.Context, kind: str, arguments: tuple[str, ...], options: tuple[str, ...],
    at: tuple[int, ...], seed: int, as_json: bool, **count: int,
) -> None:
    """Give a session another future, and say whether anything before it changes.

    NAME is the module:Name of a strategy or feature, or a feature that has a name; an env has none.
    Exit status 1 if something looks ahead: then the first byte that changed is shown.
    """
    from . import leaks, show

    found = leaks.checked(kind, arguments, options, (at, count["moments"]), seed)
    show.answer(found.data, as_json, *found.lines)
    context.exit(1 if found.leaks else 0)


@command("foldbook explain run.journal 0")
@click.argument("journal", type=click.Path(path_type=Path))
@click.argument("fill", type=click.IntRange(min=0))
@click.option("--session", help="Where the session is now; default: where it was.")
def explain(journal: Path, fill: int, session: str | None, as_json: bool) -> None:
    """Show the chain of causes of one fill, counted from 0."""
    from . import reports, runs, show

    result, _ = runs.opened(journal, session)
    if fill >= len(result.fills):
        raise click.UsageError(f"fill {fill}: journal {journal} has {len(result.fills)} fills")
    show.answer(*reports.explanation(result, fill, as_json))


@command("foldbook bench --toy")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--toy", is_flag=True, help="Tiny sizes: does it work, not how fast is it.")
def bench(names: tuple[str, ...], toy: bool, as_json: bool) -> None:
    """Measure, checking every answer."""
    from foldbook.benchmarks import harness

    from . import reports, show

    try:
        figures = list(harness.run(names, is_toy=toy))
    except KeyError as error:
        raise click.UsageError(error.args[0]) from None
    show.answer(*reports.measured(figures, as_json))


from . import catalogues, doctoring, shaping  # noqa: E402, F401  commands that register themselves
