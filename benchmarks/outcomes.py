"""What a case of the study found, as plain records that go to JSON and come back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from benchmarks.racing import Race

FASTLIN, TWIN, SGEMM = "fastlin", "NumPy twin", "sgemm"


class Metric(StrEnum):
    """What a goal is about; seconds are better when small, all others when large."""

    SHARE_OF_PEAK = "of the sgemm peak"
    VERSUS_TWIN = "x NumPy twin"
    VERSUS_BEST = "x best rival"
    SECONDS = "s"


@dataclass(frozen=True)
class Goal:
    """What a case has to reach, and what would be excellent."""

    metric: Metric
    bar: float
    stretch: float


@dataclass(frozen=True)
class Result:
    """A goal with the value that was measured; NaN where the rival is not installed."""

    metric: Metric
    bar: float
    stretch: float
    value: float

    def verdict(self) -> str:
        """Return how the value stands to the goal, in a word."""
        sign = -1 if self.metric == Metric.SECONDS else 1
        if math.isnan(self.value):
            return "not measured"
        if sign * self.value >= sign * self.stretch:
            return "stretch"
        return "met" if sign * self.value >= sign * self.bar else "missed"


@dataclass
class Outcome:
    """What was measured in one case.

    Attributes
    ----------
    name, title : of the case.
    threads : used by every contestant.
    source : of the rows.
    seconds : median time of each contestant, in s.
    speedups : time of each rival over fastlin's, the median of the rounds' ratios.
    results : the goals and what was measured.
    steps : how many steps were timed as one where a single step is the case; else 1.
    flop : work of what was timed; 0 where there is no counting it.
    bytes : of rows and weights that it must move at least; 0 likewise.
    in_cache : whether the rows stay in a cache.
    gflops, peak_gflops, share_of_peak : GFLOP/s of fastlin, of a large sgemm on the same threads
        in the same rounds, and the median of the rounds' ratios.
    all_seconds : time of each contestant in each round, in s.
    disturbed : for each round, whether others used the machine meanwhile.
    left_out : of each rival that failed, why.
    """

    name: str
    title: str
    threads: int
    source: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    speedups: dict[str, float] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    steps: int = 1
    flop: float = 0.0
    bytes: float = 0.0
    in_cache: bool = False
    gflops: float = 0.0
    peak_gflops: float = 0.0
    share_of_peak: float = 0.0
    all_seconds: dict[str, list[float]] = field(default_factory=dict)
    disturbed: list[bool] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add_race(self, race: Race, sgemm_flop: float = 0.0) -> None:
        """Take over the times of a race of fastlin, and perhaps of rivals and sgemm."""
        self.all_seconds, self.disturbed = race.seconds, race.disturbed
        self.left_out = race.failures
        self.seconds = {name: race.median(name) for name in race.seconds}
        self.speedups = {
            name: race.ratio(name, to=FASTLIN)
            for name in race.seconds
            if name not in {FASTLIN, SGEMM}
        }
        if SGEMM in race.seconds:
            self.gflops = self.flop / self.seconds[FASTLIN] / 1e9
            self.peak_gflops = sgemm_flop / self.seconds[SGEMM] / 1e9
            self.share_of_peak = race.ratio(SGEMM, to=FASTLIN) * self.flop / sgemm_flop

    def judge(self, goals: tuple[Goal, ...]) -> None:
        """Set what was measured beside the goals."""
        values = {
            Metric.SHARE_OF_PEAK: self.share_of_peak,
            Metric.VERSUS_TWIN: self.speedups.get(TWIN, math.nan),
            Metric.VERSUS_BEST: min(self.speedups.values(), default=math.nan),
            Metric.SECONDS: self.seconds[FASTLIN],
        }
        self.results = [
            Result(goal.metric, goal.bar, goal.stretch, values[goal.metric]) for goal in goals
        ]

    def best_rival(self) -> str | None:
        """Return the name of the fastest rival, None if nobody ran."""
        return min(self.speedups, key=self.speedups.__getitem__, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        results = [
            Result(**{**result, "metric": Metric(result["metric"])}) for result in values["results"]
        ]
        return cls(**{**values, "results": results})
