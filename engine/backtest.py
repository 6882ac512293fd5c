"""Backtest: a strategy run over a session."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import attrs

from .availability import ALWAYS, Availability
from .config import Config
from .errors import FoldbookError, StrategyError, user_code
from .fees import Fees, FeeSchedule
from .player import Progress, play
from .programs import CompiledProjection, CompiledStrategy
from .result import Result
from .schema import Mark
from .session import Session
from .simulation import Projection, Simulation, models_in
from .specs import (
    CONSERVATIVE,
    NO_LIMITS,
    ZERO_LATENCY,
    Latency,
    Models,
    Queue,
    Risk,
)
from .units import dollars, duration


class Backtest:
    """A strategy, a session, and what the run depends on besides.

    strategy: an object with hooks, a compiled strategy, or with `every` a function. every: time
    between its calls, such as "100ms". cash: $0.000001. seed: of what is drawn, kept in
    the header, and handed to the strategy as `strategy.seed` where it has that attribute. fees:
    dated fees, or one schedule for all; default is Kalshi's at the session's start. market_fees,
    restored_after, collateral_return: as in `specs.Models`.
    order_capacity: orders that may be open or in flight in a market at once; client_ids: how many
    own ids may be used; order_groups: how many may be set. projections: the user's own, compiled
    or Python.
    """

    def __init__(
        self,
        session: Session,
        strategy: Any,
        *,
        cash: int = dollars(1000),
        seed: int = 0,
        fees: FeeSchedule | Fees | None = None,
        market_fees: Mapping[str, FeeSchedule] | Iterable[tuple[str, FeeSchedule]] = (),
        latency: Latency = ZERO_LATENCY,
        queue: Queue = CONSERVATIVE,
        risk: Risk = NO_LIMITS,
        restored_after: int | str | timedelta = 0,
        availability: Availability = ALWAYS,
        collateral_return: bool = False,
        every: int | str | timedelta | None = None,
        mark: Mark = Mark.MID,
        order_capacity: int = 64,
        client_ids: int = 256,
        order_groups: int = 4,
        projections: Sequence[CompiledProjection | Projection] = (),
    ):
        self.session = session
        self.strategy = strategy
        self.every = None if every is None else duration(every)
        if self.every is not None and self.every <= 0:
            raise ValueError(f"every: {every}; expected a positive time")
        self.projections = tuple(projections)
        self.config = Config(
            cash=cash,
            seed=seed,
            models=models_in(
                session,
                fees,
                market_fees,
                latency=latency,
                queue=queue,
                risk=risk,
                restored_after=duration(restored_after),
                availability=availability,
                seed=seed,
                collateral_return=collateral_return,
            ),
            mark=mark,
            order_capacity=order_capacity,
            client_ids=client_ids,
            order_groups=order_groups,
        )

    def simulation(self) -> Simulation:
        """Return a fresh simulation with this configuration."""
        compiled = [one for one in self.projections if isinstance(one, CompiledProjection)]
        sim = self.config.simulation(self.session, compiled)
        for one in self.projections:
            if not isinstance(one, CompiledProjection):
                sim.subscribe(one)
        return sim

    def run(self, progress: Progress | None = None) -> Result:
        """Play the whole session and return the result.

        progress: called now and then with (rows done, rows in all). Raises StrategyError, chained
        to what the strategy raised, or CapacityError; either has the run so far as its `result`.
        """
        sim = self.simulation()
        again = self._again()
        try:
            user_code(_tell_seed)(self.strategy, self.config.seed)
            play(sim, self.strategy, every=self.every, progress=progress)
        except FoldbookError as error:
            error.result = Result(sim, self.config, again)
            raise
        return Result(sim, self.config, again)

    def _again(self) -> Callable[[Models], Result]:
        """Return how to do this run again with other models: from a copy taken now.

        Strategy and Python projections are copied together, so that one still knows the other;
        what is compiled has no state of its own, and is shared.
        """
        shared: list[Any] = [one for one in self.projections if isinstance(one, CompiledProjection)]
        shared += [self.strategy] if isinstance(self.strategy, CompiledStrategy) else []

        def copied(whole: tuple[Any, Any]) -> tuple[Any, Any]:
            try:
                return copy.deepcopy(whole, {id(one): one for one in shared})
            except Exception as error:  # whatever a user's object raises when it is copied
                raise StrategyError(
                    f"{type(self.strategy).__name__} cannot be copied, so it cannot be run again: "
                    f"{type(error).__name__}: {error}"
                ) from None

        try:
            kept = copied((self.strategy, self.projections))
        except StrategyError as error:
            failure = error

            def refuse(models: Models) -> Result:
                raise failure

            return refuse

        def again(models: Models) -> Result:
            strategy, projections = copied(kept)
            settings = attrs.evolve(self.config, models=models).settings()
            settings["seed"] = self.config.seed
            every = {"every": self.every, "projections": projections}
            return Backtest(self.session, strategy, **every, **settings).run()

        return again


def _tell_seed(strategy: Any, seed: int) -> None:
    """Give a strategy that has a `seed` the one of the run."""
    if hasattr(strategy, "seed"):
        strategy.seed = seed
