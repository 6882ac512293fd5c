"""How fast a session is written, and loaded where its hot form has to be made first.

`load-session` in `engine_speed` is the other case, where the hot form is there.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from foldbook.adapters import sessions, synthetic
from foldbook.engine import Session

from .harness import Case, benchmark


@lru_cache(maxsize=1)
def _session(events: int) -> Session:
    return synthetic.session(seed=7, events=events)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="foldbook-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "session"


@benchmark(toy=20_000, full=2_000_000, repeats=9)
def load_portable(size: int) -> Case:
    """Load a session from its Parquet file: read it, hash its rows, make the hot form, check it."""
    folder = _folder()
    saved = sessions.save(_session(size), folder)

    def setup() -> Path:
        (folder / sessions.TAPE_FILE).unlink()
        return folder

    def check(session: Session) -> None:
        assert session.digest == saved.digest
        sessions.verify_digest(session)

    return Case(sessions.load, size, "events", check, setup)


@benchmark(toy=20_000, full=2_000_000, repeats=9)
def save_session(size: int) -> Case:
    """Write a session in both forms, and load it."""
    session, folder = _session(size), _folder()

    def run() -> Session:
        return sessions.save(session, folder)

    def check(saved: Session) -> None:
        assert saved.digest == session.digest
        sessions.verify_portable(folder)

    return Case(run, size, "events", check)
