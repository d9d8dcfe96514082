"""The one style of every figure, and how figures become files.

Pyplot is never imported, for it takes longer to load than a picture to draw. Text is never read as
mathematics, so that a class may be called "$". No setting of matplotlib is changed.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from fastlin.errors import InputError, one_line, reason_of
from fastlin.files import atomic_write, make_directory

Floats = NDArray[Any]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE = "#0072B2", "#D55E00"
INK, QUIET, FAINT, PAPER = "#262626", "#5F5F5F", "#B8B8B8", "white"

# On a phone 340 pixels wide, 4.8 inches make letters of 10 points 10 pixels high.
DPI = 200
STYLE: Any = {
    "figure.dpi": DPI,
    "figure.figsize": (4.8, 3.3),
    "figure.facecolor": PAPER,
    "figure.subplot.left": 0.15,
    "figure.subplot.right": 0.97,
    "figure.subplot.bottom": 0.16,
    "figure.subplot.top": 0.96,
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelpad": 5.0,
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
    # A pale ground, so that a text can be read where a curve passes behind it.
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
}


_is_styled: ContextVar[bool] = ContextVar("fastlin_styled", default=False)


@contextmanager
def styled() -> Iterator[None]:
    """Let matplotlib's own defaults and `STYLE` be the settings, whatever they were, for a while.

    Letters that the font lacks become boxes; that each of them is a warning helps nobody. Within
    its own body it changes nothing: setting all of them for every part of a figure takes long.
    """
    if _is_styled.get():
        yield
        return
    token = _is_styled.set(True)
    try:
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            yield
    finally:
        _is_styled.reset(token)


NAME_LETTERS = 18
FOOTER, FOOTER_SIZE = "footer", 7.0  # a mark, and points


def with_footer(figure: Figure, text: str) -> Figure:
    """Write below a figure, outside of what it has now, what it shows; return the figure.

    Parameters
    ----------
    figure : Figure
        Not drawn yet.
    text : str
        Data, rows, settings: what a reader needs who meets the figure alone.
    """
    width, height = figure.get_size_inches()
    letters = int((width - 0.2) / (0.0073 * FOOTER_SIZE))
    with styled():
        figure.text(
            0.1 / width, -0.02 / height, textwrap.fill(one_line(text), letters), va="top",
            fontsize=FOOTER_SIZE, color=QUIET, gid=FOOTER,
        )  # fmt: skip
    return figure


def png(figure: Figure) -> bytes:
    """Draw a figure and return the PNG file: the same bytes for the same figure."""
    file = io.BytesIO()
    lines = sum(1 + t.get_text().count("\n") for t in figure.texts if t.get_gid() == FOOTER)
    # A whole number of pixels, so that none of the figure is shifted by a part of one.
    below = math.ceil((0.08 + lines * 1.35 * FOOTER_SIZE / 72) * DPI) / DPI
    box = Bbox.from_extents(0, -below, *figure.get_size_inches()) if lines else None
    with styled():  # ticks are made while drawing
        figure.savefig(
            file, format="png", backend="agg", dpi=DPI, metadata={"Software": None},
            bbox_inches=box,
        )  # fmt: skip
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
            with styled():
                save_figure(figure if isinstance(figure, Figure) else figure(), path)
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(f"{path.name} is not drawn: {reason_of(error)}")
        else:
            paths.append(path)
    return paths


def check(condition: bool, message: str) -> None:
    """Raise `InputError` with the message unless the condition holds."""
    if not condition:
        raise InputError(message)


def epoch_axes(ylabel: str, first: int, last: int) -> tuple[Figure, Axes]:
    """Make a figure with epochs, which are whole numbers, on its horizontal axis."""
    figure = Figure()
    axes = figure.subplots()
    axes.set_xlabel("epoch")
    if last > first:
        axes.set_xlim(first, last)
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    return figure, axes


def matrix_axes(
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


def write_cells(drawn: AxesImage, texts: Sequence[Sequence[str]]) -> None:
    """Write a text into every cell of a matrix, light on dark cells and dark on light ones."""
    colors = drawn.to_rgba(np.asarray(drawn.get_array()))
    is_light = colors[..., :3] @ (0.299, 0.587, 0.114) > 0.55
    for (row, column), light in np.ndenumerate(is_light):
        drawn.axes.text(
            column, row, texts[row][column], ha="center", va="center", fontsize=8,
            color=INK if light else PAPER,
        )  # fmt: skip
