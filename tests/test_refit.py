"""Classifiers that are fitted again on training and validation rows."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from command_line import call, same_run, small_images, summary

import fastlin
from fastlin.config import TrainConfig
from fastlin.data.joining import training_and_validation
from fastlin.errors import DataWarning, InputError
from fastlin.runs import load_run, save_run


def split(weights=None):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 120)
    X = rng.normal(size=(120, 5)).astype(np.float32) + 2 * np.eye(5, 5, dtype=np.float32)[y]
    return fastlin.Split.from_arrays(
        X[:70], y[:70], X_val=X[70:100], y_val=y[70:100], X_test=X[100:], y_test=y[100:],
        weights=weights,
    )  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "small.npz", **small_images(noise=200, contrast=55))
    return tmp_path


def equal(first, second):
    return first.W.tobytes() == second.W.tobytes() and first.b.tobytes() == second.b.tobytes()


def test_a_refit_knows_the_names_of_the_features():
    names = list("abcde")
    data = split()
    parts = {part: replace(rows, feature_names=names) for part, rows in data.parts().items()}
    data = fastlin.Split("named", **parts)
    assert fastlin.train(data, lr=0.1, epochs=1, refit=True).model.feature_names == tuple(names)
    grid = fastlin.grid_search(data, {"lr": [0.1]}, base=TrainConfig(epochs=1), refit=True)
    assert grid.refitted.model.feature_names == tuple(names)


@pytest.mark.parametrize("wrong", ["no", 2, None])
def test_refit_is_true_or_false(wrong):
    with pytest.raises(InputError, match=r"refit is .*; it must be true or false"):
        fastlin.train(split(), lr=0.1, epochs=1, refit=wrong)
    with pytest.raises(InputError, match=r"refit is .*; it must be true or false"):
        fastlin.grid_search(split(), {"lr": [0.1]}, refit=wrong)


def test_a_run_cannot_be_fitted_again_for_more_epochs_than_it_has(place):
    call("train", "--data", "small.npz", "--epochs", 2, "--refit", "--no-figures", "--out", "r")
    path = place / "r" / "config.json"
    path.write_text(path.read_text().replace('"refit_epochs": 2', '"refit_epochs": 9'))
    with pytest.raises(InputError, match="refit_epochs is 9, more than the 2 epochs"):
        load_run("r")


def test_other_epochs_for_a_configuration_are_those_of_its_refit_too(place):
    train = ("train", "--no-figures", "--epochs", 3)
    call("train", "--data", "small.npz", "--epochs", 2, "--refit", "--no-figures", "--out", "r")
    call(*train, "--config", "r/config.json", "--out", "again")
    call(*train, "--data", "small.npz", "--refit", "--out", "direct")
    assert equal(load_run("again").model, load_run("direct").model)


def test_a_refit_has_the_bits_of_a_run_on_all_rows():
    data = split()
    first = fastlin.train(data, lr=0.1, epochs=4, standardize=True)
    result = fastlin.train(data, lr=0.1, epochs=4, standardize=True, refit=True)
    X = np.concatenate([data.train.X, data.val.X])
    y = np.concatenate([data.train.y, data.val.y])
    every = fastlin.train(fastlin.Split.from_arrays(X, y), lr=0.1, epochs=4, standardize=True)
    assert equal(result.model, every.model)
    assert equal(result.best_model, every.model)
    assert result.history.records() == first.history.records()
    assert equal(result.chosen.model, first.model)
    assert equal(result.chosen.best_model, first.best_model)
    assert (result.refit.rows, result.refit.epochs) == (100, 4)


@pytest.mark.parametrize("schedule", ["cosine", "exponential"])
def test_a_winner_by_its_best_epoch_is_refitted_for_as_many_with_the_same_rates(schedule):
    data = split()
    grid = fastlin.grid_search(
        data, {"lr": [0.5, 0.01], "schedule": [schedule], "epochs": [9]}, at="best", refit=True
    )
    epochs = grid.best.epoch
    assert grid.refitted.refit.epochs == epochs
    rows = fastlin.Split("all", training_and_validation(data))
    trainer = fastlin.Trainer(rows, grid.best.config)
    for _ in range(epochs):
        trainer.run_epoch()
    assert equal(grid.model, trainer.result().model)
    assert not equal(grid.model, grid.best.model)


def test_rows_without_weights_count_one_beside_those_with():
    data = split(weights=np.arange(70) + 1.0)
    with pytest.warns(DataWarning, match="validation rows have no weights.*counts 1"):
        every = training_and_validation(data)
    assert every.weights.tolist() == [*range(1, 71), *[1] * 30]
    assert every.X.tobytes() == data.train.X.tobytes() + data.val.X.tobytes()


def test_a_refit_without_validation_rows_is_refused_before_training():
    data = split()
    alone = fastlin.Split("alone", data.train)
    with pytest.raises(InputError, match="no validation rows") as caught:
        fastlin.train(alone, refit=True, on_epoch=lambda _: pytest.fail("it was trained"))
    assert "val_fraction" in str(caught.value)


def test_a_saved_refit_comes_back(tmp_path):
    data = split()
    result = fastlin.train(data, epochs=2, refit=True)
    save_run(tmp_path / "run", result, data)
    run = load_run(tmp_path / "run")
    assert equal(run.model, result.model)
    assert run.fitting.refit_epochs == 2
    found = summary(tmp_path / "run")
    assert (found["refit"]["rows"], found["refit"]["epochs"]) == (100, 2)
    before = fastlin.measure(result.chosen.model, data.val).values()["accuracy"]
    assert found["results"]["last"]["val"]["accuracy"] == before
    after = fastlin.measure(result.model, data.test).values()["accuracy"]
    assert found["results"]["refit"]["test"]["accuracy"] == after


def test_a_run_and_a_grid_are_refitted_from_the_shell(place):
    lists = ("--lr", "0.02,0.2", "--epochs", 3)
    said = call("grid", "--data", "small.npz", *lists, "--refit", "--out", "g").stdout
    assert "Refit: the classifier is fitted again on all 190 training and validation rows" in said
    assert "Test accuracy after the refit" in said
    command = summary("g")["winner"]["command"].split()
    assert command[-1] == "--refit"
    call(*command[1:], "--no-figures", "--out", "alone")
    call("train", "--config", "g/winner/config.json", "--no-figures", "--out", "again")
    same_run("g/winner", "alone")
    same_run("g/winner", "again")
    assert summary("g")["refit"]["rows"] == 190
    noted = call("evaluate", "alone").stderr
    assert "fitted on the validation rows, too" in noted
    call("train", "--config", "alone/config.json", "--no-refit", "--no-figures", "--out", "plain")
    assert "fit" not in json.loads((place / "plain/config.json").read_text())
    assert call("evaluate", "plain").stderr == ""
    call("grid", "--data", "small.npz", *lists, "--refit", "--no-figures", "--resume", "g")
    same_run("g/winner", "alone")
    call("grid", "--data", "small.npz", *lists, "--no-refit", "--resume", "g", code=2)
    call("plot", "alone")


def test_weights_that_only_training_rows_have_are_said_when_both_are_fitted(place):
    with np.load("small.npz") as found:
        arrays = dict(found)
    for part in ("train", "val"):
        np.savez(f"{part}.npz", X=arrays[f"X_{part}"], y=arrays[f"y_{part}"])
    np.save("w.npy", np.arange(150) + 1.0)
    words = ("--data", "train.npz", "--val-data", "val.npz", "--sample-weight", "w.npy",
             "--epochs", 2, "--no-figures")  # fmt: skip
    for way in (("--refit",), ("--cv", 3)):
        said = call("train", *words, *way).stderr
        assert said.count("Note: the validation rows have no weights") == 1


@pytest.mark.parametrize("select", ["accuracy", "cost"])
def test_the_winner_by_its_best_epoch_is_given_again_by_the_command_that_is_printed(place, select):
    lists = ("--lr", "0.02,0.2", "--epochs", 6, "--at", "best", "--select", select)
    for refit in ("--refit", "--no-refit"):
        words = ("--data", "small.npz", *lists, refit, "--out", f"g{refit}", "--no-figures")
        said = call("grid", *words).stdout
        command = summary(f"g{refit}")["winner"]["command"]
        assert f"Train it alone: {command}\n" in said
        call(*shlex.split(command)[1:], "--no-figures", "--out", f"alone{refit}")
        same_run(f"g{refit}/winner", f"alone{refit}")
    epochs = summary("g--refit")["refit"]["epochs"]
    assert ("--config" in summary("g--refit")["winner"]["command"]) == (epochs < 6)


def test_one_epoch_is_no_epochs(place):
    words = ("--data", "small.npz", "--epochs", 1, "--no-figures")
    said = call("train", *words, "--refit", "--out", "run")
    assert "for 1 epoch with" in said.stdout
    assert "1 epochs" not in said.stdout + said.stderr + repr(load_run("run"))
    assert repr(load_run("run").history).startswith("History(1 epoch;")
    model = load_run("run").model
    assert "1 feature," in repr(replace(model, W=model.W[:, :1], image_shape=None))
    with pytest.raises(InputError, match="the rows have 1 feature, but"):
        model.predict(np.ones((2, 1), np.float32))
