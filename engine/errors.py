"""The errors, named for whose fault they are. Each subclasses the builtin that a caller expects.

What a venue could refuse is never raised: it is a `rejected` event with a reason. `user_code` and
`raised_by` are where exceptions of strategies and projections get their name; whatever else comes
out of the engine is a defect of it, and stays what it is.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

_ENGINE = __file__.removesuffix("errors.py")


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
    """The fault of a strategy or projection: it raised, or named what does not exist (an order,
    a market, a time)."""


class CapacityError(FoldbookError, MemoryError):
    """A named limit of the configuration was exceeded; the text says which one to raise."""


class UnsupportedError(FoldbookError, NotImplementedError):
    """A model or option that this release does not have; the text says which ones it does."""


def user_code(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a strategy's whose exceptions become a StrategyError, chained to them.

    A FoldbookError and an interrupt stay as they are.
    """

    def called(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (FoldbookError, KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever user code raises is the user's
            raise raised_by("strategy", error) from error

    return called


def raised_by(who: str, error: BaseException) -> StrategyError:
    """Return the error that says what user code raised, and where, if that is outside the engine
    (a hook that takes other arguments is never entered)."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(_ENGINE)]
    where = f" ({outside[-1].filename}, line {outside[-1].lineno})" if outside else ""
    try:
        said = str(error)
    except BaseException:  # an exception of the user's that cannot even be shown
        said = "(it cannot be shown)"
    return StrategyError(f"{who} raised {type(error).__name__}: {said}{where}")
