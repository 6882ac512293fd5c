"""Virtual environments of the peers: made once under a folder, from pinned requirements.

What cannot be installed here is an answer too: it comes back with the reason, to be listed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

REQUIREMENTS = Path(__file__).parent / "requirements"
INSTALL_SECONDS = 1200
OURS = "foldbook"
"""The name of this environment among those of the peers."""
LEAST_PYTHON = {"hftbt": (3, 12), "nautilus-queues": (3, 12)}
"""For peers that want a newer Python than ours: one that the machine has is looked for."""


@attrs.frozen
class Environment:
    """A Python with a peer in it, or why there is none.

    name: of its requirements file. python: the interpreter; None where the peer is not installed.
    reason: the last line of what the installer said against it; empty if it is installed.
    """

    name: str
    python: Path | None
    reason: str = ""


def environment(name: str, folder: Path, *, installs: bool = True) -> Environment:
    """Return the environment of a peer, made now if it is not there in this very version.

    installs: False makes none, and tells that it is missing.
    """
    if name == OURS:
        return Environment(name, Path(sys.executable))
    listed = REQUIREMENTS / f"{name}.txt"
    home, python = folder / name, folder / name / "bin" / "python"
    stamp = home / f"installed-{hashlib.sha256(listed.read_bytes()).hexdigest()[:12]}"
    if stamp.exists():
        return Environment(name, python)
    if not installs:
        return Environment(name, None, "not installed: run `make bench-peers`")
    base = _interpreter(LEAST_PYTHON.get(name, (0, 0)))
    if base is None:
        return Environment(name, None, "it needs Python {}.{}".format(*LEAST_PYTHON[name]))
    folder.mkdir(parents=True, exist_ok=True)
    for command in (
        [base, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
         "--only-binary", ":all:", "-r", str(listed)],
    ):  # fmt: skip
        reason = _failure(command)
        if reason:
            return Environment(name, None, reason)
    stamp.touch()
    return Environment(name, python)


def _interpreter(least: tuple[int, int]) -> str | None:
    """Return this Python, or the first other one of the machine that is new enough."""
    if sys.version_info[:2] >= least:
        return sys.executable
    minors = range(least[1], least[1] + 3)
    candidates = [shutil.which(f"python3.{minor}") for minor in minors]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in minors:
        candidates += map(str, sorted(pyenv.glob(f"3.{minor}.*/bin/python")))
    # A shim of pyenv stands on the path for versions that are not switched on, and fails.
    return next((each for each in candidates if each and not _failure([each, "-c", ""])), None)


def _failure(command: list[str]) -> str:
    """Run a command; return why it failed, in one line without addresses, or nothing."""
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not installed within {INSTALL_SECONDS} s"
    if ran.returncode == 0:
        return ""
    errors = [line for line in ran.stderr.splitlines() if line.startswith("ERROR:")]
    return (errors or ran.stderr.splitlines() or ["no reason given"])[-1].removeprefix("ERROR: ")
