"""The models of a run from the text of options: fees, latency, queue, limits and cash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from foldbook.engine import (
    FEE_SCHEDULES,
    Delay,
    Feed,
    Latency,
    Queue,
    Risk,
    contracts,
    dollars,
    duration,
)
from foldbook.engine.specs import WRITE_TOKENS


def settings(*, cash: str, fees: str | None, **options: Any) -> dict[str, Any]:
    """Return the settings of a backtest from the text of its options; the rest as they are.

    Raises UsageError that names the option whose text makes no sense.
    """
    if fees is not None and fees not in FEE_SCHEDULES:
        raise click.UsageError(f"--fees: {fees!r} is not one of {', '.join(FEE_SCHEDULES)}")
    amount = option("--cash", dollars, cash)
    if not 0 <= amount < 2**62:
        raise click.UsageError(f"--cash: {cash} is not from 0 to 4.6 trillion dollars")
    return {
        **options,
        "cash": amount,
        "fees": None if fees is None else FEE_SCHEDULES[fees],
        "latency": option("--latency", latency, options["latency"]),
        "queue": option("--queue", Queue.named, options["queue"]),
        "risk": option("--risk", risk, options["risk"]),
        "restored_after": option("--restored-after", time, options["restored_after"]),
    }


def option(name: str, convert: Callable[[str], Any], text: str) -> Any:
    """Return the value of an option. Raises UsageError, naming the option, if it has none."""
    try:
        return convert(text)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise click.UsageError(f"{name}: {error.args[0]}") from None


def latency(text: str) -> Latency:
    """Return the latency of "50ms", or of parts such as "order=50ms,response=5ms,feed=recorded".

    A delay is a time, or @FILE with one time a line to draw from; amends and cancels take as long
    as orders unless they are named. Raises ValueError; for a file it names the line.

    >>> latency("order=50ms,cancel=20ms").cancel.values
    (20000000,)
    """
    parts = _parts(text if "=" in text else f"order={text}", LATENCY)
    feed = parts.pop("feed", "0ms")
    found = {name: _delay(value) for name, value in parts.items()}
    order = found.get("order", Delay())
    return Latency(
        order=order,
        amend=found.get("amend", order),
        cancel=found.get("cancel", order),
        response=found.get("response", Delay()),
        feed=Feed.RECORDED if feed == Feed.RECORDED.value else _delay(feed),
    )


LATENCY = ("order", "amend", "cancel", "response", "feed")


def risk(text: str) -> Risk:
    """Return the limits of parts such as "max_position=100,max_loss=50.00"; none of no text.

    Quantities are in contracts, money in dollars; tokens_per_second may be the name of a tier.

    >>> risk("max_order_qty=2.5,tokens_per_second=basic").tokens_per_second
    100
    """
    limits: dict[str, Callable[[str], int]] = {
        "max_order_qty": contracts,
        "max_open_orders": _count,
        "max_position": contracts,
        "max_notional": dollars,
        "max_loss": dollars,
        "tokens_per_second": lambda name: WRITE_TOKENS.get(name) or _count(name),
        "burst_seconds": _count,
    }
    assert [*limits] == [field.name for field in attrs.fields(Risk)]
    found = {}
    for name, value in _parts(text, limits).items():
        try:
            found[name] = limits[name](value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return Risk(**found)


def time(text: str) -> int:
    """Return ns from a time such as "100ms". Raises ValueError for one without its unit.

    >>> time("20ns"), time("1.5s")
    (20, 1500000000)
    """
    try:
        return duration(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time with its unit, such as 100ms or 5s") from None


def _delay(text: str) -> Delay:
    return Delay((time(text),)) if text[:1] != "@" else _table(Path(text[1:]))


def _table(path: Path) -> Delay:
    """Return the delay drawn from a file with one time a line. Raises ValueError with the line."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    values: list[int] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                values += Delay((time(line.strip()),)).values
            except ValueError as error:
                said = str(error).removeprefix("delay row 0: ")
                raise ValueError(f"{path}:{number}: {said}") from None
    if not values:
        raise ValueError(f"{path}: it has no delays")
    return Delay(tuple(values))


def _parts(text: str, known: Mapping[str, Any] | tuple[str, ...]) -> dict[str, str]:
    """Return {name: value} of "name=value,name=value". Raises ValueError for any other text."""
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, equals, value = (each.strip() for each in part.partition("="))
        if name not in known or not equals or not value:
            raise ValueError(f"{part.strip()!r} is not like NAME=VALUE, of {', '.join(known)}")
        if name in found:
            raise ValueError(f"{name} is given twice")
        found[name] = value
    return found


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no whole number")
    return int(text)
