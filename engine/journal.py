"""The half of the stream that a run adds: rows, their places, and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from .errors import JournalError
from .schema import JOURNAL_DTYPE, REQUESTS, CauseKind, JournalKind


def digest(rows: np.ndarray) -> str:
    """Return SHA-256 over the bytes of journal rows, in hex."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()


class Journal:
    """The finished journal of a run, read-only.

    rows: JOURNAL_DTYPE, shape (n,). places: int64, shape (n,): how many tape rows had been applied
    before each row.
    """

    __slots__ = ("_digest", "places", "rows")

    def __init__(self, rows: np.ndarray, places: np.ndarray):
        if rows.dtype != JOURNAL_DTYPE or rows.shape != places.shape:
            raise JournalError(
                f"journal: {rows.dtype} rows {rows.shape} with places {places.shape}; "
                "expected JOURNAL_DTYPE rows and one place for each"
            )
        # Views: whoever handed the arrays over may go on writing into them.
        self.rows = rows.view()
        self.places = places.view()
        self.rows.flags.writeable = False
        self.places.flags.writeable = False
        self._digest: str | None = None

    @classmethod
    def joined(cls, chunks: Sequence[tuple[np.ndarray, np.ndarray]]) -> Journal:
        """Return the journal whose rows and places come in chunks."""
        if not chunks:
            return cls(np.zeros(0, JOURNAL_DTYPE), np.zeros(0, np.int64))
        return cls(
            np.concatenate([rows for rows, _ in chunks]),
            np.concatenate([places for _, places in chunks]),
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> str:
        """SHA-256 over the row bytes, in hex: no paths, versions, drivers or places."""
        if self._digest is None:
            self._digest = digest(self.rows)
        return self._digest

    def numbers(self, kind: JournalKind) -> np.ndarray:
        """Return the numbers of all rows of one kind, ascending."""
        return np.flatnonzero(self.rows["kind"] == kind)

    def find(self, market: int, row: int) -> int:
        """Return the number of the row that is `row`-th among those of its market."""
        found = np.flatnonzero((self.rows["market"] == market) & (self.rows["row"] == row))
        if len(found) != 1:
            raise JournalError(f"journal: market {market} has {len(found)} rows numbered {row}")
        return int(found[0])

    def causes(self) -> np.ndarray:
        """Return the number of the row that caused each row: int64, -1 for causes outside the
        journal and for those that are not in it."""
        market, row = self.rows["market"], self.rows["row"]
        order = np.lexsort((row, market))
        keys = (market[order].astype(np.int64) << 32) | row[order]
        wanted = (self.rows["cause_market"].astype(np.int64) << 32) | self.rows["cause_row"]
        inside = self.rows["cause_kind"] == CauseKind.JOURNAL
        at = np.minimum(np.searchsorted(keys, wanted), len(order) - 1)
        return np.where(inside & (keys[at] == wanted), order[at], -1)

    def first_difference(self, other: Journal) -> int | None:
        """Return the number of the first row in which two journals differ; None if in none."""
        common = min(len(self), len(other))
        mine = self.rows[:common].view(np.uint8).reshape(common, -1)
        theirs = other.rows[:common].view(np.uint8).reshape(common, -1)
        differs = np.flatnonzero((mine != theirs).any(axis=1))
        if len(differs):
            return int(differs[0])
        return None if len(self) == len(other) else common


def requests(journal: Journal) -> Iterator[int]:
    """Yield the numbers of all request rows: what a replay sends again."""
    yield from np.flatnonzero(np.isin(journal.rows["kind"], REQUESTS)).tolist()
