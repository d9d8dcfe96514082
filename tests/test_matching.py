import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import call, small_images, summary
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import fastlin
from fastlin import figures, matching, reference, runs
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.data.features import FeatureRange
from fastlin.errors import InputError, MatchWarning
from fastlin.model import LinearModel
from fastlin.report.results import load_results
from fastlin.training.evaluation import evaluate, gradient

NAMES = ("ant", "bee", "cow", "doe", "elk")
QUICK = ("--epochs", 2, "--no-figures")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(n=60, d=6, seed=0, **changes):
    rng = np.random.default_rng(seed)
    data = Dataset(rng.normal(size=(n, d)).astype(np.float32), rng.integers(0, 5, n), NAMES)
    return replace(data, **changes)


def model_of(data, **changes):
    rng = np.random.default_rng(7)
    W = rng.normal(size=(len(data.class_names), data.X.shape[1])).astype(np.float32)
    model = LinearModel(
        W, W[:, 0].copy(), data.class_names, data.image_shape, feature_range=data.feature_range
    )
    return replace(model, **changes)


def renamed(data, order):
    """Return the same rows, the classes listed as in `order`; others are left out."""
    number_of = {name: number for number, name in enumerate(order)}
    kept = [i for i, label in enumerate(data.y) if data.class_names[label] in number_of]
    y = np.array([number_of[data.class_names[data.y[i]]] for i in kept])
    return Dataset(data.X[kept], y, tuple(order), data.image_shape), kept


# Classes


@pytest.mark.filterwarnings("ignore:classes are matched by name")
@settings(max_examples=25)
@given(st.permutations(NAMES), st.integers(2, 5), st.integers(0, 10))
def test_the_order_of_the_classes_changes_no_number(order, count, seed):
    data = rows(seed=seed)
    model, config = model_of(data), TrainConfig(l2=0.1)
    other, kept = renamed(data, order[:count])
    same = Dataset(data.X[kept], data.y[kept], NAMES)
    found, expected = evaluate(model, other, config), evaluate(model, same, config)
    assert (found.cost, found.accuracy) == (expected.cost, expected.accuracy)
    assert np.array_equal(found.predictions, expected.predictions)
    assert gradient(model, other, config).tobytes() == gradient(model, same, config).tobytes()
    scores = reference.scores(same.X.astype(np.float64), model.W.astype(np.float64), model.b)
    words = np.array(NAMES)[scores.argmax(axis=1)]
    assert found.accuracy == np.mean(words == np.array(order)[other.y])


def test_matched_rows_have_the_classes_of_the_model_and_a_note_says_what_was_done():
    data = rows()
    model = model_of(data)
    assert matching.match(model, data) == (data, [])
    other, kept = renamed(data, ("elk", "bee", "cow", "doe"))
    found, notes = matching.match(model, other)
    assert found.class_names == NAMES
    assert np.array_equal(found.y, data.y[kept])
    assert notes == [
        "classes are matched by name: those of the data are in another order and lack 'ant'"
    ]
    subset, _ = renamed(data, NAMES[:3])
    assert matching.match(model, subset)[1] == [
        "classes are matched by name: those of the data lack 'doe', 'elk'"
    ]


def test_all_parts_of_a_split_are_matched_and_a_note_comes_once():
    order = NAMES[::-1]
    parts = {part: rows(seed=seed) for seed, part in enumerate(("train", "val", "test"))}
    split = Split("s", **parts)
    model = model_of(split.train)
    assert matching.match_split(model, split)[0] is split
    other = Split("s", **{part: renamed(data, order)[0] for part, data in parts.items()})
    found, notes = matching.match_split(model, other)
    for part, data in found.parts().items():
        assert np.array_equal(data.y, parts[part].y)
    assert notes == ["classes are matched by name: those of the data are in another order"]
    without = Split("s", other.train, None, other.test)
    assert list(matching.match_split(model, without)[0].parts()) == ["train", "test"]


def test_rows_of_a_class_that_the_model_does_not_know_are_refused_and_unused_names_are_not():
    data = rows()
    model = model_of(data)
    other = replace(data, class_names=("ant", "yak", "cow", "doe", "elk"))
    with pytest.raises(InputError, match=r"class 'yak', which .* knows 'ant', 'bee'") as caught:
        evaluate(model, other, TrainConfig())
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="yak"):
        gradient(model, other, TrainConfig())
    unused = replace(data, class_names=(*NAMES, "yak"))
    found, notes = matching.match(model, unused)
    assert np.array_equal(found.y, data.y)
    assert notes == ["classes are matched by name: those of the data have names of no row"]
    numbered = replace(data, class_names=tuple("01234"))
    with pytest.raises(InputError, match="called by number, give them names"):
        matching.match(model, numbered)
    many = replace(data, class_names=tuple(str(n) for n in range(100)), y=np.arange(60) + 10)
    with pytest.raises(InputError, match="'10', '11', '12', '13', '14' and 55 more"):
        matching.match(model, many)


def test_a_model_in_which_a_name_stands_for_two_classes_is_refused():
    model = replace(model_of(rows()), class_names=("ant", "bee", "ant", "doe", "elk"))
    with pytest.raises(InputError, match="the model has two classes 'ant'"):
        matching.match(model, rows())


# Features and images


def test_another_number_of_features_is_one_line_with_both_numbers():
    model, narrow = model_of(rows()), rows(d=4)
    message = "the rows have 4 features, but the model takes 6"
    for call_of in (
        lambda: evaluate(model, narrow, TrainConfig()),
        lambda: gradient(model, narrow, TrainConfig()),
        lambda: model.scores(narrow.X),
        lambda: model.predict(narrow.X),
    ):
        with pytest.raises(InputError, match=message):
            call_of()


IMAGE = (3, 2, 2)


def test_images_of_another_shape_are_refused():
    color = rows(d=12, image_shape=IMAGE)
    with pytest.raises(InputError, match=r"shape \(3, 1, 4\), but .* shape \(3, 2, 2\)"):
        matching.match(model_of(color), rows(d=12, image_shape=(3, 1, 4)))


def test_colors_in_an_order_that_nobody_knows_are_a_note():
    flat, color = rows(d=12), rows(d=12, image_shape=IMAGE)
    gray = rows(d=12, image_shape=(1, 3, 4))
    for model, data in ((color, flat), (flat, color)):
        (note,) = matching.match(model_of(model), data)[1]
        assert "shape (3, 2, 2)" in note
        assert "flattened from (height, width, channels)" in note
    for model, data in ((gray, flat), (flat, gray), (color, color), (flat, flat)):
        assert matching.match(model_of(model), data)[1] == []


# Scale


def of(values, dtype=np.float32):
    X = np.asarray(values, dtype)
    return X, FeatureRange.of(X, 1 / 255 if dtype == np.uint8 else 1.0)


def scale_note(trained, found):
    return matching.scale_note(of(*trained)[1], of(*found)[1], np.size(found[0]))


RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (400, 12))
NORMAL = RNG.normal(size=(400, 12))

OTHER_SCALES = {
    "pixels, floats to 255": ((PIXELS, np.uint8), (PIXELS,)),
    "floats to 255, pixels": ((PIXELS,), (PIXELS, np.uint8)),
    "pixels, floats to 255 of one row": ((PIXELS, np.uint8), (PIXELS[:1],)),
    "floats to 255, pixels of one row": ((PIXELS,), (PIXELS[:1], np.uint8)),
    "pixels, floats from -1 to 1": ((PIXELS, np.uint8), (PIXELS / 127.5 - 1,)),
    "floats from -1 to 1, pixels": ((PIXELS / 127.5 - 1,), (PIXELS, np.uint8)),
    "pixels, divided twice": ((PIXELS, np.uint8), (PIXELS / 255**2,)),
    "floats to 1, floats to 255": ((PIXELS / 255,), (PIXELS,)),
    "floats to 255, floats to 1": ((PIXELS,), (PIXELS / 255,)),
    "standardized, not": ((NORMAL,), (NORMAL * 30 + 100,)),
    "not, standardized": ((NORMAL * 30 + 100,), (NORMAL,)),
    "metres, kilometres": ((1000 + 100 * NORMAL,), (1 + 0.1 * NORMAL,)),
    "shifted far away": ((NORMAL,), (NORMAL + 1000,)),
    "pixels, 0 and 1": ((PIXELS, np.uint8), (PIXELS > 127, np.uint8)),
}


@pytest.mark.parametrize("name", OTHER_SCALES)
def test_features_on_another_scale_are_a_note(name):
    note = scale_note(*OTHER_SCALES[name])
    assert note is not None
    assert "\n" not in note


SAME_SCALES = {
    "pixels as floats to 1": ((PIXELS, np.uint8), (PIXELS / 255,)),
    "floats to 1, pixels": ((PIXELS / 255,), (PIXELS, np.uint8)),
    "resized pixels leave 0 to 1 a little": ((PIXELS, np.uint8), (PIXELS / 240 - 0.03,)),
    "one row": ((NORMAL,), (NORMAL[:1],)),
    "one value": ((NORMAL,), (NORMAL[:1, :1],)),
    "rows of zeros": ((NORMAL,), (np.zeros((400, 12)),)),
    "trained on zeros": ((np.zeros((400, 12)),), (NORMAL,)),
    "twice as far": ((NORMAL,), (2 * NORMAL + 1,)),
    "dark images": ((PIXELS, np.uint8), (PIXELS // 4, np.uint8)),
}


@pytest.mark.parametrize("name", SAME_SCALES)
def test_features_on_the_same_scale_are_no_note(name):
    assert scale_note(*SAME_SCALES[name]) is None


def test_outliers_on_either_side_are_no_note():
    outlier = NORMAL.copy()
    outlier[3, 4] = 1e12
    assert scale_note((NORMAL,), (outlier,)) is None
    assert scale_note((outlier,), (NORMAL,)) is None


DISTRIBUTIONS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "cauchy": lambda rng, shape: rng.standard_cauchy(shape),
    "lognormal": lambda rng, shape: rng.lognormal(0, 3, shape),
    "sparse": lambda rng, shape: rng.random(shape) * (rng.random(shape) < 0.01),
    "counts": lambda rng, shape: rng.poisson(0.01, shape),
    "census": lambda rng, shape: rng.lognormal(size=shape) * np.geomspace(1e-2, 1e5, shape[1]),
    "timestamps": lambda rng, shape: 1e9 + 20 * rng.normal(size=shape),
}


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(DISTRIBUTIONS)),
    st.integers(0, 2**32),
    st.sampled_from([100, 1000]),
    st.sampled_from([1, 10, 100, 1000]),
    st.sampled_from([10, 100]),
)
def test_other_rows_of_the_same_data_are_never_a_note(name, seed, trained, found, d):
    assume(found * d >= 100)  # of fewer values one in a hundred is the largest
    rng = np.random.default_rng(seed)
    draw = DISTRIBUTIONS[name]
    ours, theirs = (draw(rng, (n, d)) for n in (trained, found))
    assert scale_note((ours, np.float64), (theirs, np.float64)) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_range_is_that_of_the_sorted_features(dtype):
    X = np.random.default_rng(1).integers(0, 256, (301, 7)).astype(dtype)
    values, scale = np.sort(X, axis=None), 1 / 255 if dtype == np.uint8 else 1.0
    last, percent = len(values) - 1, len(values) // 100
    expected = [values[rank] * scale for rank in (0, percent, last - percent, last)]
    assert list(FeatureRange.of(X, scale)) == [*expected, scale]


def test_a_range_of_large_rows_is_that_of_rows_from_all_of_them():
    X = np.repeat(np.linspace(0, 1, 5000), 1000).reshape(5000, 1000).astype(np.float32)
    found = FeatureRange.of(X, 1.0)
    assert found[:4] == pytest.approx((0, 0.01, 0.99, 1), abs=0.01)
    huge = np.array([[-1.7e308, 1.7e308]])
    assert FeatureRange.of(huge, 1.0).highest == 1.7e308
    assert matching.scale_note(FeatureRange.of(huge, 1.0), FeatureRange.of(huge, 1.0), 2) is None


def test_python_is_warned_where_the_call_is():
    trained = Dataset(PIXELS.astype(np.uint8), np.arange(400) % 5, NAMES)
    model = model_of(trained)
    floats = replace(trained, X=PIXELS.astype(np.float32))
    for call_of in (
        lambda: fastlin.evaluate(model, floats, TrainConfig(l2=0.01)),
        lambda: gradient(model, floats, TrainConfig(l2=0.01)),
        lambda: model.scores(floats.X),
        lambda: model.predict(floats.X),
    ):
        with pytest.warns(MatchWarning, match="uint8 pixels") as caught:
            call_of()
        assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastlin.evaluate(model, replace(trained, X=floats.X / 255), TrainConfig(l2=0.01))
        model.predict(trained.X)
        model.predict(floats.X[:1] / 255)


def test_a_trained_model_knows_its_features_and_keeps_them(tmp_path):
    split = Split("s", rows())
    result = fastlin.train(split, TrainConfig(epochs=1))
    assert result.model.feature_range == split.train.feature_range
    runs.save_models(tmp_path, result.model, result.best_model)
    for found in runs.load_models(tmp_path / "model.npz"):
        assert found.feature_range == split.train.feature_range
    arrays = dict(np.load(tmp_path / "model.npz"))
    without = {name: array for name, array in arrays.items() if name != "feature_range"}
    np.savez(tmp_path / "model.npz", **without)
    old = runs.load_models(tmp_path / "model.npz")[0]
    assert old.feature_range is None
    assert matching.match(old, rows(X=1000 * rows().X))[1] == []
    for wrong in ([1, 0, 0, 0, 1], [0, 0, 0, np.nan, 1], [0, 0, 1, 1, 0], [0, 1], ["a"] * 5):
        np.savez(tmp_path / "model.npz", **{**arrays, "feature_range": np.array(wrong)})
        with pytest.raises(InputError, match=r"model\.npz is damaged"):
            runs.load_models(tmp_path / "model.npz")


# Commands


def write(path, **changes):
    """Write images with classes by name; `changes` are functions of X or y, for every part."""
    arrays = small_images(noise=120, contrast=60) | {"class_names": np.array(NAMES)}
    for name, change in changes.items():
        for part in ("train", "val", "test"):
            arrays[f"{name}_{part}"] = change(arrays[f"{name}_{part}"])
    np.savez(path, **arrays)


def reorder(path, order):
    write(path, y=lambda y: np.argsort(order)[y])
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "class_names": np.array(NAMES)[list(order)]})


@pytest.fixture
def run(place):
    write("small.npz")
    call("train", "--data", "small.npz", *QUICK, "--out", "run")
    return place / "run"


CHANGED = "have changed since the run was trained"


def test_a_run_on_its_own_data_says_nothing(run):
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["sha256"] == summary("run")["data"]["sha256"]
    call("plot", "run")  # perhaps it compiles
    for words in (("evaluate", "run"), ("evaluate", "run", "--data", "small.npz"), ("plot", "run")):
        assert call(*words).stderr == ""
    again = call("train", "--config", run / "config.json", *QUICK, "--out", "again").stderr
    assert "Note" not in again


def test_data_that_changed_are_noted_by_every_command(run):
    write("small.npz", X=lambda X: 255 - X)
    for words in (
        ("evaluate", "run"),
        ("evaluate", "run", "--data", "small.npz"),
        ("plot", "run"),
        ("train", "--config", run / "config.json", *QUICK, "--out", "again"),
        ("grid", "--config", run / "config.json", "--lr", "0.01,0.1", *QUICK, "--out", "grid"),
        ("report", "run"),
    ):
        assert call(*words).stderr.count(CHANGED) == 1, words
    # What was trained anew knows the data it was trained on.
    for folder in ("again", "grid/winner"):
        assert CHANGED not in call("evaluate", folder).stderr
    write("small.npz")
    for folder in ("again", "grid/winner"):
        assert CHANGED in call("evaluate", folder).stderr


def test_other_data_that_were_asked_for_have_not_changed(run):
    write("other.npz", X=lambda X: 255 - X)
    assert call("evaluate", "run", "--data", "other.npz").stderr == ""
    again = call("train", "--config", run / "config.json", "--data", "other.npz", *QUICK)
    assert CHANGED not in again.stderr
    assert CHANGED not in call("report", "run", "--data", "other.npz").stderr


def test_of_a_run_that_was_killed_nothing_is_said(run):
    data, config = runs.load_config(run / "config.json")
    runs.save_config(run, replace(data, sha256=None), config)  # as written before the first epoch
    write("small.npz", X=lambda X: 255 - X)
    assert call("evaluate", "run").stderr == ""


def test_a_grid_is_not_resumed_on_changed_data(place):
    write("small.npz")
    call("grid", "--data", "small.npz", "--lr", "0.01,0.1", *QUICK, "--out", "grid")
    write("small.npz", X=lambda X: 255 - X)
    result = call("grid", "--resume", "grid", code=2)
    assert "the data is not what it was begun with, but changed since" in result.stderr


ORDER = (3, 0, 4, 1, 2)


def test_classes_in_another_order_change_no_number_of_a_command(run, monkeypatch):
    reorder("other.npz", ORDER)
    expected = call("evaluate", "run")
    found = call("evaluate", "run", "--data", "other.npz")
    assert found.stdout == expected.stdout
    assert found.stderr == (
        "Note: classes are matched by name: those of the data are in another order\n"
    )
    drawn = []
    monkeypatch.setattr(
        figures, "confusions", lambda found, names: drawn.append((found.counts, names))
    )
    monkeypatch.setattr(figures, "with_footer", lambda figure, _: figure)
    monkeypatch.setattr(
        figures, "save_figures", lambda made, *_: [None for make in made.values() if make()]
    )
    call("plot", "run")
    assert "matched by name" in call("plot", "run", "--data", "other.npz").stderr
    assert np.array_equal(drawn[0][0], drawn[1][0])
    assert drawn[0][1] == drawn[1][1] == NAMES


def test_a_report_matches_classes_and_shows_its_notes(run):
    reorder("other.npz", ORDER)
    call("report", "run", "--out", "own")
    result = call("report", "run", "--data", "other.npz", "--out", "matched")
    assert "run: classes are matched by name" in result.stderr
    own, matched = (load_results(Path(folder))[1].sections for folder in ("own", "matched"))
    assert [section.tables for section in matched[:-1]] == [section.tables for section in own[:-1]]
    assert own[0].text == []
    for name in ("confusion", "wrong"):
        drawn = [Path(folder, f"figures/run-1-{name}.png") for folder in ("own", "matched")]
        assert np.array_equal(*(np.asarray(Image.open(path))[:300] for path in drawn)), name
    for page in ("index.html", "summary.md"):
        assert "matched by name" in Path("matched", page).read_text()
        assert "matched by name" not in Path("own", page).read_text()


def test_unknown_classes_and_other_shapes_are_one_line_in_every_command(run):
    write("other.npz")
    arrays = dict(np.load("other.npz"))
    np.savez("zebra.npz", **{**arrays, "class_names": np.array([*NAMES[:4], "zebra"])})
    write("gray.npz", X=lambda X: X.reshape(len(X), 3, 6))
    for command in ("evaluate", "plot", "report"):
        assert "class 'zebra'" in call(command, "run", "--data", "zebra.npz", code=2).stderr
        wrong_shape = call(command, "run", "--data", "gray.npz", code=2).stderr
        assert "shape (1, 3, 6)" in wrong_shape
        assert "shape (3, 2, 3)" in wrong_shape


def test_flattened_images_and_pixels_as_floats_are_noted(run):
    write("flat.npz", X=lambda X: X.reshape(len(X), -1))
    write("floats.npz", X=lambda X: X.astype(np.float32))
    write("unit.npz", X=lambda X: X.astype(np.float32) / 255)
    for command in ("evaluate", "plot", "report"):
        assert "have no shape" in call(command, "run", "--data", "flat.npz").stderr
        noted = call(command, "run", "--data", "floats.npz").stderr
        assert noted.count("uint8 pixels") == 1
    own, unit = call("evaluate", "run"), call("evaluate", "run", "--data", "unit.npz")
    assert unit.stderr == ""
    assert [line.split()[-2] for line in unit.stdout.splitlines() if "%" in line] == [
        line.split()[-2] for line in own.stdout.splitlines() if "%" in line
    ]
