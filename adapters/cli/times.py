"""Times as people write them: ns since 1970, or a date with its zone. Nothing is guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_FORM = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:?\d\d)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX = 2**63 - 1


class Moment(click.ParamType):
    """An option's time: ns UTC as an integer, or ISO 8601 with a zone, to the nanosecond."""

    name = "TS"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> int:
        """Return ns; a time without a zone, or what is none, is wrong use."""
        try:
            return value if isinstance(value, int) else moment(str(value))
        except ValueError as error:
            self.fail(str(error), parameter, context)


def moment(text: str) -> int:
    """Return a time in ns since 1970 UTC.

    Raises ValueError for what is no time, and for a date without its zone.

    >>> moment("1786410914524000000"), moment("1970-01-01T01:00:00.000000001+01:00")
    (1786410914524000000, 1)
    """
    if re.fullmatch(r"-?\d+", text):
        return _checked(int(text), text)
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise ValueError(f"{text!r} is no time: expected ns since 1970, or such as "
                         "2026-08-11T01:30:00Z")
    day, clock, fraction, zone = form.groups()
    if zone is None:
        raise ValueError(f"{text!r} names no zone: write {text.strip()}Z if it is UTC")
    zone = "+00:00" if zone in "Zz" else zone
    try:
        stamp = datetime.fromisoformat(f"{day}T{clock}{zone}")
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: {error}") from None
    whole = (stamp - _EPOCH) // timedelta(seconds=1) * 1_000_000_000
    return _checked(whole + int((fraction or "").ljust(9, "0")), text)


def _checked(ts: int, text: str) -> int:
    if not -_MAX <= ts <= _MAX:
        raise ValueError(f"{text!r} is beyond any time that a tape can hold")
    return ts


MOMENT = Moment()
