"""View of RewardCalculator: portfolio value at the mark, and how far it fell."""

from __future__ import annotations

from ..kernels.layout import CASH, DRAWDOWN, PEAK, POSITIONS_VALUE, RETURNED


class RewardView:
    """Value of the portfolio; all in $0.000001.

    The reward of a step is the difference of `value` at its ends: it adds up to the change of
    value exactly, however the run is cut into steps.
    """

    __slots__ = ("_memory",)

    def __init__(self, memory: memoryview):
        self._memory = memory

    @property
    def value(self) -> int:
        """Cash and positions at the mark, less what they have returned of their payout."""
        memory = self._memory
        return int(memory[CASH] + memory[POSITIONS_VALUE] - memory[RETURNED])

    @property
    def peak(self) -> int:
        """Highest value so far, after any burst or command."""
        return int(self._memory[PEAK])

    @property
    def max_drawdown(self) -> int:
        """Largest fall below the peak so far, not negative."""
        return int(self._memory[DRAWDOWN])
