"""Which market is played next while an agent learns: in an order, until it is time for another.

A `Curriculum` is a plain object that any trainer can drive: ask it for `options()` before a reset
(or for `weights()` of a vector environment), and `note` each return. The wrappers do just that. It
never looks at the agent, and what it does depends on the returns and its seed alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import attrs
import gymnasium
import numpy as np

from foldbook.engine import TapeKind
from foldbook.engine.episodes import Course
from foldbook.engine.observations import features_of

from .setting import Setting

MarketKey = tuple[int, str]
"""(session index, ticker), as in `setting.Choice`."""


class SortBy(Enum):
    """By what markets are ordered; each but RANDOM from the smallest to the largest.

    DIFFICULTY: the mean spread over all moments with a quote, dollars: what a round trip costs; a
    side without orders counts as quoting 0 or 1. VOLUME: contracts traded, in 0.01. ACTIVITY: rows
    of the tape. RANDOM: shuffled, anew in each round.
    """

    DIFFICULTY = "difficulty"
    VOLUME = "volume"
    ACTIVITY = "activity"
    RANDOM = "random"


@attrs.define
class MarketReturns:
    """What came of the episodes of one market so far. returns: as they were noted, in order."""

    returns: list[float] = attrs.field(factory=list)

    @property
    def episodes(self) -> int:
        """How many episodes ended."""
        return len(self.returns)

    @property
    def best(self) -> float:
        """The largest return; minus infinity before the first."""
        return max(self.returns, default=-np.inf)


class Curriculum:
    """An order of markets, and when to go on from one to the next.

    markets: in their order. episodes: after how many in a row in one market the next one comes.
    patience: it also comes after so many episodes in a row without a new best return of the stay;
    0 never. shuffles: each round begins in a new order, drawn from the seed. After the last market
    a new round begins. Raises ValueError for what is none of these.
    """

    def __init__(
        self,
        markets: Sequence[MarketKey],
        *,
        episodes: int = 100,
        patience: int = 0,
        shuffles: bool = False,
        seed: int = 0,
    ):
        if not markets or len(set(markets)) != len(markets):
            raise ValueError("markets: expected one at least, and none of them twice")
        if episodes < 1 or patience < 0:
            raise ValueError(f"episodes {episodes}, patience {patience}: expected 1 and 0 or more")
        self.episodes, self.patience = episodes, patience
        self.shuffles, self.seed = shuffles, seed
        self.progress: dict[MarketKey, MarketReturns] = {
            market: MarketReturns() for market in markets
        }
        self._given = tuple(markets)
        self.round = 0
        self._place = 0
        self._stay: list[float] = []
        self._order = self._ordered()

    @classmethod
    def of(cls, setting: Setting, by: SortBy | str, *, descends: bool = False, **rest: Any
           ) -> Curriculum:  # fmt: skip
        """Return one over the markets of a setting, ordered by what their tapes are like.

        descends: from the largest to the smallest. The rest as in the class.
        """
        by = SortBy(by)
        markets = setting.choice.markets
        if by is SortBy.RANDOM:
            return cls(markets, shuffles=True, **rest)
        scores = scores_of(setting, by)
        ordered = sorted(markets, key=lambda market: scores[market], reverse=descends)
        return cls(ordered, **rest)

    def _ordered(self) -> tuple[MarketKey, ...]:
        if not self.shuffles:
            return self._given
        places = np.random.default_rng([self.seed, self.round]).permutation(len(self._given))
        return tuple(self._given[place] for place in places.tolist())

    @property
    def markets(self) -> tuple[MarketKey, ...]:
        """The markets, in the order of this round."""
        return self._order

    @property
    def market(self) -> MarketKey:
        """The market to be played now."""
        return self._order[self._place]

    def options(self) -> dict[str, Any]:
        """Return options for `MarketEnv.reset`."""
        session, ticker = self.market
        return {"session": session, "market": ticker}

    def weights(self, markets: Sequence[MarketKey]) -> list[int]:
        """Return weights for `MarketVectorEnv.set_weights`, whose markets are given."""
        return [int(market == self.market) for market in markets]

    def note(self, market: MarketKey, gained: float) -> bool:
        """Note the return of an episode that ended; return whether another market comes now.

        An episode of a market that is not the one to be played now (an environment was still at
        it) counts in its progress only. Raises ValueError for a market that is none of these.
        """
        if market not in self.progress:
            raise ValueError(f"market {market}: it is not in this curriculum")
        self.progress[market].returns.append(float(gained))
        if market != self.market:
            return False
        self._stay.append(float(gained))
        if len(self._stay) < self.episodes and not self._stalls():
            return False
        self._go_on()
        return True

    def _stalls(self) -> bool:
        """Say whether the best return of this stay is `patience` episodes old."""
        if not 0 < self.patience < len(self._stay):
            return False
        best = max(self._stay)
        return len(self._stay) - 1 - self._stay.index(best) >= self.patience

    def _go_on(self) -> None:
        self._stay = []
        self._place += 1
        if self._place == len(self._order):
            self._place = 0
            self.round += 1
            self._order = self._ordered()

    def state(self) -> dict[str, Any]:
        """Return where it stands, as what JSON can hold: for `restore`."""
        return {
            "round": self.round,
            "place": self._place,
            "stay": list(self._stay),
            "returns": [list(self.progress[market].returns) for market in self._given],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of one over as many markets. Raises ValueError for another's."""
        returns = state["returns"]
        if len(returns) != len(self._given) or not 0 <= state["place"] < len(self._given):
            raise ValueError(
                f"state: it is of {len(returns)} markets, and there are {len(self._given)}"
            )
        for market, each in zip(self._given, returns, strict=True):
            self.progress[market] = MarketReturns([float(value) for value in each])
        self.round, self._place = state["round"], state["place"]
        self._stay = [float(value) for value in state["stay"]]
        self._order = self._ordered()


def scores_of(setting: Setting, by: SortBy) -> dict[MarketKey, float]:
    """Return what markets are ordered by, see `SortBy`. Raises ValueError for RANDOM."""
    if by is SortBy.RANDOM:
        raise ValueError("random: an order without scores")
    return {market: _score(setting, market, by) for market in setting.choice.markets}


def _score(setting: Setting, market: MarketKey, by: SortBy) -> float:
    session = setting.sessions[market[0]]
    if by is SortBy.DIFFICULTY:
        course = Course(session, market[1], features_of(("yes_spread",)), setting.settings)
        spread, quoted = course.columns[:, 0], course.columns[:, -1] > 0
        return float(spread[quoted].astype(np.float64).mean())
    rows = session.tape.rows
    of_market = rows[rows["market"] == session.market_index(market[1])]
    if by is SortBy.ACTIVITY:
        return float(len(of_market))
    return float(of_market["qty"][of_market["kind"] == TapeKind.TRADE].sum())


class CurriculumWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A single environment whose resets play what a curriculum says, and whose returns it notes.

    A reset that names a session or market itself is left alone; its return counts for the market.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], curriculum: Curriculum):
        super().__init__(env)
        self.curriculum = curriculum
        self._return = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None
              ) -> tuple[Any, dict[str, Any]]:  # fmt: skip
        """Begin an episode in the market that comes next: see Gymnasium."""
        given = dict(options or {})
        if "market" not in given and "session" not in given:
            given |= self.curriculum.options()
        self._return = 0.0
        return self.env.reset(seed=seed, options=given)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step: see Gymnasium."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._return += float(reward)
        if terminated or truncated:
            self.curriculum.note((info["session"], info["market"]), self._return)
        return observation, reward, terminated, truncated, info


class CurriculumVectorWrapper(gymnasium.vector.VectorWrapper):
    """A `MarketVectorEnv`, made with market="random", whose new episodes follow a curriculum.

    Episodes that were begun in another market are played to their end.
    """

    def __init__(self, env: Any, curriculum: Curriculum):
        super().__init__(env)
        self.curriculum = curriculum
        self._envs: Any = env.unwrapped
        self._markets = self._envs.setting.choice.markets
        self._returns = np.zeros(env.num_envs)
        self._ended = np.zeros(env.num_envs, bool)
        self._weigh()

    def _weigh(self) -> None:
        self._envs.set_weights(self.curriculum.weights(self._markets))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None
              ) -> tuple[Any, dict[str, Any]]:  # fmt: skip
        """Begin episodes: see Gymnasium."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self._returns[mask] = 0.0
        self._ended[mask] = False
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all: see Gymnasium."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        self._returns += np.where(self._ended, 0.0, rewards)
        over = (terminated | truncated) & ~self._ended
        told = infos.get("final_info", infos)["market"]
        moved = False
        for k in np.flatnonzero(over).tolist():
            moved |= self.curriculum.note(self._markets[int(told[k])], self._returns[k])
            self._returns[k] = 0.0
        same_step = self._envs.mode is gymnasium.vector.AutoresetMode.SAME_STEP
        self._ended = np.zeros_like(over) if same_step else terminated | truncated
        if moved:
            self._weigh()
        return observations, rewards, terminated, truncated, infos
