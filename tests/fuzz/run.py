"""Attack decoders, guided by coverage: `python tests/fuzz/run.py --seconds 600 log_frames`.

Needs the extra `fuzz`. What was found interesting stays in build/fuzz/NAME and is begun with next
time; an input that finds a defect is written to build/fuzz/NAME.crash-*, and ends the run with its
traceback.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

ROOT = Path(__file__).parent.parent.parent
TARGETS = ("log_frames", "kalshi_ws", "session_files")


def main() -> int:
    """Attack each target named, in a process of its own; return 1 if one has a defect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        return attack(arguments.targets[0], arguments.seconds)
    failed = [
        name for name in arguments.targets or TARGETS
        if subprocess.run(
            [sys.executable, __file__, "--here", "--seconds", str(arguments.seconds), name],
            check=False, cwd=ROOT,
        ).returncode
    ]
    for name in failed:
        print(f"{name}: a defect was found; see build/fuzz/{name}.crash-*", file=sys.stderr)
    return 1 if failed else 0


def attack(name: str, seconds: int) -> int:
    """Attack a target in this process, which ends with it."""
    import atheris

    sys.path[:0] = [str(ROOT / "tests")]
    target = importlib.import_module(f"fuzz.{name}")
    for module in target.INSTRUMENTED:
        for function in functions_of(sys.modules[module]):
            atheris.instrument_func(function)
    corpus = ROOT / "build/fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=20000", "-timeout=20",
               f"-artifact_prefix={corpus}.", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.attack)
    atheris.Fuzz()
    return 0


def functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions and methods that a module defines; compiled kernels are none."""
    for found in vars(module).values():
        if getattr(found, "__module__", None) != module.__name__:
            continue
        for each in vars(found).values() if isinstance(found, type) else (found,):
            function = getattr(each, "__func__", getattr(each, "fget", each))
            if isinstance(function, FunctionType):
                yield function


if __name__ == "__main__":
    raise SystemExit(main())
