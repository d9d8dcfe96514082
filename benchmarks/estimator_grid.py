"""A grid of C in cross-validation: `python -m benchmarks.estimator_grid`.

Everyone searches the same values of C over the same folds, in a process of its own that reads the
rows from a file. The clock begins when rows are in memory and libraries loaded; fastlin's kernels
are compiled before, in a search of few rows. Scores are accuracies, the best mean over the folds.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.exact import embeddings
from benchmarks.machine import header_lines
from benchmarks.processes import run_python
from benchmarks.racing import FailedError
from fastlin.files import atomic_write

CS = np.logspace(-5, 1, 10).tolist()
FOLDS = 3
_WARM_ROWS = 500


class Row(NamedTuple):
    """A line of the table: who, seconds, the best score, and its C."""

    name: str
    seconds: float
    score: float
    C: float


def _peer(threads: int) -> Any:
    """Return scikit-learn's search over its own classifier, in as many processes as threads.

    Rows are float32, which its lbfgs keeps; newton-cholesky builds a matrix of (d K)**2.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.model_selection import GridSearchCV  # noqa: PLC0415

    peer = LogisticRegression(max_iter=1000)
    return GridSearchCV(peer, {"C": CS}, cv=FOLDS, n_jobs=threads)


def _single(threads: int) -> Any:
    from sklearn.model_selection import GridSearchCV  # noqa: PLC0415

    import fastlin  # noqa: PLC0415

    return GridSearchCV(fastlin.SoftmaxClassifier(n_threads=threads), {"C": CS}, cv=FOLDS)


def _together(threads: int) -> Any:
    import fastlin  # noqa: PLC0415

    return fastlin.GridSearch(
        fastlin.SoftmaxClassifier(), {"C": CS}, cv=FOLDS, n_threads=threads
    )  # fmt: skip


CONTESTANTS: dict[str, Callable[[int], Any]] = {
    "GridSearchCV, LogisticRegression": _peer,
    "GridSearchCV, SoftmaxClassifier": _single,
    "GridSearch, SoftmaxClassifier": _together,
}


def search(name: str, X: NDArray[np.floating], y: NDArray[np.int64], threads: int) -> Row:
    """Return what a contestant found, and how long it took."""
    make = CONTESTANTS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lbfgs may end at max_iter
        make(threads).fit(X[:_WARM_ROWS], y[:_WARM_ROWS])
        began = time.perf_counter()
        found = make(threads).fit(X, y)
        seconds = time.perf_counter() - began
    return Row(name, seconds, float(found.best_score_), float(found.best_params_["C"]))


def table(rows: list[Row]) -> list[str]:
    """Return lines of Markdown, with times over that of the fastest."""
    least = min(row.seconds for row in rows)
    return [
        "| search | seconds | over the fastest | best accuracy | its C |",
        "|---|---|---|---|---|",
        *(
            f"| {row.name} | {row.seconds:.2f} | {row.seconds / least:.1f} | {row.score:.4f} | "
            f"{row.C:.3g} |"
            for row in rows
        ),
    ]


def race(names: list[str], shape: tuple[int, int, int], threads: int) -> list[Row]:
    """Return what everyone found, each in its own process; one who fails has no row."""
    problem = embeddings(*shape, l2=0.0)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "rows.npz", X=problem.X, y=problem.y)
        for name in names:
            try:
                run_python(
                    "benchmarks.estimator_grid", "--threads", str(threads), "--folder", folder,
                    "--name", name, OPENBLAS_NUM_THREADS=str(threads),
                )  # fmt: skip
            except FailedError as error:
                click.echo(f"{name} failed: {error}", err=True)
                continue
            found.append(Row(**json.loads((Path(folder) / "found.json").read_text())))
    return found


@click.command()
@click.option("--threads", default=2, type=click.IntRange(1), show_default=True)
@click.option("--shape", type=(int, int, int), default=(20_000, 256, 10), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the page there, too.")
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
@click.option("--name", type=click.Choice(list(CONTESTANTS)), hidden=True)
def main(
    threads: int, shape: tuple[int, int, int], out: Path | None, folder: Path | None,
    name: str | None,
) -> None:  # fmt: skip
    """Race searches over C on rows like embeddings: rows, features and classes are the shape."""
    if folder is not None and name is not None:
        with np.load(folder / "rows.npz") as rows:
            found = search(name, rows["X"], rows["y"], threads)
        (folder / "found.json").write_text(json.dumps(found._asdict()))
        return
    n, d, K = shape
    title = f"**{n:,} x {d}, {K} classes, {len(CS)} values of C, {FOLDS} folds**"
    lines = [title, "", *table(race(list(CONTESTANTS), shape, threads))]
    click.echo("\n".join([*header_lines(), "", *lines]))
    if out is not None:
        machine = header_lines()[0].removeprefix("machine: ")
        with atomic_write(out) as file:
            file.write("\n".join([*lines, "", f"{machine}; {threads} threads.\n"]).encode())


if __name__ == "__main__":
    main()
