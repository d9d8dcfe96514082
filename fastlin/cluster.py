"""Workers of a Dask cluster or of joblib: how to reach them, and what they have of the data.

Paths travel, not arrays: a worker maps or reads the files itself, once.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from fastlin import packages
from fastlin.data.dataset import Split
from fastlin.data.folds import Fold, FoldReference, Folds
from fastlin.data.source import DataReference
from fastlin.errors import InputError, quoted, reason_of
from fastlin.threads import available

# What is given as a client for the backend of joblib.
JOBLIB = "joblib"

_PATIENCE = "10s"  # until a scheduler answers

# How often what a lost worker had to do is given to another one before that is an error.
_ATTEMPTS = 20

_LOOK_EVERY = 1  # seconds, after which it is looked whether the worker of a task is still there
_LONGEST_WITHOUT_WORKERS = 300  # seconds; a cluster may start others for those that are lost
# The setting of Dask after which a local cluster gives up a worker that is lost and not back.
_LOST_WORKER_TIMEOUT = "distributed.deploy.lost-worker-timeout"

# A worker keeps the data that it used last, so many of them.
MOST_SPLITS = 4

# In a worker: what uses its threads does so one at a time.
one_at_a_time = threading.Lock()


@contextmanager
def connected(where: str) -> Iterator[Any]:
    """Connect to a cluster for as long as the body runs; yields a ``distributed.Client``.

    Parameters
    ----------
    where : str
        The address of a scheduler, such as ``tcp://10.0.0.1:8786``; or ``local:N`` for N workers on
        this machine, of one thread each, which end with the body.

    Raises
    ------
    InputError
        If nobody answers there, or N is no number of workers.
    PackageError
        If distributed is not installed.
    """
    distributed = packages.load("distributed", "dask", "a cluster")
    settings = packages.load("dask.config", "dask", "a cluster")
    kind, _, count = where.partition(":")
    with ExitStack() as stack:
        if kind == "local":
            if not count.isdecimal() or int(count) < 1:
                raise InputError(f"dask is {quoted(where)}; local:N needs a number of workers")
            # Its 15 seconds may be over before a busy machine has started a lost worker again.
            stack.enter_context(
                settings.set({_LOST_WORKER_TIMEOUT: f"{_LONGEST_WITHOUT_WORKERS}s"})
            )
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=int(count), threads_per_worker=1, processes=True,
                    dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                    preload=[__name__],
                )
            )  # fmt: skip
            yield stack.enter_context(distributed.Client(cluster))
            return
        try:
            client = distributed.Client(where, timeout=_PATIENCE)
        except ValueError:
            raise InputError(
                f"{quoted(where)} is no address of a scheduler of Dask; one is tcp://HOST:PORT, or "
                "local:N for N workers here"
            ) from None
        except OSError as error:
            raise InputError(
                f"there is no scheduler of Dask at {quoted(where)}: {reason_of(error)}"
            ) from None
        yield stack.enter_context(client)


def dask_setup(_: Any) -> None:
    """Let a worker of this machine, which Dask calls this for, leave Ctrl-C to its cluster.

    A terminal sends it to all processes, and each worker would print where it was.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Task(NamedTuple):
    """What a worker is to do.

    Attributes
    ----------
    function : Callable[..., Any]
        Of a module.
    arguments : tuple[Any, ...]
    worker : str
        The address of the worker that should do it, if it is there: others may.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    worker: str


class Workers:
    """The workers of a Dask cluster, and what they are given to do.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.

    Attributes
    ----------
    addresses : list[str]
        Of those that were there when somebody last looked.

    Raises
    ------
    InputError
        If there are none.
    """

    keep = True  # what they were given last, for the next task that is sent there

    def __init__(self, client: Any) -> None:
        self._client = client
        self.addresses: list[str] = []
        self._look()
        if not self.addresses:
            raise InputError("the cluster has no workers")

    def _look(self) -> None:
        # Not scheduler_info: what the client asks for every other second overwrites its answer
        # before it is read, at times, with one that lists no workers.
        self.addresses = sorted(self._client.nthreads())

    def results(self, tasks: Mapping[Any, Task]) -> Iterator[tuple[Any, Any]]:
        """Return what tasks find, in their order, by key; others do what a lost worker had.

        Raises
        ------
        InputError
            If workers are lost again and again, or there are none for long.
        Exception
            What a task raises.
        """
        given = {key: self._given(task) for key, task in tasks.items()}
        try:
            for key, task in tasks.items():
                yield key, self._result(given, key, task)
                del given[key]
        finally:
            if given:
                self._client.cancel([future for future, _ in given.values()])

    def _given(self, task: Task) -> tuple[Any, bool]:
        """Give a task to its worker, if that is there; return its future, and whether it is."""
        is_there = task.worker in self.addresses
        future = self._client.submit(
            task.function, *task.arguments, workers=[task.worker] if is_there else None,
            allow_other_workers=is_there, pure=False,
        )  # fmt: skip
        return future, is_there

    def _result(self, given: dict[Any, tuple[Any, bool]], key: Any, task: Task) -> Any:
        """Return what a task finds; it is given to others if its worker is lost."""
        distributed = packages.load("distributed", "dask", "a cluster")
        lost, patience, seen = 0, _LOOK_EVERY, time.monotonic()
        while lost < _ATTEMPTS:
            future, is_bound = given[key]
            try:
                return future.result(timeout=patience)
            except distributed.TimeoutError:
                if future.status == "finished":
                    patience *= 2  # of what takes long to be sent, which was begun anew
                elif _has_raised(future, distributed.TimeoutError):
                    raise
                self._look()
                seen = time.monotonic() if self.addresses else seen
                if time.monotonic() - seen > _LONGEST_WITHOUT_WORKERS:
                    raise InputError("the cluster has no workers any more") from None
                # A task that is bound to a worker which is not there any more waits for ever.
                if not is_bound or task.worker in self.addresses:
                    continue
            except (distributed.KilledWorker, distributed.client.FutureCancelledError):
                lost += 1
                self._look()
            future.cancel()
            given[key] = self._given(task)
        raise InputError("workers of the cluster are lost again and again; their logs say why")


def _has_raised(future: Any, kind: type[BaseException]) -> bool:
    """Return whether it is a task that has raised such an exception, and not who waits for it."""
    return future.status == "error" and isinstance(future.exception(), kind)


class JoblibWorkers:
    """The processes, or whatever else, of the backend that ``joblib.parallel_config`` has set.

    Attributes
    ----------
    addresses : list[str]
        As many as there are jobs at once. No task can be sent to one of them.

    Raises
    ------
    PackageError
        If joblib is not installed.
    """

    keep = False

    def __init__(self) -> None:
        self._joblib = packages.load("joblib", "sklearn", "client 'joblib'")
        count = self._joblib.effective_n_jobs(self._joblib.Parallel().n_jobs)
        self.addresses = [f"joblib-{number}" for number in range(count)]

    def results(self, tasks: Mapping[Any, Task]) -> Iterator[tuple[Any, Any]]:
        """Return what tasks find, in their order, by key; as `Workers.results` does."""
        threads = max(1, available() // len(self.addresses))
        call = self._joblib.delayed(_as_worker)
        for _ in range(_ATTEMPTS):
            with suppress(BrokenExecutor):
                # Arrays that joblib maps for workers cannot be written to, as kernels have it.
                found = self._joblib.Parallel(max_nbytes=None)(
                    call(threads, task.function, task.arguments) for task in tasks.values()
                )
                yield from zip(tasks, found, strict=True)
                return
        raise InputError("processes of joblib are lost again and again; perhaps memory is short")


# Of the thread that does a task of joblib: how many threads kernels may use.
_of_task = threading.local()


def _as_worker(threads: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Do a task of joblib."""
    _of_task.threads = threads
    try:
        return function(*arguments)
    finally:
        del _of_task.threads


def workers_of(client: Any) -> Workers | JoblibWorkers:
    """Return the workers of a ``distributed.Client``, or of joblib where that is named instead.

    Raises
    ------
    InputError
        If there are none, or it is neither.
    PackageError
        If joblib is not installed.
    """
    if client == JOBLIB:
        return JoblibWorkers()
    if not hasattr(client, "nthreads"):
        raise InputError(
            f"client is {quoted(client)}; it must be a distributed.Client, or {quoted(JOBLIB)}"
        )
    return Workers(client)


def reference_of(split: Split) -> DataReference:
    """Return where workers find the rows of a split, with their fingerprint.

    Raises InputError if they come from no file.
    """
    if split.source is None:
        raise InputError(
            "the rows are in memory, and workers of a cluster read them from a file; save them, "
            "and load them with fastlin.load_split"
        )
    return replace(split.source, sha256=split.fingerprint())


def threads_of_worker() -> int:
    """Return how many threads the worker that runs the calling task has."""
    found: int = getattr(_of_task, "threads", 0) or _worker().state.nthreads
    return found


def address_of_worker() -> str:
    """Return the address of the worker that runs the calling task; empty of joblib's."""
    return "" if hasattr(_of_task, "threads") else str(_worker().address)


def _worker() -> Any:
    from distributed import get_worker  # noqa: PLC0415  (an extra)

    return get_worker()


@lru_cache(maxsize=MOST_SPLITS)
def split_of(data: DataReference) -> Split:
    """Return the data of a reference, which a worker loads once.

    Raises InputError if it cannot read them, or finds others.
    """
    from fastlin.data.catalog import load_reference  # noqa: PLC0415  (a worker alone needs it)

    try:
        split = load_reference(data)
    except InputError as error:
        raise InputError(f"a worker of the cluster cannot read the data: {error}") from None
    if split.fingerprint() != data.sha256:
        raise InputError(f"a worker of the cluster finds other rows in {data.data}")
    return split


_last_fold: dict[FoldReference, Fold] = {}


def fold_of(reference: FoldReference) -> Fold:
    """Return a fold, of which a worker keeps the last one: each is a copy of most rows.

    Raises InputError as `split_of` does.
    """
    if reference not in _last_fold:
        _last_fold.clear()  # before there is another
        folds = _folds_of(reference.data, reference.count, reference.seed)
        _last_fold[reference] = folds.fold(reference.number)
    return _last_fold[reference]


@lru_cache(maxsize=1)
def _folds_of(data: DataReference, count: int, seed: int) -> Folds:
    return Folds(split_of(data), count, seed)
