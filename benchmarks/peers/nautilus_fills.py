"""Whether nautilus_trader with its queue tracking fills the orders that ours fills, and why not.

Both quote one lot, the smallest that there is, with orders 10 ms late and no other delay, as
nautilus knows none. Its rules are others; `queue_rules` has each by itself. A difference is put
down to the fewest of them that, taken over by ours, give the order what nautilus gave it. That
counts only where the rules foretell every fill of both: what they do not is unexplained. On a
feed where the rules say the same, `plain_feed`, both have to fill the same.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import click

from . import feed, plain_feed
from .environments import OURS, environment
from .queue_rules import RULES, Key, Outcomes, outcomes
from .race import ask
from .rows import Runner

PLACE = "nautilus-queues"
LOT = "0.01"
PLAIN_EVENTS = 20_000
Fill = tuple[int, int, int]
"""ts of the exchange, side, cents."""
RuleSet = frozenset[str]
NONE, ALL = frozenset[str](), frozenset(RULES)


def rule_sets() -> list[RuleSet]:
    """Return every choice of rules, the smaller first, in the order of RULES.

    >>> [sorted(each) for each in rule_sets()[:2]]
    [[], ['start']]
    """
    return [
        frozenset(chosen) for size in range(len(RULES) + 1) for chosen in combinations(RULES, size)
    ]


def explain(
    ours: list[Fill], theirs: list[Fill], told: dict[RuleSet, Outcomes]
) -> dict[str, Any]:
    """Put each order that fills otherwise in one system down to rules of nautilus.

    told: what becomes of each order by the rules that are as in nautilus. Returns how many fills
    are the same, how many orders differ by which rules ("ours alone", "theirs alone", or "moved"
    to another time), and the fills that the rules do not foretell, or foretell and are not there.
    """
    rules: dict[str, Counter[str]] = {}
    for key in sorted(told[NONE].keys() | told[ALL].keys()):
        left, right = told[NONE].get(key, 0), told[ALL].get(key, 0)
        if left != right:
            how = "moved" if left and right else "ours alone" if left else "theirs alone"
            rules.setdefault(_reason(key, told), Counter())[how] += 1
    unexplained = []
    for who, seen, by_rules in (("ours", ours, told[NONE]), ("theirs", theirs, told[ALL])):
        foretold = Counter((ts, side, cents) for (_, side, cents), ts in by_rules.items() if ts)
        for what, odd in (
            ("not foretold", Counter(seen) - foretold),
            ("only foretold", foretold - Counter(seen)),
        ):
            unexplained += [
                {"who": who, "what": what, "ts": ts, "side": side, "cents": cents}
                for ts, side, cents in sorted(odd.elements())
            ]
    return {
        "ours": len(ours), "theirs": len(theirs),
        "same": (Counter(ours) & Counter(theirs)).total(),
        "rules": {
            name: dict(sorted(counts.items()))
            for name, counts in sorted(rules.items(), key=lambda each: (-each[1].total(), each[0]))
        },
        "unexplained_count": len(unexplained), "unexplained": unexplained[:20],
    }  # fmt: skip


def _reason(key: Key, told: dict[RuleSet, Outcomes]) -> str:
    """Name the fewest rules that give an order what nautilus gives it; "or" between choices."""
    wanted = told[ALL].get(key, 0)
    enough = [chosen for chosen in told if told[chosen].get(key, 0) == wanted]
    fewest = min(map(len, enough))
    named = [
        " and ".join(rule for rule in RULES if rule in chosen)
        for chosen in enough
        if len(chosen) == fewest
    ]
    return " or ".join(named)


def measure(folder: Path, events: int, *, installs: bool) -> dict[str, Any]:
    """Run both and explain what differs. Raises RuntimeError where nautilus is missing."""
    place = environment(PLACE, folder, installs=installs)
    if place.python is None:
        raise RuntimeError(f"{PLACE}: {place.reason}")
    plain = feed.write(
        folder, f"plain-{PLAIN_EVENTS}", lambda: plain_feed.session(PLAIN_EVENTS)
    )
    same = _compared(folder, plain)
    return {
        "events": events,
        **_compared(folder, feed.make(folder, events)),
        "plain": {"events": PLAIN_EVENTS} | {key: same[key] for key in ("ours", "theirs", "same")},
    }


def is_explained(found: dict[str, Any]) -> bool:
    """Whether rules explain every difference, and where none applies the fills are the same."""
    if "missing" in found:
        return False
    plain = found["plain"]
    return not found["unexplained_count"] and 0 < plain["same"] == plain["ours"] == plain["theirs"]


def _compared(folder: Path, columns: Path) -> dict[str, Any]:
    """Run both over one feed and explain what differs; neither keeps what own fills took."""
    quoting = ("--qty", LOT)
    runners = {
        "foldbook, takings given back": Runner(
            "foldbook", OURS, "drive_ours", "maker-sent", "", more=(*quoting, "--restored", "1")
        ),
        "nautilus_trader, queue tracking": Runner(
            "nautilus_trader", PLACE, "drive_nautilus", "maker", "",
            more=(*quoting, "--noted", "1", "--queues", "1"),
        ),
    }  # fmt: skip
    answers = {
        name: ask(runner, environment(runner.environment, folder, installs=False), columns, folder)
        for name, runner in runners.items()
    }
    ours, theirs = (
        [(int(ts), int(side), int(cents)) for ts, side, cents in answer["noted"]]
        for answer in answers.values()
    )
    arrays = feed.load(columns)
    told = {chosen: outcomes(arrays, chosen) for chosen in rule_sets()}
    return {
        "totals": {
            name: {key: answer[key] for key in ("submits", "cancels", "fills", "position")}
            for name, answer in answers.items()
        },
        **explain(ours, theirs, told),
    }


def show(found: dict[str, Any]) -> None:
    """Print a comparison, or why there is none."""
    if "missing" in found:
        click.echo(f"nautilus_trader: {found['missing']}")
        return
    click.echo(
        f"fills: {found['ours']} of ours, {found['theirs']} of nautilus_trader's with queue "
        f"tracking, {found['same']} the same; {found['events']:,} records"
    )
    for name, counts in found["rules"].items():
        click.echo(f"  {name}: " + ", ".join(f"{count} {how}" for how, count in counts.items()))
    click.echo(f"  unexplained: {found['unexplained_count']}")
    plain = found["plain"]
    click.echo(
        f"  where the rules say the same: {plain['ours']} of ours, {plain['theirs']} of "
        f"nautilus_trader's, {plain['same']} the same; {plain['events']:,} records"
    )
    for name, counts in found["totals"].items():
        click.echo(f"  {name}: {counts}")
    for each in found["unexplained"][:5]:
        click.echo(f"  {each}")
