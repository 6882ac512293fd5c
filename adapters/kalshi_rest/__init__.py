"""Import what Kalshi's REST interface says of the past: trades, and candles as a table beside them.

There is no book in it: nothing can be traded against such a session. It is for looking at a market
before, after or between recordings. See docs/importing/kalshi-rest.md.
"""

from .importer import import_responses

__all__ = ["import_responses"]
