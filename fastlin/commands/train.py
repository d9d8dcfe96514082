"""`fastlin train`: the main job, from data to a table, weights and pictures."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastlin.commands import ahead, fit_options, options, outcome, process, setting_options
from fastlin.commands.study import Study
from fastlin.config import TrainConfig
from fastlin.errors import InputError
from fastlin.fitting import Fitting
from fastlin.losses import with_parameters

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.data.source import DataReference
    from fastlin.history import EpochRecord
    from fastlin.training.trainer import Trainer, TrainResult

DEFAULT_DATA = "cifar10-mini"


@click.command()
@options.data_options(DEFAULT_DATA)
@setting_options.settings_options()
@fit_options.fit_options(shots=True)
@options.threads_option()
@options.eval_train_option()
@click.option(
    "--config",
    "config_path",
    type=options.PLACE,
    help="A run's config.json: run it again; options given beside it take precedence.",
)
@click.option("--out", type=options.PLACE, help="Run folder  [default: runs/DATA-1, -2, ...]")
@click.option(
    "--figures/--no-figures", default=True, help="Draw figures into the run folder, or not."
)
@click.pass_context
def train(
    ctx: click.Context,
    /,
    data: options.Data,
    fit: fit_options.Given,
    threads: int | None,
    eval_train_every: int,
    config_path: Path | None,
    out: Path | None,
    figures: bool,
    **settings: Any,
) -> None:
    """Train a linear classifier, evaluate it, and draw what it learned.

    With no option at all it trains on cifar10-mini, 2,000 images that come with fastlin.
    Results go to a run folder: config.json, history.csv, model.npz, summary.json, figures/.
    """
    started = time.perf_counter()
    reference, config, fitting = _what_to_run(data, fit, config_path, settings)
    notes = options.console(stderr=True)
    loaded = options.load_reference(reference)
    fit_options.check_rows(fitting, loaded, [config.loss])
    if fitting.cv or fitting.shots:
        several = Study(reference, config, fitting, loaded, threads, eval_train_every)
        ctx.exit(several.run(out, notes, started, figures=figures))
    from fastlin import runs
    from fastlin.training.trainer import Trainer

    preparing = time.perf_counter()
    with outcome.compiling(notes):
        outcome.compile_moments(loaded, config)
    compile_seconds = time.perf_counter() - preparing
    trainer = Trainer(loaded, config, threads, f"val_{fitting.select}", eval_train_every)
    begun = runs.config_content(replace(reference, sha256=None), trainer.config, fitting)
    folder = outcome.new_folder(out, loaded.name, runs.CONFIG, begun)
    # The fingerprint takes a while: it is computed beside training, and written at the end.
    compared = (reference, loaded, notes)
    hashing = threading.Thread(target=outcome.note_if_changed, args=compared, daemon=True)
    hashing.start()
    beside = ahead.of_run(ctx, trainer)
    result, status, stop = _train(trainer, fitting, notes, beside)
    try:
        with process.writing_results():
            hashing.join()
            reference = replace(reference, sha256=loaded.fingerprint())
            summary = runs.write_run(
                folder, reference, result, loaded, status, trainer.threads,
                compile_seconds=compile_seconds, started=started,
            )  # fmt: skip
        outcome.print_heading(loaded.name, config, result.config)
        _print_result(result, summary["results"], folder)
        outcome.print_advice(result, loaded, notes)
        drawn = 0.0, 0.0
        if figures and stop is None:  # who stops a command does not want to wait for pictures
            drawn = outcome.draw(result, loaded, folder, trainer.threads, notes, beside.wait)
        outcome.save_times(folder, summary, drawn, started)
    except KeyboardInterrupt as error:
        stop = error
        notes.print(f"Interrupted; the results are in {folder}, figures may be missing")
    ctx.exit(int(status == "diverged") if stop is None else process.exit_code(stop))


def _what_to_run(
    data: options.Data,
    fit: fit_options.Given,
    config_path: Path | None,
    settings: dict[str, Any],
) -> tuple[DataReference, TrainConfig, Fitting]:
    """Return data, settings and the rows to fit on.

    Options count where given, then --config, then the defaults.
    """
    from fastlin import runs

    given, parameters = setting_options.given_with_parameters(settings)
    if config_path is None:
        reference = options.reference_of({"data": DEFAULT_DATA} | data)
        config, saved = TrainConfig(**given), Fitting()
    else:
        reference, config, saved = runs.load_configuration(config_path)
        if saved.gap is not None:
            command = "fit" if saved.as_probe(config.penalty_factor) is None else "probe"
            raise InputError(
                f"{config_path} is of an exact fit; fit it again with fastlin {command} --config"
            )
        config = replace(config, **given)
        reference = options.override(reference, data)
    config = replace(config, loss=with_parameters([config.loss], parameters)[0])
    options.refuse_without_effect(given, [config])
    if "epochs" in given and saved.refit_epochs is not None:
        saved = replace(saved, refit_epochs=config.epochs)
    return reference, config, fit_options.fitting_of(fit, config, saved)


def _train(
    trainer: Trainer, fitting: Fitting, notes: Console, beside: ahead.Beside
) -> tuple[TrainResult, str, KeyboardInterrupt | None]:
    """Train all epochs or up to what stops it; return the result, its status, and the stop."""
    from fastlin.errors import DivergedError, counted

    skipped = "; not calibrated" if fitting.calibrate else ""
    for note in trainer.notes:
        outcome.print_note(notes, note)
    try:
        with outcome.compiling(notes, beside.start):
            trainer.compile()
        _run_epochs(trainer, notes)
    except DivergedError as error:
        notes.print(f"{error} (--lr {error.smaller_lr:g}){skipped}")
        return trainer.result(), "diverged", None
    except KeyboardInterrupt as stop:
        process.heed()
        kept = f"keeping {counted(trainer.epochs_done, 'finished epoch')}, without figures"
        notes.print(f"Interrupted; {kept}{skipped}")
        return trainer.result(), "interrupted", stop
    return fit_options.refitted(trainer, fitting, notes)


def _run_epochs(trainer: Trainer, notes: Console) -> None:
    """Train all epochs, with a progress bar on a terminal and a line now and then elsewhere."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    epochs, rows = trainer.config.epochs, len(trainer.split.train)
    columns = (
        TextColumn("epoch", markup=False),
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    every = max(1, epochs // 10)
    with Progress(
        *columns, console=notes, transient=True, disable=not notes.is_terminal
    ) as progress:
        task = progress.add_task("", total=epochs, figures="")
        for _ in range(epochs):
            record = trainer.run_epoch()
            speed = rows * record.epoch / trainer.seconds.train
            figures = f"{_describe(record)}  {speed:,.0f} samples/s".lstrip()
            progress.update(task, advance=1, figures=figures)
            if not notes.is_terminal and (record.epoch % every == 0 or record.epoch == epochs):
                notes.print(f"epoch {record.epoch}/{epochs}  {figures}")


def _describe(record: EpochRecord) -> str:
    from fastlin.history import measured_parts

    return "  ".join(
        f"{part} {cost:.4f} {accuracy:6.2%}" for part, cost, accuracy in measured_parts(record)
    )


def _print_result(
    result: TrainResult,
    evaluations: dict[str, dict[str, dict[str, float]]],
    folder: Path,
) -> None:
    """Print what was found, and where it is."""
    from rich.table import Table

    from fastlin.metrics import measure_text
    from fastlin.training.selection import DEFAULT_SELECT

    console, last, best = options.console(), len(result.history), result.best_epoch
    table = Table("")
    for heading in (f"last epoch ({last})", "", f"best epoch ({best})", ""):
        table.add_column(heading, justify="right")
    table.add_row("", "cost", "accuracy", "cost", "accuracy", style="dim")
    for part, title in (("train", "train"), ("val", "validation"), ("test", "test")):
        if part in evaluations["last"]:
            cells = [evaluations[which][part] for which in ("last", "best")]
            values = [f for c in cells for f in (_cost_text(c["cost"]), f"{c['accuracy']:.2%}")]
            table.add_row(title, *values)
    options.print_table(console, table)
    if result.select != DEFAULT_SELECT:
        console.print(f"The best epoch is that of the best {measure_text(result.select)}")
    fit_options.print_fit(console, result, evaluations)
    console.print(f"Run folder: {folder}")


def _cost_text(cost: float | None) -> str:
    """Return a cost with four digits; None stands for one that the dtype cannot hold."""
    return "not finite" if cost is None else f"{cost:.4f}"
