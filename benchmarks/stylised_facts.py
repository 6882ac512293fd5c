"""Measure the stylised facts of gold15m recordings and of generated sessions, side by side.

    python benchmarks/stylised_facts.py ../shared/data/kalshi_gold15m --seeds 8

The recordings are read by a decoder of this file's own, which takes the frames as they come (no
joins, no clock repair): enough to count, and independent of the importer. `tests/test_synthetic.py`
imports `measure` and `gold_rows` from here, so that one definition serves both sides.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from foldbook.adapters import synthetic
from foldbook.engine.schema import TAPE_DTYPE, Side, TapeKind
from foldbook.engine.units import MILLISECOND, PRICE_ONE, QTY_ONE, SECOND

Facts = dict[str, float]
QUANTILES = (10, 25, 50, 75, 90, 99)


class _Body(msgspec.Struct):
    yes_dollars_fp: list[tuple[str, str]] | None = None
    no_dollars_fp: list[tuple[str, str]] | None = None
    price_dollars: str = ""
    delta_fp: str = ""
    side: str = ""
    ts: str | int = ""
    ts_ms: int = 0
    yes_price_dollars: str = ""
    count_fp: str = ""
    taker_side: str = ""


class _Event(msgspec.Struct):
    type: str
    msg: _Body


class _Frame(msgspec.Struct):
    recv_ms: int
    event: _Event


def _fixed(text: str, digits: int) -> int:
    """Return a decimal string as an integer with `digits` decimals."""
    head, _, tail = text.partition(".")
    sign = -1 if head.startswith("-") else 1
    return sign * (abs(int(head)) * 10**digits + int(tail.ljust(digits, "0")[:digits] or "0"))


def _delta_ts(body: _Body) -> int:
    """Return the time of a delta in ns: its ms clock, with the microseconds of its text."""
    text = str(body.ts)
    fraction = text[20:-1].ljust(6, "0")[:6] if len(text) > 20 else "0"
    return (body.ts_ms // 1000) * SECOND + int(fraction) * 1000


def gold_rows(paths: Iterable[Path]) -> np.ndarray:
    """Return one gold15m market's frames as tape-like rows (TAPE_DTYPE), in the order received.

    Trades keep their millisecond and stand where they were received; nothing is joined.
    """
    decoder = msgspec.json.Decoder(_Frame)
    rows: list[tuple[int, ...]] = []

    def add(ts: int, recv: int, kind: TapeKind, yes: bool, price: int, qty: int) -> None:
        rows.append((ts, recv, qty, -1, price, 0, kind, Side.BUY if yes else Side.SELL, 0))

    for path in sorted(paths):
        with gzip.open(path) as stream:
            for line in stream:
                frame = decoder.decode(line)
                recv, body = frame.recv_ms * 1_000_000, frame.event.msg
                if frame.event.type == "orderbook_delta":
                    yes, qty = body.side == "yes", _fixed(body.delta_fp, 2)
                    price = _fixed(body.price_dollars, 4)
                    kind = TapeKind.INCREASE if qty > 0 else TapeKind.DECREASE
                    add(_delta_ts(body), recv, kind, yes, price if yes else PRICE_ONE - price,
                        abs(qty))
                elif frame.event.type == "trade":
                    add(body.ts_ms * 1_000_000, recv, TapeKind.TRADE, body.taker_side == "no",
                        _fixed(body.yes_price_dollars, 4), _fixed(body.count_fp, 2))
                else:
                    add(recv, recv, TapeKind.SNAPSHOT, True, 0, 0)
                    for yes, levels in ((True, body.yes_dollars_fp), (False, body.no_dollars_fp)):
                        for text, count in levels or ():
                            price = _fixed(text, 4)
                            add(recv, recv, TapeKind.SNAPSHOT_LEVEL, yes,
                                price if yes else PRICE_ONE - price, _fixed(count, 2))
    return np.array(rows, TAPE_DTYPE)


def gold_windows(folder: Path) -> list[list[Path]]:
    """Return, per market of a gold15m folder, its files in order of time."""
    events = folder / "events" if (folder / "events").is_dir() else folder
    return [sorted(window.glob("*.gz")) for window in sorted(events.iterdir())]


def _book_walk(rows: np.ndarray) -> tuple[dict[int, float], list[int], list[int]]:
    """Rebuild the book; return the spread's share by cents, distances of deltas, levels a side.

    Spreads are counted after each burst with both sides present, in cents. The distance of a delta
    is in cents behind its side's best before it (0 at the best, -1 for any improvement).
    """
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    spreads: dict[int, float] = {}
    distances: list[int] = []
    levels: list[int] = []
    kinds, sides = rows["kind"].tolist(), rows["side"].tolist()
    prices, qtys, times = rows["price"].tolist(), rows["qty"].tolist(), rows["ts"].tolist()
    best = [0, PRICE_ONE]
    for i, kind in enumerate(kinds):
        if kind == TapeKind.SNAPSHOT:
            book[0].clear()
            book[1].clear()
            best = [0, PRICE_ONE]
        elif kind in (TapeKind.SNAPSHOT_LEVEL, TapeKind.INCREASE, TapeKind.DECREASE):
            side, price = sides[i], prices[i]
            ladder = book[side]
            if kind != TapeKind.SNAPSHOT_LEVEL and ladder:
                behind = best[0] - price if side == 0 else price - best[1]
                distances.append(max(-1, behind // 100))
            left = ladder.get(price, 0) + (-qtys[i] if kind == TapeKind.DECREASE else qtys[i])
            if left > 0:
                ladder[price] = left
            else:
                ladder.pop(price, None)
            best = [max(book[0], default=0), min(book[1], default=PRICE_ONE)] if (
                price == best[side] or (price > best[0] if side == 0 else price < best[1])
            ) else best
        if (i + 1 == len(kinds) or times[i + 1] != times[i]) and book[0] and book[1]:
            width = (best[1] - best[0]) // 100
            spreads[width] = spreads.get(width, 0) + 1
            if i % 50 == 0:
                levels.append((len(book[0]) + len(book[1])) // 2)
    total = sum(spreads.values()) or 1
    return {width: count / total for width, count in spreads.items()}, distances, levels


def _reprices(deltas: np.ndarray, burst: np.ndarray) -> int:
    """Count adjacent pairs -old +new of one side in one burst, at two prices."""
    first = (
        (deltas["kind"][:-1] == TapeKind.DECREASE)
        & (deltas["kind"][1:] == TapeKind.INCREASE)
        & (burst[:-1] == burst[1:])
        & (deltas["side"][:-1] == deltas["side"][1:])
        & (deltas["price"][:-1] != deltas["price"][1:])
    )
    return int(first.sum())


def _quantiles(facts: Facts, name: str, values: np.ndarray, unit: float = QTY_ONE) -> None:
    found = np.percentile(values, QUANTILES) if len(values) else np.zeros(len(QUANTILES))
    for quantile, value in zip(QUANTILES, found, strict=True):
        facts[f"{name} p{quantile}"] = float(value) / unit


def measure(rows: np.ndarray, *, book: bool = True) -> Facts:
    """Return the stylised facts of one market's rows (TAPE_DTYPE): shares in 0..1, contracts.

    book: rebuild the book as well, for spreads, depth and distances (slower).
    """
    deltas = rows[(rows["kind"] == TapeKind.INCREASE) | (rows["kind"] == TapeKind.DECREASE)]
    trades = rows[rows["kind"] == TapeKind.TRADE]
    ups, downs = (deltas[deltas["kind"] == kind] for kind in (TapeKind.INCREASE, TapeKind.DECREASE))
    breaks = np.diff(deltas["ts"]) != 0
    burst = np.concatenate(([0], np.cumsum(breaks)))
    sizes = np.bincount(burst)
    facts: Facts = {
        "deltas": len(deltas),
        "trades": len(trades),
        "trades per 1000 deltas": 1000 * len(trades) / len(deltas),
        "increase share": len(ups) / len(deltas),
        "repriced share": 2 * _reprices(deltas, burst) / len(deltas),
        "alone share": int((sizes == 1).sum()) / len(deltas),
        "traded qty share": float(trades["qty"].sum() / downs["qty"].sum()),
        "fractional trades": float((trades["qty"] % QTY_ONE != 0).mean()) if len(trades) else 0.0,
        "fractional increases": float((ups["qty"] % QTY_ONE != 0).mean()),
        "traded contracts": float(trades["qty"].sum()) / QTY_ONE,
    }
    seconds = (deltas["ts"] - deltas["ts"][0]) // SECOND
    counts = np.bincount(seconds.astype(np.int64))
    facts["deltas per second, variance / mean"] = float(counts.var() / counts.mean())
    gaps = np.diff(deltas["ts"])[breaks] / 1e6
    _quantiles(facts, "gap ms", gaps, 1)
    _quantiles(facts, "burst deltas", sizes, 1)
    _quantiles(facts, "increase size", ups["qty"])
    _quantiles(facts, "decrease size", downs["qty"])
    _quantiles(facts, "trade size", trades["qty"])
    if len(trades):
        _, fills = np.unique(trades["ts"] // MILLISECOND, return_counts=True)
        _quantiles(facts, "trades per ms", fills, 1)
    if book:
        spreads, distances, levels = _book_walk(rows)
        for width in (1, 2, 3, 4):
            facts[f"spread {width} c"] = spreads.get(width, 0.0)
        facts["spread 0 or less"] = sum(v for k, v in spreads.items() if k <= 0)
        _quantiles(facts, "distance c", np.array(distances), 1)
        _quantiles(facts, "levels a side", np.array(levels), 1)
    return facts


def mean_facts(many: Sequence[Facts]) -> Facts:
    """Return the mean of each fact over several markets."""
    return {name: float(np.mean([facts[name] for facts in many])) for name in many[0]}


def _report(name: str, many: Sequence[Facts]) -> Facts:
    trades = [int(facts["trades"]) for facts in many]
    print(f"{name}: {len(many)} markets, trades {min(trades)}..{max(trades)}, "
          f"median {int(np.median(trades))}")
    return mean_facts(many)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the facts of both sides, and the speed of the generator."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, nargs="?", help="gold15m; none: generated only")
    parser.add_argument("--windows", type=int, help="measure the first n recordings only")
    parser.add_argument("--seeds", type=int, default=8, help="generated markets to measure")
    parser.add_argument("--events", type=int, default=5_000_000, help="rows of the timed session")
    options = parser.parse_args(arguments)
    columns: dict[str, Facts] = {}
    if options.folder:
        windows = gold_windows(options.folder)[: options.windows]
        columns["gold15m"] = _report("gold15m", [measure(gold_rows(paths)) for paths in windows])
    generated = [synthetic.session(seed).tape.rows for seed in range(1, options.seeds + 1)]
    columns["generated"] = _report("generated", [measure(rows) for rows in generated])
    print(f"{'mean of markets':40}" + "".join(f"{name:>14}" for name in columns))
    for fact in columns["generated"]:
        print(f"{fact:40}" + "".join(f"{facts[fact]:14.4g}" for facts in columns.values()))
    for tick in (100, 1):
        begin = time.perf_counter()
        rows = synthetic.session(events=options.events, tick=tick).tape.rows
        spent = time.perf_counter() - begin
        if len(rows) != options.events:
            raise AssertionError(f"{len(rows)} rows, not {options.events}")
        print(f"tick {tick}: {len(rows)} rows in {spent:.2f} s, {len(rows) / spent / 1e6:.1f} M/s")


if __name__ == "__main__":
    main()
