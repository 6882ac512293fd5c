"""Order within subscriptions: duplicates, restarts, holes, and the time before a snapshot.

`seq` counts per subscription over all its markets, control frames included (SPEC 1.8). Time never
overrules it. What is found out here about a message depends on earlier messages only.
"""

from __future__ import annotations

import numpy as np

from foldbook.engine.compiled import compiled

from .frames import Kind
from .messages import NO_SEQ, NO_TS, REFUSED

# Spelt out, because the compiler's cache does not notice a change in another module.
_DELTA, _SNAPSHOT, _LEVEL, _START = 0, 1, 2, 7
_NO_SEQ, _NO_TS, _REFUSED = -1, -1, 1
assert (_DELTA, _SNAPSHOT, _LEVEL, _START) == (Kind.DELTA, Kind.SNAPSHOT, Kind.LEVEL, Kind.START)
assert (_NO_SEQ, _NO_TS, _REFUSED) == (NO_SEQ, NO_TS, REFUSED)
_DUPLICATE, _BREAK = 1, 2
_SEQ, _TS, _WHOLE, _BEGUN = 0, 1, 2, 3
"""Words of a subscription's state."""


class Sequencer:
    """Follows every subscription of one recording.

    whole: whether the recording holds whole subscriptions, so that a hole in seq is a loss. Where
    that is not known, it is so for those whose beginning was recorded.
    """

    def __init__(self, *, whole: bool):
        self._whole = whole
        self._states = np.empty((0, 4), np.int64)
        self._markets: dict[int, set[int]] = {}
        self.duplicates: dict[int, int] = {}
        self.breaks = 0

    def follow(self, messages: np.ndarray, subs: int) -> np.ndarray:
        """Return the messages without duplicates, snapshots timed, and BREAK rows put in.

        subs: how many subscriptions the recording has had so far.
        """
        self._grow(subs)
        actions = np.zeros(len(messages), np.int8)
        follow_rows(messages, self._states, actions)
        self._remember_markets(messages)
        if not actions.any():
            return messages
        places, breaks = [], []
        for at in np.flatnonzero(actions == _BREAK).tolist():
            self.breaks += 1
            for market in sorted(self._markets.get(int(messages["sub"][at]), ())):
                lost = messages[at : at + 1].copy()
                lost["kind"], lost["market"], lost["flags"] = Kind.BREAK, market, 0
                places.append(at)
                breaks.append(lost)
        dropped = (actions == _DUPLICATE) & (messages["kind"] != Kind.LEVEL)
        for market in messages["market"][dropped].tolist():
            self.duplicates[market] = self.duplicates.get(market, 0) + 1
        kept = actions != _DUPLICATE
        if breaks:
            messages = np.insert(messages, places, np.concatenate(breaks))
            kept = np.insert(kept, places, True)
        return messages[kept]

    def _grow(self, subs: int) -> None:
        new = subs - len(self._states)
        if new > 0:
            rows = np.tile(np.array([NO_SEQ, NO_TS, int(self._whole), 0], np.int64), (new, 1))
            self._states = np.concatenate([self._states, rows])

    def _remember_markets(self, messages: np.ndarray) -> None:
        """Note which markets have books in which subscription."""
        of_book = messages["kind"] <= Kind.SNAPSHOT
        pairs = np.unique(messages["sub"][of_book].astype(np.int64) << 32
                          | messages["market"][of_book])
        for pair in pairs.tolist():
            self._markets.setdefault(pair >> 32, set()).add(pair & 0xFFFFFFFF)


@compiled
def follow_rows(messages, states, actions):  # type: ignore[no-untyped-def]
    """Set the action for each message and the ts of each snapshot: that of the event before it.

    messages: MESSAGE_DTYPE. states: int64 [subscription, word]. actions: int8, filled here.
    """
    dropping = False
    for at in range(len(messages)):
        kind = np.int64(messages["kind"][at])
        sub = np.int64(messages["sub"][at])
        if kind == _LEVEL:
            if dropping:
                actions[at] = _DUPLICATE
            continue
        dropping = False
        if sub < 0:
            continue
        if kind == _START:
            if states[sub, _BEGUN]:
                actions[at] = _BREAK
            states[sub, _SEQ] = _NO_SEQ
            states[sub, _TS] = _NO_TS
            states[sub, _WHOLE] = 1
            continue
        seq = messages["seq"][at]
        if seq != _NO_SEQ:
            last = states[sub, _SEQ]
            if last != _NO_SEQ:
                if seq == last:
                    actions[at] = _DUPLICATE
                    dropping = True
                    continue
                if seq < last or (seq > last + 1 and states[sub, _WHOLE]):
                    actions[at] = _BREAK
                    states[sub, _TS] = _NO_TS
            states[sub, _SEQ] = seq
        elif kind > _LEVEL:
            continue
        states[sub, _BEGUN] = 1
        if kind == _SNAPSHOT:
            messages["ts"][at] = states[sub, _TS]
        elif kind == _DELTA and not messages["flags"][at] & _REFUSED:
            states[sub, _TS] = max(states[sub, _TS], messages["ts"][at])


