"""What an exact fit found, and how far it was after each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from fastlin.model import LinearModel
from fastlin.solving.config import FitConfig


class Progress(NamedTuple):
    """How far a solver is, after a step."""

    passes: int
    objective: float
    gap: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Solution:
    """The classifier that an exact fit found, and what is known of it.

    Attributes
    ----------
    model : LinearModel
        The classifier; float32 where that keeps the gap asked for, else float64.
    objective : float
        Mean loss + l2 * sum(W**2) over the training rows, of the model as it is.
    gap : float
        The objective less the least one there is, at most; infinite where l2 is 0.
    gradient_norm : float
        The length of the gradient, over that at weights of zero.
    passes : int
        Over the training rows.
    seconds : float
        From the call to the result.
    converged : bool
        Whether the gap asked for was reached; with l2 0, a gradient of that share.
    l2 : float
        The factor of the penalty.
    config : FitConfig
        The settings.
    trace : tuple[Progress, ...]
        Objective and gap after every step; the last is that of the result.
    note : str or None
        Why it did not converge.
    stopped : bool
        Whether `watch` ended the fit before.
    """

    model: LinearModel
    objective: float
    gap: float
    gradient_norm: float
    passes: int
    seconds: float
    converged: bool
    l2: float
    config: FitConfig
    trace: tuple[Progress, ...]
    note: str | None = None
    stopped: bool = False

    @property
    def relative_gap(self) -> float:
        """The gap over the least objective that it leaves possible."""
        return relative(self.gap, self.objective)

    def __repr__(self) -> str:
        state = "" if self.converged else ", not converged"
        return (
            f"Solution({self.objective:.9g}, {gap_text(self.relative_gap, self.l2)}, "
            f"{self.passes} passes, {self.seconds:.2f} s{state})"
        )


def relative(gap: float, objective: float) -> float:
    """Return a gap over the least objective that it leaves possible; infinite if that is 0."""
    least = objective - gap
    return gap / least if 0 < least < math.inf else (0.0 if gap == 0 else math.inf)


def gap_text(relative_gap: float, l2: float) -> str:
    """Return in words what is proved of the distance to the optimum of a penalty."""
    if l2 == 0:
        return "no bound, as l2 is 0"
    return f"relative gap at most {relative_gap:.1e}" if relative_gap < math.inf else "no bound yet"
