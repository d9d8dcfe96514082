"""`fastlin grid`: many settings trained together, and the best of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fastlin.commands import fit_options, folds, options, outcome, process, setting_options
from fastlin.commands.grid_output import print_ranking, progress_shown
from fastlin.commands.train import DEFAULT_DATA
from fastlin.config import TrainConfig
from fastlin.errors import InputError
from fastlin.search.spec import GridSpec

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.data import Split
    from fastlin.search.progress import GridProgress
    from fastlin.search.ranking import GridResult, Rule
    from fastlin.search.request import SearchRequest

_DECISIVE = ("init", "schedule")  # settings whose values make others meaningless
_OWN_FOLDER = "-"  # --resume without a folder: that of --out


@click.command()
@options.data_options(DEFAULT_DATA)
@setting_options.settings_options(lists=True)
@click.option(
    "--grid",
    "grid_path",
    type=options.PLACE,
    help="TOML file with lists under [grid] and fixed settings under [train]; options given "
    "beside it take precedence.",
)
@click.option(
    "--config",
    "config_path",
    type=options.PLACE,
    help="A run's config.json: data and settings that are not searched.",
)
@click.option(
    "--search",
    type=click.Choice(["grid", "random"]),
    default="grid",
    show_default=True,
    help="Try every combination, or --trials random ones.",
)
@click.option("--trials", type=click.IntRange(min=1), help="Combinations that random search draws.")
@click.option(
    "--search-seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of that draw.",
)
@click.option(
    "--halving",
    is_flag=True,
    help="Stop entries early that can no longer come first, judged by their curves.",
)
@click.option(
    "--halving-plan",
    metavar="WHEN[:SHARE],...",
    help="Decide that at these fractions of the epochs, and let at most this share of the entries "
    "go on, such as 0.3:0.5,0.6  [default: 0.25 to 0.9 in steps of 0.05, no share]",
)
@options.select_option(
    "Choose the best by such a measure (with --halving, stops go by accuracy where it is neither "
    "accuracy nor cost)",
    default="accuracy",
)
@click.option(
    "--at",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="After the last epoch, or after each entry's best.",
)
@fit_options.fit_options(shots=False)
@options.threads_option()
@options.dask_option()
@options.eval_train_option()
@click.option(
    "--out",
    type=options.PLACE,
    help="Grid folder  [default: runs/DATA-grid-1, -2, ...]",
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value=_OWN_FOLDER,
    type=options.PLACE,
    metavar="[FOLDER]",
    help="Go on with the search in FOLDER (or --out) where it was interrupted.",
)
@click.option(
    "--figures/--no-figures", default=True, help="Draw figures into the grid folder, or not."
)
@click.pass_context
def grid(
    ctx: click.Context,
    /,
    select: str,
    at: str,
    threads: int | None,
    dask: str | None,
    out: Path | None,
    resume: Path | None,
    figures: bool,
    **searched: Any,
) -> None:
    """Train many settings together and find the best on validation rows.

    \b
    A LIST is values and ranges, or a range to draw from:
      --lr 0.01,0.02,0.03     these (or --lr 0.01 --lr 0.02 ...)
      --l2 0,0.0001:0.1:4     0, and 4 values evenly spaced in log space
      --lr 1e-4:1             any value, for --search random
      --flip true,false       both; --flip alone is true, --no-flip false
    The winner becomes a run folder of its own; only it sees the test rows.
    """  # noqa: D301  (\b keeps click from filling the list)
    started = time.perf_counter()
    request = replace(_request(**searched), select=select, at=at, figures=figures)
    folder = _folder_to_resume(resume, out)
    if folder is not None:
        request = _resumed(ctx, folder, request, **searched)
    from fastlin.data.splits import DEFAULT_FRACTION
    from fastlin.search.ranking import Rule
    from fastlin.search.request import REQUEST
    from fastlin.search.search import check_comparable

    configs = request.configs()
    if len(configs) == 1 and request.search == "grid":
        raise InputError("there is nothing to search; give a list, such as --lr 0.01,0.02,0.03")
    loaded, held_out = fit_options.rows_to_search(request, request.at, [c.loss for c in configs])
    rule = Rule(f"val_{request.select}", at=request.at)  # type: ignore[arg-type]
    check_comparable(configs, rule, request.halving)
    thread_count, notes = options.thread_count(threads), options.console(stderr=True)
    if folder is None:
        outcome.note_if_changed(request.data, loaded, notes)
    if held_out is not None:  # of a resumed search, too, if its data are named once more
        notes.print(held_out)
        request = replace(request, data=replace(request.data, val_fraction=DEFAULT_FRACTION))
    request = replace(request, data=replace(request.data, sha256=loaded.fingerprint()))
    if folder is None:
        folder = outcome.new_folder(out, f"{loaded.name}-grid", REQUEST, request.content())
    search = Search(request, configs, rule, loaded, thread_count, folder, started, dask)
    try:
        if request.cv is not None:
            ctx.exit(folds.search_in_folds(search, notes, figures=request.figures))
        result, compile_seconds = search.run(notes, resume=resume is not None)
        if result.best.status == "diverged":
            ctx.exit(1)
        search.finish(result, compile_seconds, notes, figures=request.figures)
    except KeyboardInterrupt as stop:
        again = options.with_dask(f"fastlin grid --resume {quote(str(folder))}", dask)
        notes.print(f"Interrupted; go on with: {again}")
        ctx.exit(process.exit_code(stop))


@dataclass(frozen=True)
class Search:
    """A search whose folder exists."""

    request: SearchRequest
    configs: tuple[TrainConfig, ...]
    rule: Rule
    split: Split
    threads: int
    folder: Path
    started: float
    dask: str | None = None

    def run(self, notes: Console, *, resume: bool) -> tuple[GridResult, float]:
        """Train all entries, write and print their ranking; return it, and seconds of compiling."""
        from fastlin.errors import GridDivergedError
        from fastlin.search.ranking import save_table
        from fastlin.search.request import JOURNAL, TABLE
        from fastlin.search.search import grid_search

        failure, trained = None, 0

        def on_epoch(found: GridProgress) -> None:
            nonlocal trained
            trained += found.active
            progress(found)

        with (
            progress_shown(notes, self.configs, self.rule.of_epochs) as progress,
            outcome.compiling(notes) as compilation,
            options.cluster(self.dask) as client,
        ):
            try:
                result = grid_search(
                    self.split,
                    self.configs,
                    select=self.rule.select,
                    at=self.rule.at,
                    halving=self.request.halving or False,
                    threads=self.threads,
                    on_epoch=on_epoch,
                    note=lambda note: outcome.print_note(notes, note),
                    journal=self.folder / JOURNAL,
                    resume=resume,
                    eval_train_every=self.request.eval_train_every,
                    client=client,
                )
            except GridDivergedError as error:
                result = error.result
                failure = f"{error} (--lr {error.smaller_lr:g})"
        if trained == 0:
            notes.print("The search was finished already: nothing was left to train")
        with process.writing_results():
            save_table(self.folder / TABLE, result)
        val_rows = 0 if self.split.val is None else len(self.split.val)
        print_ranking(options.console(), result, self.folder.name, val_rows)
        if failure is not None:
            notes.print(failure)
        return result, compilation.seconds

    def finish(
        self, result: GridResult, compile_seconds: float, notes: Console, *, figures: bool
    ) -> None:
        """Write the winner's folder and the summary, say what was found, draw the figures."""
        from fastlin import runs, summaries
        from fastlin.files import make_directory
        from fastlin.report.grid_figures import draw_grid
        from fastlin.search.ranking import values_text
        from fastlin.search.request import WINNER

        folder, best = self.folder, result.best
        seconds = {
            "compile": compile_seconds,
            "search": result.seconds - compile_seconds,
            "draw": 0.0,
            "total": time.perf_counter() - self.started,
        }
        run = fit_options.run_of_winner(result, self.split, self.request, self.threads, notes)
        command = fit_options.command_of(run, self.request.data, best.config, folder / WINNER)
        with process.writing_results():
            reference = replace(self.request.data, sha256=self.split.fingerprint())
            place = make_directory(folder / WINNER)
            written = runs.write_run(place, reference, run, self.split, best.status, self.threads)
            which = "last" if best.epoch == len(best.history) else "best"
            test = written["results"][which].get("test")
            summary = summaries.summarize_grid(
                result, self.split, test, command, seconds, self.threads
            )
            summary |= {name: written[name] for name in ("refit", "calibration") if name in written}
            runs.save_summary(folder, summary)
        console = options.console()
        console.print(
            f"Winner by {result.rule}: entry {best.index}, {values_text(best.config, result.swept)}"
        )
        if test is not None:
            console.print(
                f"Test accuracy of the winner, after epoch {best.epoch}: "
                f"{test['accuracy']:.2%} (no other entry saw the test rows)"
            )
        fit_options.print_fit(console, run, written["results"], which)
        outcome.note_on_reading(self.split, notes)
        console.print(f"Train it alone: {command}")
        console.print(f"Grid folder: {folder}")
        of_winner = of_grid = 0.0, 0.0
        if figures:
            of_winner = outcome.draw(run, self.split, folder / WINNER, self.threads, notes)
            of_grid = outcome.drawing(
                lambda: draw_grid(result, self.split, folder, notes.print), notes
            )
        drawn = of_winner[0] + of_grid[0], of_winner[1] + of_grid[1]
        outcome.save_times(folder, summary, drawn, self.started)


def _folder_to_resume(resume: Path | None, out: Path | None) -> Path | None:
    if resume is None:
        return None
    if resume == Path(_OWN_FOLDER):
        if out is None:
            raise InputError("--resume needs the folder of the search: --resume FOLDER")
        return out
    if out is not None and resume != out:
        raise InputError("--resume and --out name two folders; a search is resumed where it is")
    return resume


def _resumed(
    ctx: click.Context,
    folder: Path,
    again: SearchRequest,
    /,
    data: options.Data,
    **searched: Any,
) -> SearchRequest:
    """Return what a folder was begun with; `again` is what the options ask for, if they do."""
    from fastlin.search.request import load_request

    request = load_request(folder)
    sources = {ctx.get_parameter_source(name) for name in searched}
    repeated = bool(sources - {None, ParameterSource.DEFAULT} or searched["fit"])
    if repeated and replace(again, data=request.data) != request:
        raise InputError(
            f"cannot resume {folder}: the grid is not what it was begun with; leave its options "
            "out, or start anew in another folder"
        )
    given = {
        name: getattr(again, name)
        for name in ("select", "at", "figures")
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    return replace(request, data=options.override(request.data, data), **given)


def _request(
    *,
    data: options.Data,
    grid_path: Path | None,
    config_path: Path | None,
    search: str,
    trials: int | None,
    search_seed: int,
    halving: bool,
    halving_plan: str | None,
    eval_train_every: int,
    fit: fit_options.Given,
    **settings: Any,
) -> SearchRequest:
    """Return what the options ask for: options, then --grid, then --config, then the defaults."""
    from fastlin import runs
    from fastlin.search.halving import Plan
    from fastlin.search.reading import read_grid_file, with_lists
    from fastlin.search.request import SearchRequest

    plan = Plan() if halving else None
    if halving_plan is not None:
        plan = Plan.parse(halving_plan)
    if config_path is None:
        base, reference = None, options.reference_of({"data": DEFAULT_DATA} | data)
    else:
        saved, base = runs.load_config(config_path)
        reference = options.override(saved, data)
    spec = GridSpec({}, base or TrainConfig())
    if grid_path is not None:
        spec = read_grid_file(grid_path, base)
    given = setting_options.given_settings(settings)
    spec = with_lists(spec, given)
    decisive = [tuple(spec.swept.get(name, (getattr(spec.base, name),))) for name in _DECISIVE]
    kinds = [dict(zip(_DECISIVE, values, strict=True)) for values in product(*decisive)]
    options.refuse_without_effect(given, [replace(spec.base, **kind) for kind in kinds])
    return SearchRequest(
        reference, spec, search, trials, search_seed, plan, eval_train_every,
        refit=fit.get("refit", False), cv=fit.get("cv"), calibrate=fit.get("calibrate", False),
    )  # fmt: skip
