"""`fastlin grid`: many settings trained together, and the best of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fastlin.commands import options, outcome, process
from fastlin.commands.train import DEFAULT_DATA, train
from fastlin.config import SETTINGS, SHARED_SETTINGS, TrainConfig
from fastlin.errors import InputError, quoted
from fastlin.losses import PARAMETERS, Loss, with_parameters
from fastlin.search.spec import GridSpec, LogRange

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.table import Table

    from fastlin.data import Split
    from fastlin.data.source import DataReference
    from fastlin.search.halving import Plan
    from fastlin.search.progress import GridProgress
    from fastlin.search.ranking import GridResult
    from fastlin.training.trainer import TrainResult

ASKED, JOURNAL, TABLE, WINNER = "grid.json", "journal.jsonl", "grid.csv", "winner"
FORMAT = 1  # of grid.json
SHOWN_ENTRIES = 10
MAX_CELLS = 30  # rows or columns of a heat map that one can still read

_DECISIVE = ("init", "schedule")  # settings whose values make others meaningless
_OWN_FOLDER = "-"  # --resume without a folder: that of --out


@dataclass(frozen=True)
class Asked:
    """What is searched, where, and how: all that --resume needs."""

    data: DataReference
    grid: GridSpec
    search: str = "grid"
    trials: int | None = None
    search_seed: int = 0
    halving: Plan | None = None

    def __post_init__(self) -> None:
        for name, value, is_right, text in (
            ("search", self.search, self.search in ("grid", "random"), "grid or random"),
            ("trials", self.trials, self.trials is None or _is_whole(self.trials, 1), "1 or above"),
            ("search_seed", self.search_seed, _is_whole(self.search_seed, 0), "0 or above"),
        ):
            if not is_right:
                raise InputError(f"{name} is {quoted(value)}; it must be {text}")


def _is_whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**63


def _with_settings_of_train(command: click.Command) -> click.Command:
    """Add the settings of `fastlin train`; those that can be searched take lists."""
    names = {*SETTINGS, *PARAMETERS}
    settings: list[click.Parameter] = []
    for option in train.params:
        if not isinstance(option, click.Option) or option.name not in names:
            continue
        if option.name not in SHARED_SETTINGS:
            kind = click.Option(option.opts, multiple=True, metavar="LIST", help=option.help)
            settings.append(kind)
        else:
            settings.append(option)
    after_data = 3
    command.params[after_data:after_data] = settings
    return command


@_with_settings_of_train
@click.command()
@options.data_options(DEFAULT_DATA)
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
@click.option(
    "--select",
    type=click.Choice(["accuracy", "cost"]),
    default="accuracy",
    show_default=True,
    help="Choose the best by validation accuracy or cost.",
)
@click.option(
    "--at",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="After the last epoch, or after each entry's best.",
)
@options.threads_option()
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
    data: options.Data,
    grid_path: Path | None,
    config_path: Path | None,
    search: str,
    trials: int | None,
    search_seed: int,
    halving: bool,
    halving_plan: str | None,
    select: str,
    at: str,
    threads: int | None,
    eval_train_every: int,
    out: Path | None,
    resume: Path | None,
    figures: bool,
    **settings: Any,
) -> None:
    """Train many settings together and find the best on validation rows.

    \b
    A LIST is values and ranges, or a range to draw from:
      --lr 0.01,0.02,0.03     these (or --lr 0.01 --lr 0.02 ...)
      --l2 0,0.0001:0.1:4     0, and 4 values evenly spaced in log space
      --lr 1e-4:1             any value, for --search random
    The winner becomes a run folder of its own; only it sees the test rows.
    """  # noqa: D301  (\b keeps click from filling the list)
    from fastlin.search.halving import Plan

    started = time.perf_counter()
    given = {name: value for name, value in settings.items() if value not in (None, ())}
    how: dict[str, Any] = {
        "search": search,
        "trials": trials,
        "search_seed": search_seed,
        "halving": None,
    }
    if halving or halving_plan is not None:
        how["halving"] = Plan() if halving_plan is None else Plan.parse(halving_plan)
    again = _asked(data, grid_path, config_path, given, how)
    folder = _folder_to_resume(resume, out)
    asked = again if folder is None else _resumed(ctx, folder, again, data)
    from fastlin.errors import GridDivergedError
    from fastlin.functional import use_threads
    from fastlin.search.configs import grid_configs
    from fastlin.search.ranking import Rule, save_table
    from fastlin.search.search import check_comparable, grid_search

    configs = grid_configs(
        asked.grid, search=asked.search, trials=asked.trials, search_seed=asked.search_seed
    )
    if len(configs) == 1 and asked.search == "grid":
        raise InputError("there is nothing to search; give a list, such as --lr 0.01,0.02,0.03")
    loaded = options.load_reference(asked.data)
    rule = Rule(select=f"val_{select}", at=at)  # type: ignore[arg-type]
    check_comparable(loaded, configs, rule)
    with use_threads(threads) as thread_count:
        pass  # as many as can be used, or an error before anything is written
    notes = options.console(stderr=True)
    if folder is None:
        outcome.note_if_changed(asked.data, loaded, notes)
        asked = replace(asked, data=replace(asked.data, sha256=loaded.fingerprint()))
        content = {"format": FORMAT, **asdict(asked), "grid": asked.grid.to_dict()}
        folder = outcome.new_folder(out, f"{loaded.name}-grid", ASKED, content)
    failure = None
    try:
        with _progress(notes, configs) as report, outcome.compiling(notes) as compilation:
            try:
                result = grid_search(
                    loaded, configs, select=rule.select, at=rule.at, halving=asked.halving or False,
                    threads=thread_count, progress=report, note=notes.print,
                    journal=folder / JOURNAL, resume=resume is not None,
                    eval_train_every=eval_train_every,
                )  # fmt: skip
            except GridDivergedError as error:
                result = error.result
                failure = f"{error} (--lr {error.smaller_lr:g})"
        with process.writing_results():
            save_table(folder / TABLE, result)
        _print_ranking(options.console(), result, folder)
        if failure is not None:
            notes.print(failure)
            ctx.exit(1)
        finished = _Finished(
            asked.data, loaded, result, thread_count, folder, compilation.seconds, started
        )
        _finish(finished, notes, figures=figures)
    except KeyboardInterrupt as stop:
        notes.print(f"Interrupted; go on with: fastlin grid --resume {quote(str(folder))}")
        ctx.exit(process.exit_code(stop))


@dataclass(frozen=True)
class _Finished:
    """A search that is over, and what is needed to tell of it."""

    reference: DataReference
    split: Split
    result: GridResult
    threads: int
    folder: Path
    compile_seconds: float
    started: float


def _finish(finished: _Finished, notes: Console, *, figures: bool) -> None:
    """Write the winner's run folder and the summary, say what was found, and draw the figures."""
    from fastlin import runs

    result, folder = finished.result, finished.folder
    command = options.train_command(finished.reference, result.best.config)
    seconds = {
        "compile": finished.compile_seconds,
        "search": result.seconds - finished.compile_seconds,
        "draw": 0.0,
        "total": time.perf_counter() - finished.started,
    }
    with process.writing_results():
        run, test = _save_winner(finished)
        summary = _summary(finished, test, command, seconds)
        runs.save_summary(folder, summary)
    console = options.console()
    settings = _settings_text(result.best.config, result.swept)
    console.print(f"Winner by {result.rule}: entry {result.best.index}, {settings}")
    if test is not None:
        console.print(
            f"Test accuracy of the winner, after epoch {result.best.epoch}: "
            f"{test['accuracy']:.2%} (no other entry saw the test rows)"
        )
    console.print(f"Train it alone: {command}")
    console.print(f"Grid folder: {folder}")
    if figures:
        threads = finished.threads
        of_winner = outcome.draw(run, finished.split, folder / WINNER, threads, notes)
        of_grid = outcome.drawing(
            lambda: draw_grid(result, finished.split, folder, notes.print), notes
        )
        seconds["compile"] += of_winner[0]
        seconds["draw"] = of_winner[1] + of_grid[1]
    seconds["total"] = time.perf_counter() - finished.started
    with process.writing_results():
        runs.save_summary(folder, summary | {"seconds": seconds})
    spent = ", ".join(f"{name} {spent:.2f} s" for name, spent in seconds.items())
    console.print(f"Time: {spent}")


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
    again: Asked,
    data: options.Data,
) -> Asked:
    """Return what a folder was begun with; `again` is what the options ask for, if they do."""
    asked = _saved(folder)
    decisive = {"grid_path", "config_path", "search", "trials", "search_seed"}
    decisive |= {"halving", "halving_plan"}
    decisive |= {*SETTINGS, *PARAMETERS}
    sources = {ctx.get_parameter_source(name) for name in decisive}
    repeated = bool(sources - {None, ParameterSource.DEFAULT})
    if repeated and replace(again, data=asked.data) != asked:
        raise InputError(
            f"cannot resume {folder}: the grid is not what it was begun with; leave its options "
            "out, or start anew in another folder"
        )
    return replace(asked, data=options.override(asked.data, data))


def _asked(
    data: options.Data,
    grid_path: Path | None,
    config_path: Path | None,
    given: Mapping[str, Any],
    how: Mapping[str, Any],
) -> Asked:
    """Return what the options ask for: options, then --grid, then --config, then the defaults."""
    from fastlin import runs
    from fastlin.search.reading import parse_values, read_grid_file

    if config_path is None:
        base, reference = None, options.reference_of({"data": DEFAULT_DATA} | data)
    else:
        saved, base = runs.load_config(config_path)
        reference = options.override(saved, data)
    spec = GridSpec({}, base or TrainConfig())
    if grid_path is not None:
        spec = read_grid_file(grid_path, base)
    lists = {
        name: parse_values(name, value) for name, value in given.items() if isinstance(value, tuple)
    }
    parameters = {name: lists.pop(name) for name in PARAMETERS if name in lists}
    swept: dict[str, Any] = {**spec.swept, **lists}
    fixed = {name: value for name, value in given.items() if not isinstance(value, tuple)}
    if parameters:
        losses = _with_parameters(swept.get("loss", [spec.base.loss]), parameters)
        if "loss" in swept or len(losses) > 1:
            swept["loss"] = losses
        else:
            fixed["loss"] = losses[0]
    # One value of each list stands in the base, so that it is possible as a whole.
    first = {name: values[0] for name, values in swept.items() if isinstance(values, tuple)}
    spec = GridSpec(swept, replace(spec.base, **first, **fixed))
    decisive = [tuple(spec.swept.get(name, (getattr(spec.base, name),))) for name in _DECISIVE]
    kinds = product(*decisive)
    options.refuse_without_effect(
        given, [replace(spec.base, **dict(zip(_DECISIVE, kind, strict=True))) for kind in kinds]
    )
    return Asked(reference, spec, **how)


def _with_parameters(
    losses: Iterable[Any], parameters: Mapping[str, Sequence[Any] | LogRange]
) -> tuple[Loss, ...]:
    """Return every loss with every value of the parameters that it has."""
    lists = {}
    for name, values in parameters.items():
        if isinstance(values, LogRange):
            raise InputError(f"{name} takes no range to draw from; give a list of values")
        lists[name] = values
    return with_parameters([Loss.of(loss) for loss in losses], lists)


def _saved(folder: Path) -> Asked:
    """Read what a grid folder was begun with."""
    from fastlin.data.source import DataReference
    from fastlin.files import MissingFileError, check_format, read_json

    path = folder / ASKED
    try:
        content = read_json(path)
    except MissingFileError:
        raise InputError(
            f"there is no search to resume in {folder}; it would hold {ASKED}"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it must hold the parts of a search by name")
    check_format(path, content, FORMAT)
    known = [part.name for part in fields(Asked)]
    missing = [name for name in known if name not in content]
    unknown = [name for name in content if name not in {"format", *known}]
    if missing or unknown:
        what = f"it lacks {missing[0]}" if missing else f"unknown key {quoted(unknown[0])}"
        raise InputError(f"{path} is damaged: {what}")
    try:
        data, grid = DataReference.from_dict(content["data"]), GridSpec.from_dict(content["grid"])
        how = {name: content[name] for name in known if name not in {"data", "grid", "halving"}}
        return Asked(data, grid, **how, halving=_saved_plan(content["halving"]))
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _saved_plan(content: Any) -> Plan | None:
    """Return the plan of a grid.json; older ones say only whether there was one."""
    from fastlin.search.halving import Plan

    if isinstance(content, bool):
        return Plan() if content else None
    if content is None:
        return None
    if not isinstance(content, dict) or set(content) != {"decisions"}:
        raise InputError(f"halving is {quoted(content)}; it must hold the decisions of a plan")
    return Plan(content["decisions"])


@contextmanager
def _progress(notes: Console, configs: tuple[TrainConfig, ...]) -> Iterator[Any]:
    """Yield what is called after every epoch: a table that lives, or lines where none can."""
    from rich.live import Live

    from fastlin.search.ranking import swept_settings

    swept = swept_settings(configs)

    def leader(progress: GridProgress) -> str:
        if progress.best is None:
            return "none"
        return f"{progress.score:.4g} ({_settings_text(configs[progress.best], swept)})"

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
    done = progress.finished + progress.stopped + progress.diverged
    text = f"{done} of {progress.entries} entries done"
    parts = [
        f"{count} {name}"
        for name, count in (("stopped early", progress.stopped), ("diverged", progress.diverged))
        if count
    ]
    return f"{text} ({', '.join(parts)})" if parts else text


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


def _save_winner(finished: _Finished) -> tuple[TrainResult, dict[str, float] | None]:
    """Write the winner as a run folder; return it, and cost and accuracy on test rows, if any."""
    from fastlin import runs
    from fastlin.files import make_directory

    split, best = finished.split, finished.result.best
    run = runs.run_of_winner(finished.result)
    folder = make_directory(finished.folder / WINNER)
    reference = replace(finished.reference, sha256=split.fingerprint())
    evaluations = runs.write_run(folder, reference, run, split, best.status, finished.threads)
    if split.test is None:
        return run, None
    return run, evaluations["last" if best.epoch == len(best.history) else "best"]["test"]


def draw_grid(
    result: GridResult,
    split: Split,
    folder: Path,
    on_failure: Callable[[str], None] | None = None,
) -> list[Path]:
    """Draw the figures of a grid into folder/figures, and return the files.

    A heat map for each pair of settings of which lists were searched, the validation curves of
    all entries, and parallel coordinates where three or more settings differ. What cannot be drawn
    is one line for `on_failure`, see `fastlin.figures.save_figures`.

    Raises InputError if the folder cannot be made.
    """
    from functools import partial
    from itertools import combinations

    import numpy as np

    from fastlin import figures, runs
    from fastlin.report.wording import footer

    accuracy = np.array(
        [entry.record.val_accuracy if entry.record else np.nan for entry in result.entries]
    )
    settings = [entry.config.to_dict() for entry in result.entries]
    columns = {name: [setting[name] for setting in settings] for name in result.swept}
    foot = footer(split.name, ["val"], result.best.config.to_dict(), swept=result.swept)
    rows = len(split.val) if split.val is not None else None
    drawn: dict[str, Callable[[], Figure]] = {}

    def add(name: str, draw: Callable[[], Figure]) -> None:
        drawn[name] = lambda: figures.with_footer(draw(), foot)

    for pair in combinations(columns, 2):
        down, across = (len(set(columns[name])) for name in pair)
        if max(down, across) > MAX_CELLS or down * across > 2 * len(settings):
            continue
        title = "validation accuracy"
        title += ", best over the other settings" if len(result.swept) > 2 else ""
        shown = {name: columns[name] for name in pair}
        add("heat-" + "-".join(pair), partial(figures.grid_heat_map, shown, accuracy, title, rows))
    curves = [
        (
            _settings_text(entry.config, result.swept),
            entry.history.epoch,
            100 * entry.history.val_accuracy,
        )
        for entry in result.entries
        if len(entry.history) > 0
    ]
    place = sum(len(entry.history) > 0 for entry in result.entries[: result.winner])
    unit = "validation accuracy (%)"
    add("curves", lambda: figures.curve_overlay(curves, place, unit))
    if len(columns) >= 3:
        add("parallel", lambda: figures.parallel_coordinates(columns, 100 * accuracy, unit))
    return figures.save_figures(drawn, folder / runs.FIGURES, on_failure)


def _summary(
    finished: _Finished,
    test: dict[str, float] | None,
    command: str,
    seconds: dict[str, float],
) -> dict[str, Any]:
    from fastlin import machine
    from fastlin.summaries import describe_data

    result = finished.result
    best = result.best
    statuses = [entry.status for entry in result.entries]
    return {
        "entries": {status: statuses.count(status) for status in dict.fromkeys(statuses)},
        "swept": list(result.swept),
        "rule": result.rule,
        "winner": {
            "entry": best.index,
            "settings": best.config.to_dict(),
            "epoch": best.epoch,
            "score": best.score,
            "test": test,
            "command": command,
        },
        "halving": [asdict(rung) for rung in result.rungs],
        "trained_on": list(result.trained_on),
        "epochs_trained": sum(len(entry.history) for entry in result.entries),
        "data": describe_data(finished.split),
        "threads": finished.threads,
        "seconds": seconds,
        "machine": machine.describe(),
    }


def _print_ranking(console: Console, result: GridResult, folder: Path) -> None:
    """Print which entries were stopped early, and the best ones."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    for rung in result.rungs:
        if rung.stopped:
            total = len(rung.kept) + len(rung.stopped)
            kept = ", ".join(map(str, rung.kept))
            console.print(f"After epoch {rung.epoch}, {len(rung.kept)} of {total} went on: {kept}")
    if result.trained_on:
        indices = ", ".join(map(str, result.trained_on))
        console.print(f"Stopped, then trained to the end as they might have won: {indices}")
    shown = result.ranked()[:SHOWN_ENTRIES]
    console.print(f"Best {len(shown)} of {len(result.entries)} by {result.rule}, {folder.name}:")
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("rank", "entry", *result.swept, "val. accuracy", "val. cost", "epoch"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("status")
    for rank, entry in enumerate(shown, start=1):
        settings = entry.config.to_dict()
        record = entry.record
        status: str = entry.status
        if entry.diverged_epoch is not None:
            status += f" in epoch {entry.diverged_epoch}"
        table.add_row(
            str(rank),
            str(entry.index),
            *(_text(settings[name]) for name in result.swept),
            f"{record.val_accuracy:.2%}" if record else "",
            f"{record.val_cost:.4f}" if record else "",
            str(entry.epoch),
            status,
        )
    options.print_table(console, table)


def _settings_text(config: TrainConfig, names: tuple[str, ...]) -> str:
    settings = config.to_dict()
    return ", ".join(f"{name} {_text(settings[name])}" for name in names)


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
