"""Commands as Python sends them: what they work on is held, and each of their terms is an int.

To hand over a run and a `Command` takes a call twice as long as to carry the command out.
"""

from __future__ import annotations

from ..compiled import entry
from . import commands
from .loop import played
from .refusals import Command


@entry
def submit(held, *terms):
    """Submit an order; return its number. held: of loop.PLAYED. terms: fields of a Command."""
    return commands.submit(played(held)[0], Command(*terms))


@entry
def amend(held, *terms):
    """Amend an order, as `submit`."""
    return commands.amend(played(held)[0], Command(*terms))


@entry
def decrease(held, *terms):
    """Decrease an order, as `submit`."""
    return commands.decrease(played(held)[0], Command(*terms))


@entry
def cancel(held, *terms):
    """Cancel an order, as `submit`."""
    return commands.cancel(played(held)[0], Command(*terms))
