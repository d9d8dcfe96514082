"""The optima of several settings on the same rows: what is known of the rows is found once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import Dataset, Split, check_fits
from fastlin.solving.blas import one_thread
from fastlin.solving.config import FitConfig
from fastlin.solving.folds import ProblemsOfFolds
from fastlin.solving.problem import Point, Problem
from fastlin.solving.solution import Progress, Solution
from fastlin.solving.solver import Solver, problem_of
from fastlin.solving.start_matrices import StartMatrix, start_matrix_of
from fastlin.threads import use_threads


def solve_in_turn(
    data: Dataset,
    configs: Sequence[FitConfig],
    *,
    threads: int | None = None,
    progress: Callable[[int, Progress], None] | None = None,
) -> list[Solution]:
    """Return the optimum of every configuration; fits go from strong to weak penalties.

    Each fit begins at the optimum of the one before, and ends at the gap of its own configuration,
    as `fastlin.solve` does. They have one start matrix, of the weakest penalty.

    Parameters
    ----------
    data : Dataset
        The rows.
    configs : Sequence[FitConfig]
        At least one; they may differ in l2 or C, `gap` and `max_passes`.
    threads : int, optional
        As in `fastlin.solve`.
    progress : Callable, optional
        Called after every step, with the number of the configuration.

    Returns
    -------
    list[Solution]
        In the order of the configurations. The seconds of each are its own, without those of the
        start matrix.

    Raises
    ------
    InputError
        If a class has no rows, or a value is beyond float32.
    """
    check_fits(Split("rows", data), np.float32)
    penalties = _penalties(configs, len(data), data)
    with use_threads(threads), one_thread():
        problem = problem_of(data, configs[0])
        curvature = start_matrix_of(problem, min(penalties))
        return _in_turn(problem, curvature, configs, penalties, progress)


def solve_in_folds(
    data: Dataset,
    counting: Sequence[NDArray[np.int64]],
    configs: Sequence[Sequence[FitConfig]],
    *,
    threads: int | None = None,
    progress: Callable[[int, Progress], None] | None = None,
) -> list[list[Solution]]:
    """Do `solve_in_turn` for the rows of every fold, in passes that all folds share.

    Parameters
    ----------
    data : Dataset
        The rows.
    counting : Sequence[NDArray[np.int64]]
        Of every fold the numbers of the rows that are fitted, each once.
    configs : Sequence[Sequence[FitConfig]]
        Of every fold, as many.
    threads, progress
        As in `solve_in_turn`; progress tells of the configurations of all folds.

    Returns
    -------
    list[list[Solution]]
        Of every fold, in the order of its configurations.

    Raises
    ------
    InputError
        As `solve_in_turn` does.
    """
    check_fits(Split("rows", data), np.float32)
    penalties = [
        _penalties(own, len(rows), data) for own, rows in zip(configs, counting, strict=True)
    ]
    with use_threads(threads), one_thread():
        whole, problems, shared = ProblemsOfFolds.of(data, configs[0][0], counting)
        of_all = start_matrix_of(whole, min(map(min, penalties)))
        fits = []
        for problem, own, of_fold in zip(problems, configs, penalties, strict=True):
            curvature = start_matrix_of(problem, min(of_fold), of_all)
            fits.append(partial(_in_turn, problem, curvature, own, of_fold, progress))
        return shared.run(fits)


def _penalties(configs: Sequence[FitConfig], row_count: int, data: Dataset) -> list[float]:
    """Return the penalty of every configuration, for so many rows of the classes of data."""
    return [config.penalty_factor(row_count, len(data.class_names)) for config in configs]


def _in_turn(
    problem: Problem, curvature: StartMatrix, configs: Sequence[FitConfig],
    penalties: Sequence[float], progress: Callable[[int, Progress], None] | None,
) -> list[Solution]:  # fmt: skip
    """Return the optimum of every configuration, from strong to weak penalties."""
    found: dict[int, Solution] = {}
    start: Point | None = None
    for number in sorted(range(len(configs)), key=lambda e: -penalties[e]):
        problem.l2 = penalties[number]
        tell = None if progress is None else partial(progress, number)
        solver = Solver(problem, curvature, configs[number], time.perf_counter(), tell)
        found[number] = solver.run(start)
        start = problem.point_of(found[number].model)
    return [found[number] for number in range(len(configs))]
