"""Options that say on which rows a classifier is fitted, and what a refit prints."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from fastlin.commands import command_lines, options, outcome, process
from fastlin.errors import InputError
from fastlin.fitting import DEFAULT_DRAWS, MOST_REPEATS, Fitting, check_calibrates_alone

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.data.source import DataReference
    from fastlin.search.ranking import GridResult
    from fastlin.search.request import SearchRequest
    from fastlin.training.trainer import Trainer, TrainResult

Given = dict[str, Any]  # the options that were given, by name


def fit_options(*, shots: bool) -> options.Decorator:
    """Add --refit, --calibrate and --cv, and for one run --shots, --draws and --select.

    The command gets one argument for those that were given, `fit`.
    """
    added: list[options.Decorator] = [
        click.option(
            "--refit/--no-refit",
            default=None,
            help="Fit the classifier again on training and validation rows, with the same "
            "settings, or not. --l2 counts per row, so it stays as it is.  [default: no-refit]",
        ),
        click.option(
            "--calibrate/--no-calibrate",
            default=None,
            help="Fit a temperature on the validation rows, by which scores are divided before "
            "they become probabilities (softmax); it changes no predictions.  "
            "[default: no-calibrate]",
        ),
        click.option(
            "--cv",
            type=click.IntRange(2, MOST_REPEATS),
            metavar="K",
            help="Divide training and validation rows into K folds, evenly by class; judge "
            "settings by the folds that are held out in turn, and fit them on all rows. It also "
            "writes out-of-fold probabilities and likely wrong labels.",
        ),
    ]
    if shots:
        added += [
            options.select_option("Take as the best epoch the one with the best such measure"),
            click.option(
                "--shots",
                type=click.IntRange(1),
                metavar="N",
                help="Train on N training rows of every class, drawn with --seed, several times, "
                "and give mean and interval over the draws.",
            ),
            click.option(
                "--draws",
                type=click.IntRange(1, MOST_REPEATS),
                metavar="N",
                help=f"How often --shots draws.  [default: {DEFAULT_DRAWS}]",
            ),
        ]
    names = ("refit", "calibrate", "cv", *(("shots", "draws", "select") if shots else ()))

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_fit(*arguments: Any, **given: Any) -> Any:
            fit = {name: given.pop(name) for name in names}
            named = {name: value for name, value in fit.items() if value is not None}
            return command(*arguments, fit=named, **given)

        found: Callable[..., Any] = with_fit
        for option in reversed(added):
            found = option(found)
        return found

    return decorate


def fitting_of(fit: Given, config: TrainConfig, saved: Fitting) -> Fitting:
    """Return on which rows to fit: options where given, then what a run did before.

    A refit is for all epochs of the settings, unless that run did it for fewer.
    """
    kinds = [name for name in ("refit", "cv", "shots") if fit.get(name)]
    if len(kinds) > 1:
        raise InputError(f"--{kinds[0]} has no effect with --{kinds[1]}; leave one of them out")
    before = {"refit": saved.refit_epochs, "cv": saved.cv, "shots": saved.shots}
    kind = next(iter(kinds), next((name for name, value in before.items() if value), None))
    if kind == "refit" and fit.get("refit") is False:
        kind = None
    if "draws" in fit and kind != "shots":
        raise InputError("--draws has a meaning only beside --shots")
    calibrate = fit.get("calibrate", saved.calibrate)
    check_calibrates_alone([kind] if kind else [], calibrate=calibrate)
    if kind in {"cv", "shots"} and "select" in fit:
        raise InputError(f"--select has no effect with --{kind}; leave one of them out")
    select = fit.get("select", saved.select)
    if kind == "refit":
        epochs = min(saved.refit_epochs or config.epochs, config.epochs)
        return Fitting(refit_epochs=epochs, select=select)
    if kind == "cv":
        return Fitting(cv=fit.get("cv", saved.cv))
    if kind == "shots":
        draws = fit.get("draws", saved.draws or DEFAULT_DRAWS)
        return Fitting(shots=fit.get("shots", saved.shots), draws=draws)
    return Fitting(calibrate=calibrate, select=select)


def check_rows(fitting: Fitting, split: Split, losses: Sequence[object] = ()) -> None:
    """Raise InputError if a split lacks rows that are to be fitted on, by such losses."""
    from fastlin.data.joining import check_can_refit
    from fastlin.data.splits import check_fold_count
    from fastlin.training.selection import check_can_select

    check_can_select(split, f"val_{fitting.select}", losses)
    if fitting.shots is not None:
        from fastlin.training.few_shots import check_few_shots

        check_few_shots(split, fitting.shots, fitting.draws or DEFAULT_DRAWS)
    if fitting.refit_epochs is not None:
        check_can_refit(split)
    if fitting.calibrate:
        from fastlin.training.calibration import check_can_calibrate

        check_can_calibrate(split, losses)
    if fitting.cv is None:
        return
    check_fold_count(len(split.train) + (0 if split.val is None else len(split.val)), fitting.cv)
    if split.source is not None and split.source.val_fraction is not None:
        raise InputError(
            "--val-fraction has no effect with --cv, which holds every row out once; leave one out"
        )


def rows_to_search(
    request: SearchRequest, at: str, losses: Sequence[object]
) -> tuple[Split, str | None]:
    """Return the data of a search, and what is said of rows that are held out of it.

    Raises InputError if there are too few rows, or folds exclude what else is asked for.
    """
    from fastlin.search.search import with_validation

    loaded = options.load_reference(request.data)
    if request.cv is None:
        split, held_out = with_validation(loaded)
        check_rows(Fitting(calibrate=request.calibrate), split, losses)
        return split, held_out
    if at == "best":
        raise InputError(
            "--at best has no effect with --cv; search numbers of epochs, such as --epochs 5,10,20"
        )
    check_rows(Fitting(cv=request.cv), loaded)
    return loaded, None


def refitted(
    trainer: Trainer, fitting: Fitting, notes: Console
) -> tuple[TrainResult, str, KeyboardInterrupt | None]:
    """Return a finished result, its status, and the stop; fitted again or calibrated if asked for.

    One that diverges or is interrupted then is as it was before.
    """
    from fastlin.errors import DivergedError
    from fastlin.training.calibration import with_calibration
    from fastlin.training.refit import refit

    result, split, threads = trainer.result(), trainer.split, trainer.threads
    if fitting.refit_epochs is None and not fitting.calibrate:
        return result, "finished", None
    try:
        with outcome.compiling(notes), options.data_notes():
            if fitting.calibrate:
                return with_calibration(result, split, threads), "finished", None
            again = refit(result, split, epochs=fitting.refit_epochs, threads=threads)
    except DivergedError as error:
        notes.print(f"On training and validation rows, {error} (--lr {error.smaller_lr:g})")
        return result, "diverged", None
    except KeyboardInterrupt as stop:
        process.heed()
        notes.print("Interrupted; keeping the classifier of the training rows alone")
        return result, "interrupted", stop
    return again, "finished", None


def run_of_winner(
    result: GridResult, split: Split, request: SearchRequest, threads: int, notes: Console
) -> TrainResult:
    """Return the winner of a grid as a run, fitted again or calibrated if that is asked for.

    If that diverges, it is said, and the winner is as it was before.
    """
    from fastlin.errors import DivergedError
    from fastlin.search import winner

    if request.calibrate:
        with outcome.compiling(notes):
            result = winner.with_temperatures(result, split, threads)
    if request.refit:
        try:
            with outcome.compiling(notes), options.data_notes():
                result = winner.with_refit(result, split, threads)
        except DivergedError as error:
            notes.print(f"On training and validation rows, {error} (--lr {error.smaller_lr:g})")
    return winner.run_of_winner(result)


def command_of(
    run: TrainResult, reference: DataReference, config: TrainConfig, folder: Path
) -> str:
    """Return the `fastlin train` command that gives the winner of a search, which is in a folder.

    Where a refit was for fewer epochs than there are, no options say so: config.json does.
    """
    from fastlin.runs import CONFIG
    from fastlin.training.selection import DEFAULT_SELECT

    if run.refit is not None and run.refit.epochs < run.config.epochs:
        return shlex.join(["fastlin", "train", "--config", str(folder / CONFIG)])
    words = [command_lines.train_command(reference, config)]
    if run.refit is not None:
        words.append("--refit")
    if run.calibration is not None:
        words.append("--calibrate")
    if run.select != DEFAULT_SELECT:
        words.append(f"--select {run.select.removeprefix('val_')}")
    return " ".join(words)


def print_fit(
    console: Console, result: TrainResult, evaluations: dict[str, Any], which: str = "last"
) -> None:
    """Print what was fitted again, and what that reaches; and the temperature of an epoch."""
    from fastlin.training.calibration import notes_on

    if result.calibration is not None:
        console.print(f"Calibrated ({which} epoch): {result.calibration[which]}", markup=False)
        for note in notes_on(result):
            outcome.print_note(console, note)
    if result.refit is None:
        return
    console.print(f"Refit: {result.refit.note()}")
    test = evaluations["refit"].get("test")
    if test is not None:
        console.print(f"Test accuracy after the refit: {test['accuracy']:.2%}")
