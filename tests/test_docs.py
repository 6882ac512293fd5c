"""Documentation is executed: snippets of the README, doctests, examples, links and help."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.stem != "__init__")


def snippets():
    """Yield each Python block of each page, named by page and line."""
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: block.start()].count("\n") + 2
            yield pytest.param(block[1], line, page, id=f"{page.relative_to(ROOT)}:{line}")


def modules():
    for top in ("engine", "adapters", "benchmarks", "examples"):
        package = importlib.import_module(f"foldbook.{top}")
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


@pytest.mark.parametrize(("code", "line", "page"), list(snippets()))
def test_snippets_run(code, line, page, tmp_path, monkeypatch, capsys):
    """Each snippet runs as it stands, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    exec(compile("\n" * (line - 1) + code, str(page), "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("name", list(modules()))
def test_doctests(name):
    """What docstrings show is what happens."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_print_their_output(path, tmp_path):
    """Each example prints exactly its `.out`."""
    ran = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == path.with_suffix(".out").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """A link or a path in a page names something that exists."""
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    folders = "docs|engine|adapters|tests|examples|benchmarks"
    for target in re.findall(rf"`((?:{folders})/[^`\s{{}}]*)`", text):
        assert (ROOT / target).exists(), target


def test_decisions_are_listed_once():
    """The list of decisions has each page, in the order of their numbers."""
    folder = ROOT / "docs/decisions"
    listed = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
