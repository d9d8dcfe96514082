"""On which rows the classifier of a run is fitted, beside its settings.

It imports neither NumPy nor Numba.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from fastlin.errors import InputError, quoted
from fastlin.settings import whole_number

MOST_FOLDS = 1000  # each is a training run on nearly all rows


def check_folds(cv: object) -> int:
    """Return a number of folds. Raises InputError if it is none."""
    number = whole_number("cv", cv, 2)
    if number > MOST_FOLDS:
        raise InputError(f"cv is {number:,}; it must be at most {MOST_FOLDS:,}")
    return number


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

    Raises
    ------
    InputError
        If a number is impossible, or two of them exclude each other.
    """

    refit_epochs: int | None = None
    cv: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.content().items():
            object.__setattr__(self, name, whole_number(name, value, _LEAST[name]))
        if self.cv is not None:
            check_folds(self.cv)
        if self.refit_epochs is not None and self.cv is not None:
            raise InputError(
                "refit has no effect with cv: after cross-validation the classifier is fitted "
                "on all rows; leave one of them out"
            )

    def content(self) -> dict[str, int]:
        """Return what is not left at its default, as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Build one from JSON values. Raises InputError if they are none of it."""
        if not isinstance(content, Mapping):
            raise InputError(f"'fit' is {quoted(content)}; it must be names with values")
        for name in content:
            if name not in _LEAST:
                raise InputError(
                    f"unknown key {quoted(name)} in 'fit'; the keys are {', '.join(_LEAST)}"
                )
        return cls(**content)

    def note(self, parts: Mapping[str, object]) -> str | None:
        """Return what must be said beside figures of the parts of the data, by name."""
        on_all = self.refit_epochs is not None or self.cv is not None
        if on_all and "val" in parts:
            return (
                "the classifier was fitted on the validation rows, too; what it does on them says "
                "nothing about new rows"
            )
        return None


_LEAST = {"refit_epochs": 1, "cv": 2}
