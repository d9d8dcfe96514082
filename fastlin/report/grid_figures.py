"""The figures of a grid folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlin import runs
from fastlin.data.dataset import Split
from fastlin.report.wording import footer
from fastlin.search.ranking import GridResult, values_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CELLS = 30  # rows or columns of a heat map that one can still read


def draw_grid(
    result: GridResult,
    split: Split,
    folder: Path,
    on_failure: Callable[[str], None] | None = None,
    remark: str = "",
) -> list[Path]:
    """Draw the figures of a grid into folder/figures, and return the files.

    The validation curves of all entries, a heat map for each pair of settings of which lists were
    searched, parallel coordinates where three or more settings differ, and the accuracy over each
    setting if one was drawn from a range or is searched alone.

    Parameters
    ----------
    result : GridResult
    split : Split
        What was trained on.
    folder : Path
        The grid folder.
    on_failure : Callable[[str], None] or None
        Called with a line for each figure that cannot be drawn; see
        `fastlin.figures.save_figures`.
    remark : str
        What is said of the numbers at the foot of every figure.

    Raises
    ------
    InputError
        If the folder cannot be made.
    """
    from fastlin import figures  # noqa: PLC0415  (loads matplotlib)

    entries, swept = result.entries, result.swept
    accuracy = np.array([e.record.val_accuracy if e.record else np.nan for e in entries])
    settings = [entry.config.to_dict() for entry in entries]
    columns = {name: [_comparable(setting[name]) for setting in settings] for name in swept}
    rows = len(split.val) if split.val is not None else None
    curves = [
        (values_text(entry.config, swept), entry.history.epoch, 100 * entry.history.val_accuracy)
        for entry in entries
        if len(entry.history) > 0
    ]
    place = sum(len(entry.history) > 0 for entry in entries[: result.winner])
    unit = "validation accuracy (%)"
    lists = {name: found for name, found in columns.items() if not figures.has_many_values(found)}
    drawn = _heat_maps(lists, accuracy, rows, is_best_of_others=len(columns) > 2)
    if len(lists) < len(columns):
        drawn["settings"] = partial(
            figures.score_by_setting, columns, 100 * accuracy, unit, result.winner, rows
        )
    drawn["curves"] = partial(figures.curve_overlay, curves, place, unit)
    if len(columns) >= 3:
        drawn["parallel"] = partial(figures.parallel_coordinates, columns, 100 * accuracy, unit)
    foot = footer(split.name, ["val"], result.best.config.to_dict(), swept=swept, remark=remark)
    with_foot = {
        name: partial(lambda draw: figures.with_footer(draw(), foot), draw)
        for name, draw in drawn.items()
    }
    return figures.save_figures(with_foot, folder / runs.FIGURES, on_failure)


def _comparable(value: Any) -> Any:
    """Return a number as it is, and any other value as text, so that values have an order."""
    return value if isinstance(value, int | float) else str(value)


def _heat_maps(
    columns: Mapping[str, list[Any]],
    accuracy: NDArray[np.float64],
    rows: int | None,
    *,
    is_best_of_others: bool,
) -> dict[str, Callable[[], Figure]]:
    """Return what draws the heat map of each pair of settings of which lists were searched."""
    from fastlin import figures  # noqa: PLC0415  (loads matplotlib)

    title = "validation accuracy"
    title += ", best over the other settings" if is_best_of_others else ""
    drawn: dict[str, Callable[[], Figure]] = {}
    for pair in combinations(columns, 2):
        down, across = (len(set(columns[name])) for name in pair)
        if max(down, across) <= MAX_CELLS and down * across <= 2 * len(accuracy):
            shown = {name: columns[name] for name in pair}
            name = "heat-" + "-".join(pair)
            drawn[name] = partial(figures.grid_heat_map, shown, accuracy, title, rows)
    return drawn
