"""A grid and a path on workers of this machine: the same bytes, how fast, and what kills change.

`python -m benchmarks.workers` trains the grid of 27 settings of the study on CIFAR-10, and fits a
path of 13 penalties to rows like embeddings, 100 classes: in one process, on 1, 2 and 3 workers of
one thread each, and on 2 workers of which random ones are killed at random moments. The process
that asks workers has all threads between their passes, as by default. Two workers can gain no more
than two processes that know nothing of each other, which are measured as well.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
import numpy as np

import fastlin
from benchmarks.log import Log
from benchmarks.problems import write_embeddings
from fastlin import cluster
from fastlin.data.dataset import Split
from fastlin.report.study import experiments

_PENALTIES = 13
_L2S = np.geomspace(1e-2, 1e-6, _PENALTIES).tolist()
# Passes take most of the time. What is done between them has one thread; of a pass it is as much as
# features are of rows. Asking a worker takes some milliseconds.
_ROWS, _FEATURES, _CLASSES, _DISTANCE = 300_000, 256, 100, 0.2
ONE = "one worker"
_LONGEST = 600  # seconds that a process waits for the others
_APART = 3.0, 8.0  # seconds between two kills: a worker takes three to come back


class Data(NamedTuple):
    """The rows of the grid, and those of the path."""

    grid: Split
    path: Split


def load(folder: Path) -> Data:
    """Load CIFAR-10, and rows like embeddings from files in the folder."""
    path = fastlin.load_split(folder / "X.npy", labels=folder / "y.npy", val_fraction=0.1)
    return Data(fastlin.load_split("cifar10"), path)


def grid_of(split: Split, epochs: int, client: Any) -> str:
    """Train the study's grid, and return a digest of all histories and weights."""
    [grid] = [one for one in experiments.all_experiments() if one.id == experiments.GRID]
    found = fastlin.grid_search(
        split, grid.swept, base=grid.config(0, epochs), threads=1, client=client, keep="all",
        note=lambda _: None,
    )  # fmt: skip
    digest = hashlib.sha256()
    for entry in found.entries:
        digest.update(np.array(entry.history.records(), np.float64).tobytes())
        if entry.last_model is not None:
            digest.update(entry.last_model.W.tobytes() + entry.last_model.b.tobytes())
    return digest.hexdigest()


def path_of(split: Split, l2s: Sequence[float], client: Any) -> str:
    """Fit a path, and return a digest of its points and of the classifier that is chosen."""
    threads = 1 if client is None else None
    found = fastlin.path(split, l2s=l2s, gap=1e-4, threads=threads, client=client)
    digest = hashlib.sha256(found.model.W.tobytes() + found.model.b.tobytes())
    for point in found.points:
        digest.update(repr(point._replace(seconds=0.0)).encode())
    return digest.hexdigest()


def warm_up(data: Data, client: Any = None) -> None:
    """Do a little of the work, so that kernels are compiled and workers have their rows."""
    grid_of(data.grid, 1, client)
    path_of(data.path, _L2S[:2], client)


def both(
    data: Data, epochs: int, client: Any = None, wait: Callable[[], object] | None = None
) -> tuple[dict[str, str], dict[str, float]]:
    """Return digests and seconds of the grid and of the path; `wait` is called before each."""
    digests, seconds = {}, {}
    for name, work in (
        ("grid", lambda: grid_of(data.grid, epochs, client)),
        ("path", lambda: path_of(data.path, _L2S, client)),
    ):
        if wait is not None:
            wait()
        began = time.perf_counter()
        digests[name] = work()
        seconds[name] = time.perf_counter() - began
    return digests, seconds


def _both_apart(folder: Path, epochs: int, barrier: Any) -> tuple[dict[str, str], dict[str, float]]:
    """Do `both` in a process of its own, each part of it when all processes are there."""
    data = load(folder)
    warm_up(data)
    return both(data, epochs, wait=barrier.wait)


def apart(folder: Path, epochs: int, processes: int, expected: dict[str, str]) -> dict[str, float]:
    """Return the seconds of the slowest of so many processes that each do all of the work."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(processes, context) as pool:
        barrier = manager.Barrier(processes, timeout=_LONGEST)
        tasks = [pool.submit(_both_apart, folder, epochs, barrier) for _ in range(processes)]
        found = [task.result() for task in tasks]
    for digests, _ in found:
        _same(digests, expected)
    return {name: max(seconds[name] for _, seconds in found) for name in expected}


class Killer:
    """Kills random workers of a cluster at random moments, by a signal that none can catch."""

    def __init__(self, client: Any, most: int, seed: int) -> None:
        self._client, self._most, self._random = client, most, random.Random(seed)  # noqa: S311
        self.killed = 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Kill workers while the body runs."""
        is_over = threading.Event()

        def go_on() -> None:
            while self.killed < self._most and not is_over.wait(self._random.uniform(*_APART)):
                workers = sorted(self._client.nthreads())
                if not workers:
                    continue
                chosen = self._random.choice(workers)
                for pid in self._client.run(
                    os.getpid, workers=[chosen], on_error="ignore"
                ).values():
                    os.kill(pid, signal.SIGKILL)
                    self.killed += 1

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def _same(found: dict[str, str], expected: dict[str, str]) -> str:
    differ = [name for name in expected if found[name] != expected[name]]
    if differ:
        raise click.ClickException(f"other bytes of {', '.join(differ)}")
    return "same bytes"


@click.command()
@click.option("--epochs", default=10, type=click.IntRange(1), show_default=True)
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--kills", default=50, type=click.IntRange(0), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the kills.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Keep the output.")
def main(epochs: int, rounds: int, kills: int, seed: int, out: Path | None) -> None:
    """Compare a grid and a path on workers with those of one process."""
    log = Log()
    with tempfile.TemporaryDirectory() as folder:
        write_embeddings(Path(folder), _ROWS, _FEATURES, _CLASSES, _DISTANCE)
        compare(Path(folder), epochs, rounds, kills, seed, log)
    if out is not None:
        log.save(out)


def measured(
    folder: Path, data: Data, epochs: int, expected: dict[str, str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Return the seconds of the work in every way, once.

    Raises click.ClickException if one comes to other bytes.
    """
    found, seconds = both(data, epochs)
    _same(found, expected)
    yield "one process", seconds
    yield "one process of its own", apart(folder, epochs, 1, expected)
    beside = apart(folder, epochs, 2, expected)
    yield "half the time of two side by side", {name: s / 2 for name, s in beside.items()}
    for count in (1, 2, 3):
        with cluster.connected(f"local:{count}") as client:
            warm_up(data, client)
            found, seconds = both(data, epochs, client)
        _same(found, expected)
        yield ONE if count == 1 else f"{count} workers", seconds


def compare(folder: Path, epochs: int, rounds: int, kills: int, seed: int, log: Log) -> None:
    """Tell how fast workers are, and that they come to the same bytes.

    Raises click.ClickException if they do not.
    """
    data = load(folder)
    warm_up(data)
    expected, _ = both(data, epochs)
    seconds: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):  # in turns: a machine has good minutes and bad ones
        for kind, found in measured(folder, data, epochs, expected):
            seconds.setdefault(kind, []).append(found)
    for kind, of_rounds in seconds.items():
        texts = []
        for name in expected:
            pairs = zip(seconds[ONE], of_rounds, strict=True)
            ratio = median(one[name] / found[name] for one, found in pairs)
            texts.append(f"{name} {median(found[name] for found in of_rounds):.1f} s ({ratio:.2f})")
        log.say(f"{kind}: {', '.join(texts)}")
    log.say(
        f"medians of {rounds} rounds, in brackets how much faster than {ONE}; all the same bytes"
    )
    killed = times = 0
    while killed < kills:
        with cluster.connected("local:2") as client:
            killer = Killer(client, kills - killed, seed + times)
            with killer.at_work():
                digests, spent = both(data, epochs, client)
        killed, times = killed + killer.killed, times + 1
        log.say(
            f"{killer.killed} workers killed in {sum(spent.values()):.1f} s: "
            f"{_same(digests, expected)}"
        )
    log.say(f"{killed} kills in {times} rounds changed nothing")


if __name__ == "__main__":
    main()
