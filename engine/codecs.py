"""What the actions of an agent mean, as one object that training and live trading share.

A codec turns an action into a wish (see `kernels.codecs`, whose integer functions decide it), and a
wish into commands: compiled inside an environment, or through any `Gateway` by `act`. Both send the
same commands. `CODECS` are those that have a name; a user's own is any `UserCodec`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs
import numpy as np

from .gateway import Gateway
from .kernels import codecs as kernel
from .schema import KEEP, Side, TimeInForce
from .units import QTY_ONE

INTENTS = ("HOLD", "BUY_YES", "SELL_YES", "BUY_NO", "SELL_NO")
_KINDS = {"limit": kernel.LIMIT, "now": kernel.NOW, "quote": kernel.QUOTE}
_POLICIES = {
    "aggressive": kernel.AGGRESSIVE,
    "passive": kernel.PASSIVE,
    "mid": kernel.MIDDLE,
}


@attrs.frozen
class Codec:
    """A set of actions and what they mean.

    kind: "limit" keeps one resting order in the market, "now" sends immediate-or-cancel orders,
    "quote" keeps a bid and an ask. sizes: 0.01 contract. policy of a limit: "aggressive" (at the
    far touch), "passive" (at the near touch) or "mid". offsets of a quote: steps behind the near
    touch, -1 before it.

    Of the kinds limit and now, action 0 is HOLD, then each of BUY_YES, SELL_YES, BUY_NO, SELL_NO
    with each size. An action of a quote is (bid offset, ask offset, bid size, ask size), indices;
    offset 0 is no quote. A continuous quote takes four numbers from -1 to 1 instead, each of which
    stands for the index in whose equal part of that range it lies. Raises ValueError for what is
    none of these.
    """

    name: str
    kind: str
    sizes: tuple[int, ...]
    policy: str = "aggressive"
    offsets: tuple[int, ...] = ()
    continuous: bool = False

    def __attrs_post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"codec {self.name}: kind {self.kind!r}; expected {', '.join(_KINDS)}")
        if self.policy not in _POLICIES:
            known = ", ".join(_POLICIES)
            raise ValueError(f"codec {self.name}: policy {self.policy!r}; expected {known}")
        if not 0 < len(self.sizes) <= kernel.SIZES_MAX or min(self.sizes) <= 0:
            raise ValueError(
                f"codec {self.name}: sizes {self.sizes}; expected 1 to {kernel.SIZES_MAX} "
                "quantities above zero, in 0.01 contract"
            )
        wants = self.kind == "quote"
        if wants != bool(self.offsets) or len(self.offsets) >= kernel.OFFSETS_MAX:
            raise ValueError(
                f"codec {self.name}: offsets {self.offsets}; expected "
                + (f"1 to {kernel.OFFSETS_MAX - 1}" if wants else "none")
            )
        if self.continuous and not wants:
            raise ValueError(f"codec {self.name}: only quotes can be continuous")

    @property
    def dims(self) -> tuple[int, ...]:
        """How many values each number of an action can have."""
        if self.kind == "quote":
            offsets, sizes = len(self.offsets) + 1, len(self.sizes)
            return offsets, offsets, sizes, sizes
        return (1 + 4 * len(self.sizes),)

    @property
    def has_mask(self) -> bool:
        """Whether actions that the venue would refuse can be told beforehand, one by one."""
        return self.kind != "quote"

    def words(self) -> np.ndarray:
        """Return the codec as kernels read it: int64, shape (kernels.codecs.CODEC_WORDS,)."""
        words = np.zeros(kernel.CODEC_WORDS, np.int64)
        words[kernel.CODEC] = _KINDS[self.kind]
        words[kernel.POLICY] = _POLICIES[self.policy]
        words[kernel.SIZES] = len(self.sizes)
        words[kernel.FIRST_SIZE : kernel.FIRST_SIZE + len(self.sizes)] = self.sizes
        first = kernel.FIRST_OFFSET + 1
        words[first : first + len(self.offsets)] = self.offsets
        return words

    def validate(self, action: Any) -> np.ndarray:
        """Return an action as int64 words. Raises ValueError for one outside the space."""
        return self.validate_many(array_of(action).reshape(1, -1))[0]

    def validate_many(self, actions: np.ndarray) -> np.ndarray:
        """Return actions, one a row, as int64 words. Raises ValueError for one outside the
        space, naming its row."""
        kinds = "iuf" if self.continuous else "iu"
        if actions.dtype.kind not in kinds or actions.shape[1:] != (len(self.dims),):
            plural = "s" if len(self.dims) > 1 else ""
            number = "number" if self.continuous else "whole number"
            raise ValueError(
                f"action {actions.tolist()} of {self.name}: expected {len(self.dims)} "
                f"{number}{plural}, not {actions.dtype} of shape {actions.shape[1:]}"
            )
        least, most = actions.min(initial=0), actions.max(initial=0)
        if len(self.dims) == 1 and not self.continuous and least >= 0 and most < self.dims[0]:
            return actions.astype(np.int64)  # The usual case: nothing is outside.
        last = np.array(self.dims) - 1
        if not self.continuous:
            _check_within(self.name, actions, np.zeros_like(last), last)
            return actions.astype(np.int64)
        _check_within(self.name, actions, -np.ones_like(last), np.ones_like(last))
        parts = np.floor((actions.astype(np.float64) + 1) * (last + 1) / 2).astype(np.int64)
        return np.minimum(parts, last)

    def intent(self, action: Any) -> tuple[str, int]:
        """Return (intent, size in 0.01 contract) of an action of the kinds limit and now."""
        if self.kind == "quote":
            raise ValueError(f"codec {self.name}: quotes both sides, and has no intents")
        intent, size = kernel.wanted_intent(self.words(), int(self.validate(action)[0]))
        return INTENTS[intent], int(size)

    def action(self, intent: str, size: int = 0) -> int:
        """Return the action of an intent with a size: what `intent` undoes. Raises ValueError for
        an intent or a size that the codec does not have."""
        if self.kind == "quote" or intent not in INTENTS:
            raise ValueError(f"codec {self.name}: has no intent {intent!r}")
        if intent == INTENTS[0]:
            return 0
        if size not in self.sizes:
            raise ValueError(f"codec {self.name}: size {size}; expected one of {self.sizes}")
        first = 1 + (INTENTS.index(intent) - 1) * len(self.sizes)
        return first + self.sizes.index(size)

    def suggest(self, target: int, position: int = 0) -> int:
        """Return the action that leads from a signed position (+ YES, - NO) towards a target.

        In 0.01 contract. The largest size that does not overshoot, else the smallest; HOLD at the
        target. Raises ValueError for a codec of the kind quote.
        """
        if self.kind == "quote":
            raise ValueError(f"codec {self.name}: quotes both sides, and has no way to a target")
        wanted = target - position
        if wanted == 0:
            return 0
        if wanted > 0:
            intent = kernel.SELL_NO if position < 0 else kernel.BUY_YES
        else:
            intent = kernel.SELL_YES if position > 0 else kernel.BUY_NO
        fitting = [size for size in self.sizes if size <= abs(wanted)]
        best = self.sizes.index(max(fitting) if fitting else min(self.sizes))
        return 1 + (intent - 1) * len(self.sizes) + best

    def info(self) -> dict[str, Any]:
        """Return what the codec is, for people: its name, its actions, sizes in contracts."""
        sizes = [size / QTY_ONE for size in self.sizes]
        if self.kind == "quote":
            return {"name": self.name, "kind": self.kind, "dims": list(self.dims), "sizes": sizes,
                    "offsets": [None, *self.offsets], "post_only": True,
                    "continuous": self.continuous}
        names = ["HOLD"] + [
            f"{intent} {size:g}" for intent in INTENTS[1:] for size in sizes
        ]
        return {"name": self.name, "kind": self.kind, "dims": list(self.dims), "sizes": sizes,
                "policy": self.policy, "actions": names}

    # The same by way of a gateway: for live trading, and for a Python strategy.

    def act(self, gateway: Gateway, market: str | int, action: Any) -> None:
        """Send the commands that an action stands for: those that an environment would send."""
        words = self.validate(action)
        if self.kind == "quote":
            self._quote(gateway, market, words)
        else:
            self._order(gateway, market, int(words[0]))

    def _order(self, gateway: Gateway, market: str | int, action: int) -> None:
        words = self.words()
        intent, size = kernel.wanted_intent(words, action)
        book = gateway.book(market)
        grid = book.grid
        quote = (book.best_bid, book.best_ask)
        policy = words[kernel.POLICY]
        if intent == kernel.HOLD:
            for side in Side:
                order = gateway.orders.standing(market, side)
                price = int(kernel.wanted_price(policy, int(side), quote, grid))
                if order and price != KEEP and _has_moved(grid, order.price, price):
                    gateway.amend(order.id, price=price)
            return
        position = gateway.positions.qty(market)
        wanted, qty = map(int, kernel.wanted_order(intent, size, position))
        side = Side(wanted)
        if qty == 0:
            return
        price = int(kernel.wanted_price(policy, wanted, quote, grid))
        sent = None if price == KEEP else price
        if self.kind == "now":
            gateway.submit(market, side, sent, qty, tif=TimeInForce.IOC)
            return
        _cancel_side(gateway, market, Side(1 - side))
        order = gateway.orders.standing(market, side)
        if order is None:
            gateway.submit(market, side, sent, qty)
            return
        sells = intent in (kernel.SELL_YES, kernel.SELL_NO)
        total = max(min(size, order.filled + qty) if sells else size, order.filled)
        moves = price != KEEP and _has_moved(grid, order.price, price)
        if moves or total != order.qty:
            gateway.amend(order.id, price=price if moves else None, qty=int(total))

    def _quote(self, gateway: Gateway, market: str | int, action: np.ndarray) -> None:
        bid = gateway.orders.standing(market, Side.BUY)
        price = self._quote_price(gateway, market, Side.BUY, action)
        rises = bid is not None and price is not None and price > bid.price
        sides = (Side.SELL, Side.BUY) if rises else (Side.BUY, Side.SELL)
        for side in sides:
            price = self._quote_price(gateway, market, side, action)
            qty = self.sizes[action[2 + side]]
            order = gateway.orders.standing(market, side)
            if price is None:
                _cancel_side(gateway, market, side)
            elif order is None:
                gateway.submit(market, side, price, qty, post_only=True)
            else:
                total = max(qty, order.filled)
                if price != order.price or total != order.qty:
                    changed = price if price != order.price else None
                    gateway.amend(order.id, price=changed, qty=total)

    def _quote_price(
        self, gateway: Gateway, market: str | int, side: Side, action: np.ndarray
    ) -> int | None:
        book = gateway.book(market)
        chosen = int(action[side])
        if chosen == 0:
            return None
        quote = (book.best_bid, book.best_ask)
        price = int(kernel.quoted_price(int(side), quote, self.offsets[chosen - 1], book.grid))
        return None if price == KEEP else price


def _cancel_side(gateway: Gateway, market: str | int, side: Side) -> None:
    """Cancel the own orders of a side that are not being canceled already."""
    order = gateway.orders.standing(market, side)
    before = None
    while order is not None and order.id != before:
        before = order.id
        gateway.cancel(order.id)
        order = gateway.orders.standing(market, side)


def array_of(actions: Any) -> np.ndarray:
    """Return actions as an array. Raises ValueError for rows of different lengths."""
    try:
        return np.asarray(actions)
    except ValueError:
        raise ValueError(f"action {actions!r}: its parts have different lengths") from None


def _check_within(name: str, actions: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Raise ValueError for the first action that is not within bounds."""
    wrong = np.argwhere(~((actions >= low) & (actions <= high)))
    if len(wrong):
        row, place = wrong[0].tolist()
        which = f"action {actions[row].tolist()}" + (f" in row {row}" if len(actions) > 1 else "")
        raise ValueError(
            f"{which} of {name}: {actions[row, place]} in place {place}; expected "
            f"{low[place]} to {high[place]}"
        )


def _has_moved(grid: tuple[int, int, int], price: int, wanted: int) -> bool:
    return bool(kernel.has_moved(grid, price, wanted))


def limit5(policy: str = "aggressive", size: int = 10 * QTY_ONE) -> Codec:
    """Return the codec with one resting order of one size (0.01 contract)."""
    return Codec("limit5", "limit", (size,), policy)


def sized21(policy: str = "aggressive") -> Codec:
    """Return the codec with one resting order of five sizes."""
    return Codec("sized21", "limit", tuple(n * QTY_ONE for n in (5, 10, 20, 50, 100)), policy)


def now5(size: int = 10 * QTY_ONE) -> Codec:
    """Return the codec of immediate-or-cancel orders at the far touch."""
    return Codec("now5", "now", (size,))


def quote(
    sizes: tuple[int, ...] = (5 * QTY_ONE, 10 * QTY_ONE, 20 * QTY_ONE, 50 * QTY_ONE),
    offsets: tuple[int, ...] = (-1, 0, 1, 2, 3, 5, 8),
    continuous: bool = False,
) -> Codec:
    """Return the codec of a maker with a bid and an ask, post-only."""
    name = "quote_box" if continuous else "quote"
    return Codec(name, "quote", sizes, offsets=offsets, continuous=continuous)


def quote_box() -> Codec:
    """Return the codec of a maker whose action is four numbers from -1 to 1."""
    return quote(continuous=True)


@runtime_checkable
class UserCodec(Protocol):
    """A codec of one's own: one object that a single environment plays and live trading uses.

    dims: how many values each number of an action can have. It may also have `continuous`, True
    where the numbers of an action are floats from -1 to 1 (dims then only counts them), and
    `mask(gateway, market)`, which returns a truth value for each of dims[0] actions.
    """

    name: str
    dims: tuple[int, ...]

    def act(self, gateway: Gateway, market: str | int, action: np.ndarray) -> None:
        """Send the commands that an action stands for; it has been validated."""


@attrs.frozen
class GivenCodec:
    """A user's codec behind the names of `Codec`: its commands come from outside the kernels."""

    user: UserCodec

    @property
    def name(self) -> str:
        """Its name."""
        return self.user.name

    @property
    def dims(self) -> tuple[int, ...]:
        """How many values each number of an action can have."""
        return tuple(self.user.dims)

    @property
    def continuous(self) -> bool:
        """Whether the numbers of an action are floats from -1 to 1."""
        return bool(getattr(self.user, "continuous", False))

    @property
    def has_mask(self) -> bool:
        """Whether it tells which actions make sense."""
        return hasattr(self.user, "mask")

    def words(self) -> np.ndarray:
        """Return the codec as kernels read it: one that sends nothing."""
        words = np.zeros(kernel.CODEC_WORDS, np.int64)
        words[kernel.CODEC] = kernel.GIVEN
        return words

    def validate(self, action: Any) -> np.ndarray:
        """Return an action as an array of its numbers. Raises ValueError for one outside the
        space."""
        given = np.asarray(action).reshape(1, -1)
        kinds = "iuf" if self.continuous else "iu"
        if given.dtype.kind not in kinds or given.shape[1] != len(self.dims):
            raise ValueError(f"action {action!r} of {self.name}: expected {len(self.dims)} numbers")
        last = np.ones(len(self.dims), np.int64) if self.continuous else np.array(self.dims) - 1
        _check_within(self.name, given, -last if self.continuous else 0 * last, last)
        return given[0].copy()

    def act(self, gateway: Gateway, market: str | int, action: Any) -> None:
        """Send the commands that an action stands for."""
        self.user.act(gateway, market, self.validate(action))

    def mask(self, gateway: Gateway, market: str | int) -> np.ndarray:
        """Return which actions make sense: int8, shape (dims[0],). Raises ValueError for another
        number of them."""
        told: Sequence[bool] = self.user.mask(gateway, market)  # type: ignore[attr-defined]
        mask = np.asarray(told).astype(bool).astype(np.int8)
        if mask.shape != (self.dims[0],):
            raise ValueError(
                f"codec {self.name}: a mask of shape {mask.shape}; expected ({self.dims[0]},)"
            )
        return mask

    def info(self) -> dict[str, Any]:
        """Return what the codec is, for people."""
        return {"name": self.name, "kind": "given", "dims": list(self.dims),
                "continuous": self.continuous}


CODECS: dict[str, Callable[[], Codec]] = {
    "limit5": limit5,
    "sized21": sized21,
    "now5": now5,
    "quote": quote,
    "quote_box": quote_box,
}
"""Functions that make the codecs with a name."""


def codec_of(spec: str | Codec | GivenCodec | UserCodec) -> Codec | GivenCodec:
    """Return the codec of a name, the codec itself, or a user's own behind the same names.

    Raises ValueError for a name of none, TypeError for what is no codec.
    """
    if isinstance(spec, (Codec, GivenCodec)):
        return spec
    if isinstance(spec, str):
        if spec not in CODECS:
            raise ValueError(f"actions: {spec!r}; expected a codec or one of {', '.join(CODECS)}")
        return CODECS[spec]()
    if isinstance(spec, UserCodec) and not isinstance(spec, type):
        if spec.dims and (getattr(spec, "continuous", False) or min(spec.dims) > 0):
            return GivenCodec(spec)
        raise ValueError(f"codec {spec.name}: dims {spec.dims}; expected numbers above zero")
    raise TypeError(
        f"actions: {spec!r}; expected a name, a Codec, or an object with name, dims and act"
    )
