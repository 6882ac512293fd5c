"""`would_reject` says what submitting would: on forks, and in the plain-Python reference."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
from compiled_run import CLIENT_IDS, ORDER_GROUPS, CompiledRun
from reference.refusals import refuse_submit
from reference.simulation import ReferenceSimulation
from reference.state import Order
from workloads import Workload, apply, make

from foldbook.engine import Outcome, SelfTrade, Side, Simulation, TimeInForce
from foldbook.engine.gateway import order_flags
from foldbook.engine.schema import KEEP, NO_TIME, JournalKind, Reason
from foldbook.engine.specs import ZERO_LATENCY
from foldbook.engine.units import PRICE_ONE, QTY_MAX, SECOND

SEEDS = range(20)
EVERY_REASON = set(range(Reason.MARKET_INACTIVE, Reason.FOK_INSUFFICIENT_VOLUME + 1)) - {
    Reason.ORDER_NOT_OPEN, Reason.SELF_CROSS,
}  # fmt: skip
"""Of the list for new orders; the two are for changes of one that is open."""
Terms = dict[str, Any]


def draw_terms(rng: random.Random, sim: Simulation, market: int) -> Terms:
    """Return an order of any sort, mostly near the touch."""
    book = sim.book(market)
    side = rng.choice(tuple(Side))
    tick = sim.session.markets[market].tick
    touch = rng.choice((book.best_bid, book.best_ask, 5000))
    price = touch + tick * rng.choice((-9, -2, -1, 0, 0, 1, 2, 9))
    if rng.random() < 0.06:
        price = rng.choice((None, 0, -100, PRICE_ONE, PRICE_ONE + 100, price + 1))
    cash = sim.positions.available
    qty = rng.choice((1, 7, 100, 1000, 50_000, max(1, abs(sim.positions.qty(market)))))
    if rng.random() < 0.15:
        leg = max(1, (price or 0) if side == Side.BUY else PRICE_ONE - (price or 0))
        qty = max(1, cash // leg + rng.choice((-50, -1, 0, 1, 50)))
    if rng.random() < 0.04:
        qty = rng.choice((0, -1, QTY_MAX, QTY_MAX + 1))
    outcome = rng.choice(tuple(Outcome))
    if outcome == Outcome.NO and price is not None:
        side, price = Side(1 - side), PRICE_ONE - price
    expires = None
    if rng.random() < 0.15:
        expires = sim.now + rng.choice((-1, 0, 1, SECOND))
    return {
        "market": market, "side": side, "price": price, "qty": qty, "outcome": outcome,
        "tif": rng.choice((*TimeInForce, TimeInForce.GTC)),
        "post_only": rng.random() < 0.2, "reduce_only": rng.random() < 0.1,
        "cancel_on_pause": rng.random() < 0.3,
        "self_trade": rng.choice(tuple(SelfTrade)), "expires": expires,
        "client_id": rng.randint(1, 60) if rng.random() < 0.15 else None,
        "group": rng.randint(1, ORDER_GROUPS + 1) if rng.random() < 0.3 else None,
    }  # fmt: skip


def submitted(sim: Simulation, terms: Terms) -> Reason | None:
    """Return why a fork refuses an order that is sent, None if it does not."""
    fork = sim.fork()
    first = len(fork.journal())
    fork.submit(**terms)
    answer = fork.journal().rows[first + 1]
    if answer["kind"] == JournalKind.ACCEPTED:
        return None
    assert answer["kind"] == JournalKind.REJECTED
    return Reason(answer["reason"])


def by_reference(reference: ReferenceSimulation, terms: Terms) -> Reason | None:
    """Return why the reference refuses an order where it stands."""
    side, price, outcome = terms["side"], terms["price"], terms["outcome"]
    if price is not None and outcome == Outcome.NO:
        price = PRICE_ONE - price
    side = side if outcome == Outcome.YES else Side(1 - side)
    names = ("post_only", "reduce_only", "cancel_on_pause", "self_trade")
    flags = order_flags(*(terms[name] for name in names))
    expires = NO_TIME if terms["expires"] is None else terms["expires"]
    market = reference.markets[terms["market"]]
    order = Order(
        len(market.issued) + 1, int(side), KEEP if price is None else price, terms["qty"],
        int(terms["tif"]), flags, expires, terms["client_id"] or 0, terms["group"] or 0,
    )  # fmt: skip
    order.left = order.qty
    reference.bucket.refill(reference.now)
    return refuse_submit(reference, market, order) or None


def simulate(workload: Workload) -> tuple[Simulation, CompiledRun]:
    """Return a simulation of a workload, and the same behind the interface that drives it."""
    models = attrs.asdict(workload.models, recurse=False)
    run = CompiledRun(workload)
    sim = Simulation(
        run.bus.session, cash=workload.cash, mark=workload.mark, client_ids=CLIENT_IDS,
        order_groups=ORDER_GROUPS, **models,
    )  # fmt: skip
    run.bus = sim.bus
    return sim, run


def test_would_reject_is_what_submitting_says() -> None:
    """At random moments of random workloads, for orders of all sorts; and every reason occurs."""
    seen: Counter[int] = Counter()
    for seed in SEEDS:
        workload = make(seed, 600, 80)
        risk = workload.models.risk
        if seed % 3:
            risk = attrs.evolve(risk, tokens_per_second=0)
        models = attrs.evolve(workload.models, latency=ZERO_LATENCY, risk=risk)
        workload = attrs.evolve(workload, models=models)
        rng = random.Random(f"would reject {seed}")
        sim, run = simulate(workload)
        reference = workload.reference()
        for number, command in enumerate(workload.commands):
            apply(run, command)
            apply(reference, command)
            for _ in range(rng.choice((0, 0, 1, 3))):
                terms = draw_terms(rng, sim, rng.randrange(len(workload.markets)))
                before = sim.bus.state_bytes()
                reason = sim.would_reject(**terms)
                assert sim.bus.state_bytes() == before, "a question changes nothing"
                where = f"seed {seed}, command {number}: {terms}"
                assert reason == submitted(sim, terms), where
                assert reason == by_reference(reference, terms), where
                seen[reason or Reason.NONE] += 1
    missing = {Reason(reason).name for reason in EVERY_REASON - set(seen)}
    assert not missing and seen[Reason.NONE] > 200
