"""The cases of the study: what is raced, and what fastlin has to reach in each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import machine
from benchmarks.outcomes import SGEMM, Goal, Metric, Outcome
from benchmarks.peers import (
    RIVALS,
    Fastlin,
    NumpyTwin,
    OneThread,
    Peer,
    ScikitLearn,
    largest_difference,
)
from benchmarks.problems import Problem, make_problem
from benchmarks.racing import Entry, race

# Peers may differ from the NumPy twin by this fraction of what training changed.
AGREEMENT = 1e-3
# Work of repeated steps that are timed as one, in FLOP per thread: some 100 ms.
WORK_OF_STEPS = 1e10


@dataclass(frozen=True)
class Settings:
    """How the study is run.

    Attributes
    ----------
    rounds : that everybody runs.
    quick : few rows and a small sgemm, to see whether everything works.
    rivals : who may take part, beside the NumPy twin.
    """

    rounds: int
    quick: bool = False
    rivals: tuple[type[Peer], ...] = RIVALS


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One row of the table: its name for the command line, a title for people, and its goals."""

    name: str
    title: str
    goals: tuple[Goal, ...]
    threads: int = 1

    @abstractmethod
    def measure(self, settings: Settings) -> Outcome:
        """Run the case."""


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
        peers = [Fastlin(problem), *(kind(problem) for kind in self._rivals(settings))]
        flop, run_of = self._work(problem)
        entries = [
            Entry(peer.name, run_of(peer), peer.most_threads or self.threads, peer.reset)
            for peer in peers
        ]
        check_agreement(problem, peers, entries, run_of)
        product, product_flop = machine.sgemm(512 if settings.quick else 2048)
        entries.append(Entry(SGEMM, product, self.threads))
        outcome = Outcome(self.name, self.title, self.threads, problem.source, flop=flop)
        outcome.bytes = flop / problem.flop * problem.bytes
        outcome.in_cache = self.epochs == 0
        outcome.steps = 1 if self.epochs else round(flop / problem.flop)
        outcome.add_race(race(entries, min(settings.rounds, self.most_rounds)), product_flop)
        outcome.judge(self.goals)
        return outcome

    def _rivals(self, settings: Settings) -> list[type[Peer]]:
        return [
            kind
            for kind in self.against
            if kind.is_installed()
            and (kind in settings.rivals or kind not in RIVALS)
            and (kind.chooses_threads or self.threads == machine.cores())
        ]

    def _work(self, problem: Problem) -> tuple[float, Callable[[Peer], Callable[[], None]]]:
        """Return the FLOP of what is timed, and what makes it of a peer."""
        if self.epochs:
            orders = problem.orders(self.epochs)
            return problem.flop * self.epochs, lambda peer: lambda: peer.train(orders)
        steps = max(4, round(WORK_OF_STEPS * self.threads / problem.flop))
        return problem.flop * steps, lambda peer: lambda: peer.repeat_batch(steps)


def check_agreement(
    problem: Problem,
    peers: Sequence[Peer],
    entries: Sequence[Entry],
    run_of: Callable[[Peer], Callable[[], None]],
) -> None:
    """Run everybody once, which also compiles, and hold all weights against the NumPy twin's.

    Raises
    ------
    ArithmeticError
        If somebody's weights differ by more than rounding.
    """
    for entry in entries:
        with machine.threads(entry.threads):
            entry.run()
    twin = next((peer for peer in peers if isinstance(peer, NumpyTwin)), None)
    if twin is None:
        twin = NumpyTwin(problem)
        run_of(twin)()
    for peer in peers:
        difference = largest_difference(peer, twin) if peer.is_same_method else 0.0
        if not difference < AGREEMENT:
            raise ArithmeticError(f"{peer.name} is {difference:.1e} off the NumPy twin")


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
    Training(
        name="scikit-learn", title="epoch against SGDClassifier(loss='log_loss'), 10,000 rows",
        goals=(Goal(_BEST, 60, 100),), against=(ScikitLearn,), most_rounds=3, row_dtype=np.uint8,
        **_IMAGES,
    ),
]  # fmt: skip
