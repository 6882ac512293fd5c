"""The lifecycle table: what it allows, and that journals which break a rule are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workloads import drive, make

from foldbook.engine.errors import JournalError
from foldbook.engine.lifecycle import (
    ACCOUNT_KINDS,
    MARKET_KINDS,
    TRANSITIONS,
    UPDATE_REASONS,
    VENUE_STATUS,
    OrderState,
    check_journal,
    last_update_reason,
    next_state,
)
from foldbook.engine.schema import (
    JOURNAL_DTYPE,
    NO_TIME,
    CauseKind,
    JournalKind,
    OrderFlag,
    Reason,
    TimeInForce,
)

K = JournalKind
OPEN = (OrderState.RESTING, OrderState.PARTLY_FILLED)


def journal(*steps):
    """Return rows of market 0, order 1, from (kind, qty, left) triples."""
    rows = np.zeros(len(steps), JOURNAL_DTYPE)
    for number, (kind, qty, left) in enumerate(steps):
        rows[number]["kind"], rows[number]["qty"], rows[number]["left"] = kind, qty, left
    rows["order"] = 1
    rows["row"] = np.arange(len(steps))
    return rows


LIFE = ((K.SUBMITTED, 10, 0), (K.ACCEPTED, 10, 10), (K.FILL, 4, 6), (K.CANCEL_REQUESTED, 10, 6),
        (K.CANCELED, 6, 0), (K.CANCEL_REQUESTED, 0, 0), (K.CANCEL_REJECTED, 0, 0))


def test_a_life():
    """An order is submitted, accepted, partly filled, canceled, and canceled twice in vain."""
    assert check_journal(journal(*LIFE)) == {(0, 1): OrderState.CANCELED}
    assert check_journal(journal(*LIFE[:3])) == {(0, 1): OrderState.PARTLY_FILLED}
    assert check_journal(journal(*LIFE[:2], (K.FILL, 10, 0))) == {(0, 1): OrderState.FILLED}


def test_a_life_in_flight():
    """Commands that overtake their order find it not open; it is accepted after them, amended up
    and decreased."""
    steps = ((K.SUBMITTED, 10, 0), (K.CANCEL_REQUESTED, 0, 0), (K.AMEND_REQUESTED, 12, 0),
             (K.CANCEL_REJECTED, 0, 0), (K.DECREASE_REQUESTED, 3, 0), (K.AMEND_REJECTED, 12, 0),
             (K.ACCEPTED, 10, 10), (K.AMEND_REJECTED, 3, 10), (K.FILL, 4, 6),
             (K.DECREASE_REQUESTED, 2, 6), (K.AMENDED, 8, 4))
    rows = journal(*steps)
    assert check_journal(rows[:6]) == {(0, 1): OrderState.SUBMITTED}
    assert check_journal(rows) == {(0, 1): OrderState.PARTLY_FILLED}
    rows["reason"][[3, 5]] = Reason.ORDER_NOT_OPEN
    check_journal(rows)
    rows["reason"][7] = Reason.ORDER_NOT_OPEN
    with pytest.raises(JournalError, match="row 7 .*: AMEND_REJECTED for ORDER_NOT_OPEN"):
        check_journal(rows)
    rows["reason"][7] = 0
    rows["left"][10] = 5
    with pytest.raises(JournalError, match="row 10 .*: AMENDED leaves 5 open, and should leave 4"):
        check_journal(rows)


def test_rows_of_no_order():
    """Groups and the kill switch are the account's; what is restored, settled or returned, a
    market's."""
    kinds = (K.CASH_MOVED, K.GROUP_SET, K.GROUP_TRIGGERED, K.KILL_SET, K.RESTORED, K.SETTLED,
             K.COLLATERAL_RETURNED)  # fmt: skip
    rows = np.zeros(7, JOURNAL_DTYPE)
    rows["kind"] = kinds
    rows["market"] = [-1, -1, -1, -1, 0, 0, 0]
    rows["row"] = [0, 1, 2, 3, 0, 1, 2]
    assert check_journal(rows) == {}


@pytest.mark.parametrize(
    ("kind", "reason", "request_kind", "words"),
    [
        (K.ACCEPTED, 0, K.SUBMITTED, ""),
        (K.FILL, 0, K.ACCEPTED, "Trade"),
        (K.AMENDED, 0, K.AMEND_REQUESTED, "Amend"),
        (K.AMENDED, 0, K.DECREASE_REQUESTED, "Decrease"),
        (K.CANCELED, Reason.AMENDED_TO_FILLED, K.AMEND_REQUESTED, "Amend"),
        (K.CANCELED, Reason.AMENDED_TO_FILLED, K.DECREASE_REQUESTED, "Decrease"),
        (K.CANCELED, Reason.USER, K.CANCEL_REQUESTED, ""),
        (K.CANCELED, Reason.IMMEDIATE_OR_CANCEL, K.ACCEPTED, ""),
        (K.CANCELED, Reason.GROUP_TRIGGERED, K.GROUP_TRIGGERED, ""),
        (K.CANCELED, Reason.MARKET_CLOSED, None, "CloseCancel"),
        (K.CANCELED, Reason.TAKER_SELF_TRADE, K.ACCEPTED, "SelfTradeCancel"),
        (K.CANCELED, Reason.MAKER_SELF_TRADE, K.ACCEPTED, "SelfTradeCancel"),
        (K.CANCELED, Reason.PAUSED, None, "HaltCancel"),
        (K.CANCELED, Reason.REACTIVATED, None, "HaltCancel"),
        (K.CANCELED, Reason.MARGIN, None, "MarginCancel"),
        (K.EXPIRED, 0, None, "ExpiryCancel"),
        (K.REJECTED, Reason.POST_ONLY_CROSS, K.SUBMITTED, "PostOnlyCrossCancel"),
        (K.REJECTED, Reason.INVALID_PRICE, K.SUBMITTED, ""),
        (K.REJECTED, Reason.INVALID_ORDER, K.SUBMITTED, ""),
    ],
)
def test_the_venues_words(kind, reason, request_kind, words):
    """Each way in which an order came to be as it is has the venue's word (SPEC 2.4), or none."""
    row = np.zeros(1, JOURNAL_DTYPE)[0]
    row["kind"], row["reason"] = kind, reason
    assert last_update_reason(row, request_kind) == words


def test_a_position_too_small_to_reduce():
    """INVALID_ORDER of a reduce-only order in which all else is valid is the position's doing."""
    row = np.zeros(1, JOURNAL_DTYPE)[0]
    row["kind"], row["reason"] = K.REJECTED, Reason.INVALID_ORDER
    row["flags"] = OrderFlag.REDUCE_ONLY | OrderFlag.CANCEL_ON_PAUSE
    row["tif"], row["expires"] = TimeInForce.IOC, NO_TIME
    assert last_update_reason(row, None) == "ReduceOnlyCancel"
    row["tif"] = TimeInForce.GTC
    assert last_update_reason(row, None) == ""


def test_every_state_has_a_word():
    """No state is left out, and all words are the venue's (SPEC 2.4, 3.2)."""
    assert set(VENUE_STATUS) == set(OrderState)
    assert {*VENUE_STATUS.values()} == {"", "resting", "canceled", "executed"}
    assert {*UPDATE_REASONS.values()} < {
        "Decrease", "Amend", "MarginCancel", "SelfTradeCancel", "ExpiryCancel", "CloseCancel",
        "HaltCancel", "Trade", "PostOnlyCrossCancel", "ReduceOnlyCancel"}


def test_every_kind_of_an_order_is_in_the_table():
    """Each kind concerns an order, a market or the account, and every state can be reached."""
    assert {kind for _, kind in TRANSITIONS} == set(K) - {*MARKET_KINDS, *ACCOUNT_KINDS}
    assert len(MARKET_KINDS) + len(ACCOUNT_KINDS) == 7
    assert {*TRANSITIONS.values(), OrderState.FILLED} == set(OrderState)


@pytest.mark.parametrize("state", OrderState, ids=lambda state: state.name)
def test_ended_orders_stay_ended(state):
    """No row leads out of an end state; what is open can fill, and only that."""
    after = {next_to for (before, _), next_to in TRANSITIONS.items() if before is state}
    ended = not state.is_open and state is not OrderState.SUBMITTED
    assert (after == {state}) == ended
    assert ((state, K.FILL) in TRANSITIONS) == state.is_open == (state in OPEN)


def test_next_state_names_the_wrong_step():
    """The error says what may not happen to what."""
    with pytest.raises(JournalError, match="FILL of a CANCELED order"):
        next_state(OrderState.CANCELED, K.FILL, 1)
    with pytest.raises(JournalError, match="FILL of an order that was never submitted"):
        next_state(None, K.FILL, 1)


@given(st.data())
def test_walks_of_the_table_are_journals(data):
    """Every walk along the table, with what is left counted, is a journal without a fault; one
    that lacks its submission or acceptance, with rows after that, is not."""
    state, left, filled, steps = None, 0, 0, []
    for _ in range(data.draw(st.integers(1, 12))):
        kind = data.draw(st.sampled_from(sorted(k for before, k in TRANSITIONS if before is state)))
        qty, left = data.draw(step(K(kind), left, filled))
        filled += qty if kind is K.FILL else 0
        steps.append((kind, qty, left))
        state = next_state(state, K(kind), left)
    assert check_journal(journal(*steps)) == {(0, 1): state}
    for dropped, (kind, _, _) in enumerate(steps[:-1]):
        if kind in (K.SUBMITTED, K.ACCEPTED):
            with pytest.raises(JournalError):
                check_journal(journal(*steps[:dropped], *steps[dropped + 1 :]))


def step(kind, left, filled):
    """Draw (qty, left) of a row of `kind` where `left` is open and `filled` was filled."""
    size = st.integers(1, 100)
    if kind is K.ACCEPTED:
        return size.map(lambda qty: (qty, qty))
    if kind is K.FILL:
        return st.integers(1, left).map(lambda qty: (qty, left - qty))
    if kind is K.AMENDED:
        return size.map(lambda more: (filled + more, more))
    if kind in (K.CANCELED, K.EXPIRED):
        return st.just((left, 0))
    return size.map(lambda qty: (qty, left))


def test_journals_of_random_workloads_obey_the_table():
    """What the reference writes for random commands is a journal without a fault, in which every
    state is some order's last one, some in flight at the end; its own count of what is open
    agrees."""
    last = set()
    for seed in range(40):
        workload = make(seed, events=500, commands=100)
        reference = workload.reference()
        drive(reference, workload)
        states = check_journal(reference.journal_rows())
        last |= set(states.values())
        open_orders = {key for key, state in states.items() if state.is_open}
        assert open_orders == open_in(reference), f"seed {seed}"
    assert last == set(OrderState)


def open_in(reference):
    return {(market.index, number) for market in reference.markets for number in market.open}


@pytest.mark.parametrize(
    ("row", "column", "value", "text"),
    [
        (2, "kind", K.SUBMITTED, r"journal row 2 \(order 1\): SUBMITTED of a RESTING order"),
        (2, "kind", 99, "there is no kind 99"),
        (2, "left", 7, "row 2 .*: FILL leaves 7 open, and should leave 6"),
        (4, "qty", 5, "row 4 .*: CANCELED 5, where 6 was open"),
        (3, "ts", -1, "row 3 .*: ts -1 is before 0"),
        (3, "row", 4, "row 3 .*: it is row 4 of its market, and should be 3"),
        (1, "qty", 9, "row 1 .*: ACCEPTED leaves 10 open, and should leave 9"),
        (3, "kind", K.KILL_SET, "row 3 .*: KILL_SET in market 0"),
        (3, "kind", K.RESTORED, "row 3 .*: RESTORED names order 1"),
        (3, "order", 0, "row 3 .*: CANCEL_REQUESTED names no order"),
        (3, "market", -1, "row 3 .*: it is row 3 of its market, and should be 0"),
        (3, "order", 2, r"row 3 \(order 2\): CANCEL_REQUESTED of an order that was never"),
    ],
)
def test_a_wrong_row_is_named(row, column, value, text):
    """The error says which row breaks which rule."""
    rows = journal(*LIFE)
    rows[row][column] = value
    with pytest.raises(JournalError, match=text):
        check_journal(rows)


@pytest.mark.parametrize(("market", "cause_row"), [(0, 4), (0, 5), (0, -1), (1, 0)])
def test_causes_precede_their_effects(market, cause_row):
    """A row caused by itself, by a later row or by a row of a market without rows is refused."""
    rows = journal(*LIFE)
    rows["cause_kind"][4] = CauseKind.JOURNAL
    rows["cause_market"][4], rows["cause_row"][4] = 0, 3
    check_journal(rows)
    rows["cause_market"][4], rows["cause_row"][4] = market, cause_row
    with pytest.raises(JournalError, match="journal row 4 .*does not precede it"):
        check_journal(rows)
