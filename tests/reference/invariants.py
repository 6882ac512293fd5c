"""What must hold after every burst and every command of a reference simulation (design 9).

Everything here is recomputed from the tape, the journal and the orders, by other formulas than
the simulation's where there are any. A failure prints the seed and the internals.
"""

from __future__ import annotations

import pprint
from collections import defaultdict
from itertools import accumulate

from foldbook.engine.schema import (
    NO_MARKET,
    CauseKind,
    Evidence,
    JournalKind,
    Liquidity,
    Mark,
    MarketStatus,
    OrderFlag,
    Side,
    TapeFlag,
    TapeKind,
)
from foldbook.engine.units import PRICE_ONE

from .account import Account, Event
from .book import matches
from .simulation import ReferenceSimulation
from .state import MarketState, Order, TapeRow

ENDINGS = (JournalKind.CANCELED, JournalKind.EXPIRED)


class InvariantError(AssertionError):
    """An invariant does not hold; the text has the seed and the internals."""


def check(reference: ReferenceSimulation, *, seed: int | None = None) -> None:
    """Check every invariant over the whole history of `reference`. Raises InvariantError."""
    watch = Watch(seed=seed)
    watch.from_the_start = False
    watch(reference)


class Watch:
    """An observer of a ReferenceSimulation that checks it after each step.

    Reads each journal row once; checks the markets that the step touched, and everything every
    `full_every` steps. order_capacity: how many orders a market may hold, open or in flight.
    account: whose money and orders it checks, of several; see `Together`.
    """

    def __init__(
        self, *, seed: int | None = None, full_every: int = 100, order_capacity: int = 10**9,
        account: int = 0,
    ):  # fmt: skip
        self.seed = seed
        self.account = account
        self.order_capacity = order_capacity
        self.full_every = full_every
        self.from_the_start = True
        self.steps = 0
        self.rows_seen = 0
        self.tape_seen = 0
        self.place = 0
        self.cash = 0
        self.fees = 0
        self.reserved = 0
        self.returned: dict[tuple[int, ...], int] = defaultdict(int)
        self.peak = 0
        self.drawdown = 0
        self.position: dict[int, int] = defaultdict(int)
        self.filled: dict[tuple[int, int], int] = defaultdict(int)
        self.limit: dict[tuple[int, int], int] = {}
        self.row_index: dict[tuple[int, int], int] = {}
        self.tape_index: dict[int, list[int]] = defaultdict(list)
        self.claimed: dict[tuple[int, int], int] = defaultdict(int)
        self.carry: dict[tuple[int, int], int] = defaultdict(int)
        self.settled: dict[int, int] = {}
        self.client_ids: set[int] = set()
        self.killed = False
        self.triggered: set[int] = set()

    def __call__(self, reference: ReferenceSimulation) -> None:
        """Check what the last step did. Raises InvariantError."""
        try:
            self._check(reference)
        except AssertionError as error:
            raise InvariantError(f"{error}\n{dump(reference, self.seed)}") from error

    def _check(self, reference: ReferenceSimulation) -> None:
        touched = set()
        while self.tape_seen < reference.applied:
            market = reference.tape[self.tape_seen].market
            self.tape_index[market].append(self.tape_seen)
            self.tape_seen += 1
            touched.add(market)
        while self.rows_seen < len(reference.journal):
            self._check_row(reference, self.rows_seen)
            touched.add(reference.journal[self.rows_seen]["market"])
            self.rows_seen += 1
        if self.steps % self.full_every == 0:
            touched.update(range(len(reference.markets)))
            for state in reference.markets:
                for order in state.issued:
                    if order.account == self.account:
                        _check_order(order, self.filled[state.index, order.number])
        self.steps += 1
        for index in touched - {NO_MARKET}:
            account = reference.accounts[self.account]
            self._check_market(account.markets[index])
            _check_value(account, account.markets[index])
        self._check_account(reference)

    def _check_row(self, reference: ReferenceSimulation, index: int) -> None:
        row = reference.journal[index]
        place = reference.ledger.places[index]
        market, kind = row["market"], row["kind"]
        where = f"journal row {index}"
        assert self.place <= place <= reference.applied, f"{where}: place {place} goes backwards"
        assert index == 0 or reference.journal[index - 1]["ts"] <= row["ts"], f"{where}: ts"
        assert (market, row["row"]) not in self.row_index, f"{where}: row number twice"
        assert row["row"] == 0 or (market, row["row"] - 1) in self.row_index, f"{where}: a hole"
        self._check_cause(reference, row, place, where)
        self.place = place
        self.row_index[market, row["row"]] = index
        if kind == JournalKind.FILL:
            self._check_evidence(reference, index, where)
        if row["account"] != self.account:
            return
        available = self.cash - self.reserved
        self.cash += row["cash"] - row["fee"]
        self.fees += row["fee"]
        self.reserved += row["reserved"]
        # What a fill returns of collateral, or takes back, is part of it: the row behind it.
        left = self.cash - self.reserved + returned_by(reference.journal, index)
        # Only a result that is taken back can cost more than there is; nothing adds to that.
        by_result = kind == JournalKind.SETTLED or is_returned_by_result(row)
        assert left >= min(0, available) or by_result, f"{where}: available cash is negative"
        if kind == JournalKind.ACCEPTED:
            self._check_accepted(row, where)
        if kind in (JournalKind.ACCEPTED, JournalKind.AMENDED):
            self.limit[market, row["order"]] = row["price"]
        elif kind == JournalKind.FILL:
            assert left >= 0, f"{where}: available cash is negative"
            self._check_fill(reference, row, where)
        elif kind == JournalKind.SETTLED:
            self._check_settled(row, where)
        elif kind == JournalKind.COLLATERAL_RETURNED:
            assert left >= 0 or by_result, f"{where}: available cash is negative"
            self._check_returned(reference, index, where)
        elif kind == JournalKind.KILL_SET:
            self.killed = bool(row["qty"])
        elif kind == JournalKind.GROUP_SET:
            self.triggered.discard(row["group"])
        elif kind == JournalKind.GROUP_TRIGGERED:
            assert row["group"] not in self.triggered, f"{where}: triggered already"
            self.triggered.add(row["group"])
        elif kind in ENDINGS:
            assert row["left"] == 0, f"{where}: open after its end"
            _check_order(
                reference.markets[market].issued[row["order"] - 1],
                self.filled[market, row["order"]],
            )
            assert kind != JournalKind.EXPIRED or row["ts"] == row["expires"], f"{where}: ts"

    def _check_cause(
        self, reference: ReferenceSimulation, row: dict[str, int], place: int, where: str
    ) -> None:
        cause = (row["cause_market"], row["cause_row"])
        if row["cause_kind"] == CauseKind.TAPE:
            rows = self.tape_index[cause[0]]
            assert cause[1] < len(rows), f"{where}: its tape row is not applied yet"
            assert rows[cause[1]] < place, f"{where}: at or before the place of its cause"
            assert reference.tape[rows[cause[1]]].ts <= row["ts"], f"{where}: before its cause"
        elif row["cause_kind"] == CauseKind.JOURNAL:
            assert cause in self.row_index, f"{where}: its journal row is not written yet"
            earlier = reference.journal[self.row_index[cause]]
            assert earlier["ts"] <= row["ts"], f"{where}: before its cause"
        else:
            assert cause == (NO_MARKET, 0), f"{where}: cause names a row"

    def _check_accepted(self, row: dict[str, int], where: str) -> None:
        assert not self.killed, f"{where}: the kill switch is on"
        assert row["group"] not in self.triggered, f"{where}: its group is triggered"
        assert row["client_id"] not in self.client_ids, f"{where}: its client id came before"
        if row["client_id"]:
            self.client_ids.add(row["client_id"])

    def _check_settled(self, row: dict[str, int], where: str) -> None:
        market, sign = row["market"], 1 if row["side"] == Side.BUY else -1
        held = self.settled.setdefault(market, self.position[market])
        assert held == sign * row["qty"], f"{where}: settles what was held"
        assert row["qty"] > 0, f"{where}: settles nothing"
        self.position[market] = 0

    def _check_returned(self, reference: ReferenceSimulation, index: int, where: str) -> None:
        """An event returns what its NO positions are sure to pay; results that fit cost nothing."""
        row, place = reference.journal[index], reference.ledger.places[index]
        events = reference.accounts[self.account].events
        [event] = [each for each in events if row["market"] in each.indices]
        self.returned[event.indices] += row["cash"]
        self._check_event(reference, event, place, where)
        results = self._results(reference, event, place)
        payouts = [result.price for result in results]
        markets = {result.market for result in results}
        fits = len(markets) == len(results) and sum(payouts) <= PRICE_ONE
        if is_returned_by_result(row) and fits and not any(each.flags for each in results):
            before = reference.journal[index - 1]
            paid = before["cash"] if before["kind"] == JournalKind.SETTLED else 0
            assert paid + row["cash"] >= 0, f"{where}: a result that fits costs cash"

    def _check_event(
        self, reference: ReferenceSimulation, event: Event, place: int, where: str
    ) -> None:
        """What is returned leaves the worst result that is still possible, and no more."""
        last = {each.market: each for each in self._results(reference, event, place)}
        paid = sum(0 if each.flags & TapeFlag.VOID else each.price for each in last.values())
        held = [max(0, -self.position[market]) for market in event.indices]
        expected = PRICE_ONE * sum(held) - max(0, PRICE_ONE - paid) * max(held)
        assert self.returned[event.indices] == expected >= 0, f"{where}: {expected} is returned"

    def _results(
        self, reference: ReferenceSimulation, event: Event, place: int
    ) -> list[TapeRow]:
        """Return the tape rows before `place` that settle markets of an event."""
        numbers = [number for market in event.indices for number in self.tape_index[market]]
        rows = [reference.tape[number] for number in sorted(numbers) if number < place]
        return [
            row
            for row in rows
            if row.kind == TapeKind.STATUS and row.qty == MarketStatus.SETTLED
        ]

    def _check_fill(self, reference: ReferenceSimulation, row: dict[str, int], where: str) -> None:
        market, qty = row["market"], row["qty"]
        limit = self.limit[market, row["order"]]
        assert 0 < qty <= row["claim"], f"{where}: fills more than its claim"
        assert row["left"] >= 0, f"{where}: overfilled"
        assert matches(row["side"], limit, row["price"]), f"{where}: worse than the limit"
        takes = row["liquidity"] == Liquidity.TAKER
        assert takes or row["price"] == limit, f"{where}: makers trade at their price"
        assert row["guessed"] >= 0, f"{where}: guessed"
        self._check_fee(reference, row, where)
        self.filled[market, row["order"]] += qty
        self.position[market] += qty if row["side"] == Side.BUY else -qty

    def _check_evidence(self, reference: ReferenceSimulation, index: int, where: str) -> None:
        """A trade of the tape fills no more than it was, of all accounts; a trade between accounts
        has two sides, one behind the other."""
        row = reference.journal[index]
        market, qty = row["market"], row["qty"]
        if row["evidence"] == Evidence.ACCOUNT:
            if row["liquidity"] == Liquidity.MAKER:
                taken = reference.journal[self.row_index[row["cause_market"], row["cause_row"]]]
                for name in ("kind", "evidence", "market", "qty", "price", "ts"):
                    assert taken[name] == row[name], f"{where}: {name} is not its taker's"
                assert taken["account"] != row["account"], f"{where}: trades with itself"
                assert taken["side"] != row["side"], f"{where}: both on one side"
            else:
                behind = [each["kind"] for each in reference.journal[index + 1 : index + 3]]
                assert JournalKind.FILL in behind, f"{where}: nobody sold what it bought"
        elif row["liquidity"] == Liquidity.MAKER and not row["flags"] & OrderFlag.TAKES_DEPTH:
            key = (market, row["cause_row"])
            trade = reference.tape[self.tape_index[market][row["cause_row"]]]
            self.claimed[key] += qty
            assert trade.kind == TapeKind.TRADE, f"{where}: not caused by a trade"
            assert self.claimed[key] <= trade.qty, f"{where}: the trade is used up"

    def _check_fee(self, reference: ReferenceSimulation, row: dict[str, int], where: str) -> None:
        """Fees leave whole units of the precision; what is carried was paid too much."""
        key, precision = (row["market"], row["order"]), reference.schedule.precision
        whole = (row["cash"] - row["fee"]) % precision == 0
        assert whole, f"{where}: the balance is finer than its precision"
        assert 0 <= row["carry"] < self.carry[key] + precision, f"{where}: carry"
        assert precision > 1 or row["carry"] == 0, f"{where}: nothing was rounded up"
        self.carry[key] = row["carry"]

    def _check_market(self, market: MarketState) -> None:
        name = f"market {market.index}"
        for ladder in market.book.values():
            assert all(qty > 0 for qty in ladder.qty.values()), f"{name}: level not above zero"
            assert all(price % market.tick == 0 for price in ladder.qty), f"{name}: off the grid"
            for price, taken in ladder.taken.items():
                assert 0 < taken <= ladder.at(price), f"{name}: took more than a level showed"
        bids, asks = market.book[Side.BUY], market.book[Side.SELL]
        assert bids.recorded_best < asks.recorded_best, f"{name}: crossed outside a burst"
        assert market.trusted or (not bids.qty and not asks.qty), f"{name}: levels without trust"
        assert 0 <= market.mid2 <= 2 * PRICE_ONE, f"{name}: mark out of range"
        assert market.position == self.position[market.index], f"{name}: position is not its fills"
        assert market.cost >= 0 and (market.position or not market.cost), f"{name}: cost"
        own = {side: market.queue(side) for side in Side}
        line = {side: market.line(side) for side in Side}
        if line[Side.BUY] and line[Side.SELL]:
            assert line[Side.BUY][0].price < line[Side.SELL][0].price, f"{name}: crosses itself"
        for order in market.open.values():
            _check_order(order, self.filled[market.index, order.number])
            assert order.left > 0 and order.ahead >= 0, f"{name}: order {order}"
            assert order.guessed >= 0 and order.carry >= 0, f"{name}: order {order}"
            assert order.group not in self.triggered, f"{name}: its group is triggered: {order}"
        held_orders = len(market.open) + market.in_flight
        assert held_orders <= self.order_capacity, f"{name}: {held_orders} orders"
        active = market.status in (MarketStatus.OPEN, MarketStatus.PAUSED)
        assert active or not market.open, f"{name}: orders after the close"
        expected = sum(_reserved_of_side(market, side, own[side]) for side in Side)
        assert market.reserved == expected, f"{name}: reserved {market.reserved} is not {expected}"

    def _check_account(self, reference: ReferenceSimulation) -> None:
        account = reference.accounts[self.account]
        markets = account.markets
        cost = sum(market.cost for market in markets)
        realised = sum(market.realised for market in markets)
        assert account.cash == self.cash, "cash is not the sum of the journal"
        assert self.fees == sum(market.fees for market in markets), "fees are not their sum"
        assert self.reserved == account.reserved, "reserved is not the sum of the journal"
        returned = sum(self.returned.values())
        assert account.returned == returned, "returned is not the sum of the journal"
        conserved = account.starting_cash + realised - self.fees - cost + returned
        assert account.cash == conserved, "cash is not start + realised - fees - cost + returned"
        if self.steps % self.full_every == 0:
            for event in account.events:
                self._check_event(reference, event, reference.applied, f"event {event.indices}")
        bucket = account.bucket
        assert 0 <= bucket.level <= bucket.full, f"bucket: {bucket.level} of {bucket.full}"
        value = account.value
        self.peak = max(self.peak, value, account.starting_cash)
        self.drawdown = max(self.drawdown, self.peak - value)
        assert account.peak >= value, "the value is above its peak"
        assert account.drawdown >= account.peak - value, "a drawdown was missed"
        if self.from_the_start:
            assert (self.peak, self.drawdown) == (account.peak, account.drawdown), "drawdown"


class Together:
    """An observer of several accounts: each by a `Watch`, and what they have in all.

    A NO is counted at one dollar and a YES at none, so that a trade between accounts leaves the sum
    as it was, but for fees. All that moves it is what is bought and sold outside, and settlements.
    """

    def __init__(self, accounts: int, *, seed: int | None = None, order_capacity: int = 10**9):
        self.watches = [
            Watch(seed=seed, order_capacity=order_capacity, account=account)
            for account in range(accounts)
        ]
        self.rows_seen = 0
        self.expected = 0
        self.settled: set[tuple[int, int]] = set()

    def __call__(self, reference: ReferenceSimulation) -> None:
        """Check what the last step did. Raises InvariantError."""
        for watch in self.watches:
            watch(reference)
        for row in reference.journal[self.rows_seen :]:
            self.expected += self._moved(row)
        self.rows_seen = len(reference.journal)
        owned = sum(
            account.cash - account.returned + sum(market.fees for market in account.markets)
            for account in reference.accounts
        )
        desks = [market for account in reference.accounts for market in account.markets]
        owned += sum(PRICE_ONE * max(0, -market.position) for market in desks)
        if owned != self.expected:
            text = f"the accounts own {owned} and not {self.expected}"
            raise InvariantError(f"{text}\n{dump(reference, self.watches[0].seed)}")

    def _moved(self, row: dict[str, int]) -> int:
        """Return by how much a row changes what all accounts own."""
        kind, qty = row["kind"], row["qty"]
        if kind == JournalKind.FILL:
            paid = qty * row["price"] * (1 if row["side"] == Side.BUY else -1)
            return 0 if row["evidence"] == Evidence.ACCOUNT else -paid
        if kind == JournalKind.SETTLED:
            is_first = (row["account"], row["market"]) not in self.settled
            self.settled.add((row["account"], row["market"]))
            ends_no = is_first and row["side"] == Side.SELL
            return row["cash"] - PRICE_ONE * qty * ends_no
        return row["cash"] if kind == JournalKind.CASH_MOVED else 0


def returned_by(journal: list[dict[str, int]], index: int) -> int:
    """Return the collateral that the fill in a journal row returns, 0 if that is no fill."""
    row, behind = journal[index], journal[index + 1 : index + 2]
    if row["kind"] != JournalKind.FILL or not behind:
        return 0
    return behind[0]["cash"] if behind[0]["kind"] == JournalKind.COLLATERAL_RETURNED else 0


def is_returned_by_result(row: dict[str, int]) -> bool:
    """Say whether a row returns collateral because a market was settled."""
    is_returned = row["kind"] == JournalKind.COLLATERAL_RETURNED
    return is_returned and row["cause_kind"] == CauseKind.TAPE


def _check_order(order: Order, filled: int) -> None:
    assert order.filled == filled, f"filled is not the sum of its fills: {order}"
    if not order.arrived:
        assert order.filled == order.left == order.canceled == 0, f"open in flight: {order}"
        return
    assert order.filled + order.left + order.canceled == order.qty, f"conserved: {order}"


def _check_value(account: Account, market: MarketState) -> None:
    """YES and NO of one quantity are worth one dollar each pair, but for one unit of rounding."""
    if account.mark != Mark.MID or not market.position:
        return
    held = abs(market.position)
    mid2 = market.mid2 if market.position > 0 else 2 * PRICE_ONE - market.mid2
    mirrored = held * (2 * PRICE_ONE - mid2) // 2
    pairs = account.position_value(market) + mirrored
    assert 0 <= held * PRICE_ONE - pairs <= 1, f"market {market.index}: pairs are worth {pairs}"


def _reserved_of_side(market: MarketState, side: Side, queue: list[Order]) -> int:
    """Recompute collateral from running totals: what of each lies beyond the position."""
    position = market.position if side == Side.SELL else -market.position
    behind = list(accumulate((order.left for order in queue), initial=0))[1:]
    return sum(
        (order.price if side == Side.BUY else PRICE_ONE - order.price)
        * max(0, min(order.left, total - max(0, position)))
        for order, total in zip(queue, behind, strict=True)
    )


def dump(reference: ReferenceSimulation, seed: int | None) -> str:
    """Return the seed, the state and the last journal rows, to be read by a person."""
    rows = [
        {name: int(value) for name, value in row.items() if value}
        | {"kind": JournalKind(row["kind"]).name}
        for row in reference.journal[-12:]
    ]
    tape = reference.tape[max(0, reference.applied - 8) : reference.applied]
    state = pprint.pformat(reference.state(), width=150, compact=True)
    parts = [f"seed {seed}, {reference.applied} tape rows applied", state]
    parts += [f"tape: {TapeKind(row.kind).name} {row}" for row in tape]
    parts += [f"journal: {row}" for row in rows]
    return "\n".join(parts)
