"""Contestants in processes of their own, which sleep until it is their turn.

In one process libraries disturb each other: they share environment variables, OpenMP and BLAS, and
the threads of one still spin while another one is timed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from benchmarks.libraries import Library
from benchmarks.problems import Array
from benchmarks.racing import REST, Entry, FailedError, Pace, Timing, nothing

# Contestants of one method and precision may differ by this fraction of what training changed.
AGREEMENT = 1e-3
# Weights (W, b), of one model or of each part of a grid.
Weights = list[tuple[Array, Array]]
# Seconds that an answer may take: compiling everything, or a long turn.
PATIENCE = 900.0
# A process sleeps if none of its threads wants a core in so many looks, so many seconds apart.
LOOKS, BETWEEN_LOOKS = 5, 0.01
# Seconds after a turn within which it must sleep.
RESTLESS = 5.0


@dataclass(frozen=True)
class Work:
    """What a contestant does, made in its own process.

    Attributes
    ----------
    run : what is timed.
    reset : what comes before each run, not timed.
    check : does the work once, which also compiles, and returns the weights that others must get.
    """

    run: Callable[[], object]
    reset: Callable[[], object] = nothing
    check: Callable[[], Weights] = list


@dataclass(frozen=True)
class Task:
    """What a process is started for; goes there by pickle.

    Attributes
    ----------
    name : of the contestant.
    backend : the library that it uses.
    threads : that it may use.
    make : makes its work.
    agreement : by which part of what training changed its weights may differ from the NumPy
        twin's; None where they are not compared.
    """

    name: str
    backend: Library
    threads: int
    make: Callable[[], Work]
    agreement: float | None = AGREEMENT


class OwnProcess:
    """A contestant in a process of its own.

    The process ends with this object's context, or when the process that started it does.

    Parameters
    ----------
    task : what it does.

    Attributes
    ----------
    process : its process.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.name, self.threads = task.name, task.threads
        descriptor, log = tempfile.mkstemp(suffix=".log")
        os.close(descriptor)
        self._log = Path(log)
        context = multiprocessing.get_context("spawn")
        self._pipe, its_pipe = context.Pipe()
        self.process = context.Process(target=_serve, args=(its_pipe, log, task), daemon=True)
        with _without_interrupts():
            self.process.start()
        its_pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self._pipe.close()
        self._log.unlink(missing_ok=True)

    def weights(self) -> Weights:
        """Return what its check found, when it is ready; to be called once, before `measure`.

        Raises
        ------
        FailedError
            If it does not get that far.
        """
        weights: Weights = self._answer()
        return weights

    def measure(self, pace: Pace) -> Timing:
        """Let it take its turn.

        Raises
        ------
        FailedError
            If it fails, ends or does not answer.
        """
        with suppress(OSError):  # where it has ended, `_answer` says how
            self._pipe.send(pace)
        timing: Timing = self._answer()
        return timing

    def settle(self) -> None:
        """Return when none of its threads works any more.

        Raises
        ------
        FailedError
            If they go on.
        """
        deadline = time.monotonic() + RESTLESS
        tasks = Path(f"/proc/{self.process.pid}/task")
        if not tasks.is_dir():  # not Linux
            time.sleep(REST)
            return
        asleep = 0
        while asleep < LOOKS:
            if time.monotonic() > deadline:
                raise FailedError(f"works on {RESTLESS:g} s after its turn")
            time.sleep(BETWEEN_LOOKS)
            asleep = 0 if any(map(_is_running, tasks.iterdir())) else asleep + 1

    def _answer(self) -> Any:
        try:
            if not self._pipe.poll(PATIENCE):
                raise FailedError(f"no answer in {PATIENCE:g} s")
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(answer, FailedError):
            raise answer
        return answer

    def _ended(self) -> FailedError:
        """Return how its process ended, with the last line it printed."""
        self.process.join(RESTLESS)
        code = self.process.exitcode
        how = f"by {signal.Signals(-code).name}" if code and code < 0 else f"with exit code {code}"
        said = self._log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "it printed nothing")
        return FailedError(f"its process ended {how}: {one_line(last)}")


def _is_running(task: Path) -> bool:
    """Return whether a thread runs or waits for a core; `task` is its folder below /proc."""
    try:
        _, _, after_name = (task / "stat").read_text().rpartition(")")
    except OSError:  # it has ended
        return False
    return after_name.split()[0] == "R"


def one_line(text: str, longest: int = 200) -> str:
    """Return a text as one line of printable characters that is not too long."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 3] + "..."


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let processes that are started here not see Ctrl-C, which goes to all of a terminal's."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, log: str, task: Task) -> None:
    """Work in the process of a contestant until the other end of the pipe is closed."""
    with Path(log).open("wb") as file:  # libraries print warnings when they are imported
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        with task.backend.use_threads(task.threads):
            work = task.make()
            entry = Entry(task.name, work.run, task.threads, work.reset)
            pipe.send(work.check())
            while True:
                pipe.send(entry.measure(pipe.recv()))
    except (EOFError, BrokenPipeError):
        return
    except BaseException as error:  # noqa: BLE001  (told to the process that asked)
        pipe.send(FailedError(one_line(f"{type(error).__name__}: {error}")))
