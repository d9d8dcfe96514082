"""What a grid search leaves behind, as plain records: readable without Numba or matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig
from fastlin.errors import InputError
from fastlin.files import save_csv
from fastlin.history import EpochRecord, History, html_table
from fastlin.metrics import (
    Metric,
    binomial_error,
    check_select,
    is_better_high,
    measure_text,
    metric_of,
)
from fastlin.model import LinearModel

if TYPE_CHECKING:
    from fastlin.training.trainer import TrainResult

Moment = Literal["last", "best"]
Status = Literal["finished", "stopped", "diverged"]
STATUSES: tuple[Status, ...] = ("finished", "stopped", "diverged")


@dataclass(frozen=True)
class Rule:
    """By what the entries of a grid are ranked.

    Attributes
    ----------
    select : ``val_accuracy`` (the higher the better), ``val_cost`` (the lower the better; it
        contains the penalty), or ``val_`` and the name of another of `fastlin.metrics.METRICS`.
        Such a metric is computed of every entry when all are trained: which of them are stopped
        early is then decided by their accuracy.
    at : ``last`` epoch, or the ``best`` one by the same measure, the first of equals.

    Raises
    ------
    InputError
        If there is no such rule.
    """

    select: str = "val_accuracy"
    at: Moment = "last"

    def __post_init__(self) -> None:
        check_select(self.select)
        if self.at not in ("last", "best"):
            raise InputError(f"at is {self.at!r}; it must be one of last, best")
        if self.metric is not None and self.at == "best":
            raise InputError(
                f"{self.select} is not known after every epoch; at must be last with it"
            )

    def __str__(self) -> str:
        return f"{measure_text(self.select)} at the {self.at} epoch"

    @property
    def metric(self) -> Metric | None:
        """The metric that is computed when all are trained; None if histories hold the measure."""
        return metric_of(self.select)

    @property
    def of_epochs(self) -> str:
        """By what epochs are compared: the accuracy, where the metric is not known of them."""
        return "val_cost" if self.select == "val_cost" else "val_accuracy"

    @property
    def sign(self) -> int:
        """1 if the higher of two scores is the better one, else -1."""
        return 1 if is_better_high(self.select) else -1

    def epoch(self, history: History) -> int:
        """Return the epoch (counted from 1) that decides; 0 if no epoch is finished."""
        if len(history) == 0:
            return 0
        if self.at == "last":
            return len(history)
        return int((self.sign * getattr(history, self.select)).argmax()) + 1

    def score(self, history: History) -> float:
        """Return the measure at the epoch that decides; NaN if no epoch is finished."""
        epoch = self.epoch(history)
        return float(getattr(history, self.select)[epoch - 1]) if epoch else math.nan


@dataclass(frozen=True, eq=False)
class GridEntry:
    """One configuration of a grid and what came of it.

    Attributes
    ----------
    index : its place in the grid, counted from 0.
    config : its settings.
    status : ``finished`` all its epochs; ``stopped`` early, see `.halving`; ``diverged``.
    history : cost and accuracy after every finished epoch.
    diverged_epoch : the epoch whose cost was not finite, None if it did not diverge.
    epoch : the epoch that decided its rank, counted from 1; 0 if none is finished.
    score : what it is ranked by; NaN if no epoch is finished.
    model : the classifier after that epoch, where weights were kept.
    last_model, best_model : those after the last epoch and after the best one by the same measure,
        likewise.
    """

    index: int
    config: TrainConfig
    status: Status
    history: History
    diverged_epoch: int | None
    epoch: int
    score: float
    model: LinearModel | None = None
    last_model: LinearModel | None = None
    best_model: LinearModel | None = None

    def __repr__(self) -> str:
        return (
            f"GridEntry({self.index}, {self.status}, score {self.score:.4g} at epoch {self.epoch})"
        )

    @property
    def record(self) -> EpochRecord | None:
        """The epoch that decided its rank, None if none is finished."""
        return self.history.records()[self.epoch - 1] if self.epoch else None


@dataclass(frozen=True)
class Rung:
    """One decision about which entries are stopped early; see `fastlin.search.halving`.

    Attributes
    ----------
    epoch : after which it was taken.
    kept : indices of the entries that went on, those that may reach most first.
    stopped : indices of those that did not, likewise.
    alike : pairs of indices: one that was stopped, and the one with all but equal scores that went
        on for it.
    """

    epoch: int
    kept: tuple[int, ...]
    stopped: tuple[int, ...]
    alike: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class GridResult:
    """Everything that a grid search found.

    Attributes
    ----------
    entries : in grid order, so that `entries[i].index == i`.
    winner : index of the best entry.
    ranked_by : the rule by which it is the best.
    seconds : wall time; of a resumed search, since it was resumed.
    rungs : the decisions about which entries were stopped early, if there were any.
    trained_on : indices of the entries that were stopped, and trained to the end later because they
        might have been the best.
    refitted : the winner as a run that was fitted again on training and validation rows, if it was;
        the entries have the classifiers that were fitted on training rows alone.
    calibrated : the winner as a run with temperatures, if they were fitted; the entries have none.
    """

    entries: tuple[GridEntry, ...]
    winner: int
    ranked_by: Rule
    seconds: float
    rungs: tuple[Rung, ...] = ()
    trained_on: tuple[int, ...] = ()
    refitted: TrainResult | None = None
    calibrated: TrainResult | None = None

    def __repr__(self) -> str:
        best, settings = self.best, self.best.config.to_dict()
        named = ", ".join(f"{name}={settings[name]!r}" for name in self.swept)
        return (
            f"GridResult({len(self.entries)} entries by {self.rule}; best {best.index}: "
            f"{best.score:.4g} with {named or 'the only settings'})"
        )

    def _repr_html_(self) -> str:
        """Return the ranking as a table, as notebooks show it."""
        columns = ("rank", "entry", *self.swept, "status", "score", "epoch")
        records = self.to_records()
        return html_table(columns, [[row[name] for name in columns] for row in records])

    @property
    def rule(self) -> str:
        """The rule in words, such as "validation accuracy at the last epoch"."""
        return str(self.ranked_by)

    @property
    def swept(self) -> tuple[str, ...]:
        """Names of the settings that differ between entries."""
        return swept_settings([entry.config for entry in self.entries])

    @property
    def best(self) -> GridEntry:
        """The winner."""
        return self.entries[self.winner]

    @property
    def model(self) -> LinearModel | None:
        """The classifier to use: the winner's, fitted again or calibrated if it was."""
        run = self.calibrated
        if run is not None:
            is_last = self.best.epoch == len(self.best.history)
            return run.model if is_last else run.best_model
        return self.best.model if self.refitted is None else self.refitted.model

    def ranked(self) -> tuple[GridEntry, ...]:
        """Return the entries, best first; see `rank_entries`."""
        return rank_entries(self.entries, self.ranked_by)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one flat dict per entry, best first, ready for `pandas.DataFrame`.

        Keys are rank (from 1), entry (its index), every setting of `TrainConfig`, status,
        epochs_finished, diverged_epoch, score, epoch (the one that decided), and costs and
        accuracies after that epoch. What is not known is None.
        """
        return [_flat(rank, entry) for rank, entry in enumerate(self.ranked(), start=1)]


def rank_entries(entries: Sequence[GridEntry], rule: Rule) -> tuple[GridEntry, ...]:
    """Return entries best first: finished ones, stopped ones that came further, diverged ones.

    Among equals the score decides, then the place in the grid. The score of a stopped entry is of
    the epoch in which it was stopped, so it is compared only with those stopped in the same one.
    """

    def key(entry: GridEntry) -> tuple[int, int, float, int]:
        came_to = 0 if entry.status == "finished" else -len(entry.history)
        score = math.inf if math.isnan(entry.score) else -rule.sign * entry.score
        return STATUSES.index(entry.status), came_to, score, entry.index

    return tuple(sorted(entries, key=key))


def _flat(rank: int, entry: GridEntry) -> dict[str, Any]:
    record = entry.record or EpochRecord(0, *(5 * [math.nan]))
    measured = record._asdict()
    del measured["lr"]  # of that epoch; the setting has the same name
    flat = {
        "rank": rank,
        "entry": entry.index,
        **entry.config.to_dict(),
        "status": entry.status,
        "epochs_finished": len(entry.history),
        "diverged_epoch": entry.diverged_epoch,
        "score": entry.score,
        **measured,
    }
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in flat.items()
    }


def save_table(path: str | Path, result: GridResult, errors: Sequence[float] | None = None) -> None:
    """Write the records of a grid as CSV; numbers are exact. Raises InputError if it cannot.

    Where scores are means, `errors` are their standard errors, by the index of the entry.
    """
    records = result.to_records()
    if errors is not None:
        known = [None if math.isnan(error) else error for error in errors]
        records = [record | {"standard_error": known[record["entry"]]} for record in records]
    save_csv(path, records[0], [record.values() for record in records])


def swept_settings(configs: Sequence[TrainConfig]) -> tuple[str, ...]:
    """Return the names of the settings that differ between configurations."""
    first, *others = (config.to_dict() for config in configs)
    return tuple(name for name in first if any(other[name] != first[name] for other in others))


def within_noise(
    accuracies: NDArray[np.float64], best: float, rows: int | None
) -> NDArray[np.bool_]:
    """Return which accuracies so many rows do not tell from the best one.

    Parameters
    ----------
    accuracies : NDArray[np.float64]
        Of any shape, NaN where nothing is known.
    best : float
        The accuracy of the best entry.
    rows : int or None
        On which they were measured; None if that is not known, and nothing is within noise.

    Returns
    -------
    NDArray[np.bool_]
        Those less than a standard error of the best one away from it.
    """
    noise = binomial_error(best, rows) if rows else 0.0
    close: NDArray[np.bool_] = np.abs(accuracies - best) < noise
    return close


def values_text(config: TrainConfig, names: Sequence[str]) -> str:
    """Return some settings as a text, such as "lr 0.1, l2 0"."""
    settings = config.to_dict()
    return ", ".join(f"{name} {value_text(settings[name])}" for name in names)


def value_text(value: object) -> str:
    """Return the value of a setting as a text of at most six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
