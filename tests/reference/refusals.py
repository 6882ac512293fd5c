"""Why a venue or an own limit refuses a command: the lists of section 3, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from foldbook.engine.schema import KEEP, NO_TIME, OrderFlag, Reason, Side, TimeInForce
from foldbook.engine.units import PRICE_ONE, QTY_MAX

from .account import Account, cash_moved
from .book import leg_cost, matches, opposite
from .risk import CANCEL_TOKENS, WRITE_TOKENS, broken_limit
from .state import MarketState, Order, closable, collateral, signed

ALLOWED_FLAGS = (
    OrderFlag.POST_ONLY
    | OrderFlag.REDUCE_ONLY
    | OrderFlag.CANCEL_ON_PAUSE
    | OrderFlag.CANCEL_RESTING
)


def refuse_submit(account: Account, market: MarketState, order: Order) -> Reason:
    """Return why a new order is refused."""
    risk = account.models.risk
    if market.inactive:
        return Reason.MARKET_INACTIVE
    if market.exchange_paused:
        return Reason.EXCHANGE_PAUSED
    if market.halted:
        return Reason.TRADING_PAUSED
    if account.killed:
        return Reason.KILLED
    if risk.max_loss and account.starting_cash - account.value >= risk.max_loss:
        return Reason.RISK_LOSS
    if account.bucket.lacks(WRITE_TOKENS):
        return Reason.RATE_LIMIT
    if order.price == KEEP:
        return Reason.MARKET_ORDER
    if not market.on_grid(order.price):
        return Reason.INVALID_PRICE
    if not 0 < order.qty <= QTY_MAX:
        return Reason.INVALID_QTY
    if is_invalid(account, market, order):
        return Reason.INVALID_ORDER
    if order.client_id and order.client_id in account.client_ids:
        return Reason.DUPLICATE_CLIENT_ID
    if order.group and order.group not in account.groups:
        return Reason.GROUP_NOT_FOUND
    if order.group and account.groups[order.group].triggered:
        return Reason.GROUP_LIMIT
    reason = break_limit(account, market, order)
    if reason:
        return reason
    if crosses_post_only(market, order):
        return Reason.POST_ONLY_CROSS
    if lacks_balance(account, market, order):
        return Reason.INSUFFICIENT_BALANCE
    displayed = sum(qty for _, qty in preview(market, order))
    if order.tif == TimeInForce.FOK and displayed < order.qty:
        return Reason.FOK_INSUFFICIENT_VOLUME
    return Reason.NONE


def refuse_cancel(account: Account, market: MarketState, order: Order) -> Reason:
    """Return why a cancel is refused."""
    if market.inactive:
        return Reason.MARKET_INACTIVE
    if market.exchange_paused:
        return Reason.EXCHANGE_PAUSED
    if order.number not in market.open:
        return Reason.ORDER_NOT_OPEN
    if account.bucket.lacks(CANCEL_TOKENS):
        return Reason.RATE_LIMIT
    return Reason.NONE


def refuse_amend(account: Account, market: MarketState, order: Order, amended: Order) -> Reason:
    """Return why an amend of `order` to `amended` is refused."""
    if market.inactive:
        return Reason.MARKET_INACTIVE
    if market.exchange_paused:
        return Reason.EXCHANGE_PAUSED
    if order.number not in market.open:
        return Reason.ORDER_NOT_OPEN
    if market.halted:
        return Reason.TRADING_PAUSED
    if account.killed:
        return Reason.KILLED
    if account.bucket.lacks(WRITE_TOKENS):
        return Reason.RATE_LIMIT
    if not market.on_grid(amended.price):
        return Reason.INVALID_PRICE
    if not 0 < amended.qty <= QTY_MAX or amended.qty < order.filled:
        return Reason.INVALID_QTY
    if amended.expires <= account.now:
        return Reason.INVALID_ORDER
    if amended.left == 0:
        return Reason.NONE
    reason = break_limit(account, market, amended)
    if reason:
        return reason
    if crosses_self(market, amended):
        return Reason.SELF_CROSS
    if crosses_post_only(market, amended):
        return Reason.POST_ONLY_CROSS
    if lacks_balance(account, market, amended):
        return Reason.INSUFFICIENT_BALANCE
    return Reason.NONE


def refuse_decrease(
    account: Account, market: MarketState, order: Order, qty: int, to: bool
) -> Reason:
    """Return why a decrease is refused."""
    if market.inactive:
        return Reason.MARKET_INACTIVE
    if market.exchange_paused:
        return Reason.EXCHANGE_PAUSED
    if order.number not in market.open:
        return Reason.ORDER_NOT_OPEN
    if market.halted:
        return Reason.TRADING_PAUSED
    if account.bucket.lacks(WRITE_TOKENS):
        return Reason.RATE_LIMIT
    if not (0 if to else 1) <= qty <= order.left:
        return Reason.INVALID_QTY
    return Reason.NONE


def is_invalid(account: Account, market: MarketState, order: Order) -> bool:
    """Say whether the terms of a new order contradict one another."""
    if order.tif not in (0, 1, 2) or order.flags & ~ALLOWED_FLAGS:
        return True
    lasts = order.flags & OrderFlag.POST_ONLY or order.expires != NO_TIME
    if order.tif != TimeInForce.GTC and lasts:
        return True
    return order.expires <= account.now or could_open(market, order)


def could_open(market: MarketState, order: Order) -> bool:
    """Say whether a reduce-only order could open or grow a position."""
    if not order.flags & OrderFlag.REDUCE_ONLY:
        return False
    return order.tif != TimeInForce.IOC or market.capacity(order.side) < order.qty


def crosses_self(market: MarketState, order: Order) -> bool:
    """Say whether the own best opposite order would trade with this one."""
    own = market.queue(opposite(order.side))
    return bool(own) and matches(order.side, order.price, own[0].price)


def crosses_post_only(market: MarketState, order: Order) -> bool:
    """Say whether a post-only order would meet the visible book, or an order of any account."""
    if not order.flags & OrderFlag.POST_ONLY:
        return False
    against = opposite(order.side)
    resting = [each.price for each in market.line(against)]
    best = market.book[against].visible_best
    return any(matches(order.side, order.price, price) for price in (best, *resting))


def reserved_with(account: Account, market: MarketState, order: Order) -> int:
    """Return what the account would reserve with all of `order` in its place at its limit."""
    others = [other for other in market.open.values() if other.number != order.number]
    in_its_place = replace(order, place=market.places + 1)
    reserved = collateral(market.position, [*others, in_its_place])
    return account.reserved - market.reserved + reserved


def break_limit(account: Account, market: MarketState, order: Order) -> Reason:
    """Return which own limit the order would break."""
    reserved = (account.reserved, reserved_with(account, market, order))
    return broken_limit(account.models.risk, account.markets, market, order, reserved)


def lacks_balance(account: Account, market: MarketState, order: Order) -> bool:
    """Say whether the account cannot pay for all of `order` and the fees of its walk."""
    due, carry, position = 0, order.carry, market.position
    for price, qty in preview(market, order):
        closing = min(qty, closable(position, order.side))
        moved = cash_moved(position, order.side, price, qty)
        fee, carry = account.fee(market, price, qty, moved, carry=carry)
        due += fee - closing * (PRICE_ONE - leg_cost(order.side, price))
        position += signed(order.side, qty)
    return account.cash - reserved_with(account, market, order) - max(0, due) < 0


def preview(market: MarketState, order: Order) -> list[tuple[int, int]]:
    """Return (price, qty) of the fills that the walk would make now, own orders left out."""
    left = order.left
    fills = []
    for price, qty in in_the_way(market, order):
        if not left or not matches(order.side, order.price, price):
            break
        if qty:
            fills.append((price, min(left, qty)))
        left -= min(left, qty)
    return fills


def in_the_way(market: MarketState, order: Order) -> Iterator[tuple[int, int]]:
    """Yield (price, qty) of all that is offered to an order, in the order of the walk: displayed
    depth, and the orders of other accounts, which stand behind their `ahead` of it."""
    against = opposite(order.side)
    shown = dict(market.book[against].visible())
    others = market.others(against)
    prices = {*shown, *(other.price for other in others)}
    for price in sorted(prices, reverse=against == Side.BUY):
        passed = 0
        for other in others:
            if other.price == price:
                before = min(shown.get(price, 0), max(passed, other.ahead)) - passed
                yield price, before
                yield price, other.left
                passed += before
        yield price, shown.get(price, 0) - passed
