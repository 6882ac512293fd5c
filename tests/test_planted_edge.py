"""The planted market has the edge that it says, and training finds it."""

from __future__ import annotations

import pytest

from foldbook.benchmarks import planted_edge
from foldbook.engine import Simulation, next_change

pytest.importorskip("sb3_contrib", reason="needs the extra sb3")


def test_the_edge_is_planted():
    """The price follows the larger size at the touch 85 times in a hundred, by two cents."""
    right = moves = 0
    for seed in range(4):
        sim = Simulation(planted_edge.session(seed))
        leaning, before = 0, 0
        while sim.advance(next_change()):
            book = sim.book()
            if book.best_bid == 0 or book.status:
                continue
            if before and book.best_bid != before:
                assert abs(book.best_bid - before) <= 200
                moves += 1
                right += (book.best_bid > before) == (leaning > 0)
            before = book.best_bid
            leaning = book.best_bid_qty - book.best_ask_qty
    assert moves > 1000
    assert right / moves == pytest.approx(planted_edge.EDGE / 100, abs=0.04)


def test_training_finds_it(capsys):
    """At toy size: one seed, and the trained policy earns, where holding and chance do not."""
    planted_edge.main(["--seeds", "1", "--steps", "8192", "--sessions", "4"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["ppo", "hold", "random"]
    earned = [float(line[10:20]) for line in printed[:3]]
    assert earned[0] > 0 == earned[1] > earned[2]


def test_a_mirrored_market_is_the_other_outcome():
    """What was a bid is an offer of the other outcome, at each moment, of the same size."""

    def rows(session, mirrors):
        levels = session.tape.rows[session.tape.rows["price"] > 0]
        return sorted(
            (int(row["ts"]), int(row["kind"]), int(row["side"]) ^ mirrors,
             10_000 - int(row["price"]) if mirrors else int(row["price"]), int(row["qty"]))
            for row in levels
        )  # fmt: skip

    one, other = (planted_edge.session(3, mirrored=mirrored) for mirrored in (False, True))
    assert rows(one, 0) == rows(other, 1)
    assert one.tape.rows.tobytes() != other.tape.rows.tobytes()
