"""Read-only views of the built-in projections: what strategies, results and reports look at.

The state is folded by the kernels; a view names its words, reads them, and holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from .book import BookView
from .orders import OrdersView
from .positions import PositionsView
from .reward import RewardView


class Views:
    """All views of one state block: books by market index, orders, positions, reward.

    memory: the words, of the account that looks. book: how it sees a book.
    """

    __slots__ = ("books", "orders", "positions", "reward")

    def __init__(
        self,
        memory: memoryview,
        bases: list[int],
        tickers: list[str],
        index: Callable[[str | int], int],
        book: type[BookView] = BookView,
    ):
        self.books = [book(memory, base) for base in bases]
        self.orders = OrdersView(memory, bases, tickers, index)
        self.positions = PositionsView(memory, bases, tickers, index)
        self.reward = RewardView(memory)
