"""A workload as plain data, and how it is applied to the reference and the compiled run alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import attrs
import numpy as np
from reference.simulation import ReferenceSimulation

from foldbook.engine.schema import Mark
from foldbook.engine.specs import FeeSchedule, Market, Models, Risk

Cause = tuple[int, int, int]


class Command(NamedTuple):
    """One command of a workload.

    by: "row" or "time"; at: the tape row count or the time to advance to first. kind: the method of
    `Drivable` that sends it; args: its arguments by name. cause: (CauseKind, market, row), None for
    the two that write nothing. account: whose command it is.
    """

    by: str
    at: int
    kind: str
    args: dict[str, int]
    cause: Cause | None
    account: int = 0


@attrs.frozen
class Workload:
    """A tape and the commands to send while it passes.

    others: (cash, limits) of the accounts beside the first, which trade with it on one book.
    """

    seed: int
    rows: np.ndarray = attrs.field(eq=False, repr=False)
    markets: tuple[Market, ...]
    cash: int
    models: Models
    mark: Mark
    commands: tuple[Command, ...] = attrs.field(repr=False)
    others: tuple[tuple[int, Risk], ...] = ()

    @property
    def fees(self) -> FeeSchedule:
        """The fee schedule of its models."""
        return self.models.fees

    def reference(
        self, observer: Callable[[ReferenceSimulation], None] | None = None
    ) -> ReferenceSimulation:
        """Return a fresh reference simulation of this workload."""
        return ReferenceSimulation(
            self.rows, self.markets, cash=self.cash, models=self.models, mark=self.mark,
            observer=observer, others=self.others,
        )  # fmt: skip


class Drivable(Protocol):
    """What a workload can be applied to. Orders are named by (market, number)."""

    def use(self, account: int) -> None: ...
    def advance_to_row(self, n: int) -> None: ...
    def advance_until(self, ts: int) -> None: ...
    def submit(
        self, market: int, side: int, price: int, qty: int, tif: int, flags: int, expires: int,
        client_id: int, group: int, cause: Cause,
    ) -> int: ...  # fmt: skip
    def amend(
        self, market: int, number: int, price: int, qty: int, expires: int, cause: Cause
    ) -> None: ...
    def decrease(self, market: int, number: int, qty: int, to: bool, cause: Cause) -> None: ...
    def cancel(self, market: int, number: int, cause: Cause) -> None: ...
    def set_group(self, group: int, limit: int, cause: Cause) -> None: ...
    def kill(self, on: bool, cause: Cause) -> None: ...
    def begin_batch(self) -> None: ...
    def end_batch(self) -> None: ...


def drive(
    simulation: Drivable,
    workload: Workload,
    after: Callable[[int], None] | None = None,
) -> None:
    """Apply the commands of `workload`, each at its moment, then the rest of the tape.

    after: called with the number of each command when it has been applied.
    """
    for number, command in enumerate(workload.commands):
        apply(simulation, command)
        if after:
            after(number)
    simulation.advance_to_row(len(workload.rows))


def apply(simulation: Drivable, command: Command) -> None:
    """Advance `simulation` to the moment of one command, and send it."""
    if command.by == "row":
        simulation.advance_to_row(command.at)
    else:
        simulation.advance_until(command.at)
    send(simulation, command)


def send(simulation: Drivable, command: Command) -> None:
    """Send one command where `simulation` stands."""
    simulation.use(command.account)
    cause = {} if command.cause is None else {"cause": command.cause}
    getattr(simulation, command.kind)(**command.args, **cause)
