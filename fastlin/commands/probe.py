"""`fastlin probe`: how good features are, by a path of penalties or a published protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from fastlin.commands import options, outcome, plot, probe_output, process, setting_options
from fastlin.commands.command_lines import PENALTIES
from fastlin.config import as_json
from fastlin.errors import InputError
from fastlin.fitting import MOST_REPEATS
from fastlin.losses import with_parameters
from fastlin.settings import AUTO
from fastlin.solving.config import FIT_SETTINGS, FitConfig
from fastlin.solving.protocols import PROTOCOLS, Protocol, protocol_of

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.data import Split
    from fastlin.data.source import DataReference
    from fastlin.solving.path_result import PathPoint

DEFAULT_DATA = "cifar10-mini"
OF_PATH = ("Cs", "l2s", "select", "patience", "refit", "cv")  # arguments of `fastlin.probe`
_FORMAT = 1


@dataclass(frozen=True)
class Request:
    """What is to be done: the content of probe.json, which --resume reads.

    Attributes
    ----------
    data : DataReference
    protocol : str
    given : dict[str, Any]
        The arguments of `fastlin.probe` that were given, as JSON values.
    config : FitConfig
    """

    data: DataReference
    protocol: str
    given: dict[str, Any]
    config: FitConfig

    def content(self) -> dict[str, Any]:
        """Return it as JSON values."""
        fit = {name: as_json(getattr(self.config, name)) for name in FIT_SETTINGS}
        return {"format": _FORMAT, "data": asdict(self.data), "protocol": self.protocol,
                "given": self.given, "fit": fit}  # fmt: skip


@click.command(epilog=f"Protocols: {', '.join(PROTOCOLS)}.")
@options.data_options(DEFAULT_DATA)
@click.option(
    "--protocol",
    type=click.Choice(list(PROTOCOLS)),
    help="How penalties are chosen: fastlin's way, or that of a paper; its source and what fastlin "
    "does otherwise is printed.  [default: fastlin]",
)
@click.option("--C", "Cs", metavar="LIST", help="Penalties as scikit-learn's C, such as 0.01:100:9")
@click.option("--l2", "l2s", metavar="LIST", help="The same as factors of the squared weights.")
@options.select_option("Choose the penalty with the best such measure")
@click.option(
    "--patience",
    type=click.IntRange(1),
    metavar="N",
    help="End after N penalties that are worse than the best by more than a standard error.",
)
@click.option(
    "--refit/--no-refit",
    default=None,
    help="Fit the chosen penalty again on training and validation rows, or not: with the same C, "
    "or with the same l2 if those are listed.",
)
@click.option(
    "--cv",
    type=click.IntRange(2, MOST_REPEATS),
    metavar="K",
    help="Judge penalties by K folds of the training and validation rows, each held out once, and "
    "fit the chosen one on all of them.",
)
@setting_options.settings_options(FitConfig, without=("l2", "C"))
@options.threads_option()
@options.dask_option()
@click.option(
    "--config",
    "config_path",
    type=options.PLACE,
    help="A probe's config.json: do it again; options given beside it take precedence.",
)
@click.option("--out", type=options.PLACE, help="Run folder  [default: runs/DATA-1, -2, ...]")
@click.option(
    "--resume", type=options.PLACE, metavar="FOLDER", help="Go on with a path that was stopped."
)
@click.option(
    "--figures/--no-figures", default=True, help="Draw figures into the run folder, or not."
)
@click.pass_context
def probe(
    ctx: click.Context,
    /,
    data: options.Data,
    threads: int | None,
    dask: str | None,
    config_path: Path | None,
    out: Path | None,
    resume: Path | None,
    figures: bool,
    **given: Any,
) -> None:
    """Judge features by a linear classifier, fitted exactly for many penalties.

    One penalty is chosen by validation rows; its classifier goes to a run folder, as that of
    `fastlin train` does, with the path of penalties as a table and a figure.
    """
    started = time.perf_counter()
    if resume is not None:
        _refuse_beside_resume(data, given | {"config": config_path, "out": out})
        request = _resumed(resume)
    else:
        request = _request(data, given, _begun(config_path))
    notes = options.console(stderr=True)
    split = options.load_reference(request.data)
    from fastlin.search.probe import with_rows_for

    count = options.thread_count(threads)
    outcome.note_if_changed(request.data, split, notes)
    cv = request.given.get("cv")
    if cv is not None and split.source is not None and split.source.val_fraction is not None:
        raise InputError(
            "--val-fraction has no effect with --cv, which holds every row out once; leave one out"
        )
    split, held_out = with_rows_for(protocol_of(request.protocol), split, cv)
    if held_out is not None:
        outcome.print_note(notes, held_out)
    sha256 = split.fingerprint()
    request = replace(request, data=replace(split.source or request.data, sha256=sha256))
    folder = resume or outcome.new_folder(out, split.name, outcome.PROBE, request.content())
    notes.print(_about(request.protocol, cv))
    try:
        _run(request, split, folder, count, dask, started, figures, notes)
    except KeyboardInterrupt as stop:
        if protocol_of(request.protocol).kind == "path":
            again = options.with_dask(f"fastlin probe --resume {quote(str(folder))}", dask)
            notes.print(f"Interrupted; go on with: {again}")
        else:
            notes.print("Interrupted")
        ctx.exit(process.exit_code(stop))


def _about(name: str, cv: int | None) -> str:
    """Return what is said of a protocol before it begins."""
    protocol = protocol_of(name)
    folds = "" if cv is None else f"; penalties are judged by {cv} folds, as --cv says"
    if name == "fastlin":
        return f"Protocol {name}: {protocol.differs}{folds}"
    return f"Protocol {name}: {protocol.source}. Otherwise than there: {protocol.differs}{folds}."


def _run(
    request: Request, split: Split, folder: Path, threads: int, dask: str | None, started: float,
    figures: bool, notes: Console,
) -> None:  # fmt: skip
    """Do what is asked, write the run folder, and print what was found."""
    from fastlin.search.probe import Probe
    from fastlin.search.probe import probe as do_probe
    from fastlin.search.ranking import GridResult
    from fastlin.search.winner import run_of_winner
    from fastlin.training.grid import Seconds

    given = dict(request.given)
    if protocol_of(request.protocol).kind == "path":
        given |= {"keep": folder, "on_fit": _lines(notes)}
    began = time.perf_counter()
    with (
        outcome.compiling(notes) as compilation,
        options.data_notes(),
        options.cluster(dask) as client,
    ):
        found = do_probe(
            split, request.protocol, request.config, threads=threads, client=client,
            note=lambda text: outcome.print_note(notes, text), **given,
        )  # fmt: skip
    spent = time.perf_counter() - began - compilation.seconds  # by all fits
    study = None if isinstance(found, GridResult) else found
    result = run_of_winner(found) if isinstance(found, GridResult) else found.result
    result = replace(result, seconds=Seconds(train=max(0.0, spent)))
    with process.writing_results():
        summary = outcome.write_fit(
            folder, request.data, result, split, threads, compilation.seconds, started, notes,
            study=study,
        )  # fmt: skip
    console = options.console()
    probe_output.print_found(console, found, split, summary, folder)
    outcome.note_on_reading(split, notes)
    drawn = 0.0, 0.0
    if figures:
        fitting = None if study is None else study.fitting
        rows = split if study is None else study.fitted_on(split)
        drawn = outcome.draw(result, rows, folder, threads, notes, fitting=fitting)
        if isinstance(found, Probe):
            drawn_path = outcome.drawing(
                lambda: plot.draw_path(
                    folder, result.config, split, found.path.select, found.path.cv, notes.print
                ),
                notes,
            )
            drawn = drawn[0] + drawn_path[0], drawn[1] + drawn_path[1]
    outcome.save_times(folder, summary, drawn, started)


def _lines(notes: Console) -> Callable[[Any], None]:
    """Return what prints a penalty now and then: the table at the end has them all."""
    from fastlin.solving.solution import gap_text

    def describe(point: PathPoint) -> str:
        return (
            f"C {point.C:<10.4g} l2 {point.l2:<10.4g} objective {point.objective:<11.6g} "
            f"{gap_text(point.relative_gap, point.l2)}  {point.passes:>3} passes  accuracy "
            f"{point.values['accuracy']:.2%}"
        )

    return outcome.now_and_then(notes, describe)


def _begun(config_path: Path | None) -> Request:
    """Return what a probe's config.json asks for, or the defaults without one.

    Raises InputError if the file is of no probe.
    """
    if config_path is None:
        return Request(options.reference_of({"data": DEFAULT_DATA}), "fastlin", {}, FitConfig())
    from fastlin import runs
    from fastlin.solving.run import settings_of_fit

    reference, trained, fitting = runs.load_configuration(config_path)
    arguments = fitting.as_probe(trained.penalty_factor)
    if arguments is None:
        command = "train" if fitting.gap is None else "fit"
        raise InputError(
            f"{config_path} is of no exact fits of a probe; do it again with fastlin {command} "
            "--config"
        )
    config = replace(settings_of_fit(trained, fitting), l2=AUTO)
    return _checked(config_path, reference, arguments.pop("protocol"), arguments, config)


def _request(data: options.Data, given: dict[str, Any], begun: Request) -> Request:
    """Return what options ask for, and what was begun with where they ask for nothing.

    Raises InputError if they do not fit each other.
    """
    from fastlin.search.probe import check_has_effect, plan_with

    protocol = protocol_of(given.pop("protocol") or begun.protocol)
    asked = _of_path(protocol, {name: given.pop(name) for name in OF_PATH})
    if protocol.name == begun.protocol:
        penalties = PENALTIES.keys() if PENALTIES.keys() & asked.keys() else set()
        kept = {name: value for name, value in begun.given.items() if name not in penalties}
        asked = kept | asked
    plan_with(protocol, asked)
    settings, parameters = setting_options.given_with_parameters(given)
    config = replace(begun.config, **settings)
    config = replace(config, loss=with_parameters([config.loss], parameters)[0])
    check_has_effect(protocol, config)
    return Request(options.override(begun.data, data), protocol.name, asked, config)


def _of_path(protocol: Protocol, given: dict[str, Any]) -> dict[str, Any]:
    """Return options of a path, where they are given, as `fastlin.probe` takes them.

    Raises InputError if one has no effect in a protocol, or does not fit.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    if PENALTIES.keys() <= asked.keys():
        raise InputError("--l2 and --C say the same; leave one of them out")
    if protocol.plan is None and asked:
        first = next(iter(asked))
        flag = PENALTIES.get(first, f"--{first}")
        raise InputError(
            f"{flag} has no effect with --protocol {protocol.name}; leave one of them out"
        )
    for name in PENALTIES.keys() & asked.keys():
        asked[name] = _numbers(PENALTIES[name], asked[name])
    if "select" in asked:
        asked["select"] = f"val_{asked['select']}"
    if "cv" in asked and asked.get("refit") is False:
        raise InputError(
            "--no-refit has no effect with --cv, which fits the chosen penalty on all rows; leave "
            "one of them out"
        )
    if "patience" in asked and protocol.plan is not None and protocol.plan.bisect:
        raise InputError(
            f"--patience has no effect with --protocol {protocol.name}, which bisects; leave one "
            "of them out"
        )
    return asked


def _numbers(flag: str, text: str) -> list[float]:
    """Return the numbers of a list. Raises InputError if it is none of numbers above 0."""
    from fastlin.search.reading import parse_values

    values = parse_values("l2", [text])
    if not isinstance(values, tuple):
        raise InputError(
            f"{flag} is {text!r}, a range without a count; write {text}:9 for 9 values"
        )
    bad = [value for value in values if not isinstance(value, float) or not value > 0]
    if bad:
        raise InputError(f"{flag} has {bad[0]}; penalties of a path must be numbers above 0")
    return list(values)


def _refuse_beside_resume(data: options.Data, given: dict[str, Any]) -> None:
    """Raise InputError if options are given that --resume has no use for."""
    named = [*data, *setting_options.given_settings(given)]
    if named:
        flag = PENALTIES.get(named[0], f"--{named[0].replace('_', '-')}")
        raise InputError(
            f"{flag} has no effect with --resume, which goes on as the path was begun; leave one "
            "of them out"
        )


def _resumed(folder: Path) -> Request:
    """Return what a folder was begun with. Raises InputError if it cannot be gone on with."""
    from fastlin import files, runs
    from fastlin.data.source import DataReference

    path = folder / outcome.PROBE
    content = files.read_json(path)
    if not isinstance(content, dict) or not {"data", "protocol", "given", "fit"} <= content.keys():
        raise InputError(f"{path} is not what fastlin probe writes; start anew in another folder")
    files.check_format(path, content, _FORMAT)
    if (folder / runs.SUMMARY).exists():
        raise InputError(f"{folder} is finished: there is nothing to go on with")
    try:
        fit = content["fit"]
        if not isinstance(fit, dict) or not fit.keys() <= FIT_SETTINGS.keys():
            raise InputError("'fit' must hold the settings of an exact fit by name")
        reference, config = DataReference.from_dict(content["data"]), FitConfig(**fit)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return _checked(path, reference, content["protocol"], content["given"], config)


def _checked(
    path: Path, reference: DataReference, protocol: str, given: object, config: FitConfig
) -> Request:
    """Return what a file asks for. Raises InputError if it has other arguments than a probe."""
    from fastlin.metrics import check_select

    try:
        if not isinstance(given, dict) or not given.keys() <= set(OF_PATH):
            raise InputError(f"a probe has no other arguments than {', '.join(OF_PATH)}")
        if "select" in given:
            check_select(given["select"])
        return Request(reference, protocol_of(protocol).name, given, config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
