"""A path in folds that share their passes, beside folds apart: `python -m benchmarks.folds`.

Apart means a path of its own for every fold, of the rows outside of it, copied before the clock
starts. Each is fitted once before, which compiles, and then by turns; medians count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import click
import numpy as np

import fastlin
from benchmarks.exact import embeddings
from benchmarks.machine import header_lines
from fastlin.data.splits import stratified_folds
from fastlin.solving.config import FitConfig, PathPlan, log_steps
from fastlin.solving.path import fit_path

# (n, d, K, folds, dtype of the rows)
SHAPES = (
    (50_000, 768, 2, 10, np.float32),
    (50_000, 768, 3, 5, np.float32),
    (50_000, 768, 10, 5, np.float32),
    (50_000, 768, 10, 5, np.float16),
    (20_000, 768, 100, 5, np.float32),
    (5_000, 3072, 10, 5, np.float32),
    (2_000, 64, 10, 5, np.float32),
)
CS = log_steps(-5, 0, 9)


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--shrink", type=click.IntRange(1), default=1, help="Divide the rows by this.")
def main(rounds: int, shrink: int) -> None:
    """Print the seconds of paths of 10 penalties in folds, together and apart."""
    for line in header_lines():
        click.echo(line)
    click.echo("\n| rows | folds | together | passes | apart | passes | times as long |")
    click.echo("|---|---|---|---|---|---|---|")
    for n, d, K, folds, dtype in SHAPES:
        problem = embeddings(n // shrink, d, K, 1e-4)
        X = problem.X.astype(dtype)
        ways = {"together": _together(X, problem.y, folds), "apart": _apart(X, problem.y, folds)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        passes = {name: way() for name, way in ways.items()}
        for _ in range(rounds):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - began)
        ours, theirs = (median(seconds[name]) for name in ways)
        click.echo(
            f"| {n // shrink:,} x {d} {np.dtype(dtype)}, {K} classes | {folds} | {ours:.2f} s | "
            f"{passes['together']} | {theirs:.2f} s | {passes['apart']} | {theirs / ours:.2f} |"
        )


def _together(X: np.ndarray, y: np.ndarray, folds: int) -> Callable[[], int]:
    """Return what fits a path in folds, and returns the passes over the rows."""
    split = fastlin.Split.from_arrays(X, y)
    plan = PathPlan(Cs=CS, extend=False, cv=folds)

    def fit() -> int:
        found = fit_path(split, FitConfig(gap=1e-4), plan)
        return sum(point.passes for point in found.points)

    return fit


def _apart(X: np.ndarray, y: np.ndarray, folds: int) -> Callable[[], int]:
    """Return what fits a path outside of every fold, then the best on all rows."""
    fold_of = stratified_folds(y, folds, 0)
    splits = []
    for fold in range(folds):
        own = fold_of != fold
        splits.append(fastlin.Split.from_arrays(X[own], y[own], X_val=X[~own], y_val=y[~own]))
    whole = fastlin.Split.from_arrays(X, y)
    plan = PathPlan(Cs=CS, extend=False)

    def fit() -> int:
        found = [fit_path(split, FitConfig(gap=1e-4), plan) for split in splits]
        means = np.mean([[p.values["accuracy"] for p in one.points] for one in found], axis=0)
        fastlin.solve(whole, C=found[0].points[int(means.argmax())].C, gap=1e-4)
        return sum(point.passes for one in found for point in one.points)

    return fit


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.folds")
