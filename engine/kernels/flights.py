"""Commands in flight: sent, and not yet at the venue. Folds requests and their answers.

They stand in the order of sending, so that of several which arrive at once the first goes first.
"""

from __future__ import annotations

from ..compiled import inner
from ..schema import NO_TIME, JournalKind
from .layout import (
    ACCOUNT,
    ARRIVAL,
    DUE_ARRIVAL,
    FLIGHT_COUNT,
    FLIGHT_WORDS,
    FLIGHTS,
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
    REQUEST,
    REQUEST_ROW,
)

_SUBMITTED = int(JournalKind.SUBMITTED)


@inner
def take_off(state, row):
    """Fold a request that will arrive, or be answered, later; the agent knows its own at once."""
    if _find(state, row["market"], row["row"]) > 0:
        return
    at = state[FLIGHTS] + FLIGHT_WORDS * state[FLIGHT_COUNT]
    state[FLIGHT_COUNT] += 1
    state[at + ARRIVAL] = row["arrives"]
    state[at + REQUEST] = row["kind"]
    state[at + REQUEST_ROW] = row["row"]
    state[at + OF_MARKET] = row["market"]
    state[at + OF_ORDER] = row["order"]
    state[at + OF_SIDE] = row["side"]
    state[at + OF_PRICE] = row["price"]
    state[at + OF_QTY] = row["qty"]
    state[at + OF_TIF] = row["tif"]
    state[at + OF_FLAGS] = row["flags"]
    state[at + OF_EXPIRES] = row["expires"]
    state[at + OF_CLIENT] = row["client_id"]
    state[at + OF_GROUP] = row["group"]
    state[at + OF_ACCOUNT] = row["account"]
    state[DUE_ARRIVAL] = min(state[DUE_ARRIVAL], row["arrives"])


@inner
def _find(state, market, request_row):
    """Return the offset of a request in flight; 0 if it is not."""
    at = state[FLIGHTS]
    end = at + FLIGHT_WORDS * state[FLIGHT_COUNT]
    while at < end:
        if state[at + REQUEST_ROW] == request_row and state[at + OF_MARKET] == market:
            return at
        at += FLIGHT_WORDS
    return 0


@inner
def land(state, market, request_row):
    """Fold the answer to a request: if it was in flight, it is no more."""
    at = _find(state, market, request_row)
    if at == 0:
        return
    first = state[FLIGHTS]
    end = first + FLIGHT_WORDS * state[FLIGHT_COUNT]
    for word in range(at, end - FLIGHT_WORDS):
        state[word] = state[word + FLIGHT_WORDS]
    for word in range(end - FLIGHT_WORDS, end):
        state[word] = 0
    state[FLIGHT_COUNT] -= 1
    due = NO_TIME
    for at in range(first, end - FLIGHT_WORDS, FLIGHT_WORDS):
        due = min(due, state[at + ARRIVAL])
    state[DUE_ARRIVAL] = due


@inner
def next_arrival(state):
    """Return the offset of the flight that arrives first; of several, the one sent first."""
    at = state[FLIGHTS]
    while state[at + ARRIVAL] != state[DUE_ARRIVAL]:
        at += FLIGHT_WORDS
    return at


@inner
def next_submitted(state, market, side, at):
    """Return the offset of the next new order in flight behind offset `at` (0: the first) of a side
    of a market, of the account in use; 0 if there is none."""
    end = state[FLIGHTS] + FLIGHT_WORDS * state[FLIGHT_COUNT]
    at = state[FLIGHTS] if at == 0 else at + FLIGHT_WORDS
    while at < end:
        is_new = state[at + REQUEST] == _SUBMITTED and state[at + OF_ACCOUNT] == state[ACCOUNT]
        if is_new and state[at + OF_MARKET] == market and state[at + OF_SIDE] == side:
            return at
        at += FLIGHT_WORDS
    return 0


@inner
def client_ids_in_flight(state):
    """Return how many requests of the account in use that bring an id of its own are in flight."""
    count = 0
    end = state[FLIGHTS] + FLIGHT_WORDS * state[FLIGHT_COUNT]
    for at in range(state[FLIGHTS], end, FLIGHT_WORDS):
        if state[at + OF_CLIENT] != 0 and state[at + OF_ACCOUNT] == state[ACCOUNT]:
            count += 1
    return count
