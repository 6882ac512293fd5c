"""The exact map between a venue's prices and those of a binary market, and orders known by id."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldbook.adapters.recordings import MessageKind, RefusedError
from foldbook.adapters.recordings.orders import OrderFeed, Orders
from foldbook.adapters.recordings.windows import AHEAD_MAX, OUTSIDE, Window, chosen
from foldbook.engine.schema import Side, TapeFlag

BUY, SELL = int(Side.BUY), int(Side.SELL)
STOCK = Window(Decimal("535.63"), Decimal("0.01"), Decimal(1))
AT = (1, 1, 1, 0)


@given(st.integers(1, 9_999), st.sampled_from([
    STOCK, Window(Decimal(73_318), Decimal(1), Decimal("0.000001")),
    Window(Decimal("-3.75"), Decimal("0.0025"), Decimal("12.5")),
]))  # fmt: skip
def test_every_price_of_the_grid_is_one_price_of_the_venue(units, window):
    """Units to a price and back are the same units, as text and as a number."""
    price = window.price(units)
    assert price == window.origin + window.tick * units
    assert window.units("price", f"{price:f}") == window.units_of("price", price) == units


@pytest.mark.parametrize(
    ("text", "why", "said"),
    [
        ("535.63", OUTSIDE, "inside the window 535.63 .. 635.63; move or widen it with --origin"),
        ("635.63", OUTSIDE, "inside the window 535.63 .. 635.63"),
        ("0.005", OUTSIDE, "inside the window"),
        ("585.335", "off_grid", "whole ticks of 0.01; state the grid with --tick"),
        ("", "missing_field", "expected a price"),
        ("nan", "wrong_type", "expected a price"),
        ("\u0661.5", "wrong_type", "expected a price"),
        ("1e999", "wrong_type", "expected a price"),
    ],
)
def test_what_is_no_price_of_the_window_is_refused_by_name(text, why, said):
    """Each fault has its own word and says what was expected: nothing is rounded or clipped."""
    for _ in range(2):  # the second answer is remembered
        with pytest.raises(RefusedError, match=said) as caught:
            STOCK.units("price", text)
        assert caught.value.why == why
        assert str(caught.value).startswith(f"price is {text!r}")


def test_a_quantity_is_whole_units_or_refused():
    """One unit is a hundredth of a contract: of one satoshi each, or of 0.01 shares."""
    bitcoin = Window(Decimal(0), Decimal(1), Decimal("0.000001"))
    assert bitcoin.contracts("volume", "7.18e-06") == 718
    assert bitcoin.quantity(718) == Decimal("0.00000718")
    assert STOCK.contracts("size", "18") == 1_800
    with pytest.raises(RefusedError, match=r"a multiple of 0\.01; state a finer --contract"):
        STOCK.contracts("size", "0.005")
    with pytest.raises(RefusedError, match="0 .. "):
        STOCK.contracts("size", "-1")


def test_cash_converts_back_by_hand():
    """Bought 3 shares at 585.33 and sold them at 585.40: 21 cents, by both ways of counting."""
    bought, sold = STOCK.units("price", "585.33"), STOCK.units("price", "585.40")
    earned = (sold - bought) * STOCK.contracts("size", "3")
    assert STOCK.cash(earned) == Decimal("0.21") == 3 * (Decimal("585.40") - Decimal("585.33"))
    assert Window.from_json(STOCK.to_json()) == STOCK


def test_options_name_what_is_wrong():
    """Each option that is no number says so in its name, as the command line expects it."""
    assert chosen(None, None, "1") == (None, None, Decimal(1))
    assert chosen("535.63", "0.01", "1")[0] == STOCK
    for options, text in (
        (("x", "1", "1"), "origin: 'x' is no decimal number"), (("1", None, "1"), "origin: needs"),
        (("1", "0", "1"), "tick: 0 is not above 0"), ((None, None, "-1"), "contract: -1 is not"),
    ):
        with pytest.raises(ValueError, match=text):
            chosen(*options)


def test_orders_stand_in_line():
    """What stands ahead of an order is the sum of the older ones of its level."""
    orders = Orders()
    for order, qty in ((1, 10), (2, 20), (3, 30)):
        orders.add(BUY, 4_500, order, qty)
    assert orders.take(2, 5) == (10, False)  # shrinks, and keeps its place
    assert orders.take(3, 30) == (25, False)
    assert orders.take(1, 10) == (0, False)
    assert orders.take(2, 15) == (0, False)
    assert orders.best(BUY) == 0
    assert orders.place(2) is None


def test_orders_that_nobody_saw_arrive_head_the_level():
    """They leave from the back of their part; where it is too small, the newest order is gone."""
    orders = Orders()
    orders.add(SELL, 5_500, None, 100)
    orders.add(SELL, 5_500, 7, 40)
    assert orders.take_unseen(SELL, 5_500, 30) == 70
    assert orders.take(7, 10) == (70, False)
    assert orders.take_unseen(SELL, 5_500, 80) == 20  # 20 of 70 and all of order 7 are left: 100
    assert orders.place(7) is None
    assert orders.level(SELL, 5_500) == 20


def test_a_forgotten_order_keeps_its_place():
    """Its id is gone, the quantity stands where it stood."""
    orders = Orders()
    for order in (1, 2, 3):
        orders.add(BUY, 4_500, order, 10)
    orders.forget(2)
    assert orders.place(2) is None
    assert orders.take(3, 10) == (20, False)
    assert orders.take_unseen(BUY, 4_500, 10) == 10


def test_of_two_levels_that_cross_the_newest_is_true():
    """The older one must have gone, or the venue would have matched them."""
    orders = Orders()
    came = ((SELL, 5_000), (SELL, 5_100), (BUY, 4_900), (BUY, 5_000))
    for order, (side, price) in enumerate(came, 1):
        orders.add(side, price, order, 10)
    assert orders.is_crossed
    assert orders.uncross() == 1
    assert (orders.best(BUY), orders.best(SELL)) == (5_000, 5_100)
    orders.add(SELL, 4_800, 5, 10)
    assert orders.uncross() == 2
    assert (orders.best(BUY), orders.best(SELL)) == (0, 4_800)


def test_a_place_that_does_not_fit_is_unknown():
    """`ahead` is 32 bits wide: beyond them it is -1."""
    feed = OrderFeed()
    feed.orders.add(BUY, 4_500, 1, AHEAD_MAX)
    feed.orders.add(BUY, 4_500, 2, 1)
    feed.orders.add(BUY, 4_500, 3, 5)
    feed.show(AT)
    feed.leave(AT, 3, 5)
    feed.leave(AT, 2, 1)
    changes = feed.messages()[-2:]
    assert changes["ahead"].tolist() == [-1, AHEAD_MAX]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(4_990, 5_010), st.integers(1, 9),
                          st.integers(0, 2)), max_size=60))
def test_messages_say_what_the_orders_are(steps):
    """The levels that the messages add up to are those of the orders, whatever happens to them."""
    feed = OrderFeed()
    feed.show(AT)
    for number, (side, price, qty, what) in enumerate(steps, 1):
        resting = [order for order in range(1, number) if feed.orders.place(order)]
        if what == 0 or not resting:
            feed.arrive(AT, side, price, number, qty)
        else:
            order = resting[qty % len(resting)]
            place = feed.orders.place(order)
            assert place is not None
            gone = min(qty, feed.orders.size(order))
            if what == 1:
                feed.leave(AT, order, gone)
            else:
                feed.trade(AT, AT, *place, order, gone)
    levels = np.zeros((2, 10_001), np.int64)
    messages = feed.messages()
    for row in messages[messages["kind"] == MessageKind.CHANGE]:
        levels[row["side"], row["price"]] += row["qty"]
        assert 0 <= row["ahead"] <= levels[row["side"], row["price"]] or row["qty"] > 0
    for side in Side:
        found = {price: queue.total for price, queue in feed.orders.levels[side].items()}
        assert {int(price): int(levels[side, price]) for price in np.flatnonzero(levels[side])
                } == found
    assert not (messages["flags"] & TapeFlag.GUESSED).any()
