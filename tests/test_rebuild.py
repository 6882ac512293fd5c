"""Rebuild: tape and journal folded without matching anything give the state of the run."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_run import CompiledRun, config_of
from workloads import drive, make

from foldbook.engine.kernels import layout


@pytest.mark.slow
def test_random_workloads_are_rebuilt(seeds) -> None:
    """At the end of any workload, the state rebuilt from its journal is the run's, every byte."""
    for seed in seeds:
        workload = make(seed)
        run = CompiledRun(workload)
        drive(run, workload)
        rebuilt = run.result(workload).simulation.bus
        assert rebuilt.state_bytes() == run.bus.state_bytes(), f"seed {seed}"


@pytest.mark.parametrize("seed", [9, 33, 41, 135])
def test_a_workload_is_rebuilt_at_any_moment(seed) -> None:
    """After each few commands, the journal so far rebuilds the state so far, marks and drawdown
    included; the clock alone may stand further, since a step by time leaves no row."""
    workload = make(seed)
    run = CompiledRun(workload)

    def compare(number: int) -> None:
        if number % 4:
            return
        journal, bus = run.bus.journal(), run.bus
        rebuilt = config_of(workload).simulation(bus.session).bus
        rebuilt.rebuild(journal.rows[1:], journal.places[1:], bus.memory[layout.CURSOR])
        differs = np.flatnonzero(rebuilt.state != bus.state)
        differs = differs[(differs >= layout.DRIVER_WORDS) & (differs != layout.NOW)]
        assert not len(differs), f"seed {seed}, command {number}: words {differs}"

    drive(run, workload, compare)
