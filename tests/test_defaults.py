import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import fastlin
from benchmarks import defaults as benchmark
from fastlin import Split, TrainConfig, load_split
from fastlin.commands import main
from fastlin.config import SETTINGS
from fastlin.data import Dataset
from fastlin.errors import InputError
from fastlin.losses import LOSSES
from fastlin.search.spec import GridSpec, LogRange
from fastlin.settings import OrAuto
from fastlin.training.defaults import Scales, with_chosen
from fastlin.training.evaluation import evaluate
from fastlin.training.trainer import Trainer


def rows(X, classes=5):
    X = np.asarray(X)
    return Dataset(X, np.arange(len(X)) % classes, tuple("abcdefghij"[:classes]))


def normal(n=300, d=20, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def chosen(data, **settings):
    return with_chosen([TrainConfig(**settings)], data)[0]


def test_pixels_keep_the_numbers_that_were_the_defaults_before():
    config = chosen(load_split("cifar10-mini").train)
    assert (config.lr, config.l2, config.standardize) == (0.02, 0.01, False)


def test_the_moments_are_those_of_the_features():
    X = normal(d=5) * [1, 2, 0, 4, 1e-3] + [0, 1, 3, 0, 1e6]
    scales = Scales.of(rows(X))
    np.testing.assert_allclose(scales.size, np.sqrt((X**2).mean(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(scales.std, X.std(axis=0), rtol=1e-9)
    assert scales.changing.tolist() == [0, 1, 3, 4]
    assert scales.square_length == pytest.approx(np.square(X).sum(axis=1).mean(), rel=1e-12)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 12)).astype(np.uint8)
    assert Scales.of(rows(pixels)).square_length == pytest.approx(
        np.square(pixels / 255).sum(axis=1).mean()
    )


@given(st.integers(0, 10), st.sampled_from(list(LOSSES)), st.integers(0, 5))
def test_in_another_unit_the_scores_are_the_same(power, loss, seed):
    # lr times the square of the unit, and l2 over it, are what they were; unless l2 is at its most.
    X, unit = normal(n=60, d=8, seed=seed), 2.0**power
    X /= np.sqrt(np.square(X).sum(axis=1).mean())
    one, two = (
        chosen(rows(values), loss=loss, standardize=False)
        for values in (2 * X, 2 * X * np.float32(unit))
    )
    assert two.lr * unit**2 == pytest.approx(one.lr, rel=1)
    assert two.l2 == pytest.approx(min(0.01, one.l2 * unit**2), rel=1)


def check_that_none_diverges(loss, classes, scale, several_settings):
    data = rows(normal(d=6) * np.float32(scale), classes)
    for settings in several_settings:
        result = fastlin.train(Split("s", data), loss=loss, epochs=3, **settings)
        assert np.isfinite(result.history.train_cost).all()


@pytest.mark.filterwarnings("ignore:features are (tiny|large)")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_no_default_diverges(loss, scale):
    # Ten classes are the harder case for the hinges: every violated margin adds to the gradient.
    several = [{}, {"standardize": False}, {"l2": 5.0}]
    if loss != "hinge":  # of bounded slope: momentum is for losses that can diverge by it
        several.append({"momentum": 0.9, "standardize": False})
    check_that_none_diverges(loss, 10, scale, several)


@pytest.mark.filterwarnings("ignore:features are (tiny|large)")
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_no_default_diverges_with_two_classes(scale):
    check_that_none_diverges("softmax", 2, scale, ({}, {"standardize": False}, {"l2": 5.0}))


@pytest.mark.filterwarnings("ignore:features are (tiny|large)")
def test_no_default_diverges_with_momentum_on_standardised_features():
    check_that_none_diverges("softmax", 10, 1e4, ({"momentum": 0.9},))


def test_features_are_standardised_where_their_scales_differ_and_it_is_said():
    X = normal() * np.logspace(0, 5, 20)
    trainer = Trainer(Split("s", rows(X, 3)), TrainConfig(epochs=2))
    assert trainer.config.standardize is True
    assert len(trainer.notes) == 1
    for word in ("differ much in scale", "feature 19", "standardised", "standardize to False"):
        assert word in trainer.notes[0]
    # On standardised features the length of a row is the number of those that change.
    assert (trainer.config.lr, trainer.config.l2) == (
        float(f"{18 * math.sqrt(0.3) / 20:.1g}"), float(f"{20 * 1.2e-5:.1g}"),
    )  # fmt: skip
    for standardize in (True, False):
        trainer = Trainer(Split("s", rows(X, 3)), TrainConfig(standardize=standardize, lr=1e-12))
        assert trainer.config.standardize is standardize
        assert trainer.notes == ()


@pytest.mark.parametrize(
    "X",
    [
        normal(), normal() / np.linalg.norm(normal(), axis=1, keepdims=True), normal() + 3,
        np.where(normal() > 2, 1.0, 0.0), 10 * normal(), np.zeros((30, 4)), normal() * 0 + 7,
        np.random.default_rng(0).integers(0, 256, (60, 30)).astype(np.uint8) * (np.arange(30) > 5),
    ],
    ids=["usual", "unit length", "means", "rare ones", "tens", "zeros", "constant", "pixels"],
)  # fmt: skip
def test_other_features_are_left_alone(X):
    data = rows(X.astype(np.uint8) if X.dtype == np.int64 else X)
    trainer = Trainer(Split("s", data), TrainConfig(epochs=1))
    assert trainer.config.standardize is False
    assert trainer.notes == ()
    assert trainer.config.lr > 0


@pytest.mark.parametrize(
    ("X", "words"),
    [(normal() * 1e-3, "tiny"), (normal() * 1e3, "large"), (normal() + 1000, "differ much")],
)
def test_what_is_wrong_with_features_is_said(X, words):
    assert words in Scales.of(rows(X)).trouble


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_extremes_of_a_dtype_are_no_error(dtype):
    limits = np.finfo(dtype)
    for value in (limits.tiny, limits.max / 4):
        X = np.where(normal() > 0, dtype(value), dtype(0))
        config = chosen(rows(X), dtype="float64")
        assert 0 < config.lr < math.inf
        assert 0 < config.l2 <= 0.01


def test_given_numbers_are_kept_and_the_rest_follows():
    data = rows(normal())
    assert chosen(data, lr=7.0).lr == 7.0
    assert chosen(data, l2=0.0).l2 == 0.0
    assert chosen(data, l2=1e6).lr <= 0.25e-6
    assert chosen(data, momentum=0.9).lr == pytest.approx(chosen(data).lr / 10, rel=0.5)
    plain = TrainConfig(lr=0.1, l2=0.0, standardize=True)
    assert with_chosen([plain, plain], data) == (plain, plain)


def test_a_result_holds_numbers_that_train_the_same_bits():
    split = Split.from_arrays(normal(), np.arange(300) % 5).hold_out(0.2)
    first = fastlin.train(split, epochs=2)
    assert {"auto"}.isdisjoint(first.config.to_dict().values())
    again = fastlin.train(split, first.config)
    assert again.model.W.tobytes() == first.model.W.tobytes()
    grid = fastlin.grid_search(split, {"lr": ["auto", 0.4]}, base=TrainConfig(epochs=2))
    assert {"auto"}.isdisjoint(grid.entries[0].config.to_dict().values())
    assert grid.entries[0].config.lr != 0.4
    searched = fastlin.grid_search(
        split, {"lr": LogRange(0.1, 1.0)}, base=TrainConfig(epochs=1), search="random", trials=2
    )
    assert all(0.1 <= entry.config.lr <= 1.0 for entry in searched.entries)


def test_evaluation_takes_the_penalty_of_training():
    split = Split.from_arrays(normal(), np.arange(300) % 5)
    config = TrainConfig(epochs=2)
    result = fastlin.train(split, config)
    found = evaluate(result.model, split.train, config)
    assert found.cost == result.history.train_cost[-1]
    assert found.cost == evaluate(result.model, split.train, result.config).cost
    with pytest.raises(InputError, match="l2 is auto, which becomes a number when training"):
        evaluate(replace(result.model, l2=None), split.train, config)


def test_auto_is_a_value_of_settings_that_declare_it():
    for name, declared in SETTINGS.items():
        if isinstance(declared.kind, OrAuto):
            assert getattr(TrainConfig(**{name: "auto"}), name) == "auto"
            assert GridSpec({name: ["auto"]}).swept == {name: ("auto",)}
        else:
            with pytest.raises(InputError, match=name):
                TrainConfig(**{name: "auto"})
    with pytest.raises(InputError, match=r"lr is -1; it must be .* above 0, or auto"):
        TrainConfig(lr=-1)
    with pytest.raises(InputError, match="lr is auto"):
        TrainConfig().lr_at(1)


def test_commands_take_auto_and_write_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("t.npz", X=normal() * np.logspace(0, 4, 20), y=np.arange(300) % 5)
    common = ("--data", "t.npz", "--epochs", "2", "--no-figures")
    found = CliRunner().invoke(main, ["train", *common, "--lr", "auto", "--out", "a"])
    assert found.exit_code == 0, found.output
    assert "Note: features differ much in scale" in found.stderr
    config = fastlin.load_run("a").config
    assert {"auto"}.isdisjoint(config.to_dict().values())
    again = CliRunner().invoke(
        main, ["train", "--config", "a/config.json", "--no-figures", "--out", "b"]
    )
    assert again.exit_code == 0, again.output
    assert (tmp_path / "a/model.npz").read_bytes() == (tmp_path / "b/model.npz").read_bytes()
    assert "Note: features differ" not in again.stderr
    grid = ["grid", *common, "--lr", "auto,0.5", "--standardize", "auto,false", "--out", "g"]
    found = CliRunner().invoke(main, grid)
    assert found.exit_code == 0, found.output
    assert found.stderr.count("they are standardised") == 1
    found = CliRunner().invoke(main, ["train", *common, "--lr", "automatic"])
    assert found.exit_code == 2
    assert "Traceback" not in found.output


def test_the_benchmark_measures_all_kinds():
    found = CliRunner().invoke(benchmark.main, ["--quick"])
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert len(lines) == 8
    assert all(line.count("|") == len(benchmark.HEADINGS) + 1 for line in lines)
    assert [line.split("|")[4].strip() for line in lines[2:]] == ["no"] * 5 + ["yes"]
