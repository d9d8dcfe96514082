import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import call, small_images, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

import fastlin
from fastlin import figures, passes
from fastlin.data.dataset import Dataset
from fastlin.errors import InputError, MatchWarning
from fastlin.metrics import METRICS, Tally, confusions, wilson_interval
from fastlin.training import evaluation, measuring


def tally_of(y, scores, blocks=1):
    """Return the tally of rows added in some blocks; y and scores are arrays."""
    tally = Tally(scores.shape[1])
    for rows in np.array_split(np.arange(len(y)), blocks):
        tally.add_scores(y[rows], scores[rows])
        p = softmax(scores[rows])
        losses = -np.log(p[np.arange(len(rows)), y[rows]])
        tally.add_probabilities(y[rows], p, losses)
    return tally


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def problem(n=600, K=8, seed=0):
    rng = np.random.default_rng([seed, K])
    y = rng.choice(K, n, p=rng.dirichlet(np.ones(K)))
    return y, rng.normal(size=(n, K)) + 1.5 * np.eye(K)[y]


@pytest.mark.parametrize("K", [2, 3, 6, 30])
@pytest.mark.parametrize("blocks", [1, 7])
def test_metrics_are_those_of_scikit_learn(K, blocks):
    y, scores = problem(K=K)
    values = tally_of(y, scores, blocks).values()
    predicted, p, labels = scores.argmax(axis=1), softmax(scores), np.arange(K)
    right = {
        "accuracy": sklearn_metrics.accuracy_score(y, predicted),
        "balanced_accuracy": sklearn_metrics.recall_score(
            y, predicted, labels=np.unique(y), average="macro"
        ),
        "macro_f1": sklearn_metrics.f1_score(y, predicted, average="macro"),
        "log_loss": sklearn_metrics.log_loss(y, p, labels=labels),
    }
    if K > 5:
        right["top_5_accuracy"] = sklearn_metrics.top_k_accuracy_score(
            y, scores, k=5, labels=labels
        )
    for name, value in right.items():
        assert values[name] == pytest.approx(value, rel=1e-12), name
    assert ("top_5_accuracy" in values) == (K > 5)


def test_counts_of_every_class_are_those_of_scikit_learn():
    y, scores = problem(K=6)
    tally = tally_of(y, scores, 3)
    precision, recall, f1, rows = sklearn_metrics.precision_recall_fscore_support(
        y, scores.argmax(axis=1), labels=np.arange(6)
    )
    np.testing.assert_allclose(tally.precision(), precision)
    np.testing.assert_allclose(tally.recall(), recall)
    np.testing.assert_allclose(tally.f1(), f1)
    assert tally.rows_of_class.tolist() == rows.tolist()


def test_classes_without_rows_or_predictions_count_as_in_scikit_learn():
    y, predictions = np.array([0, 0, 1, 1, 1]), np.array([0, 3, 1, 1, 0])
    tally = Tally(7)
    tally.add_predictions(y, predictions)
    values = tally.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that class 3 has no rows
        balanced = sklearn_metrics.balanced_accuracy_score(y, predictions)
        f1 = sklearn_metrics.f1_score(y, predictions, average="macro", zero_division=0)
    assert values["balanced_accuracy"] == pytest.approx(balanced)
    assert values["macro_f1"] == pytest.approx(f1)
    assert values.keys() == {
        "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1",
    }  # fmt: skip


def test_the_calibration_error_is_that_of_its_definition():
    y, scores = problem(n=2000, K=4)
    p = softmax(scores)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    error = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    tally = tally_of(y, scores, 4)
    assert tally.values()["calibration_error"] == pytest.approx(error, rel=1e-12)
    assert tally.calibration.rows.sum() == 2000


def test_certain_and_hopeless_probabilities_have_their_bins():
    tally = Tally(2)
    y, scores = np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])
    tally.add_scores(y, scores)
    tally.add_probabilities(y, scores, np.zeros(2))
    assert tally.calibration.rows.tolist() == [0] * 14 + [2]
    assert tally.values()["calibration_error"] == pytest.approx(0.5)


def test_of_equal_scores_the_class_of_the_lower_number_comes_first():
    tally = Tally(8)
    tally.add_scores(np.arange(8), np.zeros((8, 8)))
    assert tally.in_top == 5
    assert tally.right_of_class.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


@settings(max_examples=60)
@given(st.data())
def test_a_tally_depends_on_no_blocks_and_agrees_with_itself(data):
    K, n = data.draw(st.integers(2, 30)), data.draw(st.integers(1, 60))
    classes = st.lists(st.integers(0, K - 1), min_size=n, max_size=n).map(np.array)
    y, predictions = data.draw(classes), data.draw(classes)
    blocks = data.draw(st.integers(1, n))
    whole, tally = Tally(K), Tally(K)
    whole.add_predictions(y, predictions)
    for rows in np.array_split(np.arange(n), blocks):
        tally.add_predictions(y[rows], predictions[rows])
    assert tally.values() == whole.values()
    found, expected = tally.confusions(), confusions(y, predictions, K)
    assert (found.pairs, found.right_of_class) == (expected.pairs, expected.right_of_class)
    if K <= 20:
        counts = sklearn_metrics.confusion_matrix(y, predictions, labels=np.arange(K))
        assert found.counts.tolist() == counts.tolist()
    values = tally.values()
    assert values["accuracy_low"] <= values["accuracy"] <= values["accuracy_high"]
    assert 0 <= values["macro_f1"] <= 1


@pytest.mark.parametrize("K", [2, 7])
def test_perfect_predictions_have_the_best_value_of_every_metric(K):
    y, scores = problem(K=K)
    worse, best = tally_of(y, scores).values(), tally_of(y, 1000 * np.eye(K)[y]).values()
    for metric in METRICS:
        if metric.name in best:
            assert best[metric.name] == (1 if metric.is_better_high else 0), metric.name
            assert (best[metric.name] >= worse[metric.name]) == metric.is_better_high, metric.name


def test_wilson_intervals_are_those_of_published_examples():
    # R: prop.test(15, 20, correct = FALSE), prop.test(0, 10, correct = FALSE)
    assert wilson_interval(0.75, 20) == pytest.approx((0.5312999, 0.8881382), abs=1e-6)
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert wilson_interval(1.0, 10) == pytest.approx((1 - 0.2775328, 1.0), abs=1e-6)


def trained(K=10, loss="softmax", dtype="float32"):
    rng = np.random.default_rng(K)
    y = np.concatenate([np.arange(K), rng.integers(0, K, 400 - K)])
    X = (rng.normal(size=(400, 9)) + 1.5 * np.eye(K, 9)[y]).astype(np.float32)
    split = fastlin.Split.from_arrays(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    config = fastlin.TrainConfig(loss=loss, epochs=3, lr=0.05, dtype=dtype)
    return fastlin.train(split, config).model, split, config


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_is_measured_in_blocks_as_scikit_learn_does(monkeypatch, dtype):
    model, split, config = trained(dtype=dtype)
    monkeypatch.setattr(measuring, "_BYTES_OF_BLOCK", 5000)
    data = split.val
    values = fastlin.measure(model, data).values()
    p = model.predict_proba(data.X).astype(np.float64)
    assert values["accuracy"] == fastlin.evaluate(model, data, config).accuracy
    labels = np.arange(10)
    assert values["log_loss"] == pytest.approx(
        sklearn_metrics.log_loss(data.y, p / p.sum(1, keepdims=True), labels=labels), rel=1e-5
    )
    assert values["top_5_accuracy"] == sklearn_metrics.top_k_accuracy_score(
        data.y, p, k=5, labels=labels
    )
    assert values["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(data.y, model.predict(data.X))
    )


@pytest.mark.parametrize(
    ("loss", "K", "dtype"),
    [("softmax", 2, "float32"), ("softmax(smoothing=0.1)", 5, "float64"), ("hinge", 9, "float32"),
     ("squared-hinge(margin=0.5)", 13, "float64"), ("softmax", 13, "float32"),
     ("softmax", 13, "float64")],
)  # fmt: skip
def test_cost_and_metrics_of_one_pass_have_the_bits_of_two(monkeypatch, loss, K, dtype):
    rng = np.random.default_rng(K)
    n, d = 1037, 21
    y = rng.integers(0, K, n)
    rows = {"float32": rng.normal(size=(n, d)), "uint8": rng.integers(0, 256, (n, d))}
    config = fastlin.TrainConfig(
        loss=loss, lr=0.01, l2=0.01, standardize=False, dtype=dtype, class_weight="balanced"
    )
    W, b = rng.normal(size=(K, d)).astype(dtype), rng.normal(size=K).astype(dtype)
    names = tuple(map(str, range(K)))
    monkeypatch.setattr(measuring, "_BYTES_OF_BLOCK", 16_000)  # several blocks
    for of_rows, X in rows.items():
        for weights in (None, rng.integers(0, 3, n) / 2):
            data = Dataset(X.astype(of_rows), y, names, weights=weights)
            offset = None if of_rows == "uint8" else np.full(d, 0.5)
            model = fastlin.LinearModel(W, b, names, feature_offset=offset, loss=loss)
            cost, tally = measuring.cost_and_tally(model, data, config)
            found = evaluation.evaluate_matched(model, data, config)
            assert cost == found.cost
            assert tally.values() == measuring.measure_matched(model, data).values()
            assert tally.values()["accuracy"] == found.accuracy


def test_held_out_rows_are_passed_over_once(run, monkeypatch):
    rows = {}

    def counting(what, pass_over):
        def counted(X, *arguments, **named):
            rows[what] = rows.get(what, 0) + len(X)
            return pass_over(X, *arguments, **named)

        return counted

    for what in ("unchecked_scores", "unchecked_evaluate"):
        monkeypatch.setattr(passes, what, counting(what, getattr(passes, what)))
    call("evaluate", "run")
    assert rows == {"unchecked_scores": 150 + 40 + 30}


def test_a_hinge_loss_has_no_probabilities_to_judge():
    model, split, _ = trained(loss="hinge")
    values = fastlin.measure(model, split.val).values()
    assert {"log_loss", "calibration_error"} & values.keys() == set()
    assert "macro_f1" in values


def test_rows_are_matched_before_they_are_measured():
    model, split, _ = trained(K=5)
    data = split.val
    turned = fastlin.Dataset(data.X, 4 - data.y, data.class_names[::-1])
    with pytest.warns(MatchWarning, match="matched by name"):
        found = fastlin.measure(model, turned)
    assert found.values() == fastlin.measure(model, data).values()
    with pytest.raises(InputError, match="features"):
        fastlin.measure(model, fastlin.Dataset(data.X[:, :5], data.y, data.class_names))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("small.npz", **small_images(noise=120, contrast=60))
    call("train", "--data", "small.npz", "--epochs", 2, "--no-figures", "--out", "run")
    return fastlin.load_run("run")


def test_the_summary_of_a_run_has_the_metrics_of_held_out_rows(run):
    split = fastlin.load_split("small.npz")
    results = summary("run")["results"]["last"]
    assert set(results["train"]) == {"cost", "accuracy"}
    for part in ("val", "test"):
        values = fastlin.measure(run.model, split.parts()[part]).values()
        assert results[part] == values | {"cost": results[part]["cost"]}
    json.dumps(results, allow_nan=False)


def test_evaluate_prints_metrics_and_classes(run):
    table = call("evaluate", "run", "--per-class").stdout
    test = summary("run")["results"]["last"]["test"]
    for name, text in {
        "balanced_accuracy": "{:.2%}", "macro_f1": "{:.4f}", "log_loss": "{:.4f}",
        "calibration_error": "{:.2%}", "accuracy": "{:.2%}",
    }.items():  # fmt: skip
        assert text.format(test[name]) in table, name
    assert f"{100 * test['accuracy_low']:.1f}-{100 * test['accuracy_high']:.1f}" in table
    for word in ("class (test)", "precision", "true", "predicted"):
        assert word in table
    assert "precision" not in call("evaluate", "run").stdout
    assert "top-5" not in table


def test_figures_show_calibration_and_classes(run, tmp_path):
    split = fastlin.load_split("small.npz")
    tally = fastlin.measure(run.model, split.test)
    for figure in (
        figures.reliability_diagram(tally.calibration),
        figures.class_accuracies(tally.confusions(), run.model.class_names),
        figures.class_accuracies(confusions(np.arange(90), np.zeros(90, int), 91), ["$"] * 91),
    ):
        assert figures.png(figure).startswith(b"\x89PNG")
    call("plot", "run")
    assert {"classes.png", "calibration.png"} <= {
        path.name for path in Path("run/figures").iterdir()
    }


def test_figures_of_nothing_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        figures.class_accuracies(confusions(np.arange(3), np.arange(3), 3), ["a"])
