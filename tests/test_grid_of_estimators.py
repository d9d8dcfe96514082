"""The grid search over estimators against that of scikit-learn, over the same estimators."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6", reason="estimators need scikit-learn 1.6")

from sklearn import clone, config_context
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastlin
from fastlin.estimators import fits, together
from fastlin.estimators.classifiers import HingeClassifier, SoftmaxClassifier
from fastlin.estimators.grid import GridSearch
from fastlin.estimators.path import SoftmaxClassifierCV
from fastlin.kernels import jit
from fastlin.solving import solver as solving
from fastlin.solving.sequence import solve_in_folds

TIMES = {f"{of}_{what}_time" for of in ("mean", "std") for what in ("fit", "score")}
SGD = {"solver": "sgd", "max_iter": 4, "random_state": 7}


# The check of rows with a weight of 2 gives the search the same folds as of the rows twice, as from
# scikit-learn 1.6 on: so it passes, as all others do.
@parametrize_with_checks([GridSearch(SoftmaxClassifier(tol=1e-10), {"C": [0.1, 1.0]}, cv=2)])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows():
    return make_classification(
        240, 8, n_informative=6, n_redundant=0, n_classes=3, random_state=3, class_sep=0.8
    )


def both(estimator, grid, rows, weights=None, **settings):
    """Return scikit-learn's search and ours, fitted."""
    theirs = GridSearchCV(estimator, grid, **settings).fit(*rows, sample_weight=weights)
    ours = GridSearch(estimator, grid, **settings).fit(*rows, sample_weight=weights)
    return theirs, ours


def check_same(theirs, ours, tolerance):
    """Compare all that two searches found but times; scores within a tolerance."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for name, values in theirs.cv_results_.items():
        found = ours.cv_results_[name]
        if name in TIMES:
            assert found.shape == values.shape
            assert (found >= 0).all()
        elif name.startswith("param_"):
            assert found.dtype == values.dtype
            assert found.tolist() == values.tolist()  # None where masked
        elif name != "params":
            np.testing.assert_allclose(found, values, rtol=0, atol=tolerance, err_msg=name)
    for name in ("best_params_", "best_index_", "n_splits_", "multimetric_"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
def test_exact_candidates_score_as_single_fits_do(rows, scoring, weighted):
    weights = np.random.default_rng(0).integers(0, 4, len(rows[1])) if weighted else None
    grid = {"C": [1.0, 0.001, 10.0, 0.03]}  # in no order
    theirs, ours = both(
        SoftmaxClassifier(tol=1e-10), grid, rows, weights, cv=3, scoring=scoring
    )  # fmt: skip
    check_same(theirs, ours, 1e-12 if scoring is None else 1e-6)
    assert ours.best_score_ == pytest.approx(theirs.best_score_, abs=1e-6)
    X, y = rows
    assert np.array_equal(ours.predict(X), theirs.predict(X))
    assert np.array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert np.array_equal(ours.decision_function(X), theirs.decision_function(X))
    assert ours.score(X, y) == theirs.score(X, y)
    assert ours.classes_.tolist() == [0, 1, 2]
    assert ours.n_features_in_ == 8
    assert ours.refit_time_ > 0


def test_scores_are_those_of_logistic_regression(rows):
    grid, folds = {"C": [0.001, 0.1, 10.0]}, StratifiedKFold(3, shuffle=True, random_state=0)
    peer = LogisticRegression(tol=1e-10, max_iter=10_000)
    theirs = GridSearchCV(peer, grid, cv=folds, scoring="neg_log_loss").fit(*rows)
    ours = GridSearch(SoftmaxClassifier(tol=1e-10), grid, cv=folds, scoring="neg_log_loss")
    check_same(theirs, ours.fit(*rows), 1e-5)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_exact_fits_of_folds_share_passes(rows, weighted, standardize, monkeypatch):
    X, y = rows
    weights = np.arange(len(y)) % 4 * 0.5 if weighted else None
    calls, kept = [], []

    def counted(*arguments, **settings):
        calls.append(len(arguments[1]))
        return solve_in_folds(*arguments, **settings)

    def keep(estimator, X, y, sample_weight=None):
        kept.append(estimator)
        return 0.5

    monkeypatch.setattr(together, "solve_in_folds", counted)
    estimator = SoftmaxClassifier(tol=1e-10, standardize=standardize)
    folds = list(StratifiedKFold(3).split(X, y))
    grid = {"C": [0.01, 1.0]}
    GridSearch(estimator, grid, cv=folds, scoring=keep, refit=False).fit(X, y, weights)
    assert calls == [3]
    for number, one in enumerate(kept):
        train = folds[number // 2][0]
        own = None if weights is None else weights[train]
        alone = clone(estimator).set_params(C=one.C).fit(X[train], y[train], own)
        np.testing.assert_allclose(one.coef_, alone.coef_, rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(one.intercept_, alone.intercept_, rtol=2e-4, atol=1e-5)


def test_folds_that_cannot_share_passes_are_fitted_in_turn(rows, monkeypatch):
    monkeypatch.setattr(together, "solve_in_folds", None)
    X, y = rows
    balanced = SoftmaxClassifier(class_weight="balanced")
    ours = SoftmaxClassifierCV(Cs=[0.1, 1.0], class_weight="balanced").fit(X, y)
    theirs = GridSearchCV(balanced, {"C": [0.1, 1.0]}).fit(X, y)
    np.testing.assert_allclose(ours.scores_.mean(axis=0), theirs.cv_results_["mean_test_score"])
    twice = [(np.arange(100).repeat(2), np.arange(100, 240)), (np.arange(120), np.arange(120, 240))]
    lacks = [(np.flatnonzero(y < 2), np.flatnonzero(y < 2)), (np.arange(120), np.arange(120, 240))]
    for folds in (twice, lacks):
        search = GridSearch(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=folds).fit(X, y)
        theirs = GridSearchCV(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=folds).fit(X, y)
        check_same(theirs, search, 1e-6)


def test_epochs_have_the_bits_of_single_fits(rows):
    kept = []

    def keep(estimator, X, y):
        kept.append(estimator)
        return accuracy_score(y, estimator.predict(X))

    grid = {"l2": [0.1, 1e-3], "learning_rate_init": [0.3, "auto"], "batch_size": [16, 64]}
    check_same(*both(SoftmaxClassifier(**SGD), grid, rows, cv=2, scoring=keep), 0)
    alone, others = kept[:16], kept[16:]  # candidate by candidate, and fold by fold
    for number, single in enumerate(alone):
        candidate, fold = divmod(number, 2)
        other = others[fold * 8 + candidate]
        assert other.get_params() == single.get_params()
        assert np.array_equal(other.coef_, single.coef_)
        assert np.array_equal(other.intercept_, single.intercept_)
        np.testing.assert_array_equal(other.history_.train_cost, single.history_.train_cost)
        assert np.isfinite(other.history_.train_cost[-1])


def test_every_candidate_stops_early_on_its_own(rows):
    stops = SoftmaxClassifier(
        solver="sgd", max_iter=60, random_state=1, early_stopping=True, n_iter_no_change=2
    )
    epochs = {}

    def count(estimator, X, y):
        epochs.setdefault(estimator.learning_rate_init, []).append(estimator.n_iter_)
        return estimator.score(X, y)

    grid = {"learning_rate_init": [0.001, 0.3], "validation_fraction": [0.1, 0.3]}
    theirs, ours = both(stops, grid, rows, cv=2, scoring=count)
    check_same(theirs, ours, 0)
    counts = [sorted(found[:4]) for found in epochs.values()]
    assert counts == [sorted(found[4:8]) for found in epochs.values()]  # of the other search
    assert counts[0] != counts[1]


def test_a_list_of_grids_of_both_solvers_and_several_scores(rows):
    grids = [
        {"C": [0.1, 1.0], "class_weight": [None, {0: 2.0, 1: 1.0, 2: 1.0}]},
        {"solver": ["sgd"], "max_iter": [4], "learning_rate_init": [0.1, 0.3]},
    ]
    theirs, ours = both(
        SoftmaxClassifier(tol=1e-10, random_state=7), grids, rows, cv=2,
        scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss",
    )  # fmt: skip
    check_same(theirs, ours, 1e-6)
    assert ours.score(*rows) == pytest.approx(theirs.score(*rows), abs=1e-6)
    assert set(ours.scorer_) == {"accuracy", "neg_log_loss"}


def test_the_best_may_be_chosen_by_a_function_or_not_be_fitted(rows):
    grid = {"C": [0.1, 1.0]}
    last = GridSearch(SoftmaxClassifier(), grid, cv=2, refit=lambda _: 1).fit(*rows)
    assert last.best_params_ == {"C": 1.0}
    assert last.best_estimator_.C == 1.0
    unfitted = GridSearch(SoftmaxClassifier(), grid, cv=2, refit=False).fit(*rows)
    assert unfitted.best_params_ in unfitted.cv_results_["params"]
    assert not hasattr(unfitted, "best_estimator_")
    assert not hasattr(unfitted, "predict")


def test_the_squared_hinge_and_groups(rows):
    groups = np.arange(len(rows[1])) % 6
    grid, settings = {"C": [0.01, 1.0], "margin": [1.0, 2.0]}, {"cv": GroupKFold(3)}
    hinge = HingeClassifier(tol=1e-10)
    theirs = GridSearchCV(hinge, grid, **settings).fit(*rows, groups=groups)
    ours = GridSearch(hinge, grid, **settings).fit(*rows, groups=groups)
    check_same(theirs, ours, 1e-12)
    assert not hasattr(ours, "predict_proba")


def test_a_candidate_that_cannot_be_fitted_has_no_score(rows):
    grid = {"learning_rate_init": [0.1, 1e9, -1.0]}
    search = GridSearch(SoftmaxClassifier(**SGD), grid, cv=2)
    with (
        pytest.warns(UserWarning, match="non-finite"),
        pytest.warns(FitFailedWarning, match="4 of 6 fits failed") as said,
    ):
        search.fit(*rows)
    [warned] = [one for one in said if one.category is FitFailedWarning]
    assert "\n" not in str(warned.message)
    assert "{'learning_rate_init': 1000000000.0} on fold 1: training diverged" in str(
        warned.message
    )
    means = search.cv_results_["mean_test_score"]
    assert np.isnan(means).tolist() == [False, True, True]
    assert search.cv_results_["rank_test_score"].tolist() == [1, 2, 2]
    assert search.best_params_ == {"learning_rate_init": 0.1}
    with pytest.raises(ValueError, match=r"all 2 fits failed; the first, .*C is -1\.0"):
        GridSearch(SoftmaxClassifier(), {"C": [-1.0]}, cv=2).fit(*rows)


def test_a_scorer_that_fails_gives_no_score(rows):
    def fails(estimator, X, y):
        if estimator.C == 1.0:
            raise KeyError("so it is")
        return 0.5

    search = GridSearch(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=2, scoring=fails)
    with (
        pytest.warns(UserWarning, match="non-finite"),
        pytest.warns(UserWarning, match="the score is NaN: KeyError: 'so it is'"),
    ):
        search.fit(*rows)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    search.set_params(scoring=lambda *_: "good")
    with pytest.raises(ValueError, match="scoring gave 'good'; it must give a number"):
        search.fit(*rows)


def test_a_fit_that_ends_early_warns(rows):
    with pytest.warns(ConvergenceWarning, match="raise max_iter or tol"):
        GridSearch(SoftmaxClassifier(max_iter=3), {"C": [0.1, 1.0]}, cv=2).fit(*rows)


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), SoftmaxClassifierCV(), make_pipeline(SoftmaxClassifier()), None],
    ids=["other", "path", "pipeline", "none"],
)
def test_other_estimators_are_refused_in_one_line(estimator, rows):
    with pytest.raises(ValueError, match=r"model_selection\.GridSearchCV for") as refused:
        GridSearch(estimator, {"C": [1.0]}).fit(*rows)
    assert "\n" not in str(refused.value)


def test_it_works_in_cross_validation_and_in_a_pipeline(rows):
    grid, folds = {"C": [0.001, 0.1]}, KFold(3)
    ours = GridSearch(SoftmaxClassifier(tol=1e-10), grid, cv=2)
    theirs = GridSearchCV(SoftmaxClassifier(tol=1e-10), grid, cv=2)
    for make in (lambda search: search, lambda search: make_pipeline(StandardScaler(), search)):
        found = [cross_val_score(make(search), *rows, cv=folds) for search in (ours, theirs)]
        assert np.array_equal(*found)


def test_a_copy_and_a_pickle(rows):
    search = fastlin.GridSearch(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=2, n_threads=1)
    again = clone(search)
    assert again.get_params(deep=False).keys() == search.get_params(deep=False).keys()
    fitted = pickle.loads(pickle.dumps(search.fit(*rows)))
    assert np.array_equal(fitted.predict(rows[0]), search.predict(rows[0]))
    assert search.set_params(estimator__tol=1e-3).estimator.tol == 1e-3


def test_weights_are_routed(rows):
    X, y = rows
    weights = np.random.default_rng(0).integers(1, 5, len(y)).astype(float)
    with config_context(enable_metadata_routing=True):
        chosen = SoftmaxClassifier(tol=1e-10).set_fit_request(sample_weight=True)
        chosen.set_score_request(sample_weight=True)
        check_same(*both(chosen, {"C": [0.01, 1.0]}, rows, weights, cv=2), 1e-12)
        unsaid = GridSearch(SoftmaxClassifier(), {"C": [1.0]}, cv=2)
        with pytest.raises(ValueError, match="sample_weight"):
            unsaid.fit(X, y, sample_weight=weights)


def test_one_weight_for_all_rows(rows):
    grid, twice = {"l2": [0.01, 1.0]}, np.full(len(rows[1]), 2.0)
    one, many = (
        GridSearch(SoftmaxClassifier(), grid, cv=2).fit(*rows, sample_weight=weight)
        for weight in (2.0, twice)
    )
    check_same(many, one, 0)


def test_a_search_without_candidates_is_refused(rows):
    with pytest.raises(ValueError, match="no fits were performed; param_grid has no candidate"):
        GridSearch(SoftmaxClassifier(), [], cv=2).fit(*rows)


def test_every_fold_has_a_line(rows, capsys):
    GridSearch(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=2, verbose=True).fit(*rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0] for line in lines] == [
        "fold 1 of 2: 2 candidates", "fold 2 of 2: 2 candidates",
    ]  # fmt: skip


def test_tables_name_their_features(rows):
    frames = pytest.importorskip("pandas", reason="tables of pandas")
    X, y = rows
    table = frames.DataFrame({f"x{j}": X[:, j] for j in range(8)})
    seen = []

    def look(estimator, X, y):
        seen.append(type(X))
        return estimator.score(X, y)

    found = GridSearch(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=2, scoring=look).fit(table, y)
    assert found.feature_names_in_.tolist() == [f"x{j}" for j in range(8)]
    assert set(seen) == {frames.DataFrame}


def test_a_read_only_memory_map_is_searched_like_the_array(rows, tmp_path):
    X, y = rows
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    grid = {"C": [0.1, 1.0]}
    a, b = (GridSearch(SoftmaxClassifier(), grid, cv=2).fit(of, y) for of in (X, mapped))
    check_same(a, b, 0)
    assert np.array_equal(a.best_estimator_.coef_, b.best_estimator_.coef_)


def test_a_read_only_memory_map_is_neither_copied_nor_compiled_for(rows, tmp_path, monkeypatch):
    X, y = rows
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    SoftmaxClassifier().fit(X, y)
    compiled, given = jit.compiled_count(), []

    def solve(data, **settings):
        given.append(data.X)
        return solving.solve(data, **settings)

    monkeypatch.setattr(fits, "solve", solve)
    SoftmaxClassifier().fit(mapped, y).predict(mapped)
    assert np.shares_memory(given[0], mapped)
    assert jit.compiled_count() == compiled


SEARCH_IN_PROCESSES = """
from pathlib import Path
import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from fastlin.estimators.classifiers import SoftmaxClassifier
from fastlin.kernels import jit

def look(estimator, X, y):
    return {
        "compiled": jit.compiled_count(),
        "mapped": "joblib_memmapping" in Path("/proc/self/maps").read_text(),
        "accuracy": estimator.score(X, y),
    }

X, y = make_classification(240, 640, n_informative=6, n_classes=3, random_state=3)  # 1.2 MB
search = GridSearchCV(
    SoftmaxClassifier(n_threads=1), {"C": [0.01, 0.1]}, cv=2, scoring=look, refit=False
)
search.fit(X, y)  # keeps the compiled kernels
found = search.set_params(n_jobs=2).fit(X, y).cv_results_
print(found["mean_test_compiled"].tolist(), found["mean_test_mapped"].tolist())
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="it shows which files are mapped")
def test_processes_of_a_search_map_the_rows_and_compile_nothing():
    # In a process of its own: what other tests compiled in this one need not be kept in files.
    # joblib maps arrays above 1 MB.
    done = subprocess.run(
        [sys.executable, "-c", SEARCH_IN_PROCESSES], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[0.0, 0.0] [1.0, 1.0]\n", done.stderr


def test_callbacks_hear_of_every_fold(rows):
    callback = pytest.importorskip("sklearn.callback", reason="it came with scikit-learn 1.9")
    heard = []

    class Recorder:
        def setup(self, estimator, context):
            heard.append("setup")

        def on_fit_task_begin(self, estimator, context, **_):
            heard.append(context.task_name)

        def on_fit_task_end(self, estimator, context, **_):
            return False

        def teardown(self, estimator, context):
            heard.append("teardown")

    assert isinstance(Recorder(), callback.FitCallback)
    search = GridSearch(SoftmaxClassifier(), {"C": [0.1, 1.0]}, cv=2)
    search.set_callbacks(Recorder()).fit(*rows)
    assert heard == ["setup", "fit", "fold", "fold", "teardown"]
