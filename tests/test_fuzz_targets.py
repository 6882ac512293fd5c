"""The targets of `make fuzz`, shortly and without its guide: they work, and find nothing."""

from __future__ import annotations

import importlib
import random

import pytest
from fuzz import run

MUTANTS = 150


def mutant(draw: random.Random, seeds: list[bytes]) -> bytes:
    """Return a seed with up to four places changed: bits, bytes, cuts, pieces of another seed."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        other = draw.choice(seeds)
        begin = draw.randrange(len(other) + 1)
        piece = draw.choice([
            b"", draw.randbytes(draw.randint(1, 8)), other[begin : begin + draw.randint(0, 60)],
            b"\xff" * 8, bytes(8),
        ])
        data[at : at + draw.choice([0, len(piece), draw.randint(0, 60)])] = piece
    return bytes(data)


@pytest.mark.parametrize("name", run.TARGETS)
def test_no_target_finds_a_defect(name):
    """On its seeds, and on mutants of them that a fixed seed draws."""
    target = importlib.import_module(f"fuzz.{name}")
    draw = random.Random(7)
    seeds = target.seeds()
    for number, data in enumerate([*seeds, *(mutant(draw, seeds) for _ in range(MUTANTS))]):
        try:
            target.attack(data)
        except BaseException as error:
            error.add_note(f"input {number} of {name}: {data[:400]!r}")
            raise


@pytest.mark.parametrize("name", run.TARGETS)
def test_every_target_says_what_guides_it(name):
    """The modules that it names are there, and define functions to instrument."""
    target = importlib.import_module(f"fuzz.{name}")
    assert target.INSTRUMENTED
    for module in target.INSTRUMENTED:
        assert list(run.functions_of(importlib.import_module(module))), module
