"""A linear probe: how good frozen embeddings are, by a softmax classifier on top of them.

You learn to choose C on validation rows, to read `gap_`, the proof of how close a fit is to the
optimum of its penalty, and how scikit-learn's LogisticRegression compares, whose C is the same.

`python embeddings.py` prints a table and writes embeddings.png; a folder may follow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from fastlin import SoftmaxClassifier
from fastlin.figures import save_figure
from fastlin.figures.style import BLUE, ORANGE, styled

CS = 10.0 ** np.arange(-3, 4)


def embeddings(rows: int, features: int = 256, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of which a few directions have most of the variance; 1 label in 20 is random."""
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=rows)
    X = 0.2 * rng.normal(size=(classes, features))[y] + rng.normal(size=(rows, features))
    turn, _ = np.linalg.qr(rng.normal(size=(features, features)))
    X = (X / np.sqrt(np.arange(1, features + 1))) @ turn
    is_random = rng.random(rows) < 0.05
    return X.astype(np.float32), np.where(is_random, rng.integers(classes, size=rows), y)


def objective(model: SoftmaxClassifier | LogisticRegression, X: np.ndarray, y: np.ndarray) -> float:
    """Return what both classifiers minimise: the mean loss plus the penalty."""
    W = model.coef_.astype(np.float64)
    scores = X @ W.T + model.intercept_
    losses = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(y)), y]
    return float(losses.mean() + (W**2).sum() / (2 * model.C * len(y)))


@styled()
def picture(ours: np.ndarray, theirs: np.ndarray) -> Figure:
    """Draw the columns accuracy, cost and distance to the optimum, of both classifiers, over C."""
    figure = Figure((4.8, 5.8), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True)
    labels = ("validation\naccuracy (%)", "validation\ncost", "objective above\nthe least, share")
    for axes, label, our, their in zip(panels, labels, ours.T, theirs.T, strict=True):
        axes.plot(CS, our, "-o", color=BLUE, label="fastlin")
        axes.plot(CS, their, "D", color=ORANGE, markersize=8, fillstyle="none",
                  label="LogisticRegression")  # fmt: skip
        axes.set(ylabel=label, xscale="log", ymargin=0.1)
    panels[2].set(yscale="log", xlabel="C (weaker penalty to the right)")
    for axis, text in ((panels[2].xaxis, "{x:g}"), (panels[2].yaxis, "{x:.0e}")):
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(text)
    best = ours[:, 0].argmax()
    title = f"Best at C {CS[best]:g}: {ours[best, 0]:.1f} % of the validation rows are right"
    figure.suptitle(title, fontsize=10)
    panels[0].legend(loc="lower right")
    return figure


def main(folder: Path) -> None:
    """Fit both classifiers for every C."""
    X, y = embeddings(3000)
    X, X_val, y, y_val = train_test_split(X, y, test_size=1000, random_state=0)
    model = SoftmaxClassifier(tol=1e-6, warm_start=True)  # each fit starts at the one before
    ours, theirs = [], []
    print("   C   accuracy    cost    gap_    LogisticRegression: accuracy    cost   above ours")
    for C in CS:
        model.set_params(C=C).fit(X, y)
        other = LogisticRegression(C=C, max_iter=1000).fit(X, y)
        above = objective(other, X, y) / objective(model, X, y) - 1
        for found, fitted, distance in ((ours, model, model.gap_), (theirs, other, above)):
            cost = log_loss(y_val, fitted.predict_proba(X_val))
            found.append((100 * fitted.score(X_val, y_val), cost, distance))
        print("{:5g}   {:6.1f} %   {:5.3f}   {:.0e}".format(C, *ours[-1]), end=" " * 24)
        print("{:6.1f} %   {:5.3f}        {:.0e}".format(*theirs[-1]))
    save_figure(picture(np.array(ours), np.array(theirs)), folder / "embeddings.png")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
