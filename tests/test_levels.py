"""The plain layout: what a row says is what a row of the tape says, and nothing has a default."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_polymarket import refused_or_imported

from foldbook.adapters import sessions, synthetic
from foldbook.adapters.levels import import_levels
from foldbook.adapters.levels import tables as reading
from foldbook.adapters.recordings import Report
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import Side, TapeFlag, TapeKind

K = TapeKind
BUY, SELL = Side.BUY, Side.SELL
HEAD = "ts,kind,side,price,size,snapshot\n"
START = "10,snapshot,buy,0.40,10,a\n10,snapshot,sell,0.45,5,a\n"
ROWS = [(K.GRID, 10, 0, 100, 0, 0), (K.SNAPSHOT, 10, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 10, BUY, 4000, 1000, 0), (K.SNAPSHOT_LEVEL, 10, SELL, 4500, 500, 0)]
PLAIN: dict[str, Any] = {"time": "ns", "prices": "dollars", "market": "A"}


def shown(report: Report) -> list[tuple[Any, ...]]:
    rows = sessions.load(report.session).tape.rows
    return [(K(row["kind"]), int(row["ts"]), int(row["side"]), int(row["price"]), int(row["qty"]),
             int(row["flags"]) & ~int(TapeFlag.GUESSED)) for row in rows]


def imported(folder: Path, text: str, name: str = "t.csv", **options: Any) -> Report:
    path = folder / name
    data = text.encode(errors="surrogateescape")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    [report] = import_levels([path], folder / "out", **PLAIN | options)
    return report


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_each_kind_of_row(tmp_path, name):
    """A later snapshot gives its differences; a trade is joined to what it took, in one moment."""
    report = imported(tmp_path, HEAD + START + (
        "20,delta,bid,0.40,-3.5,\n30,absolute,ask,0.45,7,\n"
        "40,absolute,SELL,0.45,6,\n40,trade,sell,0.45,1,\n"
        "50,snapshot,buy,0.41,2,b\n50,snapshot,sell,0.45,6,b\n"
        "60,gap,,,,\n70,delta,buy,0.41,1,\n80,snapshot,buy,0.30,1,c\n"
    ), name, trade_side="maker")
    assert shown(report) == [
        *ROWS, (K.DECREASE, 20, BUY, 4000, 350, 0), (K.INCREASE, 30, SELL, 4500, 200, 0),
        (K.TRADE, 40, SELL, 4500, 100, TapeFlag.JOINED), (K.DECREASE, 40, SELL, 4500, 100, 0),
        (K.DECREASE, 50, BUY, 4000, 650, 0), (K.INCREASE, 50, BUY, 4100, 200, 0),
        (K.GAP, 50, 0, 0, 0, 0), (K.SNAPSHOT, 80, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 80, BUY, 3000, 100, 0), (K.RECOVERED, 80, 0, 0, 0, 0)]
    assert (report.read, report.joined, report.left_out) == (11, 1, {"in_gap": 1})
    assert {name: report.counts[name] for name in ("snapshots", "deltas", "trades")} == {
        "snapshots": 3, "deltas": 4, "trades": 1}
    assert sessions.load(report.session).facts["receive_times"] is False


def test_units_and_names_are_the_owners(tmp_path):
    """Cents, seconds with decimals, columns of other names, another delimiter, receive times."""
    text = "when;got;who;s;px;vol\n1.5;1.6;M-1;b;40.5;1\n1.5;1.6;M-1;a;45;2\n2;2.25;M-1;b;40.5;3\n"
    report = imported(
        tmp_path, text, time="s", prices="cents", rows="snapshot", market=None, delimiter=";",
        columns="ts=when,recv=got,market=who,side=s,price=px,size=vol")
    assert report.markets == ("M-1",)
    assert shown(report) == [
        (K.GRID, 1_500_000_000, 0, 50, 0, 0), (K.SNAPSHOT, 1_500_000_000, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 1_500_000_000, BUY, 4050, 100, 0),
        (K.SNAPSHOT_LEVEL, 1_500_000_000, SELL, 4500, 200, 0),
        (K.DECREASE, 2_000_000_000, SELL, 4500, 200, 0),
        (K.INCREASE, 2_000_000_000, BUY, 4050, 200, 0)]
    recv = sessions.load(report.session).tape.rows["recv"].tolist()
    assert recv == [1_600_000_000] * 4 + [2_250_000_000] * 2


def test_a_taker_is_on_the_other_side(tmp_path):
    """A buyer takes from the asks; without a word on whose side it is, a trade is refused."""
    text = HEAD + START + "20,trade,buy,0.45,1,\n"
    for side, expected in (("taker", SELL), ("maker", BUY)):
        assert shown(imported(tmp_path, text, trade_side=side))[-1][2] == expected
    with pytest.raises(TapeError, match=r"t.csv row 4: is a trade: .*--trade-side"):
        imported(tmp_path, text)


def test_every_row_can_be_of_one_kind(tmp_path):
    """Snapshots without a column `kind`: rows of one ts are one. Two levels of depth are shown, so
    a third may stand beyond."""
    text = "ts,side,price,size\n" + "".join(
        f"{ts},buy,{price},1\n" for ts, *prices in ((10, "0.40", "0.39"), (20, "0.41", "0.40"))
        for price in prices)
    report = imported(tmp_path, text, rows="snapshot", depth=2)
    assert shown(report)[4:] == [(K.INCREASE, 20, BUY, 4100, 100, 0)]
    assert shown(imported(tmp_path, text, rows="snapshot"))[4:] == [
        (K.DECREASE, 20, BUY, 3900, 100, 0), (K.INCREASE, 20, BUY, 4100, 100, 0)]


def test_markets_of_one_table_become_sessions(tmp_path):
    """Or one session, with --group; receive times are kept."""
    path = tmp_path / "t.csv"
    path.write_text("ts,recv,market,kind,side,price,size\n" + "".join(
        f"{ts},{ts + 5},{market},snapshot,buy,0.4,{ts}\n" for ts in (10, 20) for market in "BA"))
    options = PLAIN | {"market": None}
    reports = import_levels([path], tmp_path / "out", **options)
    assert [report.markets for report in reports] == [("B",), ("A",)]
    [report] = import_levels([path], tmp_path / "out", group=True, **options)
    rows = sessions.load(report.session).tape.rows
    assert (rows["recv"] - rows["ts"] == 5).all()
    assert [market.ticker for market in sessions.load(report.session).markets] == ["A", "B"]


def parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(("prices", "sizes"), [
    (pa.array([0.4, 0.45]), pa.array([10.0, 5.0])),
    (pa.array(["0.40", "0.450"]), pa.array([10, 5])),
    (pa.array([Decimal("0.40"), Decimal("0.45")]), pa.array(["10", "5.00"]).dictionary_encode()),
    (pa.array(["0.4", "0.45"], pa.large_string()), pa.array([10, 5], pa.uint8())),
])
def test_parquet_types_say_the_same(tmp_path, prices, sizes):
    """Floats, decimals, text, integers; a timestamp states its own unit."""
    kinds = pa.array(["snapshot"] * 2).dictionary_encode()
    path = parquet(tmp_path, ts=pa.array([10_000, 10_000], pa.timestamp("us", tz="UTC")),
                   kind=kinds, side=["buy", "sell"], price=prices, size=sizes.cast(pa.string())
                   if pa.types.is_dictionary(sizes.type) else sizes)
    [report] = import_levels([path], tmp_path / "out", prices="dollars", market="A")
    assert [row[0] for row in shown(report)] == [row[0] for row in ROWS]
    assert [row[2:] for row in shown(report)] == [row[2:] for row in ROWS]
    assert shown(report)[0][1] == 10_000_000


@pytest.mark.parametrize(("line", "why", "text"), [
    ("x,delta,buy,0.40,1,", "time", "ts is 'x', expected ns since 1970"),
    (",delta,buy,0.40,1,", "missing_field", "ts is ''"),
    ("20,tick,buy,0.40,1,", "kind", "kind is 'tick', expected one of snapshot, absolute"),
    ("20,delta,up,0.40,1,", "side", "side is 'up', expected one of buy"),
    ("20,delta,,0.40,1,", "side", "side is ''"),
    ("20,delta,buy,1.40,1,", "price", "price is '1.40', expected dollars inside one dollar"),
    ("20,delta,buy,0.40001,1,", "too_fine", "price is '0.40001'"),
    ("20,delta,buy,,1,", "missing_field", "price is ''"),
    ("20,delta,buy,0.40,1.001,", "too_fine", "size is '1.001', expected contracts"),
    ("20,absolute,buy,0.40,-1,", "qty", "size is '-1'"),
    ("20,delta,buy,0.40,nan,", "qty", "size is 'nan'"),
    ("9,delta,buy,0.40,1,", "ts", "ts is 9 ns, expected no less"),
    ("20,delta,buy", "row", "has 3 values, expected 6"),
    ("20,delta,buy,0.4,1,a,b", "row", "has 7 values, expected 6"),
    ("20,snapshot,buy,0.4,x,a", "qty", "size is 'x'"),
])
def test_a_row_that_is_none_is_refused_by_name(tmp_path, line, why, text):
    """With --keep-going it is counted, and the book is not trusted until the next snapshot."""
    lines = HEAD + START + "11,delta,buy,0.40,1,\n" + line + "\n30,delta,buy,0.40,1,\n"
    with pytest.raises(TapeError, match=f"t.csv row 5: {text}"):
        imported(tmp_path, lines)
    report = imported(tmp_path, lines, keep_going=True)
    assert report.reasons == {why: 1}
    assert shown(report)[5:] == [(K.GAP, 11, 0, 0, 0, 0)]
    assert report.left_out == {"in_gap": 1}


@pytest.mark.parametrize("bad", ["20,snapshot,buy,x,1,b", "y,snapshot,buy,0.4,1,b", "20,snapshot"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_snapshot_with_a_bad_row_is_not_taken_in_part(tmp_path, bad, place):
    """Wherever the row stands in it, at the ends too: what is left is no whole book."""
    levels = ["20,snapshot,buy,0.30,1,b", "20,snapshot,sell,0.50,1,b"]
    levels.insert(place, bad)
    lines = ["11,delta,buy,0.40,1,", *levels]
    lines += ["30,snapshot,buy,0.20,1,c", "40,snapshot,buy,0.20,1,d"]
    report = imported(tmp_path, HEAD + START + "\n".join(lines), keep_going=True)
    prices = {price for kind, _, _, price, *_ in shown(report) if kind == K.SNAPSHOT_LEVEL}
    assert prices == {4000, 4500, 2000}
    assert report.gaps == 1


def test_a_price_twice_in_a_snapshot_is_refused(tmp_path):
    """Which size holds is not for us to choose."""
    text = HEAD + START + "10,snapshot,buy,0.4000,3,a\n"
    with pytest.raises(TapeError, match=r"t.csv row 2: price is '0.4000', expected each price"):
        imported(tmp_path, text)


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"columns": "ts=when"}, TapeError, r"t.csv: column when \(for ts\) is missing, expected a t"),
    ({"columns": "recv=got"}, TapeError, r"t.csv: column got \(for recv\) is missing"),
    ({"market": None}, TapeError, "t.csv: column market is missing.*--market; has ts, kind"),
    ({"time": None}, TapeError, "t.csv: column ts is string, expected times with a unit.*--time"),
    ({"columns": "tss=when"}, ValueError, "columns: 'tss=when' is not like ts=time, for one of"),
    ({"columns": "ts"}, ValueError, "columns: 'ts' is not like"),
    ({"depth": -1}, ValueError, "depth: -1"),
    ({"delimiter": ";;"}, ValueError, "delimiter: ';;'"),
])
def test_what_the_table_does_not_say_must_be_said(tmp_path, options, error, text):
    """A column that is missing, a unit that nobody gave, options that cannot be."""
    with pytest.raises(error, match=text):
        imported(tmp_path, HEAD + START, **options)


def test_no_kind_and_no_word_on_it_is_an_error(tmp_path):
    """And so are a heading twice, an empty file, and Parquet columns of other types."""
    with pytest.raises(TapeError, match="column kind is missing, expected text; or say"):
        imported(tmp_path, "ts,side,price,size\n10,buy,0.4,1\n")
    with pytest.raises(TapeError, match="column ts stands there twice"):
        imported(tmp_path, "ts,ts,kind,side,price,size\n")
    with pytest.raises(TapeError, match="t.csv: not a CSV table"):
        imported(tmp_path, "")
    with pytest.raises(TapeError, match=r"t.csv row 3: is not UTF-8 text"):
        imported(tmp_path, HEAD + "10,delta,\n20,\udc84,")
    with pytest.raises(TapeError, match="t.csv.*holds no market"):
        imported(tmp_path, HEAD)
    path = parquet(tmp_path, ts=[10], kind=["delta"], side=["buy"], price=[[0.4]], size=[1])
    with pytest.raises(TapeError, match="t.parquet: column price is list<.*, expected dollars"):
        import_levels([path], tmp_path / "out", **PLAIN)
    path.write_text("no table")
    with pytest.raises(TapeError, match="t.parquet: not a Parquet file"):
        import_levels([path], tmp_path / "out", **PLAIN)


def test_sizes_may_be_rounded_down_where_that_was_asked_for(tmp_path):
    """And are counted, row by row."""
    text = HEAD + START + "20,absolute,buy,0.40,3.009,\n30,absolute,buy,0.41,3.009,\n"
    report = imported(tmp_path, text, floor_sizes=True)
    assert [row[4] for row in shown(report)[4:]] == [700, 300]
    assert report.counts["floored"] == 2


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_session_comes_back_from_a_table(tmp_path, monkeypatch, suffix):
    """A generated session, written as a table of absolute sizes and trades in plain Python: its
    book comes back at every ts, however small the blocks are that are read, and its joined
    trades are joined."""
    session = synthetic.session(seed=3, events=2_000, minutes=1)
    lines, levels = [], {}
    rows = session.tape.rows
    kept = np.isin(rows["kind"], (K.SNAPSHOT_LEVEL, K.INCREASE, K.DECREASE, K.TRADE))
    for ts, _, qty, _, price, _, kind, side, _ in rows[kept].tolist():
        name, dollars = ("buy", "sell")[side], f"{Decimal(price) / 10_000}"
        if kind == K.TRADE:
            lines.append((ts, "trade", name, dollars, f"{Decimal(qty) / 100}"))
            continue
        sign = -1 if kind == K.DECREASE else 1
        levels[side, price] = levels.get((side, price), 0) + sign * qty
        word = "snapshot" if kind == K.SNAPSHOT_LEVEL else "absolute"
        lines.append((ts, word, name, dollars, f"{Decimal(levels[side, price]) / 100}"))
    names = ("ts", "kind", "side", "price", "size")
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        monkeypatch.setattr(reading, "CSV_BYTES", 700)
        path.write_text("\n".join(",".join(map(str, line)) for line in [names, *lines]))
    else:
        monkeypatch.setattr(reading, "BATCH_ROWS", 37)
        pq.write_table(pa.table(dict(zip(names, zip(*lines, strict=True), strict=True))), path)
    [report] = import_levels([path], tmp_path / "out", trade_side="maker", **PLAIN)
    again = sessions.load(report.session)
    for ts in np.unique(rows["ts"])[::50].tolist():
        if ts < rows["ts"][rows["kind"] == K.STATUS].min(initial=2**62):
            assert sessions.book_at(again, 0, ts) == sessions.book_at(session, 0, ts)
    of_trades = rows[rows["kind"] == K.TRADE]
    joined = int(np.count_nonzero(of_trades["flags"] & TapeFlag.JOINED))
    assert report.joined == joined > 20
    assert report.unjoined == len(of_trades) - joined


@settings(max_examples=250, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_tables_are_refused_or_imported(tmp_path, data):
    """Values, rows and bytes changed at random, in CSV or Parquet: a named error or a session."""
    rows = [["10", "snapshot", "buy", "0.40", "10", "a"],
            ["10", "snapshot", "sell", "0.45", "5", "a"], ["20", "delta", "buy", "0.40", "-3", ""],
            ["30", "trade", "buy", "0.40", "1", ""], ["30", "absolute", "buy", "0.40", "6", ""],
            ["40", "snapshot", "buy", "0.39", "1", "b"], ["50", "gap", "", "", "", ""]]
    values = st.sampled_from(["", "x", "-1", "1e9", "0.405", "9" * 30, "NaN", "10", "b", "trade",
                              "snapshot", "\u00e9", '"', "a,b", "\n", "0"])
    for _ in range(data.draw(st.integers(0, 4))):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.integers(0, 5))] = data.draw(values)
    if data.draw(st.booleans()):
        path = tmp_path / "t.csv"
        text = bytearray((HEAD + "\n".join(",".join(row) for row in rows)).encode())
        for _ in range(data.draw(st.integers(0, 2))):
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(text)
    else:
        path = parquet(tmp_path, **dict(zip(HEAD.strip().split(","), zip(*rows, strict=True),
                                            strict=True)))
        text = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(0, 1))):
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(text)
    refused_or_imported(import_levels, path, keep_going=data.draw(st.booleans()),
                        trade_side="taker", **PLAIN)
