"""The rebuilt queue: held to tables checked by hand, to the plain-Python reference, and to queues
that are known exactly."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from processes import interpreted
from reference.queues import rebuild
from tapes import START_TS, TapeBuilder
from workloads import make

from foldbook.adapters import synthetic
from foldbook.engine import queues
from foldbook.engine.errors import TapeError
from foldbook.engine.kernels import queues as kernel
from foldbook.engine.queues import QueueCounts, find_places, rebuild_queues
from foldbook.engine.schema import TAPE_DTYPE, MarketStatus, Side, TapeFlag, TapeKind
from foldbook.engine.specs import Market

K = TapeKind
BUY, SELL = Side.BUY, Side.SELL
ONE = (Market("A", 100),)
HOW = {"traded": kernel.TRADED, "identified": kernel.IDENTIFIED,
       "ambiguous": kernel.AMBIGUOUS, "missing": kernel.MISSING}
SEEDS = range(40)


class Table:
    """A tape of one market, a row a microsecond; changes stand at 40 cents bid unless told."""

    def __init__(self, *, has_trades: bool = True):
        self.tape = TapeBuilder()
        self.ts = START_TS
        if has_trades:
            self.row(K.TRADE, SELL, 9000, 1, flags=TapeFlag.UNJOINED)

    def row(self, kind: int, side: int = 0, price: int = 0, qty: int = 0, flags: int = 0,
            *, same_burst: bool = False) -> Table:
        self.ts += 0 if same_burst else 1000
        self.tape.add(self.ts, kind, side, price, qty, flags=flags, ahead=-7 * (kind == K.DECREASE))
        return self

    def snapshot(self, **levels: int) -> Table:
        """`b40=100` is a bid of 100 at 40 cents."""
        self.row(K.SNAPSHOT)
        for name, qty in levels.items():
            side = BUY if name[0] == "b" else SELL
            self.row(K.SNAPSHOT_LEVEL, side, int(name[1:]) * 100, qty, same_burst=True)
        return self

    def add(self, *sizes: int, price: int = 4000) -> Table:
        for size in sizes:
            self.row(K.INCREASE, BUY, price, size)
        return self

    def cut(self, *sizes: int, price: int = 4000) -> Table:
        for size in sizes:
            self.row(K.DECREASE, BUY, price, size)
        return self

    def trade(self, *sizes: int) -> Table:
        for size in sizes:
            self.row(K.TRADE, BUY, 4000, size, TapeFlag.JOINED)
            self.row(K.DECREASE, BUY, 4000, size, same_burst=True)
        return self

    def places(self) -> list[tuple[int, bool]]:
        """Return (ahead, guessed) of each decrease, after comparing with the reference."""
        rows = self.tape.rows()
        check(rows, ONE)
        made = rebuild_queues(rows, ONE)
        made = made[made["kind"] == K.DECREASE]
        guessed = made["flags"] & TapeFlag.GUESSED != 0
        return list(zip(made["ahead"].tolist(), guessed.tolist(), strict=True))


def check(rows: np.ndarray, markets: tuple[Market, ...], seed: int = -1) -> QueueCounts:
    """Assert that kernel and reference agree on each decrease, and that no other row changes."""
    expected = rebuild(rows, markets)
    found = find_places(rows, markets)
    at = np.flatnonzero(rows["kind"] == K.DECREASE)
    ours = list(zip(at.tolist(), found.ahead[at].tolist(), found.verdicts[at].tolist(),
                    strict=True))
    theirs = [(place.row, place.ahead, HOW[place.how]) for place in expected]
    assert ours == theirs, f"seed {seed}: " + str(
        next((pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]), None)
    )
    made = rebuild_queues(rows, markets)
    back = made.copy()
    back["ahead"][at] = rows["ahead"][at]
    back["flags"][at] = rows["flags"][at]
    assert back.tobytes() == rows.tobytes()
    assert sum(vars_of(found.counts)) == len(at)
    return found.counts


def vars_of(counts: QueueCounts) -> list[int]:
    return [counts.traded, counts.identified, counts.ambiguous, counts.missing]


SURE, GUESS = False, True


def test_one_order_of_the_size_is_that_order():
    """10, 20, 30 stand; 20 goes (10 ahead), then 30 (10 ahead), then 10 (none)."""
    table = Table().snapshot().add(10, 20, 30).cut(20, 30, 10)
    assert table.places() == [(10, SURE), (10, SURE), (0, SURE)]


def test_of_several_the_newest_goes():
    """10, 20, 10: a 10 goes, the newer (30 ahead); the next 10 is the only one."""
    assert Table().snapshot().add(10, 20, 10).cut(10, 10).places() == [(30, GUESS), (0, SURE)]


def test_a_trade_takes_from_the_front():
    """10, 20, 30: a trade of 4 leaves 6 of the first; one of 16 takes it and 10 of the second."""
    table = Table().snapshot().add(10, 20, 30).trade(4).cut(6).trade(12).cut(8, 30)
    assert table.places() == [(0, SURE), (0, SURE), (0, SURE), (0, SURE), (0, SURE)]
    table = Table().snapshot().add(10, 20, 30).trade(16).cut(30, 14)
    assert table.places() == [(0, SURE), (14, SURE), (0, SURE)]


def test_no_order_of_the_size_shrinks_the_newest_larger_one():
    """10, 40, 20: 25 goes from the 40 (10 ahead of it), which is 15 then."""
    assert Table().snapshot().add(10, 40, 20).cut(25, 15).places() == [(10, GUESS), (10, SURE)]


def test_what_is_larger_than_every_order_comes_from_the_back():
    """10, 20, 20: 35 takes 20 and 15 from the back; 5 is left of the second, 10 ahead of it."""
    assert Table().snapshot().add(10, 20, 20).cut(35, 5).places() == [(15, GUESS), (10, SURE)]


def test_the_aggregate_of_a_snapshot_gives_first():
    """100 stand and 30, 40 arrive: 25 leaves the back of the 100, then 30 is found behind 75;
    35 leaves the aggregate though 40 is larger; 40 is that order; 40 is the whole aggregate."""
    table = Table().snapshot(b40=100).add(30, 40).cut(25, 30, 35, 40, 40)
    assert table.places() == [(75, GUESS), (75, SURE), (40, GUESS), (40, GUESS), (0, SURE)]


def test_an_aggregate_that_is_too_small_gives_nothing():
    """10 stand and 40 arrives: 25 comes from the 40. With 20 and 5 behind 10, 22 are the last, and
    then 13 are all."""
    assert Table().snapshot(b40=10).add(40).cut(25, 15).places() == [(10, GUESS), (10, SURE)]
    assert Table().snapshot(b40=10).add(20, 5).cut(22, 13).places() == [(13, GUESS), (0, GUESS)]


def test_a_traded_aggregate_is_an_aggregate_until_it_is_gone():
    """100 stand, 30 arrives, 60 trade: 15 leaves the 40 that are left; 35 trade, and 20 can only
    leave the 30, of which 20 are left."""
    table = Table().snapshot(b40=100).add(30).trade(60).cut(15).trade(35).cut(5, 15)
    assert table.places() == [(0, SURE), (25, GUESS), (0, SURE), (0, GUESS), (0, SURE)]


def test_a_price_change_goes_to_the_back_of_its_new_level():
    """10 moves from 41 behind the 30 at 40; both are found again."""
    table = Table().snapshot().add(10, price=4100).add(30)
    table.cut(10, price=4100).row(K.INCREASE, BUY, 4000, 10, TapeFlag.REPRICE, same_burst=True)
    assert table.cut(10, 30).places() == [(0, SURE), (30, SURE), (0, SURE)]


def test_a_snapshot_that_says_the_same_keeps_the_orders():
    """40 is confirmed with 30 and keeps 10, 20; 41 was 5, is 6 and becomes an aggregate; 42 is
    empty, and a later order there is alone."""
    table = Table().snapshot().add(10, 20).add(5, price=4100).add(7, price=4200)
    table.snapshot(b40=30, b41=6).add(7, price=4200)
    table.cut(20, 10).cut(2, price=4100).cut(7, price=4200)
    assert table.places() == [(10, SURE), (0, SURE), (4, GUESS), (0, SURE)]


def test_a_gap_forgets_the_orders():
    """The same sum after a gap, or two snapshots later, is an aggregate."""
    table = Table().snapshot().add(10, 20).row(K.GAP).snapshot(b40=30)
    assert table.cut(10).places() == [(20, GUESS)]
    table = Table().snapshot().add(10, 20).snapshot().snapshot(b40=30)
    assert table.cut(10).places() == [(20, GUESS)]


def test_a_close_empties_the_levels_once():
    """CLOSED, then a book that a later DETERMINED leaves alone."""
    table = Table().snapshot().add(10, 20).row(K.STATUS, qty=MarketStatus.CLOSED).snapshot(b40=30)
    table.add(5).row(K.STATUS, qty=MarketStatus.DETERMINED, price=0)
    assert table.cut(10, 5).places() == [(20, GUESS), (20, SURE)]


def test_without_trades_the_best_price_is_always_a_guess():
    """At the touch a decrease may be a trade, until the first trade shows that they are recorded;
    deeper, and where the order comes back at another price in the burst, it cannot."""
    table = Table(has_trades=False).snapshot(b39=10).add(10, 20, 30).add(7, price=3900)
    table.cut(20).cut(7, price=3900)
    table.cut(10).row(K.INCREASE, BUY, 3800, 10, TapeFlag.REPRICE, same_burst=True)
    table.cut(30).cut(10, price=3900)
    assert table.places() == [(10, GUESS), (10, SURE), (0, SURE), (0, GUESS), (0, GUESS)]
    table = Table(has_trades=False).snapshot().add(10, 20).cut(10).trade(5).cut(15)
    assert table.places() == [(0, GUESS), (0, SURE), (0, SURE)]


def test_a_place_beyond_the_column_is_unknown():
    """2^31 contracts' hundredths ahead do not fit int32: -1; one less does."""
    for first, ahead in ((2**31, -1), (2**31 - 1, 2**31 - 1)):
        table = Table().snapshot(b40=first).add(5)
        assert table.cut(5).places() == [(ahead, SURE)]


@pytest.mark.bounds
@pytest.mark.parametrize("seed", SEEDS)
def test_random_tapes(seed):
    """Kernel and reference agree on valid tapes with all that can be on one."""
    workload = make(seed, events=1500, commands=0)
    check(workload.rows, workload.markets, seed)


def crowded(seed: int, orders: int) -> tuple[np.ndarray, tuple[Market, ...]]:
    """Return a tape of two markets whose levels hold many orders of few sizes."""
    rng = random.Random(seed)
    tape = TapeBuilder()
    level = {(m, price): 0 for m in (0, 1) for price in (3000, 4000)}
    sizes = [rng.randint(1, 60) for _ in range(rng.choice((5, 20, 60)))]
    for m in (0, 1):
        tape.add(START_TS, K.SNAPSHOT, market=m)
        tape.add(START_TS, K.SNAPSHOT_LEVEL, BUY, 4000, 500, market=m)
        level[m, 4000] = 500
    for number in range(6 * orders):
        ts = START_TS + 1000 * (number + 1)
        m, price = rng.choice(list(level))
        has = level[m, price]
        if has == 0 or rng.random() < (0.7 if number < 3 * orders else 0.35):
            size = rng.choice(sizes)
            tape.add(ts, K.INCREASE, BUY, price, size, market=m)
            level[m, price] += size
            continue
        size = min(has, rng.choice(sizes) if rng.random() < 0.9 else rng.randint(1, 300))
        if rng.random() < 0.3:
            tape.add(ts, K.TRADE, BUY, price, size, market=m, flags=TapeFlag.JOINED)
        tape.add(ts, K.DECREASE, BUY, price, size, market=m)
        level[m, price] -= size
        if rng.random() < 0.001:
            tape.add(ts, K.SNAPSHOT, market=m)
            for other in (3000, 4000):
                level[m, other] = rng.choice((level[m, other], 77))
                if level[m, other]:
                    tape.add(ts, K.SNAPSHOT_LEVEL, BUY, other, level[m, other], market=m)
    return tape.rows(), (Market("A", 100), Market("B", 1))


@pytest.mark.bounds
@pytest.mark.parametrize("seed", range(6))
def test_crowded_levels(seed, monkeypatch):
    """Hundreds of orders in a level, from a pool with room for ten: it grows, nothing changes."""
    rows, markets = crowded(seed, orders=800)
    counts = check(rows, markets, seed)
    assert min(vars_of(counts)) > 0
    monkeypatch.setattr(queues, "POOL_WORDS", kernel.POOL_HEAD + 16)
    assert check(rows, markets, seed) == counts


def test_the_pool_is_used_again(monkeypatch):
    """A thousand levels come and go in the room of a few: the pool does not grow."""
    table = Table().snapshot()
    for number in range(1000):
        price = 100 * (1 + number % 40)
        table.add(*range(1, 31), price=price).cut(*range(1, 31), price=price)
    monkeypatch.setattr(queues, "POOL_WORDS", kernel.POOL_HEAD + 16 + 32 + 64)
    monkeypatch.setattr(np, "concatenate", None)
    assert find_places(table.tape.rows(), ONE).counts == QueueCounts(identified=30_000)


@pytest.mark.parametrize("seed", range(8))
def test_rows_depend_on_rows_before_them(seed):
    """Cut anywhere between bursts, the rows before the cut are the same."""
    workload = make(seed, events=1500, commands=0)
    whole = rebuild_queues(workload.rows, workload.markets)
    ends = np.flatnonzero(np.diff(workload.rows["ts"])) + 1
    for end in random.Random(seed).sample(ends.tolist(), 20):
        part = rebuild_queues(workload.rows[:end], workload.markets)
        assert part.tobytes() == whole[:end].tobytes(), f"seed {seed}, cut at {end}"


def test_markets_do_not_touch_each_other():
    """The places of a market are the same in a session with others."""
    session = synthetic.session(seed=3, markets=3, events=20_000)
    whole = rebuild_queues(session.tape.rows, session.markets)
    for index in range(3):
        alone = session.tape.rows[session.tape.rows["market"] == index].copy()
        alone["market"] = 0
        made = rebuild_queues(alone, session.markets[index : index + 1])
        mine = whole[whole["market"] == index].copy()
        mine["market"] = 0
        assert made.tobytes() == mine.tobytes()


def test_rebuilding_again_changes_nothing():
    """What stood in `ahead` and GUESSED before does not matter."""
    session = synthetic.session(seed=3, events=20_000)
    once = rebuild_queues(session.tape.rows, session.markets)
    assert rebuild_queues(once, session.markets).tobytes() == once.tobytes()


@pytest.mark.parametrize("seed", [7, 11])
def test_the_exact_queue_of_generated_sessions_is_found(seed):
    """The generator knows where each order stood. Its round sizes repeat, so that some decreases
    have several candidates, and it begins with levels whose orders nobody saw arrive."""
    session = synthetic.session(seed=seed, events=200_000)
    rows = session.tape.rows
    found = find_places(rows, session.markets)
    made = found.written_to(rows)
    equal = made["ahead"] == rows["ahead"]
    shares = {how: equal[found.verdicts == code].mean() for how, code in HOW.items()}
    decreases = rows["kind"] == K.DECREASE
    print({how: round(float(share), 4) for how, share in shares.items()}, found.counts)
    assert shares["traded"] == 1
    assert shares["identified"] > 0.92
    assert equal[decreases].mean() > 0.85


def test_rows_that_are_no_tape_are_refused():
    """A decrease below zero is named by its row; other arrays are not rows."""
    with pytest.raises(TapeError, match="row 4 .*below zero"):
        rebuild_queues(Table().snapshot().add(5).cut(3, 3).tape.rows(), ONE)
    with pytest.raises(TapeError, match="not TAPE_DTYPE"):
        rebuild_queues(np.zeros(3, np.int64), ONE)
    assert len(rebuild_queues(np.zeros(0, TAPE_DTYPE), ONE)) == 0


def digests() -> str:
    rows, markets = crowded(1, orders=60)
    return rebuild_queues(rows, markets).tobytes().hex()


def test_interpreted_kernels_give_the_same():
    """NUMBA_DISABLE_JIT=1 runs the same functions as plain Python."""
    assert interpreted(__file__) == [digests()]


if __name__ == "__main__":
    sys.stdout.write(digests())
