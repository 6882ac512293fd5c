"""The mark of each moment of a tape: twice the mid, as the recorded book alone decides it."""

from __future__ import annotations

from ..compiled import entry
from ..schema import NO_TIME
from .book import base_of
from .layout import CURSOR, MID2
from .loop import play_tape


@entry
def fill_marks(run, tape, marks):
    """Write the mark of its market at the end of its burst beside each row of a tape.

    run: of a state before the first event, with nothing of an agent's in it. marks: int64.
    """
    state = run.state
    first = 0
    while first < len(tape):
        play_tape(run, tape, NO_TIME, first + 1, 0, None, None)
        stop = state[CURSOR]
        mark = state[base_of(state, tape[first]["market"]) + MID2]
        for i in range(first, stop):
            marks[i] = mark
        first = stop
