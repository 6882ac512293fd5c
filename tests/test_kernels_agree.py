"""The compiled kernels held to the plain-Python reference, over seeded random workloads."""

from __future__ import annotations

import numpy as np
import pytest
from agents import ORDERS_MAX
from compiled_run import CompiledRun
from reference.invariants import Together, Watch
from reference.simulation import ReferenceSimulation
from workloads import EVERYTHING, Workload, apply, coverage, drive, make, tape_coverage

from foldbook.engine.kernels import layout
from foldbook.engine.projections import Views
from foldbook.engine.projections.orders import market_and_number
from foldbook.engine.schema import JOURNAL_DTYPE, NO_TIME, MarketStatus, TapeFlag, TapeKind
from foldbook.engine.simulation import STARTED

CHUNKS = 4
WHOLE_STATE_EVERY = 20


def first_difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Say which row is the first that differs, and how it looks on both sides."""
    common = min(len(ours), len(theirs))
    differs = np.flatnonzero(ours[:common] != theirs[:common])
    row = int(differs[0]) if len(differs) else common
    return (
        f"journal row {row} of {len(ours)} and {len(theirs)}, {JOURNAL_DTYPE.names}:\n"
        f"reference {ours[row : row + 1]}\ncompiled  {theirs[row : row + 1]}"
    )


def money(reference: ReferenceSimulation, account: int) -> tuple[int, ...]:
    """Return what `compiled_money` does, from the reference."""
    of = reference.accounts[account]
    return (
        len(reference.journal), reference.now, reference.applied, of.cash,
        of.reserved, of.value, of.peak, of.drawdown,
    )  # fmt: skip


def compiled_money(run: CompiledRun, account: int) -> tuple[int, ...]:
    """Return journal length, clock, rows applied and an account, from the compiled state."""
    run.use(account)
    word = run.bus.memory
    return (
        word[layout.JOURNAL_COUNT], word[layout.NOW], word[layout.CURSOR], word[layout.CASH],
        word[layout.RESERVED],
        word[layout.CASH] + word[layout.POSITIONS_VALUE] - word[layout.RETURNED],
        word[layout.PEAK], word[layout.DRAWDOWN],
    )  # fmt: skip


def assert_agree(workload: Workload, order_capacity: int = 64) -> np.ndarray:
    """Run a workload both ways and return the journal.

    Account and journal length are compared after every command, whole states now and then, rows
    and places at the end, of every account; the reference checks its invariants after each burst
    and command.
    """
    accounts = range(1 + len(workload.others))
    seed = f"seed {workload.seed}"
    watch: Watch | Together = Watch(seed=workload.seed, order_capacity=ORDERS_MAX)
    if workload.others:
        watch = Together(len(accounts), seed=workload.seed, order_capacity=ORDERS_MAX)
    reference = workload.reference(watch)
    run = CompiledRun(workload, order_capacity)
    for number, command in enumerate(workload.commands):
        apply(reference, command)
        apply(run, command)
        for account in accounts:
            theirs, ours = money(reference, account), compiled_money(run, account)
            if theirs != ours:
                raise AssertionError(
                    f"{seed}, command {number} {command}, account {account}: {theirs} is not "
                    f"{ours}\n{first_difference(reference.journal_rows(), run.journal_rows())}"
                )
            if number % WHOLE_STATE_EVERY == 0:
                where = f"{seed}, command {number} {command}, account {account}"
                assert reference.state(account) == run.state(account), where
    reference.advance_to_row(len(workload.rows))
    run.advance_to_row(len(workload.rows))
    expected, rows = reference.journal_rows(), run.journal_rows()
    assert expected.tobytes() == rows.tobytes(), f"{seed}: {first_difference(expected, rows)}"
    assert reference.places() == run.places(), f"{seed}: places"
    for account in accounts:
        where = f"{seed}: state of account {account} at the end"
        assert reference.state(account) == run.state(account), where
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_kernels_and_reference_agree_on_every_byte(seeds, chunk) -> None:
    """Journals, places and states are equal for all seeds, and show everything there is."""
    journals, tapes = [], []
    for seed in seeds[chunk::CHUNKS]:
        workload = make(seed)
        tapes.append(workload.rows)
        assert len(workload.rows) >= 2000 and len(workload.commands) >= 200, f"seed {seed}"
        journals.append(assert_agree(workload))
    if len(journals) >= 50:
        assert EVERYTHING - coverage(journals) == set()
        expected = {f"kind {kind.name}" for kind in TapeKind}
        expected |= {f"flag {flag.name}" for flag in TapeFlag}
        expected |= {f"status {status.name}" for status in MarketStatus}
        assert expected - tape_coverage(tapes) == set()


@pytest.mark.parametrize("order_capacity", [12, 13, 40])
def test_order_capacity_changes_nothing(order_capacity) -> None:
    """A workload that keeps up to twelve orders open runs alike with just enough slots."""
    for seed in (3, 8):
        assert_agree(make(seed, 800, 120), order_capacity)


@pytest.mark.bounds
@pytest.mark.parametrize("seed", range(1000, 1006))
def test_kernels_stay_within_their_arrays(seed) -> None:
    """Under NUMBA_BOUNDSCHECK=1 an index outside its array raises; nothing of these does."""
    assert_agree(make(seed, 1200, 150), order_capacity=12)


@pytest.mark.bounds
@pytest.mark.parametrize("accounts", [1, 3])
@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5, 7])  # 3 sends a time in force that is none
def test_cancel_all_is_a_cancel_of_each(seed, accounts) -> None:
    """Of what an account sees open or on its way, bids first, best first, and of nobody else's."""
    workload = make(seed, 1200, 160, accounts)
    run = CompiledRun(workload)
    tickers = [market.ticker for market in workload.markets]
    canceled = 0

    def look(number: int) -> None:
        nonlocal canceled
        if number % 8:
            return
        run.bus.follow()
        together, each = run.bus.fork(), run.bus.fork()
        for account in range(accounts):
            for bus in (together, each):
                bus.use(account)
            bases = [each.base(market) for market in range(len(tickers))]
            orders = Views(each.sight, bases, tickers, int).orders
            for market in range(len(tickers)):
                together.cancel_all(market, STARTED, account)
                for order in orders.open(market):
                    each.cancel((*market_and_number(order.id), *[0] * 5, NO_TIME, 0, 0, *STARTED))
                    each.follow()
                    canceled += 1
        for bus in (together, each):
            bus.advance()
            bus.follow()
        assert together.journal().first_difference(each.journal()) is None, f"command {number}"
        assert together.state_bytes() == each.state_bytes(), f"command {number}"

    drive(run, workload, look)
    assert canceled > 5
