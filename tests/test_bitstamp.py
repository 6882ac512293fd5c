"""Order-by-order events with trades: small recordings by hand, mutated ones, and the real one."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutated import NO_NUMBERS, mutated

from foldbook.adapters import cli, sessions
from foldbook.adapters.bitstamp import import_recording
from foldbook.engine import NO_FEES, Backtest, Queue, Side, contracts, dollars
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TapeFlag, TapeKind

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
RECORDED = DATA / "bitstamp_l3"
K = TapeKind
MS = 1_000_000
T0 = 1_777_000_000_000
ORDERS = "id,timestamp,exchange_timestamp,price,volume,action,direction"
TRADES = ("trade_id,timestamp,exchange_timestamp,price,amount,buy_order_id,sell_order_id,side")
BOOK = [  # 1, 2 and 3 stand in line at 100
    (1, 50, 0, "100.0", "5", "created", "bid"),
    (2, 50, 0, "100.0", "2", "created", "bid"),
    (3, 50, 0, "100.0", "3", "created", "bid"),
    (4, 50, 0, "101.0", "4", "created", "ask"),
    (5, 50, 0, "9999999.0", "1", "created", "ask"),
]
UNIT = 10**8
"""Units of 0.01 contract in one, at the contract of 0.000001."""


def text(header, lines):
    """Return a file: (id, received, exchanged, ...) with times in ms after T0."""
    rows = [",".join(str(T0 + value) if place in (1, 2) else str(value)
                     for place, value in enumerate(line)) for line in lines]
    return "\n".join([header, *rows]) + "\n"


def write(folder: Path, orders, trades=()):
    """Write a recording's two files, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orders.csv").write_text(orders if isinstance(orders, str) else text(ORDERS, orders))
    (folder / "trades.csv").write_text(trades if isinstance(trades, str) else text(TRADES, trades))
    return folder


def imported(tmp_path, orders, trades=(), **options):
    """Return (report, session) of a recording."""
    [report] = import_recording([write(tmp_path / "BTCUSD", orders, trades)], tmp_path / "out",
                                **options)
    return report, sessions.load(report.session)


def shown(rows):
    """Return (kind, ms, ms of the receipt, side, price, qty, ahead, flags) of the rows."""
    return [(K(row["kind"]), int(row["ts"]) // MS - T0, int(row["recv"]) // MS - T0,
             int(row["side"]), int(row["price"]), int(row["qty"]) / UNIT, int(row["ahead"]) / UNIT,
             int(row["flags"])) for row in rows]


BID, ASK = 5_000, 5_001
"""100 and 101: the middle is 100.5, rounded down to the tick of 1."""


def test_the_book_at_the_start(tmp_path):
    """What the first millisecond creates is a snapshot; the window is laid around its middle."""
    report, session = imported(tmp_path, BOOK)
    assert session.markets[0].ticker == "BTCUSD"
    assert session.facts["window"] == {"origin": "-4900", "tick": "1", "contract": "0.000001"}
    assert shown(session.tape.rows)[2:] == [
        (K.SNAPSHOT, 0, 50, 0, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 0, 50, 0, BID, 10, 0, 0),
        (K.SNAPSHOT_LEVEL, 0, 50, 1, ASK, 4, 0, 0),
    ]
    assert (report.read, report.left_out) == (5, {"outside_window": 1})
    assert session.facts["raw"]["opening"] == 5


def test_places_are_exact(tmp_path):
    """An order in the middle leaves from behind the 5 of the first; then 5 stand before the third,
    and before the fourth 5 + 3. No place is a guess."""
    report, session = imported(tmp_path, [
        *BOOK,
        (2, 60, 10, "100.0", "2", "deleted", "bid"),
        (6, 70, 20, "100.0", "1", "created", "bid"),
        (3, 80, 30, "98.0", "3", "deleted", "bid"),  # the price is that of what replaced it
        (6, 90, 40, "100.0", "0.4", "changed", "bid"),
    ])
    assert shown(session.tape.rows)[5:] == [
        (K.DECREASE, 10, 60, 0, BID, 2, 5, 0),
        (K.INCREASE, 20, 70, 0, BID, 1, 0, 0),
        (K.DECREASE, 30, 80, 0, BID, 3, 5, 0),
        (K.DECREASE, 40, 90, 0, BID, 0.6, 5, 0),
    ]
    assert (report.identified, report.ambiguous, report.missing) == (4 - 1, 0, 0)


def test_an_order_that_takes_rests_with_what_is_left(tmp_path):
    """A sell of 6 at 100 takes 5 of order 1 and 0.5 of order 2; the rest of 0.5 is canceled.
    Another of 5 takes 1.5 and 3, and rests with 0.5 at 100. Trades stand before their decreases."""
    report, session = imported(
        tmp_path,
        [
            *BOOK,
            (7, 60, 10, "100.0", "6", "created", "ask"),
            (7, 60, 10, "100.0", "1", "changed", "ask"),
            (1, 60, 10, "100.0", "0.0", "deleted", "bid"),
            (7, 61, 10, "100.0", "0.5", "changed", "ask"),
            (2, 61, 10, "100.0", "1.5", "changed", "bid"),
            (7, 61, 10, "100.0", "0.5", "deleted", "ask"),
            (8, 70, 20, "100.0", "5", "created", "ask"),
            (2, 70, 20, "100.0", "0.0", "deleted", "bid"),
            (3, 70, 20, "100.0", "0.0", "deleted", "bid"),
            (8, 71, 20, "100.0", "0.5", "changed", "ask"),
        ],
        [
            (1, 65, 10, "100.0", "5", 1, 7, "sell"),
            (2, 66, 10, "100.0", "0.5", 2, 7, "sell"),
            (3, 75, 20, "100.0", "1.5", 2, 8, "sell"),
            (4, 75, 20, "100.0", "3", 3, 8, "sell"),
        ],
    )
    joined = int(TapeFlag.JOINED)
    assert shown(session.tape.rows)[5:] == [
        (K.TRADE, 10, 65, 0, BID, 5, 0, joined), (K.DECREASE, 10, 60, 0, BID, 5, 0, 0),
        (K.TRADE, 10, 66, 0, BID, 0.5, 0, joined), (K.DECREASE, 10, 61, 0, BID, 0.5, 0, 0),
        (K.TRADE, 20, 75, 0, BID, 1.5, 0, joined), (K.DECREASE, 20, 70, 0, BID, 1.5, 0, 0),
        (K.TRADE, 20, 75, 0, BID, 3, 0, joined), (K.DECREASE, 20, 70, 0, BID, 3, 0, 0),
        (K.INCREASE, 20, 71, 1, BID, 0.5, 0, 0),
    ]  # fmt: skip
    assert (report.joined, report.unjoined, report.gaps) == (4, 0, 0)
    assert session.facts["markets"]["BTCUSD"]["out_of_turn"] == 0


def test_an_order_that_rests_across_another_proves_that_it_had_gone(tmp_path):
    """A bid at 101 that nobody filled: the ask there was no more. A gap, and the book without it;
    what stands elsewhere keeps its order."""
    report, session = imported(tmp_path, [
        *BOOK,
        (9, 60, 10, "102.0", "1", "created", "ask"),
        (6, 70, 20, "101.0", "1", "created", "bid"),
        (4, 80, 30, "101.0", "4", "deleted", "ask"),
        (3, 90, 40, "100.0", "3", "deleted", "bid"),
    ])
    assert shown(session.tape.rows)[6:] == [
        (K.INCREASE, 20, 70, 0, ASK, 1, 0, 0),
        (K.GAP, 20, 70, 0, 0, 0, 0, 0),
        (K.SNAPSHOT, 20, 70, 0, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 20, 70, 0, ASK, 1, 0, 0),
        (K.SNAPSHOT_LEVEL, 20, 70, 0, BID, 10, 0, 0),
        (K.SNAPSHOT_LEVEL, 20, 70, 1, ASK + 1, 1, 0, 0),
        (K.RECOVERED, 20, 70, 0, 0, 0, 0, 0),
        (K.DECREASE, 40, 90, 0, BID, 3, 7, 0),
    ]
    assert session.facts["markets"]["BTCUSD"]["ghosts"] == 1
    assert (report.gaps, report.left_out) == (1, {"outside_window": 1, "unknown_order": 1})


def test_a_market_that_leaves_the_window_is_refused(tmp_path):
    """Orders far from the touch are left out and counted; the best price must lie inside."""
    gone = [(order, 60, 10, "100.0", volume, "deleted", "bid")
            for order, volume in ((1, "5"), (2, "2"), (3, "3"))]
    far = [(6, 55, 5, "-6000.0", "1", "created", "bid")]
    back = [(7, 70, 20, "99.0", "1", "created", "bid")]
    said = (r"orders.csv row 10: best bid is 'outside', expected one inside the window "
            r"-4900 \.\. 5100; move or widen it with --origin and --tick")
    with pytest.raises(TapeError, match=said):
        imported(tmp_path / "first", [*BOOK, *far, *gone])
    report, session = imported(tmp_path / "second", [*BOOK, *far, *gone, *back], keep_going=True)
    kinds = [K(kind) for kind in session.tape.rows["kind"][5:]]
    assert kinds == [K.DECREASE] * 3 + [K.GAP, K.SNAPSHOT, K.SNAPSHOT_LEVEL, K.SNAPSHOT_LEVEL,
                                        K.RECOVERED]
    assert report.reasons == {"outside_window": 1}
    _, wide = imported(tmp_path / "third", [*BOOK, *far, *gone], origin="-9000", tick="1",
                       contract="0.00001")
    assert wide.facts["window"] == {"origin": "-9000", "tick": "1", "contract": "0.00001"}


@pytest.mark.parametrize(
    ("line", "why", "said"),
    [
        ((1, 60, 10, "100.0", "6", "changed", "bid"), "volume", "no more than the 5.00000000 that"),
        ((1, 60, 10, "100.0", "4", "deleted", "bid"), "volume", "0 or the 5.00000000 that"),
        ((1, 60, 10, "100.0", "5", "created", "bid"), "id", "id is 1, expected one that does not"),
        ((1, 60, 10, "100.0", "5", "deleted", "ask"), "direction", "bid, that of order 1"),
        ((1, 60, -1, "100.0", "5", "deleted", "bid"), "ts", "no less than 1777000000000, that of"),
        ((1, 60, 10, "100.0", "5", "moved", "bid"), "unknown_type", "expected created or"),
        ((6, 60, 10, "100.5", "1", "created", "bid"), "off_grid", "state the grid with --tick"),
        ((6, 60, 10, "100.0", "1e-9", "created", "bid"), "too_fine", "state a finer --contract"),
        ((6, 60, 10, "100.0", "1", "created"), "fields", "row is 6, expected 7 fields"),
        ((6, 60, 10**16, "100.0", "1", "created", "bid"), "wrong_type", "milliseconds since 1970"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_by_name(tmp_path, line, why, said):
    """The first ends the import with file, row, field and value, and nothing is written; with
    keep_going it is a gap, and the book goes on from the orders that are known."""
    after = (3, 90, 40, "100.0", "3", "deleted", "bid")
    with pytest.raises(TapeError, match=r"BTCUSD/orders\.csv row 7: ") as caught:
        imported(tmp_path / "first", [*BOOK, line, after])
    assert said in str(caught.value)
    assert list((tmp_path / "first/out").iterdir()) == []
    report, session = imported(tmp_path / "second", [*BOOK, line, after], keep_going=True)
    assert report.reasons == {why: 1}
    kinds = session.tape.rows["kind"]
    assert report.gaps == (kinds == K.GAP).sum() == (kinds == K.RECOVERED).sum() == 1
    assert kinds[5:].tolist().count(K.DECREASE) == 1


@pytest.mark.parametrize(
    ("trade", "why", "said"),
    [
        ((1, 60, 10, "101.0", "5", 1, 7, "sell"), "price", "100, that of order 1"),
        ((1, 60, 10, "100.5", "5", 1, 7, "sell"), "off_grid", "price is '100.5'"),
        ((1, 60, 10, "100.0", "", 1, 7, "sell"), "missing_field", "amount is ''"),
        ((1, 60, 10, "100.0", "5", 1, 7, "swap"), "unknown_type", "side is 'swap'"),
    ],
)
def test_a_bad_trade_is_no_gap(tmp_path, trade, why, said):
    """It is refused by name; what it did to the book is told by the orders."""
    lines = [*BOOK, (1, 60, 10, "100.0", "0.0", "deleted", "bid")]
    with pytest.raises(TapeError, match=r"trades\.csv row 2: ") as caught:
        imported(tmp_path / "first", lines, [trade])
    assert said in str(caught.value)
    report, _ = imported(tmp_path / "second", lines, [trade], keep_going=True)
    assert (report.reasons, report.gaps, report.joined, report.identified) == ({why: 1}, 0, 0, 1)


def test_a_trade_that_no_order_felt_is_unjoined(tmp_path):
    """Its maker is not there, its size another, its time without a row: it fills no queue."""
    trades = [(1, 60, 10, "100.0", "5", 77, 7, "sell"), (2, 60, 15, "100.0", "1", 1, 7, "sell"),
              (3, 60, 20, "100.0", "1", 1, 7, "sell"), (4, 70, 30, "100.0", "1", 1, 7, "sell")]
    report, session = imported(tmp_path, [
        *BOOK,
        (3, 60, 10, "100.0", "3", "deleted", "bid"), (2, 60, 20, "100.0", "2", "deleted", "bid"),
    ], trades)
    assert (report.joined, report.unjoined) == (0, 4)
    prints = session.tape.rows[session.tape.rows["kind"] == K.TRADE]
    assert (prints["flags"] == TapeFlag.UNJOINED).all()
    assert [int(ts) // MS - T0 for ts in prints["ts"]] == [10, 15, 20, 30]


def test_files_that_are_missing_are_named(tmp_path):
    """Both files are needed; a column that was renamed is no default."""
    folder = write(tmp_path / "X", BOOK)
    (tmp_path / "out").mkdir()
    (folder / "trades.csv").unlink()
    with pytest.raises(TapeError, match="holds neither of trades.csv and trades.csv.gz, expected"):
        import_recording([folder], tmp_path / "out")
    with pytest.raises(TapeError, match="holds no orders.csv"):
        import_recording([tmp_path / "out"], tmp_path / "out")
    write(folder, text(ORDERS.replace("volume", "amount"), BOOK))
    with pytest.raises(TapeError, match=r"orders.csv row 1: column volume is missing or"):
        import_recording([folder], tmp_path / "out")
    write(folder, [(1, 50, 0, "100.0", "5", "created", "bid")])
    with pytest.raises(TapeError, match="has no bid below an ask: state the window with --origin"):
        import_recording([folder], tmp_path / "out")
    with pytest.raises(ValueError, match="origin: needs --tick"):
        import_recording([folder], tmp_path / "out", origin="0")


LIVELY = [
    *BOOK,
    (2, 60, 10, "100.0", "2", "deleted", "bid"),
    (7, 60, 20, "100.0", "6", "created", "ask"),
    (7, 60, 20, "100.0", "1", "changed", "ask"),
    (1, 60, 20, "100.0", "0.0", "deleted", "bid"),
    (7, 61, 20, "100.0", "1", "deleted", "ask"),
    (6, 70, 30, "101.0", "1", "created", "bid"),
    (8, 80, 40, "99.0", "0.5", "created", "bid"),
]


@settings(max_examples=120, deadline=5_000, derandomize=True)
@given(mutated(text(ORDERS, LIVELY)),
       mutated(text(TRADES, [(1, 65, 20, "100.0", "5", 1, 7, "sell")])), st.booleans())
def test_a_mutated_recording_is_read_or_refused(orders, trades, both):
    """Whatever is wrong: one line that names the place, or a valid tape; never more."""
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name) / "X", orders, trades if both else ())
        for keep_going in (False, True):
            said = ""
            try:
                [report] = import_recording([folder], Path(name) / "out", keep_going=keep_going,
                                            dry_run=True)
            except TapeError as error:
                said = str(error)
            else:
                assert keep_going or not report.rejected
                assert report.read <= len(orders.splitlines()) + len(trades.splitlines())
            assert not said or (name in said and "\n" not in said)


@pytest.mark.parametrize("column", range(7))
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_no_field_has_a_default(tmp_path, column, value):
    """A field that is no number, action or side is refused, whichever it is: none is filled in."""
    line = ["6", str(T0 + 60), str(T0 + 10), "99.0", "1", "created", "bid"]
    line[column] = value
    with pytest.raises(TapeError, match="row 7: "):
        imported(tmp_path, text(ORDERS, BOOK) + ",".join(line) + "\n")


needs_recording = pytest.mark.skipif(
    not RECORDED.is_dir(), reason=f"no order-by-order recording in {DATA}; set FOLDBOOK_DATA"
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The real recording: (report, session, rows of the orders, rows of the trades)."""
    [report] = import_recording([RECORDED], tmp_path_factory.mktemp("bitstamp"), ticker="BTCUSD")
    with gzip.open(RECORDED / "orders.csv.gz", "rt") as orders, (
            RECORDED / "trades.csv").open() as trades:
        return (report, sessions.load(report.session), list(csv.DictReader(orders)),
                list(csv.DictReader(trades)))


@needs_recording
def test_the_recording_counts(recorded):
    """Every row is read; every trade joins its maker by id; every place is known by id."""
    report, session, orders, trades = recorded
    assert report.read == len(orders) + len(trades) == 185_388 + 144
    assert (report.joined, report.unjoined, report.rejected) == (144, 0, 0)
    rows = session.tape.rows
    decreases = rows[rows["kind"] == K.DECREASE]
    assert report.identified == len(decreases) - 144
    assert (report.ambiguous, report.missing) == (0, 0)
    assert not (decreases["flags"] & TapeFlag.GUESSED).any()
    assert (decreases["ahead"] >= 0).all()
    assert session.facts["raw"]["opening"] == 6_512
    known = {line["id"] for line in orders if line["action"] == "created"}
    strangers = [line for line in orders if line["id"] not in known]
    assert report.left_out["unknown_order"] >= len(strangers) == 12
    assert (report.gaps, session.facts["markets"]["BTCUSD"]["ghosts"]) == (2, 2)
    # The one order that was passed over is one of the two that had gone: it stood since the start.
    assert session.facts["markets"]["BTCUSD"]["out_of_turn"] == 1


@needs_recording
def test_books_and_places_are_those_of_the_ids(recorded):
    """Up to the first gap: the book at each thousandth row, and each place, from the ids alone."""
    _, session, orders, trades = recorded
    rows = session.tape.rows
    gap = int(rows["ts"][rows["kind"] == K.GAP][0]) // MS
    ends = {(trade[f"{trade['side']}_order_id"], trade["exchange_timestamp"]) for trade in trades}
    lines = [line for line in orders if int(line["exchange_timestamp"]) < gap]
    last = {line["id"]: number for number, line in enumerate(lines)}
    limits: dict[str, str] = {}
    levels: dict[tuple[str, str], dict[str, int]] = {}
    places = []
    for number, line in enumerate(lines):
        name = line["id"]
        units = 0 if line["action"] == "deleted" else int(Decimal(line["volume"]) * 10**8)
        if line["action"] == "created":
            limits[name] = line["price"]
        takes = (name, line["exchange_timestamp"]) in ends
        if name not in limits or (takes and number != last[name]):
            continue
        level = levels.setdefault((line["direction"], limits[name]), {})
        if units < level.get(name, 0) and 73_318 < Decimal(limits[name]) < 83_318:
            ahead = sum(list(level.values())[: list(level).index(name)])
            places.append((int(line["exchange_timestamp"]), ahead))
        if units:
            level[name] = units
        else:
            level.pop(name, None)
        if number % 1_000 == 0 and number and (
                lines[number + 1]["exchange_timestamp"] != line["exchange_timestamp"]):
            book = sessions.book_at(session, 0, int(line["exchange_timestamp"]) * MS)
            for key, side in (("yes_bids", "bid"), ("yes_asks", "ask")):
                expected = {
                    f"{(Decimal(price) - 73_318) / 10_000:.4f}": sum(orders_there.values())
                    for (direction, price), orders_there in levels.items()
                    if direction == side and orders_there and 73_318 < Decimal(price) < 83_318
                }
                assert {price: int(Decimal(qty) * 100) for price, qty in book[key]} == expected
    found = rows[(rows["kind"] == K.DECREASE) & (rows["ts"] < gap * MS)]
    stated = list(zip((found["ts"] // MS).tolist(), found["ahead"].tolist(), strict=True))
    traded = {index for index in range(1, len(rows)) if rows["kind"][index - 1] == K.TRADE}
    assert len(stated) == len(places) > 10_000
    by_trade = np.isin(np.flatnonzero((rows["kind"] == K.DECREASE) & (rows["ts"] < gap * MS)),
                       list(traded))
    assert all(mine == theirs for mine, theirs, trade in zip(stated, places, by_trade, strict=True)
               if not trade)


def join_both_sides(sim):
    """Rest one order at each best price, and follow it."""
    book = sim.book(0)
    best = {Side.BUY: book.best_bid, Side.SELL: book.best_ask}
    for order in sim.orders.open(0):
        if order.price != best[order.side]:
            sim.cancel(order.id)
        best.pop(order.side)
    for side, price in best.items():
        if price:
            sim.submit(0, side, price=price, qty=contracts(1_000))


@needs_recording
def test_a_backtest_runs_on_the_recording(recorded):
    """With the queue rebuilt it fills, and no part of the way there was a guess."""
    result = Backtest(recorded[1], join_both_sides, cash=dollars(100_000), every="1s",
                      queue=Queue.rebuilt, fees=NO_FEES).run()
    assert len(result.fills) > 0
    assert result.metrics()["fees"] == 0
    assert (result.journal.rows["guessed"] == 0).all()
    assert result.replay().digest == result.digest


@needs_recording
def test_the_command_line_imports_it(tmp_path, capsys):
    """`import` under a name, then `info`; an option that is no number is named."""
    folder = tmp_path / "short"
    folder.mkdir()
    with gzip.open(RECORDED / "orders.csv.gz", "rt") as whole:
        (folder / "orders.csv").write_text("".join(itertools.islice(whole, 8_000)))
    (folder / "trades.csv").write_text(TRADES + "\n")
    arguments = ["import", "bitstamp", str(folder), "--to", str(tmp_path), "--ticker", "BTCUSD"]
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert not (tmp_path / "BTCUSD").exists()
    assert cli.main(arguments) == 0
    assert cli.main(["info", str(tmp_path / "BTCUSD")]) == 0
    assert cli.main([*arguments, "--origin", "70000"]) == 2
    assert "--origin: needs --tick" in capsys.readouterr().err
