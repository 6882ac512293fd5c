"""LOBSTER days, message by message: small ones checked by hand, mutated ones, the real sample."""

from __future__ import annotations

import csv
import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutated import NO_NUMBERS, mutated

from foldbook.adapters import cli, sessions
from foldbook.adapters.lobster import import_recording
from foldbook.engine import NO_FEES, Backtest, Queue, Side, contracts, dollars
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import MarketStatus, TapeFlag, TapeKind

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
SAMPLE = DATA / "lobster_aapl"
K = TapeKind
NAME = "TEST_2012-06-21_34200000_57600000_{}_2.csv"
MIDNIGHT = 1_340_251_200_000_000_000
"""2012-06-21T04:00:00Z: midnight in New York, in summer."""
T0 = MIDNIGHT + 34_200 * 10**9

# Two levels: ask price, size, bid price, size, and the next ones. Prices in $0.0001.
FULL = "1001000,50,1000000,300,1002000,70,999900,40"
DAY = [
    ("34200.0,1,11,100,1000000,1", FULL),  # the opening book: 200 nobody saw arrive, and order 11
    ("34200.1,1,12,30,1000000,1", FULL.replace("300", "330")),
    ("34200.2,3,11,100,1000000,1", FULL.replace("300", "230")),
    ("34200.3,4,5,20,1000000,1", FULL.replace("300", "210")),
    ("34200.4,3,6,50,1000000,1", FULL.replace("300", "160")),
    ("34200.500000001,5,0,7,1000500,-1", FULL.replace("300", "160")),
    ("34200.6,2,12,10,1000000,1", FULL.replace("300", "150")),
    ("34200.7,7,0,0,-1,-1", FULL.replace("300", "150")),
    ("34200.7,7,0,0,0,-1", FULL.replace("300", "150")),
    ("34200.8,7,0,0,1,-1", FULL.replace("300", "150")),
    ("34200.9,6,-1,500,1000500,1", FULL.replace("300", "150")),
]


def read_or_refused(sources, to, **options):
    """Return the report of a dry run (which checks the tape), or None if it was refused in one line
    that names a file."""
    try:
        [report] = import_recording(sources, to, dry_run=True, **options)
    except TapeError as error:
        text = str(error)
    else:
        return report
    assert "\n" not in text
    assert "_2.csv" in text
    return None


def write(folder: Path, day: list[tuple[str, str]], book: str | None = None) -> Path:
    """Write a day's two files, and return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    messages = folder / NAME.format("message")
    messages.write_text("".join(f"{message}\n" for message, _ in day))
    text = "".join(f"{shown}\n" for _, shown in day) if book is None else book
    (folder / NAME.format("orderbook")).write_text(text)
    return messages


def imported(tmp_path, day, **options):
    """Return (report, session) of a day."""
    [report] = import_recording([write(tmp_path / "day", day)], tmp_path / "out", **options)
    return report, sessions.load(report.session)


def shown(rows):
    """Return (kind, tenths of a second, side, price, qty, ahead, flags) of the rows."""
    return [(K(row["kind"]), (int(row["ts"]) - T0) / 10**8, int(row["side"]), int(row["price"]),
             int(row["qty"]) / 100, int(row["ahead"]) / 100, int(row["flags"])) for row in rows]


def test_a_day_by_hand(tmp_path):
    """Each kind of message is what a reader finds by hand; prices are ticks above 50.05."""
    report, session = imported(tmp_path, DAY)
    rows = shown(session.tape.rows)
    assert session.facts["window"] == {"origin": "50.05", "tick": "0.01", "contract": "1"}
    assert session.facts["receive_times"] is False
    assert (session.tape.rows["recv"] == session.tape.rows["ts"]).all()
    bid, guessed = 4_995, int(TapeFlag.GUESSED)
    assert rows[2:7] == [
        (K.SNAPSHOT, 0, 0, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 0, 0, bid, 300, 0, 0), (K.SNAPSHOT_LEVEL, 0, 0, 4_994, 40, 0, 0),
        (K.SNAPSHOT_LEVEL, 0, 1, 5_005, 50, 0, 0), (K.SNAPSHOT_LEVEL, 0, 1, 5_015, 70, 0, 0),
    ]  # fmt: skip
    assert [row[0] for row in rows[:2]] == [K.GRID, K.FEE]
    assert rows[7:] == [
        (K.INCREASE, 1, 0, bid, 30, 0, 0),
        (K.DECREASE, 2, 0, bid, 100, 200, 0),  # behind the 200 of before, and no guess
        (K.TRADE, 3, 0, bid, 20, 0, TapeFlag.JOINED), (K.DECREASE, 3, 0, bid, 20, 0, 0),
        (K.DECREASE, 4, 0, bid, 50, 130, guessed),  # at the back of the 180 that are left
        (K.TRADE, 5.00000001, 1, 5_000, 7, 0, TapeFlag.UNJOINED),
        (K.DECREASE, 6, 0, bid, 10, 130, 0),
        (K.STATUS, 7, 0, 0, MarketStatus.PAUSED / 100, 0, 0),
        (K.STATUS, 8, 0, 0, MarketStatus.OPEN / 100, 0, 0),
        (K.TRADE, 9, 0, 5_000, 500, 0, TapeFlag.UNJOINED | TapeFlag.BLOCK),
    ]  # fmt: skip
    assert (report.read, report.joined, report.unjoined, report.gaps) == (11, 1, 2, 0)
    assert report.left_out == {"in_snapshot": 1, "quoting_resumes": 1}
    assert report.counts["checked"] == 5


def test_a_level_that_leaves_the_levels_shown_stays_until_it_is_shown_again(tmp_path):
    """Pushed out by a better bid it keeps 40; when that goes it shows 25: 15 have left, unseen."""
    day = [
        *DAY[:1],
        ("34201.0,1,20,10,1000100,1", "1001000,50,1000100,10,1002000,70,1000000,300"),
        ("34202.0,3,20,10,1000100,1", FULL.replace("40", "25")),
    ]
    report, session = imported(tmp_path, day)
    rows = shown(session.tape.rows)[7:]
    assert rows == [
        (K.INCREASE, 10, 0, 5_005 - 9, 10, 0, 0),
        (K.DECREASE, 20, 0, 5_005 - 9, 10, 0, 0),
        (K.DECREASE, 20, 0, 4_994, 15, 25, TapeFlag.GUESSED),
    ]
    assert report.counts["revealed"] == 1


def test_an_order_that_shrank_while_it_was_not_shown_is_no_fault(tmp_path):
    """Order 30 had 15, left the view, came back with 9; its deletion of 9 is told by the level."""
    day = [
        *DAY[:1],
        ("34200.5,1,30,15,999900,1", FULL.replace("40", "55")),
        ("34201.0,1,20,10,1000100,1", "1001000,50,1000100,10,1002000,70,1000000,300"),
        ("34202.0,3,20,10,1000100,1", FULL.replace("40", "49")),
        ("34203.0,3,30,9,999900,1", FULL),
    ]
    report, session = imported(tmp_path, day)
    assert report.rejected == 0
    assert session.tape.rows["qty"][-1] == 900


@pytest.mark.parametrize(
    ("row", "message", "book", "why", "said"),
    [
        (2, "34200.1,1,12,30,1000000,1", FULL, "book",
         "bid 100.00 is '330', expected 300, that of the book file"),
        (2, "34200.1,3,12,300,1000000,1", FULL.replace("300", "0"), "id",
         "order id is 12, expected an order that rests there"),
        (3, "34200.2,3,11,90,1000000,1", FULL.replace("300", "240"), "size",
         "expected the 100 that order 11 has left"),
        (2, "34200.1,1,11,30,1000000,1", FULL.replace("300", "330"), "id", "order id is 11"),
        (2, "34199.9,1,12,30,1000000,1", FULL.replace("300", "330"), "ts", "time is '34199.9'"),
        (2, "34200.1,8,12,30,1000000,1", FULL, "unknown_type", "type is '8', expected 1 to 7"),
        (2, "34200.1,1,12,30,1000000", FULL, "fields", "row is 5, expected 6 fields"),
        (2, "34200.1,1,12,30,1000000,0", FULL, "direction", "direction is '0', expected 1 or -1"),
        (2, "34200.1,1,12,0,1000000,1", FULL, "size", "size is '0'"),
        (2, "34200.1,5,0,7,1000550,-1", FULL, "off_grid", "whole ticks of 0.01"),
        (2, "34200.1,5,0,7,9000000,-1", FULL, "outside_window", "the window 50.05 .. 150.05"),
        (2, "34200.1,7,0,0,2,-1", FULL, "price", "expected -1, 0 or 1"),
        (2, "34200.1,1,12,30,1000000,1", FULL.replace("1001000", "1000000"), "book", "the bid"),
        (2, "34200.1,1,12,30,1000000,1", FULL[:-3], "fields", "expected 8 fields"),
        (2, "34200.1,1,12,30,1000000,1", "9000000,5,8999900,5,9000100,5,8999800,5",
         "outside_window", "bid price is '899.99'"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_by_name(tmp_path, row, message, book, why, said):
    """The first ends the import with file, row, field and value, and nothing is written; with
    keep_going it is a gap, and the book goes on from the levels shown."""
    day = [*DAY]
    day[row - 1] = (message, book)
    with pytest.raises(TapeError, match=rf"_2\.csv row {row}: ") as caught:
        imported(tmp_path / "first", day)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "first/out").iterdir()) == []
    report, session = imported(tmp_path / "second", day, keep_going=True)
    assert report.reasons.get(why), report.reasons
    rows = session.tape.rows
    assert report.gaps == np.count_nonzero(rows["kind"] == K.GAP)
    assert report.gaps > 0
    assert (rows["kind"] == K.RECOVERED).sum() == report.gaps


def test_a_refused_trade_of_a_hidden_order_is_no_gap(tmp_path):
    """It is not about the book."""
    day = [DAY[0], ("34200.1,5,0,7,1000550,-1", FULL)]
    report, _ = imported(tmp_path, day, keep_going=True)
    assert (report.reasons, report.gaps, report.unjoined) == ({"off_grid": 1}, 0, 0)


def test_files_that_do_not_fit_are_named(tmp_path):
    """A name that is none, a book that is missing, a file that ends early, an option that is no
    number."""
    stray = tmp_path / "AAPL.csv"
    stray.write_text("")
    with pytest.raises(TapeError, match=r"AAPL.csv: its name is not like TICKER_YYYY-MM-DD_START"):
        import_recording([stray], tmp_path / "out")
    messages = write(tmp_path / "day", DAY)
    short = "".join(f"{book}\n" for _, book in DAY[:-1])
    write(tmp_path / "day", DAY, short)
    with pytest.raises(TapeError, match=r"orderbook_2.csv row 11: row is 'missing', expected as"):
        import_recording([messages], tmp_path / "out")
    (tmp_path / "day" / NAME.format("orderbook")).unlink()
    with pytest.raises(TapeError, match=r"TEST_2012-06-21_\S+_orderbook_2.csv does not lie beside"):
        import_recording([messages], tmp_path / "out")
    with pytest.raises(TapeError, match="holds no file like"):
        import_recording([tmp_path / "out"], tmp_path / "out2")
    bad = messages.with_name(messages.name.replace("06-21", "13-45"))
    bad.with_name(bad.name.replace("message", "orderbook")).write_text("")
    with pytest.raises(TapeError, match="2012-13-45 in its name is no date"):
        import_recording([messages.rename(bad)], tmp_path / "out")


def test_midnight_is_that_of_new_york():
    """34,200 s after midnight is 13:30 UTC in June and 14:30 in January."""
    from foldbook.adapters.lobster.lines import _midnight

    assert _midnight(Path("x"), "2012-06-21") == MIDNIGHT
    assert _midnight(Path("x"), "2012-01-20") == 1_327_035_600_000_000_000


def test_a_dry_run_reports_the_same_and_writes_nothing(tmp_path):
    """All but the writing happens."""
    wet, _ = imported(tmp_path / "wet", DAY)
    source = write(tmp_path / "dry/day", DAY)
    [dry] = import_recording([source], tmp_path / "dry/out", dry_run=True)
    assert not (tmp_path / "dry/out").exists()
    assert (dry.read, dry.joined, dry.events) == (wet.read, wet.joined, wet.events)
    assert (dry.written, wet.written) == (False, True)


TEXT = "".join(f"{message}\n" for message, _ in DAY)
BOOKS = "".join(f"{book}\n" for _, book in DAY)


@settings(max_examples=120, deadline=5_000, derandomize=True)
@given(mutated(TEXT), mutated(BOOKS), st.booleans())
def test_a_mutated_day_is_read_or_refused(messages, books, both):
    """Whatever is wrong: one line that names the file, or a session that is valid; never more."""
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), DAY, books if both else None)
        path.write_text(messages, encoding="utf-8")
        for keep_going in (False, True):
            report = read_or_refused([path], Path(name) / "out", keep_going=keep_going)
            assert report is None or keep_going or not report.rejected


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_no_field_has_a_default(tmp_path, column, text):
    """A field that is no number is refused, whichever it is: none is filled in."""
    if "," in text:
        return
    fields = DAY[1][0].split(",")
    fields[column] = text
    day = [DAY[0], (",".join(fields), DAY[1][1])]
    with pytest.raises(TapeError, match="row 2: "):
        imported(tmp_path, day)


needs_sample = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f"no LOBSTER sample in {DATA}; set FOLDBOOK_DATA to its folder"
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The real sample: (report, session, rows of the messages, rows of the book)."""
    [report] = import_recording([SAMPLE], tmp_path_factory.mktemp("lobster"))
    [messages] = SAMPLE.glob("*_message_10.csv")
    [books] = SAMPLE.glob("*_orderbook_10.csv")
    with messages.open() as said, books.open() as shown_after:
        return (report, sessions.load(report.session), list(csv.reader(said)),
                [list(map(int, row)) for row in csv.reader(shown_after)])


@needs_sample
def test_the_sample_counts(sample):
    """999 rows: one is the opening book, 937 change a level and agree with it, 61 are hidden."""
    report, session, messages, _ = sample
    kinds = Counter(row[1] for row in messages)
    assert kinds == {"1": 471, "3": 369, "4": 98, "5": 61}
    assert report.read == len(messages) == 999
    assert report.counts["checked"] == 937 == 471 + 369 + 98 - 1
    assert (report.joined, report.unjoined, report.rejected, report.gaps) == (98, 61, 0, 0)
    assert report.identified + report.ambiguous + report.missing == np.count_nonzero(
        session.tape.rows["kind"] == K.DECREASE) - 98
    assert session.facts["markets"]["AAPL-2012-06-21"]["out_of_turn"] == 0


@needs_sample
def test_the_book_is_the_book_file_after_every_message(sample):
    """At the end of each nanosecond all twenty levels are those of the file, read anew."""
    _, session, messages, books = sample
    levels: dict[tuple[int, int], int] = {}
    at = 0
    rows = session.tape.rows.tolist()
    checked = 0
    for number, (message, book) in enumerate(zip(messages, books, strict=True)):
        seconds, _, part = message[0].partition(".")
        ts = MIDNIGHT + int(seconds) * 10**9 + int(part.ljust(9, "0"))
        last = number + 1 == len(messages) or messages[number + 1][0] != message[0]
        while last and at < len(rows) and rows[at][0] <= ts:
            _, _, qty, _, price, _, kind, side, _ = rows[at]
            if kind in (K.SNAPSHOT_LEVEL, K.INCREASE, K.DECREASE):
                change = -qty if kind == K.DECREASE else qty
                levels[side, price] = levels.get((side, price), 0) + change
            at += 1
        if last:
            for first, side in ((0, Side.SELL), (2, Side.BUY)):
                for price, size in zip(book[first::4], book[first + 1 :: 4], strict=True):
                    units = (price - 5_356_300) // 100
                    assert levels[side, units] == size * 100, (number, side, price)
                    checked += 1
    assert at == len(rows)
    assert checked == 20 * len({message[0] for message in messages})


@needs_sample
def test_places_by_id_are_exact(sample):
    """An order seen to arrive leaves from behind what stood there then and has not left since.

    Counted from the messages alone, for levels that nothing but known orders ever held.
    """
    _, session, messages, _ = sample
    rows = session.tape.rows
    placed = {}
    for row in rows[(rows["kind"] == K.DECREASE) & (rows["flags"] & TapeFlag.GUESSED == 0)]:
        placed[int(row["ts"]), int(row["side"]), int(row["price"]), int(row["qty"])] = row["ahead"]
    opening = {(int(row["side"]), int(row["price"]))
               for row in rows[rows["kind"] == K.SNAPSHOT_LEVEL]}
    queues: dict[tuple[int, int], dict[str, int]] = {}
    compared = 0
    for time, kind, order, size, price, direction in messages[1:]:
        seconds, _, part = time.partition(".")
        ts = MIDNIGHT + int(seconds) * 10**9 + int(part.ljust(9, "0"))
        place = (Side.BUY if direction == "1" else Side.SELL, (int(price) - 5_356_300) // 100)
        queue = queues.setdefault(place, {})
        if kind == "1":
            queue[order] = int(size) * 100
        elif kind in "34" and order in queue:
            ahead = 0
            for each, qty in queue.items():
                if each == order:
                    break
                ahead += qty
            if kind == "3" and place not in opening:
                assert placed[ts, *place, int(size) * 100] == ahead
                compared += 1
            queue[order] -= int(size) * 100
            if not queue[order]:
                del queue[order]
    assert compared > 200


class JoinBestBid:
    """Rest one bid at the best price."""

    def on_book(self, sim, market):
        book = sim.book(market)
        if book.best_bid and not sim.orders.open(market):
            sim.submit(market, Side.BUY, price=book.best_bid, qty=contracts(100))


@needs_sample
def test_a_backtest_runs_on_the_sample(sample):
    """With the queue rebuilt it fills; no fee is charged, and replay gives the same digest."""
    result = Backtest(sample[1], JoinBestBid(), cash=dollars(1000), queue=Queue.rebuilt,
                      fees=NO_FEES).run()
    assert len(result.fills) > 0
    assert result.metrics()["fees"] == 0
    assert result.replay().digest == result.digest


@needs_sample
def test_the_command_line_imports_it(tmp_path, capsys):
    """`import`, then `info`, of the sample; a flag that the importer does not take is named."""
    assert cli.main(["import", "lobster", str(SAMPLE), "--to", str(tmp_path)]) == 0
    assert cli.main(["info", str(tmp_path / "AAPL-2012-06-21")]) == 0
    assert "joined_trades" in capsys.readouterr().out
    for option, said in ((["--tick", "x"], "--tick: 'x' is no decimal number"),
                         (["--seq-scope", "subscription"], "lobster takes no --seq-scope")):
        assert cli.main(["import", "lobster", str(SAMPLE), "--to", str(tmp_path), *option]) == 2
        assert said in capsys.readouterr().err
