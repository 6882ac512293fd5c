"""Real recordings: what a rebuilt book must be, and that no row knows what was received later.

The data is private and stays outside; without it these tests are skipped.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from foldbook.adapters import sessions
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.engine.schema import MarketStatus, Side, TapeFlag, TapeKind

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
GOLD = DATA / "kalshi_gold15m"
BTC = DATA / "kalshi_btc15m/sessions"
SMALL = DATA / "kalshi_small"
RESTARTED = "KXGOLD15M-26AUG102130-30"
QUIET = "KXGOLD15M-26AUG101900-00"

pytestmark = pytest.mark.skipif(
    not GOLD.is_dir(), reason=f"no recordings in {DATA}; set FOLDBOOK_DATA to their folder"
)


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    """All gold windows, imported once: (reports by ticker, sessions by ticker)."""
    folder = tmp_path_factory.mktemp("gold")
    reports = import_recording([GOLD / "events"], folder, metadata=GOLD / "metadata")
    return (
        {report.markets[0]: report for report in reports},
        {report.markets[0]: sessions.load(report.session) for report in reports},
    )


def impossible(rows: np.ndarray) -> list[str]:
    """Return what is wrong with a tape of one market, read row by row in plain Python."""
    faults = []
    levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
    trusted = crossed = False
    last_ts = None
    expected = None
    for number, (ts, _, qty, _, price, _, kind, side, flags) in enumerate(rows.tolist()):
        if last_ts is not None and ts < last_ts:
            faults.append(f"row {number}: ts falls")
        if crossed and ts != last_ts:
            faults.append(f"row {number}: the burst before it ended crossed")
        last_ts = ts
        if expected is not None and (kind, side, price, qty) != expected:
            faults.append(f"row {number}: a joined trade is not followed by its decrease")
        expected = None
        if kind in (TapeKind.SNAPSHOT, TapeKind.GAP):
            levels[0].clear(), levels[1].clear()
            trusted = kind == TapeKind.SNAPSHOT
        elif kind == TapeKind.STATUS and qty >= MarketStatus.CLOSED:
            levels[0].clear(), levels[1].clear()
            trusted = False
        elif kind == TapeKind.SNAPSHOT_LEVEL:
            levels[side][price] = qty
        elif kind in (TapeKind.INCREASE, TapeKind.DECREASE):
            if not trusted:
                faults.append(f"row {number}: a level changes while the book is not trusted")
            left = levels[side].get(price, 0) + (qty if kind == TapeKind.INCREASE else -qty)
            if left < 0:
                faults.append(f"row {number}: level {price} falls to {left}")
            levels[side][price] = left
            if left == 0:
                del levels[side][price]
        elif kind == TapeKind.TRADE and flags & TapeFlag.JOINED:
            expected = (TapeKind.DECREASE, side, price, qty)
        if kind != TapeKind.TRADE:
            touch = max(levels[0], default=0), min(levels[1], default=10_000)
            crossed = 0 < touch[0] >= touch[1]
    if crossed:
        faults.append("the tape ends crossed")
    return faults


def test_every_gold_window_rebuilds(gold):
    """No negative level, no crossed or locked book at the end of a burst, and nothing refused."""
    reports, loaded = gold
    assert len(loaded) == 32
    for ticker, session in loaded.items():
        assert impossible(session.tape.rows) == [], ticker
        assert reports[ticker].rejected == 0
        assert reports[ticker].read == sum(reports[ticker].counts.values())


def test_both_forms_of_every_window_are_one_session(gold, tmp_path, monkeypatch):
    """The Parquet file alone has the digest of the mapped tape, and all of them together take at
    most a third of what the compressed recordings take."""
    monkeypatch.setenv("FOLDBOOK_CACHE", str(tmp_path))
    reports, loaded = gold
    size = 0
    for ticker, session in loaded.items():
        path = reports[ticker].session / sessions.PORTABLE_FILE
        assert sessions.load(path).digest == session.digest
        sessions.verify_digest(session)
        size += path.stat().st_size
    raw = sum(path.stat().st_size for path in (GOLD / "events").rglob("*.ndjson.gz"))
    assert 3 * size <= raw


def test_gold_has_one_gap(gold):
    """Holes in seq are other markets' messages there; the one restart is the one gap."""
    reports, loaded = gold
    assert {ticker: report.gaps for ticker, report in reports.items() if report.gaps} == {
        RESTARTED: 1
    }
    rows = loaded[RESTARTED].tape.rows
    gap = int(np.flatnonzero(rows["kind"] == TapeKind.GAP)[0])
    assert rows["recv"][gap] == 1786410987242_000_000, "the snapshot that begins seq anew"
    assert rows["ts"][gap] == rows["ts"][gap - 1]
    assert np.count_nonzero(rows["kind"] == TapeKind.RECOVERED) == 1


def test_gold_trades_are_joined(gold):
    """Every trade stands before its own decrease; 99.9 % are asked for, the data allow them all."""
    reports, _ = gold
    trades = sum(report.counts["trades"] for report in reports.values())
    assert trades == 42_005
    assert sum(report.joined for report in reports.values()) >= 0.999 * trades
    assert reports[RESTARTED].joined >= 0.999 * reports[RESTARTED].counts["trades"]


def test_gold_markets_close_and_settle_as_recorded(gold):
    """The last two rows of each tape: CLOSED, then SETTLED at the payout of the record."""
    for ticker, session in gold[1].items():
        record = json.loads((GOLD / f"metadata/{ticker[:-3]}.json").read_text())
        market = record["response"]["markets"][0]
        last = session.tape.rows[-2:]
        assert last["kind"].tolist() == [TapeKind.STATUS] * 2
        assert last["qty"].tolist() == [MarketStatus.CLOSED, MarketStatus.SETTLED]
        assert last["price"][1] == {"yes": 10_000, "no": 0}[market["result"]]
        described = sessions.describe(session)["markets"][0]
        assert (described["status"], described["result"]) == ("settled", market["result"])


def test_the_restarted_window_equals_the_recorders_own_grid(gold):
    """On the receive clock, every 100 ms; 3 of 8,845 instants share a ms with a message."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = GOLD / f"snapshots/{RESTARTED}/2026-08-11/01/compacted.parquet"
    table = parquet.read_table(path).to_pydict()
    grid: dict[int, dict[tuple[int, int], int]] = {}
    for ts, side, price, size in zip(
        table["ts_ms"], table["side"], table["price_1e4"], table["size_1e2"], strict=True
    ):
        key = (Side.BUY, price) if side == "yes" else (Side.SELL, 10_000 - price)
        grid.setdefault(ts, {})[key] = size
    rows = gold[1][RESTARTED].tape.rows
    assert (np.diff(rows["recv"][rows["kind"] != TapeKind.TRADE]) >= 0).all()
    equal, book, at = 0, {}, 0
    lines = rows[rows["kind"] != TapeKind.TRADE].tolist()
    for instant in sorted(grid):
        while at < len(lines) and lines[at][1] <= instant * 1_000_000:
            _, _, qty, _, price, _, kind, side, _ = lines[at]
            at += 1
            if kind in (TapeKind.SNAPSHOT, TapeKind.GAP):
                book = {}
            elif kind in (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE, TapeKind.DECREASE):
                change = -qty if kind == TapeKind.DECREASE else qty
                book[side, price] = book.get((side, price), 0) + change
                if not book[side, price]:
                    del book[side, price]
        equal += book == grid[instant]
    assert len(grid) == 8_845
    assert equal >= 8_842
    assert_book_at_agrees(gold[1][RESTARTED], grid, random.Random(1).sample(sorted(grid), 5))


def assert_book_at_agrees(session, grid, instants):
    """`info --book-at` shows the same books, best first."""
    for instant in instants:
        book = sessions.book_at(session, RESTARTED, instant * 1_000_000, clock="receive")
        bids = sorted((price for side, price in grid[instant] if side == Side.BUY), reverse=True)
        asks = sorted(price for side, price in grid[instant] if side == Side.SELL)
        assert [price for price, _ in book["yes_bids"]] == [f"{p / 10_000:.4f}" for p in bids]
        assert [price for price, _ in book["yes_asks"]] == [f"{p / 10_000:.4f}" for p in asks]


def test_the_session_that_lacks_an_hour_has_one_gap(tmp_path):
    """RESIDLOCK001: one hole in the seq of a market's connection, and no negative size."""
    reports = import_recording([BTC / "particle_residual_blend_oos_RESIDLOCK001"], tmp_path)
    assert sum(report.gaps for report in reports) == 1
    for report in reports:
        assert impossible(sessions.load(report.session).tape.rows) == []


def test_every_btc_session_rebuilds(tmp_path):
    """Merged from files by type, crossed inside bursts only; a reconnect is a gap, and the only."""
    gaps = {}
    for folder in sorted(BTC.iterdir()):
        for report in import_recording([folder], tmp_path / folder.name):
            session = sessions.load(report.session)
            assert impossible(session.tape.rows) == [], report.session
            assert report.rejected == 0
            gaps[folder.name[-16:]] = gaps.get(folder.name[-16:], 0) + report.gaps
            assert "maker fills are beyond the record" in str(sessions.describe(session)["quality"])
    assert {name for name, count in gaps.items() if count} == {
        "blend_oos_RESIDLOCK001"[-16:], "20260514T043118Z"
    }


def test_control_frames_fill_the_holes_of_a_whole_subscription(tmp_path):
    """The stream of 12 markets counts 1..268 with its ok frames: no gap, every book rebuilds."""
    reports = import_recording([SMALL / "ws_orderbook_stream.json"], tmp_path, group=True)
    assert len(reports) == 1 and len(reports[0].markets) == 12
    assert (reports[0].gaps, reports[0].rejected) == (0, 0)
    assert reports[0].counts == {"snapshots": 12, "deltas": 245, "trades": 0}
    session = sessions.load(reports[0].session)
    for index in range(12):
        assert impossible(session.tape.rows[session.tape.rows["market"] == index]) == []


def test_sub_penny_prices_refine_the_grid(tmp_path):
    """0.001 at the edges without a record of the market: the tick is the finest step seen."""
    reports = import_recording([SMALL / "subpenny_ws.jsonl"], tmp_path)
    session = sessions.load(next(r.session for r in reports if "GNEWS" in r.markets[0]))
    assert session.markets[0].tick == 10
    first = session.tape.rows[0]
    assert (first["kind"], first["price"], first["ahead"]) == (TapeKind.GRID, 10, 10)
    assert 15_576_897_00 in session.tape.rows["qty"]


def test_frames_kept_as_text_are_read(tmp_path):
    """{"recv_ts_ns", "raw"}: eight markets; error frames and a second subscription are no harm."""
    reports = import_recording([SMALL / "older_frames_ws.jsonl"], tmp_path)
    assert len(reports) == 8
    assert all((report.rejected, report.gaps) == (0, 0) for report in reports)


Lines = list[tuple[int, bytes]]


def received(rows: np.ndarray, t: int) -> bytes:
    """Return the rows received by t, without the places of decreases in their levels: those are
    what the exchange knew, and a recorder learns of a trade only when it receives it."""
    known = rows[rows["recv"] <= t].copy()
    decreases = known["kind"] == TapeKind.DECREASE
    known["ahead"][decreases] = 0
    known["flags"][decreases] &= ~int(TapeFlag.GUESSED)
    return known.tobytes()


def cut(lines: Lines, t: int) -> Lines:
    return [line for line in lines if line[0] <= t]


def scrambled(lines: Lines, t: int) -> Lines:
    """Return the lines with all after t in another order, some lost, some saying something else."""
    chance = random.Random(t)
    later = [line for line in lines if line[0] > t]
    order = list(range(len(later)))
    for begin in range(0, len(order), 50):
        block = order[begin : begin + 50]
        chance.shuffle(block)
        order[begin : begin + 50] = block
    tail = []
    for source, target in enumerate(order):
        text = later[source][1]
        if chance.random() < 0.1:
            continue
        if chance.random() < 0.3:
            text = text.replace(b'"0.5', b'"0.4').replace(b'_fp":"1', b'_fp":"7')
        tail.append((later[target][0], text))
    return cut(lines, t) + tail


def read_gold(ticker: str) -> Lines:
    lines = []
    for path in sorted((GOLD / "events" / ticker).iterdir()):
        with gzip.open(path) as file:
            for line in file:
                lines.append((int(line[11:24]) * 1_000_000, line))
    return lines


def imported(folder: Path, name: str, lines: Iterable[tuple[int, bytes]]) -> np.ndarray:
    path = folder / name / RESTARTED / "all.ndjson"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(line for _, line in lines))
    [report] = import_recording(
        [path.parent.parent], folder / f"{name}-out", metadata=GOLD / "metadata", keep_going=True
    )
    return np.array(sessions.load(report.session).tape.rows)


@pytest.mark.parametrize("change", [cut, scrambled])
def test_gold_rows_know_nothing_received_later(tmp_path, change: Callable[[Lines, int], Lines]):
    """Cutting or scrambling the recording after t leaves every row received by t as it was.

    The window has a restart; t stands before, in and after it, and just after each snapshot.
    """
    lines = read_gold(RESTARTED)[:22_000]
    whole = imported(tmp_path, "whole", lines)
    times = [time for time, _ in lines]
    moments = [times[0], times[1], times[500], times[9_000], times[13_107], times[13_108],
               times[13_109], times[13_150], times[20_000]]
    for number, t in enumerate(moments):
        other = imported(tmp_path, f"{number}", change(lines, t))
        assert received(other, t) == received(whole, t), f"t = {t} (number {number})"
        assert received(whole, t)


def test_the_end_of_a_gold_window_is_not_known_before(tmp_path):
    """The close and the settlement stand on the tape alike whether their frames were cut or not."""
    lines = read_gold(RESTARTED)[-3_000:]
    lines = [read_gold(RESTARTED)[13_108], *lines]
    whole = imported(tmp_path, "whole", lines)
    for number, t in enumerate(time for time, _ in lines[-40:]):
        assert received(imported(tmp_path, f"{number}", cut(lines, t)), t) == received(whole, t)


def read_parts(folder: Path) -> list[tuple[Path, Lines]]:
    files = []
    for path in sorted((folder / "raw_events").rglob("*.ndjson.gz")):
        with gzip.open(path) as file:
            lines = [(json.loads(line)["local_recv_ns"], line) for line in file]
        files.append((path.relative_to(folder), lines))
    return files


@pytest.mark.parametrize("group", [False, True])
def test_btc_rows_know_nothing_received_later(tmp_path, group):
    """As for gold, in a session of two markets in files by type, apart and grouped."""
    files = read_parts(BTC / "rv600_next_evidence_shadow_20260515T053557Z")
    times = sorted(time for _, lines in files for time, _ in lines)

    def tapes(name: str, change: Callable[[Lines], Lines]) -> dict[str, np.ndarray]:
        for path, lines in files:
            target = tmp_path / name / path.with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"".join(line for _, line in change(lines)))
        reports = import_recording(
            [tmp_path / name], tmp_path / f"{name}-out", group=group, keep_going=True
        )
        return {"+".join(report.markets) if not group else "all":
                np.array(sessions.load(report.session).tape.rows) for report in reports}

    whole = tapes("whole", lambda lines: lines)
    for number, t in enumerate(times[part * len(times) // 4] for part in (1, 2, 3)):
        for how, change in (("cut", cut), ("scrambled", scrambled)):
            other = tapes(f"{how}{number}", lambda lines, change=change, t=t: change(lines, t))
            for ticker, rows in whole.items():
                now = received(other.get(ticker, rows[:0]), t)
                assert now == received(rows, t), f"{how}, t = {t}, {ticker}"
