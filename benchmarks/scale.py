"""What exact fits and searches take on many machines, simulated: `python -m benchmarks.scale`.

A pass over the rows is divided among workers. Its time is that of the arithmetic or of the disk,
whichever is longer, and then of what cannot be divided: weights that are sent to every worker, sums
that come back, and the steps of the solver. The rates are measured on this machine, and what they
foretell is compared with passes of 1, 2 and 4 workers on it.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.machine import describe, header_lines
from fastlin import cluster, passes, solve
from fastlin.cluster import Task, Workers
from fastlin.data import load_split
from fastlin.solving.blas import one_thread

_SINGLE, _DOUBLE = 4, 8  # bytes of a weight that is sent, and of a sum that comes back
_VECTORS = 24  # of K * d values that a step of L-BFGS reads or writes: eight steps, and its own
_VALUES = 2**20  # of an array that is sent to be timed
_WORKERS = (1, 2, 4, 8, 16, 64, 256, 1000)
_REPEATS = 5


class Rows(NamedTuple):
    """Rows to fit or search: how many, features, classes, and bytes of a value."""

    name: str
    n: int
    d: int
    K: int
    value_bytes: int = 2

    @property
    def flop(self) -> float:
        """Of a pass: a multiplication and an addition a weight and row, twice."""
        return 4.0 * self.n * self.d * self.K

    @property
    def bytes(self) -> float:
        """Of all rows."""
        return float(self.n * self.d * self.value_bytes)

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.K * self.d


PROBLEMS = (
    Rows("ImageNet, 1.28 M x 768, 1,000 classes", 1_281_167, 768, 1000),
    Rows("iNat21, 2.7 M x 1024, 10,000 classes", 2_686_843, 1024, 10_000),
    Rows("a billion rows x 768, 1,000 classes", 1_000_000_000, 768, 1000),
)


@dataclass(frozen=True)
class Rates:
    """What a machine and its network do a second.

    Attributes
    ----------
    flop : float
        Of a worker's pass over rows.
    solver_flop, memory : float
        Of products of the solver, and bytes that its vectors move.
    disk, network : float
        Bytes that a worker reads, and that go into or out of the process of the solver.
    task : float
        Seconds for which a task keeps the process of the solver busy.
    answer : float
        Seconds from a task without work to its answer.
    memory_bytes : float
        Of a worker, for rows.
    """

    flop: float
    solver_flop: float
    memory: float
    disk: float
    network: float
    task: float
    answer: float
    memory_bytes: float


class Pass(NamedTuple):
    """Seconds of a pass, by what takes them; `reading` is beside `computing`."""

    computing: float
    reading: float
    sending: float
    returning: float
    tasks: float
    solving: float

    @property
    def seconds(self) -> float:
        """Of all."""
        return max(self.computing, self.reading) + sum(self[2:])

    @property
    def bound(self) -> str:
        """What takes longest."""
        times = self._asdict()
        return max(times, key=lambda name: times[name])


def simulate(rows: Rows, rates: Rates, workers: int, *, is_tree: bool = False) -> Pass:
    """Return the times of a pass.

    Parameters
    ----------
    rows : Rows
    rates : Rates
    workers : int
        Of one machine each.
    is_tree : bool
        As planned: workers send weights on and add sums of each other, along a fixed tree. Without
        it the process of the solver sends and receives all: the sums of every shard, and there are
        no more of these than `fastlin.passes.MOST_SHARDS`, so that no more workers are of use.
    """
    useful = workers if is_tree else min(workers, passes.MOST_SHARDS)
    of_one = rows.bytes / useful
    levels = 1 + int(np.ceil(np.log2(workers)))
    copies, sums = (levels, levels) if is_tree else (useful, passes.MOST_SHARDS)
    return Pass(
        computing=rows.flop / useful / rates.flop,
        reading=of_one / rates.disk if of_one > rates.memory_bytes else 0.0,
        sending=copies * rows.weights * _SINGLE / rates.network,
        returning=sums * rows.weights * _DOUBLE * (1 / rates.network + 3 / rates.memory),
        tasks=rates.answer + (levels if is_tree else useful) * rates.task,
        solving=4.0 * rows.d * rows.weights / rates.solver_flop
        + _VECTORS * rows.weights * _DOUBLE / rates.memory,
    )


def workers_of_use(rows: Rows, rates: Rates, *, is_tree: bool, most: int = 4096) -> int:
    """Return from how many workers on twice as many save less than a third of the time."""
    count = 1
    while count < most:
        now, then = (
            simulate(rows, rates, many, is_tree=is_tree).seconds for many in (count, 2 * count)
        )
        if then > now * 2 / 3:
            return count
        count *= 2
    return most


def search_seconds(
    rows: Rows, rates: Rates, workers: int, entries: int, epochs: int, *, share: float
) -> float:
    """Return the seconds of a search whose entries are trained by workers, some each.

    Parameters
    ----------
    rows, rates, workers
        As in `simulate`; rows that are in no worker's memory are read once an epoch.
    entries, epochs : int
    share : float
        Of the rate of a pass, that steps of SGD have.
    """
    each = -(-entries // min(workers, entries))
    computing = each * rows.flop / (share * rates.flop)
    reading = rows.bytes / rates.disk if rows.bytes > rates.memory_bytes else 0.0
    # An answer an epoch and worker, and the weights of the winner.
    waiting = rates.answer + min(workers, entries) * rates.task
    return epochs * (max(computing, reading) + waiting) + rows.weights * _SINGLE / rates.network


def measure(rows: int, d: int, K: int, counts: Sequence[int]) -> dict[str, Any]:
    """Return rates of this machine, and seconds of a pass by so many workers of one thread."""
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((rows, d), np.float32).astype(np.float16)
        np.save(Path(folder) / "X.npy", X)
        np.save(Path(folder) / "y.npy", rng.integers(0, K, rows))
        split = load_split(f"{folder}/X.npy", labels=f"{folder}/y.npy")
        of_counts, of_tasks = {}, {}
        for count in counts:
            with cluster.connected(f"local:{count}") as client:
                solve(split, l2=1e-3, max_passes=4, client=client)  # workers load and compile
                of_counts[count] = _seconds_of_pass(split, client)
                of_tasks[count] = _tasks(client)
        alone = _seconds_of_pass(split, None)
    return {
        "shape": [rows, d, K], "alone": alone, "workers": of_counts, "tasks": of_tasks,
        "solver": _of_solver(d, K),
    }  # fmt: skip


def _seconds_of_pass(split: Any, client: Any) -> float:
    """Return seconds of a pass of an exact fit, on one thread each."""
    steps: list[tuple[int, float]] = []
    solve(
        split, l2=1e-3, gap=1e-12, max_passes=2 + _REPEATS, threads=1, client=client,
        progress=lambda step: steps.append((step.passes, step.seconds)),
    )  # fmt: skip
    taken = [
        (after[1] - before[1]) / (after[0] - before[0])
        for before, after in pairwise(steps[1:])
        if after[0] > before[0]
    ]
    return statistics.median(taken)


def _tasks(client: Any) -> dict[str, float]:
    """Return seconds of tasks without work, one after the other and at once, and of arrays."""
    workers = Workers(client)

    def seconds(function: Any, arguments: tuple[Any, ...], count: int) -> float:
        tasks = {
            number: Task(function, arguments, workers.addresses[number % len(workers.addresses)])
            for number in range(count)
        }
        taken = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            for _ in workers.results(tasks):
                pass
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    empty, many = seconds(_nothing, (), 1), seconds(_nothing, (), 33)
    return {
        "answer": empty,
        "task": (many - empty) / 32,
        "returning": seconds(_zeros, (_VALUES,), 1) - empty,
        "sending": seconds(_nothing, (np.zeros(_VALUES),), 1) - empty,
    }


def _nothing(*arguments: Any) -> None:
    del arguments


def _zeros(count: int) -> Any:
    return np.zeros(count)


def _of_solver(d: int, K: int) -> dict[str, float]:
    """Return FLOP/s of a product of the solver, and bytes/s of adding, on one thread."""
    A, Q = np.ones((K, d)), np.ones((d, d))
    total, other = np.zeros((K, 8 * d)), np.ones((K, 8 * d))
    with one_thread():
        times = []
        for work in (lambda: A @ Q, lambda: np.add(total, other, out=total)):
            taken = []
            for _ in range(_REPEATS):
                began = time.perf_counter()
                work()
                taken.append(time.perf_counter() - began)
            times.append(statistics.median(taken))
    return {"flop": 2.0 * K * d * d / times[0], "memory": 3 * total.nbytes / times[1]}


def rates_of(measured: dict[str, Any]) -> Rates:
    """Return the rates of this machine, with everything of a worker on one core."""
    n, d, K = measured["shape"]
    rows, solver = Rows("", n, d, K), measured["solver"]
    tasks = measured["tasks"][min(measured["tasks"], key=int)]
    network = 2 * _VALUES * _DOUBLE / max(tasks["returning"] + tasks["sending"], 1e-9)
    own = 4.0 * d * rows.weights / solver["flop"] + _VECTORS * rows.weights * 8 / solver["memory"]
    return Rates(
        rows.flop / max(measured["alone"] - own, 1e-9), solver["flop"], solver["memory"],
        np.inf, network, tasks["task"], tasks["answer"], np.inf,
    )  # fmt: skip


def of_cluster(measured: dict[str, Any], cores: int = 16) -> Rates:
    """Return the rates of a cluster of ordinary machines, from those of a core of this one.

    A disk of 1 GB/s, 32 GB of memory for rows, and a network of 10 Gbit/s, or what packing arrays
    leaves of it.
    """
    one = rates_of(measured)
    return Rates(
        cores * one.flop, cores * one.solver_flop, one.memory, 1e9, min(1.25e9, one.network),
        one.task, one.answer, 32e9,
    )  # fmt: skip


def tables(measured: dict[str, Any]) -> str:
    """Return what was measured and what is foretold, as Markdown."""
    n, d, K = measured["shape"]
    here = rates_of(measured)
    lines = [
        f"A pass over {n:,} x {d} rows in float16, {K:,} classes, on one thread a worker:",
        "",
        "| workers | measured | simulated |",
        "|---|---|---|",
        f"| none | {measured['alone']:.2f} s | |",
    ]
    cores = measured["machine"]["cores"]
    for count, seconds in measured["workers"].items():
        # More workers than cores share them.
        found = simulate(Rows("", n, d, K), here, int(count))
        slower = max(1.0, int(count) / cores)
        foretold = found.seconds + (slower - 1) * found.computing
        lines.append(f"| {count} | {seconds:.2f} s | {foretold:.2f} s |")
    rates = of_cluster(measured)
    about_rates = (
        f"Here a core takes {here.flop / 1e9:.0f} GFLOP/s in a pass; a task keeps the solver busy "
        f"for {here.task * 1e3:.1f} ms, and is answered after {here.answer * 1e3:.0f} ms; arrays "
        f"go to workers and back at {here.network / 1e9:.2f} GB/s. Below, a worker is a machine "
        f"with 16 such cores, 32 GB for rows and a disk of 1 GB/s; the network has 10 Gbit/s, "
        "or what packing arrays leaves of it."
    )
    lines += ["", about_rates, ""]
    for rows in PROBLEMS:
        lines += [*_of_problem(rows, rates), ""]
    about = measured["machine"]
    return "\n".join([*lines, f"Measured on {about['cpu']}, {cores} cores, {about['simd']}."])


def _of_problem(rows: Rows, rates: Rates) -> list[str]:
    title = (
        f"**{rows.name}** ({rows.bytes / 1e9:,.1f} GB in float16, weights of "
        f"{rows.weights * _SINGLE / 1e6:,.0f} MB)"
    )
    lines = [
        title,
        "",
        "| workers | a pass today | longest part | along a tree | longest part | 13 rates x 10 |",
        "|---|---|---|---|---|---|",
    ]
    for count in _WORKERS:
        today, tree = (simulate(rows, rates, count, is_tree=is_tree) for is_tree in (False, True))
        search = search_seconds(rows, rates, count, 13, 10, share=0.6)
        lines.append(
            f"| {count:,} | {_time(today.seconds)} | {today.bound} | {_time(tree.seconds)} | "
            f"{tree.bound} | {_time(search)} |"
        )
    today, tree = (workers_of_use(rows, rates, is_tree=is_tree) for is_tree in (False, True))
    most = (
        f"Twice as many save a third of the time and more up to {today:,} workers today, and up to "
        f"{tree:,} along a tree."
    )
    return [*lines, "", most]


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:,.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


@click.command()
@click.option("--rows", default=200_000, type=click.IntRange(10_000), show_default=True)
@click.option("--features", default=256, type=click.IntRange(1), show_default=True)
@click.option("--classes", default=200, type=click.IntRange(2), show_default=True)
@click.option("--workers", "counts", multiple=True, type=click.IntRange(1), default=(1, 2, 4))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was measured there, as .json; docs/build.py puts the tables in docs/scale.md.",
)
def main(rows: int, features: int, classes: int, counts: tuple[int, ...], out: Path | None) -> None:
    """Measure passes of workers here, and simulate those of a cluster."""
    for line in header_lines():
        click.echo(line)
    measured = measure(rows, features, classes, counts) | {"machine": describe()}
    measured = json.loads(json.dumps(measured))
    click.echo(tables(measured))
    click.echo(json.dumps(asdict(rates_of(measured))))
    if out is not None:
        out.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
