"""Where a change of portfolio value comes from: spread, adverse selection, fees, inventory and
settlement, adding up to it exactly.

A pure function of a journal and of the marks of its tape (docs/gym.md has the formulas); it looks
at no state, so it audits the reward instead of repeating it. Money in $0.000001.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from .journal import Journal
from .kernels.marks import fill_marks
from .schema import CauseKind, JournalKind, MarketStatus, Side, TapeKind
from .session import Session, Tape
from .simulation import Simulation
from .units import PRICE_ONE

LEDGER_DTYPE = np.dtype(
    [
        ("spread", "<i8"),  # fills against the mark before their burst
        ("adverse", "<i8"),  # move of the mark over their burst
        ("fees", "<i8"),  # what was charged, as a loss
        ("inventory", "<i8"),  # every other move of the mark, on what was held
        ("settlement", "<i8"),  # payouts against the last mark
    ]
)
START = PRICE_ONE
"""The mark of a market that has had none: twice half a dollar."""

_marks: WeakKeyDictionary[Tape, np.ndarray] = WeakKeyDictionary()


def marks(session: Session) -> np.ndarray:
    """Return twice the mid at which its market is marked after the burst of each tape row: int64,
    $0.0001. Worked out once for each tape."""
    if session.tape not in _marks:
        run = Simulation(session, order_capacity=1, client_ids=0, order_groups=0).bus.run
        found = np.zeros(len(session.tape), np.int64)
        fill_marks(run, session.tape.rows, found)
        found.flags.writeable = False
        _marks[session.tape] = found
    return _marks[session.tape]


def ledger(
    session: Session, journal: Journal, stands: np.ndarray, account: int = 0
) -> np.ndarray:
    """Split the change of an account's portfolio value between moments of a run marked at the mid.

    stands: int64, shape (n, 2), ascending: how many tape rows and how many journal rows are known
    at each moment, the first row of the journal always. Returns LEDGER_DTYPE, shape (n - 1,), a
    row for each stretch between two moments. Raises ValueError for stands that are none.
    """
    stands = np.asarray(stands, np.int64)
    _check(session, journal, stands)
    parts = np.zeros(len(journal), LEDGER_DTYPE)
    value = np.zeros(len(stands), np.int64)
    journal = _of_account(journal, account)
    rows = journal.rows
    value += np.cumsum(rows["cash"] - rows["fee"])[stands[:, 1] - 1]
    returned = np.where(rows["kind"] == JournalKind.COLLATERAL_RETURNED, rows["cash"], 0)
    value -= np.cumsum(returned)[stands[:, 1] - 1]
    parts["fees"] = -rows["fee"]
    for market in range(len(session.markets)):
        _split(session, journal, market, parts)
        value += _worth(session, journal, market, stands)
    split = np.zeros(len(stands) - 1, LEDGER_DTYPE)
    rest = np.diff(value)
    for name in ("spread", "adverse", "fees", "settlement"):
        split[name] = np.diff(np.append(0, np.cumsum(parts[name]))[stands[:, 1]])
        rest -= split[name]
    split["inventory"] = rest
    return split


def total(split: np.ndarray) -> dict[str, int]:
    """Return the sums of a ledger's columns, by name."""
    return {name: int(split[name].sum()) for name in LEDGER_DTYPE.names or ()}


def change(split: np.ndarray) -> np.ndarray:
    """Return the change of value of each stretch: what its row adds up to, int64."""
    added = np.zeros(len(split), np.int64)
    for name in LEDGER_DTYPE.names or ():
        added += split[name]
    return added


def _check(session: Session, journal: Journal, stands: np.ndarray) -> None:
    if stands.ndim != 2 or stands.shape[1:] != (2,) or len(stands) < 2:
        raise ValueError(f"stands: shape {stands.shape}; expected (moments, 2), 2 moments at least")
    last = np.array([len(session.tape), len(journal)])
    within = (stands >= [0, 1]).all() and (stands <= last).all()
    if not within or (np.diff(stands, axis=0) < 0).any():
        raise ValueError(
            f"stands: expected ascending numbers of tape rows up to {last[0]} and of journal rows "
            f"from 1 to {last[1]}"
        )


def _of_account(journal: Journal, account: int) -> Journal:
    """Return a journal in which the rows of other accounts do nothing."""
    rows = journal.rows.copy()
    others = rows["account"] != account
    rows["kind"][others] = JournalKind.SUBMITTED
    rows["cash"][others] = rows["fee"][others] = 0
    return Journal(rows, journal.places)


def _split(session: Session, journal: Journal, market: int, parts: np.ndarray) -> None:
    """Write spread, adverse selection and settlement of a market's journal rows."""
    rows = journal.rows
    fills = np.flatnonzero((rows["kind"] == JournalKind.FILL) & (rows["market"] == market))
    before, after = _around(session, journal, market, fills)
    fill = rows[fills]
    signed = np.where(fill["side"] == Side.BUY, fill["qty"], -fill["qty"])
    parts["spread"][fills] = signed * (before - 2 * fill["price"].astype(np.int64)) // 2
    parts["adverse"][fills] = signed * (after - before) // 2
    paid = np.flatnonzero((rows["kind"] == JournalKind.SETTLED) & (rows["market"] == market))
    before, _ = _around(session, journal, market, paid)
    # A later settlement corrects the first one: it ends no position, and is a payout as a whole.
    held = -_signed(rows, market)[paid]
    parts["settlement"][paid] = rows["cash"][paid] - value_at(held, before)


def _signed(rows: np.ndarray, market: int) -> np.ndarray:
    """Return the change of position by each journal row."""
    signed = np.where(rows["side"] == Side.BUY, rows["qty"], -rows["qty"])
    settles = rows["kind"] == JournalKind.SETTLED
    # Only the first settlement ends a position.
    numbers = np.flatnonzero(settles & (rows["market"] == market))
    settles[:] = False
    settles[numbers[:1]] = True
    fills = (rows["kind"] == JournalKind.FILL) & (rows["market"] == market)
    return np.where(fills, signed, 0) - np.where(settles, signed, 0)


def value_at(position: np.ndarray, mid2: np.ndarray) -> np.ndarray:
    """Return what positions are worth at marks, rounded down: int64 (semantics, section 9)."""
    price = np.where(position < 0, 2 * PRICE_ONE - mid2, mid2)
    return np.abs(position) * price // 2


def _around(
    session: Session, journal: Journal, market: int, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the market's marks before and after the burst that caused each journal row.

    A row that a command caused belongs to no burst: both are the mark of its moment. A burst that
    settles the market moves no mark: what it pays is settlement.
    """
    tape = session.tape.rows
    of_market = np.flatnonzero(tape["market"] == market)
    mids = np.append(START, marks(session)[of_market])
    ends = np.append(_burst_ends(tape), 0)
    burst = np.searchsorted(ends[:-1], journal.places[numbers], side="left")
    first = np.searchsorted(of_market, ends[burst - 1])
    stop = np.searchsorted(of_market, ends[burst])
    applied = np.searchsorted(of_market, journal.places[numbers])
    caused = journal.rows["cause_kind"][numbers] == CauseKind.TAPE
    is_end = (tape["kind"] == TapeKind.STATUS) & (tape["qty"] == MarketStatus.SETTLED)
    settles = np.append(np.flatnonzero(is_end[of_market]), len(of_market))[0]
    before = np.where(caused, mids[first], mids[applied])
    after = np.where(caused & (stop <= settles), mids[stop], before)
    return before, after


def _burst_ends(tape: np.ndarray) -> np.ndarray:
    """Return how many rows have been applied at the end of each burst."""
    starts = (np.diff(tape["ts"]) != 0) | (np.diff(tape["market"]) != 0)
    return np.append(np.flatnonzero(starts) + 1, len(tape))


def _worth(session: Session, journal: Journal, market: int, stands: np.ndarray) -> np.ndarray:
    """Return what the position in a market is worth at each moment."""
    of_market = np.flatnonzero(session.tape.rows["market"] == market)
    mids = np.append(START, marks(session)[of_market])
    applied = np.searchsorted(of_market, stands[:, 0], side="left")
    position = np.append(0, np.cumsum(_signed(journal.rows, market)))[stands[:, 1]]
    return value_at(position, mids[applied])
