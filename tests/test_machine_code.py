"""What is counted in machine code is there: planted faults are found, kernels have none."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from foldbook.benchmarks.machine_code import FORBIDDEN, counts_in
from foldbook.engine import intrinsics
from foldbook.engine.compiled import WORDS
from foldbook.engine.kernels.arithmetic import muldiv

pytestmark = pytest.mark.skipif(intrinsics.JIT_DISABLED, reason="nothing is compiled")


def counted(function, *types, **options) -> dict[str, int]:
    kernel = numba.jit(**({} if "forceobj" in options else {"nopython": True}) | options)(function)
    kernel.compile(types)
    return counts_in(kernel.overloads[types].library._final_module)


def test_planted_faults_are_counted():
    """Memory that is allocated, an index that is checked, and a call of Python."""

    def allocates(words):
        return np.append(words, words)

    def reads(words):
        return words[7]

    def calls(words):
        return words + words

    assert counted(allocates, WORDS)["references"] > 0
    assert counted(calls, WORDS, forceobj=True)["python"] > 0
    assert counted(reads, WORDS, boundscheck=True)["bounds"] > 0


def test_kernels_have_none():
    """A kernel as it is compiled here: no references, no Python, no bounds; it divides and
    branches, which shows that something was counted."""
    kernel = getattr(muldiv, "py_func", muldiv)
    counts = counted(kernel, *[numba.int64] * 4, error_model="numpy", _nrt=False)
    assert not any(counts[kind] for kind in FORBIDDEN)
    assert counts["divisions"] > 0 and counts["branches"] > 0 and counts["functions"] == 1
