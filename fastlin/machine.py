"""On what, with what and when something was computed: the one description of a machine."""

from __future__ import annotations

import functools
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fastlin

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "matplotlib", "jinja2")
_PACKAGES_THAT_COMPUTE = ("numpy", "numba", "llvmlite")


def describe() -> dict[str, Any]:
    """Return processor, cores, system, versions and kernels.

    Returns
    -------
    dict[str, Any]
        JSON values: ``processor`` (its name), ``processor_kind`` (as the compiler knows it),
        ``cores``, ``system``, ``kernels`` (a digest of their source) and ``versions``, by package.
    """
    known = identity()
    return {
        "processor": _processor(),
        "processor_kind": known["processor"],
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "kernels": known["kernels"],
        "versions": {
            "fastlin": fastlin.__version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
    }


@functools.cache
def identity() -> dict[str, str]:
    """Return all of software and processor on which the bits of a result depend, by name.

    Journals, checkpoints and run folders hold it: results of one identity may be put together.
    """
    from fastlin.kernels import llvmlite, numba  # noqa: PLC0415  (loads Numba)
    from fastlin.kernels.jit import source_digest  # noqa: PLC0415

    return {
        "fastlin": fastlin.__version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES_THAT_COMPUTE},
        "kernels": source_digest(),
        "processor": numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),  # type: ignore[attr-defined]
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
