"""Training what a report asks for, with a memory: a run that is on disk is never trained twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastlin import machine
from fastlin.config import TrainConfig
from fastlin.data.dataset import Split
from fastlin.errors import DivergedError, InputError
from fastlin.files import make_directory, read_npz, save_npz
from fastlin.functional import use_threads
from fastlin.history import HISTORY_COLUMNS, EpochRecord, History
from fastlin.model import LinearModel
from fastlin.report.study.experiments import PICTURED_SEED
from fastlin.search.cluster import trainer_of
from fastlin.training.defaults import with_chosen
from fastlin.training.evaluation import evaluate

FORMAT = 2  # of the checkpoints
CHECKPOINTS = "checkpoints"  # their folder
# Runs that differ in these are trained one after another, so that an interrupt loses less of them.
_SHARED = (
    "average_epochs",
    "dtype",
    "epochs",
    "flip",
    "nesterov",
    "shuffle",
    "sigma",
    "standardize",
)


class Progress(Protocol):
    """Told how training goes on, in training rows times epochs."""

    def begin(self, rows: int) -> None:
        """Take note of how many rows lie ahead, at most."""

    def stage(self, title: str) -> None:
        """Name what comes next."""

    def advance(self, rows: int, *, trained: bool) -> None:
        """Count rows that are done: trained just now, or found on disk."""


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What is kept of one training run.

    Attributes
    ----------
    config : its settings.
    history : cost and accuracy after every epoch.
    test_cost, test_accuracy : of the weights after the last epoch.
    predictions : (n,) unsigned, the class given to every test row.
    W, b : the weights after the last epoch, where the seed is the one that is drawn, else empty.
    seconds : its share, by rows, of the wall time of the runs it was trained with.
    """

    config: TrainConfig
    history: History
    test_cost: float
    test_accuracy: float
    predictions: NDArray[Any]
    W: NDArray[Any]
    b: NDArray[Any]
    seconds: float

    @property
    def val_accuracy(self) -> float:
        """Validation accuracy after the last epoch."""
        return float(self.history.val_accuracy[-1])

    def measure(self, name: str) -> float:
        """Return a cost or an accuracy after the last epoch, such as ``val_cost``."""
        own = name.startswith("test")
        return float(getattr(self, name) if own else getattr(self.history, name)[-1])

    @property
    def has_curves(self) -> bool:
        """Whether it was evaluated after every epoch, not after the last one only."""
        return bool(np.isfinite(self.history.train_cost).all())


class Runner:
    """Trains configurations on splits, remembering every finished run in a folder.

    A run is known by its settings, the fingerprint of its data and `machine.identity`: what other
    kernels or another kind of processor computed is not mixed with what is computed here.

    Parameters
    ----------
    folder : for the checkpoints; made if need be.
    threads : to train on, None for all.
    with_curves : the configurations to evaluate after every epoch; all others are evaluated after
        the last one only, and before it their histories hold NaN.
    progress : told what is done.
    client : of a cluster whose workers train, see `fastlin.search.cluster`; None for this process.
    """

    def __init__(
        self,
        folder: Path,
        threads: int | None,
        with_curves: Collection[TrainConfig],
        progress: Progress,
        client: Any = None,
    ) -> None:
        self._client = client
        self._folder = make_directory(folder)
        self._threads = threads
        self._with_curves = with_curves
        self._progress = progress
        self._counted: set[str] = set()
        self._records: dict[str, RunRecord] = {}
        self.trained = 0
        for path in sorted(folder.glob("*.npz")):
            self._records |= _load(path)

    def run(self, split: Split, configs: Sequence[TrainConfig]) -> list[RunRecord]:
        """Return a record per configuration, training those that are not known yet.

        Raises
        ------
        InputError
            If a run diverges, or a checkpoint cannot be written.
        """
        chosen = with_chosen(configs, split.train)  # a rule may become another one
        keys = [self._key(split, config) for config in chosen]
        missing: dict[tuple[Any, ...], dict[str, TrainConfig]] = {}
        for key, config in zip(keys, configs, strict=True):
            if not self._is_known(key, config):
                settings = config.to_dict()
                shared = tuple(settings[name] for name in _SHARED)
                missing.setdefault(shared, {})[key] = config
            elif key not in self._counted:
                self._progress.advance(len(split.train) * config.epochs, trained=False)
            self._counted.add(key)
        for block in missing.values():
            self._records |= self._train(split, block)
        return [self._records[key] for key in keys]

    def _train(self, split: Split, block: dict[str, TrainConfig]) -> dict[str, RunRecord]:
        start = time.perf_counter()
        configs = list(block.values())
        models, histories = self._fit(split, configs)
        assert split.test is not None  # noqa: S101  (the study has test rows)
        kind = np.min_scalar_type(len(split.train.class_names) - 1)
        with use_threads(self._threads):
            evaluations = [
                evaluate(model, split.test, config)
                for model, config in zip(models, configs, strict=True)
            ]
        seconds = (time.perf_counter() - start) / len(configs)
        records = {}
        for (key, config), model, history, found in zip(
            block.items(), models, histories, evaluations, strict=True
        ):
            is_drawn = config.seed == PICTURED_SEED
            records[key] = RunRecord(
                config,
                history,
                found.cost,
                found.accuracy,
                found.predictions.astype(kind),
                model.W if is_drawn else model.W[:0],
                model.b if is_drawn else model.b[:0],
                seconds,
            )
        _save(self._folder, records)
        self.trained += len(records)
        return records

    def _is_known(self, key: str, config: TrainConfig) -> bool:
        record = self._records.get(key)
        return record is not None and (config not in self._with_curves or record.has_curves)

    def _fit(
        self, split: Split, configs: list[TrainConfig]
    ) -> tuple[list[LinearModel], list[History]]:
        """Train configurations together: runs that take rows in the same order share them."""
        trainer = trainer_of(self._client)(split, configs, self._threads)
        trainer.compile()
        places = range(len(configs))
        curved = [place for place in places if configs[place] in self._with_curves]
        epochs = configs[0].epochs
        for epoch in range(1, epochs + 1):
            outcomes = trainer.run_epoch(places, places if epoch == epochs else curved)
            for place, outcome in outcomes.items():
                if isinstance(outcome, DivergedError):
                    config = configs[place]
                    raise InputError(
                        f"on {split.name} training diverges with lr {config.lr:g} and "
                        f"{config.loss} loss; the settings of the study do not suit these data"
                    )
            self._progress.advance(len(split.train) * len(configs), trained=True)
        return [trainer.model(place) for place in places], [trainer.history(p) for p in places]

    def _key(self, split: Split, config: TrainConfig) -> str:
        identity = [FORMAT, machine.identity(), split.fingerprint(), config.to_dict()]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _save(folder: Path, records: dict[str, RunRecord]) -> None:
    """Write finished runs to a file of their own."""
    name = hashlib.sha256("".join(records).encode()).hexdigest()[:16]
    arrays: dict[str, Any] = {"keys": np.array(list(records))}
    for index, record in enumerate(records.values()):
        arrays |= {
            f"config_{index}": np.array(json.dumps(record.config.to_dict())),
            f"history_{index}": np.array(record.history.records(), np.float64),
            f"test_{index}": np.array([record.test_cost, record.test_accuracy, record.seconds]),
            f"predictions_{index}": record.predictions,
            f"W_{index}": record.W,
            f"b_{index}": record.b,
        }
    save_npz(folder / f"{name}.npz", arrays)


def _load(path: Path) -> dict[str, RunRecord]:
    """Read finished runs; none if the file is damaged: they will be trained again."""
    records = {}
    try:
        arrays = read_npz(path)
        for index, key in enumerate(arrays["keys"].tolist()):
            config = TrainConfig.from_dict(json.loads(str(arrays[f"config_{index}"])))
            rows = arrays[f"history_{index}"]
            epochs = np.arange(1, config.epochs + 1)
            if rows.shape != (config.epochs, len(HISTORY_COLUMNS)) or (rows[:, 0] != epochs).any():
                return {}
            history = History.from_records([EpochRecord(int(e), *v) for e, *v in rows.tolist()])
            cost, accuracy, seconds = arrays[f"test_{index}"].tolist()
            records[str(key)] = RunRecord(
                config,
                history,
                cost,
                accuracy,
                arrays[f"predictions_{index}"],
                arrays[f"W_{index}"],
                arrays[f"b_{index}"],
                seconds,
            )
    except (ValueError, KeyError, TypeError):  # an InputError is a ValueError
        return {}
    return records
