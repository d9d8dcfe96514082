"""The figure of the rows whose label is likely to be wrong."""

from __future__ import annotations

from pathlib import Path

from fastlin import runs
from fastlin.report.mistakes import as_pixels
from fastlin.report.wording import footer
from fastlin.search.fold_results import CrossValidation

SHOWN_ROWS = 25
FIGURE = "label-errors"


def draw_label_errors(found: CrossValidation, name: str, folder: Path) -> Path | None:
    """Draw the likeliest wrong labels into folder/figures: the images, or else bars.

    Parameters
    ----------
    found : CrossValidation
    name : str
        Of the data.
    folder : Path
        The run folder.

    Returns
    -------
    Path or None
        The file; None if no label is likely to be wrong, or there are no probabilities.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    from fastlin import figures  # noqa: PLC0415  (loads matplotlib)

    if found.probabilities is None:
        return None
    errors = found.likely_label_errors().to_records()[:SHOWN_ROWS]
    if not errors:
        return None
    rows = found.rows
    if rows.image_shape is not None:
        shown = as_pixels(rows.X[[error["row"] for error in errors]])
        captions = [
            f"row {error['row']}\n{error['given_label']}\n{error['predicted_label']}?"
            for error in errors
        ]
        figure = figures.image_grid(shown.reshape(-1, *rows.image_shape), captions)
    else:
        figure = figures.label_margins(
            [f"row {e['row']}: {e['given_label']}, like {e['predicted_label']}" for e in errors],
            [-error["margin"] for error in errors],
        )
    foot = footer(
        name,
        ["train"],
        found.result.config.to_dict(),
        remark="likeliest wrong labels: row, label and likelier class by out-of-fold "
        f"probabilities of {found.folds} folds",
    )
    drawn = {FIGURE: figures.with_footer(figure, foot)}
    return figures.save_figures(drawn, folder / runs.FIGURES)[0]
