"""From which matrix the steps of a problem start, and those of a path of penalties."""

from __future__ import annotations

import itertools
import threading
from typing import TypeAlias

from fastlin.solving.curvature import Curvature
from fastlin.solving.hessian import Hessian
from fastlin.solving.problem import Problem

StartMatrix: TypeAlias = Curvature | Hessian

# Parameters, and multiply-adds of a sum over all rows, up to which a step is Newton's: from the
# first on, where it takes less time than passes; and once other steps have not come to the optimum.
_MOST_PARAMETERS, _MOST_WORK = 64, 2**21
_MOST_PARAMETERS_OF_SLOW, _MOST_WORK_OF_SLOW = 1100, 2**28

# A path that goes on to weaker penalties takes second moments anew each time that they are so many
# times weaker.
_RATIO_OF_MATRIX, _ROUNDING = 10.0, 1e-9


def start_matrix_of(
    problem: Problem, l2: float, of_all: StartMatrix | None = None,
    other: StartMatrix | None = None,
) -> StartMatrix:  # fmt: skip
    """Return what steps of a problem start from, for penalties of l2 and above.

    What is known of second moments from the matrix of a problem of more rows is taken over, and the
    sample of rows from another one of this problem.
    """
    if l2 > 0 and _is_small(problem, _MOST_PARAMETERS, _MOST_WORK):
        return Hessian(problem)
    like = of_all if isinstance(of_all, Curvature) else None
    return Curvature(problem, l2, like, other.sample if isinstance(other, Curvature) else None)


def hessian_of_slow(problem: Problem) -> Hessian | None:
    """Return what steps go on with that were many without an end; None where it is too large."""
    if problem.l2 > 0 and _is_small(problem, _MOST_PARAMETERS_OF_SLOW, _MOST_WORK_OF_SLOW):
        return Hessian(problem)
    return None


def _is_small(problem: Problem, most_parameters: int, most_work: int) -> bool:
    parameters = problem.shape[0] * problem.shape[1]
    return parameters <= most_parameters and problem.counting_rows * parameters**2 <= most_work


class MatricesOfPath:
    """The start matrices of a path: one for the penalties planned, others for weaker ones beyond.

    Which one serves a penalty depends on no other penalty that was fitted, so that a path has the
    same bits where it was stopped and goes on.

    Parameters
    ----------
    problem : Problem
        Whose optima the path goes through.
    least : float
        The least penalty planned.
    ratio : float
        Of each penalty beyond to the next one, above 1.
    of_all : MatricesOfPath, optional
        Those of a problem of more rows, whose second moments are taken over.
    """

    def __init__(
        self, problem: Problem, least: float, ratio: float, of_all: MatricesOfPath | None = None
    ) -> None:  # fmt: skip
        self._problem, self._planned, self._step = problem, least, max(ratio, _RATIO_OF_MATRIX)
        self._matrices: list[StartMatrix] = []
        self._of_all, self._lock = of_all, threading.Lock()

    def of(self, l2: float) -> StartMatrix:
        """Return the start matrix that serves a penalty; of threads that ask, one makes it."""
        with self._lock:
            return self._of(l2)

    def _of(self, l2: float) -> StartMatrix:
        least = self._planned
        for place in itertools.count():
            if place == len(self._matrices):
                of_all = None if self._of_all is None else self._of_all.of(least)
                other = self._matrices[0] if self._matrices else None
                self._matrices.append(start_matrix_of(self._problem, least, of_all, other))
            found = self._matrices[place]
            if found.is_complete or l2 >= (1 - _ROUNDING) * least:
                return found
            least /= self._step
        raise AssertionError("places are counted for ever")
