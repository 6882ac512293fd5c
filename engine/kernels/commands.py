"""Commands: how a request is sent, travels, and is carried out when it reaches the venue.

A request row is written when the command is sent. Without latency it is carried out at once;
otherwise it is in flight until it is due (docs/semantics.md, sections 3 and 10).
"""

from __future__ import annotations

from ..compiled import entry, inner, small
from ..schema import NO_MARKET, CauseKind, JournalKind, OrderFlag, Reason
from . import delays
from .book import base_of, rank_of, visible_at
from .desks import desk_at, use
from .fills import end_order, reserved_change
from .flights import next_arrival, take_off
from .journal import describe, draft, publish
from .layout import (
    AHEAD,
    ARRIVES,
    BATCH,
    BATCH_BEGUN,
    DIRTY,
    DUE,
    DUE_ARRIVAL,
    DUE_EXPIRY,
    ERROR,
    ERROR_BUFFER,
    ERROR_FLIGHTS,
    ERROR_MARKET,
    ERROR_NONE,
    ERROR_ORDER,
    ERROR_SLOTS,
    FLIGHT_CAPACITY,
    FLIGHT_COUNT,
    HELD,
    JOURNAL_BASE,
    JOURNAL_COUNT,
    LEFT,
    MARKETS,
    NOW,
    NUMBERS,
    OF_ACCOUNT,
    OF_CLIENT,
    OF_EXPIRES,
    OF_FLAGS,
    OF_GROUP,
    OF_MARKET,
    OF_ORDER,
    OF_PRICE,
    OF_QTY,
    OF_SIDE,
    OF_TIF,
    ORDER_CAPACITY,
    RANK,
    REQUEST,
    REQUEST_ROW,
    SEED,
    SIDE,
    SIGHT,
    SLACK,
    TOTAL,
)
from .matching import check_groups, expire_first, restore_first
from .orders import find, keeps_place, slot_at
from .refusals import (
    Command,
    amend_refusal,
    amended_terms,
    cancel_refusal,
    decrease_refusal,
    submit_refusal,
)
from .reward import revalue
from .walks import walk

_SUBMITTED = int(JournalKind.SUBMITTED)
_ACCEPTED = int(JournalKind.ACCEPTED)
_REJECTED = int(JournalKind.REJECTED)
_AMEND_REQUESTED = int(JournalKind.AMEND_REQUESTED)
_AMENDED = int(JournalKind.AMENDED)
_AMEND_REJECTED = int(JournalKind.AMEND_REJECTED)
_CANCEL_REQUESTED = int(JournalKind.CANCEL_REQUESTED)
_CANCEL_REJECTED = int(JournalKind.CANCEL_REJECTED)
_DECREASE_REQUESTED = int(JournalKind.DECREASE_REQUESTED)
_GROUP_SET = int(JournalKind.GROUP_SET)
_KILL_SET = int(JournalKind.KILL_SET)
_NONE = int(Reason.NONE)
_USER = int(Reason.USER)
_AMENDED_TO_FILLED = int(Reason.AMENDED_TO_FILLED)
_REDUCE_TO = int(OrderFlag.REDUCE_TO)
_CAUSE_START = int(CauseKind.START)
_CAUSE_JOURNAL = int(CauseKind.JOURNAL)


@small
def is_sendable(run, market, order):
    """Whether a command for an order (0: a new one) can be sent at all; else note the error."""
    state = run.state
    if not can_send(run, market, state[SLACK]):
        return False
    if order == 0 and state[desk_at(state, market) + HELD] == state[ORDER_CAPACITY]:
        state[ERROR] = ERROR_SLOTS
    elif order < 0 or order > state[base_of(state, market) + NUMBERS]:
        state[ERROR] = ERROR_ORDER
    return state[ERROR] == ERROR_NONE


@small
def can_send(run, market, rows):
    """Whether anything can be sent that writes up to so many journal rows; else note the error."""
    state = run.state
    if market < 0 or market >= state[MARKETS]:
        state[ERROR] = ERROR_MARKET
        return False
    room = len(run.rows) - (state[JOURNAL_COUNT] - state[JOURNAL_BASE])
    if state[ERROR] != ERROR_NONE:
        return False
    if room < rows:
        state[ERROR] = ERROR_BUFFER
    elif 0 < state[FLIGHT_CAPACITY] == run.seen[FLIGHT_COUNT]:
        state[ERROR] = ERROR_FLIGHTS
    return state[ERROR] == ERROR_NONE


@inner
def submit(run, command):
    """Submit an order; return its number within the market."""
    number = run.state[base_of(run.state, command.market) + NUMBERS] + 1
    row = _draft_new(run, command, number, _SUBMITTED, _reason_of(command))
    is_there, cause = _send(run, row, delays.ORDER)
    if is_there:
        _carry_out_submit(run, command, number, cause)
    return number


@inner
def amend(run, command):
    """Amend an order to a new price, total or expiry; return its number."""
    row = _draft_request(run, command, _AMEND_REQUESTED, _reason_of(command))
    row["price"] = command.price
    row["qty"] = command.qty
    row["expires"] = command.expires
    is_there, cause = _send(run, row, delays.AMEND)
    if is_there:
        _carry_out_amend(run, command, cause)
    return command.order


@inner
def decrease(run, command):
    """Take some quantity from an order, or all but some; return its number."""
    row = _draft_request(run, command, _DECREASE_REQUESTED, _reason_of(command))
    row["qty"] = command.qty
    row["flags"] = row["flags"] | (command.flags & _REDUCE_TO)
    is_there, cause = _send(run, row, delays.AMEND)
    if is_there:
        _carry_out_decrease(run, command, cause)
    return command.order


@inner
def cancel(run, command):
    """Cancel an order; return its number."""
    row = _draft_request(run, command, _CANCEL_REQUESTED, _reason_of(command))
    is_there, cause = _send(run, row, delays.CANCEL)
    if is_there:
        _carry_out_cancel(run, command, cause)
    return command.order


@entry
def set_group(run, group, limit, cause):
    """Create an order group, or reset it."""
    row = draft(run, NO_MARKET, _GROUP_SET, cause)
    row["group"] = group
    row["qty"] = limit
    publish(run)


@entry
def set_kill(run, on, cause):
    """Turn the kill switch on (1) or off (0)."""
    row = draft(run, NO_MARKET, _KILL_SET, cause)
    row["qty"] = on
    publish(run)


@inner
def _reason_of(command):
    return (command.cause_kind, command.cause_market, command.cause_row)


@inner
def _send(run, row, which):
    """Publish a drafted request with its arrival; return whether that is now, and it as a cause.

    The agent knows at once what it has sent, and sees it in flight until it knows the answer.
    """
    state = run.state
    number = state[JOURNAL_COUNT]
    if state[BATCH] == BATCH_BEGUN:
        state[BATCH] = number + 1
    elif state[BATCH] > 0:
        number = state[BATCH] - 1
    lag = delays.delay(run.tables, state[SEED], which, number, state[NOW])
    row["arrives"] = state[ARRIVES] if state[ARRIVES] > 0 else state[NOW] + lag
    cause = publish(run)
    if run.seen[SIGHT] != 0:
        take_off(run.seen, row)
    return row["arrives"] <= state[NOW], cause


@entry
def next_due(run):
    """Let happen what is due first: an expiry, else an arrival, else a restoration."""
    state = run.state
    due = state[DUE]
    state[NOW] = max(state[NOW], due)
    if state[DUE_EXPIRY] == due:
        expire_first(run)
    elif state[DUE_ARRIVAL] == due:
        _arrive(run)
    else:
        market = restore_first(run)
        revalue(state, run.tables, base_of(state, market), market)


@inner
def _arrive(run):
    """Carry out the command that arrives first."""
    state = run.state
    at = next_arrival(state)
    use(state, state[at + OF_ACCOUNT])
    market = state[at + OF_MARKET]
    order = state[at + OF_ORDER]
    request = state[at + REQUEST]
    cause = (_CAUSE_JOURNAL, market, state[at + REQUEST_ROW])
    command = Command(
        market,
        order,
        state[at + OF_SIDE],
        state[at + OF_PRICE],
        state[at + OF_QTY],
        state[at + OF_TIF],
        state[at + OF_FLAGS],
        state[at + OF_EXPIRES],
        state[at + OF_CLIENT],
        state[at + OF_GROUP],
        cause[0],
        cause[1],
        cause[2],
    )
    if request == _SUBMITTED:
        _carry_out_submit(run, command, order, cause)
    elif request == _AMEND_REQUESTED:
        _carry_out_amend(run, command, cause)
    elif request == _DECREASE_REQUESTED:
        _carry_out_decrease(run, command, cause)
    else:
        _carry_out_cancel(run, command, cause)


@inner
def _carry_out_submit(run, command, number, cause):
    state = run.state
    market = command.market
    base = base_of(state, market)
    reason = submit_refusal(run, command)
    if reason != _NONE:
        row = _draft_new(run, command, number, _REJECTED, cause)
        row["reason"] = reason
        publish(run)
        return
    row = _draft_new(run, command, number, _ACCEPTED, cause)
    rank = rank_of(state, base, command.side, command.price)
    row["left"] = command.qty
    row["ahead"] = visible_at(state, base, command.side, rank)
    row["reserved"] = reserved_change(state, market, 0, 0, (command.side, rank, command.qty))
    cause = publish(run)
    walk(run, market, find(state, base, number), cause)
    _end_command(run, base, market)


@inner
def _end_command(run, base, market):
    check_groups(run)
    if run.state[DIRTY] != 0:
        revalue(run.state, run.tables, base, market)


@inner
def _draft_new(run, command, number, kind, cause):
    row = draft(run, command.market, kind, cause)
    row["order"] = number
    row["side"] = command.side
    row["price"] = command.price
    row["qty"] = command.qty
    row["tif"] = command.tif
    row["flags"] = command.flags
    row["expires"] = command.expires
    row["client_id"] = command.client_id
    row["group"] = command.group
    return row


@inner
def _draft_request(run, command, kind, cause):
    state = run.state
    base = base_of(state, command.market)
    row = draft(run, command.market, kind, cause)
    row["order"] = command.order
    slot = find(state, base, command.order)
    if slot > 0:
        describe(row, state, base, slot)
    return row


@inner
def _carry_out_cancel(run, command, cause):
    state = run.state
    base = base_of(state, command.market)
    slot = find(state, base, command.order)
    reason = cancel_refusal(state, base, slot)
    if reason == _NONE:
        end_order(run, command.market, slot, _USER, cause)
        return
    row = _draft_request(run, command, _CANCEL_REJECTED, cause)
    row["reason"] = reason
    publish(run)


@inner
def cancel_now(run, market, order):
    """Cancel an order as a command that arrives now would, if the venue would; no request is
    written."""
    state = run.state
    base = base_of(state, market)
    slot = find(state, base, order)
    if cancel_refusal(state, base, slot) == _NONE:
        end_order(run, market, slot, _USER, (_CAUSE_START, NO_MARKET, 0))


@inner
def _carry_out_decrease(run, command, cause):
    state = run.state
    market = command.market
    base = base_of(state, market)
    reason = decrease_refusal(state, command)
    if reason != _NONE:
        row = _draft_request(run, command, _AMEND_REJECTED, cause)
        row["qty"] = command.qty
        row["reason"] = reason
        publish(run)
        return
    slot = find(state, base, command.order)
    at = slot_at(state, base, slot)
    left = command.qty
    if command.flags & _REDUCE_TO == 0:
        left = state[at + LEFT] - command.qty
    if left == 0:
        end_order(run, market, slot, _AMENDED_TO_FILLED, cause)
        return
    row = _draft_request(run, command, _AMENDED, cause)
    row["qty"] = state[at + TOTAL] - state[at + LEFT] + left
    row["left"] = left
    row["ahead"] = state[at + AHEAD]
    instead = (state[at + SIDE], state[at + RANK], left)
    row["reserved"] = reserved_change(state, market, 0, slot, instead)
    publish(run)


@inner
def _carry_out_amend(run, command, cause):
    state = run.state
    market = command.market
    base = base_of(state, market)
    reason = amend_refusal(run, command)
    if reason != _NONE:
        row = _draft_request(run, command, _AMEND_REJECTED, cause)
        row["price"] = command.price
        row["qty"] = command.qty
        row["expires"] = command.expires
        row["reason"] = reason
        publish(run)
        return
    slot = find(state, base, command.order)
    at = slot_at(state, base, slot)
    side = state[at + SIDE]
    price, total, expires = amended_terms(state, base, at, command)
    left = total - state[at + TOTAL] + state[at + LEFT]
    if left == 0:
        end_order(run, market, slot, _AMENDED_TO_FILLED, cause)
        return
    rank = rank_of(state, base, side, price)
    row = _draft_request(run, command, _AMENDED, cause)
    row["price"] = price
    row["qty"] = total
    row["left"] = left
    row["expires"] = expires
    if keeps_place(state, at, rank, total):
        row["ahead"] = state[at + AHEAD]
    else:
        row["ahead"] = visible_at(state, base, side, rank)
    row["reserved"] = reserved_change(state, market, 0, slot, (side, rank, left))
    walk(run, market, slot, publish(run))
    _end_command(run, base, market)
