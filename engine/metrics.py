"""Figures of a run. Money stays integer; only ratios are floats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .lifecycle import OrderState
from .schema import JournalKind, Liquidity
from .units import PRICE_ONE, decimal_cash, decimal_qty

if TYPE_CHECKING:
    from .result import Result


def metrics(result: Result) -> dict[str, Any]:
    """Return the figures of a run.

    Money ($0.000001) and quantities (0.01 contract) as integers; ratios as floats, None where they
    do not exist. return: P&L by starting cash. sharpe: mean over deviation of the changes of
    `equity`, times the root of their number: of the session as it is, not per year. fill_ratio:
    filled by accepted quantity. maker_share: of filled quantity. turnover: cost of all fills by
    starting cash. time_in_market: share of the session in which any position was held. untrusted_*:
    see `trust`: share of the markets' time, number of fills, and change of value in gaps.
    """
    rows = result.journal.rows
    fills = rows[rows["kind"] == JournalKind.FILL]
    qty = fills["qty"]
    filled = int(qty.sum())
    leg = np.where(fills["side"] == 0, fills["price"], PRICE_ONE - fills["price"])
    final = result.simulation.venue.reward.value
    pnl = final - result.config.cash
    cash = result.config.cash
    distrusted = result.untrusted()
    accepted = int(result.orders.column("qty")[_accepted(result)].sum())
    return {
        "events": result.simulation.events,
        "orders": int((rows["kind"] == JournalKind.SUBMITTED).sum()),
        "rejects": int((rows["kind"] == JournalKind.REJECTED).sum()),
        "fills": len(fills),
        "contracts": filled,
        "fees": int(result.simulation.venue.positions.fees),
        "pnl": pnl,
        "final_value": final,
        "max_drawdown": result.simulation.venue.reward.max_drawdown,
        "return": _ratio(pnl, cash),
        "sharpe": _sharpe(result.equity.column("value")),
        "fill_ratio": _ratio(filled, accepted),
        "maker_share": _ratio(int(qty[fills["liquidity"] == Liquidity.MAKER].sum()), filled),
        "turnover": _ratio(int((leg.astype(np.int64) * qty).sum()), cash),
        "time_in_market": _time_in_market(result),
        "untrusted_time": distrusted.time,
        "untrusted_fills": distrusted.fills,
        "untrusted_pnl": distrusted.pnl,
    }


def summary(result: Result) -> str:
    """Return the figures of a run as lines of text."""
    figures = metrics(result)
    lines = [
        f"{result.session.name}: {figures['events']:,} events, cash "
        f"${decimal_cash(result.config.cash)}, fees {result.config.models.fees.name}"
    ]
    for name, value in figures.items():
        lines.append(f"  {name.replace('_', ' '):<15} {_shown(name, value)}")
    lines.append(f"  {'digest':<15} {result.digest}")
    return "\n".join(lines)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("fees", "pnl", "final_value", "max_drawdown", "untrusted_pnl"):
        return f"{'-' if value < 0 else ''}${decimal_cash(abs(value))}"
    if name == "contracts":
        return decimal_qty(value)
    if name in ("return", "fill_ratio", "maker_share", "time_in_market", "untrusted_time"):
        return f"{value:.2%}"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def _accepted(result: Result) -> np.ndarray:
    refused = (OrderState.REJECTED, OrderState.SUBMITTED)
    return ~np.isin(result.orders.column("state"), refused)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _sharpe(values: np.ndarray) -> float | None:
    changes = np.diff(values)
    if not changes.any():
        return None
    return float(changes.mean() / changes.std(ddof=1) * math.sqrt(len(changes)))


def _time_in_market(result: Result) -> float | None:
    span = result.session.end - result.session.start
    if span <= 0:
        return None
    held: dict[int, int] = {}
    since = None
    total = 0
    rows = result.journal.rows
    moves = rows[np.isin(rows["kind"], (JournalKind.FILL, JournalKind.SETTLED))]
    for ts, market, kind, side, qty in zip(
        *(moves[name].tolist() for name in ("ts", "market", "kind", "side", "qty")), strict=True
    ):
        position = held.get(market, 0)
        if kind == JournalKind.SETTLED:
            position = 0
        else:
            position += -qty if side else qty
        held.pop(market, None)
        if position:
            held[market] = position
        if held and since is None:
            since = ts
        elif not held and since is not None:
            total += ts - since
            since = None
    if since is not None:
        total += result.session.end - since
    return total / span
