"""What the default learning rate loses against the best one: `python -m benchmarks.defaults`.

Rows of four kinds are trained with the defaults, and with every learning rate of a list beside the
other defaults. Accuracies are those of the last epoch on rows that were not trained on. Of a list,
the best one is partly the luckiest one: a gap within the standard error is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
import numpy as np
from numpy.typing import NDArray

from fastlin.config import TrainConfig
from fastlin.data import Dataset, Split, load_split
from fastlin.errors import GridDivergedError, InputError
from fastlin.metrics import binomial_error
from fastlin.search.search import grid_search
from fastlin.training.defaults import with_chosen

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def unit_embeddings(rows: int, d: int, K: int, seed: int) -> Split:
    """Return rows of length 1 around overlapping class means, which share a large mean."""
    rng = np.random.default_rng([1, seed])
    # A feature spreads by up to three times as much as another, as those of a network do.
    spreads, common = np.geomspace(1.5, 0.5, d), 0.8 * rng.standard_normal(d)
    means = rng.standard_normal((K, d))
    # The distance of two means grows with sqrt(d), and the confusions with the number of classes.
    means *= (1.9 + 0.63 * np.log2(K)) / np.sqrt(2 * d)

    def features(y: NDArray[np.int64]) -> NDArray[np.float64]:
        X = common + means[y] + rng.standard_normal((len(y), d)) * spreads
        normed: NDArray[np.float64] = X / np.linalg.norm(X, axis=1, keepdims=True)
        return normed

    return _split("unit-length embeddings", features, rows, K, rng)


def standardized(rows: int, d: int, K: int, seed: int) -> Split:
    """Return features of mean 0 and standard deviation 1, some correlated."""
    rng = np.random.default_rng([2, seed])
    mixing = rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d)
    means = rng.standard_normal((K, d)) * (1.0 + 0.93 * np.log2(K)) / np.sqrt(2 * d)

    def features(y: NDArray[np.int64]) -> NDArray[np.float64]:
        X = (means[y] + rng.standard_normal((len(y), d))) @ mixing
        X -= X.mean(axis=0)
        scaled: NDArray[np.float64] = X / X.std(axis=0)
        return scaled

    return _split("standardised features", features, rows, K, rng)


def census(rows: int, d: int, seed: int) -> Split:
    """Return two classes by columns on scales from 1 to 1e5: amounts, counts, and yes or no."""
    rng = np.random.default_rng([3, seed])
    weights, scales = rng.standard_normal((2, d)), np.logspace(0, 5, d)

    def features(y: NDArray[np.int64]) -> NDArray[np.float64]:
        X = 0.5 * weights[y] + rng.standard_normal((len(y), d))
        X[:, ::3] = X[:, ::3] > 0  # such columns are 0 or the scale
        X[:, 1::3] = np.exp(X[:, 1::3])  # incomes: most are small, some large
        return X * scales

    return _split("census-like columns", features, rows, 2, rng)


def _split(
    name: str,
    features: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    rows: int,
    K: int,
    rng: np.random.Generator,
) -> Split:
    """Return as many training as validation rows, of which a class has up to ten times another."""
    shares = np.geomspace(1, 10, K)

    def part() -> Dataset:
        y = rng.choice(K, rows, p=shares / shares.sum())
        y[:K] = np.arange(K)
        return Dataset(features(y).astype(np.float32), y, tuple(f"class {k}" for k in range(K)))

    return Split(name, part(), part(), None)


@dataclass(frozen=True)
class Outcome:
    """What the defaults reach on rows of a kind, and what the learning rates of the list do.

    Attributes
    ----------
    kind : str
    config : TrainConfig
        What the defaults became.
    default, best : float
        Accuracy with them, and the best one of the list.
    best_lr : float
        Its learning rate.
    error : float
        The standard error of the best accuracy.
    """

    kind: str
    config: TrainConfig
    default: float
    best: float
    best_lr: float
    error: float

    @property
    def gap(self) -> float:
        """What the defaults lose."""
        return self.best - self.default


def measure(kind: str, split: Split, epochs: int) -> Outcome:
    """Train the defaults and every learning rate of the list."""
    base = TrainConfig(epochs=epochs)
    config = with_chosen([base], split.train)[0]
    others = [TrainConfig(epochs=epochs, lr=lr) for lr in RATES if lr != config.lr]
    try:
        entries = grid_search(
            split, [base, *others], note=lambda _: None, eval_train_every=0
        ).entries
    except GridDivergedError as error:
        entries = error.result.entries
    scores = [entry.score if entry.status == "finished" else 0.0 for entry in entries]
    best = int(np.argmax(scores))
    assert split.val is not None
    return Outcome(
        kind, config, scores[0], scores[best], entries[best].config.first_lr,
        binomial_error(scores[best], len(split.val)),
    )  # fmt: skip


def problems(*, quick: bool) -> Iterator[tuple[str, Split]]:
    """Give rows of the four kinds; few of them if it is to be quick."""
    rows, d = (600, 48) if quick else (8000, 768)
    for K in (10, 30):
        yield f"unit-length embeddings, {K} classes", unit_embeddings(rows, d, K, seed=K)
    mini = load_split("cifar10-mini")
    yield "raw pixels, cifar10-mini", mini
    if not quick:
        try:
            yield "raw pixels, CIFAR-10", load_split("cifar10")
        except InputError:
            click.echo("CIFAR-10 is not here", err=True)
    for K in (2, 10):
        yield f"standardised features, {K} classes", standardized(rows, d // 4, K, seed=K)
    yield "census-like columns", census(rows, 12, seed=0)


HEADINGS = ("kind", "lr", "l2", "standardised", "default", "best", "its lr", "gap", "error")


def table(outcomes: list[Outcome]) -> str:
    """Return what was found as a table in Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for found in outcomes:
        cells = (
            found.kind, f"{found.config.lr:g}", f"{found.config.l2:g}",
            "yes" if found.config.standardize else "no",
            f"{found.default:.2%}", f"{found.best:.2%}", f"{found.best_lr:g}",
            f"{100 * found.gap:.2f}", f"{100 * found.error:.2f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Few rows and epochs: does everything work?")
def main(*, quick: bool) -> None:
    """Print what the defaults lose on rows of four kinds."""
    outcomes = []
    for kind, split in problems(quick=quick):
        outcomes.append(measure(kind, split, epochs=6 if quick else TrainConfig().epochs))
        click.echo(f"{kind}: {100 * outcomes[-1].gap:.2f} points", err=True)
    click.echo(table(outcomes))


if __name__ == "__main__":
    main()
