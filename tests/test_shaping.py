"""Sessions cut and joined: what a part holds is what the whole held there, and nothing is lost."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from recorded import GOLD, needs_recordings
from reference.simulation import ReferenceSimulation
from tapes import START_TS, Recorder, TapeBuilder

from foldbook.adapters import cli, sessions, synthetic
from foldbook.adapters.cli.times import moment
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.engine import NO_FEES, Backtest, Feed, Latency, Queue, Side, contracts
from foldbook.engine.delivery import delivery_times
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import MarketStatus, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market, Models
from foldbook.engine.units import MILLISECOND, SECOND, iso_time

K = TapeKind
SEEDS = range(12)
SEVERAL = 2
"""The seed of a session with several markets."""


def drawn(seed: int, events: int = 400) -> Session:
    """Return a random session in which everything happens that a recording can hold."""
    recorder = Recorder(random.Random(f"foldbook shaping {seed}"), events)
    rows = recorder.record()
    return Session(Tape(rows), recorder.specs, name=f"drawn-{seed}")


def in_order(session: Session) -> Session:
    """Return the session with rows at equal times by market, as importers write them."""
    rows = session.tape.rows
    rows = rows[np.lexsort((rows["market"], rows["ts"]))]
    return Session(Tape(rows), session.markets, name=session.name)


def state_at(session: Session, ts: int) -> dict[str, tuple]:
    """Return what the reference holds of each market after every row up to `ts`."""
    rows, models = session.tape.rows, Models(NO_FEES)
    run = ReferenceSimulation(rows, session.markets, cash=10**9, models=models)
    run.advance_until(ts)
    return {
        session.markets[each.index].ticker: (
            MarketStatus(each.status).name,
            # What the last pause was like means nothing once the market has closed.
            each.pause if each.status < MarketStatus.CLOSED else 0,
            each.trusted, each.payout,
            (each.centre_step, each.edge_step, each.edge_width), (each.taker_ppm, each.maker_ppm),
            {side: dict(ladder.qty) for side, ladder in each.book.items()},
        )
        for each in run.markets if each.tape_rows
    }


# Split and merge.


@pytest.mark.parametrize("seed", SEEDS)
def test_the_parts_of_a_split_merge_to_the_whole(seed):
    """One session per market and back: the same rows, markets and digest."""
    whole = in_order(drawn(seed))
    parts = list(sessions.split(whole))
    assert [part.name for part in parts] == [market.ticker for market in whole.markets]
    assert sum(len(part.tape) for part in parts) == len(whole.tape)
    assert sessions.merge(parts).digest == whole.digest


def test_a_split_keeps_what_is_known_of_each_market():
    """The facts of a market go with it; counts of the whole do not, unless it is the whole."""
    session = drawn(SEVERAL)
    assert len(session.markets) > 1
    facts = {"raw": {"trades": 3}, "receive_times": True,
             "markets": {market.ticker: {"joined": i} for i, market in enumerate(session.markets)}}
    whole = Session(session.tape, session.markets, name="whole", facts=facts)
    for index, part in enumerate(sessions.split(whole)):
        assert part.facts["markets"] == {part.name: {"joined": index}}
        assert part.facts["receive_times"] is True
        assert "raw" not in part.facts
        assert part.facts["made"] == {"by": "split", "session": "whole", "digest": whole.digest}
        assert next(sessions.split(Session(part.tape, part.markets, name="one",
                                           facts={"raw": {"trades": 3}}))).facts["raw"]


def lines(*rows: tuple, tick: int = 100, ticker: str = "KXA-1", name: str = "part",
          event: str = "") -> Session:
    """Return a session of one market from (ts, kind, side, price, qty); recv is ts + 3."""
    tape = TapeBuilder()
    for ts, *fields in rows:
        tape.add(ts, *fields, recv=ts + 3)
    return Session(Tape(tape.rows()), (Market(ticker, tick, event),), name=name)


BOOK = ((K.SNAPSHOT,), (K.SNAPSHOT_LEVEL, Side.BUY, 4000, 500))
MORNING = lines(*((10, *row) for row in BOOK), (20, K.INCREASE, Side.BUY, 4000, 100))
EVENING = lines(*((90, *row) for row in BOOK), (95, K.INCREASE, Side.BUY, 4000, 7), name="later")


def shown(session: Session) -> list[tuple]:
    return [(int(row["ts"]), int(row["recv"]), TapeKind(row["kind"]).name)
            for row in session.tape.rows]


@pytest.mark.parametrize("order", [(MORNING, EVENING), (EVENING, MORNING)])
def test_one_market_in_two_sessions_has_a_gap_between_them(order):
    """GAP right after the first one's last row; the next snapshot's burst ends with RECOVERED."""
    merged = sessions.merge(order)
    assert shown(merged) == [
        (10, 13, "SNAPSHOT"), (10, 13, "SNAPSHOT_LEVEL"), (20, 23, "INCREASE"), (21, 24, "GAP"),
        (90, 93, "SNAPSHOT"), (90, 93, "SNAPSHOT_LEVEL"), (90, 93, "RECOVERED"),
        (95, 98, "INCREASE"),
    ]
    assert sessions.book_at(merged, 0, 20)["yes_bids"] == [["0.4000", "6.00"]]
    assert sessions.book_at(merged, 0, 50)["yes_bids"] == []
    assert sessions.book_at(merged, 0, 95)["yes_bids"] == [["0.4000", "5.07"]]


def test_what_a_later_recording_took_for_granted_is_said():
    """Its own tick everywhere, and an open market, where something else stood before."""
    tape = TapeBuilder()
    tape.add(10, K.GRID, price=10, ahead=10)
    tape.add(10, K.SNAPSHOT)
    tape.add(10, K.SNAPSHOT_LEVEL, Side.BUY, 4000, 500)
    tape.add(20, K.STATUS, qty=MarketStatus.PAUSED)
    fine = Session(Tape(tape.rows()), (Market("KXA-1", 10),), name="fine")
    merged = sessions.merge([fine, EVENING])
    assert merged.markets == (Market("KXA-1", 10),)
    assert [TapeKind(kind).name for kind in merged.tape.rows["kind"]] == [
        "GRID", "SNAPSHOT", "SNAPSHOT_LEVEL", "STATUS", "GAP",
        "GRID", "STATUS", "SNAPSHOT", "SNAPSHOT_LEVEL", "RECOVERED", "INCREASE",
    ]
    said = merged.tape.rows[5]
    assert (said["price"], said["ahead"], said["qty"]) == (100, 100, 0)
    assert merged.tape.rows["qty"][6] == MarketStatus.OPEN
    before = sessions.merge([EVENING, lines(*((200, *row) for row in BOOK), tick=10)])
    assert before.tape.rows["price"][[0, 4]].tolist() == [100, 0]
    assert [TapeKind(kind).name for kind in before.tape.rows["kind"][3:7]] == [
        "INCREASE", "GAP", "GRID", "SNAPSHOT"]
    assert before.tape.rows["price"][5] == 10


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbouring_slices_merge_to_the_whole_but_for_a_gap(seed):
    """From the start of the second one on, the fold is that of the whole."""
    whole = in_order(drawn(seed))
    times = whole.tape.rows["ts"]
    cut = int(times[len(times) // 2])
    halves = [sessions.slice_of(whole, until=cut), sessions.slice_of(whole, since=cut)]
    merged = sessions.merge(halves)
    gaps = [int(np.count_nonzero(each.tape.rows["kind"] == K.GAP)) for each in (whole, merged)]
    assert gaps[1] > gaps[0]
    chance = random.Random(f"foldbook neighbours {seed}")
    for ts in [cut, *chance.sample(times[times > cut].tolist(), 3)]:
        known = state_at(merged, ts)
        for ticker, state in state_at(halves[1], ts).items():
            assert known[ticker] == state == state_at(whole, ts)[ticker], f"seed {seed}, at {ts}"


def test_what_cannot_be_joined_is_refused_by_name():
    """Equal times, a book after the close, two events; each error names market and sessions."""
    with pytest.raises(TapeError, match=r"KXA-1: sessions part and later hold it at the same time"):
        sessions.merge([lines(*((10, *row) for row in BOOK), (90, K.SNAPSHOT)), EVENING])
    closed = lines((10, K.STATUS, 0, 0, MarketStatus.CLOSED))
    with pytest.raises(TapeError, match="it closed in session part, and has a book again in later"):
        sessions.merge([closed, EVENING])
    with pytest.raises(TapeError, match="is of event '' in session part, and of 'KXA' in later"):
        sessions.merge([MORNING, lines((90, K.SNAPSHOT), event="KXA", name="later")])
    with pytest.raises(TapeError, match="no session"):
        sessions.merge([])


def test_a_settlement_may_follow_the_close_in_another_recording():
    """Nothing is lost between them: no GAP."""
    merged = sessions.merge([lines((10, K.SNAPSHOT), (20, K.STATUS, 0, 0, MarketStatus.CLOSED)),
                             lines((90, K.STATUS, 0, 10_000, MarketStatus.SETTLED))])
    assert [kind for _, _, kind in shown(merged)] == ["SNAPSHOT", "STATUS", "STATUS"]


def test_merged_facts_are_added():
    """Counts are those of all parts if every part states them; the provenance names them."""
    one = Session(MORNING.tape, MORNING.markets, name="a", facts={
        "format": "x", "raw": {"deltas": 2}, "rejected": 1, "left_out": {"in_gap": 4},
        "feed_offset_ns": 5, "receive_times": True})
    two = Session(EVENING.tape, EVENING.markets, name="b", facts={
        "format": "x", "raw": {"deltas": 3}, "feed_offset_ns": -5, "receive_times": False})
    facts = sessions.merge([one, two]).facts
    assert (facts["raw"], facts["rejected"], facts["left_out"]) == ({"deltas": 5}, 1, {"in_gap": 4})
    assert (facts["feed_offset_ns"], facts["receive_times"], facts["format"]) == (-5, False, "x")
    assert facts["made"]["sessions"] == ["a", "b"]
    assert "raw" not in sessions.merge([one, EVENING]).facts


# Slices.


@pytest.mark.parametrize("seed", SEEDS)
def test_the_fold_of_a_slice_is_that_of_the_whole(seed):
    """At its start and at any later moment: book, trust, status, pause, grid and fees."""
    whole = drawn(seed)
    chance = random.Random(f"foldbook slices {seed}")
    times = whole.tape.rows["ts"]
    for _ in range(4):
        since = int(chance.choice(times)) + chance.choice((0, 0, 1))
        part = sessions.slice_of(whole, since=since)
        assert part.start >= since
        known = state_at(part, since)
        for ts in sorted([since, *chance.sample(times[times >= since].tolist(), 3)]) \
                if (times >= since).sum() > 3 else [since]:
            expected = {ticker: state for ticker, state in state_at(whole, ts).items()
                        if ticker in {market.ticker for market in part.markets}}
            assert state_at(part, ts) == expected, f"seed {seed}, since {since}, at {ts}"
        left_out = {market.ticker for market in whole.markets} - {m.ticker for m in part.markets}
        for ticker in left_out & {*state_at(whole, since)}:
            assert state_at(whole, since)[ticker][0] in ("CLOSED", "DETERMINED", "SETTLED",
                                                         "DISPUTED")
        assert known


def test_a_slice_holds_the_rows_of_its_time():
    """since <= ts < until, so neighbours share none; after what stands at the start."""
    whole = in_order(drawn(SEVERAL, 600))
    rows = whole.tape.rows
    middle, end = (int(rows["ts"][len(rows) * part // 4]) for part in (1, 3))
    part = sessions.slice_of(whole, since=middle, until=end)
    inside = rows[(rows["ts"] >= middle) & (rows["ts"] < end)]
    assert part.tape.rows["ts"].min() == middle and part.tape.rows["ts"].max() < end
    openings = len(part.tape) - len(inside)
    assert openings > 0
    later = part.tape.rows[part.tape.rows["ts"] > middle]
    assert later.tobytes() == inside[inside["ts"] > middle].tobytes()
    assert sessions.slice_of(whole).tape.digest == whole.tape.digest, "the whole is a slice"
    again = sessions.slice_of(part, since=middle, until=end)
    assert again.digest == part.digest, "cutting twice is cutting once"


def test_what_stands_is_said_in_rows_that_a_reader_can_check():
    """Grid, the pause with its flags, fees and the book; received no earlier than what they say."""
    tape = TapeBuilder()
    tape.add(10, K.GRID, price=100, ahead=10, qty=1000, recv=12)
    tape.add(10, K.FEE, qty=70_000, ahead=17_500, recv=12)
    tape.add(10, K.SNAPSHOT, recv=12)
    tape.add(10, K.SNAPSHOT_LEVEL, Side.SELL, 6000, 300, recv=12)
    tape.add(20, K.INCREASE, Side.BUY, 4000, 500, recv=23)
    tape.add(30, K.STATUS, qty=MarketStatus.PAUSED, flags=TapeFlag.INACTIVE, recv=32)
    tape.add(31, K.STATUS, qty=MarketStatus.PAUSED, flags=TapeFlag.EXCHANGE, recv=48)
    tape.add(60, K.INCREASE, Side.BUY, 4000, 1, recv=62)
    whole = Session(Tape(tape.rows()), (Market("KXA-1", 10),), name="whole")
    part = sessions.slice_of(whole, since=40)
    assert [tuple(int(row[name]) for name in ("ts", "recv", "kind", "side", "price", "ahead",
                                              "qty", "flags"))
            for row in part.tape.rows] == [
        (40, 42, K.GRID, 0, 100, 10, 1000, 0),
        (40, 48, K.STATUS, 0, 0, 0, MarketStatus.PAUSED, TapeFlag.INACTIVE | TapeFlag.EXCHANGE),
        (40, 48, K.FEE, 0, 70_000 * 0, 17_500, 70_000, 0),
        (40, 48, K.SNAPSHOT, 0, 0, 0, 0, 0),
        (40, 48, K.SNAPSHOT_LEVEL, Side.BUY, 4000, 0, 500, 0),
        (40, 48, K.SNAPSHOT_LEVEL, Side.SELL, 6000, 0, 300, 0),
        (60, 62, K.INCREASE, Side.BUY, 4000, 0, 1, 0),
    ]


def test_a_gap_is_still_a_gap_in_a_slice():
    """No book is invented where none is known; the next snapshot brings it."""
    whole = sessions.merge([MORNING, EVENING])
    part = sessions.slice_of(whole, since=50)
    assert shown(part)[0] == (50, 53, "GRID")
    assert "SNAPSHOT" not in [kind for ts, _, kind in shown(part) if ts == 50]
    assert not state_at(part, 50)["KXA-1"][2]
    assert state_at(part, 95) == state_at(whole, 95)


def test_slices_that_hold_nothing_are_refused():
    """A wrong order of times, a stranger, and a stretch without a row or a book."""
    with pytest.raises(TapeError, match="since 9 is not before until 9"):
        sessions.slice_of(MORNING, since=9, until=9)
    with pytest.raises(KeyError, match="'KXB' is not in session part"):
        sessions.slice_of(MORNING, ["KXB"])
    with pytest.raises(TapeError, match="has a row or a book from .* until"):
        sessions.slice_of(MORNING, since=1, until=9)
    with pytest.raises(TypeError, match="since: 1.5 is a float"):
        sessions.slice_of(MORNING, since=1.5)


def test_markets_are_chosen_by_name():
    """In the session's order, however they are named."""
    whole = drawn(SEVERAL)
    tickers = [market.ticker for market in whole.markets]
    part = sessions.slice_of(whole, [tickers[1], 0])
    assert [market.ticker for market in part.markets] == tickers[:2]
    assert sessions.slice_of(whole, [1]).markets == whole.markets[1:2]


@pytest.mark.parametrize("queue", [Queue.conservative, Queue.rebuilt])
def test_orders_fill_in_a_slice_as_in_the_whole(queue):
    """The exchange's queue is the same: equal fills at equal times, with feed as recorded."""
    whole = synthetic.session(seed=5, events=12_000, minutes=5)
    since = whole.start + 100 * SECOND

    def decide(sim):
        if sim.now < since or sim.now % (3 * SECOND) >= SECOND:
            return
        sim.cancel_all()
        book = sim.book(0)
        if book.best_bid and book.best_ask < 10_000:
            sim.submit(0, Side.BUY, price=book.best_bid, qty=contracts(30))
            sim.submit(0, Side.SELL, price=book.best_ask, qty=contracts(30))

    def fills(session):
        latency = Latency.constant("20ms", feed=Feed.RECORDED)
        result = Backtest(session, decide, every="1s", queue=queue, latency=latency).run()
        return [(fill.ts, fill.price, fill.qty, fill.side) for fill in result.fills]

    expected = fills(whole)
    assert len(expected) > 20
    assert fills(sessions.slice_of(whole, since=since)) == expected


@pytest.mark.parametrize("seed", range(4))
def test_slices_by_time_are_those_of_their_times(seed):
    """`every` cuts at multiples since 1970, leaves out what has no row, and folds but once."""
    whole = in_order(drawn(seed))
    every = 30 * SECOND
    parts = list(sessions.split(whole, every))
    windows = sorted({int(ts) // every for ts in whole.tape.rows["ts"]})
    assert len(parts) == len(windows) > 3
    for part, window in zip(parts, windows, strict=True):
        since = window * every
        direct = sessions.slice_of(whole, since=since, until=since + every)
        assert part.digest == direct.digest
    assert parts[1].name.startswith(f"drawn-{seed}-2025")
    with pytest.raises(ValueError, match="duration: 'soon'"):
        sessions.split(whole, "soon")


# Samples.


def test_the_same_seed_draws_the_same():
    """Sessions without repetition; windows of the length that was asked for, inside a session."""
    held = [drawn(seed) for seed in range(5)]
    one, two = (sessions.sample(held, 3, seed=4) for _ in range(2))
    assert one == two and len({each.name for each in one}) == 3
    assert sessions.sample(held, 5, seed=4) != sessions.sample(held, 5, seed=5)
    windows = sessions.sample(held, 4, seed=1, window="5s")
    assert [each.digest for each in windows] == [
        each.digest for each in sessions.sample(held, 4, seed=1, window="5s")]
    for each in windows:
        made = each.facts["made"]
        whole = next(session for session in held if session.name == made["session"])
        assert whole.start <= made["since"] and made["until"] == made["since"] + 5 * SECOND
        assert made["until"] <= whole.end + 1


def test_every_moment_may_begin_a_window():
    """A session of 13 ns has ten windows of 4 ns: each start is drawn, and no other."""
    tape = TapeBuilder()
    for ts in range(START_TS, START_TS + 13):
        tape.add(ts, K.SNAPSHOT)
    session = Session(Tape(tape.rows()), (Market("KXA-1"),), name="short")
    drawn_starts = {each.facts["made"]["since"] - START_TS
                    for each in sessions.sample([session], 200, seed=0, window=4)}
    assert drawn_starts == set(range(10))


def test_draws_that_cannot_be_made_are_refused():
    """More sessions than there are, none long enough, and numbers that are none."""
    with pytest.raises(TapeError, match="2 of 1 sessions"):
        sessions.sample([MORNING], 2, seed=0)
    with pytest.raises(TapeError, match="no session lasts 1000000000 ns; the longest, 10 ns"):
        sessions.sample([MORNING], 2, seed=0, window="1s")
    with pytest.raises(ValueError, match="n: 0"):
        sessions.sample([MORNING], 0, seed=0)


# The commands.


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """A function that runs `foldbook ... --json` and returns (status, its object, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = cli.main([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        return status, json.loads(out), err

    return run


def test_the_commands_do_what_the_functions_do(run, capsys):
    """split, merge, slice and sample, with what is written named by folder and digest."""
    whole = in_order(drawn(SEVERAL))
    sessions.save(whole, "whole")
    _, split, _ = run("split", "whole", "--to", "parts")
    assert [each["markets"] for each in split["sessions"]] == [[m.ticker] for m in whole.markets]
    paths = [each["session"] for each in split["sessions"]]
    assert paths == [f"parts/{market.ticker}" for market in whole.markets]
    _, merged, _ = run("merge", *paths, "--to", "again")
    assert merged["digest"] == whole.digest == sessions.load("again").digest
    _, hours, _ = run("split", "whole", "--to", "minutes", "--every", "1m")
    assert len(hours["sessions"]) == len(list(sessions.split(whole, "1m")))
    since, until = whole.start + 5 * SECOND, whole.start + 200 * SECOND
    ticker = whole.markets[0].ticker
    _, part, _ = run("slice", "whole", "--market", ticker, "--from", since, "--until",
                     iso_time(until), "--to", "part")
    direct = sessions.slice_of(whole, [ticker], since=since, until=until)
    assert part["digest"] == direct.digest
    _, drawn_again, _ = run("sample", "whole", "parts", "--n", 2, "--window", "9s", "--seed", 3,
                            "--to", "drawn")
    held = [sessions.load(path) for path in ("whole", *sorted(paths))]
    assert [each["digest"] for each in drawn_again["sessions"]] == [
        each.digest for each in sessions.sample(held, 2, seed=3, window="9s")]
    [one] = run("sample", "parts", "--n", 1)[1]["sessions"]
    assert one["session"] in paths
    for words in (("split", "whole", "--to", "p"), ("merge", "whole", "--to", "m"),
                  ("slice", "whole", "--to", "s"), ("sample", "whole", "--n", "1")):
        assert cli.main([*words]) == 0
        assert "first" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "text"), [
    (("slice", "whole", "--from", "2025-07-31T22:13:20", "--to", "s"), "names no zone"),
    (("slice", "whole", "--from", "noon", "--to", "s"), "'noon' is no time"),
    (("slice", "whole", "--from", "2025-02-30T00:00:00Z", "--to", "s"), "is no time: day"),
    (("slice", "whole", "--until", "9" * 25, "--to", "s"), "beyond any time"),
    (("slice", "whole", "--from", "5", "--until", "5", "--to", "s"), "is not before until"),
    (("slice", "whole", "--market", "X", "--to", "s"), "--market: market 'X'"),
    (("split", "whole", "--every", "soon", "--to", "s"), "--every: 'soon' is no time with"),
    (("split", "whole", "--every", "0s", "--to", "s"), "--every: every: 0 ns"),
    (("merge", "whole", "whole", "--to", "s"), "hold it at the same time"),
    (("sample", "whole", "--window", "1s"), "it needs --to"),
    (("sample", "whole", "--n", "2"), "2 of 1 sessions cannot be drawn"),
    (("sample", "whole", "--window", "99h", "--to", "s"), "no session lasts"),
    (("sample", "whole", "--n", "0"), "Invalid value for '--n'"),
])  # fmt: skip
def test_wrong_use_is_one_line(words, text, run):
    """Exit status 2, whose fault it is, and nothing written."""
    sessions.save(drawn(SEVERAL), "whole")
    status, data, err = run(*words)
    assert status == 2
    assert err.count("\n") == 1 and text in err and "defect" not in err
    assert text in data["error"]
    assert not Path("s").exists()


def test_a_ticker_that_cannot_name_a_folder_is_refused(run):
    """Before anything is written outside the folder that was named."""
    tape = TapeBuilder()
    tape.add(START_TS, K.SNAPSHOT)
    sessions.save(Session(Tape(tape.rows()), (Market("../KXA"),), name="bad"), "bad")
    status, _, err = run("split", "bad", "--to", "s")
    assert status == 2 and "'../KXA' cannot name a folder" in err
    assert not Path("KXA").exists()


@pytest.mark.parametrize(("text", "ts"), [
    ("17", 17), ("-1", -1), ("1970-01-01T00:00Z", 0), ("1970-01-01 00:00:01.5z", 1_500_000_000),
    ("1970-01-01T02:00:00.000000001+02:00", 1), ("1969-12-31T23:59:59.999999999+0000", -1),
    ("2026-08-11T01:20:00Z", 1_786_411_200_000_000_000),
])  # fmt: skip
def test_times_are_read_to_the_nanosecond(text, ts):
    """Integers are ns; dates need their zone; nine decimals are kept."""
    assert moment(text) == ts
    assert moment(iso_time(ts)) == ts


# Real recordings.


@needs_recordings
def test_real_sessions_are_cut_and_joined_without_a_change(tmp_path):
    """Two markets grouped, split and merged: one digest; a slice over a restart folds alike."""
    tickers = ["KXGOLD15M-26AUG102130-30", "KXGOLD15M-26AUG102115-15"]
    folders = [GOLD / "events" / ticker for ticker in tickers]
    [report] = import_recording(folders, tmp_path, metadata=GOLD / "metadata", group=True)
    whole = sessions.load(report.session)
    assert sessions.merge(list(sessions.split(whole))).digest == whole.digest
    rows = whole.tape.rows
    gap = int(rows["ts"][np.flatnonzero(rows["kind"] == K.GAP)[0]])
    whole_times = delivery_times(rows, Feed.RECORDED)
    for since in (gap - 40 * SECOND, gap + 1, gap + 11 * SECOND, gap + 300 * SECOND):
        part = sessions.slice_of(whole, since=since)
        for market in part.markets:
            for later in (0, 50 * MILLISECOND, SECOND, 30 * SECOND):
                assert sessions.book_at(part, market.ticker, since + later) == sessions.book_at(
                    whole, market.ticker, since + later)
        # Delivery is as recorded, but for what was on its way at the cut.
        under_way = whole_times[rows["ts"] < since].max()
        times, after = delivery_times(part.tape.rows, Feed.RECORDED), rows["ts"] >= since
        own = times[len(times) - int(after.sum()) :]
        later = own > max(under_way, times[: len(times) - len(own)].max(initial=0))
        assert later.sum() > 0.99 * len(own)
        assert (own[later] == whole_times[after][later]).all()
    near = sessions.slice_of(whole, since=gap - 20 * SECOND, until=gap + 25 * SECOND)
    for since in (gap - 10 * SECOND, gap, gap + SECOND, gap + 15 * SECOND):
        part = sessions.slice_of(whole, since=since, until=gap + 25 * SECOND)
        assert [market.ticker for market in part.markets] == tickers[:1], "the other has closed"
        for ts in (since, gap + 20 * SECOND):
            assert state_at(part, ts) == state_at(near, ts)
