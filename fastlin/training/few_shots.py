"""Few-shot training: how good classifiers are that have seen some rows of every class."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin import files, packages
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split, check_split
from fastlin.data.splits import few_rows
from fastlin.errors import InputError, counted, listed
from fastlin.fitting import DEFAULT_DRAWS, Fitting
from fastlin.metrics import METRICS
from fastlin.model import LinearModel
from fastlin.threads import use_threads
from fastlin.training.advice import once
from fastlin.training.defaults import notes_on_chosen, with_chosen
from fastlin.training.measuring import measure_matched
from fastlin.training.trainer import Trainer, TrainResult, with_settings

TABLE = "few_shots.csv"
LEVEL = 0.95  # of intervals

# The metrics of `fastlin.metrics` by name, for every part that a classifier is judged by.
Judged = dict[str, dict[str, float]]


class Spread(NamedTuple):
    """A metric over draws.

    Attributes
    ----------
    mean, sd : float
        The mean, and the standard deviation (n - 1); NaN of one draw.
    low, high : float
        The ends of the mean's 95 % interval by Student's t distribution; NaN of one draw.
    """

    mean: float
    sd: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """Return that of values (draws,)."""
        n, mean = len(values), float(values.mean())
        if n == 1:
            return cls(mean, math.nan, math.nan, math.nan)
        sd = float(values.std(ddof=1))
        reach = float(_special().stdtrit(n - 1, (1 + LEVEL) / 2)) * sd / math.sqrt(n)
        return cls(mean, sd, mean - reach, mean + reach)


def _special() -> Any:
    return packages.load("scipy.special", "report", "the interval over draws")


@dataclass(frozen=True, eq=False)
class FewShots:
    """What draws of some rows of every class found.

    Attributes
    ----------
    shots : int
        How many training rows of every class were drawn.
    values : dict[str, dict[str, NDArray[np.float64]]]
        For every part that was judged (``val``, ``test``) the metrics of `fastlin.metrics` by name,
        each (draws,).
    rows : tuple[NDArray[np.int64], ...]
        For every draw the numbers of its training rows.
    result : TrainResult
        Of the first draw.
    gap : float or None
        The relative gap of exact fits; None if classifiers were trained.
    """

    shots: int
    values: dict[str, dict[str, NDArray[np.float64]]]
    rows: tuple[NDArray[np.int64], ...]
    result: TrainResult
    gap: float | None = None

    def __repr__(self) -> str:
        found = ", ".join(f"{part} accuracy {self.spread(part).mean:.4g}" for part in self.values)
        rows, draws = counted(self.shots, "row"), counted(len(self.rows), "draw")
        return f"FewShots({rows} a class, {draws}: {found})"

    @property
    def model(self) -> LinearModel:
        """The classifier of the first draw."""
        return self.result.model

    @property
    def fitting(self) -> Fitting:
        """On which rows that classifier was fitted."""
        return Fitting(shots=self.shots, draws=len(self.rows), gap=self.gap)

    def fitted_on(self, split: Split) -> Split:
        """Return the split of which it was made with the training rows of the first draw alone."""
        return replace(split, train=split.train.chosen(self.rows[0]), source=None)

    def spread(self, part: str, metric: str = "accuracy") -> Spread:
        """Return mean, standard deviation and interval of a metric on a part."""
        return Spread.of(self.values[part][metric])

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says of it: plain JSON values."""
        return {
            "few_shots": {
                "shots": self.shots,
                "draws": len(self.rows),
                "training_rows": len(self.rows[0]),
                "interval": "95 %, Student's t over draws",
                "results": {
                    part: {
                        name: {
                            key: None if math.isnan(value) else value
                            for key, value in self.spread(part, name)._asdict().items()
                        }
                        for name in of_part
                    }
                    for part, of_part in self.values.items()
                },
            }
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write the metrics of every draw as few_shots.csv, and return the file in a list.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        path = files.as_path(folder) / TABLE
        rows = [
            [draw + 1, part, *(float(values[draw]) for values in of_part.values())]
            for draw in range(len(self.rows))
            for part, of_part in self.values.items()
        ]
        files.save_csv(path, ["draw", "part", *next(iter(self.values.values()))], rows)
        return [path]


def few_shots(
    split: Split,
    *,
    shots: int = 8,
    draws: int = DEFAULT_DRAWS,
    config: TrainConfig | None = None,
    threads: int | None = None,
    note: Callable[[str], None] | None = None,
    on_draw: Callable[[int], None] | None = None,
    **settings: Any,
) -> FewShots:
    """Train on few rows of every class, as often as they are drawn, and judge every classifier.

    Parameters
    ----------
    split : Split
        With validation or test rows, or both, on which classifiers are judged.
    shots, draws : int
        How many training rows of every class, and how often they are drawn; by the `seed` of the
        settings, which is also that of every training.
    config, threads, **settings
        As in `fastlin.train`; what is left at ``auto`` is chosen by all training rows.
    note, on_draw : Callable, optional
        Called with what a user should know, a sentence each, which are warnings by default; and
        with the number of a draw, from 1, before it.

    Returns
    -------
    FewShots

    Raises
    ------
    InputError
        If there are no rows to judge on, or no class has more rows than are drawn.
    DivergedError
        If a cost is not finite.
    """
    given = with_settings(config, settings)
    fitting = Fitting(shots=shots, draws=draws)
    shots, draws = fitting.shots or shots, fitting.draws or draws
    check_few_shots(split, shots, draws)
    say = once(note or functools.partial(warnings.warn, stacklevel=3))
    config = with_chosen([given], split.train)[0]  # alike in every draw
    for text in (*notes_on_chosen([given], [config], split.train), *small_classes(split, shots)):
        say(text)
    # Of the results the first alone is kept.
    rows, values, first = [], list[Judged](), list[TrainResult]()
    with use_threads(threads) as count:
        for draw in range(draws):
            if on_draw is not None:
                on_draw(draw + 1)
            rows.append(few_rows(split.train.y, shots, config.seed, draw))
            result = _trained(Split(split.name, split.train.chosen(rows[-1])), config, count, say)
            first = first or [result]
            values.append(judged(result.model, split))
    return FewShots(shots, over_draws(values), tuple(rows), first[0])


def judged(model: LinearModel, split: Split) -> Judged:
    """Return the metrics of a classifier on validation and test rows, without intervals."""
    parts = {part: data for part, data in split.parts().items() if part != "train"}
    return {part: _measured(model, data) for part, data in parts.items()}


def _measured(model: LinearModel, data: Dataset) -> dict[str, float]:
    found = measure_matched(model, data).values()
    return {metric.name: found[metric.name] for metric in METRICS if metric.name in found}


def over_draws(values: Sequence[Judged]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return every metric of draws as an array (draws,)."""
    return {
        part: {name: np.array([of_draw[part][name] for of_draw in values]) for name in named}
        for part, named in values[0].items()
    }


def check_few_shots(split: Split, shots: int, draws: int) -> None:
    """Raise InputError if a split cannot be used for draws of so many rows of every class."""
    check_split(split)
    if draws > 1:
        _special()  # before anything is trained
    if split.val is None and split.test is None:
        raise InputError(
            f"{split.name} has neither validation nor test rows, on which few-shot classifiers are "
            "judged: give some, or hold training rows out (val_fraction)"
        )
    most = int(np.bincount(split.train.y).max())
    if draws > 1 and most <= shots:
        raise InputError(
            f"no class of {split.name} has more than {most} training rows, so all draws of {shots} "
            "would be the same; give fewer shots"
        )


def small_classes(split: Split, shots: int) -> Iterator[str]:
    """Say which classes have fewer training rows than are to be drawn."""
    names = split.train.class_names
    counts = np.bincount(split.train.y, minlength=len(names))
    small = np.flatnonzero(counts < shots).tolist()
    if small:
        fewest = min(int(counts[k]) for k in small)
        yield (
            f"{len(small)} of {len(names)} classes have fewer than {shots} training rows (the "
            f"fewest {fewest}), of which all are taken: {listed(names[k] for k in small)}"
        )


def _trained(
    split: Split, config: TrainConfig, threads: int, say: Callable[[str], None]
) -> TrainResult:
    """Train all epochs on the rows of a draw."""
    trainer = Trainer(split, config, threads)
    for text in trainer.notes:
        say(text)
    return trainer.run()
