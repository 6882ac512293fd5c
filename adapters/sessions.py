"""Sessions on disk: a folder with a memory-mappable tape and a small file about it.

`tape.npy` holds rows of TAPE_DTYPE and is mapped, not read, so that loading costs the same for any
length; `session.json` holds names, markets, facts and the digest of the tape. A session is written
beside its place and renamed into it: whoever looks sees the old one or the new one, whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market
from foldbook.engine.units import PRICE_ONE, decimal_price, decimal_qty

FORMAT_VERSION = 1
TAPE_FILE = "tape.npy"
ABOUT_FILE = "session.json"
BLOCK_ROWS = 1 << 16
"""Rows hashed or written at a time."""
HEADER_BYTES = 512
"""Length of the npy header, fixed so that the number of rows can be filled in last."""


class _Listed(msgspec.Struct, omit_defaults=True):
    ticker: str
    tick: int
    event: str = ""


class _About(msgspec.Struct):
    format: int
    name: str
    markets: list[_Listed]
    events: int
    tape_digest: str
    facts: dict[str, Any]


class _Version(msgspec.Struct):
    format: int


def save(session: Session, path: str | os.PathLike[str]) -> Session:
    """Write a session to the folder `path`, in one step, and return it as loaded from there.

    A session that was there is replaced; if writing fails it stays as it was.
    """
    return write(
        path, session.name, session.markets, [session.tape.rows], facts=session.facts
    )


def write(
    path: str | os.PathLike[str],
    name: str,
    markets: tuple[Market, ...],
    blocks: Iterable[np.ndarray],
    *,
    facts: Mapping[str, Any],
) -> Session:
    """Write a session whose tape arrives in blocks (arrays of TAPE_DTYPE, in order), and load it.

    Memory is bounded by one block. A session that was there is replaced in one step at the end, if
    the new tape is sound; else TapeError is raised and it stays.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        events, digest = _write_tape(temporary / TAPE_FILE, blocks)
        about = _About(
            FORMAT_VERSION,
            name,
            [_Listed(each.ticker, each.tick, each.event) for each in markets],
            events,
            digest,
            dict(facts),
        )
        text = msgspec.json.format(msgspec.json.encode(about), indent=1)
        (temporary / ABOUT_FILE).write_bytes(text + b"\n")
        # To make a session is to check its tape: before it takes the place of an older one.
        Session(Tape(_rows(temporary / TAPE_FILE)), markets, name=name)
        _replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load(target)


def load(path: str | os.PathLike[str]) -> Session:
    """Return the session in the folder `path`; its tape is mapped read-only and not hashed.

    Raises TapeError if a part is missing, damaged, or was written by a newer version.
    """
    folder = Path(path)
    about = _about(folder)
    rows = _rows(folder / TAPE_FILE)
    if len(rows) != about.events:
        raise TapeError(
            f"{folder / ABOUT_FILE}: events is {about.events}, but {TAPE_FILE} has {len(rows)} rows"
        )
    try:
        markets = tuple(Market(each.ticker, each.tick, each.event) for each in about.markets)
    except ValueError as error:
        raise TapeError(f"{folder / ABOUT_FILE}: markets: {error}") from None
    return Session(
        Tape(rows, digest=about.tape_digest),
        markets,
        name=about.name,
        source={"path": str(folder)},
        facts=about.facts,
        reopen=(load, (str(folder),)),
    )


def verify_digest(session: Session) -> None:
    """Hash the rows of the tape and compare with the digest that was stored beside them.

    Raises TapeError if they differ: the tape was changed after it was written.
    """
    found = digest_of([session.tape.rows])
    if found != session.tape.digest:
        raise TapeError(
            f"session {session.name}: the tape's digest is {found}, not {session.tape.digest} "
            "as stored: its rows were changed"
        )


def digest_of(blocks: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the rows of all blocks, in hex."""
    hasher = hashlib.sha256()
    for block in blocks:
        for begin in range(0, len(block), BLOCK_ROWS):
            hasher.update(np.ascontiguousarray(block[begin : begin + BLOCK_ROWS]).data)
    return hasher.hexdigest()


def book_at(
    session: Session, market: str | int, ts: int, *, clock: str = "exchange"
) -> dict[str, list[list[str]]]:
    """Return the recorded book after every row with a time <= ts, best level first.

    ts: ns. clock: "exchange" looks at the ts of the rows, "receive" at their recv. The result has
    `yes_bids` and `yes_asks`, lists of [price in dollars, contracts] as decimal strings.
    """
    if clock not in ("exchange", "receive"):
        raise ValueError(f"clock: {clock!r} is neither 'exchange' nor 'receive'")
    index = session.market_index(market)
    rows = session.tape.rows
    if clock == "exchange":
        rows = rows[: np.searchsorted(rows["ts"], ts, side="right")]
        rows = rows[rows["market"] == index]
    else:
        rows = rows[(rows["market"] == index) & (rows["recv"] <= ts)]
    levels = _levels(rows)
    books = [(int(price), int(levels[side, price])) for side in Side
             for price in np.flatnonzero(levels[side])[:: -1 if side == Side.BUY else 1]]
    bids = int(np.count_nonzero(levels[Side.BUY]))
    text = [[decimal_price(price), decimal_qty(qty)] for price, qty in books]
    return {"yes_bids": text[:bids], "yes_asks": text[bids:]}


def describe(session: Session) -> dict[str, Any]:
    """Return what `foldbook info` shows: markets, spans, counts, gaps, quality, digest.

    `snapshots`, `deltas` and `trades` count raw messages where the recording's facts name them,
    else the rows that stand for them; `events` counts tape rows.
    """
    rows = session.tape.rows
    raw = session.facts.get("raw", {})
    per_kind = np.bincount(rows["kind"], minlength=len(TapeKind))
    kinds = {kind.name.lower(): int(per_kind[kind]) for kind in TapeKind}
    flags = rows["flags"][rows["kind"] == TapeKind.TRADE]
    joined = int(np.count_nonzero(flags & TapeFlag.JOINED))
    return {
        "session": str(session.source.get("path", session.name)),
        "name": session.name,
        "markets": [_market(session, index) for index in range(len(session.markets))],
        "events": len(rows),
        "snapshots": int(raw.get("snapshots", kinds["snapshot"])),
        "deltas": int(raw.get("deltas", kinds["increase"] + kinds["decrease"])),
        "trades": int(raw.get("trades", kinds["trade"])),
        "gaps": kinds["gap"],
        "joined_trades": joined,
        "digest": session.digest,
        "kinds": kinds,
        "feed_offset_ns": session.facts.get("feed_offset_ns"),
        "raw": dict(raw),
        "quality": _quality(session, kinds, joined),
    }


def _levels(rows: np.ndarray) -> np.ndarray:
    """Return the quantities [side, price] after these rows of one market (semantics section 2)."""
    levels = np.zeros((2, PRICE_ONE + 1), np.int64)
    status = rows["kind"] == TapeKind.STATUS
    clears = np.isin(rows["kind"], (TapeKind.SNAPSHOT, TapeKind.GAP)) | (
        status & (rows["qty"] >= MarketStatus.CLOSED)
    )
    begin = np.flatnonzero(clears)
    rows = rows[begin[-1] :] if len(begin) else rows
    sets = rows[rows["kind"] == TapeKind.SNAPSHOT_LEVEL]
    levels[sets["side"], sets["price"]] = sets["qty"]
    for kind, sign in ((TapeKind.INCREASE, 1), (TapeKind.DECREASE, -1)):
        changes = rows[rows["kind"] == kind]
        np.add.at(levels, (changes["side"], changes["price"]), sign * changes["qty"])
    return levels


def _market(session: Session, index: int) -> dict[str, Any]:
    rows = session.tape.rows
    if len(session.markets) > 1:
        rows = rows[rows["market"] == index]
    ticker = session.markets[index].ticker
    facts = session.facts.get("markets", {}).get(ticker, {})
    statuses = rows[rows["kind"] == TapeKind.STATUS]
    known = statuses[statuses["qty"] >= MarketStatus.DETERMINED]
    payout = int(known[-1]["price"]) if len(known) else None
    result = None if payout is None else {0: "no", PRICE_ONE: "yes"}.get(payout, "scalar")
    ends = (int(rows[0]["ts"]), int(rows[-1]["ts"])) if len(rows) else (None, None)
    last = MarketStatus(int(statuses[-1]["qty"])) if len(statuses) else MarketStatus.OPEN
    return {
        "ticker": ticker,
        "first_ts": facts.get("first_ts", ends[0]),
        "last_ts": ends[1],
        "tick": decimal_price(session.markets[index].tick),
        "status": last.name.lower(),
        "result": result,
        "payout": None if payout is None else decimal_price(payout),
        "events": len(rows),
        "gaps": int(np.count_nonzero(rows["kind"] == TapeKind.GAP)),
    }


def _quality(session: Session, kinds: dict[str, int], joined: int) -> list[str]:
    """Return what limits the use of a session, as sentences."""
    found = []
    if not kinds["trade"]:
        found.append("no trade channel: maker fills are beyond the record")
    elif joined < kinds["trade"]:
        found.append(f"{kinds['trade'] - joined} of {kinds['trade']} trades join no decrease: "
                     "they fill no queue")
    guessed = int(np.count_nonzero(session.tape.rows["flags"] & TapeFlag.GUESSED))
    if guessed:
        found.append(f"{guessed} of {kinds['decrease']} decreases have a guessed place "
                     "in the queue")
    if kinds["gap"]:
        found.append(f"{kinds['gap']} gaps: the book is not trusted until the next snapshot")
    if session.facts.get("receive_times") is False:
        found.append("no receive times: recv is the exchange time")
    return found


def _about(folder: Path) -> _About:
    path = folder / ABOUT_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise TapeError(f"{folder}: is no session: {ABOUT_FILE} is missing") from None
    except OSError as error:
        raise TapeError(f"{path}: {error.strerror}") from None
    try:
        version = msgspec.json.decode(text, type=_Version).format
        if version > FORMAT_VERSION:
            raise TapeError(
                f"{path}: format is {version}, written by a newer version; this one reads up to "
                f"{FORMAT_VERSION}"
            )
        return msgspec.json.decode(text, type=_About)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TapeError(f"{path}: {error}") from None


def _rows(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise TapeError(f"{path}: is missing") from None
    except Exception as error:  # what a damaged header raises, NumPy does not say
        said = str(error).partition("\n")[0]
        raise TapeError(f"{path}: is truncated or not a tape: {said}") from None
    if rows.dtype != TAPE_DTYPE or rows.ndim != 1:
        raise TapeError(f"{path}: rows are {rows.dtype} of shape {rows.shape}, not TAPE_DTYPE (n,)")
    return rows


def _write_tape(path: Path, blocks: Iterable[np.ndarray]) -> tuple[int, str]:
    """Write an npy file whose length is known only at the end; return (rows, digest)."""
    hasher = hashlib.sha256()
    events = 0
    with path.open("wb") as file:
        _write_header(file, 0)
        begin = file.tell()
        for block in blocks:
            if block.dtype != TAPE_DTYPE:
                raise TapeError(f"tape: rows are {block.dtype}, not TAPE_DTYPE")
            data = np.ascontiguousarray(block).data
            hasher.update(data)
            file.write(data)
            events += len(block)
        file.seek(0)
        _write_header(file, events)
        assert file.tell() == begin
        file.flush()
        os.fsync(file.fileno())
    return events, hasher.hexdigest()


def _write_header(file: Any, events: int) -> None:
    """Write an npy header of a length that does not depend on `events`."""
    header = {
        "descr": np.lib.format.dtype_to_descr(TAPE_DTYPE),
        "fortran_order": False,
        "shape": (events,),
    }
    text = "{" + "".join(f"{key!r}: {value!r}, " for key, value in header.items()) + "}"
    padded = text.ljust(HEADER_BYTES - 11) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin1"))


def _replace(temporary: Path, target: Path) -> None:
    """Rename `temporary` to `target`; an old session at `target` is put aside and then removed."""
    if not target.exists():
        temporary.rename(target)
        return
    if any(target.iterdir()) and not (target / ABOUT_FILE).exists():
        raise TapeError(f"{target}: exists and is no session: not replaced")
    old = target.with_name(f".{target.name}.old.{os.getpid()}")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
