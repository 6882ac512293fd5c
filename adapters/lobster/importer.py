"""Days of LOBSTER files into sessions, one market for each ticker and date; files are read once."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

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
from .decode import Decoder
from .lines import EXPECTED_NAME, NAME, Day, day_of

CENT = Decimal("0.01")
"""The tick unless stated."""
SHARE = "1"
"""What one contract stands for unless stated."""
BLOCK_MESSAGES = 1 << 16


def import_recording(
    sources: Sequence[Path],
    to: Path,
    *,
    origin: OriginOption = None,
    tick: TickOption = None,
    contract: ContractOption = None,
    group: Group = False,
    keep_going: KeepGoing = False,
    dry_run: DryRun = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Import LOBSTER days, each a message file with its orderbook file; return their reports.

    sources: message files, or folders of them. origin, tick, contract: the window of binary prices
    (`recordings.windows`), decimal text. Not given, origin lays it around the first book, tick is
    0.01 dollars and contract one share. Raises TapeError for the first bad row unless `keep_going`,
    ValueError for an option that is no number.
    """
    window, step, size = chosen(origin, tick, contract or SHARE)
    days = [day_of(path) for path in _message_files(sources)]
    files = [path for day in days for path in (day.messages, day.book)]
    with Import("lobster", to, files, group=group, keep_going=keep_going, dry_run=dry_run,
                progress=progress) as running:
        for number, day in enumerate(days):
            market = running.market(day.ticker, str(day.messages), grid=Grid(1))
            _read(running, market, day, Decoder(
                day, window, step or CENT, size, market.refuse, 2 * number), 2 * number)
        return running.reports()


def _read(running: Import, market: ImportedMarket, day: Day, decoder: Decoder, first_file: int
          ) -> None:
    """Read one day into its market, and store it."""
    for row in day.read(
        running.rejections, running.meter,
        lambda file, number, error: market.refuse(first_file + file, number, error),
    ):
        decoder.take(row)
        if len(decoder) >= BLOCK_MESSAGES:
            market.add(decoder.messages())
    market.add(decoder.messages())
    market.has_receipts = False
    market.read = day.rows
    market.counts["checked"] = decoder.checked
    market.counts["revealed"] = decoder.revealed
    market.left_out.update(decoder.left_out)
    market.facts["out_of_turn"] = decoder.out_of_turn
    running.facts = {"window": decoder.window.to_json()} if decoder.window else {}
    market.finish(has_places=True)


def _message_files(sources: Sequence[Path]) -> list[Path]:
    """Return the message files of all sources. Raises TapeError if there is none."""
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            held = [path for path in sessions.paths_below(source) if NAME.fullmatch(path.name)]
            if not held:
                raise TapeError(f"{source}: holds no file like {EXPECTED_NAME}")
            found += held
        elif source.is_file():
            found.append(source)
        else:
            raise TapeError(f"{source}: no such file or folder")
    return list(dict.fromkeys(found))
