"""Integers into the bits of a Parquet page: places in a dictionary, and differences.

A place in a dictionary takes 1, 2, 4, 8 or 16 bits, never 7 or 11: what compresses a page
afterwards sees bytes, and places that do not straddle them come out a fifth smaller.
"""

from __future__ import annotations

import numpy as np

from foldbook.engine.compiled import compiled

from .thrift import varint, zigzag

BLOCK = 128
"""Differences that share a least one."""
MINIBLOCKS = 4
"""Parts of a block, each with a width of its own."""
_MINIBLOCK = BLOCK // MINIBLOCKS
_LONGEST = 10 + MINIBLOCKS + 8 * BLOCK
"""Bytes of a block at most."""
WIDTHS = (1, 2, 4, 8, 16)


def width_of(count: int) -> int | None:
    """Return the bits that a place in a dictionary of `count` values takes; None if too many."""
    return next((width for width in WIDTHS if count <= 1 << width), None)


def packed_places(places: np.ndarray, width: int) -> bytes:
    """Return places in a dictionary as RLE_DICTIONARY: the width, then one run.

    A run of one value where all are zero, else one of groups of eight.
    """
    if not places.any():
        return bytes([width]) + varint(len(places) << 1) + bytes(-(-width // 8))
    groups = -(-len(places) // 8)
    padded = np.zeros(groups * 8, "<u2" if width > 8 else "u1")
    padded[: len(places)] = places
    if width < 8:
        shifts = np.arange(0, 8, width, dtype=np.uint8)
        padded = np.bitwise_or.reduce(padded.reshape(-1, 8 // width) << shifts, axis=1)
    return bytes([width]) + varint(groups << 1 | 1) + padded.tobytes()


def packed_differences(values: np.ndarray) -> bytes:
    """Return int64 values as DELTA_BINARY_PACKED. Differences must fit into 62 bits."""
    head = varint(BLOCK) + varint(MINIBLOCKS) + varint(len(values))
    if not len(values):
        return head + zigzag(0)
    blocks = -(-(len(values) - 1) // BLOCK)
    written = np.zeros(blocks * _LONGEST, np.uint8)
    length = _pack_blocks(np.ascontiguousarray(values, np.int64), written)
    return head + zigzag(int(values[0])) + written[:length].tobytes()


@compiled
def _pack_blocks(values, written):  # type: ignore[no-untyped-def]
    """Write the blocks after the first value into `written`; return how many bytes they take."""
    at = 0
    for begin in range(1, len(values), BLOCK):
        end = min(begin + BLOCK, len(values))
        least = values[begin] - values[begin - 1]
        for i in range(begin + 1, end):
            least = min(least, values[i] - values[i - 1])
        code = 2 * least if least >= 0 else -2 * least - 1
        while code >= 0x80:
            written[at] = (code & 0x7F) | 0x80
            code >>= 7
            at += 1
        written[at] = code
        widths = at + 1
        at = widths + MINIBLOCKS
        for mini in range(MINIBLOCKS):
            first = begin + mini * _MINIBLOCK
            last = min(first + _MINIBLOCK, end)
            most = np.int64(0)
            for i in range(first, last):
                most = max(most, values[i] - values[i - 1] - least)
            width = 0
            while most >> width:
                width += 1
            written[widths + mini] = width
            held = np.int64(0)
            bits = 0
            for i in range(first, last):
                left = values[i] - values[i - 1] - least
                todo = width
                while todo:
                    # A byte at a time: as many bits as it still has room for.
                    taken = min(todo, 8 - bits)
                    held |= (left & ((1 << taken) - 1)) << bits
                    left >>= taken
                    todo -= taken
                    bits += taken
                    if bits == 8:
                        written[at] = held
                        at += 1
                        held = np.int64(0)
                        bits = 0
            if first < last:
                # A part block is filled up with zeros; `written` is zero already.
                used = (last - first) * width
                if bits:
                    written[at] = held
                at += 4 * width - used // 8
    return at
