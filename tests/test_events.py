"""Events at the edges agree with the rows inside, column for column."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workloads import drive, make

from foldbook.engine import events
from foldbook.engine.errors import JournalError, TapeError
from foldbook.engine.schema import (
    JOURNAL_DTYPE,
    NO_MARKET,
    TAPE_DTYPE,
    CauseKind,
    JournalKind,
    MarketStatus,
    Side,
    TapeFlag,
    TapeKind,
)

MARKETS = ("FIRST", "SECOND", "THIRD")
KINDS = [*TapeKind, *JournalKind]
FLAGS = {"TapeFlag": 15, "OrderFlag": 7}


def event_of(kind):
    table = events.TAPE_EVENTS if isinstance(kind, TapeKind) else events.JOURNAL_EVENTS
    return table[kind]


def dtype_of(kind):
    return TAPE_DTYPE if isinstance(kind, TapeKind) else JOURNAL_DTYPE


def fields_of(kind):
    return {field.name: field.type for field in msgspec.structs.fields(event_of(kind))}


def column_values(kind, name, known):
    """Draw what column `name` may hold in a row of `kind`."""
    if name in ("market", "cause_market"):
        lowest = NO_MARKET if dtype_of(kind) is JOURNAL_DTYPE else 0
        return st.integers(lowest, len(MARKETS) - 1)
    if known is int:
        bounds = np.iinfo(dtype_of(kind)[name])
        return st.integers(int(bounds.min), int(bounds.max))
    if known.__name__ in FLAGS:
        return st.integers(0, FLAGS[known.__name__])
    return st.sampled_from(known)


@st.composite
def rows(draw, kind):
    row = np.zeros(1, dtype_of(kind))
    row["kind"] = kind
    for name, known in fields_of(kind).items():
        row[name] = draw(column_values(kind, name, known))
    return row[0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_fields_are_columns(kind):
    """Each field of each struct is a column of the row, and its tag is the name of the kind."""
    assert set(fields_of(kind)) <= set(dtype_of(kind).names) - {"kind"}
    assert event_of(kind).__struct_config__.tag == kind.name
    assert event_of(kind).__struct_config__.frozen


def test_every_kind_has_one_struct_and_every_column_a_user():
    """The structs are as many as the kinds, and no column of a row is without a field."""
    assert len({event_of(kind) for kind in KINDS}) == len(TapeKind) + len(JournalKind)
    for kinds in (TapeKind, JournalKind):
        used = {name for kind in kinds for name in fields_of(kind)}
        assert used | {"kind"} == set(dtype_of(kinds(0)).names)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
def test_round_trip_keeps_every_byte(kind, data):
    """row -> event -> JSON -> event -> MessagePack -> event -> row gives the same bytes."""
    row = data.draw(rows(kind))
    event = events.from_row(row, MARKETS)
    read = events.from_json(events.to_json(event))
    assert read == event
    assert type(read) is event_of(kind)
    assert events.from_msgpack(events.to_msgpack(read)) == event
    assert events.to_row(read, MARKETS).tobytes() == row.tobytes()


def test_rows_of_random_workloads_are_events():
    """Every row of a random tape and of the journal over it is an event, and comes back whole."""
    seen = set()
    for seed in range(10):
        workload = make(seed, events=500, commands=100)
        reference = workload.reference()
        drive(reference, workload)
        markets = [market.ticker for market in workload.markets]
        for row in (*workload.rows, *reference.journal_rows()):
            event = events.from_row(row, markets)
            seen.add(type(event))
            assert events.to_row(event, markets).tobytes() == row.tobytes(), f"seed {seed}: {event}"
    assert seen == {event_of(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_columns_of_no_field_are_zero(kind):
    """An event writes nothing but its own columns; a row with more in it is refused by name."""
    dtype = dtype_of(kind)
    error = TapeError if dtype is TAPE_DTYPE else JournalError
    row = np.zeros(1, dtype)
    row["kind"] = kind
    for name in set(dtype.names) - set(fields_of(kind)) - {"kind"}:
        planted = row.copy()
        planted[name] = 1
        with pytest.raises(error, match=f"{event_of(kind).__name__} row: {name} is 1"):
            events.from_row(planted[0], MARKETS)


def test_json_is_readable():
    """A user sees the ticker of the market, and enums by their numbers."""
    trade = events.Trade(5, 6, "SECOND", side=Side.SELL, price=4800, qty=100, flags=0)
    assert events.to_json(trade) == (
        b'{"kind":"TRADE","ts":5,"recv":6,"market":"SECOND","side":1,"price":4800,"qty":100,'
        b'"flags":0}'
    )
    assert events.to_row(trade, MARKETS)["market"] == 1


def test_shared_columns_have_names_of_their_own():
    """Columns that mean something else in a kind can be read by the name of what they mean."""
    settled = {"qty": MarketStatus.SETTLED, "price": 10_000, "flags": TapeFlag.VOID}
    status = events.Status(ts=1, recv=1, market="FIRST", **settled)
    assert (status.status, status.payout) == (MarketStatus.SETTLED, 10_000)
    grid = events.Grid(ts=1, recv=1, market="FIRST", price=100, ahead=10, qty=1000)
    assert (grid.step, grid.edge_step, grid.edge_width) == (100, 10, 1000)
    fee = events.Fee(ts=1, recv=1, market="FIRST", qty=70_000, ahead=0)
    assert (fee.taker_ppm, fee.maker_ppm) == (70_000, 0)


def test_the_account_has_no_ticker():
    """Rows of the account, and causes that are no row, have None for a market."""
    row = np.zeros(1, JOURNAL_DTYPE)
    row["kind"] = JournalKind.CASH_MOVED
    row["market"] = row["cause_market"] = NO_MARKET
    event = events.from_row(row[0], MARKETS)
    assert (event.market, event.cause_market, event.cause_kind) == (None, None, CauseKind.START)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [("kind", 12, "kind 12"), ("side", 2, "side: 2"), ("market", 3, "market"),
     ("market", NO_MARKET, "there is no market -1")],
)
def test_rows_that_are_no_event_are_refused(column, value, text):
    """An unknown kind, side or market is an error that names the column."""
    row = np.zeros(1, TAPE_DTYPE)
    row["kind"] = TapeKind.TRADE
    row[column] = value
    with pytest.raises(TapeError, match=text):
        events.from_row(row[0], MARKETS)


def test_unknown_json_is_refused():
    """An event of no known kind, or with a field missing, does not decode."""
    for text in ('{"kind":"RUMOUR"}', '{"kind":"GAP","ts":1,"recv":1}', "[]"):
        with pytest.raises(msgspec.ValidationError):
            events.from_json(text)
