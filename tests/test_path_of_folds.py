"""Paths judged in folds: what fits of the rows outside of each fold are, whoever shares passes."""

import queue
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from solve_problems import least_objective, objective_of, random_rows

import fastlin
from fastlin import passes, reference
from fastlin.data.splits import stratified_folds
from fastlin.data.stored import StoredRows
from fastlin.errors import InputError
from fastlin.losses import Softmax, SquaredHinge
from fastlin.metrics import Tally
from fastlin.solving import shared
from fastlin.solving.config import FitConfig, PathPlan, log_steps, penalty_of
from fastlin.solving.path import fit_path
from fastlin.threads import use_threads

CS = log_steps(-3, 1, 6)
N, K, FOLDS = 320, 3, 4


def rows_of(seed=0, scaled=True):
    return random_rows(seed, K, N, 70, scaled)


@pytest.fixture(scope="module")
def split():
    return fastlin.Split.from_arrays(*rows_of())


@pytest.fixture(scope="module")
def found(split):
    kept = []
    result = fit_path(split, FitConfig(), PathPlan(Cs=CS, cv=FOLDS), on_fit=kept.append)
    return result, kept


@pytest.mark.parametrize(
    ("loss", "dtype"),  # few, as each is compiled
    [(Softmax(), np.float32), (Softmax(0.1), np.float64), (SquaredHinge(), np.float64)],
)
@pytest.mark.parametrize(("M", "K", "d"), [(1, 4, 30), (3, 2, 700), (4, 7, 33), (2, 300, 20)])
def test_one_pass_gives_every_classifier_its_own_sums(loss, M, K, d, dtype):
    rng = np.random.default_rng(0)
    n = 700
    X = rng.normal(size=(n, d)).astype(np.float32)
    y = rng.integers(0, K, n)
    W, b = rng.normal(size=(M, K, d)).astype(dtype) / d, rng.normal(size=(M, K)).astype(dtype)
    weights = rng.random((M, n)) * (rng.random((M, n)) > 0.2)
    weights /= weights.mean(axis=1, keepdims=True)
    found = []
    for threads in (1, 2):
        with use_threads(threads):
            found.append(
                passes.unchecked_mean_losses(
                    X, y, W, b, loss=loss, reading=passes.AS_THEY_ARE, weights=weights
                )
            )
    close = {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}
    for m in range(M):
        mean, dW, db = found[0][m]
        of_twin = reference.loss_and_gradient(
            X.astype(np.float64), y, W[m].astype(np.float64), b[m].astype(np.float64), 0.0, loss,
            weights=weights[m],
        )  # fmt: skip
        assert mean == pytest.approx(of_twin[0], rel=close["rtol"])
        assert_allclose(dW, of_twin[1], **close)
        assert_allclose(db, of_twin[2], **close)
        for ours, theirs in zip(found[0][m], found[1][m], strict=True):
            assert_array_equal(ours, theirs)


def test_rows_in_files_have_the_same_bits(tmp_path):
    X, y = rows_of()
    np.save(tmp_path / "X.npy", X)
    stored = StoredRows.of_mapped(np.load(tmp_path / "X.npy", mmap_mode="r"))
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(2, K, 70)), rng.normal(size=(2, K))
    weights = 2.0 * (np.arange(N) % 2 == np.arange(2)[:, None])
    ours, theirs = (
        passes.unchecked_mean_losses(
            of, y, W, b, loss=Softmax(), reading=passes.AS_THEY_ARE, weights=weights
        )
        for of in (stored, X)
    )
    for one, other in zip(ours, theirs, strict=True):
        for a, c in zip(one, other, strict=True):
            assert_array_equal(a, c)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("moved", [0.0, 1000.0])
def test_every_fold_has_the_optimum_of_the_rows_outside_of_it(scaled, standardize, moved):
    X, y = rows_of(1, scaled)
    X += np.float32(moved)
    split = fastlin.Split.from_arrays(X, y)
    kept = []
    config = FitConfig(gap=1e-7, standardize=standardize)
    plan = PathPlan(l2s=(0.1, 0.01), cv=FOLDS, extend=False)
    fit_path(split, config, plan, on_fit=kept.append)
    folds = stratified_folds(y, FOLDS, 0)
    for fit in kept:
        for fold in range(FOLDS):
            own = folds != fold
            features = X[own].astype(np.float64)
            features -= features.mean(axis=0)
            if standardize:
                features /= features.std(axis=0)
            least = least_objective(features, y[own], K, fit.point.l2)
            rel = 2e-6 if moved else 3e-7
            assert fit.objectives[fold] == pytest.approx(least, rel=rel)
            alone = fastlin.solve(
                fastlin.Split.from_arrays(X[own], y[own]), l2=fit.point.l2, gap=1e-7,
                standardize=standardize,
            )  # fmt: skip
            held = X[~own]
            assert np.mean(fit.models[fold].predict(held) == alone.model.predict(held)) > 0.98


def test_values_are_of_all_rows_each_held_out_once(split, found):
    _, kept = found
    X, y = split.train.X, split.train.y
    folds = stratified_folds(y, FOLDS, 0)
    for fit in kept:
        predictions, costs = np.empty(N, np.int64), np.empty(N)
        for fold, model in enumerate(fit.models):
            held = folds == fold
            predictions[held] = model.predict(X[held])
            costs[held] = -np.log(model.predict_proba(X[held])[np.arange(held.sum()), y[held]])
        assert fit.point.values["accuracy"] == np.mean(predictions == y)
        assert fit.point.values["log_loss"] == pytest.approx(costs.mean(), rel=1e-5)
        counts = np.array([(folds == fold).sum() for fold in range(FOLDS)])
        norms = [np.square(model.W.astype(np.float64)).sum() for model in fit.models]
        penalty = (counts * fit.point.l2 * norms).sum() / N
        assert fit.point.values["cost"] == pytest.approx(costs.mean() + penalty, rel=1e-5)


def test_the_best_is_fitted_on_all_rows_with_the_same_C(split, found):
    result, _ = found
    assert result.refit
    assert result.cv == FOLDS
    assert (result.rows, result.validation_rows) == (N * (FOLDS - 1) // FOLDS, N)
    l2 = penalty_of(result.best.C, N, K)
    assert result.solution.l2 == pytest.approx(l2, rel=1e-12)
    least = least_objective(split.train.X, split.train.y, K, l2)
    assert result.solution.objective == pytest.approx(least, rel=1e-6)
    best = max(point.values["accuracy"] for point in result.points)
    assert result.best.values["accuracy"] == best


def test_training_and_validation_rows_are_one_set_of_rows(split, found):
    X, y = split.train.X, split.train.y
    parts = fastlin.Split.from_arrays(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    again = fit_path(parts, FitConfig(), PathPlan(Cs=CS, cv=FOLDS))
    for ours, theirs in zip(again.points, found[0].points, strict=True):
        assert ours._replace(seconds=0) == theirs._replace(seconds=0)


def test_bits_depend_on_no_number_of_threads(split, found):
    again = fit_path(split, FitConfig(), PathPlan(Cs=CS, cv=FOLDS), threads=1)
    for ours, theirs in zip(again.points, found[0].points, strict=True):
        assert ours._replace(seconds=0) == theirs._replace(seconds=0)
    assert again.model.W.tobytes() == found[0].model.W.tobytes()


def test_a_stopped_path_goes_on_with_the_same_bits(split, found, tmp_path):
    def stop(point, seen=[]):  # noqa: B006
        seen.append(point)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fastlin.probe(split, Cs=CS, cv=FOLDS, keep=tmp_path, on_fit=stop, patience=99)
    again = fastlin.probe(split, Cs=CS, cv=FOLDS, keep=tmp_path, patience=99)
    for ours, theirs in zip(again.path.points, found[0].points, strict=True):
        assert ours.values == theirs.values
    assert again.model.W.tobytes() == found[0].model.W.tobytes()


def test_folds_share_their_passes(split, monkeypatch):
    taken = []
    whole = passes.unchecked_mean_losses

    def counted(X, y, W, b, **arguments):
        taken.append(len(W))
        return whole(X, y, W, b, **arguments)

    monkeypatch.setattr(passes, "unchecked_mean_losses", counted)
    kept = []
    plan = PathPlan(Cs=CS, cv=FOLDS, extend=False)
    result = fit_path(split, FitConfig(), plan, on_fit=kept.append)
    assert max(taken) == FOLDS
    most = sum(point.passes for point in result.points)
    of_refit = result.solution.passes
    # Those in float64 are passes of their own: some folds come to them before others.
    assert len(taken) - of_refit <= 1.5 * most
    assert sum(taken) - of_refit >= 2.5 * most


def test_rows_in_files_give_the_same_path(split, found, tmp_path):
    np.save(tmp_path / "X.npy", split.train.X)
    stored = StoredRows.of_mapped(np.load(tmp_path / "X.npy", mmap_mode="r"))
    rows = replace(split.train, X=stored)
    again = fit_path(fastlin.Split("rows", rows), FitConfig(), PathPlan(Cs=CS, cv=FOLDS))
    for ours, theirs in zip(again.points, found[0].points, strict=True):
        assert ours._replace(seconds=0) == theirs._replace(seconds=0)
    assert again.model.W.tobytes() == found[0].model.W.tobytes()


def test_classifiers_that_take_much_memory_have_passes_of_their_own(split, found, monkeypatch):
    monkeypatch.setattr(shared, "_BYTES_OF_GRADIENTS", 2 * 8 * K * 70)  # of two
    again = fit_path(split, FitConfig(), PathPlan(Cs=CS, cv=FOLDS))
    for ours, theirs in zip(again.points, found[0].points, strict=True):
        assert ours.objective == pytest.approx(theirs.objective, rel=2e-6)


def test_small_problems_take_newtons_steps_in_folds_as_well():
    X, y = random_rows(2, 3, 150, 4)
    found = fastlin.path(fastlin.Split.from_arrays(X, y), Cs=[0.01, 1.0, 10.0], cv=5)
    assert all(point.converged for point in found.points)


@pytest.mark.parametrize("number", [0, 2])
def test_a_failing_fit_ends_the_others(number, split):
    weights = [np.ones(N)] * 3
    of_fits = shared.SharedPasses(split.train, Softmax(), weights, passes.AS_THEY_ARE)
    W, b = np.zeros((K, 70)), np.zeros(K)

    def fit(own):
        for _ in range(1000):
            of_fits.of(own).mean_loss(W, b, passes.AS_THEY_ARE, N)
            if own == number:
                raise InputError(f"fit {own}")
        return own

    with pytest.raises(InputError, match=f"fit {number}"):
        of_fits.run([lambda own=own: fit(own) for own in range(3)])
    assert not [t for t in threading.enumerate() if t.name.startswith("fastlin-fit")]
    assert of_fits.run([lambda own=own: own for own in range(3)]) == [0, 1, 2]


class Losing:
    """A queue that loses what it was woken by, as Ctrl-C comes between taking and keeping it."""

    def __init__(self, of, after):
        self._of, self._left = of, after

    def put(self, value):
        self._of.put(value)

    def get(self, timeout):
        found = self._of.get(timeout=timeout)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return found


def many_passes(of_fit):
    for _ in range(50):
        of_fit.mean_loss(np.zeros((K, 70)), np.zeros(K), passes.AS_THEY_ARE, N)


@pytest.mark.parametrize("after", range(1, 12, 3))
def test_ctrl_c_between_two_passes_ends_all_fits(after, split, monkeypatch):
    of_fits = shared.SharedPasses(split.train, Softmax(), [np.ones(N)] * 3, passes.AS_THEY_ARE)
    monkeypatch.setattr(of_fits, "_wake", Losing(queue.SimpleQueue(), after))
    with pytest.raises(KeyboardInterrupt):
        of_fits.run([partial(many_passes, of_fits.of(own)) for own in range(3)])
    assert not [t for t in threading.enumerate() if t.name.startswith("fastlin-fit")]


def test_threads_that_cannot_begin_end_the_others(split, monkeypatch):
    of_fits = shared.SharedPasses(split.train, Softmax(), [np.ones(N)] * 3, passes.AS_THEY_ARE)
    begun = []

    class Few(threading.Thread):
        def start(self):
            if len(begun) == 2:
                raise RuntimeError("can't start new thread")
            begun.append(self)
            super().start()

    monkeypatch.setattr(shared, "Thread", Few)
    with pytest.raises(RuntimeError, match="can't start"):
        of_fits.run([partial(many_passes, of_fits.of(own)) for own in range(3)])
    assert not [thread for thread in begun if thread.is_alive()]


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
@pytest.mark.parametrize("standardize", [True, False])
def test_one_large_value_changes_no_certificate(size, standardize):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 20)).astype(np.float32)
    y = (X[:, 1] + rng.normal(size=400) > 0).astype(np.int64)
    X[7, 0] = size
    kept = []
    config = FitConfig(gap=1e-7, standardize=standardize, max_passes=3000)
    split = fastlin.Split.from_arrays(X, y)
    fit_path(split, config, PathPlan(l2s=(0.003,), cv=4), on_fit=kept.append)
    folds = stratified_folds(y, 4, 0)
    for fold, (model, said) in enumerate(zip(kept[0].models, kept[0].objectives, strict=True)):
        own = folds != fold
        assert objective_of(model, X[own], y[own], 0.003) == pytest.approx(said, rel=1e-8)
    own = folds != folds[7]
    alone = fastlin.solve(fastlin.Split.from_arrays(X[own], y[own]), config=config, l2=0.003)
    assert kept[0].objectives[folds[7]] == pytest.approx(alone.objective, rel=3e-7)


def test_a_fold_whose_rows_have_no_weight_is_judged_by_its_predictions(split):
    X, y = split.train.X, split.train.y
    folds = stratified_folds(y, FOLDS, 0)
    split = fastlin.Split.from_arrays(X, y, weights=(folds != 1).astype(np.float64))
    kept = []
    fit_path(split, FitConfig(), PathPlan(Cs=(0.1,), cv=FOLDS), on_fit=kept.append)
    right = [kept[0].models[f].predict(X[folds == f]) == y[folds == f] for f in range(FOLDS)]
    assert kept[0].point.values["accuracy"] == np.concatenate(right).mean()
    assert np.isfinite(kept[0].point.values["cost"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_pass_that_fails_ends_all_fits(error, split, monkeypatch):
    of_fits = shared.SharedPasses(
        split.train, Softmax(), [np.ones(N)] * 3, passes.AS_THEY_ARE
    )  # fmt: skip
    W, b = np.zeros((K, 70)), np.zeros(K)
    calls = []

    def failing(*_, **__):
        calls.append(1)
        raise error

    monkeypatch.setattr(passes, "unchecked_mean_losses", failing)
    fits = [
        lambda own=own: of_fits.of(own).mean_loss(W, b, passes.AS_THEY_ARE, N) for own in range(3)
    ]
    with pytest.raises(error):
        of_fits.run(fits)
    assert len(calls) == 1
    assert not [t for t in threading.enumerate() if t.name.startswith("fastlin-fit")]


def test_weights_and_balanced_classes_are_those_of_the_rows_outside(split):
    X, y = rows_of(3)
    rows = np.random.default_rng(0).random(N) + 0.5
    split = fastlin.Split.from_arrays(X, y, weights=rows)
    config = FitConfig(class_weight="balanced", gap=1e-7)
    kept = []
    fit_path(split, config, PathPlan(l2s=(0.05,), cv=FOLDS), on_fit=kept.append)
    folds = stratified_folds(y, FOLDS, 0)
    for fold in range(FOLDS):
        own = folds != fold
        of_class = own.sum() / (K * np.bincount(y[own]))
        weights = of_class[y[own]] * rows[own]
        weights /= weights.mean()
        least = least_objective(X[own], y[own], K, 0.05, weights=weights)
        assert kept[0].objectives[fold] == pytest.approx(least, rel=3e-7)


def test_tallies_add_up():
    rng = np.random.default_rng(0)
    y, scores = rng.integers(0, 7, 60), rng.normal(size=(60, 7)).astype(np.float32)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    losses = -np.log(probabilities[np.arange(60), y])
    whole, parts = Tally(7), [Tally(7), Tally(7)]
    for tally, part in ((whole, slice(None)), (parts[0], slice(20)), (parts[1], slice(20, None))):
        tally.add_scores(y[part], scores[part])
        tally.add_probabilities(y[part], probabilities[part], losses[part])
    total = Tally(7)
    for part in parts:
        total.add(part)
    assert total.values() == pytest.approx(whole.values(), rel=1e-12)
    assert total.confusions().pairs == whole.confusions().pairs
    assert_array_equal(total.confusions().counts, whole.confusions().counts)


def test_what_cannot_be_judged_in_folds_is_said(split):
    X, y = split.train.X, split.train.y
    lone = np.where(np.arange(N) == 5, K, y)
    refused = {
        "fewer folds": lambda: fastlin.path(split, cv=N + 1),
        "cv is 1": lambda: fastlin.path(split, cv=1),
        "the class '3' has one row": lambda: fastlin.path(fastlin.Split.from_arrays(X, lone), cv=4),
        "refit is False, but with cv": lambda: fastlin.probe(split, cv=4, refit=False),
        "cv has no effect with the protocol mteb": lambda: fastlin.probe(split, "mteb", cv=4),
        "or judge by folds": lambda: fastlin.path(split),
    }
    for text, call in refused.items():
        with pytest.raises(InputError, match=text):
            call()
