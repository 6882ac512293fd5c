"""The rows of the race: who runs against whom, at what realism, and what the target is.

Ratios are ours over the peer's, and larger is better: of rates, and for memory the peer's anonymous
memory over ours turned round, so that a target says "at most".
"""

from __future__ import annotations

import attrs

from .environments import OURS

SLOW_EVENTS = 200_000
"""What slow systems get of the feed: its first records."""

PLAIN = "no delays; back of the queue; fills by trades and quotes through; account, journal"
LATE = (
    "orders and answers 10 ms, feed 1 ms late: venue's and own book; back of the queue; account"
)


@attrs.frozen
class Runner:
    """One system in one mode.

    environment: of `requirements/`, or OURS. driver: script of `drivers/`. mode: what it is told to
    do. realism: what it simulates while it does. limit: how much of the feed it gets, 0 all.
    more: further arguments.
    """

    label: str
    environment: str
    driver: str
    mode: str
    realism: str
    limit: int = 0
    more: tuple[str, ...] = ()


@attrs.frozen
class Row:
    """One comparison: ours against peers in alternating runs.

    target: the ratio that is promised against the first peer, by the label of a peer; peers
    without one are shown beside it. measure: "rate", or "memory" for anonymous memory.
    """

    name: str
    what: str
    unit: str
    ours: Runner
    peers: tuple[Runner, ...]
    targets: dict[str, float] = attrs.field(factory=dict)
    measure: str = "rate"


def _ours(mode: str, realism: str) -> Runner:
    return Runner("foldbook", OURS, "drive_ours", mode, realism)


def _hft(mode: str, depth: str = "roi", environment: str = "hftbacktest") -> Runner:
    label = f"{environment} ({depth} depth)"
    return Runner(label, environment, "drive_hft", mode, LATE, more=("--depth", depth))


def _hftbt(mode: str) -> Runner:
    realism = "no delays, one clock; queue at the back"
    return Runner("hftbt", "hftbt", "drive_hftbt", mode, realism)


def _nautilus(mode: str, label: str = "1.x", environment: str = "nautilus-1") -> Runner:
    return Runner(
        f"nautilus_trader {label}", environment, "drive_nautilus", mode,
        "orders 10 ms late, no delay of answers; no queue; portfolio, accounts, message bus",
        SLOW_EVENTS,
    )  # fmt: skip


def _nautilus_1231(mode: str) -> Runner:
    """The newest of all, where the machine has the Python that it wants."""
    return _nautilus(mode, "1.231", "nautilus-queues")


_ROI = _hft("replay").label
_ENVS = ("--envs", "256")


def _env(mode: str, many: bool = False) -> Runner:
    realism = (
        "four-number observation, random starts, ten events a step; no delays; queue, fees, "
        "account; a digest of the journal; no masks, which no peer has"
    )
    more = _ENVS if many else ()
    return Runner("foldbook", OURS, "drive_our_env", mode, realism, more=more)


def _hft_env(mode: str, many: bool = False) -> Runner:
    realism = (
        "four-number observation, random starts among prepared ones, step of the time that ten "
        "events take; " + LATE
    )
    more = _ENVS if many else ()
    return Runner(f"hftbacktest env ({mode})", "hftbacktest", "drive_hft_env", mode, realism,
                  more=more)  # fmt: skip


def _cartpole(environment: str, mode: str, many: bool = False) -> Runner:
    label = f"{environment} CartPole ({mode})"
    return Runner(label, environment, "drive_cartpole", mode, "no market: a yardstick",
                  more=_ENVS if many else ())  # fmt: skip


ROWS = (
    Row(
        "replay", "replay, all projections, 100 ms steps", "events", _ours("replay", PLAIN),
        (_hft("replay"), _hft("replay", "hash"),
         _hft("replay", environment="pm-hftbacktest"), _hftbt("replay"), _nautilus("replay"),
         _nautilus_1231("replay")),
        {_ROI: 7.0},
    ),
    Row(
        "replay-late", "the same, both with two books", "events", _ours("replay-late", LATE),
        (_hft("replay"),),
    ),
    Row(
        "maker", "market maker every 100 ms, compiled", "events", _ours("maker", PLAIN),
        (_hft("maker"), _hft("maker", environment="pm-hftbacktest"), _hftbt("maker")),
        {_ROI: 8.0},
    ),
    Row(
        "maker-late", "the same, both with the same delays", "events", _ours("maker-late", LATE),
        (_hft("maker"),),
    ),
    Row(
        "maker-python", "market maker every 100 ms, Python function", "events",
        _ours("python", PLAIN), (_nautilus("maker"), _nautilus_1231("maker")),
        {_nautilus("maker").label: 50.0, _nautilus_1231("maker").label: 50.0},
    ),
    Row(
        "memory", "anonymous memory after a replay", "MB", _ours("replay", PLAIN),
        (_hft("replay"),), {_ROI: 0.5}, "memory",
    ),
    Row(
        "limit", "replay beside loops that only keep the book", "events", _ours("replay", PLAIN),
        tuple(
            Runner(f"{mode} loop", OURS, "drive_limits", mode, "levels and best prices alone")
            for mode in ("c", "numba")
        ),
        {"c loop": 0.5},
    ),
    Row(
        "env-single", "environment, single", "steps", _env("single"),
        (_hft_env("single"),
         Runner("gym-trading-env", "gym-trading-env", "drive_trading_env", "single",
                "bars of one second; trades at the close, no book"),
         _cartpole("gymnasium", "single")),
        {"hftbacktest env (single)": 1.0, "gym-trading-env": 4.0},
    ),
    Row(
        "env-vector", "environment, vector of 256, one core", "steps", _env("vector", True),
        (_hft_env("vector", True), _cartpole("envpool", "vector", True),
         _cartpole("gymnasium", "vector", True)),
        {"hftbacktest env (vector)": 8.0, "envpool CartPole (vector)": 4.0},
    ),
)  # fmt: skip
"""In the order of the page."""
