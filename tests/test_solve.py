"""`fastlin.solve`: the optimum that other libraries find, and a bound that is never too small."""

import subprocess
import sys
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from solve_problems import (
    SOFTMAX,
    least_objective,
    objective,
    objective_of,
    random_rows,
    sklearn_optimum,
)

import fastlin
from fastlin.errors import InputError
from fastlin.losses import Softmax, SquaredHinge
from fastlin.solving import curvature, start_matrices
from fastlin.solving.config import FitConfig
from fastlin.solving.solver import problem_of

# What sums in float64 lose.
ROUNDING = 1e-13


@cache
def small():
    """Return 300 rows of 12 features and their labels, of 5 classes that overlap."""
    return random_rows(1, 5, 300, 12)


@pytest.mark.parametrize("seed", range(30))
def test_the_objective_is_that_of_scikit_learns_optimum(seed):
    rng = np.random.default_rng([7, seed])
    K = (2, 3, 5, 10, 20, 50)[seed % 6]
    n, d = int(rng.integers(8 * K, 8 * K + 300)), int(rng.integers(2, 500 // K + 8))
    X, y = random_rows(seed, K, n, d, scaled=seed % 2 == 0, imbalanced=seed % 5 == 0 and K < 20)
    l2 = 10 ** rng.uniform(-4, -1)
    weights = None
    if seed % 3 == 0:
        weights = rng.random(n) + 0.1
        weights /= weights.mean()
    split = fastlin.Split.from_arrays(X, y, weights=weights)
    found = fastlin.solve(split, l2=l2)
    assert found.converged
    assert found.note is None
    own = objective_of(found.model, X, y, l2, weights=weights)
    least = objective(X, y, *sklearn_optimum(X, y, l2, weights), l2, weights=weights)
    assert found.objective == pytest.approx(own, rel=1e-12)
    assert own - least <= found.gap + ROUNDING
    assert abs(own - least) <= 1e-6 * least
    assert found.relative_gap <= 1e-6


LOSSES = {
    "softmax": SOFTMAX,
    "smoothed": Softmax(smoothing=0.1),
    "squared hinge": SquaredHinge(),
    "wide margin": SquaredHinge(margin=3.0),
}
SETTINGS = {
    "weights": {},
    "class weights": {"class_weight": {"0": 3.0, "2": 0.5}},
    "no intercept": {"fit_intercept": False},
    "standardized": {"standardize": True},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", LOSSES)
def test_no_bound_is_below_the_distance_to_scipys_optimum(name, setting):
    """Neither the solution's, nor those of points anywhere, nor of those on the way."""
    loss, settings, l2 = LOSSES[name], dict(SETTINGS[setting]), 3e-3
    X, y = random_rows(3, 5, 200, 6, scaled=False)
    rng = np.random.default_rng(11)
    own = rng.random(len(X)) + 0.05  # kernels for weighted rows, everywhere: one to compile
    weights = own.copy()
    for class_name, weight in settings.get("class_weight", {}).items():
        weights[y == int(class_name)] *= weight
    weights /= weights.mean()
    split = fastlin.Split.from_arrays(X, y, weights=own)
    config = FitConfig(loss=loss, l2=l2, gap=1e-8, **settings)
    found = fastlin.solve(split, config=config)
    assert found.converged
    offset = found.model.feature_offset  # the rows are read less it, and so rounded to float32
    features = (X if offset is None else X - offset.astype(X.dtype)).astype(np.float64)
    if settings.get("standardize"):
        features = (features - features.mean(axis=0)) / X.std(axis=0, dtype=np.float64)
    intercept = settings.get("fit_intercept", True)
    least = least_objective(features, y, 5, l2, loss, weights, intercept)
    assert found.objective == pytest.approx(
        objective_of(found.model, X, y, l2, loss, weights), rel=1e-12
    )
    assert -1e-7 * least <= found.objective - least <= found.gap + ROUNDING
    least = min(least, found.objective)  # SciPy ends a little above

    problem = problem_of(split.train, config)
    zero = np.zeros(problem.shape)
    problem.value(zero)
    optimum = problem.point_of(found.model)
    for share in (0.0, 0.3, 0.9, 0.999, 0.999999, 1.0):
        for size in (0.0, 1e-6, 1e-3, 0.1, 3.0):
            noise = size * rng.normal(size=problem.shape)
            if not intercept:
                noise[:, -1] = 0
            value = problem.value(share * optimum + noise)
            assert value.bound >= value.cost - least - ROUNDING
            assert value.cost >= least - found.gap - ROUNDING


def test_no_bound_is_a_difference_of_large_squares():
    """Of features of 1e8 and more these lose all digits of the objective."""
    for seed in range(8):
        X, y = random_rows(seed, 60, 120, 8)
        X = X.astype(np.float64) * 10.0 ** np.random.default_rng(seed).uniform(-10, 15, 8)
        weights = 10.0 ** np.random.default_rng(seed).uniform(-8, 2, len(X))
        split = fastlin.Split.from_arrays(X, y, weights=weights)
        problem = problem_of(split.train, FitConfig(l2=0.5))
        for dtype in (np.float32, np.float64):
            assert problem.value(np.zeros(problem.shape), dtype).bound > 1


def test_the_gap_on_the_way_is_one_to_the_optimum():
    X, y = small()
    least = fastlin.solve(X, y, l2=1e-3, gap=1e-12).objective
    trace = fastlin.solve(X, y, l2=1e-3).trace
    assert all(step.objective / (1 + step.gap) <= least * (1 + 1e-7) for step in trace)
    assert [step.passes for step in trace] == sorted({step.passes for step in trace})


@pytest.mark.parametrize(
    "settings",
    [{"gap": 1e-3}, {"gap": 1e-6}, {"gap": 1e-12}, {"gap": 1e-16}, {"max_passes": 6}, {"l2": 0.0}],
    ids=str,
)
def test_the_last_of_the_trace_is_the_result(settings):
    heard = []
    found = fastlin.solve(*small(), **({"l2": 1e-3} | settings), progress=heard.append)
    last = found.trace[-1]
    assert last[:3] == (found.passes, found.objective, found.relative_gap)
    assert last.seconds <= found.seconds
    assert tuple(heard) == found.trace


def test_the_last_of_the_trace_is_the_result_where_a_fit_is_stopped():
    steps = []

    def stop(_):
        steps.append(None)
        return len(steps) == 3

    found = fastlin.solve(*small(), l2=1e-3, watch=stop)
    assert found.stopped
    assert found.trace[-1][:2] == (found.passes, found.objective)
    assert len(found.trace) == len(steps) + 1


@pytest.mark.parametrize("weights", [None, "rows"])
def test_the_bits_do_not_depend_on_the_threads(weights):
    X, y = random_rows(2, 5, 3000, 300)
    own = np.linspace(0.5, 2, len(X)) if weights else None
    split = fastlin.Split.from_arrays(X, y, weights=own)
    one, two = (fastlin.solve(split, l2=1e-3, threads=count) for count in (1, 2))
    np.testing.assert_array_equal(one.model.W, two.model.W)
    np.testing.assert_array_equal(one.model.b, two.model.b)
    assert (one.objective, one.gap, one.passes) == (two.objective, two.gap, two.passes)


def threads_of_blas():
    """Return those of NumPy's library; SciPy, which Numba loads, may have one of its own."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    return [
        library["num_threads"]
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas" and "scipy.libs" not in library["filepath"]
    ]


@pytest.mark.parametrize("is_stopped", [False, True])
def test_blas_has_its_threads_again(is_stopped):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    seen = []

    def look(_):
        seen.append(threads_of_blas())
        if is_stopped:
            raise KeyboardInterrupt

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads_of_blas()
        if is_stopped:
            with pytest.raises(KeyboardInterrupt):
                fastlin.solve(*small(), l2=1e-3, progress=look)
        else:
            fastlin.solve(*small(), l2=1e-3, progress=look)
        assert threads_of_blas() == before
    assert set(seen[0]) <= {1}


def test_importing_does_not_load_threadpoolctl():
    code = "import sys, fastlin; fastlin.solve; sys.exit('threadpoolctl' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("gap", [1e-2, 1e-6, 1e-12])
def test_classes_that_can_be_separated_have_no_optimum_without_a_penalty(gap):
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(50, 3)) - 6, rng.normal(size=(50, 3)) + 6].astype(np.float32)
    y = np.repeat([0, 1], 50)
    found = fastlin.solve(X, y, l2=0, gap=gap, max_passes=300)
    assert found.passes <= 300
    assert np.isinf(found.gap)
    if gap < 1e-2:
        assert not found.converged
        assert "can be separated" in found.note
        assert found.objective < 1e-5


def test_fewer_rows_than_features_can_be_separated():
    """The small matrix of rows less their mean has an eigenvalue of 0, which is no direction."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 200)).astype(np.float32), np.arange(40) % 5
    assert fastlin.solve(X, y, l2=0).objective < 1e-5
    found = fastlin.solve(X, y, l2=1e-8, gap=1e-4)
    assert found.converged
    assert found.objective < 1e-5


def test_without_a_penalty_the_optimum_is_that_of_scikit_learn():
    X, y = small()
    found = fastlin.solve(X, y, l2=0, gap=1e-8)
    assert found.converged
    least = objective(X, y, *sklearn_optimum(X, y, 1e-12), 0.0)
    assert found.objective == pytest.approx(least, rel=1e-10)
    assert found.relative_gap == np.inf
    assert found.gradient_norm <= 1e-8


def test_a_gap_that_float64_has_no_digits_for_ends():
    found = fastlin.solve(*small(), l2=1e-3, gap=1e-19)
    assert not found.converged
    assert "steps no longer lower the objective" in found.note
    assert found.relative_gap < 1e-13


def test_a_fit_of_many_rows_goes_on_while_the_objective_falls(monkeypatch):
    """Of the squared hinge and classes that are apart, few rows have any curvature."""
    monkeypatch.setattr(start_matrices, "_MOST_WORK_OF_SLOW", 0)
    rng = np.random.default_rng(3)
    X = rng.normal(size=(200, 150)).astype(np.float32)
    found = fastlin.solve(X, X[:, 0] > 0, l2=2e-6, gap=1e-9, loss=SquaredHinge(), max_passes=300)
    assert not found.converged
    assert 295 <= found.passes <= 300
    assert "passes were not enough" in found.note
    assert "or set standardize to True" in found.note


@pytest.mark.parametrize("max_passes", [3, 4, 5, 8, 12, 20])
@pytest.mark.parametrize("has_start", [False, True])
def test_no_more_passes_are_taken_than_allowed(max_passes, has_start):
    X, y = small()
    start = fastlin.solve(X, y, l2=1.0).model if has_start else None
    found = fastlin.solve(X, y, l2=1e-5, gap=1e-14, max_passes=max_passes, start=start)
    assert max_passes - 1 <= found.passes <= max_passes  # one is kept for the result
    assert not found.converged
    assert f"{found.passes} passes were not enough" in found.note
    assert found.objective == pytest.approx(objective_of(found.model, X, y, 1e-5), rel=1e-12)


def with_bad_columns(X):
    """Return rows with constant, doubled and dependent columns."""
    X = X.copy()
    X[:, 3], X[:, 9] = 2.5, 0
    X[:, 4] = X[:, 5]
    X[:, 6] = X[:, 7] + X[:, 8]
    return X


@pytest.mark.parametrize("l2", [1e-2, 1e-5])
def test_columns_that_are_constant_or_depend_on_others(l2):
    X, y = with_bad_columns(small()[0]), small()[1]
    found = fastlin.solve(X, y, l2=l2)
    assert found.converged
    least = objective(X, y, *sklearn_optimum(X, y, l2), l2)
    assert found.objective == pytest.approx(least, rel=1e-6)
    assert np.abs(found.model.W[:, [3, 9]]).max() < 1e-4
    np.testing.assert_allclose(found.model.W[:, 4], found.model.W[:, 5], atol=1e-3)


def test_rows_of_nothing_give_the_shares_of_the_classes():
    y = small()[1][:40]
    shares = np.bincount(y) / len(y)
    found = fastlin.solve(np.zeros((40, 3), np.float32), y, l2=1e-3, gap=1e-12)
    np.testing.assert_allclose(np.exp(found.model.b) / np.exp(found.model.b).sum(), shares)
    assert found.objective == pytest.approx(-(shares * np.log(shares)).sum())


def test_features_of_very_different_sizes():
    X, y = small()
    X = (X * 10.0 ** np.linspace(-4, 4, X.shape[1])).astype(np.float32)
    found = fastlin.solve(X, y, l2=1e-3)
    assert found.converged
    least = objective(X, y, *sklearn_optimum(X, y, 1e-3), 1e-3)
    assert found.objective == pytest.approx(least, rel=1e-6)
    assert found.passes < 60


def test_features_whose_squares_are_beyond_float32_are_refused():
    X, y = small()
    X = X.copy()
    X[:, 2] *= 1e30
    with pytest.raises(InputError, match=r"feature 2 is .*e\+30 from its mean; .*multiply it by"):
        fastlin.solve(X, y, l2=1e-3)


@pytest.mark.parametrize(("n", "d"), [(40, 100), (300, 700), (700, 600), (3000, 600)])
@pytest.mark.parametrize("l2", [1e-1, 1e-4])
def test_the_optimum_does_not_depend_on_how_directions_are_found(monkeypatch, n, d, l2):
    """Of all rows or some, all directions or the leading ones, or of the products of rows."""
    X, y = random_rows(5, 3, n, d)
    X *= np.geomspace(1, 0.01, d).astype(np.float32)
    all_of_them = fastlin.solve(X, y, l2=l2)
    monkeypatch.setattr(curvature, "_ALL_DIRECTIONS", 64)
    leading = fastlin.solve(X, y, l2=l2)
    for found in (all_of_them, leading):
        assert found.converged
        assert found.objective - min(all_of_them.objective, leading.objective) <= found.gap
    assert leading.passes <= 2 * all_of_them.passes + 10


@pytest.mark.parametrize("size", [1e-12, 1e15])
def test_the_start_matrix_does_not_depend_on_the_unit_of_the_features(size):
    """Squares of the squares of such features are none that float32 holds."""
    X, y = small()
    found = fastlin.solve((X * size).astype(np.float32), y, l2=1e-3 * size**2)
    one = fastlin.solve(X, y, l2=1e-3)
    assert found.converged
    assert found.objective == pytest.approx(one.objective, rel=2e-6)
    assert found.passes <= one.passes + 3


def test_large_means():
    X, y = small()
    moved = (X + 1e4).astype(np.float32)
    exact = moved.astype(np.float64) - 1e4
    least = objective(exact, y, *sklearn_optimum(exact, y, 1e-3), 1e-3)
    found = fastlin.solve(moved, y, l2=1e-3, gap=1e-9)
    assert found.converged
    assert found.model.feature_offset is not None
    assert -1e-12 <= found.objective - least <= found.gap + ROUNDING
    assert found.objective == pytest.approx(objective_of(found.model, moved, y, 1e-3), rel=1e-12)


@pytest.mark.parametrize("standardize", [False, True])
def test_features_have_the_mean_0_for_the_solver(standardize):
    """Also weighted ones far from 0: float32 sums of features as stored would lose four digits."""
    rng = np.random.default_rng(3)
    X = (rng.normal(size=(5000, 3)) + np.array([1e4, -1e3, 0])).astype(np.float32)
    weights = rng.random(len(X)) + 0.1
    split = fastlin.Split.from_arrays(X, np.arange(len(X)) % 2, weights=weights)
    problem = problem_of(split.train, FitConfig(l2=1e-3, standardize=standardize))
    features = problem.features(np.arange(len(X)), np.float64)
    assert np.abs(np.average(features, axis=0, weights=weights)).max() < 1e-6


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.float64])
def test_rows_of_every_dtype(dtype):
    X, y = small()
    stored = (X * 30 + 120).clip(0, 255).astype(np.uint8) if dtype == np.uint8 else X.astype(dtype)
    scale = 1 / 255 if dtype == np.uint8 else 1.0
    found = fastlin.solve(stored, y, l2=1e-3)
    features = stored.astype(np.float64) * scale
    least = objective(features, y, *sklearn_optimum(features, y, 1e-3), 1e-3)
    assert found.converged
    assert found.objective == pytest.approx(
        objective_of(found.model, stored, y, 1e-3, scale=scale), rel=1e-9
    )
    assert found.objective - least <= found.gap + ROUNDING
    assert found.objective == pytest.approx(least, rel=1e-6)


def test_rows_that_are_mapped_give_the_same_bits(tmp_path):
    X, y = small()
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    a, b = fastlin.solve(X, y, l2=1e-3), fastlin.solve(mapped, y, l2=1e-3)
    np.testing.assert_array_equal(a.model.W, b.model.W)


def test_a_weight_of_2_is_a_row_twice_and_0_is_none():
    X, y = small()
    counts = np.random.default_rng(0).integers(0, 3, len(X))
    split = fastlin.Split.from_arrays(X, y, weights=counts)
    again = np.repeat(np.arange(len(X)), counts)
    weighted = fastlin.solve(split, l2=1e-2, gap=1e-10)
    repeated = fastlin.solve(X[again], y[again], l2=1e-2, gap=1e-10)
    assert weighted.objective == pytest.approx(repeated.objective, rel=1e-9)
    np.testing.assert_allclose(weighted.model.W, repeated.model.W, atol=1e-4)


def test_two_classes_have_opposite_weights():
    X, y = random_rows(0, 2, 200, 5)
    found = fastlin.solve(X, y, l2=1e-3)
    np.testing.assert_allclose(found.model.W[0], -found.model.W[1], atol=1e-6)
    np.testing.assert_allclose(found.model.b[0], -found.model.b[1], atol=1e-6)


def test_labels_may_be_text():
    X, y = small()
    names = np.array(["dog", "cat", "bird", "ant", "eel"])[y]
    found = fastlin.solve(X, names, l2=1e-2)
    assert found.model.class_names == ("ant", "bird", "cat", "dog", "eel")
    assert found.objective == pytest.approx(fastlin.solve(X, y, l2=1e-2).objective, rel=1e-6)


def test_a_class_without_rows():
    X, y = small()
    present = np.where(y == 0, 1, y)
    ones = np.ones(len(X))
    split = fastlin.Split.from_arrays(X, present, class_names=list("abcde"), weights=ones)
    with pytest.raises(InputError, match="the class 'a' has no training row that counts"):
        fastlin.solve(split, l2=1e-3)
    assert fastlin.solve(split, l2=1e-3, fit_intercept=False).converged
    assert fastlin.solve(split, l2=1e-3, loss=Softmax(smoothing=0.1)).converged
    zero = fastlin.Split.from_arrays(X, y, weights=(y > 0) * 1.0)
    with pytest.raises(InputError, match="the class '0' has no training row that counts"):
        fastlin.solve(zero, l2=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    X, y = small()
    X = X.copy()
    X[3, 4] = value
    with pytest.raises(InputError, match="row 3, column 4"):
        fastlin.solve(X, y, l2=1e-3)


def test_a_start_at_the_optimum_takes_few_passes():
    X, y = small()
    cold = fastlin.solve(X, y, l2=1e-4)
    warm = fastlin.solve(X, y, l2=1e-4, start=cold.model)
    assert warm.converged
    assert warm.passes <= 4
    assert abs(warm.objective - cold.objective) <= 1e-6 * cold.objective
    from_afar = fastlin.solve(X, y, l2=1e-4, start=fastlin.solve(X + 100, y, l2=1e-1).model)
    assert from_afar.objective == pytest.approx(cold.objective, rel=2e-6)


def test_a_start_that_is_worse_than_none_is_left_out():
    X, y = small()
    found = fastlin.solve(X, y, l2=1e-3)
    for size in (1e3, 1e6, 1e30):
        start = replace(found.model, W=found.model.W * np.float32(size))
        from_afar = fastlin.solve(X, y, l2=1e-3, start=start)
        assert from_afar.converged
        assert from_afar.objective == pytest.approx(found.objective, rel=2e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_biases_of_a_start_are_not_kept_where_there_are_none(standardize):
    X, y = small()
    start = fastlin.solve(X + 3, y, l2=1e-3).model
    settings = {"l2": 1e-3, "fit_intercept": False, "standardize": standardize, "gap": 1e-9}
    cold = fastlin.solve(X, y, **settings)
    warm = fastlin.solve(X, y, start=start, **settings)
    assert warm.converged
    assert abs(warm.objective - cold.objective) <= 2e-9 * cold.objective
    if not standardize:
        assert not warm.model.b.any()


@pytest.mark.parametrize("seed", range(4))
def test_rounding_of_the_means_is_in_the_bound_where_biases_are_not_fitted(seed):
    """In float32 the scores of standardized features have biases, of 1e-8, that are not 0."""
    X, y = random_rows(seed, 3, 150, 4)
    X += 5 * np.random.default_rng(seed).normal(size=4).astype(np.float32)
    features = X.astype(np.float64)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    least = least_objective(features, y, 3, 1e-3, fit_intercept=False)
    for gap in (1e-6, 1e-8, 1e-10):
        found = fastlin.solve(X, y, l2=1e-3, gap=gap, standardize=True, fit_intercept=False)
        assert found.converged
        assert found.relative_gap >= 0
        own = objective_of(found.model, X, y, 1e-3)
        assert own - least <= found.gap + ROUNDING


def test_a_start_of_other_features_or_classes_is_refused():
    X, y = small()
    model = fastlin.solve(X, y, l2=1e-2).model
    with pytest.raises(InputError, match="start is a classifier of 12 features"):
        fastlin.solve(X[:, :5], y, l2=1e-2, start=model)
    with pytest.raises(InputError, match="start is a classifier of"):
        fastlin.solve(X, np.array(list("abcde"))[y], l2=1e-2, start=model)
    with pytest.raises(InputError, match="start is 3; it must be a LinearModel"):
        fastlin.solve(X, y, l2=1e-2, start=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1}, "unknown setting 'alpha'; the settings are loss, l2, C"),
        ({"l2": 1e-3, "C": 2.0}, "l2 and C are given"),
        ({"l2": 1e-3, "C": 1.0}, "l2 and C are given"),
        ({"l2": -1}, "l2 is -1; it must be a finite number, 0 or above"),
        ({"l2": float("nan")}, "l2 is nan"),
        ({"C": 0}, "C is 0"),
        ({"gap": 0}, "gap is 0; it must be a number above 0 and at most 1"),
        ({"gap": 2}, "gap is 2"),
        ({"max_passes": 2}, "max_passes is 2"),
        ({"max_passes": 2.5}, "max_passes is 2.5"),
        ({"threads": 1.5}, "threads is 1.5; this process can use 1 to"),
        ({"threads": "2"}, "threads is '2'"),
        ({"threads": True}, "threads is True"),
        ({"loss": "hinge"}, "loss is hinge; an exact fit needs second derivatives"),
        ({"standardize": "perhaps"}, "standardize is 'perhaps'"),
        ({"class_weight": {"7": 2}}, "class_weight has the class '7'"),
    ],
)
def test_settings_outside_their_range(settings, message):
    with pytest.raises(InputError, match=message):
        fastlin.solve(*small(), **settings)


def test_arguments_that_say_too_much_or_too_little():
    X, y = small()
    with pytest.raises(InputError, match="without labels"):
        fastlin.solve(X, l2=1e-3)
    with pytest.raises(InputError, match="leave it out"):
        fastlin.solve(fastlin.Split.from_arrays(X, y), y, l2=1e-3)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [0.01, 1.0, 30.0])
def test_c_is_that_of_scikit_learn(C, fit_intercept):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = small()
    other = linear_model.LogisticRegression(
        C=C, tol=1e-12, max_iter=10_000, fit_intercept=fit_intercept
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.fit(X.astype(np.float64), y)
    found = fastlin.solve(X, y, C=C, gap=1e-11, fit_intercept=fit_intercept)
    assert found.l2 == 1 / (2 * C * len(y))
    np.testing.assert_allclose(found.model.W, other.coef_, atol=1e-4)
    b = found.model.b - found.model.b.mean()
    np.testing.assert_allclose(b, other.intercept_ - np.mean(other.intercept_), atol=1e-4)


@pytest.mark.parametrize("loss", [SOFTMAX, SquaredHinge()], ids=str)
@pytest.mark.parametrize(
    ("n", "kept"), [(8191, slice(1, None, 2)), (20_000, [77, 5, 9000, 19_998])]
)
def test_rows_without_weight_tell_nothing(n, kept, loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 70)).astype(np.float32)
    y = (X @ rng.normal(size=(70, 2)) + 2 * rng.gumbel(size=(n, 2))).argmax(axis=1)
    y[77], y[5] = 0, 1
    weights = np.zeros(n)
    weights[kept] = 1
    few = np.flatnonzero(weights)
    whole = fastlin.solve(fastlin.Split.from_arrays(X, y, weights=weights), l2=1e-2, loss=loss)
    alone = fastlin.solve(X[few], y[few], l2=1e-2, loss=loss)
    assert whole.converged
    assert whole.objective == pytest.approx(alone.objective, rel=2e-6)
    assert whole.passes <= alone.passes + 5
