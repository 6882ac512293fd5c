"""A run in progress, for people: as text, and as a picture.

What is shown is what the agent sees: the book with the sizes of its levels and the own orders in
it, the position, and the portfolio value so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foldbook.engine import Side
from foldbook.engine.simulation import Simulation
from foldbook.engine.units import PRICE_ONE, decimal_cash, decimal_price, decimal_qty

LEVELS = 8
"""Levels of each side that are shown."""
HEIGHT, WIDTH = 480, 640
_ROW = 20
_TOP = 44
_CENTRE = 300
_BAR = 190
_LINE_TOP, _LINE_BOTTOM = 392, 464
_BACKGROUND = (250, 250, 247)
_INK = (40, 40, 44)
_FAINT = (196, 196, 192)
_BID, _ASK = (74, 140, 96), (190, 88, 76)
_OWN = (52, 96, 190)
_LADDERS = ((Side.SELL, _ASK), (Side.BUY, _BID))


def text(simulation: Simulation, market: int = 0) -> str:
    """Return the book with the own orders beside it, the position and the value, as lines."""
    own = _own(simulation, market)
    lines = [_title(simulation, market)]
    for side, levels in _ladders(simulation, market).items():
        for price, qty in levels:
            mark = f"  own {decimal_qty(own[side, price])}" if (side, price) in own else ""
            name = "bid" if side is Side.BUY else "ask"
            lines.append(f"{name} {decimal_price(price)} {decimal_qty(qty):>12}{mark}")
        if side is Side.SELL:
            lines.append("-" * 23)
    return "\n".join([*lines, _account(simulation, market)])


def picture(simulation: Simulation, values: Sequence[int] = ()) -> np.ndarray:
    """Return the same as a picture: uint8, shape (HEIGHT, WIDTH, 3).

    Asks above bids, a bar for the size of each level, what is one's own in blue; below, the
    portfolio value after each step, `values`, in $0.000001. Needs Pillow.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, HEIGHT), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((16, 10), _title(simulation), _INK, font_size=14)
    _draw_book(draw, simulation)
    draw.text((16, _LINE_TOP - 24), _account(simulation), _INK, font_size=14)
    _draw_values(draw, values)
    return np.asarray(image, np.uint8).copy()


def _title(simulation: Simulation, market: int = 0) -> str:
    book = simulation.book(market)
    seconds = (simulation.now - simulation.session.start) // 1_000_000_000
    place = f"{simulation.tickers[market]}  {book.status.name}  +{seconds // 60}:{seconds % 60:02d}"
    return place if book.is_trusted else f"{place}  (gap)"


def _account(simulation: Simulation, market: int = 0) -> str:
    position = simulation.positions.qty(market)
    outcome = "YES" if position > 0 else "NO" if position < 0 else "flat"
    held = f"{decimal_qty(abs(position))} {outcome}" if position else outcome
    return (
        f"position {held}   cash ${decimal_cash(simulation.positions.cash)}   "
        f"value ${decimal_cash(simulation.reward.value)}"
    )


def _own(simulation: Simulation, market: int = 0) -> dict[tuple[Side, int], int]:
    """Return the own open quantity at each side and price."""
    own: dict[tuple[Side, int], int] = {}
    for order in simulation.orders.open(market):
        place = order.side, order.price
        own[place] = own.get(place, 0) + order.left
    return own


def _ladders(simulation: Simulation, market: int = 0) -> dict[Side, list[tuple[int, int]]]:
    """Return (price, displayed quantity) of the best levels and of those with own orders, from the
    highest price down."""
    book, own = simulation.book(market), _own(simulation, market)
    ladders = {}
    for side, shown in ((Side.SELL, book.asks(LEVELS)), (Side.BUY, book.bids(LEVELS))):
        levels = dict(shown)
        prices = sorted({price for each, price in own if each is side} | levels.keys())
        best_first = prices if side is Side.SELL else prices[::-1]
        kept = sorted(best_first[:LEVELS], reverse=True)
        ladders[side] = [(price, levels.get(price, 0)) for price in kept]
    return ladders


def _draw_book(draw, simulation: Simulation) -> None:  # type: ignore[no-untyped-def]
    ladders, own = _ladders(simulation), _own(simulation)
    every = [qty for levels in ladders.values() for _, qty in levels] + [*own.values()]
    scale = _BAR / max([*every, 1])
    middle = _TOP + LEVELS * _ROW
    draw.line((16, middle, WIDTH - 16, middle), _FAINT)
    for side, colour in _LADDERS:
        levels = ladders[side]
        first = middle - len(levels) * _ROW if side is Side.SELL else middle
        for row, (price, qty) in enumerate(levels):
            top = first + row * _ROW + 2
            bottom = top + _ROW - 5
            draw.rectangle((_CENTRE, top, _CENTRE + qty * scale, bottom), colour)
            draw.text((_CENTRE - 66, top), f"${decimal_price(price)}", _INK, font_size=13)
            draw.text(
                (_CENTRE + qty * scale + 8, top), decimal_qty(qty), _INK, font_size=12
            )
            mine = own.get((side, price))
            if mine:
                left = _CENTRE - 76 - min(mine * scale, _BAR - 60)
                draw.rectangle((left, top, _CENTRE - 76, bottom), _OWN)
                name = "bid" if side is Side.BUY else "ask"
                label = f"own {name} {decimal_qty(mine)}"
                draw.text((left - 8, top), label, _OWN, font_size=12, anchor="ra")
    for price, label in ((PRICE_ONE, "asks"), (0, "bids")):
        place = (16, middle - 20) if price else (16, middle + 4)
        draw.text(place, label, _ASK if price else _BID, font_size=13)


def _draw_values(draw, values: Sequence[int]) -> None:  # type: ignore[no-untyped-def]
    """Draw the line of the portfolio value, its start as a level line."""
    if len(values) < 2:
        return
    shown = np.asarray(values, np.int64)[:: max(1, len(values) // (WIDTH - 32))]
    low, high = int(shown.min()), int(shown.max())
    span = max(high - low, 1)
    x = np.linspace(16, WIDTH - 120, len(shown))
    y = _LINE_BOTTOM - (shown - low) * (_LINE_BOTTOM - _LINE_TOP) / span
    draw.line((16, y[0], WIDTH - 120, y[0]), _FAINT)
    draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), _OWN, width=2)
    change = values[-1] - values[0]
    sign = "-" if change < 0 else "+"
    label = f"{sign}${decimal_cash(abs(change))}"
    draw.text((WIDTH - 112, min(float(y[-1]), _LINE_BOTTOM - 8) - 8), label, _OWN, font_size=14)
