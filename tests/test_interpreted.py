"""The same kernels as plain Python, NUMBA_DISABLE_JIT=1, watched after every burst.

Run as a script, this file is the process with the JIT off: it prints the digests of its runs.
"""

from __future__ import annotations

import sys

import pytest
from compiled_run import CompiledRun, read_state
from processes import interpreted
from reference.invariants import Watch
from workloads import Workload, apply, drive, make

from foldbook.engine.compiled import JIT_DISABLED
from foldbook.engine.kernels import layout
from foldbook.engine.schema import NO_TIME, JournalKind

SEEDS = (1, 9, 19, 23)
"""With and without delays, limits and restorations, both marks, one market and several."""
ORDER_CAPACITY = 16


def check_state(run: CompiledRun) -> None:
    """Assert what the state block itself promises: its indices are what they index.

    Best ranks, own counts, linked slots, what is due next and cached values are recomputed from
    levels, slots and flights.
    """
    word = run.bus.state.tolist()
    count = len(run.markets)
    table = layout.table_offset(count)
    flights = _flights(word)
    sent = [flight[layout.OF_MARKET] for flight in flights
            if flight[layout.REQUEST] == JournalKind.SUBMITTED]  # fmt: skip
    due = {layout.DUE_EXPIRY: [NO_TIME], layout.DUE_RESTORE: [NO_TIME],
           layout.DUE_ARRIVAL: [NO_TIME, *(flight[layout.ARRIVAL] for flight in flights)]}
    open_orders = 0
    for m in range(count):
        base = word[table + m]
        expiries = _check_market(word, base, f"market {m}")
        desk = layout.desk_offset(count, m)
        assert word[desk + layout.HELD] == len(expiries) + sent.count(m), f"market {m}: held"
        open_orders += len(expiries)
        due[layout.DUE_EXPIRY] += expiries
        due[layout.DUE_RESTORE].append(word[base + layout.RESTORE_AT])
    for at, times in due.items():
        assert word[at] == min(times), f"word {at}: due at {word[at]}, not {min(times)}"
    assert word[layout.DUE] == min(map(min, due.values())), f"next due {word[layout.DUE]}"
    assert word[layout.OPEN_ORDERS] == open_orders, "open orders of the account"
    values = sum(word[layout.desk_offset(count, m) + layout.VALUE] for m in range(count))
    assert word[layout.POSITIONS_VALUE] == values, "value is not the sum of the markets'"
    for total, part in ((layout.RESERVED, layout.POSITION_RESERVED),
                        (layout.FEES, layout.POSITION_FEES),
                        (layout.REALISED, layout.POSITION_REALISED),
                        (layout.COSTS, layout.COST),
                        (layout.RETURNED, layout.POSITION_RETURNED)):  # fmt: skip
        parts = [layout.ACCOUNT_END + layout.POSITION_WORDS * m + part for m in range(count)]
        assert word[total] == sum(word[at] for at in parts), "account is not its markets"
    assert word[layout.CURSOR] == sum(word[word[table + m] + layout.ROWS] for m in range(count))
    rows = sum(word[word[table + m] + layout.JOURNALED] for m in range(count))
    assert word[layout.JOURNAL_COUNT] == rows + word[layout.ACCOUNT_ROWS]
    for name in (layout.CAUSE_KIND, layout.CAUSE_MARKET, layout.CAUSE_ROW, layout.DIRTY):
        assert word[name] == 0, f"word {name} is left over from a step"


def _flights(word: list[int]) -> list[list[int]]:
    """Return the words of each command in flight; what is behind them is blank."""
    first, size = word[layout.FLIGHTS], layout.FLIGHT_WORDS
    ends = first + size * word[layout.FLIGHT_COUNT]
    assert not any(word[ends : first + size * word[layout.FLIGHT_CAPACITY]]), "flights not blank"
    return [word[at : at + size] for at in range(first, ends, size)]


def _check_market(word: list[int], base: int, name: str) -> list[int]:
    """Check one market block, and return the expiries of its orders."""
    top = word[base + layout.TOP]
    expiries = []
    used = set()
    for side in (0, 1):
        first = base + layout.MARKET_WORDS + layout.LEVEL_WORDS * side * (top + 1)
        levels = word[first : first + layout.LEVEL_WORDS * (top + 1)]
        qty, taken, own = (levels[at :: layout.LEVEL_WORDS] for at in range(layout.LEVEL_WORDS))
        best = max((rank for rank in range(top + 1) if qty[rank]), default=0)
        assert word[base + layout.BEST_BUY + side] == best, f"{name}: best of side {side}"
        assert min(qty) >= 0 and min(taken) >= 0 and min(own) >= 0, f"{name}: below zero"
        assert all(map(int.__ge__, qty, taken)), f"{name}: took more than a level shows"
        expected = [0] * (top + 1)
        slot = word[base + layout.HEAD_BUY + side]
        rank = word[base + layout.OWN_BUY + side]
        assert (slot == 0) == (rank == 0), f"{name}: best own order of side {side}"
        while slot:
            assert slot not in used, f"{name}: slot {slot} is linked twice"
            used.add(slot)
            at = word[base + layout.ORDERS] + layout.ORDER_WORDS * slot
            assert word[at + layout.SIDE] == side and word[at + layout.RANK] <= rank, f"{name}"
            assert 0 < word[at + layout.LEFT] <= word[at + layout.TOTAL], f"{name}: left"
            rank = word[at + layout.RANK]
            expected[rank] += 1
            expiries.append(word[at + layout.EXPIRES])
            slot = word[at + layout.NEXT]
        assert own == expected, f"{name}: own orders counted at the levels of side {side}"
    slot = word[base + layout.FREE]
    while slot:
        assert slot not in used, f"{name}: slot {slot} is open and free"
        used.add(slot)
        at = word[base + layout.ORDERS] + layout.ORDER_WORDS * slot
        assert not any(word[at : at + layout.NEXT]), f"{name}: free slot {slot} is not blank"
        slot = word[at + layout.NEXT]
    assert used == set(range(1, ORDER_CAPACITY + 1)), f"{name}: slots lost"
    assert word[base + layout.PENDING] == 0, f"{name}: work pending after a burst"
    return expiries


def watched_digest(workload: Workload) -> str:
    """Step a workload burst by burst beside the reference, both checked after each; the digest."""
    reference = workload.reference(Watch(seed=workload.seed))
    run = CompiledRun(workload, ORDER_CAPACITY)

    def compare(where: object) -> None:
        assert reference.applied == run.bus.memory[layout.CURSOR], f"{where}"
        ours, theirs = reference.state(), read_state(run.bus.state, len(run.markets))
        assert ours == theirs, f"seed {workload.seed}, {where}, row {reference.applied}"
        check_state(run)

    def step(row: int) -> None:
        while reference.applied < row:
            reference.advance_to_row(reference.applied + 1)
            run.advance_to_row(run.bus.memory[layout.CURSOR] + 1)
            compare("a burst")

    for command in workload.commands:
        if command.by == "row":
            step(command.at)
        apply(reference, command)
        apply(run, command)
        compare(command)
    step(len(workload.rows))
    assert reference.journal_rows().tobytes() == run.journal_rows().tobytes()
    assert reference.places() == run.places()
    return run.bus.journal().digest


@pytest.mark.slow
def test_interpreted_kernels_agree_after_every_burst() -> None:
    """With the JIT off, each burst and command leaves the state of the reference and a state block
    that is consistent in itself; and the journals are those of the compiled kernels."""
    runs = [CompiledRun(make(seed)) for seed in SEEDS]
    for run, seed in zip(runs, SEEDS, strict=True):
        drive(run, make(seed))
    assert interpreted(__file__, *SEEDS) == [run.bus.journal().digest for run in runs]


if __name__ == "__main__":
    assert JIT_DISABLED
    for number in sys.argv[1:]:
        print(watched_digest(make(int(number))), flush=True)
