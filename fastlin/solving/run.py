"""An exact fit as a run: what every command that takes a run folder takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fastlin import files
from fastlin.config import Precision, TrainConfig
from fastlin.data.dataset import Split
from fastlin.errors import InputError
from fastlin.fitting import Fitting
from fastlin.history import EpochRecord, History
from fastlin.solving.config import FIT_SETTINGS, FitConfig, inverse_penalty_of
from fastlin.solving.solution import Solution
from fastlin.training.grid import Seconds
from fastlin.training.trainer import TrainResult

TABLE = "passes.csv"
_COLUMNS = ["passes", "objective", "relative_gap", "seconds"]


@dataclass(frozen=True, eq=False)
class ExactFit:
    """A solution with what it reaches: a study of one fit (`fastlin.summaries.Study`).

    Attributes
    ----------
    solution : Solution
        What `fastlin.solve` returned.
    rows : int
        On how many rows.
    result : TrainResult
        The same as a run whose one epoch is the whole fit. What it reaches is evaluated when it is
        written (`fastlin.summaries.with_measures`).
    """

    solution: Solution
    rows: int
    result: TrainResult

    @classmethod
    def of(cls, solution: Solution, split: Split, compile_seconds: float = 0.0) -> ExactFit:
        """Return it, of the training rows of a split; so many of its seconds were compiling."""
        model, config = solution.model, solution.config
        trained = TrainConfig(
            loss=config.loss, l2=solution.l2, standardize=config.standardize, epochs=1,
            class_weight=config.class_weight, dtype=Precision(str(model.W.dtype)),
        )  # fmt: skip
        history = History.from_records([EpochRecord(1, 0.0, *[math.nan] * 4)])  # without lr
        seconds = Seconds(train=max(0.0, solution.seconds - compile_seconds))
        result = TrainResult(trained, history, model, model, seconds)
        return cls(solution, len(split.train), result)

    @property
    def fitting(self) -> Fitting:
        """That it is exact, and how."""
        config = self.solution.config
        most = None if config.max_passes == FitConfig.max_passes else config.max_passes
        return Fitting(gap=config.gap, fit_intercept=config.fit_intercept, max_passes=most)

    def fitted_on(self, split: Split) -> Split:
        """Return the split itself, whose training rows it is fitted on."""
        return split

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says of it: plain JSON values."""
        solution = self.solution
        numbers = {
            "objective": solution.objective,
            "gap": solution.gap,
            "relative_gap": solution.relative_gap,
            "gradient_norm": solution.gradient_norm,
            "l2": solution.l2,
            "C": inverse_penalty_of(solution.l2, self.rows, len(solution.model.b)),
        }
        known = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {
            "exact_fit": known
            | {
                "passes": solution.passes,
                "seconds": solution.seconds,
                "converged": solution.converged,
                "note": solution.note,
            }
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write objective and gap after every step as passes.csv, and return the file in a list.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        path = files.as_path(folder) / TABLE
        rows = [
            [value if math.isfinite(value) else None for value in step]
            for step in self.solution.trace
        ]
        files.save_csv(path, _COLUMNS, rows)
        return [path]


def settings_of_fit(config: TrainConfig, fitting: Fitting) -> FitConfig:
    """Return the settings of an exact fit from those of its run; the inverse of `ExactFit.of`."""
    shared = {name: getattr(config, name) for name in FIT_SETTINGS if hasattr(config, name)}
    most = FitConfig.max_passes if fitting.max_passes is None else fitting.max_passes
    gap = FitConfig.gap if fitting.gap is None else fitting.gap
    return FitConfig(**shared, gap=gap, fit_intercept=fitting.fit_intercept, max_passes=most)


class Bounds(NamedTuple):
    """After so many passes the objective was above the least one by at most such a share of it."""

    passes: tuple[int, ...]
    relative_gap: tuple[float, ...]


def load_bounds(folder: str | Path) -> Bounds:
    """Read from the passes.csv of a run folder after which passes a bound was known, and which.

    Of a folder without that file there are none.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = files.as_path(folder) / TABLE
    if not path.is_file():
        return Bounds((), ())
    lines = files.read_csv(path)
    if next(lines) != _COLUMNS:
        raise InputError(f"{path} is damaged: its columns must be {', '.join(_COLUMNS)}")
    found: list[tuple[int, float]] = []
    for number, (passes, _, gap, _) in enumerate(lines, start=2):
        try:
            if gap:
                found.append((int(passes), files.parse_number(gap)))
        except ValueError as error:
            raise InputError(f"{path} is damaged: line {number}: {error}") from None
    return Bounds(tuple(passes for passes, _ in found), tuple(gap for _, gap in found))
