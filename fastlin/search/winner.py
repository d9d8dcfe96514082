"""The best entry of a search as a run of its own."""

from __future__ import annotations

from dataclasses import replace

from fastlin.data.dataset import Split
from fastlin.errors import InputError
from fastlin.search.ranking import GridResult
from fastlin.training.calibration import with_calibration
from fastlin.training.grid import Seconds
from fastlin.training.refit import refit
from fastlin.training.trainer import TrainResult


def run_of_winner(result: GridResult) -> TrainResult:
    """Return the best entry of a grid as if it had been trained alone.

    It is fitted again or calibrated, if it was.

    Raises
    ------
    InputError
        If no epoch of it is finished.
    """
    if result.refitted is not None:
        return result.refitted
    if result.calibrated is not None:
        return result.calibrated
    best = result.best
    if best.last_model is None or best.best_model is None:
        raise InputError("no epoch of the best entry is finished, so it has no weights to save")
    return TrainResult(
        best.config,
        best.history,
        best.last_model,
        best.best_model,
        Seconds(),
        result.ranked_by.of_epochs,
    )


def with_refit(result: GridResult, split: Split, threads: int | None = None) -> GridResult:
    """Return the result with its winner fitted again; see `fastlin.training.refit`.

    It is trained for as many epochs as decided its rank: all of them, or up to its best one where
    that is the rule, since validation rows have then chosen that number, too.

    Raises
    ------
    InputError
        If there are no validation rows, or the winner has no weights.
    DivergedError
        If a cost is not finite.
    """
    again = refit(run_of_winner(result), split, epochs=result.best.epoch, threads=threads)
    return replace(result, refitted=again)


def with_temperatures(result: GridResult, split: Split, threads: int | None = None) -> GridResult:
    """Return the result with its winner calibrated; see `fastlin.training.calibration`.

    Raises
    ------
    InputError
        If the winner cannot be calibrated, or has no weights.
    """
    return replace(result, calibrated=with_calibration(run_of_winner(result), split, threads))
