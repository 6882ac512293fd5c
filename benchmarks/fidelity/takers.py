"""Does displayed depth fill? A curve fitted on real orders up to 5 May 2026, scored on later ones.

The orders are `kalshi_orders/live_ioc_orders.csv` below the folder FOLDBOOK_DATA (else
../shared/data). Without it, and at toy size, orders are generated from the curve that ships: then
the figures say that the fit works, and nothing about a venue. docs/fidelity-takers.md says what the
figures mean.

    FOLDBOOK_DATA=DIR foldbook bench fidelity-takers
    FOLDBOOK_DATA=DIR python -m foldbook.benchmarks.fidelity.takers

The second prints the entries of both tables as they stand in `engine/availability.py`.
"""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from foldbook.engine.availability import (
    AVAILABILITY_2026_05,
    AVAILABILITY_2026_05_FIRST,
    Availability,
    ratio_ppm,
)
from foldbook.engine.units import MILLISECOND, PPM, SECOND, contracts

from ..harness import Case, benchmark

SCORED_FROM = int(datetime(2026, 5, 6, tzinfo=UTC).timestamp()) * SECOND
"""Answers before this are fitted, later ones are scored; nothing else is learnt from the latter."""
DAY = 24 * 3600 * SECOND
RUN_GAP = 5 * SECOND
"""An order repeats the one before it, of its market, kind and side, up to this much later."""

Edges = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Of ratio (ppm), book age (ns) and latency (ns)."""
EDGES: Edges = ((10_000, 100_000), (60 * MILLISECOND,), (40 * MILLISECOND, 55 * MILLISECOND))
RIDGE = 15.0
"""Orders' worth of pull on each step from bin to bin towards none."""
STEP = 1_000
"""Entries are rounded to this many ppm: no machine's last digits, and no finer claim."""
RESAMPLES = 2_000
FULL = 2_000
"""From this size on the recorded orders are taken, where they are found."""
SHIPPED = (AVAILABILITY_2026_05, AVAILABILITY_2026_05_FIRST)
"""The curves of the engine, in the order of `training`."""
Table = list[dict[str, Any]]


@attrs.frozen
class Orders:
    """Immediate-or-cancel orders as equally long arrays, in order of the answer's time.

    features: int64[n, 3], ratio in ppm, book age and latency in ns. filled: bool[n], completely.
    markets: a number for each market. repeats: bool[n], follows a like order within RUN_GAP.
    dropped: how many rows of the source are not among them, by reason.
    """

    source: str
    ts: np.ndarray
    features: np.ndarray
    filled: np.ndarray
    markets: np.ndarray
    repeats: np.ndarray
    dropped: dict[str, int] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, mask: np.ndarray) -> Orders:
        """Return those of a boolean mask."""
        names = ("ts", "features", "filled", "markets", "repeats")
        return attrs.evolve(self, **{name: getattr(self, name)[mask] for name in names})

    def split(self) -> tuple[Orders, Orders]:
        """Return (fitted, scored): answered up to 5 May 2026 UTC, and later."""
        return self.where(self.ts < SCORED_FROM), self.where(self.ts >= SCORED_FROM)


def orders_path() -> Path:
    """Return where the recorded orders are expected."""
    folder = Path(os.environ.get("FOLDBOOK_DATA") or "../shared/data")
    return folder / "kalshi_orders" / "live_ioc_orders.csv"


def read(path: Path) -> Orders:
    """Read the recorded orders that reached the book with enough depth displayed.

    Dropped are orders refused on submission, rows whose status and fill count contradict each
    other, and orders that saw less than they asked for.
    """
    dropped = {"refused on submission": 0, "status contradicts fill": 0, "less displayed": 0}
    rows = []
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            qty, fill = contracts(row["qty"]), contracts(row["fill_count"])
            displayed = contracts(row["eligible_depth_at_limit"])
            if row["exchange_status"] == "rejected":
                dropped["refused on submission"] += 1
            elif (row["exchange_status"] == "executed") != (fill == qty):
                dropped["status contradicts fill"] += 1
            elif displayed < qty:
                dropped["less displayed"] += 1
            else:
                key = row["market"], row["kind"], row["side"]
                features = (
                    ratio_ppm(qty, displayed),
                    _ns(row["book_age_ms"]),
                    _ns(row["submit_latency_ms"]),
                )
                rows.append((_ts(row["ts_result"]), key, features, fill == qty))
    rows.sort(key=lambda row: row[0])
    markets: dict[str, int] = {}
    last: dict[tuple[str, ...], int] = {}
    repeats = []
    for ts, key, _, _ in rows:
        markets.setdefault(key[0], len(markets))
        repeats.append(ts - last.get(key, -RUN_GAP - 1) <= RUN_GAP)
        last[key] = ts
    return Orders(
        source="recorded",
        ts=np.array([row[0] for row in rows], np.int64),
        features=np.array([row[2] for row in rows], np.int64).reshape(-1, 3),
        filled=np.array([row[3] for row in rows], bool),
        markets=np.array([markets[row[1][0]] for row in rows], np.int64),
        repeats=np.array(repeats, bool),
        dropped=dropped,
    )


def _ns(milliseconds: str) -> int:
    return round(Decimal(milliseconds) * MILLISECOND)


def _ts(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * SECOND + moment.microsecond * 1_000


def generate(size: int, seed: int = 5) -> Orders:
    """Return `size` orders over eight days, filled as often as the shipped curve says."""
    random = np.random.default_rng(seed)
    displayed = np.exp(random.uniform(np.log(200), np.log(500_000), size)).astype(np.int64)
    features = np.column_stack(
        (
            [ratio_ppm(200, int(depth)) for depth in displayed],
            random.choice([0, 16, 47, 78, 250, 600], size) * MILLISECOND,
            random.choice([31, 47, 62, 94], size) * MILLISECOND,
        )
    ).astype(np.int64)
    chance = probabilities(AVAILABILITY_2026_05, features)
    ts = np.sort(SCORED_FROM + random.integers(-5 * DAY, 3 * DAY, size))
    return Orders(
        source="generated",
        ts=ts,
        features=features,
        filled=random.random(size) < chance,
        markets=(ts - ts[0]) // (15 * 60 * SECOND),
        repeats=np.zeros(size, bool),
    )


def probabilities(curve: Availability, features: np.ndarray) -> np.ndarray:
    """Return the curve's probability, in 0..1, for each row of features."""
    return np.array(curve.entries_ppm)[bins(curve, features)] / PPM


def bins(curve: Availability, features: np.ndarray) -> np.ndarray:
    """Return the place in the curve's entries of each row of features."""
    return np.array([curve.bin(*row) for row in features.tolist()], np.int64)


def fit(orders: Orders, name: str, edges: Edges = EDGES, ridge: float = RIDGE) -> Availability:
    """Fit a curve: log-odds that add up over the axes, each step from bin to bin drawn to zero.

    A higher ratio and a higher latency never raise the probability: a step that would is left out.
    Cells of few orders thus lean on their row and column, and no cell is fitted on its own.
    """
    falls = np.concatenate(([False], *(np.full(len(axis), i != 1) for i, axis in enumerate(edges))))
    coefficients = _logistic(_steps(orders.features, edges), orders.filled, falls, ridge)
    corners = np.array(list(itertools.product(*((0, *axis) for axis in edges))), np.int64)
    chance = _sigmoid(_steps(corners, edges) @ coefficients)
    entries = tuple(int(entry) * STEP for entry in np.rint(chance * (PPM // STEP)))
    return Availability(name, *edges, entries)


def _steps(features: np.ndarray, edges: Edges) -> np.ndarray:
    """Return float64[n, 1 + edges]: one, and for each edge whether the feature reaches it."""
    columns = [np.ones(len(features))]
    for axis, values in zip(edges, features.T, strict=True):
        columns += [(values >= edge).astype(float) for edge in axis]
    return np.column_stack(columns)


def _sigmoid(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds))


def _logistic(x: np.ndarray, y: np.ndarray, falls: np.ndarray, ridge: float) -> np.ndarray:
    """Return coefficients of a penalised logistic regression; those that fall are at most zero.

    Newton's method on the columns in use; columns that end above zero leave, and it starts again.
    """
    used = np.ones(x.shape[1], bool)
    while True:
        columns = x[:, used]
        penalty = np.where(np.flatnonzero(used) == 0, 0.0, ridge)
        found = np.zeros(columns.shape[1])
        for _ in range(25):
            chance = _sigmoid(columns @ found)
            slope = columns.T @ (y - chance) - penalty * found
            weighted = columns * (chance * (1 - chance))[:, None]
            found = found + np.linalg.solve(columns.T @ weighted + np.diag(penalty), slope)
        coefficients = np.zeros(x.shape[1])
        coefficients[used] = found
        rising = falls & (coefficients > 0)
        if not rising.any():
            return coefficients
        used &= ~rising


def losses(chance: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Return float64[n, 3]: log-loss in nats, Brier score, and whether a half was on its side."""
    likely = np.where(filled, chance, 1 - chance)
    return np.column_stack((-np.log(likely), (1 - likely) ** 2, (chance >= 0.5) == filled))


def training(fitted: Orders) -> dict[str, Orders]:
    """Return which of the fitted orders make each curve: all, and those that repeat none."""
    return {"all": fitted, "first": fitted.where(~fitted.repeats)}


def rules(fitted: Orders, features: np.ndarray) -> dict[str, np.ndarray]:
    """Return the probabilities of each curve, and of the rule that displayed depth fills.

    All orders saw enough, so the rule foresees a fill for each of them. Clipped at a base rate it
    says how many of the fitted orders filled for which it foresaw that.
    """
    found = {}
    for name, part in training(fitted).items():
        found[f"curve of {name}"] = probabilities(fit(part, name), features)
        found[f"depth fills, rate of {name}"] = np.full(len(features), part.filled.mean())
    return found | {"depth fills, 0.99": np.full(len(features), 0.99)}


def parts(orders: Orders) -> dict[str, np.ndarray]:
    """Return the masks of all orders, of those that repeat none, and of those that repeat one."""
    masks = {"all": orders.repeats | True, "first": ~orders.repeats, "repeats": orders.repeats}
    return {name: mask for name, mask in masks.items() if mask.any()}


def scores(fitted: Orders, scored: Orders) -> Table:
    """Return log-loss, Brier score and accuracy of curves and rule on the scored orders.

    Accuracy of the rule is that of foreseeing a fill each time, wherever it is clipped.
    """
    foreseen = rules(fitted, scored.features)
    table = []
    for part, mask in parts(scored).items():
        for rule, chance in foreseen.items():
            means = losses(chance, scored.filled)[mask].mean(axis=0)
            right = means[2] if rule.startswith("curve") else scored.filled[mask].mean()
            table.append(
                {
                    "orders": part,
                    "n": int(mask.sum()),
                    "rule": rule,
                    "log-loss": _rounded(means[0]),
                    "brier": _rounded(means[1]),
                    "accuracy": _rounded(right),
                }
            )
    return table


def gains(fitted: Orders, scored: Orders, seed: int = 1) -> Table:
    """Return what each curve gains over the rule at its base rate, with 95 % of a bootstrap.

    Whole markets are drawn, because orders of one market depend on each other.
    """
    foreseen = rules(fitted, scored.features)
    table = []
    for name, (part, mask) in itertools.product(training(fitted), parts(scored).items()):
        filled = scored.filled[mask]
        ours = losses(foreseen[f"curve of {name}"][mask], filled)
        theirs = losses(foreseen[f"depth fills, rate of {name}"][mask], filled)
        theirs[:, 2] = filled
        _, market = np.unique(scored.markets[mask], return_inverse=True)
        of_market = np.bincount(market)
        sums = [np.bincount(market, column) for column in ((theirs - ours) * (1, 1, -1)).T]
        shape = RESAMPLES, len(of_market)
        drawn = np.random.default_rng(seed).integers(len(of_market), size=shape)
        for measure, each in zip(("log-loss", "brier", "accuracy"), sums, strict=True):
            means = each[drawn].sum(axis=1) / of_market[drawn].sum(axis=1)
            low, high = np.percentile(means, (2.5, 97.5))
            table.append(
                {
                    "curve of": name,
                    "orders": part,
                    "gain in": measure,
                    "mean": _rounded(each.sum() / mask.sum()),
                    "from": _rounded(low),
                    "to": _rounded(high),
                }
            )
    return table


def calibration(fitted: Orders, scored: Orders, curve: Availability) -> Table:
    """Return for each bin what was foreseen, and how many orders filled in both parts."""
    corners = itertools.product(*((0, *axis) for axis in curve.edges))
    places = [(part, bins(curve, part.features)) for part in (fitted, scored)]
    table = []
    for number, (ratio, age, latency) in enumerate(corners):
        row: dict[str, Any] = {
            "ratio from": f"{ratio / PPM:g}",
            "age from ms": age // MILLISECOND,
            "latency from ms": latency // MILLISECOND,
            "curve": _rounded(curve.entries_ppm[number] / PPM),
        }
        for name, (part, place) in zip(("fitted", "scored"), places, strict=True):
            found = part.filled[place == number]
            row[f"{name} n"] = len(found)
            row[f"{name} rate"] = _rounded(found.mean()) if len(found) else "-"
        table.append(row)
    return table


def left_out(fitted: Orders, edges: Edges, ridge: float, name: str = "all") -> np.ndarray:
    """Return the log-loss of each fitted order, its day foreseen from the other days."""
    days = fitted.ts // DAY
    found = np.empty(len(fitted))
    for day in np.unique(days):
        rest = training(fitted.where(days != day))[name]
        held = fitted.where(days == day)
        chance = probabilities(fit(rest, name, edges, ridge), held.features)
        found[days == day] = losses(chance, held.filled)[:, 0]
    return found


def days_left_out(fitted: Orders) -> Table:
    """Return the log-loss of both curves over the fitted days, each foreseen from the others."""
    table = []
    for name in training(fitted):
        found = left_out(fitted, EDGES, RIDGE, name)
        means = {part: _rounded(found[mask].mean()) for part, mask in parts(fitted).items()}
        table.append({"curve of": name, **means})
    return table


def choices(fitted: Orders) -> Table:
    """Return edges and penalties that were tried, best first, by the fitted days alone."""
    milli = MILLISECOND
    grid = itertools.product(
        ((10_000, 100_000), (5_000, 20_000, 100_000), (2_000, 10_000, 50_000, 200_000)),
        ((), (60 * milli,), (60 * milli, 150 * milli)),
        ((55 * milli,), (40 * milli, 55 * milli), (40 * milli, 55 * milli, 70 * milli)),
        (5.0, 15.0),
    )
    table = [_choice(fitted, (ratio, age, latency), ridge) for ratio, age, latency, ridge in grid]
    return sorted(table, key=lambda row: row["left out"])


def ablation(fitted: Orders, scored: Orders) -> Table:
    """Return what the chosen edges foresee with axes left out: by the fitted days, and later."""
    table = []
    for kept in itertools.product((False, True), repeat=3):
        ratio, age, latency = (axis if keep else () for axis, keep in zip(EDGES, kept, strict=True))
        edges = ratio, age, latency
        chance = probabilities(fit(fitted, "ablated", edges), scored.features)
        later = losses(chance, scored.filled)[:, 0].mean()
        table.append({**_choice(fitted, edges, RIDGE), "scored": _rounded(later)})
    return table


def _choice(fitted: Orders, edges: Edges, ridge: float) -> dict[str, Any]:
    ratio, age, latency = (
        " ".join(f"{edge / unit:g}" for edge in axis) or "none"
        for axis, unit in zip(edges, (PPM, MILLISECOND, MILLISECOND), strict=True)
    )
    return {
        "ratio edges": ratio,
        "age ms": age,
        "latency ms": latency,
        "ridge": f"{ridge:g}",
        "left out": _rounded(left_out(fitted, edges, ridge).mean()),
    }


def counts(orders: Orders) -> Table:
    """Return how many orders and markets each part has, how many filled, and what was dropped."""
    fitted, scored = orders.split()
    table: Table = [
        {
            "part": name,
            "orders": len(part),
            "markets": len(np.unique(part.markets)),
            "filled": int(part.filled.sum()),
            "rate": _rounded(part.filled.mean()),
            "repeats": int(part.repeats.sum()),
        }
        for name, part in (("fitted", fitted), ("scored", scored))
    ]
    both = len(np.intersect1d(fitted.markets, scored.markets))
    none = {"markets": "-", "filled": "-", "rate": "-", "repeats": "-"}
    table.append({"part": "in both parts", "orders": "-", **none, "markets": both})
    table += [{"part": why, "orders": count, **none} for why, count in orders.dropped.items()]
    return table


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def evaluate(orders: Orders, *, is_brief: bool = False) -> dict[str, Table]:
    """Fit on the first part, score on the second, and return all tables by title.

    is_brief: without the tables of what else was tried.
    """
    fitted, scored = orders.split()
    first = scored.where(~scored.repeats)
    of_all, of_first = training(fitted).values()
    tables = {
        f"{orders.source} orders": counts(orders),
        "scored later than 5 May": scores(fitted, scored),
        "gain over the rule at base rate": gains(fitted, scored),
        "calibration, all orders": calibration(of_all, scored, fit(of_all, "all")),
        "calibration, first orders": calibration(of_first, first, fit(of_first, "first")),
    }
    if not is_brief:
        tables["log-loss of fitted days left out"] = days_left_out(fitted)
        tables["log-loss with axes left out"] = ablation(fitted, scored)
        tables["best edges by the fitted days"] = choices(fitted)[:8]
    return tables


@benchmark(toy=600, full=FULL, repeats=1)
def fidelity_takers(size: int) -> Case:
    """Fit the fills of orders that take displayed depth, and score the fit on later orders."""
    is_full = size >= FULL and orders_path().is_file()
    orders = read(orders_path()) if is_full else generate(size)

    def check(tables: dict[str, Table]) -> None:
        fitted, scored = orders.split()
        shipped = losses(probabilities(AVAILABILITY_2026_05, scored.features), scored.filled)
        found = tables["scored later than 5 May"][0]["log-loss"]
        assert abs(found - shipped[:, 0].mean()) < 0.05, "the fit is far from the curve that ships"
        rows = tables["calibration, all orders"]
        assert sum(row["fitted n"] + row["scored n"] for row in rows) == len(orders)
        for part, curve in zip(training(fitted).values(), SHIPPED, strict=True):
            assert not is_full or fit(part, curve.name) == curve, f"{curve.name} is another fit"

    run: Callable[[], dict[str, Table]] = lambda: evaluate(orders, is_brief=size < FULL)  # noqa: E731
    return Case(run, len(orders), "orders", check, tables=lambda tables: tables)


def source(curve: Availability) -> str:
    """Return the entries of a curve as they stand in source: a line for each ratio and age."""
    width = len(curve.latency_edges_ns) + 1
    rows = np.reshape(curve.entries_ppm, (-1, width)).tolist()
    return "\n".join("        " + " ".join(f"{entry:_}," for entry in row) for row in rows)


def main() -> None:
    """Print the entries of both curves, fitted on the recorded orders."""
    fitted, _ = read(orders_path()).split()
    for part, curve in zip(training(fitted).values(), SHIPPED, strict=True):
        print(f"{curve.name}\n{source(fit(part, curve.name))}")


if __name__ == "__main__":
    main()
