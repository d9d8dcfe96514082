"""The run folder: what a training run leaves on disk; see `fastlin.files` for how.

config.json    the data and the settings; --config of its command does it again
history.csv    one line per finished epoch
model.npz      the weights after the last and the best epoch, arrays only
summary.json   results, versions, data fingerprint, threads and timings
figures/       PNG images
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlin import files
from fastlin.config import TrainConfig
from fastlin.data import source
from fastlin.data.dataset import Split, check_split
from fastlin.errors import InputError, counted, quoted
from fastlin.fitting import Fitting
from fastlin.history import History
from fastlin.history_file import HISTORY, load_history, save_history
from fastlin.metrics import check_select
from fastlin.model import LinearModel
from fastlin.model_file import MODEL, load_models, save_models
from fastlin.settings import AUTO
from fastlin.summaries import Study, evaluate_all, summarize, with_measures

if TYPE_CHECKING:
    from fastlin.search.ranking import GridResult
    from fastlin.solving.solution import Solution
    from fastlin.training.trainer import TrainResult

CONFIG, SUMMARY, FIGURES = "config.json", "summary.json", "figures"
FILES = (CONFIG, HISTORY, MODEL, SUMMARY)
FORMAT = 1  # of config.json
DataReference = source.DataReference  # of config.json, as in a split
_PLAIN = Fitting()  # once, on the training rows


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, read back.

    Attributes
    ----------
    folder : Path
        Where it is.
    data : DataReference
        What was trained on.
    config : TrainConfig
        The settings.
    history : History
        Cost and accuracy after every finished epoch.
    model, best_model : LinearModel
        The classifier after the last, and after the best epoch; of a run that was fitted again,
        both are that classifier.
    fitting : Fitting
        On which rows it was fitted, if not once on the training rows.
    """

    folder: Path
    data: DataReference
    config: TrainConfig
    history: History
    model: LinearModel
    best_model: LinearModel
    fitting: Fitting = _PLAIN

    @property
    def select(self) -> str:
        """By which measure `best_epoch` is the best, one of `fastlin.metrics.SELECTABLE`."""
        return f"val_{self.fitting.select}"

    @property
    def best_epoch(self) -> int:
        """The epoch of `best_model`, before a refit; see `History.best_by`."""
        return self.history.best_by(self.select)

    def __repr__(self) -> str:
        return (
            f"Run({quoted(str(self.folder))}: {self.config.loss} on {quoted(self.data.data)}, "
            f"{len(self.history)} of {counted(self.config.epochs, 'epoch')})"
        )


def create_run_folder(
    out: str | Path | None, name: str, file: str, content: Mapping[str, Any]
) -> Path:
    """Make the folder of a new run, with its first file, so that a bad place is known at once.

    No other process can take the folder for a run of its own. One that was killed here leaves a
    folder that can be taken again.

    Parameters
    ----------
    out : str or Path, optional
        The folder, which must not exist or be empty; None for the first free runs/NAME-1, -2, ...
    name : str
        What a folder is called when `out` is None.
    file : str
        The name of the first file, such as `CONFIG`.
    content : Mapping[str, Any]
        Of that file, as JSON; of a configuration, see `config_content`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder cannot be written, already holds something, or is in use.
    """
    out = None if out is None else files.as_path(out)
    place = Path("runs") if out is None else out
    try:
        folder = _next_free(place, name) if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        with files.locked(folder):
            files.sweep(folder)
            if any(folder.iterdir()):
                raise InputError(
                    f"{folder} is not empty; name a new folder, so that no run is lost"
                )
            files.save_json(folder / file, content)
    except OSError as error:
        raise InputError(
            f"cannot write to {place}: {error.strerror or error}; name another folder"
        ) from None
    return folder


def _next_free(parent: Path, name: str) -> Path:
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def config_content(
    data: DataReference, config: TrainConfig, fitting: Fitting = _PLAIN
) -> dict[str, Any]:
    """Return the content of config.json: of an exact fit, only the settings that it has."""
    settings = fitting.counting(config.to_dict())
    content = {"format": FORMAT, "data": asdict(data), "train": settings}
    return content | ({"fit": fitting.content()} if fitting != _PLAIN else {})


def save_config(
    folder: str | Path, data: DataReference, config: TrainConfig, fitting: Fitting = _PLAIN
) -> None:
    """Write config.json. Raises InputError if the folder cannot be written."""
    files.save_json(files.as_path(folder) / CONFIG, config_content(data, config, fitting))


def save_summary(folder: str | Path, summary: dict[str, Any]) -> None:
    """Write summary.json. Raises InputError if the folder cannot be written."""
    files.save_json(files.as_path(folder) / SUMMARY, summary)


def save_run(
    folder: str | Path,
    result: TrainResult | Solution | GridResult | Study,
    split: Split,
    *,
    threads: int | None = None,
) -> Path:
    """Write what was trained as a run folder, as `fastlin train` does, without figures.

    `load_run` reads it back, and every command that takes a run folder does.

    Parameters
    ----------
    folder : str or Path
        One that does not exist, or is empty.
    result : TrainResult, Solution, GridResult or Study
        Of `fastlin.train`; of `fastlin.solve`, on the training rows of the split; of
        `fastlin.grid_search`, whose winner is written; or of `fastlin.cross_validate` or
        `fastlin.few_shots`.
    split : Split
        What was trained on; the result is evaluated on all of its parts. Where the split has no
        `source`, commands must be told the data (``--data``).
    threads : int, optional
        To evaluate on; by default all.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder already holds something, or cannot be written.
    """
    # Whoever has a result has loaded them.
    from fastlin.search.ranking import GridResult  # noqa: PLC0415
    from fastlin.search.winner import run_of_winner  # noqa: PLC0415
    from fastlin.solving.run import ExactFit  # noqa: PLC0415
    from fastlin.solving.solution import Solution  # noqa: PLC0415
    from fastlin.training.trainer import TrainResult  # noqa: PLC0415

    folder = files.as_path(folder)
    check_split(split)
    study = None
    if isinstance(result, Solution):
        result = ExactFit.of(result, split)
    if isinstance(result, GridResult):
        run = run_of_winner(result)
    elif isinstance(result, TrainResult):
        run = result
    else:
        study, run = result, result.result
    reference = replace(split.source or DataReference(split.name), sha256=split.fingerprint())
    content = config_content(reference, run.config, _fitting_of(run, study))
    create_run_folder(folder, split.name, CONFIG, content)
    status = "finished" if len(run.history) == run.config.epochs else "interrupted"
    write_run(folder, reference, run, split, status, threads, study=study)
    return folder


def write_run(
    folder: Path,
    reference: DataReference,
    result: TrainResult,
    split: Split,
    status: str,
    threads: int | None,
    *,
    compile_seconds: float = 0.0,
    started: float | None = None,
    study: Study | None = None,
) -> dict[str, Any]:
    """Write all files of a run into a folder that exists; return the content of summary.json.

    A run that was interrupted in its first epoch is not evaluated.

    Parameters
    ----------
    folder : Path
    reference : DataReference
        Of the split, with its fingerprint.
    result : TrainResult
    split : Split
        What was trained on.
    status : str
        As in `summarize`.
    threads : int or None
        To evaluate on; None for all.
    compile_seconds : float
        What was compiled before the result began to count.
    started : float or None
        When the run began, as `time.perf_counter` tells it; None if the total is of its parts.
    study : Study or None
        Of which it is the result, and what else is written; it is evaluated on its own rows.
    """
    if study is not None:
        split = study.fitted_on(split)
        study.save(folder)
    fitting = _fitting_of(result, study)
    save_config(folder, reference, result.config, fitting)
    save_history(folder, result.history, result.select)
    save_models(folder, result.model, result.best_model)
    evaluations: dict[str, Any] = {"last": {}, "best": {}}
    evaluating = 0.0
    if status != "interrupted" or len(result.history) > 0:  # else it would compile for nothing
        evaluations, evaluating = evaluate_all(result, split, threads)
        if fitting.gap is not None:
            result = with_measures(result, evaluations)
            save_history(folder, result.history, result.select)
    seconds = asdict(result.seconds) | {"draw": 0.0}
    seconds["compile"] += compile_seconds
    seconds["evaluate"] += evaluating
    seconds["total"] = sum(seconds.values()) if started is None else time.perf_counter() - started
    summary = summarize(status, result, split, evaluations, seconds, threads)
    if study is not None:
        summary |= study.summary()
    save_summary(folder, summary)
    return summary


def _fitting_of(result: TrainResult, study: Study | None) -> Fitting:
    if study is not None:
        return study.fitting
    epochs = None if result.refit is None else result.refit.epochs
    is_calibrated, select = result.calibration is not None, result.select.removeprefix("val_")
    return Fitting(refit_epochs=epochs, calibrate=is_calibrated, select=select)


def load_config(path: str | Path) -> tuple[DataReference, TrainConfig]:
    """Read data and settings of a config.json; see `load_configuration`."""
    return load_configuration(path)[:2]


def load_configuration(path: str | Path) -> tuple[DataReference, TrainConfig, Fitting]:
    """Read a config.json.

    A setting that is not there has its default, as one that came after the file was written.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    tuple[DataReference, TrainConfig, Fitting]

    Raises
    ------
    InputError
        If the file is missing, is not JSON, was written by a newer fastlin, or has unknown or
        impossible settings.
    """
    path = files.as_path(path)
    content = files.read_json(path)
    if not isinstance(content, dict) or not {"data", "train"} <= content.keys():
        raise InputError(f"{path} is not a fastlin configuration: it must hold 'data' and 'train'")
    files.check_format(path, content, FORMAT)
    for name in content:
        if name not in {"format", "data", "train", "fit"}:
            raise InputError(f"{path}: unknown key {quoted(name)}; the keys are data, train, fit")
    try:
        if not isinstance(content["train"], dict):
            raise InputError("'train' must hold the settings by name")
        reference = DataReference.from_dict(content["data"])
        fitting = Fitting.from_dict(content.get("fit", {}))
        settings = content["train"] if fitting.gap is None else {"epochs": 1} | content["train"]
        config = TrainConfig.from_dict(settings)
        check_select(f"val_{fitting.select}")
        if (fitting.refit_epochs or 0) > config.epochs:
            raise InputError(
                f"refit_epochs is {fitting.refit_epochs}, more than the "
                f"{counted(config.epochs, 'epoch')}"
            )
        return reference, config, fitting
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_run(folder: str | Path) -> Run:
    """Read a run folder back, which `save_run` or `fastlin train` wrote.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the folder or one of its files is missing or damaged, or they contradict each other.
    """
    folder = files.as_path(folder)
    files.check_reachable(folder)
    if not folder.is_dir():
        raise InputError(f"no run folder {folder}; `fastlin train` makes one under runs/")
    data, config, fitting = load_configuration(folder / CONFIG)
    model, best_model = (
        model if model.loss is not None else replace(model, loss=str(config.loss))  # an older file
        for model in load_models(folder / MODEL)
    )
    for which in (model, best_model):
        _check_is_of(which, config, fitting, folder)
    history = load_history(folder / HISTORY, config.epochs, f"val_{fitting.select}")
    return Run(folder, data, config, history, model, best_model, fitting)


def _check_is_of(model: LinearModel, config: TrainConfig, fitting: Fitting, folder: Path) -> None:
    """Raise InputError if a model cannot have been trained with the settings beside it."""
    found = {
        "loss": model.loss,
        "standardize": model.feature_std is not None,
        "dtype": str(model.W.dtype),
    }
    for name, of_model in found.items():
        of_config = getattr(config, name)
        if of_config != AUTO and str(of_config) != str(of_model):
            raise InputError(
                f"{folder}: {CONFIG} has {name} {quoted(str(of_config))}, but {MODEL} was trained "
                f"with {name} {quoted(str(of_model))}; one of them is of another run"
            )
    if fitting.calibrate != (model.temperature is not None):
        has, lacks = (CONFIG, MODEL) if fitting.calibrate else (MODEL, CONFIG)
        raise InputError(
            f"{folder}: {has} is of a calibrated run, and {lacks} of one that is not; one of them "
            "is of another run"
        )
