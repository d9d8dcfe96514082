"""Every exception and warning that a user can meet, and how the text of others stands in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastlin.config import TrainConfig
    from fastlin.search.ranking import GridResult


class InputError(ValueError):
    """Something given to fastlin cannot be used; the message says what, and what would be right.

    The message is one line. The command line prints it and exits with code 2.
    """


class MissingDataError(InputError):
    """A named data set is not where it was looked for, and cannot be downloaded."""


class PackageError(InputError, ImportError):
    """A package that fastlin needs is missing, broken, or does not fit another one."""


class MatchWarning(UserWarning):
    """Rows may not be what a classifier was trained on; the message, one line, says how."""


class DataWarning(UserWarning):
    """Data were converted, or not all of them were used; the message, one line, says which."""


class AdviceWarning(UserWarning):
    """What a user should try next, by what training found; the message is one sentence."""


def _smaller(lr: float) -> float:
    """Return a learning rate to try after one that diverged."""
    return min(lr / 10, 1.0)  # above 1 nearly all diverge


class DivergedError(ArithmeticError):
    """The cost of an epoch was not finite; the message says which epoch and what to try.

    Attributes
    ----------
    epoch : int
        Which epoch, counted from 1.
    smaller_lr : float
        A learning rate to try.
    """

    def __init__(self, epoch: int, config: TrainConfig) -> None:
        self.epoch = epoch
        self.smaller_lr = _smaller(config.first_lr)
        advice = f"try a smaller lr, such as {self.smaller_lr:g}"
        shrinking = 2 * config.first_lr * config.penalty_factor
        if shrinking >= 1:
            advice += f", or a smaller l2 (2 lr l2 is {shrinking:g}, above 1)"
        super().__init__(f"training diverged: the cost of epoch {epoch} is not finite; {advice}")


class GridDivergedError(ArithmeticError):
    """Every configuration of a grid diverged.

    Attributes
    ----------
    result : GridResult
        What there was before.
    smaller_lr : float
        A learning rate to try.
    """

    def __init__(self, result: GridResult) -> None:
        self.result = result
        self.smaller_lr = _smaller(min(entry.config.first_lr for entry in result.entries))
        super().__init__(
            f"all {len(result.entries)} configurations diverged; try a smaller lr, such as "
            f"{self.smaller_lr:g}"
        )


def reason_of(error: BaseException) -> str:
    """Return one line that says what happened; with the type of what fastlin did not expect."""
    text = one_line(str(error), 300)
    name = "" if isinstance(error, InputError) else type(error).__name__
    return ": ".join(part for part in (name, text) if part)


_JOINERS = "\u200c\u200d"  # not printable, but part of words of some alphabets


def one_line(text: str, letters: int | None = None) -> str:
    """Return a text as one line of at most so many letters, without the middle of a longer one.

    White space becomes single spaces, and what cannot be printed (control codes, half of a
    surrogate pair, marks that turn the direction of writing) its escape as in Python.
    """
    shown = "".join(
        letter if letter.isprintable() or letter in _JOINERS else ascii(letter)[1:-1]
        for letter in " ".join(text.split())
    )
    if letters is None:
        return shown
    tail = letters // 2
    return shown if len(shown) <= letters else f"{shown[: letters - tail - 1]}…{shown[-tail:]}"


def counted(count: int, noun: str) -> str:
    """Return a number of things: "1 epoch", "20 epochs", "3 classes"."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return names as Python writes them, of many the first `most`, for a message."""
    every = list(names)
    shown = ", ".join(quoted(name) for name in every[:most])
    more = len(every) - most
    return f"{shown} and {more} more" if more > 0 else shown


def quoted(value: object, length: int = 60) -> str:
    """Return a value as Python writes it, on one line and shortened, for a message.

    Parameters
    ----------
    value : object
        A text, a number, or anything else that was given.
    length : int
        The result has at most so many characters.
    """
    try:
        return one_line(repr(value), length)
    except (ValueError, RecursionError):  # an integer of too many digits, lists nested too deep
        return f"a value of type {type(value).__name__}"
