"""What a result was measured on: processor, cores, memory, versions. No name of a machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

_PACKAGES = ("foldbook", "numpy", "numba", "llvmlite", "gymnasium")


def about_machine() -> dict[str, Any]:
    """Return processor, cores, memory (GB), load when asked, system and versions."""
    return {
        "processor": _value("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int((_value("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20),
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _value(path: str, key: str) -> str:
    try:
        with open(path) as file:
            lines = (line.partition(":") for line in file)
            return next((text.strip() for name, _, text in lines if name.strip() == key), "")
    except OSError:
        return ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
