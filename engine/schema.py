"""The vocabulary of events: enums, and the fixed-size integer rows of the tape and the journal.

Every number has one unit (see `units`): price $0.0001, qty 0.01 contract, cash $0.000001, ts ns
UTC. Rows have no padding, so a digest of their bytes is a digest of their fields. Books and orders
are in YES terms everywhere; `Outcome.NO` exists only where a user speaks (see `simulation`).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np

SCHEMA_VERSION = 3
NO_TIME = np.iinfo(np.int64).max
"""A time that never comes: no expiry, no timer."""
KEEP = -(2**31)
"""In an amend: leave this field as it is."""
NO_MARKET = -1
"""The market of journal rows that concern the account alone."""


class Side(IntEnum):
    """Direction in YES terms. On the tape: the ladder, and for a trade the side of its maker."""

    BUY = 0
    SELL = 1


class Outcome(IntEnum):
    YES = 0
    NO = 1


class TapeKind(IntEnum):
    """Kinds of tape rows. Fields not named by a kind are zero; ahead is -1 where unknown."""

    SNAPSHOT = 0
    """A full book begins: every level is zero until the SNAPSHOT_LEVEL rows that follow."""
    SNAPSHOT_LEVEL = 1
    """side, price, qty: one level of the snapshot that began above."""
    INCREASE = 2
    """side, price, qty: a level grew by qty."""
    DECREASE = 3
    """side, price, qty: a level shrank by qty; ahead: how much of the level stood before it."""
    TRADE = 4
    """side (the maker's), price, qty: a public trade. See TapeFlag."""
    STATUS = 5
    """qty: a MarketStatus; price: the payout of one YES contract when DETERMINED or SETTLED, in any
    other row of no meaning (a dispute is about the payout stated before it). See TapeFlag."""
    GRID = 6
    """price: step in the centre; ahead: step at the edges; qty: width of each edge."""
    FEE = 7
    """qty: taker rate in ppm; ahead: maker rate in ppm."""
    GAP = 8
    """Events were lost: the book is not to be trusted until the next snapshot."""
    RECOVERED = 9
    """The snapshot after a gap is complete."""
    CLOSE_TIME = 10
    """qty: when the market is due to close, ns; the close itself is a STATUS."""
    STRIKE = 11
    """side: 0 the floor, 1 the cap of what settles as YES; qty: it, in millionths of its unit, of
    any sign."""


class TapeFlag(IntFlag):
    JOINED = 1
    """TRADE: the DECREASE in the next row is this trade."""
    UNJOINED = 2
    """TRADE: no decrease of the record belongs to it; it fills no queue."""
    BLOCK = 4
    """TRADE: negotiated off the book."""
    REPRICE = 8
    """INCREASE: the row before is the other half of a price change of one order."""
    GUESSED = 16
    """DECREASE: `ahead` is a guess, because none or several orders of the level fit."""
    INACTIVE = 32
    """STATUS PAUSED: the market was deactivated; opening it again cancels what rests."""
    EXCHANGE = 64
    """STATUS PAUSED: the whole exchange stands still; cancels are refused too."""
    VOID = 128
    """STATUS SETTLED: declared void; each position is paid back what it cost."""


class MarketStatus(IntEnum):
    OPEN = 0
    PAUSED = 1
    CLOSED = 2
    DETERMINED = 3
    SETTLED = 4
    DISPUTED = 5


class JournalKind(IntEnum):
    """Kinds of journal rows: what one run added to the tape."""

    SUBMITTED = 0
    ACCEPTED = 1
    REJECTED = 2
    AMEND_REQUESTED = 3
    AMENDED = 4
    AMEND_REJECTED = 5
    CANCEL_REQUESTED = 6
    CANCELED = 7
    CANCEL_REJECTED = 8
    EXPIRED = 9
    FILL = 10
    SETTLED = 11
    CASH_MOVED = 12
    DECREASE_REQUESTED = 13
    RESTORED = 14
    """What own fills took from the displayed book is given back."""
    GROUP_SET = 15
    """An order group was created, or reset."""
    GROUP_TRIGGERED = 16
    """An order group reached its limit: its orders are canceled, and new ones refused."""
    KILL_SET = 17
    """The kill switch was turned: qty 1 on, 0 off."""
    MISSED = 18
    """Displayed depth was gone when an own order came for it; it is taken from the book."""
    COLLATERAL_RETURNED = 19
    """What NO positions of mutually exclusive markets are sure to pay: paid now, or taken back."""


ORDER_REQUESTS = (
    JournalKind.SUBMITTED,
    JournalKind.AMEND_REQUESTED,
    JournalKind.CANCEL_REQUESTED,
    JournalKind.DECREASE_REQUESTED,
)
"""What is asked for an order: first that it be there, then what concerns one that is."""
REQUESTS = (*ORDER_REQUESTS, JournalKind.GROUP_SET, JournalKind.KILL_SET)
"""Kinds that a strategy causes; every other row is what the venue made of them."""


class Reason(IntEnum):
    """Why an order was refused or ended; refusals are in their order of precedence."""

    NONE = 0
    MARKET_INACTIVE = 1
    EXCHANGE_PAUSED = 2
    ORDER_NOT_OPEN = 3
    TRADING_PAUSED = 4
    KILLED = 5
    """Own risk: the kill switch is on."""
    RISK_LOSS = 6
    """Own risk: the account has lost more than allowed."""
    RATE_LIMIT = 7
    """The venue's token bucket is empty."""
    MARKET_ORDER = 8
    """No price: the venue takes limit orders only."""
    INVALID_PRICE = 9
    INVALID_QTY = 10
    INVALID_ORDER = 11
    DUPLICATE_CLIENT_ID = 12
    GROUP_NOT_FOUND = 13
    GROUP_LIMIT = 14
    RISK_ORDER_QTY = 15
    """Own risk: the order is larger than allowed."""
    RISK_OPEN_ORDERS = 16
    RISK_POSITION = 17
    RISK_NOTIONAL = 18
    SELF_CROSS = 19
    """An amend into an own order."""
    POST_ONLY_CROSS = 20
    INSUFFICIENT_BALANCE = 21
    FOK_INSUFFICIENT_VOLUME = 22
    USER = 23
    """Canceled on request."""
    IMMEDIATE_OR_CANCEL = 24
    """Canceled: the remainder of an IOC order."""
    MARKET_CLOSED = 25
    """Canceled: the market closed."""
    AMENDED_TO_FILLED = 26
    """Canceled: an amend or a decrease left nothing open."""
    TAKER_SELF_TRADE = 27
    """Canceled: the incoming order met an own resting one."""
    MAKER_SELF_TRADE = 28
    """Canceled: an own incoming order met this resting one."""
    PAUSED = 29
    """Canceled: the market paused, and the order asked for it."""
    REACTIVATED = 30
    """Canceled: the market was deactivated and opened again."""
    GROUP_TRIGGERED = 31
    """Canceled: its order group reached its limit."""
    MARGIN = 32
    """Canceled: a fill with its fee was more than the account could pay."""


class TimeInForce(IntEnum):
    GTC = 0
    IOC = 1
    FOK = 2


class OrderFlag(IntFlag):
    POST_ONLY = 1
    REDUCE_ONLY = 2
    TAKES_DEPTH = 4
    """FILL: it consumed displayed depth of the opposite ladder, best level first."""
    CANCEL_ON_PAUSE = 8
    CANCEL_RESTING = 16
    """Self-trade prevention: cancel the own resting order, not the incoming one."""
    REDUCE_TO = 32
    """DECREASE_REQUESTED: qty is what shall stay open, not what shall go."""


class SelfTrade(IntEnum):
    """Which order is canceled when an incoming order meets an own resting one (SPEC 3.2)."""

    CANCEL_INCOMING = 0
    CANCEL_RESTING = 1


class Liquidity(IntEnum):
    NONE = 0
    TAKER = 1
    MAKER = 2


class Evidence(IntEnum):
    """How much a fill is to be believed (strongest first)."""

    NONE = 0
    TAKER = 1
    """Taker within displayed depth."""
    THROUGH = 2
    """Maker; the level was traded or quoted through."""
    QUEUE = 3
    """Maker; a trade went beyond what stood ahead in the queue."""
    BEYOND = 4
    """Maker; beyond what the record can show: it has shown no trade of the market so far."""
    ACCOUNT = 5
    """Taker or maker; the other side is another account of the simulation."""


class CauseKind(IntEnum):
    START = 0
    """The beginning of the run."""
    TAPE = 1
    """Tape row `cause_row` of market `cause_market`, counted from 0 within that market."""
    JOURNAL = 2
    """Journal row `cause_row` of market `cause_market`, counted from 0 within that market."""
    TIMER = 3
    """The clock: a timer, a periodic decision, an expiry, or a step by time."""


class Mark(IntEnum):
    """At what a position is valued."""

    MID = 0
    CLOSE = 1
    """What closing it now into displayed depth would earn, taker fees paid."""


TAPE_DTYPE = np.dtype(
    [
        ("ts", "<i8"),  # exchange time, ns
        ("recv", "<i8"),  # receive time, ns: when a recorder could know of it
        ("qty", "<i8"),  # 0.01 contract, positive
        ("ahead", "<i4"),  # 0.01 contract; -1 unknown
        ("price", "<i4"),  # $0.0001, YES terms
        ("market", "<i4"),  # index into Session.markets
        ("kind", "i1"),  # TapeKind
        ("side", "i1"),  # Side
        ("flags", "<i2"),  # TapeFlag
    ]
)

JOURNAL_DTYPE = np.dtype(
    [
        ("ts", "<i8"),  # ns, the run's clock
        ("qty", "<i8"),  # 0.01 contract: of the order (total), of the fill, of the position settled
        ("left", "<i8"),  # 0.01 contract still open after this row
        ("cash", "<i8"),  # $0.000001, change of cash without the fee
        ("fee", "<i8"),  # $0.000001, charged
        ("reserved", "<i8"),  # $0.000001, change of the account's reserved collateral
        ("ahead", "<i8"),  # 0.01 contract ahead in the queue
        ("claim", "<i8"),  # 0.01 contract: what the evidence offered to this fill
        ("expires", "<i8"),  # ns; NO_TIME if never
        ("arrives", "<i8"),  # ns: when a request reaches the venue
        ("client_id", "<i8"),  # the user's own number; 0 if none
        ("guessed", "<i8"),  # 0.01 contract of the way through the queue that is a guess
        ("carry", "<i8"),  # $0.000001, what the order's fees were rounded up by and not yet repaid
        ("group", "<i4"),  # order group; 0 none
        ("account", "<i4"),  # whose row it is, from 0; 0 also in rows that are no account's
        ("order", "<i4"),  # number of the order within its market, from 1
        ("price", "<i4"),  # $0.0001, YES terms
        ("market", "<i4"),  # index into Session.markets; NO_MARKET for the account
        ("row", "<i4"),  # number of this row among the rows of its market, from 0
        ("cause_row", "<i4"),
        ("cause_market", "<i4"),
        ("kind", "i1"),  # JournalKind
        ("reason", "i1"),  # Reason
        ("side", "i1"),  # Side
        ("tif", "i1"),  # TimeInForce
        ("flags", "i1"),  # OrderFlag
        ("liquidity", "i1"),  # Liquidity
        ("evidence", "i1"),  # Evidence
        ("cause_kind", "i1"),  # CauseKind
    ]
)


def _without_padding(dtype: np.dtype) -> bool:
    return dtype.itemsize == sum(dtype[name].itemsize for name in dtype.names or ())


assert TAPE_DTYPE.itemsize == 40 and _without_padding(TAPE_DTYPE)
assert JOURNAL_DTYPE.itemsize == 144 and _without_padding(JOURNAL_DTYPE)
