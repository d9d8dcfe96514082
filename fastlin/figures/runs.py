"""The figures of a run: gradients, curves over epochs, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from fastlin.errors import one_line
from fastlin.figures.style import (
    BLUE,
    INK,
    NAME_LETTERS,
    ORANGE,
    Floats,
    check,
    epoch_axes,
    matrix_axes,
    styled,
    write_cells,
)
from fastlin.history import History
from fastlin.metrics import (
    CALIBRATION_BINS,
    MAX_MATRIX_CLASSES,
    Calibration,
    Confusions,
    is_better_high,
    measure_text,
)

COST = "cost (mean loss + penalty)"
GRADIENT_BINS = 121
MOST_BARS = 60  # of classes in one figure


@styled()
def gradient_histograms(gradients: Mapping[str, Floats]) -> Figure:
    """Draw how the values of gradients are distributed, side by side on the same bins and axes.

    Parameters
    ----------
    gradients : the title of every panel, and the values of its histogram: any shape, finite.
    """
    check(len(gradients) > 0, "there is no gradient to draw")
    for name, dW in gradients.items():
        usable = dW.size > 0 and bool(np.isfinite(dW).all())
        check(usable, f"the gradient {name!r} is empty or has a NaN or infinite value")
    limit = max(float(np.abs(dW).max()) for dW in gradients.values()) or 1.0
    edges = np.linspace(-limit, limit, GRADIENT_BINS + 1)
    n = len(gradients)
    width = 4.8 if n == 1 else 4.2 * n
    figure = Figure((width, 3.3))
    figure.subplots_adjust(0.85 / width, 0.16, 1 - 0.1 / width, 0.88, 0.06)
    panels = figure.subplots(1, n, sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, dW) in zip(panels, gradients.items(), strict=True):
        counts, _ = np.histogram(dW, edges)
        axes.stairs(counts, edges, fill=True, color=BLUE)
        axes.set_xlim(-limit, limit)
        axes.set_xlabel("partial derivative of the cost by a weight")
        facts = (
            f"{dW.size:,} values, standard deviation {dW.std(dtype=np.float64):.3g}, "
            f"largest size {np.abs(dW).max():.3g}"
        )
        axes.set_title(f"{name}\n{facts}" if name else facts, fontsize=7.5)
    # Labels as long as -0.0025 have room, and none stands where two panels meet.
    panels[0].xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panels[0].set_ylabel("weights per bin")
    return figure


def gradient_histogram(dW: Floats) -> Figure:
    """Draw how the values of one gradient are distributed; see `gradient_histograms`."""
    return gradient_histograms({"": dW})


@styled()
def cost_curves(history: History, select: str = "val_accuracy") -> Figure:
    """Draw the cost after every epoch on training and validation rows, and mark the best epoch.

    Parameters
    ----------
    history : History
    select : str
        By which measure an epoch is the best, one of `fastlin.metrics.SELECTABLE`.
    """
    return _history_curves(history, history.train_cost, history.val_cost, COST, select)


@styled()
def accuracy_curves(history: History, select: str = "val_accuracy") -> Figure:
    """Draw the accuracy after every epoch in percent, and mark the best epoch; as `cost_curves`."""
    train, val = 100 * history.train_accuracy, 100 * history.val_accuracy
    return _history_curves(history, train, val, "accuracy (%)", select)


def _history_curves(
    history: History, train: Floats, val: Floats, ylabel: str, select: str
) -> Figure:
    check(len(history) > 0, "the history has no epoch to draw")
    figure, axes = epoch_axes(ylabel, *history.epoch[[0, -1]])
    _plot_evaluated(axes, history.epoch, train, BLUE, "training")
    judge, reason = train, "lowest training cost"
    if history.has_validation:
        _plot_evaluated(axes, history.epoch, val, ORANGE, "validation")
        extreme = "highest" if is_better_high(select) else "lowest"
        judge, reason = val, f"{extreme} {measure_text(select)}"
    elif np.isnan(train).all():
        reason = "the last; no epoch was evaluated"
    best = history.best_by(select)
    axes.axvline(best, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    label = f"best epoch: {best}\n({reason})"
    axes.plot(
        best, judge[history.epoch == best], "D", color=INK, markersize=6, label=label, clip_on=False
    )
    axes.legend()
    return figure


@styled()
def cost_band(histories: Sequence[History]) -> Figure:
    """Draw the mean cost of runs that differ in their seed, and one standard deviation around it.

    Parameters
    ----------
    histories : at least one, all of the same epochs, and with validation rows all or none.
    """
    check(len(histories) > 0, "there is no history to draw")
    first, n = histories[0], len(histories)
    alike = all(
        np.array_equal(history.epoch, first.epoch)
        and history.has_validation == first.has_validation
        for history in histories
    )
    check(len(first) > 0 and alike, "the histories have no epochs or not the same ones")
    figure, axes = epoch_axes(COST, *first.epoch[[0, -1]])
    curves = {"training": ([history.train_cost for history in histories], BLUE)}
    if first.has_validation:
        curves["validation"] = ([history.val_cost for history in histories], ORANGE)
    for label, (costs, color) in curves.items():
        mean, spread = np.mean(costs, axis=0), np.std(costs, axis=0, ddof=min(1, n - 1))
        axes.fill_between(first.epoch, mean - spread, mean + spread, color=color, alpha=0.25, lw=0)
        _plot_evaluated(axes, first.epoch, mean, color, label)
    title = f"mean ± deviation, {n} seeds" if n > 1 else "one seed"
    axes.legend(title=title, alignment="left")
    return figure


def _plot_evaluated(axes: Axes, epochs: Floats, values: Floats, color: str, label: str) -> None:
    """Plot a curve through the epochs after which rows were evaluated, if there are any."""
    chosen = ~np.isnan(values)
    if chosen.any():
        marker = "o" if chosen.sum() <= 10 else ""  # a lone point has no line to be seen by
        axes.plot(
            epochs[chosen], values[chosen], color=color, marker=marker, label=label, clip_on=False
        )


def confusions(found: Confusions, class_names: Sequence[str]) -> Figure:
    """Draw which classes are taken for which: a matrix, or of many classes the worst pairs."""
    if found.counts is not None:
        return confusion_matrix(found.counts, class_names)
    return confused_pairs(found, class_names)


@styled()
def confusion_matrix(counts: NDArray[np.integer[Any]], class_names: Sequence[str]) -> Figure:
    """Draw which classes are taken for which; every row is shaded by its shares.

    The shares are also written; an empty cell has no row.

    Parameters
    ----------
    counts : NDArray[np.integer]
        (K, K), rows of class i that were predicted as class j; K is at most `MAX_MATRIX_CLASSES`.
    class_names : Sequence[str]
        K names.
    """
    K = len(class_names)
    check(
        K <= MAX_MATRIX_CLASSES,
        f"{K:,} classes are too many for a table of all pairs; the most is {MAX_MATRIX_CLASSES}",
    )
    check(K > 0 and counts.shape == (K, K), f"counts {counts.shape} do not fit {K} class names")
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    total = int(counts.sum())
    title = (
        f"accuracy {100 * np.trace(counts) / max(total, 1):.1f} % of {total:,} rows\n"
        "in the cells: share of the true class (%)"
    )
    side = 1 + 0.26 * K
    figure, axes = matrix_axes((side, side), class_names, class_names, title)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    write_cells(drawn, [[f"{cell:.0f}" if cell else "" for cell in row] for row in shares])
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


@styled()
def confused_pairs(found: Confusions, class_names: Sequence[str]) -> Figure:
    """Draw the pairs of classes that are confused most often, as bars.

    Parameters
    ----------
    found : Confusions
        See `fastlin.metrics.confusions`.
    class_names : Sequence[str]
        K names.
    """
    K, total, right = len(class_names), sum(found.rows_of_class), sum(found.right_of_class)
    check(len(found.rows_of_class) == K > 0, f"the counts do not fit {K:,} class names")
    names = [one_line(name, NAME_LETTERS) for name in class_names]
    labels = [f"{names[true]} → {names[predicted]}" for true, predicted, _ in found.pairs]
    sizes = [rows for _, _, rows in found.pairs]
    letters = max(map(len, labels), default=0)
    left, height = 0.35 + 0.078 * letters, 0.9 + 0.24 * max(len(labels), 1)
    figure = Figure((left + 3.2, height))
    axes = figure.add_axes(
        (left / (left + 3.2), 0.45 / height, 2.9 / (left + 3.2), 1 - 0.9 / height)
    )
    bars = axes.barh(range(len(labels)), sizes, color=BLUE)
    texts = [f"{rows / found.rows_of_class[true]:.0%}" for true, _, rows in found.pairs]
    axes.bar_label(bars, texts, padding=2, fontsize=8)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rows, and their share of the true class")
    title = f"accuracy {100 * right / max(total, 1):.1f} % of {total:,} rows; true → predicted"
    axes.set_title(title, loc="right")
    return figure


@styled()
def reliability_diagram(found: Calibration) -> Figure:
    """Draw the accuracy of rows by the probability of their predicted class, and how many they are.

    Parameters
    ----------
    found : Calibration
        See `fastlin.metrics.Tally`.
    """
    total = int(found.rows.sum())
    check(total > 0, "there are no rows to draw")
    figure = Figure((4.2, 4.2))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    figure.subplots_adjust(0.19, 0.13, 0.95, 0.92, hspace=0.08)
    used = found.rows > 0
    middles = 100 * (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS
    width = 100 / CALIBRATION_BINS
    accuracy = 100 * found.right[used] / found.rows[used]
    above.bar(middles[used], accuracy, width, color=BLUE, edgecolor="white", linewidth=0.8)
    above.plot((0, 100), (0, 100), color=INK, linewidth=0.8, linestyle=":", label="calibrated")
    confidence = 100 * found.confidence[used] / found.rows[used]
    above.plot(confidence, accuracy, "D", color=ORANGE, markersize=4, label="mean of the bin",
               clip_on=False)  # fmt: skip
    above.set_xlim(0, 100)
    above.set_ylim(0, 100)
    above.set_ylabel("accuracy (%)")
    above.legend(loc="upper left")
    above.set_title(f"expected calibration error {100 * found.error:.1f} % of {total:,} rows")
    below.bar(middles, found.rows, width, color=BLUE, edgecolor="white", linewidth=0.8)
    below.set_ylabel("rows")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    below.set_xlabel("probability of the predicted class (%)")
    figure.align_ylabels((above, below))
    return figure


@styled()
def class_accuracies(found: Confusions, class_names: Sequence[str]) -> Figure:
    """Draw the accuracy of every class, the worst first; of many classes the worst `MOST_BARS`.

    Parameters
    ----------
    found : Confusions
        See `fastlin.metrics.confusions`.
    class_names : Sequence[str]
        K names.
    """
    check(len(found.rows_of_class) == len(class_names) > 0, "the counts do not fit the class names")
    having = [k for k, rows in enumerate(found.rows_of_class) if rows > 0]
    check(len(having) > 0, "there are no rows to draw")
    worst = sorted(having, key=lambda k: found.per_class[k])[:MOST_BARS]
    shares = [100 * found.per_class[k] for k in worst]
    labels = [
        f"{one_line(class_names[k], NAME_LETTERS)} ({found.rows_of_class[k]:,})" for k in worst
    ]
    left = 0.35 + 0.078 * max(map(len, labels))
    width, height = left + 3.2, 0.9 + 0.2 * len(worst)
    figure = Figure((width, height))
    axes = figure.add_axes((left / width, 0.45 / height, 2.9 / width, 1 - 0.9 / height))
    axes.barh(range(len(worst)), shares, color=BLUE)
    balanced = float(np.mean([100 * found.per_class[k] for k in having]))
    axes.axvline(balanced, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(worst)), labels)
    axes.set_ylim(len(worst) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("accuracy of the class (its rows), %")
    of = "" if len(worst) == len(having) else f"the worst {len(worst)} of {len(having):,} classes; "
    axes.set_title(f"{of}mean of all {balanced:.1f} %", loc="right")
    return figure
