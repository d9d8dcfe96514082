"""`fastlin fit`: the run folder that it leaves, what it prints, and what it refuses."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import call, same_run, small_images, summary

import fastlin
from fastlin import functional
from fastlin.commands import fit as fit_command
from fastlin.commands import outcome
from fastlin.errors import InputError
from fastlin.files import read_csv
from fastlin.fitting import Fitting
from fastlin.runs import load_run
from fastlin.solving.run import ExactFit, load_bounds


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Return the run folder of an exact fit, its data, and what the command printed."""
    folder = tmp_path_factory.mktemp("fit")
    data = folder / "images.npz"
    np.savez(data, **small_images(noise=160, contrast=60))
    printed = call("fit", "--data", data, "--l2", "0.01", "--out", folder / "run").stdout
    return folder / "run", data, printed


def test_the_run_folder_has_the_solution(fitted):
    folder, data, printed = fitted
    split = fastlin.load_split(data)
    solution = fastlin.solve(split, l2=0.01)
    run = load_run(folder)
    assert run.fitting.gap == 1e-6
    for model in (run.model, run.best_model):
        np.testing.assert_array_equal(model.W, solution.model.W)
    assert run.history.train_cost[0] == pytest.approx(solution.objective, rel=1e-5)
    said = summary(folder)["exact_fit"]
    assert said["objective"] == solution.objective
    assert said["passes"] == solution.passes
    assert said["converged"] is True
    assert said["C"] == pytest.approx(1 / (2 * len(split.train) * 0.01))
    assert f"Objective {solution.objective:.9g}, relative gap at most" in printed
    assert "l2 0.01 (C 0.3333 of scikit-learn)" in printed


def test_passes_csv_has_every_step(fitted):
    folder, data, _ = fitted
    names, *lines = read_csv(folder / "passes.csv")
    assert names == ["passes", "objective", "relative_gap", "seconds"]
    trace = fastlin.solve(fastlin.load_split(data), l2=0.01).trace
    assert [int(line[0]) for line in lines] == [step.passes for step in trace]
    objectives = [float(line[1]) for line in lines]
    assert objectives == [step.objective for step in trace]
    assert all(np.diff(objectives) < 1e-6)


def test_the_bound_over_the_passes_is_drawn(fitted, tmp_path):
    folder, data, _ = fitted
    assert (folder / "figures" / "gap.png").stat().st_size > 10_000
    bounds = load_bounds(folder)
    trace = fastlin.solve(fastlin.load_split(data), l2=0.01).trace
    known = [(step.passes, step.gap) for step in trace if np.isfinite(step.gap)]
    assert list(zip(*bounds, strict=True)) == known
    assert len(known) > 2
    assert load_bounds(tmp_path) == ((), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("passes,gap\n1,2\n", "its columns must be passes, objective, relative_gap, seconds"),
        ("passes,objective,relative_gap,seconds\n1,2,x,3\n", "line 2"),
        ("passes,objective,relative_gap,seconds\n1.5,2,1,3\n", "line 2"),
    ],
)
def test_a_damaged_table_of_passes_is_one_line(fitted, tmp_path, text, message):
    (tmp_path / "passes.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_bounds(tmp_path)


def test_a_curve_of_bounds_needs_bounds():
    figures = pytest.importorskip("fastlin.figures")
    figures.png(figures.gap_curve([3, 4], [0.5, 0.0], 1e-6))
    for passes, gaps in (([], []), ([1], [0.1, 0.2]), ([1], [np.inf])):
        with pytest.raises(InputError, match="one bound a pass"):
            figures.gap_curve(passes, gaps, 1e-6)


def test_every_command_takes_the_run_folder(fitted, tmp_path):
    folder, _, _ = fitted
    assert "test" in call("evaluate", folder).stdout
    call("predict", folder, "--part", "test", "--out", tmp_path / "p.csv")
    call("export", folder, "--to", "npz", "--out", tmp_path / "m.npz")
    drawn = call("plot", folder).stdout
    assert "confusion.png" in drawn
    assert "gap.png" in drawn
    assert "cost.png" not in drawn  # it has no epochs
    call("report", folder, "--out", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "exact fit, to a relative gap of 1e-06 at most" in page
    assert "Distance to the optimum of run" in page
    assert "fastlin fit --data" in page
    assert "lr auto" not in page


def test_a_config_fits_again(fitted, tmp_path):
    folder, _, _ = fitted
    config = folder / "config.json"
    call("fit", "--config", config, "--out", tmp_path / "again", "--no-figures")
    same_run(folder, tmp_path / "again")
    call("fit", "--config", config, "--C", "0.1", "--out", tmp_path / "C", "--no-figures")
    content = json.loads((tmp_path / "C" / "config.json").read_text())
    assert content["train"]["l2"] == pytest.approx(1 / (2 * 150 * 0.1))
    error = call("train", "--config", config, code=2).stderr
    assert "fastlin fit --config" in error
    call("train", "--data", fitted[1], "--epochs", 1, "--out", tmp_path / "sgd", "--no-figures")
    error = call("fit", "--config", tmp_path / "sgd" / "config.json", code=2).stderr
    assert "fastlin train --config" in error


def test_config_json_has_the_settings_of_an_exact_fit_alone(fitted, tmp_path):
    folder, _, _ = fitted
    content = json.loads((folder / "config.json").read_text())
    assert content["train"] == {
        "loss": "softmax", "l2": 0.01, "standardize": False, "class_weight": None,
        "dtype": "float32",
    }  # fmt: skip
    assert content["fit"] == {"gap": 1e-6}
    run = load_run(folder)
    assert run.config.epochs == 1
    assert summary(folder)["epochs"] == {"asked": 1, "finished": 1}
    # What was written before has all settings of training.
    content["train"] = run.config.to_dict() | {"lr": 0.02, "batch_size": 64}
    older = tmp_path / "older"
    shutil.copytree(folder, older)
    (older / "config.json").write_text(json.dumps(content))
    assert load_run(older).history.records() == run.history.records()
    call("fit", "--config", older / "config.json", "--out", tmp_path / "again", "--no-figures")
    same_run(folder, tmp_path / "again")


def test_max_passes_are_kept(fitted, tmp_path):
    _, data, _ = fitted
    words = ("--max-passes", 5, "--out", tmp_path / "short", "--no-figures")
    call("fit", "--data", data, "--l2", "1e-6", *words)
    config = tmp_path / "short" / "config.json"
    assert load_run(tmp_path / "short").fitting.max_passes == 5
    call("fit", "--config", config, "--out", tmp_path / "again", "--no-figures")
    same_run(tmp_path / "short", tmp_path / "again")
    assert summary(tmp_path / "again")["exact_fit"]["passes"] == 5


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "--l2", "0.01"), ("probe", "--C", "1e-3,1e-2,1e-1"),
        ("probe", "--protocol", "mteb"), ("probe", "--protocol", "linear"),
    ],
)  # fmt: skip
def test_the_parts_of_the_time_do_not_overlap(fitted, tmp_path, monkeypatch, words):
    """Compiling is a part of fitting, of evaluating and of drawing, and is counted for itself."""
    spent = 2.0**-20  # little beside any of the parts, and exact in sums

    @contextmanager
    def compiling(_):
        yield SimpleNamespace(seconds=spent)

    monkeypatch.setattr(outcome, "compiling", compiling)
    call(*words, "--data", fitted[1], "--out", tmp_path / "run", "--no-figures")
    found = summary(tmp_path / "run")
    seconds = found["seconds"]
    total = seconds.pop("total")
    assert seconds["compile"] == 2 * spent  # of fitting and of evaluating
    assert min(seconds["train"], seconds["evaluate"]) > 0
    assert sum(seconds.values()) <= total
    if words[0] == "fit":
        assert seconds["train"] == pytest.approx(found["exact_fit"]["seconds"] - spent)


def test_rows_are_evaluated_once(fitted, tmp_path, monkeypatch):
    """Once for the table of epochs, the last and the best classifier."""
    split = fastlin.load_split(fitted[1])
    solution = fastlin.solve(split, l2=0.01)
    seen, right = [], functional.evaluate

    def evaluate(X, *rest, **named):
        seen.append(len(X))
        return right(X, *rest, **named)

    monkeypatch.setattr(functional, "evaluate", evaluate)
    fastlin.save_run(tmp_path / "run", solution, split)
    assert seen == [len(split.train)]
    last = summary(tmp_path / "run")["results"]["last"]
    (record,) = load_run(tmp_path / "run").history.records()
    assert record.train_cost == last["train"]["cost"]
    assert record.val_accuracy == last["val"]["accuracy"]


def test_python_saves_the_same_run(fitted, tmp_path):
    folder, data, _ = fitted
    split = fastlin.load_split(data)
    saved = fastlin.save_run(tmp_path / "run", fastlin.solve(split, l2=0.01), split)
    same_run(folder, saved)
    assert summary(saved)["exact_fit"]["relative_gap"] <= 1e-6


def test_without_a_penalty_it_says_that_nothing_is_proved(fitted, tmp_path):
    found = call("fit", "--data", fitted[1], "--l2", 0, "--max-passes", 3, "--out",
                 tmp_path / "run", "--no-figures")  # fmt: skip
    assert "no bound, as l2 is 0" in found.stdout
    assert "not converged" in found.stderr
    assert summary(tmp_path / "run")["exact_fit"]["converged"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--l2", "0.1", "--C", "2"], "--l2 and --C say the same"),
        (["--loss", "hinge"], "an exact fit needs second derivatives"),
        (["--margin", "0.5"], "margin has no effect with loss softmax"),
        (["--gap", "0"], "--gap"),
        (["--C", "-1"], "--C"),
        (["--threads", "9999"], "threads is 9999"),
        (["--data", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_bad_input_is_one_line(words, message):
    assert message in call("fit", *words, code=2).stderr


@pytest.mark.parametrize("command", ["fit", "probe"])
def test_only_losses_that_have_an_optimum_are_offered(command):
    said = " ".join(call(command, "--help").stdout.split())
    assert "[softmax|squared-hinge]" in said
    assert "[default: 1.0; of squared-hinge]" in said
    message = call(command, "--loss", "none", code=2).stderr
    assert "must be one of softmax, squared-hinge, or one with a parameter" in message
    assert "[softmax|hinge|squared-hinge]" in call("train", "--help").stdout


def test_settings_of_an_exact_fit_exclude_others():
    for content in ({"gap": 0.0}, {"gap": 1e-6, "cv": 3}, {"gap": 1e-6, "calibrate": True},
                    {"gap": "x"}, {"fit_intercept": 1}, {"max_passes": 2}):  # fmt: skip
        with pytest.raises(InputError):
            Fitting.from_dict(content)


def test_a_run_folder_is_not_overwritten(fitted):
    folder, data, _ = fitted
    before = (Path(folder) / "model.npz").read_bytes()
    assert "not empty" in call("fit", "--data", data, "--out", folder, code=2, begun=True).stderr
    assert (Path(folder) / "model.npz").read_bytes() == before


def test_seconds_that_are_printed_are_without_compiling(capsys, tmp_path):
    X, y = np.eye(6), np.array([0, 1, 2, 0, 1, 2])
    split = fastlin.Split.from_arrays(X, y)
    solution = fastlin.solve(split, l2=0.1)
    found = ExactFit.of(solution, split, compile_seconds=solution.seconds)
    fit_command._print(found, split, {}, tmp_path)
    assert "over the rows, 0.00 s" in capsys.readouterr().out
