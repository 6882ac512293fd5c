"""Several agents on the book of one market, as a parallel environment of PettingZoo.

Each has an account of its own, and they trade with each other: the rules are those of accounts on
one book (docs/semantics.md, section 13). Nothing is decided here. Needs the extra `pettingzoo`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from pettingzoo import ParallelEnv

from foldbook.engine import Accounts, Risk
from foldbook.engine.contests import Contest
from foldbook.engine.episodes import env_words
from foldbook.engine.kernels import episodes as kernel
from foldbook.engine.specs import NO_LIMITS

from .env import WHOLE, statistics_of
from .setting import (
    CASH,
    Place,
    Setting,
    check_cash,
    check_options,
    needs_reset,
    no_mask,
    seed_of,
)

OPTIONS = ("session", "market", "start")
_IGNORED = "options"
"""PettingZoo's own test passes an option of this name, and expects nothing of it."""
_NOT_OFFERED = ("stack", "journal")
_STANDING = (
    "agents", "action_spaces", "observation_spaces", "_masks", "_market", "_squares", "_generator",
)  # fmt: skip
"""What it has beside the episode, for copies."""


class ParallelMarketEnv(ParallelEnv[str, np.ndarray, Any]):
    """Let agents trade one market of a recorded session, with the record and with each other.

    agents: how many; they are called agent_0 and so on. cash: of all, or of each. The other options
    are those of `setting.Setting`, but stack and journal. Actions of one step are sent agent
    after agent, and whoever comes first in one step comes last in the next: in step k (from 0) of
    an episode with n agents it is agent k mod n. Whoever is worth nothing is terminated and leaves;
    its orders are canceled.

    Observations, rewards and `infos` of each agent are those of `MarketEnv` (`infos` without the
    length of the journal); it sees the orders of the others as part of the book. `reset(options=)`
    takes session, market and start.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "name": "foldbook_parallel_v0", "render_modes": [], "is_parallelizable": True,
    }  # fmt: skip

    def __init__(
        self,
        session: Any,
        agents: int = 2,
        *,
        cash: int | Sequence[int] = CASH,
        risk: Risk = NO_LIMITS,
        render_mode: str | None = None,
        **options: Any,
    ):
        if isinstance(agents, bool) or not isinstance(agents, int) or agents < 1:
            raise ValueError(f"agents: {agents!r}; expected a whole number, 1 at least")
        if render_mode is not None:
            raise ValueError("render_mode: a parallel environment draws nothing")
        for name in _NOT_OFFERED:
            if name in options:
                raise TypeError(f"no option {name!r} where several agents trade; see docs/gym.md")
        self.render_mode = None
        amounts = list(cash) if isinstance(cash, Iterable) else [cash] * agents
        if len(amounts) != agents:
            raise ValueError(f"cash: {len(amounts)} amounts for {agents} agents")
        self._made_of = {
            "session": session, "agents": agents, "cash": amounts, "risk": risk, **options,
        }  # fmt: skip
        self.setting = Setting(session, cash=amounts[0], risk=risk, **options)
        others = [check_cash(each, self.setting.plan.rewards) for each in amounts[1:]]
        self.setting.settings["others"] = [(amount, risk) for amount in others]
        self.possible_agents = [f"agent_{number}" for number in range(agents)]
        self._numbers = {name: number for number, name in enumerate(self.possible_agents)}
        self.agents: list[str] = []
        self.action_spaces = {name: self.setting.action_space() for name in self._numbers}
        self.observation_spaces = {name: self.setting.observation_space() for name in self._numbers}
        self._actions = np.zeros((agents, len(self.codec.dims)), np.int64)
        self._choices = self.codec.dims[0] if len(self.codec.dims) == 1 else 0
        self._masks: dict[str, np.ndarray] = {}
        self._contests: dict[Place, Contest] = {}
        self._contest: Contest | None = None
        self._market: Place = (-1, "")
        self._squares = dict.fromkeys(self.possible_agents, 0)
        self._generator, _ = seeding.np_random()

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of what an agent observes."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of what an agent does."""
        return self.action_spaces[agent]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the observed numbers, in order."""
        return self.setting.feature_names

    @property
    def codec(self) -> Any:
        """What actions mean: `foldbook.engine.codecs.Codec`."""
        return self.setting.codec

    @property
    def accounts(self) -> Accounts:
        """The accounts of all agents, in their order. Raises ResetNeeded before the first reset."""
        if self._contest is None:
            raise gymnasium.error.ResetNeeded("no episode yet: call reset() first")
        return self._contest.accounts

    # Reset and step.

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Begin an episode of all agents: see PettingZoo; options as in the class."""
        given = check_options(options, (*OPTIONS, _IGNORED))
        if seed is not None:
            self._generator, _ = seeding.np_random(seed)
        words = self._words_for(seed)
        is_named = "market" in given or "session" in given
        setting = self.setting
        market = setting.named(given, self._market[0]) if is_named else setting.drawn(words)
        if market not in self._contests:
            self._contests[market] = Contest(setting.course(market), setting.plan)
        contest = self._contests[market]
        start = given.get("start")
        row = None if start is None else contest.course.row_from(start)
        contest.env(0)[:] = words
        contest.begin(row)
        self._contest, self._market = contest, market
        self.agents = self.possible_agents[:]
        self._squares = dict.fromkeys(self.agents, 0)
        return self._look(self.agents), {name: self._info(name) for name in self.agents}

    def _words_for(self, seed: int | None) -> np.ndarray:
        """Return the words from which the next episode is drawn."""
        begun = self._contest is not None
        words = self._contest.env(0).copy() if self._contest else env_words()
        if seed is not None or not begun:
            words[kernel.SEED] = seed_of(self._generator, seed)
            words[kernel.EPISODE] = 0
        return words

    def step(self, actions: Mapping[str, Any]) -> tuple[
        dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool],
        dict[str, dict[str, Any]],
    ]:  # fmt: skip
        """Send what the agents' actions stand for, and go on to the next moment: see PettingZoo.

        Raises ValueError for an action outside the space, and for agents that are not those in
        `agents`; ResetNeeded before the first reset and after the end of an episode.
        """
        contest = self._contest
        if contest is None or not self.agents:
            raise needs_reset(begun=contest is not None)
        acting = self._take(actions, int(contest.env(0)[kernel.STEP]))
        contest.step(self._actions, acting)
        told, self.agents = self.agents, []
        rewards, terminated, truncated = {}, {}, {}
        for name in told:
            env = contest.env(self._numbers[name])
            units = int(env[kernel.REWARD_UNITS])
            self._squares[name] += units * units
            rewards[name] = float(env[kernel.REWARD]) * self.setting.scale
            terminated[name] = bool(env[kernel.TERMINATED])
            truncated[name] = bool(env[kernel.TRUNCATED])
            if not env[kernel.OVER]:
                self.agents.append(name)
        for name in told:
            # Where all have ended there is nobody left to be in the way of.
            if self.agents and name not in self.agents:
                contest.leave(self._numbers[name])
        observations = self._look(told)
        return observations, rewards, terminated, truncated, {n: self._info(n) for n in told}

    def _take(self, actions: Mapping[str, Any], step: int) -> list[int]:
        """Note what the agents do; return their numbers in the order in which they act."""
        if not isinstance(actions, Mapping) or set(actions) != set(self.agents):
            whose = sorted(map(str, actions)) if isinstance(actions, Mapping) else [repr(actions)]
            raise ValueError(
                f"actions of {', '.join(whose) or 'nobody'}; expected one of each of "
                f"{', '.join(self.agents)}, in a dict"
            )
        given = {}
        for name, action in actions.items():
            if type(action) in WHOLE and 0 <= action < self._choices:
                given[self._numbers[name]] = action
                continue
            try:
                given[self._numbers[name]] = self.codec.validate(action)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        for number, words in given.items():
            self._actions[number] = words
        count = len(self.possible_agents)
        return [number for k in range(count) if (number := (step + k) % count) in given]

    def _look(self, agents: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what agents observe now, and keep their masks."""
        contest, observations = self._contest, {}
        assert contest is not None
        actions = self.codec.dims[0] if self.setting.plan.has_mask else 0
        for name in agents:
            observations[name] = np.empty(len(self.setting.features), np.float32)
            self._masks[name] = np.ones(actions, np.int8)
            contest.show(self._numbers[name], observations[name], self._masks[name])
        return observations

    def _info(self, name: str) -> dict[str, Any]:
        contest = self._contest
        assert contest is not None
        env = contest.env(self._numbers[name])
        info = {
            "session": self._market[0],
            "market": self._market[1],
            "step": int(env[kernel.STEP]),
            "portfolio_value": int(env[kernel.VALUE]),
            "cash": int(env[kernel.KNOWN_CASH]),
            "position": int(env[kernel.KNOWN_POSITION]),
            "fills": int(env[kernel.FILLS]),
            "reward_units": int(env[kernel.REWARD_UNITS]),
            "hindsight": self.setting.choice.hindsight,
        }
        if self.setting.plan.has_mask:
            info["action_mask"] = self._masks[name].copy()
        if env[kernel.OVER]:
            info["statistics"] = statistics_of(env, self._squares[name])
        return info

    def action_masks(self, agent: str) -> np.ndarray:
        """Return which actions of an agent make sense now: bool, shape (actions,).

        Raises TypeError for a codec that has no mask, and where none are worked out.
        """
        if not self.setting.plan.has_mask:
            raise TypeError(no_mask(self.setting))
        if not self._masks:
            raise gymnasium.error.ResetNeeded("no episode yet: call reset() first")
        return self._masks[agent] == 1

    def close(self) -> None:
        """Let go of the episodes."""
        self._contests = {}

    # Copies.

    def __deepcopy__(self, memo: dict[int, Any]) -> ParallelMarketEnv:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._contests, twin._contest = {}, None
        twin._actions = self._actions.copy()
        twin._put({name: copy.deepcopy(value, memo) for name, value in self._standing().items()})
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {"made_of": self._made_of, **self._standing()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, **state.pop("made_of"))
        self._put(state)

    def _standing(self) -> dict[str, Any]:
        """Return where it stands, for `_put`."""
        return {
            **{name: getattr(self, name) for name in _STANDING},
            "episode": None if self._contest is None else self._contest.state(),
        }

    def _put(self, standing: dict[str, Any]) -> None:
        """Stand where another one of the same making does."""
        episode = standing.pop("episode")
        for name, value in standing.items():
            setattr(self, name, value)
        if episode is not None:
            self._contest = Contest(self.setting.course(self._market), self.setting.plan)
            self._contest.restore(episode)
            self._contests[self._market] = self._contest


def parallel_env(session: Any, agents: int = 2, **options: Any) -> ParallelMarketEnv:
    """Return a `ParallelMarketEnv`, by the name that PettingZoo's environments have."""
    return ParallelMarketEnv(session, agents, **options)
