"""What looks ahead is found, with its place; what does not is let off."""

from __future__ import annotations

import json
import textwrap

import numpy as np
import pytest

from foldbook.adapters import cli, sessions, synthetic
from foldbook.adapters.cli import leaks
from foldbook.adapters.sessions import other_tail

PEEKING = '''
from foldbook.engine import Side, TimeInForce


class Peeking:
    """Buys before the price rises."""

    def on_book(self, sim, market):
        rows = sim.session.tape.rows
        ahead = rows[min(sim.events + 40, len(rows) - 1)]
        sim.submit(market, Side(int(ahead["side"])), 100 + 100 * int(ahead["qty"] % 50), 100,
                   tif=TimeInForce.IOC)


class Knowing:
    """Knows who wins."""

    def on_start(self, sim):
        won = sim.session.facts["result"][sim.tickers[0]] == "yes"
        sim.submit(0, Side.BUY if won else Side.SELL, 5000, 100)
'''
FEATURES = '''
from foldbook.engine import verbs
from foldbook.engine.observations import feature


@feature("touch", 0.0, 1.0, "dollars")
def touch(sim, market):
    return verbs.best(sim, market, 0) / 10000
'''


@pytest.fixture
def session(tmp_path, monkeypatch):
    """The path of a small stored session, and modules beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "peeking.py").write_text(textwrap.dedent(PEEKING))
    (tmp_path / "features.py").write_text(textwrap.dedent(FEATURES))
    sessions.save(synthetic.session(seed=3, markets=2, events=600, minutes=1), "s")
    return "s"


def ran(capsys, *arguments):
    """Return (exit status, answer)."""
    status = cli.main(["check-leak", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_other_future_parts_at_the_time():
    """Rows up to t are the same bytes, later ones are not; the tape stays valid and the result
    turns round."""
    session = synthetic.session(seed=3, markets=2, events=600, minutes=1, tick=10)
    rows = session.tape.rows
    t = int(rows["ts"][700])
    other = other_tail(session, t, 1)
    kept = rows["ts"] <= t
    assert other.tape.rows[: kept.sum()].tobytes() == rows[kept].tobytes()
    assert other.tape.rows["ts"][kept.sum()] > t
    assert (np.diff(other.tape.rows["ts"]) >= 0).all()
    assert other.facts["close"] == session.facts["close"]
    for ticker, result in session.facts["result"].items():
        assert {result, other.facts["result"][ticker]} == {"yes", "no"}


@pytest.mark.parametrize("name", ["Peeking", "Knowing"])
def test_a_strategy_that_looks_ahead_is_found(session, capsys, name):
    """The first journal row that another future changes is named, with field and byte."""
    status, answer = ran(capsys, "strategy", f"peeking.py:{name}", session)
    assert status == 1
    leak = answer["leak"]
    assert leak["at"] <= leak["t"] == answer["moments"][0]
    assert leak["what"].startswith("journal row ") and leak["byte"] >= 0


def test_what_does_not_look_ahead_passes(session, capsys):
    """The maker, the environment, built-in features and the user's own: no leak."""
    maker = "foldbook.examples.market_maker:MarketMaker"
    assert ran(capsys, "strategy", maker, session)[0] == 0
    own = ("--option", "market=next", "--moments", "3")
    for observed in ("core", "classic52"):
        status, answer = ran(capsys, "env", session, *own, "--option", f"observation={observed}")
        assert (status, answer["leak"]) == (0, None)
    assert ran(capsys, "feature", "trade_flow_10s", session, *own)[0] == 0
    assert ran(capsys, "feature", "features.py:touch", session, *own)[0] == 0


def test_hindsight_is_found(capsys):
    """The most active market of the whole session is known only in hindsight."""
    whole = synthetic.session(seed=3, markets=2, events=600, minutes=1)
    t = int(whole.tape.rows["ts"][100])
    from foldbook.adapters.gym.leaks import env

    other = other_tail(whole, t, 5)
    shorter = int(np.bincount(other.tape.rows["market"]).argmax())
    expected = None if shorter == 0 else "market"
    found = leaks.check(lambda session, until: env(session, until, 1), whole, [t], 5)
    assert (found and found.what) == expected


def test_wrong_use_is_said_in_one_line(session, capsys):
    """Exit 2, and whose fault it is."""
    for arguments, said in (
        (("strategy", session), "no NAME"),
        (("env", "a:b", session), "env takes no NAME"),
        (("feature", "no_such", session), "there is no feature 'no_such'"),
        (("feature", "peeking.py:Peeking", session), "is a type, and not a Feature"),
        (("env", session, "--option", "cadence=never"), "cadence: 'never'"),
        (("env", "a", "b", session), "expected [NAME] SESSION"),
    ):
        status, answer = ran(capsys, *arguments)
        assert status == 2 and said in answer["error"], answer
