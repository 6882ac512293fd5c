"""Commands as Python sends them: what they work on is held, and each of their terms is an int.

To hand over a run and a `Command` takes a call twice as long as to carry the command out. What
cannot be sent leaves its mistake in layout.ERROR, and returns 0.
"""

from __future__ import annotations

from ..compiled import entry, small
from . import commands, verbs
from .desks import use
from .flights import client_ids_in_flight
from .layout import CLIENT_CAPACITY, CLIENT_COUNT, ERROR, ERROR_CLIENTS, ERROR_ORDER
from .loop import played
from .refusals import Command


@entry
def submit(held, account, *terms):
    """Submit an order; return its number.

    held: of loop.PLAYED. account: whose order it is, -1: of the account in use. terms: fields of a
    Command.
    """
    run = _run_of(held, account)
    command = Command(*terms)
    state = run.state
    if command.client_id != 0:
        used = state[CLIENT_COUNT] + client_ids_in_flight(state)
        if used >= state[CLIENT_CAPACITY]:
            state[ERROR] = ERROR_CLIENTS
    if not commands.is_sendable(run, command.market, 0):
        return 0
    return commands.submit(run, command)


@entry
def amend(held, account, *terms):
    """Amend an order; return its number. As `submit`."""
    run = _run_of(held, account)
    command = Command(*terms)
    return commands.amend(run, command) if _is_issued(run, command) else 0


@entry
def decrease(held, account, *terms):
    """Decrease an order; return its number. As `submit`."""
    run = _run_of(held, account)
    command = Command(*terms)
    return commands.decrease(run, command) if _is_issued(run, command) else 0


@entry
def cancel(held, account, *terms):
    """Cancel an order; return its number. As `submit`."""
    run = _run_of(held, account)
    command = Command(*terms)
    return commands.cancel(run, command) if _is_issued(run, command) else 0


@entry
def cancel_all(held, account, market, *cause):
    """Cancel every order of a market that is open or on its way; return 1. As `submit`."""
    return 1 if verbs.cancel_all_as(_run_of(held, account), market, cause) else 0


@small
def _run_of(held, account):
    run = played(held)[0]
    if account >= 0:
        use(run.state, account)
    return run


@small
def _is_issued(run, command):
    if command.order == 0:
        run.state[ERROR] = ERROR_ORDER
    return commands.is_sendable(run, command.market, command.order)
