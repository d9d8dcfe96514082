"""Every picture of fastlin, in one style; the only package that loads matplotlib.

style   the settings, and how figures become files
runs    curves over epochs, gradients, confusions, accuracy by class, calibration
images  the weights of every class, and rows of the data
grids   curves of all entries, heat maps, scores over settings, parallel coordinates
paths   accuracy, cost and weights over the penalty, and the bound of an exact fit over its passes

Each function returns a `matplotlib.figure.Figure` that is not drawn yet: `png` and `save_figure`
do that. A figure is the same whatever the user's matplotlibrc and MPLBACKEND say. A bad argument
raises `InputError`.
"""

from __future__ import annotations

from fastlin.figures.style import DPI, STYLE, png, save_figure, save_figures, with_footer

# isort: split
# What follows imports matplotlib as it is; the style imports it with care, and so comes first.
from matplotlib.figure import Figure

from fastlin.figures.grids import (
    MAX_TICKS,
    curve_overlay,
    grid_figure,
    grid_heat_map,
    has_many_values,
    heat_map,
    parallel_coordinates,
    score_by_setting,
)
from fastlin.figures.images import MAX_TILES, TILE_PIXELS, image_grid, weight_templates
from fastlin.figures.labels import label_margins
from fastlin.figures.paths import gap_curve, path_curves
from fastlin.figures.runs import (
    accuracy_curves,
    class_accuracies,
    confused_pairs,
    confusion_matrix,
    confusions,
    cost_band,
    cost_curves,
    gradient_histogram,
    gradient_histograms,
    reliability_diagram,
)

__all__ = [
    "DPI",
    "Figure",
    "MAX_TICKS",
    "MAX_TILES",
    "STYLE",
    "TILE_PIXELS",
    "accuracy_curves",
    "class_accuracies",
    "confused_pairs",
    "confusion_matrix",
    "confusions",
    "cost_band",
    "cost_curves",
    "curve_overlay",
    "gap_curve",
    "gradient_histogram",
    "gradient_histograms",
    "grid_figure",
    "grid_heat_map",
    "has_many_values",
    "heat_map",
    "image_grid",
    "label_margins",
    "parallel_coordinates",
    "path_curves",
    "png",
    "reliability_diagram",
    "save_figure",
    "save_figures",
    "score_by_setting",
    "weight_templates",
    "with_footer",
]
