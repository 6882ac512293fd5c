"""How likely displayed depth is still there when an order arrives: a table of integers over bins.

An order that takes displayed depth is late: the book it saw has aged, and its way to the venue
takes time. The table says how often such an order is filled. It only holds probabilities and looks
them up; it never draws, and nothing in it is a float.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import ClassVar

import attrs

from .units import MILLISECOND, PPM


def _edges(instance: object, attribute: attrs.Attribute, value: tuple[int, ...]) -> None:
    _integers(attribute.name, value)
    if value and value[0] < 0:
        raise ValueError(f"{attribute.name}: {value[0]} is negative")
    for lower, upper in pairwise(value):
        if upper <= lower:
            raise ValueError(f"{attribute.name}: {upper} after {lower}; edges ascend strictly")


def _entries(instance: Availability, attribute: attrs.Attribute, value: tuple[int, ...]) -> None:
    _integers(attribute.name, value)
    bins = [len(edges) + 1 for edges in instance.edges]
    if len(value) != bins[0] * bins[1] * bins[2]:
        raise ValueError(
            f"{attribute.name}: {len(value)} of them; {bins[0]} x {bins[1]} x {bins[2]} bins of "
            f"ratio, book age and latency need {bins[0] * bins[1] * bins[2]}"
        )
    for number, entry in enumerate(value):
        if not 0 <= entry <= PPM:
            raise ValueError(f"{attribute.name}: number {number} is {entry}, not in 0..{PPM} ppm")


def _integers(name: str, values: tuple[int, ...]) -> None:
    if not isinstance(values, tuple):
        raise TypeError(f"{name}: {values!r} is a {type(values).__name__}, not a tuple of ints")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}: {value!r} is a {type(value).__name__}, not an int")


@attrs.frozen
class Availability:
    """A probability, in ppm, for each bin of order to depth ratio, book age and latency.

    A bin starts at its lower edge, which belongs to it; n edges make n + 1 bins, the first from 0.

    ratio_edges_ppm: order quantity over displayed depth at its limit or better, ppm.
    book_age_edges_ns: age of the book, ns. A run takes the time at which the order meets the book
    less that of the market's last row (docs/semantics.md, section 12); the tables that ship were
    fitted on the age that the recorder noted when it decided, which the way there adds to.
    latency_edges_ns: from submission to the venue's answer, both ways, ns.
    entries_ppm: one for each bin; latency runs fastest, then book age, then ratio.

    Raises TypeError for what is no tuple of ints; ValueError for negative or not ascending edges,
    for entries outside 0..1,000,000, and for too few or too many of them.
    """

    always: ClassVar[Availability]

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    ratio_edges_ppm: tuple[int, ...] = attrs.field(validator=_edges)
    book_age_edges_ns: tuple[int, ...] = attrs.field(validator=_edges)
    latency_edges_ns: tuple[int, ...] = attrs.field(validator=_edges)
    entries_ppm: tuple[int, ...] = attrs.field(validator=_entries)

    @property
    def edges(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The edges of ratio (ppm), book age (ns) and latency (ns), the slowest axis first."""
        return self.ratio_edges_ppm, self.book_age_edges_ns, self.latency_edges_ns

    def bin(self, ratio_ppm: int, book_age_ns: int, latency_ns: int) -> int:
        """Return the place in `entries_ppm` of these. Raises ValueError for a negative one.

        >>> AVAILABILITY_2026_05.bin(ratio_ppm=9_999, book_age_ns=0, latency_ns=39_999_999)
        0
        >>> AVAILABILITY_2026_05.bin(ratio_ppm=9_999, book_age_ns=0, latency_ns=40_000_000)
        1
        """
        place = 0
        for name, value, edges in zip(
            ("ratio_ppm", "book_age_ns", "latency_ns"),
            (ratio_ppm, book_age_ns, latency_ns),
            self.edges,
            strict=True,
        ):
            if value < 0:
                raise ValueError(f"{name}: {value} is negative")
            place = place * (len(edges) + 1) + bisect_right(edges, value)
        return place

    def ppm(self, ratio_ppm: int, book_age_ns: int, latency_ns: int) -> int:
        """Return the probability, in ppm, that the order finds the depth it saw.

        >>> Availability.always.ppm(ratio_ppm=1_000_000, book_age_ns=0, latency_ns=0)
        1000000
        """
        return self.entries_ppm[self.bin(ratio_ppm, book_age_ns, latency_ns)]


def words(availability: Availability) -> list[int]:
    """Return it as the kernels read it: how many edges each axis has, the edges, the entries."""
    edges = [edge for axis in availability.edges for edge in axis]
    return [*map(len, availability.edges), *edges, *availability.entries_ppm]


def ratio_ppm(qty: int, displayed: int) -> int:
    """Return order quantity over displayed depth in ppm, rounded down.

    It divides in two steps, so that no product of quantities below 10^14 leaves int64.
    Raises ValueError for a negative quantity, and for no depth.

    >>> ratio_ppm(200, 30_000), ratio_ppm(200, 200), ratio_ppm(300, 200)
    (6666, 1000000, 1500000)
    """
    if qty < 0:
        raise ValueError(f"qty: {qty} is negative")
    if displayed <= 0:
        raise ValueError(f"displayed: {displayed}; a ratio needs some depth")
    whole, rest = divmod(qty, displayed)
    thousandths, rest = divmod(rest * 1000, displayed)
    return whole * PPM + thousandths * 1000 + rest * 1000 // displayed


ALWAYS = Availability("always", (), (), (), (PPM,))
"""Whatever is displayed fills: the rule that the others are measured against."""
Availability.always = ALWAYS

AVAILABILITY_2026_05 = Availability(
    "kalshi-2026-05",
    ratio_edges_ppm=(10_000, 100_000),
    book_age_edges_ns=(60 * MILLISECOND,),
    latency_edges_ns=(40 * MILLISECOND, 55 * MILLISECOND),
    entries_ppm=(
        641_000, 576_000, 406_000,
        726_000, 669_000, 504_000,
        526_000, 459_000, 298_000,
        623_000, 557_000, 387_000,
        419_000, 355_000, 216_000,
        517_000, 449_000, 291_000,
    ),
)  # fmt: skip
"""Real immediate-or-cancel orders on KXBTC15M: how often one of them filled completely.

Fitted by `python -m foldbook.benchmarks.fidelity.takers` on `kalshi_orders/live_ioc_orders.csv`, on
the 1,168 orders answered up to 5 May 2026 UTC; later ones are scored, and none is fitted. It falls
with ratio and with latency. docs/fidelity-takers.md holds the figures and what limits them."""

AVAILABILITY_2026_05_FIRST = Availability(
    "kalshi-2026-05-first",
    ratio_edges_ppm=(10_000, 100_000),
    book_age_edges_ns=(60 * MILLISECOND,),
    latency_edges_ns=(40 * MILLISECOND, 55 * MILLISECOND),
    entries_ppm=(
        797_000, 765_000, 711_000,
        755_000, 719_000, 659_000,
        693_000, 652_000, 586_000,
        640_000, 596_000, 527_000,
        607_000, 562_000, 492_000,
        549_000, 502_000, 432_000,
    ),
)  # fmt: skip
"""The same data, split and command, on the 651 of those orders that repeat none: no order of the
same market, kind and side was answered within 5 s before them."""
