"""Scripts of this folder run in processes of their own: with the JIT off, or other hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def printed(script: str, *arguments: object, **environment: str) -> list[str]:
    """Run a script of this folder in its own process and return the words it prints."""
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)} | environment,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.split()


def interpreted(script: str, *arguments: object) -> list[str]:
    """As `printed`, with every kernel as the plain Python it is."""
    return printed(script, *arguments, NUMBA_DISABLE_JIT="1")
