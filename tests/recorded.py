"""Where the real recordings are; tests of them are skipped where they are missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
GOLD = DATA / "kalshi_gold15m"
BTC = DATA / "kalshi_btc15m/sessions"

needs_recordings = pytest.mark.skipif(
    not GOLD.is_dir(), reason=f"no recordings in {DATA}; set FOLDBOOK_DATA to their folder"
)
