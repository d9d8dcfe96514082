"""What `fastlin grid` prints: how far the search is, and the ranking at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastlin.commands import options
from fastlin.config import TrainConfig

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from fastlin.search.progress import GridProgress
    from fastlin.search.ranking import GridResult

SHOWN_ENTRIES = 10


@contextmanager
def progress_shown(
    notes: Console, configs: tuple[TrainConfig, ...], select: str
) -> Iterator[Callable[[GridProgress], None]]:
    """Yield what is called after every epoch: a table that lives, or lines where none can."""
    from rich.live import Live

    from fastlin.search.ranking import swept_settings, values_text

    swept = swept_settings(configs)

    def leader(progress: GridProgress) -> str:
        if progress.best is None:
            return "none"
        is_accuracy = select == "val_accuracy"
        score = f"{progress.score:.2%}" if is_accuracy else f"{progress.score:.4f}"
        name = f"val. {select.removeprefix('val_')}"
        return f"{name} {score} ({values_text(configs[progress.best], swept)})"

    if notes.is_terminal:
        with Live(console=notes, transient=True, refresh_per_second=8) as live:
            live.update(_live_table(None, len(configs), "none yet"))
            yield lambda progress: live.update(
                _live_table(progress, len(configs), leader(progress))
            )
        return

    def line(progress: GridProgress) -> None:
        every = max(1, progress.epochs // 10)
        if progress.epoch % every == 0 or progress.epoch == progress.epochs:
            notes.print(
                f"epoch {progress.epoch}/{progress.epochs}  {_counts(progress)}  "
                f"best {leader(progress)}  {progress.seconds_left:.0f} s left"
            )

    yield line


def _counts(progress: GridProgress) -> str:
    ended = (
        ("finished", progress.finished),
        ("stopped early", progress.stopped),
        ("diverged", progress.diverged),
    )
    in_training = progress.entries - sum(count for _, count in ended)
    parts = [f"{count} {name}" for name, count in (("in training", in_training), *ended) if count]
    return f"{progress.entries} entries: {', '.join(parts)}"


def _live_table(progress: GridProgress | None, count: int, best: str) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    if progress is None:
        table.add_row("entries", f"{count}: loading kernels, first epoch")
        return table
    table.add_row("entries", _counts(progress))
    bar = ProgressBar(progress.epochs, progress.epoch, width=24)
    table.add_row("epoch", f"{progress.epoch} of {progress.epochs}", bar)
    table.add_row("best so far", best)
    table.add_row("time", f"{progress.seconds:.0f} s, {progress.seconds_left:.0f} s left")
    return table


def print_ranking(console: Console, result: GridResult, name: str, val_rows: int) -> None:
    """Print which entries of the grid of that name were stopped early, and the best ones."""
    import numpy as np
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from fastlin.report.wording import noise_note
    from fastlin.search.ranking import value_text, within_noise

    stops = [
        f"{len(rung.stopped)} after epoch {rung.epoch}" for rung in result.rungs if rung.stopped
    ]
    if stops:
        total = sum(len(rung.stopped) for rung in result.rungs)
        console.print(
            f"Stopped early: {total} of {len(result.entries)} entries; {', '.join(stops)}"
        )
    if result.trained_on:
        indices = ", ".join(map(str, result.trained_on))
        console.print(f"Of these, trained to the end as they might have won: entries {indices}")
    shown = result.ranked()[:SHOWN_ENTRIES]
    console.print(f"Best {len(shown)} of {len(result.entries)} by {result.rule}, {name}:")
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    metric = result.ranked_by.metric
    chosen_by = [] if metric is None else [f"val. {metric.title}"]
    for heading in (
        "rank", "entry", *result.swept, *chosen_by, "val. accuracy", "val. cost", "epoch",
    ):  # fmt: skip
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("status")
    table.add_column("against\nthe winner")
    records = [entry.record for entry in shown]
    accuracies = np.array([record.val_accuracy if record else np.nan for record in records])
    by_accuracy = result.ranked_by.select == "val_accuracy"  # of others no noise is known
    is_close = within_noise(accuracies, accuracies[0], val_rows if by_accuracy else None)
    for rank, (entry, record) in enumerate(zip(shown, records, strict=True), start=1):
        settings = entry.config.to_dict()
        status: str = entry.status
        if entry.diverged_epoch is not None:
            status += f" in epoch {entry.diverged_epoch}"
        table.add_row(
            str(rank),
            str(entry.index),
            *(value_text(settings[name]) for name in result.swept),
            *([] if metric is None else [metric.text(entry.score) if record else ""]),
            f"{record.val_accuracy:.2%}" if record else "",
            f"{record.val_cost:.4f}" if record else "",
            str(entry.epoch),
            status,
            "within noise" if is_close[rank - 1] and rank > 1 else "",
        )
    options.print_table(console, table)
    if is_close[1:].any():
        console.print(noise_note(accuracies[0], val_rows))
