"""The figures of a grid search: curves of all entries, heat maps, parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from fastlin.errors import counted, one_line
from fastlin.figures.style import (
    BLUE,
    FAINT,
    INK,
    NAME_LETTERS,
    ORANGE,
    PAPER,
    Floats,
    check,
    epoch_axes,
    matrix_axes,
    styled,
    write_cells,
)
from fastlin.metrics import binomial_error
from fastlin.search.ranking import within_noise

MAX_TICKS = 8
_PANELS = 3  # beside each other


@styled()
def curve_overlay(curves: Sequence[tuple[str, Floats, Floats]], winner: int, ylabel: str) -> Figure:
    """Draw one curve strongly over all the others.

    Parameters
    ----------
    curves : (label, epochs, values) of each.
    winner : which curve is the strong one; only its label is shown.
    ylabel : what the values are, with their unit.
    """
    check(0 <= winner < len(curves), f"there is no curve {winner} among {len(curves)}")
    label, epochs, values = curves[winner]
    ends = np.concatenate([found for _, found, _ in curves])
    figure, axes = epoch_axes(ylabel, ends.min(), ends.max())
    check(bool(np.isfinite(values).all()), "the winning curve has a NaN or infinite value")
    others = [np.column_stack(curve[1:]) for i, curve in enumerate(curves) if i != winner]
    low, high = _usual_range(np.concatenate([values, *(other[:, 1] for other in others)]))
    low, high = min(low, values.min()), max(high, values.max())
    margin = 0.04 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    if others:
        outside = sum(other[:, 1].min() < low or other[:, 1].max() > high for other in others)
        text = counted(len(others), "other")
        text += f", {outside} of them partly off the scale" if outside else ""
        axes.add_collection(LineCollection(others, colors=FAINT, linewidths=0.8, label=text))
    axes.plot(epochs, values, color=ORANGE, linewidth=2.2, label=label)
    axes.plot(epochs[-1:], values[-1:], "D", color=ORANGE, markersize=6, clip_on=False)
    axes.legend()
    return figure


def _usual_range(values: Floats) -> tuple[float, float]:
    """Return the range of the values without those that lie far outside the middle half."""
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (25, 75))
    reach = 3 * (high - low)
    return max(values.min(), low - reach), min(values.max(), high + reach)


@styled()
def heat_map(
    values: Floats,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    row_name: str,
    column_name: str,
    title: str,
    rows_behind: int | None = None,
    marked: tuple[NDArray[np.bool_], str] | None = None,
) -> Figure:
    """Draw a table of fractions as colours and percents, and mark the best cell.

    Parameters
    ----------
    values : NDArray[np.float64]
        (rows, columns), a fraction in [0, 1] or NaN where nothing is known.
    row_labels, column_labels : Sequence[str]
        A text for every row and every column.
    row_name, column_name, title : str
        What the rows, the columns and the values are.
    rows_behind : int | None
        If the values are accuracies, on how many rows: cells within a standard error of the best
        one, which such rows do not tell from it, are outlined with dashes.
    marked : tuple[NDArray[np.bool_], str] | None
        (rows, columns), the cells that are outlined with dashes instead, and what they are.
    """
    shape = (len(row_labels), len(column_labels))
    check(values.shape == shape and values.size > 0, f"values {values.shape} do not fit {shape}")
    rows, columns = shape
    size = (0.7 * max(columns, 3), 0.45 * max(rows, 2))
    unknown = np.isnan(values)
    row, column = divmod(int(np.where(unknown, -np.inf, values).argmax()), columns)
    best = float(values[row, column])
    title = f"{title} (%), best outlined"
    if marked is None and rows_behind and best == best:  # noqa: PLR0124
        noise = f"within {100 * binomial_error(best, rows_behind):.2f} points, its standard error"
        marked = within_noise(values, best, rows_behind), noise
    title += "" if marked is None else f"\ndashed: {marked[1]}"
    figure, axes = matrix_axes(size, column_labels, row_labels, title)
    drawn = axes.imshow(100 * values, cmap="cividis", aspect="auto")
    write_cells(drawn, np.where(unknown, "", np.char.mod("%.2f", 100 * values)).tolist())
    for y, x in np.argwhere(marked[0]).tolist() if marked else []:
        if [y, x] != [row, column]:
            _outline(axes, y, x, linewidth=1.6, linestyle=(0, (2, 1.5)))
    _outline(axes, row, column, linewidth=2.5)
    axes.set_xlabel(column_name)
    axes.set_ylabel(row_name)
    return figure


def _outline(axes: Axes, row: int, column: int, **line: Any) -> None:
    shape = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=ORANGE, **line)
    axes.add_patch(shape).set_clip_on(False)


def grid_heat_map(
    columns: Mapping[str, Sequence[Any]], score: Floats, title: str, rows_behind: int | None = None
) -> Figure:
    """Draw the entries of a grid over two settings; of those that share a cell, the best counts.

    Parameters
    ----------
    columns : Mapping[str, Sequence[Any]]
        The values of both settings, n of each.
    score : NDArray[np.float64]
        (n,), a fraction each; NaN of an entry that failed.
    title, rows_behind : str, int | None
        See `heat_map`.
    """
    row_name, column_name = columns
    down, across = (sorted(set(values)) for values in columns.values())
    cells = np.full((len(down), len(across)), np.nan)
    for one, other, value in zip(*columns.values(), score, strict=True):
        place = down.index(one), across.index(other)
        cells[place] = np.fmax(cells[place], value)
    rows, names = ([_label(value) for value in axis] for axis in (down, across))
    return heat_map(cells, rows, names, row_name, column_name, title, rows_behind)


def grid_figure(
    columns: Mapping[str, Sequence[Any]], score: Floats, rows_behind: int | None = None
) -> Figure:
    """Draw the validation accuracies of a grid, best entry first.

    They are drawn over each setting if one has many values, as of those drawn from a range; else
    two settings are a heat map, and more are lines.

    Parameters
    ----------
    columns, score, rows_behind : Mapping[str, Sequence[Any]], NDArray[np.float64], int | None
        See `grid_heat_map`.
    """
    if len(columns) == 1 or any(map(has_many_values, columns.values())):
        return score_by_setting(columns, 100 * score, "validation accuracy (%)", 0, rows_behind)
    if len(columns) > 2:
        return parallel_coordinates(columns, 100 * score, "validation accuracy (%)")
    return grid_heat_map(columns, score, "validation accuracy", rows_behind)


def has_many_values(values: Sequence[Any]) -> bool:
    """Return whether more than half of the entries of a search have a value of their own."""
    return 2 * len(set(values)) > len(values)


def _label(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@styled()
def score_by_setting(
    columns: Mapping[str, Sequence[float | str]],
    score: Floats,
    score_name: str,
    winner: int,
    rows_behind: int | None = None,
) -> Figure:
    """Draw the score of every entry of a search over each setting, in a panel of its own.

    The axis of a setting is logarithmic if its values are above 0 and span a factor of 10 or more.
    Texts are evenly spaced.

    Parameters
    ----------
    columns : Mapping[str, Sequence[float | str]]
        The values of each setting, n of each.
    score : NDArray[np.float64]
        (n,), in percent; NaN of an entry that failed, which is left out.
    score_name : str
        What the score is, with its unit.
    winner : int
        The entry that is marked.
    rows_behind : int | None
        If scores are accuracies, on how many rows: entries that these do not tell from the winner
        are filled, all others are hollow.
    """
    n, count = len(score), len(columns)
    fits = n > 0 and count > 0 and all(len(values) == n for values in columns.values())
    check(fits and 0 <= winner < n, f"the settings do not have {n} values each, as the score")
    across = min(count, _PANELS)
    figure, panels = _panels(count, across, score_name)
    close = within_noise(score / 100, score[winner] / 100, rows_behind or 0)
    close[winner] = False
    groups = [(~close, "none", "other entries")]
    if close.any():
        noise = 100 * binomial_error(score[winner] / 100, rows_behind or 0)
        groups += [(close, BLUE, f"within noise (less than {noise:.2f} points)")]
    for panel, (name, values) in zip(panels, columns.items(), strict=True):
        places = _places(panel, values)
        for group, face, label in groups:
            shown = group & ~np.isnan(score)
            shown[winner] = False
            panel.scatter(
                places[shown], score[shown], 22, face, edgecolors=BLUE, label=label, clip_on=False
            )
        best = places[[winner]], score[[winner]]
        panel.plot(*best, "D", color=ORANGE, markersize=7, zorder=3, label="winner", clip_on=False)
        panel.set_xlabel(name)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper left", ncols=across)
    return figure


def _panels(count: int, across: int, ylabel: str) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels, so many beside each other, with one vertical axis."""
    down = -(-count // across)
    figure = Figure((max(4.8, 1.0 + 2.6 * across), 0.4 + 2.5 * down), layout="constrained")
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    for row in panels:
        row[0].set_ylabel(ylabel)
    for panel in panels.flat[count:]:
        panel.remove()
    return figure, list(panels.flat[:count])


def _places(axes: Axes, values: Sequence[float | str]) -> Floats:
    """Return where the values of a setting lie on the horizontal axis, which is made for them."""
    if any(isinstance(value, str) for value in values):
        distinct = sorted({str(value) for value in values})
        axes.set_xticks(range(len(distinct)), [one_line(text, NAME_LETTERS) for text in distinct])
        axes.set_xlim(-0.5, len(distinct) - 0.5)
        return np.array([distinct.index(str(value)) for value in values], np.float64)
    places = np.asarray(values, np.float64)
    if places.min() > 0 and places.max() >= 10 * places.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    return places


@styled()
def parallel_coordinates(
    columns: Mapping[str, Sequence[float | str]], score: Floats, score_name: str = "score"
) -> Figure:
    """Draw every setting of a search as a line over one vertical axis per parameter.

    An axis holds the distinct values of its parameter in order and evenly spaced. Lines through
    the same value are fanned out by their score, so that all of them can be seen.

    Parameters
    ----------
    columns : the values of every parameter, n of each.
    score : (n,) float, the colour of the line; NaN (grey) where a setting failed.
    score_name : what the score is, with its unit.
    """
    n = len(score)
    fits = n > 0 and len(columns) > 0 and all(len(values) == n for values in columns.values())
    check(fits, f"the parameters do not have {n} values each, as the score")
    order = np.argsort(np.where(np.isnan(score), -np.inf, score), kind="stable")
    fan = np.empty(n)
    fan[order] = (np.arange(n) + 0.5) / n - 0.5
    figure = Figure((2.0 + 1.4 * len(columns), 4.0), layout="constrained")
    axes = figure.subplots()
    heights = np.empty((n, len(columns)))
    for place, values in enumerate(columns.values()):
        distinct, ranks = np.unique(np.asarray(values), return_inverse=True)
        m = len(distinct)
        heights[:, place] = (ranks + 0.5 + 0.4 * fan) / m
        axes.axvline(place, color=INK, linewidth=0.8, zorder=1)
        middles = (np.arange(m) + 0.5) / m
        axes.vlines([place] * m, middles - 0.2 / m, middles + 0.2 / m, colors=FAINT, linewidths=5)
        for rank in np.unique(np.linspace(0, m - 1, min(m, MAX_TICKS)).round().astype(int)):
            axes.annotate(
                _describe(distinct[rank]), (place, middles[rank]), (-5, 0), fontsize=8, zorder=4,
                textcoords="offset points", ha="right", va="center",
                bbox={"facecolor": PAPER, "alpha": 0.8, "edgecolor": "none", "pad": 1},
            )  # fmt: skip
    places = np.arange(len(columns))
    lines = LineCollection(
        [np.column_stack([places, heights[index]]) for index in order],
        array=np.ma.masked_invalid(score[order]), linewidths=1.2, alpha=0.8, zorder=2,
        cmap=mpl.colormaps["viridis"].with_extremes(bad=FAINT),
    )  # fmt: skip
    axes.add_collection(lines)
    figure.colorbar(lines, label=score_name, pad=0.02)
    best = order[-1]
    settings = ", ".join(f"{name} {_describe(values[best])}" for name, values in columns.items())
    label = f"best, {score[best]:.4g}: {settings}"
    axes.plot(places, heights[best], "o-", color=ORANGE, linewidth=2.4, zorder=3, label=label)
    axes.set(xlim=(-0.5, len(columns) - 0.8), ylim=(0, 1), yticks=[])
    axes.set_xticks(places, list(columns))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside upper center")
    return figure


def _describe(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value), NAME_LETTERS)
