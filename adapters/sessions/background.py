"""Sessions written in a thread of their own while the next one is made: packing takes a core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike
from types import TracebackType
from typing import Any

import numpy as np

from foldbook.engine.session import Session
from foldbook.engine.specs import Market

from .folder import write


class Background:
    """Writes one session at a time; a context that ends when all of them are on disk.

    `write` returns at once if nothing else is being written. It raises what went wrong with the
    session before it, and the end of the context what went wrong with the last.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "foldbook-sessions")
        self._pending: Future[Session] | None = None

    def write(
        self,
        path: str | PathLike[str],
        name: str,
        markets: tuple[Market, ...],
        blocks: Iterable[np.ndarray],
        *,
        facts: Mapping[str, Any],
    ) -> None:
        """Write a session as `sessions.write` does, but later."""
        self._wait()
        self._pending = self._pool.submit(write, path, name, markets, blocks, facts=facts)

    def finish(self) -> None:
        """Wait until all is on disk. Raises what went wrong with the last session."""
        try:
            self._wait()
        finally:
            self._pool.shutdown()

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            self._pool.shutdown()
