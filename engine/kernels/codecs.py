"""What the actions of an agent mean: from a number to commands, and which numbers make no sense.

An action is first a wish (a side, a price, a quantity), which depends on what the agent sees alone;
then the commands that bring the own orders of the market there. The wish is plain integer
arithmetic, so that a live adapter works it out by the same functions (engine/codecs.py).
"""

from __future__ import annotations

from ..compiled import entry, inner, small
from ..schema import KEEP, NO_TIME, JournalKind, OrderFlag, Reason, TimeInForce
from ..units import PRICE_ONE
from .book import base_of, price_of, visible_best
from .commands import cancel_now
from .flights import next_submitted
from .layout import (
    ACCOUNTS,
    BEST_BUY,
    FLIGHT_COUNT,
    FLIGHT_WORDS,
    FLIGHTS,
    GRID_CENTRE,
    GRID_EDGE,
    GRID_WIDTH,
    HEAD_BUY,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    LEFT,
    NEXT,
    NUMBER,
    OF_MARKET,
    OF_ORDER,
    OF_PRICE,
    OF_QTY,
    OF_TIF,
    POSITION,
    RANK,
    REQUEST,
    TOKEN_RATE,
    TOTAL,
    Run,
)
from .orders import next_of, slot_at
from .positions import position_at
from .refusals import (
    UNDECIDED,
    Command,
    amend_refusal,
    any_order_refusal,
    glance_refusal,
    order_refusal,
)
from .verbs import amend, cancel, submit_as

HOLD, BUY_YES, SELL_YES, BUY_NO, SELL_NO = range(5)
"""What an agent can want."""
AGGRESSIVE, PASSIVE, MIDDLE = range(3)
"""Price policies: at the far touch, at the near touch, between them."""
LIMIT, NOW, QUOTE, GIVEN = range(4)
"""Kinds of codecs: one resting order, none, one on each side; commands that come from outside."""

# Words of a codec.
CODEC, POLICY, SIZES, FIRST_SIZE = range(4)
SIZES_MAX = 8
FIRST_OFFSET = FIRST_SIZE + SIZES_MAX
OFFSETS_MAX = 12
CODEC_WORDS = FIRST_OFFSET + OFFSETS_MAX

_GTC = int(TimeInForce.GTC)
_IOC = int(TimeInForce.IOC)
_POST_ONLY = int(OrderFlag.POST_ONLY)
_NONE = int(Reason.NONE)
_AMEND_REQUESTED = int(JournalKind.AMEND_REQUESTED)
_CANCEL_REQUESTED = int(JournalKind.CANCEL_REQUESTED)


# What is wanted: integer arithmetic on what the agent sees.


@entry
def wanted_intent(codec, action):
    """Return (intent, size) of an action of a codec of the kinds LIMIT and NOW."""
    if action == 0:
        return HOLD, 0
    sizes = codec[SIZES]
    return 1 + (action - 1) // sizes, codec[FIRST_SIZE + (action - 1) % sizes]


@entry
def wanted_order(intent, size, position):
    """Return (side, qty) that an intent stands for; what is sold is at most what is held.

    BUY_NO is a SELL in YES terms, which nets a YES position first and then opens NO.
    """
    if intent == BUY_YES:
        return 0, size
    if intent == SELL_YES:
        return 1, min(size, max(position, 0))
    if intent == BUY_NO:
        return 1, size
    return 0, min(size, max(-position, 0))


@small
def step_at(grid, price):
    """Return the grid's step at a price; grid: (centre, edge, width of an edge)."""
    is_edge = price < grid[2] or price > PRICE_ONE - grid[2]
    return grid[1] if is_edge else grid[0]


@entry
def has_moved(grid, price, wanted):
    """Whether a wanted price is more than one tick away."""
    return abs(price - wanted) > step_at(grid, price)


@entry
def wanted_price(policy, side, quote, grid):
    """Return the price by a policy, in YES terms; KEEP where there is none.

    quote: best (bid, ask) of the others, 0 and one dollar where there is none. A price between two
    grid steps moves away from the other side.
    """
    bid, ask = quote
    if policy == MIDDLE:
        if bid == 0 or ask == PRICE_ONE:
            return KEEP
        price = (bid + ask) // 2 if side == 0 else (bid + ask + 1) // 2
        past = price % step_at(grid, price)
        if past != 0:
            price += -past if side == 0 else step_at(grid, price) - past
        return price
    far = policy == AGGRESSIVE
    price = ask if far == (side == 0) else bid
    return KEEP if price == 0 or price == PRICE_ONE else price


@entry
def quoted_price(side, quote, offset, grid):
    """Return the price `offset` steps behind the near touch (-1: before it); KEEP without one."""
    near = quote[side]
    if near == 0 or near == PRICE_ONE:
        return KEEP
    away = offset * step_at(grid, near)
    price = near - away if side == 0 else near + away
    past = price % step_at(grid, price)
    if past != 0:
        price += -past if side == 0 else step_at(grid, price) - past
    least = grid[1] if grid[2] > 0 else grid[0]
    return min(max(price, least), PRICE_ONE - least)


# What the agent sees of its market.


@inner
def _quote(seen, base):
    buy, sell = best_ranks(seen, base)
    return price_of(seen, base, 0, buy), price_of(seen, base, 1, sell)


@inner
def best_ranks(seen, base):
    """Return the ranks of the best bid and ask that the account in use sees: of what is displayed,
    and of what others have open."""
    buy = visible_best(seen, base, 0, seen[base + BEST_BUY])
    sell = visible_best(seen, base, 1, seen[base + BEST_BUY + 1])
    if seen[ACCOUNTS] > 1:
        buy = max(buy, _best_of_others(seen, base, 0))
        sell = max(sell, _best_of_others(seen, base, 1))
    return buy, sell


@inner
def _best_of_others(seen, base, side):
    slot = next_of(seen, base, seen[base + HEAD_BUY + side], False)
    return seen[slot_at(seen, base, slot) + RANK] if slot > 0 else 0


@small
def _grid(seen, base):
    return seen[base + GRID_CENTRE], seen[base + GRID_EDGE], seen[base + GRID_WIDTH]


@inner
def _latest(seen, market, order, terms):
    """Return (price, total, is being canceled) of an order when all that is under way to it has
    arrived; terms: its (price, total) now."""
    price, total = terms
    leaves = False
    at = seen[FLIGHTS]
    end = at + FLIGHT_WORDS * seen[FLIGHT_COUNT]
    while at < end:
        if seen[at + OF_ORDER] == order and seen[at + OF_MARKET] == market:
            if seen[at + REQUEST] == _CANCEL_REQUESTED:
                leaves = True
            elif seen[at + REQUEST] == _AMEND_REQUESTED:
                price = seen[at + OF_PRICE] if seen[at + OF_PRICE] != KEEP else price
                total = seen[at + OF_QTY] if seen[at + OF_QTY] != KEEP else total
        at += FLIGHT_WORDS
    return price, total, leaves


@inner
def own_order(seen, market, side):
    """Return (number, price, total, left, is open) of the own order of a side that stays, number 0
    if there is none. One that is being canceled does not stay; one on its way is not open yet."""
    base = base_of(seen, market)
    slot = next_of(seen, base, seen[base + HEAD_BUY + side], True)
    while slot > 0:
        at = slot_at(seen, base, slot)
        terms = price_of(seen, base, side, seen[at + RANK]), seen[at + TOTAL]
        price, total, leaves = _latest(seen, market, seen[at + NUMBER], terms)
        if not leaves:
            left = seen[at + LEFT] + total - seen[at + TOTAL]
            return seen[at + NUMBER], price, total, left, True
        slot = next_of(seen, base, seen[at + NEXT], True)
    flight = next_submitted(seen, market, side, 0)
    while flight > 0:
        terms = seen[flight + OF_PRICE], seen[flight + OF_QTY]
        price, total, leaves = _latest(seen, market, seen[flight + OF_ORDER], terms)
        if not leaves and seen[flight + OF_TIF] == _GTC:
            return seen[flight + OF_ORDER], price, total, total, False
        flight = next_submitted(seen, market, side, flight)
    return 0, 0, 0, 0, False


@inner
def cancel_side(run, market, side):
    """Cancel the own orders of a side that are not being canceled already."""
    order = own_order(run.seen, market, side)
    before = 0
    while order[0] != 0 and order[0] != before:
        before = order[0]
        if cancel(run, market, order[0]) == 0:
            return
        order = own_order(run.seen, market, side)


@small
def copy_values(target, source):
    """Copy an array; assigning a slice would allocate."""
    for k in range(len(source)):
        target[k] = source[k]


# From wishes to commands.


@inner
def act(run, market, codec, action):
    """Send the commands that an action stands for. action: int64 words, one or four (QUOTE)."""
    if codec[CODEC] == GIVEN:
        return
    if codec[CODEC] == QUOTE:
        _act_quote(run, market, codec, action)
        return
    seen = run.seen
    intent, size = wanted_intent(codec, action[0])
    if intent == HOLD:
        _follow_market(run, market, codec)
        return
    side, qty = wanted_order(intent, size, seen[position_at(market) + POSITION])
    if qty == 0:
        return
    base = base_of(seen, market)
    grid = _grid(seen, base)
    price = wanted_price(codec[POLICY], side, _quote(seen, base), grid)
    if codec[CODEC] == NOW:
        submit_as(run, market, side, (price, qty, _IOC, 0))
        return
    cancel_side(run, market, 1 - side)
    order = own_order(seen, market, side)
    if order[0] == 0:
        submit_as(run, market, side, (price, qty, _GTC, 0))
        return
    total = _wanted_total(order, intent, size, qty)
    changes = price != KEEP and has_moved(grid, order[1], price)
    if changes or total != order[2]:
        amend(run, market, order[0], price if changes else KEEP, total)


@inner
def _follow_market(run, market, codec):
    """Amend the own orders from whose price the wanted one has moved."""
    seen = run.seen
    base = base_of(seen, market)
    for side in range(2):
        order = own_order(seen, market, side)
        if order[0] > 0:
            grid = _grid(seen, base)
            price = wanted_price(codec[POLICY], side, _quote(seen, base), grid)
            if price != KEEP and has_moved(grid, order[1], price):
                amend(run, market, order[0], price, KEEP)


@small
def _wanted_total(order, intent, size, qty):
    """Return what the total of a kept order becomes, its filled part included: `size`, but no more
    than what is held may be left of a sale."""
    filled = order[2] - order[3]
    total = size
    if intent == SELL_YES or intent == SELL_NO:
        total = min(size, filled + qty)
    return max(total, filled)


@inner
def _act_quote(run, market, codec, action):
    """Bring the bid and the ask where they are wanted. action: (bid offset, ask offset, bid size,
    ask size), indices; offset 0 is no quote."""
    seen = run.seen
    bid = own_order(seen, market, 0)
    price = _quote_price(seen, market, codec, (0, action[0]))
    # The side that makes room goes first, so that the own quotes never meet.
    rises = bid[0] > 0 and price != KEEP and price > bid[1]
    first = 1 if rises else 0
    for turn in range(2):
        side = first if turn == 0 else 1 - first
        price = _quote_price(seen, market, codec, (side, action[side]))
        qty = codec[FIRST_SIZE + action[2 + side]]
        _keep_quote(run, market, (side, price, qty))


@inner
def _quote_price(seen, market, codec, wanted):
    side, offset = wanted
    if offset == 0:
        return KEEP
    base = base_of(seen, market)
    return quoted_price(side, _quote(seen, base), codec[FIRST_OFFSET + offset], _grid(seen, base))


@inner
def _keep_quote(run, market, wanted):
    side, price, qty = wanted
    order = own_order(run.seen, market, side)
    if price == KEEP:
        cancel_side(run, market, side)
    elif order[0] == 0:
        submit_as(run, market, side, (price, qty, _GTC, _POST_ONLY))
    else:
        total = max(qty, order[2] - order[3])
        if price != order[1] or total != order[2]:
            amend(run, market, order[0], price if price != order[1] else KEEP, total)


# Which actions make sense.


@inner
def mask_actions(run, market, codec, scratch, mask):
    """Write into mask, int8, 1 for each action of which some order would be taken now, and HOLD.

    Judged by what the agent sees, after the cancels that the action implies, which are tried in
    `scratch`, int64, as long as a state. SELL_X without a holding is masked.
    """
    seen = run.seen
    base = base_of(seen, market)
    quote = _quote(seen, base)
    grid = _grid(seen, base)
    position = seen[position_at(market) + POSITION]
    policy = codec[POLICY]
    prices = (wanted_price(policy, 0, quote, grid), wanted_price(policy, 1, quote, grid))
    held = (own_order(seen, market, 0), own_order(seen, market, 1))
    rests = codec[CODEC] == LIMIT
    tif = _GTC if rests else _IOC
    as_is = Run(seen, run.rows, run.places, seen, run.tables)
    takes_orders = any_order_refusal(seen, market) == _NONE
    # A cancel frees collateral and costs tokens: without a rate limit it only ever helps.
    costs = (
        rests and held[1][4] and seen[TOKEN_RATE] > 0,
        rests and held[0][4] and seen[TOKEN_RATE] > 0,
    )
    # What a glance says of the largest new order, once for each side: most are taken, with all
    # smaller ones.
    most = 0
    glances = (UNDECIDED, UNDECIDED)
    if takes_orders:
        most = _largest_size(codec)
        buys = not costs[0] and (not rests or held[0][0] == 0)
        sells = not costs[1] and (not rests or held[1][0] == 0)
        glances = (
            _glance(as_is, market, (0, prices[0], most, tif)) if buys else UNDECIDED,
            _glance(as_is, market, (1, prices[1], most, tif)) if sells else UNDECIDED,
        )
    trial = Run(scratch, run.rows, run.places, scratch, run.tables)
    freed = -1
    mask[0] = 1
    action = 0
    for intent in range(BUY_YES, SELL_NO + 1):
        for number in range(codec[SIZES]):
            action += 1
            size = codec[FIRST_SIZE + number]
            side, qty = wanted_order(intent, size, position)
            mask[action] = 0
            if qty == 0:
                continue
            if glances[side] == _NONE:
                mask[action] = 1
                continue
            is_refused = qty == most and glances[side] != UNDECIDED
            order = held[side]
            command = Command(market, 0, side, prices[side], qty, tif, 0, NO_TIME, 0, 0, 0, 0, 0)
            if rests and order[0] != 0:
                total = _wanted_total(order, intent, size, qty)
                price = prices[side]
                moves = price != KEEP and has_moved(grid, order[1], price)
                if (not moves and total == order[2]) or not order[4]:
                    mask[action] = 1
                    continue
                price = price if moves else KEEP
                command = Command(market, order[0], side, price, total, tif, 0, KEEP, 0, 0, 0, 0, 0)
            if not costs[side] and not is_refused:
                mask[action] = _is_taken(as_is, command, takes_orders)
            if mask[action] == 1 or not (rests and held[1 - side][4]):
                continue
            if freed != 1 - side:
                freed = 1 - side
                _try_without(trial, run, market, freed)
            takes_then = any_order_refusal(scratch, market) == _NONE
            mask[action] = _is_taken(trial, command, takes_then)


@inner
def _largest_size(codec):
    largest = 0
    for number in range(codec[SIZES]):
        largest = max(largest, codec[FIRST_SIZE + number])
    return largest


@inner
def _glance(run, market, terms):
    """Return what `glance_refusal` says of a new order, (side, price, size, TimeInForce)."""
    side, price, size, tif = terms
    command = Command(market, 0, side, price, size, tif, 0, NO_TIME, 0, 0, 0, 0, 0)
    return glance_refusal(run, command)


@inner
def _try_without(trial, run, market, side):
    """Let a trial be what the agent sees, its own orders of a side canceled."""
    copy_values(trial.state, run.seen)
    # What this writes goes behind the venue's rows: the agent may know fewer of them.
    trial.state[JOURNAL_BASE] = run.state[JOURNAL_BASE]
    trial.state[JOURNAL_COUNT] = run.state[JOURNAL_COUNT]
    _free(trial, market, side)


@inner
def _is_taken(run, command, takes_orders):
    """Return 1 if the venue takes an amend or, where it takes any new order, this one; else 0."""
    if command.order > 0:
        return 1 if amend_refusal(run, command) == _NONE else 0
    return 1 if takes_orders and order_refusal(run, command) == _NONE else 0


@inner
def _free(run, market, side):
    """Cancel the own orders of a side, as if the requests were at the venue now.

    The rows that this writes lie beyond those of the journal, and are never read.
    """
    state = run.state
    state[FLIGHT_COUNT] = 0
    base = base_of(state, market)
    slot = next_of(state, base, state[base + HEAD_BUY + side], True)
    while slot > 0:
        at = slot_at(state, base, slot)
        slot = next_of(state, base, state[at + NEXT], True)
        cancel_now(run, market, state[at + NUMBER])
