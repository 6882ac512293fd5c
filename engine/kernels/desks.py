"""Which account is in use: its words stand at fixed offsets, those of the others are parked.

All accounts of a run share its book, its orders and its clock; what each has of its own (limits,
money, positions, counters) is one contiguous run of words (`layout`). So kernels name the words of
the account at hand directly, and whoever comes to another one says `use` first. The parked words of
the account in use are zero.
"""

from __future__ import annotations

from ..compiled import entry, inner
from .layout import ACCOUNT, ACCOUNT_END, DESK_WORDS, HEADER_END, MARKETS, PARKED, POSITION_WORDS


@inner
def desk_at(state, market):
    """Return the offset of what the account in use has in a market besides its position."""
    return ACCOUNT_END + POSITION_WORDS * state[MARKETS] + DESK_WORDS * market


@inner
def use(state, account):
    """Put an account to use."""
    if state[ACCOUNT] != account:
        _swap(state, account)


@entry
def swap(state, account):
    """Do what `use` does, for callers outside of kernels."""
    use(state, account)


@inner
def shift_of(state, account):
    """Return by how much the words of an account stand behind those of the one in use."""
    if state[ACCOUNT] == account:
        return 0
    return state[PARKED] + account * _words(state) - HEADER_END


@inner
def _words(state):
    """Return how many words each account has."""
    return ACCOUNT_END - HEADER_END + (POSITION_WORDS + DESK_WORDS) * state[MARKETS]


@inner
def _swap(state, account):
    words = _words(state)
    wanted = state[PARKED] + account * words
    left = state[PARKED] + state[ACCOUNT] * words
    for word in range(words):
        state[left + word] = state[HEADER_END + word]
        state[HEADER_END + word] = state[wanted + word]
        state[wanted + word] = 0
    state[ACCOUNT] = account
