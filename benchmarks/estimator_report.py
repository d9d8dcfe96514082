"""The race in scikit-learn's idiom as a file and a page, with its bars."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.estimator_contestants import ALPHAS, EPOCHS, TOLERANCES
from benchmarks.estimator_race import DISTANCES, Race, Try, fastest, goal_of_accuracy
from benchmarks.report import OF_ESTIMATORS, where
from fastlin.files import atomic_write

LARGEST_CALL = 0.005  # s
OURS, OURS_BY_SGD, THEIRS_BY_SGD = "SoftmaxClassifier", "SoftmaxClassifier, sgd", "SGDClassifier"

_HEAD = """\
# In scikit-learn's idiom: how fast

Written by `python -m benchmarks.estimators --out docs/benchmarks/estimators.md`. Everyone is fitted
on the same rows with C 1, in a process of its own, rows in memory and kernels compiled before.
Seconds are medians, each of the loosest setting that came so near to the least objective, which
fastlin proves: `tol` from {loosest:.0e} to {tightest:.0e} for everyone. Objectives are computed
from the weights, in float64.

By SGD: seconds to the same held-out accuracy, on standardised rows. `SGDClassifier` is one against
the rest, so that objectives cannot be compared. It has the best of {alphas} values of alpha,
{epochs} epochs, and of its schedules optimal, optimal with averaging, and adaptive; what it reaches
at best, less half a percent, or of few rows a standard error, is the goal. `SoftmaxClassifier` has
its defaults, or the same penalties, and as many epochs.
"""


class Bar(NamedTuple):
    """What was to hold: a text, the value that was measured as text, and whether it holds."""

    text: str
    measured: str
    is_met: bool | None


def write(page: Path, races: Sequence[Race], threads: int) -> Path:
    """Write races into the file of this machine beside a page, then the page.

    Races over other rows that the file has are kept.
    """
    described = machine.describe()
    page.parent.mkdir(parents=True, exist_ok=True)
    path = page.parent / f"{OF_ESTIMATORS}{machine.slug(described)}.json"
    kept = [] if not path.is_file() else json.loads(path.read_text(encoding="utf-8"))["races"]
    names = {race.name for race in races}
    content = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": described,
        "threads": threads,
        "races": [race for race in kept if race["name"] not in names]
        + [race.as_json() for race in races],
    }
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
    with atomic_write(page) as file:
        file.write(page_of(path).encode())
    return path


def latest(folder: Path) -> Path | None:
    """Return the file of the machine that was measured last, None if there is none."""
    dates = {
        path: str(json.loads(path.read_text(encoding="utf-8"))["date"])
        for path in folder.glob(f"{OF_ESTIMATORS}*.json")
    }
    return max(dates, key=lambda path: dates[path], default=None)


def page_of(path: Path) -> str:
    """Return the page of a file of races, as Markdown."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    head = _HEAD.format(
        loosest=TOLERANCES[0], tightest=TOLERANCES[-1], alphas=len(ALPHAS),
        epochs=", ".join(map(str, EPOCHS)),
    )  # fmt: skip
    lines = [head]
    for race in map(Race.from_json, content["races"]):
        lines += [*table(race), ""]
    return "\n".join([*lines, f"{where(content)}\n"])


def table(race: Race) -> list[str]:
    """Return what everyone took, and how that stands to the bars, as lines of Markdown."""
    goal = goal_of_accuracy(race)
    return [
        f"**{race.name}** (medians of {race.fits} fits)",
        "",
        "| to | who | setting | time | over fastlin |",
        "|---|---|---|---|---|",
        *(
            line
            for most in DISTANCES
            for line in _lines(
                f"{most:.0e} of the optimum", race.distances, OURS, _is_within(most)
            )
        ),
        *_lines(f"{goal:.1%} of held-out rows", race.accuracies, OURS_BY_SGD, _is_above(goal)),
        "",
        *(
            f"- {bar.text}: {bar.measured}, "
            f"{ {True: 'met', False: 'missed', None: 'not measured'}[bar.is_met] }"
            for bar in bars(race)
        ),
    ]  # fmt: skip


def bars(race: Race) -> list[Bar]:
    """Return what was to hold of a race, and whether it does."""
    found = []
    goal = goal_of_accuracy(race)
    for most in DISTANCES:
        for name in race.distances:
            if name != OURS:
                text = f"{name} to {most:.0e}"
                found.append(_bar(text, race.distances, OURS, name, _is_within(most), race.factor))
    found.append(
        _bar(
            f"{THEIRS_BY_SGD} to {goal:.1%}", race.accuracies, OURS_BY_SGD, THEIRS_BY_SGD,
            _is_above(goal), race.factor,
        )
    )  # fmt: skip
    for kind, text in (("fit", "a fit without its steps"), ("predict", "predict of one row")):
        if OURS in race.calls:
            seconds = race.calls[OURS][kind]
            others = "".join(
                f", {name} {_time(of[kind])}" for name, of in race.calls.items() if name != OURS
            )
            measured = f"{_time(seconds)}{others}"
            found.append(Bar(f"{text} in {_time(LARGEST_CALL)}", measured, seconds <= LARGEST_CALL))
    return found


def _bar(
    text: str, tries: dict[str, list[Try]], ours: str, theirs: str,
    is_good: Callable[[float], bool], factor: float,
) -> Bar:  # fmt: skip
    """Return how many times as fast as another one fastlin comes to what is good."""
    own, other = (fastest(tries.get(name, []), is_good) for name in (ours, theirs))
    text = f"at least {factor:g} x as fast as {text}"
    if own is None:
        return Bar(text, "never reached", None if other is None else False)
    if other is None:  # a setting that comes nearer takes longer than those that did not
        longest = _longest(tries.get(theirs, []))
        ratio = longest / own.seconds
        measured = f"more than {ratio:.1f} x: in {_time(longest)} it did not come there"
        return Bar(text, measured, True if ratio >= factor else None)
    ratio = other.seconds / own.seconds
    return Bar(text, f"{ratio:.2f} x", ratio >= factor)


def _longest(tries: Sequence[Try]) -> float:
    """Return the seconds of the longest try; of settings for threads, of the one whose is least."""
    longest: dict[str, float] = {}
    for one in tries:
        of_threads = one.setting.partition(", 1 thread")[1]
        longest[of_threads] = max(longest.get(of_threads, 0.0), one.seconds)
    return min(longest.values(), default=0.0)


def _lines(
    text: str, tries: dict[str, list[Try]], ours: str, is_good: Callable[[float], bool]
) -> Iterator[str]:
    """Give a line for each contestant with its fastest good setting."""
    own = fastest(tries.get(ours, []), is_good)
    for name, of in tries.items():
        one = fastest(of, is_good)
        if one is None:
            yield f"| {text} | {name} | none of {len(of)} | | |"
            continue
        ratio = "" if own is None else f"{one.seconds / own.seconds:.2f}"
        yield f"| {text} | {name} | {one.setting} | {_time(one.seconds)} | {ratio} |"


def _is_within(most: float) -> Callable[[float], bool]:
    return lambda value: value <= most


def _is_above(least: float) -> Callable[[float], bool]:
    return lambda value: value >= least


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
