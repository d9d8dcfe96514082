"""Estimators against scikit-learn's checks, and against its own linear classifiers."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="estimators need scikit-learn 1.6")

from sklearn import clone, config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import RFE
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastlin.estimators.classifiers import HingeClassifier, SoftmaxClassifier
from fastlin.estimators.grid import GridSearch
from fastlin.estimators.path import SoftmaxClassifierCV

# Old versions of scikit-learn call new ones of SciPy as they should not.
BY_SCIPY = pytest.mark.filterwarnings("ignore:scipy:DeprecationWarning")
IGNORED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Weighted and repeated rows must agree to 1e-7 in probabilities. A relative gap is the square of
# that: the tolerance is one that is not reached, so that steps go on until float64 has no digits
# left, and a warning says so.
@IGNORED
@parametrize_with_checks(
    [
        SoftmaxClassifier(tol=1e-16),
        HingeClassifier(tol=1e-16),
        SoftmaxClassifierCV(Cs=[0.1, 1.0], cv=2, tol=1e-16),
    ]
)
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


def failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": "a row of weight 2 is in one batch of an "
        "epoch, with a step of double length; the same row twice is in two batches, in a new order"
    }


@parametrize_with_checks(
    [
        SoftmaxClassifier(solver="sgd"),
        HingeClassifier(solver="sgd", loss="hinge", momentum=0.9, schedule="constant"),
    ],
    expected_failed_checks=failures,
)
def test_the_contract_of_scikit_learn_for_epochs(estimator, check):
    check(estimator)


def rows_of(K, n=300, class_sep=0.8):
    X, y = make_classification(
        n, 8, n_informative=6, n_redundant=0, n_classes=K, random_state=K, class_sep=class_sep
    )
    return X, y


def lengths(a, b):
    """Return how far apart two arrays are, over the length of the second."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def losses_of(scores, y, margin=None):
    """Return softmax cross-entropies of scores (n, K) in float64, or squared hinges of a margin."""
    of_class = np.take_along_axis(scores, y[:, None], axis=1)
    if margin is None:
        return np.logaddexp.reduce(scores - of_class, axis=1)
    return (np.maximum(0, margin + scores - of_class) ** 2).sum(axis=1) - margin**2


def objective(model, X, y, weights, C, margin=None):
    """Return C * sum of losses + 1/2 sum(coef_**2) in float64, over C * sum of weights."""
    coef, intercept = (np.atleast_1d(np.float64(a)) for a in (model.coef_, model.intercept_))
    if len(coef) == 1:
        coef, intercept = np.vstack([0 * coef, coef]), np.hstack([0 * intercept, intercept])
    losses = losses_of(X @ coef.T + intercept, y, margin)
    return (weights @ losses + (coef**2).sum() / (2 * C)) / weights.sum()


@BY_SCIPY
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("K", [2, 5])
def test_C_is_that_of_logistic_regression(K, weighted):
    X, y = rows_of(K)
    weights = np.random.default_rng(0).integers(0, 4, len(y)) if weighted else np.ones(len(y))
    class_weight = "balanced" if weighted else None
    of_class = weights.sum() / (K * np.bincount(y, weights)) if weighted else np.ones(K)
    for C in (0.05, 2.0):
        ours = SoftmaxClassifier(C=C, tol=1e-10, class_weight=class_weight)
        # With "balanced" old versions of scikit-learn count rows, new ones and ours their weights.
        theirs = LogisticRegression(
            C=C, tol=1e-12, max_iter=10_000, class_weight=dict(enumerate(of_class))
        )
        for model in (ours, theirs):
            model.fit(X, y, weights if weighted else None)
        assert ours.coef_.shape == theirs.coef_.shape
        assert ours.intercept_.shape == theirs.intercept_.shape
        assert lengths(ours.coef_, theirs.coef_) < 1e-4
        least = [objective(model, X, y, weights * of_class[y], C) for model in (ours, theirs)]
        assert least[0] == pytest.approx(least[1], rel=1e-8)
        assert ours.gap_ <= 1e-10
        assert abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-4
        # The same weights give the same probabilities, but for rounding.
        theirs.coef_ = ours.coef_.astype(np.float64)
        theirs.intercept_ = ours.intercept_.astype(np.float64)
        rounding = {"rtol": 1e3 * np.finfo(ours.coef_.dtype).eps, "atol": 1e-15}
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), **rounding)
        assert ours.decision_function(X).shape == theirs.decision_function(X).shape


def test_the_squared_hinge_of_two_classes_is_that_of_linear_svc():
    X, y = rows_of(2)
    ours = HingeClassifier(C=0.1, tol=1e-10, fit_intercept=False).fit(X, y)
    theirs = LinearSVC(C=0.1, tol=1e-12, fit_intercept=False, max_iter=100_000).fit(X, y)
    assert lengths(ours.coef_, theirs.coef_) < 1e-4
    least = [objective(model, X, y, np.ones(len(y)), 0.1, margin=1.0) for model in (ours, theirs)]
    assert least[0] == pytest.approx(least[1], rel=1e-8)
    assert ours.intercept_.tolist() == [0.0]


def test_the_squared_hinge_of_epochs_comes_near_its_optimum():
    X, y = rows_of(5)
    exact = HingeClassifier(C=0.1).fit(X, y)
    epochs = HingeClassifier(C=0.1, solver="sgd", max_iter=200, random_state=0).fit(X, y)
    assert lengths(epochs.coef_, exact.coef_) < 0.1
    assert epochs.n_iter_ == len(epochs.history_) == 200


def test_l2_is_the_penalty_on_coef_for_any_number_of_classes():
    for K in (2, 3):
        X, y = rows_of(K)
        by_C = SoftmaxClassifier(C=0.5).fit(X, y)
        by_l2 = SoftmaxClassifier(l2=1 / (2 * 0.5 * len(y))).fit(X, y)
        assert np.array_equal(by_C.coef_, by_l2.coef_)


def test_two_classes_have_one_row_of_coef():
    X, y = rows_of(2)
    names = np.array(["no", "yes"])[y]
    found = SoftmaxClassifier().fit(X, names)
    z = found.decision_function(X)
    assert found.coef_.shape == (1, 8)
    assert found.classes_.tolist() == list(found.model_.class_names) == ["no", "yes"]
    np.testing.assert_allclose(z, X @ found.coef_[0] + found.intercept_[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.predict_proba(X)[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-5)
    np.testing.assert_allclose(
        found.predict_log_proba(X), np.log(found.predict_proba(X)), rtol=1e-4, atol=1e-6
    )
    assert np.array_equal(found.predict(X), names[np.argsort(y)][[0, -1]][(z > 0).astype(int)])


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coef_of_large_means_gives_the_scores_of_the_model(K, dtype):
    X, y = rows_of(K)
    X = (X + 1e6).astype(dtype)
    found = SoftmaxClassifier().fit(X, y)
    own = X.astype(np.float64) @ found.coef_.T + found.intercept_
    scores = found.decision_function(X)
    assert own.reshape(scores.shape) == pytest.approx(scores, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_rows_are_numbers_as_they_are_stored(dtype):
    X, y = rows_of(5)
    X = np.clip(20 * X + 100, 0, 255).astype(dtype)
    stored = SoftmaxClassifier(l2=0.1).fit(X, y)
    as_float = SoftmaxClassifier(l2=0.1).fit(X.astype(np.float64), y)
    assert stored.model_.scale == 1
    assert lengths(stored.coef_, as_float.coef_) < 1e-2
    assert np.array_equal(stored.predict(X), stored.predict(X.astype(np.float64)))


@pytest.mark.parametrize("K", [2, 5])
def test_a_stream_goes_on_where_it_stopped(K):
    X, y = rows_of(K)
    found = SoftmaxClassifier(solver="sgd", l2=1e-3, random_state=3)
    with pytest.raises(ValueError, match="classes must be given"):
        found.partial_fit(X, y)
    for first in range(0, 300, 100):
        found.partial_fit(X[first : first + 100], y[first : first + 100], np.arange(K))
    before = found.score(X, y)
    for _ in range(20):
        found.partial_fit(X, y)
    assert found.n_iter_ == 23
    assert found.score(X, y) >= max(before - 0.05, 0.5)  # the rate does not fall
    with pytest.raises(ValueError, match="label 7, which is none of classes"):
        found.partial_fit(X, np.full(len(y), 7))
    assert not hasattr(SoftmaxClassifier(), "partial_fit")


def sentences(n, rng):
    """Return unit rows of six words each, two of them of the topic, and the topics of five."""
    topics = rng.integers(5, size=n)
    words = np.hstack(
        [10 * topics[:, np.newaxis] + rng.integers(10, size=(n, 2)), rng.integers(50, size=(n, 4))]
    )
    X = np.zeros((n, 256), np.float32)
    np.add.at(X, (np.arange(n)[:, np.newaxis], words * 5), 1)
    return X / np.linalg.norm(X, axis=1, keepdims=True), topics


def test_the_rate_of_a_stream_is_none_that_only_a_falling_one_can_have():
    rng = np.random.default_rng(0)
    X_new, y_new = sentences(1000, rng)
    blocks = [sentences(200, rng) for _ in range(30)]
    reached = {}
    for rate in ("auto", 10.0, 1.0, 0.1):
        stream = SoftmaxClassifier(
            solver="sgd", l2=5e-5, learning_rate_init=rate, batch_size=8, random_state=0
        )
        scores = []
        for X, y in blocks:
            scores.append(stream.partial_fit(X, y, np.arange(5)).score(X_new, y_new))
        reached[rate] = np.mean(scores[-10:])
    best = max(reached.values())
    assert reached["auto"] > best - 0.02
    assert reached[10.0] < best - 0.02  # what `fit` begins with


def test_a_warm_start_goes_on_and_a_seed_is_the_same_bits():
    X, y = rows_of(3)
    exact = SoftmaxClassifier(warm_start=True).fit(X, y)
    passes = exact.n_iter_
    assert exact.fit(X, y).n_iter_ < passes
    a, b = (SoftmaxClassifier(solver="sgd", max_iter=3, random_state=5).fit(X, y) for _ in "ab")
    assert np.array_equal(a.coef_, b.coef_)
    first = a.history_.train_cost[-1]
    again = a.set_params(warm_start=True).fit(X, y)
    assert again.history_.train_cost[-1] < first
    with pytest.raises(ValueError, match="warm_start goes on with the classes"):
        a.fit(X, y + 1)


def test_training_rows_are_evaluated_after_the_last_epoch_or_where_somebody_listens():
    X, y = rows_of(3)
    quiet = SoftmaxClassifier(solver="sgd", max_iter=4, random_state=5).fit(X, y)
    told = SoftmaxClassifier(solver="sgd", max_iter=4, random_state=5, verbose=True).fit(X, y)
    assert np.array_equal(quiet.coef_, told.coef_)
    assert np.isnan(quiet.history_.train_cost).tolist() == [True, True, True, False]
    assert np.isfinite(told.history_.train_cost).all()
    assert quiet.history_.train_cost[-1] == told.history_.train_cost[-1]


def test_early_stopping_keeps_the_best_epoch_of_rows_held_out():
    X, y = rows_of(3)
    found = SoftmaxClassifier(
        solver="sgd", early_stopping=True, n_iter_no_change=3, max_iter=200, random_state=0
    ).fit(X, y)
    assert found.n_iter_ < 200
    assert found.history_.has_validation


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"solver": "lbfgs"}, "solver is 'lbfgs'; it must be one of exact, sgd"),
        ({"C": 0.0}, "C is 0.0; it must be a finite number above 0"),
        ({"C": 2.0, "l2": 0.1}, "l2 and C are given"),
        ({"max_iter": 2.5}, "max_iter is 2.5; it must be a whole number"),
        ({"max_iter": 2}, "max_iter is 2; an exact fit takes at least 3 passes over the rows"),
        ({"early_stopping": True}, "early_stopping has no effect with solver exact"),
        ({"solver": "sgd", "fit_intercept": False}, "fit_intercept is False"),
        ({"solver": "sgd", "learning_rate_init": 1e9}, "try a smaller learning_rate_init"),
        ({"random_state": -1, "solver": "sgd"}, "random_state is -1"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused_in_one_line(settings, said):
    X, y = rows_of(3)
    with pytest.raises(ValueError, match=said) as refused:
        SoftmaxClassifier(**settings).fit(X, y)
    assert "\n" not in str(refused.value)


def test_the_hinge_with_corners_is_for_epochs():
    X, y = rows_of(3)
    with pytest.raises(ValueError, match="loss hinge has corners"):
        HingeClassifier(loss="hinge").fit(X, y)
    assert not hasattr(HingeClassifier(), "predict_proba")


def test_a_fit_that_ends_early_warns():
    X, y = rows_of(3)
    with pytest.warns(ConvergenceWarning, match="raise max_iter or tol"):
        SoftmaxClassifier(max_iter=3).fit(X, y)


def test_a_fit_that_is_slow_is_not_said_to_be_all_rounding():
    """Of the squared hinge and classes that are apart, few rows have any curvature."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(200, 150)).astype(np.float32)
    y = X[:, 0] > 0
    with pytest.warns(ConvergenceWarning) as seen:
        HingeClassifier(l2=1e-6, tol=1e-9).fit(X, y)
    assert "no digits" not in str(seen[0].message)


def test_object_labels_of_one_class_are_refused():
    X, y = rows_of(2)
    with pytest.raises(ValueError, match="y has only one class, 'a'"):
        SoftmaxClassifier().fit(X, np.array(["a"] * len(y), object))
    with pytest.raises(ValueError, match="the class 1 has no row of a weight above 0"):
        SoftmaxClassifier().fit(X, y, sample_weight=(y == 0).astype(float))


@BY_SCIPY
@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(StandardScaler(), SoftmaxClassifier()),
        lambda: CalibratedClassifierCV(HingeClassifier(), cv=2),
        lambda: StackingClassifier([("a", SoftmaxClassifier()), ("b", HingeClassifier())], cv=2),
        lambda: VotingClassifier([("a", SoftmaxClassifier()), ("b", SoftmaxClassifier(C=0.1))]),
        lambda: VotingClassifier(
            [("a", SoftmaxClassifier()), ("b", LogisticRegression())], voting="soft"
        ),
        lambda: OneVsRestClassifier(SoftmaxClassifier()),
        lambda: RFE(SoftmaxClassifier(), n_features_to_select=4),
        lambda: GridSearchCV(SoftmaxClassifier(), {"C": [0.01, 1.0]}, cv=2),
    ],
    ids=[
        "pipeline",
        "calibrated",
        "stacking",
        "voting",
        "soft-voting",
        "one-vs-rest",
        "rfe",
        "grid",
    ],
)
def test_what_is_made_of_estimators_takes_ours(make):
    X, y = rows_of(3, class_sep=2.0)
    assert make().fit(X, y).score(X, y) > 0.6


def test_permutation_importance_and_cross_validation_take_ours():
    X, y = rows_of(3, class_sep=2.0)
    found = SoftmaxClassifier().fit(X, y)
    assert permutation_importance(found, X, y, n_repeats=2, random_state=0).importances_mean.any()
    assert cross_val_score(SoftmaxClassifier(), X, y, cv=3).mean() > 0.6


def test_a_search_in_two_processes_reads_rows_from_a_memory_map():
    X, y = rows_of(3, class_sep=2.0)
    X, y = np.tile(X, (870, 12)), np.tile(y, 870)  # 200 MB; above 1 MB joblib maps
    search = GridSearchCV(SoftmaxClassifier(n_threads=1), {"l2": [1.0, 0.1]}, n_jobs=2, cv=2)
    assert search.fit(X, y).best_score_ > 0.6


def test_a_read_only_memory_map_is_fitted_like_the_array(tmp_path):
    X, y = rows_of(3)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    a, b = SoftmaxClassifier().fit(X, y), SoftmaxClassifier().fit(mapped, y)
    assert np.array_equal(a.coef_, b.coef_)


def test_a_copy_and_a_pickle_predict_the_same():
    X, y = rows_of(3)
    found = SoftmaxClassifier(C=0.3, class_weight="balanced").fit(X, y)
    assert clone(found).get_params() == found.get_params()
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.decision_function(X), found.decision_function(X))


def test_weights_are_routed_to_the_fit():
    X, y = rows_of(2)
    weights = np.where(y == 1, 50.0, 1.0)
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        chosen = SoftmaxClassifier().set_fit_request(sample_weight=True)
        found = make_pipeline(scaler, chosen).fit(X, y, sample_weight=weights)
    plain = make_pipeline(StandardScaler(), SoftmaxClassifier()).fit(X, y)
    assert found.predict(X).mean() > plain.predict(X).mean()


def test_sparse_rows_are_refused_with_what_to_do():
    sparse = pytest.importorskip("scipy.sparse")
    X, y = rows_of(2)
    with pytest.raises(TypeError, match="toarray"):
        SoftmaxClassifier().fit(sparse.csr_array(X), y)


def test_masked_values_are_refused():
    X, y = rows_of(2)
    found = SoftmaxClassifier().fit(X, y)
    masked = np.ma.array(X, mask=np.zeros(X.shape, bool))
    masked[3, 1] = np.ma.masked
    for call in (
        lambda: found.predict(masked),
        lambda: SoftmaxClassifier().fit(masked, y),
        lambda: GridSearch(SoftmaxClassifier(), {"C": [1.0]}).fit(masked, y),
        lambda: found.score(masked, y),
    ):
        with pytest.raises(ValueError, match="X has 1 masked value, the first in row 3, column 1"):
            call()
    labels = np.ma.array(y, mask=np.arange(len(y)) == 4)
    with pytest.raises(ValueError, match="y has 1 masked value, the first in place 4"):
        found.score(X, labels)
    assert found.score(X, y, np.ones(len(y))) == found.score(X, y)


def test_without_scikit_learn_one_line_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import fastlin; fastlin.SoftmaxClassifier"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "pip install 'fastlin[sklearn]'" in found.stderr.splitlines()[-1]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_C_of_cross_validation_is_that_of_a_grid_search(weighted):
    X, y = rows_of(3)
    weights = np.random.default_rng(0).integers(1, 4, len(y)) if weighted else None
    Cs = [1e-3, 0.1, 10.0]
    ours = SoftmaxClassifierCV(Cs=Cs[::-1], cv=3, tol=1e-10).fit(X, y, weights)
    for fold, (train, test) in enumerate(StratifiedKFold(3).split(X, y)):
        of_train, of_test = (None, None) if weights is None else (weights[train], weights[test])
        for k, C in enumerate(Cs):
            cold = SoftmaxClassifier(C=C, tol=1e-10).fit(X[train], y[train], of_train)
            assert ours.scores_[fold, k] == pytest.approx(cold.score(X[test], y[test], of_test))
    best = SoftmaxClassifier(C=Cs[ours.scores_.mean(axis=0).argmax()], tol=1e-10)
    assert ours.C_ == best.C
    assert np.array_equal(ours.coef_, best.fit(X, y, weights).coef_)


@pytest.mark.parametrize("Cs", [0, [], [0.0], None, ["a"]])
def test_values_of_C_that_are_none_are_refused(Cs):
    X, y = rows_of(3)
    with pytest.raises(ValueError, match=r"Cs? is ") as refused:
        SoftmaxClassifierCV(Cs=Cs).fit(X, y)
    assert "\n" not in str(refused.value)
