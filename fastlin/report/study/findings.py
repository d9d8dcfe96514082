"""From the runs of the study to its results: plain JSON values, the only source of its page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin import functional, machine
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import InputError
from fastlin.losses import Softmax
from fastlin.model import LinearModel
from fastlin.report.results import CURVES, FORMAT, Json, finite, pack
from fastlin.report.study import experiments as study
from fastlin.report.study import statistics
from fastlin.report.study.experiments import Comparison, Experiment
from fastlin.report.study.running import Progress, Runner, RunRecord
from fastlin.training.evaluation import gradient

CHECKPOINTS = "checkpoints"
WRONG_IMAGES = 20
SEEDS_AT_ONCE = 5  # of the single settings: between checkpoints


@dataclass(frozen=True)
class Source:
    """The data of a study, and the commands that use them.

    Attributes
    ----------
    load : returns the split that the study trains on, or with True that of all training rows.
    full_rows : how many training rows the latter has; 0 if there is no larger split.
    command : that makes the report.
    command_of : the command that runs an experiment with a configuration of it alone.
    """

    load: Callable[[bool], Split]
    full_rows: int
    command: str
    command_of: Callable[[Experiment, TrainConfig], str]


def run_study(
    source: Source, seeds: int, epochs: int, threads: int | None, folder: Path, progress: Progress
) -> Json:
    """Run every experiment over seeds 0, 1, ... and return the results.

    Parameters
    ----------
    epochs : of every run; the study has 40.
    folder : keeps finished runs, so that a study that was interrupted goes on.

    Raises
    ------
    InputError
        If the data have no validation or test rows, a run diverges, or a file cannot be written.
    """
    results: Json = finite(_Study(source, seeds, epochs, threads, folder, progress).results())
    return results


def check_parts(split: Split) -> None:
    """Raise InputError unless there are validation and test rows."""
    for part, data in (("validation", split.val), ("test", split.test)):
        if data is None:
            raise InputError(f"{split.name} has no {part} rows; the study needs them")


class _Study:
    """One study under way: runs and what is known of them, by the id of their experiment."""

    def __init__(
        self, source: Source, seeds: int, epochs: int, threads: int | None, folder: Path,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.source, self.seeds, self.epochs = source, range(seeds), epochs
        self.progress = progress
        with functional.use_threads(threads) as count:
            self.threads = count
        with_curves = {
            experiment.config(seed, epochs)
            for experiment in study.all_experiments()
            if experiment.has_curves
            for seed in self.seeds
        }
        self.runner = Runner(folder / CHECKPOINTS, threads, with_curves, progress)
        self.runs: dict[str, list[RunRecord]] = {}
        self.candidates: dict[str, list[list[RunRecord]]] = {}  # per seed, those of every candidate
        self.data: dict[bool, Json] = {}
        self.pictures: dict[str, NDArray[Any]] = {}
        self.started = time.perf_counter()

    def results(self) -> Json:
        split = self._load(full=False)
        assert split.test is not None  # noqa: S101  (checked when it was loaded)
        self.progress.begin(self._planned_rows(len(split.train)))
        self._train(split, full=False)
        self.progress.stage("gradients")
        for key in ("X0", "X1"):
            self.pictures[f"gradient {key}"] = self._gradient(split.train, self.runs[key][0])
        test = _copy(split.test)
        del split  # the larger one needs the memory
        if self.source.full_rows:
            split = self._load(full=True)
            self._train(split, full=True)
            del split
        for key in ("D1", "G1w", "V1"):
            self.pictures[f"weights {key}"] = self.runs[key][0].W
        best = max(self.runs, key=self._rank)
        self.pictures[f"weights {best}"] = self.runs[best][0].W
        experiments = {e.id: self._describe(e, len(test)) for e in study.all_experiments()
                       if e.id in self.runs}  # fmt: skip
        return {
            "format": FORMAT,
            "kind": "study",
            "source": study.SOURCE,
            "study_ids": [experiment.id for experiment in study.PUBLISHED],
            "data": self.data[False],
            "full_data": self.data.get(True),
            "is_published_data": self.data[False]["sha256"] == study.DATA_SHA256,
            "seeds": list(self.seeds),
            "epochs": self.epochs,
            "published_epochs": study.EPOCHS,
            "command": self.source.command,
            "noise_errors": statistics.NOISE_ERRORS,
            "experiments": experiments,
            "explanations": [self._explain(key) for key in study.EXPLANATIONS],
            "conclusions": [self._compare(c, test.y) for c in study.CONCLUSIONS],
            "details": {
                key: [self._compare(c, test.y) for c in comparisons]
                for key, comparisons in study.DETAILS.items()
            },
            "outlook": [
                self._compare(c, test.y)
                for c in study.OUTLOOK
                if {c.first, c.second} <= self.runs.keys()
            ],
            "grids": {key: self._describe_grid(key) for key in self.candidates},
            "best": best,
            "errors": {key: self._errors(key, test) for key in dict.fromkeys(["G1w", best])},
            "wrong": self._wrong(best, test),
            "arrays": {name: pack(array) for name, array in self.pictures.items()},
            "computed": self._computed(),
        }

    def _load(self, *, full: bool) -> Split:
        self.progress.stage("reading the data")
        split = self.source.load(full)
        check_parts(split)
        train = split.train
        self.data[full] = {
            "name": split.name,
            "sha256": split.fingerprint(),
            "rows": {part: len(data) for part, data in split.parts().items()},
            "features": train.X.shape[1],
            "dtype": str(train.X.dtype),
            "class_names": list(train.class_names),
            "image_shape": train.image_shape and list(train.image_shape),
        }
        return split

    def _experiments(self, *, full: bool) -> list[Experiment]:
        return [e for e in study.all_experiments() if e.full == full]

    def _planned_rows(self, rows: int) -> int:
        """Return how many rows (times epochs) there are to train on at most."""
        planned = 0
        for full in (False, True) if self.source.full_rows else (False,):
            experiments = self._experiments(full=full)
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
        experiments = self._experiments(full=full)
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
        self.runs[experiment.id] = [_best(records) for records in self.candidates[experiment.id]]

    def _tune(self, split: Split, experiment: Experiment) -> None:
        self.progress.stage(f"{experiment.id}, tuning")
        first = self.seeds[0]
        records = self.runner.run(split, experiment.configs(first, self.epochs))
        self.candidates[experiment.id] = [records]
        winner = records.index(_best(records))
        self.progress.stage(f"{experiment.id}, its winner")
        configs = [experiment.configs(seed, self.epochs)[winner] for seed in self.seeds]
        self.runs[experiment.id] = self.runner.run(split, configs)

    def _rank(self, key: str) -> float:
        """Return by what the best experiment is chosen: validation accuracy, never the test."""
        return float(np.mean([run.val_accuracy for run in self.runs[key]]))

    def _gradient(self, train: Dataset, run: RunRecord) -> NDArray[Any]:
        with functional.use_threads(self.threads):
            return gradient(self._model(run, train), train, run.config)

    def _model(self, run: RunRecord, data: Dataset) -> LinearModel:
        return LinearModel(run.W, run.b, data.class_names, data.image_shape)

    def _describe(self, experiment: Experiment, test_rows: int) -> Json:
        runs = self.runs[experiment.id]
        accuracy = statistics.summarise([run.test_accuracy for run in runs])
        described: Json = {
            "id": experiment.id,
            "title": experiment.title,
            "kind": experiment.kind,
            "train_rows": self.data[experiment.full]["rows"]["train"],
            "settings": [run.config.to_dict() for run in runs],
            "command": self.source.command_of(experiment, runs[0].config),
            "published": experiment.published,
            "test_accuracy": _sample([run.test_accuracy for run in runs]),
            "test_cost": _sample([run.test_cost for run in runs]),
        }
        for name in CURVES:
            last = [float(getattr(run.history, name)[-1]) for run in runs]
            described[name] = _sample(last)
        if experiment.published is not None:
            difference = accuracy.mean - experiment.published
            error = statistics.error_against_published(experiment.published, test_rows, accuracy)
            described["against_published"] = {
                "difference": difference,
                "error": error,
                "verdict": statistics.verdict(difference, error),
                "reach_of_seeds": statistics.reach_of_seeds(accuracy),
            }
        if experiment.has_curves:
            described["curves"] = {
                "epoch": runs[0].history.epoch.tolist(),
                "lr": runs[0].history.lr.tolist(),
                **{name: [getattr(run.history, name).tolist() for run in runs] for name in CURVES},
            }
        return described

    def _compare(self, comparison: Comparison, y: NDArray[np.int64]) -> Json:
        first, second = self.runs[comparison.first], self.runs[comparison.second]
        test, val = (
            statistics.paired_difference(
                [getattr(run, what) for run in first], [getattr(run, what) for run in second]
            )
            for what in ("test_accuracy", "val_accuracy")
        )
        right = [np.stack([run.predictions == y for run in runs]) for runs in (first, second)]
        return {
            **asdict(comparison),
            "test": test._asdict(),
            "val": val._asdict(),
            "error_over_rows": statistics.error_over_rows(*right),
            "spreads": [
                statistics.summarise([run.test_accuracy for run in runs]).sd
                for runs in (first, second)
            ],
        }

    def _explain(self, key: str) -> Json:
        """Return whether the published accuracy is within reach of the seeds of experiments."""
        text, tests = study.EXPLANATIONS[key]
        published = next(e.published for e in study.PUBLISHED if e.id == key)
        assert published is not None  # noqa: S101  (all of them are)
        within = {}
        for name in (key, *tests):
            sample = statistics.summarise([run.test_accuracy for run in self.runs[name]])
            reach = statistics.reach_of_seeds(sample)
            within[name] = None if reach is None else abs(sample.mean - published) <= reach
        return {"id": key, "text": text, "tests": list(tests), "within_seeds": within}

    def _describe_grid(self, key: str) -> Json:
        """Return the candidates of a grid, and how far its published winner is from the others."""
        experiment = next(e for e in study.all_experiments() if e.id == key)
        per_seed = self.candidates[key]
        entries: list[Json] = [
            {
                "settings": {
                    name: value
                    for name, value in runs[0].config.to_dict().items()
                    if name in experiment.swept or not experiment.swept
                },
                "val_accuracy": _sample([run.val_accuracy for run in runs]),
                "test_accuracy": _sample([run.test_accuracy for run in runs]),
            }
            for runs in zip(*per_seed, strict=True)
        ]
        described: Json = {
            "swept": {name: list(values) for name, values in experiment.swept.items()},
            "seeds": len(per_seed),
            "entries": entries,
            "winners": [records.index(_best(records)) for records in per_seed],
        }
        if experiment.kind == "grid":
            described |= self._against_winner(entries, per_seed)
        return described

    def _against_winner(self, entries: list[Json], per_seed: list[list[RunRecord]]) -> Json:
        """Compare the published winner with every other entry, over seeds, by validation rows."""
        winner_settings = self.runs["G1w"][0].config
        winner = next(
            index for index, run in enumerate(per_seed[0]) if run.config == winner_settings
        )
        order = sorted(range(len(entries)), key=lambda i: -entries[i]["val_accuracy"]["mean"])
        against: list[Json] = []
        for index in order:
            if index == winner:
                continue
            pairs = {
                what: statistics.paired_difference(
                    entries[index][what]["values"], entries[winner][what]["values"]
                )._asdict()
                for what in ("val_accuracy", "test_accuracy")
            }
            against.append({"entry": index, **pairs})
        if len(per_seed) > 1:
            adjusted = statistics.holm([other["val_accuracy"]["p"] for other in against])
            for other, p in zip(against, adjusted, strict=True):
                other["val_accuracy"]["p_holm"] = p
        return {"published_winner": winner, "order": order, "against_winner": against}

    def _errors(self, key: str, test: Dataset) -> Json:
        predictions = np.stack([run.predictions for run in self.runs[key]])
        counts = statistics.confusion(test.y, predictions, len(test.class_names))
        accuracy = np.diag(counts) / np.maximum(counts.sum(axis=1), 1)
        return {"confusion": counts.tolist(), "per_class": accuracy.tolist()}

    def _wrong(self, key: str, test: Dataset) -> list[Json]:
        """Describe the test rows that the first run got wrong with most confidence."""
        run = self.runs[key][0]
        with functional.use_threads(self.threads):
            rows = most_wrong(self._model(run, test), test, run.config, WRONG_IMAGES)
        if test.image_shape is not None and rows:
            images = test.X[[row["row"] for row in rows]]
            self.pictures["wrong"] = as_pixels(images).reshape(-1, *test.image_shape)
        return rows

    def _computed(self) -> Json:
        records = {id(run): run for runs in self._all_runs() for run in runs}
        used = {
            experiment.id: _spent(
                [run for records in self.candidates.get(experiment.id, [self.runs[experiment.id]])
                 for run in records],
                self.data[experiment.full]["rows"]["train"],
            )
            for experiment in study.all_experiments()
            if experiment.id in self.runs
        }  # fmt: skip
        return {
            **machine.describe(),
            "date": machine.now(),
            "threads": self.threads,
            "runs": len(records),
            "runs_trained_now": self.runner.trained,
            "seconds_training": sum(run.seconds for run in records.values()),
            "seconds_now": time.perf_counter() - self.started,
            "experiments": used,
        }

    def _all_runs(self) -> list[list[RunRecord]]:
        candidates = [records for grid in self.candidates.values() for records in grid]
        return [*self.runs.values(), *candidates]


def _best(records: Sequence[RunRecord]) -> RunRecord:
    """Return the run with the best validation accuracy after the last epoch, first of equals."""
    return max(records, key=lambda run: run.val_accuracy)


def _sample(values: Sequence[float]) -> Json:
    return {"values": list(values), **statistics.summarise(values)._asdict()}


def _spent(runs: Sequence[RunRecord], rows: int) -> Json:
    seconds = sum(run.seconds for run in runs)
    samples = rows * sum(run.config.epochs for run in runs)
    return {"runs": len(runs), "seconds": seconds, "samples_per_second": samples / seconds}


def _copy(data: Dataset) -> Dataset:
    """Return the rows without the array that they are a part of."""
    return Dataset(data.X.copy(), data.y.copy(), data.class_names, data.image_shape)


def most_wrong(model: LinearModel, data: Dataset, config: TrainConfig, count: int) -> list[Json]:
    """Describe the rows that were misclassified with most confidence.

    That is the probability of the predicted class for softmax; for the hinge loss, which has none,
    the lead of its score over that of the true class, and `probability` is None.
    """
    scores = np.array(functional.scores(data.X, model.W, model.b), np.float64, order="C")
    predicted = scores.argmax(axis=1)
    lead = scores.max(axis=1) - scores[np.arange(len(data)), data.y]
    is_softmax = isinstance(config.loss, Softmax)
    confidence = functional.softmax(scores).max(axis=1) if is_softmax else lead
    wrong = np.flatnonzero(predicted != data.y)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        {
            "row": int(row),
            "true": int(data.y[row]),
            "predicted": int(predicted[row]),
            "lead": float(lead[row]),
            "probability": float(confidence[row]) if is_softmax else None,
        }
        for row in rows
    ]


def as_pixels(X: NDArray[Any]) -> NDArray[np.uint8]:
    """Return rows as pixels: as they are, or each stretched from its least to its largest value."""
    if X.dtype == np.uint8:
        return X
    low, high = X.min(axis=1, keepdims=True), X.max(axis=1, keepdims=True)
    span = np.where(high > low, high - low, 1)
    return np.asarray(255 * (X - low) / span).round().astype(np.uint8)
