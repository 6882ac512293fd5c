"""What users bring compiled: projections that fold events, and strategies that run in the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .compiled import JOURNAL_ROWS, TAPE_ROWS, WORDS, compiled, prepare, types
from .kernels.programs import TAPE_SOURCE


class CompiledProjection:
    """State that is a pure function of events, folded by numba-compatible functions.

    name: how results call it. fields: names of its int64 words, or their number.
    on_tape(words, rows, i) folds row i of the tape, on_journal(words, rows, i) row i of a stretch
    of the journal (TAPE_DTYPE and JOURNAL_DTYPE); either may be left out. Both must be plain
    functions (they are compiled here) that read no row after i (the rest of the tape is the
    future) and write to nothing but `words`, int64 of the declared
    length, zero at the start. Raises StrategyError if one is not numba-compatible.
    """

    __slots__ = ("fields", "fold", "name", "words")

    def __init__(
        self,
        name: str,
        fields: Sequence[str] | int,
        *,
        on_tape: Callable[[np.ndarray, np.ndarray, int], Any] | None = None,
        on_journal: Callable[[np.ndarray, np.ndarray, int], Any] | None = None,
    ):
        self.name = name
        self.fields = tuple(fields) if not isinstance(fields, int) else ()
        self.words = fields if isinstance(fields, int) else len(self.fields)
        fold_tape, fold_journal = compiled(on_tape or _ignore), compiled(on_journal or _ignore)
        prepare(fold_tape, WORDS, TAPE_ROWS, types.int64)
        prepare(fold_journal, WORDS, JOURNAL_ROWS, types.int64)
        self.fold = _folding(fold_tape, fold_journal)


def _ignore(words: np.ndarray, rows: np.ndarray, i: int) -> None:
    """Fold nothing."""


def _folding(
    fold_tape: Callable[..., None], fold_journal: Callable[..., None]
) -> Callable[..., None]:
    @compiled
    def fold(words, tape, rows, source, i):  # type: ignore[no-untyped-def]
        if source == TAPE_SOURCE:
            fold_tape(words, tape, i)
        else:
            fold_journal(words, rows, i)

    return fold


class CompiledStrategy:
    """A strategy that runs inside the fused loop: decide(sim, words).

    sim is asked and told by the functions of `foldbook.engine.verbs`; words, int64, are the
    strategy's parameters and memory, in the order of `defaults`. Calling it with keywords gives
    the same strategy with other values.
    """

    __slots__ = ("decide", "defaults", "name")

    def __init__(self, name: str, decide: Callable[..., None], defaults: Mapping[str, int]):
        for parameter, value in defaults.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name}: {parameter}={value!r}; words are integers in units")
        self.name = name
        self.decide = decide
        self.defaults = dict(defaults)

    def __call__(self, **values: int) -> CompiledStrategy:
        """Return the strategy with other parameters. Raises TypeError for unknown ones."""
        unknown = values.keys() - self.defaults.keys()
        if unknown:
            known = ", ".join(self.defaults)
            raise TypeError(f"{self.name}: no parameter {sorted(unknown)[0]!r}; it has {known}")
        return CompiledStrategy(self.name, self.decide, self.defaults | values)

    def words(self) -> np.ndarray:
        """Return fresh words with the parameters' values."""
        return np.array(list(self.defaults.values()), dtype=np.int64)


def strategy(**defaults: int) -> Callable[[Callable[..., None]], CompiledStrategy]:
    """Compile a function decide(sim, words) as a strategy; `defaults` name its words."""

    def decorate(decide: Callable[..., None]) -> CompiledStrategy:
        return CompiledStrategy(decide.__name__, compiled(decide), defaults)

    return decorate
