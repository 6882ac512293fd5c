"""Order-by-order recordings into sessions, one market a folder; both files are read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from foldbook.engine.errors import TapeError

from .. import sessions
from ..recordings import (
    DryRun,
    Grid,
    Group,
    Import,
    ImportedMarket,
    KeepGoing,
    Progress,
    Report,
)
from ..recordings.windows import ContractOption, OriginOption, TickOption, chosen
from .decode import ORDERS, TRADES, Decoder
from .lines import Source, bursts, read_orders, read_trades

SATOSHI = "0.000001"
"""What one contract stands for unless stated: the venue's eight decimals are 0.01 contract."""
BLOCK_MESSAGES = 1 << 16
NAMES = (("orders.csv", "orders.csv.gz"), ("trades.csv", "trades.csv.gz"))


def import_recording(
    sources: Sequence[Path],
    to: Path,
    *,
    ticker: Annotated[str | None, "Name of the market; default: the folder's."] = None,
    origin: OriginOption = None,
    tick: TickOption = None,
    contract: ContractOption = None,
    group: Group = False,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Import folders with `orders.csv` and `trades.csv` (or `.gz`); return a report per session.

    origin, tick, contract: the window of binary prices (`recordings.windows`), decimal text. Not
    given, origin lays it around the book at the start, tick is the finest decimal place that a
    price of that book uses, contract is 0.000001. Raises TapeError for the first bad row unless
    `keep_going`, ValueError for an option that is no number.
    """
    window, step, size = chosen(origin, tick, contract or SATOSHI)
    folders = list(_folders(sources))
    if ticker is not None and len(folders) > 1:
        raise ValueError(f"ticker: names one market, and there are {len(folders)} recordings")
    files = [path for pair in folders for path in pair]
    with Import("bitstamp", to, files, group=group, keep_going=keep_going, dry_run=dry_run,
                progress=progress) as running:
        for number, pair in enumerate(folders):
            name = pair[0].resolve().parent.name if ticker is None else ticker
            market = running.market(name, str(pair[0].parent), grid=Grid(1))
            decoder = Decoder(str(pair[0].parent), window, step, size, market.refuse,
                              2 * number)
            _read(running, market, decoder, pair, 2 * number)
        return running.reports()


def _read(running: Import, market: ImportedMarket, decoder: Decoder, pair: tuple[Path, Path],
          first_file: int) -> None:
    """Read one recording into its market, and store it."""
    orders, trades = (
        Source(pair[file], running.rejections, running.meter,
               partial(market.refuse, first_file + file))
        for file in (ORDERS, TRADES)
    )
    opening = 0
    for burst in bursts(read_orders(orders), read_trades(trades)):
        opening = opening or len(burst.orders)
        decoder.take(burst)
        if len(decoder) >= BLOCK_MESSAGES:
            market.add(decoder.messages())
    market.add(decoder.messages())
    market.read = orders.rows + trades.rows
    market.counts.update(deltas=orders.rows - opening - market.counts["deltas"],
                         trades=trades.rows - market.counts["trades"], opening=opening)
    market.left_out.update(decoder.left_out)
    market.facts.update(ghosts=decoder.ghosts, out_of_turn=decoder.out_of_turn)
    running.facts = {"window": decoder.window.to_json()} if decoder.window else {}
    market.finish(has_places=True)


def _folders(sources: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield (orders, trades) of each folder that holds both. Raises TapeError."""
    for source in map(Path, sources):
        if not source.is_dir():
            raise TapeError(f"{source}: no such folder; expected one with {NAMES[0][0]} and "
                            f"{NAMES[1][0]}, or .gz")
        held = sorted({path.parent for path in sessions.paths_below(source)
                       if path.name in NAMES[0]})
        if not held:
            raise TapeError(f"{source}: holds no {NAMES[0][0]} or {NAMES[0][1]}")
        for folder in held:
            found = [[folder / name for name in names if (folder / name).is_file()]
                     for names in NAMES]
            for names, paths in zip(NAMES, found, strict=True):
                if len(paths) != 1:
                    what = "both" if paths else "neither"
                    raise TapeError(f"{folder}: holds {what} of {names[0]} and {names[1]}, "
                                    "expected one: trades say which orders took")
            yield found[0][0], found[1][0]
