"""Reset and step, compiled: an action becomes commands, the tape goes on to the next moment, and
what came of it is read off the projections.

One environment is a state and a few words beside it; for many, see `vector`. Where a state has
several markets, their actions, observations and masks stand one behind the other. Nothing here
decides a fill or keeps a ledger: that is what the loop and the projections are for. What is drawn
depends on the seed, the number of the episode and nothing else, so that one environment and one of
many draw the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiled import (
    COLUMNS,
    FLOATS,
    MASK,
    SHOWN,
    TABLE,
    TAPE_ROWS,
    WORDS,
    entry,
    inner,
    small,
    types,
)
from ..intrinsics import holding, mixed, word
from ..schema import (
    JOURNAL_DTYPE,
    NO_MARKET,
    NO_TIME,
    CauseKind,
    JournalKind,
    MarketStatus,
    OrderFlag,
)
from ..units import PPM, SECOND
from .book import base_of, visible_best
from .codecs import CODEC, CODEC_WORDS, GIVEN, act, copy_values, mask_actions
from .delays import draw
from .layout import (
    ACCOUNT,
    BEST_BUY,
    CASH,
    CAUSE_KIND,
    CAUSE_MARKET,
    CAUSE_ROW,
    CURSOR,
    DRAWDOWN,
    ERROR,
    ERROR_NONE,
    FEES,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    MARKETS,
    NOW,
    PEAK,
    POSITION,
    REALISED,
    ROWS,
    SIGHT,
    START_CASH,
    STATUS,
    WATCH,
    WATCH_MARKET,
)
from .loop import FULL, REACHED, RUN, follow_to, has_room, next_known, play_tape
from .observe import observe
from .positions import position_at
from .programs import BOOK_CHANGES, changes_book
from .reward import portfolio_value

# Words of the plan: what all environments of one kind share. The codec's come first.
(
    CADENCE,  # EVERY_*
    EVERY,  # events or ns of one step
    STEPS_MAX,  # 0 no limit
    LASTS,  # ns; 0 no limit
    ROOM,  # journal rows that one event may write, and what is tried behind it
    ROOM_TO_DECIDE,  # that a decision and one event may write
    KEEPS_JOURNAL,  # 1: rows stay; 0: they are folded into the digest and forgotten
    HAS_MASK,
    CHOICE,  # CHOOSE_*
    STARTS,  # START_*
    AUTORESET,  # RESET_*
    VALUE_WEIGHT,  # ppm, as the other weights
    REALISED_WEIGHT,
    INVENTORY_COST,  # $0.000001 for each contract held and second
    DRAWDOWN_WEIGHT,
    PLAN_WORDS,
) = range(CODEC_WORDS, CODEC_WORDS + 16)

EVERY_CHANGE, EVERY_EVENTS, EVERY_TIME, EVERY_QUOTE = range(4)
CHOOSE_RANDOM, CHOOSE_NEXT = range(2)
START_FIRST, START_RANDOM = range(2)
RESET_NEXT_STEP, RESET_SAME_STEP, RESET_DISABLED = range(3)

# Words of an environment.
(
    SEED,
    EPISODE,  # how many were begun
    FIXED_CASH,  # of every episode, or -1
    MARKET,  # of the pool, as it is played now; from here on what is told of each step
    STEP,
    VALUE,  # $0.000001, as the agent knew it after the last step
    KNOWN_CASH,  # the account as the agent knew it after the last step
    KNOWN_FEES,
    KNOWN_POSITION,  # in the first market
    FILLS,  # of the last step
    KNOWN_ROWS,  # of the journal
    REWARD_UNITS,  # change of value in the last step
    REWARD,  # of the last step, $0.000001 x ppm
    TERMINATED,
    TRUNCATED,
    OVER,  # 1 after the end of an episode; the last word that is told
    STARTED_AT,  # ns
    STAGE,  # ACTING, or ADVANCING after the journal buffer was full
    STOP,  # of the step in progress: row or time, or the quotes before it
    NET_REALISED,
    DRAWN_DOWN,
    OPENED_WITH,  # value at the start of the episode
    LAST_ORDER,  # ns; NO_TIME before the first
    TAKES,  # 1 once a fill of the episode has taken displayed depth
    FILLS_ALL,  # of the episode
    READ,  # journal rows that have been looked at
    DIGEST,  # of the journal rows so far, in LANES words
    DIGEST_LANE_2,
    DIGEST_LANE_3,
    DIGEST_LANE_4,
    HELD,  # 0.01 contract held in all markets at the end of the last step, and when that was
    HELD_AT,
    ENV_WORDS,
) = range(33)
LANES = 4

ACTING, ADVANCING = range(2)

# Words of a market of the pool.
(
    TAPE_BEGIN,
    TAPE_END,
    CHECKPOINT,  # number of its first checkpoint
    CHECKPOINTS,
    FIRST_START,  # rows at which an episode may begin, within the market
    LAST_START,
    COURSE_WORDS,
) = range(7)

DONE, MORE, FAILED = range(3)
"""What a step comes to: it is done, the journal buffer is full, or a command could not be sent."""

_FILL = int(JournalKind.FILL)
_MISSED = int(JournalKind.MISSED)
_SUBMITTED = int(JournalKind.SUBMITTED)
_TAKES_DEPTH = int(OrderFlag.TAKES_DEPTH)
_CAUSE_TAPE = int(CauseKind.TAPE)
_CAUSE_TIMER = int(CauseKind.TIMER)
_SETTLED = int(MarketStatus.SETTLED)
_FOREVER = 1 << 62
_CONTRACT = 100
_ROW_WORDS = JOURNAL_DTYPE.itemsize // 8


class Pool(NamedTuple):
    """What episodes are drawn from. tape: rows of all markets, one after the other, TAPE_DTYPE.
    delivered: int64 beside it, empty where nothing delays sight. changes: int64 (events, 2), see
    `loop.fill_changes`, or (0, 2). columns: float32 (events, k), see
    `features.fill_columns`. recipe: see `observe.observe`. table: int64 (markets, COURSE_WORDS).
    checkpoints, seen: int64 (checkpoints, words), states along the way; seen is empty where
    nothing delays sight. tables: as of `layout.Run`. opening: JOURNAL_DTYPE (accounts,), the first
    rows of a run."""

    tape: np.ndarray
    delivered: np.ndarray
    changes: np.ndarray
    columns: np.ndarray
    recipe: np.ndarray
    table: np.ndarray
    checkpoints: np.ndarray
    seen: np.ndarray
    tables: np.ndarray
    opening: np.ndarray


OUTS = types.Tuple([SHOWN, MASK, WORDS, FLOATS])
RECORDED = types.Tuple([TAPE_ROWS, WORDS, TABLE])
STEPPED = types.Tuple([RUN, RECORDED, COLUMNS, WORDS, WORDS, WORDS, OUTS])
"""What `step` works on: (run, recorded, columns, recipe, words, action, outs).

recorded: (tape, delivered, changes) of the market that is played, see `Pool`. words: int64, the
plan's and then the environment's. action: int64, of each market. outs: (observation, float32, of
each market; mask, int8, of each market; scratch, int64, as long as a state; scratch, float64)."""
_stepped = holding(STEPPED)


@entry
def step(held):
    """Take one step of one environment; return DONE, MORE (make room and call again), or FAILED.

    held: address of what is STEPPED.
    """
    run, recorded, columns, recipe, words, action, outs = _stepped(held)
    plan = words[:PLAN_WORDS]
    env = words[PLAN_WORDS:]
    if env[STAGE] == ACTING and not has_room(run, plan[ROOM_TO_DECIDE]):
        return MORE
    status = advance(run, recorded, plan, env, action)
    if status == DONE:
        note_reward(run, plan, env)
        note_end(run, len(recorded[0]), plan, env)
        show_moment(run, columns, recipe, plan, env, outs)
    return status


@entry
def show(run, columns, recipe, words, outs):
    """Write what an environment observes now, and its mask: see `step`."""
    show_moment(run, columns, recipe, words[:PLAN_WORDS], words[PLAN_WORDS:], outs)


@entry
def note(run, words):
    """Look at the journal rows of commands that came from outside, before the step goes on."""
    env = words[PLAN_WORDS:]
    env[FILLS] = 0
    _note_order(run, env)
    read(run, env)


@inner
def show_moment(run, columns, recipe, plan, env, outs):
    observation, mask, trial, scratch = outs
    times = (env[LAST_ORDER], env[STARTED_AT], env[TAKES])
    markets = run.state[MARKETS]
    size = len(observation) // markets
    actions = len(mask) // markets
    for market in range(markets):
        shown = observation[market * size : (market + 1) * size]
        observe(run, market, columns, recipe, times, scratch, shown)
        if plan[HAS_MASK] == 1:
            mask_actions(run, market, plan, trial, mask[market * actions : (market + 1) * actions])


@inner
def advance(run, recorded, plan, env, action):
    """Act, then go on to the next moment."""
    if env[STAGE] == ACTING:
        if not decide(run, recorded[0], plan, env, action):
            return FAILED
        env[STOP] = moment(run, plan, env)
        env[STAGE] = ADVANCING
        if plan[CODEC] != GIVEN:
            env[FILLS] = 0
    while True:
        status = go_on(run, recorded, plan, env)
        read(run, env)
        if plan[KEEPS_JOURNAL] == 0:
            _forget(run)
        if status != FULL:
            break
        if plan[KEEPS_JOURNAL] == 1:
            return MORE
    env[STAGE] = ACTING
    return DONE


@inner
def decide(run, tape, plan, env, action):
    """Send the commands of an action in each market, in their order; return whether all could be
    sent."""
    state = run.state
    set_cause(run, tape, plan)
    before = state[JOURNAL_COUNT]
    words = len(action) // state[MARKETS]
    for market in range(state[MARKETS]):
        act(run, market, plan, action[market * words : (market + 1) * words])
    clear_cause(state)
    if state[ERROR] != ERROR_NONE:
        return False
    if state[JOURNAL_COUNT] != before:
        _note_order(run, env)
    return True


@inner
def _note_order(run, env):
    """Note when the last new order was sent."""
    state = run.state
    for number in range(max(env[READ], state[JOURNAL_BASE]), state[JOURNAL_COUNT]):
        row = run.rows[number - state[JOURNAL_BASE]]
        if row["kind"] == _SUBMITTED and row["account"] == state[ACCOUNT]:
            env[LAST_ORDER] = state[NOW]


@inner
def set_cause(run, tape, plan):
    """Note what the decision reacts to: the clock, or the last row that was shown."""
    state = run.state
    cursor = run.seen[CURSOR]
    if plan[CADENCE] == EVERY_TIME or cursor == 0:
        state[CAUSE_KIND] = _CAUSE_TIMER
        state[CAUSE_MARKET] = NO_MARKET
        state[CAUSE_ROW] = 0
        return
    market = np.int64(tape[cursor - 1]["market"])
    state[CAUSE_KIND] = _CAUSE_TAPE
    state[CAUSE_MARKET] = market
    state[CAUSE_ROW] = run.seen[base_of(state, market) + ROWS] - 1


@small
def clear_cause(state):
    """Note that nothing is being decided."""
    state[CAUSE_KIND] = 0
    state[CAUSE_MARKET] = 0
    state[CAUSE_ROW] = 0


@inner
def _quotes(seen):
    """Return the visible best bid and ask, packed into one number."""
    base = base_of(seen, 0)
    buy = visible_best(seen, base, 0, seen[base + BEST_BUY])
    sell = visible_best(seen, base, 1, seen[base + BEST_BUY + 1])
    return buy << 32 | sell


@inner
def moment(run, plan, env):
    """Return what ends the step that begins: a row, a time, or a change from these quotes."""
    if plan[CADENCE] == EVERY_EVENTS:
        return run.state[CURSOR] + plan[EVERY]
    if plan[CADENCE] == EVERY_TIME:
        return env[STARTED_AT] + (env[STEP] + 1) * plan[EVERY]
    return _quotes(run.seen)


@inner
def go_on(run, recorded, plan, env):
    """Play the tape to the end of the step; return REACHED or FULL."""
    tape, delivered, changes = recorded
    state = run.state
    late = run.seen[SIGHT] != 0
    cadence = plan[CADENCE]
    room = plan[ROOM]
    if cadence == EVERY_EVENTS or cadence == EVERY_TIME:
        limit = env[STOP] if cadence == EVERY_TIME else NO_TIME
        stop = env[STOP] if cadence == EVERY_EVENTS else _FOREVER
        if cadence == EVERY_TIME and len(tape) > 0:
            limit = min(limit, max(tape[len(tape) - 1]["ts"], state[NOW]))
        status = play_tape(run, tape, limit, stop, room, None, changes)
        if status == FULL:
            return FULL
        if late:
            follow_to(run, tape, delivered, _until(run, tape), None)
        return REACHED
    while True:
        first = run.seen[CURSOR]
        limit = NO_TIME
        if late:
            limit = next_known(run)
            if first < len(tape):
                limit = min(limit, delivered[first])
            if first == len(tape) and limit == NO_TIME:
                return REACHED
        else:
            state[WATCH] = BOOK_CHANGES
            state[WATCH_MARKET] = -1
        status = play_tape(run, tape, limit, _FOREVER, room, None, changes)
        state[WATCH] = 0
        if status == FULL:
            return FULL
        if late:
            follow_to(run, tape, delivered, _until(run, tape) if limit == NO_TIME else limit, None)
        if run.seen[CURSOR] == len(tape) and (not late or next_known(run) == NO_TIME):
            return REACHED
        if cadence == EVERY_QUOTE:
            if _quotes(run.seen) != env[STOP]:
                return REACHED
        elif changes_book(tape, first, run.seen[CURSOR]):
            return REACHED


@inner
def _until(run, tape):
    """Return up to when the agent is shown things: all there is once the tape has ended."""
    # Never NO_TIME itself: that is when an unwritten row would be known.
    return NO_TIME - 1 if run.state[CURSOR] == len(tape) else run.state[NOW]


@inner
def read(run, env):
    """Look at the journal rows that are new: count the fills of the account in use; fold the rows
    into the digest."""
    state = run.state
    base = state[JOURNAL_BASE]
    for number in range(env[READ], state[JOURNAL_COUNT]):
        row = run.rows[number - base]
        kind = row["kind"]
        if kind == _FILL and row["account"] == state[ACCOUNT]:
            env[FILLS] += 1
            env[FILLS_ALL] += 1
        if kind == _MISSED or (kind == _FILL and row["flags"] & _TAKES_DEPTH != 0):
            env[TAKES] = 1
        _digest(env, run.rows, number - base)
    env[READ] = state[JOURNAL_COUNT]


@inner
def _forget(run):
    """Give back the room of the journal rows that the agent knows."""
    state = run.state
    base = state[JOURNAL_BASE]
    known = min(run.seen[JOURNAL_COUNT], state[JOURNAL_COUNT])
    left = state[JOURNAL_COUNT] - known
    for k in range(left):
        run.rows[k] = run.rows[known - base + k]
        run.places[k] = run.places[known - base + k]
    state[JOURNAL_BASE] = known


@inner
def _digest(env, rows, number):
    """Fold a journal row into the running digest, one word of it after the other in each lane."""
    for lane in range(LANES):
        digest = env[DIGEST + lane]
        for place in range(lane, _ROW_WORDS, LANES):
            digest = mixed(digest, word(rows, number, place))
        env[DIGEST + lane] = digest


@inner
def note_reward(run, plan, env):
    """Note what the step earned, and whether the episode is over."""
    seen = run.seen
    value = portfolio_value(seen)
    units = value - env[VALUE]
    realised = seen[REALISED] - seen[FEES]
    reward = units * plan[VALUE_WEIGHT]
    reward += (realised - env[NET_REALISED]) * plan[REALISED_WEIGHT]
    reward -= (seen[DRAWDOWN] - env[DRAWN_DOWN]) * plan[DRAWDOWN_WEIGHT]
    if plan[INVENTORY_COST] != 0:
        held = env[HELD] / _CONTRACT * ((seen[NOW] - env[HELD_AT]) / SECOND)
        reward -= np.int64(held * plan[INVENTORY_COST] * PPM)
    env[REWARD_UNITS] = units
    env[REWARD] = reward
    stand(run, env)
    env[STEP] += 1


@inner
def stand(run, env):
    """Note where the account stands at the end of a step."""
    seen = run.seen
    env[VALUE] = portfolio_value(seen)
    env[NET_REALISED] = seen[REALISED] - seen[FEES]
    env[DRAWN_DOWN] = seen[DRAWDOWN]
    env[KNOWN_CASH] = seen[CASH]
    env[KNOWN_FEES] = seen[FEES]
    env[KNOWN_POSITION] = seen[position_at(0) + POSITION]
    env[KNOWN_ROWS] = seen[JOURNAL_COUNT]
    env[HELD] = 0
    for market in range(seen[MARKETS]):
        env[HELD] += abs(seen[position_at(market) + POSITION])
    env[HELD_AT] = seen[NOW]


@inner
def note_end(run, rows, plan, env):
    """Note whether the episode is over: all settled or worthless, or cut off."""
    seen = run.seen
    settled = True
    for market in range(seen[MARKETS]):
        settled = settled and seen[base_of(seen, market) + STATUS] == _SETTLED
    env[TERMINATED] = 1 if settled or portfolio_value(seen) <= 0 else 0
    ended = run.state[CURSOR] == rows and seen[CURSOR] == rows
    late = plan[LASTS] > 0 and run.state[NOW] >= env[STARTED_AT] + plan[LASTS]
    full = plan[STEPS_MAX] > 0 and env[STEP] >= plan[STEPS_MAX]
    cut = (ended or late or full) and env[TERMINATED] == 0
    env[TRUNCATED] = 1 if cut else 0
    env[OVER] = env[TERMINATED] | env[TRUNCATED]


# How an episode begins.


@inner
def draw_market(weights, plan, env):
    """Draw the market of the next episode, or take the next in turn."""
    if plan[CHOICE] == CHOOSE_NEXT:
        return env[EPISODE] % len(weights)
    wanted = draw(env[SEED], env[EPISODE], 1) % weights[len(weights) - 1]
    market = 0
    while weights[market] <= wanted:
        market += 1
    return market


@inner
def draw_row(table, plan, env, market):
    """Draw the row at which the next episode begins in a market."""
    first = table[market, FIRST_START]
    if plan[STARTS] == START_FIRST:
        return first
    return first + draw(env[SEED], env[EPISODE], 2) % (table[market, LAST_START] - first + 1)


@inner
def _nearest(checkpoints, first, count, row):
    """Return the number of the last checkpoint at or before a row."""
    low = first
    high = first + count
    while high - low > 1:
        middle = (low + high) // 2
        if checkpoints[middle, CURSOR] <= row:
            low = middle
        else:
            high = middle
    return low


@entry
def begin(run, pool, words, row):
    """Begin an episode in the one market of a pool: put a state where it starts, with nothing done
    yet. row: where, or -1 for what the plan says."""
    begin_at(run, pool, words[:PLAN_WORDS], words[PLAN_WORDS:], row)


@inner
def begin_at(run, pool, plan, env, row):
    """See `begin`."""
    if row < 0:
        row = draw_row(pool.table, plan, env, 0)
    begin_in(run, pool, plan, env, (0, row))


@entry
def next_market(weights, words):
    """Return the market of the next episode. weights: int64, added up over the markets so far."""
    return draw_market(weights, words[:PLAN_WORDS], words[PLAN_WORDS:])


@small
def recorded_of(pool, market):
    """Return (tape, delivered, changes) of a market. market: its words."""
    begin = market[TAPE_BEGIN]
    end = market[TAPE_END]
    delivered = pool.delivered
    if len(pool.seen) > 0:
        delivered = delivered[begin:end]
    changes = pool.changes
    if len(changes) > 0:
        changes = changes[begin:end]
    return pool.tape[begin:end], delivered, changes


@inner
def begin_in(run, pool, plan, env, choice):
    market, row = choice
    entry_of = pool.table[market]
    state = run.state
    tape, delivered, changes = recorded_of(pool, entry_of)
    late = len(pool.seen) > 0
    near = _nearest(pool.checkpoints, entry_of[CHECKPOINT], entry_of[CHECKPOINTS], row)
    copy_values(state, pool.checkpoints[near])
    state[JOURNAL_BASE] = 0
    for number in range(len(pool.opening)):
        run.rows[number] = pool.opening[number]
        run.places[number] = 0
        run.rows[number]["ts"] = tape[0]["ts"]
    if late:
        copy_values(run.seen, pool.seen[near])
        run.seen[JOURNAL_BASE] = 0
    cash = env[FIXED_CASH]
    if cash >= 0:
        run.rows[0]["cash"] = cash
        _endow(state, cash)
        if late:
            _endow(run.seen, cash)
    play_tape(run, tape, NO_TIME, row, 0, None, changes)
    if late:
        follow_to(run, tape, delivered, state[NOW], None)
    for place in range(STEP, ENV_WORDS):
        env[place] = 0
    env[MARKET] = market
    env[EPISODE] += 1
    env[STARTED_AT] = state[NOW]
    env[LAST_ORDER] = NO_TIME
    read(run, env)
    if plan[KEEPS_JOURNAL] == 0:
        _forget(run)
    stand(run, env)
    env[OPENED_WITH] = env[VALUE]


@inner
def _endow(state, cash):
    """Let the account have begun with other cash; nothing else has been done with it yet."""
    state[CASH] = cash
    state[START_CASH] = cash
    state[PEAK] = cash
