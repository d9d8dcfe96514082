"""The losses from record to kernel: every one is complete, and right by other people's code."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from messages import value_or_message
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss
from sklearn.preprocessing import label_binarize

import fastlin
from fastlin import functional, reference
from fastlin.config import SETTINGS, TrainConfig
from fastlin.errors import InputError
from fastlin.kernels import losses as kernels
from fastlin.losses import (
    LOSSES,
    PARAMETERS,
    Hinge,
    Loss,
    Softmax,
    SquaredHinge,
    losses_to_check,
    with_parameters,
)
from fastlin.search.configs import grid_configs

ALL = pytest.mark.parametrize("loss", losses_to_check(), ids=str)

losses = st.one_of(
    st.builds(Softmax, st.floats(0, 1, exclude_max=True)),
    st.builds(Hinge, st.floats(0, 1e30)),
    st.builds(SquaredHinge, st.floats(0, 1e30)),
)


def problem(n=40, K=5):
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, (n, K)), rng.integers(0, K, n)


def test_every_record_has_a_kernel_and_a_twin():
    assert LOSSES.keys() == kernels.BY_NAME.keys() == reference.LOSSES.keys()
    assert {type(loss) for loss in LOSSES.values()} == set(Loss.__subclasses__())
    for name, loss in LOSSES.items():
        assert loss.name == name == str(loss)
        assert loss.title
        assert loss.example.keys() == loss.parameters().keys()
        assert (replace(loss, **loss.example) != loss) == bool(loss.parameters())


@ALL
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_equals_its_twin_and_the_twin_its_differences(loss, dtype):
    scores, y = problem()
    comp = functional._row_losses(loss, scores.astype(dtype), y)
    ref = reference.row_losses(scores.astype(dtype).astype(np.float64), y, loss)
    for found, expected in zip(comp, ref, strict=True):
        assert found.dtype == dtype
        assert_allclose(found, expected, atol=1000 * np.finfo(dtype).eps)
    step = 1e-6
    for k in range(scores.shape[1]):
        moved = [scores + sign * step * np.eye(scores.shape[1])[k] for sign in (1, -1)]
        above, below = (reference.row_losses(s, y, loss)[0] for s in moved)
        dscores = reference.row_losses(scores, y, loss)[1][:, k]
        assert_allclose((above - below) / (2 * step), dscores, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothing_is_the_mean_of_cross_entropies_under_the_target(smoothing):
    scores, y = problem()
    K = scores.shape[1]
    target = (1 - smoothing) * np.eye(K)[y] + smoothing / K
    probabilities = functional.softmax(scores)
    found, dscores = functional.cross_entropy(scores, y, smoothing)
    assert_allclose(found, -(target * np.log(probabilities)).sum(axis=1), rtol=1e-12)
    assert_allclose(dscores, probabilities - target, atol=1e-14)
    by_class = [log_loss(np.full(len(y), k), probabilities, labels=range(K)) for k in range(K)]
    expected = (1 - smoothing) * log_loss(y, probabilities, labels=range(K))
    assert_allclose(found.mean(), expected + smoothing * np.mean(by_class), rtol=1e-12)


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
def test_hinges_are_sums_of_terms_and_of_their_squares(margin):
    scores, y = problem()
    wrong = 1 - label_binarize(y, classes=range(scores.shape[1]))
    terms = wrong * np.maximum(0, scores - scores[np.arange(len(y)), y][:, None] + margin)
    assert_allclose(functional.multiclass_hinge(scores, y, margin)[0], terms.sum(axis=1))
    assert_allclose(functional.squared_hinge(scores, y, margin)[0], (terms**2).sum(axis=1))


def test_plain_softmax_has_its_own_kernel_type():
    assert kernels.BY_NAME["softmax"](smoothing=0.0) == kernels.Softmax()
    assert type(kernels.BY_NAME["softmax"](smoothing=0.0)) is kernels.Softmax
    assert type(kernels.BY_NAME["softmax"](smoothing=1e-3)) is kernels.SmoothedSoftmax


@given(losses)
@example(Hinge(-0.0))
@example(SquaredHinge(1e-5))
def test_a_loss_is_its_text(loss):
    assert Loss.of(str(loss)) == loss == str(loss)
    assert hash(Loss.of(str(loss))) == hash(loss)
    assert Loss.of(str(loss)).parameters() == loss.parameters()
    config = TrainConfig(loss=loss)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_defaults_are_written_as_they_always_were():
    for name in ("softmax", "hinge"):
        assert TrainConfig(loss=name).to_dict()["loss"] == name
    assert TrainConfig(loss="hinge").loss is Loss.HINGE is LOSSES["hinge"]
    assert TrainConfig(loss=Loss.HINGE) == TrainConfig(loss=Hinge()) == TrainConfig(loss="hinge")
    assert TrainConfig(loss="hinge").loss == "hinge" != TrainConfig(loss=Hinge(2)).loss
    assert TrainConfig(loss=Hinge(2)).to_dict()["loss"] == "hinge(margin=2.0)"
    assert fastlin.Hinge is Hinge
    assert fastlin.Loss is Loss


@given(st.text(max_size=40) | st.from_regex(r"(hinge|softmax)\([a-z]{0,9}=?[-0-9.e]{0,9}\)"))
@example("hinge(margin=nan)")
@example("hinge(margin=1 margin=1)")
@example("softmax(smoothing=1)")
@example("softmax(margin=1)")
@example("hinge()")
@example("hinge(margin=1)\n")
def test_any_text_is_a_loss_or_one_line(text):
    loss, said = value_or_message(Loss.of, text)
    assert "\n" not in said
    assert said.startswith("loss is ") or loss is not None


@pytest.mark.parametrize("value", [-1, np.nan, np.inf, "1", None, True, 10**400])
def test_bad_parameters_are_refused_by_name(value):
    for kind, name in ((Hinge, "margin"), (SquaredHinge, "margin"), (Softmax, "smoothing")):
        with pytest.raises(InputError, match=f"^{name} is .*; it must be a"):
            kind(value)
    with pytest.raises(InputError, match="smoothing is 1"):
        Softmax(1)


def test_what_float32_cannot_hold_is_refused():
    with pytest.raises(InputError, match=r"margin is .*float32 cannot hold it; dtype float64"):
        TrainConfig(loss=Hinge(1e39))
    assert TrainConfig(loss=Hinge(1e39), dtype="float64").loss.parameters() == {"margin": 1e39}
    scores = np.zeros((2, 3), np.float32)
    with pytest.raises(InputError, match="margin"):
        functional.multiclass_hinge(scores, [0, 1], 1e39)


def test_parameters_go_to_the_losses_that_have_them():
    given_losses = [Softmax(), Hinge(), SquaredHinge(3)]
    found = with_parameters(given_losses, {"margin": [0.5, 2]})
    expected = [Softmax(), Hinge(0.5), Hinge(2), SquaredHinge(0.5), SquaredHinge(2)]
    assert found == tuple(expected)
    with pytest.raises(InputError, match="margin has no effect with loss softmax"):
        with_parameters([Softmax()], {"margin": [1]})


def test_grids_sweep_losses_with_parameters():
    swept = {"loss": ["softmax", Hinge(0.5), "squared-hinge(margin=2)"], "lr": [0.1, 0.2]}
    configs = grid_configs(swept)
    assert [config.loss for config in configs[::2]] == [Softmax(), Hinge(0.5), SquaredHinge(2)]
    with pytest.raises(InputError, match="loss lists hinge twice"):
        grid_configs({"loss": ["hinge", Hinge()]})


def test_entries_of_a_grid_with_different_parameters_equal_single_runs():
    split = fastlin.load_split()
    base = TrainConfig(epochs=2, lr=0.001)
    swept = [Softmax(), Softmax(0.2), Hinge(0.5), Hinge(2), SquaredHinge()]
    result = fastlin.grid_search(split, {"loss": swept}, base=base)
    for entry, loss in zip(result.entries, swept, strict=True):
        assert entry.config.loss == loss
        alone = fastlin.train(split, replace(base, loss=loss)).history
        assert list(entry.history.train_cost) == list(alone.train_cost)


def test_every_setting_is_declared_with_help():
    assert set(SETTINGS) == set(TrainConfig().to_dict())
    for declared in (*SETTINGS.values(), *PARAMETERS.values()):
        assert declared.help.endswith(".")
