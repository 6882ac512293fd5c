"""Responses of Kalshi's REST interface as typed rows: trades and candles (SPEC 2.1).

Only responses with `trades` or `candlesticks` are read. A field that is missing or null where it
must not be is refused by name, never filled in.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import attrs
import msgspec

from foldbook.engine.schema import Side
from foldbook.engine.units import MICROSECOND, MINUTE, PRICE_ONE, QTY_MAX, QTY_ONE, SECOND

from ..recordings import TIME_MAX, RefusedError, Scale

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CENT = PRICE_ONE // 100
PRICE = Scale("price", PRICE_ONE, 1, PRICE_ONE - 1,
              "dollars between 0 and 1 with up to four decimals")
QUOTE = Scale("price", PRICE_ONE, 0, PRICE_ONE, "dollars from 0 to 1 with up to four decimals")
CONTRACTS = Scale("qty", QTY_ONE, 0, QTY_MAX, "contracts with up to two decimals")
CORNERS = ("open", "high", "low", "close")
QUOTES = ("yes_bid", "yes_ask")


class Trade(msgspec.Struct):
    trade_id: str
    ticker: str
    created_time: datetime
    count_fp: str | None = None
    count: int | None = None
    yes_price_dollars: str | None = None
    no_price_dollars: str | None = None
    yes_price: int | None = None
    no_price: int | None = None
    taker_side: Literal["yes", "no"] | None = None
    taker_outcome_side: Literal["yes", "no"] | None = None
    is_block_trade: bool = False


class Candle(msgspec.Struct):
    end_period_ts: int
    volume_fp: str
    open_interest_fp: str
    price: dict[str, str | None]
    yes_bid: dict[str, str | None]
    yes_ask: dict[str, str | None]


_RESPONSE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TRADE = msgspec.json.Decoder(Trade)
_CANDLE = msgspec.json.Decoder(Candle)
_TEXT = msgspec.json.Decoder(str)
_MINUTES = msgspec.json.Decoder(int | None)


@attrs.frozen
class RawRow:
    """One element of a response, not looked at yet. ticker, period: of a candle, as far as the
    response says; ns."""

    raw: msgspec.Raw
    is_trade: bool
    ticker: str | None = None
    period: int | None = None


def rows_of(text: bytes) -> list[RawRow]:
    """Return the rows of one response; none of what holds neither trades nor candles.

    Raises msgspec.DecodeError for what is no response.
    """
    response = _RESPONSE.decode(text)
    if "response" in response:
        return rows_of(bytes(response["response"]))
    found = []
    if "trades" in response:
        found += [RawRow(each, True) for each in _LIST.decode(response["trades"])]
    found += _candles(response, None)
    if "markets" in response:
        found += list(_of_markets(response["markets"]))
    return found


def _of_markets(text: msgspec.Raw) -> Iterator[RawRow]:
    """Yield the candles of several markets: by ticker, or in a list."""
    markets: Any = msgspec.json.decode(text, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    items = markets.items() if isinstance(markets, dict) else ((None, each) for each in markets)
    for ticker, each in items:
        yield from _candles(_RESPONSE.decode(each), ticker)


def _candles(response: dict[str, msgspec.Raw], ticker: str | None) -> list[RawRow]:
    if "candlesticks" not in response:
        return []
    for name in ("ticker", "market_ticker"):
        if name in response:
            ticker = _TEXT.decode(response[name])
    period = None
    if "period_interval" in response:
        minutes = _MINUTES.decode(response["period_interval"])
        if minutes is not None and not 0 < minutes <= 1_000_000:
            raise msgspec.ValidationError(f"period_interval is {minutes}, expected minutes")
        period = None if minutes is None else minutes * MINUTE
    return [RawRow(each, False, ticker, period)
            for each in _LIST.decode(response["candlesticks"])]


def trade(raw: RawRow) -> tuple[str, str, tuple[int, int, int, int, bool]]:
    """Return (ticker, trade id, (ts, maker side, price, qty, whether it is a block trade)).

    Raises RefusedError, msgspec.DecodeError.
    """
    found = _TRADE.decode(raw.raw)
    taker = found.taker_outcome_side or found.taker_side
    if taker is None or (found.taker_side or taker) != taker:
        raise RefusedError("taker", "taker_side", found.taker_side,
                           f"yes or no, as taker_outcome_side ({found.taker_outcome_side!r})")
    price = _price("yes_price", found.yes_price_dollars, found.yes_price)
    if found.no_price_dollars is not None or found.no_price is not None:
        other = _price("no_price", found.no_price_dollars, found.no_price)
        if price + other != PRICE_ONE:
            raise RefusedError("disagree", "no_price_dollars", found.no_price_dollars,
                               f"1 - yes_price_dollars ({found.yes_price_dollars!r})")
    if found.count_fp is None:
        qty = CONTRACTS.units("count", found.count)
    else:
        qty = CONTRACTS.units("count_fp", found.count_fp)
    if qty == 0:
        raise RefusedError("qty", "count_fp", found.count_fp, "more than zero contracts")
    if found.created_time.tzinfo is None:
        raise RefusedError("time", "created_time", found.created_time.isoformat(),
                           "a time with its zone")
    ts = (found.created_time - _EPOCH) // timedelta(microseconds=1) * MICROSECOND
    if not 0 <= ts <= TIME_MAX:
        raise RefusedError("time", "created_time", found.created_time.isoformat(), "after 1970")
    side = Side.SELL if taker == "yes" else Side.BUY
    return found.ticker, found.trade_id, (ts, int(side), price, qty, found.is_block_trade)


def candle(raw: RawRow) -> tuple[str, dict[str, int | None]]:
    """Return (ticker, a candle in integers by column: ns, $0.0001, 0.01 contract).

    Its prices are None where nothing was traded. Raises RefusedError, msgspec.DecodeError.
    """
    if not raw.ticker:
        raise RefusedError("missing_field", "ticker", raw.ticker, "the market of the candles")
    found = _CANDLE.decode(raw.raw)
    if not 0 <= found.end_period_ts <= TIME_MAX // SECOND:
        raise RefusedError("time", "end_period_ts", found.end_period_ts, "s since 1970")
    row: dict[str, int | None] = {
        "end_ts": found.end_period_ts * SECOND,
        "volume": CONTRACTS.units("volume_fp", found.volume_fp),
        "open_interest": CONTRACTS.units("open_interest_fp", found.open_interest_fp),
    }
    for corner in CORNERS:
        text = found.price.get(f"{corner}_dollars")
        if text is None and row["volume"]:
            raise RefusedError("missing_field", f"price.{corner}_dollars", None, PRICE.expected)
        row[corner] = None if text is None else PRICE.units(f"price.{corner}_dollars", text)
    for name in QUOTES:
        quotes = getattr(found, name)
        for corner in CORNERS:
            field = f"{corner}_dollars"
            row[f"{name}_{corner}"] = QUOTE.units(f"{name}.{field}", quotes.get(field))
    return raw.ticker, row


def _price(field: str, dollars: str | None, cents: int | None) -> int:
    """Return a price from dollars, else from whole cents; both must agree after rounding."""
    if dollars is None and cents is None:
        raise RefusedError("missing_field", f"{field}_dollars", None, PRICE.expected)
    if cents is not None and not 0 < cents < 100:
        raise RefusedError("price", field, cents, "cents between 1 and 99")
    if dollars is None:
        assert cents is not None
        return cents * CENT
    price = PRICE.units(f"{field}_dollars", dollars)
    if cents is not None and 2 * abs(price - cents * CENT) > CENT:
        raise RefusedError("disagree", field, cents, f"{dollars} rounded to cents")
    return price
