"""Queue models in small simulations, by numbers checked by hand; and the rebuilt queue held to one
that is known exactly."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from desk import desk, told
from scenes import BOOK, BUY, SELL, Scene, c
from strategies import Maker

from foldbook.adapters import synthetic
from foldbook.engine import Backtest, Session, Simulation, Tape
from foldbook.engine.errors import StrategyError, UnsupportedError
from foldbook.engine.kernels.layout import AHEAD_UNKNOWN
from foldbook.engine.queues import rebuild_queues
from foldbook.engine.schema import Evidence, JournalKind, TapeFlag, TapeKind
from foldbook.engine.specs import Queue

LEVEL = c(48)


def own_conservative(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    """Nothing stood in front."""
    return ahead


def own_optimistic(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    """All of it stood in front."""
    return ahead - qty


def own_proportional(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    """As much of it stood in front as of the level does."""
    front, behind = float(ahead), float(before - ahead)
    return ahead if ahead == 0 else ahead - math.floor(float(qty) * (front / (front + behind)))


def own_rebuilt(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    """What the row says stood in front."""
    return ahead if row_ahead < 0 else ahead - min(max(ahead - row_ahead, 0), qty)


def backwards(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    """Falls back, which is impossible."""
    return ahead + 1000


def too_far(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    """Gets further than to the front."""
    return -1000


GUESSED = int(TapeFlag.GUESSED)
MOVES = [
    # 500 in front and 200 behind, 300 go: model, the row's ahead and flags -> ahead, guessed
    (Queue.conservative, -1, 0, 400, 0),
    (Queue.optimistic, -1, 0, 200, 200),
    (Queue.proportional, -1, 0, 286, 114),  # 300 x 5/7 = 214.3
    (Queue.power(2), -1, 0, 242, 158),  # 300 x 25/29 = 258.6
    (Queue.power(3), -1, 0, 219, 181),  # 300 x 125/133 = 281.95
    (Queue.log, -1, 0, 339, 61),  # 300 x 6.2166/11.5199 = 161.9
    (Queue.rebuilt, 0, 0, 200, 0),
    (Queue.rebuilt, 350, 0, 350, 0),
    (Queue.rebuilt, 350, GUESSED, 350, 50),
    (Queue.rebuilt, 500, 0, 400, 0),
    (Queue.rebuilt, -1, GUESSED, 400, 0),
    (Queue.of(own_conservative), -1, 0, 400, 0),
    (Queue.of(own_optimistic), -1, 0, 200, 200),
    (Queue.of(own_proportional), -1, 0, 286, 114),
    (Queue.of(own_rebuilt), 350, 0, 350, 50),
    (Queue.of(backwards), -1, 0, 400, 0),
    (Queue.of(too_far), -1, 0, 0, 400),
]


def waiting(scene: Scene, queue: Queue, **options: Any) -> Simulation:
    """Return a simulation in front of BOOK with an own bid of 100 behind the 500 at 48."""
    sim = desk(scene, queue=queue, **options)
    sim.advance(until=1)
    sim.submit(0, BUY, LEVEL, 100)
    return sim


@pytest.mark.parametrize(("queue", "ahead", "flags", "expected", "guessed"), MOVES)
def test_models(queue, ahead, flags, expected, guessed) -> None:
    """A decrease, then a trade that passes what is left by 20: the fill says what was guessed.

    Neither the trade's own decrease nor what another level loses guesses anything.
    """
    scene = Scene().book(1, BOOK).more(2, BUY, 48, 200)
    scene.add(3, TapeKind.DECREASE, BUY, LEVEL, 300, ahead=ahead, flags=flags)
    scene.less(4, BUY, 47, 300).trade(5, BUY, 48, min(expected + 20, 400))
    sim = waiting(scene, queue)
    sim.advance(until=4)
    assert [order.ahead for order in sim.orders.open()] == [expected]
    sim.advance()
    fills = sim.journal().rows[sim.journal().numbers(JournalKind.FILL)]
    if expected == 400:
        assert len(fills) == 0 and sim.orders.open()[0].ahead == 0
        return
    [fill] = fills
    assert (fill["qty"], fill["claim"], fill["ahead"]) == (20, 20, expected)
    assert (fill["evidence"], fill["guessed"]) == (Evidence.QUEUE, guessed)


@pytest.fixture(scope="module")
def session() -> Session:
    """A market of two minutes, with exact places, to its settlement."""
    return synthetic.session(seed=12, events=6000, minutes=2)


PAIRS = [
    (own_conservative, Queue.conservative),
    (own_optimistic, Queue.optimistic),
    (own_proportional, Queue.proportional),
]


@pytest.mark.parametrize(("function", "model"), PAIRS)
def test_own_models_are_the_built_in_ones(session, function, model) -> None:
    """A model of the user's own that computes the same writes the same journal."""
    runs = [
        Backtest(session, Maker(), every="50ms", queue=queue).run()
        for queue in (Queue.of(function), model)
    ]
    assert runs[0].journal.first_difference(runs[1].journal) is None
    rows = runs[0].journal.rows
    assert (rows["evidence"] == Evidence.QUEUE).sum() > 3
    assert (rows["guessed"] > 0).any() == (model != Queue.conservative)
    assert runs[0].replay().digest == runs[0].digest


def three_arguments(ahead: int, before: int, qty: int) -> int:
    """Wants too little."""
    return ahead


def no_number(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> str:
    """Returns no number."""
    return "front"


def a_float(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> float:
    """Returns a share."""
    return ahead * 0.5


def unknown_name(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    """Names what there is not."""
    return ahead + nowhere  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize("model", [three_arguments, no_number, a_float, unknown_name])
def test_bad_models_are_named(model) -> None:
    """What does not compile, or gives no integer, is refused when the simulation is made."""
    with pytest.raises(StrategyError, match=model.__name__):
        desk(Scene().book(1, BOOK).less(2, BUY, 48, 1), queue=Queue.of(model))


@pytest.mark.parametrize("name", ["best", "power0", "power9", "power"])
def test_unknown_models_are_named(name) -> None:
    """What is none of the models, or has an exponent that is none."""
    with pytest.raises((UnsupportedError, ValueError), match="power"):
        Queue.named(name)


# Own orders and their queue.


def test_several_orders_share_a_queue() -> None:
    """Two bids behind 500: a trade of 650 fills the first and half of the second."""
    sim = waiting(Scene().book(1, BOOK).more(2, BUY, 48, 300).trade(3, BUY, 48, 620)
                  .trade(4, BUY, 48, 60), Queue.conservative)  # fmt: skip
    sim.submit(0, BUY, LEVEL, 100)
    sim.advance(until=2)
    sim.submit(0, BUY, LEVEL, 100)
    assert [order.ahead for order in sim.orders.open()] == [500, 500, 800]
    sim.advance(until=3)
    assert [(order.left, order.ahead) for order in sim.orders.open()] == [(80, 0), (100, 180)]
    rows = sim.journal().rows[sim.journal().numbers(JournalKind.FILL)]
    found = rows[["order", "qty", "claim", "ahead"]].tolist()
    assert found == [(1, 100, 120, 500), (2, 20, 20, 500)]
    sim.advance(until=4)
    assert [(order.left, order.ahead) for order in sim.orders.open()] == [(20, 0), (100, 120)]


def test_amends_and_the_queue() -> None:
    """A smaller total keeps the place and what was guessed; a larger one goes to the back."""
    scene = Scene().book(1, BOOK).less(2, BUY, 48, 200).more(3, BUY, 48, 400)
    scene.trade(4, BUY, 48, 310)
    sim = waiting(scene, Queue.optimistic)
    second = sim.submit(0, BUY, LEVEL, 100)
    sim.advance(until=3)
    first = sim.orders.open()[0].id
    sim.amend(first, qty=50)
    sim.decrease(first, by=10)
    sim.amend(second, qty=101)
    assert [(order.id, order.ahead) for order in sim.orders.open()] == [(first, 300), (second, 700)]
    sim.advance(until=4)
    [fill] = sim.journal().rows[sim.journal().numbers(JournalKind.FILL)]
    assert (fill["qty"], fill["guessed"]) == (10, 0)


@pytest.mark.parametrize("queue", [Queue.conservative, Queue.optimistic, Queue.power(2)])
def test_snapshots_and_gaps(queue) -> None:
    """A snapshot leaves at most what it shows ahead; a gap forgets the place, and the guess."""
    small = {BUY: {48: 300, 47: 1}, SELL: {50: 10}}
    large = {BUY: {48: 900, 47: 1}, SELL: {50: 10}}
    scene = Scene().book(1, BOOK).book(2, large).book(3, small).less(4, BUY, 48, 20)
    scene.add(5, TapeKind.GAP)
    scene.book(6, large)
    scene.add(6, TapeKind.RECOVERED)
    scene.trade(7, BUY, 48, 900)
    sim = waiting(scene, queue)
    found = []
    for ts in range(1, 8):
        sim.advance(until=ts)
        found.append(sim.orders.open()[0].ahead)
    assert found == [500, 500, 300, 280, AHEAD_UNKNOWN, 900, 0]
    assert "FILL" not in [word for _, word in told(sim)]


# The rebuilt queue.


def truths(rows: np.ndarray, first: int, price: int, side: int, ahead: int) -> list[int]:
    """Return what really stands ahead, after each row from `first` on, of an order that joined
    behind `ahead`; rows state exact places."""
    found = []
    for row in rows[first:]:
        same = row["price"] == price and row["side"] == side
        if same and row["kind"] == TapeKind.DECREASE and row["ahead"] < ahead:
            ahead = max(int(row["ahead"]), ahead - int(row["qty"]))
        found.append(ahead)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_rebuilt_queue_beside_the_exact_one(seed) -> None:
    """With exact places the model is exact; with places rebuilt from levels it is nearer to the
    truth than the models that look at levels alone."""
    session = synthetic.session(seed=60 + seed, events=5000, minutes=2)
    rows = np.array(session.tape.rows)
    rebuilt = Session(Tape(rebuild_queues(rows, session.markets)), session.markets, name="rebuilt")
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(200, 4000), 25))
    models = {"exact": Queue.rebuilt, "rebuilt": Queue.rebuilt, "conservative": Queue.conservative,
              "proportional": Queue.proportional}  # fmt: skip
    errors = dict.fromkeys(models, 0.0)
    compared = 0
    for moment in moments:
        away = rng.choice((0, 100, 200))
        ahead: dict[str, list[int]] = {}
        for name in errors:
            tape = rebuilt if name == "rebuilt" else session
            sim = Simulation(tape, queue=models[name], cash=10**13)
            sim.advance(stop=moment)
            first, price = sim.events, sim.book().best_bid - away
            if price <= 0 or sim.would_reject(0, BUY, price, 10**6) is not None:
                break
            sim.submit(0, BUY, price, 10**6)
            start = sim.orders.open()[0].ahead
            ahead[name] = []
            while sim.events < min(first + 150, len(rows)) and sim.orders.open():
                sim.advance(events=1)
                if sim.orders.open():
                    ahead[name].append(sim.orders.open()[0].ahead)
        if len(ahead) < len(errors):
            continue
        count = min(map(len, ahead.values()))
        bursts = np.flatnonzero(np.diff(rows["ts"][first:]) > 0)[:count]
        truth = np.array(truths(rows, first, price, BUY, start))[bursts]
        for name, found in ahead.items():
            errors[name] += float(np.abs(np.array(found[: len(bursts)]) - truth).sum())
        compared += len(bursts)
    print(f"seed {seed}", compared, {name: each / compared for name, each in errors.items()})
    assert compared > 1000 and errors["exact"] == 0, f"seed {seed}"
    assert errors["rebuilt"] < min(errors["conservative"], errors["proportional"]), f"seed {seed}"
