"""A crash-safe event log: what a recorder hears, untouched, as it hears it.

A log is a folder of segments of checksummed frames. One writer appends, any number of readers read
meanwhile, a torn tail is cut when the log is opened again, and a log that is done becomes sessions.
See docs/log.md.
"""

from .compaction import Compaction, compact
from .errors import LogBusyError, LogDamagedError, LogWriteError
from .frames import AnyFrame, Closed, Frame, Opened, Reconnected
from .reader import Reader
from .recovery import Recovery, recover
from .walk import Damage, Tail
from .writer import Fsync, Writer

__all__ = [
    "AnyFrame", "Closed", "Compaction", "Damage", "Frame", "Fsync", "LogBusyError",
    "LogDamagedError", "LogWriteError", "Opened", "Reader", "Reconnected", "Recovery", "Tail",
    "Writer", "compact", "recover",
]
