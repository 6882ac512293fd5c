"""Trades and candles of the REST interface: what was said, once, and nothing beside it."""

from __future__ import annotations

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_polymarket import _places, refused_or_imported

from foldbook.adapters import sessions
from foldbook.adapters.kalshi_rest import import_responses
from foldbook.adapters.recordings import Report
from foldbook.engine import Backtest, Side, contracts
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TapeFlag, TapeKind

DATA = Path(os.environ.get("FOLDBOOK_DATA") or Path(__file__).parent.parent / "../shared/data")
CANDLES = DATA / "kalshi_small/candlesticks_mlb.json"
SECOND = 10**9
T0 = 1_786_000_000
K = TapeKind


def trade(number: int, second: str, taker: str = "yes", price: str = "0.4200",
          count: str = "3.00", **more: Any) -> dict[str, Any]:
    row = {"trade_id": f"t{number}", "ticker": "KXA-1", "count_fp": count,
           "yes_price_dollars": price, "no_price_dollars": f"{1 - Decimal(price)}",
           "taker_side": taker, "taker_outcome_side": taker,
           "created_time": f"2026-08-06T07:06:{second}Z", "is_block_trade": False}
    return {name: value for name, value in (row | more).items() if value is not ...}


def candle(end: int, volume: str = "1.00", **more: Any) -> dict[str, Any]:
    quotes = {f"{corner}_dollars": "0.4000" for corner in ("open", "high", "low", "close")}
    row = {"end_period_ts": T0 + end, "volume_fp": volume, "open_interest_fp": "9.50",
           "price": {**quotes, "previous_dollars": "0.39"}, "yes_bid": quotes, "yes_ask": quotes}
    return {name: value for name, value in (row | more).items() if value is not ...}


def imported(folder: Path, *responses: Any, **options: Any) -> Report:
    paths = []
    for number, response in enumerate(responses):
        paths.append(folder / f"r{number}.json")
        paths[-1].write_text(response if isinstance(response, str) else json.dumps(response))
    [report] = import_responses(paths, folder / "out", **options)
    return report


def shown(report: Report) -> list[tuple[Any, ...]]:
    """Return (kind, ms after T0, side, price, qty, flags) of each row."""
    rows = sessions.load(report.session).tape.rows
    return [(K(row["kind"]), (int(row["ts"]) - T0 * SECOND) // 10**6, int(row["side"]),
             int(row["price"]), int(row["qty"]), int(row["flags"])) for row in rows]


def test_trades_stand_by_time_and_fill_no_queue(tmp_path):
    """Pages come newest first and may overlap. A taker of YES takes from the asks; a GAP says that
    there is no book."""
    report = imported(
        tmp_path, {"trades": [trade(3, "42.5", "no"), trade(2, "41", price="0.4250")]},
        {"cursor": "", "trades": [trade(2, "41", price="0.4250"),
                                  trade(1, "40.000250", is_block_trade=True)]})
    alone = int(TapeFlag.UNJOINED)
    assert shown(report) == [
        (K.GAP, 0, 0, 0, 0, 0),
        (K.TRADE, 0, Side.SELL, 4200, 300, alone | TapeFlag.BLOCK),
        (K.TRADE, 1000, Side.SELL, 4250, 300, alone), (K.TRADE, 2500, Side.BUY, 4200, 300, alone)]
    assert (report.read, report.unjoined, report.left_out) == (4, 3, {"duplicate": 1})
    session = sessions.load(report.session)
    assert session.markets[0].tick == 50
    assert int(session.tape.rows["ts"][1]) == T0 * SECOND + 250_000


def test_nothing_can_be_traded_in_such_a_session(tmp_path):
    """An order that would rest at the price of every trade is refused: there is no book."""
    report = imported(tmp_path, {"trades": [trade(n, f"4{n}") for n in range(5)]})

    def buy(sim: Any) -> None:
        sim.submit("KXA-1", Side.BUY, price=4200, qty=contracts(1))

    result = Backtest(sessions.load(report.session), buy, every="1s").run()
    assert len(result.fills) == 0
    assert result.metrics()["rejects"] > 0


def test_candles_become_a_table_beside_the_session(tmp_path):
    """In whole units that the table names; prices are missing where nothing was traded."""
    quiet = candle(120, "0.00", price={"previous_dollars": "0.40"})
    report = imported(tmp_path, {"ticker": "KXA-1", "candlesticks": [quiet, candle(60)]})
    table = pq.read_table(tmp_path / "out/KXA-1.candles.parquet")
    assert table.schema.field("volume").metadata == {b"unit": b"0.01 contract"}
    first, second = table.to_pylist()
    assert first == {
        "end_ts": (T0 + 60) * SECOND, "volume": 100, "open_interest": 950, "open": 4000,
        "high": 4000, "low": 4000, "close": 4000,
        **{f"yes_{side}_{corner}": 4000 for side in ("bid", "ask")
           for corner in ("open", "high", "low", "close")}}
    assert (second["end_ts"], second["open"], second["yes_bid_open"]) == (
        (T0 + 120) * SECOND, None, 4000)
    assert shown(report) == [(K.GAP, 60_000, 0, 0, 0, 0)]
    facts = sessions.load(report.session).facts["markets"]["KXA-1"]["candles"]
    assert facts == {"file": "KXA-1.candles.parquet", "count": 2, "period_ns": None}


def test_files_of_lines_folders_and_dry_runs(tmp_path):
    """One response a line, gzip or not; other records of a folder are passed over; a dry run
    leaves nothing behind."""
    folder = tmp_path / "in"
    folder.mkdir()
    pages = [{"trades": [trade(1, "40")]}, {"response": {"trades": [trade(2, "41")]}}]
    lines = "\n".join(map(json.dumps, pages)) + "\n"
    (folder / "trades.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "market.json").write_text('{"market": {"ticker": "KXA-1"}}')
    (folder / "list.json").write_text("[1]")
    told: list[tuple[int, int]] = []
    [dry] = import_responses([folder], tmp_path / "out", dry_run=True,
                             progress=lambda *bytes: told.append(bytes))
    assert not (tmp_path / "out").exists()
    [report] = import_responses([folder], tmp_path / "out")
    assert (dry.counts, dry.events) == (report.counts, report.events)
    assert report.counts["trades"] == 2
    assert told[-1][0] == told[-1][1] == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize(("row", "text"), [
    (trade(1, "40", trade_id=...), "row 2: .*missing required field `trade_id`"),
    (trade(1, "40", ticker=...), "row 2: .*missing required field `ticker`"),
    (trade(1, "40", yes_price_dollars=...), "row 2: yes_price_dollars is None, expected dollars"),
    (trade(1, "40", yes_price_dollars=0.42), "row 2: .*yes_price_dollars"),
    (trade(1, "40", yes_price_dollars="1.42"), "row 2: yes_price_dollars is '1.42'"),
    (trade(1, "40", yes_price_dollars="0.42001"), "row 2: yes_price_dollars is '0.42001'"),
    (trade(1, "40", no_price_dollars="0.5"), "row 2: no_price_dollars is '0.5', expected 1 - yes"),
    (trade(1, "40", yes_price=43), "row 2: yes_price is 43, expected 0.4200 rounded to cents"),
    (trade(1, "40", yes_price=0), "row 2: yes_price is 0, expected cents"),
    (trade(1, "40", count_fp=...), "row 2: count is None, expected contracts"),
    (trade(1, "40", count="0.00"), "row 2: count_fp is '0.00', expected more than zero"),
    (trade(1, "40", count="0.001"), "row 2: count_fp is '0.001'"),
    (trade(1, "40", "maybe"), "row 2: Invalid enum value 'maybe'"),
    (trade(1, "40", taker_side="no"), "row 2: taker_side is 'no', expected yes or no, as"),
    (trade(1, "40", taker_side=..., taker_outcome_side=...), "row 2: taker_side is None"),
    (trade(1, "40", created_time="2026-08-06T07:06:40"), "row 2: created_time is .* its zone"),
    (trade(1, "40", created_time="yesterday"), "row 2: .*created_time"),
    (trade(0, "40"), "row 2: trade_id is 't0', expected one that stands for one trade"),
])
def test_a_trade_that_is_none_is_refused_by_name(tmp_path, row, text):
    """And counted with --keep-going."""
    response = {"trades": [trade(0, "39"), row]}
    with pytest.raises(TapeError, match=f"r0.json {text}"):
        imported(tmp_path, response)
    report = imported(tmp_path, response, keep_going=True)
    assert (report.rejected, report.counts["trades"]) == (1, 1)


@pytest.mark.parametrize(("row", "text"), [
    (candle(60, volume_fp=...), "missing required field `volume_fp`"),
    (candle(60, volume_fp="x"), "volume_fp is 'x', expected contracts"),
    (candle(60, price={"previous_dollars": "0.4"}), "price.open_dollars is None"),
    (candle(60, yes_bid={}), "yes_bid.open_dollars is None"),
    (candle(60, yes_ask=...), "missing required field `yes_ask`"),
    (candle(60, end_period_ts=-1), "end_period_ts is -1"),
    (candle(60, end_period_ts=T0), "end_period_ts is .*, expected one that stands for one candle"),
])
def test_a_candle_that_is_none_is_refused_by_name(tmp_path, row, text):
    """A price that is missing where there was volume is no price of 0."""
    response = {"ticker": "KXA-1", "candlesticks": [candle(0, "2.00"), row]}
    with pytest.raises(TapeError, match=f"r0.json row 2: .*{text}"):
        imported(tmp_path, response)
    assert imported(tmp_path, response, keep_going=True).counts["candles"] == 1


@pytest.mark.parametrize(("text", "said"), [
    ("{", "not a response"), ("[]", "not a response"), ("", "holds neither"),
    ('{"market": {}}', "holds neither trades nor candlesticks"), ('{"trades": {}}', "not a resp"),
    ('{"trades": []}', "holds neither"), ('{"candlesticks": [{}]}', "row 1: ticker is None"),
])
def test_what_is_no_response_is_refused(tmp_path, text, said):
    """By the file's name."""
    with pytest.raises(TapeError, match=f"r0.json.*{said}"):
        imported(tmp_path, text)


@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_responses_are_refused_or_imported(tmp_path, data):
    """Fields changed or taken away, texts cut: a named error, or a session."""
    response = {"trades": [trade(n, f"4{n}") for n in range(3)], "ticker": "KXA-1",
                "candlesticks": [candle(60 * n) for n in range(2)]}
    values = st.sampled_from([None, "", "x", -1, 0.5, "1e9", [], {}, "0.5", True, "9" * 40, 2**70,
                              "../x", "2026-08-06T07:06:40Z", "0001-01-01T00:00:00Z"])
    for _ in range(data.draw(st.integers(0, 3))):
        holder, key = data.draw(st.sampled_from(list(_places(response))))
        holder[key] = data.draw(values)
    text = json.dumps(response)
    if data.draw(st.booleans()):
        text = text[: data.draw(st.integers(0, len(text)))] + data.draw(
            st.sampled_from(["", "}", "\x00", "]]"]))
    path = tmp_path / "r.json"
    path.write_text(text)
    refused_or_imported(import_responses, path, keep_going=data.draw(st.booleans()))


@pytest.mark.skipif(not CANDLES.is_file(), reason=f"no recordings in {DATA}; set FOLDBOOK_DATA")
def test_the_recorded_candles(tmp_path):
    """Three markets with 16 candles of a minute each, as plain Python reads them."""
    reports = import_responses([CANDLES], tmp_path / "out")
    stated = json.loads(CANDLES.read_text())["markets"]
    assert [report.markets[0] for report in reports] == list(stated)
    for report in reports:
        ticker = report.markets[0]
        rows = pq.read_table(tmp_path / "out" / f"{ticker}.candles.parquet").to_pylist()
        expected = stated[ticker]["candlesticks"]
        assert [row["end_ts"] // SECOND for row in rows] == [
            each["end_period_ts"] for each in expected]
        for name in ("open", "high", "low", "close"):
            assert [row[f"yes_bid_{name}"] for row in rows] == [
                int(Decimal(each["yes_bid"][f"{name}_dollars"]) * 10_000) for each in expected]
            assert [row[name] for row in rows] == [
                None if f"{name}_dollars" not in each["price"]
                else int(Decimal(each["price"][f"{name}_dollars"]) * 10_000) for each in expected]
        facts = sessions.load(report.session).facts["markets"][ticker]["candles"]
        assert (facts["count"], facts["period_ns"]) == (16, 60 * SECOND)
