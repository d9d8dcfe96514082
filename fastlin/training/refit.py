"""Training once more, on training and validation rows, with settings that are chosen."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from fastlin.data.dataset import Split, check_split
from fastlin.data.joining import check_can_refit, training_and_validation
from fastlin.errors import InputError, counted
from fastlin.model import LinearModel
from fastlin.settings import whole_number
from fastlin.training.grid import Seconds
from fastlin.training.trainer import Trainer, TrainResult


@dataclass(frozen=True, eq=False)
class Refit:
    """How the classifier of a `TrainResult` was fitted again.

    Attributes
    ----------
    rows : int
        On how many rows: those of training and validation.
    epochs : int
        For how many epochs.
    chosen_model, chosen_best_model : LinearModel
        The classifiers of the fit on the training rows alone, after its last and its best epoch.
        The history is theirs, and so is everything that was measured on validation rows.
    """

    rows: int
    epochs: int
    chosen_model: LinearModel
    chosen_best_model: LinearModel

    def note(self) -> str:
        """Return the sentence that says what the figures beside it are of."""
        return (
            f"the classifier is fitted again on all {self.rows:,} training and validation rows, "
            f"for {counted(self.epochs, 'epoch')} with the same settings; histories and validation "
            "figures are of the fit before, on the training rows alone"
        )


def refit(
    result: TrainResult,
    split: Split,
    *,
    epochs: int | None = None,
    threads: int | None = None,
) -> TrainResult:
    """Train the settings of a result once more, on training and validation rows.

    All settings stay as they are, also the learning rates where fewer epochs are trained. The cost
    is the mean loss plus the penalty, so an equal `l2` penalises alike however many rows there are;
    it is not an equal C of scikit-learn, whose l2 is 1/(2 C n).

    Parameters
    ----------
    result : TrainResult
        Of the split.
    split : Split
        With validation rows; the test rows are not touched.
    epochs : int, optional
        For how many epochs; by default all of the settings.
    threads : int, optional
        To run on, by default all; the result does not depend on it.

    Returns
    -------
    TrainResult
        The same with the new classifier as `model` and `best_model`, and a `refit` that says so.

    Raises
    ------
    InputError
        If there are no validation rows, or not so many epochs.
    DivergedError
        If a cost is not finite.
    """
    check_split(split)
    check_can_refit(split)
    config = result.config
    count = config.epochs if epochs is None else whole_number("epochs", epochs, 1)
    if count > config.epochs:
        raise InputError(f"epochs is {count}; the settings have {config.epochs}")
    rows = training_and_validation(split)
    trainer = Trainer(Split(split.name, rows), config, threads, eval_train_every=0)
    model = trainer.run(epochs=count).model
    return replace(
        result,
        model=model,
        best_model=model,
        seconds=_sum(result.seconds, trainer.seconds),
        refit=Refit(len(rows), count, result.model, result.best_model),
    )


def _sum(first: Seconds, second: Seconds) -> Seconds:
    parts = {part.name for part in fields(Seconds)}
    return Seconds(**{name: getattr(first, name) + getattr(second, name) for name in parts})
