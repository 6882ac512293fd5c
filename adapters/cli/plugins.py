"""What is plugged in by name: importers, generators and strategies; and how sessions are found."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from foldbook.engine import Session

CATALOGUE = "catalogue:"
"""Before the name of a session in the user's catalogue."""


def entry(group: str, name: str) -> Callable[..., Any]:
    """Return what an entry point of `group` names. Raises UsageError listing those there are."""
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=group)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none is installed"
        raise click.UsageError(f"{name!r} is not one of the {group.partition('.')[2]}: {known}")
    loaded: Callable[..., Any] = found[name].load()
    return loaded


def session(text: str) -> Session:
    """Return the session in a folder, a generated one such as "synthetic:7", or "catalogue:NAME".
    """
    if text.startswith(CATALOGUE) and not Path(text).exists():
        from .. import catalogue

        return catalogue.open().load(text.removeprefix(CATALOGUE))
    if is_generated(text):
        generator, _, seed = text.partition(":")
        return _generated(generator, {"seed": int(seed)})
    return _stored(text)


def is_generated(text: str) -> bool:
    """Say whether a session's name is that of a generator and its seed, and of nothing stored."""
    form = re.fullmatch(r"[a-z][a-z0-9-]*:\d+", text)
    return form is not None and not Path(text).exists()


def _with_password(url: str) -> str:
    """Return the URL of the user's own catalogue, if it is this one but for a password."""
    from .. import catalogue

    own = os.environ.get(catalogue.VARIABLE, "")
    return own if catalogue.without_password(own) == url else url


def _generated(generator: str, parameters: Mapping[str, Any]) -> Session:
    try:
        made: Session = entry("foldbook.generators", generator)(**parameters)
    except ValueError as error:
        raise click.UsageError(f"{generator}: {error}") from None
    return made


def _stored(path: str) -> Session:
    """Return the session in a folder, once its rows are those that were stored."""
    from .. import sessions

    loaded = sessions.load(path)
    sessions.verify_digest(loaded)
    return loaded


def session_again(source: Mapping[str, Any]) -> Session:
    """Return the session that a journal's header names: {"path"} or {"generator", parameters}."""
    if "path" in source:
        return _stored(source["path"])
    if "catalogue" in source:
        from .. import catalogue

        return catalogue.open(_with_password(source["catalogue"])).load(source["entry"])
    parameters = {name: value for name, value in source.items() if name != "generator"}
    return _generated(source["generator"], parameters)


def strategy(spec: str) -> Any:
    """Return what "module:Name" or "file.py:Name" names; the current folder is importable.

    Raises UsageError if there is no such thing; what the module raises itself goes through.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise click.UsageError(f"strategy {spec!r} is not like module:Name or file.py:Name")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    if not hasattr(module, name):
        # A folder without an __init__.py is a module that has no file.
        found = getattr(module, "__file__", None) or f"the folder {place}"
        raise click.UsageError(f"strategy {spec!r}: there is no {name} in {found}")
    return getattr(module, name)


def parameters(texts: Iterable[str]) -> dict[str, int | bool | str]:
    """Return the values of "name=value", see `parameter`. Raises UsageError for one given twice."""
    given: dict[str, int | bool | str] = {}
    for text in texts:
        name, value = parameter(text)
        if name in given:
            raise click.UsageError(f"parameter {name} is given twice: {given[name]} and {value}")
        given[name] = value
    return given


def parameter(text: str) -> tuple[str, int | bool | str]:
    """Return (name, value) of "name=value": an int or a truth value if it reads like one.

    >>> parameter("size=10"), parameter("price=0.48"), parameter("shy=true")
    (('size', 10), ('price', '0.48'), ('shy', True))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.UsageError(f"parameter {text!r} is not like name=value")
    if re.fullmatch(r"[-+]?\d+", value):
        return name, int(value)
    return name, {"true": True, "false": False}.get(value.lower(), value)


def _module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise click.UsageError(f"strategy: there is no module {name!r} here") from None
        raise


def _file(path: Path) -> Any:
    if not path.is_file():
        raise click.UsageError(f"strategy: there is no file {path}")
    try:
        path.open().close()
    except OSError as error:
        raise click.UsageError(f"strategy: {path}: {error.strerror}") from None
    sys.path.insert(0, str(path.parent.resolve()))
    name = f"strategy_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
