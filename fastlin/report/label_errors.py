"""The rows whose label is likely to be wrong: a figure of the likeliest, and a page of many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlin import packages, runs
from fastlin.errors import counted
from fastlin.files import atomic_write
from fastlin.report.pixels import as_pixels
from fastlin.report.wording import footer
from fastlin.search.fold_results import LABEL_ERRORS, CrossValidation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastlin.report.page import Page

SHOWN_ROWS = 25  # of a figure
MAX_PICTURES, MAX_LISTED = 8, 500  # figures and rows of the page
FIGURE, LABEL_PAGE = "label-errors", "label-errors.html"

_Errors = Sequence[dict[str, Any]]  # of `LabelErrors.to_records`


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

    errors = _errors_of(found)[:SHOWN_ROWS]
    if not errors:
        return None
    figure = _figure(figures, found, errors)
    drawn = {FIGURE: figures.with_footer(figure, _foot(found, name))}
    return figures.save_figures(drawn, folder / runs.FIGURES)[0]


def save_label_page(found: CrossValidation, name: str, folder: Path) -> Path | None:
    """Write the likely wrong labels as one page that needs nothing else, with images of images.

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
    PackageError
        If Jinja2 is not installed.
    InputError
        If it cannot be written.
    """
    errors = _errors_of(found)
    if not errors:
        return None
    packages.load("jinja2", "report", f"writing {LABEL_PAGE}")
    from fastlin.report import page as pages  # noqa: PLC0415  (needs Jinja2)

    page = _page(found, name, errors)
    pictures = pages.draw_pictures(page)
    said = f"Every number on this page stands, as it was computed, in {LABEL_ERRORS} of the run."
    text = pages.render(page, pictures, pages.PAGE, said)
    path = folder / LABEL_PAGE
    with atomic_write(path) as file:
        file.write(text.encode())
    return path


def _errors_of(found: CrossValidation) -> _Errors:
    """Return the likely wrong labels, the likeliest first; none without probabilities."""
    return [] if found.probabilities is None else found.likely_label_errors().to_records()


def _page(found: CrossValidation, name: str, errors: _Errors) -> Page:
    """Return the page: a table of the rows, and pictures of the likeliest."""
    from fastlin.report.page import Column, Page, Picture, Row, Section, Table  # noqa: PLC0415

    keys = ("row", "given_label", "predicted_label", "self_confidence", "margin")
    rows = [Row([f"{error['row']}", *(error[key] for key in keys[1:])]) for error in errors]
    columns = [
        Column("row"), Column("label"), Column("likelier class"),
        Column("probability of the label", "percent"), Column("less that of the class", "points"),
    ]  # fmt: skip
    listed = rows[:MAX_LISTED]
    first = "" if len(listed) == len(rows) else f"The likeliest {len(listed):,}. "
    caption = f"{first}Rows are numbered from 0: training rows, and then validation rows."
    pictures = []
    for place in range(MAX_PICTURES if found.rows.image_shape is not None else 1):
        shown = errors[place * SHOWN_ROWS : (place + 1) * SHOWN_ROWS]
        if shown:
            ranks = f"{place * SHOWN_ROWS + 1} to {place * SHOWN_ROWS + len(shown)}"
            pictures.append(
                Picture(f"{FIGURE}-{place + 1}", f"Likely wrong labels {ranks}",
                        "The row, its label, and the likelier class.", _foot(found, name), True,
                        partial(_figure, found=found, errors=shown))
            )  # fmt: skip
    lead = (
        f"Rows of {name} whose label is likely to be wrong, the likeliest first: models fitted on "
        f"the other {found.folds - 1} of {found.folds} folds find another class likelier than the "
        "label. Look at them before they are changed."
    )
    tiles = [
        [f"{len(errors):,}", "labels that are likely to be wrong"],
        [f"{len(found.rows):,}", "rows, each held out once"],
    ]
    sections = [
        Section("pictures", "The likeliest", pictures=pictures),
        Section("rows", "All" if not first else counted(len(listed), "row"),
                tables=[Table(columns, listed, caption)]),
    ]  # fmt: skip
    return Page(f"Likely wrong labels of {name}", lead, tiles, sections)


def _figure(figures: Any, found: CrossValidation, errors: _Errors) -> Figure:
    """Draw some of the likely wrong labels, by the package `fastlin.figures`."""
    rows = found.rows
    if rows.image_shape is not None:
        shown = as_pixels(rows.X[[error["row"] for error in errors]])
        captions = [
            f"row {error['row']}\n{error['given_label']}\n{error['predicted_label']}?"
            for error in errors
        ]
        figure: Figure = figures.image_grid(shown.reshape(-1, *rows.image_shape), captions)
        return figure
    bars: Figure = figures.label_margins(
        [f"row {e['row']}: {e['given_label']}, like {e['predicted_label']}" for e in errors],
        [-error["margin"] for error in errors],
    )
    return bars


def _foot(found: CrossValidation, name: str) -> str:
    return footer(
        name,
        ["train"],
        found.result.config.to_dict(),
        remark="likeliest wrong labels: row, label and likelier class by out-of-fold "
        f"probabilities of {found.folds} folds",
    )
