"""hftbacktest's `.npz` event arrays, read and written.

`events` is their layout, `conversion` turns their floats into integers and back, exactly; `writer`
and `archive` write and read files, `decode` reads events as a public feed, `beside` adds and
takes back what that layout cannot hold. See docs/importing/hftbacktest.md.
"""

from .importer import import_recording
from .writer import export_session

__all__ = ["export_session", "import_recording"]
