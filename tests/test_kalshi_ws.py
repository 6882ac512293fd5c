"""The importer of the venue's WebSocket, rule by rule, on recordings checked by hand."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldbook.adapters import sessions
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.adapters.recordings import spool as spooling
from foldbook.benchmarks import import_rate
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, TapeFlag, TapeKind
from foldbook.engine.specs import Market
from foldbook.engine.units import SECOND

T0 = 1_786_000_000_000
"""ms; the recordings below count from here."""
MS = 1_000_000
K = TapeKind


def stamp(us: int) -> tuple[str, int]:
    """Return (ts with trimmed zeros, ts_ms) of a time in microseconds after T0."""
    at = np.datetime64(T0 * 1000 + us, "us")
    text = str(at)
    return (text.rstrip("0").rstrip(".") if us % 1_000_000 else text.partition(".")[0]) + "Z", (
        T0 + us // 1000
    )


def delta(recv: int, us: int, side: str, price: str, change: Any, /, **more: Any) -> dict[str, Any]:
    ts, ts_ms = stamp(us)
    msg = {"market_ticker": "KXA-1", "market_id": "m", "price_dollars": price, "delta_fp": change,
           "side": side, "ts": ts, "ts_ms": ts_ms}
    return line(recv, "orderbook_delta", msg, **more)


def snapshot(recv: int, yes: list[Any] | None = None, no: list[Any] | None = None,
             **more: Any) -> dict[str, Any]:
    msg: dict[str, Any] = {"market_ticker": "KXA-1", "market_id": "m"}
    if yes is not None:
        msg["yes_dollars_fp"] = yes
    if no is not None:
        msg["no_dollars_fp"] = no
    return line(recv, "orderbook_snapshot", msg, **more)


def trade(recv: int, ms: int, taker: str, price: str, count: str, /, **more: Any) -> dict[str, Any]:
    msg = {"trade_id": "t", "market_ticker": "KXA-1", "yes_price_dollars": price,
           "no_price_dollars": f"{1 - float(price):.4f}", "count_fp": count, "taker_side": taker,
           "taker_outcome_side": taker, "taker_book_side": "bid" if taker == "yes" else "ask",
           "ts": (T0 + ms) // 1000, "ts_ms": T0 + ms}
    return line(recv, "trade", msg, sid=2, **more)


def line(recv: int, kind: str, msg: dict[str, Any], /, *, sid: int = 1, seq: int | None = None,
         ticker: str | None = None, **fields: Any) -> dict[str, Any]:
    msg = {key: value for key, value in (msg | fields).items() if value is not ...}
    if ticker:
        msg["market_ticker"] = ticker
    event = {"type": kind, "sid": sid, "seq": seq, "msg": msg}
    return {"recv_ms": T0 + recv, "event": event}


def numbered(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each line without one the next seq of its subscription."""
    last: dict[int, int] = {}
    for each in lines:
        event = each["event"]
        if "seq" not in event:
            continue
        if event["seq"] is None:
            event["seq"] = last.get(event["sid"], 0) + 1
        last[event["sid"]] = event["seq"]
    return lines


def write(folder: Path, lines: list[Any], name: str = "r.ndjson") -> Path:
    path = folder / name
    path.write_text("".join(
        (each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines
    ))
    return path


def tape(folder: Path, lines: list[Any], **options: Any) -> list[tuple[Any, ...]]:
    """Import and return (kind, ts us, recv ms, side, price, qty, flags) of each row, from T0.

    Without GUESSED: what is known of queues has tests of its own."""
    if lines and all(isinstance(each, dict) and "event" in each for each in lines):
        lines = numbered(lines)
    [report] = import_recording([write(folder, lines)], folder / "out", **options)
    return shown(sessions.load(report.session).tape.rows)


def shown(rows: np.ndarray) -> list[tuple[Any, ...]]:
    return [
        (TapeKind(row["kind"]), (int(row["ts"]) - T0 * MS) // 1000,
         (int(row["recv"]) - T0 * MS) // MS, int(row["side"]), int(row["price"]), int(row["qty"]),
         int(row["flags"]) & ~int(TapeFlag.GUESSED))
        for row in rows
    ]


def received(rows: np.ndarray, t: int) -> bytes:
    """Return the rows received by t, without the places of decreases in their levels: those are
    what the exchange knew, and a recorder learns of a trade only when it receives it."""
    known = rows[rows["recv"] <= t].copy()
    decreases = known["kind"] == K.DECREASE
    known["ahead"][decreases] = 0
    known["flags"][decreases] &= ~int(TapeFlag.GUESSED)
    return known.tobytes()


BOOK = ([["0.4000", "100.00"]], [["0.5000", "200.00"]])
"""YES bid 0.40 x 100, NO bid 0.50 x 200: an ask of YES at 0.50."""
LEAD = 4
"""Rows of the first snapshot: GRID, SNAPSHOT, two levels."""


def test_a_book_is_kept_in_yes_terms(tmp_path):
    """A NO bid at q is a SELL level at 1 - q; a snapshot and its levels are one burst; quantities
    of changes are positive."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK),
        delta(15, 10_000, "no", "0.4500", "7.50"),
        delta(25, 20_000, "yes", "0.4000", "-40.00"),
    ])
    assert rows == [
        (K.GRID, -1_000_000, 0, 0, 100, 0, 0),
        (K.SNAPSHOT, -1_000_000, 0, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, -1_000_000, 0, 0, 4000, 10_000, 0),
        (K.SNAPSHOT_LEVEL, -1_000_000, 0, 1, 5000, 20_000, 0),
        (K.INCREASE, 10_000, 15, 1, 5500, 750, 0),
        (K.DECREASE, 20_000, 25, 0, 4000, 4000, 0),
    ]


def test_a_first_snapshot_never_stands_behind_what_follows_it(tmp_path):
    """Received 1.5 s after the delta that follows it was made: it takes that delta's time, and is
    received with it, because only the delta told."""
    rows = tape(tmp_path, [
        snapshot(2_000, *BOOK), delta(2_100, 500_000, "yes", "0.3000", "1.00"),
    ])
    assert [row[1:3] for row in rows] == [(500_000, 2_100)] * 5


def test_a_later_snapshot_stands_with_the_event_before_it(tmp_path):
    """Its subscription gives it a time, which receive times would not."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK), delta(15, 10_000, "yes", "0.3000", "1.00"),
        snapshot(30, [["0.4100", "5.00"]], BOOK[1]), delta(31, 20_000, "yes", "0.3000", "1.00"),
    ])
    assert [(row[0], row[1], row[2]) for row in rows[LEAD + 1 : -1]] == [
        (K.SNAPSHOT, 10_000, 30), (K.SNAPSHOT_LEVEL, 10_000, 30), (K.SNAPSHOT_LEVEL, 10_000, 30)
    ]


def test_a_trade_stands_before_its_decrease(tmp_path):
    """With the decrease's microsecond, the maker's side, and the later of the two receipts,
    whichever came first."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK),
        delta(15, 10_250, "no", "0.5000", "-30.00"),
        trade(18, 10, "yes", "0.5000", "30.00"),
        trade(21, 20, "no", "0.4000", "10.00"),
        delta(25, 20_999, "yes", "0.4000", "-10.00"),
    ])
    assert rows[LEAD:] == [
        (K.TRADE, 10_250, 18, 1, 5000, 3000, TapeFlag.JOINED),
        (K.DECREASE, 10_250, 15, 1, 5000, 3000, 0),
        (K.TRADE, 20_999, 25, 0, 4000, 1000, TapeFlag.JOINED),
        (K.DECREASE, 20_999, 25, 0, 4000, 1000, 0),
    ]


def test_trades_and_decreases_are_paired_one_to_one_in_order(tmp_path):
    """Two equal trades and three equal decreases in one ms: the first two are the trades."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK),
        *(delta(15 + n, 10_000 + n, "no", "0.5000", "-5.00") for n in range(3)),
        trade(30, 10, "yes", "0.5000", "5.00"), trade(31, 10, "yes", "0.5000", "5.00"),
    ])
    assert [(row[0], row[1], row[2]) for row in rows[LEAD:]] == [
        (K.TRADE, 10_000, 30), (K.DECREASE, 10_000, 15),
        (K.TRADE, 10_001, 31), (K.DECREASE, 10_001, 16),
        (K.DECREASE, 10_002, 17),
    ]


def test_a_trade_without_its_decrease_is_known_to_be_so_after_the_window(tmp_path):
    """It is placed by its own time, flagged, and received two seconds late: until then its
    decrease might have come. At 2,000 ms a decrease still joins, at 2,001 ms no more."""
    lines = [
        snapshot(0, *BOOK), delta(12, 9_000, "yes", "0.3000", "1.00"),
        trade(20, 10, "yes", "0.5000", "5.00"),
    ]
    rows = tape(tmp_path, [*lines, delta(2_021, 10_500, "no", "0.5000", "-5.00")])
    assert rows[LEAD + 1 :] == [
        (K.TRADE, 10_000, 2_020, 1, 5000, 500, TapeFlag.UNJOINED),
        (K.DECREASE, 10_500, 2_021, 1, 5000, 500, 0),
    ]
    rows = tape(tmp_path, [*lines, delta(2_020, 10_500, "no", "0.5000", "-5.00")])
    assert rows[LEAD + 1][:3] == (K.TRADE, 10_500, 2_020)


def test_a_block_trade_touches_no_queue(tmp_path):
    """Negotiated off the book: never joined, even where a decrease would fit."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK), delta(12, 10_000, "no", "0.5000", "-5.00"),
        trade(20, 10, "yes", "0.5000", "5.00", is_block_trade=True),
    ])
    assert {row[0]: row[6] for row in rows}[K.TRADE] == TapeFlag.BLOCK | TapeFlag.UNJOINED


def test_a_reprice_is_flagged_on_the_new_level_only(tmp_path):
    """-old, +new, adjacent, same side and microsecond; another microsecond or side is none."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK),
        delta(12, 10_000, "yes", "0.4000", "-5.00"), delta(12, 10_000, "yes", "0.3900", "6.00"),
        delta(13, 11_000, "yes", "0.4000", "-5.00"), delta(13, 11_001, "yes", "0.3900", "5.00"),
        delta(14, 12_000, "yes", "0.4000", "-5.00"), delta(14, 12_000, "no", "0.3900", "5.00"),
    ])
    assert [row[6] for row in rows[LEAD:]] == [0, TapeFlag.REPRICE, 0, 0, 0, 0]


def test_an_equal_seq_is_a_duplicate(tmp_path):
    """Dropped and counted, snapshots with their levels too."""
    lines = numbered([
        snapshot(0, *BOOK, seq=7), snapshot(1, *BOOK, seq=7),
        delta(12, 10_000, "yes", "0.3000", "1.00", seq=9),
        delta(13, 10_000, "yes", "0.3000", "1.00", seq=9),
    ])
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "out")
    assert (report.events, report.left_out, report.gaps) == (LEAD + 1, {"duplicate": 2}, 0)
    assert report.counts == {"snapshots": 2, "deltas": 2, "trades": 0}


HOLED = (
    snapshot(0, *BOOK, seq=1), delta(12, 10_000, "yes", "0.3000", "1.00", seq=2),
    delta(20, 18_000, "yes", "0.3000", "1.00", seq=5),
    delta(30, 28_000, "yes", "0.3000", "1.00", seq=6),
    snapshot(40, [["0.3000", "3.00"]], seq=7), delta(50, 48_000, "yes", "0.3000", "1.00", seq=8),
)


def test_a_hole_is_no_gap_where_the_subscription_is_not_whole(tmp_path):
    """One market's file of a recorder of many: the missing numbers are other markets'."""
    assert K.GAP not in [row[0] for row in tape(tmp_path, list(HOLED))]


def test_a_hole_in_a_whole_subscription_ends_the_trust_until_the_next_snapshot(tmp_path):
    """GAP at the last known time, received with the message that showed it; then nothing until the
    snapshot, whose burst ends with RECOVERED."""
    lines = list(HOLED)
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "o", seq_scope="subscription")
    rows = shown(sessions.load(report.session).tape.rows)
    assert rows[LEAD + 1 :] == [
        (K.GAP, 10_000, 20, 0, 0, 0, 0),
        (K.SNAPSHOT, 28_000, 40, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 28_000, 40, 0, 3000, 300, 0),
        (K.RECOVERED, 28_000, 40, 0, 0, 0, 0),
        (K.INCREASE, 48_000, 50, 0, 3000, 100, 0),
    ]
    assert (report.gaps, report.left_out) == (1, {"in_gap": 2})


def test_a_hole_distrusts_every_book_of_the_subscription(tmp_path):
    """The lost message may have concerned any of its markets; control frames leave no hole."""
    ok = {"recv_ms": T0 + 3, "event": {"type": "ok", "id": 1, "sid": 1, "seq": 3, "msg": {}}}
    lines = [
        snapshot(0, *BOOK, seq=1), snapshot(1, *BOOK, seq=2, ticker="KXA-2"), ok,
        delta(12, 10_000, "yes", "0.3000", "1.00", seq=4),
        delta(13, 11_000, "yes", "0.3000", "1.00", seq=5, ticker="KXA-2"),
        delta(20, 18_000, "yes", "0.3000", "1.00", seq=7),
    ]
    reports = import_recording([write(tmp_path, lines)], tmp_path / "out",
                               seq_scope="subscription")
    assert [report.gaps for report in reports] == [1, 1]
    last = shown(sessions.load(reports[1].session).tape.rows)[-1]
    assert last == (K.GAP, 11_000, 20, 0, 0, 0, 0)


def test_a_subscription_whose_beginning_was_recorded_is_whole(tmp_path):
    """A recorder that keeps the control frames of a subscription keeps all of it."""
    begin = {"recv_ms": T0, "event": {"type": "subscribed", "id": 1,
                                      "msg": {"channel": "orderbook_delta", "sid": 1}}}
    assert K.GAP in [row[0] for row in tape(tmp_path, [begin, *HOLED])]


def test_a_smaller_seq_is_a_restart(tmp_path):
    """A gap even where holes are none; here the snapshot that begins anew also ends it."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK, seq=500), delta(12, 10_000, "yes", "0.3000", "1.00", seq=501),
        snapshot(3_000, [["0.2000", "2.00"]], seq=22),
        delta(3_020, 3_000_000, "yes", "0.2000", "1.00", seq=23),
    ])
    assert [(row[0], row[1], row[2]) for row in rows[LEAD + 1 :]] == [
        (K.GAP, 10_000, 3_000), (K.SNAPSHOT, 2_000_000, 3_000),
        (K.SNAPSHOT_LEVEL, 2_000_000, 3_000), (K.RECOVERED, 2_000_000, 3_000),
        (K.INCREASE, 3_000_000, 3_020),
    ]


def test_a_negative_level_proves_a_loss(tmp_path):
    """The impossible delta is not on the tape, nor anything after it until a snapshot."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.4000", "-100.01"),
        delta(13, 11_000, "yes", "0.4000", "1.00"),
    ])
    assert rows[LEAD:] == [(K.GAP, -1_000_000, 12, 0, 0, 0, 0)]


def test_a_book_may_cross_inside_a_burst_only(tmp_path):
    """Crossed between two deltas of one microsecond is fine; still crossed when the next begins is
    a loss, known when that next message comes."""
    fine = [
        snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.5000", "1.00"),
        delta(12, 10_000, "no", "0.5000", "-200.00"), delta(15, 13_000, "yes", "0.4000", "1.00"),
    ]
    assert K.GAP not in [row[0] for row in tape(tmp_path, fine)]
    rows = tape(tmp_path, [fine[0], fine[1], fine[3]])
    assert rows[LEAD + 1 :] == [(K.GAP, 10_000, 15, 0, 0, 0, 0)]
    rows = tape(tmp_path, fine[:2])
    assert rows[LEAD + 1 :] == [(K.GAP, 10_000, 2_012, 0, 0, 0, 0)], "the recording ends crossed"


def test_deltas_before_the_first_snapshot_are_counted(tmp_path):
    """Unanchored: not on the tape, and not fatal."""
    lines = numbered([
        delta(1, 500, "yes", "0.4000", "1.00"), snapshot(2, *BOOK),
        delta(12, 10_000, "yes", "0.4000", "1.00"),
    ])
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "out")
    assert (report.events, report.left_out) == (LEAD + 1, {"unanchored": 1})


def test_an_empty_snapshot_closes_a_market_that_had_orders(tmp_path):
    """Once; before any order an empty snapshot is an empty book."""
    rows = tape(tmp_path, [
        snapshot(0), delta(12, 10_000, "yes", "0.4000", "1.00"), snapshot(20), snapshot(30),
        delta(31, 20_000, "yes", "0.4000", "1.00"),
    ])
    assert [(row[0], row[1], row[2], row[5]) for row in rows] == [
        (K.GRID, -1_000_000, 0, 0), (K.SNAPSHOT, -1_000_000, 0, 0), (K.INCREASE, 10_000, 12, 100),
        (K.STATUS, 10_000, 20, 2),
    ]


def record(folder: Path, **more: Any) -> Path:
    market = {
        "ticker": "KXA-1", "close_time": "2026-08-06T07:06:41Z", "result": "yes",
        "settlement_ts": "2026-08-06T07:06:45.5Z", "settlement_value_dollars": "1.0000",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
    } | more
    path = folder / "metadata" / "KXA.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"response": {"event": {}, "markets": [market]}}))
    return path.parent


CLOSE_US, SETTLED_US = 1_000_000, 5_500_000


def test_settlement_happens_when_it_happened(tmp_path):
    """With a record: CLOSED by the empty snapshot or at close_time, SETTLED at settlement_ts. A
    close that is only inferred is received with the settlement."""
    lines = [snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.4000", "1.00")]
    rows = tape(tmp_path, [*lines, snapshot(1_500)], metadata=record(tmp_path))
    assert rows[-2:] == [(K.STATUS, 10_000, 1_500, 0, 0, 2, 0),
                         (K.STATUS, SETTLED_US, 5_500, 0, 10_000, 4, 0)]
    for ending in ([], [snapshot(6_000)]):
        rows = tape(tmp_path, [*lines, *ending], metadata=record(tmp_path))
        assert rows[-2:] == [(K.STATUS, CLOSE_US, 5_500, 0, 0, 2, 0),
                             (K.STATUS, SETTLED_US, 5_500, 0, 10_000, 4, 0)]


def test_without_a_record_a_market_ends_closed(tmp_path):
    """Its result is not known, and is not guessed."""
    lines = numbered([snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.4000", "1.00"),
                      snapshot(20)])
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "out")
    [market] = sessions.describe(sessions.load(report.session))["markets"]
    assert (market["status"], market["result"]) == ("closed", None)


def test_the_grid_of_a_record_holds_from_the_start(tmp_path):
    """Tapered: 0.001 below 0.10 and above 0.90, 0.01 between; the tick is the finer one."""
    folder = record(tmp_path, price_ranges=[
        {"start": "0.0000", "end": "0.1000", "step": "0.0010"},
        {"start": "0.1000", "end": "0.9000", "step": "0.0100"},
        {"start": "0.9000", "end": "1.0000", "step": "0.0010"},
    ])
    lines = [snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.0990", "1.00")]
    [report] = import_recording([write(tmp_path, numbered(lines))], tmp_path / "out",
                                metadata=folder)
    session = sessions.load(report.session)
    grid = session.tape.rows[0]
    assert (grid["kind"], grid["price"], grid["ahead"], grid["qty"]) == (K.GRID, 100, 10, 1000)
    assert session.markets[0].tick == 10
    with pytest.raises(TapeError, match=r"r.ndjson row 3: price is 0.1010 .*price grid"):
        tape(tmp_path, [*lines, delta(13, 11_000, "yes", "0.1010", "1.00")], metadata=folder)


@pytest.mark.parametrize(
    ("said", "event"),
    [
        ({"mutually_exclusive": True, "collateral_return_type": "MECNET"}, "KXA"),
        ({"mutually_exclusive": True}, "KXA"),
        ({"mutually_exclusive": True, "collateral_return_type": ""}, ""),
        ({"mutually_exclusive": True, "collateral_return_type": "DIRECNET"}, ""),
        ({"mutually_exclusive": False, "collateral_return_type": "MECNET"}, ""),
    ],
)
@pytest.mark.parametrize("market", [{"event_ticker": "KXA"}, {"ticker": "KXA-2"}])
def test_a_market_names_the_event_that_returns_its_collateral(tmp_path, said, event, market):
    """The event's record says so; without one of its own the market is taken for the event's of
    that ticker. Another market's record changes nothing."""
    folder = record(tmp_path, **market)
    found = {"event": {"event_ticker": "KXA", **said}}
    (folder / "event.json").write_text(json.dumps(found))
    lines = numbered([snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.4000", "1.00")])
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "out", metadata=folder)
    assert sessions.load(report.session).markets == (Market("KXA-1", 100, event),)


def test_without_a_record_the_grid_follows_the_prices(tmp_path):
    """Cents at first; a finer price brings its grid, right before it and not earlier."""
    rows = tape(tmp_path, [
        snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.0500", "1.00"),
        delta(15, 12_000, "yes", "0.0550", "1.00"), delta(16, 13_000, "yes", "0.0110", "1.00"),
    ])
    assert [row for row in rows if row[0] == K.GRID] == [
        (K.GRID, -1_000_000, 0, 0, 100, 0, 0), (K.GRID, 12_000, 15, 0, 50, 0, 0),
        (K.GRID, 13_000, 16, 0, 10, 0, 0),
    ]
    assert sessions.load(tmp_path / "out/KXA-1").markets[0].tick == 10


def test_lifecycle_frames_become_status_and_grid(tmp_path):
    """A new grid, a determination that is corrected, a settlement; received when they were."""
    def news(recv: int, **fields: Any) -> dict[str, Any]:
        return line(recv, "market_lifecycle_v2", {"market_ticker": "KXA-1"}, sid=3, **fields)

    rows = tape(tmp_path, [
        snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.4000", "1.00"),
        news(13, event_type="price_level_structure_updated",
             price_ranges=[{"start": "0", "end": "1", "step": "0.001"}]),
        delta(14, 12_000, "yes", "0.0550", "1.00"),
        news(2_000, event_type="determined", determination_ts=T0 // 1000 + 1, result="no",
             settlement_value="0.0000"),
        news(3_000, event_type="determined", determination_ts=T0 // 1000 + 2, result="yes",
             settlement_value="1.0000"),
        news(4_000, event_type="settled", settled_ts=T0 // 1000 + 3, settlement_value="1.0000"),
    ])
    assert rows[LEAD + 1 :] == [
        (K.GRID, 10_000, 13, 0, 10, 0, 0), (K.INCREASE, 12_000, 14, 0, 550, 100, 0),
        (K.STATUS, 1_000_000, 2_000, 0, 0, 3, 0), (K.STATUS, 2_000_000, 3_000, 0, 10_000, 3, 0),
        (K.STATUS, 3_000_000, 4_000, 0, 10_000, 4, 0),
    ]


def test_lifecycle_frames_become_close_times_and_strikes(tmp_path):
    """What was said before the book stands with it; what is said later when it was received."""
    def news(recv: int, **fields: Any) -> dict[str, Any]:
        return line(recv, "market_lifecycle_v2", {"market_ticker": "KXA-1"}, sid=3, **fields)

    due = T0 // 1000 + 900
    rows = tape(tmp_path, [
        news(0, event_type="created", close_ts=due, additional_metadata={"floor_strike": 4414.4}),
        snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.4000", "1.00"),
        news(13, event_type="close_date_updated", close_ts=due - 60),
        news(14, event_type="metadata_updated", floor_strike=-2.5, cap_strike=3),
    ])
    said = [row for row in rows if row[0] in (K.CLOSE_TIME, K.STRIKE)]
    kinds = [(kind, recv, side, qty) for kind, _, recv, side, _, qty, _ in said]
    assert kinds == [
        (K.CLOSE_TIME, 0, 0, due * SECOND), (K.STRIKE, 0, 0, 4_414_400_000),
        (K.CLOSE_TIME, 13, 0, (due - 60) * SECOND), (K.STRIKE, 14, 0, -2_500_000),
        (K.STRIKE, 14, 1, 3_000_000),
    ]


@pytest.mark.parametrize("strike", [1e-9, 1e40])
def test_a_strike_too_fine_or_large_is_refused(tmp_path, strike):
    """Nothing is rounded."""
    news = line(0, "market_lifecycle_v2", {"market_ticker": "KXA-1"}, sid=3,
                event_type="metadata_updated", floor_strike=strike)
    with pytest.raises(TapeError, match="floor_strike"):
        tape(tmp_path, [news, snapshot(0, *BOOK)])


def test_cents_and_dollars_may_be_mixed_frame_by_frame(tmp_path):
    """Told by the keys of each frame; where both stand, dollars win."""
    cents = {"price_dollars": ..., "delta_fp": ..., "price": 39, "delta": 5}
    rows = tape(tmp_path, [
        line(0, "orderbook_snapshot", {"market_ticker": "KXA-1", "yes": [[40, 100]],
                                       "no": [[50, 200]]}),
        delta(12, 10_000, "yes", "", "", **cents),
        delta(13, 11_000, "yes", "0.3950", "2.00", price=39),
        delta(14, 12_000, "yes", "0.960", "", delta_fp=..., delta=3, side="no"),
    ])
    assert [row[3:6] for row in rows if row[0] in (K.SNAPSHOT_LEVEL, K.INCREASE)] == [
        (0, 4000, 10_000), (1, 5000, 20_000), (0, 3900, 500), (0, 3950, 200), (1, 400, 300),
    ]


def test_no_prices_on_the_yes_scale_are_read_as_stated(tmp_path):
    """use_yes_price: a NO bid of 0.45 is written as 0.55, until a subscription begins without."""
    begin = {"recv_ms": T0, "event": {"type": "subscribed", "id": 1, "msg": {
        "channel": "orderbook_delta", "sid": 1, "use_yes_price": True}}}
    rows = tape(tmp_path, [
        begin, snapshot(0, BOOK[0], [["0.6000", "1.00"]], seq=1),
        delta(12, 10_000, "no", "0.5500", "1.00", seq=2),
        begin | {"event": {"type": "subscribed", "id": 1, "msg": {"sid": 1}}},
        snapshot(20, BOOK[0], [["0.4000", "1.00"]], seq=1),
        delta(22, 20_000, "no", "0.4500", "1.00", seq=2),
    ])
    found = [row[3:5] for row in rows if row[0] in (K.SNAPSHOT_LEVEL, K.INCREASE)]
    assert found == [(0, 4000), (1, 6000), (1, 5500)] * 2


def good() -> list[Any]:
    return numbered([
        snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.3000", "1.00"),
        delta(13, 11_000, "yes", "0.3000", "1.00"),
    ])


@pytest.mark.parametrize(
    ("bad", "why", "text"),
    [
        ("{not json", "not_json", "row 4: not JSON: '{not json'"),
        ('{"recv_ms":1,"event":{"type":"orderbook_delta"', "not_json", "row 4: not JSON"),
        (delta(14, 12_000, "yes", "0.48005", "1.00"), "price",
         "row 4: price_dollars is '0.48005', expected dollars between 0 and 1"),
        (delta(14, 12_000, "yes", "1.2", "1.00"), "price", "price_dollars is '1.2'"),
        (delta(14, 12_000, "yes", "0.0000", "1.00"), "price", "price_dollars is '0.0000'"),
        (delta(14, 12_000, "yes", "1.0000", "1.00"), "price", "price_dollars is '1.0000'"),
        (delta(14, 12_000, "yes", "NaN", "1.00"), "price", "price_dollars is 'NaN'"),
        (delta(14, 12_000, "yes", "0.30", "inf"), "qty", "delta_fp is 'inf', expected contracts"),
        (delta(14, 12_000, "yes", "0.30", "0.005"), "qty", "delta_fp is '0.005'"),
        (delta(14, 12_000, "yes", "0.30", 5.0), "wrong_type", "`$.event.msg.delta_fp` (value 5.0)"),
        (delta(14, 12_000, "yes", "0.30", ...), "missing_field", "delta_fp is None"),
        (delta(14, 12_000, "maybe", "0.30", "1.00"), "wrong_type", "(value 'maybe')"),
        (delta(14, 12_000, "yes", "0.30", "1.00", market_ticker=...), "missing_field",
         "missing required field `market_ticker`"),
        (delta(14, 12_000, "yes", "0.30", "1.00", price=40), "disagree",
         "price is 40, expected 0.30 rounded to cents"),
        (delta(14, 9_000, "yes", "0.30", "1.00"), "ts", "row 4: ts is 1786000000009000000 ns"),
        (line(14, "orderbook_gone", {}), "unknown_type", "Invalid value 'orderbook_gone'"),
        (snapshot(14, [["0.4000", "-1.00"]]), "qty", "yes is '-1.00', expected more than zero"),
        (snapshot(14, [["0.4000", "1.00"], ["0.400", "2.00"]]), "price", "each price once"),
        (trade(14, 12, "yes", "0.5000", "0.00"), "qty", "count_fp is '0.00'"),
        (trade(14, 12, "yes", "0.5000", "1.00", no_price_dollars="0.4000"), "price",
         "no_price_dollars is '0.4000', expected 1 - yes_price_dollars"),
        (trade(14, 12, "yes", "0.5000", "1.00", taker_outcome_side="no"), "taker", "taker_side"),
    ],
)
def test_a_row_that_breaks_a_rule_is_named(tmp_path, bad, why, text):
    """Fatal with file, row, field, value and what was expected in one line; counted under its
    reason if told to keep going, and nothing else is lost."""
    if isinstance(bad, dict):
        bad["event"]["seq"] = bad["event"]["seq"] or 4
    path = write(tmp_path, [*good(), bad])
    with pytest.raises(TapeError) as caught:
        import_recording([path], tmp_path / "out")
    assert text in str(caught.value)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir()), "nothing half-made is left"
    [report] = import_recording([path], tmp_path / "out", keep_going=True)
    assert (report.rejected, report.reasons) == (1, {why: 1})
    assert text in report.examples[0]
    rows = shown(sessions.load(report.session).tape.rows)
    assert [row[0] for row in rows[LEAD : LEAD + 2]] == [K.INCREASE] * 2


def test_a_refused_change_of_a_book_ends_the_trust_in_it(tmp_path):
    """It is known that something changed, and not what. A line that says nothing is counted."""
    after = delta(20, 18_000, "yes", "0.3000", "1.00", seq=9)
    bad = delta(14, 12_000, "yes", "0.48005", "1.00", seq=8)
    for lost, kinds in ((bad, [K.GAP]), ("garbage", [K.INCREASE])):
        rows = tape(tmp_path, [*good(), lost, after], keep_going=True)
        assert [row[0] for row in rows[LEAD + 2 :]] == kinds


def test_what_was_stored_stays_when_a_later_import_fails(tmp_path):
    """A session is replaced as a whole or not at all."""
    [report] = import_recording([write(tmp_path, good())], tmp_path / "out")
    before = {path: path.read_bytes() for path in report.session.iterdir()}
    with pytest.raises(TapeError):
        import_recording([write(tmp_path, [*good(), "garbage"])], tmp_path / "out")
    assert {path: path.read_bytes() for path in report.session.iterdir()} == before


def test_a_truncated_or_false_gzip_file_is_named(tmp_path):
    """Fatal; told to keep going, what can be read of it is imported."""
    text = "".join(json.dumps(each) + "\n" for each in good()).encode()
    whole = gzip.compress(text)
    path = tmp_path / "r.ndjson.gz"
    path.write_bytes(gzip.compress(text[: len(text) // 2]) + gzip.compress(text[len(text) // 2 :]))
    assert import_recording([path], tmp_path / "out")[0].events == LEAD + 2, "members are joined"
    path.write_bytes(whole[:-20])
    with pytest.raises(TapeError, match=r"r.ndjson.gz: truncated gzip"):
        import_recording([path], tmp_path / "out")
    [report] = import_recording([path], tmp_path / "out", keep_going=True)
    assert report.reasons["damaged_file"] == 1
    path.write_bytes(text)
    with pytest.raises(TapeError, match=r"r.ndjson.gz: not gzip: begins with b'\{\"'"):
        import_recording([path], tmp_path / "out")


@pytest.mark.parametrize("left", [2, 12, 30])
def test_a_gzip_file_that_is_cut_off_before_its_first_line_ends_says_so(tmp_path, left):
    """Wherever the cut is, the file and the byte are named, and not another kind of file. Beside
    whole files it is counted, when told to keep going."""
    text = "".join(json.dumps(each) + "\n" for each in good()).encode()
    cut = tmp_path / "a" / "r0.ndjson.gz"
    cut.parent.mkdir()
    cut.write_bytes(gzip.compress(text)[:left])
    said = rf"r0.ndjson.gz: truncated gzip: the file ends at byte {left}, before its data"
    for sources in ([cut], [cut.parent]):
        for keep_going in (False, True):
            with pytest.raises(TapeError, match=said):
                import_recording(sources, tmp_path / "out", keep_going=keep_going)
    write(cut.parent, good(), "r1.ndjson")
    with pytest.raises(TapeError, match=said):
        import_recording([cut.parent], tmp_path / "out")
    [report] = import_recording([cut.parent], tmp_path / "out", keep_going=True)
    assert report.reasons["damaged_file"] == 1
    assert report.events == LEAD + 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "not a recording"), ("hello\n", "not a recording"), ('{"a": 1}\n', "not a recording"),
     ('{"type":"subscribed","id":1,"msg":{}}\n', "holds no market")],
)
def test_a_file_that_is_no_recording_is_named(tmp_path, text, expected):
    """Nothing is imported from what is not understood."""
    path = tmp_path / "x.ndjson"
    path.write_text(text)
    with pytest.raises(TapeError, match=expected):
        import_recording([path], tmp_path / "out")
    with pytest.raises(TapeError, match="no such file"):
        import_recording([tmp_path / "missing"], tmp_path / "out")


def test_every_envelope_gives_the_same_tape(tmp_path):
    """Frames as lines, as text, in a document, in parts by type; bare frames have no receipt, which
    is then the exchange time."""
    frames = [each["event"] for each in good()]
    for number, frame in enumerate(frames):
        frame["msg"]["market_ticker"] = "KXA-1"
        frame["seq"] = number + 1
    times = [T0, T0 + 12, T0 + 13]
    stamped = list(zip(times, frames, strict=True))
    expected = tape(tmp_path, good())
    for name, lines in {
        "stream.jsonl": [{"received_ms": time, "frame": frame} for time, frame in stamped],
        "raw.jsonl": [{"recv_ts_ns": time * MS, "raw": json.dumps(frame) + "\n"}
                      for time, frame in stamped],
        "document.json": [json.dumps({"captured_ms": 1, "frames": [
            {"received_ms": time, "frame": frame} for time, frame in stamped]}, indent=1)],
    }.items():
        [report] = import_recording([write(tmp_path, lines, name)], tmp_path / name[:3])
        assert shown(sessions.load(report.session).tape.rows) == expected, name
    for time, frame in stamped:
        part = {"channel": "orderbook_delta", "event_type": frame["type"], "exchange_ts": None,
                "local_recv_ns": time * MS, "market_ticker": "KXA-1",
                "payload_json": frame["msg"], "sequence_number": frame["seq"]}
        path = tmp_path / "parts/raw_events" / f"type={frame['type']}" / "day=1/hour=1"
        path.mkdir(parents=True, exist_ok=True)
        with (path / "part.ndjson").open("a") as file:
            file.write(json.dumps(part) + "\n")
    [report] = import_recording([tmp_path / "parts"], tmp_path / "out2")
    assert shown(sessions.load(report.session).tape.rows) == expected
    [report] = import_recording([write(tmp_path, frames, "bare.jsonl")], tmp_path / "bare")
    rows = shown(sessions.load(report.session).tape.rows)
    assert [row[3:] for row in rows] == [row[3:] for row in expected]
    assert all(row[1] // 1000 == row[2] for row in rows[LEAD:])
    described = sessions.describe(sessions.load(report.session))
    assert "no receive times: recv is the exchange time" in described["quality"]["reasons"]


def test_a_group_is_merged_by_time_with_bursts_whole(tmp_path):
    """At equal ts by market, so that each market's burst stays together; markets are numbered by
    their first receipt."""
    lines = [
        snapshot(0, *BOOK, ticker="KXB-1", seq=1), snapshot(1, *BOOK, seq=2),
        delta(12, 10_000, "yes", "0.3000", "1.00", seq=3),
        delta(12, 10_000, "yes", "0.3000", "1.00", seq=4, ticker="KXB-1"),
        delta(12, 10_000, "yes", "0.3100", "1.00", seq=5),
        delta(12, 10_000, "yes", "0.3100", "1.00", seq=6, ticker="KXB-1"),
    ]
    [report] = import_recording([write(tmp_path, lines)], tmp_path / "out", group=True)
    assert report.markets == ("KXB-1", "KXA-1")
    rows = sessions.load(report.session).tape.rows[-4:]
    assert rows["market"].tolist() == [0, 0, 1, 1]
    assert rows["price"].tolist() == [3000, 3100, 3000, 3100]


def test_messages_that_do_not_fit_in_memory_wait_on_disk(tmp_path, monkeypatch):
    """With a limit of one message the same session comes out, and nothing is left behind."""
    lines = [
        snapshot(0, *BOOK, ticker="KXB-1", seq=1), snapshot(1, *BOOK, seq=2),
        delta(12, 10_000, "yes", "0.3000", "1.00", seq=3),
        delta(13, 11_000, "yes", "0.3000", "1.00", seq=4, ticker="KXB-1"),
    ]
    path = write(tmp_path, lines)
    [one] = import_recording([path], tmp_path / "one", group=True)
    monkeypatch.setattr(spooling, "SPILL_BYTES", 1)
    [two] = import_recording([path], tmp_path / "two", group=True)
    digests = [sessions.load(report.session).digest for report in (one, two)]
    assert digests[0] == digests[1]
    assert [path.name for path in (tmp_path / "two").iterdir()] == [two.session.name]


def test_no_row_knows_what_is_received_after_it(tmp_path):
    """Every cut of a recording with a hole, a late trade, a crossed end and a close: the rows
    received by the time of the cut are those of the whole."""
    lines = numbered([
        snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.3000", "1.00"),
        trade(14, 11, "yes", "0.5000", "5.00"), delta(16, 11_500, "no", "0.5000", "-5.00"),
        delta(16, 11_500, "yes", "0.3000", "-1.00"), delta(17, 11_500, "yes", "0.3100", "1.00"),
        trade(40, 20, "no", "0.4000", "1.00"), delta(3_000, 2_900_000, "yes", "0.0550", "1.00"),
        snapshot(3_100, *BOOK, seq=1), delta(3_200, 3_000_000, "yes", "0.5500", "1.00"),
        delta(9_000, 8_900_000, "yes", "0.3000", "1.00"), snapshot(9_500, *BOOK, seq=2),
        delta(9_600, 9_400_000, "yes", "0.3000", "1.00"), snapshot(9_700),
    ])
    folder = record(tmp_path, settlement_ts="2026-08-06T07:06:49.65Z", price_ranges=None)

    def rows(count: int) -> np.ndarray:
        path = write(tmp_path, lines[:count])
        [report] = import_recording([path], tmp_path / "out", metadata=folder)
        return np.array(sessions.load(report.session).tape.rows)

    whole = rows(len(lines))
    assert {K.GAP, K.RECOVERED, K.TRADE, K.GRID, K.STATUS} <= set(whole["kind"].tolist())
    times = [(T0 + each["recv_ms"] - T0) * MS for each in lines] + [(T0 + 20_000) * MS]
    for t in sorted({time + more for time in times for more in (0, MS, 2_000 * MS)}):
        count = sum(time <= t for time in times[:-1])
        other = rows(count)
        assert received(other, t) == received(whole, t), t


def test_the_benchmark_reads_every_message(tmp_path, capsys):
    """benchmarks/import_rate.py at toy size: it asserts that both sides read the same messages."""
    for ticker in ("KXA-1", "KXB-1"):
        lines = numbered([
            snapshot(0, *BOOK), delta(12, 10_000, "yes", "0.3000", "1.00"),
            trade(14, 11, "yes", "0.5000", "5.00"),
        ])
        for each in lines:
            each["event"]["msg"]["market_ticker"] = ticker
        path = tmp_path / "events" / ticker / "day.ndjson.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress("".join(json.dumps(x) + "\n" for x in lines).encode()))
    words = [str(tmp_path / "events"), "--json", "--rounds", "1", "--workers", "2"]
    assert import_rate.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["messages"], found["sessions"], found["workers"]) == (6, 2, 2)
    assert found["workers_ratio"] > 0


def test_a_folder_may_hold_records_beside_recordings(tmp_path):
    """Metadata next to the events of a recorder is no recording, and no error."""
    record(tmp_path)
    (tmp_path / "events" / "KXA-1").mkdir(parents=True)
    write(tmp_path / "events" / "KXA-1", good())
    (tmp_path / "MARKETS.csv").write_text("ticker\n")
    [report] = import_recording([tmp_path], tmp_path / "out")
    assert report.markets == ("KXA-1",)


def test_progress_ends_where_the_files_end(tmp_path):
    """Told in bytes of the files, never falling, the last equal to the whole."""
    told: list[tuple[int, int]] = []
    path = write(tmp_path, good())
    import_recording([path], tmp_path / "out", progress=lambda *now: told.append(now))
    size = path.stat().st_size
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def wild(seed: int) -> list[Any]:
    """A random recording of two markets: restarts, holes, duplicates, impossible changes, rows that
    break rules, trades before and after their deltas, closes; times of receipt never fall."""
    chance = random.Random(seed)
    recv, us = 2_000, 0
    lines: list[Any] = []
    for _ in range(70):
        recv += chance.choice((0, 0, 1, 5, 60, 900, 2_500))
        us = max(us + chance.choice((0, 0, 0, 250, 1_000)), (recv - chance.randrange(100)) * 1_000)
        ticker = chance.choice(("KXA-1", "KXB-1"))
        side, cents = chance.choice(("yes", "no")), chance.randrange(30, 46)
        size = f"{chance.choice((1, 1, 2, 5))}.00"
        new = chance.random()
        if new < 0.06 or len(lines) < 3:
            ladder = [[f"0.{at}00", "19.00"] for at in range(30, 46)]
            empty = len(lines) > 40 and chance.random() < 0.3
            lines.append(snapshot(recv, *(() if empty else (ladder, ladder)), ticker=ticker))
        elif new < 0.75:
            sign = chance.choice(("-", "-", ""))
            price = f"0.{cents if chance.random() < 0.97 else 55}00"
            lines.append(delta(recv, us, side, price, sign + size, ticker=ticker))
            if sign and chance.random() < 0.3:
                lines.append(delta(recv, us, side, f"0.{cents - 1}00", size, ticker=ticker))
            elif sign and chance.random() < 0.6:
                taker, yes = ("no", price) if side == "yes" else ("yes", f"0.{100 - cents}00")
                late = recv + chance.choice((-1, 0, 0, 3, 2_000, 2_001))
                lines.append(trade(late, us // 1_000, taker, yes, size, ticker=ticker))
        elif new < 0.85:
            lines.append(trade(recv, us // 1_000, "yes", f"0.{cents}00", size, ticker=ticker))
        elif new < 0.87:
            lines.append(delta(recv, us, side, "0.48005", size, ticker=ticker))
        elif new < 0.89:
            lines.append(delta(recv, us - 800_000, side, f"0.{cents}00", size, ticker=ticker))
        elif new < 0.92:
            lines.append(delta(recv, us, side, "0.4055", size, ticker=ticker))
    lines.sort(key=lambda each: each["recv_ms"])
    seqs = {1: 0, 2: 0}
    for each in lines:
        sid = each["event"]["sid"]
        step = chance.choices((1, 0, 3, None), (94, 2, 2, 2))[0]
        seqs[sid] = 1 if step is None else max(seqs[sid] + step, 1)
        each["event"]["seq"] = seqs[sid]
    return lines


@pytest.mark.parametrize("seed", range(12))
def test_wild_recordings_give_sound_tapes_that_know_nothing_later(tmp_path, seed):
    """Whatever was recorded: ts never falls, no level is negative, no burst of a trusted book ends
    crossed, joined trades stand before their decrease; and every cut leaves the rows before it."""
    lines = wild(seed)
    options: dict[str, Any] = {"group": True, "keep_going": True}
    if seed % 2:
        options["seq_scope"] = "subscription"
    if seed % 3:
        options["metadata"] = record(tmp_path, settlement_ts="2026-08-06T07:06:55Z",
                                     price_ranges=None)

    def rows(count: int) -> tuple[tuple[str, ...], np.ndarray]:
        try:
            [report] = import_recording([write(tmp_path, lines[:count])], tmp_path / "out",
                                        **options)
        except TapeError:
            return (), np.zeros(0, TAPE_DTYPE)
        return report.markets, np.array(sessions.load(report.session).tape.rows)

    markets, whole = rows(len(lines))
    for index in range(len(markets)):
        check_tape(whole[whole["market"] == index])
    assert (np.diff(whole["ts"]) >= 0).all()
    times = [each["recv_ms"] * MS for each in lines]
    for t in sorted(set(times)):
        count = sum(time <= t for time in times)
        for moment in (t, t + MS, t + 2_000 * MS):
            if sum(time <= moment for time in times) > count:
                continue
            _, other = rows(count)
            assert received(other, moment) == received(whole, moment), (
                f"seed {seed}, t = {moment}"
            )


def check_tape(rows: np.ndarray) -> None:
    """Assert that the tape of one market breaks no rule of the engine."""
    levels = np.zeros((2, 10_001), np.int64)
    trusted, grid = False, 100
    for at, row in enumerate(rows):
        kind, side, price, qty = row["kind"], row["side"], row["price"], row["qty"]
        if kind in (K.SNAPSHOT, K.GAP) or (kind == K.STATUS and qty >= 2):
            levels[:] = 0
            trusted = kind == K.SNAPSHOT
        elif kind == K.GRID:
            grid = price
        elif kind == K.SNAPSHOT_LEVEL:
            levels[side, price] = qty
        elif kind in (K.INCREASE, K.DECREASE):
            assert trusted and price % grid == 0
            levels[side, price] += qty if kind == K.INCREASE else -qty
        elif kind == K.TRADE and row["flags"] & TapeFlag.JOINED:
            mate = rows[at + 1]
            assert (mate["kind"], mate["side"], mate["price"], mate["qty"]) == (
                K.DECREASE, side, price, qty
            )
        assert (levels >= 0).all()
        if at + 1 == len(rows) or rows["ts"][at + 1] != row["ts"]:
            bids, asks = np.flatnonzero(levels[0]), np.flatnonzero(levels[1])
            assert not len(bids) or not len(asks) or bids[-1] < asks[0]
