"""What a page says of exact fits in a run folder: the path of penalties, and the passes of one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fastlin.metrics import measure_text, metric_of
from fastlin.report.page import Column, Picture, Row, Table
from fastlin.solving.path_file import CHOSEN, ONE_ERROR, TABLE, PathCurves, load_path
from fastlin.solving.run import load_bounds


def path_of(
    folder: Path,
    key: str,
    name: str,
    foot: str,
    rows: int | None,
    select: str,
    cv: int | None = None,
) -> tuple[list[Table], list[Picture]]:
    """Return the table and the picture of the path of a run, or none if it has no path.

    Parameters
    ----------
    folder : Path
        Of the run.
    key, name : str
        Of its section: for the name of the file, and for the title.
    foot : str
        The line below the picture.
    rows : int or None
        How many rows judge the penalties, if that is known.
    select : str
        By which measure of these rows the penalty was chosen, such as ``val_accuracy``.
    cv : int or None
        In how many folds these were held out; None for validation rows.

    Raises
    ------
    InputError
        If the table of the path is damaged.
    """
    if not (folder / TABLE).is_file():
        return [], []
    found = load_path(folder / TABLE)
    judged = _Judged.of(found, select)
    what = "Accuracy"
    if judged is not None:
        what = f"{judged.name[0].upper()}{judged.name[1:]}, accuracy"
    caption = "The path of penalties, from the strongest on; fits of training rows alone."
    of_rows = "validation rows"
    if cv is not None:
        caption = f"The path of penalties, from the strongest on; each of {cv} folds held out once."
        of_rows = f"all rows in {cv} folds, each held out once,"
    note = f"{what} and cost of {of_rows} and the length of the weights over the penalty."
    picture = Picture(
        f"{key}-path", f"Path of penalties of {name}", note, foot,
        draw=lambda figures: figures.path_curves(
            found.C, found.l2, found.accuracy, found.cost, found.weight_norm, best=found.best,
            one_error=found.one_error, val_rows=rows,
            chosen_by=None if judged is None else judged.drawn(),
        ),
    )  # fmt: skip
    return [_table(found, judged, cv, caption)], [picture]


def _table(found: PathCurves, judged: _Judged | None, cv: int | None, caption: str) -> Table:
    """Return the table of a path, with a column of the measure by which a penalty was chosen."""
    lines = []
    measured = zip(found.C, found.l2, found.accuracy, found.cost, found.weight_norm, strict=True)
    for place, (C, l2, accuracy, cost, norm) in enumerate(measured):
        marks = [CHOSEN] * (place == found.best) + [ONE_ERROR] * (place == found.one_error)
        cells = [f"{C:.4g}", f"{l2:.4g}", accuracy, cost, f"{norm:.4g}", ", ".join(marks)]
        if judged is not None:
            cells.insert(2, judged.values[place])
        lines.append(Row(cells))
    heads = [
        Column("C", "number"),
        Column("l2", "number"),
        Column("validation accuracy" if cv is None else "accuracy of folds", "percent"),
        Column("validation cost" if cv is None else "cost of folds", "cost"),
        Column("‖W‖", "number"),
        Column(""),
    ]
    if judged is not None:
        title = f"validation {judged.name}" if cv is None else f"{judged.name} of folds"
        heads.insert(2, Column(title, judged.kind))
    return Table(heads, lines, caption)


class _Judged(NamedTuple):
    """The measure by which a penalty was chosen, if it is neither accuracy nor cost.

    Attributes
    ----------
    name, kind : str
        In words, and of its column.
    values : tuple[float, ...]
        A value a penalty.
    """

    name: str
    kind: str
    values: tuple[float, ...]

    @classmethod
    def of(cls, found: PathCurves, select: str) -> _Judged | None:
        """Return that of a path; None of accuracy and cost, which are shown anyway."""
        metric = metric_of(select)
        if metric is None or select not in found.measures:
            return None
        name = measure_text(select).removeprefix("validation ")
        return cls(name, "percent" if metric.is_share else "cost", found.measures[select])

    def drawn(self) -> tuple[str, tuple[float, ...]]:
        """Return the label of an axis, and what is drawn there."""
        if self.kind != "percent":
            return self.name, self.values
        return f"{self.name} (%)", tuple(100 * value for value in self.values)


def gap_pictures(
    folder: Path, key: str, name: str, foot: str, target: float | None
) -> list[Picture]:
    """Return the picture of the bound over the passes of an exact fit, or none if it has too few.

    Parameters are those of `path_of`, and the relative gap that was asked for, None of training.

    Raises
    ------
    InputError
        If the table of the passes is damaged.
    """
    if target is None:
        return []
    bounds = load_bounds(folder)
    if len(bounds.passes) < 2:
        return []
    note = "By which share the objective is above the least one at most, after every step."
    return [
        Picture(f"{key}-gap", f"Distance to the optimum of {name}", note, foot,
                draw=lambda figures: figures.gap_curve(*bounds, target))
    ]  # fmt: skip
