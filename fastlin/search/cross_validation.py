"""Cross-validation: settings chosen and judged on few rows, of which each is held out once."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin import functional
from fastlin.cluster import reference_of
from fastlin.config import TrainConfig
from fastlin.data.dataset import Split, check_split
from fastlin.data.folds import Folds
from fastlin.data.splits import note_on_small_classes
from fastlin.errors import GridDivergedError, InputError
from fastlin.files import as_path
from fastlin.fitting import check_repeats
from fastlin.history import History
from fastlin.metrics import Tally
from fastlin.model import LinearModel
from fastlin.search.advice import advise_on_search
from fastlin.search.configs import Configs, grid_configs
from fastlin.search.fold_results import CrossValidation
from fastlin.search.progress import GridProgress
from fastlin.search.ranking import GridEntry, GridResult, Rule, Status, rank_entries
from fastlin.search.search import check_comparable, grid_search
from fastlin.settings import whole_number
from fastlin.training.advice import Advice, category_of, once
from fastlin.training.defaults import notes_on_chosen, with_chosen
from fastlin.training.measuring import add_scores, score_blocks
from fastlin.training.trainer import Trainer, TrainResult, with_settings


@dataclass(frozen=True)
class Calls:
    """What `cross_validate` calls while it runs; each may be None.

    Attributes
    ----------
    note : Callable[[str], None] or None
        With what a user should know, a sentence each; None for warnings.
    on_fold : Callable[[int, int], None] or None
        With the number of a fold, from 1, and how many there are, before it is held out.
    on_epoch : Callable[[GridProgress], None] or None
        After every epoch of all candidates.
    """

    note: Callable[[str], None] | None = None
    on_fold: Callable[[int, int], None] | None = None
    on_epoch: Callable[[GridProgress], None] | None = None


def cross_validate(
    data: Split | ArrayLike,
    y: ArrayLike | None = None,
    *,
    cv: int = 5,
    seed: int = 0,
    config: TrainConfig | None = None,
    grid: Configs | None = None,
    select: str = "val_accuracy",
    threads: int | None = None,
    calls: Calls | None = None,
    journals: str | Path | None = None,
    eval_train_every: int = 1,
    client: Any = None,
    **settings: Any,
) -> CrossValidation:
    """Hold every fold of the rows out once, choose the best settings, and fit them on all rows.

    Each fold is a `fastlin.grid_search` of all candidates on the other folds; one fold is copied
    out of the rows at a time. Candidates are ranked by their mean over the folds, after the last
    epoch. Every bit depends on data, settings, `cv` and `seed` alone.

    Parameters
    ----------
    data : Split or ArrayLike
        Whose training rows, and then validation rows, are divided; or rows X (n, d).
    y : ArrayLike, optional
        The labels of rows X.
    cv, seed : int
        How many folds; every class is divided evenly, drawn with the seed.
    config, grid, **settings
        The settings, as in `fastlin.train`, and those that are searched, as in
        `fastlin.grid_search`.
    select, threads, eval_train_every, client
        See `fastlin.grid_search`.
    calls : Calls, optional
    journals : str or Path, optional
        A folder for the journals of the folds; those that are there are gone on with.

    Raises
    ------
    InputError
        If an argument is impossible, or there are fewer rows than folds.
    GridDivergedError, DivergedError
        If every candidate diverged in some fold; if the winner diverges on all rows.
    """
    started, calls, rule = time.perf_counter(), calls or Calls(), Rule(select, "last")
    split, cv = _split_of(data, y), check_repeats("cv", cv, 2)
    given = _candidates(grid, config, settings)
    check_comparable(given, rule, has_folds=True)
    where = None if client is None else reference_of(split)
    folds = Folds(split, cv, whole_number("seed", seed, 0), where)
    candidates = tuple(with_chosen(given, folds.rows))  # alike in every fold
    trained = _Candidates(folds, candidates, rule, threads, calls, eval_train_every, client)
    results = trained.search(given, journals)
    ranking = _ranking(results, candidates, rule, started)
    trained.advise(ranking)
    whole = Split(split.name, folds.rows, test=split.test)
    final = _fit(whole, ranking.best.config, trained.threads, rule.of_epochs, eval_train_every)
    return trained.judged(results, replace(ranking, refitted=final), started)


def _split_of(data: Split | ArrayLike, y: ArrayLike | None) -> Split:
    if y is not None:
        if isinstance(data, Split):
            raise InputError("y is given beside a Split, which has labels of its own; leave it out")
        return Split.from_arrays(data, y)
    check_split(data)
    assert isinstance(data, Split)  # noqa: S101  (checked above)
    return data


def _candidates(
    grid: Configs | None, config: TrainConfig | None, settings: dict[str, Any]
) -> tuple[TrainConfig, ...]:
    """Return what is compared. Raises InputError if it cannot be."""
    if grid is None:
        return (with_settings(config, settings),)
    if config is None and not settings:
        return grid_configs(grid)
    return grid_configs(grid, with_settings(config, settings))


class _Candidates:
    """Are trained on the rows outside of each fold, and judged on the rows inside."""

    def __init__(
        self, folds: Folds, candidates: Sequence[TrainConfig], rule: Rule, threads: int | None,
        calls: Calls, eval_train_every: int, client: Any,
    ) -> None:  # fmt: skip
        self._folds, self._rows, self._client = folds, folds.rows, client
        self._candidates, self._rule, self._calls = candidates, rule, calls
        self._eval_train_every = eval_train_every
        self._say_once = once(self._say)
        with functional.use_threads(threads) as count:
            self.threads = count

    def search(self, given: Sequence[TrainConfig], journals: str | Path | None) -> list[GridResult]:
        """Train all candidates, which were given so, outside of every fold."""
        for text in notes_on_chosen(given, self._candidates, self._rows):
            self._note(text)
        self._tell_of_small_classes()
        return [self._search_outside(fold, journals) for fold in range(len(self._folds))]

    def _tell_of_small_classes(self) -> None:
        """Say which classes have fewer rows than there are folds."""
        found = note_on_small_classes(self._rows.y, self._rows.class_names, len(self._folds))
        if found is not None:
            self._note(found)

    def advise(self, ranking: GridResult) -> None:
        """Say what should be tried next, by the means over the folds."""
        every_row_once = Split(self._folds.name, self._rows, self._rows)  # is a validation row
        for advice in advise_on_search(ranking, every_row_once):
            self._say(advice)

    def _note(self, text: str) -> None:
        """Say what a user should know, once; what one fold alone advises is left out."""
        if not isinstance(text, Advice):
            self._say_once(text)

    def _say(self, text: str) -> None:
        if self._calls.note is not None:
            self._calls.note(text)
            return
        warnings.warn(text, category_of(text), stacklevel=4)

    def _search_outside(self, fold: int, journals: str | Path | None) -> GridResult:
        """Train all candidates outside of a fold."""
        if self._calls.on_fold is not None:
            self._calls.on_fold(fold + 1, len(self._folds))
        journal = None if journals is None else as_path(journals) / f"fold-{fold + 1}.jsonl"
        try:
            return grid_search(
                self._folds.fold(fold), self._candidates, select=self._rule.select,
                at=self._rule.at, threads=self.threads, on_epoch=self._calls.on_epoch,
                note=self._note, journal=journal, resume=journal is not None and journal.exists(),
                eval_train_every=self._eval_train_every, client=self._client,
            )  # fmt: skip
        except GridDivergedError as error:
            return error.result

    def judged(
        self, results: Sequence[GridResult], ranking: GridResult, started: float
    ) -> CrossValidation:
        """Return all that was found, with what the winner says of the rows that it has not seen."""
        rows, K = self._rows, len(self._rows.class_names)
        predictions, tally = np.empty(len(rows), np.int64), Tally(K)
        probabilities = None
        with functional.use_threads(self.threads):
            for fold, model in enumerate(self._models(results, ranking.winner)):
                held = self._folds.held(fold)
                if model.has_probabilities and probabilities is None:
                    probabilities = np.empty((len(rows), K), np.float32)
                for y, scores in score_blocks(model, rows.chosen(held)):
                    block, held = held[: len(y)], held[len(y) :]
                    predictions[block] = scores.argmax(axis=1)
                    add_scores(tally, model, y, scores)
                    if probabilities is not None:
                        probabilities[block] = functional.softmax(scores)
        ranking = replace(ranking, seconds=time.perf_counter() - started)
        return CrossValidation(
            ranking, _scores(results), self._folds.of_rows, rows, probabilities, predictions, tally,
            len(self._folds),
        )  # fmt: skip

    def _models(self, results: Sequence[GridResult], winner: int) -> Iterator[LinearModel]:
        """Return the winner of every fold; where its weights were not kept, it is trained again."""
        for fold, result in enumerate(results):
            kept = result.entries[winner].last_model
            if kept is None:
                again = (self._folds.fold(fold), self._candidates[winner], self.threads)
                kept = _fit(*again, self._rule.of_epochs, 0).model
            yield kept


def _fit(
    split: Split, config: TrainConfig, threads: int, select: str, eval_train_every: int
) -> TrainResult:
    """Train all epochs of a run. Raises DivergedError if it diverges."""
    return Trainer(split, config, threads, select, eval_train_every).run()


def _ranking(
    results: Sequence[GridResult], configs: Sequence[TrainConfig], rule: Rule, started: float
) -> GridResult:
    """Return a grid whose entries have the means over the folds as histories.

    An entry that diverged in one fold has diverged. Raises GridDivergedError if all have.
    """
    entries = []
    for index, config in enumerate(configs):
        of_folds = [result.entries[index] for result in results]
        diverged = [e.diverged_epoch for e in of_folds if e.diverged_epoch is not None]
        status: Status = "diverged" if diverged else "finished"
        history = _mean([entry.history for entry in of_folds])
        entries.append(
            GridEntry(
                index, config, status, history, min(diverged, default=None), rule.epoch(history),
                rule.score(history),
            )
        )  # fmt: skip
    winner = rank_entries(entries, rule)[0].index
    result = GridResult(tuple(entries), winner, rule, time.perf_counter() - started)
    if result.best.status == "diverged":
        raise GridDivergedError(result)
    return result


def _scores(results: Sequence[GridResult]) -> NDArray[np.float64]:
    """Return the scores (candidates, folds); NaN where one diverged."""
    return np.array(
        [[np.nan if e.status == "diverged" else e.score for e in r.entries] for r in results]
    ).T


def _mean(histories: Sequence[History]) -> History:
    """Return the mean over histories of every epoch that all of them have."""
    epochs = min(len(history) for history in histories)
    columns = {
        name: np.mean([getattr(history, name)[:epochs] for history in histories], axis=0)
        for name in ("lr", "train_cost", "train_accuracy", "val_cost", "val_accuracy")
    }
    return History(histories[0].epoch[:epochs], **columns)
