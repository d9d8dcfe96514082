"""What summary.json says of a run: results, data, threads, times and the machine."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol

from fastlin.data.dataset import Split
from fastlin.history import EpochRecord, History
from fastlin.training.advice import advise_on

if TYPE_CHECKING:
    from pathlib import Path

    from fastlin.fitting import Fitting
    from fastlin.search.ranking import GridResult
    from fastlin.training.trainer import TrainResult


class Study(Protocol):
    """What was found of several fits: a `CrossValidation`, `FewShots`."""

    @property
    def fitting(self) -> Fitting:
        """On which rows the one classifier is fitted that a run folder holds."""

    @property
    def result(self) -> TrainResult:
        """The fit of that classifier."""

    def fitted_on(self, split: Split) -> Split:
        """Return a split whose training rows are those that it was fitted on."""

    def save(self, folder: Path) -> list[Path]:
        """Write files of its own into a folder, and return them."""

    def summary(self) -> dict[str, Any]:
        """Return a part of summary.json, by its name."""


def evaluate_all(
    result: TrainResult, split: Split, threads: int | None
) -> tuple[dict[str, dict[str, dict[str, float]]], float]:
    """Return what the last and the best model reach on every part, and the seconds.

    That is cost and accuracy, and of validation and test rows every metric of `fastlin.metrics`.
    Where the classifier was fitted again, last and best are those of the fit before, and ``refit``
    is what it reaches itself on test rows, if there are any.
    """
    from fastlin.threads import use_threads  # noqa: PLC0415  (loads Numba)
    from fastlin.training.evaluation import evaluate_matched  # noqa: PLC0415
    from fastlin.training.measuring import cost_and_tally  # noqa: PLC0415

    start = time.perf_counter()
    evaluations: dict[str, dict[str, dict[str, float]]] = {}
    chosen, every = result.chosen, split.parts()
    judged = {"last": (chosen.model, every), "best": (chosen.best_model, every)}
    if result.refit is not None:
        judged["refit"] = result.model, {} if split.test is None else {"test": split.test}
    with use_threads(threads):
        for which, (model, parts) in judged.items():
            evaluations[which] = {}
            if which == "best" and model is chosen.model:
                evaluations[which] = evaluations["last"]
                continue
            for part, data in parts.items():
                if part == "train":
                    found = evaluate_matched(model, data, result.config)
                    values = {"cost": found.cost, "accuracy": found.accuracy}
                else:
                    cost, tally = cost_and_tally(model, data, result.config)
                    values = tally.values() | {"cost": cost}
                evaluations[which][part] = values
    return evaluations, time.perf_counter() - start


def with_measures(
    result: TrainResult, evaluations: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> TrainResult:
    """Return an exact fit as a run whose one epoch has what `evaluate_all` found of it."""
    values = [
        evaluations["last"].get(part, {}).get(measure, math.nan)
        for part in ("train", "val")
        for measure in ("cost", "accuracy")
    ]
    return replace(result, history=History.from_records([EpochRecord(1, 0.0, *values)]))


def _finite_or_null(content: Any) -> Any:
    """Return results with None for numbers that JSON does not have: a cost beyond the dtype."""
    if isinstance(content, Mapping):
        return {name: _finite_or_null(value) for name, value in content.items()}
    return None if isinstance(content, float) and not math.isfinite(content) else content


def summarize(
    status: str,
    result: TrainResult,
    split: Split,
    evaluations: Mapping[str, Any],
    seconds: Mapping[str, float],
    threads: int | None = None,
) -> dict[str, Any]:
    """Return the content of a run's summary.json.

    Parameters
    ----------
    status : str
        finished, stopped, diverged or interrupted.
    result : TrainResult
    split : Split
        What was trained on.
    evaluations : Mapping[str, Any]
        Of the last and the best model, as `evaluate_all` returns it.
    seconds : Mapping[str, float]
        Where the time went, in all.
    threads : int, optional
        On how many was trained; None if that is not known.
    """
    from fastlin import machine  # noqa: PLC0415  (loads Numba)

    train_seconds = result.seconds.train
    samples = len(split.train) * len(result.history)
    refit = result.refit
    again: dict[str, Any] = {}
    if refit is not None:
        samples += refit.rows * refit.epochs
        again = {"refit": {"rows": refit.rows, "epochs": refit.epochs, "note": refit.note()}}
    if result.calibration is not None:
        again["calibration"] = {name: asdict(of) for name, of in result.calibration.items()}
    return {
        "status": status,
        "epochs": {"asked": result.config.epochs, "finished": len(result.history)},
        "best_epoch": result.best_epoch,
        "selected_by": result.select,
        **again,
        "results": _finite_or_null(evaluations),
        "advice": list(advise_on(result, split)),
        "data": describe_data(split),
        "threads": threads,
        "samples_per_second": samples / train_seconds if train_seconds > 0 else 0.0,
        "seconds": seconds,
        "machine": machine.describe(),
    }


def summarize_grid(
    result: GridResult,
    split: Split,
    test: Mapping[str, float] | None,
    command: str,
    seconds: Mapping[str, float],
    threads: int,
) -> dict[str, Any]:
    """Return the content of a grid's summary.json.

    Parameters
    ----------
    result : GridResult
    split : Split
        What was trained on.
    test : Mapping[str, float] or None
        Of the winner on test rows, if there are any, as a run's summary has it.
    command : str
        Which trains the winner alone.
    seconds : Mapping[str, float]
        Where the time went.
    threads : int
        On how many was trained.
    """
    from fastlin import machine  # noqa: PLC0415  (loads Numba)
    from fastlin.search.advice import advise_on_search  # noqa: PLC0415  (a run has none)

    best = result.best
    return {
        "entries": dict(Counter(entry.status for entry in result.entries)),
        "swept": list(result.swept),
        "rule": result.rule,
        "winner": {
            "entry": best.index,
            "settings": best.config.to_dict(),
            "epoch": best.epoch,
            "score": best.score,
            "test": test,
            "command": command,
        },
        "advice": list(advise_on_search(result, split)),
        "halving": [asdict(rung) for rung in result.rungs],
        "trained_on": list(result.trained_on),
        "epochs_trained": sum(len(entry.history) for entry in result.entries),
        "data": describe_data(split),
        "threads": threads,
        "seconds": seconds,
        "machine": machine.describe(),
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
