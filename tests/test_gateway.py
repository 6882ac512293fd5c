"""The contract of the gateway: the simulated order manager keeps it, and a broken one is caught."""

from __future__ import annotations

from typing import Any

import pytest

from foldbook.adapters import synthetic
from foldbook.engine import Gateway, Outcome, Side, Simulation, TimeInForce, check_gateway
from foldbook.engine.errors import StrategyError

SESSION = synthetic.session(seed=3, events=1200, minutes=1)
MARKET = SESSION.markets[0].ticker


def opened(kind: type[Simulation], rows: int = 400) -> Simulation:
    """Return a simulation advanced to an open book with both sides."""
    sim = kind(SESSION)
    sim.advance(events=rows)
    return sim


@pytest.mark.parametrize("rows", [150, 400, 600])
def test_the_simulation_keeps_the_contract(rows) -> None:
    """A Simulation is a Gateway, at several moments of a session."""
    sim = opened(Simulation, rows)
    assert isinstance(sim, Gateway)
    check_gateway(sim, MARKET, settle=lambda: None)
    assert sim.positions.qty(MARKET) >= 0 and len(sim.orders) == 0


def test_the_contract_may_be_checked_while_the_tape_goes_on() -> None:
    """Answers may take their time: `settle` can let it pass."""
    sim = opened(Simulation)
    check_gateway(sim, MARKET, settle=lambda: sim.advance(until=sim.now))


class IgnoresOutcome(Simulation):
    """Reads NO orders as YES orders."""

    __slots__ = ()

    def submit(self, *arguments: Any, outcome: Outcome = Outcome.YES, **named: Any) -> int:
        return super().submit(*arguments, **named)


class RestsIoc(Simulation):
    """Lets IOC orders rest."""

    __slots__ = ()

    def submit(self, *arguments: Any, **named: Any) -> int:
        if named.pop("tif", TimeInForce.GTC) != TimeInForce.GTC:
            named["price"] -= 100
        return super().submit(*arguments, **named)


class KeepsAmended(Simulation):
    """Forgets amends."""

    __slots__ = ()

    def amend(self, id: int, price: int | None = None, qty: int | None = None,
              outcome: Outcome = Outcome.YES) -> None:  # fmt: skip
        self._order(id)


class DropsClientId(Simulation):
    """Loses the user's number."""

    __slots__ = ()

    def submit(self, *arguments: Any, client_id: int | None = None, **named: Any) -> int:
        return super().submit(*arguments, **named)


class RaisesOnSecondCancel(Simulation):
    """Takes an order that is gone for a mistake."""

    __slots__ = ()

    def cancel(self, id: int) -> None:
        if self.orders.get(id) is None:
            raise StrategyError(f"order {id} is not open")
        super().cancel(id)


class AcceptsStrangers(Simulation):
    """Answers nothing to an id that was never issued."""

    __slots__ = ()

    def cancel(self, id: int) -> None:
        try:
            super().cancel(id)
        except StrategyError:
            return


class PromisesAnything(Simulation):
    """Foretells no refusal."""

    __slots__ = ()

    def would_reject(self, *arguments: Any, **named: Any) -> None:
        return None


class LeavesOneOpen(Simulation):
    """Cancels all but the sells."""

    __slots__ = ()

    def cancel_all(self, market: str | int | None = None) -> None:
        for order in self.orders.open(market):
            if order.side == Side.SELL:
                self.cancel(order.id)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (IgnoresOutcome, "selling NO at one less p rests as buying YES at p"),
        (RestsIoc, "an IOC order never rests"),
        (KeepsAmended, "an amend sets the total"),
        (DropsClientId, "it rests as sent"),
        (RaisesOnSecondCancel, "is not open"),
        (AcceptsStrangers, "an id that was never issued raises"),
        (PromisesAnything, "a price of 0 is refused, and it says so beforehand"),
        (LeavesOneOpen, "cancel_all leaves nothing open"),
    ],
)
def test_a_broken_gateway_is_caught(broken, promise) -> None:
    """Each sabotage fails the check, in the name of the promise that it breaks."""
    with pytest.raises((AssertionError, StrategyError), match=promise):
        check_gateway(opened(broken), MARKET, settle=lambda: None)


def test_what_lacks_a_method_is_no_gateway() -> None:
    """The protocol is checked before anything is sent."""
    sim = opened(Simulation)

    class Half:
        now = sim.now
        orders = sim.orders
        book = sim.book

    with pytest.raises(AssertionError, match="lacks a method"):
        check_gateway(Half(), MARKET, settle=lambda: None)
