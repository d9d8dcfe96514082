import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

import fastlin
from fastlin import Split, TrainConfig, load_split
from fastlin.commands import main
from fastlin.errors import AdviceWarning
from fastlin.files import read_json
from fastlin.history import EpochRecord, History
from fastlin.search.advice import advise_on_search
from fastlin.search.ranking import GridEntry, GridResult, Rule
from fastlin.training.advice import advise, advise_on

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((400, 6)).astype(np.float32), np.arange(400) % 5
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


def mixed_rows(noise=0.0, rows=6000):
    """Return rows Z diag(s) Q, of which few directions vary much, with linear classes."""
    rng = np.random.default_rng(0)
    d, K = 64, 5
    spreads, Z = np.geomspace(100, 0.01, d), rng.standard_normal((rows, d))
    Q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    scores = Z * np.sqrt(spreads) @ rng.standard_normal((d, K))
    scores = scores / scores.std() + noise * rng.gumbel(size=scores.shape)
    X, y, count = ((Z * spreads) @ Q).astype(np.float32), scores.argmax(axis=1), rows * 9 // 10
    return Split.from_arrays(X[:count], y[:count], X_val=X[count:], y_val=y[count:])


def test_weights_that_stay_too_small_ask_for_larger_steps_which_help(tmp_path):
    split = mixed_rows()
    with pytest.warns(AdviceWarning, match="the weights are too small") as said:
        result = fastlin.train(split)
    (advice,) = advise_on(result, split)
    assert [str(one.message) for one in said] == [advice]
    better = fastlin.train(split, **advice.settings)
    assert better.history.val_accuracy[-1] > result.history.val_accuracy[-1] + 0.02
    exact = fastlin.solve(split).model
    assert exact.score(split.val.X, split.val.y) > better.history.val_accuracy[-1]
    factor = float(re.search(r"scores (\S+) times", advice)[1])
    share = float(re.search(r"by (\S+)%", advice)[1]) / 100
    before, after = (
        sklearn_metrics.log_loss(
            split.val.y, softmax(f * result.model.scores(split.val.X).astype(float), axis=1)
        )
        for f in (1, factor)
    )
    assert 1 - after / before == pytest.approx(share, abs=6e-4)  # of all rows, as they are few
    fastlin.save_run(tmp_path / "run", result, split)
    assert read_json(tmp_path / "run/summary.json")["advice"] == [advice]
    again = fastlin.train(split, refit=True)  # whose classifier has seen the validation rows
    assert advise_on(again, split) == (advice,)


@pytest.mark.parametrize(
    ("split", "settings"),
    [
        (mixed_rows(noise=1.0), {}),
        (mixed_rows(rows=4000), {}),  # 400 validation rows are too few
        (mixed_rows(), {"epochs": 4}),
        (mixed_rows(), {"loss": "hinge"}),
        (replace(mixed_rows(), val=None), {}),
    ],
)
def test_weights_of_other_runs_are_let_alone(split, settings):
    assert advise_on(fastlin.train(split, **settings), split) == ()


def test_without_a_penalty_only_larger_steps_are_advised():
    split = mixed_rows()
    result = fastlin.train(split, l2=0.0, lr=1e-5)
    (advice,) = advise_on(result, split)
    assert advice.settings == {"lr": 1e-4}
