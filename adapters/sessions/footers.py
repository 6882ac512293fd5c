"""The metadata at the end of a Parquet file: columns, row groups, and what foldbook adds."""

from __future__ import annotations

from collections.abc import Sequence

from .chunks import Chunk
from .columns import COLUMNS
from .thrift import Kind, struct

MAGIC = b"PAR1"
_CREATED_BY = b"foldbook"
_REQUIRED = 0
_ORDINALS = 1 << 15
"""Row groups that can be numbered; more need no numbers."""
_LOGICAL = {"string": 1, "timestamp": 8, "int": 10}
"""Fields of the union LogicalType."""
_CONVERTED = {
    "string": 0, "timestamp[ms, tz=UTC]": 9, "timestamp[us, tz=UTC]": 10,
    "int8": 15, "int16": 16, "int32": 17, "int64": 18,
}  # fmt: skip
"""What older readers know instead of it."""
_UNITS = {"timestamp[ms, tz=UTC]": 1, "timestamp[us, tz=UTC]": 2}
"""Fields of the union TimeUnit."""


def footer(rows: int, groups: Sequence[bytes], texts: dict[bytes, bytes]) -> bytes:
    """Return what ends a file: its metadata, their length, and the magic.

    groups: as `group` described them. texts: the keys and values that foldbook adds.
    """
    root = struct((3, Kind.I32, _REQUIRED), (4, Kind.BINARY, b"schema"),
                  (5, Kind.I32, len(COLUMNS)))
    elements = [root, *(_element(name) for name in COLUMNS)]
    pairs = [struct((1, Kind.BINARY, key), (2, Kind.BINARY, text)) for key, text in texts.items()]
    by_type = struct((1, Kind.STRUCT, struct()))
    metadata = struct(
        (1, Kind.I32, 2),
        (2, Kind.LIST, (Kind.STRUCT, elements)),
        (3, Kind.I64, rows),
        (4, Kind.LIST, (Kind.STRUCT, groups)),
        (5, Kind.LIST, (Kind.STRUCT, pairs)),
        (6, Kind.BINARY, _CREATED_BY),
        # Without the order of each column readers must not trust the bounds of its chunks.
        (7, Kind.LIST, (Kind.STRUCT, [by_type] * len(COLUMNS))),
    )
    return metadata + len(metadata).to_bytes(4, "little") + MAGIC


def group(chunks: Sequence[Chunk], offset: int, number: int) -> bytes:
    """Return the RowGroup of chunks that stand one after the other from `offset`."""
    described, at = [], offset
    for chunk in chunks:
        described.append(chunk.described(at))
        at += len(chunk)
    ascending = [
        struct((1, Kind.I32, list(COLUMNS).index(name)), (2, Kind.BOOL, False),
               (3, Kind.BOOL, False))
        for name in ("market", "row")
    ]
    return struct(
        (1, Kind.LIST, (Kind.STRUCT, described)),
        (2, Kind.I64, sum(chunk.raw_bytes for chunk in chunks)),
        (3, Kind.I64, chunks[0].count),
        (4, Kind.LIST, (Kind.STRUCT, ascending)),
        (5, Kind.I64, offset),
        (6, Kind.I64, at - offset),
        (7, Kind.I16, number if number < _ORDINALS else None),
    )


def _element(name: str) -> bytes:
    """Return the SchemaElement of a column."""
    column = COLUMNS[name]
    return struct(
        (1, Kind.I32, column.physical),
        (3, Kind.I32, _REQUIRED),
        (4, Kind.BINARY, name.encode()),
        (6, Kind.I32, _CONVERTED[column.type]),
        (10, Kind.STRUCT, _logical(column.type)),
    )


def _logical(type: str) -> bytes:
    if type == "string":
        return struct((_LOGICAL["string"], Kind.STRUCT, struct()))
    if type in _UNITS:
        unit = struct((_UNITS[type], Kind.STRUCT, struct()))
        moment = struct((1, Kind.BOOL, True), (2, Kind.STRUCT, unit))
        return struct((_LOGICAL["timestamp"], Kind.STRUCT, moment))
    integer = struct((1, Kind.I8, int(type.removeprefix("int"))), (2, Kind.BOOL, True))
    return struct((_LOGICAL["int"], Kind.STRUCT, integer))
