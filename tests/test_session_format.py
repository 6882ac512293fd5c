"""The portable form: other programs read it without us, skip what they need not, and agree."""

from __future__ import annotations

import datetime
import json
import random
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tapes import Recorder

from foldbook.adapters import sessions
from foldbook.adapters.sessions import about, columns, packing, portable, writing
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market

ZERO = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def recorded(seed: int, events: int = 3_000) -> Session:
    """Return a random session of one to three markets."""
    recorder = Recorder(random.Random(seed), events)
    return Session(Tape(recorder.record()), recorder.specs, name=f"seed {seed}")


@pytest.fixture
def three(tmp_path, monkeypatch):
    """A stored session of three markets in row groups of 100 rows: (session, Parquet file)."""
    monkeypatch.setattr(writing, "GROUP_ROWS", 100)
    drawn = next(each for each in map(recorded, range(100)) if len(each.markets) == 3)
    # A column that holds times has no sum in int64.
    rows = drawn.tape.rows[drawn.tape.rows["kind"] != TapeKind.CLOSE_TIME]
    session = Session(Tape(rows), drawn.markets, name=drawn.name, facts=drawn.facts)
    sessions.save(session, tmp_path / "s")
    return session, tmp_path / "s" / sessions.PORTABLE_FILE


def with_duckdb(path):
    total = "count(*), sum(qty), sum(price), sum(row), sum(epoch_us(ts)), sum(flags)"
    return duckdb.execute(f"select {total} from '{path}'").fetchall()[0]


def test_duckdb_polars_pandas_and_arrow_agree_with_the_tape(three):
    """Counts and sums of the whole, by four programs that know nothing of foldbook."""
    session, path = three
    rows = session.tape.rows
    expected = (len(rows), *(int(total) for total in (
        rows["qty"].sum(), rows["price"].sum(), np.arange(len(rows)).sum(),
        (rows["ts"] // 1000).sum(), rows["flags"].sum())))
    assert with_duckdb(path) == expected
    frame = pl.read_parquet(path)
    assert expected == (
        len(frame), frame["qty"].sum(), frame["price"].sum(), frame["row"].sum(),
        frame["ts"].to_physical().sum(), frame["flags"].cast(int).sum())
    for table in (pd.read_parquet(path), pq.read_table(path).to_pandas()):
        times = table["ts"].dt.tz_convert(None).astype("datetime64[us]").astype("int64")
        assert expected == (len(table), table["qty"].sum(), table["price"].sum(),
                            table["row"].sum(), times.sum(), table["flags"].sum())


def spoiled(path, groups):
    """Overwrite the pages of all row groups but these."""
    metadata = pq.read_metadata(path)
    data = bytearray(path.read_bytes())
    for number in set(range(metadata.num_row_groups)) - set(groups):
        group = metadata.row_group(number)
        for column in range(metadata.num_columns):
            chunk = group.column(column)
            begin, size = chunk.file_offset, chunk.total_compressed_size
            data[begin : begin + size] = b"\xff" * size
    path.write_bytes(data)


def test_a_market_and_a_time_are_read_without_the_rest(three):
    """With every other row group destroyed, each program still gives the right answer: it has not
    looked there. Without the filter it fails."""
    session, path = three
    rows = session.tape.rows
    own = rows[rows["market"] == 1]
    begin, end = (ZERO + datetime.timedelta(microseconds=int(own["ts"][at]) // 1000)
                  for at in (150, 250))
    first, last = (int(own["ts"][at]) // 1000 for at in (150, 250))
    chosen = own[(own["ts"] // 1000 >= first) & (own["ts"] // 1000 <= last)]
    expected = len(chosen), int(chosen["qty"].sum())
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    needed = [number for number, group in enumerate(groups)
              if group.column(0).statistics.min <= 1 <= group.column(0).statistics.max
              and group.column(3).statistics.min <= end
              and group.column(3).statistics.max >= begin]
    assert 1 <= len(needed) <= 4 < len(groups) // 4
    spoiled(path, needed)
    ticker = session.markets[1].ticker
    found = duckdb.execute(
        "select count(*), sum(qty) from read_parquet(?) where ticker = ? and ts between ? and ?",
        [str(path), ticker, begin, end]).fetchall()
    assert found == [expected]
    frame = pl.scan_parquet(path).filter(
        (pl.col("ticker") == ticker) & pl.col("ts").is_between(begin, end)).collect()
    assert (len(frame), frame["qty"].sum()) == expected
    filters = [("ticker", "==", ticker), ("ts", ">=", begin), ("ts", "<=", end)]
    for table in (pd.read_parquet(path, filters=filters),
                  pq.read_table(path, filters=filters).to_pandas()):
        assert (len(table), table["qty"].sum()) == expected
    for read in (with_duckdb, pl.read_parquet, pd.read_parquet, pq.read_table):
        with pytest.raises((duckdb.Error, pl.exceptions.PolarsError, pa.ArrowException, OSError)):
            read(path)


def test_the_file_alone_is_the_session(three, tmp_path, monkeypatch):
    """Copied elsewhere under another name it is the same session; nothing is put beside it."""
    session, path = three
    monkeypatch.setenv("FOLDBOOK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "alone").mkdir()
    copy = tmp_path / "alone" / "gold.parquet"
    copy.write_bytes(path.read_bytes())
    loaded = sessions.load(copy)
    assert loaded.digest == session.digest
    assert (loaded.markets, loaded.name) == (session.markets, session.name)
    assert loaded.source == {"path": str(copy)}
    assert [each.name for each in copy.parent.iterdir()] == ["gold.parquet"]
    [hot] = (tmp_path / "cache").rglob("*.npy")
    assert hot.stem == session.tape.digest
    sessions.verify_portable(copy)


def test_the_metadata_say_what_the_columns_are(three):
    """Version, units, markets, digests, and what the numbers of kinds mean, as JSON."""
    session, path = three
    found = json.loads(pq.read_metadata(path).metadata[b"foldbook"])
    assert (found["format"], found["events"]) == (sessions.FORMAT_VERSION, len(session.tape))
    assert (found["tape_digest"], found["digest"]) == (session.tape.digest, session.digest)
    assert [each["ticker"] for each in found["markets"]] == [m.ticker for m in session.markets]
    assert found["columns"]["price"]["unit"].startswith("$0.0001")
    assert found["meanings"]["TapeKind"]["TRADE"] == TapeKind.TRADE
    names = pq.read_schema(path).names
    assert names == list(found["columns"]) == list(columns.COLUMNS)


def test_rows_are_sorted_by_market_and_keep_their_place(three):
    """Put back by `row`, the rows are the tape; as they stand, markets are one after the other."""
    session, path = three
    table = pq.read_table(path)
    market, row = (np.asarray(table[name]) for name in ("market", "row"))
    assert (np.lexsort((row, market)) == np.arange(len(row))).all()
    assert (session.tape.rows["market"][row] == market).all()
    assert (session.tape.rows["qty"][row] == np.asarray(table["qty"])).all()


@pytest.mark.parametrize("seed", range(8))
def test_random_tapes_come_back_to_equal_digests(seed, tmp_path, monkeypatch):
    """Through the folder, and through the Parquet file alone; pages pass their own checksums."""
    monkeypatch.setenv("FOLDBOOK_CACHE", str(tmp_path / "cache"))
    session = recorded(seed)
    saved = sessions.save(session, tmp_path / "s")
    path = tmp_path / "s" / sessions.PORTABLE_FILE
    pq.read_table(path, page_checksum_verification=True)
    assert session.digest == saved.digest == sessions.load(path).digest


def stored(path, rows, markets):
    """Write any rows, valid or not, and return what is read of them."""
    tape = Tape(rows)
    listed = [about.Listed(f"M-{market}", 100) for market in range(markets)]
    known = about.About(2, "any", listed, len(rows), tape.digest, {})
    writing.write_portable(path, rows, known)
    found = np.zeros(len(rows), TAPE_DTYPE)
    portable.read_rows(path, portable.read_about(path), found)
    return found


@given(st.binary(max_size=40 * 400), st.integers(1, 3), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bits_of_a_row_come_back(tmp_path_factory, data, markets, is_small):
    """Not only what is valid: every value that fits into a column survives."""
    rows = np.frombuffer(data[: len(data) // 40 * 40], TAPE_DTYPE).copy()
    if is_small:
        for name in ("qty", "ahead", "price"):
            rows[name] %= 300
    rows["market"] = np.abs(rows["market"].astype(np.int64)) % markets
    path = tmp_path_factory.mktemp("any") / "x.parquet"
    assert stored(path, rows, markets).tobytes() == rows.tobytes()


@pytest.mark.parametrize("distinct", [1, 2, 3, 4, 5, 16, 17, 256, 257, 5_000, 40_000])
def test_columns_of_few_and_of_many_values_come_back(distinct, tmp_path):
    """Every width of a place in a dictionary, and the page without one."""
    rng = np.random.default_rng(distinct)
    rows = np.zeros(40_000, TAPE_DTYPE)
    rows["qty"] = rng.permutation(np.arange(len(rows)) % distinct) * 1_000_003
    rows["price"] = rng.permutation(np.arange(len(rows)) % min(distinct, 10_001))
    rows["ts"] = np.cumsum(rng.integers(0, distinct * 1000, len(rows)))
    found = stored(tmp_path / "x.parquet", rows, 1)
    assert found.tobytes() == rows.tobytes()
    assert pq.read_metadata(tmp_path / "x.parquet").num_row_groups == 2


def test_markets_of_any_size_share_row_groups_as_they_fit(monkeypatch):
    """Small ones share a group, large ones have their own; places are found in parts or at once."""
    markets = np.array([0] * 2 + [1] * 2 + [2] * 11 + [3] * 3 + [4] * 1, np.int32)
    markets = np.random.default_rng(5).permutation(markets)
    monkeypatch.setattr(writing, "GROUP_ROWS", 4)
    for sorted_rows, scanned_rows in ((1000, 1000), (4, 3), (1, 1)):
        monkeypatch.setattr(writing, "SORTED_ROWS", sorted_rows)
        monkeypatch.setattr(writing, "SCANNED_ROWS", scanned_rows)
        groups = list(writing._groups(markets, 6))
        places = np.concatenate(groups)
        assert (places == np.argsort(markets, kind="stable")).all()
        assert max(map(len, groups)) == 4
        if sorted_rows == 1000:
            found = [sorted(set(markets[group].tolist())) for group in groups]
            assert found == [[0, 1], [2], [2], [2], [3, 4]]


def test_a_session_without_rows_is_stored(tmp_path):
    """Nothing was heard: the tape is empty, and that is what is loaded."""
    session = Session(Tape(np.zeros(0, TAPE_DTYPE)), (Market("KXA-1"),), name="silent")
    saved = sessions.save(session, tmp_path / "s")
    (tmp_path / "s" / sessions.TAPE_FILE).unlink()
    assert sessions.load(tmp_path / "s").digest == saved.digest == session.digest
    assert len(pl.read_parquet(tmp_path / "s/tape.parquet")) == 0


def test_packed_bits_by_hand():
    """Bytes that the format's description gives for small inputs."""
    steady = packing.packed_differences(np.arange(1, 6))
    assert steady.hex() == "8001" "04" "05" "02" "02" "00000000"
    values = np.array([7, 5, 3, 1, 2, 3, 4, 5])
    assert packing.packed_differences(values).hex() == (
        "8001" "04" "08" "0e" "03" "02000000" "c03f" "000000000000")
    assert packing.packed_differences(values[:0]).hex() == "8001" "04" "00" "00"
    assert packing.packed_places(np.array([0, 1, 1]), 1).hex() == "01" "03" "06"
    assert packing.packed_places(np.array([0, 3, 1]), 2).hex() == "02" "03" "1c00"
    assert packing.packed_places(np.array([0, 0, 0]), 2).hex() == "02" "06" "00"
    assert packing.packed_places(np.array([0, 257]), 16).hex() == "10" "03" "00000101" + "0000" * 6


def rewritten(path, change, group_rows=None):
    """Write the Parquet file anew with another library, its table changed, metadata kept."""
    table = change(pq.read_table(path))
    text = pq.read_metadata(path).metadata[b"foldbook"]
    pq.write_table(table.replace_schema_metadata({b"foldbook": text}), path, group_rows)


def replaced(name, values):
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values(table))


def with_row(at, value):
    def change(table):
        row = np.array(table["row"])
        row[at] = value
        return pa.array(row)
    return replaced("row", change)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda table: table.drop_columns(["ahead"]), "column ahead is missing, expected int32"),
        (replaced("qty", lambda table: table["qty"].cast("double")),
         "column qty is double, expected int64"),
        (replaced("ts", lambda table: table["ts"].cast(pa.timestamp("ns", "UTC"))),
         r"column ts is timestamp\[ns, tz=UTC\], expected timestamp\[us, tz=UTC\]"),
        (lambda table: table.append_column("mid", table["qty"]), "column mid is not one of market"),
        (replaced("qty", lambda table: pa.array([None, *table["qty"].to_pylist()[1:]], "int64")),
         "column qty has nulls, expected int64"),
        (with_row(5, -1), "column row: -1 is not between 0 and"),
        (with_row(5, 10**9), "column row: 1000000000 is not between 0 and"),
        (with_row(1, 0), "column row: 0 is out of order: rows are sorted by market, then row"),
        (lambda table: table.take(pa.array([1, 0, *range(2, len(table))])),
         "column row: .* is out of order"),
        (replaced("ts_ns", lambda table: pa.array(np.full(len(table), 1000, np.int16))),
         "column ts_ns: 1000 is not between 0 and 999"),
        (replaced("recv_ns", lambda table: pa.array(np.full(len(table), -7, np.int32))),
         "column recv_ns: -7 is not between 0 and 999999"),
        (replaced("ticker", lambda table: pa.array(["X"] * len(table))),
         "column ticker: 'X' is not that of market 0"),
        (replaced("flags", lambda table: pa.array(np.full(len(table), 3, np.int16))),
         "the digest of its rows is .* as its metadata says"),
        (lambda table: table.slice(1), "has .* rows, but events is .* in its metadata"),
    ],
)  # fmt: skip
def test_a_changed_file_is_refused_with_the_column_and_what_was_expected(
    change, text, three, tmp_path, monkeypatch
):
    """Whoever writes such a file again must keep its columns, its order and its rows."""
    monkeypatch.setenv("FOLDBOOK_CACHE", str(tmp_path / "cache"))
    _, path = three
    rewritten(path, change)
    with pytest.raises(TapeError, match=rf"tape.parquet: {text}"):
        sessions.load(path)
    (path.parent / sessions.TAPE_FILE).unlink()
    with pytest.raises(TapeError, match=text):
        sessions.load(path.parent)


def test_a_place_that_two_markets_claim_is_refused(three, tmp_path, monkeypatch):
    """The first row of market 1 says that it stands where the last one of market 0 does."""
    monkeypatch.setenv("FOLDBOOK_CACHE", str(tmp_path / "cache"))
    session, path = three
    count = int(np.count_nonzero(session.tape.rows["market"] == 0))
    last = int(np.flatnonzero(session.tape.rows["market"] == 0)[-1])
    rows = np.zeros(len(session.tape), TAPE_DTYPE)
    known = about.about_of(session, {})
    for size in (1, 1_000_000):
        writing.write_portable(path, session.tape.rows, known)
        rewritten(path, lambda table: with_row(count, last)(table).slice(0, count + 1), size)
        with pytest.raises(TapeError, match=f"column row: {last} is there twice"):
            portable.read_rows(path, known, rows)


def test_a_foreign_a_newer_and_a_damaged_file_are_named(three, tmp_path, monkeypatch):
    """No metadata of ours; a version to come; cut anywhere; pages of which bits have fallen."""
    monkeypatch.setenv("FOLDBOOK_CACHE", str(tmp_path / "cache"))
    _, path = three
    whole = path.read_bytes()
    pq.write_table(pa.table({"price": [1, 2]}), path)
    with pytest.raises(TapeError, match="is no session: its metadata has no key 'foldbook'"):
        sessions.load(path)
    for name, value in (("format", 99), ("schema", 77)):
        path.write_bytes(whole)
        table, text = pq.read_table(path), json.loads(pq.read_metadata(path).metadata[b"foldbook"])
        text[name] = value
        pq.write_table(table.replace_schema_metadata({b"foldbook": json.dumps(text)}), path)
        with pytest.raises(TapeError, match=f"{name} is {value}, written by a newer version"):
            sessions.load(path)
    for size in (0, 3, 4, 11, 12, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(TapeError, match=r"tape.parquet: is truncated or no Parquet file"):
            sessions.load(path)
    damaged = bytearray(whole)
    damaged[40:60] = bytes(20)
    path.write_bytes(damaged)
    with pytest.raises(TapeError, match=r"tape.parquet: is damaged or no Parquet file"):
        sessions.load(path)


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_damage_goes_unnoticed(tmp_path_factory, data):
    """Whichever bytes of a file are changed: it loads with the same digest, or a TapeError says
    that it does not."""
    folder = tmp_path_factory.mktemp("damaged")
    session = recorded(1, events=300)
    path = folder / "x.parquet"
    rows = session.tape.rows
    writing.write_portable(path, rows, about.about_of(session, {}))
    text = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(text)
    with suppress(TapeError):
        sessions.verify_portable(path)
        found = np.zeros(len(rows), TAPE_DTYPE)
        portable.read_rows(path, portable.read_about(path), found)
        assert found.tobytes() == rows.tobytes()


def test_the_page_names_every_column_kind_and_flag():
    """docs/session-format.md and the code have one list each."""
    page = (Path(__file__).parent.parent / "docs/session-format.md").read_text()
    for enum in (TapeKind, TapeFlag):
        assert ", ".join(f"{each.value} {each.name}" for each in enum) in page
    assert all(f"`{name}`" in page for name in columns.COLUMNS)
