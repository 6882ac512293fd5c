"""What a run depends on besides session and strategy, and how a journal's header keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, TypeVar

import attrs

from .availability import Availability
from .errors import FoldbookError, JournalError
from .programs import CompiledProjection
from .schema import Mark
from .session import Session
from .simulation import Simulation
from .specs import Delay, Feed, FeeSchedule, Latency, Models, Queue, QueueModel, Risk

Spec = TypeVar("Spec")


@attrs.frozen
class Config:
    """What a run depends on besides session and strategy.

    cash: $0.000001. seed: the strategy's; models.seed is that of the delays. order_capacity: orders
    in one market at once; client_ids: own ids that are remembered; order_groups: how many there
    may be.
    """

    cash: int
    seed: int
    models: Models
    mark: Mark = Mark.MID
    order_capacity: int = 64
    client_ids: int = 256
    order_groups: int = 4

    def settings(self) -> dict[str, Any]:
        """Return the keywords of a Simulation that is configured so."""
        return {
            "cash": self.cash,
            "fees": self.models.fees,
            "market_fees": self.models.market_fees,
            "latency": self.models.latency,
            "queue": self.models.queue,
            "risk": self.models.risk,
            "restored_after": self.models.restored_after,
            "availability": self.models.availability,
            "collateral_return": self.models.collateral_return,
            "seed": self.models.seed,
            "mark": self.mark,
            "order_capacity": self.order_capacity,
            "client_ids": self.client_ids,
            "order_groups": self.order_groups,
        }

    def simulation(
        self, session: Session, projections: Sequence[CompiledProjection] = ()
    ) -> Simulation:
        """Return a fresh simulation of a session."""
        return Simulation(session, projections=projections, **self.settings())

    def header(self) -> dict[str, Any]:
        """Return the configuration as plain values, as journal files keep it.

        A queue function of the user's own is kept by its name alone.
        """
        return {
            "cash": self.cash,
            "seed": self.seed,
            "models": {
                **plain(attrs.evolve(self.models, queue=Queue.conservative)),
                "queue": {
                    "name": self.models.queue.name,
                    "model": self.models.queue.model.name,
                    "exponent": self.models.queue.exponent,
                },
            },
            "mark": self.mark.name,
            "order_capacity": self.order_capacity,
            "client_ids": self.client_ids,
            "order_groups": self.order_groups,
        }

    @classmethod
    def from_header(cls, header: dict[str, Any], queue: Queue | None = None) -> Config:
        """Return the configuration that a header describes. Raises JournalError if it cannot.

        queue: the model of the run, which must be given where it was a function of the user's own.
        """
        try:
            models = header["models"]
            return cls(
                cash=_integer(header["cash"]),
                seed=_integer(header["seed"]),
                models=Models(
                    fees=made(FeeSchedule, models["fees"]),
                    latency=_latency(models["latency"]),
                    queue=_queue(models["queue"], queue),
                    risk=made(Risk, models["risk"]),
                    restored_after=_integer(models["restored_after"]),
                    availability=made(Availability, models["availability"]),
                    seed=_integer(models["seed"]),
                    market_fees=tuple(
                        (ticker, made(FeeSchedule, fees)) for ticker, fees in models["market_fees"]
                    ),
                    collateral_return=models["collateral_return"],
                ),
                mark=Mark[header["mark"]],
                order_capacity=_integer(header["order_capacity"]),
                client_ids=_integer(header["client_ids"]),
                order_groups=_integer(header["order_groups"]),
            )
        except JournalError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, FoldbookError) as error:
            raise JournalError(f"journal header: no configuration of a run ({error!r})") from None


def plain(value: Any) -> Any:
    """Return a spec as what JSON can hold: dicts, lists, ints, and enums by name.

    >>> plain(Delay.constant(5)), plain(Feed.RECORDED)
    ({'values': [5], 'times': []}, 'RECORDED')
    """
    if isinstance(value, Enum):
        return value.name
    if attrs.has(type(value)):
        return {
            field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))
        }
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def made(cls: type[Spec], values: dict[str, Any]) -> Spec:
    """Return the spec that `plain` wrote. Raises KeyError or TypeError if fields are not its own.

    >>> made(Risk, plain(Risk(max_position=5))).max_position
    5
    """
    found = dict(values)
    fields = attrs.fields(cls)  # type: ignore[arg-type]
    for field in fields:
        value = found[field.name]
        if isinstance(field.default, Enum) and field.default is not attrs.NOTHING:
            found[field.name] = type(field.default)[value]
        elif isinstance(value, list):
            found[field.name] = _tuples(value)
    return cls(**found)


def _tuples(values: Any) -> Any:
    return tuple(_tuples(each) for each in values) if isinstance(values, list) else values


def _latency(values: dict[str, Any]) -> Latency:
    delays = dict(values)
    feed = delays.pop("feed")
    return Latency(
        **{name: made(Delay, delay) for name, delay in delays.items()},
        feed=Feed[feed] if isinstance(feed, str) else made(Delay, feed),
    )


def _queue(kept: dict[str, Any], given: Queue | None) -> Queue:
    """Return the queue model of a run. Raises JournalError if it is not known, or is another."""
    name = kept["name"]
    model = QueueModel[kept["model"]]
    if given is not None and (given.name, given.model) != (name, model):
        raise JournalError(f"journal: the run's queue model was {name!r}, not {given.name!r}")
    if given is not None:
        return given
    if model is QueueModel.USER:
        raise JournalError(
            f"journal: queue model {name!r} is a function of the user's own, which a journal "
            "cannot hold: pass queue="
        )
    found = Queue.named(name)
    if (found.model, found.exponent) != (model, kept["exponent"]):
        raise JournalError(f"journal: queue model {name!r} is not {model.name} {kept['exponent']}")
    return found


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no integer")
    return value
