"""Episodes of several accounts that trade with each other on the book of one market.

What a step is, what it earns and what is observed are those of `episodes`, for each account; that
their orders meet is section 13 of docs/semantics.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .accounts import Accounts
from .codecs import GivenCodec
from .episodes import DECISION_ROOM, Course, Plan, env_words
from .kernels import contests as kernel
from .kernels import episodes
from .kernels import observe as own
from .observations import filler
from .specs import NO_LIMITS


class Contest:
    """One episode in progress of all accounts of a course, moved by an action of each.

    course: of one market, whose settings have `others`, (cash, limits) of the accounts beside the
    first. accounts: the same objects for all episodes; `begin` puts them back. words: int64
    (accounts, words), what `kernels.episodes` keeps for each. Raises ValueError for several
    markets, a user's own codec, and a journal that is not kept.
    """

    __slots__ = ("_fill", "_outs", "_room", "accounts", "course", "plan", "words")

    def __init__(self, course: Course, plan: Plan):
        if len(course.tickers) > 1:
            raise ValueError(f"markets {', '.join(course.tickers)}: accounts meet in one market")
        if isinstance(plan.codec, GivenCodec):
            raise ValueError(
                f"actions {plan.codec.name!r}: a codec of one's own is not played by accounts that "
                "trade with each other; let them play by `Accounts.play`"
            )
        if not plan.keeps_journal:
            raise ValueError("journal: accounts that trade with each other keep theirs")
        self.course = course
        self.plan = plan
        common = dict(course.settings)
        first = common.pop("cash"), common.pop("risk", NO_LIMITS)
        each = [{"cash": cash, "risk": risk} for cash, risk in (first, *common.pop("others"))]
        self.accounts = Accounts(course.session, each, trading=True, **common)
        words = np.concatenate([plan.words(course.slack), env_words()])
        self.words = np.tile(words, (len(each), 1))
        scratch = np.zeros(len(self.accounts.bus.state), np.int64)
        self._outs = scratch, np.zeros(own.FEATURES)
        self._fill = filler(course.features)
        self._room = DECISION_ROOM * len(each) * course.slack

    def env(self, account: int) -> np.ndarray:
        """Return the words of an account, a view; the first one's say when all of them begin."""
        return self.words[account, episodes.PLAN_WORDS :]

    def begin(self, row: int | None = None) -> None:
        """Begin an episode, at a row of the course (None: as the plan says)."""
        bus = self.accounts.bus
        bus.restart()
        kernel.begin(bus.run, self.course.pool, self.words, -1 if row is None else row)
        self._look_up()

    def step(self, actions: np.ndarray, acting: Sequence[int]) -> None:
        """Let accounts act, in the order of `acting`, and go on to the next moment.

        actions: int64 (accounts, words of an action). Raises CapacityError where order slots or
        flights run out.
        """
        bus, course = self.accounts.bus, self.course
        order = np.array(acting, np.int64)
        status = episodes.MORE
        while status == episodes.MORE:
            bus.reserve(self._room)
            status = kernel.step(
                bus.run, course.tape, course.delivered, self.words, actions, order
            )  # fmt: skip
        if status == episodes.FAILED:
            raise bus.command_error()
        self._look_up()

    def _look_up(self) -> None:
        """Let what accounts send by hand from here on be caused by what was shown last."""
        for one in self.accounts:
            one.cause = one.last_burst()

    def leave(self, account: int) -> None:
        """Cancel all orders of an account that decides no more."""
        bus = self.accounts.bus
        bus.reserve(self._room)
        kernel.leave(bus.run, self.course.tape, self.words, account)

    def show(self, account: int, observation: np.ndarray, mask: np.ndarray) -> None:
        """Write what an account observes now. observation: float32. mask: int8."""
        course, run = self.course, self.accounts.bus.run
        outs = observation, mask, *self._outs
        kernel.show(run, course.columns, course.recipe, self.words[account], account, outs)
        if self._fill is not None:
            self._fill(run, 0, observation)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that the episode is, as arrays: what `restore` takes."""
        bus, journal = self.accounts.bus, self.accounts.journal()
        return {
            "words": self.words.copy(),
            "state": bus.state.copy(),
            "seen": bus.run.seen.copy(),
            "rows": journal.rows.copy(),
            "places": journal.places.copy(),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Put the episode where `state` was taken, of a contest of the same making."""
        self.words[:] = state["words"]
        bus = self.accounts.bus
        bus.restore(state["state"], state["seen"], state["rows"], state["places"])
        self._look_up()
