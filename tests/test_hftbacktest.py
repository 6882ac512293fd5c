"""hftbacktest's event arrays: out and in, read as a feed, mutated, and read by hftbacktest."""

from __future__ import annotations

import io
import os
import random
import re
import tempfile
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tapes import Recorder

from foldbook.adapters import cli, sessions, synthetic
from foldbook.adapters.hftbacktest import export_session, import_recording
from foldbook.adapters.hftbacktest.conversion import Decimals
from foldbook.adapters.hftbacktest.events import EVENT_DTYPE, Flag, Kind
from foldbook.adapters.hftbacktest.writer import in_both_orders
from foldbook.adapters.kalshi_ws import import_recording as import_kalshi
from foldbook.adapters.lobster import import_recording as import_lobster
from foldbook.engine import Backtest, Queue, Side, contracts, dollars
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
K = TapeKind
BOTH = int(Flag.EXCHANGE | Flag.LOCAL)
BUY, SELL = int(Flag.BUY), int(Flag.SELL)
SECOND = 10**9
RARE = (K.STATUS, K.GRID, K.FEE, K.RECOVERED)


def events(*rows):
    """Return events from (ev, seconds, px, qty); seen by the strategy 5 ns later."""
    made = np.zeros(len(rows), EVENT_DTYPE)
    for number, (ev, seconds, px, qty) in enumerate(rows):
        ts = int(seconds * SECOND)
        made[number] = (ev | BOTH, ts, ts + 5 if ts else 0, px, qty, 0, 0, 0.0)
    return made


FEED = events(
    (Kind.CLEAR, 1, 0, 0),
    (Kind.SNAPSHOT | BUY, 1, 0.45, 10), (Kind.SNAPSHOT | BUY, 1, 0.44, 20),
    (Kind.SNAPSHOT | SELL, 1, 0.55, 7),
    (Kind.DEPTH | BUY, 2, 0.45, 12.5),
    (Kind.TRADE | SELL, 3, 0.45, 2.5), (Kind.DEPTH | BUY, 3, 0.45, 10),
    (Kind.DEPTH | SELL, 4, 0.55, 4), (Kind.TRADE | BUY, 4, 0.55, 3),
    (Kind.TRADE | BUY, 5, 0.55, 1), (Kind.DEPTH | SELL, 6, 0.55, 3),
    (Kind.CLEAR | BUY, 7, 0.45, 0), (Kind.DEPTH | BUY, 7, 0.43, 1),
)  # fmt: skip


def save(path, data):
    np.savez_compressed(path, data=data)
    return path


def imported(path, to, **options):
    """Return (report, session) of the one market of files."""
    [report] = import_recording([path], to, **options)
    return report, sessions.load(report.session)


def shown(rows):
    """Return (kind, seconds, side, price, qty, flags but GUESSED) of the rows."""
    return [(K(row["kind"]), int(row["ts"]) / SECOND, int(row["side"]), int(row["price"]),
             int(row["qty"]) / 100, int(row["flags"]) & ~TapeFlag.GUESSED) for row in rows]


def test_a_feed_by_hand(tmp_path):
    """Absolute sizes become changes; a trade joins the decrease of its time, level and size, before
    or after it, and no other; a one-sided clear takes the levels from the best to its price."""
    report, session = imported(save(tmp_path / "FEED.npz", FEED), tmp_path / "out")
    joined, unjoined = int(TapeFlag.JOINED), int(TapeFlag.UNJOINED)
    assert session.markets == (Market("FEED", 100),)
    assert shown(session.tape.rows)[1:] == [
        (K.SNAPSHOT, 1, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 1, 0, 4_500, 10, 0), (K.SNAPSHOT_LEVEL, 1, 0, 4_400, 20, 0),
        (K.SNAPSHOT_LEVEL, 1, 1, 5_500, 7, 0),
        (K.INCREASE, 2, 0, 4_500, 2.5, 0),
        (K.TRADE, 3, 0, 4_500, 2.5, joined), (K.DECREASE, 3, 0, 4_500, 2.5, 0),
        (K.TRADE, 4, 1, 5_500, 3, joined), (K.DECREASE, 4, 1, 5_500, 3, 0),
        (K.TRADE, 5, 1, 5_500, 1, unjoined), (K.DECREASE, 6, 1, 5_500, 1, 0),
        (K.DECREASE, 7, 0, 4_500, 10, 0), (K.INCREASE, 7, 0, 4_300, 1, 0),
    ]  # fmt: skip
    assert (session.tape.rows["recv"] == session.tape.rows["ts"] + 5).all()
    assert (report.read, report.joined, report.unjoined) == (len(FEED), 2, 1)


def test_a_snapshot_without_a_time_is_the_book_before_what_follows(tmp_path):
    """As hftbacktest saves it: all at time 0, in a file of its own, named first."""
    head = FEED[1:4].copy()
    head["exch_ts"] = head["local_ts"] = 0
    save(tmp_path / "a.npz", head)
    np.save(tmp_path / "b.npy", FEED[4:])
    [report] = import_recording([tmp_path / "a.npz", tmp_path / "b.npy"], tmp_path / "out",
                                ticker="FEED")
    rows = sessions.load(report.session).tape.rows
    assert shown(rows)[1:5] == [
        (K.SNAPSHOT, 2, 0, 0, 0, 0), (K.SNAPSHOT_LEVEL, 2, 0, 4_500, 12.5, 0),
        (K.SNAPSHOT_LEVEL, 2, 0, 4_400, 20, 0), (K.SNAPSHOT_LEVEL, 2, 1, 5_500, 7, 0),
    ]  # fmt: skip
    with pytest.raises(TapeError, match="exch_ts is 0, expected a time, or an event with"):
        import_recording([tmp_path / "a.npz"], tmp_path / "out2")


def changed(at, **fields):
    """Return the feed with fields of one event changed."""
    made = FEED.copy()
    for name, value in fields.items():
        made[name][at] = value
    return made


@pytest.mark.parametrize(
    ("data", "row", "said"),
    [
        (changed(4, px=0.455), 0, ""),
        (changed(4, px=0.45505), 5, r"px is 0\.45505, expected 0 and whole ticks of 0\.0001"),
        (changed(4, px=1.5), 5, r"px is 1\.5, expected one inside the window 0 \.\. 1\.0000; move"),
        (changed(4, px=np.nan), 5, "px is nan"),
        (changed(4, px=-0.45), 5, "px is -0.45"),
        (changed(4, qty=12.505), 5, r"qty is 12\.505, expected a multiple of 0\.01"),
        (changed(4, qty=-1), 5, "qty is -1.0"),
        (changed(4, qty=np.inf), 5, "qty is inf"),
        (changed(5, qty=0), 6, "qty is 0.0"),
        (changed(4, ev=Kind.BEST | BUY | BOTH), 5, "ev is 'BEST', expected DEPTH, TRADE, CLEAR or"),
        (changed(4, ev=Kind.ADD_ORDER | BUY | BOTH), 5, "ev is 'ADD_ORDER'"),
        (changed(4, ev=99 | BUY | BOTH), 5, "ev is 99"),
        (changed(4, ev=Kind.DEPTH | BOTH), 5, "expected BUY_EVENT or SELL_EVENT"),
        (changed(4, ev=Kind.DEPTH | BUY | SELL | BOTH), 5, "expected BUY_EVENT or SELL_EVENT"),
        (changed(4, ev=Kind.DEPTH | BUY), 5, "expected EXCH_EVENT, LOCAL_EVENT or both"),
        (changed(4, ev=Kind.DEPTH | BUY | BOTH | 1 << 20), 5, "no bits but those of the layout"),
        (changed(4, exch_ts=-5), 5, "exch_ts, local_ts is '-5, "),
        (changed(6, exch_ts=SECOND), 7, "ts is 1000000000 ns, expected no less than"),
        (changed(4, ev=Kind.DEPTH | BUY | int(Flag.EXCHANGE)), 1, "1 more events of one clock"),
    ],
)
def test_a_bad_event_is_refused_by_name(tmp_path, data, row, said):
    """The first ends the import with file, row, field and value; nothing is defaulted."""
    path = save(tmp_path / "X.npz", data)
    if not row:
        assert imported(path, tmp_path / "out")[1].markets[0].tick == 50
        return
    with pytest.raises(TapeError, match=rf"X\.npz row {row}: .*{said}"):
        imported(path, tmp_path / "out")
    report, session = imported(path, tmp_path / "kept", keep_going=True)
    assert report.rejected >= 1
    assert len(session.tape) > 3


def test_refused_events_of_the_book_are_gaps_and_of_trades_not(tmp_path):
    """After a gap the next whole book recovers."""
    again = np.concatenate([changed(4, px=0.45505), events(
        (Kind.CLEAR, 9, 0, 0), (Kind.SNAPSHOT | BUY, 9, 0.45, 10))])
    report, session = imported(save(tmp_path / "A.npz", again), tmp_path / "a", keep_going=True)
    kinds = session.tape.rows["kind"].tolist()
    assert kinds[5:] == [K.GAP, K.SNAPSHOT, K.SNAPSHOT_LEVEL, K.RECOVERED]
    assert report.gaps == 1
    report, _ = imported(save(tmp_path / "B.npz", changed(5, px=0.45505)), tmp_path / "b",
                         keep_going=True)
    assert (report.reasons, report.gaps) == ({"off_grid": 1}, 0)


def test_other_prices_need_a_window(tmp_path):
    """Dollars a cent apart, from 535.63 to 635.63; a float a few ulps off its tick is that tick."""
    stock = FEED.copy()
    stock["px"] = np.where(stock["px"] > 0, 585 + stock["px"], 0)
    stock["px"][4] = np.nextafter(585.45, 586)
    path = save(tmp_path / "X.npz", stock)
    with pytest.raises(TapeError, match="--origin and --tick"):
        imported(path, tmp_path / "out")
    report, session = imported(path, tmp_path / "out", origin="535.63", tick="0.01", contract="1")
    assert session.tape.rows["price"][3:5].tolist() == [4_982, 4_981]
    assert [K(kind) for kind in session.tape.rows["kind"][:2]] == [K.GRID, K.FEE]
    assert report.counts["float_noise"] == 1
    again = export_session(session, tmp_path / "again.npz")
    assert again["window"] == session.facts["window"]
    with np.load(tmp_path / "again.npz") as arrays:
        assert arrays["data"]["px"][1:3].tolist() == [585.45, 585.44]


@given(st.sampled_from([("0", "0.0001"), ("535.63", "0.01"), ("-4900", "1"), ("0", "0.00000001"),
                        ("0.5", "0.0025")]), st.lists(st.integers(0, 9_999), min_size=1))
def test_floats_are_decimals_and_back(grid, units):
    """The float of each number is the one nearest to its decimal, and gives the number back."""
    origin, step = map(Decimal, grid)
    decimals = Decimals(origin, step, 10_000)
    floats = decimals.floats(np.array(units, np.int64))
    assert floats.tolist() == [float(origin + step * unit) for unit in units]
    back, sound, noisy = decimals.units(floats)
    assert (back.tolist(), bool(sound.all()), bool(noisy.any())) == (units, True, False)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-3, 12)), max_size=40))
def test_both_clocks_find_their_events_in_order(times):
    """Each event is there once for each clock, by either clock in order, and at equal receipts in
    its order; nothing is split that does not have to be."""
    given_events = np.zeros(len(times), EVENT_DTYPE)
    given_events["exch_ts"] = np.sort([ts for ts, _ in times])
    given_events["local_ts"] = given_events["exch_ts"] + [late for _, late in times]
    given_events["order_id"] = np.arange(len(times))
    given_events["ev"] = Kind.DEPTH | BUY | BOTH
    made = in_both_orders(given_events)
    at_exchange = made[made["ev"] & np.uint64(Flag.EXCHANGE) != 0]
    at_local = made[made["ev"] & np.uint64(Flag.LOCAL) != 0]
    assert at_exchange["order_id"].tolist() == list(range(len(times)))
    order = np.argsort(given_events["local_ts"], kind="stable")
    assert at_local["order_id"].tolist() == order.tolist()
    if (np.diff(given_events["local_ts"]) >= 0).all():
        assert len(made) == len(times)


def of_market(session, index):
    """Return a market's rows, as a session of it alone has them."""
    rows = np.array(session.tape.rows[session.tape.rows["market"] == index], TAPE_DTYPE)
    rows["market"] = 0
    return rows


@pytest.mark.parametrize("seed", range(12))
def test_out_and_in_again_is_the_same_tape(seed, tmp_path):
    """Of random tapes with gaps, pauses, closes, grids, late receipts: digest and facts equal."""
    recorder = Recorder(random.Random(seed), 400)
    rows = recorder.record()
    rng = np.random.default_rng(seed)
    rows["recv"] = rows["ts"] + rng.integers(0, 50_000_000, len(rows))
    session = Session(Tape(rows), recorder.specs, name="random", facts={"seed": seed})
    for index, market in enumerate(session.markets):
        if not len(of_market(session, index)):
            continue
        path = tmp_path / f"{index}.npz"
        told = export_session(session, path, market=market.ticker)
        _, back = imported(path, tmp_path / "out")
        assert back.markets == (market,)
        assert back.tape.rows.tobytes() == of_market(session, index).tobytes()
        assert back.tape.digest == told["digest"]
        assert back.facts["seed"] == seed


def test_out_and_in_again_is_the_same_session(tmp_path):
    """A session of one market has its digest back, and a run over it the same digest."""
    session = synthetic.session(seed=7)
    export_session(session, tmp_path / "s.npz")
    report, back = imported(tmp_path / "s.npz", tmp_path / "out")
    assert back.digest == session.digest
    assert report.events == len(session.tape)
    runs = [Backtest(each, JoinBestBid(), cash=dollars(1000), queue=Queue.rebuilt).run()
            for each in (session, back)]
    assert runs[0].digest == runs[1].digest


def test_the_events_alone_hold_the_book_and_the_trades(tmp_path):
    """Read as a feed, the same file gives every level, size, time and joined trade; what it cannot
    say are statuses, grids and fees, and whose place in the queue is known."""
    session = synthetic.session(seed=8)
    export_session(session, tmp_path / "s.npz")
    _, plain = imported(tmp_path / "s.npz", tmp_path / "out", plain=True)
    close = int(np.flatnonzero((session.tape.rows["kind"] == K.STATUS)
                               & (session.tape.rows["qty"] >= MarketStatus.CLOSED))[0])
    mine, theirs = (rows[~np.isin(rows["kind"], RARE)] for rows in (
        session.tape.rows[:close], plain.tape.rows))
    theirs = theirs[: len(mine)]
    for name in ("ts", "recv", "qty", "price", "kind", "side"):
        assert (mine[name] == theirs[name]).all(), name
    trades = mine["kind"] == K.TRADE
    assert (mine["flags"][trades] == theirs["flags"][trades]).all()


class JoinBestBid:
    """Rest one bid at the best price."""

    def on_book(self, sim, market):
        book = sim.book(market)
        if book.best_bid and not sim.orders.open(market):
            sim.submit(market, Side.BUY, price=book.best_bid, qty=contracts(10))


def test_a_file_that_was_changed_is_known(tmp_path):
    """An event, a row beside it or the text changed: refused; `plain` still reads the events."""
    session = synthetic.session(seed=7, events=500)
    export_session(session, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as loaded:
        arrays = dict(loaded)
    for name, field, said in (("data", "qty", "data was changed after foldbook wrote it"),
                              ("foldbook_rest", "kind", "foldbook_rest|data"),
                              ("foldbook_rare", "ts", "data was changed"),
                              ("foldbook", None, "array 'foldbook'")):
        worse = {key: array.copy() for key, array in arrays.items()}
        if field:
            worse[name][field][2] += 1
        else:
            worse[name][:5] = 0
        np.savez_compressed(tmp_path / "worse.npz", **worse)
        with pytest.raises(TapeError, match=rf"worse\.npz: .*({said})"):
            imported(tmp_path / "worse.npz", tmp_path / "out")
    assert imported(tmp_path / "s.npz", tmp_path / "out", plain=True)[0].events > 400
    save(tmp_path / "other.npz", FEED)
    with pytest.raises(TapeError, match=r"other\.npz: was not written by foldbook, and"):
        import_recording([tmp_path / "s.npz", tmp_path / "other.npz"], tmp_path / "out")


def test_files_that_are_no_event_arrays_are_named(tmp_path):
    """Another array, type or shape; text; a file that is cut."""
    whole = save(tmp_path / "whole.npz", FEED).read_bytes()
    cases = {"text.npz": b"hello", "cut.npz": whole[: len(whole) // 2], "empty.npz": b"",
             "head.npy": b"\x93NUMPY\x01\x00\x10\x00{'descr': __import"}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    np.savez(tmp_path / "key.npz", events=FEED)
    np.savez(tmp_path / "type.npz", data=FEED["px"])
    np.savez(tmp_path / "shape.npz", data=FEED[None])
    np.save(tmp_path / "short.npy", FEED)
    (tmp_path / "short.npy").write_bytes((tmp_path / "short.npy").read_bytes()[:-64])
    for name, said in (("text.npz", ""), ("cut.npz", ""), ("empty.npz", ""), ("head.npy", ""),
                       ("key.npz", "holds no array 'data', but events"), ("type.npz", "expected"),
                       ("shape.npz", r"of shape \(1, 13\)"), ("short.npy", "ends after")):
        with pytest.raises(TapeError, match=rf"{name}: .*{said}"):
            imported(tmp_path / name, tmp_path / "out")


@settings(max_examples=150, deadline=5_000, derandomize=True)
@given(st.data())
def test_a_mutated_archive_is_read_or_refused(data):
    """Bytes of the archive, or of the events in it, changed: one line that names the file, or a
    valid tape; never more."""
    raw = io.BytesIO()
    if data.draw(st.booleans()):
        rows = FEED.copy().view(np.uint8)
        for _ in range(data.draw(st.integers(1, 6))):
            rows[data.draw(st.integers(0, len(rows) - 1))] = data.draw(st.integers(0, 255))
        np.savez(raw, data=rows.view(EVENT_DTYPE))
    else:
        with zipfile.ZipFile(raw, "w", data.draw(st.sampled_from([0, 8]))) as archive:
            body = io.BytesIO()
            np.save(body, FEED)
            archive.writestr("data.npy", body.getvalue())
        text = bytearray(raw.getvalue())
        for _ in range(data.draw(st.integers(1, 4))):
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
        raw = io.BytesIO(bytes(text[: data.draw(st.integers(len(text) // 2, len(text)))]))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "X.npz"
        path.write_bytes(raw.getvalue())
        for keep_going in (False, True):
            said = ""
            try:
                [report] = import_recording([path], Path(name) / "out", keep_going=keep_going,
                                            dry_run=True)
            except TapeError as error:
                said = str(error)
            else:
                assert keep_going or not report.rejected
            assert not said or ("X.npz" in said and "\n" not in said)


def test_the_command_line_exports_and_imports(tmp_path, capsys, monkeypatch):
    """`export`, `import` and `info` end with the digest they began with; wrong use is one line."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "hftbacktest", "synthetic:7", "--to", "s.npz"]) == 0
    assert cli.main(["import", "hftbacktest", "s.npz", "--to", "out"]) == 0
    assert cli.main(["info", "out/SYN-7-000"]) == 0
    assert synthetic.session(seed=7).digest in capsys.readouterr().out
    for arguments, said in (
        (["export", "crystal-ball", "synthetic:7", "--to", "x"], "exporters: hftbacktest"),
        (["export", "hftbacktest", "synthetic:7", "--to", "x", "--market", "Y"], "--market: .*'Y'"),
        (["export", "hftbacktest", "nowhere", "--to", "x"], "nowhere"),
        (["export", "hftbacktest", "synthetic:7"], "--to"),
        (["import", "hftbacktest", "nowhere.npz", "--to", "x"], "nowhere.npz: no such file"),
        (["import", "hftbacktest", "s.npz", "--to", "x", "--plain", "--tick", "1"], "--tick: ne"),
    ):
        assert cli.main(arguments) == 2
        assert re.search(said, capsys.readouterr().err)
    two = synthetic.session(seed=7, markets=2)
    with pytest.raises(ValueError, match="market: is needed, the session has 2"):
        export_session(two, "two.npz")


@pytest.mark.skipif(not (DATA / "lobster_aapl").is_dir(), reason=f"no recordings in {DATA}")
def test_real_recordings_go_out_and_in(tmp_path):
    """A window's prices are the venue's in the events; a market of the WebSocket has 5 kinds of
    rows that events cannot hold. Both come back with their digests."""
    [lobster] = import_lobster([DATA / "lobster_aapl"], tmp_path / "in")
    gold = sorted((DATA / "kalshi_gold15m/events").iterdir())[0]
    [kalshi] = import_kalshi([gold], tmp_path / "in", metadata=DATA / "kalshi_gold15m/metadata")
    for number, report in enumerate((lobster, kalshi)):
        session = sessions.load(report.session)
        path = tmp_path / f"{number}.npz"
        export_session(session, path)
        assert imported(path, tmp_path / "out")[1].digest == session.digest
    with np.load(tmp_path / "0.npz") as arrays:
        px = arrays["data"]["px"][arrays["data"]["px"] > 0]
    assert (px.min(), px.max()) == (584.27, 587.9)


def test_hftbacktest_reads_what_was_written(tmp_path):
    """Its own book, after every event, is the recorded one."""
    hft = pytest.importorskip("hftbacktest", reason="hftbacktest is not installed")
    numba = pytest.importorskip("numba")
    session = synthetic.session(seed=7, events=2_000)
    path = tmp_path / "s.npz"
    export_session(session, path)
    asset = (hft.BacktestAsset().data(str(path)).linear_asset(1.0).constant_order_latency(1, 1)
             .risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0, 0)
             .tick_size(0.01).lot_size(0.01).last_trades_capacity(0))
    backtest = hft.HashMapMarketDepthBacktest([asset])

    @numba.njit
    def look(hbt, found):
        count = 0
        while hbt.elapse(1_000_000_000) == 0 and count < len(found):
            found[count, 0] = hbt.current_timestamp
            found[count, 1] = hbt.depth(0).best_bid_tick
            found[count, 2] = hbt.depth(0).best_ask_tick
            count += 1
        return count

    found = np.zeros((600, 3), np.int64)
    count = look(backtest, found)
    assert count > 100
    for ts, bid, ask in found[:count].tolist():
        book = sessions.book_at(session, 0, ts, clock="receive")
        best = [int(Decimal(levels[0][0]) * 100) if levels else None
                for levels in (book["yes_bids"], book["yes_asks"])]
        if None not in best:
            assert [bid, ask] == best
