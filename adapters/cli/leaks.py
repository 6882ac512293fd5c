"""`foldbook check-leak`: is anything before a time changed by what comes after it?

Environments and features are probed by entry points, `(session, until, seed, **options)` that
yield (ts, what, bytes) in order; strategies by their journals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import attrs
import click

from foldbook.engine import Session
from foldbook.engine.observations import Feature

GROUP = "foldbook.leaks"
TIMES = {"every", "window", "restored_after"}
"""Options that are times: a number alone is none, on the command line."""
Seen = tuple[int, str, bytes]
Probe = Callable[[Session, int], Iterable[Seen]]


@attrs.frozen
class Leak:
    """The first byte that another future changed. t: where the futures part, ns. at: when it was
    seen. what: in words, such as "step 3, feature yes_mid". byte: within it."""

    t: int
    at: int
    what: str
    byte: int

    def __str__(self) -> str:
        return f"{self.what}, byte {self.byte}, at {self.at}: changed by rows after {self.t}"


@attrs.frozen
class Found:
    """What `check_leak` answers: to programs and to people."""

    leaks: bool
    data: Mapping[str, Any]
    lines: tuple[str, ...]


def checked(
    kind: str,
    arguments: Sequence[str],
    options: Sequence[str],
    at: tuple[Sequence[int], int],
    seed: int,
) -> Found:
    """Check what the command is told to. arguments: [NAME] SESSION. at: times in ns, or how many.

    Raises UsageError for wrong use.
    """
    from . import models, plugins

    if len(arguments) > 2:
        raise click.UsageError(f"{len(arguments)} arguments after {kind}; expected [NAME] SESSION")
    *names, source = arguments
    given = plugins.parameters(options)
    for time in TIMES & given.keys():
        models.option(f"--option {time}", models.time, str(given[time]))
    probe = probe_of(kind, names[0] if names else None, given, seed)
    session = plugins.session(source)
    if not len(session.tape):
        raise click.UsageError(f"{session.name} has no events: nothing could look ahead in it")
    times = moments(session, at[1], at[0])
    leak = check(probe, session, times, seed)
    data = {"kind": kind, "name": names[0] if names else None, "session": session.name,
            "moments": times, "leak": None if leak is None else attrs.asdict(leak)}  # fmt: skip
    said = f"no leak: nothing before any of {len(times)} moments changes" if leak is None else (
        f"leak: {leak}"
    )
    return Found(leak is not None, data, (said,))


def check(probe: Probe, session: Session, moments: Sequence[int], seed: int) -> Leak | None:
    """Return the first leak at any of the moments (ns), or None."""
    from .. import sessions

    last = max(moments)
    whole = list(probe(session, last))
    for number, t in enumerate(sorted(moments)):
        other = sessions.other_tail(session, t, seed + number)
        before = [seen for seen in whole if seen[0] <= t]
        found = _first([seen for seen in probe(other, t) if seen[0] <= t], before)
        if found is not None:
            return Leak(t, *found)
    return None


def _first(one: Sequence[Seen], other: Sequence[Seen]) -> tuple[int, str, int] | None:
    for left, right in zip_longest(one, other):
        if left == right:
            continue
        at, what, data = right or left
        if left is None or right is None or left[:2] != right[:2]:
            return at, what, 0
        pairs = zip_longest(data, left[2])
        return at, what, next(k for k, (a, b) in enumerate(pairs) if a != b)
    return None


def moments(session: Session, count: int, at: Sequence[int]) -> list[int]:
    """Return the times to check, ns: those given, or as many ends of bursts, evenly apart.

    Raises UsageError for a time after the end of the session.
    """
    if at:
        if max(at) > session.end:
            raise click.UsageError(
                f"--at: {max(at)} is after the end of {session.name}, {session.end}: nothing "
                "follows that could be changed"
            )
        return list(at)
    times = session.tape.rows["ts"]
    return sorted({int(times[len(times) * part // (count + 1)]) for part in range(1, count + 1)})


def probe_of(kind: str, name: str | None, options: Mapping[str, Any], seed: int) -> Probe:
    """Return what plays an environment, a strategy or a feature. Raises UsageError."""
    from . import plugins, runs

    if kind == "env":
        if name is not None:
            raise click.UsageError(f"env takes no NAME, and {name!r} was given; use --option")
        env = plugins.entry(GROUP, "env")
        return lambda session, until: _played(env, session, until, seed, **options)
    if name is None:
        raise click.UsageError(f"{kind}: no NAME; expected module:Name or file.py:Name")
    if kind == "strategy":
        params = {key: value for key, value in options.items() if key != "every"}
        decider = runs.Decider(name, params, options.get("every"))
        return lambda session, until: _journal(decider, session)
    of: Any = plugins.strategy(name) if ":" in name else name
    if not isinstance(of, (str, Feature)):
        raise click.UsageError(f"feature {name!r} is a {type(of).__name__}, and not a Feature")
    feature = plugins.entry(GROUP, "feature")
    return lambda session, until: _played(feature, session, until, seed, of=of, **options)


def _played(probe: Any, session: Session, until: int, seed: int, **options: Any) -> Iterable[Seen]:
    try:
        yield from probe(session, until, seed, **options)
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


def _journal(decider: Any, session: Session) -> Iterable[Seen]:
    """Yield the fields of the journal, each row at its time."""
    rows = decider.backtest(session).run().journal.rows
    for number, row in enumerate(rows):
        for field in rows.dtype.names or ():
            yield int(row["ts"]), f"journal row {number}, field {field}", row[field].tobytes()
