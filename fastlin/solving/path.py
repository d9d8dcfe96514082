"""The optima of many penalties, from strong to weak, and the one that validation rows choose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastlin.config import TrainConfig
from fastlin.data.dataset import Split, check_fits, check_split
from fastlin.data.joining import training_and_validation
from fastlin.errors import InputError
from fastlin.metrics import binomial_error
from fastlin.model import LinearModel, weight_penalty
from fastlin.settings import AUTO
from fastlin.solving.blas import one_thread
from fastlin.solving.config import (
    DEFAULT_CS,
    LARGEST_L2,
    FitConfig,
    PathPlan,
    inverse_penalty_of,
    penalties,
    penalty_of,
    settings_of_path,
)
from fastlin.solving.path_result import PathPoint, PathResult, best_of
from fastlin.solving.problem import Problem
from fastlin.solving.shards import ShardPasses
from fastlin.solving.solution import Solution
from fastlin.solving.solver import Guess, Solver, check_start, problem_of, solve
from fastlin.solving.start_matrices import MatricesOfPath
from fastlin.threads import use_threads
from fastlin.training.measuring import cost_and_tally
from fastlin.training.selection import check_can_select

# A path goes on at an end that is the best, in steps of its own, by so many penalties at most.
_MOST_BEYOND, _LEAST_BEYOND = 12, 1e-30
_LEAST_RATIO, _FURTHEST_GUESS = 1.01, 10.0

# A bisection begins with so many steps from one end to the other: CLIP's, over twelve decades.
_FIRST_STEPS = 6


def path(
    split: Split,
    config: FitConfig | None = None,
    *,
    l2s: Iterable[float] | None = None,
    Cs: Iterable[float] | None = None,
    select: str = "val_accuracy",
    patience: int | None = None,
    refit: bool = False,
    threads: int | None = None,
    on_point: Callable[[PathPoint], None] | None = None,
    client: Any = None,
    **settings: Any,
) -> PathResult:
    """Fit the optima of many penalties, and choose one by validation rows.

    Every fit begins at the optimum of the next stronger penalty. Where the best is the first or the
    last of three or more penalties, the path goes on beyond it.

    Parameters
    ----------
    split : Split
        With training and validation rows; the test rows are not touched.
    config, threads, **settings
        As in `solve`, but for l2 and C.
    l2s, Cs : Iterable[float], optional
        The penalties, above 0, in either unit; by default 45 values of C from 1e-6 to 1e5.
    select : str
        The measure of validation rows, as in `fastlin.train`.
    patience : int, optional
        Go no further after so many penalties that were worse than the best by more than a standard
        error of the accuracy; by default all are fitted.
    refit : bool
        Fit the best penalty again, on training and validation rows: with the same l2 if l2s are
        given, else with the same C.
    on_point : Callable, optional
        Called after every penalty.
    client : distributed.Client, optional
        As in `solve`.

    Returns
    -------
    PathResult

    Raises
    ------
    InputError
        If there are no validation rows, or an argument does not fit, as l2 and C do not.
    """
    chosen = settings_of_path(config, settings)
    plan = PathPlan(penalties("l2s", l2s), penalties("Cs", Cs), select, patience, refit)

    def tell(point: PathPoint, _: LinearModel) -> None:
        if on_point is not None:
            on_point(point)

    return fit_path(split, chosen, plan, threads=threads, on_fit=tell, client=client)


def fit_path(
    split: Split,
    config: FitConfig,
    plan: PathPlan,
    *,
    threads: int | None = None,
    on_fit: Callable[[PathPoint, LinearModel], None] | None = None,
    known: Iterable[tuple[PathPoint, LinearModel]] = (),
    client: Any = None,
) -> PathResult:
    """Fit the optima of many penalties, and choose one, as a plan says.

    Parameters
    ----------
    split, config, threads, client
        As in `path`.
    plan : PathPlan
        Which penalties, and how one is chosen.
    on_fit : Callable, optional
        Called after every penalty, with its point and its classifier.
    known : Iterable[tuple[PathPoint, LinearModel]]
        What an earlier call that was stopped gave to `on_fit`. These penalties are not fitted
        again, and all others are as if that call had gone on.

    Raises
    ------
    InputError
        As `path` does, or if what is known is of other features or classes.
    """
    _check(split, config, plan)
    penalties = _penalties(plan, _counts(split))
    with use_threads(threads), one_thread():
        workers = ShardPasses.of(client, split, config)
        walk = _Walk(split, config, penalties, on_fit, known, workers)
        if plan.bisect:
            walk.to_the_best(penalties, plan.select)
        else:
            walk.down(penalties, plan.select, plan.patience)
        if plan.extend:
            walk.beyond(plan.select)
        points = walk.points
        best = best_of(points, plan.select)
        chosen = replace(config, l2=best.l2, C=FitConfig().C)
        solution = walk.solution_of(best, chosen)
    if plan.refit:
        again = chosen if plan.l2s is not None else replace(config, l2=AUTO, C=best.C)
        solution = solve(training_and_validation(split), config=again, threads=threads)
    counts = len(split.train), 0 if split.val is None else len(split.val)
    notes = tuple(walk.notes(best))
    return PathResult(points, plan.select, chosen, solution, plan.refit, *counts, notes)


def _check(split: Split, config: FitConfig, plan: PathPlan) -> None:
    """Raise InputError if a plan cannot be carried out on a split."""
    check_split(split)
    if split.val is None:
        raise InputError(
            f"{split.name} has no validation rows to choose a penalty by; hold rows out "
            "(val_fraction)"
        )
    check_can_select(split, plan.select, [config.loss])
    check_fits(split, np.float32)  # last, as it reads all rows


def _penalties(plan: PathPlan, counts: tuple[int, int]) -> list[float]:
    """Return penalties from strong to weak, each once."""
    if plan.l2s is not None:
        return sorted(set(plan.l2s), reverse=True)
    Cs = DEFAULT_CS if plan.Cs is None else plan.Cs
    return sorted({penalty_of(C, *counts) for C in Cs}, reverse=True)


def _counts(split: Split) -> tuple[int, int]:
    """Return how many training rows and classes there are."""
    return len(split.train), len(split.train.class_names)


class _Walk:
    """The fits of one path, each from the optimum of a stronger penalty."""

    def __init__(
        self, split: Split, config: FitConfig, penalties: Sequence[float],
        on_fit: Callable[[PathPoint, LinearModel], None] | None,
        known: Iterable[tuple[PathPoint, LinearModel]], workers: ShardPasses | None,
    ) -> None:  # fmt: skip
        self._split, self._config, self._on_fit = split, config, on_fit
        self._problem: Problem = problem_of(split.train, config, workers)
        self._known = {point.l2: (point, model) for point, model in known}
        for _, model in self._known.values():
            check_start(model, self._problem)
        self._ratio = penalties[0] / penalties[1] if len(penalties) > 1 else 0.0
        if self._ratio < _LEAST_RATIO:  # one penalty, or two that are meant to be one
            self._ratio = 10**0.25
        self._matrices = MatricesOfPath(self._problem, penalties[-1], self._ratio)
        if self._known:  # the first fit of all began at zero, from which gradients are measured
            first = self._matrices.of(penalties[0])
            first.value(np.zeros(self._problem.shape), first.first_dtype)
        self._found: dict[float, tuple[PathPoint, LinearModel]] = {}
        self._cut = False

    @property
    def points(self) -> tuple[PathPoint, ...]:
        """What was found, from the strongest penalty to the weakest."""
        return tuple(self._found[l2][0] for l2 in sorted(self._found, reverse=True))

    def down(self, penalties: Sequence[float], select: str, patience: int | None) -> None:
        """Fit penalties in their order, until nothing better comes."""
        assert self._split.val is not None  # noqa: S101  (the caller has looked)
        for l2 in penalties:
            self._fit(l2)
            best = best_of(self.points, select)
            error = binomial_error(best.values["accuracy"], len(self._split.val))
            worse = [
                point
                for point in self.points
                if point.l2 < best.l2 and point.values["accuracy"] < best.values["accuracy"] - error
            ]
            if patience is not None and len(worse) >= patience:
                self._cut = True
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
            if best.l2 == points[-1].l2 and not self._cut:
                further = best.l2 / self._ratio
            elif best.l2 == points[0].l2:
                further = best.l2 * self._ratio
            else:
                return
            if not _LEAST_BEYOND <= further <= LARGEST_L2:
                return
            self._fit(further)
            name = select.removeprefix("val_")
            if self._found[further][0].values[name] == best.values[name]:
                return  # so it may go on for ever, as where all rows are of one class by then

    def solution_of(self, point: PathPoint, config: FitConfig) -> Solution:
        """Return the whole solution of a point, from where it ended; its passes are those it took.

        Of their trace nothing is known: a path that was stopped and goes on has no other.
        """
        found = self._solve(point.l2, self._found[point.l2][1], config)
        return replace(found, passes=point.passes, seconds=point.seconds, trace=())

    def notes(self, best: PathPoint) -> list[str]:
        """Return what a user should know."""
        points = self.points
        found = []
        if len(points) > 1 and best.l2 in (points[0].l2, points[-1].l2):
            end = "strongest" if best.l2 == points[0].l2 else "weakest"
            found.append(f"the best penalty is the {end} one of the path; try others beyond it")
        loose = sum(not point.converged for point in points)
        if loose:
            found.append(
                f"{loose} of {len(points)} fits ended before the gap asked for; see relative_gap"
            )
        return found

    def _fit(self, l2: float) -> None:
        if l2 in self._known:
            self._found[l2] = self._known[l2]
            return
        stronger = [other for other in self._found if other > l2] or list(self._found)
        nearest = min(stronger, key=lambda other: abs(_decades(other, l2)), default=None)
        start = None if nearest is None else self._found[nearest][1]
        began = time.perf_counter()
        solution = self._solve(l2, start, self._config, self._guess(l2))
        point = self._point(solution, time.perf_counter() - began)
        self._found[l2] = point, solution.model
        if self._on_fit is not None:
            self._on_fit(point, solution.model)

    def _guess(self, l2: float) -> Guess | None:
        """Return what the optimum may be near to: a point on a line through two that were found.

        The line is over the logarithm of the penalty, with which weights grow where rows are
        separated. It must be better than the nearest optimum itself is for this penalty.
        """
        nearest = sorted(self._found, key=lambda other: abs(_decades(other, l2)))[:2]
        if len(nearest) < 2:
            return None
        near, far = (self._problem.point_of(self._found[other][1]) for other in nearest)
        between = _decades(nearest[1], nearest[0])
        share = _decades(nearest[0], l2) / between if between else math.inf
        if abs(share) > _FURTHEST_GUESS:  # two penalties that are nearly the same
            return None
        of_near = self._found[nearest[0]][0]
        most = of_near.objective + (l2 - of_near.l2) * of_near.weight_norm**2
        return Guess(near + share * (near - far), most)

    def _solve(
        self, l2: float, start: LinearModel | None, config: FitConfig, guess: Guess | None = None
    ) -> Solution:
        problem = self._problem
        problem.l2 = l2
        solver = Solver(problem, self._matrices.of(l2), config, time.perf_counter())
        return solver.run(None if start is None else problem.point_of(start), guess)

    def _point(self, solution: Solution, seconds: float) -> PathPoint:
        assert self._split.val is not None  # noqa: S101  (the caller has looked)
        config, model = self._config, solution.model
        judged = TrainConfig(loss=config.loss, l2=solution.l2, class_weight=config.class_weight)
        cost, tally = cost_and_tally(model, self._split.val, judged)
        return PathPoint(
            solution.l2, inverse_penalty_of(solution.l2, *_counts(self._split)),
            solution.objective, solution.relative_gap, solution.passes, seconds,
            solution.converged, math.sqrt(weight_penalty(model.W, 1.0, model.feature_std)),
            {"cost": cost} | tally.values(),
        )  # fmt: skip


def _decades(l2: float, other: float) -> float:
    """Return the logarithm of a penalty over another, also where float64 cannot hold the ratio."""
    return math.log10(l2) - math.log10(other)
