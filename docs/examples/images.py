"""Images: what a linear classifier of CIFAR-10 looks for, and what the penalty has to do with it.

You learn to load a data set that comes with fastlin, to fit rows of uint8 as they are stored, and
to look at the weights of every class as an image. A strong penalty leaves blurred means of the
classes, a weak one learns the noise of single images; the best on new images lies between.

`python images.py` prints a table and writes images.png; a folder may follow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import fastlin
from fastlin import SoftmaxClassifier
from fastlin.figures import save_figure
from fastlin.figures.style import styled

# Values of uint8 rows are 0 to 255: the same penalty as for values from 0 to 1 is C / 255².
CS = (1e-8, 1e-7, 1e-5)


def as_images(W: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Return weights (K, d) as K images of values from 0 to 1, in which grey is a weight of 0."""
    images = W.reshape(-1, *image_shape).transpose(0, 2, 3, 1)
    return np.clip(0.5 + images / (2 * np.percentile(np.abs(W), 99)), 0, 1)


@styled()
def picture(templates: dict[str, np.ndarray], class_names: tuple[str, ...]) -> Figure:
    """Draw the images of a classifier side by side, those of the next one below."""
    figure = Figure((8.2, 2.95), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    grid = figure.subplots(len(templates), len(class_names))
    for axes, name in zip(grid[0], class_names, strict=True):
        axes.set_title(name, fontsize=9)
    for row, (label, images) in zip(grid, templates.items(), strict=True):
        row[0].set_ylabel(label, fontsize=9)
        for axes, image in zip(row, images, strict=True):
            axes.imshow(image)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    title = "The weights of every class as an image, by C, and how many new images are right"
    figure.suptitle(title, fontsize=10)
    return figure


def main(folder: Path) -> None:
    """Fit three penalties and show their weights."""
    split = fastlin.load_split("cifar10-mini")
    train, new = split.train, split.val
    templates = {}
    print("    C   training images   new images")
    for C in CS:
        model = SoftmaxClassifier(C=C, tol=1e-2).fit(train.X, train.y)
        fitted, right = model.score(train.X, train.y), model.score(new.X, new.y)
        print(f"{C:g}   {fitted:11.0%} right   {right:.0%} right")
        templates[f"C {C:g}\n{100 * right:.0f} % right"] = as_images(model.coef_, train.image_shape)
    save_figure(picture(templates, train.class_names), folder / "images.png")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
