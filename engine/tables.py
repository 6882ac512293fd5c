"""Results as tables: columns of integers and names, with rows that can be looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Generic, TypeVar, overload

import numpy as np

Row = TypeVar("Row", bound=tuple)


class Table(Sequence[Row], Generic[Row]):
    """Rows of one NamedTuple type, kept as columns; immutable.

    row_type: its fields name the columns; columns: one array or list each, of equal length; enums:
    for columns of numbers that have names.
    """

    __slots__ = ("_columns", "_enums", "_length", "row_type")

    def __init__(
        self,
        row_type: type[Row],
        columns: Mapping[str, Any],
        enums: Mapping[str, type[IntEnum]] | None = None,
    ):
        self.row_type = row_type
        names = row_type._fields  # type: ignore[attr-defined]
        self._columns = {name: np.asarray(columns[name]) for name in names}
        self._enums = dict(enums or {})
        self._length = len(next(iter(self._columns.values())))

    def __len__(self) -> int:
        return self._length

    def column(self, name: str) -> np.ndarray:
        """Return one column, read-only. Raises KeyError for an unknown name."""
        view: np.ndarray = self._columns[name].view()
        view.flags.writeable = False
        return view

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Table[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Table[Row]:
        if isinstance(index, slice):
            columns = {name: column[index] for name, column in self._columns.items()}
            return Table(self.row_type, columns, self._enums)
        if not -self._length <= index < self._length:
            raise IndexError(f"row {index} of a table of {self._length}")
        return self._row(index % self._length)

    def _row(self, index: int) -> Row:
        values = []
        for name, column in self._columns.items():
            value = column[index].item()
            enum = self._enums.get(name)
            values.append(value if enum is None else enum(value))
        return self.row_type._make(values)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Row]:
        return (self._row(index) for index in range(self._length))

    def named(self) -> dict[str, Any]:
        """Return the columns, with names in place of enum numbers."""
        return {
            name: [self._enums[name](value).name for value in column.tolist()]
            if name in self._enums
            else column
            for name, column in self._columns.items()
        }

    def to_arrow(self) -> Any:
        """Return a pyarrow.Table (needs the extra `arrow`)."""
        import pyarrow

        return pyarrow.table(self.named())

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame (needs the extra `pandas`)."""
        import pandas

        return pandas.DataFrame(self.named())

    def to_polars(self) -> Any:
        """Return a polars.DataFrame (needs the extra `polars`)."""
        import polars

        return polars.DataFrame(self.named())

    def __repr__(self) -> str:
        return f"Table of {self._length} {self.row_type.__name__}"
