"""The exact optimum, raced for: `python -m benchmarks.exact`.

Everyone fits the same rows with the same penalty, in a process of its own that reads them from a
file, and leaves weights and a time after every stage. The objective of those weights is computed
afterwards, in float64, by NumPy; its distance is that to the least objective that fastlin proved
possible. The clock begins when rows are in memory, and libraries loaded; fastlin's kernels are
compiled before, in a first fit of few passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from benchmarks import exact_report
from benchmarks.exact_contestants import Contestant, contestants, path_contestants
from benchmarks.exact_objective import Problem
from benchmarks.exact_race import PathRace, Race, race, race_path
from benchmarks.machine import header_lines
from fastlin.solving.config import DEFAULT_CS

_PATIENCE = 900.0  # seconds for a contestant
_REPEATS = 20  # of fits that take milliseconds
_PATH_GAP, _EVERY = 1e-4, 4  # of a path: how near every fit comes, and which of them others do
_LIMIT = 120.0  # seconds that others have for one of them


def embeddings(n: int, d: int, K: int, l2: float, seed: int = 0) -> Problem:
    """Return rows like frozen embeddings, float32: second moments from 100 to 0.01, mixed."""
    rng = np.random.default_rng([seed, n, d, K])
    deviations = np.sqrt(np.geomspace(100, 0.01, d))
    mixing = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = (rng.standard_normal((n, d)) * deviations) @ mixing.T
    scores = X @ rng.standard_normal((d, K))
    scores *= 7 / scores.std()
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    name = f"embeddings, {n:,} x {d}, {K} classes"
    return Problem(name, X.astype(np.float32), 1.0, y, l2)


def pixels(l2: float) -> Problem:
    """Return all training images of CIFAR-10. Raises InputError where it is not."""
    import fastlin  # noqa: PLC0415

    split = fastlin.load_split("cifar10", split="full")
    assert split.val is not None  # of the 50,000 it holds 1,000
    X = np.concatenate([split.train.X, split.val.X])
    y = np.concatenate([split.train.y, split.val.y])
    return Problem(f"CIFAR-10 pixels, {len(X):,} x {X.shape[1]}", X, 1 / 255, y, l2)


def conditioned(n: int, d: int, K: int, l2: float) -> Problem:
    """Return standardised features whose second moments have a condition below 10, float32."""
    rng = np.random.default_rng([0, n, d, K])
    spread = np.geomspace(1, 8**-0.5, d)
    mixing = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = (rng.standard_normal((n, d)) * spread) @ mixing.T
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    scores = X @ rng.standard_normal((d, K)) * (4 / d**0.5)
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return Problem(f"standardised, {n:,} x {d}, {K} classes", X.astype(np.float32), 1.0, y, l2)


def few_shots(l2: float) -> Problem:
    """Return 8 rows of length 1 of each of 100 classes, float32, which are fitted many times."""
    d, K, shots = 768, 100, 8
    rng = np.random.default_rng([0, d, K, shots])
    y = np.repeat(np.arange(K), shots)
    X = rng.standard_normal((K, d))[y] + 2 * rng.standard_normal((len(y), d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)  # as embeddings of sentences often are
    name = f"few-shot, {len(y)} x {d}, {K} classes"
    return Problem(name, X.astype(np.float32), 1.0, y, l2, _REPEATS)


# The problems of one penalty each, and the penalties they have where none is given.
PROBLEMS: dict[str, tuple[Callable[[float], Problem], tuple[float, ...]]] = {
    "embeddings": (lambda l2: embeddings(50_000, 768, 10, l2), (1e-4,)),
    "classes": (lambda l2: embeddings(50_000, 768, 100, l2), (1e-4,)),
    "pixels": (pixels, (1e-2, 1e-3, 1e-4)),
    "conditioned": (lambda l2: conditioned(50_000, 256, 10, l2), (1e-4,)),
    "few-shot": (few_shots, (1 / 1600,)),  # C 1
    "quick": (lambda l2: embeddings(2_000, 64, 10, l2), (1e-4,)),
}
# The paths: their rows, and the penalties as C.
PATHS: dict[str, tuple[Callable[[], Problem], tuple[float, ...]]] = {
    "path": (lambda: embeddings(20_000, 768, 100, 1e-4), DEFAULT_CS),
    "quick-path": (lambda: embeddings(2_000, 64, 10, 1e-4), DEFAULT_CS),
}
_NOT_ALL = ("quick", "quick-path")


def installed(everyone: Sequence[Contestant]) -> list[Contestant]:
    """Return who can take part; say who cannot."""
    for library in dict.fromkeys(one.library for one in everyone):
        if not library.is_installed():
            names = ", ".join(one.name for one in everyone if one.library is library)
            click.echo(f"{library.module} is not installed: without {names}", err=True)
    return [one for one in everyone if one.library.is_installed()]


def _chosen(everyone: Sequence[Contestant], against: Sequence[str]) -> list[Contestant]:
    """Return fastlin and those whose names begin as told. Fails if there are none."""
    ours, *others = everyone
    found = [one for one in others if not against or one.name.startswith(tuple(against))]
    if not found:
        names = ", ".join(one.name for one in others)
        raise click.UsageError(f"--against {against[0]} is none of {names}")
    return [ours, *found]


@click.command()
@click.option("--threads", default=2, type=click.IntRange(1), show_default=True)
@click.option("--iterations", default=1000, type=click.IntRange(1), show_default=True)
@click.option(
    "--patience",
    default=_PATIENCE,
    type=click.FloatRange(1),
    show_default=True,
    help="Seconds for each contestant of a problem.",
)
@click.option(
    "--limit",
    default=_LIMIT,
    type=click.FloatRange(1),
    show_default=True,
    help="Seconds that others have for each fit of a path.",
)
@click.option(
    "--only",
    "names",
    multiple=True,
    type=click.Choice([*PROBLEMS, *PATHS]),
    help="Race over these problems; all but the quick ones by default.",
)
@click.option(
    "--l2",
    "l2s",
    multiple=True,
    type=click.FloatRange(0, min_open=True),
    help="Race with these penalties instead of those of the problem; not over a path.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="NAME",
    help="Race against those alone whose names begin so, such as PyTorch; against all by default.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the page there, with its picture, and beside them all figures as exact-*.json.",
)
def main(
    threads: int,
    iterations: int,
    patience: float,
    limit: float,
    names: tuple[str, ...],
    l2s: tuple[float, ...],
    against: tuple[str, ...],
    out: Path | None,
) -> None:
    """Race fastlin's exact fit against L-BFGS of other libraries, to the same objective.

    A page that is written keeps what its file has of problems that are not raced now.
    """
    chosen = names or [name for name in (*PROBLEMS, *PATHS) if name not in _NOT_ALL]
    if l2s and any(name in PATHS for name in chosen):
        raise click.UsageError("--l2 has no meaning for a path; name other problems with --only")
    for line in header_lines():
        click.echo(line)
    everyone = installed(_chosen(contestants(iterations), against))

    def show(found: Race | PathRace) -> None:
        is_path = isinstance(found, PathRace)
        lines = exact_report.path_table(found) if is_path else exact_report.table(found)
        click.echo("\n".join(["", *lines]))
        if out is not None:  # after every race: the next may take long
            exact_report.write(out, [found], threads)

    for name in chosen:
        if name in PROBLEMS:
            make, penalties = PROBLEMS[name]
            for l2 in l2s or penalties:
                show(race(make(l2), everyone, threads, patience))
        else:
            make_path, Cs = PATHS[name]
            peers = path_contestants(Cs, _PATH_GAP, iterations, limit)
            found = race_path(
                make_path(), Cs, installed(_chosen(peers, against)), threads, patience,
                gap=_PATH_GAP, every=_EVERY, limit=limit,
            )  # fmt: skip
            show(found)


if __name__ == "__main__":
    main()
