"""The fits of a path, each from the optimum of a stronger penalty: of all rows, or in folds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.data.joining import training_and_validation
from fastlin.data.splits import check_fold_count, folds_and_outside, note_on_small_classes
from fastlin.errors import InputError, counted, quoted
from fastlin.metrics import Tally, binomial_error
from fastlin.model import LinearModel, weight_penalty
from fastlin.solving.config import LARGEST_L2, FitConfig, inverse_penalty_of
from fastlin.solving.folds import ProblemsOfFolds
from fastlin.solving.path_result import PathFit, PathPoint, best_of
from fastlin.solving.problem import Problem, check_start
from fastlin.solving.shards import ShardPasses
from fastlin.solving.shared import SharedPasses
from fastlin.solving.solution import Solution
from fastlin.solving.solver import Guess, Solver, problem_of
from fastlin.solving.start_matrices import MatricesOfPath
from fastlin.training.measuring import cost_and_tally

# A path goes on at an end that is the best, in steps of its own, by so many penalties at most.
_MOST_BEYOND, _LEAST_BEYOND = 12, 1e-30
_LEAST_RATIO, _FURTHEST_GUESS = 1.01, 10.0

# A bisection begins with so many steps from one end to the other: CLIP's, over twelve decades.
_FIRST_STEPS = 6


class _Fits:
    """The optima of one problem, by penalty."""

    def __init__(self, problem: Problem, config: FitConfig, matrices: MatricesOfPath) -> None:
        self.problem, self._config, self._matrices = problem, config, matrices
        self._found: dict[float, tuple[LinearModel, float]] = {}

    def go_on(self, known: Iterable[tuple[float, LinearModel, float]], first: float) -> None:
        """Take penalties, classifiers and objectives of an earlier call, whose first l2 was that.

        Raises InputError if they are of other features or classes.
        """
        for l2, model, objective in known:
            check_start(model, self.problem)
            self._found[l2] = model, objective
        if self._found:  # the first fit of all began at zero, from which gradients are measured
            matrix = self._matrices.of(first)
            matrix.value(np.zeros(self.problem.shape), matrix.first_dtype)

    def fit(self, l2: float) -> Solution:
        """Fit a penalty from the nearest stronger one, and keep it."""
        stronger = [other for other in self._found if other > l2] or list(self._found)
        nearest = min(stronger, key=lambda other: abs(_decades(other, l2)), default=None)
        start = None if nearest is None else self._found[nearest][0]
        solution = self.solve(l2, start, self._config, self._guess(l2))
        self._found[l2] = solution.model, solution.objective
        return solution

    def solve(
        self, l2: float, start: LinearModel | None, config: FitConfig, guess: Guess | None = None
    ) -> Solution:
        """Return the optimum of a penalty, from a classifier."""
        problem = self.problem
        problem.l2 = l2
        solver = Solver(problem, self._matrices.of(l2), config, time.perf_counter())
        return solver.run(None if start is None else problem.point_of(start), guess)

    def _guess(self, l2: float) -> Guess | None:
        """Return what the optimum may be near to: a point on a line through two that were found.

        The line is over the logarithm of the penalty, with which weights grow where rows are
        separated. It must be better than the nearest optimum itself is for this penalty.
        """
        nearest = sorted(self._found, key=lambda other: abs(_decades(other, l2)))[:2]
        if len(nearest) < 2:
            return None
        near, far = (self.problem.point_of(self._found[other][0]) for other in nearest)
        between = _decades(nearest[1], nearest[0])
        share = _decades(nearest[0], l2) / between if between else math.inf
        if abs(share) > _FURTHEST_GUESS:  # two penalties that are nearly the same
            return None
        model, objective = self._found[nearest[0]]
        most = objective + (l2 - nearest[0]) * length_of_weights(model) ** 2
        return Guess(near + share * (near - far), most)


class Grounds(NamedTuple):
    """What a path is fitted on, and judged by.

    Attributes
    ----------
    fits : tuple[_Fits, ...]
        Of all training rows; or of the rows outside of every fold.
    held : tuple[Callable[[], tuple[Dataset, float]], ...]
        What makes the rows that judge them, and what share of the cost theirs is.
    shared : SharedPasses or None
        The passes of folds.
    rows, held_rows, K : int
        How many training rows there are, of folds in the mean; how many rows judge; and classes.
    notes : tuple[str, ...]
        What a user should know of them, a sentence each.
    """

    fits: tuple[_Fits, ...]
    held: tuple[Callable[[], tuple[Dataset, float]], ...]
    shared: SharedPasses | None
    rows: int
    held_rows: int
    K: int
    notes: tuple[str, ...] = ()

    @classmethod
    def of_split(
        cls, split: Split, config: FitConfig, penalties: Sequence[float], ratio: float,
        workers: ShardPasses | None,
    ) -> Grounds:  # fmt: skip
        """Return the training and validation rows of a split."""
        train, val = split.train, split.val
        assert val is not None  # noqa: S101  (the caller has looked)
        problem = problem_of(train, config, workers)
        matrices = MatricesOfPath(problem, penalties[-1], ratio)
        fits = _Fits(problem, config, matrices)
        return cls(
            (fits,), (lambda: (val, 1.0),), None, *row_counts(split, None), len(train.class_names)
        )

    @classmethod
    def of_folds(
        cls, split: Split, config: FitConfig, penalties: Sequence[float], ratio: float, cv: int,
        workers: ShardPasses | None,
    ) -> Grounds:  # fmt: skip
        """Return all rows that may be learned from, of which every fold is held out once."""
        rows = training_and_validation(split)
        folds, outside = folds_and_outside(rows.y, cv)
        whole, problems, shared = ProblemsOfFolds.of(rows, config, outside, workers)
        of_all = MatricesOfPath(whole, penalties[-1], ratio)
        fits = [
            _Fits(problem, config, MatricesOfPath(problem, penalties[-1], ratio, of_all))
            for problem in problems
        ]
        held = tuple(partial(_fold, rows, folds, fold) for fold in range(cv))
        note = note_on_small_classes(rows.y, rows.class_names, cv)
        notes = () if note is None else (note,)
        return cls(tuple(fits), held, shared, *row_counts(split, cv), len(rows.class_names), notes)


def _fold(rows: Dataset, folds: NDArray[np.int64], fold: int) -> tuple[Dataset, float]:
    """Return the rows of a fold, a copy, and their share of the weights of all rows."""
    own = np.flatnonzero(folds == fold)
    if rows.weights is None:
        return rows.chosen(own), len(own) / len(rows)
    share = float(rows.weights[own].sum() / rows.weights.sum())
    if share == 0:  # they count in no cost, but are predicted as all others
        rows = rows.changed(weights=np.ones(len(rows)))
    return rows.chosen(own), share


def row_counts(split: Split, cv: int | None) -> tuple[int, int]:
    """Return how many rows are fitted, of folds in the mean, and how many judge."""
    val_rows = 0 if split.val is None else len(split.val)
    if cv is None:
        return len(split.train), val_rows
    count = len(split.train) + val_rows
    return round(count * (cv - 1) / cv), count


def ratio_of(penalties: Sequence[float]) -> float:
    """Return the ratio of a penalty to the next one, in which a path goes on."""
    ratio = penalties[0] / penalties[1] if len(penalties) > 1 else 0.0
    return ratio if ratio >= _LEAST_RATIO else 10**0.25  # one, or two that are meant to be one


def check_folds(split: Split, cv: int) -> None:
    """Raise InputError if there are fewer rows than folds, or a class is in one fold alone."""
    names, parts = split.train.class_names, (split.train, split.val)
    labels = np.concatenate([part.y for part in parts if part is not None])
    check_fold_count(len(labels), cv)
    single = np.flatnonzero(np.bincount(labels, minlength=len(names)) == 1).tolist()
    if single:
        raise InputError(
            f"the class {quoted(names[single[0]])} has one row, and so none outside of the fold "
            "that has it; leave the class out, or give validation rows in the place of cv"
        )


class Walk:
    """The fits of one path, each from the optimum of a stronger penalty.

    Parameters
    ----------
    grounds : Grounds
        What is fitted, and what judges.
    config : FitConfig
    penalties : Sequence[float]
        Those planned, from strong to weak.
    ratio : float
        Of a penalty to the next one beyond an end.
    on_fit : Callable or None
        Called after every penalty.
    known : Iterable[PathFit]
        What an earlier call found.
    """

    def __init__(
        self, grounds: Grounds, config: FitConfig, penalties: Sequence[float], ratio: float,
        on_fit: Callable[[PathFit], None] | None, known: Iterable[PathFit],
    ) -> None:  # fmt: skip
        self._grounds, self._config, self._on_fit, self._ratio = grounds, config, on_fit, ratio
        self._known = {fit.point.l2: fit for fit in known}
        for number, fits in enumerate(grounds.fits):
            found = [(l2, *fit.of(number)) for l2, fit in self._known.items()]
            fits.go_on(found, penalties[0])
        self._found: dict[float, PathFit] = {}
        self._left_out: int | None = None  # how many penalties, once patience has ended the path

    @property
    def points(self) -> tuple[PathPoint, ...]:
        """What was found, from the strongest penalty to the weakest."""
        return tuple(self._found[l2].point for l2 in sorted(self._found, reverse=True))

    def down(self, penalties: Sequence[float], select: str, patience: int | None) -> None:
        """Fit penalties in their order, until nothing better comes."""
        for place, l2 in enumerate(penalties, start=1):
            self._fit(l2)
            best = best_of(self.points, select)
            error = binomial_error(best.values["accuracy"], self._grounds.held_rows)
            worse = [
                point
                for point in self.points
                if point.l2 < best.l2 and point.values["accuracy"] < best.values["accuracy"] - error
            ]
            if patience is not None and len(worse) >= patience:
                self._left_out = len(penalties) - place
                return

    def to_the_best(self, penalties: Sequence[float], select: str) -> None:
        """Fit some of the penalties, far apart, then those around the best, ever nearer to it."""
        step = 2 ** int(math.log2(max((len(penalties) - 1) / _FIRST_STEPS, 1)))
        for l2 in penalties[::step]:
            self._fit(l2)
        while step > 1:
            step //= 2
            best = penalties.index(best_of(self.points, select).l2)
            for place in (best - step, best + step):
                if 0 <= place < len(penalties):
                    self._fit(penalties[place])

    def beyond(self, select: str) -> None:
        """Go on while the best is at an end."""
        if len(self._found) < 3:
            return
        for _ in range(_MOST_BEYOND):
            points = self.points
            best = best_of(points, select)
            if best.l2 == points[-1].l2 and self._left_out is None:
                further = best.l2 / self._ratio
            elif best.l2 == points[0].l2:
                further = best.l2 * self._ratio
            else:
                return
            if not _LEAST_BEYOND <= further <= LARGEST_L2:
                return
            self._fit(further)
            name = select.removeprefix("val_")
            if self._found[further].point.values[name] == best.values[name]:
                return  # so it may go on for ever, as where all rows are of one class by then

    def notes(self, best: PathPoint) -> list[str]:
        """Return what a user should know."""
        points = self.points
        found = list(self._grounds.notes)
        if len(points) > 1 and best.l2 in (points[0].l2, points[-1].l2):
            end = "strongest" if best.l2 == points[0].l2 else "weakest"
            found.append(f"the best penalty is the {end} one of the path; try others beyond it")
        if self._left_out:
            found.append(
                f"the path ended {counted(self._left_out, 'step')} early, as its last penalties "
                "were worse than the best by more than a standard error; see patience"
            )
        loose = sum(not point.converged for point in points)
        if loose:
            found.append(
                f"{loose} of {len(points)} fits ended before the gap asked for; see relative_gap"
            )
        return found

    def model_of(self, point: PathPoint) -> LinearModel:
        """Return the classifier of a point, or that of its first fold."""
        return self._found[point.l2].models[0]

    def solution_of(self, point: PathPoint, config: FitConfig) -> Solution:
        """Return the whole solution of a point, from where it ended; its passes are those it took.

        Of their trace nothing is known: a path that was stopped and goes on has no other.
        """
        [fits] = self._grounds.fits
        found = fits.solve(point.l2, self.model_of(point), config)
        return replace(found, passes=point.passes, seconds=point.seconds, trace=())

    def _fit(self, l2: float) -> None:
        if l2 in self._known:
            self._found[l2] = self._known[l2]
            return
        began = time.perf_counter()
        fits, shared = self._grounds.fits, self._grounds.shared
        if shared is None:
            solutions = [one.fit(l2) for one in fits]
        else:
            solutions = shared.run([partial(one.fit, l2) for one in fits])
        point = self._point(solutions, time.perf_counter() - began)
        objectives = tuple(solution.objective for solution in solutions)
        found = PathFit(point, tuple(solution.model for solution in solutions), objectives)
        self._found[l2] = found
        if self._on_fit is not None:
            self._on_fit(found)

    def _point(self, solutions: Sequence[Solution], seconds: float) -> PathPoint:
        """Return what the fits of a penalty are together."""
        grounds, config, l2 = self._grounds, self._config, solutions[0].l2
        judged = TrainConfig(loss=config.loss, l2=l2, class_weight=config.class_weight)
        whole, costs = Tally(grounds.K), 0.0
        for solution, held in zip(solutions, grounds.held, strict=True):
            rows, share = held()
            cost, tally = cost_and_tally(solution.model, rows, judged)
            whole.add(tally)
            costs += share * cost
        return PathPoint(
            l2, inverse_penalty_of(l2, grounds.rows, grounds.K),
            float(np.mean([solution.objective for solution in solutions])),
            max(solution.relative_gap for solution in solutions),
            max(solution.passes for solution in solutions), seconds,
            all(solution.converged for solution in solutions),
            float(np.mean([length_of_weights(solution.model) for solution in solutions])),
            {"cost": costs} | whole.values(),
        )  # fmt: skip


def length_of_weights(model: LinearModel) -> float:
    """Return the length of the weights that were fitted."""
    return math.sqrt(weight_penalty(model.W, 1.0, model.feature_std))


def _decades(l2: float, other: float) -> float:
    """Return the logarithm of a penalty over another, also where float64 cannot hold the ratio."""
    return math.log10(l2) - math.log10(other)
