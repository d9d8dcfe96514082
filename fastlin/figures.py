"""Every picture of fastlin, in one style; the only module that loads matplotlib.

Each function returns a `matplotlib.figure.Figure` that is not drawn yet: `png` and `save_figure`
do that. Pyplot is never imported, for it takes longer to load than a picture to draw. Text is
never read as mathematics, so that a class may be called "$". A bad argument raises `InputError`.

A figure is the same whatever the user's matplotlibrc and MPLBACKEND say, and no setting of
matplotlib is changed by it.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


def _import_matplotlib() -> None:
    """Import matplotlib, which refuses to be imported if MPLBACKEND names what it cannot load.

    A notebook sets the variable for all that it starts, in environments without its backend too.
    """
    known = set(sys.modules)
    try:
        importlib.import_module("matplotlib")
    except ValueError:
        backend = os.environ.pop("MPLBACKEND", None)
        if backend is None:
            raise
        for name in [name for name in sys.modules if name.startswith("matplotlib")]:
            if name not in known:
                del sys.modules[name]
        try:
            importlib.import_module("matplotlib")
        finally:
            os.environ["MPLBACKEND"] = backend


_import_matplotlib()

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from fastlin.errors import InputError, one_line, reason_of
from fastlin.files import atomic_write, make_directory
from fastlin.history import History
from fastlin.metrics import MAX_CONFUSION_CLASSES

Floats = NDArray[Any]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE = "#0072B2", "#D55E00"
INK, FAINT, PAPER = "#262626", "#B8B8B8", "white"

DPI = 150
STYLE: Any = {
    "figure.dpi": DPI,
    "figure.figsize": (6.4, 4.0),
    "figure.facecolor": PAPER,
    "figure.subplot.left": 0.11,
    "figure.subplot.right": 0.97,
    "figure.subplot.bottom": 0.13,
    "figure.subplot.top": 0.96,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelpad": 6.0,
    "axes.titlesize": 10.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@contextmanager
def _styled() -> Iterator[None]:
    """Let matplotlib's own defaults and `STYLE` be the settings, whatever they were, for a while.

    Letters that the font lacks become boxes; that each of them is a warning helps nobody.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


COST = "cost (mean loss + penalty)"

GRADIENT_BINS = 121
MAX_TILES = 100
TILE_PIXELS = 160
MAX_WRITTEN_CLASSES = 20
MAX_NAMED_CLASSES = 100
NAME_LETTERS = 18
MAX_TICKS = 8


def png(figure: Figure) -> bytes:
    """Draw a figure and return the PNG file: the same bytes for the same figure."""
    file = io.BytesIO()
    with _styled():  # ticks are made while drawing
        figure.savefig(file, format="png", backend="agg", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Draw a figure and write it as PNG; raises `InputError` and keeps the old file if it fails."""
    content = png(figure)
    with atomic_write(path) as file:
        file.write(content)


def save_figures(
    figures: Mapping[str, Figure | Callable[[], Figure]],
    directory: Path,
    on_failure: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write figures as NAME.png to a folder, made if need be, and return the files.

    Parameters
    ----------
    figures : Mapping[str, Figure | Callable[[], Figure]]
        Figures by name, or what makes them; made one at a time.
    directory : Path
        Where to.
    on_failure : Callable[[str], None] | None
        Called with one line for every figure that cannot be made, drawn or written, whatever the
        reason; the others are drawn all the same. None to raise what happened instead.

    Raises
    ------
    InputError
        If the folder cannot be made, or, without `on_failure`, a file cannot be written.
    """
    make_directory(directory)
    paths = []
    for name, figure in figures.items():
        path = directory / f"{name}.png"
        try:
            save_figure(figure if isinstance(figure, Figure) else figure(), path)
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(f"{path.name} is not drawn: {reason_of(error)}")
        else:
            paths.append(path)
    return paths


@_styled()
def gradient_histograms(gradients: Mapping[str, Floats]) -> Figure:
    """Draw how the values of gradients are distributed, side by side on the same bins and axes.

    Parameters
    ----------
    gradients : the title of every panel, and the values of its histogram: any shape, finite.
    """
    _check(len(gradients) > 0, "there is no gradient to draw")
    for name, dW in gradients.items():
        usable = dW.size > 0 and bool(np.isfinite(dW).all())
        _check(usable, f"the gradient {name!r} is empty or has a NaN or infinite value")
    limit = max(float(np.abs(dW).max()) for dW in gradients.values()) or 1.0
    edges = np.linspace(-limit, limit, GRADIENT_BINS + 1)
    n = len(gradients)
    width = 6.4 if n == 1 else 4.2 * n
    figure = Figure((width, 3.6))
    figure.subplots_adjust(0.75 / width, 0.14, 1 - 0.1 / width, 0.88, 0.06)
    panels = figure.subplots(1, n, sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, dW) in zip(panels, gradients.items(), strict=True):
        counts, _ = np.histogram(dW, edges)
        axes.stairs(counts, edges, fill=True, color=BLUE)
        axes.set_xlabel("partial derivative of the cost by a weight")
        facts = (
            f"{dW.size:,} values, standard deviation {dW.std(dtype=np.float64):.3g}, "
            f"largest size {np.abs(dW).max():.3g}"
        )
        axes.set_title(f"{name}\n{facts}" if name else facts, fontsize=8.5)
    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panels[0].set_ylabel("weights per bin")
    return figure


def gradient_histogram(dW: Floats) -> Figure:
    """Draw how the values of one gradient are distributed; see `gradient_histograms`."""
    return gradient_histograms({"": dW})


@_styled()
def cost_curves(history: History) -> Figure:
    """Draw the cost after every epoch on training and validation rows, and mark the best epoch."""
    return _history_curves(history, history.train_cost, history.val_cost, COST)


@_styled()
def accuracy_curves(history: History) -> Figure:
    """Draw the accuracy after every epoch in percent, and mark the best epoch."""
    train, val = 100 * history.train_accuracy, 100 * history.val_accuracy
    return _history_curves(history, train, val, "accuracy (%)")


def _history_curves(history: History, train: Floats, val: Floats, ylabel: str) -> Figure:
    _check(len(history) > 0, "the history has no epoch to draw")
    figure, axes = _epoch_axes(ylabel)
    _plot_evaluated(axes, history.epoch, train, BLUE, "training")
    judge, reason = train, "lowest training cost"
    if history.has_validation:
        _plot_evaluated(axes, history.epoch, val, ORANGE, "validation")
        judge, reason = val, "highest validation accuracy"
    elif np.isnan(train).all():
        reason = "the last; no epoch was evaluated"
    best = history.best_epoch
    axes.axvline(best, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    label = f"best epoch: {best}\n({reason})"
    axes.plot(best, judge[history.epoch == best], "D", color=INK, markersize=6, label=label)
    axes.legend()
    return figure


@_styled()
def cost_band(histories: Sequence[History]) -> Figure:
    """Draw the mean cost of runs that differ in their seed, and one standard deviation around it.

    Parameters
    ----------
    histories : at least one, all of the same epochs, and with validation rows all or none.
    """
    _check(len(histories) > 0, "there is no history to draw")
    first, n = histories[0], len(histories)
    alike = all(
        np.array_equal(history.epoch, first.epoch)
        and history.has_validation == first.has_validation
        for history in histories
    )
    _check(len(first) > 0 and alike, "the histories have no epochs or not the same ones")
    figure, axes = _epoch_axes(COST)
    curves = {"training": ([history.train_cost for history in histories], BLUE)}
    if first.has_validation:
        curves["validation"] = ([history.val_cost for history in histories], ORANGE)
    for label, (costs, color) in curves.items():
        mean, spread = np.mean(costs, axis=0), np.std(costs, axis=0, ddof=min(1, n - 1))
        axes.fill_between(first.epoch, mean - spread, mean + spread, color=color, alpha=0.25, lw=0)
        _plot_evaluated(axes, first.epoch, mean, color, label)
    title = f"mean and standard deviation of {n} seeds" if n > 1 else "one seed"
    axes.legend(title=title, alignment="left")
    return figure


@_styled()
def curve_overlay(curves: Sequence[tuple[str, Floats, Floats]], winner: int, ylabel: str) -> Figure:
    """Draw one curve strongly over all the others.

    Parameters
    ----------
    curves : (label, epochs, values) of each.
    winner : which curve is the strong one; only its label is shown.
    ylabel : what the values are, with their unit.
    """
    _check(0 <= winner < len(curves), f"there is no curve {winner} among {len(curves)}")
    figure, axes = _epoch_axes(ylabel)
    label, epochs, values = curves[winner]
    _check(bool(np.isfinite(values).all()), "the winning curve has a NaN or infinite value")
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


def _plot_evaluated(axes: Axes, epochs: Floats, values: Floats, color: str, label: str) -> None:
    """Plot a curve through the epochs after which rows were evaluated, if there are any."""
    chosen = ~np.isnan(values)
    if chosen.any():
        marker = "o" if chosen.sum() <= 10 else ""  # a lone point has no line to be seen by
        axes.plot(epochs[chosen], values[chosen], color=color, marker=marker, label=label)


def _epoch_axes(ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure()
    axes = figure.subplots()
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    return figure, axes


@_styled()
def weight_templates(
    W: Floats, image_shape: tuple[int, int, int], class_names: Sequence[str]
) -> Figure:
    """Draw the weights of every class as an image, all on one scale on which grey is zero.

    Three channels are shown as red, green and blue; one channel from blue over white to red. The
    scale ends at the 99th percentile of |weight|, or at the largest where that is zero.

    Parameters
    ----------
    W : (K, d) float, finite; of more than `MAX_TILES` classes only the first are drawn.
    image_shape : (channels, height, width) of a row, of 1 or 3 channels.
    class_names : K names.
    """
    channels, height, width = image_shape
    _check(channels in (1, 3), f"an image of {channels} channels cannot be drawn; it needs 1 or 3")
    K = len(class_names)
    fits = K > 0 and W.shape == (K, channels * height * width) and bool(np.isfinite(W).all())
    _check(fits, f"W {W.shape} does not hold finite weights of {K} images {image_shape}")
    shown = W[:MAX_TILES]
    limit = float(np.percentile(np.abs(shown), 99)) or float(np.abs(shown).max()) or 1.0
    note = f"full shade: |weight| of {limit:.2g} and above"
    if len(shown) < K:
        note += f"; the first {len(shown)} of {K:,} classes"
    images = shown.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    if channels == 3:
        note += "\ngrey: weight 0; brighter in a colour: positive; darker: negative"
        figure, _ = _tiles(np.clip(0.5 + images / (2 * limit), 0, 1), class_names, note)
        return figure
    figure, drawn = _tiles(images[..., 0], class_names, "\n\n" + note)
    drawn.set(cmap="RdBu_r", clim=(-limit, limit))
    inch = 1 / figure.get_figheight()
    bar = figure.add_axes((0.25, 0.45 * inch, 0.5, 0.09 * inch))
    bar.tick_params(labelsize=8)
    figure.colorbar(drawn, cax=bar, orientation="horizontal", extend="both")
    return figure


@_styled()
def image_grid(images: NDArray[np.uint8], captions: Sequence[str]) -> Figure:
    """Draw images in a grid, each under its caption.

    Parameters
    ----------
    images : (n, h, w, c) or (n, c, h, w) uint8, n >= 1, of 1 or 3 channels.
    captions : n texts of one or more lines; a line that is too long is shortened.
    """
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    usable = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] in (1, 3)
    _check(usable, f"images {images.dtype} {images.shape} are not uint8 of 1 or 3 channels")
    _check(len(images) == len(captions) > 0, f"{len(captions)} captions for {len(images)} images")
    figure, _ = _tiles(np.broadcast_to(images, (*images.shape[:3], 3)) / 255, captions, "")
    return figure


def _tiles(tiles: Floats, captions: Sequence[str], note: str) -> tuple[Figure, AxesImage]:
    """Lay tiles (n, h, w) or (n, h, w, 3) out as one image, captions above and a note below.

    A tile pixel is a whole number of figure pixels, unless it is smaller than one.
    """
    n, height, width = tiles.shape[:3]
    rows = math.ceil(n / 5) if n <= 25 else math.ceil(math.sqrt(n))
    columns = math.ceil(n / rows)
    zoom = TILE_PIXELS / max(height, width)
    zoom = int(zoom) if zoom > 1 else zoom
    font, pixels_per_point = 7.5, DPI / 72
    letters = int(TILE_PIXELS / (0.6 * font * pixels_per_point))
    texts = [
        "\n".join(one_line(line, letters) for line in text.split("\n")) for text in captions[:n]
    ]
    lines = max(text.count("\n") for text in texts) + 1
    head = math.ceil((1.3 * lines + 0.7) * font * pixels_per_point / zoom)
    cell_height, cell_width = head + height, width + math.ceil(8 / zoom)
    fill = np.nan if tiles.ndim == 3 else 1.0
    mosaic = np.full((rows * cell_height, columns * cell_width, *tiles.shape[3:]), fill, np.float32)
    grid_height, grid_width = (side * zoom / DPI for side in mosaic.shape[:2])
    footer = 0.1 + 0.18 * (note.count("\n") + 1 if note else 0)
    across, down = 0.1 + max(grid_width, 4.2 if note else 0), grid_height + footer  # inches
    figure = Figure((across, down))
    grid_size = (grid_width / across, grid_height / down)
    axes = figure.add_axes((0.5 - grid_size[0] / 2, footer / down, *grid_size))
    for index, (tile, text) in enumerate(zip(tiles, texts, strict=True)):
        top = index // columns * cell_height + head
        left = index % columns * cell_width + (cell_width - width) // 2
        mosaic[top : top + height, left : left + width] = tile
        axes.annotate(
            text, (left + width / 2 - 0.5, top - 0.5), (0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=font,
        )  # fmt: skip
    axes.set_axis_off()
    figure.text(0.5, 0.07 / down, note, ha="center", va="bottom", fontsize=8)
    return figure, axes.imshow(mosaic, aspect="auto")


def check_matrix(class_count: int) -> None:
    """Raise `InputError` if there are too many classes for a table of all pairs of them."""
    _check(
        class_count <= MAX_CONFUSION_CLASSES,
        f"{class_count:,} classes are too many for a table of all pairs; the most is "
        f"{MAX_CONFUSION_CLASSES:,}",
    )


@_styled()
def confusion_matrix(counts: NDArray[np.integer[Any]], class_names: Sequence[str]) -> Figure:
    """Draw which classes are taken for which; every row is shaded by its shares.

    The shares of up to `MAX_WRITTEN_CLASSES` classes are also written; an empty cell has no row.

    Parameters
    ----------
    counts : (K, K) integer, rows of class i that were predicted as class j.
    class_names : K names.
    """
    K = len(class_names)
    check_matrix(K)
    _check(K > 0 and counts.shape == (K, K), f"counts {counts.shape} do not fit {K} class names")
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    total = int(counts.sum())
    title = f"accuracy {100 * np.trace(counts) / max(total, 1):.1f} % of {total:,} rows"
    share = "share of the true class (%)"
    side = min(2 + 0.28 * K, 8.0)
    names = class_names if K <= MAX_NAMED_CLASSES else None
    if K <= MAX_WRITTEN_CLASSES:
        title += f"\nin the cells: {share}"
        figure, axes = _matrix_axes((side, side), names, names, title)
        drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        _write_cells(drawn, [[f"{cell:.0f}" if cell else "" for cell in row] for row in shares])
    else:  # rows spread over many classes: small shares get more ink
        figure, axes = _matrix_axes((side, side), names, names, title, right=1.0)
        drawn = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100))
        figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0.1, 0.03, 0.8)), label=share)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


@_styled()
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
    _check(values.shape == shape and values.size > 0, f"values {values.shape} do not fit {shape}")
    rows, columns = shape
    size = (0.7 * max(columns, 3), 0.45 * max(rows, 2))
    figure, axes = _matrix_axes(size, column_labels, row_labels, f"{title} (%), best outlined")
    drawn = axes.imshow(100 * values, cmap="cividis", aspect="auto")
    unknown = np.isnan(values)
    _write_cells(drawn, np.where(unknown, "", np.char.mod("%.2f", 100 * values)).tolist())
    row, column = divmod(int(np.where(unknown, -np.inf, values).argmax()), columns)
    outline = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=2.5)
    axes.add_patch(outline).set_clip_on(False)
    axes.set_xlabel(column_name)
    axes.set_ylabel(row_name)
    return figure


def _matrix_axes(
    size: tuple[float, float],
    columns: Sequence[str] | None,
    rows: Sequence[str] | None,
    title: str,
    right: float = 0.2,
) -> tuple[Figure, Axes]:
    """Make axes of `size` inches with room for the names of columns and rows, numbered if None."""
    column_names = [one_line(name, NAME_LETTERS) for name in columns or ()]
    row_names = [one_line(name, NAME_LETTERS) for name in rows or ()]
    font = min(9.0, 65 * size[0] / max(len(column_names), 1))
    letter = 0.0085 * font  # inches, more than most letters need
    longest = max(map(len, column_names), default=0)
    is_upright = letter * (longest + 1) > size[0] / max(len(column_names), 1)
    left = 0.5 + letter * max(map(len, row_names), default=4)
    bottom = 0.45 + (letter * longest if is_upright else 0.15)
    lines = title.split("\n")
    top = 0.2 + 0.2 * len(lines)
    width = left + size[0] + right
    missing = max(0.0, 0.09 * max(map(len, lines)) - width)
    left, width, height = left + missing / 2, width + missing, bottom + size[1] + top
    figure = Figure((width, height))
    figure.suptitle(title, y=1 - 0.1 / height, va="top", fontsize=10)
    axes = figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=font)
    if column_names:
        axes.set_xticks(range(len(column_names)), column_names, rotation=90 if is_upright else 0)
        axes.set_yticks(range(len(row_names)), row_names)
    return figure, axes


def _write_cells(drawn: AxesImage, texts: Sequence[Sequence[str]]) -> None:
    """Write a text into every cell of a matrix, light on dark cells and dark on light ones."""
    colors = drawn.to_rgba(np.asarray(drawn.get_array()))
    is_light = colors[..., :3] @ (0.299, 0.587, 0.114) > 0.55
    for (row, column), light in np.ndenumerate(is_light):
        drawn.axes.text(
            column, row, texts[row][column], ha="center", va="center", fontsize=8,
            color=INK if light else PAPER,
        )  # fmt: skip


@_styled()
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
    _check(fits, f"the parameters do not have {n} values each, as the score")
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


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
