"""The exact softmax optimum of the study's rows, beside the best that SGD reached on them."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastlin import files, machine
from fastlin.config import TrainConfig
from fastlin.data.dataset import Split
from fastlin.data.splits import few_rows
from fastlin.errors import InputError
from fastlin.functional import use_threads
from fastlin.model import LinearModel
from fastlin.report.results import from_json
from fastlin.solving.config import FitConfig, log_steps
from fastlin.solving.path import path
from fastlin.solving.solver import solve
from fastlin.training.evaluation import evaluate

FORMAT = 1  # of the file
OPTIMA = "optimum.json"

# Penalties, from weak to strong, of features as they are and standardised: half a decade apart,
# around what validation rows choose on CIFAR-10. The path goes on beyond an end that is the best.
L2S = {False: log_steps(-4, -1, 6), True: log_steps(-2, 1, 6)}
PATIENCE = 2
GAP = 1e-4  # no accuracy of 10,000 rows depends on less


@dataclass(frozen=True)
class Optimum:
    """The optimum of one penalty.

    Attributes
    ----------
    l2 : float
        The penalty.
    relative_gap : float
        By which share the training cost is above the least one, at most.
    passes : int
        Over the training rows.
    seconds : float
        Of this fit.
    measures : dict[str, float]
        Cost and accuracy of training, validation and test rows, as of a run.
    """

    l2: float
    relative_gap: float
    passes: int
    seconds: float
    measures: dict[str, float]


@dataclass(frozen=True)
class Optima:
    """What exact fits reach on the rows of the study.

    Attributes
    ----------
    chosen : Optimum
        Of the penalty that validation rows choose; its fit began at that of the next stronger one.
    same : Optimum | None
        Of the penalty of SGD's best; None where that is 0, for which there need be no optimum.
    penalties : int
        How many were fitted to choose one.
    seconds : float
        Of them all.
    """

    chosen: Optimum
    same: Optimum | None
    penalties: int
    seconds: float


def exact_optima(
    split: Split, config: TrainConfig, threads: int | None, folder: Path, client: Any = None
) -> Optima:
    """Return the optima of a split; those that are kept in a folder are not fitted again.

    Parameters
    ----------
    split : Split
        With validation and test rows.
    config : TrainConfig
        Of SGD's best, with the loss, the penalty and the features that it was trained with.
    threads : int | None
        To fit on, None for all.
    folder : Path
        Keeps them. What another kind of processor or other kernels found is not taken.
    client : distributed.Client or str, optional
        Of a cluster whose workers take passes over the rows, as of `fastlin.solve`.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    asked = [FORMAT, machine.identity(), split.fingerprint(), str(config.loss), config.l2,
             config.standardize, L2S[bool(config.standardize)], PATIENCE, GAP]  # fmt: skip
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    known = _load(folder / OPTIMA, key)
    if known is not None:
        return known
    with use_threads(threads):
        found = _fit(split, config, client)
    files.save_json(folder / OPTIMA, {"key": key, "optima": asdict(found)})
    return found


def _load(path: Path, key: str) -> Optima | None:
    """Return what a file holds if it is of that key; None if there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        content = files.read_json(path)
        if not isinstance(content, dict) or content.get("key") != key:
            return None
        found: Optima = from_json(Optima, content.get("optima"))
    except InputError:
        return None
    return found


def _fit(split: Split, config: TrainConfig, client: Any) -> Optima:
    is_standardized = bool(config.standardize)
    settings = FitConfig(loss=config.loss, standardize=is_standardized, gap=GAP)
    few = Split(split.name, split.train.chosen(few_rows(split.train.y, 1, 0, 0)))
    solve(
        few, config=settings, l2=1.0, max_passes=3
    )  # kernels are compiled before the clock starts

    def optimum(model: LinearModel, l2: float, gap: float, passes: int, seconds: float) -> Optimum:
        return Optimum(l2, gap, passes, seconds, _measures(split, model, config, l2))

    same = None
    if config.l2 != 0:
        one = solve(split, config=settings, l2=config.l2, client=client)
        same = optimum(one.model, one.l2, one.relative_gap, one.passes, one.seconds)
    began = time.perf_counter()
    l2s = L2S[is_standardized]
    found = path(split, settings, l2s=l2s, patience=PATIENCE, client=client)
    seconds = time.perf_counter() - began
    best = found.best
    chosen = optimum(found.model, best.l2, best.relative_gap, best.passes, best.seconds)
    return Optima(chosen, same, len(found.points), seconds)


def _measures(split: Split, model: LinearModel, config: TrainConfig, l2: float) -> dict[str, float]:
    judged = TrainConfig(loss=config.loss, l2=l2)
    measures: dict[str, float] = {}
    for part, data in split.parts().items():
        found = evaluate(model, data, judged)
        measures |= {f"{part}_cost": found.cost, f"{part}_accuracy": found.accuracy}
    return measures
