"""What a market's rows make of its levels is worked out once and shared: nothing depends on it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from gyms import LATENCIES, session
from scenes import BUY, SELL, Scene
from test_gym_masks import interrupted

from foldbook.engine import Market, Session, Simulation, Tape
from foldbook.engine.codecs import Codec, limit5, now5
from foldbook.engine.episodes import Cadence, Course, Episode, Plan
from foldbook.engine.kernels.layout import LEVEL_WORDS
from foldbook.engine.kernels.loop import fill_changes
from foldbook.engine.observations import features_of
from foldbook.engine.schema import MarketStatus

LARGE = Codec("large", "limit", (300_000,), policy="aggressive")
"""Takes many levels at once, so that much is taken and comes back."""


@pytest.mark.parametrize("models", [*LATENCIES.values(), {"restored_after": "2s"}])
@pytest.mark.parametrize("codec", [limit5("passive"), LARGE, now5()], ids=lambda codec: codec.name)
def test_episodes_do_not_depend_on_changes_worked_out_before(codec, models):
    """With and without them the state is the same to the byte after each step, and so is what is
    shown: among own orders, takings, pauses, gaps, restorations and delays."""
    for played in (session(11, markets=1), interrupted()):
        settings = {"cash": 10**12, "order_capacity": 2048} | models
        course = Course(played, 0, features_of("core"), settings)
        bare = copy.copy(course)
        bare.changes = np.zeros((0, 2), np.int64)
        bare.__dict__.pop("pool", None)
        plan = Plan(codec, Cadence("events", 7), starts="random")
        one, other = Episode(course, plan), Episode(bare, plan)
        rng = np.random.default_rng(3)
        for episode in range(3):
            for each in (one, other):
                each.env[0] = 40 + episode
                each.begin()
            for _ in range(150):
                one.action[0] = other.action[0] = rng.integers(codec.dims[0])
                one.step()
                other.step()
                bus, twin = one.simulation.bus, other.simulation.bus
                assert bus.state.tobytes() == twin.state.tobytes()
                assert bus.run.seen.tobytes() == twin.run.seen.tobytes()
                assert one.observation.tobytes() == other.observation.tobytes()
                assert one.mask.tobytes() == other.mask.tobytes()


def test_changes_by_hand():
    """A level that changes behind the best is named, with what is recorded there then; whatever
    moves a best price, or is no change of a level, is not."""
    scene = Scene().book(1, {BUY: {48: 500, 47: 800}, SELL: {50: 400}})
    scene.more(2, BUY, 47, 100).more(2, SELL, 52, 70).less(3, BUY, 48, 200)
    scene.less(4, BUY, 48, 300).more(5, BUY, 49, 10).less(6, SELL, 52, 70)
    scene.status(7, MarketStatus.CLOSED)
    played = Session(Tape(scene.rows()), (Market("M"),), name="hand")
    changes = np.zeros((len(played.tape), 2), np.int64)
    state = Simulation(played).bus
    fill_changes(state.run, played.tape.rows, changes)
    behind = changes[4:]
    assert (changes[:4] == 0).all()
    # 47 and 52 change behind the best, 48 loses part of the best; then it is gone, 49 is new.
    assert behind[:, 1].tolist() == [900, 70, 300, 0, 0, 0, 0]
    rank = (behind[:, 0] >> 32) & ((1 << 30) - 1)
    assert rank.tolist() == [47, 48, 48, 0, 0, 48, 0]
    assert (behind[:, 0] >> 62).tolist() == [0, 1, 0, 0, 0, 1, 0]
    level = behind[:, 0] & ((1 << 32) - 1)
    assert level[2] - level[0] == LEVEL_WORDS and level[1] == level[5] > level[2]
