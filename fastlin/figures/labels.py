"""Figures of labels that are likely to be wrong."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from fastlin.errors import one_line
from fastlin.figures.style import BLUE, check, styled

NAME_LETTERS = 50  # of a row beside its bar


@styled()
def label_margins(rows: Sequence[str], margins: Sequence[float]) -> Figure:
    """Draw by how much another class is more probable than the label of rows.

    Parameters
    ----------
    rows : Sequence[str]
        What each row is called.
    margins : Sequence[float]
        The probability of the other class less that of the label, in [0, 1].
    """
    check(len(rows) == len(margins) > 0, f"{len(margins)} margins for {len(rows)} rows")
    labels = [one_line(row, NAME_LETTERS) for row in rows]
    left = 0.35 + 0.078 * max(map(len, labels))
    width, height = left + 3.2, 0.9 + 0.2 * len(labels)
    figure = Figure((width, height))
    axes = figure.add_axes((left / width, 0.45 / height, 2.9 / width, 1 - 0.9 / height))
    axes.barh(range(len(labels)), margins, color=BLUE)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("lead of the other class in probability")
    return figure
