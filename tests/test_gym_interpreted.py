"""Episodes with the JIT off: the same observations, rewards, infos and journals.

Run as a script, this file is the process with the JIT off: it prints a digest of each episode.
"""

from __future__ import annotations

import hashlib
import sys

import pytest
from gyms import LATENCIES, play, session, single
from processes import interpreted
from test_gym_markets import several
from test_gym_parallel import play as play_parallel

from foldbook.adapters.gym.parallel import parallel_env

CASES = (
    ("limit5", "core", "change", "none"),
    ("quote", "classic52", "200ms", "sight"),
    ("now5", "core", "quote", "orders"),
    ("sized21", "classic52", 7, "none"),
)


def digest(number: int) -> str:
    """Return a digest of all that an episode of a case tells, journal included; of several markets,
    or of several agents, behind the last case."""
    if number >= len(CASES):
        return digest_of_several() if number == len(CASES) else digest_of_agents()
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


def digest_of_several() -> str:
    env = several(session(7, markets=3, events=900), markets=3, actions="sized21", cadence=9,
                  observation="classic52", start="random")  # fmt: skip
    told = hashlib.sha256()
    for observation, *rest in play(env, 80, seed=3):
        told.update(observation.tobytes())
        told.update(repr(rest).encode())
    told.update(env.simulation.journal().rows.tobytes())
    return told.hexdigest()


def digest_of_agents() -> str:
    env = parallel_env(session(7, events=1500), 3, cadence=9, start="random")
    told = hashlib.sha256()
    for observations, *rest in play_parallel(env, 80, seed=3):
        told.update(b"".join(each.tobytes() for each in observations.values()))
        told.update(repr(rest).encode())
    told.update(env.accounts.journal().rows.tobytes())
    return told.hexdigest()


@pytest.mark.slow
def test_interpreted_episodes_are_the_compiled_ones():
    """With the JIT off every bit is the same: codecs, cadences, delays, features and the ledger;
    several markets, and several agents."""
    numbers = range(len(CASES) + 2)
    assert interpreted(__file__, *numbers) == [digest(number) for number in numbers]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(digest(int(argument)), flush=True)
