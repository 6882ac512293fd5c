"""What `foldbook ls` answers, and the times that it is asked with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ..catalogue import Catalogue, Entry
from .reports import when
from .show import table

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ("B", "kB", "MB", "GB", "TB")


def listed(opened: Catalogue, found: Sequence[Entry], as_json: bool) -> tuple[Any, ...]:
    """Show the entries of a catalogue."""
    data = {
        "catalogue": opened.url,
        "sessions": [entry.to_json() for entry in found],
        "repairs": list(opened.repairs),
    }
    rows = [
        (entry.name, _markets(entry), when(entry.start), when(entry.end), entry.events, entry.gaps,
         _bytes(entry.size), "-" if entry.quality is None else f"{entry.quality:.2f}",
         "gone" if entry.is_gone else "")
        for entry in found
    ]
    heads = ("session", "markets", "first", "last", "events", "gaps", "size", "quality", "")
    gone = [f"{entry.name}: its folder is gone: put it back, or `foldbook remove {entry.name}`"
            for entry in found if entry.is_gone]
    title = f"{opened.url}: {len(found)} sessions"
    return data, as_json, *mended(opened), table(rows, *heads, title=title), *gone


def mended(opened: Catalogue) -> list[str]:
    """Return a line for each thing that was mended."""
    return [f"mended: {each}" for each in opened.repairs]


def moment(option: str, text: str | None) -> int | None:
    """Return a time as ns: a number is ns already, anything else is ISO 8601 with its zone.

    >>> moment("--since", "1970-01-01T01:00:01.5+01:00"), moment("--since", "7")
    (1500000000, 7)
    """
    if text is None:
        return None
    if text.lstrip("-").isdigit():
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise click.UsageError(f"{option}: {text!r} is no time like 2026-08-10T21:30Z (with its "
                               "zone), and no ns since 1970")
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _markets(entry: Entry) -> str:
    return entry.tickers[0] if len(entry.tickers) == 1 else str(len(entry.tickers))


def _bytes(count: int) -> str:
    """Return bytes for people.

    >>> _bytes(999), _bytes(12_838), _bytes(80_000_000)
    ('999 B', '12.8 kB', '80.0 MB')
    """
    size = float(count)
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
