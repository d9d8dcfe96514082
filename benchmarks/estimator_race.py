"""The race in scikit-learn's idiom: what everyone reaches on some rows, and how fast."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.estimator_contestants import CALLS, PROOF, of_epochs, of_fits
from benchmarks.exact_contestants import Contestant
from benchmarks.exact_objective import Problem, objective
from benchmarks.exact_race import folder_of, run, told_by
from fastlin.metrics import binomial_error

DISTANCES = (1e-4, 1e-6)  # to the least objective, over that
# Of the held-out accuracy: what luck with the rows is worth, at least; else a standard error.
SLACK = 0.005
_SHARE_HELD_OUT = 0.2


class Shape(NamedTuple):
    """Rows of a shape, and how they are raced over.

    Attributes
    ----------
    make : Callable
        Returns rows, labels and the penalty of C 1 as a problem that is fitted `repeats` times.
    rounds : int
        How often every process is started.
    small : bool
        As in `of_fits`.
    factor : float
        How many times as fast as others fastlin must be; below 1, it may be slower.
    """

    make: Callable[[], Problem]
    rounds: int
    small: bool
    factor: float


class Try(NamedTuple):
    """A setting, the median of its seconds, and its distance or its held-out accuracy."""

    setting: str
    seconds: float
    value: float


@dataclass(frozen=True)
class Race:
    """What everyone reached on rows of a shape.

    Attributes
    ----------
    name : str
        Of the rows.
    fits : int
        Of how many fits every time is the median.
    factor : float
        As in `Shape`.
    distances : dict[str, list[Try]]
        By exact contestant: relative distances to the least objective.
    accuracies : dict[str, list[Try]]
        By contestant that trains by SGD: accuracies on held-out rows.
    calls : dict[str, dict[str, float]]
        By library: seconds of a fit without its steps, and of a prediction; of the smallest rows.
    held_out : int
        How many rows are held out; 0 where that is not known.
    """

    name: str
    fits: int
    factor: float
    distances: dict[str, list[Try]]
    accuracies: dict[str, list[Try]]
    calls: dict[str, dict[str, float]]
    held_out: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Race:
        """Return what `as_json` made values of."""
        found = dict(content)
        for part in ("distances", "accuracies"):
            found[part] = {name: [Try(*one) for one in of] for name, of in content[part].items()}
        return cls(**found)


def race(
    shape: Shape, threads: int, patience: float, iterations: int, *, times_calls: bool = False
) -> Race:
    """Return what everyone reached; one who fails or takes too long has what came before."""
    problem = shape.make()
    distances = _distances(
        problem, of_fits(iterations, small=shape.small), shape.rounds, threads, patience
    )
    train, X_held_out, y_held_out = split(problem)

    def accuracy(W: NDArray[np.floating], b: NDArray[np.floating]) -> float:
        return float(((X_held_out @ W.T + b).argmax(axis=1) == y_held_out).mean())

    with folder_of(train) as folder:
        accuracies = _run_all(train, folder, of_epochs(), shape.rounds, threads, patience, accuracy)
        calls = _calls(problem, threads, patience) if times_calls else {}
    fits = problem.repeats * shape.rounds
    return Race(problem.name, fits, shape.factor, distances, accuracies, calls, len(y_held_out))


def split(problem: Problem) -> tuple[Problem, NDArray[Any], NDArray[np.int64]]:
    """Return rows to train on, standardised by themselves, and held-out rows with their labels."""
    order = np.random.default_rng(0).permutation(len(problem.y))
    last = round(len(order) * (1 - _SHARE_HELD_OUT))
    train, held_out = problem.X[order[:last]], problem.X[order[last:]]
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[std == 0] = 1
    X, y = (train - mean) / std, problem.y[order[:last]]
    return problem._replace(X=X, y=y), (held_out - mean) / std, problem.y[order[last:]]


def _distances(
    problem: Problem, everyone: Sequence[Contestant], rounds: int, threads: int, patience: float
) -> dict[str, list[Try]]:
    """Return how near everyone came to the least objective, which fastlin proves before."""
    with folder_of(problem) as folder:
        run(PROOF, problem, folder, "proof", threads, patience)
        if not (folder / "proof.npz").is_file():
            raise click.ClickException(f"{problem.name}: the least objective was not proved")
        with np.load(folder / "proof.npz") as best:
            least = objective(problem, best["W"], best["b"]) - float(best["gap"])
        goal = least * (1 + min(DISTANCES))
        (folder / "goal.json").write_text(json.dumps(goal))

        def distance(W: NDArray[np.floating], b: NDArray[np.floating]) -> float:
            return (objective(problem, W, b) - least) / least

        return _run_all(problem, folder, everyone, rounds, threads, patience, distance)


def _run_all(
    problem: Problem, folder: Path, everyone: Sequence[Contestant], rounds: int, threads: int,
    patience: float, judge: Callable[[NDArray[np.floating], NDArray[np.floating]], float],
) -> dict[str, list[Try]]:  # fmt: skip
    """Let everyone run in every round, and return medians of times and what weights are judged."""
    found: dict[str, list[Try]] = {}
    told: dict[str, list[list[dict[str, Any]]]] = {one.name: [] for one in everyone}
    for turn in range(rounds):
        for number, one in enumerate(everyone):
            out = f"of-{number}-{turn}"
            run(one, problem, folder, out, threads, patience)
            told[one.name].append(told_by(folder, out))
    for number, one in enumerate(everyone):
        found[one.name] = []
        for place, stages in enumerate(zip(*told[one.name], strict=False)):
            with np.load(folder / f"of-{number}-0-{place}.npz") as arrays:
                value = judge(arrays["W"], arrays["b"])
            seconds = statistics.median(time for stage in stages for time in stage["times"])
            found[one.name].append(Try(stages[0]["setting"], seconds, value))
    return found


def _calls(problem: Problem, threads: int, patience: float) -> dict[str, dict[str, float]]:
    """Return seconds of calls by library."""
    found = {}
    with folder_of(problem) as folder:
        for number, one in enumerate(CALLS):
            out = f"calls-{number}"
            run(one, problem, folder, out, threads, patience)
            path = folder / f"{out}.json"
            if path.is_file():
                found[one.name] = json.loads(path.read_text())
    return found


def fastest(tries: Sequence[Try], is_good: Callable[[float], bool]) -> Try | None:
    """Return the fastest setting whose value is good; None if there is none."""
    good = (one for one in tries if is_good(one.value))
    return min(good, key=lambda one: one.seconds, default=None)


def goal_of_accuracy(race: Race) -> float:
    """Return the held-out accuracy to reach: the best that SGDClassifier has, less some luck."""
    best = max((one.value for one in race.accuracies.get("SGDClassifier", [])), default=1.0)
    luck = binomial_error(best, race.held_out) if race.held_out else 0.0
    return best - max(SLACK, luck)
