"""Our own side of the race: replay, the same market maker compiled or in Python, plain or with the
delays that peers simulate, over a saved session. The limits of the machine run here too."""

from pathlib import Path

import driving
import numpy as np

from foldbook.adapters import sessions
from foldbook.engine import (
    NO_FEES,
    JournalKind,
    Latency,
    OrderFlag,
    Queue,
    Session,
    Side,
    Simulation,
    Tape,
    TimeInForce,
    contracts,
    dollars,
    strategy,
    verbs,
)
from foldbook.engine.kernels.layout import LEVEL_WORDS, MARKET_WORDS, TOP
from foldbook.engine.kernels.layout import QTY as QTY_WORD
from foldbook.engine.player import play

_POST_ONLY, _GTC = int(OrderFlag.POST_ONLY), int(TimeInForce.GTC)
LATE = Latency.constant(driving.ORDER_DELAY, response=driving.ORDER_DELAY, feed=driving.FEED_DELAY)
SENT = Latency.constant(driving.ORDER_DELAY, response=0, feed=0)
DELAYS = {"": {}, "late": {"latency": LATE}, "sent": {"latency": SENT}}
"""By what a mode ends with: no delays, all of them, or those of commands alone."""
QTY = contracts(10)


@strategy(calls=0)
def watch(sim, words):
    """Count the steps, and decide nothing."""
    words[0] += 1


@strategy(qty=QTY, limit=50 * QTY, calls=0)
def quote_best(sim, words):
    """Each step cancel both own orders and quote both best prices, post-only."""
    words[2] += 1
    position = verbs.position(sim, 0)
    for side in range(2):
        own = verbs.best_order(sim, 0, side)
        if own:
            verbs.cancel(sim, 0, own)
    bid, ask = verbs.best(sim, 0, 0), verbs.best(sim, 0, 1)
    if bid > 0 and position < words[1]:
        verbs.submit_as(sim, 0, 0, (bid, words[0], _GTC, _POST_ONLY))
    if ask < 10_000 and position > -words[1]:
        verbs.submit_as(sim, 0, 1, (ask, words[0], _GTC, _POST_ONLY))


def quote_best_python(sim):
    """The same rule, called from Python."""
    position = sim.positions.qty(0)
    sim.cancel_all(0)
    book = sim.book(0)
    bid, ask = book.best_bid, book.best_ask
    if bid > 0 and position < 50 * QTY:
        sim.submit(0, Side.BUY, bid, QTY, post_only=True)
    if ask < 10_000 and position > -50 * QTY:
        sim.submit(0, Side.SELL, ask, QTY, post_only=True)


def simulation(session, late, restored=0, journal=False):
    """Return a run without fees, as the peers are set, and like them without a journal; restored:
    ns after which takings return."""
    return Simulation(
        session, cash=dollars(10**9), order_capacity=16, fees=NO_FEES,
        queue=Queue.conservative, restored_after=restored, journal=journal, **DELAYS[late],
    )  # fmt: skip


def final_book(sim):
    """Return the recorded book at the end, 0.01 contract by cents, whatever own orders took."""
    memory, base = sim.bus.memory, sim.bus.base(0)
    ranks = int(memory[base + TOP]) + 1
    first = base + MARKET_WORDS + QTY_WORD
    levels = np.array(memory[first : first + LEVEL_WORDS * 2 * ranks : LEVEL_WORDS])
    bids, asks = levels.reshape(2, ranks)
    return np.array([bids, asks[::-1]])


def main():
    given = driving.arguments(("--qty", 0.0), ("--restored", 0))
    columns = driving.load(given.feed, given.limit)
    count, final = len(columns["ts"]), {side: columns[side] for side in ("bids", "asks")}
    last = int(columns["rows"][-1]) + 1
    del columns
    session = sessions.load(Path(given.feed).with_suffix(""))
    if last < len(session.tape):
        session = Session(Tape(session.tape.rows[:last]), session.markets, name="prefix")
    rule, _, late = given.mode.partition("-")
    chosen = {"replay": watch, "maker": quote_best, "python": quote_best_python}[rule]
    if given.qty:
        qty = round(given.qty * 100)
        chosen = quote_best(qty=qty, limit=50 * qty)

    def play_once(journal):
        sim = simulation(session, late, given.restored, journal)
        _, wall, cpu = driving.timed(lambda: play(sim, chosen, every=driving.STEP))
        assert sim.events == len(session.tape), "the tape has not come to its end"
        return sim, wall, cpu

    def look():
        """Return what a run came to, read off a journal that is kept for once."""
        sim, _, _ = play_once(journal=True)
        journal = sim.journal()
        rows = journal.rows
        fills = rows[rows["kind"] == JournalKind.FILL]
        book = final_book(sim)
        return sim.bus.state_bytes(), {
            "digest": journal.digest,
            "submits": int((rows["kind"] == JournalKind.SUBMITTED).sum()),
            "cancels": int((rows["kind"] == JournalKind.CANCEL_REQUESTED).sum()),
            "fills": len(fills), "position": sim.positions.qty(0) / 100,
            "book": driving.same_book(final, book[0], book[1]),
            # Only the comparison of fills, which sets a quantity, wants them one by one.
            "noted": [
                [int(fill["ts"]), int(fill["side"]), int(fill["price"]) // 100]
                for fill in (fills if given.qty else ())
            ],
        }  # fmt: skip

    (state, found), first, _ = driving.timed(look)

    def run():
        sim, wall, cpu = play_once(journal=False)
        assert sim.bus.state_bytes() == state, "a run without a journal ended elsewhere"
        return {"work": count, "wall": wall, "cpu": cpu} | found

    driving.serve(
        run, first_call_seconds=first, events=count, versions=driving.versions("numba", "numpy")
    )


if __name__ == "__main__":
    main()
