"""fastlin: linear classifiers trained and tuned at the speed of the hardware.

The public names are loaded when they are first used, so that `import fastlin` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlin import functional, reference
    from fastlin.config import Init, Precision, Schedule, TrainConfig
    from fastlin.data import Dataset, Split, load_split
    from fastlin.data.rows import Rows, load_rows
    from fastlin.errors import (
        AdviceWarning,
        DivergedError,
        GridDivergedError,
        InputError,
        MatchWarning,
    )
    from fastlin.estimators.classifiers import HingeClassifier, SoftmaxClassifier  # noqa: F401
    from fastlin.estimators.grid import GridSearch  # noqa: F401
    from fastlin.estimators.path import SoftmaxClassifierCV  # noqa: F401
    from fastlin.history import EpochRecord, History
    from fastlin.losses import Hinge, Loss, Softmax, SquaredHinge
    from fastlin.model import LinearModel
    from fastlin.predictions import save_predictions
    from fastlin.runs import Run, load_run, save_run
    from fastlin.search.cross_validation import cross_validate
    from fastlin.search.fold_results import CrossValidation
    from fastlin.search.probe import Probe, probe
    from fastlin.search.ranking import GridEntry, GridResult
    from fastlin.search.search import grid_search
    from fastlin.search.spec import GridSpec, LogRange
    from fastlin.solving.config import FitConfig
    from fastlin.solving.path import path
    from fastlin.solving.path_result import PathResult
    from fastlin.solving.solution import Solution
    from fastlin.solving.solver import solve
    from fastlin.training.calibration import calibrate
    from fastlin.training.evaluation import evaluate
    from fastlin.training.few_shots import FewShots, few_shots
    from fastlin.training.measuring import measure
    from fastlin.training.trainer import Trainer, TrainResult, train

__version__ = "0.1.0"

_HOMES = {
    "fastlin.config": ("Init", "Precision", "Schedule", "TrainConfig"),
    "fastlin.data": ("Dataset", "Split", "load_split"),
    "fastlin.data.rows": ("Rows", "load_rows"),
    "fastlin.errors": (
        "AdviceWarning",
        "DivergedError",
        "GridDivergedError",
        "InputError",
        "MatchWarning",
    ),
    "fastlin.estimators.classifiers": ("HingeClassifier", "SoftmaxClassifier"),
    "fastlin.estimators.grid": ("GridSearch",),
    "fastlin.estimators.path": ("SoftmaxClassifierCV",),
    "fastlin.history": ("EpochRecord", "History"),
    "fastlin.losses": ("Hinge", "Loss", "Softmax", "SquaredHinge"),
    "fastlin.model": ("LinearModel",),
    "fastlin.predictions": ("save_predictions",),
    "fastlin.runs": ("Run", "load_run", "save_run"),
    "fastlin.search.cross_validation": ("cross_validate",),
    "fastlin.search.fold_results": ("CrossValidation",),
    "fastlin.search.probe": ("Probe", "probe"),
    "fastlin.search.ranking": ("GridEntry", "GridResult"),
    "fastlin.search.search": ("grid_search",),
    "fastlin.search.spec": ("GridSpec", "LogRange"),
    "fastlin.solving.config": ("FitConfig",),
    "fastlin.solving.path": ("path",),
    "fastlin.solving.path_result": ("PathResult",),
    "fastlin.solving.solution": ("Solution",),
    "fastlin.solving.solver": ("solve",),
    "fastlin.training.calibration": ("calibrate",),
    "fastlin.training.evaluation": ("evaluate",),
    "fastlin.training.few_shots": ("FewShots", "few_shots"),
    "fastlin.training.measuring": ("measure",),
    "fastlin.training.trainer": ("Trainer", "TrainResult", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("functional", "reference")

# Estimators are not in it: `from fastlin import *` must not ask for scikit-learn.
__all__ = [
    "AdviceWarning", "CrossValidation", "Dataset", "DivergedError", "EpochRecord", "FewShots",
    "FitConfig", "GridDivergedError", "GridEntry", "GridResult", "GridSpec", "Hinge", "History",
    "Init", "InputError", "LinearModel", "LogRange", "Loss", "MatchWarning", "PathResult",
    "Precision", "Probe", "Rows", "Run", "Schedule", "Softmax", "Solution", "Split", "SquaredHinge",
    "TrainConfig", "TrainResult", "Trainer", "calibrate", "cross_validate", "evaluate",
    "few_shots", "functional", "grid_search", "load_rows", "load_run", "load_split", "measure",
    "path", "probe", "reference", "save_predictions", "save_run", "solve", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"fastlin.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fastlin' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
