"""From a log to sessions: the same as importing what was heard, and nothing lost on the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from isal import igzip
from logs import frames_in, segments, written
from test_kalshi_ws import BOOK, delta, numbered, snapshot, write
from test_log_kills import MARKET, RECORDED

from foldbook.adapters import sessions
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.adapters.log import (
    Frame,
    LogBusyError,
    LogDamagedError,
    Opened,
    Reconnected,
    Writer,
    compact,
    recover,
)
from foldbook.engine.errors import TapeError, UnsupportedError

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
GOLD = DATA / "kalshi_gold15m/events/KXGOLD15M-26AUG102130-30"
SMALL = DATA / "kalshi_small/ws_orderbook_stream.json"
needs_recordings = pytest.mark.skipif(
    not GOLD.is_dir(), reason=f"no recordings in {DATA}; set FOLDBOOK_DATA to their folder"
)
MS = 1_000_000


class Line(msgspec.Struct):
    recv_ms: int
    event: msgspec.Raw


class Streamed(msgspec.Struct):
    received_ms: int
    frame: msgspec.Raw


class Stream(msgspec.Struct):
    frames: list[Streamed]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sessions.load(path).digest for path in sorted(folder.iterdir())}


@needs_recordings
def test_a_real_market_compacts_to_the_session_of_its_import(tmp_path):
    """A restart in it, 200,000 messages in many segments, and the venue's records of the market."""
    frames = []
    for path in sorted(GOLD.glob("*.gz")):
        with igzip.open(path) as file:
            lines = msgspec.json.Decoder(Line).decode_lines(file.read())
        frames += [Frame(line.recv_ms * MS, 0, bytes(line.event)) for line in lines]
    written(tmp_path / "log", frames, segment_bytes=1 << 20)
    assert len(segments(tmp_path / "log")) > 5
    metadata = GOLD.parent.parent / "metadata"
    done = compact(tmp_path / "log", tmp_path / "compacted", metadata=metadata)
    import_recording([GOLD], tmp_path / "imported", metadata=metadata)
    assert digests(tmp_path / "compacted") == digests(tmp_path / "imported")
    assert (done.first, done.next, done.heard) == (0, len(frames), len(frames))
    assert [each["read"] for each in done.sessions] == [len(frames)]


@needs_recordings
def test_a_real_subscription_compacts_to_the_sessions_of_its_import(tmp_path):
    """Twelve markets on one subscription, recorded from its beginning, apart and grouped; what the
    recorder noted of its connection is in the log alone."""
    stream = msgspec.json.decode(SMALL.read_bytes(), type=Stream)
    heard = [Frame(each.received_ms * MS, 3, bytes(each.frame)) for each in stream.frames]
    written(tmp_path / "log", [Opened(heard[0].recv, 3), *heard, Reconnected(heard[-1].recv, 3)])
    for group in (False, True):
        done = compact(tmp_path / "log", tmp_path / f"compacted{group}", group=group)
        import_recording([SMALL], tmp_path / f"imported{group}", group=group)
        assert digests(tmp_path / f"compacted{group}") == digests(tmp_path / f"imported{group}")
        assert (done.heard, done.control, done.next) == (len(heard), 2, len(heard) + 2)
    assert len(digests(tmp_path / "compactedFalse")) == 12


def test_sources_are_recordings_of_their_own(tmp_path):
    """Two connections number their frames each for itself: their frames lie between each other in
    the log, and neither shows a gap."""
    lanes = [
        numbered([snapshot(0, *BOOK, ticker=ticker),
                  *(delta(20 + n, 10_000 + n, "yes", "0.3000", "1.00", ticker=ticker)
                    for n in range(9))])
        for ticker in ("KXA-1", "KXB-1")
    ]
    frames = [Frame(line["recv_ms"] * MS, source, json.dumps(line["event"]).encode())
              for lines in zip(*lanes, strict=True) for source, line in enumerate(lines)]
    written(tmp_path / "log", frames)
    compact(tmp_path / "log", tmp_path / "compacted", seq_scope="subscription")
    for number, lines in enumerate(lanes):
        (tmp_path / str(number)).mkdir()
        import_recording([write(tmp_path / str(number), lines)], tmp_path / "imported",
                         seq_scope="subscription")
    assert digests(tmp_path / "compacted") == digests(tmp_path / "imported")
    assert set(digests(tmp_path / "compacted")) == {"KXA-1", "KXB-1"}


def test_segments_are_removed_only_when_asked(tmp_path):
    """What stays is one segment that keeps the numbers; the next frame goes on with them."""
    log = written(tmp_path / "log", RECORDED, segment_bytes=4000)
    count = len(segments(log))
    done = compact(log, tmp_path / "to")
    assert (done.removed, done.kept, len(segments(log))) == ((), "", count)
    done = compact(log, tmp_path / "to", remove=True)
    assert (done.removed, done.kept) == (tuple(range(count)), "")
    assert frames_in(log) == []
    with Writer(log) as writer:
        assert (writer.segment, writer.append(RECORDED[0])) == (count, len(RECORDED))
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == [MARKET]


def test_a_session_is_not_replaced_by_what_came_after_it(tmp_path):
    """Once its frames are removed a session is all there is: a later one of that name goes
    elsewhere, and the error says so."""
    log = written(tmp_path / "log", RECORDED[:60])
    compact(log, tmp_path / "to", remove=True)
    first = digests(tmp_path / "to")
    with Writer(log) as writer:
        writer.append_all([RECORDED[0], *RECORDED[60:]])
    with pytest.raises(TapeError, match=f"to/{MARKET}: exists, and may hold what the log held "
                                        "before frame 60: not replaced; compact into another"):
        compact(log, tmp_path / "to", remove=True)
    assert digests(tmp_path / "to") == first
    compact(log, tmp_path / "other", remove=True)
    assert digests(tmp_path / "other") != first


def test_a_log_in_use_gives_what_it_has(tmp_path):
    """Its writer is not held up, and the segment that it writes is kept."""
    with Writer(tmp_path / "log", segment_bytes=4000, holder="recorder") as writer:
        writer.append_all(RECORDED[:100])
        count = len(segments(tmp_path / "log"))
        done = compact(tmp_path / "log", tmp_path / "to", remove=True)
        assert done.kept.startswith("the last segment was kept: ")
        assert "is being written by recorder" in done.kept
        assert done.removed == tuple(range(count - 1))
        assert writer.append(RECORDED[100]) == 100
        with pytest.raises(LogBusyError, match="is being written"):
            recover(tmp_path / "log")


def test_two_compactions_do_not_meet(tmp_path):
    """The second is told."""
    log = written(tmp_path / "log", RECORDED)

    def progress(done, total):
        with pytest.raises(LogBusyError, match="is being compacted by process"):
            compact(log, tmp_path / "other")
        seen.append(done)

    seen = []
    compact(log, tmp_path / "to", progress=progress)
    assert seen
    assert not (tmp_path / "other").exists()


def test_a_frame_that_cannot_be_imported_is_named(tmp_path):
    """By its number in the log; told to keep going it is counted, and then no segment goes."""
    bad = RECORDED[7].raw.replace(b"price_dollars", b"price_cents")
    frames = [*RECORDED[:7], Frame(RECORDED[7].recv, 0, bad), *RECORDED[8:]]
    log = written(tmp_path / "log", [Opened(1, 0), *frames])
    with pytest.raises(TapeError, match=f"^{log} frame 8: .*price_dollars is None, expected"):
        compact(log, tmp_path / "to", remove=True)
    assert list((tmp_path / "to").iterdir()) == []
    assert frames_in(log) == [Opened(1, 0), *frames]
    done = compact(log, tmp_path / "to", remove=True, keep_going=True)
    assert done.removed == ()
    assert done.kept == "nothing was removed: 1 rows were rejected, 0 places are damaged"
    assert done.sessions[0]["examples"][0].startswith(f"{log} frame 8: ")
    assert len(frames_in(log)) == len(frames) + 1


def test_what_is_no_text_is_named(tmp_path):
    """The venue's frames are UTF-8; what is not cannot be told to an importer."""
    log = written(tmp_path / "log", [*RECORDED[:3], Frame(5, 0, b"\xff\xfe")])
    with pytest.raises(TapeError, match=r"frame 3: raw is b'\\xff\\xfe', expected text in UTF-8"):
        compact(log, tmp_path / "to")


def test_damage_is_named_or_counted(tmp_path):
    """Nothing is removed of a damaged log."""
    log = written(tmp_path / "log", RECORDED)
    path = segments(log)[0]
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)
    with pytest.raises(LogDamagedError, match="its checksum is wrong"):
        compact(log, tmp_path / "to", remove=True)
    done = compact(log, tmp_path / "to", remove=True, keep_going=True)
    assert (len(done.damage), done.damage[0].frames, done.heard) == (1, 1, len(RECORDED) - 1)
    assert done.kept == "nothing was removed: 0 rows were rejected, 1 places are damaged"


def test_what_is_no_log_or_has_no_frame_is_named(tmp_path):
    """So is a format that no importer reads, and a folder that is no session."""
    with pytest.raises(TapeError, match="nothing: is no log"):
        compact(tmp_path / "nothing", tmp_path / "to")
    log = written(tmp_path / "log", [Opened(1, 0)])
    with pytest.raises(TapeError, match="log: holds no frame of a venue"):
        compact(log, tmp_path / "to")
    with pytest.raises(UnsupportedError, match="format is 'csv', expected one of .*kalshi-ws"):
        compact(log, tmp_path / "to", format="csv")
    with pytest.raises(UnsupportedError, match="kalshi-ws takes no token"):
        compact(log, tmp_path / "to", token="UP")
    with Writer(log) as writer:
        writer.append_all(RECORDED)
    (tmp_path / "to" / MARKET).mkdir(parents=True)
    (tmp_path / "to" / MARKET / "notes.txt").write_text("mine")
    with pytest.raises(TapeError, match="is no session"):
        compact(log, tmp_path / "to")
    assert (tmp_path / "to" / MARKET / "notes.txt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "to").iterdir()] == [MARKET]
