"""OrderManager: own orders, by market and side, in order of priority.

Folds what the venue made of orders (accepted, rejected, amended, canceled, expired, fill) and, of
the tape, what moves an order in its queue. Orders live in a fixed number of slots
per market, linked in priority: better rank first, then earlier place. Capacities are checked
before a row is written.
"""

from __future__ import annotations

import numpy as np

from ..compiled import inner
from ..schema import NO_TIME, JournalKind, TapeFlag
from ..specs import QueueModel
from .book import base_of, level_at, rank_of
from .client_ids import use as use_client_id
from .desks import desk_at
from .layout import (
    ACCOUNT,
    AHEAD,
    AHEAD_UNKNOWN,
    CARRY,
    CLIENT,
    CURSOR,
    DUE_EXPIRY,
    EXPIRES,
    FLAGS,
    FREE,
    GROUP,
    GUESSED,
    HEAD_BUY,
    HELD,
    JOINED_AT,
    LEFT,
    MARKETS,
    NEXT,
    NUMBER,
    OPEN_ORDERS,
    ORDER_WORDS,
    ORDERS,
    OWN,
    OWN_BUY,
    OWNER,
    QTY,
    QUEUE_EXPONENT,
    QUEUE_MODEL,
    RANK,
    SIDE,
    TICK,
    TIF,
    TOTAL,
)
from .queue_models import moved_in_front

_SUBMITTED = int(JournalKind.SUBMITTED)
_ACCEPTED = int(JournalKind.ACCEPTED)
_REJECTED = int(JournalKind.REJECTED)
_AMENDED = int(JournalKind.AMENDED)
_CANCELED = int(JournalKind.CANCELED)
_EXPIRED = int(JournalKind.EXPIRED)
_FILL = int(JournalKind.FILL)
_CONSERVATIVE = int(QueueModel.CONSERVATIVE)
_REBUILT = int(QueueModel.REBUILT)
_USER = int(QueueModel.USER)
_IS_GUESSED = int(TapeFlag.GUESSED)


@inner
def slot_at(state, base, slot):
    """Return the offset of an order slot's words."""
    return state[base + ORDERS] + ORDER_WORDS * slot


@inner
def find(state, base, number):
    """Return the slot of an open order of the account in use; 0 if it is not open."""
    for side in range(2):
        slot = state[base + HEAD_BUY + side]
        while slot > 0:
            at = slot_at(state, base, slot)
            if state[at + NUMBER] == number:
                return slot if state[at + OWNER] == state[ACCOUNT] else 0
            slot = state[at + NEXT]
    return 0


@inner
def next_of(state, base, slot, is_own):
    """Return the first slot, from `slot` on in priority, with an order of the account in use
    (`is_own`) or of another one; 0 if there is none."""
    while slot > 0:
        at = slot_at(state, base, slot)
        if (state[at + OWNER] == state[ACCOUNT]) == is_own:
            return slot
        slot = state[at + NEXT]
    return 0


@inner
def apply_order(state, base, row):
    """Fold one order row of the journal."""
    kind = row["kind"]
    held = desk_at(state, np.int64(row["market"])) + HELD
    if kind == _REJECTED:
        state[held] -= 1
    elif kind == _ACCEPTED:
        _insert_new(state, base, row)
    elif kind == _AMENDED:
        _amend(state, base, row)
    elif kind == _FILL:
        slot = find(state, base, row["order"])
        left = row["left"]
        state[slot_at(state, base, slot) + LEFT] = left
        state[slot_at(state, base, slot) + CARRY] = row["carry"]
        if left == 0:
            _remove(state, base, slot)
            state[held] -= 1
    elif kind == _CANCELED or kind == _EXPIRED:
        _remove(state, base, find(state, base, row["order"]))
        state[held] -= 1


@inner
def _insert_new(state, base, row):
    slot = state[base + FREE]
    at = slot_at(state, base, slot)
    state[base + FREE] = state[at + NEXT]
    side = row["side"]
    state[at + NUMBER] = row["order"]
    state[at + SIDE] = side
    state[at + RANK] = rank_of(state, base, side, row["price"])
    state[at + TOTAL] = row["qty"]
    state[at + LEFT] = row["left"]
    state[at + AHEAD] = row["ahead"]
    state[at + EXPIRES] = row["expires"]
    state[at + CLIENT] = row["client_id"]
    state[at + TIF] = row["tif"]
    state[at + FLAGS] = row["flags"]
    state[at + GROUP] = row["group"]
    state[at + OWNER] = state[ACCOUNT]
    state[OPEN_ORDERS] += 1
    use_client_id(state, row["client_id"])
    _link(state, base, slot)
    state[DUE_EXPIRY] = min(state[DUE_EXPIRY], row["expires"])


@inner
def keeps_place(state, at, rank, total):
    """Whether an amend to this rank and total keeps the order's place in the queue (SPEC 3.3)."""
    return rank == state[at + RANK] and total <= state[at + TOTAL]


@inner
def _amend(state, base, row):
    slot = find(state, base, row["order"])
    at = slot_at(state, base, slot)
    rank = rank_of(state, base, row["side"], row["price"])
    keeps = keeps_place(state, at, rank, row["qty"])
    state[at + TOTAL] = row["qty"]
    state[at + LEFT] = row["left"]
    state[at + AHEAD] = row["ahead"]
    if not keeps:
        state[at + GUESSED] = 0
        _unlink(state, base, slot)
        state[at + RANK] = rank
        _link(state, base, slot)
    expires = state[at + EXPIRES]
    state[at + EXPIRES] = row["expires"]
    _set_due(state, expires)
    state[DUE_EXPIRY] = min(state[DUE_EXPIRY], row["expires"])


@inner
def _link(state, base, slot):
    at = slot_at(state, base, slot)
    side = state[at + SIDE]
    rank = state[at + RANK]
    state[level_at(state, base, side, rank) + OWN] += 1
    previous = 0
    following = state[base + HEAD_BUY + side]
    while following > 0 and state[slot_at(state, base, following) + RANK] >= rank:
        previous = following
        following = state[slot_at(state, base, following) + NEXT]
    state[at + NEXT] = following
    if previous > 0:
        state[slot_at(state, base, previous) + NEXT] = slot
    else:
        state[base + HEAD_BUY + side] = slot
        state[base + OWN_BUY + side] = rank


@inner
def _unlink(state, base, slot):
    at = slot_at(state, base, slot)
    side = state[at + SIDE]
    state[level_at(state, base, side, state[at + RANK]) + OWN] -= 1
    following = state[at + NEXT]
    head = state[base + HEAD_BUY + side]
    if head == slot:
        state[base + HEAD_BUY + side] = following
        state[base + OWN_BUY + side] = (
            state[slot_at(state, base, following) + RANK] if following > 0 else 0
        )
        return
    while state[slot_at(state, base, head) + NEXT] != slot:
        head = state[slot_at(state, base, head) + NEXT]
    state[slot_at(state, base, head) + NEXT] = following


@inner
def _remove(state, base, slot):
    _unlink(state, base, slot)
    at = slot_at(state, base, slot)
    expires = state[at + EXPIRES]
    for word in range(ORDER_WORDS):
        state[at + word] = 0
    state[at + NEXT] = state[base + FREE]
    state[base + FREE] = slot
    state[OPEN_ORDERS] -= 1
    _set_due(state, expires)


@inner
def _set_due(state, gone):
    """Find the earliest expiry again, if the one that is `gone` was it."""
    if gone == state[DUE_EXPIRY] and gone != NO_TIME:
        state[DUE_EXPIRY] = _earliest_expiry(state)


@inner
def _earliest_expiry(state):
    due = NO_TIME
    for market in range(state[MARKETS]):
        base = base_of(state, market)
        for side in range(2):
            slot = state[base + HEAD_BUY + side]
            while slot > 0:
                at = slot_at(state, base, slot)
                due = min(due, state[at + EXPIRES])
                slot = state[at + NEXT]
    return due


@inner
def traded(state, base, side, rank, qty):
    """Fold a trade of the tape: what stood in front of own orders at its level went first."""
    slot = state[base + HEAD_BUY + side]
    while slot > 0:
        at = slot_at(state, base, slot)
        if state[at + RANK] == rank:
            state[at + AHEAD] = max(0, state[at + AHEAD] - qty)
        slot = state[at + NEXT]


@inner
def move_up(state, base, side, rank, qty):
    """Fold what the account in use took of a level: the orders of others there stand nearer."""
    slot = state[base + HEAD_BUY + side]
    while slot > 0:
        at = slot_at(state, base, slot)
        if state[at + RANK] == rank and state[at + OWNER] != state[ACCOUNT]:
            state[at + AHEAD] = max(0, state[at + AHEAD] - qty)
        slot = state[at + NEXT]


@inner
def decreased(state, base, side, rank, before, row, model):
    """Fold a decrease of the tape at a level of `before`: part of it stood before own orders."""
    qty = row["qty"]
    after = before - qty
    row_ahead = np.int64(row["ahead"])
    flags = np.int64(row["flags"])
    kind = state[QUEUE_MODEL]
    if state[JOINED_AT] == state[CURSOR] - 1:
        kind = _CONSERVATIVE
    slot = state[base + HEAD_BUY + side]
    while slot > 0:
        at = slot_at(state, base, slot)
        slot = state[at + NEXT]
        if state[at + RANK] != rank:
            continue
        known = min(state[at + AHEAD], after)
        front = min(state[at + AHEAD], before)
        if kind == _CONSERVATIVE:
            moved = 0
        elif kind == _USER:
            moved = _moved_by(model, (front, before, qty, row_ahead, flags))
        else:
            moved = moved_in_front(kind, state[QUEUE_EXPONENT], front, before, qty, row_ahead)
        state[at + AHEAD] = min(front - moved, after)
        if kind != _REBUILT or flags & _IS_GUESSED:
            state[at + GUESSED] += known - state[at + AHEAD]


@inner
def _moved_by(model, decrease):
    """Ask a user's own queue model; None where there is none."""
    if model is None:
        return 0
    front, before, qty, row_ahead, flags = decrease
    return front - min(max(model(front, before, qty, row_ahead, flags), 0), front)


@inner
def lose_places(state, base):
    """Fold a gap of the tape: nobody knows any more what stands ahead."""
    for side in range(2):
        slot = state[base + HEAD_BUY + side]
        while slot > 0:
            at = slot_at(state, base, slot)
            state[at + AHEAD] = AHEAD_UNKNOWN
            state[at + GUESSED] = 0
            slot = state[at + NEXT]


@inner
def clip_places(state, base):
    """Fold the end of a snapshot of the tape: at most the displayed level stands ahead."""
    for side in range(2):
        slot = state[base + HEAD_BUY + side]
        while slot > 0:
            at = slot_at(state, base, slot)
            level = level_at(state, base, side, state[at + RANK])
            state[at + AHEAD] = min(state[at + AHEAD], state[level + QTY])
            slot = state[at + NEXT]


@inner
def required(state, base, position, skip, instead):
    """Return the collateral of the open orders of the account in use in a market, $0.000001.

    As if the position were `position`, and the order in slot `skip` (0 for none) were replaced by
    `instead`: (side, rank, left). Best orders close the opposite position first, which costs
    nothing; the rest reserves its price (SPEC 6.4). Orders of one rank cost the same, so their
    place does not matter.
    """
    side, rank, left = instead
    total = 0
    for of_side in range(2):
        capacity = max(0, -position) if of_side == 0 else max(0, position)
        waiting = left if of_side == side else 0
        slot = state[base + HEAD_BUY + of_side]
        while slot > 0 or waiting > 0:
            at = slot_at(state, base, slot)
            if slot > 0 and (waiting == 0 or state[at + RANK] > rank):
                of_rank = state[at + RANK]
                counts = slot != skip and state[at + OWNER] == state[ACCOUNT]
                qty = state[at + LEFT] if counts else 0
                slot = state[at + NEXT]
            else:
                of_rank = rank
                qty = waiting
                waiting = 0
            closing = min(capacity, qty)
            capacity -= closing
            total += (qty - closing) * of_rank * state[base + TICK]
    return total
