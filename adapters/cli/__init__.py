"""The command line: where sessions, strategies, journals and people meet.

This is the one adapter that others are plugged into: it knows `sessions` and `journals`, and finds
importers and generators by their entry points. `main` turns every failure into one line that says
whose fault it is and where, and an exit status: 0 done, 1 the answer is no, 2 wrong use or bad
input.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

USAGE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    arguments: what follows the program's name; default: those of the process.
    """
    from .commands import foldbook

    given = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stdout is None:  # closed by whoever called: nobody reads
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if arguments is None and "--json" in given:
        from . import show

        show.keep_stdout_for_json()
    try:
        return foldbook.main(given, prog_name="foldbook", standalone_mode=False) or 0
    except Exception as error:  # whatever it is becomes one line and a status
        from . import failures, show

        failure = failures.explain(error)
        print(f"foldbook: {failure.line}", file=sys.stderr)
        if "--json" in given:
            show.write_json({"error": failure.line, **failure.facts})
        return failure.status
