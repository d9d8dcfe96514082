"""The figures of a grid search: curves of all entries, heat maps, parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fastlin.errors import one_line
from fastlin.figures.style import (
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

MAX_TICKS = 8


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
    figure, axes = epoch_axes(ylabel)
    label, epochs, values = curves[winner]
    check(bool(np.isfinite(values).all()), "the winning curve has a NaN or infinite value")
    others = [np.column_stack(curve[1:]) for i, curve in enumerate(curves) if i != winner]
    low, high = _usual_range(np.concatenate([values, *(other[:, 1] for other in others)]))
    low, high = min(low, values.min()), max(high, values.max())
    margin = 0.04 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    if others:
        outside = sum(other[:, 1].min() < low or other[:, 1].max() > high for other in others)
        text = f"{len(others)} other settings, {outside} of them partly off the scale"
        text = text if outside else text.partition(",")[0]
        axes.add_collection(LineCollection(others, colors=FAINT, linewidths=0.8, label=text))
    axes.plot(epochs, values, color=ORANGE, linewidth=2.2, label=label)
    axes.plot(epochs[-1:], values[-1:], "D", color=ORANGE, markersize=6)
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
) -> Figure:
    """Draw a table of fractions as colours and percents, and mark the best cell.

    Parameters
    ----------
    values : (rows, columns) float, a fraction in [0, 1] or NaN where nothing is known.
    row_labels, column_labels : a text for every row and every column.
    row_name, column_name, title : what the rows, the columns and the values are.
    """
    shape = (len(row_labels), len(column_labels))
    check(values.shape == shape and values.size > 0, f"values {values.shape} do not fit {shape}")
    rows, columns = shape
    size = (0.7 * max(columns, 3), 0.45 * max(rows, 2))
    figure, axes = matrix_axes(size, column_labels, row_labels, f"{title} (%), best outlined")
    drawn = axes.imshow(100 * values, cmap="cividis", aspect="auto")
    unknown = np.isnan(values)
    write_cells(drawn, np.where(unknown, "", np.char.mod("%.2f", 100 * values)).tolist())
    row, column = divmod(int(np.where(unknown, -np.inf, values).argmax()), columns)
    outline = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=2.5)
    axes.add_patch(outline).set_clip_on(False)
    axes.set_xlabel(column_name)
    axes.set_ylabel(row_name)
    return figure


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
