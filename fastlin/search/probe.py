"""How good features are, by a linear classifier: a path of penalties, or what others do."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastlin.config import Init, Schedule, TrainConfig
from fastlin.data.dataset import Split, check_split
from fastlin.data.joining import training_and_validation
from fastlin.errors import InputError
from fastlin.fitting import Fitting
from fastlin.model import LinearModel
from fastlin.search.draws import exact_draws
from fastlin.search.ranking import GridResult
from fastlin.search.search import grid_search, with_validation
from fastlin.solving.config import (
    FitConfig,
    PathPlan,
    penalties,
    settings_of_path,
    with_settings,
)
from fastlin.solving.path import fit_path
from fastlin.solving.path_file import KeptFits, save_path
from fastlin.solving.path_result import PathFit, PathPoint, PathResult
from fastlin.solving.protocols import Protocol, protocol_of
from fastlin.solving.run import ExactFit
from fastlin.solving.walk import row_counts
from fastlin.training.advice import Advice
from fastlin.training.few_shots import FewShots, check_few_shots, small_classes
from fastlin.training.grid import Seconds
from fastlin.training.trainer import TrainResult

_DEFAULTS = FitConfig()
_GIVEN = ("l2s", "Cs", "select", "patience", "refit", "cv")  # what takes the place of a plan's
# Settings of an exact fit that a kind of protocol has no use for.
_UNUSED: dict[str, tuple[str, ...]] = {
    "path": (),
    "draws": ("l2", "C"),
    "sgd": ("l2", "C", "gap", "fit_intercept", "max_passes"),
}


@dataclass(frozen=True, eq=False)
class Probe:
    """A path of penalties by a protocol, and the classifier of the chosen one.

    Attributes
    ----------
    protocol : Protocol
        What was done.
    path : PathResult
        All penalties, and which is the best.
    fit : ExactFit
        The classifier, of the rows that it was fitted on.
    seconds : float
        Of all fits; of a path that was stopped, of those since it went on.
    given : Mapping[str, Any]
        The arguments of `probe` that took the place of what the protocol says, as JSON values.
    """

    protocol: Protocol
    path: PathResult
    fit: ExactFit
    seconds: float
    given: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Probe({self.protocol.name}: {self.path!r})"

    @property
    def model(self) -> LinearModel:
        """The classifier."""
        return self.path.model

    @property
    def result(self) -> TrainResult:
        """The classifier as a run, in the seconds of the whole path."""
        return replace(self.fit.result, seconds=Seconds(train=self.seconds))

    @property
    def fitting(self) -> Fitting:
        """That it is exact, on which rows, and what decided the penalty."""
        asked = {"protocol": self.protocol.name, **self.given}
        return replace(self.fit.fitting, refit=self.path.refit, probe=asked)

    def fitted_on(self, split: Split) -> Split:
        """Return a split whose training rows are those that it was fitted on."""
        return refitted_split(split) if self.path.refit else split

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says of it: plain JSON values."""
        marked = {"chosen": self.path.best, "one_standard_error": self.path.one_error}
        return self.fit.summary() | {
            "probe": {
                "protocol": self.protocol.name,
                "source": self.protocol.source,
                "differs": self.protocol.differs,
                "selected_by": self.path.select,
                "penalties": len(self.path.points),
                "refit": self.path.refit,
                "cv": self.path.cv,
                "notes": list(self.path.notes),
            }
            | {
                name: {"l2": point.l2, "C": point.C, "val_accuracy": point.values["accuracy"]}
                for name, point in marked.items()
            }
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write path.csv, a line a penalty, and passes.csv of the last fit; return the files.

        Raises
        ------
        InputError
            If they cannot be written.
        """
        path = self.path
        table = save_path(folder, path.points, path.select, path.validation_rows)
        return [table, *self.fit.save(folder)]


def refitted_split(split: Split) -> Split:
    """Return a split whose training rows are its training and validation rows."""
    return replace(split, train=training_and_validation(split), val=None, source=None)


def probe(
    split: Split,
    protocol: str | Protocol = "fastlin",
    config: FitConfig | None = None,
    *,
    l2s: Iterable[float] | None = None,
    Cs: Iterable[float] | None = None,
    select: str | None = None,
    patience: int | None = None,
    refit: bool | None = None,
    cv: int | None = None,
    threads: int | None = None,
    keep: str | Path | None = None,
    on_fit: Callable[[PathPoint], None] | None = None,
    note: Callable[[str], None] | None = None,
    client: Any = None,
    **settings: Any,
) -> Probe | FewShots | GridResult:
    """Judge features by a linear classifier, as a published protocol does.

    Parameters
    ----------
    split : Split
        Where it lacks rows to choose or judge by, and without cv, a tenth of the rows is held out.
    protocol : str or Protocol
        One of `fastlin.solving.protocols.PROTOCOLS`.
    config, threads, client, **settings
        As in `fastlin.solve`, but for l2 and C; workers fit whole draws, and train rates of SGD.
    l2s, Cs, select, patience, refit, cv
        As in `fastlin.path`, in the place of what the protocol says.
    keep : str or Path, optional
        A folder for the fits of a path that is stopped, from which the same call goes on.
    on_fit, note : Callable, optional
        Called after every penalty of a path; and with what a user should know, by default warnings.

    Returns
    -------
    Probe, FewShots or GridResult
        What `fastlin.save_run` takes: of a path, of draws, or of SGD.

    Raises
    ------
    InputError
        If an argument does not fit, or has no effect in the protocol.
    """
    chosen = protocol_of(protocol)
    settled = _settled(chosen, config, settings)
    say = note or functools.partial(warnings.warn, stacklevel=2)
    values = l2s, Cs, select, patience, refit, cv
    given = dict(zip(_GIVEN, values, strict=True))
    plan = plan_with(chosen, given)
    _check_keep(chosen, plan, keep)
    split, held_out = with_rows_for(chosen, split, cv)
    if held_out is not None:
        say(held_out)
    if chosen.kind == "draws":
        return _draws(split, chosen, settled, threads, say, client)
    if plan is None:
        return _sgd(split, chosen, settled, threads, say, client)
    return _path(split, chosen, settled, plan, threads, keep, on_fit, _as_json(plan, given), client)


def _check_keep(protocol: Protocol, plan: PathPlan | None, keep: object) -> None:
    """Raise InputError if there is something to keep, and nothing that could be stopped."""
    if plan is None and keep is not None:
        raise InputError(f"keep has no effect with the protocol {protocol.name}, which has no path")


def with_rows_for(
    protocol: Protocol, split: Split, cv: int | None = None
) -> tuple[Split, str | None]:
    """Return a split with the rows that a protocol needs, and what is said of those held out.

    Draws are judged by test rows, too: without these and validation rows, and for a choice of
    settings without validation rows, a tenth of the training rows is held out; for a choice by
    folds none.

    Raises
    ------
    InputError
        If it is no split, or has too few rows for that.
    """
    check_split(split)
    if cv is not None:
        return split, None
    if protocol.kind == "draws":
        return (split, None) if split.test is not None else with_validation(split, "judge")
    return with_validation(split)


def _settled(protocol: Protocol, config: FitConfig | None, settings: dict[str, Any]) -> FitConfig:
    """Return settings that fit a protocol. Raises InputError if one does not."""
    settled = (settings_of_path if protocol.plan else with_settings)(config, settings)
    check_has_effect(protocol, settled)
    return settled


def check_has_effect(protocol: Protocol, config: FitConfig) -> None:
    """Raise InputError if a setting is not its default, and a protocol has no use for it."""
    for name in _UNUSED[protocol.kind]:
        if getattr(config, name) != getattr(_DEFAULTS, name):
            raise InputError(
                f"{name} has no effect with the protocol {protocol.name}; leave it out"
            )


def plan_with(protocol: Protocol, given: dict[str, Any]) -> PathPlan | None:
    """Return the plan of a protocol with what was given in its place; None if it has no path.

    Raises
    ------
    InputError
        If something was given that has no effect, or does not fit.
    """
    named = {name: value for name, value in given.items() if value is not None}
    if protocol.plan is None:
        if named:
            raise InputError(
                f"{next(iter(named))} has no effect with the protocol {protocol.name}; leave one "
                "of them out"
            )
        return None
    for name in ("l2s", "Cs"):
        if name in named:
            named[name] = penalties(name, named[name])
    if "cv" in named and named.get("refit") is False:
        raise InputError(
            "refit is False, but with cv there is no classifier of some rows alone; leave one of "
            "them out"
        )
    if "l2s" in named and "Cs" not in named:
        named["Cs"] = None
    return replace(protocol.plan, **named)


def _as_json(plan: PathPlan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that were given as a plan has them, as JSON values."""
    named = {name: getattr(plan, name) for name, value in given.items() if value is not None}
    return {n: list(value) if isinstance(value, tuple) else value for n, value in named.items()}


def _path(
    split: Split, protocol: Protocol, config: FitConfig, plan: PathPlan, threads: int | None,
    keep: str | Path | None, on_fit: Callable[[PathPoint], None] | None, given: dict[str, Any],
    client: Any,
) -> Probe:  # fmt: skip
    kept = None if keep is None else KeptFits(keep, split.fingerprint(), config, plan)
    _, held_rows = row_counts(split, plan.cv)

    def tell(fit: PathFit) -> None:
        if kept is not None:
            kept.add(fit, held_rows)
        if on_fit is not None:
            on_fit(fit.point)

    known = [] if kept is None else list(kept.fits)
    began = time.perf_counter()
    found = fit_path(split, config, plan, threads=threads, on_fit=tell, known=known, client=client)
    on = refitted_split(split) if plan.refit else split
    seconds = time.perf_counter() - began
    result = Probe(protocol, found, ExactFit.of(found.solution, on), seconds, given)
    if kept is not None:
        kept.remove()
    return result


def _draws(
    split: Split, protocol: Protocol, config: FitConfig, threads: int | None,
    say: Callable[[str], None], client: Any,
) -> FewShots:  # fmt: skip
    """Fit some rows of every class, as often as they are drawn, and judge every classifier."""
    check_few_shots(split, protocol.shots, protocol.draws)
    for text in small_classes(split, protocol.shots):
        say(text)
    exact = replace(config, C=protocol.C)
    return exact_draws(split, protocol.shots, protocol.draws, exact, threads, client)


def _sgd(
    split: Split, protocol: Protocol, config: FitConfig, threads: int | None,
    say: Callable[[str], None], client: Any,
) -> GridResult:  # fmt: skip
    """Train with every learning rate, as DINOv2's evaluation does."""
    base = TrainConfig(
        loss=config.loss, class_weight=config.class_weight, standardize=config.standardize,
        schedule=Schedule.COSINE, momentum=0.9, batch_size=256, epochs=10, l2=0.0,
        init=Init.GAUSSIAN, sigma=0.01,
    )  # fmt: skip

    def tell(text: str) -> None:
        if not isinstance(text, Advice):  # which names settings that the protocol fixes
            say(text)

    found = grid_search(
        split, {"lr": protocol.lrs}, base=base, threads=threads, note=tell, client=client
    )
    ends = {min(protocol.lrs): "smallest", max(protocol.lrs): "largest"}
    end = ends.get(float(found.best.config.lr))
    if end is not None:
        say(f"the best learning rate is the {end} of the protocol; a grid search may find better")
    return found
