"""Rows held out for validation: shares of classes, draws, and what is recorded of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlin
from fastlin.data.splits import stratified_share
from fastlin.errors import InputError
from fastlin.runs import load_run, save_run


def rows(counts, d=4, seed=0):
    y = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(seed)
    rng.shuffle(y)
    return rng.normal(size=(len(y), d)).astype(np.float32) + 2 * y[:, None].astype(np.float32), y


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_every_class_gives_its_share_and_keeps_a_row(counts, fraction, seed):
    _, y = rows(counts)
    try:
        kept, held = stratified_share(y, fraction, seed)
    except InputError:
        assert round(len(y) * fraction) == 0 or max(counts) == 1
        return
    assert sorted([*kept, *held]) == list(range(len(y)))
    assert list(kept) == sorted(kept)
    assert list(held) == sorted(held)
    for label, count in enumerate(counts):
        given_up = np.count_nonzero(y[held] == label)
        assert given_up < count
        if count > 1 / (1 - fraction) + 1:
            assert abs(given_up - count * fraction) <= 1


def test_the_share_is_as_large_as_asked_for_where_no_class_is_small():
    _, y = rows([30, 50, 120])
    kept, held = stratified_share(y, 0.1, 0)
    assert (len(kept), len(held)) == (180, 20)
    assert np.bincount(y[held]).tolist() == [3, 5, 12]


def test_a_draw_depends_on_its_seed_alone():
    X, y = rows([20, 30])
    split = fastlin.Split.from_arrays(X, y)
    first, again = split.hold_out(0.2), split.hold_out(0.2)
    assert first.fingerprint() == again.fingerprint()
    assert first.fingerprint() != split.hold_out(0.2, seed=1).fingerprint()


def test_rows_keep_labels_weights_scale_and_shape():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (40, 12), np.uint8)
    y = np.arange(40) % 2
    split = fastlin.Split.from_arrays(
        X, y, image_shape=(3, 2, 2), scale=1.0, weights=np.arange(40) + 1.0
    ).hold_out(0.25)
    for part in (split.train, split.val):
        found = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in part.X]
        assert part.y.tolist() == y[found].tolist()
        assert part.weights.tolist() == [number + 1.0 for number in found]
        assert part.image_shape == (3, 2, 2)
        assert part.feature_scale == 1.0


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan"), "some", None])
def test_a_share_that_is_none_is_refused(fraction):
    X, y = rows([20, 30])
    with pytest.raises(InputError, match="val_fraction is"):
        fastlin.Split.from_arrays(X, y).hold_out(fraction)


def test_validation_rows_are_not_drawn_twice():
    X, y = rows([20, 30])
    split = fastlin.Split.from_arrays(X, y).hold_out()
    with pytest.raises(InputError, match="has 5 validation rows"):
        split.hold_out()


def test_a_run_finds_the_same_rows_again(tmp_path):
    X, y = rows([20, 30])
    np.savez(tmp_path / "t.npz", X=X, y=y)
    split = fastlin.load_split(tmp_path / "t.npz", val_fraction=0.2)
    assert (len(split.train), len(split.val)) == (40, 10)
    result = fastlin.train(split, epochs=1)
    save_run(tmp_path / "run", result, split)
    reference = load_run(tmp_path / "run").data
    assert reference.val_fraction == 0.2
    assert reference.sha256 == split.fingerprint()
