"""One agent with one account in several markets of a session at once.

The single environment over a course of several markets: it lays out what is observed and what is
done market by market, and pads both where a session has fewer markets than others. It decides
nothing, and with one market it is the single environment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from foldbook.engine.codecs import GivenCodec, array_of
from foldbook.engine.episodes import Episode
from foldbook.engine.observations import bounds

from . import render
from .env import MarketEnv
from .setting import Choice, Place, Setting, Source

LAYOUTS = ("flat", "dict")


class MarketsSetting(Setting):
    """What an environment of several markets plays: the options of `Setting`, but `market`.

    markets: how many, the first of each session, or their tickers. order: of the sessions, "next"
    or "random". layout: "flat" or "dict". Raises ValueError for a cadence that is of one market,
    and for tickers of which a session has none.
    """

    def __init__(
        self,
        session: Source | Sequence[Source],
        markets: int | Sequence[str] = 2,
        order: str = "next",
        layout: str = "flat",
        **options: Any,
    ):
        if "market" in options:
            raise TypeError("market: this environment plays several; name them by markets=")
        super().__init__(session, **options, market=order if order == "random" else "next")
        if order not in ("next", "random"):
            raise ValueError(f"order: {order!r}; expected next, random")
        if layout not in LAYOUTS:
            raise ValueError(f"layout: {layout!r}; expected {', '.join(LAYOUTS)}")
        self.layout = layout
        if self.plan.cadence.kind == "quote":
            raise ValueError(
                "cadence: 'quote' is of one market; with several take 'change' (of any of their "
                "books), a number of events of all of them, or a time such as '100ms'"
            )
        self.slots = _slots(markets)
        self.choice = Choice(tuple(self._places(markets)), order)

    def _places(self, markets: int | Sequence[str]) -> list[Place]:
        """Return the (session index, tickers) that are played, tickers in the session's order."""
        wanted = None if isinstance(markets, int) else list(markets)
        places = []
        for index, session in enumerate(self.sessions):
            tickers = [market.ticker for market in session.markets]
            if wanted is None:
                chosen = tickers[: self.slots]
            else:
                chosen = [ticker for ticker in tickers if ticker in wanted]
            if not chosen:
                raise ValueError(f"markets: session {session.name} has none of {wanted}")
            places.append((index, tuple(chosen)))
        known = {ticker for _, chosen in places for ticker in chosen}
        for ticker in wanted or ():
            if ticker not in known:
                raise ValueError(f"markets: {ticker!r} is in none of the sessions")
        return places

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the observed numbers, in order: `market0.` and so on before that of each."""
        names = super().feature_names
        return tuple(f"market{slot}.{name}" for slot in range(self.slots) for name in names)

    def observation_space(self) -> spaces.Space[Any]:
        """Return the space of observations: padding, which is zero, is inside."""
        low, high = (np.tile(each, (self.slots, 1)) for each in bounds(self.features))
        if any(len(tickers) < self.slots for _, tickers in self.choice.markets):
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        if self.stack > 1:
            low, high = (np.tile(each, (self.stack, 1, 1)) for each in (low, high))
        space = spaces.Box(self.laid_out(low), self.laid_out(high), dtype=np.float32)
        if self.layout == "flat":
            return space
        return spaces.Dict({"markets": space, "present": spaces.MultiBinary(self.slots)})

    def laid_out(self, numbers: np.ndarray) -> np.ndarray:
        """Return (stack, markets x features) or (markets x features,) numbers in their layout."""
        shape = (self.slots, len(self.features)) if self.layout == "dict" else (-1,)
        return numbers.reshape(shape if self.stack == 1 else (self.stack, *shape))


def _slots(markets: int | Sequence[str]) -> int:
    """Return how many markets there is room for. Raises ValueError for what is no choice."""
    if isinstance(markets, int) and not isinstance(markets, bool) and markets > 0:
        return markets
    several = isinstance(markets, Collection) and not isinstance(markets, str)
    if not several or not len(set(markets)) == len(markets) > 0:  # type: ignore[arg-type]
        raise ValueError(f"markets: {markets!r}; expected a number above zero, or tickers")
    return len(markets)  # type: ignore[arg-type]


class MarketsEnv(MarketEnv):
    """Trade several markets of a recorded session from one account.

    markets, order: see `MarketsSetting`; the other options are those of `MarketEnv`. layout: "flat"
    observes float32 (markets x features,), "dict" {"markets": float32 (markets, features),
    "present": int8 (markets,)}. An action has the numbers of the codec for each market, one market
    after the other, and their commands are sent in that order. Where a session has fewer markets
    the rest is padding: zeros are observed, all but the first action is masked, and nothing is
    done there. `info` has markets (tickers), and present (int8) and position (0.01 contract, int64)
    of each. `reset(options=)` takes session, start and cash.
    """

    reset_options = ("session", "start", "cash")
    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 10}  # noqa: RUF012

    setting: MarketsSetting

    def _setting(self, session: Any, **options: Any) -> MarketsSetting:
        return MarketsSetting(session, **options)

    @property
    def _played(self) -> int:
        """How many markets the episode has."""
        return len(self._market[1])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode: see Gymnasium; options as in the class."""
        observation, info = super().reset(seed=seed, options=options)
        return self._laid_out(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Send what an action stands for in each market, and go on to the next moment.

        Raises ValueError for an action outside the space, ResetNeeded before the first reset and
        after the end of an episode.
        """
        observation, *told = super().step(action)
        return self._laid_out(observation), *told

    def _observed(self, episode: Episode) -> np.ndarray:
        observation = np.zeros(self.setting.slots * len(self.setting.features), np.float32)
        observation[: len(episode.observation)] = episode.observation
        return observation

    def _mask_of(self, episode: Episode) -> np.ndarray:
        dims = self._codec.dims
        mask = np.zeros(self.setting.slots * dims[0], np.int8)
        mask[:: dims[0]] = 1
        mask[: len(episode.mask)] = episode.mask
        return mask

    def _validated(self, action: Any) -> np.ndarray:
        """Return the part of an action that is of markets played. Raises ValueError."""
        slots, dims = self.setting.slots, self._codec.dims
        given = array_of(action)
        if given.shape != (slots * len(dims),):
            raise ValueError(
                f"action {given.tolist()!r} of {slots} markets: shape {given.shape}; expected "
                f"{len(dims)} of {self._codec.name} for each, ({slots * len(dims)},)"
            )
        rows = given.reshape(slots, -1)
        # What is right is seen at once; what is wrong is named by the codec.
        is_whole = given.dtype.kind in "iu" and not self._codec.continuous
        if not (is_whole and (rows >= 0).all() and (rows < dims).all()):
            rows = np.array([self._codec.validate(part) for part in rows])
        return rows[: self._played].reshape(-1)

    def _ask(self, codec: GivenCodec) -> None:
        masks = [codec.mask(self.simulation, market) for market in range(self._played)]
        self._playing().mask[:] = np.concatenate(masks)

    def _laid_out(self, observation: np.ndarray) -> Any:
        numbers = self.setting.laid_out(observation)
        if self.setting.layout == "flat":
            return numbers
        return {"markets": numbers, "present": self._present()}

    def _present(self) -> np.ndarray:
        return (np.arange(self.setting.slots) < self._played).astype(np.int8)

    def _info(self, episode: Episode, told: list[int]) -> dict[str, Any]:
        info = super()._info(episode, told)
        info["markets"] = info.pop("market")
        info["present"] = self._present()
        info["position"] = np.zeros(self.setting.slots, np.int64)
        for market in range(self._played):
            info["position"][market] = self.simulation.positions.qty(market)
        return info

    def render(self) -> Any:
        """Return each book with the own orders in it, and the account, as text."""
        if self.render_mode is None:
            return None
        return "\n\n".join(render.text(self.simulation, each) for each in range(self._played))
