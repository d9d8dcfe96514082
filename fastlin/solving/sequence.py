"""The optima of several settings on the same rows: what is known of the rows is found once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from fastlin.data.dataset import Dataset, Split, check_fits
from fastlin.solving.blas import one_thread
from fastlin.solving.config import FitConfig
from fastlin.solving.problem import Point
from fastlin.solving.solution import Progress, Solution
from fastlin.solving.solver import Solver, problem_of
from fastlin.solving.start_matrices import start_matrix_of
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
    counts = len(data), len(data.class_names)
    penalties = [config.penalty_factor(*counts) for config in configs]
    found: dict[int, Solution] = {}
    with use_threads(threads), one_thread():
        problem = problem_of(data, configs[0])
        curvature = start_matrix_of(problem, min(penalties))
        start: Point | None = None
        for number in sorted(range(len(configs)), key=lambda e: -penalties[e]):
            problem.l2 = penalties[number]
            tell = None if progress is None else _of_number(progress, number)
            solver = Solver(problem, curvature, configs[number], time.perf_counter(), tell)
            found[number] = solver.run(start)
            start = problem.point_of(found[number].model)
    return [found[number] for number in range(len(configs))]


def _of_number(
    progress: Callable[[int, Progress], None], number: int
) -> Callable[[Progress], None]:
    """Return a function of a step alone."""
    return lambda step: progress(number, step)
