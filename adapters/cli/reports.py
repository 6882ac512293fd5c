"""What commands answer: for each, the JSON object, and the text and tables for people.

Money, prices and quantities are decimal strings in dollars and contracts; times are ns UTC in JSON,
and dates where people read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import click

from foldbook.engine import Result, Session
from foldbook.engine.band import Band
from foldbook.engine.explain import explain
from foldbook.engine.units import decimal_cash, decimal_qty, iso_time

from .. import sessions
from .show import table

EXAMPLES_MAX = 10
"""Rejected lines shown to people; JSON has all that the importer kept."""


def backtest(result: Result, seconds: float, band: Band | None = None) -> dict[str, Any]:
    """Return the figures of a run, how long it took, and its band if it has one."""
    session = result.session
    figures = {name: _DECIMAL.get(name, plain)(value) for name, value in result.metrics().items()}
    return {
        "session": str(session.source.get("path", session.name)),
        "markets": [market.ticker for market in session.markets],
        **figures,
        "digest": result.digest,
        "run_digest": result.run_digest,
        "seconds": round(seconds, 6),
        "events_per_second": round(figures["events"] / seconds) if seconds else 0,
        **({"band": band.to_json()} if band else {}),
    }


def plain(value: Any) -> Any:
    """Return counts and ratios as they are."""
    return value


_MONEY = ("fees", "pnl", "final_value", "max_drawdown", "untrusted_pnl")
_DECIMAL = dict.fromkeys(_MONEY, decimal_cash) | {"contracts": decimal_qty}
"""The figures that are money or quantities, and how they are written."""


def explanation(result: Result, fill: int, as_json: bool) -> tuple[Any, ...]:
    """Say why there was a fill."""
    found = explain(result, fill)
    data = {"fill": fill, "market": found.market, "text": str(found),
            "chain": [attrs.asdict(link) for link in found.chain]}
    return data, as_json, str(found)


def imported(reported: Iterable[Any], as_json: bool) -> tuple[Any, ...]:
    """Say what was read, joined and rejected, and why."""
    found = [report.to_json() for report in reported]
    columns = ("session", "read", "joined", "identified", "ambiguous", "missing", "rejected",
               "gaps")
    rows = [[each[name] for name in columns] for each in found]
    reasons: dict[str, int] = {}
    for each in found:
        for reason, count in each["reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    parts = [table(rows, *columns)]
    if reasons:
        parts.append(table(sorted(reasons.items()), "rejected because", "lines"))
        parts += [text for each in found for text in each["examples"]][:EXAMPLES_MAX]
    parts += unlisted(found)
    if not all(each["written"] for each in found):
        parts.append("dry run: nothing was written")
    return {"sessions": found}, as_json, *parts


def unlisted(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say which markets the metadata does not know; nothing if it knows all of them."""
    tickers = [ticker for each in found for ticker in each.get("unlisted", ())]
    if not tickers:
        return []
    more = f" and {len(tickers) - EXAMPLES_MAX} more" if len(tickers) > EXAMPLES_MAX else ""
    return [f"no record in --metadata of {len(tickers)} "
            f"{'market' if len(tickers) == 1 else 'markets'}: {', '.join(tickers[:EXAMPLES_MAX])}"
            f"{more}; their grid, close and result are not known"]


def exported(written: dict[str, Any], as_json: bool) -> tuple[Any, ...]:
    """Say what was written, and what the format could not hold of it."""
    counts = [(name, value) for name, value in written.items() if isinstance(value, int)]
    return (written, as_json, f"{written['file']}: {written['market']}",
            table([[value for _, value in counts]], *(name for name, _ in counts)))


def session(found: Session, as_json: bool) -> tuple[Any, ...]:
    """Say what a session holds, and how far it is to be believed."""
    data = sessions.describe(found)
    markets = [
        (each["ticker"], when(each["first_ts"]), when(each["last_ts"]), each["tick"],
         each["status"], each["result"] or "-", each["gaps"], figure(each["quality"]["score"]))
        for each in data["markets"]
    ]
    counts = ("events", "snapshots", "deltas", "trades", "joined_trades", "gaps")
    quality = data["quality"]
    parts = [(name, figure(value)) for name, value in quality["parts"].items()]
    return (
        data,
        as_json,
        f"{data['session']}: {len(markets)} markets, {data['events']} events",
        table(markets, "market", "first", "last", "tick", "status", "result", "gaps", "quality"),
        table([[data[name] for name in counts]], *counts),
        table(_facts(data["facts"]), "fact", "of the whole stretch"),
        table([[value for _, value in parts]], *(name for name, _ in parts),
              title=f"quality {figure(quality['score'])}, the product of"),
        *quality["reasons"],
        f"digest {data['digest']}",
    )


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of a session as people read them."""
    time, rates, spread = facts["time"], facts["rates"], facts["spread"]
    activity, volatility = facts["activity"], facts["volatility"]
    return [
        ("open", f"{figure(time['open_s'])} s, trusted {percent(time['trusted_share'])}, without "
                 f"a bid or an ask {percent(time['unquoted_share'])}"),
        ("rates", f"{figure(rates['events_per_second'])} events/s, "
                  f"{figure(rates['trades_per_second'])} trades/s"),
        ("longest silence", f"{figure(time['longest_silence_s'])} s"),
        ("spread", f"mean {figure(spread['mean_cents'])}, median "
                   f"{figure(spread['median_cents'])} cents"),
        ("volatility", f"{figure(volatility['cents'])} cents in {volatility['window_s']} s"),
        ("activity", f"{activity['activity_bursts']} bursts, {activity['quiet_periods']} quiet "
                     f"periods, the longest {figure(activity['longest_quiet_s'])} s"),
        ("trades", f"{facts['trades']['contracts']} contracts, joined "
                   f"{percent(facts['trades']['join_rate'])}"),
        ("queue places guessed", percent(facts["queue"]["guessed_share"])),
        ("bursts through a crossed book", percent(facts["crossed"]["share"])),
    ]


def figure(value: float | None) -> str:
    """Return a number for people: four digits are enough."""
    return "-" if value is None else f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def percent(value: float | None) -> str:
    """Return a share for people."""
    return "-" if value is None else f"{value:.2%}"


def book(
    found: Session, market: str | None, ts: int, clock: str, as_json: bool
) -> tuple[Any, ...]:
    """Show the book of a market at a time, best levels in the middle."""
    if market is None and len(found.markets) > 1:
        raise click.UsageError("--book-at needs --market: the session has several")
    ticker = market or found.markets[0].ticker
    try:
        data = sessions.book_at(found, ticker, ts, clock=clock)
    except KeyError as error:
        raise click.UsageError(f"--market: {error.args[0]}") from None
    asks = [("", price, qty) for price, qty in reversed(data["yes_asks"])]
    bids = [(qty, price, "") for price, qty in data["yes_bids"]]
    title = f"{ticker} at {iso_time(ts)} by {clock} time"
    return data, as_json, table(asks + bids, "bids", "price", "asks", title=title)


def measured(figures: list[dict[str, Any]], as_json: bool) -> tuple[Any, ...]:
    """Show the figures of benchmarks, and below them the tables that some of them answer with."""
    rows = [
        (each["name"], f"{each['work']:,} {each['unit']}", f"{each['min_seconds']:.4f}",
         f"{each['median_seconds']:.4f}", f"{each['cold_seconds']:.4f}",
         f"{each['per_second']:,.0f} {each['unit']}/s")
        for each in figures
    ]
    heads = ("benchmark", "work", "least s", "median s", "cold s", "rate")
    tables = [
        table((row.values() for row in told), *told[0], title=f"{each['name']}: {title}")
        for each in figures
        for title, told in each["tables"].items()
    ]
    return {"benchmarks": figures}, as_json, table(rows, *heads), *tables


def when(ts: int | None) -> str:
    """Return a time for people: seconds are enough."""
    return "-" if ts is None else iso_time(ts)[:19] + "Z"
