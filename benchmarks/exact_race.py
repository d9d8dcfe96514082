"""The race to the exact optimum: every contestant in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.exact_contestants import FRAME, Contestant
from benchmarks.exact_objective import Problem, objective
from benchmarks.processes import ROOT, modules_of_root


class Stage(NamedTuple):
    """What a contestant had after some time.

    Attributes
    ----------
    seconds : float
        From the start; the median where it was fitted several times.
    passes : int
        Over the rows, or iterations.
    objective : float
        Of its weights, in float64.
    proved : float or None
        By how much it is above the least one at most, where the contestant says so.
    """

    seconds: float
    passes: int
    objective: float
    proved: float | None


@dataclass(frozen=True)
class Race:
    """What everyone had after some time, and between which two values the optimum is.

    Attributes
    ----------
    name : str
        Of the problem.
    l2 : float
    repeats : int
        Of how many fits the seconds are the median.
    least, best : float
        No objective is below the first; the second was found.
    stages : dict[str, list[Stage]]
        By contestant; of one who failed or took too long, those before.
    """

    name: str
    l2: float
    repeats: int
    least: float
    best: float
    stages: dict[str, list[Stage]]

    @property
    def title(self) -> str:
        """Which rows, and which penalty."""
        return f"{self.name}, l2 {self.l2:g}"

    def distance(self, stage: Stage) -> float:
        """Return how far above the least objective a stage is at most, over that."""
        return (stage.objective - self.least) / self.least


@dataclass(frozen=True)
class PathOf:
    """What a contestant did of a path.

    Attributes
    ----------
    asked, done, reached : int
        How many penalties it was given, how many of them it fitted in time, and how many of those
        as near to the optimum as was asked.
    seconds : float
        Of the fits that were done; of several tolerances, the largest that came near enough. Of a
        fit that did not, at least.
    cut : int or None
        How many fits took too long, and were ended; all others that came not near enough ended by
        themselves, so that no time would do. None if it was not counted.
    """

    asked: int
    done: int
    reached: int
    seconds: float
    cut: int | None = None


@dataclass(frozen=True)
class PathRace:
    """A race over a whole path of penalties.

    Attributes
    ----------
    name : str
        Of the problem.
    penalties : int
        How many the path has.
    gap : float
        The relative gap of each.
    found : dict[str, PathOf]
        By contestant.
    limit : float or None
        Seconds after which a fit of others than fastlin was ended; None if none was.
    """

    name: str
    penalties: int
    gap: float
    found: dict[str, PathOf]
    limit: float | None = None

    @property
    def title(self) -> str:
        """Which rows, and how many penalties."""
        return f"{self.name}, {self.penalties} penalties"


def race(problem: Problem, everyone: list[Contestant], threads: int, patience: float) -> Race:
    """Return what everyone had after each stage; the first one proves the least objective."""
    found: dict[str, list[Stage]] = {}
    proofs: list[float] = []
    with folder_of(problem) as folder:
        for number, one in enumerate(everyone):
            out = f"of-{number}"
            run(one, problem, folder, out, threads, patience)
            found[one.name] = _stages(problem, folder, out)
            proofs += _proof(problem, folder / f"{out}-best.npz")
    stages = [stage for of_one in found.values() for stage in of_one]
    proofs += [stage.objective - stage.proved for stage in stages if stage.proved is not None]
    best = min((stage.objective for stage in stages), default=np.inf)
    # A bound that is larger than the objective proves nothing: none is below 0.
    least = min(best, max([proof for proof in proofs if proof > 0], default=best))
    return Race(problem.name, problem.l2, problem.repeats, least, best, found)


def race_path(
    problem: Problem, Cs: Sequence[float], everyone: list[Contestant], threads: int,
    patience: float, *, gap: float, every: int, limit: float | None = None,
) -> PathRace:  # fmt: skip
    """Return how long everyone took for a path of penalties.

    Parameters
    ----------
    problem : Problem
    Cs : Sequence[float]
        The penalties, as scikit-learn's C, from strong to weak.
    everyone : list[Contestant]
        The first of them proves the least objectives, and fits all penalties.
    threads : int
    patience : float
        Seconds for a contestant.
    gap : float
        By which share an objective may be above the least one.
    every : int
        Others than the first fit each so-manieth penalty alone.
    limit : float, optional
        Seconds that they have for a fit.
    """
    found: dict[str, PathOf] = {}
    with folder_of(problem) as folder:
        for number, one in enumerate(everyone):
            out, asked = f"of-{number}", len(Cs) if number == 0 else len(Cs[::every])
            run(one, problem, folder, out, threads, patience)
            told = told_by(folder, out)
            seconds = told[-1]["times"][0] if told else 0.0
            reached = sum(stage["reached"] for stage in told)
            cut = sum(stage.get("cut", False) for stage in told)
            found[one.name] = PathOf(asked, len(told), reached, seconds, cut)
            if number == 0:
                goals = _goals(problem, folder, out, told, gap)[::every]
                (folder / "goals.json").write_text(json.dumps(goals))
    return PathRace(problem.name, len(Cs), gap, found, limit)


def as_json(race: Race | PathRace) -> dict[str, Any]:
    """Return a race as JSON values; stages are lists in the order of `Stage`."""
    return {"kind": "path" if isinstance(race, PathRace) else "fit"} | asdict(race)


def from_json(content: dict[str, Any]) -> Race | PathRace:
    """Return a race from what `as_json` made of it."""
    values = {name: value for name, value in content.items() if name != "kind"}
    if content["kind"] == "path":
        found = {name: PathOf(**one) for name, one in values["found"].items()}
        return PathRace(**values | {"found": found})
    stages = {name: [Stage(*one) for one in of] for name, of in values["stages"].items()}
    return Race(**values | {"stages": stages})


@contextmanager
def folder_of(problem: Problem) -> Iterator[Path]:
    """Give a folder with the rows and labels of a problem."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "X.npy", problem.X)
        np.save(folder / "y.npy", problem.y)
        yield folder


def run(
    one: Contestant, problem: Problem, folder: Path, out: str, threads: int, patience: float
) -> None:
    """Run a contestant in a process of its own; say it if it fails or takes too long."""
    words = [folder, out, repr(problem.l2), repr(problem.scale), threads, problem.repeats]
    command = [sys.executable, "-c", FRAME + one.code, *map(str, words)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | modules_of_root(), capture_output=True, text=True,
            check=False, timeout=patience,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        click.echo(f"{one.name} took more than {patience:.0f} s", err=True)
        return
    if done.returncode:
        last = (done.stderr.strip() or "nothing").splitlines()[-1]
        click.echo(f"{one.name} failed: {last}", err=True)


def told_by(folder: Path, out: str) -> list[dict[str, Any]]:
    """Return what a contestant wrote of its stages."""
    path = folder / f"{out}.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return [stage for stage in found if stage["times"]]


def _stages(problem: Problem, folder: Path, out: str) -> list[Stage]:
    """Return what a contestant left in a folder."""
    stages = []
    for number, told in enumerate(told_by(folder, out)):
        with np.load(folder / f"{out}-{number}.npz") as arrays:
            value = objective(problem, arrays["W"], arrays["b"])
        seconds = statistics.median(told["times"])
        stages.append(Stage(seconds, told["passes"], value, told["gap"]))
    return stages


def _proof(problem: Problem, path: Path) -> list[float]:
    """Return the value that a file proves no objective to be below, if there is a file."""
    if not path.is_file():
        return []
    with np.load(path) as arrays:
        return [objective(problem, arrays["W"], arrays["b"]) - float(arrays["gap"])]


def _goals(
    problem: Problem, folder: Path, out: str, told: list[dict[str, Any]], gap: float
) -> list[tuple[float, float]]:
    """Return every C, and the objective that is near enough to its least one."""
    goals = []
    for number, stage in enumerate(told):
        of_C = problem._replace(l2=1 / (2 * len(problem.y) * stage["C"]))
        with np.load(folder / f"{out}-{number}.npz") as arrays:
            value = objective(of_C, arrays["W"], arrays["b"])
        goals.append((stage["C"], value / (1 + stage["gap"]) * (1 + gap)))
    return goals
