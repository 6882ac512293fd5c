"""The compact protocol of Thrift, as far as the metadata of Parquet needs it, and only to write it.

A struct is a list of fields (number, kind, value); a field whose value is None is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any


class Kind(IntEnum):
    """How a value is written; the numbers are the protocol's."""

    BOOL = 1
    I8 = 3
    I16 = 4
    I32 = 5
    I64 = 6
    BINARY = 8
    LIST = 9
    STRUCT = 12


Field = tuple[int, Kind, Any]
"""Of a LIST, the value is (kind, items); of a STRUCT, it is written already."""

_FALSE = 2
_LONG_LIST = 15


def struct(*fields: Field) -> bytes:
    """Return a struct. Numbers of fields rise, by at most 15 from one to the next."""
    written = bytearray()
    last = 0
    for number, kind, value in fields:
        if value is None:
            continue
        code = _FALSE if kind == Kind.BOOL and not value else int(kind)
        written.append((number - last) << 4 | code)
        written += _value(kind, value)
        last = number
    written.append(0)
    return bytes(written)


def varint(value: int) -> bytes:
    """Return a number >= 0, seven bits a byte, the lowest first.

    >>> varint(300).hex()
    'ac02'
    """
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def zigzag(value: int) -> bytes:
    """Return a number as a varint of its magnitude with the sign in the lowest bit.

    >>> zigzag(-1).hex(), zigzag(1).hex()
    ('01', '02')
    """
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _value(kind: Kind, value: Any) -> bytes:
    if kind == Kind.BOOL:
        return b""
    if kind == Kind.I8:
        return int(value).to_bytes(1, "little", signed=True)
    if kind == Kind.BINARY:
        return varint(len(value)) + bytes(value)
    if kind == Kind.STRUCT:
        return bytes(value)
    if kind == Kind.LIST:
        return _list(*value)
    return zigzag(int(value))


def _list(kind: Kind, items: Iterable[Any]) -> bytes:
    written = [_value(kind, item) for item in items]
    count = len(written)
    head = bytes([min(count, _LONG_LIST) << 4 | kind])
    return head + (varint(count) if count >= _LONG_LIST else b"") + b"".join(written)
