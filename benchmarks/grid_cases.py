"""The reference study's grid of 27 configurations, training only: fastlin and its rivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import machine
from benchmarks.cases import AGREEMENT, Case, Settings
from benchmarks.grid_peers import (
    GRID_LR_DECAY,
    GRID_RIVALS,
    GridPeer,
    LoopedFastlin,
    LoopedTwin,
    Stack,
    grid_stacks,
    largest_grid_difference,
)
from benchmarks.outcomes import FASTLIN, SGEMM, Goal, Metric, Outcome
from benchmarks.problems import Array, Problem, make_problem
from benchmarks.racing import Entry, race
from fastlin import functional
from fastlin.config import Loss


class Together:
    """fastlin: all configurations in one call an epoch, as `fastlin grid` trains them."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = stacks
        self.reset()

    def reset(self) -> None:
        """Give every configuration the problem's first weights."""
        p, count = self.stacks[0].problem, sum(len(stack.lr) for stack in self.stacks)
        self.W, self.b = np.stack(count * [p.W]), np.stack(count * [p.b])

    def train(self, orders: Sequence[Array]) -> None:
        """Train one epoch per order of rows; the learning rates decay between them."""
        p = self.stacks[0].problem
        settings = [
            (float(lr), float(l2), stack.batch_size)
            for stack in self.stacks
            for lr, l2 in zip(stack.lr, stack.l2, strict=True)
        ]
        for number, order in enumerate(orders):
            epochs = [
                functional.EntryEpoch(e, order, lr * GRID_LR_DECAY**number, l2, size, 0.0)
                for e, (lr, l2, size) in enumerate(settings)
            ]
            functional.unchecked_sgd_epochs(p.X, p.y, self.W, self.b, epochs, loss=Loss.SOFTMAX)


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
        n = 300 if settings.quick else 10_000
        problem = make_problem(n, 3072, 10, batch_size=100, row_dtype=self.row_dtype)
        stacks, orders = grid_stacks(problem), problem.orders(self.epochs)
        ours = Together(stacks)
        entries = [Entry(FASTLIN, lambda: ours.train(orders), self.threads, ours.reset)]
        for kind in self.against:
            if not kind.is_installed():
                continue
            peers = [kind(stack) for stack in stacks]
            entries.append(
                Entry(kind.name, _all_of(peers, orders), self.rival_threads, _reset_of(peers))
            )
            _check(kind, problem)
        product, product_flop = machine.sgemm(512 if settings.quick else 2048)
        entries.append(Entry(SGEMM, product, self.threads))
        for entry in entries:
            with machine.threads(entry.threads):
                entry.run()
        flop = problem.flop * 27 * self.epochs
        outcome = Outcome(self.name, self.title, self.threads, problem.source, flop=flop)
        outcome.bytes = problem.bytes * self.epochs * len(stacks)
        outcome.add_race(race(entries, min(settings.rounds, 5)), product_flop)
        outcome.judge(self.goals)
        return outcome


def _all_of(peers: Sequence[GridPeer], orders: Sequence[Array]) -> Callable[[], None]:
    def run() -> None:
        for peer in peers:
            peer.train(orders)

    return run


def _reset_of(peers: Sequence[GridPeer]) -> Callable[[], None]:
    def reset() -> None:
        for peer in peers:
            peer.reset()

    return reset


def _check(kind: type[GridPeer], problem: Problem) -> None:
    """Hold a rival, and fastlin, against the NumPy twin on a few rows.

    Raises
    ------
    ArithmeticError
        If somebody's weights differ by more than rounding.
    """
    small = make_problem(300, 3072, 10, batch_size=100, row_dtype=problem.X.dtype.type)
    stacks, orders = grid_stacks(small), small.orders(2)
    ours = Together(stacks)
    ours.train(orders)
    for number, stack in enumerate(stacks):
        peer, twin = kind(stack), LoopedTwin(stack)
        peer.train(orders)
        twin.train(orders)
        own = LoopedFastlin(stack)
        rows = slice(number * len(stack.lr), (number + 1) * len(stack.lr))
        own.W, own.b = ours.W[rows], ours.b[rows]
        for one in (peer, own):
            if (difference := largest_grid_difference(one, twin)) > AGREEMENT:
                raise ArithmeticError(f"{one.name} is off by {difference:.1e} of the change")


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
