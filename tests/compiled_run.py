"""The compiled bus behind the small interface that workloads drive, and its state in plain ints."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import Workload

from foldbook.engine import Config, Result
from foldbook.engine.bus import Bus
from foldbook.engine.kernels import layout
from foldbook.engine.kernels.refusals import Command
from foldbook.engine.schema import OrderFlag
from foldbook.engine.session import Session, Tape

Cause = tuple[int, int, int]
CLIENT_IDS = 1024
ORDER_GROUPS = 8


class CompiledRun:
    """A Bus that speaks of orders as (market, number) and is told its causes."""

    def __init__(self, workload: Workload, order_capacity: int = 64):
        session = Session(Tape(workload.rows), workload.markets, name=f"seed-{workload.seed}")
        self.markets = workload.markets
        self.bus = Bus(
            session,
            cash=workload.cash,
            models=workload.models,
            mark=workload.mark,
            order_capacity=order_capacity,
            client_ids=CLIENT_IDS,
            order_groups=ORDER_GROUPS,
            others=workload.others,
        )

    def use(self, account: int) -> None:
        """Let the next command be that of an account."""
        self.bus.use(account)

    def advance_to_row(self, n: int) -> None:
        """Apply whole bursts until n tape rows are applied."""
        self.bus.advance(stop=n)
        self.bus.follow()

    def advance_until(self, ts: int) -> None:
        """Apply all rows with ts <= `ts`, and stand there."""
        self.bus.advance(limit=ts)
        self.bus.follow()

    def submit(
        self, market: int, side: int, price: int, qty: int, tif: int, flags: int, expires: int,
        client_id: int, group: int, cause: Cause,
    ) -> int:  # fmt: skip
        """Submit an order."""
        terms = (side, price, qty, tif, flags, expires, client_id, group)
        return self.bus.submit(Command(market, 0, *terms, *cause))

    def amend(
        self, market: int, number: int, price: int, qty: int, expires: int, cause: Cause
    ) -> None:
        """Amend an order."""
        self.bus.amend(Command(market, number, 0, price, qty, 0, 0, expires, 0, 0, *cause))

    def decrease(self, market: int, number: int, qty: int, to: bool, cause: Cause) -> None:
        """Decrease an order by or to a quantity."""
        flags = int(OrderFlag.REDUCE_TO) if to else 0
        self.bus.decrease(Command(market, number, 0, 0, qty, 0, flags, 0, 0, 0, *cause))

    def cancel(self, market: int, number: int, cause: Cause) -> None:
        """Cancel an order."""
        self.bus.cancel(Command(market, number, 0, 0, 0, 0, 0, 0, 0, 0, *cause))

    def set_group(self, group: int, limit: int, cause: Cause) -> None:
        """Create an order group, or set it again."""
        self.bus.set_group(group, limit, cause)

    def kill(self, on: bool, cause: Cause) -> None:
        """Turn the kill switch."""
        self.bus.kill(on, cause)

    def begin_batch(self) -> None:
        """Send what follows as one message."""
        self.bus.begin_batch()

    def end_batch(self) -> None:
        """End the batch."""
        self.bus.end_batch()

    def journal_rows(self) -> np.ndarray:
        """Return all journal rows."""
        return self.bus.journal().rows

    def places(self) -> list[int]:
        """Return the places of all journal rows."""
        return self.bus.journal().places.tolist()

    def state(self, account: int = 0) -> dict[str, Any]:
        """Return what an account has as the reference names it, read word by word."""
        self.bus.use(account)
        return read_state(self.bus.state, len(self.markets))

    def result(self, workload: Workload) -> Result:
        """Return the result that the journal so far tells of, rebuilt from its file's header."""
        journal = self.bus.journal()
        header = header_of(self.bus, config_of(workload))
        return Result.from_journal(self.bus.session, journal.rows, journal.places, header)


def header_of(bus: Bus, config: Config) -> dict[str, Any]:
    """Return the header of a journal that a run which stands here would have."""
    return {
        "session": {"digest": bus.session.digest},
        **config.header(),
        "events": bus.memory[layout.CURSOR],
        "now": bus.memory[layout.NOW],
    }


def config_of(workload: Workload) -> Config:
    """Return the configuration that a workload is run with."""
    return Config(
        workload.cash, workload.seed, workload.models, workload.mark,
        client_ids=CLIENT_IDS, order_groups=ORDER_GROUPS,
    )  # fmt: skip


def read_state(state: np.ndarray, markets: int) -> dict[str, Any]:
    """Return a state block as nested plain integers: of an account, that which is in use."""
    word = state.tolist()
    table = layout.table_offset(markets)
    return {
        "account": {
            "cash": word[layout.CASH],
            "reserved": word[layout.RESERVED],
            "returned": word[layout.RETURNED],
            "fees": word[layout.FEES],
            "realised": word[layout.REALISED],
            "value": word[layout.CASH] + word[layout.POSITIONS_VALUE] - word[layout.RETURNED],
            "peak": word[layout.PEAK],
            "drawdown": word[layout.DRAWDOWN],
            "now": word[layout.NOW],
            "killed": word[layout.KILLED],
            "bucket": word[layout.BUCKET],
            "flights": word[layout.FLIGHT_COUNT],
        },
        "markets": [_market(word, word[table + m], m) for m in range(markets)],
    }


def _market(word: list[int], base: int, market: int) -> dict[str, Any]:
    position = layout.ACCOUNT_END + layout.POSITION_WORDS * market
    tick, top = word[base + layout.TICK], word[base + layout.TOP]
    ladders: list[dict[int, int]] = [{}, {}]
    taken: dict[tuple[int, int], int] = {}
    visible: list[list[int]] = [[], []]
    for side in (0, 1):
        for rank in range(top + 1):
            at = base + layout.MARKET_WORDS + layout.LEVEL_WORDS * (side * (top + 1) + rank)
            price = rank * tick if side == 0 else 10_000 - rank * tick
            qty, own = word[at + layout.QTY], word[at + layout.TAKEN]
            if qty:
                ladders[side][price] = qty
            if own:
                taken[side, price] = own
            if qty > own:
                visible[side].append(price)
    return {
        "status": word[base + layout.STATUS],
        "pause": word[base + layout.PAUSE],
        "trusted": bool(word[base + layout.TRUSTED]),
        "restore_at": word[base + layout.RESTORE_AT],
        "closes_at": word[base + layout.CLOSES_AT],
        "bids": ladders[0],
        "asks": ladders[1],
        "taken": taken,
        "mid2": word[base + layout.MID2],
        "position": word[position + layout.POSITION],
        "cost": word[position + layout.COST],
        "realised": word[position + layout.POSITION_REALISED],
        "fees": word[position + layout.POSITION_FEES],
        "reserved": word[position + layout.POSITION_RESERVED],
        "settled": (
            word[position + layout.SETTLED_POSITION],
            word[position + layout.SETTLED_COST],
            word[position + layout.SETTLED_CASH],
            word[position + layout.SETTLED_FEE],
        ),
        "orders": {side: _orders(word, base, side) for side in (0, 1)},
        "visible_bid": max(visible[0], default=0),
        "visible_ask": min(visible[1], default=10_000),
    }


def _orders(word: list[int], base: int, side: int) -> list[tuple[int, ...]]:
    tick = word[base + layout.TICK]
    orders = []
    slot = word[base + layout.HEAD_BUY + side]
    while slot:
        at = word[base + layout.ORDERS] + layout.ORDER_WORDS * slot
        price = word[at + layout.RANK] * tick
        price = 10_000 - price if side else price
        terms = (
            layout.TOTAL, layout.LEFT, layout.AHEAD, layout.EXPIRES, layout.FLAGS, layout.TIF,
            layout.GUESSED, layout.CARRY, layout.GROUP,
        )  # fmt: skip
        order = (word[at + layout.NUMBER], side, price, *(word[at + term] for term in terms))
        if word[at + layout.OWNER] == word[layout.ACCOUNT]:
            orders.append(order)
        slot = word[at + layout.NEXT]
    return orders
