import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import call, same_run
from sklearn import metrics as sklearn_metrics

import fastlin
from fastlin import Split, TrainConfig
from fastlin.commands import main
from fastlin.errors import InputError
from fastlin.files import read_json
from fastlin.metrics import METRICS, SELECTABLE
from fastlin.search.halving import Plan
from fastlin.search.ranking import Rule
from fastlin.search.winner import run_of_winner
from fastlin.training.trainer import Trainer

RNG = np.random.default_rng(1)
K = 9
Y = RNG.choice(K, 900, p=np.array([40, 15, 10, 10, 5, 5, 5, 5, 5]) / 100)
X = (RNG.standard_normal((K, 12))[Y] + 1.5 * RNG.standard_normal((900, 12))).astype(np.float32)
SPLIT = Split.from_arrays(X[:600], Y[:600], X_val=X[600:], y_val=Y[600:])
GRID = {"lr": [0.001, 0.02, 0.3], "class_weight": [None, "balanced"]}
BASE = TrainConfig(epochs=4, l2=0.0, standardize=False)


def reference(name, model):
    """Return a metric of a model on the validation rows, by scikit-learn."""
    y, X_val = SPLIT.val.y, SPLIT.val.X
    predicted, proba = model.predict(X_val), model.predict_proba(X_val).astype(np.float64)
    if name == "top_5_accuracy":
        return sklearn_metrics.top_k_accuracy_score(y, proba, k=5, labels=range(K))
    if name == "log_loss":
        proba /= proba.sum(axis=1, keepdims=True)
        return sklearn_metrics.log_loss(y, proba, labels=range(K))
    if name == "balanced_accuracy":
        return sklearn_metrics.balanced_accuracy_score(y, predicted)
    assert name == "macro_f1"
    return sklearn_metrics.f1_score(y, predicted, average="macro")


def test_every_metric_can_be_selected_by():
    names = {select.removeprefix("val_") for select in SELECTABLE}
    assert names == {metric.name for metric in METRICS} | {"cost"}


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "log_loss", "top_5_accuracy"])
def test_entries_are_ranked_by_the_metric_as_scikit_learn_computes_it(name):
    result = fastlin.grid_search(SPLIT, GRID, base=BASE, select=f"val_{name}", keep="all")
    expected = [reference(name, entry.last_model) for entry in result.entries]
    np.testing.assert_allclose([entry.score for entry in result.entries], expected, rtol=1e-5)
    sign = -1 if name == "log_loss" else 1
    assert [entry.index for entry in result.ranked()] == sorted(
        range(len(expected)), key=lambda i: (-sign * result.entries[i].score, i)
    )
    assert (
        result.rule == f"validation {name.replace('_', ' ').replace('f1', 'F1')} at the last epoch"
    )
    run = run_of_winner(result)
    assert run.model is result.best.last_model
    assert run.best_epoch == result.best.history.best_by("val_accuracy")


def test_the_metric_is_the_same_with_stops_and_after_a_resumption(tmp_path):
    how = {"base": BASE, "select": "val_balanced_accuracy", "journal": tmp_path / "j.jsonl"}
    first = fastlin.grid_search(SPLIT, GRID, **how)
    again = fastlin.grid_search(SPLIT, GRID, **how, resume=True)  # no entry is trained
    assert [e.score for e in again.entries] == [e.score for e in first.entries]
    assert again.winner == first.winner
    assert again.best.last_model.W.tobytes() == first.best.last_model.W.tobytes()
    with pytest.warns(UserWarning, match="No entry is stopped early"):
        stopped = fastlin.grid_search(
            SPLIT, GRID, base=BASE, select="val_balanced_accuracy", halving=Plan()
        )
    assert stopped.winner == first.winner


def test_what_cannot_be_selected_by_is_refused_before_anything_is_trained():
    few = Split.from_arrays(X[:600], Y[:600] % 3, X_val=X[600:], y_val=Y[600:] % 3)
    for split, how, said in (
        (SPLIT, {"select": "accuracy"}, "select is 'accuracy'; it must be one of val_accuracy"),
        (SPLIT, {"select": "val_log_loss", "at": "best"}, "at must be last"),
        (few, {"select": "val_top_5_accuracy"}, "is 1 with 3 classes"),
    ):
        with pytest.raises(InputError, match=said):
            fastlin.grid_search(split, GRID, **how)
    for name in ("log_loss", "calibration_error"):
        with pytest.raises(InputError, match="probabilities, which the loss hinge does not give"):
            fastlin.grid_search(SPLIT, {"loss": ["softmax", "hinge"]}, select=f"val_{name}")
    with pytest.raises(InputError, match="cross-validation cannot select by val_macro_f1"):
        fastlin.cross_validate(X, Y, cv=3, grid=GRID, select="val_macro_f1")
    assert Rule("val_macro_f1").sign == -Rule("val_log_loss").sign == 1


def test_the_command_shows_and_records_the_metric(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("t.npz", X_train=X[:600], y_train=Y[:600], X_val=X[600:], y_val=Y[600:])
    words = ["grid", "--data", "t.npz", "--epochs", "3", "--lr", "0.01,0.1", "--no-figures"]
    found = CliRunner().invoke(main, [*words, "--select", "balanced-accuracy", "--out", "g"])
    assert found.exit_code == 0, found.output
    assert "by validation balanced accuracy at the last epoch" in found.stdout
    summary = read_json(tmp_path / "g/summary.json")
    assert summary["rule"] == "validation balanced accuracy at the last epoch"
    assert f"{summary['winner']['score']:.2%}" in found.stdout
    winner = read_json(tmp_path / "g/winner/summary.json")["results"]["last"]["val"]
    assert winner["balanced_accuracy"] == summary["winner"]["score"]
    found = CliRunner().invoke(main, [*words, "--select", "beauty"])
    assert found.exit_code == 2
    assert (
        "'beauty' is not one of accuracy, cost, top-5-accuracy, balanced-accuracy" in found.output
    )


# --- the best epoch of one run ----------------------------------------------------------------

RUN = {"epochs": 8, "lr": 0.05, "l2": 0.0, "standardize": False, "seed": 3}


def models_after_every_epoch():
    trainer = Trainer(SPLIT, TrainConfig(**RUN))
    return [trainer.run(epochs=1).model for _ in range(RUN["epochs"])]


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "log_loss", "top_5_accuracy"])
def test_the_best_epoch_is_that_of_the_metric_as_scikit_learn_computes_it(name):
    result = fastlin.train(SPLIT, TrainConfig(**RUN), select=f"val_{name}")
    models = models_after_every_epoch()
    expected = [reference(name, model) for model in models]
    np.testing.assert_allclose(result.history.val_metric, expected, rtol=1e-5)
    found = result.history.val_metric
    best = int(found.argmin() if name == "log_loss" else found.argmax())
    assert result.best_epoch == best + 1
    assert result.best_model.W.tobytes() == models[best].W.tobytes()
    plain = fastlin.train(SPLIT, TrainConfig(**RUN))
    assert plain.history.val_metric is None
    assert plain.model.W.tobytes() == result.model.W.tobytes()
    assert plain.history.val_cost.tobytes() == result.history.val_cost.tobytes()


def test_a_run_goes_on_with_the_metric_from_where_it_was():
    whole = Trainer(SPLIT, TrainConfig(**RUN), select="val_macro_f1")
    expected = whole.run()
    first = Trainer(SPLIT, TrainConfig(**RUN), select="val_macro_f1")
    first.run(epochs=4)
    second = Trainer(SPLIT, TrainConfig(**RUN), select="val_macro_f1")
    second.restore(first.result().history.records(), first.state())
    found = second.run(epochs=4)
    assert found.history.records() == expected.history.records()
    assert found.best_model.W.tobytes() == expected.best_model.W.tobytes()


def test_a_run_folder_says_by_what_the_best_epoch_was_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("t.npz", X_train=X[:600], y_train=Y[:600], X_val=X[600:], y_val=Y[600:])
    words = ["train", "--data", "t.npz", "--epochs", 8, "--lr", 0.05, "--seed", 3]
    found = call(*words, "--select", "balanced-accuracy", "--out", "run")
    assert "The best epoch is that of the best validation balanced accuracy" in found.stdout
    assert "The best epoch" not in call(*words, "--no-figures", "--out", "plain").stdout
    summary = read_json("run/summary.json")
    run = fastlin.load_run("run")
    assert summary["selected_by"] == run.select == "val_balanced_accuracy"
    assert summary["best_epoch"] == run.best_epoch
    assert run.history.val_metric[run.best_epoch - 1] == run.history.val_metric.max()
    value = summary["results"]["best"]["val"]["balanced_accuracy"]
    assert run.history.val_metric.max() == value
    assert Path("run/history.csv").read_text().splitlines()[0].endswith(",val_balanced_accuracy")
    said = call("evaluate", "run", "--weights", "best").stdout
    assert "run, weights of the best epoch by validation balanced accuracy" in said
    call("train", "--config", "run/config.json", "--no-figures", "--out", "again")
    same_run("run", "again")
    call(
        "train", "--config", "run/config.json", "--select", "accuracy", "--no-figures", "--out", "b"
    )
    assert fastlin.load_run("b").select == "val_accuracy"
    call("report", "run", "--out", "page")
    assert f"the best is {run.best_epoch} by validation balanced accuracy" in (
        Path("page/index.html").read_text(encoding="utf-8")
    )


def test_a_saved_run_keeps_its_measure_and_a_changed_one_is_found(tmp_path):
    for select in ("val_cost", "val_log_loss"):
        result = fastlin.train(SPLIT, TrainConfig(**RUN), select=select, refit=True)
        fastlin.save_run(tmp_path / select, result, SPLIT)
        run = fastlin.load_run(tmp_path / select)
        assert (run.select, run.best_epoch) == (select, result.best_epoch)
        assert run.history.records() == result.history.records()
    config = tmp_path / "val_log_loss/config.json"
    text = config.read_text()
    for measure, said in (
        ("macro_f1", "history.csv is damaged: its first line must be .*,val_macro_f1"),
        ("beauty", "select is 'val_beauty'; it must be one of val_accuracy, val_cost"),
        (1, "select is 1; it must be the name of a measure"),
    ):
        config.write_text(text.replace('"log_loss"', json.dumps(measure)))
        with pytest.raises(InputError, match=said):
            fastlin.load_run(config.parent)


def test_what_one_run_cannot_be_selected_by_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = Split.from_arrays(X, Y)
    for split, how, said in (
        (SPLIT, {"select": "accuracy"}, "select is 'accuracy'; it must be one of val_accuracy"),
        (alone, {"select": "val_macro_f1"}, "no validation rows to select by val_macro_f1"),
        (alone, {"select": "val_cost"}, "no validation rows to select by val_cost"),
        (SPLIT, {"select": "val_log_loss", "loss": "hinge"}, "which the loss hinge does not give"),
    ):
        with pytest.raises(InputError, match=said):
            fastlin.train(split, **how)
    np.savez("t.npz", X=X, y=Y)
    words = ("train", "--data", "t.npz", "--select", "macro-f1")
    assert "no validation rows to select by" in call(*words, code=2).stderr
    for kind in ("cv", "shots"):
        error = call(*words, f"--{kind}", 3, code=2).stderr
        assert f"--select has no effect with --{kind}" in error
    assert not Path("runs").exists()
