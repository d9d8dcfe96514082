import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlin.config import GridSpec, Init, LogRange, Loss, TrainConfig
from fastlin.errors import InputError
from fastlin.sweeps import log_space, parse_values, read_grid_file

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
        ("lr", "1:x:3", "'x' in 1:x:3 is not a number"),
        ("lr", "1:2:x", "'x' in 1:2:x is not a whole number"),
        ("lr", "1:10:1", "count of a range is 1"),
        ("lr", "1:10:1000000", "more than 10000 values"),
        ("l2", "0:1:3", "list 0 by itself"),
        ("lr", "1e-999999:1:3", "both ends must be finite and above 0"),
        ("lr", "nan:1:3", "'nan' in nan:1:3 is not a number"),
        ("lr", "1,1:10", "a range to draw from, 1:10, must stand alone"),
        ("lr", "10:1", "must rise"),
        ("l2", "0:1", "must rise from a number above 0"),
        ("batch_size", "1.5", "batch_size is '1.5'; it must be a whole number"),
        ("seed", "0:9:3", "does not divide into 3 whole numbers"),
    ],
)
def test_what_is_no_list_is_one_clear_line(name, text, said):
    with pytest.raises(InputError) as caught:
        parse_values(name, [text])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


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
        ({"loss": "hinge"}, "it must be a list"),
        ({"epochs": [1, 2]}, "is the same for all entries"),
        ({"speed": [1, 2]}, "setting 'speed' unknown"),
        ({"loss": LogRange(1, 2)}, "loss is not a number"),
        ({"lr_decay": LogRange(0.5, 2)}, "lr_decay is 2"),
    ],
)
def test_impossible_grids_are_refused(swept, said):
    with pytest.raises(InputError, match=said):
        GridSpec(swept)


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr = 1", "must hold the tables"),
        ("[grid]\nlr = [1]\n[more]", "must hold the tables"),
        ("[grid]\nlr = ", "is not valid TOML"),
        ("[grid]\nlr = [1, 1]", "lists 1.0 twice"),
        ("[grid]\nlr = ['1:2']", "must stand alone"),
        ("[grid]\nlr = [1]\n[train]\nlr = 2", "lr is under"),
        ("[grid]\nlr = [1]\n[train]\nspeed = 2", "unknown setting 'speed'"),
        ("[grid]\nlr = [true]", "lr is True"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, text, said):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_grid_file(path)
    assert "grid.toml" in str(caught.value)
    with pytest.raises(InputError, match="is missing"):
        read_grid_file(tmp_path / "none.toml")
