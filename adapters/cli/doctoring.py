"""The command that finds and explains what is wrong with recordings, and how it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .commands import command

if TYPE_CHECKING:
    from ..sessions import Diagnosis, Finding


@command("foldbook doctor sessions/")
@click.argument("given", nargs=-1, required=True, metavar="SESSION|FOLDER...")
@click.option("--notes/--no-notes", default=True, show_default=True,
              help="Also say what does no harm.")
@click.pass_context
def doctor(context: click.Context, given: tuple[str, ...], notes: bool, as_json: bool) -> None:
    """Find what is wrong with sessions, and say what it means and what to do.

    Exit status 1 if there is an error or a warning; notes do no harm. Nothing is changed.
    """
    from .. import sessions
    from . import plugins, show

    found = sessions.diagnose(
        plugins.session(each) if plugins.is_generated(each) else each for each in given
    )
    show.answer(*_answer(found, notes, as_json))
    context.exit(0 if found.is_healthy else 1)


def _answer(found: Diagnosis, with_notes: bool, as_json: bool) -> tuple[Any, ...]:
    shown = found.findings if with_notes else found.problems
    data = {
        "sessions": list(found.sessions),
        "healthy": found.is_healthy,
        **_counts(found),
        "findings": [each.to_json() for each in shown],
    }
    counted = ", ".join(f"{count} {name}" for name, count in _counts(found).items())
    count = len(found.sessions)
    closing = f"{count} {'session' if count == 1 else 'sessions'}: {counted}"
    return data, as_json, *_texts(shown), closing


def _counts(found: Diagnosis) -> dict[str, int]:
    from ..sessions import Severity

    return {
        f"{severity.name.lower()}s": sum(each.severity is severity for each in found.findings)
        for severity in sorted(Severity, reverse=True)
    }


def _texts(findings: tuple[Finding, ...]) -> list[str]:
    """Return a paragraph for each finding, under the name of its session."""
    parts: list[str] = []
    session = None
    for each in findings:
        if each.session != session:
            session = each.session
            parts.append(f"\n{session}" if parts else session)
        market = f"{each.market}: " if each.market and each.market not in each.session else ""
        where = f", at {each.places[0]}" if each.places else ""
        more = " and elsewhere" if len(each.places) > 1 else ""
        parts += [f"  {each.severity.name.lower():<8} {market}{each.text}{where}{more}",
                  f"           means: {each.effect}", f"           do: {each.advice}"]
    return [*parts, ""] if parts else parts
