"""What a path of penalties found, and which of them is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastlin.metrics import binomial_error, is_better_high
from fastlin.model import LinearModel
from fastlin.solving.config import FitConfig
from fastlin.solving.solution import Solution


class PathPoint(NamedTuple):
    """The optimum of one penalty; or its optima on the rows outside of every fold.

    Attributes
    ----------
    l2, C : float
        The penalty, and the same as scikit-learn's C over the training rows.
    objective, relative_gap, passes, seconds, converged
        As in `Solution`. Of folds, the mean objective, the largest gap, the most passes, the
        seconds of all, and whether all converged.
    weight_norm : float
        The length of the weights that were fitted; of folds the mean.
    values : dict[str, float]
        Of validation rows, by name: the cost, and all metrics of `fastlin.metrics`. Of folds they
        are of all rows, each predicted by the classifier that has not seen it.
    """

    l2: float
    C: float
    objective: float
    relative_gap: float
    passes: int
    seconds: float
    converged: bool
    weight_norm: float
    values: dict[str, float]


class PathFit(NamedTuple):
    """A point of a path with its classifiers: one, or one of every fold.

    Attributes
    ----------
    point : PathPoint
    models : tuple[LinearModel, ...]
    objectives : tuple[float, ...]
        Of each.
    """

    point: PathPoint
    models: tuple[LinearModel, ...]
    objectives: tuple[float, ...]

    def of(self, number: int) -> tuple[LinearModel, float]:
        """Return the classifier of a fold, and its objective."""
        return self.models[number], self.objectives[number]


@dataclass(frozen=True, eq=False)
class PathResult:
    """The optima of many penalties, and which of them is the best on validation rows.

    Attributes
    ----------
    points : tuple[PathPoint, ...]
        From the strongest penalty to the weakest.
    select : str
        By which measure of validation rows the best is chosen, as in ``fastlin.train``.
    config : FitConfig
        The settings, with the l2 of the best.
    solution : Solution
        Of the best penalty: on the training rows, or after a refit on those and validation rows.
    refit : bool
        Whether it is of a refit.
    rows : int
        Of training, by which C and l2 are each other's words; outside of a fold, in the mean.
    validation_rows : int
        How many there are; of folds, all rows.
    notes : tuple[str, ...]
        What a user should know, a sentence each.
    cv : int or None
        In how many folds rows were held out; None for validation rows.
    """

    points: tuple[PathPoint, ...]
    select: str
    config: FitConfig
    solution: Solution
    refit: bool
    rows: int
    validation_rows: int
    notes: tuple[str, ...] = ()
    cv: int | None = None

    @property
    def model(self) -> LinearModel:
        """The classifier of the best penalty."""
        return self.solution.model

    @property
    def best(self) -> PathPoint:
        """The best point; of equals the one with the strongest penalty."""
        return best_of(self.points, self.select)

    @property
    def one_error(self) -> PathPoint:
        """The strongest penalty whose accuracy is within a standard error of that of the best."""
        return one_error_of(self.points, self.select, self.validation_rows)

    def __repr__(self) -> str:
        best, name = self.best, self.select.removeprefix("val_")
        return (
            f"PathResult({len(self.points)} penalties, best l2 {best.l2:.3g} (C {best.C:.3g}): "
            f"{self.select} {best.values[name]:.4g})"
        )


def best_of(points: Sequence[PathPoint], select: str) -> PathPoint:
    """Return the best point by a measure of validation rows, the first of equals."""
    name, sign = select.removeprefix("val_"), 1 if is_better_high(select) else -1
    return max(points, key=lambda point: (sign * point.values[name], point.l2))


def one_error_of(points: Sequence[PathPoint], select: str, val_rows: int) -> PathPoint:
    """Return the strongest penalty within a standard error of the best, by its accuracy.

    It is never weaker than the best, by whatever measure that is chosen.
    """
    best = best_of(points, select)
    accuracy = best.values["accuracy"]
    least = accuracy - binomial_error(accuracy, val_rows)
    near = [one for one in points if one.l2 >= best.l2 and one.values["accuracy"] >= least]
    return max(near, key=lambda point: point.l2)
