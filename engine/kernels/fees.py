"""What a fill costs in a market: the schedule of the run at the market's present rates."""

from __future__ import annotations

from ..compiled import inner
from ..fees import SCALE
from ..units import PRICE_ONE, QTY_ONE
from .arithmetic import fill_fee
from .layout import (
    FEE_DIRECTION,
    FEE_PRECISION,
    FEE_REBATE,
    FEE_ROUNDING,
    FEE_TABLE,
    TAKER_FLAT,
    TAKER_PPM,
)

_PER_CONTRACT = SCALE // QTY_ONE


@inner
def _scaled(state, tables, base, price, is_maker):
    """Return `FeeSchedule.scaled` at the rates of a market; makers' words follow takers'."""
    table = state[FEE_TABLE]
    if table > 0:
        return tables[table + is_maker * (PRICE_ONE + 1) + price]
    rate = state[base + TAKER_PPM + is_maker]
    return rate * price * (PRICE_ONE - price) + state[base + TAKER_FLAT + is_maker] * _PER_CONTRACT


@inner
def net_fee(state, tables, base, terms, carry):
    """Return (fee, carry) of a fill with terms (price, qty, cash, is_maker)."""
    price, qty, cash, is_maker = terms
    rules = (state[FEE_ROUNDING], state[FEE_DIRECTION], state[FEE_PRECISION], state[FEE_REBATE])
    return fill_fee(_scaled(state, tables, base, price, is_maker), qty, cash, carry, rules)


@inner
def trade_fee(state, tables, base, price, qty):
    """Return the taker's fee of a fill before the account's cash is rounded."""
    rules = (state[FEE_ROUNDING], state[FEE_DIRECTION], 1, 0)
    return fill_fee(_scaled(state, tables, base, price, 0), qty, 0, 0, rules)[0]
