"""What a suite of workloads must have shown, and what it did show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from foldbook.engine.schema import (
    JOURNAL_DTYPE,
    KEEP,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    MarketStatus,
    OrderFlag,
    Reason,
    Side,
    TapeFlag,
    TapeKind,
    TimeInForce,
)
from foldbook.engine.units import PRICE_ONE

REQUESTS = (
    JournalKind.SUBMITTED,
    JournalKind.AMEND_REQUESTED,
    JournalKind.DECREASE_REQUESTED,
    JournalKind.CANCEL_REQUESTED,
)
ANSWERS = (
    JournalKind.ACCEPTED,
    JournalKind.REJECTED,
    JournalKind.AMENDED,
    JournalKind.AMEND_REJECTED,
    JournalKind.CANCEL_REJECTED,
)
_PRECEDENCE = tuple(Reason(number) for number in range(1, Reason.USER))
_NOT_OF_SUBMITS = (Reason.ORDER_NOT_OPEN, Reason.SELF_CROSS)
_NOT_OF_AMENDS = (
    Reason.RISK_LOSS,
    Reason.MARKET_ORDER,
    Reason.DUPLICATE_CLIENT_ID,
    Reason.GROUP_NOT_FOUND,
    Reason.GROUP_LIMIT,
    Reason.RISK_OPEN_ORDERS,
    Reason.FOK_INSUFFICIENT_VOLUME,
)
_OF_DECREASES = (
    Reason.MARKET_INACTIVE,
    Reason.EXCHANGE_PAUSED,
    Reason.ORDER_NOT_OPEN,
    Reason.TRADING_PAUSED,
    Reason.RATE_LIMIT,
    Reason.INVALID_QTY,
)
_OF_CANCELS = (
    Reason.MARKET_INACTIVE,
    Reason.EXCHANGE_PAUSED,
    Reason.ORDER_NOT_OPEN,
    Reason.RATE_LIMIT,
)
_NOT_OF_ONE_ACCOUNT = (Evidence.NONE, Evidence.ACCOUNT)
NETTING = ("open", "add", "reduce", "close", "flip")
EVERYTHING = frozenset(
    {f"kind {kind.name}" for kind in JournalKind}
    | {f"submit refused: {each.name}" for each in _PRECEDENCE if each not in _NOT_OF_SUBMITS}
    | {f"amend refused: {each.name}" for each in _PRECEDENCE if each not in _NOT_OF_AMENDS}
    | {f"decrease refused: {each.name}" for each in _OF_DECREASES}
    | {f"cancel refused: {each.name}" for each in _OF_CANCELS}
    | {f"canceled: {reason.name}" for reason in Reason if reason >= Reason.USER}
    | {f"evidence {each.name}" for each in Evidence if each not in _NOT_OF_ONE_ACCOUNT}
    | {f"{each.name} {how}" for each in Liquidity if each for how in ("partial", "complete")}
    | {f"{how} {held}" for how in NETTING for held in ("YES", "NO")}
    | {f"filled {tif.name}" for tif in TimeInForce}
    | {"rests with POST_ONLY", "accepted with REDUCE_ONLY"}
    | {f"amended: {how}" for how in ("keeps its place", "moves", "crosses")}
    | {"amended to below filled", "canceled twice", "expires partly filled"}
    | {f"settles {held} at {paid}" for held in ("YES", "NO") for paid in ("0", "1", "scalar")}
    | {f"cause {kind.name} of a request" for kind in CauseKind}
    | {"fee", "no taker fee", "one trade fills two orders", "quotes fill two levels"}
    | {"closes without collateral", "fill behind a queue", "fill behind a guess"}
    | {"maker fee", "no maker fee", "carries on", "settlement fee"}
    | {"settles again", "takes back a settlement"}
    | {"decreases by", "decreases to", "only the expiry is amended"}
    | {"answers later", "overtakes", "asks for an order in flight"}
    | {"kill on", "kill off", "group set again"}
    | {f"a {what} {how} collateral" for what in ("fill", "settlement")
       for how in ("returns", "takes back")}
    | {f"accepted with {flag}" for flag in ("CANCEL_ON_PAUSE", "CANCEL_RESTING")}
)  # fmt: skip


def coverage(journals: Iterable[np.ndarray]) -> set[str]:
    """Name everything that occurred in `journals`, each an array of JOURNAL_DTYPE."""
    found: set[str] = set()
    for journal in journals:
        assert journal.dtype == JOURNAL_DTYPE
        _Coverage(found).read(journal)
    return found


def tape_coverage(tapes: Iterable[np.ndarray]) -> set[str]:
    """Name the kinds, trade flags and statuses that occur in `tapes`, arrays of TAPE_DTYPE."""
    found: set[str] = set()
    for tape in tapes:
        found |= {f"kind {TapeKind(kind).name}" for kind in np.unique(tape["kind"])}
        found |= {f"flag {flag.name}" for flag in TapeFlag if (tape["flags"] & flag).any()}
        statuses = tape["qty"][tape["kind"] == TapeKind.STATUS]
        found |= {f"status {MarketStatus(status).name}" for status in np.unique(statuses)}
    return found


class _Coverage:
    """Reads one journal and names what it shows."""

    def __init__(self, found: set[str]):
        self.found = found
        self.position: dict[int, int] = defaultdict(int)
        self.filled: dict[tuple[int, int], int] = defaultdict(int)
        self.terms: dict[tuple[int, int], tuple[int, int]] = {}
        self.ended: set[tuple[int, int]] = set()
        self.kinds: dict[tuple[int, int], int] = {}
        self.times: dict[tuple[int, int], int] = {}
        self.answered: dict[int, int] = defaultdict(int)
        self.arrived: set[tuple[int, int]] = set()
        self.settled: set[int] = set()
        self.groups: set[int] = set()
        self.fills_by_cause: dict[tuple[Any, ...], set[Any]] = defaultdict(set)

    def read(self, journal: np.ndarray) -> None:
        names = journal.dtype.names or ()
        for values in journal.tolist():
            self._read_row(dict(zip(names, values, strict=True)))

    def _read_row(self, row: dict[str, int]) -> None:
        found, kind = self.found, row["kind"]
        key = (row["market"], row["order"])
        reason = Reason(row["reason"])
        self.kinds[row["market"], row["row"]] = kind
        self.times[row["market"], row["row"]] = row["ts"]
        cause = (row["cause_market"], row["cause_row"])
        found.add(f"kind {JournalKind(kind).name}")
        if kind in REQUESTS:
            found.add(f"cause {CauseKind(row['cause_kind']).name} of a request")
            self._read_request(row, key)
        if kind in ANSWERS:
            self._read_answer(row, key, cause)
        if kind == JournalKind.REJECTED:
            found.add(f"submit refused: {reason.name}")
        elif kind == JournalKind.ACCEPTED:
            self.terms[key] = (row["price"], row["qty"])
            if row["reserved"] == 0:
                found.add("closes without collateral")
            if row["flags"] & OrderFlag.POST_ONLY:
                found.add("rests with POST_ONLY")
            for flag in ("REDUCE_ONLY", "CANCEL_ON_PAUSE", "CANCEL_RESTING"):
                if row["flags"] & OrderFlag[flag]:
                    found.add(f"accepted with {flag}")
        elif kind == JournalKind.AMENDED:
            price, qty = self.terms[key]
            stays = price == row["price"] and row["qty"] <= qty
            found.add("amended: keeps its place" if stays else "amended: moves")
            self.terms[key] = (row["price"], row["qty"])
        elif kind == JournalKind.AMEND_REJECTED:
            is_decrease = self.kinds[cause] == JournalKind.DECREASE_REQUESTED
            found.add(f"{'decrease' if is_decrease else 'amend'} refused: {reason.name}")
            if is_decrease:
                return
            if reason == Reason.INVALID_QTY and 0 < row["qty"] < self.filled[key]:
                found.add("amended to below filled")
        elif kind == JournalKind.CANCELED:
            found.add(f"canceled: {reason.name}")
            if reason == Reason.USER:
                self.ended.add(key)
        elif kind == JournalKind.CANCEL_REJECTED:
            found.add(f"cancel refused: {reason.name}")
            if reason == Reason.ORDER_NOT_OPEN and key in self.ended:
                found.add("canceled twice")
        elif kind == JournalKind.EXPIRED and self.filled[key]:
            found.add("expires partly filled")
        elif kind == JournalKind.FILL:
            self._read_fill(row, key)
        elif kind == JournalKind.SETTLED:
            paid = {0: "0", PRICE_ONE: "1"}.get(row["price"], "scalar")
            held = "YES" if row["side"] == Side.BUY else "NO"
            found.add(f"settles {held} at {paid}")
            self.position[row["market"]] = 0
            if row["fee"] > 0:
                found.add("settlement fee")
            if row["market"] in self.settled:
                found.add("settles again")
            if row["cash"] < 0:
                found.add("takes back a settlement")
            self.settled.add(row["market"])
        elif kind == JournalKind.COLLATERAL_RETURNED:
            what = "fill" if row["cause_kind"] == CauseKind.JOURNAL else "settlement"
            found.add(f"a {what} {'returns' if row['cash'] > 0 else 'takes back'} collateral")
        elif kind == JournalKind.KILL_SET:
            found.add("kill on" if row["qty"] else "kill off")
        elif kind == JournalKind.GROUP_SET:
            if row["group"] in self.groups:
                found.add("group set again")
            self.groups.add(row["group"])

    def _read_request(self, row: dict[str, int], key: tuple[int, int]) -> None:
        if row["kind"] == JournalKind.DECREASE_REQUESTED:
            to = row["flags"] & OrderFlag.REDUCE_TO
            self.found.add("decreases to" if to else "decreases by")
        amends = row["kind"] == JournalKind.AMEND_REQUESTED
        if amends and row["price"] == row["qty"] == KEEP != row["expires"]:
            self.found.add("only the expiry is amended")
        if row["kind"] != JournalKind.SUBMITTED and key not in self.arrived:
            self.found.add("asks for an order in flight")

    def _read_answer(
        self, row: dict[str, int], key: tuple[int, int], cause: tuple[int, int]
    ) -> None:
        if row["kind"] in (JournalKind.ACCEPTED, JournalKind.REJECTED):
            self.arrived.add(key)
        if row["ts"] > self.times[cause]:
            self.found.add("answers later")
        if cause[1] < self.answered[row["market"]]:
            self.found.add("overtakes")
        self.answered[row["market"]] = max(cause[1], self.answered[row["market"]])

    def _read_fill(self, row: dict[str, int], key: tuple[int, int]) -> None:
        found = self.found
        liquidity = Liquidity(row["liquidity"])
        found.add(f"{liquidity.name} {'partial' if row['left'] else 'complete'}")
        found.add(f"evidence {Evidence(row['evidence']).name}")
        found.add(f"filled {TimeInForce(row['tif']).name}")
        if row["fee"]:
            found.add("maker fee" if liquidity == Liquidity.MAKER else "fee")
        else:
            found.add(f"no {liquidity.name.lower()} fee")
        if row["carry"]:
            found.add("carries on")
        if row["guessed"]:
            found.add("fill behind a guess")
        if row["ahead"]:
            found.add("fill behind a queue")
        before = self.position[row["market"]]
        after = before + (row["qty"] if row["side"] == Side.BUY else -row["qty"])
        self.position[row["market"]] = after
        self.filled[key] += row["qty"]
        found.add(f"{_netting(before, after)} {'YES' if (before or after) > 0 else 'NO'}")
        cause = (row["cause_kind"], row["cause_market"], row["cause_row"])
        if row["cause_kind"] == CauseKind.JOURNAL:
            if self.kinds[cause[1:]] == JournalKind.AMENDED:
                found.add("amended: crosses")
            return
        takes = bool(row["flags"] & OrderFlag.TAKES_DEPTH)
        fills = self.fills_by_cause[(*cause, takes)]
        if takes and (row["order"] in fills):
            found.add("quotes fill two levels")
        if not takes and fills - {row["order"]}:
            found.add("one trade fills two orders")
        fills.add(row["order"])


def _netting(before: int, after: int) -> str:
    if before == 0:
        return "open"
    if after == 0:
        return "close"
    if (before > 0) != (after > 0):
        return "flip"
    return "add" if abs(after) > abs(before) else "reduce"
