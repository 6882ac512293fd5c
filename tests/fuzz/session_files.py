"""Any bytes in the place of one file of a stored session, whatever files there are."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from foldbook.adapters import sessions, synthetic
from foldbook.engine import TapeError

INSTRUMENTED = ("foldbook.adapters.sessions",)
_PLACE = Path(tempfile.mkdtemp(prefix="foldbook-fuzz-"))
_WHOLE = _PLACE / "whole"
sessions.save(synthetic.session(seed=3, events=64, minutes=1), _WHOLE)
FILES = sorted(path.relative_to(_WHOLE) for path in _WHOLE.rglob("*") if path.is_file())


def seeds() -> list[bytes]:
    """Return each file as it is, after its number."""
    return [bytes([number]) + (_WHOLE / name).read_bytes() for number, name in enumerate(FILES)]


def attack(data: bytes) -> None:
    """Load a session one file of which is these bytes; what loads can be described."""
    folder = _PLACE / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_WHOLE, folder)
    (folder / FILES[(data[0] if data else 0) % len(FILES)]).write_bytes(data[1:])
    try:
        session = sessions.load(folder)
        sessions.verify_digest(session)
        sessions.describe(session)
    except TapeError as error:
        refused = str(error)
    else:
        refused = ""
    assert "\n" not in refused
