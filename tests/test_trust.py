"""Untrusted stretches of a tape, and what of a run fell into them, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_run import CompiledRun, header_of
from workloads import drive, make

from foldbook.adapters import synthetic
from foldbook.engine import (
    NO_FEES,
    Backtest,
    Config,
    JournalKind,
    Market,
    MarketStatus,
    Models,
    Result,
    Session,
    Side,
    Tape,
    TapeKind,
    contracts,
    dollars,
)
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.trust import Stretch, Untrusted, stretches

K = TapeKind


def tape(*rows: tuple) -> np.ndarray:
    """Return tape rows from (ts, market, kind, side, price in cents, contracts)."""
    made = np.zeros(len(rows), TAPE_DTYPE)
    for row, (ts, market, kind, *level) in zip(made, rows, strict=True):
        row["ts"] = row["recv"] = ts
        row["market"], row["kind"] = market, kind
        if level:
            side, price, qty = level
            row["side"], row["price"], row["qty"] = side, price * 100, contracts(qty)
    return made


GAPPED = tape(
    (100, 0, K.SNAPSHOT),
    (100, 0, K.SNAPSHOT_LEVEL, Side.BUY, 40, 50),
    (100, 0, K.SNAPSHOT_LEVEL, Side.SELL, 44, 50),
    (150, 1, K.SNAPSHOT),  # row 3: market 1 is untrusted from the start to here
    (150, 1, K.SNAPSHOT_LEVEL, Side.BUY, 10, 5),
    (200, 0, K.DECREASE, Side.BUY, 40, 10),
    (300, 0, K.GAP),  # row 6
    (320, 1, K.INCREASE, Side.BUY, 12, 5),
    (350, 0, K.GAP),
    (400, 0, K.SNAPSHOT),  # row 9
    (400, 0, K.SNAPSHOT_LEVEL, Side.BUY, 30, 50),
    (400, 0, K.SNAPSHOT_LEVEL, Side.SELL, 34, 20),
    (400, 1, K.INCREASE, Side.BUY, 12, 5),
    (500, 0, K.INCREASE, Side.BUY, 30, 10),
)


def test_stretches_by_hand():
    """From the start or a gap to the end of the burst of the next snapshot; a second gap in a
    stretch begins none."""
    assert stretches(GAPPED, 2) == [
        Stretch(0, first=0, stop=3, start=100, end=100),
        Stretch(0, first=6, stop=12, start=300, end=400),
        Stretch(1, first=0, stop=5, start=100, end=150),
    ]


def test_what_never_recovers_is_untrusted_to_the_end():
    """A gap without a snapshot behind it, and a market without any."""
    assert stretches(GAPPED[:9], 3)[1:] == [
        Stretch(0, first=6, stop=9, start=300, end=350),
        Stretch(1, first=0, stop=5, start=100, end=150),
        Stretch(2, first=0, stop=9, start=100, end=350),
    ]
    assert stretches(GAPPED[:0], 1) == [Stretch(0, 0, 0, 0, 0)]


def session_of(rows: np.ndarray, markets: int = 2) -> Session:
    listed = tuple(Market(f"KX{number}", tick=100) for number in range(markets))
    return Session(Tape(rows), listed, name="gapped")


class BuyThenBid:
    """Buys 10 at 44 when it can, and bids 20 at 36 behind everything."""

    def __init__(self) -> None:
        self.has_bought = False

    def on_book(self, sim, market) -> None:
        if not self.has_bought:
            self.has_bought = True
            sim.submit(0, Side.BUY, 4400, contracts(10))
            sim.submit(0, Side.BUY, 3600, contracts(20))


def test_a_run_through_a_gap_by_hand():
    """10 bought at 44 are worth 42 each before the gap and 32 after it: -1.00. The bid at 36 for 20
    is crossed by the recovering snapshot's ask at 34, which shows 20: paid 36, worth 32, -0.80."""
    result = Backtest(session_of(GAPPED), BuyThenBid(), fees=NO_FEES).run()
    assert [(fill.ts, fill.price, fill.qty) for fill in result.fills] == [
        (100, 4400, 1000),
        (400, 3600, 2000),
    ]
    assert result.untrusted() == Untrusted(
        time=(100 + 50) / 800,
        fills=1,
        fill_share=1 / 2,
        qty=2000,
        volume_share=2 / 3,
        pnl=-1_800_000,
    )
    figures = result.metrics()
    assert figures["untrusted_pnl"] == -1_800_000
    assert (figures["untrusted_time"], figures["untrusted_fills"]) == (150 / 800, 1)
    assert "untrusted pnl   -$1.80" in result.summary()


class BuyAtRecovery:
    """Takes what the recovering snapshot shows, after it."""

    def on_book(self, sim, market) -> None:
        if sim.now == 400 and market == "KX0":
            sim.submit(0, Side.BUY, 3400, contracts(5))


def test_what_is_sent_after_the_recovery_is_trusted():
    """A fill at the time of the recovery, but of an order that saw the new book, is a fact."""
    result = Backtest(session_of(GAPPED), BuyAtRecovery(), fees=NO_FEES).run()
    assert len(result.fills) == 1 and result.fills[0].ts == 400
    assert result.untrusted().fills == 0


def test_a_gap_that_ends_in_a_settlement():
    """A market that never recovers: its value changes from the mark before the gap to the payout,
    and what else happens in another market does not count."""
    rows = np.concatenate([GAPPED[:7], np.zeros(1, TAPE_DTYPE)])
    rows["ts"][-1] = rows["recv"][-1] = 900
    rows["kind"][-1], rows["qty"][-1], rows["price"][-1] = K.STATUS, MarketStatus.SETTLED, 10_000
    result = Backtest(session_of(rows), BuyThenBid(), fees=NO_FEES).run()
    assert result.untrusted().pnl == 10 * (1_000_000 - 420_000)
    assert result.simulation.reward.value - dollars(1000) == 10 * (1_000_000 - 440_000)


def test_generated_sessions_have_no_untrusted_value():
    """A session without gaps: whatever came of it, none of it is untrusted."""
    result = Backtest(synthetic.session(seed=7, events=2000, minutes=2), BuyThenBid()).run()
    found = result.untrusted()
    assert (found.fills, found.qty, found.pnl) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(12))
def test_market_values_add_up(seed):
    """On random workloads with gaps: the markets' values are the portfolio's less the starting
    cash, at every time, and no fill that a gapped book made is counted as trusted."""
    workload = make(seed)
    run = CompiledRun(workload)
    drive(run, workload)
    journal, session = run.bus.journal(), run.bus.session
    config = Config(workload.cash, workload.seed, Models(workload.fees), workload.mark)
    header = header_of(run.bus, config) | {"events": len(workload.rows), "now": session.end}
    result = Result.from_journal(session, journal.rows, journal.places, header)
    times = np.linspace(session.start - 1, session.end, 40).astype(np.int64)
    whole = result.values(times).column("value") - workload.cash
    assert (result.market_values(times).sum(axis=1) == whole).all(), f"seed {seed}"
    found = result.untrusted()
    expected = sum(map(len, fills_in(result, stretches(session.tape.rows, len(session.markets)))))
    assert found.fills == expected, f"seed {seed}"


def fills_in(result: Result, found: list[Stretch]) -> list[list[int]]:
    """Return the fills of each stretch, by walking through them one by one."""
    rows, places = result.journal.rows, result.journal.places
    inside = []
    for each in found:
        of_market = [n for n in result.journal.numbers(JournalKind.FILL).tolist()
                     if rows["market"][n] == each.market]  # fmt: skip
        inside.append([n for n in of_market if each.first < places[n] < each.stop
                       or (places[n] == each.stop and rows["cause_kind"][n] == 1)])  # fmt: skip
    return inside
