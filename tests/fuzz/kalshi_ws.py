"""Any bytes as a recording of the venue's WebSocket, of whatever recorder they look like."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from foldbook.adapters.kalshi_ws.decode import Decoder, Rejections
from foldbook.adapters.kalshi_ws.sources import chunks, sniff
from foldbook.engine import TapeError

sys.path.append(str(Path(__file__).parent.parent))
from test_fuzz_kalshi_ws import WRAPPED, recording

INSTRUMENTED = tuple(
    f"foldbook.adapters.kalshi_ws.{name}" for name in ("decode", "frames", "numbers", "sources")
)
_PLACE = Path(tempfile.mkdtemp(prefix="foldbook-fuzz-"))


def seeds() -> list[bytes]:
    """Return a recording of each recorder, and one with a message of each type alone."""
    texts = [
        "".join(json.dumps(wrap(each)) + "\n" for each in recording()) for wrap in WRAPPED.values()
    ]
    texts += [json.dumps(each) for each in recording()]
    texts += [json.dumps({"frames": [WRAPPED["stream"](each) for each in recording()]})]
    return [f"{start}{text}".encode() for text in texts for start in "\0\1"]


def attack(data: bytes) -> None:
    """Decode the bytes, stopping at the first refusal or going on, as the first byte says."""
    path = _PLACE / ("r.json" if data[:1] == b"\2" else "r.ndjson")
    path.write_bytes(data[1:])
    rejections = Rejections(keep_going=data[:1] != b"\1")
    try:
        decoder = Decoder(sniff(path), [path], rejections)
        for chunk in chunks(path, rejections):
            messages = decoder.decode(chunk)
            assert (messages["market"] < len(decoder.tickers)).all()
    except TapeError as error:
        refused = str(error)
    else:
        refused = ""
    assert "\n" not in refused
