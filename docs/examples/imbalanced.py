"""Rare classes: what class_weight="balanced" gives them, and what it costs the others.

You learn to weigh classes, and to judge by the recall of each class and by its mean, the balanced
accuracy. Plain accuracy hardly sees a class of one row in a hundred.

`python imbalanced.py` prints a table and writes imbalanced.png; a folder may follow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score
from sklearn.model_selection import train_test_split

from fastlin import SoftmaxClassifier
from fastlin.figures import save_figure
from fastlin.figures.style import BLUE, ORANGE, styled

SHARES = {"sparrow": 0.60, "robin": 0.25, "finch": 0.10, "wren": 0.04, "owl": 0.01}


def birds(rows: int, features: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows around the means of their classes, and the classes as text."""
    rng = np.random.default_rng(1)
    means = 0.45 * rng.normal(size=(len(SHARES), features))
    numbers = rng.choice(len(SHARES), size=rows, p=list(SHARES.values()))
    X = means[numbers] + rng.normal(size=(rows, features))
    return X.astype(np.float32), np.array(list(SHARES))[numbers]


@styled()
def picture(recalls: dict[str, np.ndarray], rows: list[int]) -> Figure:
    """Draw the recall of every class as bars, one colour for each classifier."""
    figure = Figure((4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    drawn = zip((-0.2, 0.2), (BLUE, ORANGE), recalls.items(), strict=True)
    for shift, color, (label, recall) in drawn:
        bars = axes.bar(places + shift, 100 * recall, 0.38, color=color, label=label)
        axes.bar_label(bars, fmt="{:.0f}", fontsize=8, padding=1)
    axes.set_xticks(places, [f"{name}\n{n:,}" for name, n in zip(SHARES, rows, strict=True)])
    axes.set_xlabel("class, and its training rows")
    axes.set_ylabel("recall on new rows (%)")
    axes.set_ylim(0, 105)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    before, after = (100 * recall.mean() for recall in recalls.values())
    title = f"Balanced accuracy {before:.0f} % without weights, {after:.0f} % with them"
    figure.suptitle(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def main(folder: Path) -> None:
    """Fit with and without weights of classes."""
    X, y = birds(16_000)
    X, X_new, y, y_new = train_test_split(X, y, test_size=0.75, random_state=0, stratify=y)
    recalls = {}
    print("class_weight   accuracy   balanced accuracy")
    for weights in (None, "balanced"):
        predicted = SoftmaxClassifier(class_weight=weights).fit(X, y).predict(X_new)
        accuracy = accuracy_score(y_new, predicted)
        balanced = balanced_accuracy_score(y_new, predicted)
        print(f"{weights!s:12}   {accuracy:8.1%}   {balanced:17.1%}")
        recalls[f"class_weight={weights!r}"] = recall_score(
            y_new, predicted, labels=list(SHARES), average=None
        )
    save_figure(
        picture(recalls, [int((y == name).sum()) for name in SHARES]), folder / "imbalanced.png"
    )


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
