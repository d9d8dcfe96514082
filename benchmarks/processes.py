"""Cases that need a process of their own: another instruction set, the first compile, start-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cases import Case, Settings
from benchmarks.contestants import one_line
from benchmarks.outcomes import FASTLIN, Goal, Metric, Outcome
from benchmarks.problems import CIFAR10_SHAPE, make_problem
from benchmarks.racing import Entry, FailedError, Pace, race
from fastlin.data.catalog import locate_cifar10

ROOT = Path(__file__).resolve().parent.parent


def modules_of_root() -> dict[str, str]:
    """Return the environment in which a process finds `benchmarks`, wherever it is started."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def run_python(*arguments: str | Path, **variables: str) -> None:
    """Run `python -m ...` from the repository's root with more environment variables.

    Raises
    ------
    FailedError
        If it fails; with the last line it printed.
    """
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | modules_of_root() | variables, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        said = f"exit code {done.returncode}, {one_line(last)}"
        raise FailedError(f"python {' '.join(command[1:3])}: {said}")


@dataclass(frozen=True, kw_only=True)
class AsForAvx2(Case):
    """Another case in a process that compiles as for AVX2, with NumPy's AVX2 kernel.

    Attributes
    ----------
    other : the case's name.
    """

    other: str

    def measure(self, settings: Settings) -> Outcome:
        """Run the other case there, against NumPy alone."""
        with tempfile.TemporaryDirectory() as folder:
            run_python(
                "benchmarks", "--only", self.other, "--rounds", str(settings.rounds),
                "--out", folder, "--rival", "NumPy", *(["--quick"] if settings.quick else []),
                NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=_features_without_avx512(),
                OPENBLAS_CORETYPE="Haswell",
            )  # fmt: skip
            [file] = Path(folder).glob("*.json")
            [found] = json.loads(file.read_text())["cases"]
        outcome = Outcome.from_dict(found | {"name": self.name, "title": self.title})
        outcome.judge(self.goals)
        return outcome


def _features_without_avx512() -> str:
    """Return this machine's features in LLVM's notation, with all of AVX-512 and AMX off.

    The name of a processor alone does not keep Numba from using what else the machine has.
    """
    from llvmlite import binding  # noqa: PLC0415

    features = binding.get_host_cpu_features()
    return ",".join(
        f"{'+' if present and not name.startswith(('avx512', 'avx10', 'amx')) else '-'}{name}"
        for name, present in features.items()
    )


@dataclass(frozen=True, kw_only=True)
class FirstCompile(Case):
    """`fastlin train` for one epoch where nothing has been compiled yet: the whole process."""

    def measure(self, settings: Settings) -> Outcome:
        """Start it with an empty cache."""

        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                run_python(
                    "fastlin", "train", "--no-figures", "--epochs", "1",
                    "--out", Path(folder) / "run", NUMBA_CACHE_DIR=folder,
                )  # fmt: skip

        return _timed(self, run, settings, rounds=1 if settings.quick else 3)


@dataclass(frozen=True, kw_only=True)
class WholeProcess(Case):
    """`fastlin train` for 40 epochs on CIFAR-10 with its kernels compiled before."""

    def measure(self, settings: Settings) -> Outcome:
        """Start it once to compile, then time it."""
        with tempfile.TemporaryDirectory() as folder:
            data, source = _images(Path(folder))

            def run() -> None:
                with tempfile.TemporaryDirectory() as out:
                    run_python(
                        "fastlin", "train", "--data", data, "--no-figures", "--epochs", "40",
                        "--out", Path(out) / "run",
                    )  # fmt: skip

            run()
            outcome = _timed(self, run, settings, rounds=1 if settings.quick else 7)
        outcome.source = source
        return outcome


def _timed(case: Case, run: Callable[[], None], settings: Settings, rounds: int) -> Outcome:
    outcome = Outcome(case.name, case.title, case.threads)
    entry = Entry(FASTLIN, run, case.threads)
    rounds = min(settings.rounds, rounds)
    outcome.add_race(race([entry], rounds, pace=Pace(0, 0), on_round=settings.on_round))
    outcome.judge(case.goals)
    return outcome


def _images(folder: Path) -> tuple[str, str]:
    """Return what to train on and what it is: CIFAR-10, or a file of its shape where it is not."""
    if locate_cifar10() is not None:
        return "cifar10", "CIFAR-10"
    n, d, K = CIFAR10_SHAPE
    p = make_problem(n, d, K, batch_size=64, row_dtype=np.uint8)
    path = folder / "images.npz"
    np.savez(path, X_train=p.X, y_train=p.y, X_val=p.X, y_val=p.y, X_test=p.X, y_test=p.y)
    return str(path), p.source


PROCESSES: list[Case] = [
    *(
        AsForAvx2(
            name=f"avx2-{kind}", title=f"both held to AVX2: epoch, 10,000 rows, {kind}",
            goals=(Goal(Metric.VERSUS_BEST, 1.5, 2.5),), other=f"epoch-{kind}",
        )
        for kind in ("uint8", "float32")
    ),
    FirstCompile(
        name="first-compile", title="`fastlin train --epochs 1`, compiling everything",
        goals=(Goal(Metric.SECONDS, 15, 8),), threads=2,
    ),
    WholeProcess(
        name="whole-process", title="`fastlin train`, 40 epochs and evaluations, compiled before",
        goals=(Goal(Metric.SECONDS, 1.6, 1.2),), threads=2,
    ),
]  # fmt: skip
