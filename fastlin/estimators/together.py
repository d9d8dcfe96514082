"""Fits of many estimators on the same rows, together where their parameters allow it.

Exact fits that differ in the penalty are one path from strong to weak, with one start matrix.
Epochs of SGD pass the rows through the caches once for many estimators.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset
from fastlin.errors import DivergedError
from fastlin.estimators import fits, parameters
from fastlin.estimators.base import LinearClassifier
from fastlin.estimators.fits import Fitted, Patience
from fastlin.estimators.parameters import SolverName
from fastlin.losses import Loss
from fastlin.solving.config import FitConfig
from fastlin.solving.sequence import solve_in_folds, solve_in_turn
from fastlin.solving.solution import Progress
from fastlin.training.grid import GridTrainer


class Outcome(NamedTuple):
    """What came of an estimator.

    Attributes
    ----------
    seconds : float
        Its time; what was done for several at once is divided by their number.
    error : ValueError or None
        Why it could not be fitted.
    """

    seconds: float
    error: ValueError | None = None


class _Member(NamedTuple):
    """An estimator, its parameters as Python values, its loss, and the seed of SGD."""

    estimator: LinearClassifier
    chosen: dict[str, Any]
    loss: Loss
    seed: int


def fit_together(
    estimators: Sequence[LinearClassifier],
    X: NDArray[Any],
    y: NDArray[Any],
    weights: NDArray[np.float64] | None,
    threads: int | None,
) -> list[Outcome]:
    """Fit estimators on the same rows; each finds what its own `fit` would find.

    Exact fits agree within their `tol`; those of SGD have the same bits.

    Parameters
    ----------
    estimators : Sequence[LinearClassifier]
        New ones, that have no fit to go on from.
    X, y : NDArray
        (n, d) rows and (n,) labels, as `LinearClassifier` checks them.
    weights : NDArray[np.float64] or None
        (n,) weights of the rows.
    threads : int or None
        None for `n_threads` of each.

    Returns
    -------
    list[Outcome]
        In the order of the estimators.
    """
    found: dict[int, Outcome] = {}
    groups: dict[tuple[Any, ...], dict[int, _Member]] = {}
    for number, estimator in enumerate(estimators):
        try:
            member = _member(estimator, threads)
        except ValueError as error:
            found[number] = Outcome(0.0, error)
        else:
            groups.setdefault(_key(member), {})[number] = member
    for members in groups.values():
        found |= _fit_group(members, X, y, weights)
    return [found[number] for number in range(len(estimators))]


def fit_in_folds(
    estimators: Sequence[Sequence[LinearClassifier]],
    X: NDArray[Any],
    y: NDArray[Any],
    weights: NDArray[np.float64] | None,
    folds: Sequence[NDArray[np.int64]],
    threads: int | None,
) -> list[list[Outcome]] | None:
    """Fit the estimators of every fold on its rows, in passes over all rows that folds share.

    Exact fits alone can, that differ in the penalty, `tol` and `max_iter`. Rows are not copied.

    Parameters
    ----------
    estimators : Sequence[Sequence[LinearClassifier]]
        Of every fold, the same candidates.
    X, y, weights, threads
        As in `fit_together`.
    folds : Sequence[NDArray[np.int64]]
        Of every fold the numbers of its rows.

    Returns
    -------
    list[list[Outcome]] or None
        None where folds cannot share passes: each is then fitted by itself.
    """
    began = time.perf_counter()
    try:
        members = [[_member(one, threads) for one in of_fold] for of_fold in estimators]
        classes, numbers = fits.numbered(y)
        counting = [rows if weights is None else rows[weights[rows] > 0] for rows in folds]
        if not _can_share(members, len(classes), numbers, counting):
            return None
        data = members[0][0].estimator._all_rows(X, numbers, classes, weights)
        sums = [float(len(rows) if weights is None else weights[rows].sum()) for rows in folds]
        configs = [
            [_exact_config(member, weight_sum, len(classes)) for member in of_fold]
            for of_fold, weight_sum in zip(members, sums, strict=True)
        ]
    except ValueError:  # what is wrong is said of the fit that it is wrong in
        return None

    def tell(number: int, step: Progress) -> None:
        if members[0][number].chosen["verbose"]:
            fits.write_step(step, configs[0][number].penalty_factor(len(data), len(classes)))

    with fits.compiling():
        solutions = solve_in_folds(
            data, counting, configs, threads=members[0][0].chosen["n_threads"], progress=tell
        )
    for of_fold, found in zip(members, solutions, strict=True):
        for member, solution in zip(of_fold, found, strict=True):
            member.estimator._keep(fits.of_solution(solution), classes)
    count = len(folds) * len(members[0])
    outcome = Outcome((time.perf_counter() - began) / count)
    return [[outcome] * len(of_fold) for of_fold in members]


def _can_share(
    members: Sequence[Sequence[_Member]], class_count: int, numbers: NDArray[np.int64],
    counting: Sequence[NDArray[np.int64]],
) -> bool:  # fmt: skip
    """Return whether estimators of folds can share passes, of whose rows these count."""
    every = [member for of_fold in members for member in of_fold]
    first = every[0].chosen
    if len({_key(member) for member in every}) > 1 or len(counting) < 2:
        return False
    if first["solver"] is not SolverName.EXACT or first["class_weight"] is not None:
        return False
    return all(
        np.bincount(rows, minlength=len(numbers)).max() <= 1
        and np.bincount(numbers[rows], minlength=class_count).min() > 0
        for rows in counting
    )


def _member(estimator: LinearClassifier, threads: int | None) -> _Member:
    """Return an estimator with its parameters. Raises ValueError if they do not fit."""
    chosen = parameters.checked(estimator.get_params(deep=False))
    if threads is not None:
        chosen["n_threads"] = threads
    seed = estimator._seed() if chosen["solver"] is SolverName.SGD else 0
    return _Member(estimator, chosen, estimator._loss(), seed)


def _key(member: _Member) -> tuple[Any, ...]:
    """Return what estimators must have in common to be fitted together."""
    chosen = member.chosen
    names = ("solver", "n_threads", "standardize")
    shared = (*(chosen[name] for name in names), repr(chosen["class_weight"]))
    if chosen["solver"] is SolverName.EXACT:
        return (*shared, member.loss, chosen["fit_intercept"])
    if chosen["early_stopping"]:  # rows are held out
        return (*shared, chosen["validation_fraction"], member.seed)
    return shared


def _fit_group(
    members: Mapping[int, _Member], X: NDArray[Any], y: NDArray[Any],
    weights: NDArray[np.float64] | None,
) -> dict[int, Outcome]:  # fmt: skip
    """Fit the estimators of a group; return their outcomes by number."""
    began = time.perf_counter()
    first = next(iter(members.values()))
    found: dict[int, Outcome] = {}
    ready: dict[int, tuple[_Member, Any]] = {}
    try:
        classes, numbers = fits.numbered(y)
        data, weight_sum = first.estimator._dataset(X, numbers, classes, weights)
        for number, member in members.items():
            try:
                ready[number] = member, _config(member, weight_sum, len(classes))
            except ValueError as error:
                found[number] = Outcome(0.0, error)
        fit = _fit_path if first.chosen["solver"] is SolverName.EXACT else _train_grid
        with fits.compiling():
            fitted, own_seconds = fit(list(ready.values()), data) if ready else ([], [])
    except ValueError as error:
        seconds = (time.perf_counter() - began) / len(members)
        return dict.fromkeys(members, Outcome(seconds, error))
    shared = (time.perf_counter() - began - sum(own_seconds)) / max(len(ready), 1)
    for number, one, seconds in zip(ready, fitted, own_seconds, strict=True):
        if isinstance(one, Fitted):
            members[number].estimator._keep(one, classes)
        found[number] = Outcome(shared + seconds, None if isinstance(one, Fitted) else one)
    return found


def _config(member: _Member, weight_sum: float, class_count: int) -> FitConfig | TrainConfig:
    """Return the settings of a fit. Raises InputError if a value does not fit."""
    if member.chosen["solver"] is SolverName.EXACT:
        return _exact_config(member, weight_sum, class_count)
    l2 = parameters.penalty_of_solver(member.chosen, weight_sum, class_count)
    return parameters.train_config(member.chosen, member.loss, l2, member.seed)


def _exact_config(member: _Member, weight_sum: float, class_count: int) -> FitConfig:
    """Return the settings of an exact fit. Raises InputError if a value does not fit."""
    l2 = parameters.penalty_of_solver(member.chosen, weight_sum, class_count)
    return parameters.fit_config(member.chosen, member.loss, l2)


def _fit_path(
    ready: Sequence[tuple[_Member, FitConfig]], data: Dataset
) -> tuple[list[Fitted | ValueError], list[float]]:
    """Return exact fits, and the seconds of each."""
    members, configs = zip(*ready, strict=True)

    def tell(number: int, step: Progress) -> None:
        if members[number].chosen["verbose"]:
            fits.write_step(step, configs[number].l2)

    threads = members[0].chosen["n_threads"]
    solutions = solve_in_turn(data, configs, threads=threads, progress=tell)
    return [fits.of_solution(one) for one in solutions], [one.seconds for one in solutions]


def _train_grid(
    ready: Sequence[tuple[_Member, TrainConfig]], data: Dataset
) -> tuple[list[Fitted | ValueError], list[float]]:
    """Return what epochs of SGD found, or why an estimator has none; all seconds are shared."""
    first = ready[0][0]
    split = fits.split_of(data, first.chosen, first.seed)
    trainer = GridTrainer(split, [config for _, config in ready], first.chosen["n_threads"])
    for note in trainer.notes:
        warnings.warn(note, stacklevel=6)
    trainer.compile()
    errors = _run_epochs(trainer, [member for member, _ in ready])
    fitted: list[Fitted | ValueError] = []
    for number, (member, _) in enumerate(ready):
        if number in errors:
            fitted.append(fits.diverged(errors[number]))
            continue
        history = trainer.history(number)
        model = (trainer.best_model if first.chosen["early_stopping"] else trainer.model)(number)
        member.estimator._trained = trainer.configs[number]
        fitted.append(Fitted(model, len(history), None, history))
    return fitted, [0.0] * len(ready)


def _run_epochs(trainer: GridTrainer, members: Sequence[_Member]) -> dict[int, DivergedError]:
    """Train every estimator to its last epoch; return the errors of those that diverged."""
    patience = [Patience(member.chosen) for member in members]
    errors: dict[int, DivergedError] = {}
    active = list(range(len(members)))
    while active:
        going_on = []
        evaluated = [
            number
            for number in active
            if fits.evaluates_epochs(members[number].chosen)
            or trainer.epochs_done(number) + 1 == trainer.configs[number].epochs
        ]
        for number, outcome in trainer.run_epoch(active, evaluated).items():
            if isinstance(outcome, DivergedError):
                errors[number] = outcome
                continue
            if members[number].chosen["verbose"]:
                fits.write_epoch(outcome)
            is_last = outcome.epoch >= trainer.configs[number].epochs
            if not patience[number].is_over(outcome) and not is_last:
                going_on.append(number)
        active = going_on
    return errors
