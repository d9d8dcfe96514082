"""Timing contestants side by side: in turns, round after round, on a machine that others share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks import machine

# Seconds of rest before each run: the last one's idle threads still spin, OpenBLAS's for 0.1 s.
REST = 0.15
# Seconds that everybody works before they are timed: threads that slept may share a core at first.
WARM_UP = 0.05
# Seconds of a run from which on it needs no warming up.
LONG = 1.0
# A run is disturbed if others used more than what it leaves free by this many cores.
DISTURBED = 0.2
# Seconds after which a race of at least three rounds ends.
LONGEST = 120.0


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Entry:
    """One contestant of a race.

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


@dataclass
class Race:
    """Times of a race.

    Attributes
    ----------
    seconds : for each contestant, its time in each round, in s.
    disturbed : for each round, whether others used the machine meanwhile.
    """

    seconds: dict[str, list[float]]
    disturbed: list[bool] = field(default_factory=list)

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
    entries: Sequence[Entry], rounds: int, *, rest: float = REST, warm_up: float = WARM_UP
) -> Race:
    """Time every entry once a round, in an order that moves on by one each round.

    Rounds that others disturbed are run again, at most half as many as were asked for. A race
    that takes too long has fewer rounds, at least three. Before it is timed, everybody runs for
    `warm_up` seconds at least, unless a run takes so long that its start does not count.
    """
    result = Race({entry.name: [] for entry in entries})
    started = time.perf_counter()
    while result.disturbed.count(False) < rounds and len(result.disturbed) < 1.5 * rounds:
        if len(result.disturbed) >= 3 and time.perf_counter() - started > LONGEST:
            break
        first = len(result.disturbed) % len(entries)
        disturbed = False
        for entry in [*entries[first:], *entries[:first]]:
            time.sleep(rest)
            if not any(seconds > LONG for seconds in result.seconds[entry.name]):
                _work(entry, warm_up)
            entry.reset()
            seconds, others = _timed(entry)
            result.seconds[entry.name].append(seconds)
            disturbed |= others > machine.cores() - entry.threads + DISTURBED
        result.disturbed.append(disturbed)
    return result


def _work(entry: Entry, seconds: float) -> None:
    """Run a contestant, untimed, for so many seconds at least."""
    with machine.threads(entry.threads):
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            entry.reset()
            entry.run()


def _timed(entry: Entry) -> tuple[float, float]:
    """Return the time of one run in s, and how many cores others used meanwhile."""
    clock = time.process_time if entry.threads == 1 else time.perf_counter
    with machine.threads(entry.threads):
        others = machine.Disturbance()
        start = clock()
        entry.run()
        seconds = clock() - start
        return seconds, others.cores()
