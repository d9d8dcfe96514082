"""The machine that figures come from: what it is, and what it can do at best."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.libraries import FASTLIN, NUMPY, threadpoolctl

NO_SIMD = "no wide SIMD"
PACKAGES = (
    "fastlin", "numpy", "numba", "llvmlite", "torch", "jax", "scikit-learn", "scikit-learn-intelex",
)  # fmt: skip
# Variables that keep a library from its defaults, and beginnings of such names.
_SETTINGS = (
    "OPENBLAS_", "NUMBA_CPU_", "NUMBA_NUM_THREADS", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_",
    "GOTO_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NPY_DISABLE_CPU_FEATURES", "TORCH_", "ATEN_",
    "DNNL_", "ONEDNN_", "XLA_", "JAX_",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Return processor, BLAS kernels, threads and versions as plain JSON values."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "simd": _widest_simd(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(),
        "blas": [
            {
                "library": pool["internal_api"],
                "version": pool["version"],
                "kernel": pool.get("architecture") or "its own choice",
                "threads": pool["num_threads"],
            }
            for pool in threadpoolctl().threadpool_info()
            if pool["user_api"] == "blas"
        ],
        "limited_by": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)
        },
    }


def header_lines() -> list[str]:
    """Return `describe()` as lines for people, with a warning where a library is held back."""
    machine = describe()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"machine: {machine['cpu']}, {machine['cores']} cores, {machine['simd']}",
        f"versions: Python {machine['python']}, {versions}",
        *(
            f"BLAS: {blas['library']} {blas['version']}, kernel {blas['kernel']}, "
            f"{blas['threads']} threads"
            for blas in machine["blas"]
        ),
    ]
    limits = machine["limited_by"]
    if limits:
        settings = " ".join(f"{name}={value}" for name, value in limits.items())
        lines.append(f"WARNING: {settings} is set: not all run at their defaults")
    return lines


def slug(described: dict[str, Any]) -> str:
    """Return a name for files about a machine: its processor and SIMD width.

    Parameters
    ----------
    described : by `describe`.
    """
    cpu = re.sub(r"@.*|\d+-Core|\(R\)|\(TM\)|\b(CPU|Processor)\b", " ", described["cpu"])
    simd = "" if described["simd"] == NO_SIMD else described["simd"].replace("-", "")
    return "-".join(re.findall(r"[a-z0-9]+", f"{cpu} {simd}".lower()))


def cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run the body with `count` threads in fastlin and in NumPy's BLAS, both in this process."""
    with FASTLIN.use_threads(count), NUMPY.use_threads(count):
        yield


def sgemm(size: int) -> Callable[[], object]:
    """Return a square float32 matrix product to time.

    Its speed is what is called the machine's peak here: the best that dense arithmetic reaches.
    """
    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    C = np.empty_like(A)
    return lambda: np.matmul(A, B, out=C)


def read_bandwidth(thread_count: int, megabytes: int = 512, repeat: int = 7) -> float:
    """Return how fast float32 rows come from memory, in bytes/s: the best of `repeat` dot products.

    A vector far larger than the caches is multiplied with itself, a part of it per thread.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    x = np.ones(megabytes * 2**18, np.float32)
    parts = np.array_split(x, thread_count)
    seconds = []
    with NUMPY.use_threads(1), ThreadPoolExecutor(thread_count) as pool:
        for _ in range(repeat):
            start = time.perf_counter()
            list(pool.map(lambda part: np.dot(part, part), parts))
            seconds.append(time.perf_counter() - start)
    return x.nbytes / min(seconds)


class Disturbance:
    """How much of the machine others used since this object was made, in cores."""

    def __init__(self) -> None:
        self._wall, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def cores(self) -> float:
        """Return it; the system counts in ticks of some 10 ms, so short spans read coarsely."""
        wall = time.perf_counter() - self._wall
        others = _busy_seconds() - self._busy - (_own_seconds() - self._own)
        return max(0.0, others / wall)


def _busy_seconds() -> float:
    """Return how long the cores that this process may use were busy since the system started."""
    every = psutil.cpu_times(percpu=True)
    used = (
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(len(every))
    )
    return float(sum(sum(every[i]) - every[i].idle - getattr(every[i], "iowait", 0) for i in used))


def _own_seconds() -> float:
    """Return the processor time of this process and of the children it waited for."""
    return sum(os.times()[:4])


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def _widest_simd() -> str:
    from llvmlite import binding  # noqa: PLC0415

    features = binding.get_host_cpu_features()
    for feature, name in (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX")):
        if features.get(feature):
            return name
    return "NEON" if features.get("neon") else NO_SIMD


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
