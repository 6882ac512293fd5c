"""The fold that importers share: whatever comes in, a valid tape comes out, and it says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foldbook.adapters import sessions
from foldbook.adapters.recordings import (
    MESSAGE_DTYPE,
    Grid,
    Import,
    MarketFold,
    MessageFlag,
    MessageKind,
    RefusedError,
    Scale,
)
from foldbook.adapters.recordings.joining import Joiner
from foldbook.adapters.recordings.tapes import REFUSALS
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market

M, K = MessageKind, TapeKind
BUY, SELL = Side.BUY, Side.SELL
PRICE = Scale("price", 10_000, 1, 9_999, "dollars between 0 and 1")
QTY = Scale("qty", 100, 0, 10**14, "contracts")


def messages(*lines: tuple[int, ...]) -> np.ndarray:
    """Return messages from (kind, ts, side, price, qty, flags, ahead); recv is ts + 1."""
    made = np.zeros(len(lines), MESSAGE_DTYPE)
    for number, line in enumerate(lines):
        kind, ts, side, price, qty, flags, ahead = (*line, 0, 0, 0, 0, 0)[:7]
        row = made[number]
        row["kind"], row["ts"], row["recv"], row["side"] = kind, ts, ts + 1, side
        row["price"], row["qty"], row["flags"], row["ahead"] = price, qty, flags, ahead
        row["row"] = number + 1
    return made


def fold(given: np.ndarray, grid: Grid | None = None) -> tuple[np.ndarray, MarketFold, list[int]]:
    """Return (tape rows, the fold, indices of refused messages)."""
    folding = MarketFold(grid)
    refused: list[int] = []
    blocks = [rows.copy() for rows in folding.feed(given, lambda at, _: refused.append(at))]
    return np.concatenate([*blocks, folding.finish()]), folding, refused


def shown(rows: np.ndarray) -> list[tuple[int, ...]]:
    """Return (kind, ts, side, price, qty, flags) of each row."""
    return [(K(row["kind"]), int(row["ts"]), int(row["side"]), int(row["price"]), int(row["qty"]),
             int(row["flags"])) for row in rows]


START = (
    (M.SNAPSHOT, 10, 0, 0, 2),
    (M.LEVEL, 10, BUY, 4000, 1000),
    (M.LEVEL, 10, SELL, 4500, 500),
)
ROWS = [(K.GRID, 10, 0, 100, 0, 0), (K.SNAPSHOT, 10, 0, 0, 0, 0),
        (K.SNAPSHOT_LEVEL, 10, BUY, 4000, 1000, 0), (K.SNAPSHOT_LEVEL, 10, SELL, 4500, 500, 0)]


def test_changes_and_sizes_become_rows():
    """A CHANGE is signed, a SET is the new size; a row holds the difference, and none if there is
    none."""
    rows, folding, refused = fold(messages(
        *START, (M.CHANGE, 20, BUY, 4000, -300), (M.SET, 30, SELL, 4500, 700),
        (M.SET, 40, SELL, 4500, 700), (M.SET, 50, BUY, 4000, 0),
    ))
    assert shown(rows) == [*ROWS, (K.DECREASE, 20, BUY, 4000, 300, 0),
                           (K.INCREASE, 30, SELL, 4500, 200, 0),
                           (K.DECREASE, 50, BUY, 4000, 700, 0)]
    assert (dict(folding.left_out), refused) == ({"unchanged": 1}, [])


def test_a_picture_becomes_differences_and_leaves_what_it_does_not_show():
    """BUY 4100 is new, 4000 shrank; of the asks one level is shown and more may stand beyond it, so
    4600 stays; the bids are shown whole, so 3900 is gone."""
    rows, _, _ = fold(messages(
        (M.BOOK, 10, 0, 0, 4), (M.LEVEL, 10, BUY, 4000, 1000), (M.LEVEL, 10, BUY, 3900, 50),
        (M.LEVEL, 10, SELL, 4500, 500), (M.LEVEL, 10, SELL, 4600, 600),
        (M.BOOK, 20, 0, 0, 3, MessageFlag.MORE_SELL), (M.LEVEL, 20, BUY, 4100, 7),
        (M.LEVEL, 20, BUY, 4000, 900), (M.LEVEL, 20, SELL, 4500, 400),
    ))
    assert shown(rows)[6:] == [
        (K.DECREASE, 20, BUY, 4000, 100, 0), (K.DECREASE, 20, BUY, 3900, 50, 0),
        (K.DECREASE, 20, SELL, 4500, 100, 0), (K.INCREASE, 20, BUY, 4100, 7, 0),
    ]


def test_a_joined_trade_stands_before_what_it_took():
    """A SET below the trade gives the trade's decrease and another; one above leaves it alone."""
    rows, folding, _ = fold(messages(
        *START, (M.TRADE, 20, SELL, 4500, 100, TapeFlag.JOINED), (M.SET, 20, SELL, 4500, 350),
        (M.TRADE, 30, BUY, 4000, 200, TapeFlag.JOINED), (M.CHANGE, 30, BUY, 4000, -100),
        (M.TRADE, 40, BUY, 4000, 5),
    ))
    assert shown(rows)[4:] == [
        (K.TRADE, 20, SELL, 4500, 100, TapeFlag.JOINED), (K.DECREASE, 20, SELL, 4500, 100, 0),
        (K.DECREASE, 20, SELL, 4500, 50, 0), (K.TRADE, 30, BUY, 4000, 200, TapeFlag.UNJOINED),
        (K.DECREASE, 30, BUY, 4000, 100, 0), (K.TRADE, 40, BUY, 4000, 5, TapeFlag.UNJOINED),
    ]
    assert (folding.joined, folding.unjoined) == (1, 2)


def test_what_the_book_cannot_bear_is_a_gap_until_the_next_full_book():
    """Below zero, a loss, and a book that is crossed when its burst has ended."""
    rows, folding, _ = fold(messages(
        *START, (M.CHANGE, 20, BUY, 4000, -1001), (M.CHANGE, 25, BUY, 4000, 1),
        (M.BOOK, 30, 0, 0, 1), (M.LEVEL, 30, BUY, 4000, 5), (M.LOST, 31),
        (M.BOOK, 40, 0, 0, 1), (M.LEVEL, 40, BUY, 4000, 5), (M.SET, 50, SELL, 4000, 9),
        (M.TRADE, 60, BUY, 4000, 1),
    ))
    kinds = [(kind, ts) for kind, ts, *_ in shown(rows)[4:]]
    assert kinds == [
        (K.GAP, 10), (K.SNAPSHOT, 30), (K.SNAPSHOT_LEVEL, 30), (K.RECOVERED, 30), (K.GAP, 30),
        (K.SNAPSHOT, 40), (K.SNAPSHOT_LEVEL, 40), (K.RECOVERED, 40), (K.INCREASE, 50), (K.GAP, 50),
        (K.TRADE, 60),
    ]
    assert dict(folding.left_out) == {"impossible": 1, "in_gap": 1}


def test_a_crossed_picture_is_not_taken():
    """A full book that is crossed in itself ends the trust; nothing of it stands on the tape."""
    rows, folding, _ = fold(messages(
        *START, (M.BOOK, 20, 0, 0, 2), (M.LEVEL, 20, BUY, 5000, 5), (M.LEVEL, 20, SELL, 5000, 5)))
    assert shown(rows)[4:] == [(K.GAP, 10, 0, 0, 0, 0)]
    assert folding.left_out["impossible"] == 1


def test_a_grid_refines_itself_unless_it_is_stated():
    """0.4050 needs a step of 50, 0.4051 one of 1; on a stated cent grid both are refused."""
    lines = messages(*START, (M.SET, 20, BUY, 4050, 9), (M.SET, 30, BUY, 4051, 9))
    rows, folding, refused = fold(lines)
    grids = [(ts, price) for kind, ts, _, price, _, _ in shown(rows) if kind == K.GRID]
    assert (grids, folding.tick, refused) == ([(10, 100), (20, 50), (30, 1)], 1, [])
    rows, folding, refused = fold(lines, Grid(100))
    assert (folding.tick, refused, rows[-1]["kind"]) == (100, [3, 4], K.GAP)


def test_a_close_empties_the_book_and_ends_it():
    """After CLOSED only the settlement counts; one without a payout is left out."""
    rows, folding, _ = fold(messages(
        *START, (M.STATUS, 20, 0, 0, MarketStatus.CLOSED), (M.CHANGE, 30, BUY, 4000, 1),
        (M.STATUS, 40, 0, -1, MarketStatus.SETTLED),
        (M.STATUS, 50, 0, 10_000, MarketStatus.SETTLED),
    ))
    assert shown(rows)[4:] == [(K.STATUS, 20, 0, 0, MarketStatus.CLOSED, 0),
                               (K.STATUS, 50, 0, 10_000, MarketStatus.SETTLED, 0)]
    assert dict(folding.left_out) == {"after_close": 1, "no_payout": 1}


def test_places_that_the_recording_knows_are_kept(tmp_path):
    """With has_places `ahead` is what the messages say, GUESSED only where they say so."""
    path = tmp_path / "r"
    path.write_bytes(b"")
    with Import("x", tmp_path / "out", [path]) as job:
        market = job.market("A", "r")
        market.add(messages(
            *START, (M.CHANGE, 20, BUY, 4000, -300, 0, 250), (M.CHANGE, 30, BUY, 4000, -1, 0, -1),
            (M.CHANGE, 40, BUY, 4000, -1, TapeFlag.GUESSED, 7)))
        market.finish(has_places=True)
        [report] = job.reports()
    rows = sessions.load(report.session).tape.rows[4:]
    assert [(int(row["ahead"]), int(row["flags"])) for row in rows] == [
        (250, 0), (-1, 0), (7, TapeFlag.GUESSED)]
    assert (report.identified, report.ambiguous, report.missing) == (1, 1, 1)


kinds = st.sampled_from([M.SNAPSHOT, M.BOOK, M.CHANGE, M.CHANGE, M.SET, M.SET, M.TRADE, M.STATUS,
                         M.GRID, M.FEE, M.LOST, M.LEVEL])
prices = st.one_of(st.sampled_from([4000, 4100, 4050, 4500]), st.integers(-5, 10_005))
qtys = st.one_of(st.integers(-300, 300), st.integers(0, 4), st.sampled_from([-(2**63), 2**63 - 1]))


@st.composite
def wild(draw: st.DrawFn) -> np.ndarray:
    """Messages of which hardly anything is as it should be."""
    lines, ts = [], 0
    for _ in range(draw(st.integers(1, 30))):
        ts += draw(st.sampled_from([0, 0, 1, 5, -1]))
        kind = draw(kinds)
        levels = draw(st.integers(0, 4)) if kind <= M.BOOK else 0
        qty = draw(qtys) if kind not in (M.SNAPSHOT, M.BOOK) else levels + draw(
            st.sampled_from([0, 0, 0, 0, 1, -1, -5]))
        if kind == M.STATUS:
            qty = draw(st.integers(-1, 6))
        flags = draw(st.sampled_from([0, TapeFlag.JOINED, MessageFlag.MORE_BUY, TapeFlag.REPRICE]))
        lines.append((kind, ts, draw(st.integers(-1, 2)), draw(prices), qty, flags,
                      draw(st.integers(-1, 300))))
        lines += [(M.LEVEL, ts, draw(st.integers(0, 1)), draw(prices), draw(st.integers(0, 99)))
                  for _ in range(levels)]
    return messages(*lines)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(wild(), st.sampled_from([None, Grid(100), Grid(100, 10, 1000)]))
def test_whatever_comes_in_a_valid_tape_comes_out(given, grid):
    """The checks of a session accept it; no message is dropped without a word, and to hand the
    messages in one by one, as far as they may be split, makes the same tape."""
    rows, folding, refused = fold(given, grid)
    Session(Tape(rows), (Market("A", folding.tick),), name="wild")
    assert (np.diff(rows["recv"][np.isin(rows["kind"], (K.INCREASE, K.DECREASE))]) >= 0).all()
    assert set(REFUSALS) and len(set(refused)) == len(refused)
    again = MarketFold(grid)
    blocks, at = [], 0
    while at < len(given):
        end = at + 1
        if given["kind"][at] in (M.SNAPSHOT, M.BOOK):
            while end < len(given) and given["kind"][end] == M.LEVEL:
                end += 1
        elif given["kind"][at] == M.TRADE and {*given["kind"][end : end + 1]} & {M.CHANGE, M.SET}:
            end += 1
        blocks += [part.copy() for part in again.feed(given[at:end], lambda at, verdict: None)]
        at = end
    assert np.concatenate([*blocks, again.finish()]).tobytes() == rows.tobytes()
    assert again.left_out == folding.left_out


def levels_of(rows: np.ndarray) -> dict[tuple[int, int], int]:
    """Return the levels after these rows, by (side, price)."""
    levels: dict[tuple[int, int], int] = {}
    for _, _, qty, _, price, _, kind, side, _ in rows.tolist():
        if kind in (K.SNAPSHOT, K.GAP) or (kind == K.STATUS and qty >= MarketStatus.CLOSED):
            levels = {}
        elif kind in (K.SNAPSHOT_LEVEL, K.INCREASE, K.DECREASE):
            sign = -1 if kind == K.DECREASE else 1
            levels[side, price] = levels.get((side, price), 0) + sign * qty
    return {level: qty for level, qty in levels.items() if qty}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(wild(), st.integers(1, 7))
def test_joining_changes_no_book_and_loses_no_trade(given, step):
    """However the messages are handed in: the book after each ts is what it is without joining,
    and each trade is there once, with its own price, side and size."""
    given = given[np.isin(given["kind"], (M.SNAPSHOT, M.BOOK, M.LEVEL, M.CHANGE, M.SET, M.TRADE))]
    given["flags"][given["kind"] == M.TRADE] = 0
    given["ts"] = np.maximum.accumulate(given["ts"])
    joiner = Joiner()
    parts = [joiner.feed(given[at : at + step]) for at in range(0, len(given), step)]
    joined = np.concatenate([*parts, joiner.finish()])
    plain, before, _ = fold(given)
    rows, after, _ = fold(joined)
    Session(Tape(rows), (Market("A", after.tick),), name="joined")
    assert after.joined + after.unjoined == before.unjoined
    for ts in np.unique(given["ts"]).tolist():
        assert levels_of(rows[rows["ts"] <= ts]) == levels_of(plain[plain["ts"] <= ts])


def test_a_trade_may_come_before_or_after_what_it_took():
    """In one moment it is joined either way; two trades share a decrease; the rest of it is
    another. A trade of another moment, or larger than what is left, is alone."""
    for order in ((3, 4, 5), (5, 3, 4), (4, 5, 3)):
        lines = [(M.TRADE, 20, SELL, 4500, 100), (M.TRADE, 20, SELL, 4500, 150),
                 (M.CHANGE, 20, SELL, 4500, -300)]
        joiner = Joiner()
        parts = [joiner.feed(messages(*START, *(lines[at - 3] for at in order),
                                      (M.TRADE, 30, SELL, 4500, 1)))]
        rows, folding, _ = fold(np.concatenate([*parts, joiner.finish()]))
        assert [row[0] for row in shown(rows)[4:]] == [
            K.TRADE, K.DECREASE, K.TRADE, K.DECREASE, K.DECREASE, K.TRADE]
        assert shown(rows)[8] == (K.DECREASE, 20, SELL, 4500, 50, 0)
        assert (folding.joined, folding.unjoined) == (2, 1)


def test_long_recordings_are_folded_in_blocks():
    """A hundred thousand pictures of a moving book: the same rows as one at a time would give."""
    count = 40_000
    made = np.zeros((count, 3), MESSAGE_DTYPE)
    made["ts"] = made["recv"] = np.arange(count)[:, None]
    made["kind"] = (M.BOOK, M.LEVEL, M.LEVEL)
    made["qty"][:, 0], made["qty"][:, 1:] = 2, 100
    made["side"] = (0, BUY, SELL)
    made["price"][:, 1] = 4000 + np.arange(count) % 2 * 100
    made["price"][:, 2] = made["price"][:, 1] + 100
    rows, _, _ = fold(made.ravel())
    assert len(rows) == 4 + (count - 1) * 4
    assert set(rows["kind"][4::4]) == set(rows["kind"][5::4]) == {K.DECREASE}


@pytest.mark.parametrize(("scale", "value", "units"), [
    (PRICE, ".48", 4800), (PRICE, "0.456", 4560), (PRICE, 0.3, 3000), (QTY, "219.21", 21921),
    (QTY, 1.9300000000000002, 193), (QTY, 0.1 + 0.2, 30), (QTY, 7, 700), (QTY, "1000000.00", 10**8),
    (QTY, 1e22 / 1e12, 10**12),
])
def test_decimals_are_exact(scale, value, units):
    """A string is its decimal; a float its shortest one, or the multiple that it misses by ulps."""
    assert scale.units("x", value) == units


@pytest.mark.parametrize(("scale", "value", "why"), [
    (PRICE, "0.48005", "too_fine"), (PRICE, 0.48005, "too_fine"), (PRICE, "1", "price"),
    (PRICE, "0", "price"), (PRICE, "-0.5", "price"), (PRICE, "", "missing_field"),
    (PRICE, None, "missing_field"), (PRICE, "abc", "price"), (PRICE, ".", "price"),
    (PRICE, True, "wrong_type"), (PRICE, float("nan"), "price"), (QTY, float("inf"), "qty"),
    (QTY, 1e300, "qty"), (QTY, "219.217767", "too_fine"), (QTY, 1.931, "too_fine"),
    (QTY, "1e5", "qty"), (QTY, "\uff11", "qty"),
])
def test_what_is_no_decimal_of_the_unit_is_refused(scale, value, why):
    """By a word for why, and a text that names field, value and what was expected."""
    with pytest.raises(RefusedError, match=r"^x is .*expected ") as caught:
        scale.units("x", value)
    assert caught.value.why == why


def test_a_finer_size_is_rounded_down_only_where_that_was_asked_for():
    """And then it is counted."""
    scale = Scale("qty", 100, 0, 10**14, "contracts", floors=True)
    assert [scale.units("x", text) for text in ("219.217767", "219.217767", "0.004", "5")] == [
        21921, 21921, 0, 500]
    assert scale.floored == 3


def test_a_dry_run_writes_nothing(tmp_path):
    """It reports what the import would, and a tape that is none is still refused."""
    path = tmp_path / "r"
    path.write_bytes(b"")
    reports = []
    for dry_run in (True, False):
        with Import("x", tmp_path / "out", [path], dry_run=dry_run) as job:
            market = job.market("A", "r")
            market.add(messages(*START))
            market.finish()
            reports += job.reports()
            if dry_run:
                assert not Path(tmp_path / "out").exists()
    dry, real = (report.to_json() for report in reports)
    assert (dry.pop("written"), real.pop("written")) == (False, True)
    assert dry == real
    assert not [each for each in (tmp_path / "out").iterdir() if each.name.startswith(".")]


def test_an_import_of_nothing_is_an_error(tmp_path):
    """As is a ticker that cannot name a folder, and one that comes twice."""
    path = tmp_path / "r"
    path.write_bytes(b"")
    with Import("x", tmp_path / "out", [path]) as job:
        job.market("A", "r").finish()
        with pytest.raises(TapeError, match="holds no market"):
            job.reports()
    with Import("x", tmp_path / "out", [path]) as job:
        for ticker, fault in (("../A", "is no ticker"), ("B", None), ("B", "in two recordings")):
            market = job.market(ticker, "r")
            market.add(messages(*START))
            if fault is None:
                market.finish()
                continue
            with pytest.raises(TapeError, match=fault):
                market.finish()
    assert TAPE_DTYPE.itemsize == 40
