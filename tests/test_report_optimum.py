"""The report's section on the exact optimum: its numbers, its file, and what it says."""

import json
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from small_study import EPOCHS, study_of, write_images

import fastlin
from fastlin.commands.fit import fit as fit_command
from fastlin.report.study import optimum, optimum_page


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("optimum")
    write_images(place / "small.npz")
    return place


@pytest.fixture(scope="module")
def small(place):
    return study_of(place / "small.npz", place)


@pytest.fixture
def solving(monkeypatch):
    """Return how many paths were fitted since."""
    calls, right = [], optimum.path

    def counted(*args, **kwargs):
        calls.append(args)
        return right(*args, **kwargs)

    monkeypatch.setattr(optimum, "path", counted)
    return calls


def test_the_optimum_is_that_of_scikit_learn(place, small):
    split = fastlin.load_split(place / "small.npz")
    X = {part: data.X / 255 for part, data in split.parts().items()}
    if small.standardized:
        mean, std = X["train"].mean(axis=0), X["train"].std(axis=0)
        X = {part: (rows - mean) / std for part, rows in X.items()}
    y = split.train.y
    chosen = small.optima.chosen
    peer = LogisticRegression(C=1 / (2 * len(y) * chosen.l2), tol=1e-10, max_iter=10_000)
    peer.fit(X["train"], y)
    loss = -peer.predict_log_proba(X["train"])[np.arange(len(y)), y].mean()
    least = loss + chosen.l2 * np.square(peer.coef_).sum()
    assert 0 <= chosen.measures["train_cost"] / least - 1 + 1e-6 <= chosen.relative_gap + 2e-6
    assert chosen.measures["test_accuracy"] == pytest.approx(
        peer.score(X["test"], split.test.y), abs=1 / len(split.test) + 1e-9
    )


def test_the_rival_is_the_best_softmax_classifier_on_the_same_rows(small):
    means = {name: small.sample(name, "val_accuracy").mean for name in small.runs}
    softmax = {name: mean for name, mean in means.items() if name not in ("V1", "H1")}
    assert means[small.rival] == max(softmax.values())
    same = small.optima.same
    config = small.runs[small.rival][0].config
    assert (same is None) == (config.l2 == 0)
    if same is not None:
        assert same.l2 == config.l2
        assert same.measures["train_cost"] <= small.sample(small.rival, "train_cost").mean


def test_what_is_on_disk_is_not_fitted_again(place, small, solving):
    again = study_of(place / "small.npz", place)
    assert again.optima == small.optima
    assert solving == []


@pytest.mark.parametrize("content", ["", "[]", '{"key": "", "optima": {}}'])
def test_a_damaged_file_is_written_anew(place, small, solving, content):
    path = place / "checkpoints" / optimum.OPTIMA
    path.write_text(content)
    again = study_of(place / "small.npz", place)
    assert len(solving) == 1
    assert again.optima.chosen.measures == small.optima.chosen.measures
    assert json.loads(path.read_text())["optima"]["penalties"] == small.optima.penalties


def test_results_have_the_optima(small):
    rows = [row for row in small.csv_rows() if row["experiment"].startswith("exact optimum")]
    assert rows[-1]["l2"] == small.optima.chosen.l2
    assert rows[-1]["test_accuracy"] == small.optima.chosen.measures["test_accuracy"]


def test_the_section_has_a_row_each_and_commands_that_are_read(small):
    section = optimum_page.optimum_section(small)
    (table,) = section.tables
    assert len(table.rows) == 2 + (small.optima.same is not None)
    assert table.rows[0].cells[5] == EPOCHS
    for row in table.rows[1:]:
        program, command, *words = shlex.split(row.command)
        assert (program, command) == ("fastlin", "fit")
        fit_command.make_context("fit", words)


def study_with(of_sgd, accuracy, *, same=True):
    """Return what the section needs of a study of 10,000 test rows."""
    one = optimum.Optimum(0.1, 1e-5, 9, 1.0, {"train_cost": 0.8, "test_accuracy": accuracy})
    samples = {"train_cost": 1.0, "test_accuracy": of_sgd}
    run = SimpleNamespace(config=fastlin.TrainConfig(epochs=40))
    return SimpleNamespace(
        optima=optimum.Optima(one, one if same else None, 3, 2.0), rival="N1", runs={"N1": [run]},
        sample=lambda _, measure: SimpleNamespace(mean=samples[measure]),
        data_rows={False: {"test": 10_000}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of_sgd", "accuracy", "words"),
    [
        (0.39, 0.41, "is 2.00 points higher: SGD left that on the table."),
        (0.41, 0.39, "is 2.00 points lower: SGD gained that by stopping early."),
        (0.40, 0.405, "within 2 standard errors of 10,000 rows (0.98): no gain or loss by"),
    ],
)
def test_a_difference_is_said_only_beyond_chance(of_sgd, accuracy, words):
    first, second = optimum_page._sentences(study_with(of_sgd, accuracy))
    assert "After 40 epochs, the training cost of SGD's best is 25.00 % above its least" in first
    assert words in first
    assert words in second


def test_without_a_penalty_there_is_nothing_to_be_left():
    first, second = optimum_page._sentences(study_with(0.4, 0.42, same=False))
    assert "no penalty" in first
    assert "left that on the table" in second
