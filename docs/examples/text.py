"""Text as a stream: hashed words, and a classifier that goes on with every block of sentences.

You learn to turn text into rows of a fixed number of features without a first pass over the text,
and to train with `partial_fit` on one block at a time, as you would if the text were larger than
memory. The exact fit of all blocks at once shows what was there to be reached.

`python text.py` prints a table and writes text.png; a folder may follow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier

from fastlin import SoftmaxClassifier
from fastlin.figures import save_figure
from fastlin.figures.style import BLUE, INK, ORANGE, styled

TOPICS = {
    "cooking": "butter oven flour knife salt recipe onion bake taste dinner",
    "garden": "soil seed rain knife leaf onion bloom water root spring",
    "music": "string note bow chord taste spring tune record play scale",
    "sailing": "wind bow rope water knot harbour sail salt anchor record",
    "travel": "train ticket harbour map hotel dinner rain border luggage scale",
}
WORDS = np.array([words.split() for words in TOPICS.values()])
STOP_WORDS = ["the", "a", "of", "to", "and", "in", "was", "with", "that", "it", "for", "on", "as"]
BLOCKS, BLOCK = 40, 200


def sentences(n: int, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """Return sentences of ten words, of which two are on their topic, and the topics."""
    topics = rng.integers(len(TOPICS), size=n)
    of_topic = WORDS[topics[:, np.newaxis], rng.integers(WORDS.shape[1], size=(n, 2))]
    of_any = rng.choice(WORDS.ravel(), size=(n, 2))
    words = np.hstack([of_topic, of_any, rng.choice(STOP_WORDS, size=(n, 6))])
    return [" ".join(row) for row in rng.permuted(words, axis=1)], np.array(list(TOPICS))[topics]


@styled()
def picture(ours: list[float], theirs: list[float], exact: float) -> Figure:
    """Draw the accuracy on new sentences over the blocks that were seen."""
    figure = Figure((4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(100 * exact, color=INK, linestyle=":", linewidth=1, label="exact fit of all")
    blocks = np.arange(1, BLOCKS + 1)
    axes.plot(blocks, 100 * np.array(ours), "-o", color=BLUE, zorder=3, label="fastlin")
    axes.plot(blocks, 100 * np.array(theirs), "-D", color=ORANGE, markersize=3, linewidth=1,
              label="SGDClassifier")  # fmt: skip
    axes.set(xlabel=f"blocks of {BLOCK} sentences seen", ylabel="accuracy on new sentences (%)")
    axes.set_xlim(0, BLOCKS + 1)
    axes.legend(loc="lower right")
    title = f"{100 * ours[-1]:.1f} % after {BLOCKS} blocks; exact fit {100 * exact:.1f} %"
    figure.suptitle(title, fontsize=10)
    return figure


def main(folder: Path) -> None:
    """Train block by block, and judge by new sentences after each."""
    rng = np.random.default_rng(0)
    hashing = HashingVectorizer(n_features=1024, stop_words="english", dtype=np.float32)
    texts, y_new = sentences(2000, rng)
    X_new = hashing.transform(texts).toarray()
    ours = SoftmaxClassifier(solver="sgd", l2=5e-5, learning_rate_init=1.0, batch_size=8,
                             random_state=0)  # fmt: skip
    theirs = SGDClassifier(loss="log_loss", alpha=1e-4, random_state=0)  # alpha is 2 l2
    blocks, accuracies = [], []
    for _ in range(BLOCKS):
        texts, y = sentences(BLOCK, rng)
        X = hashing.transform(texts).toarray()
        for model in (ours, theirs):
            model.partial_fit(X, y, classes=list(TOPICS))
        accuracies.append([model.score(X_new, y_new) for model in (ours, theirs)])
        blocks.append((X, y))
    X, y = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    best = SoftmaxClassifier().fit(X, y).score(X_new, y_new)
    print("blocks   fastlin   SGDClassifier")
    for block in (1, 5, 10, 20, BLOCKS):
        print("{:6}   {:7.1%}   {:13.1%}".format(block, *accuracies[block - 1]))
    print(f"exact fit of all blocks: {best:.1%}")
    save_figure(picture(*zip(*accuracies, strict=True), best), folder / "text.png")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
