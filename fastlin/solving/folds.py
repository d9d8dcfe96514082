"""The problems of folds: the same rows, of which each counts some, with one pass for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import Dataset
from fastlin.solving.config import FitConfig
from fastlin.solving.problem import Problem
from fastlin.solving.shared import SharedPasses, SharedPassesElsewhere
from fastlin.solving.solver import problem_of


class ProblemsOfFolds(NamedTuple):
    """The problem of all rows, those of the folds, and the passes that these share.

    Rows are not copied: those that a fold holds out have the weight 0 in its problem. Second
    moments may be those of all rows, which a start matrix has no need to know better.
    """

    whole: Problem
    problems: list[Problem]
    shared: SharedPasses

    @classmethod
    def of(
        cls, rows: Dataset, config: FitConfig, counting: Sequence[NDArray[np.int64]],
        workers: SharedPassesElsewhere | None = None,
    ) -> ProblemsOfFolds:  # fmt: skip
        """Return those of folds, by the numbers of the rows that count in each, one at least.

        Workers may take their passes.

        Raises InputError if a class has no row that counts in one of them.
        """
        whole = problem_of(rows, config)
        problems = [problem_of(rows, config, counting=own) for own in counting]
        weights = [problem.weights for problem in problems if problem.weights is not None]
        shared = SharedPasses(rows, config.loss, weights, whole.reading, workers)
        for number, problem in enumerate(problems):
            problem.workers = shared.of(number)
        return cls(whole, problems, shared)
