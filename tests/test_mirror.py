"""NO is YES seen from the other side: any order in NO terms has a twin in YES terms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Maker

from foldbook.adapters import synthetic
from foldbook.engine import Outcome, Reason, Side, Simulation, TimeInForce, cents, dollars
from foldbook.engine.schema import JournalKind

SESSION = synthetic.session(seed=31, events=1500, minutes=1)
ORDER = st.fixed_dictionaries(
    {
        "side": st.sampled_from(Side),
        "price": st.one_of(st.integers(0, 100).map(cents), st.integers(-50, 10_050)),
        "qty": st.one_of(st.integers(-5, 5000), st.integers(1, 10**15)),
        "tif": st.sampled_from(TimeInForce),
        "post_only": st.booleans(),
        "reduce_only": st.booleans(),
        "expires": st.one_of(st.none(), st.integers(-5, 20_000_000_000)),
        "client_id": st.one_of(st.none(), st.integers(0, 2**62)),
    }
)
ACTION = st.one_of(
    st.tuples(st.just("submit"), ORDER),
    st.tuples(st.just("advance"), st.integers(1, 400)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(
        st.just("amend"),
        st.tuples(
            st.integers(0, 30),
            st.one_of(st.none(), st.integers(0, 100).map(cents)),
            st.one_of(st.none(), st.integers(0, 5000)),
        ),
    ),
)


def twin(side: Side, price: int) -> tuple[Side, int]:
    """Return side and price of the same order in the other outcome's terms."""
    return Side(1 - side), 10_000 - price


def act(sim: Simulation, outcome: Outcome, ids: list[int], action: tuple[str, Any]) -> object:
    """Do one action, given in YES terms, in the terms of `outcome`; return what was answered."""
    kind, what = action
    if kind == "advance":
        sim.advance(events=what)
    elif kind == "cancel" and ids:
        sim.cancel(ids[what % len(ids)])
    elif kind == "amend" and ids:
        which, price, qty = what
        if outcome == Outcome.NO and price is not None:
            price = 10_000 - price
        sim.amend(ids[which % len(ids)], price, qty, outcome=outcome)
    elif kind == "submit":
        terms = dict(what, outcome=outcome)
        if terms["expires"] is not None:
            terms["expires"] += sim.now
        if outcome == Outcome.NO:
            terms["side"], terms["price"] = twin(terms["side"], terms["price"])
        asked = {name: value for name, value in terms.items() if name != "client_id"}
        answer = sim.would_reject(0, **asked)
        ids.append(sim.submit(0, **terms))
        return answer
    return None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(50, 1300), st.lists(ACTION, min_size=1, max_size=25))
def test_orders_in_no_terms_have_their_twins_journal(start, actions) -> None:
    """Whatever is submitted, amended and canceled in NO terms writes the journal that it writes in
    YES terms, ends in the same state, and is foretold the same refusals."""
    runs = [Simulation(SESSION, cash=dollars(200)) for _ in Outcome]
    ids: list[list[int]] = [[], []]
    for sim in runs:
        sim.advance(events=start)
    for action in actions:
        answers = [
            act(sim, outcome, ids[outcome], action)
            for sim, outcome in zip(runs, Outcome, strict=True)
        ]
        assert answers[0] == answers[1], action
    yes, no = (sim.journal() for sim in runs)
    assert yes.first_difference(no) is None
    assert runs[0].bus.state_bytes() == runs[1].bus.state_bytes() and ids[0] == ids[1]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(50, 1480), ORDER, st.sampled_from(Outcome))
def test_would_reject_foretells_the_refusal(start, order, outcome) -> None:
    """What `would_reject` says is what `submit` then writes, and asking leaves no trace."""
    sim = Simulation(SESSION, cash=dollars(200))
    sim.advance(events=start)
    Maker()(sim)
    if order["expires"] is not None:
        order = order | {"expires": sim.now + order["expires"]}
    before = sim.bus.state_bytes()
    asked = {name: value for name, value in order.items() if name != "client_id"}
    foretold = sim.would_reject(0, outcome=outcome, **asked)
    assert sim.bus.state_bytes() == before
    number = len(sim.journal())
    sim.submit(0, outcome=outcome, **order)
    answer = sim.journal().rows[number + 1]
    if foretold is None:
        assert answer["kind"] == JournalKind.ACCEPTED
    else:
        assert (answer["kind"], Reason(answer["reason"])) == (JournalKind.REJECTED, foretold)


@pytest.mark.parametrize("start", range(20, 1500, 135))
def test_books_mirror(start) -> None:
    """The NO book: its bids are the YES asks at one dollar less the price, and so on back."""
    sim = Simulation(SESSION)
    sim.advance(events=start)
    Maker()(sim)
    sim.submit(0, Side.BUY, sim.book(0).best_ask, 30, tif=TimeInForce.IOC)
    yes, no = sim.book(0), sim.book(0, Outcome.NO)
    assert no.bids() == [(10_000 - price, qty) for price, qty in yes.asks()]
    assert no.asks(3) == [(10_000 - price, qty) for price, qty in yes.bids(3)]
    assert (no.best_bid, no.best_ask) == (10_000 - yes.best_ask, 10_000 - yes.best_bid)
    assert (no.best_bid_qty, no.best_ask_qty) == (yes.best_ask_qty, yes.best_bid_qty)
    assert (no.mid2, no.mark2) == (20_000 - yes.mid2, 20_000 - yes.mark2)
    assert no.spread == yes.spread and (no.status, no.is_trusted) == (yes.status, yes.is_trusted)
    assert 0 <= 10_000 - yes.microprice - no.microprice <= 1, "both are rounded down"
    for price in range(0, 10_001, 100):
        for side in Side:
            assert no.qty(side, price) == yes.qty(Side(1 - side), 10_000 - price)
    assert no.of(Outcome.YES).bids() == yes.bids()
