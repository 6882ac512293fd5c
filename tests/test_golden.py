"""Golden digests, and what a result says of a run: figures that add up, tables, chains of causes.

A golden digest changes only when behaviour does: then CHANGELOG says so under "Semantics".
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from foldbook.adapters import synthetic
from foldbook.engine import (
    Backtest,
    Evidence,
    Latency,
    Liquidity,
    Mark,
    Result,
    Session,
    Side,
    Simulation,
    dollars,
)
from foldbook.engine.schema import JournalKind
from foldbook.examples.market_maker import MarketMaker, market_maker
from foldbook.examples.take_imbalance import TakeImbalance


def maker_run() -> Result:
    """A market maker in Python, on each change of the book."""
    session = synthetic.session(seed=101, events=9000, minutes=3)
    return Backtest(session, MarketMaker()).run()


def taker_run() -> Result:
    """A taker in Python, two markets, valued at what closing would earn."""
    session = synthetic.session(seed=102, events=5000, minutes=2, markets=2)
    strategy = TakeImbalance(times=3, rest_ns=10**9)
    return Backtest(session, strategy, mark=Mark.CLOSE, cash=dollars(50)).run()


def compiled_run() -> Result:
    """A compiled market maker every 100 ms, on the finest grid, without a trade channel."""
    session = synthetic.session(seed=103, events=9000, minutes=3, tick=10, trades=False)
    return Backtest(session, market_maker, every="100ms").run()


GOLDEN = {
    maker_run: (188, "759b6f2d61ab9f17e93acc898142a699a9a69b16f8d1234d9331029e2bbfb002"),
    taker_run: (109, "4504352a1835adfbc28b76661e9fe27351ef7c003e74dac3ffca88f888b58b73"),
    compiled_run: (60, "0b0294451d70b8a016d5a22ad14a0ef40eb062e03ba6510ccff074d503e7591c"),
}
"""By run: how many fills, and the digest of its journal."""


@pytest.mark.parametrize("run", GOLDEN, ids=lambda run: run.__name__)
def test_golden_digests(run) -> None:
    """Three runs write the journals that they wrote when this file was."""
    result = run()
    assert (len(result.fills), result.digest) == GOLDEN[run]


@pytest.fixture(scope="module", params=[maker_run, taker_run], ids=["maker", "taker"])
def result(request: pytest.FixtureRequest) -> Result:
    """One of the golden runs."""
    made: Result = request.param()
    return made


def test_figures_follow_from_the_journal(result) -> None:
    """Each figure is what a person would add up from the rows, and P&L is final value less cash."""
    figures = result.metrics()
    rows = result.journal.rows
    kinds = rows["kind"]
    fills = rows[kinds == JournalKind.FILL]
    assert figures["orders"] == len(result.orders) == (kinds == JournalKind.SUBMITTED).sum()
    assert figures["rejects"] == (kinds == JournalKind.REJECTED).sum()
    assert figures["fills"] == len(result.fills) == len(fills)
    assert figures["contracts"] == sum(fill.qty for fill in result.fills)
    assert figures["fees"] == sum(fill.fee for fill in result.fills) == rows["fee"].sum()
    assert figures["events"] == len(result.session.tape)
    assert figures["pnl"] == figures["final_value"] - result.config.cash
    cash = int(rows["cash"].sum() - rows["fee"].sum())
    assert all(position.qty == 0 for position in result.positions), "settled"
    assert figures["final_value"] == cash == result.simulation.positions.cash
    realised = sum(position.realised for position in result.positions)
    assert figures["pnl"] == realised - figures["fees"]
    made = sum(fill.qty for fill in result.fills if fill.liquidity == Liquidity.MAKER)
    assert figures["maker_share"] == made / figures["contracts"]
    accepted = sum(order.qty for order in result.orders if order.state.name != "REJECTED")
    assert figures["fill_ratio"] == figures["contracts"] / accepted
    costs = sum(
        fill.qty * (fill.price if fill.side == Side.BUY else 10_000 - fill.price)
        for fill in result.fills
    )
    assert figures["turnover"] == costs / result.config.cash
    assert figures["return"] == figures["pnl"] / result.config.cash
    assert 0 < figures["time_in_market"] <= 1


def test_equity_is_the_value_at_its_times(result) -> None:
    """501 moments from the first row to the last; their values are those that a run in steps shows,
    their changes add up to the P&L, and no fall is deeper than the drawdown."""
    equity = result.equity
    session = result.session
    assert len(equity) == 501
    step = (session.end - session.start) / 500
    assert all(
        abs(each.ts - session.start - number * step) < 1000 for number, each in enumerate(equity)
    )
    assert result.values(np.array([session.end]))[0].value == result.metrics()["final_value"]
    times, values = equity.column("ts"), equity.column("value")
    peak = np.maximum.accumulate(np.maximum(values, result.config.cash))
    assert (peak - values).max() <= result.metrics()["max_drawdown"]
    assert int(np.diff(values).sum()) + int(values[0]) - result.config.cash == (
        result.metrics()["pnl"]
    )
    chosen = times[::100]
    assert result.values(chosen).column("value").tolist() == values[::100].tolist()
    stepped = stepped_values(result, chosen.tolist())
    assert stepped == values[::100].tolist()


def stepped_values(result: Result, times: list[int]) -> list[int]:
    """Return the values that a run of the same requests shows when it stands at each time."""
    from foldbook.engine.journal import requests

    sim = result.config.simulation(result.session)
    bus, journal = sim.bus, result.journal
    values, waiting = [], list(times)
    for number in requests(journal):
        row = journal.rows[number]
        while waiting and waiting[0] < row["ts"]:
            sim.advance(until=waiting.pop(0))
            values.append(sim.reward.value)
        bus.advance(int(row["ts"]), int(journal.places[number]))
        bus.happen_until(int(row["ts"]), number)
        bus.send_again(row)
    for ts in waiting:
        sim.advance(until=ts)
        values.append(sim.reward.value)
    return values


def test_drawdown_is_the_deepest_fall_of_a_run_burst_by_burst() -> None:
    """Held from an early purchase to the settlement, the value is looked at after each burst: its
    deepest fall below its peak is the drawdown, and none is missed by a run in one piece."""
    session = synthetic.session(seed=12, events=1500, minutes=1)
    piecewise, whole = Simulation(session), Simulation(session)
    values = [piecewise.reward.value]
    for sim in (piecewise, whole):
        sim.advance(events=300)
        sim.submit(0, Side.BUY, sim.book(0).best_ask, 2000)
    while piecewise.events < len(session.tape):
        values.append(piecewise.reward.value)
        piecewise.advance(events=1)
    values.append(piecewise.reward.value)
    whole.advance()
    falls = np.maximum.accumulate(values) - np.array(values)
    assert falls.max() == piecewise.reward.max_drawdown == whole.reward.max_drawdown > 0
    assert max(values) == piecewise.reward.peak == whole.reward.peak


@pytest.mark.parametrize("name", ["fills", "orders", "positions", "equity"])
def test_tables_convert(result, name) -> None:
    """Arrow, pandas and Polars get the same columns, numbers as integers and enums by name."""
    table = getattr(result, name)
    arrow, pandas, polars = table.to_arrow(), table.to_pandas(), table.to_polars()
    columns = list(table.row_type._fields)
    assert arrow.column_names == list(pandas.columns) == polars.columns == columns
    assert arrow.num_rows == len(pandas) == len(polars) == len(table) > 0
    records = [
        tuple(getattr(value, "name", value) for value in row) for row in table
    ]
    assert [tuple(row.values()) for row in arrow.to_pylist()] == records
    assert list(pandas.itertuples(index=False, name=None)) == records
    assert polars.rows() == records


def test_an_empty_run_has_empty_tables() -> None:
    """No order, no fill: tables without rows convert, ratios do not exist, the value stays."""
    session = synthetic.session(seed=1, events=200, minutes=1)
    result = Backtest(session, lambda sim: None, every="1s").run()
    assert len(result.fills) == len(result.orders) == 0
    for table in (result.fills, result.orders):
        assert table.to_arrow().num_rows == len(table.to_pandas()) == len(table.to_polars()) == 0
    figures = result.metrics()
    assert (figures["pnl"], figures["max_drawdown"], figures["final_value"]) == (0, 0, 10**9)
    assert figures["fill_ratio"] is figures["maker_share"] is figures["sharpe"] is None
    assert "fills" in result.summary() and result.digest in result.summary()
    with pytest.raises(IndexError, match="fill 0: the run has 0"):
        result.explain(0)


# Chains of causes.

CHAINS = {
    Evidence.TAKER: r"market event, decision, book, order, (earlier fill, )*fill",
    Evidence.QUEUE: r"(market event|clock), decision, book, order, (earlier fill, )*"
                    r"market event, book, queue, fill",
    Evidence.THROUGH: r"(market event|clock), decision, book, order, (earlier fill, )*"
                      r"market event, book, queue, fill",
    Evidence.BEYOND: r"(market event|clock), decision, book, order, (earlier fill, )*"
                     r"market event, book, queue, fill",
}  # fmt: skip
LINE = re.compile(r"  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z  ([a-z ]+?)  +(\S.*)")


@pytest.fixture(scope="module")
def explained() -> dict[Evidence, tuple[Result, int]]:
    """By evidence, a run and the number of a fill of it."""
    found: dict[Evidence, tuple[Result, int]] = {}
    for run in GOLDEN:
        result = run()
        for fill in result.fills:
            found.setdefault(fill.evidence, (result, fill.number))
    return found


@pytest.mark.parametrize("evidence", CHAINS, ids=lambda evidence: evidence.name)
def test_explained_chains_run_from_event_to_fill(explained, evidence) -> None:
    """Market event, decision, order, market event, fill: in this order, in time, with the book,
    the queue and the figures of the fill."""
    result, number = explained[evidence]
    fill = result.fills[number]
    head, *lines = result.explain(fill).splitlines()
    assert head == f"fill {number} in {fill.market}"
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    chain = [(match[1], match[2]) for match in matches if match]
    assert re.fullmatch(CHAINS[evidence], ", ".join(role for role, _ in chain))
    stamps = [line.split()[0] for line in lines]
    assert stamps == sorted(stamps)
    text = chain[-1][1]
    side, twin = (fill.side.name, Side(1 - fill.side).name)
    assert text.startswith(f"{side} {fill.qty / 100:.2f} YES at ${fill.price / 10_000:.4f}")
    assert f"= {twin} NO at ${1 - fill.price / 10_000:.4f}" in text
    decision = dict(chain)["decision"]
    assert f"{side} " in decision and decision.startswith("SUBMITTED: order ")
    books = [what for role, what in chain if role == "book"]
    assert all(re.fullmatch(r"bids (\S+@\S+ ?)+ ?\| asks (\S+@\S+ ?)+", book) for book in books)
    if evidence == Evidence.QUEUE:
        assert "TRADE" in dict(chain[4:])["market event"]
        queue = dict(chain)["queue"]
        assert f"{fill.ahead / 100:.2f} before this trade; {fill.claim / 100:.2f} went" in queue


@pytest.mark.parametrize("feed", ["0ms", "40ms"])
def test_explained_books_are_those_of_the_moment(feed) -> None:
    """The book at the decision is the one that the strategy saw; where it sees late, the venue's of
    that moment stands beside it."""
    session = synthetic.session(seed=101, events=2000, minutes=1)
    seen: dict[int, str] = {}

    class Watching(TakeImbalance):
        def on_book(self, sim: Any, market: str) -> None:
            book = sim.book(market)
            before = tuple(
                " ".join(f"{qty / 100:.2f}@{price / 10_000:.4f}" for price, qty in side)
                for side in (book.bids(3), book.asks(3))
            )
            known = len(sim.journal())
            super().on_book(sim, market)
            if len(sim.journal()) > known:
                seen[sim.now] = "bids {} | asks {}".format(*before)

    latency = Latency.constant(feed=feed, response=feed)
    result = Backtest(session, Watching(times=2, rest_ns=10**9), latency=latency).run()
    assert len(result.fills) > 3
    differ = 0
    for fill in list(result.fills)[:5]:
        books = [LINE.fullmatch(line) for line in result.explain(fill).splitlines()[1:]]
        texts = {match[1]: match[2] for match in books if match}
        if not latency.delays_sight:
            assert texts["book"] == seen[fill.ts] and "venue book" not in texts
            continue
        assert texts["book as seen"] == seen[fill.ts]
        differ += texts["venue book"] != seen[fill.ts]
    assert bool(differ) == latency.delays_sight


def test_a_session_is_known_by_its_markets_and_rows() -> None:
    """run_digest tells runs of one journal apart by session and configuration; digest does not."""
    session = synthetic.session(seed=4, events=300, minutes=1)
    other = Session(session.tape, session.markets, name="other", source={"path": "elsewhere"})

    def run(of: Session, **options: Any) -> Result:
        return Backtest(of, lambda sim: None, every="1s", **options).run()

    one, same, seeded = run(session), run(other), run(session, seed=1)
    assert one.digest == same.digest == seeded.digest
    assert one.run_digest == same.run_digest != seeded.run_digest
