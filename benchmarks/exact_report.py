"""The race to the exact optimum as a file, a page and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, plots
from benchmarks.exact_contestants import GAPS, TOLERANCES
from benchmarks.exact_race import PathOf, PathRace, Race, Stage, as_json, from_json
from benchmarks.libraries import FASTLIN
from benchmarks.report import OF_EXACT, where
from fastlin.files import atomic_write

GOAL = 1e-6  # the distance to which the summary counts

_HEAD = """\
# The exact optimum, raced for

Written by `python -m benchmarks.exact --out docs/benchmarks/exact.md`. Everyone fits the same rows
with the same penalty, in a process of its own. The distance is that of the objective of the
weights, computed in float64, to the least objective that fastlin proved possible, over that. There
is a line for each setting that came nearer than those above it: fastlin was asked to prove gaps of
{gaps}, scikit-learn had tolerances of
{tolerances}, and PyTorch more and more iterations.
"""


def write(page: Path, races: Sequence[Race | PathRace], threads: int) -> Path:
    """Write races into the file of this machine beside a page, then the page and its picture.

    Races of other problems that the file has are kept.
    """
    described = machine.describe()
    page.parent.mkdir(parents=True, exist_ok=True)
    path = page.parent / f"{OF_EXACT}{machine.slug(described)}.json"
    kept = [] if not path.is_file() else _load(path)["races"]
    titles = {race.title for race in races}
    found = [race for race in map(from_json, kept) if race.title not in titles] + list(races)
    content = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": described,
        "threads": threads,
        "races": [as_json(race) for race in found],
    }
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
    illustrate(path, page)
    return path


def latest(folder: Path) -> Path | None:
    """Return the file of the machine that was measured last, None if there is none."""
    paths = folder.glob(f"{OF_EXACT}*.json")
    return max(paths, key=lambda path: str(_load(path)["date"]), default=None)


def illustrate(path: Path, page: Path) -> None:
    """Write the page of a file of races, and its picture beside it."""
    figure = plots.distances(_fits(path))
    if figure is not None:
        figure.savefig(page.with_suffix(".png"), dpi=150)
    with atomic_write(page) as file:
        file.write(page_of(path, page.with_suffix(".png").name).encode())


def page_of(path: Path, picture: str = "exact.png") -> str:
    """Return the page of a file of races, as Markdown, with a picture that lies beside it."""
    content = _load(path)
    gaps, tolerances = (", ".join(f"{one:.0e}" for one in of) for of in (GAPS, TOLERANCES))
    lines = [_HEAD.format(gaps=gaps, tolerances=tolerances)]
    if _fits(path):
        lines += [f"![Distance to the optimum over seconds]({picture})", ""]
    for race in map(from_json, content["races"]):
        lines += path_table(race) if isinstance(race, PathRace) else table(race)
    return "\n".join([*lines, f"{where(content)}\n"])


def table(race: Race) -> list[str]:
    """Return what everyone reached, as lines of Markdown."""
    of_fits = f", seconds are the median of {race.repeats} fits" if race.repeats > 1 else ""
    lines = [
        f"**{race.title}** (least objective between {race.least:.9g} and {race.best:.9g}{of_fits})",
        "",
        "| contestant | seconds | passes or iterations | relative distance |",
        "|---|---|---|---|",
    ]
    for name, stages in race.stages.items():
        lines += [
            f"| {name} | {_seconds(stage.seconds)} | {stage.passes} | {race.distance(stage):.1e} |"
            for stage in improving(race, stages)
        ]
    return [*lines, ""]


def improving(race: Race, stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages that came nearer than all before, in the two digits that are shown."""
    found: list[Stage] = []
    for stage in stages:
        shown = float(f"{race.distance(stage):.1e}")
        if not found or shown < float(f"{race.distance(found[-1]):.1e}"):
            found.append(stage)
    return found


def path_table(race: PathRace) -> list[str]:
    """Return how long everyone took for a path, as lines of Markdown."""
    lines = [
        f"**{race.title}**, each until the objective was within {race.gap:.0e} of the least one",
        "",
        "| contestant | penalties fitted | seconds | within the gap | seconds for all penalties |",
        "|---|---|---|---|---|",
    ]
    for name, one in race.found.items():
        fitted = f"{one.done}" if one.done == one.asked else f"{one.done} of {one.asked} in time"
        if one.asked < race.penalties:
            fitted += f" (every {-(-race.penalties // one.asked)}th)"
        within = f"{one.reached} of {one.done}"
        if one.cut:
            within += f", {one.cut} ended"
        lines.append(f"| {name} | {fitted} | {one.seconds:.1f} | {within} | {_of_all(race, one)} |")
    caption = (
        "Others than fastlin start every fit from zero, with the largest tolerance that came "
        "within the gap; the time of others is not counted. Where they fit a part of the "
        "penalties, the seconds for all of them are those of the part, scaled up."
    )
    if race.limit is not None:
        caption += (
            f" A fit that was not within the gap after {race.limit:g} s was ended, and counts with "
            "that time."
        )
    return [*lines, "", caption, ""]


def summary(path: Path) -> str:
    """Return how long fastlin and the first of the others took in every race, as Markdown."""
    content = _load(path)
    lines = [
        "| rows and penalty | fastlin | with its proof | the first other | times as long |",
        "|---|---|---|---|---|",
    ]
    races = [from_json(race) for race in content["races"]]
    for race in races:
        cells = _path_cells(race) if isinstance(race, PathRace) else _fit_cells(race)
        lines.append(f"| {race.title} | {' | '.join(cells)} |")
    about = content["machine"]
    gaps = {race.gap for race in races if isinstance(race, PathRace)}
    of_paths = f", of the path of penalties within {max(gaps):.0e}" if gaps else ""
    caption = (
        f"Seconds until the objective was within {GOAL:.0e} of the least one{of_paths}; "
        f"{about['cpu']}, {about['simd']}, {content['threads']} threads."
    )
    return "\n".join([*lines, "", caption])


def _fit_cells(race: Race) -> list[str]:
    """Return how fast fastlin was, without proof and with it, who was next, and by how much."""
    firsts = {
        name: stage
        for name, stages in race.stages.items()
        for stage in [next((one for one in stages if race.distance(one) <= GOAL), None)]
        if stage is not None
    }
    ours = firsts.pop(FASTLIN.module, None)
    if ours is None:
        return ["-"] * 4
    proofs = [
        stage.seconds
        for stage in race.stages[FASTLIN.module]
        if stage.proved is not None and stage.proved <= GOAL * race.least
    ]
    cells = [_seconds(ours.seconds), _seconds(proofs[0]) if proofs else "-"]
    if not firsts:
        tried = [
            stages[-1].seconds
            for name, stages in race.stages.items()
            if stages and name != FASTLIN.module
        ]
        longest = max(tried, default=0.0)
        return [*cells, f"none, after {_seconds(longest)} s", f"> {longest / ours.seconds:.1f}"]
    name, first = min(firsts.items(), key=lambda one: one[1].seconds)
    return [
        *cells,
        f"{_seconds(first.seconds)} ({name})",
        f"{first.seconds / ours.seconds:.1f}",
    ]


def _path_cells(race: PathRace) -> list[str]:
    """Return how fast fastlin was, always with a proof, who was next, and by how much."""
    ours = race.found[FASTLIN.module]
    others = {name: one for name, one in race.found.items() if one is not ours and one.done}
    whole = {name: one for name, one in others.items() if one.done == one.reached == one.asked}
    seconds = _seconds(ours.seconds)
    if not others:
        return [seconds, seconds, "none in time", "-"]
    # Of those who ended by themselves before the gap, no time says when they come there.
    able = {
        name: one
        for name, one in others.items()
        if one.cut is None or one.reached + one.cut == one.done
    }
    named = whole or able or others
    name, first = min(named.items(), key=lambda one: _scaled(race, one[1]))
    of_all = _scaled(race, first)
    ratio = f"{of_all / ours.seconds:.1f}"
    if not whole:
        return [seconds, seconds, f"none, after {_seconds(of_all)} s", f"> {ratio}"]
    return [seconds, seconds, f"{_seconds(of_all)} ({name})", ratio]


def _scaled(race: PathRace, one: PathOf) -> float:
    """Return the seconds that all penalties take at the pace of those that were fitted."""
    return one.seconds * race.penalties / one.asked


def _of_all(race: PathRace, one: PathOf) -> str:
    """Return the seconds that all penalties take; at least so many where some were not done."""
    if one.done == 0:
        return "-"
    if one.asked == race.penalties:
        return f"{one.seconds:.1f}"
    scaled = _scaled(race, one)
    bound = "more than " if one.done < one.asked or one.reached < one.done else ""
    return f"{bound}{scaled:.0f} (scaled up)"


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _fits(path: Path) -> list[Race]:
    return [race for race in map(from_json, _load(path)["races"]) if isinstance(race, Race)]
