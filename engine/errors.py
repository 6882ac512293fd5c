"""The errors, named for whose fault they are. Each subclasses the builtin that a caller expects.

What a venue could refuse is never raised: it is a `rejected` event with a reason.
"""


class FoldbookError(Exception):
    """Any error that foldbook raises on purpose; its text says whose fault it is and where.

    result: the Result up to the error, where a Backtest was running; else None.
    """

    result: object = None


class TapeError(FoldbookError, ValueError):
    """The data's fault: a tape, a session or a recording that breaks its own rules."""


class FeeError(FoldbookError, ValueError):
    """The fee data's fault: rows that contradict each other, or do not say what is asked."""


class JournalError(FoldbookError, ValueError):
    """A journal that is damaged, or that does not belong to the session it is used with."""


class StrategyError(FoldbookError, RuntimeError):
    """The strategy's fault: it raised, or it named an order, market or time that does not exist."""


class CapacityError(FoldbookError, MemoryError):
    """A named limit of the configuration was exceeded; the text says which one to raise."""


class UnsupportedError(FoldbookError, NotImplementedError):
    """A model or option that this release does not have; the text says which ones it does."""
