"""What kernels do below Python: the same as plain integers and arrays say."""

from __future__ import annotations

import numpy as np
import pytest
from processes import interpreted

from foldbook.engine import intrinsics
from foldbook.engine.compiled import INT, JOURNAL_ROWS, WORDS, compiled, types
from foldbook.engine.intrinsics import Held, holding
from foldbook.engine.schema import JOURNAL_DTYPE

ROW_WORDS = JOURNAL_DTYPE.itemsize // 8
EDGES = (0, 1, -1, 2**31, 2**62, -(2**63), 2**63 - 1)
PAIR = types.Tuple([WORDS, INT])
_pair = holding(PAIR)


@compiled
def mix(lane, word):
    return intrinsics.mixed(lane, word)


@compiled
def words(rows, number):
    total = 0
    for place in range(ROW_WORDS):
        total = intrinsics.mixed(total, intrinsics.word(rows, number, place))
    return total


@compiled
def add_to_first(held):
    numbers, more = _pair(held)
    numbers[0] += more
    return numbers[0]


def by_hand(lane: int, word: int) -> int:
    """Return what `mixed` must: exclusive or, times a number, halves folded: 64 bits."""
    product = ((lane ^ word) * 0x9E3779B97F4A7C15) % 2**64
    product ^= product >> 32
    return product - 2**64 if product >= 2**63 else product


def random_rows(count: int) -> np.ndarray:
    raw = np.random.default_rng(5).integers(0, 256, count * JOURNAL_DTYPE.itemsize, np.uint8)
    return raw.view(JOURNAL_DTYPE)


def answers() -> list[int]:
    """Return what the functions say of numbers at the edges of int64, and of random rows."""
    rows = random_rows(4)
    return [mix(a, b) for a in EDGES for b in EDGES] + [words(rows, k) for k in range(4)]


def test_mixing_wraps_around_as_64_bits_do():
    """Numbers worked out with Python's own, which never overflow."""
    for lane in EDGES:
        for word in EDGES:
            assert mix(lane, word) == by_hand(lane, word)


def test_the_words_of_a_row_are_its_bytes():
    """Each word is eight bytes of the row, in the order of the machine."""
    rows = random_rows(4)
    for number in range(4):
        expected = 0
        for place in rows[number : number + 1].view(np.int64).tolist():
            expected = by_hand(expected, place)
        assert words(rows, number) == expected


def test_held_arguments_are_those_that_were_given():
    """A kernel reads and writes the array itself, for as long as it is held."""
    numbers = np.array([4, 7])
    held = Held(PAIR, (numbers, 30))
    assert add_to_first(held.address) == 34 and add_to_first(held.address) == 64
    assert numbers.tolist() == [64, 7]
    other = Held(PAIR, (np.array([1, 2]), 1))
    assert add_to_first(other.address) == 2 and add_to_first(held.address) == 94


@pytest.mark.skipif(intrinsics.JIT_DISABLED, reason="without a compiler nothing has a type")
def test_held_arguments_of_another_type_are_refused():
    """What a kernel would take for something else is never laid down."""
    for values in ((np.zeros(2), 1), (np.zeros((2, 2), np.int64), 1), (np.zeros(2, np.int64), 1.0)):
        with pytest.raises(TypeError, match="held"):
            Held(PAIR, values)
    with pytest.raises(TypeError, match="held"):
        Held(types.Tuple([JOURNAL_ROWS, INT]), (np.zeros(2, np.int64), 1))


def test_interpreted_functions_are_the_compiled_ones():
    """The plain Python beside each instruction says the same."""
    assert interpreted(__file__) == [str(each) for each in answers()]


if __name__ == "__main__":
    for each in answers():
        print(each)
