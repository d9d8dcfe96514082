"""What estimators do in `fit`: an exact fit, or epochs of SGD, of rows and parameters."""

from __future__ import annotations

import sys
import warnings
from typing import Any, NamedTuple

from sklearn.exceptions import ConvergenceWarning

from fastlin.data.dataset import Dataset
from fastlin.estimators.parameters import fit_config, penalty_of_solver
from fastlin.history import History
from fastlin.losses import Loss
from fastlin.model import LinearModel
from fastlin.solving.solver import Progress, Solution, solve


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


def exact_fit(
    data: Dataset, weight_sum: float, parameters: dict[str, Any], loss: Loss,
    start: LinearModel | None,
) -> Fitted:  # fmt: skip
    """Return the optimum, with a warning if it was not reached."""
    l2 = penalty_of_solver(parameters, weight_sum, len(data.class_names))
    config = fit_config(parameters, loss, l2)

    def tell(step: Progress) -> None:
        sys.stdout.write(
            f"pass {step.passes}: objective {step.objective:.9g}, relative gap {step.gap:.2g}\n"
        )

    solution = solve(
        data, config=config, start=start, threads=parameters["n_threads"],
        progress=tell if parameters["verbose"] else None,
    )  # fmt: skip
    if not solution.converged:
        warnings.warn(_not_converged(solution), ConvergenceWarning, stacklevel=4)
    return Fitted(solution.model, solution.passes, solution.relative_gap, solution.trace)


def _not_converged(solution: Solution) -> str:
    """Return why an exact fit ended before its tolerance, in the words of an estimator."""
    if solution.l2 == 0:
        return str(solution.note)
    way_out = "raise max_iter or tol"
    if solution.passes < solution.config.max_passes - 2:
        way_out = "float64 has no digits left for a smaller gap: raise tol, or lower C"
    return (
        f"the fit ended after {solution.passes} passes at a relative gap of "
        f"{solution.relative_gap:.2g}, above tol {solution.config.gap:g}; {way_out}"
    )
