"""The study: its runs, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import functional
from fastlin.config import TrainConfig
from fastlin.data.dataset import Split
from fastlin.data.stored import in_memory
from fastlin.errors import InputError
from fastlin.fitting import Fitting
from fastlin.losses import Softmax
from fastlin.model import LinearModel
from fastlin.report.mistakes import Mistakes, find_mistakes
from fastlin.report.results import Json
from fastlin.report.statistics import (
    Difference,
    Sample,
    holm,
    paired_difference,
    published_difference,
)
from fastlin.report.study import experiments as study
from fastlin.report.study.experiments import Comparison, Experiment
from fastlin.report.study.optimum import Optima, exact_optima
from fastlin.report.study.running import CHECKPOINTS, Progress, Runner, RunRecord
from fastlin.training.defaults import with_chosen
from fastlin.training.evaluation import gradient

SEEDS_AT_ONCE = 5  # of the single settings: between checkpoints
MEASURES = (
    "train_cost", "val_cost", "test_cost", "train_accuracy", "val_accuracy", "test_accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """The data of a study, and the commands that use them.

    Attributes
    ----------
    load : Callable[[bool], Split]
        Returns the split that the study trains on, or with True that of all training rows.
    full_rows : int
        How many training rows the latter has; 0 if there is no larger split.
    command : str
        That makes the report.
    command_of : Callable[[Experiment, TrainConfig], str]
        Returns the command that runs an experiment with a configuration of it alone.
    fit_command_of : Callable[[TrainConfig, Fitting], str]
        Returns the command of an exact fit.
    """

    load: Callable[[bool], Split]
    full_rows: int
    command: str
    command_of: Callable[[Experiment, TrainConfig], str]
    fit_command_of: Callable[[TrainConfig, Fitting], str]


def check_parts(split: Split) -> None:
    """Raise InputError unless there are validation and test rows."""
    for part, data in (("validation", split.val), ("test", split.test)):
        if data is None:
            raise InputError(f"{split.name} has no {part} rows; the study needs them")


class Study:
    """The study, run over seeds 0, 1, ...: runs and what is known of them, by experiment.

    Parameters
    ----------
    source : Source
        Of the data.
    seeds, epochs : int
        How many seeds, and epochs of every run; the study has 40.
    threads : int | None
        To run on, None for all.
    folder : Path
        Keeps finished runs, so that a study that was interrupted goes on.
    progress : Progress
        Told what is done.
    client : distributed.Client or str, optional
        Of a cluster whose workers train and fit.

    Attributes
    ----------
    runs : dict[str, list[RunRecord]]
        A run per seed; of a grid, the one that is chosen.
    candidates : dict[str, list[list[RunRecord]]]
        Of grids and tuned experiments, per seed that was searched, the run of every candidate.
    differences : dict[str, Difference]
        Of test accuracies, between experiments (by the id of a `Comparison`) and, if the study
        `is_comparable`, from published ones (by the id of an experiment), each judged with those of
        its table.
    mistakes : dict[str, Mistakes]
        Of the published winner and of the best experiment, over all seeds.
    gradients : dict[str, NDArray]
        After training, of the first seed, where a figure shows it.
    data_rows : dict[bool, dict[str, int]]
        Of the study's own data, and with True of all training rows.
    rival : str
        The softmax experiment on the study's own data that is the best by validation accuracy.
    standardized : bool
        Whether that experiment standardises features.
    optima : Optima
        What exact fits reach where it was trained.
    facts : dict[str, str]
        Of the data, in words.

    Raises
    ------
    InputError
        If the data have no validation or test rows, a run diverges, or a file cannot be written.
    """

    def __init__(
        self, source: Source, seeds: int, epochs: int, threads: int | None, folder: Path,
        progress: Progress, client: Any = None,
    ) -> None:  # fmt: skip
        self._client = client
        self.source, self.seeds, self.epochs = source, range(seeds), epochs
        self.progress, self._folder = progress, folder
        with functional.use_threads(threads) as count:
            self.threads = count
        with_curves = {
            experiment.config(seed, epochs)
            for experiment in study.all_experiments()
            if experiment.has_curves
            for seed in self.seeds
        }
        self.runner = Runner(folder / CHECKPOINTS, threads, with_curves, progress, client)
        self.runs: dict[str, list[RunRecord]] = {}
        self.candidates: dict[str, list[list[RunRecord]]] = {}
        self.data_names: dict[bool, str] = {}
        self.data_rows: dict[bool, dict[str, int]] = {}
        self.facts: dict[str, str] = {}
        self._run()
        self.differences = self._differences()

    def _run(self) -> None:
        split = self._load(full=False)
        assert split.test is not None  # noqa: S101  (checked when it was loaded)
        self.is_published_data = split.fingerprint() == study.DATA_SHA256
        self.image_shape, self.class_names = split.train.image_shape, split.train.class_names
        self.progress.begin(self._planned_rows(len(split.train)))
        self._train(split, full=False)
        self.progress.stage("gradients")
        self.gradients: dict[str, NDArray[Any]] = {}
        with functional.use_threads(self.threads):
            for name in study.drawn("gradient"):
                run = self.runs[name][0]
                self.gradients[name] = gradient(self.model(name), split.train, run.config)
        self._find_optima(split)
        test = replace(split.test, X=in_memory(split.test.X).copy(), y=split.test.y.copy())
        del split  # the larger one needs the memory
        if self.source.full_rows:
            self._train(self._load(full=True), full=True)
        self.best = max(self.runs, key=lambda name: self.sample(name, "val_accuracy").mean)
        self.mistakes: dict[str, Mistakes] = {}
        with functional.use_threads(self.threads):
            for name in dict.fromkeys([study.WINNER, self.best]):
                predictions = np.stack([run.predictions for run in self.runs[name]])
                config = self.runs[name][0].config
                self.mistakes[name] = find_mistakes(test, predictions, self.model(name), config)

    def _find_optima(self, split: Split) -> None:
        self.progress.stage("exact optimum")
        softmax = [
            name for name in self.runs if isinstance(self.runs[name][0].config.loss, Softmax)
        ]
        self.rival = max(softmax, key=lambda name: self.sample(name, "val_accuracy").mean)
        config = with_chosen([self.runs[self.rival][0].config], split.train)[0]
        self.standardized = bool(config.standardize)
        self.optima: Optima = exact_optima(
            split, config, self.threads, self._folder / CHECKPOINTS, self._client
        )

    def _load(self, *, full: bool) -> Split:
        self.progress.stage("reading the data")
        split = self.source.load(full)
        check_parts(split)
        rows = {part: len(data) for part, data in split.parts().items()}
        self.data_names[full], self.data_rows[full] = split.name, rows
        counts = ", ".join(f"{count:,} {part}" for part, count in rows.items())
        X = split.train.X
        self.facts["all training data" if full else "data"] = (
            f"{split.name}: {counts} rows of {X.shape[1]:,} {X.dtype} values; "
            f"SHA-256 {split.fingerprint()}"
        )
        return split

    def _planned_rows(self, rows: int) -> int:
        """Return how many rows (times epochs) there are to train on at most."""
        planned = 0
        for full in (False, True) if self.source.full_rows else (False,):
            experiments = _experiments(full=full)
            configs = {
                config
                for experiment in experiments
                for seed in (self.seeds[:1] if experiment.kind == "tuned" else self.seeds)
                for config in experiment.configs(seed, self.epochs)
            }
            tuned = sum(experiment.kind == "tuned" for experiment in experiments)
            epochs = sum(config.epochs for config in configs)
            epochs += tuned * (len(self.seeds) - 1) * self.epochs
            planned += epochs * (self.source.full_rows if full else rows)
        return planned

    def _train(self, split: Split, *, full: bool) -> None:
        experiments = _experiments(full=full)
        for experiment in experiments:
            if experiment.kind == "grid":
                self._train_grid(split, experiment)
        singles = [experiment for experiment in experiments if experiment.kind == "setting"]
        for first in range(0, len(self.seeds), SEEDS_AT_ONCE):
            seeds = self.seeds[first : first + SEEDS_AT_ONCE]
            self.progress.stage(", ".join(experiment.id for experiment in singles))
            configs = [e.config(seed, self.epochs) for e in singles for seed in seeds]
            records = self.runner.run(split, configs)
            for place, experiment in enumerate(singles):
                found = records[place * len(seeds) : (place + 1) * len(seeds)]
                self.runs.setdefault(experiment.id, []).extend(found)
        for experiment in experiments:
            if experiment.kind == "tuned":
                self._tune(split, experiment)

    def _train_grid(self, split: Split, experiment: Experiment) -> None:
        self.candidates[experiment.id] = []
        for seed in self.seeds:
            self.progress.stage(f"{experiment.id}, seed {seed}")
            records = self.runner.run(split, experiment.configs(seed, self.epochs))
            self.candidates[experiment.id].append(records)
        self.runs[experiment.id] = [best_run(records) for records in self.candidates[experiment.id]]

    def _tune(self, split: Split, experiment: Experiment) -> None:
        self.progress.stage(f"{experiment.id}, tuning")
        first = self.seeds[0]
        records = self.runner.run(split, experiment.configs(first, self.epochs))
        self.candidates[experiment.id] = [records]
        winner = records.index(best_run(records))
        self.progress.stage(f"{experiment.id}, its winner")
        configs = [experiment.configs(seed, self.epochs)[winner] for seed in self.seeds]
        self.runs[experiment.id] = self.runner.run(split, configs)

    @property
    def is_comparable(self) -> bool:
        """Whether data and epochs are those that were published."""
        return self.is_published_data and self.epochs == study.EPOCHS

    def sample(self, name: str, measure: str) -> Sample:
        """Return one of the `MEASURES` of an experiment, over seeds."""
        return Sample.of([run.measure(measure) for run in self.runs[name]])

    def model(self, name: str) -> LinearModel:
        """Return the classifier of an experiment on the first seed."""
        run = self.runs[name][0]
        return LinearModel(run.W, run.b, self.class_names, self.image_shape)

    def has(self, comparison: Comparison) -> bool:
        """Whether both experiments were run; some need more training rows than there may be."""
        return {comparison.first, comparison.second} <= self.runs.keys()

    def command(self, experiment: Experiment) -> str:
        """Return the command that runs an experiment on the first seed."""
        return self.source.command_of(experiment, self.runs[experiment.id][0].config)

    def all_runs(self) -> list[RunRecord]:
        """Return every run once, candidates too."""
        tried = [records for per_seed in self.candidates.values() for records in per_seed]
        return list(
            {id(run): run for runs in (*self.runs.values(), *tried) for run in runs}.values()
        )

    def csv_rows(self) -> Iterator[Json]:
        """Give the rows of results.csv: experiments and seeds, then candidates and seeds."""
        tried = {f"{name} grid": [run for records in per_seed for run in records]
                 for name, per_seed in self.candidates.items()}  # fmt: skip
        for name, runs in {**self.runs, **tried}.items():
            full = study.experiment(name.partition(" ")[0]).full
            for run in runs:
                measured = {measure: run.measure(measure) for measure in MEASURES}
                yield {"experiment": name, **run.config.to_dict(),
                       "train_rows": self.data_rows[full]["train"], **measured}  # fmt: skip
        trained = self.runs[self.rival][0].config
        for name, one in (("same", self.optima.same), ("chosen", self.optima.chosen)):
            if one is not None:
                yield {"experiment": f"exact optimum, {name} penalty", "loss": str(trained.loss),
                       "l2": one.l2, "standardize": self.standardized,
                       "train_rows": self.data_rows[False]["train"], **one.measures}  # fmt: skip

    def _differences(self) -> dict[str, Difference]:
        found: dict[str, Difference] = {}
        families = (study.with_published(), study.VARIANTS) if self.is_comparable else ()
        for experiments in families:
            found |= holm(
                {
                    one.id: published_difference(one.published, self._accuracies(one.id))
                    for one in experiments
                    if one.published is not None
                }
            )
        for comparisons in (study.CONCLUSIONS, study.DETAILS, study.OUTLOOK):
            found |= holm({
                one.id: paired_difference(self._accuracies(one.first), self._accuracies(one.second))
                for one in comparisons if self.has(one)
            })  # fmt: skip
        return found

    def _accuracies(self, name: str) -> list[float]:
        return self.sample(name, "test_accuracy").values

    def against_winner(self) -> tuple[int, dict[int, Difference]]:
        """Return which candidate of the grid the study published as the best, and the others.

        These are differences of validation accuracy, the published winner minus the candidate.
        """
        per_seed = self.candidates[study.GRID]
        configs = [run.config for run in per_seed[0]]
        winner = configs.index(self.runs[study.WINNER][0].config)
        values = [[run.val_accuracy for run in runs] for runs in zip(*per_seed, strict=True)]
        judged = holm({
            str(place): paired_difference(found, values[winner])
            for place, found in enumerate(values) if place != winner
        })  # fmt: skip
        return winner, {int(place): difference for place, difference in judged.items()}


def _experiments(*, full: bool) -> list[Experiment]:
    return [experiment for experiment in study.all_experiments() if experiment.full == full]


def best_run(records: Sequence[RunRecord]) -> RunRecord:
    """Return the run with the best validation accuracy after the last epoch, first of equals."""
    return max(records, key=lambda run: run.val_accuracy)
