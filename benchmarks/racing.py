"""Timing contestants side by side: in turns, round after round, on a machine that others share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks import machine

# Seconds of rest after each turn of this process: OpenBLAS's threads spin for 0.1 s after a call.
REST = 0.15
# Seconds of a run from which on it needs no warming up.
LONG = 1.0
# A turn is disturbed if others used more than what it leaves free by this many cores.
DISTURBED = 0.2
# Seconds after which a race of at least three rounds ends.
LONGEST = 120.0


def nothing() -> None:
    """Do nothing."""


class FailedError(Exception):
    """A contestant could not do what it was asked; the message is one line that says why."""


@dataclass(frozen=True)
class Pace:
    """How long a turn takes.

    Attributes
    ----------
    warm_up : s that a contestant works before it is timed: threads that slept may share a core at
        first, and others have used the caches.
    shortest : s of work that are timed at least; runs are repeated until then.
    """

    warm_up: float = 0.05
    shortest: float = 0.1


@dataclass(frozen=True)
class Timing:
    """What a turn found.

    Attributes
    ----------
    seconds : of one run, the mean of the turn's runs.
    others : how many cores others used meanwhile.
    """

    seconds: float
    others: float


class Contestant(Protocol):
    """Who takes part in a race: `Entry` in this process, `OwnProcess` in another one."""

    @property
    def name(self) -> str:
        """Unique in the race."""

    @property
    def threads(self) -> int:
        """It may use."""

    def measure(self, pace: Pace) -> Timing:
        """Take a turn; raises FailedError."""

    def settle(self) -> None:
        """Return when all of its threads are asleep; raises FailedError."""


@dataclass
class Entry:
    """A contestant in this process.

    Attributes
    ----------
    name : unique in the race.
    run : what is timed.
    threads : it may use. One thread is timed by the processor time of the process, which does not
        count how long others kept it waiting; more are timed by the clock.
    reset : what comes before each run, not timed.
    """

    name: str
    run: Callable[[], object]
    threads: int
    reset: Callable[[], object] = nothing
    _longest: float = field(default=0.0, init=False)

    def measure(self, pace: Pace) -> Timing:
        """Warm up, then run until enough is timed."""
        if self._longest < LONG:
            start = time.perf_counter()
            while time.perf_counter() - start < pace.warm_up:
                self.reset()
                self.run()
        clock = time.process_time if self.threads == 1 else time.perf_counter
        others = machine.Disturbance()
        seconds: list[float] = []
        while not seconds or sum(seconds) < pace.shortest:
            self.reset()
            start = clock()
            self.run()
            seconds.append(clock() - start)
        self._longest = max(self._longest, *seconds)
        return Timing(statistics.fmean(seconds), others.cores())

    def settle(self) -> None:
        """Rest."""
        time.sleep(REST)


@dataclass
class Race:
    """Times of a race.

    Attributes
    ----------
    seconds : for each contestant that came to the end, its time in each round, in s.
    disturbed : for each round, whether others used the machine meanwhile.
    failures : of each that did not, why.
    """

    seconds: dict[str, list[float]]
    disturbed: list[bool] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Return a contestant's median time in s."""
        return statistics.median(self._kept(name))

    def ratio(self, name: str, to: str) -> float:
        """Return the median over the rounds of time(name) / time(to).

        Both times of a ratio are of one round, so that slow moments of the machine cancel.
        """
        pairs = zip(self._kept(name), self._kept(to), strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def _kept(self, name: str) -> list[float]:
        """Return the times of the undisturbed rounds, or of all if there are too few of them."""
        calm = [
            seconds
            for seconds, disturbed in zip(self.seconds[name], self.disturbed, strict=True)
            if not disturbed
        ]
        return calm if len(calm) >= 3 else self.seconds[name]


def race(
    contestants: Sequence[Contestant],
    rounds: int,
    *,
    pace: Pace = Pace(),
    on_round: Callable[[], object] = nothing,
    required: str = "",
) -> Race:
    """Give everybody a turn each round, in an order that moves on by one each round.

    Rounds that others disturbed are run again, at most half as many as were asked for. A race
    that takes too long has fewer rounds, at least three. Who fails is out, and its times with it.

    Parameters
    ----------
    contestants : who takes part.
    rounds : that are wanted.
    pace : of each turn.
    on_round : called after each round.
    required : who must not fail.

    Raises
    ------
    FailedError
        If that one does.
    """
    result = Race({contestant.name: [] for contestant in contestants})
    running = list(contestants)
    started = time.perf_counter()
    while running and result.disturbed.count(False) < rounds:
        if len(result.disturbed) >= 1.5 * rounds:
            break
        if len(result.disturbed) >= 3 and time.perf_counter() - started > LONGEST:
            break
        first = len(result.disturbed) % len(running)
        disturbed = False
        for contestant in [*running[first:], *running[:first]]:
            try:
                timing = contestant.measure(pace)
                contestant.settle()
            except FailedError as error:
                if contestant.name == required:
                    raise FailedError(f"{required}: {error}") from None
                running.remove(contestant)
                del result.seconds[contestant.name]
                result.failures[contestant.name] = str(error)
                continue
            result.seconds[contestant.name].append(timing.seconds)
            disturbed |= timing.others > machine.cores() - contestant.threads + DISTURBED
        result.disturbed.append(disturbed)
        on_round()
    return result
