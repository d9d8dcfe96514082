"""Our estimators against scikit-learn's, raced for: `python -m benchmarks.estimators`.

Everyone is fitted on the same rows with C 1, in a process of its own that reads them from a file.
The clock is around `fit`, with rows in memory, libraries loaded and kernels compiled. Medians of
several fits count, of small rows in several processes by turns.

`SoftmaxClassifier` and `LogisticRegression` have one objective: it is computed from the weights
that they leave, in float64, by NumPy. Each is fitted with one `tol` after another. To a distance
from the least objective, which fastlin proves, counts the fastest `tol` that came so near. lbfgs
has float32 rows where rows are float32; newton-cholesky takes part where its matrix is small.

`SGDClassifier` fits one class against the rest: another objective, so what is compared is the time
to the same accuracy on rows held out, of standardised rows. It is fitted with several penalties,
schedules and numbers of epochs, and the best that it reaches, less half a percent, or of few rows
less a standard error, is the goal.
`SoftmaxClassifier(solver="sgd")` has its defaults, then the same penalties, with the same numbers
of epochs.

What a call costs beside the steps is that of the smallest rows: `fit` less the seconds from its
first step to its last, and `predict` of one row.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from benchmarks import estimator_report
from benchmarks.estimator_race import Shape, race
from benchmarks.exact import conditioned, embeddings
from benchmarks.exact_objective import Problem
from benchmarks.machine import header_lines

_AS_FAST, _FASTER = 1 / 1.25, 5.0  # the bars: how many times as fast as others


def flowers(repeats: int = 30) -> Problem:
    """Return the rows of Iris as they are, float64."""
    from sklearn.datasets import load_iris  # noqa: PLC0415

    return _with_unit_penalty("Iris, 150 x 4, 3 classes", *load_iris(return_X_y=True), repeats)


def digits(repeats: int = 3) -> Problem:
    """Return the images of scikit-learn's digits, whose pixels are 0 to 16, float64."""
    from sklearn.datasets import load_digits  # noqa: PLC0415

    return _with_unit_penalty(
        "digits, 1,797 x 64, 10 classes", *load_digits(return_X_y=True), repeats
    )


def _with_unit_penalty(name: str, X: np.ndarray, y: np.ndarray, repeats: int) -> Problem:
    return Problem(name, X, 1.0, y.astype(np.int64), 1 / (2 * len(y)), repeats)


def _standardised() -> Problem:
    problem = conditioned(10_000, 100, 10, 1 / 20_000)
    return problem._replace(repeats=5)


SHAPES = {
    "iris": Shape(flowers, rounds=3, small=True, factor=_AS_FAST),
    "digits": Shape(digits, rounds=3, small=True, factor=_AS_FAST),
    "standardised": Shape(_standardised, rounds=2, small=True, factor=_AS_FAST),
    "wide": Shape(
        lambda: embeddings(10_000, 3072, 10, 1 / 20_000), rounds=1, small=False, factor=_FASTER
    ),
    "embeddings": Shape(
        lambda: embeddings(50_000, 768, 10, 1 / 100_000), rounds=1, small=False, factor=_FASTER
    ),
}  # fmt: skip
QUICK = {
    "iris": Shape(lambda: flowers(3), rounds=1, small=True, factor=_AS_FAST),
    "digits": Shape(lambda: digits(1), rounds=1, small=True, factor=_AS_FAST),
}


@click.command()
@click.option("--threads", default=2, type=click.IntRange(1), show_default=True)
@click.option("--iterations", default=2000, type=click.IntRange(1), show_default=True)
@click.option(
    "--patience",
    default=900.0,
    type=click.FloatRange(1),
    show_default=True,
    help="Seconds for each contestant.",
)
@click.option("--only", "names", multiple=True, type=click.Choice(list(SHAPES)))
@click.option("--quick", is_flag=True, help="Race over the smallest rows alone, with few fits.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the page there, and beside it all figures as estimators-*.json.",
)
def main(
    threads: int, iterations: int, patience: float, names: tuple[str, ...], out: Path | None,
    *, quick: bool,
) -> None:  # fmt: skip
    """Race our estimators against scikit-learn's, to the same objective and the same accuracy.

    A page that is written keeps what its file has of rows that are not raced over now.
    """
    shapes = QUICK if quick else SHAPES
    missing = [name for name in names if name not in shapes]
    if missing:
        raise click.UsageError(f"--quick has no {missing[0]}; it has {', '.join(shapes)}")
    for line in header_lines():
        click.echo(line)
    for name in names or shapes:
        found = race(shapes[name], threads, patience, iterations, times_calls=name == "iris")
        click.echo("\n".join(["", *estimator_report.table(found)]))
        if out is not None:  # after every race: the next may take long
            estimator_report.write(out, [found], threads)


if __name__ == "__main__":
    main()
