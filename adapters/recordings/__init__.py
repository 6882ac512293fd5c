"""What importers share: messages, the fold that makes a valid tape of them, reports, storing.

Open to all adapters, as `sessions` is, and knowing none of them and no format. See
docs/importing.md for how to write an importer.
"""

from .files import UNREADABLE, Meter, Progress, blocks, find_files, read_lines
from .imports import Import, ImportedMarket
from .messages import MESSAGE_DTYPE, TIME_MAX, MessageFlag, MessageKind
from .numbers import BAD, FLOORED, NOISE, Scale
from .options import DryRun, Group, KeepGoing, Metadata
from .reports import UNKNOWN, Problems, RefusedError, Rejections, Report, one_line
from .spool import Spool
from .storing import RecordedMarket, Store, check_ticker, session_facts
from .tapes import Grid, MarketFold, step_of

__all__ = [
    "BAD",
    "FLOORED",
    "MESSAGE_DTYPE",
    "NOISE",
    "TIME_MAX",
    "UNKNOWN",
    "UNREADABLE",
    "DryRun",
    "Grid",
    "Group",
    "Import",
    "ImportedMarket",
    "KeepGoing",
    "MarketFold",
    "MessageFlag",
    "MessageKind",
    "Metadata",
    "Meter",
    "Problems",
    "Progress",
    "RecordedMarket",
    "RefusedError",
    "Rejections",
    "Report",
    "Scale",
    "Spool",
    "Store",
    "blocks",
    "check_ticker",
    "find_files",
    "one_line",
    "read_lines",
    "session_facts",
    "step_of",
]
