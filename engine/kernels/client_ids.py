"""Client ids that were accepted: a table with open addressing, never more than half full."""

from __future__ import annotations

from ..compiled import inner
from .layout import CLIENT_COUNT, CLIENT_IDS, CLIENT_SLOTS


@inner
def _place(state, client_id):
    """Return the offset where a client id stands, or would."""
    slots = state[CLIENT_SLOTS]
    slot = (client_id ^ (client_id >> 17)) & (slots - 1)
    while True:
        held = state[state[CLIENT_IDS] + slot]
        if held == client_id or held == 0:
            return state[CLIENT_IDS] + slot
        slot = (slot + 1) & (slots - 1)


@inner
def is_used(state, client_id):
    """Whether an order was accepted with this client id; 0 is none."""
    if client_id == 0 or state[CLIENT_SLOTS] == 0:
        return False
    return state[_place(state, client_id)] == client_id


@inner
def use(state, client_id):
    """Fold the acceptance of an order with a client id."""
    if client_id == 0 or state[CLIENT_SLOTS] == 0:
        return
    state[_place(state, client_id)] = client_id
    state[CLIENT_COUNT] += 1
