"""model.npz of a run folder: the classifiers after the last and after the best epoch."""

from __future__ import annotations

from pathlib import Path

from fastlin import files
from fastlin.errors import InputError
from fastlin.model import LinearModel

MODEL = "model.npz"
_OF_EPOCH = ("W", "b", "temperature")  # arrays in which the last and the best model differ


def save_models(folder: str | Path, model: LinearModel, best_model: LinearModel) -> None:
    """Write model.npz. Raises InputError if the folder cannot be written."""
    best = best_model.to_arrays()
    own = {f"best_{name}": best[name] for name in _OF_EPOCH if name in best}
    files.save_npz(files.as_path(folder) / MODEL, model.to_arrays() | own)


def load_models(path: str | Path) -> tuple[LinearModel, LinearModel]:
    """Read a model.npz: the classifiers after the last and after the best epoch.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    path = files.as_path(path)
    arrays = files.read_npz(path)
    try:
        own = [name for name in _OF_EPOCH if name in arrays]
        for name in own:
            if f"best_{name}" not in arrays:
                raise InputError(f"it lacks the array best_{name}")
        best = arrays | {name: arrays[f"best_{name}"] for name in own}
        return LinearModel.from_arrays(arrays), LinearModel.from_arrays(best)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None
