"""Masks: an action is masked exactly when the venue would refuse every order it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from gyms import LATENCIES, session, single, vector
from scenes import BOOK, SELL, Scene
from test_gym_env import written

from foldbook.engine import Risk, Session, Side, Tape, TimeInForce, contracts, dollars
from foldbook.engine.codecs import Codec, limit5, now5, sized21
from foldbook.engine.kernels import layout
from foldbook.engine.schema import TAPE_DTYPE, JournalKind, MarketStatus, TapeFlag, TapeKind

REFUSED = (JournalKind.REJECTED, JournalKind.AMEND_REJECTED)
CODECS = (limit5(), limit5("passive"), limit5("mid"), sized21(), sized21("passive"), now5())


def interrupted() -> Session:
    """Return a generated session with pauses of all kinds in it, and a gap."""
    whole = session(7, markets=1)
    rows = whole.tape.rows
    added = []
    cases = ((8, 0), (16, TapeFlag.INACTIVE), (24, TapeFlag.EXCHANGE))
    for second, flags in cases:
        for ts, status in ((second, MarketStatus.PAUSED), (second + 3, MarketStatus.OPEN)):
            row = np.zeros(1, TAPE_DTYPE)
            row["ts"] = row["recv"] = whole.start + ts * 10**9 + 1
            row["kind"], row["qty"] = TapeKind.STATUS, status
            row["flags"] = flags if status is MarketStatus.PAUSED else 0
            added.append(row)
    merged = np.concatenate([rows, *added])
    merged = merged[np.argsort(merged["ts"], kind="stable")]
    gap = np.zeros(1, TAPE_DTYPE)
    gap["ts"] = gap["recv"] = whole.start + 50 * 10**9
    gap["kind"] = TapeKind.GAP
    at = np.searchsorted(merged["ts"], gap["ts"][0])
    ends = merged[merged["kind"] == TapeKind.STATUS][-2:]
    return Session(
        Tape(np.concatenate([merged[:at], gap, ends])), whole.markets, name="interrupted"
    )


def is_refused(env, codec: Codec, action: int) -> bool:
    """Do what an action stands for, on a fork where cancels come first, and say whether the venue
    refused it."""
    run = env.simulation.fork()
    memory = run.bus.memory
    before = memory[layout.JOURNAL_COUNT]
    codec.act(run, 0, action)
    numbers = range(before, memory[layout.JOURNAL_COUNT])
    return any(run.bus.row(number)["kind"] in REFUSED for number in numbers)


def holds_nothing(env, codec: Codec, action: int) -> bool:
    intent, _ = codec.intent(action)
    held = env.simulation.positions.qty(0)
    return (intent == "SELL_YES" and held <= 0) or (intent == "SELL_NO" and held >= 0)


@pytest.mark.parametrize("cash", [dollars(2), dollars(7), dollars(100)])
@pytest.mark.parametrize("codec", CODECS, ids=lambda each: f"{each.name}-{each.policy}")
def test_masked_is_refused(codec, cash):
    """In states that random actions led to, pauses, a gap and the close among them: masked exactly
    if what the action sends is refused, really tried; HOLD never is."""
    every = "230ms" if len(codec.sizes) == 1 else "530ms"
    env = single(interrupted(), actions=codec, gaps=True, cash=cash, cadence=every)
    rng = np.random.default_rng(cash)
    _, info = env.reset(seed=0)
    seen = np.zeros((codec.dims[0], 2), int)
    for _ in range(280 if len(codec.sizes) == 1 else 120):
        mask = info["action_mask"]
        assert mask[0] == 1
        assert (env.action_masks() == mask.astype(bool)).all()
        for action in range(1, codec.dims[0]):
            expected = is_refused(env, codec, action) or holds_nothing(env, codec, action)
            assert mask[action] == (not expected), f"{codec.intent(action)} at {env.simulation.now}"
            seen[action, mask[action]] += 1
        *_, terminated, truncated, info = env.step(int(rng.integers(codec.dims[0])))
        if terminated or truncated:
            break
    if cash > dollars(5):
        assert seen[1:].sum(axis=0).min() > 50
    assert (seen[1:, 0] > 0).all()


def test_limits_of_ones_own_mask_too():
    """An action that a risk limit refuses is masked."""
    risk = Risk(max_position=contracts(15))
    env = single(session(7), actions=sized21(), risk=risk, cadence=20)
    _, info = env.reset(seed=0)
    allowed = {env.codec.intent(action) for action in np.flatnonzero(info["action_mask"])}
    assert allowed == {
        ("HOLD", 0), ("BUY_YES", 500), ("BUY_YES", 1000), ("BUY_NO", 500), ("BUY_NO", 1000),
    }  # fmt: skip


@pytest.mark.parametrize("latency", ["orders", "sight"])
@pytest.mark.parametrize("codec", [limit5(), now5(), sized21("passive")], ids=lambda c: c.name)
def test_where_sight_is_late_it_is_what_the_agent_can_know(codec, latency):
    """With delays and no order open or on its way: masked exactly if `would_reject`, which answers
    from what the agent sees, names a reason."""
    env = single(session(7), actions=codec, cash=dollars(4), **LATENCIES[latency], cadence="300ms")
    rng = np.random.default_rng(3)
    _, info = env.reset(seed=0)
    seen = [0, 0]
    for number in range(150):
        run = env.simulation
        if not run.orders.open(0):
            book = run.book(0)
            for action in range(1, codec.dims[0]):
                intent, size = codec.intent(action)
                side = Side.BUY if intent in ("BUY_YES", "SELL_NO") else Side.SELL
                held = run.positions.qty(0)
                if intent.startswith("SELL"):
                    size = min(size, max(held if intent == "SELL_YES" else -held, 0))
                passive = codec.policy == "passive"
                price = book.best_bid if passive == (side is Side.BUY) else book.best_ask
                kind = TimeInForce.IOC if codec.kind == "now" else TimeInForce.GTC
                price = price if 0 < price < 10_000 else None
                refused = size == 0 or run.would_reject(0, side, price, size, tif=kind) is not None
                assert info["action_mask"][action] == (not refused), (number, intent, size)
                seen[not refused] += 1
        *_, terminated, truncated, info = env.step(int(rng.integers(codec.dims[0])))
        if terminated or truncated:
            break
    assert min(seen) > 20


@pytest.mark.parametrize(("tokens", "taken"), [(11, 0), (12, 1)])
def test_a_cancel_that_an_action_implies_takes_its_tokens(tokens, taken):
    """With a bid resting, BUY_NO is a cancel (2 tokens) and an order (10): a bucket of 11 holds the
    order alone, and masks it; one of 12 holds both."""
    risk = Risk(tokens_per_second=tokens, burst_seconds=1)
    scene = Scene().book(10**9, BOOK)
    for second in (3, 5, 7, 9):
        scene.more(second * 10**9, SELL, 60 + second, 100)
    env = single(written(scene), actions=limit5("passive"), risk=risk)
    env.reset(seed=0)
    info = env.step(1)[4]
    assert len(env.simulation.orders.open(0)) == 1 and info["position"] == 0
    assert info["action_mask"].tolist() == [1, 1, 0, taken, 0]
    assert is_refused(env, env.codec, 3) == (not taken)


def test_masks_can_be_left_out():
    """Without them nothing else is different, and whoever asks for one is told what to do."""
    with_masks, without = (
        single(session(7), masks=masks, start="random", cadence=5) for masks in (True, False)
    )
    ours, theirs = with_masks.reset(seed=3), without.reset(seed=3)
    for action in np.random.default_rng(1).integers(0, 5, 60).tolist():
        assert (ours[0] == theirs[0]).all()
        ours[-1].pop("action_mask")
        assert ours[-1] == theirs[-1]
        ours, theirs = with_masks.step(action), without.step(action)
    with pytest.raises(TypeError, match="masks=True"):
        without.action_masks()
    envs = vector(session(7), 2, masks=False)
    assert "action_mask" not in envs.reset(seed=1)[1]
    with pytest.raises(TypeError, match="masks=True"):
        envs.action_masks()
    with pytest.raises(TypeError, match="masks"):
        single(session(7), masks=1)
