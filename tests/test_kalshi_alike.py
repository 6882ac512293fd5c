"""Deltas read without a decoder say what the decoder says of them, or are left to it.

Both ways of reading are compared on lines that differ from a plain delta in a byte or a value. The
decoder alone reads what comes as records of a document: those are never looked at as lines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldbook.adapters.kalshi_ws.alike import find_shape, read_alike, shape_of
from foldbook.adapters.kalshi_ws.decode import Decoder, Rejections
from foldbook.adapters.kalshi_ws.frames import BARE, LINES, STREAM, Dialect
from foldbook.adapters.kalshi_ws.messages import MESSAGE_DTYPE, put_in
from foldbook.adapters.kalshi_ws.sources import Chunk

MILLIS = 1_785_888_000_500
TIME = "2026-08-05T00:00:00.500250Z"
PATH = Path("r.ndjson")
VALUES: dict[str, list[Any]] = {
    "price_dollars": ["0.5", "0.05", "0.9999", "0.0000", "0", "1", "1.0000", "0.00005", "0.", ".5",
                      "00.5", "-0.5", "0.4800 ", "", None, 0.5],
    "delta_fp": ["7", "-7", "7.5", "-0.00", "0", "007.10", "-", "7.", ".7", "+7", "7.001", "--7",
                 "999999999999.99", "1000000000000.00", "1000000000000.01", "1e3", "", None, 7],
    "side": ["yes", "no", "y", "yess", "No", "", None],
    "ts": ["2026-08-05T00:00:00.5Z", "2026-08-05T00:00:00.500999Z", "2026-08-05T00:00:00.501Z",
           "2026-08-05T00:00:00.5002504Z", "2026-08-05T00:00:00.500250000Z",
           "2026-08-05T00:00:00Z", "2026-08-05T00:00:00.Z", "2026-08-05 00:00:00.500Z",
           "2026-08-05T02:00:00.500+02:00", "2026-08-05T00:00:00.500", "2026-08-04T24:00:00.500Z",
           "2026-08-04T23:60:00.500Z", "2026-08-04T23:59:60.500Z", "2026-08-05T00:00:00.500z",
           "2026-13-05T00:00:00.500Z", "2026-00-05T00:00:00.500Z", "2026-08-00T00:00:00.500Z",
           "2026-07-36T00:00:00.500Z", "1926-08-05T00:00:00.500Z", "", None, 1_785_888_000],
    "ts_ms": [MILLIS + 1, MILLIS - 1000, 0, -1, 9 * 10**12, 9 * 10**12 + 1, 10**18, 10**19, "5",
              None, 1.5, True],
    "market_ticker": ["KXA-2", "KXA-", "", "KXÄ-1", "KX\nA", None, 1],
    "market_id": ["", "\u00e9", "\x7f", 'a"b', "a\\b", None, 3, [1], {"a": 1}],
    "client_order_id": ["mine", "", None],
    "price": [48, 47, 0, None],
    "more": ["text", 7, 7.5, None, [1], {"ts": "x"}],
}
DAYS = ["1970-01-01", "1972-02-29", "1999-12-31", "2000-02-29", "2026-02-28", "2026-02-29",
        "2026-04-30", "2026-04-31", "2028-02-29", "2100-02-28", "2100-02-29", "2100-03-01",
        "2254-12-31", "2255-12-31", "9999-12-31", "0001-01-01"]


def delta(seq: int = 1, recv: int = MILLIS + 10, **values: Any) -> dict[str, Any]:
    """Return a line with a delta as Kalshi sends it today, but for some values of its message."""
    message = {"market_ticker": "KXA-1", "market_id": "1f-2", "price_dollars": "0.4800",
               "delta_fp": "-12.50", "side": "no", "ts": TIME, "ts_ms": MILLIS}
    return {"recv_ms": recv, "event": {"type": "orderbook_delta", "sid": 1, "seq": seq,
                                       "msg": message | values}}  # fmt: skip


def written(line: dict[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode()


def decoded(chunk: Chunk, dialect: Dialect) -> tuple[Any, ...]:
    """Return all that a decoder says of a chunk."""
    rejections = Rejections(keep_going=True)
    decoder = Decoder(dialect, [PATH], rejections, marks_own=True)
    # The order in which markets and subscriptions are numbered is not what is compared.
    for ticker in ("KXA-1", "KXA-2"):
        decoder.tickers[ticker] = len(decoder.tickers)
    messages = decoder.decode(chunk)
    names = {number: ticker for ticker, number in decoder.tickers.items()}
    return messages, [names.get(each) for each in messages["market"].tolist()], rejections


def check(lines: list[bytes], dialect: Dialect = LINES) -> int:
    """Check that lines mean the same in both ways; return how many needed no decoder."""
    text = b"".join(line + b"\n" for line in lines)
    lines = text.split(b"\n")[:-1]
    shape = find_shape(text, dialect)
    assert shape is not None, "no line to go by"
    found, tickers, refused = decoded(Chunk(PATH, 5, text, len(lines), len(text)), dialect)
    records = Chunk(PATH, 5, b"", len(lines), len(text), tuple(lines))
    expected, names, also_refused = decoded(records, dialect)
    assert found["row"].tolist() == expected["row"].tolist()
    for field in set(MESSAGE_DTYPE.names or ()) - {"market"}:
        differ = np.flatnonzero(found[field] != expected[field])
        shown = [lines[row - 5] for row in found["row"][differ[:3]].tolist()]
        assert not len(differ), (field, found[differ[:3]], expected[differ[:3]], shown)
    assert tickers == names
    assert refused.reasons == also_refused.reasons
    assert refused.examples == also_refused.examples
    return len(lines) - len(read_alike(text, len(lines), shape).others)


def test_deltas_alike_need_no_decoder():
    """Of deltas that differ in values alone, every one is read as its text says, whose numbers are
    checked by hand here; trades and blank lines between them are left."""
    lines = [
        written(delta(7)),
        b'{"recv_ms":1785888000511,"event":{"type":"trade","sid":2,"seq":1,"msg":{}}}',
        b"",
        written(delta(8, market_ticker="KXA-23", side="yes", delta_fp="3", price_dollars="0.0100")),
    ]
    text = b"".join(line + b"\n" for line in lines)
    shape = find_shape(text, LINES)
    assert shape is not None
    found = read_alike(text, 4, shape)
    assert found.others[:, 0].tolist() == [1, 2]
    assert [text[begin:end] for _, begin, end in found.others.tolist()] == [lines[1] + b"\n", b"\n"]
    assert found.tickers == ["KXA-1", "KXA-23"]
    assert found.sids.tolist() == [1, 0, 0, 1]
    fields = ["recv", "ts", "qty", "seq", "price", "market", "side"]
    assert found.messages[fields][[0, 3]].tolist() == [
        ((MILLIS + 10) * 10**6, 1_785_888_000_500_250_000, -1250, 7, 4800, 0, 1),
        ((MILLIS + 10) * 10**6, 1_785_888_000_500_250_000, 300, 8, 100, 1, 0),
    ]


@pytest.mark.bounds
@pytest.mark.parametrize("dialect", [LINES, STREAM, BARE], ids=lambda each: each.name)
def test_a_byte_more_or_less_is_seen(dialect):
    """A delta with any byte replaced, dropped or doubled is read as the decoder reads it."""
    plain = delta()
    if dialect is STREAM:
        plain = {"received_ms": plain["recv_ms"], "frame": plain["event"]}
    line = written(plain["event"] if dialect is BARE else plain)
    changed = [line]
    for at in range(len(line)):
        before, byte, after = line[:at], line[at : at + 1], line[at + 1 :]
        others = [bytes([other]) for other in b'059-+.,:{}["\\ \t\r\0eEnZ\x7f\xff']
        changed += [before + each + after for each in (b"", 2 * byte, *others)]
    assert check(changed, dialect) > 200


def test_a_value_of_another_kind_is_seen():
    """Values at the edge of what is allowed, and beyond, mean what they mean to the decoder, in a
    line like the others or unlike them."""
    lines = [written(delta())]
    for name, values in VALUES.items():
        lines += [written(delta(number, **{name: value})) for number, value in enumerate(values, 2)]
    for number in (0, 1, 2**53, 2**53 + 1, 10**18, 10**19, -1, 1.5, "1", None):
        for key in ("sid", "seq"):
            line = delta()
            line["event"][key] = number
            lines.append(written(line))
        lines.append(written(delta(recv=number)))
    lines += [json.dumps(delta()).encode(), written(delta()).replace(b":1,", b":01,")]
    lines.append(written(delta()).replace(b'"side"', b'"side":"yes","side"'))
    assert check(lines) > 20


def test_every_day_of_the_calendar_is_its_own():
    """The days around the ends of months and of leap years have the time that the decoder gives
    them; days that do not exist are refused."""
    epoch = np.datetime64("1970-01-01", "ms")
    lines = [written(delta())]
    for day in DAYS:
        try:
            millis = int((np.datetime64(f"{day}T23:59:59.999") - epoch).astype(np.int64))
        except ValueError:
            millis = MILLIS
        lines.append(written(delta(ts=f"{day}T23:59:59.999001Z", ts_ms=millis)))
    assert check(lines) == 1 + 10


def test_the_scale_of_the_no_ladder_is_that_of_its_subscription():
    """From a START that says so on, the price of a NO level is not mirrored."""
    start = {"recv_ms": MILLIS, "event": {"type": "subscribed", "msg": {
        "channel": "orderbook_delta", "sid": 1, "use_yes_price": True}}}  # fmt: skip
    lines = [written(delta(1)), written(start), written(delta(1)), written(delta(2, side="yes"))]
    assert check(lines) == 3
    text = b"".join(line + b"\n" for line in lines)
    messages, _, _ = decoded(Chunk(PATH, 1, text, 4, len(text)), LINES)
    assert messages["price"][[0, 2, 3]].tolist() == [5200, 4800, 4800]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(delta(price=48), id="cents"),
        pytest.param(delta(client_order_id="mine"), id="own"),
        pytest.param(delta(ts=None), id="no time"),
        pytest.param(delta(more=["a"]), id="list"),
        pytest.param(delta(market_id="a\\b"), id="escape"),
        pytest.param(delta() | {"ts": "x"}, id="key there twice"),
        pytest.param({"recv_ms": 1, "event": {"type": "ok", "sid": 1, "seq": 1}}, id="no delta"),
    ],
)
def test_only_a_plain_delta_shows_what_lines_are_like(line):
    """A line that says more than deltas do today, or may be read in two ways, is no example."""
    assert shape_of(written(delta()), LINES) is not None
    assert shape_of(written(line), LINES) is None


def test_messages_are_put_in_before_their_places():
    """What is put in stands before what stood at its place, in the order given, as `np.insert`
    has it; seed 7."""
    rng = np.random.default_rng(7)
    for count in range(6):
        messages = np.zeros(5, MESSAGE_DTYPE)
        messages["row"] = np.arange(5)
        others = np.zeros(count, MESSAGE_DTYPE)
        others["row"] = 100 + np.arange(count)
        places = rng.integers(0, 6, count).tolist()
        found = put_in(messages, places, np.split(others, count) if count else [])
        assert found.tolist() == np.insert(messages, places, others).tolist()
