"""What commands share: waiting, matching a run with data, and what is told of a finished run."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastlin import compilation
from fastlin.commands import command_lines
from fastlin.config import SETTINGS
from fastlin.errors import InputError, reason_of
from fastlin.settings import AUTO

SECONDS_BETWEEN_LINES = 2.0  # of progress
PROBE = "probe.json"  # what `fastlin probe` was asked for

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.compilation import Compiling
    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.data.source import DataReference
    from fastlin.fitting import Fitting
    from fastlin.model import LinearModel
    from fastlin.runs import Run
    from fastlin.summaries import Study
    from fastlin.training.trainer import TrainResult


def load_run(folder: Path) -> Run:
    """Do `runs.load_run`; of the folder of a search, or of one that was stopped, say what to give.

    Raises InputError as that does.
    """
    from fastlin import files, runs
    from fastlin.search import request

    try:
        return runs.load_run(folder)
    except files.MissingFileError as error:
        if (folder / request.WINNER / runs.CONFIG).exists():
            where = f"this is the folder of a search; its winner is {folder / request.WINNER}"
            raise InputError(where) from None
        for command, saved in (("grid", request.REQUEST), ("probe", PROBE)):
            if (folder / saved).exists():
                again = f"fastlin {command} --resume {shlex.quote(str(folder))}"
                raise InputError(f"{error}, as nothing is chosen so far; go on: {again}") from None
        raise


def compiling(
    notes: Console, at_first: Callable[[], object] | None = None
) -> AbstractContextManager[Compiling]:
    """Print it once if the body compiles a kernel, and count the seconds that it does.

    at_first is called then, too: it may start what else is to be done meanwhile.
    """

    def say(text: str) -> None:
        notes.print(text)
        if at_first is not None:
            at_first()

    return compilation.compiling(say)


def now_and_then(notes: Console, describe: Callable[[Any], str]) -> Callable[[Any], None]:
    """Return what prints a line of progress, if the last one was printed some time ago."""
    last = time.perf_counter()

    def tell(step: Any) -> None:
        nonlocal last
        if time.perf_counter() - last >= SECONDS_BETWEEN_LINES:
            last = time.perf_counter()
            notes.print(describe(step))

    return tell


def compile_moments(split: Split, config: TrainConfig) -> None:
    """Compile what a `Trainer` calls when it is made, so that it is not taken for training."""
    from fastlin.functional import feature_moments
    from fastlin.training.defaults import with_chosen

    if with_chosen([config], split.train)[0].standardize:
        feature_moments(split.train.X[:1])


def match(model: LinearModel, reference: DataReference, split: Split, notes: Console) -> Split:
    """Return data in terms of a model's classes; print what may be wrong with them.

    Raises InputError if they do not fit the model.
    """
    from fastlin import matching

    matched, found = matching.match_split(model, split)
    note_if_changed(reference, split, notes)
    for note in found:
        print_note(notes, note)
    return matched


def note_if_changed(reference: DataReference, split: Split, notes: Console) -> None:
    """Print a note if the data are not those that the reference was made of."""
    from fastlin import matching

    note = matching.change_note(reference, split)
    if note is not None:
        print_note(notes, note)


def print_heading(data: str, given: TrainConfig, chosen: TrainConfig) -> None:
    """Print which loss was trained on which data, and the settings that the rows decided."""
    from fastlin.commands import options

    words = []
    for name in SETTINGS:
        if getattr(given, name) == AUTO != getattr(chosen, name):
            words += command_lines.setting_words(name, getattr(chosen, name))
    decided = f", with {' '.join(words)} by the rows" if words else ""
    options.console().print(f"{chosen.loss} on {data}{decided}", markup=False)


def print_note(notes: Console, note: str) -> None:
    """Print a sentence that the library returned, as a line of its own; advice with its options."""
    words: list[str] = []
    for name, value in getattr(note, "settings", {}).items():
        words += command_lines.setting_words(name, value)
    options_to_try = f" ({' '.join(words)})" if words else ""
    notes.print(f"Note: {note}{options_to_try}", markup=False)


def note_on_fit(fitting: Fitting, split: Split, notes: Console) -> str:
    """Print what must be known of the rows a classifier was fitted on; return it for figures.

    Parameters are those of the run, and the data as they are matched with it.
    """
    note = fitting.note(split.parts())
    if note is None:
        return ""
    print_note(notes, note)
    return fitting.remark


def print_advice(result: TrainResult, split: Split, notes: Console) -> None:
    """Print what should be tried after a run."""
    from fastlin.training.advice import advise_on

    for advice in advise_on(result, split):
        print_note(notes, advice)
    note_on_reading(split, notes)


def note_on_reading(split: Split, notes: Console) -> None:
    """Say so where rows that stay in files were read more slowly than they could be used."""
    from fastlin.data.stored import StoredRows

    for data in split.parts().values():
        if isinstance(data.X, StoredRows) and data.X.rates.note is not None:
            print_note(notes, data.X.rates.note)


def new_folder(out: Path | None, name: str, file: str, content: dict[str, Any]) -> Path:
    """Make the folder of --out, or the next one of that name; see `runs.create_run_folder`."""
    from fastlin import runs

    try:
        return runs.create_run_folder(out, name, file, content)
    except InputError as error:
        raise InputError(f"{error} (--out FOLDER)") from None


def check_new_file(out: Path, force: bool) -> None:
    """Raise `InputError` if there is something at --out already, unless it is to be replaced.

    What a run or a search is read from is never replaced.
    """
    from fastlin import files, runs
    from fastlin.search import request

    files.check_reachable(out)
    for first, others in ((runs.CONFIG, runs.FILES), (request.REQUEST, request.FILES)):
        if out.name in others and out.exists() and (out.parent / first).exists():
            raise InputError(f"{out} is part of the results in its folder; name another --out")
    if out.exists() and not force:
        raise InputError(f"{out} is there already; name another --out, or replace it with --force")


def write_fit(
    folder: Path, reference: DataReference, result: TrainResult, split: Split, threads: int,
    compile_seconds: float, started: float, notes: Console, study: Study | None,
) -> dict[str, Any]:  # fmt: skip
    """Do `runs.write_run` of what was fitted exactly; what it compiles is no time of evaluating."""
    from fastlin import runs

    with compiling(notes) as compilation:
        summary = runs.write_run(
            folder, reference, result, split, "finished", threads,
            compile_seconds=compile_seconds, started=started, study=study,
        )  # fmt: skip
    seconds = dict(summary["seconds"])
    seconds["evaluate"] -= compilation.seconds
    seconds["compile"] += compilation.seconds
    return summary | {"seconds": seconds}


def save_times(
    folder: Path, summary: dict[str, Any], drawn: tuple[float, float], started: float
) -> None:
    """Save a summary with the times of drawing and of the whole command, and print all times.

    Parameters
    ----------
    folder : Path
        Of the run or the grid.
    summary : dict[str, Any]
        What its summary.json holds so far.
    drawn : tuple[float, float]
        The seconds of compiling and of drawing, as `draw` returns them.
    started : float
        When the command began, as `time.perf_counter` tells it.
    """
    from fastlin import runs
    from fastlin.commands import options, process

    seconds = dict(summary["seconds"])
    seconds["compile"] += drawn[0]
    seconds["draw"] += drawn[1]
    seconds["total"] = time.perf_counter() - started
    with process.writing_results():
        runs.save_summary(folder, summary | {"seconds": seconds})
    # A run counts the loading of kernels, too; in a search it is a part of searching.
    words = _DOING | ({"compile": "loading and compiling kernels"} if "train" in seconds else {})
    spent = ", ".join(f"{words.get(name, name)} {spent:.2f} s" for name, spent in seconds.items())
    options.console().print(f"Time: {spent}")


_DOING = {
    "compile": "compiling",
    "train": "training",
    "search": "searching",
    "evaluate": "evaluating",
    "draw": "drawing",
}


def draw(
    result: TrainResult, split: Split, folder: Path, threads: int, notes: Console,
    await_kernels: Callable[[], object] = lambda: None, *, remark: str = "",
    fitting: Fitting | None = None,
) -> tuple[float, float]:  # fmt: skip
    """Draw a run's figures into its folder; return the seconds of compiling and of drawing.

    What cannot be drawn is one line of `notes`: the results are whole without it.
    """

    def figures() -> None:
        from fastlin.commands.plot import draw_figures

        of = remark
        if result.refit is not None:
            of = "fit on training rows alone, before the refit"
        draw_figures(
            result.history, result.chosen.model, result.config, split, folder, threads,
            notes.print, of, result.select, fitting, await_kernels,
        )  # fmt: skip

    return drawing(figures, notes)


def drawing(draw_figures: Callable[[], object], notes: Console) -> tuple[float, float]:
    """Do `draw` for any figures."""
    with compiling(notes) as compiled:
        start = time.perf_counter()
        try:
            draw_figures()
        except Exception as error:  # noqa: BLE001  (whatever matplotlib finds wrong)
            notes.print(f"figures are not drawn: {reason_of(error)}")
        seconds = time.perf_counter() - start
    return compiled.seconds, seconds - compiled.seconds
