"""Steps of L-BFGS from a given start matrix, and a line search that meets Wolfe's conditions.

J. Nocedal, S. Wright, Numerical Optimization, 2006: algorithms 7.4, 3.5 and 3.6.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.solving.problem import Point, Value

# Steps that are kept, at most, and bytes of them: 5 and 20 take as many passes, as the start matrix
# is taken anew before.
MEMORY, _BYTES = 8, 20_000_000

# Points of more values are divided one after the other: for so many classes that saves memory, and
# takes no longer.
_MOST_TOGETHER = 2**18

# Wolfe's conditions: the share of the promised decrease, and of the slope that may be left.
_DECREASE, _SLOPE = 1e-4, 0.9
MOST_TRIALS = 20


# What is left is the rounding of products if the gradient becomes no shorter by this factor, nor
# the objective falls by this share, in so many steps; or the gradient alone in so many of float32.
_SHORTER, _FALLING = 0.8, 1e-8
_STEPS_OF_ROUNDING = {np.dtype(np.float32): 2, np.dtype(np.float64): 60}
_STEPS_OF_LENGTH = {np.dtype(np.float32): 20, np.dtype(np.float64): sys.maxsize}


class Memory:
    """The last steps, and how the gradient changed along them; kept in float32."""

    def __init__(self) -> None:
        self._pairs: list[tuple[NDArray[np.float32], NDArray[np.float32], float]] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def clear(self) -> None:
        """Forget all steps."""
        self._pairs.clear()

    def add(self, before: Value, after: Value) -> None:
        """Keep a step, unless the gradient did not grow along it, as rounding may have it."""
        step = (after.point - before.point).astype(np.float32)
        change = (after.gradient - before.gradient).astype(np.float32)
        product = _dot(step, change)
        if product > 1e-10 * _dot(step, step) ** 0.5 * _dot(change, change) ** 0.5:
            most = min(MEMORY, max(3, _BYTES // (2 * step.nbytes)))
            self._pairs = [*self._pairs[-(most - 1) :], (step, change, 1 / product)]

    def direction(self, gradient: Point, divide: Callable[[Point], Point]) -> Point:
        """Return a direction of descent; `divide` multiplies (..., K, d + 1) by the start matrix.

        Where the gradient grew more along the last step than the start matrix has it, it is scaled
        by what is between them (equation 7.20), so that the first step of a search is not too long.
        """
        left, factors = gradient.copy(), []
        for step, change, inverse in reversed(self._pairs):
            factors.append(inverse * _dot(step, left))
            left -= factors[-1] * change
        if not self._pairs:
            return -divide(left)
        _, change, inverse = self._pairs[-1]
        grown = change.astype(np.float64)
        found: Point
        if left.size <= _MOST_TOGETHER:
            found, divided = divide(np.stack([left, grown]))
            bend = _dot(grown, divided)
        else:
            bend = _dot(grown, divide(grown))
            del grown
            found = divide(left)
        found *= min(1.0, 1 / (inverse * bend))
        for (step, change, inverse), factor in zip(self._pairs, reversed(factors), strict=True):
            found += (factor - inverse * _dot(change, found)) * step
        return np.negative(found, out=found)


class Gains:
    """Whether steps still gain anything; to be told the value of each of them.

    Parameters
    ----------
    dtype : np.dtype
        Of their products.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._most, self._most_of_length = _STEPS_OF_ROUNDING[dtype], _STEPS_OF_LENGTH[dtype]
        self._length = self._cost = math.inf
        self._steps = self._steps_of_length = 0

    def are_rounding(self, value: Value) -> bool:
        """Return whether no more is to be expected of steps."""
        length = value.length
        is_shorter = length < _SHORTER * self._length
        falls = value.cost < (1 - _FALLING) * self._cost
        self._steps = 0 if is_shorter or falls else self._steps + 1
        self._steps_of_length = 0 if is_shorter else self._steps_of_length + 1
        if is_shorter:
            self._length = length
        if is_shorter or falls:
            self._cost = value.cost
        return self._steps > self._most or self._steps_of_length > self._most_of_length


def line_search(
    evaluate: Callable[[Point], Value], start: Value, direction: Point, noise: float,
    trials: int = MOST_TRIALS,
) -> Value | None:  # fmt: skip
    """Return a value along a direction, from step 1, that meets Wolfe's strong conditions.

    Or their form for slopes alone, in which the slope at the end may be as steep upwards as it was
    downwards, less a share of 2e-4 (Hager & Zhang 2005): costs cannot tell more than their noise.
    If no trial meets them, it is the least one below the start by more than rounding.

    Parameters
    ----------
    evaluate : Callable
        The objective at a point.
    start : Value
        Where the search begins.
    direction : NDArray[np.float64]
        (K, d + 1), of descent.
    noise : float
        Relative rounding of costs, at least: differences below it are not told from 0, and slopes
        decide. Where a cost is below a tangent, by so much is all rounding greater.
    trials : int
        How often it may evaluate, at most.

    Returns
    -------
    Value or None
        None if there is none, as rounding is all that is left, or `trials` are few.
    """
    slope = _dot(start.gradient, direction)
    if not slope < 0:
        return None
    tolerance, low, high = noise * abs(start.cost), (0.0, start.cost, slope), None
    step, least, best = 1.0, start.cost - tolerance, None
    for _ in range(min(trials, MOST_TRIALS)):
        found = evaluate(start.point + step * direction)
        own = _dot(found.gradient, direction)
        is_finite = np.isfinite(found.cost) and np.isfinite(own)
        change = found.cost - start.cost
        if is_finite:  # no convex function is below its tangents
            tolerance = max(tolerance, change - step * own, step * slope - change)
        decreases = is_finite and change <= _DECREASE * step * slope
        is_equal = is_finite and change <= tolerance
        if (decreases and abs(own) <= -_SLOPE * slope) or (
            is_equal and _SLOPE * slope <= own <= (2 * _DECREASE - 1) * slope
        ):
            return found
        if decreases and found.cost < least:
            least, best = found.cost, found
        here = (step, found.cost, own)
        if not (decreases or is_equal) or found.cost > low[1] + tolerance:
            high = here
        else:
            if own >= 0 if high is None else own * (high[0] - low[0]) >= 0:
                high = low
            low = here
        step = 2 * step if high is None else _between(low, high)
        if high is not None and abs(high[0] - low[0]) < 1e-12:
            break
    return best


def _between(low: tuple[float, float, float], high: tuple[float, float, float]) -> float:
    """Return the least point of the cubic through two ends, or else the middle between them.

    Also where it is within a tenth of an end: of steps of L-BFGS, the tenth itself takes a fifth
    more passes.
    """
    (a, cost_a, slope_a), (b, cost_b, slope_b) = low, high
    width = b - a
    middle = a + width / 2
    with np.errstate(all="ignore"):
        first = slope_a + slope_b - 3 * (cost_a - cost_b) / (a - b)
        root = np.sqrt(first * first - slope_a * slope_b) * np.sign(width)
        found = b - width * (slope_b + root - first) / (slope_b - slope_a + 2 * root)
    least, most, tenth = min(a, b), max(a, b), 0.1 * abs(width)
    return float(found) if least + tenth <= found <= most - tenth else middle


def _dot(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the sum of products, in float64."""
    return float(np.vdot(a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)))
