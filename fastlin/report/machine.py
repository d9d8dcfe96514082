"""On what, with what and when something was computed."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fastlin

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "matplotlib", "jinja2")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, system and versions as JSON values."""
    import llvmlite.binding  # noqa: PLC0415  (loaded with Numba already)

    return {
        "processor": _processor(),
        "processor_kind": llvmlite.binding.get_host_cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "fastlin": fastlin.__version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
    }


def now() -> str:
    """Return the time in UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
