"""View of PositionTracker: cash, collateral, fees and what is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..kernels.arithmetic import position_value
from ..kernels.layout import (
    ACCOUNT_END,
    CASH,
    COST,
    FEES,
    MID2,
    POSITION,
    POSITION_FEES,
    POSITION_REALISED,
    POSITION_RESERVED,
    POSITION_WORDS,
    REALISED,
    RESERVED,
    RETURNED,
)
from .markets import MarketsView


class Position(NamedTuple):
    """What is held of one market. qty: + YES, - NO, 0.01 contract; the rest $0.000001.

    realised is before fees; unrealised is the value at the mid less the cost.
    """

    market: str
    qty: int
    cost: int
    realised: int
    unrealised: int
    fees: int
    reserved: int


class PositionsView(MarketsView):
    """The account and all positions."""

    __slots__ = ()

    @property
    def cash(self) -> int:
        """Cash, reserved collateral included, $0.000001."""
        return int(self._memory[CASH])

    @property
    def reserved(self) -> int:
        """Collateral of open orders, $0.000001."""
        return int(self._memory[RESERVED])

    @property
    def available(self) -> int:
        """Cash that new orders can use, $0.000001."""
        return int(self._memory[CASH] - self._memory[RESERVED])

    @property
    def returned(self) -> int:
        """Collateral returned: what is in `cash` of the payout of positions still held, $0.000001.

        It is owed: whoever closes them pays it back.
        """
        return int(self._memory[RETURNED])

    @property
    def fees(self) -> int:
        """Fees paid, $0.000001."""
        return int(self._memory[FEES])

    @property
    def realised(self) -> int:
        """Realised profit before fees, $0.000001."""
        return int(self._memory[REALISED])

    @property
    def unrealised(self) -> int:
        """Value of all positions at the mark less their cost, $0.000001."""
        return sum(position.unrealised for position in self)

    def qty(self, market: str | int) -> int:
        """Return the signed position, + YES and - NO, 0.01 contract."""
        return int(self._memory[_position_at(self._index(market)) + POSITION])

    def get(self, market: str | int) -> Position:
        """Return the position in a market."""
        index = self._index(market)
        at = _position_at(index)
        memory = self._memory
        value = position_value(memory[at + POSITION], memory[self._bases[index] + MID2])
        return Position(
            self._tickers[index],
            memory[at + POSITION],
            memory[at + COST],
            memory[at + POSITION_REALISED],
            int(value) - memory[at + COST],
            memory[at + POSITION_FEES],
            memory[at + POSITION_RESERVED],
        )

    def __iter__(self) -> Iterator[Position]:
        return (self.get(index) for index in range(len(self._tickers)))

    def __len__(self) -> int:
        return len(self._tickers)


def _position_at(market: int) -> int:
    return ACCOUNT_END + POSITION_WORDS * market
