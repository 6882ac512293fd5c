"""The helper that kills writers: it kills where it says, and finds one that breaks its word."""

from __future__ import annotations

import os
import time

import pytest
from kills import kill_at_random, kill_before_each_change


def honest(folder, witness):
    """Write a file in one step, and acknowledge it then."""
    witness.begins()
    for number in range(20):
        (folder / ".tmp").write_text(str(number))
        time.sleep(0.0005)
        os.rename(folder / ".tmp", folder / f"{number}")
        witness.says(str(number))


def hasty(folder, witness):
    """Acknowledge before it is there."""
    witness.begins()
    for number in range(20):
        witness.says(str(number))
        time.sleep(0.0005)
        (folder / f"{number}").write_text(str(number))


def acknowledged(trial):
    for name in trial.told:
        assert (trial.folder / name).read_text() == name


def test_a_writer_that_keeps_its_word_passes(tmp_path):
    """Whatever it acknowledged is there, and at least half of the moments are mid-write."""
    assert kill_at_random("test_kills:honest", tmp_path, acknowledged, count=20) >= 10


def test_a_writer_that_acknowledges_too_early_is_found(tmp_path):
    """Its file is not there, or is empty; the note of the error says how to do it again."""
    with pytest.raises((FileNotFoundError, AssertionError)) as caught:
        kill_at_random("test_kills:hasty", tmp_path, acknowledged, count=20, seed=3)
    assert "seed 3, moment" in caught.value.__notes__[0]


def test_every_change_is_a_moment(tmp_path):
    """Twenty files, each opened once and renamed once: forty changes."""
    left = []

    def check(trial):
        acknowledged(trial)
        left.append(len(trial.told))

    assert kill_before_each_change("test_kills:honest", tmp_path, check) == 40
    assert left == [number // 2 for number in range(41)]
