"""The exact optimum, raced for: `python -m benchmarks.exact`.

Everyone fits the same rows with the same penalty, in a process of its own that reads them from a
file, and leaves weights and a time after every stage. The objective of those weights is computed
afterwards, in float64, by NumPy; its distance is that to the best objective of all, less the gap
that fastlin proved. The clock begins when rows are in memory, and libraries loaded; fastlin's
kernels are compiled before, in a first fit of few passes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.libraries import FASTLIN, SCIKIT_LEARN, TORCH, Library
from benchmarks.machine import header_lines
from fastlin.files import atomic_write

_PATIENCE = 900.0  # seconds for a contestant

_FASTLIN = """
import fastlin
fastlin.solve(X, y, l2=l2, threads=threads, max_passes=3)  # in float32 and in float64
for gap in (1e-2, 1e-3, 1e-4, 1e-6):
    began = time.perf_counter()
    found = fastlin.solve(X, y, l2=l2, threads=threads, gap=gap)
    keep(found.model.W, found.model.b, time.perf_counter() - began, found.passes, found.gap)
"""

_SCIKIT_LEARN = """
import warnings
from sklearn.linear_model import LogisticRegression
warnings.simplefilter("ignore")
rows = scaled(X).astype({dtype!r})
for tol, most in {stages}:
    began = time.perf_counter()
    found = LogisticRegression(C=1 / (2 * len(y) * l2), tol=tol, max_iter=most).fit(rows, y)
    keep(found.coef_, found.intercept_, time.perf_counter() - began, int(found.n_iter_.max()))
"""

_TORCH = """
import torch
torch.set_num_threads(threads)
torch.set_num_interop_threads(1)
rows, labels = torch.from_numpy(scaled(X).astype(np.float32)), torch.from_numpy(y)
layer = torch.nn.Linear(rows.shape[1], int(y.max()) + 1)
torch.nn.init.zeros_(layer.weight)
torch.nn.init.zeros_(layer.bias)
steps = torch.optim.LBFGS(layer.parameters(), max_iter={iterations}, history_size=10,
    line_search_fn="strong_wolfe", tolerance_grad=0, tolerance_change=0, max_eval=2 * {iterations})
began, passes = time.perf_counter(), 0
def objective():
    global passes
    passes += 1
    steps.zero_grad()
    cost = torch.nn.functional.cross_entropy(layer(rows), labels) + l2 * (layer.weight**2).sum()
    cost.backward()
    return cost
for _ in range({calls}):
    steps.step(objective)
    keep(layer.weight.detach().numpy(), layer.bias.detach().numpy(), time.perf_counter() - began,
         passes)
"""

_FRAME = """
import json, sys, time
import numpy as np
folder, l2, scale, threads, out = sys.argv[1], *map(float, sys.argv[2:4]), int(sys.argv[4]), \
sys.argv[5]
X, y = np.load(folder + "/X.npy"), np.load(folder + "/y.npy")
def scaled(rows):
    return rows.astype(np.float32) * np.float32(scale)
kept = []
def keep(W, b, seconds, passes, gap=None):
    number = len(kept)
    np.savez(f"{folder}/{out}-{number}.npz", W=np.array(W), b=np.array(b))
    kept.append({"seconds": seconds, "passes": passes, "gap": gap})
    with open(f"{folder}/{out}.json", "w") as file:
        json.dump(kept, file)
"""


class Contestant(NamedTuple):
    """Who takes part: a name, its library, and what its process runs."""

    name: str
    library: Library
    code: str


class Problem(NamedTuple):
    """Rows (n, d) as stored, what makes them features, labels (n,), and the penalty."""

    name: str
    X: NDArray[np.generic]
    scale: float
    y: NDArray[np.int64]
    l2: float


class Stage(NamedTuple):
    """What a contestant had after some time."""

    seconds: float
    passes: int
    objective: float
    proved: float | None


def contestants(iterations: int) -> list[Contestant]:
    """Return everyone, with so many iterations of L-BFGS at most."""
    stages = [(1e-4, 100), (1e-4, iterations), (1e-6, iterations)]
    return [
        Contestant("fastlin", FASTLIN, _FASTLIN),
        Contestant(
            "scikit-learn lbfgs, float32", SCIKIT_LEARN,
            _SCIKIT_LEARN.format(dtype="float32", stages=stages),
        ),
        Contestant(
            "scikit-learn lbfgs, float64", SCIKIT_LEARN,
            _SCIKIT_LEARN.format(dtype="float64", stages=stages[2:]),
        ),
        Contestant(
            "PyTorch LBFGS, float32", TORCH,
            _TORCH.format(iterations=max(1, iterations // 10), calls=10),
        ),
    ]  # fmt: skip


def embeddings(n: int, d: int, K: int, l2: float, seed: int = 0) -> Problem:
    """Return rows like frozen embeddings, float32: deviations over a range of 10,000, mixed."""
    rng = np.random.default_rng([seed, n, d, K])
    spread = np.geomspace(1, 1e-4, d)
    mixing = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = (rng.standard_normal((n, d)) * spread) @ mixing.T
    scores = X @ rng.standard_normal((d, K))
    scores *= 4 / scores.std()
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


def objective(problem: Problem, W: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return mean loss + l2 * sum(W**2) in float64; two classes may have one row of W."""
    W, b = W.astype(np.float64), b.astype(np.float64)
    if len(W) == 1:
        W, b = np.concatenate([-W, W]) / 2, np.concatenate([-b, b]) / 2
    total = 0.0
    for first in range(0, len(problem.y), 8192):
        labels = problem.y[first : first + 8192]
        rows = problem.X[first : first + 8192].astype(np.float64) * problem.scale
        scores = rows @ W.T + b
        scores -= scores.max(axis=1, keepdims=True)
        logs = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(labels)), labels]
        total += float(logs.sum())
    return total / len(problem.y) + problem.l2 * float(np.square(W).sum())


def race(problem: Problem, everyone: list[Contestant], threads: int) -> dict[str, list[Stage]]:
    """Return the stages of everyone; of one who failed or took too long, those before."""
    found: dict[str, list[Stage]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "X.npy", problem.X)
        np.save(folder / "y.npy", problem.y)
        for number, one in enumerate(everyone):
            out = f"of-{number}"
            words = [place, f"{problem.l2!r}", f"{problem.scale!r}", f"{threads}", out]
            try:
                done = subprocess.run(
                    [sys.executable, "-c", _FRAME + one.code, *words], capture_output=True,
                    text=True, check=False, timeout=_PATIENCE,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                click.echo(f"{one.name} took more than {_PATIENCE:.0f} s", err=True)
            else:
                if done.returncode:
                    last = (done.stderr.strip() or "nothing").splitlines()[-1]
                    click.echo(f"{one.name} failed: {last}", err=True)
            found[one.name] = _stages(problem, folder, out)
    return found


def _stages(problem: Problem, folder: Path, out: str) -> list[Stage]:
    """Return what a contestant left in a folder."""
    path = folder / f"{out}.json"
    if not path.exists():
        return []
    stages = []
    for number, told in enumerate(json.loads(path.read_text())):
        with np.load(folder / f"{out}-{number}.npz") as arrays:
            value = objective(problem, arrays["W"], arrays["b"])
        stages.append(Stage(told["seconds"], told["passes"], value, told["gap"]))
    return stages


def table(problem: Problem, found: dict[str, list[Stage]]) -> list[str]:
    """Return what everyone reached, as lines of Markdown."""
    best = min(stage.objective for stages in found.values() for stage in stages)
    proofs = [
        stage.objective - stage.proved
        for stages in found.values()
        for stage in stages
        if stage.proved is not None
    ]
    least = min(best, max(proofs, default=best))
    title = f"**{problem.name}, l2 {problem.l2:g}**"
    lines = [
        f"{title} (least objective between {least:.9g} and {best:.9g})",
        "",
        "| contestant | seconds | passes or iterations | relative distance |",
        "|---|---|---|---|",
    ]
    for name, stages in found.items():
        lines += [
            f"| {name} | {stage.seconds:.2f} | {stage.passes} | "
            f"{max(stage.objective - best, 0.0) / best:.1e} |"
            for stage in stages
        ]
    return [*lines, ""]


@click.command()
@click.option("--threads", default=2, type=click.IntRange(1), show_default=True)
@click.option("--iterations", default=1000, type=click.IntRange(1), show_default=True)
@click.option("--only", type=click.Choice(["embeddings", "classes", "pixels", "quick"]))
@click.option("--out", type=click.Path(path_type=Path), help="Write the page there, too.")
def main(threads: int, iterations: int, only: str | None, out: Path | None) -> None:
    """Race fastlin's exact fit against L-BFGS of other libraries, to the same objective."""
    problems = {
        "embeddings": lambda: embeddings(50_000, 768, 10, 1e-4),
        "classes": lambda: embeddings(50_000, 768, 100, 1e-4),
        "pixels": lambda: pixels(1e-3),
        "quick": lambda: embeddings(2_000, 64, 10, 1e-4),
    }
    chosen = [only] if only is not None else ["embeddings", "classes", "pixels"]
    everyone = [one for one in contestants(iterations) if one.library.is_installed()]
    lines: list[str] = []
    for line in header_lines():
        click.echo(line)
    for name in chosen:
        problem = problems[name]()
        of_problem = table(problem, race(problem, everyone, threads))
        click.echo("\n".join(["", *of_problem]))
        lines += of_problem
    if out is not None:
        machine = header_lines()[0].removeprefix("machine: ")
        with atomic_write(out) as file:
            file.write("\n".join([*lines, f"{machine}; {threads} threads.\n"]).encode())


if __name__ == "__main__":
    main()
