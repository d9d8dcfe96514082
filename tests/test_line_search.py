"""The line search of the exact fit, on convex functions of one variable."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastlin.solving.lbfgs import MOST_TRIALS, Memory, line_search
from fastlin.solving.problem import Value

DECREASE, SLOPE = 1e-4, 0.9


class Counted:
    """A function of one variable as the objective of a solver, and how often it was asked."""

    def __init__(self, cost, slope):
        self.cost, self.slope, self.count = cost, slope, 0

    def __call__(self, point):
        self.count += 1
        with np.errstate(all="ignore"):
            cost, slope = float(self.cost(point[0, 0])), self.slope(point)
        return Value(point, cost, np.asarray(slope, np.float64).reshape(point.shape), np.inf)

    def search(self, at, direction, noise=1e-14, **settings):
        """Search from a place; what it takes to start is not counted."""
        start = self(np.array([[float(at)]]))
        self.count = 0
        return start, line_search(self, start, np.array([[float(direction)]]), noise, **settings)


def assert_wolfe(start, found, direction):
    step = (found.point[0, 0] - start.point[0, 0]) / direction
    slope, own = start.gradient[0, 0] * direction, found.gradient[0, 0] * direction
    assert step > 0
    assert found.cost <= start.cost + DECREASE * step * slope + 1e-13 * abs(start.cost)
    assert SLOPE * slope <= own <= (2 * DECREASE - 1) * slope


@settings(max_examples=200)
@given(
    st.floats(-3, 3), st.floats(-4, 4), st.floats(-5, 5).filter(lambda at: abs(at) > 1e-3)
)  # fmt: skip
def test_quadratics_whose_first_step_is_far_too_long_or_too_short(bend, length, at):
    bend, length = 10.0**bend, 10.0**length
    function = Counted(lambda x: bend * x * x / 2, lambda x: bend * x)
    direction = -length * at  # 1 / length of it is the way to the least point
    start, found = function.search(at, direction)
    assert_wolfe(start, found, direction)
    assert function.count <= 16


@settings(max_examples=200)
@given(st.floats(1.2, 4), st.floats(-3, 3), st.floats(0.01, 10))
def test_powers_that_are_not_quadratic(power, length, at):
    function = Counted(
        lambda x: abs(x) ** power, lambda x: power * abs(x) ** (power - 1) * np.sign(x)
    )
    direction = -(10.0**length) * at
    start, found = function.search(at, direction)
    assert_wolfe(start, found, direction)


@settings(max_examples=200)
@given(st.floats(0.01, 0.99), st.floats(-2, 6), st.booleans())
@example(at=0.53125, length=5.0, is_nan=False)  # halved as often as it may be, it is too long
def test_walls_of_infinite_values(at, length, is_nan):
    """A barrier -log(x) - log(1 - x), beyond which there is nothing, or no number."""
    wall = np.nan if is_nan else np.inf
    function = Counted(
        lambda x: -np.log(x) - np.log1p(-x) if 0 < x < 1 else wall,
        lambda x: np.where((x > 0) & (x < 1), 1 / (1 - x) - 1 / x, np.nan),
    )
    direction = (10.0**length) * (1 if at < 0.5 else -1)
    start, found = function.search(at, direction)
    if found is None:  # there is nothing to win, or every step ended beyond the middle
        shortest = abs(direction) / 2 ** (MOST_TRIALS - 1)
        assert abs(at - 0.5) < 1e-2 or shortest > abs(at - 0.5)
    else:
        assert_wolfe(start, found, direction)


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.floats(-9, -1), st.floats(-6, 0))
def test_noise_gives_a_point_or_none_and_no_loop(seed, noise, at):
    rng = np.random.default_rng(seed)
    size, at = 10.0**noise, 10.0**at
    function = Counted(
        lambda x: 1 + x * x + size * rng.normal(), lambda x: 2 * x + size * rng.normal()
    )
    start, found = function.search(at, -at, noise=size)
    assert function.count <= MOST_TRIALS
    if found is not None:
        assert found.cost <= start.cost + 10 * size  # ten times the deviation of each cost


def test_the_first_step_is_1():
    function = Counted(lambda x: x * x, lambda x: 2 * x)
    _, found = function.search(1.0, -1.0)
    assert (found.point[0, 0], function.count) == (0.0, 1)


@pytest.mark.parametrize("trials", [0, 1, 3, 7])
def test_no_more_trials_than_allowed(trials):
    """A line has no least point; the longest step is the best."""
    function = Counted(lambda x: -x, lambda x: -np.ones_like(x))
    _, found = function.search(1.0, 1.0, trials=trials)
    assert function.count == trials
    assert found is None if trials == 0 else found.point[0, 0] == 1 + 2.0 ** (trials - 1)


@pytest.mark.parametrize("direction", [0.0, 1.0, np.nan])
def test_what_is_no_direction_of_descent_has_no_step(direction):
    function = Counted(lambda x: x * x, lambda x: 2 * x)
    _, found = function.search(1.0, direction)
    assert found is None
    assert function.count == 0


def test_steps_of_lbfgs_end_at_the_least_point_of_a_quadratic():
    rng = np.random.default_rng(0)
    A = np.diag([1.0, 10.0, 100.0, 1000.0])
    b = rng.normal(size=4)

    def evaluate(point):
        x = point[0]
        return Value(point, float(x @ A @ x / 2 - b @ x), (A @ x - b)[None], np.inf)

    value, memory = evaluate(np.zeros((1, 4))), Memory()
    for _ in range(25):
        found = line_search(evaluate, value, memory.direction(value.gradient, np.copy), 1e-15)
        if found is None:
            break
        memory.add(value, found)
        value = found
    np.testing.assert_allclose(value.point[0], np.linalg.solve(A, b), rtol=1e-5)


@pytest.mark.parametrize("factor", [0.05, 0.3, 1.0])
def test_a_start_matrix_that_bends_too_little_is_scaled_by_the_last_step(factor):
    """Of a quadratic whose start matrix is right but for a factor, the next step is Newton's."""
    rng = np.random.default_rng(0)
    bend = rng.uniform(0.5, 20, size=(3, 4))

    def value(point):
        return Value(point, float((bend * point**2).sum() / 2), bend * point, np.inf)

    memory, before, after = Memory(), value(rng.normal(size=(3, 4))), value(rng.normal(size=(3, 4)))
    memory.add(before, after)
    found = memory.direction(after.gradient, lambda gradient: gradient / (factor * bend))
    np.testing.assert_allclose(found, -after.point, rtol=1e-5)


def test_a_start_matrix_that_bends_too_much_stays():
    """Directions that the last step did not see may bend as it says."""
    point = np.array([[1.0, 0.0]])
    memory = Memory()
    memory.add(
        Value(point, 0.5, np.array([[1.0, 0.0]]), np.inf),
        Value(point / 2, 0.1, np.array([[0.5, 0.0]]), np.inf),
    )
    found = memory.direction(np.array([[0.0, 1.0]]), lambda gradient: gradient / 10)
    np.testing.assert_allclose(found, [[0.0, -0.1]])


@pytest.mark.parametrize("length", [1.5, 2.5, 8.0])
def test_costs_whose_rounding_is_beyond_what_was_said_of_it_leave_slopes_to_decide(length):
    """Slopes that are still downhill where the cost is above the start: costs are rounding."""
    function = Counted(
        lambda x: 1 + 1e-9 * (x - 1) ** 2 + 1e-6 * (x != 0), lambda x: 2e-9 * (x - 1)
    )
    start, found = function.search(0, length, noise=1e-8)
    assert abs(found.gradient[0, 0]) <= SLOPE * abs(start.gradient[0, 0])
    assert function.count <= 6
