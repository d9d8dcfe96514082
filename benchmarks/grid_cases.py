"""The reference study's grid of 27 configurations, training only: fastlin and its rivals."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import libraries, machine
from benchmarks.cases import Case, Settings, contest, sgemm_task
from benchmarks.contestants import Task, Weights, Work
from benchmarks.grid_peers import (
    GRID_RIVALS,
    AllStacks,
    GridPeer,
    LoopedFastlin,
    LoopedTwin,
    Together,
    grid_stacks,
)
from benchmarks.outcomes import FASTLIN, Goal, Metric, Outcome
from benchmarks.problems import Problem, load_problem, make_problem

# Rows of the check: on many more, rounding grows, since the largest learning rates overshoot.
CHECKED_ROWS = 300


@dataclass(frozen=True, kw_only=True)
class GridTraining(Case):
    """The 27 configurations on 10,000 rows of CIFAR-10's shape.

    Attributes
    ----------
    row_dtype : of the rows.
    against : rivals, each a loop or a stack per batch size.
    rival_threads : threads of the rivals.
    epochs : that everybody trains.
    """

    row_dtype: type
    against: tuple[type[GridPeer], ...]
    rival_threads: int = 2
    epochs: int = 2

    def measure(self, settings: Settings) -> Outcome:
        """Check that all contestants agree with NumPy, then race them and a large sgemm."""
        n = CHECKED_ROWS if settings.quick else 10_000
        problem = make_problem(n, 3072, 10, batch_size=100, row_dtype=self.row_dtype)
        product, product_flop = sgemm_task(self.threads, settings)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "problem.npz"
            problem.save(path)

            def task(kind: type[GridPeer]) -> Task:
                make = partial(_grid_work, kind, path, self.epochs)
                return Task(kind.name, kind.backend, self.rival_threads, make)

            ours = partial(_grid_work, None, path, self.epochs)
            tasks = [
                Task(FASTLIN, libraries.FASTLIN, self.threads, ours),
                *(task(kind) for kind in self.against if self._can_take_part(kind)),
                product,
            ]
            twin = Task(LoopedTwin.name, LoopedTwin.backend, 1, partial(_twin_work, path))
            found = contest(tasks, twin, (problem.W, problem.b), settings, min(settings.rounds, 5))
        flop = problem.flop * 27 * self.epochs
        outcome = Outcome(self.name, self.title, self.threads, problem.source, flop=flop)
        outcome.bytes = problem.bytes * self.epochs * len(grid_stacks(problem))
        outcome.add_race(found, product_flop)
        outcome.judge(self.goals)
        return outcome

    def _can_take_part(self, kind: type[GridPeer]) -> bool:
        held = kind.backend.chooses_threads or self.rival_threads == machine.cores()
        return kind.backend.is_installed() and held


def _grid_work(kind: type[GridPeer] | None, path: Path, epochs: int) -> Work:
    """Return what a rival, or fastlin for None, does in its process."""
    problem = load_problem(path)
    everybody, orders = _on(kind, problem), problem.orders(epochs)

    def check() -> Weights:
        everybody.train(orders)  # compiles for these shapes
        return _checked(kind, problem)

    return Work(lambda: everybody.train(orders), everybody.reset, check)


def _twin_work(path: Path) -> Work:
    """Return the work of the NumPy twin, which is checked against but not timed."""
    problem = load_problem(path)
    return Work(lambda: None, check=lambda: _checked(LoopedTwin, problem))


def _on(kind: type[GridPeer] | None, problem: Problem) -> AllStacks | Together:
    stacks = grid_stacks(problem)
    return Together(stacks) if kind is None else AllStacks(kind, stacks)


def _checked(kind: type[GridPeer] | None, problem: Problem) -> Weights:
    """Return the weights after two epochs on a few rows."""
    small = problem.head(CHECKED_ROWS)
    everybody = _on(kind, small)
    everybody.train(small.orders(2))
    return everybody.weights()


_BEST = Metric.VERSUS_BEST

GRIDS = [
    GridTraining(
        name="grid", title="grid of 27 configurations, uint8, against stacked rivals",
        goals=(Goal(_BEST, 1.5, 2), Goal(Metric.SHARE_OF_PEAK, 0.65, 0.85)), threads=2,
        row_dtype=np.uint8, against=GRID_RIVALS,
    ),
    GridTraining(
        name="grid-threads", title="the grid on two threads against its runs on one, uint8",
        goals=(Goal(_BEST, 1 / 0.56, 1 / 0.52),), threads=2, row_dtype=np.uint8,
        against=(LoopedFastlin,), rival_threads=1,
    ),
    GridTraining(
        name="grid-float32", title="the grid against its runs, float32, one thread each",
        goals=(Goal(_BEST, 1.3, 1.3),), threads=1, row_dtype=np.float32,
        against=(LoopedFastlin,), rival_threads=1,
    ),
]  # fmt: skip
