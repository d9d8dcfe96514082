"""The run folder: what a training run leaves on disk; see `fastlin.files` for how.

config.json    the data and the settings; `fastlin train --config` runs it again
history.csv    one line per finished epoch
model.npz      the weights after the last and the best epoch, arrays only
summary.json   results, versions, data fingerprint, threads and timings
figures/       PNG images
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.config import TrainConfig
from fastlin.data.features import FeatureRange
from fastlin.errors import InputError, quoted
from fastlin.history import HISTORY_COLUMNS, EpochRecord, History
from fastlin.model import LinearModel

CONFIG, HISTORY, MODEL, SUMMARY, FIGURES = (
    "config.json",
    "history.csv",
    "model.npz",
    "summary.json",
    "figures",
)
FORMAT = 1  # of config.json


@dataclass(frozen=True)
class DataReference:
    """How to find a run's data again: the arguments of `fastlin.load_split`.

    Attributes
    ----------
    data : a known name, or a path.
    split : the name of a split, or None for the default.
    data_dir : the folder to look in, or None for the usual places.
    sha256 : the fingerprint of the data that were found, or None if it is not known.
    """

    data: str
    split: str | None = None
    data_dir: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, str) and (value is not None or name == "data"):
                raise InputError(f"{name} is {quoted(value)}; it must be text")

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Build a reference from JSON values.

        Raises
        ------
        InputError
            If it is no dictionary with ``data`` and, if at all, ``split`` and ``data_dir``.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(content, dict) or "data" not in content:
            raise InputError("it must name the data that were trained on, as 'data'")
        for name in content:
            if name not in known:
                raise InputError(
                    f"unknown key {quoted(name)} in 'data'; the keys are {', '.join(known)}"
                )
        return cls(**content)


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, read back.

    Attributes
    ----------
    folder : where it is.
    data, config : what was trained on, and how.
    history : cost and accuracy after every finished epoch.
    model, best_model : the classifier after the last, and after the best epoch.
    """

    folder: Path
    data: DataReference
    config: TrainConfig
    history: History
    model: LinearModel
    best_model: LinearModel


def create_run_folder(out: Path | None, name: str, file: str, content: Mapping[str, Any]) -> Path:
    """Make the folder of a new run, with its first file, so that a bad place is known at once.

    No other process can take the folder for a run of its own. One that was killed here leaves a
    folder that can be taken again.

    Parameters
    ----------
    out : Path or None
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


def config_content(data: DataReference, config: TrainConfig) -> dict[str, Any]:
    """Return the content of config.json."""
    return {"format": FORMAT, "data": asdict(data), "train": config.to_dict()}


def save_config(folder: Path, data: DataReference, config: TrainConfig) -> None:
    """Write config.json. Raises InputError if the folder cannot be written."""
    files.save_json(folder / CONFIG, config_content(data, config))


def save_history(folder: Path, history: History) -> None:
    """Write history.csv; numbers are exact. Raises InputError if the folder cannot be written."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(HISTORY_COLUMNS)
    for record in history.records():
        writer.writerow("" if value != value else repr(value) for value in record)  # noqa: PLR0124
    with files.atomic_write(folder / HISTORY) as file:
        file.write(lines.getvalue().encode())


def save_models(folder: Path, model: LinearModel, best_model: LinearModel) -> None:
    """Write model.npz. Raises InputError if the folder cannot be written."""
    arrays: dict[str, Any] = {
        "W": model.W,
        "b": model.b,
        "best_W": best_model.W,
        "best_b": best_model.b,
        "class_names": np.array(model.class_names),
    }
    if model.image_shape is not None:
        arrays["image_shape"] = np.array(model.image_shape, np.int64)
    if model.feature_std is not None:
        arrays["feature_std"] = model.feature_std
    if model.feature_offset is not None:
        arrays["feature_offset"] = model.feature_offset
    if model.feature_range is not None:
        arrays["feature_range"] = np.array(model.feature_range)
    with files.atomic_write(folder / MODEL) as file:
        np.savez(file, **arrays)


def save_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write summary.json. Raises InputError if the folder cannot be written."""
    files.save_json(folder / SUMMARY, summary)


def load_config(path: Path) -> tuple[DataReference, TrainConfig]:
    """Read a config.json.

    A setting that is not there has its default, as one that came after the file was written.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple[DataReference, TrainConfig]

    Raises
    ------
    InputError
        If the file is missing, is not JSON, was written by a newer fastlin, or has unknown or
        impossible settings.
    """
    content = files.read_json(path)
    if not isinstance(content, dict) or not {"data", "train"} <= content.keys():
        raise InputError(f"{path} is not a fastlin configuration: it must hold 'data' and 'train'")
    files.check_format(path, content, FORMAT)
    for name in content:
        if name not in {"format", "data", "train"}:
            raise InputError(f"{path}: unknown key {quoted(name)}; the keys are data and train")
    try:
        if not isinstance(content["train"], dict):
            raise InputError("'train' must hold the settings by name")
        return DataReference.from_dict(content["data"]), TrainConfig.from_dict(content["train"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_run(folder: Path) -> Run:
    """Read a run folder back.

    Raises
    ------
    InputError
        If the folder or one of its files is missing or damaged.
    """
    files.check_reachable(folder)
    if not folder.is_dir():
        raise InputError(f"no run folder {folder}; `fastlin train` makes one under runs/")
    data, config = load_config(folder / CONFIG)
    model, best_model = _load_models(folder / MODEL)
    history = _load_history(folder / HISTORY, config.epochs)
    return Run(folder, data, config, history, model, best_model)


def _load_models(path: Path) -> tuple[LinearModel, LinearModel]:
    arrays = files.read_npz(path)
    for name in ("W", "b", "best_W", "best_b", "class_names"):
        if name not in arrays:
            raise InputError(f"{path} lacks the array {name}")
    names, shape = arrays["class_names"], arrays.get("image_shape")
    try:
        if names.ndim != 1 or names.dtype.kind != "U":
            raise InputError("class_names must be a list of text")
        more = (
            tuple(names.tolist()),
            _image_shape(shape),
            _of_features(arrays, "feature_std"),
            _of_features(arrays, "feature_offset"),
            _feature_range(arrays.get("feature_range")),
        )
        return (
            LinearModel(arrays["W"], arrays["b"], *more),
            LinearModel(arrays["best_W"], arrays["best_b"], *more),
        )
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _of_features(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64] | None:
    """Return an array of float64, of which a model has one value a feature, if it is there."""
    array = arrays.get(name)
    if array is not None and array.dtype != np.float64:
        raise InputError(f"{name} has dtype {array.dtype}; it must be float64")
    return array


def _feature_range(array: NDArray[Any] | None) -> FeatureRange | None:
    count = len(FeatureRange._fields)
    if array is not None and (array.shape != (count,) or array.dtype != np.float64):
        raise InputError(f"feature_range is {array.dtype} {array.shape}; it must be {count} floats")
    return None if array is None else FeatureRange(*array.tolist())


def _image_shape(shape: NDArray[Any] | None) -> tuple[int, int, int] | None:
    if shape is None:
        return None
    if shape.shape != (3,) or shape.dtype.kind not in "iu" or not (shape > 0).all():
        raise InputError("image_shape must be three whole numbers above 0")
    channels, height, width = shape.tolist()
    return channels, height, width


def _load_history(path: Path, epochs: int) -> History:
    """Read a history.csv of at most so many epochs."""
    lines = files.read_csv(path)
    if tuple(next(lines)) != HISTORY_COLUMNS:
        raise InputError(f"{path} is damaged: its first line must be {','.join(HISTORY_COLUMNS)}")
    records: list[EpochRecord] = []
    for number, (epoch, *cells) in enumerate(lines, start=1):
        if epoch != str(number):
            raise InputError(
                f"{path} is damaged: line {number + 1} is of epoch {quoted(epoch)}, not {number}"
            )
        if number > epochs:
            raise InputError(
                f"{path} is damaged: it has more than the {epochs} epochs of the run's {CONFIG}"
            )
        # Rows that were not evaluated have neither cost nor accuracy.
        pairs = {"train": cells[1:3], "val": cells[3:5]}
        values = []
        for name, cell in zip(HISTORY_COLUMNS[1:], cells, strict=True):
            try:
                is_absent = pairs.get(name.partition("_")[0]) == ["", ""]
                values.append(np.nan if is_absent else files.parse_number(cell))
            except ValueError as error:
                raise InputError(f"{path} is damaged: line {number + 1}, {name}: {error}") from None
        record = EpochRecord(number, *values)
        for name in ("train_accuracy", "val_accuracy"):
            if not (np.isnan(getattr(record, name)) or 0 <= getattr(record, name) <= 1):
                raise InputError(
                    f"{path} is damaged: line {number + 1}, {name}: {getattr(record, name)!r} is "
                    "outside 0 to 1"
                )
        records.append(record)
    return History.from_records(records)
