"""The races of the benchmarks: turns, ratios, contestants in processes of their own."""

import math
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import pytest

from benchmarks import machine
from benchmarks.contestants import OwnProcess, Task, Work
from benchmarks.libraries import Library
from benchmarks.outcomes import FASTLIN, Goal, Metric, Outcome
from benchmarks.racing import Entry, FailedError, Pace, Race, Timing, race

PLAIN = Library("numpy", nullcontext)
AT_ONCE = Pace(0, 0)


@dataclass
class Scripted:
    """A contestant whose times are given; None is a failure."""

    name: str
    times: list[float | None]
    turns: list[str]
    others: float = 0.0
    threads: int = 1
    settled: int = field(default=0, init=False)

    def measure(self, pace):
        self.turns.append(self.name)
        seconds = self.times.pop(0)
        if seconds is None:
            raise FailedError("out of memory")
        return Timing(seconds, self.others)

    def settle(self):
        self.settled += 1


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 2)


def test_who_begins_moves_on_by_one_each_round():
    turns = []
    contestants = [Scripted(name, [1.0] * 3, turns) for name in "abc"]
    found = race(contestants, 3)
    assert "".join(turns) == "abc" + "bca" + "cab"
    assert found.disturbed == [False] * 3
    assert [contestant.settled for contestant in contestants] == [3, 3, 3]


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    ours, theirs = [1.0, 10.0, 1.0], [2.0, 30.0, 5.0]
    found = Race({"ours": ours, "theirs": theirs}, [False] * 3)
    assert found.ratio("theirs", to="ours") == 3.0  # the medians' ratio would be 5
    assert found.median("theirs") == 5.0


def test_disturbed_rounds_are_run_again_and_left_out_of_figures():
    ours = Scripted("ours", [9.0, 1.0, 1.0, 1.0], [], others=1.9)
    other = Scripted("other", [2.0] * 4, [])

    def on_round():
        ours.others = 0.0

    result = race([ours, other], 3, on_round=on_round)
    assert result.disturbed == [True, False, False, False]
    assert result.seconds["ours"] == [9.0, 1.0, 1.0, 1.0]
    assert result.ratio("other", to="ours") == 2.0
    assert result.median("ours") == 1.0


def test_a_machine_that_is_never_calm_ends_the_race_after_half_as_many_rounds_more():
    found = race([Scripted("ours", [1.0] * 20, [], others=5.0)], 4)
    assert found.disturbed == [True] * 6
    assert found.median("ours") == 1.0  # of all rounds, as none is better than another


def test_who_fails_is_out_with_its_times_and_the_reason():
    turns = []
    contestants = [Scripted("a", [1.0] * 4, turns), Scripted("b", [1.0, None], turns)]
    found = race(contestants, 3)
    assert found.seconds == {"a": [1.0] * 3}
    assert found.failures == {"b": "out of memory"}


def test_a_required_contestant_must_not_fail():
    with pytest.raises(FailedError, match="ours: out of memory"):
        race([Scripted("ours", [None], [])], 3, required="ours")


def test_runs_are_repeated_until_enough_is_timed_and_each_is_reset_before():
    steps = []
    entry = Entry(
        "ours", lambda: (steps.append("run"), time.sleep(0.02)), 2, lambda: steps.append("reset")
    )
    timing = entry.measure(Pace(0.0, 0.05))
    assert steps == ["reset", "run"] * (len(steps) // 2)
    assert len(steps) >= 4  # warming up, and at least one that is timed
    assert timing.seconds >= 0.02


def test_an_outcome_comes_back_from_json_with_its_verdicts():
    outcome = Outcome("epoch", "an epoch", 1, flop=2e9)
    found = Race({FASTLIN: [1.0] * 3, "sgemm": [0.5] * 3, "NumPy": [3.0] * 3}, [False] * 3)
    outcome.add_race(found, sgemm_flop=2e9)
    outcome.judge((
        Goal(Metric.SHARE_OF_PEAK, 0.4, 0.6), Goal(Metric.VERSUS_BEST, 1.5, 2.5),
        Goal(Metric.SECONDS, 0.9, 0.5), Goal(Metric.VERSUS_TWIN, 1, 2),
    ))  # fmt: skip
    assert outcome.gflops == 2.0
    assert outcome.share_of_peak == 0.5
    assert outcome.speedups == {"NumPy": 3.0}
    assert [r.verdict() for r in outcome.results] == ["met", "stretch", "missed", "not measured"]
    again = Outcome.from_dict(outcome.to_dict())
    assert again.best_rival() == "NumPy"
    assert [r.verdict() for r in again.results] == [r.verdict() for r in outcome.results]
    assert math.isnan(again.results[3].value)


def waiting():
    return Work(run=lambda: time.sleep(0.01), check=lambda: [(np.ones((2, 3)), np.zeros(2))])


def raising():
    raise ValueError("two\nlines")


def ending():
    def end():
        os.write(1, b"the last words\n")
        os._exit(3)

    return Work(run=end)


def test_a_process_of_its_own_checks_runs_and_sleeps():
    with OwnProcess(Task("waiter", PLAIN, 1, waiting)) as contestant:
        ((W, b),) = contestant.weights()
        assert W.shape == (2, 3)
        assert b.shape == (2,)
        timing = contestant.measure(AT_ONCE)
        contestant.settle()
        process = contestant.process
        assert process.is_alive()
        assert 0 <= timing.seconds < 0.01  # of one thread processor time counts, not sleep
    assert not process.is_alive()


def test_a_contestant_that_cannot_be_made_says_why_in_one_line():
    with (
        OwnProcess(Task("broken", PLAIN, 1, raising)) as contestant,
        pytest.raises(FailedError, match=r"^ValueError: two lines$"),
    ):
        contestant.weights()


def test_a_process_that_ends_is_told_with_its_last_line():
    with OwnProcess(Task("ends", PLAIN, 1, ending)) as contestant:
        assert contestant.weights() == []
        with pytest.raises(FailedError, match="ended with exit code 3: the last words"):
            contestant.measure(AT_ONCE)
