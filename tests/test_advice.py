import warnings
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import fastlin
from fastlin import Split, TrainConfig, load_split
from fastlin.commands import main
from fastlin.errors import AdviceWarning
from fastlin.files import read_json
from fastlin.history import EpochRecord, History
from fastlin.search.advice import advise_on_search
from fastlin.search.ranking import GridEntry, GridResult, Rule
from fastlin.training.advice import advise

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((400, 6)).astype(np.float32), np.arange(400) % 3
SPLIT = Split.from_arrays(X, Y, X_val=X[:200], y_val=Y[:200])
CONFIG = TrainConfig(lr=0.1, l2=0.0, standardize=False, epochs=20)


def history(costs, accuracies=None, part="val"):
    records = []
    for epoch, cost in enumerate(costs, start=1):
        accuracy = 0.5 if accuracies is None else accuracies[epoch - 1]
        val = (cost, accuracy) if part == "val" else (np.nan, np.nan)
        records.append(EpochRecord(epoch, 0.1, cost, accuracy, *val))
    return History.from_records(records)


def test_a_falling_cost_asks_for_more_epochs():
    falling = np.geomspace(2, 1, 20)
    for part, word in (("val", "validation"), ("train", "training")):
        (advice,) = advise(CONFIG, history(falling, part=part), SPLIT.train)
        assert f"the {word} cost is still falling after 20 epochs, by 7.6% in the last 2" in advice
        assert advice.settings == {"epochs": 40}
    (advice,) = advise(replace(CONFIG, epochs=5), history(falling[:5]), SPLIT.train)
    assert "in the last one" in advice


@pytest.mark.parametrize(
    "costs",
    [
        np.full(20, 1.0), np.zeros(20), np.geomspace(1, 2, 20), 1 + 0.5 ** np.arange(20),
        [*np.geomspace(2, 1, 18), 1.0, 0.9], np.geomspace(2, 1, 19), np.full(20, np.nan),
        -np.ones(20), 1 + 0.2 * (np.arange(20) % 2),
    ],
)  # fmt: skip
def test_other_costs_ask_for_nothing(costs):
    assert advise(CONFIG, history(costs), SPLIT.train) == ()


def test_a_short_run_is_meant_to_be_short():
    assert advise(replace(CONFIG, epochs=4), history(np.geomspace(2, 1, 4)), SPLIT.train) == ()


def test_features_ask_to_be_standardised_unless_they_are():
    split = Split.from_arrays(X * np.logspace(0, 4, 6), Y)
    (advice,) = advise(CONFIG, history([1.0] * 20), split.train)
    assert "feature 5" in advice
    assert "set standardize to True" in advice
    assert advice.settings == {"standardize": True}
    assert advise(replace(CONFIG, standardize=True), history([1.0] * 20), split.train) == ()


def entry(index, lr, accuracy, **settings):
    found = history([1 - accuracy] * 20, [accuracy] * 20)
    config = replace(CONFIG, lr=lr, **settings)
    return GridEntry(index, config, "finished", found, None, 20, accuracy)


def searched(*pairs, **settings):
    entries = tuple(entry(i, lr, score, **settings) for i, (lr, score) in enumerate(pairs))
    winner = max(entries, key=lambda one: one.score).index
    return GridResult(entries, winner, Rule(), 1.0)


def test_a_winner_at_the_edge_asks_for_a_longer_list():
    up = searched((0.1, 0.5), (0.3, 0.6), (0.9, 0.8))
    (advice,) = advise_on_search(up, SPLIT)
    assert "the largest lr of those tried, 0.9" in advice
    assert advice.settings == {"lr": (0.9, 2.7, 8.1)}
    (advice,) = advise_on_search(searched((0.1, 0.9), (0.3, 0.6), (0.9, 0.5)), SPLIT)
    assert "the smallest lr" in advice
    assert advice.settings == {"lr": (0.1, 0.033, 0.011)}


@pytest.mark.parametrize(
    "result",
    [
        searched((0.1, 0.5), (0.3, 0.8), (0.9, 0.5)),  # in the middle
        searched((0.1, 0.5), (0.3, 0.79), (0.9, 0.8)),  # by chance
        searched((0.1, 0.5), (0.3, 0.8)),  # of two values one is at an edge
    ],
)
def test_no_advice_without_an_edge(result):
    assert advise_on_search(result, SPLIT) == ()


def test_values_without_anything_beyond_them_are_no_edge():
    scores = (0.9, 0.6, 0.5)
    for name, values in {
        "l2": (0.0, 0.001, 0.01), "lr_decay": (1.0, 0.9, 0.8), "momentum": (0.0, 0.5, 0.9),
        "batch_size": (1, 8, 64), "seed": (0, 1, 2), "average_epochs": (1, 2, 4),
    }.items():  # fmt: skip
        entries = tuple(
            replace(entry(i, 0.1, score), config=replace(CONFIG, **{name: value}))
            for i, (value, score) in enumerate(zip(values, scores, strict=True))
        )
        assert advise_on_search(GridResult(entries, 0, Rule(), 1.0), SPLIT) == ()


def test_differences_within_noise_are_said():
    (advice,) = advise_on_search(searched((0.1, 0.50), (0.3, 0.51), (0.9, 0.505)), SPLIT)
    assert "all 3 entries lie within 1.00 points" in advice
    assert "200 validation rows, 3.53" in advice
    assert advice.settings == {}
    assert advise_on_search(searched((0.1, 0.5), (0.3, 0.5), (0.9, 0.5)), SPLIT) == ()


@pytest.mark.parametrize("name", ["cifar10-mini", "digits"])
def test_the_defaults_need_no_advice_on_usual_data(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastlin.train(load_split(name))


def test_python_is_warned_once_where_the_call_is():
    split = Split.from_arrays(X * np.logspace(0, 4, 6), Y)
    settings = {"standardize": False, "lr": 1e-9, "epochs": 2}
    with pytest.warns(AdviceWarning, match="set standardize to True") as caught:
        fastlin.train(split, **settings)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(AdviceWarning, match="set standardize to True") as caught:
        fastlin.grid_search(
            split.hold_out(0.2), {"lr": [1e-9, 1e-8]},
            base=TrainConfig(epochs=2, standardize=False),
        )  # fmt: skip
    assert [warning.filename for warning in caught] == [__file__]


def test_commands_add_the_option_and_the_summary_holds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("t.npz", X=X * np.logspace(0, 4, 6), y=Y)
    common = ("--data", "t.npz", "--epochs", "2", "--no-standardize", "--no-figures")
    for words, file in (
        (("train", "--lr", "1e-9", "--out", "run"), "run/summary.json"),
        (("grid", "--lr", "1e-9,1e-8", "--out", "grid"), "grid/summary.json"),
    ):
        found = CliRunner().invoke(main, [*words, *common])
        assert found.exit_code == 0, found.output
        notes = [line for line in found.stderr.splitlines() if "set standardize" in line]
        assert len(notes) == 1
        assert notes[0].startswith("Note: features differ much in scale")
        assert notes[0].endswith("set standardize to True (--standardize)")
        (advice,) = read_json(tmp_path / file)["advice"]
        assert advice in notes[0]
