"""Import sessions from the three tables in which an earlier system kept them.

`tables` reads rows in order, `book` makes messages of them and checks that they agree with each
other, `importer` folds and stores. See docs/importing.md.
"""

from .importer import SessionLoader, import_recording

__all__ = ["SessionLoader", "import_recording"]
