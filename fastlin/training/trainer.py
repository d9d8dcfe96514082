"""Training one classifier, an epoch at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from fastlin.config import TrainConfig
from fastlin.data.dataset import Split, check_split
from fastlin.data.joining import check_can_refit
from fastlin.engine import Array
from fastlin.errors import AdviceWarning, DivergedError, InputError, counted
from fastlin.fitting import check_calibrates_alone
from fastlin.history import EpochRecord, History
from fastlin.model import LinearModel
from fastlin.settings import Switch
from fastlin.training import calibration
from fastlin.training.advice import advise_on
from fastlin.training.grid import GridTrainer, Seconds
from fastlin.training.selection import DEFAULT_SELECT, check_can_select

if TYPE_CHECKING:
    from fastlin.training.calibration import Temperature
    from fastlin.training.refit import Refit


@dataclass(frozen=True, eq=False)
class TrainResult:
    """Everything that one training run found.

    Attributes
    ----------
    config : TrainConfig
        The settings.
    history : History
        Cost and accuracy after every finished epoch.
    model : LinearModel
        The classifier after the last finished epoch.
    best_model : LinearModel
        The classifier after `best_epoch`.
    seconds : Seconds
        Where the time went.
    select : str
        By which measure an epoch is the best.
    refit : Refit or None
        Where the classifier was fitted again on training and validation rows: it is then both
        `model` and `best_model`, and `refit` has those that the history is of.
    calibration : Mapping[str, Temperature] or None
        Where temperatures were fitted on the validation rows: those of `model` (``last``) and of
        `best_model` (``best``).
    """

    config: TrainConfig
    history: History
    model: LinearModel
    best_model: LinearModel
    seconds: Seconds
    select: str = DEFAULT_SELECT
    refit: Refit | None = None
    calibration: Mapping[str, Temperature] | None = None

    @property
    def chosen(self) -> TrainResult:
        """The result as it was before a refit: that of the fit on the training rows alone."""
        if self.refit is None:
            return self
        first, best = self.refit.chosen_model, self.refit.chosen_best_model
        return replace(self, model=first, best_model=best, refit=None)

    @property
    def best_epoch(self) -> int:
        """The epoch of `best_model`; see `History.best_by`."""
        return self.history.best_by(self.select)

    def __repr__(self) -> str:
        epochs = f"{len(self.history)} of {counted(self.config.epochs, 'epoch')}"
        return f"TrainResult({self.config.loss}, {epochs}, best {self.best_epoch}; {self.history})"


class Trainer:
    """One training run, an epoch at a time; what is finished is never lost.

    `result()` describes the run up to the last finished epoch at any moment: after an interrupt,
    and after a divergence, too. After an exception in an epoch, wherever it came, the next call of
    `run_epoch` begins that epoch anew, and ends with the bits of an undisturbed run.

    It is a `fastlin.training.grid.GridTrainer` of one configuration.

    Parameters
    ----------
    split : Split
        Training rows, and validation rows if there are any; the test rows are not touched.
    config : TrainConfig
        The settings; with the data they decide every bit of the result.
    threads : int or None
        To run on, None for all; the result does not depend on it.
    select : str
        By which measure `best_model` is the best; see `GridTrainer`.
    eval_train_every : int
        After every so many epochs the training rows are evaluated, 0 for never; where they are not,
        the history has NaN. It changes no weights. Without validation rows, the best epoch is one
        of which the training rows were evaluated, or the last if there is none.

    Attributes
    ----------
    split : Split
    config : TrainConfig
        With what was chosen from the rows in the place of ``auto``.
    threads : int
        How many it runs on.
    notes : tuple[str, ...]
        What a user should know of the data, a sentence each.

    Raises
    ------
    InputError
        If `threads` is outside what the process can use, `eval_train_every` is no whole number, 0
        or above, images are to be mirrored that are none, or a value is beyond `config.dtype`.
    """

    def __init__(
        self,
        split: Split,
        config: TrainConfig,
        threads: int | None = None,
        select: str = DEFAULT_SELECT,
        eval_train_every: int = 1,
    ) -> None:
        self._grid = GridTrainer(split, [config], threads, select, eval_train_every)
        self.split = split
        self.config = self._grid.configs[0]
        self.threads = self._grid.threads
        self.notes = self._grid.notes

    @property
    def epochs_done(self) -> int:
        """How many epochs are finished."""
        return self._grid.epochs_done(0)

    @property
    def seconds(self) -> Seconds:
        """Where the time went so far."""
        return self._grid.seconds

    @property
    def feature_offset(self) -> Array | None:
        """What is subtracted from features, as `LinearModel.feature_offset` of the result."""
        return self._grid.offset(0)

    def compile(self) -> None:
        """Compile, or load from the cache, every kernel the run needs."""
        self._grid.compile()

    def run_epoch(self) -> EpochRecord:
        """Train one epoch, evaluate it, and return its record.

        Raises
        ------
        DivergedError
            If a cost is not finite. The result keeps the last finished epoch.
        """
        outcome = self._grid.run_epoch([0])[0]
        if isinstance(outcome, DivergedError):
            raise outcome
        return outcome

    def run(
        self, on_epoch: Callable[[EpochRecord], None] | None = None, *, epochs: int | None = None
    ) -> TrainResult:
        """Compile, train so many more epochs, by default all of the settings, and return the run.

        `on_epoch` is called with the record of every epoch. Raises DivergedError as `run_epoch`
        does.
        """
        self.compile()
        for _ in range(self.config.epochs if epochs is None else epochs):
            record = self.run_epoch()
            if on_epoch is not None:
                on_epoch(record)
        return self.result()

    def result(self) -> TrainResult:
        """Return the run up to the last finished epoch."""
        grid = self._grid
        return TrainResult(
            self.config, grid.history(0), grid.model(0), grid.best_model(0), self.seconds,
            grid.select,
        )  # fmt: skip

    def state(self) -> dict[str, Array]:
        """Return the arrays from which, with its records, `restore` continues the run."""
        return self._grid.state(0)

    def restore(self, records: Sequence[EpochRecord], arrays: Mapping[str, Array]) -> None:
        """Continue from the records and arrays of a run with equal settings.

        Parameters
        ----------
        records : Sequence[EpochRecord]
            Of its history.
        arrays : Mapping[str, Array]
            What `state` returned of it.

        Raises
        ------
        InputError
            If the arrays are not those of such a run.
        """
        self._grid.restore(0, records, arrays)


def train(
    split: Split,
    config: TrainConfig | None = None,
    *,
    threads: int | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    eval_train_every: int = 1,
    select: str = DEFAULT_SELECT,
    refit: bool = False,
    calibrate: bool = False,
    **settings: Any,
) -> TrainResult:
    """Train a linear classifier; notes and advice are warnings (`fastlin.AdviceWarning`).

    Parameters
    ----------
    split : Split
        Training rows, and validation rows if there are any; the test rows are not touched.
    config : TrainConfig or None
        The settings; None for the defaults.
    threads : int or None
        To run on, None for all; the result does not depend on it.
    on_epoch : Callable[[EpochRecord], None] or None
        Called with the record of every finished epoch.
    eval_train_every : int
        After every so many epochs the training rows are evaluated, 0 for never; see `Trainer`.
    select : str
        By which measure `best_model` is the best, such as ``val_balanced_accuracy``.
    refit, calibrate : bool
        Whether the classifier is then fitted again on training and validation rows, for all epochs
        of the settings (`fastlin.training.refit`), or gets a temperature (`fastlin.calibrate`).
    **settings : Any
        Settings by name, such as ``lr=0.1``; they take precedence over those of `config`.

    Returns
    -------
    TrainResult

    Raises
    ------
    InputError
        If there is no such setting, or for the reasons of `Trainer` and `refit`.
    DivergedError
        If a cost is not finite. To keep the epochs before it, use `Trainer`.
    """
    config = with_settings(config, settings)
    _check_choices(split, config, select, refit, calibrate)
    trainer = Trainer(split, config, threads, select, eval_train_every)
    for note in trainer.notes:
        warnings.warn(note, stacklevel=2)
    result = _with_advice(trainer.run(on_epoch), split)
    if refit:
        from fastlin.training.refit import refit as fit_again  # noqa: PLC0415  (it imports this)

        result = fit_again(result, split, threads=trainer.threads)
    if calibrate:
        result = calibration.with_calibration(result, split, trainer.threads)
        for text in calibration.notes_on(result):
            warnings.warn(text, AdviceWarning, stacklevel=2)
    return result


def _check_choices(
    split: Split, config: TrainConfig, select: str, refit: object, calibrate: object
) -> None:
    """Raise InputError if what comes after training, or its best epoch, cannot be had."""
    check_split(split)
    check_can_select(split, select, [config.loss])
    refit = Switch().checked("refit", refit)
    calibrate = Switch().checked("calibrate", calibrate)
    check_calibrates_alone(["refit"] if refit else [], calibrate=calibrate)
    if refit:
        check_can_refit(split)
    if calibrate:
        calibration.check_can_calibrate(split, [config.loss])


def _with_advice(result: TrainResult, split: Split) -> TrainResult:
    """Warn the caller of `train` of what should be tried next, and return the result."""
    for advice in advise_on(result, split):
        warnings.warn(advice, AdviceWarning, stacklevel=3)
    return result


def with_settings(config: TrainConfig | None, settings: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration in which settings by name take precedence."""
    if config is None:
        config = TrainConfig()
    if not isinstance(config, TrainConfig):
        raise InputError(
            f"config is a {type(config).__name__}; it must be a TrainConfig, or settings by name: "
            "train(split, lr=0.1)"
        )
    known = [field.name for field in fields(TrainConfig)]
    for name in settings:
        if name not in known:
            raise InputError(f"unknown setting {name}; the settings are {', '.join(sorted(known))}")
    return replace(config, **settings)
