"""The decoder of the venue's frames on frames that are wrong: a named refusal, never a guess.

Recordings are made of frames as the venue sends them, and then damaged: fields renamed, dropped or
of other types, numbers that are none or too large, envelopes of other recorders, cut text.
"""

from __future__ import annotations

import copy
import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_kalshi_ws import BOOK, delta, line, numbered, snapshot, trade

from foldbook.adapters import sessions
from foldbook.adapters.kalshi_ws import import_recording
from foldbook.adapters.kalshi_ws.decode import Decoder, Rejections
from foldbook.adapters.kalshi_ws.frames import LINES, Kind
from foldbook.adapters.kalshi_ws.messages import REFUSED
from foldbook.adapters.kalshi_ws.sources import Chunk
from foldbook.engine import TapeError

fuzzed = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def recording() -> list[dict[str, Any]]:
    """Return lines of every type that says something of a market."""
    ranges = [{"start": "0", "end": "1", "step": "0.01"}]
    lifecycle = {"market_ticker": "KXA-1", "result": "yes", "settlement_value": "1.0000"}
    return numbered([
        line(0, "subscribed", {"channel": "orderbook_delta", "sid": 1}),
        line(1, "market_lifecycle_v2", {"market_ticker": "KXA-1", "price_ranges": ranges,
                                        "event_type": "price_level_structure_updated"}, sid=3),
        snapshot(2, *BOOK),
        delta(15, 10_000, "no", "0.4500", "7.50"),
        delta(25, 20_000, "no", "0.5000", "-3.00"),
        trade(26, 20, "yes", "0.5000", "3.00"),
        line(30, "event_fee_update", {"event_ticker": "KXA", "fee_multiplier_override": 0.5,
                                      "fee_type_override": "quadratic"}, sid=4),
        delta(35, 30_000, "yes", "0.4100", "1.00"),
        snapshot(40, [["0.4000", "90.00"]], [["0.5000", "180.00"]]),
        line(50, "market_lifecycle_v2", lifecycle | {"event_type": "determined",
                                                     "determination_ts": 1_786_000_100}, sid=3),
        line(60, "market_lifecycle_v2", lifecycle | {"event_type": "settled",
                                                     "settled_ts": 1_786_000_200}, sid=3),
    ])


def part(found: dict[str, Any]) -> dict[str, Any]:
    """Return a line as the recorder that splits its log by type writes it."""
    event = found["event"]
    return {"event_type": event["type"], "local_recv_ns": found["recv_ms"] * 10**6,
            "market_ticker": event["msg"].get("market_ticker", ""),
            "sequence_number": event["seq"], "payload_json": event["msg"]}


WRAPPED = {
    "lines": lambda found: found,
    "stream": lambda found: {"received_ms": found["recv_ms"], "frame": found["event"]},
    "raw": lambda found: {"recv_ts_ns": found["recv_ms"] * 10**6,
                          "raw": json.dumps(found["event"])},
    "bare": lambda found: found["event"],
    "parts": part,
}
"""What other recorders make of a line."""

numbers = st.one_of(
    st.sampled_from([0, -1, 1, 99, 100, 101, 2**31, 2**53 + 1, 2**63, 10**30, -(10**30)]),
    st.floats(), st.integers(),
)
texts = st.one_of(
    st.sampled_from([
        "", " ", "0", "1", "-0", "0.5", ".5", "5", "0.48005", "1e-2", "nan", "inf", "-0.4000",
        "+0.4", "0,5", "0.4 ", "\u0661", "0x1", "00.5", "9" * 30, "12345678901234567890.00", "yes",
        "no", "YES", "2026-08-06T04:26:40.01Z", "not a time", "\ud7ff\ue000", "a/../b",
    ]),
    st.text(max_size=8), st.from_regex(r"-?[0-9]{0,3}\.[0-9]{0,5}", fullmatch=True),
)
values = st.one_of(
    st.none(), st.booleans(), numbers, texts, st.lists(st.lists(texts, max_size=3), max_size=3),
    st.dictionaries(texts, numbers, max_size=2),
)


def places(record: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to everything within a record."""
    steps = record.items() if isinstance(record, dict) else (
        enumerate(record) if isinstance(record, list) else ())
    found = []
    for key, each in steps:
        found += [(*above, key), *places(each, (*above, key))]
    return found


def parent(record: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        record = record[key]
    return record


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """Draw the text of a recording with up to three faults, and the dialects in it."""
    names = draw(st.sampled_from([*[[name] for name in WRAPPED], list(WRAPPED)]))
    records = [copy.deepcopy(each) for each in recording()]
    for _ in range(draw(st.integers(1, 3))):
        record = draw(st.sampled_from(records))
        if not (known := places(record)):
            continue
        place = draw(st.sampled_from(known))
        holder, key = parent(record, place), place[-1]
        fault = draw(st.sampled_from(["value", "drop", "rename", "again", "swap"]))
        if fault == "value":
            holder[key] = draw(values)
        elif fault == "drop":
            del holder[key]
        elif fault == "rename" and isinstance(key, str):
            holder[draw(st.one_of(texts, st.just(f"{key}_v2")))] = holder.pop(key)
        elif fault == "again":
            records.insert(draw(st.integers(0, len(records))), copy.deepcopy(record))
        else:
            at = records.index(record)
            records[at - 1], records[at] = records[at], records[at - 1]
    lines = []
    for record in records:
        try:
            wrapped = WRAPPED[draw(st.sampled_from(names))](record)
        except (KeyError, TypeError, AttributeError):
            wrapped = record
        lines.append(json.dumps(wrapped).encode())
    text = b"\n".join(lines) + b"\n"
    if draw(st.booleans()) and len(text) > 1:
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.binary(max_size=3)) + text[at + draw(st.integers(0, 40)) :]
    return text, names


@settings(fuzzed, max_examples=80)
@given(damaged())
def test_a_damaged_recording_is_refused_by_name_or_counted(tmp_path, made):
    """It raises TapeError of one line that names the file, or the import is done, with each
    message read or refused; told to keep going, a refusal is a count and an example."""
    text, _ = made
    path = tmp_path / "r.ndjson"
    path.write_bytes(text)
    stopped = None
    try:
        reports = import_recording([path], tmp_path / "stops")
    except TapeError as error:
        stopped = str(error)
        assert "\n" not in stopped
    else:
        assert all(report.rejected == 0 for report in reports)
    try:
        reports = import_recording([path], tmp_path / "goes", keep_going=True)
    except TapeError:
        assert stopped is not None
        return
    rejected = sum(report.rejected for report in reports)
    assert (rejected > 0) == (stopped is not None and "no market" not in stopped)
    for report in reports:
        assert sum(report.reasons.values()) == report.rejected
        assert len(report.examples) == min(report.rejected, 20)
        assert all(path.name in example for example in report.examples)
        sessions.verify_digest(sessions.load(report.session))


FIELDS = [
    ("orderbook_delta", "price_dollars"), ("orderbook_delta", "delta_fp"),
    ("orderbook_delta", "side"), ("orderbook_delta", "market_ticker"),
    ("trade", "yes_price_dollars"), ("trade", "count_fp"),
    ("orderbook_snapshot", "yes_dollars_fp"), ("orderbook_snapshot", "no_dollars_fp"),
]


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_a_renamed_field_never_becomes_a_default(tmp_path, name, kind, field):
    """Whatever the venue may call a price, a size or a ladder next: the message is refused, with
    file and row, and nothing of it reaches the tape."""
    records = recording() if name != "parts" else [
        each for each in recording() if each["event"]["type"].startswith(("order", "trade"))
    ]
    numbers = [number for number, each in enumerate(records) if each["event"]["type"] == kind]
    at = numbers[-1]
    for renamed in (f"{field}_v2", "levels", "value", field.replace("_", "").upper()):
        changed = copy.deepcopy(records)
        msg = changed[at]["event"]["msg"]
        msg[renamed] = msg.pop(field)
        path = tmp_path / f"{renamed}.ndjson"
        path.write_text("".join(json.dumps(WRAPPED[name](each)) + "\n" for each in changed))
        with pytest.raises(TapeError, match=rf"{renamed}\.ndjson row {at + 1}: "):
            import_recording([path], tmp_path / "stops")
        [report] = import_recording([path], tmp_path / "goes", keep_going=True)
        assert report.rejected == 1


def told(text: object, units: int, low: int, high: int) -> int | None:
    """Return a decimal string in units, read by the book; None if it is not one in this range."""
    if not isinstance(text, str) or not text.isascii() or text.strip("-.0123456789"):
        return None
    try:
        value = Decimal(text) * units
    except InvalidOperation:
        return None
    whole, _, fraction = text.lstrip("-").partition(".")
    if not whole or (("." in text) and not fraction) or len(fraction) > len(str(units)) - 1:
        return None
    if high < units and len(whole) > 1:  # dollars are written with one digit
        return None
    return int(value) if value == int(value) and low <= value <= high else None


def read_by_the_book(msg: dict[str, Any]) -> tuple[int, int] | None:
    """Return (price, qty) of a delta with dollars, YES terms; None if it must be refused."""
    price = told(msg.get("price_dollars"), 10_000, 1, 9_999)
    qty = told(msg.get("delta_fp"), 100, -(2**62), 2**62)
    if price is None or qty is None or msg.get("side") not in ("yes", "no"):
        return None
    return (10_000 - price if msg["side"] == "no" else price), qty


@settings(fuzzed, max_examples=200)
@given(
    st.lists(
        st.fixed_dictionaries({
            "price_dollars": st.one_of(texts, values, st.just("0.4800"), st.just("0.52")),
            "delta_fp": st.one_of(texts, values, st.just("-40.00"), st.just("7")),
            "side": st.one_of(st.sampled_from(["yes", "no", "no"]), values),
            "ts": st.one_of(st.just(None), st.datetimes().map(lambda at: at.isoformat() + "Z")),
        }),
        min_size=1, max_size=8,
    )
)
def test_a_delta_says_what_it_says_or_nothing(fields):
    """Prices and sizes are those that an independent reading of the same text gives, or the delta
    is flagged, and counted once."""
    records = []
    for number, each in enumerate(fields):
        made = delta(number, 1000 * number, "yes", "0.4800", "1.00", seq=number + 1)
        made["event"]["msg"] |= {key: value for key, value in each.items()
                                 if key != "ts" or value is not None}
        records.append(made)
    text = "".join(json.dumps(each) + "\n" for each in records).encode()
    path = Path("r.ndjson")
    rejections = Rejections(keep_going=True)
    decoder = Decoder(LINES, [path], rejections)
    decoder.tickers["KXA-1"] = 0
    found = decoder.decode(Chunk(path, 1, text, len(records), len(text)))
    sound = (found["flags"] & REFUSED == 0) & (found["kind"] == Kind.DELTA)
    got = {int(row["row"]): (int(row["price"]), int(row["qty"])) for row in found[sound]}
    expected = {}
    for number, each in enumerate(records, 1):
        try:
            msgspec.json.encode(each["event"]["msg"])
        except msgspec.MsgspecError:
            continue
        if (told_by := read_by_the_book(each["event"]["msg"])) is not None:
            expected[number] = told_by
    # What the exchange's two times say where they differ is not read here.
    timed = {number for number, each in enumerate(records, 1)
             if "1970-01-01T00:00:00.0" < each["event"]["msg"]["ts"] < "2255-03"}
    small = {row: each for row, each in expected.items()
             if abs(each[1]) <= 10**15 and row in timed}
    assert {row: got.get(row) for row in small} == small
    assert set(got) <= set(expected)
    refused = sum(sum(reasons.values()) for reasons in rejections.reasons.values())
    assert refused == len(records) - len(got)
    assert np.all((found["price"][sound] > 0) & (found["price"][sound] < 10_000))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (lambda: delta(9, 9000, "yes", "0.4", "1", ts="9999-01-01T00:00:00.5Z"), "ts is '9999-01-"),
        (lambda: delta(9, 9000, "yes", "0.4", "1", ts="1969-01-01T00:00:00.5Z"), "ts is '1969-01-"),
        (lambda: trade(9, 9, "yes", "0.5000", "1.00", ts_ms=..., ts=10**11), "ts is 100000000000,"),
        (lambda: line_of_life(determination_ts=10**11), "determination_ts is 100000000000, expect"),
        (lambda: delta(9, 9000, "yes", "0.4", "1", side="\x80"), "not JSON: .* invalid start"),
        (lambda: snapshot(9, None, None, x="\x80"), "a field is .*invalid start byte"),
        (lambda: snapshot(9, None, None, x=[["0.4000", "9"]]), r"x is \[.*, expected a ladder by"),
    ],
)
def test_what_was_once_a_crash_or_a_guess_is_refused(tmp_path, line, text):
    """Times that no int64 holds, bytes that are no text, and ladders of another name: by row."""
    lines = numbered([snapshot(0, *BOOK), line()])
    written = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines)
    (tmp_path / "r.ndjson").write_bytes(written.encode("latin1"))
    with pytest.raises(TapeError, match=rf"r\.ndjson row 2: {text}"):
        import_recording([tmp_path / "r.ndjson"], tmp_path / "out")


def line_of_life(**fields: Any) -> dict[str, Any]:
    """Return the line of a market whose result is known."""
    return line(9, "market_lifecycle_v2", {"market_ticker": "KXA-1", "event_type": "determined",
                                           "result": "yes"}, sid=3, **fields)


def test_dialects_mixed_in_one_file_are_refused_by_row(tmp_path):
    """A file is of the recorder that its first line names; a line of another is named, or counted
    with keep_going, and its message is no row."""
    records = recording()
    for first in WRAPPED:
        for second in WRAPPED:
            if first == second or {first, second} & {"parts"}:
                continue
            path = tmp_path / f"{first}-{second}.ndjson"
            path.write_text("".join(
                json.dumps(WRAPPED[second if number == 4 else first](each)) + "\n"
                for number, each in enumerate(records)
            ))
            with pytest.raises(TapeError, match=rf"{first}-{second}\.ndjson row 5: "):
                import_recording([path], tmp_path / "stops")
            [report] = import_recording([path], tmp_path / "goes", keep_going=True)
            assert report.rejected == 1
