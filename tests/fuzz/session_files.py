"""Any bytes in the place of one file of a stored session: its Parquet, its hot form, format 1."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from foldbook.adapters import sessions, synthetic
from foldbook.engine import TapeError

INSTRUMENTED = tuple(
    f"foldbook.adapters.sessions.{name}" for name in ("about", "folder", "hot", "portable")
)
_PLACE = Path(tempfile.mkdtemp(prefix="foldbook-fuzz-"))
_SESSION = synthetic.session(seed=3, events=64, minutes=1)


def _new(folder: Path) -> Path:
    """Store a session as Parquet, without the hot form, which would be read instead."""
    sessions.save(_SESSION, folder)
    for path in folder.rglob("*.npy"):
        path.unlink()
    return folder


def _hot(folder: Path) -> Path:
    """Store a session with its hot form."""
    sessions.load(_new(folder))
    return folder


def _old(folder: Path) -> Path:
    """Store a session in format 1."""
    folder.mkdir()
    np.save(folder / "tape.npy", _SESSION.tape.rows)
    about = {
        "format": 1, "name": _SESSION.name, "events": len(_SESSION.tape),
        "markets": [{"ticker": each.ticker, "tick": each.tick} for each in _SESSION.markets],
        "tape_digest": sessions.digest_of([_SESSION.tape.rows]), "facts": {},
    }
    (folder / "session.json").write_text(json.dumps(about))
    return folder


WHOLE = [_new(_PLACE / "new"), _hot(_PLACE / "hot"), _old(_PLACE / "old")]
FILES = sorted(path for folder in WHOLE for path in folder.rglob("*") if path.is_file())


def seeds() -> list[bytes]:
    """Return each file as it is, after its number."""
    return [bytes([number]) + path.read_bytes() for number, path in enumerate(FILES)]


def attack(data: bytes) -> None:
    """Load a session one file of which is these bytes; what loads can be described."""
    folder = _PLACE / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    changed = FILES[(data[0] if data else 0) % len(FILES)]
    shutil.copytree(changed.parent, folder)
    (folder / changed.name).write_bytes(data[1:])
    try:
        session = sessions.load(folder)
        sessions.verify_digest(session)
        sessions.describe(session)
    except TapeError as error:
        refused = str(error)
    else:
        refused = ""
    assert "\n" not in refused
