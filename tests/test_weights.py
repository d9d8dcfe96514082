"""Weights of rows and of classes."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import call, same_run, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

import fastlin
from fastlin import functional, reference
from fastlin.class_weights import read_class_weights
from fastlin.commands import main
from fastlin.config import TrainConfig
from fastlin.data.dataset import Dataset, Split
from fastlin.errors import DataWarning, InputError
from fastlin.functional import use_threads
from fastlin.losses import Hinge, Loss
from fastlin.training.evaluation import evaluate, gradient
from fastlin.training.grid import GridTrainer
from fastlin.training.trainer import Trainer
from fastlin.training.weighting import row_weights

F32, F64 = np.float32, np.float64


def of_mean_one(weights):
    return weights / weights.mean()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40).filter(any), st.booleans())
def test_a_row_of_weight_two_counts_as_if_it_were_there_twice(random_problem, counts, is_hinge):
    X, y, W, b = random_problem(len(counts), 17, 5)
    loss = Hinge() if is_hinge else Loss.SOFTMAX
    weighted = functional.loss_and_gradient(X, y, W, b, loss=loss, l2=0.1, weights=counts)
    rows = np.repeat(np.arange(len(counts)), counts)
    repeated = functional.loss_and_gradient(X[rows], y[rows], W, b, loss=loss, l2=0.1)
    for ours, theirs in zip(weighted, repeated, strict=True):
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)
    evaluation = functional.evaluate(X, y, W, b, loss=loss, l2=0.1, weights=counts)
    alone = functional.evaluate(X, y, W, b, loss=loss, l2=0.1)
    assert evaluation.cost == pytest.approx(repeated[0], rel=1e-12)
    assert evaluation.accuracy == alone.accuracy
    assert_array_equal(evaluation.losses, alone.losses)


@pytest.mark.parametrize(("dtype", "momentum"), [(F32, 0.5), (F64, 0.0)])
def test_weighted_epochs_equal_their_twin_for_any_number_of_threads(
    random_problem, dtype, momentum
):
    X, y, W, b = random_problem(803, 64, 10, dtype, dtype)
    weights = np.random.default_rng(2).exponential(size=803)
    weights[7] = 0
    order = np.random.default_rng(3).permutation(803)
    arguments = {"lr": 0.1, "batch_size": 400, "l2": 0.01, "loss": Loss.SOFTMAX}
    results = []
    for threads in (1, 2):
        W_own, b_own = W.copy(), b.copy()
        velocity = (np.zeros_like(W), np.zeros_like(b)) if momentum else None
        with use_threads(threads):
            loss = functional.sgd_epoch(
                X, y, order, W_own, b_own, momentum=momentum, velocity=velocity, weights=weights,
                **arguments,
            )  # fmt: skip
        results.append((loss, W_own, b_own))
    for one, two in zip(*results, strict=True):
        assert_array_equal(one, two)
    twin = reference.momentum_epoch if momentum else reference.sgd_epoch
    own = {"momentum": momentum, "velocity": (np.zeros((10, 64)), np.zeros(10))} if momentum else {}
    W64, b64 = W.astype(F64), b.astype(F64)
    expected = twin(
        X.astype(F64), y, order, W64, b64, **arguments, **own, weights=of_mean_one(weights)
    )
    tolerance = 1e-5 if dtype == F32 else 1e-12
    assert results[0][0] == pytest.approx(expected, rel=tolerance)
    assert_allclose(results[0][1], W64, atol=tolerance)
    assert_allclose(results[0][2], b64, atol=tolerance)


def test_equal_weights_change_no_bit_and_only_ratios_count(random_problem):
    X, y, W, b = random_problem(101, 33, 5, F32, F32)

    def trained(weights):
        own = W.copy(), b.copy()
        found = functional.loss_and_gradient(X, y, *own, weights=weights)
        mean = functional.sgd_epoch(
            X, y, np.arange(101), *own, lr=0.1, batch_size=8, weights=weights
        )
        return [mean, *found, *own]

    weights = np.random.default_rng(0).random(101)
    for one, other in ((None, np.full(101, 3)), (weights, weights * 2.0**900)):
        for ours, theirs in zip(trained(one), trained(other), strict=True):
            assert_array_equal(ours, theirs)


def split_of(n=160, K=5, d=19, weights=None):
    rng = np.random.default_rng(0)
    y = np.minimum(rng.geometric(0.5, n) - 1, K - 1)
    X = (rng.normal(size=(n, d)) + np.sin(y[:, None] * np.arange(d))).astype(F32)
    names = [f"class {k}" for k in range(K)]
    return Split.from_arrays(
        X, y, X_val=X[:50], y_val=y[:50], class_names=names, weights=weights
    )  # fmt: skip


@pytest.mark.parametrize("class_weight", [None, "balanced", {"class 1": 3, "class 2": 0}])
@pytest.mark.parametrize("has_weights", [False, True])
def test_runs_and_grids_are_those_of_weighted_rows(class_weight, has_weights):
    weights = np.random.default_rng(4).random(160) if has_weights else None
    split = split_of(weights=weights)
    configs = [
        TrainConfig(
            epochs=2,
            lr=lr,
            l2=0.01,
            standardize=False,
            batch_size=16,
            class_weight=class_weight,
            init="xavier",
        )
        for lr in (0.1, 0.02, 0.05)
    ]
    grid = GridTrainer(split, configs, eval_train_every=2)
    for _ in range(2):
        records = grid.run_epoch(range(3))
    expected = row_weights(split.train, configs[0])
    if class_weight is None:
        if not has_weights:
            assert expected is None
            return
        assert_allclose(expected, of_mean_one(weights))
    else:
        theirs = compute_sample_weight(
            class_weight if class_weight == "balanced" else {0: 1, 1: 3, 2: 0, 3: 1}, split.train.y
        )
        assert_allclose(expected, of_mean_one(theirs * (1 if weights is None else weights)))
    single = Trainer(split, configs[1], threads=1)
    single.run_epoch()
    single.run_epoch()
    model = single.result().model
    assert model.W.tobytes() == grid.model(1).W.tobytes()
    for part, cost in ((split.train, records[1].train_cost), (split.val, records[1].val_cost)):
        found = evaluate(model, part, configs[1])
        assert found.cost == cost
        losses, predictions = reference.evaluate(
            part.X, part.y, model.W.astype(F64), model.b.astype(F64), Loss.SOFTMAX
        )
        mean = np.average(losses, weights=row_weights(part, configs[1]))
        assert cost == pytest.approx(mean + reference.penalty(model.W, configs[1].l2), rel=1e-5)
        assert found.accuracy == (predictions == part.y).mean()


def test_balanced_classes_have_the_optimum_of_scikit_learn():
    split = split_of()
    data, l2 = split.train, 0.01
    weights = compute_sample_weight("balanced", data.y)
    solver = LogisticRegression(
        C=1 / (2 * l2 * weights.sum()), class_weight="balanced", tol=1e-10, max_iter=10_000
    ).fit(data.X.astype(F64), data.y)
    model = fastlin.LinearModel(solver.coef_, solver.intercept_, data.class_names)
    config = TrainConfig(l2=l2, class_weight="balanced", dtype="float64")
    at_optimum = gradient(model, data, config)
    elsewhere = gradient(model, data, TrainConfig(l2=l2, dtype="float64"))
    assert np.abs(at_optimum).max() < 1e-6
    assert np.abs(elsewhere).max() > 1e-3


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.ones(3), r"weights has shape \(3,\); with 160 rows it must be \(160,\)"),
        (np.zeros(160), "all weights are 0"),
        (np.r_[np.ones(159), -1], "the weight of row 159 is -1.0"),
        (np.r_[np.nan, np.ones(159)], "the weight of row 0 is nan"),
        (np.full(160, "a"), "weights must be real numbers"),
    ],
)
def test_weights_that_are_none_are_refused(weights, said):
    with pytest.raises(InputError, match=said):
        split_of(weights=weights)
    split = split_of()
    with pytest.raises(InputError, match=said):
        Dataset(split.train.X, split.train.y, split.train.class_names, weights=weights)


def test_a_weight_that_would_become_0_is_refused():
    X, y = np.ones((4, 2)), [0, 1, 0, 1]
    split = Split.from_arrays(X, y, weights=[1e308, 1, 1e308, 0])
    with pytest.raises(InputError, match=r"the weight of row 1 is 1\.0, so small beside"):
        row_weights(split.train, TrainConfig())
    with pytest.raises(InputError, match=r"the weight of row 1 is 1\.0, so small beside"):
        row_weights(split.train, TrainConfig(class_weight="balanced"))
    split = Split.from_arrays(X, y)
    with pytest.raises(InputError, match="the weight of class 1 is 1e-308, so small beside"):
        row_weights(split.train, TrainConfig(class_weight={"0": 1e308, "1": 1e-308}))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("equal", "must be balanced, or weights by the name"),
        ({}, "must be balanced, or weights by the name"),
        (3, "must be balanced, or weights by the name"),
        ({"a": -1}, "of the class 'a' is -1"),
        ({"a": float("nan")}, "must be a finite number"),
        ({"a": "2"}, "must be a finite number"),
        ({"a": 0, "b": 0}, "is 0 for all classes"),
        ({None: 2}, "classes are called by their names"),
    ],
)
def test_class_weights_that_are_none_are_refused(value, said):
    with pytest.raises(InputError, match=said):
        TrainConfig(class_weight=value)


def test_class_weights_of_classes_that_there_are_not_are_refused():
    with pytest.raises(InputError, match="class_weight has the class 'class 9'"):
        Trainer(split_of(), TrainConfig(class_weight={"class 9": 2}))
    only_one = {f"class {k}": float(k == 3) for k in range(5)}
    split = split_of()
    rows = split.val.y != 3
    val = Dataset(split.val.X[rows], split.val.y[rows], split.val.class_names)
    with pytest.raises(InputError, match="all weights are 0"):
        Trainer(Split("s", split.train, val), TrainConfig(class_weight=only_one))


def test_a_configuration_keeps_class_weights():
    config = TrainConfig(class_weight={"b": np.float32(2), 3: 1})
    assert config == TrainConfig(class_weight={"3": 1.0, "b": 2.0})
    assert hash(config) == hash(TrainConfig(class_weight={"3": 1.0, "b": 2.0}))
    content = json.loads(json.dumps(config.to_dict()))
    assert content["class_weight"] == {"3": 1.0, "b": 2.0}
    assert TrainConfig.from_dict(content) == config
    assert TrainConfig().to_dict()["class_weight"] is None


def test_class_weights_are_read_from_files(tmp_path):
    expected = {"a": 2.0, "b, c": 0.5}
    for name, text in (
        ("w.csv", 'class,weight\na,2\n"b, c",0.5\n'),
        ("x.csv", 'a,2\n"b, c",0.5\n'),
        ("w.json", '{"a": 2, "b, c": 0.5}'),
    ):
        (tmp_path / name).write_text(text)
        assert read_class_weights(tmp_path / name) == expected
    for name, text, said in (
        ("a.csv", "a,2\nb,much\n", "line 2: 'much' is not a finite number"),
        ("b.csv", "a,2\na,3\n", "line 2: the class 'a' is there twice"),
        ("c.csv", "a\nb\n", "line 1 has 1 cells"),
        ("d.json", "[1]", "must hold an object"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=said):
            read_class_weights(tmp_path / name)


def test_the_command_takes_them_and_the_run_keeps_them(tmp_path):
    split = split_of()
    np.savez(
        tmp_path / "d.npz", X_train=split.train.X, y_train=split.train.y, X_val=split.val.X,
        y_val=split.val.y, class_names=np.array(split.train.class_names),
    )  # fmt: skip
    (tmp_path / "w.json").write_text('{"class 3": 5}')
    common = ["train", "--data", str(tmp_path / "d.npz"), "--epochs", "1", "--no-figures"]
    for name, value, kept in (
        ("a", "balanced", "balanced"),
        ("b", str(tmp_path / "w.json"), {"class 3": 5.0}),
        ("c", '{"class 3": 5}', {"class 3": 5.0}),
    ):
        out = tmp_path / name
        found = CliRunner().invoke(main, [*common, "--class-weight", value, "--out", str(out)])
        assert found.exit_code == 0, found.output
        assert json.loads((out / "config.json").read_text())["train"]["class_weight"] == kept
    assert (tmp_path / "b" / "model.npz").read_bytes() == (
        tmp_path / "c" / "model.npz"
    ).read_bytes()
    run = fastlin.load_run(tmp_path / "a")
    record = run.history.records()[-1]
    assert evaluate(run.model, split.val, run.config).cost == record.val_cost
    found = CliRunner().invoke(main, [*common, "--class-weight", str(tmp_path / "none.csv")])
    assert found.exit_code == 2
    assert "none.csv" in found.output


@pytest.fixture
def weighted(tmp_path, monkeypatch):
    """Rows and weights in every place where they may be; returns the split of arrays."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(80, 4)), rng.integers(0, 3, 80)
    weights = rng.integers(0, 4, 80) / 2
    for name, rows in (("t.csv", slice(60)), ("val.csv", slice(60, None))):
        table = np.column_stack([X[rows], weights[rows], y[rows]])
        np.savetxt(name, table, "%.17g", ",", header="a,b,c,d,w,label", comments="")
    np.savetxt("bare.csv", np.column_stack([X[60:], y[60:]]), "%.17g", ",", header="a,b,c,d,label",
               comments="")  # fmt: skip
    np.savetxt("w.csv", np.column_stack([np.arange(60), weights[:60]]), "%.17g", ",", header="k,w",
               comments="")  # fmt: skip
    np.save("w.npy", weights[:60])
    np.savez("t.npz", X=X[:60], y=y[:60], X_val=X[60:], y_val=y[60:], w=weights[:60])
    return X, y, weights


def test_weights_of_rows_come_from_a_column_or_an_array(weighted):
    X, _, weights = weighted
    np.savez("plain.npz", X=X[:60], y=np.arange(60) % 3)
    for data, place in (
        ("t.csv", ":w"), ("t.csv", "t.csv:w"), ("t.npz", ":w"), ("plain.npz", "w.npy"),
        ("plain.npz", "w.csv:w"), ("bare.csv", None),
    ):  # fmt: skip
        split = fastlin.load_split(data, sample_weight=place)
        rows = slice(60) if place else slice(60, None)
        assert_array_equal(split.train.X, X[rows])
        if place is None:
            assert split.train.weights is None
            continue
        assert_array_equal(split.train.weights, weights[:60])
        assert split.val is None or split.val.weights is None
        assert fastlin.load_split(**split.source.arguments()).fingerprint() == split.fingerprint()
        assert split.source.sample_weight.startswith(":") == (place == ":w")
    both = fastlin.load_split("t.csv", val_data="val.csv", sample_weight=":w")
    assert_array_equal(both.val.weights, weights[60:])
    assert both.val.feature_names == ("a", "b", "c", "d")
    with pytest.warns(DataWarning, match="bare.csv has no 'w': its rows all count the same"):
        one = fastlin.load_split("t.csv", val_data="bare.csv", sample_weight=":w")
    assert one.val.weights is None
    held = fastlin.load_split("t.csv", sample_weight=":w", val_fraction=0.2)
    assert sorted([*held.train.weights, *held.val.weights]) == sorted(weights[:60])


@pytest.mark.parametrize(
    ("data", "place", "said"),
    [
        ("t.csv", ":v", "t.csv has no 'v', as sample_weight says"),
        ("t.npz", ":v", "t.npz has no 'v', as sample_weight says"),
        ("t.csv", "none.npy", "there is no file none.npy of weights"),
        ("t.npz", "w.csv", "w.csv has 'k', 'w'; name the weights as PATH:NAME"),
        ("t.npz", "w.csv:v", "w.csv has no 'v'"),
        (
            "t.csv",
            "val.csv:w",
            r"train: weights has shape \(20,\); with 60 rows it must",
        ),
        ("t.npz", "gap.csv", "train: the weight of row 1 is nan"),
        ("t.npz", "text.csv", "train: weights has dtype"),
        ("cifar10-mini", "w.npy", "leave out sample_weight"),
    ],
)
@pytest.mark.filterwarnings("ignore:t.npz. left out 'w'")
def test_places_without_weights_are_refused_in_one_line(weighted, tmp_path, data, place, said):
    (tmp_path / "gap.csv").write_text("w\n1\nNA\n" + "2\n" * 58)
    (tmp_path / "text.csv").write_text("w\n" + "a\n" * 59 + "1\n")
    with pytest.raises(InputError, match=said) as caught:
        fastlin.load_split(data, sample_weight=place)
    assert str(caught.value).isprintable()


def test_commands_take_weights_of_rows_and_their_runs_find_them(weighted, tmp_path):
    X, y, weights = weighted
    common = ["--data", "t.csv", "--val-data", "val.csv", "--sample-weight", ":w", "--epochs", "2",
              "--no-figures"]  # fmt: skip
    right = Split.from_arrays(
        X[:60], y[:60], X_val=X[60:], y_val=y[60:], weights=weights[:60]
    )  # fmt: skip
    right = Split("t", right.train, right.val.changed(weights=weights[60:]))
    trainer = Trainer(right, TrainConfig(epochs=2, lr=0.02, l2=0.01, standardize=False))
    for _ in range(2):
        record = trainer.run_epoch()
    call("train", *common, "--lr", "0.02", "--l2", "0.01", "--out", "run")
    run = fastlin.load_run("run")
    assert run.data.sample_weight == ":w"
    call("evaluate", "run")
    found = evaluate(run.model, fastlin.load_split(**run.data.arguments()).val, run.config)
    assert found.cost == run.history.records()[-1].val_cost
    call("train", *common, "--lr", "0.02", "--l2", "0.01", "--no-standardize", "--out", "plain")
    assert fastlin.load_run("plain").history.records()[-1] == record
    assert_array_equal(fastlin.load_run("plain").model.W, trainer.result().model.W)
    again = call("train", "--config", "plain/config.json", "--no-figures", "--out", "again")
    assert "changed" not in again.stderr
    same_run("plain", "again")
    grid = ["grid", *common, "--lr", "0.02,0.01", "--l2", "0.01", "--out", "grid"]
    call(*grid)
    assert fastlin.load_run("grid/winner").data.sample_weight == ":w"
    call("evaluate", "grid/winner")
    assert "--sample-weight :w" in summary("grid")["winner"]["command"]
