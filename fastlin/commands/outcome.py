"""What commands that train share: waiting, and what is told of a finished run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlin.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.data import Split
    from fastlin.training import TrainResult


@contextmanager
def note_if_slow(notes: Console, text: str, after: float = 0.8) -> Iterator[None]:
    """Print a note if the body takes longer than `after` seconds."""
    timer = threading.Timer(after, notes.print, (text,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def new_folder(out: Path | None, name: str, file: str, content: dict[str, Any]) -> Path:
    """Make the folder of --out, or the next one of that name; see `runs.create_run_folder`."""
    from fastlin import runs

    try:
        return runs.create_run_folder(out, name, file, content)
    except InputError as error:
        raise InputError(f"{error} (--out FOLDER)") from None


def evaluate_all(
    result: TrainResult, split: Split, threads: int
) -> tuple[dict[str, dict[str, dict[str, float]]], float]:
    """Return cost and accuracy of the last and the best model on every part, and the seconds."""
    from fastlin.functional import use_threads
    from fastlin.training import evaluate

    start = time.perf_counter()
    models = {"last": result.model, "best": result.best_model}
    with use_threads(threads):
        evaluations = {
            which: {
                part: {"cost": found.cost, "accuracy": found.accuracy}
                for part, found in (
                    (part, evaluate(model, data, result.config))
                    for part, data in split.parts().items()
                )
            }
            for which, model in models.items()
        }
    return evaluations, time.perf_counter() - start


def draw(result: TrainResult, split: Split, folder: Path, threads: int) -> float:
    """Draw a run's figures into its folder, and return the seconds that took."""
    from fastlin.commands.plot import draw_figures

    start = time.perf_counter()
    draw_figures(result.history, result.model, result.config, split, folder, threads)
    return time.perf_counter() - start


def summarize(
    status: str,
    result: TrainResult,
    split: Split,
    threads: int,
    evaluations: dict[str, Any],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Return the content of a run's summary.json."""
    train_seconds = result.seconds.train
    samples = len(split.train) * len(result.history)
    return {
        "status": status,
        "epochs": {"asked": result.config.epochs, "finished": len(result.history)},
        "best_epoch": result.history.best_epoch,
        "results": evaluations,
        "data": describe_data(split),
        "threads": threads,
        "samples_per_second": samples / train_seconds if train_seconds > 0 else 0.0,
        "seconds": seconds,
        **describe_environment(),
    }


def describe_data(split: Split) -> dict[str, Any]:
    """Return what summary.json says of the data."""
    return {
        "name": split.name,
        "rows": {part: len(data) for part, data in split.parts().items()},
        "features": split.train.X.shape[1],
        "dtype": str(split.train.X.dtype),
        "sha256": split.fingerprint(),
    }


def describe_environment() -> dict[str, Any]:
    """Return what summary.json says of software and machine."""
    import platform

    import numba
    import numpy as np

    import fastlin

    return {
        "versions": {
            "fastlin": fastlin.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
        "machine": {"system": platform.system(), "architecture": platform.machine()},
    }
