"""No look-ahead: what comes later changes nothing that happened before, on the tape and in raw."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import Maker, Quoting, Taker, compiled_maker, compiled_taker
from test_kalshi_ws import wild, write
from test_real_recordings import GOLD, QUIET, RESTARTED, cut, scrambled
from workloads import TapeBuilder

from foldbook.adapters import sessions, synthetic
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.engine import Backtest, Journal, Mark, MarketStatus, Session, Side, Tape
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, JournalKind, TapeFlag, TapeKind
from foldbook.engine.units import MILLISECOND

STRATEGIES = [
    pytest.param(Maker(), "250ms", id="function"),
    pytest.param(Quoting(), None, id="hooks"),
    pytest.param(compiled_maker, "250ms", id="compiled"),
    pytest.param(compiled_maker, None, id="compiled by event"),
    pytest.param(Taker(), "100ms", id="taker"),
    pytest.param(compiled_taker, "100ms", id="compiled taker"),
]


def other_tail(session: Session, t: int, seed: int) -> Session:
    """Return the session with all rows after t replaced by other ones: in each market a gap, other
    books, other trades, and the opposite end."""
    rng = random.Random(seed)
    tape = TapeBuilder()
    ts = t + 1
    for market in range(len(session.markets)):
        book = {side: {} for side in Side}
        base = rng.randrange(20, 70)
        tape.add(ts, TapeKind.GAP, market=market)
        tape.add(ts, TapeKind.SNAPSHOT, market=market)
        for side, start in ((Side.BUY, base), (Side.SELL, base + 2)):
            for away in range(8):
                price = (start - away if side == Side.BUY else start + away) * 100
                book[side][price] = qty = rng.randrange(100, 3000)
                tape.add(ts, TapeKind.SNAPSHOT_LEVEL, side, price, qty, market=market)
        tape.add(ts, TapeKind.RECOVERED, market=market)
        for _ in range(200):
            ts += rng.randrange(1, 50 * MILLISECOND)
            side = rng.choice(tuple(Side))
            price = rng.choice(list(book[side]))
            qty = rng.randrange(1, book[side][price])
            if rng.random() < 0.5 and book[side][price] - qty > 1:
                book[side][price] -= qty
                tape.add(ts, TapeKind.TRADE, side, price, qty, market=market, flags=TapeFlag.JOINED)
                tape.add(ts, TapeKind.DECREASE, side, price, qty, market=market, ahead=-1)
            else:
                book[side][price] += qty
                tape.add(ts, TapeKind.INCREASE, side, price, qty, market=market)
        ts += 1
        payout = rng.choice((0, 10_000))
        tape.add(ts, TapeKind.STATUS, qty=MarketStatus.CLOSED, market=market)
        tape.add(ts, TapeKind.STATUS, qty=MarketStatus.SETTLED, price=payout, market=market)
        ts += 1
    rows = session.tape.rows
    whole = np.concatenate([rows[rows["ts"] <= t], tape.rows()])
    return Session(Tape(whole), session.markets, name="other", facts={"result": {"all": "no"}})


@pytest.mark.parametrize("mark", Mark)
@pytest.mark.parametrize(("strategy", "every"), STRATEGIES)
def test_another_tail_leaves_the_journal_before_it(strategy, every, mark) -> None:
    """Replacing the tape after t by another valid one: journal rows up to t are byte-equal, those
    behind are not, at moments all over the session, ends of bursts included."""
    session = synthetic.session(seed=41, markets=2, events=2500, minutes=1)

    def rows(of: Session) -> np.ndarray:
        return Backtest(of, strategy, every=every, mark=mark).run().journal.rows

    whole = rows(session)
    times = session.tape.rows["ts"]
    moments = [int(times[len(times) * part // 9]) for part in range(1, 8)]
    moments += [moments[3] + 1, moments[4] - 1, session.start]
    for number, t in enumerate(moments):
        other = rows(other_tail(session, t, seed=number))
        before = whole[whole["ts"] <= t]
        assert other[other["ts"] <= t].tobytes() == before.tobytes(), f"moment {number}"
        assert other.tobytes() != whole.tobytes()
    assert (before := whole[whole["ts"] <= moments[6]]).size > 100
    assert JournalKind.FILL in before["kind"]


@pytest.mark.parametrize(("strategy", "every"), STRATEGIES)
def test_what_a_session_says_of_itself_is_not_read(strategy, every) -> None:
    """Name, source and facts (the result among them) change no journal."""
    session = synthetic.session(seed=41, events=1500, minutes=1)
    bare = Session(session.tape, session.markets, name="bare")
    lies = {"result": {session.markets[0].ticker: "?"}, "close": 0}
    lying = Session(session.tape, session.markets, name="lying", source={"path": "x"}, facts=lies)
    digests = {
        Backtest(each, strategy, every=every).run().digest for each in (session, bare, lying)
    }
    assert len(digests) == 1


# The raw recording.


def horizon(rows: np.ndarray, t: int) -> int:
    """Return the exchange time up to which, exclusively, everything was received by t."""
    later = rows["ts"][rows["recv"] > t]
    return int(later.min()) if len(later) else np.iinfo(np.int64).max


def delivered(journal: Journal, end: int) -> bytes:
    """Return the rows before exchange time `end`, but for the account's first, which is at the
    session's beginning."""
    rows = journal.rows[1:]
    return rows[rows["ts"] < end].tobytes()


@pytest.mark.parametrize("seed", range(8))
def test_cutting_or_scrambling_a_recording_leaves_the_journal_before(tmp_path, seed) -> None:
    """Import a random recording whole, cut after receive time t, and with other lines after t: the
    journal rows of all that was received by t are byte-equal."""
    lines = wild(seed)
    others = wild(seed + 100)

    def run(some: list[Any]) -> tuple[np.ndarray, Journal]:
        try:
            [report] = import_recording(
                [write(tmp_path, some)], tmp_path / "out", group=True, keep_going=True
            )
        except TapeError:
            return np.zeros(0, TAPE_DTYPE), Journal.joined([])
        session = sessions.load(report.session)
        return np.array(session.tape.rows), Backtest(session, Quoting()).run().journal

    tape, journal = run(lines)
    times = [each["recv_ms"] for each in lines]
    markets = {each["event"]["msg"]["market_ticker"] for each in lines}
    compared = 0
    for number in range(6, len(lines), 5):
        t = times[number]
        known = [line for line in lines if line["recv_ms"] <= t]
        if {each["event"]["msg"]["market_ticker"] for each in known} != markets:
            continue
        for tail in ([], [line for line in others if line["recv_ms"] > t]):
            other_tape, other = run(known + tail)
            ns = t * MILLISECOND
            end = min(horizon(tape, ns), horizon(other_tape, ns))
            rows = delivered(journal, end)
            assert delivered(other, end) == rows, f"seed {seed}, line {number}"
            compared += len(rows)
    assert compared


@pytest.mark.slow
@pytest.mark.skipif(not GOLD.is_dir(), reason="no recordings; set FOLDBOOK_DATA to their folder")
@pytest.mark.parametrize("ticker", [RESTARTED, QUIET])
@pytest.mark.parametrize("change", [cut, scrambled])
def test_gold_journals_know_nothing_received_later(tmp_path, change, ticker) -> None:
    """The same on a real window, at several moments, with a maker and a taker."""
    lines = []
    for path in sorted((GOLD / "events" / ticker).iterdir()):
        with gzip.open(path) as file:
            lines += [(int(line[11:24]) * MILLISECOND, line) for line in file]
    lines = lines[:16_000]

    def imported(name: str, some: list[tuple[int, bytes]]) -> Session:
        path: Path = tmp_path / name / ticker / "all.ndjson"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"".join(line for _, line in some))
        [report] = import_recording(
            [path.parent.parent], tmp_path / f"{name}-out", metadata=GOLD / "metadata",
            keep_going=True,
        )  # fmt: skip
        return sessions.load(report.session)

    runs: list[tuple[Any, str | None]] = [(Quoting(), None), (compiled_taker, "100ms")]
    session = imported("whole", lines)
    whole = [Backtest(session, strategy, every=every).run().journal for strategy, every in runs]
    for number, at in enumerate((len(lines) // 9, len(lines) // 2, len(lines) - 700)):
        t = lines[at][0]
        other = imported(f"{number}", change(lines, t))
        end = min(horizon(session.tape.rows, t), horizon(other.tape.rows, t))
        assert end > t - 3_000 * MILLISECOND, "nearly all of it was received"
        for (strategy, every), journal in zip(runs, whole, strict=True):
            again = Backtest(other, strategy, every=every).run().journal
            rows = delivered(journal, end)
            assert rows and delivered(again, end) == rows, f"{strategy}, moment {number}"
