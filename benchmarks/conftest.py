"""Settings of `pytest --benchmark-only`: what is run, and what is said about the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
QUICK = bool(os.environ.get("FASTLIN_BENCH_QUICK"))


def pytest_configure(config: pytest.Config) -> None:
    """Without paths on the command line, run either benchmarks/ or everything else."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    wanted = bool(config.getoption("benchmark_only", default=False))
    config.args = [path for path in config.args if (Path(path).resolve() == HERE) is wanted]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the machine that the figures come from."""
    if not _runs_benchmarks(config):
        return []
    from benchmarks import machine  # noqa: PLC0415  (loads NumPy and Numba's compiler)

    size = ["smoke run: small shapes, few rounds"] if QUICK else []
    return [*machine.header_lines(), *size]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Put the same into the JSON."""
    if _runs_benchmarks(config):
        from benchmarks import machine  # noqa: PLC0415

        machine_info["fastlin"] = machine.describe()


def _runs_benchmarks(config: pytest.Config) -> bool:
    return any(Path(path.partition("::")[0]).resolve().is_relative_to(HERE) for path in config.args)


@pytest.fixture
def duel(benchmark: Any, contestant: str, thread_count: int) -> Iterator[Callable[..., None]]:
    """Check that fastlin and NumPy agree, then time the contestant whose turn it is."""
    from benchmarks import machine  # noqa: PLC0415

    def run(
        group: str,
        sides: dict[str, Callable[[], Any]],
        agree: Callable[[Any, Any], None],
        reset: Callable[[], None] | None = None,
    ) -> None:
        results = []
        for side in sides.values():
            if reset is not None:
                reset()
            results.append(side())  # compiles, too
        agree(*results)
        benchmark.group = f"{group}, {thread_count} thread{'s' * (thread_count > 1)}"
        benchmark.extra_info["threads"] = thread_count
        benchmark(sides[contestant])

    with machine.threads(thread_count):
        yield run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each benchmark for both sides, on one core (a smoke run leaves that out) and on all."""
    if "duel" not in metafunc.fixturenames:
        return
    from benchmarks import machine  # noqa: PLC0415

    counts = [machine.cores()] if QUICK else sorted({1, machine.cores()})
    metafunc.parametrize("thread_count", counts, ids=[f"{count}t" for count in counts])
    metafunc.parametrize("contestant", ["fastlin", "numpy"])
