"""What the agent sees: the fold of what was delivered or known by then, and nothing earlier."""

from __future__ import annotations

import copy
import random
from typing import Any

import attrs
import numpy as np
import pytest
from compiled_run import CompiledRun, read_state
from drawn_models import SPANS, draw_delay
from reference.latency import delivery_times, known_times
from reference.simulation import ReferenceSimulation
from test_look_ahead import other_tail
from workloads import Command, Workload, apply, make

from foldbook.engine.kernels.layout import (
    CURSOR,
    DIRTY,
    DRIVER_WORDS,
    JOURNAL_COUNT,
    NOW,
)
from foldbook.engine.schema import (
    NO_MARKET,
    NO_TIME,
    JournalKind,
    Mark,
    Side,
)
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import NO_DELAY, Delay, Feed, Latency
from foldbook.engine.units import SECOND

SEEDS = range(12)


def seen_late(seed: int, events: int = 700, commands: int = 90) -> Workload:
    """Return a workload with models that delay the agent's sight."""
    workload = make(seed, events, commands)
    rng = random.Random(f"sight {seed}")
    ts = workload.rows["ts"]
    times = (int(ts[0]), int(ts[-1]))
    feed: Delay | Feed = Feed.RECORDED
    if seed % 3 == 1:
        feed = Delay.constant(rng.choice(SPANS))
    elif seed % 3 == 2:
        feed = NO_DELAY
    order, amend, cancel, response = (draw_delay(rng, times) for _ in range(4))
    if seed % 3 == 2 or seed % 2:
        response = rng.choice((Delay.constant(rng.choice(SPANS)), Delay.empirical(SPANS)))
    models = attrs.evolve(workload.models, latency=Latency(order, amend, cancel, response, feed))
    return attrs.evolve(workload, models=models, mark=rng.choice(tuple(Mark)))


class Seen:
    """What an agent may know at one time, from the rows that have reached it."""

    def __init__(self, run: CompiledRun, workload: Workload, delivered: list[int]):
        memory = run.bus.memory
        self.now = memory[NOW]
        self.journal = run.bus.journal()
        rows = [dict(zip(row.dtype.names, row.tolist(), strict=True)) for row in self.journal.rows]
        known = known_times(rows, workload.models)
        self.known = [time for time in known if time <= self.now]
        self.rows = rows[: len(self.known)]
        applied = delivered[: memory[CURSOR]]
        self.delivered = [time for time in applied if time <= self.now]
        self.tape = workload.rows[: len(self.delivered)]
        self.markets = len(workload.markets)

    def account(self) -> dict[str, Any]:
        """Return cash, reserved and fees, and position and open orders of each market."""
        cash = reserved = fees = 0
        position = [0] * self.markets
        orders: list[dict[int, tuple[int, ...]]] = [{} for _ in range(self.markets)]
        for row in self.rows:
            cash += row["cash"] - row["fee"]
            reserved += row["reserved"]
            fees += row["fee"]
            market, kind = row["market"], row["kind"]
            if market == NO_MARKET:
                continue
            opened, number = orders[market], row["order"]
            if kind == JournalKind.FILL:
                position[market] += row["qty"] if row["side"] == Side.BUY else -row["qty"]
                side, price, total, _ = opened[number]
                opened[number] = (side, price, total, row["left"])
                if not row["left"]:
                    del opened[number]
            elif kind == JournalKind.SETTLED:
                position[market] = 0
            elif kind in (JournalKind.ACCEPTED, JournalKind.AMENDED):
                opened[number] = (row["side"], row["price"], row["qty"], row["left"])
            elif kind in (JournalKind.CANCELED, JournalKind.EXPIRED):
                del opened[number]
        return {
            "cash": cash, "reserved": reserved, "fees": fees, "position": position,
            "orders": orders,
        }  # fmt: skip

    def places(self) -> np.ndarray:
        """Return how many tape rows the agent had been shown before each journal row it knows."""
        return np.searchsorted(self.delivered, self.known, side="right").astype(np.int64)


def check_sight(run: CompiledRun, workload: Workload, delivered: list[int], where: str) -> None:
    """Assert that the seen state is the fold of exactly what has reached the agent."""
    run.bus.follow()
    seen = Seen(run, workload, delivered)
    state = read_state(run.bus.run.seen, seen.markets)
    markets = state["markets"]
    tape = workload.reference()
    tape.advance_to_row(len(seen.tape))
    for market, expected in zip(markets, tape.state()["markets"], strict=True):
        for name in ("bids", "asks", "status", "trusted", "pause", "mid2"):
            assert market[name] == expected[name], f"{where}: {name}"
    assert run.bus.sight[JOURNAL_COUNT] == len(seen.rows), where
    account = seen.account()
    orders = [
        {each[0]: (*each[1:4], each[4]) for side in (0, 1) for each in market["orders"][side]}
        for market in markets
    ]
    found = {name: state["account"][name] for name in ("cash", "reserved", "fees")}
    found |= {"position": [each["position"] for each in markets], "orders": orders}
    assert found == account, where
    for market in markets:
        for (side, price), qty in market["taken"].items():
            assert 0 < qty <= (market["asks"] if side else market["bids"])[price], where
    assert state["account"]["value"] == value_of(tape, state), where
    fresh = CompiledRun(workload).bus
    places = seen.places()
    assert fresh.rebuild(seen.journal.rows[1 : len(places)], places[1:], len(seen.tape)) == max(
        0, len(places) - 1
    )
    rebuilt = read_state(fresh.state, seen.markets)
    alone = CompiledRun(workload)
    alone.advance_to_row(len(seen.tape))
    marks = [each["mid2"] for each in alone.state()["markets"]]
    assert [each["mid2"] for each in state["markets"]] == marks, where
    for one in (state, rebuilt):
        for name in ("now", "peak", "drawdown", "value", "flights"):
            del one["account"][name]
        for market in one["markets"]:
            del market["mid2"]
    assert state == rebuilt, where
    assert run.bus.sight[DIRTY] == 0, where


def value_of(tape: ReferenceSimulation, state: dict[str, Any]) -> int:
    """Return what the agent's cash and positions are worth in front of the books it sees."""
    tape.cash = state["account"]["cash"]
    for market, seen in zip(tape.markets, state["markets"], strict=True):
        market.position = seen["position"]
        for (side, price), qty in seen["taken"].items():
            market.book[side].take(price, qty)
    return tape.value - state["account"]["returned"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_seen_state_is_the_fold_of_what_has_arrived(seed) -> None:
    """Book, cash, positions, orders, queues and takings, at random moments and beyond the end."""
    workload = seen_late(seed)
    rng = random.Random(seed)
    run = CompiledRun(workload)
    delivered = delivery_times(workload.rows, workload.models.latency.feed)
    behind = 0
    for number, command in enumerate(workload.commands):
        apply(run, command)
        if rng.random() < 0.4:
            run.bus.follow()
        if rng.random() < 0.2:
            check_sight(run, workload, delivered, f"seed {seed}, command {number}")
            behind += run.bus.state_bytes() != run.bus.run.seen[DRIVER_WORDS:].tobytes()
    run.advance_to_row(len(workload.rows))
    check_sight(run, workload, delivered, f"seed {seed}, at the end")
    end = int(workload.rows["ts"][-1])
    for later in (1, SECOND, 40 * SECOND):
        run.advance_until(end + later)
        check_sight(run, workload, delivered, f"seed {seed}, {later} after the end")
    assert behind, f"seed {seed}"
    assert run.bus.sight[JOURNAL_COUNT] == run.bus.memory[JOURNAL_COUNT]


# Nothing is seen early.


@pytest.mark.parametrize("seed", range(30, 36))
def test_another_tail_changes_nothing_that_was_seen(seed) -> None:
    """Other rows and other commands after t: up to t the agent saw the same, word for word."""
    workload = seen_late(seed)
    whole = sights(workload, NO_TIME)
    session = Session(Tape(workload.rows), workload.markets, name="whole")
    times = [now for now, _ in whole]
    for part in (0.3, 0.6, 0.9):
        t = times[int(len(times) * part)]
        rows = np.array(other_tail(session, t, seed).tape.rows)
        late = rows["ts"] > t
        rows["recv"][late] = rows["ts"][late] - 5 * SECOND * (seed % 2)
        other = sights(attrs.evolve(workload, rows=rows), t)
        before = [each for each in whole if each[0] <= t]
        assert len(before) >= 0.3 * len(whole) and other == before, f"seed {seed}, t {t}"


def sights(workload: Workload, until: int) -> list[tuple[int, bytes]]:
    """Return (now, seen state) after each command that is sent up to a time."""
    run = CompiledRun(workload)
    found: list[tuple[int, bytes]] = []
    for command in workload.commands:
        moment = command.at
        if command.by == "row":
            last = max(command.at, run.bus.memory[CURSOR], 1) - 1
            moment = int(workload.rows["ts"][min(last, len(workload.rows) - 1)])
        if moment > until:
            break
        apply(run, command)
        run.bus.follow()
        found.append((run.bus.memory[NOW], run.bus.run.seen[DRIVER_WORDS:].tobytes()))
    return found


# However a run is cut.


def finish(run: CompiledRun, workload: Workload) -> tuple[str, bytes, bytes]:
    """Play to a few seconds after the end; return digest, state and seen state."""
    run.advance_to_row(len(workload.rows))
    run.advance_until(int(workload.rows["ts"][-1]) + 3 * SECOND)
    run.bus.follow()
    seen = run.bus.run.seen[DRIVER_WORDS:].tobytes()
    return run.bus.journal().digest, run.bus.state_bytes(), seen


def step_to(
    run: CompiledRun, command: Command, rng: random.Random | None, rows: np.ndarray
) -> None:
    """Go where a command is sent in small steps, looking now and then; rng None: row by row."""
    bus = run.bus
    stop = command.at
    if command.by == "time":
        stop = int(np.searchsorted(rows["ts"], command.at, side="right"))
    while (cursor := bus.memory[CURSOR]) < min(stop, len(rows)):
        bus.advance(stop=min(stop, cursor + (rng.choice((1, 3, 17, 200)) if rng else 1)))
        if rng is None or rng.random() < 0.5:
            bus.follow()
        if rng and rng.random() < 0.2:
            bus._seal(bus.slack)
    while rng and command.by == "time" and bus.memory[NOW] < command.at and rng.random() < 0.6:
        bus.advance(limit=rng.randint(bus.memory[NOW], command.at))
        if rng.random() < 0.5:
            bus.follow()


@pytest.mark.parametrize("seed", range(50, 58))
def test_steps_seals_and_forks_change_nothing(seed) -> None:
    """In one go, row by row, in random steps with small buffers, and on both sides of a fork."""
    workload = seen_late(seed)
    run = CompiledRun(workload)
    for command in workload.commands:
        apply(run, command)
    whole = finish(run, workload)
    assert whole[1] != whole[2] or seed % 2, f"seed {seed}: nothing is unknown at the end"

    slow = CompiledRun(workload)
    for command in workload.commands:
        step_to(slow, command, None, workload.rows)
        apply(slow, command)
        slow.bus.follow()
    assert finish(slow, workload) == whole, f"seed {seed}: row by row"

    rng = random.Random(seed)
    run = CompiledRun(workload)
    parents: list[tuple[int, CompiledRun]] = []
    for number, command in enumerate(workload.commands):
        step_to(run, command, rng, workload.rows)
        apply(run, command)
        if rng.random() < 0.3:
            run.bus._seal(run.bus.slack)
        if rng.random() < 0.05 or number == 40:
            parent = copy.copy(run)
            run.bus = parent.bus.fork()
            parents.append((number, parent))
    assert finish(run, workload) == whole, f"seed {seed}: random steps"
    assert parents, f"seed {seed}"
    for number, parent in parents:
        for command in workload.commands[number + 1 :]:
            apply(parent, command)
        assert finish(parent, workload) == whole, f"seed {seed}: parent of the fork at {number}"
