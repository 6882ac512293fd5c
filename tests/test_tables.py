"""Order-book tables drawn by hand: a market, what happens to it, and every row that must follow.

A table is a text file in `tests/tables/` that a trader can read and check with a pencil:

    A title, and what the table shows, in plain words.

    cash 100.00                            settings, one a line: cash, fees (a schedule's name),
    fees NO_FEES                           queue (a model's name), latency (order=50ms cancel=20ms),
                                           restored_after (100ms); the tick is one cent

    book                                   the snapshot at 0ms; best prices in the middle
         bids | price | asks
              |  0.50 | 30
           20 |  0.48 |

    steps                                  in order of time; market events of one time are a burst,
       10ms  A: buy 10 YES at 0.48         and come before the commands of that time
       20ms  market: trade 5 at bid 0.48

    journal                                every row but the opening of the account, in order;
       time  kind  order  price  qty       columns are fields of the journal, "-" is zero or none,
       10ms  SUBMITTED  A  0.48  10        "keep" what an amend leaves as it is

    end                                    the visible ladder, then cash, reserved, position and
         bids | price | asks               each open order
       cash 95.20
       position YES 10

Commands: `A: buy|sell QTY YES|NO at PRICE`, and then any of: IOC, FOK, post-only, reduce-only,
cancel-on-pause, cancel-resting, expires TIME, client N, group N; `A: amend price P qty Q`, either
or both; `A: decrease by|to QTY`; `A: cancel`; `cancel all`; `group N limit QTY`; `kill on|off`.

Where several accounts trade with each other, `accounts NAME CASH NAME CASH ...` names them in
their order. Then commands are `NAME/A: ...` and `NAME/: cancel all`, the journal has a column
`account`, the ladder of the end is what the first account sees, and the lines below it begin with
a name.

Market events: `trade QTY at bid|ask PRICE` (of a maker there; its decrease follows), or the same
with `unjoined` or `block` (no decrease does); `bid|ask PRICE +QTY` or `-QTY`; `gap`; a status
(OPEN, PAUSED, CLOSED, DETERMINED, DISPUTED, SETTLED), with `at PAYOUT` and flags (exchange,
inactive, void). Money is in dollars and quantities in contracts; "#" begins a comment.

What is expected is worked out by hand from docs/semantics.md, never by running the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from foldbook.engine import (
    FEE_SCHEDULES,
    Accounts,
    Delay,
    JournalKind,
    Latency,
    Liquidity,
    Market,
    MarketStatus,
    Outcome,
    Queue,
    Reason,
    Session,
    Side,
    Simulation,
    Tape,
    TapeFlag,
    TapeKind,
    TimeInForce,
)
from foldbook.engine.lifecycle import check_journal
from foldbook.engine.projections.orders import market_and_number
from foldbook.engine.schema import KEEP, TAPE_DTYPE, Evidence
from foldbook.engine.units import contracts, decimal_cash, dollars, duration, price

TABLES = sorted((Path(__file__).parent / "tables").glob("*.txt"))
SECTIONS = ("book", "steps", "journal", "end")
START = 1_790_000_000_000_000_000
"""0ms, ns."""

Ladder = dict[Side, dict[int, int]]


@attrs.frozen
class Step:
    """One line of the steps. time: ns after the start; actor: an order's name, "market" or ""."""

    time: int
    actor: str
    words: tuple[str, ...]


@attrs.frozen
class Table:
    """One file, read."""

    settings: dict[str, str]
    book: Ladder
    steps: tuple[Step, ...]
    journal: tuple[dict[str, str], ...]
    ladder: Ladder
    end: tuple[tuple[str, ...], ...]


def read(path: Path) -> Table:
    """Return the table of a file. Raises AssertionError that quotes a line it cannot read."""
    parts: dict[str, list[str]] = {"": []}
    section = ""
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].rstrip()
        if text in SECTIONS:
            section = text
            parts[section] = []
        elif text:
            parts[section].append(text)
    words = [line.split() for line in parts[""] if line.split()[0] in SETTINGS]
    columns, *rows = (line.split() for line in parts["journal"])
    odd = [row for row in rows if len(row) != len(columns)]
    assert not odd, f"{path.stem}: rows with other than {len(columns)} cells: {odd}"
    steps = tuple(_step(line) for line in parts["steps"])
    assert list(steps) == sorted(steps, key=lambda step: step.time), "steps are in order of time"
    return Table(
        {name: " ".join(values) for name, *values in words},
        _ladder(parts["book"]),
        steps,
        tuple(dict(zip(columns, row, strict=True)) for row in rows),
        _ladder(line for line in parts["end"] if "|" in line),
        tuple(tuple(line.split()) for line in parts["end"] if "|" not in line),
    )


def _step(line: str) -> Step:
    time, _, rest = line.strip().partition(" ")
    first, *words = rest.split()
    if first.endswith(":"):
        return Step(duration(time), first[:-1], tuple(words))
    return Step(duration(time), "", (first, *words))


def _ladder(lines: Any) -> Ladder:
    """Return the levels of a ladder drawn with the highest price on top."""
    found: Ladder = {Side.BUY: {}, Side.SELL: {}}
    last = None
    for line in lines:
        bid, at, ask = (cell.strip() for cell in line.split("|"))
        if at == "price":
            continue
        level = price(at)
        assert last is None or level < last, f"prices fall from line to line: {line}"
        last = level
        for side, qty in ((Side.BUY, bid), (Side.SELL, ask)):
            if qty:
                found[side][level] = contracts(qty)
    return found


# The market.


def tape_of(table: Table) -> np.ndarray:
    """Return the tape rows of the book and of the market's steps."""
    events: list[tuple[int, dict[str, int]]] = [(0, {"kind": TapeKind.SNAPSHOT, "ahead": 0})]
    for side, levels in table.book.items():
        for level, qty in levels.items():
            events.append((0, {"kind": TapeKind.SNAPSHOT_LEVEL, "side": side, "price": level,
                               "qty": qty, "ahead": 0}))  # fmt: skip
    for step in table.steps:
        if step.actor == "market":
            events += [(step.time, event) for event in market_event(step.words)]
    rows = np.zeros(len(events), TAPE_DTYPE)
    for row, (time, event) in zip(rows, events, strict=True):
        row["ts"] = row["recv"] = START + time
        for name, value in event.items():
            row[name] = value
    return rows


def market_event(words: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """Yield the tape rows that one step of the market stands for."""
    first = words[0]
    if first == "trade":
        _, qty, _, side, at, *flags = words
        level = {"side": _SIDES[side], "price": price(at), "qty": contracts(qty)}
        flag = TapeFlag[flags[0].upper()] if flags else TapeFlag.JOINED
        yield {"kind": TapeKind.TRADE, "flags": flag, **level}
        if flag == TapeFlag.JOINED:
            yield {"kind": TapeKind.DECREASE, "ahead": -1, **level}
    elif first in _SIDES:
        _, at, change = words
        level = {"side": _SIDES[first], "price": price(at), "qty": contracts(change[1:])}
        if change[0] == "+":
            yield {"kind": TapeKind.INCREASE, **level}
        else:
            yield {"kind": TapeKind.DECREASE, "ahead": -1, **level}
    elif first == "gap":
        yield {"kind": TapeKind.GAP}
    else:
        event = {"kind": TapeKind.STATUS, "qty": MarketStatus[first]}
        rest = list(words[1:])
        if rest[:1] == ["at"]:
            event["price"] = price(rest[1])
            rest = rest[2:]
        for flag in rest:
            event["flags"] = event.get("flags", 0) | TapeFlag[flag.upper()]
        yield event


_SIDES = {"bid": Side.BUY, "ask": Side.SELL}


# The trader.


class Trader:
    """Sends the commands of a table, and knows its accounts and orders by name."""

    def __init__(self, table: Table):
        session = Session(Tape(tape_of(table)), (Market("KX", tick=100),), name="table")
        chosen = {name: SETTINGS[name](text) for name, text in table.settings.items()}
        accounts: dict[str, int] = chosen.pop("accounts", {})
        self.run: Accounts | Simulation
        if accounts:
            cash = [{"cash": amount} for amount in accounts.values()]
            self.run = Accounts(session, cash, trading=True, **chosen)
            self.sims = dict(zip(accounts, self.run, strict=True))
        else:
            self.run = Simulation(session, **chosen)
            self.sims = {"": self.run}
        self.sim = next(iter(self.sims.values()))
        self.ids: dict[str, int] = {}

    def do(self, step: Step) -> None:
        """Send the command of one step, after everything up to its time."""
        self.run.advance(until=START + step.time)
        words = step.words
        account, _, actor = step.actor.rpartition("/")
        step = attrs.evolve(step, actor=actor)
        self.sim = self.sims[account]
        if words[0] in ("buy", "sell"):
            self.ids[step.actor] = self.submit(words)
        elif words[0] == "amend":
            given = dict(zip(words[1::2], words[2::2], strict=True))
            changes = {"price": price, "qty": contracts}
            self.sim.amend(self.ids[step.actor], **{name: changes[name](text)
                                                    for name, text in given.items()})  # fmt: skip
        elif words[0] == "decrease":
            self.sim.decrease(self.ids[step.actor], **{words[1]: contracts(words[2])})
        elif words == ("cancel",):
            self.sim.cancel(self.ids[step.actor])
        elif words == ("cancel", "all"):
            self.sim.cancel_all()
        elif words[0] == "group":
            self.sim.set_group(int(words[1]), contracts(words[3]))
        else:
            assert words[0] == "kill", f"no command: {' '.join(words)}"
            self.sim.kill(on=words[1] == "on")

    def submit(self, words: tuple[str, ...]) -> int:
        """Submit an order in a trader's words, and return its id."""
        side, qty, outcome, _, at = words[:5]
        terms: dict[str, Any] = {}
        rest = iter(words[5:])
        for word in rest:
            if word in TimeInForce.__members__:
                terms["tif"] = TimeInForce[word]
            elif word in ("post-only", "reduce-only", "cancel-on-pause"):
                terms[word.replace("-", "_")] = True
            elif word == "cancel-resting":
                from foldbook.engine.schema import SelfTrade

                terms["self_trade"] = SelfTrade.CANCEL_RESTING
            elif word == "expires":
                terms["expires"] = START + duration(next(rest))
            else:
                terms[{"client": "client_id", "group": "group"}[word]] = int(next(rest))
        side, outcome = Side[side.upper()], Outcome[outcome]
        return self.sim.submit("KX", side, price(at), contracts(qty), outcome, **terms)


def _latency(text: str) -> Latency:
    parts = (part.partition("=") for part in text.split())
    return Latency(**{name: Delay.constant(value) for name, _, value in parts})


def _accounts(text: str) -> dict[str, int]:
    words = text.split()
    return {name: dollars(cash) for name, cash in zip(words[::2], words[1::2], strict=True)}


SETTINGS: dict[str, Callable[[str], Any]] = {
    "accounts": _accounts,
    "cash": dollars,
    "fees": FEE_SCHEDULES.__getitem__,
    "queue": Queue.named,
    "latency": _latency,
    "restored_after": duration,
}


# What must follow.

MONEY = ("cash", "fee", "reserved", "carry")
QTYS = ("qty", "left", "ahead", "claim", "guessed")
NAMES = {"kind": JournalKind, "reason": Reason, "liquidity": Liquidity, "evidence": Evidence,
         "side": Side}  # fmt: skip


def expected(column: str, text: str, trader: Trader) -> int:
    """Return the number that a cell of the journal stands for."""
    if text == "-":
        return 0
    if column == "account":
        return list(trader.sims).index(text)
    if text == "keep":
        return KEEP
    if column == "time":
        return START + duration(text)
    if column == "order":
        return market_and_number(trader.ids[text])[1]
    if column in MONEY:
        return dollars(text)
    if column in QTYS:
        return contracts(text)
    if column in NAMES:
        return NAMES[column][text]
    return price(text) if column == "price" else int(text)


def shown(columns: list[str], row: np.void, names: dict[int, str]) -> dict[str, Any]:
    """Return the cells of a journal row as numbers, for a failure that can be read."""
    cells = {}
    for column in columns:
        value = int(row["ts" if column == "time" else column])
        cells[column] = NAMES[column](value).name if column in NAMES else value
    cells["order"] = names.get(int(row["order"]), "-")
    return cells


def run(path: Path) -> None:
    """Check one table against the simulation."""
    table = read(path)
    trader = Trader(table)
    for step in table.steps:
        if step.actor != "market":
            trader.do(step)
    trader.run.advance()
    rows = trader.run.journal().rows
    check_journal(rows)
    rows = rows[len(trader.sims) - 1 :]
    columns = list(table.journal[0])
    names = {market_and_number(id)[1]: name for name, id in trader.ids.items()}
    for number, (row, cells) in enumerate(zip(rows[1:], table.journal, strict=False)):
        wanted = {name: expected(name, text, trader) for name, text in cells.items()}
        found = {name: int(row["ts" if name == "time" else name]) for name in columns}
        assert found == wanted, f"row {number + 1}: {shown(columns, row, names)}, expected {cells}"
    extra = [shown(columns, row, names) for row in rows[1 + len(table.journal) :]]
    missing = table.journal[len(rows) - 1 :]
    assert not extra and not missing, f"unexpected {extra}, missing {missing}"
    check_end(table, trader)


def check_end(table: Table, trader: Trader) -> None:
    """Check the ladder, the accounts and their open orders."""
    book = next(iter(trader.sims.values())).book("KX")
    assert dict(book.bids(100)) == table.ladder[Side.BUY], "visible bids"
    assert dict(book.asks(100)) == table.ladder[Side.SELL], "visible asks"
    for account, sim in trader.sims.items():
        lines = [words[1:] for words in table.end if words[0] == account] if account else table.end
        check_account(lines, trader, sim)


def check_account(lines: Iterable[tuple[str, ...]], trader: Trader, sim: Simulation) -> None:
    """Check what one account has."""
    wanted: dict[str, Any] = {"reserved": "0.00", "position": 0, "open": {}}
    for name, *words in lines:
        if name == "position":
            wanted[name] = contracts(words[1]) * (1 if words[0] == "YES" else -1)
        elif name == "open":
            wanted[name][words[0]] = (contracts(words[1]), price(words[3]))
        else:
            wanted[name] = decimal_cash(dollars(words[0]))
    names = {id: name for name, id in trader.ids.items()}
    positions = sim.positions
    assert wanted == {
        "cash": decimal_cash(positions.cash),
        "reserved": decimal_cash(positions.reserved),
        "position": positions.qty("KX"),
        "open": {names[order.id]: (order.left, order.price) for order in sim.orders.open()},
    }


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_table(path):
    """Every row, the ladder and the account are what the table says."""
    run(path)


def test_there_are_tables():
    """The folder is found, and each file has all sections."""
    assert len(TABLES) >= 15
    for path in TABLES:
        table = read(path)
        assert table.journal and table.settings and table.end, path


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("cash 95.20", "cash 95.21"),
        ("position YES 10", "position NO 10"),
        ("100 |   0.47", "99 |   0.47"),
        ("0.48   3    7", "0.48   3    8"),
        ("   50ms  FILL ", "   # 50ms  FILL "),
        ("\nend", "   60ms  FILL A 0.48 1 - - - - - - - -\nend"),
    ],
)
def test_a_wrong_table_fails(tmp_path, right, wrong):
    """A cell that is off, a row too few and a row too many are found."""
    text = (Path(__file__).parent / "tables/partial_fills.txt").read_text()
    before, found, after = text.rpartition(right)
    assert found
    (tmp_path / "wrong.txt").write_text(before + wrong + after)
    with pytest.raises(AssertionError):
        run(tmp_path / "wrong.txt")
