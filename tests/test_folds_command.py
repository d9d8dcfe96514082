"""`--cv` of train and grid: what is said, what is written, and what goes on from it."""

import csv
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_line import call, same_run, small_images, summary

import fastlin
from fastlin.runs import load_run, save_run
from fastlin.search import cross_validation

FOLD_FILES = {"pred_probs.npy", "labels.npy", "class_names.json", "likely_label_errors.csv"}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "small.npz", **small_images(noise=200, contrast=55))
    return tmp_path


def names(folder):
    return {path.name for path in Path(folder).iterdir()}


def test_a_run_is_judged_by_its_folds_and_fitted_on_all_rows():
    said = call("train", "--data", "small.npz", "--epochs", 3, "--cv", 4, "--out", "run").stdout
    assert names("run") == FOLD_FILES | {
        "config.json", "history.csv", "model.npz", "summary.json", "figures", "label-errors.html"
    }  # fmt: skip
    assert "label-errors.png" in names("run/figures")
    split = fastlin.load_split("small.npz")
    found = fastlin.cross_validate(split, cv=4, epochs=3)
    np.testing.assert_array_equal(np.load("run/pred_probs.npy"), found.probabilities)
    with Path("run/likely_label_errors.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(found.likely_label_errors())
    recorded = summary("run")["cross_validation"]
    assert {"cross_validation": recorded} == json.loads(json.dumps(found.summary()))
    assert recorded["rows"] == 190
    assert f"mean {found.mean:.2%}, standard error {found.error:.2%}" in said
    assert load_run("run").model.W.tobytes() == found.model.W.tobytes()
    assert load_run("run").fitting.cv == 4
    save_run("python", found, split)
    same_run("run", "python")
    assert names("python") == names("run") - {"figures", "label-errors.html"}
    call("train", "--config", "run/config.json", "--no-figures", "--out", "again")
    same_run("run", "again")
    assert "fitted on the validation rows, too" in call("evaluate", "run").stderr
    call("plot", "run")
    call("predict", "run", "small.npz", "--part", "test", "--out", "p.csv")
    call("train", "--config", "run/config.json", "--refit", "--no-figures", "--out", "refitted")
    assert load_run("refitted").fitting.refit_epochs == 3


def test_a_grid_is_ranked_by_means_and_goes_on_where_it_was_stopped(monkeypatch):
    lists = ("--data", "small.npz", "--lr", "0.02,0.2", "--epochs", 3, "--cv", 3)
    said = call("grid", *lists, "--out", "whole").stdout
    assert names("whole/winner") >= FOLD_FILES
    assert {"curves.png"} <= names("whole/figures")
    assert "by the mean of 3 folds" in said
    with Path("whole/grid.csv").open() as file:
        table = list(csv.DictReader(file))
    found = fastlin.cross_validate(
        fastlin.load_split("small.npz"), cv=3, grid={"lr": [0.02, 0.2]}, epochs=3
    )
    for line in table:
        entry = int(line["entry"])
        assert float(line["score"]) == pytest.approx(found.fold_scores[entry].mean())
        assert float(line["standard_error"]) == found.errors[entry]
    assert min(summary("whole")["seconds"].values()) >= 0
    call("report", "whole", "--out", "page")
    command = summary("whole")["winner"]["command"].split()
    assert command[-2:] == ["--cv", "3"]
    call(*command[1:], "--no-figures", "--out", "alone")
    same_run("whole/winner", "alone")

    once = cross_validation.grid_search
    calls = []

    def stopped(*arguments, **settings):
        calls.append(settings["resume"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return once(*arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(cross_validation, "grid_search", stopped)
        assert "--resume stop" in call("grid", *lists, "--out", "stop", code=130).stderr
    assert not Path("stop/winner").exists()
    call("grid", "--resume", "stop", "--no-figures")
    same_run("whole/winner", "stop/winner")


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("train", ("--cv", 1), "1 is not in the range"),
        ("train", ("--cv", 3, "--refit"), "leave one of them out"),
        ("train", ("--cv", 191), "give fewer folds"),
        ("grid", ("--lr", "0.1,0.2", "--cv", 3, "--refit"), "refit has no effect with cv"),
        ("grid", ("--lr", "0.1,0.2", "--cv", 3, "--halving"), "halving has no effect with cv"),
        ("grid", ("--lr", "0.1,0.2", "--cv", 3, "--at", "best"), "--at best has no effect"),
        ("grid", ("--lr", "0.1,0.2", "--cv", 191), "give fewer folds"),
    ],
)
def test_what_excludes_folds_is_refused_before_a_folder_is_made(command, words, said):
    assert said in call(command, "--data", "small.npz", *words, "--out", "r", code=2).stderr
    assert not Path("r").exists()


def test_rows_held_out_beside_folds_are_refused(place):
    with np.load("small.npz") as arrays:
        np.savez("alone.npz", X=arrays["X_train"], y=arrays["y_train"])
    words = ("--data", "alone.npz", "--val-fraction", 0.2, "--cv", 3)
    assert "no effect with" in call("train", *words, code=2).stderr
    assert "no effect with" in call("grid", "--lr", "0.1,0.2", *words, code=2).stderr
    said = call("train", "--data", "alone.npz", "--cv", 3, "--loss", "hinge", "--epochs", 2,
                "--lr", 0.001, "--no-figures", "--out", "r").stdout  # fmt: skip
    assert "hinge has no probabilities" in said
    assert not names("r") & FOLD_FILES


def test_folds_that_diverge_are_said():
    words = ("--data", "small.npz", "--cv", 3, "--lr", 1e30, "--epochs", 2, "--no-figures")
    assert "diverged" in call("train", *words, code=1).stderr


def test_rows_that_are_no_images_have_a_figure_too(place):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 90)
    X = (rng.normal(size=(90, 6)) + 4 * np.eye(5, 6)[y]).astype(np.float32)
    y[:6] = (y[:6] + 1) % 5
    np.savez("rows.npz", X=X, y=y)
    call("train", "--data", "rows.npz", "--cv", 3, "--epochs", 5, "--lr", 0.1, "--out", "r")
    assert "label-errors.png" in names("r/figures")


@pytest.mark.parametrize(("kind", "what"), [("cv", "folds"), ("shots", "draws")])
def test_an_interrupt_says_what_is_kept(kind, what, monkeypatch):
    from fastlin.training.grid import GridTrainer

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(GridTrainer, "run_epoch", stopped)
    words = ("train", "--data", "small.npz", f"--{kind}", 3, "--epochs", 2, "--out", "run")
    said = call(*words, code=130).stderr
    assert f"Interrupted; run: of finished {what} nothing is kept, only the settings in" in said
    assert names("run") == {"config.json"}


class Links(HTMLParser):
    """The addresses that a page names, and its images."""

    def __init__(self, path):
        super().__init__()
        self.addresses, self.images = [], []
        self.feed(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "img":
            self.images.append(given["src"])
        elif tag == "a":
            self.addresses.append(given["href"])
        else:
            assert not {"src", "href"} & given.keys() or given["href"] == "data:,"


def test_likely_wrong_labels_are_a_page_that_needs_nothing_else():
    said = call("train", "--data", "small.npz", "--epochs", 3, "--cv", 4, "--out", "run").stdout
    assert "Page of likely wrong labels: run/label-errors.html\n" in said
    page = Path("run/label-errors.html").read_text(encoding="utf-8")
    with Path("run/likely_label_errors.csv").open() as file:
        errors = list(csv.DictReader(file))
    assert f"<b>{len(errors)}</b>" in page
    found = re.findall(r'<th scope="row">\s*<span>(\d+)</span>', page)
    assert found == [error["row"] for error in errors]
    for error in errors[:3]:
        assert f"{100 * float(error['self_confidence']):.2f} %" in page
    links = Links("run/label-errors.html")
    assert links.images  # of images
    assert all(image.startswith("data:image/png;base64,") for image in links.images)
    assert all(address.startswith("#") for address in links.addresses)

    call("report", "run", "--out", "page")
    assert "./run-1-label-errors.html" in Links("page/index.html").addresses
    assert Path("page/run-1-label-errors.html").read_text(encoding="utf-8") == page
    assert "run-1-label-errors.html" in Path("page/summary.md").read_text(encoding="utf-8")
    call("report", "page", "--out", "again")
    assert Path("again/run-1-label-errors.html").read_text(encoding="utf-8") == page
    call("train", "--data", "small.npz", "--epochs", 1, "--no-figures", "--out", "plain")
    call("report", "plain", "--out", "other")
    assert not any("label-errors" in name for name in names("other"))


def test_without_jinja_there_is_the_figure_and_a_line_says_what_the_page_needs(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fastlin.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    found = call("train", "--data", "small.npz", "--epochs", 3, "--cv", 4, "--out", "run")
    assert "writing label-errors.html needs jinja2" in found.stderr
    assert "pip install 'fastlin[report]'" in found.stderr
    assert "not drawn" not in found.stderr
    assert "label-errors.png" in names("run/figures")
    assert "label-errors.html" not in names("run")
