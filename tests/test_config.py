"""What a run depends on, written as plain values into a header and read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldbook.adapters import synthetic
from foldbook.engine import (
    FEE_SCHEDULES,
    Backtest,
    Config,
    Delay,
    Feed,
    FeeSchedule,
    JournalError,
    Latency,
    Mark,
    Models,
    Queue,
    Risk,
    dollars,
)
from foldbook.engine.specs import DELAY_MAX, LIMIT_MAX, NO_LIMITS


def own(ahead: int, before: int, qty: int, row_ahead: int, flags: int) -> int:
    """A queue model of the user's own."""
    return ahead


LIMITS = st.integers(0, LIMIT_MAX)
VALUES = st.lists(st.integers(0, DELAY_MAX), min_size=1, max_size=4)
DELAYS = VALUES.map(Delay.empirical) | VALUES.map(
    lambda values: Delay.recorded(range(5, 5 + len(values)), values)
)
QUEUES = st.sampled_from([Queue.conservative, Queue.optimistic, Queue.log, Queue.rebuilt,
                          Queue.proportional, Queue.power(3)])  # fmt: skip
MODELS = st.builds(
    Models,
    fees=st.sampled_from(list(FEE_SCHEDULES.values())) | st.just(FeeSchedule("mine", 1, 7)),
    latency=st.builds(Latency, DELAYS, DELAYS, DELAYS, DELAYS,
                      st.just(Feed.RECORDED) | st.integers(0, DELAY_MAX).map(Delay.constant)),
    queue=QUEUES,
    risk=st.builds(Risk, LIMITS, LIMITS, LIMITS, LIMITS, LIMITS, st.integers(0, 10**8)),
    restored_after=LIMITS,
    collateral_return=st.booleans(),
    seed=st.integers(-LIMIT_MAX, LIMIT_MAX),
)  # fmt: skip
CONFIGS = st.builds(Config, cash=LIMITS, seed=st.integers(), models=MODELS,
                    mark=st.sampled_from(Mark), order_capacity=st.integers(1, 10**6),
                    client_ids=st.integers(0, 10**6), order_groups=st.integers(0, 100))  # fmt: skip


@given(CONFIGS)
def test_every_configuration_goes_through_json(config):
    """Nothing of a configuration is lost in a header, whatever its models are."""
    assert Config.from_header(json.loads(json.dumps(config.header()))) == config


def test_a_header_by_hand():
    """The values are plain, with their names: delay tables as lists, models by name."""
    latency = Latency(order=Delay.empirical([1, 2]), feed=Feed.RECORDED)
    config = Config(5, 6, Models(FEE_SCHEDULES["NO_FEES"], latency, Queue.power(2)))
    header = config.header()
    assert header["models"]["latency"]["order"] == {"values": [1, 2], "times": []}
    assert header["models"]["latency"]["feed"] == "RECORDED"
    assert header["models"]["queue"] == {"name": "power2", "model": "POWER", "exponent": 2}
    assert (header["cash"], header["seed"], header["mark"]) == (5, 6, "MID")
    assert (header["client_ids"], header["order_groups"]) == (256, 4)


def test_a_queue_function_must_be_given_again():
    """A header keeps the name of a user's own model; who reads it passes the model."""
    queue = Queue.of(own, "mine")
    config = Config(5, 6, Models(FEE_SCHEDULES["NO_FEES"], queue=queue))
    with pytest.raises(JournalError, match=r"'mine' is a function .* pass queue="):
        Config.from_header(config.header())
    assert Config.from_header(config.header(), queue) == config
    with pytest.raises(JournalError, match="was 'mine', not 'log'"):
        Config.from_header(config.header(), Queue.log)


def planted(*path, value=None):
    """Return a header in which one value is another, or is missing."""
    header = Config(5, 6, Models(FEE_SCHEDULES["NO_FEES"])).header()
    at = header
    for name in path[:-1]:
        at = at[name]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return header


@pytest.mark.parametrize(
    "header",
    [
        planted("cash"),
        planted("models"),
        planted("cash", value=10.5),
        planted("seed", value="7"),
        planted("mark", value="LAST"),
        planted("models", value=[]),
        planted("models", "risk", "max_loss"),
        planted("models", "collateral_return"),
        planted("models", "risk", "max_loss", value=-1),
        planted("models", "risk", "max_gain", value=1),
        planted("models", "fees", "rounding", value=0),
        planted("models", "latency", "order", "values", value=[-1]),
        planted("models", "latency", "order", "values", value=[]),
        planted("models", "latency", "order", "values", value=[1.5]),
        planted("models", "latency", "feed", value="GUESSED"),
        planted("models", "queue", "name", value="random"),
        planted("models", "queue", "model", value="LOG"),
        planted("models", "queue", value="conservative"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(header):
    """A value that is missing, of another type or out of range is the journal's fault."""
    with pytest.raises(JournalError):
        Config.from_header(header)


SESSION = synthetic.session(seed=14, events=100, minutes=1)


def test_a_backtest_takes_every_model():
    """Each keyword of a backtest ends in its configuration."""
    latency, risk = Latency.constant("5ms"), Risk(max_position=5)
    config = Backtest(
        SESSION, object(), cash=dollars(5), seed=9, fees=FEE_SCHEDULES["NO_FEES"], latency=latency,
        queue=Queue.log, risk=risk, restored_after="2s", mark=Mark.CLOSE, order_capacity=3,
        client_ids=7, order_groups=8, collateral_return=True,
    ).config  # fmt: skip
    models = Models(FEE_SCHEDULES["NO_FEES"], latency, Queue.log, risk, 2_000_000_000, 9,
                    collateral_return=True)  # fmt: skip
    assert config == Config(dollars(5), 9, models, Mark.CLOSE, 3, 7, 8)
    assert config.settings()["restored_after"] == 2_000_000_000
    assert config.settings()["collateral_return"] is True
    plain = Backtest(SESSION, object()).config.models
    assert plain.latency == Latency() and plain.risk == NO_LIMITS


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"queue": "log"}, TypeError),
        ({"latency": "5ms"}, TypeError),
        ({"fees": "NO_FEES"}, TypeError),
        ({"risk": {}}, TypeError),
        ({"restored_after": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
        ({"seed": True}, TypeError),
        ({"availability": None}, TypeError),
        ({"collateral_return": 1}, TypeError),
    ],
)
def test_a_model_of_another_type_is_refused(settings, error):
    """A name where a model belongs raises at once, and says which."""
    with pytest.raises(error, match=next(iter(settings))):
        Backtest(SESSION, object(), **settings)


def test_market_fees_name_each_market_once():
    """Of two schedules for one market none is taken in silence."""
    ticker = SESSION.markets[0].ticker
    twice = ((ticker, FEE_SCHEDULES["NO_FEES"]), (ticker, FEE_SCHEDULES["KALSHI_2021"]))
    with pytest.raises(ValueError, match=f"market_fees: {ticker} is named twice"):
        Models(FEE_SCHEDULES["NO_FEES"], market_fees=twice)
    with pytest.raises(ValueError, match=f"market_fees: {ticker} is named twice"):
        Backtest(SESSION, object(), market_fees=twice)
