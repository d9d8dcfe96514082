"""Cross-validation against scikit-learn's folds, single runs, and labels made wrong."""

import csv
import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

import fastlin
from fastlin.data.joining import training_and_validation
from fastlin.data.splits import stratified_folds
from fastlin.errors import GridDivergedError, InputError
from fastlin.label_errors import likely_label_errors
from fastlin.search.cross_validation import Calls
from fastlin.training.defaults import with_chosen

QUICK = {"lr": 0.1, "epochs": 4, "batch_size": 16}


def rows(n=90, K=5, d=6, seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    y = rng.choice(K, n, p=np.arange(1, K + 1) / np.arange(1, K + 1).sum())
    X = rng.normal(size=(n, d)) + spread * np.eye(K, d)[y]
    return X.astype(np.float32), y


def equal(first, second):
    return first.W.tobytes() == second.W.tobytes() and first.b.tobytes() == second.b.tobytes()


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(0, 30), min_size=2, max_size=8),
    folds=st.integers(2, 10),
    seed=st.integers(0, 2**32),
)
def test_folds_are_a_partition_that_is_even_in_every_class(counts, folds, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    if len(y) < folds:
        with pytest.raises(InputError, match="give fewer folds"):
            stratified_folds(y, folds, seed)
        return
    found = stratified_folds(y, folds, seed)
    assert set(found.tolist()) == set(range(folds))
    of_fold = np.array([np.bincount(y[found == f], minlength=len(counts)) for f in range(folds)])
    assert np.ptp(of_fold, axis=0).max() <= 1
    assert np.ptp(of_fold.sum(axis=1)) <= 1
    assert of_fold.sum(axis=0).tolist() == counts
    if max(counts) >= folds:  # as scikit-learn demands
        theirs = StratifiedKFold(folds, shuffle=True, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes with fewer rows
            parts = [np.bincount(y[held], minlength=len(counts)) for _, held in
                     theirs.split(np.zeros(len(y)), y)]  # fmt: skip
        assert sorted(np.sum(parts, axis=1)) == sorted(of_fold.sum(axis=1))
        assert np.sort(parts, axis=0).tolist() == np.sort(of_fold, axis=0).tolist()


def test_folds_depend_on_their_seed_and_are_random_within_classes():
    y = np.zeros(1000, np.int64)
    first = stratified_folds(y, 5, 0)
    assert first.tobytes() == stratified_folds(y, 5, 0).tobytes()
    assert first.tobytes() != stratified_folds(y, 5, 1).tobytes()
    same = np.mean(first[1:] == first[:-1])  # neighbours are in one fold by chance alone
    assert abs(same - 0.2) < 0.05


@pytest.mark.parametrize("more", [{}, {"standardize": True}, {"class_weight": "balanced"}])
def test_out_of_fold_probabilities_are_those_of_single_runs(more):
    X, y = rows()
    found = fastlin.cross_validate(X, y, cv=4, **QUICK, **more)
    expected = np.empty((len(y), 5), np.float32)
    accuracies = []
    for fold in range(4):
        held = found.fold_of_row == fold
        part = fastlin.Split.from_arrays(X[~held], y[~held], X_val=X[held], y_val=y[held])
        run = fastlin.train(part, **QUICK, **more)
        expected[held] = run.model.predict_proba(X[held])
        accuracies.append(run.history.val_accuracy[-1])
    assert found.probabilities.dtype == np.float32
    assert found.probabilities.tobytes() == expected.tobytes()
    assert found.predictions.tolist() == expected.argmax(axis=1).tolist()
    assert found.scores.tolist() == accuracies
    assert found.mean == pytest.approx(np.mean(accuracies))
    assert found.error == pytest.approx(np.std(accuracies, ddof=1) / 2)
    assert found.tally.values()["accuracy"] == (expected.argmax(axis=1) == y).mean()
    assert equal(found.model, fastlin.train(fastlin.Split.from_arrays(X, y), **QUICK, **more).model)


def test_candidates_are_ranked_by_their_means_whatever_the_threads():
    X, y = rows()
    grid = {"lr": [0.1, 1e-5, 0.02], "l2": [0.0, 0.1]}
    found = fastlin.cross_validate(X, y, cv=3, grid=grid, epochs=3, threads=1)
    ranking = found.ranking
    for index, entry in enumerate(ranking.entries):
        alone = fastlin.cross_validate(X, y, cv=3, config=entry.config)
        assert alone.scores.tolist() == found.fold_scores[index].tolist()
        assert entry.score == pytest.approx(alone.mean)
        if index == ranking.winner:
            assert alone.probabilities.tobytes() == found.probabilities.tobytes()
            assert equal(alone.model, found.model)
    means = found.fold_scores.mean(axis=1)
    assert means[ranking.winner] == means.max()
    two = fastlin.cross_validate(X, y, cv=3, grid=grid, epochs=3, threads=2)
    assert two.probabilities.tobytes() == found.probabilities.tobytes()
    assert two.fold_scores.tobytes() == found.fold_scores.tobytes()


def test_validation_rows_are_divided_too_and_test_rows_are_not():
    X, y = rows(120)
    split = fastlin.Split.from_arrays(
        X[:60], y[:60], X_val=X[60:90], y_val=y[60:90], X_test=X[90:], y_test=y[90:]
    )
    found = fastlin.cross_validate(split, cv=3, **QUICK)
    alone = fastlin.cross_validate(X[:90], y[:90], cv=3, **QUICK)
    assert found.probabilities.tobytes() == alone.probabilities.tobytes()
    assert len(training_and_validation(split)) == len(found.rows) == 90


def test_an_entry_that_diverges_in_a_fold_is_no_winner():
    X, y = rows()
    huge = 1e30
    found = fastlin.cross_validate(X, y, cv=3, grid={"lr": [huge, 0.1]}, epochs=2)
    assert found.ranking.winner == 1
    assert found.ranking.entries[0].status == "diverged"
    assert np.isnan(found.fold_scores[0]).all()
    with pytest.raises(GridDivergedError):
        fastlin.cross_validate(X, y, cv=3, lr=huge, epochs=2)


def test_small_classes_are_named_and_fewer_rows_than_folds_refused():
    X, y = rows(40)
    y[:] = 0
    y[:20] = 1
    y[0] = 2
    with pytest.warns(UserWarning, match="fewer than 4 rows.*1 class: '2'"):
        fastlin.cross_validate(X, y, cv=4, **QUICK)
    notes = []
    fastlin.cross_validate(X, y, cv=4, calls=Calls(note=notes.append), **QUICK)
    assert len(notes) == 1
    for wrong in (1, 0, -3, 2.5, "x", None):
        with pytest.raises(InputError, match="cv is"):
            fastlin.cross_validate(X, y, cv=wrong, **QUICK)
    with pytest.raises(InputError, match="give fewer folds"):
        fastlin.cross_validate(X, y, cv=41, **QUICK)
    with pytest.raises(InputError, match="leave it out"):
        fastlin.cross_validate(fastlin.Split.from_arrays(X, y), y)
    with pytest.raises(InputError, match="must be a Split"):
        fastlin.cross_validate(X)


def test_a_loss_without_probabilities_has_no_label_errors(tmp_path):
    X, y = rows()
    found = fastlin.cross_validate(X, y, cv=3, loss="hinge", lr=0.01, epochs=2)
    assert found.probabilities is None
    assert found.save(tmp_path) == []
    with pytest.raises(InputError, match="use the loss softmax"):
        found.likely_label_errors()


def confident_learning(p, y):
    """The rule of confident learning, row by row; its margins."""
    K = p.shape[1]
    means = [p[y == k, k].mean() if (y == k).any() else np.inf for k in range(K)]
    found = {}
    for i in range(len(y)):
        confident = [k for k in range(K) if p[i, k] >= means[k]]
        if confident:
            best = max(confident, key=lambda k: p[i, k])
            if best != y[i]:
                found[i] = (best, p[i, y[i]] - p[i, best])
    return found


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(2, 5))
def test_likely_label_errors_are_those_of_the_rule(seed, K):
    rng = np.random.default_rng(seed)
    p, y = rng.dirichlet(np.ones(K), 50), rng.integers(0, K - 1, 50)
    found = likely_label_errors(p, y, [f"c{k}" for k in range(K)])
    expected = confident_learning(p, y)
    assert dict(zip(found.row.tolist(), found.predicted.tolist(), strict=True)) == {
        row: best for row, (best, _) in expected.items()
    }
    np.testing.assert_allclose(found.margin, [expected[row][1] for row in found.row.tolist()])
    assert np.all(np.diff(found.margin) >= 0)
    np.testing.assert_allclose(found.self_confidence, p[found.row, y[found.row]])


def test_labels_that_are_made_wrong_are_found(tmp_path):
    X, y = rows(600, spread=5.0)
    rng = np.random.default_rng(1)
    wrong = rng.choice(600, 30, replace=False)
    noisy = y.copy()
    noisy[wrong] = (y[wrong] + rng.integers(1, 5, 30)) % 5
    names = np.array(["ant", "bee", "cow", "dog", "eel"])
    found = fastlin.cross_validate(X, names[noisy], cv=5, lr=0.1, epochs=10)
    files = {path.name for path in found.save(tmp_path)}
    with (tmp_path / "likely_label_errors.csv").open() as file:
        table = list(csv.DictReader(file))
    listed = [int(line["row"]) for line in table]
    right = set(listed) & set(wrong.tolist())
    assert len(right) > 0.9 * len(listed)  # 5 % by chance
    assert len(right) > 0.6 * len(wrong)
    assert set(listed[:10]) <= set(wrong.tolist())
    for line in table:
        row = int(line["row"])
        assert line["given_label"] == names[noisy[row]]
        if row in right:
            assert line["predicted_label"] == names[y[row]]
    assert files == {
        "pred_probs.npy", "labels.npy", "class_names.json", "likely_label_errors.csv"
    }  # fmt: skip
    p, labels = np.load(tmp_path / "pred_probs.npy"), np.load(tmp_path / "labels.npy")
    assert (p.shape, p.dtype, labels.dtype) == ((600, 5), np.float32, np.int64)
    assert labels.tolist() == noisy.tolist()
    assert json.loads((tmp_path / "class_names.json").read_text()) == names.tolist()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


def test_journals_are_gone_on_with(tmp_path, monkeypatch):
    X, y = rows()
    arguments = {"cv": 3, "grid": {"lr": [0.1, 0.01]}, "epochs": 3}
    whole = fastlin.cross_validate(X, y, **arguments)

    def stop(fold, _):
        if fold == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fastlin.cross_validate(X, y, journals=tmp_path, calls=Calls(on_fold=stop), **arguments)
    again = fastlin.cross_validate(X, y, journals=tmp_path, **arguments)
    assert again.probabilities.tobytes() == whole.probabilities.tobytes()
    assert again.fold_scores.tobytes() == whole.fold_scores.tobytes()
    assert equal(again.model, whole.model)
    with pytest.raises(InputError, match="journal"):
        fastlin.cross_validate(X[::-1], y, journals=tmp_path, **arguments)


def test_settings_left_to_the_rows_are_alike_in_every_fold_and_advice_comes_once():
    X, y = rows(200)
    X[:, 0] *= 1000
    notes = []
    found = fastlin.cross_validate(
        X, y, cv=4, grid={"l2": [0.0, 1e-4, "auto"]}, epochs=6, calls=Calls(note=notes.append)
    )
    (chosen,) = with_chosen([fastlin.TrainConfig()], fastlin.Split.from_arrays(X, y).train)
    assert {entry.config.lr for entry in found.ranking.entries} >= {chosen.lr}
    assert all(entry.config.standardize is True for entry in found.ranking.entries)
    assert sum("they are standardised" in note for note in notes) == 1
    assert len(notes) == len(set(notes))
    with pytest.warns(fastlin.AdviceWarning, match="set standardize to True"):
        fastlin.cross_validate(X, y, cv=3, standardize=False, epochs=2, lr=1e-7)
