"""P&L by how much each fill is to be believed: by hand, and that it always adds up."""

from __future__ import annotations

import pytest
from compiled_run import CompiledRun
from strategies import Maker, Quoting, Taker
from workloads import drive, make

from foldbook.adapters import synthetic
from foldbook.engine import (
    KALSHI_2026_08,
    NO_FEES,
    Backtest,
    Evidence,
    JournalKind,
    Mark,
    Outcome,
    Result,
    Side,
    contracts,
    dollars,
)


def rows_of(result: Result) -> dict[str, tuple[int, int, int, int]]:
    return {row.evidence.name: tuple(row[1:]) for row in result.pnl_by_evidence()}


class BuyAndSell:
    """Buys 10 YES at the ask, and later 4 NO at their ask: 4 pairs are netted."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, sim) -> None:
        if self.sent == 0:
            sim.submit(0, Side.BUY, 9900, contracts(10))
        elif self.sent == 5:
            sim.submit(0, Side.BUY, 9900, contracts(4), outcome=Outcome.NO)
        self.sent += 1


def test_pairs_by_hand():
    """Each fill is worth its leg's final value, netted or not: YES the payout, NO the rest."""
    session = synthetic.session(seed=7, events=3000, minutes=1)
    result = Backtest(session, BuyAndSell(), every="5s", fees=NO_FEES).run()
    payout = result.simulation.book(0).mark2 // 2
    assert payout in (0, 10_000)
    expected = sum(
        fill.qty * ((payout - fill.price) * (1 if fill.side == Side.BUY else -1))
        for fill in result.fills
    )
    assert {fill.side for fill in result.fills} == {Side.BUY, Side.SELL}
    pnl = result.metrics()["pnl"]
    assert rows_of(result) == {
        "TAKER": (len(result.fills), contracts(14), 0, pnl),
        "THROUGH": (0, 0, 0, 0),
        "QUEUE": (0, 0, 0, 0),
        "BEYOND": (0, 0, 0, 0),
        "ACCOUNT": (0, 0, 0, 0),
        "NONE": (0, 0, 0, 0),
    }
    assert pnl == expected


def settled_beside(result: Result) -> int:
    """Return what settlements paid beside the final value of what they ended: their fees, and all
    that a market declared void pays more or less than its last mark."""
    beside = 0
    ended = set()
    for row in result.journal.rows[result.journal.numbers(JournalKind.SETTLED)]:
        market = int(row["market"])
        beside += int(row["cash"] - row["fee"])
        if market not in ended:
            ended.add(market)
            final2 = result.simulation.venue.books[market].mark2
            leg2 = final2 if row["side"] == Side.BUY else 20_000 - final2
            beside -= int(row["qty"]) * leg2 // 2
    return beside


def check(result: Result, what: str) -> None:
    """The rows add up to the P&L, and the remainder is no more than what it is said to be."""
    table = result.pnl_by_evidence()
    pnl = result.simulation.venue.reward.value - result.config.cash
    assert sum(row.pnl for row in table) == pnl, what
    fills = result.fills
    assert sum(row.fills for row in table) == len(fills), what
    assert sum(row.qty for row in table) == int(fills.column("qty").sum()), what
    assert sum(row.fees for row in table) == result.simulation.venue.positions.fees, what
    assert [row.evidence for row in table] == [*list(Evidence)[1:], Evidence.NONE], what
    if result.config.mark == Mark.MID:
        rounding = table[-1].pnl - settled_beside(result)
        assert -len(result.session.markets) <= rounding <= 4, what


@pytest.mark.parametrize("make_one", [Maker, Taker, lambda: Quoting((0,))])
@pytest.mark.parametrize("settle", [True, False])
def test_generated_sessions_add_up(make_one, settle):
    """Makers and takers, settled or marked at the mid: the classes and the remainder are the P&L,
    and the remainder is half units only."""
    seen = set()
    for seed in range(4):
        session = synthetic.session(seed=seed, markets=2, events=1500, minutes=1, settle=settle)
        every = None if isinstance(make_one(), Quoting) else "250ms"
        result = Backtest(session, make_one(), every=every, fees=KALSHI_2026_08,
                          cash=dollars(500)).run()  # fmt: skip
        check(result, f"seed {seed}")
        seen |= {row.evidence for row in result.pnl_by_evidence() if row.fills}
    assert seen


@pytest.mark.parametrize("seed", range(20))
def test_random_workloads_add_up(seed):
    """Whatever is sent, gaps, pauses and settlements included, nothing of the P&L is lost."""
    workload = make(seed)
    run = CompiledRun(workload)
    drive(run, workload)
    check(run.result(workload), f"{seed}")
