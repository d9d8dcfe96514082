"""`fastlin evaluate`: a saved classifier on labelled data."""

from __future__ import annotations

from pathlib import Path

import click

from fastlin.commands import options, outcome


@click.command()
@click.argument("run", type=options.PLACE)
@options.data_options(None, "the run's own data")
@options.weights_option()
@options.threads_option()
def evaluate(
    run: Path,
    data: str | None,
    data_dir: Path | None,
    split: str | None,
    weights: str,
    threads: int | None,
) -> None:
    """Print cost and accuracy of the classifier in the run folder RUN on its data."""
    from rich.table import Table

    from fastlin import runs
    from fastlin.functional import use_threads
    from fastlin.training.evaluation import evaluate_matched

    saved = runs.load_run(run)
    reference = options.override(saved.data, data, split, data_dir)
    model = saved.model if weights == "last" else saved.best_model
    loaded = options.load_reference(reference)
    matched = outcome.match(model, reference, loaded, options.console(stderr=True))
    table = Table("", "rows", "cost", "accuracy")
    with use_threads(threads):
        for part, rows in matched.parts().items():
            found = evaluate_matched(model, rows, saved.config)
            table.add_row(part, f"{len(rows):,}", f"{found.cost:.4f}", f"{found.accuracy:.2%}")
    options.print_table(options.console(), table)
