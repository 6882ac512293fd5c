"""Fills beside nautilus_trader's: each of its rules by itself, and what is put down to which."""

import numpy as np
import pytest

from foldbook.benchmarks.peers import feed, plain_feed
from foldbook.benchmarks.peers.nautilus_fills import (
    ALL,
    NONE,
    explain,
    is_explained,
    rule_sets,
)
from foldbook.benchmarks.peers.queue_rules import RULES, STEP, outcomes
from foldbook.benchmarks.performance import page
from foldbook.engine import NO_FEES, Latency, Queue, Side, Simulation, contracts, dollars
from foldbook.engine.player import play
from foldbook.engine.schema import JournalKind

MS = 1_000_000
START = 10**18
BID, ASK = 0, 1


def columns(*later):
    """Return a feed: bids of 100 and 200 at 40 and 39 cents, asks of 100 and 200 at 60 and 61, and
    records later: (ms, kind, side, cents, change, level)."""
    records = [
        (0, feed.SNAPSHOT, side, cents, level, level)
        for side, cents, level in ((BID, 40, 100), (BID, 39, 200), (ASK, 60, 100), (ASK, 61, 200))
    ]
    records += sorted(later, key=lambda record: record[0])
    names = ("ts", "kind", "side", "price", "change", "level")
    values = zip(*records, strict=True)
    made = {name: np.array(each) for name, each in zip(names, values, strict=True)}
    made["ts"] = START + made["ts"].astype(np.int64) * MS
    return made


def filled(made, *rules):
    """Return ms of the fills, by ms of sending and side, with some rules of nautilus."""
    return {
        ((sent - START) // MS, side): (ts - START) // MS
        for (sent, side, _), ts in outcomes(made, frozenset(rules)).items()
        if ts
    }


def change(ms, side, cents, by, level):
    return ms, feed.CHANGE, side, cents, by, level


def sold(ms, cents, qty):
    """A taker sells to the bids."""
    return ms, feed.TRADE, ASK, cents, qty, qty


END = change(290, BID, 1, 1, 1)
CALM = change(115, BID, 1, 1, 1)
"""With it the orders sent at 100 ms are open from 110 or 115 ms on."""


@pytest.mark.parametrize(
    ("rule", "records", "ours", "theirs"),
    [
        # Of 100 in front 80 leave; a trade of 30 is more than the 20 that are left.
        ("queue", (CALM, change(130, BID, 40, -80, 20), sold(150, 40, 30)), {(100, 0): 150}, {}),
        # A trade of 100 at 39 goes through the order at 40 that has 100 in front of it.
        ("through", (CALM, sold(150, 39, 100)), {(100, 0): 150}, {}),
        # No record from 110 on but the trade of 150: before it in ours, and after it in nautilus,
        # the order sent at the start goes and that of 100 comes. Both have 100 in front.
        (
            "arrival", (change(50, BID, 1, 1, 1), sold(150, 40, 101)),
            {(100, 0): 150}, {(0, 0): 150},
        ),
        # The order sent at the start has the 100 in front of it.
        ("start", (sold(50, 40, 101),), {(0, 0): 50}, {}),
        # An ask at 40 for a moment of the burst, after the bids of 40 are gone.
        (
            "record",
            (CALM, change(130, BID, 40, -100, 0), change(130, ASK, 40, 5, 5),
             change(130, ASK, 40, -5, 0)),
            {},
            {(100, 0): 130},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_rule_makes_its_difference(rule, records, ours, theirs):
    """A feed made for one rule fills as in ours without it, and as in nautilus with it alone."""
    made = columns(*records, END)
    assert filled(made) == ours
    assert filled(made, rule) == theirs


def test_an_empty_side_still_refuses():
    """Asks of 60 and 61 go, bids rise to 61: nautilus refuses a bid of 61 by the last ask."""
    made = columns(
        change(50, ASK, 60, -100, 0), change(60, ASK, 61, -200, 0), change(70, BID, 61, 10, 10),
        CALM, sold(150, 61, 11), END,
    )  # fmt: skip
    assert filled(made, "start") == {(100, 0): 150}
    assert filled(made, "start", "empty") == {}


@pytest.mark.parametrize("make", [feed.session, plain_feed.session], ids=["generated", "plain"])
def test_without_rules_of_nautilus_the_engine_fills(make):
    """The fills foretold by no rule of nautilus are those of the engine, with the same maker."""
    session = make(3_000)
    found = outcomes(feed.columns_of(session), NONE)
    sim = Simulation(
        session, cash=dollars(10**6), order_capacity=16, fees=NO_FEES, queue=Queue.conservative,
        latency=Latency.constant("10ms"), restored_after=1,
    )  # fmt: skip
    play(sim, quote_lots, every=STEP)
    rows = sim.journal().rows
    fills = rows[rows["kind"] == JournalKind.FILL]
    assert sorted(
        zip(*(fills[name].tolist() for name in ("ts", "side", "price")), strict=True)
    ) == sorted((ts, side, cents * 100) for (_, side, cents), ts in found.items() if ts)
    assert len(fills) > 5


def quote_lots(sim):
    """Cancel both own orders and quote the smallest lot at both bests."""
    for order in sim.orders.open(0):
        sim.cancel(order.id)
    held, book = sim.positions.qty(0), sim.book(0)
    if book.best_bid > 0 and held < 50:
        sim.submit(0, Side.BUY, book.best_bid, contracts("0.01"), post_only=True)
    if book.best_ask < 10_000 and held > -50:
        sim.submit(0, Side.SELL, book.best_ask, contracts("0.01"), post_only=True)


def test_where_rules_say_the_same_none_makes_a_difference():
    """On the plain feed every choice of rules gives the same fills, and there are some."""
    made = feed.columns_of(plain_feed.session(3_000))
    fills = {
        tuple((key, ts) for key, ts in outcomes(made, chosen).items() if ts)
        for chosen in rule_sets()
    }
    assert len(fills) == 1 and len(fills.pop()) > 10


def told(ours, theirs, **alone):
    """Return outcomes where a set of rules gives what nautilus gives as soon as it holds, for each
    order, one of the sets in `alone`; orders: "a" to "d"."""
    keys = {name: (n, 0, 40) for n, name in enumerate("abcd", start=1)}
    answer = {}
    for chosen in rule_sets():
        answer[chosen] = {
            key: theirs[name] if any(need <= chosen for need in alone[name]) else ours[name]
            for name, key in keys.items()
        }
    return answer


def test_differences_are_put_down_to_the_fewest_rules():
    """One order is the same, one is moved by either of two rules, one is lost to one rule, and one
    is won by two together; a fill that no rule foretells stays unexplained."""
    by_rules = told(
        {"a": 5, "b": 6, "c": 7, "d": 0}, {"a": 5, "b": 9, "c": 0, "d": 8},
        a=[ALL], b=[{"queue"}, {"arrival"}], c=[{"through"}], d=[{"arrival", "record"}],
    )  # fmt: skip
    ours = [(5, 0, 40), (6, 0, 40), (7, 0, 40)]
    theirs = [(5, 0, 40), (9, 0, 40), (8, 0, 40)]
    found = explain(ours, theirs, by_rules)
    assert found["same"] == 1 and found["unexplained"] == []
    assert found["rules"] == {
        "arrival and record": {"theirs alone": 1},
        "arrival or queue": {"moved": 1},
        "through": {"ours alone": 1},
    }
    odd = explain(ours, [*theirs[1:], (5, 1, 60)], by_rules)
    assert odd["unexplained"] == [
        {"who": "theirs", "what": "not foretold", "ts": 5, "side": 1, "cents": 60},
        {"who": "theirs", "what": "only foretold", "ts": 5, "side": 0, "cents": 40},
    ]


def test_page_shows_the_rules():
    """The page has a line for each reason, each rule's words, and what stays unexplained."""
    found = {
        "events": 1000, "ours": 4, "theirs": 3, "same": 2, "unexplained_count": 7,
        "rules": {"queue": {"ours alone": 2}, "arrival": {"moved": 1}},
        "plain": {"events": 10, "ours": 3, "theirs": 3, "same": 3},
    }  # fmt: skip
    fills = {"events": 5, "ours": 1, "theirs": 1, "rules": {"same": 1},
             "by_takings": {"more": 0, "fewer": 0}}  # fmt: skip
    text = page({"fills": {**fills, "nautilus": found}})
    assert "| queue | 2 | 0 | 0 |" in text and "| arrival | 0 | 0 | 1 |" in text
    assert all(f"| {name} | {words} |" in text for name, words in RULES.items())
    assert "7 that stay unexplained" in text
    missing = page({"fills": {**fills, "nautilus": {"missing": "it needs Python 3.12"}}})
    assert "not been compared: it needs Python 3.12." in missing
    assert "not been compared." in page({"fills": fills})


def test_what_is_unexplained_is_no_agreement():
    """Unexplained fills, a plain feed that differs or is empty, and a missing peer all count."""
    plain = {"ours": 3, "theirs": 3, "same": 3}
    assert is_explained({"unexplained_count": 0, "plain": plain})
    assert not is_explained({"unexplained_count": 1, "plain": plain})
    assert not is_explained({"unexplained_count": 0, "plain": {**plain, "same": 2}})
    assert not is_explained({"unexplained_count": 0, "plain": dict.fromkeys(plain, 0)})
    assert not is_explained({"missing": "it needs Python 3.12"})
