"""What agents do while they learn, as figures that are logged: to TensorBoard, or anywhere else.

A `Monitor` counts; it is fed by a training loop of one's own, or by `sb3.MonitorCallback`, which
hands its figures to the logger of Stable-Baselines3.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from foldbook.engine.units import CASH_ONE

ALARM_SHARE = 0.9
"""Share of one action above which training has most likely gone wrong."""


class OneActionWarning(UserWarning):
    """One action takes over: the agent has stopped looking at what it observes."""


class Monitor:
    """Counts of what was done since `figures` was last asked for.

    dims: of the codec, `Codec.dims`; empty for actions that are no whole numbers, whose shares are
    not counted. fees: those of the last step of an episode are not known once the next has begun,
    and are left out.
    """

    def __init__(self, dims: tuple[int, ...]):
        self.dims = dims
        self._size = int(np.prod(dims)) if dims else 0
        self._fees: np.ndarray | None = None
        self._alarmed = False
        self._clear()

    def _clear(self) -> None:
        self._counts = np.zeros(self._size, np.int64)
        self._steps = self._fills = self._paid = 0
        self._returns: list[float] = []

    def note_steps(self, actions: Any, fills: Any, fees: Any, anew: Any = False) -> None:
        """Note one step of each environment.

        actions: (environments, numbers of an action), or as many whole numbers as environments.
        fills: of the step, before environments whose episode ended began another. fees: paid in
        the episode so far, $0.000001. anew: where another episode has begun within the step.
        """
        fees = np.asarray(fees, np.int64)
        if self._size:
            rows = np.asarray(actions, np.int64).reshape(len(fees), len(self.dims))
            numbers = np.ravel_multi_index(tuple(rows.T), self.dims)
            self._counts += np.bincount(numbers, minlength=self._size)
        before = np.zeros_like(fees) if self._fees is None else self._fees
        self._paid += int(np.where(anew, 0, fees - before).sum())
        self._fees = fees.copy()
        self._steps += len(fees)
        self._fills += int(np.sum(fills))

    def note_episode(self, gained: float) -> None:
        """Note the return of an episode that ended."""
        self._returns.append(float(gained))

    def shares(self) -> np.ndarray:
        """Return the share of each action, of all combinations of its numbers, float64."""
        return self._counts / max(int(self._counts.sum()), 1)

    def figures(self) -> dict[str, float]:
        """Return what was counted, by name, and count anew.

        return: mean over the episodes that ended, missing if none did. fills, fees: of 1,000
        steps, fees in dollars. share/K: of action K, for codecs of one number. entropy: of the
        shares, in nats. alarm: 1 if one action has more than ALARM_SHARE, which is also said by a
        OneActionWarning when it begins.
        """
        found: dict[str, float] = {}
        if self._returns:
            found["return"] = float(np.mean(self._returns))
        if self._steps:
            found["fills"] = 1000.0 * self._fills / self._steps
            found["fees"] = 1000.0 * self._paid / CASH_ONE / self._steps
        if self._size and self._counts.any():
            self._add_shares(found)
        self._clear()
        return found

    def _add_shares(self, found: dict[str, float]) -> None:
        shares = self.shares()
        if len(self.dims) == 1:
            found |= {f"share/{action}": share for action, share in enumerate(shares.tolist())}
        taken = shares[shares > 0]
        found["entropy"] = float(-(taken * np.log(taken)).sum()) + 0.0
        alarmed = bool(shares.max() > ALARM_SHARE)
        found["alarm"] = float(alarmed)
        if alarmed and not self._alarmed:
            action = [int(n) for n in np.unravel_index(int(shares.argmax()), self.dims)]
            warnings.warn(
                f"action {action[0] if len(action) == 1 else action} is {shares.max():.0%} of all: "
                "raise the entropy bonus, or look at what the rewards pay for",
                OneActionWarning,
                stacklevel=2,
            )
        self._alarmed = alarmed
