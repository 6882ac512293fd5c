"""Many environments as one: states and words in arrays, stepped by one call.

What a step is, what it earns and what is observed are those of `episodes`, so that each of them
does what a single one does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import (
    COLUMNS,
    FLOATS,
    JOURNAL_ROWS,
    TABLE,
    TAPE_ROWS,
    WORDS,
    entry,
    inner,
    types,
)
from ..intrinsics import holding, load_now, prefetch, store_now
from .book import base_of, level_at
from .codecs import copy_values
from .episodes import (
    AUTORESET,
    CADENCE,
    DONE,
    EVERY,
    EVERY_EVENTS,
    MARKET,
    OVER,
    RESET_NEXT_STEP,
    RESET_SAME_STEP,
    REWARD,
    REWARD_UNITS,
    STEP,
    TAPE_BEGIN,
    TAPE_END,
    TERMINATED,
    TRUNCATED,
    Pool,
    advance,
    begin_in,
    draw_market,
    draw_row,
    note_end,
    note_reward,
    recorded_of,
    show_moment,
)
from .layout import BEST_BUY, CURSOR, Run

_LOOK_AHEAD = 20
"""Rows of the tape that are fetched before a step."""
TOLD = REWARD_UNITS + 1 - MARKET
"""How many words of an environment, from MARKET on, its infos tell."""


class Envs(NamedTuple):
    """Environments side by side. states: int64 (n, words). seen: the same, or (0, words) where
    nothing delays sight. rows, places: journal buffers (n or 1, rows): one for all where none is
    kept. words: int64 (n, ENV_WORDS). observations: float32 (n, features). masks: int8 (n,
    actions). squares: float64 (n,), of the reward units of the episode, added up. last_words,
    last_observations, last_masks, last_squares: of episodes that ended within the step. weights:
    int64, of the markets, added up. trial: int64, as long as a state. scratch: float64.

    What a step came to is written into told (int64 (TOLD, n)), rewards (float64 (n,), times scale,
    float64 (1,)), terminated and truncated (bool (n,)); begun: int64 (1,), episodes that began."""

    states: np.ndarray
    seen: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    words: np.ndarray
    observations: np.ndarray
    masks: np.ndarray
    squares: np.ndarray
    last_words: np.ndarray
    last_observations: np.ndarray
    last_masks: np.ndarray
    last_squares: np.ndarray
    weights: np.ndarray
    trial: np.ndarray
    scratch: np.ndarray
    told: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    begun: np.ndarray
    scale: np.ndarray


_SHOWN = types.float32[:, ::1]
_MASKS = types.int8[:, ::1]
_BOOLS = types.boolean[::1]
_ENVS = types.NamedTuple(
    [
        TABLE, TABLE, JOURNAL_ROWS.copy(ndim=2), TABLE,
        TABLE, _SHOWN, _MASKS, FLOATS, TABLE, _SHOWN, _MASKS, FLOATS,
        WORDS, WORDS, FLOATS,
        TABLE, FLOATS, _BOOLS, _BOOLS, WORDS, FLOATS,
    ],
    Envs,
)  # fmt: skip
_POOL = types.NamedTuple(
    [TAPE_ROWS, WORDS, TABLE, COLUMNS, WORDS, TABLE, TABLE, TABLE, WORDS, JOURNAL_ROWS], Pool
)
MANY = types.Tuple([_ENVS, _POOL, WORDS, TABLE])
"""What is stepped: (envs, pool, plan, actions). actions: int64 (n, words of an action)."""
_many = holding(MANY)


@entry
def reset_many(held):
    """Begin an episode in every environment whose OVER is 1. held: address of MANY."""
    envs, pool, plan, _ = _many(held)
    for k in range(len(envs.words)):
        if envs.words[k][OVER] == 1:
            _reset_one(envs, pool, plan, k)


@inner
def _reset_one(envs, pool, plan, k):
    env = envs.words[k]
    run = _run_of(envs, pool, k)
    market = draw_market(envs.weights, plan, env)
    begin_in(run, pool, plan, env, (market, draw_row(pool.table, plan, env, market)))
    envs.squares[k] = 0
    _show_one(envs, pool, plan, k, run)


@inner
def _show_one(envs, pool, plan, k, run):
    env = envs.words[k]
    market = pool.table[env[MARKET]]
    columns = pool.columns[market[TAPE_BEGIN] : market[TAPE_END]]
    outs = (envs.observations[k], envs.masks[k], envs.trial, envs.scratch)
    show_moment(run, columns, pool.recipe, plan, env, outs)


@entry
def step_many(held, first):
    """Take a step in every environment from number `first` on. held: address of MANY.

    Returns how many are done; the next one lacks room in its journal buffer, or could not send its
    commands (layout.ERROR in its state). An episode that has ended begins anew as plan[AUTORESET]
    says: with the next step, whose action is ignored (RESET_NEXT_STEP), or within the step
    (RESET_SAME_STEP), or not (RESET_DISABLED).
    """
    envs, pool, plan, actions = _many(held)
    if first == 0:
        envs.begun[0] = 0
    for k in range(first, len(envs.words)):
        _look_ahead(envs, pool, plan, k + 2)
        env = envs.words[k]
        if env[OVER] == 1:
            if plan[AUTORESET] == RESET_NEXT_STEP:
                _reset_one(envs, pool, plan, k)
            _tell(envs, k, env)
            continue
        run = _run_of(envs, pool, k)
        market = pool.table[env[MARKET]]
        recorded = recorded_of(pool, market)
        if advance(run, recorded, plan, env, actions[k]) != DONE:
            return k
        note_reward(run, plan, env)
        note_end(run, len(recorded[0]), plan, env)
        envs.squares[k] += float(env[REWARD_UNITS]) * float(env[REWARD_UNITS])
        _show_one(envs, pool, plan, k, run)
        if env[OVER] == 1 and plan[AUTORESET] == RESET_SAME_STEP:
            _renew_one(envs, pool, plan, k)
        else:
            _tell(envs, k, env)
    return len(envs.words)


# Words of a mailbox, each in a cache line of its own: what one thread writes, the other reads.
ASKED, ANSWERED, AWAY = 0, 8, 16
MAIL_WORDS = 24
LEAVE = -1
_PATIENCE = 300_000
"""Looks into a mailbox that a thread takes before it goes to sleep: about 0.2 ms."""


@entry
def serve_many(held, mail):
    """Step environments each time that somebody asks, until nobody has for a while.

    held: address of MANY. mail: int64 (MAIL_WORDS,). ASKED counts the questions, or is LEAVE;
    ANSWERED is the last one answered, and the word behind it what `step_many` returned; AWAY is 1
    once the thread that runs this no longer looks.
    """
    store_now(mail, AWAY, 0)
    answered = mail[ANSWERED]
    waited = 0
    while waited < _PATIENCE:
        asked = load_now(mail, ASKED)
        if asked == LEAVE:
            return
        if asked == answered:
            waited += 1
            if waited == _PATIENCE:
                # Whoever asks from here on sees that nobody looks; who asked before is served.
                store_now(mail, AWAY, 1)
                if load_now(mail, ASKED) != answered:
                    store_now(mail, AWAY, 0)
                    waited = 0
            continue
        mail[ANSWERED + 1] = step_many(held, 0)
        answered = asked
        store_now(mail, ANSWERED, answered)
        waited = 0


@entry
def ask(mail):
    """Ask for a step; return whether the thread that serves must be woken."""
    store_now(mail, ASKED, mail[ASKED] + 1)
    return load_now(mail, AWAY) == 1


@entry
def answer(mail):
    """Return what `step_many` returned to the last question; -1 if there is no answer yet."""
    for _ in range(_PATIENCE):
        if load_now(mail, ANSWERED) == mail[ASKED]:
            return mail[ANSWERED + 1]
    return -1


@inner
def _tell(envs, k, ended):
    """Write what a step of an environment came to. ended: its words, or those of the episode that
    another one has followed within the step."""
    words = envs.words[k]
    for number in range(TOLD):
        envs.told[number, k] = words[MARKET + number]
    envs.told[REWARD_UNITS - MARKET, k] = ended[REWARD_UNITS]
    envs.rewards[k] = ended[REWARD] * envs.scale[0]
    envs.terminated[k] = ended[TERMINATED] == 1
    envs.truncated[k] = ended[TRUNCATED] == 1
    if words[STEP] == 0:
        envs.begun[0] += 1


@inner
def _look_ahead(envs, pool, plan, k):
    """Fetch what the step of an environment is about to read: nobody can guess where on the tape
    it stands."""
    if k >= len(envs.words):
        return
    state = envs.states[k]
    market = pool.table[envs.words[k][MARKET]]
    row = market[TAPE_BEGIN] + state[CURSOR]
    # What lies beyond the end is fetched as well, or not at all: it is not read.
    for ahead in range(0, _LOOK_AHEAD, 3):
        prefetch(pool.tape, row + ahead)
    for ahead in range(0, _LOOK_AHEAD, 4):
        prefetch(pool.changes, 2 * (row + ahead))
    width = pool.columns.shape[1]
    shown = row + (plan[EVERY] if plan[CADENCE] == EVERY_EVENTS else 1) - 1
    for ahead in range(2):
        prefetch(pool.columns, (shown + ahead) * width)
    base = base_of(state, 0)
    for side in range(2):
        level = level_at(state, base, side, state[base + BEST_BUY + side])
        for line in range(-6, 1):
            prefetch(state, level + 8 * line)


@inner
def _renew_one(envs, pool, plan, k):
    """Keep how an episode ended, and begin the next."""
    copy_values(envs.last_observations[k], envs.observations[k])
    copy_values(envs.last_masks[k], envs.masks[k])
    copy_values(envs.last_words[k], envs.words[k])
    envs.last_squares[k] = envs.squares[k]
    _reset_one(envs, pool, plan, k)
    _tell(envs, k, envs.last_words[k])


@entry
def copy_valid(given, actions, most):
    """Copy actions, int64 (n, 1), if all are from 0 to `most`; return whether they are."""
    for k in range(len(given)):
        if given[k] < 0 or given[k] > most:
            return False
        actions[k, 0] = given[k]
    return True


@entry
def renew_many(held):
    """Begin an episode in every environment that has just ended one: what RESET_SAME_STEP does
    within the step, for those who look at the last state first. held: address of MANY."""
    envs, pool, plan, _ = _many(held)
    for k in range(len(envs.words)):
        if envs.words[k][OVER] == 1:
            _renew_one(envs, pool, plan, k)


@inner
def _run_of(envs, pool, k):
    """Return the run of one of many environments."""
    state = envs.states[k]
    buffer = k if len(envs.rows) > 1 else 0
    seen = envs.seen[k] if len(envs.seen) > 0 else state
    return Run(state, envs.rows[buffer], envs.places[buffer], seen, pool.tables)
