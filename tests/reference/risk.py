"""Own limits, and the venue's rate limit (docs/semantics.md, section 11)."""

from __future__ import annotations

from collections.abc import Iterable

from foldbook.engine.schema import Reason
from foldbook.engine.specs import Risk

from .state import MarketState, Order, signed

TOKEN = 10**9
"""What the bucket counts in: a token is so many of its units."""
WRITE_TOKENS = 10
CANCEL_TOKENS = 2


class Bucket:
    """A token bucket; without a rate it never refuses."""

    def __init__(self, risk: Risk, now: int):
        self.rate = risk.tokens_per_second
        self.full = self.rate * risk.burst_seconds * TOKEN
        self.level = self.full
        self.ts = now

    def refill(self, now: int) -> None:
        """Add what came in since the last time: `rate` tokens a second are `rate` units a ns."""
        self.level = min(self.full, self.level + self.rate * (now - self.ts))
        self.ts = now

    def lacks(self, tokens: int) -> bool:
        """Say whether a request that costs `tokens` is to be refused."""
        return self.rate > 0 and self.level < tokens * TOKEN

    def take(self, tokens: int) -> None:
        """Charge an answer, as far as there is anything."""
        self.level = max(0, self.level - tokens * TOKEN)


def broken_limit(
    risk: Risk, markets: Iterable[MarketState], market: MarketState, order: Order,
    reserved: tuple[int, int],
) -> Reason:  # fmt: skip
    """Return the first own limit that `order` would break.

    order: as it would be. reserved: of the account, before and with the order.
    """
    markets = list(markets)
    is_new = order.number not in market.open
    if risk.max_order_qty and order.left > risk.max_order_qty:
        return Reason.RISK_ORDER_QTY
    open_orders = sum(len(each.open) for each in markets)
    if is_new and risk.max_open_orders and open_orders >= risk.max_open_orders:
        return Reason.RISK_OPEN_ORDERS
    others = sum(
        other.left
        for other in market.open.values()
        if other.side == order.side and other.number != order.number
    )
    on_its_side = signed(order.side, market.position) + others + order.left
    if risk.max_position and on_its_side > risk.max_position:
        return Reason.RISK_POSITION
    before, after = reserved
    exposure = sum(each.cost for each in markets) + after
    if risk.max_notional and exposure > risk.max_notional and after > before:
        return Reason.RISK_NOTIONAL
    return Reason.NONE
