"""What the compiler made of the hot kernels: whether anything in them counts references, calls
Python or checks bounds, what is vectorised, and how much of it branches.

Kernels that come from the disk cache are machine code alone, so they are compiled anew, in a folder
that is thrown away: about a minute.

    python -m foldbook.benchmarks.machine_code
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import click

KINDS = {
    "references": r"@NRT_(?:incref|decref|Allocate)",
    "python": r"@_?Py(?!Import_|Object_GetAttr|Object_CallFunction|Long_AsVoid)[A-Z]\w+_\w+\(",
    "bounds": r"out of bounds",
    "vectors": r"<\d+ x (?:i\d+|float|double)>",
    "divisions": r" [su](?:div|rem) ",
    "branches": r" br i1 ",
}
"""What is counted, and how it looks in LLVM's text. The four calls of Python left out of its count
look up the address of a user's function that has none yet, which those of strategies have."""
FORBIDDEN = ("references", "python", "bounds")


def played() -> dict[str, Callable[[], Any]]:
    """Return the hot kernels by the rows whose time they are, each with a run that compiles it."""
    import numpy as np

    from foldbook.adapters import synthetic
    from foldbook.adapters.gym import MarketEnv, MarketVectorEnv
    from foldbook.engine import Simulation
    from foldbook.engine.kernels import episodes, loop, programs, vector
    from foldbook.engine.player import play
    from foldbook.examples.market_maker import market_maker

    session = synthetic.session(seed=7, events=2_000)

    def replay() -> Any:
        Simulation(session).advance()
        return loop.advance

    def maker() -> Any:
        play(Simulation(session), market_maker, every=100_000_000)
        return programs.play

    def single() -> Any:
        env = MarketEnv(session)
        env.reset(seed=1)
        env.step(0)
        return episodes.step

    def many() -> Any:
        envs = MarketVectorEnv(session, 2)
        envs.reset(seed=1)
        envs.step(np.zeros(2, np.int64))
        return vector.step_many

    return {"replay": replay, "maker": maker, "env-single": single, "env-vector": many}


def counts_in(module: Any) -> dict[str, int]:
    """Count KINDS in what a kernel is made of, but for the function that Python calls.

    module: of llvmlite.
    """
    functions = [each for each in module.functions if not each.is_declaration]
    texts = [str(each) for each in functions if not each.name.startswith(("_ZN7cpython", "cfunc"))]
    # What is raised where a check fails is a constant of the module.
    whole = "\n".join([*texts, *map(str, module.global_variables)])
    found = {kind: len(re.findall(pattern, whole)) for kind, pattern in KINDS.items()}
    return {"functions": len(texts), **found}


def look() -> dict[str, dict[str, int]]:
    """Compile the hot kernels and count what is in each."""
    from foldbook.engine import compiled

    modules: dict[str, Any] = {}
    finish = compiled._EntryCode._optimize_final_module

    def keep(library: Any) -> None:
        finish(library)
        names = [each.name for each in library._final_module.functions if not each.is_declaration]
        # Text first: the module is used up when machine code is made of it.
        modules["\n".join(names)] = counts_in(library._final_module)

    setattr(compiled._EntryCode, "_optimize_final_module", keep)  # noqa: B010
    answers = {}
    for row, run in played().items():
        before = set(modules)
        name = run().__name__
        made = [modules[key] for key in set(modules) - before if f"{len(name)}{name}B" in key]
        answers[f"{row}: {name}"] = max(made, key=lambda each: each["functions"])
    return answers


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@click.option("--here", is_flag=True, hidden=True, help="The process that compiles.")
def main(as_json: bool, here: bool) -> None:
    """Show what LLVM made of the hot kernels. Example: machine_code --json"""
    if here:
        click.echo(json.dumps(look()))
        return
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "foldbook.benchmarks.machine_code", "--here"],
            env=os.environ | {"FOLDBOOK_CACHE": folder}, stdout=subprocess.PIPE, text=True,
            check=True,
        )  # fmt: skip
    answers = json.loads(done.stdout.splitlines()[-1])
    if as_json:
        click.echo(json.dumps(answers))
    else:
        for row, counts in answers.items():
            click.echo(f"{row}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    faults = any(counts[kind] for counts in answers.values() for kind in FORBIDDEN)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main(prog_name="machine_code")
