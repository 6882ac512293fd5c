"""A second thread for the environments of a vector: it waits for work with open eyes.

To wake a thread that sleeps takes longer than a step of hundreds of environments. So it looks for
the next step for a while, which takes its core, and goes to sleep only if none comes.
"""

from __future__ import annotations

import threading
import time
import weakref

import numpy as np

from foldbook.engine.intrinsics import Held
from foldbook.engine.kernels import vector as many


class Worker:
    """A thread that steps one block of environments whenever it is asked to."""

    def __init__(self, held: Held):
        """held: what is stepped, of `kernels.vector.MANY`."""
        self._held = held
        self._mail = np.zeros(many.MAIL_WORDS, np.int64)
        self._mail[many.AWAY] = 1
        self._bell = threading.Semaphore(0)
        # The thread knows of no environment: one that nobody needs any more can go.
        self._thread = threading.Thread(
            target=_serve, args=(held, self._mail, self._bell), daemon=True, name="foldbook-gym"
        )
        self._thread.start()
        self._leave = weakref.finalize(self, _leave, self._mail, self._bell)

    def ask(self) -> None:
        """Have a step taken."""
        if many.ask(self._mail):
            self._bell.release()

    def answer(self) -> int:
        """Wait until it has been taken; return what `kernels.vector.step_many` did.

        Raises RuntimeError if the thread is gone, as it is in a forked process.
        """
        answer = many.answer(self._mail)
        while answer < 0:
            if not self._thread.is_alive():
                raise RuntimeError(
                    "the second thread of these environments is gone, as after a fork of the "
                    "process; make them anew there, or with threads=1"
                )
            time.sleep(0)
            answer = many.answer(self._mail)
        return int(answer)

    def close(self) -> None:
        """Let the thread end."""
        self._leave()
        self._thread.join()


def _leave(mail: np.ndarray, bell: threading.Semaphore) -> None:
    mail[many.ASKED] = many.LEAVE
    bell.release()


def _serve(held: Held, mail: np.ndarray, bell: threading.Semaphore) -> None:
    while mail[many.ASKED] != many.LEAVE:
        if mail[many.ASKED] == mail[many.ANSWERED]:
            bell.acquire()
        many.serve_many(held.address, mail)
