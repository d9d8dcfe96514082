"""The optimum of an L2-regularised linear classifier, with a bound on the distance to it."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split, check_fits
from fastlin.errors import InputError, quoted
from fastlin.losses import Softmax
from fastlin.model import LinearModel
from fastlin.solving.blas import one_thread
from fastlin.solving.config import FitConfig, with_settings
from fastlin.solving.lbfgs import Gains, Memory, line_search
from fastlin.solving.problem import PassesElsewhere, Point, Problem, Value, check_start
from fastlin.solving.shards import ShardPasses
from fastlin.solving.solution import Progress, Solution, relative
from fastlin.solving.start_matrices import StartMatrix, hessian_of_slow, start_matrix_of
from fastlin.threads import use_threads
from fastlin.training.standardization import Standardization
from fastlin.training.weighting import row_weights

# The curvature is taken anew at each of its first steps, and then after every so many: of eleven
# problems twice as often saves no passes.
_REFRESH_EVERY = 8

# Relative rounding of costs, of products in float32 and float64.
_NOISE = {np.dtype(np.float32): 1e-7, np.dtype(np.float64): 1e-14}

# A start whose objective is above that at zero by more than this share is not begun from.
_NOISE_OF_START = 1e-6

# Derivatives by a bias that are so small are left to more exact products, or are rounding.
_BIAS_NOISE = {np.dtype(np.float32): 3e-7, np.dtype(np.float64): 1e-15}

_STEPS_BEFORE_NEWTON = 60  # of a dtype; those of a small problem are Newton's from then on

# Of a smaller gap the bound waits until biases have no derivatives but rounding: who asks for it
# wants digits of the weights, which come with these steps.
_LEAST_BALANCED_GAP = 1e-8

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

# What is called after a step, and says whether the fit is to end there.
Watch = Callable[[Callable[[], LinearModel]], bool]


def solve(
    data: Split | Dataset | ArrayLike,
    y: ArrayLike | None = None,
    config: FitConfig | None = None,
    *,
    start: LinearModel | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    watch: Watch | None = None,
    client: Any = None,
    **settings: Any,
) -> Solution:
    """Fit the one classifier that minimises mean loss + l2 * sum(W**2) over the training rows.

    Rows are read as they are stored; every pass gives the objective and its gradient. Steps are
    those of L-BFGS from a start matrix of the features' second moments; of few weights and rows,
    Newton's. Passes compute in float32 until the gap is below what was asked for, or float32 gives
    no more; then in float64, in which the gap that is returned is computed. Newton's are all in
    float64.

    Parameters
    ----------
    data : Split, Dataset or ArrayLike
        Of a split, the training rows; of an array, rows (n, d).
    y : ArrayLike, optional
        (n,) labels of an array.
    config : FitConfig, optional
        The settings; by default those of a `FitConfig`.
    start : LinearModel, optional
        Where to start, if the objective is less there than at zero; by default at zero.
    threads : int, optional
        By default as many as can be kept busy. The bits do not depend on it.
    progress : Callable, optional
        Called after every step, and with the result where that took more passes.
    watch : Callable, optional
        Called after every step with what returns the classifier so far; True ends the fit.
    client : distributed.Client, optional
        Of a Dask cluster whose workers load the split's files, and share the passes.
    **settings : Any
        Settings by name, such as ``l2=1e-4``; they take precedence over those of `config`.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        If an argument does not fit, a class has no rows, or a value is beyond float32.
    """
    began = time.perf_counter()
    rows = _rows(data, y)
    chosen = with_settings(config, settings)
    with use_threads(threads), one_thread():
        problem = problem_of(rows, chosen, ShardPasses.of(client, data, chosen))
        return optimum_of(problem, chosen, began, start, progress, watch)


def optimum_of(
    problem: Problem, config: FitConfig, began: float, start: LinearModel | None = None,
    progress: Callable[[Progress], None] | None = None, watch: Watch | None = None,
) -> Solution:  # fmt: skip
    """Return the optimum of a problem; `solve` and `Solver` say what the arguments are."""
    solver = Solver(problem, start_matrix_of(problem, problem.l2), config, began, progress, watch)
    if start is not None:
        check_start(start, problem)
    return solver.run(None if start is None else problem.point_of(start))


def problem_of(
    rows: Dataset, config: FitConfig, workers: PassesElsewhere | None = None,
    counting: NDArray[np.int64] | None = None,
) -> Problem:  # fmt: skip
    """Return the objective of settings over rows, or over those of some numbers.

    Of all rows, workers may take the passes.
    """
    count = len(rows) if counting is None else len(counting)
    penalty = config.penalty_factor(count, len(rows.class_names))
    weighted = TrainConfig(loss=config.loss, l2=penalty, class_weight=config.class_weight)
    standardization = None
    if config.standardize:
        X = rows.X if counting is None else rows.chosen(counting).X
        standardization = Standardization(X, np.float32, rows.scale, rows.feature_names)
    return Problem(
        rows, config.loss, penalty, row_weights(rows, weighted, counting), standardization,
        fit_intercept=config.fit_intercept, workers=workers,
    )  # fmt: skip


class Guess(NamedTuple):
    """A point to start from if its objective is not above `most`."""

    point: Point
    most: float


class Solver:
    """The steps from a point to the optimum of a problem.

    Parameters
    ----------
    problem : Problem
        What is solved.
    curvature : StartMatrix
        Its start matrix, or all of its second derivatives.
    config : FitConfig
        The gap to reach, and the passes after which to end before.
    began : float
        From when `time.perf_counter` counts seconds.
    progress, watch : Callable or None
        Called after every step; see `solve`.
    """

    def __init__(
        self, problem: Problem, curvature: StartMatrix, config: FitConfig, began: float,
        progress: Callable[[Progress], None] | None = None, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        self._problem, self._curvature, self._config = problem, curvature, config
        self._first_pass, self._last_pass = problem.passes, problem.passes + config.max_passes
        self._began, self._progress, self._watch = began, progress, watch
        self._trace: list[Progress] = []
        self._memory = Memory()

    def run(self, start: Point | None = None, guess: Guess | None = None) -> Solution:
        """Return the optimum, from zero, or from another point if the objective is less there."""
        problem, value = self._problem, self._begin(start, guess)
        goes_on = self._curvature.first_dtype == _FLOAT64
        if not goes_on:
            value, end = self._descend(value, _FLOAT32)
            model = problem.model(value.point, _FLOAT32)
            value = self._balanced(problem.value(problem.point_of(model), _FLOAT64))
            goes_on = not self._is_solved(value) and end not in {_OUT_OF_PASSES, _STOPPED}
        if goes_on:
            point = self._allowed(value.point)
            if self._passes_left() > 0 and point is not value.point:
                value = problem.value(point, _FLOAT64)
            value, end = self._descend(value, _FLOAT64)
            model = problem.model(value.point, _FLOAT64)
            if self._is_solved(value):
                value, model = self._rounded(value, model)
        if self._trace[-1].passes < problem.passes - self._first_pass:
            self._tell(value)  # passes after the last step belong to the result
        seconds = time.perf_counter() - self._began
        is_solved = self._is_solved(value) and not self._is_separated(value)
        passes = problem.passes - self._first_pass
        return Solution(
            model, value.cost, value.bound, self._relative_length(value), passes, seconds,
            is_solved, problem.l2, self._config, tuple(self._trace),
            None if is_solved else self._note(end), end is _STOPPED,
        )  # fmt: skip

    def _begin(self, start: Point | None, guess: Guess | None) -> Value:
        """Return the value from which steps go."""
        problem, dtype = self._problem, self._curvature.first_dtype
        zero, value = np.zeros(problem.shape), None
        if start is None or problem.length_at_zero == math.inf:
            value = self._curvature.value(zero, dtype)
        if guess is not None:
            began = self._curvature.value(self._allowed(guess.point), dtype)
            if began.cost <= guess.most:
                return began
        if start is not None:
            began = self._curvature.value(self._allowed(start), dtype)
            if began.cost <= (1 + _NOISE_OF_START) * problem.cost_at_zero:
                return began
        return self._curvature.value(zero, dtype) if value is None else value

    def _allowed(self, point: Point) -> Point:
        """Return a point, without the biases of another fit, or of rounding, if there are none."""
        if self._problem.fit_intercept or not point[:, -1].any():
            return point
        return np.concatenate([point[:, :-1], np.zeros((len(point), 1))], axis=1)

    def _rounded(self, value: Value, model: LinearModel) -> tuple[Value, LinearModel]:
        """Return what is solved as a classifier in float32, if that is still solved."""
        single = self._problem.model(value.point, _FLOAT32)
        point = self._problem.point_of(single)
        if np.array_equal(point, value.point):
            return value, single
        rounded = self._balanced(self._problem.value(point, _FLOAT64))
        return (rounded, single) if self._is_solved(rounded) else (value, model)

    def _descend(self, value: Value, dtype: np.dtype[Any]) -> tuple[Value, str]:
        """Go from a value until it is solved, or products of a dtype give no more; say which."""
        gains = Gains(dtype)
        for step in itertools.count():
            value = self._balanced(value)
            self._tell(value)
            end = self._end(value, gains)
            if end is not None:
                return value, end
            if step == _STEPS_BEFORE_NEWTON and self._becomes_newton() and dtype == _FLOAT32:
                return value, _SLOW
            if step < self._curvature.first_steps or step % _REFRESH_EVERY == 0:
                self._curvature.refresh(value.point)
            found = self._next(value, dtype)
            if found is None:
                return value, _ROUNDING if self._passes_left() > 0 else _OUT_OF_PASSES
            if not self._curvature.is_exact:
                self._memory.add(value, found)
            value = found
        raise AssertionError("steps are counted for ever")

    def _end(self, value: Value, gains: Gains) -> str | None:
        """Return why there is no step from a value; None if there is."""
        model_of = partial(self._problem.model, value.point, _FLOAT64)
        if self._watch is not None and self._watch(model_of):
            return _STOPPED
        if self._is_solved(value):
            return _SOLVED
        if self._passes_left() <= 0:
            return _OUT_OF_PASSES
        return _ROUNDING if gains.are_rounding(value) else None

    def _next(self, value: Value, dtype: np.dtype[Any]) -> Value | None:
        """Return the value after a step; None if none lowers it by more than rounding."""
        if self._lacks_biases(value):
            moved = self._moved_biases(value, dtype)
            if moved is not None or dtype == _FLOAT32:
                return moved
        found = self._step(value, dtype)
        if found is None and len(self._memory) > 0 and self._passes_left() > 0:
            self._memory.clear()
            found = self._step(value, dtype)
        if found is None and dtype == _FLOAT64 and self._becomes_newton():
            self._curvature.refresh(value.point)
            found = self._step(value, dtype)
        return found

    def _step(self, value: Value, dtype: np.dtype[Any]) -> Value | None:
        l2 = self._problem.l2
        direction = self._memory.direction(value.gradient, lambda g: self._curvature.divide(g, l2))
        return line_search(
            lambda point: self._curvature.value(point, dtype), value, direction, _NOISE[dtype],
            self._passes_left(),
        )  # fmt: skip

    def _becomes_newton(self) -> bool:
        """Let further steps be Newton's, unless they are or the problem is too large; say if so."""
        hessian = None if self._curvature.is_exact else hessian_of_slow(self._problem)
        if hessian is None:
            return False
        self._curvature = hessian
        self._memory.clear()
        return True

    def _balanced(self, value: Value) -> Value:
        """Return a value; with a lower bound if that solves it, or may do."""
        is_asked = self._config.gap >= _LEAST_BALANCED_GAP and not self._is_solved(value)
        if not is_asked or relative(value.weight_bound, value.cost) > self._config.gap:
            return value
        return replace(value, bound=min(value.bound, self._curvature.balanced_bound(value)))

    def _lacks_biases(self, value: Value) -> bool:
        """Return whether only the gradient by the biases keeps a value from being solved."""
        is_free = self._problem.fit_intercept and self._problem.l2 > 0
        return is_free and relative(2 * value.weight_bound, value.cost) <= self._config.gap

    def _moved_biases(self, value: Value, dtype: np.dtype[Any]) -> Value | None:
        """Return a value after a step of the biases alone, if that lowers the bound by much."""
        gradient = value.gradient[:, -1]
        if self._passes_left() <= 0 or np.abs(gradient).max() < _BIAS_NOISE[dtype]:
            return None
        self._curvature.refresh(value.point)
        point = value.point.copy()
        point[:, -1] -= self._curvature.divide_biases(gradient)
        if dtype == _FLOAT64:  # perhaps the last step: of a classifier in float32
            point = self._problem.point_of(self._problem.model(point, _FLOAT32))
        moved = self._curvature.value(point, dtype)
        return moved if moved.bound < 0.5 * value.bound else None

    def _passes_left(self) -> int:
        """Return how many passes steps may take: all but one, for the objective of the result."""
        return self._last_pass - self._problem.passes - 1

    def _tell(self, value: Value) -> None:
        seconds = time.perf_counter() - self._began
        passes, gap = self._problem.passes - self._first_pass, relative(value.bound, value.cost)
        self._trace.append(Progress(passes, value.cost, gap, seconds))
        if self._progress is not None:
            self._progress(self._trace[-1])

    def _left(self, value: Value) -> float:
        """Return what is to become small: the relative gap, or the gradient where l2 is 0."""
        if self._problem.l2 > 0:
            return relative(value.bound, value.cost)
        return self._relative_length(value)

    def _relative_length(self, value: Value) -> float:
        scale = self._problem.length_at_zero
        return value.length / scale if scale > 0 else 0.0

    def _is_solved(self, value: Value) -> bool:
        return self._left(value) <= self._config.gap

    def _is_separated(self, value: Value) -> bool:
        """Return whether rows are separated, and nothing but the last digit keeps weights small."""
        problem = self._problem
        is_softmax = isinstance(problem.loss, Softmax) and problem.loss.smoothing == 0
        # So small a mean is possible only if the probability of every row's class is above a half.
        return problem.l2 == 0 and is_softmax and value.cost < math.log(2) / len(problem.data)

    def _note(self, end: str) -> str:
        """Return why a value is not the optimum that was asked for."""
        passes = self._problem.passes - self._first_pass
        if end is _STOPPED:
            return f"the fit was stopped after {passes} passes"
        if self._problem.l2 == 0:
            return (
                f"with l2 0 the objective was still falling after {passes} passes; "
                "where the classes can be separated there is no optimum: give an l2 above 0"
            )
        if end is _OUT_OF_PASSES:
            scaled = "" if self._config.standardize else ", or set standardize to True"
            return f"{passes} passes were not enough; raise max_passes, the gap or l2{scaled}"
        return (
            f"after {passes} passes steps no longer lower the objective, by the digits of float64; "
            "a larger l2 has an optimum that can be proved"
        )


_SOLVED, _OUT_OF_PASSES, _ROUNDING = "solved", "out of passes", "rounding"
_STOPPED, _SLOW = "stopped", "slow"


def _rows(data: Split | Dataset | ArrayLike, y: ArrayLike | None) -> Dataset:
    """Return the labelled rows to fit, which float32 can hold."""
    if isinstance(data, Split | Dataset):
        if y is not None:
            raise InputError("y is given beside data that have labels; leave it out")
        split = data if isinstance(data, Split) else Split("rows", data)
    elif data is None or isinstance(data, str | Path):
        raise InputError(
            f"the data are {quoted(data)}; they must be a Split, as fastlin.load_split returns it, "
            "or an array with labels y"
        )
    elif y is None:
        raise InputError("the data are an array without labels; give them as y")
    else:
        split = Split.from_arrays(data, y)
    check_fits(split, _FLOAT32)
    return split.train
