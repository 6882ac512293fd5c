"""Reset and step of several accounts that trade with each other on the book of one market.

Each account has the words of an environment, the clock is that of the first one's; what a step is,
what it earns and what is observed are those of `episodes`. Docs: docs/semantics.md, section 13.
"""

from __future__ import annotations

from ..compiled import entry, inner
from .book import base_of, level_at
from .codecs import cancel_side, copy_values, mask_actions
from .desks import use
from .episodes import (
    ACTING,
    ADVANCING,
    DONE,
    ENV_WORDS,
    FAILED,
    FILLS,
    HAS_MASK,
    LAST_ORDER,
    MORE,
    OPENED_WITH,
    PLAN_WORDS,
    STAGE,
    STARTED_AT,
    STOP,
    VALUE,
    begin_at,
    clear_cause,
    decide,
    go_on,
    moment,
    note_end,
    note_reward,
    read,
    set_cause,
    stand,
)
from .layout import ACCOUNTS, BEST_BUY, HEAD_BUY, LEFT, MARKETS, NEXT, QTY, RANK, Run
from .loop import FULL
from .observe import observe
from .orders import next_of, slot_at


@entry
def begin(run, pool, words, row):
    """Begin an episode of all accounts: see `episodes.begin`. words: int64 (accounts, PLAN_WORDS +
    ENV_WORDS)."""
    begin_at(run, pool, words[0, :PLAN_WORDS], words[0, PLAN_WORDS:], row)
    for account in range(run.state[ACCOUNTS]):
        use(run.state, account)
        env = words[account, PLAN_WORDS:]
        for word in range(ENV_WORDS):
            env[word] = words[0, PLAN_WORDS + word]
        stand(run, env)
        env[OPENED_WITH] = env[VALUE]


@entry
def step(run, tape, delivered, words, actions, acting):
    """Take one step of all accounts; return DONE, MORE (make room and call again), or FAILED.

    words: see `begin`. actions: int64 (accounts, words of an action). acting: int64, the accounts
    that act, in the order in which they do.
    """
    plan = words[0, :PLAN_WORDS]
    clock = words[0, PLAN_WORDS:]
    if clock[STAGE] == ACTING:
        if not _decide_all(run, tape, words, actions, acting):
            return FAILED
        clock[STOP] = moment(run, plan, clock)
        clock[STAGE] = ADVANCING
    status = go_on(run, (tape, delivered, None), plan, clock)
    _read_all(run, words)
    if status == FULL:
        return MORE
    clock[STAGE] = ACTING
    for account in range(run.state[ACCOUNTS]):
        use(run.state, account)
        env = words[account, PLAN_WORDS:]
        note_reward(run, plan, env)
        note_end(run, len(tape), plan, env)
    return DONE


@inner
def _decide_all(run, tape, words, actions, acting):
    """Send what the accounts decided, one after the other; return whether all could be sent."""
    plan = words[0, :PLAN_WORDS]
    for account in range(run.state[ACCOUNTS]):
        words[account, PLAN_WORDS + FILLS] = 0
    for turn in range(len(acting)):
        account = acting[turn]
        use(run.state, account)
        if not decide(run, tape, plan, words[account, PLAN_WORDS:], actions[account]):
            return False
    return True


@inner
def _read_all(run, words):
    for account in range(run.state[ACCOUNTS]):
        use(run.state, account)
        read(run, words[account, PLAN_WORDS:])


@entry
def leave(run, tape, words, account):
    """Cancel all orders of an account that decides no more."""
    use(run.state, account)
    set_cause(run, tape, words[account, :PLAN_WORDS])
    for market in range(run.state[MARKETS]):
        for side in range(2):
            cancel_side(run, market, side)
    clear_cause(run.state)
    _read_all(run, words)


@entry
def show(run, columns, recipe, words, account, outs):
    """Write what an account observes now, and its mask. words: of that account. outs: see
    `episodes.step`."""
    use(run.state, account)
    plan = words[:PLAN_WORDS]
    env = words[PLAN_WORDS:]
    observation, mask, trial, scratch = outs
    _picture(run.state, 0, trial)
    # The book is looked at itself: no column knows the orders of the others.
    times = (env[LAST_ORDER], env[STARTED_AT], 1)
    seen = Run(run.state, run.rows, run.places, trial, run.tables)
    observe(seen, 0, columns, recipe, times, scratch, observation)
    if plan[HAS_MASK] == 1:
        mask_actions(run, 0, plan, trial, mask)


@inner
def _picture(state, market, out):
    """Write a state in which what other accounts have open is as good as what is displayed."""
    copy_values(out, state)
    base = base_of(state, market)
    for side in range(2):
        slot = next_of(state, base, state[base + HEAD_BUY + side], False)
        while slot > 0:
            at = slot_at(state, base, slot)
            rank = state[at + RANK]
            out[level_at(state, base, side, rank) + QTY] += state[at + LEFT]
            out[base + BEST_BUY + side] = max(out[base + BEST_BUY + side], rank)
            slot = next_of(state, base, state[at + NEXT], False)
