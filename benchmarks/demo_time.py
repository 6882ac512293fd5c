"""How long the tour takes: with nothing compiled yet, and the second time."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile

from .harness import Case, benchmark


@benchmark(toy=0, full=1, repeats=3)
def demo_time(size: int) -> Case:
    """Run `foldbook demo` in a process of its own; its cold run compiles (size 1: everything)."""
    environment = dict(os.environ)
    if size:
        folder = tempfile.mkdtemp(prefix="foldbook-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        environment["FOLDBOOK_CACHE"] = folder
    digests: set[str] = set()

    def run() -> str:
        command = [sys.executable, "-m", "foldbook.adapters.cli", "demo", "--json"]
        return subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    def check(output: str) -> None:
        digests.add(json.loads(output)["digest"])
        assert len(digests) == 1, "two demos differ"

    return Case(run, 1, "demos", check)
