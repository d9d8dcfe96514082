"""Probabilities to rely on: a classifier that is too sure of itself, and two ways to mend it.

You learn to see overconfidence in a reliability diagram, and to fit one temperature on held-out
rows, which changes no prediction: with `fastlin.calibrate`, or with a fastlin classifier in
scikit-learn's CalibratedClassifierCV, whose method "temperature" needs scikit-learn 1.8.

`python calibration.py` prints a table and writes calibration.png; a folder may follow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator

import fastlin
from fastlin import SoftmaxClassifier
from fastlin.figures import save_figure
from fastlin.figures.style import BLUE, INK, ORANGE, QUIET, styled

BINS = np.arange(20, 101, 5)  # percent


def rows(n: int, seed: int, classes: int = 5, features: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows of classes that overlap, and the numbers of the classes."""
    means = 0.25 * np.random.default_rng(0).normal(size=(classes, features))
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    return (means[y] + rng.normal(size=(n, features))).astype(np.float32), y


@styled()
def picture(found: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw accuracy over the probability of the predicted class, and how often it is which.

    By name, `found` has whether rows are predicted right, and the probability.
    """
    figure = Figure((4.8, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((20, 100), (20, 100), ":", color=INK, linewidth=1, label="accuracy = probability")
    styles = (
        {"color": QUIET, "marker": "s"},
        {"color": BLUE, "marker": "o"},
        {"color": ORANGE, "marker": "D", "linestyle": "", "fillstyle": "none", "markersize": 8},
    )
    for style, (name, (is_right, sure)) in zip(styles, found.items(), strict=True):
        accuracy, mean = calibration_curve(is_right, sure, n_bins=10, strategy="quantile")
        above.plot(100 * mean, 100 * accuracy, label=name, clip_on=False, **style)
        if style["marker"] != "D":  # both calibrated ones are the same
            below.hist(100 * sure, BINS, histtype="step", color=style["color"], linewidth=1.6)
    above.set(ylabel="accuracy (%)", xlim=(20, 100), ylim=(20, 100))
    above.legend(loc="upper left")
    below.set(ylabel="rows", xlabel="probability of the predicted class (%)")
    below.yaxis.set_major_formatter("{x:,.0f}")
    figure.suptitle("As fitted, probabilities are higher than the accuracy", fontsize=10)
    return figure


def main(folder: Path) -> None:
    """Fit on few rows, calibrate on others, and judge on new ones."""
    (X, y), (X_val, y_val), (X_new, y_new) = rows(600, 1), rows(1000, 2), rows(8000, 3)
    model = SoftmaxClassifier(C=1).fit(X, y)
    held_out = fastlin.Dataset(X_val, y_val, model.model_.class_names)
    calibrated = fastlin.calibrate(model.model_, held_out)
    in_sklearn = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
    in_sklearn.fit(X_val, y_val)
    probabilities = {
        "as fitted": model.predict_proba(X_new),
        "fastlin.calibrate": calibrated.predict_proba(X_new),
        "CalibratedClassifierCV": in_sklearn.predict_proba(X_new),
    }
    found = {}
    print("                         accuracy   mean probability   log loss")
    for name, p in probabilities.items():
        is_right, sure = p.argmax(axis=1) == y_new, p.max(axis=1)
        cost = -np.log(p[np.arange(len(p)), y_new]).mean()
        print(f"{name:22} {is_right.mean():10.1%} {sure.mean():18.1%} {cost:10.3f}")
        found[name] = is_right, sure
    print(f"temperature {calibrated.temperature:.2f}")
    save_figure(picture(found), folder / "calibration.png")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
