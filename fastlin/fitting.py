"""On which rows the classifier of a run is fitted, and how its epoch is chosen, beside settings.

It imports neither NumPy nor Numba.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from fastlin.errors import InputError, counted, quoted
from fastlin.settings import Number, Switch, whole_number

MOST_REPEATS = 1000  # folds or draws: each is a training run
DEFAULT_DRAWS = 10


def check_repeats(name: str, count: object, least: int) -> int:
    """Return a number of folds or draws. Raises InputError if it is none."""
    number = whole_number(name, count, least)
    if number > MOST_REPEATS:
        raise InputError(f"{name} is {number:,}; it must be at most {MOST_REPEATS:,}")
    return number


def check_calibrates_alone(kinds: Sequence[str], *, calibrate: bool) -> None:
    """Raise InputError if a classifier is calibrated beside fits of such kinds."""
    if calibrate and kinds:
        raise InputError(
            f"calibrate cannot be combined with {kinds[0]}: it takes one classifier, and "
            "validation rows that it was not fitted on; leave one of them out"
        )


@dataclass(frozen=True)
class Fitting:
    """On which rows a classifier is fitted: by default once, on the training rows.

    Attributes
    ----------
    refit_epochs : int or None
        For how many epochs it is fitted again, on training and validation rows; None for never.
    cv : int or None
        In how many folds these rows are divided to choose and to judge settings, before it is
        fitted on all of them; None for no cross-validation.
    shots, draws : int or None
        On how many training rows of every class it is fitted, and how often such rows are drawn;
        both None for all training rows.
    calibrate : bool
        Whether temperatures are fitted on the validation rows afterwards.
    select : str
        By which measure of the validation rows the best epoch is chosen, one of
        `fastlin.metrics.MEASURES`.
    gap : float or None
        The relative gap of an exact fit (`fastlin.solve`), which has no epochs; None for training.
    fit_intercept : bool
        Whether an exact fit has biases.
    refit : bool
        Whether an exact fit is on training and validation rows.
    max_passes : int or None
        After how many passes over the rows an exact fit ends; None for what it has by default.
    probe : Mapping[str, Any] or None
        What decided the penalty of an exact fit: arguments of `fastlin.probe` by name, with the
        name of the protocol; None if it was given.

    Raises
    ------
    InputError
        If a number is impossible, or two of them exclude each other.
    """

    refit_epochs: int | None = None
    cv: int | None = None
    shots: int | None = None
    draws: int | None = None
    calibrate: bool = False
    select: str = "accuracy"
    gap: float | None = None
    fit_intercept: bool = True
    refit: bool = False
    max_passes: int | None = None
    probe: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("calibrate", "fit_intercept", "refit"):
            Switch().checked(name, getattr(self, name))
        if self.gap is not None:
            Number(0.0, 1.0, above_low=True).checked("gap", self.gap)
        if not isinstance(self.select, str):
            raise InputError(f"select is {quoted(self.select)}; it must be the name of a measure")
        if self.max_passes is not None:
            object.__setattr__(self, "max_passes", whole_number("max_passes", self.max_passes, 3))
        others = {"calibrate", "select", "gap", "fit_intercept", "refit", "max_passes", "probe"}
        given = {name: value for name, value in self.content().items() if name not in others}
        for name, value in given.items():
            checked = whole_number(name, value, 1)
            if name in _LEAST_REPEATS:
                checked = check_repeats(name, value, _LEAST_REPEATS[name])
            object.__setattr__(self, name, checked)
        if (self.shots is None) != (self.draws is None):
            raise InputError("shots and draws have a meaning only beside each other")
        every = self.content()
        kinds = [name for name in ("refit_epochs", "cv", "shots", "gap") if name in every]
        if self.refit and kinds != ["gap"]:
            raise InputError("refit has a meaning only beside gap: it is of an exact fit")
        if self.probe is not None:
            self._check_probe(self.probe, kinds)
        if len(kinds) > 1 and kinds != ["shots", "gap"]:
            raise InputError(f"{kinds[0]} has no effect with {kinds[1]}; leave one of them out")
        if self.select != "accuracy" and kinds and kinds[0] != "refit_epochs":
            raise InputError(f"select has no effect with {kinds[0]}; leave one of them out")
        check_calibrates_alone(kinds, calibrate=self.calibrate)

    def _check_probe(self, probe: object, kinds: Sequence[str]) -> None:
        """Raise InputError if that decided no penalty of a fit of such kinds."""
        if kinds != ["gap"]:
            raise InputError("probe has a meaning only beside gap: it is of an exact fit")
        if not isinstance(probe, Mapping) or not isinstance(probe.get("protocol"), str):
            raise InputError(f"probe is {quoted(probe)}; it must be arguments with a protocol")

    def as_probe(self, l2: float) -> dict[str, Any] | None:
        """Return the arguments of `fastlin.probe` that fit this again; None if it is of no probe.

        Parameters
        ----------
        l2 : float
            The penalty, by which those are known that were written without arguments.
        """
        if self.probe is not None:
            return dict(self.probe)
        if self.gap is not None and self.shots is not None:
            return {"protocol": "mteb"}
        return {"protocol": "fastlin", "l2s": [l2], "refit": True} if self.refit else None

    @property
    def folds_of_path(self) -> int | None:
        """In how many folds penalties were judged; None for validation rows, or for no path."""
        return None if self.probe is None else self.probe.get("cv")

    @property
    def select_of_path(self) -> str:
        """By which measure the penalty of a path was chosen, such as ``val_accuracy``."""
        default = "val_accuracy"
        return default if self.probe is None else str(self.probe.get("select", default))

    def content(self) -> dict[str, Any]:
        """Return what is not left at its default, as JSON values."""
        found, of = asdict(self).items(), type(self).__dataclass_fields__
        return {name: value for name, value in found if value is not of[name].default}

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Build one from JSON values. Raises InputError if they are none of it."""
        if not isinstance(content, Mapping):
            raise InputError(f"'fit' is {quoted(content)}; it must be names with values")
        known = cls.__dataclass_fields__
        for name in content:
            if name not in known:
                raise InputError(
                    f"unknown key {quoted(name)} in 'fit'; the keys are {', '.join(known)}"
                )
        return cls(**content)

    def note(self, parts: Mapping[str, object]) -> str | None:
        """Return what must be said beside figures of the parts of the data, by name."""
        if self.shots is not None:
            return (
                f"the classifier is that of the first of {counted(self.draws or 1, 'draw')}, "
                f"fitted on {counted(self.shots, 'training row')} of every class"
            )
        on_all = self.refit_epochs is not None or self.cv is not None or self.refit
        if on_all and "val" in parts:
            return (
                "the classifier was fitted on the validation rows, too; what it does on them says "
                "nothing about new rows"
            )
        return None

    def counting(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of a run's settings that have an effect: an exact fit has few of them."""
        if self.gap is None:
            return dict(settings)
        return {name: settings[name] for name in _OF_EXACT_FIT if name in settings}

    @property
    def remark(self) -> str:
        """What stands at the foot of figures, where there is anything to say."""
        if self.gap is not None:
            rows = " of training and validation rows" if self.refit else ""
            if self.folds_of_path is not None:  # there may be no validation rows
                rows = f" of all rows that {self.folds_of_path} folds held out in turn"
            if self.shots is not None:
                rows = f" of the first draw of {counted(self.shots, 'training row')} a class"
            return f"exact fit{rows}, to a relative gap of {self.gap:.0e} at most"
        if self.shots is not None:
            return f"fitted on the first draw of {counted(self.shots, 'training row')} a class"
        return "classifier fitted on training and validation rows"


_LEAST_REPEATS = {"cv": 2, "draws": 1}
_OF_EXACT_FIT = ("loss", "l2", "standardize", "class_weight", "dtype")
