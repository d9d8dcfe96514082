"""Few-shot draws against single runs on the same rows, and SciPy's interval."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import call, same_run, small_images, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import fastlin
from fastlin.data.splits import few_rows
from fastlin.errors import InputError
from fastlin.fitting import Fitting
from fastlin.runs import load_run, save_run
from fastlin.training.defaults import with_chosen

QUICK = {"lr": 0.1, "epochs": 3, "batch_size": 8}


def split(counts=(30, 20, 25, 22, 28), parts=("val", "test"), seed=0):
    rng = np.random.default_rng(seed)

    def rows(of):
        y = rng.permutation(np.repeat(np.arange(5), of))
        return (rng.normal(size=(len(y), 5)) + np.eye(5, 5)[y]).astype(np.float32), y

    X, y = rows(counts)
    named = {}
    for part in parts:
        named[f"X_{part}"], named[f"y_{part}"] = rows((10,) * 5)
    return fastlin.Split.from_arrays(X, y, class_names=list("abcde"), **named)


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(0, 20), min_size=1, max_size=6),
    shots=st.integers(1, 25),
    seed=st.integers(0, 2**32),
)
def test_a_draw_has_so_many_rows_of_every_class(counts, shots, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    found = few_rows(y, shots, seed, 3)
    assert np.all(np.diff(found) > 0)
    of_class = np.bincount(y[found], minlength=len(counts))
    assert of_class.tolist() == [min(count, shots) for count in counts]
    assert found.tobytes() == few_rows(y, shots, seed, 3).tobytes()


def test_every_row_of_a_class_is_drawn_alike():
    y = np.repeat([0, 1], [10, 40])
    drawn = np.concatenate([few_rows(y, 4, 0, draw) for draw in range(2000)])
    counts = np.bincount(drawn, minlength=50)
    assert abs(counts[:10] - 800).max() < 120  # five standard deviations
    assert abs(counts[10:] - 200).max() < 75


@pytest.mark.parametrize("threads", [1, 2])
def test_draws_are_single_runs_on_their_rows(threads):
    data = split()
    found = fastlin.few_shots(data, shots=4, draws=5, threads=threads, **QUICK)
    accuracies = []
    for draw, rows in enumerate(found.rows):
        part = fastlin.Split.from_arrays(
            data.train.X[rows], data.train.y[rows], class_names=data.train.class_names
        )
        alone = fastlin.train(part, found.result.config)
        assert np.bincount(data.train.y[rows]).tolist() == [4] * 5
        if draw == 0:
            assert alone.model.W.tobytes() == found.model.W.tobytes()
        names = np.array(data.train.class_names)[data.test.y]
        accuracies.append(alone.model.score(data.test.X, names))
    assert found.values["test"]["accuracy"].tolist() == accuracies
    spread = found.spread("test")
    expected = stats.t.interval(0.95, 4, np.mean(accuracies), stats.sem(accuracies))
    assert (spread.low, spread.high) == pytest.approx(expected)
    assert spread.mean == pytest.approx(np.mean(accuracies))
    assert spread.sd == pytest.approx(np.std(accuracies, ddof=1))


def test_draws_differ_and_follow_the_seed():
    data = split()
    first = fastlin.few_shots(data, shots=3, draws=3, **QUICK)
    assert len({rows.tobytes() for rows in first.rows}) == 3
    more = fastlin.few_shots(data, shots=3, draws=4, **QUICK)
    assert [r.tolist() for r in more.rows[:3]] == [r.tolist() for r in first.rows]
    other = fastlin.few_shots(data, shots=3, draws=3, seed=1, **QUICK)
    assert other.rows[0].tolist() != first.rows[0].tolist()


def test_settings_left_to_the_rows_are_alike_in_every_draw():
    notes = []
    data = split()
    data.train.X[:, 0] *= 1000
    found = fastlin.few_shots(data, shots=3, draws=3, epochs=2, note=notes.append)
    (chosen,) = with_chosen([fastlin.TrainConfig()], data.train)
    assert (found.result.config.lr, found.result.config.l2) == (chosen.lr, chosen.l2)
    assert sum("they are standardised" in note for note in notes) == 1
    again = fastlin.few_shots(data, shots=3, draws=3, config=found.result.config)
    assert again.values["val"]["log_loss"].tolist() == found.values["val"]["log_loss"].tolist()


def test_what_cannot_be_drawn_is_refused_or_said():
    with pytest.raises(InputError, match="neither validation nor test rows"):
        fastlin.few_shots(split(parts=()))
    with pytest.raises(InputError, match=r"no class of arrays has more than 30.*fewer shots"):
        fastlin.few_shots(split(), shots=30)
    notes = []
    once = fastlin.few_shots(split(), shots=40, draws=1, note=notes.append, **QUICK)
    assert len(notes) == 1
    assert np.isnan(once.spread("val").low)
    assert once.summary()["few_shots"]["results"]["val"]["accuracy"]["low"] is None
    with pytest.warns(UserWarning, match=r"2 of 5 classes have fewer than 8 .*fewest 0.*'b', 'c'"):
        found = fastlin.few_shots(split(counts=(30, 0, 5, 30, 30)), draws=2, **QUICK)
    assert len(found.rows[0]) == 29
    for name in ("shots", "draws"):
        for wrong in (0, -1, 1.5, "x"):
            with pytest.raises(InputError, match=f"{name} is"):
                fastlin.few_shots(split(), **{name: wrong})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "must be names"),
        ({"a": 1}, "unknown key 'a'"),
        ({"cv": 1}, "cv is 1"),
        ({"cv": 2000}, "at most 1,000"),
        ({"cv": None, "refit_epochs": "3"}, "refit_epochs is"),
        ({"cv": 3, "refit_epochs": 3}, "refit_epochs has no effect with cv"),
        ({"shots": 3}, "only beside each other"),
        ({"shots": 3, "draws": 2, "cv": 5}, "cv has no effect with shots"),
    ],
)
def test_what_is_no_way_to_fit_is_refused(content, words):
    with pytest.raises(InputError, match=words):
        Fitting.from_dict(content)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "small.npz", **small_images(noise=200, contrast=55))
    return tmp_path


def test_draws_from_the_shell_leave_a_run(place):
    words = ("--shots", 5, "--draws", 3, "--epochs", 3)
    said = call("train", "--data", "small.npz", *words, "--out", "run").stdout
    data = fastlin.load_split("small.npz")
    found = fastlin.few_shots(data, shots=5, draws=3, epochs=3)
    spread = found.spread("test")
    for text in ("5 rows a class (25 training rows), 3 draws", f"{spread.mean:.2%}",
                 f"{100 * spread.low:.2f}-{100 * spread.high:.2f}"):  # fmt: skip
        assert text in said
    with Path("run/few_shots.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["accuracy"]) for line in table if line["part"] == "test"] == (
        found.values["test"]["accuracy"].tolist()
    )
    assert summary("run")["few_shots"] == json.loads(json.dumps(found.summary()))["few_shots"]
    assert summary("run")["data"]["rows"]["train"] == 25
    save_run("python", found, data)
    same_run("run", "python")
    call("train", "--config", "run/config.json", "--no-figures", "--out", "again")
    same_run("run", "again")
    assert load_run("run").fitting == Fitting(shots=5, draws=3)
    assert "the first of 3 draws" in call("evaluate", "run").stderr
    call("predict", "run", "small.npz", "--part", "test", "--out", "p.csv")
    call("plot", "run")
    call("train", "--config", "run/config.json", "--cv", 3, "--no-figures", "--out", "folds")
    assert load_run("folds").fitting == Fitting(cv=3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shots", 5, "--cv", 3), "--cv has no effect with --shots"),
        (("--shots", 5, "--refit"), "--refit has no effect with --shots"),
        (("--draws", 5), "--draws has a meaning only beside --shots"),
        (("--shots", 500), "fewer shots"),
    ],
)
def test_what_excludes_draws_is_refused_before_a_folder_is_made(place, words, said):
    assert said in call("train", "--data", "small.npz", *words, "--out", "r", code=2).stderr
    assert not Path("r").exists()
