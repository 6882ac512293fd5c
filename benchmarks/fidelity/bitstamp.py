"""Queue models against order-by-order data: ids hidden from the models, and used as the truth.

`FOLDBOOK_DATA` names a folder with `bitstamp_l3/orders.csv.gz` and `trades.csv`: order-by-order
events of BTC/USD and the trades that name both orders. Without it, or at toy size, the events are
generated; the figures say which.
"""

from __future__ import annotations

import csv
import gzip
import os
from decimal import Decimal
from pathlib import Path

import numpy as np

from foldbook.engine.units import MILLISECOND

from ..harness import Case, benchmark
from . import generated, queue_models
from .queue_models import ORDER_EVENT, Scores

FULL = 200_000
UNIT = Decimal(10) ** 8
"""Quantities are in satoshi."""
AMBIGUOUS = 0.25
"""Sizes are rounded, for a second look, until this share of the removals has several candidates."""


def recorded(folder: Path) -> tuple[np.ndarray, int]:
    """Return (events, number that are the book at the start) of a recording: ORDER_EVENT.

    An order that takes is no part of the book until what is left of it rests at its limit. A
    decrease is a trade if a trade has its time (ms), side, price and quantity, as on the venue's
    public feed; the ids are used for the truth alone.
    """
    with gzip.open(folder / "orders.csv.gz", "rt") as file:
        lines = list(csv.DictReader(file))
    with open(folder / "trades.csv") as file:
        trades = list(csv.DictReader(file))
    takers = {trade[f"{trade['side']}_order_id"] for trade in trades}
    prints: dict[tuple[str, str, Decimal, int], int] = {}
    for trade in trades:
        maker = "ask" if trade["side"] == "buy" else "bid"
        key = (trade["exchange_timestamp"], maker, Decimal(trade["price"]), _qty(trade["amount"]))
        prints[key] = prints.get(key, 0) + 1
    arrivals = _arrivals(lines, trades, takers)
    levels = {price: place for place, price in enumerate(
        sorted({Decimal(line["price"]) for line in lines}), 1)}
    first = lines[0]["exchange_timestamp"]
    numbers: dict[str, int] = {}
    resting: dict[str, int] = {}
    limits: dict[str, Decimal] = {}
    values: list[tuple[int, int, int, int, int, int, int]] = []
    opening = 0
    for number, line in enumerate(lines):
        name, is_ask = line["id"], line["direction"] == "ask"
        volume = 0 if line["action"] == "deleted" else _qty(line["volume"])
        if line["action"] == "created":
            limits[name] = Decimal(line["price"])
        if name not in limits or number < arrivals.get(name, 0):
            continue
        before, stamp = resting.get(name, 0), line["exchange_timestamp"]
        if before == volume:
            continue
        key = (stamp, line["direction"], limits[name], before - volume)
        is_trade = prints.get(key, 0) > 0
        if is_trade:
            prints[key] -= 1
        resting[name] = volume
        opening += stamp == first
        values.append((
            int(stamp) * MILLISECOND, numbers.setdefault(name, len(numbers)), before, volume,
            levels[limits[name]], is_ask, is_trade,
        ))  # fmt: skip
    return np.array(values, ORDER_EVENT), opening


def _qty(text: str) -> int:
    return int(Decimal(text) * UNIT)


def _arrivals(
    lines: list[dict[str, str]], trades: list[dict[str, str]], takers: set[str]
) -> dict[str, int]:
    """Return for each taker the line at which it has stopped taking."""
    last = {trade[f"{trade['side']}_order_id"]: trade["exchange_timestamp"] for trade in trades}
    found = {}
    for number, line in enumerate(lines):
        if line["id"] in takers and line["exchange_timestamp"] <= last[line["id"]]:
            found[line["id"]] = number
    return found


def source(size: int) -> tuple[str, np.ndarray, int]:
    """Return (name, events, opening): the recording at full size, if there is one."""
    folder = Path(os.environ.get("FOLDBOOK_DATA", "")) / "bitstamp_l3"
    if size >= FULL and "FOLDBOOK_DATA" in os.environ and folder.is_dir():
        return "bitstamp BTC/USD", *recorded(folder)
    return "generated", *generated.order_events(size)


def coarse_step(events: np.ndarray, opening: int) -> int:
    """Return that of 1, 2, 5, 10, 20 ... units to which sizes must be rounded for the share of
    removals with several candidates to be nearest to AMBIGUOUS."""
    before = (0.0, 1)
    for power in range(12):
        for digit in (1, 2, 5):
            step = digit * 10**power
            share = queue_models.ambiguous_share(queue_models.coarse(events, step), opening)
            if share >= AMBIGUOUS:
                return step if share - AMBIGUOUS < AMBIGUOUS - before[0] else before[1]
            before = (share, step)
    raise AssertionError("no rounding makes the removals ambiguous")


@benchmark(toy=6_000, full=FULL, repeats=1)
def fidelity_bitstamp(size: int) -> Case:
    """Predict the fills of real orders from levels and trades alone, with each queue model."""
    name, events, opening = source(size)

    def run() -> list[Scores]:
        step = coarse_step(events, opening)
        rounded = queue_models.coarse(events, step)
        return [
            queue_models.summary(name, [queue_models.measure(events, opening)]),
            queue_models.summary(f"{name}, sizes rounded to {step} units",
                                 [queue_models.measure(rounded, opening)]),
        ]

    return Case(run, len(events), "events", check, tables=queue_models.tables)


def check(found: list[Scores]) -> None:
    """Assert what must hold whatever the data: the true queue has no error, and no model knows
    more than it."""
    for each in found:
        assert each.orders > each.fills > 0
        models = {score.model: score for score in each.models}
        assert models["true"].error == 0
        assert 0 < models["rebuilt"].error < models["proportional"].error
    assert found[0].ambiguous < found[1].ambiguous
