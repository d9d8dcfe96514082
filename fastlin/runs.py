"""The run folder: what a training run leaves on disk, written atomically, read without trust.

config.json    the data and the settings; `fastlin train --config` runs it again
history.csv    one line per finished epoch
model.npz      the weights after the last and the best epoch, arrays only
summary.json   results, versions, data fingerprint, threads and timings
figures/       PNG images
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastlin.config import TrainConfig
from fastlin.data.features import FeatureRange
from fastlin.errors import InputError
from fastlin.results import HISTORY_COLUMNS, EpochRecord, History, LinearModel

CONFIG, HISTORY, MODEL, SUMMARY, FIGURES = (
    "config.json",
    "history.csv",
    "model.npz",
    "summary.json",
    "figures",
)


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
                raise InputError(f"{name} is {value!r}; it must be text")


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


def create_run_folder(out: Path | None, name: str) -> Path:
    """Make the folder of a new run and return it, so that a bad place is known before training.

    Parameters
    ----------
    out : the folder, which must not exist or be empty; None for the first free runs/NAME-1, -2, ...
    name : what a folder is called when `out` is None.

    Raises
    ------
    InputError
        If the folder cannot be written, or already holds something.
    """
    try:
        folder = _next_free(Path("runs"), name) if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; name a new folder, so that no run is lost")
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; name another --out"
        ) from None


def make_directory(path: Path) -> Path:
    """Make a folder if it is not there, and return it. Raises InputError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror}") from None
    return path


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


def save_config(folder: Path, data: DataReference, config: TrainConfig) -> None:
    """Write config.json. Raises InputError if the folder cannot be written."""
    save_json(folder / CONFIG, {"data": asdict(data), "train": config.to_dict()})


def save_history(folder: Path, history: History) -> None:
    """Write history.csv; numbers are exact. Raises InputError if the folder cannot be written."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(HISTORY_COLUMNS)
    for record in history.records():
        writer.writerow("" if value != value else repr(value) for value in record)  # noqa: PLR0124
    with atomic_write(folder / HISTORY) as file:
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
    with atomic_write(folder / MODEL) as file:
        np.savez(file, **arrays)


def save_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write summary.json. Raises InputError if the folder cannot be written."""
    save_json(folder / SUMMARY, summary)


def load_config(path: Path) -> tuple[DataReference, TrainConfig]:
    """Read a config.json.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or has unknown or impossible settings.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"data", "train"} <= content.keys():
        raise InputError(f"{path} is not a fastlin configuration: it must hold 'data' and 'train'")
    try:
        return DataReference(**content["data"]), TrainConfig.from_dict(content["train"])
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: {error}") from None


def load_run(folder: Path) -> Run:
    """Read a run folder back.

    Raises
    ------
    InputError
        If the folder or one of its files is missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(f"no run folder {folder}; `fastlin train` makes one under runs/")
    data, config = load_config(folder / CONFIG)
    model, best_model = _load_models(folder / MODEL)
    return Run(folder, data, config, _load_history(folder / HISTORY), model, best_model)


def _load_models(path: Path) -> tuple[LinearModel, LinearModel]:
    try:
        # Opened here: np.load leaves a file that it cannot read open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = tuple(str(name) for name in arrays["class_names"])
            shape = tuple(arrays["image_shape"].tolist()) if "image_shape" in arrays else None
            more = {
                "class_names": names,
                "image_shape": shape,
                "feature_std": arrays.get("feature_std"),
                "feature_offset": arrays.get("feature_offset"),
                "feature_range": FeatureRange(*arrays["feature_range"].tolist())
                if "feature_range" in arrays
                else None,
            }
            return (
                LinearModel(arrays["W"], arrays["b"], **more),
                LinearModel(arrays["best_W"], arrays["best_b"], **more),
            )
    except FileNotFoundError:
        raise InputError(f"{path} is missing; the run has no weights") from None
    except KeyError as error:
        raise InputError(f"{path} lacks the array {error.args[0]}") from None
    except (
        OSError, ValueError, EOFError, AttributeError, TypeError, NotImplementedError,
        zipfile.BadZipFile, zlib.error, MemoryError, SyntaxError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged: {reason}") from None


def _load_history(path: Path) -> History:
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        if not lines or tuple(lines[0]) != HISTORY_COLUMNS:
            raise InputError(
                f"{path} is damaged: its first line must be {','.join(HISTORY_COLUMNS)}"
            )
        return History.from_records(
            [
                EpochRecord(int(epoch), *(float(value or "nan") for value in values))
                for epoch, *values in lines[1:]
            ]
        )
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except InputError:
        raise
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises InputError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def save_json(path: Path, content: Any) -> None:
    """Write a JSON file. Raises InputError if it cannot be written; the old one remains."""
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` that takes its place when the body ends well.

    Raises
    ------
    InputError
        If it cannot be written; what was at `path` is still there.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as file:
            temporary = Path(file.name)
            yield file
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
