"""What kernels do that Python has no words for: memory as the processor sees it, and integers that
wrap around.

Each is an LLVM instruction or two where kernels are compiled, and plain Python of the same meaning
where they are not (NUMBA_DISABLE_JIT=1).
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any
from weakref import WeakValueDictionary

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .compiled import JIT_DISABLED, entry

_FACTOR = 0x9E37_79B9_7F4A_7C15
"""Odd, and half of its bits are ones: 2^64 divided by the golden ratio."""
_WORD = (1 << 64) - 1


# Arguments that stay where they are.


class Held:
    """Arguments that lie where kernels read them, and are kept for as long: see `holding`."""

    __slots__ = ("__weakref__", "_native", "address", "values")

    def __init__(self, kind: Any, values: Any):
        """kind: numba type of the values, a tuple. Raises TypeError for values of another."""
        self.values = values
        self._native = np.zeros(1 if JIT_DISABLED else _words_of(kind), np.int64)
        self.address: int = self._native.ctypes.data
        if JIT_DISABLED:
            _HELD[self.address] = self
        elif not _put(self.address, _number_of(kind), values):
            raise TypeError(f"held: {numba.typeof(values)}; expected {kind}")


_HELD: WeakValueDictionary[int, Held] = WeakValueDictionary()


def holding(kind: Any) -> Any:
    """Return held(address) for kernels: the arguments, a tuple of numba type `kind`, of a `Held`.

    To be handed an array takes a kernel 0.15 us at each call, which is longer than an event takes.
    """
    if JIT_DISABLED:
        return lambda address: _HELD[address].values

    @intrinsic
    def held(typing_context, address):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            place = context.get_value_type(kind).as_pointer()
            return builder.load(builder.inttoptr(arguments[0], place))

        return kind(types.int64), generate

    return held


@functools.cache
def _words_of(kind: Any) -> int:
    context = cpu_target.target_context
    return -(-context.get_abi_sizeof(context.get_value_type(kind)) // 8)


@functools.cache
def _number_of(kind: Any) -> int:
    return int.from_bytes(hashlib.sha256(str(kind).encode()).digest()[:7])


@intrinsic
def _store(typing_context, address, number, values):  # type: ignore[no-untyped-def]
    """Lay values down at an address, if `number` is that of their type; return whether it is."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        fits = builder.icmp_signed(
            "==", arguments[1], context.get_constant(types.int64, _number_of(values))
        )
        with builder.if_then(fits):
            place = context.get_value_type(values).as_pointer()
            builder.store(arguments[2], builder.inttoptr(arguments[0], place))
        return fits

    return types.boolean(types.int64, types.int64, values), generate


@entry
def _put(address, number, values):  # type: ignore[no-untyped-def]
    return _store(address, number, values)


# Single instructions.


@intrinsic
def _prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        record = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(record.data, [arguments[1]])
        byte = ir.PointerType(ir.IntType(8))
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        flags = [ir.Constant(word, value) for value in (0, 3, 1)]
        builder.call(function, [builder.bitcast(place, byte), *flags])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def _word(typing_context, rows, number, place):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        record = context.make_array(signature.args[0])(context, builder, arguments[0])
        row = builder.gep(record.data, [arguments[1]])
        words = builder.bitcast(row, ir.PointerType(ir.IntType(64)))
        return builder.load(builder.gep(words, [arguments[2]]))

    return types.int64(rows, types.int64, types.int64), generate


@intrinsic
def _mixed(typing_context, lane, word):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.IntType(64)
        product = builder.mul(builder.xor(*arguments), ir.Constant(kind, _FACTOR))
        return builder.xor(product, builder.lshr(product, ir.Constant(kind, 32)))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _load_now(typing_context, words, place):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load_atomic(builder.gep(array.data, [arguments[1]]), "seq_cst", 8)

    return types.int64(words, types.int64), generate


@intrinsic
def _store_now(typing_context, words, place, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        builder.store_atomic(arguments[2], place, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), generate


def load_now(words: np.ndarray, place: int) -> int:
    """Return an int64 word as other threads have left it by now."""
    return int(words[place])


def store_now(words: np.ndarray, place: int, value: int) -> None:
    """Write an int64 word before anything that follows; other threads see it after all before."""
    words[place] = value


def prefetch(array: np.ndarray, index: int) -> None:
    """Ask for an element of an array to be near when it is read, soon. Reads nothing."""


def word(rows: np.ndarray, number: int, place: int) -> int:
    """Return one of the int64 words that a row of a record array is made of."""
    return int(rows[number : number + 1].view(np.int64)[place])


def mixed(lane: int, word: int) -> int:
    """Return 64 bits, as int64, in which all bits of a word are mixed into those of a lane."""
    product = (int(lane) ^ int(word)) * _FACTOR & _WORD
    product ^= product >> 32
    return product - (product >> 63 << 64)


if not JIT_DISABLED:
    prefetch, word, mixed = _prefetch, _word, _mixed
    load_now, store_now = _load_now, _store_now
