"""The library as a Python user meets it: arrays in, a model out, saved and loaded again."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interrupting import ZIP_WRITERS, interrupt_everywhere

import fastlin
from fastlin import InputError, LinearModel, Split, TrainConfig, files, runs
from fastlin.data.arrays import numeric
from fastlin.errors import MatchWarning
from fastlin.history import html_table
from fastlin.search.ranking import save_table
from fastlin.search.reading import read_grid_file

RNG = np.random.default_rng(0)
Y = np.arange(60) % 5
X = (RNG.normal(size=(60, 5)) + 4 * np.eye(5)[Y]).astype(np.float32)
WORDS = np.array(["owl", "cat", "dög", "bee", "ant"])
SORTED = ("ant", "bee", "cat", "dög", "owl")


class Frame:
    """What pandas and others are to NumPy: an object that becomes an array."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def model(**changes):
    W = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    given = {"W": W, "b": W[:, 0].copy(), "class_names": tuple(WORDS.tolist()), "loss": "softmax"}
    return LinearModel(**{**given, **changes})


# Arrays


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (WORDS[Y], SORTED),
        (WORDS[Y].astype(object), SORTED),
        (np.char.encode(WORDS, "utf-8")[Y], SORTED),
        (list(WORDS[Y]), SORTED),
        (Y > 0, ("False", "True")),
        (np.array([7, -3, 100, 0, 20])[Y], ("-3", "0", "7", "20", "100")),
        (Frame(Y.astype(np.uint8)), ("0", "1", "2", "3", "4")),
    ],
)
def test_labels_of_any_kind_name_their_classes(labels, names):
    split = Split.from_arrays(X, labels, X_val=X[:9], y_val=np.asarray(labels)[:9])
    assert split.train.class_names == split.val.class_names == names
    texts = [one.decode() if isinstance(one, bytes) else str(one) for one in np.asarray(labels)]
    assert [names[number] for number in split.train.y] == texts
    assert np.array_equal(split.val.y, split.train.y[:9])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (Y / 2, "y_train has float targets, such as 0.5 in row .*: integers, booleans or text"),
        (
            np.array([*["a"] * 59, None], object),
            r"y_train has no label in row 59 \(None\); leave out",
        ),
        (np.array([b"\xff"] * 60), "label b'.xff' in row 0, bytes that are not UTF-8"),
        (np.array([0x110000] * 60, np.uint32).view("<U1"), "y_train has a label that is no text"),
        (["a\nb", "c"] * 30, r"class 0 is called 'a\\nb'; a name must be one line"),
        (["a"] * 60, "all labels in y_train are 'a'; at least 2 classes"),
        (WORDS[Y][:50], r"train: y has shape \(50,\); with 60 rows"),
    ],
)
def test_labels_that_are_none_are_refused_in_one_line(labels, said):
    with pytest.raises(InputError, match=said) as caught:
        Split.from_arrays(X, labels)
    assert "\n" not in str(caught.value)


def test_labels_of_two_kinds_are_not_mixed():
    with pytest.raises(InputError, match="y_train has integers and y_val has text"):
        Split.from_arrays(X, Y, X_val=X, y_val=WORDS[Y])


def test_given_names_are_the_meaning_of_numbers():
    names = ("v", "w", "x", "y", "z")
    assert Split.from_arrays(X, Y, class_names=names).train.class_names == names
    assert np.array_equal(Split.from_arrays(X, Y, class_names=list("43210")).train.y, Y)
    assert np.array_equal(Split.from_arrays(X, WORDS[Y], class_names=WORDS).train.y, Y)
    with pytest.raises(InputError, match="y_train has the label 'owl' in row 0, which is none of"):
        Split.from_arrays(X, WORDS[Y], class_names=names)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (X, np.float32),
        (X.astype(float), np.float64),
        (X.astype(np.float16), np.float16),
        (X.astype(">f8"), np.float64),
        (np.zeros((60, 5), np.uint8), np.uint8),
        (np.arange(300).reshape(60, 5), np.float32),
        (np.arange(300).reshape(60, 5) + 2**30, np.float64),
        (X > 0, np.float32),
        (Frame(X), np.float32),
        (X[::-1, ::-1], np.float32),
    ],
)
def test_rows_of_any_kind_keep_their_values(values, dtype):
    split = Split.from_arrays(values, Y)
    assert split.train.X.dtype == dtype
    assert np.array_equal(split.train.X, np.asarray(values).astype(dtype))


class Sparse:
    def toarray(self):
        return X


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (X.astype(complex), "X_train has dtype complex128; features must be"),
        (X.astype(str), "X_train has dtype <U32; features must be an array of real numbers"),
        (Sparse(), "X_train is sparse; give an array of all values"),
        (np.full((60, 5), 2**60), "X_train has the value 1152921504606846976; whole numbers above"),
        (None, "the array X_train is missing"),
        (X[0], r"train: X has shape \(5,\); it must be"),
        (np.where(X[3, 2] == X, np.nan, X), "train: X has the value nan in row 3, column 2"),
    ],
)
def test_rows_that_are_none_are_refused_in_one_line(values, said):
    with pytest.raises(InputError, match=said):
        Split.from_arrays(values, Y)


@given(st.sampled_from(["?", "i1", "i2", "i4", "u2", "u4", "f2", "f4", "f8", ">f4", ">i4"]))
def test_numbers_become_floats_without_a_change(dtype):
    values = np.random.default_rng(1).integers(0, 2**16 - 1, 50).astype(dtype)
    found = numeric("X", values)
    assert found.dtype in (np.float16, np.float32, np.float64)
    assert np.array_equal(found, values)


def test_what_is_no_split_is_refused_with_the_way_to_make_one():
    for call in (fastlin.train, lambda data: fastlin.grid_search(data, {"lr": [0.1]})):
        with pytest.raises(InputError, match="the data are a ndarray; they must be a Split"):
            call(X)


# Training


def test_settings_by_name_take_precedence():
    split = Split.from_arrays(X, WORDS[Y])
    base = TrainConfig(epochs=2, seed=3, l2=0.01, standardize=False)
    found = fastlin.train(split, base, lr=np.float32(0.5))
    assert found.config == replace(base, lr=0.5)
    assert fastlin.train(split, epochs=1).config.epochs == 1
    with pytest.raises(InputError, match="unknown setting rate; the settings are average_epochs"):
        fastlin.train(split, rate=0.1)
    with pytest.raises(InputError, match=r"config is a dict; it must be a TrainConfig"):
        fastlin.train(split, {"lr": 0.1})


def test_notes_of_a_search_are_warnings_unless_they_are_taken():
    split = Split.from_arrays(X, Y, X_val=X, y_val=Y)
    how = {"base": TrainConfig(epochs=2), "halving": True}
    with pytest.warns(UserWarning, match="No entry is stopped early") as caught:
        fastlin.grid_search(split, {"lr": [0.1, 0.2]}, **how)
    assert [one.filename for one in caught] == [__file__]
    seen, notes = [], []
    fastlin.grid_search(split, {"lr": [0.1]}, on_epoch=seen.append, note=notes.append, **how)
    assert [progress.epoch for progress in seen] == [1, 2]
    assert len(notes) == 1


# The model


def test_probabilities_are_the_softmax_of_the_scores():
    found = model()
    scores = X.astype(float) @ found.W.T.astype(float) + found.b
    expected = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.predict_proba(X), expected, atol=1e-6)


def test_smoothed_labels_leave_scores_whose_softmax_are_probabilities():
    split = Split.from_arrays(X, Y)
    smoothed = fastlin.train(split, loss=fastlin.Softmax(smoothing=0.1), epochs=1).model
    plain = replace(smoothed, loss="softmax")
    assert smoothed.loss == "softmax(smoothing=0.1)"
    assert np.array_equal(smoothed.predict_proba(X), plain.predict_proba(X))


def test_scores_of_another_loss_are_no_probabilities():
    with pytest.raises(InputError, match="the loss hinge, whose scores are no probabilities"):
        model(loss="hinge").predict_proba(X)
    with pytest.raises(InputError, match="not known by which loss the model was trained"):
        model(loss=None).predict_proba(X)


def test_names_ranks_and_accuracy_agree_with_the_scores():
    found = model()
    scores = found.scores(X)
    classes = scores.argmax(axis=1)
    assert np.array_equal(found.predict_names(X), WORDS[classes])
    top = found.top_k(X, 4)
    assert np.array_equal(top[:, 0], classes)
    lowest = np.array([({*range(5)} - {*row}).pop() for row in top.tolist()])
    assert np.array_equal(lowest, scores.argmin(axis=1))
    assert found.score(X, WORDS[Y]) == found.score(X, Y) == np.mean(classes == Y)
    equal = model(W=np.zeros((5, 5), np.float32), b=np.zeros(5, np.float32))
    assert np.array_equal(equal.top_k(X, 5), np.tile(np.arange(5), (60, 1)))
    for wrong in (0, 6, 1.5, True):
        with pytest.raises(InputError, match="k is"):
            found.top_k(X, wrong)


def test_labels_that_are_digits_are_the_names_of_classes():
    named = model(class_names=tuple("12345"))
    assert named.score(X, Y + 1) == model().score(X, Y)
    with pytest.raises(InputError, match="y has the label '0' in row 0, which is none of"):
        named.score(X, Y)
    with pytest.raises(InputError, match="label 5 in row 4 is outside 0 to 4"):
        model().score(X, Y + 1)


def test_rows_of_any_numbers_are_scored():
    found = model()
    whole = np.arange(300).reshape(60, 5)
    assert np.array_equal(found.scores(Frame(whole)), found.scores(whole.astype(np.float32)))
    with pytest.raises(InputError, match="X has dtype <U32; features must be"):
        found.predict(X.astype(str))


def test_every_method_warns_of_another_scale_where_it_is_called():
    found = fastlin.train(Split.from_arrays(X, Y), epochs=1).model
    far = 1000 * X
    for call in (
        lambda: found.scores(far),
        lambda: found.predict(far),
        lambda: found.predict_names(far),
        lambda: found.predict_proba(far),
        lambda: found.top_k(far, 1),
        lambda: found.score(far, Y),
    ):
        with pytest.warns(MatchWarning, match="another scale") as caught:
            call()
        assert [one.filename for one in caught] == [__file__]


def same_models(found, expected):
    for name in ("W", "b", "feature_std", "feature_offset"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        assert ours is None or (ours.tobytes(), ours.dtype) == (theirs.tobytes(), theirs.dtype)
    for name in ("class_names", "image_shape", "feature_range", "loss"):
        assert getattr(found, name) == getattr(expected, name)
    return True


@pytest.mark.parametrize("as_given", [str, Path])
@pytest.mark.parametrize("settings", [{}, {"standardize": True}, {"loss": "hinge"}])
def test_a_model_comes_back_exactly(settings, as_given, tmp_path):
    result = fastlin.train(Split.from_arrays(X, WORDS[Y]), epochs=2, **settings)
    assert result.model.loss == str(result.config.loss)
    path = as_given(tmp_path / "model.npz")
    result.model.save(path)
    assert same_models(LinearModel.load(path), result.model)
    assert same_models(LinearModel.load(path), LinearModel.from_arrays(dict(np.load(path))))


def test_a_model_with_a_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    model().save(path)
    whole = path.read_bytes()
    expected = LinearModel.load(path)
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = LinearModel.load(path)
        except InputError:
            continue
        assert same_models(found, expected)  # a bit of what nothing depends on, such as a time


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"W": None}, "it lacks the array W"),
        ({"class_names": np.array([1, 2, 3])}, "class_names must be a list of text"),
        ({"class_names": np.array([0x110000, 97, 98], np.uint32).view("<U1")}, "is no text"),
        ({"loss": np.array(["softmax"])}, "it must be one text"),
        ({"loss": np.array("soft\nmax")}, r"loss is 'soft\\nmax'; it must be the name of a loss"),
        ({"W": np.array([[np.nan] * 5] * 5, np.float32)}, "W or b has a NaN"),
    ],
)
def test_a_model_file_that_holds_something_else_is_refused(changes, said, tmp_path):
    arrays = model().to_arrays() | changes
    path = tmp_path / "model.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(InputError, match=f"model.npz is damaged: {said}|{said}") as caught:
        LinearModel.load(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_path_is_refused():
    for call in (fastlin.load_run, LinearModel.load, model().save, fastlin.load_split):
        with pytest.raises(InputError, match="a path is 3; it must be text or a Path"):
            call(3)


def test_paths_as_text_are_taken_everywhere(tmp_path):
    path = str(tmp_path / "f")
    files.save_json(path, {"a": 1})
    assert files.read_json(path) == {"a": 1}
    assert files.read_bytes(path, 100).startswith(b"{")
    files.check_reachable(path)
    assert files.make_directory(f"{path}.d") == Path(f"{path}.d")
    grid = tmp_path / "grid.toml"
    grid.write_text("[grid]\nlr = [0.1, 0.2]\n[train]\nepochs = 1\n")
    spec = read_grid_file(str(grid))
    split = Split.from_arrays(X, Y, X_val=X, y_val=Y)
    result = fastlin.grid_search(split, spec, journal=f"{path}.jsonl", threads=np.int64(1))
    save_table(f"{path}.csv", result)
    assert next(files.read_csv(f"{path}.csv"))[0] == "rank"
    made = runs.create_run_folder(f"{path}.run", "x", runs.CONFIG, {})
    runs.save_history(str(made), result.best.history)
    runs.save_models(str(made), result.best.last_model, result.best.best_model)
    assert same_models(runs.load_models(f"{made}/{runs.MODEL}")[0], result.best.last_model)


# Run folders


def test_an_interrupt_while_a_model_is_saved_stays_one(tmp_path):
    path = tmp_path / "model.npz"
    interrupt_everywhere(lambda: model().save(path), ZIP_WRITERS)
    same_models(LinearModel.load(path), model())


def test_a_run_is_saved_and_read_with_paths_as_text(tmp_path):
    np.savez(tmp_path / "data.npz", X_train=X, y_train=WORDS[Y], X_val=X[:30], y_val=WORDS[Y[:30]])
    split = fastlin.load_split(str(tmp_path / "data.npz"))
    result = fastlin.train(split, epochs=3, standardize=True)
    folder = str(tmp_path / "run")
    assert fastlin.save_run(folder, result, split) == Path(folder)
    run = fastlin.load_run(folder)
    assert same_models(run.model, result.model)
    assert same_models(run.best_model, result.best_model)
    assert same_models(LinearModel.load(f"{folder}/model.npz"), result.model)
    assert run.config == result.config
    assert run.history.records() == result.history.records()
    assert run.data == replace(split.source, sha256=split.fingerprint())
    assert fastlin.load_split(run.data.data).fingerprint() == split.fingerprint()
    summary = json.loads((tmp_path / "run" / runs.SUMMARY).read_text())
    assert summary["status"] == "finished"
    last = summary["results"]["last"]
    assert last.keys() == {"train", "val"}
    assert last["val"]["accuracy"] == result.history.val_accuracy[-1]
    assert last["val"]["cost"] == pytest.approx(result.history.val_cost[-1])
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        fastlin.save_run(folder, result, split)


def test_arrays_have_no_source_and_are_called_by_name(tmp_path):
    split = Split.from_arrays(X, Y, name="mine")
    assert split.source is None
    fastlin.save_run(tmp_path / "run", fastlin.train(split, epochs=1), split)
    assert fastlin.load_run(tmp_path / "run").data.data == "mine"


def test_the_winner_of_a_grid_is_saved_as_a_run(tmp_path):
    split = Split.from_arrays(X, WORDS[Y], X_val=X, y_val=WORDS[Y])
    grid = fastlin.grid_search(split, {"lr": [0.01, 0.1]}, base=TrainConfig(epochs=2))
    run = fastlin.load_run(fastlin.save_run(str(tmp_path / "run"), grid, split))
    assert run.config == grid.best.config
    assert same_models(run.model, grid.best.last_model)
    assert same_models(run.best_model, grid.best.best_model)
    alone = fastlin.train(split, grid.best.config)
    assert run.model.W.tobytes() == alone.model.W.tobytes()


def test_a_model_of_an_older_run_has_the_loss_of_its_settings(tmp_path):
    split = Split.from_arrays(X, Y)
    fastlin.save_run(tmp_path / "run", fastlin.train(split, epochs=1, loss="hinge"), split)
    path = tmp_path / "run" / runs.MODEL
    arrays = files.read_npz(path)
    del arrays["loss"]
    np.savez(path, **arrays)
    assert fastlin.load_run(tmp_path / "run").best_model.loss == "hinge"
    assert LinearModel.load(path).loss is None


# What is shown, and what there is


def test_what_is_shown_fits_on_a_screen():
    split = Split.from_arrays(X, WORDS[Y], X_val=X, y_val=WORDS[Y])
    grid = fastlin.grid_search(split, {"lr": [0.1, 0.2]}, base=TrainConfig(epochs=2), keep="all")
    result = fastlin.train(split, epochs=2)
    for shown in (
        split, split.train, result, result.model, result.history, grid, grid.best,
        fastlin.History.from_records([]), fastlin.evaluate(result.model, split.val, result.config),
    ):  # fmt: skip
        text = repr(shown)
        assert text.startswith(f"{type(shown).__name__}(")
        assert len(text) < 300
        assert "\n" not in text
    assert "train 60, val 60 rows, 5 features float32, 5 classes" in repr(split)
    assert repr(grid.best) in {repr(entry) for entry in grid.entries}
    assert grid._repr_html_().count("<tr>") == 3
    assert result.history._repr_html_().count("<tr>") == 3


def test_a_table_is_escaped_and_short():
    table = html_table(["<b>"], [[i] for i in range(1000)])
    assert table.startswith("<table><tr><th>&lt;b&gt;</th></tr><tr><td>0</td></tr>")
    assert table.count("<tr>") == 62
    assert "<td>999</td>" in table
    assert html_table(["x"], [[float("nan")], [None], [1 / 3]]).endswith(
        "<tr><td></td></tr><tr><td></td></tr><tr><td>0.3333</td></tr></table>"
    )


CLEAN = """
import sys, fastlin
assert not {"numba", "matplotlib", "numpy"} & sys.modules.keys(), "import fastlin loads too much"
assert dir(fastlin) == sorted([*fastlin.__all__, "__version__"]), dir(fastlin)
fastlin.LinearModel, fastlin.load_run, fastlin.Split, fastlin.History
assert not {"numba", "matplotlib"} & sys.modules.keys(), "a model loads too much"
fastlin.reference
assert "numba" not in sys.modules, "the reference loads Numba"
print(fastlin.functional.__name__, fastlin.reference.__name__)
"""


def test_importing_is_light_and_names_are_clean():
    found = subprocess.run(
        [sys.executable, "-c", CLEAN], capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == ["fastlin.functional", "fastlin.reference"], found.stderr


def test_numbers_of_numpy_are_taken_in_a_grid():
    split = Split.from_arrays(X, Y, X_val=X, y_val=Y)
    base = TrainConfig(epochs=np.int32(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = fastlin.grid_search(split, {"lr": np.logspace(-2, -1, 2)}, base=base, threads=1)
    assert [entry.config.lr for entry in grid.entries] == [0.01, 0.1]
    json.dumps([entry.config.to_dict() for entry in grid.entries])
