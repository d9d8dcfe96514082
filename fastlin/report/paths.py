"""What a page says of exact fits in a run folder: the path of penalties, and the passes of one."""

from __future__ import annotations

from pathlib import Path

from fastlin.metrics import measure_text, metric_of
from fastlin.report.page import Column, Picture, Row, Table
from fastlin.solving.path_file import CHOSEN, ONE_ERROR, TABLE, load_path
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
    metric = metric_of(select)  # None of accuracy and cost, which are shown anyway
    of_metric = None if metric is None else found.measures.get(select)
    lines = []
    measured = zip(found.C, found.l2, found.accuracy, found.cost, found.weight_norm, strict=True)
    for place, (C, l2, accuracy, cost, norm) in enumerate(measured):
        marks = [CHOSEN] * (place == found.best) + [ONE_ERROR] * (place == found.one_error)
        cells = [f"{C:.4g}", f"{l2:.4g}", accuracy, cost, f"{norm:.4g}", ", ".join(marks)]
        if of_metric is not None:
            cells.insert(2, of_metric[place])
        lines.append(Row(cells))
    heads = [
        Column("C", "number"),
        Column("l2", "number"),
        Column("validation accuracy" if cv is None else "accuracy of folds", "percent"),
        Column("validation cost" if cv is None else "cost of folds", "cost"),
        Column("‖W‖", "number"),
        Column(""),
    ]
    what, chosen_by = "Accuracy", None
    if metric is not None and of_metric is not None:
        measure, kind = measure_text(select).removeprefix("validation "), "cost"
        what, chosen_by = f"{measure[0].upper()}{measure[1:]}, accuracy", (measure, of_metric)
        if metric.is_share:
            kind = "percent"
            chosen_by = f"{measure} (%)", tuple(100 * value for value in of_metric)
        title = f"validation {measure}" if cv is None else f"{measure} of folds"
        heads.insert(2, Column(title, kind))
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
            chosen_by=chosen_by,
        ),
    )  # fmt: skip
    return [Table(heads, lines, caption)], [picture]


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
