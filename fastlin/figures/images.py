"""Figures made of images: the weights of every class, and rows of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from fastlin.errors import one_line
from fastlin.figures.style import DPI, Floats, check, styled

MAX_TILES = 100
TILE_PIXELS = 160


@styled()
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
    check(channels in (1, 3), f"an image of {channels} channels cannot be drawn; it needs 1 or 3")
    K = len(class_names)
    fits = K > 0 and W.shape == (K, channels * height * width) and bool(np.isfinite(W).all())
    check(fits, f"W {W.shape} does not hold finite weights of {K} images {image_shape}")
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


@styled()
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
    check(usable, f"images {images.dtype} {images.shape} are not uint8 of 1 or 3 channels")
    check(len(images) == len(captions) > 0, f"{len(captions)} captions for {len(images)} images")
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
            text,
            (left + width / 2 - 0.5, top - 0.5),
            (0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=font,
        )
    axes.set_axis_off()
    figure.text(0.5, 0.07 / down, note, ha="center", va="bottom", fontsize=8)
    return figure, axes.imshow(mosaic, aspect="auto")
