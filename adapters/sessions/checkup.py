"""What is wrong with a session that loads: its tape keeps the rules, but may still mislead.

Each check looks at one market, in tape order, and says what it saw with numbers and places; nothing
is changed. Thresholds are named here, and docs/facts.md says why they are what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import numpy as np

from foldbook.engine.schema import MarketStatus, TapeFlag, TapeKind
from foldbook.engine.session import Session
from foldbook.engine.specs import Market
from foldbook.engine.trust import stretches
from foldbook.engine.units import (
    MILLISECOND,
    PRICE_ONE,
    QTY_ONE,
    SECOND,
    decimal_price,
    decimal_qty,
)

from .facts import capture_of
from .findings import PLACES_MAX, Finding, Place, Problem, Severity
from .quality import Capture
from .standing import Standing
from .tallies import SILENCE_NS, Tally, tally
from .touch import touches

ODD_SILENCE = 10
"""A silence is odd if it is longer than this many times the 99th of 100 waits of its market."""
PASSING_SHARE = 0.01
"""Bursts that pass through a crossed or locked book: more than this share is no accident."""
JOINED_SHARE = 0.99
"""Of the trades this share should be joined."""
GUESSED_SHARE, GUESSED_LEAST = 0.5, 20
"""Guesses are worth a word if more than this share of at least so many decreases is one."""
LEVEL_MAX = 100_000_000 * QTY_ONE
"""A level larger than this many contracts is not plausible; real ones of 15.6 million occur."""
TS_MIN, TS_MAX = 631_152_000 * SECOND, 1 << 62
"""Plausible times: from 1990 to 2116."""
RECEIPT_MAX = 86_400 * SECOND
"""Nothing is received a day before it happens, or a day after."""
BEHIND_NS = 100 * MILLISECOND
"""Receipts so long before their events say that the recorder's clock is wrong."""
JUMP_NS = 50 * MILLISECOND
"""A change of the least feed delay from one window to the next that no network explains."""
JUMP_WINDOW_NS = 10 * SECOND
JUMP_ROWS = 20
"""Level changes that a window needs before its least delay says anything."""


@attrs.frozen
class Patient:
    """One market of a session: its rows, the state after each, and their numbers on the tape."""

    session: str
    ticker: str
    tick: int
    rows: np.ndarray
    after: np.ndarray
    numbers: np.ndarray
    counted: Tally
    capture: Capture
    is_cut: bool

    def found(
        self, problem: Problem, severity: Severity, text: str, at: np.ndarray | None = None
    ) -> Finding:
        """Return a finding; `at` are indices into the market's rows."""
        shown = [] if at is None else at[:PLACES_MAX].tolist()
        places = tuple(Place(int(self.numbers[i]), int(self.rows["ts"][i])) for i in shown)
        return Finding(problem, severity, self.session, text, self.ticker, places,
                       1 if at is None else len(at))


def check_up(session: Session) -> list[Finding]:
    """Return what is wrong with a session, the worst first; empty if nothing is."""
    found = list(_whole(session))
    for patient in _patients(session):
        if not len(patient.rows):
            found.append(patient.found(Problem.EMPTY, Severity.NOTE, "the market has no rows"))
            continue
        for check in CHECKS:
            found.extend(check(patient))
    return sorted(found, key=lambda each: -each.severity)


def _patients(session: Session) -> Iterator[Patient]:
    rows = session.tape.rows
    numbers = np.argsort(rows["market"], kind="stable")
    rows = rows[numbers]
    after = touches(rows, session.markets)
    stops = np.searchsorted(rows["market"], np.arange(len(session.markets) + 1)).tolist()
    capture = capture_of(session)
    for market, begin, stop in zip(session.markets, stops[:-1], stops[1:], strict=True):
        own, state = rows[begin:stop], after[begin:stop]
        yield Patient(_place_of(session), market.ticker, market.tick, own, state,
                      numbers[begin:stop], tally(own, state), capture,
                      session.facts.get("made", {}).get("by") == "slice")


def _place_of(session: Session) -> str:
    return str(session.source.get("path", session.name))


def _whole(session: Session) -> Iterator[Finding]:
    """Check what the importer said of the recording, and whether there is anything on the tape."""
    place, facts = _place_of(session), session.facts
    if not len(session.tape):
        yield Finding(Problem.EMPTY, Severity.WARNING, place, "the tape has no rows")
        return
    rejected = int(facts.get("rejected") or 0)
    if rejected:
        yield Finding(Problem.REJECTED, Severity.WARNING, place,
                      f"{rejected} lines were refused when it was imported", count=rejected)
    early = int(facts.get("left_out", {}).get("unanchored", 0))
    if early:
        yield Finding(Problem.UNANCHORED, Severity.NOTE, place,
                      f"{early} messages came before the first snapshot, and are left out",
                      count=early)
    if not (session.tape.rows["kind"] == TapeKind.TRADE).any():
        yield Finding(Problem.NO_TRADES, Severity.WARNING, place,
                      "there is no trade on the tape: no trade channel, or nobody traded")
    if facts.get("receive_times") is False:
        yield Finding(Problem.NO_RECEIPTS, Severity.WARNING, place,
                      "the recording had no receive times: recv is the exchange time")


def _times(patient: Patient) -> Iterator[Finding]:
    ts, recv = patient.rows["ts"], patient.rows["recv"]
    odd = np.flatnonzero((ts < TS_MIN) | (ts >= TS_MAX))
    if len(odd):
        yield patient.found(Problem.TIME, Severity.WARNING,
                            f"{len(odd)} rows stand at no plausible time, such as {ts[odd[0]]} ns",
                            odd)
        return
    if (recv == 0).all() or (len(recv) > 1 and (recv == recv[0]).all() and ts[0] != ts[-1]):
        if patient.capture.receive_times is not False:
            yield patient.found(Problem.NO_RECEIPTS, Severity.WARNING,
                                f"all rows are received at {recv[0]} ns")
        return
    far = np.flatnonzero(np.abs(recv - ts) > RECEIPT_MAX)
    if len(far):
        apart = abs(int(recv[far[0]]) - int(ts[far[0]])) / SECOND
        yield patient.found(Problem.TIME, Severity.WARNING,
                            f"{len(far)} rows are received more than a day from their time, the "
                            f"first {apart:.0f} s from it", far)


def _gaps(patient: Patient) -> Iterator[Finding]:
    gaps = np.flatnonzero(patient.rows["kind"] == TapeKind.GAP)
    if not len(gaps):
        return
    apart = [each for each in stretches(_alone(patient.rows), 1) if each.first or gaps[0] == 0]
    lost = sum(each.end - each.start for each in apart) / SECOND
    open_end = not patient.after["trusted"][-1] and not patient.after["closed"][-1]
    rest = ", and it never recovers" if open_end else ""
    yield patient.found(Problem.GAP, Severity.WARNING,
                        f"events were lost {_times_over(len(gaps))}: the book is not trusted for "
                        f"{lost:.3f} s{rest}", gaps)


def _alone(rows: np.ndarray) -> np.ndarray:
    """Return the rows of one market as those of market 0."""
    copy = rows.copy()
    copy["market"] = 0
    return copy


def _silences(patient: Patient) -> Iterator[Finding]:
    ts, after = patient.rows["ts"], patient.after
    waits = np.append(np.diff(ts), 0)
    live = after["trusted"] & ~after["closed"] & ~after["paused"]
    silent = np.flatnonzero(live & (waits > SILENCE_NS))
    if not len(silent):
        return
    between = np.sort(waits[live & (waits > 0)])
    usual = int(between[int(0.99 * (len(between) - 1))])
    longest = int(waits[silent].max())
    is_odd = longest > ODD_SILENCE * usual
    also = "" if is_odd else ", which is usual for it"
    yield patient.found(
        Problem.SILENCE, Severity.WARNING if is_odd else Severity.NOTE,
        f"nothing is heard of the open market for more than {SILENCE_NS // SECOND} s "
        f"{_times_over(len(silent))}, at most for {longest / SECOND:.1f} s{also}", silent)


def _anchor(patient: Patient) -> Iterator[Finding]:
    snapshots = np.flatnonzero(patient.rows["kind"] == TapeKind.SNAPSHOT)
    if not len(snapshots):
        yield patient.found(Problem.UNANCHORED, Severity.WARNING,
                            "the market has no snapshot, so it has no book")
        return
    if patient.counted.open_ns == 0:
        yield patient.found(Problem.EMPTY, Severity.WARNING,
                            "no time passes while the market is open", snapshots[:1])
    late = int(patient.rows["ts"][snapshots[0]]) - int(patient.rows["ts"][0])
    if late > 0:
        yield patient.found(Problem.UNANCHORED, Severity.NOTE,
                            f"its first snapshot comes {late / SECOND:.3f} s after its first row",
                            snapshots[:1])


def _crossings(patient: Patient) -> Iterator[Finding]:
    after = patient.after
    both = after["trusted"] & (after["bid"] > 0) & (after["ask"] < PRICE_ONE)
    for problem, shown, word in (
        (Problem.CROSSED, both & (after["bid"] > after["ask"]), "crossed"),
        (Problem.LOCKED, both & (after["bid"] == after["ask"]), "locked"),
    ):
        ts = patient.rows["ts"]
        at = np.flatnonzero(shown)
        at = at[np.append(True, ts[at[1:]] != ts[at[:-1]])] if len(at) else at
        if len(at):
            share = len(at) / patient.counted.bursts
            severity = Severity.WARNING if share > PASSING_SHARE else Severity.NOTE
            yield patient.found(problem, severity,
                                f"{len(at)} of {patient.counted.bursts} bursts pass through a "
                                f"{word} book ({share:.3%})", at)


def _sizes(patient: Patient) -> Iterator[Finding]:
    level = patient.after["level"]
    at = np.flatnonzero(level > LEVEL_MAX)
    if len(at):
        worst = at[np.argmax(level[at])]
        price = decimal_price(int(patient.rows["price"][worst]))
        yield patient.found(Problem.SIZE, Severity.WARNING,
                            f"levels of up to {decimal_qty(int(level[worst]))} contracts, at "
                            f"{price}", at)


def _grid(patient: Patient) -> Iterator[Finding]:
    """Check every price of the book against the grid in force; a market's first is its tick."""
    rows = patient.rows
    grids = np.flatnonzero(rows["kind"] == TapeKind.GRID)
    in_force = np.cumsum(rows["kind"] == TapeKind.GRID)
    steps = {name: np.append(first, rows[name][grids]).astype(np.int64)[in_force]
             for name, first in (("price", patient.tick), ("ahead", patient.tick), ("qty", 0))}
    price = rows["price"].astype(np.int64)
    at_edge = (price < steps["qty"]) | (price > PRICE_ONE - steps["qty"])
    step = np.where(at_edge, steps["ahead"], steps["price"])
    quotes = (rows["kind"] == TapeKind.INCREASE) | (rows["kind"] == TapeKind.SNAPSHOT_LEVEL)
    at = np.flatnonzero(quotes & (price % step != 0))
    if len(at):
        yield patient.found(Problem.GRID, Severity.WARNING,
                            f"{len(at)} quotes are off the price grid in force, such as "
                            f"{decimal_price(int(price[at[0]]))}", at)


def _joins(patient: Patient) -> Iterator[Finding]:
    counted = patient.counted
    trades = counted.count(TapeKind.TRADE) - counted.blocks
    if trades and counted.joined < trades:
        share = counted.joined / trades
        severity = Severity.WARNING if share < JOINED_SHARE else Severity.NOTE
        at = np.flatnonzero(patient.rows["kind"] == TapeKind.TRADE)
        at = at[(patient.rows["flags"][at] & (TapeFlag.JOINED | TapeFlag.BLOCK)) == 0]
        yield patient.found(Problem.UNJOINED, severity,
                            f"{trades - counted.joined} of {trades} trades join no decrease", at)


def _places(patient: Patient) -> Iterator[Finding]:
    rows, level = patient.rows, patient.after["level"]
    decreases = rows["kind"] == TapeKind.DECREASE
    at = np.flatnonzero(decreases & (rows["ahead"] > level))
    if len(at):
        first = at[0]
        yield patient.found(Problem.PLACE, Severity.WARNING,
                            f"{len(at)} decreases claim more ahead of them than their level holds, "
                            f"the first {decimal_qty(int(rows['ahead'][first]))} of "
                            f"{decimal_qty(int(level[first]))} contracts", at)
    counted = patient.counted
    if counted.placed >= GUESSED_LEAST and counted.guessed > GUESSED_SHARE * counted.placed:
        yield patient.found(Problem.GUESSED, Severity.NOTE,
                            f"the place in the queue is a guess for {counted.guessed} of "
                            f"{counted.placed} decreases that are no trade")


def _receipts(patient: Patient) -> Iterator[Finding]:
    """Check the receive clock, on level changes: only these have two times of their own."""
    rows = patient.rows
    if patient.capture.receive_times is False:
        return
    of_book = np.flatnonzero(rows["kind"] != TapeKind.TRADE)
    recv = rows["recv"][of_book]
    back = of_book[1:][recv[1:] < recv[:-1]]
    if len(back):
        most = int((recv[:-1] - recv[1:]).max()) / MILLISECOND
        yield patient.found(Problem.RECEIPTS_FALL, Severity.WARNING,
                            f"{len(back)} rows are received before the row before them, by up to "
                            f"{most:.3f} ms", back)
    at = np.flatnonzero(np.isin(rows["kind"], (TapeKind.INCREASE, TapeKind.DECREASE)))
    if len(at):
        yield from _clock(patient, at, (rows["recv"] - rows["ts"])[at])


def _clock(patient: Patient, at: np.ndarray, delay: np.ndarray) -> Iterator[Finding]:
    """Check the differences of the two clocks at rows `at`."""
    if np.abs(delay).max() > RECEIPT_MAX:
        return
    least = int(delay.min())
    if least < 0:
        severity = Severity.WARNING if least < -BEHIND_NS else Severity.NOTE
        early = np.count_nonzero(delay < 0) / len(delay)
        median = int(np.median(delay)) / MILLISECOND
        yield patient.found(Problem.CLOCK_BEHIND, severity,
                            f"{early:.1%} of the changes are received before they happen, by up to "
                            f"{-least / MILLISECOND:.3f} ms; the median of receipt less event is "
                            f"{median:.3f} ms", at[[int(delay.argmin())]])
    ts = patient.rows["ts"][at]
    window = (ts - ts[0]) // JUMP_WINDOW_NS
    starts = np.flatnonzero(np.append(True, window[1:] != window[:-1]))
    known = np.diff(starts, append=len(at)) >= JUMP_ROWS
    floors = np.minimum.reduceat(delay, starts)[known]
    jumps = np.flatnonzero(np.abs(np.diff(floors)) > JUMP_NS)
    if len(jumps):
        most = int(np.abs(np.diff(floors)).max()) / MILLISECOND
        yield patient.found(Problem.CLOCK_JUMP, Severity.WARNING,
                            f"the least difference of the two clocks jumps "
                            f"{_times_over(len(jumps))}, by up to {most:.3f} ms",
                            at[starts[known][jumps + 1]])


def _end(patient: Patient) -> Iterator[Finding]:
    standing = Standing.at_the_start(Market(patient.ticker, patient.tick))
    standing.fold(patient.rows[patient.rows["kind"] == TapeKind.STATUS])
    status = MarketStatus(standing.status[2])
    if not patient.after["closed"][-1]:
        # A stretch that was cut out ends where it was told to.
        severity = Severity.NOTE if patient.is_cut else Severity.WARNING
        yield patient.found(Problem.NO_CLOSE, severity,
                            f"the market is {status.name} at the end of the recording",
                            np.array([len(patient.rows) - 1]))
    elif standing.ruling is None:
        yield patient.found(Problem.NO_RESULT, Severity.WARNING,
                            f"the market is {status.name}, and its result is not on the tape",
                            np.array([len(patient.rows) - 1]))


def _times_over(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    _times, _gaps, _silences, _anchor, _crossings, _sizes, _grid, _joins, _places, _receipts, _end,
)  # fmt: skip
"""All checks of a market; adding one here is all that a new one needs."""
