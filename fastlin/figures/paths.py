"""Curves over the penalty, and over the passes of one fit."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from fastlin.figures.style import BLUE, FAINT, INK, ORANGE, QUIET, check, styled
from fastlin.metrics import binomial_error

# Values of which the largest is more than so many times the least have a logarithmic axis.
_WIDE = 20.0

_WIDTH_OF_LABEL = 14  # characters of a line, as panels are low


@styled()
def path_curves(
    C: Sequence[float],
    l2: Sequence[float],
    accuracy: Sequence[float],
    cost: Sequence[float],
    weight_norm: Sequence[float],
    *,
    best: int,
    one_error: int,
    val_rows: int | None,
    chosen_by: tuple[str, Sequence[float]] | None = None,
) -> Figure:
    """Draw accuracy, cost and the length of the weights over the penalty, one below the other.

    Parameters
    ----------
    C : Sequence[float]
        (n,) scikit-learn's inverse penalty, above 0.
    l2 : Sequence[float]
        (n,) the same as factors of the squared weights: their products with C are all the same.
    accuracy, cost : Sequence[float]
        (n,) of validation rows, the accuracy from 0 to 1.
    weight_norm : Sequence[float]
        (n,) the length of the weights.
    best, one_error : int
        The places of the chosen penalty, and of the strongest within a standard error, which are
        marked.
    val_rows : int or None
        How many there are, if that is known, for the standard error.
    chosen_by : tuple[str, Sequence[float]], optional
        Another measure by which the best is chosen, in words, and its values (n,): drawn above.
    """
    n = len(C)
    drawn = {"accuracy (%)": 100 * np.asarray(accuracy), "cost": cost, "‖W‖": weight_norm}
    if chosen_by is not None:
        drawn = {chosen_by[0]: chosen_by[1], **drawn}
    fits = n > 0 and all(len(values) == n for values in (l2, *drawn.values()))
    check(fits and 0 <= best < n and 0 <= one_error < n, "the path has not one value a penalty")
    figure = Figure((4.8, 0.8 + 1.6 * len(drawn)), layout="constrained")
    panels = figure.subplots(len(drawn), 1, sharex=True)
    of_accuracy = panels[-3]
    if val_rows is not None:
        error = binomial_error(accuracy[best], val_rows)
        ends = 100 * (accuracy[best] - error), 100 * (accuracy[best] + error)
        of_accuracy.axhspan(*ends, color=FAINT, alpha=0.35, linewidth=0, label="± a standard error")
    for axes, (label, values) in zip(panels, drawn.items(), strict=True):
        _plot(axes, np.asarray(C, np.float64), np.asarray(values, np.float64), best, one_error)
        axes.set_ylabel(textwrap.fill(label, _WIDTH_OF_LABEL))
    _scale_values(panels[-2], panels[-1], cost)
    _label_penalties(panels, C[0] * l2[0])
    handles, labels = of_accuracy.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper left", ncols=3, fontsize=8)
    return figure


def _plot(
    axes: Axes, C: NDArray[np.float64], values: NDArray[np.float64], best: int, one_error: int
) -> None:
    """Draw values over C, and mark the chosen penalty and that of one standard error."""
    order = np.argsort(C)
    axes.plot(C[order], values[order], "-o", color=BLUE, markersize=3)
    axes.axvline(C[one_error], color=QUIET, linewidth=1, linestyle="--")
    axes.plot(
        C[[one_error]], values[[one_error]], "o", linestyle="--", linewidth=1, color=QUIET,
        markerfacecolor="white", markersize=7, zorder=3, label="one standard error",
    )  # fmt: skip
    axes.plot(C[[best]], values[[best]], "D", color=ORANGE, markersize=7, zorder=4,
              label="chosen")  # fmt: skip
    axes.set_xscale("log")


@styled()
def gap_curve(passes: Sequence[int], relative_gap: Sequence[float], target: float) -> Figure:
    """Draw the bound on the distance to the optimum over the passes of an exact fit.

    Parameters
    ----------
    passes : Sequence[int]
        (n,) how many there were over the rows.
    relative_gap : Sequence[float]
        (n,) by which share the objective was above the least one then, at most; finite.
    target : float
        What was asked for.
    """
    gaps = np.asarray(relative_gap, np.float64)
    usable = 0 < len(passes) == len(gaps) and bool(np.isfinite(gaps).all())
    check(usable, "the fit has not one bound a pass")
    gaps = np.maximum(gaps, np.finfo(np.float64).eps)  # a logarithmic axis has no 0
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.plot(passes, gaps, "-o", color=BLUE, label="relative gap, at most")
    axes.axhline(target, color=INK, linewidth=0.8, linestyle="--", label=f"asked for: {target:g}")
    axes.set_yscale("log")
    axes.margins(y=0.1)
    axes.set_xlabel("passes over the rows")
    axes.set_ylabel("relative gap")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _label_powers(axes.yaxis)
    axes.legend()
    return figure


def _scale_values(of_cost: Axes, of_length: Axes, cost: Sequence[float]) -> None:
    """Make the axis of lengths logarithmic, and that of costs if one flat line hid the least."""
    known = [value for value in cost if math.isfinite(value)]
    if known and 0 < min(known) < max(known) / _WIDE:
        of_cost.set_yscale("log")
        _label_powers(of_cost.yaxis, (1.0, 3.0))
    of_length.set_yscale("log")
    _label_powers(of_length.yaxis)


def _label_penalties(panels: Sequence[Axes], product: float) -> None:
    """Write C below the panels and l2 above them; their product is the same for every penalty."""
    panels[-1].set_xlabel("C of scikit-learn (weaker penalty to the right)")

    def converted(value: ArrayLike) -> NDArray[np.float64]:
        """Return l2 for C, or C for l2; matplotlib asks for that of 0, too."""
        found: NDArray[np.float64] = product / np.maximum(np.asarray(value, np.float64), 1e-300)
        return found

    above = panels[0].secondary_xaxis("top", functions=(converted, converted))
    above.set_xlabel("l2")
    for axis in (panels[-1].xaxis, above.xaxis):
        _label_powers(axis)


def _label_powers(axis: Axis, factors: Sequence[float] = (1.0,)) -> None:
    """Write a few powers of ten at a logarithmic axis, times factors, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=factors, numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:g}"))
    axis.set_minor_formatter(NullFormatter())
