"""The cases of the study: what is raced, and what fastlin has to reach in each."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import libraries, machine
from benchmarks.contestants import AGREEMENT, OwnProcess, Task, Weights, Work
from benchmarks.outcomes import FASTLIN, SGEMM, Goal, Metric, Outcome
from benchmarks.peers import (
    RIVALS,
    Fastlin,
    NumpyTwin,
    OneThread,
    Peer,
    ScikitLearn,
    SingleRows,
    TorchHalf,
    difference_of_weights,
)
from benchmarks.problems import Array, load_problem, make_problem
from benchmarks.racing import FailedError, Pace, Race, nothing, race

# Work of repeated steps that are timed as one, in FLOP per thread: some 100 ms, and 10 ms.
WORK_OF_STEPS, QUICK_WORK_OF_STEPS = 1e10, 1e9
# Rows of the square product that shows the machine's peak.
SGEMM_SIZE, QUICK_SGEMM_SIZE = 2048, 512


@dataclass(frozen=True)
class Settings:
    """How the study is run.

    Attributes
    ----------
    rounds : that everybody runs.
    quick : few rows, short turns and a small sgemm, to see whether everything works.
    rivals : who may take part, beside the NumPy twin.
    on_round : called after each round.
    """

    rounds: int
    quick: bool = False
    rivals: tuple[type[Peer], ...] = RIVALS
    on_round: Callable[[], object] = nothing

    @property
    def pace(self) -> Pace:
        """How long a turn takes."""
        return Pace(0.01, 0.01) if self.quick else Pace()


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One row of the table: its name for the command line, a title for people, and its goals."""

    name: str
    title: str
    goals: tuple[Goal, ...]
    threads: int = 1

    @abstractmethod
    def measure(self, settings: Settings) -> Outcome:
        """Run the case.

        Raises
        ------
        FailedError
            If fastlin fails, or what it is checked against.
        """


@dataclass(frozen=True, kw_only=True)
class Training(Case):
    """SGD on one problem by fastlin and its rivals.

    Attributes
    ----------
    n, d, K, batch_size, row_dtype : the problem.
    epochs : over all rows, each in a new shuffled order; 0 for steps on one batch of n rows, again
        and again, so that it stays in cache.
    against : rivals; those that are not installed or cannot be held to `threads` stay away.
    most_rounds : for a case that takes long.
    """

    n: int
    d: int
    K: int
    batch_size: int
    row_dtype: type
    epochs: int = 1
    against: tuple[type[Peer], ...] = RIVALS
    most_rounds: int = 100

    def measure(self, settings: Settings) -> Outcome:
        """Check that all contestants agree, then race them and a large sgemm."""
        n = min(self.n, 3 * self.batch_size + 1) if settings.quick and self.epochs else self.n
        problem = make_problem(
            n, self.d, self.K, batch_size=self.batch_size, row_dtype=self.row_dtype
        )
        work_of_steps = QUICK_WORK_OF_STEPS if settings.quick else WORK_OF_STEPS
        steps = max(4, round(work_of_steps * self.threads / problem.flop))
        flop = problem.flop * (self.epochs or steps)
        product, product_flop = sgemm_task(self.threads, settings)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "problem.npz"
            problem.save(path)

            def task(kind: type[Peer]) -> Task:
                return Task(
                    kind.name, kind.backend, kind.most_threads or self.threads,
                    partial(_training_work, kind, path, self.epochs, steps), kind.agreement,
                )  # fmt: skip

            tasks = [task(kind) for kind in (Fastlin, *self._rivals(settings))]
            found = contest(
                [*tasks, product], task(NumpyTwin), (problem.W, problem.b), settings,
                min(settings.rounds, self.most_rounds),
            )  # fmt: skip
        outcome = Outcome(self.name, self.title, self.threads, problem.source, flop=flop)
        outcome.bytes = flop / problem.flop * problem.bytes
        outcome.in_cache = self.epochs == 0
        outcome.steps = 1 if self.epochs else steps
        outcome.add_race(found, product_flop)
        outcome.judge(self.goals)
        return outcome

    def _rivals(self, settings: Settings) -> list[type[Peer]]:
        return [
            kind
            for kind in self.against
            if kind.backend.is_installed()
            and (kind in settings.rivals or kind not in RIVALS)
            and (kind.backend.chooses_threads or self.threads == machine.cores())
        ]


def _training_work(kind: type[Peer], path: Path, epochs: int, steps: int) -> Work:
    """Return what a peer does in its process: epochs, or steps if there are none."""
    problem = load_problem(path)
    peer = kind(problem)
    orders = problem.orders(epochs)

    def run() -> None:
        if epochs:
            peer.train(orders)
        else:
            peer.repeat_batch(steps)

    def check() -> Weights:
        run()
        return [peer.weights()]

    return Work(run, peer.reset, check)


def sgemm_task(threads: int, settings: Settings) -> tuple[Task, float]:
    """Return the task of a large matrix product, and its work in FLOP."""
    size = QUICK_SGEMM_SIZE if settings.quick else SGEMM_SIZE
    make = partial(_sgemm_work, size)
    return Task(SGEMM, libraries.NUMPY, threads, make, agreement=None), 2.0 * size**3


def _sgemm_work(size: int) -> Work:
    product = machine.sgemm(size)

    def check() -> Weights:
        product()
        return []

    return Work(product, check=check)


def contest(
    tasks: Sequence[Task],
    twin: Task,
    first: tuple[Array, Array],
    settings: Settings,
    rounds: int,
) -> Race:
    """Start a process for each task, check that they agree, and race them.

    Parameters
    ----------
    tasks : of fastlin, its rivals and sgemm.
    twin : whose weights must come out; it takes part in the race if it is one of the tasks.
    first : weights that training starts from.
    settings, rounds : of the race.

    Raises
    ------
    FailedError
        If fastlin or the twin fails. Others are left out.
    """
    with ExitStack() as stack:
        team = {
            task.name: stack.enter_context(OwnProcess(task))
            for task in {task.name: task for task in (*tasks, twin)}.values()
        }
        try:
            expected = team[twin.name].weights()
        except FailedError as error:
            raise FailedError(f"{twin.name}: {error}") from None
        racers, failures = [], {}
        for task in tasks:
            one = team[task.name]
            try:
                if task.name != twin.name:
                    found = one.weights()
                    if task.agreement is not None:
                        check_agreement(found, expected, first, task.agreement)
                one.settle()
            except FailedError as error:
                if task.name == FASTLIN:
                    raise FailedError(f"{FASTLIN}: {error}") from None
                failures[task.name] = str(error)
            else:
                racers.append(one)
        result = race(
            racers, rounds, pace=settings.pace, on_round=settings.on_round, required=FASTLIN
        )
    result.failures |= failures
    return result


def check_agreement(
    found: Weights, expected: Weights, first: tuple[Array, Array], agreement: float = AGREEMENT
) -> None:
    """Hold weights against the NumPy twin's.

    Raises
    ------
    FailedError
        If they differ by more than rounding.
    """
    difference = max(
        difference_of_weights(ours, theirs, first)
        for ours, theirs in zip(found, expected, strict=True)
    )
    if not difference < agreement:
        raise FailedError(
            f"its weights are off the NumPy twin's by {difference:.1e} of what training changed"
        )


def _step(name: str, title: str, goal: Goal, **shape: object) -> Training:
    batch_size = shape["batch_size"]
    return Training(name=name, title=title, goals=(goal,), n=batch_size, epochs=0, **shape)


def _share(bar: float, stretch: float) -> Goal:
    return Goal(Metric.SHARE_OF_PEAK, bar, stretch)


_IMAGES = {"n": 10_000, "d": 3072, "K": 10, "batch_size": 100}
_KINDS = ((np.uint8, "uint8"), (np.float32, "float32"))
_SHARES = (_share(0.60, 0.80), _share(0.45, 0.65))
_TITLE = "epoch, 10,000 shuffled rows, {}, d 3072, K 10, batch 100"
_VERSUS_TWIN = Goal(Metric.VERSUS_TWIN, 3, 5)
_BEST = Metric.VERSUS_BEST

STEPS = [
    *(
        _step(
            f"step-{kind}-b{size}", f"step, batch in cache, {kind}, d 3072, K 10, batch {size}",
            _share(0.75, 0.88) if kind == "uint8" else _share(0.65, 0.80),
            d=3072, K=10, batch_size=size, row_dtype=dtype,
        )
        for dtype, kind in _KINDS for size in (64, 100, 128)
    ),
    *(
        _step(
            f"step-k{K}-b{size}", f"step, float32, d 768, K {K}, batch {size}", _share(0.70, 0.88),
            d=768, K=K, batch_size=size, row_dtype=np.float32,
        )
        for K in (100, 1000) for size in (256, 1024)
    ),
    *(
        _step(
            f"step-k{K}", f"step, uint8, d 3072, K {K}, batch 100", _share(0.45, 0.60),
            d=3072, K=K, batch_size=100, row_dtype=np.uint8,
        )
        for K in (2, 3, 7)
    ),
    _step(
        "step-d64", "step, float32, d 64, K 10, batch 256", _share(0.35, 0.50),
        d=64, K=10, batch_size=256, row_dtype=np.float32,
    ),
]  # fmt: skip

EPOCHS = [
    *(
        Training(
            name=f"epoch-{kind}", title=_TITLE.format(kind), goals=(share, _VERSUS_TWIN),
            row_dtype=dtype, **_IMAGES,
        )
        for (dtype, kind), share in zip(_KINDS, _SHARES, strict=True)
    ),
    *(
        Training(
            name=f"epoch-{kind}-2t", title=_TITLE.format(kind), goals=(_VERSUS_TWIN,), threads=2,
            row_dtype=dtype, **_IMAGES,
        )
        for dtype, kind in _KINDS
    ),
    Training(
        name="run-40", title="run of 40 epochs, 10,000 rows, uint8, d 3072, K 10, batch 100",
        goals=(Goal(_BEST, 3, 4.5),), threads=2, row_dtype=np.uint8, epochs=40, most_rounds=7,
        **_IMAGES,
    ),
    Training(
        name="epoch-n200000", title="epoch, 200,000 rows, float32, d 384, K 10, batch 256",
        goals=(Goal(_BEST, 3, 5),), threads=2,
        n=200_000, d=384, K=10, batch_size=256, row_dtype=np.float32,
    ),
    Training(
        name="epoch-k1000", title="epoch, 100,000 rows, float32, d 768, K 1000, batch 1024",
        goals=(Goal(_BEST, 1.3, 1.5),), threads=2,
        n=100_000, d=768, K=1000, batch_size=1024, row_dtype=np.float32, most_rounds=5,
    ),
]  # fmt: skip

COMPARISONS = [
    Training(
        name="threads-k1000", title="two threads against one: step, d 768, K 1000, batch 1024",
        goals=(Goal(_BEST, 1.8, 1.95),), threads=2, against=(OneThread,), n=1024, epochs=0,
        d=768, K=1000, batch_size=1024, row_dtype=np.float32,
    ),
    Training(
        name="threads-run-40", title="two threads against one: the run of 40 epochs",
        goals=(Goal(_BEST, 1.5, 1.8),), threads=2, against=(OneThread,), epochs=40,
        most_rounds=9, row_dtype=np.uint8, **_IMAGES,
    ),
    *(
        Training(
            name=f"halves-k{K}",
            title=f"float16 rows against float32: epoch, 100,000 rows, d 768, K {K}, batch 256",
            goals=(Goal(_BEST, 1, 1.3),), against=(SingleRows,), n=100_000, d=768, K=K,
            batch_size=256, row_dtype=np.float16, most_rounds=15,
        )
        for K in (10, 100)
    ),
    *(
        Training(
            name=f"bfloat16-k{K}",
            title=f"step, float32, against bfloat16: d 768, K {K}, batch 1024",
            goals=(Goal(_BEST, 1.2, 2),), against=(TorchHalf,), n=1024, epochs=0, d=768, K=K,
            batch_size=1024, row_dtype=np.float32,
        )
        for K in (100, 1000)
    ),
    Training(
        name="scikit-learn", title="epoch against SGDClassifier(loss='log_loss'), 10,000 rows",
        goals=(Goal(_BEST, 60, 100),), against=(ScikitLearn,), most_rounds=3, row_dtype=np.uint8,
        **_IMAGES,
    ),
]  # fmt: skip
