"""fastlin: linear classifiers trained and tuned at the speed of the hardware.

The public names are loaded when they are first used, so that `import fastlin` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlin.config import GridSpec, Init, LogRange, Loss, Precision, TrainConfig
    from fastlin.data import Dataset, Split, load_split
    from fastlin.errors import InputError
    from fastlin.grids import GridEntry, GridResult
    from fastlin.results import EpochRecord, History, LinearModel
    from fastlin.runs import Run, load_run
    from fastlin.search import GridDivergedError, grid_search
    from fastlin.training import DivergedError, Trainer, TrainResult, evaluate, train

__version__ = "0.1.0"

_HOMES = {
    "fastlin.config": ("GridSpec", "Init", "Loss", "LogRange", "Precision", "TrainConfig"),
    "fastlin.data": ("Dataset", "Split", "load_split"),
    "fastlin.errors": ("InputError",),
    "fastlin.grids": ("GridEntry", "GridResult"),
    "fastlin.results": ("EpochRecord", "History", "LinearModel"),
    "fastlin.runs": ("Run", "load_run"),
    "fastlin.search": ("GridDivergedError", "grid_search"),
    "fastlin.training": ("DivergedError", "Trainer", "TrainResult", "evaluate", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DivergedError", "Dataset", "EpochRecord", "GridDivergedError", "GridEntry", "GridResult",
    "GridSpec", "History", "Init", "InputError", "LinearModel", "LogRange", "Loss", "Precision",
    "Run", "Split", "TrainConfig", "TrainResult", "Trainer", "evaluate", "grid_search",
    "load_run", "load_split", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fastlin' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
