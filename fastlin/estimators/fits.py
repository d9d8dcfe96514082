"""What estimators do in `fit`: an exact fit, or epochs of SGD, of rows and parameters."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastlin import compilation
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.engine import Array
from fastlin.errors import DivergedError, InputError, counted, quoted
from fastlin.estimators.parameters import fit_config, penalty_of_solver
from fastlin.history import EpochRecord, History, measured_of
from fastlin.losses import Loss
from fastlin.model import LinearModel
from fastlin.solving.solution import Progress, Solution, gap_text
from fastlin.solving.solver import solve
from fastlin.training.trainer import Trainer

# Called after every step or epoch with a function that returns the classifier so far. Where it
# returns True the fit ends there.
Watch = Callable[[Callable[[], LinearModel]], bool]


def compiling() -> AbstractContextManager[compilation.Compiling]:
    """Log it once if the body compiles a kernel, as a warning, which Python prints by default."""
    log = logging.getLogger("fastlin")
    return compilation.compiling(lambda text: log.warning("fastlin: %s", text))


class Fitted(NamedTuple):
    """What a fit found.

    Attributes
    ----------
    model : LinearModel
        With one row of W for each class, of two classes, too.
    n_iter : int
        Passes over the rows, or epochs.
    gap : float or None
        The relative gap of an exact fit; None of SGD.
    history : History or tuple[Progress, ...]
        Of the epochs, or of the steps of an exact fit.
    """

    model: LinearModel
    n_iter: int
    gap: float | None
    history: History | tuple[Progress, ...]


def numbered(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes (K,) of labels, in order, and the number (n,) of each label's class.

    Raises InputError if there is only one class.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"y has only one class, {quoted(classes.tolist()[0])}; a classifier needs "
            "samples of at least two classes"
        )
    return classes, numbers


def exact_fit(
    data: Dataset, weight_sum: float, parameters: dict[str, Any], loss: Loss,
    start: LinearModel | None, watch: Watch,
) -> Fitted:  # fmt: skip
    """Return the optimum, with a warning if it was not reached."""
    l2 = penalty_of_solver(parameters, weight_sum, len(data.class_names))
    config = fit_config(parameters, loss, l2)
    with compiling():
        solution = solve(
            data, config=config, start=start, threads=parameters["n_threads"],
            progress=partial(write_step, l2=l2) if parameters["verbose"] else None, watch=watch,
        )  # fmt: skip
    return of_solution(solution)


def write_step(step: Progress, l2: float) -> None:
    """Write a line of a step of an exact fit, of a penalty."""
    sys.stdout.write(
        f"pass {step.passes}: objective {step.objective:.9g}, {gap_text(step.gap, l2)}\n"
    )


def of_solution(solution: Solution) -> Fitted:
    """Return the optimum as an estimator has it, with a warning if it was not reached."""
    if not solution.converged and not solution.stopped:
        warnings.warn(_not_converged(solution), ConvergenceWarning, stacklevel=5)
    # Losses do not depend on what all biases have in common: they are given the mean 0.
    b = solution.model.b.astype(np.float64)
    model = replace(solution.model, b=(b - b.mean()).astype(solution.model.b.dtype))
    return Fitted(model, solution.passes, solution.relative_gap, solution.trace)


def _not_converged(solution: Solution) -> str:
    """Return why an exact fit ended before its tolerance, in the words of an estimator."""
    if solution.l2 == 0:
        return str(solution.note)
    way_out = "raise max_iter or tol"
    if solution.passes < solution.config.max_passes - 2:
        way_out = f"{solution.note} (or a smaller C, or a larger tol)"
    reached = f"a relative gap of {solution.relative_gap:.2g}, above"
    if solution.relative_gap == math.inf:
        reached = "no bound yet, for"
    return (
        f"the fit ended after {solution.passes} passes with {reached} tol "
        f"{solution.config.gap:g}; {way_out}"
    )


def sgd_fit(
    data: Dataset, config: TrainConfig, parameters: dict[str, Any], start: LinearModel | None,
    records: list[EpochRecord], watch: Watch | None = None,
) -> tuple[Fitted, TrainConfig]:  # fmt: skip
    """Train epochs, and return the classifier with the settings that were chosen from the rows.

    Parameters
    ----------
    data : Dataset
        The rows; with early stopping, a share of them is held out.
    config : TrainConfig
        The settings.
    parameters : dict[str, Any]
        Of the estimator.
    start : LinearModel or None
        Where to start; None for weights of zero.
    records : list[EpochRecord]
        Of the epochs before, which count.
    watch : Watch, optional
        Called after every epoch.

    Raises
    ------
    InputError
        If training diverges, or an argument does not fit.
    """
    split, last_epoch = split_of(data, parameters, config.seed), len(records) + config.epochs
    every = 1 if evaluates_epochs(parameters) else last_epoch
    with compiling():
        trainer = Trainer(split, config, parameters["n_threads"], eval_train_every=every)
        for note in trainer.notes:
            warnings.warn(note, stacklevel=4)
        if start is not None:
            trainer.restore(records, _state_of(start, trainer.state()))
        trainer.compile()
    try:
        _train(trainer, last_epoch, parameters, watch)
    except DivergedError as error:
        raise diverged(error) from None
    result = trainer.result()
    model = result.best_model if parameters["early_stopping"] else result.model
    return Fitted(model, len(result.history), None, result.history), trainer.config


def split_of(data: Dataset, parameters: dict[str, Any], seed: int) -> Split:
    """Return rows to train on; for early stopping with a share of them as validation rows.

    Raises InputError if the share holds out no row.
    """
    split = Split("the rows", data)
    if not parameters["early_stopping"]:
        return split
    fraction = parameters["validation_fraction"]
    try:
        return split.hold_out(fraction, seed)
    except InputError:
        raise InputError(
            f"validation_fraction is {fraction:g}, which of {counted(len(data), 'row')} holds out "
            "none of any class; give more rows, or a larger fraction"
        ) from None


def evaluates_epochs(parameters: dict[str, Any]) -> bool:
    """Return whether an estimator tells or judges every epoch: otherwise the last one alone."""
    return bool(parameters["verbose"] or parameters["early_stopping"])


def diverged(error: DivergedError) -> InputError:
    """Return that training diverged, in the words of an estimator."""
    return InputError(
        f"training diverged in epoch {error.epoch}; try a smaller learning_rate_init, such as "
        f"{error.smaller_lr:g}"
    )


def _train(
    trainer: Trainer, last_epoch: int, parameters: dict[str, Any], watch: Watch | None
) -> None:
    """Train to the last epoch, or until the validation accuracy no longer rises."""
    patience = Patience(parameters)
    while trainer.epochs_done < last_epoch:
        record = trainer.run_epoch()
        if parameters["verbose"]:
            write_epoch(record)
        if watch is not None and watch(lambda: trainer.result().model):
            return
        if patience.is_over(record):
            return


def write_epoch(record: EpochRecord) -> None:
    """Write a line of an epoch."""
    sys.stdout.write(f"epoch {record.epoch}: {measured_of(record)}\n")


class Patience:
    """When early stopping ends training: after so many epochs without a better accuracy.

    Parameters
    ----------
    parameters : dict[str, Any]
        Of the estimator; without `early_stopping` it never does.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._stops, self._tol = parameters["early_stopping"], parameters["tol"]
        self._most_epochs = parameters["n_iter_no_change"]
        self._best, self._epochs_since = -1.0, 0

    def is_over(self, record: EpochRecord) -> bool:
        """Return whether an epoch was the last one; to be called after every epoch."""
        if not self._stops:
            return False
        is_better = record.val_accuracy > self._best + self._tol
        self._epochs_since = 0 if is_better else self._epochs_since + 1
        self._best = max(self._best, record.val_accuracy)
        return bool(self._epochs_since >= self._most_epochs)


def _state_of(model: LinearModel, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of a run that goes on with a classifier, without momentum at first."""
    W, b = plain_weights(model)
    given = {"W": W, "b": b, "best_W": W, "best_b": b, "training_W": W, "training_b": b}
    return arrays | {name: array.astype(arrays[name].dtype) for name, array in given.items()}


def plain_weights(model: LinearModel) -> tuple[Array, Array]:
    """Return W and b of scores W x + b of the features, without an offset.

    They are float64 where the model has an offset: in float32, W x and b would cancel.
    """
    if model.feature_offset is None:
        return model.W, model.b
    W = model.W.astype(np.float64)
    return W, model.b - W @ model.feature_offset
