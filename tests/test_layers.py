"""Who may import what, read from the sources; every rule is shown to catch what it forbids.

The engine knows no file, socket, clock, thread, random source or float money, and imports go one
way in it. An adapter imports the engine, and no other adapter but `sessions` and `recordings`,
which all may use (`sessions` itself does not). What stores sessions in a database is built on the
protocol of catalogues: USES says which adapter imports which others. `cli`, where everything meets,
also imports `journals` and `catalogue`, and reaches the rest by entry points.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = (
    {"units", "schema", "errors"},
    {"fees"},
    {"specs", "availability"},
    {"compiled", "intrinsics", "kernels"},
    {"session", "queues", "journal", "programs", "lifecycle", "events", "tables", "delivery"},
    {"bus"},
    {"projections"},
    {"gateway", "simulation"},
    {"player", "rounds", "accounts", "codecs", "observations"},
    {"episodes"},
    {"contests"},
    {"config"},
    {"backtest", "result", "metrics", "explain", "accounting", "trust", "evidence", "band",
     "ledger"},
    {"__init__"},
)
"""Modules of the engine; each imports its own layer and those above it in this list."""

ENGINE_IMPORTS = {
    "__future__", "abc", "attrs", "bisect", "collections", "contextlib", "copy", "dataclasses",
    "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "itertools",
    "math", "msgspec", "numpy", "operator", "re", "traceback", "types", "typing",
    "warnings", "weakref",
}
"""All that the engine may import from outside: nothing of it reads a file, a clock or a seed."""
MORE_IMPORTS = {
    "compiled": {"llvmlite", "numba", "os", "pathlib", "sys"},
    "intrinsics": {"llvmlite", "numba"},
    "tables": {"pandas", "polars", "pyarrow"},
}
"""What some modules may import besides: the compiler, and where its cache lies; other tables."""

USES = {
    "cli": {"journals", "catalogue"},
    "postgres": {"catalogue"},
    "seed_postgres": {"postgres", "catalogue"},
}
"""What some adapters import besides: `postgres` is a catalogue, and the importer of an earlier
system's database reaches it as `postgres` does."""

AMBIENT = {"now", "today", "utcnow", "random", "default_rng", "memmap", "fromfile", "tofile",
           "load", "save", "savez", "loadtxt", "genfromtxt"}
"""Attributes of modules that read a clock, a seed or a file."""
BUILTINS = {"open", "input", "print", "hash", "exec", "eval", "breakpoint"}
"""Builtins that touch the outside, or (hash) differ from process to process."""

REPORTS = {"metrics", "result", "explain", "trust", "observations"}
"""Modules whose ratios or observations are floats; elsewhere in the engine there is no float."""
MONEY = re.compile(r"price|qty|cash|fee|pnl|value|cost|reserved|payout|amount|drawdown|turnover")

REFERENCE_IMPORTS = {"foldbook.engine.schema", "foldbook.engine.units", "foldbook.engine.specs",
                     "foldbook.engine.session", "foldbook.engine.errors",
                     "foldbook.engine.fees"}
"""The vocabulary that the reference shares with the kernels; it shares no rule with them."""


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute name) of everything that a module of `package` imports when it runs:
    not what only type checkers see."""
    nodes = [tree]
    for node in nodes:
        is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        nodes.extend(node.orelse if is_typing else ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            for name in node.names:
                yield node.lineno, f"{base}.{name.name}"


def engine_faults(module: str, source: str) -> list[str]:
    """Return what a module of the engine, such as "kernels.book", does against the rules."""
    top = module.split(".")[0]
    package = "foldbook.engine.kernels" if top == "kernels" else "foldbook.engine"
    package = "foldbook.engine.projections" if top == "projections" else package
    tree = ast.parse(source)
    faults = []
    for line, name in imports(tree, package):
        parts = name.split(".")
        if parts[:2] == ["foldbook", "engine"]:
            if len(parts) > 2 and layer(parts[2]) > layer(top):
                faults.append(f"{line}: {top} is below {parts[2]}, and imports it")
        elif parts[0] not in ENGINE_IMPORTS | MORE_IMPORTS.get(top, set()):
            faults.append(f"{line}: imports {name}")
    faults += [f"{line}: {what}" for line, what in ambient(tree)]
    faults += [f"{line}: {what}" for line, what in floats(tree, top in REPORTS)]
    return faults


def layer(module: str) -> int:
    """Return the layer of a module; a name that is none is what `__init__` hands out."""
    found = [number for number, names in enumerate(LAYERS) if module in names]
    return found[0] if found else len(LAYERS) - 1


def ambient(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield uses of clocks, random sources, files and the process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in BUILTINS:
                yield node.lineno, f"calls {node.func.id}()"
        elif (
            isinstance(node, ast.Attribute)
            and node.attr in AMBIENT
            and isinstance(node.value, ast.Name)
            and node.value.id in ("np", "numpy", "datetime", "date")
        ):
            yield node.lineno, f"uses {node.value.id}.{node.attr}"


def floats(tree: ast.AST, is_report: bool) -> Iterator[tuple[int, str]]:
    """Yield annotations with a float in them: all, or in reports those of money."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            named = [(ast.unparse(node.target), node.annotation)]
        elif isinstance(node, ast.arg):
            named = [(node.arg, node.annotation)]
        elif isinstance(node, ast.FunctionDef):
            named = [(node.name, node.returns)]
        else:
            continue
        for name, annotation in named:
            text = ast.unparse(annotation) if annotation else ""
            if re.search(r"\bfloat", text) and (not is_report or MONEY.search(name)):
                yield node.lineno, f"{name}: {text}"


def adapter_faults(module: str, source: str) -> list[str]:
    """Return what a module of an adapter, such as "kalshi_ws.decode", imports against the rules."""
    own = module.split(".")[0]
    package = ".".join(["foldbook.adapters", *module.split(".")[:-1]])
    shared = {"sessions", "recordings"} if own != "sessions" else set()
    allowed = {own} | shared | USES.get(own, set())
    faults = []
    for line, name in imports(ast.parse(source), package):
        parts = name.split(".")
        if parts[:2] == ["foldbook", "adapters"] and parts[2] not in allowed:
            faults.append(f"{line}: imports the adapter {parts[2]}")
        elif parts[0] == "foldbook" and parts[1] not in ("engine", "adapters") and own != "cli":
            faults.append(f"{line}: imports {name}")
    return faults


def modules(folder: str) -> list[tuple[str, Path]]:
    """Return (dotted name, path) of the modules of a folder; packages by their own name."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT / folder).with_suffix("").parts
        found.append((".".join(parts), path))
    return found


@pytest.mark.parametrize(("module", "path"), modules("engine"), ids=lambda value: str(value))
def test_engine(module, path):
    """The engine imports one way only, and nothing that touches the outside."""
    assert engine_faults(module, path.read_text()) == []


@pytest.mark.parametrize(("module", "path"), modules("adapters"), ids=lambda value: str(value))
def test_adapters(module, path):
    """An adapter knows the engine, sessions and recordings, and no other adapter."""
    assert adapter_faults(module, path.read_text()) == []


def test_every_module_of_the_engine_has_a_layer():
    """A new module of the engine is put into a layer before it is used."""
    assert {name.split(".")[0] for name, _ in modules("engine")} <= set().union(*LAYERS)


def test_the_engine_has_no_circles():
    """No module of the engine imports itself by way of others, its own layer included."""
    known = {name.removesuffix(".__init__") for name, _ in modules("engine")}
    graph = {}
    for name, path in modules("engine"):
        package = ".".join(["foldbook.engine", *name.split(".")[:-1]])
        targets = [target.removeprefix("foldbook.engine.")
                   for _, target in imports(ast.parse(path.read_text()), package)]
        names = {target for full in targets for target in (full, full.rpartition(".")[0])}
        graph[name.removesuffix(".__init__")] = (names & known) - {name.removesuffix(".__init__")}
    graphlib.TopologicalSorter(graph).prepare()


def test_the_reference_shares_no_rule_with_the_kernels():
    """The plain-Python reference imports the vocabulary of the engine, and nothing that acts."""
    for path in (ROOT / "tests/reference").rglob("*.py"):
        for line, name in imports(ast.parse(path.read_text()), "tests.reference"):
            if name.startswith("foldbook"):
                assert name.rpartition(".")[0] in REFERENCE_IMPORTS, f"{path}:{line}: {name}"


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("schema", "from .specs import Market", "1: schema is below specs, and imports it"),
        ("kernels.book", "from ..session import Tape", "1: kernels is below session, and imports"),
        ("kernels.book", "from .. import journal", "1: kernels is below journal"),
        ("journal", "from .simulation import Simulation", "journal is below simulation"),
        ("journal", "from . import Simulation", "journal is below Simulation"),
        ("bus", "import foldbook.engine.backtest", "bus is below backtest"),
        ("bus", "def later():\n    from .result import Result", "2: bus is below result"),
        ("bus", "from foldbook.adapters import sessions", "imports foldbook.adapters.sessions"),
        ("bus", "import threading", "imports threading"),
        ("bus", "import time, socket", "imports time"),
        ("bus", "from random import random", "imports random.random"),
        ("bus", "import json", "imports json"),
        ("bus", "from pathlib import Path", "imports pathlib.Path"),
        ("bus", "import numba", "imports numba"),
        ("bus", "import pandas", "imports pandas"),
        ("tables", "import requests", "imports requests"),
        ("bus", "stamp = datetime.now()", "uses datetime.now"),
        ("bus", "draw = np.random.default_rng()", "uses np.random"),
        ("bus", "rows = np.fromfile(path)", "uses np.fromfile"),
        ("bus", "open(path)", "calls open()"),
        ("bus", "key = hash(ticker)", "calls hash()"),
        ("bus", "def pay(amount: float): ...", "1: amount: float"),
        ("bus", "def best() -> np.float64: ...", "best: np.float64"),
        ("bus", "tick: float | None = None", "tick: float | None"),
        ("metrics", "def max_drawdown(rows) -> float: ...", "max_drawdown: float"),
    ],
)
def test_planted_faults_of_the_engine_are_found(module, source, fault):
    """Each rule of the engine, broken once."""
    assert fault in " ".join(engine_faults(module, source))


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("kalshi_ws.decode", "from foldbook.adapters import synthetic", "the adapter synthetic"),
        ("kalshi_ws.decode", "from ..journals import save", "the adapter journals"),
        ("synthetic", "import foldbook.adapters.cli", "the adapter cli"),
        ("recordings.imports", "from .. import kalshi_ws", "the adapter kalshi_ws"),
        ("sessions.folder", "from ..recordings import Report", "the adapter recordings"),
        ("cli", "from . import kalshi_ws", "the adapter kalshi_ws"),
        ("cli.listings", "from ..postgres import PostgresCatalogue", "the adapter postgres"),
        ("catalogue.opening", "from ..postgres import PostgresCatalogue", "the adapter postgres"),
        ("cli", "from .synthetic import session", "the adapter synthetic"),
        ("synthetic", "from foldbook.benchmarks import harness", "imports foldbook.benchmarks"),
    ],
)
def test_planted_faults_of_adapters_are_found(module, source, fault):
    """Each rule of the adapters, broken once."""
    assert fault in " ".join(adapter_faults(module, source))


def test_what_is_allowed_is_not_found():
    """The rules do not refuse what they are meant to allow."""
    assert engine_faults("compiled", "import os, numba\nfrom pathlib import Path") == []
    assert engine_faults("kernels.book", "from ..schema import Side\nfrom .layout import X") == []
    assert engine_faults("metrics", "def sharpe(rows) -> float: ...") == []
    assert engine_faults("__init__", "from .backtest import Backtest") == []
    assert engine_faults("bus", "if TYPE_CHECKING:\n    from .result import Result") == []
    assert adapter_faults("cli", "from . import catalogue, journals, sessions") == []
    assert adapter_faults("postgres.blocks", "from ..catalogue import Entry") == []
    assert adapter_faults("kalshi_ws.decode", "from . import rules\nfrom .. import sessions") == []
    assert adapter_faults("kalshi_ws.decode", "from ..recordings import Report") == []
