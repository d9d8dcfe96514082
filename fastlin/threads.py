"""Threads: how many there are to use, and a kernel run on some of them at once.

A kernel runs without the interpreter's lock, so Python's own threads are enough. They sleep while
nothing is to be done, share the machine with other libraries' threads, and hand exceptions on.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, partial
from heapq import heapify, heappop, heappush
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from fastlin.errors import InputError, quoted
from fastlin.kernels import numba
from fastlin.kernels.team import new_team, stop

_IS_INTERPRETED = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]

_chosen: ContextVar[int | None] = ContextVar("fastlin_threads", default=None)

# Multiply-adds of a thread in one call of a kernel, about: some 0.1 s on a core, 1 s on a slow one.
# At the end of a call threads wait for the last one. Of two classifiers (K 1000, d 768, batches of
# 1,024), two threads of a Zen 3 trained one batch a call at 122 GFLOP/s, two at 133, 16 at 137.
MOST_WORK_OF_A_CALL = 4_000_000_000

_PIECES_OF_A_THREAD = 4

# Seconds after which a thread that was not woken looks whether others have ended.
_PATIENCE = 0.05

# Multiply-adds for which it is worth to wake a thread, which takes up to a tenth of a millisecond.
LEAST_WORK_OF_A_THREAD = 1_000_000


def available() -> int:
    """Return how many threads may be asked for: as many as Numba was started with."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def default_count() -> int:
    """Return how many threads are used where nobody says: what the process can keep busy.

    That is the number of cores it may run on, or fewer where a container has a quota of processor
    time, rounded up. The quota is what it was when this process first asked.
    """
    return count_within(_own_quota(os.getpid()))


@cache
def _own_quota(process_id: int) -> float | None:  # noqa: ARG001  (after a fork it may be another one)
    """Return the quota of this process, whose files take a millisecond to read."""
    return cpu_quota(Path("/sys/fs/cgroup"), Path("/proc/self"))


def count_within(quota: float | None) -> int:
    """Return how many threads the cores of this process, and a quota of them, can keep busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else available()
    count = min(available(), cores)
    return count if quota is None else max(1, min(count, -int(-quota // 1)))


def cpu_quota(cgroups: Path, process: Path) -> float | None:
    """Return how many cores' time the control groups of this process grant it; None for no limit.

    The smallest quota counts, of version 2 (``cpu.max``) or 1 (``cpu.cfs_quota_us``), of the
    process's own group and of all groups around it.

    Parameters
    ----------
    cgroups, process : Path
        Where the system tells of control groups, and of this process.
    """
    quotas = []
    for line in _lines(process / "cgroup"):
        _, is_group, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not is_group:
            continue
        if controllers == "":
            root = cgroups
        elif "cpu" in controllers.split(","):
            root = cgroups / controllers if (cgroups / controllers).is_dir() else cgroups / "cpu"
        else:
            continue
        group = root / name.strip("/")
        # Inside a container the path of the group may be that of the machine outside.
        for folder in (group, *group.parents):
            quotas.append(_quota_of(folder))
            if folder == root:
                break
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(folder: Path) -> float | None:
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        words = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    try:
        quota, period = (float(word) for word in words)
    except ValueError:  # "max", or no such files
        return None
    return quota / period if quota > 0 and period > 0 else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def checked_count(name: str, count: Any) -> int:
    """Return a number of threads that was asked for by a setting of that name.

    Raises
    ------
    InputError
        If it is no whole number, below 1, or above the number of threads Numba was started with.
    """
    is_whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if not is_whole or not 1 <= count <= available():
        raise InputError(f"{name} is {quoted(count)}; this process can use 1 to {available()}")
    return int(count)


@contextmanager
def use_threads(count: int | None) -> Iterator[int]:
    """Run the body's kernels on `count` threads; yields the number.

    Parameters
    ----------
    count : int or None
        How many; None for `default_count`.

    Raises
    ------
    InputError
        If count is no whole number, below 1, or above the number of threads Numba was started with.
    """
    token = _chosen.set(default_count() if count is None else checked_count("threads", count))
    try:
        yield current_count()
    finally:
        _chosen.reset(token)


def current_count() -> int:
    """Return on how many threads kernels run here: what `use_threads` says, or `default_count`."""
    return _chosen.get() or default_count()


def count_for(work: int) -> int:
    """Return how many threads share so many multiply-adds; their result does not depend on it."""
    return min(current_count(), max(1, work // LEAST_WORK_OF_A_THREAD))


class _Pool:
    """Threads that wait for work, asleep; of this process alone, as a fork takes none along."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._count = 0
        self._lock = threading.Lock()

    def start(self, tasks: list[Callable[[], None]]) -> None:
        """Let threads begin tasks, which must raise nothing."""
        with self._lock:
            while self._count < len(tasks):
                name = f"fastlin-{self._count + 1}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
                self._count += 1
        for task in tasks:
            self._tasks.put(task)

    def _work(self) -> None:
        while True:
            self._tasks.get()()


_pool = _Pool()


def _start(tasks: list[Callable[[], None]]) -> None:
    """Let sleeping threads of this process begin tasks, which must raise nothing."""
    global _pool  # noqa: PLW0603  (made anew in a child process)
    if _pool.process != os.getpid():
        _pool = _Pool()
    _pool.start(tasks)


def run(kernel: Callable[..., None], members: int, pieces: int, *arguments: Any) -> None:
    """Run ``kernel(member, team, pieces, *arguments)`` on several threads, and wait for the team.

    The calling thread is member 0. Members share pieces of work by the counters of `team` (see
    `fastlin.kernels.team`), so that one alone gets through: those that come late find nothing left.

    Parameters
    ----------
    kernel : Callable
        Compiled; it allocates nothing once it has begun a piece.
    members : int
        How many threads.
    pieces : int
        Into how many pieces each phase is divided.
    *arguments : Any
        The kernel's other arguments.

    Raises
    ------
    Exception
        What any member raised.
    """
    team = new_team(pieces)
    failures: list[BaseException] = []

    def take_part(member: int) -> None:
        try:
            kernel(member, team, pieces, *arguments)
        except BaseException as error:  # noqa: BLE001  (raised again in the calling thread)
            failures.append(error)
            stop(team)

    try:
        if not _IS_INTERPRETED:  # where counters are not atomic, and one member does all
            _start([partial(take_part, member) for member in range(1, members)])
        kernel(0, team, pieces, *arguments)
    except BaseException:
        stop(team)
        raise
    if failures:
        raise failures[0]


def run_pieces(work: Callable[[int], None], firsts: Iterable[int], members: int) -> None:
    """Call a function once for each of some numbers, on several threads, and wait for all calls.

    Threads take the numbers in their order, the calling thread among them.

    Parameters
    ----------
    work : Callable[[int], None]
        What runs without the interpreter's lock for most of its time.
    firsts : Iterable[int]
        The numbers.
    members : int
        How many threads.

    Raises
    ------
    Exception
        What a call raised.
    """
    waiting = deque((first, Future[None]()) for first in firsts)
    all_done = [done for _, done in waiting]

    def take_part() -> None:
        while waiting:
            try:
                first, done = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                work(first)
            except BaseException as error:  # noqa: BLE001  (raised again in the calling thread)
                waiting.clear()  # those are later ones, for which nobody waits then
                done.set_exception(error)
            else:
                done.set_result(None)

    try:
        _start([take_part] * (members - 1))
        take_part()
        for done in all_done:
            done.result()
    except BaseException:
        waiting.clear()
        raise


def run_chains(step: Callable[[int, int], int], work: Sequence[int], members: int) -> None:
    """Do chains of steps on several threads, and wait for all; the calling thread is member 0.

    The steps of a chain are done one after another. A thread that is free takes the next one of the
    chain with most left: none waits for a slower one as long as there are chains for all.

    Parameters
    ----------
    step : Callable[[int, int], int]
        Does the next step of a chain, with the scratch of a member, without the interpreter's lock
        for most of its time; returns how much work is left of the chain.
    work : Sequence[int]
        Of every chain.
    members : int
        How many threads.

    Raises
    ------
    Exception
        What a step raised. No step is being done any more when this returns or raises.
    """
    # Ctrl-C may come to the calling thread at any moment: so no thread holds a lock of its own.
    waiting = [(-left, chain) for chain, left in enumerate(work)]
    heapify(waiting)
    begun, ended, failures = deque[int](), deque[int](), deque[BaseException]()
    woken: SimpleQueue[None] = SimpleQueue()

    def take_part(member: int) -> None:
        while not failures:
            try:
                chain = heappop(waiting)[1]
            except IndexError:  # every chain that has not ended is with another thread
                return
            left = step(chain, member)
            if left > 0:
                heappush(waiting, (-left, chain))

    def help_out(member: int) -> None:
        begun.append(member)
        try:
            take_part(member)
        except BaseException as error:  # noqa: BLE001  (raised again in the calling thread)
            failures.append(error)
        ended.append(member)
        woken.put(None)

    is_over = False
    while not is_over:
        try:
            if not begun and not failures and not _IS_INTERPRETED:
                _start([partial(help_out, member) for member in range(1, members)])
            take_part(0)
            while len(ended) < len(begun):
                with suppress(Empty):
                    woken.get(timeout=_PATIENCE)
            is_over = True
        except BaseException as error:  # noqa: BLE001  (raised again when no thread is at work)
            failures.append(error)
    if failures:
        raise failures[0]


def parts(
    row_count: int, work_of_row: int, multiple: int = 128, members: int = 1
) -> Iterator[tuple[int, int]]:
    """Divide rows into parts, (first, last), small enough for one call of a kernel by members.

    Between calls Python heeds signals, such as Ctrl-C. Bounds are multiples of `multiple`, or the
    end, so that rows are summed in one order whatever the parts.
    """
    rows = max(1, members * MOST_WORK_OF_A_CALL // max(work_of_row, 1))
    rows = max(1, rows // multiple) * multiple
    for first in range(0, row_count, rows):
        yield first, min(first + rows, row_count)


def run_on_rows(kernel: Callable[..., None], work: int, *arguments: Any) -> None:
    """Run a kernel that divides rows, in more pieces than threads: whoever is late does fewer.

    `work` is how many multiply-adds it has to do.
    """
    count = count_for(work)
    run(kernel, count, _PIECES_OF_A_THREAD * count if count > 1 else 1, *arguments)
