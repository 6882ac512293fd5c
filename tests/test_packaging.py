"""What installs: the namespace `foldbook`, whole, and nothing beside it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("engine", "adapters", "examples", "benchmarks")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in a wheel made from a clean copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", "."],
        cwd=source, check=True, capture_output=True,
    )
    (path,) = (source / "out").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_namespace_and_nothing_else(wheel):
    """Only foldbook/ and the metadata are at top level; the folders of the repo are not."""
    assert {name.split("/")[0] for name in wheel} == {"foldbook", "foldbook-0.1.0.dist-info"}
    assert "foldbook/__init__.py" not in wheel


def test_the_wheel_holds_every_module(wheel):
    """Each module of the four folders is in the wheel, with the marks of typed packages."""
    modules = {f"foldbook/{path.relative_to(ROOT)}"
               for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert modules <= wheel
    assert {"foldbook/engine/py.typed", "foldbook/adapters/py.typed"} <= wheel


def test_every_example_has_its_output_in_the_wheel(wheel):
    """Whoever installs the examples can compare what they print."""
    outputs = {f"foldbook/{path.relative_to(ROOT)}" for path in (ROOT / "examples").glob("*.out")}
    assert outputs <= wheel


def test_packages_are_listed():
    """A new package is named in setup.cfg: nothing is found by search, so nothing slips in."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {".".join(["foldbook", *path.parent.relative_to(ROOT).parts])
             for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")}
    assert listed == found


def test_the_build_file_says_how_to_build_and_nothing_else():
    """Metadata and the settings of tools are in setup.cfg."""
    headings = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if "[" in line]
    assert headings[0] == "[build-system]"
    assert not [line for line in headings if line.startswith("[") and line != "[build-system]"]
