"""foldbook's engine: an event-sourced simulation of binary prediction markets.

The public names; see the modules for what each of them promises.
"""

from types import ModuleType as _Module

from . import events
from .accounting import event_rows, position_rows, settlement_rows
from .accounts import Accounts
from .availability import (
    ALWAYS,
    AVAILABILITY_2026_05,
    AVAILABILITY_2026_05_FIRST,
    Availability,
)
from .backtest import Backtest
from .config import Config
from .errors import (
    CapacityError,
    FeeError,
    FoldbookError,
    JournalError,
    StrategyError,
    TapeError,
    UnsupportedError,
)
from .fees import (
    FEE_SCHEDULES,
    KALSHI_2021,
    KALSHI_2026_03,
    KALSHI_2026_05,
    KALSHI_2026_08,
    KALSHI_2026_08_OTHER,
    KALSHI_FEES,
    NO_FEES,
    FeeRow,
    Fees,
    FeeSchedule,
    FeeType,
    Member,
    Rebate,
    Round,
    index_series,
    polymarket,
    schedule_at,
)
from .gateway import Gateway, check_gateway
from .journal import Journal
from .kernels import verbs
from .programs import CompiledProjection, CompiledStrategy, strategy
from .projections.book import BookView
from .projections.orders import Order
from .projections.positions import Position
from .result import Fill, Result
from .schema import (
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    Mark,
    MarketStatus,
    OrderFlag,
    Outcome,
    Reason,
    SelfTrade,
    Side,
    TapeFlag,
    TapeKind,
    TimeInForce,
)
from .session import Session, Tape
from .simulation import Simulation, next_change
from .specs import (
    CONSERVATIVE,
    ZERO_LATENCY,
    Delay,
    Feed,
    Latency,
    Market,
    Models,
    Queue,
    Risk,
)
from .units import cents, contracts, dollars, duration, price

__all__ = [
    name
    for name, value in list(globals().items())
    if not name.startswith("_") and (not isinstance(value, _Module) or value in (events, verbs))
]
