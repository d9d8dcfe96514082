"""The optima of many penalties, from strong to weak, and the one that validation rows choose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from fastlin.data.dataset import Split, check_fits, check_split
from fastlin.data.joining import training_and_validation
from fastlin.errors import InputError
from fastlin.model import LinearModel
from fastlin.settings import AUTO
from fastlin.solving.blas import one_thread
from fastlin.solving.config import (
    DEFAULT_CS,
    FitConfig,
    PathPlan,
    penalties,
    penalty_of,
    settings_of_path,
)
from fastlin.solving.path_result import PathFit, PathPoint, PathResult, best_of
from fastlin.solving.shards import ShardPasses
from fastlin.solving.solution import Solution
from fastlin.solving.solver import optimum_of, problem_of
from fastlin.solving.walk import Grounds, Walk, check_folds, ratio_of, row_counts
from fastlin.threads import use_threads
from fastlin.training.selection import check_can_select


def path(
    split: Split,
    config: FitConfig | None = None,
    *,
    l2s: Iterable[float] | None = None,
    Cs: Iterable[float] | None = None,
    select: str = "val_accuracy",
    patience: int | None = None,
    refit: bool = False,
    cv: int | None = None,
    threads: int | None = None,
    on_point: Callable[[PathPoint], None] | None = None,
    client: Any = None,
    **settings: Any,
) -> PathResult:
    """Fit the optima of many penalties, and choose one by validation rows, or by folds.

    Every fit begins at the optimum of the next stronger penalty. Where the best is the first or the
    last of three or more penalties, the path goes on beyond it.

    Parameters
    ----------
    split : Split
        With training and validation rows, or with cv any; the test rows are not touched.
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
        Fit the best again, on training and validation rows: with its l2 if l2s are given, or its C.
    cv : int, optional
        Judge penalties by so many folds of training and validation rows, each held out in turn;
        all share their passes over the rows. The best is fitted on all rows, as with `refit`.
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
        If there are no validation rows nor folds, or an argument does not fit, as l2 and C do not.
    """
    chosen = settings_of_path(config, settings)
    plan = PathPlan(penalties("l2s", l2s), penalties("Cs", Cs), select, patience, refit, cv=cv)

    def tell(fit: PathFit) -> None:
        if on_point is not None:
            on_point(fit.point)

    return fit_path(split, chosen, plan, threads=threads, on_fit=tell, client=client)


def fit_path(
    split: Split,
    config: FitConfig,
    plan: PathPlan,
    *,
    threads: int | None = None,
    on_fit: Callable[[PathFit], None] | None = None,
    known: Iterable[PathFit] = (),
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
        Called after every penalty.
    known : Iterable[PathFit]
        What an earlier call that was stopped gave to `on_fit`. These penalties are not fitted
        again, and all others are as if that call had gone on.

    Raises
    ------
    InputError
        As `path` does, or if what is known is of other features or classes.
    """
    _check(split, config, plan)
    rows, held_rows = row_counts(split, plan.cv)
    penalties = _penalties(plan, rows, len(split.train.class_names))
    ratio = ratio_of(penalties)
    with use_threads(threads), one_thread():
        if plan.cv is None:
            workers = ShardPasses.of(client, split, config)
            grounds = Grounds.of_split(split, config, penalties, ratio, workers)
        else:
            workers = ShardPasses.of(client, split, config, with_validation=True, cv=plan.cv)
            grounds = Grounds.of_folds(split, config, penalties, ratio, plan.cv, workers)
        walk = Walk(grounds, config, penalties, ratio, on_fit, known)
        if plan.bisect:
            walk.to_the_best(penalties, plan.select)
        else:
            walk.down(penalties, plan.select, plan.patience)
        if plan.extend:
            walk.beyond(plan.select)
        points, best = walk.points, best_of(walk.points, plan.select)
        chosen = replace(config, l2=best.l2, C=FitConfig().C)
        notes = tuple(walk.notes(best))
        if not plan.refit:
            solution = walk.solution_of(best, chosen)
        else:
            start = walk.model_of(best)
            del grounds, walk  # with what they keep of the rows
            again = chosen if plan.l2s is not None else replace(config, l2=AUTO, C=best.C)
            solution = _refit(split, again, start, client)
    return PathResult(
        points, plan.select, chosen, solution, plan.refit, rows, held_rows, notes, plan.cv,
    )  # fmt: skip


def _refit(split: Split, config: FitConfig, start: LinearModel, client: Any) -> Solution:
    """Return the optimum over training and validation rows, from that of fewer rows.

    A client's workers may take the passes. Raises InputError as `solve` does.
    """
    began = time.perf_counter()
    workers = ShardPasses.of(client, split, config, with_validation=True)
    problem = problem_of(training_and_validation(split), config, workers)
    return optimum_of(problem, config, began, start)


def _check(split: Split, config: FitConfig, plan: PathPlan) -> None:
    """Raise InputError if a plan cannot be carried out on a split."""
    check_split(split)
    if plan.cv is not None:
        check_folds(split, plan.cv)
    elif split.val is None:
        raise InputError(
            f"{split.name} has no validation rows to choose a penalty by; hold rows out "
            "(val_fraction), or judge by folds (cv)"
        )
    judged = split if plan.cv is None else Split(split.name, split.train, split.train)
    check_can_select(judged, plan.select, [config.loss])
    check_fits(split, np.float32)  # last, as it reads all rows


def _penalties(plan: PathPlan, rows: int, K: int) -> list[float]:
    """Return penalties from strong to weak, each once, of so many rows and classes."""
    if plan.l2s is not None:
        return sorted(set(plan.l2s), reverse=True)
    Cs = DEFAULT_CS if plan.Cs is None else plan.Cs
    return sorted({penalty_of(C, rows, K) for C in Cs}, reverse=True)
