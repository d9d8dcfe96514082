"""A path on disk: its table, and the fits that a path which was stopped goes on from."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastlin import files
from fastlin.config import as_json
from fastlin.errors import InputError, quoted
from fastlin.model import LinearModel
from fastlin.solving.config import FIT_SETTINGS, FitConfig, PathPlan
from fastlin.solving.path_result import PathFit, PathPoint, best_of, one_error_of

TABLE = "path.csv"
FITS, POINTS = "fits", "points.json"
CHOSEN, ONE_ERROR = "chosen", "one standard error"
_FORMAT = 2
_OBJECTIVES = "objectives"
_NUMBERS = ("l2", "C", "objective", "relative_gap", "weight_norm", "val_cost", "val_accuracy")


def save_path(folder: str | Path, points: Sequence[PathPoint], select: str, val_rows: int) -> Path:
    """Write a line a penalty as path.csv, from the strongest on, and return the file.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    ranked = sorted(points, key=lambda point: -point.l2)
    best, near = best_of(ranked, select), one_error_of(ranked, select, val_rows)
    columns = ["l2", "C", "objective", "relative_gap", "passes", "seconds", "converged",
               "weight_norm", "mark", *(f"val_{name}" for name in ranked[0].values)]  # fmt: skip
    rows = []
    for point in ranked:
        marks = [CHOSEN] * (point is best) + [ONE_ERROR] * (point is near)
        numbers = [*point[:7], point.weight_norm, " and ".join(marks), *point.values.values()]
        rows.append([_known(value) for value in numbers])
    path = files.as_path(folder) / TABLE
    files.save_csv(path, columns, rows)
    return path


def _known(value: Any) -> Any:
    """Return a value, or None for a number that is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class PathCurves:
    """What a table of a path holds, from the strongest penalty on.

    Attributes
    ----------
    l2, C, weight_norm, cost, accuracy : tuple[float, ...]
        A value a penalty; cost and accuracy are of validation rows.
    best, one_error : int
        The place of the chosen penalty, and of the strongest within a standard error.
    measures : dict[str, tuple[float, ...]]
        All measures of validation rows, by their names such as ``val_macro_f1``.
    """

    l2: tuple[float, ...]
    C: tuple[float, ...]
    weight_norm: tuple[float, ...]
    cost: tuple[float, ...]
    accuracy: tuple[float, ...]
    best: int
    one_error: int
    measures: dict[str, tuple[float, ...]]


def load_path(path: str | Path) -> PathCurves:
    """Read a path.csv.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    lines = files.read_csv(path)
    columns = next(lines)
    missing = [name for name in (*_NUMBERS, "mark") if name not in columns]
    if missing:
        raise InputError(f"{path} is not the table of a path: it has no column {missing[0]}")
    measures = [name for name in columns if name.startswith("val_")]
    names = {*_NUMBERS, *measures}
    found: list[dict[str, float]] = []
    places: dict[str, int] = {}
    for number, cells in enumerate(lines, start=2):
        line = dict(zip(columns, cells, strict=True))
        try:
            values = {name: _number(line[name]) for name in names}
        except ValueError as error:
            raise InputError(f"{path} is damaged: line {number}: {error}") from None
        if not (values["l2"] > 0 and values["C"] > 0):
            raise InputError(f"{path} is damaged: line {number}: l2 and C must be above 0")
        places |= {mark: len(found) for mark in line["mark"].split(" and ") if mark}
        found.append(values)
    if not {CHOSEN, ONE_ERROR} <= places.keys():
        raise InputError(f"{path} is damaged: no line is marked as {CHOSEN} and as {ONE_ERROR}")
    of = {name: tuple(values[name] for values in found) for name in names}
    return PathCurves(
        of["l2"], of["C"], of["weight_norm"], of["val_cost"], of["val_accuracy"],
        places[CHOSEN], places[ONE_ERROR], {name: of[name] for name in measures},
    )  # fmt: skip


def _number(text: str) -> float:
    return files.parse_number(text) if text else math.nan


class KeptFits:
    """The finished fits of a path in a folder, from which it goes on after a stop.

    Parameters
    ----------
    folder : str or Path
        In which the folder ``fits`` is, or will be.
    sha256 : str
        The fingerprint of the data.
    config, plan : FitConfig, PathPlan
        Of the path. Fits that were kept of other data or settings are refused.

    Attributes
    ----------
    fits : list[PathFit]
        In the order in which they were found.

    Raises
    ------
    InputError
        If the folder cannot be read or written, or holds fits of other data or settings.
    """

    def __init__(self, folder: str | Path, sha256: str, config: FitConfig, plan: PathPlan) -> None:
        self._folder = files.as_path(folder)
        self._place = self._folder / FITS
        self._select = plan.select
        self._of = {
            "format": _FORMAT,
            "sha256": sha256,
            "fit": {name: as_json(getattr(config, name)) for name in FIT_SETTINGS},
            "plan": as_lists(plan),
        }
        self.fits: list[PathFit] = []
        if (self._place / POINTS).exists():
            self._load()

    def _load(self) -> None:
        path = self._place / POINTS
        content = files.read_json(path)
        if not isinstance(content, dict):
            raise InputError(f"{path} is damaged: it must be names with values")
        files.check_format(path, content, _FORMAT)
        for name in ("sha256", "fit", "plan"):
            if content.get(name) != self._of[name]:
                what = "data" if name == "sha256" else "settings"
                raise InputError(f"{self._place} is of a path of other {what}; name a new folder")
        points = content.get("points")
        if not isinstance(points, list):
            raise InputError(f"{path} is damaged: it has no points")
        for number, values in enumerate(points):
            objectives = values.pop(_OBJECTIVES, None) if isinstance(values, dict) else None
            if not (isinstance(objectives, list) and all(type(v) is float for v in objectives)):
                raise InputError(f"{path} is damaged: a point has no {_OBJECTIVES}")
            models = []
            for fold in range(len(objectives)):
                file = self._file(number, fold)
                try:
                    models.append(LinearModel.from_arrays(files.read_npz(file)))
                except InputError as error:
                    raise InputError(f"{file} cannot be gone on from: {error}") from None
            self.fits.append(PathFit(_point(values, path), tuple(models), tuple(objectives)))

    def _file(self, number: int, fold: int) -> Path:
        """Return where a classifier is: of a point, and a fold of it."""
        return self._place / f"{number}-{fold}.npz"

    def add(self, fit: PathFit, val_rows: int) -> None:
        """Write a fit, and the table of all of them. Raises InputError if that fails."""
        files.make_directory(self._place)
        for fold, model in enumerate(fit.models):
            files.save_npz(self._file(len(self.fits), fold), model.to_arrays())
        self.fits.append(fit)
        points = [
            {name: _known(value) for name, value in kept.point._asdict().items()}
            | {"values": {name: _known(value) for name, value in kept.point.values.items()}}
            | {_OBJECTIVES: list(kept.objectives)}
            for kept in self.fits
        ]
        files.save_json(self._place / POINTS, self._of | {"points": points})
        save_path(self._folder, [kept.point for kept in self.fits], self._select, val_rows)

    def remove(self) -> None:
        """Remove the fits, when the path has come to its end."""
        shutil.rmtree(self._place, ignore_errors=True)


def as_lists(plan: PathPlan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(plan).items()}


def _point(values: Any, path: Path) -> PathPoint:
    """Return a point of JSON values. Raises InputError if they are none."""
    fields = PathPoint.__annotations__
    is_point = isinstance(values, dict) and values.keys() == fields.keys()
    of_rows = values["values"] if is_point else None
    if not isinstance(of_rows, dict):
        raise InputError(f"{path} is damaged: {quoted(values)} is no point of a path")
    kinds = {"passes": int, "converged": bool}
    numbers = {name: values[name] for name in fields if name != "values"} | of_rows
    for name, value in numbers.items():
        fits = isinstance(value, kinds.get(name, (int, float))) or value is None
        if not fits:
            raise InputError(f"{path} is damaged: {name} is {quoted(value)}")
    known: dict[str, Any] = {
        k: math.nan if v is None else v for k, v in values.items() if k != "values"
    }
    metrics = {k: math.nan if v is None else v for k, v in of_rows.items()}
    return PathPoint(**known, values=metrics)
