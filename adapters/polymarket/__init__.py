"""Import recordings of Polymarket: pictures of the book in Parquet, and messages of its WebSocket.

A market there has two tokens, YES and NO, whose books mirror each other: a bid for NO at p is an
offer of YES at 1 - p. Both become one market in YES terms. See docs/importing/polymarket.md.
"""

from .feed import import_messages
from .pictures import import_pictures

__all__ = ["import_messages", "import_pictures"]
