"""What the study leaves: lines per case on the terminal, a file per processor, table and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, plots
from benchmarks.cases import Settings
from benchmarks.outcomes import FASTLIN, SGEMM, Metric, Outcome, Result

# How files of the other races begin, which lie beside these.
OF_EXACT, OF_ESTIMATORS = "exact-", "estimators-"


def summary(outcome: Outcome) -> str:
    """Return what a case found, its goals beside it, as a few lines for the terminal."""
    disturbed = sum(outcome.disturbed)
    note = f"  [{disturbed} of {len(outcome.disturbed)} rounds disturbed]" if disturbed else ""
    times = ", ".join(f"{name} {_time_of(name, outcome)}" for name in outcome.seconds)
    speed = ""
    if outcome.flop:
        speed = (
            f"\n    {outcome.gflops:.0f} of {outcome.peak_gflops:.0f} GFLOP/s"
            f" ({outcome.share_of_peak:.0%})"
        )
        speed += "".join(f", {ratio:.2f}x {name}" for name, ratio in outcome.speedups.items())
    goals = "".join(f"\n    {_goal(result)}" for result in outcome.results)
    threads = f"{outcome.threads} thread{'s' * (outcome.threads > 1)}"
    head = ", ".join(filter(None, (threads, outcome.source)))
    failures = "".join(f"\n    {name} left out: {why}" for name, why in outcome.left_out.items())
    return f"{outcome.name} ({head}){note}\n    {times}{speed}{failures}{goals}"


def write(folder: Path, outcomes: Sequence[Outcome], settings: Settings) -> Path:
    """Write results into a folder, made if need be, and return their file, named by the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    threads = sorted({outcome.threads for outcome in outcomes if outcome.peak_gflops})
    bandwidths = {count: machine.read_bandwidth(count) for count in threads}
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "rounds": settings.rounds,
        "quick": settings.quick,
        "read_bandwidth": {str(count): value for count, value in bandwidths.items()},
        "cases": [outcome.to_dict() for outcome in outcomes],
    }
    path = folder / f"{machine.slug(results['machine'])}.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return path


def where(content: dict[str, Any]) -> str:
    """Return on which machine, with what, the races of a file were run."""
    about = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['cpu']}, {about['cores']} cores, {about['simd']}; {content['threads']} threads; "
        f"Python {about['python']}, {versions}."
    )


def latest(folder: Path) -> Path:
    """Return the file of the machine that was measured last.

    Raises
    ------
    FileNotFoundError
        If there are no results.
    """
    dates = {path: json.loads(path.read_text("utf-8"))["date"] for path in files(folder)}
    if not dates:
        raise FileNotFoundError(f"{folder} has no results; python -m benchmarks makes them")
    return max(dates, key=lambda path: datetime.fromisoformat(dates[path]).replace(tzinfo=UTC))


def files(folder: Path) -> list[Path]:
    """Return the files of results in a folder, one a machine: not those of other races."""
    others = (OF_EXACT, OF_ESTIMATORS)
    return [path for path in folder.glob("*.json") if not path.name.startswith(others)]


def illustrate(path: Path) -> str:
    """Write table.md and the plots beside a file of results; return the table."""
    results = json.loads(path.read_text(encoding="utf-8"))
    outcomes = [Outcome.from_dict(case) for case in results["cases"]]
    bandwidths = {int(count): value for count, value in results["read_bandwidth"].items()}
    text = table(results["machine"], outcomes)
    (path.parent / "table.md").write_text(text, encoding="utf-8")
    for name, figure in (
        ("speed.png", plots.speed(outcomes)),
        ("roofline.png", plots.roofline(outcomes, bandwidths)),
    ):
        if figure is not None:
            figure.savefig(path.parent / name, dpi=150)
    return text


def table(described: dict[str, Any], outcomes: Sequence[Outcome]) -> str:
    """Return the Markdown table of all cases, with the machine above it."""
    kernels = ", ".join(f"{blas['library']} ({blas['kernel']})" for blas in described["blas"])
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    rows = [
        "| case | threads | fastlin | best rival | ratio | GFLOP/s | share of sgemm peak |",
        "|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(_cells(outcome))} |" for outcome in outcomes),
    ]
    return (
        f"{described['cpu']}, {described['cores']} cores, {described['simd']}; BLAS: {kernels}; "
        f"Python {described['python']}, {versions}.\n\n" + "\n".join(rows) + "\n"
    )


def _cells(outcome: Outcome) -> list[str]:
    rival = outcome.best_rival()
    versus = ["", ""]
    if rival is not None:
        versus = [f"{rival}, {_time_of(rival, outcome)}", f"{outcome.speedups[rival]:.2f}x"]
    speed = ["", ""]
    if outcome.flop:
        speed = [f"{outcome.gflops:.0f}", f"{outcome.share_of_peak:.0%}"]
    ours = _time_of(FASTLIN, outcome)
    return [outcome.title, str(outcome.threads), ours, *versus, *speed]


def _goal(result: Result) -> str:
    def show(value: float) -> str:
        return f"{value:.0%}" if result.metric == Metric.SHARE_OF_PEAK else f"{value:.2f}"

    values = f"bar {show(result.bar)}, stretch {show(result.stretch)}"
    return f"{show(result.value)} {result.metric}: {result.verdict()} ({values})"


def _time_of(name: str, outcome: Outcome) -> str:
    """Return a contestant's median time for one step, epoch, run or process."""
    seconds = outcome.seconds[name] / (outcome.steps if name != SGEMM else 1)
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
