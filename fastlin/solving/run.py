"""An exact fit as a run: what every command that takes a run folder takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastlin import files
from fastlin.config import Precision, TrainConfig
from fastlin.data.dataset import Split
from fastlin.fitting import Fitting
from fastlin.history import EpochRecord, History
from fastlin.solving.config import inverse_penalty_of
from fastlin.solving.solver import Solution
from fastlin.threads import use_threads
from fastlin.training.evaluation import evaluate_matched
from fastlin.training.grid import Seconds
from fastlin.training.trainer import TrainResult

TABLE = "passes.csv"


@dataclass(frozen=True, eq=False)
class ExactFit:
    """A solution with what it reaches: a study of one fit (`fastlin.summaries.Study`).

    Attributes
    ----------
    solution : Solution
        What `fastlin.solve` returned.
    rows : int
        On how many rows.
    result : TrainResult
        The same as a run whose one epoch is the whole fit.
    """

    solution: Solution
    rows: int
    result: TrainResult

    @classmethod
    def of(cls, solution: Solution, split: Split, threads: int | None = None) -> ExactFit:
        """Return it, evaluated on the training and validation rows of the split it is of."""
        model, config = solution.model, solution.config
        trained = TrainConfig(
            loss=config.loss, l2=solution.l2, standardize=config.standardize, epochs=1,
            class_weight=config.class_weight, dtype=Precision(str(model.W.dtype)),
        )  # fmt: skip
        values = [math.nan] * 4
        with use_threads(threads):
            for place, data in ((0, split.train), (2, split.val)):
                if data is not None:
                    found = evaluate_matched(model, data, trained)
                    values[place : place + 2] = found.cost, found.accuracy
        history = History.from_records([EpochRecord(1, 0.0, *values)])  # no learning rate is used
        seconds = Seconds(train=solution.seconds)
        result = TrainResult(trained, history, model, model, seconds)
        return cls(solution, len(split.train), result)

    @property
    def fitting(self) -> Fitting:
        """That it is exact, and how."""
        config = self.solution.config
        return Fitting(gap=config.gap, fit_intercept=config.fit_intercept)

    def fitted_on(self, split: Split) -> Split:
        """Return the split itself, whose training rows it is fitted on."""
        return split

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says of it: plain JSON values."""
        solution = self.solution
        numbers = {
            "objective": solution.objective,
            "gap": solution.gap,
            "relative_gap": solution.relative_gap,
            "gradient_norm": solution.gradient_norm,
            "l2": solution.l2,
            "C": inverse_penalty_of(solution.l2, self.rows, len(solution.model.b)),
        }
        known = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {
            "exact_fit": known
            | {
                "passes": solution.passes,
                "seconds": solution.seconds,
                "converged": solution.converged,
                "note": solution.note,
            }
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write objective and gap after every step as passes.csv, and return the file in a list.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        path = files.as_path(folder) / TABLE
        rows = [
            [value if math.isfinite(value) else None for value in step]
            for step in self.solution.trace
        ]
        files.save_csv(path, ["passes", "objective", "relative_gap", "seconds"], rows)
        return [path]
