import json
import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from messages import value_or_message

from fastlin.config import Init, Precision, Schedule, TrainConfig
from fastlin.errors import InputError
from fastlin.losses import losses_to_check

NAMES = [field.name for field in fields(TrainConfig)]


def nested(depth):
    """Return lists in lists, deeper than Python shows them."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


configs = st.builds(
    TrainConfig,
    loss=st.sampled_from(losses_to_check()),
    lr=st.floats(1e-12, 1e6),
    lr_decay=st.floats(1e-6, 1.0),
    l2=st.floats(0, 1e3),
    batch_size=st.integers(1, 10**6),
    epochs=st.integers(1, 10**4),
    init=st.sampled_from(Init),
    sigma=st.floats(0, 10),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    dtype=st.sampled_from(Precision),
)


@given(configs)
def test_survives_json_exactly(config):
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("loss", "perceptron"),
        ("init", ""),
        ("dtype", "float16"),
        ("dtype", 32),
        ("lr", 0),
        ("lr", -1),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr", "fast"),
        ("lr", True),
        ("lr", 10**400),
        ("lr", [0.1]),
        ("lr", {}),
        ("lr", None),
        ("lr", b"0.1"),
        ("lr", 1j),
        ("lr", nested(3000)),
        ("lr", "0.1\n"),
        ("lr", np.float64("nan")),
        ("lr", np.longdouble("inf")),
        ("lr", np.array([0.1, 0.2])),
        ("lr", np.complex64(1)),
        ("lr", np.timedelta64(1, "s")),
        ("momentum", -(10**400)),
        ("l2", 10**400),
        ("sigma", 10**400),
        ("lr_decay", 10**400),
        ("loss", nested(3000)),
        ("loss", b"hinge"),
        ("loss", np.array(["hinge", "softmax"])),
        ("schedule", None),
        ("init", ["xavier"]),
        ("lr_decay", 0),
        ("lr_decay", 1.01),
        ("l2", -1e-9),
        ("l2", math.inf),
        ("sigma", -1),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("epochs", 0),
        ("epochs", 2**63),
        ("epochs", 10**400),
        ("epochs", 3.0),
        ("epochs", np.float64(3)),
        ("epochs", np.bool_(True)),
        ("epochs", np.timedelta64(3, "ns")),
        ("epochs", np.datetime64(3, "ns")),
        ("epochs", "3"),
        ("seed", np.int64(-1)),
        ("seed", np.uint64(2**63)),
        ("shuffle", np.int8(1)),
        ("shuffle", None),
        ("seed", -1),
        ("seed", 2**63),
        ("shuffle", "no"),
        ("shuffle", 1),
    ],
)
def test_refuses_an_impossible_value_and_names_the_setting(setting, value):
    with pytest.raises(InputError, match=rf"^{setting} is [^\n]*; it must be [^\n]+$") as caught:
        TrainConfig(**{setting: value})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("setting", NAMES)
def test_a_number_that_python_does_not_print_is_refused(setting):
    with pytest.raises(InputError, match=f"^{setting} is a value of type int; it must be"):
        TrainConfig(**{setting: 10**5000})


def test_refuses_an_unknown_setting():
    with pytest.raises(InputError, match="unknown setting 'momentun'"):
        TrainConfig.from_dict({"momentun": 0.9})


def test_whole_numbers_are_accepted_as_numbers():
    assert TrainConfig(lr=1, l2=0) == TrainConfig(lr=1.0, l2=0.0)


def test_scalars_of_numpy_are_the_python_values_they_equal():
    of_numpy = TrainConfig(
        loss=np.str_("hinge"), lr=np.float32(0.1), lr_decay=np.float16(0.5), l2=np.longdouble(0.25),
        momentum=np.int8(0), batch_size=np.int64(32), epochs=np.uint8(3), seed=np.uint64(2**63 - 1),
        standardize=np.bool_(True), sigma=np.float64(0.3),
    )  # fmt: skip
    plain = TrainConfig(
        loss="hinge", lr=float(np.float32(0.1)), lr_decay=0.5, l2=0.25, momentum=0.0, batch_size=32,
        epochs=3, seed=2**63 - 1, standardize=True, sigma=0.3,
    )  # fmt: skip
    assert of_numpy == plain
    assert hash(of_numpy) == hash(plain)
    for name, value in of_numpy.to_dict().items():
        assert type(value) is type(plain.to_dict()[name])
    assert json.dumps(of_numpy.to_dict()) == json.dumps(plain.to_dict())


def scalars_of_numpy():
    kinds = [np.float16, np.float32, np.float64, np.longdouble, np.complex64]
    whole = [np.int8, np.uint8, np.int64, np.bool_]
    return st.one_of(
        st.builds(lambda kind, x: kind(x), st.sampled_from(kinds), st.floats(width=16)),
        st.builds(lambda kind, x: kind(x), st.sampled_from(whole), st.integers(0, 127)),
        st.builds(np.timedelta64, st.integers(0, 99), st.sampled_from(["s", "ns"])),
        st.builds(np.str_, st.text(max_size=9)),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.integers(300, 5000).map(lambda digits: 10**digits) | scalars_of_numpy(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), json_values, max_size=4) | json_values)
@example({1: 2, "a": 3})
@example({None: 2, "lr": 3})
@example({"a\nb": 1})
@example({"x" * 10_000: 1})
def test_any_content_is_a_configuration_or_one_line(content):
    config, said = value_or_message(TrainConfig.from_dict, content)
    assert "\n" not in said
    assert len(said) < 400
    assert said or TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(
    st.builds(
        TrainConfig,
        lr=st.floats(1e-300, 1.7e308),
        schedule=st.sampled_from(Schedule),
        lr_decay=st.floats(1e-300, 1.0),
        step_epochs=st.integers(1, 50),
        warmup_epochs=st.integers(0, 150) | st.just(2**63 - 1),
        epochs=st.integers(1, 100),
        dtype=st.just("float64"),
    )
)
@example(TrainConfig(lr=0.02, schedule="cosine", epochs=10))
@example(TrainConfig(lr=1.7e308, schedule="cosine", dtype="float64"))
@example(TrainConfig(lr=1.7e308, warmup_epochs=50, epochs=40, dtype="float64"))
def test_the_learning_rate_never_rises_after_the_warm_up(config):
    rates = [config.lr_at(epoch) for epoch in range(1, 10 * config.epochs + 2)]
    assert all(0 <= rate <= config.lr for rate in rates)
    warm = min(config.warmup_epochs, len(rates))
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
    if warm < len(rates):
        assert rates[warm] == config.lr


def test_the_cosine_schedule_is_the_published_formula_up_to_the_last_epoch():
    config = TrainConfig(schedule="cosine", lr=0.3, epochs=12, warmup_epochs=2)
    rates = [config.lr_at(epoch) for epoch in range(3, 13)]
    assert rates == pytest.approx(0.15 * (1 + np.cos(np.pi * np.arange(10) / 10)))
    assert {config.lr_at(epoch) for epoch in (13, 14, 23, 10**15)} == {0.0}


@pytest.mark.parametrize("epoch", [0, -1, 1.5, True, None, 10**400])
def test_there_is_no_learning_rate_of_an_impossible_epoch(epoch):
    with pytest.raises(InputError, match=r"^epoch is .*; it must be a whole number, 1 or above"):
        TrainConfig().lr_at(epoch)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("lr", 1e39, "cannot hold it"),
        ("lr", 1e-80, "nothing would be trained"),
        ("lr", 2.0**-150, "nothing would be trained"),
        ("l2", 1e39, "cannot hold it"),
        ("sigma", 1e39, "cannot hold weights of that size"),
        ("sigma", 3e37, "cannot hold weights of that size"),
    ],
)
def test_what_float32_cannot_hold_is_refused_with_the_way_out(setting, value, said):
    with pytest.raises(InputError, match=f"^{setting} is .*float32.*{said}; dtype float64"):
        TrainConfig(**{setting: value})
    assert getattr(TrainConfig(**{setting: value}, dtype="float64"), setting) == value


def test_dtypes_hold_their_extreme_numbers():
    largest, smallest = (
        float(np.finfo(np.float32).max),
        float(np.finfo(np.float32).smallest_subnormal),
    )
    for number in (largest, smallest):
        assert TrainConfig(lr=number).lr == number
    assert TrainConfig(l2=1e-300, sigma=0).l2 == 1e-300
    with pytest.raises(
        InputError, match=r"sigma is 1e\+308, .*float64 cannot hold weights"
    ) as caught:
        TrainConfig(sigma=1e308, dtype="float64")
    assert "dtype float64" not in str(caught.value)


def test_settings_without_effect_are_named_with_the_setting_that_makes_them_so():
    assert TrainConfig(init="xavier", schedule="cosine").without_effect() == {
        "sigma": "init", "lr_decay": "schedule", "step_epochs": "schedule",
    }  # fmt: skip
    assert TrainConfig(schedule="step").without_effect() == {}
