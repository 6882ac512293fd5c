"""The same strategy under the kindest and the harshest models, and who cannot be run again."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from strategies import Maker, Quoting, compiled_maker

from foldbook.adapters import synthetic
from foldbook.engine import (
    Backtest,
    Delay,
    Feed,
    JournalError,
    Latency,
    Models,
    Queue,
    Result,
    StrategyError,
    events,
)
from foldbook.engine.band import harsher, latency_text
from foldbook.engine.specs import DELAY_MAX, NO_DELAY

SESSION = synthetic.session(seed=3, events=1500, minutes=1)


class Counting(Quoting):
    """A maker that trades only once it has seen 50 books, and knows a projection of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.fills = Fills()

    def on_book(self, sim, market) -> None:
        """Quote from the 50th book on, until there was a fill."""
        self.seen += 1
        if self.seen >= 50 and self.fills.count < 1:
            super().on_book(sim, market)


class Fills:
    """Counts fills."""

    def __init__(self) -> None:
        self.kinds = (events.Fill,)
        self.count = 0

    def apply(self, event) -> None:
        """Count one."""
        self.count += 1


def test_each_run_starts_from_the_strategy_as_it_was():
    """A strategy with a memory runs from its beginning each time, with a projection that it knows;
    with the same models it does the same again, however often."""
    strategy = Counting()
    result = Backtest(SESSION, strategy, projections=[strategy.fills]).run()
    assert strategy.fills.count >= 1
    seen = strategy.seen
    for _ in range(2):
        assert result.again(result.config.models).digest == result.digest
    assert strategy.seen == seen


@pytest.mark.parametrize(
    ("strategy", "every"), [(Maker(), "250ms"), (compiled_maker(), "250ms"), (Quoting(), None)]
)
def test_a_band_is_three_runs(strategy, every):
    """The chosen run is the result itself; the others are what those models give by themselves."""
    result = Backtest(SESSION, strategy, every=every).run()
    band = result.band()
    figures = result.metrics()
    assert band.chosen.digest == result.digest
    assert (band.chosen.pnl, band.chosen.fills, band.chosen.contracts) == (
        figures["pnl"],
        figures["fills"],
        figures["contracts"],
    )
    assert band.optimistic.queue == "optimistic" and band.pessimistic.queue == "conservative"
    kind = result.again(Models(result.config.models.fees, queue=Queue.optimistic))
    assert band.optimistic.digest == kind.digest
    for case in band.cases:
        assert sum(pnl for _, pnl in case.pnl_by_evidence) == case.pnl


def test_a_band_prints_and_goes_through_json():
    """A table of three columns, and the same as decimal strings."""
    band = Backtest(SESSION, Maker(), every="250ms").run().band()
    lines = str(band).splitlines()
    assert lines[0].split() == ["optimistic", "chosen", "pessimistic"]
    assert [line[:13].strip() for line in lines[1:]] == [
        "pnl", "fills", "contracts", "queue", "latency", "pnl taker", "pnl through", "pnl queue",
        "pnl beyond", "pnl account", "pnl remainder", "digest",
    ]  # fmt: skip
    data = json.loads(json.dumps(band.to_json()))
    assert list(data) == ["optimistic", "chosen", "pessimistic"]
    assert data["chosen"]["fills"] == band.chosen.fills
    assert data["chosen"]["pnl_by_evidence"].keys() == {
        "taker", "through", "queue", "beyond", "account", "remainder"}  # fmt: skip


def test_harsher_delays_by_hand():
    """Constants and recorded delays are doubled; of a table the 95th percentile counts, the 19th
    smallest of 20; the feed stays."""
    latency = Latency(
        order=Delay.empirical(range(20, 0, -1)),
        amend=Delay.constant(7),
        cancel=Delay.recorded([1, 2], [5, DELAY_MAX]),
        response=Delay.empirical([4, 9]),
        feed=Feed.RECORDED,
    )
    assert harsher(latency) == Latency(
        order=Delay.constant(19),
        amend=Delay.constant(14),
        cancel=Delay.recorded([1, 2], [10, DELAY_MAX]),
        response=Delay.constant(9),
        feed=Feed.RECORDED,
    )
    assert harsher(Latency()) == Latency()
    assert latency_text(latency) == "order=drawn(20),amend=7ns,cancel=recorded(2)," + (
        "response=drawn(2),feed=recorded"
    )
    assert latency_text(Latency(order=NO_DELAY)) == "none"


class Locked(Maker):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def test_a_strategy_that_cannot_be_copied_runs_once():
    """The run itself is not harmed; only a second one is refused, and says why."""
    result = Backtest(SESSION, Locked(), every="250ms").run()
    assert len(result.fills)
    with pytest.raises(StrategyError, match=r"Locked cannot be copied.*lock"):
        result.band()


def test_a_result_from_a_journal_has_no_strategy():
    """Rebuilt or replayed: there is nothing to run again."""
    result = Backtest(SESSION, Maker(), every="250ms").run()
    rows, places = np.array(result.journal.rows), np.array(result.journal.places)
    rebuilt = Result.from_journal(SESSION, rows, places, result.header())
    for other in (rebuilt, result.replay()):
        with pytest.raises(JournalError, match="holds no strategy"):
            other.band()
