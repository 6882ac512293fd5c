"""What an agent can observe: features by name, each with its unit and range, and sets of them.

The numbers are worked out by `kernels.features` (what does not depend on the agent) and
`kernels.observe` (the rest); here they have names. Users add features of their own: compiled
functions of what the agent sees (`foldbook.engine.verbs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from .compiled import INT, compiled, prepare, types
from .kernels import features as shared
from .kernels import observe as own
from .kernels.layout import Run
from .kernels.loop import RUN


@attrs.frozen
class Feature:
    """One number of an observation.

    low, high: its range. unit: what it counts. function: of a user's own, numba-compatible:
    function(sim, market) -> float, asking by the functions of `foldbook.engine.verbs`; number: of
    a built-in one.
    """

    name: str
    low: float
    high: float
    unit: str
    number: int = -1
    function: Callable[..., float] | None = None


_BUILT_IN: dict[str, Feature] = {}


def _add(number: int, name: str, unit: str, low: float = 0.0, high: float = 1.0) -> None:
    assert name not in _BUILT_IN
    _BUILT_IN[name] = Feature(name, low, high, unit, number)


_SIZE = "log scale: 1 is 10,000 contracts"
_DOLLARS = "dollars"
_BALANCE = "(one - other) / (one + other)"
_FLOW = "flow / (abs(flow) + 100 contracts)"

_add(shared.YES_BID, "yes_bid", _DOLLARS)
_add(shared.YES_ASK, "yes_ask", _DOLLARS)
_add(shared.NO_BID, "no_bid", _DOLLARS)
_add(shared.NO_ASK, "no_ask", _DOLLARS)
_add(shared.YES_SPREAD, "yes_spread", _DOLLARS)
_add(shared.NO_SPREAD, "no_spread", _DOLLARS)
_add(shared.YES_MID, "yes_mid", _DOLLARS)
_add(shared.NO_MID, "no_mid", _DOLLARS)
_add(shared.YES_SIZE, "yes_size", _SIZE)
_add(shared.NO_SIZE, "no_size", _SIZE)
_add(shared.TOTAL_SIZE, "total_size", _SIZE)
_add(shared.OUTCOME_IMBALANCE, "outcome_imbalance", _BALANCE, -1.0)
_add(shared.YES_IMBALANCE, "yes_imbalance", _BALANCE, -1.0)
_add(shared.NO_IMBALANCE, "no_imbalance", _BALANCE, -1.0)
_add(shared.YES_LEVELS, "yes_levels", "levels / 20")
_add(shared.NO_LEVELS, "no_levels", "levels / 20")
_add(shared.YES_TOP_SHARE, "yes_top_share", "share of the three largest levels")
_add(shared.NO_TOP_SHARE, "no_top_share", "share of the three largest levels")
_add(shared.ARBITRAGE, "arbitrage", "abs(YES mid + NO mid - 1), dollars")
_add(shared.EFFICIENCY, "efficiency", "1 - arbitrage")
_add(shared.AGREEMENT, "agreement", "agreement of the two outcomes")
_add(shared.MICROPRICE, "microprice", _DOLLARS)
_add(shared.SPREAD_CENTS, "spread", "tenths of a dollar")
_add(shared.IMBALANCE_1, "imbalance_1", _BALANCE, -1.0)
_add(shared.IMBALANCE_5, "imbalance_5", _BALANCE, -1.0)
for _k in range(shared.DEPTH):
    _add(shared.BID_SIZE + _k, f"bid_size_{_k + 1}", _SIZE)
    _add(shared.ASK_SIZE + _k, f"ask_size_{_k + 1}", _SIZE)
    if _k > 0:
        _add(shared.BID_GAP + _k - 1, f"bid_gap_{_k + 1}", "from the best, tenths of a dollar")
        _add(shared.ASK_GAP + _k - 1, f"ask_gap_{_k + 1}", "from the best, tenths of a dollar")
_add(shared.HOUR, "hour", "9 to 16 h venue time as 0 to 1")
_add(shared.WEEKDAY, "weekday", "Monday 0 to Sunday 1")
_add(shared.ACTIVITY, "activity", "1 / (1 + seconds between changes)")
_add(shared.ACTIVITY_CHANGE, "activity_change", "change of activity", -1.0)
_add(shared.FREQUENCY, "frequency", "changes / 2 a second, over the last 5")
_add(shared.BURST, "burst", "activity above mean + 1.5 sd of the last 10")
_add(shared.QUIET, "quiet", "activity below mean - 1 sd of the last 10")
_add(shared.TREND, "activity_trend", "mean of the last 5 less that of the 5 before", -1.0)
_add(shared.MOMENTUM, "momentum", "change of the mid over 5 changes, 5 cents", -1.0)
_add(shared.VOLATILITY, "volatility", "sd of the last 5 mids, 5 cents")
_add(shared.ACTIVE_MARKETS, "active_markets", "markets that changed within 60 s / 10")
_add(shared.SYNCHRONY, "synchrony", "abs(ups - downs) / moves of the session's markets")
_add(shared.DIVERGENCE, "divergence", "sd of the markets' last moves, 5 cents")
for _k, _seconds in enumerate(shared.HALF_LIVES):
    _add(shared.TRADE_FLOW + _k, f"trade_flow_{_seconds}s", _FLOW, -1.0)
    _add(shared.CANCEL_FLOW + _k, f"cancel_flow_{_seconds}s", _FLOW, -1.0)
    _add(shared.EVENT_RATE + _k, f"event_rate_{_seconds}s", "rate / (rate + 10 events a second)")
    _add(shared.RETURN + _k, f"return_{_seconds}s", "mid less its average, 5 cents", -1.0)
_add(own.SINCE_CHANGE, "since_change", "since the last event / 300 s")
_add(own.CASH_SHARE, "cash_share", "available cash / value")
_add(own.POSITION_SHARE, "position_share", "value of the position / value", -1.0)
_add(own.POSITIONS, "positions", "markets held / 10")
_add(own.MEAN_POSITION, "mean_position", "contracts / 1000")
_add(own.LONG_SHARE, "long_share", "value of YES / value")
_add(own.SHORT_SHARE, "short_share", "value of NO / value")
_add(own.NET_BIAS, "net_bias", "sign of the position", -1.0)
_add(own.CONCENTRATION, "concentration", "largest position / all")
_add(own.LARGEST_POSITION, "largest_position", "contracts / 1000")
_add(own.UNREALISED_SHARE, "unrealised_share", "unrealised P&L / value", -1.0)
_add(own.DIVERSITY, "diversity", "1 - Herfindahl index of the positions")
_add(own.LEVERAGE, "leverage", "(position + reserved) / value / 2")
_add(own.HAS_BUY, "has_buy", "an own bid rests")
_add(own.HAS_SELL, "has_sell", "an own ask rests")
_add(own.BUY_DISTANCE, "buy_distance", "own bid from the mid, dollars")
_add(own.SELL_DISTANCE, "sell_distance", "own ask from the mid, dollars")
_add(own.SINCE_ORDER, "since_order", "since the last order / 300 s; 1 before")
_add(own.INVENTORY, "inventory", "position / (abs(position) + 100 contracts)", -1.0)
_add(own.BUY_SIZE, "buy_size", _SIZE)
_add(own.SELL_SIZE, "sell_size", _SIZE)
_add(own.BUY_AHEAD, "buy_ahead", _SIZE + "; 1 without an order")
_add(own.SELL_AHEAD, "sell_ahead", _SIZE + "; 1 without an order")
_add(own.EXIT_FEE, "exit_fee", "taker fee a contract, tenths of a dollar")
_add(own.EXIT_COST, "exit_cost", "mid to touch a contract, tenths of a dollar")
_add(own.TO_CLOSE, "to_close", "left / (left + 15 min); 1 if unknown")
_add(own.ELAPSED, "elapsed", "passed / (passed + 15 min) since the episode began")

CLASSIC52 = (
    "yes_bid", "yes_ask", "no_bid", "no_ask", "yes_spread", "no_spread", "yes_mid", "no_mid",
    "yes_size", "no_size", "total_size", "outcome_imbalance", "yes_imbalance", "no_imbalance",
    "yes_levels", "no_levels", "yes_top_share", "no_top_share", "arbitrage", "efficiency",
    "agreement",
    "since_change", "hour", "weekday", "activity", "activity_change", "frequency", "burst",
    "quiet", "activity_trend", "momentum", "volatility", "active_markets", "synchrony",
    "divergence",
    "cash_share", "position_share", "positions", "mean_position", "long_share", "short_share",
    "net_bias", "concentration", "largest_position", "unrealised_share", "diversity", "leverage",
    "has_buy", "has_sell", "buy_distance", "sell_distance", "since_order",
)  # fmt: skip
"""What the environment that came before this one showed: market, past, portfolio, orders."""
assert len(CLASSIC52) == 52

CORE = (
    "microprice", "yes_mid", "spread", "imbalance_1", "imbalance_5",
    *(f"{side}_size_{k}" for side in ("bid", "ask") for k in range(1, 6)),
    *(f"{side}_gap_{k}" for side in ("bid", "ask") for k in range(2, 6)),
    *(f"{flow}_{seconds}s" for flow in ("trade_flow", "cancel_flow", "event_rate", "return")
      for seconds in shared.HALF_LIVES),
    "inventory", "cash_share", "unrealised_share", "has_buy", "has_sell", "buy_distance",
    "sell_distance", "buy_size", "sell_size", "buy_ahead", "sell_ahead", "exit_fee", "exit_cost",
    "since_order", "elapsed", "to_close",
)  # fmt: skip
"""The better default: nothing in it is constant."""

OBSERVATIONS = {"classic52": CLASSIC52, "core": CORE}
"""Sets of features that have a name."""


def feature(
    name: str, low: float, high: float, unit: str
) -> Callable[[Callable[..., float]], Feature]:
    """Make a numba-compatible function(sim, market) -> float a feature.

    sim is asked by the functions of `foldbook.engine.verbs`, and shows what the agent sees. Raises
    StrategyError if it does not compile, ValueError for a name that a built-in feature has.
    """
    if name in _BUILT_IN:
        raise ValueError(f"feature {name}: the name is taken")

    def decorate(function: Callable[..., float]) -> Feature:
        one = compiled(function)
        prepare(one, RUN, INT, returns=types.float64)
        return Feature(name, low, high, unit, function=one)

    return decorate


def features_of(spec: str | Sequence[str | Feature]) -> tuple[Feature, ...]:
    """Return the features that a spec names: a set by its name, or names and features in order.

    Raises ValueError for a name that is none, and for one that occurs twice.
    """
    if isinstance(spec, str):
        if spec not in OBSERVATIONS:
            known = ", ".join(OBSERVATIONS)
            raise ValueError(f"observation: {spec!r}; expected {known}, or a list of features")
        spec = OBSERVATIONS[spec]
    found: list[Feature] = []
    for each in spec:
        if isinstance(each, Feature):
            found.append(each)
        elif each in _BUILT_IN:
            found.append(_BUILT_IN[each])
        else:
            raise ValueError(f"observation: there is no feature {each!r}")
    names = [each.name for each in found]
    twice = [name for name in names if names.count(name) > 1]
    if not found or twice:
        raise ValueError(
            f"observation: {twice[0]!r} occurs twice" if twice else "observation: no feature"
        )
    return tuple(found)


def recipe(features: Sequence[Feature]) -> tuple[np.ndarray, np.ndarray]:
    """Return (recipe, wanted) as kernels read them: see `observe.observe` and
    `features.fill_columns`; without the last word of `wanted`. A user's feature observes nothing
    there."""
    words: list[int] = []
    wanted: list[int] = []
    for each in features:
        if 0 <= each.number < shared.SHARED_FEATURES:
            kind = own.BOOK if each.number < shared.BOOK_FEATURES else own.COLUMN
            wanted.append(each.number)
        else:
            kind = own.AGENT
        words += [kind, each.number]
    return np.array(words, np.int64), np.array(wanted, np.int64)


def bounds(features: Sequence[Feature]) -> tuple[np.ndarray, np.ndarray]:
    """Return (low, high) of an observation, float32."""
    low = np.array([each.low for each in features], np.float32)
    return low, np.array([each.high for each in features], np.float32)


def filler(features: Sequence[Feature]) -> Any:
    """Return a compiled function(run, market, out) that writes the users' features of a market;
    None without any."""
    fill = None
    for place, each in reversed(list(enumerate(features))):
        if each.function is not None:
            fill = _chain(each.function, place, fill or _nothing)
    return fill


def filler_of_many(features: Sequence[Feature]) -> Any:
    """Return a compiled function(envs, pool) that writes the users' features of many environments
    (`kernels.vector.Envs`, `kernels.episodes.Pool`); None without any."""
    fill = filler(features)
    if fill is None:
        return None

    @compiled
    def fill_many(envs, pool):  # type: ignore[no-untyped-def]
        # Kernels count no references, so none may hand an array to this, which does.
        for k in range(len(envs.words)):
            buffer = k if len(envs.rows) > 1 else 0
            state = envs.states[k]
            seen = envs.seen[k] if len(envs.seen) > 0 else state
            run = Run(state, envs.rows[buffer], envs.places[buffer], seen, pool.tables)
            fill(run, 0, envs.observations[k])

    return fill_many


@compiled
def _nothing(run, market, out):  # type: ignore[no-untyped-def]
    pass


def _chain(function: Any, place: int, rest: Any) -> Any:
    @compiled
    def fill(run, market, out):  # type: ignore[no-untyped-def]
        out[place] = function(run, market)
        rest(run, market, out)

    return fill
