"""Queue models against queues that are known: what each says of real orders, and how wrong it is.

The models see what a backtest sees: the quantity of a level, its trades, and (rebuilt) the place of
each decrease. Of an order they know when it came, its price and its size. The order's own rows in
the record are taken out of the level, as if it had been put there by the run. What truly stood
ahead comes from the identities of the orders, which no model sees. Nothing is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import attrs
import numpy as np

from foldbook.engine.compiled import compiled
from foldbook.engine.kernels import queues as kernel
from foldbook.engine.queues import find_places
from foldbook.engine.schema import TAPE_DTYPE, Side, TapeFlag, TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import SECOND

RESTED_MIN = 1 * SECOND
"""Orders that were gone sooner are not looked at."""
LATE_MAX = 60 * SECOND
"""How long after the true fill a model is followed until it has one too."""


class Model(IntEnum):
    """How much of a decrease that is no trade a model takes from what stands ahead."""

    CONSERVATIVE = 0
    """All of it behind, as far as the level allows."""
    PROPORTIONAL = 1
    POWER_2 = 2
    POWER_3 = 3
    LOG = 4
    """f(ahead) / (f(ahead) + f(behind)) of it ahead, f(x) = x, x^2, x^3 or log(1 + x)."""
    REBUILT = 5
    """By the place that the decrease has in the rebuilt queue (`engine.queues`)."""
    WEIGHTED = 6
    """As REBUILT; if several orders fit, by the sum of the weights 1 / (age + 0.1 s) ahead."""
    TRUE = 7
    """By the identities: what first in, first out predicts if the queue is known."""


ORDER_EVENT = np.dtype(
    [
        ("ts", "<i8"),  # ns
        ("order", "<i8"),  # who: numbers grow with the time of arrival; -1 unknown
        ("before", "<i8"),  # quantity of the order before and after
        ("after", "<i8"),
        ("price", "<i4"),  # place on a grid of consecutive numbers from 1
        ("side", "i1"),
        ("is_trade", "i1"),
    ]
)
"""One change of one order: the truth. A first event with before = 0 is an arrival."""

_STEP = np.dtype(
    [
        ("ts", "<i8"),
        ("qty", "<i8"),  # signed
        ("place", "<i8"),  # rebuilt quantity ahead of a decrease
        ("order", "<i8"),
        ("candidates", "<i8"),  # where its candidates begin, -1 if it has none
        ("is_trade", "i1"),
    ]
)
_CANDIDATE = np.dtype([("place", "<i8"), ("weight", "<f8")])  # a weight of 0 ends a list
_TESTED = np.dtype(
    [
        ("order", "<i8"),
        ("begin", "<i8"),  # its arrival among the steps of all levels
        ("end", "<i8"),  # end of its level's steps
        ("size", "<i8"),
        ("ahead", "<i8"),  # quantity of the level when it arrived
        ("is_through", "i1"),  # whether a worse price traded before it had left
    ]
)
_OUTCOME = np.dtype(
    [
        ("fill_ts", "<i8"),  # first fill by the model, -1 none
        ("in_time", "i1"),  # before the order had left the record
        ("samples", "<i8"),
        ("error", "<f8"),  # sums of (estimated - true) / quantity of the level at arrival
        ("absolute", "<f8"),
    ]
)


@attrs.frozen
class Score:
    """How one model did over all orders. Shares and errors are ratios, not percent.

    accuracy, precision, recall, f1: of "filled before it left the record", from the order's own
    level alone. f1_through: the same if a trade at a worse price fills an order too, as it does in
    a backtest; in a sweep that counts while the burst lasts.
    error: mean |estimated - true quantity ahead| relative to the level's quantity at arrival, over
    all decreases by others while the order rested; bias: the same with its sign. late: median of
    |predicted - true time of the first fill|, s, late_90: its 90th percentile, over the orders that
    were filled and for which the model has a fill too, up to LATE_MAX after they had left.
    """

    model: str
    accuracy: float
    precision: float
    recall: float
    f1: float
    f1_through: float
    error: float
    bias: float
    late: float
    late_90: float


@attrs.frozen
class Scores:
    """What was tested and how the models did.

    orders, fills: tested orders, and those that were filled. samples: decreases at which queues
    were compared. ambiguous, missing: shares among the decreases that are no trade and leave
    something in their level.
    """

    data: str
    orders: int
    fills: int
    samples: int
    ambiguous: float
    missing: float
    models: tuple[Score, ...]


@attrs.frozen(eq=False)
class Measured:
    """One stream of order events, measured: see `summary`."""

    outcomes: np.ndarray
    truth: np.ndarray
    is_through: np.ndarray
    verdicts: np.ndarray


def coarse(events: np.ndarray, step: int) -> np.ndarray:
    """Return order events with quantities rounded up to whole steps; those that vanish are left
    out."""
    rounded = events.copy()
    for name in ("before", "after"):
        rounded[name] = -(-events[name] // step) * step
    return rounded[rounded["before"] != rounded["after"]]


def level_stream(
    events: np.ndarray, opening: int
) -> tuple[np.ndarray, np.ndarray, tuple[Market, ...]]:
    """Return what a public feed tells of order events: (rows, row of each event, markets).

    events: ORDER_EVENT; the first `opening` are the book at the start: one snapshot of levels, and
    row -1. Each side is a market of its own, on a grid of step 1: prices have no more than 9,999
    places. A trade of no order comes first: it says that the record has trades.
    """
    start = events[:opening]
    rows = []
    for side in Side:
        ours = start[start["side"] == side]
        prices, place = np.unique(ours["price"], return_inverse=True)
        head = np.zeros(2 + len(prices), TAPE_DTYPE)
        head["kind"] = TapeKind.SNAPSHOT_LEVEL
        head["kind"][:2] = TapeKind.TRADE, TapeKind.SNAPSHOT
        head["price"][2:] = prices
        head["qty"][2:] = np.bincount(place, ours["after"]).astype(np.int64)
        head["qty"][0], head["price"][0], head["flags"][0] = 1, 1, TapeFlag.UNJOINED
        head["market"], head["side"] = side, side
        rows.append(head)
    heads = np.concatenate(rows)
    heads["ts"] = start["ts"].max(initial=0)
    later = events[opening:]
    change = later["after"] - later["before"]
    body = np.zeros(len(later), TAPE_DTYPE)
    for name in ("ts", "price", "side"):
        body[name] = later[name]
    body["qty"] = abs(change)
    body["market"] = later["side"]
    body["kind"] = np.where(change > 0, TapeKind.INCREASE, TapeKind.DECREASE)
    trades = np.flatnonzero(later["is_trade"])
    prints = body[trades]
    prints["kind"], prints["flags"] = TapeKind.TRADE, TapeFlag.JOINED
    at = np.full(len(events), -1, np.int64)
    at[opening:] = len(heads) + np.arange(len(later)) + np.cumsum(later["is_trade"])
    tape = np.concatenate([heads, np.insert(body, trades, prints)])
    tape["recv"] = tape["ts"]
    return tape, at, (Market("BIDS", 1), Market("ASKS", 1))


def ambiguous_share(events: np.ndarray, opening: int) -> float:
    """Return the share of decreases for which several orders fit, as in `Scores`."""
    rows, _, markets = level_stream(events, opening)
    return _shares(_contested(rows, find_places(rows, markets).verdicts))[0]


def measure(events: np.ndarray, opening: int, only: np.ndarray | None = None) -> Measured:
    """Follow orders with each model (ORDER_EVENT, in order; see `level_stream`).

    only: numbers of the orders that may be tested; None: all.
    """
    rows, at, markets = level_stream(events, opening)
    places = find_places(rows, markets)
    at, later = at[opening:], events[opening:]
    steps = np.zeros(len(later), _STEP)
    steps["ts"], steps["order"] = later["ts"], later["order"]
    steps["qty"] = later["after"] - later["before"]
    steps["place"] = places.ahead[at]
    steps["is_trade"] = later["is_trade"]
    steps["candidates"] = -1
    candidates = _candidates(rows, places.verdicts, at, steps)
    level = later["side"] * np.int64(1 << 32) + later["price"]
    by_level = np.argsort(level, kind="stable")
    tested = _tested(rows, later, level, by_level, only)
    outcomes = np.zeros((len(tested), len(Model)), _OUTCOME)
    _walk(steps[by_level], candidates, tested, outcomes)
    truth = _true_fills(later, tested["order"])
    is_through = tested["is_through"] != 0
    return Measured(outcomes, truth, is_through, _contested(rows, places.verdicts))


def summary(data: str, parts: Sequence[Measured]) -> Scores:
    """Return how the models did on one or more streams, called `data`."""
    outcomes = np.concatenate([part.outcomes for part in parts])
    truth = np.concatenate([part.truth for part in parts])
    through = np.concatenate([part.is_through for part in parts])
    ambiguous, missing = _shares(np.concatenate([part.verdicts for part in parts]))
    return Scores(
        data, len(truth), int(np.count_nonzero(truth >= 0)), int(outcomes["samples"][:, 0].sum()),
        ambiguous, missing,
        tuple(_scored(model, outcomes[:, model], truth, through) for model in Model),
    )  # fmt: skip


def _contested(rows: np.ndarray, verdicts: np.ndarray) -> np.ndarray:
    """Return the verdicts of decreases that are no trade and leave something in their level."""
    level = rows["market"] * np.int64(1 << 32) + rows["price"]
    changes = np.isin(rows["kind"], (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE)) * rows["qty"]
    changes -= (rows["kind"] == TapeKind.DECREASE) * rows["qty"]
    order = np.argsort(level, kind="stable")
    total = np.cumsum(changes[order])
    first = np.searchsorted(level[order], level[order])
    left = total - (total - changes[order])[first]
    return verdicts[order][(left > 0) & (verdicts[order] >= kernel.IDENTIFIED)]


def _shares(verdicts: np.ndarray) -> tuple[float, float]:
    found = np.bincount(verdicts, minlength=kernel.MISSING + 1) / max(len(verdicts), 1)
    return float(found[kernel.AMBIGUOUS]), float(found[kernel.MISSING])


def _tested(
    rows: np.ndarray, later: np.ndarray, level: np.ndarray, by_level: np.ndarray,
    only: np.ndarray | None,
) -> np.ndarray:
    """Return the orders that arrive at a level that is not empty, and rest for RESTED_MIN with a
    decrease by others meanwhile."""
    spot = np.empty(len(later), np.int64)
    spot[by_level] = np.arange(len(later))
    ends = np.searchsorted(level[by_level], level[by_level], side="right")
    change = later["after"] - later["before"]
    total = dict[tuple[int, int], int]()
    heads = rows[rows["kind"] == TapeKind.SNAPSHOT_LEVEL]
    for side, price, qty in heads[["side", "price", "qty"]].tolist():
        total[side, price] = qty
    left: dict[int, int] = {}
    gone = (later["after"] == 0) & (later["order"] >= 0)
    for number in np.flatnonzero(gone).tolist():
        left[int(later["order"][number])] = number
    removals = np.concatenate([[0], np.cumsum(change[by_level] < 0)])
    found = []
    worse = _Worse(later)
    allowed = None if only is None else set(only.tolist())
    for number, (ts, order, before, after, price, side, _) in enumerate(later.tolist()):
        ahead = total.get((side, price), 0)
        total[side, price] = ahead + after - before
        if before > 0 or ahead == 0 or (allowed is not None and order not in allowed):
            continue
        last = left.get(order, len(later) - 1)
        if later["ts"][last] - ts < RESTED_MIN:
            continue
        begin = spot[number]
        until = spot[last] if order in left else ends[begin]
        own = np.count_nonzero(later["order"][by_level[begin:until]] == order) - 1
        if removals[until] - removals[begin + 1] - own > 0:
            is_through = worse.trades(number, last)
            found.append((order, begin, ends[begin], after, ahead, is_through))
    return np.array(found, _TESTED)


class _Worse:
    """Trades at worse prices than an order's, while it is there."""

    def __init__(self, later: np.ndarray):
        self._ts, self._price = later["ts"].copy(), later["price"].copy()
        self._side, self._order = later["side"].copy(), later["order"].copy()
        self._is_trade = later["is_trade"] != 0
        self._at = [np.flatnonzero(self._is_trade & (self._side == side)) for side in Side]
        self._prices = [self._price[at] for at in self._at]

    def trades(self, first: int, last: int) -> bool:
        """Whether one stands between an order's arrival and its end, or in the burst of a trade
        that is its end."""
        side, price = self._side[first], self._price[first]
        if self._is_trade[last] and self._order[last] == self._order[first]:
            last = int(np.searchsorted(self._ts, self._ts[last], side="right"))
        prices = self._prices[side][slice(*np.searchsorted(self._at[side], (first, last)))]
        return bool((prices < price if side == Side.BUY else prices > price).any())


def _candidates(
    rows: np.ndarray, verdicts: np.ndarray, at: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Return the orders that fit each ambiguous decrease, with weights; steps get their place.

    Plain lists, which take the newest out as the compiled pass does.
    """
    queues: dict[tuple[int, int], list[list[int]]] = {}
    step_of = dict(zip(at.tolist(), range(len(at)), strict=True))
    found: list[tuple[int, float]] = [(0, 0.0)]
    for number, row in enumerate(rows.tolist()):
        ts, _, qty, _, price, _, kind, side, _ = row
        if kind in (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE):
            is_aggregate = kind == TapeKind.SNAPSHOT_LEVEL
            queues.setdefault((side, price), []).append([qty, ts, is_aggregate])
        elif kind == TapeKind.DECREASE:
            queue = queues[side, price]
            if verdicts[number] == kernel.AMBIGUOUS:
                steps["candidates"][step_of[number]] = len(found)
                ahead = 0
                for size, since, _ in queue:
                    if size == qty:
                        found.append((ahead, 1 / ((ts - since) / SECOND + 0.1)))
                    ahead += size
                assert len(found) - steps["candidates"][step_of[number]] > 1
                found.append((0, 0.0))
            _take(queue, qty, is_trade=verdicts[number] == kernel.TRADED)
    return np.array(found, _CANDIDATE)


def _take(queue: list[list[int]], qty: int, *, is_trade: bool) -> None:
    """Take a decrease out of a queue of [size, since, is_aggregate], oldest first."""
    if not is_trade:
        for order in reversed(queue):
            if order[0] == qty:
                queue.remove(order) if queue[0] is order else _drop_last(queue, order)
                return
        larger = [order for order in queue if order[0] > qty]
        if larger:
            chosen = queue[0] if queue[0][2] and queue[0][0] > qty else larger[-1]
            chosen[0] -= qty
            return
    place = 0 if is_trade else -1
    while qty:
        taken = min(qty, queue[place][0])
        queue[place][0] -= taken
        qty -= taken
        if not queue[place][0]:
            queue.pop(place)


def _drop_last(queue: list[list[int]], order: list[int]) -> None:
    for place in range(len(queue) - 1, -1, -1):
        if queue[place] is order:
            del queue[place]
            return


_LATE_MAX = int(LATE_MAX)


@compiled
def _value(model, quantity):  # type: ignore[no-untyped-def]
    """Return f of a quantity for a model that shares."""
    if model == 1:
        return float(quantity)
    if model == 2:
        return float(quantity) * float(quantity)
    if model == 3:
        return float(quantity) * float(quantity) * float(quantity)
    return math.log(1.0 + quantity)


@compiled
def _removed(model, step, candidates, ahead, others):  # type: ignore[no-untyped-def]
    """Return how much of a decrease that is no trade a model puts ahead."""
    qty = -step["qty"]
    if ahead == 0 or model == 0:
        return np.int64(0)
    if model < 5:
        front, back = _value(model, ahead), _value(model, others - ahead)
        return np.int64(math.floor(qty * (front / (front + back))))
    first = step["candidates"]
    if model == 6 and first >= 0:
        total, front = 0.0, 0.0
        while candidates[first]["weight"] > 0.0:
            total += candidates[first]["weight"]
            if candidates[first]["place"] < ahead:
                front += candidates[first]["weight"]
            first += 1
        return np.int64(math.floor(qty * (front / total)))
    return min(max(ahead - step["place"], 0), qty)


@compiled
def _walk(steps, candidates, tested, outcomes):  # type: ignore[no-untyped-def]
    """Follow each tested order through its level, once for each model; fill `outcomes`."""
    for number in range(len(tested)):
        own = tested[number]
        for model in range(outcomes.shape[1]):
            outcome = outcomes[number, model]
            outcome["fill_ts"] = -1
            ahead = true = others = own["ahead"]
            rest = own["size"]
            until = np.int64(0)
            for at in range(own["begin"] + 1, own["end"]):
                step = steps[at]
                if rest > 0:
                    until = step["ts"] + _LATE_MAX
                elif outcome["fill_ts"] >= 0 or step["ts"] > until:
                    break
                qty = abs(step["qty"])
                is_own = step["order"] == own["order"]
                if is_own and step["is_trade"] == 0:
                    rest += step["qty"]
                    if rest == 0:
                        break
                    continue
                if step["is_trade"] != 0:
                    if qty > ahead and outcome["fill_ts"] < 0:
                        outcome["fill_ts"] = step["ts"]
                        outcome["in_time"] = rest > 0
                    ahead = max(ahead - qty, 0)
                elif step["qty"] < 0:
                    ahead -= _removed(model, step, candidates, ahead, others)
                if is_own:
                    rest -= qty
                    continue
                others += step["qty"]
                ahead = max(min(ahead, others), 0)
                if step["qty"] > 0:
                    continue
                if step["order"] < own["order"]:
                    true = max(true - qty, 0)
                if model == 7:
                    ahead = true
                if rest > 0:
                    outcome["samples"] += 1
                    outcome["error"] += (ahead - true) / own["ahead"]
                    outcome["absolute"] += abs(ahead - true) / own["ahead"]


def _true_fills(later: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Return the time of each order's first trade, ns, or -1."""
    trades = later[later["is_trade"] != 0]
    first: dict[int, int] = {}
    for ts, order in trades[["ts", "order"]].tolist():
        first.setdefault(order, ts)
    return np.array([first.get(order, -1) for order in orders.tolist()], np.int64)


def _f1(says: np.ndarray, is_so: np.ndarray) -> tuple[float, float, float]:
    """Return (precision, recall, F1)."""
    right = int(np.count_nonzero(is_so & says))
    said, so = int(np.count_nonzero(says)), int(np.count_nonzero(is_so))
    return right / max(said, 1), right / max(so, 1), 2 * right / max(said + so, 1)


def _scored(
    model: Model, outcomes: np.ndarray, truth: np.ndarray, is_through: np.ndarray
) -> Score:
    is_filled = truth >= 0
    says = outcomes["in_time"] != 0
    samples = max(int(outcomes["samples"].sum()), 1)
    both = is_filled & (outcomes["fill_ts"] >= 0)
    late = abs(outcomes["fill_ts"][both] - truth[both]) / SECOND
    return Score(
        model.name.lower().replace("_", " "),
        float(np.mean(is_filled == says)) if len(truth) else 0.0,
        *_f1(says, is_filled),
        _f1(says | is_through, is_filled)[2],
        float(outcomes["absolute"].sum()) / samples, float(outcomes["error"].sum()) / samples,
        float(np.median(late)) if len(late) else 0.0,
        float(np.quantile(late, 0.9)) if len(late) else 0.0,
    )  # fmt: skip


def tables(found: Sequence[Scores]) -> dict[str, list[dict[str, Any]]]:
    """Return what JSON can hold: for each data set, by a title with its numbers, rows by model."""
    return {
        f"{each.data}: {each.orders:,} orders, {each.fills:,} filled, {each.samples:,} decreases; "
        f"several orders fit {each.ambiguous:.1%}, none {each.missing:.1%}": [
            {name: _short(value) for name, value in attrs.asdict(score).items()}
            for score in each.models
        ]
        for each in found
    }


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
