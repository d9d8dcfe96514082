import contextlib
import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from messages import value_or_message

from fastlin.config import SETTINGS, Init, Loss, TrainConfig
from fastlin.errors import InputError
from fastlin.losses import SquaredHinge
from fastlin.search.reading import log_space, parse_values, read_grid_file
from fastlin.search.spec import GridSpec, LogRange

positive = st.floats(1e-12, 1e12)


@given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=8), st.integers(0, 7))
def test_lists_are_read_back_exactly_however_they_are_cut(values, cut):
    texts = [repr(value) for value in values]
    parts = [",".join(part) for part in (texts[:cut], texts[cut:]) if part]
    assert parse_values("lr", parts) == tuple(values)


@given(positive, positive, st.integers(2, 30))
def test_log_space_has_exact_ends_and_equal_ratios(low, high, count):
    values = log_space(repr(low), repr(high), count)
    assert len(values) == count
    assert (values[0], values[-1]) == (low, high)
    ratio = (math.log(high) - math.log(low)) / (count - 1)
    for place, value in enumerate(values):
        assert math.log(value) == pytest.approx(math.log(low) + place * ratio, rel=1e-12, abs=1e-11)


@given(st.integers(-20, 20), st.integers(1, 12), st.sampled_from([1, 2, 5]))
def test_log_space_is_exact_for_round_numbers(exponent, decades, digit):
    found = log_space(f"{digit}e{exponent}", f"{digit}e{exponent + decades}", decades + 1)
    assert found == [float(f"{digit}e{exponent + place}") for place in range(decades + 1)]


def test_values_take_the_type_of_their_setting():
    assert parse_values("lr", ["0.001:0.1:3", " 1 "]) == (0.001, 0.01, 0.1, 1.0)
    assert parse_values("l2", ["0,0.0001:0.1:4"]) == (0.0, 0.0001, 0.001, 0.01, 0.1)
    assert parse_values("batch_size", ["32:128:3"]) == (32, 64, 128)
    assert parse_values("seed", ["0:9:4"]) == (0, 3, 6, 9)
    assert parse_values("loss", ["softmax,hinge"]) == ("softmax", "hinge")
    assert parse_values("lr", ["1e-4:1e-1"]) == LogRange(1e-4, 1e-1)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lr", "fast", "lr is 'fast'; it must be a number"),
        ("lr", "", "lr is ''"),
        ("lr", "1,,2", "lr is ''"),
        ("lr", "1:2:3:4", "lr is '1:2:3:4'"),
        ("lr", "1:x:3", "'x' in '1:x:3' is not a number"),
        ("lr", "1:2:x", "'x' in '1:2:x' is not a whole number"),
        ("lr", "1:10:1", "count of a range is 1"),
        ("lr", "1:10:1000000", "count of a range is 1,000,000; it must be at most 10,000"),
        ("l2", "0:1:3", "list 0 by itself"),
        ("lr", "1e-999999:1:3", "both ends must be finite and above 0"),
        ("lr", "nan:1:3", "'nan' in 'nan:1:3' is not a number"),
        ("lr", "1,1:10", "a range to draw from, '1:10', must stand alone"),
        ("lr", "10:1", "must rise"),
        ("l2", "0:1", "must rise from a number above 0"),
        ("batch_size", "1.5", "batch_size is '1.5'; it must be a whole number"),
        ("seed", "0:9:3", "does not divide into 3 whole numbers"),
        ("seed", "0:1e40:3", "both ends of a range of seeds must be whole numbers"),
        ("seed", "0:1e999999999:3", "both ends of a range of seeds must be whole numbers"),
        ("seed", "1e-999999999:1:3", "both ends of a range of seeds must be whole numbers"),
        ("seed", "-4:0:3", "both ends of a range of seeds must be whole numbers"),
        ("seed", "0.5:2.5:3", "both ends of a range of seeds must be whole numbers"),
        ("seed", "0:4:1", "the count of a range is 1"),
        ("seed", "9" * 400 + "x", "it must be a whole number"),
        ("seed", "9" * 5000, "it must be a whole number"),
        ("lr", "1:1e400:3", "both ends must be finite and above 0"),
        ("lr", "1:1e999999999:3", "both ends must be finite and above 0"),
        ("lr", "1e-999999999:1:3", "both ends must be finite and above 0"),
        ("lr", "1:1e999999999", "must rise from a number above 0 to a finite one"),
        ("lr", f"1:2:1{'0' * 400}", "the count of a range is 10"),
        ("lr", f"1:2:1{'0' * 5000}", "is not a whole number"),
        ("lr", "1:2:-3", "the count of a range is -3"),
        ("lr", "sNaN:1:3", "'sNaN' in 'sNaN:1:3' is not a number"),
        ("lr", "0.1,,0.2", "lr is ''"),
        ("lr", "::", "'' in '::' is not a number"),
        ("lr", "x" * 100_000, "it must be a number"),
        ("lr", "a\nb:1:3", "is not a number"),
        ("lr", ",".join(["1:2:10000"] * 10**4), "lists more than 100,000 values"),
    ],
)
def test_what_is_no_list_is_one_clear_line(name, text, said):
    with pytest.raises(InputError) as caught:
        parse_values(name, [text])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("number", ["x", "", None, math.nan, -1.0, "1e400", 0])
def test_the_ends_of_log_space_are_numbers_above_0(number):
    for ends in ((number, 1.0), (1.0, number)):
        with pytest.raises(InputError, match="so both ends must be finite and above 0"):
            log_space(*ends, 3)
    with pytest.raises(InputError, match="the count of a range is"):
        log_space(1, 2, number)


def test_long_ranges_are_as_exact_as_short_ones():
    values = log_space("1e-5", "1e5", 9991)
    assert len(values) == len(set(values)) == 9991
    assert values[::999] == [float(f"1e{place}") for place in range(-5, 6)]
    assert parse_values("lr", ["9:1:2"]) == (9.0, 1.0)  # from high to low, too


@given(st.text(max_size=30), st.sampled_from(list(SETTINGS)))
def test_any_unicode_text_is_values_or_one_line(text, name):
    values, said = value_or_message(parse_values, name, [text])
    if not said:
        _, said = value_or_message(GridSpec, {name: values})
    assert "\n" not in said


@given(st.text("0123456789.,:e-+ naif", max_size=20), st.sampled_from(["lr", "batch_size", "seed"]))
def test_any_text_is_a_grid_or_bad_input(text, name):
    with contextlib.suppress(InputError):  # the only error there may be
        assert len(GridSpec({name: parse_values(name, [text])}).swept) == 1


def test_a_grid_is_every_combination_the_last_setting_fastest():
    grid = GridSpec({"loss": ["softmax", "hinge"], "lr": [0.1, 1]}, TrainConfig(epochs=3))
    assert len(grid) == 4
    assert [(c.loss, c.lr, c.epochs) for c in grid.configs()] == [
        (Loss.SOFTMAX, 0.1, 3), (Loss.SOFTMAX, 1.0, 3), (Loss.HINGE, 0.1, 3), (Loss.HINGE, 1.0, 3),
    ]  # fmt: skip
    assert GridSpec.from_dict(grid.to_dict()) == grid
    ranged = GridSpec({"lr": LogRange(1e-3, 1.0), "init": (Init.XAVIER,)})
    assert GridSpec.from_dict(ranged.to_dict()) == ranged


@pytest.mark.parametrize(
    ("swept", "said"),
    [
        ({"lr": []}, "lr has no value"),
        ({"lr": [0.1, 0.2, 0.1]}, "lr lists 0.1 twice"),
        ({"l2": [0, 0.0]}, "l2 lists 0.0 twice"),
        ({"lr": [0.1, -1]}, "lr is -1"),
        ({"lr": 0.1}, "it must be a list"),
        ({"batch_size": b"abc"}, "it must be a list"),
        ({"lr": None}, "it must be a list"),
        ({"lr": np.array(0.1)}, "it must be a list"),
        ({"lr": itertools.count(1)}, "lr lists more than 100,000 values"),
        ({"lr": [[0.1]]}, r"lr is \[0.1\]"),
        ({"lr": [0.1, 10**400]}, "lr is 10"),
        ({"lr": [1e-80]}, "lr is 1e-80, which is 0 in float32"),
        ({"lr": LogRange(1e-80, 1)}, "lr is 1e-80, which is 0 in float32"),
        ({"lr": [np.float32(0.5), 0.5]}, "lr lists 0.5 twice"),
        ({1: [2]}, "setting 1 unknown"),
        ({"a\nb": [2]}, r"setting 'a\\nb' unknown"),
        ([0.1], "it must be names of settings with lists"),
        (None, "it must be names of settings with lists"),
        ({"loss": "hinge"}, "it must be a list"),
        ({"epochs": [1, 0]}, "epochs is 0"),
        ({"standardize": ["yes"]}, "standardize is 'yes'; it must be true or false"),
        ({"flip": LogRange(1, 2)}, "flip is not a number"),
        ({"nesterov": [False, True]}, "nesterov is a form of momentum"),
        ({"lr": [0.1, 1e-80], "dtype": ["float32"]}, "lr is 1e-80, which is 0 in float32"),
        ({"speed": [1, 2]}, "setting 'speed' unknown"),
        ({"loss": LogRange(1, 2)}, "loss is not a number"),
        ({"lr_decay": LogRange(0.5, 2)}, "lr_decay is 2"),
    ],
)
def test_impossible_grids_are_refused(swept, said):
    with pytest.raises(InputError, match=said) as caught:
        GridSpec(swept)
    assert "\n" not in str(caught.value)


def test_a_base_is_a_configuration():
    with pytest.raises(InputError, match="base is 1; it must be a TrainConfig"):
        GridSpec({"lr": [0.1]}, 1)


@pytest.mark.parametrize(
    "ends", [(0, 1), (2, 1), (1, 1), (math.nan, 1), (1, math.inf), (1, 10**400), ("1", "2"),
             (None, 1), (True, 2), ([1], [2])],
)  # fmt: skip
def test_a_range_rises_between_numbers(ends):
    with pytest.raises(InputError, match=r"^the range .* must rise from a number above 0"):
        LogRange(*ends)


def test_values_of_numpy_are_those_of_python():
    grid = GridSpec({"lr": np.logspace(-2, 0, 3), "seed": np.arange(3)})
    assert grid == GridSpec({"lr": [0.01, 0.1, 1.0], "seed": [0, 1, 2]})
    assert LogRange(np.float32(0.5), np.int8(2)) == LogRange(0.5, 2.0)
    json.dumps(grid.to_dict())


def test_a_grid_that_is_too_large_says_how_large_and_takes_no_memory():
    grid = GridSpec({"lr": log_space(1e-3, 1, 10_000), "l2": log_space(1e-6, 1, 10_000)})
    assert grid.combinations == 10**8
    for count in (len, GridSpec.configs):
        with pytest.raises(
            InputError,
            match="a grid of 10,000 of lr, 10,000 of l2 would have 100,000,000 combinations; "
            "at most 100,000 can be searched",
        ):
            count(grid)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["lr", "swept", "base", "low", "high", 10**400])
    | st.integers(4400, 5000).map(lambda digits: 10**digits),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["swept", "base", "low", "high", "lr", "l2", "x"]), inner),
    max_leaves=12,
)  # fmt: skip


@given(
    json_values
    | st.fixed_dictionaries({"swept": json_values, "base": st.just({"epochs": 2}) | json_values})
    | st.fixed_dictionaries(
        {
            "swept": st.dictionaries(
                st.sampled_from(list(SETTINGS)) | st.text(max_size=5), json_values, max_size=3
            ),
            "base": st.just({}),
        }
    )
)
@example({"swept": {"lr": {"low": 1, "high": 2, "a\nb": 3}}, "base": {}})
@example({"swept": {"lr": {"low": "1", "high": 2}}, "base": {}})
@example({"swept": {"loss": "softmax"}, "base": {}})
def test_any_content_is_a_grid_or_one_line(content):
    grid, said = value_or_message(GridSpec.from_dict, content)
    assert "\n" not in said
    assert len(said) < 400
    assert said or GridSpec.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


def test_a_range_has_no_combinations():
    with pytest.raises(InputError, match="only random search can draw"):
        GridSpec({"lr": LogRange(1, 2)}).configs()


def test_a_file_holds_lists_and_fixed_settings(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        """
        [grid]
        lr = [0.01, "0.1:10:3"]
        l2 = "0,0.001"
        batch_size = 32
        [train]
        epochs = 7
        """
    )
    grid = read_grid_file(path, TrainConfig(epochs=5, seed=3))
    assert grid.swept == {"lr": (0.01, 0.1, 1.0, 10.0), "l2": (0.0, 0.001), "batch_size": (32,)}
    assert (grid.base.epochs, grid.base.seed) == (7, 3)


def test_words_for_class_weights_may_be_listed():
    assert parse_values("class_weight", ["balanced,none"]) == ("balanced", "none")
    assert parse_values("class_weight", ["none", "a,b.csv"]) == ("none", "a,b.csv")


def test_a_file_lists_parameters_of_losses(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text("[grid]\nloss = ['softmax', 'hinge']\nlr = [1, 2]\nmargin = '0.5,1'\n")
    grid = read_grid_file(path)
    assert list(map(str, grid.swept["loss"])) == ["softmax", "hinge(margin=0.5)", "hinge"]
    assert list(grid.swept) == ["loss", "lr"]
    path.write_text("[grid]\nmargin = 0.5\n[train]\nloss = 'squared-hinge'\n")
    assert read_grid_file(path).swept == {"loss": (SquaredHinge(0.5),)}


def test_parameters_of_losses_are_told_how_they_are_listed_from_python():
    with pytest.raises(InputError, match="margin is a parameter of losses; list losses"):
        GridSpec({"margin": [0.5, 1]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr = 1", "must hold the tables"),
        ("[grid]\nmargin = [0.5]", "margin has no effect with loss softmax"),
        ("[grid]\nmargin = ['1:2']\nloss = 'hinge'", "must stand alone"),
        ("[grid]\nmargin = '1:2'\nloss = 'hinge'", "margin takes no range to draw from"),
        ("[grid]\nmargin = [[1]]\nloss = 'hinge'", r"margin is \[1\]"),
        ("[grid]\nmargin = 1\nloss = [3]", "loss is 3"),
        ("[grid]\nlr = [1]\n[more]", "must hold the tables"),
        ("[grid]\nlr = ", "is not valid TOML"),
        ("[grid]\nlr = [1, 1]", "lists 1.0 twice"),
        ("[grid]\nlr = ['1:2']", "must stand alone"),
        ("[grid]\nlr = [1]\n[train]\nlr = 2", "lr is under"),
        ("[grid]\nlr = [1]\n[train]\nspeed = 2", "unknown setting 'speed'"),
        ("[grid]\nlr = [true]", "lr is True"),
        (f"[grid]\nlr = [{'9' * 400}, 0.1]", "lr is 99999"),
        (f"[grid]\nlr = '{'9' * 400}'", "lr is inf"),
        (f"[grid]\nlr = [{'9' * 5000}]", "is not valid TOML"),
        ("[grid]\nlr = [nan]", "lr is nan"),
        (f"[grid]\n{'x' * 5000} = '1:2:a'", r"grid\.toml: x{20,60}.*: 'a' in '1:2:a'"),
        ("[grid]\nlr = [[0.1]]", r"lr is \[0.1\]"),
        ("[grid]\nlr = []", "lr has no value"),
        ("[grid]\nlr = {low = 1}", "lr is {'low': 1}"),
        ("[grid]\nlr = 1979-05-27", "lr is datetime"),
        ("[grid]\nseed = [1.0]", "seed is 1.0; it must be a whole number"),
        ("[grid]\n'a\\nb' = 1", "setting 'a"),
        ("[grid]\nlr = [" + ",".join(["'1:2:10000'"] * 11) + "]", "lists more than 100,000"),
        ("[grid]\nx = [" + ",".join(["'1:2:10000'"] * 11) + "]", "lists more than 100,000"),
        ("[[grid]]\nlr = [1]", "must hold the tables"),
        ("grid = 1", "must hold the tables"),
        ("train = 1\n[grid]\nlr = 1", "must hold the tables"),
        ("[grid]\nlr = 1\n[train]\nepochs = [1]", r"epochs is \[1\]"),
        ("[grid]\nlr = " + "[" * 3000 + "]" * 3000, "nested too deep"),
        ("[grid]\nlr = " + "{a=" * 3000 + "1" + "}" * 3000, "nested too deep"),
        ("[grid]\n" + ".".join(["a"] * 200_000) + " = 1", "a key of very many parts"),
        ("[grid]\n" + " . ".join(['"#"'] * 100_000) + " = 1", "a key of very many parts"),
        ("[grid." + ".".join(["'a'"] * 100_000) + "]", "a key of very many parts"),
        ("#" * 1_000_001, "has 1,000,001 bytes; such a file has at most 1,000,000"),
        (b"[grid]\nlr = '\xff'", "is not valid TOML: 'utf-8' codec"),
        (b"\xff\xfe[\0g\0", "is not valid TOML"),
        (b"\0" * 99, "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, text, said):
    path = tmp_path / "grid.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=said) as caught:
        read_grid_file(path)
    assert "grid.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="is missing"):
        read_grid_file(tmp_path / "none.toml")


def test_a_byte_order_mark_and_lines_of_windows_are_read(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_bytes("\ufeff[grid]\r\nlr = [0.1, 1]\r\n".encode())
    assert read_grid_file(path).swept == {"lr": (0.1, 1.0)}


def test_a_folder_or_a_pipe_is_no_grid_file(tmp_path):
    places = [tmp_path, Path(os.devnull)]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        places.append(tmp_path / "pipe")
    for place in places:
        with pytest.raises(InputError, match="not a file"):
            read_grid_file(place)


tokens = st.sampled_from(
    [b"[grid]", b"[train]", b"lr", b"loss", b"seed", b"=", b"[", b"]", b"{", b"}", b",", b".",
     b"\n", b"0.1", b"'1:2:3'", b"'0:1e40:3'", b"inf", b"9" * 400, b'"', b"'", b"\xff", b"#",
     b"1979-05-27", b"'hinge'", b"\\u0000"]
)  # fmt: skip


@given(st.lists(tokens | st.binary(max_size=3), max_size=20).map(b"".join))
def test_any_bytes_are_a_grid_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    for whole in (content, b"[grid]\nlr = [1]\n" + content):
        path.write_bytes(whole)
        _, said = value_or_message(read_grid_file, path)
        assert "\n" not in said


def test_steps_stay_between_their_ends_where_rounding_leads_beyond():
    end = "1.797693134862315e308"
    assert parse_values("lr", [f"{end}:{end}:3"]) == (float(end),) * 3
    assert log_space("9.87654321098765431", "9.87654321098765432", 3)[1] <= 9.87654321098765432
