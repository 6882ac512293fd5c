"""Order groups: a limit on what their orders match within a rolling window (SPEC 3.4).

Folds GROUP_SET, GROUP_TRIGGERED and the fills of grouped orders. Group numbers count from 1.
"""

from __future__ import annotations

from ..compiled import inner
from ..schema import JournalKind
from ..units import SECOND
from .layout import (
    ENTRIES,
    GROUP_CAPACITY,
    GROUP_WORDS,
    GROUPS,
    GROUPS_SET,
    LAST_MARKET,
    LAST_ROW,
    TRIGGERED,
    WINDOW,
    WINDOW_ENTRIES,
    WINDOW_LIMIT,
)

WINDOW_NS = 15 * SECOND
_GROUP_SET = int(JournalKind.GROUP_SET)


@inner
def group_at(state, group):
    """Return the offset of a group's words."""
    return state[GROUPS] + GROUP_WORDS * group


@inner
def is_group(state, group):
    """Whether a group was set."""
    return 0 < group <= state[GROUP_CAPACITY] and state[group_at(state, group) + WINDOW_LIMIT] > 0


@inner
def apply_group(state, row):
    """Fold a row about a group as a whole."""
    at = group_at(state, row["group"])
    if row["kind"] != _GROUP_SET:
        state[at + TRIGGERED] = 1
        return
    if state[at + WINDOW_LIMIT] == 0:
        state[GROUPS_SET] += 1
    for word in range(at, at + GROUP_WORDS):
        state[word] = 0
    state[at + WINDOW_LIMIT] = row["qty"]


@inner
def apply_grouped_fill(state, row):
    """Fold the fill of a grouped order into the window of its group."""
    at = group_at(state, row["group"])
    state[at + LAST_MARKET] = row["market"]
    state[at + LAST_ROW] = row["row"]
    first = at + WINDOW
    count = state[at + ENTRIES]
    gone = 0
    while gone < count and state[first + 2 * gone] <= row["ts"] - WINDOW_NS:
        gone += 1
    if gone > 0:
        _drop(state, first, count, gone)
        count -= gone
    if count > 0 and state[first + 2 * count - 2] == row["ts"]:
        state[first + 2 * count - 1] += row["qty"]
    else:
        if count == WINDOW_ENTRIES:
            state[first + 3] += state[first + 1]
            _drop(state, first, count, 1)
            count -= 1
        state[first + 2 * count] = row["ts"]
        state[first + 2 * count + 1] = row["qty"]
        count += 1
    state[at + ENTRIES] = count


@inner
def _drop(state, first, count, gone):
    for word in range(2 * (count - gone)):
        state[first + word] = state[first + word + 2 * gone]
    for word in range(2 * (count - gone), 2 * count):
        state[first + word] = 0


@inner
def matched_in_window(state, group, now):
    """Return what the orders of a group matched within the window that ends `now`."""
    at = group_at(state, group)
    total = 0
    for entry in range(state[at + ENTRIES]):
        if state[at + WINDOW + 2 * entry] > now - WINDOW_NS:
            total += state[at + WINDOW + 2 * entry + 1]
    return total
