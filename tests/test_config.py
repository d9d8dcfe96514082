import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlin.config import Init, Loss, Precision, TrainConfig
from fastlin.errors import InputError

configs = st.builds(
    TrainConfig,
    loss=st.sampled_from(Loss),
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
        ("seed", -1),
        ("seed", 2**63),
        ("shuffle", "no"),
        ("shuffle", 1),
    ],
)
def test_refuses_an_impossible_value_and_names_the_setting(setting, value):
    with pytest.raises(InputError, match=rf"^{setting} is .*; it must be [^\n]+$"):
        TrainConfig(**{setting: value})


def test_refuses_an_unknown_setting():
    with pytest.raises(InputError, match="unknown setting 'momentun'"):
        TrainConfig.from_dict({"momentun": 0.9})


def test_whole_numbers_are_accepted_as_numbers():
    assert TrainConfig(lr=1, l2=0) == TrainConfig(lr=1.0, l2=0.0)
