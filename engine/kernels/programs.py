"""The user's compiled code beside the loop: projections that fold events, a strategy that decides.

Each is a first-class function of one explicit type, so that everything here is compiled once and
cached, whatever the user brings. Projections are folded up to the present whenever somebody is
about to look: since they are functions of the events alone, nobody can tell the difference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import INT, JOURNAL_ROWS, TAPE_ROWS, WORDS, compiled_as, inner, typed, types
from ..schema import NO_MARKET, NO_TIME, CauseKind, TapeKind
from .book import base_of
from .delays import known_at
from .layout import (
    CAUSE_KIND,
    CAUSE_MARKET,
    CAUSE_ROW,
    CURSOR,
    DECISIONS,
    ERROR,
    ERROR_NONE,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    NOW,
    ROWS,
    SIGHT,
    USER_WORDS,
)
from .loop import FULL, QUEUE, REACHED, RUN, follow_to, has_room, play_tape

FAILED = 3
"""Why `play` returned, besides those of `advance`: the strategy made a mistake (layout.ERROR)."""

TAPE_SOURCE, JOURNAL_SOURCE = range(2)
FOLDED_TAPE, FOLDED_JOURNAL, KNOWN_BEFORE, FIRST_WORD = range(4)
"""The user's words begin with how many tape and journal rows the projections have folded, and when
the agent knew of the last of these."""

DECISION_ROOM = 8
"""Room in the journal buffer at a decision, in units of `slack`: so many commands always fit."""

BOOK_CHANGES = sum(
    1 << kind
    for kind in (
        TapeKind.SNAPSHOT,
        TapeKind.SNAPSHOT_LEVEL,
        TapeKind.INCREASE,
        TapeKind.DECREASE,
        TapeKind.GAP,
    )
)
"""Bit set of the tape kinds after which a book differs."""

_CAUSE_TAPE = int(CauseKind.TAPE)
_CAUSE_TIMER = int(CauseKind.TIMER)
_FOREVER = 1 << 62


class Plan(NamedTuple):
    """When a compiled strategy decides: at start + k x every, k = 0, 1, ..., not after `end`; with
    every = 0 after each burst that changed a book. projects: 1 if there are projections; sees_late:
    1 if the seen state is not the venue's; forgets: 1 if nobody reads the journal afterwards."""

    start: int
    every: int
    end: int
    slack: int
    projects: int
    sees_late: int
    forgets: int


PLAN = types.NamedUniTuple(INT, 7, Plan)
FOLD = typed(WORDS, TAPE_ROWS, JOURNAL_ROWS, INT, INT)
"""A projection: fold(words, tape, rows, source, i) folds row i of the source."""
DECIDE = typed(RUN, WORDS)
"""A strategy: decide(sim, words)."""


@inner
def _project(run, tape, delivered, fold):
    state = run.state
    seen = run.seen
    at = state[USER_WORDS]
    words = state[at + FIRST_WORD :]
    i = state[at + FOLDED_TAPE]
    j = state[at + FOLDED_JOURNAL]
    base = state[JOURNAL_BASE]
    while True:
        is_own = j < seen[JOURNAL_COUNT]
        if is_own and seen[SIGHT] != 0:
            known = known_at(run, run.rows[j - base], j, state[at + KNOWN_BEFORE])
            is_own = j == 0 or i == seen[CURSOR] or known < delivered[i]
            if is_own:
                state[at + KNOWN_BEFORE] = known
        elif is_own:
            is_own = run.places[j - base] <= i
        if is_own:
            fold(words, tape, run.rows, JOURNAL_SOURCE, j - base)
            j += 1
        elif i < seen[CURSOR]:
            fold(words, tape, run.rows, TAPE_SOURCE, i)
            i += 1
        else:
            break
    state[at + FOLDED_TAPE] = i
    state[at + FOLDED_JOURNAL] = j


@compiled_as(types.void(RUN, TAPE_ROWS, WORDS, FOLD))
def project(run, tape, delivered, fold):
    """Fold into the user's projections what they have not seen yet, in the order of the bus: of
    that what has reached the agent, in the order in which it did.

    delivered: as of `loop.follow`. Must be called before the journal buffer is emptied.
    """
    _project(run, tape, delivered, fold)


@compiled_as(INT(RUN, TAPE_ROWS, WORDS, PLAN, WORDS, DECIDE, FOLD))
def play(run, tape, delivered, plan, words, decide, fold):
    """Run a compiled strategy to the end of the tape.

    delivered: as of `loop.follow`. Returns REACHED at the end, FULL (empty the buffer and call
    again), or FAILED.
    """
    return _play(run, tape, delivered, plan, words, decide, fold, None)


@compiled_as(INT(RUN, TAPE_ROWS, WORDS, PLAN, WORDS, DECIDE, FOLD, QUEUE))
def play_with(run, tape, delivered, plan, words, decide, fold, model):
    """Do what `play` does, with a user's own queue model."""
    return _play(run, tape, delivered, plan, words, decide, fold, model)


@inner
def _play(run, tape, delivered, plan, words, decide, fold, model):
    state = run.state
    room = (DECISION_ROOM + 1) * plan.slack
    while True:
        last = plan.every > 0 and plan.start + state[DECISIONS] * plan.every > plan.end
        limit = NO_TIME
        if plan.every > 0 and not last:
            limit = plan.start + state[DECISIONS] * plan.every
        elif plan.sees_late and not last and run.seen[CURSOR] < len(tape):
            limit = delivered[run.seen[CURSOR]]
            if limit > plan.end:
                limit = NO_TIME
        status = play_tape(run, tape, limit, _FOREVER, room, model, None)
        if status == FULL:
            if not _makes_room(run, tape, delivered, plan, fold):
                return FULL
            continue
        first = run.seen[CURSOR]
        if plan.sees_late:
            follow_to(run, tape, delivered, state[NOW], model)
        if plan.projects:
            _project(run, tape, delivered, fold)
        if last or (plan.every == 0 and limit == NO_TIME and status == REACHED):
            return REACHED
        if plan.every > 0 or not plan.sees_late or changes_book(tape, first, run.seen[CURSOR]):
            _set_cause(run, tape, plan.every > 0)
            decide(run, words)
            state[CAUSE_KIND] = 0
            state[CAUSE_MARKET] = 0
            state[CAUSE_ROW] = 0
            if state[ERROR] != ERROR_NONE:
                return FAILED
        state[DECISIONS] += 1
        if not has_room(run, room) and not _makes_room(run, tape, delivered, plan, fold):
            return FULL


@inner
def _makes_room(run, tape, delivered, plan, fold):
    """Forget the journal rows that the agent knows of, where nobody else will read them; return
    whether that makes room for the next decision."""
    if not plan.forgets:
        return False
    if plan.projects:
        _project(run, tape, delivered, fold)
    state = run.state
    known = run.seen[JOURNAL_COUNT] - state[JOURNAL_BASE]
    left = state[JOURNAL_COUNT] - run.seen[JOURNAL_COUNT]
    for i in range(left):
        run.rows[i] = run.rows[known + i]
        run.places[i] = run.places[known + i]
    state[JOURNAL_BASE] += known
    return has_room(run, (DECISION_ROOM + 1) * plan.slack)


@inner
def changes_book(tape, first, stop):
    """Whether a book differs after rows from `first` up to `stop`."""
    while first < stop and (BOOK_CHANGES >> np.int64(tape[first]["kind"])) & 1 == 0:
        first += 1
    return first < stop


@inner
def _set_cause(run, tape, is_timed):
    """Note what the decision that comes now reacts to: the clock, or the last row it was shown."""
    state = run.state
    if is_timed:
        state[CAUSE_KIND] = _CAUSE_TIMER
        state[CAUSE_MARKET] = NO_MARKET
        state[CAUSE_ROW] = 0
        return
    market = np.int64(tape[run.seen[CURSOR] - 1]["market"])
    state[CAUSE_KIND] = _CAUSE_TAPE
    state[CAUSE_MARKET] = market
    state[CAUSE_ROW] = run.seen[base_of(state, market) + ROWS] - 1
