"""`fastlin plot`: the figures of a run, drawn again from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastlin.commands import options, outcome

if TYPE_CHECKING:
    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.results import History, LinearModel


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@options.data_options(None, "the run's own data")
@options.threads_option()
def plot(
    run: Path, data: str | None, data_dir: Path | None, split: str | None, threads: int | None
) -> None:
    """Draw the figures of the run folder RUN into its figures/ folder."""
    from fastlin import runs

    saved = runs.load_run(run)
    reference = options.override(saved.data, data, split, data_dir)
    loaded = options.load_reference(reference)
    matched = outcome.match(saved.model, reference, loaded, options.console(stderr=True))
    for path in draw_figures(saved.history, saved.model, saved.config, matched, run, threads):
        options.console().print(str(path))


def draw_figures(
    history: History,
    model: LinearModel,
    config: TrainConfig,
    split: Split,
    folder: Path,
    threads: int | None,
) -> list[Path]:
    """Draw every figure that a run has into folder/figures, and return the files.

    The data must be matched with the model. Raises InputError if the folder cannot be written.
    """
    from fastlin import figures, functional, runs
    from fastlin.training import evaluate_matched, gradient_matched

    rows = list(split.parts().values())[-1]  # test rows if there are any
    train = split.train
    with functional.use_threads(threads):
        dW = gradient_matched(model, train, config)
        predictions = evaluate_matched(model, rows, config).predictions
    drawn = {"gradient": figures.gradient_histogram(dW)}
    if len(history) > 0:
        drawn["cost"] = figures.cost_curves(history)
        drawn["accuracy"] = figures.accuracy_curves(history)
    if model.image_shape is not None:
        drawn["templates"] = figures.weight_templates(model.W, model.image_shape, model.class_names)
    K = len(model.class_names)
    counts = functional.confusion_counts(rows.y, predictions, K)
    drawn["confusion"] = figures.confusion_matrix(counts, model.class_names)
    return figures.save_figures(drawn, folder / runs.FIGURES)
