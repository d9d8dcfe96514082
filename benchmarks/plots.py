"""The pictures: speed relative to the fastest rival, the roofline, and the race to the optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from benchmarks.exact_race import Race, Stage
from benchmarks.outcomes import SGEMM, Outcome

_COLOURS = {1: "#1f77b4", 2: "#d62728"}
_OWN = {"fastlin, 1 thread", "scikit-learn"}  # not the same method on the same threads


def speed(outcomes: Sequence[Outcome]) -> Figure | None:
    """Draw, for each case, all speeds relative to the fastest rival's; None without cases."""
    raced = [outcome for outcome in outcomes if set(outcome.speedups) - _OWN]
    if not raced:
        return None
    figure = Figure(figsize=(9, 1.4 + 0.42 * len(raced)), layout="constrained")
    axes = figure.subplots()
    names = sorted({name for outcome in raced for name in outcome.speedups}, key=_place)
    markers = dict(zip(names, cycle("osD^vP*X<>"), strict=False))
    for height, outcome in enumerate(raced):
        best = min(outcome.speedups.values())
        axes.barh(height, best, color=_COLOURS[outcome.threads], alpha=0.85, height=0.6)
        axes.text(max(best, 1), height, f"  {best:.1f}x", va="center", fontsize=8)
    for name in names:
        points = [
            (min(outcome.speedups.values()) / outcome.speedups[name], height)
            for height, outcome in enumerate(raced)
            if name in outcome.speedups
        ]
        axes.plot(
            *np.transpose(points), markers[name], color="black", fillstyle="none", ms=5, label=name
        )
    for threads in sorted({outcome.threads for outcome in raced}):
        label = f"fastlin, {threads} thread{'s' * (threads > 1)}"
        axes.barh(0, 0, color=_COLOURS[threads], label=label)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(raced)), [outcome.title for outcome in raced], fontsize=8)
    axes.set_ylim(len(raced) - 0.4, -0.6)
    axes.set_xlabel("speed relative to the fastest rival")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _place(name: str) -> tuple[int, str]:
    order = ["NumPy twin", "NumPy", "PyTorch", "JAX"]
    return order.index(name) if name in order else len(order), name


def roofline(outcomes: Sequence[Outcome], bandwidths: Mapping[int, float]) -> Figure | None:
    """Draw achieved GFLOP/s over arithmetic intensity below the machine's measured limits.

    Parameters
    ----------
    outcomes : of all cases; those without a count of their work are left out.
    bandwidths : for each number of threads, the measured reading speed of memory in bytes/s.
    """
    counted = [outcome for outcome in outcomes if outcome.gflops and SGEMM in outcome.seconds]
    if not counted:
        return None
    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axes = figure.subplots()
    intensities = [outcome.flop / outcome.bytes for outcome in counted]
    span = np.geomspace(min(intensities) / 4, max(intensities) * 2)
    for threads in sorted({outcome.threads for outcome in counted}):
        group = [outcome for outcome in counted if outcome.threads == threads]
        _draw_threads(axes, group, span, bandwidths[threads])
    for in_cache, fill, label in ((True, "none", "rows in cache"), (False, "full", "whole epoch")):
        if any(outcome.in_cache is in_cache for outcome in counted):
            axes.plot([], [], "o", color="grey", fillstyle=fill, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    axes.set_ylim(min(o.gflops for o in counted) / 1.5, max(o.peak_gflops for o in counted) * 1.3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("arithmetic intensity (FLOP per byte of rows and weights)")
    axes.set_ylabel("GFLOP/s")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _draw_threads(axes: Axes, group: Sequence[Outcome], span: np.ndarray, bandwidth: float) -> None:
    threads = group[0].threads
    colour = _COLOURS[threads]
    peak = float(np.median([outcome.peak_gflops for outcome in group]))
    words = f"{threads} thread{'s' * (threads > 1)}"
    label = f"{words}: sgemm {peak:.0f} GFLOP/s, memory {bandwidth / 1e9:.0f} GB/s"
    span = np.sort([*span, 1e9 * peak / bandwidth])
    axes.plot(span, np.minimum(peak, span * bandwidth / 1e9), color=colour, label=label)
    for outcome in group:
        fill = "none" if outcome.in_cache else "full"
        intensity = outcome.flop / outcome.bytes
        axes.plot(intensity, outcome.gflops, "o", color=colour, fillstyle=fill)


# Okabe and Ito's colours, which colour-blind readers can tell apart; each with a marker of its own.
_LINES = {
    "fastlin": ("#D55E00", "o"),
    "scikit-learn lbfgs, float32": ("#56B4E9", "s"),
    "scikit-learn lbfgs, float64": ("#0072B2", "D"),
    "scikit-learn-intelex lbfgs, float32": ("#CC79A7", "^"),
    "scikit-learn-intelex lbfgs, float64": ("#8A4B6E", "v"),
    "PyTorch LBFGS, float32": ("#009E73", "P"),
}
_OTHER_LINE = ("#555555", "X")
_LEAST_DISTANCE = 1e-10  # what the proof of the least objective leaves open


def distances(races: Sequence[Race]) -> Figure | None:
    """Draw, for each race, the distance to the least objective over seconds; None without races."""
    raced = [race for race in races if any(race.stages.values())]
    if not raced:
        return None
    columns = min(len(raced), 2)
    rows = -(-len(raced) // columns)
    figure = Figure(figsize=(4.6 * columns, 0.7 + 3.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, race in zip(panels, raced, strict=False):
        for name, stages in race.stages.items():
            _draw_distances(axes, race, name, stages)
        axes.set_title(race.title, fontsize=8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in panels[len(raced) :]:
        axes.set_visible(False)
    figure.supxlabel("seconds", fontsize=9)
    figure.supylabel("relative distance to the least objective", fontsize=9)
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=min(columns + 1, 3),
        fontsize=8, frameon=False,
    )  # fmt: skip
    return figure


def _draw_distances(axes: Axes, race: Race, name: str, stages: Sequence[Stage]) -> None:
    """Draw the best that a contestant had after so many seconds."""
    points: list[tuple[float, float]] = []
    for stage in sorted(stages, key=lambda stage: stage.seconds):
        distance = max(race.distance(stage), _LEAST_DISTANCE)
        if not points or distance < points[-1][1]:
            points.append((stage.seconds, distance))
    if not points:
        return
    colour, marker = _LINES.get(name, _OTHER_LINE)
    is_own = name == "fastlin"
    axes.plot(
        *np.transpose(points), marker=marker, ms=4.5, color=colour, label=name,
        linewidth=2 if is_own else 1.2, zorder=3 if is_own else 2,
    )  # fmt: skip


class Growth(NamedTuple):
    """What rows of one kind take, by their number, where they are in memory or in a file.

    Attributes
    ----------
    title : str
    rows : list[int]
    seconds : dict[str, list[float]]
        By what is done.
    megabytes : list[float]
        The peak.
    """

    title: str
    rows: list[int]
    seconds: dict[str, list[float]]
    megabytes: list[float]


def growth(found: Sequence[Growth]) -> Figure:
    """Draw seconds and memory over the number of rows, and what a proportional time would be."""
    names = list(found[0].seconds)
    figure = Figure(figsize=(10, 4), layout="constrained")
    *of_times, of_memory = figure.subplots(1, len(names) + 1)
    for one, (colour, marker) in zip(found, cycle(_LINES.values()), strict=False):
        drawn = {"marker": marker, "ms": 4.5, "color": colour}
        for axes, name in zip(of_times, names, strict=True):
            seconds = one.seconds[name]
            axes.plot(one.rows, seconds, **drawn)
            proportional = np.array(one.rows) / one.rows[-1] * seconds[-1]
            axes.plot(one.rows, proportional, ":", color="grey", linewidth=1)
        of_memory.plot(one.rows, one.megabytes, label=one.title, **drawn)
    of_memory.plot([], [], ":", color="grey", label="in proportion to the rows")
    titles = [*names, "peak of memory"]
    for axes, title in zip((*of_times, of_memory), titles, strict=True):
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rows")
        axes.set_ylabel("MB" if axes is of_memory else "seconds")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
