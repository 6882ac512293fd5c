"""Episodes with the JIT off: the same observations, rewards, infos and journals.

Run as a script, this file is the process with the JIT off: it prints a digest of each episode.
"""

from __future__ import annotations

import hashlib
import sys

import pytest
from gyms import LATENCIES, play, session, single
from processes import interpreted

CASES = (
    ("limit5", "core", "change", "none"),
    ("quote", "classic52", "200ms", "sight"),
    ("now5", "core", "quote", "orders"),
    ("sized21", "classic52", 7, "none"),
)


def digest(number: int) -> str:
    """Return a digest of all that an episode of a case tells, journal included."""
    actions, observation, cadence, latency = CASES[number]
    env = single(session(7, events=1500), actions=actions, observation=observation,
                 cadence=cadence, start="random", **LATENCIES[latency])  # fmt: skip
    told = hashlib.sha256()
    for observation_, *rest in play(env, 120, seed=number):
        told.update(observation_.tobytes())
        told.update(repr(rest).encode())
    told.update(env.simulation.journal().rows.tobytes())
    told.update(env.ledger().tobytes())
    return told.hexdigest()


@pytest.mark.slow
def test_interpreted_episodes_are_the_compiled_ones():
    """With the JIT off every bit is the same: codecs, cadences, delays, features and the ledger."""
    numbers = range(len(CASES))
    assert interpreted(__file__, *numbers) == [digest(number) for number in numbers]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(digest(int(argument)), flush=True)
