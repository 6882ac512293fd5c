"""The one place that knows numba: how kernels are compiled, typed and cached.

Numba's disk cache does not notice edits in imported modules, so the cache folder is named by a
hash of every source that a kernel can be made of: the engine's, and those of the adapter (or the
folder of benchmarks or examples) that it stands in. With NUMBA_DISABLE_JIT=1 every kernel runs as
the plain Python it is. No fastmath and no parallel: results must not depend on the machine.
Dividing by zero gives 0 as in NumPy, compiled or not; kernels never do.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numba.core.compiler
import numpy as np
from llvmlite.binding import Linkage
from numba import types
from numba.core import ir as numba_ir
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.typed_passes import NopythonTypeInference

from .errors import StrategyError
from .schema import JOURNAL_DTYPE, TAPE_DTYPE

Function = TypeVar("Function", bound=Callable[..., Any])

JIT_DISABLED = bool(numba.config.DISABLE_JIT)


_ENGINE = Path(__file__).parent


def _read_only(dtype: np.dtype) -> np.ndarray:
    rows = np.zeros(0, dtype)
    rows.flags.writeable = False
    return rows


WORDS = numba.typeof(np.zeros(0, np.int64))
"""Numba type of a state block, and of the words of projections and strategies."""
TAPE_ROWS = numba.typeof(_read_only(TAPE_DTYPE))
JOURNAL_ROWS = numba.typeof(np.zeros(0, JOURNAL_DTYPE))
TABLE = types.int64[:, ::1]
FLOATS = types.float64[::1]
SHOWN = types.float32[::1]
"""Numba type of an observation."""
COLUMNS = types.float32[:, ::1]
MASK = types.int8[::1]
INT = types.int64


@functools.cache
def _hash_of(*sources: Path) -> str:
    hasher = hashlib.sha256(
        f"{numba.__version__} {np.__version__} {sys.version} {numba.config.BOUNDSCHECK}".encode()
    )
    for source in sources:
        for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            hasher.update(str(path.relative_to(_ENGINE.parent)).encode() + b"\0")
            hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]


def cache_folder(module: str) -> str:
    """Return the folder for the compiled functions of a module of foldbook.

    Its name changes with the engine and with the package of the module: no kernel is made of
    anything else, since adapters do not import each other.
    """
    sources = [_ENGINE]
    _, package, *inside = module.split(".")
    if package != "engine":
        # The engine is part of every kernel; anything else only of its own.
        own = _ENGINE.parent / package
        if package == "adapters" and inside:
            own = own / inside[0]
            own = own if own.is_dir() else own.with_suffix(".py")
        sources.append(own)
    base = os.environ.get("FOLDBOOK_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return str(Path(base or Path.home() / ".cache") / "foldbook" / _hash_of(*sources))


class _LinkedCode(JITCodeLibrary):
    """Code that is only ever linked into other code: optimizing it twice is time lost."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    @property
    def codegen(self) -> Any:
        return self

    def set_env(self, name: str, environment: Any) -> None:
        pass


class _EntryCode(JITCodeLibrary):
    """Code that is called from Python, and all that was linked into it: nobody else calls that, so
    it may be inlined where it is called once, and lose what it is handed and does not use.

    Each gets a name of its own, because the loader takes functions of one name for one function.
    """

    def _optimize_final_module(self) -> None:
        functions = [each for each in self._final_module.functions if not each.is_declaration]
        own = "".join(each.name for each in functions if each.linkage == Linkage.external)
        prefix = hashlib.sha256(own.encode()).hexdigest()[:16]
        for number, function in enumerate(functions):
            if function.linkage == Linkage.linkonce_odr:
                function.name = f"{prefix}_{number}"
                function.linkage = Linkage.internal
        super()._optimize_final_module()


@register_pass(mutates_CFG=False, analysis_only=False)
class _CountFromZero(FunctionPass):
    """Take every index of an array for a number from zero up.

    Numba lets negative ones count from the end, which asks at each access whether one is, and
    hands the length of every array to every function. No kernel uses any.
    """

    _name = "foldbook_count_from_zero"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        for node, signature in list(state.calltypes.items()):
            is_read = isinstance(node, numba_ir.Expr) and node.op == "getitem"
            if not is_read and not isinstance(node, numba_ir.SetItem):
                continue
            array, index, *rest = signature.args
            unsigned = _unsigned(index)
            if isinstance(array, types.Array) and unsigned is not None:
                args = (array, unsigned, *rest)
                state.calltypes.update({node: signature.replace(args=args)})
        return True


def _unsigned(index: types.Type) -> types.Type | None:
    if isinstance(index, types.UniTuple) and _unsigned(index.dtype) is not None:
        return types.UniTuple(types.uint64, index.count)
    is_signed = isinstance(index, types.Integer) and index.signed
    return types.uint64 if is_signed else None


class _KernelCompiler(numba.core.compiler.CompilerBase):
    """numba's compiler for code whose indices are never negative."""

    def define_pipelines(self) -> list[PassManager]:
        pipeline = numba.core.compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(_CountFromZero, NopythonTypeInference)
        pipeline.finalize()
        return [pipeline]


class _LinkedCompiler(_KernelCompiler):
    """The same, but for where the code goes."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.state.library = _LinkedCode(self.state.targetctx.codegen(), "linked")


class _EntryCompiler(_KernelCompiler):
    """The same for the code of entries."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.state.library = _EntryCode(self.state.targetctx.codegen(), "entry")
        self.state.library.enable_object_caching()


class _UserCompiler(numba.core.compiler.Compiler):
    """numba's compiler, its indices and its counting of references included, for such code."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.state.library = _EntryCode(self.state.targetctx.codegen(), "entry")
        self.state.library.enable_object_caching()


_LINKED: dict[str, Any] = {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": _LinkedCompiler,
}
_ENTRY: dict[str, Any] = {"pipeline_class": _EntryCompiler}


def compiled(function: Function) -> Function:
    """Compile any function on first call, release the GIL in it; foldbook's own stay on disk.

    What users bring is compiled in every process: numba's cache would not notice an edit of a
    constant or a helper that it imports, and old answers look reproducible.
    """
    is_own = function.__module__.startswith("foldbook.") and function.__closure__ is None
    error_model = "numpy" if is_own else "python"
    return _jit(function, cache=is_own, error_model=error_model, pipeline_class=_UserCompiler)


def prepare(function: Any, *arguments: Any, returns: Any = None) -> None:
    """Compile a user's function for these argument types now.

    Raises StrategyError with the compiler's reason if it is not numba-compatible, or takes other
    arguments, or does not return what it must (returns None: anything).
    """
    if JIT_DISABLED:
        return
    name = function.py_func.__name__
    try:
        function.compile(arguments)
    except (numba.core.errors.NumbaError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise StrategyError(f"{name} does not compile: {reason[-300:]}") from error
    returned = types.unliteral(function.overloads[arguments].signature.return_type)
    if returns is not None and returned != returns:
        raise StrategyError(f"{name} returns {returned}; expected {returns}")


def entry(function: Function) -> Function:
    """Like `compiled`, for kernels: they allocate nothing, so no references are counted in them.

    Counting them at each call between kernels cost more than most kernels do. Where a kernel calls
    it, it is like `inner`: nothing is compiled for Python that Python does not call.
    """
    kernel: Any = _jit(function, _nrt=False, **_ENTRY)
    if not JIT_DISABLED:
        linked: Any = inner(function)
        kernel.get_call_template = linked.get_call_template
        kernel.get_overload = linked.get_overload
    return kernel


def inner(function: Function) -> Function:
    """Like `entry`, for what only kernels call: it becomes machine code in its callers alone."""
    return _jit(function, cache=False, _nrt=False, **_LINKED)


def small(function: Function) -> Function:
    """Like `inner`, copied into its callers: for what takes less time than a call."""
    return _jit(function, cache=False, _nrt=False, forceinline=True, **_LINKED)


def typed(*arguments: Any, returns: Any = types.void) -> Any:
    """Return the numba type of a first-class function with these argument types."""
    return types.FunctionType(returns(*arguments))


def compiled_as(signature: Any) -> Callable[[Function], Function]:
    """Like `compiled`, for one explicit signature: what takes first-class functions needs it.

    It is compiled (or read from the cache) when it is first called from Python.
    """

    def decorate(function: Function) -> Function:
        if JIT_DISABLED:
            return function
        kernels: list[Callable[..., Any]] = []

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            if not kernels:
                kernels.append(_jit(function, signature, _nrt=False, **_ENTRY))
            return kernels[0](*arguments)

        return call  # type: ignore[return-value]

    return decorate


def _jit(
    function: Function,
    *signature: Any,
    cache: bool = True,
    error_model: str = "numpy",
    **options: Any,
) -> Function:
    previous = numba.config.CACHE_DIR
    if cache:
        numba.config.CACHE_DIR = cache_folder(function.__module__)
    try:
        jit = numba.njit(*signature, cache=cache, nogil=True, error_model=error_model, **options)
        kernel = jit(function)
    finally:
        numba.config.CACHE_DIR = previous
    if not JIT_DISABLED:
        _ignore_literals(kernel)
    return kernel


def _ignore_literals(kernel: Any) -> None:
    """Compile a kernel once for all constants: numba would compile it for each anew."""
    template = kernel.get_call_template

    def get_call_template(arguments: Any, keywords: Any) -> Any:
        return template(tuple(map(types.unliteral, arguments)), keywords)

    kernel.get_call_template = get_call_template
