"""What `foldbook ls` answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..catalogue import Catalogue, Entry
from .reports import when
from .show import table

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
